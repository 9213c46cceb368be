"""Products of the Hessian of the loss with vectors, by double backward.

Hv is the gradient of (∇f)·v in the parameters (Pearlmutter 1994, "Fast exact multiplication by the
Hessian"). Products run on the model's own device and in its own precision. The mean over several
batches is weighted by their sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tlp_core.directions.base import flatten
from tlp_core.directions.gradient import mean_gradient
from tlp_core.model_state import trainable_parameters
from tlp_core.problem import Problem, batch_loss, batch_size, check_center, used_parameters
from tlp_core.progress import Progress

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

Vectors = npt.NDArray[np.float64]

_NO_SECOND_DERIVATIVE = ("does not require grad", "derivative for")
"""Parts of torch's messages where a loss has no second derivative."""


class HessianOperator:
    """The linear map v → Hv of a problem's mean loss at its model.

    The model must be in evaluation mode, with only those parameters trainable that may move.

    Attributes:
        parameters: the trainable parameters that the loss uses.
        used: (P,) bool, which entries of the flat vector of all trainable parameters they hold.
            The others have no curvature, so their entries in every product are zero.
        products: number of products made so far.
    """

    def __init__(self, problem: Problem, progress: Progress, expected_products: int) -> None:
        """Check the loss at the model, and find the parameters that it uses.

        Args:
            problem: model, loss and batches.
            progress: called at every product with the fraction done, 0 to 1, and a text.
            expected_products: number of products at which the fraction is 1.

        Raises:
            LossError: for a loss that fails, is not scalar or finite, or ignores the parameters.
        """
        check_center(problem)
        self._problem, self._progress, self._expected = problem, progress, expected_products
        trainable = list(trainable_parameters(problem.model).values())
        uses = _uses(problem, trainable)
        self.parameters = [p for p, use in zip(trainable, uses) if use]
        self.used = np.repeat(uses, [p.numel() for p in trainable])
        self.products = 0
        self._ends = np.cumsum([p.numel() for p in self.parameters])[:-1]
        first_two = list(islice(problem.batches, 2))
        self._kept = self._gradient(first_two[0]) if len(first_two) == 1 else None

    def product(self, vector: Sequence[Tensor]) -> list[Tensor]:
        """Return H v, one tensor for each of :attr:`parameters`, as ``vector`` has.

        Raises:
            RuntimeError: if the loss is not differentiable twice in the parameters.
        """
        self.products += 1
        fraction = min(1.0, self.products / self._expected)
        self._progress(fraction, f"Hessian-vector product {self.products}")
        if self._kept is not None:
            return self._derivative(self._kept, vector, keep_graph=True)
        total, weight = [torch.zeros_like(p) for p in self.parameters], 0.0
        for batch in self._problem.batches:
            size = float(batch_size(batch))
            images = self._derivative(self._gradient(batch), vector, keep_graph=False)
            total = [sum_ + image * size for sum_, image in zip(total, images)]
            weight += size
        return [sum_ / weight for sum_ in total]

    def apply(self, vector: Vectors) -> Vectors:
        """Return H v over all trainable parameters, (P,) float64, as ``vector`` is."""
        full = np.zeros_like(vector)
        full[self.used] = self._apply_to_used(vector[self.used])
        return full

    def gradient_difference(self, vector: Vectors, step: float) -> Vectors:
        """Return (∇f(θ + step·v) - ∇f(θ - step·v)) / (2 step), (P,) float64, as ``vector`` is.

        Args:
            vector: v, (P,) float64.
            step: length of the displacement along v, > 0.
        """
        parts = self._split(vector[self.used])
        before = [p.detach().clone() for p in self.parameters]
        gradients = []
        try:
            for sign in (1.0, -1.0):
                for parameter, base, part in zip(self.parameters, before, parts):
                    parameter.data.copy_(base + sign * step * part)
                gradients.append(mean_gradient(self._problem, self.parameters))
        finally:
            for parameter, base in zip(self.parameters, before):
                parameter.data.copy_(base)
        full = np.zeros_like(vector)
        full[self.used] = (gradients[0] - gradients[1]) / (2 * step)
        return full

    def linear_operator(self) -> LinearOperator:
        """Return H over the used entries as SciPy's linear operator, in float64."""
        from scipy.sparse.linalg import LinearOperator

        size = int(self.used.sum())
        return LinearOperator((size, size), matvec=self._apply_to_used, dtype=np.float64)

    def expand(self, vectors: Vectors) -> Vectors:
        """Return vectors over the used entries (n, …) as ones over all, (n, P)."""
        full = np.zeros((len(vectors), self.used.size))
        full[:, self.used] = vectors
        return full

    def _apply_to_used(self, vector: Vectors) -> Vectors:
        return flatten(self.product(self._split(vector)))

    def _split(self, vector: Vectors) -> list[Tensor]:
        """Return a vector over the used entries as one tensor for each parameter."""
        return [
            torch.from_numpy(part.copy()).to(p.device, p.dtype).reshape(p.shape)
            for part, p in zip(np.split(vector.ravel(), self._ends), self.parameters)
        ]

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

    def _no_second_derivative(self, reason: object) -> RuntimeError:
        return RuntimeError(
            f"the loss of {self._problem.name!r} must be differentiable twice in the parameters: "
            f"{reason}"
        )


def _uses(problem: Problem, parameters: Sequence[Tensor]) -> list[bool]:
    """Return, for each parameter, whether the loss on any batch depends on it."""
    uses = [False] * len(parameters)
    for batch in problem.batches:
        found = used_parameters(batch_loss(problem, batch), parameters)
        uses = [use or also for use, also in zip(uses, found)]
    return uses
