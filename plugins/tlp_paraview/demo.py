"""The demo: two trained networks, from checkpoint to profile, with ParaView filters only.

    pvpython demo.py FOLDER

It trains physics-informed networks for the convection equation: at β = 1, where training succeeds,
and at β = 30, where training fails. The checkpoints are kept in FOLDER, and a second run reuses
them.
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
    """Write checkpoints, pictures and data to a folder.

    Args:
        folder: the folder, which is made if it does not exist.

    Returns:
        The exit code: 0, or 1 if a filter printed an error.
    """
    start = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    pipeline.load_plugin()
    with pipeline.pipeline_errors() as errors:
        built = [build_landscape(beta, trained_checkpoint(beta, folder), folder) for beta in BETAS]
        if not errors:
            save_picture(compare(built), folder / "profiles_side_by_side.png")
    print(f"\nDone in {time.monotonic() - start:.0f} s. The files are in {folder}:")
    for file in sorted(folder.iterdir()):
        print(f"  {file.name}")
    views.close_views()
    return exit_code(errors)


def stem(beta: int) -> str:
    """Return the stem of the file names of one network."""
    return f"pinn_convection_beta{beta}"


def trained_checkpoint(beta: int, folder: Path) -> Path:
    """Return the checkpoint of a trained network, which is trained if there is no checkpoint."""
    path = folder / f"{stem(beta)}.pt"
    if path.exists():
        print(f"beta = {beta}: using {path.name}")
        return path
    problem = pinn_convection.make_problem(beta=beta, seed=SEED)
    pinn_convection.train(problem, progress=TerminalProgress(f"beta = {beta}: training"))
    pinn_convection.save_checkpoint(problem, path)
    return path


def build_landscape(beta: int, parameters: Path, folder: Path) -> Pipeline:
    """Build the pipeline of one network, and write its picture and data."""
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
        save_picture(views.show_landscape(built), folder / f"{stem(beta)}.png")
        save_data(built, folder / stem(beta))
    return built


def compare(built: list[Pipeline]) -> Any:
    """Show two profiles side by side, on a logarithmic axis because their losses differ widely."""
    for one in built:
        one.profile.LogarithmicLoss = 1
        one.profile.UpdatePipeline()
    return views.compare_profiles(built)


def show_progress(source: Any, text: str) -> None:
    """Print the progress of a source on the terminal."""
    algorithm = source.GetClientSideObject()
    report = TerminalProgress(text)
    algorithm.AddObserver(
        "ProgressEvent",
        lambda caller, _event: report(caller.GetProgress(), caller.GetProgressText() or ""),
    )


def save_picture(layout: Any, path: Path) -> None:
    """Write a picture of both views of a layout."""
    simple.SaveScreenshot(
        str(path), layout, ImageResolution=list(views.SIZE), SeparatorColor=styles.WHITE
    )


def save_data(built: Pipeline, path: Path) -> None:
    """Write the basins, the samples and the descriptors to files."""
    simple.SaveData(f"{path}_basins.vtp", proxy=built.basins)
    simple.SaveData(f"{path}_samples.vtu", proxy=built.samples)
    simple.SaveData(f"{path}_descriptors.csv", proxy=built.descriptors, Precision=10)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
