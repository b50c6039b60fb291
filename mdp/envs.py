"""fenchel's MDPs as gymnasium environments; this module alone needs gymnasium."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from .adversarial.environment import AdversarialMDP


class AdversarialMDPEnv(gymnasium.Env[np.int64, np.int64]):
    """One replication of an adversarial MDP: each `reset` starts the next episode.

    Observations number layers and states, h S + s, so that a stationary policy of the observation
    is a policy of the MDP. Rewards are −ℓ_{k,h}(s, a). An episode ends after H actions; the last
    observation is that of no state, H S. After the last of K episodes comes the first again.

    Args:
        game: the MDP and its losses.

    Attributes:
        episode: k, counted from 1.
    """

    def __init__(self, game: AdversarialMDP) -> None:
        self.game = game
        m = game.model
        self.observation_space = gymnasium.spaces.Discrete(m.horizon * m.n_states + 1)
        self.action_space = gymnasium.spaces.Discrete(m.n_actions)
        self.episode = 0
        self._layer, self._state = m.horizon, m.initial_state

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        """Start the next episode, the first if a seed is given, or `options["episode"]`."""
        super().reset(seed=seed)
        last = self.game.horizon
        k = 1 if seed is not None or self.episode == last else self.episode + 1
        k = (options or {}).get("episode", k)
        if k < 1 or (last is not None and k > last):
            raise ValueError(f"options['episode'] must be in [1, {last}], got {k}")
        self.episode, self._layer = k, 0
        self._state = self.game.model.initial_state
        return np.int64(self._state), {"episode": k}

    def step(self, action: int | np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        """Take an action; the reward is −ℓ."""
        m, h, s = self.game.model, self._layer, self._state
        if h == m.horizon:
            raise gymnasium.error.ResetNeeded("the episode is over; call reset")
        if not self.action_space.contains(action):
            raise ValueError(f"action must be in [0, {m.n_actions}), got {action!r}")
        loss = float(self.game.losses(self.episode)[h, s, action])
        self._layer = h + 1
        done = self._layer == m.horizon
        if not done:
            cumulative = np.cumsum(m.transition[h, s, action])
            uniform = self.np_random.random() * cumulative[-1]
            self._state = int(np.searchsorted(cumulative, uniform, side="right"))
        observation = m.horizon * m.n_states if done else self._layer * m.n_states + self._state
        return np.int64(observation), -loss, done, False, {"episode": self.episode, "layer": h}
