"""TLP Landscape Profile: the basins of a merge tree, drawn in the plane."""

from __future__ import annotations

from typing import Any

from tlp_paraview import loaded_states
from tlp_paraview.algorithm import output, report_errors
from tlp_paraview.tree_algorithm import FormerlySimplifying, chosen_array


class TLPLandscapeProfile(FormerlySimplifying):
    """A filter that draws the topological landscape profile of a merge tree."""

    LABEL = "TLP Landscape Profile"
    OUTPUTS = (
        "vtkPolyData",
        "vtkPolyData",
        "vtkDataSet",
        "vtkPolyData",
        "vtkPolyData",
        "vtkTable",
        "vtkPolyData",
        "vtkPolyData",
        "vtkPolyData",
    )
    SAME_TYPE = (2, 2)

    def __init__(self) -> None:
        super().__init__()
        loaded_states.watch()
        self._order, self._keep_places, self._width = 0, 1, 0
        self._logarithmic, self._loss_range = 0, (0.0, 1.0)
        self._tolerance, self._height_scale = 1e-4, 1.0
        self._mark_noise, self._rate = 1, 0.05
        self._kept_q_values: tuple[Any, Any] = (None, None)

    def SetOrder(self, index: int) -> None:
        self.assign("_order", index)

    def SetKeepPlaces(self, keep: int) -> None:
        self.assign("_keep_places", keep)

    def SetWidth(self, index: int) -> None:
        self.assign("_width", index)

    def SetLogarithmicLoss(self, logarithmic: int) -> None:
        self.assign("_logarithmic", logarithmic)

    def SetUseLossRange(self, is_wanted: int) -> None:
        self.use("Loss Range", is_wanted)

    def SetLossRange(self, low: float, high: float) -> None:
        self.assign_optional("Loss Range", "_loss_range", (low, high), former=(0.0, 0.0))

    def SetTolerance(self, tolerance: float) -> None:
        self.assign("_tolerance", tolerance)

    def SetUseHeightScale(self, is_wanted: int) -> None:
        self.use("Height Scale", is_wanted)

    def SetHeightScale(self, scale: float) -> None:
        self.assign_optional("Height Scale", "_height_scale", scale)

    def SetMarkNoise(self, is_wanted: int) -> None:
        self.assign("_mark_noise", is_wanted)

    def SetFalseDiscoveryRate(self, rate: float) -> None:
        self.assign("_rate", rate)

    @report_errors
    def RequestData(self, _request: Any, in_info: Any, out_info: Any) -> int:
        from tlp_core import vtk_bridge

        tree = self.tree(in_info)
        if tree is None:
            return 1
        self.show_progress_or_stop(0.3, "laying out the profile")
        samples = self.input_data(in_info, 2)
        coordinates = vtk_bridge.sample_coordinates(samples)
        profile = self._profile(tree, coordinates, vtk_bridge.step_of(samples) is not None)
        self.show_progress_or_stop(0.6, "drawing the profile")
        drawing = vtk_bridge.drawing(
            profile,
            scale=self.optional("Height Scale", self._height_scale),
            logarithmic=bool(self._logarithmic),
            loss_range=self.optional("Loss Range", self._loss_range),
        )
        q_values = self._q_values(tree, samples) if self._mark_noise else None
        outputs = (
            vtk_bridge.profile_to_basins(profile, drawing, q_values),
            vtk_bridge.profile_to_critical_points(profile, drawing, coordinates),
            vtk_bridge.profile_to_samples(tree, samples),
            vtk_bridge.profile_to_outline(profile, drawing),
            vtk_bridge.profile_to_tree(profile, drawing),
            vtk_bridge.tree_to_diagram(tree),
            vtk_bridge.profile_to_faint_basins(profile, drawing, q_values, rate=self._rate),
            vtk_bridge.profile_to_network(profile, drawing, tree, coordinates),
            vtk_bridge.network_in(samples),
        )
        for port, data in enumerate(outputs):
            output(out_info, port).ShallowCopy(data)
        return 1

    def _q_values(self, tree: Any, samples: Any) -> Any:
        """Return the q-values of the basins, which take seconds, and are reused with their tree."""
        from tlp_core import vtk_bridge

        if self._kept_q_values[0] is not tree:
            found = vtk_bridge.basin_q_values(tree, samples, chosen_array(self))
            self._kept_q_values = (tree, found)
        return self._kept_q_values[1]

    def _profile(self, tree: Any, coordinates: Any, is_step: bool) -> Any:
        """Return the profile; at a step of a training, basins have places that all steps share."""
        from tlp_core import landscape_profile
        from tlp_core.choices import PROFILE_WIDTHS, SIBLING_ORDERS
        from tlp_core.profile import position_places

        is_root = PROFILE_WIDTHS[self._width] == "n-th root"
        has_places = self._keep_places and is_step
        n = coordinates.shape[1]
        return landscape_profile(
            tree,
            order=SIBLING_ORDERS[self._order],
            places=position_places(coordinates) if has_places else None,
            degree=n if is_root else 1,
            relative=is_root,
            tolerance=self._tolerance,
        )
