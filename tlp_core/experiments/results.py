"""Results of an experiment, group_rows by columns of its table: merge trees and training series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core.choices import GridRule
from tlp_core.experiments.rows import Row, group_rows
from tlp_core.landscape.landscape import Landscape
from tlp_core.topology.landscape_tree import landscape_tree
from tlp_core.topology.merge_tree import MergeTree

PERSISTENCE = 1e-3
"""Persistence threshold, as a fraction of the range of the losses.

Rounding errors of the loss create basins of smaller persistence.
"""


def tree_of(landscape: Landscape, rule: GridRule = "diagonal") -> MergeTree:
    """Return the merge tree of a landscape, without branches below the threshold ``PERSISTENCE``.

    Args:
        landscape: a landscape on a grid.
        rule: rule of the neighbour graph. Default: ``diagonal``.

    Raises:
        ValueError: if no loss is finite.
    """
    return landscape_tree(landscape, rule=rule, threshold=PERSISTENCE)


def trees_by(
    rows: Sequence[Row], folder: Path, *names: str
) -> dict[tuple[Any, ...], list[MergeTree]]:
    """Return the merge trees of the landscapes of a table, group_rows by the values of columns.

    Args:
        rows: rows of the table.
        folder: folder of the experiment, with the landscapes.
        names: columns that define the groups.

    Returns:
        The merge trees of each group, by the values of the columns.
    """
    return {
        key: [tree_of(Landscape.open(folder / row["landscape"])) for row in group]
        for key, group in group_rows(rows, names).items()
    }


def series_by(
    rows: Sequence[Row], column: str, *names: str
) -> dict[tuple[Any, ...], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Return a column of a table over the training steps, group_rows by the values of columns.

    Args:
        rows: rows of the table.
        column: the column with the values.
        names: columns that define the groups.

    Returns:
        For each group, by the values of the columns: the steps (T,) in increasing order and the
        values (T,), both float64.
    """
    series = {}
    for key, group in group_rows(rows, names).items():
        points = np.array(sorted((float(row["step"]), float(row[column])) for row in group))
        series[key] = points[:, 0], points[:, 1]
    return series
