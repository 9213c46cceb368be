"""TLP Landscape Slice: two or three of the directions of a landscape, for views of n >= 4."""

from __future__ import annotations

from typing import Any

from tlp_paraview.algorithm import Algorithm, fails_in_words, output


class TLPLandscapeSlice(Algorithm):
    """The samples of a grid in a plane or space along some of its directions."""

    LABEL = "TLP Landscape Slice"
    INPUTS = ("vtkPointSet",)
    OUTPUTS = ("vtkUnstructuredGrid",)

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

    @fails_in_words
    def RequestData(self, _request: Any, in_info: Any, out_info: Any) -> int:
        from tlp_core import vtk_bridge

        samples = self.input_data(in_info)
        if not samples.GetNumberOfPoints():
            output(out_info, 0).Initialize()
            return 1
        shown = [direction for direction in self._directions if direction]
        output(out_info, 0).ShallowCopy(vtk_bridge.grid_slice(samples, shown, self._position))
        return 1
