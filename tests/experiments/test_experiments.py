import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from tlp_core import Landscape, load_problem
from tlp_core.cli.main import main
from tlp_core.directions.settings import DirectionSettings
from tlp_core.experiments import EXPERIMENTS, claims, definition, named_experiment, run
from tlp_core.experiments.definition import Experiment, Look, Network
from tlp_core.experiments.run import run_experiment
from tlp_core.problems import pinn_convection
from tlp_core.progress import silent
from tlp_core.sampling.settings import GridSettings


def look(name, n, distance, **options):
    """Return a look: landscapes of five points along each of n directions."""
    directions = DirectionSettings(n=n, method="lanczos")
    return Look(name, directions, GridSettings(resolution=5, distance=distance), **options)


def tiny(trained):
    """Return an experiment of two networks, each with two checkpoints; it counts trainings."""

    def network(tilt):
        def make():
            return load_problem("two-wells", arguments={"tilt": tilt})

        def train(problem, training, progress):
            trained.append(tilt)
            for step, place in ((0, 0.0), (5, 0.3)):
                with torch.no_grad():
                    next(problem.model.parameters()).copy_(torch.tensor([place, 0.0]))
                training.save(problem, step, {"error": tilt})
            return {"curve": [1.0, 0.5]}

        return Network({"tilt": tilt}, make, train, steps=(0, 5))

    def answer(rows, _folder):
        return [claims.correlation("more tilt, deeper", rows, "error", "maximum_loss")]

    return Experiment(
        "tiny",
        lambda _size: [network(0.1), network(0.5)],
        lambda _size: [look("2D", 2, 1.0), look("last", 1, 1.0, steps=(-1,))],
        answer,
        rows="tilt",
        columns="step",
        figures=(("error", "maximum_loss"),),
    )


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_an_experiment_writes_all_files_and_is_resumed(tmp_path):
    trained, printed = [], []
    one = tiny(trained)
    (answer,) = run_experiment(one, tmp_path, report=printed.append)
    assert trained == [0.1, 0.5]
    assert (
        printed[0] == "tiny: 2 networks, 110 samples; landscapes: 4 2D of 25 samples, 2 last of 5 "
        "samples"
    )
    table = rows_of(tmp_path / "descriptors.csv")
    assert [(row["tilt"], row["step"], row["look"]) for row in table] == [
        (tilt, step, look)
        for tilt in ("0.1", "0.5")
        for step, look in (("0", "2D"), ("5", "2D"), ("5", "last"))
    ]
    assert table[0]["number_of_minima"] == "2"
    assert all(
        (tmp_path / row["landscape"]).exists() for row in rows_of(tmp_path / "landscapes.csv")
    )
    assert json.loads((tmp_path / "networks/tilt0.1/numbers.json").read_text())["curves"] == {
        "curve": [1.0, 0.5]
    }
    assert answer.count == 6
    assert "| more tilt, deeper |" in (tmp_path / "claims.md").read_text()

    shutil.rmtree(tmp_path / "networks/tilt0.5")
    before = (tmp_path / "descriptors.csv").read_text()
    run_experiment(one, tmp_path, report=printed.append)
    assert trained == [0.1, 0.5, 0.5]
    assert (tmp_path / "descriptors.csv").read_text() == before


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_sizes_grow_and_networks_have_different_names(name):
    chosen = named_experiment(name)
    counts = [len(chosen.networks(size)) for size in ("quick", "medium", "full")]
    assert counts == sorted(counts)
    for size in ("quick", "full"):
        networks = chosen.networks(size)
        keys = [network.key for network in networks]
        assert len(set(keys)) == len(keys)
        assert all(look.samples.resolution % 2 for look in chosen.looks(size))
        assert all(list(network.steps) == sorted(set(network.steps)) for network in networks)


@pytest.mark.slow
def test_the_quick_form_of_an_experiment_runs_from_the_command_line(resnet_experiment, capsys):
    assert "| a better model has fewer saddles |" in resnet_experiment.text
    table = rows_of(resnet_experiment.folder / "descriptors.csv")
    last = max(int(row["step"]) for row in table)
    accuracy = {
        row["skip"]: float(row["test accuracy"]) for row in table if int(row["step"]) == last
    }
    assert accuracy["yes"] > 0.5
    assert main(["experiment", "pinn", "--quick", "--cost"]) == 0
    printed = capsys.readouterr().out
    assert "6 networks, 27,588 samples; landscapes: 6 3D of 2,197" in printed
    assert re.search(r"sampling takes about \d+ (s|min) .*here", printed)


