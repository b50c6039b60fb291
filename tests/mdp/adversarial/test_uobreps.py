import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, linprog, root

from fenchel.core import TrajectoryFeedback, run
from fenchel.core.checks import FloatArray
from fenchel.mdp import (
    OREPS,
    AdversarialMDP,
    LinearMDP,
    UniformPolicy,
    chain,
    chain_flip,
    random_linear_mdp,
    stochastic_losses,
    tabular_as_linear,
)
from fenchel.mdp.adversarial.oreps import project_occupancies
from fenchel.mdp.adversarial.uobreps import (
    UOBREPS,
    confidence_boxes,
    dual_derivatives,
    dual_value,
    project_conditionals,
    tilted_conditional,
    upper_reach,
)

MODEL = random_linear_mdp(3, 4, 3, 4, seed=0)
seeds = st.integers(0, 10_000)
quick = settings(deadline=None, derandomize=True, max_examples=40)


def made(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_mdp(H: int, S: int, A: int, rng: np.random.Generator, s_1: int = 0) -> LinearMDP:
    return tabular_as_linear(rng.dirichlet(np.ones(S), size=(H, S, A)), initial_state=s_1)


def around(P: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Boxes with P inside, of all widths: points, active ones and the whole simplex."""
    width = 10 ** rng.uniform(-3, 0.5, size=P.shape)
    return np.maximum(P - width, 0), np.minimum(P + width, 1)


class Instance:
    """A measure, a tilt and boxes of one replication."""

    def __init__(self, H: int, S: int, A: int, rng: np.random.Generator, size: float = 2.0) -> None:
        self.shape, self.s_1 = (H, S, A), int(rng.integers(S))
        self.log_pi = np.log(rng.dirichlet(np.ones(A), size=(H, S)))
        self.log_p = np.log(rng.dirichlet(np.ones(S), size=(H - 1, S, A)))
        self.tilt = -size * rng.random((H, S, A)) * (rng.random((H, S, A)) < 0.5)
        self.P = rng.dirichlet(np.ones(S), size=(H - 1, S, A))
        self.low, self.high = around(self.P, rng)

    def measure(self, log_pi: FloatArray, log_p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """q(s, a), (H, S, A), and q(s, a, s'), (H − 1, S, A, S)."""
        q, triples = np.exp(log_pi), np.exp(log_p)
        reach = np.eye(self.shape[1])[self.s_1]
        for h in range(self.shape[0]):
            q[h] *= reach[:, None]
            if h + 1 < self.shape[0]:
                triples[h] *= q[h][..., None]
                reach = triples[h].sum(axis=(0, 1))
        return q, triples

    def projected(self) -> tuple[FloatArray, FloatArray]:
        """ln π and ln p of the projection."""
        log_pi, log_p = self.log_pi[None].copy(), self.log_p[None].copy()
        row = project_conditionals(
            log_pi, log_p, self.tilt[None], self.low[None], self.high[None], self.s_1
        )
        assert row == -1
        return log_pi[0], log_p[0]

    def gap(self, log_pi: FloatArray, log_p: FloatArray) -> float:
        """⟨∇, q − q'⟩ for the best q' in Δ(𝒫), by dynamic programming: at least ‖q − q*‖₁²/2."""
        (H, S, A), total = self.shape, 0.0
        q, triples = self.measure(log_pi, log_p)
        reach, before = q.sum(axis=2), self.measure(self.log_pi, self.log_p)[0].sum(axis=2)
        V = np.zeros(S)
        for h in reversed(range(H)):
            now = np.zeros(S)
            for s in np.flatnonzero(reach[h]):
                costs = log_pi[h, s] - self.log_pi[h, s] - self.tilt[h, s]
                costs += math.log(reach[h, s] / before[h, s])
                total += float(q[h, s] @ costs)
                if h + 1 < H:
                    change = log_p[h, s] - self.log_p[h, s]
                    total += float((triples[h, s] * change).sum())
                    for a in range(A):
                        costs[a] += least(change[a] + V, self.low[h, s, a], self.high[h, s, a])
                now[s] = costs.min()
            V = now
        return total - float(V[self.s_1])


def least(cost: FloatArray, low: FloatArray, high: FloatArray) -> float:
    """min ⟨p, cost⟩ over the box and the simplex, by linear programming."""
    p, rest = low.copy(), 1 - low.sum()
    for t in np.argsort(cost):
        more = min(high[t] - low[t], rest)
        p[t] += more
        rest -= more
    return float(p @ cost)


@quick
@given(seeds, st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.floats(0, 30))
def test_the_projection_meets_flow_and_boxes_and_no_measure_of_the_set_is_nearer(
    seed: int, H: int, S: int, A: int, size: float
) -> None:
    x = Instance(H, S, A, made(seed), size)
    log_pi, log_p = x.projected()
    q, _ = x.measure(log_pi, log_p)  # the flow is met by construction
    np.testing.assert_allclose(q.sum(axis=(1, 2)), 1, rtol=1e-12)
    reached = q[:-1] > 0
    p = np.exp(log_p)[reached]
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-12)
    assert (p >= x.low[reached] - 1e-14).all()
    assert (p <= x.high[reached] + 1e-14).all()
    assert -1e-12 < x.gap(log_pi, log_p) / (1 + size) < 1e-11


@pytest.mark.parametrize("seed", range(6))
def test_the_projection_is_cvxpys(seed: int) -> None:
    cp = pytest.importorskip("cvxpy")
    H, S, A = 3, 3, 2
    x = Instance(H, S, A, made(seed))
    q, triples = x.measure(x.log_pi, x.log_p)
    divergence, constraints, inflow = 0, [], None
    variables = []
    for h in range(H):
        states = [x.s_1] if h == 0 else range(S)
        names = [(s, a) for s in states for a in range(A)]
        old = np.array([triples[h, s, a] if h + 1 < H else [q[h, s, a]] for s, a in names])
        tilt = np.array([[x.tilt[h, s, a]] for s, a in names])
        new = cp.Variable(old.shape, nonneg=True)
        divergence += cp.sum(cp.rel_entr(new, old * np.exp(tilt)))
        outflow = [
            sum(cp.sum(new[i]) for i, name in enumerate(names) if name[0] == s) for s in states
        ]
        for i, s in enumerate(states):
            constraints.append(outflow[i] == (1 if h == 0 else inflow[s]))
        if h + 1 < H:
            for i, (s, a) in enumerate(names):
                constraints += [
                    new[i] >= x.low[h, s, a] * cp.sum(new[i]),
                    new[i] <= x.high[h, s, a] * cp.sum(new[i]),
                ]
        inflow = cp.sum(new, axis=0)
        variables.append((h, names, new))
    tight = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
    cp.Problem(cp.Minimize(divergence), constraints).solve(solver=cp.CLARABEL, **tight)
    log_pi, log_p = x.projected()
    ours = x.measure(log_pi, log_p)
    active = 0
    for h, names, new in variables:
        for i, (s, a) in enumerate(names):
            mine = ours[1][h, s, a] if h + 1 < H else ours[0][h, s, a]
            np.testing.assert_allclose(mine, np.squeeze(new.value[i]), atol=1e-5)
            if h + 1 < H:
                p = np.exp(log_p[h, s, a])
                active += int(((p <= x.low[h, s, a]) | (p >= x.high[h, s, a])).sum())
    assert active > 5


@quick
@given(seeds)
def test_with_boxes_of_one_point_it_is_the_projection_of_oreps(seed: int) -> None:
    rng = made(seed)
    H, S, A = 4, 3, 2
    model = random_mdp(H, S, A, rng)
    x = Instance(H, S, A, rng)
    x.s_1, x.P = 0, model.transition[:-1].copy()  # writable: the same kernel as elsewhere
    x.low = x.high = x.P
    # q̂ has other conditionals p̃: moving them to P costs KL(P ‖ p̃) in each pair
    moved = np.zeros(x.shape)
    moved[:-1] = -(x.P * (np.log(x.P) - x.log_p)).sum(axis=-1)
    out = np.empty((1, H, S, A))
    q = x.measure(x.log_pi, x.log_p)[0][None]
    assert project_occupancies(q, (x.tilt + moved)[None], model.transition, out) == -1
    log_pi, log_p = x.projected()
    np.testing.assert_allclose(x.measure(log_pi, log_p)[0], out[0], atol=1e-9)
    np.testing.assert_allclose(np.exp(log_p[1:]), x.P[1:], rtol=1e-12)


@pytest.mark.parametrize("fall", [0, 30, 100])
def test_without_boxes_states_between_two_layers_have_the_geometric_mean_of_their_flows(
    fall: float,
) -> None:
    x = Instance(2, 4, 3, made(1), 3.0)
    x.log_p -= fall * np.arange(4)  # to exp(−300)
    x.log_p -= np.log(np.exp(x.log_p).sum(axis=-1, keepdims=True))
    x.low, x.high = np.zeros_like(x.low), np.ones_like(x.high)
    q, triples = x.measure(x.log_pi, x.log_p)
    before = triples[0] * np.exp(x.tilt[0])[..., None]
    after = q[1] * np.exp(x.tilt[1])
    # min KL(q_1 ‖ before) + KL(q_2 ‖ after) with marginal μ on the states between: given μ the
    # conditionals stay, and KL(μ ‖ flow in) + KL(μ ‖ flow out) is least at μ ∝ √(in · out)
    into, out = before.sum(axis=(0, 1)), after.sum(axis=1)
    mu = np.sqrt(into * out) / np.sqrt(into * out).sum()
    got = x.measure(*x.projected())
    np.testing.assert_allclose(got[1][0], before / into * mu, rtol=1e-10)
    np.testing.assert_allclose(got[0][1], after / out[:, None] * mu[:, None], rtol=1e-10)


@quick
@given(seeds, st.integers(1, 4))
def test_measures_of_the_set_are_their_own_projections(seed: int, H: int) -> None:
    x = Instance(H, 4, 3, made(seed), size=0.0)
    x.log_p = np.log(x.P)
    log_pi, log_p = x.projected()
    np.testing.assert_allclose(log_pi, x.log_pi, atol=1e-12)
    np.testing.assert_allclose(log_p, x.log_p, atol=1e-11)


def test_estimates_as_large_as_one_over_a_millionth_are_projected_too() -> None:
    for seed in range(5):
        x = Instance(3, 4, 3, made(seed))
        for h, s, a in np.ndindex(*x.shape):
            x.tilt = np.zeros(x.shape)
            x.tilt[h, s, a] = -1e6
            log_pi, log_p = x.projected()
            if h > 0 or s == x.s_1:
                assert log_pi[h, s, a] < -9e5
            assert x.gap(log_pi, log_p) < 1e-9


def test_boxes_may_ask_for_states_that_were_as_good_as_out_of_reach() -> None:
    x = Instance(3, 3, 2, made(3))
    x.log_p[0] = np.log([1e-60, 1e-40, 1.0])
    x.low, x.high = np.zeros_like(x.low), np.ones_like(x.high)
    x.low[0, :, :, 1] = 0.01
    log_pi, log_p = x.projected()
    assert x.measure(log_pi, log_p)[0][1, 1].sum() == pytest.approx(0.01, rel=1e-12)
    assert x.gap(log_pi, log_p) < 1e-11


@quick
@given(seeds, st.integers(1, 6), st.floats(0, 300))
def test_the_tilted_conditional_attains_the_conjugate_of_kl_on_the_box(
    seed: int, S: int, size: float
) -> None:
    rng = made(seed)
    log_p, v = np.log(rng.dirichlet(np.ones(S))), size * rng.normal(size=S)
    low, high = around(rng.dirichlet(np.ones(S)), rng)
    weights, log_out, out = np.empty((3, S))
    value = tilted_conditional(log_p, v, low, high, weights, log_out, out)
    np.testing.assert_allclose(out, np.exp(log_out), rtol=1e-12)
    np.testing.assert_allclose(value, out @ (v - log_out + log_p), atol=1e-12 * (1 + size))

    def p(log_scale: float) -> FloatArray:
        return np.clip(np.exp(np.minimum(log_scale + log_p + v, 1.0)), low, high)

    end = 10 + np.abs(log_p + v).max()
    scale = brentq(lambda x: p(x).sum() - 1, -end - 700, end, xtol=1e-13, rtol=1e-15)
    np.testing.assert_allclose(out, p(scale), atol=1e-9)
    inside = (out > low) & (out < high)
    assert (inside <= (weights >= 0)).all()


@quick
@given(seeds)
def test_the_tilted_conditional_is_finite_at_corners_that_leave_no_mass_to_the_free(
    seed: int,
) -> None:
    corner = np.append(made(seed).dirichlet(np.ones(3)), 0.0)  # sums to 1 up to rounding
    low, high = corner * [0, 0, 1, 0], np.where([1, 1, 0, 0], corner, 1.0)
    weights, log_out, out = np.empty((3, 4))
    log_p, v = np.log([0.3, 0.3, 1e-20, 1e-30]), np.zeros(4)
    log_p[:2] += 300  # as are tilts, these need not be normalised
    value = tilted_conditional(log_p, v, low, high, weights, log_out, out)
    np.testing.assert_allclose(out, corner, atol=1e-15)
    assert np.isfinite(log_out).all()
    np.testing.assert_allclose(value, out @ (log_p - log_out), rtol=1e-12)


@quick
@given(seeds)
def test_the_derivatives_are_those_of_the_dual(seed: int) -> None:
    rng = made(seed)
    H, S, A = 4, 3, 2
    x = Instance(H, S, A, rng)
    with np.errstate(divide="ignore"):
        log_m = np.log(x.measure(x.log_pi, x.log_p)[0]) + x.tilt
    gain, m = np.empty((2, H, S, A))
    p, log_next, weights = np.empty((3, H - 1, S, A, S))
    n = (H - 1) * S
    flows, hessian = np.empty((2, H, S)), np.empty((n, n))

    def at(v: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        full, gradient = np.vstack([np.zeros(S), v.reshape(-1, S)]), np.empty(n)
        value = dual_value(log_m, x.log_p, x.low, x.high, full, weights, gain, m, log_next, p)
        dual_derivatives(m, p, weights, flows, gradient, hessian)
        return value, gradient, weights >= 0

    v, step = rng.normal(size=n), 1e-5
    _, gradient, free = at(v)
    second = np.tril(hessian) + np.tril(hessian, -1).T
    for i, direction in enumerate(np.eye(n) * step):
        ahead, behind = at(v + direction), at(v - direction)
        slope = (ahead[0] - behind[0]) / (2 * step)
        assert gradient[i] == pytest.approx(slope, abs=1e-8)
        if (ahead[2] == free).all() and (behind[2] == free).all():  # no kink between
            np.testing.assert_allclose(second[i], (ahead[1] - behind[1]) / (2 * step), atol=1e-8)


def reach_by_lp(model: Instance, policy: FloatArray, layer: int, state: int) -> float:
    """max Pr[s_h = s] over p in the boxes, by a linear program in the measures of the policy."""
    _, S, A = model.shape
    n, index = S * A * S, np.arange(layer * S * A * S).reshape(layer, S, A, S)
    equal, right, below = [], [], []
    for h, s, a in product(range(layer), range(S), range(A)):
        # mass of (s, a) is π(a|s) times the flow into s
        row, inflow = np.zeros(layer * n), float(h == 0 and s == model.s_1)
        row[index[h, s, a]] = 1
        if h > 0:
            row[index[h - 1, :, :, s].ravel()] -= policy[h, s, a]
        equal.append(row)
        right.append(policy[h, s, a] * inflow)
        for t in range(S):
            for bound, sign in ((model.low, -1), (model.high, 1)):
                row = np.zeros(layer * n)
                row[index[h, s, a]] = -sign * bound[h, s, a, t]
                row[index[h, s, a, t]] += sign
                below.append(row)
    cost = np.zeros(layer * n)
    cost[index[layer - 1, :, :, state].ravel()] = -1
    result = linprog(cost, below, np.zeros(len(below)), equal, right, method="highs")
    return -float(result.fun)


def reached(x: Instance, policy: FloatArray) -> FloatArray:
    """The largest Pr[s_h = s] over the boxes, (H, S)."""
    H, S, _ = x.shape
    states = np.repeat(np.arange(S)[:, None], H, axis=1)  # one replication a state
    out = np.empty((S, H))
    boxes = (np.repeat(bound[None], S, axis=0) for bound in (x.low, x.high))
    upper_reach(np.repeat(policy[None], S, axis=0), *boxes, states, x.s_1, out)
    return out.T


@pytest.mark.parametrize("seed", range(5))
def test_the_upper_bound_is_that_of_the_linear_program(seed: int) -> None:
    rng = made(seed)
    x = Instance(3, 3, 2, rng)
    policy = rng.dirichlet(np.ones(2), size=(3, 3))
    upper = reached(x, policy)
    np.testing.assert_array_equal(upper[0], np.eye(3)[x.s_1])
    for h, s in product((1, 2), range(3)):
        assert upper[h, s] == pytest.approx(reach_by_lp(x, policy, h, s), abs=1e-8)


@quick
@given(seeds)
def test_upper_bounds_hold_for_all_transitions_of_the_set_and_are_tight_on_points(
    seed: int,
) -> None:
    rng = made(seed)
    x = Instance(4, 3, 2, rng)
    policy = rng.dirichlet(np.ones(2), size=(4, 3))
    with np.errstate(divide="ignore"):
        true = x.measure(np.log(policy), np.log(x.P))[0].sum(axis=2)
    assert (reached(x, policy) >= true - 1e-12).all()
    x.low = x.high = x.P
    np.testing.assert_allclose(reached(x, policy), true, atol=1e-12)


def test_the_boxes_are_empirical_bernstein_intervals_within_the_unit_interval() -> None:
    visits, moves = np.full((2, 3, 1), 200.0), np.full((1, 3, 1, 3), 0.0)
    visits[0, :2, 0] = [0, 1]
    moves[0, 1, 0], moves[0, 2, 0] = [0, 1, 0], [150, 49, 1]
    low, high = np.empty((2, 1, 3, 1, 3))
    confidence_boxes(visits, moves, 2.0, low, high)
    assert (low[0, :2] == 0).all()  # no visit or one: 14 c/3 > 1
    assert (high[0, :2] == 1).all()
    P = np.array([0.75, 0.245, 0.005])
    width = 2 * np.sqrt(P * 2.0 / 199) + 14 * 2.0 / (3 * 199)
    np.testing.assert_allclose(low[0, 2, 0], np.maximum(P - width, 0), rtol=1e-12)
    np.testing.assert_allclose(high[0, 2, 0], np.minimum(P + width, 1), rtol=1e-12)
    assert low[0, 2, 0, 1] == pytest.approx(0.245 - 2 * math.sqrt(0.49 / 199) - 28 / 597)


def test_epochs_end_where_a_count_doubles_and_sets_hold_frequencies_and_the_truth() -> None:
    H, S, A, K, n, delta = 3, 3, 2, 600, 100, 0.2
    model = random_mdp(H, S, A, made(5))
    env = AdversarialMDP(model, np.zeros((K, H, S, A)))
    learner = UOBREPS(model, failure_probability=delta)
    env.reset(n, made(0))
    learner.reset(n, K, made(1))
    visits, moves = np.zeros((n, H, S, A)), np.zeros((n, H - 1, S, A, S))
    start, epochs, held = visits.copy(), np.ones(n), np.ones(n, dtype=bool)
    c = math.log(K * H * S * A / delta)
    for _ in range(K):
        before = learner.low.copy(), learner.high.copy()
        told = env.step(learner.act())
        learner.update(told)
        for r, h in product(range(n), range(H)):
            visits[r, h, told.states[r, h], told.actions[r, h]] += 1
            if h + 1 < H:
                moves[r, h, told.states[r, h], told.actions[r, h], told.states[r, h + 1]] += 1
        ended = (visits >= np.maximum(1, 2 * start)).any(axis=(1, 2, 3))
        epochs += ended
        start[ended] = visits[ended]
        np.testing.assert_array_equal(learner.epochs, epochs)
        for now, was in zip((learner.low, learner.high), before, strict=True):
            np.testing.assert_array_equal(now[~ended], was[~ended])
        counts = visits[ended, :-1, ..., None]
        P = moves[ended] / np.maximum(counts, 1)
        width = 2 * np.sqrt(P * c / np.maximum(counts - 1, 1))
        width += 14 * c / (3 * np.maximum(counts - 1, 1))
        np.testing.assert_allclose(learner.low[ended], np.maximum(P - width, 0), atol=1e-14)
        np.testing.assert_allclose(learner.high[ended], np.minimum(P + width, 1), atol=1e-14)
        true = model.transition[:-1]
        inside = (true >= learner.low) & (true <= learner.high)
        held &= inside.all(axis=(1, 2, 3, 4))
    np.testing.assert_array_equal(learner.visits, visits)
    np.testing.assert_array_equal(learner.moves, moves)
    assert held.mean() >= 1 - delta
    assert (learner.high - learner.low).min() < 0.6  # they hold it though they say something
    assert epochs.max() <= H * S * A * (math.log2(K) + 1) + 1


def told(*trajectory: tuple[int, int, float], n: int = 1) -> TrajectoryFeedback:
    """The same (state, action, loss) in each layer for n replications."""
    states, actions, losses = (np.tile(column, (n, 1)) for column in zip(*trajectory, strict=True))
    return TrajectoryFeedback(states, actions, losses.astype(float))


def learnt(model: LinearMDP, episodes: int, n: int, seed: int, **arguments: Any) -> UOBREPS:
    env = AdversarialMDP(model, made(seed).random((episodes, model.horizon, 4, 3)))
    learner = UOBREPS(model, **arguments)
    env.reset(n, made(seed))
    learner.reset(n, episodes, made(seed))
    for _ in range(episodes):
        learner.update(env.step(learner.act()))
    return learner


def test_estimates_are_below_the_losses_in_the_mean_and_equal_them_where_p_is_known() -> None:
    S, A = 4, 3
    learner = learnt(MODEL, 300, S * A, 3, failure_probability=0.5, learning_rate=0.1)
    for name in ("policies", "low", "high"):  # one replication a pair, all of them the first
        array = getattr(learner, name)
        array[:] = array[:1].copy()
    states, actions = (
        np.repeat(index[:, None], 3, axis=1) for index in np.divmod(np.arange(S * A), A)
    )
    true = MODEL.occupancy(learner.policies[0]).reshape(3, S * A).T
    u = learner.upper_bounds(states, actions)  # E ℓ̂/ℓ = q/u for γ = 0
    assert (u >= true).all()
    assert (u[:, 1:] > 1.1 * true[:, 1:]).any()
    learner.low[:] = learner.high[:] = MODEL.transition[:-1]
    np.testing.assert_allclose(learner.upper_bounds(states, actions), true, rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.02])
def test_with_one_layer_and_state_it_is_exp3_ix(gamma: float) -> None:
    K, A, n = 300, 4, 3
    losses = made(1).random((K, A))
    model = tabular_as_linear(np.ones((1, 1, A, 1)))
    learner = UOBREPS(model, learning_rate=0.07, exploration=gamma)
    learner.reset(n, K, made(0))
    cumulative = np.zeros((n, A))
    rng = made(2)
    rows = np.arange(n)
    for k in range(K):
        p = learner.act()[:, 0, 0]
        expected = np.exp(-0.07 * (cumulative - cumulative.min(axis=1, keepdims=True)))
        np.testing.assert_allclose(p, expected / expected.sum(axis=1, keepdims=True), rtol=1e-9)
        arms = np.array([rng.choice(A, p=row) for row in p])
        cumulative[rows, arms] += losses[k, arms] / (p[rows, arms] + gamma)
        nowhere = np.zeros((n, 1), dtype=np.int64)
        learner.update(TrajectoryFeedback(nowhere, arms[:, None], losses[k, arms][:, None]))


def projected_by_root(x: Instance) -> FloatArray:
    """π of the projection: a root of the dual's gradient, each scale by bisection."""
    H, S, A = x.shape
    q, _ = x.measure(x.log_pi, x.log_p)
    weights = q * np.exp(x.tilt)

    def at(free: FloatArray) -> tuple[FloatArray, FloatArray]:
        v = np.zeros((H + 1, S))
        v[1:H, 1:] = free.reshape(H - 1, S - 1)
        excess, gains = np.zeros((H + 1, S)), np.zeros((H, S, A))
        for h in range(H):
            f = np.zeros((S, A))
            if h + 1 < H:
                tilted = x.log_p[h] + v[h + 1]
                bottom, top = np.full((S, A, 1), -60.0), np.full((S, A, 1), 60.0)
                for _ in range(100):
                    scale = (bottom + top) / 2
                    p = np.clip(np.exp(tilted + scale), x.low[h], x.high[h])
                    small = p.sum(axis=-1, keepdims=True) < 1
                    bottom, top = np.where(small, scale, bottom), np.where(small, top, scale)
                f = (p * (v[h + 1] - np.log(p) + x.log_p[h])).sum(axis=-1)
            m = weights[h] * np.exp(f - v[h][:, None])
            m /= m.sum()
            excess[h] -= m.sum(axis=1)
            if h + 1 < H:
                excess[h + 1] += np.einsum("sa,sat->t", m, p)
            gains[h] = np.exp(x.log_pi[h] + x.tilt[h] + f)
        return excess[1:H, 1:].ravel(), gains / gains.sum(axis=-1, keepdims=True)

    solution = root(lambda v: at(v)[0], np.zeros((H - 1) * (S - 1)), tol=1e-13)
    policy = at(solution.x)[1]
    policy[0, np.arange(S) != x.s_1] = 1 / A
    return policy


def test_episodes_are_those_of_an_oracle_in_numpy() -> None:
    H, S, A, K, n, s_1 = 3, 4, 3, 900, 3, 2
    rng = made(4)
    model = random_mdp(H, S, A, rng, s_1)
    env = AdversarialMDP(model, rng.random((K, H, S, A)) ** 3)
    learner = UOBREPS(model, learning_rate=0.3, exploration=0.05, failure_probability=0.5)
    env.reset(n, made(0))
    learner.reset(n, K, made(1))
    visits, moves = np.zeros((n, H, S, A)), np.zeros((n, H - 1, S, A, S))
    start, x = np.zeros_like(visits), Instance(H, S, A, made(0))
    x.s_1 = s_1
    boxes = [(np.zeros((H - 1, S, A, S)), np.ones((H - 1, S, A, S))) for _ in range(n)]
    c, checked, active = math.log(K * H * S * A / 0.5), 0, 0
    for k in range(K):
        policies, log_p = learner.act(), learner.log_conditionals.copy()
        answer = env.step(policies)
        learner.update(answer)
        for r in range(n):
            rows = range(H), answer.states[r], answer.actions[r]
            x.low, x.high = boxes[r]
            x.tilt = np.zeros(x.shape)
            reach = reached(x, policies[r])  # held against the linear program above
            for h, s, a in zip(*rows, strict=True):
                u = policies[r, h, s, a] * reach[h, s]
                x.tilt[h, s, a] = -0.3 * answer.losses[r, h] / (u + 0.05)
                visits[r, h, s, a] += 1
                if h + 1 < H:
                    moves[r, h, s, a, answer.states[r, h + 1]] += 1
            ended = (visits[r] >= np.maximum(1, 2 * start[r])).any()
            if ended:
                start[r] = visits[r]
                N = visits[r, :-1, ..., None]
                P, N = moves[r] / np.maximum(N, 1), np.maximum(N - 1, 1)
                width = 2 * np.sqrt(P * c / N) + 14 * c / (3 * N)
                x.low, x.high = boxes[r] = np.maximum(P - width, 0), np.minimum(P + width, 1)
            if k < 2 or k > K - 3 or (ended and k > 2 * K // 3):
                x.log_pi, x.log_p = np.log(policies[r]), log_p[r]
                expected = projected_by_root(x)
                np.testing.assert_allclose(learner.act()[r], expected, atol=1e-8)
                checked += 1
                p = np.exp(learner.log_conditionals[r])
                active += int(((p >= x.high) & (x.high < 1) | (p <= x.low) & (x.low > 0)).sum())
    assert checked > 15
    assert active > 10


def test_it_starts_from_the_uniform_measures_and_proves_nothing() -> None:
    model = random_mdp(3, 4, 2, made(0), s_1=1)
    learner = UOBREPS(model)
    learner.reset(2, 100, made(0))
    q = np.full((2, 3, 4, 2), 1 / 8)
    q[:, 0] = [[0, 0], [1 / 2, 1 / 2], [0, 0], [0, 0]]
    np.testing.assert_allclose(learner.occupancies, q, rtol=1e-12)
    np.testing.assert_allclose(learner.act(), 1 / 2, rtol=1e-12)
    # η = γ = √(H ln(H X A/δ)/(K X A)), δ = 1/K, X A = 3 · 4 · 2
    assert learner.eta == learner.gamma == math.sqrt(3 * math.log(3 * 24 * 100) / (100 * 24))
    env = AdversarialMDP(model, np.zeros((100, 3, 4, 2)))
    assert run(learner, env, 100, n_replications=2, seed=0).guarantee is None


def test_occupancies_are_measures_of_the_set_under_which_the_policies_are_those_played() -> None:
    learner = learnt(MODEL, 2000, 4, 6, learning_rate=0.2, failure_probability=0.9)
    q, p = learner.occupancies, np.exp(learner.log_conditionals)
    np.testing.assert_allclose(q.sum(axis=(2, 3)), 1, rtol=1e-12)
    np.testing.assert_allclose(
        q[:, 1:].sum(axis=3), np.einsum("nhsa,nhsat->nht", q[:, :-1], p), rtol=1e-9
    )
    seen = q[:, :-1] > 0
    assert (p[seen] >= learner.low[seen] - 1e-14).all()
    assert (p[seen] <= learner.high[seen] + 1e-14).all()
    assert (p[seen] > learner.low[seen] + 1e-6).any()
    np.testing.assert_allclose(
        learner.policies[:, 1:] * q[:, 1:].sum(axis=3, keepdims=True), q[:, 1:], rtol=1e-12
    )


def test_it_knows_sizes_and_initial_state_and_nothing_else_of_the_model() -> None:
    env = AdversarialMDP(MODEL, stochastic_losses(MODEL, 200, rng=made(3)))
    env.reset(3, made(0))
    other = random_mdp(3, 4, 3, made(9))
    blind = random_mdp(3, 4, 3, made(8))
    del blind.transition, blind.features  # whoever reads them fails
    learners = [UOBREPS(model) for model in (MODEL, other, blind)]
    for learner in learners:
        learner.reset(3, 200, made(1))
    for _ in range(200):
        policies = learners[0].act()
        for learner in learners[1:]:
            np.testing.assert_array_equal(learner.act(), policies)
        answer = env.step(policies)
        for learner in learners:
            learner.update(answer)
    assert abs(learners[2].act() - 1 / 3).max() > 0.01


def test_same_seed_same_numbers_and_replications_do_not_know_of_each_other() -> None:
    env = AdversarialMDP(MODEL, stochastic_losses(MODEL, 200, rng=made(3)))
    one, two = (run(UOBREPS(MODEL), env, 200, n_replications=3, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one.regret, two.regret)
    assert np.unique(one.regret[:, -1]).size == 3
    env.reset(3, made(0))
    together, alone = UOBREPS(MODEL), UOBREPS(MODEL)
    together.reset(3, 200, made(0))
    alone.reset(1, 200, made(7))  # its generator is not used
    for _ in range(200):
        policies = together.act()
        np.testing.assert_array_equal(alone.act()[0], policies[1])
        f = env.step(policies)
        together.update(f)
        alone.update(TrajectoryFeedback(f.states[1:2], f.actions[1:2], f.losses[1:2]))


def test_regret_lies_between_those_of_oreps_that_knows_more_and_of_the_uniform_policy() -> None:
    K, n = 2**13, 8
    env = AdversarialMDP(MODEL, stochastic_losses(MODEL, K, rng=made(0)))
    ends = {}
    for kind in (UOBREPS, OREPS, UniformPolicy):
        trace = run(kind(MODEL), env, K, n_replications=n, seed=0, checkpoints=1)
        ends[kind] = trace.regret[:, -1]
    ours, known = ends[UOBREPS], ends[OREPS]
    error = math.sqrt((ours.var() + known.var()) / (n - 1))
    assert ours.mean() + 4 * error < 0.7 * ends[UniformPolicy].mean()
    assert ours.mean() > known.mean() - 4 * error


def test_large_steps_and_no_exploration_do_not_stop_the_projection() -> None:
    games = [(MODEL, made(1).random((1000, 3, 4, 3))), (chain(6), chain_flip(6, 1000))]
    for (model, losses), eta in product(games, (0.5, 5.0)):
        env = AdversarialMDP(model, losses)
        learner = UOBREPS(model, learning_rate=eta, exploration=0.0)
        trace = run(learner, env, 1000, n_replications=2, seed=0)
        assert np.isfinite(trace.regret).all()


def test_the_replication_that_fails_is_named() -> None:
    learner = UOBREPS(MODEL)
    learner.reset(3, 10, made(0))
    answer = told((0, 0, 1.0), (1, 1, 1.0), (2, 2, 1.0), n=3)
    answer.losses[1, 2] = np.nan
    learner.act()
    with pytest.raises(FloatingPointError, match="replication 1: the projection"):
        learner.update(answer)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="learning_rate"):
        UOBREPS(MODEL, learning_rate=0.0)
    with pytest.raises(ValueError, match="exploration"):
        UOBREPS(MODEL, exploration=-1.0)
    for delta in (0.0, 1.0):
        with pytest.raises(ValueError, match="failure_probability"):
            UOBREPS(MODEL, failure_probability=delta)
    with pytest.raises(TypeError, match="model"):
        UOBREPS(np.ones((1, 1, 2, 1)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="horizon"):
        UOBREPS(MODEL).reset(1, 0, made(0))
