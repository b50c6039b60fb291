"""Online gradient descent and its scale-free form.

    x_{t+1} = Π[x_t − η_t g_t]

    OGD, convex              η_t = D/(G √t)                  Σ ⟨g_t, x_t − u⟩ ≤ (3/2) D G √T
    OGD, constant step       η_t = η                         Σ ⟨g_t, x_t − u⟩ ≤ D²/(2 η)
                                                                 + (η/2) Σ_t ‖g_t‖²
    OGD, λ-strongly convex   η_t = 1/(λ t)                   Σ ⟨g_t, x_t − u⟩ − (λ/2) ‖x_t − u‖²
                                                                 ≤ Σ_t ‖g_t‖²/(2 λ t)
    AdaGradNorm              η_t = D/√(2 Σ_{s ≤ t} ‖g_s‖²)   Σ ⟨g_t, x_t − u⟩ ≤ √2 D √(Σ_t ‖g_t‖²)

on every run, for each u in the domain X, which has diameter D.

References:
    Zinkevich. Online convex programming and generalized infinitesimal gradient ascent. ICML 2003.
    Hazan, Agarwal, Kale. Logarithmic regret algorithms for online convex optimization. Machine
    Learning 69, 2007.
    Streeter, McMahan. Less regret via online conditioning. 2010 (AdaGradNorm).
"""

from __future__ import annotations

import math

import numpy as np

from ..core import checks
from ..core.checks import FloatArray
from ..core.environment import Environment, GradientFeedback
from ..core.guarantee import Guarantee, Pathwise
from ..core.sets import ConvexSet
from .gradient_learner import GradientLearner


class OGD(GradientLearner):
    """R copies of online gradient descent; see the module docstring.

    Args:
        dim: d >= 1.
        radius: r > 0 if the domain is the ball of this radius around 0.
        domain: another bounded convex set, instead of `radius`.
        gradient_bound: G > 0, at least the norm of every gradient; needed unless `step_size` is
            given.
        strong_convexity: λ > 0 of the losses, for steps 1/(λ t).
        step_size: η > 0, for constant steps; give this or `strong_convexity`, or neither for steps
            D/(G √t).
    """

    def __init__(
        self,
        dim: int,
        *,
        radius: float | None = None,
        domain: ConvexSet | None = None,
        gradient_bound: float | None = None,
        strong_convexity: float | None = None,
        step_size: float | None = None,
    ) -> None:
        self.constant_step = checks.positive(step_size, "step_size", optional=True)
        if gradient_bound is not None or step_size is None:
            gradient_bound = checks.positive(gradient_bound, "gradient_bound")
        super().__init__(dim, radius=radius, domain=domain, gradient_bound=gradient_bound)
        self.strong_convexity = checks.positive(strong_convexity, "strong_convexity", optional=True)
        if step_size is not None and strong_convexity is not None:
            raise ValueError(
                f"step_size and strong_convexity must not both be given, got {step_size} and "
                f"{strong_convexity}; each sets the steps"
            )

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """x_1 is the centre of the domain."""
        super().reset(n_replications, horizon, rng)
        self._no_optimism = np.zeros_like(self.point)

    def step_size(self, t: int) -> FloatArray:
        """η_t, (R, 1)."""
        if self.constant_step is not None:
            eta = self.constant_step
        elif self.strong_convexity is not None:
            eta = 1 / (self.strong_convexity * t)
        else:
            eta = self.diameter / (self.gradient_bound * math.sqrt(t))
        return np.full((len(self.point), 1), eta)

    def update(self, feedback: GradientFeedback) -> None:
        """x_{t+1} = Π[x_t − η_t g_t]."""
        g = feedback.gradients
        self.account.observe(self.point, g, self._no_optimism)
        self.point = self.descend(self.point, self.step_size(self.account.rounds), g)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """(3/2) D G √t, G² (1 + ln t)/(2λ) or D²/(2η) + η G² t/2, where it `covers` the game.

        Without a G of its own, a learner of constant step takes that of the environment.
        """
        G, lam, eta = self.gradient_bound, self.strong_convexity, self.constant_step
        if math.isinf(G):
            G = getattr(environment, "gradient_bound", math.inf)
        if math.isinf(G) or not self.covers(environment):
            return None
        if eta is not None:
            return Guarantee(
                lambda t: self.diameter**2 / (2 * eta) + eta / 2 * G**2 * t,
                kind="expected",
                assumptions=f"gradients at most G = {G:.4g}, means convex",
                reference="Zinkevich, ICML 2003",
            )
        if lam is None:
            return Guarantee(
                lambda t: 1.5 * self.diameter * G * np.sqrt(t),
                kind="expected",
                assumptions=f"gradients at most G = {G:.4g}, means convex",
                reference="Zinkevich, ICML 2003",
            )
        return Guarantee(
            lambda t: G**2 / (2 * lam) * (1 + np.log(t)),
            kind="expected",
            assumptions=f"gradients at most G = {G:.4g}, means λ-strongly convex, λ = {lam:.4g}",
            reference="Hazan, Agarwal, Kale, Machine Learning 69, 2007",
        )

    def pathwise(self) -> Pathwise | None:
        """The inequality of the module docstring for the u that makes its left side largest."""
        a, lam, eta = self.account, self.strong_convexity, self.constant_step
        if eta is not None:
            right = self.diameter**2 / (2 * eta) + eta / 2 * a.variation
            return Pathwise(self.linear_regret(), right, "Zinkevich 2003")
        if lam is not None:
            right = a.harmonic_variation / (2 * lam)
            return Pathwise(self.curved_regret(lam), right, "Hazan, Agarwal, Kale 2007")
        if not self.within_bound():
            return None
        bound = 1.5 * self.diameter * self.gradient_bound * math.sqrt(a.rounds)
        return Pathwise(self.linear_regret(), np.full_like(a.inner, bound), "Zinkevich 2003")


