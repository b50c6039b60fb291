"""IQL: values of the best actions recorded, without a question about any others.

With a value V, critics Q_1, Q_2, slow copies Q'_1, Q'_2, and a Gaussian policy with mean π(s) in
[−1, 1] and a deviation for each dimension, a step is, in this order, with q = min_j Q'_j(s, a),

    value:    mean L_τ(q − V(s)),   L_τ(u) = |τ − 1{u < 0}| u²
    policy:   −mean min(exp(β (q − V(s))), w_max) log N(a; π(s), σ²)
    critics:  Σ_j mean (Q_j(s, a) − r − γ (1 − terminal) V(s'))²
    θ' ← θ' + τ' (θ − θ') for the critics

The minimiser of L_τ is the expectile of order τ: the mean for τ = ½, and nearer to the greatest
value of the actions recorded as τ → 1.

Reference:
    Kostrikov, Nair, Levine. Offline reinforcement learning with implicit Q-learning. ICLR 2022.
Differs from the authors' code: the policy's learning rate does not fall, and rewards are not
rescaled unless told (there by 1000 over the range of returns, for locomotion).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Unpack

import torch
from torch import Tensor, nn

from ...core import checks
from ._agent import Agent, Batch, Shared, nonnegative, unit
from .networks import (
    Values,
    adam,
    bellman_target,
    descend,
    mlp,
    regression_loss,
    soft_update,
    widths,
)

_LOG_STD = -10.0, 2.0  # least and greatest


def expectile_loss(differences: Tensor, expectile: float) -> Tensor:
    """Mean of |τ − 1{u < 0}| u² over differences u."""
    weights = torch.where(differences < 0, 1 - expectile, expectile)
    return (weights * differences**2).mean()


def advantage_weights(advantages: Tensor, inverse_temperature: float, weights_max: float) -> Tensor:
    """min(exp(β A), w_max), without gradient."""
    return torch.exp(inverse_temperature * advantages.detach()).clamp(max=weights_max)


class GaussianPolicy(nn.Module):
    """N(π(s), σ²): a mean in [−1, 1], and a deviation that does not depend on the state.

    Args:
        n_observations: d_s.
        hidden: widths of the hidden layers.
        n_actions: d_a.
    """

    def __init__(self, n_observations: int, hidden: Sequence[int], n_actions: int) -> None:
        super().__init__()
        self.mean = mlp(n_observations, hidden, n_actions).append(nn.Tanh())
        self.raw_log_std = nn.Parameter(torch.zeros(n_actions))

    @property
    def log_std(self) -> Tensor:
        """log σ, (d_a,)."""
        return self.raw_log_std.clamp(*_LOG_STD)

    def log_prob(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Log densities of actions (B, d_a), in nats, (B,)."""
        log_std = self.log_std
        z = (actions - self.mean(observations)) * torch.exp(-log_std)
        return (-0.5 * z * z - log_std - 0.5 * math.log(2 * math.pi)).sum(dim=-1)


class IQL(Agent):
    """Implicit Q-learning; see the module docstring.

        agent = IQL(seed=0).fit(dataset, 1_000_000)

    Defaults are the paper's for locomotion; for AntMaze it has expectile=0.9 and
    inverse_temperature=10.

    Args:
        hidden: widths of the hidden layers of all networks.
        learning_rate: of Adam, for all.
        discount: γ.
        soft_update_rate: τ'.
        expectile: τ in (0, 1).
        inverse_temperature: β >= 0, in units of 1/return; 0: the policy is that of behaviour.
        weights_max: w_max.
        reward_scale: by which rewards are multiplied: β is in units of 1/return.
        shared: normalise_states (the paper's are not), action_low, action_high, seed, device; see
            `Agent`.
    """

    def __init__(
        self,
        *,
        hidden: Sequence[int] = (256, 256),
        learning_rate: float = 3e-4,
        discount: float = 0.99,
        soft_update_rate: float = 0.005,
        expectile: float = 0.7,
        inverse_temperature: float = 3.0,
        weights_max: float = 100.0,
        reward_scale: float = 1.0,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        self.hidden = widths(hidden)
        self.learning_rate = checks.positive(learning_rate, "learning_rate")
        self.discount = unit(discount, "discount")
        self.soft_update_rate = unit(soft_update_rate, "soft_update_rate")
        self.expectile = checks.real(expectile, "expectile", above=0.0, below=1.0)
        self.inverse_temperature = nonnegative(inverse_temperature, "inverse_temperature")
        self.weights_max = checks.positive(weights_max, "weights_max")
        self.reward_scale = checks.positive(reward_scale, "reward_scale")

    def _build(self, n_observations: int, n_actions: int) -> dict[str, nn.Module]:
        critics = Values(2, n_observations + n_actions, self.hidden)
        return {
            "value": Values(1, n_observations, self.hidden),
            "policy": GaussianPolicy(n_observations, self.hidden, n_actions),
            "critics": critics,
            "critics_target": deepcopy(critics),
        }

    def _optimise(self, networks: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        others = nn.ModuleList([networks["policy"], networks["critics"]])
        return {
            "value": adam(networks["value"], self.learning_rate),
            "policy and critics": adam(others, self.learning_rate),
        }

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """A step of the value, of the policy and of the critics."""
        networks, optimisers = self.networks, self.optimisers
        value, policy, critics = (networks[name] for name in ("value", "policy", "critics"))
        s, a, r, s_next, continues = batch

        with torch.no_grad():
            q = torch.minimum(*networks["critics_target"](s, a))
        value_loss = expectile_loss(q - value(s)[0], self.expectile)
        descend(optimisers["value"], value_loss)

        with torch.no_grad():
            v, v_next = value(torch.cat([s, s_next]))[0].chunk(2)
            y = bellman_target(self.reward_scale * r, continues, v_next, self.discount)
        weights = advantage_weights(q - v, self.inverse_temperature, self.weights_max)
        policy_loss = -(weights * policy.log_prob(s, a)).mean()
        critic_loss = regression_loss(critics(s, a), y)
        descend(optimisers["policy and critics"], policy_loss + critic_loss)
        soft_update(networks["critics_target"], critics, self.soft_update_rate)
        losses = {"value_loss": value_loss, "policy_loss": policy_loss, "critic_loss": critic_loss}
        return {name: loss.detach() for name, loss in losses.items()}

    def _act(self, observations: Tensor, deterministic: bool) -> Tensor:
        policy = self.networks["policy"]
        mean = policy.mean(observations)
        if deterministic:
            return mean
        noise = torch.randn(mean.shape, generator=self._acting, device=mean.device)
        return (mean + torch.exp(policy.log_std) * noise).clamp(-1, 1)
