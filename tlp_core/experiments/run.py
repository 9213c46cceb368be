"""Running an experiment: train its networks, sample their landscapes, describe, answer its claims.

Everything goes into one folder and is found there again, so a run that was stopped goes on:

    experiment.json                               which experiment it is, and of which size
    networks/beta10_seed1/step_000500.pt          checkpoints, and numbers.json with measures
    landscapes/beta10_seed1_step500_3D_r41.zarr   stores, which ParaView's reader opens
    landscapes.csv                                a table of the stores, for small multiples
    descriptors.csv, claims.csv, claims.md        numbers, and what they say to the papers' claims
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch

from tlp_core import checks
from tlp_core.analysis.descriptors import describe
from tlp_core.atomic_files import atomic_write
from tlp_core.choices import ExperimentSize
from tlp_core.directions.hessian.eigenvectors import hessian_directions
from tlp_core.directions.hessian.trace import hessian_trace
from tlp_core.directions.random import random_directions
from tlp_core.experiments.claims import Claim, table_of
from tlp_core.experiments.definition import Experiment, Look, Network, Training
from tlp_core.experiments.results import tree_of
from tlp_core.experiments.rows import Row, write_table
from tlp_core.landscape.landscape import Landscape
from tlp_core.problem import Problem, convert_problem
from tlp_core.problems.weights import load_checkpoint
from tlp_core.progress import Progress, format_seconds, silent
from tlp_core.sampling.grid import sample_grid, sampling_seconds

TRACE_FACTS = ("hessian_trace", "hessian_trace_error")
"""The trace of the Hessian and its standard error, in a landscape's facts and in the table."""


def cost(networks: Sequence[Network], looks: Sequence[Look]) -> str:
    """Return what networks take: how many landscapes and samples."""
    numbers = {look: sum(len(look.steps_of(network)) for network in networks) for look in looks}
    each = ", ".join(
        f"{number:,} {look.name} of {look.resolution**look.n:,} samples"
        for look, number in numbers.items()
    )
    samples = sum(number * look.resolution**look.n for look, number in numbers.items())
    count = f"{len(networks)} network{'s' if len(networks) > 1 else ''}"
    return f"{count}, {samples:,} samples; landscapes: {each}"


