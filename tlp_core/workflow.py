"""From settings to a landscape: what the source in ParaView and ``tlp sample`` share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tlp_core import checks
from tlp_core.directions import Directions, Normalization
from tlp_core.hessian import HessianMethod, hessian_directions
from tlp_core.landscape import Landscape
from tlp_core.landscape_store import LandscapeStore
from tlp_core.problem import Problem
from tlp_core.problems import load_problem, parse_arguments
from tlp_core.progress import Progress, silent
from tlp_core.sampling import ShouldStop, memory_store, sample_grid

_DIRECTIONS_SHARE = 0.1
"""Share of the progress bar for the directions, which take seconds where sampling takes minutes."""


@dataclass(frozen=True)
class LandscapeSettings:
    """Everything that makes a landscape.

    Attributes:
        problem: ready name, or ``FILE.py:FUNCTION``.
        arguments: of the function, such as ``beta=30, seed=1``.
        checkpoint: file of the parameters; empty to keep the problem's own.
        number_of_directions: n, >= 1.
        method: how directions are made.
        normalization: how they are scaled.
        max_iterations: of the eigenvector search, for each vector.
        tolerance: of the eigenvector search.
        seed: of its start vectors.
        resolution: points along each direction, odd.
        distance: half-width of the range of α.
        store: path of the Zarr store; empty to keep the losses in memory.
        time_budget: seconds of sampling; None for no limit.
    """

    problem: str
    arguments: str = ""
    checkpoint: str = ""
    number_of_directions: int = 2
    method: HessianMethod = "pyhessian"
    normalization: Normalization = "none"
    max_iterations: int = 200
    tolerance: float = 1e-4
    seed: int = 0
    resolution: int = 41
    distance: float = 1.0
    store: str = ""
    time_budget: float | None = None


class LandscapeSampler:
    """Samples landscapes, and keeps the last directions and losses to go on with.

    A change of the resolution finds the directions again; a larger time budget finds the samples.
    """

    def __init__(self) -> None:
        self._directions_key: tuple[Any, ...] = ()
        self._found: tuple[Problem, Directions] | None = None
        self._store_key: tuple[Any, ...] = ()
        self._store: LandscapeStore | None = None

    def sample(
        self,
        settings: LandscapeSettings,
        *,
        progress: Progress = silent,
        should_stop: ShouldStop = lambda: False,
    ) -> Landscape:
        """Return the landscape of the settings.

        Raises:
            ValueError, TypeError, RuntimeError, OSError: as :func:`load_problem`,
                :func:`hessian_directions` and :func:`sample_grid` say.
        """
        _check(settings)
        problem, directions = self._problem_and_directions(settings, progress)
        return sample_grid(
            problem,
            directions,
            resolution=settings.resolution,
            distance=settings.distance,
            store=settings.store or self._memory(problem, directions, settings),
            time_budget=settings.time_budget,
            progress=_later_part(progress),
            should_stop=should_stop,
        )

    def _problem_and_directions(
        self, settings: LandscapeSettings, progress: Progress
    ) -> tuple[Problem, Directions]:
        key = _directions_key(settings)
        if self._found is None or key != self._directions_key:
            self._found = None
            problem = load_problem(
                settings.problem,
                arguments=parse_arguments(settings.arguments),
                checkpoint=settings.checkpoint or None,
            )
            directions = hessian_directions(
                problem,
                settings.number_of_directions,
                method=settings.method,
                normalization=settings.normalization,
                max_iterations=settings.max_iterations,
                tolerance=settings.tolerance,
                seed=settings.seed,
                progress=_first_part(progress),
            )
            self._found, self._directions_key = (problem, directions), key
        return self._found

    def _memory(
        self, problem: Problem, directions: Directions, settings: LandscapeSettings
    ) -> LandscapeStore:
        key = (*self._directions_key, settings.resolution, settings.distance)
        if self._store is None or key != self._store_key:
            self._store = memory_store(
                problem, directions, resolution=settings.resolution, distance=settings.distance
            )
            self._store_key = key
        return self._store


def _check(settings: LandscapeSettings) -> None:
    """Refuse what is wrong by itself, before minutes are spent on directions."""
    checks.resolution(settings.resolution)
    checks.positive(settings.distance, name="distance")
    checks.integer(settings.number_of_directions, name="n", minimum=1)


def _directions_key(settings: LandscapeSettings) -> tuple[Any, ...]:
    """Return what the directions depend on: all but grid and store, files by time of change."""
    files = (settings.problem.rpartition(":")[0] or settings.problem, settings.checkpoint)
    times = [Path(f).stat().st_mtime_ns if f and Path(f).is_file() else 0 for f in files]
    return replace(settings, resolution=0, distance=0.0, store="", time_budget=None), *times


def _first_part(progress: Progress) -> Progress:
    return lambda share, text: progress(share * _DIRECTIONS_SHARE, text)


def _later_part(progress: Progress) -> Progress:
    return lambda share, text: progress(_DIRECTIONS_SHARE + share * (1 - _DIRECTIONS_SHARE), text)
