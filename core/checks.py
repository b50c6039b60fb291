"""Argument checks at the public door: errors name the argument, its value and a remedy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, overload

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


def integer(value: Any, name: str, *, minimum: int | None = None) -> int:
    """`value` as an int, at least `minimum`.

    Raises:
        TypeError: `value` is not an integer (True and False are refused, 3.0 too).
        ValueError: `value` is below `minimum`.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}; pass an int")
    if minimum is not None and value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}; pass a larger integer")
    return int(value)


def real(
    value: Any,
    name: str,
    *,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """`value` as a finite float in the open interval (above, below).

    Raises:
        TypeError: `value` is not a real number.
        ValueError: `value` is not finite or lies outside the interval.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number, got {value!r}; pass a float")
    number = float(value)
    if not (math.isfinite(number) and above < number < below):
        raise ValueError(
            f"{name} must be a finite number in ({above:g}, {below:g}), got {number}; "
            "pass a value inside"
        )
    return number


@overload
def positive(value: Any, name: str) -> float: ...
@overload
def positive(value: Any, name: str, *, optional: bool) -> float | None: ...
def positive(value: Any, name: str, *, optional: bool = False) -> float | None:
    """`value` as a finite float above zero; None passes where it is `optional`."""
    if value is None and optional:
        return None
    return real(value, name, above=0.0)


def nonnegative(value: Any, name: str) -> float:
    """`value` as a finite float of at least zero."""
    number = real(value, name)
    if number < 0:
        raise ValueError(f"{name} must be at least 0, got {number:g}; pass 0 or more")
    return number


def array(
    value: Any,
    name: str,
    *,
    shape: Sequence[int | None] | None = None,
    low: float = -math.inf,
    high: float = math.inf,
) -> FloatArray:
    """`value` as a finite float64 array with entries in [low, high].

    Args:
        value: anything that numpy turns into an array of real numbers.
        name: the argument's name, for the message.
        shape: the required shape; None stands for any length of that axis. No shape: any.
        low: least value allowed.
        high: greatest value allowed.

    Raises:
        TypeError: not an array of real numbers.
        ValueError: wrong shape, a non-finite entry, or an entry outside [low, high]; the message
            gives the first such entry and its index.
    """
    try:
        given = np.asarray(value)
    except ValueError as error:  # ragged
        raise TypeError(f"{name} must be an array of real numbers ({error})") from None
    if given.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array of real numbers, got {value!r:.80}; convert it")
    result = given.astype(np.float64, copy=False)
    if shape is not None and (
        result.ndim != len(shape)
        or any(n is not None and n != m for n, m in zip(shape, result.shape, strict=True))
    ):
        wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
        raise ValueError(f"{name} must have shape {wanted}, got {result.shape}; reshape it")
    outside = ~((result >= low) & (result <= high) & np.isfinite(result))  # nan is outside too
    if outside.any():
        index = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(
            f"{name} must be finite and in [{low:g}, {high:g}], got {result[index]} at index "
            f"{index}; rescale or clean it"
        )
    return result
