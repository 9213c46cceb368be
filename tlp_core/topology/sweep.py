"""The sweep of the merge tree: it visits the samples from low to high and assigns each to an arc.

If all lower neighbours of a sample lie in one component, the sample joins the arc of that
component. Otherwise the sample is a node.

On a grid, a first pass reduces the work of the sweep. The lower link of a sample is the graph of
its lower neighbours (piecewise linear Morse theory: Edelsbrunner, Harer, Zomorodian 2001,
"Hierarchical Morse complexes", section 2). All neighbours in one connected part of the lower link
belong to the same component, so one representative of each part is enough. The first pass finds
the representatives and reads memory in order. The sweep accesses memory at random and then reads
one neighbour per part instead of all neighbours.

Disjoint sets are sets of arcs, not of samples, so they are no larger than the tree. The edges of a
grid are never stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from tlp_core.progress import Progress, silent
from tlp_core.topology.graphs import GridGraph
from tlp_core.topology.union_find import find

_NONE = -1

_SAMPLE, _PARENT, _MERGED, _COMPONENT = 0, 1, 2, 3
"""Rows of the node table.

They are the sample, the node above, the number of arcs that end at the node, and the parent of the
node's arc in the disjoint sets.
"""

_INITIAL_CAPACITY = 1024
"""Number of nodes for which memory is allocated first; the capacity doubles when it is full."""

_PIECE = 2**20
"""Number of samples between two reports of progress; in 5D, white noise takes 0.4 s for them."""

_SORTED, _LINKED = 0.1, 0.5
"""Fractions of the work that are done after the sort and after the lower links."""

_WORD_BITS = 64
"""Number of neighbours in one word of bits; more neighbours need several words.

