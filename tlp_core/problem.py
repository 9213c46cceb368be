"""What a user supplies: a model, its loss, and the batches on which the loss is taken."""

from __future__ import annotations

import math
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from tlp_core import checks
from tlp_core.choices import DTYPES, Dtype
from tlp_core.content_hash import hash_tensors
from tlp_core.model_state import HALF_PRECISIONS, trainable_parameters

_REPEATS = 1e-5
"""Relative difference allowed between two calls of a loss: GPUs sum in any order. A random loss
differs by more."""

_ZERO = 1e-12
"""Absolute difference allowed between two calls of a loss that is zero but for rounding."""

Loss = Callable[[nn.Module, Any], Tensor]
Metrics = Callable[[nn.Module], Mapping[str, float]]
Batch = TypeVar("Batch")


def _no_metrics(_model: nn.Module) -> Mapping[str, float]:
    return {}


class LossError(RuntimeError):
    """The user's loss failed, or returned something other than a scalar tensor."""


@dataclass(frozen=True)
class Problem:
    """A network with its loss.

    Attributes:
        model: the network, with the parameters θ* at the centre of the landscape.
        loss: ``loss(model, batch)`` returns a scalar tensor, the mean over the batch; it must be
            deterministic, and differentiable twice in the parameters for Hessian directions.
        batches: what the loss is averaged over, weighted by size: an iterable that can be iterated
            repeatedly, such as a list or a DataLoader that does not shuffle.
        name: shown in titles and stored in the provenance.
        metrics: ``metrics(model)`` returns numbers to show beside the name, such as an error. Other
            tensors that it uses must be moved to the model's device and precision, see
            :func:`match_batch`.
        file: the Python file that made the problem; :func:`~tlp_core.load_problem` sets it.

    Raises:
        TypeError: for a model, a loss or batches of the wrong type.

    Example:
        >>> model = torch.nn.Linear(2, 1)
        >>> x, y = torch.ones(8, 2), torch.zeros(8, 1)
        >>> def loss(model, batch):
        ...     return torch.nn.functional.mse_loss(model(batch[0]), batch[1])
        >>> Problem(model, loss, [(x, y)], name="regression").name
        'regression'
    """

    model: nn.Module
    loss: Loss
    batches: Iterable[Any]
    name: str = field(kw_only=True)
    metrics: Metrics = field(default=_no_metrics, kw_only=True)
    file: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        """Check the types, so that swapped arguments are reported at once."""
        if not isinstance(self.model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {_kind(self.model)}")
        for module in self.model.modules():
            # by name, because the module of torch.compile takes seconds to import
            is_compiled = type(module).__name__ == "OptimizedModule"
            if is_compiled or isinstance(module, torch.jit.ScriptModule):
                raise TypeError(
                    f"model must be the module in Python, got a {_kind(module)}, which has no "
                    "second derivative; pass the module before torch.compile (model._orig_mod) or "
                    "torch.jit"
                )
        if not callable(self.loss):
            raise TypeError(f"loss must be a function of (model, batch), got {_kind(self.loss)}")
        if not isinstance(self.batches, Iterable) or isinstance(self.batches, Tensor):
            raise TypeError(
                f"batches must be a list of batches, got {_kind(self.batches)}; "
                "put a single batch into a list"
            )
        if isinstance(self.batches, Iterator):
            raise TypeError(
                f"batches must be iterable repeatedly, got a {_kind(self.batches)}, which is empty "
                "after one pass; make a list of it"
            )


def batch_loss(problem: Problem, batch: Any) -> Tensor:
    """Return the loss on one batch, a scalar tensor.

    Raises:
        LossError: if the loss raises or returns something else.
    """
    try:
        loss = problem.loss(problem.model, batch)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit would end ParaView
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise LossError(
            f"the loss of {problem.name!r} raised {type(error).__name__}: {error} "
            f"({where.filename}, line {where.lineno})"
        ) from error
    if not isinstance(loss, Tensor):
        raise LossError(f"the loss of {problem.name!r} must return a tensor, got {_kind(loss)}")
    if loss.ndim != 0:
        raise LossError(
            f"the loss of {problem.name!r} must return a scalar, got shape {tuple(loss.shape)}; "
            "take the mean"
        )
    return loss


def mean_loss(problem: Problem) -> float:
    """Return the loss over all batches, weighted by their sizes."""
    return _weighted_mean(
        problem, [(batch_size(batch), batch_loss(problem, batch)) for batch in problem.batches]
    )


def _weighted_mean(problem: Problem, losses: list[tuple[int, Tensor]]) -> float:
    total = sum(size for size, _ in losses)
    if not total:
        raise LossError(
            f"batches of {problem.name!r} must hold at least one sample, got none; "
            "a generator is empty after its first pass, so make a list of it"
        )
    return sum(float(loss.detach()) * (size / total) for size, loss in losses)


def batch_size(batch: Any) -> int:
    """Return the number of items in a batch: the length of its first tensor; 1 without any."""
    for tensor in _tensors(batch):
        return len(tensor) if tensor.ndim else 1
    return 1


def convert_problem(problem: Problem, *, dtype: Dtype | None = None, device: str = "") -> Problem:
    """Return the problem with its model and batches in another precision or on another device.

    Parameters are float32 or float64, because smaller types round the steps between samples.
    ``bfloat16`` is the precision of the forward pass only (``torch.autocast``); a model in half
    precision is converted to float32, with a warning.

    Args:
        problem: its model is moved in place.
        dtype: ``float32``, ``float64`` or ``bfloat16``; None keeps the model's. Floating-point
            tensors of the batches are converted, too.
        device: in torch's notation, such as ``cpu``, ``cuda``, ``cuda:1``, ``mps``; empty keeps the
            model's.

    Raises:
        ValueError: for an unknown dtype, or a device that is not available.
    """
    if dtype is not None:
        checks.choice(dtype, DTYPES, name="dtype")
    half = {p.dtype for p in problem.model.parameters() if p.dtype in HALF_PRECISIONS}
    if half and dtype is None:
        names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in half))
        warnings.warn(f"parameters were converted from {names} to float32", stacklevel=2)
    if not dtype and not device and not half:
        return problem
    is_double = dtype == "float64"
    kind = (torch.float64 if is_double else torch.float32) if dtype or half else None
    try:
        place = torch.device(device) if device else None
        model = problem.model.to(device=place, dtype=kind)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device must be available here, got {device!r}: {reason}") from error

    def convert(tensor: Tensor) -> Tensor:
        return tensor.to(device=place, dtype=kind if tensor.is_floating_point() else None)

    loss = _autocast(problem.loss) if dtype == "bfloat16" else problem.loss
    batches = _MappedBatches(problem.batches, convert)
    return replace(problem, model=model, loss=loss, batches=batches)


