"""Progress reporting."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Function that receives the fraction of the work that is done, 0 to 1, and a text."""


def silent(_fraction: float, _text: str) -> None:
    """Report no progress."""


class TerminalProgress:
    """Progress on standard error: one line that is overwritten on a terminal, else lines of a log.

    Lines go to the standard error of the process, ``sys.__stderr__``. ParaView's programs replace
    ``sys.stderr`` and show what is written there as error messages.
    """

    def __init__(self, title: str, *, every: float = 5.0) -> None:
        """Set up the progress report of one task.

        Args:
            title: text at the start of each line.
            every: time between two lines of a log, in seconds. On a terminal the line is updated
                every 0.1 s. Default: 5.
        """
        self._title, self._stream = title, sys.__stderr__
        is_terminal = self._stream is not None and self._stream.isatty()
        self._overwrites = is_terminal and os.environ.get("TERM", "dumb") != "dumb"
        self._every = 0.1 if self._overwrites else every
        self._last, self._line = -every, ""

    def __call__(self, fraction: float, text: str) -> None:
        """Write the title, the fraction of the work that is done, 0 to 1, and a text.

        A percentage is rounded down, so that 100 % means that all is done. On a terminal a line
        that is longer than the terminal is wide is cut.
        """
        percent = math.floor(100 * min(1.0, max(0.0, fraction)))
        now, line = time.monotonic(), f"{self._title}: {percent:3d}%  {text}"
        if line == self._line or (now - self._last < self._every and fraction < 1):
            return
        self._last, self._line = now, line
        if self._overwrites:
            width = os.get_terminal_size(self._stream.fileno()).columns if self._stream else 80
            line = f"\r\x1b[K{line if len(line) < width else line[: max(width - 2, 1)] + '…'}"
        end = "" if self._overwrites and fraction < 1 else "\n"
        print(line, end=end, file=self._stream, flush=True)


def format_seconds(seconds: float) -> str:
    """Return a duration as text, with at most two units.

    Args:
        seconds: the duration; it is rounded up to whole seconds.

    >>> format_seconds(3.2), format_seconds(150), format_seconds(9000)
    ('4 s', '2 min 30 s', '2 h 30 min')
    """
    whole = int(-(-seconds // 1))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
