"""The choice of an engine, by measuring.

The fastest engine depends on the network and the machine (some convolutions are slower under
``vmap`` on CPUs, and some losses do not work with it), so it is measured once for a landscape and
recorded in its store.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from tlp_core.choices import BatchNorm, EngineName
from tlp_core.directions.base import Directions
from tlp_core.model_state import threads_for
from tlp_core.problem import Problem
from tlp_core.sampling.engines import Engine, Evaluator, Points, evaluator
from tlp_core.sampling.independence import are_independent
from tlp_core.sampling.resources import available_cores, peak_memory
from tlp_core.sampling.settings import GIBIBYTE, EvaluationSettings

_BATCHES = (8, 32, 128, 512)
"""Batch sizes that are tried, until a larger one is no longer faster."""

_SPEED_UP = 0.95
"""Largest fraction of the last batch's time that a larger batch may take to be worth it."""

_COMPILE_SECONDS = 60.0
"""Remaining work above which compiling, which takes 5 to 20 s, is tried."""

_COMPILED_BATCH = 32
"""Smallest batch that is compiled: larger ones were faster on all networks of the benchmark."""

_MEASURE_SECONDS = 3.0
"""Work below which nothing faster than the engine ``single`` is tried."""

_AGREEMENT = 1e-3
"""Relative difference within which engines must agree; a wrong one differs by more."""

_NEAR = 0.01
"""Fraction of the way to a trial point at which engines are checked, too."""

_TRIAL_SECONDS = 0.2
"""Time for which an engine is measured, or one round if that takes longer."""


@dataclass(frozen=True)
class Choice:
    """The chosen engine, with the measurements behind the choice.

    Attributes:
        engine: the fastest engine.
        seconds: time of one sample.
        report: one line for each engine: its time, or why it cannot be used.
    """

    engine: Engine
    seconds: float
    report: tuple[str, ...]


def choose_engine(
    problem: Problem,
    directions: Directions,
    alphas: Points,
    evaluation: EvaluationSettings = EvaluationSettings(),
    *,
    samples: int,
    memory_limit: float = GIBIBYTE,
) -> Choice:
    """Measure engines at some points of the landscape, and return the fastest.

    Args:
        problem: model, loss and batches.
        directions: n directions.
        alphas: (m, n), points of the landscape to measure at.
        evaluation: engine and batch size, if they are given, and the batch-norm statistics.
        samples: number of samples to evaluate, which decides whether compiling pays.
        memory_limit: bytes that a batch may use beyond the model's own.

    Raises:
        RuntimeError: if the requested engine cannot evaluate this loss.
    """
    name, batch = evaluation.engine, evaluation.batch
    if evaluation.batch_norm == "reestimated":
        name = "single"
    elif batch is not None:
        name = name or "batched"
    trial = _Trial(problem, directions, alphas, evaluation.batch_norm)
    workers = trial.workers(memory_limit)
    if name in (None, "single"):
        threads = threads_for(sum(p.numel() for p in problem.model.parameters()))
        trial.run(Engine(threads=threads, workers=workers if threads == 1 else 1))
    is_work = not trial.seconds or trial.fastest()[1] * samples > _MEASURE_SECONDS
    many = Engine(workers=workers)
    if name in (None, "single") and is_work and many not in trial.seconds:
        trial.run(many)
    if name != "single" and is_work:
        best = _try_batches(trial, workers, batch, memory_limit)
        left = trial.fastest()[1] * samples if best else 0.0
        if best and (name == "compiled" or (name is None and left > _COMPILE_SECONDS)):
            threads = available_cores()
            larger = Engine("compiled", max(best.batch, _COMPILED_BATCH), threads=threads)
            same = replace(larger, batch=best.batch)
            trial.run(larger if batch is None and trial.fits(larger, memory_limit) else same)
    if name is not None:
        trial.only(name)
    if not trial.seconds:
        raise RuntimeError(f"engine {name!r} cannot evaluate this loss: {trial.report[-1]}")
    return Choice(*trial.fastest(), tuple(trial.report))


def restore_engine(
    record: Mapping[str, Any],
    problem: Problem,
    directions: Directions,
    alphas: Points,
    evaluation: EvaluationSettings = EvaluationSettings(),
    *,
    memory_limit: float = GIBIBYTE,
) -> Engine:
    """Return the engine of a store, with workers for this machine.

    Args:
        record: what :meth:`Engine.as_dict` returned when the store was made.
        problem: model, loss and batches.
        directions: n directions.
        alphas: (m, n), points of the landscape at which workers are checked.
        evaluation: its batch-norm statistics are used.
        memory_limit: bytes that the copies of the model may use.
    """
    engine = Engine(**record)
    if engine.name == "compiled" or engine.threads > 1:
        return engine
    trial = _Trial(problem, directions, alphas, evaluation.batch_norm)
    return replace(engine, workers=trial.workers(memory_limit))


