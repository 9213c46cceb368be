"""An experiment of a paper, with small multiples of its profiles as pictures and state files.

    pvpython -m tlp_paraview.experiment pinn --size quick -o FOLDER

The command runs ``tlp experiment``, which reuses existing results, and draws the profiles.
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
from tlp_paraview.commands import exit_code, run_command

_COLUMNS = 7
"""Largest number of columns of small multiples on a page."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an experiment, and draw its profiles.

    Args:
        arguments: arguments of the command. Default: those of the process.

    Returns:
        The exit code: 0, or 1 if a filter printed an error.
    """
    parser = argparse.ArgumentParser(
        prog="tlp_paraview.experiment", description=(__doc__ or "").partition("\n")[0]
    )
    command.add_options(parser)
    options = parser.parse_args(arguments)
    return run_command("experiment", lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    if not command.run(options, report=print):
        return 0
    chosen, folder = named_experiment(options.name), Path(options.output)
    with pipeline.pipeline_errors() as errors:
        for look, runs in _runs_by_look(folder, chosen).items():
            table = arrange(_limit_columns(runs, chosen.columns), chosen.rows, chosen.columns)
            draw_multiples(table, folder / f"profiles_{look}")
    return exit_code(errors)


def draw_multiples(table: LandscapeTable, stem: Path) -> None:
    """Write a picture and a state file of the small multiples of a table.

    Args:
        table: the landscapes.
        stem: path of the files without the endings ``.png`` and ``.pvsm``.
    """
    logarithmic = multiples.can_be_logarithmic(table)
    layout = multiples.show_multiples(table, threshold=PERSISTENCE, logarithmic=logarithmic)
    simple.SaveScreenshot(f"{stem}.png", layout, SeparatorColor=styles.WHITE)
    pipeline.save_state(f"{stem}.pvsm")
    _clear()


def _clear() -> None:
    views.close_views()
    for source in simple.GetSources().values():
        simple.Delete(source)


def _limit_columns(runs: list[Run], columns: str) -> list[Run]:
    """Return the runs of at most ``_COLUMNS`` columns, evenly spaced, first and last included."""
    values = list(dict.fromkeys(run.parameters[columns] for run in runs))
    places = np.linspace(0, len(values) - 1, min(len(values), _COLUMNS)).round().astype(int)
    kept = {values[place] for place in places}
    return [run for run in runs if run.parameters[columns] in kept]


def _runs_by_look(folder: Path, chosen: Any) -> dict[str, list[Run]]:
    """Return the runs of each look; parameters besides rows and columns have their last value."""
    runs = find_runs([folder / "landscapes.csv"])
    for name in runs[0].parameters.keys() - {"look", chosen.rows, chosen.columns}:
        last = runs[-1].parameters[name]
        if any(run.parameters[name] != last for run in runs):
            print(f"only profiles of {name} = {last} are drawn")
        runs = [run for run in runs if run.parameters[name] == last]
    by_look: dict[str, list[Run]] = {}
    for run in runs:
        by_look.setdefault(run.parameters["look"], []).append(run)
    return by_look


if __name__ == "__main__":
    sys.exit(main())
