"""Physics-informed network for the convection equation (Krishnapriyan et al. 2021, section 3).

The equation is u_t + β u_x = 0 on x in [0, 2π), t in [0, 1], with u(x, 0) = sin x and periodic
boundaries. The solution is sin(x - βt). The network trains well for small β and fails for β above
10 to 30.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from tlp_core import checks
from tlp_core.atomic_files import atomic_write
from tlp_core.model_state import limit_threads
from tlp_core.problem import Problem, evaluate_metrics, match_batch
from tlp_core.progress import Progress, silent

X_POINTS, T_POINTS = 256, 100
"""Number of points in x and t: the grid of the published code, which is also used for the error."""

ITERATIONS = 100_000
"""Largest number of iterations of L-BFGS in the published code; most networks converge earlier."""

Batch = dict[str, Tensor]

_SLICE = 50
"""Iterations between two states of a training that are kept."""


def make_problem(beta: float = 30.0, seed: int = 0, collocation: int = 1000) -> Problem:
    """Return the convection problem with an untrained tanh network of sizes 2-50-50-50-50-1.

    The initial parameters have the distribution of ``torch.nn.Linear``, as in the published code.
    The metric is ``relative error``, see :func:`relative_error`.

    Args:
        beta: speed β of the convection, finite. Default: 30.
        seed: random seed of the initial parameters and of the collocation points, >= 0.
            Default: 0.
        collocation: number of points at which the equation is evaluated, >= 1. They are drawn
            without replacement from the points of a 256 x 100 grid with x > 0 and t > 0. The
            published code uses 100, its README 1000. A network can fit 100 points and be far from
            the solution everywhere else. Default: 1000.

    Returns:
        The problem, with one batch.

    Raises:
        ValueError: if a number is out of its range, or there are fewer points than ``collocation``.
        TypeError: if beta is not a number, or one of the others is not an integer.
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
    """Return the sum of the mean squared errors of initial values, boundaries and equation.

    Args:
        model: the network u(x, t), from (P, 2) to (P, 1).
        batch: points (P, 2) of x and t: ``start`` (t = 0), ``left`` (x = 0) and ``right`` (x = 2π)
            at the same times, ``inside`` (the collocation points).
        beta: speed β of the convection.

    Returns:
        The loss, a scalar.
    """
    boundary = (batch["start"], batch["left"], batch["right"])
    u: Tensor = model(torch.cat(boundary))
    u_start, u_left, u_right = torch.split(u, [len(points) for points in boundary])
    initial_error = (u_start - torch.sin(batch["start"][:, :1])).square().mean()
    boundary_error = (u_left - u_right).square().mean()
    residual = convection_residual(model, batch["inside"], beta)
    total: Tensor = initial_error + boundary_error + residual.square().mean()
    return total


def convection_residual(model: nn.Module, points: Tensor, beta: float) -> Tensor:
    """Return the residual u_t + β u_x of the equation.

    Args:
        model: the network u(x, t), from (P, 2) to (P, 1).
        points: (P, 2), x and t of each point.
        beta: speed β of the convection.

    Returns:
        (P,), the residual at each point.
    """
    gradient: Tensor = torch.func.grad(lambda inputs: model(inputs).sum())(points)
    return gradient[:, 1] + beta * gradient[:, 0]


@torch.no_grad()
def relative_error(model: nn.Module, beta: float) -> float:
    """Return ‖u - û‖ / ‖u‖ in the L2 norm over the 256 x 100 grid; û is the network.

    Args:
        model: the network û(x, t), from (P, 2) to (P, 1).
        beta: speed β of the convection.
    """
    grid = match_batch(_grid(), model)
    exact = torch.sin(grid[:, :1] - beta * grid[:, 1:])
    return float((model(grid) - exact).norm() / exact.norm())


