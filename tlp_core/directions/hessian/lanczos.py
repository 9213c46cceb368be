"""Eigenvectors by the implicitly restarted Lanczos method, SciPy's ``eigsh`` (ARPACK).

It finds all vectors together, needs fewer products than power iteration where eigenvalues are
close, and reaches either end of the spectrum.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tlp_core.choices import SpectrumOrder
from tlp_core.directions.hessian.operator import HessianOperator, Vectors

_ARPACK_NAMES = {"magnitude": "LM", "algebraic": "LA", "both-ends": "BE"}


def lanczos(
    operator: HessianOperator,
    n: int,
    *,
    order: SpectrumOrder,
    max_iterations: int,
    tolerance: float,
    seed: int,
) -> Vectors:
    """Return n approximate eigenvectors, (n, P) float64.

    A Hessian too small for Lanczos is decomposed as a dense matrix.

    Args:
        operator: the Hessian.
        n: number of vectors, >= 1.
        order: which end of the spectrum.
        max_iterations: restarts, at most.
        tolerance: relative accuracy of the eigenvalues.
        seed: random seed of the start vector.

    Raises:
        RuntimeError: if fewer than n eigenvectors converge.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    hessian = operator.linear_operator()
    size = hessian.shape[0]
    if n >= size - 1:
        dense = np.stack([hessian.matvec(row) for row in np.eye(size)])
        values, vectors = np.linalg.eigh((dense + dense.T) / 2)
        return operator.expand(vectors[:, _select(values, min(n, size), order)].T)
    start = np.random.default_rng(seed).standard_normal(size)
    which = _ARPACK_NAMES["algebraic" if n == 1 and order == "both-ends" else order]
    try:
        _, vectors = eigsh(
            hessian, k=n, which=which, v0=start, maxiter=max_iterations, tol=tolerance
        )
    except ArpackNoConvergence as error:
        if error.eigenvectors.shape[1] < n:
            raise RuntimeError(
                f"Lanczos must converge to {n} eigenvectors, got {error.eigenvectors.shape[1]}; "
                f"raise the iterations, {max_iterations}, or the tolerance, {tolerance:g}"
            ) from error
        vectors = error.eigenvectors
    return operator.expand(vectors.T)


def _select(values: npt.NDArray[np.float64], n: int, order: SpectrumOrder) -> npt.NDArray[np.int64]:
    """Return the indices of the n wanted eigenvalues among all, which ascend."""
    if order == "magnitude":
        return np.argsort(-np.abs(values), kind="stable")[:n]
    if order == "algebraic":
        return np.arange(len(values))[::-1][:n]
    low = n // 2
    return np.concatenate([np.arange(low), np.arange(len(values) - (n - low), len(values))])
