"""The division of the chunks of one store among several processes.

A chunk depends on its place only and is a file of its own, so processes need to agree only on which
process evaluates which chunk. There are three ways: one process evaluates all; a job of an array
evaluates every m-th (``--part k/m``), which needs no communication; or the ranks of a run of MPI
(``mpiexec -n 4 tlp sample …``) or of torch (``torchrun --nproc-per-node 4 -m tlp_core sample …``,
see :mod:`~tlp_core.sampling.torch_partition`) take the next free chunk from a counter, which keeps
all of them busy to the end. Ranks of torch may form groups that hold one model each, in shards; a
group then takes a chunk together.

Scaling: ranks communicate once a chunk, by one atomic addition of eight bytes in the memory of rank
0 (``MPI_Fetch_and_op``, or ``add`` of torch's store), and at the start, when rank 0 makes the
directions, while the others wait, and broadcasts them, n vectors of the size of the model. With
chunks of a second the counter serves tens of thousands of ranks, since an addition takes
microseconds. Thousands of ranks are limited first by that serial part (Amdahl's law); then by the
last chunk, for which all wait, so that there should be ten times as many chunks as ranks (41^4 has
1,681 chunks of 1,681 samples); and then by the file system, which must create a file of 13 kB for
each chunk.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol, TypeVar

import numpy as np

from tlp_core.sampling.torch_partition import TorchPart, is_distributed

Item = TypeVar("Item")

_RANK_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_SIZE", "MPI_LOCALNRANKS")
"""Set by mpiexec of Open MPI, MPICH and others: without one of them, mpi4py is not imported."""

_TASKS = "SLURM_STEP_NUM_TASKS"
"""Set by srun, but not in a script of sbatch, whose commands run once."""


class Part(Protocol):
    """The chunks that one process evaluates.

    Attributes:
        is_alone: whether no other process waits for this one.
    """

    is_alone: bool

    def is_first(self) -> bool:
        """Return whether this process writes what all use, and reports progress."""

    def is_in_first_group(self) -> bool:
        """Return whether this process makes what all use, alone or with those of its group."""

    def leads(self) -> bool:
        """Return whether this process writes the losses of its group."""

    def agree(self, value: Any) -> Any:
        """Return the value of the process that leads this one's group."""

    def broadcast(self, value: Any) -> Any:
        """Return the first process's value in all."""

    def broadcast_shard(self, value: Any) -> Any:
        """Return the value of the process of the first group that holds the same shard."""

    def claim(self, items: Sequence[Item]) -> Iterator[Item]:
        """Yield this process's items, one by one; all processes pass the same items."""

    def finish(self) -> None:
        """Wait until all are done."""

    def end_all(self, error: BaseException) -> None:
        """End all processes that wait for this one, and print why."""

    def watched(self) -> AbstractContextManager[None]:
        """Return a context in which a launcher that ends this process is reported."""


class SinglePart:
    """All items, or those of one job of an array: every m-th item."""

    is_alone = True

    def __init__(self, part: tuple[int, int] = (1, 1)) -> None:
        """Use part k of m, 1 <= k <= m."""
        self._k, self._m = part

    def is_first(self) -> bool:
        """Return True: every job makes what it uses."""
        return True

    def is_in_first_group(self) -> bool:
        """Return True: every job makes what it uses."""
        return True

    def leads(self) -> bool:
        """Return True: a job has no group."""
        return True

    def agree(self, value: Any) -> Any:
        """Return the value."""
        return value

    def broadcast(self, value: Any) -> Any:
        """Return the value: equal settings give equal values in every job."""
        return value

    def broadcast_shard(self, value: Any) -> Any:
        """Return the value."""
        return value

    def claim(self, items: Sequence[Item]) -> Iterator[Item]:
        """Yield every m-th item from the k-th on."""
        return iter(items[self._k - 1 :: self._m])

    def finish(self) -> None:
        """Return at once."""

    def end_all(self, error: BaseException) -> None:
        """Return at once: no process waits."""

    def watched(self) -> AbstractContextManager[None]:
        """Return a context without effect."""
        return nullcontext()


