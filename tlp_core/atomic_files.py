"""Files that appear complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy


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
    file = Path(os.path.realpath(path))
    if file.is_dir() or not str(path):
        raise IsADirectoryError(f"an output must be a file, got the folder {path}")
    if file.exists() and not file.is_file():
        yield file
        return
    require_folder(file)
    if not file.parent.exists():
        raise FileNotFoundError(
            f"an output must lie in an existing folder, found none at {file.parent}; create it"
        )
    temporary = file.with_name(f".{file.stem}.{uuid4().hex[:8]}{file.suffix}")
    try:
        yield temporary
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


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
