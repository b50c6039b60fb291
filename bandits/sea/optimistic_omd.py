"""Optimistic online mirror descent (Chen et al. 2024): one gradient a round, used twice.

Round t, with optimism M_t (M_1 = 0, then M_t = g_{t−1}) and x̂_1 = x_1 the centre of X:

    x_t     = Π[x̂_t − η_t M_t]                      is played, g_t = ∇f_t(x_t) is told
    x̂_{t+1} = Π[x̂_t − η_t g_t]

Step sizes, with v_t = ‖g_t − M_t‖², V_t = Σ_{s ≤ t} v_s and the diameter D of X:

    convex             η_t = D/√(δ + 4G² + V_{t−1}),   δ = 10 D² L² in theory
    λ-strongly convex  η_t = 2/(λ t)
    constant           η_t = η

On every run, for each u ∈ X, with S = Σ_{t ≥ 2} ‖x_t − x_{t−1}‖²,

    convex    Σ ⟨g_t, x_t − u⟩ ≤ (5/2) D √(δ + 4G² + V_T) − √δ/(4D) S
    strongly  Σ ⟨g_t, x_t − u⟩ − (λ/2) ‖x_t − u‖²
                  ≤ λ D²/4 + Σ_t 4 v_t/(λ t) − (λ/8) Σ_{t ≥ 2} (t − 1) ‖x_t − x_{t−1}‖²
    constant  Σ ⟨g_t, x_t − u⟩ ≤ D²/(2η) + η V_T − S/(4η),

whatever M is (in the convex form, of norm at most G). In the SEA model with M_t = g_{t−1}, V_T is
at most G² + 8 σ²_{1:T} + 4 Σ²_{1:T} + 4 L² S in expectation, and S is paid by the negative terms:
see `convex_bound`, `strongly_convex_bound`, `constant_step_bound`. Only the means F_t need to be
convex.

`ImplicitOMD` is the form for losses that are not smooth: the second step is implicit,

    x_{t+1} = argmin_X f_t(x) + ‖x − x̂_{t+1}‖²/(2 η_{t+1}),

so that M_{t+1} ∈ ∂f_t(x_{t+1}) and v_t compares f_t and f_{t−1} at one point; δ = 0.

References:
    Chen, Zhang, Tu, Zhao, Zhang. JMLR 25(178), 2024 (the algorithms; their constants as recalled
    agree with those derived here).
Differs from the paper: it leaves open what we play first; and each run's inequality is evaluated.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...core import checks
from ...core.checks import FloatArray
from ...core.environment import Environment, GradientFeedback
from ...core.guarantee import Guarantee, Pathwise
from ...core.sets import ConvexSet
from ..gradient_learner import GradientLearner
from .instance import SEAInstance
from .quantities import Quantity, SEAQuantities

REFERENCE = "Chen et al., JMLR 25(178), 2024; constants derived"


def _ratio(numerator: float, denominator: float) -> float:
    """numerator/denominator with 0/0 = 0 and a/0 = ∞."""
    if numerator == 0.0:
        return 0.0
    return numerator / denominator if denominator > 0 else math.inf


def convex_bound(q: SEAQuantities, *, D: float, G: float, L: float, delta: float) -> Quantity:
    """E R_T(u) ≤ 5√2 D √σ²_{1:T} + 5 D √Σ²_{1:T} + 25 D³L²/√δ + (5/2) D √δ + (5√5/2) D G.

    For δ = 10 D²L² the terms in δ are 5√10 D²L.
    """
    noise = 5 * math.sqrt(2) * D * np.sqrt(q.sigma2_cum) + 5 * D * np.sqrt(q.Sigma2_cum)
    root = math.sqrt(delta)
    smooth = _ratio(25 * D**3 * L**2, root) + 2.5 * D * root
    return noise + smooth + 2.5 * math.sqrt(5) * D * G


def strongly_convex_bound(
    q: SEAQuantities, *, D: float, G: float, L: float, strong_convexity: float
) -> Quantity:
    """E R_T(u) ≤ (16 a/λ)(1 + ln(1 + A/a)) + 4G²/λ + λD²/4 + (16 L²D²/λ) ln(1 + 8√2 L/λ).

    a = 2 σ²_max + Σ²_max and A = 2 σ²_{1:T} + Σ²_{1:T}; the first term is 0 for a = 0.
    """
    lam = strong_convexity
    a = 2 * np.asarray(q.sigma2_max) + np.asarray(q.Sigma2_max)
    A = 2 * np.asarray(q.sigma2_cum) + np.asarray(q.Sigma2_cum)
    quotient = np.divide(A, a, out=np.zeros_like(A), where=a > 0)
    moving = 16 * a / lam * (1 + np.log1p(quotient))
    smooth = 16 * L**2 * D**2 / lam * math.log1p(8 * math.sqrt(2) * L / lam)
    return moving + 4 * G**2 / lam + lam * D**2 / 4 + smooth


def constant_step_bound(q: SEAQuantities, *, D: float, G: float, step_size: float) -> Quantity:
    """E R_T(u) ≤ D²/(2η) + η (G² + 8 σ²_{1:T} + 4 Σ²_{1:T}), for η ≤ 1/(4L)."""
    drift = G**2 + 8 * q.sigma2_cum + 4 * q.Sigma2_cum
    return D**2 / (2 * step_size) + step_size * drift


def implicit_bound(q: SEAQuantities, *, D: float, G: float) -> Quantity:
    """E R_T(u) ≤ (5/2) D (√5 G + √(6 σ̃²_{1:T}) + √(3 Σ²_{1:T}))."""
    return (
        2.5 * D * (math.sqrt(5) * G + np.sqrt(6 * q.sigma2_tilde_cum) + np.sqrt(3 * q.Sigma2_cum))
    )


class OptimisticOMD(GradientLearner):
    """R copies of optimistic online mirror descent; see the module docstring.

    Args:
        dim: d >= 1.
        radius: r > 0 if the domain is the ball of this radius around 0.
        domain: another bounded convex set, instead of `radius`.
        gradient_bound: G > 0, at least the norm of every gradient.
        smoothness: L >= 0 of the means.
        strong_convexity: λ > 0 of the means, for the strongly convex steps; None: convex.
        delta: δ >= 0 of the convex steps, in squared units of the gradient; 0 has a bound only for
            L = 0. None: 10 D² L², the theory's, which is safe and slow where D L is far above G;
            G² is a practical choice.
        step_size: a constant η > 0 instead.
    """

    def __init__(
        self,
        dim: int,
        *,
        radius: float | None = None,
        domain: ConvexSet | None = None,
        gradient_bound: float,
        smoothness: float,
        strong_convexity: float | None = None,
        delta: float | None = None,
        step_size: float | None = None,
    ) -> None:
        bound = checks.positive(gradient_bound, "gradient_bound")
        super().__init__(dim, radius=radius, domain=domain, gradient_bound=bound)
        self.smoothness = float(checks.array(smoothness, "smoothness", shape=(), low=0.0))
        self.strong_convexity = checks.positive(strong_convexity, "strong_convexity", optional=True)
        self.step_size = checks.positive(step_size, "step_size", optional=True)
        given = {"strong_convexity": strong_convexity, "delta": delta, "step_size": step_size}
        named = [name for name, value in given.items() if value is not None]
        if len(named) > 1:
            raise ValueError(
                f"at most one of strong_convexity, delta and step_size must be given, got {named}; "
                "each stands for other step sizes"
            )
        if delta is None:
            delta = 10 * self.diameter**2 * self.smoothness**2
        self.delta = float(checks.array(delta, "delta", shape=(), low=0.0))

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """x̂_1 = x_1, the centre of the domain; M_1 = 0."""
        super().reset(n_replications, horizon, rng)
        self.leader = self.point  # x̂_t
        self.optimism = np.zeros_like(self.point)  # M_t
        self.eta = self._next_step_size()  # η_t, (R, 1)

    def _next_step_size(self) -> FloatArray:
        """η_{t+1} after t rounds, (R, 1)."""
        n, t = len(self.point), self.account.rounds
        if self.step_size is not None:
            return np.full((n, 1), self.step_size)
        if self.strong_convexity is not None:
            return np.full((n, 1), 2 / (self.strong_convexity * (t + 1)))
        start = self.delta + 4 * self.gradient_bound**2
        return (self.diameter / np.sqrt(start + self.account.variation))[:, None]

    def predict(self, feedback: GradientFeedback) -> FloatArray:
        """M_{t+1}, (R, d): the last gradient. Overwrite it for other guesses."""
        return feedback.gradients

    def update(self, feedback: GradientFeedback) -> None:
        """Both steps with g_t, the first with η_t, the second with η_{t+1}."""
        g = feedback.gradients
        self.account.observe(self.point, g, self.optimism)
        self.leader = self.descend(self.leader, self.eta, g)
        self.eta = self._next_step_size()
        self._play(feedback)

    def _play(self, feedback: GradientFeedback) -> None:
        """M_{t+1} and x_{t+1}, once x̂_{t+1} and η_{t+1} are known."""
        self.optimism = self.predict(feedback)
        self.point = self.descend(self.leader, self.eta, self.optimism)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """The bound of the module docstring, in instances of the SEA model that it covers."""
        if not (
            self._optimistic() and isinstance(environment, SEAInstance) and self.covers(environment)
        ):
            return None
        D, G, L = self.diameter, self.gradient_bound, self.smoothness
        lam, eta, delta, game = self.strong_convexity, self.step_size, self.delta, environment
        assumptions = f"gradients at most G = {G:.4g}, means convex and L-smooth, L = {L:.4g}"
        if eta is not None:
            if eta * 4 * L > 1 + 1e-12:
                return None

            def bound(t: Any) -> Any:
                return constant_step_bound(game.quantities(t), D=D, G=G, step_size=eta)

        elif lam is not None:
            assumptions += f", λ-strongly convex, λ = {lam:.4g}"

            def bound(t: Any) -> Any:
                return strongly_convex_bound(
                    game.quantities(t), D=D, G=G, L=L, strong_convexity=lam
                )

        else:
            if delta == 0 < L:
                return None

            def bound(t: Any) -> Any:
                return convex_bound(game.quantities(t), D=D, G=G, L=L, delta=delta)

        return Guarantee(bound, kind="expected", assumptions=assumptions, reference=REFERENCE)

    def _optimistic(self) -> bool:
        """Whether M_t = g_{t−1}, which the bounds in the SEA model rest on."""
        return type(self).predict is OptimisticOMD.predict

    def pathwise(self) -> Pathwise | None:
        """The inequality of the module docstring for the u that makes its left side largest."""
        a, D = self.account, self.diameter
        reference = f"{type(self).__name__}, path-wise: derived"
        if self.step_size is not None:
            eta = self.step_size
            right = D**2 / (2 * eta) + eta * a.variation - a.movement / (4 * eta)
            return Pathwise(self.linear_regret(), right, reference)
        if self.strong_convexity is not None:
            lam = self.strong_convexity
            right = lam * D**2 / 4 + 4 * a.harmonic_variation / lam - lam / 8 * a.linear_movement
            return Pathwise(self.curved_regret(lam), right, reference)
        if not self.within_bound():
            return None
        root = np.sqrt(self.delta + 4 * self.gradient_bound**2 + a.variation)
        right = 2.5 * D * root - math.sqrt(self.delta) / (4 * D) * a.movement
        return Pathwise(self.linear_regret(), right, reference)


class OMD(OptimisticOMD):
    """The same without optimism, M_t = 0: x_t = x̂_t; arguments as `OptimisticOMD`."""

    def predict(self, feedback: GradientFeedback) -> FloatArray:
        """0."""
        return np.zeros_like(feedback.gradients)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """The inequality of the module docstring with v_t ≤ G², in environments that it `covers`.

        (5/2) D √(δ + 4G² + G² t), or λ D²/4 + (4G²/λ)(1 + ln t), or D²/(2η) + η G² t.
        """
        if not self.covers(environment):
            return None
        D, G, delta = self.diameter, self.gradient_bound, self.delta
        lam, eta = self.strong_convexity, self.step_size

        def bound(t: Any) -> Any:
            if eta is not None:
                return D**2 / (2 * eta) + eta * G**2 * t
            if lam is not None:
                return lam * D**2 / 4 + 4 * G**2 / lam * (1 + np.log(t))
            return 2.5 * D * np.sqrt(delta + 4 * G**2 + G**2 * t)

        curved = "" if lam is None else f" and λ-strongly convex, λ = {lam:.4g}"
        return Guarantee(
            bound,
            kind="expected",
            assumptions=f"gradients at most G = {G:.4g}, means convex{curved}",
            reference="path-wise inequality with M = 0: derived",
        )


class ImplicitOMD(OptimisticOMD):
    """R copies of the form for convex losses that need not be smooth; see the module docstring.

    Args:
        dim: d >= 1.
        radius: r > 0 of the domain, the ball around 0.
        gradient_bound: G > 0, at least the norm of every subgradient.
    """

    def __init__(self, dim: int, *, radius: float, gradient_bound: float) -> None:
        super().__init__(dim, radius=radius, gradient_bound=gradient_bound, smoothness=0.0)
        self.smoothness = math.inf  # any

    def _play(self, feedback: GradientFeedback) -> None:
        self.point, self.optimism = feedback.loss.implicit_step(self.leader, self.eta, self.radius)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """`implicit_bound`, in instances of the SEA model with convex losses."""
        if not (isinstance(environment, SEAInstance) and self.covers(environment)):
            return None
        D, G, quantities = self.diameter, self.gradient_bound, environment.quantities
        return Guarantee(
            lambda t: implicit_bound(quantities(t), D=D, G=G),
            kind="expected",
            assumptions=f"gradients at most G = {G:.4g}, losses convex",
            reference=REFERENCE,
        )
