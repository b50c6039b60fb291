"""Distillation in training: fewer trees for the same function, when there are too many.

Acting takes time in proportion to the trees that there are. When a policy has more than a number of
them, an ensemble with few trees is fitted to its outputs at the last observations and takes its
place; training goes on from there.

Reference:
    Fuhrer, Tessler, Dalal. Gradient boosting reinforcement learning. ICML 2025 (code). Its student
    has trees of depth 4 or 6 and rates 1 or 0.1; here they have the depth of the policy's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from ...core import checks
from .agents import Rollouts
from .trees import Float32Array


class Distillation(BaseCallback):
    """Replaces the trees of `PPO_GBRL` or `A2C_GBRL` by fewer; see above.

        model.learn(1_000_000, callback=Distillation(max_trees=20_000))

    The log has train/distillation_error: the root mean square of what an output changed by.

    Args:
        max_trees: of all ensembles of the policy together, after which they are replaced.
        n_trees: of each ensemble that takes their place; None: a fifth of `max_trees`, or a tenth
            for two ensembles.
        n_rows: observations, the last ones, to which these are fitted.
        learning_rate: η of their trees.
    """

    def __init__(
        self,
        max_trees: int = 100_000,
        n_trees: int | None = None,
        *,
        n_rows: int = 20_000,
        learning_rate: float = 0.1,
    ) -> None:
        super().__init__()
        self.max_trees = checks.integer(max_trees, "max_trees", minimum=10)
        self.n_trees = None if n_trees is None else checks.integer(n_trees, "n_trees", minimum=1)
        self.n_rows = checks.integer(n_rows, "n_rows", minimum=1)
        self.learning_rate = checks.positive(learning_rate, "learning_rate")
        self.rows: Float32Array | None = None

    def _init_callback(self) -> None:
        if not isinstance(self.model, Rollouts):
            name = type(self.model).__name__
            raise ValueError(f"the model must be PPO_GBRL or A2C_GBRL, got {name}; leave it out")
        parts = len(self.model.policy.ensembles)
        self.n_each = self.n_trees or self.max_trees // (5 * parts)
        if self.n_each * parts >= self.max_trees:
            raise ValueError(
                f"n_trees must be less than max_trees for all {parts} ensembles, got {self.n_trees}"
            )
        self.rows = None

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        """After the observations of a rollout, before trees are fitted to it."""
        policy = self.model.policy
        buffer = self.model.rollout_buffer
        observations = buffer.observations
        new = policy.encoder(observations if buffer.generator_ready else _flat(observations))
        seen = new if self.rows is None else np.concatenate([self.rows, new])
        self.rows = seen[-self.n_rows :]
        if policy.n_trees <= self.max_trees:
            return
        before = policy.outputs(self.rows)
        policy.ensembles = [
            ensemble.distilled(self.rows, self.n_each, learning_rate=self.learning_rate)
            for ensemble in policy.ensembles
        ]
        error = np.sqrt(((policy.outputs(self.rows) - before) ** 2).mean())
        self.logger.record("train/distillation_error", float(error))


def _flat(observations: Any) -> Any:
    """Observations (steps, environments, ..) of a buffer, steps and environments together."""
    if isinstance(observations, dict):
        return {name: _flat(part) for name, part in observations.items()}
    return observations.reshape(-1, *observations.shape[2:])
