"""Optimistic online Newton step: mirror descent for exp-concave losses (Chen et al. 2024).

With β = ½ min{1/(4 G D), α}, optimism M_t = g_{t−1} (M_1 = 0), x̂_1 = x_1 = 0 and

    H_t = (1 + β G²/2) I + (β/2) Σ_{s < t} g_s g_sᵀ

round t plays x_t, is told g_t, and steps twice in the norm of H:

    x_t     = Π^{H_t}[x̂_t − H_t⁻¹ M_t]
    x̂_{t+1} = Π^{H_t}[x̂_t − H_t⁻¹ g_t]

On every run, for each u of the ball, with V_T = Σ ‖g_t − M_t‖² and S = Σ_{t ≥ 2} ‖x_t − x_{t−1}‖²,

    Σ ⟨g_t, x_t − u⟩ − (β/2) ⟨g_t, x_t − u⟩²
        ≤ (D²/2)(1 + β G²/2) + (16 d/β) ln(1 + β V_T/(8 d)) − S/4.

The I in H has the unit of a gradient per length: rescale a problem so that D and G are near 1.

References:
    Chen, Zhang, Tu, Zhao, Zhang. JMLR 25(178), 2024 (constants as recalled agree with the derived).
Differs from the paper: none known; the projection keeps a Cholesky factor of H, see `newton_step`.
"""

from __future__ import annotations

import math

import numpy as np

from ...core import checks
from ...core.environment import Environment, GradientFeedback
from ...core.guarantee import Guarantee, Pathwise
from ..online_newton import NewtonLearner, add_outer_products
from .instance import SEAInstance
from .optimistic_omd import REFERENCE
from .quantities import Quantity, SEAQuantities


def exp_concave_bound(
    q: SEAQuantities, *, dim: int, D: float, G: float, L: float, beta: float
) -> Quantity:
    """E R_T(u) ≤ (16/b) [ln(1 + b σ²_{1:T} + (b/2) Σ²_{1:T} + b G²/8) + ln(1 + 32 L²)] + c.

    b = β/d and c = (D²/2)(1 + βG²/2).
    """
    b = beta / dim
    growth = np.log1p(b * q.sigma2_cum + b / 2 * q.Sigma2_cum + b * G**2 / 8)
    return 16 / b * (growth + math.log1p(32 * L**2)) + D**2 / 2 * (1 + beta * G**2 / 2)


class OptimisticONS(NewtonLearner):
    """R copies of the optimistic online Newton step; see the module docstring.

    Args:
        dim: d >= 1.
        radius: r > 0 of the domain, the ball around 0.
        gradient_bound: G > 0, at least the norm of every gradient.
        smoothness: L >= 0 of the means.
        exp_concavity: α > 0 of the losses.
        beta: β > 0; None: ½ min{1/(4 G D), α}, the theory's, which adapts slowly: a few times α
            serves in practice. Above the theory's, the inequality on each run still holds, but its
            left side no longer bounds the regret.
    """

    def __init__(
        self,
        dim: int,
        *,
        radius: float,
        gradient_bound: float,
        smoothness: float,
        exp_concavity: float,
        beta: float | None = None,
    ) -> None:
        super().__init__(
            dim, radius=radius, gradient_bound=gradient_bound, exp_concavity=exp_concavity
        )
        self.smoothness = float(checks.array(smoothness, "smoothness", shape=(), low=0.0))
        self._proven = beta is None or beta <= self.beta
        self.beta = checks.positive(beta, "beta") if beta is not None else self.beta
        self.growth = self.beta / 2

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """x̂_1 = x_1 = 0, M_1 = 0, H_1 = (1 + β G²/2) I."""
        super().reset(n_replications, horizon, rng)
        self._reset_hessian(n_replications, 1 + self.beta * self.gradient_bound**2 / 2)
        self.leader = self.point
        self.optimism = np.zeros_like(self.point)

    def update(self, feedback: GradientFeedback) -> None:
        """x̂_{t+1} with H_t, then H_{t+1} and x_{t+1}."""
        g = feedback.gradients
        self._observe(g, self.optimism)
        self.leader = self._step(self.leader, g)
        add_outer_products(self.hessian, self.factor, g, self.growth)
        self.optimism = g
        self.point = self._step(self.leader, g)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """`exp_concave_bound`, in instances of the SEA model that it covers."""
        if not (self._proven and isinstance(environment, SEAInstance) and self.covers(environment)):
            return None
        G, L, quantities = self.gradient_bound, self.smoothness, environment.quantities
        return Guarantee(
            lambda t: exp_concave_bound(
                quantities(t), dim=self.dim, D=self.diameter, G=G, L=L, beta=self.beta
            ),
            kind="expected",
            assumptions=f"gradients at most G = {G:.4g}, losses α-exp-concave, "
            f"α = {self.exp_concavity:.4g}, means L-smooth, L = {L:.4g}",
            reference=REFERENCE,
        )

    def pathwise(self) -> Pathwise | None:
        """The inequality of the module docstring for the u that makes its left side largest."""
        if not self.within_bound():
            return None
        a, b = self.account, self.beta / self.dim
        start = self.diameter**2 / 2 * (1 + self.beta * self.gradient_bound**2 / 2)
        right = start + 16 / b * np.log1p(b / 8 * a.variation) - a.movement / 4
        return Pathwise(self.exp_concave_regret(), right, "OptimisticONS, path-wise: derived")
