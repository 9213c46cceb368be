import csv
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from pypdf import PdfReader

from tlp_core import choices, load_problem
from tlp_core.cli.main import main
from tlp_core.cli.output import INCOMPLETE


@pytest.fixture
def store(tmp_path):
    path = str(tmp_path / "wells.zarr")
    assert main(["sample", "two-wells", "-r", "11", "-o", path]) == 0
    return path


def printed(capsys):
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_sample_and_info_print_the_facts_of_a_store(store, capsys):
    assert main(["info", store, "--json"]) == 0
    found = printed(capsys)
    assert found["shape"] == [11, 11]
    assert found["evaluated"] == found["samples"] == 121
    assert found["problem"] == "two wells, 2 parameters"


def test_the_same_command_resumes_a_store(tmp_path, capsys):
    command = ["sample", "two-wells", "-r", "5", "-o", str(tmp_path / "a.zarr"), "--json"]
    assert main([*command, "--time-budget", "1e-9"]) == INCOMPLETE
    assert printed(capsys)["evaluated"] < 25
    assert main(command) == 0
    assert printed(capsys)["evaluated"] == 25


def test_describe_and_profile_agree(store, tmp_path, capsys):
    assert main(["describe", store, "--json"]) == 0
    assert printed(capsys)["number_of_minima"] == 2
    output = tmp_path / "basins.csv"
    assert main(["profile", store, "-o", str(output)]) == 0
    rows = list(csv.DictReader(output.open()))
    assert len(rows) == 3
    assert sum(int(row["size"]) for row in rows if row["parent"] == "-1") == 121
    assert main(["profile", store, "--threshold", "0.9", "-o", str(tmp_path / "b.npz")]) == 0
    assert np.load(tmp_path / "b.npz")["size"].tolist() == [121]


def test_describe_gives_the_reason_for_an_undefined_descriptor(store, capsys):
    assert main(["describe", store, "--threshold", "0.9", "--json"]) == 0
    found = printed(capsys)
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
    found = printed(capsys)
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
def test_errors_give_one_sentence_and_an_exit_code(command, message, capsys):
    assert main(command) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert message in last


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch", "0"], "batch must be >= 1, got 0"),
        (["--engine", "single", "--batch", "32"], "batch must be 1 for engine single, got 32"),
        (["--memory", "0"], "memory_limit must be > 0"),
        (["--scattered", "1"], "count must be >= 2, got 1"),
        (["--time-budget", "-1"], "time_budget must be > 0"),
        (["--part", "3/2"], "part must be k/m with k from 1 to m, got 3/2"),
        (["--order", "algebraic"], "order must be magnitude for pyhessian"),
        (["--seed", "-1"], "seed must be >= 0, got -1"),
        (["--seed", str(2**70)], "seed must be below 2^63"),
        (["--batch", "99999999999"], "batch must be at most 65536"),
        (["-r", "9,5"], "resolutions must ascend"),
        (["-r", "4,5"], "resolution must be odd"),
    ],
)
def test_wrong_settings_are_reported_before_anything_is_done(options, message, capsys, tmp_path):
    store = tmp_path / "x.zarr"
    assert main(["sample", "two-wells", "-o", str(store), *options]) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert "Hessian" not in printed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("--engine", choices.ENGINES),
        ("--batch-norm", choices.BATCH_NORMS),
        ("--region", choices.REGIONS),
        ("--method", choices.DIRECTION_METHODS),
        ("--order", choices.SPECTRUM_ORDERS),
        ("--normalization", choices.NORMALIZATIONS),
        ("--dtype", choices.DTYPES),
        ("--autocast", choices.AUTOCASTS),
    ],
)
def test_choices_of_options_are_those_of_the_core(option, choices, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["sample", "two-wells", "-o", "x.zarr", option, "nonsense"])
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "invalid choice: 'nonsense'" in last
    assert [word.strip("'") for word in last.split("choose from ")[1].rstrip(")").split(", ")] == [
        *choices
    ]


