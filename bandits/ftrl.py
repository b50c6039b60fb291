"""Follow the regularised leader (FTRL) on the simplex: the engine of experts and bandits.

Round t, with cumulative (estimated) losses L_{t−1} ∈ ℝᴷ (L_0 = 0), learning rate η_t, potential ψ:

    p_t = argmin_{p ∈ simplex} ⟨L_{t−1}, p⟩ + ψ(p)/η_t = ∇ψ*(−η_t L_{t−1})

`FTRLExperts` plays p_t and is told all losses. `FTRLBandit` draws A_t ~ p_t, is told ℓ_t(A_t) and
uses the estimate

    ℓ̂_t(a) = 1{A_t = a} ℓ_t(a) / (p_t(a) + γ)

which is unbiased given the past for γ = 0 and biased downwards (implicit exploration) for γ > 0.

References:
    Lattimore, Szepesvári. Bandit Algorithms. Cambridge University Press, 2020, chapters 11, 12, 28.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numba import njit

from ..core import checks
from ..core.checks import FloatArray, IntArray
from ..core.environment import BanditFeedback, FullFeedback
from ..core.learner import Learner
from ..core.potentials import SimplexPotential
from ..core.random import UniformStream, sample_rows

Rate: TypeAlias = float | Callable[[int], float]


@njit(cache=True, error_model="numpy")  # an infinite estimate is refused at the next step
def _add_estimates(
    cumulative: FloatArray,
    arms: IntArray,
    losses: FloatArray,
    probabilities: FloatArray,
    exploration: float,
) -> None:
    """L[r, a_r] += ℓ_r / (p[r, a_r] + γ)."""
    for r in range(len(arms)):
        a = arms[r]
        cumulative[r, a] += losses[r] / (probabilities[r, a] + exploration)


class FTRL(Learner):
    """What the learners of both games share: L_{t−1}, η_t and p_t.

    Args:
        n_arms: K >= 2.
        potential: ψ, on the simplex.
        learning_rate: η > 0, or t -> η_t > 0 for rounds t = 1, 2, ..., which must not increase.
            None: the rule of the subclass, tuned for the horizon given to `reset` or anytime.
    """

    def __init__(
        self, n_arms: int, potential: SimplexPotential, *, learning_rate: Rate | None = None
    ) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)
        self.potential = potential
        if not isinstance(potential, SimplexPotential):
            raise TypeError(f"potential must be one on the simplex, got {potential!r}")
        if not callable(learning_rate):
            learning_rate = checks.positive(learning_rate, "learning_rate", optional=True)
        self.learning_rate = learning_rate
        self.horizon: int | None = None

    def tuned_rate(self, horizon: int) -> Rate:
        """η, or t -> η_t, when no learning rate was given; works elementwise on arrays."""
        raise ValueError(f"learning_rate must be given to {type(self).__name__}, got None")

    def rate(self, horizon: int) -> Rate:
        """η, or t -> η_t, of a learner that was reset for `horizon` rounds."""
        return self.tuned_rate(horizon) if self.learning_rate is None else self.learning_rate

    def bound_rate(self) -> Callable[[Any], Any]:
        """t -> η, the constant of this learner, for its bound after t rounds.

        Before `reset`, the learner is taken to be tuned for the horizon t.
        """
        if self.horizon is None:
            return self.rate
        rate = self.rate(self.horizon)
        if callable(rate):
            raise ValueError(f"learning_rate must be constant for this bound, got {rate!r}")
        return lambda t: rate

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """L_0 = 0 for R replications."""
        self.horizon = checks.integer(horizon, "horizon", minimum=1)
        rate = self.rate(horizon)
        self._rate = rate if callable(rate) else lambda t: rate  # t -> η_t
        self._round = 0
        self.cumulative_losses = np.zeros((n_replications, self.n_arms))  # L_{t−1}, (R, K)

    def mixture(self) -> FloatArray:
        """p_t = ∇ψ*(−η_t L_{t−1}), shape (R, K); each call is a round."""
        self._round += 1
        mixture = np.empty_like(self.cumulative_losses)
        eta = self._rate(self._round)
        if not 0.0 < eta < math.inf:
            raise ValueError(f"learning_rate must be positive and finite in each round, got {eta}")
        self.potential.maximize_rows(self.cumulative_losses, -eta, mixture)
        return mixture


class FTRLExperts(FTRL):
    """R copies of FTRL in the experts' game: plays p_t, is told all losses; arguments as `FTRL`."""

    def act(self) -> FloatArray:
        """p_t itself, shape (R, K)."""
        return self.mixture()

    def update(self, feedback: FullFeedback) -> None:
        """L_t = L_{t−1} + ℓ_t."""
        self.cumulative_losses += feedback.losses


class FTRLBandit(FTRL):
    """R copies of FTRL in the bandit game: draws A_t ~ p_t, is told ℓ_t(A_t); arguments as `FTRL`.

    Attributes:
        probabilities: p_t of the last `act`, shape (R, K).
        exploration: γ >= 0 of the estimate; 0 unless a subclass sets it.
    """

    probabilities: FloatArray
    exploration = 0.0

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """L̂_0 = 0 for R replications."""
        super().reset(n_replications, horizon, rng)
        self._uniforms = UniformStream(rng, (n_replications,))

    def act(self) -> IntArray:
        """A_t ~ p_t, shape (R,)."""
        self.probabilities = self.mixture()
        return sample_rows(self.probabilities, self._uniforms.draw())

    def update(self, feedback: BanditFeedback) -> None:
        """L̂_t = L̂_{t−1} + ℓ̂_t."""
        _add_estimates(
            self.cumulative_losses,
            feedback.arms,
            feedback.losses,
            self.probabilities,
            self.exploration,
        )
