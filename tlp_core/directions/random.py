"""Stage 1 without the Hessian: directions at random, along the gradient, through other solutions.

``trajectory`` takes the principal components of a training run (Li et al. 2018, "Visualizing the
loss landscape of neural nets", section 7.2); ``checkpoints`` spans the space in which given
solutions lie, so that what is between them can be seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tlp_core import checks
from tlp_core.directions.base import (
    NORMALIZATIONS,
    Directions,
    Normalization,
    finished,
    flattened,
    number_within,
    selected,
)
from tlp_core.model_state import fitting_threads, trainable_parameters, undisturbed
from tlp_core.problem import Problem, batch_loss, batch_size, check_center

State = Mapping[str, Tensor]

_FLAT = 1e-10
"""Spans are cut where a singular value falls below this share of the largest."""


def random_directions(
    problem: Problem,
    n: int,
    *,
    normalization: Normalization = "filter",
    parameters: str | None = None,
    seed: int = 0,
) -> Directions:
    """Return n random orthogonal directions.

    Args:
        problem: whose model is moved.
        n: number of directions, 1 to the number of trainable parameters.
        normalization: as of :func:`~tlp_core.hessian_directions`; ``filter`` by default,
            for random directions mean nothing at their own length (Li et al. 2018, section 4).
        parameters: pattern of the names of the parameters to move.
        seed: of the random numbers.
    """
    with selected(problem.model, parameters):
        n = number_within(n, problem.model)
        flat = _orthonormal(_noise(problem.model, n, seed))
        return _directions(flat, problem.model, normalization, "random", seed, parameters)


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
        normalization: as of :func:`~tlp_core.hessian_directions`.
        parameters: pattern of the names of the parameters to move.
        seed: of the random directions.

    Returns:
        The directions; ``facts`` tells the norm of the gradient.

    Raises:
        RuntimeError: if the gradient is zero, as at a minimum.
    """
    model = problem.model
    with undisturbed(model), fitting_threads(model), selected(model, parameters):
        n = number_within(n, model)
        model.eval()
        check_center(problem)
        gradient = _gradient(problem)
        norm = float(np.linalg.norm(gradient))
        if not norm > 0:
            raise RuntimeError("the gradient must not be zero, and is; use Hessian directions")
        flat = _orthonormal(np.vstack([gradient[None] / norm, _noise(model, n - 1, seed)]))
        facts = {"gradient_norm": norm}
        return _directions(flat, model, normalization, "gradient", seed, parameters, facts)


def trajectory_directions(
    problem: Problem,
    n: int,
    states: Sequence[State],
    *,
    normalization: Normalization = "none",
    parameters: str | None = None,
) -> Directions:
    """Return the n principal components of a training run around the model.

    Args:
        problem: whose model, the end of the run, is the centre.
        n: number of directions, at most the number of states that differ from the model.
        states: state dicts of the checkpoints.
        normalization: ``none`` or ``model``, for the others bend the run.
        parameters: pattern of the names of the parameters to move.

    Returns:
        The directions; ``facts`` tells the ``explained_variance`` of each, as a share of
        Σ ‖θ_t - θ*‖², and the coordinates of the states, ``solutions``.
    """
    with selected(problem.model, parameters):
        steps = _steps(problem.model, states)
        _, lengths, flat = np.linalg.svd(steps, full_matrices=False)
        rank = int((lengths > _FLAT * lengths.max(initial=0.0)).sum())
        n = checks.integer(n, name="n", minimum=1)
        if n > rank:
            raise ValueError(f"n must be at most {rank}, the dimensions of the run, got {n}")
        explained = lengths[:n] ** 2 / (lengths**2).sum()
        facts = {"explained_variance": explained.tolist()}
        return _through(
            flat[:n], steps, problem.model, normalization, "trajectory", parameters, facts
        )


