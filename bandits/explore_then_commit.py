"""Explore, then commit, for stochastic bandits, on losses.

m rounds for each arm, in turn, then the arm of least mean loss (the first of equals) to the end.
Expected pseudo-regret after t rounds, by Hoeffding's inequality for a difference of means, at most

    Σ_a Δ_a (min{m, ⌈t/K⌉} + max{0, t − m K} exp(−m Δ_a²)).

Default: m = ⌈(T/K)^{2/3} (ln T)^{1/3}⌉, at most T/K, for a regret of order T^{2/3} in T whatever
the gaps.

References:
    Lattimore, Szepesvári. Bandit Algorithms. Cambridge University Press, 2020, theorem 6.1 (for
    rewards of variance factor 1; losses in [0, 1] have ¼).
    Slivkins. Introduction to Multi-Armed Bandits. 2019, section 1.2 (the default m).
"""

from __future__ import annotations

import math

import numpy as np

from ..core import checks
from ..core.checks import IntArray
from ..core.environment import BanditFeedback, Environment
from ..core.guarantee import Guarantee
from ..core.learner import Learner
from .environments import BernoulliBandit


class ExploreThenCommit(Learner):
    """R copies of explore-then-commit; see the module docstring.

    Args:
        n_arms: K >= 2.
        n_explorations: m >= 1; None: the default for the horizon given to `reset`.
    """

    def __init__(self, n_arms: int, *, n_explorations: int | None = None) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)
        if n_explorations is not None:
            checks.integer(n_explorations, "n_explorations", minimum=1)
        self.n_explorations = n_explorations
        self._m: int | None = n_explorations

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """No plays yet."""
        checks.integer(horizon, "horizon", minimum=1)
        if self.n_explorations is None:
            share = horizon / self.n_arms
            m = math.ceil(share ** (2 / 3) * math.log(max(horizon, 2)) ** (1 / 3))
            self._m = max(1, min(m, math.floor(share)))
        self._sums = np.zeros((n_replications, self.n_arms))
        self._plays = 0

    def act(self) -> IntArray:
        """The arm whose turn it is, or the arm of least mean, shape (R,)."""
        assert self._m is not None
        if self._plays < self._m * self.n_arms:
            return np.full(len(self._sums), self._plays % self.n_arms)
        if self._plays == self._m * self.n_arms:
            self._choice = self._sums.argmin(axis=1)
        return self._choice

    def update(self, feedback: BanditFeedback) -> None:
        """Add the loss, while exploring."""
        assert self._m is not None
        if self._plays < self._m * self.n_arms:
            self._sums[:, self._plays % self.n_arms] += feedback.losses
        self._plays += 1

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """Σ_a Δ_a (min{m, ⌈t/K⌉} + max{0, t − m K} exp(−m Δ_a²)), for fixed means.

        None but in a `BernoulliBandit`, and before `reset`, where m is to be tuned.
        """
        if not isinstance(environment, BernoulliBandit) or self._m is None:
            return None
        gaps, m, n_arms = environment.gaps, self._m, self.n_arms
        wrong = float(gaps @ np.exp(-m * gaps**2))
        return Guarantee(
            bound=lambda t: (
                gaps.sum() * np.minimum(m, np.ceil(t / n_arms))
                + wrong * np.maximum(0, t - m * n_arms)
            ),
            kind="expected",
            assumptions="losses in [0, 1], independent and of fixed means",
            reference="derived, as Lattimore, Szepesvári 2020, theorem 6.1",
        )
