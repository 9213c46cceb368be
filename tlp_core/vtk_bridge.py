"""Records of the core to and from VTK data; the only module that knows VTK.

Arrays are copied once into memory that VTK owns. (A ``vtkCellArray`` that borrows NumPy memory does
not keep it alive, and its content turns to garbage.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkDataArray, vtkIdTypeArray, vtkPoints, vtkStringArray
from vtkmodules.vtkCommonDataModel import (
    VTK_LINE,
    VTK_VERTEX,
    vtkCellArray,
    vtkDataSet,
    vtkFieldData,
    vtkImageData,
    vtkPolyData,
    vtkTable,
    vtkUnstructuredGrid,
)
from vtkmodules.vtkFiltersCore import vtkExtractEdges

from tlp_core import array_names as names
from tlp_core.descriptors import Descriptors
from tlp_core.landscape import Landscape
from tlp_core.merge_tree import MergeTree, checked_ranks, node_types, shown_levels
from tlp_core.neighbors import GRID_RULES, EdgeGraph, GridGraph, grid_graph
from tlp_core.profile import Profile
from tlp_core.sweep import sweep_order

IMAGE_DIMENSIONS = 3
"""Landscapes of up to three directions are image data too."""

_LIFT = 1e-3
"""Outline and points lie this share of the width above the basins, so that they are seen."""

_ASPECT = 0.7
"""Height of a profile over its width where the height scale is automatic."""


# -- landscapes ---------------------------------------------------------------------------------


def landscape_to_grid(landscape: Landscape) -> vtkUnstructuredGrid:
    """Return the samples as points, in the order of their ids, without cells.

    Points are the first three coordinates. ``Loss`` shows non-finite losses, marked in
    ``IsFinite``, at the largest finite loss.
    """
    coordinates = landscape.coordinates()
    points = np.zeros((len(coordinates), 3))
    points[:, : min(3, coordinates.shape[1])] = coordinates[:, :3]
    grid = vtkUnstructuredGrid()
    grid.SetPoints(_points(points))
    _add(grid.GetPointData(), names.COORDINATES, coordinates)
    _add_samples(grid, landscape, np.arange(len(coordinates), dtype=np.int64))
    return grid


def with_vertices(grid: vtkUnstructuredGrid) -> vtkUnstructuredGrid:
    """Return the same grid with a cell at each point, without which VTK's files lose the points."""
    count = grid.GetNumberOfPoints()
    points = vtkUnstructuredGrid()
    points.ShallowCopy(grid)
    points.SetCells(VTK_VERTEX, _cells(np.arange(count), np.arange(count + 1)))
    return points


def landscape_to_image(landscape: Landscape) -> vtkImageData:
    """Return the same samples as image data, empty if scattered or in more directions than 3.

    VTK's first axis is the fastest and ours the slowest, so samples change their order here;
    ``SampleId`` tells which is which.
    """
    image = vtkImageData()
    n = landscape.number_of_directions
    if n > IMAGE_DIMENSIONS or landscape.points is not None:
        return image
    image.SetDimensions(*landscape.shape, *[1] * (3 - n))
    image.SetOrigin(*-landscape.distance, *[0.0] * (3 - n))
    spacing = 2 * landscape.distance / (np.array(landscape.shape) - 1)
    image.SetSpacing(*spacing, *[1.0] * (3 - n))
    ids = np.arange(landscape.loss.size, dtype=np.int64).reshape(landscape.shape)
    _add_samples(image, landscape, ids.T.ravel())
    return image


def landscape_shape(dataset: vtkDataSet) -> tuple[int, ...] | None:
    """Return the number of points per axis in ``Shape``; None for points that are no grid."""
    array = dataset.GetFieldData().GetArray(names.SHAPE)
    return None if array is None else tuple(int(size) for size in vtk_to_numpy(array))


def provenance(dataset: vtkDataSet) -> dict[str, Any]:
    """Return the facts that made a landscape; empty where there are none."""
    array = dataset.GetFieldData().GetAbstractArray(names.PROVENANCE)
    return {} if array is None else dict(json.loads(array.GetValue(0)))


