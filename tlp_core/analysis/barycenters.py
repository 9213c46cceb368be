"""Barycentres of merge trees as graphs, so that they are drawn as profiles.

A barycentre of TTK (Pont et al. 2022, arXiv 2107.07789) is a mean of merge trees. It has levels,
and no samples. The width of its basins is here the mean number of samples of the basins that were
matched with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tlp_core.topology.branches import Branches
from tlp_core.topology.merge_tree import merge_tree

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Skeleton:
    """The nodes of a merge tree, without its samples.

    Attributes:
        levels: (M,) float64, level of each node.
        parent: (M,) int64, the node above each node; -1 at the root.
        sizes: (M,) int64, number of samples on the arc above each node, without the nodes at its
            ends; that of the root is ignored. Default: None, unknown.

    Raises:
        ValueError: if it is no tree whose levels ascend to one root.
    """

    levels: Floats
    parent: Integers
    sizes: Integers | None = None

    def __post_init__(self) -> None:
        """Check the shape of the tree."""
        inner = np.flatnonzero(self.parent >= 0)
        ascends = bool((self.levels[self.parent[inner]] >= self.levels[inner]).all())
        if len(inner) < 1 or len(inner) != len(self.parent) - 1 or not ascends:
            raise ValueError(
                f"a merge tree must have one root and levels that ascend to it, got "
                f"{len(self.parent)} nodes and {len(inner)} arcs"
            )

    def order(self) -> Integers:
        """Return the nodes from below; a node comes after those below it."""
        depth = np.zeros(len(self.parent), dtype=np.int64)
        above = self.parent.copy()
        while (inside := above >= 0).any():
            depth += inside
            above = np.where(inside, self.parent[above], -1)
        order: Integers = np.lexsort((-depth, self.levels))
        return order

    def branches(self) -> Branches:
        """Return the branches; their samples are the nodes."""
        ranks = np.empty(len(self.parent), dtype=np.int64)
        ranks[self.order()] = np.arange(len(ranks))
        edges = np.stack([np.arange(len(self.parent)), self.parent], axis=1)
        return merge_tree(self.levels, edges[self.parent >= 0], ranks=ranks).branches()

    def path(self, minimum: int, saddle: int) -> Integers:
        """Return the nodes from a minimum up to the saddle where its branch ends."""
        path = [minimum]
        while path[-1] != saddle:
            path.append(int(self.parent[path[-1]]))
        return np.array(path)


def basin_sizes(skeleton: Skeleton) -> dict[int, int]:
    """Return the number of samples of the basin of each minimum, at the saddle where it ends.

    Args:
        skeleton: a merge tree with the sizes of its arcs.

    Returns:
        The sizes, by the node of the minimum.
    """
    assert skeleton.sizes is not None
    below = np.where(skeleton.parent < 0, 0, skeleton.sizes) + 1
    for node in skeleton.order()[:-1]:
        below[skeleton.parent[node]] += below[node]
    branches = skeleton.branches()
    sizes = {int(branches.minimum[0]): int(below[branches.saddle[0]])}
    for minimum, saddle in zip(branches.minimum[1:].tolist(), branches.saddle[1:].tolist()):
        sizes[minimum] = int(below[skeleton.path(minimum, saddle)[-2]])
    return sizes


def mean_sizes(
    members: Sequence[Skeleton], matchings: Sequence[Mapping[int, int]]
) -> dict[int, float]:
    """Return the mean size of the basins of a barycentre.

    Args:
        members: the trees of which it is the barycentre.
        matchings: for each of them, its node by the node of the barycentre.

    Returns:
        The mean number of samples, by the node of the barycentre; a member without a matching basin
        counts as 0.
    """
    total: dict[int, float] = {}
    for member, matching in zip(members, matchings, strict=True):
        sizes = basin_sizes(member)
        for node, matched in matching.items():
            total[node] = total.get(node, 0.0) + sizes.get(matched, 0)
    return {node: size / len(members) for node, size in total.items()}


def barycenter_graph(barycenter: Skeleton, sizes: Mapping[int, float]) -> tuple[Floats, Integers]:
    """Return a graph whose merge tree is a barycentre, and whose basins have given sizes.

    A basin is at least as wide as those inside it. Its width grows evenly with the height, because
    a barycentre does not tell how.

    Args:
        barycenter: the barycentre.
        sizes: number of samples of the basins, by the node of their minimum. Default of each: 0.

    Returns:
        The levels of the samples, (N,) float64, the nodes first, and the edges, (E, 2) int64.
    """
    branches = barycenter.branches()
    inside, own = np.zeros(len(branches)), np.zeros(len(branches))
    last_first = -np.arange(len(branches))  # at one saddle, a branch is before the one it joins
    for i in np.lexsort((last_first, branches.death)).tolist():
        whole = max(sizes.get(int(branches.minimum[i]), 0.0), inside[i])
        own[i] = whole - inside[i]
        if branches.parent[i] >= 0:
            inside[branches.parent[i]] += whole
    levels, edges = [barycenter.levels], []
    count = len(barycenter.levels)
    for minimum, saddle, width in zip(branches.minimum.tolist(), branches.saddle.tolist(), own):
        path = barycenter.path(minimum, saddle)
        wanted = max(0.0, width - len(path) + 1)  # its nodes are samples, too
        heights = barycenter.levels[path]
        span = heights[-1] - heights[0]
        done = (heights - heights[0]) / span if span > 0 else np.linspace(0, 1, len(path))
        for k, new in enumerate(np.diff(np.round(wanted * done).astype(int)).tolist()):
            levels.append(np.linspace(heights[k], heights[k + 1], new + 2)[1:-1])
            chain = np.array([path[k], *range(count, count + new), path[k + 1]])
            edges.append(np.stack([chain[:-1], chain[1:]], axis=1))
            count += new
    return np.concatenate(levels), np.concatenate(edges)