def checkpoint_directions(
    problem: Problem,
    states: Sequence[State],
    *,
    normalization: Normalization = "none",
    parameters: str | None = None,
) -> Directions:
    """Return directions that span the model and given solutions.

    Args:
        problem: whose model is the centre.
        states: state dicts of the solutions; the model may be one of them. k solutions that are in
            general position, the model among them, give k - 1 directions; the first points to the
            first other solution.
        normalization: ``none`` or ``model``, for the others miss the solutions.
        parameters: pattern of the names of the parameters to move.

    Returns:
        The directions; ``facts`` tells the coordinates of the solutions.
    """
    with selected(problem.model, parameters):
        steps = _steps(problem.model, states)
        flat = _orthonormal(steps)
        if not len(flat):
            raise ValueError("checkpoints must differ from the model, and none does")
        return _through(flat, steps, problem.model, normalization, "checkpoints", parameters, {})


def _through(
    flat: npt.NDArray[np.float64],
    steps: npt.NDArray[np.float64],
    model: nn.Module,
    normalization: Normalization,
    method: str,
    parameters: str | None,
    facts: Mapping[str, Any],
) -> Directions:
    """Return directions and, as facts, the coordinates of the solutions along them."""
    checks.choice(normalization, ["none", "model"], name="normalization")
    found = _directions(flat, model, normalization, method, 0, parameters, facts)
    lengthwise = np.stack([flattened(list(vector.values())) for vector in found.vectors])
    solutions = steps @ lengthwise.T / (lengthwise**2).sum(axis=1)
    return replace(found, facts={**found.facts, "solutions": solutions.tolist()})


def _directions(
    flat: npt.NDArray[np.float64],
    model: nn.Module,
    normalization: Normalization,
    method: str,
    seed: int,
    parameters: str | None,
    facts: Mapping[str, Any] = {},
) -> Directions:
    checks.choice(normalization, NORMALIZATIONS, name="normalization")
    none = np.full(len(flat), np.nan)
    return Directions(
        vectors=finished(flat, model, normalization),
        eigenvalues=none,
        residuals=none,
        method=method,
        normalization=normalization,
        seed=seed,
        facts={"parameters": parameters or "*", **facts},
    )


def _noise(model: nn.Module, n: int, seed: int) -> npt.NDArray[np.float64]:
    size = sum(p.numel() for p in trainable_parameters(model).values())
    return np.random.default_rng(seed).standard_normal((n, size))


def _orthonormal(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return an orthonormal basis of rows (k, P), in their order, without those that add none."""
    basis = np.empty((0, rows.shape[1]))
    for row in rows:
        rest = row.copy()
        for _ in range(2):  # once more, against rounding
            rest = rest - (basis @ rest) @ basis
        length = np.linalg.norm(rest)
        if length > _FLAT * np.linalg.norm(row):
            basis = np.vstack([basis, rest / length])
    return basis


def _gradient(problem: Problem) -> npt.NDArray[np.float64]:
    parameters = list(trainable_parameters(problem.model).values())
    total, weight = np.zeros(sum(p.numel() for p in parameters)), 0
    for batch in problem.batches:
        slopes = torch.autograd.grad(batch_loss(problem, batch), parameters, allow_unused=True)
        full = [torch.zeros_like(p) if s is None else s for p, s in zip(parameters, slopes)]
        total += batch_size(batch) * flattened(full)
        weight += batch_size(batch)
    return total / weight


def _steps(model: nn.Module, states: Sequence[State]) -> npt.NDArray[np.float64]:
    """Return the way from the model to each state, (k, P) float64."""
    parameters = trainable_parameters(model)
    if not states:
        raise ValueError("checkpoints must be one or more, got none")
    for number, state in enumerate(states, start=1):
        for name, parameter in parameters.items():
            if name not in state or state[name].shape != parameter.shape:
                there = tuple(state[name].shape) if name in state else "nothing"
                raise ValueError(
                    f"checkpoints must be of this network, but number {number} has {there} for "
                    f"{name!r} instead of {tuple(parameter.shape)}"
                )
    center = flattened(list(parameters.values()))
    return np.stack([flattened([s[name] for name in parameters]) - center for s in states])
