"""The state of a model: its trainable parameters by name, and its restoration after use."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import lru_cache

import numpy as np
import torch
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from tlp_core.content_hash import hash_tensors
from tlp_core.scratch import forget
from tlp_core.shards import shard_of, sums_over, total

SMALL = 100_000
"""Number of parameters below which one thread is as fast as two.

The PINN with 7,851 parameters takes 1.3 ms a sample on one thread and 1.1 ms on two; in pvpython,
1.4 ms and 6.1 ms (``tests/benchmarks/threads.py``)."""

PIECE = 2**20
"""Entries of a tensor that are converted to float64 at a time."""

_COPIED = 2**28
"""Bytes of a model above which parameters that do not move are not copied."""

_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integer types by their number of bytes, as which floating-point numbers are compared."""

HALF_PRECISIONS = (torch.bfloat16, torch.float16)
"""Types in which θ* + Σ α_i d_i would be rounded to a few distinct values."""


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that require gradients, by name; shared ones once.

    Raises:
        ValueError: if there are none.
        TypeError: if one is complex or in half precision.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ValueError("the model must have a parameter that requires a gradient, got none")
    for name, parameter in parameters.items():
        if parameter.is_complex():
            raise TypeError(f"parameters must be real, got {parameter.dtype} in {name!r}")
        if parameter.dtype in HALF_PRECISIONS:
            raise TypeError(
                "parameters must be float32 or float64, so that steps between samples are not "
                f"rounded, got {parameter.dtype} in {name!r}; convert the model with .float()"
            )
    return parameters


def number_of_parameters(model: nn.Module) -> int:
    """Return P, the number of trainable scalars."""
    return sum(p.numel() for p in trainable_parameters(model).values())


def parameter_norm(model: nn.Module) -> float:
    """Return ‖θ*‖ over the trainable parameters, in float64."""
    return math.sqrt(sum(squared_norm(p) for p in trainable_parameters(model).values()))


def squared_norm(tensor: Tensor) -> float:
    """Return ‖t‖² of a tensor, summed in float64; of a sharded model, over all its shards."""
    return float(total(np.array([own_squared_norm(tensor)]))[0])


def own_squared_norm(tensor: Tensor) -> float:
    """Return ‖t‖² of the entries of a tensor that this process holds, summed in float64."""
    return sum(float(as_float64(part).square().sum()) for part in pieces(tensor))


def pieces(tensor: Tensor) -> Iterator[Tensor]:
    """Yield views of a tensor's entries, of a size whose copies in float64 take 8 MB.

    Of a sharded tensor, they are those of this process. One of a scratch tensor is in memory while
    it is used.
    """
    for piece in torch.split(shard_of(tensor).detach().reshape(-1), PIECE):
        try:
            yield piece
        finally:  # also of the last one, where zip ends before this does
            forget(piece)


def hash_state(model: nn.Module) -> str:
    """Return the SHA-256 of every parameter and buffer, in hex."""
    state = model.state_dict().items()
    return hash_tensors((name, value) for name, value in state if isinstance(value, Tensor))


def as_float64(tensor: Tensor) -> Tensor:
    """Return a detached tensor in float64, on the CPU if its device has no float64."""
    detached = tensor.detach()
    return (detached.cpu() if detached.device.type == "mps" else detached).double()


def threads_for(number_of_parameters: int) -> int:
    """Return 1 for a small model, else torch's current number of threads."""
    return 1 if number_of_parameters < SMALL else torch.get_num_threads()


@contextmanager
def evaluation_state(model: nn.Module, parameters: str | None = None) -> Iterator[None]:
    """Evaluate a model with some of its parameters trainable, and restore it afterwards.

    The model is in evaluation mode meanwhile. A small model gets one thread on every machine, so
    that results repeat to the bit.

    Args:
        model: the network.
        parameters: pattern of :func:`select_parameters`; default: all that are trainable.

    Raises:
        ValueError: if no trainable parameter matches the pattern.
    """
    with (
        limit_threads(model),
        select_parameters(model, parameters),
        preserve_model(model, trainable_parameters(model).keys()),
    ):
        model.eval()
        yield


