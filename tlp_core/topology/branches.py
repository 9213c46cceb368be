"""Stage 3b, continued: branches of a merge tree, and simplification by persistence.

A branch is a minimum paired, by the elder rule, with the saddle at which its component meets one
with a lower minimum (Edelsbrunner, Letscher, Zomorodian 2002, "Topological persistence and
simplification", section 3). Branches nest, and a branch is never more persistent than the one
into which it merges, so removing all branches below a threshold takes whole subtrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from tlp_core import checks
from tlp_core.topology.merge_tree import MergeTree, node_types


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

    def __len__(self) -> int:
        """Return B, the number of branches, which is the number of minima."""
        return len(self.minimum)


def branches(tree: MergeTree) -> Branches:
    """Return the branches of a tree by the elder rule.

    Equal minima are told apart by their sample ids: the smaller is the elder.
    """
    root = len(tree.parent) - 1
    elder = elder_minimum(tree)
    below = tree.parent[:root]
    dying = np.flatnonzero(elder[:root] != elder[below])
    top_arc = np.append(root, dying)
    minimum_node = elder[top_arc]
    saddle_node = np.append(root, below[dying])
    birth, death = tree.node_level[minimum_node], tree.node_level[saddle_node]
    persistence = death - birth
    order = np.lexsort((minimum_node, -persistence))
    order = np.append(0, order[order != 0])
    rank = np.empty_like(tree.parent)
    rank[minimum_node[order]] = np.arange(len(order))
    merges_into = np.append(-1, rank[elder[below[dying]]])
    return Branches(
        minimum=tree.node_vertex[minimum_node[order]],
        saddle=tree.node_vertex[saddle_node[order]],
        birth=birth[order],
        death=death[order],
        persistence=persistence[order],
        parent=merges_into[order],
        size=np.append(len(tree.values), subtree_sizes(tree)[dying])[order],
        minimum_node=minimum_node[order],
        saddle_node=saddle_node[order],
    )


def simplified(
    tree: MergeTree,
    threshold: float = 0.0,
    *,
    relative: bool = False,
    max_minima: int | None = None,
) -> MergeTree:
    """Return the tree without its small branches.

    A removed basin is filled to its saddle: its samples take the saddle's level and join the
    basin that survives there. The most persistent branch always stays.

    Args:
        tree: the merge tree.
        threshold: smallest persistence that stays, >= 0, in units of the loss.
        relative: read the threshold as a fraction, 0 to 1, of the range of the losses.
        max_minima: largest number of minima that stay, >= 1, those of the most persistent
            branches; of equal ones those with the lower minimum. Default: all.

    Raises:
        ValueError: for a threshold that is negative, not finite, or above 1 where relative, or
            for ``max_minima`` below 1.
    """
    threshold = checks.non_negative(threshold, name="threshold")
    if relative:
        if threshold > 1:
            raise ValueError(f"a relative threshold must be from 0 to 1, got {threshold:g}")
        threshold *= tree.levels.max() - tree.levels.min()
    pairs = branches(tree)
    stays = pairs.persistence >= threshold
    if max_minima is not None:
        stays[checks.integer(max_minima, name="max_minima", minimum=1) :] = False
    stays[0] = True
    return _pruned(tree, pairs.minimum_node[stays], pairs.saddle_node[stays])


def elder_minimum(tree: MergeTree) -> npt.NDArray[np.int64]:
    """Return, per node, the node of the lowest minimum at or below it, (M,) int64."""
    lowest = np.arange(len(tree.parent), dtype=np.int64)
    return np.asarray(_minimum_upward(tree.parent, lowest))


def subtree_sizes(tree: MergeTree) -> npt.NDArray[np.int64]:
    """Return, per node, how many samples its arc and everything below it hold, (M,) int64."""
    own = np.bincount(tree.vertex_arc, minlength=len(tree.parent))
    return np.asarray(sum_upward(tree.parent, own.astype(np.int64)))


@numba.njit(cache=True)
def sum_upward(parent, own):  # type: ignore[no-untyped-def]
    """Return per node the sum of ``own`` over its subtree; parents have larger numbers."""
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


def _pruned(
    tree: MergeTree, minima: npt.NDArray[np.int64], saddles: npt.NDArray[np.int64]
) -> MergeTree:
    """Return the tree whose nodes are the given minima and saddles, root among them."""
    kept = np.zeros(len(tree.parent), dtype=np.bool_)
    kept[minima] = kept[saddles] = True
    lives = np.zeros(len(tree.parent), dtype=np.bool_)
    lives[minima] = True
    elder = elder_minimum(tree)
    lower, upper, fill = _reattach(tree.parent, kept, lives[elder], elder, tree.node_level)

    number = np.cumsum(kept) - 1
    nodes = np.flatnonzero(kept)
    parent = np.where(upper[nodes] < 0, -1, number[upper[nodes]])
    root = len(nodes) - 1
    arc = number[lower[tree.vertex_arc]]
    above_all = (arc == root) | (np.arange(len(arc)) == tree.node_vertex[-1])
    arc[above_all] = np.flatnonzero(parent == root)[-1]  # the arc that reaches the root last
    return MergeTree(
        values=tree.values,
        levels=np.maximum(tree.levels, fill[tree.vertex_arc]),
        node_vertex=tree.node_vertex[nodes],
        parent=parent,
        node_type=node_types(np.bincount(parent[:-1], minlength=len(nodes))),
        vertex_arc=arc,
    )


@numba.njit(cache=True)
def _reattach(parent, kept, alive, elder, level):  # type: ignore[no-untyped-def]
    """Return per node the kept node that carries its arc, the kept node above, the fill level.

    Upward first: a node that is no longer one passes its arc to the kept node below it on the
    branch that survives. Then downward: an arc of a removed branch goes to where its saddle went.
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
