"""The command ``experiment``, which ParaView's variant with pictures shares."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from tlp_core.choices import EXPERIMENT_SIZES
from tlp_core.cli.options import Parsers
from tlp_core.cli.output import log_to_stderr
from tlp_core.experiments import EXPERIMENTS, named_experiment
from tlp_core.experiments.selection import named_values, resolutions_of
from tlp_core.progress import TerminalProgress


def add_commands(commands: Parsers) -> None:
    """Add the command to the parser of ``tlp``."""
    command = commands.add_parser(
        "experiment",
        help="run an experiment of a paper",
        description="Train the networks of a paper's experiment, sample their landscapes, and "
        "answer its claims with numbers. The same command resumes a run that was stopped.",
    )
    command.set_defaults(run=answer_claims)
    add_options(command)
    page = commands.add_parser(
        "page",
        help="make the tables and charts of a page of experiments",
        description="Make the tables of claims in a page, and the charts beside it, from the rows "
        "of its experiments, without training or sampling. A line '<!-- claims of pinn --only "
        "rate=1.0 -->' in NAME.md begins a table, '<!-- end of pinn -->' ends it, and the rows are "
        "in NAME/pinn.",
    )
    page.add_argument("page", metavar="NAME.md", help="the page")
    page.set_defaults(run=_remake_page)


def answer_claims(options: argparse.Namespace) -> int:
    """Run an experiment of a paper, or resume it, and print the answers to its claims."""
    from tlp_core.sampling.resources import keep_memory

    keep_memory()
    log_to_stderr(quiet=True)
    run(options, report=lambda text: print(text, file=sys.stderr))
    return 0


def _remake_page(options: argparse.Namespace) -> int:
    """Make the tables and the charts of a page."""
    from tlp_core.experiments.page import remake_page

    remake_page(Path(options.page), report=lambda text: print(text, file=sys.stderr))
    return 0


def add_options(command: argparse.ArgumentParser) -> None:
    """Add the options of an experiment."""
    command.add_argument("name", choices=list(EXPERIMENTS), help="the experiment")
    command.add_argument(
        "-o", "--output", default="experiment", help="folder of the results (default: experiment)"
    )
    command.add_argument(
        "--size",
        choices=EXPERIMENT_SIZES,
        default="full",
        help="quick takes under five minutes on two cores, medium about an hour, full is as "
        "published (default: full)",
    )
    command.add_argument(
        "--quick", dest="size", action="store_const", const="quick", help="same as --size quick"
    )
    command.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="train and sample only the networks with these parameters, such as seed=0,1, for "
        "machines that share a folder; a run without this option gathers all of them",
    )
    command.add_argument(
        "--look",
        nargs="+",
        default=[],
        metavar="LOOK",
        help="sample only these looks, such as 3D; a run without this option gathers all of them",
    )
    command.add_argument(
        "--gather",
        action="store_true",
        help="write tables and charts of the rows that exist, without training or sampling",
    )
    command.add_argument(
        "--resolution",
        nargs="+",
        default=[],
        metavar="LOOK=N",
        help="another number of points along each direction, such as 4D=41",
    )
    command.add_argument("--device", default="", help="cpu, cuda, cuda:1 or mps (default: cpu)")
    command.add_argument(
        "--cost", action="store_true", help="only estimate the work, and do nothing"
    )


def run(options: argparse.Namespace, report: Callable[[str], None]) -> bool:
    """Run what the options request, and return whether there are results to draw.

    Args:
        options: of :func:`add_options`.
        report: called with lines of text.

    Raises:
        ValueError: for options that do not fit the experiment.
    """
    from tlp_core.experiments.charts import draw_charts
    from tlp_core.experiments.claims import markdown_table
    from tlp_core.experiments.page import page_of
    from tlp_core.experiments.run import (
        describe_sampling_time,
        describe_work,
        gather_rows,
        run_experiment,
        select_looks,
        select_networks,
        select_part,
        write_results,
    )

    experiment = named_experiment(options.name)
    only = named_values("only", "seed=0", options.only)
    resolutions = resolutions_of(options.resolution)
    if options.cost:
        networks = select_networks(experiment, options.size, only, device=options.device)
        looks = select_part(select_looks(experiment, options.size, resolutions), options.look)
        print(describe_work(networks, looks), flush=True)
        report("measuring a few samples")
        print(describe_sampling_time(networks, looks))
        return False
    folder = Path(options.output)
    if options.gather:
        for name in ("look", "device"):
            if getattr(options, name):
                raise ValueError(f"--{name} has no meaning with --gather; omit one of them")
        rows = gather_rows(
            experiment,
            folder,
            size=options.size,
            only=only,
            resolutions=resolutions,
            report=report,
        )
        claims = write_results(experiment, folder, rows)
    else:
        claims = run_experiment(
            experiment,
            folder,
            size=options.size,
            only=only,
            only_looks=options.look,
            resolutions=resolutions,
            device=options.device,
            report=report,
            progress=TerminalProgress,
        )
        if only or options.look:
            report("a part is done; the same command without --only and --look gathers all parts")
            return False
    print(markdown_table(claims), end="")
    if (page := page_of(folder, options.name)) is not None:
        report(
            "the p-values are corrected for the claims of this experiment only; run: tlp page "
            f"{shlex.quote(str(page))}, which corrects all claims of the page and rewrites these"
        )
    try:
        for picture in draw_charts(experiment, folder):
            report(f"wrote {picture}")
    except ModuleNotFoundError as error:
        report(f"no charts were drawn: {error}; install tlp_core[plot]")
    return True
