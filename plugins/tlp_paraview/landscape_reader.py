"""TLP Landscape Reader: a landscape that was sampled before, finished or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tlp_paraview.algorithm import Algorithm, announce_image, fails_in_words, output
from tlp_paraview.files import found


class TLPLandscapeReader(Algorithm):
    """Reads the Zarr store that TLP Loss Landscape or ``tlp sample`` wrote."""

    LABEL = "TLP Landscape Reader"
    OUTPUTS = ("vtkUnstructuredGrid", "vtkImageData")

    def __init__(self) -> None:
        super().__init__()
        self._file_name = ""

    def SetFileName(self, path: str | None) -> None:
        self.assign("_file_name", path or "")

    def RequestInformation(self, _request: Any, _in_info: Any, out_info: Any) -> int:
        from tlp_core.landscape_store import LandscapeStore

        try:
            store = LandscapeStore.open(self._folder())
            shape = store.shape if store.points is None else ()
        except (OSError, ValueError):
            shape = ()  # RequestData says what is wrong
        announce_image(out_info, 1, shape)
        return 1

    @fails_in_words
    def RequestData(self, _request: Any, _in_info: Any, out_info: Any) -> int:
        from tlp_core import Landscape, vtk_bridge

        landscape = Landscape.open(self._folder())
        output(out_info, 0).ShallowCopy(vtk_bridge.landscape_to_grid(landscape))
        output(out_info, 1).ShallowCopy(vtk_bridge.landscape_to_image(landscape))
        return 1

    def _folder(self) -> Path:
        """Return the store; ParaView's file dialog may have gone into it."""
        if not self._file_name:
            raise ValueError("File Name must name a landscape, a folder that ends in .zarr")
        path = Path(found(self._file_name))
        return path.parent if path.name == "zarr.json" else path
