"""Stage 2: the loss on a grid in the span of the directions.

A sample at coordinates α is the loss at θ(α) = θ* + Σ α_i d_i. Parameters come from θ* for every
sample, never stepped from the last one, so errors do not add up, and the centre is the model's loss
to the last bit. How losses are evaluated is :mod:`tlp_core.evaluation`'s, and who evaluates which
chunk :mod:`tlp_core.distribution`'s.
"""

from __future__ import annotations

import logging
import os
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import tlp_core
from tlp_core import checks
from tlp_core.directions import Directions
from tlp_core.distribution import Alone, Share
from tlp_core.evaluation import (
    ENGINES,
    GIBIBYTE,
    BatchNorm,
    Choice,
    Engine,
    EngineName,
    Evaluator,
    choose_engine,
    evaluator,
)
from tlp_core.landscape import Landscape, axis_points
from tlp_core.landscape_store import EVALUATION, Chunk, LandscapeStore
from tlp_core.parameters import parameter_norm, state_digest, trainable_parameters, undisturbed
from tlp_core.problem import Problem, batches_digest, check_center
from tlp_core.progress import Progress, silent, time_left

_CHUNK_SECONDS = 30.0
"""A chunk spans two axes unless that took longer: it is what a killed or stopped run loses."""

_TRIAL_POINTS = 64

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
        directions: n directions, as :func:`~tlp_core.hessian.hessian_directions` makes them.
        resolution: number of points along each direction, odd, >= 3.
        distance: half-width of the range of α, one for all directions or one each, > 0. (Older
            codes mean the full width.)
        store: path of a Zarr store that takes every chunk as it is done; a store that is there
            already is gone on with. None keeps the losses in memory.
        reuse: a landscape of the same problem and directions whose samples are taken over where
            their coordinates are those of the grid, such as one of half the resolution.
        engine: ``single``, ``batched`` or ``compiled`` (see :mod:`tlp_core.evaluation`); by default
            the fastest is found by measuring, and kept in the store.
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
    clock, own = _Clock(time_budget, should_stop), share or Alone()
    if engine is not None:
        checks.choice(engine, ENGINES, name="engine")
    with undisturbed(problem.model):
        problem.model.eval()
        check_center(problem)
        facts = landscape_facts(problem, directions, batch_norm)

        def choice() -> Choice:
            axes = [axis_points(size, d) for size, d in zip(shape, distances)]
            return choose_engine(
                problem,
                directions,
                _trial_points(axes),
                samples=int(np.prod(shape)),
                name=engine,
                batch=None if batch is None else checks.integer(batch, name="batch", minimum=1),
                memory_limit=checks.positive(memory_limit, name="memory_limit"),
                batch_norm=batch_norm,
            )

        if isinstance(store, LandscapeStore):
            store.check_facts(facts)
        elif store is None:
            store = LandscapeStore.in_memory(shape, distances, facts)
        else:
            store = _opened(store, shape, distances, facts, choice, own, progress)
        if EVALUATION not in store.facts:
            chosen = _told(choice(), shape, progress)
            store.begin(chosen.engine.as_dict(), _slab_axes(chosen, shape))
        kept = Engine(**store.facts[EVALUATION])
        if engine not in (None, kept.name) or batch not in (None, kept.batch):
            raise ValueError(
                f"losses of one landscape must be evaluated by one engine, here {kept}; "
                "choose another path, or leave the engine to the store"
            )
        known = _Known(reuse, store)
        with evaluator(problem, directions, kept, batch_norm) as evaluate:
            _fill(store, evaluate, known, own, clock, progress)
        own.finish()
    landscape = Landscape.from_store(store)
    if not landscape.is_complete and own.is_first():
        done, total = int(landscape.evaluated.sum()), landscape.evaluated.size
        warnings.warn(
            f"sampling stopped with {done} of {total} samples; "
            "raise the time budget or run it again to go on from the store",
            stacklevel=2,
        )
    return landscape


def memory_store(
    problem: Problem,
    directions: Directions,
    *,
    resolution: int,
    distance: float | Sequence[float],
    batch_norm: BatchNorm = "stored",
) -> LandscapeStore:
    """Return an empty store in memory, for a :func:`sample_grid` that may be gone on with."""
    shape, distances = _grid(resolution, distance, len(directions))
    facts = landscape_facts(problem, directions, batch_norm)
    return LandscapeStore.in_memory(shape, distances, facts)


