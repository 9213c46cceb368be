"""Stage 2: the loss on a grid in the span of the directions.

A sample at coordinates α is the loss at θ(α) = θ* + Σ α_i d_i. Parameters come from θ* for every
sample, never stepped from the last one, so errors do not add up, and the centre is the model's loss
to the last bit. How losses are evaluated is :mod:`tlp_core.sampling.engines`'s, and who evaluates
which chunk :mod:`tlp_core.sampling.partition`'s.
"""

from __future__ import annotations

import logging
import os
import platform
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from itertools import product
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import norm, qmc

import tlp_core
from tlp_core import checks
from tlp_core.directions.base import Directions
from tlp_core.landscape.landscape import Landscape, axis_points
from tlp_core.landscape.store import EVALUATION, MODEL_LOSS, Chunk, LandscapeStore
from tlp_core.model_state import parameter_norm, state_digest, trainable_parameters, undisturbed
from tlp_core.problem import Problem, batches_digest, check_center, measured
from tlp_core.progress import Progress, silent, time_left
from tlp_core.sampling.engines import (
    BATCH_NORMS,
    ENGINES,
    GIBIBYTE,
    BatchNorm,
    Choice,
    Engine,
    EngineName,
    Evaluator,
    choose_engine,
    evaluator,
    kept_engine,
)
from tlp_core.sampling.partition import Alone, Share

_CHUNK_SECONDS = 30.0
"""A chunk spans two axes unless that took longer: it is what a killed or stopped run loses."""

_TRIAL_POINTS = 64

_MOST_SCATTERED = 10

_TINY = 1e-12

Region = Literal["box", "ball"]
REGIONS: tuple[Region, ...] = get_args(Region)

_LOG = logging.getLogger(__name__)

ShouldStop = Callable[[], bool]


def sample_grid(
    problem: Problem,
    directions: Directions,
    *,
    resolution: int,
    distance: float | Sequence[float],
    store: str | os.PathLike[str] | LandscapeStore | None = None,
    reuse: Landscape | None = None,
    engine: EngineName | None = None,
    batch: int | None = None,
    memory_limit: float = GIBIBYTE,
    batch_norm: BatchNorm = "stored",
    time_budget: float | None = None,
    share: Share | None = None,
    progress: Progress = silent,
    should_stop: ShouldStop = lambda: False,
) -> Landscape:
    """Return the loss on a centred grid in the span of the directions.

    Args:
        problem: model, loss and batches; evaluated in evaluation mode.
        directions: n directions, as :func:`~tlp_core.hessian_directions` makes them.
        resolution: number of points along each direction, odd, >= 3.
        distance: half-width of the range of α, one for all directions or one each, > 0. (Older
            codes mean the full width.)
        store: path of a Zarr store that takes every chunk as it is done; a store that is there
            already is gone on with. None keeps the losses in memory.
        reuse: a landscape of the same problem and directions whose samples are taken over where
            their coordinates are those of the grid, such as one of half the resolution.
        engine: ``single``, ``batched`` or ``compiled`` (see
            :mod:`tlp_core.sampling.engines`); by default the fastest is found by measuring, and
            kept in the store.
        batch: samples in one call; by default found by measuring.
        memory_limit: bytes that evaluation may take beyond the model's own.
        batch_norm: ``stored`` evaluates with the model's running statistics; ``reestimated`` takes
            them anew from the batches at every sample (one at a time), so that the centre is the
            loss with re-estimated statistics.
        time_budget: seconds after which no further chunk is begun; None for no limit.
        share: which chunks this process evaluates, all by default.
        progress: called with the share done, 0 to 1, and a text that tells the time left.
        should_stop: asked before each further chunk.

    Returns:
        The landscape. Where the budget was spent or a stop was asked for, or other processes have
        not done theirs, the samples that are missing are marked, and a warning tells how many.

    Raises:
        ValueError: for a resolution that is even or too small, a distance that is not positive,
            a store or landscape that belongs to another one (the difference is named), or an
            engine other than the store's.
        LossError: for a loss that fails, is not scalar, not finite at the centre, differs from one
            call to the next, or does not depend on the parameters.
        RuntimeError: if the engine that was asked for cannot evaluate this loss.
    """
    shape, distances = _grid(resolution, distance, len(directions))
    return _sampled(
        problem,
        directions,
        _Plan(shape, distances, None, {}, engine, batch, memory_limit, batch_norm),
        store,
        reuse,
        _Clock(time_budget, should_stop),
        share or Alone(),
        progress,
    )


