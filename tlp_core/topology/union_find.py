"""Disjoint sets of samples (union-find)."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt


class UnionFind:
    """Disjoint sets of the integers 0 … count-1."""

    def __init__(self, count: int) -> None:
        """Put every integer into a set of its own.

        Args:
            count: number of integers, >= 0.
        """
        self._parent = np.arange(count, dtype=np.int64)

    def unite(self, i: int, j: int) -> bool:
        """Join the sets of ``i`` and ``j``, and return True if they were different sets."""
        return bool(_unite(self._parent, i, j))

    def unite_all(self, pairs: npt.NDArray[np.int64]) -> None:
        """Join the two sets of each pair (E, 2) int64."""
        _unite_all(self._parent, pairs)

    def labels(self) -> npt.NDArray[np.int64]:
        """Return the number of the set of each integer, (count,) int64; sets count from 0."""
        empty = np.array([], dtype=np.int64)
        sets = empty if not self._parent.size else _representatives(self._parent)
        return np.asarray(np.unique(sets, return_inverse=True)[1], dtype=np.int64)


@numba.njit(cache=True)
def find(parent, i):  # type: ignore[no-untyped-def]
    """Return the representative of the set of ``i``, with path halving.

    Args:
        parent: (count,) int64, parent of each integer; a representative is its own parent. Path
            halving changes it.
        i: an integer.
    """
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
def _representatives(parent):  # type: ignore[no-untyped-def]
    representatives = np.empty_like(parent)
    for i in range(len(parent)):
        representatives[i] = find(parent, i)
    return representatives
