"""TLP Distance Map: distances between trees as a map and an embedding, whoever computed them."""

from __future__ import annotations

from typing import Any

from tlp_paraview.algorithm import Algorithm, output, report_errors


class TLPDistanceMap(Algorithm):
    """A filter on a table of distances, such as that of TTK MergeTreeDistanceMatrix."""

    LABEL = "TLP Distance Map"
    INPUTS = ("vtkTable", "vtkMultiBlockDataSet")
    OUTPUTS = ("vtkPolyData", "vtkPolyData", "vtkPolyData")

    @report_errors
    def RequestData(self, _request: Any, in_info: Any, out_info: Any) -> int:
        from tlp_core.vtk_bridge import ensembles

        table, ensemble = (self.input_data(in_info, port) for port in (0, 1))
        if not table.GetNumberOfRows():
            return 1
        distances = ensembles.table_to_distances(table)
        labels, steps = ensembles.labels_and_steps(ensemble)
        if len(labels) != len(distances):
            raise ValueError(
                f"the ensemble must have the {len(distances)} trees of the distances, got "
                f"{len(labels)}; connect port Ensemble of the filter that made the trees"
            )
        for port, data in enumerate(ensembles.distances_to_pictures(distances, labels, steps)):
            output(out_info, port).ShallowCopy(data)
        return 1
