"""Tests of tensors in a file without a name, and of directions that are in one."""

import errno
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import torch

from tlp_core import Problem, random_directions, sample_grid
from tlp_core.directions import flat
from tlp_core.scratch import forget, is_supported, scratch_tensor

pytestmark = pytest.mark.skipif(not is_supported(), reason="not on this system")


def wide_problem():
    """Return a network of more than a million parameters, whose rows have its own precision."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(1100, 1000), torch.nn.Linear(1000, 1))
    return Problem(model, lambda m, b: m(b).square().mean(), [torch.ones(2, 1100)], name="wide")


def test_entries_stay_after_they_were_taken_from_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tensor = scratch_tensor(100_000, torch.float32)
    assert list(tmp_path.iterdir()) == [], "a killed process leaves no file"
    tensor.copy_(torch.arange(100_000))
    forget(tensor[10:90_000])
    assert torch.equal(tensor, torch.arange(100_000, dtype=torch.float32))
    other = torch.arange(100_000)
    forget(other)
    assert torch.equal(other, torch.arange(100_000))


@pytest.mark.parametrize("normalization", ["none", "layer", "filter"])
def test_directions_in_a_file_are_those_in_memory(normalization, monkeypatch):
    problem = wide_problem()

    def sampled():
        directions = random_directions(problem, 3, normalization=normalization)
        part = next(iter(directions.vectors[0].values()))
        is_in_file = part.untyped_storage().filename is not None
        return is_in_file, directions, sample_grid(problem, directions, resolution=3, distance=1.0)

    was_in_file, held, before = sampled()
    monkeypatch.setattr(flat, "_HELD", 0)
    is_in_file, stored, after = sampled()
    assert (was_in_file, is_in_file) == (False, True)
    assert held.digest() == stored.digest()
    assert np.array_equal(before.loss, after.loss)


def test_directions_are_held_in_memory_where_no_file_has_room(monkeypatch):
    problem = wide_problem()
    held = random_directions(problem, 1)
    monkeypatch.setattr(flat, "_HELD", 0)

    def full(_file, _start, _size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.warns(UserWarning, match="held in memory, 0.0 GB, .* set TMPDIR"):
        directions = random_directions(problem, 1)
    assert directions.digest() == held.digest()


MEASURED = """
import resource, torch
from tlp_core import Problem, random_directions, sample_grid
from tlp_core.directions import flat

flat._HELD = 0
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
model = torch.nn.Linear(5000, 4000, bias=False)
problem = Problem(model, lambda m, b: m(b).square().mean(), [torch.ones(1, 5000)], name="wide")
problem.loss(model, problem.batches[0])
before = peak()
directions = random_directions(problem, 3, normalization="layer")
sample_grid(problem, directions, resolution=3, distance=0.1)
print((peak() - before) / 80e6)
"""


def test_random_directions_take_two_copies_of_what_moves_whatever_their_number():
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURED], capture_output=True, text=True, check=True
    )
    assert float(run.stdout.split()[-1]) < 2.0
