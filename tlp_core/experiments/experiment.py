"""What every experiment does: train networks, sample their landscapes, describe, answer claims.

Everything goes into one folder and is found there again, so a run that was stopped goes on:

    experiment.json                               which experiment it is, and of which size
    networks/beta10_seed1/step_000500.pt          checkpoints, and numbers.json with measures
    landscapes/beta10_seed1_step500_3D_r41.zarr   stores, which ParaView's reader opens
    landscapes.csv                                a table of the stores, for small multiples
    descriptors.csv, claims.csv, claims.md        numbers, and what they say to the papers' claims
"""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from tlp_core import checks
from tlp_core.descriptors import describe
from tlp_core.directions import Normalization
from tlp_core.drafts import draft_of
from tlp_core.evaluation import BatchNorm
from tlp_core.experiments.claims import Claim, Row, table_of
from tlp_core.hessian import HessianMethod, hessian_directions, hessian_trace
from tlp_core.landscape import Landscape
from tlp_core.merge_tree import MergeTree, merge_tree
from tlp_core.neighbors import GridRule, grid_graph
from tlp_core.parameters import fitting_threads
from tlp_core.problem import Problem, converted, matched
from tlp_core.problems import load_checkpoint
from tlp_core.progress import Progress, silent, time_left
from tlp_core.sampling import sample_grid, sampling_seconds
from tlp_core.solutions import random_directions

Size = Literal["quick", "medium", "full"]
"""Minutes, about an hour, and as published, on two cores."""

