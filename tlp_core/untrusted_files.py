"""Checks of files that may come from anywhere, before memory is taken for what they claim to hold.

A header of a few bytes can claim 10^15 values. Nothing is allocated for it: a file that claims more
than fits into this machine's memory, or more than it contains, is refused with one sentence.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

_BYTES_PER_VALUE = 8

_COPIES = 2
"""Values are converted to float64 beside what was read."""

_MOST_DIMENSIONS = 32
"""Dimensions of an array in NumPy 1."""

_READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def physical_memory() -> int:
    """Return the memory of this machine in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def require_room(
    path: str | os.PathLike[str],
    shape: Sequence[int],
    what: str,
    *,
    value_bytes: int = _BYTES_PER_VALUE,
) -> None:
    """Check that the values of a file fit into memory.

    Args:
        path: the file, for the message.
        shape: shape of the values that the file claims to hold.
        what: what the values are.
        value_bytes: bytes of a value in the file. At least 8 are counted, because values are
            converted to float64. Default: 8.

    Raises:
        ValueError: if they do not fit, or a size is negative.
    """
    claimed = "x".join(map(str, shape))
    if min(shape, default=1) < 0:
        raise ValueError(f"{path} must hold {what}, and claims the shape {claimed}")
    needed = max(value_bytes, _BYTES_PER_VALUE) * math.prod(shape)
    if needed * _COPIES > physical_memory():
        raise ValueError(
            f"{path} must hold {what} that fits into memory, and claims the shape {claimed}, which "
            f"needs {needed / 2**30:,.0f} GiB"
        )


def read_npz(
    path: str | os.PathLike[str], names: Sequence[str] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Return arrays of an ``.npz`` file; objects, which are code, are refused.

    Args:
        path: the file.
        names: names of the arrays to read, as far as they are there. Default: all.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an ``.npz`` file, is damaged, or its arrays do not fit into memory.
    """
    try:
        with ZipFile(path) as archive:
            entries = {
                entry.filename.removesuffix(".npy"): entry
                for entry in archive.infolist()
                if names is None or entry.filename.removesuffix(".npy") in names
            }
            require_room(path, [sum(e.file_size for e in entries.values())], "data", value_bytes=1)
            for entry in entries.values():
                _check_header(archive, entry.filename, entry.file_size, path)
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in entries}
    except (FileNotFoundError, _RefusedError):
        raise
    except Exception as error:
        # the parsers of archives and headers raise many kinds of errors
        raise ValueError(
            f"{path} must be an .npz file, and is damaged or none ({type(error).__name__})"
        ) from error


class _RefusedError(ValueError):
    """A file that can be read and is refused."""


def _check_header(archive: ZipFile, name: str, size: int, path: str | os.PathLike[str]) -> None:
    with archive.open(name) as stream:
        version = npy.read_magic(stream)  # type: ignore[no-untyped-call]
        if version not in _READ_HEADER:
            raise ValueError(f"{path} must have arrays of NumPy's format 1 or 2, got {version}")
        shape, _, dtype = _READ_HEADER[version](stream)  # type: ignore[no-untyped-call]
        start = stream.tell()
    if dtype.hasobject:
        raise _RefusedError(f"{path} must hold numbers and texts, and {name!r} holds objects")
    if len(shape) > _MOST_DIMENSIONS:
        raise _RefusedError(f"{path} must hold arrays, and {name!r} claims {len(shape)} dimensions")
    try:
        require_room(path, shape, f"an array {name!r}", value_bytes=dtype.itemsize)
    except ValueError as error:
        raise _RefusedError(str(error)) from error
    if start + math.prod(shape) * dtype.itemsize != size:
        raise _RefusedError(f"{path} must hold all of its array {name!r}, and does not")


def require_plain_files(folder: Path) -> None:
    """Check that a folder holds files and folders only.

    Through a link another file would be read, and a pipe would be waited for.

    Raises:
        ValueError: if something is neither.
    """
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            try:
                kind = os.lstat(path).st_mode
            except FileNotFoundError:
                continue  # a temporary file of a process that samples, renamed meanwhile
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise ValueError(f"{folder} must hold files only, and {path} is a link or device")