@contextmanager
def limit_threads(model: nn.Module) -> Iterator[None]:
    """Give a small model one thread on every machine, so that results repeat to the bit."""
    with use_threads(threads_for(number_of_parameters(model))):
        yield


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Compute with a number of threads.

    Inside ParaView, torch's matrix products are those of the system's OpenBLAS, because ParaView
    has loaded it before; torch's own setting does not reach its threads. Products of small matrices
    on two of them take eight times as long as on one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with _blas().limit(limits=count):
            yield
    finally:
        torch.set_num_threads(before)


@lru_cache
def _blas() -> ThreadpoolController:
    """Return the libraries for linear algebra that this process has loaded."""
    found: ThreadpoolController = ThreadpoolController().select(user_api="blas")
    return found


@contextmanager
def preserve_model(
    model: nn.Module, moving: Collection[str] | None = None
) -> Iterator[Mapping[str, Tensor]]:
    """Restore a model after use, also after an error.

    Parameters, buffers, gradients, ``requires_grad``, the modes of all modules and torch's random
    state are restored. Of a model of more than 256 MB, parameters that do not move are not copied.

    Args:
        model: the network.
        moving: names of the parameters that move. Default: all.

    Yields:
        The values of the moving parameters before use, by name.

    Raises:
        RuntimeError: if the loss has changed a parameter that was not copied.
    """
    parameters = dict(model.named_parameters())
    moving = parameters.keys() if moving is None else moving
    size = sum(p.numel() * p.element_size() for p in parameters.values())
    copied = parameters if size <= _COPIED else {name: parameters[name] for name in moving}
    values = {t: t.detach().clone() for t in (*copied.values(), *model.buffers())}
    fixed = {name: p._version for name, p in parameters.items() if p not in values}
    gradients = [(p, p.grad, p.requires_grad) for p in model.parameters()]
    modules = [(module, module.training, dict(module._buffers)) for module in model.modules()]
    devices = {t.device.index for t in values if t.device.type == "cuda"}
    for parameter, _, _ in gradients:
        parameter.grad = None  # backward would add to an existing gradient in place
    with (
        torch.random.fork_rng(devices=sorted(d for d in devices if d is not None)),
        sums_over(model),
    ):
        try:
            yield {name: values[parameters[name]] for name in moving}
        finally:
            for module, training, _ in modules:
                if type(module).train is not nn.Module.train:
                    module.train(training)  # it does more, such as merging weights
            for module, training, buffers in modules:
                module.training = training
                for name in module._buffers.keys() - buffers.keys():
                    del module._buffers[name]
                module._buffers.update(buffers)  # forward may have bound another tensor
            for parameter, gradient, required in gradients:
                parameter.requires_grad_(required)
                parameter.grad = gradient
            with torch.no_grad():
                for tensor, value in values.items():
                    own, before = shard_of(tensor), shard_of(value)
                    if not _is_same(own, before):  # an expanded tensor cannot be written
                        own.copy_(before)
    for name, version in fixed.items():
        if parameters[name]._version != version:
            raise RuntimeError(
                f"a loss must not change parameters, and {name!r} was changed; load the model again"
            )


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors hold the same bytes, NaN and the sign of zero included."""
    kind = _INTEGERS.get(one.element_size()) if one.is_floating_point() else None
    if kind is not None:
        one, other = one.contiguous().view(kind), other.contiguous().view(kind)
    return torch.equal(one, other)


@contextmanager
def select_parameters(model: nn.Module, pattern: str | None) -> Iterator[None]:
    """Make only the parameters trainable whose names match a pattern, and restore the others.

    Args:
        model: the network.
        pattern: shell-style pattern of names, such as ``layers.3.*``, or several, separated by
            commas; None for all.

    Raises:
        ValueError: if no trainable parameter matches.
    """
    parameters = trainable_parameters(model)
    patterns = [part.strip() for part in (pattern or "*").split(",")]
    others = {
        name: parameter
        for name, parameter in parameters.items()
        if not any(fnmatchcase(name, wanted) for wanted in patterns)
    }
    if len(others) == len(parameters):
        raise ValueError(
            f"parameters must match one of {', '.join(list(parameters)[:4])}, …, "
            f"got the pattern {pattern!r}"
        )
    for parameter in others.values():
        parameter.requires_grad_(False)
    try:
        with sums_over(model):
            yield
    finally:
        for parameter in others.values():
            parameter.requires_grad_(True)
