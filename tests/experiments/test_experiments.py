import csv
import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from tlp_core import Landscape, load_problem
from tlp_core.cli.main import main
from tlp_core.directions.settings import DirectionSettings
from tlp_core.experiments import EXPERIMENTS, claims, definition, named_experiment, pinn, run
from tlp_core.experiments.definition import Experiment, Look, Network
from tlp_core.experiments.results import low_volume, tree_of
from tlp_core.experiments.rows import add_row, read_rows, write_table
from tlp_core.experiments.run import gather_rows, run_experiment, write_results, write_rows
from tlp_core.experiments.transitions import change_date
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

    def answer(rows):
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


def gather_results(experiment, folder, **options):
    """Return the claims of the rows that exist."""
    return write_results(experiment, folder, gather_rows(experiment, folder, **options))


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

    names = ("descriptors.csv", "rows.csv", "claims.csv", "claims.md", "landscapes.csv")
    before = {name: (tmp_path / name).read_bytes() for name in names}
    assert before["descriptors.csv"] == before["rows.csv"]
    shutil.rmtree(tmp_path / "networks")
    shutil.rmtree(tmp_path / "landscapes")
    run_experiment(one, tmp_path, report=printed.append)
    assert trained == [0.1, 0.5]  # rows are enough
    assert {name: (tmp_path / name).read_bytes() for name in names} == before


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
    assert "6 networks, 31,704 samples; landscapes: 6 3D of 2,197" in printed
    assert re.search(r"sampling takes about \d+ (s|min) .*here", printed)


def test_the_cost_of_a_slow_network_is_told_after_one_evaluation(monkeypatch):
    """The segmentation of the published size took three minutes to estimate."""
    one, calls = tiny([]), []
    network, _ = one.networks("full")

    def make():
        problem = network.make()

        def loss(model, batch):
            calls.append(1)
            return problem.loss(model, batch)

        return replace(problem, loss=loss)

    monkeypatch.setattr(run, "_SLOW", 0.0)
    assert run.sampling_time([replace(network, make=make)], one.looks("full")) > 0
    assert len(calls) == 1


def test_a_training_that_diverged_has_rows_without_descriptors(tmp_path):
    experiment = tiny([])
    whole, broken = experiment.networks("quick")

    def diverge(problem, training, progress):
        with torch.no_grad():
            next(problem.model.parameters()).fill_(np.nan)
        for step in (0, 5):
            training.save(problem, step, {"error": np.nan})
        return {}

    networks = [whole, replace(broken, train=diverge)]
    experiment = replace(experiment, networks=lambda _size: networks)
    run_experiment(experiment, tmp_path, size="quick", report=lambda _text: None)
    rows = read_rows(tmp_path / "descriptors.csv")
    assert [("number_of_minima" in row, row["tilt"]) for row in rows] == [
        *[(True, 0.1)] * 3,
        *[(False, 0.5)] * 3,
    ]
    assert {row["tilt"] for row in rows_of(tmp_path / "landscapes.csv")} == {"0.1"}
    assert len(list((tmp_path / "landscapes").iterdir())) == 3


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
    (tmp_path / "rows.csv").unlink()
    (tmp_path / "networks" / "tilt0.1" / "numbers.json").write_text('{"steps": {"0": {}}}')
    with pytest.raises(ValueError, match=r"tilt0\.1 has no step 5; remove this folder"):
        run_experiment(tiny([]), tmp_path)


