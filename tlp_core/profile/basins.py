"""The records of basins and critical points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Basins:
    """The basins of a profile. Basin b belongs to arc b of the merge tree.

    The polygon of a basin is described by steps from bottom to top. A step is a height and the
    width of the basin there; it is centred at ``center``. The arrays ``step_*`` hold the steps of
    all basins. Basin b has the steps ``step_start[b]`` to ``step_start[b + 1] - 1``.

    Attributes:
        parent: (A,) int64, the basin that contains each basin; -1 for an outermost basin.
        minimum: (A,) int64, sample id of the lowest sample.
        saddle: (A,) int64, sample id of the upper node: the saddle where the basin meets its
            siblings, or the root.
        birth: (A,) float64, level of the minimum, in units of the loss.
        death: (A,) float64, level of the upper node, in units of the loss.
        persistence: (A,) float64, death - birth, which is the depth of the basin.
        size: (A,) int64, number of samples, 1 to N.
        average_loss: (A,) float64, mean loss of all samples; a non-finite loss counts as the
            largest finite loss.
        nesting_depth: (A,) int64, number of basins that contain each basin.
        center: (A,) float64, x of the middle, from 0 to the total width of the profile.
        step_start: (A + 1,) int64, index of the first step of each basin, and R.
        step_height: (R,) float64, height of each step, in units of the loss.
        step_width: (R,) float64, width of each step: in samples, 0 to N, or a fraction of the
            total width if the profile is drawn with ``degree`` > 1.
    """

    parent: npt.NDArray[np.int64]
    minimum: npt.NDArray[np.int64]
    saddle: npt.NDArray[np.int64]
    birth: npt.NDArray[np.float64]
    death: npt.NDArray[np.float64]
    persistence: npt.NDArray[np.float64]
    size: npt.NDArray[np.int64]
    average_loss: npt.NDArray[np.float64]
    nesting_depth: npt.NDArray[np.int64]
    center: npt.NDArray[np.float64]
    step_start: npt.NDArray[np.int64]
    step_height: npt.NDArray[np.float64]
    step_width: npt.NDArray[np.float64]

    def __len__(self) -> int:
        """Return A, the number of basins."""
        return len(self.size)

    @property
    def top_width(self) -> npt.NDArray[np.float64]:
        """Width of each basin where it meets its siblings, (A,) float64."""
        return np.asarray(self.step_width[self.step_start[1:] - 1])

    @property
    def floor(self) -> npt.NDArray[np.float64]:
        """Level of the lower node of each basin: a minimum, or where its children meet, (A,)."""
        return np.asarray(self.step_height[self.step_start[:-1]])


@dataclass(frozen=True)
class CriticalPoints:
    """The critical points of a profile.

    A minimum is at the bottom of its basin. A saddle is at the junction of two neighbouring
    children, so a saddle with k children is listed k - 1 times.

    Attributes:
        sample: (C,) int64, sample id.
        type: (C,) uint8, ``CriticalType``. The root is listed only if it joins several basins.
        x: (C,) float64, from 0 to the total width of the profile.
        height: (C,) float64, in units of the loss.
        persistence: (C,) float64, persistence of the branch of the minimum, or of the most
            persistent branch that dies at the saddle.
        basin: (C,) int64, the basin to which the sample belongs.
    """

    sample: npt.NDArray[np.int64]
    type: npt.NDArray[np.uint8]
    x: npt.NDArray[np.float64]
    height: npt.NDArray[np.float64]
    persistence: npt.NDArray[np.float64]
    basin: npt.NDArray[np.int64]
