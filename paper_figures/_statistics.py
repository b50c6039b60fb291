"""Intervals that several figures need."""

import numpy as np
import numpy.typing as npt
from scipy import stats


def interval(values: npt.ArrayLike) -> tuple[float, float, float]:
    """Mean of independent values (n,), n >= 2, with its 95 % interval (Student)."""
    each = np.asarray(values, dtype=float)
    mean, n = float(each.mean()), len(each)
    half = float(stats.t.ppf(0.975, n - 1) * each.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def difference(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]
) -> tuple[float, float, float]:
    """Mean of first less second over seeds, which they share, with its 95 % interval."""
    if len(first) == 1:
        gap = float(first[0] - second[0])
        return gap, -np.inf, np.inf
    return interval(first - second)
