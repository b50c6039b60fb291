"""Tsallis-INF: one algorithm for stochastic and adversarial bandits.

FTRL with the ½-Tsallis entropy ψ(p) = −4 Σ √p + 2,

    p_t(a) = 4 / (η_t (L̂_{t−1}(a) − x))²,   x < min L̂ such that Σ p_t = 1,

and estimates that are importance-weighted ("IW") or of reduced variance ("RV"):

    IW    ℓ̂_t(a) = 1{A_t = a} ℓ_t(a)/p_t(a),                          η_t = 2/√t
    RV    ℓ̂_t(a) = 1{A_t = a} (ℓ_t(a) − B_t(a))/p_t(a) + B_t(a),      η_t = 4/√t,
          B_t(a) = ½ 1{p_t(a) ≥ η_t²}

Expected regret, against any arm fixed in advance, at most 4√(K t) + 1 with IW and 2√(K t) + 10 K
ln t + 16 with RV, and of order Σ_a ln t/Δ_a in stochastic (even stochastically constrained) games.
With a constant η the same proof gives for IW

    (4√K − 4)/η + η √K t/2

(derived: ψ has the range 4√K − 4, and the stability term of round t is at most (η/2) Σ √p_t). RV is
the better one in the mean, with heavier tails: a run in a hundred can stay long with a wrong arm.

References:
    Zimmert, Seldin. Tsallis-INF: an optimal algorithm for stochastic and adversarial bandits. JMLR
    22, 2021, theorem 1.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numba import njit

from ..core import checks
from ..core.checks import FloatArray, IntArray
from ..core.environment import BanditFeedback, Environment
from ..core.guarantee import Guarantee
from ..core.potentials import TsallisEntropy
from .ftrl import FTRLBandit, Rate

Estimator = Literal["IW", "RV"]


@njit(cache=True, error_model="numpy")
def _add_reduced_estimates(
    cumulative: FloatArray,
    arms: IntArray,
    losses: FloatArray,
    probabilities: FloatArray,
    cut: float,
) -> None:
    """L[r, k] += 1{k = a_r} (ℓ_r − B)/p + B with B = ½ 1{p >= cut}."""
    for r in range(len(arms)):
        for k in range(cumulative.shape[1]):
            p = probabilities[r, k]
            shift = 0.5 if p >= cut else 0.0
            cumulative[r, k] += shift
            if k == arms[r]:
                cumulative[r, k] += (losses[r] - shift) / p


class TsallisINF(FTRLBandit):
    """R copies of Tsallis-INF; see the module docstring.

    Args:
        n_arms: K >= 2.
        learning_rate: constant η > 0; None: 2/√t, or 4/√t with RV, which need no horizon.
        estimator: "IW" or "RV".
    """

    def __init__(
        self, n_arms: int, *, learning_rate: float | None = None, estimator: Estimator = "IW"
    ) -> None:
        rate = checks.positive(learning_rate, "learning_rate", optional=True)
        super().__init__(n_arms, TsallisEntropy(0.5), learning_rate=rate)
        if estimator not in get_args(Estimator):
            raise ValueError(f"estimator must be one of {get_args(Estimator)}, got {estimator!r}")
        self.estimator = estimator

    def tuned_rate(self, horizon: int) -> Rate:
        """t -> 2/√t or 4/√t."""
        scale = 2.0 if self.estimator == "IW" else 4.0
        return lambda t: scale / math.sqrt(t)

    def update(self, feedback: BanditFeedback) -> None:
        """L̂_t = L̂_{t−1} + ℓ̂_t."""
        if self.estimator == "IW":
            super().update(feedback)
            return
        _add_reduced_estimates(
            self.cumulative_losses,
            feedback.arms,
            feedback.losses,
            self.probabilities,
            self._rate(self._round) ** 2,
        )

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """4√(K t) + 1, or 2√(K t) + 10 K ln t + 16 with RV, in expectation.

        For a constant η, (4√K − 4)/η + η √K t/2. None against adaptive adversaries, and for a
        constant η with RV.
        """
        constant = self.learning_rate is not None
        if not environment.against_fixed() or (constant and self.estimator == "RV"):
            return None
        n_arms, root = self.n_arms, math.sqrt(self.n_arms)
        if constant:
            eta = self.bound_rate()
            return Guarantee(
                bound=lambda t: 4 * (root - 1) / eta(t) + eta(t) * root * t / 2,
                kind="expected",
                assumptions="losses in [0, 1], not depending on the learner's actions",
                reference="derived, as Zimmert, Seldin 2021, theorem 1",
            )
        if self.estimator == "IW":
            bound = lambda t: 4 * root * np.sqrt(t) + 1  # noqa: E731
        else:
            bound = lambda t: 2 * root * np.sqrt(t) + 10 * n_arms * np.log(t) + 16  # noqa: E731
        return Guarantee(
            bound=bound,
            kind="expected",
            assumptions="losses in [0, 1], not depending on the learner's actions",
            reference=f"Zimmert, Seldin 2021, theorem 1 (estimator {self.estimator})",
        )
