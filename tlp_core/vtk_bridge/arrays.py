"""NumPy arrays into memory that VTK owns.

(A ``vtkCellArray`` that borrows NumPy memory does not keep it alive, and its content turns to
garbage.)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkIdTypeArray, vtkPoints, vtkStringArray
from vtkmodules.vtkCommonDataModel import (
    vtkCellArray,
    vtkFieldData,
)


def add_array(data: vtkFieldData, name: str, values: npt.NDArray[Any]) -> None:
    """Add a copy of values (T,) or (T, C) as an array."""
    array = numpy_to_vtk(np.ascontiguousarray(values), deep=1)
    array.SetName(name)
    data.AddArray(array)


def add_text(data: vtkFieldData, name: str, text: str) -> None:
    """Add a text as an array of one string."""
    array = vtkStringArray()
    array.SetName(name)
    array.InsertNextValue(text)
    data.AddArray(array)


def make_points(coordinates: npt.NDArray[np.float64]) -> vtkPoints:
    """Return points at coordinates (N, 3)."""
    points = vtkPoints()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(coordinates), deep=1))
    return points


def make_cells(
    connectivity: npt.NDArray[np.integer[Any]], offsets: npt.NDArray[np.integer[Any]]
) -> vtkCellArray:
    """Return cells: cell c has the points ``connectivity[offsets[c]:offsets[c + 1]]``."""
    cells = vtkCellArray()
    cells.SetData(_ids(offsets), _ids(connectivity))
    return cells


def _ids(values: npt.NDArray[np.integer[Any]]) -> vtkIdTypeArray:
    array = vtkIdTypeArray()
    array.SetNumberOfTuples(len(values))
    vtk_to_numpy(array)[:] = values
    return array
