"""AdaGrad: gradient descent with a step for each coordinate, or each direction.

Diagonal, on a box with widths D_i: AdaGradNorm in each coordinate,

    x_{t+1,i} = Π[x_{t,i} − η_{t,i} g_{t,i}],   η_{t,i} = D_i/√(2 Σ_{s ≤ t} g_{s,i}²).

Full, on a ball of diameter D around 0:

    H_t = (Σ_{s ≤ t} g_s g_sᵀ)^{1/2},   y = x_t − (D/√2) H_t⁺ g_t,
    x_{t+1} = argmin_{‖x‖ ≤ r} (x − y)ᵀ H_t (x − y),

x_1 the centre: as x_1, ..., x_t and y lie in the span of g_1, ..., g_t, so does x_{t+1}, the one
minimiser there. In one dimension both are AdaGradNorm. No bound on the gradients is needed;
gradients times a number are played alike. On every run, for each u of the domain,

    diagonal   Σ ⟨g_t, x_t − u⟩ ≤ √2 Σ_i D_i √(Σ_t g_{t,i}²)
    full       Σ ⟨g_t, x_t − u⟩ ≤ √2 D tr H_T

Proof of the second, for steps η (η = D/√2 at the end). The projection does not increase the
distance ‖·‖_{H_t} to u, so that

    Σ ⟨g_t, x_t − u⟩ ≤ (1/(2η)) Σ_t (‖x_t − u‖²_{H_t} − ‖x_{t+1} − u‖²_{H_t})
                       + (η/2) Σ_t g_tᵀ H_t⁺ g_t.

With H_0 = 0, H_t ≥ H_{t−1} (the square root is operator monotone) and λ_max ≤ tr, the first sum is
at most Σ_t ‖x_t − u‖²_{H_t − H_{t−1}} ≤ D² tr H_T. As A → tr A^{1/2} is concave with gradient
½ A^{−1/2}, tr H_{t−1} ≤ tr H_t − ½ g_tᵀ H_t⁺ g_t, and the second sum is at most 2 tr H_T.

References:
    Duchi, Hazan, Singer. Adaptive subgradient methods for online learning and stochastic
    optimization. JMLR 12, 2011.
Differs from Duchi et al.: nothing is added to H_t, hence H_t⁺; our constants, as derived above.
"""

from __future__ import annotations

import math

import numpy as np

from ..core import checks
from ..core.environment import Environment, GradientFeedback
from ..core.guarantee import Guarantee, Pathwise
from ..core.quadratics import minimize_diagonal
from ..core.sets import Box
from .gradient_learner import GradientLearner, played_on

_ROUNDING = 64 * np.finfo(np.float64).eps  # times d: relative error of a computed singular value


class AdaGradDiagonal(GradientLearner):
    """R copies of AdaGrad with a step for each coordinate; see the module docstring.

    Args:
        dim: d >= 1.
        domain: a box.
    """

    def __init__(self, dim: int, *, domain: Box) -> None:
        if not isinstance(domain, Box):
            raise TypeError(f"domain must be a Box, got {domain!r}; take AdaGradFull on a ball")
        domain.center(checks.integer(dim, "dim", minimum=1))  # refuses another dimension
        low, high = (np.broadcast_to(bound, dim) for bound in (domain.low, domain.high))
        super().__init__(dim, domain=Box(low, high))
        self.widths = high - low  # D_i, (d,)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """x_1 is the centre of the box."""
        super().reset(n_replications, horizon, rng)
        self.squares = np.zeros_like(self.point)  # Σ g_i², (R, d)
        self._no_optimism = np.zeros_like(self.point)

    def update(self, feedback: GradientFeedback) -> None:
        """x_{t+1}; a coordinate stays while its gradients are 0."""
        g = feedback.gradients
        self.account.observe(self.point, g, self._no_optimism)
        self.squares += g * g
        total = np.sqrt(2 * self.squares)
        step = np.divide(self.widths, total, out=np.zeros_like(total), where=total > 0)
        self.point = self.domain.project(self.point - step * g)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """√2 min{Σ_i D_i G_i, D G} √t, where gradients are known to be at most G, G_i."""
        G = getattr(environment, "gradient_bound", None)
        if G is None or not played_on(environment, self.domain, self.dim):
            return None
        scale = self.diameter * G  # Σ_i D_i √(Σ_t g_i²) ≤ √(Σ D_i²) √(Σ_t ‖g_t‖²)
        coordinates = getattr(environment, "coordinate_bounds", None)
        if coordinates is not None:
            scale = min(scale, float(self.widths @ coordinates))
        return Guarantee(
            lambda t: math.sqrt(2) * scale * np.sqrt(t),
            kind="expected" if environment.adversary == "stochastic" else "pathwise",
            assumptions=f"gradients at most G = {G:.4g}, means convex",
            reference="Duchi, Hazan, Singer, JMLR 12, 2011, with the steps of Streeter, McMahan",
        )

    def pathwise(self) -> Pathwise | None:
        """The inequality of the module docstring for the u that makes its left side largest."""
        right = math.sqrt(2) * np.sqrt(self.squares) @ self.widths
        return Pathwise(self.linear_regret(), right, "Duchi, Hazan, Singer 2011")


