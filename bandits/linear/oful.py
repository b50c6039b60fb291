"""OFUL, also known as LinUCB: optimism for linear bandits, on losses.

With the least squares V_t, θ̂_t of `least_squares`, λ > 0, and ‖θ‖ <= S, σ-subgaussian noise,

    √β_t    = √λ S + σ √(2 ln(1/δ) + ln(det V_t/λᵈ))
    A_{t+1} = argmin_a ⟨φ_a, θ̂_t⟩ − √β_t ‖φ_a‖_{V_t⁻¹}        (the first of equals)

for fixed features, or those that a contextual game shows in each round.

With probability 1 − δ, ‖θ̂_t − θ‖_{V_t} <= √β_t for all t at once. Then the index is a lower bound
of ⟨φ_a, θ⟩, a round costs at most 2 √β ‖φ_A‖_{V⁻¹}, and at most 2 as mean losses are in [−1, 1]:
at most 2 √(max{1, β}) min{1, ‖φ_A‖_{V⁻¹}}. By Cauchy-Schwarz and the elliptical potential lemma the
regret after t rounds is at most √(8 t max{1, β_t} ln(det V_t/λᵈ)), and the executable bound, for
‖φ‖ <= L, is

    √(8 t max{1, β̄_t} D_t),   D_t = d ln(1 + t L²/(λ d)),   √β̄_t = √λ S + σ √(2 ln(1/δ) + D_t).

The bound with the run's own determinant holds on that event and not on every run: it is no
path-wise inequality. The one reported is the elliptical potential lemma itself.

References:
    Abbasi-Yadkori, Pál, Szepesvári. Improved algorithms for linear stochastic bandits. NIPS 2011,
    theorems 2 and 3.
    Li, Chu, Langford, Schapire. A contextual-bandit approach to personalized news article
    recommendation. WWW 2010 (LinUCB, with a constant in place of √β_t).
    Lattimore, Szepesvári. Bandit Algorithms. Cambridge University Press, 2020, theorem 19.2.
Differs from LinUCB as published: β_t is that of the theory, and V_t is shared by all arms.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from ...core import checks
from ...core.checks import FloatArray, IntArray
from ...core.environment import Environment
from ...core.guarantee import Guarantee
from .least_squares import LeastSquaresLearner, solve_lower

if TYPE_CHECKING:
    import numpy.typing as npt


@njit(cache=True, error_model="numpy")
def _least_index(
    features: FloatArray,
    factors: FloatArray,
    estimates: FloatArray,
    radii: FloatArray,
    arms: IntArray,
) -> None:
    """arms[r] = argmin_k ⟨φ_k, θ̂⟩ − radius ‖L⁻¹ φ_k‖."""
    shared = features.shape[0] == 1
    d = features.shape[2]
    z = np.empty(d)
    for r in range(len(arms)):
        rows = features[0 if shared else r]
        least = np.inf
        arms[r] = 0
        for k in range(rows.shape[0]):
            index = -radii[r] * math.sqrt(solve_lower(factors[r], rows[k], z))
            for i in range(d):
                index += rows[k, i] * estimates[r, i]
            if index < least:
                least = index
                arms[r] = k


class OFUL(LeastSquaresLearner):
    """R copies of OFUL; see the module docstring.

    Args:
        features: φ, (K, d), of fixed arms; None in games that show features in each round.
        dim: d, where `features` is None.
        noise: σ >= 0, the subgaussian constant of the noise.
        parameter_bound: S > 0, at least ‖θ‖.
        regularization: λ > 0.
        confidence: 1 − δ of the guarantee, on which the algorithm depends.
    """

    def __init__(
        self,
        features: npt.ArrayLike | None = None,
        *,
        dim: int | None = None,
        noise: float = 1.0,
        parameter_bound: float = 1.0,
        regularization: float = 1.0,
        confidence: float = 0.95,
    ) -> None:
        super().__init__(features, dim=dim, noise=noise, regularization=regularization)
        self.parameter_bound = checks.positive(parameter_bound, "parameter_bound")
        self.confidence = checks.real(confidence, "confidence", above=0.0, below=1.0)

    def radius(self, log_determinant: Any) -> Any:
        """√β as a function of ln(det V/λᵈ)."""
        log_inverse = -math.log1p(-self.confidence)  # ln(1/δ)
        deviation = self.noise * np.sqrt(2 * log_inverse + log_determinant)
        return math.sqrt(self.regularization) * self.parameter_bound + deviation

    def act(self) -> IntArray:
        """The arm of least index, shape (R,)."""
        arms = np.empty(len(self.estimate), dtype=np.int64)
        radii = self.radius(self.log_determinant)
        _least_index(self._features, self.factor, self.estimate, radii, arms)
        return arms

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """√(8 t max{1, β̄_t} D_t), D_t = d ln(1 + t L²/(λ d)), with probability 1 − δ for all t.

        None unless the environment has one θ, ‖θ‖ <= S, and noise of at most σ.
        """
        parameter = getattr(environment, "parameter", None)
        noise = getattr(environment, "noise", math.inf)
        if (
            environment.adversary != "stochastic"
            or parameter is None
            or not np.linalg.norm(parameter) <= self.parameter_bound * (1 + 1e-9)
            or noise > self.noise
        ):
            return None
        length: float = environment.feature_bound  # type: ignore[attr-defined]  # it has a parameter
        d, scale = self.dim, length**2 / (self.regularization * self.dim)

        def bound(t: Any) -> Any:
            growth = d * np.log1p(scale * t)
            return np.sqrt(8 * t * np.maximum(1.0, self.radius(growth) ** 2) * growth)

        return Guarantee(
            bound,
            kind="high-probability",
            confidence=self.confidence,
            assumptions=f"mean losses ⟨φ, θ⟩ in [-1, 1], {self.noise:g}-subgaussian noise, ‖θ‖ at "
            f"most {self.parameter_bound:g}, ‖φ‖ at most {length:.4g}",
            reference="Abbasi-Yadkori, Pál, Szepesvári 2011, theorem 3 (constants derived)",
        )


LinUCB = OFUL
