import json
import warnings

import numpy as np
import pytest

pytest.importorskip("vtkmodules")

from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import VTK_LINE, VTK_VERTEX, vtkImageData, vtkUnstructuredGrid

from tests.conftest import DATA
from tests.oracles import arcs_of
from tlp_core import Landscape, grid_graph, landscape_profile, merge_tree, vtk_bridge
from tlp_core import array_names as names
from tlp_core.choices import GRID_RULES


@pytest.fixture
def landscape():
    loss = np.random.default_rng(0).random((3, 5, 7))
    loss[1, 2, 3] = np.nan
    return Landscape(
        loss=loss,
        distance=np.array([1.0, 2.0, 3.0]),
        evaluated=np.ones(loss.shape, dtype=bool),
        provenance={"problem": "β", "eigenvalues": [3.0, 2.0, None], "metrics": {"error": 0.5}},
    )


@pytest.fixture
def graph(landscape):
    grid = vtk_bridge.landscape_to_grid(landscape)
    return vtk_bridge.with_graph(grid, grid_graph(landscape.shape), "diagonal")


def array(data, name):
    return vtk_to_numpy(data.GetArray(name))


def vtk_grid(points, edges, values):
    """Return a graph in the form of TTK's input."""
    grid = vtkUnstructuredGrid()
    padded = np.zeros((len(points), 3))
    padded[:, : min(3, points.shape[1])] = points[:, :3]
    grid.SetPoints(vtk_bridge.make_points(padded))
    grid.SetCells(VTK_LINE, vtk_bridge.make_cells(edges.ravel(), np.arange(len(edges) + 1) * 2))
    vtk_bridge.add_array(grid.GetPointData(), "Loss", values)
    return grid


def recorded_outputs(given, recorded):
    """Return the three outputs of TTK's filter from their recorded arrays."""
    nodes, arcs = vtkUnstructuredGrid(), vtkUnstructuredGrid()
    segmentation = vtk_grid(given["points"], given["edges"], given["values"])
    places = {
        "nodes/point": nodes.GetPointData(),
        "arcs/cell": arcs.GetCellData(),
        "segmentation/point": segmentation.GetPointData(),
    }
    for key in recorded:
        place, _, name = key.rpartition("/")
        if place in places:
            vtk_bridge.add_array(places[place], name, recorded[key])
    return nodes, arcs, segmentation


def test_samples_keep_their_order_and_their_facts(landscape):
    grid = vtk_bridge.landscape_to_grid(landscape)
    data = grid.GetPointData()
    np.testing.assert_array_equal(array(data, names.COORDINATES), landscape.coordinates())
    np.testing.assert_array_equal(array(data, names.SAMPLE_ID), np.arange(105))
    hole = np.ravel_multi_index((1, 2, 3), landscape.shape)
    assert array(data, names.IS_FINITE).tolist() == [int(i != hole) for i in range(105)]
    assert array(data, names.LOSS)[hole] == np.nanmax(landscape.loss)
    assert vtk_bridge.landscape_shape(grid) == (3, 5, 7)
    assert vtk_bridge.provenance(grid) == json.loads(json.dumps(dict(landscape.provenance)))
    assert np.isnan(array(grid.GetFieldData(), names.EIGENVALUES)[2])


def test_the_image_has_the_same_samples_at_the_same_places(landscape):
    image = vtk_bridge.landscape_to_image(landscape)
    assert image.GetDimensions() == (3, 5, 7)
    coordinates = landscape.coordinates()
    ids = array(image.GetPointData(), names.SAMPLE_ID)
    losses = array(image.GetPointData(), names.LOSS)
    for point in range(image.GetNumberOfPoints()):
        assert image.GetPoint(point) == pytest.approx(coordinates[ids[point]])
        if np.isfinite(landscape.loss.ravel()[ids[point]]):
            assert losses[point] == landscape.loss.ravel()[ids[point]]


def test_more_than_three_directions_have_no_image():
    loss = np.zeros((3, 3, 3, 3))
    whole = Landscape(loss=loss, distance=np.ones(4), evaluated=np.ones(loss.shape, dtype=bool))
    assert vtk_bridge.landscape_to_image(whole).GetNumberOfPoints() == 0
    assert vtk_bridge.landscape_to_grid(whole).GetNumberOfPoints() == 81


