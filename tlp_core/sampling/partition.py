"""Who evaluates which chunk, when several processes share a store.

A chunk depends on nothing but its place, and is a file of its own, so processes need to agree only
on who takes which. There are three ways: one process takes all; a job of an array takes every m-th
(``--part k/m``), which needs no communication; or the ranks of an MPI run take the next free one
from a counter (``mpiexec -n 4 tlp sample …``), which keeps all busy to the end.

How this scales: ranks talk once a chunk, by one atomic addition of eight bytes in the memory of
rank 0 (``MPI_Fetch_and_op``), and at the start, when rank 0 finds the directions, while the others
wait, and sends them, n vectors of the size of the model. With chunks of a second the counter serves
tens of thousands of ranks, for an addition takes microseconds. What limits thousands of ranks is
first that serial part (Amdahl's law); then the last chunk, for which all wait, so that there should
be ten times as many chunks as ranks (41^4 has 1,681 chunks of 1,681 samples); and then the file
system, which must create a file of 13 kB for each chunk.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np

from tlp_core import checks

Item = TypeVar("Item")

_RANK_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_SIZE", "MPI_LOCALNRANKS")
"""Set by mpiexec of Open MPI, MPICH and others: without one of them, mpi4py is not imported."""


class Share(Protocol):
    """What one process does of the work of all."""

    def is_first(self) -> bool:
        """Return whether this process makes what all use, and tells progress."""

    def agreed(self, value: Any) -> Any:
        """Return the first process's value in all."""

    def claimed(self, items: Sequence[Item]) -> Iterator[Item]:
        """Yield the items that fall to this process, one by one; all get the same items."""

    def finish(self) -> None:
        """Wait until all are done."""


class Alone:
    """One process, or one job of an array of m, which takes every m-th item."""

    def __init__(self, part: tuple[int, int] = (1, 1)) -> None:
        """Take part k of m, k from 1."""
        k, m = (checks.integer(number, name="part", minimum=1) for number in part)
        if k > m:
            raise ValueError(f"part must be k/m with k from 1 to m, got {k}/{m}")
        self._k, self._m = k, m

    def is_first(self) -> bool:
        """Every job makes what it uses."""
        return True

    def agreed(self, value: Any) -> Any:
        """Return the value: equal settings give equal values in every job."""
        return value

    def claimed(self, items: Sequence[Item]) -> Iterator[Item]:
        """Yield every m-th item from the k-th on."""
        return iter(items[self._k - 1 :: self._m])

    def finish(self) -> None:
        """Wait for nobody."""


class Ranks:
    """The ranks of an MPI run."""

    def __init__(self, communicator: Any) -> None:
        """Share the work among all ranks of an mpi4py communicator."""
        self._communicator = communicator
        self._window: Any = None

    def is_first(self) -> bool:
        """Return whether this is rank 0."""
        return bool(self._communicator.Get_rank() == 0)

    def agreed(self, value: Any) -> Any:
        """Broadcast rank 0's value."""
        return self._communicator.bcast(value)

    def claimed(self, items: Sequence[Item]) -> Iterator[Item]:
        """Yield the next item that no rank has taken yet, until there is none."""
        from mpi4py import MPI

        size = 8 if self.is_first() else 0
        self._window = MPI.Win.Allocate(size, 8, comm=self._communicator)
        if self.is_first():
            np.frombuffer(self._window.tomemory(), dtype=np.int64)[0] = 0
        self._communicator.Barrier()
        one, taken = np.ones(1, dtype=np.int64), np.empty(1, dtype=np.int64)
        while True:
            self._window.Lock(0, MPI.LOCK_SHARED)
            self._window.Fetch_and_op(one, taken, 0, 0, MPI.SUM)
            self._window.Unlock(0)
            if taken[0] >= len(items):
                return
            yield items[int(taken[0])]

    def finish(self) -> None:
        """Wait until all ranks come here."""
        self._communicator.Barrier()
        if self._window is not None:
            self._window.Free()
            self._window = None


def share(part: tuple[int, int] | None = None) -> Share:
    """Return this process's share: of an MPI run if it is in one, else of a job array or all."""
    if part is not None:
        return Alone(part)
    if not any(int(os.environ.get(name, "1")) > 1 for name in _RANK_VARIABLES):
        return Alone()
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise RuntimeError(
            f"a run of several processes needs mpi4py, which cannot be imported: {error}; install "
            "it, or use --part for jobs that do not talk to each other"
        ) from error
    return Ranks(MPI.COMM_WORLD) if MPI.COMM_WORLD.Get_size() > 1 else Alone()


@contextmanager
def ends_all(own: Share) -> Iterator[None]:
    """End every rank when one fails, lest the others wait for it for ever."""
    try:
        yield
    except BaseException as error:
        if isinstance(own, Ranks):
            from mpi4py import MPI

            text = f"rank {MPI.COMM_WORLD.Get_rank()} ends the run: {type(error).__name__}: {error}"
            print(text, file=sys.__stderr__, flush=True)
            MPI.COMM_WORLD.Abort(1)
        raise
