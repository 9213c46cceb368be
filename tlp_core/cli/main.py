"""The command ``tlp``: samples and looks at landscapes where there is no ParaView.

Results go to files; standard output has one line that a machine can read, JSON where ``--json`` is
given; messages and progress go to standard error. The exit code is 0 only on success, 3 where
sampling stopped before it was done, and 1 otherwise.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from tlp_core import __version__
from tlp_core.analysis.descriptors import describe
from tlp_core.analysis.distances import DIAGRAM_DISTANCES, landscape_distances
from tlp_core.atomic_files import draft_of
from tlp_core.landscape.landscape import Landscape
from tlp_core.profile import Basins, landscape_profile
from tlp_core.topology.graphs import GRID_RULES, EdgeGraph, GridGraph, grid_graph, knn_graph
from tlp_core.topology.merge_tree import MergeTree, merge_tree

if TYPE_CHECKING:
    from tlp_core.pipeline.sampler import LandscapeSettings

INCOMPLETE = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return int(options.run(options))
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as error:
        print(f"tlp {options.command}: {error}", file=sys.stderr)
        return 1


def sample(options: argparse.Namespace) -> int:
    """Sample a landscape into a store, or go on with one; coarse grids first, if there are any."""
    from tlp_core.pipeline.sampler import LandscapeSampler
    from tlp_core.progress import TerminalProgress
    from tlp_core.sampling.engines import keep_memory
    from tlp_core.sampling.partition import share

    keep_memory()
    _log_to_stderr(options.quiet)
    own = share(options.part)
    whole = _sampling_settings(options)
    sampler, landscape = LandscapeSampler(), None
    for resolution in options.resolution:
        last = resolution == options.resolution[-1]
        store = options.output if last else _coarse_store(options.output, resolution)
        settings = replace(whole, resolution=resolution, store=store)
        progress = TerminalProgress(f"tlp sample {resolution}" if not last else "tlp sample")
        try:
            landscape = sampler.sample(settings, reuse=landscape, progress=progress)
        except KeyboardInterrupt:
            print(f"tlp sample: stopped; the same command goes on from {store}", file=sys.stderr)
            return INCOMPLETE
        if own.is_first():
            _tell(_summary(store, landscape), options.json)
        if not landscape.is_complete:
            return 0 if options.part else INCOMPLETE
    return 0


def sample_training(options: argparse.Namespace) -> int:
    """Sample the landscape of every checkpoint of a training, or go on."""
    from tlp_core.landscape.series import find_checkpoints
    from tlp_core.pipeline.training_sampler import TrainingSampler, step_named
    from tlp_core.progress import TerminalProgress
    from tlp_core.sampling.engines import keep_memory
    from tlp_core.sampling.partition import share

    keep_memory()
    _log_to_stderr(options.quiet)
    if len(options.resolution) > 1:
        raise ValueError(f"a training takes one resolution, got {options.resolution}")
    resolution = options.resolution[0]
    settings = replace(_sampling_settings(options), resolution=resolution, store=options.output)
    members = find_checkpoints(options.checkpoints)
    fixed = None if options.own_directions else step_named(members, options.directions_of)
    sampler, own = TrainingSampler(), share(options.part)
    for i, member in enumerate(members):
        progress = TerminalProgress(f"tlp training: step {member.step:g}, {i + 1}/{len(members)}")
        landscape = sampler.sample(settings, member, directions_of=fixed, progress=progress)
        if own.is_first():
            store = str(sampler.store_of(settings, member, fixed))
            _tell({"step": member.step, **_summary(store, landscape)}, options.json)
    return 0


def experiment_claims(options: argparse.Namespace) -> int:
    """Run an experiment of a paper, or go on with it, and tell what it says to the claims."""
    from tlp_core.experiments import command
    from tlp_core.sampling.engines import keep_memory

    keep_memory()
    _log_to_stderr(quiet=True)
    try:
        command.run(options, tell=lambda text: print(text, file=sys.stderr))
    except KeyboardInterrupt:
        print("tlp experiment: stopped; the same command goes on", file=sys.stderr)
        return INCOMPLETE
    return 0


def directions(options: argparse.Namespace) -> int:
    """Make directions, and write them for ``tlp sample --directions-file``."""
    from tlp_core.pipeline.sampler import LandscapeSampler
    from tlp_core.progress import TerminalProgress

    progress = TerminalProgress("tlp directions")
    _, found = LandscapeSampler().directions(_settings(options), progress=progress)
    found.save(options.output)
    facts = {name: value for name, value in found.facts.items() if name != "solutions"}
    _tell(
        {
            "output": options.output,
            "directions": len(found),
            "method": found.method,
            "eigenvalues": found.eigenvalues.tolist(),
            "residuals": found.residuals.tolist(),
            **(dict(found.facts) if options.json else facts),
        },
        options.json,
    )
    return 0


def _settings(options: argparse.Namespace) -> LandscapeSettings:
    """Return the settings of problem and directions."""
    from tlp_core.pipeline.sampler import LandscapeSettings

    return LandscapeSettings(
        problem=options.problem,
        arguments=options.arguments,
        checkpoint=getattr(options, "checkpoint", ""),
        dtype=options.dtype,
        device=options.device,
        number_of_directions=options.directions,
        method=options.method,
        order=options.order,
        normalization=options.normalization,
        parameters=options.parameters,
        solutions=tuple(options.solutions),
        directions_file=getattr(options, "directions_file", ""),
        max_iterations=options.max_iterations,
        tolerance=options.tolerance,
        seed=options.seed,
    )


def _sampling_settings(options: argparse.Namespace) -> LandscapeSettings:
    """Return the settings of problem, directions and samples, but for resolution and store."""
    return replace(
        _settings(options),
        distance=options.distance,
        scattered=options.scattered,
        region=options.region,
        time_budget=options.time_budget,
        engine=options.engine,
        batch=options.batch,
        memory_limit=options.memory * 2**30,
        batch_norm=options.batch_norm,
        part=options.part,
    )


def _coarse_store(path: str, resolution: int) -> str:
    """Return the store of a coarser grid beside another: ``net.zarr`` gives ``net.r11.zarr``."""
    return f"{path.removesuffix('.zarr')}.r{resolution}.zarr"


def _log_to_stderr(quiet: bool) -> None:
    """Tell what was measured, unless it is asked not to."""
    log = logging.getLogger("tlp_core")
    log.handlers = [logging.StreamHandler()]
    log.handlers[0].setFormatter(logging.Formatter("tlp: %(message)s"))
    log.setLevel(logging.WARNING if quiet else logging.INFO)


def info(options: argparse.Namespace) -> int:
    """Tell what a store holds."""
    landscape = Landscape.open(options.store)
    summary = _summary(options.store, landscape)
    _tell({**summary, **landscape.facts} if options.json else summary, options.json)
    return 0


def profile(options: argparse.Namespace) -> int:
    """Write the basins of a landscape to a .csv, or with their polygons to an .npz file."""
    basins = landscape_profile(_tree(options.store, options)).basins
    if options.output.endswith(".csv"):
        _write_basins(options.output, basins)
    elif options.output.endswith(".npz"):
        _write_arrays(options.output, basins)
    else:
        raise ValueError(f"the output must end in .csv or .npz, got {options.output}")
    _tell({"output": options.output, "basins": len(basins)}, options.json)
    return 0


def describe_landscape(options: argparse.Namespace) -> int:
    """Tell the descriptors of a landscape, and why those that are undefined are."""
    found = describe(_tree(options.store, options))
    _tell({**found.as_dict(), "undefined": dict(found.undefined)}, options.json)
    return 0


def compare(options: argparse.Namespace) -> int:
    """Write the matrix of distances between landscapes to a .csv file."""
    trees = [_tree(store, options) for store in options.store]
    matrix = landscape_distances(trees, distance=options.distance, relative=options.relative)
    rows = [[store, *row] for store, row in zip(options.store, matrix.tolist())]
    _write_rows(options.output, [[options.distance, *options.store], *rows])
    summary = {"output": options.output, "landscapes": len(trees), "largest": matrix.max()}
    matrix_too = {"stores": options.store, "distances": matrix.tolist()}
    _tell({**summary, **matrix_too} if options.json else summary, options.json)
    return 0


def import_landscape(options: argparse.Namespace) -> int:
    """Read another program's landscape into a store."""
    from tlp_core.pipeline.exchange import read_foreign

    landscape = read_foreign(
        options.file,
        quantity=options.quantity,
        array=options.array,
        keep_axis_fault=options.keep_axis_fault,
    )
    landscape.save(options.output)
    _tell(_summary(options.output, landscape), options.json)
    return 0


