"""The measurements of a recorder on one network, whose weights change from call to call."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from tlp_core.analysis.descriptors import describe
from tlp_core.choices import HessianProduct
from tlp_core.directions.base import Directions, subspace_overlap
from tlp_core.directions.gradient import steepest_directions
from tlp_core.directions.hessian.critical_sharpness import critical_sharpness
from tlp_core.directions.hessian.eigenvectors import follow_eigenvectors
from tlp_core.directions.hessian.operator import NoSecondDerivativeError
from tlp_core.directions.random import draw_directions
from tlp_core.directions.settings import DirectionSettings
from tlp_core.kept_outputs import KEPT_BYTES, kept_outputs
from tlp_core.landscape.landscape import Landscape
from tlp_core.model_state import evaluation_state, trainable_parameters
from tlp_core.problem import Problem, mean_loss, move_batches
from tlp_core.recorder.ranks import Ranks
from tlp_core.recorder.record import Record
from tlp_core.recorder.settings import RecorderSettings
from tlp_core.sampling.chunks import sample_plan
from tlp_core.sampling.grid import grid_plan
from tlp_core.sampling.partition import SinglePart
from tlp_core.sampling.settings import EvaluationSettings, GridSettings, RunSettings
from tlp_core.topology.landscape_tree import landscape_tree

DIRECTIONS_FILE = "directions.safetensors"

LEAST_RESOLUTION = 5
"""Smallest number of points per axis of a grid that is made coarser to save time."""

_BESIDES = 12
"""Evaluations of the loss for each landscape besides its samples: checks of the loss at the centre,
and of the engine at two points."""

_SHARPNESS = 20
"""Evaluations of the loss for a critical sharpness, with its gradient."""

_PRODUCT = 6
"""A Hessian-vector product in units of an evaluation: two passes forward, two backward."""

NAN = float("nan")

Result = TypeVar("Result")

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Effort:
    """How much is measured at each step.

    Attributes:
        resolution: number of points per axis.
        has_extras: whether eigenvalues and the critical sharpness are measured.
        evaluations: about how many evaluations of the loss this takes.
    """

    resolution: int
    has_extras: bool
    evaluations: int


class Measurement:
    """Measures one network again and again along the same directions."""

    def __init__(self, problem: Problem, folder: Path, settings: RecorderSettings) -> None:
        """Set up the measurement; nothing is evaluated.

        Args:
            problem: its model is the one that trains.
            folder: of the landscapes and the directions.
            settings: what is measured.
        """
        self._ranks, self._has_shared = Ranks(together=False), False
        self._problem, self._folder, self._settings = problem, folder, settings
        self._samples, self._has_extras = settings.samples, True
        self._directions: Directions | None = None
        self._eigenvectors: Directions | None = None
        self._product: HessianProduct = "autograd"
        self._reported = set[str]()

    def divide_among(self, ranks: Ranks) -> None:
        """Let several processes divide the samples; rank 0 does the rest."""
        self._ranks = ranks

    @property
    def resolution(self) -> int:
        """Number of points per axis."""
        return self._samples.resolution

    def use(self, effort: Effort) -> None:
        """Measure less; all landscapes of a series must have one size."""
        self._samples = replace(self._samples, resolution=effort.resolution)
        self._has_extras = effort.has_extras

    def efforts(self) -> list[Effort]:
        """Return what can be measured, from all that is wanted to the least.

        The grid becomes coarser, then eigenvalues and critical sharpness are left out, except where
        the landscape lies along eigenvectors.
        """
        wanted = self._settings
        grids = coarser(wanted.samples)
        extras = 3 * wanted.eigenvalues * _PRODUCT + (_SHARPNESS if wanted.sharpness else 0)
        losses = 1 + len(self._problem.other_batches)
        each = losses / self._ranks.count
        sizes = [int(_BESIDES + each * grid.resolution**wanted.n) for grid in grids]
        every = [
            Effort(grid.resolution, has_extras=True, evaluations=size + extras)
            for grid, size in zip(grids, sizes)
        ]
        if wanted.directions == "eigenvectors":
            return every
        return [*every, Effort(grids[-1].resolution, has_extras=False, evaluations=sizes[-1])]

    def time_evaluation(self) -> float:
        """Return the seconds of one evaluation of the loss, without gradients."""
        problem = self._here()
        with evaluation_state(problem.model, self._settings.parameters):
            moving = trainable_parameters(problem.model).values()
            with kept_outputs(problem, moving, KEPT_BYTES) as kept, torch.no_grad():
                mean_loss(kept)
                start = time.perf_counter()
                mean_loss(kept)
                return time.perf_counter() - start

    def at(self, step: int, path: Path) -> Record:
        """Measure the network as it is now, and write its landscape.

        Args:
            step: number of the step.
            path: store of the landscape.

        Raises:
            ValueError, TypeError, LossError, RuntimeError, OSError: as the functions that measure.
        """
        problem = self._here()
        with self._state_of_first(problem):
            values = self._ranks.attempt_first(lambda: self._numbers(problem))
            landscape = self._sample(problem, path)
        tree = landscape_tree(landscape, threshold=self._settings.threshold)
        every = {
            "loss": landscape.center,
            **{f"loss {name}": landscape.of_loss(name).center for name in landscape.other_losses},
            **{f"metric {name}": v for name, v in landscape.provenance["metrics"].items()},
            **describe(tree).as_dict(),
            **values,
            "resolution": float(self.resolution),
        }
        return Record(step, every, landscape, tree, path)

    def _numbers(self, problem: Problem) -> dict[str, float]:
        """Return eigenvalues, sharpness and overlap, and make the directions, if there are none."""
        values = {**self._follow(problem), **self._sharpness(problem)}
        directions = self._directions_of(problem)
        if self._settings.eigenvalues:
            values["overlap"] = self._overlap(directions)
        return values

    @contextmanager
    def _state_of_first(self, problem: Problem) -> Iterator[None]:
        """Give the buffers of rank 0 to all ranks, as running statistics may differ, and restore.

        The weights of a training on several ranks are equal.
        """
        if self._ranks.count == 1:
            yield
            return
        buffers = dict(problem.model.named_buffers())
        own = {name: buffer.detach().clone() for name, buffer in buffers.items()}
        shared = self._ranks.of_first({name: buffer.cpu() for name, buffer in own.items()})
        try:
            with torch.no_grad():
                for name, buffer in buffers.items():
                    buffer.copy_(shared[name])
            yield
        finally:
            with torch.no_grad():
                for name, buffer in buffers.items():
                    buffer.copy_(own[name])

    def _sample(self, problem: Problem, path: Path) -> Landscape:
        """Return the landscape, of which each rank evaluates a part; rank 0 writes it.

        Raises:
            RuntimeError: if a rank fails, or has other weights or batches than rank 0.
        """
        ranks, n = self._ranks, self._settings.n
        sample = partial(
            sample_plan,
            problem,
            plan=grid_plan(self._samples, n),
            evaluation=EvaluationSettings(self._settings.engine),
            run=RunSettings(),
        )
        if ranks.count == 1:
            return sample(directions=self._directions_of(problem), store=path)
        self._share_directions(problem)
        directions = self._directions_of(problem)
        part = SinglePart((ranks.rank + 1, ranks.count))
        parts = ranks.attempt(lambda: sample(directions=directions, part=part))
        first = parts[0]
        for rank, other in enumerate(parts):
            for name in ("checkpoint_hash", "batch_hash"):
                if other.provenance[name] != first.provenance[name]:
                    raise RuntimeError(
                        f"all ranks must have equal weights and batches, and the {name} of rank "
                        f"{rank} is another one than that of rank 0"
                    )
        whole = first
        for other in parts[1:]:
            whole = replace(
                whole,
                loss=np.where(other.evaluated, other.loss, whole.loss),
                evaluated=whole.evaluated | other.evaluated,
                other_losses={
                    name: np.where(other.evaluated, other.other_losses[name], losses)
                    for name, losses in whole.other_losses.items()
                },
            )
        if ranks.rank == 0:
            whole.save(path)
        return whole

    def _share_directions(self, problem: Problem) -> None:
        """Give the directions of rank 0 to all ranks, once."""
        if self._has_shared:
            return
        made = self._ranks.of_first(self._directions and _moved(self._directions, {}))
        devices = {name: p.device for name, p in problem.model.named_parameters()}
        self._directions, self._has_shared = _moved(made, devices), True

    def report_once(self, text: str) -> None:
        """Log a warning, once for all texts that differ in their numbers only."""
        kind = re.sub(r"[-+]?\d[\d.e+-]*", "#", text)
        if kind not in self._reported:
            self._reported.add(kind)
            _LOG.warning("%s", text)

    def _here(self) -> Problem:
        """Return the problem with its batches on the device on which the model is now."""
        return move_batches(self._problem, next(self._problem.model.parameters()).device)

    def _settings_of(self, n: int, method: str) -> DirectionSettings:
        return DirectionSettings(
            n=n,
            method=method,  # type: ignore[arg-type]
            normalization=self._settings.used_normalization(),
            parameters=self._settings.parameters,
            seed=self._settings.seed,
        )

    def _follow(self, problem: Problem) -> dict[str, float]:
        """Return the top eigenvalues with their residuals, from the eigenvectors of before."""
        count = self._settings.eigenvalues
        if not count:
            return {}
        settings = replace(self._settings_of(count, "lanczos"), normalization="none")
        found = None
        if self._has_extras:
            found = self._attempt("eigenvalues", lambda: self._eigenvectors_of(problem, settings))
            self._eigenvectors = found or self._eigenvectors
        return {
            f"{name}_{i + 1}": float(numbers[i]) if found is not None else NAN
            for name, numbers in (
                ("eigenvalue", found.eigenvalues if found else ()),
                ("residual", found.residuals if found else ()),
            )
            for i in range(count)
        }

    def _eigenvectors_of(self, problem: Problem, settings: DirectionSettings) -> Directions:
        """Return the eigenvectors; by finite differences if there is no second derivative."""
        own = replace(settings, product=self._product)
        try:
            return follow_eigenvectors(problem, own, start=self._eigenvectors)
        except NoSecondDerivativeError:
            self._product = "finite-difference"
        return self._eigenvectors_of(problem, settings)

    def _overlap(self, directions: Directions) -> float:
        """Return how much of the current eigenvectors lies in the span of the landscape."""
        current = self._eigenvectors
        if current is None or len(current) != len(directions):
            return NAN
        return subspace_overlap(directions, current)

    def _sharpness(self, problem: Problem) -> dict[str, float]:
        if not self._settings.sharpness:
            return {}
        found = None
        if self._has_extras:
            found = self._attempt(
                "the critical sharpness",
                lambda: critical_sharpness(problem, parameters=self._settings.parameters),
            )
        return {"critical_sharpness": found.value if found is not None else NAN}

    def _attempt(self, what: str, measure: Callable[[], Result]) -> Result | None:
        """Return a measurement, or None where it does not exist, which is logged once."""
        try:
            return measure()
        except RuntimeError as error:
            self.report_once(f"{what} cannot be measured at some steps: {error}")
            return None

    def _directions_of(self, problem: Problem) -> Directions:
        """Return the directions of all landscapes: those of the folder, or new ones."""
        if self._directions is not None:
            return self._directions
        file, settings = self._folder / DIRECTIONS_FILE, self._settings
        if file.exists():
            found = Directions.load(file, problem.model)
        elif settings.directions == "eigenvectors":
            if self._eigenvectors is None:
                raise RuntimeError("the eigenvectors could not be computed; use random directions")
            found = follow_eigenvectors(
                problem, self._settings_of(settings.n, "lanczos"), start=self._leading()
            )
        elif settings.directions == "gradient":
            found = steepest_directions(problem, self._settings_of(settings.n, "gradient"))
        else:
            found = draw_directions(problem, self._settings_of(settings.n, "random"))
        found = _detached(found)
        if not file.exists():
            found.save(file)
        self._directions = found
        return found

    def _leading(self) -> Directions:
        """Return the first n of the eigenvectors that are followed."""
        found, n = self._eigenvectors, self._settings.n
        assert found is not None
        return replace(
            found,
            vectors=found.vectors[:n],
            eigenvalues=found.eigenvalues[:n],
            residuals=found.residuals[:n],
        )


def _detached(directions: Directions) -> Directions:
    """Return directions that do not share memory with anything that changes."""
    vectors = tuple(
        {name: part.detach().clone() for name, part in vector.items()}
        for vector in directions.vectors
    )
    return replace(directions, vectors=vectors)


def _moved(directions: Directions, devices: Mapping[str, torch.device]) -> Directions:
    """Return directions on the device of each parameter, on the CPU for those without one."""
    vectors = tuple(
        {name: part.to(devices.get(name, "cpu")) for name, part in vector.items()}
        for vector in directions.vectors
    )
    return replace(directions, vectors=vectors)


def coarser(samples: GridSettings) -> list[GridSettings]:
    """Return a grid and the coarser ones, each with about half the points per axis."""
    found = [samples]
    while (half := (found[-1].resolution - 1) // 2 | 1) >= LEAST_RESOLUTION:
        found.append(replace(samples, resolution=half))
    return found
