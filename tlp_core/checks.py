"""Checks of arguments. Public functions call them first.

Each message gives the rule, then the value that was passed, then the way out. ``name`` is the name
of the argument in the message.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt


def integer(value: object, *, name: str, minimum: int | None = None) -> int:
    """Return ``value`` as an int.

    Args:
        value: the argument.
        name: its name in the message.
        minimum: smallest allowed value. Default: no limit.

    Raises:
        TypeError: if the value is not an integer.
        ValueError: if the value is below ``minimum``.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if minimum is not None and number < minimum:
        raise ValueError(f"{name} must be >= {minimum}, got {number}")
    return number


def boolean(value: object, *, name: str) -> bool:
    """Return ``value`` if it is True or False.

    Text is rejected, because any non-empty text, such as ``no``, counts as true.

    Raises:
        TypeError: if the value is neither True nor False.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return value


def positive(value: object, *, name: str) -> float:
    """Return ``value`` as a finite float > 0.

    Raises:
        TypeError: if the value is not a number.
        ValueError: if the value is not finite or not > 0.
    """
    number = real(value, name=name)
    if not number > 0:
        raise ValueError(f"{name} must be > 0, got {number:g}")
    return number


def non_negative(value: object, *, name: str) -> float:
    """Return ``value`` as a finite float >= 0.

    Raises:
        TypeError: if the value is not a number.
        ValueError: if the value is not finite or negative.
    """
    number = real(value, name=name)
    if number < 0:
        raise ValueError(f"{name} must be >= 0, got {number:g}")
    return number


def real(value: object, *, name: str) -> float:
    """Return ``value`` as a finite float.

    Raises:
        TypeError: if the value is not a number.
        ValueError: if the value is not finite.
    """
    try:
        number = float(None if isinstance(value, (str, bytes)) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {value!r}") from None
    if not np.isfinite(number):
        raise ValueError(f"{name} must be finite, got {number}")
    return number


def choice(value: str, choices: Iterable[str], *, name: str) -> str:
    """Return ``value`` if it is one of ``choices``.

    Raises:
        ValueError: if the value is not one of the choices.
    """
    allowed = list(choices)
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def resolution(value: object) -> int:
    """Return ``value`` as an odd number of points >= 3.

    An odd resolution has a centre sample, which is the model itself.

    Raises:
        TypeError: if the value is not an integer.
        ValueError: if the value is even or below 3.
    """
    number = integer(value, name="resolution")
    if number < 3:
        raise ValueError(f"resolution must be odd and >= 3, got {number}; use 3 or more")
    if number % 2 == 0:
        raise ValueError(
            f"resolution must be odd, so that the centre sample is the model itself, got {number}; "
            f"use {number - 1} or {number + 1}"
        )
    return number


def grid_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the number of points per axis as a tuple of ints (n,).

    Raises:
        TypeError: if a size is not an integer.
        ValueError: if a size is below 1, or the grid has fewer than two samples.
    """
    sizes = tuple(integer(size, name="each size in shape", minimum=1) for size in shape)
    if not sizes or np.prod(sizes, dtype=np.float64) < 2:
        raise ValueError(f"shape must have at least two samples, got {sizes}")
    return sizes


def points(value: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return coordinates as float64 of shape (N, n), N >= 2.

    Raises:
        ValueError: if the shape is different or a coordinate is not finite.
    """
    array = np.asarray(value, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] < 1:
        raise ValueError(f"points must have shape (N, n) with N >= 2, got {array.shape}")
    if not np.isfinite(array).all():
        first = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise ValueError(f"points must be finite, got {array[first]} at point {first}")
    return array


def edges(value: npt.ArrayLike, *, number_of_samples: int) -> npt.NDArray[np.int64]:
    """Return edges as int64 of shape (E, 2), whose ends are sample ids.

    Raises:
        ValueError: if the edges are not integers of this shape, or an end is not a sample id from 0
            to ``number_of_samples`` - 1.
    """
    array = np.asarray(value)
    if array.ndim != 2 or array.shape[1] != 2 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"edges must be integers of shape (E, 2), got {array.dtype} of shape {array.shape}"
        )
    if array.size and (array.min() < 0 or array.max() >= number_of_samples):
        raise ValueError(
            f"edges must join samples 0 to {number_of_samples - 1}, "
            f"got ids from {array.min()} to {array.max()}"
        )
    return np.ascontiguousarray(array, dtype=np.int64)


MOST_SAMPLES_IN_A_CALL = 2**16
"""Batches of more samples are never faster."""


def largest_batch(batch: int) -> None:
    """Check the number of samples in one call.

    Raises:
        ValueError: if it is above 65,536.
    """
    if batch > MOST_SAMPLES_IN_A_CALL:
        raise ValueError(f"batch must be at most {MOST_SAMPLES_IN_A_CALL}, got {batch}")
