"""Claims of the papers, each answered by a number with its spread.

A claim holds where the 95 % interval of its number lies on the claimed side of the value that would
mean nothing, it does not hold where it lies on the other side, and is undecided in between. Where
there is no such value the number is only shown.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import ConstantInputWarning, spearmanr

from tlp_core.experiments.rows import Row, grouped

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
        verdict: ``holds``, ``does not hold``, ``undecided`` or ``shown``.
        count: how many networks, or other independent cases, it rests on.
    """

    text: str
    measure: str
    value: float
    low: float
    high: float
    verdict: str
    count: int


def correlation(
    text: str,
    rows: Iterable[Row],
    one: str,
    other: str,
    *,
    positive: bool = True,
    by: Sequence[str] = (),
) -> Claim:
    """Answer a claim by Spearman's rank correlation of two columns.

    Args:
        text: the claim.
        rows: of the table.
        one: a column.
        other: another one.
        positive: whether they are claimed to grow together.
        by: columns whose values rows of one network share; such rows depend on each other. By
            default each row is a case of its own.
    """
    measure = f"rank correlation of {one} and {other}"
    blocks = _blocks(rows, one, other, by)
    return judged(text, measure, blocks, _spearman, nothing=0.0, above=positive)


def correlation_within(
    text: str,
    rows: Iterable[Row],
    one: str,
    other: str,
    by: Sequence[str],
    *,
    positive: bool = True,
) -> Claim:
    """Answer a claim by the rank correlation of two columns along each training, a case each.

    Args:
        text: the claim.
        rows: of the table, several for each network.
        one: a column.
        other: another one.
        by: columns whose values rows of one network share.
        positive: whether they are claimed to grow together.
    """
    each = [_spearman(block) for block in _blocks(rows, one, other, by)]
    measure = f"rank correlation of {one} and {other} along each training"
    return mean(text, measure, each, nothing=0.0, above=positive)


def mean(
    text: str, measure: str, values: npt.ArrayLike, *, nothing: float | None, above: bool = True
) -> Claim:
    """Answer a claim by a mean that should lie above a value, or below; None for no such value."""
    numbers = np.asarray(values, dtype=np.float64).reshape(-1, 1, 1)
    blocks = [block for block in numbers if np.isfinite(block).all()]
    return judged(text, measure, blocks, lambda part: float(part.mean()), nothing, above)


def judged(
    text: str,
    measure: str,
    blocks: Sequence[npt.NDArray[np.float64]],
    statistic: Callable[[npt.NDArray[np.float64]], float],
    nothing: float | None,
    above: bool,
) -> Claim:
    """Answer a claim by a statistic of cases, with its bootstrap interval.

    Args:
        text: the claim.
        measure: what the statistic is.
        blocks: cases (C, K) each, those that depend on each other in one block, which is drawn as a
            whole.
        statistic: of all cases together.
        nothing: the value that would mean nothing; None where there is none.
        above: whether the statistic is claimed to be larger.
    """
    nan = float("nan")
    value = statistic(np.concatenate(blocks)) if len(blocks) else nan
    verdict = "shown" if nothing is None else "undecided"
    if len(blocks) < _LEAST:
        return Claim(text, measure, value, nan, nan, verdict, len(blocks))
    rng = np.random.default_rng(0)
    draws = rng.integers(len(blocks), size=(_RESAMPLES, len(blocks)))
    drawn = [statistic(np.concatenate([blocks[i] for i in draw])) for draw in draws]
    known = [number for number in drawn if np.isfinite(number)]
    low, high = np.percentile(known, _INTERVAL) if known else (nan, nan)
    if nothing is not None and low > nothing:
        verdict = "holds" if above else "does not hold"
    elif nothing is not None and high < nothing:
        verdict = "does not hold" if above else "holds"
    return Claim(text, measure, value, float(low), float(high), verdict, len(blocks))


def _blocks(
    rows: Iterable[Row], one: str, other: str, by: Sequence[str]
) -> list[npt.NDArray[np.float64]]:
    """Return the finite pairs of two columns (C, 2) of each network."""
    known = [row for row in rows if np.isfinite([row[one], row[other]]).all()]
    networks = grouped(known, by).values() if by else [[row] for row in known]
    return [np.array([(row[one], row[other]) for row in part], dtype=float) for part in networks]


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
