"""The loss on the straight path between two models, and its barrier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tlp_core import checks
from tlp_core.choices import EngineChoice
from tlp_core.directions.checkpoints import checkpoint_directions
from tlp_core.problem import Problem, State
from tlp_core.progress import Progress, silent
from tlp_core.sampling.chunks import sample_plan
from tlp_core.sampling.plan import Plan
from tlp_core.sampling.settings import EvaluationSettings, RunSettings

LOSS = "loss"
"""Name of the loss on the batches, beside those on other batches."""


@dataclass(frozen=True)
class LossPath:
    """Losses on the straight path from one model to another.

    Attributes:
        positions: (T,) float64, t from 0, the first model, to 1, the second.
        losses: each loss by name, (T,) float64: ``loss``, and those on other batches.
        barriers: the barrier of each loss, >= 0: the largest height of the loss above the straight
            line between its two ends (Frankle et al. 2020, "Linear mode connectivity and the
            lottery ticket hypothesis", section 2). A barrier of 0 means that the models are
            linearly connected.
        length: ‖θ_b - θ_a‖.
    """

    positions: npt.NDArray[np.float64]
    losses: Mapping[str, npt.NDArray[np.float64]]
    barriers: Mapping[str, float]
    length: float


def sample_path(
    problem: Problem,
    state: State,
    *,
    points: int = 21,
    parameters: str | None = None,
    engine: EngineChoice | None = None,
    progress: Progress = silent,
) -> LossPath:
    """Return the losses on the straight path from a problem's model to another state of it.

    Args:
        problem: its model is the start of the path.
        state: state dict of the end, such as that of a fine-tuned model.
        points: number of points on the path, both ends included, >= 3.
        parameters: pattern of the names of the parameters to move; default: all.
        engine: as in :func:`~tlp_core.sample_grid`.
        progress: called with the fraction done, 0 to 1, and a text.

    Raises:
        ValueError: for an option out of range, a state of another network or one that equals the
            model, or a pattern that matches no parameter.
        TypeError: for a number of points that is not an integer.
        LossError, RuntimeError: as :func:`~tlp_core.sample_grid`.
    """
    points = checks.integer(points, name="points", minimum=3)
    directions = checkpoint_directions(problem, [state], parameters=parameters)
    ((length,),) = directions.provenance["solutions"]
    positions = np.linspace(0.0, 1.0, points)
    plan = Plan((points,), np.array([abs(length)]), (positions * length)[:, None])
    landscape = sample_plan(
        problem, directions, plan, EvaluationSettings(engine), RunSettings(), progress=progress
    )
    losses = {LOSS: landscape.loss, **landscape.other_losses}
    barriers = {name: _barrier(loss, positions) for name, loss in losses.items()}
    return LossPath(positions, losses, barriers, abs(length))


def _barrier(loss: npt.NDArray[np.float64], positions: npt.NDArray[np.float64]) -> float:
    """Return the largest height of a loss above the line between its ends."""
    if not np.isfinite(loss).all():
        return float("inf")
    line = (1 - positions) * loss[0] + positions * loss[-1]
    return float((loss - line).max())
