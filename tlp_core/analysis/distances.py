"""Distances between landscapes, by their persistence diagrams.

A persistence diagram is the multiset of (birth, death) of a tree's branches. The essential branch,
that of the global minimum, is a point of its own and not matched apart: it dies at the largest
finite loss. Distances are GUDHI's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tlp_core import checks
from tlp_core.choices import DIAGRAM_DISTANCES, DiagramDistance
from tlp_core.topology.merge_tree import MergeTree

_WASSERSTEIN_ERROR = 0.01

Diagram = npt.NDArray[np.float64]


def persistence_diagram(tree: MergeTree, *, relative: bool = False) -> Diagram:
    """Return birth and death of every branch of positive persistence, (B, 2) float64.

    Args:
        tree: the merge tree, simplified or not.
        relative: measure losses from the lowest, as shares of their range, so that landscapes of
            different scales compare; without a range the diagram is empty.
    """
    pairs = tree.branches()
    diagram = np.stack([pairs.birth, pairs.death], axis=1)[pairs.persistence > 0]
    if relative and len(diagram):
        diagram = (diagram - tree.levels.min()) / np.ptp(tree.levels)
    return diagram


def landscape_distances(
    trees: Sequence[MergeTree],
    *,
    distance: DiagramDistance = "bottleneck",
    relative: bool = False,
) -> npt.NDArray[np.float64]:
    """Return the distances between the persistence diagrams of landscapes, (T, T) float64.

    Args:
        trees: merge trees, T of them.
        distance: ``bottleneck``, the largest move (in units of the loss, along birth or death) of
            the best matching of two diagrams, in which a point may go to the diagonal; or
            ``wasserstein``, the sum of all moves of the best matching, to a relative error of 0.01
            (Kerber, Morozov, Nigmetov 2017, "Geometry helps to compare persistence diagrams").
        relative: losses as shares of each landscape's range.

    Raises:
        ValueError: for an unknown distance.
    """
    checks.choice(distance, DIAGRAM_DISTANCES, name="distance")
    measure = _bottleneck() if distance == "bottleneck" else _wasserstein()
    diagrams = [persistence_diagram(tree, relative=relative) for tree in trees]
    matrix = np.zeros((len(diagrams), len(diagrams)))
    for i in range(len(diagrams)):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = measure(diagrams[i], diagrams[j])
    return matrix


def _bottleneck() -> Callable[[Diagram, Diagram], float]:
    from gudhi import bottleneck_distance

    def measure(one: Diagram, other: Diagram) -> float:
        found = float(bottleneck_distance(one, other))
        return found if found > np.finfo(np.float64).tiny else 0.0  # GUDHI's answer for equal ones

    return measure


def _wasserstein() -> Callable[[Diagram, Diagram], float]:
    from gudhi.hera import wasserstein_distance

    return lambda one, other: float(
        wasserstein_distance(one, other, order=1.0, delta=_WASSERSTEIN_ERROR)
    )
