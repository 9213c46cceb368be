"""A self-contained page: one file that needs no server and no net."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from tlp_core.analysis.tree_settings import TreeSettings
from tlp_core.atomic_files import atomic_write
from tlp_core.profile.colors import COLOR_MAP, ORANGE, RED
from tlp_core.report.contents import page_contents

_TABLE = "descriptors.csv"
"""Table of a recorder, which lies in the folder of its landscapes."""


def write_report(
    places: Sequence[str | os.PathLike[str]],
    path: str | os.PathLike[str],
    *,
    settings: TreeSettings | None = None,
    table: str | os.PathLike[str] | None = None,
) -> int:
    """Write a page about the landscapes of one training.

    Args:
        places: landscapes of its steps: stores, folders of them, or patterns.
        path: the page, NAME.html.
        settings: how merge trees are made. Default: TreeSettings().
        table: a .csv file with a column ``step`` and more numbers of the training, such as its
            losses. Default: ``descriptors.csv`` in a folder of landscapes, if there is one.

    Returns:
        The number of steps.

    Raises:
        ModuleNotFoundError: if plotly is not installed.
        FileNotFoundError: if there are no landscapes, or no such table.
        ValueError: for a path with another ending, or as
            :meth:`~tlp_core.analysis.tree_settings.TreeSettings.tree`.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"a page must end in .html, got {path}")
    from plotly.offline import get_plotlyjs

    named = [os.fspath(place) for place in places]
    beside = os.fspath(table) if table else _table_beside(named)
    contents = page_contents(named, settings or TreeSettings(), beside)
    colors = json.loads(COLOR_MAP.read_text(encoding="utf-8"))[0]["RGBPoints"]
    contents["colors"] = {
        "map": [[colors[i], _css(colors[i + 1 : i + 4])] for i in range(0, len(colors), 4)],
        "minimum": _css(RED),
        "saddle": _css(ORANGE),
    }
    # a name with a tag in it must not end the script
    data = json.dumps(contents, allow_nan=False).replace("<", "\\u003c")
    page = _file("page.html").replace("{{title}}", html.escape(contents["title"]))
    for mark, text in (
        ("{{style}}", _file("page.css")),
        ("{{plotly}}", get_plotlyjs()),
        ("{{script}}", _file("page.js")),
        ("{{contents}}", data),
    ):
        page = page.replace(mark, text, 1)
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return len(contents["steps"])


def _table_beside(places: Sequence[str]) -> str:
    tables = [Path(place) / _TABLE for place in places if Path(place).is_dir()]
    return str(next((table for table in tables if table.is_file()), ""))


def _css(color: Sequence[float]) -> str:
    return "rgb({},{},{})".format(*(round(255 * part) for part in color[:3]))


def _file(name: str) -> str:
    return resources.files("tlp_core.report").joinpath(name).read_text(encoding="utf-8")
