"""Half-widths of a box by the scale of the landscape: where the loss has risen by an amount.

One distance for all directions makes a box that is steep along one direction and flat along
another, because eigenvalues differ by orders of magnitude, and so do networks. Boxes at whose edges
the loss has risen by the same amount can be compared.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from tlp_core import checks
from tlp_core.choices import BatchNorm
from tlp_core.crossing import crossing
from tlp_core.directions.base import Directions
from tlp_core.model_state import preserve_model, squared_norm
from tlp_core.problem import Problem, check_center
from tlp_core.sampling.chunks import frozen_parameters
from tlp_core.sampling.engines import Engine, Evaluator, evaluator
from tlp_core.sampling.settings import EvaluationSettings, GridSettings, ScatterSettings

Samples = TypeVar("Samples", bound=GridSettings | ScatterSettings)

_TOLERANCE = 0.002
"""Relative accuracy of a distance."""

_FIRST = 0.01
"""First distance to try where no eigenvalue is known, as a fraction of ‖θ*‖."""

_MOST = 40
"""Largest number of evaluations on one side; normalization layers can bound a loss everywhere."""

_DIGITS = 3
"""Significant digits of a distance: readable on an axis, and equal in spite of rounding."""


def rise_distances(
    problem: Problem, directions: Directions, *, rise: float, batch_norm: BatchNorm = "stored"
) -> npt.NDArray[np.float64]:
    """Return the distance along each direction at which the loss has risen by an amount.

    The search starts at sqrt(2 rise / |λ|), where a parabola with the eigenvalue λ would have
    risen. It takes about twelve evaluations on each side of each direction.

    Args:
        problem: model, loss and batches; evaluated in evaluation mode.
        directions: n directions.
        rise: by how much the loss exceeds that of the model there, in units of the loss, > 0.
        batch_norm: as in :func:`~tlp_core.sample_grid`.

    Returns:
        (n,) float64: for each direction the smaller of the distances on its two sides, rounded to
        three digits.

    Raises:
        ValueError: if ``rise`` is not finite or not > 0, or if the loss does not rise so far along
            a direction.
        TypeError: if ``rise`` is not a number.
        LossError: as :func:`~tlp_core.sample_grid`.
    """
    rise = checks.positive(rise, name="rise")
    evaluation = EvaluationSettings("single", batch_norm=batch_norm)
    with ExitStack() as stack:
        bases = stack.enter_context(preserve_model(problem.model, directions.names))
        problem.model.eval()
        stack.enter_context(frozen_parameters(problem, evaluation, check_center(problem)))
        length = math.sqrt(sum(map(squared_norm, bases.values()))) or 1.0
        evaluate = stack.enter_context(
            evaluator(problem, directions, Engine(), batch_norm, bases=bases)
        )
        nearer = [
            min(_risen(evaluate, side, rise, _first(directions, i, rise, length)) for side in sides)
            for i, sides in enumerate(zip(np.eye(len(directions)), -np.eye(len(directions))))
        ]
    for i, distance in enumerate(nearer, start=1):
        if not math.isfinite(distance):
            raise ValueError(
                f"the loss must rise by {rise:g} along every direction, and does not along "
                f"direction {i}; use a smaller rise, or a distance"
            )
    return np.array([float(f"{distance:.{_DIGITS}g}") for distance in nearer])


def with_distances(
    problem: Problem, directions: Directions, samples: Samples, batch_norm: BatchNorm
) -> Samples:
    """Return settings of samples whose distances are found, if a rise of the loss decides them.

    Raises:
        ValueError, LossError: as :func:`rise_distances`.
    """
    if samples.rise is None:
        return samples
    found = rise_distances(problem, directions, rise=samples.rise, batch_norm=batch_norm)
    return replace(samples, distance=tuple(found.tolist()))


def _risen(evaluate: Evaluator, side: npt.NDArray[np.float64], rise: float, first: float) -> float:
    """Return the distance along one side of a direction, infinite if the loss does not rise."""
    (center,) = evaluate(0 * side[None])[:, 0]

    def exceeds(distance: float) -> bool:
        return not evaluate(distance * side[None])[0, 0] <= center + rise

    return crossing(exceeds, first=first, tolerance=_TOLERANCE, most=_MOST)[0]


def _first(directions: Directions, i: int, rise: float, length: float) -> float:
    """Return the first distance to try along direction i, for parameters of a norm."""
    own = math.sqrt(sum(map(squared_norm, directions.vectors[i].values())))
    eigenvalue = abs(directions.eigenvalues[i])
    if math.isfinite(eigenvalue) and eigenvalue > 0:
        return math.sqrt(2 * rise / eigenvalue) / own
    return _FIRST * length / own
