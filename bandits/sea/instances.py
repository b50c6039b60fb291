"""Games of the SEA model with exact quantities.

In round t the loss f_t is drawn from a distribution D_t that was fixed before the game (in
`RandomOrder`: that depends on the losses drawn before, never on the points played) and revealed.
Regret is that of the means F_t = E f_t, the "F-regret"

    Σ_t F_t(x_t) − F_t(u),   u = argmin_{‖x‖ ≤ r} Σ_t F_t(x),

which has the expectation of Σ_t f_t(x_t) − f_t(u) and less noise; `against` gives the regret
against another sequence of points. The domain is the ball of radius r around 0.

References:
    Sachs, Hadiji, van Erven, Guzmán. NeurIPS 2022 (RandomCoordinate: lemma 14; RandomOrder: lemma
    11). The other quantities are elementary; see the docstrings.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numba import njit

from ...core import checks
from ...core.checks import FloatArray, IntArray
from ...core.environment import Action, Adversary, Environment, GradientFeedback, Loss
from ...core.quadratics import maximum_on_ball, minimize_on_ball, quadratic
from ...core.random import SphereStream, UniformStream
from ...core.regret import Comparator
from .losses import AbsoluteResidual, EllipticLoss, LinearLoss, SphericalLoss, SquaredResiduals
from .quantities import Quantity, SEAQuantities

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...core.learner import Learner


@njit(cache=True)
def _first_outside(points: FloatArray, radius: float) -> int:
    """The first row with a norm above radius (1 + 1e-9), or not a number; −1 if there is none."""
    limit = (radius * (1 + 1e-9)) ** 2
    for r in range(points.shape[0]):
        total = 0.0
        for i in range(points.shape[1]):
            total += points[r, i] * points[r, i]
        if not total <= limit:
            return r
    return -1


@njit(cache=True)
def _spherical(points: FloatArray, center: FloatArray, curvature: float) -> FloatArray:
    """λ (½ ‖x‖² − ⟨c, x⟩) for points x (R, d), a center c (d,)."""
    out = np.zeros(points.shape[0])
    for r in range(points.shape[0]):
        for i in range(points.shape[1]):
            out[r] += curvature * points[r, i] * (0.5 * points[r, i] - center[i])
    return out


class SEAInstance(Environment):
    """What all games of the model share.

    Attributes:
        dim: d >= 1.
        radius: r > 0 of the domain, the ball around 0.
        gradient_bound: G, the largest norm of a gradient of a loss that can be drawn.
        smoothness: L of the means F_t.
        strong_convexity: λ of the means F_t; 0 if they are not strongly convex.
        exp_concavity: α of the losses f_t; 0 if they are not exp-concave.
        comparators: u_1, u_2, ... (T, d) or a fixed u (d,) of the regret; None: the best fixed u.
    """

    adversary: Adversary = "stochastic"
    dim: int
    radius: float
    gradient_bound: float
    smoothness: float
    strong_convexity = 0.0
    exp_concavity = 0.0
    comparators: FloatArray | None = None

    def admit(self, learner: Learner) -> None:
        """Refuse a learner of another dimension or radius."""
        for name in ("dim", "radius"):
            own = getattr(self, name)
            if getattr(learner, name, own) != own:
                raise ValueError(
                    f"learner must have {name}={own} like the environment, got "
                    f"{getattr(learner, name)}; build {type(learner).__name__} with {name}={own}"
                )

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications before round 1."""
        self._n_replications, self._rng, self._round = n_replications, rng, 0

    def step(self, action: Action) -> GradientFeedback:
        """Play points (R, d) of the domain; be told the gradients there and the losses drawn."""
        if action.shape != (self._n_replications, self.dim):
            raise ValueError(
                f"action must hold points, shape {(self._n_replications, self.dim)}, got "
                f"{action.shape}"
            )
        row = _first_outside(action, self.radius)
        if row >= 0:
            if not np.isfinite(action[row]).all():
                raise FloatingPointError(
                    f"replication {row}: the point {action[row]} is not finite"
                )
            raise ValueError(
                f"action must lie in the ball of radius {self.radius}, got norm "
                f"{np.linalg.norm(action[row])} in replication {row}; project it"
            )
        self._round += 1
        loss = self._draw()
        return GradientFeedback(loss.gradient(action), loss)

    def comparator(self) -> Comparator:
        """The best fixed point of the means so far, or the sequence given to `against`."""
        if self.comparators is None:
            return BestFixedPoint(self)
        return PointSequence(self, self.comparators)

    def against(self, comparators: npt.ArrayLike | Literal["minimizers"]) -> SEAInstance:
        """The same game with regret Σ_t F_t(x_t) − F_t(u_t) against other points u_t.

        Args:
            comparators: u_t as an array (T, d), a fixed u (d,), or "minimizers" of each F_t.
        """
        other = copy.copy(self)
        if isinstance(comparators, str):
            if comparators != "minimizers":
                raise ValueError(
                    f'comparators must be an array or "minimizers", got {comparators!r}'
                )
            points = self._minimizers()
        else:
            points = _sequence(comparators, "comparators", self.dim)
            row = _first_outside(np.atleast_2d(points), self.radius)
            if row >= 0:
                raise ValueError(
                    f"comparators must lie in the ball of radius {self.radius}, got "
                    f"{np.atleast_2d(points)[row]} in row {row}; project them"
                )
        other.comparators = points
        if points.ndim == 2:
            other.horizon = min(len(points), self.horizon or len(points))
        return other

    def path_length(self, horizon: Quantity) -> float | FloatArray:
        """P_T = Σ_{2 ≤ t ≤ T} ‖u_t − u_{t−1}‖ of the comparators; 0 for a fixed one."""
        at = np.asarray(horizon).astype(np.int64) - 1
        if self.comparators is None or self.comparators.ndim == 1:
            lengths = np.zeros(int(at.max()) + 1)
        else:
            moves = np.linalg.norm(np.diff(self.comparators, axis=0), axis=-1)
            lengths = np.append(0.0, np.cumsum(moves))
        return float(lengths[at]) if at.ndim == 0 else lengths[at]

    @abstractmethod
    def quantities(self, horizon: Quantity) -> SEAQuantities:
        """σ, Σ, G, L, D after `horizon` rounds; arrays for an array of rounds."""

    @abstractmethod
    def minimizer(self, horizon: int) -> FloatArray:
        """argmin of Σ_{t ≤ T} F_t over the domain, shape (d,)."""

    @abstractmethod
    def total(self, x: FloatArray, horizon: int) -> float:
        """Σ_{t ≤ T} F_t(x) − F_t(0) at one point x (d,)."""

    @abstractmethod
    def _draw(self) -> Loss:
        """The losses of round `_round`, counted from 1."""

    @abstractmethod
    def _expected(self, x: FloatArray) -> FloatArray:
        """F_t(x) − F_t(0) in round t = `_round`, shape (R,) for x (R, d)."""

    def _minimizers(self) -> FloatArray:
        """argmin of each F_t, (T, d), or (d,) if all are one."""
        raise ValueError(
            f'comparators of {type(self).__name__} cannot be "minimizers"; pass the points'
        )

    def _rounds(self, horizon: Quantity) -> int:
        """The largest of `horizon`, checked."""
        longest = int(np.max(horizon))
        if np.min(horizon) < 1 or (self.horizon is not None and longest > self.horizon):
            raise ValueError(
                f"horizon must be in [1, {self.horizon or 'any'}], got {horizon}; "
                f"{type(self).__name__} holds no more rounds"
            )
        return longest


