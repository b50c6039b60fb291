"""UCB1 for stochastic bandits, on losses: a lower confidence bound.

Each arm once, in order; then, after n_a plays of arm a with mean loss ℓ̄_a, t plays in all,

    A_{t+1} = argmin_a ℓ̄_a − √(2 ln t/n_a)        (the first of equals)

Expected pseudo-regret at most 8 Σ_{Δ_a > 0} ln t/Δ_a + (1 + π²/3) Σ_a Δ_a.

References:
    Auer, Cesa-Bianchi, Fischer. Finite-time analysis of the multiarmed bandit problem. MLJ 47,
    2002, theorem 1 (rewards 1 − ℓ).
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
def _least_index(means: FloatArray, widths: FloatArray, scale: float, arms: IntArray) -> None:
    """arms[r] = argmin_k means[r, k] − scale · widths[r, k]."""
    for r in range(means.shape[0]):
        best = 0
        least = np.inf
        for k in range(means.shape[1]):
            index = means[r, k] - scale * widths[r, k]
            if index < least:
                least = index
                best = k
        arms[r] = best


@njit(cache=True)
def _add_losses(
    counts: FloatArray, means: FloatArray, widths: FloatArray, arms: IntArray, losses: FloatArray
) -> None:
    """Running mean and 1/√n of the arm played in each row."""
    for r in range(len(arms)):
        a = arms[r]
        counts[r, a] += 1.0
        means[r, a] += (losses[r] - means[r, a]) / counts[r, a]
        widths[r, a] = 1.0 / math.sqrt(counts[r, a])


class UCB1(Learner):
    """R copies of UCB1; see the module docstring.

    Args:
        n_arms: K >= 2.
    """

    def __init__(self, n_arms: int) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """No plays yet."""
        shape = (n_replications, self.n_arms)
        self.counts = np.zeros(shape)
        self.means = np.zeros(shape)  # ℓ̄
        self.widths = np.zeros(shape)  # 1/√n
        self._plays = 0

    def act(self) -> IntArray:
        """The arm of least index, shape (R,)."""
        arms = np.empty(len(self.counts), dtype=np.int64)
        if self._plays < self.n_arms:
            arms[:] = self._plays
        else:
            scale = math.sqrt(2 * math.log(self._plays))
            _least_index(self.means, self.widths, scale, arms)
        return arms

    def update(self, feedback: BanditFeedback) -> None:
        """Count the play and average its loss."""
        self._plays += 1
        _add_losses(self.counts, self.means, self.widths, feedback.arms, feedback.losses)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """8 Σ ln t/Δ_a + (1 + π²/3) Σ Δ_a, for fixed means; None but in a `BernoulliBandit`."""
        if not isinstance(environment, BernoulliBandit):
            return None
        gaps = environment.gaps[environment.gaps > 0]
        rate, constant = float(np.sum(8 / gaps)), float((1 + math.pi**2 / 3) * gaps.sum())
        return Guarantee(
            bound=lambda t: rate * np.log(t) + constant,
            kind="expected",
            assumptions="losses in [0, 1], independent and of fixed means",
            reference="Auer, Cesa-Bianchi, Fischer 2002, theorem 1",
        )
