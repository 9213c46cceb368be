"""Checks of a Hessian product against what does not depend on the second derivative.

A wrong second derivative of an operation gives products that are not symmetric, or that disagree
with a difference of gradients. Residuals do not show it: they are made of the same products.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from torch import Tensor

from tlp_core.directions.flat import dots, empty_rows, norm
from tlp_core.directions.hessian.operator import STEPS, HessianOperator
from tlp_core.directions.random import draw_signs

_PROBES = 3
"""Number of random vectors in the test of symmetry."""

_CONFIRMED = 3e-3
"""Relative difference between Hv and a difference of gradients at which no other step is tried."""

ASYMMETRY = 1e-2
"""Largest accepted ‖(H - Hᵀ)v‖ / ‖Hv‖; rounding in float32 stays below 1e-3."""

DIFFERENCE = 0.3
"""Largest accepted relative difference between Hv and a difference of gradients.

Smooth networks stay below 1e-3 and trained ones with ReLU below 0.3, whose kinks add to the
difference; at a kink itself, where there is no Hessian, it exceeds 0.5."""


_ASYMMETRIC = (
    "an operation of the model has a wrong second derivative, such as weight_norm in some versions "
    "of torch; remove it, or update torch"
)

_DIFFERENT = (
    "the model has a wrong second derivative, or kinks such as ReLU close to its parameters"
)

_INEXACT = (
    "differences of gradients are not exact enough; use the product autograd, or parameters in "
    "float64"
)


class Verification(NamedTuple):
    """How well a product Hv is confirmed.

    Attributes:
        asymmetry: ‖(H - Hᵀ)v‖ / ‖Hv‖, estimated with random vectors.
        difference: ‖Hv - g‖ / ‖Hv‖ for the best of several differences of gradients g.
    """

    asymmetry: float
    difference: float


def verify_product(operator: HessianOperator, vector: Tensor, seed: int) -> Verification:
    """Verify the product of a Hessian with a unit vector, and warn if it is wrong.

    It costs four products and up to eighteen gradients.

    Args:
        operator: the Hessian.
        vector: (p,), the unit vector, such as the top eigenvector.
        seed: random seed of the test of symmetry.
    """
    image = operator.apply(vector)
    length = norm(image)
    asymmetry = _asymmetry(operator, vector, image, seed) / length
    difference = _difference(operator, vector, image) / length
    is_exact = operator.step is None
    if asymmetry > ASYMMETRY:
        warnings.warn(
            f"the Hessian must be symmetric, and its products differ by {asymmetry:.2g} of "
            f"their size: {_ASYMMETRIC if is_exact else _INEXACT}",
            stacklevel=4,
        )
    elif not difference <= DIFFERENCE:
        warnings.warn(
            "a Hessian product must agree with a difference of gradients, and differs by "
            f"{difference:.2g} of its size: {_DIFFERENT if is_exact else _INEXACT}",
            stacklevel=4,
        )
    return Verification(asymmetry, difference)


def _asymmetry(operator: HessianOperator, vector: Tensor, image: Tensor, seed: int) -> float:
    """Return ‖(H - Hᵀ)v‖, estimated with random vectors."""
    rng, gaps = np.random.default_rng(seed), []
    signs = empty_rows(1, operator.parameters)
    for _ in range(_PROBES):
        reverse = operator.apply(draw_signs(signs[0], operator.parameters, rng))
        gaps.append(float((dots(signs, image) - dots(reverse[None], vector))[0]))
    return float(np.sqrt(np.mean(np.square(gaps))))


def _difference(operator: HessianOperator, vector: Tensor, image: Tensor) -> float:
    """Return ‖Hv - g‖ for the best of several differences of gradients g.

    The step by which an operator makes its products is left out: there, they agree with themselves.
    """
    scale, length, difference = operator.parameter_norm(), norm(image), np.inf
    for step in (fraction * scale for fraction in STEPS):
        if step == operator.step:
            continue
        error = norm(operator.gradient_difference(vector, step).sub_(image))
        if difference <= DIFFERENCE * length and error > difference:
            break
        difference = min(difference, error)
        if difference <= _CONFIRMED * length:
            break
    return float(difference)
