"""Thompson sampling for Bernoulli bandits, with the uniform prior.

After n_a plays of arm a with S_a losses of 1, draw θ_a ~ Beta(1 + S_a, 1 + n_a − S_a) and play
argmin_a θ_a. A loss in (0, 1) is first replaced by a Bernoulli draw of that mean, which leaves the
expected regret unchanged.

Bayes regret under the uniform prior (means drawn from it: `BayesianBernoulliBandit`) at most √(K t
ln K/2). For fixed means the regret is asymptotically Σ Δ_a ln t/kl(μ_a, μ*), without explicit
finite-time constants: no guarantee there.

References:
    Thompson. On the likelihood that one unknown probability exceeds another. Biometrika 25, 1933.
    Russo, Van Roy. An information-theoretic analysis of Thompson sampling. JMLR 17, 2016 (the best
    arm has entropy at most ln K).
    Agrawal, Goyal. Analysis of Thompson sampling. COLT 2012 (the Bernoulli draw).
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
from ..core.random import UniformStream
from .environments import BayesianBernoulliBandit


@njit(cache=True)
def _add_losses(
    ones: FloatArray,
    zeros: FloatArray,
    arms: IntArray,
    losses: FloatArray,
    uniforms: FloatArray,
) -> None:
    """Count a loss of 1 with probability ℓ, else a loss of 0, for the arm played in each row."""
    for r in range(len(arms)):
        if uniforms[r] < losses[r]:
            ones[r, arms[r]] += 1.0
        else:
            zeros[r, arms[r]] += 1.0


class ThompsonSampling(Learner):
    """R copies of Thompson sampling; see the module docstring.

    Args:
        n_arms: K >= 2.
    """

    def __init__(self, n_arms: int) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """The prior Beta(1, 1) for each arm."""
        self.ones = np.ones((n_replications, self.n_arms))  # 1 + S
        self.zeros = np.ones((n_replications, self.n_arms))  # 1 + n − S
        self._rng, uniforms_rng = rng.spawn(2)
        self._uniforms = UniformStream(uniforms_rng, (n_replications,))

    def act(self) -> IntArray:
        """argmin of a draw from the posterior, shape (R,)."""
        return self._rng.beta(self.ones, self.zeros).argmin(axis=1)

    def update(self, feedback: BanditFeedback) -> None:
        """Posterior of the arm played, after the Bernoulli draw of its loss."""
        _add_losses(self.ones, self.zeros, feedback.arms, feedback.losses, self._uniforms.draw())

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """√(K t ln K/2) in expectation over the uniform prior; None for fixed means."""
        if not isinstance(environment, BayesianBernoulliBandit):
            return None
        scale = self.n_arms * math.log(self.n_arms) / 2
        return Guarantee(
            bound=lambda t: np.sqrt(scale * t),
            kind="expected",
            assumptions="Bernoulli losses whose means are drawn from the uniform prior",
            reference="Russo, Van Roy 2016, propositions 1 and 3",
        )
