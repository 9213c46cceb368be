"""An experiment of a paper with small multiples of its profiles, as pictures and state files.

    pvpython -m tlp_paraview.experiment pinn --size quick -o FOLDER

It runs ``tlp experiment``, which reuses existing results, and draws the profiles.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from paraview import simple

from tlp_core.cli import experiment as command
from tlp_core.experiments import named_experiment
from tlp_core.experiments.results import PERSISTENCE
from tlp_core.landscape.table import LandscapeTable, Run, arrange, find_runs
from tlp_paraview import multiples, pipeline, styles, views
from tlp_paraview.commands import exit_code, in_words

_COLUMNS = 7
"""Columns of small multiples that a page has room for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an experiment, draw it, and return 1 if a filter failed."""
    parser = argparse.ArgumentParser(prog="tlp_paraview.experiment", description=__doc__)
    command.add_options(parser)
    options = parser.parse_args(arguments)
    return in_words("experiment", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    if not command.run(options, report=print):
        return 0
    chosen, folder = named_experiment(options.name), Path(options.output)
    with pipeline.pipeline_errors() as errors:
        for look, runs in _runs_by_look(folder, chosen).items():
            table = arrange(_thinned(runs, chosen.columns), chosen.rows, chosen.columns)
            draw_multiples(table, folder / f"profiles_{look}")
    return exit_code(errors)


def draw_multiples(table: LandscapeTable, stem: Path) -> None:
    """Write the picture of a table, NAME.png, and its state file, NAME.pvsm."""
    logarithmic = multiples.can_be_logarithmic(table)
    layout = multiples.show_multiples(table, threshold=PERSISTENCE, logarithmic=logarithmic)
    simple.SaveScreenshot(f"{stem}.png", layout, SeparatorColor=styles.WHITE)
    simple.SaveState(f"{stem}.pvsm")
    _clear()


def _clear() -> None:
    views.close_views()
    for source in simple.GetSources().values():
        simple.Delete(source)


def _thinned(runs: list[Run], columns: str) -> list[Run]:
    """Return the runs of at most a page's columns, first and last among them."""
    values = list(dict.fromkeys(run.parameters[columns] for run in runs))
    places = np.linspace(0, len(values) - 1, min(len(values), _COLUMNS)).round().astype(int)
    kept = {values[place] for place in places}
    return [run for run in runs if run.parameters[columns] in kept]


def _runs_by_look(folder: Path, chosen: Any) -> dict[str, list[Run]]:
    """Return the runs of each look; of parameters that are no row or column the last value."""
    runs = find_runs([folder / "landscapes.csv"])
    for name in runs[0].parameters.keys() - {"look", chosen.rows, chosen.columns}:
        last = runs[-1].parameters[name]
        if any(run.parameters[name] != last for run in runs):
            print(f"profiles are those of {name} = {last}")
        runs = [run for run in runs if run.parameters[name] == last]
    by_look: dict[str, list[Run]] = {}
    for run in runs:
        by_look.setdefault(run.parameters["look"], []).append(run)
    return by_look


if __name__ == "__main__":
    sys.exit(main())
