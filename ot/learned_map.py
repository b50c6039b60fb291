"""Maps between two clouds that are learned by stochastic gradients: the loop that they share.

A subclass says what it trains, what a step does, and how points are moved. The loop draws batches,
shows progress, measures on points held out, stops early if asked to, and can be interrupted, saved
and resumed: a fit that is resumed takes the same steps as one that was not interrupted (on the same
device).

Data are arrays (n, d), of which a part is held out, or samplers: functions (n, rng) -> (n, d), rng
a `numpy.random.Generator`.
"""

from __future__ import annotations

import inspect
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Self, TypeAlias, cast

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Column
from torch import Tensor, nn

from ..core import checks
from ..core.device import dtype as dtype_of
from ..core.device import resolve, seeded_weights
from ..core.progress import ProgressBar
from . import costs
from ._tensors import Array, require_shape, threads_for, together
from .divergences import sinkhorn_divergence
from .sinkhorn import ConvergenceWarning

Data: TypeAlias = Array | Callable[[int, np.random.Generator], Array]
_HELD_OUT = 0.2  # of an array, at most
_BETTER = 1e-3  # relative fall of the divergence that counts as one


class NotFittedError(ValueError, AttributeError):
    """A map is asked to move points before `fit`; the bases are those of scikit-learn's."""