class _Trial:
    """Measurements of engines on one problem."""

    def __init__(
        self, problem: Problem, directions: Directions, alphas: Points, batch_norm: BatchNorm
    ) -> None:
        self._evaluator = partial(evaluator, problem, directions, batch_norm=batch_norm)
        self._problem, self._alphas = problem, alphas
        self._model_bytes = _model_bytes(problem)
        # losses far from the centre may be infinite in every engine, which checks nothing
        self._checked = np.stack([alphas[0], _NEAR * alphas[1]])
        with self._evaluator(Engine()) as evaluate:
            self._truth = evaluate(self._checked)
        self.seconds: dict[Engine, float] = {}
        self.report: list[str] = []

    def workers(self, memory_limit: float) -> int:
        """Return one worker for each core if copies of the model fit and agree, else one."""
        most = int(memory_limit / 4 // max(self._model_bytes, 1))
        count = min(available_cores(), most) if _is_on_cpu(self._problem) else 1
        if count < 2:
            return 1
        return count if self._are_independent() else 1

    def _are_independent(self) -> bool:
        """Return whether two workers can evaluate at the same time, and report if they cannot."""
        engine = Engine(workers=2)
        with self._evaluator(engine) as evaluate:
            if are_independent(evaluate.workers, self._alphas[:2]):
                return True
        self.report.append(f"{engine}: not usable, evaluations in threads disturb each other")
        return False

    def run(self, engine: Engine) -> bool:
        """Check an engine and measure its time; return whether it can be used."""
        try:
            with self._evaluator(engine) as evaluate:
                self._check(evaluate)
                took = self._time(evaluate)
        except Exception as error:
            # an engine may fail in any way; the engine ``single`` raises the user's own errors
            reason = str(error).strip().splitlines() or [type(error).__name__]
            self.report.append(f"{engine}: not usable, {reason[0][:200]}")
            return False
        self.seconds[engine] = took
        self.report.append(f"{engine}: {took * 1e3:.3g} ms a sample")
        return True

    def fits(self, engine: Engine, memory_limit: float) -> bool:
        """Return whether θ(α), the step to it and the loss's own memory fit for all samples."""
        return 3 * engine.batch * engine.workers * self._model_bytes <= memory_limit

    def fastest(self) -> tuple[Engine, float]:
        """Return the fastest engine and its time for one sample."""
        return min(self.seconds.items(), key=lambda item: item[1])

    def only(self, name: EngineName) -> None:
        """Remove the measurements of other engines."""
        self.seconds = {
            engine: took for engine, took in self.seconds.items() if engine.name == name
        }

    def _check(self, evaluate: Evaluator) -> None:
        """Raise a RuntimeError if losses differ from those of the engine ``single``."""
        points = np.concatenate([self._checked, self._points(evaluate.engine)])
        found = evaluate(points)[: len(self._truth)]
        finite = np.isfinite(self._truth)
        same = np.isclose(found, self._truth, rtol=_AGREEMENT, atol=1e-6)
        agree = np.where(finite, same, ~np.isfinite(found))
        for loss, expected in zip(found[~agree], self._truth[~agree]):
            raise RuntimeError(f"it gives the loss {loss:.6g} instead of {expected:.6g}")

    def _time(self, evaluate: Evaluator) -> float:
        points = self._points(evaluate.engine)
        rounds, start = 0, time.perf_counter()
        while rounds < 1 or time.perf_counter() - start < _TRIAL_SECONDS:
            evaluate(points)
            rounds += 1
        return (time.perf_counter() - start) / (rounds * len(points))

    def _points(self, engine: Engine) -> Points:
        """Return as many points as keep all workers busy, the trial's points repeated."""
        count = engine.batch * engine.workers * (2 if engine.name == "single" else 1)
        return np.resize(self._alphas, (count, self._alphas.shape[1]))


def _try_batches(
    trial: _Trial, workers: int, batch: int | None, memory_limit: float
) -> Engine | None:
    """Return the fastest batched engine whose batches fit into the memory limit."""
    best: Engine | None = None
    before = peak_memory()
    for size in _BATCHES if batch is None else (batch,):
        engine = Engine("batched", size, workers)
        if batch is None and not trial.fits(engine, memory_limit):
            break
        if not trial.run(engine):
            break
        if best and trial.seconds[engine] > _SPEED_UP * trial.seconds[best]:
            break
        best = engine
        if 4 * (peak_memory() - before) > memory_limit:  # the next size is four times as large
            break
    return best


def _is_on_cpu(problem: Problem) -> bool:
    return all(tensor.device.type == "cpu" for tensor in _model_tensors(problem))


def _model_bytes(problem: Problem) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _model_tensors(problem))


def _model_tensors(problem: Problem) -> list[Tensor]:
    return [*problem.model.parameters(), *problem.model.buffers()]
