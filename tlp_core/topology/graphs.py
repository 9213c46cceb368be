"""Stage 3a: which samples are neighbours.

On a grid, neighbours are offsets, the same at every sample, and no list of edges is needed.
For samples anywhere, neighbours are the k nearest points. The ``diagonal`` rule is what the k = 4n
nearest neighbours of Geniesse et al. (2024, arXiv 2411.12136, section 3) become on a grid in two
dimensions; with ties kept it is defined in any dimension, while a plain k-NN search on a grid
breaks ties by chance for n >= 3.
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
from tlp_core.topology.union_find import UnionFind

_RECALL_SAMPLES = 1000
"""Points on which the recall of nn-descent is measured: enough for two digits."""


@dataclass(frozen=True)
class GridGraph:
    """Neighbours on a grid, kept as offsets.

    Attributes:
        shape: number of points per axis (n,), C order, last axis fastest.
        rule: name of the rule that made the offsets.
        offsets: (K, n) int64, every neighbour's step along each axis, both signs.
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
        """E, each edge counted once."""
        return sum(self._number_along(step) for step in self._forward())

    def edges(self, out: npt.NDArray[np.int64] | None = None) -> npt.NDArray[np.int64]:
        """Return every edge once, (E, 2) int64: about N·K/2 rows, made only when asked for.

        Args:
            out: where to write them, of that shape and type; by default a new array.
        """
        edges = np.empty((self.number_of_edges, 2), dtype=np.int64) if out is None else out
        ids = np.arange(self.number_of_samples, dtype=np.int64).reshape(self.shape)
        first = 0
        for step in self._forward():
            part = edges[first : first + self._number_along(step)]
            part[:, 0], part[:, 1] = (ends.ravel() for ends in _shifted(ids, step))
            first += len(part)
        return edges

    def _forward(self) -> list[list[int]]:
        return [step for step in self.offsets.tolist() if step > [0] * len(step)]

    def _number_along(self, step: list[int]) -> int:
        return math.prod(max(0, size - abs(s)) for size, s in zip(self.shape, step))


@dataclass(frozen=True)
class EdgeGraph:
    """Neighbours as a list of edges.

    Attributes:
        number_of_samples: N.
        edges: (E, 2) int64, each edge once, smaller sample id first, sorted.
        bridges: number of edges that were added to join separate components.
        recall: share of the true k nearest neighbours that the search found; 1 for ``exact``.
    """

    number_of_samples: int
    edges: npt.NDArray[np.int64]
    bridges: int = 0
    recall: float = 1.0

    @property
    def number_of_edges(self) -> int:
        """E, each edge counted once."""
        return len(self.edges)


def grid_graph(shape: Sequence[int], *, rule: GridRule = "diagonal") -> GridGraph:
    """Return the neighbour graph of a grid by one of four rules.

    Args:
        shape: number of points per axis, C order.
        rule: ``axis`` (2n neighbours), ``diagonal`` (at most two axes change: 2n², in 2D the
            paper's 8), ``moore`` (3^n - 1) or ``freudenthal`` (2(2^n - 1), the edges of the
            triangulation that TTK uses on image data whose x is the first axis: diagonals run
            against that axis).

    Raises:
        ValueError: for an unknown rule or fewer than two samples.
    """
    sizes = checks.grid_shape(shape)
    checks.choice(rule, GRID_RULES, name="rule")
    n = len(sizes)
    steps = np.array([s for s in product((-1, 0, 1), repeat=n) if any(s)], dtype=np.int64)
    return GridGraph(shape=sizes, rule=rule, offsets=steps[_obeys(steps, rule)])


