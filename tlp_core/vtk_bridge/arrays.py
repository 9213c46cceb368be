"""Conversion of NumPy arrays to VTK arrays that own their memory.

All functions copy. A ``vtkCellArray`` that refers to NumPy memory does not keep this memory alive,
so its content becomes invalid.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkIdTypeArray, vtkPoints, vtkStringArray
from vtkmodules.vtkCommonDataModel import (
    vtkCellArray,
    vtkFieldData,
    vtkPolyData,
)


def add_array(data: vtkFieldData, name: str, values: npt.NDArray[Any]) -> None:
    """Add a copy of an array to point, cell, row or field data.

    Args:
        data: where the array is added. An array of the same name is replaced.
        name: name of the array.
        values: (T,) or (T, C), T tuples of C components.
    """
    array = numpy_to_vtk(np.ascontiguousarray(values), deep=1)
    array.SetName(name)
    data.AddArray(array)


def add_text(data: vtkFieldData, name: str, text: str) -> None:
    """Add a text as a string array with one value.

    Args:
        data: where the array is added. An array of the same name is replaced.
        name: name of the array.
        text: its value.
    """
    add_texts(data, name, [text])


def add_texts(data: vtkFieldData, name: str, texts: Sequence[str]) -> None:
    """Add texts as a string array; see :func:`add_text`."""
    array = vtkStringArray()
    array.SetName(name)
    for text in texts:
        array.InsertNextValue(text)
    data.AddArray(array)


def make_points(coordinates: npt.NDArray[np.float64]) -> vtkPoints:
    """Return VTK points at coordinates (N, 3) float64."""
    points = vtkPoints()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(coordinates), deep=1))
    return points


def make_vertices(coordinates: npt.NDArray[np.float64]) -> vtkPolyData:
    """Return points at coordinates (N, 3) float64, with a vertex cell for each."""
    vertices = vtkPolyData()
    vertices.SetPoints(make_points(coordinates))
    ends = np.arange(len(coordinates) + 1)
    vertices.SetVerts(make_cells(ends[:-1], ends))
    return vertices


def make_cells(
    connectivity: npt.NDArray[np.integer[Any]], offsets: npt.NDArray[np.integer[Any]]
) -> vtkCellArray:
    """Return cells, where cell c has the points ``connectivity[offsets[c]:offsets[c + 1]]``.

    Args:
        connectivity: point ids of all cells, one after the other.
        offsets: (C + 1,) index of the first point id of each cell, and the length of
            ``connectivity``.
    """
    cells = vtkCellArray()
    cells.SetData(_ids(offsets), _ids(connectivity))
    return cells


def _ids(values: npt.NDArray[np.integer[Any]]) -> vtkIdTypeArray:
    array = vtkIdTypeArray()
    array.SetNumberOfTuples(len(values))
    vtk_to_numpy(array)[:] = values
    return array
