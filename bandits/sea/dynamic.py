"""Two-layer ensembles for dynamic regret: many step sizes below, Hedge above.

Base i = 1, ..., N runs gradient descent with the constant step η_i on the gradient g_t = ∇f_t(x_t)
of the combined decision x_t = Σ_i p_{t,i} x_{t,i}; one gradient a round serves all of them.

`DynamicOptimisticOMD` (Sword++ in the SEA model). The bases are optimistic, M_t = g_{t−1}:

    x_{t,i} = Π[x̂_{t,i} − η_i M_t],   x̂_{t+1,i} = Π[x̂_{t,i} − η_i g_t]
    η_i = min{1/(8L), 2^{i−1} √(D²/(8 G² T))},   N = ⌈½ log₂(G² T/(8 D² L²))⌉ + 1

and so is the meta algorithm, with a price on movement, ρ = 2L, c_{t,i} = ρ ‖x_{t,i} − x_{t−1,i}‖²:

    ℓ_{t,i} = ⟨g_t, x_{t,i}⟩ + c_{t,i},   m_{t,i} = ⟨M_t, x_{t,i}⟩ + c_{t,i}
    p_{t,i} ∝ exp(−ε_t (Σ_{s < t} ℓ_{s,i} + m_{t,i}))
    ε_t = min{1/(8 D² L), √(ln N/(D² (1 + V_{t−1})))},   V_t = Σ_{s ≤ t} ‖g_s − M_s‖².

On every run, for each i and all u_1, u_2, ... in the ball with path length P_T,

    Σ ⟨g_t, x_t − u_t⟩ ≤ ln N/ε_T + Σ ε_t ‖ℓ_t − m_t‖²_∞ − Σ_{t ≥ 2} ‖p_t − p_{t−1}‖₁²/(6 ε_{t−1})
                         − Σ_t Σ_j p_{t,j} c_{t,j} + ρ S_i
                         + η_i V_T + (D² + 2 D P_T)/(2 η_i) − S_i/(4 η_i),

S_i = Σ_{t ≥ 2} ‖x_{t,i} − x_{t−1,i}‖². Its expectation in the SEA model is `dynamic_bound`.

`variant="pynol"` is Sword++ as the library PyNOL has it: the meta algorithm is optimistic mirror
descent, steps are √(D²/(G² T)) 2^{i−1} up to the first above 1/(8L), and
ε_t = min{1/(8 D² L), 1/√(1 + Σ_{s < t} ‖ℓ_s − m_s‖²_∞)}, ε_1 = 1/(8 D² L). It carries no bound.

`Ader` is the ensemble without optimism: M = 0, ρ = 0, losses ⟨g_t, x_{t,i} − x_t⟩,

    η_i = 2^{i−1} (D/G) √(7/(2T)),   N = ⌈½ log₂(1 + 4T/7)⌉ + 1,   ε = √(2/(T G² D²)),
    p_{1,i} = (1 + 1/N)/(i (i + 1)).

References:
    Zhao, Zhang, Zhang, Zhou. Adaptivity and non-stationarity: problem-dependent dynamic regret for
    online convex optimization. JMLR 25, 2024 (Sword++).
    Chen, Zhang, Tu, Zhao, Zhang. JMLR 25(178), 2024 (in the SEA model; orders only, as recalled).
    Zhang, Lu, Zhou. Adaptive online learning in dynamic environments. NeurIPS 2018 (Ader).
Differs from the papers: the constants of the bounds are derived here.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from ...core import checks
from ...core.checks import FloatArray
from ...core.environment import Environment, GradientFeedback
from ...core.guarantee import Guarantee, Pathwise
from ..gradient_learner import GradientLearner
from .instance import SEAInstance
from .quantities import Quantity, SEAQuantities


def dynamic_bound(
    q: SEAQuantities, path_length: Quantity, *, D: float, G: float, L: float, steps: FloatArray
) -> Quantity:
    """E Σ F_t(x_t) − F_t(u_t) for `DynamicOptimisticOMD` on a ball, at most

        12.5 D²L ln N + D √(ln N) (1.5 √(1 + V) + G²) + min_i η_i V + (D² + 2 D P_T)/(2 η_i)

    with V = G² + 8 σ²_{1:T} + 4 Σ²_{1:T}.
    """  # noqa: D415
    drift = np.asarray(G**2 + 8 * q.sigma2_cum + 4 * q.Sigma2_cum)[..., None]
    spread = np.asarray(D**2 + 2 * D * np.asarray(path_length))[..., None]
    base = (steps * drift + spread / (2 * steps)).min(axis=-1)
    log_n = math.log(len(steps))
    meta = 1.5 * np.sqrt(1 + drift[..., 0]) + G**2
    bound: Quantity = 12.5 * D**2 * L * log_n + D * math.sqrt(log_n) * meta + base
    return bound


def ader_bound(
    rounds: Quantity,
    path_length: Quantity,
    *,
    D: float,
    G: float,
    steps: FloatArray,
    rate: float,
    prior: FloatArray,
) -> Quantity:
    """min_i ln(1/p_{1,i})/ε + ε T G²D²/2 + η_i G² T/2 + (D² + 2 D P_T)/(2 η_i), for `Ader`."""
    t = np.asarray(rounds, dtype=float)[..., None]
    spread = np.asarray(D**2 + 2 * D * np.asarray(path_length))[..., None]
    base = steps * G**2 * t / 2 + spread / (2 * steps)
    meta = np.log(1 / prior) / rate + rate * t * (G * D) ** 2 / 2
    result: Quantity = (base + meta).min(axis=-1)
    return result


class StepSizeEnsemble(GradientLearner):
    """What the ensembles share: the bases.

    Attributes:
        steps: η_1, ..., η_N, known after `reset`.
        points: x_{t,i}, (R, N, d).
        weights: p_t, (R, N).
    """

    steps: FloatArray

    def _reset_bases(self, n_replications: int) -> None:
        self.points = np.zeros((n_replications, len(self.steps), self.dim))
        self.leaders = self.points  # x̂_{t,i}
        self.optimism = np.zeros_like(self.point)  # M_t

    def _combine(self, scores: FloatArray) -> None:
        """p_t ∝ exp(scores), x_t = Σ_i p_{t,i} x_{t,i}."""
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        self.weights = weights / weights.sum(axis=-1, keepdims=True)
        self.point = np.einsum("rn,rnd->rd", self.weights, self.points)

    def _values(self, vectors: FloatArray) -> FloatArray:
        """⟨vector, x_{t,i}⟩, (R, N)."""
        return (self.points @ vectors[:, :, None])[:, :, 0]


class DynamicOptimisticOMD(StepSizeEnsemble):
    """R copies of the optimistic ensemble; see the module docstring.

    Args:
        dim: d >= 1.
        radius: r > 0 of the domain, the ball around 0.
        gradient_bound: G > 0, at least the norm of every gradient.
        smoothness: L > 0 of the means (for linear losses, any small number: it caps the steps).
        variant: "paper", or "pynol" for the form of that library.
    """

    def __init__(
        self,
        dim: int,
        *,
        radius: float,
        gradient_bound: float,
        smoothness: float,
        variant: Literal["paper", "pynol"] = "paper",
    ) -> None:
        bound = checks.positive(gradient_bound, "gradient_bound")
        super().__init__(dim, radius=radius, gradient_bound=bound)
        self.smoothness = checks.positive(smoothness, "smoothness")
        if variant not in ("paper", "pynol"):
            raise ValueError(f'variant must be "paper" or "pynol", got {variant!r}')
        self.variant = variant

    def _pool(self, horizon: int) -> FloatArray:
        """The steps η_i."""
        D, G, L = self.diameter, self.gradient_bound, self.smoothness
        largest = 1 / (8 * L)
        if self.variant == "paper":
            count = max(math.ceil(0.5 * math.log2(G**2 * horizon / (8 * D**2 * L**2))) + 1, 1)
            return np.minimum(largest, 2.0 ** np.arange(count) * D / (G * math.sqrt(8 * horizon)))
        steps = [D / (G * math.sqrt(horizon))]
        while steps[-1] <= largest:
            steps.append(2 * steps[-1])
        return np.array(steps)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """All bases start at 0, with equal weights."""
        super().reset(n_replications, horizon, rng)
        self.steps = self._pool(checks.integer(horizon, "horizon", minimum=1))
        self._reset_bases(n_replications)
        shape = (n_replications, len(self.steps))
        self.weights = np.full(shape, 1 / len(self.steps))
        self.penalties = np.zeros(shape)  # c_{t,i}
        self.cumulative = np.zeros(shape)  # Σ_{s < t} ℓ_s; for "pynol" Σ_{s < t} ε_s ℓ_s
        self.errors = np.zeros(n_replications)  # Σ_{s < t} ‖ℓ_s − m_s‖²_∞
        self.rate = self._next_rate()  # ε_t, (R, 1)
        self._last_weights, self._last_rate = self.weights, self.rate
        self._base_movement = np.zeros(shape)  # S_i
        self._meta_sums = np.zeros(n_replications)  # the sums of the path-wise inequality

    def _next_rate(self) -> FloatArray:
        """ε_{t+1} after t rounds, (R, 1)."""
        D, cap = self.diameter, 1 / (8 * self.diameter**2 * self.smoothness)
        if self.variant == "paper":
            scale = math.sqrt(math.log(len(self.steps))) / D
            rate = np.minimum(cap, scale / np.sqrt(1 + self.account.variation))
        elif self.account.rounds == 0:
            rate = np.full(len(self.errors), cap)
        else:
            rate = np.minimum(cap, 1 / np.sqrt(1 + self.errors))
        return rate[:, None]

    def update(self, feedback: GradientFeedback) -> None:
        """ℓ_t, the two steps of the bases, then p_{t+1} and x_{t+1}."""
        g = feedback.gradients
        eta = np.broadcast_to(self.steps, self.weights.shape)
        self.account.observe(self.point, g, self.optimism)
        gaps = np.abs(self._values(g - self.optimism)).max(axis=-1) ** 2  # ‖ℓ_t − m_t‖²_∞
        self._sum_up(gaps)
        self.errors += gaps
        losses = self._values(g) + self.penalties
        self.cumulative += losses if self.variant == "paper" else self.rate * losses

        self.leaders = self.descend(self.leaders, eta, g)
        last, self.points = self.points, self.descend(self.leaders, eta, g)
        moves = self.points - last
        self.penalties = 2 * self.smoothness * np.einsum("rnd,rnd->rn", moves, moves)
        self.optimism = g

        self._last_weights, self._last_rate, self.rate = self.weights, self.rate, self._next_rate()
        hopes = self._values(g) + self.penalties  # m_{t+1}
        if self.variant == "paper":
            self._combine(-self.rate * (self.cumulative + hopes))
        else:
            self._combine(-(self.cumulative + self.rate * hopes))

    def _sum_up(self, gaps: FloatArray) -> None:
        """Round t in the sums of the path-wise inequality."""
        shift = np.abs(self.weights - self._last_weights).sum(axis=-1) ** 2
        self._meta_sums += self.rate[:, 0] * gaps - (self.weights * self.penalties).sum(axis=-1)
        if len(self.steps) > 1:
            self._meta_sums -= shift / (6 * self._last_rate[:, 0])
        self._base_movement += self.penalties / (2 * self.smoothness)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """`dynamic_bound` against the environment's comparators, for variant "paper".

        Known after `reset`.
        """
        G, L = self.gradient_bound, self.smoothness
        if (
            self.variant != "paper"
            or self.horizon is None
            or not isinstance(environment, SEAInstance)
            or not self.covers(environment, moving=True)
        ):
            return None

        def bound(t: Quantity) -> Quantity:
            q, path = environment.quantities(t), environment.path_length(t)
            return dynamic_bound(q, path, D=self.diameter, G=G, L=L, steps=self.steps)

        return Guarantee(
            bound,
            kind="expected",
            assumptions=f"gradients at most G = {G:.4g}, means convex and L-smooth, L = {L:.4g}",
            reference="Chen et al., JMLR 25(178), 2024; constants derived",
        )

    def pathwise(self) -> Pathwise | None:
        """The inequality of the module docstring for one u, the worst, and the best i."""
        if self.variant != "paper":
            return None
        a, eta, D = self.account, self.steps, self.diameter
        base = eta * a.variation[:, None] + D**2 / (2 * eta)
        base = base + (2 * self.smoothness - 1 / (4 * eta)) * self._base_movement
        meta = math.log(len(eta)) / self._last_rate[:, 0] if len(eta) > 1 else 0.0
        right: FloatArray = meta + self._meta_sums + base.min(axis=-1)
        return Pathwise(self.linear_regret(), right, "DynamicOptimisticOMD, path-wise: derived")


class Ader(StepSizeEnsemble):
    """R copies of the ensemble without optimism; see the module docstring.

    Args:
        dim: d >= 1.
        radius: r > 0 of the domain, the ball around 0.
        gradient_bound: G > 0, at least the norm of every gradient.
    """

    def __init__(self, dim: int, *, radius: float, gradient_bound: float) -> None:
        bound = checks.positive(gradient_bound, "gradient_bound")
        super().__init__(dim, radius=radius, gradient_bound=bound)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """All bases start at 0, with weights p_1."""
        super().reset(n_replications, horizon, rng)
        scale, T = self.diameter / self.gradient_bound, horizon
        count = math.ceil(0.5 * math.log2(1 + 4 * T / 7)) + 1
        powers = np.exp2(np.arange(count, dtype=np.float64))
        self.steps = powers * scale * math.sqrt(7 / (2 * T))
        self.rate = math.sqrt(2 / T) / (self.gradient_bound * self.diameter)
        i = np.arange(1, count + 1)
        self.prior = (1 + 1 / count) / (i * (i + 1))
        self._reset_bases(n_replications)
        self.weights = np.tile(self.prior / self.prior.sum(), (n_replications, 1))
        self.cumulative = np.zeros((n_replications, count))

    def update(self, feedback: GradientFeedback) -> None:
        """Steps of the bases, then p_{t+1,i} ∝ p_{1,i} exp(−ε Σ_{s ≤ t} ⟨g_s, x_{s,i}⟩)."""
        g = feedback.gradients
        self.account.observe(self.point, g, self.optimism)
        self.cumulative += self._values(g)
        eta = np.broadcast_to(self.steps, self.points.shape[:2])
        self.points = self.descend(self.points, eta, g)
        self._combine(np.log(self.prior) - self.rate * self.cumulative)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """`ader_bound` against the environment's comparators; known after `reset`."""
        G = self.gradient_bound
        if (
            self.horizon is None
            or not isinstance(environment, SEAInstance)
            or not self.covers(environment, moving=True)
        ):
            return None

        def bound(t: Quantity) -> Quantity:
            return ader_bound(
                t,
                environment.path_length(t),
                D=self.diameter,
                G=G,
                steps=self.steps,
                rate=self.rate,
                prior=self.prior,
            )

        return Guarantee(
            bound,
            kind="expected",
            assumptions=f"gradients at most G = {G:.4g}, means convex",
            reference="Zhang, Lu, Zhou, NeurIPS 2018; constants derived",
        )
