"""Ensembles of trees that are boosted along gradients.

    F(x) = b − Σ_t η_t ∘ h_t(x) ∈ ℝᴰ

with a tree h_t fitted to gradients g_i = ∂ℓ_i/∂F(x_i) (`trees`), not to their mean over the batch:
F ← F − η ∘ h is a step of functional gradient descent ("sgd"). Rates η_t ∈ ℝᴰ, one an output; they
may fall along a line, `LinearSchedule`.

"adam" takes, for each x, the steps of Adam along the gradients h_1(x), h_2(x), ..:

    m ← β₁ m + (1 − β₁) h_t(x),   v ← β₂ v + (1 − β₂) h_t(x)²,
    F(x) ← F(x) − η_t √(1 − β₂ᵗ)/(1 − β₁ᵗ) m/(√v + ε),     β₁ = 0.9, β₂ = 0.999, ε = 1e-8

Control variates (off unless asked for) lessen the noise of gradients by the trees that are there:

    g_d ← g_d − α_d (μ_d − mean μ_d),   α_d = cov(g_d, μ_d)/(var μ_d + 1e-8) in [−1, 1],
    μ(x) = (1 − β) Σ_{t <= K} β^{K−t} h_t(x)/√(1 − βᴷ),   β = 0.9

where the reference library mixes up rows if D > 1.

Reference:
    Fuhrer, Tessler, Dalal. Gradient boosting reinforcement learning. ICML 2025.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args
from zipfile import BadZipFile

import numpy as np

from ...core import checks
from ...core.checks import BoolArray, FloatArray, IntArray
from . import grow, oracle
from .params import TreeParams
from .predict import (
    add_adam,
    add_greedy,
    add_oblivious,
    leaves_greedy,
    leaves_oblivious,
    momentum,
)
from .trees import Float32Array, Tree, n_tests

if TYPE_CHECKING:
    from .grow_torch import Forest

Backend: TypeAlias = Literal["numba", "torch", "numpy"]
Optimizer: TypeAlias = Literal["sgd", "adam"]
_VERSION = 2
_DECAY = 0.9  # β of control variates
_CHUNK = 2**21  # leaf numbers that are held at once
_LARGEST_CODE = 2**24  # integers up to it are exact in float32


@dataclass(frozen=True)
class LinearSchedule:
    """η_t = max(stop, start + (t + 1)/T (stop − start)) for tree t = 0, 1, ..

    Attributes:
        start: > 0.
        stop: > 0, at most `start`.
        n_trees: T.
    """

    start: float
    stop: float
    n_trees: int

    def __post_init__(self) -> None:
        for name in ("start", "stop"):
            object.__setattr__(self, name, checks.positive(getattr(self, name), name))
        object.__setattr__(self, "n_trees", checks.integer(self.n_trees, "n_trees", minimum=1))
        if self.stop > self.start:
            raise ValueError(f"stop must be at most start, {self.start}, got {self.stop}")

    def __call__(self, t: int) -> float:
        """η_t."""
        return max(self.stop, self.start + (t + 1) / self.n_trees * (self.stop - self.start))


Rate: TypeAlias = float | Sequence[float | LinearSchedule] | FloatArray | LinearSchedule


class TreeEnsemble:
    """Trees with D outputs.

        ensemble = TreeEnsemble(2, TreeParams(depth=4), learning_rate=0.1)
        for _ in range(100):
            ensemble.step(X, ensemble.predict(X) - Y)  # one tree on the gradients of ½ ‖F − Y‖²

    Args:
        n_outputs: D.
        params: how trees are grown.
        learning_rate: η, a number or a `LinearSchedule`, one for all or one an output, (D,).
        bias: b, (D,); None: 0.
        categorical: which features are, by index.
        optimizer: "sgd" or "adam", see above.
        control_variates: whether to use them.
        backend: "numba"; "torch", which is for GPUs; or "numpy", slow and literal.
        device: of torch: "cpu", "cuda" or "auto".
    """

    def __init__(
        self,
        n_outputs: int,
        params: TreeParams | None = None,
        *,
        learning_rate: Rate = 0.1,
        bias: Sequence[float] | FloatArray | None = None,
        categorical: Sequence[int] = (),
        optimizer: Optimizer = "sgd",
        control_variates: bool = False,
        backend: Backend = "numba",
        device: str = "cpu",
    ) -> None:
        self.n_outputs = checks.integer(n_outputs, "n_outputs", minimum=1)
        self.params = TreeParams() if params is None else params
        self.learning_rate = learning_rate
        self.bias = 0.0 if bias is None else bias
        self.categorical = tuple(
            sorted({checks.integer(f, "categorical", minimum=0) for f in categorical})
        )
        if backend not in get_args(Backend):
            raise ValueError(f"backend must be one of {get_args(Backend)}, got {backend!r}")
        if optimizer not in get_args(Optimizer):
            raise ValueError(f"optimizer must be one of {get_args(Optimizer)}, got {optimizer!r}")
        self.backend, self.optimizer = backend, optimizer
        self.device: Any = device
        if backend == "torch":
            from ...core.device import resolve  # imports torch

            self.device = resolve(device)
        elif device != "cpu":
            raise ValueError(f'device must be "cpu" for {backend}, got {device!r}; use "torch"')
        self.control_variates = bool(control_variates)
        self.n_features: int | None = None
        self.n_trees = 0
        self._forest: Forest | None = None  # the trees on the device
        self._reserve(0)

    @property
    def learning_rate(self) -> Rate:
        """η of the trees to come; may be set."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Rate) -> None:
        parts = value if isinstance(value, list | tuple) else [value]
        if not any(isinstance(part, LinearSchedule) for part in parts):
            value = _outputs(value, "learning_rate", self.n_outputs)
        elif len(parts) not in (1, self.n_outputs):
            raise ValueError(
                f"learning_rate must be one for all or one for each of {self.n_outputs} outputs, "
                f"got {value}"
            )
        numbers = [part for part in parts if not isinstance(part, LinearSchedule)]
        if any(checks.array(part, "learning_rate").min() < 0 for part in numbers):
            raise ValueError(f"learning_rate must be at least 0, got {value}")
        self._learning_rate: Rate = value

    @property
    def bias(self) -> FloatArray:
        """b, (D,); may be set, for one number for all or one an output."""
        return self._bias

    @bias.setter
    def bias(self, value: float | Sequence[float] | FloatArray) -> None:
        self._bias = _outputs(value, "bias", self.n_outputs)

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
        if np.abs(G).max() > np.finfo(np.float32).max:
            raise ValueError("gradients must be finite in float32, in which leaves are kept")
        if self.control_variates and self.n_trees:
            G = self._controlled(rows, G)
        how = rows, G, self.params, self._is_categorical(rows.shape[1])
        if self.backend == "torch":
            from . import grow_torch

            tree = grow_torch.grow(*how, device=self.device)
        else:
            tree = (grow if self.backend == "numba" else oracle).grow(*how)
        self.n_features = rows.shape[1]
        self._append(tree)

    def predict(self, X: Any, start: int = 0, stop: int | None = None) -> FloatArray:
        """F of rows, (n, D), of b and the trees start .. stop − 1.

        Args:
            X: features, (n, F).
            start: the first tree; 0 for "adam", whose steps depend on those before.
            stop: the one after the last; None: all.
        """
        rows = self._rows(X)
        first, last, _ = slice(start, stop).indices(self.n_trees)
        if self.optimizer == "adam" and first:
            raise ValueError(f'start must be 0 for "adam", got {start}')
        return self._fresh(rows, first, last)[0]

    def follow(self, X: Any) -> Followed:
        """Outputs of rows (n, F) that are kept while trees are added."""
        return Followed(self, self._rows(X).copy())

    def leaves(self, X: Any) -> IntArray:
        """The leaf of each row in each tree, (n, trees), numbered as in `Tree`."""
        return self._leaves(self._rows(X), 0, self.n_trees)

    def _fresh(
        self, rows: Float32Array, start: int, stop: int
    ) -> tuple[FloatArray, FloatArray | None]:
        """Outputs of trees, and the moments of Adam, as `_add` goes on with them."""
        out = np.tile(self.bias, (len(rows), 1))
        moments = np.zeros((2, *out.shape)) if self.optimizer == "adam" else None
        self._add(rows, out, moments, start, stop)
        return out, moments

    def _add(
        self, rows: Float32Array, out: FloatArray, moments: FloatArray | None, start: int, stop: int
    ) -> None:
        """Add trees to outputs (n, D), and to the moments of Adam, (2, n, D), in place."""
        if start >= stop:
            return
        values, rates = self._values[start:stop], self._rates[start:stop]
        if moments is not None:
            each = max(1, _CHUNK // max(1, stop - start))
            for i in range(0, len(rows), each):
                part = slice(i, i + each)
                leaves = self._leaves(rows[part], start, stop)
                add_adam(leaves, values, rates, start, moments[:, part], out[part])
            return
        if self.backend == "torch":
            self._on_device().add(rows, out, start, stop)
            return
        add = add_oblivious if self.params.grow == "oblivious" else add_greedy
        tests = self._features[start:stop], self._thresholds[start:stop]
        add(rows, *tests, self._is_categorical(), values, rates, out)

    def _on_device(self) -> Forest:
        """The trees there, those that came since the last call included."""
        if self._forest is None:
            from .grow_torch import Forest

            self._forest = Forest(self.params, self._is_categorical(), self.device)
        new = slice(self._forest.n_trees, self.n_trees)
        self._forest.extend(
            *(getattr(self, f"_{name}")[new] for name in _STORED if name != "counts")
        )
        return self._forest

    def _leaves(self, rows: Float32Array, start: int, stop: int) -> IntArray:
        find = leaves_oblivious if self.params.grow == "oblivious" else leaves_greedy
        tests = self._features[start:stop], self._thresholds[start:stop]
        return find(rows, *tests, self._is_categorical())

    def _controlled(self, rows: Float32Array, G: FloatArray) -> FloatArray:
        """Gradients (n, D) less their control variates."""
        if len(rows) == 1:
            return G
        K = self.n_trees
        each = max(1, _CHUNK // K)
        parts = [self._leaves(rows[i : i + each], 0, K) for i in range(0, len(rows), each)]
        mu = np.concatenate([momentum(leaves, self._values[:K], _DECAY) for leaves in parts])
        mu /= np.sqrt(1 - _DECAY**K)
        mu -= mu.mean(axis=0)
        covariance = (mu * (G - G.mean(axis=0))).sum(axis=0) / (len(rows) - 1)
        alpha = np.clip(covariance / (mu.var(axis=0, ddof=1) + 1e-8), -1.0, 1.0)
        controlled: FloatArray = G - alpha * mu
        return controlled

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
        kept, losses, begin = self.follow(rows), [], 0
        for _ in range(n_trees):
            batch = order[begin : begin + size]
            begin = begin + size if begin + size < len(rows) else 0
            self.step(rows[batch], kept.values[batch] - targets[batch])
            kept.update()
            errors = kept.values[batch] - targets[batch]
            losses.append(float(np.sqrt(0.5 * (errors**2).sum(axis=1).mean())))
        return losses

    def distilled(
        self,
        X: Any,
        n_trees: int,
        *,
        learning_rate: float = 0.1,
        batch_size: int | None = 5000,
        seed: int = 0,
    ) -> TreeEnsemble:
        """A smaller ensemble, fitted to the outputs of this one.

        Trees like those here, but grown by "l2", on ½ ‖F' − F‖² by `fit`; those that are added to
        it later are again like those here, at its rates (a `LinearSchedule` counts the trees of the
        new one), and by "sgd".

        Args:
            X: features, (n, F), as the ensemble will see them.
            n_trees: trees of the new one.
            learning_rate: η of these.
            batch_size: rows a tree; None: all.
            seed: of the order of the rows.
        """
        student = TreeEnsemble(
            self.n_outputs,
            replace(self.params, score="l2"),
            learning_rate=learning_rate,
            categorical=self.categorical,
            backend=self.backend,
            device=str(self.device),
        )
        student.fit(X, self.predict(X), n_trees, batch_size=batch_size, seed=seed)
        student.params, student.learning_rate = self.params, self.learning_rate
        student.control_variates = self.control_variates
        return student

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
        """An ensemble from a file of `save`; `changes`: `backend` and `device`."""
        cls(1, **changes)  # what is wrong with these is not the file's fault
        if changes.get("backend", "torch") != "torch":
            changes = {"device": "cpu"} | changes
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
            "settings": np.array(
                json.dumps(
                    {
                        "backend": self.backend,
                        "device": str(self.device),
                        "optimizer": self.optimizer,
                        "control_variates": self.control_variates,
                        "learning_rate": _plain(self.learning_rate),
                    }
                )
            ),
            "n_features": np.array(self.n_features or 0),
            "bias": self.bias,
            "categorical": np.array(self.categorical, np.int64),
        } | {name: getattr(self, f"_{name}")[: self.n_trees] for name in _STORED}

    @classmethod
    def from_state(cls, state: dict[str, Any], **changes: Any) -> Self:
        """From a `state`."""
        if (version := int(state["version"])) != _VERSION:
            raise ValueError(f"the version must be {_VERSION}, got {version}")
        settings: dict[str, Any] = json.loads(str(state["settings"])) | changes
        new = cls(
            len(state["bias"]),
            TreeParams(**json.loads(str(state["params"]))),
            learning_rate=_rate(settings.pop("learning_rate")),
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
        codes = rows[:, self.categorical]
        if codes.size and (np.abs(codes).max() > _LARGEST_CODE or (codes != np.rint(codes)).any()):
            raise ValueError("categorical features must be integers up to 2^24; encode them")
        return rows

    def _is_categorical(self, n_features: int | None = None) -> BoolArray:
        n = self.n_features if n_features is None else n_features
        return np.isin(np.arange(n or 0), self.categorical)

    def _append(self, tree: Tree) -> None:
        if self.n_trees == len(self._features):
            self._reserve(max(16, 2 * self.n_trees))
        t = self.n_trees
        self._features[t], self._thresholds[t] = tree.features, tree.thresholds
        self._values[t], self._counts[t] = tree.values, tree.counts
        rate = self.learning_rate
        parts: Any = rate if isinstance(rate, list | tuple | np.ndarray) else [rate]
        self._rates[t] = [part(t) if isinstance(part, LinearSchedule) else part for part in parts]
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


class Followed:
    """Outputs of rows, kept while trees are added: `TreeEnsemble.follow`.

    A tree costs its tests of these rows, whatever the number of trees before it.

    Attributes:
        rows: (n, F).
        values: F of the trees there were at the last `update`, (n, D).
    """

    def __init__(self, ensemble: TreeEnsemble, rows: Float32Array) -> None:
        self.ensemble, self.rows, self.n_trees = ensemble, rows, ensemble.n_trees
        self.values, self._moments = ensemble._fresh(rows, 0, self.n_trees)

    def update(self) -> None:
        """Add the trees that were appended since."""
        done, self.n_trees = self.n_trees, self.ensemble.n_trees
        self.ensemble._add(self.rows, self.values, self._moments, done, self.n_trees)

    def put(self, places: IntArray, X: Any) -> None:
        """Rows X, (k, F), at places, (k,), which may go on where the others end."""
        self.update()
        rows = self.ensemble._rows(X)
        values, moments = self.ensemble._fresh(rows, 0, self.n_trees)
        more = int(np.max(places, initial=-1)) + 1 - len(self.rows)
        if more > 0:
            self.rows = np.concatenate([self.rows, np.zeros((more, rows.shape[1]), np.float32)])
            self.values = np.concatenate([self.values, np.zeros((more, values.shape[1]))])
            if self._moments is not None:
                room = np.zeros((2, more, values.shape[1]))
                self._moments = np.concatenate([self._moments, room], axis=1)
        self.rows[places], self.values[places] = rows, values
        if self._moments is not None:
            self._moments[:, places] = moments


_STORED = ("features", "thresholds", "values", "counts", "rates")


def _outputs(value: Any, name: str, n_outputs: int) -> FloatArray:
    """One number an output, (D,)."""
    array = checks.array(value, name)
    if array.ndim == 0:
        return np.full(n_outputs, float(array))
    return checks.array(array, name, shape=(n_outputs,)).copy()


def _plain(rate: Rate) -> Any:
    """For JSON; see `_rate`."""
    if isinstance(rate, LinearSchedule):
        return asdict(rate)
    return [_plain(part) for part in rate] if isinstance(rate, list | tuple | np.ndarray) else rate


def _rate(plain: Any) -> Any:
    if isinstance(plain, dict):
        return LinearSchedule(**plain)
    return [_rate(part) for part in plain] if isinstance(plain, list) else plain
