"""Leaves of many trees, and their sums, compiled; the layout is that of `trees.Tree`."""

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


@numba.njit(cache=True, nogil=True)
def leaves_oblivious(
    X: Float32Array, features: IntArray, thresholds: Float32Array, categorical: BoolArray
) -> IntArray:
    """The leaf of each row (n, F) in each tree (T, depth): (n, T)."""
    n_trees, depth = features.shape
    leaves = np.zeros((len(X), n_trees), np.int64)
    for i in range(len(X)):
        for t in range(n_trees):
            for k in range(depth):
                f, v = features[t, k], thresholds[t, k]
                right = X[i, f] == v if categorical[f] else X[i, f] > v
                leaves[i, t] = 2 * leaves[i, t] + right
    return leaves


@numba.njit(cache=True, nogil=True)
def leaves_greedy(
    X: Float32Array, features: IntArray, thresholds: Float32Array, categorical: BoolArray
) -> IntArray:
    """The same for trees with a test a node, (T, 2^depth − 1)."""
    n_trees, n_tests = features.shape
    leaves = np.empty((len(X), n_trees), np.int64)
    for i in range(len(X)):
        for t in range(n_trees):
            node = 0
            while node < n_tests:
                f, v = features[t, node], thresholds[t, node]
                right = X[i, f] == v if categorical[f] else X[i, f] > v
                node = 2 * node + 1 + right
            leaves[i, t] = node - n_tests
    return leaves


@numba.njit(cache=True, nogil=True)
def add_adam(
    leaves: IntArray,
    values: Float32Array,
    rates: FloatArray,
    first: int,
    moments: FloatArray,
    out: FloatArray,
) -> None:
    """Adam along the trees, each row with its own moments; see `ensemble`.

    Args:
        leaves: (n, T).
        values: (T, leaves, D).
        rates: (T, D).
        first: t of the first tree, from 0.
        moments: m and v, (2, n, D), changed.
        out: (n, D), changed.
    """
    b1, b2, eps = 0.9, 0.999, 1e-8
    n, n_trees = leaves.shape
    for i in range(n):
        for t in range(n_trees):
            scale = np.sqrt(1 - b2 ** (first + t + 1)) / (1 - b1 ** (first + t + 1))
            for d in range(out.shape[1]):
                g = float(values[t, leaves[i, t], d])
                moments[0, i, d] = b1 * moments[0, i, d] + (1 - b1) * g
                moments[1, i, d] = b2 * moments[1, i, d] + (1 - b2) * g * g
                m, v = moments[0, i, d], moments[1, i, d]
                out[i, d] -= rates[t, d] * scale * m / (np.sqrt(v) + eps)


@numba.njit(cache=True, nogil=True)
def momentum(leaves: IntArray, values: Float32Array, decay: float) -> FloatArray:
    """(1 − β) Σ_t β^{T−t} value_t(leaf), of each row, (n, D)."""
    n, n_trees = leaves.shape
    out = np.zeros((n, values.shape[2]))
    for i in range(n):
        for t in range(n_trees):
            for d in range(values.shape[2]):
                out[i, d] = decay * out[i, d] + (1 - decay) * values[t, leaves[i, t], d]
    return out
