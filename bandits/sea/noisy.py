"""Games whose means have one Hessian and a moving linear part.

The suprema over the domain that define σ_t and Σ_t are trivial here: see each class.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from ...core import checks
from ...core.checks import FloatArray
from ...core.quadratics import without_rounding
from ...core.random import SphereStream, UniformStream
from .instance import QuadraticInstance, by_round, sequence
from .losses import EllipticLoss, LinearLoss, SphericalLoss, SquaredResiduals
from .quantities import Quantity, SEAQuantities

if TYPE_CHECKING:
    import numpy.typing as npt


@njit(cache=True)
def _spherical(points: FloatArray, center: FloatArray, curvature: float) -> FloatArray:
    """λ (½ ‖x‖² − ⟨c, x⟩) for points x (R, d), a center c (d,)."""
    out = np.zeros(points.shape[0])
    for r in range(points.shape[0]):
        for i in range(points.shape[1]):
            out[r] += curvature * points[r, i] * (0.5 * points[r, i] - center[i])
    return out


@njit(cache=True)
def _labels(
    features: FloatArray, parameter: FloatArray, noise: float, uniforms: FloatArray
) -> FloatArray:
    """⟨φ, w⟩ + ν (2 u − 1), (R, 1), for φ (R, 1, d) and uniforms u (R,)."""
    out = np.empty((features.shape[0], 1))
    for r in range(features.shape[0]):
        out[r, 0] = noise * (2 * uniforms[r] - 1)
        for i in range(features.shape[2]):
            out[r, 0] += features[r, 0, i] * parameter[i]
    return out


class _Shifting(QuadraticInstance):
    """Means with one Hessian A and moving linear part b_t, and noise on the sphere of radius σ_t.

    The gradient is A x − b_t minus noise of variance σ_t² times `_noise_gain`, at every x: all
    suprema over the domain are trivial, and σ̃ = σ.
    """

    _hessian: FloatArray
    _noise_gain = 1.0

    def __init__(self, centers: Any, name: str, sigma: Any, radius: float) -> None:
        self._centers = sequence(centers, name)
        self.dim = self._centers.shape[-1]
        self.radius = checks.positive(radius, "radius")
        self._sigma = checks.array(sigma, "sigma", low=0.0).copy()
        if self._sigma.ndim > 1 or self._sigma.size == 0:
            raise ValueError(
                f"sigma must be a number or (T,), got shape {self._sigma.shape}; reshape it"
            )
        lengths = {len(a) for a, d in ((self._centers, 2), (self._sigma, 1)) if a.ndim == d}
        if len(lengths) > 1:
            raise ValueError(f"{name} and sigma must have as many rounds, got {sorted(lengths)}")
        self.horizon = lengths.pop() if lengths else None
        self._sums: FloatArray | None = None

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications before round 1."""
        super().reset(n_replications, rng)
        self._directions = SphereStream(rng, (n_replications, self.dim))

    def _linear(self, centers: FloatArray) -> FloatArray:
        """b for centres (..., d)."""
        return centers @ self._hessian

    def _center(self, t: int) -> FloatArray:
        return self._centers if self._centers.ndim == 1 else self._centers[t - 1]

    def _noise(self) -> FloatArray:
        """ξ_t, (R, d)."""
        sigma = self._sigma if self._sigma.ndim == 0 else self._sigma[self._round - 1]
        return sigma * self._directions.draw()

    def mean(self, t: int) -> tuple[FloatArray, FloatArray]:
        """The Hessian A and b_t."""
        return self._hessian, self._linear(self._center(t))

    def mean_sum(self, t: int) -> tuple[FloatArray, FloatArray]:
        """T A and Σ_{s ≤ t} b_s."""
        if self._centers.ndim == 1:
            return t * self._hessian, t * self._linear(self._centers)
        if self._sums is None:
            self._sums = np.cumsum(self._linear(self._centers), axis=0)
        return t * self._hessian, self._sums[t - 1]

    def quantities(self, horizon: Quantity) -> SEAQuantities:
        """σ_t² is the variance of the noise, Σ_t² = ‖b_t − b_{t−1}‖²."""
        rounds = self._rounds(horizon)
        sigma2 = by_round(self._noise_gain * self._sigma**2, rounds)
        return SEAQuantities.of_rounds(
            horizon,
            sigma2,
            self._moves(rounds),
            sigma2,
            G=self.gradient_bound,
            L=self.smoothness,
            D=2 * self.radius,
        )

    def _moves(self, rounds: int) -> FloatArray:
        """Σ_t² = ‖b_t − b_{t−1}‖², (T,), 0 for t = 1."""
        moves = np.zeros(rounds)
        if self._centers.ndim == 2:
            steps = np.diff(self._linear(self._centers[:rounds]), axis=0)
            moves[1:] = (steps**2).sum(axis=-1)
        return moves

    def _reach(self) -> float:
        """max_t ‖c_t‖ + σ_t."""
        return float((np.linalg.norm(self._centers, axis=-1) + self._sigma).max())


