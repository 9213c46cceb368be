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
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlp_core import __version__
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
    basins = landscape_profile(_tree(options)).basins
    if options.output.endswith(".csv"):
        _write_basins(options.output, basins)
    elif options.output.endswith(".npz"):
        _write_arrays(options.output, basins)
    else:
        raise ValueError(f"the output must end in .csv or .npz, got {options.output}")
    _tell({"output": options.output, "basins": len(basins)}, options.json)
    return 0


def describe_landscape(options: argparse.Namespace) -> int:
    """Tell the descriptors of a landscape."""
    _tell(describe(_tree(options)).as_dict(), options.json)
    return 0


def _tree(options: argparse.Namespace) -> MergeTree:
    landscape = Landscape.open(options.store)
    if not landscape.is_complete:
        warnings.warn(
            f"{options.store} is not complete; missing samples count highest", stacklevel=1
        )
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
        print(json.dumps(values, default=float))
    else:
        print(" ".join(f"{name}={_plain(value)}" for name, value in values.items()))


def _plain(value: Any) -> str:
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
    draft = f"{path}.part"
    with open(draft, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["basin", *_COLUMNS])
        columns = [getattr(basins, name).tolist() for name in _COLUMNS]
        rows.writerows([b, *row] for b, row in enumerate(zip(*columns)))
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
    ):
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        command.set_defaults(run=run)
        command.add_argument("store", help="the landscape, NAME.zarr")
        command.add_argument("--json", action="store_true", help="print one line of JSON")
        if run is not info:
            command.add_argument(
                "--rule",
                choices=GRID_RULES,
                default="diagonal",
                help="which samples are neighbours",
            )
            command.add_argument(
                "--threshold",
                type=float,
                default=0.0,
                help="smallest persistence that stays, a share of the range of the losses",
            )
        if run is profile:
            command.add_argument("-o", "--output", required=True, help="NAME.csv or NAME.npz")
    return parser


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
