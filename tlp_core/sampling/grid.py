"""The loss on a centred grid.

Every sample starts from θ*, never from the sample before, so rounding does not accumulate, and the
value at the centre is the model's loss to the last bit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tlp_core.choices import BatchNorm, EngineChoice
from tlp_core.directions.base import Directions
from tlp_core.landscape.landscape import NEAREST, Landscape
from tlp_core.landscape.store import LandscapeStore
from tlp_core.problem import Problem
from tlp_core.progress import Progress, silent
from tlp_core.sampling.chunks import ShouldStop, measure_engines, sample_plan
from tlp_core.sampling.partition import Part
from tlp_core.sampling.plan import Plan, rise_provenance
from tlp_core.sampling.resources import check_memory
from tlp_core.sampling.settings import (
    GIBIBYTE,
    EvaluationSettings,
    GridSettings,
    RunSettings,
    distance_setting,
)


def sample_grid(
    problem: Problem,
    directions: Directions,
    *,
    resolution: int,
    distance: float | Sequence[float],
    store: str | os.PathLike[str] | LandscapeStore | None = None,
    reuse: Landscape | None = None,
    engine: EngineChoice | None = None,
    batch: int | None = None,
    memory_limit: float = GIBIBYTE,
    batch_norm: BatchNorm = "stored",
    time_budget: float | None = None,
    part: Part | None = None,
    progress: Progress = silent,
    should_stop: ShouldStop = lambda: False,
) -> Landscape:
    """Return the loss on a centred grid in the span of the directions.

    Args:
        problem: model, loss and batches; evaluated in evaluation mode.
        directions: n directions, as :func:`~tlp_core.hessian_directions` makes them.
        resolution: number of points along each direction, odd, >= 3.
        distance: half-width of the range of α, one for all directions or one for each, > 0. (Older
            codes mean the full width.)
        store: path of a Zarr store, NAME.zarr, that receives every chunk when it is evaluated; an
            existing store is resumed. None keeps the losses in memory.
        reuse: a landscape of the same problem and directions whose samples are reused where their
            coordinates are those of the grid, such as one of half the resolution.
        engine: ``single``, ``batched`` or ``compiled`` (see :mod:`tlp_core.sampling.engines`), or
            ``fastest``, which measures them; default: chosen by the counted work of one evaluation,
            so that equal runs give equal bytes. The store records the engine.
        batch: number of samples in one call, >= 1; default: chosen as the engine.
        memory_limit: bytes that evaluation may use beyond the model's own, > 0.
        batch_norm: ``stored`` evaluates with the model's running statistics; ``reestimated``
            computes them from the batches at every sample (engine ``single`` only), so that the
            centre is the loss with re-estimated statistics.
        time_budget: seconds after which no further chunk is started, > 0; None for no limit.
        part: which chunks this process evaluates; default: all.
        progress: called with the fraction done, 0 to 1, and a text with the remaining time.
        should_stop: called before each further chunk.

    Returns:
        The landscape. If the budget was spent, a stop was requested, or other processes have not
        finished, missing samples are marked, and a warning gives their number.

    Raises:
        ValueError: for an option out of range, a store or landscape that belongs to another
            problem (the difference is named), or an engine other than the store's.
        TypeError: for an option of the wrong type.
        LossError: for a loss that fails, is not scalar, not finite at the centre, not
            deterministic, or does not depend on the parameters.
        RuntimeError: if the requested engine cannot evaluate this loss.
    """
    samples = GridSettings(resolution, distance_setting(distance))
    return sample_plan(
        problem,
        directions,
        grid_plan(samples, len(directions)),
        EvaluationSettings(engine, batch, batch_norm),
        RunSettings(time_budget=time_budget, memory_limit=memory_limit),
        store=store,
        reuse=reuse,
        part=part,
        progress=progress,
        should_stop=should_stop,
    )


def grid_plan(samples: GridSettings, n: int) -> Plan:
    """Return the samples of a grid in n directions.

    Raises:
        ValueError: for several distances, but not n, or more samples than fit into memory.
    """
    provenance = rise_provenance(samples.rise)
    if samples.nearest is not None:
        provenance[NEAREST] = samples.nearest
    plan = Plan(
        samples.shape(n), samples.half_widths(n), provenance=provenance, nearest=samples.nearest
    )
    check_memory(plan.number_of_samples)
    return plan


def estimate_grid_seconds(
    problem: Problem,
    directions: Directions,
    samples: GridSettings,
    evaluation: EvaluationSettings,
) -> float:
    """Return how many seconds :func:`sample_grid` would take here, measured at a few samples.

    Raises:
        ValueError, LossError, RuntimeError: as :func:`sample_grid`.
    """
    plan = grid_plan(samples, len(directions))
    return measure_engines(problem, directions, plan, evaluation) * plan.number_of_samples
