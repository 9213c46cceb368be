"""The place of non-finite samples in the order of the sweep.

They count as above everything, and must not be minima. In the order of their ids they could be: the
first sample of a non-finite corner has only later neighbours, and would start a component. In the
order of their distance to the finite samples each has an earlier neighbour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core.topology.graphs import EdgeGraph, GridGraph

Mask = npt.NDArray[np.bool_]


def ranks_from_finite(
    values: npt.NDArray[np.float64],
    graph: GridGraph | EdgeGraph | npt.NDArray[np.integer[Any]],
) -> npt.NDArray[np.float64]:
    """Return the place of each sample in the sweep, (N,) float64.

    Finite samples are ordered by (value, id), then non-finite ones by (number of edges to the next
    finite sample, id).

    Args:
        values: (N,) float64, one of them finite.
        graph: the neighbours.
    """
    finite = np.isfinite(values)
    distance = _distances(finite, graph)
    heights = np.where(finite, values, np.inf)
    order = np.lexsort((np.arange(len(values)), distance, heights))
    ranks = np.empty(len(values), dtype=np.float64)
    ranks[order] = np.arange(len(values))
    return ranks


def _distances(
    finite: Mask, graph: GridGraph | EdgeGraph | npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.int64]:
    """Return the number of edges from each sample to the next finite one, (N,) int64.

    It is N where no path leads there.
    """
    distance = np.where(finite, 0, len(finite))
    links = _links(np.flatnonzero(~finite), graph)
    step = 1
    while len(links):
        reached = links[distance[links[:, 1]] == step - 1, 0]
        reached = reached[distance[reached] > step]
        if not len(reached):
            break
        distance[reached] = step
        links = links[distance[links[:, 0]] > step]
        step += 1
    return distance


def _links(
    samples: npt.NDArray[np.int64], graph: GridGraph | EdgeGraph | npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.int64]:
    """Return every pair of one of some samples and one of its neighbours, (L, 2) int64."""
    if isinstance(graph, GridGraph):
        shape = np.array(graph.shape)
        places = np.stack(np.unravel_index(samples, graph.shape), axis=1)
        parts = []
        for offset in graph.offsets:
            there = places + offset
            inside = ((there >= 0) & (there < shape)).all(axis=1)
            neighbours = np.ravel_multi_index(tuple(there[inside].T), graph.shape)
            parts.append(np.stack([samples[inside], neighbours], axis=1))
        return np.concatenate(parts)
    edges = np.asarray(graph.edges if isinstance(graph, EdgeGraph) else graph, dtype=np.int64)
    both = np.concatenate([edges, edges[:, ::-1]])
    return both[np.isin(both[:, 0], samples)]
