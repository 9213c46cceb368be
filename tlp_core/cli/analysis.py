"""The commands ``profile``, ``plot``, ``report``, ``describe`` and ``compare``."""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path

import numpy as np

from tlp_core import checks
from tlp_core.analysis.change_points import MINIMUM_POINTS, find_transitions
from tlp_core.analysis.descriptors import describe
from tlp_core.analysis.distances import landscape_distances
from tlp_core.analysis.tree_settings import RATE
from tlp_core.atomic_files import atomic_write, write_npz
from tlp_core.choices import DIAGRAM_DISTANCES, PANELS, PROFILE_WIDTHS
from tlp_core.cli.options import (
    Parsers,
    add_command,
    add_json,
    add_output,
    add_tree,
    tree_settings,
)
from tlp_core.cli.output import print_result, write_rows
from tlp_core.landscape.landscape import Landscape
from tlp_core.landscape.series import LANDSCAPE_ENDING, landscape_paths
from tlp_core.landscape.table import arrange, find_runs, read_series
from tlp_core.pictures import (
    Pictured,
    draw_landscapes,
    draw_series,
    require_picture,
    write_picture,
)
from tlp_core.profile import Basins, landscape_profile
from tlp_core.report import write_report
from tlp_core.topology.merge_tree import MergeTree

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
"""Fields of a basin that go into a .csv file."""


def add_commands(commands: Parsers) -> None:
    """Add the commands to the parser of ``tlp``."""
    _add_profile(commands)
    _add_plot(commands)
    _add_report(commands)
    _add_describe(commands)
    _add_compare(commands)


def write_profile(options: argparse.Namespace) -> int:
    """Write the basins of a landscape to a .csv file, or with their polygons to an .npz file."""
    basins = landscape_profile(_tree(options.store, options)).basins
    if options.output.endswith(".csv"):
        _write_basins(options.output, basins)
    elif options.output.endswith(".npz"):
        _write_arrays(options.output, basins)
    else:
        raise ValueError(f"the output must end in .csv or .npz, got {options.output}")
    print_result({"output": options.output, "basins": len(basins)}, as_json=options.json)
    return 0


def write_plot(options: argparse.Namespace) -> int:
    """Draw landscapes side by side, or those of a table in rows and columns."""
    require_picture(options.output)
    if options.series:
        return _write_series(options)
    cells = _cells(options)
    figure = draw_landscapes(
        cells,
        panels=options.panels,
        logarithmic=options.logarithmic,
        width=options.width,
    )
    write_picture(figure, options.output)
    count = sum(each is not None for row in cells for each in row)
    print_result({"output": options.output, "landscapes": count}, as_json=options.json)
    return 0


def _write_series(options: argparse.Namespace) -> int:
    """Draw columns of a table over its steps, with the changes of level."""
    if len(options.places) != 1 or not options.places[0].endswith(".csv"):
        raise ValueError(f"--series needs one .csv table, got {' '.join(options.places)}")
    every = read_series(options.places[0])
    for name in options.series:
        checks.choice(name, every, name="series")
    chosen = {name: every[name] for name in options.series}
    changes = {
        name: [change.step for change in find_transitions(one.values, one.steps)]
        for name, one in chosen.items()
        if np.isfinite(one.values).sum() >= MINIMUM_POINTS
    }
    first = next(iter(chosen.values()))
    values = {name: one.values for name, one in chosen.items()}
    figure = draw_series(first.steps, values, changes, logarithmic=options.logarithmic)
    write_picture(figure, options.output)
    print_result({"output": options.output, "series": len(chosen)}, as_json=options.json)
    return 0


def _cells(options: argparse.Namespace) -> list[list[Pictured | None]]:
    """Return the landscapes of a table by its parameters, or side by side without parameters."""
    if not (options.rows or options.columns):
        if any(place.endswith(".csv") for place in options.places):
            raise ValueError("a .csv table needs --rows, --columns or both, got neither")
        paths = landscape_paths(options.places)
        return [[_pictured(p, p.name.removesuffix(LANDSCAPE_ENDING), options) for p in paths]]
    table = arrange(find_runs(options.places), options.rows, options.columns)
    return [
        [
            _pictured(run.path, table.heading(row, column), options)
            if (run := table.cells.get((row, column)))
            else None
            for column in table.columns[1]
        ]
        for row in table.rows[1]
    ]


def _pictured(path: Path, heading: str, options: argparse.Namespace) -> Pictured:
    settings = tree_settings(options)
    landscape = Landscape.open(path).of_loss(settings.loss)
    tree = settings.tree(landscape)
    noise = settings.noise(landscape, tree)
    faint = None if noise is None else noise.of_basins(tree) > RATE
    return Pictured(heading, landscape, tree, faint)


def write_page(options: argparse.Namespace) -> int:
    """Write a page about the landscapes of a training."""
    steps = write_report(
        options.places,
        options.output,
        settings=tree_settings(options),
        table=options.table,
    )
    print_result({"output": options.output, "steps": steps}, as_json=options.json)
    return 0


