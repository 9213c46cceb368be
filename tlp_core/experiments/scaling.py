"""One character GPT at three widths and eight learning rates: landscapes during training.

The experiment tests which descriptors tell something about the validation loss that step and width
of a network do not tell, whether they predict the loss of the next size, and whether they change
before a spike of the training loss. For comparison: the critical sharpness, the training loss, and
WeightWatcher's α if the package is installed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core.choices import ExperimentSize
from tlp_core.directions.hessian.critical_sharpness import critical_sharpness
from tlp_core.experiments.claims import Claim, Sign, mean
from tlp_core.experiments.definition import Curves, Experiment, Look, Network, Training
from tlp_core.experiments.prediction import (
    Features,
    gains,
    held_out_gain,
    next_size_errors,
    partial_correlations,
)
from tlp_core.experiments.results import HALF_WIDTH, LOW_VOLUME
from tlp_core.experiments.rows import Row, group_rows
from tlp_core.experiments.transitions import (
    SPIKE,
    RandomSequences,
    train_by_adam,
    transformer_look,
)
from tlp_core.pipeline.block_table import weight_watcher_alpha
from tlp_core.problem import Problem
from tlp_core.problems.transformer import character_gpt, encoded
from tlp_core.progress import Progress
from tlp_core.sampling.settings import GridSettings

logger = logging.getLogger(__name__)

LOSS, TRAINING_LOSS = "validation loss", "training loss"

SHARPNESS = "critical sharpness"
"""Column: critical sharpness of the loss, along the gradient."""

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

_NEIGHBOURS = 5
"""Number of checkpoints before and after one to which it is compared."""

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

Column = Callable[[Row], float]


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


_LAW, _BEST = "power law in step and width", "power law and landscape"
"""Predictors of the next size that are compared by a test."""


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
    by_rise = replace(transformer_look(resolution), measure_network=_measure_network)
    steps = tuple(range(0, _TABLE[size]["points"], 8))
    samples = GridSettings(wide, distance=_WIDE_DISTANCE)
    return [by_rise, Look(_WIDE, by_rise.directions, samples, steps=steps)]


def scaling_claims(rows: Sequence[Row]) -> list[Claim]:
    """Test what descriptors tell about the validation loss, and about spikes of the training loss.

    The networks of one width and learning rate are one case: their seeds are not independent.

    Args:
        rows: rows of the table of descriptors.
    """
    by_rise = [row for row in rows if row["look"] != _WIDE]
    wide = [row for row in rows if row["look"] == _WIDE]
    claims = []
    for columns, table in ((LANDSCAPE, by_rise), (TOPOLOGY, wide), (OTHERS, by_rise)):
        for name, column in columns.items():
            claims += _claims_beyond(name, column, table, is_tested=columns is not OTHERS)
    return claims + _claims_on_the_next_size(by_rise) + _claims_on_spikes(by_rise)


def next_size_predictors() -> dict[str, Features]:
    """Return the inputs of the models that predict the loss of the next size, by name."""
    landscape, sharpness, alpha = LANDSCAPE.values(), *OTHERS.values()
    return {
        _LAW: _power_law,
        "WeightWatcher's α alone": lambda row: [alpha(row)],
        "critical sharpness alone": lambda row: [sharpness(row)],
        "landscape alone": lambda row: [column(row) for column in landscape],
        "power law and α": lambda row: [*_power_law(row), alpha(row)],
        "power law and critical sharpness": lambda row: [*_power_law(row), sharpness(row)],
        _BEST: lambda row: [*_power_law(row), *(column(row) for column in landscape)],
        "power law and training loss": lambda row: [
            *_power_law(row),
            _logarithm(TRAINING_LOSS)(row),
        ],
    }


def errors_on_the_next_size(rows: Sequence[Row]) -> dict[str, dict[tuple[Any, ...], float]]:
    """Return the errors of log validation loss for each network of the largest width.

    Args:
        rows: rows of the look at boxes of a rise. The first tenth of the steps is left out.

    Returns:
        Root mean square errors by predictor, and by the learning rate of the network.
    """
    late = [row for row in rows if row["step"] >= _LATE * max(r["step"] for r in rows)]
    return {
        name: next_size_errors(late, _logarithm(LOSS), features, size="width", by=("rate",))
        for name, features in next_size_predictors().items()
    }


def _claims_beyond(
    name: str, column: Column, rows: Sequence[Row], *, is_tested: bool
) -> list[Claim]:
    """Test, or show, whether a column tells something that step and width do not tell."""
    target = _logarithm(LOSS)
    gain = held_out_gain(rows, target, _step_and_width, column, _SETTING)
    return [
        mean(
            f"{name} tells of the validation loss beyond step and width",
            "log2 of the error without it over that with it, networks of other settings fitted",
            list(gain.values()),
            claimed="positive" if is_tested else None,
        ),
        mean(
            f"partial correlation of {name} and the validation loss",
            "rank correlation along a training, given step and width",
            partial_correlations(rows, target, _step_and_width, column, _SETTING),
            claimed=None,
        ),
    ]


def _claims_on_the_next_size(rows: Sequence[Row]) -> list[Claim]:
    errors = errors_on_the_next_size(rows)
    measure = "log2 of the error of the {} over that with the landscape, at the largest width"
    tested: tuple[tuple[str, str, Sign | None], ...] = (
        ("power law", _LAW, "positive"),
        ("power law with α", "power law and α", None),
        ("power law with the training loss", "power law and training loss", None),
    )
    return [
        mean(
            f"with the landscape, the loss of the next size is predicted better than by the {name}",
            measure.format(name),
            gains(errors[_BEST], errors[other]),
            claimed=claimed,
        )
        for name, other, claimed in tested
    ]


def _claims_on_spikes(rows: Sequence[Row]) -> list[Claim]:
    """Test whether a checkpoint before a spike differs from its neighbours."""
    tested: tuple[tuple[str, str, Sign], ...] = (
        ("a narrower basin", HALF_WIDTH, "negative"),
        ("a larger top eigenvalue", "top_eigenvalue", "positive"),
    )
    return [
        mean(
            f"{name} before a spike of the training loss",
            f"log {column.replace('_', ' ')} minus the median of its ten neighbours, trainings "
            "with spikes",
            _before_spikes(rows, _logarithm(column)),
            claimed=claimed,
        )
        for name, column, claimed in tested
    ]


def _before_spikes(rows: Sequence[Row], column: Column) -> list[float]:
    """Return the mean difference before spikes for each network that has some."""
    found = []
    for group in group_rows(rows, (*_SETTING, "seed")).values():
        ordered = sorted(group, key=lambda row: float(row["step"]))
        values = np.array([column(row) for row in ordered])
        differences = [
            values[place] - np.median(_around(values, place)) for place in _spikes(ordered)
        ]
        if differences:
            found.append(float(np.mean(differences)))
    return found


def _spikes(ordered: Sequence[Row]) -> npt.NDArray[np.int64]:
    """Return the places of the checkpoints before spikes, without the warm-up of the training.

    The noise of the training loss is that of its batches: the median change between checkpoints,
    as the standard deviation of normal values with such a median.
    """
    rises = np.array([float(row[SPIKE]) for row in ordered])
    late = np.array([float(row["step"]) for row in ordered]) > _LATE * float(ordered[-1]["step"])
    if not late.any():
        return np.array([], dtype=np.int64)
    noise = np.array([float(row[TRAINING_LOSS]) for row in ordered])[late]
    deviation = 1.48 * np.median(np.abs(np.diff(noise))) / np.sqrt(2)
    return np.flatnonzero(late[1:] & (rises[1:] > _SPIKE_DEVIATIONS * deviation))


def _around(values: npt.NDArray[np.float64], place: int) -> npt.NDArray[np.float64]:
    """Return the values of the checkpoints around one, without itself."""
    first = max(0, place - _NEIGHBOURS)
    return np.concatenate([values[first:place], values[place + 1 : place + 1 + _NEIGHBOURS]])


def _step_and_width(row: Row) -> list[float]:
    """Return a flexible function of step and width: a cubic in log step, of any width."""
    step, width = np.log(row["step"] + 1), np.log(row["width"])
    return [step, step**2, step**3, width, width * step, width * step**2]


def _power_law(row: Row) -> list[float]:
    return [float(np.log(row["step"] + 1)), float(np.log(row["width"]))]


def _measure_network(problem: Problem) -> Row:
    """Return what the descriptors are compared with."""
    try:
        row = {SHARPNESS: critical_sharpness(problem).value}
    except RuntimeError:  # no gradient, or a loss that never exceeds the model's
        row = {SHARPNESS: np.nan}
    if _has_weight_watcher():
        row[ALPHA] = weight_watcher_alpha(problem, None)
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
    """Draw the errors of the predictions of the next size."""
    from tlp_core.experiments.charts import draw_values

    errors = errors_on_the_next_size([row for row in rows if row["look"] != _WIDE])
    groups = {name: np.array(list(each.values())) for name, each in errors.items() if each}
    label = "error of log validation loss at the largest width (root mean square)"
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
