"""Running an experiment: train its networks, sample their landscapes, describe, answer its claims.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

from tlp_core import checks
from tlp_core.descriptors import describe
from tlp_core.drafts import draft_of
from tlp_core.experiments import Size
from tlp_core.experiments.claims import Claim, Row, table_of
from tlp_core.experiments.experiment import Experiment, Look, Network, Training
from tlp_core.experiments.results import tree_of
from tlp_core.hessian import hessian_directions, hessian_trace
from tlp_core.landscape import Landscape
from tlp_core.problem import Problem, converted
from tlp_core.problems import load_checkpoint
from tlp_core.progress import Progress, silent, time_left
from tlp_core.sampling import sample_grid, sampling_seconds
from tlp_core.solutions import random_directions


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
