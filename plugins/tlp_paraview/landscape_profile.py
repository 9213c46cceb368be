"""TLP Landscape Profile: the basins of a merge tree, drawn in the plane."""

from __future__ import annotations

from typing import Any

from tlp_paraview.algorithm import SameTypeAlgorithm, fails_in_words, output
from tlp_paraview.merge_tree import chosen_array


class TreeAlgorithm(SameTypeAlgorithm):
    """A filter of the three outputs of a merge tree filter, with a persistence threshold."""

    INPUTS = ("vtkUnstructuredGrid", "vtkUnstructuredGrid", "vtkDataSet")

    def __init__(self) -> None:
        super().__init__()
        self._threshold, self._relative, self._max_minima = 0.0, 1, 0
        self._whole_tree: tuple[Any, Any] = (None, None)

    def SetPersistenceThreshold(self, threshold: float) -> None:
        self.assign("_threshold", threshold)

    def SetRelativeThreshold(self, relative: int) -> None:
        self.assign("_relative", relative)

    def SetMaxMinima(self, count: int) -> None:
        self.assign("_max_minima", count)

    def tree(self, in_info: Any) -> Any:
        """Return the simplified merge tree of the inputs, None where one of them is empty."""
        inputs = [self.input_data(in_info, port) for port in range(3)]
        if not all(data.GetNumberOfPoints() for data in inputs):
            return None
        return self._unsimplified(inputs).simplified(
            self._threshold, relative=bool(self._relative), max_minima=self._max_minima or None
        )

    def _unsimplified(self, inputs: list[Any]) -> Any:
        """Return the merge tree of the inputs, kept while they stay and a threshold moves."""
        from tlp_core import vtk_bridge

        name = chosen_array(self)
        state = (name, *(data.GetMTime() for data in inputs))
        if self._whole_tree[0] != state:
            self._whole_tree = (state, vtk_bridge.skeleton_to_tree(*inputs, name))
        return self._whole_tree[1]


class TLPLandscapeProfile(TreeAlgorithm):
    """The topological landscape profile."""

    LABEL = "TLP Landscape Profile"
    OUTPUTS = ("vtkPolyData", "vtkPolyData", "vtkDataSet", "vtkPolyData")
    SAME_TYPE = (2, 2)

    def __init__(self) -> None:
        super().__init__()
        self._tolerance, self._height_scale = 1e-4, 0.0

    def SetTolerance(self, tolerance: float) -> None:
        self.assign("_tolerance", tolerance)

    def SetHeightScale(self, scale: float) -> None:
        self.assign("_height_scale", scale)

    @fails_in_words
    def RequestData(self, _request: Any, in_info: Any, out_info: Any) -> int:
        from tlp_core import landscape_profile, vtk_bridge

        tree = self.tree(in_info)
        if tree is None:
            return 1
        profile = landscape_profile(tree, tolerance=self._tolerance)
        scale = self._height_scale or vtk_bridge.automatic_height_scale(profile)
        samples = self.input_data(in_info, 2)
        coordinates = vtk_bridge.sample_coordinates(samples)
        points = vtk_bridge.profile_to_critical_points(profile, scale, coordinates)
        output(out_info, 0).ShallowCopy(vtk_bridge.profile_to_basins(profile, scale))
        output(out_info, 1).ShallowCopy(points)
        output(out_info, 2).ShallowCopy(vtk_bridge.profile_to_samples(tree, samples))
        output(out_info, 3).ShallowCopy(vtk_bridge.profile_to_outline(profile, scale))
        return 1
