"""UOB-REPS: mirror descent over occupancy measures, for tabular MDPs with unknown transitions.

𝒫 is a set of transitions, a box around frequencies for each pair (s, a); Δ(𝒫) are the measures
q_h(s, a, s') >= 0, of mass 1 a layer, with flow into s = flow out of s and conditionals in 𝒫; in
layer H, which leads nowhere, they are q_H(s, a). Episode k, from q̂_1 uniform in each layer:

    π_k(a|s)     ∝ q̂_k(s, a) = Σ_{s'} q̂_k(s, a, s')                    (uniform where it is 0)
    u_k(s, a)    = π_k(a|s) max_{p ∈ 𝒫} Pr[s_h = s | p, π_k]            (upper occupancy bound)
    ℓ̂_k(s, a)    = 1{(s, a) visited} ℓ_k(s, a)/(u_k(s, a) + γ)
    N(s, a), M(s, a, s')  count the visits so far; where an N(s, a) is at least max{1, 2 N(s, a) at
                 the start of this epoch}, the next epoch starts, with P̄ = M/max{1, N} and
    𝒫            = {p : |p(s'|s, a) − P̄(s'|s, a)| <= ε(s'|s, a)},    c = ln(K X A/δ),
    ε(s'|s, a)   = 2 √(P̄(s'|s, a) c/max{1, N(s, a) − 1}) + 14 c/(3 max{1, N(s, a) − 1})
    q̂_{k+1}      = argmin_{q ∈ Δ(𝒫)} η ⟨q, ℓ̂_k⟩ + Σ_h KL(q_h ‖ q̂_{k,h})

X = H S, states of all layers. In the first epoch 𝒫 holds everything.

u_k: g_h = 1[· = s], g_j(x) = Σ_a π_k(a|x) max_{p ∈ 𝒫(x, a)} ⟨p, g_{j+1}⟩ for j < h; g_1(s_1) is the
largest probability. Each max is greedy: the lower bounds, then the rest to the largest g first.

q̂_{k+1}: write q(s, a, s') = m(s, a) p(s'|s, a), and q̂_k exp(−η ℓ̂_k) = m̃ p̃. The dual is smooth, with
a variable v_h(s) for each state of layers 2, ..., H, and v_1 = v_{H+1} = 0:

    f(s, a)       = max_{p ∈ 𝒫(s, a)} ⟨p, v_{h+1}⟩ − KL(p ‖ p̃),
                    at λ p̃(s') exp v_{h+1}(s') clipped to the box, where λ makes Σ p = 1;
    q̂_{k+1}(s, a) = m̃(s, a) exp(f(s, a) − v_h(s))/Z_h,   Z_h the sum over the layer,

where v minimises Σ_h ln Z_h(v): its gradient is the flow into each state minus the flow out of it.
Newton's method with a line search. The gradient has kinks where a p(s') reaches its box; one of its
Jacobians is the covariance of the features (−1[s], p) under m plus, in the block of v_{h+1},
Σ m (diag(p_F) − p_F p_Fᵀ/Σ p_F), F the coordinates inside their box.

q̂ is held as ln π and ln p: it meets the flow by construction, and no entry becomes 0, so that KL is
finite when a later 𝒫 asks for more of it.

References:
    Jin, Jin, Luo, Sra, Yu. Learning adversarial Markov decision processes with bandit feedback and
    unknown transition. ICML 2020.
Differs from the paper: there the first layer has one state; X counts S for it all the same, which
makes 𝒫 a little larger and η a little smaller. Flows of less than 1e-280 are not balanced.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ...core import checks
from ...core.checks import FloatArray, IntArray
from ...core.environment import TrajectoryFeedback
from ...core.learner import Learner
from ..models import LinearMDP

_TOLERANCE = 1e-12  # of the flow into a state relative to that out of it
_STEPS = 100  # of Newton; 2 to 4 are typical
_STRIDE = 10.0  # step of a v(s): states of tiny mass do not show in the line search
_FLOOR = 1e-280  # flows below are left alone


@njit(cache=True)
def confidence_boxes(
    visits: FloatArray, moves: FloatArray, log_term: float, low: FloatArray, high: FloatArray
) -> None:
    """low, high = [P̄ − ε, P̄ + ε] ∩ [0, 1] of one replication, (H − 1, S, A, S)."""
    layers, S, A, _ = moves.shape
    for h in range(layers):
        for s in range(S):
            for a in range(A):
                rate = log_term / max(1.0, visits[h, s, a] - 1.0)
                for t in range(S):
                    mean = moves[h, s, a, t] / max(1.0, visits[h, s, a])
                    width = 2.0 * math.sqrt(mean * rate) + 14.0 / 3.0 * rate
                    low[h, s, a, t] = max(mean - width, 0.0)
                    high[h, s, a, t] = min(mean + width, 1.0)


@njit(cache=True)
def _count(
    states: IntArray,
    actions: IntArray,
    visits: FloatArray,
    moves: FloatArray,
    at_start: FloatArray,
    epochs: IntArray,
    log_term: float,
    low: FloatArray,
    high: FloatArray,
) -> None:
    """Count a trajectory of each replication; where a count has doubled, start an epoch."""
    n, H = states.shape
    for r in range(n):
        doubled = False
        for h in range(H):
            s, a = states[r, h], actions[r, h]
            visits[r, h, s, a] += 1.0
            if h + 1 < H:
                moves[r, h, s, a, states[r, h + 1]] += 1.0
            if visits[r, h, s, a] >= max(1.0, 2.0 * at_start[r, h, s, a]):
                doubled = True
        if doubled:
            epochs[r] += 1
            for h in range(H):
                for s in range(visits.shape[2]):
                    for a in range(visits.shape[3]):
                        at_start[r, h, s, a] = visits[r, h, s, a]
            confidence_boxes(visits[r], moves[r], log_term, low[r], high[r])


@njit(cache=True)
def upper_reach(
    policies: FloatArray,
    low: FloatArray,
    high: FloatArray,
    states: IntArray,
    initial_state: int,
    out: FloatArray,
) -> None:
    """out[r, h] = max over p in the boxes of Pr[s_h = states[r, h] | p, π]."""
    n, H, S, A = policies.shape
    values, order = np.empty((2, S)), np.arange(S)
    for r in range(n):
        for h in range(H):
            for s in range(S):
                values[h % 2, s] = 1.0 if s == states[r, h] else 0.0
            for j in range(h - 1, -1, -1):
                now, following = values[j % 2], values[(j + 1) % 2]
                for i in range(1, S):  # by insertion, the largest first
                    t, k = order[i], i
                    while k > 0 and following[order[k - 1]] < following[t]:
                        order[k] = order[k - 1]
                        k -= 1
                    order[k] = t
                for s in range(S):
                    now[s] = 0.0
                    if j == 0 and s != initial_state:
                        continue
                    for a in range(A):
                        rest, best = 1.0, 0.0
                        for t in range(S):
                            rest -= low[r, j, s, a, t]
                            best += low[r, j, s, a, t] * following[t]
                        for i in range(S):
                            t = order[i]
                            more = min(high[r, j, s, a, t] - low[r, j, s, a, t], rest)
                            best += more * following[t]
                            rest -= more
                            if rest <= 0.0:
                                break
                        now[s] += policies[r, j, s, a] * best
            out[r, h] = min(values[0, initial_state], 1.0)


@njit(cache=True)
def tilted_conditional(
    log_p: FloatArray,
    v: FloatArray,
    low: FloatArray,
    high: FloatArray,
    weights: FloatArray,
    log_out: FloatArray,
    out: FloatArray,
) -> float:
    """out = argmax of ⟨p, v⟩ − KL(p ‖ p̃) over the box and the simplex; returns the maximum.

    λ = (1 − Σ fixed)/Σ_{free} p̃ e^v. Where clipping the free would make the sum less than 1, those
    clipped from above stay so as λ grows, and are fixed; otherwise those clipped from below.
    `weights` (S,) tells them: those of the fixed are negative.
    """
    S = len(v)
    rest, value, free = 1.0, 0.0, 0
    for t in range(S):
        if high[t] > 0.0:
            free += 1
            weights[t] = 0.0
            log_out[t] = log_p[t] + v[t]
        else:
            weights[t] = -1.0
            log_out[t] = -np.inf
            out[t] = 0.0
    while free > 0:
        top, total = -np.inf, 0.0
        for t in range(S):
            if weights[t] >= 0.0:
                top = max(top, log_out[t])
        for t in range(S):
            if weights[t] >= 0.0:
                weights[t] = math.exp(log_out[t] - top)
                total += weights[t]
        rest = max(rest, 1e-17)  # by rounding it may be below 0
        scale, excess, outside = rest / total, 0.0, False
        for t in range(S):
            x = scale * weights[t]
            if x > high[t]:
                excess += x - high[t]
                outside = True
            elif 0.0 <= x < low[t]:
                excess -= low[t] - x
                outside = True
        if not outside:
            shift = math.log(scale) - top  # ln λ
            for t in range(S):
                if weights[t] >= 0.0:
                    out[t] = scale * weights[t]
                    log_out[t] += shift
            return value - rest * shift
        for t in range(S):
            x = scale * weights[t]
            above = excess >= 0.0 and x > high[t]
            if above or (excess < 0.0 and 0.0 <= x < low[t]):
                out[t] = high[t] if above else low[t]
                weights[t] = -1.0
                free -= 1
                rest -= out[t]
                log_out[t] = math.log(out[t])
                value += out[t] * (v[t] + log_p[t] - log_out[t])
    return value


@njit(cache=True)
def dual_value(
    log_m: FloatArray,
    log_p: FloatArray,
    low: FloatArray,
    high: FloatArray,
    v: FloatArray,
    weights: FloatArray,
    gain: FloatArray,
    m: FloatArray,
    log_next: FloatArray,
    p: FloatArray,
) -> float:
    """gain = ln m̃ + f, m = exp(gain − v)/Z, p with its logarithm; returns Σ_h ln Z_h."""
    H, S, A = m.shape
    total = 0.0
    for h in range(H):
        largest = -np.inf
        for s in range(S):
            for a in range(A):
                gain[h, s, a] = log_m[h, s, a]
                if log_m[h, s, a] > -np.inf:
                    if h + 1 < H:
                        gain[h, s, a] += tilted_conditional(
                            log_p[h, s, a],
                            v[h + 1],
                            low[h, s, a],
                            high[h, s, a],
                            weights[h, s, a],
                            log_next[h, s, a],
                            p[h, s, a],
                        )
                    largest = max(largest, gain[h, s, a] - v[h, s])
        z = 0.0
        for s in range(S):
            for a in range(A):
                m[h, s, a] = math.exp(gain[h, s, a] - v[h, s] - largest)
                z += m[h, s, a]
        for s in range(S):
            for a in range(A):
                m[h, s, a] /= z
        total += largest + math.log(z)
    return total


@njit(cache=True)
def dual_derivatives(
    m: FloatArray,
    p: FloatArray,
    weights: FloatArray,
    flows: FloatArray,
    gradient: FloatArray,
    hessian: FloatArray,
) -> float:
    """Of Σ_h ln Z_h, in v_2, ..., v_H; returns the largest |ln(flow in/flow out)| of a state.

    The Hessian is filled below its diagonal, `flows` (2, H, S) with those into and out of states.
    """
    H, S, A = m.shape
    flows[:] = 0.0
    inward, outward = flows[0], flows[1]
    for h in range(H):
        for s in range(S):
            for a in range(A):
                outward[h, s] += m[h, s, a]
                if h + 1 < H and m[h, s, a] > 0.0:
                    for t in range(S):
                        inward[h + 1, t] += m[h, s, a] * p[h, s, a, t]
    hessian[:] = 0.0
    worst = 0.0
    for h in range(1, H):  # v_h, and its products with v_{h−1} below
        first = (h - 1) * S
        for s in range(S):
            into, out = inward[h, s], outward[h, s]
            gradient[first + s] = into - out
            worst = max(worst, abs(math.log(max(into, _FLOOR) / max(out, _FLOOR))))
            hessian[first + s, first + s] = out * (1.0 - out)
            for t in range(s):
                hessian[first + s, first + t] = -out * outward[h, t]
        for s in range(S):
            for a in range(A):
                weight = m[h - 1, s, a]
                if weight == 0.0:
                    continue
                mass, mean = 0.0, inward[h]  # mass: Σ p_F
                for t in range(S):
                    if weights[h - 1, s, a, t] >= 0.0:
                        mass += p[h - 1, s, a, t]
                for t in range(S):
                    row, x = hessian[first + t], p[h - 1, s, a, t]
                    if h > 1:
                        row[first - S + s] -= weight * (x - mean[t])
                    for u in range(t + 1):
                        y = p[h - 1, s, a, u]
                        row[first + u] += weight * (x - mean[t]) * (y - mean[u])
                        if weights[h - 1, s, a, t] >= 0.0 and weights[h - 1, s, a, u] >= 0.0:
                            share = (mass - x if t == u else -y) / max(mass, 1e-300)
                            row[first + u] += weight * x * share
    return worst


@njit(cache=True)
def _largest(x: FloatArray) -> float:
    largest = 0.0
    for i in range(len(x)):
        largest = max(largest, abs(x[i]))
    return largest


@njit(cache=True)
def _newton_direction(
    hessian: FloatArray, gradient: FloatArray, flows: FloatArray, out: FloatArray
) -> None:
    """out = −hessian⁻¹ gradient, for v_h = 0 in the state of most mass of each layer.

    v_h + const leaves the dual as it is. The variance of that state is the one that rounding would
    spoil; with the others Cholesky is accurate whatever the scales of the masses are.
    """
    n, S = len(gradient), flows.shape[2]
    for h in range(1, flows.shape[1]):
        largest = np.argmax(flows[1, h])
        for s in range(S):
            if s == largest or max(flows[0, h, s], flows[1, h, s]) <= _FLOOR:
                i = (h - 1) * S + s
                gradient[i] = 0.0
                hessian[i, :] = 0.0
                hessian[:, i] = 0.0
                hessian[i, i] = 1.0
    for j in range(n):  # the Cholesky factor in place, of half-width 2 S
        total = hessian[j, j]
        for k in range(max(0, j - 2 * S), j):
            total -= hessian[j, k] * hessian[j, k]
        hessian[j, j] = math.sqrt(max(total, 1e-14 * hessian[j, j] + 1e-300))
        for i in range(j + 1, min(n, j + 2 * S)):
            total = hessian[i, j]
            for k in range(max(0, i - 2 * S), j):
                total -= hessian[i, k] * hessian[j, k]
            hessian[i, j] = total / hessian[j, j]
    for i in range(n):
        total = -gradient[i]
        for k in range(max(0, i - 2 * S), i):
            total -= hessian[i, k] * out[k]
        out[i] = total / hessian[i, i]
    for i in range(n - 1, -1, -1):
        total = out[i]
        for k in range(i + 1, min(n, i + 2 * S)):
            total -= hessian[k, i] * out[k]
        out[i] = total / hessian[i, i]


@njit(cache=True)
def _log_tilted_measure(
    log_pi: FloatArray,
    log_p: FloatArray,
    tilt: FloatArray,
    initial_state: int,
    mass: FloatArray,
    out: FloatArray,
) -> None:
    """out = ln m̃, −∞ for states of layer 1 other than s_1; `mass` (H, S) is that of states in q̂."""
    H, S, A = out.shape
    mass[:] = 0.0
    mass[0, initial_state] = 1.0
    for h in range(H):
        for s in range(S):
            scale = -np.inf
            if h > 0 or s == initial_state:
                scale = math.log(max(mass[h, s], 1e-300))
            for a in range(A):
                out[h, s, a] = scale + log_pi[h, s, a] + tilt[h, s, a]
                if h + 1 < H and mass[h, s] > 0.0:
                    weight = mass[h, s] * math.exp(log_pi[h, s, a])
                    for t in range(S):
                        mass[h + 1, t] += weight * math.exp(log_p[h, s, a, t])


@njit(cache=True)
def project_conditionals(
    log_policies: FloatArray,
    log_conditionals: FloatArray,
    tilts: FloatArray,
    low: FloatArray,
    high: FloatArray,
    initial_state: int,
) -> int:
    """The measures nearest in KL to q exp(tilts) among those with conditionals in the boxes.

    Measures are given by ln π (R, H, S, A) and ln p (R, H − 1, S, A, S), which are replaced; what
    they say of states that cannot be, in layer 1, stays as it is. Returns the first replication
    whose flow is off by 1e-9 or more at the end, or −1.
    """
    n, H, S, A = log_policies.shape
    size = (H - 1) * S
    v, trial, mass = np.zeros((H, S)), np.zeros((H, S)), np.empty((H, S))
    log_m, gain, m = np.empty((H, S, A)), np.empty((H, S, A)), np.empty((H, S, A))
    log_next, p = np.empty((H - 1, S, A, S)), np.empty((H - 1, S, A, S))
    gradient, direction, hessian = np.empty(size), np.empty(size), np.empty((size, size))
    flows, weights = np.empty((2, H, S)), np.empty((H - 1, S, A, S))
    for r in range(n):
        log_pi, log_p, bottom, top = log_policies[r], log_conditionals[r], low[r], high[r]
        _log_tilted_measure(log_pi, log_p, tilts[r], initial_state, mass, log_m)
        v[:] = 0.0
        direction[:] = 0.0  # the first step only evaluates
        value, worst, slope, step, stalls = np.inf, np.inf, 0.0, 1.0, 0
        for _ in range(_STEPS):
            before = value
            while True:
                for i in range(size):
                    trial[1 + i // S, i % S] = v[1 + i // S, i % S] + step * direction[i]
                value = dual_value(log_m, log_p, bottom, top, trial, weights, gain, m, log_next, p)
                if (
                    value <= before + 1e-4 * step * slope + 1e-14 * (1 + abs(before))
                    or step < 1e-10
                ):
                    break
                step *= 0.5
            v, trial = trial, v
            last = worst
            worst = dual_derivatives(m, p, weights, flows, gradient, hessian)
            if worst <= _TOLERANCE or not math.isfinite(value):
                break
            # the ratio of tiny flows may have to rise before it falls; rounding can also keep it up
            stalls += worst >= last
            if stalls > (0 if worst < 1e-9 else 4) and _largest(gradient) < 1e-13:
                break
            _newton_direction(hessian, gradient, flows, direction)
            step, slope = min(1.0, _STRIDE / max(_largest(direction), 1e-300)), 0.0
            for i in range(size):
                slope += gradient[i] * direction[i]
        if not (math.isfinite(value) and _largest(gradient) < 1e-9):
            return r
        for h in range(H):
            for s in range(S):
                if h == 0 and s != initial_state:
                    continue
                largest, z = -np.inf, 0.0
                for a in range(A):
                    largest = max(largest, gain[h, s, a])
                for a in range(A):
                    z += math.exp(gain[h, s, a] - largest)
                for a in range(A):
                    log_pi[h, s, a] = gain[h, s, a] - largest - math.log(z)
                    if h + 1 < H and gain[h, s, a] > -np.inf:
                        log_p[h, s, a] = log_next[h, s, a]
    return -1


class UOBREPS(Learner):
    """R copies of UOB-REPS; see the module docstring.

    With the default η = γ = √(H ln(H X A/δ)/(K X A)) the paper bounds the regret by H X √(A K), up
    to constants and logarithms, with probability 1 − O(δ). Its constants were not derived here, so
    no bound is drawn: `guarantee` is None.

    Args:
        model: gives H, S, A and s_1; neither its transitions nor its features are used.
        learning_rate: η > 0; None: the default above.
        exploration: γ >= 0; None: the default above.
        failure_probability: δ in (0, 1), of the confidence sets; None: 1/K.

    Attributes:
        visits: N, (R, H, S, A).
        moves: M, (R, H − 1, S, A, S).
        low: least p(s'|s, a) of 𝒫, (R, H − 1, S, A, S).
        high: greatest.
        log_policies: ln π_k, (R, H, S, A).
        log_conditionals: ln p(s'|s, a) of q̂_k, (R, H − 1, S, A, S).
        epochs: how many have started, (R,).
    """

    def __init__(
        self,
        model: LinearMDP,
        *,
        learning_rate: float | None = None,
        exploration: float | None = None,
        failure_probability: float | None = None,
    ) -> None:
        if not isinstance(model, LinearMDP):
            raise TypeError(f"model must be a LinearMDP, got {model!r}; see tabular_as_linear")
        self.model = model
        self.learning_rate = checks.positive(learning_rate, "learning_rate", optional=True)
        self.exploration = exploration
        if exploration is not None:
            self.exploration = float(checks.array(exploration, "exploration", shape=(), low=0.0))
        self.failure_probability = failure_probability
        if failure_probability is not None:
            delta = checks.real(failure_probability, "failure_probability", above=0.0, below=1.0)
            self.failure_probability = delta

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """q̂_1 for R replications, nothing visited; `horizon` is K."""
        K = checks.integer(horizon, "horizon", minimum=1)
        H, S, A = self.model.horizon, self.model.n_states, self.model.n_actions
        n, pairs = n_replications, H * S * A  # X A
        delta = 1 / K if self.failure_probability is None else self.failure_probability
        tuned = math.sqrt(H * math.log(H * pairs / delta) / (K * pairs))
        self.eta = tuned if self.learning_rate is None else self.learning_rate
        self.gamma = tuned if self.exploration is None else self.exploration
        self.log_term = math.log(K * pairs / delta)  # c
        self.visits, self._at_start = np.zeros((2, n, H, S, A))
        self.moves, self.low = np.zeros((2, n, H - 1, S, A, S))
        self.high = np.ones_like(self.low)
        self.epochs = np.ones(n, dtype=np.int64)
        self.log_policies = np.full((n, H, S, A), -math.log(A))
        self.log_conditionals = np.full(self.low.shape, -math.log(S))
        self.policies = np.exp(self.log_policies)

    def act(self) -> FloatArray:
        """π_k, (R, H, S, A)."""
        return self.policies

    @property
    def occupancies(self) -> FloatArray:
        """q̂_k(s, a), (R, H, S, A)."""
        q = self.policies.copy()
        reach = np.zeros(q.shape[::2])  # (R, S)
        reach[:, self.model.initial_state] = 1.0
        for h in range(q.shape[1]):
            q[:, h] *= reach[:, :, None]
            if h + 1 < q.shape[1]:
                reach = np.einsum("nsa,nsat->nt", q[:, h], np.exp(self.log_conditionals[:, h]))
        return q

    def upper_bounds(self, states: IntArray, actions: IntArray) -> FloatArray:
        """u_k at the pairs (s_h, a_h) of a trajectory of each replication, (R, H)."""
        reach = np.empty(states.shape)
        s_1 = self.model.initial_state
        upper_reach(self.policies, self.low, self.high, states, s_1, reach)
        rows, layers = np.indices(states.shape)
        return reach * self.policies[rows, layers, states, actions]

    def update(self, feedback: TrajectoryFeedback) -> None:
        """Count, and q̂_{k+1}."""
        f = feedback
        tilts = np.zeros_like(self.policies)
        rows, layers = np.indices(f.states.shape)
        estimates = f.losses / (self.upper_bounds(f.states, f.actions) + self.gamma)
        tilts[rows, layers, f.states, f.actions] = -self.eta * estimates
        _count(
            f.states,
            f.actions,
            self.visits,
            self.moves,
            self._at_start,
            self.epochs,
            self.log_term,
            self.low,
            self.high,
        )
        row = project_conditionals(
            self.log_policies,
            self.log_conditionals,
            tilts,
            self.low,
            self.high,
            self.model.initial_state,
        )
        if row >= 0:
            raise FloatingPointError(
                f"replication {row}: the projection onto the confidence set did not converge; "
                "lower the learning rate or raise exploration"
            )
        self.policies = np.exp(self.log_policies)
