"""The base classes of all algorithms of the suite, and their error handling.

An exception in ``RequestData``, or a return value of 0, leaves the old output downstream. Errors
are therefore caught here: every output is emptied, one sentence is printed to Output Messages (to
stderr without a window), and the request returns 1, so that filters downstream run on the empty
output.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import paraview
from vtkmodules.util.vtkAlgorithm import VTKPythonAlgorithmBase
from vtkmodules.vtkCommonCore import vtkIntArray
from vtkmodules.vtkCommonDataModel import vtkDataObject
from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline
from vtkmodules.vtkParallelCore import vtkCommunicator, vtkMultiProcessController

from tlp_core.landscape.series import Member
from tlp_paraview.files import SeriesFiles, find_file, opened_state_folder

_PIPELINE = vtkStreamingDemandDrivenPipeline

RequestData = Callable[[Any, Any, Any, Any], int]


def report_errors(request_data: RequestData) -> RequestData:
    """Return a ``RequestData`` that prints its exceptions and warnings as messages.

    After an exception all outputs are empty. Because an image without its announced extent is
    requested again at once, a source does not repeat an attempt that failed, until a setting or the
    time changes.

    Args:
        request_data: the method of an :class:`Algorithm`.

    Returns:
        The method with error handling; it always returns 1.
    """

    @functools.wraps(request_data)
    def wrapper(self: Any, request: Any, in_info: Any, out_info: Any) -> int:
        attempt = None if self.INPUTS else (self.GetMTime(), requested_time(request, out_info))
        if attempt is not None and attempt == self.failed_attempt:
            _empty_outputs(self, out_info)
            return 1
        self.failed_attempt = None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                self.refuse_distributed_data(in_info)
                request_data(self, request, in_info, out_info)
            except DistributedDataError as error:
                _empty_outputs(self, out_info)
                if is_first_process():  # all of them raise it
                    paraview.print_error(f"{self.LABEL}: {error}")
            except Exception as error:
                self.failed_attempt = attempt
                _empty_outputs(self, out_info)
                paraview.print_error(f"{self.LABEL}: {error_text(error)}")
        for message in dict.fromkeys(str(warning.message) for warning in caught):
            paraview.print_warning(f"{self.LABEL}: {message}")
        return 1

    return wrapper


class DistributedDataError(RuntimeError):
    """The samples are spread over several of ParaView's processes."""


def error_text(error: Exception) -> str:
    """Return the text of an error on one line, with the way out for a missing package."""
    if isinstance(error, ModuleNotFoundError):
        return (
            f"the Python package {error.name} must be on ParaView's Python path, and was not "
            "found; start ParaView by a launcher of the suite, or set PYTHONPATH to the package's "
            "folder"
        )
    text = " ".join(str(error).split())
    if isinstance(error, ValueError | TypeError | RuntimeError | OSError) and text:
        return text
    return f"{type(error).__name__}: {text}"


def output(out_info: Any, port: int) -> vtkDataObject:
    """Return the data object at an output port."""
    return out_info.GetInformationObject(port).Get(vtkDataObject.DATA_OBJECT())


def announce_image(out_info: Any, port: int, shape: tuple[int, ...]) -> None:
    """Announce the extent of image data before it is made.

    Without an extent, surfaces of the image stay empty. Only the first of ParaView's processes has
    an image; the others would be asked for theirs again at every update.

    Args:
        out_info: output information, an argument of ``RequestInformation``.
        port: output port of the image.
        shape: number of points per axis, for one to three axes; any other number of axes announces
            an empty image.
    """
    is_image = 1 <= len(shape) <= 3 and is_first_process()
    sizes = (*shape, *[1] * (3 - len(shape))) if is_image else (0, 0, 0)
    extent = [end for size in sizes for end in (0, size - 1)]
    key = _PIPELINE.WHOLE_EXTENT()
    out_info.GetInformationObject(port).Set(key, extent, 6)


def announce_steps(out_info: Any, ports: int, steps: Sequence[float]) -> None:
    """Announce time steps to ParaView, the same at every port.

    Args:
        out_info: output information, an argument of ``RequestInformation``.
        ports: number of output ports.
        steps: the time steps in ascending order; one step or none announces no time.
    """
    for port in range(ports):
        info = out_info.GetInformationObject(port)
        for key in (_PIPELINE.TIME_STEPS(), _PIPELINE.TIME_RANGE()):
            info.Remove(key)
        if len(steps) > 1:
            info.Set(_PIPELINE.TIME_STEPS(), list(steps), len(steps))
            info.Set(_PIPELINE.TIME_RANGE(), [steps[0], steps[-1]], 2)


