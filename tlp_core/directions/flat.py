"""Vectors in parameter space as rows of a matrix, and the algebra that directions need.

Rows of a small model are float64 on the CPU. Those of a large one are in the model's own precision
on its own device, because they take as much memory as the model; sums over their entries are taken
in float64 all the same, piece by piece, and nothing is stacked or copied as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tlp_core.model_state import PIECE, as_float64, pieces, squared_norm

LARGE = 10**6
"""Number of entries above which rows are in the model's own precision."""

DEPENDENT = 1e-10
"""Fraction of its length below which what remains of a row is zero, in float64."""

Numbers = npt.NDArray[np.float64]


def empty_rows(n: int, parameters: Sequence[Tensor]) -> Tensor:
    """Return n rows (n, P) for the entries of parameters, not initialized."""
    size, first = sum(p.numel() for p in parameters), parameters[0]
    if size > LARGE:
        return torch.empty(n, size, dtype=first.dtype, device=first.device)
    return torch.empty(n, size, dtype=torch.float64)


def views(row: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Return the parts of a row (P,) that belong to each of some parameters, as views."""
    parts = torch.split(row, [p.numel() for p in parameters])
    return [part.view(p.shape) for part, p in zip(parts, parameters)]


def fill(row: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Write the entries of tensors end to end into a row (P,), and return it."""
    for view, tensor in zip(views(row, tensors), tensors):
        view.copy_(tensor.detach())
    return row


def norm(row: Tensor) -> float:
    """Return the length of a row."""
    return float(np.sqrt(squared_norm(row)))


def largest_entry(row: Tensor) -> float:
    """Return the entry of largest magnitude of a row, with its sign."""
    each = [part[part.abs().argmax()] for part in pieces(row)]
    return float(max(each, key=abs))


def dots(rows: Tensor, row: Tensor) -> Numbers:
    """Return the inner products of rows (n, P) with one more (P,), (n,) float64."""
    each = [
        [float(as_float64(a) @ as_float64(b)) for a, b in zip(pieces(one), pieces(row))]
        for one in rows
    ]
    return np.array([sum(parts) for parts in each], dtype=np.float64)


def combine(weights: Numbers, rows: Tensor) -> Tensor:
    """Return the sum of rows (n, P) with weights (n,), (P,)."""
    return torch.as_tensor(weights).to(rows) @ rows


def orthogonalize(row: Tensor, basis: Tensor) -> Numbers:
    """Make a row orthogonal to an orthonormal basis (n, P), and return its parts along it, (n,)."""
    along = np.zeros(len(basis))
    for _ in range(2 if len(basis) else 0):  # the second pass removes the rounding of the first
        rest = dots(basis, row)
        for part, start in zip(pieces(row), range(0, len(row), PIECE)):
            part.sub_(combine(rest, basis[:, start : start + PIECE]))
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
            rows[count].copy_(row).div_(rest)
            count += 1
    return rows[:count]


def rotate(rotation: Numbers, rows: Tensor) -> Tensor:
    """Replace rows (n, P) by their combinations, rotation (k, n) with k <= n, in place; (k, P)."""
    for start in range(0, rows.shape[1], PIECE):
        part = rows[:, start : start + PIECE]
        mixed = torch.as_tensor(rotation).to(as_float64(part[:0])) @ as_float64(part)
        part[: len(rotation)].copy_(mixed)
    return rows[: len(rotation)]
