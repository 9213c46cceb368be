"""Stage 2, inside: the loss at many points α, as fast as this machine and this loss allow.

There are three engines. ``single`` sets the parameters to θ(α) and calls the loss, one sample after
another; it takes any loss. ``batched`` evaluates many samples in one call, by ``torch.func``: the
model is called with θ(α) as arguments, and ``vmap`` turns each operation into one over all samples,
which small networks need, whose operations are shorter than their overhead. ``compiled`` is the
same through ``torch.compile``. To fill all cores, the first two have several workers, threads with
a copy of the model each; compiled code holds Python's lock, and is itself spread over threads.

What is best depends on the network and the machine (some convolutions are slower under ``vmap`` on
CPUs, and a loss may not allow it), so it is measured, once for a landscape, and kept with it.
"""

from __future__ import annotations

import copy
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from tlp_core import checks
from tlp_core.directions.base import Directions
from tlp_core.model_state import threads_for
from tlp_core.problem import Problem, batch_loss, batch_size, mean_loss

BatchNorm = Literal["stored", "reestimated"]
BATCH_NORMS: tuple[BatchNorm, ...] = get_args(BatchNorm)

EngineName = Literal["single", "batched", "compiled"]
ENGINES: tuple[EngineName, ...] = get_args(EngineName)

GIBIBYTE = 2**30

_BATCHES = (8, 32, 128, 512)
"""Batch sizes that are tried, until a larger one is no longer faster."""

_WORTH = 0.95
"""A larger batch must take less than this share of the time of the last one."""

_COMPILE_SECONDS = 60.0
"""Work left above which compiling, which takes 5 to 20 s, is tried."""

_COMPILED_BATCH = 32
"""Smallest batch that is compiled: larger ones were faster on all networks of the benchmark."""

_MEASURE_SECONDS = 3.0
"""Work below which nothing faster than one sample at a time is looked for."""

_ROUNDING = 1e-3
"""Engines must agree at the points of the trial to this share of the loss; a wrong one does not."""

_TRIAL_SECONDS = 0.2
"""Time for which an engine is measured, or one round if that takes longer."""

Losses = npt.NDArray[np.float64]
Points = npt.NDArray[np.float64]
_Worker = Callable[[Points], Losses]


@dataclass(frozen=True)
class Engine:
    """How losses are evaluated.

    Attributes:
        name: ``single``, ``batched`` or ``compiled``.
        batch: samples in one call.
        workers: threads that evaluate at the same time, each with a model of its own.
        threads: threads of torch within each worker.
    """

    name: EngineName = "single"
    batch: int = 1
    workers: int = 1
    threads: int = 1

    def as_dict(self) -> dict[str, Any]:
        """Return what is kept with the landscape: what losses depend on, if by rounding only."""
        return {"name": self.name, "batch": self.batch, "threads": self.threads}

    def __str__(self) -> str:
        """Say it as a person would."""
        how = "one at a time" if self.name == "single" else f"{self.batch} at a time, {self.name}"
        return f"{how}, workers: {self.workers}, threads: {self.threads}"


class Evaluator:
    """The loss as a function of α, by one engine; use :func:`evaluator`."""

    def __init__(
        self, problem: Problem, directions: Directions, engine: Engine, batch_norm: BatchNorm
    ) -> None:
        """Prepare workers; parameters of the problem's model must not need gradients."""
        self.engine = engine
        anew = batch_norm == "reestimated"
        problems = [problem, *(_copied(problem) for _ in range(engine.workers - 1))]
        self._center = _Single(problem, directions, anew)
        self._workers: list[_Worker] = [
            _Single(each, directions, anew)
            if engine.name == "single"
            else _Batched(each, directions)
            for each in problems
        ]
        if engine.name == "compiled":
            self._workers = [_compiled(self._workers[0])]
        self._pool = ThreadPoolExecutor(engine.workers, initializer=_one_thread)
        self._free = list(self._workers)

    def __call__(self, alphas: Points) -> Losses:
        """Return the losses (m,) float64 at the coordinates (m, n).

        The loss at α = 0 is the model's own, called as a user calls it.
        """
        starts = range(0, len(alphas), self.engine.batch)
        parts = [alphas[start : start + self.engine.batch] for start in starts]
        if self.engine.workers == 1:
            losses = [self._workers[0](self._padded(part))[: len(part)] for part in parts]
        else:
            losses = list(self._pool.map(self._on_a_free_worker, parts))
        found = np.concatenate(losses) if losses else np.empty(0)
        for i in np.flatnonzero(~alphas.any(axis=1)):
            found[i] = self._center(alphas[i : i + 1])[0]
        return found

    def close(self) -> None:
        """End the workers."""
        self._pool.shutdown(cancel_futures=True)

    def _on_a_free_worker(self, part: Points) -> Losses:
        worker = self._free.pop()
        try:
            return worker(self._padded(part))[: len(part)]
        finally:
            self._free.append(worker)

    def _padded(self, part: Points) -> Points:
        """Fill the last batch up, since compiled code takes one shape."""
        missing = self.engine.batch - len(part)
        if self.engine.name != "compiled" or not missing:
            return part
        return np.concatenate([part, np.zeros((missing, part.shape[1]))])