def sampling_seconds(
    problem: Problem,
    directions: Directions,
    *,
    resolution: int,
    distance: float | Sequence[float],
    batch_norm: BatchNorm = "stored",
) -> float:
    """Return how many seconds :func:`sample_grid` would take here, by a few samples taken now.

    Raises:
        ValueError, LossError: as :func:`sample_grid`.
    """
    shape, distances = _grid(resolution, distance, len(directions))
    plan = _Plan(shape, distances, None, {}, None, None, GIBIBYTE, batch_norm)
    plan.check()
    with undisturbed(problem.model):
        problem.model.eval()
        check_center(problem)
        return plan.choose(problem, directions, silent).seconds * int(np.prod(shape))


def sample_scattered(
    problem: Problem,
    directions: Directions,
    *,
    count: int,
    distance: float | Sequence[float],
    region: Region = "box",
    seed: int = 0,
    store: str | os.PathLike[str] | LandscapeStore | None = None,
    engine: EngineName | None = None,
    batch: int | None = None,
    memory_limit: float = GIBIBYTE,
    batch_norm: BatchNorm = "stored",
    time_budget: float | None = None,
    share: Share | None = None,
    progress: Progress = silent,
    should_stop: ShouldStop = lambda: False,
) -> Landscape:
    """Return the loss at scattered points in the span of the directions.

    For up to ten directions, where a grid has too many points; neighbours are then
    :func:`~tlp_core.topology.graphs.knn_graph`'s.

    Args:
        problem: as of :func:`sample_grid`, and so are all options not named here.
        directions: n directions, n <= 10.
        count: number of samples, >= 2; the first is the model itself.
        distance: half-width of the box, or radius of the ball (half-axes, if several).
        region: ``box`` or ``ball``.
        seed: of the scrambled Sobol sequence (Owen 1998, "Scrambling Sobol' and Niederreiter-Xing
            points"), which fills the region evenly; a longer sequence begins with the shorter.
        store: as of :func:`sample_grid`.
        engine: as of :func:`sample_grid`.
        batch: as of :func:`sample_grid`.
        memory_limit: as of :func:`sample_grid`.
        batch_norm: as of :func:`sample_grid`.
        time_budget: as of :func:`sample_grid`.
        share: as of :func:`sample_grid`.
        progress: as of :func:`sample_grid`.
        should_stop: as of :func:`sample_grid`.

    Returns:
        The landscape, with ``points`` (count, n).

    Raises:
        ValueError: for more than ten directions or fewer than two samples, and as
            :func:`sample_grid`.
    """
    n = len(directions)
    if n > _MOST_SCATTERED:
        raise ValueError(
            f"scattered samples must have at most {_MOST_SCATTERED} directions, got {n}"
        )
    check_scatter(count, region)
    distances = _half_widths(distance, n)
    points = _sobol(count, n, region, checks.integer(seed, name="seed", minimum=0)) * distances
    facts = {"region": region, "points_seed": seed}
    return _sampled(
        problem,
        directions,
        _Plan((count,), distances, points, facts, engine, batch, memory_limit, batch_norm),
        store,
        None,
        _Clock(time_budget, should_stop),
        share or Alone(),
        progress,
    )


