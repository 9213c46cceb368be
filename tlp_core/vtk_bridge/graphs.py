"""Conversion of neighbour graphs to and from VTK cells, and the point arrays of their samples."""

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
from tlp_core.vtk_bridge.arrays import add_array, add_text
from tlp_core.vtk_bridge.samples import has_only_vertices, landscape_shape, set_vertices


def with_graph(
    dataset: vtkDataSet, graph: GridGraph | EdgeGraph, rule: str, *, implicit: bool = False
) -> vtkUnstructuredGrid:
    """Return the samples with one VTK_LINE cell per edge of a neighbour graph.

    Args:
        dataset: the samples.
        graph: their neighbour graph.
        rule: name of the rule of the graph; it is stored in the field data ``GraphRule``.
        implicit: omit the lines; the cells are vertices. :func:`dataset_graph` then restores the
            graph of a grid from its rule. Default: False.

    Returns:
        A grid with the points, the point data and the field data of the samples, and the number of
        lines as field data.
    """
    grid = vtkUnstructuredGrid()
    grid.SetPoints(dataset.GetPoints())
    grid.GetPointData().ShallowCopy(dataset.GetPointData())
    grid.GetFieldData().ShallowCopy(dataset.GetFieldData())
    add_text(grid.GetFieldData(), names.GRAPH_RULE, rule)
    lines = np.array([0 if implicit else graph.number_of_edges], dtype=np.int64)
    add_array(grid.GetFieldData(), names.NUMBER_OF_LINES, lines)
    if implicit:
        set_vertices(grid)
    else:
        grid.SetCells(VTK_LINE, graph_lines(graph))
    return grid


def dataset_graph(dataset: vtkDataSet) -> GridGraph | EdgeGraph:
    """Return the neighbour graph of the points of a dataset.

    Image data has the ``freudenthal`` rule, as in TTK. Samples without lines have the rule that
    :func:`with_graph` stored. The graph of any other dataset is given by the edges of its cells.

    Args:
        dataset: the samples.

    Returns:
        The neighbour graph.

    Raises:
        ValueError: if the dataset has no edges.
    """
    if dataset.IsA("vtkImageData"):
        return _image_graph(dataset.GetDimensions())
    if has_only_vertices(dataset) and (implicit := _implicit_graph(dataset)) is not None:
        return implicit
    edges = _line_edges(dataset)
    if not len(edges):
        raise ValueError(
            "a merge tree needs edges between the samples, got none; "
            "put TLP Neighbor Graph before the merge tree filter"
        )
    return EdgeGraph(number_of_samples=dataset.GetNumberOfPoints(), edges=edges)


def given_ranks(dataset: vtkDataSet, name: str) -> npt.NDArray[np.int64] | None:
    """Return the order of the samples that a TTK filter, such as a simplification, has stored.

    TTK stores the order in the point array ``NAME_Order``. TTK's merge tree filter uses this order.

    Args:
        dataset: the samples.
        name: name of the array of losses.

    Returns:
        (N,) int64, rank of each sample; None if the array ``NAME_Order`` does not exist.
    """
    array = dataset.GetPointData().GetArray(f"{name}_Order")
    return None if array is None else np.asarray(vtk_to_numpy(array), dtype=np.int64)


def filled_levels(dataset: vtkDataSet, name: str) -> npt.NDArray[np.float64] | None:
    """Return the levels to which a simplification of the merge tree has filled the samples.

    Args:
        dataset: the samples.
        name: name of the array of losses.

    Returns:
        (N,) float64, the point array ``NAME_Level``; None if it does not exist.
    """
    array = dataset.GetPointData().GetArray(names.level_name(name))
    return None if array is None else np.array(vtk_to_numpy(array), dtype=np.float64)


def graph_lines(graph: GridGraph | EdgeGraph) -> vtkCellArray:
    """Return the edges of a graph as VTK cells.

    The edges of a grid are written directly into the memory of VTK, without a second copy.

    Args:
        graph: the neighbour graph.

    Returns:
        E cells of two points each.
    """
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
    """Return the graph of image data, whose sample ids run along x first."""
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
    """Return the edges of cells of any type, each edge once, (E, 2)."""
    extract = vtkExtractEdges()
    extract.SetInputData(dataset)
    extract.UseAllPointsOn()
    extract.Update()
    lines = extract.GetOutput().GetLines()
    ends = vtk_to_numpy(lines.GetConnectivityArray())
    return np.asarray(ends.reshape(-1, 2), dtype=np.int64)
