"""The path between two models: its losses, its barrier, and the command."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tlp_core import Problem
from tlp_core.cli.main import main
from tlp_core.problem import mean_loss
from tlp_core.sampling.path import sample_path


def make(start):
    """The loss (x² - 1)² of one parameter, and its negative on the other batches."""
    model = nn.ParameterDict({"x": torch.tensor([start], dtype=torch.float64)})

    def loss(model, sign):
        return sign * ((model["x"] ** 2 - 1) ** 2).sum()

    batches, others = [torch.ones(())], {"turned": [-torch.ones(())]}
    return Problem(model, loss, batches, name="two minima", other_batches=others)


def state(value):
    return {"x": torch.tensor([value], dtype=torch.float64)}


def test_the_barrier_between_two_minima_is_the_maximum_between_them():
    problem = make(-1.0)
    path = sample_path(problem, state(1.0), points=41)
    x = -1 + 2 * path.positions
    np.testing.assert_allclose(path.losses["loss"], (x**2 - 1) ** 2, atol=1e-12)
    assert path.barriers["loss"] == pytest.approx(1.0)
    assert path.barriers["turned"] == 0
    assert path.length == pytest.approx(2)
    assert problem.model["x"].item() == -1


def test_the_barrier_is_above_the_line_between_unequal_ends():
    path = sample_path(make(-2.0), state(1.0), points=301)
    x = -2 + 3 * path.positions
    loss = (x**2 - 1) ** 2
    line = 9 * (1 - path.positions)
    assert path.barriers["loss"] == pytest.approx((loss - line).max(), abs=1e-9)


def test_a_state_may_lie_on_either_side(small_problem):
    """The sign of a direction is fixed by its largest entry, so a coordinate may be negative."""
    model = small_problem.model
    for sign in (1, -1):
        torch.manual_seed(0)
        end = {n: p + sign * torch.randn_like(p) for n, p in model.state_dict().items()}
        path = sample_path(small_problem, end, points=3)
        before = {n: p.clone() for n, p in model.state_dict().items()}
        model.load_state_dict(end)
        assert path.losses["loss"][-1] == pytest.approx(mean_loss(small_problem), rel=1e-9)
        model.load_state_dict(before)
        assert path.losses["loss"][0] == mean_loss(small_problem)


def test_a_path_needs_two_models(small_problem):
    with pytest.raises(ValueError, match="checkpoints must differ from the model"):
        sample_path(small_problem, small_problem.model.state_dict())
    with pytest.raises(ValueError, match="points must be >= 3, got 2"):
        sample_path(small_problem, small_problem.model.state_dict(), points=2)


def test_an_infinite_loss_is_an_infinite_barrier():
    def loss(model, _):
        return -(model["x"] + 1e-9).log().sum()

    path = sample_path(replace(make(1.0), loss=loss, other_batches={}), state(-1.0), points=3)
    assert path.barriers["loss"] == float("inf")


def test_the_command_writes_a_table(tmp_path, capsys):
    problem_file = tmp_path / "two.py"
    problem_file.write_text(
        "import torch\nfrom torch import nn\nfrom tlp_core import Problem\n"
        "def make_problem():\n"
        "    model = nn.ParameterDict({'x': torch.tensor([-1.0], dtype=torch.float64)})\n"
        "    loss = lambda m, b: ((m['x'] ** 2 - 1) ** 2).sum()\n"
        "    return Problem(model, loss, [torch.ones(1)], name='two')\n"
    )
    torch.save(state(1.0), tmp_path / "other.pt")
    command = ["path", str(problem_file), "--to", str(tmp_path / "other.pt"), "--points", "5"]
    assert main([*command, "-o", str(tmp_path / "path.csv"), "-q", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["barrier_loss"] == pytest.approx(1)
    with open(tmp_path / "path.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["position"]) for row in rows] == [0, 0.25, 0.5, 0.75, 1]
    assert float(rows[2]["loss"]) == pytest.approx(1)
