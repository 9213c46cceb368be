"""A context that keeps the random states of a training, and its settings of torch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Restore the random states of Python, NumPy, torch and its devices, also after an error.

    Functions that evaluate the network restore it themselves: weights, buffers, gradients, modes.
    Inside, gradients are enabled and autocast is off, whatever the training does around the call;
    the problem's own autocast still holds.

    Args:
        model: the network, whose device counts.
    """
    python, numpy = random.getstate(), np.random.get_state()
    device = next(model.parameters()).device.type
    has_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if has_cuda else []
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices=devices))
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            for kind in {"cpu", device}:
                stack.enter_context(torch.autocast(kind, enabled=False))
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
