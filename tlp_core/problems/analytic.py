"""Landscapes with a closed form, to try things on and to check them against."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from tlp_core import checks
from tlp_core.problem import Problem

WELL = 0.6
"""Where the two wells lie along the first coordinate, on either side."""


class Point(nn.Module):
    """A model that is just its n parameters."""

    def __init__(self, n: int) -> None:
        """Put the point at the origin, in float64."""
        super().__init__()
        self.x = nn.Parameter(torch.zeros(n, dtype=torch.float64))


def two_wells(n: int = 2, tilt: float = 0.1) -> Problem:
    """Return (u² - 1)² + tilt·u + Σ_{i>0} (1 + i/n) x_i², u = x_0 / 0.6, between its two wells.

    Args:
        n: number of parameters, >= 1. The stiffest direction is the first: the curvature at the
            origin is -4 / 0.36 along x_0, and between 2 and 4 along the others.
        tilt: half the difference in depth of the wells; without it both are 1 deep.
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
    """Return Σ (1 + i/n) x_i²: a single basin with its minimum at the centre.

    Args:
        n: number of parameters, >= 1.
    """
    n = checks.integer(n, name="n", minimum=1)
    stiffness = 1 + torch.arange(n, dtype=torch.float64) / n

    def loss(model: nn.Module, _batch: Any) -> Tensor:
        return (stiffness * cast(Tensor, model.x).square()).sum()

    return Problem(Point(n), loss, [None], name=f"quadratic bowl, {n} parameters")