def test_plot_draws_landscapes_side_by_side_and_tables(store, tmp_path, capsys):
    picture = tmp_path / "wells.svg"
    assert main(["plot", store, store, "-o", str(picture), "--json"]) == 0
    assert printed(capsys) == {"output": str(picture), "landscapes": 1}, "each store once"
    for name in ("beta1_seed0", "beta1_seed1", "beta2_seed0"):
        shutil.copytree(store, tmp_path / f"{name}.zarr")
    runs = str(tmp_path / "beta*.zarr")
    command = ["plot", runs, "--rows", "beta", "-o", str(picture), "--json"]
    assert main([*command, "--columns", "seed"]) == 0
    assert printed(capsys)["landscapes"] == 3
    text = picture.read_text()
    assert "beta = 2, seed = 0" in text
    assert "beta = 2, seed = 1" not in text
    assert main(command) == 1
    assert "beta = 1 has two" in capsys.readouterr().err
    vector = tmp_path / "wells.pdf"
    assert main([*command, "--columns", "seed", "-o", str(vector)]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (page,) = PdfReader(vector, strict=True).pages
    assert "beta = 2, seed = 0" in page.extract_text()
    drawing = ElementTree.parse(picture).getroot()
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    links = [each.get("{http://www.w3.org/1999/xlink}href", "#") for each in drawing.iter()]
    assert all(link.startswith(("#", "data:")) for link in links), "a picture must be one file"
    assert main(["plot", store, "-o", str(tmp_path / "x.bmp")]) == 1
    assert "a picture must end in .svg, .pdf, .png" in capsys.readouterr().err


def test_profile_needs_a_known_ending(store, capsys):
    assert main(["profile", store, "-o", "basins.xlsx"]) == 1
    assert "must end in .csv or .npz" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["sample", "info", "profile", "describe", "compare", "directions"]
)
def test_every_command_has_help(command):
    done = subprocess.run(
        [sys.executable, "-m", "tlp_core", command, "--help"],
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


def test_a_part_that_was_stopped_has_the_exit_code_of_an_incomplete_landscape(tmp_path, capsys):
    store = str(tmp_path / "a.zarr")
    command = ["sample", "two-wells", "-r", "5", "-q", "-o", store, "--engine", "single"]
    assert main([*command, "--part", "1/2", "--time-budget", "1e-9"]) == INCOMPLETE
    assert main([*command, "--part", "1/2"]) == 0
    assert main([*command, "--part", "2/2", "--time-budget", "1e-9"]) == INCOMPLETE
    assert main([*command, "--part", "2/2"]) == 0


def test_a_training_that_was_stopped_has_the_exit_code_of_an_incomplete_landscape(tmp_path):
    state = load_problem("two-wells").model.state_dict()
    for step in (1, 2):
        torch.save(state, tmp_path / f"step_{step}.pt")
    command = ["training", "two-wells", "--checkpoints", str(tmp_path / "*.pt"), "-r", "5", "-q"]
    command += ["-o", str(tmp_path / "out")]
    assert main([*command, "--time-budget", "1e-9"]) == INCOMPLETE
    assert main(command) == 0


@pytest.mark.parametrize(
    "command",
    [
        ["sample", "FILE", "-o", "a.zarr"],
        ["directions", "FILE", "-o", "d.npz"],
        ["training", "FILE", "--checkpoints", "a.pt", "-o", "out"],
    ],
)
def test_ctrl_c_is_one_sentence_in_every_command(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stops.py").write_text("raise KeyboardInterrupt")
    (tmp_path / "a.pt").touch()
    assert main([word.replace("FILE", "stops.py") for word in command]) == INCOMPLETE
    printed = capsys.readouterr().err
    advice = "" if command[0] == "directions" else "; the same command resumes it"
    assert printed.splitlines()[-1] == f"tlp {command[0]}: stopped{advice}"
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    "text",
    [
        "import sys; sys.exit(2)",
        "import argparse; argparse.ArgumentParser().parse_args(['--unknown'])",
        "def make_problem(): raise SystemExit('bye')",
        "import torch, tlp_core\ndef make_problem():\n"
        "    m = torch.nn.Linear(1, 1)\n"
        "    return tlp_core.Problem(m, lambda m, b: exit(), [None], name='exits')",
    ],
)
def test_a_problem_file_that_exits_ends_nothing(tmp_path, capsys, text):
    (tmp_path / "exits.py").write_text(text)
    assert main(["sample", str(tmp_path / "exits.py"), "-o", str(tmp_path / "a.zarr")]) == 1
    assert "raised SystemExit" in capsys.readouterr().err


def test_an_empty_output_is_refused_before_anything_is_done(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["sample", "two-wells", "-o", ""])
    assert ended.value.code == 2
    assert "a path must have a name, got an empty one" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["sample", "two-wells", "-r", "3"], ["import", "a.npz"]])
