"""Detection of transitions: change points in a series of descriptors, with their significance.

A change point splits a series into two parts of different level. Tests decide how many there are,
in a binary segmentation (Scott, Knott 1974, "A cluster analysis method for grouping means in the
analysis of variance"): the step that explains most of the series, beside a level and a trend, is
tested. If it is significant, each of its two parts is tested in the same way. Then ruptures (Truong
et al. 2020, "Selective review of offline change point detection methods") places all significant
changes together, because a segmentation part by part misplaces changes that are close to each
other. If a new place lies at or beyond the tested place of a neighbour, it belongs to another
change; then all changes keep their tested places.

Descriptors of a training are autocorrelated and have trends, so the null hypothesis is a linear
trend with autoregressive noise, x_t = φ x_{t-1} + e_t, not independent points: the statistic is
compared with that of simulated series of this kind (a parametric bootstrap). The estimate of φ is
biased downwards in short series, and a too small φ gives false alarms; the simulation uses an upper
bound of φ, the value whose estimates are as small as the observed one in a tenth of all series (a
test inversion, Andrews 1993, "Exactly median-unbiased estimation of first order autoregressive
models", for a quantile instead of the median). Descriptors also decay, which steps explain in part;
a series in which a decay explains nearly as much as the best step counts as one without a change.

``tests/benchmarks/change_points.py`` prints how often it alarms without a change, and how often it
finds one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt
from ruptures import KernelCPD
from scipy.stats import rankdata

from tlp_core import checks
from tlp_core.choices import CHANGE_NULLS, ChangeNull

_MINIMUM_SIDE = 3
"""Minimum number of points on each side of a change point, so that the side has a level."""

MINIMUM_POINTS = 8
"""Minimum number of finite values of a series: level, trend, φ and the step need some each."""

_PHI = np.linspace(-0.5, 1.0, 31)
"""Values of φ that are told apart; 1 is a random walk."""

_NEARLY_A_WALK = 0.9
"""φ from which noise counts as a random walk: short series do not tell them apart."""

_DECAYS = np.geomspace(0.05, 1.0, 8)
"""Times in which a curved trend falls to 1/e, as fractions of a series."""

_NEARLY = 0.8
"""Fraction of what the best step explains above which a series may be a curve."""

_CALIBRATIONS = 1000
"""Simulated series for each of them."""

_QUANTILE = 0.1
"""Fraction of series with a smaller estimate than the observed one at the upper bound of φ."""

Numbers = npt.NDArray[np.float64]

Test = Callable[[Numbers], tuple[int, float]]
"""Returns the best split of a series, and its p-value."""


@dataclass(frozen=True)
class Transition:
    """A change of level in a series.

    Attributes:
        index: index of the first point after the change, among the finite values.
        step: training step of this point.
        before: median of the values between the previous change, or the start, and this change.
        after: median of the values between this change and the next change, or the end.
        p_value: fraction, 0 to 1, of simulated series with an equal or larger statistic, corrected
            for the number of tests (Bonferroni). It is that of the tested place, from which the
            place of the change differs by a few points at most.
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
    null: ChangeNull = "autoregressive",
    significance: float = 0.01,
    simulations: int = 999,
    seed: int = 0,
) -> tuple[Transition, ...]:
    """Return the transitions of a series, in order of their steps.

    A linear trend, an exponential decay, a random walk and an autocorrelated series are no
    transitions: at a significance of 0.05, at most 6 % of such series of 21, 60 and 200 points
    alarm. The price is power in short series, and near their ends, where a step is nearly a decay:
    in independent noise of 21 points, a step of four standard deviations in the middle is found in
    a third of all series, one of two in 5 %; of 60 points, in all and in half of them.

    Args:
        values: (T,) a descriptor at each step. Non-finite values are omitted; at least 8 must be
            finite.
        steps: (T,) the training step of each value, increasing. Default: 0, 1, …. The points count
            as equally spaced, as records of a schedule are on its axis.
        null: ``autoregressive``, or ``independent`` for points that do not depend on each other and
            have no trend. Its test shuffles ranks, so that it depends on no scale; in
            autocorrelated series, it reports far too many changes.
        significance: largest p-value of a transition, between 0 and 1. Default: 0.01.
        simulations: number of simulated series that the statistic is compared with, >= 1.
            Default: 999.
        seed: random seed of the simulated series. Default: 0.

    Returns:
        The transitions; empty if the series has no significant change.

    Raises:
        ValueError: if fewer than 8 values are finite, the steps do not increase or are not T, the
            significance is not between 0 and 1, or the simulations are too few to reach it.
        TypeError: if the significance is not a number or the simulations are not an integer.
    """
    checks.choice(null, CHANGE_NULLS, name="null")
    series, finite_steps = _finite_series(values, steps)
    if not 0 < checks.real(significance, name="significance") < 1:
        raise ValueError(f"significance must lie between 0 and 1, got {significance:g}")
    simulations = checks.integer(simulations, name="simulations", minimum=1)
    if (1 / (simulations + 1)) > significance:
        raise ValueError(
            f"significance must be >= {1 / (simulations + 1):.2g} for {simulations} simulations, "
            f"got {significance:g}; use more simulations"
        )
    if np.ptp(series) == 0:
        return ()
    if null == "autoregressive" and _model(len(series)).is_curved(_scaled(series)):
        return ()
    rng = np.random.default_rng(seed)
    test = _test_autoregressive if null == "autoregressive" else _test_independent
    found = sorted(_find_changes(series, 0, partial(test, simulations, rng), significance, tests=1))
    tested, p_values = [index for index, _ in found], [p_value for _, p_value in found]
    level = _without_trend(series, tested) if null == "autoregressive" else rankdata(series)
    places = _refined(tested, _best_places(level, len(tested)))
    ends = [0, *places, len(series)]
    return tuple(
        Transition(
            index=index,
            step=float(finite_steps[index]),
            before=float(np.median(series[first:index])),
            after=float(np.median(series[index:last])),
            p_value=p_value,
        )
        for index, p_value, first, last in zip(places, p_values, ends[:-2], ends[2:])
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


def _scaled(series: Numbers) -> Numbers:
    """Return a series that is not constant, with mean 0 and largest magnitude 1."""
    centered = series - series.mean()
    scaled: Numbers = centered / np.abs(centered).max()
    return scaled


def _without_trend(series: Numbers, changes: list[int]) -> Numbers:
    """Return a series without its slope, which is fitted together with steps at some places."""
    time = np.arange(len(series), dtype=np.float64)
    steps = [(time >= change).astype(np.float64) for change in changes]
    fit = np.linalg.lstsq(np.stack([time, np.ones_like(time), *steps], axis=1), series, rcond=None)
    return np.asarray(series - fit[0][0] * time)


def _best_places(series: Numbers, count: int) -> list[int]:
    """Return the first indices of the parts if the series is split into parts of one level each.

    Args:
        series: (T,)
        count: number of splits. The splits with the smallest sum of squares are chosen.
    """
    if not count:
        return []
    model = KernelCPD(kernel="linear", min_size=_MINIMUM_SIDE).fit(_scaled(series))
    return [int(end) for end in model.predict(n_bkps=count)[:-1]]


def _refined(tested: list[int], better: list[int]) -> list[int]:
    """Return better places of tested changes, unless one of them lies at or behind another one."""
    bounds = zip([-1, *tested], better, [*tested[1:], math.inf])
    return better if all(before < place < after for before, place, after in bounds) else tested


def _find_changes(
    series: Numbers, first: int, test: Test, significance: float, tests: int
) -> list[tuple[int, float]]:
    """Return index and p-value of the changes of a part of a series that begins at ``first``.

    The number of tests doubles with each split, so the correction of the p-value doubles too.
    """
    if len(series) < MINIMUM_POINTS or np.ptp(series) == 0:
        return []
    split, single = test(series)
    p_value = min(1.0, tests * single)
    if p_value > significance:
        return []
    parts = ((first, series[:split]), (first + split, series[split:]))
    return [
        (first + split, p_value),
        *(
            change
            for start, part in parts
            for change in _find_changes(part, start, test, significance, 2 * tests)
        ),
    ]


def _test_autoregressive(
    simulations: int, rng: np.random.Generator, series: Numbers
) -> tuple[int, float]:
    """Return the best split, and its p-value under a trend with autoregressive noise."""
    model = _model(len(series))
    best, phi, statistic = (found[0] for found in model.explain(_scaled(series)[None]))
    null = _autoregressive(model.upper_bound(phi), len(series), simulations, rng)
    return _MINIMUM_SIDE + int(best), _p_value(statistic, model.explain(null)[2])


def _test_independent(
    simulations: int, rng: np.random.Generator, series: Numbers
) -> tuple[int, float]:
    """Return the best split, and its p-value among shuffled series, by the CUSUM of ranks."""
    ranks = rankdata(series)
    statistics = _cusum(ranks[None])[0]
    best = int(statistics.argmax())
    shuffled = _cusum(rng.permuted(np.tile(ranks, (simulations, 1)), axis=1)).max(axis=1)
    return _MINIMUM_SIDE + best, _p_value(statistics[best], shuffled)


def _p_value(statistic: float, null: Numbers) -> float:
    """Return the share of statistics that are as large, the observed one included."""
    return float((np.sum(null >= statistic * (1 - 1e-9)) + 1) / (len(null) + 1))


def _cusum(series: Numbers) -> Numbers:
    """Return the scaled difference of the means on both sides of each split, (S, T - 5)."""
    count = series.shape[1]
    left = np.arange(_MINIMUM_SIDE, count - _MINIMUM_SIDE + 1)
    sums = np.cumsum(series, axis=1)
    mean_left = sums[:, left - 1] / left
    mean_right = (sums[:, -1:] - sums[:, left - 1]) / (count - left)
    return np.asarray(np.abs(mean_left - mean_right) * np.sqrt(left * (count - left) / count))


class _TrendAndStep:
    """Series of T points as a level, a trend, one step, and autoregressive noise."""

    def __init__(self, count: int) -> None:
        """Build the regressors, and simulate the estimates of φ.

        Args:
            count: T, the number of points.
        """
        self._trend, _ = np.linalg.qr(np.stack([np.ones(count), np.arange(count)], axis=1))
        splits = np.arange(_MINIMUM_SIDE, count - _MINIMUM_SIDE + 1)
        steps = self._without_trend((np.arange(count) >= splits[:, None]).astype(np.float64))
        self._steps = steps / np.linalg.norm(steps, axis=1, keepdims=True)
        time = np.arange(count) / (count - 1)
        falls = np.exp(-time / _DECAYS[:, None])
        curves = self._without_trend(np.concatenate([falls, falls[:, ::-1]]))
        self._curves = curves / np.linalg.norm(curves, axis=1, keepdims=True)
        rng = np.random.default_rng(0)
        estimates = [
            np.quantile(self.explain(_autoregressive(p, count, _CALIBRATIONS, rng))[1], _QUANTILE)
            for p in _PHI
        ]
        self._estimates = np.maximum.accumulate(estimates)

    def explain(self, series: Numbers) -> tuple[npt.NDArray[np.int64], Numbers, Numbers]:
        """Return, for each of S series (S, T): the best step, φ of the rest, and the statistic.

        The statistic is the length of the part that the step explains, over that of the rest.
        """
        free = self._without_trend(series)
        along = free @ self._steps.T
        best = np.abs(along).argmax(axis=1)
        explained = np.take_along_axis(along, best[:, None], axis=1)
        rest = free - explained * self._steps[best]
        size = np.maximum(np.square(rest).sum(axis=1), np.finfo(np.float64).tiny)
        phi = (rest[:, 1:] * rest[:, :-1]).sum(axis=1) / size
        return best, phi, np.abs(explained[:, 0]) / np.sqrt(size)

    def is_curved(self, series: Numbers) -> bool:
        """Return whether a decay, or its mirror image, explains nearly as much as the best step.

        There are more steps than curves, one of which fits the noise better.
        """
        free = self._without_trend(series)
        curve, step = (np.abs(free @ each.T).max() for each in (self._curves, self._steps))
        return bool(curve >= _NEARLY * step)

    def upper_bound(self, estimate: float) -> float:
        """Return the φ below which few series have so small an estimate; 1 where it is close."""
        bound = float(np.interp(estimate, self._estimates, _PHI))
        return bound if bound < _NEARLY_A_WALK else 1.0

    def _without_trend(self, series: Numbers) -> Numbers:
        free: Numbers = series - (series @ self._trend) @ self._trend.T
        return free


@lru_cache(maxsize=64)
def _model(count: int) -> _TrendAndStep:
    return _TrendAndStep(count)


def _autoregressive(phi: float, count: int, number: int, rng: np.random.Generator) -> Numbers:
    """Return series (number, count) of x_t = φ x_{t-1} + e_t, stationary where φ < 1."""
    series = rng.standard_normal((number, count))
    series[:, 0] /= np.sqrt(1 - phi**2) if abs(phi) < 0.999 else 1.0
    for t in range(1, count):
        series[:, t] += phi * series[:, t - 1]
    return series
