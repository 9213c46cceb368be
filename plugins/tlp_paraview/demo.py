"""The demo: two trained networks, from checkpoint to profile, with ParaView filters alone.

    pvpython demo.py FOLDER

Trains physics-informed networks for the convection equation at β = 1, which succeeds, and β = 30,
which fails; their checkpoints stay in FOLDER, so that a second run trains nothing.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from paraview import simple

from tlp_core.problems import pinn_convection
from tlp_core.progress import TerminalProgress
from tlp_paraview import pipeline, styles, views
from tlp_paraview.commands import exit_code
from tlp_paraview.pipeline import Pipeline

BETAS = (1, 30)
SEED = 1
DIRECTIONS, RESOLUTION, DISTANCE = 3, 21, 0.25


def main(folder: Path) -> int:
    """Make everything in a folder, and return 1 if a filter printed an error."""
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    pipeline.load_plugin()
    with pipeline.pipeline_errors() as errors:
        built = [landscape(beta, checkpoint(beta, folder), folder) for beta in BETAS]
        if not errors:
            picture(compared(built), folder / "profiles_side_by_side.png")
    print(f"\nDone in {time.monotonic() - start:.0f} s. Everything is in {folder}:")
    for file in sorted(folder.iterdir()):
        print(f"  {file.name}")
    views.close_views()
    return exit_code(errors)


def stem(beta: int) -> str:
    """Return the start of the names of one network's files."""
    return f"pinn_convection_beta{beta}"


def checkpoint(beta: int, folder: Path) -> Path:
    """Return the trained parameters, trained now where they are not there yet."""
    path = folder / f"{stem(beta)}.pt"
    if path.exists():
        print(f"beta = {beta}: using {path.name}")
        return path
    problem = pinn_convection.make_problem(beta=beta, seed=SEED)
    pinn_convection.train(problem, progress=TerminalProgress(f"beta = {beta}: training"))
    pinn_convection.save_checkpoint(problem, path)
    return path


def landscape(beta: int, parameters: Path, folder: Path) -> Pipeline:
    """Build the pipeline for one network, and write its picture and data."""
    source = simple.TLPLossLandscape(
        registrationName=f"PINN beta {beta}",
        Problem="pinn-convection",
        Arguments=f"beta={beta}, seed={SEED}",
        Checkpoint=str(parameters),
        NumberOfDirections=DIRECTIONS,
        Resolution=RESOLUTION,
        Distance=DISTANCE,
    )
    show_progress(source, f"beta = {beta}: landscape")
    built = pipeline.build(source)
    print(f"beta = {beta}: merge tree by {built.tree_filter}")
    if built.profile.GetDataInformation().GetNumberOfPoints():
        picture(views.show_landscape(built), folder / f"{stem(beta)}.png")
        save(built, folder / stem(beta))
    return built


def compared(built: list[Pipeline]) -> Any:
    """Return the views of profiles side by side, whose losses lie orders of magnitude apart."""
    for one in built:
        one.profile.LogarithmicLoss = 1
        one.profile.UpdatePipeline()
    return views.compare_profiles(built)


def show_progress(source: Any, text: str) -> None:
    """Tell on the terminal how far the source is."""
    algorithm = source.GetClientSideObject()
    tell = TerminalProgress(text)
    algorithm.AddObserver(
        "ProgressEvent",
        lambda caller, _event: tell(caller.GetProgress(), caller.GetProgressText() or ""),
    )


def picture(layout: Any, path: Path) -> None:
    """Write both views of a layout."""
    simple.SaveScreenshot(
        str(path), layout, ImageResolution=list(views.SIZE), SeparatorColor=styles.WHITE
    )


def save(built: Pipeline, path: Path) -> None:
    """Write the basins, the samples and the descriptors."""
    simple.SaveData(f"{path}_basins.vtp", proxy=built.basins)
    simple.SaveData(f"{path}_samples.vtu", proxy=built.samples)
    simple.SaveData(f"{path}_descriptors.csv", proxy=built.descriptors, Precision=10)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
