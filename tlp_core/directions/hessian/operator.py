"""Products of the Hessian of the loss with vectors.

``autograd``: Hv is the gradient of (∇f)·v in the parameters (Pearlmutter 1994, "Fast exact
multiplication by the Hessian"). ``finite-difference``: Hv is the difference of two gradients at
θ* ± εv, divided by 2ε; it needs no second derivative, so it works with fused attention and with a
model that is sharded over machines. Its error depends on ε, the model and the precision, so ε is
searched until two steps agree, and the error is recorded.

Products run on the model's own device and in its own precision. The mean over several batches is
weighted by their sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from tlp_core.choices import HessianProduct
from tlp_core.directions.flat import Numbers, empty_rows, fill, norm, views
from tlp_core.directions.gradient import add_gradient
from tlp_core.model_state import squared_norm, trainable_parameters
from tlp_core.problem import Problem, batch_loss, batch_size, check_center, used_parameters
from tlp_core.progress import Progress
from tlp_core.shards import is_sharded, shard_of

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

_NO_SECOND_DERIVATIVE = ("does not require grad", "derivative for")
"""Parts of torch's messages where a loss has no second derivative."""

STEPS = tuple(10**-exponent for exponent in np.arange(2, 6.5, 0.5).tolist())
"""Lengths of a difference, as fractions of ‖θ*‖ along a unit vector. Large ones leave the quadratic
neighbourhood, small ones are lost in rounding."""

_AGREEMENT = 2e-3
"""Relative difference of two products at which the search for a step ends."""

_DISAGREEMENT = 0.3
"""Relative difference of the best two products above which finite differences are of no use."""


class NoSecondDerivativeError(RuntimeError):
    """The loss is not differentiable twice in the parameters."""


