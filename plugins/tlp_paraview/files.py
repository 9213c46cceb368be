"""Lookup of files that state files and properties name by a relative path."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tlp_core.landscape.series import Member, member_at

STATE_FOLDER_VARIABLE = "TLP_STATE_FILES"
"""Set by the launchers, because an installed suite has its state files in another folder."""

_CHECKOUT = Path(__file__).resolve().parents[2]


def state_folder() -> Path:
    """Return the folder of the suite's state files."""
    return Path(os.environ.get(STATE_FOLDER_VARIABLE) or _CHECKOUT / "state_files")


def find_file(path: str) -> str:
    """Return the path of a file: as given if it exists, else in the suite's folder of state files.

    Args:
        path: absolute, or relative to the working directory or the folder of state files.

    Returns:
        The first of the two that exists; ``path`` itself if none does, for the error message.
    """
    if path and not Path(path).exists() and (state_folder() / path).exists():
        return str(state_folder() / path)
    return path


class SeriesFiles:
    """The files of the steps of a training, as of the last request of ParaView for time steps.

    A file that is deleted later is an error at its step, and does not shift the other steps.

    Args:
        find: function that returns the files at some places, by step, such as
            :func:`~tlp_core.landscape.series.find_checkpoints`.
    """

    def __init__(self, find: Callable[[Iterable[str]], Sequence[Member]]) -> None:
        self._find = find
        self._members: Sequence[Member] = ()
        self._error: OSError | None = None
        self._warnings: list[str] = []

    def scan(self, places: Iterable[str]) -> None:
        """Find the files at some places; errors and warnings are kept for :meth:`at`."""
        self._members, self._error = (), None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                self._members = self._find(map(find_file, places))
            except OSError as error:
                self._error = error
        self._warnings = [str(warning.message) for warning in caught]

    @property
    def members(self) -> Sequence[Member]:
        """Files by step."""
        return self._members

    @property
    def steps(self) -> list[float]:
        """Step of each file, in ascending order."""
        return [member.step for member in self._members]

    def at(self, time: float | None) -> Member:
        """Return the file of a time: the last step at or before it, else the first step.

        Warnings of :meth:`scan` are issued once.

        Raises:
            OSError: if :meth:`scan` found no files.
        """
        if self._error is not None:
            raise self._error
        messages, self._warnings = self._warnings, []
        for text in messages:
            warnings.warn(text, stacklevel=2)
        return member_at(self._members, time)