def knn_graph(
    points: npt.ArrayLike,
    *,
    k: int | None = None,
    rule: KnnRule = "mutual",
    method: KnnMethod = "exact",
    seed: int = 0,
) -> EdgeGraph:
    """Return the k-nearest-neighbour graph of points, joined to one component.

    Args:
        points: (N, n) coordinates, finite.
        k: neighbours of each point, itself excluded, 1 <= k < N; default 4n, as in the paper.
        rule: ``mutual`` keeps an edge that both ends chose (the paper), ``union`` one that
            either end chose.
        method: ``exact`` (KD-tree) or ``nn-descent`` (pynndescent; Dong et al. 2011, "Efficient
            k-nearest neighbor graph construction"), whose first call compiles for half a minute.
        seed: of nn-descent's random start.

    Returns:
        The graph. Where the rule left several components, the shortest possible edges join them
        (a minimum spanning tree of the components), and ``bridges`` tells how many.

    Raises:
        ValueError: for k out of range, an unknown rule or method, or points that are not finite.
    """
    coordinates = checks.points(points)
    checks.choice(rule, KNN_RULES, name="rule")
    checks.choice(method, KNN_METHODS, name="method")
    count, n = coordinates.shape
    k = min(4 * n, count - 1) if k is None else checks.integer(k, name="k", minimum=1)
    if k >= count:
        raise ValueError(f"k must be smaller than the number of points {count}, got {k}")
    find = _exact_neighbors if method == "exact" else _descent_neighbors
    neighbors, recall = find(coordinates, k, seed)
    edges = _select_edges(neighbors, rule)
    bridges = bridging_edges(coordinates, edges)
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
    """Return the shortest possible edges (B, 2) that join the components of a graph.

    Borůvka's rounds: every component proposes its shortest edge outwards, and proposals are taken
    shortest first unless their ends have met, which yields a minimum spanning tree of the
    components under Euclidean distance.
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


def _obeys(steps: npt.NDArray[np.int64], rule: GridRule) -> npt.NDArray[np.bool_]:
    changed = np.count_nonzero(steps, axis=1)
    turned = steps * np.append(-1, np.ones(steps.shape[1] - 1, dtype=np.int64))
    one_sign = (turned >= 0).all(axis=1) | (turned <= 0).all(axis=1)
    allowed = {
        "axis": changed == 1,
        "diagonal": changed <= 2,
        "moore": changed > 0,
        "freudenthal": one_sign,
    }
    return np.asarray(allowed[rule])


def _shifted(
    ids: npt.NDArray[np.int64], step: list[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the samples that have a neighbour one step away, and those neighbours."""
    start = tuple(slice(max(0, -s), size - max(0, s)) for s, size in zip(step, ids.shape))
    end = tuple(slice(max(0, s), size - max(0, -s)) for s, size in zip(step, ids.shape))
    return ids[start], ids[end]


def _exact_neighbors(
    points: npt.NDArray[np.float64], k: int, _seed: int
) -> tuple[npt.NDArray[np.int64], float]:
    _, found = cKDTree(points).query(points, k=k + 1)
    return _without_self(np.asarray(found, dtype=np.int64)), 1.0


def _descent_neighbors(
    points: npt.NDArray[np.float64], k: int, seed: int
) -> tuple[npt.NDArray[np.int64], float]:
    from pynndescent import NNDescent

    index = NNDescent(points, n_neighbors=k + 1, random_state=seed)
    neighbors = _without_self(np.asarray(index.neighbor_graph[0], dtype=np.int64))
    return neighbors, _recall(points, neighbors)


def _without_self(found: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Drop each point from its own list (N, k+1); where duplicates crowded it out, the last."""
    is_self = found == np.arange(len(found), dtype=np.int64)[:, None]
    is_self[~is_self.any(axis=1), -1] = True
    return np.asarray(found[~is_self].reshape(len(found), -1))


def _recall(points: npt.NDArray[np.float64], neighbors: npt.NDArray[np.int64]) -> float:
    chosen = np.linspace(0, len(points) - 1, min(_RECALL_SAMPLES, len(points))).astype(np.int64)
    k = neighbors.shape[1]
    true_distance, _ = cKDTree(points).query(points[chosen], k=k + 1)
    found = np.linalg.norm(points[neighbors[chosen]] - points[chosen, None], axis=2)
    return float(np.mean(found <= true_distance[:, -1:] * (1 + 1e-12)))


def _select_edges(neighbors: npt.NDArray[np.int64], rule: KnnRule) -> npt.NDArray[np.int64]:
    count, k = neighbors.shape
    one = np.repeat(np.arange(count, dtype=np.int64), k)
    other = neighbors.ravel()
    keys = np.minimum(one, other) * np.int64(count) + np.maximum(one, other)
    unique, chosen_by = np.unique(keys, return_counts=True)
    kept = unique[chosen_by == 2] if rule == "mutual" else unique
    return np.stack([kept // count, kept % count], axis=1)


def _shortest_outward_edges(tree: cKDTree, labels: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return each component's shortest edge to another one, shortest first.

    Each point asks for ever more neighbours until one is foreign, or until its list reaches
    further than the best edge that its component has found.
    """
    points = np.asarray(tree.data)
    best = np.full(labels.max() + 1, np.inf)
    edge = np.zeros((len(best), 2), dtype=np.int64)
    asking = np.arange(len(points), dtype=np.int64)
    k = 2
    while asking.size:
        k = min(2 * k, len(points))
        distance, found = tree.query(points[asking], k=k)
        foreign = labels[found] != labels[asking][:, None]
        nearest = foreign.argmax(axis=1)
        rows = np.flatnonzero(foreign.any(axis=1))
        rows = rows[np.argsort(-distance[rows, nearest[rows]], kind="stable")]
        component, length = labels[asking[rows]], distance[rows, nearest[rows]]
        better = length <= best[component]
        rows, component = rows[better], component[better]
        best[component] = length[better]  # of several for one component the last, shortest, stays
        edge[component] = np.stack([asking[rows], found[rows, nearest[rows]]], axis=1)
        reach = distance[:, -1]
        asking = asking[~foreign.any(axis=1) & (reach < best[labels[asking]])]
    return [(int(i), int(j)) for i, j in edge[np.argsort(best, kind="stable")]]
