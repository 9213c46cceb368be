"""Vectors in parameter space as rows of a matrix, and the algebra that directions need.

Rows of a small model are float64 on the CPU. Those of a large one are in the model's own precision
on its own device, because they take as much memory as the model; sums over their entries are taken
in float64 all the same, piece by piece, and nothing is stacked or copied as a whole. A row of a
sharded model has the entries that this process holds; P counts those, and sums are over all shards.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tlp_core import scratch
from tlp_core.model_state import PIECE, as_float64, pieces, squared_norm
from tlp_core.shards import largest_magnitude, range_in_whole, shard_of, total

LARGE = 10**6
"""Number of entries above which rows are in the model's own precision."""

_HELD = 2**28
"""Bytes of rows up to which all are held in memory."""

DEPENDENT = 1e-10
"""Fraction of its length below which what remains of a row is zero, in float64."""

Numbers = npt.NDArray[np.float64]


def empty_rows(n: int, parameters: Sequence[Tensor]) -> Tensor:
    """Return n rows (n, P) for the entries of parameters, not initialized."""
    size, dtype, device = _form(parameters)
    return torch.empty(n, size, dtype=dtype, device=device)


def rows_on_disk(n: int, parameters: Sequence[Tensor]) -> Tensor:
    """Return :func:`empty_rows` that are in a file and not in memory, if they are large.

    They are if they have more than 256 MB on the CPU. A warning tells where there is no file.
    """
    size, dtype, device = _form(parameters)
    needed = n * size * dtype.itemsize
    if needed > _HELD and device.type == "cpu" and scratch.is_supported():
        try:
            return scratch.scratch_tensor(n * size, dtype).view(n, size)
        except (OSError, RuntimeError) as error:  # torch's own of a map that fails
            warnings.warn(
                f"directions are held in memory, {needed / 1e9:.1f} GB, because the folder for "
                f"temporary files cannot hold them ({error}); set TMPDIR to one on a disk",
                stacklevel=4,
            )
    return empty_rows(n, parameters)


def _form(parameters: Sequence[Tensor]) -> tuple[int, torch.dtype, torch.device]:
    """Return length, precision and device of rows for the entries of parameters."""
    size, first = sum(shard_of(p).numel() for p in parameters), parameters[0]
    if sum(p.numel() for p in parameters) > LARGE:
        return size, first.dtype, first.device
    return size, torch.float64, torch.device("cpu")


def views(row: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return the parts of a row (P,) that belong to each of some parameters, as views."""
    shards = [shard_of(p) for p in parameters]
    parts = torch.split(row, [shard.numel() for shard in shards])
    return [part.view(shard.shape) for part, shard in zip(parts, shards)]


def fill(row: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Write the entries of tensors end to end into a row (P,), and return it."""
    for view, tensor in zip(views(row, tensors), tensors):
        view.copy_(shard_of(tensor).detach())
    return row


def draw(
    row: Tensor, parameters: Sequence[Tensor], sample: Callable[[int], npt.NDArray[Any]]
) -> Tensor:
    """Fill a row (P,) with random entries, and return it.

    Args:
        row: the row.
        parameters: what the row belongs to.
        sample: returns so many further entries, drawn on the CPU, so that every device gets the
            same. It is called for all entries of the vector, also if this process holds a part of
            them, so that every sharding gets the same.
    """
    ranges, place = _ranges(parameters), 0
    length = sum(p.numel() for p in parameters)
    for start in range(0, length, PIECE):
        drawn = torch.from_numpy(sample(min(PIECE, length - start)))
        end = start + len(drawn)
        for held in ranges:
            first, last = max(held[0], start), min(held[1], end)
            if first < last:
                part = row[place : place + last - first]
                part.copy_(drawn[first - start : last - start])
                scratch.forget(part)
                place += last - first
    return row


def _ranges(parameters: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Return the ranges of the whole vector that this process holds, adjacent ones as one."""
    ranges: list[tuple[int, int]] = []
    begin = 0
    for parameter in parameters:
        first, last = (begin + place for place in range_in_whole(parameter))
        if ranges and ranges[-1][1] == first:
            ranges[-1] = ranges[-1][0], last
        else:
            ranges.append((first, last))
        begin += parameter.numel()
    return ranges


def norm(row: Tensor) -> float:
    """Return the length of a row."""
    return float(np.sqrt(squared_norm(row)))


def largest_entry(row: Tensor) -> float:
    """Return the entry of largest magnitude of a row, with its sign."""
    each = [float(part[part.abs().argmax()]) for part in pieces(row) if len(part)]
    return largest_magnitude(max(each, key=abs, default=0.0))


def dots(rows: Tensor, row: Tensor) -> Numbers:
    """Return the inner products of rows (n, P) with one more (P,), (n,) float64."""
    each = [
        [float(as_float64(a) @ as_float64(b)) for a, b in zip(pieces(one), pieces(row))]
        for one in rows
    ]
    return total(np.array([sum(parts) for parts in each], dtype=np.float64))


def combine(weights: Numbers, rows: Tensor) -> Tensor:
    """Return the sum of rows (n, P) with weights (n,), (P,)."""
    return torch.as_tensor(weights).to(rows) @ rows


def orthogonalize(row: Tensor, basis: Tensor) -> Numbers:
    """Make a row orthogonal to an orthonormal basis (n, P), and return its parts along it, (n,)."""
    along = np.zeros(len(basis))
    for _ in range(2 if len(basis) else 0):  # the second pass removes the rounding of the first
        rest = dots(basis, row)
        for part, start in zip(pieces(row), range(0, len(row), PIECE)):
            others = basis[:, start : start + PIECE]
            part.sub_(combine(rest, others))
            scratch.forget(*others)
        along += rest
    return along


def orthonormalize(rows: Tensor) -> Tensor:
    """Make rows (n, P) orthonormal in place, in their order; dependent rows are left out."""
    least = max(DEPENDENT, 10 * torch.finfo(rows.dtype).eps)
    count = 0
    for row in rows:
        length = norm(row)
        orthogonalize(row, rows[:count])
        rest = norm(row)
        if rest > least * length:
            scratch.forget(rows[count].copy_(row).div_(rest))
            count += 1
    return rows[:count]


def rotate(rotation: Numbers, rows: Tensor) -> Tensor:
    """Replace rows (n, P) by their combinations, rotation (k, n) with k <= n, in place; (k, P)."""
    for start in range(0, rows.shape[1], PIECE):
        part = rows[:, start : start + PIECE]
        mixed = torch.as_tensor(rotation).to(as_float64(part[:0])) @ as_float64(part)
        part[: len(rotation)].copy_(mixed)
    return rows[: len(rotation)]