def test_parts_of_an_experiment_share_a_folder(tmp_path):
    trained = []
    one = tiny(trained)
    assert run_experiment(one, tmp_path, only={"tilt": "0.5"}) == []
    assert trained == [0.5]
    assert not (tmp_path / "descriptors.csv").exists()
    run_experiment(one, tmp_path)
    assert trained == [0.5, 0.1]
    assert len(rows_of(tmp_path / "descriptors.csv")) == 6


def test_a_folder_belongs_to_one_experiment_of_one_size(tmp_path):
    run_experiment(tiny([]), tmp_path, size="quick")
    with pytest.raises(
        ValueError, match=r"must belong to .*'size': 'full'.*, got .*'size': 'quick'"
    ):
        run_experiment(tiny([]), tmp_path)
    (tmp_path / "experiment.json").write_text("[]")
    with pytest.raises(ValueError, match=r"experiment\.json is damaged; remove its folder"):
        run_experiment(tiny([]), tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="the output must be a folder"):
        run_experiment(tiny([]), tmp_path / "file")


def test_a_folder_belongs_to_one_set_of_data(tmp_path, monkeypatch):
    one = replace(tiny([]), data="TLP_TEST_DATA")
    run_experiment(one, tmp_path)
    monkeypatch.setenv("TLP_TEST_DATA", "elsewhere")
    with pytest.raises(
        ValueError, match=r"'TLP_TEST_DATA': 'elsewhere'.*, got .*'TLP_TEST_DATA': ''"
    ):
        run_experiment(one, tmp_path)


def test_a_training_is_not_disturbed_by_another_run(tmp_path):
    one, trained = tiny([]), []
    first, second = one.networks("full")

    def train(problem, training, progress):
        if not trained:  # meanwhile, another process trains the same network
            trained.append(1)
            run_experiment(one, tmp_path)
        return first.train(problem, training, progress)

    slow = replace(one, networks=lambda _size: [replace(first, train=train), second])
    run_experiment(slow, tmp_path)
    left = sorted(path.name for path in (tmp_path / "networks").iterdir())
    assert left == ["tilt0.1", "tilt0.5"]
    assert len(list((tmp_path / "networks" / "tilt0.1").iterdir())) == 3


def test_a_network_without_its_steps_is_reported(tmp_path):
    run_experiment(tiny([]), tmp_path)
    (tmp_path / "networks" / "tilt0.1" / "numbers.json").write_text('{"steps": {"0": {}}}')
    with pytest.raises(ValueError, match=r"tilt0\.1 has no step 5; remove this folder"):
        run_experiment(tiny([]), tmp_path)


def test_a_landscape_of_another_look_is_not_reused(tmp_path):
    run_experiment(tiny([]), tmp_path)
    other = replace(tiny([]), looks=lambda _size: [look("2D", 2, 0.5)])
    with pytest.raises(ValueError, match="distance"):
        run_experiment(other, tmp_path)


def test_looks_can_have_another_resolution(tmp_path):
    run_experiment(tiny([]), tmp_path, resolutions={"last": 7})
    samples = {(r["look"], r["number_of_samples"]) for r in rows_of(tmp_path / "descriptors.csv")}
    assert samples == {("2D", "25"), ("last", "7")}
    run_experiment(tiny([]), tmp_path)
    samples = {(r["look"], r["number_of_samples"]) for r in rows_of(tmp_path / "descriptors.csv")}
    assert samples == {("2D", "25"), ("last", "5")}
    with pytest.raises(ValueError, match="look must be one of 2D, last, got '9D'"):
        run_experiment(tiny([]), tmp_path, resolutions={"9D": 7})
    with pytest.raises(ValueError, match="resolution must be odd"):
        run_experiment(tiny([]), tmp_path, resolutions={"2D": 8})