class HessianOperator:
    """The linear map v → Hv of a problem's mean loss at its model.

    The model must be in evaluation mode, with only those parameters trainable that may move.
    Vectors are rows as in :mod:`tlp_core.directions.flat`, over the parameters that the loss uses.

    Attributes:
        parameters: the trainable parameters that the loss uses.
        size: number of their entries, p.
        products: number of products made so far.
        step: length of the displacement of finite differences; None for ``autograd``.
        step_error: relative difference of the products of two steps, by which the step was chosen.
    """

    def __init__(
        self,
        problem: Problem,
        progress: Progress,
        expected_products: int,
        product: HessianProduct = "autograd",
    ) -> None:
        """Check the loss at the model, and find the parameters that it uses.

        Args:
            problem: model, loss and batches.
            progress: called at every product with the fraction done, 0 to 1, and a text.
            expected_products: number of products at which the fraction is 1.
            product: how products are made.

        Raises:
            ValueError: for ``autograd`` and a sharded model.
            LossError: for a loss that fails, is not scalar or finite, or ignores the parameters.
        """
        if product == "autograd" and is_sharded(problem.model):
            raise ValueError(
                "Hessian products of a sharded model must be finite differences, got autograd; use "
                "product finite-difference"
            )
        check_center(problem)
        self._problem, self._progress, self._expected = problem, progress, expected_products
        self._trainable = list(trainable_parameters(problem.model).values())
        self._uses = _uses(problem, self._trainable)
        self.parameters = [p for p, use in zip(self._trainable, self._uses) if use]
        self.size = sum(p.numel() for p in self.parameters)
        self.products = 0
        self.step: float | None = None
        self.step_error = 0.0
        self.is_difference = product == "finite-difference"
        first_two = list(islice(problem.batches, 2))
        keeps_graph = len(first_two) == 1 and not self.is_difference
        self._kept = self._gradient(first_two[0]) if keeps_graph else None

    def product(self, vector: Sequence[Tensor]) -> list[Tensor]:
        """Return H v, one tensor for each of :attr:`parameters`, as ``vector`` has.

        Raises:
            NoSecondDerivativeError: if the loss is not differentiable twice in the parameters.
            RuntimeError: with finite differences, if no two steps agree.
        """
        if self.is_difference:
            row = fill(empty_rows(1, self.parameters)[0], vector)
            parts = views(self.apply(row), self.parameters)
            return [part.to(p) for part, p in zip(parts, self.parameters)]
        self._count()
        if self._kept is not None:
            return self._derivative(self._kept, vector, keep_graph=True)
        total, weight = [torch.zeros_like(p) for p in self.parameters], 0.0
        for batch in self._problem.batches:
            size = float(batch_size(batch))
            images = self._derivative(self._gradient(batch), vector, keep_graph=False)
            for sum_, image in zip(total, images):
                sum_.add_(image, alpha=size)
            del images, image
            weight += size
        return [sum_.div_(weight) for sum_ in total]

    def apply(self, vector: Tensor) -> Tensor:
        """Return H v, (p,), as ``vector`` is."""
        if self.is_difference:
            self._count()
            length = norm(vector)
            if not length > 0:
                return torch.zeros_like(vector)
            if self.step is None:
                self._choose_step(vector)
            return self.gradient_difference(vector, (self.step or 0.0) / length)
        parts = [part.to(p) for part, p in zip(views(vector, self.parameters), self.parameters)]
        return fill(torch.empty_like(vector), self.product(parts))

    def gradient_difference(self, vector: Tensor, step: float) -> Tensor:
        """Return (∇f(θ + step·v) - ∇f(θ - step·v)) / (2 step), (p,), as ``vector`` is.

        Args:
            vector: v, (p,).
            step: length of the displacement in units of v, > 0.
        """
        parts = views(vector, self.parameters)
        shards = [shard_of(p.data) for p in self.parameters]
        before = [shard.clone() for shard in shards]
        total, weight = torch.zeros_like(vector), 1.0
        try:
            for sign in (1.0, -1.0):
                for shard, base, part in zip(shards, before, parts):
                    torch.add(base, part.to(base), alpha=sign * step, out=shard)
                weight = add_gradient(total, self._problem, self.parameters, sign=sign)
        finally:
            for shard, base in zip(shards, before):
                shard.copy_(base)
        return total.div_(2 * step * weight)

    def parameter_norm(self) -> float:
        """Return ‖θ*‖ over :attr:`parameters`, 1 if it is zero."""
        return float(np.sqrt(sum(map(squared_norm, self.parameters)))) or 1.0

    def linear_operator(self) -> LinearOperator:
        """Return H as SciPy's linear operator, in float64."""
        from scipy.sparse.linalg import LinearOperator

        def multiply(vector: Numbers) -> Numbers:
            (row,) = empty_rows(1, self.parameters)
            image = self.apply(row.copy_(torch.as_tensor(vector.ravel())))
            return np.asarray(image.double().cpu().numpy())

        return LinearOperator((self.size, self.size), matvec=multiply, dtype=np.float64)

    def expand(self, rows: Tensor) -> Tensor:
        """Return rows (n, p) as ones over all trainable parameters, (n, P), zero where unused."""
        if all(self._uses):
            return rows
        full = empty_rows(len(rows), self._trainable).zero_()
        for row, every in zip(rows, full):
            used = [view for view, use in zip(views(every, self._trainable), self._uses) if use]
            for view, part in zip(used, views(row, self.parameters)):
                view.copy_(part)
        return full

    def _count(self) -> None:
        self.products += 1
        fraction = min(1.0, self.products / self._expected)
        self._progress(fraction, f"Hessian-vector product {self.products}")

    def _choose_step(self, vector: Tensor) -> None:
        """Set the step for vectors like a given one, and like its image.

        A random vector has little curvature, and the vectors that matter have more: the image is
        closer to the top eigenvectors, and decides.
        """
        image = self._search_step(vector)
        length = norm(image)
        if length > 0:
            self._search_step(image.div_(length))

    def _search_step(self, vector: Tensor) -> Tensor:
        """Choose the step at which products change least, and return the product."""
        scale, length, best, previous = self.parameter_norm(), norm(vector), np.inf, None
        for fraction in STEPS:
            step = fraction * scale
            found = self.gradient_difference(vector, step / length)
            size = norm(found)
            if previous is not None and np.isfinite(size):
                error = norm(previous.sub_(found)) / (size or 1.0)
                if error < best:
                    best, self.step, self.step_error, chosen = error, step, error, found
                if best <= _AGREEMENT or error > 10 * best:
                    break
            previous = found.clone()
        if not best <= _DISAGREEMENT:
            raise RuntimeError(
                "finite differences of gradients must agree between two steps, and differ by "
                f"{best:.2g} of their size at best; use autograd, or dtype float64"
            )
        return chosen

    def _gradient(self, batch: Any) -> tuple[Tensor, ...]:
        """Return the gradient on a batch, with its graph."""
        loss = batch_loss(self._problem, batch)
        if not loss.requires_grad:  # this batch uses none of the parameters
            return tuple(torch.zeros_like(p) for p in self.parameters)
        return torch.autograd.grad(loss, self.parameters, create_graph=True, materialize_grads=True)

    def _derivative(
        self, gradient: Sequence[Tensor], vector: Sequence[Tensor], *, keep_graph: bool
    ) -> list[Tensor]:
        """Return the derivative of a gradient along a vector."""
        curved = [(g, v) for g, v in zip(gradient, vector) if g.requires_grad]
        if not curved and any(g.any() for g in gradient):
            raise self._no_second_derivative("its gradient does not require grad")
        if not curved:
            return [torch.zeros_like(p) for p in self.parameters]
        try:
            images = torch.autograd.grad(
                [g for g, _ in curved],
                self.parameters,
                [v for _, v in curved],
                retain_graph=keep_graph,
                materialize_grads=True,
            )
        except RuntimeError as error:
            if not any(part in str(error) for part in _NO_SECOND_DERIVATIVE):
                raise
            raise self._no_second_derivative(error) from error
        return list(images)

    def _no_second_derivative(self, reason: object) -> NoSecondDerivativeError:
        return NoSecondDerivativeError(
            f"the loss of {self._problem.name!r} must be differentiable twice in the parameters: "
            f"{reason}; use finite differences (product finite-difference)"
        )


def _uses(problem: Problem, parameters: Sequence[Tensor]) -> list[bool]:
    """Return, for each parameter, whether the loss on any batch depends on it.

    A sharded model counts as one that uses all: its graph has other tensors for the parameters.
    """
    if is_sharded(problem.model):
        return [True] * len(parameters)
    uses = [False] * len(parameters)
    for batch in problem.batches:
        found = used_parameters(batch_loss(problem, batch), parameters)
        uses = [use or also for use, also in zip(uses, found)]
    return uses
