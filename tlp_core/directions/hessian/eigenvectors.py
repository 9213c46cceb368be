"""Stage 1 with the Hessian: its top eigenvectors, and its trace.

``pyhessian``: PyHessian (Yao et al. 2020) finds them one after another by power iteration with
deflation, and stops when an eigenvalue changes by less than a relative tolerance. ``lanczos``:
SciPy's eigsh (ARPACK, implicitly restarted Lanczos) finds them together, with fewer Hessian-vector
products where eigenvalues are close, and any end of the spectrum. The vectors are then rotated
within their span (Rayleigh-Ritz), which costs one more product each, makes them orthogonal, orders
them, and yields the residual ‖Hv - λv‖ by which their quality is told. This module is the only one
that knows PyHessian, whose Hessian-vector products serve both.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tlp_core import checks
from tlp_core.directions.base import (
    NORMALIZATIONS,
    Directions,
    Normalization,
    finished,
    flattened,
    number_within,
    selected,
)
from tlp_core.model_state import fitting_threads, trainable_parameters, undisturbed
from tlp_core.problem import Problem, batch_loss, batch_size, check_center
from tlp_core.progress import Progress, silent

HessianMethod = Literal["pyhessian", "lanczos"]
HESSIAN_METHODS: tuple[HessianMethod, ...] = get_args(HessianMethod)

SpectrumOrder = Literal["magnitude", "algebraic", "both-ends"]
SPECTRUM_ORDERS: tuple[SpectrumOrder, ...] = get_args(SpectrumOrder)

_ARPACK_NAMES = {"magnitude": "LM", "algebraic": "LA", "both-ends": "BE"}

_RETRIES = 3
"""How often PyHessian is run again for a residual, each time with a hundredth of the tolerance:
an eigenvalue's error goes with the square of its residual."""

_LEAST_VECTORS = 10
"""Fewer do not tell how much they vary."""

CONVERGED_RESIDUAL = 0.1
"""A pair with ‖Hv - λv‖ above this share of |λ| is reported as not converged.

Eigenvectors of close eigenvalues mix long before their plane is wrong, so a tenth is no fault of
the landscape; beyond it, the direction is another one."""


