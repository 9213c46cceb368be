"""Conversion of landscapes to VTK datasets, and access to their field data."""

from __future__ import annotations

import json
import math
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
from tlp_core.landscape.store import BATCH_SIZES
from tlp_core.topology.merge_tree import shown_levels
from tlp_core.vtk_bridge.arrays import add_array, add_text, make_cells, make_points

IMAGE_DIMENSIONS = 3
"""Largest number of directions of a landscape that can be converted to image data."""


def landscape_to_grid(landscape: Landscape, *, step: float | None = None) -> vtkUnstructuredGrid:
    """Return the samples of a landscape as points, with one vertex cell each.

    Filters of ParaView that work on cells, such as Threshold and Point Data to Cell Data, and VTK's
    file writers drop points that no cell uses.

    Args:
        landscape: the landscape, of n directions.
        step: training step, stored in the field data ``Step``. Default: None, not stored.

    Returns:
        N points in the order of the sample ids. A point is the first three coordinates α, and 0 for
        missing ones. In the point data, ``Loss`` of a non-finite sample is the largest finite loss,
        and its ``IsFinite`` is 0; further losses have arrays of their own names.

    Raises:
        ValueError: if no loss is finite.
    """
    coordinates = landscape.coordinates()
    points = np.zeros((len(coordinates), 3))
    points[:, : min(3, coordinates.shape[1])] = coordinates[:, :3]
    grid = vtkUnstructuredGrid()
    grid.SetPoints(make_points(points))
    set_vertices(grid)
    add_array(grid.GetPointData(), names.COORDINATES, coordinates)
    _add_samples(grid, landscape, np.arange(len(coordinates), dtype=np.int64), step)
    return grid


def grid_to_landscape(dataset: vtkDataSet, name: str = names.LOSS) -> Landscape:
    """Return the landscape of samples, the inverse of :func:`landscape_to_grid`.

    Args:
        dataset: the samples; without the field data ``Shape`` they count as scattered.
        name: name of the point array of the losses. Default: ``Loss``.

    Raises:
        ValueError: if the array does not exist, or the samples of a grid are not complete.
    """
    loss, coordinates = point_values(dataset, name), sample_coordinates(dataset)
    shape = landscape_shape(dataset)
    if shape is not None:
        check_whole_grid(dataset, shape, "a landscape")
        loss = loss.reshape(shape)
    facts, batches = provenance(dataset), batch_losses(dataset)
    if name != names.LOSS or not len(batches):
        facts.pop(BATCH_SIZES, None)
        batches = np.empty(0)
    return Landscape(
        loss=loss,
        distance=np.abs(coordinates).max(axis=0),
        evaluated=np.isfinite(loss),
        provenance=facts,
        points=None if shape is not None else coordinates,
        batch_losses=batches.reshape(len(batches), *loss.shape) if len(batches) else batches,
    )


def batch_losses(dataset: vtkDataSet) -> npt.NDArray[np.float64]:
    """Return the losses on the single batches, (B, N) float64; B is 0 if there are none."""
    array = dataset.GetPointData().GetArray(names.BATCH_LOSSES)
    if array is None:
        return np.empty((0, dataset.GetNumberOfPoints()))
    values = np.array(vtk_to_numpy(array), dtype=np.float64)
    return np.ascontiguousarray(values.reshape(dataset.GetNumberOfPoints(), -1).T)


def step_of(dataset: vtkDataSet) -> float | None:
    """Return the training step in the field data ``Step``; None if it does not exist."""
    array = dataset.GetFieldData().GetArray(names.STEP)
    return None if array is None else float(array.GetValue(0))


def set_vertices(grid: vtkUnstructuredGrid) -> None:
    """Make the cells of a grid one vertex per point."""
    count = grid.GetNumberOfPoints()
    grid.SetCells(VTK_VERTEX, make_cells(np.arange(count), np.arange(count + 1)))


def has_only_vertices(dataset: vtkDataSet) -> bool:
    """Return whether a dataset has no cells but those of :func:`set_vertices`."""
    if not dataset.GetNumberOfCells():
        return True
    is_homogeneous = dataset.IsA("vtkUnstructuredGrid") and dataset.IsHomogeneous()
    return bool(is_homogeneous and dataset.GetCellType(0) == VTK_VERTEX)


def landscape_to_image(landscape: Landscape, *, step: float | None = None) -> vtkImageData:
    """Return the samples of a landscape as image data.

    VTK stores the first axis fastest, a landscape stores it slowest. The samples are therefore
    reordered, and the point data ``SampleId`` holds the sample id of each point.

    Args:
        landscape: the landscape, of n directions.
        step: training step, stored in the field data ``Step``. Default: None, not stored.

    Returns:
        The image, with the arrays of :func:`landscape_to_grid` except ``Coordinates``. It is empty
        if the samples are scattered, their spacing is geometric, or n > 3.

    Raises:
        ValueError: if no loss is finite.
    """
    image = vtkImageData()
    n = landscape.number_of_directions
    if n > IMAGE_DIMENSIONS or landscape.points is not None or landscape.nearest is not None:
        return image
    image.SetDimensions(*landscape.shape, *[1] * (3 - n))
    image.SetOrigin(*-landscape.distance, *[0.0] * (3 - n))
    spacing = 2 * landscape.distance / (np.array(landscape.shape) - 1)
    image.SetSpacing(*spacing, *[1.0] * (3 - n))
    ids = np.arange(landscape.loss.size, dtype=np.int64).reshape(landscape.shape)
    _add_samples(image, landscape, ids.T.ravel(), step)
    return image


