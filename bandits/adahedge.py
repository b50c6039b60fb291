"""AdaHedge: Hedge whose learning rate follows the gaps of its own mixability.

    p_t ∝ exp(−η_t L_{t−1}),   η_t = ln K/Δ_{t−1},   Δ_t = Δ_{t−1} + δ_t,
    δ_t = ⟨p_t, ℓ_t⟩ + (1/η_t) ln ⟨p_t, exp(−η_t ℓ_t)⟩ >= 0,   Δ_0 = 0.

While Δ = 0 the rate is infinite: p_t is uniform over the arms of least L_{t−1}, and the second term
of δ_t is −(min L_t − min L_{t−1}). It needs neither the horizon nor the range of the losses; losses
times a number, or plus one, are played alike. On every run, with losses in an interval of length 1
and V_t = Σ_s Var_{p_s}(ℓ_s),

    Σ_s ⟨p_s, ℓ_s⟩ − min_a L_t(a) <= 2 Δ_t,
    Σ_s ⟨p_s, ℓ_s⟩ − min_a L_t(a) <= 2 √(V_t ln K) + (4/3) ln K + 2 <= √(t ln K) + (4/3) ln K + 2.

References:
    De Rooij, van Erven, Grünwald, Koolen. Follow the leader if you can, hedge if you must. JMLR 15,
    2014, lemma 3 and theorem 8.
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
def _mixtures(cumulative: FloatArray, rates: FloatArray, mixture: FloatArray) -> None:
    """mixture[r] ∝ exp(−η_r L[r]); for η_r = ∞ uniform over the least."""
    for r in range(cumulative.shape[0]):
        least = cumulative[r].min()
        total = 0.0
        for k in range(cumulative.shape[1]):
            gap = cumulative[r, k] - least
            mixture[r, k] = 1.0 if gap == 0.0 else math.exp(-rates[r] * gap)
            total += mixture[r, k]
        for k in range(cumulative.shape[1]):
            mixture[r, k] /= total


@njit(cache=True)
def _log_sum(cumulative: FloatArray, rate: float) -> float:
    """ln Σ exp(−η (L − min L)), from 0 to ln K, for one replication."""
    least = cumulative.min()
    total = 0.0
    for loss in cumulative:
        total += 1.0 if loss == least else math.exp(-rate * (loss - least))
    return math.log(total)


@njit(cache=True)
def _account(
    cumulative: FloatArray,
    losses: FloatArray,
    mixture: FloatArray,
    rates: FloatArray,
    gaps: FloatArray,
    variances: FloatArray,
    incurred: FloatArray,
) -> None:
    """L += ℓ, Δ += δ, V += Var_p(ℓ) and Σ ⟨p, ℓ⟩, row by row.

    −(1/η) ln ⟨p, exp(−η ℓ)⟩ is the rise of min L − (1/η) ln Σ exp(−η (L − min L)): a mean of
    exponentials can round to 0, these sums are at least 1.
    """
    n_arms = cumulative.shape[1]
    for r in range(cumulative.shape[0]):
        eta = rates[r]
        before, log_before = cumulative[r].min(), _log_sum(cumulative[r], eta)
        lowest = losses[r].min()
        mean = square = 0.0
        for k in range(n_arms):
            p, loss = mixture[r, k], losses[r, k] - lowest
            mean += p * loss
            square += p * loss * loss
            cumulative[r, k] += losses[r, k]
        rise = cumulative[r].min() - before - lowest
        mix_loss = rise - (_log_sum(cumulative[r], eta) - log_before) / eta
        gaps[r] += max(mean - mix_loss, 0.0)
        variances[r] += max(square - mean * mean, 0.0)
        incurred[r] += mean + lowest


class AdaHedge(Learner):
    """R copies of AdaHedge; see the module docstring.

    Args:
        n_arms: K >= 2, the number of experts.
    """

    def __init__(self, n_arms: int) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """L_0 = 0, Δ_0 = 0."""
        self.cumulative_losses = np.zeros((n_replications, self.n_arms))
        self.mixability_gap = np.zeros(n_replications)  # Δ
        self.variance = np.zeros(n_replications)  # V
        self._incurred = np.zeros(n_replications)

    @property
    def learning_rate(self) -> FloatArray:
        """η of the next round, (R,)."""
        rates = np.full_like(self.mixability_gap, np.inf)
        positive = self.mixability_gap > 0
        with np.errstate(over="ignore"):  # infinite too
            return np.divide(math.log(self.n_arms), self.mixability_gap, out=rates, where=positive)

    def act(self) -> FloatArray:
        """p_t, (R, K)."""
        self._rates = self.learning_rate
        self._mixture = np.empty_like(self.cumulative_losses)
        _mixtures(self.cumulative_losses, self._rates, self._mixture)
        return self._mixture

    def update(self, feedback: FullFeedback) -> None:
        """L_t, Δ_t and V_t."""
        _account(
            self.cumulative_losses,
            feedback.losses,
            self._mixture,
            self._rates,
            self.mixability_gap,
            self.variance,
            self._incurred,
        )

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """√(t ln K) + (4/3) ln K + 2: on every run; in expectation where regret is on means.

        None where regret is against arms that change.
        """
        if not environment.against_fixed(adaptive=True):
            return None
        entropy = math.log(self.n_arms)
        return Guarantee(
            bound=lambda t: np.sqrt(entropy * t) + 4 / 3 * entropy + 2,
            kind="expected" if environment.adversary == "stochastic" else "pathwise",
            assumptions="losses in [0, 1]",
            reference="De Rooij et al. 2014, theorem 8",
        )

    def pathwise(self) -> Pathwise:
        """Regret on the losses that were shown against the least of 2 Δ and the bound in V."""
        entropy = math.log(self.n_arms)
        second_order = 2 * np.sqrt(entropy * self.variance) + 4 / 3 * entropy + 2
        return Pathwise(
            self._incurred - self.cumulative_losses.min(axis=1),
            np.minimum(2 * self.mixability_gap, second_order),
            "De Rooij et al. 2014, lemma 3 and theorem 8",
        )
