"""fenchel's bandits as gymnasium environments; this module alone needs gymnasium.

    import fenchel.bandits.envs, gymnasium
    game = gymnasium.make("fenchel/Bernoulli-v0", means=[0.2, 0.5])
    gymnasium.make("fenchel.bandits.envs:fenchel/Drifting-v0")      # imports it itself

An action is an arm, the reward its loss with the sign changed; `info["regret"]` is the exact regret
of the actions so far. Observations are the features of the arms in contextual games, else 0. An
episode is one game, and ends by the time limit of `gymnasium.make` or with the game's losses.

    fenchel/Bernoulli-v0              `BernoulliBandit`
    fenchel/BayesianBernoulli-v0      `BayesianBernoulliBandit`: new means in each episode
    fenchel/Constrained-v0            `StochasticallyConstrainedAdversary`
    fenchel/Corrupted-v0              `CorruptedBandit`
    fenchel/Drifting-v0               `NonstationaryBandit` with means that drift
    fenchel/Adversarial-v0            `AdversarialBandit`; needs losses=
    fenchel/Linear-v0                 `LinearBandit`: 16 arms on the unit circle
    fenchel/LinearContextual-v0       `LinearContextualBandit`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from ..core import Environment
from .environments import (
    AdversarialBandit,
    BayesianBernoulliBandit,
    BernoulliBandit,
    CorruptedBandit,
    NonstationaryBandit,
    StochasticallyConstrainedAdversary,
    drifting,
)
from .linear import LinearBandit, LinearContextualBandit

MAX_STEPS = 1000  # of an episode


class BanditEnv(gymnasium.Env[Any, np.int64]):
    """One replication of a bandit game.

    Args:
        game: a bandit with `n_arms`; contextual ones show features (K, d).
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (gymnasium's)

    def __init__(self, game: Environment) -> None:
        n_arms = getattr(game, "n_arms", None)
        if n_arms is None:
            raise TypeError(f"game must be a bandit with n_arms, got {game!r}")
        self.game = game
        self.action_space = gymnasium.spaces.Discrete(n_arms)
        self.observation_space: gymnasium.spaces.Space[Any] = gymnasium.spaces.Discrete(1)
        if game.contextual:
            shape = n_arms, game.dim  # type: ignore[attr-defined]  # it shows features
            self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float64)
        self._comparator: Any = None
        self._round = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """A new game; there are no options."""
        super().reset(seed=seed)
        self.game.reset(1, self.np_random)
        self._comparator, self._round = self.game.comparator(), 0
        return self._observe(), {"regret": 0.0}

    def step(self, action: np.int64) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Play an arm; the reward is −ℓ."""
        if self._comparator is None or self._round == self.game.horizon:
            raise gymnasium.error.ResetNeeded("the game has not begun, or is over; call reset")
        if not self.action_space.contains(action):
            raise ValueError(f"action must be an arm in {self.action_space}, got {action!r}")
        arms = np.array([action], dtype=np.int64)
        feedback = self.game.step(arms)
        self._comparator.observe(arms)
        self._round += 1
        over = self._round == self.game.horizon
        loss = float(feedback.losses[0])  # type: ignore[union-attr]  # of the arm
        info = {"regret": float(self._comparator.regret()[0])}
        return self._observe(over), -loss, over, False, info

    def _observe(self, over: bool = False) -> Any:
        if not self.game.contextual:
            return np.int64(0)
        return np.zeros(self.observation_space.shape) if over else self.game.context()[0].copy()


def _circle(n_arms: int) -> Any:
    angles = 2 * np.pi * np.arange(n_arms) / n_arms
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


# what `gymnasium.make` takes, and its defaults
GAMES: dict[str, Callable[..., Environment]] = {
    "Bernoulli": lambda means=(0.3, 0.5, 0.5, 0.5): BernoulliBandit(means),
    "BayesianBernoulli": lambda n_arms=4: BayesianBernoulliBandit(n_arms),
    "Constrained": lambda n_arms=4, gap=0.2: StochasticallyConstrainedAdversary(n_arms, gap=gap),
    "Corrupted": lambda means=(0.3, 0.5, 0.5, 0.5), budget=10.0: CorruptedBandit(
        means, budget=budget
    ),
    "Drifting": lambda n_arms=4, period=500.0, amplitude=0.25: NonstationaryBandit(
        drifting(n_arms, period=period, amplitude=amplitude)
    ),
    "Adversarial": lambda losses: AdversarialBandit(losses),
    "Linear": lambda n_arms=16, parameter=(0.6, 0.8), noise=0.5: LinearBandit(
        _circle(n_arms), parameter, noise=noise
    ),
    "LinearContextual": lambda n_arms=4, parameter=(0.6, 0.0, 0.8), noise=0.5: (
        LinearContextualBandit(n_arms, parameter, noise=noise)
    ),
}


def make(name: str, **settings: Any) -> BanditEnv:
    """The environment of one of the names in `GAMES`."""
    return BanditEnv(GAMES[name](**settings))


for _name in GAMES:
    if f"fenchel/{_name}-v0" not in gymnasium.registry:
        gymnasium.register(
            f"fenchel/{_name}-v0",
            entry_point=f"{__name__}:make",
            max_episode_steps=MAX_STEPS,
            kwargs={"name": _name},
        )
