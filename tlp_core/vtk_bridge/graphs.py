"""Neighbour graphs as VTK lines, and the values at their points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkIdTypeArray
from vtkmodules.vtkCommonDataModel import (
    VTK_LINE,
    vtkCellArray,
    vtkDataSet,
    vtkUnstructuredGrid,
)
from vtkmodules.vtkFiltersCore import vtkExtractEdges

from tlp_core import array_names as names
from tlp_core.choices import GRID_RULES
from tlp_core.topology.graphs import EdgeGraph, GridGraph, grid_graph
from tlp_core.vtk_bridge.arrays import add_text
from tlp_core.vtk_bridge.samples import landscape_shape


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
    add_text(grid.GetFieldData(), names.GRAPH_RULE, rule)
    if not implicit:
        grid.SetCells(VTK_LINE, graph_lines(graph))
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


def graph_lines(graph: GridGraph | EdgeGraph) -> vtkCellArray:
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
