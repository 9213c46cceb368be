"""At which steps of a training a landscape is due."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tlp_core import checks


@dataclass(frozen=True)
class EverySteps:
    """Every k steps, from step 0.

    Attributes:
        interval: k, >= 1.

    Raises:
        ValueError: for an interval below 1.
        TypeError: if it is not an integer.
    """

    interval: int

    def __post_init__(self) -> None:
        """Check every value."""
        checks.integer(self.interval, name="interval", minimum=1)

    def due(self, after: int, step: int) -> int | None:
        """Return the last scheduled step above ``after`` and up to ``step``; None without one."""
        last = step // self.interval * self.interval
        return last if last > after else None

    def steps_for_each(self) -> float:
        """Return the number of training steps that there are for each landscape."""
        return float(self.interval)

    def number_of_steps(self) -> int | None:
        """Return the length of the training in steps; None if it is not known."""
        return None


@dataclass(frozen=True)
class LogSteps:
    """Steps that are spread evenly on a logarithmic axis: step 0, step 1, and so on to ``total``.

    Attributes:
        total: number of steps of the training, >= 1.
        count: number of landscapes, >= 2; fewer where steps coincide.

    Raises:
        ValueError: for a value out of range.
        TypeError: for a value that is not an integer.
    """

    total: int
    count: int = 40

    def __post_init__(self) -> None:
        """Check every value."""
        checks.integer(self.total, name="total", minimum=1)
        checks.integer(self.count, name="count", minimum=2)

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """The scheduled steps, in ascending order."""
        first = 1 if self.count > 2 else self.total
        spread = np.geomspace(first, self.total, self.count - 1).round().astype(np.int64)
        return (0, *sorted(set(spread.tolist())))

    def due(self, after: int, step: int) -> int | None:
        """Return the last scheduled step above ``after`` and up to ``step``; None without one."""
        place = bisect_right(self.steps, step)
        return self.steps[place - 1] if place and self.steps[place - 1] > after else None

    def steps_for_each(self) -> float:
        """Return the number of training steps that there are for each landscape."""
        return self.total / len(self.steps)

    def number_of_steps(self) -> int | None:
        """Return the length of the training in steps; None if it is not known."""
        return self.total


Schedule = EverySteps | LogSteps
