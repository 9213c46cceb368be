"""What a recorder found at one step, and its table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tlp_core.landscape.growing_table import GrowingTable
from tlp_core.landscape.landscape import Landscape
from tlp_core.topology.merge_tree import MergeTree

STEP = "step"
"""Column of the step."""


@dataclass(frozen=True)
class Record:
    """One step of a training.

    Attributes:
        step: number of optimizer steps that were done.
        values: numbers by name, in the order of the table: losses, descriptors, eigenvalues, times.
        landscape: the losses around the network.
        tree: their merge tree.
        path: the store of the landscape.
    """

    step: int
    values: Mapping[str, float]
    landscape: Landscape
    tree: MergeTree
    path: Path


class RecordTable:
    """A .csv file with a line for each record; NaN where there is no value."""

    def __init__(self, path: Path) -> None:
        """Read the table of an earlier part of the training; a line that was cut off is removed.

        Raises:
            ValueError: if the file is another table.
        """
        self._path, self._file = path, GrowingTable(path)
        columns = self._file.columns
        if columns and columns[0] != STEP:
            raise ValueError(f"{path} must be the table of a recorder; choose another folder")
        self.columns = columns
        self.steps = {int(row[STEP]) for row in self._file.rows}

    def append(self, record: Record) -> None:
        """Add one line.

        Raises:
            ValueError: if the columns are not those of the table.
        """
        columns, known = [STEP, *record.values], self._file.columns
        if known and columns != known:
            other = sorted(set(columns) ^ set(known)) or ["their order"]
            raise ValueError(
                f"the columns of {self._path} must be those of the recorder, and {other[0]!r} "
                "differs; choose another folder"
            )
        self._file.append({STEP: record.step, **record.values})
        self.steps.add(record.step)