class NoisyLinear(_Shifting):
    """f_t(x) = ⟨θ_t + ξ_t, x⟩ with ξ_t uniform on the sphere of radius σ.

    σ_t² = σ², Σ_t² = ‖θ_t − θ_{t−1}‖², L = 0, G = max_t ‖θ_t‖ + σ_t.

    Args:
        theta: θ, (d,), or θ_1, ..., θ_T, (T, d).
        sigma: σ >= 0, a number or (T,) for noise that changes.
        radius: r > 0 of the domain.
    """

    smoothness = 0.0

    def __init__(self, theta: npt.ArrayLike, sigma: npt.ArrayLike, *, radius: float = 1.0) -> None:
        super().__init__(theta, "theta", sigma, radius)
        self._hessian = np.zeros((self.dim, self.dim))
        self.gradient_bound = self._reach()

    def _linear(self, centers: FloatArray) -> FloatArray:
        return -centers

    def _expected(self, x: FloatArray) -> FloatArray:
        return x @ self._center(self._round)

    def _draw(self) -> LinearLoss:
        return LinearLoss(self._center(self._round) + self._noise())


class NoisyQuadratic(_Shifting):
    """f_t(x) = (λ/2) ‖x − μ_t − ξ_t‖² with ξ_t uniform on the sphere of radius σ.

    σ_t² = λ² σ², Σ_t² = λ² ‖μ_t − μ_{t−1}‖², L = λ, G = λ (r + max_t ‖μ_t‖ + σ_t); f_t is
    α-exp-concave with α = λ/G².

    Args:
        mu: μ, (d,), or μ_1, ..., μ_T, (T, d).
        sigma: σ >= 0, a number or (T,).
        strong_convexity: λ > 0.
        radius: r > 0 of the domain.
    """

    def __init__(
        self,
        mu: npt.ArrayLike,
        sigma: npt.ArrayLike,
        *,
        strong_convexity: float = 1.0,
        radius: float = 1.0,
    ) -> None:
        super().__init__(mu, "mu", sigma, radius)
        curvature = checks.positive(strong_convexity, "strong_convexity")
        self.strong_convexity = self.smoothness = curvature
        self._hessian = curvature * np.eye(self.dim)
        self._noise_gain = curvature**2
        self.gradient_bound = curvature * (self.radius + self._reach())
        self.exp_concavity = curvature / self.gradient_bound**2

    def _expected(self, x: FloatArray) -> FloatArray:
        return _spherical(x, self._center(self._round), self.strong_convexity)

    def _draw(self) -> SphericalLoss:
        return SphericalLoss(self.strong_convexity, self._center(self._round) + self._noise())


class FixedHessianQuadratic(_Shifting):
    """f_t(x) = ½ ⟨x − c_t − ξ_t, A (x − c_t − ξ_t)⟩, ξ_t uniform on the sphere of radius σ.

    σ_t² = E ‖A ξ‖² = σ² tr(A²)/d, Σ_t² = ‖A (c_t − c_{t−1})‖², L and λ the extreme eigenvalues
    of A, G = L (r + max_t ‖c_t‖ + σ_t), and α = 1/(L (r + max_t ‖c_t‖ + σ_t)²), since
    ⟨g, A⁺ g⟩ = 2 f at every x.

    Args:
        center: c, (d,), or c_1, ..., c_T, (T, d).
        sigma: σ >= 0, a number or (T,).
        hessian: A, (d, d), symmetric, positive semidefinite, not 0.
        radius: r > 0 of the domain.
    """

    def __init__(
        self,
        center: npt.ArrayLike,
        sigma: npt.ArrayLike,
        *,
        hessian: npt.ArrayLike,
        radius: float = 1.0,
    ) -> None:
        super().__init__(center, "center", sigma, radius)
        A = checks.array(hessian, "hessian", shape=(self.dim, self.dim))
        if not np.allclose(A, A.T, rtol=1e-12, atol=1e-12 * np.abs(A).max()):
            raise ValueError("hessian must be symmetric; pass (A + A.T)/2")
        weights, self._basis = np.linalg.eigh(A)
        self._weights = without_rounding(weights)
        largest = self._weights[-1]
        if not (largest > 0 and self._weights[0] >= 0):
            raise ValueError(
                f"hessian must be positive semidefinite and not 0, got eigenvalues "
                f"{self._weights}; drop the negative ones"
            )
        self._hessian = (self._basis * self._weights) @ self._basis.T
        self._noise_gain = float((self._weights**2).mean())
        self.smoothness, self.strong_convexity = float(largest), float(self._weights[0])
        reach = self.radius + self._reach()
        self.gradient_bound = self.smoothness * reach
        self.exp_concavity = 1 / (self.smoothness * reach**2)

    def _draw(self) -> EllipticLoss:
        center = self._center(self._round) + self._noise()
        return EllipticLoss(self._weights, self._basis, center)


