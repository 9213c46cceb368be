"""The merge tree of the sublevel sets {f <= v}.

Samples are swept in the order (loss, id). A sample without earlier neighbours is a minimum and
starts an arc; a sample that touches a single component joins that component's arc; a sample that
touches several is a saddle, which ends their arcs and starts another; the last sample is the root
(Carr, Snoeyink, Axen 2003, "Computing contour trees in all dimensions", section 4, where this is
the split or join tree). The sweep itself is in :mod:`tlp_core.topology.sweep`.

TTK's merge tree filter returns the same pairs and the same partition into arcs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core import checks
from tlp_core.array_names import CriticalType
from tlp_core.progress import Progress, silent
from tlp_core.topology.branches import (
    Branches,
    pair_branches,
    prune_tree,
    subtree_sizes,
    sum_upward,
)
from tlp_core.topology.graphs import EdgeGraph, GridGraph
from tlp_core.topology.non_finite import ranks_from_finite
from tlp_core.topology.sweep import Sweep, sweep_edges, sweep_grid, sweep_order


@dataclass(frozen=True)
class MergeTree:
    """The merge tree of a landscape.

    Nodes are numbered in the order of the sweep, so a node's parent has the larger number and the
    root is the last. An arc is named by its lower node; the root has none.

    Attributes:
        values: (N,) float64, the losses as they were given, non-finite ones included.
        levels: (N,) float64, the height at which each sample counts: its loss; the largest finite
            loss where that is not finite; the saddle's loss where simplification filled its basin.
        node_vertex: (M,) int64, the critical sample of each node.
        parent: (M,) int64, the node at the upper end of the arc above each node, -1 at the root.
        node_type: (M,) uint8, ``CriticalType`` of each node.
        vertex_arc: (N,) int64, the arc to which each sample belongs.
        volumes: (N,) float64, > 0, the volume that each sample stands for, with mean 1; None if all
            stand for the same.
    """

    values: npt.NDArray[np.float64]
    levels: npt.NDArray[np.float64]
    node_vertex: npt.NDArray[np.int64]
    parent: npt.NDArray[np.int64]
    node_type: npt.NDArray[np.uint8]
    vertex_arc: npt.NDArray[np.int64]
    volumes: npt.NDArray[np.float64] | None = None

    @property
    def number_of_arcs(self) -> int:
        """M - 1: every node but the root has an arc above it."""
        return len(self.parent) - 1

    @property
    def node_level(self) -> npt.NDArray[np.float64]:
        """(M,) float64, the height of each node."""
        return self.levels[self.node_vertex]

    def subtree_sizes(self) -> npt.NDArray[np.int64]:
        """Return the number of samples in each node's arc and everything below it, (M,) int64."""
        return subtree_sizes(self.parent, self.vertex_arc)

    def sample_volumes(self) -> npt.NDArray[np.float64]:
        """Return the volume that each sample stands for, (N,) float64, 1 if all are equal."""
        return np.ones(len(self.values)) if self.volumes is None else self.volumes

    def subtree_volumes(self) -> npt.NDArray[np.float64]:
        """Return the volume of the samples at or below each node, (M,) float64."""
        own = np.bincount(self.vertex_arc, self.sample_volumes(), minlength=len(self.parent))
        return np.asarray(sum_upward(self.parent, own))

    def branches(self) -> Branches:
        """Pair minima with saddles; see :func:`tlp_core.topology.branches.pair_branches`."""
        return pair_branches(self.parent, self.node_vertex, self.node_level, self.vertex_arc)

    def simplified(
        self,
        threshold: float = 0.0,
        *,
        relative: bool = False,
        logarithmic: bool = False,
        max_minima: int | None = None,
    ) -> MergeTree:
        """Return the tree without its small branches.

        A removed basin is filled to its saddle: its samples get the saddle's level and join the
        basin that survives there. The most persistent branch always stays.

        Args:
            threshold: smallest persistence that stays, >= 0, in units of the loss.
            relative: read the threshold as a fraction, 0 to 1, of the range of the losses.
            logarithmic: measure persistence and range on log10 of the loss, in which a basin of a
                loss of 1e-5 counts as one of a loss of 1. Default: False.
            max_minima: largest number of minima that stay, >= 1: those of the most persistent
                branches, and of equally persistent ones those with the lower minimum. Default: no
                limit.

        Raises:
            ValueError: for a threshold that is negative, not finite, or above 1 if relative, or
                for ``max_minima`` below 1, or for a logarithm of a loss that is not positive.
            TypeError: for an option of the wrong type.
        """
        threshold = checks.non_negative(threshold, name="threshold")
        if relative:
            if threshold > 1:
                raise ValueError(f"a relative threshold must be from 0 to 1, got {threshold:g}")
            levels = _logarithm(self.levels) if logarithmic else self.levels
            threshold *= levels.max() - levels.min()
        pairs = self.branches()
        persistence = pairs.persistence
        if logarithmic:
            persistence = _logarithm(pairs.death) - _logarithm(pairs.birth)
        stays = persistence >= threshold
        if max_minima is not None:
            stays[checks.integer(max_minima, name="max_minima", minimum=1) :] = False
        return self.with_branches(stays)

    def logarithmic(self) -> MergeTree:
        """Return the tree of log10 of the losses, in which persistences are ratios of losses.

        Raises:
            ValueError: if a loss is not positive.
        """
        return replace(self, values=_logarithm(self.values), levels=_logarithm(self.levels))

    def with_branches(self, stays: npt.NDArray[np.bool_]) -> MergeTree:
        """Return the tree with some of its branches; basins of the others are filled.

        Args:
            stays: (B,) whether each branch stays, in the order of :meth:`branches`. The first
                always does, and so must the branch into which one that stays merges.

        Raises:
            ValueError: for another number of branches, or a branch that merges into a removed one.
        """
        pairs = self.branches()
        stays = np.array(stays, dtype=np.bool_)
        if len(stays) != len(pairs):
            raise ValueError(f"stays must have {len(pairs)} values, got {len(stays)}")
        stays[0] = True
        if not stays[pairs.parent[1:]][stays[1:]].all():
            raise ValueError("a branch must not stay without the branch into which it merges")
        pruned = prune_tree(
            self.parent,
            self.node_vertex,
            self.node_level,
            self.vertex_arc,
            minima=pairs.minimum_node[stays],
            saddles=pairs.saddle_node[stays],
        )
        merged = np.bincount(pruned.parent[:-1], minlength=len(pruned.nodes))
        return MergeTree(
            values=self.values,
            levels=np.maximum(self.levels, pruned.fill_level),
            node_vertex=self.node_vertex[pruned.nodes],
            parent=pruned.parent,
            node_type=node_types(merged),
            vertex_arc=pruned.vertex_arc,
            volumes=self.volumes,
        )