def sample_coordinates(dataset: vtkDataSet) -> npt.NDArray[np.float64]:
    """Return ``Coordinates`` (N, n), or the points themselves (N, 3) without that array."""
    array = dataset.GetPointData().GetArray(names.COORDINATES)
    points = vtk_to_numpy(array if array is not None else dataset.GetPoints().GetData())
    return np.asarray(points.reshape(dataset.GetNumberOfPoints(), -1), dtype=np.float64)


# -- neighbour graphs ---------------------------------------------------------------------------


def with_graph(
    dataset: vtkDataSet, graph: GridGraph | EdgeGraph, rule: str, *, implicit: bool = False
) -> vtkUnstructuredGrid:
    """Return the same points and arrays with one VTK_LINE cell for each edge of a graph.

    Args:
        dataset: the samples.
        graph: their neighbours.
        rule: what made the graph, for field data.
        implicit: leave the cells out; :func:`dataset_graph` finds a grid's graph by its rule.
    """
    grid = vtkUnstructuredGrid()
    grid.SetPoints(dataset.GetPoints())
    grid.GetPointData().ShallowCopy(dataset.GetPointData())
    grid.GetFieldData().ShallowCopy(dataset.GetFieldData())
    _add_text(grid.GetFieldData(), names.GRAPH_RULE, rule)
    if not implicit:
        grid.SetCells(VTK_LINE, _lines(graph))
    return grid


def dataset_graph(dataset: vtkDataSet) -> GridGraph | EdgeGraph:
    """Return the neighbour graph of a dataset's points.

    Image data is read by the ``freudenthal`` rule, as TTK does; a grid without cells by the rule
    that :func:`with_graph` noted; anything else by the edges of its cells.

    Raises:
        ValueError: if there are no edges.
    """
    if dataset.IsA("vtkImageData"):
        return _image_graph(dataset.GetDimensions())
    if not dataset.GetNumberOfCells() and (implicit := _implicit_graph(dataset)) is not None:
        return implicit
    edges = _line_edges(dataset)
    if not len(edges):
        raise ValueError(
            "a merge tree needs edges between the samples, got none; "
            "put TLP Neighbor Graph before it"
        )
    return EdgeGraph(number_of_samples=dataset.GetNumberOfPoints(), edges=edges)


def point_values(dataset: vtkDataSet, name: str) -> npt.NDArray[np.float64]:
    """Return a point array of one component, (N,) float64; NaN where ``IsFinite`` says so.

    Raises:
        ValueError: if there is no such array, or it has several components.
    """
    data = dataset.GetPointData()
    array = data.GetArray(name) if name else None
    if array is None:
        there = [data.GetArrayName(i) for i in range(data.GetNumberOfArrays())]
        raise ValueError(
            f"the input must have a point array {name!r}, got {', '.join(there) or 'no arrays'}"
        )
    if array.GetNumberOfComponents() != 1:
        raise ValueError(
            f"point array {name!r} must have one component, got {array.GetNumberOfComponents()}"
        )
    values = np.array(vtk_to_numpy(array), dtype=np.float64)
    finite = data.GetArray(names.IS_FINITE)
    if name == names.LOSS and finite is not None:
        values[vtk_to_numpy(finite) == 0] = np.nan
    return values


def given_ranks(dataset: vtkDataSet, name: str) -> npt.NDArray[np.int64] | None:
    """Return the order that a TTK filter gave the samples, such as a simplification; or None.

    TTK keeps it in a point array ``NAME_Order``, by which its merge tree filter goes.
    """
    array = dataset.GetPointData().GetArray(f"{name}_Order")
    return None if array is None else np.asarray(vtk_to_numpy(array), dtype=np.int64)


# -- merge trees --------------------------------------------------------------------------------


def tree_to_nodes(tree: MergeTree, dataset: vtkDataSet) -> vtkUnstructuredGrid:
    """Return the critical samples as points, with the arrays of TTK's filter."""
    nodes = vtkUnstructuredGrid()
    nodes.SetPoints(_points(_positions(dataset, tree.node_vertex)))
    data = nodes.GetPointData()
    count = len(tree.node_vertex)
    regular = np.append(_region_sizes(tree), 0)
    regular[-1] = regular[tree.vertex_arc[tree.node_vertex[-1]]]
    _add(data, names.NODE_ID, np.arange(count, dtype=np.int32))
    _add(data, names.SCALAR, tree.node_level)
    _add(data, names.VERTEX_ID, tree.node_vertex)
    _add(data, names.CRITICAL_TYPE, tree.node_type.astype(np.int32))
    _add(data, names.REGION_SIZE, regular)
    return nodes


