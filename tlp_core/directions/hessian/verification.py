"""Checks of a Hessian product against what does not depend on the second derivative.

A wrong second derivative of an operation gives products that are not symmetric, or that disagree
with a difference of gradients. Residuals do not show it: they are made of the same products.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from tlp_core.directions.base import flatten
from tlp_core.directions.hessian.operator import HessianOperator, Vectors

_PROBES = 3
"""Number of random vectors in the test of symmetry."""

_STEPS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""Lengths of the difference, as fractions of ‖θ*‖ along a unit vector. The best one counts, because
small steps are lost in rounding, and large ones leave the quadratic neighbourhood."""

ASYMMETRY = 1e-2
"""Largest accepted ‖(H - Hᵀ)v‖ / ‖Hv‖; rounding in float32 stays below 1e-3."""

DIFFERENCE = 0.3
"""Largest accepted relative difference between Hv and a difference of gradients.

Smooth networks stay below 1e-3 and trained ones with ReLU below 0.3, whose kinks add to the
difference; at a kink itself, where there is no Hessian, it exceeds 0.5."""


class Verification(NamedTuple):
    """How well a product Hv is confirmed.

    Attributes:
        asymmetry: ‖(H - Hᵀ)v‖ / ‖Hv‖, estimated with random vectors.
        difference: ‖Hv - g‖ / ‖Hv‖ for the best of several differences of gradients g.
    """

    asymmetry: float
    difference: float


def verify_product(operator: HessianOperator, vector: Vectors, seed: int) -> Verification:
    """Verify the product of a Hessian with a unit vector, and warn if it is wrong.

    It costs four products and up to ten gradients.

    Args:
        operator: the Hessian.
        vector: (P,) float64, the unit vector, such as the top eigenvector.
        seed: random seed of the test of symmetry.
    """
    image = operator.apply(vector)
    length = float(np.linalg.norm(image))
    rng, gaps = np.random.default_rng(seed), []
    for _ in range(_PROBES):
        signs = rng.choice([-1.0, 1.0], size=vector.size)
        gaps.append(float(signs @ image - operator.apply(signs) @ vector))
    asymmetry = float(np.sqrt(np.mean(np.square(gaps)))) / length
    scale = float(np.linalg.norm(flatten(operator.parameters))) or 1.0
    difference = np.inf
    for step in _STEPS:
        found = operator.gradient_difference(vector, step * scale)
        error = float(np.linalg.norm(found - image)) / length
        if difference <= DIFFERENCE and error > difference:
            break
        difference = min(difference, error)
    if asymmetry > ASYMMETRY:
        warnings.warn(
            f"the Hessian must be symmetric, and its products differ by {asymmetry:.2g} of "
            "their size: an operation of the model has a wrong second derivative, such as "
            "weight_norm in some versions of torch; remove it, or update torch",
            stacklevel=4,
        )
    elif not difference <= DIFFERENCE:
        warnings.warn(
            "a Hessian product must agree with a difference of gradients, and differs by "
            f"{difference:.2g} of its size: the model has a wrong second derivative, or kinks such "
            "as ReLU close to its parameters",
            stacklevel=4,
        )
    return Verification(asymmetry, difference)
