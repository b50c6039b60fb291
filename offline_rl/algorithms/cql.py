"""CQL(H): soft actor-critic whose values of actions that were not recorded are pushed down.

With a squashed Gaussian policy π, a temperature T, critics Q_1, Q_2 and slow copies Q'_1, Q'_2, a
step has, all from the networks before it, with a_π ~ π(s) and a' ~ π(s'),

    temperature:  −log T · mean (log π(a_π | s) − d_a)        (target entropy −d_a nats)
    policy:       mean (T log π(a_π | s) − min_j Q_j(s, a_π))
    critics:      Σ_j mean (Q_j(s, a) − y)² + w Σ_j mean (C_j(s) − Q_j(s, a))
                  y = r + γ (1 − terminal) min_j Q'_j(s', a')
    θ' ← θ' + τ (θ − θ') for the critics

where C_j(s) estimates log ∫ exp Q_j(s, a) da over [−1, 1]^{d_a} by importance sampling, with n
actions each of the uniform distribution (log density −d_a log 2), of π(s) and of π(s'):

    C(s) = log (1/3n) Σ_k exp(Q(s, a_k) − log p_k(a_k))

References:
    Kumar, Zhou, Tucker, Levine. Conservative Q-learning for offline RL. NeurIPS 2020.
    Haarnoja et al. Soft actor-critic algorithms and applications. 2018.
As in the authors' code, y has no bonus of entropy. Differs from it by the factor 1/3n in C, which
has no gradient, and by evaluating the policy once for the n actions of a state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import Unpack

import torch
from torch import Tensor, nn

from ...core import checks
from ._agent import Agent, Batch, Shared, nonnegative, unit
from .networks import (
    Temperature,
    Values,
    adam,
    bellman_target,
    descend,
    mlp,
    regression_loss,
    soft_update,
    squashed_sample,
    widths,
)

_LOG_STD = -20.0, 2.0  # least and greatest
_AT_ONCE = 1024  # rows of critics whose layers a core's cache holds; other devices take all


def importance_logsumexp(values: Tensor, log_densities: Tensor) -> Tensor:
    """log (1/m) Σ_k exp(Q_k − log p_k), over the last axis of m samples: log ∫ exp Q estimated."""
    weighted = torch.logsumexp(values - log_densities, dim=-1)
    return weighted - math.log(values.shape[-1])


class SquashedPolicy(nn.Module):
    """tanh of N(μ(s), σ(s)²), with log σ = b·x + c of an output x of the network.

    Args:
        n_observations: d_s.
        hidden: widths of the hidden layers.
        n_actions: d_a.
    """

    def __init__(self, n_observations: int, hidden: Sequence[int], n_actions: int) -> None:
        super().__init__()
        self.trunk = mlp(n_observations, hidden, 2 * n_actions)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.shift = nn.Parameter(torch.tensor(-1.0))

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ, (B, d_a) each."""
        mean, raw = self.trunk(observations).chunk(2, dim=-1)
        return mean, (self.scale * raw + self.shift).clamp(*_LOG_STD)


