"""TLP Landscape Profile: the basins of a merge tree, drawn in the plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tlp_paraview.algorithm import SameTypeAlgorithm, output, report_errors
from tlp_paraview.merge_tree import chosen_array

WIDTHS = ("samples", "n-th root")


@dataclass(frozen=True)
class Places:
    """The places of the samples at one step of a training.

    Attributes:
        step: the step; None if there are no places.
        x: (N,) x of each sample in the profile; None if there are no places.
    """

    step: float | None
    x: Any


NO_PLACES = Places(None, None)


class TreeAlgorithm(SameTypeAlgorithm):
    """A filter on the three outputs of a merge tree filter, which it simplifies by persistence."""

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
        """Return the simplified merge tree of the inputs, or None if one of them is empty."""
        inputs = [self.input_data(in_info, port) for port in range(3)]
        if not all(data.GetNumberOfPoints() for data in inputs):
            return None
        return self._unsimplified(inputs).simplified(
            self._threshold, relative=bool(self._relative), max_minima=self._max_minima or None
        )

    def _unsimplified(self, inputs: list[Any]) -> Any:
        """Return the merge tree of the inputs; it is reused until the inputs change."""
        from tlp_core import vtk_bridge

        name = chosen_array(self)
        state = (name, *(data.GetMTime() for data in inputs))
        if self._whole_tree[0] != state:
            self._whole_tree = (state, vtk_bridge.skeleton_to_tree(*inputs, name))
        return self._whole_tree[1]


class TLPLandscapeProfile(TreeAlgorithm):
    """A filter that draws the topological landscape profile of a merge tree."""

    LABEL = "TLP Landscape Profile"
    OUTPUTS = (
        "vtkPolyData",
        "vtkPolyData",
        "vtkDataSet",
        "vtkPolyData",
        "vtkPolyData",
        "vtkTable",
    )
    SAME_TYPE = (2, 2)

    def __init__(self) -> None:
        super().__init__()
        self._order, self._keep_places, self._width = 0, 1, 0
        self._logarithmic, self._loss_range = 0, (0.0, 0.0)
        self._tolerance, self._height_scale = 1e-4, 0.0
        self._current = self._previous = NO_PLACES

    def SetOrder(self, index: int) -> None:
        self.assign("_order", index)

    def SetKeepPlaces(self, keep: int) -> None:
        self.assign("_keep_places", keep)

    def SetWidth(self, index: int) -> None:
        self.assign("_width", index)

    def SetLogarithmicLoss(self, logarithmic: int) -> None:
        self.assign("_logarithmic", logarithmic)

    def SetLossRange(self, low: float, high: float) -> None:
        self.assign("_loss_range", (low, high))

    def SetTolerance(self, tolerance: float) -> None:
        self.assign("_tolerance", tolerance)

    def SetHeightScale(self, scale: float) -> None:
        self.assign("_height_scale", scale)

    @report_errors
    def RequestData(self, _request: Any, in_info: Any, out_info: Any) -> int:
        from tlp_core import vtk_bridge

        tree = self.tree(in_info)
        if tree is None:
            return 1
        samples = self.input_data(in_info, 2)
        coordinates = vtk_bridge.sample_coordinates(samples)
        profile = self._profile(tree, coordinates.shape[1], vtk_bridge.step_of(samples))
        drawing = vtk_bridge.drawing(
            profile,
            scale=self._height_scale,
            logarithmic=bool(self._logarithmic),
            loss_range=self._loss_range,
        )
        outputs = (
            vtk_bridge.profile_to_basins(profile, drawing),
            vtk_bridge.profile_to_critical_points(profile, drawing, coordinates),
            vtk_bridge.profile_to_samples(tree, samples),
            vtk_bridge.profile_to_outline(profile, drawing),
            vtk_bridge.profile_to_tree(profile, drawing),
            vtk_bridge.tree_to_diagram(tree),
        )
        for port, data in enumerate(outputs):
            output(out_info, port).ShallowCopy(data)
        return 1

    def _profile(self, tree: Any, n: int, step: float | None) -> Any:
        """Return the profile; basins of the previously shown step keep their places.

        If another property changes, the profile of a step is made again from the places of the same
        previous step.
        """
        from tlp_core import landscape_profile
        from tlp_core.choices import SIBLING_ORDERS
        from tlp_core.profile import sample_places

        keep = self._keep_places and step is not None
        if not keep:
            self._previous = NO_PLACES
        elif step != self._current.step:
            self._previous = self._current
        kept = self._previous.x
        same = kept is not None and len(kept) == len(tree.values)
        profile = landscape_profile(
            tree,
            order=SIBLING_ORDERS[self._order],
            places=kept if same else None,
            degree=n if WIDTHS[self._width] == "n-th root" else 1,
            tolerance=self._tolerance,
        )
        self._current = Places(step, sample_places(tree, profile)) if keep else NO_PLACES
        return profile
