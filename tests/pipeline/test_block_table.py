"""The table of blocks and steps: what it holds, how it is resumed, what is refused."""

import csv
import json
import logging
import math
import sys
import types
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tlp_core import Problem, describe, hessian_directions, hessian_trace, load_problem
from tlp_core.cli.main import main
from tlp_core.cli.output import INCOMPLETE
from tlp_core.directions.hessian.critical_sharpness import NoSharpnessError, critical_sharpness
from tlp_core.landscape.landscape import Landscape
from tlp_core.landscape.table import arrange, find_runs
from tlp_core.pipeline.block_table import mean_alpha, weight_watcher_alphas
from tlp_core.pipeline.problem_loader import ProblemLoader
from tlp_core.problem import mean_loss
from tlp_core.problems.parameter_groups import parameter_groups
from tlp_core.problems.settings import ProblemSettings
from tlp_core.problems.weights import load_checkpoint
from tlp_core.topology.landscape_tree import landscape_tree

ARGUMENTS = {"width": 8, "heads": 2, "layers": 2, "length": 6, "sequences": 8}
NAMES = [
    "embedding",
    "block 0",
    "block 0 attention",
    "block 0 feed-forward",
    "block 1",
    "block 1 attention",
    "block 1 feed-forward",
]


@pytest.fixture
def training(tmp_path):
    """Two steps of a character GPT, in double precision."""
    problem = load_problem("character-gpt", arguments=ARGUMENTS)
    for step in (10, 20):
        torch.manual_seed(step)
        with torch.no_grad():
            for parameter in problem.model.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        torch.save(problem.model.state_dict(), tmp_path / f"step{step}.pt")
    return tmp_path


def run(training, *options):
    arguments = ", ".join(f"{name}={value}" for name, value in ARGUMENTS.items())
    command = ["blocks", "character-gpt", "-a", arguments, "--dtype", "float64", "-q"]
    command += ["--checkpoints", str(training / "step*.pt"), "-o", str(training / "blocks.csv")]
    return main([*command, "-n", "1", "-r", "5", "--method", "lanczos", *options])


def rows_of(training):
    with open(training / "blocks.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_groups_of_a_transformer_are_its_blocks_and_their_parts():
    problem = load_problem("character-gpt", arguments=ARGUMENTS)
    groups = parameter_groups(problem.model)
    assert list(groups) == NAMES
    assert groups["block 1"] == "blocks.1.*"
    assert groups["block 1 attention"] == "blocks.1.attention.*"
    assert groups["block 1 feed-forward"] == "blocks.1.feed.*"


def test_groups_of_another_network_are_its_modules():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    assert parameter_groups(model) == {"0": "0.*", "2": "2.*"}
    frozen = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    frozen[0].requires_grad_(False)
    assert list(parameter_groups(frozen)) == ["2"]


def test_the_half_width_of_a_rise_stands_in_the_table(training):
    assert run(training, "--groups", "block 1", "--rise", "0.003", "--trace-vectors", "0") == 0
    for row in rows_of(training):
        landscape = Landscape.open(training / row["landscape"])
        assert float(row["half-width 1"]) == landscape.distance[0]
        rise = landscape.loss[[0, -1]].max() - landscape.center
        assert rise == pytest.approx(0.003, rel=0.03)


def test_each_row_is_what_the_functions_return(training):
    assert run(training, "--groups", "block 1*") == 0
    rows = rows_of(training)
    assert [(row["step"], row["group"]) for row in rows] == [
        (step, name) for step in ("10", "20") for name in NAMES[4:]
    ]
    row = rows[4]
    problem = load_problem("character-gpt", arguments=ARGUMENTS, checkpoint=training / "step20.pt")
    problem.model.double()
    pattern = {"parameters": "blocks.1.attention.*"}
    assert float(row["loss"]) == pytest.approx(mean_loss(problem), rel=1e-9)
    directions = hessian_directions(problem, 1, method="lanczos", **pattern)
    assert float(row["eigenvalue 1"]) == pytest.approx(directions.eigenvalues[0], rel=1e-6)
    trace = hessian_trace(problem, max_vectors=10, **pattern)
    assert float(row["trace"]) == pytest.approx(trace.value, rel=1e-6)
    assert float(row["trace error"]) == pytest.approx(trace.standard_error, rel=1e-6)
    try:
        sharpness = critical_sharpness(problem, **pattern).value
    except NoSharpnessError:  # layer norm can bound the loss; the text is that of this Python
        sharpness = math.nan
    assert float(row["critical sharpness"]) == pytest.approx(sharpness, rel=1e-6, nan_ok=True)
    landscape = Landscape.open(training / row["landscape"])
    found = describe(landscape_tree(landscape))
    assert float(row["maximum_loss"]) == found.maximum_loss
    assert float(row["validation loss"]) > 0
    assert int(row["parameters"]) == 8 * 24 + 8 * 8


def test_feed_forward_layers_without_a_module_of_their_own_are_a_group():
    """As in OPT, whose blocks hold them directly."""

    def block():
        layers = {"self_attn": nn.Linear(2, 2), "fc1": nn.Linear(2, 4), "fc2": nn.Linear(4, 2)}
        return nn.ModuleDict({**layers, "final_layer_norm": nn.LayerNorm(2)})

    groups = parameter_groups(nn.ModuleList([block(), block()]))
    assert groups["block 1 feed-forward"] == "1.fc1.*,1.fc2.*"
    assert groups["block 1 attention"] == "1.self_attn.*"


def test_a_table_that_was_cut_off_is_resumed(training, capsys):
    assert run(training, "--groups", "block ?") == 0
    path = training / "blocks.csv"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:20])
    capsys.readouterr()
    assert run(training, "--groups", "block ?", "--json") == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["group"] for row in printed] == ["block 1", "block 0", "block 1"]
    assert path.read_bytes() == whole


