"""Sampling, chunk by chunk, into a store.

A store on disk is resumed where it stopped, and several processes may fill one store: see
:mod:`tlp_core.sampling.partition`.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tlp_core.directions.base import Directions
from tlp_core.landscape.landscape import Landscape
from tlp_core.landscape.store import (
    AUTOCAST_NOISE,
    BATCH_SIZES,
    EVALUATION,
    MODEL_LOSS,
    Chunk,
    LandscapeStore,
    require_new_store,
)
from tlp_core.model_state import own_squared_norm, pieces, preserve_model, trainable_parameters
from tlp_core.problem import (
    LossError,
    Problem,
    batch_size,
    check_center,
    is_same_loss,
    mean_loss,
    mean_losses,
)
from tlp_core.progress import Progress, format_seconds, silent
from tlp_core.sampling.engine_choice import (
    AGREEMENT,
    Choice,
    autocast_noise,
    choose_engine,
    engine_of,
    restore_engine,
)
from tlp_core.sampling.engines import Engine, Evaluator, evaluator
from tlp_core.sampling.partition import Part, SinglePart
from tlp_core.sampling.plan import Plan
from tlp_core.sampling.provenance import landscape_provenance
from tlp_core.sampling.settings import EvaluationSettings, RunSettings
from tlp_core.shards import is_sharded, total

_CHUNK_SECONDS = 30.0
"""Time above which a chunk spans one axis instead of two: a killed run loses one chunk."""

_ROUNDED_STEP = 0.05
"""Largest accepted rounding of a step between samples, as a fraction of its length."""

_AUTOCAST_AGREEMENT = 1e-2
"""Relative difference of a loss with autocast on two machines."""

_ROUNDING = 1e-6
"""Difference of a loss, relative to the largest of its sample, that is rounding."""

_LOG = logging.getLogger(__name__)

ShouldStop = Callable[[], bool]


def sample_plan(
    problem: Problem,
    directions: Directions,
    plan: Plan,
    evaluation: EvaluationSettings,
    run: RunSettings,
    *,
    store: str | os.PathLike[str] | LandscapeStore | None = None,
    reuse: Landscape | None = None,
    part: Part | None = None,
    progress: Progress = silent,
    should_stop: ShouldStop = lambda: False,
) -> Landscape:
    """Return the landscape of a plan; the arguments are those of :func:`~tlp_core.sample_grid`.

    Raises:
        ValueError, LossError, RuntimeError: as :func:`~tlp_core.sample_grid`.
    """
    part = part or SinglePart()
    clock = _Clock(run.time_budget, should_stop)
    with ExitStack() as stack:
        bases = stack.enter_context(preserve_model(problem.model, directions.names))
        problem.model.eval()
        center = check_center(problem)
        provenance = {
            MODEL_LOSS: center,
            **landscape_provenance(problem, directions, evaluation.batch_norm),
            **plan.provenance,
        }
        if evaluation.batch_losses:
            provenance[BATCH_SIZES] = [batch_size(batch) for batch in problem.batches]
        stack.enter_context(frozen_parameters(problem, evaluation, center))
        _warn_of_rounded_steps(problem, directions, plan)
        choose = partial(_choose, problem, directions, plan, evaluation, run, bases, progress)
        others = tuple(problem.other_batches)
        store, engine = _open_or_create(store, plan, provenance, others, choose, part)
        _check_engine(store, evaluation)
        known = _KnownLosses(reuse, store, plan)
        is_resumed = engine is None
        if engine is None:
            engine = restore_engine(
                store.provenance[EVALUATION],
                problem,
                directions,
                plan.trial(),
                evaluation,
                memory_limit=run.memory_limit,
                bases=bases,
            )
        with evaluator(
            problem,
            directions,
            engine,
            evaluation.batch_norm,
            center=_at_center(problem, center, evaluation),
            memory_limit=run.memory_limit,
            bases=bases,
            each_batch=evaluation.batch_losses,
        ) as evaluate:
            if is_resumed:
                _check_stored(problem, store, plan, evaluate, part)
            has_finished = _fill(store, plan, evaluate, known, part, clock, progress)
        part.finish()
    landscape = Landscape.from_store(store)
    if not landscape.is_complete and part.is_first():
        done, total = int(landscape.evaluated.sum()), landscape.evaluated.size
        if has_finished:
            text = (
                f"this part is done, and {done} of {total} samples are there; run the other parts"
            )
        else:
            text = (
                f"sampling stopped with {done} of {total} samples; raise the time budget, or run "
                "the same again to resume the store"
            )
        warnings.warn(text, stacklevel=3)
    return landscape


def _at_center(
    problem: Problem, center: float, evaluation: EvaluationSettings
) -> list[float] | None:
    """Return the losses at the model, of which the first is known; None if statistics change."""
    if evaluation.batch_norm != "stored":
        return None
    if not problem.other_batches and not evaluation.batch_losses:
        return [center]
    return [center, *mean_losses(problem, each_batch=evaluation.batch_losses)[1:]]


def _warn_of_rounded_steps(problem: Problem, directions: Directions, plan: Plan) -> None:
    """Warn if the step between two samples is as fine as the precision of the parameters."""
    parameters = dict(problem.model.named_parameters())
    for i, (vector, step) in enumerate(zip(directions.vectors, plan.steps()), start=1):
        own = np.zeros(2)
        for name, part in vector.items():
            for base, along in zip(pieces(parameters[name]), pieces(part)):
                moved = step * along
                own += own_squared_norm((base + moved - base) - moved), own_squared_norm(moved)
        error, size = total(own)
        if error > _ROUNDED_STEP**2 * size:
            warnings.warn(
                f"a step between samples along direction {i} is rounded by "
                f"{100 * np.sqrt(error / size):.0f} % in the precision of the parameters; use a "
                "larger distance, a lower resolution, or dtype float64",
                stacklevel=4,
            )


def measure_engines(
    problem: Problem, directions: Directions, plan: Plan, evaluation: EvaluationSettings
) -> float:
    """Return how many seconds one sample of a plan takes here, with the fastest engine.

    Raises:
        ValueError, LossError, RuntimeError: as :func:`~tlp_core.sample_grid`.
    """
    with ExitStack() as stack:
        bases = stack.enter_context(preserve_model(problem.model, directions.names))
        problem.model.eval()
        stack.enter_context(frozen_parameters(problem, evaluation, check_center(problem)))
        return _choose(problem, directions, plan, evaluation, RunSettings(), bases, silent).seconds


@contextmanager
def frozen_parameters(
    problem: Problem, evaluation: EvaluationSettings, center: float
) -> Iterator[None]:
    """Evaluate without gradients in the parameters, if the loss at the model stays the same.

    This saves memory and time, but some modules of torch then compute something else, such as a
    padded ``TransformerEncoder``. Of a sharded model no derivative is taken at all, because the
    tensors that its forward pass gathers keep their ``requires_grad``.

    Raises:
        LossError: if the loss differs even with gradients.
    """
    if is_sharded(problem.model):
        with torch.no_grad():
            if is_same_loss(mean_loss(problem), center):
                yield
                return
        _check_same_loss(problem, center)
        yield
        return
    trainable = trainable_parameters(problem.model).values()
    for parameter in trainable:
        parameter.requires_grad_(False)
    if evaluation.batch_norm != "reestimated" and not is_same_loss(mean_loss(problem), center):
        for parameter in trainable:
            parameter.requires_grad_(True)
        _check_same_loss(problem, center)
    yield


def _check_same_loss(problem: Problem, center: float) -> None:
    if not is_same_loss(again := mean_loss(problem), center):
        raise LossError(
            f"the loss of {problem.name!r} must be the same in every call, got {center:.9g} and "
            f"then {again:.9g}"
        )


def _choose(
    problem: Problem,
    directions: Directions,
    plan: Plan,
    evaluation: EvaluationSettings,
    run: RunSettings,
    bases: Mapping[str, Tensor],
    progress: Progress,
) -> Choice:
    """Choose an engine, and report what was tried and the time that sampling will take."""
    count = plan.number_of_samples
    choice = choose_engine(
        problem,
        directions,
        plan.trial(),
        evaluation,
        samples=count,
        memory_limit=run.memory_limit,
        bases=bases,
    )
    for line in choice.report:
        _LOG.info(line)
    if problem.autocast is not None:
        noise = autocast_noise(
            problem, directions, plan.trial(), evaluation, samples=count, bases=bases
        )
        if noise is not None:
            _LOG.info(
                "autocast changes losses by about %.3g; basins of lower persistence may be noise",
                noise,
            )
        choice = replace(choice, autocast_noise=noise)
    needed = format_seconds(choice.seconds * count)
    progress(0.0, f"{count:,} samples, {choice.engine}: about {needed}")
    return choice


def _chosen(choice: Choice) -> dict[str, Any]:
    """Return the provenance of a choice."""
    noise = choice.autocast_noise
    facts = {EVALUATION: choice.engine.as_dict(), AUTOCAST_NOISE: noise}
    return {name: fact for name, fact in facts.items() if fact is not None}


def _slab_axes(plan: Plan, choice: Choice) -> int:
    """Return how many axes a chunk spans."""
    return 1 if choice.counted_seconds * np.prod(plan.shape[-2:]) > _CHUNK_SECONDS else 2


def _check_engine(store: LandscapeStore, evaluation: EvaluationSettings) -> None:
    """Check that the engine of the store is the requested one, if any."""
    engine = engine_of(store.provenance.get(EVALUATION))
    wants_engine = evaluation.engine not in (None, "fastest", engine.name)
    if wants_engine or evaluation.batch not in (None, engine.batch):
        raise ValueError(
            f"losses of one landscape must be evaluated by one engine, here {engine}; "
            "choose another path, or omit the engine"
        )


class _Clock:
    """Time since the start of a run, and whether the run must stop."""

    def __init__(self, budget: float | None, should_stop: ShouldStop) -> None:
        self._budget, self._should_stop = budget, should_stop
        self._start = time.monotonic()

    def is_over(self) -> bool:
        return self._should_stop() or (self._budget is not None and self.spent() > self._budget)

    def spent(self) -> float:
        return time.monotonic() - self._start


def _open_or_create(
    store: str | os.PathLike[str] | LandscapeStore | None,
    plan: Plan,
    provenance: Mapping[str, Any],
    others: tuple[str, ...],
    choose: Callable[[], Choice],
    part: Part,
) -> tuple[LandscapeStore, Engine | None]:
    """Return the store, resumed or new, and the engine if it was chosen just now."""
    if store is None:
        store = LandscapeStore.in_memory(plan.shape, plan.distances, plan.points)
    if not isinstance(store, LandscapeStore):
        return _open_or_create_on_disk(store, plan, provenance, others, choose, part)
    if store.provenance:
        store.check_provenance(provenance)
        return store, None
    choice = choose()
    every = {**provenance, **_chosen(choice)}
    store.begin(every, _slab_axes(plan, choice), others)
    return store, choice.engine


def _open_or_create_on_disk(
    path: str | os.PathLike[str],
    plan: Plan,
    provenance: Mapping[str, Any],
    others: tuple[str, ...],
    choose: Callable[[], Choice],
    part: Part,
) -> tuple[LandscapeStore, Engine | None]:
    """Resume the store at a path, or create it; the first process creates it for all."""
    resume = partial(LandscapeStore.resume, path, plan.shape, plan.distances, provenance)
    store = engine = None
    if part.is_first():
        require_new_store(path)
        store = resume()
    if store is not None:
        store.check_chunks()
    if part.broadcast(part.is_first() and store is None) and part.is_in_first_group():
        choice = choose()
        engine = choice.engine
        every = {**provenance, **_chosen(choice)}
        if part.is_first():
            try:
                store = LandscapeStore.create(
                    path,
                    plan.shape,
                    plan.distances,
                    every,
                    plan.points,
                    slab_axes=_slab_axes(plan, choice),
                    other_losses=others,
                )
            except FileExistsError:  # another process, started at the same time, was faster
                engine = None
    part.broadcast(None)
    store = store or resume()
    if store is None:
        raise FileNotFoundError(f"the store {path} was removed while it was opened")
    return store, engine


def _check_stored(
    problem: Problem, store: LandscapeStore, plan: Plan, evaluate: Evaluator, part: Part
) -> None:
    """Check losses of a store that is resumed: a sample far from the model, and a finite one.

    The provenance does not tell everything on which a loss depends, such as the arguments of a
    problem, or the code of its file. Losses agree within a thousandth, as those of two machines do.
    Ranks that share a model evaluate together, and may see different chunks in the store: the first
    of them chooses the samples.

    Raises:
        ValueError: if a loss is now another one.
    """
    rounding = AGREEMENT if problem.autocast is None else _AUTOCAST_AGREEMENT
    done = (chunk for chunk in store.chunks() if store.is_done(chunk))
    chosen = list(_samples_to_check(store, plan, done)) if part.leads() else []
    for alphas, there in part.agree(chosen):
        here = evaluate(alphas)[0]
        smallest = _ROUNDING * max(np.abs(there[np.isfinite(there)]), default=0.0)
        same = np.isclose(here, there, rtol=rounding, atol=smallest)
        if not np.where(np.isfinite(there), same, ~np.isfinite(here)).all():
            raise ValueError(
                f"the losses of the store must be those of this problem, but at one sample they "
                f"are {_listed(there)} there and {_listed(here)} now: its loss, data or arguments "
                "have changed; choose another path"
            )


def _samples_to_check(
    store: LandscapeStore, plan: Plan, done: Iterator[Chunk]
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]]:
    """Yield coordinates (1, n) and losses (L,) of a finite sample; before it, one that is not.

    Each is the farthest from the model in its chunk, where other losses differ most.
    """
    for place, chunk in enumerate(done):
        alphas, losses = plan.alphas(chunk), store.read_chunk(chunk)
        flat = losses.reshape(len(losses), -1)
        far = np.argsort(-np.linalg.norm(alphas, axis=1), kind="stable")
        finite = far[np.isfinite(flat[0, far])]
        if place == 0 and not np.isfinite(flat[0, far[0]]):
            yield alphas[[far[0]]], flat[:, far[0]]
        if finite.size:
            yield alphas[[finite[0]]], flat[:, finite[0]]
            return


def _listed(losses: npt.NDArray[np.float64]) -> str:
    return ", ".join(f"{loss:.6g}" for loss in losses[:3])


class _KnownLosses:
    """Losses that another landscape has at points of the grid."""

    def __init__(self, landscape: Landscape | None, store: LandscapeStore, plan: Plan) -> None:
        self._landscape = landscape
        self._number = 1 + len(store.other_losses) + len(store.batch_sizes)
        if landscape is None:
            return
        store.check_provenance(landscape.provenance)
        self._places = [_places(axis, landscape.axis(i)) for i, axis in enumerate(plan.axes)]

    def losses(self, chunk: Chunk, count: int) -> tuple[npt.NDArray[np.float64], Any]:
        """Return the known losses of a chunk (m, L), and which samples have them (m,)."""
        if self._landscape is None:
            return np.full((count, self._number), np.nan), np.zeros(count, dtype=np.bool_)
        places = [place[part] for place, part in zip(self._places, chunk)]
        inside = np.ix_(*places)
        on_all_axes = reduce(np.logical_and.outer, [place >= 0 for place in places])
        known = self._landscape.evaluated[inside] & on_all_axes
        landscape = self._landscape
        every = (landscape.loss, *landscape.other_losses.values(), *landscape.batch_losses)
        return np.stack([loss[inside].ravel() for loss in every], axis=1), known.ravel()


def _places(axis: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the index of each point of an axis on another axis, (r,) int64; -1 if it has none."""
    place = np.minimum(np.searchsorted(other, axis), len(other) - 1)
    return np.where(other[place] == axis, place, -1)


