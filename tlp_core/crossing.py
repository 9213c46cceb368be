"""Search for a distance at which a condition changes, by brackets and bisection."""

from __future__ import annotations

import math
from collections.abc import Callable

_FACTOR = 4.0
"""Ratio of two distances of the search for a bracket."""


def crossing(
    exceeds: Callable[[float], bool], *, first: float, tolerance: float, most: int
) -> tuple[float, int]:
    """Return a distance from which on a condition holds, and the number of trials.

    Distances grow or shrink by a factor of four until the condition holds at one and not at another
    one, and the bracket is bisected. The distance is the smallest one that was found, which is not
    the smallest one of all if the condition changes several times.

    Args:
        exceeds: the condition, as a function of the distance.
        first: first distance to try, > 0.
        tolerance: relative width of the last bracket, > 0.
        most: largest number of trials.

    Returns:
        The upper end of the last bracket, and the number of trials. The end is infinite if the
        condition never held, or always.
    """
    low, high, trials = 0.0, math.inf, 0
    distance = first
    while trials < most and not (high < math.inf and low > 0 and high / low <= 1 + tolerance):
        trials += 1
        if exceeds(distance):
            high = distance
        else:
            low = distance
        if high == math.inf:
            distance = low * _FACTOR
        elif low == 0:
            distance = high / _FACTOR
        else:
            distance = math.sqrt(low * high)
    return (high if low > 0 else math.inf), trials
