"""From settings to a landscape."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tlp_core.directions.base import Directions
from tlp_core.directions.methods import make_directions
from tlp_core.directions.settings import DirectionSettings
from tlp_core.landscape.landscape import Landscape
from tlp_core.landscape.store import LandscapeStore, require_new_store
from tlp_core.pipeline.problem_loader import ProblemLoader, Sharding
from tlp_core.pipeline.settings import LandscapeSettings
from tlp_core.problem import Problem
from tlp_core.problems.loading import hash_code
from tlp_core.problems.settings import ProblemSettings
from tlp_core.problems.weights import hash_checkpoint
from tlp_core.progress import Progress, silent
from tlp_core.sampling.chunks import ShouldStop, sample_plan
from tlp_core.sampling.grid import grid_plan
from tlp_core.sampling.partition import Part, abort_all_on_error, part_of_process
from tlp_core.sampling.plan import RISE, Plan
from tlp_core.sampling.rise import with_distances
from tlp_core.sampling.scattered import scatter_plan
from tlp_core.sampling.settings import GridSettings, SampleSettings
from tlp_core.sampling.torch_partition import TorchPart
from tlp_core.shards import join, shard_of


class LandscapeSampler:
    """Samples landscapes, and keeps the last problem, directions and losses.

    Another resolution reuses the directions; a larger time budget resumes the losses.
    """

    def __init__(self) -> None:
        self._loader = ProblemLoader()
        self._directions_key: tuple[Any, ...] = ()
        self._directions: Directions | None = None
        self._store_key: tuple[Any, ...] = ()
        self._store: LandscapeStore | None = None
        self._sampled_by_ranks: LandscapeSettings | None = None
        self._distances_key: tuple[Any, ...] = ()
        self._distances: float | tuple[float, ...] = ()

    def sample(
        self,
        settings: LandscapeSettings,
        *,
        reuse: Landscape | None = None,
        progress: Progress = silent,
        should_stop: ShouldStop = lambda: False,
    ) -> Landscape:
        """Return the landscape of the settings; in a run of MPI or torch all ranks divide it.

        Args:
            settings: what to sample.
            reuse: a coarser landscape of the same directions, whose samples are reused.
            progress: called with the fraction done, 0 to 1, and a text.
            should_stop: called before each further chunk.

        Raises:
            ValueError, TypeError, RuntimeError, OSError: as :func:`~tlp_core.load_problem`, the
                functions that make directions, :func:`~tlp_core.sample_grid` and
                :func:`~tlp_core.sample_scattered`.
        """
        part = part_of_process(settings.run.part, settings.run.shards)
        if not part.is_alone and self._sampled_by_ranks == settings:
            return Landscape.open(settings.run.store)  # ParaView may ask one rank again, alone
        if not part.is_alone and not settings.run.store:
            raise ValueError("several processes must share a store on disk, and none is named")
        self._sampled_by_ranks = settings
        progress = progress if part.is_first() else silent
        with abort_all_on_error(part):
            if part.is_first() and settings.run.store:  # before hours are spent on directions
                require_new_store(settings.run.store)
                if Path(settings.run.store).exists():
                    LandscapeStore.open(settings.run.store).check_chunks()
            before = _before_samples(progress)
            problem, directions = self._find_directions(settings, part, before)
            plan = make_plan(self._samples(problem, directions, settings, part), len(directions))
            return sample_plan(
                problem,
                directions,
                plan,
                settings.evaluation,
                settings.run,
                store=settings.run.store or self._memory_store(settings, plan),
                reuse=reuse,
                part=part,
                progress=progress,
                should_stop=should_stop,
            )

    def problem(self, settings: LandscapeSettings) -> Problem:
        """Return the problem of the settings, sharded if they say so.

        Raises:
            ValueError, TypeError, RuntimeError, OSError: as :func:`~tlp_core.load_problem`.
        """
        part = part_of_process(settings.run.part, settings.run.shards)
        return self._loader.load(settings.problem, _sharding_of(settings, part))

    def content_hash(self, settings: LandscapeSettings) -> str:
        """Return a hash of the code and the batches of a problem, in hex; weights do not count.

        Raises:
            ValueError, TypeError, RuntimeError, OSError: as :func:`~tlp_core.load_problem`.
        """
        part = part_of_process(settings.run.part, settings.run.shards)
        return self._loader.content_hash(settings.problem, _sharding_of(settings, part))

    def directions(
        self, settings: LandscapeSettings, *, progress: Progress = silent
    ) -> tuple[Problem, Directions]:
        """Return the problem of the settings and its directions.

        Args:
            settings: those of problem and directions are used.
            progress: called with the fraction done, 0 to 1, and a text.

        Raises:
            ValueError, TypeError, RuntimeError, OSError: as :meth:`sample`.
        """
        part = part_of_process(shards=settings.run.shards)
        return self._find_directions(settings, part, progress)

    def _find_directions(
        self, settings: LandscapeSettings, part: Part, progress: Progress
    ) -> tuple[Problem, Directions]:
        problem = self._loader.load(settings.problem, _sharding_of(settings, part))
        key = (settings.run.shards, *_directions_key(settings.problem, settings.directions))
        if self._directions is None or key != self._directions_key:
            self._directions = None
            made = None
            if part.is_in_first_group():
                made = make_directions(problem, settings.directions, progress)
            self._directions, self._directions_key = _share(made, part, problem), key
        return problem, self._directions

    def _samples(
        self, problem: Problem, directions: Directions, settings: LandscapeSettings, part: Part
    ) -> SampleSettings:
        """Return the settings of the samples, with distances that a rise of the loss decides.

        They are found by the first processes. A store that was begun keeps its own.
        """
        samples = settings.samples
        if samples.rise is None:
            return samples
        key = (
            *self._directions_key,
            samples.rise,
            settings.evaluation.batch_norm,
            settings.run.store,
        )
        if key != self._distances_key:
            found: float | tuple[float, ...] | None = None
            if part.is_in_first_group():
                store = settings.run.store
                begun = LandscapeStore.open(store) if store and Path(store).exists() else None
                if begun is not None and begun.provenance.get(RISE) == samples.rise:
                    found = tuple(begun.distance.tolist())
                else:
                    batch_norm = settings.evaluation.batch_norm
                    found = with_distances(problem, directions, samples, batch_norm).distance
            self._distances, self._distances_key = part.broadcast(found), key
        return replace(samples, distance=self._distances)

    def _memory_store(self, settings: LandscapeSettings, plan: Plan) -> LandscapeStore | None:
        key = (*self._directions_key, settings.samples, settings.evaluation)
        if self._store is None or key != self._store_key:
            self._store = LandscapeStore.in_memory(plan.shape, plan.distances, plan.points)
            self._store_key = key
        return self._store


def make_plan(samples: SampleSettings, n: int) -> Plan:
    """Return the samples in n directions.

    Raises:
        ValueError: as :func:`~tlp_core.sampling.grid.grid_plan` and
            :func:`~tlp_core.sampling.scattered.scatter_plan`.
    """
    return grid_plan(samples, n) if isinstance(samples, GridSettings) else scatter_plan(samples, n)


def _directions_key(problem: ProblemSettings, directions: DirectionSettings) -> tuple[Any, ...]:
    """Return what directions depend on: the settings, and the content of code and files."""
    files = (problem.checkpoint, directions.file, *directions.solutions)
    hashes = [hash_checkpoint(file) for file in files if file]
    return problem, directions, hash_code(problem.name), *hashes


def _sharding_of(settings: LandscapeSettings, part: Part) -> Sharding | None:
    """Return how the model is sharded; None for a whole one."""
    if not isinstance(part, TorchPart) or part.shards == 1:
        return None
    kind = (settings.problem.device or "cpu").partition(":")[0]
    return Sharding(part.mesh(kind), settings.directions.parameters)


def _share(made: Directions | None, part: Part, problem: Problem) -> Directions:
    """Return the directions that the first processes made, tensor by tensor on each one's device.

    Each process gets those of the process that holds the same shard.
    """
    if part.is_alone:
        assert made is not None
        return made
    record = part.broadcast_shard(made and replace(made, vectors=()))
    shared: Directions = record
    keys = part.broadcast_shard(made and [list(vector) for vector in made.vectors])
    parameters = dict(problem.model.named_parameters())
    vectors = []
    for i, names in enumerate(keys):
        vector = {}
        for name in names:
            shard = part.broadcast_shard(made and shard_of(made.vectors[i][name]).cpu())
            vector[name] = join(shard.to(parameters[name].device), parameters[name])
        vectors.append(vector)
    return replace(shared, vectors=tuple(vectors))


def _before_samples(progress: Progress) -> Progress:
    """Report the directions at 0 %, because percentages are those of the samples."""
    return lambda _fraction, text: progress(0.0, text)