def _fill(
    store: LandscapeStore,
    plan: Plan,
    evaluate: Evaluator,
    known: _KnownLosses,
    part: Part,
    clock: _Clock,
    progress: Progress,
) -> bool:
    """Evaluate the missing chunks of the store that are this process's part.

    Returns:
        Whether all were evaluated; False if the clock was over before.
    """
    chunks = list(store.chunks())
    total = int(np.prod(store.shape))
    sizes = [0 if store.is_done(chunk) else _size(chunk) for chunk in chunks]
    missing, behind = sum(sizes), np.cumsum(sizes)
    has_started = False
    for place, chunk in part.claim(list(enumerate(chunks))):
        if part.agree(store.is_done(chunk)):
            continue
        if has_started and part.agree(clock.is_over()):
            return False  # one chunk at least, so that any budget makes progress
        alphas = plan.alphas(chunk)
        losses, there = known.losses(chunk, len(alphas))
        if not there.all():
            losses[~there] = evaluate(alphas[~there])
        shape = [axis.stop - axis.start for axis in chunk]
        if part.leads():
            store.write(chunk, *(losses[:, i].reshape(shape) for i in range(losses.shape[1])))
        has_started, done = True, int(behind[place])
        if part.is_first():
            left = format_seconds(clock.spent() / done * (missing - done))
            fraction = 1 - (missing - done) / total
            progress(fraction, f"sampled {total - missing + done:,} of {total:,}, {left} left")
    return True


def _size(chunk: Chunk) -> int:
    return int(np.prod([s.stop - s.start for s in chunk]))
