"""The choice of an engine.

Engines differ by rounding, so the choice decides the last digits of the losses. By default it is
made from the work of one evaluation, which is counted, so that equal runs give equal bytes. On
request (``fastest``) engines are measured: the fastest depends on the network and the machine (some
convolutions are slower under ``vmap`` on CPUs). Either way the choice is recorded in the store.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from torch import Tensor

from tlp_core.choices import BatchNorm, EngineName
from tlp_core.directions.base import Directions
from tlp_core.model_state import threads_for
from tlp_core.problem import Problem
from tlp_core.sampling.engines import Engine, Evaluator, Losses, Points, evaluator
from tlp_core.sampling.independence import are_independent
from tlp_core.sampling.resources import available_cores
from tlp_core.sampling.settings import GIBIBYTE, EvaluationSettings
from tlp_core.sampling.work import Work, count_work
from tlp_core.shards import is_sharded

_BATCHES = (8, 32, 128, 512)
"""Batch sizes that are considered."""

_SPEED_UP = 0.95
"""Largest fraction of the last batch's time that a larger batch may take to be worth it."""

_COMPILE_SECONDS = 60.0
"""Remaining work of small calls above which compiling, which takes 5 to 20 s, is tried."""

_COMPILED_BATCH = 32
"""Smallest batch of small calls that is compiled: larger ones were faster on all networks of the
benchmark."""

_BATCH_SECONDS = 3.0
"""Work below which nothing faster than the engine ``single`` is tried."""

_VALUES_PER_CALL = 2**19
"""Values per call of an operator for which a batch is chosen: 2 MB in float32, as large as a cache.
On the networks of the benchmark the fastest batches were at 2^18 to 2^21 values."""

_LARGE_CALL = 100_000
"""Values per call of one sample above which many samples in one call are no faster."""

_LARGEST_COMPILED_CALL = 2**18
"""Values per call of one sample above which compiling brings little. Divided by the time of the
engine ``single`` on a CPU, a compiled sample took 2/3 with 100,000 to 150,000 values (a ResNet-20,
a GPT-2 of a million parameters), and 6/7 or 1 with 600,000 to 1,700,000 (other transformers, a
UNet)."""

_LARGE_COMPILE_SECONDS = 1200.0
"""Remaining work of large calls above which compiling, which takes half a minute, is tried. The
counted time is that of a slow core; the two cores of the benchmarks take an eighth of it."""

_SLOW_SAMPLE = 1.0
"""Seconds of one sample above which engines are neither tried nor measured."""

AGREEMENT = 1e-3
"""Relative difference within which engines must agree; a wrong one differs by more."""

_NEAR = 0.01
"""Fraction of the way to a trial point at which engines are checked, too."""

_NOISE_POINTS = 8
"""Points at which the error of autocast is measured."""

_TRIAL_SECONDS = 0.2
"""Time for which an engine is measured, or one round if that takes longer."""


@dataclass(frozen=True)
class Choice:
    """The chosen engine.

    Attributes:
        engine: how losses are evaluated.
        seconds: measured time of one sample, for estimates only.
        counted_seconds: time of one sample by the counted work, the same in every run.
        report: one line for each engine that was tried: its time, or why it cannot be used.
        autocast_noise: what :func:`autocast_noise` returns; None without autocast.
    """

    engine: Engine
    seconds: float
    counted_seconds: float
    report: tuple[str, ...]
    autocast_noise: float | None = None


