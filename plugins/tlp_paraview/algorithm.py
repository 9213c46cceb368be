"""What every algorithm of the suite does the same way: it fails with one sentence.

Raising in ``RequestData``, or returning 0, leaves the old output downstream. So what goes wrong is
caught once, here: every output is emptied, the sentence goes to Output Messages (stderr without a
window), and the request counts as done, so that filters downstream run on the empty output.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import paraview
from vtkmodules.util.vtkAlgorithm import VTKPythonAlgorithmBase
from vtkmodules.vtkCommonDataModel import vtkDataObject
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline
from vtkmodules.vtkParallelCore import vtkMultiProcessController

from tlp_core.landscape.series import Member
from tlp_paraview.files import SeriesFiles

_PIPELINE = vtkStreamingDemandDrivenPipeline

RequestData = Callable[[Any, Any, Any, Any], int]


def fails_in_words(request_data: RequestData) -> RequestData:
    """Turn exceptions and warnings of a ``RequestData`` into messages."""

    @functools.wraps(request_data)
    def wrapper(self: Any, request: Any, in_info: Any, out_info: Any) -> int:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", UserWarning)
            try:
                request_data(self, request, in_info, out_info)
            except Exception as error:
                for port in range(self.GetNumberOfOutputPorts()):
                    _empty(out_info, port, keep_extent=self.has_steps())
                paraview.print_error(f"{self.LABEL}: {sentence(error)}")
        for message in dict.fromkeys(str(warning.message) for warning in told):
            paraview.print_warning(f"{self.LABEL}: {message}")
        return 1

    return wrapper


def sentence(error: Exception) -> str:
    """Return what went wrong and the way out, on one line."""
    if isinstance(error, ModuleNotFoundError):
        return (
            f"the Python package {error.name} must be on ParaView's Python path, and is not; start "
            "ParaView by a launcher of the suite, or set PYTHONPATH to where the package is"
        )
    text = " ".join(str(error).split())
    if isinstance(error, ValueError | TypeError | RuntimeError | OSError) and text:
        return text
    return f"{type(error).__name__}: {text}"


def output(out_info: Any, port: int) -> vtkDataObject:
    """Return the data object at an output port."""
    return out_info.GetInformationObject(port).Get(vtkDataObject.DATA_OBJECT())


def announce_image(out_info: Any, port: int, shape: tuple[int, ...]) -> None:
    """Tell the extent of image data before it is made, without which surfaces of it stay empty.

    Args:
        out_info: as ``RequestInformation`` gets it.
        port: output port of the image.
        shape: number of points per axis; none for an empty image.
    """
    sizes = (*shape, *[1] * (3 - len(shape))) if 1 <= len(shape) <= 3 else (0, 0, 0)
    extent = [end for size in sizes for end in (0, size - 1)]
    key = _PIPELINE.WHOLE_EXTENT()
    out_info.GetInformationObject(port).Set(key, extent, 6)


def announce_steps(out_info: Any, ports: int, steps: Sequence[float]) -> None:
    """Tell ParaView the time steps, the same at every port; none where there is one step only."""
    for port in range(ports):
        info = out_info.GetInformationObject(port)
        for key in (_PIPELINE.TIME_STEPS(), _PIPELINE.TIME_RANGE()):
            info.Remove(key)
        if len(steps) > 1:
            info.Set(_PIPELINE.TIME_STEPS(), list(steps), len(steps))
            info.Set(_PIPELINE.TIME_RANGE(), [steps[0], steps[-1]], 2)


def requested_time(out_info: Any) -> float | None:
    """Return the time that ParaView asks for; None where it asks for none."""
    info = out_info.GetInformationObject(0)
    key = _PIPELINE.UPDATE_TIME_STEP()
    return float(info.Get(key)) if info.Has(key) else None


def is_first_process() -> bool:
    """Return whether this is the first of ParaView's processes, the one that holds the data."""
    controller = vtkMultiProcessController.GetGlobalController()
    return controller is None or controller.GetLocalProcessId() == 0


