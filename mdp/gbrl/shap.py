"""Shapley values of ensembles: what each feature adds to an output.

The value of a coalition S of features, for one tree and one x, is the mean leaf of a walk down that
follows x at tests of features in S and goes to both children with weights n_child/n_node at the
others, n being rows of the batch that the tree was fitted to. (Where n_node = 0 all leaves below
are 0, so any weights do.) It is a sum over leaves of products over the features j on their ways,

    v(S) = Σ_leaf value_leaf Π_{j ∈ S} a_j Π_{j ∉ S} w_j

with a_j = 1 if x passes all tests of j on the way, otherwise 0, and w_j the product of the weights
at these tests. For products the Shapley value is an integral along the diagonal (Owen),

    φ_j = Σ_leaf value_leaf (a_j − w_j) ∫₀¹ Π_{i ≠ j} (t a_i + (1 − t) w_i) dt

of polynomials of degree less than the depth, for which Gauss's rule with ⌈depth / 2⌉ points is
exact. A leaf takes O(depth²) operations instead of the 2^depth of its subsets, without differences.
Trees add up, and so do their values, times −η_t:

    F(x) = base + Σ_j φ_j(x),    base = b − Σ_t η_t ∘ Σ_leaf (n_leaf / n) value_leaf

References:
    Lundberg, Erion, Chen, et al. From local explanations to global understanding with explainable
    AI for trees. Nature Machine Intelligence 2, 2020 (v, "path-dependent").
    Owen. Multilinear extensions of games. Management Science 18(5), 1972 (the integral).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

from ...core.checks import BoolArray, FloatArray, IntArray
from .trees import Float32Array

if TYPE_CHECKING:
    from .ensemble import TreeEnsemble


class ShapleyValues(NamedTuple):
    """Of rows: F(x_i) = base + Σ_j φ_ij.

    Attributes:
        phi: φ, in units of the outputs, (n, F, D).
        base: what is predicted without any feature, (D,).
    """

    phi: FloatArray
    base: FloatArray


def shap_values(
    ensemble: TreeEnsemble, X: Any, start: int = 0, stop: int | None = None
) -> ShapleyValues:
    """Exact path-dependent Shapley values of the trees start .. stop − 1.

    base + Σ_j φ_j is `ensemble.predict(X, start, stop)` to rounding in float64.

    Args:
        ensemble: of trees that add up.
        X: features, (n, F).
        start: the first tree.
        stop: the one after the last; None: all.

    Raises:
        ValueError: the optimizer is Adam, or X has another shape or an entry that is not finite.
    """
    check_additive(ensemble)
    rows = ensemble._rows(X)
    first, last, _ = slice(start, stop).indices(ensemble.n_trees)
    part = slice(first, last)
    counts, values, rates = ensemble._counts[part], ensemble._values[part], ensemble._rates[part]
    shares = counts / counts.sum(axis=1, keepdims=True)
    base = ensemble.bias - np.einsum("td,tl,tld->d", rates, shares, values)
    phi = np.zeros((*rows.shape, ensemble.n_outputs))
    points, weights = np.polynomial.legendre.leggauss((ensemble.params.depth + 1) // 2)
    _add(
        rows,
        ensemble._features[part],
        ensemble._thresholds[part],
        ensemble._is_categorical(),
        counts,
        values,
        rates,
        ensemble.params.grow == "oblivious",
        ensemble.params.depth,
        (points + 1) / 2,
        weights / 2,
        phi,
    )
    return ShapleyValues(phi, base)


def check_additive(ensemble: TreeEnsemble) -> None:
    """Raises ValueError if F is not a sum over trees."""
    if ensemble.optimizer == "adam":
        raise ValueError(
            'ensemble must have trees that add up, got optimizer "adam", with which the step of a '
            "tree depends on those before; take ensemble.distilled(X, n_trees)"
        )


@numba.njit(cache=True, nogil=True)
def _add(
    X: Float32Array,
    features: IntArray,
    thresholds: Float32Array,
    categorical: BoolArray,
    counts: IntArray,
    values: Float32Array,
    rates: FloatArray,
    oblivious: bool,
    depth: int,
    points: FloatArray,
    weights: FloatArray,
    phi: FloatArray,
) -> None:
    """phi_ij −= Σ_t η_t ∘ φ_j(x_i) of tree t.

    Args:
        X: (n, F).
        features: (T, tests).
        thresholds: (T, tests).
        categorical: (F,).
        counts: (T, leaves).
        values: (T, leaves, D).
        rates: (T, D).
        oblivious: or greedy.
        depth: levels.
        points: t of Gauss's rule on [0, 1], (K,).
        weights: its weights, (K,).
        phi: (n, F, D).
    """
    n, D, n_leaves, K = len(X), phi.shape[2], counts.shape[1], len(points)
    columns = X.T.copy()
    nodes = np.empty(2 * n_leaves - 1)  # rows of the batch by node
    slots = np.full(X.shape[1], -1)  # j of a feature, −1 if it is not on the way to the leaf
    players, w = np.empty(depth, np.int64), np.empty(depth)  # by j
    failed = np.empty(n, np.int32)  # bit j: some test of j, so that a_j = 0
    factors, product, gain = np.empty((2, depth, K)), np.empty(K), np.empty(D)
    for t in range(len(features)):
        nodes[n_leaves - 1 :] = counts[t]
        for node in range(n_leaves - 2, -1, -1):
            nodes[node] = nodes[2 * node + 1] + nodes[2 * node + 2]
        for leaf in range(n_leaves):
            if counts[t, leaf] == 0:
                continue
            m, node = 0, 0
            failed[:] = 0
            for k in range(depth):
                test = k if oblivious else node
                f, v = features[t, test], thresholds[t, test]
                if slots[f] < 0:
                    slots[f], players[m], w[m] = m, f, 1.0
                    m += 1
                right = (leaf >> (depth - 1 - k)) & 1
                child = 2 * node + 1 + right
                w[slots[f]] *= nodes[child] / nodes[node]
                node = child
                column, bit = columns[f], np.int32(1 << slots[f])
                if categorical[f]:
                    for i in range(n):
                        failed[i] |= bit * np.int32((column[i] == v) != right)
                else:
                    for i in range(n):
                        failed[i] |= bit * np.int32((column[i] > v) != right)
            for j in range(m):
                slots[players[j]] = -1
                for q in range(K):
                    factors[0, j, q] = (1.0 - points[q]) * w[j]  # > 0, as the leaf has rows
                    factors[1, j, q] = factors[0, j, q] + points[q]
            for d in range(D):
                gain[d] = rates[t, d] * values[t, leaf, d]
            for i in range(n):
                product[:] = weights
                for j in range(m):
                    a = 1 - ((failed[i] >> j) & 1)
                    for q in range(K):
                        product[q] *= factors[a, j, q]
                for j in range(m):
                    a = 1 - ((failed[i] >> j) & 1)
                    integral = 0.0
                    for q in range(K):
                        integral += product[q] / factors[a, j, q]
                    for d in range(D):
                        phi[i, players[j], d] -= (a - w[j]) * integral * gain[d]
