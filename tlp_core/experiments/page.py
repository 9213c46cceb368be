"""A page of results in Markdown: its tables of claims, made anew from the rows of experiments.

The page ``PAGE.md`` has a place for each table, which also tells how its rows are chosen:

    <!-- claims of pinn --only rate=1.0 --resolution 4D=11 -->
    <!-- end of pinn -->

The rows are in the folder ``PAGE/pinn``. The p-values of all tables are corrected together, because
a reader of the page reads all of its claims.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tlp_core import checks
from tlp_core.atomic_files import atomic_write
from tlp_core.choices import EXPERIMENT_SIZES, ExperimentSize
from tlp_core.experiments import EXPERIMENTS, named_experiment
from tlp_core.experiments.charts import draw_charts
from tlp_core.experiments.claims import Claim, correct_claims, markdown_table
from tlp_core.experiments.run import gather_results, write_claims

_START = re.compile(r"^<!-- claims of (\w+) ?(.*?) -->$", re.MULTILINE)


@dataclass(frozen=True)
class Table:
    """A table of claims in a page.

    Attributes:
        name: name of the experiment.
        start: the line before the table.
        size: size of the experiment. Default: ``full``.
        only: parameters of the networks, such as ``{"rate": "1.0"}``. Default: all networks.
        resolutions: number of points along each direction, by name of the look.
    """

    name: str
    start: str
    size: ExperimentSize = "full"
    only: Mapping[str, str] = field(default_factory=dict)
    resolutions: Mapping[str, int] = field(default_factory=dict)

    @property
    def end(self) -> str:
        """The line behind the table."""
        return f"<!-- end of {self.name} -->"


def remake_page(page: Path, *, report: Callable[[str], None] = print) -> dict[str, list[Claim]]:
    """Make the tables of a page, and the charts that it shows, from the rows of its experiments.

    Args:
        page: the page, ``NAME.md``; the folder of each experiment is ``NAME/EXPERIMENT``.
        report: function that receives lines of text. Default: ``print``.

    Returns:
        The claims of each experiment. Their p-values are corrected for the number of all claims.

    Raises:
        FileNotFoundError: if the page does not exist.
        ValueError: if it has no table, a table twice or without its end, or rows are missing or
            damaged.
        ModuleNotFoundError: if matplotlib is not installed.
    """
    tables = tables_of(page)
    folders = {table.name: page.with_suffix("") / table.name for table in tables}
    claims = {
        table.name: gather_results(
            named_experiment(table.name),
            folders[table.name],
            size=table.size,
            only=table.only,
            resolutions=table.resolutions,
            report=report,
        )
        for table in tables
    }
    together = iter(correct_claims([claim for each in claims.values() for claim in each]))
    corrected = {name: [next(together) for _ in each] for name, each in claims.items()}
    original = text = page.read_text(encoding="utf-8")
    for table in tables:
        write_claims(folders[table.name], corrected[table.name])
        drawn = draw_charts(
            named_experiment(table.name),
            folders[table.name],
            is_wanted=lambda path: path.relative_to(page.parent).as_posix() in original,
        )
        for picture in drawn:
            report(f"wrote {picture}")
        before, _, rest = text.partition(f"{table.start}\n")
        _, _, after = rest.partition(f"{table.end}\n")
        content = markdown_table(corrected[table.name])
        text = f"{before}{table.start}\n\n{content}\n{table.end}\n{after}"
    with atomic_write(page) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return corrected


def tables_of(page: Path) -> list[Table]:
    """Return the tables of a page.

    Raises:
        FileNotFoundError: if the page does not exist.
        ValueError: as :func:`remake_page`.
    """
    text = page.read_text(encoding="utf-8")
    tables = [_table(match[1], match[2], match[0]) for match in _START.finditer(text)]
    if not tables:
        raise ValueError(f"{page} must have a line such as '<!-- claims of pinn -->', and has none")
    for table in tables:
        of_name = [each for each in tables if each.name == table.name]
        places = [text.find(f"{line}\n") for line in (table.start, table.end)]
        if len(of_name) > 1 or text.count(table.end) != 1 or places[0] > places[1]:
            raise ValueError(
                f"{page} must have one line {table.start!r} and below it one {table.end!r}"
            )
    return tables


def _table(name: str, words: str, start: str) -> Table:
    """Return a table from the words in its line."""
    checks.choice(name, list(EXPERIMENTS), name="experiment of the page")
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=False)
    parser.add_argument("--size", choices=EXPERIMENT_SIZES, default="full")
    parser.add_argument("--only", nargs="+", default=[], type=_pair)
    parser.add_argument("--resolution", nargs="+", default=[], type=_pair)
    try:
        options, unknown = parser.parse_known_args(shlex.split(words))
        resolutions = {look: int(number) for look, number in options.resolution}
    except (argparse.ArgumentError, ValueError) as error:
        raise ValueError(f"the options in {start!r} are wrong: {error}") from error
    if unknown:
        raise ValueError(
            f"the options in {start!r} must be --size, --only and --resolution, got {unknown[0]!r}"
        )
    return Table(name, start, options.size, dict(options.only), resolutions)


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, got {word!r}")
    return name, value
