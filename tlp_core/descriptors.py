"""Numbers that summarise a merge tree."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from tlp_core.array_names import CriticalType
from tlp_core.merge_tree import MergeTree


@dataclass(frozen=True)
class Descriptors:
    """Descriptors of one landscape; p_i are the persistences of its branches.

    Attributes:
        number_of_samples: N.
        number_of_minima: leaves of the tree, which is the number of branches B.
        number_of_saddles: inner nodes where two or more components meet, the root not counted.
        minimum_loss: the lowest loss.
        maximum_loss: the largest finite loss.
        average_persistence: Σ p_i / B, every branch counted, the essential one (the global
            minimum's, which ends at the root) too. Xie et al. (2024) measure the distance to the
            diagonal of the persistence diagram instead, p_i / √2.
        average_finite_persistence: the same without the essential branch; NaN if it is alone.
        maximal_finite_persistence: largest p_i but the essential one; NaN if it is alone.
        total_persistence: Σ p_i.
        persistence_entropy: -Σ q_i log q_i with q_i = p_i / Σ p (natural logarithm; Chintakunta
            et al. 2015); NaN where all losses are equal.
    """

    number_of_samples: int
    number_of_minima: int
    number_of_saddles: int
    minimum_loss: float
    maximum_loss: float
    average_persistence: float
    average_finite_persistence: float
    maximal_finite_persistence: float
    total_persistence: float
    persistence_entropy: float

    def as_dict(self) -> dict[str, float]:
        """Return the descriptors by name, in order."""
        return asdict(self)


def describe(tree: MergeTree) -> Descriptors:
    """Return the descriptors of a merge tree, simplified or not."""
    persistence = tree.branches().persistence
    finite = persistence[1:]
    saddle_types = (CriticalType.SADDLE, CriticalType.DEGENERATE_SADDLE)
    return Descriptors(
        number_of_samples=len(tree.values),
        number_of_minima=len(persistence),
        number_of_saddles=int(np.isin(tree.node_type, saddle_types).sum()),
        minimum_loss=float(tree.levels.min()),
        maximum_loss=float(tree.levels.max()),
        average_persistence=float(persistence.mean()),
        average_finite_persistence=float(finite.mean()) if finite.size else np.nan,
        maximal_finite_persistence=float(finite.max()) if finite.size else np.nan,
        total_persistence=float(persistence.sum()),
        persistence_entropy=_entropy(persistence),
    )


def _entropy(persistence: npt.NDArray[np.float64]) -> float:
    total = persistence.sum()
    if total == 0:
        return float("nan")
    share = persistence[persistence > 0] / total
    return float(-(share * np.log(share)).sum())
