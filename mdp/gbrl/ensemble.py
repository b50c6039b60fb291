"""Ensembles of trees that are boosted along gradients.

    F(x) = b − Σ_t η_t ∘ h_t(x) ∈ ℝᴰ

with a tree h_t fitted to gradients g_i = ∂ℓ_i/∂F(x_i) (`trees`), not to their mean over the batch:
F ← F − η ∘ h is a step of functional gradient descent. Rates η_t ∈ ℝᴰ, one an output.

Reference:
    Fuhrer, Tessler, Dalal. Gradient boosting reinforcement learning. ICML 2025.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, get_args
from zipfile import BadZipFile

import numpy as np

from ...core import checks
from ...core.checks import BoolArray, FloatArray, IntArray
from . import grow, oracle
from .params import TreeParams
from .predict import add_greedy, add_oblivious
from .trees import Float32Array, Tree, n_tests

Backend: TypeAlias = Literal["numba", "numpy"]
_VERSION = 1
_LARGEST_CODE = 2**24  # integers up to it are exact in float32


class TreeEnsemble:
    """Trees with D outputs.

        ensemble = TreeEnsemble(2, TreeParams(depth=4), learning_rate=0.1)
        for _ in range(100):
            ensemble.step(X, ensemble.predict(X) - Y)  # one tree on the gradients of ½ ‖F − Y‖²

    Args:
        n_outputs: D.
        params: how trees are grown.
        learning_rate: η, one number or one an output, (D,).
        bias: b, (D,); None: 0.
        categorical: which features are, by index.
        backend: "numba", or "numpy", slow and literal.
    """

    def __init__(
        self,
        n_outputs: int,
        params: TreeParams | None = None,
        *,
        learning_rate: float | Sequence[float] | FloatArray = 0.1,
        bias: Sequence[float] | FloatArray | None = None,
        categorical: Sequence[int] = (),
        backend: Backend = "numba",
    ) -> None:
        self.n_outputs = checks.integer(n_outputs, "n_outputs", minimum=1)
        self.params = TreeParams() if params is None else params
        self.learning_rate = _outputs(learning_rate, "learning_rate", self.n_outputs)
        self.bias = _outputs(0.0 if bias is None else bias, "bias", self.n_outputs)
        self.categorical = tuple(
            sorted({checks.integer(f, "categorical", minimum=0) for f in categorical})
        )
        if backend not in get_args(Backend):
            raise ValueError(f"backend must be one of {get_args(Backend)}, got {backend!r}")
        self.backend = backend
        self.n_features: int | None = None
        self.n_trees = 0
        self._reserve(0)

    def step(self, X: Any, gradients: Any) -> None:
        """Fit one tree to gradients and append it: F ← F − η ∘ h.

        Args:
            X: features, (n, F); float32 is what is compared.
            gradients: g_i, (n, D), of each row's own loss.

        Raises:
            ValueError: shapes differ from those before, or an entry is not finite.
        """
        rows = self._rows(X)
        G = checks.array(gradients, "gradients", shape=(len(rows), self.n_outputs))
        if not len(rows):
            raise ValueError("X must have at least one row, got none")
        backend = grow if self.backend == "numba" else oracle
        self._append(backend.grow(rows, G, self.params, self._is_categorical()))

    def predict(self, X: Any, start: int = 0, stop: int | None = None) -> FloatArray:
        """F of rows, (n, D), of b and the trees start .. stop − 1.

        Args:
            X: features, (n, F).
            start: the first tree.
            stop: the one after the last; None: all.
        """
        rows = self._rows(X)
        out = np.tile(self.bias, (len(rows), 1))
        self.add(rows, out, start, stop)
        return out

    def add(
        self, rows: Float32Array, out: FloatArray, start: int = 0, stop: int | None = None
    ) -> None:
        """Add the trees start .. stop − 1 to `out`, (n, D), of rows (n, F), unchecked."""
        add = add_oblivious if self.params.grow == "oblivious" else add_greedy
        part = slice(start, self.n_trees if stop is None else min(stop, self.n_trees))
        arrays = self._features[part], self._thresholds[part]
        add(rows, *arrays, self._is_categorical(), self._values[part], self._rates[part], out)

    def fit(
        self, X: Any, y: Any, n_trees: int, *, batch_size: int | None = None, seed: int = 0
    ) -> list[float]:
        """Boost ½ ‖F(x) − y‖² from the mean of y, in batches that go through shuffled rows.

        Args:
            X: features, (n, F).
            y: targets, (n, D), or (n,) if D = 1.
            n_trees: trees to add.
            batch_size: rows a tree; None: all.
            seed: of the order of the rows.

        Returns:
            √(mean_i ½ ‖F(x_i) − y_i‖²) after each tree, over its batch.
        """
        checks.integer(n_trees, "n_trees", minimum=1)
        rows = self._rows(X)
        targets = checks.array(y, "y")
        targets = targets[:, None] if targets.ndim == 1 else targets
        targets = checks.array(targets, "y", shape=(len(rows), self.n_outputs))
        size = checks.integer(batch_size or len(rows), "batch_size", minimum=1)
        if not self.n_trees:
            self.bias = targets.mean(axis=0)
        order = np.random.default_rng(seed).permutation(len(rows))
        current, losses, begin = self.predict(rows), [], 0
        for _ in range(n_trees):
            batch = order[begin : begin + size]
            begin = begin + size if begin + size < len(rows) else 0
            self.step(rows[batch], (current - targets)[batch])
            self.add(rows, current, self.n_trees - 1)
            losses.append(float(np.sqrt(0.5 * ((current - targets)[batch] ** 2).sum(1).mean())))
        return losses

    def tree(self, t: int) -> Tree:
        """Tree number t."""
        if not -self.n_trees <= t < self.n_trees:
            raise ValueError(f"t must be a tree of {self.n_trees}, got {t}")
        t %= self.n_trees
        return Tree(
            self._features[t].copy(),
            self._thresholds[t].copy(),
            self._values[t].astype(np.float64),
            self._counts[t].copy(),
        )

    def save(self, path: str | Path) -> None:
        """Write all to a file; see `load`."""
        with Path(path).open("wb") as file:
            np.savez_compressed(file, **self.state())

    @classmethod
    def load(cls, path: str | Path, **changes: Any) -> Self:
        """An ensemble from a file of `save`; `changes`: `backend`."""
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
                state = dict(stored)
            return cls.from_state(state, **changes)
        except FileNotFoundError:
            raise
        except (OSError, KeyError, EOFError, ValueError, BadZipFile) as error:
            raise ValueError(
                f"path must be a file of TreeEnsemble.save, got {path} ({error}); save it again"
            ) from None

    def state(self) -> dict[str, Any]:
        """All that there is, as arrays."""
        return {
            "version": np.array(_VERSION),
            "params": np.array(json.dumps(asdict(self.params))),
            "backend": np.array(self.backend),
            "n_features": np.array(self.n_features or 0),
            "learning_rate": self.learning_rate,
            "bias": self.bias,
            "categorical": np.array(self.categorical, np.int64),
        } | {name: getattr(self, f"_{name}")[: self.n_trees] for name in _STORED}

    @classmethod
    def from_state(cls, state: dict[str, Any], **changes: Any) -> Self:
        """From a `state`."""
        if (version := int(state["version"])) != _VERSION:
            raise ValueError(f"the version must be {_VERSION}, got {version}")
        settings: dict[str, Any] = {"backend": str(state["backend"])} | changes
        new = cls(
            len(state["bias"]),
            TreeParams(**json.loads(str(state["params"]))),
            learning_rate=state["learning_rate"],
            bias=state["bias"],
            categorical=state["categorical"].tolist(),
            **settings,
        )
        new.n_features, new.n_trees = int(state["n_features"]) or None, len(state["features"])
        for name in _STORED:
            setattr(new, f"_{name}", state[name].copy())
        return new

    def _rows(self, X: Any) -> Float32Array:
        """X, checked, float32, (n, F)."""
        array = np.asarray(X)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"X must be an array of real numbers, got {array.dtype}; encode it")
        if array.ndim != 2 or array.shape[1] != (self.n_features or array.shape[1]):
            wanted = "n_features" if self.n_features is None else str(self.n_features)
            raise ValueError(f"X must have shape (n, {wanted}), got {array.shape}; reshape it")
        rows = np.ascontiguousarray(array, np.float32)
        if not np.isfinite(rows).all():
            i, f = np.argwhere(~np.isfinite(rows))[0]
            raise ValueError(f"X must be finite in float32, got {array[i, f]} at row {i}, {f}")
        if self.n_features is None:
            if array.shape[1] <= max(self.categorical, default=0):
                raise ValueError(
                    f"categorical must be less than the {array.shape[1]} features, got "
                    f"{self.categorical}"
                )
            self.params.weights(array.shape[1])
            self.n_features = int(array.shape[1])
        codes = rows[:, self.categorical]
        if codes.size and (np.abs(codes).max() > _LARGEST_CODE or (codes != np.rint(codes)).any()):
            raise ValueError("categorical features must be integers up to 2^24; encode them")
        return rows

    def _is_categorical(self) -> BoolArray:
        mask = np.zeros(self.n_features or 0, np.bool_)
        mask[list(self.categorical)] = True
        return mask

    def _append(self, tree: Tree) -> None:
        if self.n_trees == len(self._features):
            self._reserve(max(16, 2 * self.n_trees))
        t = self.n_trees
        self._features[t], self._thresholds[t] = tree.features, tree.thresholds
        self._values[t], self._counts[t] = tree.values, tree.counts
        self._rates[t] = self.learning_rate
        self.n_trees += 1

    def _reserve(self, capacity: int) -> None:
        """Room for so many trees."""
        tests, leaves, k = n_tests(self.params), 2**self.params.depth, self.n_trees
        fresh = {
            "features": np.zeros((capacity, tests), np.int32),
            "thresholds": np.zeros((capacity, tests), np.float32),
            "values": np.zeros((capacity, leaves, self.n_outputs), np.float32),
            "counts": np.zeros((capacity, leaves), np.int32),
            "rates": np.zeros((capacity, self.n_outputs), np.float64),
        }
        for name, array in fresh.items():
            if k:
                array[:k] = getattr(self, f"_{name}")[:k]
            setattr(self, f"_{name}", array)

    _features: IntArray
    _thresholds: Float32Array
    _values: Float32Array
    _counts: IntArray
    _rates: FloatArray


_STORED = ("features", "thresholds", "values", "counts", "rates")


def _outputs(value: Any, name: str, n_outputs: int) -> FloatArray:
    """One number an output, (D,)."""
    array = checks.array(value, name)
    if array.ndim == 0:
        return np.full(n_outputs, float(array))
    return checks.array(array, name, shape=(n_outputs,)).copy()
