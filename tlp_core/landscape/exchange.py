"""Landscapes of other programs, read and written.

Read: the surface files of Li et al. (2018) and Landscaper's ``.npz``. Write: ``.npz`` and ``.csv``.
VTK's files are those of :mod:`tlp_core.vtk_bridge.files`. No code in a file is run. HDF5 is read by
h5py, which must not be imported in ParaView's process, because it breaks ParaView's own HDF5.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core.atomic_files import write_npz
from tlp_core.choices import SurfaceQuantity
from tlp_core.landscape.landscape import Landscape, axis_points
from tlp_core.untrusted_files import read_npz, require_room

_NOT_COMPUTED = -1.0
"""Value in the surface files of Li et al. where nothing was computed."""

Axis = npt.NDArray[np.float64]


def read_surface(file: Path, quantity: SurfaceQuantity = "train_loss") -> Landscape:
    """Read a surface of Li et al. (2018).

    Args:
        file: an ``.h5`` file.
        quantity: name of the dataset. In its flat order x varies fastest, whatever its shape.

    Raises:
        ValueError: if the file is no such surface.
        ModuleNotFoundError: if h5py is not installed.
    """
    import h5py

    try:
        with h5py.File(file, "r") as content:
            x = _real(_dataset(content, "xcoordinates", file), file)
            has_y = "ycoordinates" in content
            y = _real(_dataset(content, "ycoordinates", file), file) if has_y else None
            axes = [x] if y is None else [x, y]
            dataset = _dataset(content, quantity, file)
            _check_count(file, dataset.size, axes)
            values = _real(dataset, file)
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"{file} must be a surface file with 'xcoordinates' and {quantity!r}: {error}"
        ) from error
    losses = values.ravel() if y is None else values.reshape(len(y), len(x)).T
    return landscape_from_axes(
        losses, axes, losses != _NOT_COMPUTED, file, "surface of Li et al. 2018"
    )


def read_landscaper(file: Path, *, keep_axis_fault: bool = False) -> Landscape:
    """Read a landscape of Landscaper.

    Args:
        file: an ``.npz`` file with ``loss`` (r, …, r) and ``coordinates`` (n, r).
        keep_axis_fault: Landscaper 1.3.1 swaps the first two axes of its coordinates. By default
            losses are read along the directions that they were computed on; if this is set, the
            swap is kept.

    Raises:
        ValueError: if the file is no such landscape.
    """
    content = read_npz(file, ["loss", "coordinates"])
    if not {"loss", "coordinates"} <= content.keys():
        raise ValueError(
            f"{file} must be an .npz with 'loss' and 'coordinates', as Landscaper writes, got "
            f"{', '.join(content) or 'no arrays'}"
        )
    losses = _real(content["loss"], file)
    axes = list(np.atleast_2d(_real(content["coordinates"], file)))
    if losses.ndim != len(axes) or not losses.ndim:
        raise ValueError(f"{file} must have an axis for each of {losses.ndim}, got {len(axes)}")
    _check_count(file, losses.size, axes)
    if keep_axis_fault and losses.ndim > 1:
        losses = losses.swapaxes(0, 1)
    return landscape_from_axes(
        losses, axes, np.ones(losses.shape, dtype=np.bool_), file, "Landscaper"
    )


def _dataset(content: Any, name: str, file: Path) -> Any:
    """Return a dataset of an HDF5 file.

    Raises:
        KeyError: if there is none.
        ValueError: if its values lie in another file.
    """
    import h5py

    dataset = content[name]
    link = content.get(name, getlink=True)
    is_set = isinstance(dataset, h5py.Dataset)
    is_foreign = isinstance(link, h5py.ExternalLink) or dataset.file.filename != str(file)
    if is_foreign or (is_set and (dataset.external or dataset.is_virtual)):
        raise ValueError(f"{file} must hold its own values, and {name!r} lies in another file")
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{file} must hold a dataset {name!r}, and it is a group")
    if not dataset.shape or dataset.dtype.kind not in "fiub":
        raise ValueError(f"{file} must hold real numbers in {name!r}, got {dataset.dtype}")
    require_room(file, dataset.shape, f"a dataset {name!r}", value_bytes=dataset.dtype.itemsize)
    return dataset


def _real(values: Any, file: Path) -> npt.NDArray[np.float64]:
    """Return values of a file as float64.

    Raises:
        ValueError: for values that are not real numbers.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{file} must hold real numbers, got {array.dtype}")
    return array.astype(np.float64)


def _check_count(file: Path, count: int, axes: Sequence[Axis]) -> None:
    expected = int(np.prod([len(axis) for axis in axes]))
    if count != expected:
        raise ValueError(f"{file} must hold {expected} losses for its coordinates, got {count}")


def landscape_from_axes(
    losses: npt.NDArray[np.float64],
    axes: Sequence[Axis],
    evaluated: npt.NDArray[np.bool_],
    file: Path,
    origin: str,
) -> Landscape:
    """Return imported losses as a landscape: a grid if the axes are even and centred, else points.

    Args:
        losses: (r_1, …, r_n) float64, C order.
        axes: coordinates along each direction, n arrays (r_i,).
        evaluated: of the shape of ``losses``, where there is a loss.
        file: where they come from.
        origin: what kind of file it is.
    """
    for number, axis in enumerate(axes, start=1):
        if not np.isfinite(axis).all() or len(np.unique(axis)) < max(2, len(axis)):
            raise ValueError(
                f"{file} must have two or more distinct finite coordinates along each direction, "
                f"got {len(axis)} that are not along direction {number}"
            )
    provenance: Mapping[str, Any] = {"problem": file.stem, "imported_from": origin}
    losses = np.where(evaluated, losses, np.nan)
    distance = np.array([np.abs(axis).max() for axis in axes])
    centred = (
        np.allclose(axis, axis_points(len(axis), d), rtol=0, atol=1e-6 * d)
        for axis, d in zip(axes, distance)
    )
    if all(centred):
        return Landscape(losses, distance, evaluated, provenance)
    points = np.stack([grid.ravel() for grid in np.meshgrid(*axes, indexing="ij")], axis=1)
    return Landscape(losses.ravel(), distance, evaluated.ravel(), provenance, points)


def write_arrays(landscape: Landscape, file: Path) -> None:
    """Write an ``.npz`` file: ``loss``, ``evaluated``, ``facts`` (JSON), the axes or the points."""
    if landscape.points is None:
        axes = {f"axis{i}": landscape.axis(i) for i in range(landscape.number_of_directions)}
    else:
        axes = {"points": landscape.points}
    facts = np.array(json.dumps(dict(landscape.provenance)))
    losses = {"loss": landscape.loss, "evaluated": landscape.evaluated, "facts": facts}
    write_npz(file, {**losses, **axes})


def write_table(landscape: Landscape, file: Path) -> None:
    """Write a ``.csv`` file: one row for each sample, with its id, coordinates and loss."""
    names = [f"alpha{i}" for i in range(landscape.number_of_directions)]
    rows = zip(landscape.coordinates().tolist(), landscape.loss.ravel().tolist())
    with open(file, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["sample", *names, "loss"])
        writer.writerows([i, *alpha, loss] for i, (alpha, loss) in enumerate(rows))