class QuadraticInstance(SEAInstance):
    """Games with quadratic means."""

    @abstractmethod
    def mean(self, t: int) -> tuple[FloatArray, FloatArray]:
        """A (d, d) and b (d,) of F_t(x) = F_t(0) + ½ ⟨x, A x⟩ − ⟨b, x⟩, for t = 1, 2, ..."""

    @abstractmethod
    def mean_sum(self, t: int) -> tuple[FloatArray, FloatArray]:
        """A and b of Σ_{s ≤ t} F_s."""

    def minimizer(self, horizon: int) -> FloatArray:
        """By the secular equation, exact."""
        return minimize_on_ball(*self.mean_sum(horizon), self.radius)

    def total(self, x: FloatArray, horizon: int) -> float:
        """Σ_{t ≤ T} F_t(x) − F_t(0) at one point x (d,)."""
        return float(quadratic(*self.mean_sum(horizon), x))

    def _expected(self, x: FloatArray) -> FloatArray:
        hessian, linear = self.mean(self._round)
        result: FloatArray = 0.5 * ((x @ hessian) * x).sum(axis=-1) - x @ linear
        return result

    def _minimizers(self) -> FloatArray:
        if self.horizon is None:
            return minimize_on_ball(*self.mean(1), self.radius)
        means = [self.mean(t) for t in range(1, self.horizon + 1)]
        hessians, linears = (np.array(part) for part in zip(*means, strict=True))
        return minimize_on_ball(hessians, linears, self.radius)


