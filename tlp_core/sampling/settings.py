"""The settings of stage 2: which points, how they are evaluated, and what the run may use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tlp_core import checks
from tlp_core.atomic_files import require_folder
from tlp_core.choices import BATCH_NORMS, ENGINES, REGIONS, BatchNorm, EngineChoice, Region

GIBIBYTE = 2**30

_LEAST_NEAREST = 1e-12
"""Smallest distance beside the centre; steps are rounded long before."""

MOST_SCATTERED_DIRECTIONS = 10
"""Largest number of directions of scattered samples."""


@dataclass(frozen=True)
class GridSettings:
    """A centred grid.

    Attributes:
        resolution: number of points along each direction, odd, >= 3.
        distance: half-width of the range of α, one for all directions or one for each, > 0.
        rise: by how much the loss exceeds that of the model at the half-width of each direction,
            in units of the loss, > 0; ``distance`` is then what
            :func:`~tlp_core.sampling.rise.with_distances` finds. Default: None, a given distance.
        nearest: distance of the samples beside the centre as a fraction of the half-width, from
            1e-12 to below the even spacing; from there, distances grow by a constant factor, so
            that the centre is resolved. Default: None, even spacing.

    Raises:
        ValueError: for a value out of range.
        TypeError: for a value of the wrong type.
    """

    resolution: int = 41
    distance: float | tuple[float, ...] = 1.0
    rise: float | None = None
    nearest: float | None = None

    def __post_init__(self) -> None:
        """Check every value."""
        checks.resolution(self.resolution)
        if self.nearest is not None:
            if self.resolution < 5:
                raise ValueError(f"resolution must be >= 5 with nearest, got {self.resolution}")
            even = 2 / (self.resolution - 1)
            if not _LEAST_NEAREST <= checks.real(self.nearest, name="nearest") < even:
                raise ValueError(
                    f"nearest must be from {_LEAST_NEAREST:g} to below {even:g}, the even spacing, "
                    f"got {self.nearest:g}"
                )
        _check_distance(self.distance)
        _check_rise(self.rise)

    def shape(self, n: int) -> tuple[int, ...]:
        """Return the number of points along each of n directions, (n,)."""
        return (int(self.resolution),) * n

    def half_widths(self, n: int) -> npt.NDArray[np.float64]:
        """Return the half-width of the range of α along each of n directions, (n,).

        Raises:
            ValueError: for several distances, but not n.
        """
        return _half_widths(self.distance, n, self.rise)


@dataclass(frozen=True)
class ScatterSettings:
    """Scattered points of a scrambled Sobol sequence.

    Attributes:
        count: number of samples, >= 2; the first is the model itself.
        region: ``box`` or ``ball``.
        distance: half-width of the box, or radius of the ball; several are half-axes; > 0.
        seed: random seed of the sequence, >= 0.
        rise: as in :class:`GridSettings`.

    Raises:
        ValueError: for a value out of range.
        TypeError: for a value of the wrong type.
    """

    count: int
    region: Region = "box"
    distance: float | tuple[float, ...] = 1.0
    seed: int = 0
    rise: float | None = None

    def __post_init__(self) -> None:
        """Check every value."""
        checks.integer(self.count, name="count", minimum=2)
        checks.choice(self.region, REGIONS, name="region")
        _check_distance(self.distance)
        _check_rise(self.rise)
        checks.integer(self.seed, name="seed", minimum=0)

    def half_widths(self, n: int) -> npt.NDArray[np.float64]:
        """Return the half-width of the box, or the half-axis, along each of n directions, (n,).

        Raises:
            ValueError: for more than ten directions, or several distances, but not n.
        """
        if n > MOST_SCATTERED_DIRECTIONS:
            raise ValueError(
                f"scattered samples must have at most {MOST_SCATTERED_DIRECTIONS} directions, "
                f"got {n}"
            )
        return _half_widths(self.distance, n, self.rise)


SampleSettings = GridSettings | ScatterSettings


@dataclass(frozen=True)
class EvaluationSettings:
    """How losses are evaluated: everything here can change them, if only by rounding.

    Attributes:
        engine: ``single``, ``batched`` or ``compiled``; ``fastest`` measures which is fastest, so
            that equal runs may differ in the last digits; None chooses by the counted work.
        batch: number of samples in one call, >= 1; None chooses it as the engine.
        batch_norm: ``stored`` evaluates with the model's running statistics; ``reestimated``
            computes them from the batches at every sample, which only ``single`` can.
        batch_losses: store the losses on the single batches, too, which tell how uncertain the
            loss of each sample is. They take no further evaluations.

    Raises:
        ValueError: for a value out of range, or options that exclude each other.
        TypeError: for a value of the wrong type.
    """

    engine: EngineChoice | None = None
    batch: int | None = None
    batch_norm: BatchNorm = "stored"
    batch_losses: bool = False

    def __post_init__(self) -> None:
        """Check every value."""
        if self.engine is not None:
            checks.choice(self.engine, ENGINES, name="engine")
        checks.choice(self.batch_norm, BATCH_NORMS, name="batch_norm")
        if self.batch_norm == "reestimated":
            checks.choice(self.engine or "single", ["single"], name="engine")
        if self.batch is not None:
            checks.integer(self.batch, name="batch", minimum=1)
            checks.largest_batch(self.batch)
            one_at_a_time = self.engine == "single" or self.batch_norm == "reestimated"
            if one_at_a_time and self.batch > 1:
                raise ValueError(
                    f"batch must be 1 for engine single, got {self.batch}; use engine batched"
                )


@dataclass(frozen=True)
class RunSettings:
    """Where losses are stored, and what the run may use; losses do not depend on it.

    Attributes:
        store: path of the Zarr store; the name of a new one ends in .zarr. For a training, the
            folder of its stores. Empty keeps the losses in memory.
        time_budget: seconds after which no further chunk is started, > 0; None for no limit.
        memory_limit: bytes that evaluation may use beyond the model's own, > 0.
        part: (k, m) to evaluate the k-th of m parts only, 1 <= k <= m; None for all, or for a
            rank's part in a run of MPI or torch.
        shards: number of ranks of torch that hold one model together, each a shard of it, >= 1.

    Raises:
        ValueError: for a value out of range.
        TypeError: for a value of the wrong type.
        NotADirectoryError: for a store in a folder that is a file.
    """

    store: str = ""
    time_budget: float | None = None
    memory_limit: float = GIBIBYTE
    part: tuple[int, int] | None = None
    shards: int = 1

    def __post_init__(self) -> None:
        """Check every value."""
        checks.integer(self.shards, name="shards", minimum=1)
        if self.time_budget is not None:
            checks.positive(self.time_budget, name="time_budget")
        if self.store:
            require_folder(self.store)
        checks.positive(self.memory_limit, name="memory_limit")
        if self.part is not None:
            if not isinstance(self.part, tuple) or len(self.part) != 2:
                raise TypeError(f"part must be a pair (k, m), got {self.part!r}")
            k, m = (checks.integer(number, name="part", minimum=1) for number in self.part)
            if k > m:
                raise ValueError(f"part must be k/m with k from 1 to m, got {k}/{m}")


def distance_setting(distance: float | Sequence[float]) -> float | tuple[float, ...]:
    """Return a distance as settings hold it: one number, or a tuple of them."""
    if np.ndim(distance) == 0:
        return distance  # type: ignore[return-value]
    return tuple(distance)  # type: ignore[arg-type]


def _half_widths(
    distance: float | tuple[float, ...], n: int, rise: float | None
) -> npt.NDArray[np.float64]:
    if rise is not None and not isinstance(distance, tuple):
        raise ValueError(f"distances must be found for a rise of {rise:g} first, and are not")
    each = list(distance) if isinstance(distance, tuple) else [distance] * n
    if len(each) != n:
        raise ValueError(
            f"distance must be one number or one for each of {n} directions, got {len(each)}"
        )
    return np.array(each, dtype=np.float64)


def _check_distance(distance: float | tuple[float, ...]) -> None:
    if distance == ():
        raise ValueError("distance must be one number or one for each direction, got none")
    for one in distance if isinstance(distance, tuple) else (distance,):
        checks.positive(one, name="distance")


def _check_rise(rise: float | None) -> None:
    if rise is not None:
        checks.positive(rise, name="rise")
