"""O-REPS: mirror descent over occupancy measures, for tabular MDPs with known transitions.

Episode k, from the occupancy measure q_1 of the uniform policy:

    π_k(a|s)  = q_k(s, a)/Σ_{a'} q_k(s, a')                         (uniform where the sum is 0)
    ℓ̂_k(s, a) = 1{(s, a) visited} ℓ_k(s, a)/(q_k(s, a) + γ)
    q_{k+1}   = argmin over occupancy measures q of η ⟨q, ℓ̂_k⟩ + Σ_h KL(q_h ‖ q_{k,h})

The dual of the last line is smooth, with a variable v_h(s) for each state of layers 2, ..., H:

    q_{k+1}(s, a) = q_k(s, a) exp(δ(s, a))/Z_h,   Z_h the sum over the layer,
    δ(s, a)       = −η ℓ̂_k(s, a) − v_h(s) + E_{s'}[v_{h+1}(s')],   v_1 = v_{H+1} = 0,

where v minimises Σ_h ln Z_h(v): its gradient is the flow into each state minus the flow out of it,
its Hessian a sum of covariances. Newton's method with a line search.

With γ = 0 the expected regret after t episodes is at most D/η + η N t/2. N is the number of pairs
(s, a) that can be reached, over all layers; D = (H (H + 1)/2) ln A >= Σ_h KL(q*_h ‖ q_{1,h}), since
no policy reaches a state of layer h with more than A^{h−1} times the uniform policy's probability.
The default η = √(2 D/(N K)) makes this √(2 D N K) after all K episodes.

References:
    Zimin, Neu. Online learning in episodic Markovian decision processes by relative entropy policy
    search. NeurIPS 2013.
Differs from the paper: its q_1 has the largest entropy, which changes D; η follows from that.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ...core import checks
from ...core.checks import FloatArray, IntArray
from ...core.environment import Environment, TrajectoryFeedback
from ...core.guarantee import Guarantee
from ...core.learner import Learner
from ..models import LinearMDP
from .environment import AdversarialMDP

_TOLERANCE = 1e-13  # of the flow into a state minus that out of it
_STEPS = 100  # of Newton; 3 to 6 are typical


@njit(cache=True)
def _tilted(
    q: FloatArray,
    tilt: FloatArray,
    transition: FloatArray,
    v: FloatArray,
    out: FloatArray,
) -> float:
    """out = q exp(δ)/Z for one replication, `tilt` = −η ℓ̂; returns Σ_h ln Z_h."""
    H, S, A = q.shape
    total = 0.0
    for h in range(H):
        largest = -np.inf
        for s in range(S):
            for a in range(A):
                if q[h, s, a] > 0.0:
                    delta = tilt[h, s, a] - v[h, s]
                    if h + 1 < H:
                        for t in range(S):
                            delta += transition[h, s, a, t] * v[h + 1, t]
                    out[h, s, a] = delta
                    largest = max(largest, delta)
        z = 0.0
        for s in range(S):
            for a in range(A):
                if q[h, s, a] > 0.0:
                    out[h, s, a] = q[h, s, a] * math.exp(out[h, s, a] - largest)
                    z += out[h, s, a]
                else:
                    out[h, s, a] = 0.0
        for s in range(S):
            for a in range(A):
                out[h, s, a] /= z
        total += largest + math.log(z)
    return total


@njit(cache=True)
def _derivatives(
    p: FloatArray, transition: FloatArray, gradient: FloatArray, hessian: FloatArray
) -> float:
    """Of Σ_h ln Z_h at p, in the variables v_2, ..., v_H; returns the largest |gradient|."""
    H, S, A = p.shape
    gradient[:] = 0.0
    hessian[:] = 0.0
    mean = np.empty(2 * S)
    feature = np.empty(2 * S)
    for h in range(H):
        # ln Z_h depends on v_h by −1[s] and on v_{h+1} by P(·|s, a)
        mean[:] = 0.0
        for s in range(S):
            for a in range(A):
                mean[s] -= p[h, s, a]
                if h + 1 < H:
                    for t in range(S):
                        mean[S + t] += p[h, s, a] * transition[h, s, a, t]
        first = (h - 1) * S  # of v_h; that of v_{h+1} is h S
        low = S if h == 0 else 0
        high = S if h + 1 == H else 2 * S
        for i in range(low, high):
            gradient[first + i] += mean[i]
        for s in range(S):
            for a in range(A):
                weight = p[h, s, a]
                if weight > 0.0:
                    for i in range(low, high):
                        own = (-1.0 if i == s else 0.0) if i < S else transition[h, s, a, i - S]
                        feature[i] = own - mean[i]
                    for i in range(low, high):
                        for j in range(low, i + 1):
                            hessian[first + i, first + j] += weight * feature[i] * feature[j]
    worst = 0.0
    for i in range(len(gradient)):
        worst = max(worst, abs(gradient[i]))
    return worst


@njit(cache=True)
def _newton_direction(hessian: FloatArray, gradient: FloatArray, out: FloatArray) -> None:
    """out = −(hessian + ridge)⁻¹ gradient; the ridge, as v + const leaves the dual as it is."""
    n = len(gradient)
    ridge = 0.0
    for i in range(n):
        ridge = max(ridge, hessian[i, i])
    ridge = 1e-11 * ridge + 1e-300
    for j in range(n):  # the Cholesky factor in place
        total = hessian[j, j] + ridge
        for k in range(j):
            total -= hessian[j, k] * hessian[j, k]
        hessian[j, j] = math.sqrt(max(total, ridge))
        for i in range(j + 1, n):
            total = hessian[i, j]
            for k in range(j):
                total -= hessian[i, k] * hessian[j, k]
            hessian[i, j] = total / hessian[j, j]
    for i in range(n):
        total = -gradient[i]
        for k in range(i):
            total -= hessian[i, k] * out[k]
        out[i] = total / hessian[i, i]
    for i in range(n - 1, -1, -1):
        total = out[i]
        for k in range(i + 1, n):
            total -= hessian[k, i] * out[k]
        out[i] = total / hessian[i, i]


@njit(cache=True)
def project_occupancies(
    measures: FloatArray, tilts: FloatArray, transition: FloatArray, out: FloatArray
) -> int:
    """out = the occupancy measures nearest in KL to measures · exp(tilts), (R, H, S, A).

    Returns the first replication whose flow is off by 1e-9 or more at the end, or −1.
    """
    n, H, S, _ = measures.shape
    size = (H - 1) * S
    v, trial = np.zeros((H, S)), np.zeros((H, S))
    gradient, direction, hessian = np.empty(size), np.empty(size), np.empty((size, size))
    for r in range(n):
        v[:] = 0.0
        value = _tilted(measures[r], tilts[r], transition, v, out[r])
        worst = _derivatives(out[r], transition, gradient, hessian)
        for _ in range(_STEPS):
            if worst <= _TOLERANCE:
                break
            _newton_direction(hessian, gradient, direction)
            slope = 0.0
            for i in range(size):
                slope += gradient[i] * direction[i]
            step, before = 1.0, value
            while True:
                for i in range(size):
                    trial[1 + i // S, i % S] = v[1 + i // S, i % S] + step * direction[i]
                value = _tilted(measures[r], tilts[r], transition, trial, out[r])
                if (
                    value <= before + 1e-4 * step * slope + 1e-14 * (1 + abs(before))
                    or step < 1e-10
                ):
                    break
                step *= 0.5
            v[:] = trial
            last = worst
            worst = _derivatives(out[r], transition, gradient, hessian)
            if worst >= last and worst < 1e-11:  # rounding stops the descent
                break
        if not worst < 1e-9:
            return r
    return -1


@njit(cache=True)
def _policies(measures: FloatArray, out: FloatArray) -> None:
    """π(a|s) ∝ q(s, a), uniform where q(s, ·) = 0."""
    n, H, S, A = measures.shape
    for r in range(n):
        for h in range(H):
            for s in range(S):
                total = 0.0
                for a in range(A):
                    total += measures[r, h, s, a]
                for a in range(A):
                    out[r, h, s, a] = measures[r, h, s, a] / total if total > 0.0 else 1.0 / A


@njit(cache=True)
def importance_weighted(
    measures: FloatArray,
    states: IntArray,
    actions: IntArray,
    losses: FloatArray,
    exploration: float,
    scale: float,
    out: FloatArray,
) -> None:
    """out[r, h, s_h, a_h] += scale · ℓ_h/(q(s_h, a_h) + γ)."""
    for r in range(states.shape[0]):
        for h in range(states.shape[1]):
            s, a = states[r, h], actions[r, h]
            out[r, h, s, a] += scale * losses[r, h] / (measures[r, h, s, a] + exploration)


class OREPS(Learner):
    """R copies of O-REPS; see the module docstring.

    Args:
        model: the MDP; its features are not used.
        learning_rate: η > 0; None: √(2 D/(N K)).
        exploration: γ >= 0 of the estimate; above 0: implicit exploration.

    Attributes:
        occupancies: q_k, (R, H, S, A).
    """

    def __init__(
        self, model: LinearMDP, *, learning_rate: float | None = None, exploration: float = 0.0
    ) -> None:
        if not isinstance(model, LinearMDP):
            raise TypeError(f"model must be a LinearMDP, got {model!r}; see tabular_as_linear")
        self.model = model
        self.learning_rate = checks.positive(learning_rate, "learning_rate", optional=True)
        self.exploration = float(checks.array(exploration, "exploration", shape=(), low=0.0))
        self._first = model.occupancy(model.uniform_policy())
        self.n_reachable = int((self._first > 0).sum())  # N
        H = model.horizon
        self.divergence = H * (H + 1) / 2 * math.log(model.n_actions)  # D
        self.eta: float | None = None

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """q_1 for R replications; `horizon` is K."""
        K = checks.integer(horizon, "horizon", minimum=1)
        tuned = math.sqrt(2 * max(self.divergence, 1e-12) / (self.n_reachable * K))
        self.eta = tuned if self.learning_rate is None else self.learning_rate
        self.occupancies = np.tile(self._first, (n_replications, 1, 1, 1))

    def act(self) -> FloatArray:
        """π_k, (R, H, S, A)."""
        policies = np.empty_like(self.occupancies)
        _policies(self.occupancies, policies)
        return policies

    def update(self, feedback: TrajectoryFeedback) -> None:
        """q_{k+1}."""
        assert self.eta is not None
        q = self.occupancies
        tilts = np.zeros_like(q)
        f = feedback
        importance_weighted(q, f.states, f.actions, f.losses, self.exploration, -self.eta, tilts)
        self.occupancies = np.empty_like(q)
        row = project_occupancies(q, tilts, self.model.transition, self.occupancies)
        if row >= 0:
            raise FloatingPointError(
                f"replication {row}: the projection onto the occupancy measures did not converge; "
                "lower the learning rate or raise exploration"
            )

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """D/η + η N t/2, for γ = 0; known after `reset`."""
        eta, D, N = self.eta, self.divergence, self.n_reachable
        if eta is None or self.exploration > 0 or not isinstance(environment, AdversarialMDP):
            return None
        return Guarantee(
            lambda t: D / eta + eta * N * t / 2,
            kind="expected",
            assumptions=f"losses in [0, 1], known transitions, η = {eta:.3g}",
            reference="Zimin, Neu, NeurIPS 2013; constants derived",
        )
