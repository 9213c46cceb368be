"""The trace of the Hessian, with its standard error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tlp_core import checks
from tlp_core.choices import HESSIAN_PRODUCTS, HessianProduct
from tlp_core.directions.flat import dots, empty_rows
from tlp_core.directions.hessian.operator import HessianOperator
from tlp_core.directions.random import draw_signs
from tlp_core.kept_outputs import KEPT_BYTES, kept_outputs
from tlp_core.model_state import evaluation_state, trainable_parameters
from tlp_core.problem import Problem
from tlp_core.progress import Progress, silent

_MINIMUM_PROBES = 10
"""Smallest number of random vectors that gives a standard error."""


@dataclass(frozen=True)
class HessianTrace:
    """The trace of a Hessian, Σ λ_i, as estimated by random vectors.

    Attributes:
        value: the mean of vᵀHv.
        standard_error: of the value, in its unit.
        vectors: number of random vectors.
    """

    value: float
    standard_error: float
    vectors: int


def hessian_trace(
    problem: Problem,
    *,
    parameters: str | None = None,
    product: HessianProduct = "autograd",
    tolerance: float = 0.05,
    max_vectors: int = 200,
    seed: int = 0,
    progress: Progress = silent,
) -> HessianTrace:
    """Return the trace of the Hessian, by Hutchinson's estimator with random signs.

    E[vᵀHv] = tr H for independent v_i = ±1 (Hutchinson 1990, "A stochastic estimator of the trace
    of the influence matrix").

    Args:
        problem: model, loss and batches; batches are weighted by size.
        parameters: pattern of the names of the parameters that count; default: all that are
            trainable.
        product: how Hessian products are made, as in :func:`~tlp_core.hessian_directions`.
        tolerance: standard error, as a fraction of |trace|, at which the estimate is accepted, > 0.
        max_vectors: largest number of random vectors, >= 2.
        seed: random seed of the vectors.
        progress: called with the fraction done, 0 to 1, and a text.

    Returns:
        The trace with its standard error.

    Raises:
        ValueError: for an option out of range, or a pattern that matches no parameter.
        TypeError: for an option of the wrong type.
        LossError: for a loss that fails, is not scalar or finite, or ignores the parameters.
        RuntimeError: for a Hessian that is not finite, or does not exist.
    """
    checks.choice(product, HESSIAN_PRODUCTS, name="product")
    tolerance = checks.positive(tolerance, name="tolerance")
    max_vectors = checks.integer(max_vectors, name="max_vectors", minimum=2)
    checks.integer(seed, name="seed", minimum=0)
    rng, products = np.random.default_rng(seed), list[float]()
    with (
        evaluation_state(problem.model, parameters),
        kept_outputs(problem, trainable_parameters(problem.model).values(), KEPT_BYTES) as kept,
    ):
        operator = HessianOperator(kept, progress, max_vectors, product)
        signs = empty_rows(1, operator.parameters)
        while len(products) < max_vectors:
            image = operator.apply(draw_signs(signs[0], operator.parameters, rng))
            products.append(float(dots(signs, image)[0]))
            value = float(np.mean(products))
            if not np.isfinite(value):
                raise RuntimeError("the Hessian must be finite at the model, and is not")
            error = float(np.std(products) / np.sqrt(max(1, len(products) - 1)))
            if len(products) >= _MINIMUM_PROBES and error <= tolerance * abs(value):
                break
    return HessianTrace(value, error, len(products))
