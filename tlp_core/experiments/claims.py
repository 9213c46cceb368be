"""Tests of the papers' claims: an effect with its interval, and the p-value of a permutation test.

A permutation test counts how often the effect is at least as large if values are exchanged between
cases that do not differ under the null hypothesis: pairs that are independent, groups of one
distribution, values whose distribution is symmetric about 0. Under these hypotheses it is exact,
also for four cases, where no effect of any size may be decidable; the power tells. It is not exact
for groups of one median but of different spread, or for a skewed distribution of mean 0. The tests
are two-sided. The p-values of the claims that are read together, those of an experiment or of a
page, are corrected for their number by Holm's method (Holm 1979, "A simple sequentially rejective
multiple test procedure"): the probability that one or more of them are decided without an effect is
at most 5 %.

A claim *holds* if its corrected p-value is at most 0.05 and the effect has the claimed sign; it
*does not hold* if the effect has the other sign; else it is *undecided*. Numbers without a null
hypothesis are *shown*.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import (
    ConstantInputWarning,
    DegenerateDataWarning,
    bootstrap,
    nct,
    permutation_test,
    rankdata,
    spearmanr,
    t,
)

from tlp_core.experiments.rows import Row, group_rows

Sign = Literal["positive", "negative"]
"""Claimed sign of an effect."""

SIGNIFICANCE = 0.05
"""Largest corrected p-value of a claim that is decided."""

_MINIMUM_CASES = 5
"""Minimum number of cases for a confidence interval of a mean."""

_MINIMUM_BOOTSTRAP = 8
"""Minimum number of cases for a bootstrap interval; that of five covers 88 to 92 % only."""

_RESAMPLES = 1000
"""Number of bootstrap samples."""

_PERMUTATIONS = 49_999
"""Largest number of permutations; if there are no more, as of 8 cases (40,320), all are counted."""

_INTERVAL = (2.5, 97.5)
"""Percentiles of the bootstrap samples that limit the 95 % interval."""

_MOST_ENUMERATED = 10
"""Largest number of cases of which all signs are enumerated for the power."""

_SIMULATIONS = 2000
"""Simulated sets of cases from which the power is estimated, to 2 %."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Claim:
    """A claim and the result of its test.

    Attributes:
        text: the claim of the paper.
        measure: the effect that tests it.
        value: the effect; NaN if it is undefined.
        low: lower limit of its 95 % interval; NaN if there are too few cases.
        high: upper limit of the interval, likewise.
        p: two-sided p-value of a permutation test; NaN if there is no test.
        p_holm: the p-value after Holm's correction, see :func:`correct_claims`.
        claimed: the claimed sign of the effect; None if the effect is only shown.
        count: number of independent cases, such as networks, settings or pairs.
        power: probability, 0 to 1, that the uncorrected test decides an effect of the size in
            ``power_of``; NaN without a test.
        power_of: size of the effect, such as ``ρ = 0.5``.
    """

    text: str
    measure: str
    value: float
    low: float
    high: float
    p: float
    claimed: Sign | None
    count: int
    power: float = math.nan
    power_of: str = ""
    p_holm: float = math.nan

    @property
    def verdict(self) -> str:
        """``holds``, ``does not hold``, ``undecided`` or ``shown``."""
        if self.claimed is None:
            return "shown"
        if not self.p_holm <= SIGNIFICANCE or self.value == 0:
            return "undecided"
        return "holds" if (self.value > 0) == (self.claimed == "positive") else "does not hold"

    def as_row(self) -> dict[str, Any]:
        """Return the claim as a row of a table."""
        names = ("text", "measure", "value", "low", "high", "p", "p_holm", "count")
        own = {name: getattr(self, name) for name in names}
        return {**own, "power": self.power, "power_of": self.power_of, "verdict": self.verdict}


def correct_claims(claims: Sequence[Claim]) -> list[Claim]:
    """Return claims that are read together, with p-values that are corrected for their number."""
    tested = sorted((c.p, i) for i, c in enumerate(claims) if math.isfinite(c.p))
    corrected, largest = list(claims), 0.0
    for place, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - place)))
        corrected[i] = replace(claims[i], p_holm=largest)
    return corrected


