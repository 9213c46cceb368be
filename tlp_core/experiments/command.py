"""The command of an experiment, with pictures or without: its options, and what it runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from tlp_core.experiments import EXPERIMENTS, SIZES, named_experiment
from tlp_core.progress import TerminalProgress


def add_options(command: argparse.ArgumentParser) -> None:
    """Add what an experiment takes from a command line."""
    command.add_argument("name", choices=list(EXPERIMENTS))
    command.add_argument("-o", "--output", default="experiment", help="folder (experiment)")
    command.add_argument(
        "--size",
        choices=SIZES,
        default="full",
        help="quick takes under five minutes on two cores, medium about an hour (full)",
    )
    command.add_argument("--quick", dest="size", action="store_const", const="quick")
    command.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="the networks with these parameters only, such as seed=0,1: parts for machines that "
        "share a folder; run it without, in the end",
    )
    command.add_argument(
        "--resolution",
        nargs="+",
        default=[],
        metavar="LOOK=N",
        help="other points along each direction, such as 4D=41",
    )
    command.add_argument("--device", default="", help="cpu, cuda, cuda:1, mps (cpu)")
    command.add_argument("--cost", action="store_true", help="only tell what there is to do")


def run(options: argparse.Namespace, tell: Callable[[str], None]) -> bool:
    """Do what the options say, and return whether there are results to show.

    Raises:
        ValueError: for options that do not fit.
    """
    from tlp_core.experiments.claims import table_of
    from tlp_core.experiments.run import (
        chosen_looks,
        chosen_networks,
        cost,
        run_experiment,
        told_time,
    )

    chosen, only = named_experiment(options.name), _pairs("only", "seed=0", options.only)
    texts = _pairs("resolution", "4D=41", options.resolution)
    resolutions = {look: _whole(look, text) for look, text in texts.items()}
    if options.cost:
        networks = chosen_networks(chosen, options.size, only, device=options.device)
        looks = chosen_looks(chosen, options.size, resolutions)
        print(cost(networks, looks), flush=True)
        tell("measuring a few samples")
        print(told_time(networks, looks))
        return False
    claims = run_experiment(
        chosen,
        Path(options.output),
        size=options.size,
        only=only,
        resolutions=resolutions,
        device=options.device,
        tell=tell,
        progress=TerminalProgress,
    )
    if only:
        tell("a part is done; the same command without --only gathers all parts into tables")
        return False
    print(table_of(claims), end="")
    return True


def _pairs(option: str, example: str, words: list[str]) -> dict[str, str]:
    """Return values by name; those of a name that comes twice are joined by a comma."""
    pairs: dict[str, list[str]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise ValueError(f"{option} takes NAME=VALUE, such as {example}, got {word!r}")
        pairs.setdefault(name, []).append(value)
    return {name: ",".join(values) for name, values in pairs.items()}


def _whole(look: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"resolution of {look} must be a whole number, got {text!r}") from error