@dataclass(frozen=True)
class _Plan:
    """What is to be sampled, and how."""

    shape: tuple[int, ...]
    distances: npt.NDArray[np.float64]
    points: npt.NDArray[np.float64] | None
    facts: Mapping[str, Any]
    engine: EngineName | None
    batch: int | None
    memory_limit: float
    batch_norm: BatchNorm

    def check(self) -> None:
        check_evaluation(self.engine, self.batch, self.memory_limit, self.batch_norm)

    @cached_property
    def axes(self) -> list[npt.NDArray[np.float64]]:
        """The coordinates along each direction of a grid."""
        return [axis_points(size, d) for size, d in zip(self.shape, self.distances)]

    def alphas(self, chunk: Chunk) -> npt.NDArray[np.float64]:
        """Return the coordinates of a chunk's samples (m, n)."""
        if self.points is not None:
            return self.points[chunk[0]]
        return np.array(list(product(*[axis[part] for axis, part in zip(self.axes, chunk)])))

    def trial(self) -> npt.NDArray[np.float64]:
        """Return samples from all over the landscape (m, n), to measure on."""
        rng = np.random.default_rng(0)
        if self.points is not None:
            return rng.choice(self.points, _TRIAL_POINTS)
        return np.stack([rng.choice(axis, _TRIAL_POINTS) for axis in self.axes], axis=1)

    def choose(self, problem: Problem, directions: Directions, progress: Progress) -> Choice:
        """Measure engines, and tell what was found and how long the landscape will take."""
        count = int(np.prod(self.shape))
        choice = choose_engine(
            problem,
            directions,
            self.trial(),
            samples=count,
            name=self.engine,
            batch=self.batch,
            memory_limit=self.memory_limit,
            batch_norm=self.batch_norm,
        )
        for line in choice.report:
            _LOG.info(line)
        needed = time_left(choice.seconds * count)
        progress(0.0, f"{count:,} samples, {choice.engine}: about {needed}")
        return choice

    def slab_axes(self, choice: Choice) -> int:
        return 1 if choice.seconds * np.prod(self.shape[-2:]) > _CHUNK_SECONDS else 2


def _sampled(
    problem: Problem,
    directions: Directions,
    plan: _Plan,
    store: str | os.PathLike[str] | LandscapeStore | None,
    reuse: Landscape | None,
    clock: _Clock,
    own: Share,
    progress: Progress,
) -> Landscape:
    plan.check()
    with undisturbed(problem.model):
        problem.model.eval()
        facts = {
            MODEL_LOSS: check_center(problem),
            **landscape_facts(problem, directions, plan.batch_norm),
            **plan.facts,
        }
        choose = partial(plan.choose, problem, directions, progress)
        store, engine = _begun(store, plan, facts, choose, own)
        _check_engine(store, plan)
        known = _Known(reuse, store, plan)
        if engine is None:
            engine = kept_engine(
                store.facts[EVALUATION],
                problem,
                directions,
                plan.trial(),
                memory_limit=plan.memory_limit,
                batch_norm=plan.batch_norm,
            )
        with evaluator(problem, directions, engine, plan.batch_norm) as evaluate:
            _fill(store, plan, evaluate, known, own, clock, progress)
        own.finish()
    landscape = Landscape.from_store(store)
    if not landscape.is_complete and own.is_first():
        done, total = int(landscape.evaluated.sum()), landscape.evaluated.size
        warnings.warn(
            f"sampling stopped with {done} of {total} samples; "
            "raise the time budget or run it again to go on from the store",
            stacklevel=3,
        )
    return landscape


def _check_engine(store: LandscapeStore, plan: _Plan) -> None:
    """Check that the engine of the store is the one that was asked for, if any."""
    kept = store.facts[EVALUATION]
    if plan.engine not in (None, kept["name"]) or plan.batch not in (None, kept["batch"]):
        raise ValueError(
            f"losses of one landscape must be evaluated by one engine, here {Engine(**kept)}; "
            "choose another path, or leave the engine to the store"
        )


