"""The table of an experiment's claims in a page of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tlp_core.atomic_files import atomic_write
from tlp_core.experiments.claims import Claim, markdown_table


def update_page(page: Path, name: str, claims: Sequence[Claim]) -> None:
    """Replace the table of an experiment in a Markdown page.

    The table stands between the lines ``<!-- claims of NAME -->`` and ``<!-- end of NAME -->``.

    Args:
        page: the page.
        name: name of the experiment.
        claims: its claims.

    Raises:
        FileNotFoundError: if the page does not exist.
        ValueError: if it has no place for the table, or several.
    """
    start, end = check_page(page, name)
    text = page.read_text(encoding="utf-8")
    before, after = text.split(start)[0], text.split(end)[1]
    with atomic_write(page) as temporary:
        table = markdown_table(claims)
        temporary.write_text(f"{before}{start}\n{table}\n{end}{after}", encoding="utf-8")


def check_page(page: Path, name: str) -> tuple[str, str]:
    """Return the lines between which the table of an experiment stands in a page.

    Raises:
        FileNotFoundError: if the page does not exist.
        ValueError: if it has no place for the table, or several.
    """
    text = page.read_text(encoding="utf-8")
    start, end = f"<!-- claims of {name} -->\n", f"<!-- end of {name} -->\n"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise ValueError(
            f"{page} must have one line {start.strip()!r} and below it one {end.strip()!r}"
        )
    return start, end
