"""Fixtures that several tests use."""

from __future__ import annotations

import fcntl
import io
import os
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests import paraview_programs
from tlp_core import Problem
from tlp_core.cli.main import main
from tlp_core.topology.graphs import EdgeGraph

DATA = Path(__file__).parent / "data"
TTK_CASES = sorted(path.name.removesuffix(".in.npz") for path in DATA.glob("*.in.npz"))


def pytest_collection_modifyitems(items):
    """Start slow tests first, because other processes would wait for them at the end."""
    items.sort(key=lambda item: not {"paraview", "slow"} & set(item.keywords))


@pytest.fixture(autouse=True)
def _own_packages_before_debians():
    """Fail a test that puts Debian's packages before our own, as ``paraview.simple`` does.

    The next tests start processes with this Python path, which then import Debian's versions.
    """
    yield
    own = [i for i, path in enumerate(sys.path) if path.endswith("site-packages")]
    debian = [i for i, path in enumerate(sys.path) if path.endswith("dist-packages")]
    assert min(own, default=-1) < min(debian, default=len(sys.path))


@pytest.fixture(params=TTK_CASES)
def ttk_case(request):
    """Return the input and the recorded output of TTK's merge tree filter."""
    name = request.param
    return np.load(DATA / f"{name}.in.npz"), np.load(DATA / f"{name}.ttk.npz")


@pytest.fixture
def small_problem():
    """Return a network of 21 parameters in float64, with two batches of different sizes."""
    generator = torch.Generator().manual_seed(3)
    model = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator)

    def batch(size):
        x = torch.randn(size, 2, dtype=torch.float64, generator=generator)
        return x, torch.sin(x.sum(1, keepdim=True))

    def loss(model, batch):
        return nn.functional.mse_loss(model(batch[0]), batch[1])

    return Problem(model, loss, [batch(30), batch(10)], name="small")


@pytest.fixture
def launcher():
    """Return a function that returns the path of a launcher, or skips the test without one."""
    return paraview_programs.launcher


@pytest.fixture
def run_pvpython(tmp_path):
    """Return a function that runs code in pvpython: see ``paraview_programs.run_pvpython``."""

    def run(code: str, **options):
        return paraview_programs.run_pvpython(code, tmp_path, **options)

    return run


@dataclass(frozen=True)
class Experiment:
    """The folder of an experiment that ran, and the output of the command."""

    folder: Path
    text: str


@pytest.fixture(scope="session")
def resnet_experiment(tmp_path_factory):
    """The quick form of an experiment, run once from the command line.

    Processes of pytest-xdist share it: the first runs it, the others wait. Tests do not write into
    its folder.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder, text = shared / "resnet_experiment", shared / "resnet_experiment.txt"
    with open(shared / "resnet_experiment.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not text.exists():
            with redirect_stdout(io.StringIO()) as printed:
                assert main(["experiment", "resnet", "--quick", "-o", str(folder)]) == 0
            text.write_text(printed.getvalue(), encoding="utf-8")
    return Experiment(folder, text.read_text(encoding="utf-8"))


def random_edge_graph(rng: np.random.Generator, count: int, extra: int) -> EdgeGraph:
    """Return a random connected graph: a tree and some more edges."""
    tree = [(int(rng.integers(i)), i) for i in range(1, count)]
    more = [tuple(sorted(rng.choice(count, 2, replace=False))) for _ in range(extra)]
    edges = np.array(sorted(set(tree + more)), dtype=np.int64).reshape(-1, 2)
    return EdgeGraph(number_of_samples=count, edges=edges)
