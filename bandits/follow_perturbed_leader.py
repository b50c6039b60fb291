"""Follow the perturbed leader (FTPL) in the experts' game, with exponential perturbations.

    A_t = argmin_a L_{t−1}(a) − N_t(a),   N_t(a) ~ Exp(η) independent, fresh in each round,

played as a vertex of the simplex. Against losses in [0, 1] that are fixed before the game, the
expected regret is at most (derived, as Kalai and Vempala)

    H_K/η + η t,   H_K = 1 + 1/2 + ... + 1/K,

which is 2 √(T H_K) at t = T for η = √(H_K/T). In detail: the leader that knows ℓ_t loses E max N =
H_K/η at most; and as the exponential distribution has no memory, adding ℓ_t lowers the probability
of an arm to no less than e^{−η} of what it was.

References:
    Kalai, Vempala. Efficient algorithms for online decision problems. JCSS 71, 2005.
    Cesa-Bianchi, Lugosi. Prediction, Learning, and Games. 2006, section 4.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import checks
from ..core.checks import FloatArray
from ..core.environment import Environment, FullFeedback
from ..core.guarantee import Guarantee
from ..core.learner import Learner


class FTPL(Learner):
    """R copies of follow the perturbed leader; see the module docstring.

    Args:
        n_arms: K >= 2, the number of experts.
        learning_rate: η > 0; None: √(H_K/T) for the horizon T given to `reset`.
    """

    def __init__(self, n_arms: int, *, learning_rate: float | None = None) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)
        self.learning_rate = checks.positive(learning_rate, "learning_rate", optional=True)
        self.harmonic = float(np.sum(1 / np.arange(1, n_arms + 1)))  # H_K
        self.horizon: int | None = None

    def rate(self, horizon: Any) -> Any:
        """η of a learner that was reset for `horizon` rounds."""
        given = self.learning_rate
        return np.sqrt(self.harmonic / horizon) if given is None else given

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """L_0 = 0."""
        self.horizon = checks.integer(horizon, "horizon", minimum=1)
        self.cumulative_losses = np.zeros((n_replications, self.n_arms))
        self._rows, self._rng = np.arange(n_replications), rng

    def act(self) -> FloatArray:
        """The vertex of A_t, (R, K)."""
        noise = self._rng.standard_exponential(self.cumulative_losses.shape)
        noise /= self.rate(self.horizon)
        vertex = np.zeros_like(noise)
        vertex[self._rows, (self.cumulative_losses - noise).argmin(axis=1)] = 1.0
        return vertex

    def update(self, feedback: FullFeedback) -> None:
        """L_t = L_{t−1} + ℓ_t."""
        self.cumulative_losses += feedback.losses

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """H_K/η + η t in expectation; None if the adversary is adaptive."""
        if not environment.against_fixed():
            return None
        horizon, harmonic = self.horizon, self.harmonic

        def bound(t: Any) -> Any:
            eta = self.rate(t if horizon is None else horizon)
            return harmonic / eta + eta * t

        return Guarantee(
            bound=bound,
            kind="expected",
            assumptions="losses in [0, 1], not depending on the learner's actions",
            reference="derived, as Kalai, Vempala 2005",
        )
