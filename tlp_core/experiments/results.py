"""What an experiment left, by columns of its table: merge trees, and series over the training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core.choices import GridRule
from tlp_core.experiments.rows import Row, grouped
from tlp_core.landscape.landscape import Landscape
from tlp_core.topology.graphs import grid_graph
from tlp_core.topology.merge_tree import MergeTree, merge_tree

PERSISTENCE = 1e-3
"""Share of the range of the losses below which basins are not counted: rounding makes such."""


def tree_of(landscape: Landscape, rule: GridRule = "diagonal") -> MergeTree:
    """Return the merge tree of a landscape without the basins that rounding makes."""
    tree = merge_tree(landscape.loss, grid_graph(landscape.shape, rule=rule))
    return tree.simplified(PERSISTENCE, relative=True)


def trees_by(
    rows: Sequence[Row], folder: Path, *names: str
) -> dict[tuple[Any, ...], list[MergeTree]]:
    """Return the merge trees of the landscapes of a table, by the values of some columns."""
    return {
        place: [tree_of(Landscape.open(folder / row["landscape"])) for row in group]
        for place, group in grouped(rows, names).items()
    }


def series_by(
    rows: Sequence[Row], column: str, *names: str
) -> dict[tuple[Any, ...], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Return steps and a column over them, by the values of some other columns."""
    series = {}
    for place, group in grouped(rows, names).items():
        points = np.array(sorted((float(row["step"]), float(row[column])) for row in group))
        series[place] = points[:, 0], points[:, 1]
    return series
