"""The merge tree of a landscape."""

from __future__ import annotations

import warnings
from dataclasses import replace

from tlp_core.choices import GridRule
from tlp_core.landscape.landscape import Landscape
from tlp_core.topology.graphs import EdgeGraph, GridGraph, grid_graph, knn_graph
from tlp_core.topology.merge_tree import MergeTree, merge_tree


def landscape_tree(
    landscape: Landscape,
    *,
    rule: GridRule = "diagonal",
    threshold: float = 0.0,
    logarithmic: bool = False,
) -> MergeTree:
    """Return the merge tree of a landscape, simplified by persistence.

    Args:
        landscape: losses on a grid, or at scattered points. Missing samples count as the
            highest, and a warning reports them.
        rule: which samples of a grid are neighbours; scattered samples use
            :func:`~tlp_core.knn_graph` with its defaults.
        threshold: smallest persistence that stays, as a fraction, 0 to 1, of the range of the
            losses.
        logarithmic: measure persistence and range on the logarithm of the loss. Default: False.

    Raises:
        ValueError: for an unknown rule, a threshold out of range, no finite loss, or a logarithm of
            a loss that is not positive.
    """
    if not landscape.is_complete:
        missing = int((~landscape.evaluated).sum())
        warnings.warn(
            f"the landscape is incomplete: {missing} missing samples count as the highest",
            stacklevel=2,
        )
    graph = landscape_graph(landscape, rule=rule)
    tree = replace(merge_tree(landscape.loss, graph), volumes=landscape.volumes())
    return tree.simplified(threshold, relative=True, logarithmic=logarithmic)


def landscape_graph(landscape: Landscape, *, rule: GridRule = "diagonal") -> GridGraph | EdgeGraph:
    """Return the neighbour graph of a landscape; the arguments are those of :func:`landscape_tree`.

    Raises:
        ValueError: for an unknown rule.
    """
    if landscape.points is None:
        return grid_graph(landscape.shape, rule=rule)
    return knn_graph(landscape.points)