def tree_to_arcs(tree: MergeTree, dataset: vtkDataSet) -> vtkUnstructuredGrid:
    """Return the arcs as lines from lower to upper node, with the arrays of TTK's filter."""
    lower = np.arange(tree.number_of_arcs, dtype=np.int32)
    upper = tree.parent[:-1]
    arcs = vtkUnstructuredGrid()
    arcs.SetPoints(_points(_positions(dataset, tree.node_vertex)))
    _add(arcs.GetPointData(), names.SCALAR, tree.node_level)
    ends = np.stack([lower, upper], axis=1).ravel()
    arcs.SetCells(VTK_LINE, _cells(ends, np.arange(len(lower) + 1) * 2))
    data = arcs.GetCellData()
    _add(data, names.SEGMENTATION_ID, lower)
    _add(data, names.UP_NODE_ID, upper.astype(np.int32))
    _add(data, names.DOWN_NODE_ID, lower)
    _add(data, names.REGION_SIZE, _region_sizes(tree))
    return arcs


def tree_to_segmentation(tree: MergeTree, dataset: vtkDataSet) -> vtkDataSet:
    """Return the input with the arc of every sample, as TTK's filter does."""
    segmentation = dataset.NewInstance()
    segmentation.ShallowCopy(dataset)
    data = segmentation.GetPointData()
    _add(data, names.SEGMENTATION_ID, tree.vertex_arc.astype(np.int32))
    _add(data, names.REGION_SIZE, _region_sizes(tree)[tree.vertex_arc])
    return segmentation


def skeleton_to_tree(
    nodes: vtkDataSet, arcs: vtkDataSet, segmentation: vtkDataSet, name: str
) -> MergeTree:
    """Return the merge tree in the three outputs of TTK's filter or of the built-in one.

    Node numbers are the filter's own and are put into the order of the sweep. TTK keeps node
    scalars in float32, so losses are read from the segmentation. An arc from a node to itself,
    which TTK writes where the root is a saddle, is dropped.

    Args:
        nodes: port 0.
        arcs: port 1.
        segmentation: port 2.
        name: point array of the losses in the segmentation.

    Raises:
        ValueError: if an array is missing, or the three belong to different trees.
    """
    values = point_values(segmentation, name)
    vertex = _integers(nodes.GetPointData(), names.VERTEX_ID, "nodes")
    node_id = _integers(nodes.GetPointData(), names.NODE_ID, "nodes")
    up = _integers(arcs.GetCellData(), names.UP_NODE_ID, "arcs")
    down = _integers(arcs.GetCellData(), names.DOWN_NODE_ID, "arcs")
    arc_id = _integers(arcs.GetCellData(), names.SEGMENTATION_ID, "arcs")
    segment = _integers(segmentation.GetPointData(), names.SEGMENTATION_ID, "segmentation")

    _same_tree(vertex.min() >= 0 and vertex.max() < len(values), "a node is no sample")
    rank = _sweep_ranks(values, given_ranks(segmentation, name))
    order = np.argsort(rank[vertex])
    number = _inverse(node_id[order])
    proper = up != down
    lower, upper = (_looked_up(number, ends[proper], "node") for ends in (down, up))
    count = len(vertex)
    _same_tree(len(lower) == count - 1, f"{len(lower)} arcs for {count} nodes")
    _same_tree(bool((np.sort(lower) == np.arange(count - 1)).all()), "a node lacks its arc")
    _same_tree(bool((lower < upper).all()), "an arc runs downward")

    parent = np.full(count, -1, dtype=np.int64)
    parent[lower] = upper
    arc = _looked_up(_inverse(arc_id), segment, "arc")
    vertex_arc = _looked_up(number, down[arc], "node")
    root = vertex[order[-1]]
    vertex_arc[vertex_arc == count - 1] = np.flatnonzero(parent == count - 1)[-1]
    _same_tree(
        bool((vertex_arc[vertex[order[:-1]]] == np.arange(count - 1)).all()),
        "a node lies on another arc",
    )
    tree = MergeTree(
        values=values,
        levels=shown_levels(values),
        node_vertex=vertex[order],
        parent=parent,
        node_type=node_types(np.bincount(parent[:-1], minlength=count)),
        vertex_arc=vertex_arc,
    )
    inside = np.delete(np.arange(len(values)), root)
    held = rank[inside]
    low = rank[tree.node_vertex[vertex_arc[inside]]]
    high = rank[tree.node_vertex[parent[vertex_arc[inside]]]]
    _same_tree(bool(((low <= held) & (held < high)).all()), "a sample lies outside its arc")
    return tree


