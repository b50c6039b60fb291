"""Exp3, Exp3-IX and Exp3.P: exponential weights for adversarial bandits.

The first two are FTRL with the negative entropy: draw A_t ~ p_t, p_t(a) ∝ exp(−η L̂_{t−1}(a)),
observe ℓ_t(A_t) ∈ [0, 1],

    ℓ̂_t(a) = 1{A_t = a} ℓ_t(a) / (p_t(a) + γ),   L̂_t = L̂_{t−1} + ℓ̂_t,

with γ = 0 in Exp3 and γ = η/2 in Exp3-IX.

Exp3, expected regret against any arm fixed in advance: ln K/η + η K t/2, which is √(2 T K ln K) at
t = T for η = √(2 ln K/(T K)).

Exp3-IX, with probability 1 − δ' and against all arms at once, even if losses depend on past actions
(derived as in Neu: the exponential-weights inequality, then his lemma 1 for each arm and for the
sum of all arms, with probability δ'/2 each):

    Σ_s ℓ_s(A_s) − min_a L_t(a) ≤ 2 ln K/η + η K t + (1/η + 1) ln(2/δ'),

at most Neu's 2√(2 K T ln K) + (√(2 K T/ln K) + 1) ln(2/δ') for η = √(2 ln K/(K T)). The regret that
`run` reports replaces ℓ_s(A_s) by its expectation given the past; by the Azuma-Hoeffding inequality
this costs √(t ln(1/δ')/2) more, and √(2 t ln(1/δ')) where it is also measured on means (the
differences then have range 2). The executable bound is the sum of both terms with δ' = δ/2.

Exp3.P estimates gains 1 − ℓ, with a bonus β for all arms, and mixes with the uniform distribution:

    p_t = (1 − γ) softmax(η G̃_{t−1}) + γ/K
    G̃_t(a) = G̃_{t−1}(a) + (1{A_t = a} (1 − ℓ_t(a)) + β)/p_t(a)

For γ <= ½ and (1 + β) K η <= γ, with probability 1 − δ', the regret after t rounds is at most

    β K t + γ t + (1 + β) η K t + ln(K/δ')/β + ln K/η,

and for β = √(ln(K/δ')/(K T)), η = 0.95 √(ln K/(K T)) and γ = 1.05 √(K ln K/T) at most 5.15 √(K T
ln(K/δ')) after T. The executable bound is the first, with δ' = δ/2 and Azuma-Hoeffding as above.

References:
    Auer, Cesa-Bianchi, Freund, Schapire. The nonstochastic multiarmed bandit problem. SICOMP 32(1),
    2002.
    Bubeck, Cesa-Bianchi. Regret analysis of stochastic and nonstochastic multi-armed bandit
    problems. 2012, theorem 3.1 (the bound of Exp3).
    Neu. Explore no more: improved high-probability regret bounds for non-stochastic bandits. NIPS
    2015, theorem 1.
    Bubeck, Cesa-Bianchi 2012, theorems 3.2 and 3.3 (Exp3.P, of Auer et al.).
Differs from Auer et al.: Exp3 has losses instead of gains, and is not mixed with the uniform
distribution.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..core import checks
from ..core.checks import FloatArray, IntArray
from ..core.environment import BanditFeedback, Environment
from ..core.guarantee import Guarantee
from ..core.potentials import NegativeEntropy
from .ftrl import FTRLBandit


@njit(cache=True, error_model="numpy")
def _subtract_gains(
    cumulative: FloatArray,
    arms: IntArray,
    losses: FloatArray,
    probabilities: FloatArray,
    bonus: float,
) -> None:
    """L̃ = −G̃: L̃[r, a] −= (1{a = a_r} (1 − ℓ_r) + β)/p[r, a]."""
    for r in range(len(arms)):
        for k in range(cumulative.shape[1]):
            gain = 1.0 - losses[r] if k == arms[r] else 0.0
            cumulative[r, k] -= (gain + bonus) / probabilities[r, k]


def _azuma(environment: Environment, log_inverse: float) -> Any:
    """t -> what it costs to replace ℓ_t(A_t) by what `run` charges, with probability 1 − δ'.

    √(t ln(1/δ')/2) where that is ⟨p_t, ℓ_t⟩; twice that where regret is measured on means.
    """
    spread = 2.0 if environment.adversary == "stochastic" else 0.5
    return lambda t: np.sqrt(spread * log_inverse * t)


class _ExponentialWeights(FTRLBandit):
    """The common part: the potential and the tuned learning rate."""

    def __init__(self, n_arms: int, *, learning_rate: float | None = None) -> None:
        rate = checks.positive(learning_rate, "learning_rate", optional=True)
        super().__init__(n_arms, NegativeEntropy(), learning_rate=rate)

    def tuned_rate(self, horizon: int) -> float:
        """√(2 ln K/(T K))."""
        return np.sqrt(2 * math.log(self.n_arms) / (horizon * self.n_arms))


class Exp3(_ExponentialWeights):
    """R copies of Exp3; see the module docstring.

    Args:
        n_arms: K >= 2.
        learning_rate: η > 0; None: √(2 ln K/(T K)) for the horizon T given to `reset`.
    """

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """ln K/η + η K t/2 in expectation; None if the adversary is adaptive."""
        if not environment.against_fixed():
            return None
        eta, n_arms = self.bound_rate(), self.n_arms
        return Guarantee(
            bound=lambda t: math.log(n_arms) / eta(t) + eta(t) * n_arms * t / 2,
            kind="expected",
            assumptions="losses in [0, 1], not depending on the learner's actions",
            reference="Bubeck, Cesa-Bianchi 2012, theorem 3.1",
        )


class Exp3IX(_ExponentialWeights):
    """R copies of Exp3-IX, γ = η/2; see the module docstring.

    Args:
        n_arms: K >= 2.
        learning_rate: η > 0; None: √(2 ln K/(T K)) for the horizon T given to `reset`.
        confidence: 1 − δ of the guarantee; the algorithm does not depend on it.
    """

    def __init__(
        self, n_arms: int, *, learning_rate: float | None = None, confidence: float = 0.95
    ) -> None:
        super().__init__(n_arms, learning_rate=learning_rate)
        self.confidence = checks.real(confidence, "confidence", above=0.0, below=1.0)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """γ = η/2."""
        super().reset(n_replications, horizon, rng)
        self.exploration = self.bound_rate()(horizon) / 2

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """2 ln K/η + η K t + (1/η + 1) ln(4/δ) + √(t ln(2/δ)/2), with probability 1 − δ at each t.

        The last term is √(2 t ln(2/δ)) where regret is measured on means. None where regret is
        against arms that change.
        """
        if not environment.against_fixed(adaptive=True):
            return None
        eta, n_arms = self.bound_rate(), self.n_arms
        entropy, log_half = math.log(n_arms), math.log(2 / (1 - self.confidence))  # ln(1/δ')
        azuma = _azuma(environment, log_half)
        return Guarantee(
            bound=lambda t: (
                2 * entropy / eta(t)
                + eta(t) * n_arms * t
                + (1 / eta(t) + 1) * (math.log(2) + log_half)
                + azuma(t)
            ),
            kind="high-probability",
            confidence=self.confidence,
            assumptions="losses in [0, 1]; they may depend on past actions",
            reference="Neu 2015, theorem 1, and Azuma-Hoeffding (derived)",
        )


class Exp3P(_ExponentialWeights):
    """R copies of Exp3.P, tuned for the horizon T given to `reset`; see the module docstring.

    Args:
        n_arms: K >= 2.
        confidence: 1 − δ of the guarantee; the algorithm is tuned for δ' = δ/2, as the regret that
            `run` measures costs another δ/2.
    """

    def __init__(self, n_arms: int, *, confidence: float = 0.95) -> None:
        super().__init__(n_arms)
        self.confidence = checks.real(confidence, "confidence", above=0.0, below=1.0)
        self._log_ratio = math.log(2 * n_arms / (1 - self.confidence))  # ln(K/δ')

    def tuned_rate(self, horizon: int) -> float:
        """0.95 √(ln K/(K T))."""
        return 0.95 * np.sqrt(math.log(self.n_arms) / (self.n_arms * horizon))

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """β and γ, at most 1."""
        super().reset(n_replications, horizon, rng)
        n_arms = self.n_arms
        self.bonus = math.sqrt(self._log_ratio / (n_arms * horizon))
        self.mixing = min(1.0, 1.05 * math.sqrt(n_arms * math.log(n_arms) / horizon))

    def mixture(self) -> FloatArray:
        """(1 − γ) softmax(η G̃) + γ/K, shape (R, K)."""
        mixture = super().mixture()
        mixture *= 1 - self.mixing
        mixture += self.mixing / self.n_arms
        return mixture

    def update(self, feedback: BanditFeedback) -> None:
        """G̃_t."""
        _subtract_gains(
            self.cumulative_losses,
            feedback.arms,
            feedback.losses,
            self.probabilities,
            self.bonus,
        )

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """β K t + γ t + (1 + β) η K t + ln(2K/δ)/β + ln K/η + √(t ln(2/δ)/2), or t if less.

        With probability 1 − δ at each t; the last term is √(2 t ln(2/δ)) where regret is measured
        on means. t, where the conditions are not met. None before `reset`, and against adaptive
        adversaries.
        """
        horizon, n_arms = self.horizon, self.n_arms
        if horizon is None or not environment.against_fixed():
            return None
        eta, beta, gamma = self.tuned_rate(horizon), self.bonus, self.mixing
        slope = beta * n_arms + gamma + (1 + beta) * eta * n_arms
        constant = self._log_ratio / beta + math.log(n_arms) / eta
        met = gamma <= 0.5 and (1 + beta) * n_arms * eta <= gamma
        azuma = _azuma(environment, math.log(2 / (1 - self.confidence)))
        return Guarantee(
            bound=lambda t: (
                np.minimum(t, slope * t + constant + azuma(t)) if met else np.asarray(t) * 1.0
            ),
            kind="high-probability",
            confidence=self.confidence,
            assumptions="losses in [0, 1], not depending on the learner's actions; t <= T",
            reference="Bubeck, Cesa-Bianchi 2012, theorem 3.2, and Azuma-Hoeffding (derived)",
        )
