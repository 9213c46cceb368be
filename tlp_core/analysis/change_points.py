"""Detecting transitions: change points in a series of descriptors, with their significance.

A change point splits a series into two parts of different level. Candidates are found by binary
segmentation (Scott, Knott 1974, "A cluster analysis method for grouping means in the analysis of
variance") with the CUSUM statistic, and each is kept only where a permutation test says that a
shuffled series shows as large a statistic rarely enough. A series without a change gives none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from tlp_core import checks

_LEAST = 3
"""Fewer points on one side have no level."""

LEAST_POINTS = 2 * _LEAST
"""Fewer finite values are no series with a transition."""


@dataclass(frozen=True)
class Transition:
    """A change of level in a series.

    Attributes:
        index: first point after the change.
        step: the step of that point.
        before: median of the part of the series before the change, up to the last one.
        after: median of the part after it, up to the next one.
        p_value: share of shuffled series with as large a statistic, 0 to 1, corrected for the
            number of tests (Bonferroni).
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
    """Return the transitions of a series, in order; none where there is none.

    Ranks are compared, not values, so that one outlier is no transition, and the scale does not
    matter. Points that follow each other must be independent but for the change itself: what is
    tested is that a series has one level, and a trend, or a series that remembers where it was, is
    reported as one or several changes. The clearest change in six points has a p-value of 0.1, in
    eight 0.03, in ten 0.008.

    Args:
        values: (T,) a descriptor at each step, T >= 6; NaN where it is undefined, left out.
        steps: (T,) the step of each value, increasing; by default 0, 1, ….
        significance: largest share of false alarms, 0 to 1, that a transition may have.
        permutations: shuffled series that the statistic is compared with.
        seed: of the shuffling.

    Raises:
        ValueError: for too few finite values, steps that do not increase or are not as many, or a
            significance that the permutations cannot reach.
    """
    series, places = _checked(values, steps)
    if not 0 < checks.real(significance, name="significance") < 1:
        raise ValueError(f"significance must lie between 0 and 1, got {significance:g}")
    permutations = checks.integer(permutations, name="permutations", minimum=1)
    if (1 / (permutations + 1)) > significance:
        raise ValueError(
            f"{permutations} permutations reach a significance of {1 / (permutations + 1):.2g} at "
            f"best, wanted {significance:g}; take more"
        )
    rng = np.random.default_rng(seed)
    found = _split(rankdata(series), 0, len(series), significance, permutations, rng, tests=1)
    ends = [0, *(index for index, _ in sorted(found)), len(series)]
    return tuple(
        Transition(
            index=index,
            step=float(places[index]),
            before=float(np.median(series[first:index])),
            after=float(np.median(series[index:last])),
            p_value=p_value,
        )
        for (index, p_value), first, last in zip(sorted(found), ends[:-2], ends[2:])
    )


def _checked(
    values: npt.ArrayLike, steps: npt.ArrayLike | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    series = np.asarray(values, dtype=np.float64)
    places = np.arange(len(series)) if steps is None else np.asarray(steps, dtype=np.float64)
    if series.ndim != 1 or places.shape != series.shape:
        raise ValueError(
            f"values and steps must be as many, got shapes {series.shape} and {places.shape}"
        )
    if not (np.diff(places) > 0).all():
        raise ValueError("steps must increase")
    finite = np.isfinite(series)
    if finite.sum() < LEAST_POINTS:
        raise ValueError(
            f"a series needs at least {LEAST_POINTS} finite values, got {finite.sum()}"
        )
    return series[finite], places[finite]


def _split(
    ranks: npt.NDArray[np.float64],
    first: int,
    last: int,
    significance: float,
    permutations: int,
    rng: np.random.Generator,
    tests: int,
) -> list[tuple[int, float]]:
    """Return change points in a part of a series; each half is tested twice as strictly."""
    part = ranks[first:last]
    if len(part) < LEAST_POINTS or np.ptp(part) == 0:
        return []
    statistics = _cusum(part[None])[0]
    at = int(statistics.argmax())
    shuffled = _cusum(rng.permuted(np.tile(part, (permutations, 1)), axis=1)).max(axis=1)
    exceeding = int((shuffled >= statistics[at] * (1 - 1e-12)).sum())
    p_value = min(1.0, tests * (exceeding + 1) / (permutations + 1))
    if p_value > significance:
        return []
    middle = first + _LEAST + at
    halves = ((first, middle), (middle, last))
    return [
        (middle, p_value),
        *(
            change
            for low, high in halves
            for change in _split(ranks, low, high, significance, permutations, rng, 2 * tests)
        ),
    ]


def _cusum(series: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the scaled difference of the means of both sides for every split, (S, T - 5)."""
    count = series.shape[1]
    left = np.arange(_LEAST, count - _LEAST + 1)
    sums = np.cumsum(series, axis=1)
    mean_left = sums[:, left - 1] / left
    mean_right = (sums[:, -1:] - sums[:, left - 1]) / (count - left)
    return np.asarray(np.abs(mean_left - mean_right) * np.sqrt(left * (count - left) / count))
