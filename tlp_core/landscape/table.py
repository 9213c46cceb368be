"""Tables of landscapes: which store belongs to which learning rate and seed."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlp_core.landscape.series import LANDSCAPE_ENDING, landscape_paths

COLUMN = "landscape"
"""Name of the column with the path of each landscape."""

_PAIR = re.compile(r"([A-Za-z]+)[_=-]?(-?\d+(?:\.\d+)?(?:e-?\d+)?)")


@dataclass(frozen=True)
class Run:
    """One landscape of a table.

    Attributes:
        path: its store.
        parameters: value of each parameter by name, as text.
    """

    path: Path
    parameters: dict[str, str]


@dataclass(frozen=True)
class LandscapeTable:
    """Landscapes arranged in rows and columns.

    Attributes:
        rows: name and values of the parameter of the rows, in increasing order; two empty texts
            for a table of one row.
        columns: the same for the columns.
        cells: the run of each pair of a row's and a column's value; absent where there is none.
    """

    rows: tuple[str, list[str]]
    columns: tuple[str, list[str]]
    cells: dict[tuple[str, str], Run]

    def heading(self, row: str, column: str) -> str:
        """Return the text above a cell, such as ``beta = 10, seed = 2``."""
        pairs = ((self.rows[0], row), (self.columns[0], column))
        return ", ".join(f"{name} = {value}" for name, value in pairs if name)


@dataclass(frozen=True)
class Series:
    """A number over the steps of a training.

    Attributes:
        steps: (T,) the steps, in ascending order.
        values: (T,) the number at each; NaN where it has none.
    """

    steps: list[float]
    values: list[float]


def read_series(path: str | os.PathLike[str]) -> dict[str, Series]:
    """Return the columns of numbers of a .csv table with a column ``step``, by name.

    Args:
        path: such as ``descriptors.csv`` of a recorder; rows without a step do not count.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it has no steps.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = [(number_or_nan(row.get("step")), row) for row in csv.DictReader(file)]
    known = sorted(((step, row) for step, row in rows if np.isfinite(step)), key=lambda p: p[0])
    if not known:
        raise ValueError(f"table {path} must have a column 'step' with numbers, and has none")
    steps = [step for step, _ in known]
    columns = {
        name: [number_or_nan(row.get(name)) for _, row in known] for name in known[0][1] if name
    }
    return {
        name: Series(steps, values)
        for name, values in columns.items()
        if name != "step" and np.isfinite(values).any()
    }


def find_runs(places: Sequence[str | os.PathLike[str]]) -> list[Run]:
    """Return the runs of a table, or of stores whose names hold the parameters.

    Args:
        places: one .csv table with a column ``landscape``, whose relative paths start at the
            table's folder, and a column for each parameter; or stores, folders of stores and
            patterns, with names such as ``beta10_seed2.zarr``.

    Raises:
        FileNotFoundError: if the table or the stores do not exist.
        ValueError: if the table has no such column or no rows, or a name holds no parameter.
    """
    if len(places) == 1 and str(places[0]).endswith(".csv"):
        return _runs_of_table(Path(places[0]))
    return [Run(path, _parameters_in(path)) for path in landscape_paths(places)]


def arrange(
    runs: Iterable[Run], rows: str | None = None, columns: str | None = None
) -> LandscapeTable:
    """Return runs in rows and columns by one or two of their parameters.

    Args:
        runs: one for each landscape.
        rows: name of the parameter of the rows. Default: None, a single row.
        columns: name of the parameter of the columns. Default: None, a single column.

    Raises:
        ValueError: if both are the same, a run lacks one of them, or two runs share a cell.
    """
    if rows is None and columns is None:
        raise ValueError("a table must have rows, columns or both, got neither; name a parameter")
    if rows == columns:
        raise ValueError(f"rows and columns must be two parameters, got {rows} for both")
    names = [name or "" for name in (rows, columns)]
    cells: dict[tuple[str, str], Run] = {}
    for run in runs:
        for name in filter(None, names):
            if name not in run.parameters:
                there = ", ".join(run.parameters) or "none"
                raise ValueError(f"{run.path} must have the parameter {name}, got {there}")
        row, column = (run.parameters[name] if name else "" for name in names)
        if (row, column) in cells:
            place = ", ".join(f"{n} = {v}" for n, v in zip(names, (row, column)) if n)
            raise ValueError(
                f"a cell must have one landscape, and {place} has two: {cells[row, column].path} "
                f"and {run.path}"
            )
        cells[row, column] = run
    values = [sorted({place[i] for place in cells}, key=_by_number) for i in (0, 1)]
    return LandscapeTable((names[0], values[0]), (names[1], values[1]), cells)


def _runs_of_table(path: Path) -> list[Run]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            table = list(csv.DictReader(file))
    except UnicodeDecodeError as error:
        raise ValueError(f"table {path} must be text in UTF-8: {error}") from error
    if not table or COLUMN not in table[0]:
        raise ValueError(f"table {path} must have rows and a column {COLUMN!r}")
    for number, row in enumerate(table, start=2):
        if None in row or None in row.values() or not row[COLUMN]:
            raise ValueError(f"line {number} of table {path} must have a value for each column")
    return [
        Run(path.parent / row[COLUMN], {n: v for n, v in row.items() if n != COLUMN})
        for row in table
    ]


def _parameters_in(path: Path) -> dict[str, str]:
    pairs = dict(_PAIR.findall(path.name.removesuffix(LANDSCAPE_ENDING)))
    if not pairs:
        raise ValueError(
            f"the name of a landscape must hold its parameters, such as beta10_seed2.zarr, "
            f"got {path.name}; rename it or use a .csv table"
        )
    return pairs


def _by_number(value: str) -> tuple[int, float, str]:
    try:
        return 0, float(value), value
    except ValueError:
        return 1, 0.0, value


def number_or_nan(text: str | None) -> float:
    """Return the number that a text holds; NaN if it holds none."""
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