class BestFixedPoint(Comparator):
    """The minimiser of the sum of the means so far."""

    def __init__(self, instance: SEAInstance) -> None:
        self._instance = instance
        self._incurred = np.zeros(instance._n_replications)

    def observe(self, decision: Action) -> None:
        """Charge F_t − F_t(0) at points (R, d)."""
        self._incurred += self._instance._expected(decision)

    def regret(self) -> FloatArray:
        """Σ_s F_s(x_s) − F_s(u), shape (R,)."""
        played = self._instance._round
        if played == 0:
            return self._incurred.copy()
        best = self._instance.minimizer(played)
        return self._incurred - self._instance.total(best, played)


class PointSequence(Comparator):
    """A sequence of points, or one."""

    def __init__(self, instance: SEAInstance, points: FloatArray) -> None:
        self._instance, self._points = instance, points
        self._regret = np.zeros(instance._n_replications)

    def observe(self, decision: Action) -> None:
        """Charge F_t(x_t) − F_t(u_t)."""
        points = self._points
        u = points if points.ndim == 1 else points[self._instance._round - 1]
        expected = self._instance._expected
        self._regret += expected(decision) - expected(np.broadcast_to(u, decision.shape))

    def regret(self) -> FloatArray:
        """Σ_s F_s(x_s) − F_s(u_s), shape (R,)."""
        return self._regret.copy()


def _by_round(values: FloatArray, rounds: int) -> FloatArray:
    """Values (T,) of the first rounds, given one for all or a longer sequence."""
    return np.broadcast_to(values if np.ndim(values) == 0 else values[:rounds], rounds)


def _sequence(value: Any, name: str, dim: int | None = None) -> FloatArray:
    """A vector (d,) or a sequence of them (T, d), as a read-only copy."""
    result = checks.array(value, name).copy()
    if result.ndim not in (1, 2) or result.size == 0:
        raise ValueError(f"{name} must have shape (d,) or (T, d), got {result.shape}; reshape it")
    if dim not in (None, result.shape[-1]):
        raise ValueError(
            f"{name} must have {dim} coordinates, got {result.shape[-1]}; align it with the game"
        )
    result.flags.writeable = False
    return result


class _Shifting(QuadraticInstance):
    """Means with one Hessian A and moving linear part b_t, and noise on the sphere of radius σ_t.

    The gradient is A x − b_t minus noise of variance σ_t² times `_noise_gain`, at every x: all
    suprema over the domain are trivial, and σ̃ = σ.
    """

    _hessian: FloatArray
    _noise_gain = 1.0

    def __init__(self, centers: Any, name: str, sigma: Any, radius: float) -> None:
        self._centers = _sequence(centers, name)
        self.dim = self._centers.shape[-1]
        self.radius = checks.positive(radius, "radius")
        self._sigma = checks.array(sigma, "sigma", low=0.0).copy()
        if self._sigma.ndim > 1:
            raise ValueError(f"sigma must be a number or (T,), got shape {self._sigma.shape}")
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
        sigma2 = _by_round(self._noise_gain * self._sigma**2, rounds)
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
        self._weights, self._basis = np.linalg.eigh(A)
        largest = self._weights[-1]
        if not (largest > 0 and self._weights[0] >= -1e-12 * largest):
            raise ValueError(
                f"hessian must be positive semidefinite and not 0, got eigenvalues "
                f"{self._weights}; drop the negative ones"
            )
        self._weights = np.maximum(self._weights, 0.0)
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
        features = self._points_of_ball.draw()[:, : self.dim]
        noise = self.noise * (2 * self._uniforms.draw() - 1)
        targets = features @ self._center(self._round) + noise
        return SquaredResiduals(features[:, None], targets[:, None])

    def _expected(self, x: FloatArray) -> FloatArray:
        return _spherical(x, self._center(self._round), self.smoothness)

    def quantities(self, horizon: Quantity) -> SEAQuantities:
        """See the class docstring."""
        from scipy.integrate import quad

        d, rounds, nu = self.dim, self._rounds(horizon), self.noise
        Z = _by_round(self.radius + np.linalg.norm(self._centers, axis=-1), rounds)
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


