"""Branches of a merge tree, and its simplification by persistence.

A branch is a minimum paired, by the elder rule, with the saddle where its component merges with one
that has a lower minimum (Edelsbrunner, Letscher, Zomorodian 2002, "Topological persistence and
simplification", section 3). Branches nest, and a branch is never more persistent than the branch
that it merges into, so removing all branches below a threshold removes whole subtrees.

Functions take the arrays of a :class:`~tlp_core.MergeTree`: M nodes, numbered so that a node's
parent has the larger number and the root is the last; N samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Branches:
    """Branches of a merge tree, most persistent first; the global minimum's comes first.

    Attributes:
        minimum: (B,) int64, sample id of each branch's minimum.
        saddle: (B,) int64, sample id of the saddle where it dies; the root for the first branch.
        birth: (B,) float64, level of the minimum.
        death: (B,) float64, level of the saddle.
        persistence: (B,) float64, death - birth.
        parent: (B,) int64, the branch into which it merges; -1 for the first.
        size: (B,) int64, number of samples in its basin when it dies.
        minimum_node: (B,) int64, node of the minimum in the tree.
        saddle_node: (B,) int64, node of the saddle in the tree.
        top_node: (B,) int64, node of the arc in which it arrives at the saddle: its basin is that
            arc and everything below it; the root for the first branch.
    """

    minimum: npt.NDArray[np.int64]
    saddle: npt.NDArray[np.int64]
    birth: npt.NDArray[np.float64]
    death: npt.NDArray[np.float64]
    persistence: npt.NDArray[np.float64]
    parent: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    minimum_node: npt.NDArray[np.int64]
    saddle_node: npt.NDArray[np.int64]
    top_node: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return B, the number of branches, which is the number of minima."""
        return len(self.minimum)


def node_persistence(pairs: Branches, count: int) -> npt.NDArray[np.float64]:
    """Return the persistence of each node of a tree, (M,) float64.

    Of a minimum it is that of its branch, of a saddle that of the most persistent branch that dies
    there.

    Args:
        pairs: the branches of the tree.
        count: M, the number of nodes.
    """
    persistence = np.zeros(count)
    np.maximum.at(persistence, pairs.saddle_node, pairs.persistence)
    persistence[pairs.minimum_node] = pairs.persistence
    return persistence


def pair_branches(
    parent: Integers,
    node_vertex: Integers,
    node_level: npt.NDArray[np.float64],
    vertex_arc: Integers,
) -> Branches:
    """Return the branches of a tree by the elder rule.

    Of two equal minima the one with the smaller sample id is the elder.

    Args:
        parent: (M,) node above each node, -1 at the root.
        node_vertex: (M,) critical sample of each node.
        node_level: (M,) height of each node.
        vertex_arc: (N,) arc of each sample.
    """
    root = len(parent) - 1
    elder = elder_minimum(parent)
    below = parent[:root]
    dying = np.flatnonzero(elder[:root] != elder[below])
    top_arc = np.append(root, dying)
    minimum_node = elder[top_arc]
    saddle_node = np.append(root, below[dying])
    birth, death = node_level[minimum_node], node_level[saddle_node]
    persistence = death - birth
    order = np.lexsort((minimum_node, -persistence))
    order = np.append(0, order[order != 0])
    rank = np.empty_like(parent)
    rank[minimum_node[order]] = np.arange(len(order))
    merges_into = np.append(-1, rank[elder[below[dying]]])
    return Branches(
        minimum=node_vertex[minimum_node[order]],
        saddle=node_vertex[saddle_node[order]],
        birth=birth[order],
        death=death[order],
        persistence=persistence[order],
        parent=merges_into[order],
        size=np.append(len(vertex_arc), subtree_sizes(parent, vertex_arc)[dying])[order],
        minimum_node=minimum_node[order],
        saddle_node=saddle_node[order],
        top_node=top_arc[order],
    )


