"""TLP Basin Tracking: which basins continue, appear, vanish, merge and split along a training."""

from __future__ import annotations

from typing import Any

from tlp_core.array_names import LOSS
from tlp_paraview.algorithm import Algorithm, output, report_errors


class TLPBasinTracking(Algorithm):
    """A filter that relates the basins of consecutive trees of an ensemble by shared samples."""

    LABEL = "TLP Basin Tracking"
    INPUTS = ("vtkMultiBlockDataSet",)
    OUTPUTS = ("vtkPolyData", "vtkPolyData", "vtkTable", "vtkPolyData")

    def __init__(self) -> None:
        super().__init__()
        self._array, self._overlap = LOSS, 0.25

    def SetArray(self, name: str | None) -> None:
        self.assign("_array", name or LOSS)

    def SetOverlap(self, overlap: float) -> None:
        self.assign("_overlap", overlap)

    @report_errors
    def RequestData(self, _request: Any, in_info: Any, out_info: Any) -> int:
        from tlp_core.analysis.tracking import track_basins
        from tlp_core.vtk_bridge import heat_map, tracking

        ensemble = self.input_data(in_info)
        if not ensemble.GetNumberOfBlocks():
            return 1
        trees, steps = tracking.ensemble_trees(ensemble, self._array)
        tracked = track_basins(trees, overlap=self._overlap)
        basins, lines = tracking.tracking_to_graph(tracked, steps)
        bottom = basins.GetBounds()[2] - tracking.MARGIN * max(len(steps) - 1, 1)
        labels = heat_map.step_labels(steps, bottom)
        events = tracking.tracking_to_events(tracked, steps)
        for port, data in enumerate((basins, lines, events, labels)):
            output(out_info, port).ShallowCopy(data)
        return 1
