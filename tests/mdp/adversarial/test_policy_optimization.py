"""Policy optimisation for adversarial linear MDPs: plain oracles, enumeration, and the proof."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from fenchel.core import TrajectoryFeedback, run
from fenchel.core.checks import FloatArray, IntArray
from fenchel.core.potentials import LogBarrier
from fenchel.mdp import (
    AdversarialMDP,
    DilatedBonusPolicyOptimization,
    EmpiricalInverse,
    ExactCovariance,
    LinearMDP,
    LogBarrierPolicyOptimization,
    MagnitudeReducedPolicyOptimization,
    MatrixGeometricResampling,
    UniformPolicy,
    chain,
    random_linear_mdp,
    stochastic_losses,
    tabular_as_linear,
)
from fenchel.mdp.adversarial.covariance import Covariance

Kind = type[
    LogBarrierPolicyOptimization
    | MagnitudeReducedPolicyOptimization
    | DilatedBonusPolicyOptimization
]
A_, B_, BASE = (
    LogBarrierPolicyOptimization,
    MagnitudeReducedPolicyOptimization,
    DilatedBonusPolicyOptimization,
)
KINDS: list[Kind] = [A_, B_, BASE]
ETA, BETA, GAMMA = 0.3, 0.07, 0.04
GIVEN: dict[str, Any] = {"learning_rate": ETA, "bonus_scale": BETA, "regularization": GAMMA}
every_kind = pytest.mark.parametrize("kind", KINDS)


def turned(model: LinearMDP, seed: int, *, start: int = 0) -> LinearMDP:
    """The same MDP with rotated features, of any sign, and another first state."""
    U = np.linalg.qr(np.random.default_rng(seed).normal(size=(model.dim, model.dim)))[0]
    return LinearMDP(model.transition, model.features @ U, initial_state=start)


MODELS = {
    "random": random_linear_mdp(3, 4, 3, 4, seed=1),
    "turned, s_1 = 2": turned(random_linear_mdp(4, 3, 2, 3, seed=2), 0, start=2),
    "d > S A": random_linear_mdp(2, 2, 2, 6, seed=3),
    "H = 1, S = 1": random_linear_mdp(1, 1, 5, 3, seed=4),
    "chain": chain(4),
    "A = 1": random_linear_mdp(2, 3, 1, 2, seed=5),
}
SMALL = turned(random_linear_mdp(3, 3, 3, 2, concentration=1.0, seed=6), 1, start=1)
every_model = pytest.mark.parametrize("name", MODELS)


def random_losses(model: LinearMDP, n_episodes: int, seed: int, linear: bool = False) -> FloatArray:
    """ℓ (K, H, S, A) in [0, 1]; linear: φᵀθ, shifted and scaled along a constant in the span."""
    rng = np.random.default_rng(seed)
    H, S, A, d = model.features.shape
    if not linear:
        return rng.random((n_episodes, H, S, A))
    losses = np.empty((n_episodes, H, S, A))
    for h in range(H):  # features on a rotated simplex: some u has φᵀu = 1
        u = np.linalg.lstsq(model.features[h].reshape(-1, d), np.ones(S * A), rcond=None)[0]
        raw = model.features[h] @ rng.normal(size=(n_episodes, d, 1, 1)).reshape(-1, 1, d, 1)
        raw = raw[..., 0]
        low, high = raw.min(axis=(1, 2), keepdims=True), raw.max(axis=(1, 2), keepdims=True)
        losses[:, h] = (raw - low) / (high - low) * (model.features[h] @ u)
    assert losses.min() >= -1e-9
    assert losses.max() <= 1 + 1e-9
    return np.clip(losses, 0.0, 1.0)


# oracles, from the specification: one replication, one episode, one state at a time


def policy_by_hand(kind: Kind, C: FloatArray, eta: float) -> FloatArray:
    """π(·|s) for C (H, S, A): softmax, or p_a = 1/(η C_a + λ) with λ found by bisection."""
    pi = np.empty_like(C)
    for index in np.ndindex(*C.shape[:2]):
        c = eta * (C[index] - C[index].min())
        if kind is not A_:
            p = np.exp(-c)
        else:
            low, high = 1.0, float(len(c))
            for _ in range(200):
                middle = (low + high) / 2
                low, high = (middle, high) if (1 / (c + middle)).sum() > 1 else (low, middle)
            p = 1 / (c + (low + high) / 2)
        pi[index] = p / p.sum()
    return pi


def occupancy_by_hand(model: LinearMDP, pi: FloatArray) -> FloatArray:
    q, reach = np.empty_like(pi), np.eye(model.n_states)[model.initial_state]
    for h in range(model.horizon):
        q[h] = reach[:, None] * pi[h]
        reach = np.einsum("sa,sat->t", q[h], model.transition[h])
    return q


def inverses_by_hand(model: LinearMDP, q: FloatArray, gamma: float) -> FloatArray:
    sigma = np.einsum("hsa,hsai,hsaj->hij", q, model.features, model.features)
    return np.array([np.linalg.inv(gamma * np.eye(model.dim) + M) for M in sigma])


def squared_norms(model: LinearMDP, inverses: FloatArray) -> FloatArray:
    """‖φ‖²_{Σ̂†}, (H, S, A)."""
    return np.einsum("hsai,hij,hsaj->hsa", model.features, inverses, model.features)


def bonuses_by_hand(
    model: LinearMDP, pi: FloatArray, inverses: FloatArray, beta: float
) -> tuple[FloatArray, FloatArray]:
    """The bonus and the dilated bonus, (H, S, A)."""
    norms, H = squared_norms(model, inverses), model.horizon
    b = beta * (norms + (pi * norms).sum(axis=-1, keepdims=True))
    B = b.copy()
    for h in range(H - 2, -1, -1):
        B[h] += (1 + 1 / H) * model.transition[h] @ (pi[h + 1] * B[h + 1]).sum(axis=-1)
    return b, B


def estimate_by_hand(
    model: LinearMDP,
    measure: FloatArray,
    inverses: FloatArray,
    episode: tuple[Any, Any, Any],
    reduced: bool,
) -> FloatArray:
    """Q̂ (H, S, A) from one episode's states, actions and losses, (H,) each."""
    states, actions, losses = episode
    H = model.horizon
    Q = np.empty(model.features.shape[:3])
    for h in range(H):
        phi = model.features[h]
        x = phi @ inverses[h] @ phi[states[h], actions[h]]
        Q[h] = x * sum(losses[h:])
        if reduced:
            X = np.einsum("sai,ij,tbj->satb", phi, inverses[h], phi)
            m = H * (np.minimum(X, 0.0) * measure[h]).sum(axis=(2, 3))
            Q[h] += m - H * np.minimum(x, 0.0)
    return Q


