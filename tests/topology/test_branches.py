import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import strategies
from tests.oracles import arcs_of, branch_pairs
from tlp_core import grid_graph, merge_tree
from tlp_core.array_names import CriticalType


def path_tree(values):
    return merge_tree(values, grid_graph((len(values),), rule="axis"))


def filled_by_hand(tree, threshold):
    """Fill removed basins, smallest first, sample by sample; return levels and places in the order.

    The place of a filled sample is directly after the saddle of the fill, but before the root.
    """
    count = len(tree.levels)
    levels, place = tree.levels.copy(), np.empty(count)
    place[np.argsort(levels, kind="stable")] = np.arange(count)
    pairs = tree.branches()
    below = {arc: {arc} for arc in range(len(tree.parent))}
    for arc in range(len(tree.parent) - 1):
        below[tree.parent[arc]] |= below[arc]
    for b in range(len(pairs) - 1, 0, -1):
        if pairs.persistence[b] >= threshold:
            continue
        top = pairs.minimum_node[b]
        while tree.parent[top] != pairs.saddle_node[b]:
            top = tree.parent[top]
        samples = np.flatnonzero(np.isin(tree.vertex_arc, list(below[top])))
        samples = samples[samples != tree.node_vertex[-1]]
        saddle = pairs.saddle[b]
        beside = place[saddle] + (0.5 if place[saddle] < count - 1 else -0.5)
        levels[samples] = np.maximum(levels[samples], pairs.death[b])
        place[samples] = np.maximum(place[samples], beside)
    return levels, place


def test_pairs_and_sizes_of_a_path():
    #                 0    1    2    3    4    5    6
    tree = path_tree([3.0, 1.0, 2.0, 0.0, 4.0, 1.5, 5.0])
    pairs = tree.branches()
    assert pairs.minimum.tolist() == [3, 5, 1]
    assert pairs.saddle.tolist() == [6, 4, 2]
    assert pairs.persistence.tolist() == [5.0, 2.5, 1.0]
    assert pairs.parent.tolist() == [-1, 0, 0]
    assert pairs.size.tolist() == [7, 1, 1]


def test_of_equal_minima_the_smaller_id_is_the_elder():
    pairs = path_tree([0.0, 2.0, 0.0, 3.0]).branches()
    assert pairs.minimum.tolist() == [0, 2]


def test_a_branch_may_die_below_another_that_is_younger():
    pairs = path_tree([0.0, 9.0, 4.0, 5.0, 3.0, 10.0]).branches()
    assert pairs.minimum.tolist() == [0, 4, 2]
    assert pairs.parent.tolist() == [-1, 0, 1]


@settings(deadline=None, max_examples=80)
@given(
    strategies.shapes().flatmap(lambda shape: strategies.losses(shape, levels=8)), st.floats(0, 1)
)
def test_simplification_equals_filling_and_recomputing_the_tree(values, fraction):
    graph = grid_graph(values.shape)
    tree = merge_tree(values, graph)
    threshold = fraction * np.ptp(values)
    levels, place = filled_by_hand(tree, threshold)
    simple = tree.simplified(threshold)
    np.testing.assert_array_equal(simple.levels, levels)
    again = merge_tree(place, graph).simplified(0.75)  # only filled samples have equal places
    assert arcs_of(simple) == arcs_of(again)
    pairs = tree.branches()
    stays = (pairs.persistence >= threshold) | (np.arange(len(pairs)) == 0)
    kept = simple.branches()
    assert set(zip(pairs.minimum[stays], pairs.saddle[stays])) == set(
        zip(kept.minimum, kept.saddle)
    )


@settings(deadline=None, max_examples=60)
@given(strategies.distinct_losses((5, 6)), st.floats(0, 1), st.floats(0, 1))
def test_simplifying_twice_is_simplifying_by_the_larger(values, first, second):
    tree = merge_tree(values, grid_graph((5, 6)))
    twice = tree.simplified(first).simplified(second)
    once = tree.simplified(max(first, second))
    assert branch_pairs(twice) == branch_pairs(once)
    assert arcs_of(twice) == arcs_of(once)
    np.testing.assert_array_equal(twice.levels, once.levels)


def test_samples_of_a_removed_basin_join_the_one_that_survives():
    tree = path_tree([3.0, 1.0, 2.0, 0.0, 4.0, 1.5, 5.0]).simplified(2.0)
    assert tree.node_vertex.tolist() == [3, 5, 4, 6]
    assert tree.levels.tolist() == [3.0, 2.0, 2.0, 0.0, 4.0, 1.5, 5.0]
    assert tree.vertex_arc.tolist() == [0, 0, 0, 0, 2, 1, 2]


def test_a_degenerate_saddle_becomes_a_simple_one():
    star = [[0, 1], [0, 2], [0, 3], [0, 4]]
    tree = merge_tree([5.0, 1.0, 2.0, 4.5, 6.0], star)
    assert tree.node_type[3] == CriticalType.DEGENERATE_SADDLE
    assert tree.simplified(1.0).node_type.tolist() == [0, 0, 1, 3]


def test_equally_persistent_branches_are_ordered_by_their_minima():
    pairs = path_tree([0.0, 3.0, 1.0, 3.0, 1.0, 4.0]).branches()
    assert pairs.persistence.tolist() == [4.0, 2.0, 2.0]
    assert pairs.minimum.tolist() == [0, 2, 4]


def test_a_relative_threshold_is_a_fraction_of_the_range():
    tree = path_tree([0.0, 10.0, 6.0, 20.0])
    assert len(tree.simplified(0.2, relative=True).branches()) == 2
    assert len(tree.simplified(0.21, relative=True).branches()) == 1
    assert len(tree.simplified(4.0).branches()) == 2


@settings(deadline=None, max_examples=60)
@given(strategies.losses((5, 6), levels=5), st.integers(1, 12))
def test_simplifying_to_a_number_of_minima_keeps_the_most_persistent(values, count):
    tree = merge_tree(values, grid_graph((5, 6)))
    pairs = tree.branches()
    kept = tree.simplified(max_minima=count).branches()
    assert len(kept) == min(count, len(pairs))
    assert kept.minimum.tolist() == pairs.minimum[:count].tolist()
    if count < len(pairs) and pairs.persistence[count] < pairs.persistence[count - 1]:
        by_threshold = tree.simplified(pairs.persistence[count - 1])
        assert arcs_of(by_threshold) == arcs_of(tree.simplified(max_minima=count))


def test_the_deepest_branch_always_stays():
    tree = path_tree([0.0, 2.0, 1.0, 3.0])
    assert branch_pairs(tree.simplified(100.0)) == [(0.0, 3.0)]


@pytest.mark.parametrize(
    ("threshold", "relative", "message"),
    [
        (-1.0, False, "threshold must be >= 0, got -1"),
        (np.nan, False, "threshold must be finite"),
        (1.5, True, "relative threshold must be from 0 to 1, got 1.5"),
        ("deep", False, "threshold must be a number"),
    ],
)
def test_bad_thresholds_are_reported(threshold, relative, message):
    with pytest.raises((ValueError, TypeError), match=message):
        path_tree([0.0, 1.0]).simplified(threshold, relative=relative)


def test_a_tree_keeps_one_minimum_or_more():
    with pytest.raises(ValueError, match="max_minima must be >= 1, got 0"):
        path_tree([0.0, 1.0]).simplified(max_minima=0)
