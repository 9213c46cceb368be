"""Slices of a grid along two or three of its directions."""

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
from tlp_core.vtk_bridge.arrays import add_array, make_cells, make_points, make_vertices
from tlp_core.vtk_bridge.samples import (
    check_whole_grid,
    landscape_shape,
    network_sample,
    sample_coordinates,
)


def grid_slice(
    dataset: vtkDataSet, directions: Sequence[int], position: Sequence[float]
) -> vtkUnstructuredGrid:
    """Return a slice of a grid: the samples along two or three of its directions.

    Args:
        dataset: the samples of a grid of n directions, from :func:`landscape_to_grid`, with any
            further point arrays.
        directions: two or three different directions, 1 to n, that become x, y and z.
        position: coordinates α of the slice along the other directions, in the order of the
            directions, each within the distance of its axis. Each is rounded to the nearest
            sample. A missing one is 0.

    Returns:
        Pixels or voxels between the samples, at their coordinates, with all point arrays.

    Raises:
        ValueError: if the samples are not a complete grid of two or more directions, or directions
            or position are outside the grid.
        TypeError: if a coordinate of the position is not a number.
    """
    shape = landscape_shape(dataset)
    if shape is None:
        raise ValueError(
            "a slice needs samples on a grid, got samples without field data 'Shape'; "
            "use a landscape that was sampled on a grid"
        )
    check_whole_grid(dataset, shape, "a slice")
    if len(shape) < 2:
        raise ValueError("a slice needs a landscape of two or more directions, got one")
    slice_axes = _slice_axes(directions, len(shape))
    distance = vtk_to_numpy(dataset.GetFieldData().GetArray(names.DISTANCE))
    ids = np.arange(dataset.GetNumberOfPoints(), dtype=np.int64).reshape(shape)
    every_axis = _axes(dataset, shape)
    ids = ids[_slice_index(every_axis, distance, slice_axes, position)]
    remaining = [axis for axis in range(len(shape)) if axis in slice_axes]
    ids = ids.transpose([remaining.index(axis) for axis in slice_axes])
    axes = [every_axis[axis] for axis in slice_axes]
    points = np.zeros((ids.size, 3))
    points[:, : len(slice_axes)] = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(
        ids.size, -1
    )
    grid = vtkUnstructuredGrid()
    grid.SetPoints(make_points(points))
    corners = _cell_corners(ids.shape)
    cell_type = VTK_VOXEL if len(slice_axes) == 3 else VTK_PIXEL
    offsets = np.arange(len(corners) + 1) * corners.shape[1]
    grid.SetCells(cell_type, make_cells(corners.ravel(), offsets))
    for i in range(dataset.GetPointData().GetNumberOfArrays()):
        array = dataset.GetPointData().GetArray(i)
        add_array(grid.GetPointData(), array.GetName(), vtk_to_numpy(array)[ids.ravel()])
    grid.GetPointData().SetActiveScalars(names.LOSS)
    for name in (names.PROVENANCE, names.STEP):
        field = dataset.GetFieldData().GetAbstractArray(name)
        if field is not None:
            grid.GetFieldData().AddArray(field)
    return grid


def network_in(samples: vtkDataSet) -> vtkPolyData:
    """Return the sample that is the given network, at α = 0, as a vertex.

    Args:
        samples: samples of a landscape, or a slice of them.

    Returns:
        The vertex with all point arrays; empty if the samples do not contain the network.
    """
    chosen = network_sample(sample_coordinates(samples))
    return _vertices(samples, chosen, np.array([samples.GetPoint(int(i)) for i in chosen]))


def critical_points_in(part: vtkUnstructuredGrid) -> vtkPolyData:
    """Return the minima and saddles of a slice as vertices, without the root.

    Args:
        part: a slice, from :func:`grid_slice`.

    Returns:
        One vertex per critical sample, with all point arrays; empty if the slice has no point array
        ``CriticalType``.
    """
    type_array = part.GetPointData().GetArray(names.CRITICAL_TYPE)
    if type_array is None:
        return vtkPolyData()
    types = vtk_to_numpy(type_array)
    critical = np.flatnonzero((types != REGULAR) & (types != CriticalType.ROOT))
    return _vertices(part, critical, vtk_to_numpy(part.GetPoints().GetData())[critical])


def _vertices(
    dataset: vtkDataSet, chosen: npt.NDArray[np.int64], points: npt.NDArray[np.float64]
) -> vtkPolyData:
    """Return some samples as vertices at their points, (C, 3), with all point arrays."""
    vertices = make_vertices(points.reshape(-1, 3))
    for i in range(dataset.GetPointData().GetNumberOfArrays()):
        array = dataset.GetPointData().GetArray(i)
        add_array(vertices.GetPointData(), array.GetName(), vtk_to_numpy(array)[chosen])
    return vertices


def _slice_axes(directions: Sequence[int], n: int) -> list[int]:
    """Return the axes, counted from 0, of directions, counted from 1."""
    if len(directions) not in (2, 3) or len(set(directions)) < len(directions):
        raise ValueError(f"a slice needs two or three different directions, got {directions}")
    if not all(1 <= direction <= n for direction in directions):
        raise ValueError(f"directions of a slice must be from 1 to {n}, got {list(directions)}")
    return [direction - 1 for direction in directions]


def _axes(dataset: vtkDataSet, shape: tuple[int, ...]) -> list[npt.NDArray[np.float64]]:
    """Return the coordinates α of the samples along each direction."""
    coordinates = sample_coordinates(dataset)
    strides = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    return [
        coordinates[: size * stride : stride, axis]
        for axis, (size, stride) in enumerate(zip(shape, strides))
    ]


def _slice_index(
    axes: Sequence[npt.NDArray[np.float64]],
    distance: npt.NDArray[np.float64],
    slice_axes: Sequence[int],
    position: Sequence[float],
) -> tuple[slice | int, ...]:
    index: list[slice | int] = [slice(None)] * len(axes)
    fixed_axes = [axis for axis in range(len(axes)) if axis not in slice_axes]
    if len(position) > len(fixed_axes):
        raise ValueError(
            f"the position of a slice must have at most {len(fixed_axes)} coordinates, one for "
            f"each other direction, got {len(position)}"
        )
    for i, axis in enumerate(fixed_axes):
        alpha = checks.real(position[i], name="position") if i < len(position) else 0.0
        if abs(alpha) > distance[axis]:
            raise ValueError(
                f"the position along direction {axis + 1} must be from {-distance[axis]:g} to "
                f"{distance[axis]:g}, got {alpha:g}"
            )
        index[axis] = int(np.abs(axes[axis] - alpha).argmin())
    return tuple(index)


def _cell_corners(shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Return the corners of the cells of a grid, in VTK's order, first axis fastest, (C, 2^d)."""
    ids = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    steps = [(slice(None, -1), slice(1, None))[bit] for bit in (0, 1)]
    corners = [
        ids[tuple(steps[number >> axis & 1] for axis in range(len(shape)))]
        for number in range(2 ** len(shape))
    ]
    return np.asarray(np.stack(corners, axis=-1).reshape(-1, 2 ** len(shape)))