class LearnedMap(ABC):
    """A map with `fit`, `transport`, `score`, `history`, `save` and `load`.

    Args:
        n_steps: steps in all; `fit` ends there.
        batch_size: points a step takes from each side.
        learning_rate: of Adam.
        final_rate: where the learning rate ends: it falls to learning_rate · final_rate over
            n_steps, along half a cosine; in (0, 1], 1: it is constant.
        validate_every: steps between two rows of `history`.
        n_validation: points of each side held out (arrays: a fifth at most) or drawn (samplers).
        patience: stop after so many rows without a lower divergence on these, and go back to the
            best; None: never.
        seed: of everything that is random.
        device: see `core.device.resolve`.
        dtype: "float32" or "float64".
        progress: whether to show a bar.
    """

    _shown: tuple[str, ...] = ("loss", "divergence")  # columns of the history, in the bar

    def __init__(
        self,
        *,
        n_steps: int,
        batch_size: int,
        learning_rate: float,
        final_rate: float,
        validate_every: int,
        n_validation: int,
        patience: int | None,
        seed: int,
        device: str | torch.device,
        dtype: str | torch.dtype,
        progress: bool,
    ) -> None:
        self.n_steps = checks.integer(n_steps, "n_steps", minimum=1)
        self.batch_size = checks.integer(batch_size, "batch_size", minimum=2)
        self.learning_rate = checks.positive(learning_rate, "learning_rate")
        self.final_rate = float(checks.array(final_rate, "final_rate", shape=(), low=0.0, high=1.0))
        self.validate_every = checks.integer(validate_every, "validate_every", minimum=1)
        self.n_validation = checks.integer(n_validation, "n_validation", minimum=2)
        self.patience = (
            None if patience is None else checks.integer(patience, "patience", minimum=1)
        )
        self.seed = checks.integer(seed, "seed", minimum=0)
        self.device, self.dtype, self.progress = device, dtype, progress
        resolve(device)
        dtype_of(dtype)
        self.networks_: nn.ModuleDict | None = None

    # ------------------------------------------------------------------ what a subclass says

    @abstractmethod
    def _build(self, dim: int) -> nn.ModuleDict:
        """Networks, with random weights from torch's global generator, which is seeded here."""

    def _optimizers(self, networks: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Adam for all."""
        return {"all": torch.optim.Adam(networks.parameters(), lr=self.learning_rate, fused=True)}

    @abstractmethod
    def _prepare(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """Constants of the fit, from a first batch; they come to `constants_`."""

    @abstractmethod
    def _step(self, source: Draws, target: Draws) -> dict[str, float]:
        """One step on batches; "loss" and other numbers, to be averaged into `history`."""

    @abstractmethod
    def _moved(self, x: Tensor) -> Tensor:
        """T of points (n, d)."""

    def _measured(self, x: Tensor, y: Tensor, moved: Tensor) -> dict[str, float]:
        """More columns of `history`, from points held out."""
        return {}

    # ------------------------------------------------------------------------------ training

    def fit(self, source: Data, target: Data, *, resume: bool = False) -> Self:
        """Learn a map from source to target.

        Args:
            source: points (n, d), numpy or torch, or a sampler (n, rng) -> (n, d).
            target: points (m, d), or a sampler.
            resume: go on from where an interrupted, or loaded, fit has ended, with the same data.

        Returns:
            The map itself.

        Raises:
            TypeError, ValueError: data of another shape, not finite, or of too few points.
            FloatingPointError: a loss is not finite.
        """
        if not (resume and self.networks_ is not None):
            self._start(source, target)
        elif self._dim != (dim := _dim(source, "source")):
            raise ValueError(f"source must have d = {self._dim} as before, got {dim}; start anew")
        draws = (
            Draws(source, "source", self, self._held[0]),
            Draws(target, "target", self, self._held[1]),
        )
        if self.step_ == 0:
            self.constants_ = self._prepare(*(draw.batch() for draw in draws))
        held_out = [draw.held_out() for draw in draws]
        with threads_for(self.batch_size**2), self._bar() as bar:
            while self.step_ < self.n_steps and not self.stopped_:
                self._set_rate()
                losses = self._step(*draws)
                if not np.isfinite(losses["loss"]):
                    raise FloatingPointError(
                        f"the loss is {losses['loss']} at step {self.step_}; lower learning_rate"
                    )
                for name, value in losses.items():
                    self._sums[name] = self._sums.get(name, 0.0) + value
                self.step_ += 1
                if self.step_ % self.validate_every == 0 or self.step_ == self.n_steps:
                    self._validate(*held_out)
                    bar.advance(0, row=self._told())
                bar.advance()
        return self

    def _bar(self) -> ProgressBar:
        return ProgressBar(
            "{task.description}",
            BarColumn(bar_width=15),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[row]}", table_column=Column(no_wrap=True)),
            total=self.n_steps,
            completed=self.step_,
            description=type(self).__name__,
            shown=self.progress,
            row=self._told(),
        )

    def _told(self) -> str:
        """The last measurements, for the bar."""
        row = self.rows_[-1] if self.rows_ else {}
        return "  ".join(f"{name} {row[name]:.3g}" for name in self._shown if name in row)

    def _start(self, source: Data, target: Data) -> None:
        dim = _dim(source, "source")
        if (other := _dim(target, "target")) != dim:
            raise ValueError(f"target must have d = {dim} like source, got {other}; reshape it")
        seeds = np.random.SeedSequence(self.seed).spawn(3)
        self._dim = dim
        self._rng, held = (np.random.default_rng(s) for s in seeds[:2])
        self._held = [int(seed) for seed in held.integers(2**31, size=2)]
        first = int(seeds[2].generate_state(1)[0])
        device, dtype = resolve(self.device), dtype_of(self.dtype)
        with seeded_weights(first):
            self.networks_ = self._build(dim).to(device, dtype)
        self._probes = torch.Generator(device).manual_seed(first)
        self._adam = self._optimizers(self.networks_)
        self.step_, self.stopped_ = 0, False
        self.rows_: list[dict[str, float]] = []
        self._sums: dict[str, float] = {}
        self._best: dict[str, Any] | None = None

    def _set_rate(self) -> None:
        fallen = 0.5 * (1 - math.cos(math.pi * self.step_ / self.n_steps))
        rate = self.learning_rate * (1 - (1 - self.final_rate) * fallen)
        for optimizer in self._adam.values():
            for group in optimizer.param_groups:
                group["lr"] = rate

    def _validate(self, x: Tensor, y: Tensor) -> None:
        before = self.rows_[-1]["step"] if self.rows_ else 0.0
        moved = self._finite(self._moved(x).detach())
        row = {"step": float(self.step_)}
        row |= {name: total / (self.step_ - before) for name, total in self._sums.items()}
        row["divergence"] = self._divergence(moved, y)
        row |= self._measured(x, y, moved)
        self.rows_.append(row)
        self._sums = {}
        if self.patience is None:
            return
        assert self.networks_ is not None
        now = len(self.rows_) - 1
        if self._best is None or (
            row["divergence"] < (1 - _BETTER) * self.rows_[self._best["row"]]["divergence"]
        ):
            self._best = {"row": now, "weights": deepcopy(self.networks_.state_dict())}
        elif now - self._best["row"] >= self.patience:
            self.networks_.load_state_dict(self._best["weights"])
            self.stopped_ = True

    def _finite(self, moved: Tensor) -> Tensor:
        """The same points, once they are known to be finite."""
        if not math.isfinite(moved.detach().abs().max()):  # NaN if any entry is
            raise FloatingPointError(
                f"the map is not finite at step {self.step_}; lower learning_rate"
            )
        return moved

    def _divergence(self, moved: Tensor, y: Tensor) -> float:
        """Squared Euclidean, ε = 0.05 of the mean cost of y with itself, whatever is trained."""
        epsilon = 0.05 * float(costs.NAMED["sqeuclidean"].between(y, y).mean())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 1e-3 is enough here
            found = sinkhorn_divergence(moved, y, epsilon=max(epsilon, 1e-30), tolerance=1e-3)
        return float(found.value)

    # --------------------------------------------------------------------------------- usage

    @property
    def history(self) -> dict[str, Any]:
        """Columns by name, one entry each `validate_every` steps: step, losses, measurements."""
        rows = self.rows_ if self.networks_ is not None else []
        return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}

    def transport(self, points: Array) -> Any:
        """T of points (..., d), numpy or torch; not differentiable, returned as they came."""
        return self._carried(points, self._moved)

    def _carried(self, points: Array, move: Callable[[Tensor], Tensor]) -> Any:
        """What `move` makes of points (..., d), as an array of their kind."""
        self._require_fitted()
        arrays, origin = together(points=points)
        given = cast(Tensor, arrays["points"])
        require_shape(given, "points", (self._dim,), f"(..., {self._dim}) as in fit")
        x = given.detach().to(resolve(self.device), dtype_of(self.dtype)).reshape(-1, self._dim)
        moved = move(x).detach().reshape(given.shape)
        return origin.restore(moved.to(given.device, given.dtype))

    def score(self, source: Array, target: Array) -> float:
        """Minus the Sinkhorn divergence between T(source) (n, d) and target (m, d): more is better.

        Squared Euclidean, ε = 0.05 times the mean cost of the target with itself.
        """
        moved = self.transport(source)
        arrays, _ = together(moved=moved, target=target)
        both = (cast(Tensor, arrays[name]).detach().double() for name in ("moved", "target"))
        return -self._divergence(*both)

    def _require_fitted(self) -> nn.ModuleDict:
        if self.networks_ is None:
            raise NotFittedError(f"this {type(self).__name__} is not fitted; call fit first")
        return self.networks_

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Arguments of the constructor, as in scikit-learn; `deep` changes nothing."""
        names = list(inspect.signature(type(self).__init__).parameters)[1:]
        return {name: getattr(self, name) for name in names}

    def set_params(self, **params: Any) -> Self:
        """Change arguments of the constructor; a fit that went before is forgotten."""
        known = self.get_params()
        for name in params:
            if name not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}; rename it")
        self.__init__(**(known | params))  # type: ignore[misc]
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        changed = ", ".join(
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if value is not (usual := defaults[name].default) and value != usual
        )
        return f"{type(self).__name__}({changed})"

    def save(self, path: str | Path) -> None:
        """Write the map and the state of its fit to a file; see `load`."""
        networks = self._require_fitted()
        params = {
            name: _plain(value) for name, value in self.get_params().items() if _can_store(value)
        }
        state = {
            "class": type(self).__name__,
            "params": params,
            "dim": self._dim,
            "networks": networks.state_dict(),
            "optimizers": {name: one.state_dict() for name, one in self._adam.items()},
            "rng": self._rng.bit_generator.state,
            "probes": (self._probes.device.type, self._probes.get_state()),
            "held": self._held,
            "step": self.step_,
            "stopped": self.stopped_,
            "rows": self.rows_,
            "sums": self._sums,
            "best": self._best,
            "constants": self.constants_,
            "more": self._more(),
        }
        temporary = Path(f"{path}.tmp")
        torch.save(state, temporary)
        temporary.replace(path)

    def _more(self) -> dict[str, Any]:
        """More state for a file."""
        return {}

    def _restore_more(self, state: dict[str, Any]) -> None:  # noqa: B027  # none by default
        """From `_more`."""

    @classmethod
    def load(cls, path: str | Path, **params: Any) -> Self:
        """A map from a file of `save`.

        Args:
            path: of the file.
            params: arguments of the constructor that files do not hold, or that shall differ:
                own networks, costs and functions have to be given again; `device` and `n_steps`
                may be changed.
        """
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["class"] != cls.__name__:
            raise ValueError(
                f"path must hold a {cls.__name__}, got a {state['class']}; load it as one"
            )
        stored = {name: _revived(value) for name, value in state["params"].items()}
        missing = set(inspect.signature(cls.__init__).parameters) - {"self"} - set(stored)
        if missing - set(params):
            names = ", ".join(sorted(missing - set(params)))
            raise ValueError(f"{names} must be given: the file does not hold what was passed")
        new = cls(**(stored | params))
        device, dtype = resolve(new.device), dtype_of(new.dtype)
        new._dim, new._held = state["dim"], state["held"]
        with torch.random.fork_rng(devices=[]):
            new.networks_ = new._build(new._dim).to(device, dtype)
        new.networks_.load_state_dict(state["networks"])
        new._adam = new._optimizers(new.networks_)
        for name, one in new._adam.items():
            one.load_state_dict(state["optimizers"][name])
        new._rng = np.random.default_rng()
        new._rng.bit_generator.state = state["rng"]
        new._probes = torch.Generator(device)
        if state["probes"][0] == device.type:  # those of another device differ
            new._probes.set_state(state["probes"][1])
        new.step_, new.stopped_ = state["step"], state["stopped"]
        new.rows_, new._sums, new._best = state["rows"], state["sums"], state["best"]
        new.constants_ = state["constants"]
        new._restore_more(state["more"])
        return new


