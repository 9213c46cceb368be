"""Tensors in a temporary file instead of in memory, for what is read from one end to the other.

The file has no name, so it is gone when the process ends. The system keeps parts of it in memory as
long as nothing else needs the room.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

_PREFIX = "tlp-scratch-"
_MADV_DONTNEED = 4

_ON_DISK = "/var/tmp"
"""Folder for the file if that for temporary files is in memory, as on many systems."""


def is_supported() -> bool:
    """Return whether this system gives up the memory of a part of a file on request."""
    return sys.platform == "linux"


def scratch_tensor(size: int, dtype: torch.dtype) -> Tensor:
    """Return a tensor (size,) on the CPU, not initialized, whose entries are in a file.

    The folder is that for temporary files (environment variable ``TMPDIR``). If that is in memory,
    it is /var/tmp, if that is on a disk and can be written.

    Raises:
        OSError: if there is no room for the file.
        RuntimeError: if it cannot be mapped into memory.
    """
    with tempfile.NamedTemporaryFile(prefix=_PREFIX, dir=_folder()) as file:
        os.posix_fallocate(file.fileno(), 0, size * dtype.itemsize)
        return torch.from_file(file.name, shared=True, size=size, dtype=dtype)


def _folder() -> str:
    usual = tempfile.gettempdir()
    has_other = os.access(_ON_DISK, os.W_OK) and not _is_in_memory(_ON_DISK)
    return _ON_DISK if has_other and _is_in_memory(usual) else usual


def _is_in_memory(folder: str) -> bool:
    """Return whether the files of a folder are in memory."""
    device = os.stat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    mounts = Path("/proc/self/mountinfo")
    if not mounts.is_file():
        return False
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split()
        if fields[2] == wanted:
            return fields[fields.index("-") + 1] in ("tmpfs", "ramfs")
    return False


def forget(*parts: Tensor) -> None:
    """Take the memory of parts of scratch tensors from this process.

    Their entries stay, and the next use reads them again. Nothing happens to other tensors. Parts
    that adjoin are given up by one call of the system, which is faster than one for each part.
    """
    spans: list[list[int]] = []
    for start, size in sorted(map(_span, filter(_is_scratch, parts))):
        if spans and spans[-1][1] == start:
            spans[-1][1] += size
        else:
            spans.append([start, start + size])
    for first, last in spans:
        start, end = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE, last - last % mmap.PAGESIZE
        if end > start:
            arguments = map(ctypes.c_size_t, (start, end - start))
            _system().madvise(*arguments, ctypes.c_int(_MADV_DONTNEED))


def _is_scratch(part: Tensor) -> bool:
    file = getattr(part.untyped_storage(), "filename", None)
    return file is not None and os.path.basename(file).startswith(_PREFIX)


def _span(part: Tensor) -> tuple[int, int]:
    """Return where a part is in memory, and its bytes."""
    return part.data_ptr(), part.numel() * part.element_size()


@cache
def _system() -> ctypes.CDLL:
    return ctypes.CDLL(None)
