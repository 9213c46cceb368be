"""The command ``tlp``: samples and looks at landscapes where there is no ParaView.

Results go to files; standard output has one line that a machine can read, JSON where ``--json`` is
given; messages and progress go to standard error. The exit code is 0 only on success, 3 where
sampling stopped before it was done, and 1 otherwise.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from tlp_core import __version__
from tlp_core.compare import DIAGRAM_DISTANCES, landscape_distances
from tlp_core.descriptors import describe
from tlp_core.landscape import Landscape
from tlp_core.merge_tree import MergeTree, merge_tree
from tlp_core.neighbors import GRID_RULES, grid_graph
from tlp_core.profile import Basins, landscape_profile

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
    """Sample a landscape into a store, or go on with one."""
    from tlp_core.progress import TerminalProgress
    from tlp_core.workflow import LandscapeSampler, LandscapeSettings

    settings = LandscapeSettings(
        problem=options.problem,
        arguments=options.arguments,
        checkpoint=options.checkpoint,
        number_of_directions=options.directions,
        normalization=options.normalization,
        seed=options.seed,
        resolution=options.resolution,
        distance=options.distance,
        store=options.output,
        time_budget=options.time_budget,
    )
    landscape = LandscapeSampler().sample(settings, progress=TerminalProgress("tlp sample"))
    _tell(_summary(options.output, landscape), options.json)
    return 0 if landscape.is_complete else INCOMPLETE


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


def _tree(store: str, options: argparse.Namespace) -> MergeTree:
    landscape = Landscape.open(store)
    if not landscape.is_complete:
        warnings.warn(f"{store} is not complete; missing samples count highest", stacklevel=1)
    tree = merge_tree(landscape.loss, grid_graph(landscape.shape, rule=options.rule))
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
    draft = f"{path}.part"
    with open(draft, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    os.replace(draft, path)


def _write_arrays(path: str, basins: Basins) -> None:
    draft = f"{path}.part"
    with open(draft, "wb") as file:
        np.savez(file, **vars(basins))
    os.replace(draft, path)


def _show_warning(message: Warning | str, *_place: Any, **_more: Any) -> None:
    print(f"tlp: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tlp", description="Topological landscape profiles of neural networks."
    )
    parser.add_argument("--version", action="version", version=f"tlp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_sample(commands)
    for name, run, text in (
        ("info", info, "tell what a store holds"),
        ("profile", profile, "write the basins of a landscape"),
        ("describe", describe_landscape, "tell the descriptors of a landscape"),
        ("compare", compare, "write distances between the persistence diagrams of landscapes"),
    ):
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        command.set_defaults(run=run)
        command.add_argument("--json", action="store_true", help="print one line of JSON")
        number = "+" if run is compare else None
        command.add_argument("store", nargs=number, help="the landscape, NAME.zarr")
        if run is not info:
            _add_tree(command)
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
        description="Sample a landscape into a store; the same command goes on where it stopped.",
    )
    command.set_defaults(run=sample)
    command.add_argument("problem", help="ready name, or FILE.py:FUNCTION")
    command.add_argument("-o", "--output", required=True, help="the store, NAME.zarr")
    command.add_argument("-a", "--arguments", default="", help="such as 'beta=30, seed=1'")
    command.add_argument("-c", "--checkpoint", default="", help="file of the parameters")
    command.add_argument("-n", "--directions", type=int, default=2, help="how many (2)")
    command.add_argument("-r", "--resolution", type=int, default=41, help="points on each (41)")
    command.add_argument("-d", "--distance", type=float, default=1.0, help="half-width (1)")
    command.add_argument("--normalization", default="none", help="none, model, layer or filter")
    command.add_argument("--seed", type=int, default=0, help="of the eigenvector search (0)")
    command.add_argument("--time-budget", type=float, help="seconds after which to stop")
    command.add_argument("--json", action="store_true", help="print one line of JSON")


if __name__ == "__main__":
    sys.exit(main())
