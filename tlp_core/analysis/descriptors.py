"""Descriptors: numbers that summarise a merge tree.

Descriptors are computed from branches or from leaf basins. A branch pairs a minimum with the saddle
where its component dies; this defines persistence. The branch of the global minimum ends at the
root and is called essential. A leaf basin is the arc above a minimum, up to the first saddle or to
the root; leaf basins are the innermost basins that are visible in a profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from tlp_core.array_names import CriticalType
from tlp_core.topology.branches import Branches
from tlp_core.topology.merge_tree import MergeTree

_OF_SEVERAL_BASINS = (
    "average_persistence",
    "average_diagonal_distance",
    "maximal_persistence",
    "total_persistence",
    "persistence_entropy",
    "global_minimum_depth",
    "width_at_half_depth",
)
"""Descriptors that tell the size of the box, not its topology, where there is one basin."""

_ONE_MINIMUM = "the landscape has one minimum"
_NO_SADDLE = "no minimum lies below a saddle"
_EQUAL_LOSSES = "all losses are equal"
_FLAT_BASIN = "the basin of the global minimum has no depth"


@dataclass(frozen=True)
class Descriptors:
    """Descriptors of one landscape.

    The B branches have the persistences p_i = death - birth. The L leaf basins have the depths
    g_i = f(upper node) - f(minimum) and the sizes s_i, in samples. Persistences and depths are in
    units of the loss. An undefined descriptor is NaN, and ``undefined`` gives the reason. With a
    single basin, the persistence of the essential branch and what follows from it are the range of
    the losses in the box, which is no property of the landscape, and are NaN. A definition without
    a source is a definition of this project.

    Attributes:
        number_of_samples: N.
        number_of_minima: number of leaves of the tree, B = L.
        number_of_saddles: number of nodes where two or more components meet; the root is one of
            them if it joins several.
        critical_point_density: (number of minima + number of saddles) / N.
        minimum_loss: the lowest loss.
        maximum_loss: the largest finite loss.
        average_persistence: Σ p_i / B, with the essential branch.
        average_finite_persistence: mean p_i without the essential branch.
        average_diagonal_distance: Σ p_i / (√2 B), the mean distance of the points of the
            persistence diagram from its diagonal (Xie et al. 2024), with the essential branch.
        average_finite_diagonal_distance: the mean distance without the essential branch.
        maximal_persistence: largest p_i, which is that of the essential branch: the range of the
            losses.
        maximal_finite_persistence: largest p_i without the essential branch.
        total_persistence: Σ p_i.
        total_finite_persistence: Σ p_i without the essential branch.
        persistence_entropy: -Σ q_i log q_i with q_i = p_i / Σ p (natural logarithm; Chintakunta
            et al. 2015).
        smad: saddle-minimum average distance, the mean g_i of the leaf basins that end at a saddle
            (Chen et al. 2026). It differs from persistence: the global minimum is paired with its
            first saddle.
        smad_normalized: mean of g_i / (maximum_loss - minimum_loss) over the same leaf basins.
        smad_weighted: mean of g_i s_i / N over the same leaf basins. In Chen et al., s_i comes from
            a Morse-Smale complex; here it is the number of samples of the leaf basin, on a
            geometric grid the volume that they stand for.
        average_basin_size: Σ s_i / L, in samples.
        largest_basin_size: largest s_i, in samples.
        global_minimum_depth: g of the leaf basin of the global minimum: the height of its first
            saddle above the minimum; NaN if there is no other minimum.
        global_minimum_size: s of the leaf basin of the global minimum, in samples.
        width_at_half_depth: fraction of all samples, 0 to 1, that are in the leaf basin of the
            global minimum at or below half of its depth: the width of the profile there over N. On
            a geometric grid, samples count by the volume that they stand for.
        undefined: the reason for each descriptor that is NaN, by name.
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
        """Return the descriptors by name, in the order of the attributes, without ``undefined``."""
        names = [item.name for item in fields(self) if item.name != "undefined"]
        return {name: getattr(self, name) for name in names}


def describe(tree: MergeTree) -> Descriptors:
    """Return the descriptors of a merge tree.

    Args:
        tree: the merge tree, simplified or not.

    Returns:
        The descriptors, with a reason for each that is NaN.
    """
    pairs = tree.branches()
    spread = float(np.ptp(tree.levels))
    numbers = {
        **_counts(tree),
        **_persistences(pairs),
        **_leaf_basins(tree, pairs),
        "minimum_loss": float(tree.levels.min()),
        "maximum_loss": float(tree.levels.max()),
    }
    if len(pairs) == 1:
        numbers |= dict.fromkeys(_OF_SEVERAL_BASINS, np.nan)
    numbers["smad_normalized"] = numbers["smad"] / spread if spread > 0 else np.nan
    nan = [name for name, number in numbers.items() if np.isnan(number)]
    reasons = {name: _reason(name, spread, len(pairs)) for name in nan}
    return Descriptors(**numbers, undefined=reasons)  # type: ignore[arg-type]


def _counts(tree: MergeTree) -> dict[str, float]:
    number_of_minima = int((tree.node_type == CriticalType.MINIMUM).sum())
    number_of_saddles = int((np.bincount(tree.parent[:-1]) >= 2).sum())
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
    volume = np.bincount(tree.vertex_arc, tree.sample_volumes(), minlength=len(tree.parent))[leaf]
    depth = tree.node_level[upper] - tree.node_level[leaf]
    at_saddle = np.bincount(tree.parent[:-1])[upper] >= 2
    is_inside = tree.vertex_arc == leaf[0]
    is_low = is_inside & (tree.levels <= tree.node_level[leaf[0]] + depth[0] / 2)
    low = tree.sample_volumes()[is_low]
    return {
        "smad": _mean(depth[at_saddle]),
        "smad_weighted": _mean((depth * volume)[at_saddle] / len(tree.values)),
        "average_basin_size": float(size.mean()),
        "largest_basin_size": int(size.max()),
        "global_minimum_depth": float(depth[0]),
        "global_minimum_size": int(size[0]),
        "width_at_half_depth": low.sum() / len(tree.values) if depth[0] > 0 else np.nan,
    }


def _reason(name: str, spread: float, basins: int) -> str:
    if "finite" in name:
        return _ONE_MINIMUM
    if name in _OF_SEVERAL_BASINS and basins == 1:
        return _ONE_MINIMUM if spread > 0 else _EQUAL_LOSSES
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
    fraction = persistence[persistence > 0] / total
    return float(-(fraction * np.log(fraction)).sum())
