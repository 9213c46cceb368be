"""Stage 3a: the neighbour graph of the samples.

On a grid, neighbours are given by offsets. The offsets are the same at every sample, so no list of
edges is stored. For samples at arbitrary positions, neighbours are the k nearest points.

On a two-dimensional grid, the ``diagonal`` rule equals the k = 4n nearest neighbours of Geniesse
et al. (2024, arXiv 2411.12136, section 3). The rule keeps ties, so it is defined in any dimension.
A k-nearest-neighbour search on a grid breaks ties arbitrarily for n >= 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from tlp_core import checks
from tlp_core.choices import GRID_RULES, KNN_METHODS, KNN_RULES, GridRule, KnnMethod, KnnRule
from tlp_core.progress import Progress, silent
from tlp_core.topology.union_find import UnionFind

_LARGEST_COORDINATE = 1e100
"""Coordinates above this have squares that overflow, which ends the process in the KD-tree."""

_MAX_NEIGHBORS = 64
"""Number of neighbours of a point among which another component is searched."""

_PIECE = 2**16
"""Number of points whose neighbours are searched between two reports of progress."""

_SEARCHED = 0.9
"""Fraction of the work that is done after the search of neighbours."""

_RECALL_SAMPLES = 1000
"""Number of points on which the recall of nn-descent is estimated; enough for two digits."""


@dataclass(frozen=True)
class GridGraph:
    """Neighbour graph of a grid, stored as offsets.

    Attributes:
        shape: number of points per axis (n,), C order, last axis fastest.
        rule: name of the rule that defines the offsets.
        offsets: (K, n) int64, the offset of each neighbour along each axis, in grid steps. With
            every offset the list contains its negative.
    """

    shape: tuple[int, ...]
    rule: GridRule
    offsets: npt.NDArray[np.int64]

    @property
    def number_of_samples(self) -> int:
        """N, the number of grid points."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def number_of_edges(self) -> int:
        """E, the number of edges, each counted once."""
        return sum(self._edges_along(offset) for offset in self._forward_offsets())

    def edges(self, out: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """Return the list of edges, which has about N·K/2 rows and is computed at each call.

        Args:
            out: (E, 2) int64, array to write the edges to. Default: a new array.

        Returns:
            (E, 2) int64, the sample ids at both ends of each edge, each edge once.
        """
        edges = np.empty((self.number_of_edges, 2), dtype=np.int64) if out is None else out
        ids = np.arange(self.number_of_samples, dtype=np.int64).reshape(self.shape)
        first = 0
        for offset in self._forward_offsets():
            rows = edges[first : first + self._edges_along(offset)]
            rows[:, 0], rows[:, 1] = (ends.ravel() for ends in _edge_ends(ids, offset))
            first += len(rows)
        return edges

    def _forward_offsets(self) -> list[list[int]]:
        return [offset for offset in self.offsets.tolist() if offset > [0] * len(offset)]

    def _edges_along(self, offset: list[int]) -> int:
        return math.prod(max(0, size - abs(step)) for size, step in zip(self.shape, offset))


@dataclass(frozen=True)
class EdgeGraph:
    """Neighbour graph, stored as a list of edges.

    Attributes:
        number_of_samples: N.
        edges: (E, 2) int64, sample ids, each edge once. :func:`knn_graph` writes the smaller
            sample id first and sorts the edges.
        bridges: number of edges that were added to join separate components.
        recall: fraction, 0 to 1, of the true k nearest neighbours that the search found; 1 for
            ``exact``.
    """

    number_of_samples: int
    edges: npt.NDArray[np.int64]
    bridges: int = 0
    recall: float = 1.0

    @property
    def number_of_edges(self) -> int:
        """E, the number of edges, each counted once."""
        return len(self.edges)


def grid_graph(shape: Sequence[int], *, rule: GridRule = "diagonal") -> GridGraph:
    """Return the neighbour graph of a grid by one of four rules.

    Args:
        shape: number of points per axis (n,), C order, each >= 1.
        rule: ``axis`` (2n neighbours), ``diagonal`` (at most two axes change: 2n² neighbours, in 2D
            the 8 of the paper), ``moore`` (3^n - 1 neighbours) or ``freudenthal`` (2(2^n - 1)
            neighbours: the edges of the triangulation that TTK uses on image data whose x is the
            first axis; diagonals run against that axis). Default: ``diagonal``.

    Returns:
        The graph, with the offsets of the neighbours.

    Raises:
        ValueError: if the rule is unknown, a size is below 1, or the grid has fewer than two
            samples.
        TypeError: if a size is not an integer.
    """
    sizes = checks.grid_shape(shape)
    checks.choice(rule, GRID_RULES, name="rule")
    n = len(sizes)
    offsets = np.array([s for s in product((-1, 0, 1), repeat=n) if any(s)], dtype=np.int64)
    return GridGraph(shape=sizes, rule=rule, offsets=offsets[_belongs_to(offsets, rule)])


def knn_graph(
    points: npt.ArrayLike,
    *,
    k: int | None = None,
    rule: KnnRule = "mutual",
    method: KnnMethod = "exact",
    seed: int = 0,
    progress: Progress = silent,
) -> EdgeGraph:
    """Return the k-nearest-neighbour graph of points, joined to one component.

    If the rule leaves several components, the shortest possible edges are added to join them. They
    form a minimum spanning tree of the components.

    Args:
        points: (N, n) coordinates, finite, N >= 2.
        k: number of neighbours of each point, without the point itself, 1 <= k < N. Default: 4n as
            in the paper, or N - 1 if that is smaller.
        rule: ``mutual`` keeps an edge if each end is among the k nearest of the other (the paper),
            ``union`` if at least one end is. Default: ``mutual``.
        method: ``exact`` (KD-tree) or ``nn-descent`` (pynndescent; Dong et al. 2011, "Efficient
            k-nearest neighbor graph construction"). The first nn-descent call of a process
            compiles for about half a minute. Default: ``exact``.
        seed: random seed of nn-descent. Default: 0.
        progress: as in :func:`~tlp_core.merge_tree`. A search by nn-descent reports its ends only.

    Returns:
        The graph. Its ``bridges`` is the number of edges that were added, its ``recall`` the
        fraction of the true neighbours that were found.

    Raises:
        ValueError: if k is out of range, the rule or the method is unknown, or the points are not
            finite or not of shape (N, n) with N >= 2.
        TypeError: if k is not an integer.
    """
    coordinates = _rescale(checks.points(points))
    checks.choice(rule, KNN_RULES, name="rule")
    checks.choice(method, KNN_METHODS, name="method")
    count, n = coordinates.shape
    k = min(4 * n, count - 1) if k is None else checks.integer(k, name="k", minimum=1)
    if k >= count:
        raise ValueError(f"k must be smaller than the number of points {count}, got {k}")
    search = _exact_neighbors if method == "exact" else _descent_neighbors
    progress(0.0, "searching neighbors")
    neighbors, recall = search(coordinates, k, seed, progress)
    progress(_SEARCHED, "joining components")
    edges = _select_edges(neighbors, rule)
    bridges = bridging_edges(coordinates, edges)
    progress(1.0, "joining components")
    joined = np.concatenate([edges, bridges])
    return EdgeGraph(
        number_of_samples=count,
        edges=joined[np.lexsort(joined.T[::-1])],
        bridges=len(bridges),
        recall=recall,
    )


def bridging_edges(
    points: npt.NDArray[np.float64], edges: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the shortest possible edges that join the components of a graph.

    This is Borůvka's algorithm. In each round, every component proposes its shortest edge to
    another component. Proposals are accepted shortest first, and skipped if their ends are already
    in one component. The result is a minimum spanning tree of the components under Euclidean
    distance.

    Args:
        points: (N, n) float64, coordinates of the samples.
        edges: (E, 2) int64, edges of the graph.

    Returns:
        (B, 2) int64, the added edges, smaller sample id first; B is 0 for a connected graph.
    """
    components = UnionFind(len(points))
    components.unite_all(edges)
    tree = cKDTree(points)
    bridges: list[tuple[int, int]] = []
    labels = components.labels()
    while labels.max() > 0:
        for i, j in _shortest_outward_edges(tree, labels):
            if components.unite(i, j):
                bridges.append((min(i, j), max(i, j)))
        labels = components.labels()
    return np.array(bridges, dtype=np.int64).reshape(-1, 2)


def _rescale(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return points whose squared distances are finite; neighbours do not depend on the scale."""
    largest = np.abs(points).max()
    return points / largest if largest > _LARGEST_COORDINATE else points


def _belongs_to(offsets: npt.NDArray[np.int64], rule: GridRule) -> npt.NDArray[np.bool_]:
    changed_axes = np.count_nonzero(offsets, axis=1)
    mirrored = offsets * np.append(-1, np.ones(offsets.shape[1] - 1, dtype=np.int64))
    one_sign = (mirrored >= 0).all(axis=1) | (mirrored <= 0).all(axis=1)
    allowed = {
        "axis": changed_axes == 1,
        "diagonal": changed_axes <= 2,
        "moore": changed_axes > 0,
        "freudenthal": one_sign,
    }
    return np.asarray(allowed[rule])


def _edge_ends(
    ids: npt.NDArray[np.int64], offset: list[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the samples that have a neighbour at an offset, and those neighbours."""
    start = tuple(slice(max(0, -s), size - max(0, s)) for s, size in zip(offset, ids.shape))
    end = tuple(slice(max(0, s), size - max(0, -s)) for s, size in zip(offset, ids.shape))
    return ids[start], ids[end]


def _exact_neighbors(
    points: npt.NDArray[np.float64], k: int, _seed: int, progress: Progress
) -> tuple[npt.NDArray[np.int64], float]:
    tree, found = cKDTree(points), np.empty((len(points), k + 1), dtype=np.int64)
    for start in range(0, len(points), _PIECE):
        piece = slice(start, start + _PIECE)
        found[piece] = tree.query(points[piece], k=k + 1)[1]
        progress(_SEARCHED * min(1.0, (start + _PIECE) / len(points)), "searching neighbors")
    return _without_self(found), 1.0


def _descent_neighbors(
    points: npt.NDArray[np.float64], k: int, seed: int, _progress: Progress
) -> tuple[npt.NDArray[np.int64], float]:
    from pynndescent import NNDescent

    index = NNDescent(points, n_neighbors=k + 1, random_state=seed)
    neighbors = _without_self(np.asarray(index.neighbor_graph[0], dtype=np.int64))
    return neighbors, _recall(points, neighbors)


def _without_self(found: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Remove each point from its own list (N, k+1).

    If duplicates of a point displaced it from its own list, the last entry is removed instead.
    """
    is_self = found == np.arange(len(found), dtype=np.int64)[:, None]
    is_self[~is_self.any(axis=1), -1] = True
    return np.asarray(found[~is_self].reshape(len(found), -1))


def _recall(points: npt.NDArray[np.float64], neighbors: npt.NDArray[np.int64]) -> float:
    tested = np.linspace(0, len(points) - 1, min(_RECALL_SAMPLES, len(points))).astype(np.int64)
    k = neighbors.shape[1]
    true_distance, _ = cKDTree(points).query(points[tested], k=k + 1)
    distance = np.linalg.norm(points[neighbors[tested]] - points[tested, None], axis=2)
    return float(np.mean(distance <= true_distance[:, -1:] * (1 + 1e-12)))


def _select_edges(neighbors: npt.NDArray[np.int64], rule: KnnRule) -> npt.NDArray[np.int64]:
    count, k = neighbors.shape
    source = np.repeat(np.arange(count, dtype=np.int64), k)
    target = neighbors.ravel()
    keys = np.minimum(source, target) * np.int64(count) + np.maximum(source, target)
    unique, occurrences = np.unique(keys, return_counts=True)
    kept = unique[occurrences == 2] if rule == "mutual" else unique
    return np.stack([kept // count, kept % count], axis=1)


def _shortest_outward_edges(tree: cKDTree, labels: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the shortest edge of each component to another one, shortest first.

    The number of neighbours that are searched doubles in each round. A point is active until one of
    its neighbours is in another component, or until its search radius reaches the length of the
    shortest edge that is known for its component.
    """
    points = np.asarray(tree.data)
    shortest = np.full(labels.max() + 1, np.inf)
    edge = np.zeros((len(shortest), 2), dtype=np.int64)
    active = np.arange(len(points), dtype=np.int64)
    k = 2
    while active.size:
        if k > _MAX_NEIGHBORS:
            _search_outside(points, labels, active, shortest, edge)
            break
        k = min(2 * k, len(points))
        distance, found = tree.query(points[active], k=k)
        is_outside = labels[found] != labels[active][:, None]
        nearest = is_outside.argmax(axis=1)
        rows = np.flatnonzero(is_outside.any(axis=1))
        rows = rows[np.argsort(-distance[rows, nearest[rows]], kind="stable")]
        component, length = labels[active[rows]], distance[rows, nearest[rows]]
        shorter = length <= shortest[component]
        rows, component = rows[shorter], component[shorter]
        # Rows are sorted by decreasing length, so the last assignment to a component is its
        # shortest edge.
        shortest[component] = length[shorter]
        edge[component] = np.stack([active[rows], found[rows, nearest[rows]]], axis=1)
        radius = distance[:, -1]
        active = active[~is_outside.any(axis=1) & (radius < shortest[labels[active]])]
    return [(int(i), int(j)) for i, j in edge[np.argsort(shortest, kind="stable")]]


def _search_outside(
    points: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    active: npt.NDArray[np.int64],
    shortest: npt.NDArray[np.float64],
    edge: npt.NDArray[np.int64],
) -> None:
    """Set the shortest edge of each component with active points, by a tree of all others.

    There are few such components, because each has more points than neighbours were searched.
    """
    for component in np.unique(labels[active]):
        inside = active[labels[active] == component]
        others = np.flatnonzero(labels != component)
        distance, nearest = cKDTree(points[others]).query(points[inside])
        best = distance.argmin()
        if distance[best] < shortest[component]:
            shortest[component] = distance[best]
            edge[component] = inside[best], others[nearest[best]]
