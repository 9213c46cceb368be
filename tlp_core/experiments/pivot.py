"""Tables of a page that show one column of a file by two others.

A page has a place for each, which also tells how it is made, such as

    <!-- table of pinn/training.csv --value "relative error" --rows step --columns beta -->
    <!-- end of the table -->

``--where rate=1.0`` chooses rows, and ``--show`` how several values at one place are combined.
"""

from __future__ import annotations

import argparse
import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlp_core.experiments.rows import Row, read_rows
from tlp_core.experiments.selection import named_values

_PLACE = re.compile(
    r"<!-- table of (\S+)([^\n]*)-->[ \t]*\n(.*?)<!-- end of the table -->", re.DOTALL
)
_START = re.compile(r"^[ \t]*<!-- table of ", re.MULTILINE)

SHOWN: Mapping[str, Callable[[Sequence[float]], tuple[float, ...]]] = {
    "range": lambda values: (min(values), max(values)),
    "mean": lambda values: (sum(values) / len(values),),
    "smallest": lambda values: (min(values),),
    "largest": lambda values: (max(values),),
}
"""How several values at one place are combined."""


def fill_tables(text: str, folder: Path, made: Mapping[str, Sequence[Row]] | None = None) -> str:
    """Return the text of a page whose tables of numbers are made again from files of rows.

    Args:
        text: the page, in Markdown.
        folder: folder of the files that the page names.
        made: rows of files that are made with the page, by their names. Default: none.

    Raises:
        FileNotFoundError: if a file does not exist, and is not made.
        ValueError: if a table has no end, an option is wrong, or no row has the values.
    """
    if len(_START.findall(text)) != len(_PLACE.findall(text)):
        raise ValueError(
            "each line '<!-- table of FILE … -->' of a page must be followed by "
            "'<!-- end of the table -->', and one is not"
        )
    return _PLACE.sub(lambda place: _filled(place, folder, made or {}), text)


def _filled(place: re.Match[str], folder: Path, made: Mapping[str, Sequence[Row]]) -> str:
    name, words, _ = place.groups()
    parser = argparse.ArgumentParser(exit_on_error=False, add_help=False, allow_abbrev=False)
    for option in ("--value", "--rows", "--columns"):
        parser.add_argument(option)
    parser.add_argument("--where", nargs="+", default=[], action="extend")
    parser.add_argument("--show", choices=SHOWN, default="range")
    first = place[0].partition("\n")[0]
    try:
        options, unknown = parser.parse_known_args(shlex.split(words))
        where = named_values("where", "rate=1.0", options.where)
    except (argparse.ArgumentError, ValueError) as error:
        raise ValueError(f"the options in {first!r} are wrong: {error}") from error
    if unknown or not (options.value and options.rows and options.columns):
        raise ValueError(
            f"the options in {first!r} must be --value, --rows and --columns, and may be --where "
            f"and --show, got {', '.join(unknown) or 'not all'}"
        )
    if name not in made and not (folder / name).is_file():
        raise FileNotFoundError(f"a table must be made of a file, and {folder / name} is none")
    table = pivot_table(
        made[name] if name in made else read_rows(folder / name),
        value=options.value,
        rows=options.rows,
        columns=options.columns,
        where=where,
        show=options.show,
    )
    return f"{first}\n\n{table}\n\n<!-- end of the table -->"


def pivot_table(
    data: Sequence[Row],
    *,
    value: str,
    rows: str,
    columns: str,
    where: Mapping[str, str],
    show: str = "range",
) -> str:
    """Return a table in Markdown that shows one column of rows by two others.

    Args:
        data: the rows.
        value: the column that is shown, of numbers.
        rows: the column whose values are the rows of the table, ascending.
        columns: the column whose values are the columns of the table, ascending.
        where: chosen values, by column; several are separated by commas.
        show: of the values at one place: their ``range``, ``mean``, ``smallest`` or ``largest``.

    Raises:
        ValueError: if no row has all that is wanted.
    """
    chosen = {name: texts.split(",") for name, texts in where.items()}
    places: dict[tuple[Any, Any], list[float]] = {}
    for row in data:
        found = row.get(value)
        is_wanted = all(_is_one_of(row.get(name), texts) for name, texts in chosen.items())
        if is_wanted and isinstance(found, (int, float)) and rows in row and columns in row:
            places.setdefault((row[rows], row[columns]), []).append(found)
    if not places:
        raise ValueError(
            f"rows must have the columns {value}, {rows} and {columns}"
            f"{' where ' if where else ''}{', '.join(f'{k} is {v}' for k, v in where.items())}, "
            "and none has"
        )
    down, across = (
        sorted({place[axis] for place in places}, key=lambda part: (isinstance(part, str), part))
        for axis in (0, 1)
    )
    lines = [
        [f"{rows}, {columns}", *map(_text, across)],
        ["---"] * (len(across) + 1),
        *(
            [_text(row), *(_shown(places.get((row, column), []), show) for column in across)]
            for row in down
        ),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _is_one_of(value: object, texts: Sequence[str]) -> bool:
    """Return whether a value is one of some that an option names; numbers by their value."""
    if not isinstance(value, (int, float)):
        return value in texts
    return any(_number(text) == value for text in texts)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _text(value: object) -> str:
    """Return the heading of a row or a column."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown(values: Sequence[float], show: str) -> str:
    """Return values as a cell shows them, with two digits; nothing without values."""
    if not values:
        return ""
    if any(math.isnan(value) for value in values):
        return "nan"
    return " – ".join(dict.fromkeys(_rounded(value) for value in SHOWN[show](values)))


def _rounded(value: float) -> str:
    """Return a number with two digits, and all digits before the point."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.2g}"