def test_a_run_goes_on_from_its_rows_where_nothing_else_is_left(tmp_path):
    """Two runs with a part each, and a third with their rows on another machine."""
    trained = []
    one = tiny(trained)
    run_experiment(one, tmp_path / "a", only={"tilt": "0.5"})
    run_experiment(one, tmp_path / "a", only={"tilt": "0.1"}, only_looks=["last"])
    (tmp_path / "b").mkdir()
    for name in ("rows.csv", "experiment.json"):
        shutil.copy(tmp_path / "a" / name, tmp_path / "b" / name)
    assert len(rows_of(tmp_path / "b/rows.csv")) == 4
    run_experiment(one, tmp_path / "b")
    assert trained == [0.5, 0.1, 0.1]
    run_experiment(one, tmp_path / "c")
    for name in ("descriptors.csv", "claims.csv"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()


def test_results_can_be_gathered_from_the_rows_that_exist(tmp_path, capsys):
    trained, printed = [], []
    one = tiny(trained)
    with pytest.raises(ValueError, match=r"rows\.csv must have rows of this experiment, got none"):
        gather_results(one, tmp_path / "a")
    run_experiment(one, tmp_path, only={"tilt": "0.5"})
    (answer,) = gather_results(one, tmp_path, report=printed.append)
    assert printed == ["tiny: rows of 3 of 6 landscapes"]
    assert (answer.count, trained) == (3, [0.5])
    assert len(rows_of(tmp_path / "descriptors.csv")) == 3
    text = (tmp_path / "rows.csv").read_text().splitlines()
    (tmp_path / "rows.csv").write_text("\n".join([*text[:2], text[3]]) + "\n")
    gather_results(one, tmp_path, report=printed.append)
    assert printed[-1] == "tiny: rows of 1 of 6 landscapes"  # a look without its last step
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"rows\.csv must have a column 'landscape'"):
        gather_results(one, tmp_path)
    assert not (tmp_path / "a").exists()


def test_rows_of_several_processes_are_all_kept(tmp_path):
    def write(number):
        for step in range(20):
            add_row(tmp_path / "rows.csv", {"run": number, "step": step, f"own {number}": 0.1})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    rows = read_rows(tmp_path / "rows.csv")
    assert sorted((row["run"], row["step"]) for row in rows) == [
        (run, step) for run in range(4) for step in range(20)
    ]
    assert all(row[f"own {row['run']}"] == 0.1 and len(row) == 3 for row in rows)


