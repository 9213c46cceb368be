"""The table of an experiment: a row for each landscape, with its parameters and its numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlp_core.atomic_files import atomic_write

Row = Mapping[str, Any]


def group_rows(rows: Iterable[Row], names: Sequence[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Return the rows of a table by the values of some columns, in the order in which they come."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write a .csv file whose columns are those of all rows."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (
        atomic_write(path) as unfinished,
        open(unfinished, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
