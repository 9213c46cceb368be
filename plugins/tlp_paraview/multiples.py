"""Small multiples: profiles over one or two parameters, with one loss axis and one colour range.

    pvpython -m tlp_paraview.multiples runs.csv --rows beta --columns seed -o profiles.png

The landscapes are those of a table, or stores whose names contain the parameters (see
:func:`tlp_core.landscape.table.find_runs`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from paraview import simple

from tlp_core import Landscape, checks
from tlp_core.choices import PROFILE_WIDTHS, ProfileWidth
from tlp_core.landscape.table import LandscapeTable, arrange, find_runs
from tlp_paraview import fitting, pipeline, styles, versions, views
from tlp_paraview.commands import exit_code, run_command
from tlp_paraview.files import find_file
from tlp_paraview.fitting import Ranges
from tlp_paraview.pipeline import Pipeline

CELL = (420, 320)
"""Width and height of a profile in pixels."""

_LEGEND = 170
"""Width of the legend in pixels."""


def show_multiples(
    table: LandscapeTable,
    *,
    threshold: float = 0.0,
    width: ProfileWidth = "samples",
    logarithmic: bool = False,
    size: tuple[int, int] | None = None,
) -> Any:
    """Show the profiles of a table in rows and columns of a new layout.

    All profiles have one loss axis and one range of colours.

    Args:
        table: the landscapes.
        threshold: smallest persistence of the basins that stay, as a fraction, 0 to 1, of the range
            of the losses of each landscape. Default: 0, all basins.
        width: width of the basins: ``samples``, or ``n-th root`` for landscapes of different n.
            Default: ``samples``.
        logarithmic: draw the decimal logarithm of the loss. Default: False.
        size: width and height of the picture in pixels. Default: 420 x 320 per profile, and a
            legend 170 wide.

    Returns:
        The layout.

    Raises:
        FileNotFoundError: if the environment variable TLP_TTK_PLUGIN names no file.
        ValueError: if the width is unknown, or the size has no room for the legend.
    """
    (rows, row_values), (columns, column_values) = table.rows, table.columns
    title = " and ".join(filter(None, (rows, columns)))
    pipelines = {place: _pipeline(run, threshold) for place, run in table.cells.items()}
    cells = [
        [(table.heading(row, column), pipelines.get((row, column))) for column in column_values]
        for row in row_values
    ]
    return show_grid(title, cells, width=width, logarithmic=logarithmic, size=size)


def show_grid(
    title: str,
    cells: Sequence[Sequence[tuple[str, Pipeline | None] | None]],
    *,
    width: ProfileWidth = "samples",
    logarithmic: bool = False,
    size: tuple[int, int] | None = None,
) -> Any:
    """Show profiles in rows and columns of a new layout.

    All profiles have one loss axis and one range of colours.

    Args:
        title: name of the layout.
        cells: rows of the same length: the heading and the pipeline of each profile. None in place
            of a pipeline that has no landscape, and in place of both to leave a cell empty.
        width: as in :func:`show_multiples`.
        logarithmic: as in :func:`show_multiples`.
        size: as in :func:`show_multiples`.

    Returns:
        The layout.

    Raises:
        ValueError: if the width is unknown, or the size has no room for the legend.
    """
    checks.choice(width, PROFILE_WIDTHS, name="width")
    size = size or (CELL[0] * len(cells[0]) + _LEGEND, CELL[1] * len(cells))
    if size[0] <= _LEGEND or size[1] < 1:
        raise ValueError(f"the width of multiples must be above {_LEGEND} pixels, got {size[0]}")
    pipelines = [cell[1] for line in cells for cell in line if cell and cell[1] is not None]
    for built in pipelines:
        built.profile.Width, built.profile.LogarithmicLoss = width, int(logarithmic)
        built.profile.UpdatePipeline()
    ranges = views.shared_ranges(pipelines)
    grid = [[styles.empty_view() for _ in line] for line in cells]
    legend = styles.empty_view()
    layout = versions.grid_layout(title, grid, legend, _LEGEND / size[0])
    for line, places in zip(cells, grid):
        for cell, view in zip(line, places):
            if cell is None:
                continue
            heading, built = cell
            if built is None or fitting.ranges_of(built.profile) is None:
                lacking = "landscape" if built is None else "profile"
                styles.show_text(f"{heading}: no {lacking}", view)
            else:
                views.show_profile(built, view, ranges, heading=heading, bare=True)
    _show_legend(legend, grid, ranges, width, fitting.LOSS_TITLES[int(logarithmic)])
    fitting.fit_layout(layout, size)
    return layout


def can_be_logarithmic(table: LandscapeTable) -> bool:
    """Return whether all losses of a table are positive, which a logarithmic axis needs.

    Args:
        table: the landscapes.
    """
    landscapes = [Landscape.open(run.path) for run in table.cells.values()]
    return all(bool(np.nanmin(landscape.loss) > 0) for landscape in landscapes)


def _pipeline(run: Any, threshold: float) -> Pipeline:
    name = " ".join(f"{name} {value}" for name, value in run.parameters.items())
    pipeline.load_plugin()
    reader = simple.TLPLandscapeReader(registrationName=name, FileName=[str(run.path.resolve())])
    return pipeline.build(reader, threshold=threshold)


def _show_legend(
    view: Any, grid: list[list[Any]], ranges: Ranges | None, width: str, height: str
) -> None:
    """Show the colour bar of all profiles, and the meaning of their axes."""
    basins = [shown for line in grid for cell in line for shown in fitting.basins_in(cell)]
    if basins and ranges is not None:
        for shown in basins[1:]:
            shown.LookupTable = basins[0].LookupTable
        colors = basins[0].LookupTable
        place = (0.2, 0.2)
        styles.show_color_bar(colors, "average loss", view, ranges.average_loss, position=place)
    texts = (("• minimum", styles.RED), ("• saddle", styles.ORANGE))
    for place, (words, color) in enumerate(texts):
        styles.show_text(words, view, color=color, position=(0.1, 0.88 - 0.06 * place))
    across = "samples" if width == "samples" else "n-th root of fraction"
    for place, words in enumerate((f"across: {across}", f"up: {height}")):
        styles.show_text(words, view, position=(0.1, 0.1 - 0.05 * place))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the picture of a table and its state file, as the command line asks for.

    Args:
        arguments: arguments of the command. Default: those of the process.

    Returns:
        The exit code: 0, or 1 if a filter printed an error.
    """
    options = _parser().parse_args(arguments)
    return run_command("multiples", lambda: _draw(options))


def _draw(options: argparse.Namespace) -> int:
    runs = find_runs([find_file(place) for place in options.places])
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
            pipeline.save_state(options.state)
    views.close_views()
    return exit_code(errors)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tlp_paraview.multiples", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "places", nargs="+", help="a .csv table, or stores, folders of them and patterns"
    )
    parser.add_argument("--rows", help="name of the parameter of the rows (default: a single row)")
    parser.add_argument(
        "--columns", help="name of the parameter of the columns (default: a single column)"
    )
    parser.add_argument("-o", "--output", help="file of the picture, NAME.png")
    parser.add_argument("--state", help="file of the state, NAME.pvsm")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.0,
        help="smallest persistence of the basins that stay, as a fraction, 0 to 1, of the range "
        "of the losses (default: 0)",
    )
    parser.add_argument(
        "--width",
        choices=PROFILE_WIDTHS,
        default="samples",
        help="width of the basins (default: samples)",
    )
    parser.add_argument("--logarithmic", action="store_true", help="draw a logarithmic loss axis")
    return parser


if __name__ == "__main__":
    sys.exit(main())
