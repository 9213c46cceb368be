"""The gradient of the loss as a direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tlp_core.choices import Normalization
from tlp_core.directions.base import Directions, check_number, without_eigenvalues
from tlp_core.directions.flat import empty_rows, norm, orthonormalize, views
from tlp_core.directions.random import draw_rows
from tlp_core.directions.settings import DirectionSettings
from tlp_core.model_state import evaluation_state, trainable_parameters
from tlp_core.problem import Problem, batch_loss, batch_size, check_center
from tlp_core.shards import deal, group_of, shard_of, size_of_group


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
        parameters = list(trainable_parameters(model).values())
        rows = empty_rows(settings.n, parameters)
        rows[0] = mean_gradient(problem, parameters)
        length = norm(rows[0])
        if not length > 0:
            raise RuntimeError("the gradient must not be zero, and is; use Hessian directions")
        draw_rows(rows[1:], parameters, settings.seed)
        provenance = {"gradient_norm": length}
        return without_eigenvalues(orthonormalize(rows), model, settings, provenance)


def mean_gradient(problem: Problem, parameters: Sequence[Tensor]) -> Tensor:
    """Return the gradient of the mean loss over all batches, (P,) as :mod:`.flat` holds rows.

    Args:
        problem: model, loss and batches; batches are weighted by size.
        parameters: tensors with P entries together.

    Raises:
        LossError: if the loss fails.
    """
    total = empty_rows(1, parameters)[0].zero_()
    return total.div_(add_gradient(total, problem, parameters))


def add_gradient(
    total: Tensor, problem: Problem, parameters: Sequence[Tensor], *, sign: float = 1.0
) -> float:
    """Add the gradient over all batches to a row (P,), without a second row.

    The gradient of one batch is held at a time. A sharded model adds the mean over the batches,
    and other models the sum, weighted by the sizes of the batches.

    Args:
        total: the row.
        problem: as in :func:`mean_gradient`.
        parameters: as in :func:`mean_gradient`.
        sign: factor of the gradient.

    Returns:
        What to divide by for the mean: the weight of the sum, or 1.

    Raises:
        LossError: if the loss fails.
    """
    group = group_of(parameters)
    if group is not None:
        _add_over_shards(total, problem, parameters, group, sign)
        return 1.0
    parts, weight = views(total, parameters), 0
    for batch in problem.batches:
        weight += batch_size(batch)
        loss = batch_loss(problem, batch)
        if not loss.requires_grad:  # this batch uses none of the parameters
            continue
        slopes = torch.autograd.grad(loss, parameters, materialize_grads=True)
        for part, slope in zip(parts, slopes):
            part.add_(slope.to(part), alpha=sign * batch_size(batch))
        del slopes, slope, loss
    return weight


def _add_over_shards(
    total: Tensor, problem: Problem, parameters: Sequence[Tensor], group: Any, sign: float
) -> None:
    """Add the mean gradient of a sharded model to a row.

    ``fully_shard`` sums gradients in ``backward``, and writes the mean over the group to the
    attribute ``grad`` of each parameter.
    """
    parts, weight, own = views(total, parameters), 0, size_of_group(group)
    for batch in problem.batches:
        weight += batch_size(batch)
    for batch, counts in deal(problem.batches, group):
        share = sign * batch_size(batch) * own / weight if counts else 0.0
        (share * batch_loss(problem, batch)).backward()  # type: ignore[no-untyped-call]
        for part, parameter in zip(parts, parameters):
            if parameter.grad is not None:
                part.add_(shard_of(parameter.grad).to(part))
                parameter.grad = None
