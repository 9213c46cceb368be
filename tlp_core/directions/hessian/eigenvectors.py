"""Hessian eigenvectors as directions, with their residuals.

A span is found by power iteration (``pyhessian``) or Lanczos. Its vectors are then rotated within
the span (Rayleigh-Ritz), which costs one more product for each, makes them orthogonal, orders them,
and gives the residual ‖Hv - λv‖ of each.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tlp_core import checks
from tlp_core.choices import (
    HESSIAN_METHODS,
    HessianMethod,
    HessianProduct,
    Normalization,
    SpectrumOrder,
)
from tlp_core.directions.base import Directions, as_directions, check_number
from tlp_core.directions.flat import (
    Numbers,
    combine,
    dots,
    empty_rows,
    fill,
    norm,
    orthonormalize,
    rotate,
)
from tlp_core.directions.hessian.lanczos import lanczos
from tlp_core.directions.hessian.operator import HessianOperator
from tlp_core.directions.hessian.power_iteration import power_iteration
from tlp_core.directions.hessian.verification import verify_product
from tlp_core.directions.random import draw_rows
from tlp_core.directions.settings import DirectionSettings
from tlp_core.kept_outputs import KEPT_BYTES, kept_outputs
from tlp_core.model_state import evaluation_state, trainable_parameters
from tlp_core.problem import Problem
from tlp_core.progress import Progress, silent

CONVERGED_RESIDUAL = 0.1
"""A pair with ‖Hv - λv‖ above this fraction of |λ| is reported as not converged.