_PERSISTENCE = 1e-3
"""Share of the range of the losses below which basins are not counted: rounding makes such."""


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
        with draft_of(self._folder / "numbers.json") as draft:
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
    """

    title: str
    networks: Callable[[Size], list[Network]]
    looks: Callable[[Size], list[Look]]
    claims: Callable[[list[Row], Path], list[Claim]]
    rows: str
    columns: str
    figures: tuple[tuple[str, str], ...]
    series: tuple[str, ...] = ()


def cost(networks: Sequence[Network], looks: Sequence[Look]) -> str:
    """Return what networks take: how many landscapes and samples."""
    numbers = {
        look: sum(1 if look.last_only else len(network.steps) for network in networks)
        for look in looks
    }
    each = ", ".join(
        f"{number:,} {look.name} of {look.resolution**look.n:,} samples"
        for look, number in numbers.items()
    )
    samples = sum(number * look.resolution**look.n for look, number in numbers.items())
    return f"{len(networks)} networks, {samples:,} samples; landscapes: {each}"


def sampling_time(networks: Sequence[Network], looks: Sequence[Look]) -> float:
    """Return how many seconds all samples would take here, by a few that are taken now.

    Three networks are looked at, the first, the middle and the last; those of equal shapes are
    taken to be equally fast.
    """
    tried = [networks[0], networks[len(networks) // 2], networks[-1]]
    known: dict[tuple[torch.Size, ...], float] = {}
    shapes = []
    for network in tried:
        problem = network.make()
        shapes.append(tuple(parameter.shape for parameter in problem.model.parameters()))
        if shapes[-1] not in known:
            known[shapes[-1]] = _seconds(problem, network, looks)
    return sum(known[shape] for shape in shapes) / len(tried) * len(networks)


def _seconds(problem: Problem, network: Network, looks: Sequence[Look]) -> float:
    """Return how long the landscapes of one network would take."""
    return sum(
        (1 if look.last_only else len(network.steps))
        * sampling_seconds(
            problem,
            random_directions(problem, look.n, parameters=look.parameters),
            resolution=look.resolution,
            distance=look.distance,
            batch_norm=look.batch_norm,
        )
        for look in looks
    )


def chosen_networks(
    experiment: Experiment,
    size: Size,
    only: Mapping[str, str] | None = None,
    *,
    device: str = "",
) -> list[Network]:
    """Return the networks of an experiment that have given parameters, by default all.

    Args:
        experiment: which one.
        size: of it.
        only: names and values of the parameters, several with commas between.
        device: on which the networks shall be.

    Raises:
        ValueError: if none has them.
    """
    every = experiment.networks(size)
    chosen = [network for network in every if _fits(network, only or {})]
    if not chosen:
        wanted = ", ".join(f"{name} = {value}" for name, value in (only or {}).items())
        there = "; ".join(
            f"{name}: {', '.join(dict.fromkeys(str(n.parameters[name]) for n in every))}"
            for name in every[0].parameters
        )
        raise ValueError(f"only must choose a network, and none has {wanted}; there is {there}")
    return [replace(network, make=partial(_made, network, device)) for network in chosen]


def _fits(network: Network, only: Mapping[str, str]) -> bool:
    return all(
        str(network.parameters.get(name)) in values.split(",") for name, values in only.items()
    )


def _made(network: Network, device: str) -> Problem:
    return converted(network.make(), device=device)


def chosen_looks(
    experiment: Experiment, size: Size, resolutions: Mapping[str, int] | None = None
) -> list[Look]:
    """Return the looks of an experiment, some of them with another resolution.

    Raises:
        ValueError: if there is no such look, or a resolution is even or too small.
    """
    looks, wanted = experiment.looks(size), dict(resolutions or {})
    for name in wanted:
        checks.choice(name, [look.name for look in looks], name="look")
    return [
        replace(look, resolution=checks.resolution(wanted.get(look.name, look.resolution)))
        for look in looks
    ]


def run_experiment(
    experiment: Experiment,
    folder: Path,
    *,
    size: Size = "full",
    only: Mapping[str, str] | None = None,
    resolutions: Mapping[str, int] | None = None,
    device: str = "",
    tell: Callable[[str], None] = print,
    progress: Callable[[str], Progress] = lambda _text: silent,
) -> list[Claim]:
    """Run an experiment, or go on with it, and return the answers to its claims.

    Args:
        experiment: which one.
        folder: where everything goes.
        size: ``quick`` takes minutes, ``medium`` about an hour, ``full`` is as published.
        only: parameters, such as ``{"seed": "0,1"}``, of the networks to train and sample. Several
            such runs, one after another or at once, share a folder; a run of all then finds
            what they made.
        resolutions: points along each direction for some of the looks, such as ``{"4D": 41}``.
        device: as torch names it, such as ``cuda``; empty for the processor.
        tell: called with lines of text, first the cost.
        progress: makes a progress for a text.

    Raises:
        ValueError: if no network has the parameters of ``only``, there is no such look or device,
            or the folder holds another experiment or another size of it.
    """
    networks = chosen_networks(experiment, size, only, device=device)
    looks = chosen_looks(experiment, size, resolutions)
    _claim_folder(folder, experiment, size)
    tell(f"{experiment.title}: {cost(networks, looks)}")
    rows: list[Row] = []
    start = time.monotonic()
    for done, network in enumerate(networks, start=1):
        trained = _trained(network, folder, progress(f"training {network.key}"))
        for look in looks:
            rows += _rows(network, look, trained, folder, progress)
        spent = time.monotonic() - start
        left = spent / done * (len(networks) - done)
        part = f"{done}/{len(networks)} {network.key}"
        tell(f"{part}: {time_left(spent)}, about {time_left(left)} left")
    _write_table(folder / "descriptors.csv", rows)
    columns = ("landscape", *networks[0].parameters, "step", "look")
    _write_table(folder / "landscapes.csv", [{c: row[c] for c in columns} for row in rows])
    claims = experiment.claims(rows, folder)
    _write_table(folder / "claims.csv", [asdict(claim) for claim in claims])
    with draft_of(folder / "claims.md") as draft:
        draft.write_text(table_of(claims), encoding="utf-8")
    return claims


def train_epochs(
    problem: Problem,
    training: Training,
    progress: Progress,
    *,
    batches: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> Curves:
    """Train as many epochs as the last step says, keep checkpoints, and return all losses."""
    epochs, losses = training.steps[-1], list[float]()
    with fitting_threads(problem.model):
        for epoch in range(epochs + 1):
            if epoch in training.steps:
                training.save(problem, epoch, {"training loss": losses[-1] if losses else np.nan})
            problem.model.train()
            for batch in batches if epoch < epochs else ():
                optimizer.zero_grad()
                loss = problem.loss(problem.model, matched(batch, problem.model))
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.append(loss.item())
            schedule.step()
            progress(epoch / epochs, f"loss {losses[-1]:.2g}")
    return {"training loss": losses}


def shuffled(examples: Dataset[Any], size: int, seed: int) -> DataLoader[Any]:
    """Return batches of a training set, in another order in each epoch."""
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(examples, batch_size=size, shuffle=True, generator=generator)


def tree_of(landscape: Landscape, rule: GridRule = "diagonal") -> MergeTree:
    """Return the merge tree of a landscape without the basins that rounding makes."""
    tree = merge_tree(landscape.loss, grid_graph(landscape.shape, rule=rule))
    return tree.simplified(_PERSISTENCE, relative=True)


def trees_by(
    rows: Sequence[Row], folder: Path, *names: str
) -> dict[tuple[Any, ...], list[MergeTree]]:
    """Return the merge trees of the landscapes of a table, by the values of some columns."""
    trees: dict[tuple[Any, ...], list[MergeTree]] = {}
    for row in rows:
        place = tuple(row[name] for name in names)
        trees.setdefault(place, []).append(tree_of(Landscape.open(folder / row["landscape"])))
    return trees


def series_by(
    rows: Sequence[Row], column: str, *names: str
) -> dict[tuple[Any, ...], tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Return steps and a column over them, by the values of some other columns."""
    series: dict[tuple[Any, ...], list[tuple[float, float]]] = {}
    for row in rows:
        place = tuple(row[name] for name in names)
        series.setdefault(place, []).append((float(row["step"]), float(row[column])))
    ordered = {place: np.array(sorted(points)) for place, points in series.items()}
    return {place: (points[:, 0], points[:, 1]) for place, points in ordered.items()}


