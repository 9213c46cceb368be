"""Detection of transitions: change points in a series of descriptors, with their significance.

A change point splits a series into two parts of different level. Candidates are found by binary
segmentation (Scott, Knott 1974, "A cluster analysis method for grouping means in the analysis of
variance") with the CUSUM statistic. A candidate is kept if it is significant in a permutation test,
which compares its statistic with the statistics of shuffled series.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from tlp_core import checks

_MINIMUM_SIDE = 3
"""Minimum number of points on each side of a change point, so that the side has a level."""

MINIMUM_POINTS = 2 * _MINIMUM_SIDE
"""Minimum number of finite values of a series."""


@dataclass(frozen=True)
class Transition:
    """A change of level in a series.

    Attributes:
        index: index of the first point after the change, among the finite values.
        step: training step of this point.
        before: median of the values between the previous change, or the start, and this change.
        after: median of the values between this change and the next change, or the end.
        p_value: fraction, 0 to 1, of shuffled series with an equal or larger statistic, corrected
            for the number of tests (Bonferroni).
    """

    index: int
    step: float
    before: float
    after: float
    p_value: float


def find_transitions(
    values: npt.ArrayLike,
    steps: npt.ArrayLike | None = None,
    *,
    significance: float = 0.01,
    permutations: int = 999,
    seed: int = 0,
) -> tuple[Transition, ...]:
    """Return the transitions of a series, in order of their steps.

    The test uses ranks instead of values. The result therefore does not depend on the scale, and a
    single outlier is not a transition.

    The null hypothesis is that the series has one level and that its points are independent. A
    trend or an autocorrelated series violates it and is reported as one or several transitions.

    The smallest possible p-value of a change is 0.1 for six points, 0.03 for eight and 0.008 for
    ten.

    Args:
        values: (T,) a descriptor at each step. Non-finite values are omitted; at least 6 must be
            finite.
        steps: (T,) the training step of each value, increasing. Default: 0, 1, ….
        significance: largest p-value of a transition, between 0 and 1. Default: 0.01.
        permutations: number of shuffled series that the statistic is compared with, >= 1.
            Default: 999.
        seed: random seed of the shuffles. Default: 0.

    Returns:
        The transitions; empty if the series has no significant change.

    Raises:
        ValueError: if fewer than 6 values are finite, the steps do not increase or are not T, the
            significance is not between 0 and 1, or the permutations are too few to reach it.
        TypeError: if the significance is not a number or the permutations are not an integer.
    """
    series, finite_steps = _finite_series(values, steps)
    if not 0 < checks.real(significance, name="significance") < 1:
        raise ValueError(f"significance must lie between 0 and 1, got {significance:g}")
    permutations = checks.integer(permutations, name="permutations", minimum=1)
    if (1 / (permutations + 1)) > significance:
        raise ValueError(
            f"significance must be >= {1 / (permutations + 1):.2g} for {permutations} "
            f"permutations, got {significance:g}; use more permutations"
        )
    rng = np.random.default_rng(seed)
    ranks = rankdata(series)
    found = _find_changes(ranks, 0, len(series), significance, permutations, rng, tests=1)
    ends = [0, *(index for index, _ in sorted(found)), len(series)]
    return tuple(
        Transition(
            index=index,
            step=float(finite_steps[index]),
            before=float(np.median(series[first:index])),
            after=float(np.median(series[index:last])),
            p_value=p_value,
        )
        for (index, p_value), first, last in zip(sorted(found), ends[:-2], ends[2:])
    )


def _finite_series(
    values: npt.ArrayLike, steps: npt.ArrayLike | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the finite values and their steps."""
    series = np.asarray(values, dtype=np.float64)
    positions = np.arange(len(series)) if steps is None else np.asarray(steps, dtype=np.float64)
    if series.ndim != 1 or positions.shape != series.shape:
        raise ValueError(
            "values and steps must be lists of the same length, got shapes "
            f"{series.shape} and {positions.shape}"
        )
    if not (np.diff(positions) > 0).all():
        raise ValueError("steps must increase")
    finite = np.isfinite(series)
    if finite.sum() < MINIMUM_POINTS:
        raise ValueError(
            f"a series needs at least {MINIMUM_POINTS} finite values, got {finite.sum()}"
        )
    return series[finite], positions[finite]


def _find_changes(
    ranks: npt.NDArray[np.float64],
    first: int,
    last: int,
    significance: float,
    permutations: int,
    rng: np.random.Generator,
    tests: int,
) -> list[tuple[int, float]]:
    """Return index and p-value of the changes between ``first`` and ``last``.

    The number of tests doubles with each split, so the correction of the p-value doubles too.
    """
    part = ranks[first:last]
    if len(part) < MINIMUM_POINTS or np.ptp(part) == 0:
        return []
    statistics = _cusum(part[None])[0]
    best = int(statistics.argmax())
    shuffled = _cusum(rng.permuted(np.tile(part, (permutations, 1)), axis=1)).max(axis=1)
    exceeding = int((shuffled >= statistics[best] * (1 - 1e-12)).sum())
    p_value = min(1.0, tests * (exceeding + 1) / (permutations + 1))
    if p_value > significance:
        return []
    index = first + _MINIMUM_SIDE + best
    sides = ((first, index), (index, last))
    return [
        (index, p_value),
        *(
            change
            for low, high in sides
            for change in _find_changes(
                ranks, low, high, significance, permutations, rng, 2 * tests
            )
        ),
    ]


def _cusum(series: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the scaled difference of the means on both sides of each split, (S, T - 5)."""
    count = series.shape[1]
    left = np.arange(_MINIMUM_SIDE, count - _MINIMUM_SIDE + 1)
    sums = np.cumsum(series, axis=1)
    mean_left = sums[:, left - 1] / left
    mean_right = (sums[:, -1:] - sums[:, left - 1]) / (count - left)
    return np.asarray(np.abs(mean_left - mean_right) * np.sqrt(left * (count - left) / count))