def landscape_facts(
    problem: Problem, directions: Directions, batch_norm: BatchNorm = "stored"
) -> dict[str, Any]:
    """Return everything that makes two landscapes comparable, as plain JSON values."""
    parameter = next(iter(trainable_parameters(problem.model).values()))
    return {
        "problem": problem.name,
        "metrics": {key: float(value) for key, value in problem.metrics(problem.model).items()},
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
    each = [distance] * n if np.ndim(distance) == 0 else list(distance)  # type: ignore[arg-type]
    if len(each) != n:
        raise ValueError(f"distance must be one number or one for each of {n} directions")
    half_widths = np.array([checks.positive(d, name="distance") for d in each])
    return (checks.resolution(resolution),) * n, half_widths


def _opened(
    path: str | os.PathLike[str],
    shape: tuple[int, ...],
    distances: npt.NDArray[np.float64],
    facts: dict[str, Any],
    choice: Callable[[], Choice],
    own: Share,
    progress: Progress,
) -> LandscapeStore:
    """Go on with the store at a path, or make it; one process makes it for all."""
    if own.is_first() and LandscapeStore.resume(path, shape, distances, facts) is None:
        chosen = _told(choice(), shape, progress)
        every = {**facts, EVALUATION: chosen.engine.as_dict()}
        with suppress(FileExistsError):  # a process that was started beside this one was faster
            slab_axes = _slab_axes(chosen, shape)
            LandscapeStore.create(path, shape, distances, every, slab_axes=slab_axes)
    own.agreed(None)
    store = LandscapeStore.resume(path, shape, distances, facts)
    if store is None:
        raise FileNotFoundError(f"the store {path} was there a moment ago, and is no more")
    return store


def _told(choice: Choice, shape: tuple[int, ...], progress: Progress) -> Choice:
    """Tell what was measured and how long the landscape will take."""
    for line in choice.report:
        _LOG.info(line)
    count = int(np.prod(shape))
    needed = time_left(choice.seconds * count)
    progress(0.0, f"{count:,} samples, {choice.engine}: about {needed}")
    return choice


def _slab_axes(choice: Choice, shape: tuple[int, ...]) -> int:
    return 1 if choice.seconds * np.prod(shape[-2:]) > _CHUNK_SECONDS else 2


def _trial_points(axes: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Return points of the grid spread over it, (m, n), to measure on."""
    rng = np.random.default_rng(0)
    return np.stack([rng.choice(axis, _TRIAL_POINTS) for axis in axes], axis=1)


class _Known:
    """Losses that another landscape has at points of the grid."""

    def __init__(self, landscape: Landscape | None, store: LandscapeStore) -> None:
        self._landscape = landscape
        if landscape is None:
            return
        store.check_facts({**landscape.facts})
        axes = [axis_points(size, d) for size, d in zip(store.shape, store.distance)]
        self._places = [_places(axis, landscape.axis(i)) for i, axis in enumerate(axes)]

    def losses(self, chunk: Chunk, count: int) -> tuple[npt.NDArray[np.float64], Any]:
        """Return the losses of a chunk as far as they are known, and where they are, both (m,)."""
        if self._landscape is None:
            return np.full(count, np.nan), np.zeros(count, dtype=np.bool_)
        places = [place[part] for place, part in zip(self._places, chunk)]
        inside = np.ix_(*places)
        there = np.ix_(*[place >= 0 for place in places])
        known = self._landscape.evaluated[inside] & np.logical_and.reduce(
            np.broadcast_arrays(*there)
        )
        return self._landscape.loss[inside].ravel(), known.ravel()


def _places(axis: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return where each point of an axis is on another axis, to the last bit; -1 if it is not."""
    place = np.minimum(np.searchsorted(other, axis), len(other) - 1)
    return np.where(other[place] == axis, place, -1)


def _fill(
    store: LandscapeStore,
    evaluate: Evaluator,
    known: _Known,
    own: Share,
    clock: _Clock,
    progress: Progress,
) -> None:
    """Evaluate the chunks that the store lacks and that are this process's."""
    axes = [axis_points(size, d) for size, d in zip(store.shape, store.distance)]
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
        store.write(chunk, _chunk_losses(evaluate, known, axes, chunk))
        begun, done = True, int(behind[place])
        if own.is_first():
            left = time_left(clock.spent() / done * (missing - done))
            share = 1 - (missing - done) / total
            progress(share, f"sampled {total - missing + done:,} of {total:,}, {left} left")


def _size(chunk: Chunk) -> int:
    return int(np.prod([s.stop - s.start for s in chunk]))


def _chunk_losses(
    evaluate: Evaluator, known: _Known, axes: list[npt.NDArray[np.float64]], chunk: Chunk
) -> npt.NDArray[np.float64]:
    places = [axis[part] for axis, part in zip(axes, chunk)]
    alphas = np.array(list(product(*places)))
    losses, there = known.losses(chunk, len(alphas))
    losses[~there] = evaluate(alphas[~there])
    return losses.reshape([len(part) for part in places])


def _or_none(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
