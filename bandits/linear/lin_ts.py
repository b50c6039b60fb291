"""Linear Thompson sampling, on losses.

With the least squares V_t, θ̂_t of `least_squares`,

    θ̃ ~ N(θ̂_t, v² V_t⁻¹),      A_{t+1} = argmin_a ⟨φ_a, θ̃⟩        (the first of equals)

v = σ is the posterior of θ for Gaussian noise and the prior N(0, (σ²/λ) I). The worst-case analysis
takes the wider v = σ √(9 d ln((t + 1)/δ)) and bounds the regret by a term of order d^{3/2} √t up to
logarithms, with constants that are not explicit: no guarantee.

References:
    Agrawal, Goyal. Thompson sampling for contextual bandits with linear payoffs. ICML 2013.
    Lattimore, Szepesvári. Bandit Algorithms. Cambridge University Press, 2020, section 36.3.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from ...core import checks
from ...core.checks import FloatArray, IntArray
from ...core.environment import BanditFeedback
from ...core.random import NormalStream
from .least_squares import LeastSquaresLearner, solve_upper

if TYPE_CHECKING:
    import numpy.typing as npt


@njit(cache=True, error_model="numpy")
def _least_draw(
    features: FloatArray,
    factors: FloatArray,
    estimates: FloatArray,
    normals: FloatArray,
    scale: float,
    draws: FloatArray,
    arms: IntArray,
) -> None:
    """draws[r] = θ̂ + v L⁻ᵀ normals[r], arms[r] = argmin_k ⟨φ_k, draws[r]⟩."""
    shared = features.shape[0] == 1
    d = features.shape[2]
    for r in range(len(arms)):
        rows, theta = features[0 if shared else r], draws[r]
        solve_upper(factors[r], normals[r], theta)
        for i in range(d):
            theta[i] = estimates[r, i] + scale * theta[i]
        least = np.inf
        arms[r] = 0
        for k in range(rows.shape[0]):
            value = 0.0
            for i in range(d):
                value += rows[k, i] * theta[i]
            if value < least:
                least = value
                arms[r] = k


class LinTS(LeastSquaresLearner):
    """R copies of linear Thompson sampling; see the module docstring.

    Args:
        features: φ, (K, d), of fixed arms; None in games that show features in each round.
        dim: d, where `features` is None.
        noise: σ >= 0, the subgaussian constant of the noise.
        regularization: λ > 0.
        theory: v of the worst-case analysis, instead of σ.
        confidence: 1 − δ of that v.
    """

    def __init__(
        self,
        features: npt.ArrayLike | None = None,
        *,
        dim: int | None = None,
        noise: float = 1.0,
        regularization: float = 1.0,
        theory: bool = False,
        confidence: float = 0.95,
    ) -> None:
        super().__init__(features, dim=dim, noise=noise, regularization=regularization)
        self.theory = theory
        self.confidence = checks.real(confidence, "confidence", above=0.0, below=1.0)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """The prior N(0, (v²/λ) I)."""
        super().reset(n_replications, horizon, rng)
        self._round = 0
        self._normals = NormalStream(rng, (n_replications, self.dim))
        self.draws = np.empty((n_replications, self.dim))  # θ̃ of the last `act`

    def scale(self, t: int) -> float:
        """v in round t = 1, 2, ..."""
        if not self.theory:
            return self.noise
        return self.noise * math.sqrt(9 * self.dim * math.log(t / (1 - self.confidence)))

    def act(self) -> IntArray:
        """The best arm for a draw of θ, shape (R,)."""
        arms = np.empty(len(self.estimate), dtype=np.int64)
        _least_draw(
            self._features,
            self.factor,
            self.estimate,
            self._normals.draw(),
            self.scale(self._round + 1),
            self.draws,
            arms,
        )
        return arms

    def update(self, feedback: BanditFeedback) -> None:
        """V_t and θ̂_t."""
        super().update(feedback)
        self._round += 1
