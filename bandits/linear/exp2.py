"""Exp2: exponential weights for adversarial linear bandits, exploring by a G-optimal design.

With the G-optimal design π (`design`), g = max_a ‖φ_a‖²_{Q(π)⁻¹} ≈ d, d the dimension of the
span of the features, and γ = min{1, η g}, round t is

    p_t(a)  ∝ exp(−η ⟨φ_a, L̂_{t−1}⟩)
    A_t     ~ P_t = (1 − γ) p_t + γ π,                  told y_t = ⟨φ_{A_t}, θ_t⟩
    Q_t     = Σ_a P_t(a) φ_a φ_aᵀ
    L̂_t     = L̂_{t−1} + Q_t⁻¹ φ_{A_t} y_t               (the increment is unbiased for θ_t)

Expected regret against any arm fixed in advance, for |y| <= 1, all η > 0 and all t:

    ln K/η + η (d + 2 g) t.

Derivation. Let ŷ_t(a) = φ_aᵀ Q_t⁻¹ φ_{A_t} y_t. As Q_t ⪰ γ Q(π), |ŷ_t| <= g/γ = 1/η where γ < 1,
so that exp(−η ŷ) <= 1 − η ŷ + η² ŷ² and Σ_t ⟨p_t, ŷ_t⟩ − ŷ_t(a) <= ln K/η + η Σ_t ⟨p_t, ŷ_t²⟩.
Times 1 − γ, with (1 − γ) p_t <= P_t and E ⟨P_t, ŷ_t²⟩ = E y_t² ‖φ_{A_t}‖²_{Q_t⁻¹} <= d, this part
costs ln K/η + η d t; the share γ played from π costs 2 γ t = 2 η g t at most. Where η g >= 1 the
bound is above 2 t.

η = √(ln K/((d + 2 g) T)) gives 2 √((d + 2 g) T ln K), which is 2 √(3 d T ln K) for g = d.

References:
    Bubeck, Cesa-Bianchi, Kakade. Towards minimax policies for online linear optimization with
    bandit feedback. COLT 2012.
    Lattimore, Szepesvári. Bandit Algorithms. Cambridge University Press, 2020, theorem 27.1.
Differs from the book: the bound has the value g of the design that is played, and needs no
condition on T, as γ <= 1 is kept.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from ...core import checks
from ...core.checks import FloatArray, IntArray
from ...core.environment import BanditFeedback, Environment
from ...core.guarantee import Guarantee
from ...core.learner import Learner
from ...core.random import UniformStream, sample_rows
from .design import g_optimal_design, whitening
from .environments import feature_matrix
from .least_squares import cholesky, solve_lower, solve_upper

if TYPE_CHECKING:
    import numpy.typing as npt


@njit(cache=True)
def gibbs(scores: FloatArray, learning_rate: float, out: FloatArray) -> None:
    """out ∝ exp(−η · scores), (K,)."""
    least = scores[0]
    for k in range(1, len(scores)):
        least = min(least, scores[k])
    total = 0.0
    for k in range(len(scores)):
        out[k] = math.exp(-learning_rate * (scores[k] - least))
        total += out[k]
    for k in range(len(scores)):
        out[k] /= total


@njit(cache=True)
def _mixtures(
    features: FloatArray,
    estimates: FloatArray,
    learning_rate: float,
    mixing: float,
    exploration: FloatArray,
    out: FloatArray,
) -> None:
    """out[r] = (1 − γ) softmax(−η φ L̂) + γ π."""
    n_arms, d = features.shape
    scores = np.empty(n_arms)
    for r in range(len(out)):
        for k in range(n_arms):
            total = 0.0
            for i in range(d):
                total += features[k, i] * estimates[r, i]
            scores[k] = total
        gibbs(scores, learning_rate, out[r])
        for k in range(n_arms):
            out[r, k] = (1.0 - mixing) * out[r, k] + mixing * exploration[k]


@njit(cache=True)
def add_weighted_square(weight: float, x: FloatArray, out: FloatArray) -> None:
    """out += weight · x xᵀ, the lower triangle."""
    for i in range(len(x)):
        scaled = weight * x[i]
        for j in range(i + 1):
            out[i, j] += scaled * x[j]


@njit(cache=True, error_model="numpy")
def _add_estimates(
    features: FloatArray,
    mixtures: FloatArray,
    arms: IntArray,
    losses: FloatArray,
    estimates: FloatArray,
) -> None:
    """L̂ += Q⁻¹ φ y with Q = Σ P φφᵀ."""
    n_arms, d = features.shape
    Q, L, z = np.empty((d, d)), np.empty((d, d)), np.empty(d)
    for r in range(len(arms)):
        Q[:] = 0.0
        for k in range(n_arms):
            add_weighted_square(mixtures[r, k], features[k], Q)
        cholesky(Q, L)
        solve_lower(L, features[arms[r]], z)
        solve_upper(L, z, z)
        for i in range(d):
            estimates[r, i] += losses[r] * z[i]


class Exp2(Learner):
    """R copies of Exp2; see the module docstring.

    Args:
        features: φ, (K, d).
        learning_rate: η > 0; None: √(ln K/((d + 2 g) T)) for the horizon T given to `reset`.

    Attributes:
        design: π and g.
        coordinates: (K, r), those of the features in which Q of the uniform distribution is I.
        cumulative_losses: L̂ in these coordinates, (R, r): `coordinates @ L̂` are the arms' losses.
        probabilities: P_t of the last `act`, (R, K).
    """

    probabilities: FloatArray

    def __init__(self, features: npt.ArrayLike, *, learning_rate: float | None = None) -> None:
        self.features = feature_matrix(features)
        self.n_arms, self.dim = self.features.shape
        self.learning_rate = checks.positive(learning_rate, "learning_rate", optional=True)
        self.design = g_optimal_design(self.features)
        uniform = np.full(self.n_arms, 1 / self.n_arms)
        self.coordinates = self.features @ whitening(self.features, uniform)
        self._slope = self.design.dim + 2 * self.design.value  # d + 2 g
        self.horizon: int | None = None

    def rate(self, horizon: Any) -> Any:
        """η of a learner that is reset for `horizon` rounds."""
        if self.learning_rate is not None:
            return self.learning_rate
        return np.sqrt(math.log(self.n_arms) / (self._slope * horizon))

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """L̂_0 = 0, η and γ."""
        self.horizon = checks.integer(horizon, "horizon", minimum=1)
        self.eta = float(self.rate(horizon))
        self.mixing = min(1.0, self.eta * self.design.value)
        self.cumulative_losses = np.zeros((n_replications, self.design.dim))
        self._uniforms = UniformStream(rng, (n_replications,))

    def act(self) -> IntArray:
        """A_t ~ P_t, shape (R,)."""
        self.probabilities = np.empty((len(self.cumulative_losses), self.n_arms))
        _mixtures(
            self.coordinates,
            self.cumulative_losses,
            self.eta,
            self.mixing,
            self.design.weights,
            self.probabilities,
        )
        return sample_rows(self.probabilities, self._uniforms.draw())

    def update(self, feedback: BanditFeedback) -> None:
        """L̂_t."""
        _add_estimates(
            self.coordinates,
            self.probabilities,
            feedback.arms,
            feedback.losses,
            self.cumulative_losses,
        )

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """ln K/η + η (d + 2 g) t in expectation; before `reset`, for a learner tuned for t.

        None if the adversary is adaptive, or noise takes losses out of [−1, 1].
        """
        if not environment.against_fixed() or getattr(environment, "loss_bound", np.inf) > 1:
            return None
        horizon, entropy = self.horizon, math.log(self.n_arms)

        def bound(t: Any) -> Any:
            eta = self.rate(t if horizon is None else horizon)
            return entropy / eta + eta * self._slope * t

        return Guarantee(
            bound,
            kind="expected",
            assumptions="losses ⟨φ, θ⟩ in [-1, 1] without noise, not depending on the learner's "
            "actions",
            reference="Lattimore, Szepesvári 2020, theorem 27.1 (constants derived)",
        )