def landscape_shape(dataset: vtkDataSet) -> tuple[int, ...] | None:
    """Return the number of points per axis (n,) in the field data ``Shape``.

    Returns None for samples that are not on a grid.
    """
    array = dataset.GetFieldData().GetArray(names.SHAPE)
    return None if array is None else tuple(int(size) for size in vtk_to_numpy(array))


def check_whole_grid(dataset: vtkDataSet, shape: tuple[int, ...], purpose: str) -> None:
    """Check that points are the samples of a grid, all of them and in the order of their ids.

    Filters such as Mask Points and Cell Centers keep the field data, but not the points.

    Args:
        dataset: the samples.
        shape: number of points per axis, (n,).
        purpose: what needs them, such as ``a slice``.

    Raises:
        ValueError: if points are missing, added or in another order.
    """
    count = math.prod(shape)
    ids = dataset.GetPointData().GetArray(names.SAMPLE_ID)
    is_whole = dataset.GetNumberOfPoints() == count
    if is_whole and ids is not None:
        is_whole = bool(np.array_equal(vtk_to_numpy(ids), np.arange(count)))
    if not is_whole:
        raise ValueError(
            f"{purpose} needs all {count} samples of the grid in their order, got "
            f"{dataset.GetNumberOfPoints()} points that are not; connect it before the filter that "
            "changes the points"
        )


def provenance(dataset: vtkDataSet) -> dict[str, Any]:
    """Return the metadata of a landscape in the field data ``Provenance``; empty if there is none.

    Raises:
        ValueError: if the field data is not JSON.
    """
    array = dataset.GetFieldData().GetAbstractArray(names.PROVENANCE)
    return {} if array is None else dict(json.loads(array.GetValue(0)))


def sample_coordinates(dataset: vtkDataSet) -> npt.NDArray[np.float64]:
    """Return the coordinates of the samples, float64.

    Args:
        dataset: the samples.

    Returns:
        (N, n), the point data ``Coordinates``, or (N, 3), the points, if this array does not exist.
    """
    array = dataset.GetPointData().GetArray(names.COORDINATES)
    points = vtk_to_numpy(array if array is not None else dataset.GetPoints().GetData())
    return np.asarray(points.reshape(dataset.GetNumberOfPoints(), -1), dtype=np.float64)


def network_sample(coordinates: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the id of the sample at α = 0, the given network.

    Args:
        coordinates: (N, n) coordinates α of the samples.

    Returns:
        One id, or none if there is no such sample.
    """
    return np.flatnonzero((coordinates == 0).all(axis=1))[:1]


def point_values(dataset: vtkDataSet, name: str) -> npt.NDArray[np.float64]:
    """Return a point array of one component.

    Args:
        dataset: the samples.
        name: name of the array.

    Returns:
        (N,) float64. Of the array ``Loss``, values with ``IsFinite`` 0 are NaN.

    Raises:
        ValueError: if the array does not exist, or it has several components.
    """
    data = dataset.GetPointData()
    array = data.GetArray(name) if name else None
    if array is None:
        existing = [data.GetArrayName(i) for i in range(data.GetNumberOfArrays())]
        raise ValueError(
            f"the input must have a point array {name!r}, got {', '.join(existing) or 'no arrays'}"
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


def _add_samples(
    dataset: vtkDataSet, landscape: Landscape, ids: npt.NDArray[np.int64], step: float | None
) -> None:
    loss = landscape.loss.ravel()[ids]
    data = dataset.GetPointData()
    add_array(data, names.LOSS, shown_levels(loss))
    for name, other in landscape.other_losses.items():
        add_array(data, name, shown_levels(other.ravel()[ids]))
    if len(landscape.batch_losses):
        each = landscape.batch_losses.reshape(len(landscape.batch_losses), -1)
        add_array(data, names.BATCH_LOSSES, np.ascontiguousarray(each[:, ids].T))
    volumes = landscape.volumes()
    if volumes is not None:
        add_array(data, names.SAMPLE_VOLUME, volumes[ids])
    add_array(data, names.SAMPLE_ID, ids)
    add_array(data, names.IS_FINITE, np.isfinite(loss).astype(np.uint8))
    data.SetActiveScalars(names.LOSS)
    fields = dataset.GetFieldData()
    if landscape.points is None:
        add_array(fields, names.SHAPE, np.array(landscape.shape, dtype=np.int64))
    add_array(fields, names.DISTANCE, landscape.distance)
    eigenvalues = landscape.provenance.get("eigenvalues") or []
    add_array(fields, names.EIGENVALUES, np.array(eigenvalues, dtype=np.float64))
    if step is not None:
        add_array(fields, names.STEP, np.array([step]))
    add_text(fields, names.PROVENANCE, json.dumps(dict(landscape.provenance), ensure_ascii=False))
