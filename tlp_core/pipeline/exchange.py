"""Import and export of landscapes, by the ending of the file's name.

VTK is imported for its own files only, so that the others work without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tlp_core import checks
from tlp_core.atomic_files import atomic_write
from tlp_core.choices import SURFACE_QUANTITIES, SurfaceQuantity
from tlp_core.landscape.exchange import (
    read_landscaper,
    read_surface,
    write_arrays,
    write_table,
)
from tlp_core.landscape.landscape import Landscape


def import_landscape(
    path: str | os.PathLike[str],
    *,
    quantity: SurfaceQuantity = "train_loss",
    array: str = "Loss",
    keep_axis_fault: bool = False,
) -> Landscape:
    """Read a landscape of another program.

    Args:
        path: ``.h5`` (Li et al.), ``.npz`` (Landscaper) or ``.vti`` (VTK image data).
        quantity: name of the dataset in an ``.h5`` file.
        array: name of the point array in a ``.vti`` file.
        keep_axis_fault: Landscaper 1.3.1 swaps the first two axes of its coordinates. By default
            losses are read along the directions that they were computed on; if this is set, the
            swap is kept.

    Returns:
        A grid if the coordinates are evenly spaced and centred; scattered samples otherwise.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for another ending, or a file that does not hold what its ending says.
        ModuleNotFoundError: if h5py or VTK is needed and not installed.
    """
    checks.choice(quantity, SURFACE_QUANTITIES, name="quantity")
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"a landscape to import must be a file, found none at {path}")
    readers: dict[str, Callable[[], Landscape]] = {
        ".h5": lambda: read_surface(file, quantity),
        ".npz": lambda: read_landscaper(file, keep_axis_fault=keep_axis_fault),
        ".vti": lambda: _read_image(file, array),
    }
    checks.choice(file.suffix, readers, name="the ending of a landscape to import")
    return readers[file.suffix]()


def export_landscape(landscape: Landscape, path: str | os.PathLike[str]) -> None:
    """Write a landscape for other programs, atomically.

    Args:
        landscape: the landscape.
        path: ``.vtu``, ``.vti`` (grids of up to three directions), ``.npz`` or ``.csv``.

    Raises:
        ValueError: for another ending, or image data of scattered samples or more directions.
        OSError: if the file cannot be written.
        ModuleNotFoundError: if VTK is needed and not installed.
    """
    file = Path(path)
    writers: dict[str, Callable[[Landscape, Path], None]] = {
        ".vtu": _write_grid,
        ".vti": _write_image,
        ".npz": write_arrays,
        ".csv": write_table,
    }
    checks.choice(file.suffix, writers, name="the ending of an export")
    with atomic_write(file) as temporary:
        writers[file.suffix](landscape, temporary)


def _read_image(file: Path, array: str) -> Landscape:
    from tlp_core.vtk_bridge.files import read_image

    return read_image(file, array)


def _write_grid(landscape: Landscape, file: Path) -> None:
    from tlp_core.vtk_bridge.files import write_grid

    write_grid(landscape, file)


def _write_image(landscape: Landscape, file: Path) -> None:
    from tlp_core.vtk_bridge.files import write_image

    write_image(landscape, file)