@pytest.mark.parametrize("rule", GRID_RULES)
def test_lines_are_the_edges(landscape, rule):
    grid = vtk_bridge.landscape_to_grid(landscape)
    offsets = grid_graph(landscape.shape, rule=rule)
    graph = vtk_bridge.with_graph(grid, offsets, rule)
    np.testing.assert_array_equal(vtk_bridge.dataset_graph(graph).edges, offsets.edges())
    assert grid.GetNumberOfCells() == grid.GetNumberOfPoints()
    assert grid.GetCellType(0) == VTK_VERTEX
    assert graph.GetCellType(offsets.number_of_edges - 1) == VTK_LINE


@pytest.mark.parametrize("rule", GRID_RULES)
def test_an_implicit_graph_has_vertices_and_the_same_tree(landscape, rule):
    grid = vtk_bridge.landscape_to_grid(landscape)
    offsets = grid_graph(landscape.shape, rule=rule)
    implicit = vtk_bridge.with_graph(grid, offsets, rule, implicit=True)
    assert implicit.GetNumberOfCells() == implicit.GetNumberOfPoints()
    assert implicit.GetCellType(0) == VTK_VERTEX
    found = vtk_bridge.dataset_graph(implicit)
    assert found.rule == rule
    lines = vtk_bridge.dataset_graph(vtk_bridge.with_graph(grid, offsets, rule))
    assert arcs_of(merge_tree(landscape.loss, found)) == arcs_of(merge_tree(landscape.loss, lines))


def test_samples_without_lines_or_rule_have_no_graph(landscape, graph):
    with pytest.raises(ValueError, match="put TLP Neighbor Graph before the merge tree filter"):
        vtk_bridge.dataset_graph(vtk_bridge.landscape_to_grid(landscape))
    part = vtkUnstructuredGrid()
    part.SetPoints(vtk_bridge.make_points(np.zeros((4, 3))))
    part.GetFieldData().ShallowCopy(graph.GetFieldData())
    with pytest.raises(ValueError, match="put TLP Neighbor Graph before the merge tree filter"):
        vtk_bridge.dataset_graph(part)


def test_edges_of_other_cells_are_found():
    from vtkmodules.vtkFiltersSources import vtkPlaneSource

    plane = vtkPlaneSource()
    plane.SetResolution(2, 1)
    plane.Update()
    graph = vtk_bridge.dataset_graph(plane.GetOutput())
    assert graph.number_of_samples == 6
    assert len(graph.edges) == 7


@pytest.fixture(params=[2, 3])
def recorded_image(request):
    """Image data, TTK's merge tree of it, and of it after TTK's simplification by persistence."""
    record = np.load(DATA / f"image{request.param}d.npz")
    image = vtkImageData()
    image.SetDimensions(*record["values"].shape[::-1], *[1] * (3 - request.param))
    vtk_bridge.add_array(image.GetPointData(), "Loss", record["values"].ravel())
    return image, record


def test_image_data_gives_ttks_tree(recorded_image):
    image, record = recorded_image
    tree = merge_tree(record["values"], vtk_bridge.dataset_graph(image))
    for name in ("node_vertex", "parent", "vertex_arc"):
        np.testing.assert_array_equal(getattr(tree, name), record[name])


def test_simplification_is_ttks(recorded_image):
    image, record = recorded_image
    tree = merge_tree(record["values"], vtk_bridge.dataset_graph(image))
    simple = tree.simplified(float(record["threshold"]))
    assert len(simple.parent) < len(tree.parent)
    np.testing.assert_array_equal(simple.levels, record["simplified_values"])
    for name in ("node_vertex", "parent", "vertex_arc"):
        np.testing.assert_array_equal(getattr(simple, name), record[f"simplified_{name}"])


def test_the_freudenthal_rule_is_the_image_of_the_same_landscape(landscape):
    image = vtk_bridge.landscape_to_image(landscape)
    ids = array(image.GetPointData(), names.SAMPLE_ID)
    edges = ids[vtk_bridge.dataset_graph(image).edges()]
    ours = grid_graph(landscape.shape, rule="freudenthal").edges()
    assert {frozenset(e) for e in edges.tolist()} == {frozenset(e) for e in ours.tolist()}


