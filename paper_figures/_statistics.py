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
