"""Thompson sampling: for Bernoulli bandits with the uniform prior, and with Gaussian draws.

After n_a plays of arm a with S_a losses of 1, draw θ_a ~ Beta(1 + S_a, 1 + n_a − S_a) and play
argmin_a θ_a. A loss in (0, 1) is first replaced by a Bernoulli draw of that mean, which leaves the
expected regret unchanged.

Bayes regret under the uniform prior (means drawn from it: `BayesianBernoulliBandit`) at most √(K t
ln K/2). For fixed means the regret is asymptotically Σ Δ_a ln t/kl(μ_a, μ*), without explicit
finite-time constants: no guarantee there.

The Gaussian form takes any losses in [0, 1] as they are: play argmin_a of θ_a ~ N((S_a + 1)/(n_a +
1), 1/(n_a + 1)), as rewards 1 − ℓ have the mean Σ (1 − ℓ)/(n_a + 1). Its regret is of order √(K t
ln K), with constants that are not explicit: no guarantee.

References:
    Thompson. On the likelihood that one unknown probability exceeds another. Biometrika 25, 1933.
    Russo, Van Roy. An information-theoretic analysis of Thompson sampling. JMLR 17, 2016 (the best
    arm has entropy at most ln K).
    Agrawal, Goyal. Analysis of Thompson sampling. COLT 2012 (the Bernoulli draw).
    Agrawal, Goyal. Further optimal regret bounds for Thompson sampling. AISTATS 2013 (Gaussian).
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
from ..core.random import NormalStream, UniformStream
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


@njit(cache=True)
def _least_draw(
    sums: FloatArray,
    counts: FloatArray,
    deviations: FloatArray,
    normals: FloatArray,
    arms: IntArray,
) -> None:
    """arms[r] = argmin_k (S + 1)/(n + 1) + normal/√(n + 1), from S + 1 and n + 1."""
    for r in range(sums.shape[0]):
        least = np.inf
        for k in range(sums.shape[1]):
            theta = sums[r, k] / counts[r, k] + deviations[r, k] * normals[r, k]
            if theta < least:
                least = theta
                arms[r] = k


@njit(cache=True)
def _add_to_sums(
    sums: FloatArray, counts: FloatArray, deviations: FloatArray, arms: IntArray, losses: FloatArray
) -> None:
    for r in range(len(arms)):
        a = arms[r]
        sums[r, a] += losses[r]
        counts[r, a] += 1.0
        deviations[r, a] = 1.0 / math.sqrt(counts[r, a])


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


class GaussianThompsonSampling(Learner):
    """R copies of Thompson sampling with Gaussian draws (Agrawal, Goyal 2013); see above.

    Args:
        n_arms: K >= 2.
    """

    def __init__(self, n_arms: int) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """N(1, 1) for each arm."""
        shape = (n_replications, self.n_arms)
        self.sums, self.counts = np.ones(shape), np.ones(shape)  # S + 1 and n + 1
        self._deviations = np.ones(shape)
        self._normals = NormalStream(rng, shape)

    def act(self) -> IntArray:
        """argmin of the draws, shape (R,)."""
        arms = np.empty(len(self.sums), dtype=np.int64)
        _least_draw(self.sums, self.counts, self._deviations, self._normals.draw(), arms)
        return arms

    def update(self, feedback: BanditFeedback) -> None:
        """S and n of the arm played."""
        _add_to_sums(self.sums, self.counts, self._deviations, feedback.arms, feedback.losses)
