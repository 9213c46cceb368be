"""Stage 2: the loss on a grid in the span of the directions.

A sample at coordinates α is the loss at θ(α) = θ* + Σ α_i d_i. Parameters are set from θ* for every
sample, never stepped from the last one, so errors do not add up and the centre is the model itself
to the last bit.
"""

from __future__ import annotations

import os
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import tlp_core
from tlp_core import checks
from tlp_core.directions import Directions
from tlp_core.landscape import Landscape, axis_points
from tlp_core.landscape_store import Chunk, LandscapeStore
from tlp_core.parameters import (
    fitting_threads,
    parameter_norm,
    state_digest,
    trainable_parameters,
    undisturbed,
)
from tlp_core.problem import Problem, batches_digest, check_center, mean_loss
from tlp_core.progress import Progress, silent, time_left

ShouldStop = Callable[[], bool]


def sample_grid(
    problem: Problem,
    directions: Directions,
    *,
    resolution: int,
    distance: float | Sequence[float],
    store: str | os.PathLike[str] | LandscapeStore | None = None,
    time_budget: float | None = None,
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
        time_budget: seconds after which no further chunk is begun; None for no limit.
        progress: called with the share done, 0 to 1, and a text that tells the time left.
        should_stop: asked before each further chunk.

    Returns:
        The landscape. Where the budget was spent or a stop was asked for, the samples that are
        missing are marked, and a warning tells how many there are.

    Raises:
        ValueError: for a resolution that is even or too small, a distance that is not positive,
            or a store that belongs to another landscape (the difference is named).
        LossError: for a loss that fails, is not scalar, not finite at the centre, or does not
            depend on the parameters.
    """
    shape, distances = _grid(resolution, distance, len(directions))
    with undisturbed(problem.model), fitting_threads(problem.model):
        problem.model.eval()
        check_center(problem)
        if store is None:
            store = memory_store(problem, directions, resolution=resolution, distance=distance)
        elif not isinstance(store, LandscapeStore):
            facts = landscape_facts(problem, directions)
            store = LandscapeStore.create_or_resume(store, shape, distances, facts)
        _fill(store, problem, directions, _Clock(time_budget, should_stop), progress)
    landscape = Landscape.from_store(store)
    if not landscape.is_complete:
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
) -> LandscapeStore:
    """Return an empty store in memory, for a :func:`sample_grid` that may be gone on with."""
    shape, distances = _grid(resolution, distance, len(directions))
    return LandscapeStore.in_memory(shape, distances, landscape_facts(problem, directions))


def landscape_facts(problem: Problem, directions: Directions) -> dict[str, Any]:
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
        "parameter_norm": parameter_norm(problem.model),
        "checkpoint_hash": state_digest(problem.model),
        "batch_hash": batches_digest(problem),
        "directions_hash": directions.digest(),
        "dtype": str(parameter.dtype).removeprefix("torch."),
        "device": parameter.device.type,
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


def _fill(
    store: LandscapeStore,
    problem: Problem,
    directions: Directions,
    clock: _Clock,
    progress: Progress,
) -> None:
    """Evaluate the chunks that the store lacks."""
    axes = [axis_points(size, d) for size, d in zip(store.shape, store.distance)]
    waiting = [chunk for chunk in store.chunks() if not store.is_done(chunk)]
    total = int(np.prod(store.shape))
    missing = sum(_size(chunk) for chunk in waiting)
    done = 0
    with _loss_at(problem, directions) as loss_at:
        for chunk in waiting:
            if done and clock.is_over():
                return  # after one chunk at least, so that any budget gets on
            store.write(chunk, _chunk_losses(loss_at, axes, chunk))
            done += _size(chunk)
            left = clock.spent() / done * (missing - done)
            progress(
                1 - (missing - done) / total,
                f"sampled {total - missing + done:,} of {total:,}, {time_left(left)} left",
            )


def _size(chunk: Chunk) -> int:
    return int(np.prod([s.stop - s.start for s in chunk]))


def _chunk_losses(
    loss_at: Callable[[Sequence[float]], float], axes: list[npt.NDArray[np.float64]], chunk: Chunk
) -> npt.NDArray[np.float64]:
    places = [axis[part] for axis, part in zip(axes, chunk)]
    losses = [loss_at(alpha) for alpha in product(*places)]
    return np.array(losses).reshape([len(part) for part in places])


@contextmanager
def _loss_at(
    problem: Problem, directions: Directions
) -> Iterator[Callable[[Sequence[float]], float]]:
    """Yield the loss as a function of α, which sets the model's parameters in place.

    Parameters need no gradient here, but gradients stay on: a loss may take derivatives in its
    inputs.
    """
    parameters = trainable_parameters(problem.model)
    bases = [p.detach().clone() for p in parameters.values()]
    spans = [torch.stack([d[name] for d in directions.vectors]) for name in parameters]
    for parameter in parameters.values():
        parameter.requires_grad_(False)

    def loss_at(alpha: Sequence[float]) -> float:
        for parameter, base, span in zip(parameters.values(), bases, spans):
            step = torch.tensor(alpha, dtype=span.dtype, device=span.device)
            torch.add(base, torch.tensordot(step, span, 1), out=parameter.data)
        return mean_loss(problem)

    yield loss_at


def _or_none(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
