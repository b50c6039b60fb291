"""The online Newton step (ONS), for exp-concave losses on a ball.

    H_t = H_{t−1} + g_t g_tᵀ,   H_0 = I/(γ² D²)
    x_{t+1} = Π^{H_t}[x_t − H_t⁻¹ g_t/γ],   Π^H(y) = argmin_{‖x‖ ≤ r} ‖x − y‖_H

with γ = ½ min{1/(4 G D), α}. On every run, for each u of the ball,

    Σ ⟨g_t, x_t − u⟩ − (γ/2) ⟨g_t, x_t − u⟩² ≤ (1/(2γ)) (Σ_t g_tᵀ H_t⁻¹ g_t + 1)
                                              ≤ (1/(2γ)) (ln det H_T/H_0 + 1),

and the left side bounds the regret if the losses are α-exp-concave.

References:
    Hazan, Agarwal, Kale. Logarithmic regret algorithms for online convex optimization. Machine
    Learning 69, 2007.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ..core import checks
from ..core.checks import FloatArray
from ..core.environment import Environment, GradientFeedback
from ..core.guarantee import Guarantee, Pathwise
from ..core.quadratics import minimize_on_ball, quadratic
from .gradient_learner import GradientLearner


@njit(cache=True, error_model="numpy")
def add_outer_products(
    hessians: FloatArray, factors: FloatArray, gradients: FloatArray, weight: float
) -> None:
    """H += weight g gᵀ and its Cholesky factor L, H = L Lᵀ, row by row of (R, d, d), (R, d)."""
    d = gradients.shape[1]
    for r in range(gradients.shape[0]):
        H, L, g = hessians[r], factors[r], gradients[r]
        for i in range(d):
            for j in range(i + 1):
                H[i, j] += weight * g[i] * g[j]
                H[j, i] = H[i, j]
        for j in range(d):
            total = H[j, j]
            for k in range(j):
                total -= L[j, k] * L[j, k]
            L[j, j] = math.sqrt(total)
            for i in range(j + 1, d):
                total = H[i, j]
                for k in range(j):
                    total -= L[i, k] * L[j, k]
                L[i, j] = total / L[j, j]


@njit(cache=True, error_model="numpy")
def newton_step(
    hessians: FloatArray,
    factors: FloatArray,
    centers: FloatArray,
    gradients: FloatArray,
    scale: float,
    radius: float,
    out: FloatArray,
) -> None:
    """out = Π^H[c − scale H⁻¹ g] on the ball of `radius`, row by row.

    Outside the ball the projection is (H + ν I)⁻¹ b with b = H c − scale g and the ν > 0 that puts
    it on the sphere: Newton's method on 1/‖x(ν)‖ from ν = 0, which rises without overshooting.
    """
    d = centers.shape[1]
    L, b, x, y = np.empty((d, d)), np.empty(d), np.empty(d), np.empty(d)
    for r in range(centers.shape[0]):
        H = hessians[r]
        for i in range(d):  # y = scale L⁻¹ g, x = c − L⁻ᵀ y
            total = scale * gradients[r, i]
            for k in range(i):
                total -= factors[r, i, k] * y[k]
            y[i] = total / factors[r, i, i]
        norm2 = 0.0
        for i in range(d - 1, -1, -1):
            total = y[i]
            for k in range(i + 1, d):
                total -= factors[r, k, i] * b[k]
            b[i] = total / factors[r, i, i]
            x[i] = centers[r, i] - b[i]
            norm2 += x[i] * x[i]
        if norm2 > radius * radius:
            for i in range(d):
                total = -scale * gradients[r, i]
                for k in range(d):
                    total += H[i, k] * centers[r, k]
                b[i] = total
            nu = 0.0
            for i in range(d):
                for j in range(i + 1):
                    L[i, j] = factors[r, i, j]
            for _ in range(100):
                norm = math.sqrt(norm2)
                if norm <= radius * (1 + 1e-15):
                    break
                square = 0.0  # ‖L⁻¹ x‖²
                for i in range(d):
                    total = x[i]
                    for k in range(i):
                        total -= L[i, k] * y[k]
                    y[i] = total / L[i, i]
                    square += y[i] * y[i]
                nu += (norm / radius - 1) * norm2 / square
                for j in range(d):  # L Lᵀ = H + ν I
                    total = H[j, j] + nu
                    for k in range(j):
                        total -= L[j, k] * L[j, k]
                    L[j, j] = math.sqrt(total)
                    for i in range(j + 1, d):
                        total = H[i, j]
                        for k in range(j):
                            total -= L[i, k] * L[j, k]
                        L[i, j] = total / L[j, j]
                for i in range(d):
                    total = b[i]
                    for k in range(i):
                        total -= L[i, k] * y[k]
                    y[i] = total / L[i, i]
                last = norm2
                norm2 = 0.0
                for i in range(d - 1, -1, -1):
                    total = y[i]
                    for k in range(i + 1, d):
                        total -= L[k, i] * x[k]
                    x[i] = total / L[i, i]
                    norm2 += x[i] * x[i]
                if norm2 >= last:  # rounding stops the descent
                    break
        for i in range(d):
            out[r, i] = x[i]


class NewtonLearner(GradientLearner):
    """What the learners with second-order steps on a ball share: H, its factor, and the account.

    Attributes:
        hessian: H, (R, d, d): a multiple of I, and `growth` times Σ g gᵀ.
        factor: its lower Cholesky factor.
        beta: β = ½ min{1/(4 G D), α}: f(x) − f(u) ≤ ⟨g, x − u⟩ − (β/2) ⟨g, x − u⟩² for
            α-exp-concave f.
    """

    growth = 1.0

    def __init__(
        self, dim: int, *, radius: float, gradient_bound: float, exp_concavity: float
    ) -> None:
        bound = checks.positive(gradient_bound, "gradient_bound")
        super().__init__(dim, radius=radius, gradient_bound=bound)
        self.exp_concavity = checks.positive(exp_concavity, "exp_concavity")
        self.beta = 0.5 * min(1 / (4 * gradient_bound * self.diameter), self.exp_concavity)

    def _reset_hessian(self, n_replications: int, weight: float) -> None:
        """H = weight I, and the account's sums."""
        identity = np.broadcast_to(np.eye(self.dim), (n_replications, self.dim, self.dim))
        self.hessian, self.factor = weight * identity, math.sqrt(weight) * identity
        self._start = self.hessian[0].copy()
        self.gradient_inner = np.zeros((n_replications, self.dim))  # Σ ⟨g, x⟩ g
        self.square_inner = np.zeros(n_replications)  # Σ ⟨g, x⟩²

    def _observe(self, gradients: FloatArray, optimism: FloatArray) -> None:
        self.account.observe(self.point, gradients, optimism)
        inner = np.einsum("rd,rd->r", gradients, self.point)
        self.square_inner += inner**2
        self.gradient_inner += inner[:, None] * gradients

    def _step(self, center: FloatArray, gradients: FloatArray, scale: float = 1.0) -> FloatArray:
        """Π^H[c − scale H⁻¹ g]."""
        out = np.empty_like(center)
        newton_step(self.hessian, self.factor, center, gradients, scale, self.radius, out)
        return out

    def exp_concave_regret(self) -> FloatArray:
        """max_{u ∈ X} Σ ⟨g_s, x_s − u⟩ − (β/2) ⟨g_s, x_s − u⟩², (R,)."""
        a, beta = self.account, self.beta
        hessian = beta / self.growth * (self.hessian - self._start)  # β Σ g gᵀ
        linear = beta * self.gradient_inner - a.gradient_sum
        u = minimize_on_ball(hessian, linear, self.radius)
        return a.inner - beta / 2 * self.square_inner - quadratic(hessian, linear, u)


