"""Mirror descent with the log-barrier and a learning rate for each arm: Broad-OMD and its step.

The step from p with rates η(a) > 0 and a vector g is

    p⁺ = argmin_{q ∈ simplex} ⟨g, q⟩ + Σ_a (q(a)/p(a) − 1 − ln(q(a)/p(a)))/η(a),
    1/p⁺(a) = 1/p(a) + η(a) (g(a) − λ),   λ ∈ [min g, max g] such that Σ p⁺ = 1.

Broad-OMD, with predictions m_t of the losses, plays A_t ~ p_t and keeps a second sequence p':

    p_t      = step from p'_t along m_t
    ℓ̂_t(a)   = 1{A_t = a} (ℓ_t(a) − m_t(a))/p_t(a) + m_t(a)
    a_t(a)   = c η_t(a) p_t(a) (ℓ̂_t(a) − m_t(a))²
    p'_{t+1} = step from p'_t along ℓ̂_t + a_t

and, where rates increase, η_{t+1}(a) = κ η_t(a) whenever 1/p_t(a) > ρ(a), and then ρ(a) = 2/p_t(a);
ρ = 2K at first, κ = e^{1/ln T}. With c >= (1 + c η_t(a))² in all rounds, on every run, for all u in
the simplex,

    Σ_s ⟨p_s − u, ℓ̂_s⟩ <= Σ_a ln(1/(K u(a)))/η_1(a) + Σ_s ⟨u, a_s⟩.

In detail: the usual inequality of optimistic mirror descent leaves ⟨p_s − p'_{s+1}, v⟩ − ⟨p_s, a_s⟩
+ ⟨u, a_s⟩ with v = ℓ̂_s − m_s + a_s, which is 0 but in A_s, where it is (x + cηx²)/p with x = ℓ − m.
If x >= 0, p' is below p there by at most η p² v, and the first product is at most η (x + cηx²)²,
which ⟨p_s, a_s⟩ = c η x² covers; likewise where v >= 0 although x < 0. If v < 0, p' exceeds p by
at most η p² |v|/(1 − η), p |v| <= |x|, and 1/(1 − η) <= c. Rates that increase only help:
D_{η_s}(u, p'_s) falls with each increase.

In expectation, with rates that stay and losses fixed before the game, for each arm a

    E Σ_s ⟨p_s, ℓ_s⟩ − L_t(a) <= (K − 1) ln t/η + c η (1 + E Σ_s (ℓ_s(a) − m_s(a))²) + 1

(u = (1 − 1/t) e_a + uniform/t): a small-loss bound for m = 0, as Σ ℓ² <= L_t(a). With the last loss
seen of each arm as m_t the sum is small where the losses of arm a seldom change.

References:
    Wei, Luo. More adaptive algorithms for adversarial bandits. COLT 2018 (c = 6 and η <= 1/162, for
    all kinds of estimates; for these the constants above are derived).
    Agarwal, Luo, Neyshabur, Schapire. Corralling a band of bandit algorithms. COLT 2017 (rates that
    increase).
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

import numpy as np
from numba import njit

from ..core import checks
from ..core.checks import FloatArray, IntArray
from ..core.environment import BanditFeedback, Environment
from ..core.guarantee import Guarantee, Pathwise
from ..core.learner import Learner
from ..core.potentials import LogBarrier
from ..core.random import UniformStream, sample_rows
from .environments import AdversarialBandit, BernoulliBandit

_NEWTON_STEPS = 100  # 3 to 8 are typical

Prediction = Literal["none", "last"]


@njit(cache=True, error_model="numpy")
def _step(points: FloatArray, vectors: FloatArray, rates: FloatArray, out: FloatArray) -> int:
    """out[r] = the step from points[r] along vectors[r]. Returns a row that is not finite, or −1.

    Σ p⁺ − 1 increases in λ and is convex: Newton's method falls to its root from the λ at which
    the first p⁺ is 1.
    """
    for r in range(points.shape[0]):
        lam = np.inf
        for k in range(points.shape[1]):
            lam = min(lam, vectors[r, k] + (1.0 / points[r, k] - 1.0) / rates[r, k])
        if not np.isfinite(lam):
            return r
        total = 0.0
        for _ in range(_NEWTON_STEPS):
            total = slope = 0.0
            for k in range(points.shape[1]):
                p = 1.0 / (1.0 / points[r, k] + rates[r, k] * (vectors[r, k] - lam))
                out[r, k] = p
                total += p
                slope += rates[r, k] * p * p
            if abs(total - 1.0) < 1e-13:
                break
            last = lam
            lam -= (total - 1.0) / slope
            if lam == last:
                break
        if not abs(total - 1.0) < 1e-9:
            return r
        for k in range(points.shape[1]):
            out[r, k] /= total
    return -1


def step(points: FloatArray, vectors: FloatArray, rates: FloatArray) -> FloatArray:
    """The step of the module docstring, row by row; all arrays are (R, K), the rates positive.

    Raises:
        FloatingPointError: a row is not finite.
    """
    out = np.empty_like(points)
    row = _step(points, vectors, rates, out)
    if row >= 0:
        raise FloatingPointError(f"replication {row}: the losses or probabilities are not finite")
    return out


@njit(cache=True)
def increase(
    rates: FloatArray, thresholds: FloatArray, probabilities: FloatArray, factor: float
) -> None:
    """η *= κ and ρ = 2/p where 1/p > ρ, elementwise."""
    for r in range(rates.shape[0]):
        for k in range(rates.shape[1]):
            if 1.0 / probabilities[r, k] > thresholds[r, k]:
                thresholds[r, k] = 2.0 / probabilities[r, k]
                rates[r, k] *= factor


def increase_factor(horizon: int) -> float:
    """κ = e^{1/ln T}, with ln T at least ln 2."""
    return math.exp(1 / math.log(max(horizon, 2)))


@njit(cache=True, error_model="numpy")
def _estimate(
    arms: IntArray,
    losses: FloatArray,
    mixture: FloatArray,
    rates: FloatArray,
    predictions: FloatArray,
    correction: float,
    vectors: FloatArray,
    estimates: FloatArray,
    corrections: FloatArray,
    incurred: FloatArray,
) -> None:
    """vectors = ℓ̂ + a; adds ℓ̂, a and ⟨p, ℓ̂⟩ to their sums."""
    for r in range(len(arms)):
        for k in range(mixture.shape[1]):
            estimate, extra = predictions[r, k], 0.0
            if k == arms[r]:
                error = losses[r] - predictions[r, k]
                estimate += error / mixture[r, k]
                extra = correction * rates[r, k] * error * error / mixture[r, k]
            vectors[r, k] = estimate + extra
            estimates[r, k] += estimate
            corrections[r, k] += extra
            incurred[r] += mixture[r, k] * estimate


class BroadOMD(Learner):
    """R copies of Broad-OMD; see the module docstring.

    Args:
        n_arms: K >= 2.
        learning_rate: η_1 > 0; None: √((K − 1) ln T/(c B)), at most (√c − 1)/c.
        loss_bound: B > 0 for the default rate, at least the squares Σ (ℓ_s(a) − m_s(a))² of the
            best arm, such as its loss; None: T.
        prediction: m_t, "none": 0, or "last": the last loss seen of each arm, 0 before.
        increasing: whether rates increase.
        correction: c > 1. 2 covers rates to 0.207; the paper has 6.
    """

    probabilities: FloatArray

    def __init__(
        self,
        n_arms: int,
        *,
        learning_rate: float | None = None,
        loss_bound: float | None = None,
        prediction: Prediction = "none",
        increasing: bool = False,
        correction: float = 2.0,
    ) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)
        self.learning_rate = checks.positive(learning_rate, "learning_rate", optional=True)
        self.loss_bound = checks.positive(loss_bound, "loss_bound", optional=True)
        if prediction not in get_args(Prediction):
            raise ValueError(
                f"prediction must be one of {get_args(Prediction)}, got {prediction!r}"
            )
        self.prediction, self.increasing = prediction, increasing
        self.correction = checks.real(correction, "correction", above=1.0)
        self.horizon: int | None = None

    @property
    def greatest_rate(self) -> float:
        """The greatest η with (1 + c η)² <= c: (√c − 1)/c."""
        return (math.sqrt(self.correction) - 1) / self.correction

    def rate(self, horizon: Any) -> Any:
        """η_1 of a learner that was reset for `horizon` rounds."""
        if self.learning_rate is not None:
            return self.learning_rate
        log = np.log(np.maximum(horizon, 2))
        bound = horizon if self.loss_bound is None else self.loss_bound
        tuned = np.sqrt((self.n_arms - 1) * log / (self.correction * bound))
        return np.minimum(tuned, self.greatest_rate)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """p'_1 is uniform."""
        self.horizon = checks.integer(horizon, "horizon", minimum=1)
        shape = (n_replications, self.n_arms)
        self.rates = np.full(shape, float(self.rate(horizon)))  # η_t
        self._first_rate = float(self.rates[0, 0])
        self.thresholds = np.full(shape, 2.0 * self.n_arms)  # ρ
        self._factor = increase_factor(horizon)
        self._center = np.full(shape, 1 / self.n_arms)  # p'
        self._predictions = np.zeros(shape)  # m
        self._vectors = np.empty(shape)
        self.estimates, self.corrections = np.zeros(shape), np.zeros(shape)  # Σ ℓ̂ and Σ a
        self._incurred = np.zeros(n_replications)  # Σ ⟨p, ℓ̂⟩
        self._rows = np.arange(n_replications)
        self._uniforms = UniformStream(rng, (n_replications,))

    def act(self) -> IntArray:
        """A_t ~ p_t, shape (R,)."""
        if self.prediction == "none":
            self.probabilities = self._center
        else:
            self.probabilities = step(self._center, self._predictions, self.rates)
        return sample_rows(self.probabilities, self._uniforms.draw())

    def update(self, feedback: BanditFeedback) -> None:
        """p'_{t+1}, m_{t+1} and η_{t+1}."""
        _estimate(
            feedback.arms,
            feedback.losses,
            self.probabilities,
            self.rates,
            self._predictions,
            self.correction,
            self._vectors,
            self.estimates,
            self.corrections,
            self._incurred,
        )
        self._center = step(self._center, self._vectors, self.rates)
        if self.increasing:
            increase(self.rates, self.thresholds, self.probabilities, self._factor)
        if self.prediction == "last":
            self._predictions[self._rows, feedback.arms] = feedback.losses

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """(K − 1) ln t/η + c η (1 + L*_t) + 1 in expectation, for rates that stay.

        L*_t bounds Σ (ℓ − m)²; with m = 0 it is the loss of the best arm where that is known, in a
        `BernoulliBandit` and in an `AdversarialBandit` with a table; else t.
        None against adaptive adversaries, and for rates above (√c − 1)/c.
        """
        horizon, n_arms, c = self.horizon, self.n_arms, self.correction
        too_fast = self.learning_rate is not None and self.learning_rate > self.greatest_rate
        if self.increasing or too_fast or not environment.against_fixed():
            return None
        squares = _least_losses(environment) if self.prediction == "none" else None

        def bound(t: Any) -> Any:
            t = np.asarray(t)
            eta = self.rate(t if horizon is None else horizon)
            total = t if squares is None else squares(t)
            return (n_arms - 1) * np.log(t) / eta + c * eta * (1 + total) + 1

        return Guarantee(
            bound=bound,
            kind="expected",
            assumptions="losses in [0, 1], not depending on the learner's actions",
            reference="derived, as Wei, Luo 2018, theorem 1 and corollary 2",
        )

    def pathwise(self) -> Pathwise | None:
        """The inequality of the module docstring for a u that makes it close.

        That is the u of the greatest −⟨u, Σ ℓ̂ + a⟩ + Σ ln u/η_1. None once rates are above (√c −
        1)/c, where it is not proven.
        """
        if self.rates.max() > self.greatest_rate * (1 + 1e-12):
            return None
        eta = self._first_rate
        u = LogBarrier().maximizer(-eta * (self.estimates + self.corrections))
        left = self._incurred - (u * self.estimates).sum(axis=1)
        divergence = -np.log(self.n_arms * u).sum(axis=1) / eta
        right = divergence + (u * self.corrections).sum(axis=1)
        return Pathwise(left, right, "Wei, Luo 2018, theorem 1 (constants derived)")


def _least_losses(environment: Environment) -> Any:
    """t -> least cumulative loss of an arm, or of its means, where that is known; or None."""
    if isinstance(environment, BernoulliBandit):
        least = float(environment.means.min())
        return lambda t: least * t
    if isinstance(environment, AdversarialBandit) and environment.table is not None:
        losses = environment.table.cumsum(axis=0).min(axis=1)
        return lambda t: losses[np.asarray(t, dtype=int) - 1]
    return None
