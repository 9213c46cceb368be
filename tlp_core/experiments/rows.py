"""The table of an experiment: a row for each landscape, with its parameters and its numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

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
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a table with numbers as numbers; empty if there is no such file.

    A row has no value in the columns that :func:`write_table` found in other rows only.

    Raises:
        ValueError: if the file is not a table in UTF-8.
    """
    if not path.exists():
        return []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            table = list(csv.DictReader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} must be a table of an experiment: {error}") from error
    for line, row in enumerate(table, start=2):
        if None in row or None in row.values():
            raise ValueError(f"{path} must be a table of an experiment, and line {line} is damaged")
    return [{name: _value(text) for name, text in row.items() if text} for row in table]


def add_row(path: Path, row: Row) -> None:
    """Write a further row to a table, which may have columns of its own.

    Several processes may do so: the whole table is written again, under a lock and in one atomic
    step, because it is short.
    """
    with FileLock(path.with_name(f".{path.name}.lock")):
        write_table(path, [*read_rows(path), row])


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
