"""The table of groups of parameters and steps, as ``tlp blocks`` writes it, read as matrices."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tlp_core.landscape.table import COLUMN, number_or_nan

STEP, GROUP, KEY = "step", "group", "key"
"""Columns of the step, of the group, and of a hash of everything that a row depends on."""

_TEXTS = (STEP, GROUP, KEY, COLUMN)


@dataclass(frozen=True)
class BlockRows:
    """A table with a value for each group and step.

    Attributes:
        groups: names of the G groups, in the order of the table.
        steps: (S,) float64, in ascending order.
        columns: each column of numbers by name, (G, S) float64; NaN where there is no number.
    """

    groups: tuple[str, ...]
    steps: npt.NDArray[np.float64]
    columns: Mapping[str, npt.NDArray[np.float64]]


def read_block_rows(path: str | os.PathLike[str]) -> BlockRows:
    """Return the table of a .csv file; a last line that is being written does not count.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a table of ``tlp blocks``, or has no rows.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"a table of blocks must be a file, found none at {path}")
    try:
        lines = Path(path).read_bytes().decode("utf-8").splitlines(keepends=True)
        table = csv.DictReader(line for line in lines if line.endswith("\n"))
        rows, names = list(table), list(table.fieldnames or ())
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{path} must be a table of tlp blocks, and is damaged: {error}"
        ) from error
    if not {STEP, GROUP, KEY} <= set(names):
        raise ValueError(f"{path} must be a table of tlp blocks, and lacks one of its columns")
    steps = np.unique([number_or_nan(row[STEP]) for row in rows])
    if not len(rows) or not np.isfinite(steps).all():
        raise ValueError(f"{path} must have rows with a step each, got {len(rows)} rows")
    groups = tuple(dict.fromkeys(str(row[GROUP]) for row in rows))
    columns = {
        name: np.full((len(groups), len(steps)), np.nan) for name in names if name not in _TEXTS
    }
    for row in rows:
        place = groups.index(str(row[GROUP])), int(np.searchsorted(steps, number_or_nan(row[STEP])))
        for name, values in columns.items():
            values[place] = number_or_nan(row[name])
    return BlockRows(groups, steps, columns)
