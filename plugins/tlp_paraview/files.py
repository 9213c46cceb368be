"""Where files lie that state files and properties name by a relative path."""

from __future__ import annotations

import os
from pathlib import Path

STATE_FOLDER_VARIABLE = "TLP_STATE_FILES"
"""Set by the launchers, for an installed suite has its state files elsewhere."""

_CHECKOUT = Path(__file__).resolve().parents[2]


def state_folder() -> Path:
    """Return the folder of the suite's state files."""
    return Path(os.environ.get(STATE_FOLDER_VARIABLE) or _CHECKOUT / "state_files")


def found(path: str) -> str:
    """Return a path that exists: as given, else in the suite's folder of state files.

    A path that is found nowhere is returned as given, for the error message.
    """
    if path and not Path(path).exists() and (state_folder() / path).exists():
        return str(state_folder() / path)
    return path
