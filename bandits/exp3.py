"""Exp3 and Exp3-IX: exponential weights for adversarial bandits.

Both are FTRL with the negative entropy: draw A_t ~ p_t, p_t(a) ∝ exp(−η L̂_{t−1}(a)), observe
ℓ_t(A_t) ∈ [0, 1],

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

References:
    Auer, Cesa-Bianchi, Freund, Schapire. The nonstochastic multiarmed bandit problem. SICOMP 32(1),
    2002.
    Bubeck, Cesa-Bianchi. Regret analysis of stochastic and nonstochastic multi-armed bandit
    problems. 2012, theorem 3.1 (the bound of Exp3).
    Neu. Explore no more: improved high-probability regret bounds for non-stochastic bandits. NIPS
    2015, theorem 1.
Differs from Auer et al.: losses instead of gains, and no mixing with the uniform distribution.
"""

from __future__ import annotations

import math

import numpy as np

from ..core import checks
from ..core.environment import Environment
from ..core.guarantee import Guarantee
from ..core.potentials import NegativeEntropy
from .ftrl import FTRLBandit


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
        if environment.adversary == "adaptive":
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

    def guarantee(self, environment: Environment) -> Guarantee:
        """The bound of the module docstring, with probability `confidence` at each t."""
        eta, n_arms = self.bound_rate(), self.n_arms
        entropy, log_half = math.log(n_arms), math.log(2 / (1 - self.confidence))  # ln(1/δ')
        spread = 2.0 if environment.adversary == "stochastic" else 0.5
        return Guarantee(
            bound=lambda t: (
                2 * entropy / eta(t)
                + eta(t) * n_arms * t
                + (1 / eta(t) + 1) * (math.log(2) + log_half)
                + np.sqrt(spread * log_half * t)
            ),
            kind="high-probability",
            confidence=self.confidence,
            assumptions="losses in [0, 1]; they may depend on past actions",
            reference="Neu 2015, theorem 1, and Azuma-Hoeffding (derived)",
        )
