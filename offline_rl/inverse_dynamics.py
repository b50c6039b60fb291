"""Inverse dynamics: which action led from one state to the next, learned where actions are known.

    window       w_t = (s_{t−k}, .., s_t, s_{t+1}), zeros before the start, all states normalised
    stochastic   p(a | w) = Π_i density of tanh(u_i), u ~ N(μ(w), σ(w)²),
                 log σ = −5 + 7/2 (1 + tanh ρ(w)),   loss −log p(a_t | w_t),   proxy tanh μ(w)
    deterministic
                 loss |μ(w) − a|² / d,   proxy μ(w), clipped

Data of several policies are a mixture: which of them acted is not in (s_t, s_{t+1}) where these do
not determine the action, but may be in the states before, and so windows with k ≥ 1 can be surer.
Several members are a mixture of equal weights: mean of means, variance E σ² + E μ² − (E μ)², where
σ is that of u, a proxy.

Reference:
    Zheng, Henaff, Amos, Grover. Semi-supervised offline reinforcement learning with action-free
    trajectories. ICML 2023, and its code: two networks for μ and ρ, dropout before the last layers.
Differs from its code: the last window of a trajectory has its true next state; the weights of the
best validation are kept; training ends when they have not become better for some time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from ..core import checks
from ..core.device import resolve, seeded_weights
from ..core.progress import ProgressBar
from .algorithms.networks import adam, descend, squashed_log_prob, widths

if TYPE_CHECKING:
    from .datasets import OfflineDataset

_STD_FLOOR = 1e-6  # added to the deviation of states
_EDGE = 1e-6  # by which actions keep off ±1, where tanh⁻¹ is infinite
_LOG_STD = (-5.0, 2.0)
_CHUNK = 16_384  # rows evaluated at once


@dataclass(frozen=True)
class Prediction:
    """Of each transition.

    Attributes:
        actions: proxy labels, (N, d), in the range of actions.
        uncertainty: variance of the mixture, mean over dimensions, in squared units of the action,
            (N,).
    """

    actions: npt.NDArray[np.float32]
    uncertainty: npt.NDArray[np.float32]


class _Trunk(nn.Module):
    """ReLU layers, dropout, and a last one; orthogonal weights and no offsets at first."""

    def __init__(self, n_inputs: int, hidden: Sequence[int], n_outputs: int) -> None:
        super().__init__()
        sizes = [n_inputs, *hidden, n_outputs]
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
        for layer in self.layers:
            nn.init.orthogonal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Outputs (B, m); `keep` (B, hidden) is 0 where a unit is dropped, else 1/(1 − rate)."""
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x if keep is None else x * keep)