class AdaGradNorm(GradientLearner):
    """R copies of gradient descent with steps D/√(2 Σ ‖g_s‖²); no gradient bound is needed.

    Args:
        dim: d >= 1.
        radius: r > 0 if the domain is the ball of this radius around 0.
        domain: another bounded convex set, instead of `radius`.
    """

    def __init__(
        self, dim: int, *, radius: float | None = None, domain: ConvexSet | None = None
    ) -> None:
        super().__init__(dim, radius=radius, domain=domain)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """x_1 is the centre of the domain."""
        super().reset(n_replications, horizon, rng)
        self._no_optimism = np.zeros_like(self.point)

    def update(self, feedback: GradientFeedback) -> None:
        """x_{t+1} = Π[x_t − η_t g_t]; x_{t+1} = x_t while all gradients are 0."""
        g = feedback.gradients
        self.account.observe(self.point, g, self._no_optimism)
        total = np.sqrt(2 * self.account.variation)[:, None]
        step = np.divide(self.diameter, total, out=np.zeros_like(total), where=total > 0)
        self.point = self.descend(self.point, step, g)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """√2 D G √t, where the environment's gradients are known to be at most G."""
        G = getattr(environment, "gradient_bound", None)
        if G is None or not self.covers(environment):
            return None
        return Guarantee(
            lambda t: math.sqrt(2) * self.diameter * G * np.sqrt(t),
            kind="expected",
            assumptions=f"gradients at most G = {G:.4g}, means convex",
            reference="Streeter, McMahan 2010",
        )

    def pathwise(self) -> Pathwise | None:
        """The inequality of the module docstring for the u that makes its left side largest."""
        right = math.sqrt(2) * self.diameter * np.sqrt(self.account.variation)
        return Pathwise(self.linear_regret(), right, "Streeter, McMahan 2010")
