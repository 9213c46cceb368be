"""TLP Neighbor Graph: lines between neighbouring samples."""

from __future__ import annotations

from typing import Any

from tlp_paraview.algorithm import Algorithm, output, report_errors

GRAPHS = ("automatic", "grid", "k nearest neighbors")
IMPLICIT = ("automatic", "on", "off")

MAX_LINES = 10_000_000
"""Largest number of lines made by default on a grid, for which TTK's filter takes a minute."""


def reason_against_ttk(*, has_lines: bool, n: int, arcs_at_root: int) -> str:
    """Return the reason why TTK's merge tree filter cannot follow a graph; empty if it can.

    Args:
        has_lines: whether the graph has lines.
        n: number of directions.
        arcs_at_root: number of arcs that end at the root of the merge tree.
    """
    if not has_lines:
        return "the graph is implicit, and TTK's filter needs its lines"
    if n < 2 or arcs_at_root > 1:
        return "TTK's filter crashes where the highest sample joins several basins"
    return ""


class TLPNeighborGraph(Algorithm):
    """A filter that adds the lines between neighbours, on which a merge tree filter works."""

    LABEL = "TLP Neighbor Graph"
    INPUTS = ("vtkPointSet",)
    OUTPUTS = ("vtkUnstructuredGrid",)

    def __init__(self) -> None:
        super().__init__()
        self._graph, self._grid_rule = 0, 1
        self._k, self._knn_rule, self._method, self._seed = 8, 0, 0, 0
        self._implicit, self._check_for_ttk = 0, 0

    def SetGraph(self, index: int) -> None:
        self.assign("_graph", index)

    def SetGridRule(self, index: int) -> None:
        self.assign("_grid_rule", index)

    def SetUseNumberOfNeighbors(self, is_wanted: int) -> None:
        self.use("Number Of Neighbors", is_wanted)

    def SetNumberOfNeighbors(self, k: int) -> None:
        self.assign_optional("Number Of Neighbors", "_k", k)

    def SetNeighborRule(self, index: int) -> None:
        self.assign("_knn_rule", index)

    def SetNeighborMethod(self, index: int) -> None:
        self.assign("_method", index)

    def SetSeed(self, seed: int) -> None:
        self.assign("_seed", seed)

    def SetImplicitGraph(self, index: int) -> None:
        self.assign("_implicit", index)

    def SetCheckForTTK(self, check: int) -> None:
        self.assign("_check_for_ttk", check)

    @report_errors
    def RequestData(self, _request: Any, in_info: Any, out_info: Any) -> int:
        from tlp_core import vtk_bridge

        samples = self.input_data(in_info)
        if not samples.GetNumberOfPoints():
            output(out_info, 0).Initialize()
            return 1
        shape = self._grid_shape(samples)
        graph, rule = self._grid_graph(shape) if shape else self._knn_graph(samples)
        implicit = bool(shape) and self._omits_lines(graph.number_of_edges)
        if self._check_for_ttk:
            self._require_fit_for_ttk(samples, graph, implicit)
        with_graph = vtk_bridge.with_graph(samples, graph, rule, implicit=implicit)
        output(out_info, 0).ShallowCopy(with_graph)
        return 1

    def _require_fit_for_ttk(self, samples: Any, graph: Any, implicit: bool) -> None:
        from tlp_core import merge_tree, vtk_bridge
        from tlp_core.array_names import LOSS

        values = vtk_bridge.point_values(samples, LOSS)
        tree = merge_tree(values, graph, progress=self.show_progress_or_stop)
        reason = reason_against_ttk(
            has_lines=not implicit,
            n=vtk_bridge.sample_coordinates(samples).shape[1],
            arcs_at_root=int((tree.parent == tree.number_of_arcs).sum()),
        )
        if reason:
            raise RuntimeError(
                f"{reason}; use TLP Merge Tree instead, for example by pressing the macro's button "
                "again, or turn Check For TTK off"
            )

    def _grid_shape(self, samples: Any) -> tuple[int, ...] | None:
        """Return the number of samples per axis, or None for a graph of k nearest neighbours."""
        from tlp_core import vtk_bridge

        shape = vtk_bridge.landscape_shape(samples)
        kind = GRAPHS[self._graph]
        if kind == "grid" and shape is None:
            raise ValueError(
                "a grid graph needs field data 'Shape', got none; choose k nearest neighbors"
            )
        if kind == "k nearest neighbors" or shape is None:
            return None
        vtk_bridge.check_whole_grid(samples, shape, "a grid graph")
        return shape

    def _grid_graph(self, shape: tuple[int, ...]) -> tuple[Any, str]:
        from tlp_core import grid_graph
        from tlp_core.choices import GRID_RULES

        graph = grid_graph(shape, rule=GRID_RULES[self._grid_rule])
        return graph, graph.rule

    def _knn_graph(self, samples: Any) -> tuple[Any, str]:
        from tlp_core import knn_graph, vtk_bridge
        from tlp_core.choices import KNN_METHODS, KNN_RULES

        rule = KNN_RULES[self._knn_rule]
        graph = knn_graph(
            vtk_bridge.sample_coordinates(samples),
            k=self.optional("Number Of Neighbors", self._k),
            rule=rule,
            method=KNN_METHODS[self._method],
            seed=self._seed,
            progress=self.show_progress_or_stop,
        )
        return graph, f"{rule} k-NN, recall {graph.recall:.3g}, {graph.bridges} bridges"

    def _omits_lines(self, number_of_edges: int) -> bool:
        choice = IMPLICIT[self._implicit]
        return choice == "on" or (choice == "automatic" and number_of_edges > MAX_LINES)