# -- profiles -----------------------------------------------------------------------------------


def automatic_height_scale(profile: Profile) -> float:
    """Return the factor on the loss under which a profile is 0.7 as high as it is wide."""
    x, height = profile.outline[:, 0], profile.outline[:, 1]
    span = float(np.ptp(height))
    return _ASPECT * float(np.ptp(x)) / span if span > 0 else 1.0


def profile_to_basins(profile: Profile, scale: float) -> vtkPolyData:
    """Return one triangle strip per basin, x in samples, y the loss times ``scale``."""
    basins = profile.basins
    center = np.repeat(basins.center, np.diff(basins.rung_start))
    points = np.zeros((len(center), 2, 3))
    points[:, 0, 0] = center - basins.rung_width / 2
    points[:, 1, 0] = center + basins.rung_width / 2
    points[:, :, 1] = basins.rung_height[:, None] * scale
    polydata = vtkPolyData()
    polydata.SetPoints(_points(points.reshape(-1, 3)))
    polydata.SetStrips(_cells(np.arange(2 * len(center)), 2 * basins.rung_start))
    _add(polydata.GetPointData(), names.LOSS, np.repeat(basins.rung_height, 2))
    data = polydata.GetCellData()
    _add(data, names.BASIN_ID, np.arange(len(basins), dtype=np.int64))
    _add(data, names.PARENT_ID, basins.parent)
    _add(data, names.MINIMUM_ID, basins.minimum)
    _add(data, names.SADDLE_ID, basins.saddle)
    _add(data, names.BIRTH, basins.birth)
    _add(data, names.DEATH, basins.death)
    _add(data, names.PERSISTENCE, basins.persistence)
    _add(data, names.SIZE, basins.size)
    _add(data, names.AVERAGE_LOSS, basins.average_loss)
    _add(data, names.NESTING_DEPTH, basins.nesting_depth)
    data.SetActiveScalars(names.AVERAGE_LOSS)
    _add(polydata.GetFieldData(), names.HEIGHT_SCALE, np.array([scale]))
    return polydata


def profile_to_critical_points(
    profile: Profile, scale: float, coordinates: npt.NDArray[np.float64]
) -> vtkPolyData:
    """Return minima and saddles as vertices; ``coordinates`` (N, n) tells where they lie."""
    found = profile.critical_points
    lift = 2 * _LIFT * np.ptp(profile.outline[:, 0])
    points = np.stack([found.x, found.height * scale, np.full(len(found.x), lift)], axis=1)
    polydata = vtkPolyData()
    polydata.SetPoints(_points(points))
    polydata.SetVerts(_cells(np.arange(len(points)), np.arange(len(points) + 1)))
    data = polydata.GetPointData()
    _add(data, names.SAMPLE_ID, found.sample)
    _add(data, names.CRITICAL_TYPE, found.type.astype(np.int32))
    _add(data, names.LOSS, found.height)
    _add(data, names.PERSISTENCE, found.persistence)
    _add(data, names.BASIN_ID, found.basin)
    _add(data, names.COORDINATES, coordinates[found.sample])
    data.SetActiveScalars(names.CRITICAL_TYPE)
    return polydata


