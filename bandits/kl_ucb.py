"""KL-UCB for stochastic bandits, on losses: confidence bounds by the Bernoulli divergence.

Each arm once, in order; then, after n_a plays of arm a with mean loss ℓ̄_a and t plays in all,

    A_{t+1} = argmin_a min{q ∈ [0, ℓ̄_a]: n_a kl(ℓ̄_a, q) <= b(t)},   b(t) = ln t + c ln ln t,

the first of equals, with kl(p, q) = p ln(p/q) + (1−p) ln((1−p)/(1−q)); ln ln t counts from t = 3.
c = 3 in the theory of Garivier and Cappé, 0 in their experiments and here.

Expected pseudo-regret: asymptotically Σ Δ_a ln t/kl(μ_a, μ*) for c = 3 (here for all c > 1), and at
each t, for all x, y > 0 with x + y < Δ_a (derived, as Lattimore and Szepesvári for another b),

    Σ_{Δ_a > 0} Δ_a (1 + b(t)/kl(μ_a − x, μ* + y) + 1/(2x²) + Σ_{s ≤ t} e^{−b(s)}/(2y²)).

In detail: the index of the best arm exceeds μ* + y at some n after s plays with probability at most
Σ_n e^{−b(s) − 2ny²} <= e^{−b(s)}/(2y²); in other rounds arm a is played after n plays of its own
only if n kl(ℓ̄_a, μ* + y) <= b(t), which holds for b(t)/kl(μ_a − x, μ* + y) + Σ_n e^{−2nx²} numbers
n in expectation, at most.

Only the best index is solved for. An arm is compared with the best so far, of index q, without
solving: its index is below q exactly if q < ℓ̄_a fails to cover, n_a kl(ℓ̄_a, q) < b(t).

References:
    Garivier, Cappé. The KL-UCB algorithm for bounded stochastic bandits and beyond. COLT 2011.
    Lattimore, Szepesvári. Bandit Algorithms. Cambridge University Press, 2020, theorem 10.6.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from ..core import checks
from ..core.checks import FloatArray, IntArray
from ..core.environment import BanditFeedback, Environment
from ..core.guarantee import Guarantee
from ..core.learner import Learner
from .environments import BernoulliBandit

_NEWTON_STEPS = 100  # 3 to 6 are typical
_GRID = np.linspace(0.02, 0.98, 49)
_SUMS, _SHARES = (each.ravel() for each in np.meshgrid(_GRID, _GRID))  # (x + y)/Δ, x/(x + y)


@njit(cache=True)
def _entropy(p: float) -> float:
    """p ln p + (1−p) ln(1−p) <= 0."""
    if p <= 0.0 or p >= 1.0:
        return 0.0
    return p * math.log(p) + (1.0 - p) * math.log1p(-p)


@njit(cache=True)
def _lower(p: float, entropy: float, radius: float) -> float:
    """ln of the least q in [0, p] with kl(p, q) <= radius; −∞ for q = 0.

    Newton's method in s = ln q, in which kl(p, e^s) is convex and decreases, from a point left of
    the root: the larger of p − √(radius/2) and of the root without the term in 1 − q.
    """
    if p < 1e-300:
        return -np.inf
    s = (entropy - radius) / p
    pinsker = p - math.sqrt(0.5 * radius)
    if pinsker > 0.0:
        s = max(s, math.log(pinsker))
    if p >= 1.0:
        return s
    for _ in range(_NEWTON_STEPS):
        q = math.exp(s)
        excess = entropy - p * s - (1.0 - p) * math.log1p(-q) - radius
        if excess <= 1e-14 * (1.0 + radius):
            break
        s += excess * (1.0 - q) / (p - q)  # −d kl/ds = (p − q)/(1 − q)
    return s


@njit(cache=True)
def _least_index(
    counts: FloatArray,
    sums: FloatArray,
    entropies: FloatArray,
    radius: float,
    last: IntArray,
    arms: IntArray,
) -> None:
    """arms[r] = argmin_k of the index, the first of equals; searched for from the arm last[r]."""
    n_arms = counts.shape[1]
    for r in range(counts.shape[0]):
        best = last[r]
        n = counts[r, best]
        s = _lower(sums[r, best] / n, entropies[r, best], radius / n)
        q = math.exp(s)
        log1m = math.log1p(-q)
        for k in range(n_arms):
            if k == best:
                continue
            m = counts[r, k]
            p = sums[r, k] / m
            if m == n and sums[r, k] == sums[r, best]:  # equal, exactly
                best = min(best, k)
                continue
            if p <= q:  # the index is below p, or 0 as p
                below = p > 0.0 or s > -np.inf or k < best
            elif s == -np.inf:  # the best index is 0, this one is not
                below = False
            else:
                below = m * (entropies[r, k] - p * s - (1.0 - p) * log1m) < radius
            if below:
                best, n = k, m
                s = _lower(p, entropies[r, k], radius / m)
                q = math.exp(s)
                log1m = math.log1p(-q)
        arms[r] = best


@njit(cache=True)
def _add_losses(
    counts: FloatArray, sums: FloatArray, entropies: FloatArray, arms: IntArray, losses: FloatArray
) -> None:
    for r in range(len(arms)):
        a = arms[r]
        counts[r, a] += 1.0
        sums[r, a] += losses[r]
        entropies[r, a] = _entropy(sums[r, a] / counts[r, a])


def divergence(p: Any, q: Any) -> Any:
    """kl(p, q) in nats, elementwise, for p in [0, 1] and q in (0, 1)."""
    from scipy.special import rel_entr

    return rel_entr(p, q) + rel_entr(1 - np.asarray(p), 1 - np.asarray(q))


class KLUCB(Learner):
    """R copies of KL-UCB; see the module docstring.

    Args:
        n_arms: K >= 2.
        c: factor of ln ln t, at least 0.
    """

    def __init__(self, n_arms: int, *, c: float = 0.0) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)
        self.c = checks.nonnegative(c, "c")

    def radius(self, t: Any) -> Any:
        """b(t) for numbers of plays t >= 1, one or an array."""
        log = np.log(t)
        return log + self.c * np.log(np.maximum(log, 1.0))

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """No plays yet."""
        shape = (n_replications, self.n_arms)
        self.counts = np.zeros(shape)
        self.sums = np.zeros(shape)  # of losses
        self._entropies = np.zeros(shape)  # of the mean losses
        self._arms = np.zeros(n_replications, dtype=np.int64)
        self._plays = 0

    def act(self) -> IntArray:
        """The arm of least index, shape (R,)."""
        arms = np.empty(len(self.counts), dtype=np.int64)
        if self._plays < self.n_arms:
            arms[:] = self._plays
        else:
            radius = float(self.radius(self._plays))
            _least_index(self.counts, self.sums, self._entropies, radius, self._arms, arms)
        self._arms = arms
        return arms

    def update(self, feedback: BanditFeedback) -> None:
        """Count the play and add its loss."""
        self._plays += 1
        _add_losses(self.counts, self.sums, self._entropies, feedback.arms, feedback.losses)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """Σ Δ_a (1 + b(t)/kl(μ_a − x, μ* + y) + 1/(2x²) + Σ_s e^{−b(s)}/(2y²)), for fixed means.

        Least over a grid of x and y. None but in a `BernoulliBandit`.
        """
        if not isinstance(environment, BernoulliBandit):
            return None
        least = float(environment.means.min())
        gaps = environment.gaps[environment.gaps > 0]

        def plays(gap: float, radius: FloatArray, late: FloatArray) -> FloatArray:
            """Of an arm of this gap, (P,), but for the first."""
            x, y = gap * _SUMS * _SHARES, gap * _SUMS * (1 - _SHARES)
            information = np.maximum(divergence(least + gap - x, least + y), 1e-300)
            fixed = 0.5 / x**2
            each = radius[:, None] / information + fixed + late[:, None] / (2 * y**2)
            result: FloatArray = each.min(axis=1)
            return result

        def bound(t: Any) -> Any:
            rounds = np.atleast_1d(np.asarray(t, dtype=float))
            late = np.cumsum(np.exp(-self.radius(np.arange(1.0, rounds.max() + 1))))
            late, radius = late[np.ceil(rounds).astype(int) - 1], self.radius(rounds)
            total = np.zeros_like(rounds)
            for gap in gaps:
                total += gap * np.minimum(plays(gap, radius, late) + 1, rounds)
            return total if np.ndim(t) else total[0]

        return Guarantee(
            bound=bound,
            kind="expected",
            assumptions="losses in [0, 1], independent and of fixed means",
            reference="derived, as Lattimore, Szepesvári 2020, theorem 10.6",
        )
