"""Optimistic follow-the-regularised-leader, and its form for strongly convex losses.

The baselines of the SEA model (Sachs et al. 2022), with M_t = g_{t−1}, M_1 = 0, v_t = ‖g_t − M_t‖².

`OptimisticFTRL`, convex:

    x_t = argmin_X ⟨Σ_{s < t} g_s + M_t, x⟩ + ‖x‖²/η_t = Π[−(η_t/2)(Σ_{s < t} g_s + M_t)]
    η_t = D²/(ν + Σ_{s < t} η_s v_s),   ν = L D² + D G

`OptimisticFTL`, μ-strongly convex:

    x_t = argmin_X Σ_{s < t} ℓ_s(x) + ⟨M_t, x⟩,   ℓ_s(x) = ⟨g_s, x − x_s⟩ + (μ/2) ‖x − x_s‖²
        = Π[mean_{s < t} x_s − (Σ_{s < t} g_s + M_t)/(μ (t − 1))],   x_1 the centre

On every run, for each u ∈ X (FTRL: 0 ∈ X), with S = Σ_{t ≥ 2} ‖x_t − x_{t−1}‖²,

    FTRL   Σ ⟨g_t, x_t − u⟩ ≤ (3√2/2) D √V_T + ν + 6 D²G²/ν − (ν/(2 D²)) S
    FTL    Σ ⟨g_t, x_t − u⟩ − (μ/2) ‖x_t − u‖² ≤ Σ_t v_t/(2 μ t)

The theorems of the paper ask that each f_t be convex (FTRL) or strongly convex (FTL); their proofs
need it of the means F_t only, as here.

References:
    Sachs, Hadiji, van Erven, Guzmán. NeurIPS 2022, theorems 5 and 7.
Differs from the paper: where it prints 4 D²G²/ν, its proof gives 6 D²G²/ν, which is used here (see
`ftrl_bound`); its statement of theorem 7 lacks the term G D of its proof, which is here.
"""

from __future__ import annotations

import math

import numpy as np

from ...core import checks
from ...core.environment import Environment, GradientFeedback
from ...core.guarantee import Guarantee, Pathwise
from ...core.sets import ConvexSet
from ..gradient_learner import GradientLearner
from .instance import SEAInstance
from .quantities import Quantity, SEAQuantities


def ftrl_bound(
    q: SEAQuantities, *, D: float, G: float, L: float, nu: float, printed: bool = False
) -> Quantity:
    """E R_T(u) ≤ 6 D √σ²_{1:T} + 3√2 D √Σ²_{1:T} + 3√2 D G/2 + ν + (6 D²G² + 9 L²D⁴)/ν.

    Theorem 5 of Sachs et al.; `printed` gives the 4 that they print for the 6.
    """
    noise = 6 * D * np.sqrt(q.sigma2_cum) + 3 * math.sqrt(2) * D * np.sqrt(q.Sigma2_cum)
    tail = ((4 if printed else 6) * D**2 * G**2 + 9 * L**2 * D**4) / nu
    return noise + 1.5 * math.sqrt(2) * D * G + nu + tail


def ftl_bound(
    q: SEAQuantities, rounds: Quantity, *, D: float, G: float, L: float, mu: float
) -> Quantity:
    """E R_T(u) ≤ (1/μ) Σ_t (8 σ²_max + 4 Σ_t²)/t + (4 D²L²/μ) ln(1 + 16 L/μ) + G D.

    Theorem 7 of Sachs et al. with the last term of their proof; `rounds` is T. The harmonic sum is
    bounded by 1 + ln T.
    """
    moving = 8 * q.sigma2_max * (1 + np.log(rounds)) + 4 * q.Sigma2_over_rounds
    return moving / mu + 4 * D**2 * L**2 / mu * math.log1p(16 * L / mu) + G * D


