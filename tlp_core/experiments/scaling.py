"""One character GPT at three widths and eight learning rates: landscapes during training.

The experiment tests which descriptors improve a prediction of the validation loss by step, width
and learning rate, and which of them change before a spike of the training loss. It shows how well
they predict the loss of the next size. For comparison, it has the critical sharpness, the loss
itself, and WeightWatcher's α if the package is installed.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core.choices import ExperimentSize
from tlp_core.directions.hessian.critical_sharpness import NoSharpnessError, critical_sharpness
from tlp_core.experiments.claims import Claim, Sign, gain, mean
from tlp_core.experiments.definition import Curves, Experiment, Look, Network, Training
from tlp_core.experiments.prediction import (
    Column,
    Features,
    gains,
    held_out_gain,
    next_size_errors,
    partial_correlations,
)
from tlp_core.experiments.results import HALF_WIDTH, LOW_VOLUME, shape_of_basin
from tlp_core.experiments.rows import Row, group_rows
from tlp_core.experiments.transitions import (
    SPIKE,
    RandomSequences,
    train_by_adam,
    transformer_look,
)
from tlp_core.landscape.landscape import Landscape
from tlp_core.pipeline.block_table import mean_alpha, weight_watcher_alphas
from tlp_core.problem import Problem
from tlp_core.problems.transformer import character_gpt, encoded
from tlp_core.progress import Progress
from tlp_core.sampling.settings import GridSettings
from tlp_core.topology.merge_tree import MergeTree

logger = logging.getLogger(__name__)

Places = npt.NDArray[np.int64]

LOSS, TRAINING_LOSS = "validation loss", "training loss"

SHARPNESS = "critical sharpness"
"""Column: critical sharpness of the loss, along the gradient."""

CENTER = "loss on fixed sequences"
"""Column: the loss of the landscape at the network; the training loss is that of one batch."""

ALPHA = "alpha"
"""Column: WeightWatcher's α, the mean over all weight matrices."""

_WIDE = "2D-wide"
"""Name of the look at a box of one half-width, in which there can be several basins."""

_WIDE_DISTANCE = 0.7
"""Its half-width: of the trainings tried by hand, some had several minima at 0.7, none at 0.2."""

_SETTING = ("width", "rate")
"""Columns of a setting, which networks of several seeds share."""

_LATE = 0.1
"""Fraction of the steps before which a power law does not hold."""

_SPIKE_DEVIATIONS = 5.0
"""Rise of the training loss, in standard deviations of its noise, that is a spike."""

_EARLIER = 5
"""Number of checkpoints before one with which it is compared."""

_TABLE: dict[ExperimentSize, dict[str, Any]] = {
    "quick": {"widths": (16, 24, 32), "rates": (1e-2,), "seeds": 1, "steps": 80, "points": 9},
    "medium": {
        "widths": (16, 32, 64),
        "rates": (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 3e-1),
        "seeds": 1,
        "steps": 1000,
        "points": 101,
    },
    "full": {
        "widths": (32, 64, 128),
        "rates": (3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1),
        "seeds": 5,
        "steps": 10_000,
        "points": 201,
    },
}
"""Networks of each size, the steps of their training, and the number of checkpoints."""


def _logarithm(name: str) -> Column:
    """Return the function of the logarithm of a column's magnitude; NaN where there is none."""

    def value(row: Row) -> float:
        magnitude = abs(float(row.get(name, np.nan)))
        return float(np.log(magnitude)) if magnitude > 0 else np.nan

    return value


def _plain(name: str) -> Column:
    return lambda row: float(row.get(name, np.nan))


LANDSCAPE: dict[str, Column] = {
    "half-width of a rise of 1": _logarithm(HALF_WIDTH),
    "volume below half the rise": _plain(LOW_VOLUME),
    "top eigenvalue": _logarithm("top_eigenvalue"),
}
"""Descriptors of the box of a rise."""

