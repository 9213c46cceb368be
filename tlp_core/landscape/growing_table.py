"""A .csv file to which rows are appended one at a time: a killed run loses one row at most."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path


class GrowingTable:
    """A table with one header, whose columns are those of its first row.

    Attributes:
        columns: names of the columns; empty before the first row.
        rows: the rows that were there at the start, as text by column.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        """Read an existing table; a last line that was not finished is removed.

        Args:
            path: the table.
            writes: whether this process writes it, as the first of several does.
        """
        self._path, self._writes = path, writes
        self.columns: list[str] = []
        self.rows: list[dict[str, str]] = []
        if not path.exists():
            return
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content and writes:
            path.write_bytes(whole)
        table = csv.DictReader(io.StringIO(whole.decode("utf-8")))
        self.rows, self.columns = list(table), list(table.fieldnames or ())

    def append(self, row: Mapping[str, object]) -> None:
        """Write one row, which is on the disk afterwards.

        Raises:
            ValueError: if the row has a column that the table has not.
        """
        is_new = not self.columns or (self._writes and not self._path.exists())
        if is_new:
            self.columns = list(row)
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns)
        if is_new:
            writer.writeheader()
        writer.writerow(row)
        if self._writes:
            with open(self._path, "ab") as file:
                file.write(text.getvalue().encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
