"""Stage 3b without TTK: the merge tree of the sublevel sets {f <= v}.

Samples are swept in the order (loss, id). A sample without earlier neighbours is a minimum and
starts an arc; one that touches a single component joins that component's arc; one that touches
several is a saddle, which ends their arcs and starts another; the last sample is the root
(Carr, Snoeyink, Axen 2003, "Computing contour trees in all dimensions", section 4, where this is
the split or join tree). Components are tracked between arcs, not samples, so that the disjoint
sets stay as small as the tree, and a grid's edges are never stored.

TTK's merge tree filter returns the same pairs and the same partition into arcs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import numpy.typing as npt

from tlp_core import checks
from tlp_core.array_names import CriticalType
from tlp_core.neighbors import EdgeGraph, GridGraph
from tlp_core.union_find import find

if TYPE_CHECKING:
    from tlp_core.branches import Branches

_NONE = -1


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
    """

    values: npt.NDArray[np.float64]
    levels: npt.NDArray[np.float64]
    node_vertex: npt.NDArray[np.int64]
    parent: npt.NDArray[np.int64]
    node_type: npt.NDArray[np.uint8]
    vertex_arc: npt.NDArray[np.int64]

    @property
    def number_of_arcs(self) -> int:
        """M - 1: every node but the root has an arc above it."""
        return len(self.parent) - 1

    @property
    def node_level(self) -> npt.NDArray[np.float64]:
        """(M,) float64, the height of each node."""
        return self.levels[self.node_vertex]

    def branches(self) -> Branches:
        """Pair minima with saddles by the elder rule; see :func:`tlp_core.branches.branches`."""
        from tlp_core.branches import branches

        return branches(self)

    def simplified(self, threshold: float, *, relative: bool = False) -> MergeTree:
        """Remove small branches; see :func:`tlp_core.branches.simplified`."""
        from tlp_core.branches import simplified

        return simplified(self, threshold, relative=relative)


def merge_tree(
    values: npt.ArrayLike, graph: GridGraph | EdgeGraph | npt.NDArray[np.integer[Any]]
) -> MergeTree:
    """Return the merge tree of values on a neighbour graph.

    Args:
        values: losses, N in all, any shape (C order on a grid). Equal values are ordered by sample
            id; NaN and infinities count as above everything.
        graph: :func:`~tlp_core.neighbors.grid_graph`, :func:`~tlp_core.neighbors.knn_graph` or an
            edge array (E, 2); self-loops and duplicate edges change nothing.

    Raises:
        ValueError: for fewer than two samples, no finite value, a graph of another size, an edge
            out of range, or a graph of several components.

    Example:
        >>> from tlp_core import grid_graph
        >>> tree = merge_tree([0.0, 3.0, 1.0, 4.0], grid_graph((4,), rule="axis"))
        >>> tree.node_vertex.tolist(), tree.parent.tolist()
        ([0, 2, 1, 3], [2, 2, 3, -1])
    """
    flat = np.ascontiguousarray(values, dtype=np.float64).ravel()
    if flat.size < 2:
        raise ValueError(f"a merge tree needs at least two samples, got {flat.size}")
    order = sweep_order(flat)
    arcs_of_samples, node_vertex, parent, merged = _swept(order, graph)
    loose = int(np.count_nonzero(parent < 0)) - 1
    if loose:
        raise ValueError(
            f"the neighbour graph must be connected, got {loose + 1} components; "
            "join them first, as knn_graph does"
        )
    return MergeTree(
        values=flat,
        levels=shown_levels(flat),
        node_vertex=node_vertex,
        parent=parent,
        node_type=node_types(merged),
        vertex_arc=arcs_of_samples,
    )


