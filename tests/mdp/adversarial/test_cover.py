"""Policy covers: optimal designs over occupancy measures, and optimistic exploration."""

import math

import numpy as np
import pytest

from fenchel.core.checks import FloatArray
from fenchel.mdp import LinearMDP, chain, random_linear_mdp, tabular_as_linear
from fenchel.mdp.adversarial.covariance import trajectories
from fenchel.mdp.adversarial.cover import (
    LearnedCover,
    known_states,
    optimal_design,
    squared_norms,
)

MODEL = random_linear_mdp(3, 4, 3, 3, seed=0)


def objective(model: LinearMDP, q: FloatArray, ridge: float) -> float:
    sigma = np.einsum("hsa,hsai,hsaj->hij", q, model.features, model.features)
    return float(np.linalg.slogdet(sigma + ridge * np.eye(model.dim))[1].sum())


@pytest.mark.parametrize("seed", range(3))
def test_optimal_design_is_that_of_cvxpy_within_its_gap(seed: int) -> None:
    cp = pytest.importorskip("cvxpy")
    model, ridge = random_linear_mdp(2, 3, 3, 3, seed=seed), 0.01
    q, gap = optimal_design(model, ridge, tolerance=1e-3)
    A, b = model.flow_constraints()
    x = cp.Variable(q.size, nonneg=True)
    phi = model.features.reshape(2, 9, 3)
    total = sum(
        cp.log_det(
            ridge * np.eye(3) + sum(x[9 * h + i] * np.outer(phi[h, i], phi[h, i]) for i in range(9))
        )
        for h in range(2)
    )
    best = cp.Problem(cp.Maximize(total), [A @ x == b]).solve(solver=cp.CLARABEL)
    assert gap <= 1e-3 * 3 * 2
    assert best - gap - 1e-6 <= objective(model, q, ridge) <= best + 1e-6
    assert np.abs(A @ q.ravel() - b).max() < 1e-12
    assert q.min() >= 0


def test_no_policy_sees_larger_norms_than_the_design_gives_itself() -> None:
    """Kiefer and Wolfowitz: Σ_h E_q' ‖φ‖² <= Σ_h E_q ‖φ‖² + gap <= d H + gap for all q'."""
    ridge = 1e-3
    q, gap = optimal_design(MODEL, ridge)
    sigma = np.einsum("hsa,hsai,hsaj->hij", q, MODEL.features, MODEL.features)
    norms = squared_norms(MODEL.features, np.linalg.inv(sigma + ridge * np.eye(3)))
    own = (q * norms).sum()
    assert own <= 9
    _, least = MODEL.best_policy(-norms)
    np.testing.assert_allclose(-least - own, gap, rtol=1e-9)
    assert gap <= 0.01 * 9
    uniform = MODEL.occupancy(MODEL.uniform_policy())
    assert objective(MODEL, q, ridge) > objective(MODEL, uniform, ridge) + 0.05


def test_design_of_one_state_and_one_hot_actions_is_uniform() -> None:
    model = tabular_as_linear(np.ones((1, 1, 4, 1)))
    q, _ = optimal_design(model, 1e-6, tolerance=1e-6)
    np.testing.assert_allclose(q, 0.25, atol=1e-3)


def test_squared_norms_are_the_quadratic_form() -> None:
    rng = np.random.default_rng(0)
    M = rng.normal(size=(2, 3, 3, 3))
    M = M @ np.swapaxes(M, -1, -2)
    phi = MODEL.features
    for r, h, s, a in ((0, 0, 1, 2), (1, 2, 3, 0)):
        expected = phi[h, s, a] @ M[r, h] @ phi[h, s, a]
        np.testing.assert_allclose(squared_norms(phi, M)[r, h, s, a], expected, rtol=1e-12)


def learned(model: LinearMDP, n: int, size: int, threshold: float, seed: int = 0) -> LearnedCover:
    rng = np.random.default_rng(seed)
    cover = LearnedCover(model, n, n_policies=size, n_plays=size, threshold=threshold, optimism=0.3)
    for index in range(size):
        policies = cover.plan(index)
        for _ in range(size):
            cover.observe(*trajectories(model, policies, rng))
    return cover


def test_learned_cover_reaches_the_end_of_the_chain() -> None:
    """The uniform policy is there with probability 2⁻⁷."""
    model, n = chain(8), 5
    cover = learned(model, n, 12, 40.0)
    on_chain = (cover.covariance()[:, -1, [0, 1], [0, 1]]).sum(axis=-1)  # both actions, (R,)
    assert on_chain.min() > 10 * 2**-7
    assert known_states(model, cover.covariance(), 40.0).all(axis=-1)[:, 1:].all()


def test_plan_is_optimistic_least_squares_value_iteration() -> None:
    model, size, threshold, optimism = MODEL, 4, 5.0, 0.7
    H, S, A, d = model.features.shape
    cover = LearnedCover(
        model, 2, n_policies=size, n_plays=size, threshold=threshold, optimism=optimism
    )
    rng, data = np.random.default_rng(1), []
    for index in range(size):
        policies = cover.plan(index)
        for r in range(2):
            Q = np.zeros((H, S, A))
            values = np.zeros((H + 1, S))
            for h in reversed(range(H)):
                gram, target = np.eye(d), np.zeros(d)
                for states, actions in data:
                    phi = model.features[h, states[r, h], actions[r, h]]
                    gram += np.outer(phi, phi)
                    if h + 1 < H:
                        target += phi * values[h + 1, states[r, h + 1]]
                w = np.linalg.solve(gram, target)
                for s, a in np.ndindex(S, A):
                    phi = model.features[h, s, a]
                    norm = phi @ np.linalg.solve(gram, phi)
                    reward = min(1, max(0, 2 * norm * size**2 / threshold - 1))
                    Q[h, s, a] = min(H, reward + phi @ w + optimism * math.sqrt(norm))
                values[h] = Q[h].max(axis=-1)
            chosen = policies[r].argmax(axis=-1)  # ties may round either way
            best = np.take_along_axis(Q, chosen[..., None], axis=-1)[..., 0]
            np.testing.assert_allclose(best, Q.max(axis=-1), rtol=1e-9)
        np.testing.assert_array_equal(cover.policies[:, index], policies)
        for _ in range(size):
            episode = trajectories(model, policies, rng)
            cover.observe(*episode)
            data.append(episode)
    phi = np.array([model.features[np.arange(H), s[1], a[1]] for s, a in data])
    gram = np.eye(d) + np.einsum("khi,khj->hij", phi, phi)
    np.testing.assert_allclose(cover.covariance()[1], gram / size**2, rtol=1e-12)


def test_states_are_known_up_to_the_threshold() -> None:
    sigma = np.tile(np.eye(3), (3, 1, 1)) * np.array([1.0, 0.5, 0.1])[:, None, None]
    largest = (MODEL.features**2).sum(axis=-1).max(axis=-1) / np.array([1, 0.5, 0.1])[:, None]
    for threshold in (0.3, 1.0, 2.0):
        expected = largest <= threshold
        np.testing.assert_array_equal(known_states(MODEL, sigma, threshold), expected)
    assert 0 < expected.mean() < 1
