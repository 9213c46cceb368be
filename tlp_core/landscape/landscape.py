"""A landscape: losses in the span of n directions, and their provenance."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core import checks
from tlp_core.landscape.store import BATCH_SIZES, LandscapeStore

NEAREST = "nearest"
"""Key of the spacing of a geometric grid in the provenance."""


@dataclass(frozen=True)
class Landscape:
    """Losses at the points of a centred grid, or at scattered points.

    Attributes:
        loss: (r_1, …, r_n) float64, C order; NaN where not evaluated, never altered elsewhere; of
            scattered samples (N,).
        distance: (n,) float64, half-width of the range of α along each direction.
        evaluated: bool, of the shape of ``loss``, False where a sample is missing.
        provenance: the provenance: problem, directions, seeds, hashes, versions; as JSON values.
        points: (N, n) float64, the coordinates α of scattered samples; None on a grid.
        other_losses: further losses at the same samples by name, such as that of another text,
            each of the shape of ``loss``.
        batch_losses: (B, …) float64, the loss on each of the B batches at each sample, with the
            shape of ``loss``; B is 0 if they were not kept. The loss is their mean, weighted by
            the batches' numbers of items.
    """

    loss: npt.NDArray[np.float64]
    distance: npt.NDArray[np.float64]
    evaluated: npt.NDArray[np.bool_]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    points: npt.NDArray[np.float64] | None = None
    other_losses: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    batch_losses: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def batch_sizes(self) -> npt.NDArray[np.float64]:
        """Number of items in each of the B batches whose losses were kept, (B,) float64."""
        return np.array(self.provenance.get(BATCH_SIZES, ()), dtype=np.float64)

    @property
    def nearest(self) -> float | None:
        """Spacing of a geometric grid, see :func:`axis_points`; None of an even one."""
        return self.provenance.get(NEAREST)

    def volumes(self) -> npt.NDArray[np.float64] | None:
        """Return the volume that each sample of a geometric grid stands for, (N,) float64.

        A sample stands for the part of the box that is nearer to it than to others along each axis;
        the outermost ones for as much outside as inside. The mean is 1. None of samples that all
        stand for the same volume.
        """
        if self.nearest is None or self.points is not None:
            return None
        widths = [_cell_widths(self.axis(i)) for i in range(len(self.shape))]
        return np.asarray(reduce(np.multiply.outer, widths).ravel())

    @property
    def number_of_directions(self) -> int:
        """Return n, the number of coordinates of each sample."""
        return len(self.distance)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of points per axis (n,); of scattered samples (N,)."""
        return self.loss.shape

    @property
    def is_complete(self) -> bool:
        """Whether every sample was evaluated."""
        return bool(self.evaluated.all())

    @property
    def center(self) -> float:
        """Loss of the sample at α = 0, the model itself; NaN if no sample lies there."""
        if self.points is not None:
            at_model = np.flatnonzero(~self.points.any(axis=1))
            return float(self.loss[at_model[0]]) if len(at_model) else float("nan")
        if not all(size % 2 for size in self.shape):
            return float("nan")
        return float(self.loss[tuple(size // 2 for size in self.shape)])

    def axis(self, i: int) -> npt.NDArray[np.float64]:
        """Return the coordinates α of the points along direction i, (r_i,) float64."""
        return axis_points(self.shape[i], self.distance[i], self.nearest)

    def coordinates(self) -> npt.NDArray[np.float64]:
        """Return the coordinates α of every sample, (N, n) float64, in the order of sample ids."""
        if self.points is not None:
            return self.points
        axes = [self.axis(i) for i in range(len(self.shape))]
        return np.stack([grid.ravel() for grid in np.meshgrid(*axes, indexing="ij")], axis=1)

    def of_loss(self, name: str) -> Landscape:
        """Return the landscape of one of the losses.

        Args:
            name: one of :attr:`other_losses`; empty for the landscape itself.

        Raises:
            ValueError: for another name.
        """
        if not name:
            return self
        if not self.other_losses:
            raise ValueError(f"the landscape must have further losses, got none and {name!r}")
        checks.choice(name, self.other_losses, name="loss")
        facts = {key: value for key, value in self.provenance.items() if key != BATCH_SIZES}
        return replace(
            self,
            loss=self.other_losses[name],
            other_losses={},
            batch_losses=np.empty(0),
            provenance=facts,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a Zarr v3 group, atomically.

        Raises:
            FileExistsError: if ``path`` exists.
            ValueError: if its name does not end in .zarr.
        """
        LandscapeStore.write_all(
            path,
            self.loss,
            self.evaluated,
            self.distance,
            self.provenance,
            self.points,
            self.other_losses,
            list(self.batch_losses),
        )

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, skip_damaged: bool = False) -> Landscape:
        """Read a landscape, complete or not.

        Args:
            path: folder of the landscape.
            skip_damaged: treat damaged chunks as missing, with a warning.

        Raises:
            FileNotFoundError: if ``path`` does not exist.
            ValueError: if it is not a landscape, or a chunk is damaged.
        """
        return cls.from_store(LandscapeStore.open(path), skip_damaged=skip_damaged)

    @classmethod
    def from_store(cls, store: LandscapeStore, *, skip_damaged: bool = False) -> Landscape:
        """Return what a store holds now; the arguments are those of :meth:`open`.

        Raises:
            ValueError: if a chunk is damaged.
        """
        loss, evaluated = store.read(skip_damaged=skip_damaged)
        return cls(
            loss,
            store.distance,
            evaluated,
            store.provenance,
            store.points,
            store.read_others(evaluated),
            store.read_batches(evaluated),
        )


def axis_points(
    size: int, distance: float, nearest: float | None = None
) -> npt.NDArray[np.float64]:
    """Return points from -distance to +distance, (size,) float64; the middle is exactly zero.

    Args:
        size: number of points, odd for a point in the middle.
        distance: half-width.
        nearest: distance of the points beside the middle, as a fraction of the half-width; from
            there, distances grow by a constant factor. Default: None, even spacing.
    """
    if nearest is not None:
        side = distance * np.geomspace(nearest, 1.0, size // 2)
        side[-1] = distance
        return np.concatenate([-side[::-1], [0.0], side])
    steps = 2 * np.arange(size, dtype=np.float64) - (size - 1)
    return np.asarray(distance * steps / max(size - 1, 1))


def _cell_widths(axis: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the length that each point of an axis stands for, with mean 1."""
    gaps = np.diff(axis)
    widths = (np.append(gaps[0], gaps) + np.append(gaps, gaps[-1])) / 2
    return np.asarray(widths / widths.mean())
