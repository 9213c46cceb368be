"""Directions that span given solutions, so that the loss between them can be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tlp_core import checks
from tlp_core.choices import Normalization
from tlp_core.directions.base import Directions, without_eigenvalues
from tlp_core.directions.flat import dots, empty_rows, fill, orthonormalize, views
from tlp_core.directions.settings import DirectionSettings
from tlp_core.model_state import select_parameters, squared_norm, trainable_parameters
from tlp_core.problem import Problem, State
from tlp_core.shards import cut, shard_of


def checkpoint_directions(
    problem: Problem,
    states: Sequence[State],
    *,
    normalization: Normalization = "none",
    parameters: str | None = None,
) -> Directions:
    """Return directions that span the model and given solutions.

    Args:
        problem: its model is the centre.
        states: state dicts of the solutions; the model may be one of them. k solutions in general
            position, the model among them, give k - 1 directions; the first points to the first
            other solution.
        normalization: ``none`` or ``model``; the others would miss the solutions.
        parameters: pattern of the names of the parameters to move; default: all.

    Returns:
        The directions; ``provenance["solutions"]`` holds the coordinates of the solutions, (k, n).

    Raises:
        ValueError: for no states, states of another network, states that all equal the model,
            another normalization, or a pattern that matches no parameter.
    """
    return spanning_directions(
        problem,
        DirectionSettings(method="checkpoints", normalization=normalization, parameters=parameters),
        states,
    )


def spanning_directions(
    problem: Problem, settings: DirectionSettings, states: Sequence[State]
) -> Directions:
    """Return the directions of :func:`checkpoint_directions` from a settings record.

    Raises:
        ValueError: as :func:`checkpoint_directions`.
    """
    with select_parameters(problem.model, settings.parameters):
        steps = displacements(problem.model, states)
        rows = orthonormalize(steps.clone())
        if not len(rows):
            raise ValueError("checkpoints must differ from the model, and none does")
        return directions_with_solutions(rows, steps, problem.model, settings)


def displacements(model: nn.Module, states: Sequence[State]) -> Tensor:
    """Return θ_t - θ* of each state, (k, P) as :mod:`.flat` holds rows.

    Raises:
        ValueError: for no states, or states of another network.
    """
    parameters = trainable_parameters(model)
    if not states:
        raise ValueError("checkpoints must be one or more, got none")
    for number, state in enumerate(states, start=1):
        for name, parameter in parameters.items():
            if name not in state or state[name].shape != parameter.shape:
                got = tuple(state[name].shape) if name in state else "nothing"
                raise ValueError(
                    f"checkpoints must be of this network, but number {number} has {got} for "
                    f"{name!r} instead of {tuple(parameter.shape)}"
                )
    centers = list(parameters.values())
    rows = empty_rows(len(states), centers)
    for row, state in zip(rows, states):
        fill(row, [cut(state[name], parameter) for name, parameter in parameters.items()])
        for part, center in zip(views(row, centers), centers):
            part.sub_(shard_of(center).detach().to(part))
    return rows


def directions_with_solutions(
    rows: Tensor,
    steps: Tensor,
    model: nn.Module,
    settings: DirectionSettings,
    provenance: Mapping[str, Any] = {},
) -> Directions:
    """Return unit vectors as directions, with the coordinates of solutions among their provenance.

    Args:
        rows: (n, P), orthonormal.
        steps: (k, P), displacement of each solution from the model.
        model: the network.
        settings: method and normalization, which must be ``none`` or ``model``.
        provenance: further provenance.

    Raises:
        ValueError: for another normalization.
    """
    checks.choice(settings.normalization, ["none", "model"], name="normalization")
    found = without_eigenvalues(rows, model, settings, provenance)
    coordinates = []
    for vector in found.vectors:
        direction = fill(torch.empty_like(steps[0]), list(vector.values()))
        coordinates.append(dots(steps, direction) / squared_norm(direction))
    solutions = np.stack(coordinates, axis=1)
    return replace(found, provenance={**found.provenance, "solutions": solutions.tolist()})
