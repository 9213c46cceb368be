"""The sweep behind the merge tree: samples from low to high, each joined to the arcs it touches.

A sample whose lower neighbours lie in one component joins that component's arc; otherwise it is a
node. On a grid most samples are settled before the sweep: where the lower neighbours are connected
among themselves (the lower link of piecewise linear Morse theory, Edelsbrunner, Harer, Zomorodian
2001, "Hierarchical Morse complexes", section 2), any one of them names the arc. That test reads
memory in order, and leaves the sweep, which jumps about, one neighbour to look at instead of all.
Components are tracked between arcs, not samples, so that the disjoint sets stay as small as the
tree, and a grid's edges are never stored.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from tlp_core.topology.graphs import GridGraph
from tlp_core.topology.union_find import find

_NONE = -1

_SAMPLE, _PARENT, _MERGED, _COMPONENT = 0, 1, 2, 3
"""Rows of the table of nodes: sample, node above, number of arcs merged, component of its arc."""

_FIRST_ROOM = 1024
"""Nodes for which there is room at first; it doubles as they come."""

_WORD = 64
"""Neighbours in one word of a lower link; more than these are taken in groups."""

_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
"""A word whose every six consecutive bits differ, so that they number the place of one bit."""

_BIT_NUMBER = np.empty(64, dtype=np.int64)
_BIT_NUMBER[(_DE_BRUIJN << np.arange(64, dtype=np.uint64)) >> np.uint64(58)] = np.arange(64)

_DIGIT_BITS = 11
_DIGITS = 6
"""A radix sort's digits: six of eleven bits hold a double, and 2,048 counters fit the cache."""


class Sweep(NamedTuple):
    """What the sweep found.

    Attributes:
        sample_arc: (N,) int64, arc of each sample, named by its lower node.
        node_sample: (M,) int64, critical samples in the order of the sweep.
        parent: (M,) int64, the node above each node, -1 at the last of each component.
        merged: (M,) int64, number of arcs that end at each node.
    """

    sample_arc: npt.NDArray[np.int64]
    node_sample: npt.NDArray[np.int64]
    parent: npt.NDArray[np.int64]
    merged: npt.NDArray[np.int64]


def sweep_order(values: npt.NDArray[np.float64]) -> npt.NDArray[np.integer[Any]]:
    """Return sample ids by (value, id), non-finite values last, (N,) int32, or int64 above 2^31.

    A radix sort of the doubles' bits, whose time per sample hardly grows with their number.
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
    return ids


def sweep_grid(
    values: npt.NDArray[np.float64], order: npt.NDArray[np.integer[Any]], graph: GridGraph
) -> Sweep:
    """Sweep a grid, whose edges are never stored.

    Args:
        values: losses (N,), C order.
        order: sample ids from low to high (N,).
        graph: the neighbours of each sample.
    """
    shape = np.array(graph.shape, dtype=np.int64)
    strides = np.cumprod(np.append(1, shape[:0:-1]))[::-1].astype(np.int64)
    steps = graph.offsets @ strides
    nearest = np.argsort(np.abs(steps), kind="stable")
    offsets, steps = graph.offsets[nearest], steps[nearest]
    finite = np.isfinite(values)
    heights = values if finite.all() else np.where(finite, values, np.inf)
    ways = np.empty((len(values), -(-len(steps) // _WORD)), dtype=np.uint64)
    for word in range(ways.shape[1]):
        part = slice(word * _WORD, (word + 1) * _WORD)
        link = _link(offsets[part])
        _find_ways(heights, shape, offsets[part], steps[part], link, ways[:, word])
    sample_arc, nodes = _sweep_grid(order, steps, ways)
    return Sweep(sample_arc, *nodes)


def sweep_edges(order: npt.NDArray[np.integer[Any]], edges: npt.NDArray[np.int64]) -> Sweep:
    """Sweep a graph given by its edges (E, 2)."""
    starts, neighbors = _adjacency(edges, len(order))
    sample_arc, nodes = _sweep_edges(order, starts, neighbors)
    return Sweep(sample_arc, *nodes)


def _link(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return, per neighbour, which of the others are neighbours of it, as bits (K,)."""
    known = {tuple(offset) for offset in offsets.tolist()}
    between = offsets[None] - offsets[:, None]
    joined = [[tuple(step) in known for step in row] for row in between.tolist()]
    bits = np.uint64(1) << np.arange(len(offsets), dtype=np.uint64)
    return np.array([bits[row].sum(dtype=np.uint64) for row in np.array(joined)])


@numba.njit(cache=True)
def _sort_keys(values, keys):  # type: ignore[no-untyped-def]
    """Fill in unsigned keys that sort as the values do; count every digit of them."""
    counts = np.zeros((_DIGITS, 1 << _DIGIT_BITS), dtype=np.int64)
    sign = np.uint64(1) << np.uint64(63)
    low = np.uint64((1 << _DIGIT_BITS) - 1)
    bits = values.view(np.int64)
    for i in range(len(values)):
        if not np.isfinite(values[i]):
            key = ~np.uint64(0)
        elif values[i] == 0.0:  # both zeros are one value
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
def _find_ways(heights, shape, offsets, steps, link, ways):  # type: ignore[no-untyped-def]
    """Fill in, for each sample, one lower neighbour of each part of its lower link, as bits."""
    length, outer = shape[-1], shape[:-1]
    place = np.zeros(len(outer), dtype=np.int64)
    lower = np.empty(length, dtype=np.uint64)
    for first in range(0, len(heights), length):
        row = heights[first : first + length]
        lower[:] = 0
        for j in range(len(steps)):
            if _stays_inside(place, outer, offsets[j]):
                begin, end = max(0, -offsets[j, -1]), length - max(0, offsets[j, -1])
                others = heights[first + steps[j] + begin : first + steps[j] + end]
                _mark_lower(lower[begin:end], others, row[begin:end], np.uint64(j), steps[j] < 0)
        for x in range(length):
            ways[first + x] = _one_of_each(lower[x], link)
        _advance(place, outer)


