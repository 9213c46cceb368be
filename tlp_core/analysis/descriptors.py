"""Numbers that summarise a merge tree.

Two kinds of pairs are counted. Branches pair each minimum with the saddle where its component dies
(persistence); the global minimum's, which ends at the root, is called essential. Leaf basins are
what the eye sees in a profile: the arcs above a minimum, up to the first saddle, or to the root.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from tlp_core.array_names import CriticalType
from tlp_core.topology.branches import Branches
from tlp_core.topology.merge_tree import MergeTree

_ONE_MINIMUM = "the landscape has one minimum"
_NO_SADDLE = "no minimum lies below a saddle"
_EQUAL_LOSSES = "all losses are equal"
_FLAT_BASIN = "the basin of the global minimum has no depth"


@dataclass(frozen=True)
class Descriptors:
    """Descriptors of one landscape.

    B branches have the persistences p_i = death - birth; L leaf basins have the depths
    g_i = f(upper node) - f(minimum) and the sizes s_i, in samples. What is undefined is NaN, and
    ``undefined`` tells why. Definitions without a source are this project's.

    Attributes:
        number_of_samples: N.
        number_of_minima: leaves of the tree, B = L.
        number_of_saddles: inner nodes where two or more components meet, the root not counted.
        critical_point_density: (minima + saddles) / N.
        minimum_loss: the lowest loss.
        maximum_loss: the largest finite loss.
        average_persistence: Σ p_i / B, the essential branch counted.
        average_finite_persistence: the same without the essential branch.
        average_diagonal_distance: Σ p_i / (√2 B), the mean distance of the persistence diagram's
            points to its diagonal (Xie et al. 2024), the essential branch counted.
        average_finite_diagonal_distance: the same without the essential branch.
        maximal_persistence: largest p_i, the essential branch's: the range of the losses.
        maximal_finite_persistence: largest p_i but the essential one.
        total_persistence: Σ p_i.
        total_finite_persistence: the same without the essential branch.
        persistence_entropy: -Σ q_i log q_i with q_i = p_i / Σ p (natural logarithm; Chintakunta
            et al. 2015).
        smad: saddle-minimum average distance, the mean g_i of the leaf basins that end at a saddle
            (Chen et al. 2026). It is not persistence: the global minimum counts with its first
            saddle.
        smad_normalized: the mean of g_i / (maximum_loss - minimum_loss) of the same.
        smad_weighted: the mean of g_i s_i / N of the same. (Chen et al. take s_i from a Morse-Smale
            complex, here it is the basin's number of samples.)
        average_basin_size: Σ s_i / L.
        largest_basin_size: largest s_i.
        global_minimum_depth: g of the global minimum's leaf basin: what must be climbed to leave
            it, or the range of the losses where it is alone.
        global_minimum_size: s of the same.
        width_at_half_depth: the share of all samples, 0 to 1, that lie in the same basin at or
            below half of its depth: the width of the profile there, over N.
        undefined: the reason for each descriptor that is NaN.
    """

    number_of_samples: int
    number_of_minima: int
    number_of_saddles: int
    critical_point_density: float
    minimum_loss: float
    maximum_loss: float
    average_persistence: float
    average_finite_persistence: float
    average_diagonal_distance: float
    average_finite_diagonal_distance: float
    maximal_persistence: float
    maximal_finite_persistence: float
    total_persistence: float
    total_finite_persistence: float
    persistence_entropy: float
    smad: float
    smad_normalized: float
    smad_weighted: float
    average_basin_size: float
    largest_basin_size: int
    global_minimum_depth: float
    global_minimum_size: int
    width_at_half_depth: float
    undefined: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, float]:
        """Return the descriptors by name, in order."""
        names = [item.name for item in fields(self) if item.name != "undefined"]
        return {name: getattr(self, name) for name in names}


def describe(tree: MergeTree) -> Descriptors:
    """Return the descriptors of a merge tree, simplified or not."""
    pairs = tree.branches()
    spread = float(np.ptp(tree.levels))
    numbers = {
        **_counts(tree),
        **_persistences(pairs),
        **_leaf_basins(tree, pairs),
        "minimum_loss": float(tree.levels.min()),
        "maximum_loss": float(tree.levels.max()),
    }
    numbers["smad_normalized"] = numbers["smad"] / spread if spread > 0 else np.nan
    nan = [name for name, number in numbers.items() if np.isnan(number)]
    reasons = {name: _reason(name, spread) for name in nan}
    return Descriptors(**numbers, undefined=reasons)  # type: ignore[arg-type]


def _counts(tree: MergeTree) -> dict[str, float]:
    saddles = (CriticalType.SADDLE, CriticalType.DEGENERATE_SADDLE)
    number_of_minima = int((tree.node_type == CriticalType.MINIMUM).sum())
    number_of_saddles = int(np.isin(tree.node_type, saddles).sum())
    return {
        "number_of_samples": len(tree.values),
        "number_of_minima": number_of_minima,
        "number_of_saddles": number_of_saddles,
        "critical_point_density": (number_of_minima + number_of_saddles) / len(tree.values),
    }


def _persistences(pairs: Branches) -> dict[str, float]:
    every, finite = pairs.persistence, pairs.persistence[1:]
    average, finite_average = float(every.mean()), _mean(finite)
    return {
        "average_persistence": average,
        "average_finite_persistence": finite_average,
        "average_diagonal_distance": average / np.sqrt(2),
        "average_finite_diagonal_distance": finite_average / np.sqrt(2),
        "maximal_persistence": float(every.max()),
        "maximal_finite_persistence": float(finite.max()) if finite.size else np.nan,
        "total_persistence": float(every.sum()),
        "total_finite_persistence": float(finite.sum()),
        "persistence_entropy": _entropy(every),
    }


def _leaf_basins(tree: MergeTree, pairs: Branches) -> dict[str, float]:
    leaf, upper = pairs.minimum_node, tree.parent[pairs.minimum_node]
    size = np.bincount(tree.vertex_arc, minlength=len(tree.parent))[leaf]
    depth = tree.node_level[upper] - tree.node_level[leaf]
    at_saddle = np.bincount(tree.parent[:-1])[upper] >= 2
    inside = tree.levels[tree.vertex_arc == leaf[0]]
    low = inside <= tree.node_level[leaf[0]] + depth[0] / 2
    return {
        "smad": _mean(depth[at_saddle]),
        "smad_weighted": _mean((depth * size)[at_saddle] / len(tree.values)),
        "average_basin_size": float(size.mean()),
        "largest_basin_size": int(size.max()),
        "global_minimum_depth": float(depth[0]),
        "global_minimum_size": int(size[0]),
        "width_at_half_depth": low.sum() / len(tree.values) if depth[0] > 0 else np.nan,
    }


def _reason(name: str, spread: float) -> str:
    if "finite" in name:
        return _ONE_MINIMUM
    if name == "width_at_half_depth":
        return _FLAT_BASIN
    if name == "persistence_entropy" or (name == "smad_normalized" and spread == 0):
        return _EQUAL_LOSSES
    return _NO_SADDLE


def _mean(numbers: npt.NDArray[np.float64]) -> float:
    return float(numbers.mean()) if numbers.size else float("nan")


def _entropy(persistence: npt.NDArray[np.float64]) -> float:
    total = persistence.sum()
    if total == 0:
        return float("nan")
    share = persistence[persistence > 0] / total
    return float(-(share * np.log(share)).sum())
