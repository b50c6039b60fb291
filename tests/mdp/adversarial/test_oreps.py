import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenchel.bandits import AdversarialBandit, Exp3
from fenchel.core import TrajectoryFeedback, run
from fenchel.core.checks import FloatArray
from fenchel.mdp import (
    OREPS,
    AdversarialMDP,
    FollowTheLeader,
    LinearMDP,
    UniformPolicy,
    chain,
    chain_flip,
    random_linear_mdp,
    stochastic_losses,
    tabular_as_linear,
)
from fenchel.mdp.adversarial.oreps import project_occupancies

MODEL = random_linear_mdp(3, 4, 3, 4, seed=0)
seeds = st.integers(0, 10_000)
quick = settings(deadline=None, derandomize=True, max_examples=40)


def made(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def random_mdp(H: int, S: int, A: int, rng: np.random.Generator) -> LinearMDP:
    return tabular_as_linear(rng.dirichlet(np.full(S, 0.5), size=(H, S, A)))


def projected(model: LinearMDP, q: FloatArray, tilt: FloatArray) -> FloatArray:
    out = np.empty_like(q)
    assert project_occupancies(q, tilt, model.transition, out) == -1
    return out


def flow_error(model: LinearMDP, q: FloatArray) -> float:
    A, b = model.flow_constraints()
    return float(np.abs(A @ q.ravel() - b).max())


@quick
@given(seeds, st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.floats(0, 30))
def test_the_projection_meets_the_flow_and_is_the_tilt_up_to_a_potential(
    seed: int, H: int, S: int, A: int, size: float
) -> None:
    rng = made(seed)
    model = random_mdp(H, S, A, rng)
    q = model.occupancy(rng.dirichlet(np.ones(A), size=(1, H, S)))
    tilt = -size * rng.random(q.shape) * (rng.random(q.shape) < 0.5)
    p = projected(model, q, tilt)
    assert flow_error(model, p[0]) < 1e-9
    assert (p >= 0).all()
    # optimality: ln(p/q) − tilt = −v_h(s) + E v_{h+1} + const_h, up to rounding of small entries
    reached = q[0] > 0
    rows, values = [], []
    for h, s, a in np.argwhere(reached & (p[0] > 1e-9)):
        row = np.zeros((2, H + 1, S))
        row[0, h, s] = -1
        row[0, h + 1] += model.transition[h, s, a] * (h + 1 < H)
        row[1, h, 0] = 1
        rows.append(row.ravel())
        values.append(math.log(p[0, h, s, a] / q[0, h, s, a]) - tilt[0, h, s, a])
    X, y = np.array(rows), np.array(values)
    fit = X @ np.linalg.lstsq(X, y, rcond=None)[0]
    np.testing.assert_allclose(fit, y, atol=1e-6 * (1 + size))


@pytest.mark.parametrize("seed", range(5))
def test_the_projection_is_cvxpys(seed: int) -> None:
    cp = pytest.importorskip("cvxpy")
    rng = made(seed)
    q = MODEL.occupancy(rng.dirichlet(np.ones(3), size=(1, 3, 4)))
    tilt = -2 * rng.random(q.shape)
    A, b = MODEL.flow_constraints()
    x, positive = cp.Variable(q[0].size), q.ravel() > 0
    divergence = cp.sum(cp.rel_entr(x[positive], q.ravel()[positive]))
    problem = cp.Problem(
        cp.Minimize(divergence - tilt.ravel() @ x), [A @ x == b, x[~positive] == 0, x >= 0]
    )
    tight = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
    problem.solve(solver=cp.CLARABEL, **tight)
    np.testing.assert_allclose(projected(MODEL, q, tilt).ravel(), x.value, atol=1e-5)


@quick
@given(seeds)
def test_occupancies_are_their_own_projections(seed: int) -> None:
    q = MODEL.occupancy(made(seed).dirichlet(np.ones(3), size=(2, 3, 4)))
    np.testing.assert_allclose(projected(MODEL, q, np.zeros_like(q)), q, atol=1e-12)
    # a tilt that is a potential, −v(s) + E v(s'), does nothing either
    v = made(seed).normal(size=(4, 4))
    v[0] = v[3] = 0
    tilt = np.broadcast_to(
        -v[:3, :, None] + np.einsum("hsat,ht->hsa", MODEL.transition, v[1:]), q.shape
    )
    np.testing.assert_allclose(projected(MODEL, q, tilt), q, atol=1e-11)


def test_estimates_as_large_as_one_over_a_millionth_are_projected_too() -> None:
    q = MODEL.occupancy(MODEL.uniform_policy())[None]
    for h, s, a in np.argwhere(q[0] > 0):
        tilt = np.zeros_like(q)
        tilt[0, h, s, a] = -1e6
        p = projected(MODEL, q, tilt)
        assert flow_error(MODEL, p[0]) < 1e-9
        assert p[0, h, s, a] == 0


def test_with_one_layer_and_state_it_is_exp3() -> None:
    K, A = 300, 4
    losses = made(1).random((K, A))
    model = tabular_as_linear(np.ones((1, 1, A, 1)))
    learner = OREPS(model, learning_rate=0.07)
    learner.reset(3, K, made(0))
    cumulative = np.zeros((3, A))
    rng = made(2)
    for k in range(K):
        p = learner.act()[:, 0, 0]
        expected = np.exp(-0.07 * (cumulative - cumulative.min(axis=1, keepdims=True)))
        np.testing.assert_allclose(p, expected / expected.sum(axis=1, keepdims=True), rtol=1e-9)
        arms = np.array([rng.choice(A, p=row) for row in p])
        told = losses[k, arms]
        cumulative[np.arange(3), arms] += told / p[np.arange(3), arms]
        learner.update(
            TrajectoryFeedback(np.zeros((3, 1), dtype=np.int64), arms[:, None], told[:, None])
        )


def test_with_one_layer_and_state_its_regret_is_that_of_exp3() -> None:
    K, A = 1000, 4
    losses = made(1).random((K, A)) * [1, 1, 1, 0.6]
    model = tabular_as_linear(np.ones((1, 1, A, 1)))
    ours = run(
        OREPS(model, learning_rate=0.05),
        AdversarialMDP(model, losses[:, None, None]),
        K,
        n_replications=100,
        seed=0,
    )
    theirs = run(
        Exp3(A, learning_rate=0.05), AdversarialBandit(losses), K, n_replications=100, seed=1
    )
    ends = [trace.regret[:, -1] for trace in (ours, theirs)]
    error = math.sqrt(sum(end.var() / 100 for end in ends))
    assert abs(ends[0].mean() - ends[1].mean()) <= 4 * error


@pytest.mark.parametrize("seed", range(3))
def test_mean_regret_is_below_the_bound(seed: int) -> None:
    model = random_linear_mdp(3, 4, 3, 4, seed=seed)
    env = AdversarialMDP(model, stochastic_losses(model, 1000, rng=made(seed)))
    trace = run(OREPS(model), env, 1000, n_replications=32, seed=seed)
    assert trace.bound_ratio().high <= 1
    assert trace.guarantee is not None
    assert trace.guarantee.bound(1000) == pytest.approx(
        math.sqrt(2 * 6 * math.log(3) * 27 * 1000)  # N = 3 + 12 + 12
    )
    uniform = run(UniformPolicy(model), env, 1000, n_replications=2, seed=seed)
    assert trace.interval()[1][-1] < uniform.mean()[-1]


def test_the_divergence_bounds_that_of_every_deterministic_policy() -> None:
    rng = made(0)
    for _ in range(20):
        model = random_mdp(3, 2, 2, rng)
        first = model.occupancy(model.uniform_policy())
        for actions in np.ndindex(*(2,) * 6):
            q = model.occupancy(model.deterministic(np.reshape(actions, (3, 2))))
            taken = q > 0
            divergence = float((q[taken] * np.log(q[taken] / first[taken])).sum())
            assert divergence <= OREPS(model).divergence * (1 + 1e-12)


def test_replications_do_not_know_of_each_other() -> None:
    env = AdversarialMDP(MODEL, stochastic_losses(MODEL, 30, rng=made(3)))
    env.reset(3, made(0))
    together, alone = OREPS(MODEL, learning_rate=0.3), OREPS(MODEL, learning_rate=0.3)
    together.reset(3, 30, made(0))
    alone.reset(1, 30, made(0))
    for _ in range(30):
        policies = together.act()
        np.testing.assert_array_equal(alone.act()[0], policies[1])
        told = env.step(policies)
        together.update(told)
        alone.update(TrajectoryFeedback(told.states[1:2], told.actions[1:2], told.losses[1:2]))


def test_exploration_lowers_the_estimates_and_leaves_no_bound() -> None:
    env = AdversarialMDP(MODEL, stochastic_losses(MODEL, 50, rng=made(3)))
    trace = run(OREPS(MODEL, exploration=0.1), env, 50, n_replications=4, seed=0)
    assert trace.guarantee is None
    assert run(OREPS(MODEL), env, 50, n_replications=4, seed=0).guarantee is not None
    learner, other = OREPS(MODEL, learning_rate=0.5), OREPS(MODEL, learning_rate=0.5, exploration=9)
    for one in (learner, other):
        one.reset(1, 50, made(0))
        one.act()
        zeros = np.zeros((1, 3), dtype=np.int64)
        one.update(TrajectoryFeedback(zeros, zeros, np.ones((1, 3))))
    assert learner.act()[0, 0, 0, 0] < other.act()[0, 0, 0, 0] < 1 / 3


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="learning_rate"):
        OREPS(MODEL, learning_rate=0.0)
    with pytest.raises(ValueError, match="exploration"):
        OREPS(MODEL, exploration=-1.0)
    with pytest.raises(TypeError, match="model"):
        OREPS(np.ones((1, 1, 2, 1)))  # type: ignore[arg-type]


