import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import strategies
from tlp_core import grid_graph, landscape_distances, merge_tree, persistence_diagram
from tlp_core.analysis.distances import embed_distances
from tlp_core.choices import DIAGRAM_DISTANCES


def path_tree(values):
    return merge_tree(values, grid_graph((len(values),), rule="axis"))


def cheapest_matching(one, other, total):
    """Try every matching; a point can be matched to the diagonal at half its persistence."""
    half = [(death - birth) / 2 for birth, death in (*one, *other)]
    best = np.inf
    for count in range(min(len(one), len(other)) + 1):
        for left in itertools.combinations(range(len(one)), count):
            for right in itertools.permutations(range(len(other)), count):
                moves = [np.abs(one[i] - other[j]).max() for i, j in zip(left, right)]
                alone = [half[i] for i in range(len(one)) if i not in left]
                alone += [half[len(one) + j] for j in range(len(other)) if j not in right]
                cost = sum(moves + alone) if total else max(moves + alone, default=0.0)
                best = min(best, cost)
    return best


@settings(deadline=None, max_examples=40)
@given(*[st.integers(2, 9).flatmap(strategies.distinct_losses) for _ in range(2)])
def test_distances_are_the_cheapest_matchings(first, second):
    trees = [path_tree(first), path_tree(second)]
    one, other = (persistence_diagram(tree) for tree in trees)
    bottleneck = landscape_distances(trees)[0, 1]
    assert bottleneck == pytest.approx(cheapest_matching(one, other, total=False))
    wasserstein = landscape_distances(trees, distance="wasserstein")[0, 1]
    assert wasserstein == pytest.approx(cheapest_matching(one, other, total=True), rel=0.01)


def test_a_matrix_by_hand():
    trees = [path_tree(values) for values in ([0.0, 4.0, 1.0, 5.0], [0.0, 5.0], [0.0, 7.0])]
    matrix = landscape_distances(trees)
    np.testing.assert_allclose(matrix, [[0, 1.5, 2], [1.5, 0, 2], [2, 2, 0]])


def test_relative_distances_do_not_depend_on_scale_or_offset():
    values = np.random.default_rng(0).random((6, 7))
    trees = [merge_tree(v, grid_graph((6, 7))) for v in (values, 3 * values + 2)]
    assert landscape_distances(trees)[0, 1] > 1
    assert landscape_distances(trees, relative=True)[0, 1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("distance", ["bottleneck", "wasserstein"])
def test_equal_losses_have_an_empty_diagram(distance):
    flat, well = path_tree([1.0, 1.0]), path_tree([0.0, 2.0])
    assert persistence_diagram(flat, relative=True).shape == (0, 2)
    matrix = landscape_distances([flat, flat, well], distance=distance)
    np.testing.assert_allclose(matrix, [[0, 0, 1], [0, 0, 1], [1, 1, 0]])


@pytest.mark.parametrize("distance", DIAGRAM_DISTANCES)
def test_equal_landscapes_have_distance_zero(distance):
    rng = np.random.default_rng(0)
    tree = merge_tree(rng.random((5, 6)), grid_graph((5, 6)))
    assert (landscape_distances([tree, tree], distance=distance) == 0).all()


def test_an_unknown_distance_is_reported():
    with pytest.raises(ValueError, match="distance must be one of bottleneck, wasserstein"):
        landscape_distances([], distance="euclid")


def test_points_of_a_plane_are_embedded_without_error():
    points = np.random.default_rng(0).normal(size=(9, 2))
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    embedded, held = embed_distances(distances)
    assert np.linalg.norm(embedded[:, None] - embedded, axis=-1) == pytest.approx(distances)
    assert held == pytest.approx(1.0)
    assert embedded.mean(axis=0) == pytest.approx(np.zeros(2), abs=1e-12)
    assert embedded[:, 0].var() >= embedded[:, 1].var()
    again = embed_distances(distances[::-1, ::-1])[0]
    assert again[::-1] == pytest.approx(embedded), "does not depend on the order"


def test_an_embedding_says_how_much_it_holds():
    simplex = 1.0 - np.eye(5)  # needs four dimensions of equal variance
    embedded, held = embed_distances(simplex)
    assert embedded.shape == (5, 2)
    assert held == pytest.approx(0.5)
    assert embed_distances(simplex, dimensions=4)[1] == pytest.approx(1.0)
    line, held = embed_distances([[0.0, 2.0], [2.0, 0.0]])
    assert np.ptp(line, axis=0) == pytest.approx([2.0, 0.0])
    assert held == pytest.approx(1.0)
    point, held = embed_distances([[0.0]])
    assert point.tolist() == [[0.0, 0.0]]
    assert held == 1.0


@pytest.mark.parametrize(
    "distances", [[[0.0, 1.0]], [[0.0, 1.0], [2.0, 0.0]], [[0.0, np.nan], [np.nan, 0.0]], [], 3.0]
)
def test_distances_that_are_no_matrix_are_refused(distances):
    with pytest.raises(ValueError, match="must be a finite symmetric matrix, got an array of"):
        embed_distances(distances)