Lower links are evaluated within one word, so a sample can get representatives from several words.
"""

_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
"""A de Bruijn sequence: each run of six bits occurs once, and so encodes the position of a bit."""

_BIT_NUMBER = np.empty(64, dtype=np.int64)
_BIT_NUMBER[(_DE_BRUIJN << np.arange(64, dtype=np.uint64)) >> np.uint64(58)] = np.arange(64)

_DIGIT_BITS = 11
_DIGITS = 6
"""Digits of the radix sort: six digits of 11 bits hold a double; 2,048 counters fit the cache."""


class Sweep(NamedTuple):
    """Result of a sweep.

    Attributes:
        sample_arc: (N,) int64, arc of each sample, identified by the number of its lower node.
        node_sample: (M,) int64, sample ids of the nodes, in the order of the sweep.
        parent: (M,) int64, the node above each node; -1 at the last node of each component of the
            graph.
        merged: (M,) int64, number of arcs that end at each node.
    """

    sample_arc: npt.NDArray[np.int64]
    node_sample: npt.NDArray[np.int64]
    parent: npt.NDArray[np.int64]
    merged: npt.NDArray[np.int64]


def sweep_order(
    values: npt.NDArray[np.float64], *, progress: Progress = silent
) -> npt.NDArray[np.integer[Any]]:
    """Return the sample ids, sorted by (value, id), with non-finite values last.

    This is a radix sort of the bits of the values. Its time per sample is nearly independent of N.

    Args:
        values: (N,) float64, losses.
        progress: called during the work, as part of that of a sweep.

    Returns:
        (N,) int32, or int64 if N >= 2^31.
    """
    dtype: type[np.signedinteger[Any]] = np.int32 if len(values) < 2**31 else np.int64
    ids: npt.NDArray[np.integer[Any]] = np.arange(len(values), dtype=dtype)
    keys = np.empty(len(values), dtype=np.uint64)
    counts = _sort_keys(values, keys)
    other_keys, other_ids = np.empty_like(keys), np.empty_like(ids)
    for digit in range(_DIGITS):
        if counts[digit].max(initial=0) < len(values):
            _scatter(keys, ids, other_keys, other_ids, counts[digit], digit * _DIGIT_BITS)
            keys, other_keys, ids, other_ids = other_keys, keys, other_ids, ids
        progress(_SORTED * (digit + 1) / _DIGITS, "sorting samples")
    return ids


def sweep_grid(
    values: npt.NDArray[np.float64],
    order: npt.NDArray[np.integer[Any]],
    graph: GridGraph,
    *,
    progress: Progress = silent,
) -> Sweep:
    """Sweep the samples of a grid without a list of edges.

    Args:
        values: (N,) float64, losses in C order.
        order: (N,) sample ids from low to high, as :func:`sweep_order` returns them.
        graph: neighbour graph of the grid.
        progress: called during the work.

    Returns:
        The nodes and the arc of each sample.
    """
    shape = np.array(graph.shape, dtype=np.int64)
    strides = np.cumprod(np.append(1, shape[:0:-1]))[::-1].astype(np.int64)
    steps = graph.offsets @ strides
    nearest = np.argsort(np.abs(steps), kind="stable")
    offsets, steps = graph.offsets[nearest], steps[nearest]
    finite = np.isfinite(values)
    heights = values if finite.all() else np.where(finite, values, np.inf)
    representatives = np.empty((len(values), -(-len(steps) // _WORD_BITS)), dtype=np.uint64)
    words = representatives.shape[1]
    for word in range(words):
        group = slice(word * _WORD_BITS, (word + 1) * _WORD_BITS)
        link, out = _link(offsets[group]), representatives[:, word]
        place = np.zeros(len(shape) - 1, dtype=np.int64)
        for start, stop in _pieces(len(values), int(shape[-1])):
            ends = (start, stop, place)
            _find_representatives(heights, shape, offsets[group], steps[group], link, out, *ends)
            done = (word + stop / len(values)) / words
            progress(_SORTED + (_LINKED - _SORTED) * done, "finding lower links")
    return _sweep(partial(_sweep_grid, steps, representatives), order, len(steps), progress)


def sweep_edges(
    order: npt.NDArray[np.integer[Any]],
    edges: npt.NDArray[np.int64],
    *,
    progress: Progress = silent,
) -> Sweep:
    """Sweep the samples of a graph that is given by its edges.

    Args:
        order: (N,) sample ids from low to high, as :func:`sweep_order` returns them.
        edges: (E, 2) int64, sample ids at both ends of each edge.
        progress: called during the work.

    Returns:
        The nodes and the arc of each sample.
    """
    starts, neighbors = _adjacency(edges, len(order))
    degree = int(np.max(np.diff(starts)))
    return _sweep(partial(_sweep_edges, starts, neighbors), order, degree, progress)


def _pieces(count: int, multiple: int = 1) -> list[tuple[int, int]]:
    """Return the ends of pieces of so many samples, whose lengths are multiples of a number."""
    length = max(1, _PIECE // multiple) * multiple
    return [(start, min(start + length, count)) for start in range(0, count, length)]


def _sweep(
    visit: Callable[..., tuple[npt.NDArray[np.int64], int, int]],
    order: npt.NDArray[np.integer[Any]],
    degree: int,
    progress: Progress,
) -> Sweep:
    """Visit the samples piece by piece.

    Args:
        visit: the compiled function of a kind of graph.
        order: (N,) sample ids from low to high.
        degree: largest number of neighbours of a sample.
        progress: called after each piece.
    """
    nodes = np.empty((4, _INITIAL_CAPACITY), dtype=np.int64)
    sample_arc = np.full(len(order), _NONE, dtype=np.int64)
    lower_arcs = np.empty(degree, dtype=np.int64)
    node = count = 0
    for start, stop in _pieces(len(order)):
        nodes, node, count = visit(order, start, stop, nodes, node, sample_arc, lower_arcs)
        progress(_LINKED + (1 - _LINKED) * stop / len(order), "building the merge tree")
    _assign_root(sample_arc, order[-1], lower_arcs[:count])
    return Sweep(sample_arc, *nodes[:_COMPONENT, :node].copy())


def _link(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return, per neighbour, which of the other neighbours it is adjacent to, as bits (K,)."""
    known = {tuple(offset) for offset in offsets.tolist()}
    between = offsets[None] - offsets[:, None]
    adjacent = [[tuple(step) in known for step in row] for row in between.tolist()]
    bits = np.uint64(1) << np.arange(len(offsets), dtype=np.uint64)
    return np.array([bits[row].sum(dtype=np.uint64) for row in np.array(adjacent)])