def test_values_of_a_table_come_back(tmp_path):
    row = {"count": 3, "loss": 0.1 + 0.2, "skip": "yes", "nothing": float("inf"), "a": "1, [2]"}
    write_table(tmp_path / "a.csv", [row, {"count": 4}])
    assert read_rows(tmp_path / "a.csv") == [row, {"count": 4}]
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=r"a\.csv must be a table of an experiment"):
        read_rows(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("\ufeffa,b\n1,2\n", encoding="utf-8")
    assert read_rows(tmp_path / "a.csv") == [{"a": 1, "b": 2}]
    for damaged in ("a,b\n1,2\n1,2,3\n", "a,b\n1,2\n1\n"):
        (tmp_path / "a.csv").write_text(damaged)
        with pytest.raises(ValueError, match="line 3 is damaged"):
            read_rows(tmp_path / "a.csv")


def test_rows_of_another_look_are_not_reused(tmp_path):
    run_experiment(tiny([]), tmp_path)
    other = replace(tiny([]), looks=lambda _size: [look("2D", 2, 0.5)])
    with pytest.raises(ValueError, match=r"must belong to .*'distance': 0\.5"):
        run_experiment(other, tmp_path)


def test_a_landscape_of_another_look_is_not_reused(tmp_path):
    run_experiment(tiny([]), tmp_path)
    for name in ("rows.csv", "experiment.json"):
        (tmp_path / name).unlink()
    other = replace(tiny([]), looks=lambda _size: [look("2D", 2, 0.5)])
    with pytest.raises(ValueError, match="distance"):
        run_experiment(other, tmp_path)


def test_a_landscape_in_a_box_of_a_rise_is_reused(tmp_path, monkeypatch):
    """Its distances are those of the store, and are not searched again."""
    by_rise = replace(look("2D", 2, 1.0), samples=GridSettings(5, rise=0.5))
    one = replace(tiny([]), looks=lambda _size: [by_rise])
    run_experiment(one, tmp_path)
    first = rows_of(tmp_path / "rows.csv")
    assert {row["half-width 1"] for row in first} != {"1.0"}
    (tmp_path / "rows.csv").unlink()
    monkeypatch.setattr(run, "sample_plan", None)
    run_experiment(one, tmp_path)
    assert rows_of(tmp_path / "rows.csv") == first


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
    assert "only must be one of skip, noise, seed, got 'sneed'" in capsys.readouterr().err
    assert main([*command, "--device", "nonsense"]) == 1
    assert "device must be available here, got 'nonsense'" in capsys.readouterr().err
    assert main([*command, "--only", "skip"]) == 1
    assert "only must be NAME=VALUE, such as seed=0, got 'skip'" in capsys.readouterr().err
    assert main([*command, "--look", "9D"]) == 1
    assert "look must be one of 2D, got '9D'" in capsys.readouterr().err
    assert main([*command, "--gather", "--look", "2D"]) == 1
    assert "--look has no meaning with --gather" in capsys.readouterr().err
    assert main([*command, "--resolution", "2D=many"]) == 1
    assert "resolution of 2D must be an integer, got 'many'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def cases(names, values):
    return [dict(zip(names, row)) for row in values]


def pinn_rows():
    """Rows of 8 values of β and three seeds, of which those above 12 fail."""
    rng = np.random.default_rng(0)
    rows = []
    for beta, seed in product((1, 5, 10, 15, 20, 30, 50, 70), range(3)):
        fails = beta > 12
        error = (1.0 if fails else 0.01) * (1 + 0.1 * rng.random())
        shift = 0.1 * rng.random() if 10 <= beta <= 30 else 0.01 * rng.random()
        common = {"beta": beta, "seed": seed, "rate": 1.0, "relative error": error}
        common["number_of_minima"] = 1 + fails
        diagram = [[0.0, 1.0], [0.1, 0.3 + shift]]
        rules = ("axis", "diagonal", "moore", "freudenthal")
        rows += [
            {
                **common,
                "look": "3D",
                "number_of_saddles": int(fails),
                "average_finite_persistence": 0.01 * beta if fails else np.nan,
                "persistence_diagram": str(diagram),
                **{f"minima {rule}": 1 + fails for rule in rules},
            },
            {**common, "look": "3D-early", "relative error": 2 * error},
            {
                **common,
                "look": "3D-rise",
                "number_of_minima": 1,
                "half-width": 0.1 / beta,
                "volume below half the rise": 0.185,
            },
            {
                **common,
                "look": "4D",
                "critical points": 2,
                "critical points of the slice": 1,
                "basins in the slice": np.nan,
            },
        ]
    return rows


def test_the_claims_on_pinns_need_rows_only():
    found = {c.text: c for c in claims.correct_claims(pinn.claims(pinn_rows()))}
    verdicts = {text: claim.verdict for text, claim in found.items()}
    assert found["a worse model has more minima (3D)"].p < 0.05
    assert found["a worse model has more minima (3D)"].count == 8
    assert verdicts["a worse model has more minima (3D-rise)"] == "undecided"
    assert found["seeds differ most near the transition"].p < 0.05
    assert verdicts["4D has more critical points than 3D"] == "holds"
    assert found["4D has more critical points than 3D"].value == 1
    assert found["seeds differ most near the transition"].count == 8
    assert found["average persistence grows with β (3D)"].count == 5
    assert found["the rule for neighbours changes the counts"].value == 1
    assert verdicts["training to convergence lowers the error"] == "holds"


@pytest.mark.parametrize(("rough", "points"), [(False, (1, 1)), (True, (5, 1))])
def test_4d_is_compared_with_its_slice(rough, points):
    """A bowl in 3D and, along the fourth direction, more bowls beside it."""
    axis = np.linspace(-1, 1, 5)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    w = np.cos(2 * np.pi * axis) if rough else -(axis**2)
    loss = (x**2 + y**2 + z**2)[..., None] - w
    landscape = Landscape(loss, np.ones(4), np.ones(loss.shape, dtype=bool))
    found = pinn._measure_4d(landscape, tree_of(landscape))
    assert (found["critical points"], found["critical points of the slice"]) == points
    assert found["basins in the slice"] == 0.5 if rough else np.isnan(found["basins in the slice"])


@pytest.mark.parametrize(("n", "fraction"), [(2, 0.393), (3, 0.185)])
def test_the_volume_below_half_the_rise_of_a_parabola_is_known(n, fraction):
    axes = np.meshgrid(*[np.linspace(-1, 1, 61)] * n, indexing="ij")
    loss = sum(x**2 for x in axes)
    landscape = Landscape(loss, np.ones(n), np.ones(loss.shape, dtype=bool), {"rise": 1.0})
    assert low_volume(landscape) == pytest.approx(fraction, rel=0.05)


def test_grokking_dates_both_jumps(tmp_path):
    from tlp_core.experiments.grokking import GROKKING, grokking_claims

    rng = np.random.default_rng(0)
    rows = [
        {
            "seed": seed,
            "look": "2D",
            "step": step,
            "test accuracy": float(step >= 1500 + 200 * seed),
            "number_of_minima": 1,
            "half-width": 1.0 + float(step >= 2100 + 200 * seed),
            "volume below half the rise": rng.random(),
            "top_eigenvalue": np.nan,
        }
        for seed in range(8)
        for step in range(0, 4000, 100)
    ]
    answers = claims.correct_claims(grokking_claims(rows))
    found = {claim.text.partition(" (2D)")[0]: claim for claim in answers}
    follows = found["half-width changes with the transition"]
    assert (follows.value, follows.verdict) == (pytest.approx(1), "holds")
    lag = found["half-width changes before (-) or after (+) the transition"]
    assert (lag.value, lag.verdict) == (600, "shown")
    assert found["volume below half the rise changes with the transition"].verdict == "undecided"
    for name in ("number of minima", "top eigenvalue"):
        assert found[f"{name} changes with the transition"].count == 0

    write_rows(GROKKING, tmp_path, rows)
    dates = {(row["series"], row["seed"]): row["step"] for row in read_rows(tmp_path / "dates.csv")}
    assert (dates["test accuracy", 3], dates["half-width", 3]) == (2100, 2700)
    assert {series for series, _seed in dates} == {
        "test accuracy",
        "half-width",
        "volume below half the rise",
    }


@pytest.mark.parametrize("place", [1000, pytest.param(4500, marks=pytest.mark.exhaustive)])
def test_noise_does_not_change_with_a_transition(place):
    """Its dates lie in the middle of the steps, before a late event and after an early one."""
    from tlp_core.experiments.grokking import grokking_claims

    steps, rng, decided = np.arange(0, 6001, 300), np.random.default_rng(place), 0
    for _ in range(10):
        rows = [
            {
                "seed": seed,
                "look": "2D",
                "step": step,
                "test accuracy": float(step >= event),
                "number_of_minima": 1,
                "half-width": 1 + walk[i],
                "volume below half the rise": rng.random(),
                "top_eigenvalue": -step,
            }
            for seed in range(10)
            for event in [place + 300 * rng.integers(3)]
            for walk in [np.cumsum(rng.normal(size=len(steps)))]
            for i, step in enumerate(steps)
        ]
        answers = claims.correct_claims(grokking_claims(rows))
        decided += any(claim.verdict in ("holds", "does not hold") for claim in answers)
    assert decided <= 2


def test_a_series_is_dated_where_it_crosses_the_middle_of_its_levels():
    steps = np.arange(0.0, 300, 10)
    falling = 10 ** -np.clip((steps - 50) / 30, 0, 4)  # from 1 to 1e-4, the middle at 110
    assert change_date(steps, falling) == pytest.approx(110, abs=10)
    assert change_date(steps, np.where(steps < 200, 1.0, 3.0)) == 200
    dip = np.where((steps > 100) & (steps < 140), 5.0, 1.0)
    assert change_date(steps, np.where(steps > 200, 9.0, dip)) == 210
    gap = np.where(steps == 200, np.nan, np.where(steps < 200, 1.0, 3.0))
    assert change_date(steps, gap) == 210
    assert np.isnan(change_date(steps, np.ones(30)))
    assert np.isnan(change_date(steps[:7], steps[:7]))


def test_depth_is_relative_to_the_lowest_loss():
    from tlp_core.experiments.segmentation import claims as answered

    rows = [
        {
            "rate": rate,
            "seed": seed,
            "step": step,
            "minimum_loss": 1 / (1 + step),
            "maximum_loss": 1 / (1 + step) + 0.1 / np.sqrt(1 + step),
            "pixel accuracy": 0.9 - 0.1 * place + 0.01 * seed,
        }
        for place, rate in enumerate((1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1, 1.0, 10.0))
        for seed in (0, 1)
        for step in (0, 9, 99)
    ]
    edges, deepens, _, _ = claims.correct_claims(answered(rows))
    assert edges.count == deepens.count == 8  # seeds of one rate are one case
    assert (edges.value, edges.verdict) == (pytest.approx(-1), "holds")
    assert (deepens.value, deepens.verdict) == (pytest.approx(1), "holds")


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
