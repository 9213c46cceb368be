"""A physics-informed network for the convection equation (Krishnapriyan et al. 2021, section 3).

u_t + β u_x = 0 on x in [0, 2π), t in [0, 1], with u(x, 0) = sin x and periodic ends; the solution
is sin(x - βt). For small β the network trains well, above β of 10 to 30 it fails.
"""

from __future__ import annotations

import math
import os
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from tlp_core import checks
from tlp_core.atomic_files import atomic_write
from tlp_core.model_state import limit_threads
from tlp_core.problem import Problem, evaluate_metrics, match_batch
from tlp_core.progress import Progress, silent

X_POINTS, T_POINTS = 256, 100
"""The grid of the published code, on which errors are taken too."""

Batch = dict[str, Tensor]


def make_problem(beta: float = 30.0, seed: int = 0, collocation: int = 100) -> Problem:
    """Return the convection problem with an untrained network 2-50-50-50-50-1, tanh.

    Args:
        beta: speed of the convection.
        seed: of the initial parameters and the collocation points.
        collocation: number of points where the equation must hold, drawn without replacement from
            the inner points of a 256 x 100 grid: 100 in the published code, 1000 in its README.
    """
    beta = checks.real(beta, name="beta")
    generator = torch.Generator().manual_seed(checks.integer(seed, name="seed", minimum=0))
    return Problem(
        _network(generator),
        partial(convection_loss, beta=beta),
        [_points(collocation, generator)],
        name=f"PINN convection, beta = {beta:g}",
        metrics=lambda model: {"relative error": relative_error(model, beta)},
    )


def convection_loss(model: nn.Module, batch: Batch, *, beta: float) -> Tensor:
    """Return the mean squared misfit of initial values, periodic ends, and the equation."""
    ends = (batch["start"], batch["left"], batch["right"])
    u: Tensor = model(torch.cat(ends))
    u_start, u_left, u_right = torch.split(u, [len(points) for points in ends])
    misfit = (u_start - torch.sin(batch["start"][:, :1])).square().mean()
    gap = (u_left - u_right).square().mean()
    residual = convection_residual(model, batch["inside"], beta)
    total: Tensor = misfit + gap + residual.square().mean()
    return total


def convection_residual(model: nn.Module, points: Tensor, beta: float) -> Tensor:
    """Return u_t + β u_x at points (P, 2) of x and t, (P,)."""
    slopes: Tensor = torch.func.grad(lambda inputs: model(inputs).sum())(points)
    return slopes[:, 1] + beta * slopes[:, 0]


@torch.no_grad()
def relative_error(model: nn.Module, beta: float) -> float:
    """Return ‖u - û‖ / ‖u‖ in L2 over the 256 x 100 grid."""
    grid = match_batch(_grid(), model)
    exact = torch.sin(grid[:, :1] - beta * grid[:, 1:])
    return float((model(grid) - exact).norm() / exact.norm())


def train(
    problem: Problem,
    *,
    iterations: int = 1000,
    learning_rate: float = 1.0,
    progress: Progress = silent,
) -> dict[str, float]:
    """Train by full-batch L-BFGS, history 50, strong Wolfe, as published.

    Args:
        problem: a convection problem; its model is changed.
        iterations: at most; L-BFGS ends earlier when it no longer moves.
        learning_rate: 1 as published, which sweeps it too; > 0.
        progress: called with the share done and the loss.

    Returns:
        The final loss, and the problem's metrics.
    """
    iterations = checks.integer(iterations, name="iterations", minimum=1)
    optimizer = torch.optim.LBFGS(
        problem.model.parameters(),
        lr=checks.positive(learning_rate, name="learning_rate"),
        max_iter=iterations,
        max_eval=iterations * 5 // 4,
        history_size=50,
        tolerance_grad=1e-7,
        tolerance_change=1e-9,
        line_search_fn="strong_wolfe",
    )
    (batch,) = problem.batches
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss = problem.loss(problem.model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        progress(min(0.99, calls / (iterations * 5 // 4)), f"loss {loss.item():.3g}")
        return loss

    with limit_threads(problem.model):
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    loss = problem.loss(problem.model, batch).item()
    metrics = evaluate_metrics(problem)
    told = ", ".join(f"{name} {value:.3g}" for name, value in metrics.items())
    progress(1.0, f"loss {loss:.3g}, {told}")
    return {"loss": loss, **metrics}


def save_checkpoint(problem: Problem, path: str | os.PathLike[str]) -> None:
    """Write the parameters under a temporary name and rename the file."""
    with atomic_write(path) as draft:
        torch.save({"state_dict": problem.model.state_dict()}, draft)


def _network(generator: torch.Generator) -> nn.Module:
    sizes = (2, 50, 50, 50, 50, 1)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layer = nn.Linear(inputs, outputs)
        nn.init.xavier_uniform_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def _points(collocation: int, generator: torch.Generator) -> Batch:
    collocation = checks.integer(collocation, name="collocation", minimum=1)
    x, t = _axes()
    inside = torch.cartesian_prod(x[1:], t[1:-1])
    if collocation > len(inside):
        raise ValueError(f"collocation must be at most {len(inside)}, got {collocation}")
    chosen = torch.randperm(len(inside), generator=generator)[:collocation]
    zeros = torch.zeros_like(t)
    return {
        "start": torch.stack([x, torch.zeros_like(x)], dim=1),
        "left": torch.stack([zeros, t], dim=1),
        "right": torch.stack([zeros + 2 * math.pi, t], dim=1),
        "inside": inside[chosen],
    }


def _axes() -> tuple[Tensor, Tensor]:
    return torch.arange(X_POINTS) * (2 * math.pi / X_POINTS), torch.linspace(0, 1, T_POINTS)


def _grid() -> Tensor:
    return torch.cartesian_prod(*_axes())
