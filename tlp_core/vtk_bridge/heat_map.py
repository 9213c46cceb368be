"""A heat map of groups of parameters and steps of a training, as polydata."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
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

_GAP = 0.3
"""Distance of a label from the map."""


def heat_map(rows: BlockRows) -> vtkPolyData:
    """Return a rectangle for each group and step, the first group at the top.

    Returns:
        Cells by group and step, with the cell arrays ``Step`` and ``Group`` (number of the group)
        and one array for each column of the table; NaN where the table has no number.
    """
    groups, steps = len(rows.groups), len(rows.steps)
    row, column = np.divmod(np.arange(groups * steps), steps)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    points = np.zeros((groups * steps, 4, 3))
    points[..., 0] = WIDTH * (column[:, None] + corners[:, 0])
    points[..., 1] = groups - 1 - row[:, None] + corners[:, 1]
    cells = vtkPolyData()
    cells.SetPoints(make_points(points.reshape(-1, 3)))
    ids = np.arange(4 * groups * steps)
    cells.SetPolys(make_cells(ids, np.arange(0, len(ids) + 1, 4)))
    add_array(cells.GetCellData(), names.STEP, rows.steps[column])
    add_array(cells.GetCellData(), names.GROUP, row.astype(np.int64))
    for name, values in rows.columns.items():
        add_array(cells.GetCellData(), name, np.ascontiguousarray(values.ravel()))
    return cells


def heat_map_labels(rows: BlockRows) -> vtkPolyData:
    """Return the names of the groups left of the map, and the steps below it, as polygons."""
    labels = vtkAppendPolyData()
    for number, group in enumerate(rows.groups):
        middle = len(rows.groups) - 0.5 - number
        labels.AddInputData(_text(group, -_GAP, middle - _TEXT_HEIGHT / 2, align=1.0))
    for number, step in enumerate(rows.steps):
        place = WIDTH * (number + 0.5)
        labels.AddInputData(_text(f"{step:g}", place, -_GAP - _TEXT_HEIGHT, align=0.5))
    labels.Update()
    found = vtkPolyData()
    found.ShallowCopy(labels.GetOutput())
    return found


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


def _text(text: str, x: float, y: float, *, align: float) -> vtkPolyData:
    """Return a text whose left end, at 0, to right end, at 1, is aligned at x."""
    source = vtkVectorText()
    source.SetText(text)
    source.Update()
    bounds = source.GetOutput().GetBounds()
    place = vtkTransform()
    place.Translate(x - align * _TEXT_HEIGHT * bounds[1], y, 0)
    place.Scale(_TEXT_HEIGHT, _TEXT_HEIGHT, 1)
    moved = vtkTransformPolyDataFilter()
    moved.SetTransform(place)
    moved.SetInputConnection(source.GetOutputPort())
    moved.Update()
    found: vtkPolyData = moved.GetOutput()
    return found
