"""An experiment of a paper with its pictures: small multiples of all profiles, and a state file.

    pvpython -m tlp_paraview.experiment pinn --size quick -o FOLDER

Does what ``tlp experiment`` does, or takes what that has done, and draws it.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from paraview import simple
from vtkmodules.vtkCommonDataModel import vtkTable

from tlp_core import vtk_bridge
from tlp_core.experiments import EXPERIMENTS, named_experiment
from tlp_core.sweeps import Run, arranged, find_runs
from tlp_paraview import multiples, pipeline, styles, views
from tlp_paraview.commands import exit_code, in_words

_FIGURE = (800, 600)
"""Size of a chart in pixels."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an experiment, draw it, and return 1 if a filter failed."""
    options = _parser().parse_args(arguments)
    return in_words("experiment", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from tlp_core.experiments.claims import table_of
    from tlp_core.experiments.experiment import run_experiment
    from tlp_core.progress import TerminalProgress

    chosen, folder = named_experiment(options.name), Path(options.output)
    claims = run_experiment(chosen, folder, size=options.size, progress=TerminalProgress)
    print(table_of(claims), end="")
    with open(folder / "descriptors.csv", newline="", encoding="utf-8") as file:
        described = list(csv.DictReader(file))
    with pipeline.pipeline_errors() as errors:
        for look, runs in _runs_by_look(folder, chosen).items():
            draw(arranged(runs, chosen.rows, chosen.columns), folder / f"profiles_{look}")
            table = [row for row in described if row["look"] == look]
            for x, y in chosen.figures:
                name = f"{y} over {x} {look}".replace(" ", "_")
                draw_figure(table, x, y, folder / f"{name}.png")
    return exit_code(errors)


def draw(sweep: Any, stem: Path) -> None:
    """Write the picture of a sweep, NAME.png, and its state file, NAME.pvsm."""
    logarithmic = multiples.can_be_logarithmic(sweep)
    layout = multiples.show_multiples(sweep, logarithmic=logarithmic)
    simple.SaveScreenshot(f"{stem}.png", layout, SeparatorColor=styles.WHITE)
    simple.SaveState(f"{stem}.pvsm")
    views.close_views()
    for source in simple.GetSources().values():
        simple.Delete(source)


def draw_figure(table: list[dict[str, str]], x: str, y: str, path: Path) -> None:
    """Write a chart of one column of a table over another, a point for each landscape."""
    columns = {name: np.array([float(row[name]) for row in table]) for name in (x, y)}
    data = vtkTable()
    for name, values in columns.items():
        vtk_bridge.add_array(data.GetRowData(), name, values)
    producer = simple.TrivialProducer(registrationName=y)
    producer.GetClientSideObject().SetOutput(data)
    view = simple.CreateView("XYChartView")
    view.ViewSize = list(_FIGURE)
    shown = styles.show_chart(producer, view, x, (x, y))
    shown.SeriesVisibility = [y]
    shown.SeriesLineStyle, shown.SeriesMarkerStyle = [y, "0"], [y, "4"]
    shown.SeriesMarkerSize, shown.SeriesColor = [y, "9"], [y, *map(str, styles.RED)]
    view.ShowLegend = 0
    view.BottomAxisLogScale, view.LeftAxisLogScale = map(_spreads, columns.values())
    simple.SaveScreenshot(str(path), view, ImageResolution=list(_FIGURE))
    views.close_views()
    simple.Delete(producer)


def _spreads(values: Any) -> int:
    """Return 1 where values are positive and lie orders of magnitude apart."""
    finite = values[np.isfinite(values)]
    return int(len(finite) > 0 and finite.min() > 0 and finite.max() > 100 * finite.min())


def _runs_by_look(folder: Path, chosen: Any) -> dict[str, list[Run]]:
    """Return the runs of each look; of parameters that are no row or column the last value."""
    runs = find_runs([folder / "landscapes.csv"])
    for name in runs[0].parameters.keys() - {"look", chosen.rows, chosen.columns}:
        last = runs[-1].parameters[name]
        runs = [run for run in runs if run.parameters[name] == last]
    by_look: dict[str, list[Run]] = {}
    for run in runs:
        by_look.setdefault(run.parameters["look"], []).append(run)
    return by_look


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tlp_paraview.experiment", description=__doc__)
    parser.add_argument("name", choices=list(EXPERIMENTS))
    parser.add_argument("-o", "--output", default="experiment", help="folder (experiment)")
    parser.add_argument("--size", choices=("quick", "medium", "full"), default="full")
    return parser


if __name__ == "__main__":
    sys.exit(main())
