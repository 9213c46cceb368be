"""The command ``tlp`` and its parser."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

from tlp_core.cli import analysis, experiment, paraview, sampling, store
from tlp_core.cli.output import INCOMPLETE, on_one_line, show_warning
from tlp_core.version import __version__

_EXPLAINED = (ValueError, TypeError, RuntimeError, OSError, ImportError)
"""Errors whose text is a whole sentence."""

_RESUMED = ("sample", "training", "blocks", "experiment")
"""Commands that resume what was stopped."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code.

    Args:
        arguments: of the command line; default: those of the process.
    """
    options = _parse(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show_warning
            return int(options.run(options))
    except Exception as error:
        text = str(error) if isinstance(error, _EXPLAINED) else f"{type(error).__name__}: {error}"
        print(f"tlp {options.command}: {on_one_line(text)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        advice = "; the same command resumes it" if options.command in _RESUMED else ""
        print(f"tlp {options.command}: stopped{advice}", file=sys.stderr)
        return INCOMPLETE


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options, and their default values as the option ``defaults``."""
    parser = _parser()
    given = sys.argv[1:] if arguments is None else arguments
    options = parser.parse_args(paraview.separated(given))
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    command = commands.choices[options.command]
    options.defaults = {action.dest: action.default for action in command._actions}
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tlp", description="Topological landscape profiles of neural networks."
    )
    parser.add_argument("--version", action="version", version=f"tlp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in (sampling, store, analysis, experiment, paraview):
        group.add_commands(commands)
    return parser