def correlation(
    text: str,
    rows: Iterable[Row],
    one: str,
    other: str,
    *,
    by: Sequence[str] = (),
    claimed: Sign = "positive",
) -> Claim:
    """Test a claim by Spearman's rank correlation of two columns.

    Args:
        text: the claim.
        rows: rows of the table, one for each network. Rows with a non-finite value in one of the
            two columns are omitted.
        one: name of the first column.
        other: name of the second column.
        by: columns of a setting that several networks share, such as their seeds' β. The mean of
            such networks is one case, because they are not independent of each other. Default: each
            row is a case.
        claimed: claimed sign of the correlation. Default: ``positive``.

    Returns:
        The claim with its result. If there are fewer than 8 cases, the interval is NaN.
    """
    groups = group_rows(rows, by).values() if by else [rows]
    found = [_finite_pairs(group, one, other) for group in groups]
    pairs = np.array([each.mean(axis=0) for each in found if len(each)]) if by else found[0]
    pairs = pairs.reshape(-1, 2)
    value = spearman(pairs)
    has_interval = len(pairs) >= _MINIMUM_BOOTSTRAP and math.isfinite(value)
    low, high = _bootstrap_interval(pairs) if has_interval else (np.nan, np.nan)
    return Claim(
        text,
        f"rank correlation of {one} and {other}",
        value,
        low,
        high,
        _pairing_p(pairs) if math.isfinite(value) else math.nan,
        claimed,
        len(pairs),
        _correlation_power(len(pairs)),
        "ρ = 0.5",
    )


def correlation_within(
    text: str,
    rows: Iterable[Row],
    one: str,
    other: str,
    by: Sequence[str],
    *,
    claimed: Sign = "positive",
) -> Claim:
    """Test a claim by the mean of the rank correlations of two columns along each training.

    Args:
        text: the claim.
        rows: rows of the table, several for each network. Rows with a non-finite value in one of
            the two columns are omitted.
        one: name of the first column.
        other: name of the second column.
        by: columns that identify a network. Each network is one case.
        claimed: claimed sign of the mean. Default: ``positive``.

    Returns:
        The claim with its result.
    """
    groups = group_rows(rows, by).values()
    correlations = [spearman(_finite_pairs(group, one, other)) for group in groups]
    measure = f"rank correlation of {one} and {other} along each training"
    return mean(text, measure, correlations, claimed=claimed, largest=1.0)


def mean(
    text: str,
    measure: str,
    values: npt.ArrayLike,
    *,
    claimed: Sign | None = "positive",
    largest: float = math.inf,
) -> Claim:
    """Test a claim by the mean of some values, which is 0 without an effect.

    The interval is that of Student's t; the test changes signs.

    Args:
        text: the claim.
        measure: what the values are.
        values: (C,) one value per case. Non-finite values are omitted.
        claimed: claimed sign of the mean; None to show the mean without a test. Default:
            ``positive``.
        largest: largest magnitude that a value can have, such as 1 of a correlation, at which the
            interval ends. Default: infinity.

    Returns:
        The claim with its result. If there are fewer than 5 cases, the interval is NaN.
    """
    cases = _finite(values)
    value = float(cases.mean()) if len(cases) else math.nan
    low, high = _t_interval(cases) if len(cases) >= _MINIMUM_CASES else (np.nan, np.nan)
    low, high = (float(np.clip(end, -largest, largest)) for end in (low, high))
    if claimed is None:
        return Claim(text, measure, value, low, high, math.nan, None, len(cases))
    p = _permutation_p((cases,), lambda x, axis: x.mean(axis), "samples") if len(cases) else np.nan
    power = _mean_power(len(cases))
    return Claim(
        text, measure, value, low, high, p, claimed, len(cases), power, "one standard deviation"
    )


def gain(text: str, measure: str, values: npt.ArrayLike) -> Claim:
    """Test a claim by the mean of gains, which are 0 or less on average without an effect.

    Such a gain is that of a prediction by one more input: an input that tells nothing makes the
    prediction worse. A mean of 0 or less is therefore undecided: its p-value is set to 1.

    Args:
        text: the claim.
        measure: what the values are.
        values: (C,) one value per case. Non-finite values are omitted.

    Returns:
        The claim with its result, as that of :func:`mean`.
    """
    claim = mean(text, measure, values)
    return claim if claim.value > 0 or math.isnan(claim.value) else replace(claim, p=1.0)