def test_ranks_of_a_ttk_filter_settle_ties():
    grid = vtk_grid(np.zeros((3, 1)), np.array([[0, 1], [1, 2]]), np.zeros(3))
    assert vtk_bridge.given_ranks(grid, "Loss") is None
    vtk_bridge.add_array(grid.GetPointData(), "Loss_Order", np.array([2, 0, 1], dtype=np.int32))
    ranks = vtk_bridge.given_ranks(grid, "Loss")
    tree = merge_tree(np.zeros(3), vtk_bridge.dataset_graph(grid), ranks=ranks)
    assert tree.node_vertex.tolist() == [1, 0]
    outputs = (
        vtk_bridge.tree_to_nodes(tree, grid),
        vtk_bridge.tree_to_arcs(tree, grid),
        vtk_bridge.tree_to_segmentation(tree, grid),
    )
    assert arcs_of(vtk_bridge.skeleton_to_tree(*outputs, "Loss")) == arcs_of(tree)


def test_a_tree_comes_back_from_its_outputs(graph):
    values = vtk_bridge.point_values(graph, names.LOSS)
    assert np.isnan(values).sum() == 1
    tree = merge_tree(values, vtk_bridge.dataset_graph(graph))
    outputs = (
        vtk_bridge.tree_to_nodes(tree, graph),
        vtk_bridge.tree_to_arcs(tree, graph),
        vtk_bridge.tree_to_segmentation(tree, graph),
    )
    again = vtk_bridge.skeleton_to_tree(*outputs, names.LOSS)
    for name in ("values", "levels", "node_vertex", "parent", "node_type", "vertex_arc"):
        np.testing.assert_array_equal(getattr(again, name), getattr(tree, name))


