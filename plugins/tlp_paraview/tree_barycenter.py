"""TLP Tree Barycenter: the mean of the merge trees of a cluster, as a graph."""

from __future__ import annotations

from typing import Any

from tlp_paraview.algorithm import Algorithm, output, report_errors


class TLPTreeBarycenter(Algorithm):
    """A filter that makes a barycentre of TTK's clustering a graph, whose profile can be drawn."""

    LABEL = "TLP Tree Barycenter"
    INPUTS = ("vtkMultiBlockDataSet",) * 3
    OUTPUTS = ("vtkUnstructuredGrid", "vtkTable")

    def __init__(self) -> None:
        super().__init__()
        self._cluster = 0

    def SetCluster(self, cluster: int) -> None:
        self.assign("_cluster", cluster)

    @report_errors
    def RequestData(self, _request: Any, in_info: Any, out_info: Any) -> int:
        from tlp_core.vtk_bridge import barycenters

        inputs = [self.input_data(in_info, port) for port in range(3)]
        if not all(data.GetNumberOfBlocks() for data in inputs):
            return 1
        clusters = barycenters.Clusters(*inputs)
        graph = barycenters.barycenter_to_graph(clusters, self._cluster)
        output(out_info, 0).ShallowCopy(graph)
        output(out_info, 1).ShallowCopy(barycenters.clusters_to_table(clusters))
        return 1
