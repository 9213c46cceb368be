"""The gradient of the loss as a direction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tlp_core.choices import Normalization
from tlp_core.directions.base import (
    Directions,
    check_number,
    flatten,
    orthonormal,
    without_eigenvalues,
)
from tlp_core.directions.random import gaussian_vectors
from tlp_core.directions.settings import DirectionSettings
from tlp_core.model_state import evaluation_state, trainable_parameters
from tlp_core.problem import Problem, batch_loss, batch_size, check_center


def gradient_directions(
    problem: Problem,
    n: int = 1,
    *,
    normalization: Normalization = "none",
    parameters: str | None = None,
    seed: int = 0,
) -> Directions:
    """Return the direction of the loss's gradient, and n - 1 random ones orthogonal to it.

    Args:
        problem: model, loss and batches; batches are weighted by size.
        n: number of directions, 1 to the number of trainable parameters.
        normalization: ``none``, ``model``, ``layer`` or ``filter``, as in
            :func:`~tlp_core.hessian_directions`.
        parameters: pattern of the names of the parameters to move; default: all.
        seed: random seed of the random directions, >= 0.

    Returns:
        The directions; ``provenance["gradient_norm"]`` is ‖∇f‖.

    Raises:
        ValueError: for n out of range, an unknown normalization, or a pattern that matches no
            parameter.
        TypeError: for an option of the wrong type.
        LossError: for a loss that fails, is not scalar or finite, or ignores the parameters.
        RuntimeError: if the gradient is zero, as at a minimum.
    """
    return steepest_directions(
        problem,
        DirectionSettings(
            n=n, method="gradient", normalization=normalization, parameters=parameters, seed=seed
        ),
    )


def steepest_directions(problem: Problem, settings: DirectionSettings) -> Directions:
    """Return the directions of :func:`gradient_directions` from a settings record.

    Raises:
        ValueError, LossError, RuntimeError: as :func:`gradient_directions`.
    """
    model = problem.model
    with evaluation_state(model, settings.parameters):
        check_number(settings.n, model)
        check_center(problem)
        gradient = mean_gradient(problem, list(trainable_parameters(model).values()))
        norm = float(np.linalg.norm(gradient))
        if not norm > 0:
            raise RuntimeError("the gradient must not be zero, and is; use Hessian directions")
        others = gaussian_vectors(model, settings.n - 1, settings.seed)
        flat = orthonormal(np.vstack([gradient[None] / norm, others]))
        return without_eigenvalues(flat, model, settings, {"gradient_norm": norm})


def mean_gradient(problem: Problem, parameters: Sequence[Tensor]) -> npt.NDArray[np.float64]:
    """Return the gradient of the mean loss over all batches, (P,) float64.

    Args:
        problem: model, loss and batches; batches are weighted by size.
        parameters: tensors with P entries together.

    Raises:
        LossError: if the loss fails.
    """
    total, weight = np.zeros(sum(p.numel() for p in parameters)), 0
    for batch in problem.batches:
        loss = batch_loss(problem, batch)
        if loss.requires_grad:  # else this batch uses none of the parameters
            slopes = torch.autograd.grad(loss, parameters, materialize_grads=True)
            total += batch_size(batch) * flatten(slopes)
        weight += batch_size(batch)
    return total / weight
