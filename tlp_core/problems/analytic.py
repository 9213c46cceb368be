"""Problems whose loss has a closed form, for trials and for tests."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from tlp_core import checks
from tlp_core.problem import Problem

WELL = 0.6
"""Distance of the two wells from the origin along the first parameter."""


class Point(nn.Module):
    """Model that consists of n parameters ``x`` only."""

    def __init__(self, n: int) -> None:
        """Set the n parameters to zero, in float64."""
        super().__init__()
        self.x = nn.Parameter(torch.zeros(n, dtype=torch.float64))


def two_wells(n: int = 2, tilt: float = 0.1) -> Problem:
    """Return the loss (u² - 1)² + tilt·u + Σ_{i>0} (1 + i/n) x_i² with u = x_0 / 0.6.

    The model is at the origin, between the two wells.

    Args:
        n: number of parameters, >= 1. The curvature at the origin is largest along x_0: it is
            -4 / 0.36 there, and between 2 and 4 along the other parameters. Default: 2.
        tilt: about half the difference in depth of the wells. If it is 0, both wells have the
            depth 1. Default: 0.1.

    Returns:
        The problem, with one batch.

    Raises:
        ValueError: if n is below 1 or the tilt is not finite.
        TypeError: if n is not an integer or the tilt is not a number.
    """
    n = checks.integer(n, name="n", minimum=1)
    tilt = checks.real(tilt, name="tilt")
    stiffness = 1 + torch.arange(1, n, dtype=torch.float64) / n

    def loss(model: nn.Module, _batch: Any) -> Tensor:
        x = cast(Tensor, model.x)
        u = x[0] / WELL
        return (u.square() - 1).square() + tilt * u + (stiffness * x[1:].square()).sum()

    return Problem(Point(n), loss, [None], name=f"two wells, {n} parameters")


def quadratic_bowl(n: int = 3) -> Problem:
    """Return the loss Σ (1 + i/n) x_i², a single basin with its minimum at the model.

    Args:
        n: number of parameters, >= 1. Default: 3.

    Returns:
        The problem, with one batch.

    Raises:
        ValueError: if n is below 1.
        TypeError: if n is not an integer.
    """
    n = checks.integer(n, name="n", minimum=1)
    stiffness = 1 + torch.arange(n, dtype=torch.float64) / n

    def loss(model: nn.Module, _batch: Any) -> Tensor:
        return (stiffness * cast(Tensor, model.x).square()).sum()

    return Problem(Point(n), loss, [None], name=f"quadratic bowl, {n} parameters")