def _claim_folder(folder: Path, experiment: Experiment, size: Size) -> None:
    """Mark a folder as that of an experiment, whose files another one would take for its own."""
    mark, wanted = folder / "experiment.json", {"experiment": experiment.title, "size": size}
    if mark.exists() and (there := json.loads(mark.read_text(encoding="utf-8"))) != wanted:
        raise ValueError(
            f"the folder must be that of {experiment.title!r} in size {size}, and {folder} holds "
            f"{there['experiment']!r} in size {there['size']}; take another one"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with draft_of(mark) as draft:
        draft.write_text(json.dumps(wanted), encoding="utf-8")


def _trained(network: Network, folder: Path, progress: Progress) -> Path:
    """Return the folder of a network's checkpoints, trained now where it is not complete."""
    place = folder / "networks" / network.key
    if not (place / "numbers.json").exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        training = Training(place, network.steps)
        training.finish(network.train(network.make(), training, progress))
    return place


def _rows(
    network: Network,
    look: Look,
    trained: Path,
    folder: Path,
    progress: Callable[[str], Progress],
) -> Iterator[Row]:
    measured = json.loads((trained / "numbers.json").read_text(encoding="utf-8"))["steps"]
    for step in network.steps[-1:] if look.last_only else network.steps:
        name = f"landscapes/{network.key}_step{step}_{look.name}_r{look.resolution}.zarr"
        text = f"{network.key}, step {step}, {look.name}"
        checkpoint = trained / f"step_{step:06}.pt"
        landscape = _landscape(network, look, checkpoint, folder / name, progress(text))
        yield {
            "landscape": name,
            **network.parameters,
            "step": step,
            "look": look.name,
            **measured[str(step)],
            **landscape.facts.get("metrics", {}),
            "top_eigenvalue": landscape.facts["eigenvalues"][0],
            **({"hessian_trace": landscape.facts["hessian_trace"]} if look.trace else {}),
            **describe(tree_of(landscape)).as_dict(),
        }


def _landscape(
    network: Network, look: Look, checkpoint: Path, store: Path, progress: Progress
) -> Landscape:
    if store.exists() and (there := Landscape.open(store)).is_complete:
        return there
    store.parent.mkdir(parents=True, exist_ok=True)
    problem = network.make()
    load_checkpoint(problem, checkpoint)
    directions = hessian_directions(
        problem,
        look.n,
        method=look.method,
        normalization=look.normalization,
        parameters=look.parameters,
    )
    if look.trace:
        trace = hessian_trace(problem, parameters=look.parameters).value
        directions = replace(directions, facts={**directions.facts, "hessian_trace": trace})
    return sample_grid(
        problem,
        directions,
        resolution=look.resolution,
        distance=look.distance,
        batch_norm=look.batch_norm,
        store=store,
        progress=progress,
    )


def _write_table(path: Path, rows: Sequence[Row]) -> None:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with draft_of(path) as draft, open(draft, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
