"""Intervals that several figures need."""

import numpy as np
import numpy.typing as npt
from scipy import stats


def interval(values: npt.ArrayLike) -> tuple[float, float, float]:
    """Mean of independent values (n,), with its 95 % interval (Student): of one value, all."""
    each = np.asarray(values, dtype=float)
    mean, n = float(each.mean()), len(each)
    if n == 1:
        return mean, -np.inf, np.inf
    half = float(stats.t.ppf(0.975, n - 1) * each.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half