class AdaGradFull(GradientLearner):
    """R copies of AdaGrad with a full matrix; see the module docstring.

    A round costs a singular value decomposition of a matrix (d + 1, d) in each replication.

    Args:
        dim: d >= 1.
        radius: r > 0 of the domain, the ball around 0.
    """

    def __init__(self, dim: int, *, radius: float) -> None:
        super().__init__(dim, radius=radius)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """x_1 = 0, H_0 = 0."""
        super().reset(n_replications, horizon, rng)
        self.eigenvalues = np.zeros((n_replications, self.dim))  # of H_t
        self._factor = np.zeros((n_replications, self.dim, self.dim))  # F, FᵀF = Σ g gᵀ = H_t²
        self._no_optimism = np.zeros_like(self.point)

    def update(self, feedback: GradientFeedback) -> None:
        """H_t from the singular values of its factor and g_t, then x_{t+1} in its eigenbasis."""
        g = feedback.gradients
        self.account.observe(self.point, g, self._no_optimism)
        rows = np.concatenate([self._factor, g[:, None]], axis=1)  # (R, d + 1, d)
        _, s, basis = np.linalg.svd(rows, full_matrices=False)  # the rows of basis: eigenvectors
        self.eigenvalues, self._factor = s, s[:, :, None] * basis
        x, c = (np.einsum("rij,rj->ri", basis, v) for v in (self.point, g))
        live = s > _ROUNDING * self.dim * s[:, :1]
        eta = self.diameter / math.sqrt(2)
        y = np.where(live, x - eta * np.divide(c, s, out=np.zeros_like(c), where=live), 0.0)
        largest = s[:, :1]
        weights = np.divide(s, largest, out=np.zeros_like(s), where=live)
        z = minimize_diagonal(weights, weights * y, self.radius)
        self.point = np.einsum("rij,ri->rj", basis, z)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """√2 D G √(min{d, t} t), as tr H ≤ √(rank H · tr H²); for gradients of at most G."""
        G = getattr(environment, "gradient_bound", None)
        if G is None or not self.covers(environment):
            return None
        return Guarantee(
            lambda t: math.sqrt(2) * self.diameter * G * np.sqrt(np.minimum(self.dim, t) * t),
            kind="expected" if environment.adversary == "stochastic" else "pathwise",
            assumptions=f"gradients at most G = {G:.4g}, means convex",
            reference="derived, after Duchi, Hazan, Singer, JMLR 12, 2011",
        )

    def pathwise(self) -> Pathwise | None:
        """The inequality of the module docstring for the u that makes its left side largest."""
        right = math.sqrt(2) * self.diameter * self.eigenvalues.sum(axis=1)
        return Pathwise(self.linear_regret(), right, "derived, after Duchi, Hazan, Singer 2011")
