"""TLP Landscape Reader: landscapes that were sampled before, complete or not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from tlp_core.landscape.series import find_landscapes
from tlp_paraview.algorithm import (
    SeriesAlgorithm,
    announce_image,
    announce_steps,
    output,
    report_errors,
    requested_time,
)


class TLPLandscapeReader(SeriesAlgorithm):
    """A reader of stores that TLP Loss Landscape or ``tlp sample`` wrote: one, or one per step."""

    LABEL = "TLP Landscape Reader"
    OUTPUTS = ("vtkUnstructuredGrid", "vtkImageData")

    def __init__(self) -> None:
        super().__init__(find_landscapes)
        self._file_names: list[str] = []
        self._shape: tuple[int, ...] | None = None

    def AddFileName(self, path: str | None) -> None:
        if path:
            self._file_names.append(path)
            self.Modified()

    def ClearFileNames(self) -> None:
        self.assign("_file_names", [])

    def RequestInformation(self, _request: Any, _in_info: Any, out_info: Any) -> int:
        self._series.scan(self._file_names)
        shape: tuple[int, ...] | None = None
        # RequestData reports the error
        with suppress(Exception):
            from tlp_core.landscape.store import LandscapeStore

            store = LandscapeStore.open(self._series.members[0].path)
            shape = store.shape if store.points is None else ()
        self._shape = shape
        announce_image(out_info, 1, shape or ())
        announce_steps(out_info, 2, self._series.steps)
        return 1

    @report_errors
    def RequestData(self, request: Any, _in_info: Any, out_info: Any) -> int:
        from tlp_core import Landscape, vtk_bridge

        if not self._file_names:
            raise ValueError(
                "File Name must name a landscape, a folder that ends in .zarr; got none"
            )
        member = self._series.at(requested_time(request, out_info))
        landscape = Landscape.open(member.path)
        shape = landscape.shape if landscape.points is None else ()
        if self._shape not in (None, shape):
            raise ValueError(
                "landscapes of one series must have one shape, because time steps share an image, "
                f"got {shape} at step {member.step:g} instead of {self._shape}; open each alone"
            )
        step = member.step if len(self._series.members) > 1 else None
        output(out_info, 0).ShallowCopy(vtk_bridge.landscape_to_grid(landscape, step=step))
        output(out_info, 1).ShallowCopy(vtk_bridge.landscape_to_image(landscape, step=step))
        return 1