Eigenvectors of close eigenvalues mix long before their plane is wrong, so a tenth does no harm to
the landscape; beyond it, the direction is another one."""

_WARM_DEPTH, _COLD_DEPTH = 1, 3
"""Powers of the Hessian in the Krylov space of a start that is known, and of a random one."""

_RETRIES = 3
"""How often power iteration is repeated for a residual, each time with a hundredth of the
tolerance: the error of an eigenvalue goes with the square of its residual."""


def hessian_directions(
    problem: Problem,
    n: int,
    *,
    method: HessianMethod = "pyhessian",
    product: HessianProduct = "autograd",
    order: SpectrumOrder = "magnitude",
    normalization: Normalization = "none",
    parameters: str | None = None,
    max_iterations: int = 200,
    tolerance: float = 1e-4,
    max_residual: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Directions:
    """Return n eigenvectors of the Hessian, by default those with the largest |λ|.

    Args:
        problem: model, loss and batches; batches are weighted by size.
        n: number of directions, 1 to the number of trainable parameters.
        method: ``pyhessian`` (power iteration) or ``lanczos``.
        product: ``autograd`` (double backward), or ``finite-difference`` (two gradients at a
            searched step), for losses without a second derivative.
        order: which eigenvalues, and their order: ``magnitude``, by |λ| descending;
            ``algebraic``, by λ descending; ``both-ends``, half of them the largest and half the
            smallest, by λ descending. ``pyhessian`` finds the first only.
        normalization: ``none`` (‖d‖ = 1), ``model`` (‖d‖ = ‖θ*‖), ``layer`` (each parameter
            tensor as long as the model's) or ``filter`` (the same per output filter).
        parameters: pattern of the names of the parameters to move, such as ``layers.3.*``, or
            several, separated by commas; default: all that are trainable.
        max_iterations: power iterations for each vector, or restarts of Lanczos, >= 1.
        tolerance: relative change of the eigenvalue at which power iteration stops; of Lanczos,
            the relative accuracy of the eigenvalues; > 0.
        max_residual: largest accepted ‖Hv - λv‖ / |λ|, > 0. ``pyhessian`` is repeated with a
            smaller tolerance, three times at most, until all pairs reach it. Default: every
            residual is accepted, and one above 0.1 is warned of.
        seed: random seed of the start vectors, >= 0.
        progress: called with the fraction done, 0 to 1, and a text.

    Returns:
        Directions that are orthonormal before normalization, with residuals. A warning reports a
        pair that did not converge, a Hessian that is not symmetric, and a product that disagrees
        with a difference of gradients.

    Raises:
        ValueError: for n out of range, an unknown option, or a pattern that matches no parameter.
        TypeError: for an option of the wrong type.
        LossError: for a loss that fails, is not scalar or finite, or ignores the parameters.
        RuntimeError: for a Hessian that is zero, not finite, or does not exist.
    """
    checks.choice(method, HESSIAN_METHODS, name="method")
    settings = DirectionSettings(
        n=n,
        method=method,
        product=product,
        order=order,
        normalization=normalization,
        parameters=parameters,
        max_iterations=max_iterations,
        tolerance=tolerance,
        max_residual=max_residual,
        seed=seed,
    )
    return eigenvector_directions(problem, settings, progress)


def eigenvector_directions(
    problem: Problem, settings: DirectionSettings, progress: Progress = silent
) -> Directions:
    """Return the directions of :func:`hessian_directions` from a settings record.

    Raises:
        ValueError, LossError, RuntimeError: as :func:`hessian_directions`.
    """
    accepted = settings.max_residual or CONVERGED_RESIDUAL
    repeats = settings.method == "pyhessian" and settings.max_residual is not None
    with (
        evaluation_state(problem.model, settings.parameters),
        kept_outputs(problem, trainable_parameters(problem.model).values(), KEPT_BYTES) as kept,
    ):
        check_number(settings.n, problem.model)
        expected = settings.n * settings.max_iterations
        operator = HessianOperator(kept, progress, expected, settings.product)
        for attempt in range(_RETRIES + 1 if repeats else 1):
            span = _find_span(operator, settings, settings.tolerance / 100**attempt)
            pairs = _rayleigh_ritz(operator, span, settings.order)
            if pairs.largest_relative_residual() <= accepted:
                break
        verification = verify_product(operator, pairs.vectors[0], settings.seed)
        rows = operator.expand(pairs.vectors)
        vectors = as_directions(rows, problem.model, settings.normalization)
    progress(1.0, f"{operator.products} Hessian-vector products")
    _warn_of_unconverged(pairs, settings.max_iterations, accepted)
    return Directions(
        vectors=vectors,
        eigenvalues=pairs.values,
        residuals=pairs.residuals,
        method=settings.method,
        normalization=settings.normalization,
        seed=settings.seed,
        provenance={
            "parameters": settings.parameters or "*",
            "order": settings.order,
            "hessian_vector_products": operator.products,
            "hessian_asymmetry": verification.asymmetry,
            "hessian_difference": verification.difference,
            **_step_of(operator),
        },
    )


def follow_eigenvectors(
    problem: Problem, settings: DirectionSettings, start: Directions | None = None
) -> Directions:
    """Return approximate eigenvectors, from those of a model nearby, such as that of a step before.

    The Hessian is restricted to the Krylov space span{V, HV} of the start V (Rayleigh-Ritz), which
    takes 3n products: one block step of Lanczos. Along a training, the estimates of earlier steps
    make later ones better; the residuals tell how good they are. Without a start, V is random and
    the space is span{V, HV, H²V, H³V}.

    Args:
        problem: model, loss and batches.
        settings: n, order, parameters, normalization and seed; the method is recorded only.
        start: directions of the same parameters; they are made orthonormal. The step of finite
            differences is theirs, too. Default: random ones.

    Raises:
        ValueError, LossError, RuntimeError: as :func:`hessian_directions`, except that nothing must
            converge.
    """
    n = settings.n
    with (
        evaluation_state(problem.model, settings.parameters),
        kept_outputs(problem, trainable_parameters(problem.model).values(), KEPT_BYTES) as kept,
    ):
        check_number(n, problem.model)
        depth = _WARM_DEPTH if start is not None else _COLD_DEPTH
        operator = HessianOperator(kept, silent, n * (2 * depth + 1), settings.product)
        depth = max(1, min(depth, operator.size // n - 1))
        space = empty_rows(n * (depth + 1), operator.parameters)
        if start is None:
            draw_rows(space[:n], operator.parameters, settings.seed)
        else:
            named = trainable_parameters(problem.model)
            used = [name for name, p in named.items() if any(p is q for q in operator.parameters)]
            operator.step = start.provenance.get("hessian_step")
            for row, vector in zip(space, start.vectors):
                fill(row, [vector[name] for name in used])
        for i in range(depth):
            last, following = space[i * n : (i + 1) * n], space[(i + 1) * n : (i + 2) * n]
            orthonormalize(last)
            for row, image in zip(last, following):
                image.copy_(operator.apply(row))
        pairs = _rayleigh_ritz(operator, space, settings.order, least=n)
        rows = operator.expand(pairs.vectors[:n])
        vectors = as_directions(rows, problem.model, settings.normalization)
    return Directions(
        vectors=vectors,
        eigenvalues=pairs.values[:n],
        residuals=pairs.residuals[:n],
        method=settings.method,
        normalization=settings.normalization,
        seed=settings.seed,
        provenance={
            "parameters": settings.parameters or "*",
            "order": settings.order,
            "hessian_vector_products": operator.products,
            **_step_of(operator),
        },
    )


def _step_of(operator: HessianOperator) -> dict[str, object]:
    """Return the provenance of finite differences."""
    if operator.step is None:
        return {}
    return {
        "product": "finite-difference",
        "hessian_step": operator.step,
        "hessian_step_error": operator.step_error,
    }


class _Eigenpairs(NamedTuple):
    """Approximate eigenpairs: values (n,), unit vectors (n, p), residuals ‖Hv - λv‖ (n,)."""

    values: Numbers
    vectors: Tensor
    residuals: Numbers

    def largest_relative_residual(self) -> float:
        """Return the largest ‖Hv - λv‖ / |λ|."""
        sizes = np.maximum(np.abs(self.values), np.finfo(float).tiny)
        return float((self.residuals / sizes).max())


def _find_span(operator: HessianOperator, settings: DirectionSettings, tolerance: float) -> Tensor:
    """Return n vectors (n, p) whose span is close to that of the wanted eigenvectors."""
    if settings.method == "lanczos":
        return lanczos(
            operator,
            settings.n,
            order=settings.order,
            max_iterations=settings.max_iterations,
            tolerance=tolerance,
            seed=settings.seed,
        )
    return power_iteration(
        operator,
        settings.n,
        max_iterations=settings.max_iterations,
        tolerance=tolerance,
        seed=settings.seed,
    )


def _rayleigh_ritz(
    operator: HessianOperator, span: Tensor, order: SpectrumOrder, *, least: int | None = None
) -> _Eigenpairs:
    """Return the eigenpairs of H restricted to a span (n, p), in the wanted order.

    At least ``least`` of the vectors must be independent; default: all.
    """
    if not all(np.isfinite(norm(row)) for row in span):
        raise RuntimeError(
            "the Hessian must be finite at the model, and is not; check the loss's derivatives"
        )
    basis = orthonormalize(span)
    images = torch.empty_like(basis)
    for row, image in zip(basis, images):
        image.copy_(operator.apply(row))
    within = np.stack([dots(basis, image) for image in images], axis=1)
    largest = np.abs(within).max(initial=0.0)
    if not (np.isfinite(largest) and largest > 0):
        raise RuntimeError(
            f"the Hessian must be finite and not zero, got products of size {largest:g}; a loss "
            "that is linear in the parameters has no Hessian directions"
        )
    wanted = least or len(span)
    if len(basis) < wanted:
        raise RuntimeError(
            f"the Hessian must have curvature along {wanted} directions, found {len(basis)}"
        )
    values, rotation = np.linalg.eigh((within + within.T) / 2)
    keys = np.abs(values) if order == "magnitude" else values
    descending = np.argsort(-keys, kind="stable")
    values, rotation = values[descending], rotation[:, descending]
    vectors, images = rotate(rotation.T, basis), rotate(rotation.T, images)
    residuals = [
        norm(image.sub_(combine(np.array([value]), row[None])))
        for value, row, image in zip(values, vectors, images)
    ]
    return _Eigenpairs(values, vectors, np.array(residuals))


def _warn_of_unconverged(pairs: _Eigenpairs, max_iterations: int, accepted: float) -> None:
    for i, (value, residual) in enumerate(zip(pairs.values, pairs.residuals), start=1):
        if residual > accepted * abs(value):
            warnings.warn(
                f"eigenpair {i} has not converged: its residual is {residual:.2g} at eigenvalue "
                f"{value:.3g}; raise the iterations, {max_iterations}, or lower the tolerance",
                stacklevel=3,
            )
