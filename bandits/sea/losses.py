"""The losses that the instances draw: R of them, one a replication.

Each knows its gradient and its proximal step on a ball,

    x = argmin_{‖x‖ ≤ r} f(x) + ‖x − z‖²/(2η) = Π(z − η m),   m ∈ ∂f(x).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from ...core.checks import FloatArray
from ...core.environment import Loss
from ...core.quadratics import minimize_diagonal, minimize_on_ball


def _onto_ball(x: FloatArray, radius: float) -> FloatArray:
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return x * (radius / np.maximum(norm, radius))


def _aligned(parameter: FloatArray, x: FloatArray) -> FloatArray:
    """A parameter (R, ...) with an axis for the points of each replication where x has one."""
    return parameter[:, None] if x.ndim == 3 else parameter


@njit(cache=True)
def _residual_gradients(
    features: FloatArray, targets: FloatArray, points: FloatArray
) -> FloatArray:
    """(1/K) Σ_k a_k (⟨a_k, x⟩ − b_k) for a (R, K, d), b (R, K) at N points x of each, (R N, d)."""
    out = np.zeros(points.shape)
    count, (size, dim) = points.shape[0] // features.shape[0], features.shape[1:]
    for row in range(points.shape[0]):
        r = row // count
        for k in range(size):
            residual = -targets[r, k]
            for i in range(dim):
                residual += features[r, k, i] * points[row, i]
            for i in range(dim):
                out[row, i] += residual * features[r, k, i] / size
    return out


@dataclass(frozen=True, slots=True)
class LinearLoss(Loss):
    """f(x) = ⟨c, x⟩, `coefficients` c (R, d)."""

    coefficients: FloatArray

    def gradient(self, x: FloatArray) -> FloatArray:
        """The constant c."""
        return np.broadcast_to(_aligned(self.coefficients, x), x.shape)

    def implicit_step(
        self, center: FloatArray, step_size: FloatArray, radius: float
    ) -> tuple[FloatArray, FloatArray]:
        """x = Π(z − η c)."""
        c = self.coefficients
        return _onto_ball(center - step_size * c, radius), c


@dataclass(frozen=True, slots=True)
class SphericalLoss(Loss):
    """f(x) = (λ/2) ‖x − c‖², `curvature` λ > 0, `minimum` c (R, d)."""

    curvature: float
    minimum: FloatArray

    def gradient(self, x: FloatArray) -> FloatArray:
        """λ (x − c)."""
        return self.curvature * (x - _aligned(self.minimum, x))

    def implicit_step(
        self, center: FloatArray, step_size: FloatArray, radius: float
    ) -> tuple[FloatArray, FloatArray]:
        """x = Π((z + ηλ c)/(1 + ηλ)): the level sets are spheres."""
        weight = step_size * self.curvature
        x = _onto_ball((center + weight * self.minimum) / (1 + weight), radius)
        return x, self.gradient(x)


@dataclass(frozen=True, slots=True)
class EllipticLoss(Loss):
    """f(x) = ½ ⟨x − c, A (x − c)⟩ with A = V diag(w) Vᵀ.

    Attributes:
        weights: w, (d,).
        basis: V, (d, d), orthonormal columns.
        minimum: c, (R, d).
    """

    weights: FloatArray
    basis: FloatArray
    minimum: FloatArray

    def gradient(self, x: FloatArray) -> FloatArray:
        """A (x − c)."""
        return ((x - _aligned(self.minimum, x)) @ self.basis * self.weights) @ self.basis.T

    def implicit_step(
        self, center: FloatArray, step_size: FloatArray, radius: float
    ) -> tuple[FloatArray, FloatArray]:
        """By the secular equation in the basis of A."""
        linear = (self.minimum @ self.basis) * self.weights + (center @ self.basis) / step_size
        y = minimize_diagonal(self.weights + 1 / step_size, linear, radius)
        x = y @ self.basis.T
        return x, self.gradient(x)


@dataclass(frozen=True, slots=True)
class SquaredResiduals(Loss):
    """f(x) = (1/K) Σ_k ½ (⟨a_k, x⟩ − b_k)², `features` a (R, K, d), `targets` b (R, K)."""

    features: FloatArray
    targets: FloatArray

    def gradient(self, x: FloatArray) -> FloatArray:
        """(1/K) Σ_k a_k (⟨a_k, x⟩ − b_k)."""
        replications, _, dim = self.features.shape
        if x.ndim not in (2, 3) or len(x) != replications or x.shape[-1] != dim:
            raise ValueError(
                f"x must hold points of the game, shape {(replications, dim)} or "
                f"{(replications, 'any', dim)}, got {x.shape}"
            )
        rows = x if x.ndim == 2 else x.reshape(-1, dim)
        out = _residual_gradients(self.features, self.targets, rows)
        return out if x.ndim == 2 else out.reshape(x.shape)

    def implicit_step(
        self, center: FloatArray, step_size: FloatArray, radius: float
    ) -> tuple[FloatArray, FloatArray]:
        """By the secular equation: of two coordinates for K = 1, of d otherwise."""
        a, b, eta = self.features, self.targets, step_size
        if a.shape[1] > 1:
            identity = np.eye(a.shape[2]) / eta[:, :, None]
            hessian = a.transpose(0, 2, 1) @ a / a.shape[1] + identity
            linear = np.einsum("rk,rkd->rd", b, a) / a.shape[1] + center / eta
            x = minimize_on_ball(hessian, linear, radius)
            return x, self.gradient(x)
        a = a[:, 0]
        length = np.linalg.norm(a, axis=-1, keepdims=True)
        unit = a / np.where(length > 0, length, 1.0)
        along = (unit * center).sum(axis=-1, keepdims=True)
        rest = center - along * unit  # the minimiser stays in the span of a and this
        size = np.linalg.norm(rest, axis=-1, keepdims=True)
        weights = np.concatenate([length**2 + 1 / eta, 1 / eta], axis=-1)
        linear = np.concatenate([length * b + along / eta, size / eta], axis=-1)
        y = minimize_diagonal(weights, linear, radius)
        x = y[:, :1] * unit + y[:, 1:] * (rest / np.where(size > 0, size, 1.0))
        return x, self.gradient(x)


@dataclass(frozen=True, slots=True)
class AbsoluteResidual(Loss):
    """f(x) = |⟨a, x⟩ − b|, `features` a (R, d), `targets` b (R,); not smooth."""

    features: FloatArray
    targets: FloatArray

    def gradient(self, x: FloatArray) -> FloatArray:
        """The subgradient a sign(⟨a, x⟩ − b), with sign(0) = 0."""
        a = _aligned(self.features, x)
        targets = self.targets[:, None] if x.ndim == 3 else self.targets
        residuals = (a * x).sum(axis=-1) - targets
        return np.sign(residuals)[..., None] * a

    def implicit_step(
        self, center: FloatArray, step_size: FloatArray, radius: float
    ) -> tuple[FloatArray, FloatArray]:
        """m = s a: the largest s in [−1, 1] that leaves the residual of Π(z − η s a) nonnegative.

        The residual falls in s; s = −1 where it is negative for all. Bisected to rounding.
        """
        a, b = self.features, self.targets
        low, high = np.full_like(step_size, -1.0), np.ones_like(step_size)
        for _ in range(60):
            middle = 0.5 * (low + high)
            x = _onto_ball(center - step_size * middle * a, radius)
            positive = (a * x).sum(axis=-1, keepdims=True) >= b[:, None]
            low, high = np.where(positive, middle, low), np.where(positive, high, middle)
        s = 0.5 * (low + high)
        return _onto_ball(center - step_size * s * a, radius), s * a