class RankPart:
    """The items that one rank of an MPI run takes from a common counter."""

    is_alone = False

    def __init__(self, communicator: Any) -> None:
        """Divide the work among all ranks of an mpi4py communicator."""
        self._communicator = communicator
        self._window: Any = None

    def is_first(self) -> bool:
        """Return whether this is rank 0."""
        return bool(self._communicator.Get_rank() == 0)

    def is_in_first_group(self) -> bool:
        """Return whether this is rank 0."""
        return self.is_first()

    def leads(self) -> bool:
        """Return True: ranks of MPI have no groups."""
        return True

    def agree(self, value: Any) -> Any:
        """Return the value."""
        return value

    def broadcast(self, value: Any) -> Any:
        """Broadcast rank 0's value."""
        return self._communicator.bcast(value)

    def broadcast_shard(self, value: Any) -> Any:
        """Broadcast rank 0's value."""
        return self.broadcast(value)

    def claim(self, items: Sequence[Item]) -> Iterator[Item]:
        """Yield the next item that no rank has claimed, until there is none."""
        from mpi4py import MPI

        size = 8 if self.is_first() else 0
        self._window = MPI.Win.Allocate(size, 8, comm=self._communicator)
        if self.is_first():
            np.frombuffer(self._window.tomemory(), dtype=np.int64)[0] = 0
        self._communicator.Barrier()
        one, claimed = np.ones(1, dtype=np.int64), np.empty(1, dtype=np.int64)
        while True:
            self._window.Lock(0, MPI.LOCK_SHARED)
            self._window.Fetch_and_op(one, claimed, 0, 0, MPI.SUM)
            self._window.Unlock(0)
            if claimed[0] >= len(items):
                return
            yield items[int(claimed[0])]

    def finish(self) -> None:
        """Wait until all ranks call this."""
        self._communicator.Barrier()
        if self._window is not None:
            self._window.Free()
            self._window = None

    def end_all(self, error: BaseException) -> None:
        """Print why this rank ends, and abort all."""
        text = f"rank {self._communicator.Get_rank()} ends the run: {type(error).__name__}: {error}"
        print(text, file=sys.__stderr__, flush=True)
        self._communicator.Abort(1)

    def watched(self) -> AbstractContextManager[None]:
        """Return a context without effect: mpiexec reports what it ends."""
        return nullcontext()


def part_of_process(part: tuple[int, int] | None = None, shards: int = 1) -> Part:
    """Return this process's part.

    Args:
        part: (k, m) for the k-th job of an array of m; None for a rank's part in a run of MPI or
            torch, else all, with a warning if srun has started several processes that do not
            know each other.
        shards: number of ranks of torch that hold one model together, >= 1.

    Raises:
        ValueError: for several shards without ranks of torch, or with a number of ranks that is not
            a multiple of it.
        RuntimeError: in an MPI run without mpi4py, or if torch's ranks do not reach each other.
    """
    if shards > 1:
        if part is not None or not is_distributed():
            raise ValueError(
                f"a model in {shards} shards must have ranks of torch, got none; start with "
                f"torchrun --nproc-per-node {shards} -m tlp_core …, without --part"
            )
        return TorchPart(shards)
    if part is not None:
        return SinglePart(part)
    if not any(int(os.environ.get(name, "1")) > 1 for name in _RANK_VARIABLES):
        if is_distributed():
            return TorchPart()
        if (tasks := int(os.environ.get(_TASKS, "1"))) > 1:
            # not at the place of the call: Python prints a warning once for each place
            warnings.warn(
                f"each of the {tasks} tasks of srun samples alone; set MASTER_ADDR and MASTER_PORT "
                "if they shall share one landscape",
                stacklevel=1,
            )
        return SinglePart()
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise RuntimeError(
            f"a run of several processes needs mpi4py, which cannot be imported: {error}; install "
            "it, or use --part for jobs that do not communicate"
        ) from error
    return RankPart(MPI.COMM_WORLD) if MPI.COMM_WORLD.Get_size() > 1 else SinglePart()


@contextmanager
def abort_all_on_error(part: Part) -> Iterator[None]:
    """End every rank when one fails, because the others would wait for it for ever."""
    try:
        with part.watched():
            yield
    except BaseException as error:
        part.end_all(error)
        raise