def _empty(out_info: Any, port: int, *, keep_extent: bool) -> None:
    """Empty an output; of an image the extents too, lest ParaView asks for it again at once.

    Of several time steps the others still have the extent that was announced, so an image keeps it
    and loses its arrays only.
    """
    data = output(out_info, port)
    data.Initialize()
    if data.IsA("vtkImageData") and keep_extent:
        data.SetExtent(out_info.GetInformationObject(port).Get(_PIPELINE.WHOLE_EXTENT()))
    elif data.IsA("vtkImageData"):
        announce_image(out_info, port, ())
        key = _PIPELINE.UPDATE_EXTENT()
        out_info.GetInformationObject(port).Set(key, data.GetExtent(), 6)


class Algorithm(VTKPythonAlgorithmBase):
    """A VTK algorithm whose ports are named by their data types."""

    LABEL: str
    INPUTS: tuple[str, ...] = ()
    OUTPUTS: tuple[str, ...]

    def __init__(self) -> None:
        super().__init__(nInputPorts=len(self.INPUTS), nOutputPorts=len(self.OUTPUTS))

    def FillInputPortInformation(self, port: int, info: Any) -> int:
        info.Set(self.INPUT_REQUIRED_DATA_TYPE(), self.INPUTS[port])
        return 1

    def FillOutputPortInformation(self, port: int, info: Any) -> int:
        info.Set(vtkDataObject.DATA_TYPE_NAME(), self.OUTPUTS[port])
        return 1

    def has_steps(self) -> bool:
        """Return whether the algorithm told ParaView several time steps."""
        return False

    def input_data(self, in_info: Any, port: int = 0) -> Any:
        """Return the data set at an input port; scripts may connect one of a wrong type."""
        data = self.connected(in_info, port)
        if data is None or not data.IsA(self.INPUTS[port]):
            arrived = "nothing" if data is None else data.GetClassName()
            raise TypeError(f"input {port} must be a {self.INPUTS[port]}, got {arrived}")
        return data

    def connected(self, in_info: Any, port: int) -> Any:
        """Return the data set at an input port; None where nothing is connected yet."""
        there = in_info[port].GetNumberOfInformationObjects() > 0
        return self.GetInputData(in_info, port, 0) if there else None

    def assign(self, name: str, value: Any) -> None:
        """Set a property, and run again only if it changed."""
        if getattr(self, name) != value:
            setattr(self, name, value)
            self.Modified()


class SeriesAlgorithm(Algorithm):
    """A source or reader whose files belong to the steps of one training."""

    def __init__(self, find: Callable[[Iterable[str]], Sequence[Member]]) -> None:
        super().__init__()
        self._series = SeriesFiles(find)

    def GetTimestepValues(self) -> list[float]:
        return self._series.steps

    def Refresh(self) -> None:
        self.Modified()

    def has_steps(self) -> bool:
        return len(self._series.steps) > 1


class SameTypeAlgorithm(Algorithm):
    """A filter one of whose outputs has the type of an input, such as the segmentation."""

    SAME_TYPE: tuple[int, int]
    """Input port and output port."""

    def RequestDataObject(self, _request: Any, in_info: Any, out_info: Any) -> int:
        """Make output objects: as declared, or as the input where they share a type."""
        source, target = self.SAME_TYPE
        for port in range(self.GetNumberOfOutputPorts()):
            info = out_info.GetInformationObject(port)
            kind = self.OUTPUTS[port]
            if port == target:
                arrived = self.connected(in_info, source)
                kind = arrived.GetClassName() if arrived is not None else "vtkUnstructuredGrid"
            there = info.Get(vtkDataObject.DATA_OBJECT())
            if there is None or there.GetClassName() != kind:
                info.Set(vtkDataObject.DATA_OBJECT(), _new(kind))
        return 1


def _new(kind: str) -> vtkDataObject:
    from vtkmodules import vtkCommonDataModel

    return getattr(vtkCommonDataModel, kind)()