@numba.njit(cache=True)
def _sort_keys(values, keys):  # type: ignore[no-untyped-def]
    """Write unsigned keys in the order of the values, and return the counts of each digit."""
    counts = np.zeros((_DIGITS, 1 << _DIGIT_BITS), dtype=np.int64)
    sign = np.uint64(1) << np.uint64(63)
    low = np.uint64((1 << _DIGIT_BITS) - 1)
    bits = values.view(np.int64)
    for i in range(len(values)):
        if not np.isfinite(values[i]):
            key = ~np.uint64(0)
        elif values[i] == 0.0:  # 0.0 and -0.0 must get the same key
            key = sign
        else:
            key = np.uint64(bits[i]) ^ (np.uint64(bits[i] >> 63) | sign)
        keys[i] = key
        for digit in range(_DIGITS):
            counts[digit, (key >> np.uint64(digit * _DIGIT_BITS)) & low] += 1
    return counts


@numba.njit(cache=True)
def _scatter(keys, ids, sorted_keys, sorted_ids, counts, shift):  # type: ignore[no-untyped-def]
    places = np.cumsum(counts) - counts
    low = np.uint64(len(counts) - 1)
    for i in range(len(keys)):
        digit = (keys[i] >> np.uint64(shift)) & low
        place = places[digit]
        places[digit] = place + 1
        sorted_keys[place] = keys[i]
        sorted_ids[place] = ids[i]


@numba.njit(cache=True)
def _find_representatives(  # type: ignore[no-untyped-def]
    heights, shape, offsets, steps, link, out, start, stop, place
):
    """Write, per sample, one neighbour of each connected part of its lower link, as bits.

    The samples are those from ``start`` to ``stop``. ``place`` is the grid index of their first
    row, and afterwards that of the row behind them.
    """
    length, outer = shape[-1], shape[:-1]
    lower = np.empty(length, dtype=np.uint64)
    for first in range(start, stop, length):
        row = heights[first : first + length]
        lower[:] = 0
        for j in range(len(steps)):
            if _is_inside(place, outer, offsets[j]):
                begin, end = max(0, -offsets[j, -1]), length - max(0, offsets[j, -1])
                others = heights[first + steps[j] + begin : first + steps[j] + end]
                _mark_lower(lower[begin:end], others, row[begin:end], np.uint64(j), steps[j] < 0)
        for x in range(length):
            out[first + x] = _one_per_part(lower[x], link)
        _advance(place, outer)


@numba.njit(cache=True)
def _mark_lower(lower, others, own, bit, equal_is_lower):  # type: ignore[no-untyped-def]
    if equal_is_lower:  # equal values are ordered by sample id
        for x in range(len(own)):
            lower[x] |= np.uint64(others[x] <= own[x]) << bit
    else:
        for x in range(len(own)):
            lower[x] |= np.uint64(others[x] < own[x]) << bit


@numba.njit(cache=True)
def _is_inside(place, shape, offset):  # type: ignore[no-untyped-def]
    inside = True
    for axis in range(len(shape)):
        inside &= 0 <= place[axis] + offset[axis] < shape[axis]
    return inside


@numba.njit(cache=True)
def _advance(place, shape):  # type: ignore[no-untyped-def]
    """Move ``place`` to the next grid index in C order."""
    for axis in range(len(shape) - 1, -1, -1):
        place[axis] += 1
        if place[axis] < shape[axis]:
            return
        place[axis] = 0


@numba.njit(cache=True)
def _one_per_part(members, link):  # type: ignore[no-untyped-def]
    """Return one neighbour of each connected part of ``members``; both are sets of bits."""
    chosen, reached = np.uint64(0), np.uint64(0)
    while reached != members:
        rest = members & ~reached
        frontier = rest & (~rest + np.uint64(1))
        chosen |= frontier
        reached |= frontier
        while frontier and reached != members:
            new = link[_lowest_bit(frontier)] & members & ~reached
            frontier = (frontier & (frontier - np.uint64(1))) | new
            reached |= new
    return chosen


