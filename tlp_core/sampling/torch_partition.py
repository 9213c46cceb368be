"""The ranks of a run of ``torch.distributed``: started by torchrun, srun or submitit.

Rank 0 makes what all use, and the others wait for it. Each rank takes the next free chunk from a
counter in the store of the process group. Control messages use gloo, also if the model is on GPUs:
gloo reports a peer that has ended as soon as its connection closes. Under torchrun, a failed rank
also makes the launcher end the others.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any, TypeVar

Item = TypeVar("Item")

_VARIABLES = ("MASTER_ADDR", "MASTER_PORT")
"""Address of rank 0, which torchrun sets, and which a script for srun must set."""

_SLURM = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"}
"""Variables of srun for those of torchrun."""

_START = timedelta(minutes=10)
"""Time for all ranks to start, and for one collective operation of a sharded model."""

_PATIENCE = timedelta(days=2)
"""Time that ranks wait for rank 0, which may search for eigenvectors for hours. A rank that ends
closes its connections, so this limit is for a machine that is lost without a word."""

_RESUME = "the same command resumes the store"

_claims = count()
"""Number of the next counter of chunks; all ranks claim the same lists in the same order."""


def is_distributed() -> bool:
    """Return whether the environment is that of a rank among several."""
    return all(os.environ.get(name) for name in _VARIABLES) and _number("WORLD_SIZE", 1) > 1


def _number(name: str, default: int) -> int:
    """Return a variable of torchrun, else of srun, else a default."""
    return int(os.environ.get(name) or os.environ.get(_SLURM[name]) or default)


class TorchPart:
    """The items that one rank of a process group takes from a common counter."""

    is_alone = False

    def __init__(self) -> None:
        """Divide the work among all ranks; the process group is made at the first use.

        Raises:
            RuntimeError: if the ranks do not reach each other.
        """
        self._group, self._rank = _control_group(), _number("RANK", 0)

    def is_first(self) -> bool:
        """Return whether this is rank 0."""
        return self._rank == 0

    def broadcast(self, value: Any) -> Any:
        """Broadcast rank 0's value; tensors must be on the CPU."""
        import torch.distributed as dist

        values = [value]
        with _explained():
            dist.broadcast_object_list(values, src=0, group=self._group)
        return values[0]

    def claim(self, items: Sequence[Item]) -> Iterator[Item]:
        """Yield the next item that no rank has claimed, until there is none."""
        from torch.distributed.distributed_c10d import _get_default_store

        store, name = _get_default_store(), f"tlp/claimed/{next(_claims)}"
        while True:
            with _explained():
                place = store.add(name, 1) - 1
            if place >= len(items):
                return
            yield items[place]

    def finish(self) -> None:
        """Wait until all ranks call this."""
        self.broadcast(None)
        _barrier(self._group)

    def end_all(self, error: BaseException) -> None:
        """Print why this rank ends, and end it; the others find its connections closed."""
        _end(f"{type(error).__name__}: {error}", self._rank)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Print a sentence if the launcher ends this rank, as torchrun does when another fails."""
        text = f"the launcher ended it, as it does when another rank fails; {_RESUME}"
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, lambda *_: _end(text, self._rank))
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


def _end(reason: str, rank: int) -> None:
    """End this process at once: an ordinary exit would wait for the other ranks."""
    print(f"rank {rank} ends the run: {reason}", file=sys.__stderr__, flush=True)
    os._exit(1)


@contextmanager
def _explained() -> Iterator[None]:
    """Report a broken connection in a sentence.

    Raises:
        RuntimeError: if the other ranks cannot be reached.
    """
    try:
        yield
    except RuntimeError as error:  # also torch's DistError
        first = str(error).strip().splitlines()[0][:200]
        raise RuntimeError(
            f"another rank has ended or cannot be reached; {_RESUME} ({first})"
        ) from error


def _barrier(group: Any) -> None:
    """Wait until all ranks of a group call this; a closed connection ends the wait."""
    import torch
    import torch.distributed as dist

    with _explained():
        dist.all_reduce(torch.zeros(1), group=group)


@cache
def _control_group() -> Any:
    """Return the group of all ranks for control messages, and make the default group before.

    Each rank uses the GPU of its local rank as ``cuda``.
    """
    import torch
    import torch.distributed as dist

    rank, size = _number("RANK", 0), _number("WORLD_SIZE", 1)
    has_gpus = torch.cuda.is_available()
    if has_gpus:
        torch.cuda.set_device(_number("LOCAL_RANK", 0) % torch.cuda.device_count())
    backend = "cpu:gloo,cuda:nccl" if has_gpus and dist.is_nccl_available() else "gloo"
    try:
        if not dist.is_initialized():
            dist.init_process_group(backend, rank=rank, world_size=size, timeout=_START)
            atexit.register(_leave)
        return dist.new_group(backend="gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RuntimeError(
            f"{size} ranks must reach each other at {os.environ['MASTER_ADDR']}, port "
            f"{os.environ['MASTER_PORT']}: {reason}"
        ) from error


def _leave() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
