"""The merge tree of a landscape."""

from __future__ import annotations

import warnings

from tlp_core.choices import GridRule
from tlp_core.landscape.landscape import Landscape
from tlp_core.topology.graphs import EdgeGraph, GridGraph, grid_graph, knn_graph
from tlp_core.topology.merge_tree import MergeTree, merge_tree


def landscape_tree(
    landscape: Landscape, *, rule: GridRule = "diagonal", threshold: float = 0.0
) -> MergeTree:
    """Return the merge tree of a landscape, simplified by persistence.

    Args:
        landscape: losses on a grid, or at scattered points. Missing samples count as the
            highest, and a warning reports them.
        rule: which samples of a grid are neighbours; scattered samples use
            :func:`~tlp_core.knn_graph` with its defaults.
        threshold: smallest persistence that stays, as a fraction, 0 to 1, of the range of the
            losses.

    Raises:
        ValueError: for an unknown rule, a threshold out of range, or no finite loss.
    """
    if not landscape.is_complete:
        missing = int((~landscape.evaluated).sum())
        warnings.warn(
            f"the landscape is incomplete: {missing} missing samples count as the highest",
            stacklevel=2,
        )
    graph: GridGraph | EdgeGraph
    if landscape.points is None:
        graph = grid_graph(landscape.shape, rule=rule)
    else:
        graph = knn_graph(landscape.points)
    return merge_tree(landscape.loss, graph).simplified(threshold, relative=True)
