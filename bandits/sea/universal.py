"""A universal learner: no curvature needs to be known (USC, Zhang et al. 2022).

Experts i = 1, ..., K each run on the losses f_t themselves, with gradients at their own points:
online gradient descent; optimistic OMD for λ-strongly convex losses, λ = 2^j/T; and optimistic ONS
for α-exp-concave losses, α = 2^j/T; j = 0, ..., ⌈log₂ T⌉. Adapt-ML-Prod combines them on the
linearised losses of the combined decision x_t, g_t = ∇f_t(x_t):

    x_t = Σ_i p_{t,i} x_{t,i},   p_{t,i} ∝ η_{t−1,i} w_{t−1,i}
    r_{t,i} = ⟨g_t, x_t − x_{t,i}⟩/(2 G D)
    η_{t,i} = min{1/2, √(ln K/(1 + Σ_{s ≤ t} r_{s,i}²))}
    w_{t,i} = (w_{t−1,i} (1 + η_{t−1,i} r_{t,i}))^{η_{t,i}/η_{t−1,i}},   w_{0,i} = 1/K

On every run and for every expert, with Q_i = Σ_t r_{t,i}²,

    Σ_t r_{t,i} ≤ 2 ln K + 2 √(ln K Q_i)
                   + max{2, √((1 + Q_i)/ln K)} ln(1 + (K/(2e)) (1 + ln(T + 1))).

References:
    Zhang, Wang, Yi, Yang. A simple yet universal strategy for online convex optimization. ICML
    2022.
    Gaillard, Stoltz, van Erven. A second-order bound with excess losses. COLT 2014, theorem 3 and
    corollary 4 (as recalled), with η_{0,i} = 1/2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core import checks
from ...core.checks import FloatArray
from ...core.environment import Environment, GradientFeedback
from ...core.guarantee import Guarantee, Pathwise
from ..gradient_descent import OGD
from ..gradient_learner import GradientLearner
from .instance import SEAInstance
from .optimistic_omd import OptimisticOMD
from .optimistic_ons import OptimisticONS
from .quantities import Quantity


def prod_bound(count: int, squares: Quantity, rounds: Quantity) -> Quantity:
    """The bound of Adapt-ML-Prod on Σ_t r_{t,i} for K = `count`, Q_i = `squares`, T = `rounds`."""
    log_k = math.log(count)
    rise = np.log1p(count / (2 * math.e) * (1 + np.log(rounds + 1)))
    slowest = np.maximum(2.0, np.sqrt((1 + squares) / log_k))  # 1/η_{T,i}
    result: Quantity = 2 * log_k + 2 * np.sqrt(log_k * squares) + slowest * rise
    return result


class Universal(GradientLearner):
    """R copies of the universal learner; see the module docstring.

    Args:
        dim: d >= 1.
        radius: r > 0 of the domain, the ball around 0.
        gradient_bound: G > 0, at least the norm of every gradient.
        smoothness: L >= 0 of the means; only the experts' bounds need it.
        experts: learners on the same domain to combine instead, two or more.
    """

    def __init__(
        self,
        dim: int,
        *,
        radius: float,
        gradient_bound: float,
        smoothness: float,
        experts: Sequence[GradientLearner] | None = None,
    ) -> None:
        bound = checks.positive(gradient_bound, "gradient_bound")
        super().__init__(dim, radius=radius, gradient_bound=bound)
        self.smoothness = float(checks.array(smoothness, "smoothness", shape=(), low=0.0))
        if experts is not None:
            if len(experts) < 2:
                raise ValueError(f"experts must be two or more, got {len(experts)}; add one")
            for i, expert in enumerate(experts):
                if expert.dim != self.dim or getattr(expert, "radius", None) != self.radius:
                    raise ValueError(
                        f"experts[{i}] must play in {self.dim} dimensions in the ball of radius "
                        f"{self.radius}, got {expert!r}; build it with these"
                    )
        self._given = experts

    def _default_experts(self, horizon: int) -> list[GradientLearner]:
        d = self.dim
        known: dict[str, Any] = {"radius": self.radius, "gradient_bound": self.gradient_bound}
        curvatures = [2.0**j / horizon for j in range(math.ceil(math.log2(horizon)) + 1)]
        smooth = known | {"smoothness": self.smoothness}
        return [
            OGD(d, **known),
            *(OptimisticOMD(d, strong_convexity=c, **smooth) for c in curvatures),
            *(OptimisticONS(d, exp_concavity=c, **smooth) for c in curvatures),
        ]

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """All experts start anew, with equal weights."""
        super().reset(n_replications, horizon, rng)
        given = self._given
        self.experts = list(given) if given is not None else self._default_experts(horizon)
        for expert in self.experts:
            expert.reset(n_replications, horizon, rng)
        shape = (n_replications, len(self.experts))
        self.log_weights = np.full(shape, -math.log(len(self.experts)))  # ln w_{t,i}
        self.squares = np.zeros(shape)  # Q_i
        self.excess = np.zeros(shape)  # Σ r_{t,i}
        self._no_optimism = np.zeros_like(self.point)
        self._combine()

    def _rates(self) -> FloatArray:
        """η_{t,i}, (R, K)."""
        return np.minimum(0.5, np.sqrt(math.log(len(self.experts)) / (1 + self.squares)))

    def _combine(self) -> None:
        """p_{t+1} and x_{t+1}."""
        scores = np.log(self._rates()) + self.log_weights
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        self.weights = weights / weights.sum(axis=-1, keepdims=True)
        self.points = np.stack([expert.act() for expert in self.experts], axis=1)  # (R, K, d)
        self.point = np.einsum("rk,rkd->rd", self.weights, self.points)

    def update(self, feedback: GradientFeedback) -> None:
        """Each expert learns from its own gradient, the weights from that at x_t."""
        g = feedback.gradients
        self.account.observe(self.point, g, self._no_optimism)
        gaps = (self.point[:, None] - self.points) @ g[:, :, None]
        r = gaps[:, :, 0] / (2 * self.gradient_bound * self.diameter)
        rates = self._rates()
        self.excess += r
        self.squares += r**2
        self.log_weights = (self.log_weights + np.log1p(rates * r)) * (self._rates() / rates)
        own = feedback.loss.gradient(self.points)
        for i, expert in enumerate(self.experts):
            expert.update(GradientFeedback(np.ascontiguousarray(own[:, i]), feedback.loss))
        self._combine()

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """2 G D times `prod_bound`, and the best of the experts' bounds; known after `reset`.

        The meta algorithm's part is the worst case, Q_i ≤ T/4.
        """
        G = self.gradient_bound
        if self.horizon is None or not isinstance(environment, SEAInstance):
            return None
        experts = [expert.guarantee(environment) for expert in self.experts]
        proven = [guarantee for guarantee in experts if guarantee is not None]
        if environment.gradient_bound > G * (1 + 1e-9) or not proven:
            return None
        count, scale = len(self.experts), 2 * G * self.diameter

        def bound(t: Quantity) -> Quantity:
            best: Quantity = np.min([guarantee.bound(t) for guarantee in proven], axis=0)
            return best + scale * prod_bound(count, np.asarray(t) / 4, t)

        return Guarantee(
            bound,
            kind="expected",
            assumptions=f"gradients at most G = {G:.4g}, losses convex",
            reference="Gaillard, Stoltz, van Erven, COLT 2014, theorem 3 (recalled), and the "
            "experts' proofs",
        )

    def pathwise(self) -> Pathwise | None:
        """Σ_t r_{t,i} and its bound for the expert where the slack is least."""
        if not self.within_bound():
            return None
        right = np.asarray(prod_bound(len(self.experts), self.squares, self.account.rounds))
        rows, worst = np.arange(len(self.excess)), (right - self.excess).argmin(axis=-1)
        reference = "Gaillard, Stoltz, van Erven 2014, theorem 3 (recalled)"
        return Pathwise(self.excess[rows, worst], right[rows, worst], reference)
