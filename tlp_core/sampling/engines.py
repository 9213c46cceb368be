"""Engines: the loss as a function of the coordinates α.

``single`` sets the parameters to θ(α) and calls the loss, one sample after another; it works with
any loss. ``batched`` evaluates many samples in one call by ``torch.func``: the model is called with
θ(α) as arguments, and ``vmap`` turns each operation into one over all samples. Small networks need
this, because their operations are shorter than the overhead of a call. ``compiled`` is ``batched``
through ``torch.compile``. To use all cores, the first two have several workers, threads with a copy
of the model each; compiled code holds Python's global lock, and uses torch's threads instead.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from tlp_core import checks
from tlp_core.choices import BatchNorm, EngineName
from tlp_core.directions.base import Directions
from tlp_core.kept_outputs import kept_outputs
from tlp_core.model_state import PIECE, as_float64, use_threads
from tlp_core.problem import Problem, batch_loss, batch_size, mean_losses
from tlp_core.sampling.batch_norm import reestimate_batch_norm
from tlp_core.sampling.rational_tanh import compiler_options
from tlp_core.sampling.settings import GIBIBYTE
from tlp_core.scratch import forget
from tlp_core.shards import shard_of

Losses = npt.NDArray[np.float64]
Points = npt.NDArray[np.float64]
_Worker = Callable[[Points], Losses]


@dataclass(frozen=True)
class Engine:
    """How losses are evaluated.

    Attributes:
        name: ``single``, ``batched`` or ``compiled``.
        batch: samples in one call.
        workers: threads that evaluate at the same time, each with its own copy of the model.
        threads: torch's threads within each worker.

    Raises:
        ValueError: for a value out of range, or an unknown name.
        TypeError: for a value of the wrong type.
    """

    name: EngineName = "single"
    batch: int = 1
    workers: int = 1
    threads: int = 1

    def __post_init__(self) -> None:
        """Check every value; a store may hold anything."""
        checks.choice(self.name, get_args(EngineName), name="engine")
        for name in ("batch", "workers", "threads"):
            checks.integer(getattr(self, name), name=name, minimum=1)
        checks.largest_batch(self.batch)

    def as_dict(self) -> dict[str, Any]:
        """Return what the store records: everything that can change losses by rounding."""
        return {"name": self.name, "batch": self.batch, "threads": self.threads}

    def __str__(self) -> str:
        """Return a description for messages."""
        how = "one at a time" if self.name == "single" else f"{self.batch} at a time, {self.name}"
        return f"{how}, workers: {self.workers}, threads: {self.threads}"


class Evaluator:
    """The loss as a function of α, by one engine; made by :func:`evaluator`.

    Attributes:
        engine: how losses are evaluated.
        workers: functions from coordinates (m, n) to losses (m, L), each with its own model.
    """

    def __init__(
        self,
        problem: Problem,
        directions: Directions,
        engine: Engine,
        batch_norm: BatchNorm,
        center: Sequence[float] | None,
        bases: Mapping[str, Tensor],
        each_batch: bool,
    ) -> None:
        """Prepare the workers."""
        self.engine = engine
        self._center_loss = center
        reestimates = batch_norm == "reestimated"
        problems = [problem, *(_copy(problem) for _ in range(engine.workers - 1))]
        self._center = _Single(problem, directions, reestimates, bases, each_batch)
        self.workers: list[_Worker] = [
            _Single(each, directions, reestimates, bases, each_batch)
            if engine.name == "single"
            else _Batched(each, directions, bases, each_batch)
            for each in problems
        ]
        if engine.name == "compiled":
            self.workers = [_compile(self.workers[0])]
        self._pool = ThreadPoolExecutor(engine.workers, initializer=_use_one_thread)
        self._free = list(self.workers)

    def __call__(self, alphas: Points) -> Losses:
        """Return the losses (m, L) float64 at the coordinates (m, n).

        The first is the loss on the batches, then come those on the other batches, and on each of
        the batches if they are wanted. At α = 0 they are those of a plain call of the user's loss.
        """
        starts = range(0, len(alphas), self.engine.batch)
        parts = [alphas[start : start + self.engine.batch] for start in starts]
        if self.engine.workers == 1:
            losses = [self.workers[0](self._padded(part))[: len(part)] for part in parts]
        else:
            losses = list(self._pool.map(self._on_a_free_worker, parts))
        found: Losses = np.concatenate(losses)
        for i in np.flatnonzero(~alphas.any(axis=1)):
            known = self._center_loss is not None
            found[i] = self._center_loss if known else self._center(alphas[i : i + 1])[0]
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
        """Pad the last batch, because compiled code accepts one shape only."""
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
    *,
    center: Sequence[float] | None = None,
    memory_limit: float = GIBIBYTE,
    bases: Mapping[str, Tensor] | None = None,
    each_batch: bool = False,
) -> Iterator[Evaluator]:
    """Yield the loss as a function of α; the model's parameters change meanwhile.

    One worker that evaluates one sample at a time evaluates modules that do not depend on α once,
    see :mod:`tlp_core.kept_outputs`.

    Args:
        problem: model, loss and batches.
        directions: n directions.
        engine: how losses are evaluated.
        batch_norm: statistics of batch norm.
        center: the losses (L,) at α = 0, if they are known; by default they are evaluated.
        memory_limit: bytes that kept outputs may use in memory.
        bases: the moving parameters at the model, by name; default: copies of them.
        each_batch: return the losses on the single batches, too.
    """
    parameters = dict(problem.model.named_parameters())
    moving = {name: parameters[name] for name in directions.names}
    with ExitStack() as stack:
        stack.enter_context(use_threads(engine.threads))
        stack.enter_context(warnings.catch_warnings())
        # torch warns of operations that are slow under vmap; the choice of engine measures them
        warnings.filterwarnings("ignore", message=".*batching rule")
        if engine.name == "single" and engine.workers == 1 and batch_norm == "stored":
            kept = kept_outputs(problem, moving.values(), memory_limit)
            problem = stack.enter_context(kept)
        if bases is None:
            bases = {name: p.detach().clone() for name, p in moving.items()}
        evaluate = Evaluator(problem, directions, engine, batch_norm, center, bases, each_batch)
        try:
            yield evaluate
        finally:
            evaluate.close()


def _use_one_thread() -> None:
    torch.set_num_threads(1)


def _copy(problem: Problem) -> Problem:
    return replace(problem, model=copy.deepcopy(problem.model))


_Moving = tuple[Tensor, ...]
"""The same part of a parameter, of its value at θ*, and of each direction."""

_FORGOTTEN = 2**22
"""Number of entries of a direction that are used before their memory is given up, all at once:
each call of the system takes time."""


class _Single:
    """Losses one at a time; parameters are set in place, from θ* at every sample."""

    def __init__(
        self,
        problem: Problem,
        directions: Directions,
        reestimates: bool,
        bases: Mapping[str, Tensor],
        each_batch: bool,
    ) -> None:
        self._problem, self._reestimates, self._each_batch = problem, reestimates, each_batch
        parameters = dict(problem.model.named_parameters())
        self._moving: list[list[_Moving]] = []
        size = _FORGOTTEN
        for name in directions.names:
            vectors = [vector[name] for vector in directions.vectors]
            for parts in zip(*map(_parts, (parameters[name].data, bases[name], *vectors))):
                if size >= _FORGOTTEN:
                    self._moving.append([])
                    size = 0
                self._moving[-1].append(parts)
                size += parts[0].numel()

    def __call__(self, alphas: Points) -> Losses:
        try:
            return np.array([self._losses_at(alpha) for alpha in alphas.tolist()])
        finally:
            for parameter, base, *_ in chain.from_iterable(self._moving):
                parameter.copy_(base)

    def _losses_at(self, alpha: list[float]) -> list[float]:
        for together in self._moving:
            for parameter, base, first, *others in together:
                step = alpha[0] * first
                for coordinate, vector in zip(alpha[1:], others):
                    step.add_(vector, alpha=coordinate)
                torch.add(base, step, out=parameter)
            forget(*(vector for _, _, *vectors in together for vector in vectors))
        if self._reestimates:
            reestimate_batch_norm(self._problem)
        return mean_losses(self._problem, each_batch=self._each_batch)


def _parts(tensor: Tensor) -> Sequence[Tensor]:
    """Return views of a tensor, so small that a step along a direction takes little memory."""
    held = shard_of(tensor)
    if held.numel() <= PIECE:
        return (held,)
    return torch.split(held, max(1, PIECE // held[0].numel()))


def _spans(directions: Directions) -> dict[str, Tensor]:
    """Return, for every parameter, the n directions' parts (n, …)."""
    names = directions.vectors[0]
    return {name: torch.stack([vector[name] for vector in directions.vectors]) for name in names}