def memory_store(
    directions: Directions, *, resolution: int, distance: float | Sequence[float]
) -> LandscapeStore:
    """Return an empty store in memory, for a :func:`sample_grid` that may be gone on with."""
    return LandscapeStore.in_memory(*_grid(resolution, distance, len(directions)))


def check_evaluation(
    engine: str | None, batch: int | None, memory_limit: float, batch_norm: str
) -> None:
    """Refuse options of evaluation that are wrong by themselves."""
    if engine is not None:
        checks.choice(engine, ENGINES, name="engine")
    if batch is not None:
        checks.integer(batch, name="batch", minimum=1)
    checks.positive(memory_limit, name="memory_limit")
    checks.choice(batch_norm, BATCH_NORMS, name="batch_norm")


def check_scatter(count: int, region: str) -> None:
    """Refuse options of scattered samples that are wrong by themselves."""
    checks.integer(count, name="count", minimum=2)
    checks.choice(region, REGIONS, name="region")


def landscape_facts(
    problem: Problem, directions: Directions, batch_norm: BatchNorm = "stored"
) -> dict[str, Any]:
    """Return everything that makes two landscapes comparable, as plain JSON values."""
    parameter = next(iter(trainable_parameters(problem.model).values()))
    return {
        "problem": problem.name,
        "metrics": measured(problem),
        "method": directions.method,
        "normalization": directions.normalization,
        "seed": directions.seed,
        "eigenvalues": _or_none(directions.eigenvalues),
        "residuals": _or_none(directions.residuals),
        **directions.facts,
        "parameter_norm": parameter_norm(problem.model),
        "checkpoint_hash": state_digest(problem.model),
        "batch_hash": batches_digest(problem),
        "directions_hash": directions.digest(),
        "dtype": str(parameter.dtype).removeprefix("torch."),
        "device": parameter.device.type,
        "batch_norm": batch_norm,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "tlp_core": tlp_core.__version__,
        },
    }


class _Clock:
    """Tells when to stop, and how long the rest takes."""

    def __init__(self, budget: float | None, should_stop: ShouldStop) -> None:
        self._budget = None if budget is None else checks.positive(budget, name="time_budget")
        self._should_stop, self._start = should_stop, time.monotonic()

    def is_over(self) -> bool:
        return self._should_stop() or (self._budget is not None and self.spent() > self._budget)

    def spent(self) -> float:
        return time.monotonic() - self._start


def _grid(
    resolution: int, distance: float | Sequence[float], n: int
) -> tuple[tuple[int, ...], npt.NDArray[np.float64]]:
    half_widths = _half_widths(distance, n)
    return (checks.resolution(resolution),) * n, half_widths


def _half_widths(distance: float | Sequence[float], n: int) -> npt.NDArray[np.float64]:
    each = [distance] * n if np.ndim(distance) == 0 else list(distance)  # type: ignore[arg-type]
    if len(each) != n:
        raise ValueError(f"distance must be one number or one for each of {n} directions")
    return np.array([checks.positive(d, name="distance") for d in each])


def _sobol(count: int, n: int, region: Region, seed: int) -> npt.NDArray[np.float64]:
    """Return points (count, n) in the unit box [-1, 1]^n or ball, the first of them its middle."""
    axes = n if region == "box" else n + 1
    sequence = qmc.Sobol(axes, scramble=True, seed=seed)
    even = sequence.random_base2(int(np.ceil(np.log2(count))))[: count - 1]
    if region == "box":
        points = 2 * even - 1
    else:
        towards = norm.ppf(np.clip(even[:, :n], _TINY, 1 - _TINY))
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        points = towards * even[:, n:] ** (1 / n)
    return np.vstack([np.zeros(n), points])


