"""What offline agents share: data, the loop of gradient steps, actions, files.

A subclass says which networks there are, how they are optimised, what a step does with a batch, and
how it acts. Inside, states are (s − mean)/(std + 10⁻³) with the mean and deviation of the first
dataset fitted, and actions are in [−1, 1]: low and high of the action space are mapped to them.

All that is random comes from the seed: weights by a seeded scope that leaves torch's own generator
alone, batches and noise by a generator of the agent. An agent that was saved and loaded, or that is
fitted in two parts, takes the same steps as one fitted at once (on the same device).
"""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
from torch import Tensor, nn

from ...core import checks
from ...core.device import resolve, seeded_weights
from ...core.progress import ProgressBar

if TYPE_CHECKING:
    from ..datasets import OfflineDataset

_STD_FLOOR = 1e-3  # added to the deviation of states
_CHECKED_EVERY = 100  # steps between two looks at the losses: each waits for the device
_TOLERANCE = 1e-5  # by which actions may leave their bounds, of half the range

Bound: TypeAlias = float | Sequence[float]
Float32Array: TypeAlias = npt.NDArray[np.float32]


class Batch(NamedTuple):
    """Transitions as agents see them: states normalised, actions in [−1, 1].

    Attributes:
        observations: s, (B, d_s).
        actions: a, (B, d_a).
        rewards: r, (B,).
        next_observations: s', (B, d_s).
        continues: 0 where s' is terminal, else 1, (B,).
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    next_observations: Tensor
    continues: Tensor


class Shared(TypedDict, total=False):
    """Arguments that all agents take, with the defaults that `Agent` has."""

    normalise_states: bool
    action_low: Bound | None
    action_high: Bound | None
    seed: int
    device: str | torch.device


class Agent(ABC):
    """An offline learner; see the module docstring.

    Args:
        normalise_states: whether states are normalised; they are taken as they are otherwise.
        action_low: least action, a number or one a dimension; None: −1.
        action_high: greatest action; None: 1.
        seed: of everything that is random.
        device: see `core.device.resolve`.

    Attributes:
        step: gradient steps taken.
        networks: by name, from the first `fit` on.
        optimisers: likewise.
    """

    def __init__(
        self,
        *,
        normalise_states: bool = True,
        action_low: Bound | None = None,
        action_high: Bound | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
    ) -> None:
        self.normalise_states = bool(normalise_states)
        self.action_low = _bound(action_low, "action_low")
        self.action_high = _bound(action_high, "action_high")
        self.seed = checks.integer(seed, "seed", minimum=0)
        self.device = str(device)
        self._on = resolve(device)
        self.step = 0
        self._dimensions: tuple[int, int] | None = None

    # ------------------------------------------------------------------ what a subclass says

    @abstractmethod
    def _build(self, n_observations: int, n_actions: int) -> dict[str, nn.Module]:
        """Networks, with random weights from torch's global generator, which is seeded here."""

    @abstractmethod
    def _optimise(self, networks: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        """Optimisers of the networks, by name."""

    @abstractmethod
    def update(self, batch: Any) -> dict[str, Tensor]:
        """One gradient step; losses and other numbers, detached, of no dimension."""

    def _act(self, observations: Tensor, deterministic: bool) -> Tensor:
        """Actions in [−1, 1] for normalised states (B, d_s)."""
        raise NotImplementedError

    def _act_on_memory(
        self, observations: Tensor, state: Any, episode_start: Any, deterministic: bool
    ) -> tuple[Tensor, Any]:
        """The same, and the state after it, for agents that have one; they need no `_act`."""
        return self._act(observations, deterministic), state

    def _select(self, dataset: OfflineDataset) -> OfflineDataset:
        """The part to learn from."""
        return dataset

    # ------------------------------------------------------------------------------ training

    def fit(
        self,
        dataset: OfflineDataset,
        n_steps: int,
        *,
        batch_size: int = 256,
        callback: Callable[[Any, int, dict[str, float]], object] | None = None,
        every: int = 1000,
        progress: bool = True,
    ) -> Self:
        """Take gradient steps; further calls go on from there.

        Args:
            dataset: transitions; all of their actions must be known.
            n_steps: gradient steps of this call.
            batch_size: B, transitions a step, drawn with replacement.
            callback: called as callback(agent, step, metrics) each time that `every` divides the
                steps taken, with the means of what `update` returned since the last time.
            every: steps between two calls.
            progress: whether to show a bar.

        Raises:
            ValueError: the dataset does not suit the agent.
            FloatingPointError: a loss is not finite.
        """
        checks.integer(n_steps, "n_steps", minimum=0)
        checks.integer(batch_size, "batch_size", minimum=1)
        checks.integer(every, "every", minimum=1)
        data = self._prepare(self._select(dataset))
        means, checked, last = _Means(), self.step, self.step + n_steps
        with self._bar(n_steps, progress) as bar:
            while self.step < last:
                means.add(self.update(self._sample(data, batch_size)))
                self.step += 1
                due = self.step % every == 0
                if not (due or self.step == last or self.step % _CHECKED_EVERY == 0):
                    continue
                metrics = means.values()
                for name, value in metrics.items():
                    if not math.isfinite(value):
                        raise FloatingPointError(
                            f"{name} is {value} in steps {checked + 1} to {self.step}; "
                            "lower the learning rate or rescale rewards"
                        )
                bar.advance(self.step - checked)
                checked = self.step
                if due:
                    means = _Means()
                    if callback is not None:
                        callback(self, self.step, metrics)
        return self

    def _bar(self, n_steps: int, shown: bool) -> ProgressBar:
        return ProgressBar(
            "{task.description}",
            BarColumn(bar_width=15),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            total=self.step + n_steps,
            completed=self.step,
            description=type(self).__name__,
            shown=shown,
        )

    def _prepare(self, dataset: OfflineDataset) -> Any:
        """The data on the device, as `_sample` wants them; networks, the first time."""
        if not dataset.labelled.all():
            raise ValueError(
                f"dataset.actions must be known, got NaN in {int((~dataset.labelled).sum())} of "
                f"{len(dataset)} transitions; label them first or leave them out"
            )
        observations, actions = dataset.observations, dataset.actions
        dimensions = observations.shape[1], actions.shape[1]
        low, high = self._bounds(actions.shape[1])
        outside = np.maximum(low - actions, actions - high) / (0.5 * (high - low))
        if outside.max() > _TOLERANCE:
            raise ValueError(
                f"dataset.actions must be in [action_low, action_high], got {actions.min():g} to "
                f"{actions.max():g}; give the bounds of the action space to {type(self).__name__}"
            )
        if self._dimensions is None:
            self._start(*dimensions)
            if self.normalise_states:
                self._mean = self._tensor(observations.mean(axis=0, dtype=np.float64))
                self._std = self._tensor(observations.std(axis=0, dtype=np.float64)) + _STD_FLOOR
        elif dimensions != self._dimensions:
            raise ValueError(
                f"dataset must have {self._dimensions} dimensions of states and actions as before, "
                f"got {dimensions}; take another agent"
            )
        to = self._tensor
        return Batch(
            self._normalised(to(observations)),
            (2 * (to(actions) - self._low) / (self._high - self._low) - 1).clamp(-1, 1),
            to(dataset.rewards),
            self._normalised(to(dataset.next_observations)),
            to(~dataset.terminals),
        )

    def _sample(self, data: Any, batch_size: int) -> Any:
        """A batch, uniformly."""
        shape = (batch_size,)
        rows = torch.randint(len(data.rewards), shape, generator=self.generator, device=self._on)
        return Batch(*(part.index_select(0, rows) for part in data))

    def _start(self, n_observations: int, n_actions: int) -> None:
        """Networks, optimisers and generators as the seed gives them."""
        self._low, self._high = (self._tensor(bound) for bound in self._bounds(n_actions))
        self._dimensions = n_observations, n_actions
        self._mean = self._tensor(np.zeros(n_observations))
        self._std = self._tensor(np.ones(n_observations))
        weights, training, acting = (
            int(child.generate_state(1)[0]) for child in np.random.SeedSequence(self.seed).spawn(3)
        )
        self.generator = torch.Generator(self._on).manual_seed(training)
        self._acting = torch.Generator(self._on).manual_seed(acting)
        with seeded_weights(weights):
            built = nn.ModuleDict(self._build(n_observations, n_actions))
        self.networks = built.to(self._on)
        self.optimisers = self._optimise(self.networks)

    def _bounds(self, n_actions: int) -> tuple[Float32Array, Float32Array]:
        """Least and greatest action, (d_a,) each."""
        bounds = []
        for name, usual in {"action_low": -1.0, "action_high": 1.0}.items():
            given = getattr(self, name)
            bound = np.asarray(usual if given is None else given, dtype=np.float32)
            if bound.ndim == 1 and len(bound) != n_actions:
                raise ValueError(
                    f"{name} must have {n_actions} entries, got {given}; give one a dimension, or "
                    "a number"
                )
            bounds.append(np.full(n_actions, bound))
        low, high = bounds
        if not (low < high).all():
            raise ValueError(f"action_low must be below action_high, got {low} and {high}; swap")
        return low, high

    # --------------------------------------------------------------------------------- usage

    @property
    def dimensions(self) -> tuple[int, int]:
        """d_s and d_a.

        Raises:
            ValueError: neither `fit` nor `load` was called.
        """
        if self._dimensions is None:
            raise ValueError(f"{type(self).__name__} has no networks yet; call fit or load first")
        return self._dimensions

    def predict(
        self,
        observation: npt.ArrayLike,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[Any, Any]:
        """Actions, as models of stable-baselines3 give them, so that its tools can be used.

        Args:
            observation: (d_s,), or (n, d_s) for n at once.
            state: what the last call returned, for agents that have a memory.
            episode_start: where the memory is to be emptied, (n,); None: nowhere.
            deterministic: False draws from policies that are random.

        Returns:
            Actions (d_a,) or (n, d_a), and the state.
        """
        given = self._checked(observation)
        x = self._normalised(self._tensor(np.atleast_2d(given)))
        with torch.no_grad():
            actions, state = self._act_on_memory(x, state, episode_start, deterministic)
        return self._unscaled(actions).reshape(*given.shape[:-1], -1), state

    def _checked(self, observation: npt.ArrayLike) -> Float32Array:
        given = np.asarray(observation, dtype=np.float32)
        n_observations, _ = self.dimensions
        if given.ndim not in (1, 2) or given.shape[-1] != n_observations:
            raise ValueError(
                f"observation must have shape ({n_observations},) or (any, {n_observations}), "
                f"got {given.shape}; reshape it"
            )
        return given

    def _tensor(self, values: npt.ArrayLike) -> Tensor:
        """A copy on the device."""
        return torch.tensor(np.asarray(values, dtype=np.float32), device=self._on)

    def _normalised(self, observations: Tensor) -> Tensor:
        return (observations - self._mean) / self._std

    def _unscaled(self, actions: Tensor) -> Float32Array:
        """Actions in [low, high] of those in [−1, 1]."""
        low, high = self._low, self._high
        return (low + 0.5 * (actions + 1) * (high - low)).clamp(low, high).cpu().numpy()

    # --------------------------------------------------------------------------------- files

    def save(self, path: str | Path) -> None:
        """Write the agent, and the state of its training, to a file; see `load`."""
        names = [
            name
            for kind in (type(self), Agent)
            for name, parameter in inspect.signature(kind).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        ]
        state = {
            "class": type(self).__name__,
            "arguments": {name: getattr(self, name) for name in names},
            "dimensions": self.dimensions,
            "step": self.step,
            "mean": self._mean,
            "std": self._std,
            "networks": self.networks.state_dict(),
            "optimisers": {name: one.state_dict() for name, one in self.optimisers.items()},
            "generators": [self.generator.get_state(), self._acting.get_state()],
            "device_type": self._on.type,
        }
        temporary = Path(f"{path}.tmp")
        torch.save(state, temporary)
        temporary.replace(path)

    @classmethod
    def load(cls, path: str | Path, *, device: str | torch.device | None = None) -> Self:
        """The agent in a file, which acts, and goes on with `fit`, as the one that was saved.

        Args:
            path: of `save`.
            device: None: that of the agent that was saved. On another type of device, batches and
                noise are drawn anew from the seed.
        """
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state.get("class") != cls.__name__:
            raise ValueError(
                f"path must hold a {cls.__name__}, got a {state.get('class')}; load it as that"
            )
        agent = cls(**(state["arguments"] | ({} if device is None else {"device": str(device)})))
        agent._start(*state["dimensions"])
        agent.networks.load_state_dict(state["networks"])
        for name, optimiser in agent.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        agent._mean, agent._std = (state[name].to(agent._on) for name in ("mean", "std"))
        if agent._on.type == state["device_type"]:
            generators = (agent.generator, agent._acting)
            for generator, saved in zip(generators, state["generators"], strict=True):
                generator.set_state(saved)
        agent.step = state["step"]
        return agent


class _Means:
    """Means of numbers by name, each over the steps that had it, added up on the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, numbers: dict[str, Tensor]) -> None:
        for name, number in numbers.items():
            before = self._counts.get(name, 0)
            self._sums[name] = self._sums[name] + number if before else number
            self._counts[name] = before + 1

    def values(self) -> dict[str, float]:
        return {name: float(total) / self._counts[name] for name, total in self._sums.items()}


def nonnegative(value: float, name: str) -> float:
    """`value` as a finite float of at least zero."""
    return float(checks.array(value, name, shape=(), low=0.0))


def unit(value: float, name: str) -> float:
    """`value` as a float in [0, 1]."""
    return float(checks.array(value, name, shape=(), low=0.0, high=1.0))


def _bound(value: Bound | None, name: str) -> float | tuple[float, ...] | None:
    """A number, or one a dimension, as plain floats."""
    if value is None:
        return None
    array = checks.array(value, name)
    if array.ndim > 1:
        raise ValueError(f"{name} must be a number or one a dimension, got shape {array.shape}")
    return float(array) if array.ndim == 0 else tuple(map(float, array))
