"""Random directions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from tlp_core.choices import Normalization
from tlp_core.directions.base import Directions, check_number, without_eigenvalues
from tlp_core.directions.flat import draw, orthonormalize, rows_on_disk
from tlp_core.directions.settings import DirectionSettings
from tlp_core.model_state import select_parameters, trainable_parameters
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
        The directions, orthogonal before normalization. If they have more than 256 MB on the CPU,
        they are in a temporary file, and in memory part by part.

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
        parameters = list(trainable_parameters(problem.model).values())
        rows = rows_on_disk(settings.n, parameters)
        draw_rows(rows, parameters, settings.seed)
        return without_eigenvalues(orthonormalize(rows), problem.model, settings)


def draw_rows(rows: Tensor, parameters: Sequence[Tensor], seed: int) -> None:
    """Fill rows (n, P) for some parameters with independent standard normal entries."""
    rng = np.random.default_rng(seed)
    for row in rows:
        draw(row, parameters, rng.standard_normal)


def draw_signs(row: Tensor, parameters: Sequence[Tensor], rng: np.random.Generator) -> Tensor:
    """Fill a row (P,) for some parameters with random signs, and return it."""
    return draw(row, parameters, lambda count: rng.choice([-1.0, 1.0], size=count))
