"""Top eigenvectors by power iteration with deflation, PyHessian's method.

The algorithm and its stopping rule are those of PyHessian (Yao et al. 2020, "PyHessian: neural
networks through the lens of the Hessian", section 2). PyHessian adds 1e-6 to norms and eigenvalues,
which decides the result where the loss is scaled to such values; here vectors are divided by their
norms alone, so the scale of the loss does not matter within the range of the model's precision.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tlp_core.directions.flat import empty_rows, fill
from tlp_core.directions.hessian.operator import HessianOperator
from tlp_core.shards import group_of


def power_iteration(
    operator: HessianOperator, n: int, *, max_iterations: int, tolerance: float, seed: int
) -> Tensor:
    """Return n approximate eigenvectors of largest |λ|, (n, p).

    Args:
        operator: the Hessian.
        n: number of vectors, >= 1.
        max_iterations: products for each vector, at most.
        tolerance: relative change of the eigenvalue at which a vector is accepted.
        seed: random seed of the start vectors.

    Raises:
        ValueError: for a sharded model.
    """
    if group_of(operator.parameters) is not None:
        raise ValueError("method must be lanczos for a sharded model, got pyhessian")
    from pyhessian.utils import group_product, orthnormal

    generator = torch.Generator().manual_seed(seed)
    found: list[list[Tensor]] = []
    for _ in range(n):
        vector = _start(operator, generator)
        eigenvalue = np.nan
        for _ in range(max_iterations):
            vector = orthnormal(vector, found)
            image = operator.product(vector)
            length = float(group_product(image, image).sqrt())
            if length == 0:  # the vector lies in the null space
                break
            previous, eigenvalue = eigenvalue, float(group_product(image, vector))
            vector = [part / length for part in image]
            if abs(previous - eigenvalue) < tolerance * abs(previous):
                break
        found.append(vector)
    rows = empty_rows(n, operator.parameters)
    for row, vector in zip(rows, found):
        fill(row, vector)
    return rows


def _start(operator: HessianOperator, generator: torch.Generator) -> list[Tensor]:
    """Return a random unit vector; drawn on the CPU, so that every device gets the same."""
    parts = [
        torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p.device)
        for p in operator.parameters
    ]
    length = sum(float(part.square().sum()) for part in parts) ** 0.5
    return [part / length for part in parts]