def requested_time(request: Any, out_info: Any) -> float | None:
    """Return the time that is requested at the port that asks; None if none is requested.

    All outputs are made for this time. VTK remembers a time for each port, so it is told that the
    others have it, too; otherwise it would take them for those of an earlier request.

    Args:
        request: as ``RequestData`` gets it.
        out_info: as ``RequestData`` gets it.
    """
    asking = max(0, request.Get(_PIPELINE.FROM_OUTPUT_PORT()))
    key = _PIPELINE.UPDATE_TIME_STEP()
    info = out_info.GetInformationObject(asking)
    if not info.Has(key):
        return None
    time = float(info.Get(key))
    for port in range(out_info.GetNumberOfInformationObjects()):
        out_info.GetInformationObject(port).Set(key, time)
        output(out_info, port).GetInformation().Set(vtkDataObject.DATA_TIME_STEP(), time)
    return time


def is_first_process() -> bool:
    """Return whether this is the first of ParaView's processes, which holds the data."""
    controller = vtkMultiProcessController.GetGlobalController()
    return controller is None or controller.GetLocalProcessId() == 0


def _empty_outputs(algorithm: Any, out_info: Any) -> None:
    for port in range(algorithm.GetNumberOfOutputPorts()):
        output(out_info, port).Initialize()


class Algorithm(VTKPythonAlgorithmBase):
    """A VTK algorithm whose ports are declared by their data types.

    Attributes:
        LABEL: label of the proxy, which starts each message.
        INPUTS: VTK class of the data at each input port.
        OUTPUTS: VTK class of the data at each output port.
    """

    LABEL: str
    INPUTS: tuple[str, ...] = ()
    OUTPUTS: tuple[str, ...]

    def __init__(self) -> None:
        super().__init__(nInputPorts=len(self.INPUTS), nOutputPorts=len(self.OUTPUTS))
        self.failed_attempt: tuple[int, float | None] | None = None
        """Of a source: when a setting changed last, and the time that was requested."""
        self._used: set[str] = set()
        self._set_while_unused: set[str] = set()
        self._defaults: dict[str, Any] = {}

    def FillInputPortInformation(self, port: int, info: Any) -> int:
        info.Set(self.INPUT_REQUIRED_DATA_TYPE(), self.INPUTS[port])
        return 1

    def FillOutputPortInformation(self, port: int, info: Any) -> int:
        info.Set(vtkDataObject.DATA_TYPE_NAME(), self.OUTPUTS[port])
        return 1

    def input_data(self, in_info: Any, port: int = 0, index: int = 0) -> Any:
        """Return the dataset of one of the connections of an input port.

        Raises:
            TypeError: if nothing is connected, or data of a wrong type, which scripts can connect.
        """
        data = self.connected_data(in_info, port, index)
        if data is None or not data.IsA(self.INPUTS[port]):
            arrived = "nothing" if data is None else data.GetClassName()
            raise TypeError(
                f"input {port} must be a {self.INPUTS[port]}, got {arrived}; "
                "connect a filter or source with such an output, or one block of composite data"
            )
        return data

    def connected_data(self, in_info: Any, port: int, index: int = 0) -> Any:
        """Return the dataset at an input port; None if nothing is connected yet."""
        is_connected = in_info[port].GetNumberOfInformationObjects() > index
        return self.GetInputData(in_info, port, index) if is_connected else None

    def refuse_distributed_data(self, in_info: Any) -> None:
        """Raise an error if several of ParaView's processes hold samples of the inputs.

        Each would otherwise compute a graph or a tree of its own piece. All processes run a filter
        together, so each knows the number of pieces.

        Raises:
            DistributedDataError: in every process, if more than one holds samples.
        """
        controller = vtkMultiProcessController.GetGlobalController()
        if not self.INPUTS or controller is None or controller.GetNumberOfProcesses() == 1:
            return
        mine, all_pieces = vtkIntArray(), vtkIntArray()
        mine.InsertNextValue(int(self._has_samples(in_info)))
        all_pieces.SetNumberOfValues(1)
        controller.AllReduce(mine, all_pieces, vtkCommunicator.SUM_OP)
        if all_pieces.GetValue(0) > 1:
            raise DistributedDataError(
                f"all samples must be in one of ParaView's processes, and {all_pieces.GetValue(0)} "
                "of them hold some; use a server of one process (the sources of the suite keep "
                "their samples together on any server)"
            )

    def _has_samples(self, in_info: Any) -> bool:
        """Return whether any connected dataset, or a block of it, has points."""
        connections = [
            self.connected_data(in_info, port, index)
            for port, vector in enumerate(in_info)
            for index in range(vector.GetNumberOfInformationObjects())
        ]
        return any(
            data is not None and data.GetNumberOfElements(vtkDataObject.POINT) > 0
            for data in connections
        )

    def show_progress(self, fraction: float, text: str) -> None:
        """Show the fraction of the work that is done, 0 to 1, and what is being done."""
        self.SetProgressText(text)
        self.UpdateProgress(fraction)

    def show_progress_or_stop(self, fraction: float, text: str) -> None:
        """Show progress as :meth:`show_progress`.

        Raises:
            RuntimeError: if the user has stopped the filter, which ParaView allows since 6.1.
        """
        self.show_progress(fraction, text)
        if self.is_aborted():
            self.SetAbortExecute(0)  # VTK would stop the next run, too
            raise RuntimeError(
                f"stopped while {text}, at {fraction:.0%}; change a property and press Apply to "
                "start again"
            )

    def is_aborted(self) -> bool:
        """Return whether the user has stopped the algorithm."""
        return bool(self.GetAbortExecute() or self.CheckAbort())

    def assign(self, name: str, value: Any) -> None:
        """Set an attribute, and mark the algorithm as modified only if the value changed."""
        if getattr(self, name) != value:
            setattr(self, name, value)
            self.Modified()

    def assign_optional(self, label: str, name: str, value: Any, *, former: Any = 0) -> None:
        """Set the attribute behind a property that counts only while its check box is on.

        Args:
            label: label of the property; its check box is "Use LABEL".
            name: name of the attribute.
            value: the new value.
            former: value that version 0.1.0 had instead of the check box, so that its state files
                open without a warning.
        """
        default = self._defaults.setdefault(label, getattr(self, name))
        if label in self._used or value in (default, former):
            self._set_while_unused.discard(label)
        elif value != getattr(self, name):
            self._set_while_unused.add(label)
        self.assign(name, value)

    def use(self, label: str, is_wanted: int) -> None:
        """Set whether an optional property counts: the check box "Use LABEL"."""
        if bool(is_wanted) != (label in self._used):
            self._used ^= {label}
            self._set_while_unused.discard(label)
            self.Modified()

    def optional(self, label: str, value: Any) -> Any:
        """Return the value of an optional property, or None if its check box is off.

        A warning is printed where a value was set, and its check box was not.
        """
        if label in self._set_while_unused:
            warnings.warn(
                f"{label}, {value}, has no effect while Use {label} is off; turn it on to use it",
                stacklevel=2,
            )
        return value if label in self._used else None


