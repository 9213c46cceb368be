"""What a user supplies: a model, its loss, and the batches on which the loss is taken."""

from __future__ import annotations

import math
import os
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_map_only

from tlp_core import array_names, checks
from tlp_core.choices import AUTOCASTS, DTYPES, Autocast, Dtype
from tlp_core.content_hash import hash_tensors
from tlp_core.model_state import HALF_PRECISIONS, trainable_parameters
from tlp_core.shards import evaluate_each, group_of, is_sharded, shard_model

_REPEATS = 1e-5
"""Relative difference allowed between two calls of a loss: GPUs sum in any order. A random loss
differs by more."""

_ZERO = 1e-12
"""Absolute difference allowed between two calls of a loss that is zero but for rounding."""

_TAKEN = {name.lower() for name in array_names.POINT_ARRAYS}
"""Names of other arrays of a landscape."""

Loss = Callable[[nn.Module, Any], Tensor]
Metrics = Callable[[nn.Module], Mapping[str, float]]
State = Mapping[str, Tensor]
StateReader = Callable[[str | os.PathLike[str]], State]
Batch = TypeVar("Batch")


def _no_metrics(_model: nn.Module) -> Mapping[str, float]:
    return {}


class LossError(RuntimeError):
    """The user's loss failed, or returned something other than a scalar tensor."""


class NonFiniteLossError(LossError):
    """The loss of a model is not finite, as after a training that diverged."""


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
        other_batches: further batches by name, such as those of another text. The loss on each is
            one more array of the landscape, at the same samples.
        read_state: ``read_state(path)`` returns the state dict in a checkpoint of this network;
            default: :func:`tlp_core.problems.weights.read_state`.
        autocast: precision of the forward pass, ``bfloat16`` or ``float16`` (``torch.autocast``);
            None for that of the parameters.
        file: the Python file that made the problem; :func:`~tlp_core.load_problem` sets it.

    Raises:
        TypeError: for a model, a loss or batches of the wrong type.
        ValueError: for an unknown precision, or a name that an array of the landscape has.

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
    other_batches: Mapping[str, Iterable[Any]] = field(default_factory=dict, kw_only=True)
    read_state: StateReader | None = field(default=None, kw_only=True)
    autocast: Autocast | None = field(default=None, kw_only=True)
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
        for batches in (self.batches, *self.other_batches.values()):
            _check_batches(batches)
        for name in self.other_batches:
            if not name.strip() or name.lower() in _TAKEN:
                raise ValueError(f"other batches must have a name of their own, got {name!r}")
        if self.autocast is not None:
            checks.choice(self.autocast, AUTOCASTS, name="autocast")


def _check_batches(batches: object) -> None:
    if not isinstance(batches, Iterable) or isinstance(batches, Tensor):
        raise TypeError(
            f"batches must be a list of batches, got {_kind(batches)}; "
            "put a single batch into a list"
        )
    if isinstance(batches, Iterator):
        raise TypeError(
            f"batches must be iterable repeatedly, got a {_kind(batches)}, which is empty "
            "after one pass; make a list of it"
        )


def batch_loss(problem: Problem, batch: Any) -> Tensor:
    """Return the loss on one batch, a scalar tensor.

    Raises:
        LossError: if the loss raises or returns something else.
    """
    try:
        with _precision_of(problem):
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


def _precision_of(problem: Problem) -> AbstractContextManager[Any]:
    """Return the context of a forward pass."""
    if problem.autocast is None:
        return nullcontext()
    device = next(problem.model.parameters()).device.type
    # without a cache: within another autocast, it would keep weights that have moved since
    return torch.autocast(device, dtype=getattr(torch, problem.autocast), cache_enabled=False)


def mean_loss(problem: Problem) -> float:
    """Return the loss over all batches, weighted by their sizes."""
    return _mean_over(problem, problem.batches)


def mean_losses(problem: Problem, *, each_batch: bool = False) -> list[float]:
    """Return the loss over all batches, and that over each of the other batches.

    Args:
        problem: model, loss and batches.
        each_batch: return the losses on the single batches, too, after the others.
    """
    own = _losses(problem, problem.batches, lambda batch: batch_loss(problem, batch))
    others = [_mean_over(problem, batches) for batches in problem.other_batches.values()]
    single = [float(loss) for _, loss in own] if each_batch else []
    return [_weighted_mean(problem, own), *others, *single]


def _mean_over(problem: Problem, batches: Iterable[Any]) -> float:
    return _weighted_mean(problem, _losses(problem, batches, lambda b: batch_loss(problem, b)))


def _losses(
    problem: Problem, batches: Iterable[Any], evaluate: Callable[[Any], Tensor]
) -> list[tuple[int, float | Tensor]]:
    """Return the size of each batch and its loss; the processes of a sharded model divide them."""
    group = group_of(problem.model.parameters())
    if group is None:
        return [(batch_size(batch), evaluate(batch).detach()) for batch in batches]
    return [
        (int(size), loss)
        for size, loss in evaluate_each(
            batches, lambda batch: (batch_size(batch), float(evaluate(batch).detach())), group
        )
    ]


def _weighted_mean(problem: Problem, losses: Sequence[tuple[int, float | Tensor]]) -> float:
    total = sum(size for size, _ in losses)
    if not total:
        raise LossError(
            f"batches of {problem.name!r} must hold at least one sample, got none; "
            "a generator is empty after its first pass, so make a list of it"
        )
    return sum(float(loss) * (size / total) for size, loss in losses)