def export_landscape(options: argparse.Namespace) -> int:
    """Write a landscape for other programs."""
    from tlp_core.pipeline.exchange import write_foreign

    landscape = Landscape.open(options.store)
    write_foreign(landscape, options.output)
    _tell({"output": options.output, "samples": landscape.loss.size}, options.json)
    return 0


def _tree(store: str, options: argparse.Namespace) -> MergeTree:
    landscape = Landscape.open(store)
    if not landscape.is_complete:
        warnings.warn(f"{store} is not complete; missing samples count highest", stacklevel=1)
    graph: GridGraph | EdgeGraph
    if landscape.points is None:
        graph = grid_graph(landscape.shape, rule=options.rule)
    else:
        graph = knn_graph(landscape.points)
    tree = merge_tree(landscape.loss, graph)
    return tree.simplified(options.threshold, relative=True)


def _summary(path: str, landscape: Landscape) -> dict[str, Any]:
    return {
        "store": path,
        "shape": list(landscape.shape),
        "distance": landscape.distance.tolist(),
        "evaluated": int(landscape.evaluated.sum()),
        "samples": landscape.loss.size,
        "center": landscape.center,
    }


def _tell(values: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(_without_nan(values), default=float, allow_nan=False))
    else:
        print(" ".join(f"{name}={_plain(value)}" for name, value in values.items()))


