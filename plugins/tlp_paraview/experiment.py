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

from paraview import simple

from tlp_core.experiments import EXPERIMENTS, named_experiment
from tlp_core.sweeps import Run, arranged
from tlp_paraview import multiples, pipeline, styles, views
from tlp_paraview.commands import in_words


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
    with pipeline.pipeline_errors() as errors:
        for look, runs in _runs_by_look(folder, chosen).items():
            draw(arranged(runs, chosen.rows, chosen.columns), folder / f"profiles_{look}")
    for error in errors:
        print(f"failed: {error}", file=sys.__stderr__)
    return 1 if errors else 0


def draw(sweep: Any, stem: Path) -> None:
    """Write the picture of a sweep, NAME.png, and its state file, NAME.pvsm."""
    logarithmic = multiples.can_be_logarithmic(sweep)
    layout = multiples.show_multiples(sweep, logarithmic=logarithmic)
    simple.SaveScreenshot(f"{stem}.png", layout, SeparatorColor=styles.WHITE)
    simple.SaveState(f"{stem}.pvsm")
    views.close_views()
    for source in simple.GetSources().values():
        simple.Delete(source)


def _runs_by_look(folder: Path, chosen: Any) -> dict[str, list[Run]]:
    """Return the runs of each look; of several steps the last, unless steps are the columns."""
    with open(folder / "landscapes.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    if chosen.columns != "step":
        last = max(int(row["step"]) for row in table)
        table = [row for row in table if int(row["step"]) == last]
    elif chosen.rows != "seed" and "seed" in table[0]:
        first = table[0]["seed"]
        table = [row for row in table if row["seed"] == first]
    runs: dict[str, list[Run]] = {}
    for row in table:
        runs.setdefault(row["look"], []).append(Run(folder / row["landscape"], row))
    return runs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tlp_paraview.experiment", description=__doc__)
    parser.add_argument("name", choices=list(EXPERIMENTS))
    parser.add_argument("-o", "--output", default="experiment", help="folder (experiment)")
    parser.add_argument("--size", choices=("quick", "medium", "full"), default="full")
    return parser


if __name__ == "__main__":
    sys.exit(main())
