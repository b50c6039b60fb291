"""The growth of trees by their definition, in numpy: slow, to be read and to test others against.

Every candidate is tried on all rows, and the cosine is computed as it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...core.checks import BoolArray, FloatArray, IntArray
from .params import TreeParams
from .trees import (
    NEVER,
    Float32Array,
    Tree,
    build_gradients,
    candidates,
    feature_order,
    n_tests,
)


class Test(NamedTuple):
    """Of one feature."""

    feature: int
    value: np.float32
    categorical: bool

    def right(self, X: Float32Array) -> BoolArray:
        """Which rows go right."""
        column = X[:, self.feature]
        return column == self.value if self.categorical else column > self.value


def grow(X: Float32Array, G: FloatArray, params: TreeParams, categorical: BoolArray) -> Tree:
    """A tree for gradients.

    Args:
        X: (n, F).
        G: (n, D).
        params: how.
        categorical: which features are, (F,).
    """
    found = candidates(X, G, params, categorical)
    tests = [
        Test(int(f), v, bool(categorical[f])) for f in feature_order(categorical) for v in found[f]
    ]
    weights = params.weights(X.shape[1])
    builder = _oblivious if params.grow == "oblivious" else _greedy
    chosen, leaves = builder(X, build_gradients(G, params), params, tests, weights)
    features, values = np.zeros(n_tests(params), np.int64), np.full(n_tests(params), NEVER)
    for number, test in chosen.items():
        features[number], values[number] = test.feature, test.value
    n_leaves = 2**params.depth
    counts = np.bincount(leaves, minlength=n_leaves)
    sums = np.stack([np.bincount(leaves, g, n_leaves) for g in G.T], axis=1)
    means: FloatArray = sums / np.maximum(counts, 1)[:, None]
    return Tree(features, values, means if chosen else np.zeros_like(means), counts)


def score(B: FloatArray, right: BoolArray, params: TreeParams) -> float:
    """Of a split of rows with build-gradients B, (n, D)."""
    parts = B[~right], B[right]
    if min(len(part) for part in parts) < params.min_data_in_leaf:
        return -np.inf
    means = [part.mean(axis=0) if len(part) else np.zeros(B.shape[1]) for part in parts]
    squares = sum(len(part) * (m @ m) for part, m in zip(parts, means, strict=True))
    if params.score == "l2":
        return float(squares)
    inner = sum((part @ m).sum() for part, m in zip(parts, means, strict=True))
    return float(inner / np.sqrt(squares)) if squares > 0 else 0.0


def unsplit(B: FloatArray, params: TreeParams) -> float:
    """Of rows that stay together."""
    squares = float((B.sum(axis=0) ** 2).sum() / max(len(B), 1))
    return squares if params.score == "l2" else float(np.sqrt(squares))


def _weighted(scores: Sequence[float], test: Test, weights: FloatArray) -> float:
    total = sum(scores)
    return weights[test.feature] * total if np.isfinite(total) else -np.inf


def _best(totals: Sequence[float]) -> int | None:
    """The first of the largest, None if all are −∞."""
    best = int(np.argmax(totals)) if totals else 0
    return best if totals and np.isfinite(totals[best]) else None


def _oblivious(
    X: Float32Array, B: FloatArray, params: TreeParams, tests: list[Test], weights: FloatArray
) -> tuple[dict[int, Test], IntArray]:
    """Tests by number, and the leaf of each row."""
    chosen: dict[int, Test] = {}
    nodes = np.zeros(len(X), np.int64)
    for level in range(params.depth):
        totals = []
        for test in tests:
            right = test.right(X)
            scores = [
                score(B[nodes == node], right[nodes == node], params) for node in range(2**level)
            ]
            used = test in chosen.values()
            totals.append(-np.inf if used else _weighted(scores, test, weights))
        if (best := _best(totals)) is None:
            break
        chosen[level] = tests[best]
        nodes = 2 * nodes + tests[best].right(X)
    return chosen, nodes << (params.depth - len(chosen))


def _greedy(
    X: Float32Array, B: FloatArray, params: TreeParams, tests: list[Test], weights: FloatArray
) -> tuple[dict[int, Test], IntArray]:
    """Tests by number, and the leaf of each row."""
    chosen: dict[int, Test] = {}
    leaves = np.zeros(len(X), np.int64)

    def split(rows: IntArray, level: int, path: int, used: frozenset[Test]) -> None:
        """The node at which these rows arrive by the bits of `path`."""
        leaves[rows] = path << (params.depth - level)
        if level == params.depth or not len(rows):
            return
        before = unsplit(B[rows], params) if level else 0.0
        totals = [
            -np.inf
            if test in used
            else _weighted([score(B[rows], test.right(X[rows]), params)], test, weights) - before
            for test in tests
        ]
        best = _best(totals)
        if best is None or totals[best] < 0:
            return
        test = chosen[2**level - 1 + path] = tests[best]
        right = test.right(X[rows])
        split(rows[~right], level + 1, 2 * path, used | {test})
        split(rows[right], level + 1, 2 * path + 1, used | {test})

    split(np.arange(len(X)), 0, 0, frozenset())
    return chosen, leaves
