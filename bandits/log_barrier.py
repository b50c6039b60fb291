"""FTRL with the log-barrier for adversarial bandits.

    p_t(a) = 1 / (η (L̂_{t−1}(a) − x)),   x < min L̂ such that Σ p_t = 1,

with importance-weighted estimates. Expected regret against any arm fixed in advance, for every
η > 0 and t,

    (K − 1) ln t/η + (η/2) E Σ_s ℓ_s(A_s)² + 1  ≤  (K − 1) ln t/η + η t/2 + 1.

Derived: compare with u = (1 − 1/t) e_a + uniform/t, whose barrier exceeds the least one by at most
(K − 1) ln t and whose loss exceeds that of a by at most 1; the stability term of round s is
(x − ln(1 + x))/η with x = η ℓ_s(A_s) >= 0, at most η ℓ_s(A_s)²/2. The first form is a small-loss
bound: ℓ² ≤ ℓ. Tuned: η = √(2 (K − 1) ln T/T).

References:
    Foster, Li, Lykouris, Sridharan, Tardos. Learning in games: robustness of fast convergence.
    NeurIPS 2016 (the form K ln T/η + η Σ ℓ² + K for η ≤ 1/2, which the bound above improves in
    constants).
"""

from __future__ import annotations

import numpy as np

from ..core import checks
from ..core.environment import Environment
from ..core.guarantee import Guarantee
from ..core.potentials import LogBarrier
from .ftrl import FTRLBandit


class LogBarrierFTRL(FTRLBandit):
    """R copies of log-barrier FTRL; see the module docstring.

    Args:
        n_arms: K >= 2.
        learning_rate: η > 0; None: √(2 (K − 1) ln T/T) for the horizon T given to `reset`.
    """

    def __init__(self, n_arms: int, *, learning_rate: float | None = None) -> None:
        rate = checks.positive(learning_rate, "learning_rate", optional=True)
        super().__init__(n_arms, LogBarrier(), learning_rate=rate)

    def tuned_rate(self, horizon: int) -> float:
        """√(2 (K − 1) ln T/T), with ln 2 at T = 1."""
        log = np.log(np.maximum(horizon, 2))
        return np.sqrt(2 * (self.n_arms - 1) * log / horizon)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """(K − 1) ln t/η + η t/2 + 1 in expectation; None against adaptive adversaries."""
        if not environment.against_fixed():
            return None
        eta, n_arms = self.bound_rate(), self.n_arms
        return Guarantee(
            bound=lambda t: (n_arms - 1) * np.log(t) / eta(t) + eta(t) * t / 2 + 1,
            kind="expected",
            assumptions="losses in [0, 1], not depending on the learner's actions",
            reference="derived, after Foster et al. 2016",
        )