class SeriesAlgorithm(Algorithm):
    """A source or reader whose files can be the steps of one training."""

    def __init__(self, find: Callable[[Iterable[str]], Sequence[Member]]) -> None:
        super().__init__()
        self._state_folder = opened_state_folder()
        self._series = SeriesFiles(find, self._state_folder)

    def find_file(self, path: str) -> str:
        """Return the path of a file that a property names, see :func:`files.find_file`."""
        return find_file(path, self._state_folder)

    def GetTimestepValues(self) -> list[float]:
        return self._series.steps

    def Refresh(self) -> None:
        self.Modified()


class SameTypeAlgorithm(Algorithm):
    """A filter with an output that has the type of an input, such as the segmentation."""

    SAME_TYPE: tuple[int, int]
    """Input port and output port of the same type."""

    def RequestDataObject(self, _request: Any, in_info: Any, out_info: Any) -> int:
        """Make the output objects: of the declared type, or of the type of the input."""
        source, target = self.SAME_TYPE
        for port in range(self.GetNumberOfOutputPorts()):
            info = out_info.GetInformationObject(port)
            kind = self.OUTPUTS[port]
            if port == target:
                arrived = self.connected_data(in_info, source)
                is_dataset = arrived is not None and arrived.IsA("vtkDataSet")
                kind = arrived.GetClassName() if is_dataset else "vtkUnstructuredGrid"
            existing = info.Get(vtkDataObject.DATA_OBJECT())
            if existing is None or existing.GetClassName() != kind:
                info.Set(vtkDataObject.DATA_OBJECT(), _new(kind))
        return 1


def _new(kind: str) -> vtkDataObject:
    from vtkmodules import vtkCommonDataModel

    return getattr(vtkCommonDataModel, kind)()
