"""Eigenvectors by the Lanczos method.

It finds all vectors together, needs fewer products than power iteration where eigenvalues are
close, and reaches either end of the spectrum. Small models use SciPy's ``eigsh`` (ARPACK), large
and sharded ones :mod:`~tlp_core.directions.hessian.thick_restart`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tlp_core.choices import SpectrumOrder
from tlp_core.directions.flat import LARGE
from tlp_core.directions.hessian.operator import HessianOperator
from tlp_core.directions.hessian.thick_restart import (
    MORE,
    thick_restart_lanczos,
    wanted_values,
)
from tlp_core.shards import group_of

_ARPACK_NAMES = {"magnitude": "LM", "algebraic": "LA", "both-ends": "BE"}


def lanczos(
    operator: HessianOperator,
    n: int,
    *,
    order: SpectrumOrder,
    max_iterations: int,
    tolerance: float,
    seed: int,
) -> Tensor:
    """Return n approximate eigenvectors, (n, p).

    A Hessian too small for Lanczos is decomposed as a dense matrix.

    Args:
        operator: the Hessian.
        n: number of vectors, >= 1.
        order: which end of the spectrum.
        max_iterations: restarts, at most.
        tolerance: relative accuracy of the eigenvalues.
        seed: random seed of the start vector.

    Raises:
        ValueError: for a sharded model with so few parameters that it needs no sharding.
        RuntimeError: if fewer than n eigenvectors converge.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh

    size = operator.size
    sharded = group_of(operator.parameters) is not None
    if sharded and size <= n + MORE:
        raise ValueError(f"n must be below {size - MORE} for a sharded model of this size, got {n}")
    if sharded or size > LARGE:
        return thick_restart_lanczos(
            operator,
            n,
            order=order,
            max_iterations=max_iterations,
            tolerance=tolerance,
            seed=seed,
        )
    hessian = operator.linear_operator()
    if n >= size - 1:
        dense = np.stack([hessian.matvec(row) for row in np.eye(size)])
        values, vectors = np.linalg.eigh((dense + dense.T) / 2)
        return torch.from_numpy(vectors[:, wanted_values(values, min(n, size), order)].T.copy())
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
    return torch.from_numpy(vectors.T.copy())
