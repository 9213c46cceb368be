"""Principal components of a training run (Li et al. 2018, section 7.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tlp_core.choices import Normalization
from tlp_core.directions.base import Directions
from tlp_core.directions.checkpoints import directions_with_solutions, displacements
from tlp_core.directions.flat import DEPENDENT
from tlp_core.directions.settings import DirectionSettings
from tlp_core.model_state import select_parameters
from tlp_core.problem import Problem, State
from tlp_core.shards import is_sharded


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
        problem: its model, the end of the run, is the centre.
        n: number of directions, at most the number of dimensions that the run spans.
        states: state dicts of the checkpoints.
        normalization: ``none`` or ``model``; the others would distort the run.
        parameters: pattern of the names of the parameters to move; default: all.

    Returns:
        The directions; ``provenance["explained_variance"]`` holds the fraction of Σ ‖θ_t - θ*‖²
        that each explains, (n,), and ``provenance["solutions"]`` the coordinates of the states,
        (k, n).

    Raises:
        ValueError: for n out of range, no states, states of another network, another
            normalization, or a pattern that matches no parameter.
        TypeError: for an n that is no integer.
    """
    return principal_directions(
        problem,
        DirectionSettings(
            n=n, method="trajectory", normalization=normalization, parameters=parameters
        ),
        states,
    )


def principal_directions(
    problem: Problem, settings: DirectionSettings, states: Sequence[State]
) -> Directions:
    """Return the directions of :func:`trajectory_directions` from a settings record.

    Raises:
        ValueError: as :func:`trajectory_directions`.
    """
    with select_parameters(problem.model, settings.parameters):
        if is_sharded(problem.model):
            raise ValueError(
                "directions of a sharded model must be lanczos, random, gradient or checkpoints, "
                "got trajectory"
            )
        steps = displacements(problem.model, states)
        _, singular, rows = torch.linalg.svd(steps, full_matrices=False)
        lengths = singular.double().cpu().numpy()
        least = max(DEPENDENT, 10 * torch.finfo(steps.dtype).eps)
        rank, n = int((lengths > least * lengths.max(initial=0.0)).sum()), settings.n
        if n > rank:
            raise ValueError(f"n must be at most {rank}, the dimensions of the run, got {n}")
        explained = lengths[:n] ** 2 / (lengths**2).sum()
        provenance = {"explained_variance": explained.tolist()}
        return directions_with_solutions(rows[:n], steps, problem.model, settings, provenance)
