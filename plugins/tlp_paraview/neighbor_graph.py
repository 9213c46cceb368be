"""TLP Neighbor Graph: joins neighbouring samples by lines."""

from __future__ import annotations

from typing import Any

from tlp_paraview.algorithm import Algorithm, fails_in_words, output

GRAPHS = ("automatic", "grid", "k nearest neighbors")


class TLPNeighborGraph(Algorithm):
    """Adds the cells that a merge tree filter walks along."""

    LABEL = "TLP Neighbor Graph"
    INPUTS = ("vtkPointSet",)
    OUTPUTS = ("vtkUnstructuredGrid",)

    def __init__(self) -> None:
        super().__init__()
        self._graph, self._grid_rule = 0, 1
        self._k, self._knn_rule, self._method, self._seed = 0, 0, 0, 0

    def SetGraph(self, index: int) -> None:
        self.assign("_graph", index)

    def SetGridRule(self, index: int) -> None:
        self.assign("_grid_rule", index)

    def SetNumberOfNeighbors(self, k: int) -> None:
        self.assign("_k", k)

    def SetNeighborRule(self, index: int) -> None:
        self.assign("_knn_rule", index)

    def SetNeighborMethod(self, index: int) -> None:
        self.assign("_method", index)

    def SetSeed(self, seed: int) -> None:
        self.assign("_seed", seed)

    @fails_in_words
    def RequestData(self, _request: Any, in_info: Any, out_info: Any) -> int:
        from tlp_core import vtk_bridge

        samples = self.input_data(in_info)
        if samples.GetNumberOfPoints():
            edges, rule = self._edges(samples)
            output(out_info, 0).ShallowCopy(vtk_bridge.with_edges(samples, edges, rule))
        else:
            output(out_info, 0).Initialize()
        return 1

    def _edges(self, samples: Any) -> tuple[Any, str]:
        from tlp_core import grid_graph, knn_graph, vtk_bridge
        from tlp_core.neighbors import GRID_RULES, KNN_METHODS, KNN_RULES

        shape = vtk_bridge.landscape_shape(samples)
        kind = GRAPHS[self._graph]
        if kind == "grid" and shape is None:
            raise ValueError(
                "a grid graph needs field data 'Shape', got none; choose k nearest neighbors"
            )
        if shape is not None and kind != "k nearest neighbors":
            grid = grid_graph(shape, rule=GRID_RULES[self._grid_rule])
            return grid.edges(), grid.rule
        graph = knn_graph(
            vtk_bridge.sample_coordinates(samples),
            k=self._k or None,
            rule=KNN_RULES[self._knn_rule],
            method=KNN_METHODS[self._method],
            seed=self._seed,
        )
        return graph.edges, f"{KNN_RULES[self._knn_rule]} k-NN, {graph.bridges} bridges"
