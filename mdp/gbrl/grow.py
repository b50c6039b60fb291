"""The growth of trees by histograms, compiled.

Only sums of build-gradients and numbers of rows on each side of a test enter its score, for
"cosine" as for "l2" (`trees`), and for all tests of a feature these are prefix sums of a histogram
over the cells between candidates: n additions a feature and level instead of n a candidate.

A row has the code #{v_j < x} for a numerical feature, so that x > v_j iff its code exceeds j, and
the index of its category for a categorical one; #candidates, if that is not a candidate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from ...core.checks import BoolArray, FloatArray, IntArray
from .params import TreeParams
from .trees import NEVER, Float32Array, Tree, build_gradients, candidates, feature_order, n_tests

Codes = npt.NDArray[np.uint16]
_BLOCK = 64  # rows


@dataclass(frozen=True)
class Binned:
    """Rows by the cells that they are in.

    Attributes:
        codes: (F, n).
        thresholds: candidates of all features, one after the other, float32.
        starts: where those of feature f start, (F + 1,).
    """

    codes: Codes
    thresholds: Float32Array
    starts: IntArray

    @classmethod
    def of(
        cls, X: Float32Array, gradients: FloatArray, params: TreeParams, categorical: BoolArray
    ) -> Binned:
        """See `candidates`."""
        if categorical.any() or params.generator == "uniform":
            found = candidates(X, gradients, params, categorical)
            starts = np.concatenate([[0], np.cumsum([len(one) for one in found])])
            thresholds = np.concatenate(found)
        else:
            columns = np.sort(X.T, axis=1)
            thresholds, starts = _quantiles(columns, params.n_bins)
        codes = np.empty(X.shape[::-1], np.uint16)
        _encode(np.ascontiguousarray(X.T), thresholds, starts, categorical, codes)
        return cls(codes, thresholds, starts)


def grow(X: Float32Array, G: FloatArray, params: TreeParams, categorical: BoolArray) -> Tree:
    """A tree for gradients; arguments as in `oracle.grow`."""
    return grow_binned(Binned.of(X, G, params, categorical), G, params, categorical)


def grow_binned(binned: Binned, G: FloatArray, params: TreeParams, categorical: BoolArray) -> Tree:
    """The same for rows that have been binned."""
    builder = _grow_oblivious if params.grow == "oblivious" else _grow_greedy
    features, chosen, leaves = builder(
        binned.codes,
        binned.starts,
        build_gradients(G, params),
        feature_order(categorical),
        categorical,
        params.weights(len(categorical)),
        params.depth,
        params.min_data_in_leaf,
        params.score == "cosine",
    )
    there = chosen >= 0
    thresholds = np.full(n_tests(params), NEVER)
    thresholds[there] = binned.thresholds[binned.starts[features[there]] + chosen[there]]
    values, counts = _leaf_means(leaves, G, 2**params.depth)
    if not there.any():
        values[:] = 0.0
    return Tree(features, thresholds, values, counts)


@numba.njit(cache=True, nogil=True)
def _quantiles(columns: Float32Array, n_bins: int) -> tuple[Float32Array, IntArray]:
    """`trees.thresholds` of sorted columns (F, n), joined, and where each starts."""
    n_features, n = columns.shape
    base, more = n // (n_bins + 1), n % (n_bins + 1)
    found = np.empty(n_features * min(n_bins, n), np.float32)
    starts = np.zeros(n_features + 1, np.int64)
    size = 0
    for f in range(n_features):
        end = 0
        for j in range(n_bins):
            end += base + (j < more)
            if end == n and base == 0 and j >= more:
                break
            value = columns[f, end - 1]
            if size == starts[f] or value > found[size - 1]:
                found[size] = value
                size += 1
        starts[f + 1] = size
    return found[:size], starts


@numba.njit(cache=True, nogil=True)
def _encode(
    columns: Float32Array,
    thresholds: Float32Array,
    starts: IntArray,
    categorical: BoolArray,
    codes: Codes,
) -> None:
    """Codes of columns (F, n).

    By binary search, which takes the same steps for all rows: those of a block take them together,
    as each alone would wait for its own comparison before the next.
    """
    n_features, n = columns.shape
    low = np.empty(_BLOCK, np.int32)  # how many are smaller
    for f in range(n_features):
        own = thresholds[starts[f] : starts[f + 1]]
        for begin in range(0, n, _BLOCK):
            block = columns[f, begin : begin + _BLOCK]
            low[:] = 0
            length = len(own)
            while length > 1:
                half = length >> 1
                for i in range(len(block)):
                    low[i] += np.int32(half) * np.int32(own[low[i] + half - 1] < block[i])
                length -= half
            for i in range(len(block)):
                code = low[i] + np.int32(length > 0 and own[low[i]] < block[i])
                if categorical[f] and (code == len(own) or own[code] != block[i]):
                    code = len(own)
                codes[f, begin + i] = code


@numba.njit(cache=True, nogil=True)
def _leaf_means(leaves: IntArray, G: FloatArray, n_leaves: int) -> tuple[FloatArray, IntArray]:
    values = np.zeros((n_leaves, G.shape[1]))
    counts = np.zeros(n_leaves, np.int64)
    for i in range(len(leaves)):
        counts[leaves[i]] += 1
        for d in range(G.shape[1]):
            values[leaves[i], d] += G[i, d]
    for leaf in range(n_leaves):
        if counts[leaf] > 0:
            for d in range(G.shape[1]):
                values[leaf, d] /= counts[leaf]
    return values, counts


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _count(codes: Codes, nodes: IntArray, B: FloatArray, histogram: FloatArray) -> None:
    """Adds rows to the cells of one feature, (nodes, cells, D + 1): B, and 1 for the number."""
    n, D = B.shape
    cells = histogram.shape[1]
    flat = histogram.reshape(-1)
    for i in range(n):
        at = (nodes[i] * cells + codes[i]) * (D + 1)
        for d in range(D):
            flat[at + d] += B[i, d]
        flat[at + D] += 1.0


@numba.njit(cache=True, nogil=True)
def _count_some(codes: Codes, rows: IntArray, B: FloatArray, histogram: FloatArray) -> None:
    """The same for some rows, of one node, (cells, D + 1)."""
    D = B.shape[1]
    for i in rows:
        for d in range(D):
            histogram[codes[i], d] += B[i, d]
        histogram[codes[i], D] += 1.0


@numba.njit(cache=True, nogil=True, inline="always")
def _add_scores(
    histogram: FloatArray,
    total: FloatArray,
    is_categorical: bool,
    min_data: int,
    cosine: bool,
    left: FloatArray,
    scores: FloatArray,
) -> None:
    """Adds to `scores`, one a candidate, those of splits of one node.

    Args:
        histogram: (cells, D + 1).
        total: its sum over cells, (D + 1,).
        is_categorical: one side is one cell, otherwise a prefix.
        min_data: rows a side.
        cosine: or "l2".
        left: scratch, (D + 1,).
        scores: (candidates,).
    """
    D = len(total) - 1
    left[:] = 0.0
    for j in range(len(scores)):
        for d in range(D + 1):
            left[d] = histogram[j, d] if is_categorical else left[d] + histogram[j, d]
        n_left = left[D]
        n_right = total[D] - n_left
        if n_left < min_data or n_right < min_data:
            scores[j] = -np.inf
            continue
        one, other = 0.0, 0.0
        for d in range(D):
            one += left[d] * left[d]
            other += (total[d] - left[d]) * (total[d] - left[d])
        squares = one / max(n_left, 1.0) + other / max(n_right, 1.0)
        scores[j] += np.sqrt(squares) if cosine else squares


@numba.njit(cache=True, nogil=True)
def _grow_oblivious(
    codes: Codes,
    starts: IntArray,
    B: FloatArray,
    order: IntArray,
    categorical: BoolArray,
    weights: FloatArray,
    depth: int,
    min_data: int,
    cosine: bool,
) -> tuple[IntArray, IntArray, IntArray]:
    """Feature and candidate of each level, −1 where there is none, and the leaf of each row."""
    n, D = B.shape
    most = np.max(starts[1:] - starts[:-1])
    features, chosen = np.zeros(depth, np.int64), np.full(depth, -1)
    leaves = np.zeros(n, np.int64)
    histogram = np.empty(2 ** (depth - 1) * (most + 1) * (D + 1))
    totals = np.empty((2 ** (depth - 1), D + 1))
    scores, left = np.empty(most), np.empty(D + 1)
    for level in range(depth):
        n_nodes = 2**level
        totals[:n_nodes] = 0.0
        for i in range(n):
            for d in range(D):
                totals[leaves[i], d] += B[i, d]
            totals[leaves[i], D] += 1.0
        best = -np.inf
        for f in order:
            m = starts[f + 1] - starts[f]
            size = n_nodes * (m + 1) * (D + 1)
            cells = histogram[:size].reshape((n_nodes, m + 1, D + 1))
            cells[:] = 0.0
            _count(codes[f], leaves, B, cells)
            scores[:m] = 0.0
            for node in range(n_nodes):
                _add_scores(
                    cells[node], totals[node], categorical[f], min_data, cosine, left, scores[:m]
                )
            for k in range(level):
                if features[k] == f:
                    scores[chosen[k]] = -np.inf
            for j in range(m):
                if scores[j] > -np.inf and weights[f] * scores[j] > best:
                    best, features[level], chosen[level] = weights[f] * scores[j], f, j
        if chosen[level] < 0:
            features[level] = 0
            for i in range(n):
                leaves[i] <<= depth - level
            break
        f, j = features[level], chosen[level]
        for i in range(n):
            right = codes[f, i] == j if categorical[f] else codes[f, i] > j
            leaves[i] = 2 * leaves[i] + right
    return features, chosen, leaves


@numba.njit(cache=True, nogil=True)
def _grow_greedy(
    codes: Codes,
    starts: IntArray,
    B: FloatArray,
    order: IntArray,
    categorical: BoolArray,
    weights: FloatArray,
    depth: int,
    min_data: int,
    cosine: bool,
) -> tuple[IntArray, IntArray, IntArray]:
    """Feature and candidate of each node, −1 where there is none, and the leaf of each row."""
    n, D = B.shape
    most = np.max(starts[1:] - starts[:-1])
    n_nodes = 2**depth - 1
    features, chosen = np.zeros(n_nodes, np.int64), np.full(n_nodes, -1)
    # nodes are those of `Tree`; rows of a node are contiguous in `rows`
    rows, leaves = np.arange(n), np.zeros(n, np.int64)
    begins, ends = np.zeros(2 * n_nodes + 1, np.int64), np.zeros(2 * n_nodes + 1, np.int64)
    ends[0] = n
    histogram = np.empty((most + 1, D + 1))
    total, scores, left = np.empty(D + 1), np.empty(most), np.empty(D + 1)
    moved = np.empty(n, np.int64)
    for node in range(n_nodes):
        own = rows[begins[node] : ends[node]]
        if len(own) == 0:
            continue
        total[:] = 0.0
        for i in own:
            for d in range(D):
                total[d] += B[i, d]
        total[D] = len(own)
        before = 0.0
        if node > 0:
            for d in range(D):
                before += total[d] * total[d] / total[D]
            before = np.sqrt(before) if cosine else before
        best = -np.inf
        for f in order:
            m = starts[f + 1] - starts[f]
            cells = histogram[: m + 1]
            cells[:] = 0.0
            _count_some(codes[f], own, B, cells)
            scores[:m] = 0.0
            _add_scores(cells, total, categorical[f], min_data, cosine, left, scores[:m])
            above = node
            while above > 0:
                above = (above - 1) // 2
                if features[above] == f:
                    scores[chosen[above]] = -np.inf
            for j in range(m):
                gain = weights[f] * scores[j] - before if scores[j] > -np.inf else -np.inf
                if gain > best:
                    best, features[node], chosen[node] = gain, f, j
        if not best >= 0.0:
            features[node], chosen[node] = 0, -1
            level = 0
            while 2 ** (level + 1) - 1 <= node:
                level += 1
            for i in own:
                leaves[i] = (node - (2**level - 1)) << (depth - level)
            continue
        f, j = features[node], chosen[node]
        n_left = 0
        n_right = 0
        for i in own:
            right = codes[f, i] == j if categorical[f] else codes[f, i] > j
            if right:
                moved[n_right] = i
                n_right += 1
            else:
                own[n_left] = i
                n_left += 1
        own[n_left:] = moved[:n_right]
        middle = begins[node] + n_left
        begins[2 * node + 1], ends[2 * node + 1] = begins[node], middle
        begins[2 * node + 2], ends[2 * node + 2] = middle, ends[node]
    for leaf in range(n_nodes + 1):
        for i in rows[begins[n_nodes + leaf] : ends[n_nodes + leaf]]:
            leaves[i] = leaf
    return features, chosen, leaves
