"""Small multiples: profiles over two parameters, with one loss axis and one range of colours.

    pvpython -m tlp_paraview.multiples runs.csv --rows beta --columns seed -o profiles.png

Landscapes come from a table, or from stores whose names tell the parameters (see
:func:`tlp_core.landscape.table.find_runs`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from paraview import simple

from tlp_core import Landscape
from tlp_core.landscape.table import LandscapeTable, arrange, find_runs
from tlp_paraview import fitting, pipeline, styles, versions, views
from tlp_paraview.commands import exit_code, in_words
from tlp_paraview.files import found
from tlp_paraview.pipeline import Pipeline

CELL = (420, 320)
"""Width and height of a profile in pixels."""

_LEGEND = 170
"""Width of the legend in pixels."""


def show_multiples(
    table: LandscapeTable,
    *,
    threshold: float = 0.0,
    width: str = "samples",
    logarithmic: bool = False,
    size: tuple[int, int] | None = None,
) -> Any:
    """Show the profiles of a table in rows and columns, and return the layout.

    Args:
        table: the landscapes.
        threshold: smallest persistence that stays, as a share of the range of each one's losses.
        width: of basins, ``samples`` or ``n-th root``, for landscapes of different n.
        logarithmic: whether the loss axis is.
        size: of the picture in pixels, by default 420 x 320 for each profile.
    """
    (rows, row_values), (columns, column_values) = table.rows, table.columns
    pipelines = {place: _pipeline(run, threshold) for place, run in table.cells.items()}
    for built in pipelines.values():
        built.profile.Width, built.profile.LogarithmicLoss = width, int(logarithmic)
        built.profile.UpdatePipeline()
    ranges = views.shared_ranges(list(pipelines.values()))
    grid = [[styles.empty_view() for _ in column_values] for _ in row_values]
    legend = styles.empty_view()
    size = size or (CELL[0] * len(column_values) + _LEGEND, CELL[1] * len(row_values))
    layout = versions.grid_layout(f"{rows} and {columns}", grid, legend, _LEGEND / size[0])
    for row, line in zip(row_values, grid):
        for column, view in zip(column_values, line):
            heading = f"{rows} = {row}, {columns} = {column}"
            built = pipelines.get((row, column))
            if built is None or fitting.ranges_of(built.profile) is None:
                styles.text(f"{heading}: no landscape", view)
            else:
                views.show_profile(built, view, ranges, heading=heading, bare=True)
    _show_legend(legend, grid, width, fitting.LOSS_TITLES[int(logarithmic)])
    fitting.fit_layout(layout, size)
    return layout


def can_be_logarithmic(table: LandscapeTable) -> bool:
    """Return whether all losses of a table are positive, as a logarithmic axis needs them."""
    landscapes = [Landscape.open(run.path) for run in table.cells.values()]
    return all(bool(np.nanmin(landscape.loss) > 0) for landscape in landscapes)


def _pipeline(run: Any, threshold: float) -> Pipeline:
    name = " ".join(f"{name} {value}" for name, value in run.parameters.items())
    pipeline.load_plugin()
    reader = simple.TLPLandscapeReader(registrationName=name, FileName=[str(run.path)])
    return pipeline.build(reader, threshold=threshold)


def _show_legend(view: Any, grid: list[list[Any]], width: str, height: str) -> None:
    """Show the colour bar that all profiles share, and what their axes mean."""
    basins = [shown for line in grid for cell in line for shown in fitting.basins_in(cell)]
    if basins:
        for shown in basins[1:]:
            shown.LookupTable = basins[0].LookupTable
        styles.color_bar(basins[0].LookupTable, "average loss", view, position=(0.1, 0.2))
    texts = (("• minimum", styles.RED), ("• saddle", styles.ORANGE))
    for place, (words, color) in enumerate(texts):
        styles.text(words, view, color=color, position=(0.1, 0.88 - 0.06 * place))
    across = "samples" if width == "samples" else "n-th root of share"
    for place, words in enumerate((f"across: {across}", f"up: {height}")):
        styles.text(words, view, position=(0.1, 0.1 - 0.05 * place))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the picture of a table and, on request, its state file; 1 if a filter failed."""
    options = _parser().parse_args(arguments)
    return in_words("multiples", lambda: _draw(options))


def _draw(options: argparse.Namespace) -> int:
    runs = find_runs([found(place) for place in options.places])
    table = arrange(runs, options.rows, options.columns)
    with pipeline.pipeline_errors() as errors:
        layout = show_multiples(
            table,
            threshold=options.threshold,
            width=options.width,
            logarithmic=options.logarithmic,
        )
        if options.output:
            simple.SaveScreenshot(options.output, layout, SeparatorColor=styles.WHITE)
        if options.state:
            simple.SaveState(options.state)
    views.close_views()
    return exit_code(errors)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tlp_paraview.multiples", description=__doc__)
    parser.add_argument("places", nargs="+", help="a .csv table, or stores, folders and patterns")
    parser.add_argument("--rows", required=True, help="parameter of the rows")
    parser.add_argument("--columns", required=True, help="parameter of the columns")
    parser.add_argument("-o", "--output", help="picture, NAME.png")
    parser.add_argument("--state", help="state file, NAME.pvsm")
    parser.add_argument("--threshold", type=float, default=0.0, help="smallest persistence, 0 to 1")
    parser.add_argument("--width", choices=("samples", "n-th root"), default="samples")
    parser.add_argument("--logarithmic", action="store_true", help="logarithmic loss axis")
    return parser


if __name__ == "__main__":
    sys.exit(main())
