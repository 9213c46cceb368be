"""What an experiment left, by columns of its table: merge trees, and series over the training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core.experiments.claims import Row
from tlp_core.landscape import Landscape
from tlp_core.merge_tree import MergeTree, merge_tree
from tlp_core.neighbors import GridRule, grid_graph

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
    trees: dict[tuple[Any, ...], list[MergeTree]] = {}
    for row in rows:
        place = tuple(row[name] for name in names)
        trees.setdefault(place, []).append(tree_of(Landscape.open(folder / row["landscape"])))
    return trees


def series_by(
    rows: Sequence[Row], column: str, *names: str
) -> dict[tuple[Any, ...], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Return steps and a column over them, by the values of some other columns."""
    series: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    for row in rows:
        place = tuple(row[name] for name in names)
        series.setdefault(place, []).append((float(row["step"]), float(row[column])))
    ordered = {place: np.array(sorted(points)) for place, points in series.items()}
    return {place: (points[:, 0], points[:, 1]) for place, points in ordered.items()}
