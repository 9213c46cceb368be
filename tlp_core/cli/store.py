"""The commands ``info``, ``import`` and ``export``."""

from __future__ import annotations

import argparse

from tlp_core.choices import SURFACE_QUANTITIES
from tlp_core.cli.options import Parsers, add_command, add_json, add_output
from tlp_core.cli.output import print_result, summarize
from tlp_core.landscape.landscape import Landscape
from tlp_core.landscape.store import require_new_store
from tlp_core.pipeline.exchange import export_landscape, import_landscape


def add_commands(commands: Parsers) -> None:
    """Add the commands to the parser of ``tlp``."""
    _add_info(commands)
    _add_import(commands)
    _add_export(commands)


def print_info(options: argparse.Namespace) -> int:
    """Print what a store holds."""
    landscape = Landscape.open(options.store)
    summary = summarize(options.store, landscape)
    result = {**summary, **landscape.provenance} if options.json else summary
    print_result(result, as_json=options.json)
    return 0


def import_store(options: argparse.Namespace) -> int:
    """Read another program's landscape into a store."""
    require_new_store(options.output)
    landscape = import_landscape(
        options.file,
        quantity=options.quantity,
        array=options.array,
        keep_axis_fault=options.keep_axis_fault,
    )
    landscape.save(options.output)
    print_result(summarize(options.output, landscape), as_json=options.json)
    return 0


def export_store(options: argparse.Namespace) -> int:
    """Write a landscape for other programs."""
    landscape = Landscape.open(options.store)
    export_landscape(landscape, options.output)
    result = {"output": options.output, "samples": landscape.loss.size}
    print_result(result, as_json=options.json)
    return 0


def _add_info(commands: Parsers) -> None:
    command = add_command(commands, "info", print_info, "print what a store holds")
    add_json(command)
    command.add_argument("store", help="the landscape, NAME.zarr")


def _add_import(commands: Parsers) -> None:
    command = commands.add_parser(
        "import",
        help="read a landscape of another program",
        description="Read a landscape of another program into a store. Run it outside ParaView.",
    )
    command.set_defaults(run=import_store)
    command.add_argument("file", help="NAME.h5 (Li et al.), NAME.npz (Landscaper) or NAME.vti")
    add_output(command, "the store, NAME.zarr")
    command.add_argument(
        "--quantity",
        choices=SURFACE_QUANTITIES,
        default="train_loss",
        help="dataset of an .h5 file (default: train_loss)",
    )
    command.add_argument(
        "--array", default="Loss", help="point array of a .vti file (default: Loss)"
    )
    command.add_argument(
        "--keep-axis-fault",
        action="store_true",
        help="do not undo the swap of the first two axes in a Landscaper file",
    )
    add_json(command)


def _add_export(commands: Parsers) -> None:
    command = add_command(commands, "export", export_store, "write a landscape for other programs")
    add_json(command)
    command.add_argument("store", help="the landscape, NAME.zarr")
    add_output(command, "NAME.vtu, .vti, .npz or .csv")
