"""What a learner should beat: the uniform policy, and following the leader."""

from __future__ import annotations

import numpy as np

from ...core.checks import FloatArray
from ...core.environment import TrajectoryFeedback
from ...core.learner import Learner
from ..models import LinearMDP


class UniformPolicy(Learner):
    """Plays all actions alike, for ever.

    Args:
        model: the MDP.
    """

    def __init__(self, model: LinearMDP) -> None:
        self.model = model

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """Nothing is learnt."""
        self._policies = np.tile(self.model.uniform_policy(), (n_replications, 1, 1, 1))

    def act(self) -> FloatArray:
        """π, (R, H, S, A)."""
        return self._policies

    def update(self, feedback: TrajectoryFeedback) -> None:
        """Nothing is learnt."""


class FollowTheLeader(Learner):
    """R copies of: play the best policy for the mean losses seen so far; no bound.

    Pairs (s, a) that were never visited count as free, so that each is tried, and then perhaps
    never again.

    Args:
        model: the MDP; its features are not used.
    """

    def __init__(self, model: LinearMDP) -> None:
        self.model = model

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """Nothing was visited."""
        m = self.model
        self.totals = np.zeros((n_replications, m.horizon, m.n_states, m.n_actions))
        self.visits = np.zeros_like(self.totals)

    def act(self) -> FloatArray:
        """π_k, (R, H, S, A), deterministic: the first best action."""
        m, n = self.model, len(self.totals)
        means = self.totals / np.maximum(self.visits, 1)
        actions = np.empty((n, m.horizon, m.n_states), dtype=np.int64)
        V = np.zeros((n, m.n_states))
        for h in reversed(range(m.horizon)):
            Q = means[:, h] + np.einsum("sat,nt->nsa", m.transition[h], V)
            actions[:, h], V = Q.argmin(axis=-1), Q.min(axis=-1)
        return m.deterministic(actions)

    def update(self, feedback: TrajectoryFeedback) -> None:
        """Count the visits."""
        rows, layers = np.indices(feedback.states.shape)
        place = rows, layers, feedback.states, feedback.actions
        self.totals[place] += feedback.losses
        self.visits[place] += 1
