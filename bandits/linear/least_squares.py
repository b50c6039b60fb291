"""Regularised least squares, one round after another: what the learners for fixed θ share.

After plays of features φ_1, ..., φ_t ∈ ℝᵈ with losses y_s,

    V_t = λ I + Σ φ_s φ_sᵀ = L_t L_tᵀ,      θ̂_t = V_t⁻¹ Σ y_s φ_s.

The lower Cholesky factor L is kept and takes each φφᵀ by d Givens rotations, in O(d²): orthogonal,
so that L Lᵀ is as accurate after all rounds as V itself (relative error of order t times 1e-16 at
most, and 1e-15 or so in practice). Widths ‖φ‖_{V⁻¹} = ‖L⁻¹ φ‖ and θ̂ come from triangular systems.

Elliptical potential lemma, for every sequence of features:

    Σ_{s ≤ t} min{1, ‖φ_s‖²_{V_{s−1}⁻¹}} ≤ 2 ln(det V_t/λᵈ) ≤ 2 d ln(1 + t L²/(λ d)),   ‖φ_s‖ <= L,

since min{1, x} ≤ 2 ln(1 + x) and det V_s = det V_{s−1} (1 + ‖φ_s‖²_{V_{s−1}⁻¹}).

References:
    Abbasi-Yadkori, Pál, Szepesvári. Improved algorithms for linear stochastic bandits. NIPS 2011,
    lemma 11.
    Lattimore, Szepesvári. Bandit Algorithms. Cambridge University Press, 2020, lemma 19.4.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from ...core import checks
from ...core.checks import FloatArray, IntArray
from ...core.environment import BanditFeedback
from ...core.guarantee import Pathwise
from ...core.learner import Learner
from .environments import feature_matrix

if TYPE_CHECKING:
    import numpy.typing as npt


@njit(cache=True, error_model="numpy")
def solve_lower(factor: FloatArray, x: FloatArray, out: FloatArray) -> float:
    """out = L⁻¹ x; returns ‖out‖²."""
    square = 0.0
    for i in range(len(x)):
        total = x[i]
        for k in range(i):
            total -= factor[i, k] * out[k]
        total /= factor[i, i]
        out[i] = total
        square += total * total
    return square


@njit(cache=True, error_model="numpy")
def solve_upper(factor: FloatArray, x: FloatArray, out: FloatArray) -> None:
    """out = L⁻ᵀ x; `out` may be `x`."""
    d = len(x)
    for i in range(d - 1, -1, -1):
        total = x[i]
        for k in range(i + 1, d):
            total -= factor[k, i] * out[k]
        out[i] = total / factor[i, i]


@njit(cache=True, error_model="numpy")
def cholesky(matrix: FloatArray, out: FloatArray) -> None:
    """The lower triangle of `out` becomes L, L Lᵀ = `matrix`; only lower triangles are used."""
    d = len(matrix)
    for j in range(d):
        total = matrix[j, j]
        for k in range(j):
            total -= out[j, k] * out[j, k]
        out[j, j] = math.sqrt(total)
        for i in range(j + 1, d):
            total = matrix[i, j]
            for k in range(j):
                total -= out[i, k] * out[j, k]
            out[i, j] = total / out[j, j]


@njit(cache=True, error_model="numpy")
def _add_square(factor: FloatArray, x: FloatArray) -> None:
    """L Lᵀ += x xᵀ by Givens rotations; x is overwritten."""
    d = len(x)
    for j in range(d):
        norm = math.sqrt(factor[j, j] * factor[j, j] + x[j] * x[j])
        c, s = factor[j, j] / norm, x[j] / norm
        factor[j, j] = norm
        for i in range(j + 1, d):
            old = factor[i, j]
            factor[i, j] = c * old + s * x[i]
            x[i] = c * x[i] - s * old


@njit(cache=True, error_model="numpy")
def _add_rounds(
    features: FloatArray,
    arms: IntArray,
    losses: FloatArray,
    factors: FloatArray,
    responses: FloatArray,
    estimates: FloatArray,
    log_determinants: FloatArray,
    potentials: FloatArray,
) -> None:
    """One round of each replication: features (1, K, d) or (R, K, d), arms and losses (R,)."""
    shared = features.shape[0] == 1
    d = features.shape[2]
    x, z = np.empty(d), np.empty(d)
    for r in range(len(arms)):
        phi = features[0 if shared else r, arms[r]]
        L = factors[r]
        width = solve_lower(L, phi, z)  # ‖φ‖² in the norm of V⁻¹
        log_determinants[r] += math.log1p(width)
        potentials[r] += min(1.0, width)
        for i in range(d):
            responses[r, i] += losses[r] * phi[i]
            x[i] = phi[i]
        _add_square(L, x)
        solve_lower(L, responses[r], z)
        solve_upper(L, z, estimates[r])


class LeastSquaresLearner(Learner):
    """R copies of a learner that follows θ̂ in some way.

    Args:
        features: φ, (K, d), of fixed arms; None in games that show features in each round.
        dim: d, where `features` is None.
        noise: σ >= 0, the subgaussian constant of the noise.
        regularization: λ > 0.

    Attributes:
        factor: L, (R, d, d), lower triangular.
        response: Σ y_s φ_s, (R, d).
        estimate: θ̂, (R, d).
        log_determinant: ln(det V/λᵈ), (R,).
    """

    def __init__(
        self,
        features: npt.ArrayLike | None = None,
        *,
        dim: int | None = None,
        noise: float = 1.0,
        regularization: float = 1.0,
    ) -> None:
        if (features is None) is (dim is None):
            raise ValueError(
                f"features (fixed arms) or dim (arms shown in each round) must be given, and not "
                f"both, got features={features!r:.80} and dim={dim}"
            )
        self.features: FloatArray | None = None
        if features is None:
            self.dim = checks.integer(dim, "dim", minimum=1)
        else:
            self.features = feature_matrix(features)
            self.n_arms, self.dim = self.features.shape
        self.noise = checks.nonnegative(noise, "noise")
        self.regularization = checks.positive(regularization, "regularization")

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """V_0 = λ I, θ̂_0 = 0."""
        n, d = n_replications, self.dim
        self.factor = np.tile(math.sqrt(self.regularization) * np.eye(d), (n, 1, 1))
        self.response, self.estimate = np.zeros((n, d)), np.zeros((n, d))
        self.log_determinant, self._potential = np.zeros(n), np.zeros(n)
        if self.features is not None:
            self._features = self.features.reshape(1, self.n_arms, d)  # (1, K, d)

    def see(self, context: FloatArray) -> None:
        """The features of this round, (R, K, d)."""
        if self.features is not None:
            super().see(context)
        if context.ndim != 3 or context.shape[2] != self.dim:
            raise ValueError(
                f"context must have shape (R, K, {self.dim}), got {context.shape}; "
                f"{type(self).__name__} takes a feature vector for each arm"
            )
        self._features = context

    def update(self, feedback: BanditFeedback) -> None:
        """V_t and θ̂_t."""
        _add_rounds(
            self._features,
            feedback.arms,
            feedback.losses,
            self.factor,
            self.response,
            self.estimate,
            self.log_determinant,
            self._potential,
        )

    def pathwise(self) -> Pathwise:
        """The elliptical potential lemma, on the features played: see `least_squares`."""
        return Pathwise(
            self._potential.copy(),
            2 * self.log_determinant,
            "elliptical potential lemma: Abbasi-Yadkori, Pál, Szepesvári 2011, lemma 11",
        )
