import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tlp_core import grid_graph, merge_tree
from tlp_core.topology.sweep import sweep_order

SPECIAL = [0.0, -0.0, 5e-324, -5e-324, 1e308, -1e308, 1.0, -1.0, np.inf, -np.inf, np.nan]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(st.sampled_from(SPECIAL), st.floats()), max_size=60))
def test_order_is_by_value_then_id_and_what_is_not_finite_comes_last(values):
    values = np.array(values, dtype=np.float64)
    expected = np.argsort(np.where(np.isfinite(values), values, np.inf), kind="stable")
    assert sweep_order(values).tolist() == expected.tolist()


def test_order_of_many_values_with_ties():
    values = np.random.default_rng(0).integers(-500, 500, 20_000) / 7
    assert sweep_order(values).tolist() == np.argsort(values, kind="stable").tolist()


@pytest.mark.parametrize(("shape", "rule"), [((3, 4, 2, 3, 2), "moore"), ((2,) * 6, "diagonal")])
@pytest.mark.parametrize("levels", [3, 10**6])
def test_more_neighbors_than_bits_in_a_word_give_the_tree_of_the_edges(shape, rule, levels):
    graph = grid_graph(shape, rule=rule)
    assert len(graph.offsets) > 64
    values = np.random.default_rng(1).integers(0, levels, shape).astype(float)
    by_offsets, by_edges = merge_tree(values, graph), merge_tree(values, graph.edges())
    for name in ("node_vertex", "parent", "node_type", "vertex_arc"):
        np.testing.assert_array_equal(getattr(by_offsets, name), getattr(by_edges, name))