def train(
    problem: Problem,
    *,
    iterations: int = ITERATIONS,
    learning_rate: float = 1.0,
    progress: Progress = silent,
    resume: Callable[[Mapping[str, Any]], object] = lambda _parts: None,
    keep: Callable[[int, Mapping[str, Any]], None] = lambda _iterations, _parts: None,
) -> dict[str, float]:
    """Train the model by full-batch L-BFGS, with the settings of the published code.

    These are a history of 50, the strong Wolfe line search, and the tolerance 1e-7 both of the
    gradient and of a change of the loss or of the parameters.

    Args:
        problem: a convection problem. Its model is changed.
        iterations: largest number of iterations, >= 1. L-BFGS stops earlier if it has converged.
            Default: 100,000.
        learning_rate: learning rate, > 0; the paper uses 1 and also varies it. Default: 1.
        progress: receives the fraction of the work that is done and the loss. Default: no report.
        resume: receives the model, the optimizer and the number of calls of the loss, by name, and
            sets them to the state of a killed run. Default: start at the first iteration.
        keep: receives the number of iterations and the same parts every 50 iterations, and stores
            their state. Default: not stored.

    Returns:
        The final ``loss``, the number of ``iterations``, and the metrics of the problem, by name.

    Raises:
        ValueError: if ``iterations`` is below 1, or the learning rate is not finite or not > 0.
        TypeError: if ``iterations`` is not an integer or the learning rate is not a number.
        RuntimeError: if the metrics cannot be computed.
    """
    iterations = checks.integer(iterations, name="iterations", minimum=1)
    most_calls = iterations * 5 // 4
    optimizer = torch.optim.LBFGS(
        problem.model.parameters(),
        lr=checks.positive(learning_rate, name="learning_rate"),
        history_size=50,
        tolerance_grad=1e-7,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )
    (batch,) = problem.batches
    calls = _Counter()
    parts = {"model": problem.model, "optimizer": optimizer, "calls": calls}
    resume(parts)
    (group,) = optimizer.param_groups
    state = optimizer.state[group["params"][0]]

    def closure() -> Tensor:
        calls.count += 1
        optimizer.zero_grad()
        loss = problem.loss(problem.model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        progress(min(0.99, calls.count / most_calls), f"loss {loss.item():.3g}")
        return loss

    with limit_threads(problem.model):
        while (done := state.get("n_iter", 0)) < iterations and calls.count < most_calls:
            keep(done, parts)
            # a slice evaluates the loss once more than one long run does, where it starts
            calls.count -= done > 0
            group["max_iter"] = min(_SLICE, iterations - done)
            group["max_eval"] = most_calls - calls.count
            optimizer.step(closure)  # type: ignore[no-untyped-call]
            if state["n_iter"] < done + group["max_iter"]:
                break  # converged, or out of evaluations
    loss = problem.loss(problem.model, batch).item()
    metrics = evaluate_metrics(problem)
    text = ", ".join(f"{name} {value:.3g}" for name, value in metrics.items())
    progress(1.0, f"loss {loss:.3g}, {text}")
    return {"loss": loss, "iterations": state["n_iter"], **metrics}


class _Counter:
    """The number of calls of a loss, as a part of a training."""

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.count = state["count"]


def save_checkpoint(problem: Problem, path: str | os.PathLike[str]) -> None:
    """Write the state of the model to a checkpoint file, in one atomic step.

    Args:
        problem: the problem with the model.
        path: the file; an existing file is overwritten.
    """
    with atomic_write(path) as unfinished:
        torch.save({"state_dict": problem.model.state_dict()}, unfinished)


def _network(generator: torch.Generator) -> nn.Module:
    sizes = (2, 50, 50, 50, 50, 1)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layer = nn.Linear(inputs, outputs)
        for parameter in layer.parameters():  # the distribution of nn.Linear, by a generator
            nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5, generator=generator)
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def _points(collocation: int, generator: torch.Generator) -> Batch:
    collocation = checks.integer(collocation, name="collocation", minimum=1)
    x, t = _axes()
    inside = torch.cartesian_prod(x[1:], t[1:])
    if collocation > len(inside):
        raise ValueError(f"collocation must be <= {len(inside)}, got {collocation}")
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