class _LossModule(nn.Module):
    """The loss on a batch as a module, so that ``functional_call`` can replace its parameters."""

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.model = problem.model
        self._problem = problem

    def forward(self, batch: Any) -> Tensor:
        return batch_loss(self._problem, batch)


class _Batched:
    """Losses many at a time."""

    def __init__(
        self,
        problem: Problem,
        directions: Directions,
        bases: Mapping[str, Tensor],
        each_batch: bool,
    ) -> None:
        self._every = (problem.batches, *problem.other_batches.values())
        self._each_batch = each_batch
        module = _LossModule(problem)
        spans = _spans(directions)
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
        single: list[Losses] = []
        means = [
            self._mean_over(points, batches, single if self._each_batch and not i else None)
            for i, batches in enumerate(self._every)
        ]
        return np.stack([*means, *single], axis=1)

    def _mean_over(
        self, points: Tensor, batches: Iterable[Any], single: list[Losses] | None
    ) -> Losses:
        """Return the loss over batches, and append those on the single batches to a list."""
        total, weight = np.zeros(len(points)), 0
        for batch in batches:
            size = batch_size(batch)
            losses: Losses = as_float64(self.losses_at(points, batch)).cpu().numpy()
            if single is not None:
                single.append(losses)
            total += size * losses
            weight += size
        return total / weight


def _compile(worker: _Worker) -> _Worker:
    """Compile a batched worker."""
    from torch._inductor import config

    config.compile_threads = 1  # a pool of processes would start ParaView's program again
    # torch compiles one function at most eight times, and then runs it uncompiled
    torch.compiler.reset()
    assert isinstance(worker, _Batched)
    # the outputs of a layer lie in memory sample by sample; channels last would copy all of them
    options = {"layout_optimization": False, **compiler_options()}
    worker.losses_at = torch.compile(worker.losses_at, dynamic=False, options=options)
    return worker
