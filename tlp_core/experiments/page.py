"""A page of results in Markdown: its tables, made anew from the rows of experiments.

The page ``PAGE.md`` has a place for each table, which also tells how its rows are chosen:

    <!-- claims of pinn --only rate=1.0 --resolution 4D=11 -->
    <!-- end of pinn -->

The rows are in the folder ``PAGE/pinn``. The p-values of all tables are corrected together, because
a reader of the page reads all of its claims. Tables of numbers have places of their own, see
:mod:`~tlp_core.experiments.pivot`.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tlp_core import checks
from tlp_core.atomic_files import atomic_write
from tlp_core.choices import EXPERIMENT_SIZES, ExperimentSize
from tlp_core.experiments import EXPERIMENTS, named_experiment
from tlp_core.experiments.charts import draw_charts
from tlp_core.experiments.claims import Claim, correct_claims, markdown_table
from tlp_core.experiments.pivot import fill_tables
from tlp_core.experiments.run import date_rows, gather_rows, write_claims, write_rows
from tlp_core.experiments.selection import named_values, resolutions_of

_START, _END = re.compile(r"<!-- claims of (\S+)(.*)-->"), re.compile(r"<!-- end of (\S+) -->")


@dataclass(frozen=True)
class Table:
    """A table of claims in a page.

    Attributes:
        name: name of the experiment.
        first: index of the line that begins the table.
        last: index of the line that ends it.
        size: size of the experiment.
        only: parameters of the networks, such as ``{"rate": "1.0"}``; empty for all networks.
        resolutions: number of points along each direction, by name of the look.
    """

    name: str
    first: int
    last: int
    size: ExperimentSize
    only: Mapping[str, str]
    resolutions: Mapping[str, int]


def remake_page(page: Path, *, report: Callable[[str], None] = print) -> dict[str, list[Claim]]:
    """Make the tables of a page, and the charts that it shows, from the rows of its experiments.

    Nothing is written before all tables are made.

    Args:
        page: the page, ``NAME.md``; the folder of each experiment is ``NAME/EXPERIMENT``.
        report: function that receives lines of text. Default: ``print``.

    Returns:
        The claims of each experiment. Their p-values are corrected for the number of all claims.

    Raises:
        FileNotFoundError: if the page, or a file of a table, does not exist.
        ValueError: if it has no table, a table twice or without its end, or rows are missing or
            damaged.
        ModuleNotFoundError: if matplotlib is not installed.
    """
    import matplotlib  # noqa: F401, before a file is written

    results = page.with_suffix("")
    text = _text_of(page)
    tables = _tables_in(text, page)
    experiments = {table.name: named_experiment(table.name) for table in tables}
    folders = {table.name: results / table.name for table in tables}
    rows = {
        table.name: gather_rows(
            experiments[table.name],
            folders[table.name],
            size=table.size,
            only=table.only,
            resolutions=table.resolutions,
            report=report,
        )
        for table in tables
    }
    claims = {name: experiments[name].claims(found) for name, found in rows.items()}
    together = iter(correct_claims([claim for each in claims.values() for claim in each]))
    corrected = {name: [next(together) for _ in each] for name, each in claims.items()}
    lines = text.splitlines(keepends=True)
    for table in reversed(tables):  # so that the indices of the earlier ones stay
        lines[table.first + 1 : table.last] = [f"\n{markdown_table(corrected[table.name])}\n"]
    made = {f"{name}/dates.csv": date_rows(experiments[name], each) for name, each in rows.items()}
    text = fill_tables("".join(lines), results, made)
    for name, folder in folders.items():
        write_rows(experiments[name], folder, rows[name])
        write_claims(folder, corrected[name])
        drawn = draw_charts(
            experiments[name],
            folder,
            is_wanted=lambda path: path.relative_to(page.parent).as_posix() in text,
        )
        for picture in drawn:
            report(f"wrote {picture}")
    with atomic_write(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return corrected


def page_of(folder: Path, name: str) -> Path | None:
    """Return the page whose table is made of the rows in a folder; None if there is none.

    Args:
        folder: folder of the results of an experiment.
        name: name of the experiment.
    """
    folder = folder.resolve()
    page = folder.parent.parent / f"{folder.parent.name}.md"
    if folder.name != name or not page.is_file():
        return None
    lines = page.read_text(encoding="utf-8", errors="replace").splitlines()
    starts = (_START.fullmatch(line.rstrip()) for line in lines)
    return page if any(start and start[1] == name for start in starts) else None


def tables_of(page: Path) -> list[Table]:
    """Return the tables of a page, from top to bottom.

    Raises:
        FileNotFoundError: if the page does not exist.
        ValueError: as :func:`remake_page`.
    """
    return _tables_in(_text_of(page), page)


def _text_of(page: Path) -> str:
    """Return the text of a page.

    Raises:
        FileNotFoundError: if the page does not exist.
    """
    if not page.is_file():
        raise FileNotFoundError(f"the page must be a Markdown file, and {page} is none")
    return page.read_text(encoding="utf-8")


def _tables_in(text: str, page: Path) -> list[Table]:
    """Return the tables of claims in the text of a page.

    Raises:
        ValueError: as :func:`remake_page`.
    """
    tables: list[Table] = []
    begun: tuple[int, re.Match[str]] | None = None
    for number, line in enumerate(text.splitlines()):
        start, end = _START.fullmatch(line.rstrip()), _END.fullmatch(line.rstrip())
        expected = "" if begun is None else f"<!-- end of {begun[1][1]} -->"
        if (start and begun) or (end and end[0] != expected):
            wanted = f"must be {expected!r}" if begun else "must be behind the line of its start"
            raise ValueError(f"line {number + 1} of {page} {wanted}, got {line!r}")
        if start:
            begun = number, start
        elif end and begun:
            tables.append(_table(begun[1], begun[0], number))
            begun = None
    if begun:
        raise ValueError(
            f"{page} must have a line '<!-- end of {begun[1][1]} -->' below line {begun[0] + 1}, "
            "and has none"
        )
    names = [table.name for table in tables]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"{page} must have lines such as '<!-- claims of pinn -->' and '<!-- end of pinn -->', "
            f"each experiment once, got {', '.join(names) or 'none'}"
        )
    return tables


def _table(start: re.Match[str], first: int, last: int) -> Table:
    """Return a table, given the line that begins it."""
    name = checks.choice(start[1], list(EXPERIMENTS), name="experiment of the page")
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=False, allow_abbrev=False)
    parser.add_argument("--size", choices=EXPERIMENT_SIZES, default="full")
    parser.add_argument("--only", nargs="+", default=[], action="extend")
    parser.add_argument("--resolution", nargs="+", default=[], action="extend")
    try:
        options, unknown = parser.parse_known_args(shlex.split(start[2]))
        only = named_values("only", "seed=0", options.only)
        resolutions = resolutions_of(options.resolution)
    except (argparse.ArgumentError, ValueError) as error:
        raise ValueError(f"the options in {start[0]!r} are wrong: {error}") from error
    if unknown:
        raise ValueError(
            f"the options in {start[0]!r} must be --size, --only and --resolution, got "
            f"{unknown[0]!r}"
        )
    return Table(name, first, last, options.size, only, resolutions)
