"""The share of a training's time that a recorder may take."""

from __future__ import annotations

import statistics
import time

_TIMED = 3
"""Number of steps that are timed before time is spent; the very first one does not count, because
it compiles and allocates."""

_REMEMBERED = 200
"""Number of recent steps whose median is the time of a step."""


class TimeBudget:
    """Measures the training, and tells whether a recording fits into its share of the time.

    Where the length of the training is known, the share is that of the whole training, so that
    early steps may be recorded more densely; else it is that of the training so far.
    """

    def __init__(self, share: float | None, number_of_steps: int | None) -> None:
        """Begin to measure at the first call of :meth:`enter`.

        Args:
            share: largest fraction of the training's time, > 0; None for no limit.
            number_of_steps: length of the training; None if it is not known.
        """
        self._share, self._number_of_steps = share, number_of_steps
        self._left: tuple[float, int] | None = None
        self._is_warm, self._since_step = False, 0.0  # a step may have several calls
        self._seconds_of_steps: list[float] = []
        self.training = 0.0
        """Seconds of the training so far, without those of the recorder."""
        self.spent = 0.0
        """Seconds of the recorder so far."""

    def enter(self, step: int) -> None:
        """Note that the training has reached a step; time until :meth:`leave` is not its own."""
        if self._left is None:
            return
        left, last = self._left
        seconds, steps = time.perf_counter() - left, step - last
        self.training += seconds
        self._since_step += seconds
        if steps > 0:
            if self._is_warm:
                recent = self._seconds_of_steps[1 - _REMEMBERED :]
                self._seconds_of_steps = [*recent, self._since_step / steps]
            self._is_warm, self._since_step = True, 0.0

    def leave(self, step: int, spent: float = 0.0) -> None:
        """Note that the training goes on, after so many seconds of recording."""
        self.spent += spent
        self._left = time.perf_counter(), step

    def has_measured(self) -> bool:
        """Return whether the time of a step is known; without a limit it need not be."""
        return self._share is None or len(self._seconds_of_steps) >= _TIMED

    def seconds_for(self, steps: float) -> float:
        """Return what may be spent for so many steps of the training."""
        if self._share is None:
            return float("inf")
        return self._share * statistics.median(self._seconds_of_steps) * steps

    def allows(self, seconds: float) -> bool:
        """Return whether so many seconds more stay within the share."""
        if self._share is None:
            return True
        if not self.has_measured():
            return False
        available = self._share * self.training
        if self._number_of_steps is not None:
            available = max(available, self.seconds_for(self._number_of_steps))
        return self.spent + seconds <= available