@pytest.mark.parametrize("seed", range(8))
def test_a_simplified_tree_comes_back_from_its_outputs(seed):
    """Also with ties, and simplified again."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 12, 48).astype(float) if seed % 2 else rng.standard_normal(48)
    graph = grid_graph((6, 8))
    grid = vtk_grid(np.zeros((48, 1)), graph.edges(), values)
    whole = merge_tree(values, graph)
    for threshold in (0.0, 0.1, 0.3, 0.6, 1.0):
        tree = whole.simplified(threshold, relative=True)
        outputs = (
            vtk_bridge.tree_to_nodes(tree, grid),
            vtk_bridge.tree_to_arcs(tree, grid),
            vtk_bridge.tree_to_filled_segmentation(tree, grid, "Loss"),
        )
        again = vtk_bridge.skeleton_to_tree(*outputs, "Loss")
        for name in ("values", "levels", "node_vertex", "parent", "node_type", "vertex_arc"):
            np.testing.assert_array_equal(getattr(again, name), getattr(tree, name), name)
        further = again.simplified(0.8, relative=True)
        expected = whole.simplified(max(threshold, 0.8), relative=True)
        np.testing.assert_array_equal(further.node_vertex, expected.node_vertex)


def test_outputs_have_the_values_of_ttks(ttk_case):
    given, recorded = ttk_case
    grid = vtk_grid(given["points"], given["edges"], given["values"])
    tree = merge_tree(given["values"], given["edges"])
    nodes = vtk_bridge.tree_to_nodes(tree, grid).GetPointData()
    ours = {
        int(vertex): (float(np.float32(scalar)), int(kind), int(size))
        for vertex, scalar, kind, size in zip(
            *(array(nodes, n) for n in ("VertexId", "Scalar", "CriticalType", "RegionSize"))
        )
    }
    theirs = {
        int(vertex): (float(scalar), int(kind), int(size))
        for vertex, scalar, kind, size in zip(
            *(
                recorded[f"nodes/point/{n}"]
                for n in ("VertexId", "Scalar", "CriticalType", "RegionSize")
            )
        )
    }
    assert ours == theirs
    segmentation = vtk_bridge.tree_to_segmentation(tree, grid).GetPointData()
    np.testing.assert_array_equal(
        array(segmentation, "RegionSize"), recorded["segmentation/point/RegionSize"]
    )


def test_ttks_recorded_outputs_give_the_built_in_tree(ttk_case):
    given, recorded = ttk_case
    tree = vtk_bridge.skeleton_to_tree(*recorded_outputs(given, recorded), "Loss")
    assert arcs_of(tree) == arcs_of(merge_tree(given["values"], given["edges"]))


def test_inputs_of_different_trees_are_reported(graph):
    values = vtk_bridge.point_values(graph, names.LOSS)
    outputs = []
    for rule in ("diagonal", "axis"):
        tree = merge_tree(values, grid_graph((3, 5, 7), rule=rule))
        outputs.append(
            (
                vtk_bridge.tree_to_nodes(tree, graph),
                vtk_bridge.tree_to_arcs(tree, graph),
                vtk_bridge.tree_to_segmentation(tree, graph),
            )
        )
    (nodes, arcs, segmentation), (nodes2, arcs2, segmentation2) = outputs
    for mixed in (
        (nodes2, arcs, segmentation),
        (nodes, arcs2, segmentation),
        (nodes, arcs, segmentation2),
    ):
        with pytest.raises(ValueError, match="must come from one merge tree"):
            vtk_bridge.skeleton_to_tree(*mixed, names.LOSS)


def test_outputs_in_the_wrong_ports_are_reported(graph):
    tree = merge_tree(vtk_bridge.point_values(graph, names.LOSS), grid_graph((3, 5, 7)))
    nodes, arcs = vtk_bridge.tree_to_nodes(tree, graph), vtk_bridge.tree_to_arcs(tree, graph)
    segmentation = vtk_bridge.tree_to_segmentation(tree, graph)
    with pytest.raises(ValueError, match="nodes of a merge tree must have an array 'VertexId'"):
        vtk_bridge.skeleton_to_tree(arcs, nodes, segmentation, names.LOSS)


def test_a_missing_array_is_reported_with_the_existing_ones(graph):
    with pytest.raises(ValueError, match="must have a point array 'Cost', got Coordinates, Loss"):
        vtk_bridge.point_values(graph, "Cost")
    with pytest.raises(ValueError, match="must have one component, got 3"):
        vtk_bridge.point_values(graph, names.COORDINATES)


def test_a_profile_keeps_its_numbers_in_vtk(graph):
    tree = merge_tree(vtk_bridge.point_values(graph, names.LOSS), grid_graph((3, 5, 7)))
    profile = landscape_profile(tree)
    drawing = vtk_bridge.drawing(profile)
    basins = vtk_bridge.profile_to_basins(profile, drawing)
    assert basins.GetNumberOfCells() == len(profile.basins)
    bounds = basins.GetBounds()
    assert bounds[1] - bounds[0] == 105
    assert (bounds[3] - bounds[2]) / (bounds[1] - bounds[0]) == pytest.approx(0.7)
    for b in range(len(profile.basins)):
        corners = np.zeros(6)
        basins.GetCellBounds(b, corners)
        assert corners[1] - corners[0] == pytest.approx(profile.basins.size[b])
        assert corners[2:4] / drawing.scale == pytest.approx(
            [tree.node_level[b], profile.basins.death[b]], rel=1e-5
        )
    np.testing.assert_array_equal(array(basins.GetCellData(), names.SIZE), profile.basins.size)
    points = vtk_bridge.profile_to_critical_points(
        profile, drawing, vtk_bridge.sample_coordinates(graph)
    )
    np.testing.assert_array_equal(
        array(points.GetPointData(), names.COORDINATES),
        vtk_bridge.sample_coordinates(graph)[profile.critical_points.sample],
    )
    samples = vtk_bridge.profile_to_samples(tree, graph)
    assert set(array(samples.GetPointData(), names.BASIN_ID)) == set(range(len(profile.basins)))
    assert graph.GetPointData().GetArray(names.BASIN_ID) is None


def test_a_logarithmic_profile_is_drawn_by_the_logarithm():
    profile = landscape_profile(merge_tree([0.01, 1.0, 0.1, 10.0], grid_graph((4,))))
    drawing = vtk_bridge.drawing(profile, logarithmic=True)
    assert drawing.loss_range == (0.01, 10.0)
    assert drawing.height([0.01, 1.0, 10.0]) / drawing.scale == pytest.approx([-2, 0, 1])
    assert np.ptp(drawing.height(drawing.loss_range)) == pytest.approx(0.7 * 4)
    with pytest.raises(ValueError, match="logarithmic loss axis needs losses above 0, got -1"):
        vtk_bridge.drawing(profile, logarithmic=True, loss_range=(-1.0, 10.0))


def test_a_shared_range_scales_a_profile():
    profile = landscape_profile(merge_tree([0.0, 1.0], [[0, 1]]))
    drawing = vtk_bridge.drawing(profile, loss_range=(0.0, 10.0))
    assert np.ptp(drawing.height([0.0, 1.0])) == pytest.approx(0.07 * 2)
    with pytest.raises(ValueError, match="must run upward, got 3 to 1"):
        vtk_bridge.drawing(profile, loss_range=(3.0, 1.0))


def test_losses_that_single_precision_cannot_show_are_warned_of():
    profile = landscape_profile(merge_tree([1.0, 3.0, 2.0, 4.0], grid_graph((4,))))
    for low, high in ((2.3025, 2.3035), (1e6, 1e6 + 20), (5.0, 5.0), (0.0, 0.0)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            vtk_bridge.drawing(profile, loss_range=(low, high))
    for low, high in ((1000.0, 1000.001), (-1e6 - 1, -1e6)):
        with pytest.warns(UserWarning, match="subtract a constant"):
            vtk_bridge.drawing(profile, loss_range=(low, high))


def test_the_tree_and_the_diagram_of_a_profile():
    tree = merge_tree([0.0, 3.0, 1.0, 2.0, 4.0], grid_graph((5,), rule="axis"))
    profile = landscape_profile(tree)
    lines = vtk_bridge.profile_to_tree(profile, vtk_bridge.drawing(profile, scale=1.0))
    assert lines.GetNumberOfCells() == 3
    places = np.array([lines.GetPoint(i)[:2] for i in range(9)])
    np.testing.assert_allclose(places[:3], [[3.5, 0], [3.5, 3], [2.5, 3]], rtol=1e-6)
    np.testing.assert_allclose(places[6:], [[2.5, 3], [2.5, 4], [2.5, 4]], rtol=1e-6)
    table = vtk_bridge.tree_to_diagram(tree)
    rows = {
        name: array(table.GetRowData(), name).tolist()
        for name in (names.BIRTH, names.DEATH, names.MINIMUM_ID, names.BASIN_ID)
    }
    assert rows == {
        names.BIRTH: [0.0, 1.0],
        names.DEATH: [4.0, 3.0],
        names.MINIMUM_ID: [0, 2],
        names.BASIN_ID: [0, 1],
    }


@pytest.fixture
def four_dimensional():
    shape = (3, 5, 7, 9)
    loss = np.random.default_rng(1).random(shape)
    landscape = Landscape(loss, np.array([1.0, 2.0, 3.0, 4.0]), np.ones(shape, dtype=bool))
    return landscape, vtk_bridge.landscape_to_grid(landscape, step=7.0)


def test_a_slice_shows_the_samples_at_its_place(four_dimensional):
    landscape, grid = four_dimensional
    part = vtk_bridge.grid_slice(grid, (4, 2, 1), (-1.2,))  # direction 3 at -1: index 2
    ids = array(part.GetPointData(), names.SAMPLE_ID).reshape(9, 5, 3)
    wanted = np.arange(945).reshape(3, 5, 7, 9)[:, :, 2].transpose(2, 1, 0)
    np.testing.assert_array_equal(ids, wanted)
    coordinates = array(part.GetPointData(), names.COORDINATES)
    points = np.array([part.GetPoint(i) for i in range(part.GetNumberOfPoints())])
    np.testing.assert_allclose(points, coordinates[:, [3, 1, 0]], rtol=1e-6)
    assert set(coordinates[:, 2]) == {-1.0}
    assert part.GetNumberOfCells() == 8 * 4 * 2
    assert part.GetCell(0).GetBounds() == pytest.approx((-4, -3, -2, -1, -1, 0))
    assert array(part.GetPointData(), names.LOSS) == pytest.approx(
        landscape.loss.ravel()[ids.ravel()]
    )
    assert vtk_bridge.step_of(part) == 7.0


def test_a_slice_in_a_plane(four_dimensional):
    _, grid = four_dimensional
    part = vtk_bridge.grid_slice(grid, (1, 3), ())
    assert part.GetNumberOfCells() == 2 * 6
    assert np.unique(array(part.GetPointData(), names.COORDINATES)[:, [1, 3]]).tolist() == [0.0]


@pytest.mark.parametrize(
    ("directions", "position", "message"),
    [
        ((1, 2, 2), (), "two or three different directions"),
        ((1, 2, 5), (), r"must be from 1 to 4, got \[1, 2, 5\]"),
        ((1, 2, 3), (0.0, 1.0), "at most 1 coordinates"),
        ((1, 2, 3), (5.0,), "along direction 4 must be from -4 to 4, got 5"),
    ],
)
def test_a_slice_outside_the_grid_is_reported(four_dimensional, directions, position, message):
    with pytest.raises(ValueError, match=message):
        vtk_bridge.grid_slice(four_dimensional[1], directions, position)
