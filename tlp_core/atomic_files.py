"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def draft_of(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary name beside a path; what is written there is renamed to it at the end.

    After an error nothing is left of it, and a file that was there stays as it was. Several
    processes may write the same path: the last one's file stays.
    """
    file = Path(path)
    draft = file.with_name(f".{file.stem}.{uuid4().hex[:8]}{file.suffix}")
    try:
        yield draft
        os.replace(draft, file)
    finally:
        draft.unlink(missing_ok=True)