def test_rows_of_other_settings_are_not_mixed(training, capsys):
    assert run(training, "--groups", "embedding") == 0
    assert run(training, "--groups", "embedding", "-d", "2") == 1
    assert "must belong to these settings" in capsys.readouterr().err
    assert len(rows_of(training)) == 2
    assert run(training, "--groups", "block 0") == 0
    assert len(rows_of(training)) == 4


def test_the_table_is_one_of_landscapes(training):
    run(training, "--groups", "block ?")
    table = arrange(find_runs([training / "blocks.csv"]), "group", "step")
    assert table.rows == ("group", ["block 0", "block 1"])
    assert table.columns == ("step", ["10", "20"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--groups", "layer *"], "groups must match one of embedding, block 0"),
        (["--trace-vectors", "3"], "trace_vectors must be >= 10, got 3"),
        (["--parameters", "blocks.*"], "--parameters has no meaning with tlp blocks"),
        (["-r", "5,9"], "a table must have one resolution"),
    ],
)
def test_bad_options_are_one_sentence(training, capsys, options, message):
    assert run(training, *options) == 1
    assert message in capsys.readouterr().err


def test_another_table_is_not_overwritten(training, capsys):
    (training / "blocks.csv").write_text("a,b\n1,2\n")
    assert run(training) == 1
    assert "must be a table of tlp blocks" in capsys.readouterr().err
    assert (training / "blocks.csv").read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_critical_sharpness_of_a_quadratic_is_known(dtype):
    """Along g = Hx the loss x·Hx/2 returns to its value at the step 2 g·g / g·Hg."""
    curvature = torch.tensor([1.0, 4.0, 9.0], dtype=dtype)
    model = nn.ParameterList([torch.tensor([1.0, 0.5, 0.2], dtype=dtype)])
    problem = Problem(model, lambda m, _: (curvature * m[0] ** 2).sum() / 2, [None], name="bowl")
    g = curvature * model[0].detach()
    exact = float((g * curvature * g).sum() / (g * g).sum())
    found = critical_sharpness(problem, tolerance=1e-3)
    assert found.value == pytest.approx(exact, rel=2e-3)
    assert found.evaluations < 20
    assert critical_sharpness(problem).evaluations <= 12
    np.testing.assert_array_equal(g, curvature * model[0].detach())


def test_a_loss_without_a_critical_sharpness_is_reported():
    model = nn.ParameterList([torch.ones(2)])
    flat = Problem(model, lambda m, _: (0 * m[0]).sum(), [None], name="flat")
    with pytest.raises(RuntimeError, match="the gradient must not be zero"):
        critical_sharpness(flat)
    slope = Problem(model, lambda m, _: m[0].sum(), [None], name="slope")
    with pytest.raises(RuntimeError, match="the loss must fall and then exceed"):
        critical_sharpness(slope)


