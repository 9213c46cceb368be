"""Half-widths of a box by the scale of the landscape: where the loss has risen by an amount.

One distance for all directions makes a box that is steep along one direction and flat along
another, because eigenvalues differ by orders of magnitude, and so do networks. Boxes at whose edges
the loss has risen by the same amount can be compared.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
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

_FARTHEST = 1000.0
"""Largest distance, as a fraction of ‖θ*‖: a loss that rises only farther away is flat."""

_PROBES = 8
"""Number of equal parts of a distance that are looked at for barriers before it."""

_MOST = 40
"""Largest number of evaluations on one side; normalization layers can bound a loss everywhere."""

_DIGITS = 3
"""Significant digits of a distance: readable on an axis, and equal in spite of rounding."""


def rise_distances(
    problem: Problem, directions: Directions, *, rise: float, batch_norm: BatchNorm = "stored"
) -> npt.NDArray[np.float64]:
    """Return the distance along each direction at which the loss has risen by an amount.

    The search starts at sqrt(2 rise / |λ|), where a parabola with the eigenvalue λ would have
    risen. It takes about twenty evaluations on each side of each direction. A barrier that is
    narrower than an eighth of the distance can be missed.

    Args:
        problem: model, loss and batches; evaluated in evaluation mode.
        directions: n directions.
        rise: by how much the loss exceeds that of the model there, in units of the loss, > 0.
        batch_norm: as in :func:`~tlp_core.sample_grid`.

    Returns:
        (n,) float64: for each direction the smaller of the distances on its two sides, rounded to
        three digits.

    Raises:
        ValueError: if ``rise`` is not finite or not > 0, if a direction has no length, or if the
            loss does not rise so far within 1,000 times the norm of the parameters.
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
        nearer = []
        for i, unit in enumerate(np.eye(len(directions))):
            own = math.sqrt(sum(map(squared_norm, directions.vectors[i].values())))
            if not own > 0:
                raise ValueError(f"a direction must have a length above 0, got 0 of {i + 1}")
            first = _first(float(directions.eigenvalues[i]), rise, length) / own
            find = partial(
                _risen, evaluate, rise=rise, first=first, farthest=_FARTHEST * length / own
            )
            nearer.append(min(find(unit), find(-unit)))
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


def _risen(
    evaluate: Evaluator, side: npt.NDArray[np.float64], rise: float, first: float, farthest: float
) -> float:
    """Return the distance along one side of a direction, infinite if the loss does not rise.

    Losses at some points before that distance tell if a barrier was jumped over, which counts.
    """
    (center,) = evaluate(0 * side[None])[:, 0]

    def has_risen(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        losses = evaluate(np.outer(distances, side))[:, 0]
        risen: npt.NDArray[np.bool_] = np.logical_not(losses <= center + rise)
        return risen

    def exceeds(distance: float) -> bool:
        return bool(has_risen(np.array([distance]))[0])

    search = partial(crossing, exceeds, tolerance=_TOLERANCE, most=_MOST)
    distance, _ = search(first=first)
    if not distance <= farthest:
        return math.inf
    before = distance * np.arange(1, _PROBES) / _PROBES
    barrier = before[has_risen(before)]
    return search(first=float(barrier[0]))[0] if len(barrier) else distance


def _first(eigenvalue: float, rise: float, length: float) -> float:
    """Return the first distance to try along a unit vector, for parameters of a norm."""
    if math.isfinite(eigenvalue) and eigenvalue != 0:
        return min(math.sqrt(2 * rise / abs(eigenvalue)), _FARTHEST * length)
    return _FIRST * length
