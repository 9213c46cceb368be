"""TLP Tree Simplification: a merge tree without its small branches, for all filters behind it."""

from __future__ import annotations

from typing import Any

from tlp_paraview.algorithm import output, report_errors
from tlp_paraview.tree_algorithm import TreeAlgorithm, chosen_array


class TLPTreeSimplification(TreeAlgorithm):
    """A filter that simplifies a merge tree by persistence; its ports are those of the tree."""

    LABEL = "TLP Tree Simplification"
    OUTPUTS = ("vtkUnstructuredGrid", "vtkUnstructuredGrid", "vtkDataSet")
    SAME_TYPE = (2, 2)

    def __init__(self) -> None:
        super().__init__()
        self._threshold, self._relative, self._max_minima = 0.0, 1, 10
        self._logarithmic, self._leave_out_noise, self._rate = 0, 0, 0.05

    def SetPersistenceThreshold(self, threshold: float) -> None:
        self.assign("_threshold", threshold)

    def SetRelativeThreshold(self, relative: int) -> None:
        self.assign("_relative", relative)

    def SetUseMaxMinima(self, is_wanted: int) -> None:
        self.use("Max Minima", is_wanted)

    def SetMaxMinima(self, count: int) -> None:
        self.assign_optional("Max Minima", "_max_minima", count)

    def SetLogarithmicPersistence(self, logarithmic: int) -> None:
        self.assign("_logarithmic", logarithmic)

    def SetLeaveOutNoise(self, is_wanted: int) -> None:
        self.assign("_leave_out_noise", is_wanted)

    def SetFalseDiscoveryRate(self, rate: float) -> None:
        self.assign("_rate", rate)

    @report_errors
    def RequestData(self, _request: Any, in_info: Any, out_info: Any) -> int:
        from tlp_core import vtk_bridge

        tree = self.tree(in_info)
        if tree is None:
            return 1
        data, name = self.input_data(in_info, 2), chosen_array(self)
        tree = tree.simplified(
            self._threshold,
            relative=bool(self._relative),
            logarithmic=bool(self._logarithmic),
            max_minima=self.optional("Max Minima", self._max_minima),
        )
        if self._leave_out_noise:
            tree = vtk_bridge.without_noise(tree, data, name, rate=self._rate)
        output(out_info, 0).ShallowCopy(vtk_bridge.tree_to_nodes(tree, data))
        output(out_info, 1).ShallowCopy(vtk_bridge.tree_to_arcs(tree, data))
        filled = vtk_bridge.tree_to_filled_segmentation(tree, data, name)
        output(out_info, 2).ShallowCopy(filled)
        return 1