def test_a_loss_that_is_not_a_number_has_not_exceeded_the_models():
    model = nn.ParameterList([torch.ones(1)])
    domain = Problem(model, lambda m, _: torch.sqrt(m[0]).sum(), [None], name="square root")
    with pytest.raises(RuntimeError, match="the loss must fall and then exceed"):
        critical_sharpness(domain)


def test_alpha_is_the_mean_of_the_matrices_of_the_group(monkeypatch, capsys):
    """The package is large; here its place is taken by what it returns for three layers."""

    class WeightWatcher:
        def __init__(self, model):
            assert isinstance(model, nn.Module)

        def analyze(self):
            assert log.level == logging.ERROR
            root.addHandler(logging.NullHandler())  # as the package does
            print("SMALL N")
            names = ["blocks.0.feed.0", "blocks.1.feed.0", "blocks.1.feed.2"]
            return {"longname": names, "alpha": [9.0, 2.0, 4.0]}

    log, root = logging.getLogger("weightwatcher"), logging.getLogger()
    handlers = list(root.handlers)
    fake = types.SimpleNamespace(WeightWatcher=WeightWatcher)
    monkeypatch.setitem(sys.modules, "weightwatcher", fake)
    problem = load_problem("character-gpt", arguments=ARGUMENTS)
    alphas = weight_watcher_alphas(problem)
    assert mean_alpha(alphas, problem, "blocks.1.*") == 3.0
    assert mean_alpha(alphas, problem, None) == 5.0
    assert np.isnan(mean_alpha(alphas, problem, "tokens*"))
    assert (log.level, root.handlers) == (logging.NOTSET, handlers)
    assert "SMALL N" not in capsys.readouterr().out  # lines of results stand there


def test_each_step_is_loaded_once_and_analysed_once(training, monkeypatch):
    calls = Counter()

    def counted(name, function):
        def call(*args):
            calls[name] += 1
            return function(*args)

        return call

    place = "tlp_core.pipeline.problem_loader.load_checkpoint"
    monkeypatch.setattr(place, counted("loaded", load_checkpoint))
    alphas = {"blocks.0.feed.0.weight": 2.0, "blocks.1.feed.0.weight": 4.0}
    place = "tlp_core.pipeline.block_table.weight_watcher_alphas"
    monkeypatch.setattr(place, counted("analysed", lambda _: alphas))
    monkeypatch.setattr("tlp_core.pipeline.block_table.find_spec", lambda _name: True)
    assert run(training, "--groups", "block ?", "--trace-vectors", "0", "--alpha") == 0
    assert [float(row["alpha"]) for row in rows_of(training)] == [2.0, 4.0, 2.0, 4.0]
    assert calls == {"loaded": 2, "analysed": 2}


def test_a_group_with_samples_left_has_no_row_until_they_are_there(training, capsys):
    one = ("-n", "2", "--groups", "block 0", "--trace-vectors", "0", "--no-sharpness")
    assert run(training, *one, "--part", "1/2") == INCOMPLETE
    assert "rows are not written, because their landscapes have samples left" in (
        capsys.readouterr().err
    )
    assert not (training / "blocks.csv").exists() or not rows_of(training)
    assert run(training, *one, "--part", "2/2") == 0
    assert len(rows_of(training)) == 2
    assert run(training, *one) == 0
    assert len(rows_of(training)) == 2


def test_a_table_with_alpha_needs_the_package_at_its_start(training, monkeypatch, capsys):
    monkeypatch.setattr("tlp_core.pipeline.block_table.find_spec", lambda _name: None)
    assert run(training, "--alpha") == 1
    assert "pip install weightwatcher" in capsys.readouterr().err
    assert not list(training.glob("*.landscapes"))


def test_weights_that_have_changed_at_their_place_are_loaded_again(training):
    path = training / "step10.pt"
    loader, settings = ProblemLoader(), ProblemSettings("character-gpt", ARGUMENTS, str(path))
    before = mean_loss(loader.load(settings))
    assert mean_loss(loader.load(settings)) == before
    path.write_bytes((training / "step20.pt").read_bytes())
    after = mean_loss(loader.load(settings))
    assert after != before
    assert after == mean_loss(
        loader.load(replace(settings, checkpoint=str(training / "step20.pt")))
    )