class ONS(NewtonLearner):
    """R copies of the online Newton step; see the module docstring.

    Args:
        dim: d >= 1.
        radius: r > 0 of the domain, the ball around 0.
        gradient_bound: G > 0, at least the norm of every gradient.
        exp_concavity: α > 0 of the losses.
    """

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """x_1 = 0, H_0 = I/(γ² D²)."""
        super().reset(n_replications, horizon, rng)
        self._reset_hessian(n_replications, 1 / (self.beta * self.diameter) ** 2)
        self._no_optimism = np.zeros_like(self.point)

    def update(self, feedback: GradientFeedback) -> None:
        """H_t, then x_{t+1}."""
        g = feedback.gradients
        self._observe(g, self._no_optimism)
        add_outer_products(self.hessian, self.factor, g, self.growth)
        self.point = self._step(self.point, g, 1 / self.beta)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """(1/(2γ)) (d ln(1 + γ² D² G² t/d) + 1)."""
        if not self.covers(environment):
            return None
        gamma, d, scale = self.beta, self.dim, self.beta * self.diameter * self.gradient_bound
        return Guarantee(
            lambda t: (d * np.log1p(scale**2 * t / d) + 1) / (2 * gamma),
            kind="expected",
            assumptions=f"gradients at most G = {self.gradient_bound:.4g}, losses α-exp-concave, "
            f"α = {self.exp_concavity:.4g}",
            reference="Hazan, Agarwal, Kale, Machine Learning 69, 2007",
        )

    def pathwise(self) -> Pathwise | None:
        """The inequality of the module docstring for the u that makes its left side largest."""
        start = -2 * self.dim * math.log(self.beta * self.diameter)  # ln det H_0
        diagonal = np.diagonal(self.factor, axis1=1, axis2=2)
        growth = 2 * np.log(diagonal).sum(axis=-1) - start
        right = (growth + 1) / (2 * self.beta)
        return Pathwise(self.exp_concave_regret(), right, "Hazan, Agarwal, Kale 2007")
