"""Distances between landscapes, computed from their persistence diagrams.

A persistence diagram is the multiset of the points (birth, death) of the branches of a merge tree.
The essential branch, that of the global minimum, dies at the largest finite loss. It is therefore
an ordinary point of the diagram and is matched like any other. GUDHI computes the distances.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from tlp_core import checks
from tlp_core.choices import DIAGRAM_DISTANCES, DiagramDistance
from tlp_core.topology.merge_tree import MergeTree

_WASSERSTEIN_ERROR = 0.01
"""Relative error of the Wasserstein distance."""

Diagram = npt.NDArray[np.float64]


def persistence_diagram(tree: MergeTree, *, relative: bool = False) -> Diagram:
    """Return the persistence diagram of a merge tree.

    Args:
        tree: the merge tree, simplified or not.
        relative: scale losses to 0 … 1, from the lowest to the largest finite loss, so that
            landscapes of different scale can be compared. Default: False.

    Returns:
        (B, 2) float64, birth and death of each branch of positive persistence; empty if all losses
        are equal.
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
    """Return the distances between the persistence diagrams of landscapes.

    A matching of two diagrams assigns each point to a point of the other diagram or to the
    diagonal. The cost of an assignment is the larger of the differences in birth and in death.

    Args:
        trees: T merge trees.
        distance: ``bottleneck``, the smallest possible largest cost of a matching; or
            ``wasserstein``, the smallest possible sum of costs, to a relative error of 0.01
            (Kerber, Morozov, Nigmetov 2017, "Geometry helps to compare persistence diagrams").
            Default: ``bottleneck``.
        relative: scale the losses of each landscape to 0 … 1. Default: False.

    Returns:
        (T, T) float64, symmetric, zero on the diagonal, in units of the loss, or as fractions of
        the range of the losses if ``relative``.

    Raises:
        ValueError: if the distance is unknown.
    """
    diagrams = [persistence_diagram(tree, relative=relative) for tree in trees]
    return diagram_distances(diagrams, distance=distance)


def diagram_distances(
    diagrams: Sequence[Diagram], *, distance: DiagramDistance = "bottleneck"
) -> npt.NDArray[np.float64]:
    """Return the distances between persistence diagrams.

    Args:
        diagrams: T arrays (B, 2) of births and deaths, as :func:`persistence_diagram` returns them.
        distance: as in :func:`landscape_distances`.

    Returns:
        (T, T) float64, symmetric, zero on the diagonal, in units of the diagrams.

    Raises:
        ValueError: if the distance is unknown.
    """
    checks.choice(distance, DIAGRAM_DISTANCES, name="distance")
    measure = _bottleneck() if distance == "bottleneck" else _wasserstein()
    matrix = np.zeros((len(diagrams), len(diagrams)))
    for i in range(len(diagrams)):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = measure(diagrams[i], diagrams[j])
    return matrix


def embed_distances(
    distances: npt.ArrayLike, *, dimensions: int = 2
) -> tuple[npt.NDArray[np.float64], float]:
    """Return points whose distances are close to given ones, by classical scaling.

    Torgerson 1952, "Multidimensional scaling: I. Theory and method": the doubly centred squares of
    the distances are the inner products of the points.

    Args:
        distances: (T, T), symmetric, zero on the diagonal.
        dimensions: number of coordinates of a point, >= 1. Default: 2.

    Returns:
        (T, dimensions) float64, centred at 0, in units of the distances, the coordinate of largest
        variance first; the entry of largest magnitude of each coordinate is positive. And the
        fraction, 0 to 1, of the sum of the magnitudes of all eigenvalues that these coordinates
        hold; 1 if the points have exactly the given distances.

    Raises:
        ValueError: if the distances are not a finite symmetric matrix.
        TypeError: if the number of dimensions is not an integer.
    """
    matrix = np.asarray(distances, dtype=np.float64)
    dimensions = checks.integer(dimensions, name="dimensions", minimum=1)
    is_square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] and len(matrix) > 0
    if not is_square or not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T):
        raise ValueError(
            f"distances must be a finite symmetric matrix, got an array of shape {matrix.shape}"
        )
    centering = np.eye(len(matrix)) - 1 / len(matrix)
    values, vectors = np.linalg.eigh(-0.5 * centering @ matrix**2 @ centering)
    kept = np.argsort(-values)[:dimensions]
    points = np.zeros((len(matrix), dimensions))
    points[:, : len(kept)] = vectors[:, kept] * np.sqrt(np.maximum(values[kept], 0.0))
    largest = np.abs(points).argmax(axis=0)
    points *= np.where(points[largest, np.arange(dimensions)] < 0, -1.0, 1.0)
    total = float(np.abs(values).sum())
    held = float(np.maximum(values[kept], 0.0).sum()) / total if total > 0 else 1.0
    return points, held


def _bottleneck() -> Callable[[Diagram, Diagram], float]:
    from gudhi import bottleneck_distance

    def measure(one: Diagram, other: Diagram) -> float:
        distance = float(bottleneck_distance(one, other))
        # For equal diagrams GUDHI returns the smallest positive double instead of 0.
        return distance if distance > np.finfo(np.float64).tiny else 0.0

    return measure


def _wasserstein() -> Callable[[Diagram, Diagram], float]:
    from gudhi.hera import wasserstein_distance

    return lambda one, other: float(
        wasserstein_distance(one, other, order=1.0, delta=_WASSERSTEIN_ERROR)
    )
