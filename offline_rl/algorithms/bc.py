"""BC: the actions recorded, regressed on states; filtered BC: those of the best trajectories.

    policy:  mean (π(s) − a)²,   over transitions and dimensions of the action

on the ⌊p n⌋ (at least one) of n trajectories that have the greatest returns, undiscounted. Where
several actions were taken in a state it tends to their mean.

References:
    Pomerleau. ALVINN: an autonomous land vehicle in a neural network. NeurIPS 1988.
    Chen et al. Decision transformer. NeurIPS 2021 (filtered by returns: "%BC").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from ...core import checks
from ...core.checks import FloatArray, IntArray
from ._agent import Agent, Batch, Shared, unit
from .networks import adam, descend, mlp, widths

if TYPE_CHECKING:
    from ..datasets import OfflineDataset


class BC(Agent):
    """Behaviour cloning; see the module docstring.

        agent = BC(fraction=0.1, seed=0).fit(dataset, 100_000)

    Args:
        fraction: p in (0, 1]; 1: all trajectories.
        hidden: widths of the hidden layers.
        learning_rate: of Adam.
        shared: normalise_states, action_low, action_high, seed, device; see `Agent`.
    """

    def __init__(
        self,
        *,
        fraction: float = 1.0,
        hidden: Sequence[int] = (256, 256),
        learning_rate: float = 3e-4,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(**shared)
        self.fraction = checks.positive(unit(fraction, "fraction"), "fraction")
        self.hidden = widths(hidden)
        self.learning_rate = checks.positive(learning_rate, "learning_rate")

    def _select(self, dataset: OfflineDataset) -> OfflineDataset:
        if self.fraction == 1.0:
            return dataset
        return dataset.subset(best_trajectories(dataset.returns(), self.fraction))

    def _build(self, n_observations: int, n_actions: int) -> dict[str, nn.Module]:
        return {"policy": mlp(n_observations, self.hidden, n_actions).append(nn.Tanh())}

    def _optimise(self, networks: nn.ModuleDict) -> dict[str, torch.optim.Optimizer]:
        return {"policy": adam(networks["policy"], self.learning_rate)}

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """A step of the policy."""
        loss = nn.functional.mse_loss(self.networks["policy"](batch.observations), batch.actions)
        descend(self.optimisers["policy"], loss)
        return {"policy_loss": loss.detach()}

    def _act(self, observations: Tensor, deterministic: bool) -> Tensor:
        return self.networks["policy"](observations)


def best_trajectories(returns: FloatArray, fraction: float) -> IntArray:
    """Numbers of the ⌊p n⌋, or the one, of n trajectories with the greatest returns, ascending."""
    kept = max(1, int(len(returns) * fraction + 1e-9))  # 0.29 · 100 is a little below 29
    return np.sort(np.argsort(-returns, kind="stable")[:kept])