class CQL(Agent):
    """Conservative Q-learning; see the module docstring.

        agent = CQL(seed=0).fit(dataset, 200_000)

    Args:
        hidden: widths of the hidden layers of all networks.
        policy_learning_rate: of Adam for the policy.
        learning_rate: of Adam for the critics and the temperature.
        discount: γ.
        soft_update_rate: τ.
        min_q_weight: w.
        n_sampled_actions: n, of each kind.
        reward_scale: by which rewards are multiplied: w and entropies are in units of return.
        shared: normalise_states, action_low, action_high, seed, device; see `Agent`.
    """

    def __init__(
        self,
        *,
        hidden: Sequence[int] = (256, 256, 256),
        policy_learning_rate: float = 1e-4,
        learning_rate: float = 3e-4,
        discount: float = 0.99,
        soft_update_rate: float = 0.005,
        min_q_weight: float = 5.0,
        n_sampled_actions: int = 10,
        reward_scale: float = 1.0,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        self.hidden = widths(hidden)
        self.policy_learning_rate = checks.positive(policy_learning_rate, "policy_learning_rate")
        self.learning_rate = checks.positive(learning_rate, "learning_rate")
        self.discount = unit(discount, "discount")
        self.soft_update_rate = unit(soft_update_rate, "soft_update_rate")
        self.min_q_weight = nonnegative(min_q_weight, "min_q_weight")
        self.n_sampled_actions = checks.integer(n_sampled_actions, "n_sampled_actions", minimum=1)
        self.reward_scale = checks.positive(reward_scale, "reward_scale")

    def _build(self, n_observations: int, n_actions: int) -> dict[str, nn.Module]:
        critics = Values(2, n_observations + n_actions, self.hidden)
        return {
            "policy": SquashedPolicy(n_observations, self.hidden, n_actions),
            "temperature": Temperature(),
            "critics": critics,
            "critics_target": deepcopy(critics),
        }

    def _optimise(self, networks: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        rates = {
            "policy": self.policy_learning_rate,
            "temperature": self.learning_rate,
            "critics": self.learning_rate,
        }
        return {name: adam(networks[name], rate) for name, rate in rates.items()}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """A step of the temperature, of the policy and of the critics."""
        networks, optimisers = self.networks, self.optimisers
        policy, critics = networks["policy"], networks["critics"]
        s, a, r, s_next, continues = batch

        mean, log_std = policy(s)
        actions, log_prob = squashed_sample(mean, log_std, self.generator)
        log_temperature = networks["temperature"].log
        temperature_loss = -log_temperature * (log_prob.detach().mean() - a.shape[-1])
        temperature = log_temperature.detach().exp()
        policy_loss = (temperature * log_prob - torch.minimum(*critics(s, actions))).mean()

        with torch.no_grad():
            next_mean, next_log_std = policy(s_next)
            next_actions, _ = squashed_sample(next_mean, next_log_std, self.generator)
            next_values = torch.minimum(*networks["critics_target"](s_next, next_actions))
            y = bellman_target(self.reward_scale * r, continues, next_values, self.discount)
            proposals, log_densities = self._propose((mean, log_std), (next_mean, next_log_std))
        descend(optimisers["temperature"], temperature_loss)
        descend(optimisers["policy"], policy_loss)

        total = y.new_zeros(2)

        def parts() -> Iterator[Tensor]:
            size = max(1, _AT_ONCE // proposals.shape[1]) if s.device.type == "cpu" else len(s)
            split = (x.split(size) for x in (s, a, y, proposals, log_densities))
            for part in zip(*split, strict=True):
                losses = len(part[0]) / len(s) * self._critic_losses(*part)
                total.add_(losses.detach())
                yield losses[0] + self.min_q_weight * losses[1]

        descend(optimisers["critics"], parts())
        soft_update(networks["critics_target"], critics, self.soft_update_rate)
        losses = {
            "policy_loss": policy_loss,
            "bellman_loss": total[0],
            "conservative_gap": total[1],
            "temperature": temperature,
        }
        return {name: loss.detach() for name, loss in losses.items()}

    def _critic_losses(
        self, s: Tensor, a: Tensor, y: Tensor, proposals: Tensor, log_densities: Tensor
    ) -> Tensor:
        """Σ_j mean (Q_j(s, a) − y)² and Σ_j mean (C_j(s) − Q_j(s, a)), (2,)."""
        critics = self.networks["critics"]
        values = critics(s, a)
        level = importance_logsumexp(_at(critics, s, proposals), log_densities)
        gap = (level - values).mean(dim=-1).sum()
        return torch.stack([regression_loss(values, y), gap])

    def _propose(
        self, here: tuple[Tensor, Tensor], there: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Actions (B, 3n, d_a) and their log densities (B, 3n), given π(s) and π(s')."""
        n, (rows, dimension) = self.n_sampled_actions, here[0].shape
        shape = rows, n, dimension
        uniform = torch.rand(shape, generator=self.generator, device=here[0].device)
        parts = [(2 * uniform - 1, uniform.new_full((rows, n), -dimension * math.log(2)))]
        for mean, log_std in (here, there):
            parts.append(squashed_sample(mean, log_std, self.generator, n))
        actions, log_densities = zip(*parts, strict=True)
        return torch.cat(actions, dim=1), torch.cat(log_densities, dim=1)

    def _act(self, observations: Tensor, deterministic: bool) -> Tensor:
        mean, log_std = self.networks["policy"](observations)
        if deterministic:
            return torch.tanh(mean)
        return squashed_sample(mean, log_std, self._acting)[0]


def _at(critics: Values, observations: Tensor, actions: Tensor) -> Tensor:
    """Values (n, B, k) of observations (B, d_s) with k actions each, (B, k, d_a)."""
    rows, k, dimension = actions.shape
    repeated = observations.repeat_interleave(k, dim=0)
    return critics(repeated, actions.reshape(rows * k, dimension)).reshape(-1, rows, k)