class LeastSquares(QuadraticInstance):
    """f_t(x) = ½ (⟨a_i, x⟩ − b_i)² with probability p_{t,i}, or the mean of a mini-batch of these.

    σ_t² and Σ_t² are suprema of convex quadratics over the ball, found exactly by the secular
    equation. G = max_i ‖a_i‖ (r ‖a_i‖ + |b_i|), L and λ are the extreme eigenvalues over t of
    H_t = Σ_i p_{t,i} a_i a_iᵀ, and α = 1/max_i (r ‖a_i‖ + |b_i|)². With mini-batches of K_t
    independent draws, σ_t² falls by K_t; σ̃_t² is then bounded by its value for K = 1, and `exact`
    is False.

    Args:
        features: a_1, ..., a_n, (n, d).
        targets: b_1, ..., b_n, (n,).
        weights: p, (n,), or p_1, ..., p_T, (T, n): nonnegative, rows sum to 1. None: uniform.
        batch_size: K >= 1, a number or (T,).
        radius: r > 0 of the domain.
    """

    def __init__(
        self,
        features: npt.ArrayLike,
        targets: npt.ArrayLike,
        *,
        weights: npt.ArrayLike | None = None,
        batch_size: int | npt.ArrayLike = 1,
        radius: float = 1.0,
    ) -> None:
        a = checks.array(features, "features", shape=(None, None)).copy()
        n = checks.integer(len(a), "the number of features", minimum=1)
        self.dim = checks.integer(a.shape[1], "the number of columns of features", minimum=1)
        b = checks.array(targets, "targets", shape=(n,)).copy()
        self.features, self.targets = a, b
        self.radius = checks.positive(radius, "radius")
        self._weights = _distributions(weights, n)
        sizes = np.array(batch_size)
        if sizes.dtype.kind not in "iu" or sizes.ndim > 1 or sizes.size == 0 or sizes.min() < 1:
            raise ValueError(f"batch_size must hold integers of at least 1, got {batch_size!r}")
        self._batch_sizes = sizes
        lengths = {len(x) for x, k in ((self._weights, 2), (sizes, 1)) if x.ndim == k}
        if len(lengths) > 1:
            raise ValueError(
                f"weights and batch_size must have as many rounds, got {sorted(lengths)}"
            )
        self.horizon = lengths.pop() if lengths else None
        self._cumulative = np.cumsum(np.atleast_2d(self._weights), axis=1)  # to draw from
        self._sums: FloatArray | None = None
        reach = self.radius * np.linalg.norm(a, axis=-1) + np.abs(b)
        self.gradient_bound = float((np.linalg.norm(a, axis=-1) * reach).max())
        if not self.gradient_bound > 0:
            raise ValueError("features must not all be 0, got losses that do not depend on x")
        self.exp_concavity = float(1 / reach.max() ** 2)
        eigenvalues = np.linalg.eigvalsh(
            self._moments(np.unique(np.atleast_2d(self._weights), axis=0))[0]
        )
        self.smoothness = float(eigenvalues[:, -1].max())
        self.strong_convexity = max(float(eigenvalues[:, 0].min()), 0.0)

    def _moments(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """H = Σ p_i a_i a_iᵀ, (..., d, d), and h = Σ p_i b_i a_i, (..., d), for p (..., n)."""
        a, b = self.features, self.targets
        return np.einsum("...n,ni,nj->...ij", weights, a, a, optimize=True), (weights * b) @ a

    def _weights_of(self, t: int) -> FloatArray:
        return self._weights if self._weights.ndim == 1 else self._weights[t - 1]

    def mean(self, t: int) -> tuple[FloatArray, FloatArray]:
        """H_t and h_t."""
        return self._moments(self._weights_of(t))

    def mean_sum(self, t: int) -> tuple[FloatArray, FloatArray]:
        """Σ_{s ≤ t} H_s and Σ_{s ≤ t} h_s."""
        if self._weights.ndim == 1:
            return self._moments(t * self._weights)
        if self._sums is None:
            self._sums = np.cumsum(self._weights, axis=0)
        return self._moments(self._sums[t - 1])

    def _expected(self, x: FloatArray) -> FloatArray:
        values = x @ self.features.T  # ⟨a_i, x⟩, (R, n)
        result: FloatArray = (0.5 * values**2 - values * self.targets) @ self._weights_of(
            self._round
        )
        return result

    def _draw(self) -> SquaredResiduals:
        t = self._round - 1
        size = int(self._batch_sizes if self._batch_sizes.ndim == 0 else self._batch_sizes[t])
        cumulative = self._cumulative[t if len(self._cumulative) > 1 else 0]
        uniforms = self._rng.random((self._n_replications, size))
        picked = np.searchsorted(cumulative, uniforms * cumulative[-1], side="right")
        return SquaredResiduals(self.features[picked], self.targets[picked])

    def quantities(self, horizon: Quantity) -> SEAQuantities:
        """See the class docstring."""
        rounds = self._rounds(horizon)
        sizes = _by_round(self._batch_sizes, rounds)
        family = SquaredResidualFamily(self.features, self.targets, self.radius)
        rows, which, moved = _changes(self._weights, rounds)
        Sigma2 = np.zeros(rounds)
        Sigma2[moved] = family.movement(rows[which[moved]], rows[which[moved - 1]])
        return SEAQuantities.of_rounds(
            horizon,
            family.variance(rows)[which] / sizes,
            Sigma2,
            family.variance_inside(rows)[which],
            G=self.gradient_bound,
            L=self.smoothness,
            D=2 * self.radius,
            exact=bool((sizes == 1).all()),
        )


def _distributions(weights: Any, n: int) -> FloatArray:
    """Distributions over n losses, (n,) or (T, n)."""
    if weights is None:
        return np.full(n, 1 / n)
    result = _sequence(weights, "weights", n)
    sums = np.atleast_1d(result.sum(axis=-1))
    bad = np.flatnonzero((np.abs(sums - 1) > 1e-9) | (np.atleast_2d(result).min(axis=-1) < 0))
    if len(bad):
        raise ValueError(
            f"weights must be nonnegative and sum to 1, got {np.atleast_2d(result)[bad[0]]} in row "
            f"{bad[0]}; normalise it"
        )
    return result


def _changes(weights: FloatArray, rounds: int) -> tuple[FloatArray, IntArray, IntArray]:
    """The different rows of weights (n,) or (T, n), which one each round has, where they change."""
    if weights.ndim == 1:
        return weights[None], np.zeros(rounds, dtype=np.int64), np.zeros(0, dtype=np.int64)
    rows, which = np.unique(weights[:rounds], axis=0, return_inverse=True)
    which = which.ravel()
    return rows, which, np.flatnonzero(np.diff(which)) + 1


class SquaredResidualFamily:
    """Suprema over the ball for distributions p over the losses ½ (⟨a_i, x⟩ − b_i)²."""

    def __init__(self, features: FloatArray, targets: FloatArray, radius: float) -> None:
        self.radius = radius
        self._outer = features[:, :, None] * features[:, None, :]  # a_i a_iᵀ
        self._linear = targets[:, None] * features  # b_i a_i

    def _supremum(
        self, hessians: FloatArray, linears: FloatArray, weights: FloatArray
    ) -> FloatArray:
        """max_x Σ_k w_k ‖A_k x − c_k‖², (...), for A (..., k, d, d), c (..., k, d), w (..., k)."""
        hessian = 2 * np.einsum(
            "...k,...kji,...kjl->...il", weights, hessians, hessians, optimize=True
        )
        linear = 2 * np.einsum("...k,...kji,...kj->...i", weights, hessians, linears, optimize=True)
        constant = np.einsum("...k,...kj,...kj->...", weights, linears, linears, optimize=True)
        return np.maximum(maximum_on_ball(hessian, linear, self.radius) + constant, 0.0)

    def _centred(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """a_i a_iᵀ − H and b_i a_i − h, (P, n, d, d) and (P, n, d)."""
        H = np.einsum("pn,nij->pij", weights, self._outer)
        return self._outer - H[:, None], self._linear - (weights @ self._linear)[:, None]

    def variance(self, weights: FloatArray) -> FloatArray:
        """sup_x Σ_i p_i ‖∇f_i(x) − ∇F(x)‖², (P,) for weights (P, n)."""
        return self._supremum(*self._centred(weights), weights)

    def variance_inside(self, weights: FloatArray) -> FloatArray:
        """Σ_i p_i sup_x ‖∇f_i(x) − ∇F(x)‖², (P,)."""
        hessians, linears = self._centred(weights)
        each = self._supremum(hessians[:, :, None], linears[:, :, None], np.ones((1, 1, 1)))
        result: FloatArray = (weights * each).sum(axis=-1)
        return result

    def movement(self, weights: FloatArray, previous: FloatArray) -> FloatArray:
        """sup_x ‖∇F(x) − ∇F′(x)‖², (P,), for the means of two distributions (P, n)."""
        step = weights - previous
        H = np.einsum("pn,nij->pij", step, self._outer)
        return self._supremum(H[:, None], (step @ self._linear)[:, None], np.ones((1, 1)))


class LeastAbsolute(SEAInstance):
    """f_t(x) = |⟨a_i, x⟩ − b_i| with probability p_{t,i}: convex, not smooth.

    `quantities` holds upper bounds, and `exact` is False: σ_t² ≤ Σ_i p_{t,i} ‖a_i‖², Σ_t ≤
    Σ_i |p_{t,i} − p_{t−1,i}| ‖a_i‖ and σ̃_t² ≤ Σ_i p_{t,i} ((1 − p_{t,i}) ‖a_i‖ + Σ_{j ≠ i} p_{t,j}
    ‖a_j‖)². G = max_i ‖a_i‖. The comparator is found by cvxpy, to 1e-8.

    Args:
        features: a_1, ..., a_n, (n, d).
        targets: b_1, ..., b_n, (n,).
        weights: p, (n,), or p_1, ..., p_T, (T, n): nonnegative, rows sum to 1. None: uniform.
        radius: r > 0 of the domain.
    """

    smoothness = math.inf

    def __init__(
        self,
        features: npt.ArrayLike,
        targets: npt.ArrayLike,
        *,
        weights: npt.ArrayLike | None = None,
        radius: float = 1.0,
    ) -> None:
        a = checks.array(features, "features", shape=(None, None)).copy()
        n = checks.integer(len(a), "the number of features", minimum=1)
        self.dim = checks.integer(a.shape[1], "the number of columns of features", minimum=1)
        self.features, self.targets = a, checks.array(targets, "targets", shape=(n,)).copy()
        self.radius = checks.positive(radius, "radius")
        self._weights = _distributions(weights, n)
        self.horizon = len(self._weights) if self._weights.ndim == 2 else None
        self._cumulative = np.cumsum(np.atleast_2d(self._weights), axis=1)
        self.gradient_bound = float(np.linalg.norm(a, axis=-1).max())
        if not self.gradient_bound > 0:
            raise ValueError("features must not all be 0, got losses that do not depend on x")
        self._minima: dict[bytes, FloatArray] = {}

    def _weight_sum(self, t: int) -> FloatArray:
        w = self._weights
        return t * w if w.ndim == 1 else w[:t].sum(axis=0)

    def _values(self, x: FloatArray) -> FloatArray:
        """f_i(x) − f_i(0), (..., n)."""
        return np.abs(x @ self.features.T - self.targets) - np.abs(self.targets)

    def _expected(self, x: FloatArray) -> FloatArray:
        w = self._weights if self._weights.ndim == 1 else self._weights[self._round - 1]
        result: FloatArray = self._values(x) @ w
        return result

    def total(self, x: FloatArray, horizon: int) -> float:
        """Σ_{t ≤ T} F_t(x) − F_t(0) at one point x (d,)."""
        return float(self._values(x) @ self._weight_sum(horizon))

    def minimizer(self, horizon: int) -> FloatArray:
        """By cvxpy (CLARABEL)."""
        weights = self._weight_sum(horizon)
        weights = weights / weights.sum()
        key = np.round(weights, 12).tobytes()
        if key not in self._minima:
            import cvxpy as cp

            x = cp.Variable(self.dim)
            loss = weights @ cp.abs(self.features @ x - self.targets)
            problem = cp.Problem(cp.Minimize(loss), [cp.norm(x) <= self.radius])
            problem.solve(solver=cp.CLARABEL)
            u = np.asarray(x.value, dtype=np.float64)
            self._minima[key] = u * min(1.0, self.radius / max(float(np.linalg.norm(u)), 1e-300))
        return self._minima[key]

    def _draw(self) -> AbsoluteResidual:
        cumulative = self._cumulative[self._round - 1 if len(self._cumulative) > 1 else 0]
        uniforms = self._rng.random(self._n_replications) * cumulative[-1]
        picked = np.searchsorted(cumulative, uniforms, side="right")
        return AbsoluteResidual(self.features[picked], self.targets[picked])

    def quantities(self, horizon: Quantity) -> SEAQuantities:
        """See the class docstring."""
        rounds = self._rounds(horizon)
        norms = np.linalg.norm(self.features, axis=-1)
        rows, which, moved = _changes(self._weights, rounds)
        Sigma2 = np.zeros(rounds)
        Sigma2[moved] = (np.abs(rows[which[moved]] - rows[which[moved - 1]]) @ norms) ** 2
        others = (rows @ norms)[:, None] - rows * norms
        tilde = (rows * ((1 - rows) * norms + others) ** 2).sum(axis=-1)
        return SEAQuantities.of_rounds(
            horizon,
            (rows @ norms**2)[which],
            Sigma2,
            tilde[which],
            G=self.gradient_bound,
            L=self.smoothness,
            D=2 * self.radius,
            exact=False,
        )


class RandomCoordinate(LeastSquares):
    """f_t(x) = x_i²/2, i uniform in {1, ..., d}, on the unit ball (Sachs et al. 2022, lemma 14).

    σ_t² = (1/d)(1 − 1/d), attained at each unit vector, and Σ_t = 0, while the gradient variation
    E sup_x ‖∇f_t(x) − ∇f_{t−1}(x)‖² = 1 − 1/d is larger by the factor d.

    Args:
        dim: d >= 1.
    """

    def __init__(self, dim: int) -> None:
        d = checks.integer(dim, "dim", minimum=1)
        super().__init__(np.eye(d), np.zeros(d))


class RandomOrder(QuadraticInstance):
    """The random order model: a finite family drawn without replacement, pass after pass.

    f_i(x) = ½ (⟨a_i, x⟩ − b_i)². Before each pass of n rounds the losses are shuffled; given the
    past, D_t is uniform on those that remain. Every f_t has mean F̄ = (1/n) Σ f_i, so that the
    comparator is u = argmin F̄ at each horizon.

    σ_t and Σ_t are random; their squares' expectations are averages over all sets that can remain.
    For n <= 10 these are enumerated. Beyond, `quantities` gives upper bounds for each pass, with
    m = n − t + 1 losses left and σ_1², σ̃_1² those of the whole family: E σ_t² ≤ min{(n/m) σ_1²,
    σ̃_1²}, Σ_t² ≤ 4G²/(m + 1)² within a pass and at most σ̃_1² between two, E σ̃_t² ≤ 4 σ̃_1²; then
    `exact` is False.

    Args:
        features: a_1, ..., a_n, (n, d).
        targets: b_1, ..., b_n, (n,).
        radius: r > 0 of the domain.
    """

    def __init__(
        self, features: npt.ArrayLike, targets: npt.ArrayLike, *, radius: float = 1.0
    ) -> None:
        family = LeastSquares(features, targets, radius=radius)
        self.features, self.targets = family.features, family.targets
        self.dim, self.radius = family.dim, family.radius
        self.gradient_bound, self.exp_concavity = family.gradient_bound, family.exp_concavity
        # a mean over the losses left can be as curved, or as flat, as one loss
        self.smoothness = float((self.features**2).sum(axis=-1).max())
        self.strong_convexity = family.strong_convexity if len(self.targets) == 1 else 0.0
        self._family = family
        self.comparators = family.minimizer(1)
        self._by_size: FloatArray | None = None

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications before the first pass."""
        super().reset(n_replications, rng)
        self._rows = np.arange(n_replications)

    def mean(self, t: int) -> tuple[FloatArray, FloatArray]:
        """Of E F_t = F̄."""
        return self._family.mean(t)

    def mean_sum(self, t: int) -> tuple[FloatArray, FloatArray]:
        """Of t F̄."""
        return self._family.mean_sum(t)

    def _draw(self) -> SquaredResiduals:
        n, place = len(self.targets), (self._round - 1) % len(self.targets)
        if place == 0:
            shape = (self._n_replications, n)
            self._order = self._rng.permuted(np.broadcast_to(np.arange(n), shape), axis=1)
            self._left = np.full(shape, 1.0)
        # the weights of D_t: uniform on what is left before this draw
        self._now = self._left / (n - place)
        picked = self._order[:, place]
        self._left[self._rows, picked] = 0.0
        return SquaredResiduals(self.features[picked][:, None], self.targets[picked][:, None])

    def _expected(self, x: FloatArray) -> FloatArray:
        values = x @ self.features.T
        result: FloatArray = ((0.5 * values**2 - values * self.targets) * self._now).sum(axis=-1)
        return result

    def quantities(self, horizon: Quantity) -> SEAQuantities:
        """See the class docstring."""
        rounds, n = self._rounds(horizon), len(self.targets)
        if self._by_size is None:
            self._by_size = self._enumerated() if n <= 10 else self._bounded()
        left = n - np.arange(rounds) % n  # m
        sigma2, Sigma2, tilde = self._by_size[:, left - 1]
        return SEAQuantities.of_rounds(
            horizon,
            sigma2,
            Sigma2,
            tilde,
            G=self.gradient_bound,
            L=self.smoothness,
            D=2 * self.radius,
            exact=n <= 10,
        )

    def _enumerated(self) -> FloatArray:
        """Expectations of σ_t², Σ_t², σ̃_t² for m = 1, ..., n losses left, over all sets."""
        n = len(self.targets)
        family = SquaredResidualFamily(self.features, self.targets, self.radius)
        sets = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1  # (2ⁿ − 1, n)
        sizes = sets.sum(axis=1)
        weights = sets / sizes[:, None]
        values = np.zeros((3, n))
        per_size = np.bincount(sizes)[1:]
        values[0] = np.bincount(sizes, family.variance(weights))[1:] / per_size
        values[2] = np.bincount(sizes, family.variance_inside(weights))[1:] / per_size
        # Σ_t²: a set of m + 1 losses loses one of them
        source, lost = np.nonzero(sets * (sizes > 1)[:, None])
        after = sets[source].astype(float)
        after[np.arange(len(source)), lost] = 0.0
        m = sizes[source] - 1
        moves = family.movement(after / m[:, None], weights[source])
        values[1, : n - 1] = (np.bincount(m, moves) / np.maximum(np.bincount(m), 1))[1:]
        # a new pass: from the last loss, uniform on the family, to all of them
        values[1, n - 1] = values[2, n - 1]
        return values

    def _bounded(self) -> FloatArray:
        n = len(self.targets)
        m = np.arange(1, n + 1)
        one = self._family.quantities(1)
        tilde = one.sigma2_tilde_cum
        Sigma2 = 4 * self.gradient_bound**2 / (m + 1) ** 2
        Sigma2[-1] = tilde
        return np.stack([np.minimum(n / m * one.sigma2_cum, tilde), Sigma2, np.full(n, 4 * tilde)])
