"""TLP Landscape Slice: samples along two or three directions, for views of n >= 4."""

from __future__ import annotations

from typing import Any

from tlp_paraview.algorithm import Algorithm, output, report_errors


class TLPLandscapeSlice(Algorithm):
    """A filter that extracts the samples of a grid in a plane or space along its directions."""

    LABEL = "TLP Landscape Slice"
    INPUTS = ("vtkPointSet",)
    OUTPUTS = ("vtkUnstructuredGrid", "vtkPolyData", "vtkPolyData")

    def __init__(self) -> None:
        super().__init__()
        self._directions = (1, 2, 3)
        self._position: list[float] = []

    def SetDirections(self, first: int, second: int, third: int) -> None:
        self.assign("_directions", (first, second, third))

    def AddPosition(self, coordinate: float) -> None:
        self._position.append(coordinate)
        self.Modified()

    def ClearPosition(self) -> None:
        self.assign("_position", [])

    @report_errors
    def RequestData(self, _request: Any, in_info: Any, out_info: Any) -> int:
        from tlp_core import vtk_bridge

        samples = self.input_data(in_info)
        if not samples.GetNumberOfPoints():
            return 1
        part = vtk_bridge.grid_slice(samples, self._chosen_directions(samples), self._position)
        output(out_info, 0).ShallowCopy(part)
        output(out_info, 1).ShallowCopy(vtk_bridge.critical_points_in(part))
        output(out_info, 2).ShallowCopy(vtk_bridge.network_in(part))
        return 1

    def _chosen_directions(self, samples: Any) -> list[int]:
        """Return the directions along x, y and, unless the slice is a plane, z."""
        from tlp_core import vtk_bridge

        plane = len(vtk_bridge.landscape_shape(samples) or ()) == 2
        first_two, third = list(self._directions[:2]), self._directions[2]
        return first_two if plane or not third else [*first_two, third]
