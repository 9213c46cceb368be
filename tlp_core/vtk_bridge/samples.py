"""Landscapes to VTK data sets, and what those say of themselves."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import (
    VTK_VERTEX,
    vtkDataSet,
    vtkImageData,
    vtkUnstructuredGrid,
)

from tlp_core import array_names as names
from tlp_core.landscape.landscape import Landscape
from tlp_core.topology.merge_tree import shown_levels
from tlp_core.vtk_bridge.arrays import add_array, add_text, make_cells, make_points

IMAGE_DIMENSIONS = 3
"""Landscapes of up to three directions are image data too."""


def landscape_to_grid(landscape: Landscape, *, step: float | None = None) -> vtkUnstructuredGrid:
    """Return the samples as points, in the order of their ids, without cells.

    Points are the first three coordinates. ``Loss`` shows non-finite losses, marked in
    ``IsFinite``, at the largest finite loss. Of a training, ``step`` goes into field data.
    """
    coordinates = landscape.coordinates()
    points = np.zeros((len(coordinates), 3))
    points[:, : min(3, coordinates.shape[1])] = coordinates[:, :3]
    grid = vtkUnstructuredGrid()
    grid.SetPoints(make_points(points))
    add_array(grid.GetPointData(), names.COORDINATES, coordinates)
    _add_samples(grid, landscape, np.arange(len(coordinates), dtype=np.int64), step)
    return grid


def step_of(dataset: vtkDataSet) -> float | None:
    """Return the step of a training; None where there is none."""
    array = dataset.GetFieldData().GetArray(names.STEP)
    return None if array is None else float(array.GetValue(0))


def with_vertices(grid: vtkUnstructuredGrid) -> vtkUnstructuredGrid:
    """Return the same grid with a cell at each point, without which VTK's files lose the points."""
    count = grid.GetNumberOfPoints()
    points = vtkUnstructuredGrid()
    points.ShallowCopy(grid)
    points.SetCells(VTK_VERTEX, make_cells(np.arange(count), np.arange(count + 1)))
    return points


def landscape_to_image(landscape: Landscape, *, step: float | None = None) -> vtkImageData:
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
    _add_samples(image, landscape, ids.T.ravel(), step)
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


def _add_samples(
    dataset: vtkDataSet, landscape: Landscape, ids: npt.NDArray[np.int64], step: float | None
) -> None:
    loss = landscape.loss.ravel()[ids]
    data = dataset.GetPointData()
    add_array(data, names.LOSS, shown_levels(loss))
    add_array(data, names.SAMPLE_ID, ids)
    add_array(data, names.IS_FINITE, np.isfinite(loss).astype(np.uint8))
    data.SetActiveScalars(names.LOSS)
    fields = dataset.GetFieldData()
    if landscape.points is None:
        add_array(fields, names.SHAPE, np.array(landscape.shape, dtype=np.int64))
    add_array(fields, names.DISTANCE, landscape.distance)
    eigenvalues = landscape.facts.get("eigenvalues") or []
    add_array(fields, names.EIGENVALUES, np.array(eigenvalues, dtype=np.float64))
    if step is not None:
        add_array(fields, names.STEP, np.array([step]))
    add_text(fields, names.PROVENANCE, json.dumps(dict(landscape.facts), ensure_ascii=False))