TOPOLOGY: dict[str, Column] = {
    "number of minima": _logarithm("number_of_minima"),
    "total finite persistence": lambda row: float(
        np.log1p(row.get("total_finite_persistence", np.nan))
    ),
}
"""Descriptors of the wide box."""

OTHERS: dict[str, Column] = {
    "critical sharpness": _logarithm(SHARPNESS),
    "WeightWatcher's α": _plain(ALPHA),
}
"""What the descriptors are compared with."""


def scaling_networks(size: ExperimentSize) -> list[Network]:
    """Return the networks of a size: a character GPT of two layers for each width and rate."""
    table = _TABLE[size]
    return [
        _gpt(width, rate, seed, size)
        for width in table["widths"]
        for rate in table["rates"]
        for seed in range(table["seeds"])
    ]


def scaling_looks(size: ExperimentSize) -> list[Look]:
    """Return the looks of a size: boxes of a rise, and wide boxes at every eighth checkpoint."""
    resolution, wide = {"quick": (7, 9), "medium": (11, 21), "full": (41, 41)}[size]
    by_rise = replace(
        transformer_look(resolution), measure=_measure_basin, measure_network=_measure_network
    )
    steps = tuple(range(0, _TABLE[size]["points"], 8))
    samples = GridSettings(wide, distance=_WIDE_DISTANCE)
    return [by_rise, Look(_WIDE, by_rise.directions, samples, steps=steps)]


def scaling_claims(rows: Sequence[Row]) -> list[Claim]:
    """Test what descriptors tell about the validation loss, and about spikes of the training loss.

    The learning rate is known beside step and width, because a descriptor follows it: at the edge
    of stability, the top eigenvalue is 2 over the rate. The networks of one width and learning rate
    are one case: their seeds are not independent.

    Args:
        rows: rows of the table of descriptors.
    """
    by_rise = [row for row in rows if row["look"] != _WIDE]
    wide = [row for row in rows if row["look"] == _WIDE]
    claims = []
    for columns, table in ((LANDSCAPE, by_rise), (TOPOLOGY, wide), (OTHERS, by_rise)):
        for name, column in columns.items():
            claims += _claims_beyond(name, column, table, is_tested=columns is not OTHERS)
    return claims + _claims_on_the_next_size(by_rise) + spike_claims(by_rise)


_POWER, _LAW = "power law in step and width", "law in step, width and rate"
_BEST, _WITH_LOSS = "law and landscape", "law and loss on fixed sequences"


def next_size_predictors() -> dict[str, Features]:
    """Return the inputs of the models that predict the loss of the next size, by name."""
    landscape, sharpness, alpha = LANDSCAPE.values(), *OTHERS.values()
    return {
        "WeightWatcher's α alone": lambda row: [alpha(row)],
        "landscape alone": lambda row: [column(row) for column in landscape],
        _POWER: _power_law,
        _LAW: _law,
        "law and WeightWatcher's α": lambda row: [*_law(row), alpha(row)],
        "law and critical sharpness": lambda row: [*_law(row), sharpness(row)],
        _BEST: lambda row: [*_law(row), *(column(row) for column in landscape)],
        _WITH_LOSS: lambda row: [*_law(row), _logarithm(CENTER)(row)],
    }


def errors_on_the_next_size(rows: Sequence[Row]) -> dict[str, dict[tuple[Any, ...], float]]:
    """Return the errors of log validation loss for each network of the largest width.

    Args:
        rows: rows of the look at boxes of a rise. The first tenth of the steps is left out.

    Returns:
        Root mean square errors by predictor, and by the learning rate of the network.
    """
    first = _LATE * max(row["step"] for row in rows)
    late = [row for row in rows if row["step"] >= first]
    predictors = next_size_predictors()
    return next_size_errors(late, _logarithm(LOSS), predictors, size="width", by=("rate",))


