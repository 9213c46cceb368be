"""What a recorder found at one step, and its table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
        self.path, self.steps = path, set[int]()
        self._columns: list[str] = []
        if not path.exists():
            return
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            path.write_bytes(whole)
        rows = csv.DictReader(io.StringIO(whole.decode("utf-8")))
        self._columns = list(rows.fieldnames or ())
        if self._columns and self._columns[0] != STEP:
            raise ValueError(f"{path} must be the table of a recorder; choose another folder")
        self.steps = {int(row[STEP]) for row in rows}

    def append(self, record: Record) -> None:
        """Add one line.

        Raises:
            ValueError: if the columns are not those of the table.
        """
        columns = [STEP, *record.values]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self._columns or not self.path.exists():
            writer.writerow(columns)
        elif columns != self._columns:
            other = sorted(set(columns) ^ set(self._columns)) or ["their order"]
            raise ValueError(
                f"the columns of {self.path} must be those of the recorder, and {other[0]!r} "
                "differs; choose another folder"
            )
        writer.writerow([record.step, *map(repr, record.values.values())])
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
        self._columns = columns
        self.steps.add(record.step)