def test_the_uniform_policy_has_the_regret_of_its_value() -> None:
    env = AdversarialMDP(MODEL, stochastic_losses(MODEL, 40, rng=made(3)))
    total = sum(env.losses(k) for k in range(1, 41))
    value = float((MODEL.occupancy(MODEL.uniform_policy()) * total).sum())
    trace = run(UniformPolicy(MODEL), env, 40, n_replications=2, seed=0)
    np.testing.assert_allclose(trace.regret[:, -1], value - env.best_policy()[1], rtol=1e-12)


def test_the_leader_misses_that_the_losses_flip() -> None:
    K = 2000
    model = chain(4)
    env = AdversarialMDP(model, chain_flip(4, K))
    learner = FollowTheLeader(model)
    learner.reset(1, K, made(0))
    env.reset(1, made(0))
    for _ in range(K // 4):
        learner.update(env.step(learner.act()))
    assert learner.act()[0, 0, 0].tolist() == [1.0, 0.0]  # leaving the chain at once is best so far
    means = learner.totals[0] / np.maximum(learner.visits[0], 1)
    seen = learner.visits[0] > 0
    np.testing.assert_allclose(means[seen], env.losses(1)[seen], rtol=1e-12)
    trace = run(FollowTheLeader(model), env, K, n_replications=2, seed=0)
    assert trace.mean()[-1] > run(OREPS(model), env, K, n_replications=20, seed=0).mean()[-1]