def sampling_time(networks: Sequence[Network], looks: Sequence[Look]) -> float:
    """Return how many seconds all samples would take here, by a few that are taken now.

    Three networks are looked at, the first, the middle and the last; those of equal shapes are
    taken to be equally fast.
    """
    tried = [networks[0], networks[len(networks) // 2], networks[-1]]
    known: dict[tuple[torch.ExperimentSize, ...], float] = {}
    shapes = []
    for network in tried:
        problem = network.make()
        shapes.append(tuple(parameter.shape for parameter in problem.model.parameters()))
        if shapes[-1] not in known:
            known[shapes[-1]] = _seconds(problem, network, looks)
    return sum(known[shape] for shape in shapes) / len(tried) * len(networks)


def told_time(networks: Sequence[Network], looks: Sequence[Look]) -> str:
    """Return a sentence on :func:`sampling_time`."""
    return (
        f"sampling takes about {format_seconds(sampling_time(networks, looks))} here, by a few samples "
        "taken now; training and eigenvectors come on top"
    )


def _seconds(problem: Problem, network: Network, looks: Sequence[Look]) -> float:
    """Return how long the landscapes of one network would take."""
    return sum(
        len(look.steps_of(network))
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
    size: ExperimentSize,
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
        ValueError: for a parameter or a value that no network has.
    """
    every = experiment.networks(size)
    wanted = {name: values.split(",") for name, values in (only or {}).items()}
    for name, values in wanted.items():
        checks.choice(name, every[0].parameters, name="parameter of only")
        there = {str(network.parameters[name]) for network in every}
        for value in values:
            checks.choice(value, sorted(there), name=name)
    return [
        replace(network, make=partial(_made, network, device))
        for network in every
        if all(str(network.parameters[name]) in values for name, values in wanted.items())
    ]


def _made(network: Network, device: str) -> Problem:
    return convert_problem(network.make(), device=device)


def chosen_looks(
    experiment: Experiment, size: ExperimentSize, resolutions: Mapping[str, int] | None = None
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
    size: ExperimentSize = "full",
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
        only: parameters, such as ``{"seed": "0,1"}``, of the networks to train and sample, and
            nothing else: tables and answers are those of all networks, by a run without. Several
            such runs, one after another or at once, share a folder.
        resolutions: points along each direction for some of the looks, such as ``{"4D": 41}``.
        device: as torch names it, such as ``cuda``; empty for the processor.
        tell: called with lines of text, first the cost.
        progress: makes a progress for a text.

    Raises:
        ValueError: if no network has the parameters of ``only``, there is no such look or device,
            or the folder holds another experiment, another size of it, or one with other data.
        NotADirectoryError: if the folder is a file.
    """
    networks = chosen_networks(experiment, size, only, device=device)
    looks = chosen_looks(experiment, size, resolutions)
    networks[0].make()  # what is wrong with data or device is told before anything is written
    _claim_folder(folder, experiment, size)
    tell(f"{experiment.title}: {cost(networks, looks)}")
    if size == "full" and not (folder / "landscapes").exists():
        tell(told_time(networks, looks))
    rows: list[Row] = []
    start = time.monotonic()
    for done, network in enumerate(networks, start=1):
        trained = _trained(network, folder, progress(f"training {network.key}"))
        for look in looks:
            rows += _rows(network, look, trained, folder, progress)
        spent = time.monotonic() - start
        left = spent / done * (len(networks) - done)
        part = f"{done}/{len(networks)} {network.key}"
        tell(f"{part}: {format_seconds(spent)}, about {format_seconds(left)} left")
    if only:
        return []
    write_table(folder / "descriptors.csv", rows)
    columns = ("landscape", *networks[0].parameters, "step", "look")
    write_table(folder / "landscapes.csv", [{c: row[c] for c in columns} for row in rows])
    claims = experiment.claims(rows, folder)
    write_table(folder / "claims.csv", [asdict(claim) for claim in claims])
    with atomic_write(folder / "claims.md") as draft:
        draft.write_text(table_of(claims), encoding="utf-8")
    return claims


def _claim_folder(folder: Path, experiment: Experiment, size: ExperimentSize) -> None:
    """Mark a folder as that of an experiment, whose files another one would take for its own."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"the output must be a folder, and {folder} is a file")
    wanted = {"experiment": experiment.title, "size": size}
    if experiment.data:
        wanted[experiment.data] = os.environ.get(experiment.data, "")
    mark = folder / "experiment.json"
    if not mark.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(mark) as draft:
            draft.write_text(json.dumps(wanted), encoding="utf-8")
    elif (there := _read(mark)) != wanted:
        raise ValueError(f"the folder {folder} holds {there}, wanted {wanted}; take another one")


def _trained(network: Network, folder: Path, progress: Progress) -> Path:
    """Return the folder of a network's checkpoints, trained now where it is not there.

    A training has its own folder until it is done, so that others, at once or later, neither see
    nor disturb it.
    """
    place = folder / "networks" / network.key
    if not place.exists():
        draft = place.with_name(f".{network.key}.{uuid4().hex[:8]}")
        draft.mkdir(parents=True)
        try:
            training = Training(draft, network.steps)
            training.finish(network.train(network.make(), training, progress))
            with suppress(OSError):  # another one was faster, with the same result
                draft.rename(place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return place


def _read(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged; remove its folder, and it will be made again")
    return content


def _rows(
    network: Network,
    look: Look,
    trained: Path,
    folder: Path,
    progress: Callable[[str], Progress],
) -> Iterator[Row]:
    measured = _read(trained / "numbers.json").get("steps", {})
    for step in look.steps_of(network):
        if str(step) not in measured:
            raise ValueError(f"{trained} lacks step {step}; remove it, and it will be made again")
        name = f"landscapes/{network.key}_step{step}_{look.name}_r{look.resolution}.zarr"
        text = f"{network.key}, step {step}, {look.name}"
        checkpoint = trained / f"step_{step:06}.pt"
        landscape = _landscape(network, look, checkpoint, folder / name, progress(text))
        traces = {key: value for key, value in landscape.facts.items() if key in TRACE_FACTS}
        yield {
            "landscape": name,
            **network.parameters,
            "step": step,
            "look": look.name,
            **measured[str(step)],
            **landscape.facts.get("metrics", {}),
            "top_eigenvalue": landscape.facts["eigenvalues"][0],
            **traces,
            **describe(tree_of(landscape)).as_dict(),
        }


def _landscape(
    network: Network, look: Look, checkpoint: Path, store: Path, progress: Progress
) -> Landscape:
    if store.exists():
        there = Landscape.open(store)
        as_wanted = there.facts.get("normalization") == look.normalization and np.allclose(
            there.distance, look.distance
        )
        if there.is_complete and as_wanted:
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
        progress=progress,
    )
    if look.trace:
        trace = hessian_trace(problem, parameters=look.parameters, progress=progress)
        facts = dict(zip(TRACE_FACTS, (trace.value, trace.standard_error)))
        directions = replace(directions, facts={**directions.facts, **facts})
    return sample_grid(
        problem,
        directions,
        resolution=look.resolution,
        distance=look.distance,
        batch_norm=look.batch_norm,
        store=store,
        progress=progress,
    )
