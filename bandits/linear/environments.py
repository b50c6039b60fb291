"""Linear bandits: K arms with known features φ_a ∈ ℝᵈ, losses ⟨φ_a, θ⟩ with |⟨φ_a, θ⟩| <= 1.

`LinearBandit`: one unknown θ, losses with Gaussian noise, regret on their means.
`AdversarialLinearBandit`: θ_t fixed before the game, losses without noise, regret against the best
arm in hindsight.

Losses are in [−1, 1] or beyond it by noise, not in [0, 1]; so these games admit only learners that
know the features. To put Exp3 and its kin to the test, play `AdversarialBandit` on the losses
(1 + ⟨φ_a, θ_t⟩)/2.

References:
    Lattimore, Szepesvári. Bandit Algorithms. Cambridge University Press, 2020, chapters 19 and 27.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core import checks
from ...core.checks import FloatArray
from ...core.environment import Action, Adversary, BanditFeedback, Environment
from ...core.random import NormalStream
from ...core.regret import BestFixedArm

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...core.learner import Learner

_ROUNDING = 1e-9  # by which a loss may exceed 1: what is given is rounded


def feature_matrix(value: Any, name: str = "features") -> FloatArray:
    """A read-only copy of features (K, d), K >= 2, d >= 1, not all zero."""
    features = checks.array(value, name, shape=(None, None)).copy()
    checks.integer(features.shape[0], f"the number of rows in {name}", minimum=2)
    checks.integer(features.shape[1], f"the number of columns in {name}", minimum=1)
    if not features.any():
        raise ValueError(f"{name} must not be all zero, got zeros; there is nothing to learn")
    features.flags.writeable = False
    return features


def bounded_losses(losses: FloatArray, name: str) -> FloatArray:
    """`losses` without the rounding that takes them out of [−1, 1].

    Raises:
        ValueError: one is out of [−1, 1] by more than that.
    """
    largest = float(np.abs(losses).max())
    if not largest <= 1 + _ROUNDING:
        raise ValueError(
            f"{name} must give losses in [-1, 1], got one of absolute value {largest}; scale it"
        )
    return np.clip(losses, -1.0, 1.0)


def check_arms(action: Action, n_replications: int, n_arms: int) -> None:
    """Refuse what is not one arm in [0, K) for each replication."""
    if action.shape != (n_replications,) or action.dtype.kind not in "iu":
        raise ValueError(
            f"action must hold {n_replications} integers (arms), got dtype {action.dtype} and "
            f"shape {action.shape}"
        )
    if action.min() < 0 or action.max() >= n_arms:
        row = int(np.argmax((action < 0) | (action >= n_arms)))
        raise ValueError(
            f"action must hold arms in [0, {n_arms}), got {action[row]} in replication {row}"
        )


class FixedFeatures(Environment):
    """What the games with fixed features share.

    Attributes:
        features: φ, (K, d).
        n_arms: K >= 2.
        dim: d >= 1.
        feature_bound: L = max ‖φ_a‖.
        loss_bound: the most that a learner can be told, in absolute value: 1, or ∞ with noise.
    """

    loss_bound = 1.0
    _losses: FloatArray  # of the round just played, or their means: (1, K)

    def __init__(self, features: npt.ArrayLike) -> None:
        self.features = feature_matrix(features)
        self.n_arms, self.dim = self.features.shape
        self.feature_bound = float(np.linalg.norm(self.features, axis=1).max())

    def admit(self, learner: Learner) -> None:
        """Refuse a learner without the features of this game."""
        features = getattr(learner, "features", None)
        if features is None or not np.array_equal(features, self.features):
            raise ValueError(
                f"learner must have the features of {type(self).__name__}, got "
                f"{type(learner).__name__} without them; build it with features=game.features"
            )

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications at round 0."""
        self._n_replications = n_replications
        self._round = 0

    def comparator(self) -> BestFixedArm:
        """The best arm of the losses so far, of their means if they are noisy."""
        return _BestArm(self)


class _BestArm(BestFixedArm):
    """Accounts for losses in [−1, 1] as (1 + ℓ)/2."""

    def __init__(self, game: FixedFeatures) -> None:
        shape = (1, game.n_arms)
        super().__init__(game._n_replications, shape, lambda: 0.5 + 0.5 * game._losses)

    def regret(self) -> FloatArray:
        """Σ_s ⟨p_s, ℓ_s⟩ − min_a Σ_s ℓ_s(a), shape (R,)."""
        return 2.0 * super().regret()


class LinearBandit(FixedFeatures):
    """Stochastic: the loss of arm a is ⟨φ_a, θ⟩ plus Gaussian noise.

    Args:
        features: φ, (K, d).
        parameter: θ, (d,), with |⟨φ_a, θ⟩| <= 1 for all arms.
        noise: σ >= 0, the standard deviation.
    """

    adversary: Adversary = "stochastic"

    def __init__(
        self, features: npt.ArrayLike, parameter: npt.ArrayLike, *, noise: float = 1.0
    ) -> None:
        super().__init__(features)
        self.parameter = checks.array(parameter, "parameter", shape=(self.dim,)).copy()
        self.noise = checks.nonnegative(noise, "noise")
        self.loss_bound = np.inf if self.noise > 0 else 1.0
        self.means = bounded_losses(self.features @ self.parameter, "parameter")
        self._losses = self.means.reshape(1, -1)

    @property
    def gaps(self) -> FloatArray:
        """Δ_a = ⟨φ_a, θ⟩ − min_b ⟨φ_b, θ⟩, shape (K,)."""
        return self.means - self.means.min()

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications at round 0."""
        super().reset(n_replications, rng)
        self._normals = NormalStream(rng, (n_replications,))

    def step(self, action: Action) -> BanditFeedback:
        """Play arms (R,) and be told their losses."""
        check_arms(action, self._n_replications, self.n_arms)
        losses = self.means[action] + self.noise * self._normals.draw()
        self._round += 1
        return BanditFeedback(action, losses)


class AdversarialLinearBandit(FixedFeatures):
    """Parameters fixed before the game, the same in all replications; no noise.

    Args:
        features: φ, (K, d).
        parameters: θ_t, array (T, d), or a function of t = 0, 1, 2, ... that gives row t, (d,), and
            must not depend on anything but t; |⟨φ_a, θ_t⟩| <= 1.
    """

    adversary: Adversary = "oblivious"

    def __init__(
        self,
        features: npt.ArrayLike,
        parameters: npt.ArrayLike | Callable[[int], npt.ArrayLike],
    ) -> None:
        super().__init__(features)
        self._table: FloatArray | None = None
        if callable(parameters):
            self._function = parameters
            self._row(0)
        else:
            table = checks.array(parameters, "parameters", shape=(None, self.dim))
            self.horizon = checks.integer(
                len(table), "the number of rounds in parameters", minimum=1
            )
            self._table = bounded_losses(table @ self.features.T, "parameters")  # (T, K)

    def _row(self, t: int) -> FloatArray:
        """ℓ_t, (1, K)."""
        if self._table is not None:
            return self._table[t : t + 1]
        name = f"parameters({t})"
        parameter = checks.array(self._function(t), name, shape=(self.dim,))
        return bounded_losses(parameter @ self.features.T, name).reshape(1, -1)

    def step(self, action: Action) -> BanditFeedback:
        """Play arms (R,) and be told their losses."""
        check_arms(action, self._n_replications, self.n_arms)
        self._losses = self._row(self._round)
        self._round += 1
        return BanditFeedback(action, self._losses[0, action])
