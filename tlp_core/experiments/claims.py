"""Claims of the papers, each answered by a number with its spread.

A claim holds where the 95 % interval of its number lies on the claimed side of the value that would
mean nothing, it does not hold where it lies on the other side, and is undecided in between.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import ConstantInputWarning, spearmanr

Row = Mapping[str, Any]

_LEAST = 5
"""Fewer cases have no interval worth the name."""

_RESAMPLES = 1000
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Claim:
    """A claim and what was seen.

    Attributes:
        text: what the paper says.
        measure: what was measured.
        value: the number.
        low: lower end of its 95 % interval, by bootstrap; NaN where there is too little.
        high: upper end.
        verdict: ``holds``, ``does not hold`` or ``undecided``.
        count: how many landscapes or pairs it rests on.
    """

    text: str
    measure: str
    value: float
    low: float
    high: float
    verdict: str
    count: int


def correlation(
    text: str, rows: Iterable[Row], one: str, other: str, *, positive: bool = True
) -> Claim:
    """Answer a claim by Spearman's rank correlation of two columns.

    Args:
        text: the claim.
        rows: of the table.
        one: a column.
        other: another one.
        positive: whether they are claimed to grow together.
    """
    pairs = np.array([[row[one], row[other]] for row in rows], dtype=np.float64).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    measure = f"rank correlation of {one} and {other}"
    return judged(text, measure, pairs, _spearman, nothing=0.0, above=positive)


def mean(
    text: str, measure: str, values: npt.ArrayLike, *, nothing: float, above: bool = True
) -> Claim:
    """Answer a claim by a mean that should lie above a value, or below."""
    numbers = np.asarray(values, dtype=np.float64).reshape(-1, 1)
    numbers = numbers[np.isfinite(numbers[:, 0])]
    return judged(text, measure, numbers, lambda part: float(part.mean()), nothing, above)


def judged(
    text: str,
    measure: str,
    cases: npt.NDArray[np.float64],
    statistic: Callable[[npt.NDArray[np.float64]], float],
    nothing: float,
    above: bool,
) -> Claim:
    """Answer a claim by a statistic of cases (C, …), with its bootstrap interval."""
    nan = float("nan")
    if len(cases) < _LEAST:
        value = statistic(cases) if len(cases) else nan
        return Claim(text, measure, value, nan, nan, "undecided", len(cases))
    rng = np.random.default_rng(0)
    drawn = [statistic(cases[rng.integers(len(cases), size=len(cases))]) for _ in range(_RESAMPLES)]
    known = [value for value in drawn if np.isfinite(value)]
    low, high = np.percentile(known, _INTERVAL) if known else (np.nan, np.nan)
    verdict = "undecided"
    if low > nothing:
        verdict = "holds" if above else "does not hold"
    elif high < nothing:
        verdict = "does not hold" if above else "holds"
    return Claim(text, measure, statistic(cases), float(low), float(high), verdict, len(cases))


def table_of(claims: Sequence[Claim]) -> str:
    """Return claims as a table in Markdown."""
    lines = ["| claim | measured | value (95 %) | cases | |", "|---|---|---|---|---|"]
    for claim in claims:
        value = f"{claim.value:.2g} ({claim.low:.2g} to {claim.high:.2g})".replace("nan", "–")
        lines.append(
            f"| {claim.text} | {claim.measure} | {value} | {claim.count} | {claim.verdict} |"
        )
    return "\n".join(lines) + "\n"


def _spearman(pairs: npt.NDArray[np.float64]) -> float:
    if len(pairs) < 2:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)  # the answer is NaN then
        return float(spearmanr(pairs[:, 0], pairs[:, 1]).statistic)