class OptimisticFTRL(GradientLearner):
    """R copies of optimistic FTRL; see the module docstring.

    Args:
        dim: d >= 1.
        radius: r > 0 if the domain is the ball of this radius around 0.
        domain: another bounded convex set that contains 0, instead of `radius`.
        gradient_bound: G > 0, at least the norm of every gradient.
        smoothness: L >= 0 of the means.
        nu: ν > 0; None: L D² + D G.
    """

    def __init__(
        self,
        dim: int,
        *,
        radius: float | None = None,
        domain: ConvexSet | None = None,
        gradient_bound: float,
        smoothness: float,
        nu: float | None = None,
    ) -> None:
        bound = checks.positive(gradient_bound, "gradient_bound")
        super().__init__(dim, radius=radius, domain=domain, gradient_bound=bound)
        if not self.domain.contains(np.zeros(self.dim)):
            raise ValueError(f"domain must contain 0 for FTRL, got {domain!r}; shift it")
        self.smoothness = float(checks.array(smoothness, "smoothness", shape=(), low=0.0))
        nu = checks.positive(nu, "nu", optional=True)
        D = self.diameter
        self.nu = self.smoothness * D**2 + D * gradient_bound if nu is None else nu

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """x_1 = Π(0), M_1 = 0."""
        super().reset(n_replications, horizon, rng)
        self.point = np.zeros_like(self.point)
        self.optimism = np.zeros_like(self.point)
        self.scale = np.full((n_replications, 1), self.nu)  # ν + Σ_{s < t} η_s v_s = D²/η_t

    def update(self, feedback: GradientFeedback) -> None:
        """η_{t+1} and x_{t+1}."""
        g, a, D = feedback.gradients, self.account, self.diameter
        a.observe(self.point, g, self.optimism)
        self.scale = self.scale + D**2 / self.scale * a.error[:, None]
        self.optimism = g
        self.point = self.descend(np.zeros_like(g), D**2 / (2 * self.scale), a.gradient_sum + g)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """`ftrl_bound`, in instances of the SEA model that it covers."""
        if not (isinstance(environment, SEAInstance) and self.covers(environment)):
            return None
        D, G, L, quantities = (
            self.diameter,
            self.gradient_bound,
            self.smoothness,
            environment.quantities,
        )
        return Guarantee(
            lambda t: ftrl_bound(quantities(t), D=D, G=G, L=L, nu=self.nu),
            kind="expected",
            assumptions=f"gradients at most G = {G:.4g}, means convex and L-smooth, L = {L:.4g}",
            reference="Sachs et al., NeurIPS 2022, theorem 5, with 6 D²G²/ν",
        )

    def pathwise(self) -> Pathwise | None:
        """The inequality of the module docstring for the u that makes its left side largest."""
        if not self.within_bound():
            return None
        a, D, G, nu = self.account, self.diameter, self.gradient_bound, self.nu
        right = 1.5 * math.sqrt(2) * D * np.sqrt(a.variation) + nu + 6 * D**2 * G**2 / nu
        right -= nu / (2 * D**2) * a.movement
        return Pathwise(self.linear_regret(), right, "Sachs et al. 2022, theorem 5 (recomputed)")


class OptimisticFTL(GradientLearner):
    """R copies of optimistic follow-the-leader; see the module docstring.

    Args:
        dim: d >= 1.
        radius: r > 0 if the domain is the ball of this radius around 0.
        domain: another bounded convex set, instead of `radius`.
        gradient_bound: G > 0, at least the norm of every gradient; only the bound needs it.
        smoothness: L >= 0 of the means; only the bound needs it.
        strong_convexity: μ > 0 of the means.
    """

    def __init__(
        self,
        dim: int,
        *,
        radius: float | None = None,
        domain: ConvexSet | None = None,
        gradient_bound: float,
        smoothness: float,
        strong_convexity: float,
    ) -> None:
        bound = checks.positive(gradient_bound, "gradient_bound")
        super().__init__(dim, radius=radius, domain=domain, gradient_bound=bound)
        self.smoothness = float(checks.array(smoothness, "smoothness", shape=(), low=0.0))
        self.strong_convexity = checks.positive(strong_convexity, "strong_convexity")

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """x_1 is the centre, M_1 = 0."""
        super().reset(n_replications, horizon, rng)
        self.optimism = np.zeros_like(self.point)

    def update(self, feedback: GradientFeedback) -> None:
        """x_{t+1}."""
        g, a = feedback.gradients, self.account
        a.observe(self.point, g, self.optimism)
        self.optimism = g
        step = np.full((len(g), 1), 1 / (self.strong_convexity * a.rounds))
        self.point = self.descend(a.point_sum / a.rounds, step, a.gradient_sum + g)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """`ftl_bound`, in instances of the SEA model that it covers."""
        if not (isinstance(environment, SEAInstance) and self.covers(environment)):
            return None
        D, G, L, mu = self.diameter, self.gradient_bound, self.smoothness, self.strong_convexity
        quantities = environment.quantities
        return Guarantee(
            lambda t: ftl_bound(quantities(t), t, D=D, G=G, L=L, mu=mu),
            kind="expected",
            assumptions=f"gradients at most G = {G:.4g}, means L-smooth, L = {L:.4g}, and "
            f"μ-strongly convex, μ = {mu:.4g}",
            reference="Sachs et al., NeurIPS 2022, theorem 7 and its proof",
        )

    def pathwise(self) -> Pathwise | None:
        """The inequality of the module docstring for the u that makes its left side largest."""
        mu = self.strong_convexity
        right = self.account.harmonic_variation / (2 * mu)
        return Pathwise(self.curved_regret(mu), right, "Sachs et al. 2022, lemma 16")
