"""The processes of a training that record together: torch's default group of processes.

All ranks call the same functions in the same order, also after an error in one of them, because a
rank that waits for another one would stop the training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

Result = TypeVar("Result")


class Ranks:
    """This process alone, or all ranks of a training."""

    def __init__(self, *, together: bool) -> None:
        """Look at torch's group of processes.

        Args:
            together: whether all ranks take part; else this process is alone.
        """
        distributed = torch.distributed
        has_group = distributed.is_available() and distributed.is_initialized()
        self.rank: int = distributed.get_rank() if has_group else 0
        """Rank of this process in the group, also if it is alone."""
        self.count: int = distributed.get_world_size() if has_group and together else 1
        """Number of processes that take part."""

    def of_first(self, value: Any) -> Any:
        """Return the value of rank 0 in all ranks."""
        if self.count == 1:
            return value
        shared = [value]
        torch.distributed.broadcast_object_list(shared, src=0)
        return shared[0]

    def each(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in all ranks."""
        if self.count == 1:
            return [value]
        values = [None] * self.count
        torch.distributed.all_gather_object(values, value)
        return values

    def attempt(self, measure: Callable[[], Result]) -> list[Result]:
        """Return what all ranks measure, in all ranks.

        Raises:
            RuntimeError: in all ranks, if one of them fails; alone, its own error is raised.
        """
        if self.count == 1:
            return [measure()]
        found: tuple[str, Any]
        try:
            found = "", measure()
        except Exception as error:
            found = f"{type(error).__name__}: {error}", None
        every = self.each(found)
        for rank, (error_text, _) in enumerate(every):
            if error_text:
                raise RuntimeError(f"rank {rank}: {error_text}")
        return [value for _, value in every]

    def attempt_first(self, measure: Callable[[], Result]) -> Result:
        """Return what rank 0 measures, in all ranks.

        Raises:
            RuntimeError: in all ranks, if rank 0 fails; alone, its own error is raised.
        """
        if self.count == 1:
            return measure()
        found: tuple[str, Any] = "", None
        if self.rank == 0:
            try:
                found = "", measure()
            except Exception as error:
                found = f"{type(error).__name__}: {error}", None
        error_text, value = self.of_first(found)
        if error_text:
            raise RuntimeError(f"rank 0: {error_text}")
        result: Result = value
        return result
