import math

import pytest

from tlp_core import describe, grid_graph, merge_tree


def path_tree(values):
    return merge_tree(values, grid_graph((len(values),), rule="axis"))


def test_a_case_by_hand():
    # branches: 0 -> 5 (essential), 1.5 -> 4, 1 -> 2; leaf basins: 0 -> 2, 1 -> 2, 1.5 -> 4
    found = describe(path_tree([3.0, 1.0, 2.0, 0.0, 4.0, 1.5, 5.0]))
    assert found.number_of_samples == 7
    assert found.number_of_minima == 3
    assert found.number_of_saddles == 2
    assert found.critical_point_density == 5 / 7
    assert found.minimum_loss == 0.0
    assert found.maximum_loss == 5.0
    assert found.total_persistence == 8.5  # 5 + 2.5 + 1
    assert found.total_finite_persistence == 3.5
    assert found.average_persistence == pytest.approx(8.5 / 3)
    assert found.average_finite_persistence == 1.75
    assert found.average_diagonal_distance == pytest.approx(8.5 / 3 / math.sqrt(2))
    assert found.average_finite_diagonal_distance == pytest.approx(1.75 / math.sqrt(2))
    assert found.maximal_persistence == 5.0
    assert found.maximal_finite_persistence == 2.5
    shares = (5 / 8.5, 2.5 / 8.5, 1 / 8.5)
    assert found.persistence_entropy == pytest.approx(-sum(q * math.log(q) for q in shares))
    assert found.smad == pytest.approx((2 + 1 + 2.5) / 3)
    assert found.smad_normalized == pytest.approx((2 + 1 + 2.5) / 3 / 5)
    assert found.smad_weighted == pytest.approx((2 + 1 + 2.5) / 3 / 7)
    assert found.average_basin_size == 1.0
    assert found.global_minimum_depth == 2.0
    assert found.global_minimum_size == 1
    assert found.width_at_half_depth == 1 / 7
    assert found.undefined == {}


def test_sizes_of_basins_by_hand():
    # basins: samples 0 to 2 (0 -> 4), samples 4 to 5 (1 -> 4); sample 3 is their saddle
    found = describe(path_tree([2.0, 0.0, 3.0, 4.0, 1.0, 3.5, 6.0]))
    assert found.average_basin_size == 2.5
    assert found.largest_basin_size == 3
    assert found.global_minimum_size == 3
    assert found.global_minimum_depth == 4.0
    assert found.width_at_half_depth == 2 / 7  # the samples 0 and 2
    assert found.smad == (4 + 3) / 2
    assert found.smad_weighted == pytest.approx((4 * 3 / 7 + 3 * 2 / 7) / 2)


def test_a_single_basin_has_no_finite_persistence_and_no_saddle():
    found = describe(path_tree([0.0, 1.0, 2.0, 3.0, 4.0]))
    assert found.number_of_minima == 1
    one_minimum = "the landscape has one minimum"
    no_saddle = "no minimum lies below a saddle"
    of_the_box = (
        "average_persistence",
        "average_diagonal_distance",
        "maximal_persistence",
        "total_persistence",
        "persistence_entropy",
        "global_minimum_depth",
        "width_at_half_depth",
    )
    assert found.undefined == {
        **dict.fromkeys(of_the_box, one_minimum),
        "average_finite_persistence": one_minimum,
        "average_finite_diagonal_distance": one_minimum,
        "maximal_finite_persistence": one_minimum,
        "smad": no_saddle,
        "smad_normalized": no_saddle,
        "smad_weighted": no_saddle,
    }
    assert all(math.isnan(getattr(found, name)) for name in found.undefined)


def test_equal_losses_give_reasons_too():
    found = describe(merge_tree([1.0, 1.0], [[0, 1]]))
    assert found.undefined["persistence_entropy"] == "all losses are equal"
    assert found.undefined["smad_normalized"] == "all losses are equal"
    assert found.undefined["width_at_half_depth"] == "all losses are equal"


def test_a_root_that_joins_several_components_is_a_saddle():
    found = describe(path_tree([0.0, 5.0, 1.0]))
    assert found.number_of_saddles == 1
    assert found.smad == (5 + 4) / 2
