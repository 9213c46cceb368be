"""Several processes on one landscape, and processes that are killed."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tlp_core import Landscape
from tlp_core.cli.main import main
from tlp_core.cli.output import INCOMPLETE
from tlp_core.sampling.partition import SinglePart
from tlp_core.sampling.settings import RunSettings

SLOW = """
import time
import torch
from tlp_core import Problem


def make_problem(seconds=0.002):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
    x = torch.randn(40, 2)

    def loss(model, batch):
        time.sleep(seconds)
        return (model(batch[0]) - batch[1]).square().mean()

    return Problem(model, loss, [(x, x.sum(1, keepdim=True))], name="slow")
"""

OPTIONS = ["--method", "random", "-n", "3", "-r", "5", "--engine", "single"]


@pytest.fixture
def problem_file(tmp_path):
    path = tmp_path / "slow.py"
    path.write_text(SLOW)
    return str(path)


def command(problem_file, store, *more):
    program = [sys.executable, "-m", "tlp_core", "sample", problem_file, "-o", str(store)]
    return [*program, *OPTIONS, *more]


def files(store):
    """Every file of a store and its bytes."""
    return {p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file()}


def chunks(store):
    return {k: v for k, v in files(store).items() if k.parts[:2] == ("loss", "c")}


@pytest.fixture
def undisturbed_store(problem_file, tmp_path):
    path = tmp_path / "preserve_model.zarr"
    subprocess.run(command(problem_file, path, "-q"), check=True, capture_output=True)
    return files(path)


def test_killed_at_random_and_gone_on_with_the_bytes_are_those_of_an_undisturbed_run(
    problem_file, undisturbed_store, tmp_path
):
    """At least 20 times a process is killed about when it samples; the next goes on."""
    rng = np.random.default_rng(0)
    start = time.monotonic()
    quick = command(problem_file, tmp_path / "once.zarr", "-q")
    subprocess.run(quick, check=True, capture_output=True)
    begins = time.monotonic() - start - 125 * 0.002  # from there on it samples
    killed, number = 0, 0
    while killed < 20:
        number += 1
        store = tmp_path / f"killed{number}.zarr"
        slow = command(problem_file, store, "-q", "-a", "seconds=0.03")
        for _ in range(7):
            process = subprocess.Popen(slow, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(begins + rng.uniform(-0.2, 0.5))
            process.kill()
            killed += process.wait() == -signal.SIGKILL
            if store.exists():
                Landscape.open(store)  # whatever was written can be read
        subprocess.run(slow, check=True, capture_output=True)
        assert chunks(store) == chunks(tmp_path / "once.zarr")
        assert {
            k: v for k, v in files(store).items() if k in undisturbed_store
        } == undisturbed_store


def test_two_processes_on_one_store_do_not_disturb_each_other(
    problem_file, undisturbed_store, tmp_path
):
    store = tmp_path / "both.zarr"
    both = [
        subprocess.Popen(command(problem_file, store), stderr=subprocess.PIPE) for _ in range(2)
    ]
    for process in both:
        _, told = process.communicate()
        assert process.returncode == 0, told.decode()
    assert files(store) == undisturbed_store


def test_parts_make_the_whole(problem_file, undisturbed_store, tmp_path):
    store = tmp_path / "parts.zarr"
    for k in (2, 1):
        assert not store.exists() or not Landscape.open(store).is_complete
        subprocess.run(
            command(problem_file, store, "--part", f"{k}/2"), check=True, capture_output=True
        )
    assert files(store) == undisturbed_store


@pytest.mark.skipif(not shutil.which("mpiexec"), reason="there is no mpiexec")
def test_ranks_of_mpi_make_the_same_store(problem_file, undisturbed_store, tmp_path):
    pytest.importorskip("mpi4py")
    store = tmp_path / "ranks.zarr"
    done = mpiexec(command(problem_file, store, "--json"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"evaluated": 125') == 1
    assert files(store) == undisturbed_store


@pytest.mark.skipif(not shutil.which("mpiexec"), reason="there is no mpiexec")
def test_a_rank_that_fails_ends_the_run_and_the_store_goes_on(
    problem_file, undisturbed_store, tmp_path
):
    pytest.importorskip("mpi4py")
    store = tmp_path / "fails.zarr"
    failing = tmp_path / "failing" / "slow.py"
    failing.parent.mkdir()
    failing.write_text(
        SLOW.replace(
            "        time.sleep(seconds)\n",
            "        import os\n"
            "        calls.append(1)\n"
            "        if os.environ.get('OMPI_COMM_WORLD_RANK', '0') == '1' and len(calls) > 30:\n"
            "            raise ValueError('a broken node')\n",
        ).replace("import time\n", "calls = []\n")
    )
    done = mpiexec(command(str(failing), store))
    assert done.returncode != 0
    assert "rank 1 ends the run: LossError: " in done.stderr
    assert "a broken node" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Landscape.open(store).is_complete
    subprocess.run(command(problem_file, store), check=True, capture_output=True)
    assert files(store) == undisturbed_store


def mpiexec(program):
    environment = {
        **os.environ,
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
    }
    return subprocess.run(
        ["mpiexec", "-n", "2", *program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_ctrl_c_leaves_a_store_that_goes_on(problem_file, undisturbed_store, tmp_path):
    store = tmp_path / "stopped.zarr"
    process = subprocess.Popen(
        command(problem_file, store, "-a", "seconds=0.02"), stderr=subprocess.PIPE, text=True
    )
    while not store.exists():
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == INCOMPLETE
    assert "the same command resumes" in told
    assert "Traceback" not in told
    subprocess.run(command(problem_file, store), check=True, capture_output=True)
    assert files(store) == undisturbed_store


def test_every_item_falls_to_one_part():
    items = list(range(17))
    found = [item for k in range(1, 5) for item in SinglePart((k, 4)).claim(items)]
    assert sorted(found) == items


@pytest.mark.parametrize("part", [(0, 3), (4, 3), (1, 0)])
def test_bad_parts_are_told(part):
    with pytest.raises(ValueError, match="part must be"):
        RunSettings(part=part)


def test_a_read_only_folder_and_a_full_disk_are_one_sentence(problem_file, tmp_path, capsys):
    if os.geteuid() == 0:
        place = "/proc/landscape.zarr"
    else:
        (tmp_path / "locked").mkdir(mode=0o500)
        place = str(tmp_path / "locked" / "a.zarr")
    assert main(["sample", problem_file, "-o", place, *OPTIONS, "-q"]) == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert told[-1].startswith("tlp sample: ")
    assert "Traceback" not in "".join(told)


def test_a_disk_that_is_full_leaves_a_store_that_opens(problem_file, tmp_path, monkeypatch, capsys):
    from tlp_core.landscape.store import LandscapeStore

    written, write = [], LandscapeStore.write

    def full(self, chunk, losses):
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(chunk)
        write(self, chunk, losses)

    monkeypatch.setattr(LandscapeStore, "write", full)
    store = str(tmp_path / "full.zarr")
    assert main(["sample", problem_file, "-o", store, *OPTIONS, "-q"]) == 1
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert Landscape.open(store).evaluated.sum() == 50