def _autocast(loss: Loss) -> Loss:
    """Return a loss whose forward pass is in bfloat16."""

    def autocast_loss(model: nn.Module, batch: Any) -> Tensor:
        device = next(model.parameters()).device.type
        with torch.autocast(device, dtype=torch.bfloat16):
            return loss(model, batch)

    return autocast_loss


def match_batch(batch: Batch, model: nn.Module) -> Batch:
    """Return a batch with its tensors on a model's device, floating-point ones in its precision."""
    parameter = next(model.parameters(), torch.empty(0))

    def convert(tensor: Tensor) -> Tensor:
        floating = tensor.is_floating_point()
        return tensor.to(parameter.device, parameter.dtype if floating else tensor.dtype)

    converted: Batch = tree_map_only(Tensor, convert, batch)
    return converted


def evaluate_metrics(problem: Problem) -> dict[str, float]:
    """Return the metrics of a problem.

    Raises:
        RuntimeError: if they fail.
    """
    try:
        return {name: float(value) for name, value in problem.metrics(problem.model).items()}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit would end ParaView
        raise RuntimeError(
            f"the metrics of {problem.name!r} must be numbers, computed in the model's precision "
            f"and on its device (tlp_core.problem.match_batch moves tensors there): {error}"
        ) from error


class _MappedBatches:
    """Batches whose tensors are mapped during iteration."""

    def __init__(self, batches: Iterable[Any], function: Callable[[Tensor], Tensor]) -> None:
        self._batches, self._function = batches, function

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            yield tree_map_only(Tensor, self._function, batch)


def hash_batches(problem: Problem) -> str:
    """Return the SHA-256 of every tensor in the batches, in hex."""
    return hash_tensors(("", tensor) for batch in problem.batches for tensor in _tensors(batch))


def is_same_loss(one: float, other: float) -> bool:
    """Return whether two values of a loss differ by rounding only."""
    return math.isclose(one, other, rel_tol=_REPEATS, abs_tol=_ZERO)


def check_center(problem: Problem) -> float:
    """Return the loss at the model.

    Raises:
        LossError: if it is not finite, not deterministic, or independent of the parameters.
    """
    depends = False
    parameters = list(trainable_parameters(problem.model).values())
    losses: list[tuple[int, Tensor]] = []
    for batch in problem.batches:
        loss = batch_loss(problem, batch)
        if not torch.isfinite(loss):
            raise LossError(
                f"the loss of {problem.name!r} must be finite at the model itself, "
                f"got {loss.item()}; check the checkpoint"
            )
        if loss.requires_grad:
            slopes = torch.autograd.grad(loss, parameters, allow_unused=True)
            depends = depends or any(slope is not None for slope in slopes)
        losses.append((batch_size(batch), loss.detach()))
    first, second = _weighted_mean(problem, losses), mean_loss(problem)
    if not is_same_loss(first, second):
        raise LossError(
            f"the loss of {problem.name!r} must be deterministic, got {first:.9g} and "
            f"{second:.9g} in two calls; turn dropout and noise off, do not shuffle, or seed "
            "what the loss draws"
        )
    if not depends:
        raise LossError(
            f"the loss of {problem.name!r} must depend on the model's parameters, and does not; "
            "use the model that is passed in, without detach or no_grad"
        )
    return first


def _tensors(batch: Any) -> Iterable[Tensor]:
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from _tensors(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from _tensors(value)


def _kind(value: object) -> str:
    return type(value).__name__
