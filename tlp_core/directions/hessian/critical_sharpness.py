"""The critical sharpness: curvature from the step at which the loss stops falling.

A gradient step θ* - ηg lowers the loss as long as η is below 2/λ, where λ is the curvature that the
gradient sees. The critical learning rate η_c is the smallest one at which the loss exceeds that of
the model, and 2/η_c is the critical sharpness (arXiv 2601.16979). It takes a gradient and a few
evaluations of the loss, so it is cheap where eigenvalues are not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from tlp_core.crossing import crossing
from tlp_core.directions.flat import norm, views
from tlp_core.directions.gradient import mean_gradient
from tlp_core.kept_outputs import KEPT_BYTES, kept_outputs
from tlp_core.model_state import evaluation_state, squared_norm, trainable_parameters
from tlp_core.problem import Problem, check_center, mean_loss
from tlp_core.shards import shard_of

_FIRST = 1e-3
"""First length of a step, as a fraction of ‖θ*‖."""

_MOST = 25
"""Largest number of evaluations; normalization layers can bound a loss everywhere."""


class NoSharpnessError(RuntimeError):
    """A loss has no critical sharpness: no gradient, or no rise along it."""


@dataclass(frozen=True)
class CriticalSharpness:
    """The critical sharpness of a loss at a model.

    Attributes:
        value: 2/η_c.
        distance: η_c ‖g‖, the distance along the gradient at which the loss exceeds the model's.
        evaluations: number of evaluations of the loss.
    """

    value: float
    distance: float
    evaluations: int


def critical_sharpness(
    problem: Problem, *, parameters: str | None = None, tolerance: float = 0.05
) -> CriticalSharpness:
    """Return the critical sharpness along the gradient.

    Args:
        problem: model, loss and batches.
        parameters: pattern of the names of the parameters that move; default: all that are
            trainable.
        tolerance: relative accuracy, > 0.

    Raises:
        ValueError: for a pattern that matches no parameter.
        LossError: for a loss that fails, is not scalar or finite, or ignores the parameters.
        NoSharpnessError: if the gradient is zero, or no finite loss exceeds the model's.
    """
    model = problem.model
    with evaluation_state(model, parameters):
        center = check_center(problem)
        moving = list(trainable_parameters(model).values())
        with kept_outputs(problem, moving, KEPT_BYTES) as kept:
            gradient = mean_gradient(kept, moving)
            length = norm(gradient)
            if not length > 0:
                raise NoSharpnessError(
                    "the gradient must not be zero for a critical sharpness, and is"
                )
            parts = views(gradient.div_(-length), moving)
            shards = [shard_of(p.data) for p in moving]
            bases = [shard.clone() for shard in shards]

            losses: dict[float, float] = {}

            def exceeds(distance: float) -> bool:
                with torch.no_grad():
                    for shard, base, part in zip(shards, bases, parts):
                        torch.add(base, part.to(base), alpha=distance, out=shard)
                    losses[distance] = mean_loss(kept)
                return not losses[distance] <= center

            first = _FIRST * (math.sqrt(sum(map(squared_norm, bases))) or 1.0)
            distance, evaluations = crossing(exceeds, first=first, tolerance=tolerance, most=_MOST)
    if not math.isfinite(losses.get(distance, math.nan)):  # not exceeded, or only by an overflow
        raise NoSharpnessError(
            "the loss must fall and then exceed the model's along the gradient for a critical "
            f"sharpness, and did not within {evaluations} evaluations"
        )
    return CriticalSharpness(2 * length / distance, distance, evaluations)