def test_missing_parts_are_reported(tmp_path, capsys):
    command = ["experiment", "resnet", "--quick", "-o", str(tmp_path)]
    assert main([*command, "--only", "skip=maybe"]) == 1
    assert "skip must be one of no, yes, got 'maybe'" in capsys.readouterr().err
    assert main([*command, "--only", "sneed=0"]) == 1
    assert "only must be one of skip, seed, got 'sneed'" in capsys.readouterr().err
    assert main([*command, "--device", "nonsense"]) == 1
    assert "device must be available here, got 'nonsense'" in capsys.readouterr().err
    assert main([*command, "--only", "skip"]) == 1
    assert "only must be NAME=VALUE, such as seed=0, got 'skip'" in capsys.readouterr().err
    assert main([*command, "--resolution", "2D=many"]) == 1
    assert "resolution of 2D must be an integer, got 'many'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def cases(names, values):
    return [dict(zip(names, row)) for row in values]


def test_a_correlation_holds_fails_or_is_undecided():
    rng = np.random.default_rng(0)
    x = np.arange(20.0)
    rising = cases("xy", np.stack([x, x + rng.normal(size=20)], axis=1))
    assert claims.correlation("c", rising, "x", "y").verdict == "holds"
    assert claims.correlation("c", rising, "x", "y", positive=False).verdict == "does not hold"
    noise = cases("xy", rng.normal(size=(20, 2)))
    assert claims.correlation("c", noise, "x", "y").verdict == "undecided"
    few = claims.correlation("c", rising[:3], "x", "y")
    assert (few.verdict, few.count) == ("undecided", 3)
    assert np.isnan(few.low)


def test_rows_of_one_network_are_drawn_together():
    rng = np.random.default_rng(1)
    rows = []
    for seed in range(8):  # seeds differ, and each has twenty rows
        place = rng.normal(size=2)
        rows += [{"seed": seed, "x": x, "y": y} for x, y in place + 0.01 * rng.normal(size=(20, 2))]
    apart = claims.correlation("c", rows, "x", "y")
    together = claims.correlation("c", rows, "x", "y", by=["seed"])
    assert apart.value == together.value
    assert (apart.count, together.count) == (160, 8)
    assert together.high - together.low > 2 * (apart.high - apart.low)


def test_a_correlation_within_networks_does_not_see_what_lies_between_them():
    rows = [
        {"seed": seed, "x": seed + 0.01 * i, "y": seed - 0.01 * i * i}
        for seed in range(6)
        for i in range(5)
    ]
    assert claims.correlation("c", rows, "x", "y").verdict == "holds"
    within = claims.correlation_within("c", rows, "x", "y", ["seed"])
    assert within.value == pytest.approx(-1)
    assert (within.verdict, within.count) == ("does not hold", 6)


def test_a_mean_is_compared_with_what_would_mean_nothing():
    holds = claims.mean("m", "x", [1.0, 1.2, 0.9, 1.1, 1.3, np.nan], null_value=0.0)
    assert (holds.verdict, holds.count) == ("holds", 5)
    assert holds.low <= holds.value <= holds.high
    below = claims.mean(
        "m", "x", [-1.0, -1.2, -0.9, -1.1, -1.3], null_value=0.0, alternative="less"
    )
    assert below.verdict == "holds"
    assert "| m | x | 1.1 (" in claims.markdown_table([holds])


def pinn_landscapes(folder, four_rough):
    """A bowl in 3D and, along the fourth direction, more bowls beside it in 4D."""
    axis = np.linspace(-1, 1, 9)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    bowl = x**2 + y**2 + z**2
    coarse = np.linspace(-1, 1, 5)
    w = np.cos(2 * np.pi * coarse) if four_rough else -(coarse**2)
    four = bowl[::2, ::2, ::2, None] - w
    rows = []
    for look, loss in (("3D", bowl), ("4D", four)):
        Landscape(loss, np.ones(loss.ndim), np.ones(loss.shape, dtype=bool)).save(folder / look)
        network = {"beta": 1, "seed": 0, "rate": 1.0}
        numbers = {"relative error": 0.1, "number_of_minima": 1, "number_of_saddles": 0}
        rows.append({"landscape": look, "look": look, **network, **numbers})
        rows[-1] |= {"width_at_half_depth": 0.5, "average_persistence": 1.0}
    return rows


