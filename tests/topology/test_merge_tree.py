import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import strategies
from tests.conftest import random_edge_graph
from tests.oracles import arcs_of, branch_pairs, brute_force_arcs, gudhi_pairs
from tlp_core import describe, grid_graph, knn_graph, merge_tree
from tlp_core.array_names import CriticalType
from tlp_core.choices import GRID_RULES
from tlp_core.topology import sweep


def random_case(seed, ties):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 25))
    graph = random_edge_graph(rng, count, int(rng.integers(0, 40)))
    values = rng.integers(0, 5, count).astype(float) if ties else rng.random(count)
    return values, graph


def test_equals_ttks_recorded_output(ttk_case):
    given_, recorded = ttk_case
    tree = merge_tree(given_["values"], given_["edges"])
    vertex = recorded["nodes/point/VertexId"]
    up, down = recorded["arcs/cell/upNodeId"], recorded["arcs/cell/downNodeId"]
    proper = up != down
    pairs = set(zip(vertex[down[proper]].tolist(), vertex[up[proper]].tolist()))
    ours = set(zip(tree.node_vertex[:-1].tolist(), tree.node_vertex[tree.parent[:-1]].tolist()))
    assert ours == pairs
    lower = dict(zip(recorded["arcs/cell/SegmentationId"].tolist(), vertex[down].tolist()))
    partition = [lower[arc] for arc in recorded["segmentation/point/SegmentationId"].tolist()]
    assert tree.node_vertex[tree.vertex_arc].tolist() == partition
    types = dict(zip(vertex.tolist(), recorded["nodes/point/CriticalType"].tolist()))
    assert dict(zip(tree.node_vertex.tolist(), tree.node_type.tolist())) == types


@st.composite
def cases(draw):
    """Draw losses and a connected graph of at most 24 samples."""
    graph = draw(strategies.edge_graphs(samples=24, extra=39))
    return draw(strategies.losses(graph.number_of_samples, levels=5)), graph


@settings(deadline=None, max_examples=100)
@given(cases())
def test_equals_components_at_every_level(case):
    values, graph = case
    assert arcs_of(merge_tree(values, graph)) == brute_force_arcs(values, graph.edges)


@settings(deadline=None, max_examples=100)
@given(cases())
def test_branches_are_gudhis_persistence_pairs(case):
    values, graph = case
    assert branch_pairs(merge_tree(values, graph)) == gudhi_pairs(values, graph.edges)


@settings(deadline=None, max_examples=60)
@given(
    strategies.shapes(axes=4, smallest=1, samples=200).flatmap(
        lambda shape: strategies.losses(shape, levels=6)
    ),
    st.sampled_from(GRID_RULES),
)
def test_a_grid_gives_the_tree_of_its_edges(values, rule):
    graph = grid_graph(values.shape, rule=rule)
    by_offsets, by_edges = merge_tree(values, graph), merge_tree(values, graph.edges())
    for name in ("node_vertex", "parent", "node_type", "vertex_arc"):
        np.testing.assert_array_equal(getattr(by_offsets, name), getattr(by_edges, name))


@pytest.mark.parametrize("rule", ["axis", "diagonal", "moore"])
def test_pairs_stay_when_axes_are_permuted_or_flipped(rule):
    values = np.random.default_rng(2).random((4, 5, 6))
    expected = branch_pairs(merge_tree(values, grid_graph(values.shape, rule=rule)))
    for changed in (values.transpose(2, 0, 1), values[::-1, :, ::-1]):
        assert branch_pairs(merge_tree(changed, grid_graph(changed.shape, rule=rule))) == expected


def test_pairs_stay_when_samples_are_relabelled():
    rng = np.random.default_rng(3)
    values, graph = random_case(3, ties=False)
    places = rng.permutation(len(values))
    relabelled = np.empty_like(values)
    relabelled[places] = values
    expected = branch_pairs(merge_tree(values, graph))
    assert branch_pairs(merge_tree(relabelled, places[graph.edges])) == expected


def test_structure_stays_under_an_increasing_map():
    values = np.random.default_rng(4).random((6, 7))
    plain, mapped = (merge_tree(v, grid_graph((6, 7))) for v in (values, np.exp(3 * values)))
    np.testing.assert_array_equal(plain.node_vertex, mapped.node_vertex)
    np.testing.assert_array_equal(plain.parent, mapped.parent)


def test_self_loops_and_duplicate_edges_change_nothing():
    values, graph = random_case(5, ties=True)
    loops = np.repeat(np.arange(len(values)), 2).reshape(-1, 2)
    noisy = np.concatenate([graph.edges, loops, graph.edges[:, ::-1]])
    assert arcs_of(merge_tree(values, noisy)) == arcs_of(merge_tree(values, graph))


def test_equal_values_give_one_arc_from_first_to_last():
    tree = merge_tree(np.zeros((5, 5)), grid_graph((5, 5)))
    assert tree.node_vertex.tolist() == [0, 24]
    assert tree.node_type.tolist() == [CriticalType.MINIMUM, CriticalType.ROOT]