def profile_to_samples(tree: MergeTree, segmentation: vtkDataSet) -> vtkDataSet:
    """Return the segmentation with the basin of every sample."""
    samples = segmentation.NewInstance()
    samples.ShallowCopy(segmentation)
    _add(samples.GetPointData(), names.BASIN_ID, tree.vertex_arc)
    return samples


def profile_to_outline(profile: Profile, scale: float) -> vtkPolyData:
    """Return the outline as one polyline."""
    x, height = profile.outline.T
    points = np.stack([x, height * scale, np.full(len(x), _LIFT * np.ptp(x))], axis=1)
    polydata = vtkPolyData()
    polydata.SetPoints(_points(points))
    polydata.SetLines(_cells(np.arange(len(x)), np.array([0, len(x)])))
    _add(polydata.GetPointData(), names.LOSS, height)
    return polydata


def descriptors_to_table(descriptors: Descriptors, extra: Mapping[str, str | float]) -> vtkTable:
    """Return one row: ``extra`` columns first, then every descriptor, then why some are NaN."""
    table = vtkTable()
    reasons = "; ".join(f"{name}: {reason}" for name, reason in descriptors.undefined.items())
    for name, value in {**extra, **descriptors.as_dict(), "undefined": reasons}.items():
        if isinstance(value, str):
            _add_text(table.GetRowData(), name, value)
        else:
            _add(table.GetRowData(), name, np.array([value]))
    return table


# -- helpers ------------------------------------------------------------------------------------


def _add_samples(dataset: vtkDataSet, landscape: Landscape, ids: npt.NDArray[np.int64]) -> None:
    loss = landscape.loss.ravel()[ids]
    data = dataset.GetPointData()
    _add(data, names.LOSS, shown_levels(loss))
    _add(data, names.SAMPLE_ID, ids)
    _add(data, names.IS_FINITE, np.isfinite(loss).astype(np.uint8))
    data.SetActiveScalars(names.LOSS)
    fields = dataset.GetFieldData()
    if landscape.points is None:
        _add(fields, names.SHAPE, np.array(landscape.shape, dtype=np.int64))
    _add(fields, names.DISTANCE, landscape.distance)
    eigenvalues = landscape.facts.get("eigenvalues") or []
    _add(fields, names.EIGENVALUES, np.array(eigenvalues, dtype=np.float64))
    _add_text(fields, names.PROVENANCE, json.dumps(dict(landscape.facts), ensure_ascii=False))


def _add(data: vtkFieldData, name: str, values: npt.NDArray[Any]) -> None:
    array = numpy_to_vtk(np.ascontiguousarray(values), deep=1)
    array.SetName(name)
    data.AddArray(array)


def _add_text(data: vtkFieldData, name: str, text: str) -> None:
    array = vtkStringArray()
    array.SetName(name)
    array.InsertNextValue(text)
    data.AddArray(array)


def _points(coordinates: npt.NDArray[np.float64]) -> vtkPoints:
    points = vtkPoints()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(coordinates), deep=1))
    return points


def _cells(
    connectivity: npt.NDArray[np.integer[Any]], offsets: npt.NDArray[np.integer[Any]]
) -> vtkCellArray:
    cells = vtkCellArray()
    cells.SetData(_ids(offsets), _ids(connectivity))
    return cells


def _ids(values: npt.NDArray[np.integer[Any]]) -> vtkIdTypeArray:
    array = vtkIdTypeArray()
    array.SetNumberOfTuples(len(values))
    vtk_to_numpy(array)[:] = values
    return array


def _lines(graph: GridGraph | EdgeGraph) -> vtkCellArray:
    """Return the edges as cells, written where VTK keeps them, without another copy."""
    count = graph.number_of_edges
    connectivity, offsets = vtkIdTypeArray(), vtkIdTypeArray()
    connectivity.SetNumberOfValues(2 * count)
    offsets.SetNumberOfValues(count + 1)
    ends, starts = vtk_to_numpy(connectivity).reshape(-1, 2), vtk_to_numpy(offsets)
    if isinstance(graph, GridGraph):
        graph.edges(out=ends)
    else:
        ends[:] = graph.edges
    starts[0], starts[1:] = 0, 2
    np.cumsum(starts, out=starts)
    cells = vtkCellArray()
    cells.SetData(offsets, connectivity)
    return cells


