"""TLP Landscape Descriptors: numbers that describe a merge tree, as a table."""

from __future__ import annotations

from typing import Any

from tlp_paraview.algorithm import Algorithm, output, report_errors
from tlp_paraview.tree_algorithm import FormerlySimplifying


class TLPLandscapeDescriptors(FormerlySimplifying):
    """A filter that returns a table with one row of descriptors."""

    LABEL = "TLP Landscape Descriptors"
    OUTPUTS = ("vtkTable",)
    RequestDataObject = Algorithm.RequestDataObject

    @report_errors
    def RequestData(self, _request: Any, in_info: Any, out_info: Any) -> int:
        from tlp_core import describe, vtk_bridge

        tree = self.tree(in_info)
        if tree is None:
            return 1
        provenance = vtk_bridge.provenance(self.input_data(in_info, 2))
        extra = {"problem": provenance.get("problem", ""), **provenance.get("metrics", {})}
        output(out_info, 0).ShallowCopy(vtk_bridge.descriptors_to_table(describe(tree), extra))
        return 1