# one update, from any C, for many trajectories at once


def all_trajectories(model: LinearMDP, pi: FloatArray) -> tuple[IntArray, IntArray, FloatArray]:
    """States and actions (N, H) of the trajectories of positive probability, and that (N,)."""
    H, S, A = pi.shape
    found = []
    for actions in itertools.product(range(A), repeat=H):
        for later in itertools.product(range(S), repeat=H - 1):
            states = (model.initial_state, *later)
            p = math.prod(pi[h, states[h], actions[h]] for h in range(H))
            p *= math.prod(
                model.transition[h, states[h], actions[h], states[h + 1]] for h in range(H - 1)
            )
            if p > 0:
                found.append((states, actions, p))
    states_, actions_, p_ = (np.array(column) for column in zip(*found, strict=True))
    np.testing.assert_allclose(p_.sum(), 1.0, rtol=1e-12)
    return states_, actions_, p_


def changes(
    learner: Any, C: FloatArray, states: IntArray, actions: IntArray, losses: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """π from C, and C_{k+1} − C_k (N, H, S, A) after each of N trajectories (N, H)."""
    learner.reset(len(states), 1000, np.random.default_rng(0))
    learner.cumulative_losses[:] = C
    policies = learner.act().copy()
    assert np.ptp(policies, axis=0).max() == 0
    learner.update(TrajectoryFeedback(states, actions, losses))
    return policies[0], learner.cumulative_losses - C


def enumerated(
    learner: Any, C: FloatArray, losses: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """π, all changes (N, H, S, A) and their probabilities, for losses (H, S, A)."""
    model = learner.model
    nothing = np.zeros((1, model.horizon), dtype=np.int64)
    pi, _ = changes(learner, C, nothing, nothing, nothing.astype(float))
    states, actions, p = all_trajectories(model, pi)
    told = losses[np.arange(model.horizon), states, actions]
    pi, change = changes(learner, C, states, actions, told)
    return pi, change, p


def dilated_bonus(learner: Any, C: FloatArray) -> tuple[FloatArray, FloatArray]:
    """π and B, which is all that a plain learner subtracts when the losses are 0."""
    assert not learner.reduced
    nothing = np.zeros((1, learner.model.horizon), dtype=np.int64)
    pi, change = changes(learner, C, nothing, nothing, nothing.astype(float))
    return pi, -change[0]


def random_scores(model: LinearMDP, seed: int, scale: float = 3.0) -> FloatArray:
    return scale * np.random.default_rng(seed).normal(size=model.features.shape[:3])


# the policies


@every_kind
def test_first_policy_is_uniform(kind: Kind) -> None:
    model = MODELS["random"]
    learner = kind(model)
    learner.reset(2, 10, np.random.default_rng(0))
    np.testing.assert_allclose(learner.act(), 1 / 3, rtol=1e-14)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_log_barrier_policies_satisfy_the_optimality_conditions(scale: float) -> None:
    model, C = MODELS["random"], random_scores(MODELS["random"], 0, scale)
    pi, _ = dilated_bonus(A_(model, **GIVEN), C)
    np.testing.assert_allclose(pi.sum(axis=-1), 1.0, rtol=0, atol=1e-12)
    multipliers = 1 / pi - ETA * C  # 1/p_a = η C_a + λ
    spread = np.ptp(multipliers, axis=-1) / np.abs(1 / pi).max(axis=-1)
    assert spread.max() < 1e-11
    np.testing.assert_allclose(pi, policy_by_hand(A_, C, ETA), rtol=1e-10, atol=0)


@pytest.mark.parametrize("kind", [B_, BASE])
def test_entropy_policies_satisfy_the_optimality_conditions(kind: Kind) -> None:
    model = MODELS["random"]
    C = random_scores(model, 0)
    nothing = np.zeros((1, 3), dtype=np.int64)
    pi, _ = changes(kind(model, **GIVEN), C, nothing, nothing, nothing.astype(float))
    assert np.ptp(np.log(pi) + ETA * C, axis=-1).max() < 1e-13
    np.testing.assert_allclose(pi.sum(axis=-1), 1.0, rtol=0, atol=1e-14)


@every_kind
def test_constants_added_per_state_change_no_policy(kind: Kind) -> None:
    model, C = MODELS["random"], random_scores(MODELS["random"], 1)
    shift = 100 * np.random.default_rng(2).normal(size=(3, 4, 1))
    learner = kind(model, **GIVEN)
    nothing = np.zeros((1, 3), dtype=np.int64)
    one, other = (
        changes(learner, c, nothing, nothing, nothing.astype(float))[0] for c in (C, C + shift)
    )
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)
    assert np.ptp(one, axis=-1).min() > 0.01


# L1, the refined inequality of the log-barrier


def sides_of_log_barrier_bound(
    rng: np.random.Generator, scale: float, adversary: str
) -> tuple[float, float, float, float]:
    """Left side, penalty + η Σ p c², penalty + η Σ p² c², least η p c, of one run of FTRL."""
    A, T, eta = int(rng.integers(2, 7)), int(rng.choice([1, 2, 40])), 10 ** rng.uniform(-2, 1)
    C, losses, points = np.zeros(A), [], []
    favourite = int(rng.integers(A))
    for t in range(T):
        p = LogBarrier().maximizer(-eta * C)
        c = scale * rng.normal(size=A)
        if adversary == "negative":
            c = -np.abs(c) * (rng.random(A) < 0.4)
        elif adversary == "at the least":
            c = -scale * np.eye(A)[p.argmin()]
        elif adversary == "one at the end":
            c = np.abs(c) * (np.arange(A) != favourite) if t < T - 1 else -scale * np.eye(A)[0]
        elif adversary == "divided by p":
            a = int(rng.integers(A))
            c = rng.choice([-1.0, 1.0]) * scale * np.eye(A)[a] / p[a]
        points.append(p)
        losses.append(c)
        C = C + c
    p, c = np.array(points), np.array(losses)
    y = 0.999 * np.eye(A)[C.argmin()] + 0.001 / A
    left = float((c * (p - y)).sum())
    penalty = float(LogBarrier().value(y) - LogBarrier().value(np.ones(A) / A)) / eta
    weak, sharp = eta * float((p * c**2).sum()), eta * float((p * p * c**2).sum())
    return left, penalty + weak, penalty + sharp, float((eta * p * c).min())


ADVERSARIES = ["any sign", "negative", "at the least", "one at the end", "divided by p"]


@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_log_barrier_needs_no_condition_on_the_losses(adversary: str) -> None:
    rng = np.random.default_rng(0)
    for scale in np.geomspace(1e-2, 1e4, 40):
        left, right, _, _ = sides_of_log_barrier_bound(rng, float(scale), adversary)
        assert left <= right + 1e-9 * abs(right)


def test_log_barrier_with_squared_probabilities_fails_only_for_large_negative_losses() -> None:
    rng = np.random.default_rng(1)
    failures, harmless = 0, 0
    for scale, adversary in itertools.product(np.geomspace(1e-2, 1e4, 40), ADVERSARIES):
        left, _, right, least = sides_of_log_barrier_bound(rng, float(scale), adversary)
        harmless += least >= -0.5
        if left > right + 1e-9 * abs(right):
            failures += 1
            assert least < -0.5
    assert failures >= 5  # the condition is needed
    assert harmless >= 40  # and often met


# the estimators, by enumeration of trajectories


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gamma", [0.5, 0.02])
def test_estimates_have_the_mean_q_less_the_bias_of_regularisation(
    kind: Kind, gamma: float
) -> None:
    model, C = SMALL, random_scores(SMALL, 3)
    losses = random_losses(model, 1, 4, linear=True)[0]
    learner = kind(model, learning_rate=ETA, bonus_scale=0.0, regularization=gamma)
    pi, change, p = enumerated(learner, C, losses)
    Q = model.action_values(pi, losses)
    inverses = inverses_by_hand(model, occupancy_by_hand(model, pi), gamma)
    for h, phi in enumerate(model.features):
        theta = np.linalg.lstsq(phi.reshape(-1, 2), Q[h].ravel(), rcond=None)[0]
        np.testing.assert_allclose(phi @ theta, Q[h], rtol=0, atol=1e-10)  # Q is linear
        bias = gamma * phi @ inverses[h] @ theta
        mean = np.tensordot(p, change[:, h], axes=1)
        np.testing.assert_allclose(mean, Q[h] - bias, rtol=0, atol=1e-11)
        size = np.sqrt(squared_norms(model, inverses)[h])  # L4
        norm = float(np.linalg.norm(theta))
        assert (np.abs(bias) <= math.sqrt(gamma) * norm * size + 1e-12).all()
        for beta in (0.01, 1.0):
            pays = beta / 4 * size**2 + gamma * norm**2 / beta
            assert (np.abs(bias) <= pays + 1e-12).all()


@every_kind
def test_without_regularisation_estimates_are_unbiased(kind: Kind) -> None:
    model, C = SMALL, random_scores(SMALL, 5, 1.0)  # A = 3 > d = 2: Σ has full rank
    losses = random_losses(model, 1, 6, linear=True)[0]
    learner = kind(model, learning_rate=ETA, bonus_scale=0.0, regularization=1e-13)
    pi, change, p = enumerated(learner, C, losses)
    q = occupancy_by_hand(model, pi)
    sigma = np.einsum("hsa,hsai,hsaj->hij", q, model.features, model.features)
    assert np.linalg.eigvalsh(sigma).min() > 1e-3  # then the bias is below 1e-10 H √d
    Q = model.action_values(pi, losses)
    np.testing.assert_allclose(np.tensordot(p, change, axes=1), Q, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", [0, 2, 3, 4, 5, 7])
def test_magnitude_reduction_keeps_the_mean_and_bounds_estimates_from_below(seed: int) -> None:
    model = turned(random_linear_mdp(2, 3, 3, 4, concentration=0.3, seed=seed), seed)
    C, losses, gamma = random_scores(model, seed, 8.0), random_losses(model, 1, seed)[0], 1e-3
    given: dict[str, Any] = {
        "learning_rate": ETA,
        "bonus_scale": 0.0,
        "regularization": gamma,
    }
    pi, reduced, p = enumerated(B_(model, **given), C, losses)
    _, plain, same = enumerated(BASE(model, **given), C, losses)
    np.testing.assert_array_equal(p, same)
    H, q = model.horizon, occupancy_by_hand(model, pi)
    inverses = inverses_by_hand(model, q, gamma)
    mean, mean_plain = np.tensordot(p, reduced, axes=1), np.tensordot(p, plain, axes=1)
    np.testing.assert_allclose(mean, mean_plain, rtol=0, atol=1e-9)
    X = np.einsum("hsai,hij,htbj->hsatb", model.features, inverses, model.features)
    m = H * np.einsum("hsatb,htb->hsa", np.minimum(X, 0.0), q)
    norms = squared_norms(model, inverses)
    assert (reduced >= m - 1e-9).all()
    assert (m >= -H * np.sqrt(norms) - 1e-12).all()
    assert reduced.min() >= -H / math.sqrt(gamma)
    assert plain.min() < 1.5 * reduced.min() < -0.1  # there was something to reduce
    second = np.tensordot(p, reduced**2, axes=1)
    assert (second <= 2 * H**2 * norms + 1e-9).all()
    assert (np.tensordot(p, plain**2, axes=1) <= H**2 * norms + 1e-9).all()


def test_on_one_hot_features_the_reduced_estimator_is_the_plain_one() -> None:
    P = np.random.default_rng(0).dirichlet(np.ones(3), size=(3, 3, 2))
    model = tabular_as_linear(P)
    environment = AdversarialMDP(model, random_losses(model, 60, 1))
    regrets = [
        run(kind(model, **GIVEN), environment, 60, n_replications=4, seed=2).regret
        for kind in (B_, BASE)
    ]
    np.testing.assert_array_equal(regrets[0], regrets[1])
    assert np.ptp(regrets[0][:, -1]) > 0


# the dilated bonus


@every_model
def test_dilated_bonus_is_its_recursion(name: str) -> None:
    model = MODELS[name]
    pi, B = dilated_bonus(BASE(model, **GIVEN), random_scores(model, 7))
    inverses = inverses_by_hand(model, occupancy_by_hand(model, pi), GAMMA)
    _, expected = bonuses_by_hand(model, pi, inverses, BETA)
    np.testing.assert_allclose(B, expected, rtol=1e-12, atol=1e-13)
    H = model.horizon
    assert B.min() >= 0
    assert B.max() <= 2 * BETA / GAMMA * H * ((1 + 1 / H) ** H - 1) * (1 + 1e-12)


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_largest_dilated_bonus_is_attained_off_the_chain(horizon: int) -> None:
    model, H = chain(horizon), horizon
    C = np.zeros((H, 2, 2))
    C[:, 0, 0] = 1e6  # nobody leaves the chain: off it ‖φ‖² = 1/γ
    _, B = dilated_bonus(BASE(model, **GIVEN), C)
    largest = 2 * BETA / GAMMA * H * ((1 + 1 / H) ** H - 1)
    np.testing.assert_allclose(B[0, 1], largest, rtol=1e-12)
    np.testing.assert_allclose(B.max(), largest, rtol=1e-12)


@every_model
def test_dilated_bonuses_tell_the_regret_from_that_of_states(name: str) -> None:
    model, rng = MODELS[name], np.random.default_rng(8)
    H, S, A, _ = model.features.shape
    pi, B = dilated_bonus(A_(model, **GIVEN), random_scores(model, 9))
    q = occupancy_by_hand(model, pi)
    b, _ = bonuses_by_hand(model, pi, inverses_by_hand(model, q, GAMMA), BETA)
    losses, star = rng.random((H, S, A)), rng.dirichlet(np.ones(A), size=(H, S))
    q_star = occupancy_by_hand(model, star)
    rho = q_star.sum(axis=-1)
    Q, V_B = model.action_values(pi, losses), (pi * B).sum(axis=-1)
    of_states = (rho[..., None] * (pi - star) * (Q - B)).sum()
    regret = ((q - q_star) * losses).sum()
    first = V_B[0, model.initial_state]
    right = regret - first + (q_star * b).sum() + (rho * V_B)[1:].sum() / H
    np.testing.assert_allclose(of_states, right, rtol=0, atol=1e-11)
    per_layer = (q * b).sum(axis=(1, 2))
    np.testing.assert_allclose(first, per_layer @ (1 + 1 / H) ** np.arange(H), rtol=1e-11)
    assert (per_layer <= 2 * BETA * model.dim).all()  # oracle 12, doubled
    assert (1 + 1 / H) * first <= math.e * per_layer.sum()


@every_model
def test_mean_squared_norm_is_a_trace_of_at_most_the_dimension(name: str) -> None:
    model = MODELS[name]
    pi = policy_by_hand(A_, random_scores(model, 10), ETA)
    rng = np.random.default_rng(0)
    inverses = ExactCovariance().inverses(model, pi[None], GAMMA, rng)
    q = ExactCovariance().measure(model, pi[None], GAMMA, rng)
    traces = (q[0] * squared_norms(model, inverses[0])).sum(axis=(1, 2))
    sigma = np.einsum("hsa,hsai,hsaj->hij", q[0], model.features, model.features)
    regularised = sigma + GAMMA * np.eye(model.dim)
    expected = [np.trace(np.linalg.solve(G, M)) for G, M in zip(regularised, sigma, strict=True)]
    np.testing.assert_allclose(traces, expected, rtol=1e-11)
    assert (traces <= model.dim).all()


# whole runs


def play(
    learner: Any, environment: AdversarialMDP, n_replications: int, n_episodes: int
) -> tuple[FloatArray, list[TrajectoryFeedback]]:
    """Policies (K, R, H, S, A) and what was told."""
    environment.reset(n_replications, np.random.default_rng(11))
    learner.reset(n_replications, n_episodes, np.random.default_rng(12))
    policies, told = [], []
    for _ in range(n_episodes):
        policies.append(learner.act().copy())
        told.append(environment.step(policies[-1]))
        learner.update(told[-1])
    return np.array(policies), told


def replayed(learner: Any, told: list[TrajectoryFeedback], rows: slice) -> FloatArray:
    """Policies when some replications are told the same again."""
    states = told[0].states[rows]
    learner.reset(len(states), len(told), np.random.default_rng(12))
    policies = []
    for f in told:
        policies.append(learner.act().copy())
        learner.update(TrajectoryFeedback(f.states[rows], f.actions[rows], f.losses[rows]))
    return np.array(policies)


SETTINGS: dict[str, dict[str, Any]] = {
    "practical": {},
    "theory": {"tuning": "theory"},
    "given": GIVEN,
    "no bonus": {"bonus_scale": 0.0, "learning_rate": 0.5, "regularization": 0.1},
}


@every_kind
@every_model
@pytest.mark.parametrize("setting", SETTINGS)
def test_learner_is_its_formula(kind: Kind, name: str, setting: str) -> None:
    model, K, R = MODELS[name], 25, 3
    environment = AdversarialMDP(model, random_losses(model, K, 13))
    learner = kind(model, **SETTINGS[setting])
    policies, told = play(learner, environment, R, K)
    tuned = learner.tuned
    eta, beta, gamma = tuned.learning_rate, tuned.bonus_scale, tuned.regularization
    for r in range(R):
        C = np.zeros(model.features.shape[:3])
        for pi, f in zip(policies[:, r], told, strict=True):
            expected = policy_by_hand(kind, C, eta)
            np.testing.assert_allclose(pi, expected, rtol=0, atol=1e-10)
            q = occupancy_by_hand(model, expected)
            inverses = inverses_by_hand(model, q, gamma)
            episode = f.states[r], f.actions[r], f.losses[r]
            C += estimate_by_hand(model, q, inverses, episode, kind is B_)
            C -= bonuses_by_hand(model, expected, inverses, beta)[1]
        scale = max(1.0, np.abs(C).max())
        np.testing.assert_allclose(learner.cumulative_losses[r], C, rtol=0, atol=1e-10 * scale)
    if model.n_actions > 1 and setting != "theory":
        assert np.ptp(policies, axis=0).max() > 0.05  # something happened


@every_kind
def test_replications_do_not_know_of_each_other(kind: Kind) -> None:
    model, K = MODELS["random"], 40
    environment = AdversarialMDP(model, random_losses(model, K, 14))
    policies, told = play(kind(model, **GIVEN), environment, 3, K)
    assert np.ptp(policies[-1], axis=0).max() > 0.01
    for r in range(3):
        alone = replayed(kind(model, **GIVEN), told, slice(r, r + 1))
        np.testing.assert_allclose(policies[:, r : r + 1], alone, rtol=0, atol=1e-12)


@every_kind
def test_rotating_the_features_changes_nothing(kind: Kind) -> None:
    model, K = MODELS["random"], 40
    environment = AdversarialMDP(model, random_losses(model, K, 15))
    policies, told = play(kind(model, **GIVEN), environment, 2, K)
    again = replayed(kind(turned(model, 3), **GIVEN), told, slice(None))
    np.testing.assert_allclose(policies, again, rtol=0, atol=1e-9)


class Given(Covariance):
    """Any symmetric inverses and any measure, unrelated to the policy."""

    def inverses(
        self, model: LinearMDP, policies: FloatArray, regularization: float, rng: Any
    ) -> FloatArray:
        M = np.random.default_rng(16).normal(size=(len(policies), model.horizon, *[model.dim] * 2))
        return M @ np.swapaxes(M, -1, -2)

    def measure(
        self, model: LinearMDP, policies: FloatArray, regularization: float, rng: Any
    ) -> FloatArray:
        return np.random.default_rng(17).random((len(policies), *model.features.shape[:3]))


@every_kind
def test_means_are_under_the_measure_of_the_covariance(kind: Kind) -> None:
    model = MODELS["turned, s_1 = 2"]
    C, rng = random_scores(model, 17), np.random.default_rng(18)
    states, actions = rng.integers(3, size=(5, 4)), rng.integers(2, size=(5, 4))
    losses = rng.random((5, 4))
    pi, change = changes(kind(model, **GIVEN, covariance=Given()), C, states, actions, losses)
    inverses = Given().inverses(model, np.zeros((5, 1, 1, 1)), 1.0, rng)
    measures = Given().measure(model, np.zeros((5, 1, 1, 1)), 1.0, rng)
    for r in range(5):
        episode = states[r], actions[r], losses[r]
        Q = estimate_by_hand(model, measures[r], inverses[r], episode, kind is B_)
        _, B = bonuses_by_hand(model, pi, inverses[r], BETA)
        np.testing.assert_allclose(change[r], Q - B, rtol=1e-10, atol=1e-10)


# reductions to bandits


def test_one_state_and_layer_is_the_linear_bandit_of_the_log_barrier() -> None:
    phi = np.random.default_rng(19).normal(size=(5, 3))
    phi /= 1.1 * np.linalg.norm(phi, axis=1).max()
    model = LinearMDP(np.ones((1, 1, 5, 1)), phi[None, None])
    environment = AdversarialMDP(model, random_losses(model, 50, 20))
    learner = A_(model, **{**GIVEN, "bonus_scale": 0.0})
    policies, told = play(learner, environment, 1, 50)
    C = np.zeros(5)
    for k, f in enumerate(told):
        p = LogBarrier().maximizer(-ETA * C)
        np.testing.assert_allclose(policies[k, 0, 0, 0], p, rtol=0, atol=1e-11)
        design = GAMMA * np.eye(3) + sum(p[a] * np.outer(phi[a], phi[a]) for a in range(5))
        C += phi @ np.linalg.solve(design, phi[f.actions[0, 0]]) * f.losses[0, 0]


@pytest.mark.parametrize("kind", [B_, BASE])
def test_one_state_and_one_hot_features_are_exp3(kind: Kind) -> None:
    model = tabular_as_linear(np.ones((1, 1, 4, 1)))
    environment = AdversarialMDP(model, random_losses(model, 80, 21))
    policies, told = play(kind(model, **{**GIVEN, "bonus_scale": 0.0}), environment, 1, 80)
    L = np.zeros(4)
    for k, f in enumerate(told):
        weights = np.exp(-ETA * (L - L.min()))
        p = weights / weights.sum()
        np.testing.assert_allclose(policies[k, 0, 0, 0], p, rtol=0, atol=1e-12)
        arm = f.actions[0, 0]
        L[arm] += f.losses[0, 0] / (p[arm] + GAMMA)
    assert np.ptp(policies[-1]) > 0.05


# tuning and guarantees


def theory_by_hand(kind: Kind, H: int, A: int, d: int, K: int) -> tuple[float, float, float]:
    if kind is A_:
        eta = math.sqrt(A * math.log(K) / (24 * d * H**4 * K))
        return eta, 4 * eta * H**2, 48 * eta**2 * H**4
    if kind is B_:
        eta = math.sqrt(math.log(A) / (48 * d * H**4 * K))
        return eta, 8 * eta * H**2, max(4 * eta**2 * H**2, 96 * eta**2 * H**4)
    eta = (math.log(A) / (d * H**1.5 * K)) ** (2 / 3)
    beta = max(4 * eta * H**2, math.sqrt(eta * H**3))
    return eta, beta, max(2 * eta * H, 12 * eta * beta * H**2)


def practical_by_hand(kind: Kind, H: int, A: int, d: int, K: int) -> tuple[float, float, float]:
    if kind is A_:
        eta = 20 / H**2 * math.sqrt(A * math.log(K) / (d * K))
        return eta, 0.05 * eta, 0.3 * eta**2
    if kind is B_:
        eta = 40 / H**2 * math.sqrt(math.log(A) / (d * K))
        return eta, 0.05 * eta, 0.3 * eta**2
    eta = 40 / H * (math.log(A) / (d * K)) ** (2 / 3)
    return eta, 0.05 * math.sqrt(eta), 0.1 * eta


@every_kind
@pytest.mark.parametrize("name", ["random", "d > S A", "H = 1, S = 1", "chain"])
@pytest.mark.parametrize("n_episodes", [2, 1000, 10**7])
def test_tunings_are_their_tables(kind: Kind, name: str, n_episodes: int) -> None:
    model = MODELS[name]
    sizes = model.horizon, model.n_actions, model.dim, n_episodes
    for tuning, rule in (("theory", theory_by_hand), ("practical", practical_by_hand)):
        learner = kind(model, tuning=tuning)  # type: ignore[arg-type]
        learner.reset(1, n_episodes, np.random.default_rng(0))
        t = learner.tuned
        got = t.learning_rate, t.bonus_scale, t.regularization
        np.testing.assert_allclose(got, rule(kind, *sizes), rtol=1e-12)
        assert t.name == tuning


def linear_game(model: LinearMDP, n_episodes: int = 3) -> AdversarialMDP:
    theta = np.random.default_rng(22).random((n_episodes, model.horizon, model.dim))
    return AdversarialMDP(model, theta)


SIMPLEX_FEATURES = ["random", "d > S A", "H = 1, S = 1", "chain", "A = 1"]


@every_kind
@pytest.mark.parametrize("name", SIMPLEX_FEATURES)
@pytest.mark.parametrize("n_episodes", [1, 10, 10**5])
def test_theory_tuning_meets_its_conditions_and_has_the_derived_bound(
    kind: Kind, name: str, n_episodes: int
) -> None:
    model, K = MODELS[name], n_episodes
    H, A, d = model.horizon, model.n_actions, model.dim
    learner, game = kind(model, tuning="theory"), linear_game(model)
    assert learner.guarantee(game) is None  # not tuned yet
    learner.reset(1, K, np.random.default_rng(0))
    t = learner.tuned
    eta, beta, gamma = t.learning_rate, t.bonus_scale, t.regularization
    n = 2 if kind is B_ else 1
    most = 2 * beta / gamma * H * ((1 + 1 / H) ** H - 1)  # of B
    assert 2 * eta * most <= 1 / H
    assert 2 * n * eta * H**2 + beta / 4 <= beta  # the bonus pays for variance and bias
    if kind is not A_:  # η(Q̂ − B) >= −1
        assert eta * (H / gamma if kind is BASE else H / math.sqrt(gamma)) + eta * most <= 1
    guarantee = learner.guarantee(game)
    assert guarantee is not None
    assert guarantee.kind == "expected"
    rounds = np.array([1, max(1, K // 3), K])
    penalty = A * math.log(K) if kind is A_ else math.log(A)
    N = game.parameter_norm
    slope = 2 * math.e * beta * d * H + 2 * gamma * N**2 * H / beta
    if kind is A_:
        slope += H * (H + 2 * N + 3.5 * H * beta / gamma) / K
    stated = H / eta * penalty + slope * rounds
    np.testing.assert_allclose(guarantee.bound(rounds), stated, rtol=1e-12)
    # what the proof gives with nothing rounded up
    dilation = (1 + 1 / H) ** H
    sharp = H / eta * penalty + rounds * (2 * dilation * beta * d + 2 * gamma * N**2 / beta) * H
    if kind is A_:
        sharp += rounds / K * H * (H + 2 * N + most)
    assert (sharp <= guarantee.bound(rounds) * (1 + 1e-12)).all()


@pytest.mark.parametrize(
    ("name", "given"),
    [(name, "parameters") for name in SIMPLEX_FEATURES]
    + [(name, "losses") for name in (*MODELS, "almost collinear")],
)
def test_norm_in_the_bound_is_one_of_all_action_values(name: str, given: str) -> None:
    model = MODELS.get(name) or random_linear_mdp(3, 2, 2, 3, concentration=300.0, seed=9)
    H, S, A, d = model.features.shape
    if given == "parameters":
        game = linear_game(model)
    else:
        game = AdversarialMDP(model, random_losses(model, 3, 27, linear=True))
    rng, largest = np.random.default_rng(28), 0.0
    for k, greed in itertools.product((1, 2, 3), range(20)):
        pi = np.eye(A)[rng.integers(A, size=(H, S))] if greed else model.uniform_policy()
        for phi, Q in zip(model.features, model.action_values(pi, game.losses(k)), strict=True):
            theta = np.linalg.lstsq(phi.reshape(-1, d), Q.ravel(), rcond=None)[0]
            np.testing.assert_allclose(phi @ theta, Q, rtol=0, atol=1e-9)
            largest = max(largest, float(np.linalg.norm(theta)))
    assert largest <= game.parameter_norm * (1 + 1e-9)
    if given == "parameters":
        assert game.parameter_norm <= 1.01 * math.sqrt(d) * H


@every_kind
@pytest.mark.parametrize("n_episodes", [20, 2000, 10**6])
def test_bonus_pays_for_variance_and_bias_in_each_state(kind: Kind, n_episodes: int) -> None:
    """η E Σ π (Q̂ − B)² + ⟨π − π*, Q − E Q̂⟩ <= b(s, π*) + V_B(s)/H + 2 γ N²/β, N² = d H²."""
    model = random_linear_mdp(2, 3, 3, 3, seed=7)
    H, d = 2, 3
    losses = model.features @ np.random.default_rng(23).random((2, 3, 1))[:, None]
    losses = losses[..., 0]
    eta, beta, gamma = theory_by_hand(kind, 2, 3, 3, n_episodes)
    learner = kind(model, learning_rate=eta, bonus_scale=beta, regularization=gamma)
    for seed in range(3):
        C = random_scores(model, seed, 2 / eta)
        pi, change, p = enumerated(learner, C, losses)
        inverses = inverses_by_hand(model, occupancy_by_hand(model, pi), gamma)
        b, B = bonuses_by_hand(model, pi, inverses, beta)
        variance = eta * (pi * np.tensordot(p, change**2, axes=1)).sum(axis=-1)
        bias = model.action_values(pi, losses) - np.tensordot(p, change, axes=1) - B
        left = variance[..., None] + (pi * bias).sum(axis=-1, keepdims=True) - bias
        V_B = (pi * B).sum(axis=-1, keepdims=True)
        right = b + V_B / H + 2 * gamma * d * H**2 / beta
        assert (left <= right * (1 + 1e-9)).all()
        if kind is not A_:
            assert eta * change.min() >= -1


@every_kind
@pytest.mark.parametrize("name", SIMPLEX_FEATURES)
@pytest.mark.parametrize("n_episodes", [1, 100, 10**8])
def test_practical_tuning_has_no_guarantee(kind: Kind, name: str, n_episodes: int) -> None:
    learner = kind(MODELS[name])
    learner.reset(1, n_episodes, np.random.default_rng(0))
    assert learner.guarantee(linear_game(MODELS[name])) is None


@every_kind
def test_numbers_that_meet_the_conditions_have_a_guarantee_whoever_chose_them(kind: Kind) -> None:
    model, H = MODELS["random"], 3
    n = 2 if kind is B_ else 1
    eta = 1e-4
    beta = max(4 * n * eta * H**2, 0.01 if kind is BASE else 0.0)
    gamma = 7 * eta * beta * H**2
    if kind is not A_:
        gamma = max(gamma, 2 * eta * H if kind is BASE else (2 * eta * H) ** 2)
    numbers = np.array([eta, beta, gamma])
    for factors, meets in (
        ([1, 1, 1], True),
        ([1, 1.5, 1.5], True),
        ([1.02, 1, 1], False),  # one condition is tight in η, whatever the learner
        ([1, 1, 0.98], False),
    ):
        eta, beta, gamma = numbers * factors
        learner = kind(model, learning_rate=eta, bonus_scale=beta, regularization=gamma)
        learner.reset(1, 100, np.random.default_rng(0))
        assert (learner.guarantee(linear_game(model)) is not None) is meets
    if kind is not BASE:  # there β has slack
        eta, beta, gamma = numbers * [1, 0.98, 1]
        learner = kind(model, learning_rate=eta, bonus_scale=beta, regularization=gamma)
        learner.reset(1, 100, np.random.default_rng(0))
        assert learner.guarantee(linear_game(model)) is None


@every_kind
def test_no_guarantee_for_sampled_covariances_or_losses_that_are_not_linear(kind: Kind) -> None:
    model = MODELS["random"]

    def guaranteed(environment: Any, **given: Any) -> bool:
        learner = kind(model, tuning="theory", **given)
        learner.reset(1, 100, np.random.default_rng(0))
        return learner.guarantee(environment) is not None

    game = linear_game(model)
    assert guaranteed(game)
    assert not guaranteed(game, covariance=EmpiricalInverse(10))
    assert not guaranteed(game, covariance=MatrixGeometricResampling(2, 2))
    as_array = np.array([game.losses(k) for k in (1, 2, 3)])
    assert guaranteed(AdversarialMDP(model, as_array))
    assert not guaranteed(AdversarialMDP(model, random_losses(model, 3, 24)))
    assert not guaranteed(AdversarialMDP(model, lambda k: as_array[0]))  # not known to be


@every_kind
def test_no_guarantee_below_the_regret_where_parameters_are_large(kind: Kind) -> None:
    """Features of length ε ask for ‖θ‖ = 1/ε > √d H: then the policy stays uniform for ever."""
    K, tiny = 10**6, 1e-6
    model = LinearMDP(np.ones((1, 1, 2, 1)), tiny * np.eye(2)[None, None])
    losses = np.tile([0.0, 1.0], (3, 1, 1, 1))
    learner = kind(model, tuning="theory")
    learner.reset(1, K, np.random.default_rng(0))
    t = learner.tuned
    # |Q̂ − B| <= (H + 2 β) ε²/γ, doubled for H x_- and m: C moves by less than this in all
    drift = 2 * K * t.learning_rate * (1 + 2 * t.bonus_scale) * tiny**2 / t.regularization
    assert drift < 1e-3
    guarantee = learner.guarantee(AdversarialMDP(model, losses))
    assert guarantee is None or guarantee.bound(K) >= 0.49 * K


def test_a_guarantee_holds_where_features_are_almost_collinear() -> None:
    """Losses (0, 1) are φᵀθ with ‖θ‖ = 214: twice the bound for ‖θ‖ <= √d H was seen."""
    model, K = random_linear_mdp(1, 1, 2, 2, concentration=1e4, seed=0), 2**14
    environment = AdversarialMDP(model, np.broadcast_to([0.0, 1.0], (K, 1, 1, 2)))
    trace = run(B_(model, tuning="theory"), environment, K, n_replications=4, seed=0)
    if trace.guarantee is not None:
        error = trace.regret[:, -1].std(ddof=1) / 2
        assert trace.mean()[-1] <= trace.guarantee.bound(K) + 3 * error


@every_kind
def test_overrides_are_recorded(kind: Kind) -> None:
    model = MODELS["random"]
    given = {"learning_rate": 0.11, "bonus_scale": 0.0, "regularization": 0.33}
    for (name, value), tuning in itertools.product(given.items(), ("theory", "practical")):
        learner = kind(model, tuning=tuning, **{name: value})  # type: ignore[arg-type]
        learner.reset(1, 100, np.random.default_rng(0))
        reference = kind(model, tuning=tuning)  # type: ignore[arg-type]
        reference.reset(1, 100, np.random.default_rng(0))
        assert learner.tuned.name == f"{tuning}, overridden"
        for other in given:
            expected = value if other == name else getattr(reference.tuned, other)
            assert getattr(learner.tuned, other) == expected


BANDIT = tabular_as_linear(np.ones((1, 1, 2, 1)))
TWO_LAYERS = tabular_as_linear(np.ones((2, 1, 2, 1)))


@pytest.mark.parametrize(
    ("kind", "model", "n_episodes"),
    [(A_, BANDIT, 2**16), (B_, BANDIT, 2**13), (B_, TWO_LAYERS, 2**15), (BASE, BANDIT, 2**16)],
)
def test_regret_of_theory_tuning_is_below_its_bound(
    kind: Kind, model: LinearMDP, n_episodes: int
) -> None:
    losses = np.broadcast_to([0.0, 1.0], (n_episodes, model.horizon, 1, 2))
    environment = AdversarialMDP(model, losses)
    learner = kind(model, tuning="theory")
    trace = run(learner, environment, n_episodes, n_replications=4, seed=0, checkpoints=20)
    assert trace.guarantee is not None
    bound = trace.guarantee.bound(trace.rounds.astype(float))
    assert bound[-1] < n_episodes * model.horizon / 2  # less than the uniform policy's regret
    error = trace.regret.std(axis=0, ddof=1) / 2
    assert (trace.mean() + 3 * error <= bound).all()


@every_kind
def test_regret_of_theory_tuning_is_below_its_bound_on_a_random_mdp(kind: Kind) -> None:
    model, K = random_linear_mdp(2, 3, 2, 3, seed=8), 1000
    losses = stochastic_losses(model, K, rng=np.random.default_rng(25))
    trace = run(kind(model, tuning="theory"), AdversarialMDP(model, losses), K, seed=0)
    assert trace.guarantee is not None
    assert (trace.mean() <= trace.guarantee.bound(trace.rounds.astype(float))).all()


# errors


@every_kind
def test_bad_arguments_are_named(kind: Kind) -> None:
    model = MODELS["random"]
    with pytest.raises(TypeError, match="model"):
        kind(np.ones((1, 1, 1, 1)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tuning"):
        kind(model, tuning="best")  # type: ignore[arg-type]
    for name in ("learning_rate", "regularization"):
        for value in (0.0, -1.0, math.nan, math.inf):
            with pytest.raises(ValueError, match=name):
                kind(model, **{name: value})  # type: ignore[arg-type]
    wrong: list[Any] = [-1e-3, math.nan, math.inf, [0.1, 0.2]]
    for scale in wrong:
        with pytest.raises(ValueError, match="bonus_scale"):
            kind(model, bonus_scale=scale)
    with pytest.raises(ValueError, match="horizon"):
        kind(model).reset(1, 0, np.random.default_rng(0))


@every_kind
def test_a_covariance_that_is_none_is_refused(kind: Kind) -> None:
    with pytest.raises(TypeError, match="covariance"):
        kind(MODELS["random"], covariance="exact")  # type: ignore[arg-type]


@every_kind
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_name_the_replication(kind: Kind, value: float) -> None:
    learner = kind(MODELS["random"], **GIVEN)
    learner.reset(4, 10, np.random.default_rng(0))
    learner.cumulative_losses[2, 1, 3, 0] = value
    with pytest.raises(FloatingPointError, match=r"replication 2.*regularization"):
        learner.act()


@every_kind
@pytest.mark.parametrize(("rate", "scores"), [(0.3, [1.5e308, -1.5e308, 0]), (30.0, [1e308, 0, 0])])
def test_differences_that_overflow_name_the_replication(
    kind: Kind, rate: float, scores: list[float]
) -> None:
    learner = kind(MODELS["random"], learning_rate=rate)
    learner.reset(4, 10, np.random.default_rng(0))
    learner.cumulative_losses[2, 1, 3] = scores
    with pytest.raises(FloatingPointError, match="replication 2"):
        learner.act()


@every_kind
def test_too_small_a_regularization_ends_a_run_with_its_round(kind: Kind) -> None:
    model = chain(3)
    environment = AdversarialMDP(model, random_losses(model, 5, 26))
    learner = kind(model, regularization=1e-320)
    with pytest.raises(FloatingPointError, match=r"round 2, replication 0.*regularization"):
        run(learner, environment, 5, n_replications=2, seed=0)


# learning


@every_kind
def test_practical_tuning_learns(kind: Kind) -> None:
    model, K = random_linear_mdp(3, 4, 3, 4, seed=0), 2048
    losses = stochastic_losses(model, K, rng=np.random.default_rng(999))
    environment = AdversarialMDP(model, losses)
    uniform = run(UniformPolicy(model), environment, K, seed=0, checkpoints=[K]).mean()[-1]
    trace = run(kind(model), environment, K, n_replications=6, seed=0, checkpoints=[K // 4, K])
    error = trace.regret[:, -1].std(ddof=1) / math.sqrt(6)
    assert trace.mean()[-1] + 3 * error < 0.6 * uniform
    early, late = trace.mean()[0] / (K / 4), (trace.mean()[1] - trace.mean()[0]) / (3 * K / 4)
    assert late < 0.75 * early  # the regret of an episode falls
