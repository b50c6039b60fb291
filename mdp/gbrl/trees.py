"""Regression trees with vector leaves, fitted to gradients.

A tree h partitions ℝ^F by tests of single features and has one vector a leaf: the mean of the
gradients g_i ∈ ℝᴰ of the rows that fall there, 0 where none does. Tests:

    numerical    right if x > v          categorical    right if x = v

Candidates v are made anew for each batch:

    "quantile"   the sorted column is cut into n_bins + 1 chunks of n div (n_bins + 1) rows, the
                 first n mod (n_bins + 1) of them one longer; v is the last value of each but the
                 last chunk. With n <= n_bins all values are candidates
    "uniform"    min + k (max − min)/n_bins, k = 0 .. n_bins − 1
    categories   all of the batch. If these are more than n_bins a categorical feature, those of the
                 largest mean ‖g_i‖² over their rows

Scores of a split into L and R, with B_i = g_i for "cosine" and, for "l2", g_i with each column less
its mean over the batch and divided by its deviation (ddof 1) plus 1e-8, and m the mean of B over a
side:

    "l2"         n_L ‖m_L‖² + n_R ‖m_R‖²
    "cosine"     (Σ_{i ∈ L} ⟨B_i, m_L⟩ + Σ_{i ∈ R} ⟨B_i, m_R⟩) / √(n_L ‖m_L‖² + n_R ‖m_R‖²),
                 which is √(n_L ‖m_L‖² + n_R ‖m_R‖²), as Σ_{i ∈ L} ⟨B_i, m_L⟩ = n_L ‖m_L‖²

Scores are multiplied by w of the feature. They are −∞ if a side has fewer than min_data_in_leaf
rows, or if the test was used on the way. Of equal scores the first one counts: numerical features
first, then categorical ones, each in order, v ascending.

    "oblivious"  each level takes the test with the largest sum of scores over its nodes, until no
                 test is left
    "greedy"     each node takes its best test if that is at least as good as not to split it:
                 n ‖m‖², or its root; at the top of the tree as 0

A tree without any test is 0.

Reference:
    Fuhrer, Tessler, Dalal. Gradient boosting reinforcement learning. ICML 2025; the semantics are
    those of its library (NVlabs/gbrl 1.1), which the paper does not spell out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from ...core.checks import BoolArray, FloatArray, IntArray
from .params import TreeParams

Float32Array: TypeAlias = npt.NDArray[np.float32]
NEVER = np.float32(np.inf)  # no x is greater, or equal


@dataclass(frozen=True, eq=False)
class Tree:
    """One tree of depth d, in the form in which ensembles keep it.

    Row i goes to leaf number Σ_k 2^{d−1−k} [right at level k]. The test of level k is number k
    ("oblivious"), or number 2^k − 1 + (the first k bits) ("greedy"). Where there is none the
    threshold is ∞, and all go left.

    Attributes:
        features: (tests,).
        thresholds: v, float32, (tests,).
        values: (2^d, D).
        counts: rows of the batch by leaf, (2^d,).
    """

    features: IntArray
    thresholds: Float32Array
    values: FloatArray
    counts: IntArray


def n_tests(params: TreeParams) -> int:
    """Tests of a tree, those that are not there included."""
    return params.depth if params.grow == "oblivious" else 2**params.depth - 1


def build_gradients(gradients: FloatArray, params: TreeParams) -> FloatArray:
    """B, (n, D)."""
    if params.score == "cosine":
        return gradients
    if len(gradients) == 1:
        return np.zeros_like(gradients)
    centred = gradients - gradients.mean(axis=0)
    scaled: FloatArray = centred / (gradients.std(axis=0, ddof=1) + 1e-8)
    return scaled


def feature_order(categorical: BoolArray) -> IntArray:
    """Numerical features, then categorical ones."""
    return np.argsort(categorical, kind="stable")


def candidates(
    X: Float32Array, gradients: FloatArray, params: TreeParams, categorical: BoolArray
) -> list[Float32Array]:
    """v of each feature, float32, ascending, without repetition.

    Args:
        X: (n, F).
        gradients: (n, D).
        params: how many, and of which kind.
        categorical: which features are, (F,).
    """
    columns = np.sort(X.T, axis=1)
    found = [
        np.unique(column) if is_categorical else thresholds(column, params)
        for column, is_categorical in zip(columns, categorical, strict=True)
    ]
    kept = int(categorical.sum()) * params.n_bins
    names = [(f, v) for f in np.flatnonzero(categorical) for v in found[f]]
    if len(names) > kept:
        norms = (gradients**2).sum(axis=1)
        means = np.array([norms[X[:, f] == v].mean() for f, v in names])
        best = np.sort(np.argsort(-means, kind="stable")[:kept])
        for f in np.flatnonzero(categorical):
            found[f] = np.array([v for i in best for g, v in [names[i]] if g == f], np.float32)
    return found


def thresholds(column: Float32Array, params: TreeParams) -> Float32Array:
    """v of a numerical feature.

    Args:
        column: sorted, (n,).
        params: how many, and of which kind.
    """
    if params.generator == "uniform":
        low, high = column[0], column[-1]
        steps = np.arange(params.n_bins, dtype=np.float32)
        return np.unique(low + steps * ((high - low) / np.float32(params.n_bins)))
    chunks = params.n_bins + 1
    base, more = divmod(len(column), chunks)
    ends = np.cumsum(base + (np.arange(chunks - 1) < more))
    return np.unique(column[ends - 1])
