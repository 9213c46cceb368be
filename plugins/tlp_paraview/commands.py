"""What the commands that run in pvpython do the same way."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence

from tlp_core.cli.output import INCOMPLETE


def exit_code(errors: Sequence[str]) -> int:
    """Tell what filters printed as errors, and return 1 where there is any."""
    for error in errors:
        print(f"failed: {error}", file=sys.__stderr__)
    return 1 if errors else 0


def in_words(name: str, run: Callable[[], int]) -> int:
    """Run a command and return its exit code: 1, after one sentence, where it fails."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # VTK's logger prints its own stack
    try:
        return run()
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as error:
        print(f"{name}: {error}", file=sys.__stderr__)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: stopped; the same command goes on", file=sys.__stderr__)
        return INCOMPLETE
