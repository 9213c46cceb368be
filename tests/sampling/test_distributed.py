"""Ranks of ``torch.distributed``: they share the grid."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tlp_core import Landscape
from tlp_core.cli.main import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="gloo and signals of Linux")

PROBLEM = """
import os
import pathlib
import signal
import time
import torch
from tlp_core import Problem

RANK = os.environ.get("RANK", "0")


def make_problem(calls="", killed=0):
    # rank 1 is killed at a call; every rank counts its calls
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1))
    x = torch.randn(40, 2)
    made = []

    def loss(model, batch):
        made.append(1)
        if calls:
            pathlib.Path(calls, RANK).write_text(str(len(made)))
        if RANK == "1" and len(made) == killed:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.005)
        return (model(batch[0]) - batch[1]).square().mean()

    return Problem(model, loss, [(x, x.sum(1, keepdim=True))], name="slow")
"""

OPTIONS = ["--method", "random", "-n", "3", "-r", "5", "--engine", "single", "-q"]
SAMPLES = 125


@pytest.fixture(scope="module")
def problem_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("problem") / "slow.py"
    path.write_text(PROBLEM)
    return str(path)


@pytest.fixture(scope="module")
def one_process(problem_file, tmp_path_factory):
    """The files of the store that one process writes."""
    store = tmp_path_factory.mktemp("one") / "a.zarr"
    assert main(["sample", problem_file, "-o", str(store), *OPTIONS]) == 0
    return files(store)


def files(store):
    """Every file of a store and its bytes."""
    return {p.relative_to(store): p.read_bytes() for p in Path(store).rglob("*") if p.is_file()}


def launch(ranks, *program):
    """Run a program in ranks of torchrun, with one thread each."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*torchrun, "--nproc-per-node", str(ranks), *program],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_ranks_share_the_grid_and_write_the_store_of_one_process(
    problem_file, one_process, tmp_path
):
    store = tmp_path / "a.zarr"
    of_problem = ["-a", f"calls={tmp_path}"]
    command = ["-m", "tlp_core", "sample", problem_file, *of_problem, "-o", str(store), *OPTIONS]
    done = launch(2, *command, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"evaluated": 125') == 1
    assert files(store) == one_process
    calls = [int((tmp_path / rank).read_text()) for rank in "01"]
    assert min(calls) > SAMPLES / 5  # a chunk at least
    assert max(calls) < SAMPLES


def test_a_killed_rank_ends_all_ranks_and_one_process_resumes_the_store(
    problem_file, one_process, tmp_path
):
    store = tmp_path / "a.zarr"
    command = ["sample", problem_file, "-a", "killed=5", "-o", str(store), *OPTIONS]
    done = launch(2, "-m", "tlp_core", *command)
    assert done.returncode == 1
    # rank 0 meets the closed connection, unless the launcher ends it before
    assert re.search(r"rank 0 ends the run: (another rank has|the launcher) ended", done.stderr)
    assert "the same command resumes the store" in done.stderr
    assert not Landscape.open(store).is_complete
    assert main(command) == 0
    assert files(store) == one_process


def test_a_killed_rank_is_noticed_without_a_launcher(problem_file, tmp_path):
    """The variables are those of a script for srun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = ["sample", problem_file, "-a", "killed=5", "-o", str(tmp_path / "a.zarr"), *OPTIONS]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tlp_core", *command],
            env={**os.environ, **address, "RANK": rank, "SLURM_NTASKS": "2"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    printed = [rank.communicate(timeout=60)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [1, -signal.SIGKILL]
    assert "rank 0 ends the run: another rank has ended" in printed[0]
    assert "Traceback" not in printed[0]