def _image_graph(dimensions: tuple[int, int, int]) -> GridGraph:
    """Return the neighbours on image data, whose samples count x fastest."""
    graph = grid_graph(dimensions, rule="freudenthal")
    return replace(graph, shape=graph.shape[::-1], offsets=graph.offsets[:, ::-1])


def _implicit_graph(dataset: vtkDataSet) -> GridGraph | None:
    shape = landscape_shape(dataset)
    rule = dataset.GetFieldData().GetAbstractArray(names.GRAPH_RULE)
    if shape is None or rule is None or rule.GetValue(0) not in GRID_RULES:
        return None
    graph = grid_graph(shape, rule=rule.GetValue(0))
    return graph if graph.number_of_samples == dataset.GetNumberOfPoints() else None


def _line_edges(dataset: vtkDataSet) -> npt.NDArray[np.int64]:
    if dataset.IsA("vtkUnstructuredGrid") and dataset.IsHomogeneous():
        lines = dataset.GetCells()
        if lines is not None and lines.GetNumberOfCells() and dataset.GetCellType(0) == VTK_LINE:
            ends = vtk_to_numpy(lines.GetConnectivityArray())
            return np.asarray(ends.reshape(-1, 2), dtype=np.int64)
    return _extracted_edges(dataset)


def _extracted_edges(dataset: vtkDataSet) -> npt.NDArray[np.int64]:
    """Return the edges of cells of any kind, each once."""
    extract = vtkExtractEdges()
    extract.SetInputData(dataset)
    extract.UseAllPointsOn()
    extract.Update()
    lines = extract.GetOutput().GetLines()
    ends = vtk_to_numpy(lines.GetConnectivityArray())
    return np.asarray(ends.reshape(-1, 2), dtype=np.int64)


def _positions(dataset: vtkDataSet, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    if dataset.IsA("vtkPointSet"):
        return np.asarray(vtk_to_numpy(dataset.GetPoints().GetData())[ids], dtype=np.float64)
    return np.array([dataset.GetPoint(int(i)) for i in ids]).reshape(-1, 3)


def _region_sizes(tree: MergeTree) -> npt.NDArray[np.int64]:
    """Return the number of regular samples on each arc (A,), as TTK counts: nodes are none."""
    counts = np.bincount(tree.vertex_arc, minlength=tree.number_of_arcs)
    at_nodes = np.bincount(tree.vertex_arc[tree.node_vertex], minlength=tree.number_of_arcs)
    return np.asarray(counts - at_nodes, dtype=np.int64)


def _integers(data: vtkFieldData, name: str, port: str) -> npt.NDArray[np.int64]:
    array: vtkDataArray | None = data.GetArray(name)
    if array is None or not array.GetNumberOfTuples():
        raise ValueError(
            f"the {port} of a merge tree must have an array {name!r}, and have none; "
            "connect ports 0, 1 and 2 of one merge tree filter"
        )
    return np.asarray(vtk_to_numpy(array), dtype=np.int64)


def _sweep_ranks(
    values: npt.NDArray[np.float64], given: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.int64]:
    """Return the place of each sample in the sweep (N,)."""
    heights = values if given is None else checked_ranks(values, given)
    rank = np.empty(len(values), dtype=np.int64)
    rank[sweep_order(heights)] = np.arange(len(values))
    return rank


def _inverse(ids: npt.NDArray[np.int64]) -> dict[int, int]:
    return {int(value): place for place, value in enumerate(ids)}


def _looked_up(
    places: dict[int, int], ids: npt.NDArray[np.int64], what: str
) -> npt.NDArray[np.int64]:
    unique, inverse = np.unique(ids, return_inverse=True)
    unknown = [int(value) for value in unique if int(value) not in places]
    _same_tree(not unknown, f"{what} {unknown[:1]} is unknown")
    return np.array([places[int(value)] for value in unique], dtype=np.int64)[inverse]


def _same_tree(agrees: bool, difference: str) -> None:
    if not agrees:
        raise ValueError(
            f"nodes, arcs and segmentation must come from one merge tree: {difference}; "
            "connect ports 0, 1 and 2 of one merge tree filter"
        )
