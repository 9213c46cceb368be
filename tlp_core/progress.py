"""How long work takes, told while it goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

Progress = Callable[[float, str], None]
"""Called with the share that is done, 0 to 1, and a text."""


def silent(_share: float, _text: str) -> None:
    """Tell nothing."""


class TerminalProgress:
    """One line on a terminal, rewritten; a line every few seconds elsewhere."""

    def __init__(self, title: str, *, every: float = 5.0) -> None:
        """Write to the process's stderr; ``every`` counts seconds between lines in a log.

        Not to ``sys.stderr``, which in ParaView's programs stands for error messages.
        """
        self._title, self._stream = title, sys.__stderr__
        self._on_terminal = self._stream is not None and self._stream.isatty()
        self._every = 0.1 if self._on_terminal else every
        self._last, self._line = -every, ""

    def __call__(self, share: float, text: str) -> None:
        """Tell the share done, 0 to 1, and a text."""
        now, line = time.monotonic(), f"{self._title}: {share:4.0%}  {text}"
        if line == self._line or (now - self._last < self._every and share < 1):
            return
        self._last, self._line = now, line
        end = "\n" if share >= 1 or not self._on_terminal else ""
        start = "\r\x1b[K" if self._on_terminal else ""
        print(f"{start}{line}", end=end, file=self._stream, flush=True)


def format_seconds(seconds: float) -> str:
    """Return a span of time as a person would say it.

    >>> format_seconds(3.2), format_seconds(150), format_seconds(9000)
    ('4 s', '2 min 30 s', '2 h 30 min')
    """
    whole = int(-(-seconds // 1))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