def elder_minimum(parent: Integers) -> Integers:
    """Return, per node, the node of the lowest minimum at or below it, (M,) int64."""
    return np.asarray(_minimum_upward(parent, np.arange(len(parent), dtype=np.int64)))


def subtree_sizes(parent: Integers, vertex_arc: Integers) -> Integers:
    """Return, per node, the number of samples in its arc and everything below it, (M,) int64."""
    own = np.bincount(vertex_arc, minlength=len(parent))
    return np.asarray(sum_upward(parent, own.astype(np.int64)))


@numba.njit(cache=True)
def sum_upward(parent, own):  # type: ignore[no-untyped-def]
    """Return, per node, the sum of ``own`` over its subtree."""
    total = own.copy()
    for node in range(len(parent) - 1):
        total[parent[node]] += total[node]
    return total


@numba.njit(cache=True)
def _minimum_upward(parent, own):  # type: ignore[no-untyped-def]
    lowest = own.copy()
    for node in range(len(parent) - 1):
        lowest[parent[node]] = min(lowest[parent[node]], lowest[node])
    return lowest


class PrunedTree(NamedTuple):
    """A tree of fewer nodes.

    Attributes:
        nodes: (K,) int64, the remaining nodes, ascending; the root is the last.
        parent: (K,) int64, the node above each of them, in their own numbering; -1 at the root.
        vertex_arc: (N,) int64, arc of each sample.
        fill_level: (N,) float64, level to which each sample is filled at least.
    """

    nodes: Integers
    parent: Integers
    vertex_arc: Integers
    fill_level: npt.NDArray[np.float64]


def prune_tree(
    parent: Integers,
    node_vertex: Integers,
    node_level: npt.NDArray[np.float64],
    vertex_arc: Integers,
    *,
    minima: Integers,
    saddles: Integers,
) -> PrunedTree:
    """Return the tree with only the given nodes, the root among them.

    Args:
        parent: (M,) node above each node, -1 at the root.
        node_vertex: (M,) critical sample of each node.
        node_level: (M,) height of each node.
        vertex_arc: (N,) arc of each sample.
        minima: nodes of the minima that stay.
        saddles: nodes of the saddles that stay.
    """
    kept = np.zeros(len(parent), dtype=np.bool_)
    kept[minima] = kept[saddles] = True
    lives = np.zeros(len(parent), dtype=np.bool_)
    lives[minima] = True
    elder = elder_minimum(parent)
    lower, upper, fill = _reattach(parent, kept, lives[elder], elder, node_level)

    number = np.cumsum(kept) - 1
    nodes = np.flatnonzero(kept)
    new_parent = np.where(upper[nodes] < 0, -1, number[upper[nodes]])
    root = len(nodes) - 1
    arc = number[lower[vertex_arc]]
    above_all = (arc == root) | (np.arange(len(arc)) == node_vertex[-1])
    arc[above_all] = np.flatnonzero(new_parent == root)[-1]  # the arc that reaches the root last
    return PrunedTree(nodes, new_parent, arc, fill[vertex_arc])


@numba.njit(cache=True)
def _reattach(parent, kept, alive, elder, level):  # type: ignore[no-untyped-def]
    """Return, per node, the kept node that owns its arc, the kept node above, the fill level.

    Upward first: a removed node passes its arc to the kept node below it on the surviving branch.
    Then downward: the arc of a removed branch follows its saddle.
    """
    count = len(parent)
    lower = np.arange(count)
    for node in range(count - 1):
        above = parent[node]
        if not kept[above] and elder[above] == elder[node]:
            lower[above] = lower[node]
    upper = np.full(count, -1)
    fill = np.full(count, -np.inf)
    for node in range(count - 2, -1, -1):
        above = parent[node]
        upper[node] = above if kept[above] else upper[above]
        if not alive[node]:
            lower[node] = lower[above]
            fill[node] = fill[above] if not alive[above] else level[above]
    return lower, upper, fill