def hessian_directions(
    problem: Problem,
    n: int,
    *,
    method: HessianMethod = "pyhessian",
    order: SpectrumOrder = "magnitude",
    normalization: Normalization = "none",
    parameters: str | None = None,
    max_iterations: int = 200,
    tolerance: float = 1e-4,
    max_residual: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Directions:
    """Return n eigenvectors of the Hessian, by default those with the largest |eigenvalue|.

    Args:
        problem: model, loss and batches; batches are weighted by size.
        n: number of directions, 1 to the number of trainable parameters.
        method: ``pyhessian``, power iteration, or ``lanczos``.
        order: which eigenvalues, and in which order: ``magnitude``, by |λ| descending;
            ``algebraic``, by λ descending; ``both-ends``, half of them the largest and half the
            smallest, by λ descending. Power iteration can only do the first.
        normalization: ``none`` (‖d‖ = 1), ``model`` (‖d‖ = ‖θ*‖), ``layer`` (each parameter
            tensor as long as the model's) or ``filter`` (the same per output filter).
        parameters: pattern of the names of the parameters to move, such as ``layers.3.*``, several
            with commas between; the others stay. Default: all that are trainable.
        max_iterations: power iterations for each vector, or restarts of Lanczos, at most.
        tolerance: relative change of the eigenvalue at which PyHessian stops; of Lanczos, relative
            accuracy of the eigenvalues.
        max_residual: largest ‖Hv - λv‖ / |λ| that is accepted; PyHessian is run again with a
            smaller tolerance, three times at most, until all pairs have it. Default: a tenth is
            warned of.
        seed: of the random start vectors.
        progress: called with a share from 0 to 1 and a text.

    Returns:
        Orthonormal directions (before normalization) with residuals. A pair that did not converge
        is told by a warning.

    Raises:
        ValueError: for n out of range, an unknown option, or a pattern that fits no parameter.
        LossError: for a loss that fails, is not scalar or finite, or ignores the parameters.
        RuntimeError: for a Hessian that is zero, not finite, or does not exist.
    """
    checks.choice(method, HESSIAN_METHODS, name="method")
    checks.choice(order, SPECTRUM_ORDERS, name="order")
    if method == "pyhessian" and order != "magnitude":
        raise ValueError(f"order must be magnitude for pyhessian, got {order!r}; use lanczos")
    checks.choice(normalization, NORMALIZATIONS, name="normalization")
    max_iterations = checks.integer(max_iterations, name="max_iterations", minimum=1)
    tolerance = checks.positive(tolerance, name="tolerance")
    accepted = CONVERGED_RESIDUAL
    if max_residual is not None:
        accepted = checks.positive(max_residual, name="max_residual")
    retries = _RETRIES if max_residual is not None and method == "pyhessian" else 0
    model = problem.model
    with undisturbed(model), fitting_threads(model), selected(model, parameters):
        n = number_within(n, model)
        with _solver(problem, seed, _Steps(n * max_iterations, progress)) as solver:
            for attempt in range(retries + 1):
                if method == "lanczos":
                    found = solver.lanczos(n, order, max_iterations, tolerance, seed)
                else:
                    found = solver.power_iteration(n, max_iterations, tolerance / 100**attempt)
                pairs = _rayleigh_ritz(solver.product, found, order)
                if _largest(pairs) <= accepted:
                    break
        eigenvalues, flat, residuals = pairs
        vectors = finished(flat, model, normalization)
    _report_unconverged(eigenvalues, residuals, max_iterations, accepted)
    return Directions(
        vectors=vectors,
        eigenvalues=eigenvalues,
        residuals=residuals,
        method=method,
        normalization=normalization,
        seed=seed,
        facts={
            "parameters": parameters or "*",
            "order": order,
            "hessian_vector_products": solver.products,
        },
    )


@dataclass(frozen=True)
class HessianTrace:
    """The trace of a Hessian, Σ λ_i, as estimated by random vectors.

    Attributes:
        value: the mean of vᵀHv.
        standard_error: of the value, in its unit.
        vectors: how many it took.
    """

    value: float
    standard_error: float
    vectors: int


def hessian_trace(
    problem: Problem,
    *,
    parameters: str | None = None,
    tolerance: float = 0.05,
    max_vectors: int = 200,
    seed: int = 0,
    progress: Progress = silent,
) -> HessianTrace:
    """Return the trace of the Hessian, by Hutchinson's estimator with random signs.

    E[vᵀHv] = tr H for independent v_i = ±1 (Hutchinson 1990, "A stochastic estimator of the trace
    of the influence matrix"). PyHessian's own ends after two vectors where the trace is negative,
    so only its Hessian-vector products are taken.

    Args:
        problem: model, loss and batches; batches are weighted by size.
        parameters: pattern of the names of the parameters that count, default all trainable ones.
        tolerance: standard error, as a share of the trace's size, that is small enough.
        max_vectors: how many at most, >= 2.
        seed: of the vectors.
        progress: called with a share from 0 to 1 and a text.

    Raises:
        ValueError: for an option out of range, or a pattern that fits no parameter.
        LossError: for a loss that fails, is not scalar or finite, or ignores the parameters.
        RuntimeError: for a Hessian that is not finite, or does not exist.
    """
    tolerance = checks.positive(tolerance, name="tolerance")
    max_vectors = checks.integer(max_vectors, name="max_vectors", minimum=2)
    model, rng, products = problem.model, np.random.default_rng(seed), list[float]()
    with (
        undisturbed(model),
        fitting_threads(model),
        selected(model, parameters),
        _solver(problem, seed, _Steps(max_vectors, progress)) as solver,
    ):
        while len(products) < max_vectors:
            signs = rng.choice([-1.0, 1.0], size=solver.size)
            products.append(float(signs @ solver.product(signs)))
            value = float(np.mean(products))
            if not np.isfinite(value):
                raise RuntimeError("the Hessian must be finite at the model, and is not")
            error = float(np.std(products) / np.sqrt(max(1, len(products) - 1)))
            if len(products) >= _LEAST_VECTORS and error <= tolerance * abs(value):
                break
    return HessianTrace(value, error, len(products))


@contextmanager
def _solver(problem: Problem, seed: int, steps: _Steps) -> Iterator[_Solver]:
    """Yield a solver for the model as it is, which is checked."""
    model = problem.model
    model.eval()
    check_center(problem)
    torch.manual_seed(seed)
    moved = trainable_parameters(model)
    with _second_derivatives(problem), _default_dtype(model), _no_leak_warning():
        yield _Solver(problem, steps)
    for parameter in moved.values():  # those that the loss ignores were frozen
        parameter.requires_grad_(True)


class _Steps:
    """Counts power iterations, of which PyHessian tells nothing, and passes them on."""

    def __init__(self, most: int, progress: Progress) -> None:
        self._done, self._most, self._progress = 0, most, progress

    def __call__(self) -> None:
        self._done += 1
        share = min(1.0, self._done / self._most)
        self._progress(share, f"Hessian-vector product {self._done}")


class _LossAsModel(nn.Module):
    """The loss as a module of one batch, since PyHessian wants a model, inputs and targets.

    PyHessian calls ``zero_grad`` once in each iteration, which is the only sign of progress.
    """

    def __init__(self, problem: Problem, steps: Callable[[], None]) -> None:
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


Vectors = npt.NDArray[np.float64]
Product = Callable[[Vectors], Vectors]


class _Solver:
    """Hessian-vector products by PyHessian, counted, and the two ways to eigenvectors."""

    def __init__(self, problem: Problem, steps: _Steps) -> None:
        from pyhessian import hessian

        self.products = 0
        self._steps = steps
        self._used = _used_parameters(problem)
        self.size = self._used.size
        batches = list(_Batches(problem))
        self._number_of_batches = len(batches)
        self._solver = hessian(
            _LossAsModel(problem, self._count),
            lambda loss, _target: loss,
            data=batches[0] if len(batches) == 1 else None,
            dataloader=None if len(batches) == 1 else _Batches(problem),
            cuda=False,
        )
        self._splits = np.cumsum([p.numel() for p in self._solver.params])[:-1]

    def power_iteration(self, n: int, max_iterations: int, tolerance: float) -> Vectors:
        """Return PyHessian's n vectors (n, P).

        PyHessian clears gradients once in each iteration and once for each of several batches.
        """
        before = self.products
        _, vectors = self._solver.eigenvalues(maxIter=max_iterations, tol=tolerance, top_n=n)
        calls = 1 if self._number_of_batches == 1 else 1 + self._number_of_batches
        self.products = before + (self.products - before) // calls
        found = np.zeros((n, self._used.size))
        found[:, self._used] = [flattened(vector) for vector in vectors]
        return found

    def lanczos(
        self, n: int, order: SpectrumOrder, max_iterations: int, tolerance: float, seed: int
    ) -> Vectors:
        """Return SciPy's n vectors (n, P); those of a small Hessian from the whole of it."""
        size = int(self._used.sum())
        found = np.zeros((n, self._used.size))
        if n >= size - 1:
            whole = np.stack([self._product_of_used(row) for row in np.eye(size)])
            values, vectors = np.linalg.eigh((whole + whole.T) / 2)
            chosen = _chosen(values, min(n, size), order)
            found[: len(chosen), self._used] = vectors[:, chosen].T
            return found[: len(chosen)]
        from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

        operator = LinearOperator((size, size), matvec=self._product_of_used, dtype=np.float64)
        start = np.random.default_rng(seed).standard_normal(size)
        which = _ARPACK_NAMES["algebraic" if n == 1 and order == "both-ends" else order]
        try:
            _, vectors = eigsh(
                operator, k=n, which=which, v0=start, maxiter=max_iterations, tol=tolerance
            )
        except ArpackNoConvergence as error:
            if error.eigenvectors.shape[1] < n:
                raise RuntimeError(
                    f"Lanczos must converge to {n} eigenvectors, and found "
                    f"{error.eigenvectors.shape[1]}; raise the iterations, {max_iterations}, or "
                    f"the tolerance, {tolerance:g}"
                ) from error
            vectors = error.eigenvectors
        found[:, self._used] = vectors.T
        return found

    def product(self, vector: Vectors) -> Vectors:
        """Return H v, (P,)."""
        full = np.zeros_like(vector)
        full[self._used] = self._product_of_used(vector[self._used])
        return full

    def _product_of_used(self, vector: Vectors) -> Vectors:
        from pyhessian.utils import hessian_vector_product

        self._count()
        params = self._solver.params
        parts = [
            torch.from_numpy(part.copy()).to(p.device, p.dtype).reshape(p.shape)
            for part, p in zip(np.split(vector.ravel(), self._splits), params)
        ]
        if self._number_of_batches == 1:
            return flattened(hessian_vector_product(self._solver.gradsH, params, parts))
        before = self.products
        result = flattened(self._solver.dataloader_hv_product(parts)[1])
        self.products = before  # which clears gradients once for each batch, too
        return result

    def _count(self) -> None:
        self.products += 1
        self._steps()


def _chosen(values: npt.NDArray[np.float64], n: int, order: SpectrumOrder) -> npt.NDArray[np.int64]:
    """Return which of all eigenvalues, ascending, are meant."""
    if order == "magnitude":
        return np.argsort(-np.abs(values), kind="stable")[:n]
    if order == "algebraic":
        return np.arange(len(values))[::-1][:n]
    low = n // 2
    return np.concatenate([np.arange(low), np.arange(len(values) - (n - low), len(values))])


def _largest(pairs: tuple[Vectors, Vectors, Vectors]) -> float:
    """Return the largest residual as a share of its eigenvalue."""
    eigenvalues, _, residuals = pairs
    return float((residuals / np.maximum(np.abs(eigenvalues), np.finfo(float).tiny)).max())


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
    product: Product, found: npt.NDArray[np.float64], spectrum_order: SpectrumOrder
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
    keys = np.abs(eigenvalues) if spectrum_order == "magnitude" else eigenvalues
    order = np.argsort(-keys, kind="stable")
    eigenvalues, rotation = eigenvalues[order], rotation[:, order]
    if not np.isfinite(eigenvalues).all() or not np.abs(eigenvalues).max() > 0:
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
    eigenvalues: npt.NDArray[np.float64],
    residuals: npt.NDArray[np.float64],
    iterations: int,
    accepted: float,
) -> None:
    for i, (value, residual) in enumerate(zip(eigenvalues, residuals), start=1):
        if residual > accepted * abs(value):
            warnings.warn(
                f"eigenpair {i} has not converged: its residual is {residual:.2g} at eigenvalue "
                f"{value:.3g}; raise the iterations, {iterations}, or lower the tolerance",
                stacklevel=3,
            )
