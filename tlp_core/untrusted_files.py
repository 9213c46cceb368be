"""Checks of files that may come from anywhere, before memory is taken for what they claim to hold.

A header of a few bytes can claim 10^15 values. Nothing is allocated for it: a file that claims more
than fits into this machine's memory, or more than it contains, is refused with one sentence.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

GIBIBYTE = 2**30

_BYTES_PER_VALUE = 8

_READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def physical_memory() -> int:
    """Return the memory of this machine in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def require_room(path: str | os.PathLike[str], shape: Sequence[int], what: str) -> None:
    """Check that the values of a file fit into memory.

    Args:
        path: the file, for the message.
        shape: shape of the values that the file claims to hold.
        what: what the values are.

    Raises:
        ValueError: if they do not fit.
    """
    needed = _BYTES_PER_VALUE * math.prod(shape)
    if min(shape, default=1) < 0 or needed > physical_memory():
        raise ValueError(
            f"{path} must hold {what} that fit into memory, and claims the shape "
            f"{'x'.join(map(str, shape))}, which needs {needed / GIBIBYTE:,.0f} GiB"
        )


def read_npz(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[Any]]:
    """Return all arrays of an ``.npz`` file; objects, which are code, are refused.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an ``.npz`` file, is damaged, or its arrays do not fit into memory.
    """
    try:
        with ZipFile(path) as archive:
            for entry in archive.infolist():
                _check_header(archive, entry.filename, entry.file_size, path)
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except (BadZipFile, EOFError, KeyError, zlib.error, NotImplementedError) as error:
        raise ValueError(f"{path} must be an .npz file, and is damaged or none: {error}") from error


def _check_header(archive: ZipFile, name: str, size: int, path: str | os.PathLike[str]) -> None:
    with archive.open(name) as stream:
        version = npy.read_magic(stream)  # type: ignore[no-untyped-call]
        if version not in _READ_HEADER:
            raise ValueError(f"{path} must have arrays of NumPy's format 1 or 2, got {version}")
        shape, _, dtype = _READ_HEADER[version](stream)  # type: ignore[no-untyped-call]
        start = stream.tell()
    if dtype.hasobject:
        raise ValueError(f"{path} must hold numbers and texts, and {name!r} holds objects")
    require_room(path, shape, f"an array {name!r}")
    if start + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{path} must hold all of its array {name!r}, and does not")


def require_no_links(folder: Path) -> None:
    """Check that nothing in a folder is a link, through which another file would be read.

    Raises:
        ValueError: if something is.
    """
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(place, name)):
                raise ValueError(
                    f"{folder} must hold its own files, and {os.path.join(place, name)} is a link"
                )
