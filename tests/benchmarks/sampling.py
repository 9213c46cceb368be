"""Benchmark of sampling against Landscaper 1.3.1: same model, data, loss and points, in one run.

    build/venv/bin/pip install landscaper==1.3.1
    build/venv/bin/python tests/benchmarks/sampling.py

Both evaluate the same grid of 11 points along three directions, each in a separate process and with
its defaults. The time of Landscaper includes its steps from the centre; on a grid of 41 they are
four times as many. Our time is measured after the engine was chosen as for a grid of 41^4; the time
of the choice is printed separately. FLOP/s are those of the matrix products and convolutions in one
evaluation, counted by torch, divided by those of one plain matrix product in the same run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from tlp_core import Problem
from tlp_core.directions.base import Directions, as_directions
from tlp_core.model_state import number_of_parameters, preserve_model
from tlp_core.problem import mean_loss
from tlp_core.problems.pinn_convection import make_problem
from tlp_core.sampling.engine_choice import choose_engine
from tlp_core.sampling.engines import evaluator
from tlp_core.sampling.resources import keep_memory

RESOLUTION, DISTANCE = 11, 0.02


class Block(nn.Module):
    """Two convolutions with batch norm and a skip connection."""

    def __init__(self, channels):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x):
        return torch.relu(x + self.layers(x))


def classifier(model, x, classes, name):
    y = torch.randint(classes, (len(x),))
    loss = nn.functional.cross_entropy
    return Problem(model, lambda m, b: loss(m(b[0]), b[1]), [(x, y)], name=name)


def problems():
    torch.manual_seed(0)
    yield make_problem(collocation=100), "PINN, 100 collocation points"
    yield make_problem(collocation=1000), "PINN, 1000 collocation points"
    layers = (nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10))
    yield classifier(nn.Sequential(*layers), torch.randn(256, 20), 10, "mlp"), "MLP 20-64-64-10"
    convolutional = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), Block(16), Block(16), nn.AvgPool2d(2), Block(16),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip
    yield classifier(convolutional, torch.randn(32, 3, 16, 16), 10, "conv"), "small ResNet"


def random_directions(problem, n=3):
    flat = np.random.default_rng(0).standard_normal((number_of_parameters(problem.model), n))
    rows = torch.from_numpy(np.linalg.qr(flat)[0].T.copy())
    vectors = as_directions(rows, problem.model, "model")
    nan = np.full(n, np.nan)
    return Directions(vectors, nan, nan, "random", "model", 0)


def landscaper_seconds(problem, directions):
    """Return the seconds per sample of Landscaper."""
    from landscaper.compute import compute_loss_landscape

    (batch,) = problem.batches
    vectors = [list(vector.values()) for vector in directions.vectors]
    start = time.perf_counter()
    with open(os.devnull, "w") as null, redirect_stdout(null), redirect_stderr(null):
        compute_loss_landscape(
            problem.model, batch, vectors, lambda m, b: problem.loss(m, b).item(),
            steps=RESOLUTION, distance=DISTANCE, dim=3, device="cpu",
        )  # fmt: skip
    return {"seconds": (time.perf_counter() - start) / RESOLUTION**3}


def our_seconds(problem, directions):
    axis = np.linspace(-DISTANCE, DISTANCE, RESOLUTION)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    trial = np.random.default_rng(0).choice(points, 64)
    single = flops(problem)
    keep_memory()  # as tlp sample does
    start = time.perf_counter()
    choice = choose_engine(problem, directions, trial, samples=41**4)
    chosen = time.perf_counter() - start
    with evaluator(problem, directions, choice.engine) as evaluate:
        evaluate(points)
        start, rounds = time.perf_counter(), 0
        while time.perf_counter() - start < 5:
            evaluate(points)
            rounds += 1
    seconds = (time.perf_counter() - start) / (rounds * len(points))
    printed = {"engine": str(choice.engine), "report": choice.report, "chosen": chosen}
    return {"seconds": seconds, "flops": single, **printed}


class FlopCounter(TorchDispatchMode):
    """A counter of the FLOPs of matrix products and convolutions, also in derivatives."""

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        count = flop_registry.get(function._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=result)
        return result


def flops(problem):
    with FlopCounter() as counter:
        mean_loss(problem)
    return counter.total


def product_flops():
    """Return the FLOP/s of a plain matrix product on all cores."""
    one = torch.randn(1024, 1024)
    start, rounds = time.perf_counter(), 0
    while time.perf_counter() - start < 1:
        one @ one
        rounds += 1
    return 2 * 1024**3 * rounds / (time.perf_counter() - start)


def run_one(side, wanted):
    warnings.simplefilter("ignore")
    problem = next(problem for problem, name in problems() if name == wanted)
    directions = random_directions(problem)
    with preserve_model(problem.model):
        problem.model.eval()
        problem.model.requires_grad_(False)  # as sampling does
        run = landscaper_seconds if side == "landscaper" else our_seconds
        print("RESULT", json.dumps(run(problem, directions)))


def measure(side, name):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, side, name]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.rpartition("RESULT")[2])


def main():
    top = product_flops()
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, product {top / 1e9:.0f} GFLOP/s")
    for _, name in problems():
        theirs, ours = measure("landscaper", name), measure("tlp", name)
        one, other = theirs["seconds"], ours["seconds"]
        print(f"\n{name}: {ours['flops'] / 1e6:.2f} MFLOP a sample")
        print(f"  Landscaper {1 / one:8.0f} samples/s ({one * 1e3:.3f} ms)")
        print(f"  tlp_core   {1 / other:8.0f} samples/s ({other * 1e3:.3f} ms), {ours['engine']}")
        print(
            f"  ratio {one / other:.2f}; {ours['flops'] / other / top:.0%} of the product's FLOP/s"
        )
        print(f"  choosing took {ours['chosen']:.1f} s:")
        print(*(f"    {line}" for line in ours["report"]), sep="\n", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        run_one(*sys.argv[1:])
    else:
        main()
