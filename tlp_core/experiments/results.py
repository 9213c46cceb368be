"""Results of an experiment: the merge tree of a landscape, and series over the training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core.analysis.distances import persistence_diagram
from tlp_core.choices import GridRule
from tlp_core.experiments.rows import Row, group_rows
from tlp_core.landscape.landscape import Landscape
from tlp_core.sampling.plan import RISE
from tlp_core.topology.landscape_tree import landscape_tree
from tlp_core.topology.merge_tree import MergeTree

PERSISTENCE = 1e-3
"""Persistence threshold, as a fraction of the range of the losses.

Rounding errors of the loss create basins of smaller persistence.
"""

HALF_WIDTH = "half-width"
"""Column: geometric mean of the half-widths of a box that a rise has decided."""

LOW_VOLUME = "volume below half the rise"
"""Column: fraction of the samples whose loss has risen by less than half of the box's rise."""

_DIAGRAM = "persistence_diagram"


def tree_of(landscape: Landscape, rule: GridRule = "diagonal") -> MergeTree:
    """Return the merge tree of a landscape, without branches below the threshold ``PERSISTENCE``.

    Args:
        landscape: a landscape on a grid.
        rule: rule of the neighbour graph. Default: ``diagonal``.

    Raises:
        ValueError: if no loss is finite.
    """
    return landscape_tree(landscape, rule=rule, threshold=PERSISTENCE)


def low_volume(landscape: Landscape) -> float:
    """Return the fraction of the samples whose loss has risen by less than half of the box's rise.

    In a box whose half-widths a rise has decided, this is a property of the shape of the basin: for
    a parabola of n directions, the volume of the ball of radius 1/√2 over that of the box, 0.39 in
    2D and 0.185 in 3D. A narrow funnel has less, a flat bottom has more.
    """
    level = landscape.center + landscape.provenance[RISE] / 2
    return float((landscape.loss < level).mean())


def shape_of_basin(landscape: Landscape, _tree: MergeTree) -> Row:
    """Return the columns that tell size and shape of a basin in a box that a rise has decided."""
    return {
        HALF_WIDTH: float(np.exp(np.log(landscape.distance).mean())),
        LOW_VOLUME: low_volume(landscape),
    }


def diagram_text(tree: MergeTree) -> Row:
    """Return the persistence diagram of a tree, scaled to 0 … 1, as a column of the table."""
    diagram = persistence_diagram(tree, relative=True)
    return {_DIAGRAM: json.dumps([[float(f"{x:.6g}") for x in pair] for pair in diagram])}


def diagram_of(row: Row) -> npt.NDArray[np.float64]:
    """Return the persistence diagram of a row, (B, 2) float64."""
    return np.array(json.loads(row[_DIAGRAM]), dtype=np.float64).reshape(-1, 2)


def series_by(
    rows: Sequence[Row], column: str, *names: str
) -> dict[tuple[Any, ...], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Return a column of a table over the training steps, for each value of other columns.

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
        values = ((float(row["step"]), float(row.get(column, np.nan))) for row in group)
        points = np.array(sorted(values))
        series[key] = points[:, 0], points[:, 1]
    return series