def _without_nan(value: Any) -> Any:
    """Return values that JSON can hold: what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(value) or "none"
    if isinstance(value, list):
        return "x".join(_plain(part) for part in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


_COLUMNS = (
    "parent",
    "minimum",
    "saddle",
    "birth",
    "death",
    "persistence",
    "size",
    "average_loss",
    "nesting_depth",
    "center",
)


def _write_basins(path: str, basins: Basins) -> None:
    columns = [getattr(basins, name).tolist() for name in _COLUMNS]
    rows = ([b, *row] for b, row in enumerate(zip(*columns)))
    _write_rows(path, chain([["basin", *_COLUMNS]], rows))


def _write_rows(path: str, rows: Iterable[Sequence[Any]]) -> None:
    with draft_of(path) as draft, open(draft, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def _write_arrays(path: str, basins: Basins) -> None:
    with draft_of(path) as draft, open(draft, "wb") as file:
        np.savez(file, **vars(basins))


def _show_warning(message: Warning | str, *_place: Any, **_more: Any) -> None:
    print(f"tlp: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tlp", description="Topological landscape profiles of neural networks."
    )
    parser.add_argument("--version", action="version", version=f"tlp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_sample(commands)
    _add_training(commands)
    _add_directions(commands)
    _add_experiment(commands)
    _add_import(commands)
    for name, run, text in (
        ("info", info, "tell what a store holds"),
        ("profile", profile, "write the basins of a landscape"),
        ("describe", describe_landscape, "tell the descriptors of a landscape"),
        ("compare", compare, "write distances between the persistence diagrams of landscapes"),
        ("export", export_landscape, "write a landscape for other programs"),
    ):
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        command.set_defaults(run=run)
        command.add_argument("--json", action="store_true", help="print one line of JSON")
        number = "+" if run is compare else None
        command.add_argument("store", nargs=number, help="the landscape, NAME.zarr")
        if run in (profile, describe_landscape, compare):
            _add_tree(command)
        if run is export_landscape:
            endings = "NAME.vtu, .vti, .npz or .csv"
            command.add_argument("-o", "--output", required=True, help=endings)
        if run is profile:
            command.add_argument("-o", "--output", required=True, help="NAME.csv or NAME.npz")
        if run is compare:
            _add_compare(command)
    return parser


def _add_tree(command: Any) -> None:
    command.add_argument(
        "--rule", choices=GRID_RULES, default="diagonal", help="which samples are neighbours"
    )
    command.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        help="smallest persistence that stays, a share of the range of the losses",
    )


def _add_compare(command: Any) -> None:
    command.add_argument("-o", "--output", required=True, help="the matrix, NAME.csv")
    command.add_argument("--distance", choices=DIAGRAM_DISTANCES, default="bottleneck")
    command.add_argument(
        "--relative", action="store_true", help="losses as shares of each landscape's range"
    )


def _add_sample(commands: Any) -> None:
    command = commands.add_parser(
        "sample",
        help="sample a landscape into a store",
        description="Sample a landscape into a store; the same command goes on where it stopped. "
        "Under mpiexec all ranks share the work.",
    )
    command.set_defaults(run=sample)
    _add_problem(command)
    command.add_argument("-o", "--output", required=True, help="the store, NAME.zarr")
    command.add_argument("--directions-file", default="", help="made by tlp directions, NAME.npz")
    _add_samples(
        command,
        "points along each direction (41); 11,21,41 samples coarse grids first, into "
        "NAME.r11.zarr and NAME.r21.zarr, and takes their samples over",
    )


def _add_training(commands: Any) -> None:
    command = commands.add_parser(
        "training",
        help="sample the landscapes of a training's checkpoints",
        description="Sample the landscape of every checkpoint of a training, in the directions of "
        "one of them; the same command goes on where it stopped.",
    )
    command.set_defaults(run=sample_training)
    _add_problem(command, of_checkpoint=False)
    command.add_argument(
        "--checkpoints",
        nargs="+",
        required=True,
        help="files, folders or patterns; the step is the number in a name",
    )
    command.add_argument(
        "-o",
        "--output",
        required=True,
        help="a folder; the landscapes lie in one inside of it, which other settings do not share",
    )
    directions_of = command.add_mutually_exclusive_group()
    directions_of.add_argument(
        "--directions-of", type=float, metavar="STEP", help="whose directions to take (the last)"
    )
    directions_of.add_argument(
        "--own-directions", action="store_true", help="take each checkpoint's own directions"
    )
    _add_samples(command, "points along each direction (41)")


def _add_samples(command: Any, resolution: str) -> None:
    command.add_argument("-r", "--resolution", type=_numbers, default=[41], help=resolution)
    command.add_argument("-d", "--distance", type=float, default=1.0, help="half-width (1)")
    command.add_argument(
        "--scattered", type=int, default=0, metavar="N", help="N Sobol points instead of a grid"
    )
    command.add_argument("--region", default="box", help="of scattered points: box or ball (box)")
    command.add_argument("--engine", help="single, batched or compiled; measured by default")
    command.add_argument("--batch", type=int, help="samples in one call; measured by default")
    command.add_argument("--memory", type=float, default=1.0, help="GiB that a batch may take (1)")
    command.add_argument(
        "--batch-norm", default="stored", help="stored or reestimated, statistics (stored)"
    )
    command.add_argument(
        "--part", type=_part, metavar="K/M", help="only the k-th of m parts, for job arrays"
    )
    command.add_argument("--time-budget", type=float, help="seconds after which to stop")
    command.add_argument("-q", "--quiet", action="store_true", help="do not tell what was measured")


def _add_experiment(commands: Any) -> None:
    from tlp_core.experiments.command import add_options

    command = commands.add_parser(
        "experiment",
        help="run an experiment of a paper",
        description="Train the networks of a paper's experiment, sample their landscapes, and "
        "answer its claims with numbers. The same command goes on where it stopped.",
    )
    command.set_defaults(run=experiment_claims)
    add_options(command)


def _add_directions(commands: Any) -> None:
    command = commands.add_parser(
        "directions",
        help="make directions only",
        description="Make directions and write them to a file, for tlp sample --directions-file.",
    )
    command.set_defaults(run=directions)
    _add_problem(command)
    command.add_argument("-o", "--output", required=True, help="the file, NAME.npz")


def _add_import(commands: Any) -> None:
    command = commands.add_parser(
        "import",
        help="read a landscape of another program",
        description="Read a landscape of another program into a store. Run it outside ParaView.",
    )
    command.set_defaults(run=import_landscape)
    command.add_argument("file", help="NAME.h5 (Li et al.), NAME.npz (Landscaper) or NAME.vti")
    command.add_argument("-o", "--output", required=True, help="the store, NAME.zarr")
    command.add_argument("--quantity", default="train_loss", help="dataset of an .h5 (train_loss)")
    command.add_argument("--array", default="Loss", help="point array of a .vti (Loss)")
    command.add_argument(
        "--keep-axis-fault",
        action="store_true",
        help="leave the first two axes of a Landscaper file the wrong way round",
    )
    command.add_argument("--json", action="store_true", help="print one line of JSON")


def _add_problem(command: Any, *, of_checkpoint: bool = True) -> None:
    command.add_argument("problem", help="ready name, or FILE.py:FUNCTION")
    command.add_argument("-a", "--arguments", default="", help="such as 'beta=30, seed=1'")
    if of_checkpoint:
        command.add_argument("-c", "--checkpoint", default="", help="file of the parameters")
    command.add_argument("--dtype", default="", help="float32, float64 or bfloat16; the model's")
    command.add_argument("--device", default="", help="cpu, cuda, cuda:1, mps; the model's")
    command.add_argument("-n", "--directions", type=int, default=2, help="how many (2)")
    command.add_argument(
        "--method",
        default="pyhessian",
        help="pyhessian, lanczos, random, gradient, trajectory or checkpoints (pyhessian)",
    )
    command.add_argument(
        "--order", default="magnitude", help="magnitude, algebraic or both-ends, of eigenvalues"
    )
    command.add_argument("--normalization", default="none", help="none, model, layer or filter")
    command.add_argument(
        "--parameters", default="", help="pattern of names to move, such as 'layers.3.*'"
    )
    command.add_argument(
        "--solutions", nargs="+", default=[], help="checkpoints of trajectory and checkpoints"
    )
    command.add_argument(
        "--max-iterations", type=int, default=200, help="of the eigenvector search (200)"
    )
    command.add_argument(
        "--tolerance", type=float, default=1e-4, help="of the eigenvector search (1e-4)"
    )
    command.add_argument("--seed", type=int, default=0, help="of what is random (0)")
    command.add_argument("--json", action="store_true", help="print one line of JSON")


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _part(text: str) -> tuple[int, int]:
    k, _, m = text.partition("/")
    return int(k), int(m)


if __name__ == "__main__":
    sys.exit(main())
