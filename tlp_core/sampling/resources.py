"""Cores and memory that evaluation may use on this machine."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import torch

from tlp_core.sampling.settings import GIBIBYTE
from tlp_core.untrusted_files import physical_memory

_BYTES_PER_SAMPLE = 9
"""A loss, and whether it was evaluated."""


def available_cores() -> int:
    """Return the number of cores that this process may use; OMP_NUM_THREADS limits it."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(allowed or 1, torch.get_num_threads()))


def check_memory(number_of_samples: int) -> None:
    """Raise a ValueError if so many losses do not fit into this machine's memory."""
    needed = _BYTES_PER_SAMPLE * number_of_samples
    available = physical_memory()
    if needed > available:
        raise ValueError(
            f"a landscape must fit into memory, and {number_of_samples:,} samples need "
            f"{needed / GIBIBYTE:,.0f} GiB of {available / GIBIBYTE:,.0f}; use a lower resolution, "
            "fewer directions or scattered samples"
        )


def keep_memory() -> None:
    """Make this process keep freed memory, which batches allocate and free again and again.

    Linux's allocator returns large blocks at once, and zeroing them again takes up to a third of
    the time. For a process that only samples, so not for ParaView's.
    """
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):  # a C library other than GNU's
            libc = ctypes.CDLL("libc.so.6")
            m_trim_threshold, m_mmap_threshold = -1, -3
            libc.mallopt(m_mmap_threshold, GIBIBYTE)
            libc.mallopt(m_trim_threshold, GIBIBYTE)
