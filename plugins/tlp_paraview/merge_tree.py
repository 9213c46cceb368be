"""TLP Merge Tree: the built-in equivalent of TTK's merge tree filter."""

from __future__ import annotations

from typing import Any

from tlp_paraview.algorithm import SameTypeAlgorithm, output, report_errors
from tlp_paraview.tree_algorithm import chosen_array


class TLPMergeTree(SameTypeAlgorithm):
    """The merge tree of sublevel sets, with the ports and arrays of TTK's filter."""

    LABEL = "TLP Merge Tree"
    INPUTS = ("vtkDataSet",)
    OUTPUTS = ("vtkUnstructuredGrid", "vtkUnstructuredGrid", "vtkDataSet")
    SAME_TYPE = (0, 2)

    @report_errors
    def RequestData(self, _request: Any, in_info: Any, out_info: Any) -> int:
        from tlp_core import merge_tree, vtk_bridge

        data = self.input_data(in_info)
        if not data.GetNumberOfPoints():
            return 1
        name = chosen_array(self)
        values, ranks = vtk_bridge.point_values(data, name), vtk_bridge.given_ranks(data, name)
        tree = merge_tree(
            values,
            vtk_bridge.dataset_graph(data),
            ranks=ranks,
            progress=self.show_progress_or_stop,
        )
        output(out_info, 0).ShallowCopy(vtk_bridge.tree_to_nodes(tree, data))
        output(out_info, 1).ShallowCopy(vtk_bridge.tree_to_arcs(tree, data))
        output(out_info, 2).ShallowCopy(vtk_bridge.tree_to_segmentation(tree, data))
        return 1
