"""The settings of stage 1."""

from __future__ import annotations

from dataclasses import dataclass

from tlp_core import checks
from tlp_core.choices import (
    DIRECTION_METHODS,
    HESSIAN_PRODUCTS,
    NORMALIZATIONS,
    SPECTRUM_ORDERS,
    DirectionMethod,
    HessianProduct,
    Normalization,
    SpectrumOrder,
)


@dataclass(frozen=True)
class DirectionSettings:
    """How directions are made.

    Attributes:
        n: number of directions, >= 1; ``checkpoints`` gives as many as the solutions span.
        method: ``pyhessian`` or ``lanczos`` (Hessian eigenvectors), ``random``, ``gradient``,
            ``trajectory`` or ``checkpoints``.
        product: how Hessian products are made: ``autograd`` (double backward) or
            ``finite-difference`` (two gradients).
        order: which Hessian eigenvalues, and their order: ``magnitude``, by |λ| descending;
            ``algebraic``, by λ descending; ``both-ends``, half of them the largest and half the
            smallest, by λ descending. Power iteration (``pyhessian``) finds the first only.
        normalization: ``none`` (‖d‖ = 1), ``model`` (‖d‖ = ‖θ*‖), ``layer`` (each parameter
            tensor as long as the model's) or ``filter`` (the same per output filter).
        parameters: pattern of the names of the parameters to move, such as ``layers.3.*``, or
            several, separated by commas; None for all that are trainable.
        max_iterations: power iterations for each eigenvector, or restarts of Lanczos, >= 1.
        tolerance: relative change of the eigenvalue at which power iteration stops; of Lanczos,
            the relative accuracy of the eigenvalues; > 0.
        max_residual: largest accepted ‖Hv - λv‖ / |λ|, > 0. Power iteration is repeated with a
            smaller tolerance, three times at most, until all pairs reach it. None accepts every
            residual, and warns above 0.1.
        seed: random seed, >= 0.
        solutions: files of the checkpoints of ``trajectory`` and ``checkpoints``.
        file: directions written by ``tlp directions``; used instead of all other settings.

    Raises:
        ValueError: for a value out of range, an unknown choice, or an order other than
            ``magnitude`` with ``pyhessian``.
        TypeError: for a value of the wrong type.
    """

    n: int = 2
    method: DirectionMethod = "pyhessian"
    product: HessianProduct = "autograd"
    order: SpectrumOrder = "magnitude"
    normalization: Normalization = "none"
    parameters: str | None = None
    max_iterations: int = 200
    tolerance: float = 1e-4
    max_residual: float | None = None
    seed: int = 0
    solutions: tuple[str, ...] = ()
    file: str = ""

    def __post_init__(self) -> None:
        """Check every value."""
        checks.integer(self.n, name="n", minimum=1)
        checks.choice(self.method, DIRECTION_METHODS, name="method")
        checks.choice(self.product, HESSIAN_PRODUCTS, name="product")
        checks.choice(self.order, SPECTRUM_ORDERS, name="order")
        if self.method == "pyhessian" and self.order != "magnitude":
            raise ValueError(
                f"order must be magnitude for pyhessian, got {self.order!r}; use lanczos"
            )
        checks.choice(self.normalization, NORMALIZATIONS, name="normalization")
        checks.integer(self.max_iterations, name="max_iterations", minimum=1)
        checks.positive(self.tolerance, name="tolerance")
        if self.max_residual is not None:
            checks.positive(self.max_residual, name="max_residual")
        if checks.integer(self.seed, name="seed", minimum=0) >= 2**63:
            raise ValueError(f"seed must be below 2^63, got {self.seed}")
