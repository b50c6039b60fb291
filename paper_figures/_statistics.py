"""Intervals that several figures need."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from scipy import stats

from fenchel.core.checks import FloatArray


def interval(values: npt.ArrayLike) -> tuple[float, float, float]:
    """Mean of independent values (n,), with its 95 % interval (Student): of one value, all."""
    each = np.asarray(values, dtype=float)
    mean, n = float(each.mean()), len(each)
    if n == 1:
        return mean, -np.inf, np.inf
    half = float(stats.t.ppf(0.975, n - 1) * each.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def bars(values: Iterable[npt.ArrayLike]) -> tuple[FloatArray, FloatArray]:
    """Means of k samples, (k,), and lengths below and above them for errorbar, (2, k).

    The lengths are those of `interval`; 0 where a sample is of one value.
    """
    middle, low, high = np.array([interval(each) for each in values]).T
    return middle, np.where(np.isfinite(low), [middle - low, high - middle], 0.0)


def bootstrap(values: npt.ArrayLike) -> tuple[float, float, float]:
    """Mean of independent values (n,), with its 95 % bootstrap interval (percentiles of 10,000).

    Of one value, all. With five it holds the mean less often than 95 %, in about 85 %.
    """
    each = np.asarray(values, dtype=float)
    if len(each) == 1:
        return float(each[0]), -np.inf, np.inf
    draws = np.random.default_rng(0).integers(len(each), size=(10_000, len(each)))
    low, high = np.quantile(each[draws].mean(axis=1), [0.025, 0.975])
    return float(each.mean()), float(low), float(high)
