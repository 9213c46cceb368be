import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import strategies
from tests.oracles import branch_pairs
from tlp_core import grid_graph, landscape_profile, merge_tree
from tlp_core.array_names import CriticalType
from tlp_core.profile import position_places


@st.composite
def trees(draw):
    """Trees of grids and of graphs whose root joins several basins, with ties and holes."""
    if draw(st.booleans()):
        shape = draw(strategies.shapes())
        graph, count = grid_graph(shape), int(np.prod(shape))
    else:
        graph = draw(strategies.edge_graphs(samples=39, extra=19))
        count = graph.number_of_samples
    values = draw(strategies.losses(count))
    if count > 3:
        holes = draw(st.lists(st.integers(0, count - 1), max_size=2))
        values[holes] = np.nan
    tree = merge_tree(values, graph)
    return tree.simplified(draw(st.sampled_from([0.0, 0.0, 0.2, 0.6])), relative=True)


def steps_of(basins, b):
    part = slice(basins.step_start[b], basins.step_start[b + 1])
    return basins.step_height[part], basins.step_width[part]


def samples_of(tree, basin):
    inside = {basin}
    for arc in range(basin - 1, -1, -1):
        if tree.parent[arc] in inside:
            inside.add(arc)
    return np.flatnonzero(np.isin(tree.vertex_arc, list(inside)))


@settings(deadline=None, max_examples=150)
@given(trees())
def test_width_is_the_number_of_samples_at_or_below(tree):
    basins = landscape_profile(tree).basins
    for b in range(len(basins)):
        height, width = steps_of(basins, b)
        levels = tree.levels[samples_of(tree, b)]
        assert basins.size[b] == len(levels)
        assert (np.diff(height) >= 0).all()
        assert (np.diff(width) >= 0).all()
        assert height[0] == tree.node_level[b]
        assert height[-1] == basins.death[b] == tree.node_level[tree.parent[b]]
        for level in np.unique(height):
            assert width[height == level].max() == (levels <= level).sum()


@settings(deadline=None, max_examples=150)
@given(trees())
def test_children_lie_side_by_side_in_the_middle_widest_first(tree):
    basins = landscape_profile(tree).basins
    for node in range(len(tree.parent)):
        children = np.flatnonzero(tree.parent == node)
        if not len(children):
            continue
        middle = len(tree.values) / 2 if node == len(tree.parent) - 1 else basins.center[node]
        left = basins.center[children] - basins.size[children] / 2
        order = np.argsort(left)
        edges = np.append(left[order], left[order[-1]] + basins.size[children][order[-1]])
        np.testing.assert_array_equal(np.diff(edges), basins.size[children][order])
        assert (edges[0] + edges[-1]) / 2 == middle
        assert (np.diff(basins.size[children][order]) <= 0).all()


@settings(deadline=None, max_examples=150)
@given(trees())
def test_total_width_is_the_number_of_samples(tree):
    profile = landscape_profile(tree)
    outermost = profile.basins.parent == -1
    assert profile.basins.size[outermost].sum() == len(tree.values)
    assert profile.outline[0, 0] == 0
    assert profile.outline[-1, 0] == len(tree.values)
    assert (np.diff(profile.outline[:, 0]) >= 0).all()


@settings(deadline=None, max_examples=150)
@given(trees())
def test_the_outline_has_the_tree_of_the_landscape(tree):
    heights = landscape_profile(tree).outline[:, 1]
    outline = merge_tree(heights, grid_graph(heights.shape, rule="axis"))
    assert branch_pairs(outline) == branch_pairs(tree)


@settings(deadline=None, max_examples=100)
@given(trees(), st.sampled_from([0.05, 0.3, 2.0]))
def test_a_tolerance_omits_steps_and_keeps_the_tree_and_the_widths_within_it(tree, tolerance):
    exact = landscape_profile(tree).basins
    profile = landscape_profile(tree, tolerance=tolerance)
    heights = profile.outline[:, 1]
    outline = merge_tree(heights, grid_graph(heights.shape, rule="axis"))
    assert branch_pairs(outline) == branch_pairs(tree)
    assert len(profile.basins.step_height) <= len(exact.step_height)
    np.testing.assert_array_equal(profile.basins.size, exact.size)
    for b in range(len(exact)):
        height, width = steps_of(exact, b)
        between = (height[1:] + height[:-1])[np.diff(height) > 0] / 2
        drawn = np.interp(between, *steps_of(profile.basins, b))
        error = np.abs(drawn - np.interp(between, height, width))
        assert error.max(initial=0) <= tolerance * len(tree.values) + 1e-9