@pytest.mark.parametrize(("rough", "ratio"), [(False, 0.0), (True, np.log2(5))])
def test_4d_is_compared_with_its_3d_slice(tmp_path, rough, ratio):
    from tlp_core.experiments import pinn

    found = {c.text: c for c in pinn.claims(pinn_landscapes(tmp_path, rough), tmp_path)}
    assert found["4D has more critical points than 3D"].value == pytest.approx(ratio)
    mapped = found["the basins of 4D map into those of 3D"]
    assert mapped.count == int(rough)
    assert mapped.verdict == "shown"
    assert found["the rule for neighbours changes the counts"].value == 1


def test_grokking_dates_both_jumps():
    from tlp_core.experiments.grokking import grokking_claims

    steps = np.arange(0, 4000, 200)
    rows = [
        {
            "seed": seed,
            "look": "2D",
            "step": step,
            "test accuracy": float(step >= 2000) + 0.01 * (step % 7),
            "number_of_minima": float(step >= 1400) + 0.01 * (step % 3),
            "average_persistence": 1.0,
            "global_minimum_depth": float(step >= 2600) + 0.01 * (step % 3),
            "width_at_half_depth": 0.5,
            "top_eigenvalue": np.nan,
        }
        for seed in range(6)
        for step in steps
    ]
    found = {claim.text.split()[0]: claim for claim in grokking_claims(rows, Path())}
    assert found["number_of_minima"].value == -600
    assert found["number_of_minima"].verdict == "holds"
    assert found["global_minimum_depth"].verdict == "does not hold"
    assert found["width_at_half_depth"].count == found["top_eigenvalue"].count == 0


def test_a_slow_change_is_dated_at_its_middle():
    from tlp_core.experiments.scaling import scaling_claims

    steps = np.geomspace(1, 10_000, 25)
    falling = 2 - 1 / (1 + np.exp(-3 * (np.log10(steps) - 2)))
    later = 5 * (1 + np.tanh(3 * (np.log10(steps) - 3)))
    rows = [
        {
            "width": width,
            "seed": seed,
            "look": "2D",
            "step": step,
            "validation loss": falling[i],
            "number_of_minima": later[i],
            "average_persistence": 1.0,
            "global_minimum_depth": falling[i],
            "width_at_half_depth": np.nan,
            "top_eigenvalue": 1.0,
        }
        for width in (8, 16)
        for seed in range(3)
        for i, step in enumerate(steps)
    ]
    found = {c.text.split()[0]: c for c in scaling_claims(rows, Path()) if "announces" in c.text}
    assert found["number_of_minima"].value == pytest.approx(
        1.0, abs=0.17
    )  # 3 - 2, on a grid of 1/6
    assert found["number_of_minima"].verdict == "does not hold"
    assert found["global_minimum_depth"].value == 0
    assert found["global_minimum_depth"].verdict == "undecided"
    assert found["width_at_half_depth"].count == 0


def test_depth_is_given_in_units_of_the_loss_and_relative_to_its_minimum():
    from tlp_core.experiments.segmentation import claims as answered

    rows = [
        {
            "rate": rate,
            "seed": seed,
            "step": step,
            "minimum_loss": 1 / (1 + step),
            "maximum_loss": 1 / (1 + step) + 0.1 / np.sqrt(1 + step),
            "pixel accuracy": 0.5,
        }
        for rate in (1e-3, 1e-2, 1e-1)
        for seed in (0, 1)
        for step in (0, 9, 99)
    ]
    edges, absolute, _, _, relative, _, _ = answered(rows, Path())
    assert (edges.value, edges.verdict) == (pytest.approx(-1), "holds")
    assert (absolute.value, absolute.verdict) == (pytest.approx(-1), "does not hold")
    assert (relative.value, relative.verdict) == (pytest.approx(1), "holds")


