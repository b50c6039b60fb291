"""Hedge (exponential weights) in the experts' game.

FTRL with the negative entropy: p_t(a) ∝ exp(−η_t L_{t−1}(a)), told all losses ℓ_t ∈ [0, 1]ᴷ. For
every sequence of losses, adaptive ones included, and each t

    Σ_s ⟨p_s, ℓ_s⟩ − min_a L_t(a) ≤ ln K/η_t + Σ_s η_s/8          (η_t not increasing).

    tuning      η_t                                      bound
    "horizon"   √(8 ln K/T)                              ln K/η + η t/8, at T: √(T ln K/2)
    "anytime"   2 √(ln K/t)                              √(t ln K)
    "doubling"  √(8 ln K/2^m), forgetting the past       √(t ln K/2) times √2/(√2 − 1) ≈ 3.4, by
                at t = 2^m, m = 0, 1, 2, ...             summing √(2^m ln K/2) over the epochs

References:
    Cesa-Bianchi, Lugosi. Prediction, Learning, and Games. 2006, theorem 2.2 and section 2.3.
    Bubeck. Introduction to Online Optimization. 2011, theorem 2.4 (anytime).
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np

from ..core import checks
from ..core.checks import FloatArray
from ..core.environment import Environment
from ..core.guarantee import Guarantee
from ..core.potentials import NegativeEntropy
from .ftrl import FTRLExperts, Rate

Tuning = Literal["horizon", "anytime", "doubling"]


class Hedge(FTRLExperts):
    """R copies of Hedge; see the module docstring.

    Args:
        n_arms: K >= 2, the number of experts.
        learning_rate: η > 0; None: by the tuning.
        tuning: "horizon": for the T given to `reset`; the other two do not need it.
    """

    def __init__(
        self, n_arms: int, *, learning_rate: float | None = None, tuning: Tuning = "horizon"
    ) -> None:
        rate = checks.positive(learning_rate, "learning_rate", optional=True)
        super().__init__(n_arms, NegativeEntropy(), learning_rate=rate)
        if tuning not in get_args(Tuning):
            raise ValueError(f"tuning must be one of {get_args(Tuning)}, got {tuning!r}")
        if rate is not None and tuning != "horizon":
            raise ValueError(
                f"learning_rate and tuning={tuning!r} exclude each other, got {rate}; drop one"
            )
        self.tuning = tuning

    def tuned_rate(self, horizon: int) -> Rate:
        """The table of the module docstring."""
        entropy = math.log(self.n_arms)
        if self.tuning == "anytime":
            return lambda t: 2 * math.sqrt(entropy / t)
        if self.tuning == "doubling":
            return lambda t: math.sqrt(8 * entropy / 2 ** (t.bit_length() - 1))
        rate: float = np.sqrt(8 * entropy / horizon)
        return rate

    def mixture(self) -> FloatArray:
        """p_t; with "doubling", epochs begin at t = 1, 2, 4, 8, ..."""
        t = self._round + 1
        if self.tuning == "doubling" and t & (t - 1) == 0:
            self.cumulative_losses[:] = 0.0
        return super().mixture()

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """ln K/η + η t/8, on every run, or √(t ln K) with "anytime".

        In expectation where regret is on mean losses. None where it is against arms that change.
        """
        if not environment.against_fixed(adaptive=True):
            return None
        entropy = math.log(self.n_arms)
        bound: Any
        if self.tuning == "anytime":
            bound = lambda t: np.sqrt(entropy * t)  # noqa: E731
        elif self.tuning == "doubling":
            bound = self._doubling_bound
        else:
            eta = self.bound_rate()
            bound = lambda t: entropy / eta(t) + eta(t) * t / 8  # noqa: E731
        return Guarantee(
            bound=bound,
            kind="expected" if environment.adversary == "stochastic" else "pathwise",
            assumptions="losses in [0, 1]",
            reference="Cesa-Bianchi, Lugosi 2006, theorem 2.2 and section 2.3",
        )

    def _doubling_bound(self, t: Any) -> Any:
        """Σ over the epochs begun, of 2^m rounds each, of √(2^m ln K/2)."""
        epochs = np.floor(np.log2(t)) + 1
        root = math.sqrt(2)
        return math.sqrt(math.log(self.n_arms) / 2) * (root**epochs - 1) / (root - 1)
