"""Re-estimation of the running statistics of batch norm."""

from __future__ import annotations

from torch import nn

from tlp_core.problem import Problem, mean_loss


def reestimate_batch_norm(problem: Problem) -> None:
    """Set the running statistics of batch norm to their averages over the problem's batches."""
    layers = [m for m in problem.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over all batches
        layer.train()
    try:
        mean_loss(problem)
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
            layer.eval()
