"""Tsallis-INF: one algorithm for stochastic and adversarial bandits.

FTRL with the ½-Tsallis entropy ψ(p) = −4 Σ √p + 2 and importance-weighted estimates,

    p_t(a) = 4 / (η_t (L̂_{t−1}(a) − x))²,   x < min L̂ such that Σ p_t = 1,   η_t = 2/√t.

Expected regret at most 4√(K t) + 1 against any arm fixed in advance, and of order Σ_a ln t/Δ_a in
stochastic (even stochastically constrained) games. With a constant η the same proof gives

    (4√K − 4)/η + η √K t/2

(derived: ψ has the range 4√K − 4, and the stability term of round t is at most (η/2) Σ √p_t).

References:
    Zimmert, Seldin. Tsallis-INF: an optimal algorithm for stochastic and adversarial bandits. JMLR
    22, 2021, theorem 1 (estimator IW).
"""

from __future__ import annotations

import math

import numpy as np

from ..core import checks
from ..core.environment import Environment
from ..core.guarantee import Guarantee
from ..core.potentials import TsallisEntropy
from .ftrl import FTRLBandit, Rate


class TsallisINF(FTRLBandit):
    """R copies of Tsallis-INF with the importance-weighted estimator; see the module docstring.

    Args:
        n_arms: K >= 2.
        learning_rate: constant η > 0; None: η_t = 2/√t, which needs no horizon.
    """

    def __init__(self, n_arms: int, *, learning_rate: float | None = None) -> None:
        rate = checks.positive(learning_rate, "learning_rate", optional=True)
        super().__init__(n_arms, TsallisEntropy(0.5), learning_rate=rate)

    def tuned_rate(self, horizon: int) -> Rate:
        """t -> 2/√t."""
        return lambda t: 2.0 / math.sqrt(t)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """4√(K t) + 1 in expectation, or its form for a constant η; None if it is adaptive."""
        if environment.adversary == "adaptive":
            return None
        root = math.sqrt(self.n_arms)
        if self.learning_rate is None:
            return Guarantee(
                bound=lambda t: 4 * root * np.sqrt(t) + 1,
                kind="expected",
                assumptions="losses in [0, 1], not depending on the learner's actions",
                reference="Zimmert, Seldin 2021, theorem 1",
            )
        eta = self.bound_rate()
        return Guarantee(
            bound=lambda t: 4 * (root - 1) / eta(t) + eta(t) * root * t / 2,
            kind="expected",
            assumptions="losses in [0, 1], not depending on the learner's actions",
            reference="derived, as Zimmert, Seldin 2021, theorem 1",
        )