def sweep_order(values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return sample ids by (value, id), non-finite values last, (N,) int64."""
    return np.argsort(np.where(np.isfinite(values), values, np.inf), kind="stable")


def shown_levels(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return values with non-finite ones at the largest finite one, (N,) float64.

    Raises:
        ValueError: if no value is finite.
    """
    finite = np.isfinite(values)
    if not finite.any():
        raise ValueError(f"at least one loss must be finite, got {values.size} that are not")
    return np.where(finite, values, values[finite].max())


def node_types(merged: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Return each node's type from the number of arcs that end at it, (M,) uint8; root last."""
    types = np.full(len(merged), CriticalType.DEGENERATE_SADDLE, dtype=np.uint8)
    types[merged == 2] = CriticalType.SADDLE
    types[merged == 0] = CriticalType.MINIMUM
    types[-1] = CriticalType.ROOT
    return types


def _swept(
    order: npt.NDArray[np.int64], graph: GridGraph | EdgeGraph | npt.NDArray[np.integer[Any]]
) -> tuple[npt.NDArray[np.int64], ...]:
    if isinstance(graph, GridGraph):
        _check_size(order.size, graph.number_of_samples)
        return _swept_grid(order, graph)
    if isinstance(graph, EdgeGraph):
        _check_size(order.size, graph.number_of_samples)
        graph = graph.edges
    edges = checks.edges(graph, number_of_samples=order.size)
    starts, neighbors = _adjacency(edges, order.size)
    return tuple(_sweep_edges(order, starts, neighbors))


def _check_size(values: int, samples: int) -> None:
    if values != samples:
        raise ValueError(f"values must be as many as the graph's samples, {samples}, got {values}")


def _swept_grid(
    order: npt.NDArray[np.int64], graph: GridGraph
) -> tuple[npt.NDArray[np.int64], ...]:
    """Sweep on a grid with a rim of one absent sample, so that no offset leaves the array."""
    shape = np.array(graph.shape, dtype=np.int64)
    strides = np.cumprod(np.append(1, (shape + 2)[:0:-1]))[::-1].astype(np.int64)
    padded = np.full(tuple(shape + 2), _NONE, dtype=np.int64)
    swept = _sweep_grid(order, shape, strides, graph.offsets @ strides, padded.ravel())
    inner = padded[tuple(slice(1, -1) for _ in graph.shape)]
    return np.ascontiguousarray(inner).ravel(), *swept


@numba.njit(cache=True)
def _sweep_grid(order, shape, strides, offsets, arc_of):  # type: ignore[no-untyped-def]
    nodes = _new_nodes()
    found = np.empty(len(offsets), dtype=np.int64)
    place = 0
    for k in range(len(order)):
        place = _padded_place(order[k], shape, strides)
        count = 0
        for offset in offsets:
            count = _note_component(arc_of[place + offset], nodes[3], found, count)
        last = k == len(order) - 1
        nodes = _settle(nodes, order[k], place, found, count, last, arc_of)
    return nodes[0][: nodes[4]], nodes[1][: nodes[4]], nodes[2][: nodes[4]]


@numba.njit(cache=True)
def _padded_place(sample, shape, strides):  # type: ignore[no-untyped-def]
    place, rest = 0, sample
    for axis in range(len(shape) - 1, -1, -1):
        place += (rest % shape[axis] + 1) * strides[axis]
        rest //= shape[axis]
    return place


@numba.njit(cache=True)
def _sweep_edges(order, starts, neighbors):  # type: ignore[no-untyped-def]
    nodes = _new_nodes()
    arc_of = np.full(len(order), _NONE, dtype=np.int64)
    found = np.empty(np.max(starts[1:] - starts[:-1]) + 1, dtype=np.int64)
    for k in range(len(order)):
        sample = order[k]
        count = 0
        for e in range(starts[sample], starts[sample + 1]):
            count = _note_component(arc_of[neighbors[e]], nodes[3], found, count)
        last = k == len(order) - 1
        nodes = _settle(nodes, sample, sample, found, count, last, arc_of)
    return arc_of, nodes[0][: nodes[4]], nodes[1][: nodes[4]], nodes[2][: nodes[4]]


@numba.njit(cache=True)
def _new_nodes():  # type: ignore[no-untyped-def]
    """Return room for nodes: vertex, parent, number of arcs merged, arc's component; and count."""
    room = 1024
    return (
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
        np.empty(room, dtype=np.int64),
        0,
    )


@numba.njit(cache=True)
def _grown(nodes):  # type: ignore[no-untyped-def]
    vertex, parent, merged, component, count = nodes
    room = np.empty(len(vertex), dtype=np.int64)
    return (
        np.concatenate((vertex, room)),
        np.concatenate((parent, room)),
        np.concatenate((merged, room)),
        np.concatenate((component, room)),
        count,
    )


@numba.njit(cache=True)
def _note_component(arc, component, found, count):  # type: ignore[no-untyped-def]
    """Add the component of a neighbour's arc to ``found`` if it is a new one."""
    if arc == _NONE:
        return count
    top = find(component, arc)
    for j in range(count):
        if found[j] == top:
            return count
    found[count] = top
    return count + 1


@numba.njit(cache=True)
def _settle(nodes, sample, place, found, count, last, arc_of):  # type: ignore[no-untyped-def]
    """Put a sample on the one arc that it touches, or make it a node."""
    if count == 1 and not last:
        arc_of[place] = found[0]
        return nodes
    if nodes[4] == len(nodes[0]):
        nodes = _grown(nodes)
    vertex, parent, merged, component, node = nodes
    vertex[node], parent[node], merged[node], component[node] = sample, _NONE, count, node
    arc_of[place] = node
    for j in range(count):
        parent[found[j]] = node
        component[found[j]] = node
    if last and count > 0:
        arc_of[place] = np.max(found[:count])
    return vertex, parent, merged, component, node + 1


@numba.njit(cache=True)
def _adjacency(edges, count):  # type: ignore[no-untyped-def]
    """Return, per sample, where its neighbours start (count+1,), and all neighbours (2E,)."""
    starts = np.zeros(count + 1, dtype=np.int64)
    for e in range(len(edges)):
        starts[edges[e, 0] + 1] += 1
        starts[edges[e, 1] + 1] += 1
    starts = np.cumsum(starts)
    cursor = starts[:-1].copy()
    neighbors = np.empty(2 * len(edges), dtype=np.int64)
    for e in range(len(edges)):
        a, b = edges[e, 0], edges[e, 1]
        neighbors[cursor[a]] = b
        cursor[a] += 1
        neighbors[cursor[b]] = a
        cursor[b] += 1
    return starts, neighbors