class LinearRegression(_Shifting):
    """f_t(x) = ½ (⟨φ, x⟩ − y)², φ uniform in the unit ball, y = ⟨φ, w_t⟩ + ε, ε uniform on ±ν.

    The mean is F_t(x) = ‖x − w_t‖²/(2 (d + 2)) + const: the isotropic λ = L = 1/(d + 2). With
    Z = r + ‖w_t‖, the largest distance to w_t,

        σ_t² = Z² (1/(d + 4) − 1/(d + 2)²) + (ν²/3) d/(d + 2),   Σ_t² = ‖w_t − w_{t−1}‖²/(d + 2)²,

    G = r + max_t ‖w_t‖ + ν and α = 1/G². σ̃ is bounded by its value for a supremum over each
    term, so `exact` is False.

    Args:
        parameter: w, (d,), or w_1, ..., w_T, (T, d).
        noise: ν >= 0.
        radius: r > 0 of the domain.
    """

    def __init__(self, parameter: npt.ArrayLike, noise: float, *, radius: float = 1.0) -> None:
        super().__init__(parameter, "parameter", 0.0, radius)
        self.noise = float(checks.array(noise, "noise", shape=(), low=0.0))
        self.strong_convexity = self.smoothness = 1 / (self.dim + 2)
        self._hessian = self.smoothness * np.eye(self.dim)
        self.gradient_bound = self.radius + self._reach() + self.noise
        self.exp_concavity = 1 / self.gradient_bound**2

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications before round 1."""
        super().reset(n_replications, rng)
        self._points_of_ball = SphereStream(rng, (n_replications, self.dim + 2))
        self._uniforms = UniformStream(rng, (n_replications,))

    def _draw(self) -> SquaredResiduals:
        features = self._points_of_ball.draw()[:, None, : self.dim]
        uniforms = self._uniforms.draw()
        targets = _labels(features, self._center(self._round), self.noise, uniforms)
        return SquaredResiduals(features, targets)

    def _expected(self, x: FloatArray) -> FloatArray:
        return _spherical(x, self._center(self._round), self.smoothness)

    def quantities(self, horizon: Quantity) -> SEAQuantities:
        """See the class docstring."""
        from scipy.integrate import quad

        d, rounds, nu = self.dim, self._rounds(horizon), self.noise
        Z = by_round(self.radius + np.linalg.norm(self._centers, axis=-1), rounds)
        sigma2 = Z**2 * (1 / (d + 4) - 1 / (d + 2) ** 2) + nu**2 / 3 * d / (d + 2)
        shrink = 1 / (d + 2)

        def expectation(power: int) -> float:  # of (gain of φφᵀ − I/(d+2))^(2−power) (‖φ‖ ν)^power
            def integrand(s: float) -> float:
                return (
                    d
                    * s ** (d - 1)
                    * max(s * s - shrink, shrink) ** (2 - power)
                    * (s * nu) ** power
                )

            return float(quad(integrand, 0, 1, points=[math.sqrt(2 * shrink)])[0])

        tilde = expectation(0) * Z**2 + 2 * expectation(1) * Z + expectation(2)
        return SEAQuantities.of_rounds(
            horizon,
            sigma2,
            self._moves(rounds),
            tilde,
            G=self.gradient_bound,
            L=self.smoothness,
            D=2 * self.radius,
            exact=False,
        )
