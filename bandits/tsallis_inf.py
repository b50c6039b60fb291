"""Tsallis-INF: one algorithm for stochastic and adversarial bandits.

FTRL with the ½-Tsallis entropy ψ(p) = −4 Σ √p + 2,

    p_t(a) = 4 / (η_t (L̂_{t−1}(a) − x))²,   x < min L̂ such that Σ p_t = 1,

and estimates that are importance-weighted ("IW") or of reduced variance ("RV"):

    IW    ℓ̂_t(a) = 1{A_t = a} ℓ_t(a)/p_t(a),                          η_t = 2/√t
    RV    ℓ̂_t(a) = 1{A_t = a} (ℓ_t(a) − B_t(a))/p_t(a) + B_t(a),      η_t = 4/√t,
          B_t(a) = ½ 1{p_t(a) ≥ η_t²}

Expected regret, against any arm fixed in advance, at most 4√(K t) + 1 with IW and 2√(K t) + 10 K
ln t + 16 with RV. With a constant η the same proof gives for IW

    (4√K − 4)/η + η √K t/2

(derived: ψ has the range 4√K − 4, and the stability term of round t is at most (η/2) Σ √p_t).

Where one arm is better than each other arm a by Δ_a in the mean of every round, in stochastic and
in stochastically constrained games, the expected regret is Σ_t Σ_a Δ_a E p_t(a), over the other
arms, and with IW (derived)

    regret <= min{t, 3} + Σ_{s > 3} b_s Σ_a E(√p_s(a) + p_s(a)) + Σ_s c_s Σ_a E(√p_s(a) − p_s(a)/2),
    b_s = (1 + 2/√s)/√s,   c_s = 2/(√s + √(s − 1)).

So (1 + λ) times the right side less λ times the regret bounds it for every λ > 0; the greatest
value of each term over p_s(a) ∈ [0, 1] is known, and of order 4/(s Δ_a) for λ = 1: regret of order
Σ_a 4 ln t/Δ_a. In detail: the penalty of round s is (1/η_s − 1/η_{s−1}) 4 (Σ √p − 1) over all arms,
with √p* − 1 <= −(1 − p*)/2 for the best. Stability does not change when the loss seen is taken off
all ℓ̂_s. An estimate that is then g >= 0 costs (η/2) p^{3/2} g² at most, one that is −ℓ at most
(η/2) p^{3/2} ℓ²/(1 − η/2): in expectation (η/2) Σ √p (1 − p) (1 + η p) for η <= 1, where √p* (1 −
p*) <= 1 − p* for the best. In the first three rounds it is at most ⟨p, ℓ⟩ <= 1.

RV is the better one in the mean, with heavier tails: a run in a hundred can stay long with a wrong
arm.

References:
    Zimmert, Seldin. Tsallis-INF: an optimal algorithm for stochastic and adversarial bandits. JMLR
    22, 2021, theorem 1.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
from numba import njit

from ..core import checks
from ..core.checks import FloatArray, IntArray
from ..core.environment import BanditFeedback, Environment
from ..core.guarantee import Guarantee
from ..core.potentials import TsallisEntropy
from .environments import BernoulliBandit, StochasticallyConstrainedAdversary
from .ftrl import FTRLBandit, Rate

Estimator = Literal["IW", "RV"]
_LAMBDAS = np.geomspace(0.25, 4.0, 7)


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


def _with_gaps(t: Any, gaps: FloatArray) -> Any:
    """The bound of the module docstring for gaps (K − 1,) of the other arms, least over λ."""
    rounds = np.arange(1.0, np.max(t, initial=1) + 1)
    penalty = 2 / (np.sqrt(rounds) + np.sqrt(rounds - 1))  # c_t
    late = rounds > 3
    stability = np.where(late, (1 + 2 / np.sqrt(rounds)) / np.sqrt(rounds), 0.0)  # s_t
    sums = []
    for factor in _LAMBDAS:
        total = (1 + factor) * np.where(late, 0.0, 1.0)
        for gap, count in zip(*np.unique(gaps, return_counts=True), strict=True):
            # max over p of r √p − f p
            r = (1 + factor) * (stability + penalty)
            f = factor * gap - (1 + factor) * (stability - penalty / 2)
            inside = 2 * f >= r  # so that p = (r/(2f))² <= 1
            total += count * np.where(inside, r**2 / (4 * np.where(inside, f, 1.0)), r - f)
        sums.append(np.cumsum(total))
    return np.min(sums, axis=0)[np.asarray(t, dtype=int) - 1]


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

        With IW and an arm that is always better in the mean, at most a bound of order Σ 4 ln t/Δ_a.
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
        gaps = None
        if isinstance(environment, BernoulliBandit | StochasticallyConstrainedAdversary):
            gaps = np.delete(environment.gaps, environment.gaps.argmin())

        def bound(t: Any) -> Any:
            if self.estimator == "RV":
                return 2 * root * np.sqrt(t) + 10 * n_arms * np.log(t) + 16
            adversarial = 4 * root * np.sqrt(t) + 1
            return adversarial if gaps is None else np.minimum(adversarial, _with_gaps(t, gaps))

        return Guarantee(
            bound=bound,
            kind="expected",
            assumptions="losses in [0, 1], not depending on the learner's actions",
            reference="Zimmert, Seldin 2021, theorem 1 (with gaps, constants derived)",
        )
