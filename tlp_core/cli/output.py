"""Output of the commands: a result line, messages, tables."""

from __future__ import annotations

import csv
import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tlp_core.atomic_files import atomic_write
from tlp_core.landscape.landscape import Landscape

INCOMPLETE = 3
"""Exit code if sampling stopped before the landscape was complete."""


def print_result(values: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a result on one line: JSON, or ``name=value`` pairs."""
    if as_json:
        print(json.dumps(_replace_nan(values), default=float, allow_nan=False))
    else:
        print(" ".join(f"{name}={_plain(value)}" for name, value in values.items()))


def summarize(path: str, landscape: Landscape) -> dict[str, Any]:
    """Return what a result line says of a landscape."""
    return {
        "store": path,
        "shape": list(landscape.shape),
        "distance": landscape.distance.tolist(),
        "evaluated": int(landscape.evaluated.sum()),
        "samples": landscape.loss.size,
        "center": landscape.center,
        **({"other_losses": list(landscape.other_losses)} if landscape.other_losses else {}),
    }


def write_rows(path: str, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows to a .csv file, atomically."""
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file).writerows(rows)


def log_to_stderr(*, quiet: bool) -> None:
    """Print the package's log to standard error; with ``quiet`` only its warnings."""
    log = logging.getLogger("tlp_core")
    log.handlers = [logging.StreamHandler()]
    log.handlers[0].setFormatter(logging.Formatter("tlp: %(message)s"))
    log.setLevel(logging.WARNING if quiet else logging.INFO)


def show_warning(message: Warning | str, *_place: Any, **_more: Any) -> None:
    """Print a warning to standard error; a replacement for ``warnings.showwarning``."""
    print(f"tlp: {on_one_line(message)}", file=sys.stderr)


def on_one_line(text: object) -> str:
    """Return a text with its line breaks, which a path can have, written as an escape."""
    return str(text).replace("\r", "\\r").replace("\n", "\\n")


def _replace_nan(value: Any) -> Any:
    """Return a value that JSON can hold: non-finite numbers become null."""
    if isinstance(value, Mapping):
        return {name: _replace_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_nan(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(value) or "none"
    if isinstance(value, list):
        return "x".join(_plain(part) for part in value)
    return f"{value:.6g}" if isinstance(value, float) else on_one_line(value)
