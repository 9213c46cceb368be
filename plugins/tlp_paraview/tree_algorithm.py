"""The base class of filters on the three outputs of a merge tree filter."""

from __future__ import annotations

import warnings
from typing import Any

from vtkmodules.vtkCommonDataModel import vtkDataObject

from tlp_core.array_names import LOSS
from tlp_paraview.algorithm import SameTypeAlgorithm


def chosen_array(algorithm: Any) -> str:
    """Return the name of the array that the ScalarField property names; default: ``Loss``.

    ParaView writes "0" if it knows no arrays yet, for example in a script that connects filters
    before any of them has run.
    """
    name = algorithm.GetInputArrayInformation(0).Get(vtkDataObject.FIELD_NAME())
    return LOSS if name in (None, "", "0") else name


class TreeInputs:
    """A mixin of algorithms whose inputs are the nodes, arcs and segmentation of a merge tree."""

    INPUTS = ("vtkUnstructuredGrid", "vtkUnstructuredGrid", "vtkDataSet")

    def FillInputPortInformation(self: Any, _port: int, info: Any) -> int:
        """Accept any data, which :meth:`input_data` checks.

        VTK would report composite data at each of several inputs with dozens of errors.
        """
        info.Set(self.INPUT_REQUIRED_DATA_TYPE(), "vtkDataObject")
        return 1


class TreeAlgorithm(TreeInputs, SameTypeAlgorithm):
    """A filter on the nodes, arcs and segmentation of a merge tree, simplified or not."""

    def __init__(self) -> None:
        super().__init__()
        self._kept_tree: tuple[Any, Any] = (None, None)

    def tree(self, in_info: Any) -> Any:
        """Return the merge tree of the inputs, or None if one of them is empty.

        The tree is reused until an input changes.
        """
        from tlp_core import vtk_bridge

        inputs = [self.input_data(in_info, port) for port in range(3)]
        if not all(data.GetNumberOfPoints() for data in inputs):
            return None
        name = chosen_array(self)
        state = (name, *(data.GetMTime() for data in inputs))
        if self._kept_tree[0] != state:
            self._kept_tree = (state, vtk_bridge.skeleton_to_tree(*inputs, name))
        return self._kept_tree[1]


class FormerlySimplifying(TreeAlgorithm):
    """A filter that had the properties of TLP Tree Simplification in version 0.1.0.

    State files of that version still set them. They have no effect but a warning.
    """

    def __init__(self) -> None:
        super().__init__()
        self._former_threshold, self._former_max_minima = 0.0, 0

    def SetFormerThreshold(self, threshold: float) -> None:
        self.assign("_former_threshold", threshold)

    def SetFormerMaxMinima(self, count: int) -> None:
        self.assign("_former_max_minima", count)

    def tree(self, in_info: Any) -> Any:
        if self._former_threshold or self._former_max_minima:
            warnings.warn(
                "Persistence Threshold and Max Minima are properties of the filter TLP Tree "
                f"Simplification, and those of this filter, {self._former_threshold:g} and "
                f"{self._former_max_minima}, are ignored; insert that filter before this one",
                stacklevel=2,
            )
        return super().tree(in_info)