def test_a_new_store_has_the_ending_by_which_paraview_opens_it(command, tmp_path, capsys):
    assert main([*command, "-o", str(tmp_path / "wells.npz")]) == 1
    text = "the name of a new store must end in .zarr, or ParaView cannot open it"
    assert text in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_store_of_another_name_is_resumed(tmp_path, capsys):
    store, options = tmp_path / "wells", ["-r", "3", "-q"]
    assert main(["sample", "two-wells", *options, "-o", f"{store}.zarr"]) == 0
    (tmp_path / "wells.zarr").rename(store)
    assert main(["sample", "two-wells", *options, "-o", str(store)]) == 0
    assert f"store={store} shape=3x3" in capsys.readouterr().out


def test_the_path_of_a_store_may_end_with_a_slash(tmp_path):
    assert main(["sample", "two-wells", "-r", "3", "-q", "-o", f"{tmp_path}/wells.zarr/"]) == 0


def test_a_result_goes_to_a_device_and_leaves_it(store, capsys):
    assert main(["profile", store, "-o", "/dev/null"]) == 1
    assert "must end in .csv or .npz" in capsys.readouterr().err
    assert main(["compare", store, store, "-o", "/dev/null"]) == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "random", "--order", "algebraic"], "--order has no meaning with --method"),
        (
            ["--method", "random", "--solutions", "no.pt"],
            "--solutions has no meaning with --method",
        ),
        (["--method", "gradient", "--tolerance", "1e-9"], "--tolerance has no meaning with"),
        (["--solutions", "no.pt"], "--solutions has no meaning with --method pyhessian"),
        (
            ["--method", "checkpoints", "--solutions", "no.pt", "-n", "3"],
            "--directions must be the number of the solutions, 1, with --method checkpoints, got 3",
        ),
        (["--region", "ball"], "--region has no meaning with a grid"),
        (
            ["--directions-file", "no.npz", "--seed", "1"],
            "--seed has no meaning with --directions-file",
        ),
        (
            ["--method", "checkpoints", "-n", "1", "--solutions", "no.pt", "--seed", "1"],
            "--seed has no meaning with --method checkpoints",
        ),
        (["--scattered", "5", "-r", "7"], "--resolution has no meaning with --scattered"),
        (
            ["--directions-file", "d.npz", "-n", "3"],
            "--directions has no meaning with --directions",
        ),
        (["--engine", "single", "--batch", "32"], "batch must be 1 for engine single"),
        (["--seed", "-1"], "seed must be >= 0, got -1"),
        (["--seed", str(2**70)], "seed must be below 2^63"),
        (["--batch", "99999999999"], "batch must be at most 65536"),
        (["-r", "9,5"], "resolutions must ascend"),
    ],
)
def test_options_that_are_ignored_are_refused_before_anything_is_written(
    options, message, tmp_path, capsys
):
    assert main(["sample", "two-wells", "-o", str(tmp_path / "a.zarr"), *options]) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_blocks_draw_their_trace_by_the_seed_whatever_the_method(tmp_path, capsys):
    command = ["blocks", "two-wells", "--checkpoints", "no.pt", "-o", str(tmp_path / "a.csv")]
    command += ["--method", "checkpoints", "-n", "1", "--solutions", "no.pt", "--seed", "1"]
    assert main(command) == 1
    assert "no.pt" in capsys.readouterr().err, "a later error"
    assert main([*command, "--trace-vectors", "0"]) == 1
    assert "--seed has no meaning with --method checkpoints" in capsys.readouterr().err


def test_outputs_that_cannot_be_written_are_one_true_sentence(tmp_path, capsys):
    (tmp_path / "file").touch()
    sample = ["sample", "two-wells", "-r", "3", "-q", "-o"]
    assert main([*sample, str(tmp_path / "file" / "a.zarr")]) == 1
    assert f"must lie in a folder, and {tmp_path / 'file'} is a file" in capsys.readouterr().err
    assert main([*sample, str(tmp_path / "a\nb.zarr")]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    store = str(tmp_path / "a\nb.zarr")
    for output, text in (
        (tmp_path / "file" / "a.npz", "must lie in a folder, and"),
        (tmp_path / "none" / "a.npz", "must lie in an existing folder, found none at"),
    ):
        assert main(["export", store, "-o", str(output)]) == 1
        assert text in capsys.readouterr().err
    assert main(["info", str(tmp_path / "no\nsuch.zarr")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_full_disk_is_one_sentence(tmp_path):
    """NumPy's own writer leaves an archive open, whose end is a second traceback."""
    program = [sys.executable, "-m", "tlp_core", "directions", "two-wells", "-o", "/dev/full"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "tlp directions: [Errno 28] No space left on device"
