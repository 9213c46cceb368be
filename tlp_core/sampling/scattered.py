"""The loss at scattered points, for up to ten directions, where a grid has too many points."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from tlp_core.choices import BatchNorm, EngineChoice, Region
from tlp_core.directions.base import Directions
from tlp_core.landscape.landscape import Landscape
from tlp_core.landscape.store import LandscapeStore
from tlp_core.problem import Problem
from tlp_core.progress import Progress, silent
from tlp_core.sampling.chunks import ShouldStop, sample_plan
from tlp_core.sampling.partition import Part
from tlp_core.sampling.plan import Plan, rise_provenance
from tlp_core.sampling.settings import (
    GIBIBYTE,
    EvaluationSettings,
    RunSettings,
    ScatterSettings,
    distance_setting,
)

_TINY = 1e-12
"""Distance from 0 and 1 of the probabilities whose normal quantiles are finite."""


def sample_scattered(
    problem: Problem,
    directions: Directions,
    *,
    count: int,
    distance: float | Sequence[float],
    region: Region = "box",
    seed: int = 0,
    store: str | os.PathLike[str] | LandscapeStore | None = None,
    engine: EngineChoice | None = None,
    batch: int | None = None,
    memory_limit: float = GIBIBYTE,
    batch_norm: BatchNorm = "stored",
    time_budget: float | None = None,
    part: Part | None = None,
    progress: Progress = silent,
    should_stop: ShouldStop = lambda: False,
) -> Landscape:
    """Return the loss at scattered points in the span of the directions.

    Their neighbours are those of :func:`~tlp_core.knn_graph`.

    Args:
        problem: as in :func:`~tlp_core.sample_grid`, and so are all options without a text here.
        directions: n directions, n <= 10.
        count: number of samples, >= 2; the first is the model itself.
        distance: half-width of the box, or radius of the ball (half-axes, if several), > 0.
        region: ``box`` or ``ball``.
        seed: random seed, >= 0, of the scrambled Sobol sequence (Owen 1998, "Scrambling Sobol' and
            Niederreiter-Xing points"), which fills the region evenly; a longer sequence begins with
            the shorter.
        store: as in :func:`~tlp_core.sample_grid`.
        engine: as in :func:`~tlp_core.sample_grid`.
        batch: as in :func:`~tlp_core.sample_grid`.
        memory_limit: as in :func:`~tlp_core.sample_grid`.
        batch_norm: as in :func:`~tlp_core.sample_grid`.
        time_budget: as in :func:`~tlp_core.sample_grid`.
        part: as in :func:`~tlp_core.sample_grid`.
        progress: as in :func:`~tlp_core.sample_grid`.
        should_stop: as in :func:`~tlp_core.sample_grid`.

    Returns:
        The landscape, with ``points`` (count, n).

    Raises:
        ValueError: for more than ten directions or fewer than two samples, and as
            :func:`~tlp_core.sample_grid`.
        TypeError, LossError, RuntimeError: as :func:`~tlp_core.sample_grid`.
    """
    samples = ScatterSettings(count, region, distance_setting(distance), seed)
    return sample_plan(
        problem,
        directions,
        scatter_plan(samples, len(directions)),
        EvaluationSettings(engine, batch, batch_norm),
        RunSettings(time_budget=time_budget, memory_limit=memory_limit),
        store=store,
        part=part,
        progress=progress,
        should_stop=should_stop,
    )


def scatter_plan(samples: ScatterSettings, n: int) -> Plan:
    """Return scattered samples in n directions.

    Raises:
        ValueError: for more than ten directions, or several distances, but not n.
    """
    distances = samples.half_widths(n)
    points = _sobol(samples.count, n, samples.region, samples.seed) * distances
    drawn = {"region": samples.region, "points_seed": samples.seed}
    return Plan((samples.count,), distances, points, {**drawn, **rise_provenance(samples.rise)})


def _sobol(count: int, n: int, region: Region, seed: int) -> npt.NDArray[np.float64]:
    """Return points (count, n) in the unit box [-1, 1]^n or ball; the first is its centre."""
    from scipy.stats import qmc  # takes a quarter of a second, which grids need not wait for

    axes = n if region == "box" else n + 1
    sequence = qmc.Sobol(axes, scramble=True, seed=seed)
    even = sequence.random_base2(int(np.ceil(np.log2(count))))[: count - 1]
    if region == "box":
        points = 2 * even - 1
    else:
        towards = ndtri(np.clip(even[:, :n], _TINY, 1 - _TINY))
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        points = towards * even[:, n:] ** (1 / n)
    return np.vstack([np.zeros(n), points])
