"""A data-parallel training on two ranks, recorded by all of them."""

import json
import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch

from tlp_core import Landscape, LandscapeRecorder, Problem
from tlp_core.landscape.table import read_series

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="gloo of Linux")

STEPS = 12

TRAINING = """
import hashlib
import json
import logging
import os
import sys
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tlp_core import LandscapeRecorder, Problem
from tlp_core.model_state import hash_state

place, rank = sys.argv[1], int(os.environ["RANK"])
torch.distributed.init_process_group("gloo")


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))


def train(kind):
    out = f"{place}/{kind} {rank}"
    logging.basicConfig(filename=f"{out}.log", level=logging.INFO, force=True)
    model = make()
    inner = DistributedDataParallel(model)
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(1))
    if kind == "other batches" and rank == 1:
        x = x + 1
    data = x, x.sum(1, keepdim=True)

    def loss(model, batch):
        if kind == "fails" and rank == 1 and not model.training:
            raise ValueError("this rank cannot")
        return nn.functional.mse_loss(model(batch[0]), batch[1])

    problem = Problem(model, loss, [data], name="two ranks")
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    torch.manual_seed(5 + rank)
    recorder = None
    if kind != "plain":
        options = dict(schedule=5, resolution=5, share=None, ranks="all", eigenvalues=2)
        recorder = LandscapeRecorder(problem, f"{place}/{kind}", **options)
    found = []
    for step in range(STEPS):
        own = torch.randperm(40)[:16]
        optimizer.zero_grad()
        nn.functional.mse_loss(inner(data[0][own]), data[1][own]).backward()
        optimizer.step()
        torch.save(model.state_dict(), f"{out}-{step}.pt") if rank == 0 else None
        if recorder is not None:
            found.append(recorder.step(step) is not None)
    if recorder is not None:
        recorder.close()
    moments = [t for s in optimizer.state_dict()["state"].values() for t in s.values()]
    digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in moments)).hexdigest()
    state = [hash_state(model), digest, float(torch.rand(()))]
    with open(f"{out}.json", "w") as file:
        json.dump({"state": state, "recorded": sum(found)}, file)


for kind in sys.argv[2:]:  # one after another, because a process takes seconds to start
    train(kind)  # no model is left, whose group would have threads
torch.distributed.destroy_process_group()
"""


KINDS = ("plain", "all", "fails", "files", "other batches")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Run a training of each kind on two ranks, and return the folder of the results."""
    place = tmp_path_factory.mktemp("ranks")
    (place / "files").mkdir()  # where landscapes would be, which rank 0 cannot remove
    for step in (0, 5, 10):
        (place / "files" / f"step_{step}.zarr").touch()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in range(2):
        own = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
        environment = {**os.environ, **own, "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
        code = f"STEPS = {STEPS}\n{TRAINING}"
        command = [sys.executable, "-c", code, str(place), *KINDS]
        ranks.append(subprocess.Popen(command, env=environment))
    assert [each.wait(240) for each in ranks] == [0, 0]
    return place


def results(place, kind):
    """Return what both ranks ended with, and the log of rank 0."""
    found = [json.loads((place / f"{kind} {rank}.json").read_text()) for rank in range(2)]
    return found, (place / f"{kind} 0.log").read_text()


def test_all_ranks_divide_a_landscape_and_the_training_is_not_changed(place, tmp_path):
    plain, _ = results(place, "plain")
    recorded, log = results(place, "all")
    assert [one["state"] for one in recorded] == [one["state"] for one in plain]
    assert [one["recorded"] for one in recorded] == [3, 0]
    assert "3 landscapes in" in log
    folder = place / "all"
    names = {path.name for path in folder.iterdir()}
    assert {"step_0.zarr", "step_5.zarr", "step_10.zarr", "descriptors.csv"} <= names

    one = check_problem(place / "all 0-10.pt")
    with LandscapeRecorder(
        one, tmp_path / "alone", schedule=1, resolution=5, share=None, eigenvalues=2
    ) as recorder:
        for step in (0, 5, 10):
            one.model.load_state_dict(torch.load(place / f"all 0-{step}.pt"))
            recorder.step(step)
    for step in (0, 5, 10):
        together, alone = (
            Landscape.open(each / f"step_{step}.zarr") for each in (folder, tmp_path / "alone")
        )
        assert together.is_complete
        np.testing.assert_allclose(together.loss, alone.loss, rtol=1e-5)
    both = [read_series(each / "descriptors.csv") for each in (folder, tmp_path / "alone")]
    for name in ("eigenvalue_1", "critical_sharpness", "loss", "overlap"):
        np.testing.assert_allclose(both[0][name].values, both[1][name].values, rtol=1e-3)


def check_problem(state):
    """The problem of the training, in this process."""
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 8),
        torch.nn.BatchNorm1d(8),
        torch.nn.Dropout(0.2),
        torch.nn.Linear(8, 1),
    )
    model.load_state_dict(torch.load(state))
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(1))

    def loss(model, batch):
        return torch.nn.functional.mse_loss(model(batch[0]), batch[1])

    return Problem(model, loss, [(x, x.sum(1, keepdim=True))], name="two ranks")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("fails", "a step was not recorded: RuntimeError: rank 1: .*this rank cannot"),
        ("files", "a step was not recorded: RuntimeError: rank 0: NotADirectoryError"),
        ("other batches", "all ranks must have equal weights and batches, and the batch_hash"),
    ],
)
def test_a_rank_that_cannot_stops_nobody(place, kind, reason):
    recorded, log = results(place, kind)
    assert [one["recorded"] for one in recorded] == [0, 0]
    assert len(re.findall(reason, log)) == 1
    assert not [path for path in (place / kind).glob("*.zarr") if path.is_dir()]
