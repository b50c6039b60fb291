"""Sums of the leaves of many trees, compiled; the layout is that of `trees.Tree`."""

from __future__ import annotations

import numba
import numpy as np

from ...core.checks import BoolArray, FloatArray, IntArray
from .trees import Float32Array

_BLOCK = 128  # rows that go through all trees together, feature by feature


@numba.njit(cache=True, nogil=True)
def add_oblivious(
    X: Float32Array,
    features: IntArray,
    thresholds: Float32Array,
    categorical: BoolArray,
    values: Float32Array,
    rates: FloatArray,
    out: FloatArray,
) -> None:
    """out_d −= Σ_t rate_td value_t(leaf)_d.

    Args:
        X: (n, F).
        features: (T, depth).
        thresholds: (T, depth).
        categorical: (F,).
        values: (T, leaves, D).
        rates: (T, D).
        out: (n, D).
    """
    n, n_features = X.shape
    n_trees, depth = features.shape
    D = out.shape[1]
    columns = np.empty((n_features, _BLOCK), np.float32)
    leaves = np.empty(_BLOCK, np.int32)
    for start in range(0, n, _BLOCK):
        size = min(_BLOCK, n - start)
        for i in range(size):
            for f in range(n_features):
                columns[f, i] = X[start + i, f]
        for t in range(n_trees):
            leaves[:size] = 0
            for k in range(depth):
                f, v = features[t, k], thresholds[t, k]
                column = columns[f]
                if categorical[f]:
                    for i in range(size):
                        leaves[i] = 2 * leaves[i] + np.int32(column[i] == v)
                else:
                    for i in range(size):
                        leaves[i] = 2 * leaves[i] + np.int32(column[i] > v)
            for i in range(size):
                for d in range(D):
                    out[start + i, d] -= rates[t, d] * values[t, leaves[i], d]


@numba.njit(cache=True, nogil=True)
def add_greedy(
    X: Float32Array,
    features: IntArray,
    thresholds: Float32Array,
    categorical: BoolArray,
    values: Float32Array,
    rates: FloatArray,
    out: FloatArray,
) -> None:
    """The same for trees with a test a node, (T, 2^depth − 1)."""
    n_trees, n_tests = features.shape
    D = out.shape[1]
    for i in range(len(X)):
        for t in range(n_trees):
            node = 0
            while node < n_tests:
                f, v = features[t, node], thresholds[t, node]
                right = X[i, f] == v if categorical[f] else X[i, f] > v
                node = 2 * node + 1 + right
            for d in range(D):
                out[i, d] -= rates[t, d] * values[t, node - n_tests, d]