@numba.njit(cache=True)
def _lowest_bit(word):  # type: ignore[no-untyped-def]
    """Return the position of the lowest bit that is set."""
    lowest = word & (~word + np.uint64(1))
    return _BIT_NUMBER[(lowest * _DE_BRUIJN) >> np.uint64(58)]


@numba.njit(cache=True)
def _sweep_grid(  # type: ignore[no-untyped-def]
    steps, representatives, order, start, stop, nodes, node, sample_arc, lower_arcs
):
    """Visit the samples at the places ``start`` to ``stop`` of the order.

    Returns:
        The table of nodes, the number of nodes, and the number of arcs below the last sample.
    """
    component, last, count = nodes[_COMPONENT], len(order) - 1, 0
    for k in range(start, stop):
        sample, count = np.int64(order[k]), 0
        for word in range(representatives.shape[1]):
            bits = representatives[sample, word]
            while bits:
                neighbor = sample + steps[_WORD_BITS * word + _lowest_bit(bits)]
                count = _add_arc(find(component, sample_arc[neighbor]), lower_arcs, count)
                bits &= bits - np.uint64(1)
        if count == 1 and k < last:
            sample_arc[sample] = lower_arcs[0]
            continue
        nodes = _add_node(nodes, node, sample, lower_arcs[:count])
        component = nodes[_COMPONENT]
        sample_arc[sample] = node
        node += 1
    return nodes, node, count


@numba.njit(cache=True)
def _sweep_edges(  # type: ignore[no-untyped-def]
    starts, neighbors, order, start, stop, nodes, node, sample_arc, lower_arcs
):
    """Visit samples as :func:`_sweep_grid` does."""
    component, last, count = nodes[_COMPONENT], len(order) - 1, 0
    for k in range(start, stop):
        sample, count = np.int64(order[k]), 0
        for e in range(starts[sample], starts[sample + 1]):
            if sample_arc[neighbors[e]] != _NONE:
                count = _add_arc(find(component, sample_arc[neighbors[e]]), lower_arcs, count)
        if count == 1 and k < last:
            sample_arc[sample] = lower_arcs[0]
            continue
        nodes = _add_node(nodes, node, sample, lower_arcs[:count])
        component = nodes[_COMPONENT]
        sample_arc[sample] = node
        node += 1
    return nodes, node, count


@numba.njit(cache=True)
def _add_arc(arc, arcs, count):  # type: ignore[no-untyped-def]
    """Add an arc to the first ``count`` of ``arcs`` if it is new, and return the new count."""
    for j in range(count):
        if arcs[j] == arc:
            return count
    arcs[count] = arc
    return count + 1


@numba.njit(cache=True)
def _add_node(nodes, node, sample, lower_arcs):  # type: ignore[no-untyped-def]
    """Add a node, end the given arcs at it, and return the table, enlarged if it was full."""
    if node == nodes.shape[1]:
        nodes = np.concatenate((nodes, np.empty_like(nodes)), axis=1)
    nodes[_SAMPLE, node], nodes[_PARENT, node] = sample, _NONE
    nodes[_MERGED, node], nodes[_COMPONENT, node] = len(lower_arcs), node
    for arc in lower_arcs:
        nodes[_PARENT, arc] = node
        nodes[_COMPONENT, arc] = node
    return nodes


@numba.njit(cache=True)
def _assign_root(sample_arc, root, lower_arcs):  # type: ignore[no-untyped-def]
    """Assign the root to the arc that reaches it last; in a connected graph there is one."""
    if len(lower_arcs):
        sample_arc[root] = np.max(lower_arcs)


@numba.njit(cache=True)
def _adjacency(edges, count):  # type: ignore[no-untyped-def]
    """Return where the neighbours of each sample start (count+1,), and all neighbours (2E,)."""
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
