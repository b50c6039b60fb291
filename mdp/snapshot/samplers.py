"""Which snapshot an episode starts from.

    uniform     each of the bank alike: where the teacher was most
    clusters    a level of value first, each alike, then a snapshot of it ("status classification")
    scheduled   with probability p, which may change with the resets, otherwise the usual start

Levels are clusters of the teacher's values, by k-means on the line: contiguous in sorted order, so
that dynamic programming finds the best, min over cuts of Σ_c Σ_{i ∈ c} (v_i − mean_c)².

Reference:
    Zhao et al. 2024; its code takes Lloyd's algorithm, once from a random start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numba
import numpy as np

from ...core import checks
from ...core.checks import FloatArray, IntArray
from .bank import SnapshotBank
from .snapshots import Snapshot


class Sampler(Protocol):
    """Draws where an episode starts."""

    def sample(self, rng: np.random.Generator) -> Snapshot | None:
        """A snapshot; None: the usual start of the environment."""


class UniformSampler:
    """Each snapshot of a bank alike."""

    def __init__(self, bank: Sequence[Snapshot]) -> None:
        self.bank = bank if isinstance(bank, SnapshotBank) else SnapshotBank(bank)

    def sample(self, rng: np.random.Generator) -> Snapshot | None:
        """A snapshot."""
        found: Snapshot = self.bank[int(rng.integers(len(self.bank)))]
        return found


class ClusterSampler:
    """A level of value, each alike, then a snapshot of it.

    Args:
        bank: with values in its meta, unless `values` are given.
        n_clusters: C; at most as many as there are different values.
        values: of the snapshots, (n,).

    Attributes:
        clusters: indices of each level, from low values to high.
    """

    def __init__(
        self,
        bank: Sequence[Snapshot],
        n_clusters: int = 6,
        *,
        values: Sequence[float] | FloatArray | None = None,
    ) -> None:
        self.bank = bank if isinstance(bank, SnapshotBank) else SnapshotBank(bank)
        checks.integer(n_clusters, "n_clusters", minimum=1)
        found = self.bank.values() if values is None else checks.array(values, "values")
        found = checks.array(found, "values", shape=(len(self.bank),))
        labels = k_means(found, n_clusters)
        self.clusters = [np.flatnonzero(labels == c) for c in range(int(labels.max()) + 1)]

    def sample(self, rng: np.random.Generator) -> Snapshot | None:
        """A snapshot."""
        cluster = self.clusters[int(rng.integers(len(self.clusters)))]
        found: Snapshot = self.bank[int(cluster[rng.integers(len(cluster))])]
        return found


class ScheduledSampler:
    """Another sampler with a probability that may change, otherwise the usual start.

    Args:
        sampler: of snapshots.
        probability: of taking it, or a function of the number of draws before.
    """

    def __init__(self, sampler: Sampler, probability: float | Callable[[int], float]) -> None:
        self.sampler, self.probability, self.n_draws = sampler, probability, 0

    def sample(self, rng: np.random.Generator) -> Snapshot | None:
        """A snapshot, or None."""
        p = self.probability(self.n_draws) if callable(self.probability) else self.probability
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"probability must be in [0, 1], got {p} at draw {self.n_draws}")
        self.n_draws += 1
        return self.sampler.sample(rng) if rng.random() < p else None


def k_means(values: FloatArray, n_clusters: int) -> IntArray:
    """Labels of the best clusters on the line, from low to high, (n,).

    Args:
        values: (n,).
        n_clusters: at most; there are no more than different values.
    """
    order = np.argsort(values, kind="stable")
    levels, counts = np.unique(values, return_counts=True)
    bounds = _best_cuts(levels, counts.astype(np.float64), min(n_clusters, len(levels)))
    labels = np.empty(len(values), np.int64)
    labels[order] = np.repeat(np.repeat(np.arange(len(bounds) - 1), np.diff(bounds)), counts)
    return labels


@numba.njit(cache=True)
def _best_cuts(x: FloatArray, weights: FloatArray, n_clusters: int) -> IntArray:
    """Bounds of the clusters of sorted points, (C + 1,), in O(C n log n).

    cost[c, j] = min over i of cost[c − 1, i] + inertia of the points i .. j − 1. The best i does
    not fall with j, so that of the middle j bounds those on its left and on its right.
    """
    n = len(x)
    centred = x - np.sum(weights * x) / np.sum(weights)
    w, s, q = np.zeros(n + 1), np.zeros(n + 1), np.zeros(n + 1)
    for j in range(n):
        w[j + 1] = w[j] + weights[j]
        s[j + 1] = s[j] + weights[j] * centred[j]
        q[j + 1] = q[j] + weights[j] * centred[j] ** 2
    cost = np.full((n_clusters + 1, n + 1), np.inf)
    start = np.zeros((n_clusters + 1, n + 1), np.int64)
    cost[0, 0] = 0.0
    for c in range(1, n_clusters + 1):
        left = [(c, n, c - 1, n - 1)]  # first and last j; least and greatest i
        while left:
            first, last, least, greatest = left.pop()
            j = (first + last) // 2
            for i in range(least, min(greatest, j - 1) + 1):
                inertia = q[j] - q[i] - (s[j] - s[i]) ** 2 / (w[j] - w[i])
                if cost[c - 1, i] + inertia < cost[c, j]:
                    cost[c, j], start[c, j] = cost[c - 1, i] + inertia, i
            if first < j:
                left.append((first, j - 1, least, start[c, j]))
            if j < last:
                left.append((j + 1, last, start[c, j], greatest))
    bounds = np.empty(n_clusters + 1, np.int64)
    bounds[n_clusters] = n
    for c in range(n_clusters, 0, -1):
        bounds[c - 1] = start[c, bounds[c]]
    return bounds
