"""Landscapes of transformers during training, and the lag of their changes.

The experiments on transformers test whether the topology of the landscape changes before or after
the transition of the training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tlp_core.analysis.change_points import MINIMUM_POINTS
from tlp_core.directions.settings import DirectionSettings
from tlp_core.experiments.claims import Claim, correlation, mean
from tlp_core.experiments.definition import Curves, Look, Training
from tlp_core.experiments.results import HALF_WIDTH, LOW_VOLUME, series_by, shape_of_basin
from tlp_core.experiments.rows import Row
from tlp_core.problem import Problem, match_batch
from tlp_core.problems.transformer import adam_optimizer, adam_steps
from tlp_core.progress import Progress
from tlp_core.sampling.settings import GridSettings

DESCRIPTORS = ("number_of_minima", HALF_WIDTH, LOW_VOLUME, "top_eigenvalue")
"""Columns whose changes are compared with the transition."""

_RISE = 1.0
"""Rise of the loss at the edges of the box, in nats: a factor of e of the mean probability."""

_LOGARITHMIC = 30
"""Ratio of the largest to the smallest positive value above which a series is logarithmic."""

SPIKE = "spike"
"""Column: :func:`largest_rise` of the training loss since the last checkpoint."""

_RECENT = 20
"""Number of values whose median a rise of the training loss starts from."""

Values = npt.NDArray[np.float64]


def transformer_look(resolution: int) -> Look:
    """Return the look at a whole transformer in a box in which its loss rises by 1.

    Args:
        resolution: number of points along each direction.
    """
    directions = DirectionSettings(n=2, method="lanczos", normalization="layer")
    return Look("2D", directions, GridSettings(resolution, rise=_RISE), measure=shape_of_basin)


def look_at_part(whole: Look, name: str, parameters: str) -> Look:
    """Return the look at a part of a network.

    Args:
        whole: the look at the whole network.
        name: name of the look.
        parameters: pattern of the names of the part's parameters.
    """
    directions = replace(whole.directions, parameters=parameters)
    return replace(whole, name=name, directions=directions)


def lag_claims(rows: Sequence[Row], event: str, names: Sequence[str]) -> list[Claim]:
    """Test whether each descriptor changes when a column of the table does, and show its lag.

    A series without a change has a date, too, somewhere in the middle, and its lag depends on the
    range of the steps alone. So the test is whether both dates move together over the networks,
    which are independent: the later the one, the later the other. The lag means something only if
    they do.

    Args:
        rows: rows of one look.
        event: column whose change is the transition.
        names: columns that identify a network.
    """
    dates = change_dates(rows, event, names)
    results = []
    for column in DESCRIPTORS:
        name, look = column.replace("_", " "), rows[0]["look"]
        pairs = np.array([(dates[column][network], step) for network, step in dates[event].items()])
        both = [{"its change": one, f"change of the {event}": other} for one, other in pairs]
        results += [
            correlation(
                f"{name} changes with the transition ({look})",
                both,
                f"change of the {event}",
                "its change",
            ),
            mean(
                f"{name} changes before (-) or after (+) the transition ({look})",
                f"steps from the change of the {event} to its own",
                pairs[:, 0] - pairs[:, 1],
                claimed=None,
            ),
        ]
    return results


def change_dates(
    rows: Sequence[Row], event: str, names: Sequence[str]
) -> dict[str, dict[tuple[Any, ...], float]]:
    """Return the step at which the event and each descriptor change, by column and network.

    Args:
        rows: rows of one look.
        event: column whose change is the transition.
        names: columns that identify a network.
    """
    return {
        column: {
            network: change_date(steps, values)
            for network, (steps, values) in series_by(rows, column, *names).items()
        }
        for column in (event, *DESCRIPTORS)
    }


def change_date(steps: Values, values: Values) -> float:
    """Return the step at which a series changes: where it crosses the middle of two levels.

    The levels are the means before and after the split that explains most of the series. Positive
    values of which some are thirty times as large as others count by their logarithm.

    Args:
        steps: (T,) in increasing order.
        values: (T,), of which those that are not finite are omitted.

    Returns:
        The step; NaN of a constant series, or of fewer than 8 finite values.
    """
    finite = np.isfinite(values)
    steps, values = steps[finite], values[finite]
    if len(values) < MINIMUM_POINTS or np.ptp(values) == 0:
        return np.nan
    if values.min() > 0 and values.max() > _LOGARITHMIC * values.min():
        values = np.log(values)
    count = np.arange(1, len(values))
    before = np.cumsum(values)[:-1] / count
    after = np.cumsum(values[::-1])[:-1][::-1] / count[::-1]
    split = int(np.argmax(count * count[::-1] * (after - before) ** 2))
    middle = (before[split] + after[split]) / 2
    is_after = (values > middle) == (after[split] > before[split])
    crossings = np.flatnonzero(is_after[1:] & ~is_after[:-1]) + 1
    if not len(crossings):
        return np.nan
    return float(steps[crossings[np.abs(crossings - 1 - split).argmin()]])


def largest_rise(losses: Sequence[float], count: int) -> float:
    """Return the largest rise of a loss above the median of its last 20 values.

    Args:
        losses: the loss at each step.
        count: number of steps at the end of ``losses`` from which the largest is taken, >= 1.

    Returns:
        The rise, in the unit of the loss; 0 if no value has one before it.
    """
    places = range(max(1, len(losses) - count), len(losses))
    rises = [losses[i] - float(np.median(losses[max(0, i - _RECENT) : i])) for i in places]
    return max(rises, default=0.0)


class RandomSequences:
    """Batches of random sequences of a text; their state is that before the last batch."""

    def __init__(self, codes: Tensor, length: int, count: int, seed: int, model: nn.Module) -> None:
        """Draw from a text.

        Args:
            codes: the text, as numbers (T,).
            length: length of a sequence.
            count: number of sequences in a batch.
            seed: random seed.
            model: the network, to whose device batches are moved.
        """
        self._codes, self._length, self._count, self._model = codes, length, count, model
        self._generator = torch.Generator().manual_seed(seed)
        self._before = self._generator.get_state()

    def __call__(self, _step: int) -> Tensor:
        """Return the next batch, (count, length)."""
        self._before = self._generator.get_state()
        last = len(self._codes) - self._length + 1
        starts = torch.randint(last, (self._count,), generator=self._generator).tolist()
        drawn = torch.stack([self._codes[start : start + self._length] for start in starts])
        return match_batch(drawn, self._model)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state before the last batch."""
        return {"state": self._before}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Set the state, so that the last batch is drawn again."""
        self._generator.set_state(state["state"])


def train_by_adam(
    problem: Problem,
    training: Training,
    progress: Progress,
    *,
    learning_rate: float,
    weight_decay: float,
    sequences: RandomSequences | None = None,
) -> Curves:
    """Train a transformer, save its checkpoints, and return its loss at each step.

    Args:
        problem: the problem. Its model is changed.
        training: writer of the checkpoints.
        progress: receives the fraction of the steps that are done and the loss.
        learning_rate: learning rate after the warm-up.
        weight_decay: decoupled weight decay.
        sequences: the batch of each step. Default: the first batch of the problem.
    """
    optimizer = adam_optimizer(problem, learning_rate=learning_rate, weight_decay=weight_decay)
    parts: dict[str, Any] = {"model": problem.model, "optimizer": optimizer}
    if sequences is not None:
        parts["sequences"] = sequences
    start, losses = training.resume(parts)
    last = training.steps[-1]
    for step, loss in adam_steps(problem, optimizer, last, start=start, batches=sequences):
        training.keep(step, losses, parts)
        losses.append(loss)
        if step in training.steps:
            before = max((each for each in training.steps if each < step), default=-1)
            numbers = {"training loss": loss, SPIKE: largest_rise(losses, step - before)}
            training.save(problem, step, numbers)
        progress(step / last, f"loss {loss:.2g}")
    return {"training loss": losses}