def test_a_large_basin_is_drawn_with_few_steps():
    tree = merge_tree(np.arange(1000.0), grid_graph((1000,), rule="axis"))
    assert len(landscape_profile(tree).basins.step_height) == 1999
    assert len(landscape_profile(tree, tolerance=0.01).basins.step_height) <= 202


def test_a_negative_tolerance_is_reported():
    with pytest.raises(ValueError, match="tolerance must be >= 0"):
        landscape_profile(merge_tree([0.0, 1.0], [[0, 1]]), tolerance=-1.0)


@settings(deadline=None, max_examples=100)
@given(trees())
def test_area_of_a_basin_is_the_sum_of_its_samples_depths(tree):
    basins = landscape_profile(tree).basins
    area = np.zeros(len(basins))
    for b in range(len(basins)):
        height, width = steps_of(basins, b)
        area[b] += np.sum(np.diff(height) * width[:-1])
        if basins.parent[b] >= 0:
            area[basins.parent[b]] += area[b]
        depth = basins.death[b] - tree.levels[samples_of(tree, b)]
        assert area[b] == pytest.approx(depth.sum())


@settings(deadline=None, max_examples=100)
@given(trees())
def test_critical_points_lie_on_the_outline(tree):
    profile = landscape_profile(tree)
    points = profile.critical_points
    minima = points.type == CriticalType.MINIMUM
    assert minima.sum() == len(tree.branches())
    assert sorted(points.sample[minima]) == sorted(tree.branches().minimum)
    assert (~minima).sum() == len(tree.branches()) - 1
    x, height = profile.outline.T
    for place, level, is_minimum in zip(points.x, points.height, minima):
        there = height[np.isclose(x, place)]
        if is_minimum:  # its floor is as wide as the samples that tie with it
            below, above = np.searchsorted(x, place, "right") - 1, np.searchsorted(x, place)
            assert height[below] == height[above] == level
        else:
            assert level in there


def test_two_wells_drawn_by_hand():
    tree = merge_tree([0.0, 3.0, 1.0, 2.0, 4.0], grid_graph((5,), rule="axis"))
    profile = landscape_profile(tree)
    basins = profile.basins
    assert basins.size.tolist() == [1, 2, 5]
    assert basins.center.tolist() == [3.5, 2.0, 2.5]  # the wider basin is on the left
    assert basins.parent.tolist() == [2, 2, -1]
    assert basins.minimum.tolist() == [0, 2, 0]
    assert basins.saddle.tolist() == [1, 1, 4]
    assert basins.persistence.tolist() == [3.0, 2.0, 4.0]
    assert basins.average_loss.tolist() == [0.0, 1.5, 2.0]
    assert basins.nesting_depth.tolist() == [1, 1, 0]
    assert profile.critical_points.x.tolist() == [3.5, 2.0, 3.0]
    assert profile.critical_points.height.tolist() == [0.0, 1.0, 3.0]
    assert profile.outline.tolist() == [
        [0.0, 4.0],
        [0.5, 4.0],
        [0.5, 3.0],
        [1.0, 3.0],
        [1.0, 2.0],
        [1.5, 2.0],
        [1.5, 1.0],
        [2.5, 1.0],
        [2.5, 2.0],
        [3.0, 2.0],
        [3.0, 3.0],
        [3.0, 3.0],
        [3.0, 0.0],
        [4.0, 0.0],
        [4.0, 3.0],
        [4.5, 3.0],
        [4.5, 4.0],
        [5.0, 4.0],
    ]


def test_losses_that_are_not_finite_count_at_the_largest_finite_one():
    tree = merge_tree([1.0, 3.0, np.nan, 2.0], grid_graph((4,), rule="axis"))
    basins = landscape_profile(tree).basins
    assert basins.average_loss[basins.parent == -1].tolist() == [2.0, 2.5]


