"""TLP Loss Landscape: the loss of a network, sampled around its parameters."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tlp_core.choices import (
    DIRECTION_METHODS,
    ENGINES,
    NORMALIZATIONS,
    REGIONS,
    SPECTRUM_ORDERS,
    DirectionMethod,
    SpectrumOrder,
)
from tlp_core.directions.settings import DirectionSettings
from tlp_core.landscape.series import find_checkpoints
from tlp_core.pipeline.settings import LandscapeSettings
from tlp_core.problems import HUGGING_FACE, READY_PROBLEMS, is_ready
from tlp_core.problems.settings import ProblemSettings, parse_arguments
from tlp_core.sampling.settings import (
    GIBIBYTE,
    EvaluationSettings,
    GridSettings,
    RunSettings,
    SampleSettings,
    ScatterSettings,
)
from tlp_core.untrusted_files import physical_memory
from tlp_paraview.algorithm import (
    SeriesAlgorithm,
    announce_image,
    announce_steps,
    is_first_process,
    output,
    report_errors,
    requested_time,
)

STEP_DIRECTIONS = ("one checkpoint", "each checkpoint")

SAMPLINGS = ("grid", "scattered")

FILE, MODEL = "file", "hugging-face"
"""Values of the Problem property that select the problem of Problem File and of Model Folder."""


@dataclass(frozen=True)
class Plan:
    """Number and method of the directions, and the kind of samples.

    Attributes:
        n: number of directions.
        resolution: points along each direction of a grid.
        method: how directions are computed.
        order: which eigenvalues are used.
        sampling: ``grid`` or ``scattered``.
        is_geometric: whether the spacing of a grid is geometric.
    """

    n: int
    resolution: int
    method: DirectionMethod = "pyhessian"
    order: SpectrumOrder = "magnitude"
    sampling: str = "grid"
    is_geometric: bool = False

    @property
    def has_image(self) -> bool:
        """Whether the samples lie on an even grid."""
        return self.sampling == "grid" and not self.is_geometric


PRESETS = {
    "custom": None,
    "2D quick look": Plan(2, 21),
    "paper 3D": Plan(3, 41),
    "paper 4D": Plan(4, 41),
}
"""Values of the Preset property; those of Geniesse et al. 2024 are of the paper."""

_BYTES_PER_SAMPLE = 400
"""Memory of ParaView for a sample, from the source to the profile: 383 bytes of 41⁴ samples."""


class TLPLossLandscape(SeriesAlgorithm):
    """The source of a pipeline: it samples the loss of a problem on a grid along directions."""

    LABEL = "TLP Loss Landscape"
    OUTPUTS = ("vtkUnstructuredGrid", "vtkImageData")

    def __init__(self) -> None:
        super().__init__(find_checkpoints)
        self._sampler: Any = None
        self._announced_file = ""
        self._problem, self._problem_file, self._function = "two-wells", "", "make_problem"
        self._arguments, self._checkpoint, self._model_folder = "", "", ""
        self._training: Any = None
        self._checkpoints: list[str] = []
        self._step_directions, self._directions_step = 0, -1.0
        self._checkpoint_folder = ""
        self._preset, self._coarse = 0, ""
        self._directions, self._method, self._normalization = 2, 0, 0
        self._order, self._parameters = 0, ""
        self._solutions: list[str] = []
        self._max_iterations, self._tolerance, self._seed = 200, 1e-4, 0
        self._resolution, self._distance, self._large_grid = 41, 1.0, False
        self._sampling, self._count, self._region, self._engine = 0, 10_000, 0, 0
        self._by_rise, self._rise, self._batch_losses = False, 1.0, False
        self._is_geometric, self._nearest = False, 0.01
        self._store, self._time_budget = "", 600.0
        self._in_background, self._background = False, None
        self._announced = 0
        """Resolution that was announced; a finer grid may be complete before the data are made."""

    def SetProblem(self, name: str | None) -> None:
        self.assign("_problem", name or "")

    def SetProblemFile(self, path: str | None) -> None:
        self.assign("_problem_file", path or "")

    def SetProblemFunction(self, name: str | None) -> None:
        self.assign("_function", name or "")

    def SetModelFolder(self, path: str | None) -> None:
        self.assign("_model_folder", path or "")

    def SetArguments(self, text: str | None) -> None:
        self.assign("_arguments", text or "")

    def SetCheckpoint(self, path: str | None) -> None:
        self.assign("_checkpoint", path or "")

    def AddCheckpoints(self, path: str | None) -> None:
        if path:
            self._checkpoints.append(path)
            self.Modified()

    def ClearCheckpoints(self) -> None:
        self.assign("_checkpoints", [])

    def SetCheckpointFolder(self, path: str | None) -> None:
        self.assign("_checkpoint_folder", path or "")

    def SetStepDirections(self, index: int) -> None:
        self.assign("_step_directions", index)

    def SetUseDirectionsStep(self, is_wanted: int) -> None:
        self.use("Directions Step", is_wanted)

    def SetDirectionsStep(self, step: float) -> None:
        self.assign_optional("Directions Step", "_directions_step", step, former=-1.0)

    def SetPreset(self, index: int) -> None:
        self.assign("_preset", index)

    def SetNumberOfDirections(self, n: int) -> None:
        self.assign("_directions", n)

    def SetDirectionMethod(self, index: int) -> None:
        self.assign("_method", index)

    def AddSolutions(self, path: str | None) -> None:
        if path:
            self._solutions.append(path)
            self.Modified()

    def ClearSolutions(self) -> None:
        self.assign("_solutions", [])

    def SetOrder(self, index: int) -> None:
        self.assign("_order", index)

    def SetParameters(self, pattern: str | None) -> None:
        self.assign("_parameters", pattern or "")

    def SetNormalization(self, index: int) -> None:
        self.assign("_normalization", index)

    def SetMaxIterations(self, count: int) -> None:
        self.assign("_max_iterations", count)

    def SetTolerance(self, tolerance: float) -> None:
        self.assign("_tolerance", tolerance)

    def SetSeed(self, seed: int) -> None:
        self.assign("_seed", seed)

    def SetSampling(self, index: int) -> None:
        self.assign("_sampling", index)

    def SetNumberOfSamples(self, count: int) -> None:
        self.assign("_count", count)

    def SetRegion(self, index: int) -> None:
        self.assign("_region", index)

    def SetEngine(self, index: int) -> None:
        self.assign("_engine", index)

    def SetResolution(self, resolution: int) -> None:
        self.assign("_resolution", resolution)

    def SetDistance(self, distance: float) -> None:
        self.assign("_distance", distance)

    def SetDistanceByRise(self, is_wanted: int) -> None:
        self.assign("_by_rise", bool(is_wanted))

    def SetRise(self, rise: float) -> None:
        self.assign("_rise", rise)

    def SetGeometricSpacing(self, is_wanted: int) -> None:
        self.assign("_is_geometric", bool(is_wanted))

    def SetNearest(self, fraction: float) -> None:
        self.assign("_nearest", fraction)

    def SetBatchLosses(self, is_wanted: int) -> None:
        self.assign("_batch_losses", bool(is_wanted))

    def SetLargeGrid(self, is_wanted: int) -> None:
        self.assign("_large_grid", bool(is_wanted))

    def SetStore(self, path: str | None) -> None:
        self.assign("_store", path or "")

    def SetUseTimeBudget(self, is_wanted: int) -> None:
        self.use("Time Budget", is_wanted)

    def SetTimeBudget(self, seconds: float) -> None:
        self.assign_optional("Time Budget", "_time_budget", seconds)

    def SetInBackground(self, is_wanted: int) -> None:
        self.assign("_in_background", bool(is_wanted))
        if not is_wanted:
            self._end_background()

    def SetCoarseResolutions(self, text: str | None) -> None:
        self.assign("_coarse", text or "")

    def StopSampling(self) -> None:
        if self._background is not None:
            self._background.stop()

    def ReadAgain(self) -> None:
        self.Modified()

    def GetDataState(self) -> str:
        if self._background is None or not self._in_background:
            return ""
        report = self._background.report()
        place = f"{report.resolution} points per axis: {report.fraction:.0%}, "
        progress = f"{place if report.resolution else ''}{report.text}" if report.is_running else ""
        state = {
            "data": f"{report.finished} {report.error} {report.is_running}",
            "text": progress and f"samples in the background: {progress}",
            "progress": progress,
            "is_running": report.is_running,
            "error": report.error,
        }
        return json.dumps(state)

    def RequestInformation(self, _request: Any, _in_info: Any, out_info: Any) -> int:
        try:
            plan = self._plan()
            self._announced = self._available_resolution(plan)
            shape = (self._announced,) * plan.n if plan.has_image else ()
        except IndexError:  # a script has set a code that no choice has; RequestData reports it
            shape = ()
        announce_image(out_info, 1, shape)
        self._series.scan(self._training_files())
        announce_steps(out_info, 2, self._series.steps)
        for port in range(2):  # otherwise VTK runs only the first of ParaView's processes
            info = out_info.GetInformationObject(port)
            info.Set(self.CAN_HANDLE_PIECE_REQUEST(), 1)
        return 1

    @report_errors
    def RequestData(self, request: Any, _in_info: Any, out_info: Any) -> int:
        from tlp_core import vtk_bridge

        first, time = is_first_process(), requested_time(request, out_info)
        if not first and (self._in_background or not self._store):
            return 1  # without a store on disk, only the first process samples
        self._check_size()
        step, landscape = (None, self._sampled()) if self._in_background else self._landscape(time)
        if not first or landscape is None:
            return 1
        if landscape.number_of_directions != self._plan().n:
            raise ValueError(
                f"Number Of Directions must be {landscape.number_of_directions}, as many as these "
                f"Solutions span, got {self._directions}"
            )
        grid = vtk_bridge.landscape_to_grid(landscape, step=step)
        output(out_info, 0).ShallowCopy(grid)
        output(out_info, 1).ShallowCopy(vtk_bridge.landscape_to_image(landscape, step=step))
        return 1

    def Refresh(self) -> None:
        self._sampler = self._training = None  # so that data files are read again
        self._end_background()
        self._announced_file = ""
        super().Refresh()

    def _landscape(self, time: float | None) -> tuple[float | None, Any]:
        """Return the landscape and its step; the step is None without a training."""
        from tlp_core.pipeline.sampler import LandscapeSampler

        callbacks = {"progress": self.show_progress, "should_stop": self.is_aborted}
        if self._training_files():
            return self._step_of_training(time, callbacks)
        if self._sampler is None:
            self._sampler = LandscapeSampler()
        return None, self._sampler.sample(self._settings(), **callbacks)

    def _sampled(self) -> Any:
        """Return what another process has sampled; None at its start."""
        from tlp_core.pipeline.background import BackgroundSampling
        from tlp_paraview.folders import python_program

        if self._training_files():
            raise ValueError(
                "the checkpoints of a training cannot be sampled in the background; use tlp "
                "training, and TLP Landscape Reader with Follow Files, or turn In Background off"
            )
        if self._plan().sampling != "grid":
            raise ValueError(
                "scattered samples cannot be sampled in the background, which shows coarse grids "
                "first; turn In Background off"
            )
        settings = self._settings()
        settings = replace(settings, run=replace(settings.run, time_budget=None))
        coarse, running = _integers(self._coarse), self._background
        if running is None or (running.settings, running.coarse) != (settings, coarse):
            self._end_background()
            sampling = BackgroundSampling(settings, coarse=coarse, python=python_program())
            # Python keeps this object after ParaView has deleted the source
            self.AddObserver("DeleteEvent", lambda *_: sampling.close())
            self._background = sampling
        report = self._background.report()
        if report.error:
            raise RuntimeError(report.error)
        return self._background.landscape(self._announced)

    def _available_resolution(self, plan: Plan) -> int:
        """Return the resolution of what there is to show; 0 at the start of a sampling."""
        if self._background is None or not self._in_background:
            return 0 if self._in_background else plan.resolution
        return self._background.available_resolution()

    def _end_background(self) -> None:
        if self._background is not None:
            self._background.close()
            self._background = None

    def _training_files(self) -> list[str]:
        """Return the files, folders and patterns that hold the checkpoints of a training."""
        return [*self._checkpoints, *filter(None, [self._checkpoint_folder])]

    def _step_of_training(
        self, time: float | None, callbacks: dict[str, Any]
    ) -> tuple[float | None, Any]:
        from tlp_core.pipeline.training_sampler import TrainingSampler, find_step

        if self._checkpoint:
            raise ValueError(
                "Checkpoint must be empty if Checkpoint Folder or Checkpoints name a training, got "
                f"{self._checkpoint}; clear it, or the others"
            )
        member = self._series.at(time)
        step = self.optional("Directions Step", self._directions_step)
        fixed = STEP_DIRECTIONS[self._step_directions] == "one checkpoint"
        if self._training is None:
            self._training = TrainingSampler()
        landscape = self._training.sample(
            self._settings(),
            member,
            directions_of=find_step(self._series.members, step) if fixed else None,
            **callbacks,
        )
        return member.step, landscape

    def _check_size(self) -> None:
        """Raise a ValueError if the grid does not fit into memory, unless the user wants it."""
        plan = self._plan()
        count = plan.resolution**plan.n
        needed, available = _BYTES_PER_SAMPLE * count, physical_memory()
        if plan.sampling == "grid" and needed > available and not self._large_grid:
            raise ValueError(
                f"{plan.resolution} points along {plan.n} directions are {count:,} "
                f"samples, which need about {needed / GIBIBYTE:,.0f} GiB in ParaView, and this "
                f"machine has {available / GIBIBYTE:,.0f}; lower Resolution or Number Of "
                "Directions, which Preset may set, or check Large Grid to sample them all the same"
            )

    def _plan(self) -> Plan:
        """Return the plan of the preset, or of the properties."""
        return PRESETS[list(PRESETS)[self._preset]] or Plan(
            self._directions,
            self._resolution,
            DIRECTION_METHODS[self._method],
            SPECTRUM_ORDERS[self._order],
            SAMPLINGS[self._sampling],
            self._is_geometric,
        )

    def _settings(self) -> LandscapeSettings:
        plan = self._plan()
        needs_solutions = plan.method in ("trajectory", "checkpoints")
        if needs_solutions and not self._solutions:
            raise ValueError(
                f"Solutions must name checkpoints for the method {plan.method}, got none"
            )
        solutions = self._solutions if needs_solutions else ()
        return LandscapeSettings(
            problem=ProblemSettings(
                name=self._problem_name(),
                arguments=parse_arguments(self._arguments),
                checkpoint=self.find_file(self._checkpoint),
            ),
            directions=DirectionSettings(
                n=plan.n,
                method=plan.method,
                order=plan.order,
                normalization=NORMALIZATIONS[self._normalization],
                parameters=self._parameters or None,
                solutions=tuple(self.find_file(path) for path in solutions),
                max_iterations=self._max_iterations,
                tolerance=self._tolerance,
                seed=self._seed,
            ),
            samples=self._samples(),
            evaluation=EvaluationSettings(
                engine=ENGINES[self._engine - 1] if self._engine else None,
                batch_losses=self._batch_losses,
            ),
            run=RunSettings(
                store=self._store_path(),
                time_budget=self.optional("Time Budget", self._time_budget),
                part=None if self._store else (1, 1),
            ),
        )

    def _samples(self) -> SampleSettings:
        plan, rise = self._plan(), self._rise if self._by_rise else None
        if plan.sampling == "scattered":
            region = REGIONS[self._region]
            return ScatterSettings(self._count, region, self._distance, self._seed, rise)
        nearest = self._nearest if plan.is_geometric else None
        return GridSettings(plan.resolution, self._distance, rise, nearest)

    def _store_path(self) -> str:
        """Return the path of the store; a new one of a state file is made beside that file."""
        path = self.find_file(self._store)
        is_new = bool(path) and not Path(path).exists()
        return str((self._state_folder or Path()) / path) if is_new else path

    def _problem_name(self) -> str:
        if self._problem == MODEL:
            if not self._model_folder:
                raise ValueError(
                    f"Model Folder must name a folder if Problem is '{MODEL}', got none"
                )
            folder = self.find_file(self._model_folder)
            if not Path(folder).is_dir():
                raise ValueError(
                    f"Model Folder must be a folder with a model, found none at {folder}"
                )
            return HUGGING_FACE + folder
        if self._problem != FILE:
            if not is_ready(self._problem):
                raise ValueError(
                    f"Problem must be one of {', '.join(READY_PROBLEMS)}, {FILE}, {MODEL} or "
                    f"hf:FOLDER, got {self._problem!r}; set Problem to 'file' and name the file in "
                    "Problem File"
                )
            prefix, folder = self._problem.partition(HUGGING_FACE)[1:]
            return prefix + self.find_file(folder) if prefix else self._problem
        if not self._problem_file:
            raise ValueError("Problem File must name a Python file if Problem is 'file', got none")
        file = str(Path(self.find_file(self._problem_file)).resolve())
        if file != self._announced_file and Path(file).is_file():
            # after paraview.print_info, standard output of 5.11 is lost
            print(f"{self.LABEL}: runs the code of {file}", flush=True)
            self._announced_file = file
        return f"{file}:{self._function}"


def _integers(text: str) -> tuple[int, ...]:
    """Return the numbers of a text such as ``11, 21``.

    Raises:
        ValueError: if it has other words.
    """
    try:
        return tuple(int(word) for word in text.replace(",", " ").split())
    except ValueError as error:
        raise ValueError(
            f"Coarse Resolutions must be numbers such as 11, 21, got {text!r}"
        ) from error
