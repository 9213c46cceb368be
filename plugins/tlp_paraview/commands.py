"""Error handling and exit codes of the commands that run in pvpython."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence

from tlp_core.cli.output import INCOMPLETE


def exit_code(errors: Sequence[str]) -> int:
    """Print the errors of filters to stderr, and return the exit code of a command.

    Args:
        errors: error messages, from :func:`~tlp_paraview.pipeline.pipeline_errors`.

    Returns:
        1 if there are errors, else 0.
    """
    for error in errors:
        print(f"failed: {error}", file=sys.__stderr__)
    return 1 if errors else 0


def run_command(name: str, run: Callable[[], int]) -> int:
    """Run a command, and print an error as one line to stderr.

    Args:
        name: name of the command, which starts the line.
        run: the command; it returns an exit code.

    Returns:
        The exit code of the command; 1 after an error, 3 after Ctrl-C.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else VTK prints a stack
    try:
        return run()
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as error:
        print(f"{name}: {error}", file=sys.__stderr__)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: stopped; the same command resumes it", file=sys.__stderr__)
        return INCOMPLETE