@settings(deadline=None, max_examples=100)
@given(trees(), st.integers(2, 5), st.sampled_from([0.0, 0.05]))
def test_roots_keep_the_tree_and_divide_a_saddles_width(tree, root, tolerance):
    profile = landscape_profile(tree, degree=root, tolerance=tolerance)
    basins, heights = profile.basins, profile.outline[:, 1]
    outline = merge_tree(heights, grid_graph(heights.shape, rule="axis"))
    assert branch_pairs(outline) == branch_pairs(tree)
    assert profile.total_width == 1
    assert (np.diff(profile.outline[:, 0]) >= -1e-12).all()
    roots = basins.size ** (1 / root)
    for node in np.unique(tree.parent[:-1]):
        children = np.flatnonzero(tree.parent == node)
        shares = basins.top_width[children] / roots[children]
        np.testing.assert_allclose(shares, shares[0])
        if node == tree.number_of_arcs:
            assert basins.top_width[children].sum() == pytest.approx(1)
        else:
            below = np.interp(basins.size[children].sum(), [0, basins.size[node]], [0, 1])
            room = basins.top_width[node] * below ** (1 / root)
            assert basins.top_width[children].sum() == pytest.approx(room)


def test_a_bowl_of_any_number_of_directions_is_the_same_parabola():
    for n, resolution in ((2, 201), (3, 61), (4, 31)):
        axis = np.linspace(-1, 1, resolution)
        bowl = sum(np.meshgrid(*[axis**2] * n, indexing="ij"))
        tree = merge_tree(bowl, grid_graph(bowl.shape))
        height, width = steps_of(landscape_profile(tree, degree=n).basins, 0)
        inner = np.searchsorted(height, [0.25, 0.5, 1.0], side="right") - 1
        # the ball of radius √h fills the fraction c_n h^(n/2) of the box
        ratio = width[inner] / np.sqrt([0.25, 0.5, 1.0])
        assert ratio == pytest.approx(ratio[-1], rel=0.05)


def test_order_depth_places_the_deepest_basin_first():
    tree = merge_tree([0.0, 3.0, 1.0, 2.0, 4.0], grid_graph((5,), rule="axis"))
    deepest = landscape_profile(tree, order="depth").basins
    assert deepest.center[0] < deepest.center[1]
    with pytest.raises(ValueError, match="order must be one of width, depth, got 'size'"):
        landscape_profile(tree, order="size")


@settings(deadline=None, max_examples=100)
@given(trees())
def test_basins_that_continue_keep_their_places(tree):
    before = landscape_profile(tree)
    places = before.basins.center[tree.vertex_arc]
    again = landscape_profile(tree, places=places).basins
    np.testing.assert_array_equal(again.center, before.basins.center)
    mirrored = landscape_profile(tree, places=len(places) - places).basins
    for node in np.unique(tree.parent[:-1]):
        children = np.flatnonzero(tree.parent == node)
        for a, b in itertools.combinations(children, 2):
            assert (before.basins.center[a] < before.basins.center[b]) == (
                mirrored.center[a] > mirrored.center[b]
            )


def test_basins_at_symmetric_positions_have_different_places():
    """Wells at the four points ±e_i: no two have the same mean place."""
    x = np.linspace(-1, 1, 21)
    first, second = np.meshgrid(x, x, indexing="ij")
    wells = [(first - a) ** 2 + (second - b) ** 2 for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    tree = merge_tree(np.min(wells, axis=0), grid_graph((21, 21)))
    places = position_places(np.stack([first.ravel(), second.ravel()], axis=1))
    profile = landscape_profile(tree, places=places)
    leaves = np.flatnonzero(tree.node_type[:-1] == 0)
    means = [places[tree.vertex_arc == leaf].mean() for leaf in leaves]
    assert np.diff(np.sort(means)).min() > 0.1
    assert np.argmin(profile.basins.center[leaves]) == np.argmin(means)


def test_places_must_be_one_for_each_sample():
    tree = merge_tree([0.0, 1.0], [[0, 1]])
    with pytest.raises(ValueError, match="places must be 2 finite numbers"):
        landscape_profile(tree, places=[1.0])
    with pytest.raises(ValueError, match="degree must be >= 1, got 0"):
        landscape_profile(tree, degree=0)
