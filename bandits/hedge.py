"""Hedge (exponential weights) in the experts' game.

FTRL with the negative entropy: p_t(a) ∝ exp(−η L_{t−1}(a)), told all losses ℓ_t ∈ [0, 1]ᴷ. For
every sequence of losses, adaptive ones included, and each t

    Σ_s ⟨p_s, ℓ_s⟩ − min_a L_t(a) ≤ ln K/η + η t/8,

which is √(T ln K/2) at t = T for η = √(8 ln K/T).

References:
    Cesa-Bianchi, Lugosi. Prediction, Learning, and Games. 2006, theorem 2.2.
"""

from __future__ import annotations

import math

import numpy as np

from ..core import checks
from ..core.environment import Environment
from ..core.guarantee import Guarantee
from ..core.potentials import NegativeEntropy
from .ftrl import FTRLExperts


class Hedge(FTRLExperts):
    """R copies of Hedge; see the module docstring.

    Args:
        n_arms: K >= 2, the number of experts.
        learning_rate: η > 0; None: √(8 ln K/T) for the horizon T given to `reset`.
    """

    def __init__(self, n_arms: int, *, learning_rate: float | None = None) -> None:
        rate = checks.positive(learning_rate, "learning_rate", optional=True)
        super().__init__(n_arms, NegativeEntropy(), learning_rate=rate)

    def tuned_rate(self, horizon: int) -> float:
        """√(8 ln K/T)."""
        return np.sqrt(8 * math.log(self.n_arms) / horizon)

    def guarantee(self, environment: Environment) -> Guarantee:
        """ln K/η + η t/8: on every run; in expectation where regret is measured on mean losses."""
        eta, entropy = self.bound_rate(), math.log(self.n_arms)
        return Guarantee(
            bound=lambda t: entropy / eta(t) + eta(t) * t / 8,
            kind="expected" if environment.adversary == "stochastic" else "pathwise",
            assumptions="losses in [0, 1]",
            reference="Cesa-Bianchi, Lugosi 2006, theorem 2.2",
        )