def choose_engine(
    problem: Problem,
    directions: Directions,
    alphas: Points,
    evaluation: EvaluationSettings = EvaluationSettings(),
    *,
    samples: int,
    memory_limit: float = GIBIBYTE,
    bases: Mapping[str, Tensor] | None = None,
) -> Choice:
    """Return the engine that the settings request, or a fast one.

    Args:
        problem: model, loss and batches.
        directions: n directions.
        alphas: (m, n), points of the landscape at which engines are checked and measured.
        evaluation: engine and batch size, if they are given, and the batch-norm statistics.
        samples: number of samples to evaluate, which decides whether compiling pays.
        memory_limit: bytes that a batch may use beyond the model's own.
        bases: as in :func:`~tlp_core.sampling.engines.evaluator`.

    Raises:
        ValueError: for another engine than ``single`` of a sharded model.
        RuntimeError: if the requested engine cannot evaluate this loss.
    """
    trial = _Trial(problem, directions, alphas, evaluation.batch_norm, memory_limit, bases)
    name = evaluation.engine
    if is_sharded(problem.model):
        _check_one_at_a_time(evaluation)
        counted = trial.work.seconds()
        return Choice(Engine(threads=available_cores()), counted, counted, ())
    if evaluation.batch_norm == "reestimated":
        name = "single"
    elif evaluation.batch is not None and name is None:
        name = "batched"
    if name == "fastest":
        engine = trial.fastest(samples, evaluation.batch)
    else:
        engine = trial.first_usable(samples, name, evaluation.batch)
    if engine is None:
        is_open = name in (None, "fastest")
        which = "no engine can" if is_open else f"engine {name!r} cannot"
        raise RuntimeError(f"{which} evaluate this loss: {trial.report[-1]}")
    counted = trial.work.seconds(engine.batch)
    return Choice(engine, trial.seconds.get(engine, counted), counted, tuple(trial.report))


def autocast_noise(
    problem: Problem,
    directions: Directions,
    alphas: Points,
    evaluation: EvaluationSettings,
    *,
    samples: int,
    bases: Mapping[str, Tensor] | None = None,
) -> float | None:
    """Return by how much autocast may change losses against each other.

    If the errors of all losses are between a and b, the persistence of a basin changes by at most
    b - a (the stability theorem of Cohen-Steiner et al. 2007): basins of lower persistence may be
    noise. The errors are measured at eight points. If they are normal with a standard deviation σ,
    those of N samples are expected within a range of 2 σ √(2 ln N), which is returned; None if
    fewer than two of the errors are finite.

    Args:
        problem: model, loss and batches, with autocast.
        directions: n directions.
        alphas: (m, n), points of the landscape.
        evaluation: its batch-norm statistics are used.
        samples: N, the number of samples of the landscape.
        bases: as in :func:`~tlp_core.sampling.engines.evaluator`.
    """
    found, points = [], alphas[alphas.any(axis=1)][:_NOISE_POINTS]
    for each in (problem, replace(problem, autocast=None)):
        with evaluator(
            each,
            directions,
            Engine(threads=available_cores()),
            evaluation.batch_norm,
            bases=bases,
        ) as evaluate:
            found.append(evaluate(points)[:, 0])
    errors = found[0] - found[1]
    errors = errors[np.isfinite(errors)]
    if len(errors) < 2:
        return None
    return float(2 * np.std(errors, ddof=1) * math.sqrt(2 * math.log(samples)))


def _check_one_at_a_time(evaluation: EvaluationSettings) -> None:
    if evaluation.engine not in (None, "single") or evaluation.batch not in (None, 1):
        raise ValueError(
            "a sharded model must be evaluated one sample at a time, got engine "
            f"{evaluation.engine} and batch {evaluation.batch}; omit them"
        )


def engine_of(record: Any) -> Engine:
    """Return the engine that a store records.

    Raises:
        ValueError: if the record is not one of an engine.
    """
    try:
        return Engine(**record)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a store must record its engine, got {record!r}: {error}") from error


def restore_engine(
    record: Mapping[str, Any],
    problem: Problem,
    directions: Directions,
    alphas: Points,
    evaluation: EvaluationSettings = EvaluationSettings(),
    *,
    memory_limit: float = GIBIBYTE,
    bases: Mapping[str, Tensor] | None = None,
) -> Engine:
    """Return the engine of a store, with workers for this machine.

    Args:
        record: what :meth:`Engine.as_dict` returned when the store was made.
        problem: model, loss and batches.
        directions: n directions.
        alphas: (m, n), points of the landscape at which workers are checked.
        evaluation: its batch-norm statistics are used.
        memory_limit: bytes that the copies of the model may use.
        bases: as in :func:`~tlp_core.sampling.engines.evaluator`.
    """
    engine = engine_of(record)
    if engine.name == "compiled" or engine.threads > 1 or is_sharded(problem.model):
        return engine
    trial = _Trial(problem, directions, alphas, evaluation.batch_norm, memory_limit, bases)
    return replace(engine, workers=trial.workers)


