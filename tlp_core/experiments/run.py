"""Run of an experiment: training, sampling of landscapes, descriptors, tests of the claims.

All results are in one folder. Each landscape adds a row to the table of rows as soon as it is
there, with everything that claims and charts need. A run reuses the rows that exist, so an
interrupted run is resumed, also on another machine where networks and landscapes are gone:

    experiment.json                               title, size, looks and data of the experiment
    rows.csv                                      a row for each landscape; grows
    networks/beta10_seed1/step_000500.pt          checkpoints; numbers.json has measured values
    landscapes/beta10_seed1_step500_3D_r41.zarr   landscapes, which ParaView's reader opens
    landscapes.csv                                table of the landscapes, for small multiples
    descriptors.csv                               rows of all landscapes of a complete run
    dates.csv                                     steps of changes, if the experiment dates them
    claims.csv, claims.md                         tests of the papers' claims
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlp_core import checks
from tlp_core.analysis.descriptors import describe
from tlp_core.atomic_files import atomic_write, unfinished_folder
from tlp_core.choices import ExperimentSize
from tlp_core.directions.hessian.eigenvectors import eigenvector_directions
from tlp_core.directions.hessian.trace import hessian_trace
from tlp_core.directions.random import random_directions
from tlp_core.experiments.claims import Claim, correct_claims, markdown_table
from tlp_core.experiments.definition import Experiment, Look, Network, Training
from tlp_core.experiments.results import tree_of
from tlp_core.experiments.rows import Row, add_row, group_rows, read_rows, write_table
from tlp_core.landscape.landscape import Landscape
from tlp_core.model_state import evaluation_state
from tlp_core.problem import NonFiniteLossError, Problem, convert_problem, mean_loss
from tlp_core.problems.weights import load_checkpoint
from tlp_core.progress import Progress, format_seconds, silent
from tlp_core.sampling.chunks import sample_plan
from tlp_core.sampling.grid import estimate_grid_seconds, grid_plan
from tlp_core.sampling.plan import RISE
from tlp_core.sampling.rise import with_distances
from tlp_core.sampling.settings import RunSettings

_SLOW = 5.0
"""Seconds of an evaluation above which the cost of a run is estimated from that evaluation."""

ROWS = "rows.csv"
"""File of the rows of all landscapes."""

TRACE_NAMES = ("hessian_trace", "hessian_trace_error")
"""Names of the trace of the Hessian and of its standard error, in metadata and in the table."""


def describe_work(networks: Sequence[Network], looks: Sequence[Look]) -> str:
    """Return a sentence with the number of networks, landscapes and samples.

    Args:
        networks: the networks.
        looks: the looks at each of them.
    """
    counts = {look: sum(len(look.steps_of(network)) for network in networks) for look in looks}
    landscapes = ", ".join(
        f"{count:,} {look.name} of {look.number_of_samples:,} samples"
        for look, count in counts.items()
    )
    samples = sum(count * look.number_of_samples for look, count in counts.items())
    number = f"{len(networks)} network{'s' if len(networks) > 1 else ''}"
    return f"{number}, {samples:,} samples; landscapes: {landscapes}"


def sampling_time(networks: Sequence[Network], looks: Sequence[Look]) -> float:
    """Return an estimate of the time of all samples on this machine, in seconds.

    A few samples of the first, the middle and the last network are timed. Networks whose parameters
    have the same shapes are assumed to be equally fast.

    Args:
        networks: the networks, one or more.
        looks: the looks at each of them.
    """
    timed = [networks[0], networks[len(networks) // 2], networks[-1]]
    seconds: dict[tuple[torch.Size, ...], float] = {}
    shapes = []
    for network in timed:
        problem = network.make()
        shapes.append(tuple(parameter.shape for parameter in problem.model.parameters()))
        if shapes[-1] not in seconds:
            seconds[shapes[-1]] = _network_seconds(problem, network, looks)
    return sum(seconds[shape] for shape in shapes) / len(timed) * len(networks)


def describe_sampling_time(networks: Sequence[Network], looks: Sequence[Look]) -> str:
    """Return a sentence with the estimate of :func:`sampling_time`."""
    return (
        f"sampling takes about {format_seconds(sampling_time(networks, looks))} here, estimated "
        "from a few samples; training and eigenvectors take additional time"
    )


def _network_seconds(problem: Problem, network: Network, looks: Sequence[Look]) -> float:
    """Return an estimate of the time of all samples of one network, in seconds."""
    once = _evaluation_seconds(problem)
    return sum(
        len(look.steps_of(network)) * look.number_of_samples * _sample_seconds(problem, look, once)
        for look in looks
    )


def _evaluation_seconds(problem: Problem) -> float:
    """Return the time of one evaluation of the loss, in seconds."""
    with evaluation_state(problem.model), torch.no_grad():
        start = time.perf_counter()
        mean_loss(problem)
        return time.perf_counter() - start


def _sample_seconds(problem: Problem, look: Look, once: float) -> float:
    """Return an estimate of the time of one sample, in seconds.

    Args:
        problem: the problem.
        look: how it is sampled.
        once: time of one evaluation. A slow one is not evaluated again: sampling has no faster way
            for a network that is as large.
    """
    if once > _SLOW:
        return once * (2 if look.evaluation.batch_norm == "reestimated" else 1)
    directions = random_directions(
        problem, look.directions.n, parameters=look.directions.parameters
    )
    samples = replace(look.samples, distance=1.0, rise=None)  # no sample is slower than another
    total = estimate_grid_seconds(problem, directions, samples, look.evaluation)
    return total / look.number_of_samples


def select_networks(
    experiment: Experiment,
    size: ExperimentSize,
    only: Mapping[str, str] | None = None,
    *,
    device: str = "",
) -> list[Network]:
    """Return the networks of an experiment with given parameters.

    Args:
        experiment: the experiment.
        size: size of the experiment.
        only: names and values of parameters; several values are separated by commas. Default: None,
            all networks.
        device: device of the networks, as torch names it. Default: empty, the CPU.

    Returns:
        The networks; their problems are on the device.

    Raises:
        ValueError: if no network has such a parameter or value.
    """
    networks = experiment.networks(size)
    selected = {name: values.split(",") for name, values in (only or {}).items()}
    for name, values in selected.items():
        checks.choice(name, networks[0].parameters, name="parameter of only")
        existing = {str(network.parameters[name]) for network in networks}
        for value in values:
            checks.choice(value, sorted(existing), name=name)
    return [
        replace(network, make=partial(_make_on_device, network, device))
        for network in networks
        if all(str(network.parameters[name]) in values for name, values in selected.items())
    ]


def _make_on_device(network: Network, device: str) -> Problem:
    return convert_problem(network.make(), device=device)


def select_looks(
    experiment: Experiment, size: ExperimentSize, resolutions: Mapping[str, int] | None = None
) -> list[Look]:
    """Return the looks of an experiment, with given resolutions.

    Args:
        experiment: the experiment.
        size: size of the experiment.
        resolutions: odd resolutions >= 3, by name of the look. Default: None, those of the
            experiment.

    Raises:
        ValueError: if a look does not exist, or a resolution is even or below 3.
        TypeError: if a resolution is not an integer.
    """
    looks, given = experiment.looks(size), dict(resolutions or {})
    for name in given:
        checks.choice(name, [look.name for look in looks], name="look")
    return [
        replace(look, samples=replace(look.samples, resolution=given[look.name]))
        if look.name in given
        else look
        for look in looks
    ]


def select_part(looks: Sequence[Look], names: Sequence[str]) -> list[Look]:
    """Return the looks of some names; all for no name.

    Raises:
        ValueError: if a look does not exist.
    """
    for name in names:
        checks.choice(name, [look.name for look in looks], name="look")
    return [look for look in looks if not names or look.name in names]


def run_experiment(
    experiment: Experiment,
    folder: Path,
    *,
    size: ExperimentSize = "full",
    only: Mapping[str, str] | None = None,
    only_looks: Sequence[str] = (),
    resolutions: Mapping[str, int] | None = None,
    device: str = "",
    report: Callable[[str], None] = print,
    progress: Callable[[str], Progress] = lambda _text: silent,
) -> list[Claim]:
    """Run or resume an experiment, and return its claims with their results.

    A network whose loss is not finite, because its training diverged, has rows without descriptors.

    Args:
        experiment: the experiment.
        folder: folder of the results; it is created if it does not exist.
        size: ``quick`` takes minutes, ``medium`` about an hour, ``full`` is the published size.
            Default: ``full``.
        only: parameters of the networks to train and sample, such as ``{"seed": "0,1"}``. Such a
            run writes no tables and tests no claims; a later run without ``only`` does so for all
            networks. Several runs can use the same folder, also at the same time. Default: None,
            all networks.
        only_looks: names of the looks to sample, likewise. Default: all.
        resolutions: number of points along each direction, by name of the look, such as
            ``{"4D": 41}``. Default: None, those of the experiment.
        device: device as torch names it, such as ``cuda``. Default: empty, the CPU.
        report: function that receives lines of text; the first is the cost. Default: ``print``.
        progress: function that returns a progress report for a title. Default: no report.

    Returns:
        The claims with their results; empty if ``only`` or ``only_looks`` is given.

    Raises:
        ValueError: if no network has the parameters of ``only``, a look or the device does not
            exist, a resolution is even or below 3, a file in the folder is damaged, or the folder
            contains an experiment of another title, size or data folder.
        TypeError: if a resolution is not an integer.
        NotADirectoryError: if the folder is a file.
    """
    networks = select_networks(experiment, size, only, device=device)
    looks = select_part(select_looks(experiment, size, resolutions), only_looks)
    networks[0].make()  # raises if data or device are unusable, before a file is written
    _reserve_folder(folder, experiment, size)
    report(f"{experiment.title}: {describe_work(networks, looks)}")
    known = _known_rows(folder)
    if size == "full" and not known:
        report(describe_sampling_time(networks, looks))
    rows: list[Row] = []
    start = time.monotonic()
    for done, network in enumerate(networks, start=1):
        for name, look, step in _landscapes_of(network, looks):
            if name not in known:
                checkpoints = _train_or_reuse(network, folder, progress(f"training {network.key}"))
                text = f"{network.key}, step {step}, {look.name}"
                known[name] = _row(network, look, step, checkpoints, folder, progress(text))
                add_row(folder / ROWS, known[name])
            rows.append(known[name])
        elapsed = time.monotonic() - start
        remaining = elapsed / done * (len(networks) - done)
        position = f"{done}/{len(networks)} {network.key}"
        report(f"{position}: {format_seconds(elapsed)}, about {format_seconds(remaining)} left")
    if only or only_looks:
        return []
    return write_results(experiment, folder, rows)


def gather_rows(
    experiment: Experiment,
    folder: Path,
    *,
    size: ExperimentSize = "full",
    only: Mapping[str, str] | None = None,
    resolutions: Mapping[str, int] | None = None,
    report: Callable[[str], None] = print,
) -> list[Row]:
    """Return the rows that exist, without training or sampling, for :func:`write_results`.

    A look at a network counts if all its steps have rows.

    Args:
        experiment: the experiment.
        folder: folder of the results, with a table of rows.
        size: as in :func:`run_experiment`.
        only: as in :func:`run_experiment`.
        resolutions: as in :func:`run_experiment`.
        report: function that receives a line with the number of rows. Default: ``print``.

    Raises:
        ValueError: as :func:`run_experiment`, or if no row exists.
    """
    networks = select_networks(experiment, size, only)
    looks = select_looks(experiment, size, resolutions)
    if not (known := _known_rows(folder)):
        raise ValueError(f"{folder / ROWS} must have rows of this experiment, got none")
    _reserve_folder(folder, experiment, size)
    rows, wanted = [], 0
    for network in networks:
        for look in looks:  # half a training has no last step, and changes that are not its own
            names = [name for name, _, _ in _landscapes_of(network, [look])]
            wanted += len(names)
            rows += [known[name] for name in names] if known.keys() >= set(names) else []
    if not rows:
        raise ValueError(f"{folder / ROWS} must have all rows of a network and look, got none")
    report(f"{experiment.title}: rows of {len(rows)} of {wanted} landscapes")
    return rows


def write_results(experiment: Experiment, folder: Path, rows: Sequence[Row]) -> list[Claim]:
    """Write the tables of an experiment, and return its claims with their results.

    Args:
        experiment: the experiment.
        folder: folder of the results.
        rows: rows of the landscapes.
    """
    claims = correct_claims(experiment.claims(rows))
    write_rows(experiment, folder, rows)
    write_claims(folder, claims)
    return claims


def write_rows(experiment: Experiment, folder: Path, rows: Sequence[Row]) -> None:
    """Write ``descriptors.csv`` and ``landscapes.csv``, and ``dates.csv`` if there are dates.

    Args:
        experiment: the experiment.
        folder: folder of the results.
        rows: rows of the landscapes.
    """
    write_table(folder / "descriptors.csv", rows)
    columns = ("landscape", *_parameters(experiment), "step", "look")
    sampled = [row for row in rows if "number_of_samples" in row]
    write_table(folder / "landscapes.csv", [{c: row[c] for c in columns} for row in sampled])
    if dates := date_rows(experiment, rows):
        write_table(folder / "dates.csv", dates)


def date_rows(experiment: Experiment, rows: Sequence[Row]) -> list[Row]:
    """Return a row for each change of a series in the training of a network, with its step.

    Args:
        experiment: the experiment.
        rows: rows of the landscapes.

    Returns:
        Rows with the columns ``look``, the parameters of the network, ``series`` and ``step``;
        none where a series does not change.
    """
    names = _parameters(experiment)
    return [
        {
            "look": look,
            **dict(zip(names, network)),
            "series": column.replace("_", " "),
            "step": step,
        }
        for (look,), found in group_rows(rows, ["look"]).items()
        for column, steps in experiment.dates(found).items()
        for network, step in steps.items()
        if step == step
    ]


def _parameters(experiment: Experiment) -> list[str]:
    """Return the names of the parameters that identify a network."""
    (network, *_) = experiment.networks("full")
    return list(network.parameters)


def write_claims(folder: Path, claims: Sequence[Claim]) -> None:
    """Write claims as ``claims.csv`` and as ``claims.md``.

    Args:
        folder: folder of the results.
        claims: the claims, with corrected p-values.
    """
    write_table(folder / "claims.csv", [claim.as_row() for claim in claims])
    with atomic_write(folder / "claims.md") as temporary:
        temporary.write_text(markdown_table(claims), encoding="utf-8")


def _reserve_folder(folder: Path, experiment: Experiment, size: ExperimentSize) -> None:
    """Write which experiment a folder belongs to, or check it.

    Otherwise another experiment could reuse the results in the folder.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"the output must be a folder, but {folder} is a file")
    expected: dict[str, Any] = {"experiment": experiment.title, "size": size}
    expected["looks"] = {look.name: _settings_of(look) for look in experiment.looks(size)}
    if experiment.data:
        expected[experiment.data] = os.environ.get(experiment.data, "")
    path = folder / "experiment.json"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(expected), encoding="utf-8")
    elif (found := _read_json(path)) != expected:
        raise ValueError(
            f"the folder {folder} must belong to {_differing(expected, found)}, got a folder of "
            f"{_differing(found, expected)}; use another folder"
        )


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one record has and another one has not, nested as they are."""
    found = {}
    for name, value in one.items():
        if value != other.get(name):
            inside = other.get(name)
            if isinstance(value, Mapping) and isinstance(inside, Mapping):
                value = _differing(value, inside)
            found[name] = value
    return found


def _settings_of(look: Look) -> dict[str, Any]:
    """Return what the rows of a look depend on, apart from its resolution, as JSON values.

    What is not set is left out, so that settings of later versions change nothing.
    """
    settings = {
        "directions": asdict(look.directions),
        "samples": {k: v for k, v in asdict(look.samples).items() if k != "resolution"},
        "batch_norm": look.evaluation.batch_norm,
    }
    as_json: dict[str, Any] = json.loads(json.dumps(settings))
    for stage in ("directions", "samples"):
        as_json[stage] = {k: v for k, v in as_json[stage].items() if v is not None}
    return as_json


def _train_or_reuse(network: Network, folder: Path, progress: Progress) -> Path:
    """Return the folder of the checkpoints of a network, and train the network if it is missing.

    A training writes to a temporary folder, which is renamed at the end. Other runs therefore never
    read or overwrite an incomplete training. The folder of a killed run is taken over.
    """
    path = folder / "networks" / network.key
    if not path.exists():
        with unfinished_folder(path) as temporary:
            training = Training(temporary, network.steps)
            training.finish(network.train(network.make(), training, progress))
            with suppress(OSError):  # another run has finished first, with the same result
                temporary.rename(path)
    return path


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged; remove its folder, and run the experiment again")
    return content


def _known_rows(folder: Path) -> dict[str, Row]:
    """Return the rows that exist by the name of their landscape."""
    rows = read_rows(folder / ROWS)
    if not all("landscape" in row for row in rows):
        raise ValueError(f"{folder / ROWS} must have a column 'landscape', and has none")
    return {row["landscape"]: row for row in rows}


def _landscapes_of(network: Network, looks: Sequence[Look]) -> Iterator[tuple[str, Look, int]]:
    """Yield the name, the look and the step of each landscape of a network."""
    for look in looks:
        for step in look.steps_of(network):
            yield _store_name(network, look, step), look, step


def _store_name(network: Network, look: Look, step: int) -> str:
    return f"landscapes/{network.key}_step{step}_{look.name}_r{look.samples.resolution}.zarr"


def _row(
    network: Network, look: Look, step: int, checkpoints: Path, folder: Path, progress: Progress
) -> Row:
    numbers = _read_json(checkpoints / "numbers.json").get("steps", {})
    if str(step) not in numbers:
        raise ValueError(
            f"{checkpoints} has no step {step}; remove this folder, and run the experiment again"
        )
    name = _store_name(network, look, step)
    checkpoint = checkpoints / f"step_{step:06}.pt"
    place = {"landscape": name, **network.parameters, "step": step, "look": look.name}
    known = {**place, **numbers[str(step)]}
    try:
        landscape = _landscape(network, look, checkpoint, folder / name, progress)
    except NonFiniteLossError:  # a training that diverged has no landscape
        return known
    tree = tree_of(landscape)
    traces = {key: value for key, value in landscape.provenance.items() if key in TRACE_NAMES}
    return {
        **known,
        **landscape.provenance.get("metrics", {}),
        "top_eigenvalue": landscape.provenance["eigenvalues"][0],
        **traces,
        **{f"half-width {i}": d for i, d in enumerate(landscape.distance.tolist(), start=1)},
        **describe(tree).as_dict(),
        **look.measure(landscape, tree),
        **(look.measure_network(_problem_at(network, checkpoint)) if look.measure_network else {}),
    }


def _problem_at(network: Network, checkpoint: Path) -> Problem:
    problem = network.make()
    load_checkpoint(problem, checkpoint)
    return problem


def _landscape(
    network: Network, look: Look, checkpoint: Path, store: Path, progress: Progress
) -> Landscape:
    if store.exists():
        existing = Landscape.open(store)
        if existing.is_complete and _was_sampled_with(existing, look):
            return existing
    store.parent.mkdir(parents=True, exist_ok=True)
    problem = _problem_at(network, checkpoint)
    directions = eigenvector_directions(problem, look.directions, progress)
    samples = with_distances(problem, directions, look.samples, look.evaluation.batch_norm)
    if look.trace_vectors:
        trace = hessian_trace(
            problem,
            parameters=look.directions.parameters,
            max_vectors=look.trace_vectors,
            progress=progress,
        )
        provenance = dict(zip(TRACE_NAMES, (trace.value, trace.standard_error)))
        directions = replace(directions, provenance={**directions.provenance, **provenance})
    return sample_plan(
        problem,
        directions,
        grid_plan(samples, look.directions.n),
        look.evaluation,
        RunSettings(),
        store=store,
        progress=progress,
    )


def _was_sampled_with(landscape: Landscape, look: Look) -> bool:
    """Return whether a landscape has the settings of a look."""
    directions = look.directions
    expected = {
        "method": directions.method,
        "normalization": directions.normalization,
        "parameters": directions.parameters or "*",
        "seed": directions.seed,
        "batch_norm": look.evaluation.batch_norm,
    }
    samples = look.samples
    if samples.rise is None:
        has_distance = np.array_equal(landscape.distance, samples.half_widths(directions.n))
    else:
        has_distance = landscape.provenance.get(RISE) == samples.rise
    return (
        landscape.shape == samples.shape(directions.n)
        and has_distance
        and all(landscape.provenance.get(name) == value for name, value in expected.items())
    )
