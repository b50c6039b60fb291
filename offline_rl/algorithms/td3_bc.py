"""TD3+BC: TD3 whose policy also imitates the actions recorded.

With a deterministic policy π, critics Q_1, Q_2 and slow copies π', Q'_1, Q'_2 of these, a step is

    a' = clip(π'(s') + clip(σ ε, −c, c), −1, 1),   ε ~ N(0, I)
    y  = r + γ (1 − terminal) min_j Q'_j(s', a')
    critics:  Σ_j mean (Q_j(s, a) − y)²
    and each d-th step (the first one too)
    policy:   −λ mean Q_1(s, π(s)) + mean (π(s) − a)²,   λ = α / mean |Q_1(s, π(s))|
    θ' ← θ' + τ (θ − θ') for all

where λ is held constant, and the second mean is over transitions and dimensions of the action.

References:
    Fujimoto, Gu. A minimalist approach to offline reinforcement learning. NeurIPS 2021.
    Fujimoto, van Hoof, Meger. Addressing function approximation error. ICML 2018 (TD3).
"""

from __future__ import annotations

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


def smoothed(actions: Tensor, noise: Tensor, clip: float) -> Tensor:
    """clip(a + clip(noise, −c, c), −1, 1), all (B, d)."""
    return (actions + noise.clamp(-clip, clip)).clamp(-1, 1)


def policy_loss(values: Tensor, actions: Tensor, recorded: Tensor, alpha: float) -> Tensor:
    """−λ mean Q + mean (π(s) − a)² with λ = α / mean |Q|, which has no gradient.

    Args:
        values: Q(s, π(s)), (B,).
        actions: π(s), (B, d).
        recorded: a, (B, d).
        alpha: α.
    """
    scale = alpha / values.detach().abs().mean()
    return -scale * values.mean() + nn.functional.mse_loss(actions, recorded)


class TD3BC(Agent):
    """TD3+BC; see the module docstring.

        agent = TD3BC(seed=0).fit(dataset, 200_000)

    Args:
        hidden: widths of the hidden layers of all networks.
        learning_rate: of Adam, for policy and critics.
        discount: γ.
        soft_update_rate: τ.
        alpha: α, how much value counts against imitation; 0: imitation alone.
        target_noise: σ, where actions are in [−1, 1].
        noise_clip: c.
        policy_delay: d, critic steps a policy step.
        shared: normalise_states, action_low, action_high, seed, device; see `Agent`.
    """

    def __init__(
        self,
        *,
        hidden: Sequence[int] = (256, 256),
        learning_rate: float = 3e-4,
        discount: float = 0.99,
        soft_update_rate: float = 0.005,
        alpha: float = 2.5,
        target_noise: float = 0.2,
        noise_clip: float = 0.5,
        policy_delay: int = 2,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        self.hidden = widths(hidden)
        self.learning_rate = checks.positive(learning_rate, "learning_rate")
        self.discount = unit(discount, "discount")
        self.soft_update_rate = unit(soft_update_rate, "soft_update_rate")
        self.alpha = nonnegative(alpha, "alpha")
        self.target_noise = nonnegative(target_noise, "target_noise")
        self.noise_clip = nonnegative(noise_clip, "noise_clip")
        self.policy_delay = checks.integer(policy_delay, "policy_delay", minimum=1)

    def _build(self, n_observations: int, n_actions: int) -> dict[str, nn.Module]:
        policy = mlp(n_observations, self.hidden, n_actions).append(nn.Tanh())
        critics = Values(2, n_observations + n_actions, self.hidden)
        return {
            "policy": policy,
            "critics": critics,
            "policy_target": deepcopy(policy),
            "critics_target": deepcopy(critics),
        }

    def _optimise(self, networks: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        return {name: adam(networks[name], self.learning_rate) for name in ("policy", "critics")}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """A step of the critics, and of the policy when it is due."""
        networks = self.networks
        policy, critics = networks["policy"], networks["critics"]
        s, a, r, s_next, continues = batch

        y = self._target(r, s_next, continues)
        critic_loss = regression_loss(critics(s, a), y)
        descend(self.optimisers["critics"], critic_loss)
        losses = {"critic_loss": critic_loss.detach()}

        if self.step % self.policy_delay == 0:
            actions = policy(s)
            loss = policy_loss(critics.first(s, actions), actions, a, self.alpha)
            descend(self.optimisers["policy"], loss)
            losses["policy_loss"] = loss.detach()
            for name in ("policy", "critics"):
                soft_update(networks[f"{name}_target"], networks[name], self.soft_update_rate)
        return losses

    @torch.no_grad()
    def _target(self, rewards: Tensor, s_next: Tensor, continues: Tensor) -> Tensor:
        """y of the module docstring, (B,)."""
        actions = self.networks["policy_target"](s_next)
        noise = torch.randn(actions.shape, generator=self.generator, device=actions.device)
        actions = smoothed(actions, self.target_noise * noise, self.noise_clip)
        values = torch.minimum(*self.networks["critics_target"](s_next, actions))
        return bellman_target(rewards, continues, values, self.discount)

    def _act(self, observations: Tensor, deterministic: bool) -> Tensor:
        return self.networks["policy"](observations)
