"""Barycentres of merge trees as graphs."""

import numpy as np
import pytest

from tlp_core import grid_graph, merge_tree
from tlp_core.analysis.barycenters import Skeleton, barycenter_graph, basin_sizes, mean_sizes


def skeleton_of(tree):
    """The nodes of a merge tree, with the number of samples on the arc above each."""
    nodes = np.zeros(len(tree.values.ravel()), dtype=bool)
    nodes[tree.node_vertex] = True
    sizes = np.bincount(tree.vertex_arc[~nodes], minlength=len(tree.parent))
    return Skeleton(tree.levels[tree.node_vertex], tree.parent, sizes)


@pytest.fixture(params=[0, 1, 2])
def tree(request):
    values = np.random.default_rng(request.param).random((12, 12))
    return merge_tree(values, grid_graph((12, 12)))


def test_basin_sizes_are_those_of_the_branches(tree):
    branches = tree.branches()
    wanted = dict(zip(branches.minimum_node.tolist(), branches.size.tolist()))
    assert basin_sizes(skeleton_of(tree)) == wanted


def test_the_barycenter_of_one_tree_is_that_tree(tree):
    skeleton = skeleton_of(tree)
    identity = {node: node for node in range(len(skeleton.parent))}
    levels, edges = barycenter_graph(skeleton, mean_sizes([skeleton], [identity]))
    again = merge_tree(levels, edges).branches()
    branches = tree.branches()
    np.testing.assert_array_equal(np.sort(again.birth), np.sort(branches.birth))
    np.testing.assert_array_equal(np.sort(again.death), np.sort(branches.death))
    found = dict(zip(again.birth.tolist(), again.size.tolist()))
    for birth, size in zip(branches.birth.tolist(), branches.size.tolist()):
        assert abs(found[birth] - size) <= 0.1 * size + 2  # the nodes of a path are samples, too


def test_a_member_without_a_basin_counts_as_nothing():
    skeleton = Skeleton(np.array([5.0, 3, 0, 1]), np.array([-1, 0, 1, 1]), np.array([0, 9, 6, 3]))
    assert basin_sizes(skeleton) == {2: 22, 3: 4}
    assert mean_sizes([skeleton, skeleton], [{0: 2, 1: 3}, {0: 2}]) == {0: 22.0, 1: 2.0}


def test_a_basin_is_at_least_as_wide_as_those_inside():
    skeleton = Skeleton(np.array([5.0, 3, 0, 1]), np.array([-1, 0, 1, 1]))
    levels, edges = barycenter_graph(skeleton, {2: 4, 3: 40})
    branches = merge_tree(levels, edges).branches()
    assert branches.size.tolist() == [43, 40]
    assert branches.persistence.tolist() == [5.0, 2.0]


def test_levels_may_be_equal():
    skeleton = Skeleton(np.zeros(4), np.array([-1, 0, 1, 1]))
    levels, _ = barycenter_graph(skeleton, {3: 10})
    assert (levels == 0).all()
    assert len(levels) >= 10


@pytest.mark.parametrize(
    ("levels", "parent"),
    [([0.0, 1.0], [-1, 0]), ([1.0, 0.0], [-1, -1]), ([1.0], [-1]), ([1.0, 0.0, 0.0], [-1, -1, 0])],
)
def test_what_is_no_tree_is_refused(levels, parent):
    with pytest.raises(ValueError, match="must have one root and levels that ascend to it"):
        Skeleton(np.array(levels), np.array(parent))