def _can_store(value: Any) -> bool:
    if isinstance(value, costs.Cost):
        return type(value).__module__ == costs.__name__
    if isinstance(value, (tuple, list)):
        return all(_can_store(one) for one in value)
    return value is None or isinstance(value, (bool, int, float, str, torch.device, torch.dtype))


def _plain(value: Any) -> Any:
    if isinstance(value, costs.Cost):
        return {"cost": type(value).__name__, "fields": dict(vars(value))}
    return str(value) if isinstance(value, torch.device) else value


def _revived(value: Any) -> Any:
    return getattr(costs, value["cost"])(**value["fields"]) if isinstance(value, dict) else value


def _dim(data: Data, name: str) -> int:
    """d, of an array or of what a sampler gives."""
    sample = data(2, np.random.default_rng(0)) if callable(data) else data
    if getattr(sample, "ndim", None) != 2:
        shape = tuple(getattr(sample, "shape", ())) or type(sample).__name__
        raise ValueError(f"{name} must have shape (n, d), got {shape}; reshape it")
    return int(sample.shape[1])


class Draws:
    """Batches of one side, as tensors on the device of the map.

    Args:
        data: an array or a sampler.
        name: of the argument.
        owner: the map, whose generator draws the batches.
        seed: of what is held out.
        hold_out: whether to hold out points of an array.
    """

    def __init__(
        self, data: Data, name: str, owner: LearnedMap, seed: int, *, hold_out: bool = True
    ) -> None:
        self.name, self.owner = name, owner
        self._sampler = data if callable(data) else None
        self._seed = np.random.default_rng(seed)
        if callable(data):
            return
        points = self._tensor(data)
        n_held = min(owner.n_validation, int(_HELD_OUT * len(points))) if hold_out else 0
        if hold_out and n_held < 2:
            raise ValueError(f"{name} must have at least 10 points, got {len(points)}; add some")
        order = torch.as_tensor(self._seed.permutation(len(points)), device=points.device)
        self._held, self._points = points[order[:n_held]], points[order[n_held:]]

    def _tensor(self, data: Any) -> Tensor:
        arrays, _ = together(**{self.name: data})
        points = cast(Tensor, arrays[self.name]).detach()
        return points.to(resolve(self.owner.device), dtype_of(self.owner.dtype))

    def batch(self) -> Tensor:
        """`batch_size` points, without repetition; all that there are if these are fewer."""
        size = self.owner.batch_size
        if self._sampler is not None:
            return self._tensor(self._sampler(size, self.owner._rng))
        if size >= len(self._points):
            return self._points
        chosen = self.owner._rng.choice(len(self._points), size, replace=False, shuffle=False)
        return self._points[torch.as_tensor(chosen, device=self._points.device)]

    def held_out(self) -> Tensor:
        """Points that no batch holds, or fresh ones."""
        if self._sampler is not None:
            return self._tensor(self._sampler(self.owner.n_validation, self._seed))
        return self._held
