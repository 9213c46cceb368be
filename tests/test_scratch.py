"""Tests of tensors in a file without a name, and of directions that are in one."""

import errno
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tlp_core import Problem, random_directions, sample_grid, scratch
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


def test_parts_that_adjoin_are_given_up_together(monkeypatch):
    calls = []

    class System:
        def madvise(self, start, size, _advice):
            calls.append((start.value, size.value))

    monkeypatch.setattr(scratch, "_system", System)
    rows = scratch_tensor(2 * 10_240, torch.float32).view(2, 10_240)  # of ten pages each
    first = [row[:4_096] for row in rows]
    second = [row[4_096:8_192] for row in rows]
    forget(*first, torch.ones(5_000), *second, torch.ones(0))
    assert calls == [(row.data_ptr(), 8_192 * 4) for row in rows]


def test_a_folder_in_memory_is_not_used(tmp_path, monkeypatch):
    if not (Path("/dev/shm").is_dir() and scratch._is_in_memory("/dev/shm")):
        pytest.skip("there is no folder in memory")
    if scratch._is_in_memory(str(tmp_path)):
        pytest.skip("there is no folder on a disk")
    monkeypatch.setattr(tempfile, "tempdir", "/dev/shm")
    for other, used in ((str(tmp_path), str(tmp_path)), ("/nowhere", "/dev/shm")):
        monkeypatch.setattr(scratch, "_ON_DISK", other)
        file = scratch_tensor(10, torch.float32).untyped_storage().filename
        assert file.startswith(used + "/")


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
    with pytest.warns(UserWarning, match="held in memory, 0.0 GB, .*No space left.* set TMPDIR"):
        directions = random_directions(problem, 1)
    assert directions.digest() == held.digest()


MEASURED = """
import torch
from pathlib import Path
from tlp_core import Problem, random_directions, sample_grid
from tlp_core.directions import flat

flat._HELD = 0
model = torch.nn.Sequential(*[torch.nn.Linear(1000, 1000, bias=False) for _ in range(20)])
shares = []


def measure():
    mappings = Path("/proc/self/smaps").read_text().split("VmFlags:")
    (mapping,) = (one for one in mappings if "tlp-scratch-" in one)
    (size,) = (line.split()[1] for line in mapping.splitlines() if line.startswith("Rss:"))
    shares.append(int(size) * 1024 / 240e6)


def loss(model, batch):
    if directions is not None:
        measure()
    return model(batch).square().mean()


directions = None
problem = Problem(model, loss, [torch.ones(1, 1000)], name="deep")
directions = random_directions(problem, 3, normalization="layer")
measure()
sample_grid(problem, directions, resolution=3, distance=0.1)
print(len(shares), max(shares))
"""


@pytest.mark.exhaustive
def test_directions_in_a_file_are_not_in_memory_between_samples():
    """Of a model of many layers, each smaller than a piece; pages of its three directions' file."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURED], capture_output=True, text=True, check=True
    )
    count, share = map(float, run.stdout.split()[-2:])
    assert count > 27
    assert share < 0.1


@pytest.mark.parametrize("count", [100, 1_100_000])
def test_rows_have_the_same_precision_in_a_file(count, monkeypatch):
    parameters = [torch.zeros(count)]
    held = flat.empty_rows(2, parameters)
    monkeypatch.setattr(flat, "_HELD", 0)
    stored = flat.rows_on_disk(2, parameters)
    assert (stored.dtype, stored.shape) == (held.dtype, held.shape)
    assert stored.untyped_storage().filename is not None