def _logarithm(losses: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return log10 of losses; what is not finite stays so."""
    if (lowest := np.min(losses, where=np.isfinite(losses), initial=np.inf)) <= 0:
        raise ValueError(f"the logarithm of the loss needs losses above 0, got {lowest:g}")
    return np.asarray(np.log10(losses, where=losses > 0, out=losses.copy()))


def merge_tree(
    values: npt.ArrayLike,
    graph: GridGraph | EdgeGraph | npt.NDArray[np.integer[Any]],
    *,
    ranks: npt.NDArray[np.integer[Any]] | None = None,
    progress: Progress = silent,
) -> MergeTree:
    """Return the merge tree of values on a neighbour graph.

    Args:
        values: N losses, of any shape (C order on a grid). Equal values are ordered by sample id;
            NaN and infinities count as above everything, and are never minima.
        graph: :func:`~tlp_core.grid_graph`, :func:`~tlp_core.knn_graph` or an edge array
            (E, 2); self-loops and duplicate edges change nothing.
        ranks: (N,) place of each sample in the sweep, if equal values must be ordered other than by
            id, as after a simplification of the values. Default: order by (loss, id).
        progress: called during the work with the fraction that is done, 0 to 1, and a text. An
            exception that it raises ends the work. Default: nothing is reported.

    Raises:
        ValueError: for fewer than two samples, no finite value, a graph of another size, an edge
            out of range, a graph of several components, or ranks that do not sort the values.

    Example:
        >>> from tlp_core import grid_graph
        >>> tree = merge_tree([0.0, 3.0, 1.0, 4.0], grid_graph((4,), rule="axis"))
        >>> tree.node_vertex.tolist(), tree.parent.tolist()
        ([0, 2, 1, 3], [2, 2, 3, -1])
    """
    flat = np.ascontiguousarray(values, dtype=np.float64).ravel()
    if flat.size < 2:
        raise ValueError(f"a merge tree needs at least two samples, got {flat.size}")
    _check_graph(flat, graph)
    all_are_finite = bool(_finite(flat).all())
    if ranks is not None:
        heights = checked_ranks(flat, ranks)
    else:
        heights = flat if all_are_finite else ranks_from_finite(flat, graph)
    sweep = _swept(heights, graph, progress)
    loose = int(np.count_nonzero(sweep.parent < 0)) - 1
    if loose:
        raise ValueError(
            f"the neighbour graph must be connected, got {loose + 1} components; "
            "join them first, as knn_graph does"
        )
    return MergeTree(
        values=flat,
        levels=shown_levels(flat),
        node_vertex=sweep.node_sample,
        parent=sweep.parent,
        node_type=node_types(sweep.merged),
        vertex_arc=sweep.sample_arc,
    )


def checked_ranks(
    values: npt.NDArray[np.float64], ranks: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.float64]:
    """Return ranks (N,) as float64, which represents them exactly.

    Raises:
        ValueError: if they do not sort the values.
    """
    heights = np.where(np.isfinite(values), values, np.inf)
    if ranks.shape != values.shape or (np.diff(heights[np.argsort(ranks)]) < 0).any():
        raise ValueError(
            f"ranks must sort the values, got {ranks.shape} ranks that do not for {values.shape} "
            "values; omit them to order equal values by sample id"
        )
    return ranks.astype(np.float64)


def shown_levels(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return values with non-finite ones at the largest finite one, (N,) float64.

    Raises:
        ValueError: if no value is finite.
    """
    return np.where(finite := _finite(values), values, values.max(where=finite, initial=-np.inf))


def _finite(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which values are finite; raise a ValueError if none is."""
    finite: npt.NDArray[np.bool_] = np.isfinite(values)
    if not finite.any():
        raise ValueError(f"at least one loss must be finite, got {values.size} that are not")
    return finite


def node_types(merged: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Return each node's type from the number of arcs that end at it, (M,) uint8; root last."""
    types = np.full(len(merged), CriticalType.DEGENERATE_SADDLE, dtype=np.uint8)
    types[merged == 2] = CriticalType.SADDLE
    types[merged == 0] = CriticalType.MINIMUM
    types[-1] = CriticalType.ROOT
    return types


def _check_graph(
    values: npt.NDArray[np.float64],
    graph: GridGraph | EdgeGraph | npt.NDArray[np.integer[Any]],
) -> None:
    """Raise a ValueError if a graph is not one of the values' samples."""
    if isinstance(graph, GridGraph | EdgeGraph) and graph.number_of_samples != values.size:
        raise ValueError(
            f"values must be as many as the graph's samples, {graph.number_of_samples}, "
            f"got {values.size}"
        )
    if not isinstance(graph, GridGraph):
        edges = graph.edges if isinstance(graph, EdgeGraph) else graph
        checks.edges(edges, number_of_samples=values.size)


def _swept(
    heights: npt.NDArray[np.float64],
    graph: GridGraph | EdgeGraph | npt.NDArray[np.integer[Any]],
    progress: Progress,
) -> Sweep:
    order = sweep_order(heights, progress=progress)
    if isinstance(graph, GridGraph):
        return sweep_grid(heights, order, graph, progress=progress)
    edges = graph.edges if isinstance(graph, EdgeGraph) else graph
    edges = checks.edges(edges, number_of_samples=heights.size)
    return sweep_edges(order, edges, progress=progress)