@contextmanager
def evaluator(
    problem: Problem,
    directions: Directions,
    engine: Engine,
    batch_norm: BatchNorm = "stored",
) -> Iterator[Evaluator]:
    """Yield the loss as a function of α; the model is in use meanwhile.

    Parameters need no gradient here, but gradients stay on: a loss may take derivatives in its
    inputs.
    """
    for parameter in problem.model.parameters():
        parameter.requires_grad_(False)
    before = torch.get_num_threads()
    torch.set_num_threads(engine.threads)
    with warnings.catch_warnings():
        # slow under vmap, and that is measured
        warnings.filterwarnings("ignore", message=".*batching rule")
        evaluate = Evaluator(problem, directions, engine, batch_norm)
        try:
            yield evaluate
        finally:
            evaluate.close()
            torch.set_num_threads(before)


@dataclass(frozen=True)
class Choice:
    """The engine that was chosen, and why.

    Attributes:
        engine: the fastest.
        seconds: of one sample.
        report: what was measured, and what could not be used and why, a line each.
    """

    engine: Engine
    seconds: float
    report: tuple[str, ...]


def choose_engine(
    problem: Problem,
    directions: Directions,
    alphas: Points,
    *,
    samples: int,
    name: EngineName | None = None,
    batch: int | None = None,
    memory_limit: float = GIBIBYTE,
    batch_norm: BatchNorm = "stored",
) -> Choice:
    """Measure engines at some points of the landscape, and return the fastest.

    Args:
        problem: model, loss and batches.
        directions: n directions.
        alphas: (m, n), points of the landscape to try.
        samples: number of samples to come, which tells whether compiling is worth its time.
        name: only this engine.
        batch: only this batch size.
        memory_limit: bytes that a batch may take beyond the model's own.
        batch_norm: ``stored`` or ``reestimated``, which needs the engine ``single``.

    Raises:
        RuntimeError: if the engine that was asked for cannot evaluate this loss.
    """
    if batch_norm == "reestimated":
        checks.choice(name or "single", ["single"], name="engine")
        name = "single"
    elif batch is not None:
        name = name or "batched"
    trial = _Trial(problem, directions, alphas, batch_norm)
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


def kept_engine(
    kept: Mapping[str, Any],
    problem: Problem,
    directions: Directions,
    alphas: Points,
    *,
    memory_limit: float = GIBIBYTE,
    batch_norm: BatchNorm = "stored",
) -> Engine:
    """Return an engine from what :meth:`Engine.as_dict` kept, with workers for this machine."""
    engine = Engine(**kept)
    if engine.name == "compiled" or engine.threads > 1:
        return engine
    trial = _Trial(problem, directions, alphas, batch_norm)
    return replace(engine, workers=trial.workers(memory_limit))


