import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tlp_core import load_problem
from tlp_core.cli.main import INCOMPLETE, main


@pytest.fixture
def store(tmp_path):
    path = str(tmp_path / "wells.zarr")
    assert main(["sample", "two-wells", "-r", "11", "-o", path]) == 0
    return path


def told(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_sample_and_info_tell_what_is_there(store, capsys):
    assert main(["info", store, "--json"]) == 0
    found = told(capsys)
    assert found["shape"] == [11, 11]
    assert found["evaluated"] == found["samples"] == 121
    assert found["problem"] == "two wells, 2 parameters"


def test_the_same_command_goes_on_where_it_stopped(tmp_path, capsys):
    command = ["sample", "two-wells", "-r", "5", "-o", str(tmp_path / "a.zarr"), "--json"]
    assert main([*command, "--time-budget", "1e-9"]) == INCOMPLETE
    assert told(capsys)["evaluated"] < 25
    assert main(command) == 0
    assert told(capsys)["evaluated"] == 25


def test_describe_and_profile_agree(store, tmp_path, capsys):
    assert main(["describe", store, "--json"]) == 0
    assert told(capsys)["number_of_minima"] == 2
    output = tmp_path / "basins.csv"
    assert main(["profile", store, "-o", str(output)]) == 0
    rows = list(csv.DictReader(output.open()))
    assert len(rows) == 3
    assert sum(int(row["size"]) for row in rows if row["parent"] == "-1") == 121
    assert main(["profile", store, "--threshold", "0.9", "-o", str(tmp_path / "b.npz")]) == 0
    assert np.load(tmp_path / "b.npz")["size"].tolist() == [121]


def test_describe_tells_why_a_number_is_missing(store, capsys):
    assert main(["describe", store, "--threshold", "0.9", "--json"]) == 0
    found = told(capsys)
    assert found["smad"] is None
    assert found["undefined"]["smad"] == "no minimum lies below a saddle"
    assert main(["describe", store, "--threshold", "0.9"]) == 0
    assert "smad=nan" in capsys.readouterr().out


def test_compare_writes_a_matrix(store, tmp_path, capsys):
    bowl = str(tmp_path / "bowl.zarr")
    assert main(["sample", "quadratic-bowl", "-r", "11", "-o", bowl]) == 0
    output = tmp_path / "matrix.csv"
    command = ["compare", store, bowl, store, "-o", str(output), "--json"]
    assert main([*command, "--distance", "wasserstein", "--relative"]) == 0
    found = told(capsys)
    rows = list(csv.reader(output.open()))
    assert rows[0] == ["wasserstein", store, bowl, store]
    matrix = np.array([row[1:] for row in rows[1:]], dtype=float)
    np.testing.assert_array_equal(matrix, found["distances"])
    np.testing.assert_array_equal(matrix, matrix.T)
    assert matrix[0, 2] == 0
    assert matrix[0, 1] == matrix.max() == found["largest"] > 0


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["info", "missing.zarr"], "tlp info: a landscape must exist"),
        (["sample", "nothing", "-o", "x.zarr"], "tlp sample: a problem must be one of"),
        (["sample", "two-wells", "-r", "4", "-o", "x.zarr"], "resolution must be odd"),
        (["sample", "two-wells", "-n", "3", "-o", "x.zarr"], "at most the number of parameters, 2"),
    ],
)
def test_errors_are_one_sentence_and_an_exit_code(command, message, capsys):
    assert main(command) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert message in last


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "fast"], "engine must be one of single, batched, compiled"),
        (["--batch", "0"], "batch must be >= 1, got 0"),
        (["--memory", "0"], "memory_limit must be > 0"),
        (["--batch-norm", "fresh"], "batch_norm must be one of stored, reestimated"),
        (["--scattered", "1"], "count must be >= 2, got 1"),
        (["--scattered", "9", "--region", "star"], "region must be one of box, ball"),
        (["--time-budget", "-1"], "time_budget must be > 0"),
    ],
)
def test_wrong_options_are_told_before_directions_are_made(options, message, capsys):
    assert main(["sample", "two-wells", "-o", "x.zarr", *options]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert "Hessian" not in told


def test_profile_wants_a_known_ending(store, capsys):
    assert main(["profile", store, "-o", "basins.xlsx"]) == 1
    assert "must end in .csv or .npz" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["sample", "info", "profile", "describe", "compare", "directions"]
)
def test_every_command_has_help(command):
    done = subprocess.run(
        [sys.executable, "-m", "tlp_core.cli.main", command, "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "usage: tlp" in done.stdout


def test_a_training_is_sampled_step_by_step(tmp_path, capsys):
    for step, place in ((1, 0.2), (10, 0.6)):
        problem = load_problem("two-wells")
        with torch.no_grad():
            next(problem.model.parameters()).copy_(torch.tensor([place, 0.0]))
        torch.save(problem.model.state_dict(), tmp_path / f"net_{step}.pt")
    command = ["training", "two-wells", "--checkpoints", str(tmp_path / "*.pt"), "-r", "5", "-q"]
    assert main([*command, "-o", str(tmp_path / "out"), "--json"]) == 0
    first = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["step"], line["evaluated"]) for line in first] == [(1, 25), (10, 25)]
    assert len({Path(line["store"]).parent for line in first}) == 1
    assert main([*command, "-o", str(tmp_path / "out"), "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == first
    assert main([*command, "-o", str(tmp_path / "out"), "--directions-of", "2"]) == 1
    assert "must be one of 1, 10, got 2" in capsys.readouterr().err
    assert main([*command, "-o", str(tmp_path / "out"), "--own-directions"]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 2