def difference(
    text: str,
    measure: str,
    ones: npt.ArrayLike,
    others: npt.ArrayLike,
    *,
    claimed: Sign = "positive",
) -> Claim:
    """Test a claim by the shift between two groups: the median of all differences of two cases.

    Hodges, Lehmann 1963, "Estimates of location based on rank tests". Interval and test are those
    of the rank sum; without ties, the interval is exact for groups of any size. Four cases against
    four are decided if the groups do not overlap (p = 0.029).

    Args:
        text: the claim.
        measure: what the values are.
        ones: (C,) values of the first group. Non-finite values are omitted.
        others: (D,) values of the second group, likewise.
        claimed: claimed sign of the first group minus the second. Default: ``positive``.

    Returns:
        The claim with its result. If the groups are too small for a 95 % interval, it is NaN.
    """
    one, other = _finite(ones), _finite(others)
    count = len(one) + len(other)
    if not len(one) or not len(other):
        nan = math.nan
        return Claim(text, measure, nan, nan, nan, nan, claimed, count)
    shifts = np.sort(np.subtract.outer(one, other).ravel())
    outside = _outside(len(one), len(other))
    low, high = (shifts[outside - 1], shifts[-outside]) if outside else (np.nan, np.nan)
    ranks = rankdata(np.concatenate([one, other]))
    p = _permutation_p(
        (ranks[: len(one)], ranks[len(one) :]),
        lambda x, y, axis: x.mean(axis) - y.mean(axis),
        "independent",
    )
    return Claim(
        text,
        measure,
        float(np.median(shifts)),
        float(low),
        float(high),
        p,
        claimed,
        count,
        _difference_power(len(one), len(other)),
        "two standard deviations",
    )


def spearman(pairs: Values) -> float:
    """Return the rank correlation of pairs (C, 2); NaN if it is undefined."""
    if len(pairs) < 2:
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)  # the correlation is NaN then
        return float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)


def markdown_table(claims: Sequence[Claim]) -> str:
    """Return claims as a Markdown table, one row per claim."""
    lines = ["| claim | measured | effect (95 %) | p, Holm | n | power | |", "|" + "---|" * 7]
    for claim in claims:
        effect = f"{_text(claim.value)} ({_text(claim.low)} to {_text(claim.high)})"
        power = f"{claim.power_of}: {100 * claim.power:.0f} %" if claim.power_of else ""
        p = "" if claim.claimed is None else _text(claim.p_holm)
        cells = [claim.text, claim.measure, effect, p, str(claim.count), power, claim.verdict]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _text(number: float) -> str:
    return f"{number:.2g}" if math.isfinite(number) else "–"


def _finite(values: npt.ArrayLike) -> Values:
    cases = np.asarray(values, dtype=np.float64).ravel()
    finite: Values = cases[np.isfinite(cases)]
    return finite


def _finite_pairs(rows: Iterable[Row], one: str, other: str) -> Values:
    cells = [(row.get(one, np.nan), row.get(other, np.nan)) for row in rows]
    pairs = np.array(cells, dtype=np.float64).reshape(-1, 2)
    finite: Values = pairs[np.isfinite(pairs).all(axis=1)]
    return finite


def _pairing_p(pairs: Values) -> float:
    """Return the p-value of a rank correlation."""
    one, other = (rankdata(column) - (len(pairs) + 1) / 2 for column in pairs.T)
    return _permutation_p((one,), lambda x, axis: (x * other).mean(axis), "pairings")


def _permutation_p(
    groups: tuple[Values, ...],
    statistic: Callable[..., Any],
    kind: Literal["samples", "pairings", "independent"],
) -> float:
    if min(map(len, groups)) < 2:  # which SciPy does not accept
        return 1.0
    result = permutation_test(
        groups,
        statistic,
        permutation_type=kind,
        vectorized=True,
        n_resamples=_PERMUTATIONS,
        random_state=0,
    )
    return float(result.pvalue)


def _bootstrap_interval(pairs: Values) -> tuple[float, float]:
    """Return the 95 % interval of a rank correlation by the BCa bootstrap (Efron 1987).

    Of a rank correlation that is zero, it excludes zero on one side in 2.8 % of 400 simulated
    claims of eight cases (2.5 % are promised). Of 200 of eight or 24 cases with a rank correlation
    of 0, 0.5 or 0.9, it covers it in 92 to 97 %. Where all resamples agree, BCa does not exist, and
    the percentiles are returned. The correlation of a resample of equal values counts as 0.
    """

    def of(chosen: npt.NDArray[np.int64], axis: int) -> Values:
        one, other = (
            ranks - ranks.mean(axis, keepdims=True)
            for ranks in (rankdata(column[chosen], axis=axis) for column in pairs.T)
        )
        squares = (one**2).sum(axis) * (other**2).sum(axis)
        correlations: Values = np.nan_to_num((one * other).sum(axis) / np.sqrt(squares))
        return correlations.clip(-1, 1)

    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        result = bootstrap(
            (np.arange(len(pairs)),),
            of,
            vectorized=True,
            n_resamples=_RESAMPLES,
            method="BCa",
            random_state=0,
        )
    low, high = result.confidence_interval
    if not np.isfinite([low, high]).all():
        low, high = np.percentile(result.bootstrap_distribution, _INTERVAL)
    return float(low), float(high)


