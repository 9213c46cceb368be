"""TLP Landscape Reader: a landscape that was sampled before, finished or not."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from tlp_core.landscape.series import find_landscapes
from tlp_paraview.algorithm import (
    SeriesAlgorithm,
    announce_image,
    announce_steps,
    fails_in_words,
    output,
    requested_time,
)


class TLPLandscapeReader(SeriesAlgorithm):
    """Reads the Zarr store that TLP Loss Landscape or ``tlp sample`` wrote, or a series of them."""

    LABEL = "TLP Landscape Reader"
    OUTPUTS = ("vtkUnstructuredGrid", "vtkImageData")

    def __init__(self) -> None:
        super().__init__(find_landscapes)
        self._file_names: list[str] = []

    def AddFileName(self, path: str | None) -> None:
        if path:
            self._file_names.append(path)
            self.Modified()

    def ClearFileNames(self) -> None:
        self.assign("_file_names", [])

    def RequestInformation(self, _request: Any, _in_info: Any, out_info: Any) -> int:
        from tlp_core.landscape.store import LandscapeStore

        self._series.look(self._file_names)
        shape: tuple[int, ...] = ()
        with suppress(OSError, ValueError, IndexError):  # RequestData says what is wrong
            store = LandscapeStore.open(self._series.members[0].path)
            shape = store.shape if store.points is None else ()
        announce_image(out_info, 1, shape)
        announce_steps(out_info, 2, self._series.steps)
        return 1

    @fails_in_words
    def RequestData(self, _request: Any, _in_info: Any, out_info: Any) -> int:
        from tlp_core import Landscape, vtk_bridge

        if not self._file_names:
            raise ValueError("File Name must name a landscape, a folder that ends in .zarr")
        member = self._series.at(requested_time(out_info))
        landscape = Landscape.open(member.path)
        step = member.step if len(self._series.members) > 1 else None
        output(out_info, 0).ShallowCopy(vtk_bridge.landscape_to_grid(landscape, step=step))
        output(out_info, 1).ShallowCopy(vtk_bridge.landscape_to_image(landscape, step=step))
        return 1
