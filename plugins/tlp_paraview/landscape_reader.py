"""TLP Landscape Reader: landscapes that were sampled before, complete or not."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlp_core.landscape.landscape import NEAREST
from tlp_core.landscape.series import find_landscapes, format_step
from tlp_paraview.algorithm import (
    SeriesAlgorithm,
    announce_image,
    announce_steps,
    output,
    report_errors,
    requested_time,
)

IMPORT_ENDING = ".npz"
"""Ending of the landscapes of Landscaper."""

if TYPE_CHECKING:
    from tlp_core.landscape.landscape import Landscape
    from tlp_core.landscape.store import LandscapeStore


class TLPLandscapeReader(SeriesAlgorithm):
    """A reader of stores that TLP Loss Landscape or ``tlp sample`` wrote, and of imports.

    There is one landscape, or one for each step of a training.
    """

    LABEL = "TLP Landscape Reader"
    OUTPUTS = ("vtkUnstructuredGrid", "vtkImageData")

    def __init__(self) -> None:
        super().__init__(find_landscapes)
        self._file_names: list[str] = []
        self._folder = ""
        self._shape: tuple[int, ...] | None = None
        self._follows = False
        self._read = ""

    def AddFileName(self, path: str | None) -> None:
        if path:
            self._file_names.append(path)
            self.Modified()

    def ClearFileNames(self) -> None:
        self.assign("_file_names", [])

    def SetFolder(self, path: str | None) -> None:
        self.assign("_folder", path or "")

    def SetFollowFiles(self, is_wanted: int) -> None:
        self.assign("_follows", bool(is_wanted))

    def GetDataState(self) -> str:
        if not self._follows:
            return ""
        state = {"data": self._fingerprint(), "read": self._read, "is_running": True}
        return json.dumps({**state, "text": "", "progress": "", "error": ""})

    def _places(self) -> list[str]:
        """Return the files, folders and patterns that hold the landscapes."""
        return [*self._file_names, *filter(None, [self._folder])]

    def _fingerprint(self) -> str:
        """Return a text that changes when a step or a chunk is written; empty without files."""
        try:
            places = [self.find_file(name) for name in self._places()]
            paths = [member.path for member in find_landscapes(places)]
            files = [file for path in paths for file in (path, *path.rglob("*"))]
            newest = max((file.stat().st_mtime_ns for file in files), default=0)
        except OSError:  # RequestData reports it
            return ""
        return f"{len(paths)} {len(files)} {newest}"

    def RequestInformation(self, _request: Any, _in_info: Any, out_info: Any) -> int:
        self._read = self._fingerprint() if self._follows else ""
        self._series.scan(self._places())
        shape: tuple[int, ...] | None = None
        # RequestData reports the error
        with suppress(Exception):
            shape = _shape_of(self._series.members[0].path)
        self._shape = shape
        announce_image(out_info, 1, shape or ())
        announce_steps(out_info, 2, self._series.steps)
        return 1

    @report_errors
    def RequestData(self, request: Any, _in_info: Any, out_info: Any) -> int:
        from tlp_core import vtk_bridge

        if not self._places():
            raise ValueError(
                "File Name or Folder must name a landscape, a folder NAME.zarr or an .npz file; "
                "got none"
            )
        member = self._series.at(requested_time(request, out_info))
        landscape = _open(member.path)
        shape = _image_shape(landscape)
        if self._shape not in (None, shape):
            raise ValueError(
                "landscapes of one series must have one shape, because time steps share an image, "
                f"got {shape} at step {format_step(member.step)} instead of {self._shape}; open "
                "each alone"
            )
        step = member.step if len(self._series.members) > 1 else None
        output(out_info, 0).ShallowCopy(vtk_bridge.landscape_to_grid(landscape, step=step))
        output(out_info, 1).ShallowCopy(vtk_bridge.landscape_to_image(landscape, step=step))
        return 1


def _open(path: Path) -> Any:
    """Return the landscape in a store or in a file of another program."""
    from tlp_core import Landscape
    from tlp_core.pipeline.exchange import import_landscape

    return import_landscape(path) if path.suffix == IMPORT_ENDING else Landscape.open(path)


def _shape_of(path: Path) -> tuple[int, ...]:
    """Return the number of points per axis of a landscape; none where it has no image."""
    from tlp_core.landscape.store import LandscapeStore

    return _image_shape(_open(path) if path.suffix == IMPORT_ENDING else LandscapeStore.open(path))


def _image_shape(found: Landscape | LandscapeStore) -> tuple[int, ...]:
    has_image = found.points is None and NEAREST not in found.provenance
    return found.shape if has_image else ()
