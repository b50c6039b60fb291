"""The growth of trees, and the sums of their leaves, with torch: on any device that has float64.

The histograms of `grow`, for all nodes of a level and all features at once: one `index_add_` into
cells, prefix sums over them, scores, the first of the largest. No size depends on what the device
finds, so that the host waits once a tree, at its end. To that end features are all given as many
candidates as any may have, ∞ where there are fewer; categories are found on the host.

On a CPU sums are added in the order of `grow`, and tests that differ by rounding alone are decided
alike. On CUDA `index_add_` adds in any order, and they are not: not even twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from ...core.checks import BoolArray, FloatArray, IntArray
from .params import TreeParams
from .trees import NEVER, Float32Array, Tree, build_gradients, candidates, feature_order

_MOST = 2**24  # numbers at once; beyond it features, or trees, are taken in parts


def grow(
    X: Float32Array,
    G: FloatArray,
    params: TreeParams,
    categorical: BoolArray,
    device: str | torch.device = "cpu",
) -> Tree:
    """A tree for gradients; arguments as in `oracle.grow`, and where to compute."""
    order = feature_order(categorical)  # that of features on the device
    columns = _on(X, device).T[_on(order, device)].contiguous()
    is_categorical = _on(categorical[order], device)
    weights = _on(params.weights(len(order))[order], device)
    thresholds = _thresholds(columns, X, G, params, categorical)
    codes = _codes(columns, thresholds, is_categorical)
    rows = _with_ones(build_gradients(G, params), device)
    (n, width), (n_features, m) = rows.shape, thresholds.shape
    oblivious = params.grow == "oblivious"

    # nodes that share a test are a group: all of a level, or each
    nodes = torch.zeros(n, dtype=torch.int64, device=device)
    there = torch.ones(1, dtype=torch.bool, device=device)  # a test, by group
    closed = (thresholds == torch.inf)[None]  # tests not to take, (groups, F, m)
    closed[0, :, 1:] |= thresholds[:, 1:] == thresholds[:, :-1]
    tests, values = [], []
    for level in range(params.depth):
        n_nodes = 2**level
        groups = 1 if oblivious else n_nodes
        there = there.repeat_interleave(groups // len(there))
        closed = closed.repeat_interleave(groups // len(closed), dim=0)
        totals = _sums(rows, nodes[None], n_nodes)  # (D + 1, nodes)
        best = torch.full((groups,), -torch.inf, dtype=torch.float64, device=device)
        test = torch.zeros(groups, dtype=torch.int64, device=device)  # feature m + candidate
        step = max(1, _MOST // (width * max(n, n_nodes * (m + 1))))
        for first in range(0, n_features, step):
            part = slice(first, first + step)
            histogram = _histogram(rows, codes[part], nodes, n_nodes, m + 1)
            scores = _scores(histogram, totals, is_categorical[part], params)
            if oblivious:
                scores = scores.cumsum(0)[-1:]  # (groups, f, m)
            gains = weights[part, None] * scores
            if level and not oblivious:
                gains -= _unsplit(totals, params)[:, None, None]
            gains.masked_fill_(closed[:, part] | (scores == -torch.inf), -torch.inf)  # 0 × ∞
            most, where = gains.flatten(1).max(dim=1)
            test = torch.where(most > best, first * m + where, test)
            best = torch.maximum(most, best)
        there = there & (best > -torch.inf if oblivious else (best >= 0) & (totals[-1] > 0))
        closed.flatten(1).scatter_(1, test[:, None], True)
        tests.append(test)
        values.append(torch.where(there, thresholds.flatten()[test], torch.inf))
        own, split = test.expand(n_nodes)[nodes], there.expand(n_nodes)[nodes]  # by row
        f, j = own // m, own % m
        code = codes.gather(0, f[None])[0]
        right = split & torch.where(is_categorical[f], code == j, code > j)
        nodes = 2 * nodes + right

    sums = _sums(_with_ones(G, device), nodes[None], 2**params.depth)
    means = torch.where(values[0] < torch.inf, sums[:-1] / sums[-1].clamp(min=1), 0.0)
    found, numbers = torch.cat(values).cpu().numpy(), torch.cat(tests).cpu().numpy()
    features = np.where(found < NEVER, order[numbers // m], 0)
    counts = sums[-1].to(torch.int64).cpu().numpy()
    return Tree(features, found, means.T.contiguous().cpu().numpy(), counts)


def _thresholds(
    columns: Tensor, X: Float32Array, G: FloatArray, params: TreeParams, categorical: BoolArray
) -> Tensor:
    """`trees.candidates`, (F, m), ascending, with repetitions, ∞ where there are no more."""
    device, numerical, found = columns.device, columns[: int((~categorical).sum())], []
    if len(numerical) and params.generator == "uniform":
        low, high = numerical.aminmax(dim=1, keepdim=True)
        steps = torch.arange(params.n_bins, dtype=torch.float32, device=device)
        # CUDA divides by a number, unlike by a tensor, as a product with the inverse
        found.append(low + steps * ((high - low) / torch.full_like(low, params.n_bins)))
    elif len(numerical):
        base, more = divmod(len(X), params.n_bins + 1)
        chunks = torch.arange(1, min(params.n_bins, len(X)) + 1, device=device)
        ends = base * chunks + chunks.clamp(max=more)
        found.append(numerical.sort(dim=1).values[:, ends - 1])
    if categorical.any():
        own = X[:, categorical]
        names = candidates(own, G, params, np.ones(own.shape[1], np.bool_))
        padded = np.full((len(names), max(map(len, names))), NEVER)
        for row, one in zip(padded, names, strict=True):
            row[: len(one)] = one
        found.append(_on(padded, device))
    m = max(part.shape[1] for part in found)
    return torch.cat([pad(part, (0, m - part.shape[1]), value=torch.inf) for part in found])


def _codes(columns: Tensor, thresholds: Tensor, is_categorical: Tensor) -> Tensor:
    """Codes of `grow`, (F, n); m for categories that are not candidates."""
    m = thresholds.shape[1]
    codes = torch.searchsorted(thresholds, columns)
    same = thresholds.gather(1, codes.clamp(max=m - 1)) == columns
    return codes.masked_fill_(is_categorical[:, None] & ~same, m)


def _on(array: npt.NDArray[Any], device: str | torch.device) -> Tensor:
    """A copy on a device."""
    return torch.tensor(np.ascontiguousarray(array), device=device)


def _with_ones(G: FloatArray, device: str | torch.device) -> Tensor:
    """Gradients, and 1 for the number of rows, (n, D + 1)."""
    return pad(_on(G, device), (0, 1), value=1.0)


def _sums(rows: Tensor, cells: Tensor, n_cells: int) -> Tensor:
    """Sums of rows (n, D + 1) by their cells (f, n), (D + 1, n_cells)."""
    sums = torch.zeros((n_cells, rows.shape[1]), dtype=rows.dtype, device=rows.device)
    sums.index_add_(0, cells.flatten(), rows.expand(len(cells), -1, -1).flatten(0, 1))
    return sums.T.contiguous()


def _histogram(rows: Tensor, codes: Tensor, nodes: Tensor, n_nodes: int, n_cells: int) -> Tensor:
    """Sums by node and code, (D + 1, nodes, f, cells), for codes (f, n)."""
    f = len(codes)
    starts = n_cells * torch.arange(f, device=codes.device)[:, None]
    cells = codes + starts + f * n_cells * nodes
    return _sums(rows, cells, n_nodes * f * n_cells).view(-1, n_nodes, f, n_cells)


def _scores(
    histogram: Tensor, totals: Tensor, is_categorical: Tensor, params: TreeParams
) -> Tensor:
    """Scores of the splits of nodes, (nodes, f, m), from sums by cell and by node."""
    left = torch.where(is_categorical[:, None], histogram, histogram.cumsum(-1))[..., :-1]
    right = totals[:, :, None, None] - left
    # cumsum adds one after the other, sum does not, nor alike for all candidates
    squares = left[:-1].square().cumsum(0)[-1] / left[-1].clamp(min=1)
    squares += right[:-1].square().cumsum(0)[-1] / right[-1].clamp(min=1)
    few = torch.minimum(left[-1], right[-1]) < params.min_data_in_leaf
    scores = _root(squares) if params.score == "cosine" else squares
    return scores.masked_fill(few, -torch.inf)


def _unsplit(totals: Tensor, params: TreeParams) -> Tensor:
    """n ‖m‖² of nodes, or its root, from sums (D + 1, nodes)."""
    squares = (totals[:-1].square() / totals[-1].clamp(min=1)).cumsum(0)[-1]
    return _root(squares) if params.score == "cosine" else squares


def _root(squares: Tensor) -> Tensor:
    """√, to the last bit, which torch (MKL) misses on CPUs."""
    on_cpu = squares.device.type == "cpu"
    return torch.from_numpy(np.sqrt(squares.numpy())) if on_cpu else squares.sqrt()


class Forest:
    """Trees that stay on a device, so that only new ones need be sent there.

    Args:
        params: how they were grown.
        categorical: which features are, (F,).
        device: where.
    """

    def __init__(
        self, params: TreeParams, categorical: BoolArray, device: str | torch.device = "cpu"
    ) -> None:
        self.params = params
        self.n_trees = 0
        self._categorical = _on(categorical, device)
        self._arrays: list[Tensor] = []  # features, thresholds, rates × values, with room for more

    def extend(
        self, features: IntArray, thresholds: Float32Array, values: Float32Array, rates: FloatArray
    ) -> None:
        """Append trees.

        Args:
            features: (T, tests).
            thresholds: (T, tests).
            values: (T, leaves, D).
            rates: (T, D).
        """
        arrays = np.asarray(features, np.int64), thresholds, rates[:, None] * values
        new = [_on(array, self._categorical.device) for array in arrays]
        n_trees = self.n_trees + len(features)
        if not self._arrays or n_trees > len(self._arrays[0]):
            larger = [one.new_empty((2 * n_trees, *one.shape[1:])) for one in new]
            for to, one in zip(larger, self._arrays, strict=False):  # none at first
                to[: self.n_trees] = one[: self.n_trees]
            self._arrays = larger
        for to, one in zip(self._arrays, new, strict=True):
            to[self.n_trees : n_trees] = one
        self.n_trees = n_trees

    def add(
        self, X: Float32Array, out: FloatArray, start: int = 0, stop: int | None = None
    ) -> None:
        """out_d −= Σ_t rate_td value_t(leaf)_d over the trees start .. stop − 1.

        Args:
            X: (n, F).
            out: (n, D).
            start: the first tree.
            stop: the one after the last; None: all.
        """
        columns = _on(X, self._categorical.device).T.contiguous()
        total = torch.zeros(out.shape, dtype=torch.float64, device=columns.device)
        last = self.n_trees if stop is None else min(stop, self.n_trees)
        step = max(1, _MOST // max(1, out.size))
        for first in range(start, last, step):
            part = slice(first, min(first + step, last))
            features, thresholds, values = (array[part] for array in self._arrays)
            trees = torch.arange(len(values), device=columns.device)[:, None]
            leaves = self._leaves(columns, features, thresholds)
            total += values[trees, leaves].sum(0)
        out -= total.cpu().numpy()

    def _leaves(self, columns: Tensor, features: Tensor, thresholds: Tensor) -> Tensor:
        """Leaves in trees of columns (F, n), (T, n)."""
        shape = len(features), columns.shape[1]
        paths = torch.zeros(shape, dtype=torch.int64, device=columns.device)
        for level in range(self.params.depth):
            if self.params.grow == "oblivious":
                f, v = features[:, level], thresholds[:, level, None]
                x, is_categorical = columns[f], self._categorical[f, None]
            else:
                number = 2**level - 1 + paths
                f, v = features.gather(1, number), thresholds.gather(1, number)
                x, is_categorical = columns.gather(0, f), self._categorical[f]
            paths = 2 * paths + torch.where(is_categorical, x == v, x > v)
        return paths
