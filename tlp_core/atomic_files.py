"""Files that appear complete or not at all."""

from __future__ import annotations

import glob
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

_LOCK = ".lock"
"""File in an unfinished folder that its process locks."""

HEX_DIGIT = "[0-9a-f]"
"""Pattern of a digit in a temporary name; any letter would match names that users give."""

_ABANDONED = 3600.0
"""Seconds after which a temporary file is that of a killed process; writing takes seconds."""


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside a file; what is written there replaces the file at the end.

    After an error the temporary file is removed, and an existing file stays unchanged. If several
    processes write the same path, the last one's file stays. A link is followed; a device or a pipe
    is written directly.

    Raises:
        IsADirectoryError: if the path is a folder.
        NotADirectoryError: if its folder is a file.
        FileNotFoundError: if its folder does not exist.
    """
    file = require_file_place(path)
    if file.exists() and not file.is_file():
        yield file
        return
    temporary = file.with_name(f".{file.stem}.{uuid4().hex[:8]}{file.suffix}")
    sweep(file.parent, f".{glob.escape(file.stem)}.{HEX_DIGIT * 8}{glob.escape(file.suffix)}")
    try:
        yield temporary
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def unfinished_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside a path, for work that a killed process left or that is new.

    A process locks its folder, so the folder of a killed process is free, and is taken over with
    its files; those of running processes are left alone. After an error other than a stop by the
    user the folder is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    left = sorted(path.parent.glob(f".{glob.escape(path.name)}.{HEX_DIGIT * 8}"))
    with ExitStack() as locks:
        mine = [folder for folder in left if locks.enter_context(_lock(folder))]
        for further in mine[1:]:
            shutil.rmtree(further, ignore_errors=True)
        folder = mine[0] if mine else new
        if not mine:
            folder.mkdir()
            locks.enter_context(_lock(folder))
        try:
            yield folder
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
        (path / _LOCK).unlink(missing_ok=True)


@contextmanager
def _lock(folder: Path) -> Iterator[bool]:
    """Yield whether this process holds the lock of a folder; the lock ends with the process."""
    try:
        import fcntl
    except ImportError:  # Windows: no folder is taken over
        yield False
        return
    with open(folder / _LOCK, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def sweep(folder: Path, pattern: str) -> None:
    """Remove temporary files and folders that a killed process left, an hour ago or more."""
    for left in folder.glob(pattern):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def require_file_place(path: str | os.PathLike[str]) -> Path:
    """Return the file to which a path leads, and check that it can be written there.

    Raises:
        IsADirectoryError: if the path is a folder.
        NotADirectoryError: if its folder is a file.
        FileNotFoundError: if its folder does not exist.
    """
    file = Path(os.path.realpath(path))
    if file.is_dir() or not str(path):
        raise IsADirectoryError(f"an output must be a file, got the folder {path}")
    require_folder(file)
    if not file.parent.exists():
        raise FileNotFoundError(
            f"an output must lie in an existing folder, found none at {file.parent}; create it"
        )
    return file


def require_folder(path: str | os.PathLike[str]) -> None:
    """Check that a new path can lie where it says, before hours are spent on its content.

    Raises:
        NotADirectoryError: if a part of the path before the last one is a file.
    """
    for place in Path(path).parents:
        if place.exists():
            if not place.is_dir():
                raise NotADirectoryError(f"an output must lie in a folder, and {place} is a file")
            return


def write_npz(path: Path, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Write an ``.npz`` file, the same bytes as ``numpy.savez``.

    NumPy leaves an archive open if the disk is full, and Python then prints a second error.

    Raises:
        OSError: if the file cannot be written.
    """
    with ZipFile(path, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                npy.write_array(  # type: ignore[no-untyped-call]
                    stream, np.asanyarray(array), allow_pickle=False
                )
