"""Squint: expert weights from a prior on experts and learning rates, with second-order regret.

With r_t(a) = ⟨p_t, ℓ_t⟩ − ℓ_t(a), R = Σ r, V = Σ r² and a prior uniform on the K arms and on a grid
of G rates η ∈ {½, ¼, ⅛, ...} down to at most 1/(2√T),

    p_{t+1}(a) ∝ Σ_η η exp(η R_t(a) − η² V_t(a)).

As e^{ηr − η²r²} <= 1 + η r for η |r| <= ½, and the terms of first order sum to a multiple of Σ_a
p(a) r(a) = 0, the mean of exp(η R(a) − η² V(a)) under the prior never rises above 1. So on every
run, for every arm a,

    R_t(a) <= min_η  ln(K G)/η + η V_t(a),

which is of order √(V_t(a) ln(K G)): small where the arm is good in the rounds in which the learner
has not settled, as in stochastic games with a gap, where V is of order ln(K G)/Δ².

References:
    Koolen, van Erven. Second-order quantile methods for experts and combinatorial games. COLT 2015
    (the discrete prior of section 4, uniform; their improper prior on [0, ½] has no grid).
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ..core import checks
from ..core.checks import FloatArray
from ..core.environment import Environment, FullFeedback
from ..core.guarantee import Guarantee, Pathwise
from ..core.learner import Learner


@njit(cache=True)
def _mixtures(
    regrets: FloatArray, variances: FloatArray, rates: FloatArray, mixture: FloatArray
) -> None:
    """mixture[r, k] ∝ Σ_η η exp(η R − η² V)."""
    for r in range(regrets.shape[0]):
        top = -np.inf
        for k in range(regrets.shape[1]):
            for eta in rates:
                top = max(top, eta * (regrets[r, k] - eta * variances[r, k]))
        total = 0.0
        for k in range(regrets.shape[1]):
            weight = 0.0
            for eta in rates:
                weight += eta * math.exp(eta * (regrets[r, k] - eta * variances[r, k]) - top)
            mixture[r, k] = weight
            total += weight
        for k in range(regrets.shape[1]):
            mixture[r, k] /= total


@njit(cache=True)
def _account(
    losses: FloatArray, mixture: FloatArray, regrets: FloatArray, variances: FloatArray
) -> None:
    """R += r, V += r²."""
    for r in range(losses.shape[0]):
        mean = 0.0
        for k in range(losses.shape[1]):
            mean += mixture[r, k] * losses[r, k]
        for k in range(losses.shape[1]):
            lead = mean - losses[r, k]
            regrets[r, k] += lead
            variances[r, k] += lead * lead


class Squint(Learner):
    """R copies of Squint; see the module docstring.

    Args:
        n_arms: K >= 2, the number of experts.
    """

    def __init__(self, n_arms: int) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)
        self.rates: FloatArray | None = None

    @staticmethod
    def grid(horizon: float) -> FloatArray:
        """½, ¼, ... to the first that is at most 1/(2√T), (G,)."""
        size = 1 + math.ceil(max(0.0, 0.5 * math.log2(horizon)))
        rates: FloatArray = np.exp2(-np.arange(1.0, size + 1.0))
        return rates

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """R_0 = V_0 = 0."""
        self.rates = self.grid(checks.integer(horizon, "horizon", minimum=1))
        self.regrets = np.zeros((n_replications, self.n_arms))  # R
        self.variances = np.zeros((n_replications, self.n_arms))  # V

    def act(self) -> FloatArray:
        """p_t, (R, K)."""
        self._mixture = np.empty_like(self.regrets)
        assert self.rates is not None
        _mixtures(self.regrets, self.variances, self.rates, self._mixture)
        return self._mixture

    def update(self, feedback: FullFeedback) -> None:
        """R_t and V_t."""
        _account(feedback.losses, self._mixture, self.regrets, self.variances)

    def _best(self, variances: FloatArray, rates: FloatArray) -> FloatArray:
        """min_η ln(K G)/η + η V, elementwise."""
        prior = math.log(self.n_arms * len(rates))
        result: FloatArray = (prior / rates + rates * variances[..., None]).min(axis=-1)
        return result

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """min_η ln(K G)/η + η t, on every run, as V <= t.

        None before `reset`, which sets the grid, and where regret is against arms that change.
        """
        if self.rates is None or not environment.against_fixed(adaptive=True):
            return None
        rates = self.rates
        return Guarantee(
            bound=lambda t: self._best(np.asarray(t, dtype=float), rates),
            kind="expected" if environment.adversary == "stochastic" else "pathwise",
            assumptions="losses in [0, 1]",
            reference="Koolen, van Erven 2015, with a discrete prior (derived)",
        )

    def pathwise(self) -> Pathwise:
        """R and its bound for the arm for which the bound is the closest, in each run."""
        assert self.rates is not None
        bounds = self._best(self.variances, self.rates)
        tightest = (bounds - self.regrets).argmin(axis=1)[:, None]
        left, right = (
            np.take_along_axis(side, tightest, axis=1)[:, 0] for side in (self.regrets, bounds)
        )
        return Pathwise(left, right, "Koolen, van Erven 2015, with a discrete prior (derived)")