class _Trial:
    """Times engines, and holds what they take."""

    def __init__(
        self, problem: Problem, directions: Directions, alphas: Points, batch_norm: BatchNorm
    ) -> None:
        self._evaluator = partial(evaluator, problem, directions, batch_norm=batch_norm)
        self._problem, self._alphas = problem, alphas
        self._model_bytes = _model_bytes(problem)
        with self._evaluator(Engine()) as evaluate:
            self._truth = evaluate(alphas[:2])
        self.seconds: dict[Engine, float] = {}
        self.report: list[str] = []

    def workers(self, memory_limit: float) -> int:
        """Return one worker for each core, if copies of the model fit and give the same losses."""
        most = int(memory_limit / 4 // max(self._model_bytes, 1))
        count = min(available_cores(), most) if _is_on_cpu(self._problem) else 1
        if count > 1 and self.run(Engine(workers=2), is_timed=False):
            return count
        return 1

    def run(self, engine: Engine, *, is_timed: bool = True) -> bool:
        """Check an engine, and time it; return whether it can be used."""
        try:
            with self._evaluator(engine) as evaluate:
                self._check(evaluate)
                if not is_timed:
                    return True
                took = self._time(evaluate)
        except Exception as error:
            # whatever stops an engine, the next one is tried, and a single sample tells errors
            reason = str(error).strip().splitlines() or [type(error).__name__]
            self.report.append(f"{engine}: not usable, {reason[0][:200]}")
            return False
        self.seconds[engine] = took
        self.report.append(f"{engine}: {took * 1e3:.3g} ms a sample")
        return True

    def fits(self, engine: Engine, memory_limit: float) -> bool:
        """Return whether all models in use fit: θ(α), the step to it, and as much for the loss."""
        return 3 * engine.batch * engine.workers * self._model_bytes <= memory_limit

    def fastest(self) -> tuple[Engine, float]:
        """Return the fastest engine and its time for one sample."""
        return min(self.seconds.items(), key=lambda item: item[1])

    def only(self, name: EngineName) -> None:
        """Forget engines of other names."""
        self.seconds = {
            engine: took for engine, took in self.seconds.items() if engine.name == name
        }

    def _check(self, evaluate: Evaluator) -> None:
        found = evaluate(self._points(evaluate.engine))[: len(self._truth)]
        both = np.isfinite(found) & np.isfinite(self._truth)
        same = np.isclose(found, self._truth, rtol=_ROUNDING, atol=1e-6)
        if not (same | ~both).all():
            raise RuntimeError(f"it gives the loss {found[0]:.6g} instead of {self._truth[0]:.6g}")

    def _time(self, evaluate: Evaluator) -> float:
        points = self._points(evaluate.engine)
        rounds, start = 0, time.perf_counter()
        while rounds < 1 or time.perf_counter() - start < _TRIAL_SECONDS:
            evaluate(points)
            rounds += 1
        return (time.perf_counter() - start) / (rounds * len(points))

    def _points(self, engine: Engine) -> Points:
        """Return as many points as keep all workers busy, the trial's again and again."""
        count = engine.batch * engine.workers * (2 if engine.name == "single" else 1)
        return np.resize(self._alphas, (count, self._alphas.shape[1]))


def _try_batches(
    trial: _Trial, workers: int, batch: int | None, memory_limit: float
) -> Engine | None:
    """Return the fastest batched engine whose batches fit into memory."""
    best: Engine | None = None
    before = _peak_memory()
    for size in _BATCHES if batch is None else (batch,):
        engine = Engine("batched", size, workers)
        if batch is None and not trial.fits(engine, memory_limit):
            break
        if not trial.run(engine):
            break
        if best and trial.seconds[engine] > _WORTH * trial.seconds[best]:
            break
        best = engine
        if 4 * (_peak_memory() - before) > memory_limit:  # the next size is four times as large
            break
    return best


def _peak_memory() -> float:
    """Return the largest memory that this process, or its GPU, has used, in bytes."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return float(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _is_on_cpu(problem: Problem) -> bool:
    return all(tensor.device.type == "cpu" for tensor in _model_tensors(problem))


def _model_bytes(problem: Problem) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in _model_tensors(problem))


def _model_tensors(problem: Problem) -> list[Tensor]:
    return [*problem.model.parameters(), *problem.model.buffers()]


def available_cores() -> int:
    """Return the number of cores that this process may use, and OMP_NUM_THREADS grants."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(allowed or 1, torch.get_num_threads()))


def keep_memory() -> None:
    """Let this process keep freed memory, which batches take and free again and again.

    The allocator of Linux gives large pieces back at once, and zeroing them anew takes up to a
    third of the time. For a process that does nothing else, so not for ParaView's.
    """
    if sys.platform == "linux":
        import ctypes

        with suppress(OSError, AttributeError):  # another C library than GNU's
            libc = ctypes.CDLL("libc.so.6")
            m_trim_threshold, m_mmap_threshold = -1, -3
            libc.mallopt(m_mmap_threshold, GIBIBYTE)
            libc.mallopt(m_trim_threshold, GIBIBYTE)


def _one_thread() -> None:
    torch.set_num_threads(1)


def _copied(problem: Problem) -> Problem:
    return replace(problem, model=copy.deepcopy(problem.model))


class _Single:
    """Losses one at a time; parameters are set in place, from θ* for every sample."""

    def __init__(self, problem: Problem, directions: Directions, batch_norm_anew: bool) -> None:
        self._problem, self._batch_norm_anew = problem, batch_norm_anew
        self._spans = _spans(directions)
        parameters = dict(problem.model.named_parameters())
        self._parameters = {name: parameters[name] for name in self._spans}
        self._bases = {name: p.detach().clone() for name, p in self._parameters.items()}

    def __call__(self, alphas: Points) -> Losses:
        try:
            return np.array([self._loss_at(alpha) for alpha in alphas.tolist()])
        finally:
            for name, parameter in self._parameters.items():
                parameter.data.copy_(self._bases[name])

    def _loss_at(self, alpha: list[float]) -> float:
        for name, parameter in self._parameters.items():
            base, span = self._bases[name], self._spans[name]
            step = torch.tensor(alpha, dtype=span.dtype, device=span.device)
            torch.add(base, torch.tensordot(step, span, 1), out=parameter.data)
        if self._batch_norm_anew:
            reestimate_batch_norm(self._problem)
        return mean_loss(self._problem)


def reestimate_batch_norm(problem: Problem) -> None:
    """Set the running statistics of batch norm to their averages over the problem's batches."""
    layers = [m for m in problem.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over all batches
        layer.train()
    try:
        mean_loss(problem)
    finally:
        for layer, momentum in zip(layers, momenta):
            layer.momentum = momentum
            layer.eval()


def _spans(directions: Directions) -> dict[str, Tensor]:
    """Return, for every parameter, the n directions' parts (n, …)."""
    names = directions.vectors[0]
    return {name: torch.stack([vector[name] for vector in directions.vectors]) for name in names}


class _LossModule(nn.Module):
    """The loss on a batch as a module, whose parameters ``functional_call`` can replace."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.model = problem.model
        self._problem = problem

    def forward(self, batch: Any) -> Tensor:
        return batch_loss(self._problem, batch)


class _Batched:
    """Losses many at a time."""

    def __init__(self, problem: Problem, directions: Directions) -> None:
        self._batches = problem.batches
        module = _LossModule(problem)
        parameters = dict(problem.model.named_parameters())
        spans = _spans(directions)
        bases = {name: parameters[name].detach().clone() for name in spans}
        first = next(iter(bases.values()))
        self._dtype, self._device = first.dtype, first.device

        def loss_at(alpha: Tensor, batch: Any) -> Tensor:
            moved = {
                f"model.{name}": base + torch.tensordot(alpha.to(base), spans[name], 1)
                for name, base in bases.items()
            }
            found: Tensor = functional_call(module, moved, (batch,))
            return found

        def losses_at(alphas: Tensor, batch: Any) -> Tensor:
            found: Tensor = vmap(lambda alpha: loss_at(alpha, batch))(alphas)
            return found

        self.losses_at = losses_at

    def __call__(self, alphas: Points) -> Losses:
        points = torch.tensor(alphas, dtype=self._dtype, device=self._device)
        total, weight = np.zeros(len(alphas)), 0
        for batch in self._batches:
            size = batch_size(batch)
            total += size * self.losses_at(points, batch).detach().double().cpu().numpy()
            weight += size
        return total / weight


def _compiled(worker: _Worker) -> _Worker:
    """Compile a batched worker."""
    from torch._inductor import config

    config.compile_threads = 1  # a pool of processes would start ParaView's program anew
    assert isinstance(worker, _Batched)
    worker.losses_at = torch.compile(worker.losses_at, dynamic=False)
    return worker
