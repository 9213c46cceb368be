"""TLP Tree Ensemble: the merge trees of several landscapes, as TTK's ensemble filters take them."""

from __future__ import annotations

import warnings
from typing import Any

from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline

from tlp_core.choices import DIAGRAM_DISTANCES
from tlp_paraview.algorithm import Algorithm, announce_steps, output, report_errors
from tlp_paraview.tree_algorithm import TreeInputs, chosen_array

_PIPELINE = vtkStreamingDemandDrivenPipeline

DISTANCES = (*DIAGRAM_DISTANCES, "none")


class TLPTreeEnsemble(TreeInputs, Algorithm):
    """A filter that gathers merge trees: of all time steps, or of several inputs."""

    LABEL = "TLP Tree Ensemble"
    OUTPUTS = ("vtkMultiBlockDataSet", "vtkTable", "vtkPolyData", "vtkPolyData", "vtkPolyData")

    def __init__(self) -> None:
        super().__init__()
        self._all_steps, self._distance, self._relative = 1, 0, 1
        self._steps: list[float] = []
        self._members: list[Any] = []
        self._number_of_requests = 0

    def SetAllSteps(self, all_steps: int) -> None:
        self.assign("_all_steps", all_steps)

    def SetDiagramDistance(self, index: int) -> None:
        self.assign("_distance", index)

    def SetRelativeLosses(self, relative: int) -> None:
        self.assign("_relative", relative)

    def ClearNodes(self) -> None:
        self.RemoveAllInputConnections(0)

    def ClearArcs(self) -> None:
        self.RemoveAllInputConnections(1)

    def ClearSegmentation(self) -> None:
        self.RemoveAllInputConnections(2)

    def FillInputPortInformation(self, port: int, info: Any) -> int:
        info.Set(self.INPUT_IS_REPEATABLE(), 1)
        return super().FillInputPortInformation(port, info)

    def RequestInformation(self, _request: Any, in_info: Any, out_info: Any) -> int:
        """Note the steps of the input; the ensemble holds them all, so it has no steps itself."""
        self._steps, self._members, self._number_of_requests = [], [], 0
        counts = {port.GetNumberOfInformationObjects() for port in in_info}
        if self._all_steps and counts == {1}:
            info = in_info[0].GetInformationObject(0)
            if info.Has(_PIPELINE.TIME_STEPS()):
                self._steps = list(info.Get(_PIPELINE.TIME_STEPS()))
        announce_steps(out_info, len(self.OUTPUTS), ())
        return 1

    def RequestUpdateExtent(self, _request: Any, in_info: Any, _out_info: Any) -> int:
        """Ask the inputs for the next step."""
        if self._steps:
            step = self._steps[self._number_of_requests]
            for port in in_info:
                port.GetInformationObject(0).Set(_PIPELINE.UPDATE_TIME_STEP(), step)
        return 1

    @report_errors
    def RequestData(self, request: Any, in_info: Any, out_info: Any) -> int:
        """Gather one step and ask for the next, or gather all inputs; then make the outputs."""
        try:
            self._gather(in_info)
        except BaseException:
            self._end(request)
            raise
        self._number_of_requests += 1
        if self._number_of_requests < len(self._steps):
            request.Set(_PIPELINE.CONTINUE_EXECUTING(), 1)
            return 1
        members = self._members
        self._end(request)
        self._make_outputs(members, out_info)
        return 1

    def _end(self, request: Any) -> None:
        request.Remove(_PIPELINE.CONTINUE_EXECUTING())
        self._members, self._number_of_requests = [], 0

    def _gather(self, in_info: Any) -> None:
        from tlp_core.vtk_bridge.ensembles import Member

        counts = [port.GetNumberOfInformationObjects() for port in in_info]
        if len(set(counts)) > 1:
            raise ValueError(
                "each tree needs nodes, arcs and segmentation, got "
                f"{counts[0]}, {counts[1]} and {counts[2]} of them; connect ports 0, 1 and 2 of "
                "each merge tree filter, in the same order"
            )
        for i in range(counts[0]):
            data = [self.input_data(in_info, port, i) for port in range(3)]
            step = self._steps[self._number_of_requests] if self._steps else None
            label = str(len(self._members)) if step is None else f"{step:.10g}"
            if all(each.GetNumberOfPoints() for each in data):
                self._members.append(Member.copied(label, step, data))
            else:
                which = f"input {i}" if step is None else f"step {label}"
                warnings.warn(f"the tree of {which} is empty and is left out", stacklevel=2)

    def _make_outputs(self, members: list[Any], out_info: Any) -> None:
        from tlp_core import landscape_distances
        from tlp_core.vtk_bridge import ensembles, skeleton_to_tree

        output(out_info, 0).ShallowCopy(ensembles.members_to_blocks(members))
        measure = DISTANCES[self._distance]
        if measure == "none" or not members:
            return
        name = chosen_array(self)
        trees = [skeleton_to_tree(m.nodes, m.arcs, m.segmentation, name) for m in members]
        distances = landscape_distances(trees, distance=measure, relative=bool(self._relative))
        labels = [member.label for member in members]
        steps = [member.step for member in members] if members[0].step is not None else None
        results = (
            ensembles.distances_to_table(distances, steps),
            *ensembles.distances_to_pictures(distances, labels, steps),
        )
        for port, data in enumerate(results, start=1):
            output(out_info, port).ShallowCopy(data)
