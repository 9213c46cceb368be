"""From settings to a landscape: what the source in ParaView and ``tlp sample`` share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from tlp_core import checks
from tlp_core.directions.base import Directions, Normalization
from tlp_core.directions.hessian.eigenvectors import (
    HESSIAN_METHODS,
    SpectrumOrder,
    hessian_directions,
)
from tlp_core.directions.random import (
    checkpoint_directions,
    gradient_directions,
    random_directions,
    trajectory_directions,
)
from tlp_core.landscape.landscape import Landscape
from tlp_core.landscape.store import LandscapeStore
from tlp_core.problem import Problem, converted
from tlp_core.problems.loading import load_problem, parse_arguments, read_state
from tlp_core.progress import Progress, silent
from tlp_core.sampling.engines import GIBIBYTE, BatchNorm, EngineName
from tlp_core.sampling.grid import (
    Region,
    ShouldStop,
    check_evaluation,
    check_scatter,
    memory_store,
    sample_grid,
    sample_scattered,
)
from tlp_core.sampling.partition import Ranks, Share, ends_all, share

DirectionMethod = Literal["pyhessian", "lanczos", "random", "gradient", "trajectory", "checkpoints"]
DIRECTION_METHODS: tuple[DirectionMethod, ...] = get_args(DirectionMethod)

_DIRECTIONS_SHARE = 0.1
"""Share of the progress bar for the directions, which take seconds where sampling takes minutes."""


@dataclass(frozen=True)
class LandscapeSettings:
    """Everything that makes a landscape.

    Attributes:
        problem: ready name, or ``FILE.py:FUNCTION``.
        arguments: of the function, such as ``beta=30, seed=1``.
        checkpoint: file of the parameters; empty to keep the problem's own.
        dtype: ``float32``, ``float64`` or ``bfloat16``; empty to keep the model's.
        device: such as ``cpu``, ``cuda`` or ``mps``; empty to keep the model's.
        number_of_directions: n, >= 1; of ``checkpoints`` as many as the solutions span.
        method: how directions are made.
        order: which eigenvalues, and in which order.
        normalization: how directions are scaled.
        parameters: pattern of the names of the parameters to move; empty for all.
        solutions: checkpoints of ``trajectory`` and ``checkpoints``.
        directions_file: directions made before by ``tlp directions``, instead of all these.
        max_iterations: of the eigenvector search, for each vector.
        tolerance: of the eigenvector search.
        seed: of its start vectors.
        resolution: points along each direction, odd.
        distance: half-width of the range of α.
        scattered: number of scattered samples; 0 for a grid.
        region: of the scattered samples.
        store: path of the Zarr store; empty to keep the losses in memory.
        time_budget: seconds of sampling; None for no limit.
        engine: how losses are evaluated; None to measure.
        batch: samples in one call; None to measure.
        memory_limit: bytes that evaluation may take.
        batch_norm: ``stored`` or ``reestimated``.
        part: k and m, to do the k-th of m parts only; None for all, or an MPI rank's share.
    """

    problem: str
    arguments: str = ""
    checkpoint: str = ""
    dtype: str = ""
    device: str = ""
    number_of_directions: int = 2
    method: DirectionMethod = "pyhessian"
    order: SpectrumOrder = "magnitude"
    normalization: Normalization = "none"
    parameters: str = ""
    solutions: tuple[str, ...] = ()
    directions_file: str = ""
    max_iterations: int = 200
    tolerance: float = 1e-4
    seed: int = 0
    resolution: int = 41
    distance: float = 1.0
    scattered: int = 0
    region: Region = "box"
    store: str = ""
    time_budget: float | None = None
    engine: EngineName | None = None
    batch: int | None = None
    memory_limit: float = GIBIBYTE
    batch_norm: BatchNorm = "stored"
    part: tuple[int, int] | None = None


class LandscapeSampler:
    """Samples landscapes, and keeps the last directions and losses to go on with.

    A change of the resolution finds the directions again; a larger time budget finds the samples.
    """

    def __init__(self) -> None:
        self._directions_key: tuple[Any, ...] = ()
        self._found: tuple[Problem, Directions] | None = None
        self._shared: LandscapeSettings | None = None
        self._store_key: tuple[Any, ...] = ()
        self._store: LandscapeStore | None = None

    def sample(
        self,
        settings: LandscapeSettings,
        *,
        reuse: Landscape | None = None,
        progress: Progress = silent,
        should_stop: ShouldStop = lambda: False,
    ) -> Landscape:
        """Return the landscape of the settings; in an MPI run all ranks share the work.

        Args:
            settings: what to sample.
            reuse: a coarser landscape of the same, whose samples are taken over.
            progress: called with the share done, 0 to 1, and a text.
            should_stop: asked before each further chunk.

        Raises:
            ValueError, TypeError, RuntimeError, OSError: as :func:`load_problem`, the functions
                that make directions, :func:`sample_grid` and :func:`sample_scattered` say.
        """
        _check(settings)
        own = share(settings.part)
        if isinstance(own, Ranks) and self._shared == settings:
            return Landscape.open(settings.store)  # ParaView may ask one rank again, alone
        if isinstance(own, Ranks) and not settings.store:
            raise ValueError("several processes must share a store on disk, and none is named")
        self._shared = settings
        with ends_all(own):
            problem, directions = self._problem_and_directions(settings, own, progress)
            options: dict[str, Any] = {
                "distance": settings.distance,
                "store": settings.store or self._memory(directions, settings),
                "engine": settings.engine,
                "batch": settings.batch,
                "memory_limit": settings.memory_limit,
                "batch_norm": settings.batch_norm,
                "time_budget": settings.time_budget,
                "share": own,
                "progress": _later_part(progress) if own.is_first() else silent,
                "should_stop": should_stop,
            }
            if settings.scattered:
                return sample_scattered(
                    problem,
                    directions,
                    count=settings.scattered,
                    region=settings.region,
                    seed=settings.seed,
                    **options,
                )
            return sample_grid(
                problem, directions, resolution=settings.resolution, reuse=reuse, **options
            )

    def directions(
        self, settings: LandscapeSettings, *, progress: Progress = silent
    ) -> tuple[Problem, Directions]:
        """Return the problem of the settings and its directions only."""
        checks.integer(settings.number_of_directions, name="n", minimum=1)
        return self._problem_and_directions(settings, share(), progress)

    def _problem_and_directions(
        self, settings: LandscapeSettings, own: Share, progress: Progress
    ) -> tuple[Problem, Directions]:
        key = _directions_key(settings)
        if self._found is None or key != self._directions_key:
            self._found = None
            problem = load_problem(
                settings.problem,
                arguments=parse_arguments(settings.arguments),
                checkpoint=settings.checkpoint or None,
            )
            problem = converted(problem, dtype=settings.dtype, device=settings.device)
            first = own.is_first()
            made = _directions(problem, settings, _first_part(progress)) if first else None
            self._found, self._directions_key = (problem, own.agreed(made)), key
        return self._found

    def _memory(self, directions: Directions, settings: LandscapeSettings) -> LandscapeStore | None:
        if settings.scattered:
            return None
        evaluation = (settings.engine, settings.batch, settings.batch_norm)
        key = (*self._directions_key, settings.resolution, settings.distance, *evaluation)
        if self._store is None or key != self._store_key:
            self._store = memory_store(
                directions, resolution=settings.resolution, distance=settings.distance
            )
            self._store_key = key
        return self._store


def _check(settings: LandscapeSettings) -> None:
    """Refuse what is wrong by itself, before minutes are spent on directions."""
    checks.resolution(settings.resolution)
    checks.positive(settings.distance, name="distance")
    checks.integer(settings.number_of_directions, name="n", minimum=1)
    check_evaluation(settings.engine, settings.batch, settings.memory_limit, settings.batch_norm)
    if settings.scattered:
        check_scatter(settings.scattered, settings.region)
    if settings.time_budget is not None:
        checks.positive(settings.time_budget, name="time_budget")


def _directions(problem: Problem, settings: LandscapeSettings, progress: Progress) -> Directions:
    if settings.directions_file:
        return Directions.load(settings.directions_file, problem.model)
    n, method = settings.number_of_directions, settings.method
    checks.choice(method, DIRECTION_METHODS, name="method")
    common: dict[str, Any] = {
        "normalization": settings.normalization,
        "parameters": settings.parameters or None,
    }
    if method in HESSIAN_METHODS:
        return hessian_directions(
            problem,
            n,
            method=method,
            order=settings.order,
            max_iterations=settings.max_iterations,
            tolerance=settings.tolerance,
            seed=settings.seed,
            progress=progress,
            **common,
        )
    if method == "random":
        return random_directions(problem, n, seed=settings.seed, **common)
    if method == "gradient":
        return gradient_directions(problem, n, seed=settings.seed, **common)
    states = [read_state(path) for path in settings.solutions]
    if method == "trajectory":
        return trajectory_directions(problem, n, states, **common)
    return checkpoint_directions(problem, states, **common)


def problem_file(problem: str) -> str:
    """Return the file in which a problem is made; the name itself of a ready one."""
    return problem.rpartition(":")[0] or problem


def _directions_key(settings: LandscapeSettings) -> tuple[Any, ...]:
    """Return what the directions depend on: all but grid and store, files by time of change."""
    files = (
        problem_file(settings.problem),
        settings.checkpoint,
        settings.directions_file,
        *settings.solutions,
    )
    times = [Path(f).stat().st_mtime_ns if f and Path(f).is_file() else 0 for f in files]
    same = replace(
        settings, resolution=0, distance=0.0, store="", time_budget=None, scattered=0, region="box",
        engine=None, batch=None, memory_limit=0.0, batch_norm="stored", part=None,
    )  # fmt: skip
    return same, *times


def _first_part(progress: Progress) -> Progress:
    return lambda share, text: progress(share * _DIRECTIONS_SHARE, text)


def _later_part(progress: Progress) -> Progress:
    return lambda share, text: progress(_DIRECTIONS_SHARE + share * (1 - _DIRECTIONS_SHARE), text)
