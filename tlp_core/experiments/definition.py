"""What an experiment is: its networks and how they are trained, its looks at them, its claims."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tlp_core.atomic_files import atomic_write
from tlp_core.choices import BatchNorm, ExperimentSize, HessianMethod, Normalization
from tlp_core.experiments.claims import Claim
from tlp_core.experiments.rows import Row
from tlp_core.model_state import limit_threads
from tlp_core.problem import Problem, match_batch
from tlp_core.progress import Progress


class Training:
    """Takes the checkpoints of one network, and what was measured at each."""

    def __init__(self, folder: Path, steps: Sequence[int]) -> None:
        """Keep everything in a folder, which is there already.

        Args:
            folder: where files go.
            steps: at which the training shall save, increasing.
        """
        self.steps = steps
        self._folder, self._numbers = folder, dict[str, dict[str, float]]()

    def save(self, problem: Problem, step: int, numbers: Mapping[str, float]) -> None:
        """Keep the network as it is at a step, and numbers measured there."""
        torch.save(problem.model.state_dict(), self._folder / f"step_{step:06}.pt")
        self._numbers[str(step)] = {name: float(value) for name, value in numbers.items()}

    def finish(self, curves: Mapping[str, Sequence[float]]) -> None:
        """Write what was measured, which also says that the training is complete."""
        with atomic_write(self._folder / "numbers.json") as draft:
            draft.write_text(json.dumps({"steps": self._numbers, "curves": dict(curves)}))


Curves = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Network:
    """One network of an experiment.

    Attributes:
        parameters: what tells it from the others, such as ``{"beta": 10, "seed": 1}``.
        make: returns its problem, untrained.
        train: trains it, saves the checkpoints of its steps, and returns curves of what was
            measured on the way.
        steps: of the checkpoints, increasing.
    """

    parameters: Mapping[str, float | str]
    make: Callable[[], Problem]
    train: Callable[[Problem, Training, Progress], Curves]
    steps: Sequence[int]

    @property
    def key(self) -> str:
        """A name for files, such as ``beta10_seed1``."""
        return "_".join(f"{name}{value}" for name, value in self.parameters.items())


@dataclass(frozen=True)
class Look:
    """How landscapes are taken.

    Attributes:
        name: in tables, such as ``3D``.
        n: number of directions, the top eigenvectors of the Hessian.
        resolution: points along each.
        distance: half-width.
        normalization: of the directions.
        method: of the eigenvectors.
        batch_norm: statistics to evaluate with.
        parameters: pattern of the names to move.
        last_only: look at the last checkpoint of each network only.
        trace: whether the trace of the Hessian is taken, too.
    """

    name: str
    n: int
    resolution: int
    distance: float
    normalization: Normalization = "none"
    method: HessianMethod = "lanczos"
    batch_norm: BatchNorm = "stored"
    parameters: str | None = None
    last_only: bool = False
    trace: bool = False

    def steps_of(self, network: Network) -> Sequence[int]:
        """Return the steps of a network's checkpoints that are looked at."""
        return network.steps[-1:] if self.last_only else network.steps


@dataclass(frozen=True)
class Experiment:
    """An experiment of a paper.

    Attributes:
        title: one line.
        networks: the networks of a size of the experiment.
        looks: how their landscapes are taken, likewise.
        claims: answers the paper's claims from the table of descriptors and the folder.
        rows: parameter of the rows of its small multiples.
        columns: parameter of the columns.
        figures: columns of the table to draw over each other, across and up.
        series: columns to draw over the steps of the training, one above the other.
        data: environment variable that names a folder of data; empty if there is none.
    """

    title: str
    networks: Callable[[ExperimentSize], list[Network]]
    looks: Callable[[ExperimentSize], list[Look]]
    claims: Callable[[list[Row], Path], list[Claim]]
    rows: str
    columns: str
    figures: tuple[tuple[str, str], ...]
    series: tuple[str, ...] = ()
    data: str = ""


def train_epochs(
    problem: Problem,
    training: Training,
    progress: Progress,
    *,
    batches: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> Curves:
    """Train as many epochs as the last step says, and return the mean loss of each.

    Checkpoint e is the network after e epochs.
    """
    epochs, means = training.steps[-1], list[float]()
    with limit_threads(problem.model):
        for epoch in range(epochs + 1):
            if epoch in training.steps:
                training.save(problem, epoch, {"training loss": means[-1] if means else np.nan})
            if epoch == epochs:
                break
            problem.model.train()
            losses = []
            for batch in batches:
                optimizer.zero_grad()
                loss = problem.loss(problem.model, match_batch(batch, problem.model))
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(loss.item())
            schedule.step()
            means.append(float(np.mean(losses)))
            progress((epoch + 1) / epochs, f"loss {means[-1]:.2g}")
    return {"training loss": means}


def shuffled(examples: Dataset[Any], size: int, seed: int) -> DataLoader[Any]:
    """Return batches of a training set, in another order in each epoch."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(examples, batch_size=size, shuffle=True, generator=generator)