def batch_size(batch: Any) -> int:
    """Return the number of items in a batch: the length of its first tensor; 1 without any."""
    for tensor in _tensors(batch):
        return len(tensor) if tensor.ndim else 1
    return 1


def convert_problem(
    problem: Problem,
    *,
    dtype: Dtype | None = None,
    autocast: Autocast | None = None,
    device: str = "",
) -> Problem:
    """Return the problem with its model and batches in another precision or on another device.

    Parameters are float32 or float64, because smaller types round the steps between samples. A
    model in half precision is converted to float32, with a warning.

    Args:
        problem: its model is moved in place.
        dtype: ``float32`` or ``float64``; None keeps the model's. Floating-point tensors of the
            batches are converted, too.
        autocast: precision of the forward pass, ``bfloat16`` or ``float16``; None keeps the
            problem's.
        device: in torch's notation, such as ``cpu``, ``cuda``, ``cuda:1``, ``mps``; empty keeps the
            model's.

    Raises:
        ValueError: for an unknown precision, or a device that is not available.
    """
    if dtype is not None:
        checks.choice(dtype, DTYPES, name="dtype")
    half = {p.dtype for p in problem.model.parameters() if p.dtype in HALF_PRECISIONS}
    if half and dtype is None:
        names = ", ".join(sorted(map(_name_of, half)))
        warnings.warn(f"parameters were converted from {names} to float32", stacklevel=2)
    if autocast is not None:
        problem = replace(problem, autocast=autocast)
        kinds = {dtype} if dtype else {_name_of(p.dtype) for p in problem.model.parameters()}
        if "float64" in kinds:  # torch converts float32 only
            raise ValueError("autocast must have float32 parameters, got float64; use one of them")
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

    return _with_batches(replace(problem, model=model), place, kind)


def shard_problem(problem: Problem, mesh: Any, device: str = "") -> Problem:
    """Return the problem with its model sharded over a mesh of processes.

    Args:
        problem: its model is sharded in place, the same on all processes.
        mesh: torch's mesh of the processes that hold the model, one-dimensional.
        device: device of the batches, in torch's notation; empty keeps theirs.

    Raises:
        RuntimeError: for a version of torch without ``fully_shard``.
    """
    shard_model(problem.model, mesh)
    return _with_batches(problem, torch.device(device)) if device else problem


def move_batches(problem: Problem, device: torch.device) -> Problem:
    """Return the problem with its batches on a device; the model stays where and what it is."""
    return _with_batches(problem, device)


def _with_batches(
    problem: Problem, device: torch.device | None, dtype: torch.dtype | None = None
) -> Problem:
    """Return the problem with batches on a device, floating-point ones in a precision."""

    def convert(tensor: Tensor) -> Tensor:
        return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)

    others = {
        name: _MappedBatches(batches, convert) for name, batches in problem.other_batches.items()
    }
    return replace(problem, batches=_MappedBatches(problem.batches, convert), other_batches=others)


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


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
    every = {"": problem.batches, **problem.other_batches}
    return hash_tensors(
        (name, tensor)
        for name, batches in every.items()
        for batch in batches
        for tensor in _tensors(batch)
    )


def is_same_loss(one: float, other: float) -> bool:
    """Return whether two values of a loss differ by rounding only."""
    return math.isclose(one, other, rel_tol=_REPEATS, abs_tol=_ZERO)


def check_center(problem: Problem) -> float:
    """Return the loss at the model.

    Raises:
        NonFiniteLossError: if it is not finite.
        LossError: if it is not deterministic, or independent of the parameters.
    """
    depends = False
    parameters = list(trainable_parameters(problem.model).values())
    sharded = is_sharded(problem.model)  # its graph has other tensors for the parameters

    def evaluate(batch: Any) -> Tensor:
        nonlocal depends
        loss = _loss_with_bare_graph(problem, batch)
        if not depends:
            depends = loss.requires_grad if sharded else any(used_parameters(loss, parameters))
        return loss

    losses = _losses(problem, problem.batches, evaluate)
    for _, loss in losses:
        if not math.isfinite(loss):
            raise NonFiniteLossError(
                f"the loss of {problem.name!r} must be finite at the model itself, "
                f"got {float(loss)}; check the checkpoint"
            )
    again = _losses(problem, problem.batches, evaluate)
    first, second = _weighted_mean(problem, losses), _weighted_mean(problem, again)
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


def used_parameters(loss: Tensor, parameters: Sequence[Tensor]) -> list[bool]:
    """Return, for each parameter, whether a loss has a derivative in it.

    The graph of the loss is walked, and no derivative is computed.
    """
    found, seen, waiting = set[int](), set[Any](), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        found.add(id(getattr(node, "variable", None)))
        waiting += [following for following, _ in node.next_functions]
    return [id(parameter) in found for parameter in parameters]


def _loss_with_bare_graph(problem: Problem, batch: Any) -> Tensor:
    """Return the loss with a graph that can be walked, but holds no activations.

    Activations of a language model take several times the memory of its parameters. A loss that
    itself takes a derivative, as that of a physics-informed network does, needs them, and fails
    without; it is evaluated again with them.
    """

    def drop(_tensor: Tensor) -> None:
        return None

    def refuse(_nothing: None) -> NoReturn:
        raise RuntimeError("the graph holds no activations")

    try:
        with saved_tensors_hooks(drop, refuse):
            return batch_loss(problem, batch)
    except LossError:
        return batch_loss(problem, batch)


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
