"""Grids whose spacing grows from the centre, with widths in the volume of their samples."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.oracles import branch_pairs, gudhi_pairs
from tlp_core import (
    Landscape,
    describe,
    grid_graph,
    landscape_profile,
    load_problem,
    merge_tree,
    random_directions,
    sample_grid,
)
from tlp_core.cli.main import main
from tlp_core.landscape.landscape import axis_points
from tlp_core.sampling.chunks import sample_plan
from tlp_core.sampling.grid import grid_plan
from tlp_core.sampling.settings import EvaluationSettings, GridSettings, RunSettings
from tlp_core.topology.landscape_tree import landscape_tree


def bowl(nearest, resolution=41, n=2):
    """The landscape Σ α² in a box of half-width 1."""
    axis = axis_points(resolution, 1.0, nearest)
    loss = sum(x**2 for x in np.meshgrid(*[axis] * n, indexing="ij"))
    facts = {} if nearest is None else {"nearest": nearest}
    return Landscape(loss, np.ones(n), np.ones(loss.shape, dtype=bool), facts)


@pytest.mark.parametrize(("size", "distance", "nearest"), [(5, 0.3, 0.1), (41, 2.0, 1e-4)])
def test_points_grow_by_a_constant_factor(size, distance, nearest):
    points = axis_points(size, distance, nearest)
    np.testing.assert_array_equal(points, -points[::-1])
    assert (points[size // 2], points[-1]) == (0, distance)
    side = points[size // 2 + 1 :]
    assert side[0] == pytest.approx(nearest * distance)
    np.testing.assert_allclose(side[1:] / side[:-1], side[1] / side[0])


@pytest.mark.parametrize("shape", [(5, 9), (7, 5, 5)])
def test_volumes_are_those_of_the_cells(shape):
    landscape = Landscape(
        np.zeros(shape), np.arange(1.0, 1 + len(shape)), np.ones(shape, bool), {"nearest": 0.01}
    )
    volumes = landscape.volumes().reshape(shape)
    assert volumes.mean() == pytest.approx(1)
    expected = np.ones(shape)
    for i in range(len(shape)):
        axis = landscape.axis(i)
        edges = (axis[1:] + axis[:-1]) / 2
        edges = np.concatenate([[2 * axis[0] - edges[0]], edges, [2 * axis[-1] - edges[-1]]])
        lengths = np.diff(edges).reshape([-1 if j == i else 1 for j in range(len(shape))])
        expected = expected * lengths
    np.testing.assert_allclose(volumes, expected / expected.mean(), rtol=1e-12)
    assert bowl(None).volumes() is None


def test_the_profile_of_a_bowl_is_that_of_a_fine_even_grid():
    """The width at loss h is the area of a disc, π h, of the box of area 4; also near the centre.

    An even grid of 41 points has nothing between the losses 0 and 0.0025.
    """
    profile = landscape_profile(landscape_tree(bowl(1e-3)))
    basins = profile.basins
    assert profile.total_width == pytest.approx(41 * 41)
    assert basins.step_width[-1] == pytest.approx(41 * 41)
    for height in (1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.5):
        below = basins.step_width[basins.step_height <= height].max() / profile.total_width
        assert below == pytest.approx(np.pi * height / 4, rel=0.35)
    even = landscape_profile(landscape_tree(bowl(None))).basins
    assert even.step_width[even.step_height <= 2e-3].max() == 1


@given(st.integers(0, 2**32 - 1), st.sampled_from([(5, 7), (5, 5, 5)]))
@settings(max_examples=25, deadline=None)
def test_laws_of_the_profile_hold_with_volumes(seed, shape):
    rng = np.random.default_rng(seed)
    landscape = Landscape(
        rng.random(shape), np.ones(len(shape)), np.ones(shape, bool), {"nearest": 0.05}
    )
    tree = landscape_tree(landscape)
    edges = grid_graph(shape).edges()
    assert branch_pairs(tree) == gudhi_pairs(landscape.loss.ravel(), edges)
    for each in (tree, tree.simplified(0.2, relative=True)):
        profile = landscape_profile(each)
        basins = profile.basins
        np.testing.assert_allclose(profile.total_width, np.prod(shape))
        np.testing.assert_allclose(basins.top_width, each.subtree_volumes()[:-1])
        inner = np.flatnonzero(np.diff(basins.step_start) > 1)
        for basin in inner:
            widths = basins.step_width[basins.step_start[basin] : basins.step_start[basin + 1]]
            assert (np.diff(widths) >= -1e-9).all()
        assert (np.diff(profile.outline[:, 0]) >= -1e-9).all()
        for parent in np.unique(basins.parent[basins.parent >= 0]):
            children = basins.parent == parent
            start = basins.step_start[parent]
            assert basins.step_width[start] >= basins.top_width[children].sum() - 1e-9


def test_equal_volumes_change_nothing():
    rng = np.random.default_rng(0)
    tree = merge_tree(rng.random((9, 7)), grid_graph((9, 7)))
    weighted = replace(tree, volumes=np.ones(63))
    for degree in (1, 2):
        one, other = (landscape_profile(each, degree=degree) for each in (tree, weighted))
        np.testing.assert_array_equal(one.outline, other.outline)
    assert describe(tree) == describe(weighted)


def test_basins_weigh_as_much_as_the_volume_of_their_samples():
    values = np.array([5.0, 1.0, 3.0, 2.0, 5.0])
    tree = merge_tree(values, grid_graph((5,)))
    volumes = np.array([1.0, 0.5, 0.25, 2.0, 1.25])
    found = describe(replace(tree, volumes=volumes))
    assert describe(tree).smad_weighted == pytest.approx((2 * 1 / 5 + 1 * 1 / 5) / 2)
    assert found.smad_weighted == pytest.approx((2 * 0.5 / 5 + 1 * 2.0 / 5) / 2)


def test_samples_of_a_geometric_grid_are_the_loss_there(tmp_path):
    problem = load_problem("quadratic-bowl", arguments={"n": 2})
    directions = random_directions(problem, 2, normalization="none")
    settings_ = GridSettings(7, 0.5, nearest=0.01)
    plan = grid_plan(settings_, 2)
    landscape = sample_plan(
        problem, directions, plan, EvaluationSettings(), RunSettings(), store=tmp_path / "a.zarr"
    )
    np.testing.assert_array_equal(landscape.axis(0), axis_points(7, 0.5, 0.01))
    again = Landscape.open(tmp_path / "a.zarr")
    assert again.nearest == 0.01
    np.testing.assert_array_equal(again.coordinates(), landscape.coordinates())
    even = sample_grid(problem, directions, resolution=3, distance=0.5)
    np.testing.assert_array_equal(landscape.loss[::3, ::3], even.loss)
    assert plan.steps() == pytest.approx([0.005, 0.005])
    with pytest.raises(ValueError, match=r"its nearest is 0\.01 instead of None"):
        sample_grid(problem, directions, resolution=7, distance=0.5, store=tmp_path / "a.zarr")


def test_the_command_samples_and_draws_a_geometric_grid(tmp_path, capsys):
    path = str(tmp_path / "a.zarr")
    bare = ["sample", "quadratic-bowl", "--method", "random", "-o", path]
    command = [*bare, "-r", "9"]
    assert main([*command, "--nearest", "1.5"]) == 1
    assert (
        "nearest must be from 1e-12 to below 0.25, the even spacing, got 1.5"
        in capsys.readouterr().err
    )
    assert main([*command, "-r", "3", "--nearest", "0.1"]) == 1
    assert "resolution must be >= 5 with nearest, got 3" in capsys.readouterr().err
    assert main([*bare, "--scattered", "50", "--nearest", "0.1"]) == 1
    assert "--nearest has no meaning with --scattered" in capsys.readouterr().err
    assert main([*command, "--nearest", "0.001"]) == 0
    assert Landscape.open(path).nearest == 0.001
    picture = str(tmp_path / "a.svg")
    assert main(["plot", path, "--panels", "profile", "landscape", "-o", picture]) == 0
    assert main(["export", path, "-o", str(tmp_path / "a.vti")]) == 1
    assert "must be of an even grid" in capsys.readouterr().err
