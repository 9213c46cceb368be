"""The ranks of a run of ``torch.distributed``: started by torchrun, srun or submitit.

Rank 0 makes what all use, and the others wait for it. Each rank takes the next free chunk from a
counter in the store of the process group. If a model is sharded, consecutive ranks form groups of
equal size that hold one model each (:mod:`tlp_core.shards`): the first group makes what all use,
and the first rank of each group takes a chunk for all of it, and writes the losses.

Control messages use gloo, also if the model is on GPUs: gloo reports a peer that has ended as soon
as its connection closes. Under torchrun, a failed rank also makes the launcher end the others.
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
    """The items that one rank, or one group of ranks, takes from a common counter.

    Attributes:
        shards: number of ranks that hold one model together.
    """

    is_alone = False

    def __init__(self, shards: int = 1) -> None:
        """Divide the work among all ranks; process groups are made at the first use.

        Args:
            shards: number of ranks that hold one model together, >= 1.

        Raises:
            ValueError: if the number of ranks is not a multiple of it.
            RuntimeError: if the ranks do not reach each other.
        """
        if _number("WORLD_SIZE", 1) % shards:
            raise ValueError(
                f"the number of ranks must be a multiple of {shards}, the number of shards, got "
                f"{_number('WORLD_SIZE', 1)}"
            )
        self.shards, self._rank = shards, _number("RANK", 0)
        self._group = _control_group()
        self._same_model, self._same_shard = _groups_of(shards)

    def is_first(self) -> bool:
        """Return whether this is rank 0."""
        return self._rank == 0

    def is_in_first_group(self) -> bool:
        """Return whether this rank is one of those that hold the first model."""
        return self._rank < self.shards

    def leads(self) -> bool:
        """Return whether this is the first rank of those that hold its model."""
        return self._rank % self.shards == 0

    def agree(self, value: Any) -> Any:
        """Return the value of the first rank of those that hold one model."""
        if self.shards == 1:
            return value
        return _broadcast(value, self._rank - self._rank % self.shards, self._same_model)

    def broadcast(self, value: Any) -> Any:
        """Broadcast rank 0's value; tensors must be on the CPU."""
        return _broadcast(value, 0, self._group)

    def broadcast_shard(self, value: Any) -> Any:
        """Broadcast a value of the first group to the ranks that hold the same shard."""
        return _broadcast(value, self._rank % self.shards, self._same_shard)

    def mesh(self, device: str) -> Any:
        """Return torch's mesh of the ranks that hold this rank's model.

        Args:
            device: kind of device of the shards, such as ``cuda``.
        """
        return _mesh(device, self.shards)["shard"]

    def claim(self, items: Sequence[Item]) -> Iterator[Item]:
        """Yield the next item that no rank or group has claimed, until there is none."""
        from torch.distributed.distributed_c10d import _get_default_store

        store, name = _get_default_store(), f"tlp/claimed/{next(_claims)}"
        while True:
            with _explained():
                place = self.agree(store.add(name, 1) - 1 if self.leads() else None)
            if place >= len(items):
                return
            yield items[place]

    def finish(self) -> None:
        """Wait until all ranks call this."""
        self.broadcast(None)
        _barrier(self._group)

    def end_all(self, error: BaseException) -> None:
        """Print why this rank ends, and end it; the others find its connections closed."""
        _end(_reason_of(error), self._rank)

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


def _broadcast(value: Any, source: int, group: Any) -> Any:
    """Return the value of a rank in all ranks of a group."""
    import torch.distributed as dist

    values = [value]
    with _explained():
        dist.broadcast_object_list(values, src=source, group=group)
    return values[0]


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
        raise RuntimeError(_unreachable(error)) from error


def _unreachable(error: BaseException) -> str:
    first = str(error).strip().splitlines()[0][:200]
    return f"another rank has ended or cannot be reached; {_RESUME} ({first})"


def _reason_of(error: BaseException) -> str:
    """Return why a rank ends; the loss of a sharded model may meet a broken connection first."""
    import torch.distributed as dist

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, dist.DistError) or "/gloo/" in str(cause):
            return _unreachable(cause)
        cause = cause.__cause__
    return f"{type(error).__name__}: {error}"


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


@cache
def _groups_of(shards: int) -> tuple[Any, Any]:
    """Return the control groups of the ranks with the same model, and with the same shard."""
    import torch.distributed as dist

    if shards == 1:
        return None, _control_group()
    rank, size = _number("RANK", 0), _number("WORLD_SIZE", 1)
    same_model = [range(first, first + shards) for first in range(0, size, shards)]
    same_shard = [range(first, size, shards) for first in range(shards)]
    with _explained():
        made = {
            ranks: dist.new_group(list(ranks), backend="gloo", timeout=_PATIENCE)
            for ranks in (*same_model, *same_shard)
        }
    return made[same_model[rank // shards]], made[same_shard[rank % shards]]


@cache
def _mesh(device: str, shards: int) -> Any:
    """Return torch's mesh of all ranks."""
    from torch.distributed.device_mesh import init_device_mesh

    shape = (_number("WORLD_SIZE", 1) // shards, shards)
    return init_device_mesh(device, shape, mesh_dim_names=("model", "shard"))


def _leave() -> None:
    """End the threads of all groups, which must not outlive the interpreter."""
    import torch.distributed as dist

    for groups in (_control_group, _groups_of, _mesh):  # a group ends with its last reference
        groups.cache_clear()
    if dist.is_initialized():
        dist.destroy_process_group()
