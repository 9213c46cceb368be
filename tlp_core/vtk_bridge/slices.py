"""Cells between the samples in a plane or space along some directions of a grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import (
    VTK_PIXEL,
    VTK_VOXEL,
    vtkDataSet,
    vtkPolyData,
    vtkUnstructuredGrid,
)

from tlp_core import array_names as names
from tlp_core import checks
from tlp_core.array_names import REGULAR, CriticalType
from tlp_core.landscape.landscape import axis_points
from tlp_core.vtk_bridge.arrays import add_array, make_cells, make_points
from tlp_core.vtk_bridge.samples import landscape_shape


def grid_slice(
    dataset: vtkDataSet, directions: Sequence[int], position: Sequence[float]
) -> vtkUnstructuredGrid:
    """Return the samples of a grid that lie in a plane or space along some of its directions.

    Args:
        dataset: the samples of a grid of n directions, as :func:`landscape_to_grid` makes them,
            perhaps with more point arrays.
        directions: two or three different ones of 1 to n, those along x, y and z.
        position: coordinates α along the other directions, in their order, each moved to the
            nearest sample; 0 for those that are missing.

    Returns:
        Pixels or voxels between the samples, at their coordinates, with all point arrays.

    Raises:
        ValueError: if the samples are no grid, or directions or position lie outside of it.
    """
    shape = landscape_shape(dataset)
    if shape is None:
        raise ValueError("a slice needs samples on a grid, and field data 'Shape' is not there")
    if int(np.prod(shape)) != dataset.GetNumberOfPoints():
        raise ValueError(
            f"a slice needs all {int(np.prod(shape))} samples of the grid, got "
            f"{dataset.GetNumberOfPoints()}; put it before what leaves some out"
        )
    if len(shape) < 2:
        raise ValueError("a slice needs a landscape of two or more directions, got one")
    shown = _slice_directions(directions, len(shape))
    distance = vtk_to_numpy(dataset.GetFieldData().GetArray(names.DISTANCE))
    ids = np.arange(dataset.GetNumberOfPoints(), dtype=np.int64).reshape(shape)
    ids = ids[_slice_index(shape, distance, shown, position)]
    hidden_removed = [axis for axis in range(len(shape)) if axis in shown]
    ids = ids.transpose([hidden_removed.index(axis) for axis in shown])
    axes = [axis_points(shape[axis], distance[axis]) for axis in shown]
    points = np.zeros((ids.size, 3))
    points[:, : len(shown)] = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(
        ids.size, -1
    )
    grid = vtkUnstructuredGrid()
    grid.SetPoints(make_points(points))
    corners = _cell_corners(ids.shape)
    kind = VTK_VOXEL if len(shown) == 3 else VTK_PIXEL
    offsets = np.arange(len(corners) + 1) * corners.shape[1]
    grid.SetCells(kind, make_cells(corners.ravel(), offsets))
    for i in range(dataset.GetPointData().GetNumberOfArrays()):
        array = dataset.GetPointData().GetArray(i)
        add_array(grid.GetPointData(), array.GetName(), vtk_to_numpy(array)[ids.ravel()])
    grid.GetPointData().SetActiveScalars(names.LOSS)
    for name in (names.PROVENANCE, names.STEP):
        field = dataset.GetFieldData().GetAbstractArray(name)
        if field is not None:
            grid.GetFieldData().AddArray(field)
    return grid


def critical_points_in(part: vtkUnstructuredGrid) -> vtkPolyData:
    """Return as vertices the samples of a slice that are minima and saddles, without the root."""
    points = vtkPolyData()
    kinds = part.GetPointData().GetArray(names.CRITICAL_TYPE)
    if kinds is None:
        return points
    types = vtk_to_numpy(kinds)
    chosen = np.flatnonzero((types != REGULAR) & (types != CriticalType.ROOT))
    points.SetPoints(make_points(vtk_to_numpy(part.GetPoints().GetData())[chosen]))
    points.SetVerts(make_cells(np.arange(len(chosen)), np.arange(len(chosen) + 1)))
    for i in range(part.GetPointData().GetNumberOfArrays()):
        array = part.GetPointData().GetArray(i)
        add_array(points.GetPointData(), array.GetName(), vtk_to_numpy(array)[chosen])
    return points


def _slice_directions(directions: Sequence[int], n: int) -> list[int]:
    """Return axes from numbers of directions, 1 to n."""
    if len(directions) not in (2, 3) or len(set(directions)) < len(directions):
        raise ValueError(f"a slice needs two or three different directions, got {directions}")
    if not all(1 <= direction <= n for direction in directions):
        raise ValueError(f"directions of a slice must be from 1 to {n}, got {list(directions)}")
    return [direction - 1 for direction in directions]


def _slice_index(
    shape: tuple[int, ...],
    distance: npt.NDArray[np.float64],
    shown: Sequence[int],
    position: Sequence[float],
) -> tuple[slice | int, ...]:
    index: list[slice | int] = [slice(None)] * len(shape)
    hidden = [axis for axis in range(len(shape)) if axis not in shown]
    if len(position) > len(hidden):
        raise ValueError(
            f"the position of a slice needs at most {len(hidden)} coordinates, one for each other "
            f"direction, got {len(position)}"
        )
    for place, axis in enumerate(hidden):
        alpha = checks.real(position[place], name="position") if place < len(position) else 0.0
        if abs(alpha) > distance[axis]:
            raise ValueError(
                f"the position along direction {axis + 1} must be from {-distance[axis]:g} to "
                f"{distance[axis]:g}, got {alpha:g}"
            )
        index[axis] = int(np.abs(axis_points(shape[axis], distance[axis]) - alpha).argmin())
    return tuple(index)


def _cell_corners(shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return the corners of the cells of a grid in VTK's order, first axis fastest, (C, 2^d)."""
    ids = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    steps = [(slice(None, -1), slice(1, None))[bit] for bit in (0, 1)]
    corners = [
        ids[tuple(steps[number >> axis & 1] for axis in range(len(shape)))]
        for number in range(2 ** len(shape))
    ]
    return np.asarray(np.stack(corners, axis=-1).reshape(-1, 2 ** len(shape)))