def _claims_beyond(
    name: str, column: Column, rows: Sequence[Row], *, is_tested: bool
) -> list[Claim]:
    """Test, or show, whether a column tells something that step, width and rate do not tell."""
    target = _logarithm(LOSS)
    values = list(held_out_gain(rows, target, _setting_and_step, column, _SETTING).values())
    text = f"{name} tells of the validation loss beyond step, width and learning rate"
    measure = "log2 of the error without it over that with it, networks of other settings fitted"
    return [
        gain(text, measure, values) if is_tested else mean(text, measure, values, claimed=None),
        mean(
            f"partial correlation of {name} and the validation loss",
            "rank correlation of what step, width and learning rate do not tell, by setting",
            partial_correlations(rows, target, _setting_and_step, column, _SETTING),
            claimed=None,
        ),
    ]


def _claims_on_the_next_size(rows: Sequence[Row]) -> list[Claim]:
    """Show what the landscape adds to other predictors of the largest width."""
    errors = errors_on_the_next_size(rows)
    return [
        mean(
            f"the landscape beside the law predicts the loss of the next size, against {name}",
            f"log2 of the error of {name} over that with the landscape, largest width",
            gains(errors.get(_BEST, {}), errors.get(name, {})),
            claimed=None,
        )
        for name in (_POWER, _LAW, "law and WeightWatcher's α", _WITH_LOSS)
    ]


def spike_claims(rows: Sequence[Row]) -> list[Claim]:
    """Test whether a checkpoint before a spike of the training loss differs from earlier ones.

    Args:
        rows: rows of the look at boxes of a rise.
    """
    tested: tuple[tuple[str, str, Sign], ...] = (
        ("a narrower basin", HALF_WIDTH, "negative"),
        ("a larger top eigenvalue", "top_eigenvalue", "positive"),
    )
    return [
        mean(
            f"{name} before a spike of the training loss",
            f"log {column.replace('_', ' ')} minus the median of five earlier checkpoints, against "
            "the same where no spike follows",
            _before_spikes(rows, _logarithm(column)),
            claimed=claimed,
        )
        for name, column, claimed in tested
    ]


def _before_spikes(rows: Sequence[Row], column: Column) -> list[float]:
    """Return how much a column rises before spikes, for each setting with some.

    The same rise where no spike is near is subtracted: a column that grows during the training
    rises everywhere, before spikes or not.
    """
    found: dict[tuple[Any, ...], list[float]] = {}
    for (width, rate, _), group in group_rows(rows, (*_SETTING, "seed")).items():
        ordered = sorted(group, key=lambda row: float(row["step"]))
        values = np.array([column(row) for row in ordered])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of places where all are NaN
            earlier = [
                np.nanmedian(values[place - _EARLIER : place]) if place >= _EARLIER else np.nan
                for place in range(len(values))
            ]
        rises = values - np.array(earlier)
        before, elsewhere = _spikes(ordered)
        with_spike, without = (
            rises[places][np.isfinite(rises[places])] for places in (before, elsewhere)
        )
        if len(with_spike) and len(without):
            found.setdefault((width, rate), []).append(with_spike.mean() - without.mean())
    return [float(np.mean(values)) for values in found.values()]


def _spikes(ordered: Sequence[Row]) -> tuple[Places, Places]:
    """Return the places of the checkpoints before spikes, and of those far from any spike.

    A spike is a rise of the training loss by five standard deviations of its noise, without one in
    the five checkpoints before, so that a long one counts once. The warm-up is left out. The noise
    of the training loss is that of its batches: the median change between checkpoints, as the
    standard deviation of normal values with such a median.
    """
    rises = np.array([float(row[SPIKE]) for row in ordered])
    losses = np.array([float(row[TRAINING_LOSS]) for row in ordered])
    late = np.array([float(row["step"]) for row in ordered]) > _LATE * float(ordered[-1]["step"])
    changes = np.abs(np.diff(losses[late]))
    if not np.isfinite(changes).any():
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    deviation = 1.48 * np.nanmedian(changes) / np.sqrt(2)
    is_high = late & ~(rises <= _SPIKE_DEVIATIONS * deviation)  # a loss of NaN is a spike
    place = np.arange(len(ordered))
    since = place[:, None] - np.flatnonzero(is_high)[None]  # checkpoints from each high loss
    follows = ((since > 0) & (since <= _EARLIER)).any(axis=1)
    starts = np.flatnonzero(is_high & ~follows)
    is_far = (np.abs(since) > _EARLIER).all(axis=1)
    return starts[starts > 0] - 1, np.flatnonzero(late & is_far)


