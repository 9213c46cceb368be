"""Random directions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import nn

from tlp_core.choices import Normalization
from tlp_core.directions.base import Directions, check_number, orthonormal, without_eigenvalues
from tlp_core.directions.settings import DirectionSettings
from tlp_core.model_state import number_of_parameters, select_parameters
from tlp_core.problem import Problem


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
        problem: its model is the centre.
        n: number of directions, 1 to the number of trainable parameters.
        normalization: ``none``, ``model``, ``layer`` or ``filter``, as in
            :func:`~tlp_core.hessian_directions`; default: ``filter``, because the length of a
            random direction has no meaning of its own (Li et al. 2018, "Visualizing the loss
            landscape of neural nets", section 4).
        parameters: pattern of the names of the parameters to move; default: all.
        seed: random seed, >= 0.

    Returns:
        The directions, orthogonal before normalization.

    Raises:
        ValueError: for n out of range, an unknown normalization, or a pattern that matches no
            parameter.
        TypeError: for an option of the wrong type.
    """
    return draw_directions(
        problem,
        DirectionSettings(
            n=n, method="random", normalization=normalization, parameters=parameters, seed=seed
        ),
    )


def draw_directions(problem: Problem, settings: DirectionSettings) -> Directions:
    """Return the directions of :func:`random_directions` from a settings record.

    Raises:
        ValueError: as :func:`random_directions`.
    """
    with select_parameters(problem.model, settings.parameters):
        check_number(settings.n, problem.model)
        flat = orthonormal(gaussian_vectors(problem.model, settings.n, settings.seed))
        return without_eigenvalues(flat, problem.model, settings)


def gaussian_vectors(model: nn.Module, n: int, seed: int) -> npt.NDArray[np.float64]:
    """Return n vectors of independent standard normal entries, (n, P) float64."""
    return np.random.default_rng(seed).standard_normal((n, number_of_parameters(model)))
