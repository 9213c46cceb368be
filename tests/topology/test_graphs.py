import os
import subprocess
import sys
import tracemalloc
from math import comb
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from tests import strategies
from tests.oracles import shortest_joining_length
from tlp_core import grid_graph, knn_graph
from tlp_core.choices import GRID_RULES
from tlp_core.topology import graphs
from tlp_core.topology.graphs import bridging_edges

COUNTS = {
    "axis": lambda n: 2 * n,
    "diagonal": lambda n: 2 * n * n,
    "moore": lambda n: 3**n - 1,
    "freudenthal": lambda n: 2 * (2**n - 1),
}


@pytest.mark.parametrize("rule", GRID_RULES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_number_of_neighbors_is_the_rules(rule, n):
    offsets = grid_graph((5,) * n, rule=rule).offsets
    expected = COUNTS[rule](n) if (rule, n) != ("diagonal", 1) else 2
    assert len(offsets) == expected
    assert len(np.unique(offsets, axis=0)) == expected
    assert {tuple(-step) for step in offsets} == {tuple(step) for step in offsets}


def test_diagonal_in_three_dimensions_is_the_4n_nearest_with_ties():
    offsets = grid_graph((9, 9, 9)).offsets
    assert len(offsets) == 18
    assert (np.abs(offsets).sum(axis=1) <= 2).all()


@pytest.mark.parametrize("rule", GRID_RULES)
def test_edges_join_samples_one_offset_apart(rule):
    shape = (4, 5, 6)  # lopsided, so that a swapped axis fails
    graph = grid_graph(shape, rule=rule)
    edges = graph.edges()
    steps = np.stack(np.unravel_index(edges[:, 1], shape)) - np.stack(
        np.unravel_index(edges[:, 0], shape)
    )
    allowed = {tuple(step) for step in graph.offsets.tolist()}
    assert {tuple(step) for step in steps.T.tolist()} == {
        step for step in allowed if step > (0, 0, 0)
    }
    unordered = {tuple(sorted(edge)) for edge in edges.tolist()}
    assert len(unordered) == len(edges)
    sizes = np.array(shape)
    expected = sum(np.prod(sizes - np.abs(step)) for step in graph.offsets) // 2
    assert len(edges) == expected == graph.number_of_edges


def test_a_large_grid_is_only_offsets():
    graph = grid_graph((41,) * 6)
    assert graph.number_of_samples == 41**6
    assert graph.offsets.nbytes < 10_000


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_grid_has_two_samples_or_more(shape):
    with pytest.raises(ValueError, match="at least two samples"):
        grid_graph(shape)


def test_an_unknown_rule_is_reported_with_the_known_ones():
    with pytest.raises(ValueError, match="rule must be one of axis, diagonal, moore, freudenthal"):
        grid_graph((3, 3), rule="cross")


def test_knn_defaults_to_4n_and_excludes_the_point_itself():
    points = np.random.default_rng(0).random((60, 3))
    graph = knn_graph(points, rule="union")
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    nearest = np.argsort(distance, axis=1)[:, 1:13]
    expected = {tuple(sorted((i, int(j)))) for i in range(60) for j in nearest[i]}
    assert {tuple(edge) for edge in graph.edges.tolist()} == expected
    assert graph.bridges == 0
    assert graph.recall == 1.0


def test_mutual_keeps_what_both_ends_chose():
    points = np.array([[0.0], [1.0], [3.0], [7.0]])
    assert knn_graph(points, k=1, rule="mutual").edges.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert knn_graph(points, k=1, rule="mutual").bridges == 2
    assert knn_graph(points, k=1, rule="union").bridges == 0


def test_duplicate_points_do_not_choose_themselves():
    graph = knn_graph(np.zeros((7, 2)), k=3, rule="union")
    assert (graph.edges[:, 0] < graph.edges[:, 1]).all()
    assert graph.edges.shape[0] >= 6


@st.composite
def points_and_edges(draw):
    """Draw 3 to 40 points, some at equal distances, and edges that leave them in components."""
    count = draw(st.integers(3, 40))
    points = draw(strategies.losses((count, 2), levels=4))
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    edges = draw(st.lists(pairs, max_size=30))
    return points, np.array(edges, dtype=np.int64).reshape(-1, 2)


@settings(deadline=None, max_examples=60)
@given(points_and_edges())
def test_bridges_are_as_short_as_can_be(case):
    points, given_edges = case
    bridges = bridging_edges(points, given_edges)
    lengths = np.linalg.norm(points[bridges[:, 0]] - points[bridges[:, 1]], axis=1)
    assert lengths.sum() == pytest.approx(shortest_joining_length(points, given_edges))


def test_approximate_neighbors_are_joined_and_their_recall_is_reported(monkeypatch):
    """By a search whose errors are known, because pynndescent takes a minute to compile."""

    def search(points, n_neighbors, random_state):
        assert random_state == 5
        neighbors = cKDTree(points).query(points, k=n_neighbors)[1]
        neighbors[::2, -1] = (neighbors[::2, 0] + 200) % len(points)  # far away
        return SimpleNamespace(neighbor_graph=(neighbors, None))

    monkeypatch.setitem(sys.modules, "pynndescent", SimpleNamespace(NNDescent=search))
    points = np.random.default_rng(1).random((400, 3))
    graph = knn_graph(points, k=4, rule="union", method="nn-descent", seed=5)
    assert graph.recall == pytest.approx(1 - 1 / 8, abs=0.01)
    found = {tuple(edge) for edge in graph.edges.tolist()}
    exact = {tuple(edge) for edge in knn_graph(points, k=4, rule="union").edges.tolist()}
    missing = exact - found
    assert 0 < len(missing) < len(exact) / 8
    assert all((i, i + 200) in found for i in range(0, 200, 2))


NEAREST = """
import numpy as np
from tlp_core import knn_graph
points = np.random.default_rng(1).random((400, 3))
graph = knn_graph(points, k=8, rule="union", method="nn-descent", seed=5)
exact = {tuple(edge) for edge in knn_graph(points, k=8, rule="union").edges.tolist()}
found = {tuple(edge) for edge in graph.edges.tolist()}
print(graph.recall, len(found & exact) / len(exact))
"""


@pytest.mark.exhaustive
def test_nn_descent_finds_most_neighbors_and_reports_the_recall(tmp_path):
    # most of the time is compilation, which is shorter without optimization
    names = ("NUMBA_OPT", "NUMBA_LOOP_VECTORIZE", "NUMBA_SLP_VECTORIZE")
    quick = {
        **dict.fromkeys(names, "0"),
        "NUMBA_NUM_THREADS": "1",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", NEAREST],
        env={**os.environ, **quick},
        capture_output=True,
        text=True,
        check=True,
    )
    recall, share = map(float, done.stdout.split()[-2:])
    assert 0.9 < recall <= 1.0
    assert share > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be >= 1, got 0"),
        ({"k": 5}, "k must be smaller than the number of points 5, got 5"),
        ({"k": 2.5}, "k must be an integer"),
        ({"rule": "both"}, "rule must be one of mutual, union"),
        ({"method": "fast"}, "method must be one of exact, nn-descent"),
    ],
)
def test_bad_knn_options_are_reported(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        knn_graph(np.random.default_rng(0).random((5, 2)), **options)


def test_points_that_are_not_finite_are_reported():
    with pytest.raises(ValueError, match="points must be finite"):
        knn_graph([[0.0, 1.0], [np.nan, 0.0]])


def test_moore_counts_every_way_to_change_axes():
    for n in range(1, 5):
        changed = np.count_nonzero(grid_graph((3,) * n, rule="moore").offsets, axis=1)
        for m in range(1, n + 1):
            assert (changed == m).sum() == comb(n, m) * 2**m


@pytest.mark.parametrize("scale", [1e200, 1.7e308])
def test_huge_coordinates_have_the_neighbours_of_small_ones(scale):
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    np.testing.assert_array_equal(knn_graph(scale * points).edges, knn_graph(points).edges)


def test_distant_clusters_are_bridged_by_the_shortest_edge():
    """Nearly all neighbours of a point lie in its own cluster."""
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.random((4000, 2)), rng.random((4000, 2)) + np.array([1000, 0])])
    tracemalloc.start()
    graph = knn_graph(points)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6  # a list of all neighbours of all points takes a gigabyte
    (bridge,) = graph.edges[(graph.edges[:, 0] < 4000) & (graph.edges[:, 1] >= 4000)]
    lengths = np.linalg.norm(points[:4000, None] - points[None, 4000:], axis=2)
    assert lengths[bridge[0], bridge[1] - 4000] == lengths.min()


def test_neighbors_searched_in_pieces_are_those_in_one(monkeypatch):
    points = np.random.default_rng(0).random((150, 3))
    whole, fractions = knn_graph(points), []
    monkeypatch.setattr(graphs, "_PIECE", 40)
    parts = knn_graph(points, progress=lambda fraction, _: fractions.append(fraction))
    assert np.array_equal(whole.edges, parts.edges)
    assert len(fractions) == 7
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
