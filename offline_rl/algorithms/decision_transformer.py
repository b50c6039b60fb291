"""Decision transformer: actions as the continuation of a sequence that promises a return.

Of a trajectory the model reads K steps, each as tokens of the return to go g_t = Σ_{k>=t} r_k, of
the state s_t and of the action a_t, in this order, to which an embedding of the time t is added; a
token sees itself and those before it. At the state's token it gives a squashed Gaussian
π_t = π(· | g_{≤t}, s_{≤t}, a_{<t}). A step, with a temperature T and ã_t ~ π_t, is

    model:        −mean log π_t(a_t) − T H,   H = −mean log π_t(ã_t)
    temperature:  T (H + d_a)                 (target entropy −d_a nats; by log T)

with means over steps that are no padding. Windows end at a transition drawn uniformly, and are
padded on the left where the trajectory has no K steps before.

To act, the model is promised a return, and reads the last K steps likewise; the action is tanh(μ).

References:
    Chen et al. Decision transformer. NeurIPS 2021.
    Zheng, Zhang, Grover. Online decision transformer. ICML 2022 (policy and temperature).
Differs from the code of the latter: AdamW as in the former, not LAMB; windows that end, not begin,
at the transition drawn, as they do in acting; no heads for states and returns, which had no loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ...core import checks
from ._agent import Agent, Batch, Shared, nonnegative
from .networks import Temperature, adam, descend, squashed_log_prob, squashed_sample

if TYPE_CHECKING:
    from ..datasets import OfflineDataset

_LOG_STD = -5.0, 2.0  # least and greatest
_MOST = 1 - 1e-6  # of actions recorded: log densities of ±1 are infinite
_INIT_STD = 0.02  # of weights, as in GPT-2
_FIRST_TEMPERATURE = 0.1


class Window(NamedTuple):
    """K steps of each of B trajectories, zero where there is padding.

    Attributes:
        returns: g over the scale of returns, (B, K).
        observations: s, normalised, (B, K, d_s).
        actions: a in [−1, 1], (B, K, d_a).
        times: t, (B, K).
        valid: False for padding, (B, K).
    """

    returns: Tensor
    observations: Tensor
    actions: Tensor
    times: Tensor
    valid: Tensor


class Steps(NamedTuple):
    """A dataset, row by row, with the place of each row in its trajectory.

    Attributes:
        batch: all transitions.
        returns: g over the scale of returns, (N,).
        times: t, (N,).
    """

    batch: Batch
    returns: Tensor
    times: Tensor

    def window(self, last: Tensor, length: int) -> Window:
        """The K steps that end with each of the rows (B,), padded on the left."""
        back = torch.arange(length - 1, -1, -1, device=last.device)
        valid = self.times[last][:, None] >= back  # (B, K)
        rows = torch.where(valid, last[:, None] - back, 0)
        returns, observations, actions, times = (
            _masked(part[rows], valid)
            for part in (self.returns, self.batch.observations, self.batch.actions, self.times)
        )
        return Window(returns, observations, actions, times, valid)


def _masked(part: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid.reshape(*valid.shape, *[1] * (part.ndim - 2)), part, 0)


class Dropout(nn.Module):
    """Dropout by the agent's generator: PyTorch's own draws from the global one.

    Args:
        rate: probability that a number is dropped.
        generator: of the draws.
    """

    def __init__(self, rate: float, generator: torch.Generator) -> None:
        super().__init__()
        self.rate, self.generator = rate, generator

    def forward(self, x: Tensor) -> Tensor:
        """x, thinned in training."""
        if not self.training or self.rate == 0:
            return x
        # four numbers of 16 bits a draw, as `bernoulli_` is slow
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device)
        bits.random_(-(2**63), None, generator=self.generator)
        drawn = bits.view(torch.int16)[: x.numel()].view(x.shape)
        cut = int(self.rate * 2**16)
        return x * (drawn >= cut - 2**15) / (1 - cut / 2**16)


class Block(nn.Module):
    """Attention, then two layers, each added to what it was given.

    Args:
        width: of tokens.
        n_heads: heads of attention.
        dropout: module that drops.
    """

    def __init__(self, width: int, n_heads: int, dropout: Dropout) -> None:
        super().__init__()
        self.n_heads, self.drop = n_heads, dropout
        self.before_attention, self.before_layers = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.layers = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(inplace=True), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, mask: Tensor, wanted: slice = slice(None)) -> Tensor:
        """Tokens (B, L, w); mask (B, 1, L, L): 0 where a row sees a column, else −∞.

        Only the tokens `wanted` are returned, and computed.
        """
        B, L, w = x.shape
        seen = self.before_attention(x)
        matrix, offset = self.queries_keys_values.weight, self.queries_keys_values.bias
        keys_values = nn.functional.linear(seen, matrix[w:], offset[w:])
        k, v = keys_values.reshape(B, L, 2, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        q = nn.functional.linear(seen[:, wanted], matrix[:w], offset[:w])
        q = q.reshape(B, -1, self.n_heads, w // self.n_heads).transpose(1, 2)
        weights = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]) + mask[:, :, wanted], dim=-1)
        told = (self.drop(weights) @ v).transpose(1, 2).reshape(B, -1, w)
        x = x[:, wanted] + self.drop(self.attended(told))
        return x + self.drop(self.layers(self.before_layers(x)))


class Transformer(nn.Module):
    """Windows to a squashed Gaussian at each step.

    Args:
        n_observations: d_s.
        n_actions: d_a.
        width: of tokens.
        n_layers: blocks.
        n_heads: heads of attention.
        max_length: times that have an embedding; later ones share the last.
        dropout: module that drops.
    """

    def __init__(
        self,
        n_observations: int,
        n_actions: int,
        *,
        width: int,
        n_layers: int,
        n_heads: int,
        max_length: int,
        dropout: Dropout,
    ) -> None:
        super().__init__()
        self.of_return = nn.Linear(1, width)
        self.of_observation = nn.Linear(n_observations, width)
        self.of_action = nn.Linear(n_actions, width)
        self.of_time = nn.Embedding(max_length, width)
        self.norm, self.drop = nn.LayerNorm(width), dropout
        self.blocks = nn.ModuleList(Block(width, n_heads, dropout) for _ in range(n_layers))
        self.last_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2 * n_actions)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=_INIT_STD)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, window: Window) -> tuple[Tensor, Tensor]:
        """μ and log σ, (B, K, d_a) each."""
        time = self.of_time(window.times.clamp(max=self.of_time.num_embeddings - 1))
        kinds = (
            self.of_return(window.returns[..., None]),
            self.of_observation(window.observations),
            self.of_action(window.actions),
        )
        tokens = torch.stack([kind + time for kind in kinds], dim=2).flatten(1, 2)  # (B, 3K, w)
        x = self.drop(self.norm(tokens))
        mask = visible(window.valid)
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x, mask)
        x = last(x, mask, slice(1, None, 3))  # tokens of states
        mean, raw = self.head(self.last_norm(x)).chunk(2, dim=-1)
        low, high = _LOG_STD
        return mean, low + 0.5 * (high - low) * (torch.tanh(raw) + 1)


def visible(valid: Tensor) -> Tensor:
    """Masks (B, 1, 3K, 3K) of which tokens see which, 0 or −∞, for steps valid (B, K).

    A token sees those before it that are no padding, and itself: padding must see something, or
    its softmax would be that of nothing.
    """
    tokens = valid.repeat_interleave(3, dim=1)
    past = torch.ones((tokens.shape[1],) * 2, dtype=torch.bool, device=valid.device).tril()
    itself = torch.eye(tokens.shape[1], dtype=torch.bool, device=valid.device)
    seen = (past & tokens[:, None, :]) | itself  # (B, 3K, 3K)
    return torch.zeros_like(seen, dtype=torch.float32).masked_fill(~seen, -math.inf)[:, None]


@dataclass(frozen=True, eq=False)
class Memory:
    """What the model has seen of n episodes; `predict` takes and returns it as the state.

    Attributes:
        window: the last K steps.
        to_go: the return that is promised from the next step on, (n,).
        times: of the next step, (n,).
    """

    window: Window
    to_go: Tensor
    times: Tensor


class DecisionTransformer(Agent):
    """Decision transformer; see the module docstring.

        agent = DecisionTransformer(seed=0).fit(dataset, 100_000)

    It has a memory: `predict` returns it as the state, to be given to the next call, with
    episode_start where episodes are new, as stable-baselines3's `evaluate_policy` does. What was
    promised falls by the rewards if these are told, by `receive`, between two calls; our `evaluate`
    tells them. Without, the whole return is promised at each step.

    Args:
        context: K, steps.
        width: of tokens.
        n_layers: blocks.
        n_heads: heads of attention; they divide width.
        dropout: rate, of attention and of what is added to tokens.
        learning_rate: of AdamW for the model, and of Adam for the temperature.
        weight_decay: of AdamW.
        warmup_steps: steps over which the learning rate of the model rises from 0.
        gradient_norm: greatest norm of a gradient of the model.
        return_scale: by which returns are divided.
        target_return: promised in `predict`, undiscounted; None: the greatest of the first dataset.
        max_length: times that have an embedding; later ones share the last.
        shared: normalise_states, action_low, action_high, seed, device; see `Agent`.
    """

    def __init__(
        self,
        *,
        context: int = 20,
        width: int = 512,
        n_layers: int = 4,
        n_heads: int = 4,
        dropout: float = 0.1,
        learning_rate: float = 1e-4,
        weight_decay: float = 1e-4,
        warmup_steps: int = 10_000,
        gradient_norm: float = 0.25,
        return_scale: float = 1000.0,
        target_return: float | None = None,
        max_length: int = 1000,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        self.context = checks.integer(context, "context", minimum=1)
        self.n_layers = checks.integer(n_layers, "n_layers", minimum=1)
        self.n_heads = checks.integer(n_heads, "n_heads", minimum=1)
        self.width = checks.integer(width, "width", minimum=1)
        if width % n_heads:
            raise ValueError(
                f"n_heads must divide width, got {n_heads} and {width}; change one of them"
            )
        self.dropout = checks.real(nonnegative(dropout, "dropout"), "dropout", below=1.0)
        self.learning_rate = checks.positive(learning_rate, "learning_rate")
        self.weight_decay = nonnegative(weight_decay, "weight_decay")
        self.warmup_steps = checks.integer(warmup_steps, "warmup_steps", minimum=1)
        self.gradient_norm = checks.positive(gradient_norm, "gradient_norm")
        self.return_scale = checks.positive(return_scale, "return_scale")
        self.target_return = (
            None if target_return is None else checks.real(target_return, "target_return")
        )
        self.max_length = checks.integer(max_length, "max_length", minimum=1)

    # ------------------------------------------------------------------------------ training

    def _build(self, n_observations: int, n_actions: int) -> dict[str, nn.Module]:
        model = Transformer(
            n_observations,
            n_actions,
            width=self.width,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            max_length=self.max_length,
            dropout=Dropout(self.dropout, self.generator),
        )
        return {"model": model, "temperature": Temperature(_FIRST_TEMPERATURE)}

    def _optimise(self, networks: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        model = torch.optim.AdamW(
            networks["model"].parameters(),
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            fused=True,
        )
        return {"model": model, "temperature": adam(networks["temperature"], self.learning_rate)}

    def _prepare(self, dataset: OfflineDataset) -> Steps:
        batch = super()._prepare(dataset)
        if self.target_return is None:
            self.target_return = float(dataset.returns().max())
        return Steps(
            batch,
            self._tensor(dataset.returns_to_go) / self.return_scale,
            torch.as_tensor(dataset.timesteps, device=self._on),
        )

    def _sample(self, data: Steps, batch_size: int) -> Window:
        shape = (batch_size,)
        last = torch.randint(len(data.times), shape, generator=self.generator, device=self._on)
        return data.window(last, self.context)

    def update(self, batch: Window) -> dict[str, Tensor]:
        """A step of the model and of the temperature."""
        networks, optimisers = self.networks, self.optimisers
        log_temperature = networks["temperature"].log
        networks.train()
        mean, log_std = (x[batch.valid] for x in networks["model"](batch))  # (M, d_a)
        recorded = torch.atanh(batch.actions[batch.valid].clamp(-_MOST, _MOST))
        likelihood = squashed_log_prob(recorded, mean, log_std).mean()
        entropy = -squashed_sample(mean, log_std, self.generator)[1].mean()

        optimisers["model"].param_groups[0]["lr"] = self.learning_rate * min(
            1.0, (self.step + 1) / self.warmup_steps
        )
        model_loss = -likelihood - log_temperature.detach().exp() * entropy
        descend(optimisers["model"], model_loss, max_norm=self.gradient_norm)
        temperature_loss = log_temperature.exp() * (entropy.detach() + mean.shape[-1])
        descend(optimisers["temperature"], temperature_loss)
        numbers = {
            "model_loss": model_loss,
            "log_likelihood": likelihood,
            "entropy": entropy,
            "temperature": log_temperature.exp(),
        }
        return {name: number.detach() for name, number in numbers.items()}

    # --------------------------------------------------------------------------------- usage

    def receive(self, state: Memory, rewards: npt.ArrayLike) -> Memory:
        """The memory after rewards (n,), or one number, for the actions that came with it."""
        return replace(state, to_go=state.to_go - self._tensor(rewards).reshape(-1))

    def _act_on_memory(
        self, observations: Tensor, state: Memory | None, episode_start: Any, deterministic: bool
    ) -> tuple[Tensor, Memory]:
        n = len(observations)
        memory = self._empty(n) if state is None else state
        if len(memory.to_go) != n:
            raise ValueError(
                f"state must be of {n} episodes like observation, got {len(memory.to_go)}; "
                "begin without one"
            )
        if episode_start is not None:
            new = torch.as_tensor(np.asarray(episode_start, dtype=bool), device=self._on)
            memory = _forget(memory, self._empty(n), new.reshape(-1).expand(n))
        past = memory.window
        now = Window(
            memory.to_go / self.return_scale,
            observations,
            torch.zeros_like(past.actions[:, 0]),
            memory.times,
            torch.ones_like(past.valid[:, 0]),
        )
        window = Window(
            *(
                torch.cat([old[:, 1:], new[:, None]], dim=1)
                for old, new in zip(past, now, strict=True)
            )
        )
        self.networks.eval()
        mean, log_std = (x[:, -1] for x in self.networks["model"](window))
        if deterministic:
            actions = torch.tanh(mean)
        else:
            actions, _ = squashed_sample(mean, log_std, self._acting)
        window.actions[:, -1] = actions  # `cat` has made it anew
        return actions, Memory(window, memory.to_go, memory.times + 1)

    def _empty(self, n: int) -> Memory:
        """The memory at the start of n episodes."""
        n_observations, n_actions = self.dimensions
        shape = n, self.context
        window = Window(
            torch.zeros(shape, device=self._on),
            torch.zeros((*shape, n_observations), device=self._on),
            torch.zeros((*shape, n_actions), device=self._on),
            torch.zeros(shape, dtype=torch.int64, device=self._on),
            torch.zeros(shape, dtype=torch.bool, device=self._on),
        )
        assert self.target_return is not None
        promised = torch.full((n,), self.target_return, device=self._on)
        return Memory(window, promised, torch.zeros(n, dtype=torch.int64, device=self._on))


def _forget(memory: Memory, empty: Memory, new: Tensor) -> Memory:
    """The memory, empty where episodes are new (n,)."""

    def chosen(kept: Tensor, fresh: Tensor) -> Tensor:
        return torch.where(new.reshape(-1, *[1] * (kept.ndim - 1)), fresh, kept)

    window = Window(*map(chosen, memory.window, empty.window))
    return Memory(window, chosen(memory.to_go, empty.to_go), chosen(memory.times, empty.times))