class _Trial:
    """Checks and measurements of engines on one problem."""

    def __init__(
        self,
        problem: Problem,
        directions: Directions,
        alphas: Points,
        batch_norm: BatchNorm,
        memory_limit: float,
        bases: Mapping[str, Tensor] | None,
    ) -> None:
        self._evaluator = partial(
            evaluator,
            problem,
            directions,
            batch_norm=batch_norm,
            memory_limit=memory_limit,
            bases=bases,
        )
        self._problem, self._alphas, self._memory_limit = problem, alphas, memory_limit
        self._all_move = len(directions.names) == len(dict(problem.model.named_parameters()))
        self._model_bytes = _model_bytes(problem)
        # losses far from the centre may be infinite in every engine, which checks nothing
        self._checked = np.stack([alphas[0], _NEAR * alphas[1]])
        self.seconds: dict[Engine, float] = {}
        self.report: list[str] = []

    @cached_property
    def work(self) -> Work:
        """The work of one evaluation."""
        return count_work(self._problem)

    @cached_property
    def workers(self) -> int:
        """One worker for each core if copies of the model fit and agree, else one."""
        most = int(self._memory_limit / 4 // max(self._model_bytes, 1))
        count = min(available_cores(), most) if _is_on_cpu(self._problem) else 1
        if count < 2:
            return 1
        return count if self._are_independent() else 1

    def first_usable(
        self, samples: int, name: EngineName | None, batch: int | None
    ) -> Engine | None:
        """Return the first engine that can be used, of those that suit the counted work."""
        if self.work.seconds() > _SLOW_SAMPLE and name in (None, "single"):
            return Engine(threads=available_cores())
        wanted = [name] if name is not None else self._suitable(samples)
        for each in wanted:
            engine = self._single() if each == "single" else self._of_samples(each, batch)
            if engine is not None and self.run(engine):
                return engine
        return None

    def fastest(self, samples: int, batch: int | None) -> Engine | None:
        """Return the engine that is measured to be the fastest; None if none can be used."""
        self._run_single(batch)
        if not self.seconds or self._left(samples) > _BATCH_SECONDS:
            best = self._try_batches(batch)
            if best is not None and self._left(samples) > _COMPILE_SECONDS:
                larger = replace(best, batch=max(best.batch, _COMPILED_BATCH))
                chosen = larger if batch is None and self._fits(larger) else best
                self.run(replace(chosen, name="compiled", workers=1, threads=available_cores()))
        return min(self.seconds, key=self.seconds.__getitem__) if self.seconds else None

    def run(self, engine: Engine) -> bool:
        """Check an engine and measure its time; return whether it can be used.

        Raises:
            LossError: if the loss itself fails at one of the points.
        """
        expected = self._truth
        try:
            with self._evaluator(engine) as evaluate:
                self._check(evaluate, expected)
                took = self._time(evaluate)
        except Exception as error:
            # an engine may fail in any way; the user's own errors are raised above
            reason = str(error).strip().splitlines() or [type(error).__name__]
            self.report.append(f"{engine}: not usable, {reason[0][:200]}")
            return False
        self.seconds[engine] = took
        self.report.append(f"{engine}: {took * 1e3:.3g} ms a sample")
        return True

    @cached_property
    def _truth(self) -> Losses:
        with self._evaluator(Engine()) as evaluate:
            return evaluate(self._checked)

    def _are_independent(self) -> bool:
        """Return whether two workers can evaluate at the same time, and report if they cannot."""
        engine = Engine(workers=2)
        with self._evaluator(engine) as evaluate:
            if are_independent(evaluate.workers, self._alphas[:2]):
                return True
        self.report.append(f"{engine}: not usable, evaluations in threads disturb each other")
        return False

    @property
    def _has_large_calls(self) -> bool:
        return self.work.values_per_call > _LARGE_CALL

    def _gains_if_compiled(self) -> bool:
        """Return whether large calls gain; where few parameters move, kept outputs bring more."""
        is_limited = self.work.values_per_call <= _LARGEST_COMPILED_CALL
        return is_limited and self._all_move and _is_on_cpu(self._problem)

    def _suitable(self, samples: int) -> list[EngineName]:
        """Return the engines that suit so many samples, the best first."""
        if self._has_large_calls:
            pays = self.work.seconds() * samples > _LARGE_COMPILE_SECONDS
            return ["compiled", "single"] if pays and self._gains_if_compiled() else ["single"]
        if self.work.seconds() * samples <= _BATCH_SECONDS:
            return ["single"]
        if self.work.seconds(self._batch()) * samples <= _COMPILE_SECONDS:
            return ["batched", "single"]
        return ["compiled", "batched", "single"]

    def _single(self) -> Engine:
        threads = threads_for(sum(p.numel() for p in self._problem.model.parameters()))
        return Engine(threads=threads, workers=self.workers if threads == 1 else 1)

    def _of_samples(self, name: EngineName, batch: int | None) -> Engine | None:
        """Return an engine for several samples in one call; None if not even one sample fits.

        Without a given batch, it is the one that suits the counted work, halved until it fits.
        """
        if name == "batched":
            engine = Engine("batched", batch or self._batch(), self.workers)
        else:
            smallest = 1 if self._has_large_calls else _COMPILED_BATCH
            suited = batch or max(self._batch(), smallest)
            engine = Engine("compiled", suited, threads=available_cores())
        if batch is not None:
            return engine
        while not self._fits(engine):
            if engine.batch == 1:
                self.report.append(
                    f"{engine}: not usable, a sample needs more than the memory limit"
                )
                return None
            engine = replace(engine, batch=engine.batch // 2)
        return engine

    def _batch(self) -> int:
        """Return the batch for which a call writes about as many values as a cache holds."""
        wanted = _VALUES_PER_CALL / max(1.0, self.work.values_per_call)
        return min(_BATCHES, key=lambda size: abs(math.log(size / wanted)))

    def _fits(self, engine: Engine) -> bool:
        """Return whether θ(α), the step to it and the loss's values fit for all samples.

        All cores count, also if there is one worker because a trial of two failed: the batch must
        be the same in every run. Compiled code has one worker on any machine.
        """
        each = 3 * self._model_bytes + self.work.value_bytes
        workers = 1 if engine.name == "compiled" else available_cores()
        return engine.batch * workers * each <= self._memory_limit

    def _run_single(self, batch: int | None) -> None:
        """Measure the engine ``single``, with threads and with workers."""
        if batch is None:
            for engine in dict.fromkeys((self._single(), Engine(workers=self.workers))):
                self.run(engine)

    def _try_batches(self, batch: int | None) -> Engine | None:
        """Return the fastest batched engine whose batches fit into the memory limit."""
        best: Engine | None = None
        for size in _BATCHES if batch is None else (batch,):
            engine = Engine("batched", size, self.workers)
            if (batch is None and not self._fits(engine)) or not self.run(engine):
                break
            if best and self.seconds[engine] > _SPEED_UP * self.seconds[best]:
                break
            best = engine
        return best

    def _left(self, samples: int) -> float:
        return min(self.seconds.values()) * samples

    def _check(self, evaluate: Evaluator, expected: Losses) -> None:
        """Raise a RuntimeError if losses differ from those of the engine ``single``."""
        points = np.concatenate([self._checked, self._points(evaluate.engine)])
        found = evaluate(points)[: len(expected)]
        same = np.isclose(found, expected, rtol=AGREEMENT, atol=1e-6)
        agree = np.where(np.isfinite(expected), same, ~np.isfinite(found))
        for loss, wanted in zip(found[~agree], expected[~agree]):
            raise RuntimeError(f"it gives the loss {loss:.6g} instead of {wanted:.6g}")

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


def _is_on_cpu(problem: Problem) -> bool:
    return all(tensor.device.type == "cpu" for tensor in _model_tensors(problem))


def _model_bytes(problem: Problem) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _model_tensors(problem))


def _model_tensors(problem: Problem) -> list[Tensor]:
    return [*problem.model.parameters(), *problem.model.buffers()]
