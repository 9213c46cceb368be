"""Heat maps as polydata: of groups of parameters and steps, and of distances between trees."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from vtkmodules.vtkCommonDataModel import vtkPolyData
from vtkmodules.vtkCommonTransforms import vtkTransform
from vtkmodules.vtkFiltersCore import vtkAppendPolyData
from vtkmodules.vtkFiltersGeneral import vtkTransformPolyDataFilter
from vtkmodules.vtkRenderingFreeType import vtkVectorText

from tlp_core import array_names as names
from tlp_core.landscape.block_rows import BlockRows
from tlp_core.vtk_bridge.arrays import add_array, make_cells, make_points

WIDTH = 2.0
"""Width of a cell of the map, in units of its height."""

_TEXT_HEIGHT = 0.6

MAX_LABELS = 16
"""Largest number of labels on a side of a map of many cells."""

_GAP = 0.3
"""Distance of a label from the map."""


def heat_map(rows: BlockRows) -> vtkPolyData:
    """Return a rectangle for each group and step, the first group at the top.

    Returns:
        Cells by group and step, with the cell arrays ``Step`` and ``Group`` (number of the group)
        and one array for each column of the table; NaN where the table has no number.
    """
    cells, row, column = cell_grid(len(rows.groups), len(rows.steps), width=WIDTH)
    add_array(cells.GetCellData(), names.STEP, rows.steps[column])
    add_array(cells.GetCellData(), names.GROUP, row.astype(np.int64))
    for name, values in rows.columns.items():
        add_array(cells.GetCellData(), name, np.ascontiguousarray(values.ravel()))
    return cells


def cell_grid(
    rows: int, columns: int, *, width: float
) -> tuple[vtkPolyData, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return rectangles in rows and columns, the first row at the top.

    Args:
        rows: number of rows.
        columns: number of columns.
        width: width of a cell, in units of its height.

    Returns:
        One cell for each pair, by rows; and row and column of each cell.
    """
    row, column = np.divmod(np.arange(rows * columns), columns)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    points = np.zeros((rows * columns, 4, 3))
    points[..., 0] = width * (column[:, None] + corners[:, 0])
    points[..., 1] = rows - 1 - row[:, None] + corners[:, 1]
    cells = vtkPolyData()
    cells.SetPoints(make_points(points.reshape(-1, 3)))
    ids = np.arange(4 * rows * columns)
    cells.SetPolys(make_cells(ids, np.arange(0, len(ids) + 1, 4)))
    return cells, row, column


def heat_map_labels(rows: BlockRows) -> vtkPolyData:
    """Return the names of the groups left of the map, and the steps below it, as polygons."""
    return grid_labels(rows.groups, [f"{step:.10g}" for step in rows.steps], width=WIDTH)


def grid_labels(
    rows: Sequence[str], columns: Sequence[str], *, width: float, height: float = 1.0
) -> vtkPolyData:
    """Return the names of rows, left of a grid of cells, and of columns, below it, as polygons.

    Args:
        rows: name of each row, from the top; empty for no label.
        columns: name of each column; empty for no label.
        width: width of a cell, in units of its height.
        height: factor on the height of the text, for grids of many cells. Default: 1.
    """
    size, gap = height * _TEXT_HEIGHT, height * _GAP
    of_rows = [
        _text(name, -gap, len(rows) - 0.5 - number - size / 2, size, align=1.0)
        for number, name in enumerate(rows)
        if name
    ]
    of_columns = [
        _text(name, width * (number + 0.5), -gap - size, size, align=0.5)
        for number, name in enumerate(columns)
        if name
    ]
    return _joined([*of_rows, *of_columns])


def step_labels(steps: Sequence[float], bottom: float) -> vtkPolyData:
    """Return the names of steps below a graph whose step i is at x = i, as polygons; some, if many.

    Args:
        steps: the T steps.
        bottom: y below which the names are.
    """
    every = math.ceil(len(steps) / MAX_LABELS)
    size = _TEXT_HEIGHT * max(len(steps), 4) / (2.5 * MAX_LABELS)
    place = bottom - 1.5 * size
    numbers = range(0, len(steps), every)
    return _joined([_text(f"{steps[i]:.10g}", i, place, size, align=0.5) for i in numbers])


def step_frame(rows: BlockRows, step: float | None) -> vtkPolyData:
    """Return the outline of the column of a step: the last at or before it, else the first."""
    number = max(int(np.searchsorted(rows.steps, step, side="right")) - 1, 0) if step else 0
    left, right, top = WIDTH * number, WIDTH * (number + 1), len(rows.groups)
    corners: Sequence[Sequence[float]] = [(left, 0), (right, 0), (right, top), (left, top)]
    points = np.zeros((5, 3))
    points[:, :2] = [*corners, corners[0]]
    frame = vtkPolyData()
    frame.SetPoints(make_points(points))
    frame.SetLines(make_cells(np.arange(5), np.array([0, 5])))
    return frame


def _joined(parts: Sequence[vtkPolyData]) -> vtkPolyData:
    """Return several polydata as one."""
    append = vtkAppendPolyData()
    for part in parts:
        append.AddInputData(part)
    append.Update()
    found = vtkPolyData()
    found.ShallowCopy(append.GetOutput())
    return found


def _text(text: str, x: float, y: float, height: float, *, align: float) -> vtkPolyData:
    """Return a text of a height whose left end, at 0, to right end, at 1, is aligned at x."""
    source = vtkVectorText()
    source.SetText(text)
    source.Update()
    bounds = source.GetOutput().GetBounds()
    place = vtkTransform()
    place.Translate(x - align * height * bounds[1], y, 0)
    place.Scale(height, height, 1)
    moved = vtkTransformPolyDataFilter()
    moved.SetTransform(place)
    moved.SetInputConnection(source.GetOutputPort())
    moved.Update()
    found: vtkPolyData = moved.GetOutput()
    return found
