"""Further places for the records of a training: TensorBoard and Weights & Biases."""

from __future__ import annotations

import math
import os
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tlp_core.choices import Panel
from tlp_core.pictures import Pictured, draw_landscapes
from tlp_core.profile import landscape_profile
from tlp_core.recorder.record import Record

PREFIX = "landscape/"
"""First part of the names in a dashboard."""

_BASINS = 100
"""Number of basins in a table of Weights & Biases, the most persistent ones."""


class Output(Protocol):
    """A place to which each record is written when it is there."""

    def write(self, record: Record) -> None:
        """Write one record."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoard:
    """Scalars and pictures for TensorBoard (package ``tensorboard``, and matplotlib).

    Every finite number of a record is the scalar ``landscape/NAME`` at its step; the profile, with
    the landscape of one or two directions, is the image ``landscape/picture``.
    """

    def __init__(self, folder: str | os.PathLike[str], *, pictures: bool = True) -> None:
        """Open the files of events.

        Args:
            folder: of the events, such as ``runs/experiment``.
            pictures: write images, too.

        Raises:
            ModuleNotFoundError: if tensorboard is not installed.
        """
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(os.fspath(folder))
        self._pictures = pictures

    def write(self, record: Record) -> None:
        """Write one record."""
        for name, value in record.values.items():
            if math.isfinite(value):
                self._writer.add_scalar(PREFIX + name, value, record.step)
        if self._pictures:
            pixels = picture_of(record)
            self._writer.add_image(f"{PREFIX}picture", pixels, record.step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        """Close the files."""
        self._writer.close()


class WeightsAndBiases:
    """Scalars, pictures and tables of basins for Weights & Biases (package ``wandb``)."""

    def __init__(self, run: Any, *, pictures: bool = True) -> None:
        """Declare the axis of the records.

        Args:
            run: what ``wandb.init`` returned, in any mode. The recorder's numbers have the step
                axis ``landscape/step`` of their own, so that they do not disturb other logs.
            pictures: log the picture and the table of basins, too.
        """
        self._run, self._pictures = run, pictures
        run.define_metric(f"{PREFIX}step")
        run.define_metric(f"{PREFIX}*", step_metric=f"{PREFIX}step")

    def write(self, record: Record) -> None:
        """Log one record."""
        import wandb

        found = {name: value for name, value in record.values.items() if math.isfinite(value)}
        content: dict[str, Any] = {PREFIX + name: value for name, value in found.items()}
        content[f"{PREFIX}step"] = record.step
        if self._pictures:
            content[f"{PREFIX}picture"] = wandb.Image(picture_of(record))
            columns, rows = basins_of(record)
            content[f"{PREFIX}basins"] = wandb.Table(columns=[*columns], data=rows)
        self._run.log(content)

    def close(self) -> None:
        """Leave the run open: it belongs to the training."""


def picture_of(record: Record) -> npt.NDArray[np.uint8]:
    """Return the profile of a record, above the landscape of one or two directions.

    Returns:
        (height, width, 3), red, green and blue; ``matplotlib.pyplot`` is not used, because the
        training may use it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    n = record.landscape.number_of_directions
    panels: tuple[Panel, ...] = ("profile", "landscape") if n <= 2 else ("profile",)
    pictured = Pictured(f"step {record.step}", record.landscape, record.tree)
    canvas = FigureCanvasAgg(draw_landscapes([[pictured]], panels=panels))
    canvas.draw()
    return np.array(canvas.buffer_rgba(), dtype=np.uint8)[:, :, :3]


def basins_of(record: Record) -> tuple[list[str], list[list[float]]]:
    """Return names and rows of a table of the basins, the most persistent ones first."""
    basins = landscape_profile(record.tree).basins
    names = ["birth", "death", "persistence", "size", "average_loss"]
    columns = [getattr(basins, name) for name in names]
    order = sorted(range(len(basins)), key=lambda i: -columns[2][i])[:_BASINS]
    return names, [[float(column[i]) for column in columns] for i in order]
