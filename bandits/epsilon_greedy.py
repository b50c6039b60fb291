"""ε-greedy for stochastic bandits, on losses.

Round t: with probability ε_t an arm at random, else the arm of least mean loss so far; arms not
played yet come first, then the first of equals.

For rates ε_t that do not depend on the run, with x_t = Σ_{s < t} ε_s/K, an arm of gap Δ_a is
played in round t with probability at most (derived, as Auer et al. for one rate), for all θ in
(0, 1),

    ε_t/K + 2 exp(−x_t (1 − θ + θ ln θ)) + (4/Δ_a²) exp(−Δ_a² ⌊θ x_t⌋/2).

In detail: to be greedy, arm a or the best one must have a mean that is wrong by Δ_a/2, after θ x_t
plays at most or after n > θ x_t of them. Of the plays at random, x_t in the mean, fewer than θ x_t
are made with probability exp(−x_t (1 − θ + θ ln θ)) at most (Chernoff); and a mean of n plays is
wrong by so much with probability exp(−nΔ_a²/2), to be summed over n.

Default: ε_t = min{1, c K/(d² t)} for a lower bound d of the gaps, which makes the regret of order
ln t/d² for c > 5.

References:
    Auer, Cesa-Bianchi, Fischer. Finite-time analysis of the multiarmed bandit problem. MLJ 47,
    2002, theorem 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ..core import checks
from ..core.checks import FloatArray, IntArray
from ..core.environment import BanditFeedback, Environment
from ..core.guarantee import Guarantee
from ..core.learner import Learner
from ..core.random import UniformStream, sample_rows
from .environments import BernoulliBandit

_GRID = np.linspace(0.1, 0.9, 9)  # of θ


@njit(cache=True)
def _greedy_mixture(
    counts: FloatArray, means: FloatArray, epsilon: float, mixture: FloatArray
) -> None:
    """mixture[r] = ε/K, and 1 − ε more for the arm of least mean, those without plays first."""
    n_arms = counts.shape[1]
    for r in range(counts.shape[0]):
        best = 0
        for k in range(n_arms):
            mixture[r, k] = epsilon / n_arms
            if counts[r, best] > 0.0 and (counts[r, k] == 0.0 or means[r, k] < means[r, best]):
                best = k
        mixture[r, best] += 1.0 - epsilon


@njit(cache=True)
def _add_losses(counts: FloatArray, means: FloatArray, arms: IntArray, losses: FloatArray) -> None:
    """Count and running mean of the arm played in each row."""
    for r in range(len(arms)):
        a = arms[r]
        counts[r, a] += 1.0
        means[r, a] += (losses[r] - means[r, a]) / counts[r, a]


class EpsilonGreedy(Learner):
    """R copies of ε-greedy; see the module docstring.

    Args:
        n_arms: K >= 2.
        gap: d in (0, 1], at most the least positive gap, for the default rate; or give `epsilon`.
        c: c > 0 of the default rate.
        epsilon: a constant in (0, 1], or a function of t = 1, 2, ... that works on arrays too.
    """

    def __init__(
        self,
        n_arms: int,
        *,
        gap: float | None = None,
        c: float = 6.0,
        epsilon: float | Callable[[Any], Any] | None = None,
    ) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)
        if (gap is None) is (epsilon is None):
            raise ValueError(f"gap or epsilon must be given, and not both, got {gap} and {epsilon}")
        rate = None
        if gap is not None:
            if checks.positive(gap, "gap") > 1:
                raise ValueError(f"gap must be at most 1, got {gap}; losses are in [0, 1]")
            rate = checks.positive(c, "c") * n_arms / gap**2
        elif not callable(epsilon):
            epsilon = checks.real(epsilon, "epsilon", above=0.0)
            if epsilon > 1:
                raise ValueError(f"epsilon must be at most 1, got {epsilon}; it is a probability")
        self._scale, self._given = rate, epsilon

    def epsilon(self, t: Any) -> Any:
        """ε_t for rounds t >= 1, one or an array."""
        if self._scale is not None:
            return np.minimum(1.0, self._scale / t)
        return self._given(t) if callable(self._given) else self._given + 0.0 * t

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """No plays yet."""
        shape = (n_replications, self.n_arms)
        self.counts, self.means = np.zeros(shape), np.zeros(shape)
        self._uniforms = UniformStream(rng, (n_replications,))
        self._round = 0

    def act(self) -> IntArray:
        """A_t, shape (R,)."""
        self._round += 1
        epsilon = float(self.epsilon(self._round))
        if not 0.0 <= epsilon <= 1.0:
            raise ValueError(f"epsilon must be in [0, 1] in each round, got {epsilon}")
        self.probabilities = np.empty_like(self.counts)
        _greedy_mixture(self.counts, self.means, epsilon, self.probabilities)
        return sample_rows(self.probabilities, self._uniforms.draw())

    def update(self, feedback: BanditFeedback) -> None:
        """Count the play and average its loss."""
        _add_losses(self.counts, self.means, feedback.arms, feedback.losses)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """Σ_s Σ_a Δ_a (ε_s/K + 2 e^{−x_s (1 − θ + θ ln θ)} + (4/Δ_a²) e^{−Δ_a² ⌊θ x_s⌋/2}).

        For fixed means; least over a grid of θ, probabilities cut at 1. None but in a
        `BernoulliBandit`.
        """
        if not isinstance(environment, BernoulliBandit):
            return None
        gaps = environment.gaps[environment.gaps > 0]

        def bound(t: Any) -> Any:
            rounds = np.arange(1.0, np.max(t, initial=1) + 1)
            epsilon = np.broadcast_to(self.epsilon(rounds), rounds.shape)
            x = (np.cumsum(epsilon) - epsilon) / self.n_arms
            total = np.zeros_like(x)
            for gap in gaps:
                wrong = np.ones_like(x)
                for theta in _GRID:
                    few = 2 * np.exp(-x * (1 - theta + theta * math.log(theta)))
                    late = 4 / gap**2 * np.exp(-(gap**2) * np.floor(theta * x) / 2)
                    wrong = np.minimum(wrong, few + late)
                total += gap * np.minimum(1.0, epsilon / self.n_arms + wrong)
            # probabilities of all arms sum to 1
            return np.cumsum(np.minimum(total, gaps.max(initial=0.0)))[np.asarray(t, dtype=int) - 1]

        return Guarantee(
            bound=bound,
            kind="expected",
            assumptions="losses in [0, 1], independent and of fixed means",
            reference="derived, as Auer, Cesa-Bianchi, Fischer 2002, theorem 3",
        )
