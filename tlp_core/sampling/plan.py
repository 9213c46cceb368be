"""The samples of a landscape before they are evaluated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core.landscape.landscape import axis_points
from tlp_core.landscape.store import Chunk

_TRIAL_POINTS = 64
"""Number of samples at which engines are measured."""

RISE = "rise"
"""Key of the rise of the loss that has decided the half-widths."""


def rise_provenance(rise: float | None) -> dict[str, float]:
    """Return the provenance of half-widths that a rise of the loss has decided, if one has."""
    return {} if rise is None else {RISE: rise}


@dataclass(frozen=True)
class Plan:
    """The samples to evaluate.

    Attributes:
        shape: number of points per axis (n,); of scattered samples (N,).
        distances: (n,) float64, half-width of the range of α along each direction.
        points: (N, n) float64, coordinates of scattered samples; None on a grid.
        provenance: how scattered samples were drawn and half-widths were chosen, for the
            provenance.
        nearest: spacing of a geometric grid, see
            :func:`~tlp_core.landscape.landscape.axis_points`; None of an even one.
    """

    shape: tuple[int, ...]
    distances: npt.NDArray[np.float64]
    points: npt.NDArray[np.float64] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    nearest: float | None = None

    @property
    def number_of_samples(self) -> int:
        """N, the number of samples."""
        return math.prod(self.shape)  # may exceed 64 bits

    @cached_property
    def axes(self) -> list[npt.NDArray[np.float64]]:
        """Coordinates along each direction of a grid, n arrays (r_i,) float64."""
        return [axis_points(size, d, self.nearest) for size, d in zip(self.shape, self.distances)]

    def alphas(self, chunk: Chunk) -> npt.NDArray[np.float64]:
        """Return the coordinates of a chunk's samples, (m, n) float64."""
        if self.points is not None:
            return self.points[chunk[0]]
        return np.array(list(product(*[axis[part] for axis, part in zip(self.axes, chunk)])))

    def steps(self) -> npt.NDArray[np.float64]:
        """Return the distance between neighbouring samples along each direction, (n,) float64.

        Of a geometric grid it is the smallest one, and for scattered samples that of a grid with as
        many points.
        """
        if self.nearest is not None:
            return self.nearest * self.distances
        n = len(self.distances)
        sizes = np.array(self.shape) if self.points is None else len(self.points) ** (1 / n)
        return np.asarray(2 * self.distances / (sizes - 1))

    def trial(self) -> npt.NDArray[np.float64]:
        """Return samples from all over the landscape to measure engines at, (m, n) float64."""
        rng = np.random.default_rng(0)
        if self.points is not None:
            return rng.choice(self.points, _TRIAL_POINTS)
        return np.stack([rng.choice(axis, _TRIAL_POINTS) for axis in self.axes], axis=1)