def test_losses_that_are_not_finite_count_above_everything_and_stay():
    values = np.array([0.0, np.nan, 1.0, -np.inf, 2.0, np.inf, 0.5])
    tree = merge_tree(values, grid_graph((7,), rule="axis"))
    np.testing.assert_array_equal(tree.values, values)
    assert tree.levels.tolist() == [0.0, 2.0, 1.0, 2.0, 2.0, 2.0, 0.5]
    assert tree.node_vertex[-1] == 5
    finite = np.where(np.isfinite(values), values, [0, 7, 0, 8, 0, 9, 0])
    assert arcs_of(tree) == brute_force_arcs(finite, grid_graph((7,), rule="axis").edges())


def test_ranks_order_equal_values():
    values = np.array([1.0, 0.0, 1.0, 0.0])
    tree = merge_tree(values, [[0, 1], [1, 2], [2, 3]], ranks=np.array([3, 1, 2, 0]))
    assert tree.node_vertex.tolist() == [3, 1, 2, 0]
    np.testing.assert_array_equal(tree.values, values)


@pytest.mark.parametrize("ranks", [[1, 0], [0, 1, 2]])
def test_ranks_that_do_not_sort_the_values_are_reported(ranks):
    with pytest.raises(ValueError, match="ranks must sort the values"):
        merge_tree([0.0, 1.0], [[0, 1]], ranks=np.array(ranks))


@pytest.mark.parametrize(
    ("values", "graph", "message"),
    [
        ([1.0], np.empty((0, 2), dtype=int), "at least two samples, got 1"),
        ([1.0, 2.0], np.empty((0, 2), dtype=int), "must be connected, got 2 components"),
        ([1.0, 2.0, 3.0], [[0, 1]], "must be connected, got 2 components"),
        ([1.0, 2.0], [[0, 2]], "must join samples 0 to 1, got ids from 0 to 2"),
        ([1.0, 2.0], [[0.0, 1.0]], "edges must be integers"),
        ([1.0, 2.0], [0, 1], r"shape \(E, 2\)"),
        ([np.nan, np.inf], [[0, 1]], "at least one loss must be finite"),
        ([1.0, 2.0], grid_graph((3,)), "as many as the graph's samples, 3, got 2"),
    ],
)
def test_bad_input_is_reported(values, graph, message):
    with pytest.raises(ValueError, match=message):
        merge_tree(values, graph)


@pytest.mark.parametrize("rule", ["axis", "diagonal", "moore"])
@pytest.mark.parametrize("shape", [(6, 7), (4, 5, 6)])
def test_non_finite_samples_are_no_minima_in_any_orientation(shape, rule):
    """A diverged corner, a hole and an edge, seen from every side."""
    values = sum(x**2 for x in np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    values[(slice(0, 3), slice(0, 2))] = np.nan
    values[(-1, slice(None))] = np.inf
    values[(slice(3, 5), slice(3, 5))] = np.nan
    trees = []
    for flips in itertools.product((1, -1), repeat=len(shape)):
        seen = values[tuple(slice(None, None, step) for step in flips)]
        tree = merge_tree(seen, grid_graph(shape, rule=rule))
        minima = tree.node_vertex[tree.node_type == CriticalType.MINIMUM]
        assert np.isfinite(seen.ravel()[minima]).all()
        trees.append(describe(tree).as_dict())
    for other in trees[1:]:
        assert {k: v for k, v in other.items() if "size" not in k} == pytest.approx(
            {k: v for k, v in trees[0].items() if "size" not in k}, nan_ok=True
        )


def test_non_finite_samples_of_any_graph_are_no_minima():
    values = [np.nan, np.inf, 1.0, 0.0, 2.0, np.nan]
    tree = merge_tree(values, np.array([[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]))
    assert tree.node_type.tolist() == [CriticalType.MINIMUM, CriticalType.ROOT]
    assert tree.vertex_arc.tolist() == [0] * 6


@pytest.mark.parametrize("rule", [*GRID_RULES, None])
def test_a_tree_in_pieces_is_that_in_one_and_its_progress_rises(monkeypatch, rule):
    values = np.random.default_rng(0).integers(0, 9, (5, 6, 7)).astype(float)
    graph = knn_graph(np.indices(values.shape).reshape(3, -1).T) if rule is None else None
    graph = graph or grid_graph(values.shape, rule=rule)
    whole, reports = merge_tree(values, graph), []
    monkeypatch.setattr(sweep, "_PIECE", 20)
    parts = merge_tree(values, graph, progress=lambda *report: reports.append(report))
    for name in ("node_vertex", "parent", "node_type", "vertex_arc"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name)), name
    fractions = [fraction for fraction, _ in reports]
    assert fractions == sorted(fractions)
    assert len(fractions) > values.size / 20
    assert fractions[-1] == 1


def test_an_error_in_a_progress_report_ends_the_work():
    def stop(_fraction, _text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        merge_tree(np.arange(9.0), grid_graph((3, 3)), progress=stop)


def test_a_tree_holds_no_levels_while_it_sorts():
    """The sort's keys and ids, twice, take the most memory: 24 bytes a sample."""
    values = np.linspace(-1, 1, 60**3).reshape(60, 60, 60) ** 2  # few nodes
    graph = grid_graph(values.shape)
    merge_tree(values, graph)  # loads compiled code
    tracemalloc.start()
    merge_tree(values, graph)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 26 * values.size