@pytest.mark.parametrize("cases", [5, 8, 30])
def test_the_interval_of_a_mean_covers_what_it_promises(cases):
    """Of 4,000 simulated claims without an effect; the bootstrap's covers 85 % at five cases."""
    values = np.random.default_rng(0).standard_normal((4000, cases))
    found = [claims.mean("m", "x", row, null_value=0.0) for row in values]
    covered = np.mean([claim.low <= 0 <= claim.high for claim in found])
    assert covered == pytest.approx(0.95, abs=0.015)
    assert np.mean([claim.verdict == "holds" for claim in found]) == pytest.approx(0.025, abs=0.01)


def test_the_interval_of_a_correlation_covers_what_it_promises(monkeypatch):
    """Of 100 simulated claims of eight cases without an effect; 2.5 % are promised to hold."""
    monkeypatch.setattr(claims, "_RESAMPLES", 100)

    def correlation(pairs):
        with np.errstate(invalid="ignore"):
            return np.corrcoef(rankdata(pairs, axis=0).T)[0, 1]

    pairs = np.random.default_rng(0).standard_normal((100, 8, 1, 2))
    found = [
        claims.evaluate_claim("c", "x", list(each), correlation, 0.0, "greater") for each in pairs
    ]
    assert np.mean([claim.verdict == "holds" for claim in found]) <= 0.06
    assert np.mean([claim.low <= 0 <= claim.high for claim in found]) >= 0.9


class Killed(BaseException):
    """What ends a process without cleaning up, for tests within one process."""


def kill_after(monkeypatch, count):
    """Let trainings keep their state at every step, and end one that has kept it so often."""
    monkeypatch.setattr(definition, "_KEEP_SECONDS", -1.0)
    keep, kept = definition.Training.keep, []

    def keep_and_end(self, step, curve, parts):
        keep(self, step, curve, parts)
        kept.append(step)
        if len(kept) == count:
            raise Killed

    monkeypatch.setattr(definition.Training, "keep", keep_and_end)
    return kept


def short_network(name):
    """The first network of an experiment's quick form, with few steps."""
    network = named_experiment(name).networks("quick")[0]
    steps = {"resnet": range(5), "grokking": range(0, 21, 5), "scaling": range(0, 13, 4)}
    return replace(network, steps=steps.get(name, network.steps))


@pytest.mark.parametrize("name", ["resnet", "grokking", "scaling", "pinn"])
def test_a_killed_training_goes_on_and_ends_in_the_same_bytes(name, tmp_path, monkeypatch):
    """Epochs with shuffled batches, steps on random sequences, and L-BFGS."""
    network = short_network(name)
    if name == "pinn":
        train = pinn_convection.train
        monkeypatch.setattr(pinn_convection, "_SLICE", 10)
        monkeypatch.setattr(
            pinn_convection, "train", lambda *a, **k: train(*a, **{**k, "iterations": 60})
        )
    whole = run._train_or_reuse(network, tmp_path / "whole", silent)
    with monkeypatch.context() as patched:
        kept = kill_after(patched, 3)
        with pytest.raises(Killed):
            run._train_or_reuse(network, tmp_path / "killed", silent)
    (left,) = (tmp_path / "killed" / "networks").iterdir()
    assert left.name.startswith(".")
    assert (left / "training.pt").exists()
    resumed = run._train_or_reuse(network, tmp_path / "killed", silent)
    assert [p.name for p in (tmp_path / "killed" / "networks").iterdir()] == [network.key]
    names = sorted(p.name for p in whole.iterdir())
    assert names == sorted(p.name for p in resumed.iterdir())
    assert (whole / "numbers.json").read_text() == (resumed / "numbers.json").read_text()
    for checkpoint in whole.glob("*.pt"):
        one, other = (
            torch.load(p, weights_only=True) for p in (checkpoint, resumed / checkpoint.name)
        )
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert len(kept) == 3


def test_lbfgs_in_slices_is_one_long_run(monkeypatch):
    """The published training is one call of 1,000 iterations."""
    problems = [load_problem("pinn-convection", arguments={"collocation": 30}) for _ in range(2)]
    monkeypatch.setattr(pinn_convection, "_SLICE", 10**9)
    one = pinn_convection.train(problems[0], iterations=80)
    monkeypatch.setattr(pinn_convection, "_SLICE", 7)
    assert pinn_convection.train(problems[1], iterations=80) == one
    states = [problem.model.state_dict() for problem in problems]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
