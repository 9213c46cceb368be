"""Landscapes of other programs, in and out.

In: the surface files of Li et al. (2018), Landscaper's ``.npz``, VTK image data. Out: VTK's
``.vtu`` and ``.vti``, ``.npz`` and ``.csv``. Nothing that a file may hold is run. HDF5 is read by
h5py, which must not be imported in ParaView's process, whose own HDF5 it breaks.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core import checks
from tlp_core.atomic_files import draft_of
from tlp_core.landscape.landscape import Landscape, axis_points

SURFACE_QUANTITIES = ("train_loss", "test_loss", "train_acc", "test_acc")

_NOT_COMPUTED = -1.0
"""What the surface files of Li et al. hold where nothing was computed."""

Axis = npt.NDArray[np.float64]


def read_foreign(
    path: str | os.PathLike[str],
    *,
    quantity: str = "train_loss",
    array: str = "Loss",
    keep_axis_fault: bool = False,
) -> Landscape:
    """Read a landscape of another program, told apart by the ending of its name.

    Args:
        path: ``.h5`` (Li et al.), ``.npz`` (Landscaper) or ``.vti`` (VTK image data).
        quantity: which dataset of an ``.h5`` file.
        array: which point array of a ``.vti`` file.
        keep_axis_fault: Landscaper 1.3.1 names the first two axes of its coordinates the wrong way
            round; its losses are read along the directions that they were computed on, unless this
            is set.

    Returns:
        A grid, where the coordinates are evenly spaced and centred; scattered samples elsewhere.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not what its ending says.
    """
    checks.choice(quantity, SURFACE_QUANTITIES, name="quantity")
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"a landscape to import must be a file, found none at {path}")
    readers: dict[str, Callable[[], Landscape]] = {
        ".h5": lambda: _read_surface(file, quantity),
        ".npz": lambda: _read_landscaper(file, keep_axis_fault),
        ".vti": lambda: _read_image(file, array),
    }
    checks.choice(file.suffix, readers, name="the ending of a landscape to import")
    return readers[file.suffix]()


def write_foreign(landscape: Landscape, path: str | os.PathLike[str]) -> None:
    """Write a landscape for other programs, under a temporary name first.

    Args:
        landscape: what to write.
        path: ``.vtu``, ``.vti`` (grids of up to three directions), ``.npz`` or ``.csv``.

    Raises:
        ValueError: for another ending, or image data of scattered samples or more directions.
    """
    file = Path(path)
    writers: dict[str, Callable[[Landscape, Path], None]] = {
        ".vtu": _write_grid,
        ".vti": _write_image,
        ".npz": _write_arrays,
        ".csv": _write_table,
    }
    checks.choice(file.suffix, writers, name="the ending of an export")
    with draft_of(file) as draft:
        writers[file.suffix](landscape, draft)


def _read_surface(file: Path, quantity: str) -> Landscape:
    """Read a surface of Li et al.; whatever its array's shape, a flat index counts x fastest."""
    import h5py

    try:
        with h5py.File(file, "r") as content:
            x = np.array(content["xcoordinates"], dtype=np.float64)
            y = np.array(content["ycoordinates"], np.float64) if "ycoordinates" in content else None
            values = np.array(content[quantity], dtype=np.float64)
    except (OSError, KeyError) as error:
        raise ValueError(
            f"{file} must be a surface file with 'xcoordinates' and {quantity!r}: {error}"
        ) from error
    axes = [x] if y is None else [x, y]
    _check_count(file, values.size, axes)
    losses = values.ravel() if y is None else values.reshape(len(y), len(x)).T
    return _landscape(losses, axes, losses != _NOT_COMPUTED, file, "surface of Li et al. 2018")


def _read_landscaper(file: Path, keep_axis_fault: bool) -> Landscape:
    try:
        with np.load(file, allow_pickle=False) as content:
            losses = np.array(content["loss"], dtype=np.float64)
            axes = list(np.array(content["coordinates"], dtype=np.float64))
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"{file} must be an .npz with 'loss' and 'coordinates', as Landscaper writes: {error}"
        ) from error
    if losses.ndim != len(axes):
        raise ValueError(f"{file} must have an axis for each of {losses.ndim}, got {len(axes)}")
    _check_count(file, losses.size, axes)
    if keep_axis_fault and losses.ndim > 1:
        losses = losses.swapaxes(0, 1)
    return _landscape(losses, axes, np.ones(losses.shape, dtype=np.bool_), file, "Landscaper")


