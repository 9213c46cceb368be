"""Definition of an experiment: its networks and their training, its looks and its claims."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tlp_core.atomic_files import atomic_write
from tlp_core.choices import ExperimentSize
from tlp_core.directions.settings import DirectionSettings
from tlp_core.experiments.claims import Claim
from tlp_core.experiments.rows import Row
from tlp_core.landscape.landscape import Landscape
from tlp_core.model_state import limit_threads
from tlp_core.problem import Problem, match_batch
from tlp_core.progress import Progress
from tlp_core.sampling.settings import EvaluationSettings, GridSettings
from tlp_core.topology.merge_tree import MergeTree

_KEEP_SECONDS = 20.0
"""Time between two states of a training: a killed run loses so much at most."""

_STATE = "training.pt"
"""File of the state from which a killed training is resumed."""


class Training:
    """Writer of the checkpoints of one network and of the numbers that belong to each.

    It also stores the state of the training, so that a killed run is resumed, with the same result
    as that of an undisturbed run.
    """

    def __init__(self, folder: Path, steps: Sequence[int]) -> None:
        """Start to record a training.

        Args:
            folder: existing folder for the files.
            steps: steps at which the training must call :meth:`save`, increasing.
        """
        self.steps = steps
        self._folder, self._numbers = folder, dict[str, dict[str, float]]()
        self._kept = time.monotonic()

    def resume(self, parts: Mapping[str, Any]) -> tuple[int, list[float]]:
        """Set the parts of a training to the state of a killed run, if there is one.

        Args:
            parts: the model, the optimizer and everything else that changes during the training,
                by name; each has ``state_dict`` and ``load_state_dict``.

        Returns:
            The next step, and the curve up to it; 0 and an empty list at the start.
        """
        path = self._folder / _STATE
        if not path.exists():
            return 0, []
        state = torch.load(path, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state["parts"][name])
        self._numbers = state["numbers"]
        return state["step"], state["curve"]

    def keep(self, step: int, curve: Sequence[float], parts: Mapping[str, Any]) -> None:
        """Write the state before a step, at most every 20 seconds; arguments as :meth:`resume`.

        Args:
            step: the step that comes next.
            curve: the values up to it.
            parts: the parts of the training.
        """
        if time.monotonic() - self._kept < _KEEP_SECONDS:
            return
        state = {
            "step": step,
            "curve": list(curve),
            "numbers": self._numbers,
            "parts": {name: part.state_dict() for name, part in parts.items()},
        }
        with atomic_write(self._folder / _STATE) as temporary:
            torch.save(state, temporary)
        self._kept = time.monotonic()

    def save(self, problem: Problem, step: int, numbers: Mapping[str, float]) -> None:
        """Write a checkpoint of the model, and record numbers such as the loss.

        Args:
            problem: the problem with the model.
            step: the current step.
            numbers: measured values at this step, by name.
        """
        torch.save(problem.model.state_dict(), self._folder / f"step_{step:06}.pt")
        self._numbers[str(step)] = {name: float(value) for name, value in numbers.items()}

    def finish(self, curves: Mapping[str, Sequence[float]]) -> None:
        """Write all recorded numbers to ``numbers.json``, which marks the training as complete.

        Args:
            curves: values that were measured throughout the training, by name.
        """
        with atomic_write(self._folder / "numbers.json") as temporary:
            temporary.write_text(json.dumps({"steps": self._numbers, "curves": dict(curves)}))
        (self._folder / _STATE).unlink(missing_ok=True)


class GeneratorState:
    """The state of a random generator, as a part of a training."""

    def __init__(self, generator: torch.Generator) -> None:
        """Use the state of a generator."""
        self._generator = generator

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the state."""
        return {"state": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Set the state."""
        self._generator.set_state(state["state"])


Curves = Mapping[str, Sequence[float]]
"""Values that were measured throughout a training, by name."""


Dates = Mapping[str, Mapping[tuple[Any, ...], float]]
"""Steps of changes by column of the table, and by the parameters of a network."""


@dataclass(frozen=True)
class Network:
    """One network of an experiment.

    Attributes:
        parameters: values that identify the network, such as ``{"beta": 10, "seed": 1}``.
        make: function that returns its problem, with the untrained model.
        train: function that trains the model, saves the checkpoints, and returns curves.
        steps: steps of the checkpoints, increasing.
    """

    parameters: Mapping[str, float | str]
    make: Callable[[], Problem]
    train: Callable[[Problem, Training, Progress], Curves]
    steps: Sequence[int]

    @property
    def key(self) -> str:
        """Name of the network in file names, such as ``beta10_seed1``."""
        return "_".join(f"{name}{value}" for name, value in self.parameters.items())


FIRST, LAST = (0,), (-1,)
"""Steps of a look at the first, or the last, checkpoint only."""


@dataclass(frozen=True)
class Look:
    """Settings with which the landscapes of an experiment are sampled.

    Attributes:
        name: name of the look in tables, such as ``3D``.
        directions: settings of the directions, Hessian eigenvectors.
        samples: settings of the grid.
        evaluation: settings of the evaluation. Default: the fastest engine.
        steps: places of the sampled checkpoints among those of a network, such as -1 for the last.
            Default: all checkpoints.
        trace_vectors: largest number of random vectors for an estimate of the trace of the Hessian.
            Default: 0, no estimate.
        measure: function of a landscape and its merge tree that returns further columns of the
            table of rows. Default: none.
        measure_network: function of the problem at a checkpoint that returns further columns, such
            as those of other methods to compare with. Default: none.
    """

    name: str
    directions: DirectionSettings
    samples: GridSettings
    evaluation: EvaluationSettings = EvaluationSettings()
    steps: tuple[int, ...] | None = None
    trace_vectors: int = 0
    measure: Callable[[Landscape, MergeTree], Row] = lambda _landscape, _tree: {}
    measure_network: Callable[[Problem], Row] | None = None

    @property
    def number_of_samples(self) -> int:
        """N, the number of samples of each landscape."""
        return int(self.samples.resolution**self.directions.n)

    def steps_of(self, network: Network) -> Sequence[int]:
        """Return the steps of the checkpoints of a network whose landscapes are sampled."""
        return network.steps if self.steps is None else [network.steps[i] for i in self.steps]


@dataclass(frozen=True)
class Experiment:
    """An experiment of a paper.

    Attributes:
        title: title in one line.
        networks: function that returns the networks for a size of the experiment.
        looks: function that returns the looks for a size of the experiment.
        claims: function that tests the claims of the paper, given the table of descriptors.
        rows: name of the parameter that defines the rows of the small multiples.
        columns: name of the parameter that defines the columns of the small multiples.
        figures: pairs of columns of the table, (x, y), each drawn as one chart.
        series: columns of the table that are drawn over the training steps, one chart below the
            other. Default: none.
        dates: function of the rows of one look that returns the steps to mark in these charts, by
            column and by the parameters of a network. Default: none.
        charts: functions that draw further charts of the table, by the name of the file. Default:
            none.
        data: environment variable with the path of the data folder. Default: empty, no data.
    """

    title: str
    networks: Callable[[ExperimentSize], list[Network]]
    looks: Callable[[ExperimentSize], list[Look]]
    claims: Callable[[Sequence[Row]], list[Claim]]
    rows: str
    columns: str
    figures: tuple[tuple[str, str], ...]
    series: tuple[str, ...] = ()
    dates: Callable[[Sequence[Row]], Dates] = lambda _rows: {}
    charts: Mapping[str, Callable[[Sequence[Row], Path], object]] = field(default_factory=dict)
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
    """Train a network, where a step is an epoch. Checkpoint e is the network after e epochs.

    Args:
        problem: the problem. Its model is changed.
        training: writer of the checkpoints; its last step is the number of epochs.
        progress: receives the fraction of the epochs that are done and the loss.
        batches: batches of one epoch; it is iterated once per epoch.
        optimizer: optimizer of the parameters of the model.
        schedule: schedule of the learning rate, advanced once per epoch.

    Returns:
        The curve ``training loss``: the mean loss of each epoch.
    """
    epochs = training.steps[-1]
    parts: dict[str, Any] = {
        "model": problem.model,
        "optimizer": optimizer,
        "schedule": schedule,
    }
    if isinstance(batches, DataLoader) and batches.generator is not None:
        parts["order"] = GeneratorState(batches.generator)
    start, means = training.resume(parts)
    with limit_threads(problem.model):
        for epoch in range(start, epochs + 1):
            training.keep(epoch, means, parts)
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


def shuffled_batches(examples: Dataset[Any], size: int, seed: int) -> DataLoader[Any]:
    """Return the batches of a training set, shuffled again in each epoch.

    Args:
        examples: the training set.
        size: number of examples in a batch.
        seed: random seed of the shuffles.
    """
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(examples, batch_size=size, shuffle=True, generator=generator)
