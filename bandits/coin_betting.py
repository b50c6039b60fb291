"""Coin betting: learning without a learning rate, by the bets of Krichevsky and Trofimov (KT).

In one dimension, with gradients |s_t| ≤ 1, a gambler with wealth W_0 = ε bets the signed amount m_t
on the coin −s_t:

    m_t = β_t W_{t−1},   β_t = −(Σ_{i < t} s_i)/t
    W_t = W_{t−1} − s_t m_t = ε − Σ_{i ≤ t} s_i m_i.

In d > 1 dimensions the magnitude m_t is bet along a direction y_t of the unit ball, which
AdaGradNorm learns, and s_t = ⟨g_t, y_t⟩ (in one dimension y_t = 1). On a domain X with centre c
(c = 0 for ℝᵈ), gradients at most G, and n_t the unit vector from x_t to x̃_t (0 if they are equal):

    x̃_t = c + m_t y_t,   x_t = Π_X(x̃_t),   g̃_t = g_t − min{0, ⟨g_t, n_t⟩} n_t,   s_t = ⟨g̃_t, y_t⟩/G.

On every run, for each u ∈ X with ‖u − c‖ ≤ U,

    Σ ⟨g_t, x_t − u⟩ ≤ G (ε + (ε F_T)*(U)) + [d > 1] 2√2 U √(Σ ‖g̃_t‖²)
                     ≤ G (ε + U √(T ln(1 + 24 T² U²/ε²))) + [d > 1] 2√2 U √(Σ ‖g̃_t‖²)

    F_t(z) = 2^t Γ((t + 1 + z)/2) Γ((t + 1 − z)/2)/(π Γ(t + 1))
    (ε F_t)*(U) = max_{0 ≤ z ≤ t} U z − ε F_t(z)

with no parameter that depends on U or T.

Proof. W_t ≥ ε F_t(Z_t), Z_t = −Σ_{i ≤ t} s_i, by induction: F_0(0) = 1, and F_t(Z + c) is convex in
c, since ln Γ is, while F_{t−1}(Z) (1 + c Z/t) is affine; from Γ(z + 1) = z Γ(z) they are equal at
c = ±1, so that the first is at most the second for |c| ≤ 1. (For coins ±1 thus W_t = ε F_t(Z_t).)
Hence Σ s_t (m_t − v) = ε − W_T + v Z_T ≤ ε + |v| |Z_T| − ε F_T(Z_T) ≤ ε + (ε F_T)*(|v|). For d > 1,

    Σ ⟨g̃_t, m_t y_t − w⟩ = G Σ s_t (m_t − ‖w‖) + ‖w‖ Σ ⟨g̃_t, y_t − w/‖w‖⟩.

The projection costs nothing, ⟨g_t, x_t − u⟩ ≤ ⟨g̃_t, x̃_t − u⟩ and ‖g̃_t‖ ≤ ‖g_t‖: the right side
exceeds the left by ‖x̃_t − x_t‖ ⟨g_t, n_t⟩ if that is positive, else by −⟨g_t, n_t⟩ ⟨n_t, x_t − u⟩,
which is not negative as x_t is a projection along n_t.

References:
    Orabona, Pál. Coin betting and parameter-free online learning. NeurIPS 2016 (KT, and the second
    bound).
    Cutkosky, Orabona. Black-box reductions for parameter-free online learning in Banach spaces.
    COLT 2018 (directions and domains).
Differs from Cutkosky, Orabona: their g̃_t = ½ (g_t + ‖g_t‖ n_t) doubles the regret, ours does not.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import betaln, digamma

from ..core import checks
from ..core.checks import FloatArray
from ..core.environment import Environment, GradientFeedback
from ..core.guarantee import Guarantee, Pathwise
from ..core.learner import Learner
from ..core.sets import Ball, ConvexSet, WholeSpace, farthest
from .gradient_descent import AdaGradNorm
from .gradient_learner import Account, played_on


def log_kt_potential(rounds: Any, z: Any) -> FloatArray:
    """ln F_t(z) for t = `rounds` and |z| < t + 1, elementwise."""
    a, b = (rounds + 1 + z) / 2, (rounds + 1 - z) / 2
    result: FloatArray = rounds * math.log(2) + betaln(a, b) - math.log(math.pi)
    return result


def kt_regret(rounds: Any, comparator: float, wealth: float = 1.0) -> FloatArray:
    """ε + (ε F_t)*(U), a bound on the regret of KT against |u| ≤ U after t = `rounds`, elementwise.

    The maximiser is found by bisection of ε F_t'(z) = U in logarithms, to rounding; an error there
    is of second order in the value.

    Args:
        rounds: t >= 1, a number or an array.
        comparator: U > 0.
        wealth: ε > 0.
    """
    rounds = np.asarray(rounds, dtype=np.float64)
    low, high = np.zeros_like(rounds), rounds.copy()
    for _ in range(60):
        z = 0.5 * (low + high)
        slope = 0.5 * (digamma((rounds + 1 + z) / 2) - digamma((rounds + 1 - z) / 2))  # of ln F
        log_derivative = log_kt_potential(rounds, z) + np.log(np.maximum(slope, 1e-300))
        steep = log_derivative > math.log(comparator / wealth)
        low, high = np.where(steep, low, z), np.where(steep, z, high)
    z = low
    result: FloatArray = wealth + comparator * z - wealth * np.exp(log_kt_potential(rounds, z))
    return result


class CoinBetting(Learner):
    """R copies of coin betting; see the module docstring.

    In ℝᵈ the points may grow like 2^t, as they must where all gradients are equal.

    Args:
        dim: d >= 1.
        domain: X, any convex set; None: ℝᵈ.
        gradient_bound: G > 0, at least the norm of every gradient; others are refused.
        initial_wealth: ε > 0, the regret against u = c is at most G ε.
        comparator_norm: U of the inequality and the guarantee, on ℝᵈ and on balls; it changes no
            point. None: all of X, and neither of the two on ℝᵈ.

    Attributes:
        point: x_t, (R, d); rebound in each round, never changed in place.
        wealth: W_t, (R,).
        account: sums over the rounds so far, of x_t and g_t.
    """

    def __init__(
        self,
        dim: int,
        *,
        domain: ConvexSet | None = None,
        gradient_bound: float = 1.0,
        initial_wealth: float = 1.0,
        comparator_norm: float | None = None,
    ) -> None:
        self.dim = checks.integer(dim, "dim", minimum=1)
        self.domain = WholeSpace() if domain is None else domain
        self.start = self.domain.center(self.dim)  # c; refuses another dimension
        if isinstance(self.domain, Ball) and not self.start.any():
            self.radius = self.domain.radius
        self.gradient_bound = checks.positive(gradient_bound, "gradient_bound")
        self.initial_wealth = checks.positive(initial_wealth, "initial_wealth")
        given = checks.positive(comparator_norm, "comparator_norm", optional=True)
        if given is not None and not isinstance(self.domain, Ball | WholeSpace):
            raise ValueError(
                f"comparator_norm must be None on {self.domain}, whose points are all compared "
                f"with, got {given}"
            )
        largest = farthest(self.domain, self.start)
        self.comparator_norm = largest if given is None else min(given, largest)
        self._direction = AdaGradNorm(self.dim, radius=1.0)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """x_1 = c, W_0 = ε."""
        self._direction.reset(n_replications, horizon, rng)
        self.account = Account(n_replications, self.dim)
        self.wealth = np.full(n_replications, self.initial_wealth)
        self.coins = np.zeros(n_replications)  # Z = −Σ s
        self.bets = np.zeros(n_replications)  # m_t
        self._no_optimism = np.zeros((n_replications, self.dim))
        self._place()

    def _place(self) -> None:
        """y_t, x̃_t, x_t, n_t from the bets."""
        y = np.ones((len(self.bets), 1)) if self.dim == 1 else self._direction.act()
        target = self.start + self.bets[:, None] * y  # x̃
        point = self.domain.project(target)
        gap = target - point
        distance = np.linalg.norm(gap, axis=1, keepdims=True)
        outside = distance > 1e-12 * (1 + np.abs(target).max(axis=1, keepdims=True))  # not rounding
        self._normals = np.divide(gap, distance, out=np.zeros_like(gap), where=outside)
        self._directions, self.point = y, point

    def act(self) -> FloatArray:
        """x_t, (R, d); not a copy."""
        return self.point

    def update(self, feedback: GradientFeedback) -> None:
        """g̃_t, the coin, W_t, then x_{t+1}."""
        g = feedback.gradients
        self.account.observe(self.point, g, self._no_optimism)
        largest = math.sqrt(self.account.largest.max())
        if largest > self.gradient_bound * (1 + 1e-9):
            raise ValueError(
                f"gradient_bound must be at least the norm of every gradient, got "
                f"{self.gradient_bound} and a gradient of {largest}; raise it"
            )
        along = (g * self._normals).sum(axis=1, keepdims=True)
        surrogate = g - np.minimum(along, 0.0) * self._normals  # g̃
        coin = -(surrogate * self._directions).sum(axis=1) / self.gradient_bound
        if self.dim > 1:
            self._direction.update(GradientFeedback(surrogate, feedback.loss))
        self.wealth = self.wealth + coin * self.bets
        self.coins = self.coins + coin
        self.bets = self.coins / (self.account.rounds + 1) * self.wealth
        self._place()

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """G (ε + (ε F_t)*(U)) + [d > 1] 2√2 U G √t, in environments with gradients of at most G."""
        G, U = self.gradient_bound, self.comparator_norm
        own = getattr(environment, "gradient_bound", math.inf)
        if own > G * (1 + 1e-9) or not self._compares_all(environment):
            return None
        direction = 2 * math.sqrt(2) * U * own if self.dim > 1 else 0.0
        return Guarantee(
            lambda t: G * kt_regret(t, U, self.initial_wealth) + direction * np.sqrt(t),
            kind="expected" if environment.adversary == "stochastic" else "pathwise",
            assumptions=f"gradients at most G = {G:.4g}, means convex",
            reference="derived, after Orabona, Pál 2016 and Cutkosky, Orabona 2018",
        )

    def _compares_all(self, environment: Environment) -> bool:
        """Whether a game is on X, and ‖u − c‖ ≤ U for all u ∈ X."""
        everything = self.comparator_norm >= farthest(self.domain, self.start)
        bounded = math.isfinite(self.comparator_norm)
        return bounded and everything and played_on(environment, self.domain, self.dim)

    def pathwise(self) -> Pathwise | None:
        """The inequality of the module docstring for the u that makes its left side largest."""
        U = self.comparator_norm
        if math.isinf(U):
            return None
        a = self.account
        if isinstance(self.domain, Ball | WholeSpace):
            support = U * np.linalg.norm(a.gradient_sum, axis=1) - a.gradient_sum @ self.start
        else:
            support = self.domain.support(-a.gradient_sum)
        bets = self.gradient_bound * kt_regret(max(a.rounds, 1), U, self.initial_wealth)
        right = np.full_like(a.inner, float(bets))
        if self.dim > 1:
            right += 2 * math.sqrt(2) * U * np.sqrt(self._direction.account.variation)
        reference = "derived, after Orabona, Pál 2016 and Cutkosky, Orabona 2018"
        return Pathwise(a.inner + support, right, reference)
