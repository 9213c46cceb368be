"""Peaks of memory of sampling and of eigenvectors, in copies of what moves, beside those promised.

    python tests/benchmarks/memory.py [DIRECTIONS]

Each peak is that of a process of its own, beyond the model, whose 38 million parameters are two
tensors. The loss is quadratic along two vectors; the gradient on a batch takes half a copy more, as
one of two tensors of a model does.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from torch import nn

from tlp_core import Directions, Problem, hessian_directions, random_directions, sample_grid

HALF = 19_000_000
BOX = {"resolution": 3, "distance": 0.1}


class Net(nn.Module):
    """A loss that needs no memory of its own beyond gradients."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)

        def parts() -> list[torch.Tensor]:
            return [torch.randn(HALF, generator=draw) for _ in range(2)]

        self.moving, self.constant = nn.ParameterList(map(nn.Parameter, parts())), parts()

    def forward(self) -> torch.Tensor:
        """Return the loss."""
        pairs = zip(self.moving, self.constant)
        first, second = (torch.dot(moving, constant) / HALF**0.5 for moving, constant in pairs)
        return 10 * first.square() + 3 * second.square() + first


def status(key: str) -> int:
    """Return a number of bytes of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(key))


def measure(kind: str, n: int, file: str) -> None:
    """Print the peak of one kind of work; the directions of ``stored`` are those of ``random``."""
    model = Net()
    problem = Problem(model, lambda m, b: m() * b.sum(), [torch.ones(1)] * 2, name="wide")
    problem.loss(model, torch.ones(1)).backward()
    model.zero_grad()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = status("VmRSS")
    if kind == "random":
        made = random_directions(problem, n, normalization="model")
        sample_grid(problem, made, **BOX)
    elif kind == "stored":
        sample_grid(problem, Directions.load(file, model), **BOX)
    else:
        hessian_directions(problem, n, method="lanczos", product=kind, tolerance=0.1)
    print((status("VmHWM") - before) / (4 * 2 * HALF))
    if kind == "random":
        made.save(file)


def main(n: int) -> None:
    """Print a table."""
    promised = {
        "random": 2,
        "stored": n + 1.5,
        "autograd": n + 12,
        "finite-difference": n + 12,
    }
    print(f"copies of what moves, {n} directions: measured, promised")
    with tempfile.TemporaryDirectory() as folder:
        for kind, copies in promised.items():
            file = f"{folder}/directions.safetensors"
            command = [sys.executable, "-W", "ignore", __file__, str(n), kind, file]
            # the C library gives tensors back as soon as they are freed
            environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "16000000"}
            done = subprocess.run(
                command, env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            print(f"{kind:18} {float(done.stdout.split()[-1]):5.1f} {copies:5.1f}", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    count = int(sys.argv[1]) if sys.argv[1:] else 2
    measure(sys.argv[2], count, sys.argv[3]) if sys.argv[2:] else main(count)
