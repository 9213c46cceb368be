"""TLP Block Table: every block at every step of a training, as a heat map."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from tlp_paraview.algorithm import (
    Algorithm,
    announce_steps,
    output,
    report_errors,
    requested_time,
)
from tlp_paraview.files import find_file, opened_state_folder


class TLPBlockTable(Algorithm):
    """A reader of a table that ``tlp blocks`` wrote."""

    LABEL = "TLP Block Table"
    OUTPUTS = ("vtkPolyData", "vtkPolyData", "vtkPolyData")

    def __init__(self) -> None:
        super().__init__()
        self._file_name = ""
        self._beside = opened_state_folder()
        self._steps: list[float] = []

    def SetFileName(self, path: str | None) -> None:
        self.assign("_file_name", path or "")

    def GetTimestepValues(self) -> list[float]:
        return self._steps

    def Refresh(self) -> None:
        self.Modified()

    def RequestInformation(self, _request: Any, _in_info: Any, out_info: Any) -> int:
        self._steps = []
        # RequestData reports the error
        with suppress(Exception):
            self._steps = self._read().steps.tolist()
        announce_steps(out_info, 3, self._steps)
        return 1

    @report_errors
    def RequestData(self, request: Any, _in_info: Any, out_info: Any) -> int:
        from tlp_core.vtk_bridge import heat_map

        rows = self._read()
        time = requested_time(request, out_info)
        output(out_info, 0).ShallowCopy(heat_map.heat_map(rows))
        output(out_info, 1).ShallowCopy(heat_map.heat_map_labels(rows))
        output(out_info, 2).ShallowCopy(heat_map.step_frame(rows, time))
        return 1

    def _read(self) -> Any:
        from tlp_core.landscape.block_rows import read_block_rows

        if not self._file_name:
            raise ValueError("File Name must name a table of tlp blocks, NAME.csv; got none")
        return read_block_rows(find_file(self._file_name, self._beside))