def _read_image(file: Path, array: str) -> Landscape:
    from vtkmodules.vtkIOXML import vtkXMLImageDataReader

    from tlp_core import vtk_bridge

    reader = vtkXMLImageDataReader()
    reader.SetFileName(str(file))
    reader.Update()
    image = reader.GetOutput()
    sizes = [size for size in image.GetDimensions() if size > 1]
    if not sizes:
        raise ValueError(f"{file} must hold image data, and holds none")
    losses = vtk_bridge.point_values(image, array).reshape(sizes[::-1]).T
    placed = zip(image.GetDimensions(), image.GetOrigin(), image.GetSpacing())
    axes = [origin + spacing * np.arange(size) for size, origin, spacing in placed if size > 1]
    return _landscape(losses, axes, np.ones(losses.shape, dtype=np.bool_), file, "image data")


def _check_count(file: Path, count: int, axes: Sequence[Axis]) -> None:
    expected = int(np.prod([len(axis) for axis in axes]))
    if count != expected:
        raise ValueError(f"{file} must hold {expected} losses for its coordinates, got {count}")


def _landscape(
    losses: npt.NDArray[np.float64],
    axes: Sequence[Axis],
    evaluated: npt.NDArray[np.bool_],
    file: Path,
    origin: str,
) -> Landscape:
    facts: Mapping[str, Any] = {"problem": file.stem, "imported_from": origin}
    losses = np.where(evaluated, losses, np.nan)
    distance = np.array([np.abs(axis).max() for axis in axes])
    centred = (
        np.allclose(axis, axis_points(len(axis), d), rtol=0, atol=1e-6 * d)
        for axis, d in zip(axes, distance)
    )
    if all(centred):
        return Landscape(losses, distance, evaluated, facts)
    points = np.stack([grid.ravel() for grid in np.meshgrid(*axes, indexing="ij")], axis=1)
    return Landscape(losses.ravel(), distance, evaluated.ravel(), facts, points)


def _write_grid(landscape: Landscape, file: Path) -> None:
    from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridWriter

    from tlp_core import vtk_bridge

    grid = vtk_bridge.with_vertices(vtk_bridge.landscape_to_grid(landscape))
    _write_vtk(vtkXMLUnstructuredGridWriter(), grid, file)


def _write_image(landscape: Landscape, file: Path) -> None:
    from vtkmodules.vtkIOXML import vtkXMLImageDataWriter

    from tlp_core import vtk_bridge

    image = vtk_bridge.landscape_to_image(landscape)
    if not image.GetNumberOfPoints():
        raise ValueError(
            "image data must be of a grid in at most three directions; export a .vtu instead"
        )
    _write_vtk(vtkXMLImageDataWriter(), image, file)


def _write_vtk(writer: Any, data: Any, file: Path) -> None:
    writer.SetFileName(str(file))
    writer.SetInputData(data)
    writer.SetDataModeToBinary()  # appended strings of field data come out as broken XML
    if not writer.Write():
        raise OSError(f"VTK could not write {file}")


def _write_arrays(landscape: Landscape, file: Path) -> None:
    if landscape.points is None:
        axes = {f"axis{i}": landscape.axis(i) for i in range(landscape.number_of_directions)}
    else:
        axes = {"points": landscape.points}
    facts = np.array(json.dumps(dict(landscape.facts)))
    with open(file, "wb") as stream:
        np.savez(stream, loss=landscape.loss, evaluated=landscape.evaluated, facts=facts, **axes)


def _write_table(landscape: Landscape, file: Path) -> None:
    names = [f"alpha{i}" for i in range(landscape.number_of_directions)]
    rows = zip(landscape.coordinates().tolist(), landscape.loss.ravel().tolist())
    with open(file, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["sample", *names, "loss"])
        writer.writerows([i, *alpha, loss] for i, (alpha, loss) in enumerate(rows))
