"""MOSS for stochastic bandits, on losses: an index that is minimax optimal.

Each arm once, in order; then, after n_a plays of arm a with mean loss ℓ̄_a,

    A_{t+1} = argmin_a ℓ̄_a − √(max{0, ln(T/(K n_a))}/n_a)        (the first of equals)

The index of an arm changes only when it is played. Expected pseudo-regret at most 49 √(K T) after
T rounds, so after each t <= T, as it never falls.

References:
    Audibert, Bubeck. Minimax policies for adversarial and stochastic bandits. COLT 2009, theorem 5
    (rewards 1 − ℓ).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ..core import checks
from ..core.checks import FloatArray, IntArray
from ..core.environment import BanditFeedback, Environment
from ..core.guarantee import Guarantee
from ..core.learner import Learner
from .environments import BernoulliBandit


@njit(cache=True)
def _least(indices: FloatArray, arms: IntArray) -> None:
    """arms[r] = argmin_k indices[r, k]."""
    for r in range(indices.shape[0]):
        best = 0
        for k in range(1, indices.shape[1]):
            if indices[r, k] < indices[r, best]:
                best = k
        arms[r] = best


@njit(cache=True)
def _add_losses(
    counts: FloatArray,
    means: FloatArray,
    indices: FloatArray,
    arms: IntArray,
    losses: FloatArray,
    share: float,
) -> None:
    """Count, running mean and index of the arm played in each row; `share` is T/K."""
    for r in range(len(arms)):
        a = arms[r]
        counts[r, a] += 1.0
        n = counts[r, a]
        means[r, a] += (losses[r] - means[r, a]) / n
        indices[r, a] = means[r, a] - math.sqrt(max(0.0, math.log(share / n)) / n)


class MOSS(Learner):
    """R copies of MOSS, tuned for the horizon T given to `reset`; see the module docstring.

    Args:
        n_arms: K >= 2.
    """

    def __init__(self, n_arms: int) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)
        self.horizon: int | None = None

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """No plays yet: all indices are −∞."""
        self.horizon = checks.integer(horizon, "horizon", minimum=1)
        shape = (n_replications, self.n_arms)
        self.counts = np.zeros(shape)
        self.means = np.zeros(shape)  # ℓ̄
        self.indices = np.full(shape, -np.inf)

    def act(self) -> IntArray:
        """The arm of least index, shape (R,)."""
        arms = np.empty(len(self.indices), dtype=np.int64)
        _least(self.indices, arms)
        return arms

    def update(self, feedback: BanditFeedback) -> None:
        """Count the play, average its loss and renew its index."""
        assert self.horizon is not None
        share = self.horizon / self.n_arms
        _add_losses(self.counts, self.means, self.indices, feedback.arms, feedback.losses, share)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """49 √(K T), for fixed means; None but in a `BernoulliBandit`. T is t before `reset`."""
        if not isinstance(environment, BernoulliBandit):
            return None
        n_arms, horizon = self.n_arms, self.horizon
        return Guarantee(
            bound=lambda t: 49 * np.sqrt(n_arms * (t if horizon is None else horizon + 0.0 * t)),
            kind="expected",
            assumptions="losses in [0, 1], independent and of fixed means; at most T rounds",
            reference="Audibert, Bubeck 2009, theorem 5",
        )
