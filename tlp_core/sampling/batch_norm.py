"""Re-estimation of the running statistics of batch norm."""

from __future__ import annotations

from torch import nn

from tlp_core.problem import Problem, batch_loss, batch_size


def reestimate_batch_norm(problem: Problem) -> None:
    """Set the running statistics of batch norm to their averages over the problem's batches.

    Batches are weighted by size, as in the loss.
    """
    layers = [m for m in problem.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
    total = 0
    try:
        for batch in problem.batches:
            size = batch_size(batch)
            total += size
            for layer in layers:
                layer.momentum = size / total
            batch_loss(problem, batch)
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
            layer.eval()
