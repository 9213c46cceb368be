"""Disjoint sets of samples."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt


class UnionFind:
    """Disjoint sets of the numbers 0 … count-1."""

    def __init__(self, count: int) -> None:
        """Start with every number in a set of its own."""
        self._parent = np.arange(count, dtype=np.int64)

    def unite(self, i: int, j: int) -> bool:
        """Join the sets of ``i`` and ``j``; return whether they were two."""
        return bool(_unite(self._parent, i, j))

    def unite_all(self, pairs: npt.NDArray[np.int64]) -> None:
        """Join the sets of every pair (E, 2)."""
        _unite_all(self._parent, pairs)

    def labels(self) -> npt.NDArray[np.int64]:
        """Return each number's set, sets numbered from 0, (count,) int64."""
        roots = np.array([], dtype=np.int64) if not self._parent.size else _roots(self._parent)
        return np.asarray(np.unique(roots, return_inverse=True)[1], dtype=np.int64)


@numba.njit(cache=True)
def find(parent, i):  # type: ignore[no-untyped-def]
    """Return the representative of ``i``, halving the path on the way."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@numba.njit(cache=True)
def _unite(parent, i, j):  # type: ignore[no-untyped-def]
    a, b = find(parent, i), find(parent, j)
    parent[max(a, b)] = min(a, b)
    return a != b


@numba.njit(cache=True)
def _unite_all(parent, pairs):  # type: ignore[no-untyped-def]
    for e in range(len(pairs)):
        _unite(parent, pairs[e, 0], pairs[e, 1])


@numba.njit(cache=True)
def _roots(parent):  # type: ignore[no-untyped-def]
    roots = np.empty_like(parent)
    for i in range(len(parent)):
        roots[i] = find(parent, i)
    return roots