@numba.njit(cache=True)
def _mark_lower(lower, others, own, bit, equal_is_lower):  # type: ignore[no-untyped-def]
    if equal_is_lower:  # the smaller id is the lower
        for x in range(len(own)):
            lower[x] |= np.uint64(others[x] <= own[x]) << bit
    else:
        for x in range(len(own)):
            lower[x] |= np.uint64(others[x] < own[x]) << bit


@numba.njit(cache=True)
def _stays_inside(place, shape, offset):  # type: ignore[no-untyped-def]
    inside = True
    for axis in range(len(shape)):
        inside &= 0 <= place[axis] + offset[axis] < shape[axis]
    return inside


@numba.njit(cache=True)
def _advance(place, shape):  # type: ignore[no-untyped-def]
    """Go to the next place in C order."""
    for axis in range(len(shape) - 1, -1, -1):
        place[axis] += 1
        if place[axis] < shape[axis]:
            return
        place[axis] = 0


@numba.njit(cache=True)
def _one_of_each(members, link):  # type: ignore[no-untyped-def]
    """Return one neighbour of each connected part of ``members``, all of them as bits."""
    chosen, reached = np.uint64(0), np.uint64(0)
    while reached != members:
        rest = members & ~reached
        ahead = rest & (~rest + np.uint64(1))
        chosen |= ahead
        reached |= ahead
        while ahead and reached != members:
            new = link[_lowest_bit(ahead)] & members & ~reached
            ahead = (ahead & (ahead - np.uint64(1))) | new
            reached |= new
    return chosen


@numba.njit(cache=True)
def _lowest_bit(word):  # type: ignore[no-untyped-def]
    """Return the number of the lowest bit that is set."""
    lowest = word & (~word + np.uint64(1))
    return _BIT_NUMBER[(lowest * _DE_BRUIJN) >> np.uint64(58)]


@numba.njit(cache=True)
def _sweep_grid(order, steps, ways):  # type: ignore[no-untyped-def]
    nodes = np.empty((4, _FIRST_ROOM), dtype=np.int64)
    component = nodes[_COMPONENT]
    arc_of = np.empty(len(order), dtype=np.int64)
    found = np.empty(len(steps), dtype=np.int64)
    node, last = 0, len(order) - 1
    for k in range(len(order)):
        sample, count = np.int64(order[k]), 0
        for word in range(ways.shape[1]):
            way = ways[sample, word]
            while way:
                neighbor = sample + steps[_WORD * word + _lowest_bit(way)]
                count = _note(find(component, arc_of[neighbor]), found, count)
                way &= way - np.uint64(1)
        if count == 1 and k < last:
            arc_of[sample] = found[0]
            continue
        nodes = _with_node(nodes, node, sample, found[:count])
        component = nodes[_COMPONENT]
        arc_of[sample] = node
        node += 1
    _close(arc_of, sample, found[:count])
    return arc_of, nodes[:_COMPONENT, :node].copy()


@numba.njit(cache=True)
def _sweep_edges(order, starts, neighbors):  # type: ignore[no-untyped-def]
    nodes = np.empty((4, _FIRST_ROOM), dtype=np.int64)
    component = nodes[_COMPONENT]
    arc_of = np.full(len(order), _NONE, dtype=np.int64)
    found = np.empty(np.max(starts[1:] - starts[:-1]), dtype=np.int64)
    node, last = 0, len(order) - 1
    for k in range(len(order)):
        sample, count = np.int64(order[k]), 0
        for e in range(starts[sample], starts[sample + 1]):
            if arc_of[neighbors[e]] != _NONE:
                count = _note(find(component, arc_of[neighbors[e]]), found, count)
        if count == 1 and k < last:
            arc_of[sample] = found[0]
            continue
        nodes = _with_node(nodes, node, sample, found[:count])
        component = nodes[_COMPONENT]
        arc_of[sample] = node
        node += 1
    _close(arc_of, sample, found[:count])
    return arc_of, nodes[:_COMPONENT, :node].copy()


@numba.njit(cache=True)
def _note(component, found, count):  # type: ignore[no-untyped-def]
    """Add a component to ``found`` if it is a new one."""
    for j in range(count):
        if found[j] == component:
            return count
    found[count] = component
    return count + 1


@numba.njit(cache=True)
def _with_node(nodes, node, sample, found):  # type: ignore[no-untyped-def]
    """Make a sample a node, at which the arcs of the components found end; room as is needed."""
    if node == nodes.shape[1]:
        nodes = np.concatenate((nodes, np.empty_like(nodes)), axis=1)
    nodes[_SAMPLE, node], nodes[_PARENT, node] = sample, _NONE
    nodes[_MERGED, node], nodes[_COMPONENT, node] = len(found), node
    for arc in found:
        nodes[_PARENT, arc] = node
        nodes[_COMPONENT, arc] = node
    return nodes


@numba.njit(cache=True)
def _close(arc_of, root, found):  # type: ignore[no-untyped-def]
    """Put the root on the arc that reaches it last; a graph of one component has one."""
    if len(found):
        arc_of[root] = np.max(found)


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
