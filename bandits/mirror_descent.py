"""Mirror descent and dual averaging, for any potential ψ of `fenchel.core` on its domain X.

    MirrorDescent    x_{t+1} = argmin_{x ∈ X} η_t ⟨g_t, x⟩ + B(x, x_t) = ∇ψ*(∇ψ(x_t) − η_t g_t)
    DualAveraging    x_{t+1} = argmin_{x ∈ X} ⟨Σ_{s ≤ t} g_s, x⟩ + ψ(x)/η_{t+1}
                             = ∇ψ*(−η_{t+1} Σ_{s ≤ t} g_s)

Mirror descent starts at the centre of X, dual averaging (follow the regularised leader on
gradients) at argmin ψ. On the simplex both have ∇ψ*(−η Σ g) for a constant η; with ψ = ½‖·‖² they
are agile and lazy gradient descent. The stability of a round is

    δ_t = ⟨g_t, x_t − x_{t+1}⟩ − B(x_{t+1}, x_t)/η_t ≤ (η_t/2) ‖g_t‖²_*

with the dual of a norm in which ψ is 1-strongly convex: ‖·‖_∞ for the negative entropy, the Tsallis
entropies and the log-barrier on the simplex, ‖·‖₂ for ½‖·‖². On every run, for each u ∈ X,

    MirrorDescent    Σ ⟨g_t, x_t − u⟩ ≤ Σ w_t B(u, x_t) + Σ δ_t
                     w_1 = 1/η_1,   w_t = 1/η_t − 1/η_{t−1}
    DualAveraging    Σ ⟨g_t, x_t − u⟩ ≤ (ψ(u) − min ψ)/η_{T+1} + Σ δ_t,   η_1 ≥ η_2 ≥ ...

The least slack over u is a conjugate, as both sides are linear in u but for ψ(u)/η. `pathwise`
moves the first terms to the left and takes that u; for a constant rate and a ψ whose gradient is
infinite at the boundary, the two sides are then equal.

Proofs. By optimality of x_{t+1}, ⟨η_t g_t + ∇ψ(x_{t+1}) − ∇ψ(x_t), u − x_{t+1}⟩ ≥ 0, that is

    η_t ⟨g_t, x_{t+1} − u⟩ ≤ B(u, x_t) − B(u, x_{t+1}) − B(x_{t+1}, x_t);

divide by η_t, add ⟨g_t, x_t − x_{t+1}⟩, sum by parts, drop B(u, x_{T+1}) ≥ 0: no order of the rates
is needed. For dual averaging take min ψ = 0 and F_t = ⟨Σ_{s < t} g_s, ·⟩ + ψ/η_t, least at x_t:

    Σ ⟨g_t, x_t − u⟩ = ψ(u)/η_{T+1} + F_{T+1}(x_{T+1}) − F_{T+1}(u) − F_1(x_1)
                       + Σ_t ⟨g_t, x_t⟩ + F_t(x_t) − F_{t+1}(x_{t+1}),

where F_{t+1}(x_{t+1}) ≥ F_t(x_{t+1}) + ⟨g_t, x_{t+1}⟩, since 1/η_{t+1} ≥ 1/η_t and ψ ≥ 0, and
F_t(x_{t+1}) − F_t(x_t) ≥ B(x_{t+1}, x_t)/η_t.

References:
    Beck, Teboulle. Mirror descent and nonlinear projected subgradient methods for convex
    optimization. Operations Research Letters 31, 2003.
    Nesterov. Primal-dual subgradient methods for convex problems. Math. Programming 120, 2009.
    Orabona. A modern introduction to online learning. arXiv:1912.13213, chapters 6 and 7.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core import checks
from ..core.checks import FloatArray
from ..core.environment import Environment, GradientFeedback
from ..core.guarantee import Guarantee, Pathwise
from ..core.learner import Learner
from ..core.potentials import (
    NegativeEntropy,
    Potential,
    SimplexPotential,
    SquaredNorm,
    TsallisEntropy,
)
from ..core.sets import Ball, farthest
from .ftrl import Rate
from .gradient_learner import Account, played_on

_TINY = 1e-300  # stands for an entropy's probabilities that are 0 in float64


class PotentialLearner(Learner):
    """What both learners share.

    Args:
        dim: d >= 1.
        potential: ψ; the points are of its domain. It must be differentiable there, or, on the
            simplex, have a gradient that is infinite at the boundary.
        learning_rate: η > 0, or t -> η_t > 0 for rounds t = 1, 2, ...; None: tuned, where
            the range of ψ is finite.
        gradient_bound: G > 0 for which a tuned rate is best: at least ‖g_t‖_∞ on the simplex,
            unless ψ = ½‖·‖², and ‖g_t‖₂ elsewhere. The bounds hold without.

    Attributes:
        point: x_t, (R, d); rebound in each round, never changed in place.
        account: sums over the rounds so far.
        stability: Σ δ_s over the rounds so far, (R,).
    """

    def __init__(
        self,
        dim: int,
        potential: Potential,
        *,
        learning_rate: Rate | None = None,
        gradient_bound: float | None = None,
    ) -> None:
        self.dim = checks.integer(dim, "dim", minimum=1)
        if not isinstance(potential, Potential):
            raise TypeError(f"potential must be one of fenchel.core.potentials, got {potential!r}")
        self.potential, self.domain = potential, potential.domain
        center = self.domain.center(self.dim)  # refuses another dimension
        if isinstance(self.domain, Ball) and not center.any():
            self.radius = self.domain.radius
        if not callable(learning_rate):
            learning_rate = checks.positive(learning_rate, "learning_rate", optional=True)
        self.learning_rate = learning_rate
        self.gradient_bound = checks.positive(gradient_bound, "gradient_bound", optional=True)
        self.range = self._range()
        if learning_rate is None:
            if self.gradient_bound is None:
                raise ValueError("learning_rate or gradient_bound must be given, got None twice")
            if not 0.0 < self.range < math.inf:
                raise ValueError(
                    f"learning_rate must be given where the range of the potential is "
                    f"{self.range}, got None"
                )
        self.horizon: int | None = None

    def _start(self) -> FloatArray:
        """x_1, (d,)."""
        raise NotImplementedError

    def _range(self) -> float:
        """At least what `pathwise` subtracts for any u, times η; infinite where not known."""
        psi, d = self.potential, self.dim
        if isinstance(psi, NegativeEntropy | TsallisEntropy):
            return float(psi.value(np.eye(d)[0]) - psi.value(np.full(d, 1 / d)))
        return math.inf

    def _tuned(self, horizon: Any, t: Any) -> Any:
        """η_t for a learner without a learning rate, elementwise on arrays."""
        raise NotImplementedError

    def _rate(self, t: int) -> float:
        given = self.learning_rate
        if given is None:
            eta = float(self._tuned(self.horizon, t))
        else:
            eta = float(given(t)) if callable(given) else given
        if not 0.0 < eta < math.inf:
            raise ValueError(f"learning_rate must be positive and finite in each round, got {eta}")
        return eta

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """x_1 for R replications."""
        self.horizon = checks.integer(horizon, "horizon", minimum=1)
        self.point = np.tile(self._start(), (n_replications, 1))
        self.account = Account(n_replications, self.dim)
        self.stability = np.zeros(n_replications)
        self._no_optimism = np.zeros_like(self.point)
        self._eta = self._rate(1)

    def act(self) -> FloatArray:
        """x_t, (R, d); not a copy."""
        return self.point

    def _move(self, gradients: FloatArray, point: FloatArray, eta: float) -> None:
        """Account for round t, with g_t, x_{t+1} and η_t."""
        x = self.point
        self.account.observe(x, gradients, self._no_optimism)
        y = np.maximum(x, _TINY) if isinstance(self.potential, SimplexPotential) else x
        linear = (gradients * (x - point)).sum(axis=-1)
        self.stability += linear - self.potential.bregman(point, y) / eta
        self.point = point

    def _told(self, environment: Environment) -> float | None:
        """The environment's bound on ‖g‖_*, if the learner's guarantee is for it."""
        known = isinstance(self.potential, NegativeEntropy | TsallisEntropy | SquaredNorm)
        bound = getattr(environment, "gradient_bound", None)
        if bound is None or not known or not played_on(environment, self.domain, self.dim):
            return None
        if isinstance(self.potential, SimplexPotential):
            bound = min(bound, np.max(getattr(environment, "coordinate_bounds", math.inf)))
        return float(bound)

    def _guarantee(self, environment: Environment, bound: Any, G: float) -> Guarantee:
        return Guarantee(
            bound,
            kind="expected" if environment.adversary == "stochastic" else "pathwise",
            assumptions=f"gradients at most G = {G:.4g} in the dual norm, means convex",
            reference="Orabona, arXiv:1912.13213, chapters 6 and 7",
        )


class MirrorDescent(PotentialLearner):
    """R copies of mirror descent (Beck, Teboulle 2003); see above, and `PotentialLearner`.

    Without a learning rate, η = √(2 D/T)/G, where D ≥ B(u, x_1) for all u: ln d for the entropy, at
    most ½ max ‖u − x_1‖² for ½‖·‖².
    """

    def _start(self) -> FloatArray:
        return self.domain.center(self.dim)

    def _range(self) -> float:
        if isinstance(self.potential, SquaredNorm):
            return 0.5 * farthest(self.domain, self._start()) ** 2
        return super()._range()  # ∇ψ is constant at the uniform distribution

    def _tuned(self, horizon: Any, t: Any) -> Any:
        assert self.gradient_bound is not None
        return np.sqrt(2 * self.range / horizon) / self.gradient_bound

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """x_1 is the centre of the domain."""
        super().reset(n_replications, horizon, rng)
        self._dual = self.potential.gradient(self.point)  # θ_t = ∇ψ(x_t), on the simplex + const
        self._dual_sum = np.zeros_like(self.point)  # Σ w_t θ_t, w_t = 1/η_t − 1/η_{t−1}
        self._conjugate_sum = np.zeros(n_replications)  # Σ w_t ψ*(θ_t)
        self._weigh(1 / self._eta)

    def _weigh(self, weight: float) -> None:
        if weight != 0.0:
            theta, x = self._dual, self.point
            self._dual_sum += weight * theta
            self._conjugate_sum += weight * ((theta * x).sum(axis=-1) - self.potential.value(x))

    def update(self, feedback: GradientFeedback) -> None:
        """x_{t+1} = ∇ψ*(θ_t − η_t g_t), with θ_t = ∇ψ(x_t)."""
        g = feedback.gradients
        eta = self._rate(self.account.rounds + 1)
        self._weigh(1 / eta - 1 / self._eta)
        self._eta = eta
        theta = self._dual - eta * g
        point = self.potential.maximizer(theta)
        self._move(g, point, eta)
        # on the simplex ∇ψ(x_{t+1}) is θ but for a constant, also where a probability is 0
        simplex = isinstance(self.potential, SimplexPotential)
        self._dual = theta if simplex else self.potential.gradient(point)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """D/η + η G² t/2 for a constant η, with G of the environment: G √(2 D T) if tuned."""
        G, eta = self._told(environment), self.learning_rate
        if G is None or callable(eta) or math.isinf(self.range):
            return None

        def bound(t: Any) -> Any:
            rate = self._tuned(self.horizon or t, t) if eta is None else eta
            return self.range / rate + rate * G**2 * t / 2

        return self._guarantee(environment, bound, G)

    def pathwise(self) -> Pathwise | None:
        """max_u of Σ ⟨g_t, x_t − u⟩ less the terms in B(u, x_t), against Σ δ_t."""
        a, eta = self.account, self._eta
        best = self.potential.conjugate(eta * (self._dual_sum - a.gradient_sum)) / eta
        left = a.inner + best - self._conjugate_sum
        return Pathwise(left, self.stability.copy(), "derived, as in Beck, Teboulle 2003")


class DualAveraging(PotentialLearner):
    """R copies of dual averaging (Nesterov 2009); see above, and `PotentialLearner` for arguments.

    Rates must not increase. Without a learning rate, η_t = √(D/t)/G with D ≥ ψ(u) − min ψ for all
    u: ln d for the entropy, r²/2 for ½‖·‖² on the ball of radius r around 0.
    """

    def _start(self) -> FloatArray:
        return self.potential.maximizer(np.zeros(self.dim))

    def _range(self) -> float:
        if isinstance(self.potential, SquaredNorm):
            origin = np.zeros(self.dim)
            return 0.5 * farthest(self.domain, origin) ** 2 - float(
                self.potential.value(self._start())
            )
        return super()._range()

    def _tuned(self, horizon: Any, t: Any) -> Any:
        assert self.gradient_bound is not None
        return np.sqrt(self.range / t) / self.gradient_bound

    def update(self, feedback: GradientFeedback) -> None:
        """x_{t+1} = ∇ψ*(−η_{t+1} Σ g_s); η_{T+1} = η_T."""
        assert self.horizon is not None
        g, eta = feedback.gradients, self._eta
        after = self._rate(min(self.account.rounds + 2, self.horizon))
        if after > eta * (1 + 1e-12):
            raise ValueError(f"learning_rate must not increase, got {eta} and then {after}")
        point = self.potential.maximizer(-after * (self.account.gradient_sum + g))
        self._move(g, point, eta)
        self._eta = after

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """D/η_t + (G²/2) Σ_{s ≤ t} η_s, with G of the environment; 2 G √(D t) if tuned for it."""
        G, eta = self._told(environment), self.learning_rate
        if G is None or callable(eta) or math.isinf(self.range):
            return None

        def bound(t: Any) -> Any:
            if eta is not None:
                return self.range / eta + eta * G**2 * t / 2
            assert self.gradient_bound is not None  # Σ 1/√s ≤ 2 √t
            return (self.gradient_bound + G**2 / self.gradient_bound) * np.sqrt(self.range * t)

        return self._guarantee(environment, bound, G)

    def pathwise(self) -> Pathwise | None:
        """max_u of Σ ⟨g_t, x_t − u⟩ − (ψ(u) − min ψ)/η, against Σ δ_t."""
        a, eta, psi = self.account, self._eta, self.potential
        least = -psi.conjugate(np.zeros(self.dim))  # min ψ
        left = a.inner + (psi.conjugate(-eta * a.gradient_sum) + least) / eta
        return Pathwise(left, self.stability.copy(), "derived, as in Orabona, chapter 7")