def _begun(
    store: str | os.PathLike[str] | LandscapeStore | None,
    plan: _Plan,
    facts: Mapping[str, Any],
    choose: Callable[[], Choice],
    own: Share,
) -> tuple[LandscapeStore, Engine | None]:
    """Return the store, gone on with or new, and the engine if it was chosen just now."""
    if store is None:
        store = LandscapeStore.in_memory(plan.shape, plan.distances, plan.points)
    if not isinstance(store, LandscapeStore):
        return _opened(store, plan, facts, choose, own)
    if store.facts:
        store.check_facts(facts)
        return store, None
    choice = choose()
    store.begin({**facts, EVALUATION: choice.engine.as_dict()}, plan.slab_axes(choice))
    return store, choice.engine


def _opened(
    path: str | os.PathLike[str],
    plan: _Plan,
    facts: Mapping[str, Any],
    choose: Callable[[], Choice],
    own: Share,
) -> tuple[LandscapeStore, Engine | None]:
    """Go on with the store at a path, or make it; one process makes it for all."""
    resumed = partial(LandscapeStore.resume, path, plan.shape, plan.distances, facts)
    store = resumed() if own.is_first() else None
    engine = None
    if own.is_first() and store is None:
        choice = choose()
        every = {**facts, EVALUATION: choice.engine.as_dict()}
        slab_axes = plan.slab_axes(choice)
        with suppress(FileExistsError):  # a process that was started beside this one was faster
            store = LandscapeStore.create(
                path, plan.shape, plan.distances, every, plan.points, slab_axes=slab_axes
            )
            engine = choice.engine
    own.agreed(None)
    store = store or resumed()
    if store is None:
        raise FileNotFoundError(f"the store {path} was there a moment ago, and is no more")
    return store, engine


class _Known:
    """Losses that another landscape has at points of the grid."""

    def __init__(self, landscape: Landscape | None, store: LandscapeStore, plan: _Plan) -> None:
        self._landscape = landscape
        if landscape is None:
            return
        store.check_facts(landscape.facts)
        self._places = [_places(axis, landscape.axis(i)) for i, axis in enumerate(plan.axes)]

    def losses(self, chunk: Chunk, count: int) -> tuple[npt.NDArray[np.float64], Any]:
        """Return the losses of a chunk as far as they are known, and where they are, both (m,)."""
        if self._landscape is None:
            return np.full(count, np.nan), np.zeros(count, dtype=np.bool_)
        places = [place[part] for place, part in zip(self._places, chunk)]
        inside = np.ix_(*places)
        on_all_axes = reduce(np.logical_and.outer, [place >= 0 for place in places])
        known = self._landscape.evaluated[inside] & on_all_axes
        return self._landscape.loss[inside].ravel().copy(), known.ravel()


def _places(axis: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return where each point of an axis is on another axis, to the last bit; -1 if it is not."""
    place = np.minimum(np.searchsorted(other, axis), len(other) - 1)
    return np.where(other[place] == axis, place, -1)


def _fill(
    store: LandscapeStore,
    plan: _Plan,
    evaluate: Evaluator,
    known: _Known,
    own: Share,
    clock: _Clock,
    progress: Progress,
) -> None:
    """Evaluate the chunks that the store lacks and that are this process's."""
    chunks = list(store.chunks())
    total = int(np.prod(store.shape))
    sizes = [0 if store.is_done(chunk) else _size(chunk) for chunk in chunks]
    missing, behind = sum(sizes), np.cumsum(sizes)
    begun = False
    for place, chunk in own.claimed(list(enumerate(chunks))):
        if store.is_done(chunk):
            continue
        if begun and clock.is_over():
            return  # after one chunk at least, so that any budget gets on
        alphas = plan.alphas(chunk)
        losses, there = known.losses(chunk, len(alphas))
        losses[~there] = evaluate(alphas[~there])
        store.write(chunk, losses.reshape([part.stop - part.start for part in chunk]))
        begun, done = True, int(behind[place])
        if own.is_first():
            left = time_left(clock.spent() / done * (missing - done))
            share = 1 - (missing - done) / total
            progress(share, f"sampled {total - missing + done:,} of {total:,}, {left} left")


def _size(chunk: Chunk) -> int:
    return int(np.prod([s.stop - s.start for s in chunk]))


def _or_none(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
