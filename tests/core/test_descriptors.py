import math

import pytest

from tlp_core import describe, grid_graph, merge_tree


def test_a_case_by_hand():
    tree = merge_tree([3.0, 1.0, 2.0, 0.0, 4.0, 1.5, 5.0], grid_graph((7,), rule="axis"))
    found = describe(tree)
    assert found.number_of_samples == 7
    assert found.number_of_minima == 3
    assert found.number_of_saddles == 2
    assert found.minimum_loss == 0.0
    assert found.maximum_loss == 5.0
    assert found.total_persistence == 8.5  # 5 + 2.5 + 1
    assert found.average_persistence == pytest.approx(8.5 / 3)
    assert found.average_finite_persistence == 1.75
    assert found.maximal_finite_persistence == 2.5
    shares = (5 / 8.5, 2.5 / 8.5, 1 / 8.5)
    assert found.persistence_entropy == pytest.approx(-sum(q * math.log(q) for q in shares))


def test_one_basin_has_no_finite_persistence():
    found = describe(merge_tree([0.0, 1.0, 2.0], grid_graph((3,), rule="axis")))
    assert found.number_of_minima == 1
    assert math.isnan(found.average_finite_persistence)
    assert math.isnan(found.maximal_finite_persistence)
    assert found.persistence_entropy == 0.0


def test_equal_losses_have_no_entropy():
    assert math.isnan(describe(merge_tree([1.0, 1.0], [[0, 1]])).persistence_entropy)
