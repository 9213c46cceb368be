"""Stage 1 with PyHessian: the top eigenvectors of the loss's Hessian.

PyHessian (Yao et al. 2020) finds them one after another by power iteration with deflation, and
stops when an eigenvalue changes by less than a relative tolerance. Its vectors are then rotated
within their span (Rayleigh-Ritz), which costs one more Hessian-vector product each, makes them
orthogonal, orders them, and yields the residual ‖Hv - λv‖ by which their quality is told.
This module is the only one that knows PyHessian.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tlp_core import checks
from tlp_core.directions import NORMALIZATIONS, Directions, Normalization, finished, flattened
from tlp_core.parameters import (
    fitting_threads,
    number_of_parameters,
    trainable_parameters,
    undisturbed,
)
from tlp_core.problem import Problem, batch_loss, batch_size, check_center
from tlp_core.progress import Progress, silent

HessianMethod = Literal["pyhessian"]
HESSIAN_METHODS: tuple[HessianMethod, ...] = get_args(HessianMethod)

CONVERGED_RESIDUAL = 0.1
"""A pair with ‖Hv - λv‖ above this share of |λ| is reported as not converged.

Eigenvectors of close eigenvalues mix long before their plane is wrong, so a tenth is no fault of
the landscape; beyond it, the direction is another one."""


def hessian_directions(
    problem: Problem,
    n: int,
    *,
    method: HessianMethod = "pyhessian",
    normalization: Normalization = "none",
    max_iterations: int = 200,
    tolerance: float = 1e-4,
    seed: int = 0,
    progress: Progress = silent,
) -> Directions:
    """Return the n eigenvectors of the Hessian with the largest |eigenvalue|.

    Args:
        problem: model, loss and batches; batches are weighted by size.
        n: number of directions, 1 to the number of trainable parameters.
        method: ``pyhessian``, power iteration.
        normalization: ``none`` (‖d‖ = 1), ``model`` (‖d‖ = ‖θ*‖), ``layer`` (each parameter
            tensor as long as the model's) or ``filter`` (the same per output filter).
        max_iterations: power iterations for each vector, at most.
        tolerance: relative change of the eigenvalue at which PyHessian stops.
        seed: of the random start vectors.
        progress: called with a share from 0 to 1 and a text.

    Returns:
        Orthonormal directions (before normalization), ordered by |λ| descending, with residuals.
        A pair that did not converge is told by a warning.

    Raises:
        ValueError: for n out of range or an unknown option.
        LossError: for a loss that fails, is not scalar or finite, or ignores the parameters.
        RuntimeError: for a Hessian that is zero, not finite, or does not exist.
    """
    n = checks.integer(n, name="n", minimum=1)
    checks.choice(method, HESSIAN_METHODS, name="method")
    checks.choice(normalization, NORMALIZATIONS, name="normalization")
    max_iterations = checks.integer(max_iterations, name="max_iterations", minimum=1)
    tolerance = checks.positive(tolerance, name="tolerance")
    available = number_of_parameters(problem.model)
    if n > available:
        raise ValueError(f"n must be at most the number of parameters, {available}, got {n}")
    with undisturbed(problem.model), fitting_threads(problem.model):
        problem.model.eval()
        check_center(problem)
        torch.manual_seed(seed)
        with _second_derivatives(problem), _default_dtype(problem.model), _no_leak_warning():
            steps = _Steps(n * max_iterations, progress)
            product, found = _power_iteration(problem, n, max_iterations, tolerance, steps)
            eigenvalues, flat, residuals = _rayleigh_ritz(product, found)
    _report_unconverged(eigenvalues, residuals, max_iterations)
    return Directions(
        vectors=finished(flat, problem.model, normalization),
        eigenvalues=eigenvalues,
        residuals=residuals,
        method=method,
        normalization=normalization,
        seed=seed,
    )


class _Steps:
    """Counts power iterations, of which PyHessian tells nothing, and passes them on."""

    def __init__(self, most: int, progress: Progress) -> None:
        self._done, self._most, self._progress = 0, most, progress

    def __call__(self) -> None:
        self._done += 1
        share = min(1.0, self._done / self._most)
        self._progress(share, f"Hessian eigenvectors, iteration {self._done}")


class _LossAsModel(nn.Module):
    """The loss as a module of one batch, since PyHessian wants a model, inputs and targets.

    PyHessian calls ``zero_grad`` once in each iteration, which is the only sign of progress.
    """

    def __init__(self, problem: Problem, steps: _Steps) -> None:
        super().__init__()
        self.model = problem.model
        self._problem, self._steps = problem, steps

    def forward(self, batch: _Batch) -> Tensor:
        return batch_loss(self._problem, batch.content)

    def zero_grad(self, set_to_none: bool = True) -> None:
        super().zero_grad(set_to_none)
        self._steps()


class _Batch:
    """A batch of any kind that answers what PyHessian asks of a tensor."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def size(self, _axis: int) -> int:
        return batch_size(self.content)

    def to(self, _device: str) -> _Batch:
        return self


class _Batches:
    """Pairs of inputs and targets, as PyHessian iterates them."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def __iter__(self) -> Iterator[tuple[_Batch, _Batch]]:
        for content in self._problem.batches:
            yield _Batch(content), _Batch(content)


Product = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def _power_iteration(
    problem: Problem, n: int, max_iterations: int, tolerance: float, steps: _Steps
) -> tuple[Product, npt.NDArray[np.float64]]:
    """Return the Hessian-vector product and PyHessian's n vectors (n, P)."""
    from pyhessian import hessian
    from pyhessian.utils import hessian_vector_product

    used = _used_parameters(problem)
    batches = list(_Batches(problem))
    one = len(batches) == 1
    solver = hessian(
        _LossAsModel(problem, steps),
        lambda loss, _target: loss,
        data=batches[0] if one else None,
        dataloader=None if one else _Batches(problem),
        cuda=False,
    )
    _, vectors = solver.eigenvalues(maxIter=max_iterations, tol=tolerance, top_n=n)
    splits = np.cumsum([p.numel() for p in solver.params])[:-1]

    def product(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        parts = [
            torch.from_numpy(part).to(p.device, p.dtype).reshape(p.shape)
            for part, p in zip(np.split(vector[used], splits), solver.params)
        ]
        if one:
            result = hessian_vector_product(solver.gradsH, solver.params, parts)
        else:
            result = solver.dataloader_hv_product(parts)[1]
        full = np.zeros_like(vector)
        full[used] = flattened(result)
        return full

    found = np.zeros((n, used.size))
    found[:, used] = [flattened(vector) for vector in vectors]
    return product, found


def _used_parameters(problem: Problem) -> npt.NDArray[np.bool_]:
    """Return which entries of the flat parameter vector the loss uses, and freeze the others.

    PyHessian fails on a parameter without a gradient; its entries in every direction are zero.
    """
    parameters = list(trainable_parameters(problem.model).values())
    uses = [False] * len(parameters)
    for batch in problem.batches:
        loss = batch_loss(problem, batch)
        slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
        uses = [use or slope is not None for use, slope in zip(uses, slopes)]
    for use, parameter in zip(uses, parameters):
        parameter.requires_grad_(use)
        parameter.grad = None
    return np.repeat(uses, [p.numel() for p in parameters])


def _rayleigh_ritz(
    product: Product, found: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return eigenvalues (n,), vectors (n, P) and residuals (n,) of H within a span."""
    if not np.isfinite(found).all():
        raise RuntimeError(
            "the Hessian must be finite at the model, and is not; check the loss's derivatives"
        )
    basis = np.linalg.qr(found.T)[0].T
    images = np.stack([product(row) for row in basis])
    within = basis @ images.T
    eigenvalues, rotation = np.linalg.eigh((within + within.T) / 2)
    order = np.argsort(-np.abs(eigenvalues), kind="stable")
    eigenvalues, rotation = eigenvalues[order], rotation[:, order]
    if not np.isfinite(eigenvalues).all() or not np.abs(eigenvalues[0]) > 0:
        raise RuntimeError(
            f"the Hessian must be finite and not zero, got top eigenvalue {eigenvalues[0]:g}; "
            "a loss that is linear in the parameters has no Hessian directions"
        )
    vectors = rotation.T @ basis
    residuals = np.linalg.norm(rotation.T @ images - eigenvalues[:, None] * vectors, axis=1)
    return eigenvalues, vectors, residuals


@contextmanager
def _second_derivatives(problem: Problem) -> Iterator[None]:
    """Turn torch's words for a missing derivative into ours."""
    try:
        yield
    except RuntimeError as error:
        if "does not require grad" not in str(error) and "derivative for" not in str(error):
            raise
        raise RuntimeError(
            f"the loss of {problem.name!r} must be differentiable twice in the parameters: {error}"
        ) from error


@contextmanager
def _default_dtype(model: nn.Module) -> Iterator[None]:
    """Make PyHessian's start vectors, which take torch's default dtype, fit the model."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(next(iter(trainable_parameters(model).values())).dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _no_leak_warning() -> Iterator[None]:
    """Silence torch on gradients with a graph: PyHessian makes them, ``undisturbed`` drops them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Using backward\(\) with create_graph")
        yield


def _report_unconverged(
    eigenvalues: npt.NDArray[np.float64], residuals: npt.NDArray[np.float64], iterations: int
) -> None:
    for i, (value, residual) in enumerate(zip(eigenvalues, residuals), start=1):
        if residual > CONVERGED_RESIDUAL * abs(value):
            warnings.warn(
                f"eigenpair {i} has not converged: its residual is {residual:.2g} at eigenvalue "
                f"{value:.3g}; raise the iterations, {iterations}, or lower the tolerance",
                stacklevel=3,
            )