def _setting_and_step(row: Row) -> list[float]:
    """Return the inputs of a flexible model: powers and products of log step, width and rate."""
    step, width, rate = (float(np.log(x)) for x in (row["step"] + 1, row["width"], row["rate"]))
    steps = [step, step**2, step**3]
    return [
        *steps,
        width,
        width * step,
        width * step**2,
        rate,
        rate**2,
        rate * step,
        rate**2 * step,
    ]


def _power_law(row: Row) -> list[float]:
    return [float(np.log(row["step"] + 1)), float(np.log(row["width"]))]


def _law(row: Row) -> list[float]:
    rate = float(np.log(row["rate"]))
    return [*_power_law(row), rate, rate**2]


def _measure_basin(landscape: Landscape, tree: MergeTree) -> Row:
    return {**shape_of_basin(landscape, tree), CENTER: landscape.center}


def _measure_network(problem: Problem) -> Row:
    """Return what the descriptors are compared with."""
    try:
        row = {SHARPNESS: critical_sharpness(problem).value}
    except NoSharpnessError:
        row = {SHARPNESS: np.nan}
    if _has_weight_watcher():
        row[ALPHA] = mean_alpha(weight_watcher_alphas(problem), problem, None)
    return row


@cache
def _has_weight_watcher() -> bool:
    found = find_spec("weightwatcher") is not None
    if not found:
        logger.warning("WeightWatcher's α is left out; pip install weightwatcher adds it")
    return found


def _gpt(width: int, rate: float, seed: int, size: ExperimentSize) -> Network:
    table = _TABLE[size]
    sequences = {"quick": 8, "medium": 16, "full": 256}[size]

    def make() -> Problem:
        return character_gpt(width=width, layers=2, sequences=sequences, seed=seed)

    train = partial(_train_gpt, rate=rate, seed=seed)
    steps = _steps(table["steps"], table["points"])
    return Network({"width": width, "rate": rate, "seed": seed}, make, train, steps)


def _steps(last: int, count: int) -> list[int]:
    """Return steps whose distance grows from 1 at the start, where the loss falls fastest."""
    places = np.arange(count)
    curvature = (last - (count - 1)) / (count - 1) ** 2
    return [int(step) for step in (places + curvature * places**2).round()]


def _train_gpt(
    problem: Problem, training: Training, progress: Progress, *, rate: float, seed: int
) -> Curves:
    """Train on random sequences from the first nine tenths of the text."""
    codes, _ = encoded("")
    codes = codes[: len(codes) * 9 // 10]
    sequences = RandomSequences(
        codes, next(iter(problem.batches)).shape[1], 32, seed, problem.model
    )
    return train_by_adam(
        problem, training, progress, learning_rate=rate, weight_decay=0.1, sequences=sequences
    )


def _draw_next_size(rows: Sequence[Row], path: Path) -> None:
    """Draw the errors of the predictions of the next size; nothing for fewer than three sizes."""
    from tlp_core.experiments.charts import draw_values

    errors = errors_on_the_next_size([row for row in rows if row["look"] != _WIDE])
    groups = {name: np.array(list(each.values())) for name, each in errors.items()}
    label = "error of log validation loss at the largest width (root mean square)"
    if groups:
        draw_values(groups, label, path)


SCALING = Experiment(
    "One GPT at three sizes",
    scaling_networks,
    scaling_looks,
    scaling_claims,
    rows="width",
    columns="step",
    figures=((LOSS, HALF_WIDTH), (LOSS, ALPHA)),
    series=(TRAINING_LOSS, LOSS, SPIKE, HALF_WIDTH, LOW_VOLUME, "top_eigenvalue", ALPHA),
    charts={"next_size.png": _draw_next_size},
)
