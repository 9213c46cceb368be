"""Parameters of a model by name, and a model that comes back as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that require gradients, by name; shared ones once.

    Raises:
        ValueError: if there are none.
        TypeError: if one is complex.
    """
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ValueError("the model must have a parameter that requires a gradient, got none")
    for name, parameter in parameters.items():
        if parameter.is_complex():
            raise TypeError(f"parameters must be real, got {parameter.dtype} in {name!r}")
    return parameters


def number_of_parameters(model: nn.Module) -> int:
    """Return how many numbers can be trained."""
    return sum(p.numel() for p in trainable_parameters(model).values())


def parameter_norm(model: nn.Module) -> float:
    """Return ‖θ*‖ over the trainable parameters, in float64."""
    squares = (p.detach().double().square().sum() for p in trainable_parameters(model).values())
    return float(sum(squares, torch.zeros((), dtype=torch.float64)).sqrt())


def state_digest(model: nn.Module) -> str:
    """Return a hash of every parameter and buffer, hex."""
    from tlp_core.problem import tensor_bytes

    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        if isinstance(tensor, Tensor):
            digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


SMALL = 100_000
"""Parameters below which one thread is as fast as two, and far faster in ParaView's process.

The PINN with 7,851 takes 1.3 ms a sample on one thread and 1.1 ms on two; in pvpython, whose
OpenMP is the system's, 1.4 ms and 6.1 ms (``tests/benchmarks/threads.py``)."""


def threads_for(number_of_parameters: int) -> int:
    """Return one thread for a small model, else as many as torch has now."""
    return 1 if number_of_parameters < SMALL else torch.get_num_threads()


@contextmanager
def fitting_threads(model: nn.Module) -> Iterator[None]:
    """Give a small model one thread, whatever the machine, so that results repeat to the bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads_for(number_of_parameters(model)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluate in evaluation mode, then give the model back as it was, also after an error.

    Parameters, buffers, gradients, their flags, the modes of all modules, and torch's random
    state are restored.
    """
    values = {t: t.detach().clone() for t in (*model.parameters(), *model.buffers())}
    gradients = [(p, p.grad, p.requires_grad) for p in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    devices = {t.device.index for t in values if t.device.type == "cuda"}
    for parameter, _, _ in gradients:
        parameter.grad = None  # a gradient that is there would be added to in place
    with torch.random.fork_rng(devices=sorted(d for d in devices if d is not None)):
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, value in values.items():
                    tensor.copy_(value)
            for parameter, gradient, required in gradients:
                parameter.requires_grad_(required)
                parameter.grad = gradient
            for module, training in modes:
                module.training = training
