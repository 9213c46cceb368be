"""Where files lie that state files and properties name by a relative path."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tlp_core.landscape.series import Member, member_at

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


class SeriesFiles:
    """The files of a training's steps as they were when ParaView last asked for time steps.

    So a file that goes away later fails at its step, and does not shift the others.
    """

    def __init__(self, find: Callable[[Iterable[str]], Sequence[Member]]) -> None:
        self._find = find
        self._members: Sequence[Member] = ()
        self._error: OSError | None = None
        self._warnings: list[str] = []

    def look(self, places: Iterable[str]) -> None:
        """Look for the files; what is wrong with them :meth:`at` tells."""
        self._members, self._error = (), None
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", UserWarning)
            try:
                self._members = self._find(map(found, places))
            except OSError as error:
                self._error = error
        self._warnings = [str(warning.message) for warning in told]

    @property
    def members(self) -> Sequence[Member]:
        """The files that were found, by step."""
        return self._members

    @property
    def steps(self) -> list[float]:
        """The step of each file."""
        return [member.step for member in self._members]

    def at(self, time: float | None) -> Member:
        """Return the file of a time, or raise what was wrong; warnings are told once."""
        if self._error is not None:
            raise self._error
        told, self._warnings = self._warnings, []
        for text in told:
            warnings.warn(text, stacklevel=2)
        return member_at(self._members, time)