class InverseDynamics:
    """Proxy labels for transitions without actions; see the module docstring.

    Args:
        window: k ≥ 0, states before the current one.
        stochastic: densities instead of a single action.
        n_models: members of the ensemble.
        hidden: widths of the hidden layers of each network.
        dropout: share of the last hidden units that is dropped in training.
        learning_rate: of Adam.
        batch_size: transitions a step.
        n_steps: gradient steps of each member, at most.
        validate_every: steps between two looks at a tenth of the labelled trajectories.
        patience: steps without a better one after which a member is done.
        action_low: least action, a number or one a dimension.
        action_high: greatest action.
        seed: of everything that is random.
        device: see `core.device.resolve`.

    Attributes:
        validation: best loss of each member on the trajectories held out, after `fit`.
    """

    def __init__(
        self,
        *,
        window: int = 1,
        stochastic: bool = True,
        n_models: int = 1,
        hidden: Sequence[int] = (1024, 1024),
        dropout: float = 0.1,
        learning_rate: float = 1e-4,
        batch_size: int = 1024,
        n_steps: int = 100_000,
        validate_every: int = 200,
        patience: int = 5_000,
        action_low: float | Sequence[float] = -1.0,
        action_high: float | Sequence[float] = 1.0,
        seed: int = 0,
        device: str | torch.device = "auto",
    ) -> None:
        self.window = checks.integer(window, "window", minimum=0)
        self.stochastic = bool(stochastic)
        self.n_models = checks.integer(n_models, "n_models", minimum=1)
        self.hidden = widths(hidden)
        self.dropout = checks.real(dropout, "dropout", above=-1e-12, below=1.0)
        self.learning_rate = checks.positive(learning_rate, "learning_rate")
        self.batch_size = checks.integer(batch_size, "batch_size", minimum=1)
        self.n_steps = checks.integer(n_steps, "n_steps", minimum=1)
        self.validate_every = checks.integer(validate_every, "validate_every", minimum=1)
        self.patience = checks.integer(patience, "patience", minimum=1)
        low, high = checks.array(action_low, "action_low"), checks.array(action_high, "action_high")
        if not (low < high).all():
            raise ValueError(f"action_low must be below action_high, got {low} and {high}; swap")
        self.seed = checks.integer(seed, "seed", minimum=0)
        self._on = resolve(device)
        self._middle, self._half = (self._tensor(x) for x in ((low + high) / 2, (high - low) / 2))
        self._members: list[nn.ModuleDict] = []
        self.validation: list[float] = []

    def fit(self, dataset: OfflineDataset, *, progress: bool = True) -> Self:
        """Learn from the transitions with actions, anew each time.

        Args:
            dataset: states of all of it, with or without actions, give mean and deviation. Rows
                that infos["next_unknown"] marks, of files that do not have their s', are left out.
            progress: whether to show a bar.

        Raises:
            ValueError: no transition has its action, or one is out of range.
            FloatingPointError: a loss is not finite.
        """
        states = np.asarray(dataset.observations, np.float64)
        self._mean = self._tensor(states.mean(axis=0))
        self._std = self._tensor(states.std(axis=0) + _STD_FLOOR)
        known = dataset.labelled & ~np.asarray(dataset.infos.get("next_unknown", False), bool)
        rows = np.flatnonzero(known)
        if not len(rows):
            raise ValueError("dataset must have actions somewhere, got nan everywhere; label some")
        inputs, actions = self._inputs(dataset, rows), self._scaled(dataset.actions[rows])
        excess = float(actions.abs().max()) - 1
        if excess > 1e-5:
            raise ValueError(
                f"dataset.actions must be in [action_low, action_high], got some {excess:.3g} half "
                "ranges outside; give the bounds of the action space"
            )
        trajectory = np.searchsorted(dataset.bounds, rows, side="right")
        self._members, self.validation = [], []
        seeds = np.random.SeedSequence(self.seed).spawn(self.n_models)
        with self._bar(progress) as bar:
            for number, seed in enumerate(seeds):
                member, best = self._train(inputs, actions, trajectory, seed, bar, number)
                self._members.append(member)
                self.validation.append(best)
        return self

    def _train(
        self,
        inputs: Tensor,
        actions: Tensor,
        trajectory: npt.NDArray[np.int64],
        seed: np.random.SeedSequence,
        bar: ProgressBar,
        number: int,
    ) -> tuple[nn.ModuleDict, float]:
        """A member, as it was at its best validation, and the loss there."""
        split_seed, weight_seed, batch_seed = seed.spawn(3)
        there = np.unique(trajectory)
        held = np.random.default_rng(split_seed).permutation(there)[: len(there) // 10]
        out = np.isin(trajectory, held)
        train, valid = (torch.as_tensor(np.flatnonzero(x), device=self._on) for x in (~out, out))
        if not len(valid):
            valid = train  # of fewer than ten trajectories
        generator = torch.Generator(self._on).manual_seed(int(batch_seed.generate_state(1)[0]))
        member = self._build(inputs.shape[1], actions.shape[1], weight_seed)
        optimiser = adam(member, self.learning_rate)
        best, since, kept, shown = np.inf, 0, _copy(member), 0
        for step in range(1, self.n_steps + 1):
            chosen = torch.randint(
                len(train), (self.batch_size,), generator=generator, device=self._on
            )
            rows = train[chosen]
            descend(optimiser, self._loss(member, inputs[rows], actions[rows], generator).mean())
            since += 1
            if step % self.validate_every and step != self.n_steps:
                continue
            with torch.no_grad():
                losses = self._in_chunks(
                    lambda x, a: self._loss(member, x, a), inputs[valid], actions[valid]
                )
            loss = float(losses.mean())
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"loss of member {number} is {loss} at step {step}; lower the learning rate"
                )
            bar.advance(step - shown, loss=loss)
            shown = step
            if loss < best:
                best, since, kept = loss, 0, _copy(member)
            if since >= self.patience:
                break
        bar.advance(self.n_steps - shown)  # that were not needed
        member.load_state_dict(kept)
        return member, best

    def _build(self, n_inputs: int, n_actions: int, seed: np.random.SeedSequence) -> nn.ModuleDict:
        names = ("mean", "log_std") if self.stochastic else ("mean",)
        with seeded_weights(int(seed.generate_state(1)[0])):
            return nn.ModuleDict(
                {name: _Trunk(n_inputs, self.hidden, n_actions) for name in names}
            ).to(self._on)

    def _outputs(
        self, member: nn.ModuleDict, inputs: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Mean (B, d), before tanh where there is one, and log σ, if there is one."""
        keeps: list[Tensor | None] = []
        for _ in member:
            if generator is None or self.dropout <= 0:
                keeps.append(None)
                continue
            shape = (len(inputs), self.hidden[-1])
            drawn = torch.rand(shape, generator=generator, device=self._on)
            keeps.append((drawn >= self.dropout) / (1 - self.dropout))
        mean = member["mean"](inputs, keeps[0])
        if not self.stochastic:
            return mean, None
        low, high = _LOG_STD
        raw = member["log_std"](inputs, keeps[1])
        return mean, low + 0.5 * (high - low) * (torch.tanh(raw) + 1)

    def _loss(
        self,
        member: nn.ModuleDict,
        inputs: Tensor,
        actions: Tensor,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """−log density of scaled actions, or the mean square over dimensions, (B,)."""
        mean, log_std = self._outputs(member, inputs, generator)
        if log_std is None:
            return ((mean - actions) ** 2).mean(dim=-1)
        u = torch.atanh(actions.clamp(-1 + _EDGE, 1 - _EDGE))
        return -squashed_log_prob(u, mean, log_std)

    @torch.no_grad()
    def predict(self, dataset: OfflineDataset) -> Prediction:
        """Proxy labels of all transitions, whether they have actions or not."""
        members = self._known()
        inputs = self._inputs(dataset, np.arange(len(dataset)))
        means, variances = [], []
        for member in members:

            def of(x: Tensor, member: nn.ModuleDict = member) -> Tensor:
                mean, log_std = self._outputs(member, x)
                if log_std is None:
                    return torch.stack([mean.clamp(-1, 1), torch.zeros_like(mean)])
                return torch.stack([torch.tanh(mean), torch.exp(2 * log_std)])

            mean, variance = self._in_chunks(of, inputs, axis=1)
            means.append(mean)
            variances.append(variance)
        mean, second = torch.stack(means).mean(dim=0), (torch.stack(means) ** 2).mean(dim=0)
        variance = (torch.stack(variances).mean(dim=0) + second - mean**2).clamp(min=0)
        actions = self._middle + self._half * mean
        uncertainty = (self._half**2 * variance).mean(dim=-1)
        return Prediction(actions.cpu().numpy(), uncertainty.cpu().numpy())

    @torch.no_grad()
    def log_likelihood(self, dataset: OfflineDataset) -> npt.NDArray[np.float32]:
        """log p(a | w) of the mixture, nats, of the transitions with actions.

        Raises:
            ValueError: the model is deterministic.
        """
        if not self.stochastic:
            raise ValueError("a likelihood needs stochastic=True, got a deterministic model")
        members, rows = self._known(), np.flatnonzero(dataset.labelled)
        inputs, actions = self._inputs(dataset, rows), self._scaled(dataset.actions[rows])
        each = torch.stack(
            [
                self._in_chunks(lambda x, a, m=member: -self._loss(m, x, a), inputs, actions)
                for member in members
            ]
        )
        total = torch.logsumexp(each, dim=0) - np.log(len(each))
        half: Any = self._half.expand(actions.shape[1]).log().sum()
        return (total - half).cpu().numpy()

    def _known(self) -> list[nn.ModuleDict]:
        if not self._members:
            raise ValueError("InverseDynamics has learned nothing yet; call fit first")
        return self._members

    def _inputs(self, dataset: OfflineDataset, rows: npt.NDArray[np.int64]) -> Tensor:
        """Normalised windows, (B, (k + 2) d_s)."""
        windows = self._tensor(dataset.windows(self.window)[rows])
        times = self.window + 2
        return (windows - self._mean.repeat(times)) / self._std.repeat(times)

    def _scaled(self, actions: npt.NDArray[np.float32]) -> Tensor:
        return (self._tensor(actions) - self._middle) / self._half

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=torch.float32, device=self._on)

    def _in_chunks(self, of: Any, *parts: Tensor, axis: int = 0) -> Tensor:
        return torch.cat(
            [of(*chunk) for chunk in zip(*(p.split(_CHUNK) for p in parts), strict=True)], dim=axis
        )

    def _bar(self, shown: bool) -> ProgressBar:
        return ProgressBar(
            "inverse dynamics",
            BarColumn(bar_width=15),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("validation loss {task.fields[loss]:.4f}"),
            total=self.n_steps * self.n_models,
            shown=shown,
            loss=float("nan"),
        )


def _copy(member: nn.ModuleDict) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in member.state_dict().items()}