def print_descriptors(options: argparse.Namespace) -> int:
    """Print the descriptors of a landscape, with the reason for each that is undefined."""
    settings = tree_settings(options)
    landscape = Landscape.open(options.store).of_loss(settings.loss)
    tree = settings.tree(landscape)
    found = describe(settings.measured(tree))
    numbers: dict[str, float | str] = dict(found.as_dict())
    if settings.logarithmic:  # persistences and depths are in another unit than losses
        levels = tree.levels
        numbers |= {"minimum_loss": float(levels.min()), "maximum_loss": float(levels.max())}
        numbers["persistence_unit"] = "log10 of the loss"
    if (noise := settings.noise(landscape, tree)) is not None:
        numbers["number_of_significant_minima"] = int((noise.q_value <= RATE).sum())
    print_result({**numbers, "undefined": dict(found.undefined)}, as_json=options.json)
    return 0


def write_distances(options: argparse.Namespace) -> int:
    """Write the matrix of distances between landscapes to a .csv file."""
    settings = tree_settings(options)
    trees = [settings.measured(_tree(store, options)) for store in options.store]
    matrix = landscape_distances(trees, distance=options.distance, relative=options.relative)
    rows = [[store, *row] for store, row in zip(options.store, matrix.tolist())]
    write_rows(options.output, [[options.distance, *options.store], *rows])
    summary = {"output": options.output, "landscapes": len(trees), "largest": matrix.max()}
    full = {**summary, "stores": options.store, "distances": matrix.tolist()}
    print_result(full if options.json else summary, as_json=options.json)
    return 0


def _tree(store: str, options: argparse.Namespace) -> MergeTree:
    settings = tree_settings(options)
    return settings.tree(Landscape.open(store).of_loss(settings.loss))


def _write_basins(path: str, basins: Basins) -> None:
    columns = [getattr(basins, name).tolist() for name in _COLUMNS]
    rows = ([b, *row] for b, row in enumerate(zip(*columns)))
    write_rows(path, chain([["basin", *_COLUMNS]], rows))


def _write_arrays(path: str, basins: Basins) -> None:
    with atomic_write(path) as temporary:
        write_npz(temporary, vars(basins))


def _add_profile(commands: Parsers) -> None:
    command = add_command(commands, "profile", write_profile, "write the basins of a landscape")
    add_json(command)
    command.add_argument("store", help="the landscape, NAME.zarr")
    add_tree(command)
    add_output(command, "NAME.csv or NAME.npz")


def _add_plot(commands: Parsers) -> None:
    command = add_command(commands, "plot", write_plot, "draw profiles, also as vector graphics")
    add_json(command)
    command.add_argument(
        "places", nargs="+", help="stores, folders of them and patterns, or a .csv table"
    )
    add_tree(command)
    add_output(command, "the picture, NAME.svg, NAME.pdf or NAME.png")
    command.add_argument(
        "--panels",
        nargs="+",
        choices=PANELS,
        default=["profile"],
        help="what is drawn of each landscape, one below the other (default: profile)",
    )
    command.add_argument(
        "--series",
        nargs="+",
        metavar="COLUMN",
        help="columns of a .csv table, such as descriptors.csv of a recorder, over its steps; "
        "dashed lines are changes of level (p <= 0.01)",
    )
    command.add_argument("--rows", help="parameter of the rows of a table of landscapes")
    command.add_argument("--columns", help="parameter of its columns")
    command.add_argument(
        "--logarithmic",
        action="store_true",
        help="draw logarithmic axes and colours of the losses; of --series, logarithmic steps",
    )
    command.add_argument(
        "--width",
        choices=PROFILE_WIDTHS,
        default="samples",
        help="width of the basins (default: samples)",
    )


def _add_report(commands: Parsers) -> None:
    command = add_command(
        commands, "report", write_page, "write a page about the landscapes of a training"
    )
    add_json(command)
    command.add_argument(
        "places", nargs="+", help="landscapes of its steps: stores, folders of them and patterns"
    )
    add_tree(command)
    add_output(command, "the page, NAME.html, which needs no server and no net")
    command.add_argument(
        "--table",
        help="a .csv file with a column 'step' and numbers of the training, such as its losses "
        "(default: descriptors.csv in a folder of landscapes)",
    )


def _add_describe(commands: Parsers) -> None:
    command = add_command(
        commands, "describe", print_descriptors, "print the descriptors of a landscape"
    )
    add_json(command)
    command.add_argument("store", help="the landscape, NAME.zarr")
    add_tree(command)


def _add_compare(commands: Parsers) -> None:
    command = add_command(
        commands,
        "compare",
        write_distances,
        "write distances between the persistence diagrams of landscapes",
    )
    add_json(command)
    command.add_argument("store", nargs="+", help="the landscapes, NAME.zarr")
    add_tree(command)
    add_output(command, "the matrix, NAME.csv")
    command.add_argument(
        "--distance",
        choices=DIAGRAM_DISTANCES,
        default="bottleneck",
        help="distance between diagrams (default: bottleneck)",
    )
    command.add_argument(
        "--relative",
        action="store_true",
        help="measure losses as fractions of each landscape's range",
    )
