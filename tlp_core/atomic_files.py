"""Files that appear complete or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside a file; what is written there replaces the file at the end.

    After an error the temporary file is removed, and an existing file stays unchanged. If several
    processes write the same path, the last one's file stays. A link is followed; a device or a pipe
    is written directly.

    Raises:
        IsADirectoryError: if the path is a folder.
    """
    file = Path(os.path.realpath(path))
    if file.is_dir() or not str(path):
        raise IsADirectoryError(f"an output must be a file, got the folder {path}")
    if file.exists() and not file.is_file():
        yield file
        return
    temporary = file.with_name(f".{file.stem}.{uuid4().hex[:8]}{file.suffix}")
    try:
        yield temporary
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
