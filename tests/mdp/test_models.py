import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenchel.core.checks import FloatArray, IntArray
from fenchel.mdp import LinearMDP, chain, random_linear_mdp, tabular_as_linear

seeds = st.integers(0, 10_000)
layers, sizes, choices = st.integers(1, 4), st.integers(1, 4), st.integers(1, 3)
quick = settings(deadline=None, derandomize=True, max_examples=40)
few = settings(deadline=None, derandomize=True, max_examples=15)

Path = tuple[float, list[int], list[int]]


def made(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def anywhere(model: LinearMDP, rng: np.random.Generator) -> LinearMDP:
    """The same MDP from a random first state."""
    first = int(rng.integers(model.n_states))
    return LinearMDP(model.transition, model.features, initial_state=first)


def tabular(H: int, S: int, A: int, rng: np.random.Generator) -> LinearMDP:
    """Random transitions, a third of them impossible, from a random first state."""
    P = rng.dirichlet(np.full(S, 0.7), size=(H, S, A))
    largest = P.max(axis=-1, keepdims=True)
    P[(rng.random(P.shape) < 1 / 3) & (largest > P)] = 0.0
    return anywhere(tabular_as_linear(P / P.sum(axis=-1, keepdims=True)), rng)


def policies_of(model: LinearMDP, rng: np.random.Generator, *batch: int) -> FloatArray:
    """Random policies (*batch, H, S, A), some actions never taken."""
    shape = (*batch, model.horizon, model.n_states)
    p = rng.dirichlet(np.full(model.n_actions, 0.5), size=shape)
    p[(p < 0.1) & (p < p.max(axis=-1, keepdims=True))] = 0.0
    return p / p.sum(axis=-1, keepdims=True)


def losses_of(model: LinearMDP, rng: np.random.Generator) -> FloatArray:
    return rng.normal(size=(model.horizon, model.n_states, model.n_actions))


def trajectories(model: LinearMDP, policy: FloatArray) -> Iterator[Path]:
    """Every trajectory that can happen: its probability, states and actions."""
    H, S, A = model.horizon, model.n_states, model.n_actions
    for actions in itertools.product(range(A), repeat=H):
        for rest in itertools.product(range(S), repeat=H - 1):
            states = [model.initial_state, *rest]
            probability = 1.0
            for h in range(H):
                probability *= policy[h, states[h], actions[h]]
                if h + 1 < H:
                    probability *= model.transition[h, states[h], actions[h], states[h + 1]]
            if probability > 0:
                yield probability, states, list(actions)


def value_by_hand(model: LinearMDP, policy: FloatArray, losses: FloatArray) -> float:
    """E Σ_h ℓ_h(s_h, a_h), over the trajectories."""
    h = np.arange(model.horizon)
    return float(sum(p * losses[h, s, a].sum() for p, s, a in trajectories(model, policy)))


def value(model: LinearMDP, policy: FloatArray, losses: FloatArray) -> float:
    """V_1(s_1), from action values."""
    Q = model.action_values(policy, losses)
    return float(policy[0, model.initial_state] @ Q[0, model.initial_state])


def every_policy(model: LinearMDP) -> IntArray:
    """The actions (N, H, S) of all deterministic policies."""
    H, S = model.horizon, model.n_states
    return np.array(list(itertools.product(range(model.n_actions), repeat=H * S))).reshape(-1, H, S)


def span_error(features: FloatArray, values: FloatArray) -> float:
    """The largest distance of values (S, A, ...) from the span of features (S, A, d)."""
    X = features.reshape(-1, features.shape[-1])
    y = values.reshape(len(X), -1)
    return float(np.abs(y - X @ (np.linalg.pinv(X) @ y)).max())


# linear MDPs


@quick
@given(seeds, layers, sizes, choices, st.integers(1, 6), st.floats(0.05, 20))
def test_random_transitions_are_distributions_linear_in_features_of_the_simplex(
    seed: int, H: int, S: int, A: int, d: int, concentration: float
) -> None:
    model = random_linear_mdp(H, S, A, d, concentration=concentration, seed=seed)
    assert model.transition.shape == (H, S, A, S)
    assert model.features.shape == (H, S, A, d)
    assert (model.horizon, model.n_states, model.n_actions, model.dim) == (H, S, A, d)
    assert model.initial_state == 0
    assert (model.transition >= 0).all()
    assert (model.features >= 0).all()
    np.testing.assert_allclose(model.transition.sum(axis=-1), 1.0, rtol=1e-13)
    np.testing.assert_allclose(model.features.sum(axis=-1), 1.0, rtol=1e-13)
    assert (np.linalg.norm(model.features, axis=-1) <= 1 + 1e-14).all()
    for h in range(H):
        assert span_error(model.features[h], model.transition[h]) < 1e-12


@quick
@given(seeds, layers, sizes, choices, st.integers(1, 6))
def test_action_values_of_every_policy_are_linear_in_the_features(
    seed: int, H: int, S: int, A: int, d: int
) -> None:
    rng = made(seed)
    for model in (random_linear_mdp(H, S, A, d, seed=seed), tabular(H, S, A, rng)):
        theta = rng.random((H, model.dim))
        losses = np.einsum("hsad,hd->hsa", model.features, theta)
        Q = model.action_values(policies_of(model, rng), losses)
        assert model.linear_residual(Q) < 1e-12
        for h in range(H):
            assert span_error(model.features[h], Q[h]) < 1e-12


@quick
@given(seeds, layers, st.integers(2, 4), st.integers(2, 3), st.integers(1, 3))
def test_the_residual_is_the_part_orthogonal_to_the_features_in_the_worst_layer(
    seed: int, H: int, S: int, A: int, d: int
) -> None:
    rng = made(seed)
    model = random_linear_mdp(H, S, A, d, seed=seed)
    values = np.einsum("hsad,hdk->hsak", model.features, rng.normal(size=(H, d, 2)))
    assert model.linear_residual(values) < 1e-12
    h = int(rng.integers(H))
    X = model.features[h].reshape(-1, d)
    r = rng.normal(size=len(X))
    r -= X @ (np.linalg.pinv(X) @ r)
    values[h, ..., 1] += r.reshape(S, A)
    assert model.linear_residual(values) == pytest.approx(abs(r).max(), abs=1e-11)


def test_features_and_laws_are_dirichlet() -> None:
    # of Dirichlet(c 1_d): E x_j = 1/d, E Σ_j x_j² = (c + 1)/(d c + 1)
    for c, d in ((0.5, 3), (0.5, 2), (2.0, 3), (0.1, 4)):
        x = random_linear_mdp(100, 5, 8, d, concentration=c, seed=1).features.reshape(-1, d)
        error = x.std(axis=0) / math.sqrt(len(x))
        assert (abs(x.mean(axis=0) - 1 / d) < 5 * error).all()
        squares = (x**2).sum(axis=-1)
        error = squares.std() / math.sqrt(len(x))
        assert abs(squares.mean() - (c + 1) / (d * c + 1)) < 5 * error
    default = random_linear_mdp(2, 3, 2, 3, seed=1).features
    half = random_linear_mdp(2, 3, 2, 3, concentration=0.5, seed=1).features
    np.testing.assert_array_equal(default, half)
    P = random_linear_mdp(2000, 3, 2, 1, seed=2).transition  # d = 1: all rows of a layer are ν_h
    np.testing.assert_allclose(P, np.broadcast_to(P[:, :1, :1], P.shape), rtol=1e-14)
    nu = P[:, 0, 0]
    squares = (nu**2).sum(axis=-1)
    assert abs(squares.mean() - 1.5 / 2.5) < 5 * squares.std() / math.sqrt(2000)
    assert (abs(nu.mean(axis=0) - 1 / 3) < 5 * nu.std(axis=0) / math.sqrt(2000)).all()


def test_a_random_mdp_is_one_of_its_seed_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second, other = (random_linear_mdp(2, 3, 2, 2, seed=seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first.transition, second.transition)
    np.testing.assert_array_equal(first.features, second.features)
    assert not np.array_equal(first.features, other.features)
    assert not np.array_equal(first.transition, other.transition)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(("H", "S", "A"), [(3, 4, 2), (1, 1, 1), (2, 1, 3), (2, 3, 1)])
def test_every_finite_mdp_is_linear_in_one_hot_features(H: int, S: int, A: int) -> None:
    rng = made()
    P = rng.dirichlet(np.ones(S), size=(H, S, A))
    model = tabular_as_linear(P, initial_state=S - 1)
    np.testing.assert_array_equal(model.transition, P)
    assert model.initial_state == S - 1
    assert model.dim == S * A
    for h in range(H):
        np.testing.assert_array_equal(model.features[h].reshape(S * A, S * A), np.eye(S * A))
    assert model.linear_residual(rng.normal(size=(H, S, A, 5))) < 1e-12


def test_an_mdp_keeps_its_own_read_only_arrays() -> None:
    P = made().dirichlet(np.ones(2), size=(2, 2, 2))
    features = np.tile(np.eye(4).reshape(2, 2, 4), (2, 1, 1, 1))
    model, copy = LinearMDP(P, features), P.copy()
    P[:], features[:] = 0.0, 0.0
    np.testing.assert_array_equal(model.transition, copy)
    np.testing.assert_array_equal(model.features[1].reshape(4, 4), np.eye(4))
    with pytest.raises(ValueError, match="read-only"):
        model.transition[0] = 0.5
    with pytest.raises(ValueError, match="read-only"):
        model.features[0] = 0.5


def test_the_transitions_of_the_last_layer_are_not_used() -> None:
    rng = made()
    model = random_linear_mdp(3, 4, 3, 2, seed=0)
    P = model.transition.copy()
    P[-1] = rng.dirichlet(np.ones(4), size=(4, 3))  # not linear in the features
    assert span_error(model.features[-1], P[-1]) > 1e-3
    other = LinearMDP(P, model.features)
    policy, losses = policies_of(model, rng), losses_of(model, rng)
    np.testing.assert_array_equal(other.occupancy(policy), model.occupancy(policy))
    np.testing.assert_allclose(
        other.action_values(policy, losses), model.action_values(policy, losses), rtol=1e-14
    )
    assert other.best_policy(losses)[1] == model.best_policy(losses)[1]


# occupancy measures


@quick
@given(seeds, st.integers(1, 3), st.integers(1, 3), choices)
def test_occupancies_are_frequencies_over_all_trajectories(
    seed: int, H: int, S: int, A: int
) -> None:
    rng = made(seed)
    model = tabular(H, S, A, rng)
    policy = policies_of(model, rng)
    expected = np.zeros((H, S, A))
    total = 0.0
    for probability, states, actions in trajectories(model, policy):
        expected[np.arange(H), states, actions] += probability
        total += probability
    assert total == pytest.approx(1.0, abs=1e-13)
    q = model.occupancy(policy)
    np.testing.assert_allclose(q, expected, atol=1e-14)
    first = np.arange(S) == model.initial_state
    np.testing.assert_allclose(q[0], first[:, None] * policy[0], atol=1e-15)


@quick
@given(seeds, layers, sizes, choices)
def test_occupancies_meet_the_flow_constraints(seed: int, H: int, S: int, A: int) -> None:
    rng = made(seed)
    model = tabular(H, S, A, rng)
    policy = policies_of(model, rng)
    q = model.occupancy(policy)
    np.testing.assert_allclose(q.sum(axis=(1, 2)), 1.0, rtol=1e-13)
    reached = q.sum(axis=-1)  # (H, S)
    np.testing.assert_allclose(q, reached[..., None] * policy, atol=1e-15)
    inflow = np.einsum("hsa,hsat->ht", q[:-1], model.transition[:-1])
    np.testing.assert_allclose(reached[1:], inflow, atol=1e-14)
    constraints, right = model.flow_constraints()
    assert constraints.shape == (H * S, H * S * A)
    np.testing.assert_allclose(constraints @ q.ravel(), right, atol=1e-14)


@few
@given(seeds, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_the_flow_constraints_admit_nothing_but_occupancies(
    seed: int, H: int, S: int, A: int
) -> None:
    rng = made(seed)
    model = tabular(H, S, A, rng)
    constraints, right = model.flow_constraints()
    dense = constraints.toarray()
    assert np.linalg.matrix_rank(dense) == H * S  # none is redundant
    # walk from an occupancy within the constraints to their border: a policy leads there, too
    direction = rng.normal(size=H * S * A)
    direction -= np.linalg.pinv(dense) @ (dense @ direction)
    q = model.occupancy(model.uniform_policy()).ravel()
    free = q > 0
    if A > 1:
        direction[~free] = 0.0  # the rest may break the flow: project again within the free part
        direction[free] -= np.linalg.pinv(dense[:, free]) @ (dense[:, free] @ direction[free])
    falling = direction < -1e-9
    if not falling.any():
        return
    q = q + 0.999 * (q[falling] / -direction[falling]).min() * direction
    np.testing.assert_allclose(dense @ q, right, atol=1e-11)
    q = np.maximum(q.reshape(H, S, A), 0.0)
    reached = q.sum(axis=-1, keepdims=True)
    policy = np.divide(q, reached, out=np.full_like(q, 1 / A), where=reached > 0)
    np.testing.assert_allclose(model.occupancy(policy), q, atol=1e-11)


@pytest.mark.parametrize("batch", [(), (1,), (5,), (2, 3), (2, 1, 3), (0,)])
def test_policies_may_be_stacked_on_any_axes(batch: tuple[int, ...]) -> None:
    rng = made()
    model = tabular(3, 4, 2, rng)
    policies, losses = policies_of(model, rng, *batch), losses_of(model, rng)
    q, Q = model.occupancy(policies), model.action_values(policies, losses)
    assert q.shape == Q.shape == policies.shape
    for index in np.ndindex(*batch):
        np.testing.assert_array_equal(q[index], model.occupancy(policies[index]))
        one = model.action_values(policies[index], losses)
        np.testing.assert_allclose(Q[index], one, rtol=1e-13)
    kept = policies.copy()
    for order in (np.asfortranarray(policies), policies[..., ::-1][..., ::-1], policies.tolist()):
        if np.size(policies) > 0:
            np.testing.assert_array_equal(model.occupancy(order), q)
            np.testing.assert_array_equal(model.action_values(order, losses), Q)
    np.testing.assert_array_equal(policies, kept)


# values


@quick
@given(seeds, st.integers(1, 3), st.integers(1, 3), choices)
def test_action_values_are_the_expected_losses_to_go(seed: int, H: int, S: int, A: int) -> None:
    rng = made(seed)
    model = tabular(H, S, A, rng)
    policy, losses = policies_of(model, rng), losses_of(model, rng)

    def to_go(h: int, s: int, a: int) -> float:
        if h + 1 == H:
            return float(losses[h, s, a])
        return float(losses[h, s, a]) + sum(
            model.transition[h, s, a, t] * policy[h + 1, t, b] * to_go(h + 1, t, b)
            for t in range(S)
            for b in range(A)
        )

    expected = [[[to_go(h, s, a) for a in range(A)] for s in range(S)] for h in range(H)]
    np.testing.assert_allclose(model.action_values(policy, losses), expected, atol=1e-12)
    assert value(model, policy, losses) == pytest.approx(
        value_by_hand(model, policy, losses), abs=1e-12
    )


@quick
@given(seeds, layers, sizes, choices, st.integers(1, 4))
def test_the_value_is_the_loss_under_the_occupancy(
    seed: int, H: int, S: int, A: int, d: int
) -> None:
    rng = made(seed)
    for base in (random_linear_mdp(H, S, A, d, seed=seed), tabular(H, S, A, rng)):
        model = anywhere(base, rng)
        policy, losses = policies_of(model, rng), losses_of(model, rng)
        charged = float((model.occupancy(policy) * losses).sum())
        assert charged == pytest.approx(value(model, policy, losses), abs=1e-12)


@quick
@given(seeds, layers, sizes, choices)
def test_performance_difference_lemma(seed: int, H: int, S: int, A: int) -> None:
    # V^π − V^μ = Σ_h Σ_s ρ^π_h(s) ⟨π_h(s) − μ_h(s), Q^μ_h(s)⟩
    rng = made(seed)
    model = tabular(H, S, A, rng)
    pi, mu, losses = policies_of(model, rng), policies_of(model, rng), losses_of(model, rng)
    reached = model.occupancy(pi).sum(axis=-1, keepdims=True)
    right = (reached * (pi - mu) * model.action_values(mu, losses)).sum()
    left = value(model, pi, losses) - value(model, mu, losses)
    assert left == pytest.approx(right, abs=1e-12)


@quick
@given(seeds, layers, sizes, choices)
def test_dilated_bonus_identity(seed: int, H: int, S: int, A: int) -> None:
    # B = b + (1 + 1/H) E V_B are action values of π for the bonuses (1 + 1/H)^(h−1) b_h, undone:
    # Σ_h E_{ρ*} ⟨π − π*, Q − B⟩ = V^π − V^{π*} − V_B(s_1) + E_{q*} b + (1/H) Σ_{h ≥ 2} E_{ρ*} V_B
    rng = made(seed)
    model = tabular(H, S, A, rng)
    pi, best, losses = policies_of(model, rng), policies_of(model, rng), losses_of(model, rng)
    b = rng.random((H, S, A))
    scale = (1 + 1 / H) ** np.arange(H)[:, None, None]
    B = model.action_values(pi, scale * b) / scale
    V = (pi * B).sum(axis=-1)
    q = model.occupancy(best)
    reached = q.sum(axis=-1)
    left = (reached[..., None] * (pi - best) * (model.action_values(pi, losses) - B)).sum()
    right = value(model, pi, losses) - value(model, best, losses) - V[0, model.initial_state]
    right += (q * b).sum() + (reached * V)[1:].sum() / H
    assert left == pytest.approx(right, abs=1e-12)
    paid = (model.occupancy(pi) * scale * b).sum()
    assert V[0, model.initial_state] == pytest.approx(paid, abs=1e-12)
    assert paid <= math.e * (model.occupancy(pi) * b).sum()


@quick
@given(seeds, layers, sizes, choices, st.floats(-3, 3))
def test_a_constant_loss_costs_every_policy_the_same(
    seed: int, H: int, S: int, A: int, level: float
) -> None:
    rng = made(seed)
    model = tabular(H, S, A, rng)
    losses = losses_of(model, rng)
    policy = policies_of(model, rng)
    shifted = value(model, policy, losses + level)
    assert shifted == pytest.approx(value(model, policy, losses) + H * level, abs=1e-12)
    best = model.best_policy(losses + level)[1]
    assert best == pytest.approx(model.best_policy(losses)[1] + H * level, abs=1e-12)


# the best policy

TINY = [(1, 1, 1), (1, 3, 3), (2, 2, 2), (3, 2, 2), (2, 3, 2), (2, 2, 3), (6, 1, 2), (3, 3, 1)]


@pytest.mark.parametrize(("H", "S", "A"), TINY)
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_the_best_policy_is_that_of_enumeration_and_of_linear_programming(
    H: int, S: int, A: int, size: float
) -> None:
    rng = made(100 * H + 10 * S + A)
    model = tabular(H, S, A, rng)
    losses = size * losses_of(model, rng)
    actions, best = model.best_policy(losses)
    assert actions.shape == (H, S)
    assert actions.dtype == np.int64
    values = [
        value_by_hand(model, model.deterministic(each), losses) for each in every_policy(model)
    ]
    assert best == pytest.approx(min(values), rel=1e-12)
    found = value_by_hand(model, model.deterministic(actions), losses)
    assert found == pytest.approx(best, rel=1e-12)
    q, optimum = model.best_occupancy(losses)
    assert q.shape == (H, S, A)
    assert optimum == pytest.approx(best, rel=1e-6)  # HiGHS is feasible to 1e-7
    constraints, right = model.flow_constraints()
    np.testing.assert_allclose(constraints @ q.ravel(), right, atol=1e-6)
    assert (q >= -1e-9).all()
    unique = sorted(values)
    if len(values) == 1 or unique[1] - unique[0] > 1e-9 * size:
        np.testing.assert_allclose(q, model.occupancy(model.deterministic(actions)), atol=1e-6)


@quick
@given(seeds, layers, sizes, choices)
def test_no_policy_is_better_than_the_best(seed: int, H: int, S: int, A: int) -> None:
    rng = made(seed)
    model = tabular(H, S, A, rng)
    losses = losses_of(model, rng)
    actions, best = model.best_policy(losses)
    pi = model.deterministic(actions)
    assert value(model, pi, losses) == pytest.approx(best, abs=1e-12)
    q = model.occupancy(policies_of(model, rng, 20))
    assert ((q * losses).sum(axis=(1, 2, 3)) >= best - 1e-12).all()
    # Bellman: nor is any other action better, in any state
    Q = model.action_values(pi, losses)
    np.testing.assert_allclose((pi * Q).sum(axis=-1), Q.min(axis=-1), atol=1e-12)


def test_the_best_policy_depends_on_where_it_starts() -> None:
    P = np.zeros((2, 2, 2, 2))  # action a leads to state a
    P[..., 0, 0] = P[..., 1, 1] = 1.0
    losses = np.array([[[0.0, 1.0], [1.0, 1.0]], [[3.0, 2.0], [0.0, 0.0]]])
    # from 0: stay at 0 costs 0 + 2, move to 1 costs 1 + 0; from 1 the move to 1 costs 1 + 0 too
    for first, best in ((0, 1.0), (1, 1.0)):
        model = tabular_as_linear(P, initial_state=first)
        actions, loss = model.best_policy(losses)
        np.testing.assert_array_equal(actions[0], [1, 1])
        assert loss == model.best_occupancy(losses)[1] == best
    losses[0, 1] = 5.0
    assert tabular_as_linear(P, initial_state=1).best_policy(losses)[1] == 5.0
    assert tabular_as_linear(P, initial_state=0).best_policy(losses)[1] == 1.0


def test_one_layer_and_one_state_is_a_bandit() -> None:
    p, losses = np.array([0.2, 0.5, 0.3]), np.array([0.7, 0.1, 0.4])
    for model in (tabular_as_linear(np.ones((1, 1, 3, 1))), random_linear_mdp(1, 1, 3, 1, seed=0)):
        np.testing.assert_array_equal(model.occupancy(p[None, None]), p[None, None])
        Q = model.action_values(p[None, None], losses[None, None])
        np.testing.assert_array_equal(Q, losses[None, None])
        actions, best = model.best_policy(losses[None, None])
        assert actions.tolist() == [[1]]
        assert best == 0.1
        constraints, right = model.flow_constraints()
        np.testing.assert_array_equal(constraints.toarray(), [[1.0, 1.0, 1.0]])
        np.testing.assert_array_equal(right, [1.0])


def test_an_mdp_without_choice_has_one_policy() -> None:
    model = random_linear_mdp(1, 1, 1, 1, seed=0)
    np.testing.assert_allclose(model.features, np.ones((1, 1, 1, 1)))
    np.testing.assert_allclose(model.transition, np.ones((1, 1, 1, 1)))
    np.testing.assert_array_equal(model.occupancy(model.uniform_policy()), np.ones((1, 1, 1)))
    assert model.best_policy(np.full((1, 1, 1), 0.3)) == (np.zeros((1, 1)), 0.3)
    assert repr(model) == "LinearMDP(H=1, S=1, A=1, d=1)"


# policies


def test_uniform_and_deterministic_policies() -> None:
    model = tabular(3, 4, 2, made())
    np.testing.assert_array_equal(model.uniform_policy(), np.full((3, 4, 2), 0.5))
    actions = made(1).integers(0, 2, size=(5, 3, 4))
    policies = model.deterministic(actions)
    assert policies.shape == (5, 3, 4, 2)
    for index in np.ndindex(5, 3, 4):
        assert policies[index][actions[index]] == 1.0
        assert policies[index].sum() == 1.0


# the chain


@pytest.mark.parametrize("H", [1, 2, 5])
def test_a_policy_is_on_the_chain_while_it_has_stayed(H: int) -> None:
    model = chain(H)
    assert (model.horizon, model.n_states, model.n_actions, model.dim) == (H, 2, 2, 4)
    assert model.initial_state == 0
    policies = policies_of(model, made(H), 10)
    on = model.occupancy(policies)[:, :, 0].sum(axis=-1)  # (10, H)
    stayed = np.cumprod(policies[:, :, 0, 1], axis=1)
    np.testing.assert_allclose(on[:, 0], 1.0, rtol=1e-15)
    np.testing.assert_allclose(on[:, 1:], stayed[:, :-1], atol=1e-15)


def test_who_has_left_the_chain_never_comes_back() -> None:
    model = chain(4)
    actions = np.array([[1, 0], [0, 0], [1, 1], [1, 1]])  # leave it in layer 2, then try to return
    states = model.occupancy(model.deterministic(actions)).sum(axis=-1).argmax(axis=-1)
    np.testing.assert_array_equal(states, [0, 0, 1, 1])


# what is refused

P = made().dirichlet(np.ones(3), size=(2, 3, 2))
F = np.tile(np.eye(6).reshape(3, 2, 6), (2, 1, 1, 1))
MODEL = tabular_as_linear(P)
UNIFORM = MODEL.uniform_policy()
LOSSES = np.zeros((2, 3, 2))


def changed(array: FloatArray, entry: float, index: tuple[int, ...]) -> FloatArray:
    result = array.copy()
    result[index] = entry
    return result


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: LinearMDP(P[0], F), "transition"),
        (lambda: LinearMDP(P[..., :2], F), "transition"),
        (lambda: LinearMDP(P[:0], F[:0]), "transition"),
        (lambda: LinearMDP(np.zeros((2, 0, 2, 0)), np.zeros((2, 0, 2, 6))), "transition"),
        (lambda: LinearMDP(P[:, :, :0], F[:, :, :0]), "transition"),
        (lambda: LinearMDP(changed(P, math.nan, (0, 1, 1, 2)), F), "transition"),
        (lambda: LinearMDP(changed(P, math.inf, (0, 1, 1, 2)), F), "transition"),
        (lambda: LinearMDP(changed(P, 0.0, (0, 1, 1)), F), "transition.*h=0, s=1, a=1"),
        (lambda: LinearMDP(0.99 * P, F), r"transition.*0\.9[89]"),
        (lambda: LinearMDP(P * (1 + 1e-6), F), "transition"),
        (lambda: LinearMDP(2 * P - 1 / 3, F), "transition"),  # sums to 1, partly negative
        (lambda: LinearMDP(P, F[..., 0]), "features"),
        (lambda: LinearMDP(P, F[:1]), "features"),
        (lambda: LinearMDP(P, F[:, :2]), "features"),
        (lambda: LinearMDP(P, F[..., :0]), "features"),
        (lambda: LinearMDP(P, changed(F, math.nan, (1, 2, 1, 0))), "features"),
        (lambda: LinearMDP(P, 1.01 * F), "features.*1.01"),
        (lambda: LinearMDP(P, changed(F, 1e-3, (1, 0, 0, 1))), "features"),  # norm 1 + 5e-7
        (lambda: LinearMDP(P, np.ones((2, 3, 2, 1))), "transition.*linear in features"),
        (lambda: LinearMDP(P, F[..., :5]), "transition.*linear in features"),
        (lambda: LinearMDP(P, F, initial_state=-1), "initial_state"),
        (lambda: LinearMDP(P, F, initial_state=3), "initial_state"),
        (lambda: tabular_as_linear(P, initial_state=3), "initial_state"),
        (lambda: tabular_as_linear(P[0]), "transition"),
        (lambda: tabular_as_linear(P[..., :2]), "transition"),
        (lambda: tabular_as_linear(P[:0]), "transition"),
        (lambda: tabular_as_linear(changed(P, math.nan, (1, 0, 0, 0))), "transition"),
        (lambda: tabular_as_linear(0.5 * P), "transition"),
        (lambda: tabular_as_linear(2 * P - 1 / 3), "transition"),
        (lambda: random_linear_mdp(0, 3, 2, 2, seed=0), "horizon"),
        (lambda: random_linear_mdp(2, 0, 2, 2, seed=0), "n_states"),
        (lambda: random_linear_mdp(2, 3, -1, 2, seed=0), "n_actions"),
        (lambda: random_linear_mdp(2, 3, 2, 0, seed=0), "dim"),
        (lambda: random_linear_mdp(2, 3, 2, 2, seed=-1), "seed"),
        (lambda: random_linear_mdp(2, 3, 2, 2, concentration=0.0, seed=0), "concentration"),
        (lambda: random_linear_mdp(2, 3, 2, 2, concentration=math.nan, seed=0), "concentration"),
        (lambda: random_linear_mdp(2, 3, 2, 2, concentration=math.inf, seed=0), "concentration"),
        (lambda: chain(0), "horizon"),
        (lambda: MODEL.occupancy(UNIFORM[0]), "policy"),
        (lambda: MODEL.occupancy(UNIFORM[:, :2]), "policy"),
        (lambda: MODEL.occupancy(UNIFORM[..., :1] * 2), "policy"),
        (lambda: MODEL.occupancy(np.concatenate([UNIFORM, UNIFORM])), "policy"),
        (lambda: MODEL.occupancy(0.5), "policy"),
        (lambda: MODEL.occupancy(changed(UNIFORM, math.nan, (1, 2, 0))), "policy"),
        (lambda: MODEL.occupancy(changed(UNIFORM, 0.6, (1, 2, 0))), "policy"),
        (lambda: MODEL.occupancy(3 * UNIFORM - [2.0, 0.0]), "policy"),  # sums to 1
        (lambda: MODEL.action_values(UNIFORM[0], LOSSES), "policy"),
        (lambda: MODEL.action_values(changed(UNIFORM, math.nan, (0, 1, 1)), LOSSES), "policy"),
        (lambda: MODEL.action_values(2 * UNIFORM, LOSSES), "policy"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(make: Callable[[], Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: LinearMDP("P", F), "transition"),
        (lambda: LinearMDP(P + 0j, F), "transition"),
        (lambda: LinearMDP(P, None), "features"),
        (lambda: LinearMDP(P, F, initial_state=1.0), "initial_state"),
        (lambda: LinearMDP(P, F, initial_state=True), "initial_state"),
        (lambda: tabular_as_linear([[[[1.0], [0.5, 0.5]]]]), "transition"),
        (lambda: random_linear_mdp(2.0, 3, 2, 2, seed=0), "horizon"),
        (lambda: random_linear_mdp(2, 3, 2, 2, seed=0.5), "seed"),
        (lambda: random_linear_mdp(2, 3, 2, 2, seed=None), "seed"),
        (lambda: random_linear_mdp(2, 3, 2, 2, concentration="1", seed=0), "concentration"),
        (lambda: chain(2.0), "horizon"),
        (lambda: MODEL.occupancy("uniform"), "policy"),
    ],
)
def test_arguments_of_another_type_are_refused_by_name(make: Callable[[], Any], name: str) -> None:
    with pytest.raises(TypeError, match=name):
        make()


BAD_LOSSES = {
    "one layer": LOSSES[0],  # as long in S as another axis: numpy would broadcast it
    "more layers": np.zeros((3, 3, 2)),
    "many episodes": np.zeros((4, 2, 3, 2)),
    "nan": changed(LOSSES, math.nan, (1, 0, 0)),
}


@pytest.mark.parametrize("losses", BAD_LOSSES.values(), ids=BAD_LOSSES.keys())
@pytest.mark.parametrize("method", ["action_values", "best_policy", "best_occupancy"])
def test_losses_of_another_shape_or_nan_are_refused_by_name(
    method: str, losses: FloatArray
) -> None:
    policy = (UNIFORM,) if method == "action_values" else ()
    with pytest.raises(ValueError, match="losses"):
        getattr(MODEL, method)(*policy, losses)


@pytest.mark.parametrize("action", [-1, 2])
def test_actions_that_there_are_not_are_refused_by_name(action: int) -> None:
    actions = np.zeros((2, 3), dtype=np.int64)
    actions[1, 2] = action
    with pytest.raises((ValueError, IndexError), match="action"):
        MODEL.deterministic(actions)
