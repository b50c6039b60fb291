"""SCRiBLe: linear bandits on a convex body, by FTRL with a self-concordant barrier.

With a ν-self-concordant barrier R of the body X ⊂ ℝᵈ (`barriers`), round t is

    x_t      = argmin_{x ∈ X} η ⟨L̂_{t−1}, x⟩ + R(x)
    λ, e     = eigenvalue and unit eigenvector number i of ∇²R(x_t), i uniform on 1, ..., d; ε = ±1
    play x_t + ε λ^{−½} e, on Dikin's ellipsoid; told y_t = ⟨θ_t, x_t + ε λ^{−½} e⟩
    L̂_t      = L̂_{t−1} + ℓ̂_t,   ℓ̂_t = d y_t ε λ^{½} e            (ℓ̂ unbiased for θ_t; E play = x_t)

For |y| <= 1 and η d < 1, expected regret against any point fixed in advance, for all t:

    min_{0 < α ≤ 1} (ν/η) ln(1/α) + 2 α t + (t/η) ω*(η d),    ω*(h) = −h − ln(1 − h),

where α = min{1, ν/(2 η t)} is best.

Derivation. ‖ℓ̂_t‖_{x_t,*} = d |y_t| whatever i and ε. With F_t = η ⟨L̂_t, ·⟩ + R, whose gradient at
x_t is η ℓ̂_t, the regret of FTRL on the estimates is

    Σ ⟨ℓ̂_s, x_s − u⟩ <= (R(u) − R(x_1))/η + (1/η) Σ F_s(x_s) − min F_s

and F_s(x_s) − min F_s <= ω*(η d |y_s|), fact (2) of `barriers`. This holds on every run, for the u
that makes the inequality tightest: it is the path-wise inequality. For a comparator u* take
u = (1 − α) u* + α x_1, fact (3), at a cost of 2 α t.

η = min{√(2 ν ln T/T), ½}/d. As ω*(h) <= h²/(2 (1 − h)), and with α = 1/T, this gives after T rounds
at most (3/√2) d √(ν T ln T) + 2 if T >= 8 ν ln T, and d √(2 ν T ln T) to leading order.

References:
    Abernethy, Hazan, Rakhlin. Competing in the dark: an efficient algorithm for bandit linear
    optimization. COLT 2008 (16 d √(ν T ln T), with another η; the constants here are derived).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...core import checks
from ...core.checks import FloatArray
from ...core.environment import Environment
from ...core.guarantee import Guarantee, Pathwise
from ...core.learner import Learner
from ...core.random import UniformStream
from ...core.sets import Ball, ConvexSet
from .barriers import barrier_of, self_concordant_gap
from .convex_bodies import ConvexBodyBandit, PointFeedback


class SCRiBLe(Learner):
    """R copies of SCRiBLe; see the module docstring.

    Args:
        dim: d >= 1.
        domain: X, a ball, a box or a polytope with an interior; None: the unit ball.
        learning_rate: η > 0; None: min{√(2 ν ln T/T), ½}/d for the horizon T given to `reset`.

    Attributes:
        barrier: R.
        center: x_t, (R, d).
        cumulative_losses: L̂, (R, d).
    """

    def __init__(
        self, dim: int, *, domain: ConvexSet | None = None, learning_rate: float | None = None
    ) -> None:
        self.dim = checks.integer(dim, "dim", minimum=1)
        self.domain = Ball() if domain is None else domain
        self.barrier = barrier_of(self.domain, self.dim)
        self.learning_rate = checks.positive(learning_rate, "learning_rate", optional=True)
        self.horizon: int | None = None

    def rate(self, horizon: Any) -> Any:
        """η of a learner that is reset for `horizon` rounds."""
        if self.learning_rate is not None:
            return self.learning_rate
        T = np.maximum(horizon, 2)
        return np.minimum(np.sqrt(2 * self.barrier.parameter * np.log(T) / T), 0.5) / self.dim

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """L̂_0 = 0 and x_1."""
        self.horizon = checks.integer(horizon, "horizon", minimum=1)
        self.eta = float(self.rate(horizon))
        self.center = np.tile(self.barrier.start, (n_replications, 1))
        self.cumulative_losses = np.zeros_like(self.center)
        self._incurred = np.zeros(n_replications)  # Σ ⟨ℓ̂, x⟩
        self._stability = np.zeros(n_replications)  # Σ ω*(η d |y|)/η
        self._uniforms = UniformStream(rng, (n_replications,))

    def act(self) -> FloatArray:
        """A point of Dikin's ellipsoid, (R, d)."""
        index, negative = np.divmod((2 * self.dim * self._uniforms.draw()).astype(np.int64), 2)
        eigenvalue, axis = self.barrier.axis(self.center, index)
        scale = np.sqrt(eigenvalue)[:, None]
        step = np.where(negative[:, None] == 1, -axis, axis)  # ε e
        self._direction = scale * step
        return self.center + step / scale

    def update(self, feedback: PointFeedback) -> None:
        """L̂_t, then x_{t+1}."""
        y = feedback.losses
        estimate = self.dim * y[:, None] * self._direction
        self._incurred += np.einsum("rd,rd->r", estimate, self.center)
        with np.errstate(invalid="ignore", divide="ignore"):  # nan and ∞ from η d |y| = 1 on
            self._stability += self_concordant_gap(self.eta * self.dim * np.abs(y)) / self.eta
        self.cumulative_losses += estimate
        self.center = self.barrier.minimize(self.eta * self.cumulative_losses, self.center)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """min over α of (ν/η) ln(1/α) + 2 α t + t ω*(η d)/η; ω*(h) = −h − ln(1 − h).

        Before `reset`, for a learner tuned for t. None if η d >= 1, and in other games than
        `ConvexBodyBandit`.
        """
        if not isinstance(environment, ConvexBodyBandit):
            return None
        horizon, nu, d = self.horizon, self.barrier.parameter, self.dim
        if self.learning_rate is not None and self.learning_rate * d >= 1:
            return None

        def bound(t: Any) -> Any:
            eta = self.rate(t if horizon is None else horizon)
            alpha = np.minimum(1.0, nu / (2 * eta * t))
            stability = t * self_concordant_gap(eta * d) / eta
            return -nu / eta * np.log(alpha) + 2 * alpha * t + stability

        return Guarantee(
            bound,
            kind="expected",
            assumptions="losses ⟨θ, x⟩ in [-1, 1] on the domain, not depending on the learner's "
            "actions",
            reference="derived, after Abernethy, Hazan, Rakhlin 2008",
        )

    def pathwise(self) -> Pathwise | None:
        """FTRL's inequality on the estimates, maximised over u; None once η d |y| >= 1."""
        if not np.isfinite(self._stability).all():
            return None
        rise = self.barrier.value(self.center) - self.barrier.value(self.barrier.start[None])
        regularized = np.einsum("rd,rd->r", self.cumulative_losses, self.center) + rise / self.eta
        return Pathwise(
            self._incurred - regularized,
            self._stability.copy(),
            "max over u of the regret on the estimates less (R(u) − R(x_1))/η: derived, after "
            "Abernethy, Hazan, Rakhlin 2008",
        )