def _t_interval(values: Values) -> tuple[float, float]:
    """Return the 95 % interval of a mean by Student's t.

    The bootstrap's covers 85 % only at five values, and false claims hold in 10 % of cases
    instead of 2.5 %.
    """
    half = t.ppf(_INTERVAL[1] / 100, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def _outside(ones: int, others: int) -> int:
    """Return which of the sorted differences, counted from both ends from 1, limit the interval.

    0 if no interval of 95 % exists. The number of differences above 0 has the null distribution of
    the Mann-Whitney statistic, whose counts are the coefficients of a Gaussian binomial.
    """
    counts = np.array([1.0])
    for i in range(1, others + 1):
        longer = np.zeros(len(counts) + ones + i)
        longer[: len(counts)] += counts
        longer[ones + i :] -= counts
        for place in range(i, len(longer)):
            longer[place] += longer[place - i]
        counts = longer[: ones * i + 1]
    below = np.cumsum(counts) / counts.sum()
    return int(np.searchsorted(below, SIGNIFICANCE / 2, side="right"))


@lru_cache
def _correlation_power(count: int) -> float:
    """Return how often the test decides a rank correlation of 0.5, by simulation.

    The simulated values are normal with the correlation 2 sin(π ρ / 6), whose rank correlation is ρ
    (Pearson 1907).
    """
    if count < 3:
        return 0.0
    rng = np.random.default_rng(0)
    null = np.abs(_rank_correlations(rng.standard_normal((2, 5 * _SIMULATIONS, count))))
    r = 2 * np.sin(np.pi * 0.5 / 6)
    one, noise = rng.standard_normal((2, _SIMULATIONS, count))
    drawn = np.stack([one, r * one + np.sqrt(1 - r * r) * noise])
    return _decided(np.abs(_rank_correlations(drawn)), null)


def _rank_correlations(pairs: Values) -> Values:
    """Return the rank correlations of sets of pairs without ties, (2, S, C), as an array (S,)."""
    one, other = _ranks(pairs) - (pairs.shape[2] + 1) / 2
    return np.asarray((one * other).sum(1) / (one * one).sum(1))


def _ranks(values: Values) -> npt.NDArray[np.int64]:
    """Return ranks from 1 along the last axis, of values without ties."""
    return np.asarray(values.argsort(axis=-1).argsort(axis=-1) + 1)


@lru_cache
def _mean_power(count: int) -> float:
    """Return how often the test decides a mean of one standard deviation, for normal values.

    By simulation up to ten cases; for more cases the power is that of the t-test.
    """
    if 2 / 2**count > SIGNIFICANCE:
        return 0.0  # not even equal signs of all cases decide
    if count > _MOST_ENUMERATED:
        limit = t.ppf(1 - SIGNIFICANCE / 2, count - 1)
        return float(nct.sf(limit, count - 1, np.sqrt(count)))
    drawn = 1.0 + np.random.default_rng(0).standard_normal((_SIMULATIONS, count))
    signs = np.array(list(product((1.0, -1.0), repeat=count)))
    flipped = np.abs(drawn @ signs.T)
    as_large = flipped >= np.abs(drawn.sum(axis=1, keepdims=True)) * (1 - 1e-12)
    return float((as_large.mean(axis=1) <= SIGNIFICANCE).mean())


@lru_cache
def _difference_power(ones: int, others: int) -> float:
    """Return how often the test decides a shift of two standard deviations, by simulation."""
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((_SIMULATIONS, ones + others))
    shifted = drawn + 2.0 * (np.arange(ones + others) < ones)
    middle = ones * (ones + others + 1) / 2

    def distances(values: Values) -> Values:
        found: Values = np.abs(_ranks(values)[:, :ones].sum(axis=1) - middle)
        return found

    null = distances(rng.standard_normal((5 * _SIMULATIONS, ones + others)))
    return _decided(distances(shifted), null)


def _decided(found: Values, null: Values) -> float:
    """Return the fraction of statistics that are decided, given simulated ones of no effect."""
    tail = (len(null) - np.searchsorted(np.sort(null), found - 1e-9)) / len(null)
    return float((tail <= SIGNIFICANCE).mean())
