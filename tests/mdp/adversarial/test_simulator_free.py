"""Policy optimisation without a simulator: the epochs by hand, and the means that they rest on."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from fenchel.core import TrajectoryFeedback, run
from fenchel.core.checks import FloatArray
from fenchel.core.potentials import LogBarrier, NegativeEntropy
from fenchel.mdp import (
    AdversarialMDP,
    LinearMDP,
    SimulatorFreeExponentialWeights,
    SimulatorFreeLogBarrier,
    UniformPolicy,
    random_linear_mdp,
    stochastic_losses,
)
from fenchel.mdp.adversarial.covariance import trajectories

KINDS = [SimulatorFreeLogBarrier, SimulatorFreeExponentialWeights]
every_kind = pytest.mark.parametrize("kind", KINDS)
MODEL = random_linear_mdp(3, 3, 2, 3, seed=0)
GIVEN: dict[str, Any] = {
    "learning_rate": 0.4,
    "bonus_scale": 0.05,
    "regularization": 0.2,
    "exploration": 0.5,
    "epoch_length": 8,
    "cover": "oracle",
}


def fixed_policies(model: LinearMDP, n: int, seed: int = 1) -> FloatArray:
    H, S, A, _ = model.features.shape
    return np.random.default_rng(seed).dirichlet(np.ones(A), size=(n, H, S))


# what exploration makes of the means


def paths(model: LinearMDP, policy: FloatArray) -> Any:
    """(probability, states, actions) of all trajectories."""
    H, S, A = policy.shape
    for actions in itertools.product(range(A), repeat=H):
        for later in itertools.product(range(S), repeat=H - 1):
            states = (model.initial_state, *later)
            p = math.prod(policy[h, states[h], actions[h]] for h in range(H))
            for h in range(H - 1):
                p *= model.transition[h, states[h], actions[h], states[h + 1]]
            if p > 0:
                yield p, states, actions


def test_weights_mix_covariances_and_keep_what_follows_to_the_learner() -> None:
    """By enumeration of Y, h* and trajectories; the policies and weights are the learner's own."""
    model, delta, H = MODEL, 0.3, 3
    learner = SimulatorFreeLogBarrier(model, **GIVEN | {"exploration": delta})
    learner.reset(400, 1000, np.random.default_rng(0))
    learner.policies[:] = own = fixed_policies(model, 1)[0]
    learner._cover[:] = cover = fixed_policies(model, 1, seed=2)[0]
    losses = np.einsum("hsai,hi->hsa", model.features, np.random.default_rng(3).random((H, 3)))
    Q = model.action_values(own, losses)
    played = learner.act()
    cases = {}  # (Y, h*) -> policy, weights
    for r in range(400):
        explores = bool(learner._explores[r, 0])
        last = int(learner._last[r, 0]) if explores else -1
        expected = np.where((np.arange(H) <= last)[:, None, None], cover, own)
        np.testing.assert_array_equal(played[r], expected)
        cases[last] = played[r], learner._weights[r, 0]
    assert sorted(cases) == [-1, 0, 1, 2]
    sigma, moment = np.zeros((H, 3, 3)), np.zeros((H, 3))
    for last, (policy, weights) in cases.items():
        chance = 1 - delta if last < 0 else delta / H
        for p, states, actions in paths(model, policy):
            told = losses[np.arange(H), states, actions]
            for h in range(H):
                phi = model.features[h, states[h], actions[h]]
                sigma[h] += chance * p * weights[h] * np.outer(phi, phi)
                moment[h] += chance * p * weights[h] * phi * told[h:].sum()
    q = (1 - delta) * model.occupancy(own) + delta * model.occupancy(cover)
    mixed = np.einsum("hsa,hsai,hsaj->hij", q, model.features, model.features)
    np.testing.assert_allclose(sigma, mixed, rtol=0, atol=1e-12)
    theta = np.array(
        [
            np.linalg.lstsq(model.features[h].reshape(-1, 3), Q[h].ravel(), rcond=None)[0]
            for h in (0, 1, 2)
        ]
    )
    np.testing.assert_allclose(moment, np.einsum("hij,hj->hi", mixed, theta), rtol=0, atol=1e-12)


def test_exploration_has_its_frequencies() -> None:
    learner = SimulatorFreeLogBarrier(MODEL, **GIVEN | {"exploration": 0.3, "epoch_length": 2})
    learner.reset(20_000, 1000, np.random.default_rng(0))
    explores = learner._explores.ravel()
    assert abs(explores.mean() - 0.3) < 4 * math.sqrt(0.21 / explores.size)
    counts = np.bincount(learner._last.ravel(), minlength=3) / explores.size
    np.testing.assert_allclose(counts, 1 / 3, atol=4 * math.sqrt(2 / 9 / explores.size))


# one epoch, by hand


def epoch_by_hand(
    learner: Any, data: list[TrajectoryFeedback], weights: FloatArray, order: FloatArray, r: int
) -> FloatArray:
    """Q̂ − B̂ (H, S, A) of replication r from one epoch's episodes, loop by loop."""
    model, t = learner.model, learner.tuned
    H, S, A, d = model.features.shape
    half = len(data) // 2
    first, second = order[:half], order[half:]
    pi = learner.policies[r]
    b, norms = np.zeros((H, S, A)), np.zeros((H, S, A))
    inverses = []
    for h in range(H):
        phis = [
            math.sqrt(weights[k, h])
            * model.features[h, data[k].states[r, h], data[k].actions[r, h]]
            for k in first
        ]
        if learner.resampling:
            c = min(0.5, 1 / (t.regularization + H))
            N = min(
                half, max(1, math.ceil(math.log(10 / t.regularization) / (c * t.regularization)))
            )
            M = max(1, half // N)
            total = np.zeros((d, d))
            for m in range(M):
                Z = np.eye(d)
                total += Z
                for n in range(N):
                    y = phis[m * N + n]
                    Z = Z @ (np.eye(d) - c * (t.regularization * np.eye(d) + np.outer(y, y)))
                    total += Z
            inverse = c * total / M
            inverse = (inverse + inverse.T) / 2
        else:
            sigma = sum(np.outer(y, y) for y in phis) / half
            inverse = np.linalg.inv(t.regularization * np.eye(d) + sigma)
        inverses.append(inverse)
        for s in range(S):
            for a in range(A):
                norms[h, s, a] = model.features[h, s, a] @ inverse @ model.features[h, s, a]
            for a in range(A):
                if learner.known[r, h, s]:
                    b[h, s, a] = t.bonus_scale * (norms[h, s, a] + pi[h, s] @ norms[h, s])
    change = -b
    for h in range(H):
        theta, bonus = np.zeros(d), np.zeros(d)
        for k in second:
            states, actions = data[k].states[r], data[k].actions[r]
            phi = model.features[h, states[h], actions[h]]
            D = sum((1 + 1 / H) ** (i - h) * b[i, states[i], actions[i]] for i in range(h + 1, H))
            theta += weights[k, h] * phi * data[k].losses[r, h:].sum() / half
            bonus += weights[k, h] * phi * D / half
        change[h] += model.features[h] @ inverses[h] @ (theta - bonus)
    return change


class Shuffled(np.random.Generator):
    """Keeps what `permuted` gave."""

    def permuted(self, *arguments: Any, **named: Any) -> Any:
        self.last = super().permuted(*arguments, **named)
        return self.last


@every_kind
@pytest.mark.parametrize("regularization", [0.2, 3.0])  # a cut series, and two of 3 terms
def test_an_epoch_is_its_formulas(kind: Any, regularization: float) -> None:
    given = GIVEN | {"regularization": regularization, "learning_rate": 4.0, "epoch_length": 16}
    given["known_threshold"] = 6.0
    learner, rng = kind(MODEL, **given), np.random.default_rng(5)
    generator = Shuffled(np.random.PCG64(4))
    learner.reset(2, 1000, generator)
    assert 0 < learner.known[:, 1:].mean() <= 1
    learner.known = np.array(learner.known)
    learner.known[:, 1, 2] = False
    for _ in range(2):
        before, weights = learner.cumulative_losses.copy(), learner._weights.copy()
        kept = kind(MODEL, **given)
        kept.tuned, kept._largest = learner.tuned, learner._largest
        kept.policies, kept.known = learner.policies.copy(), learner.known.copy()
        data = []
        for _ in range(16):
            learner.act()
            states, actions = rng.integers(3, size=(2, 3)), rng.integers(2, size=(2, 3))
            data.append(TrajectoryFeedback(states, actions, rng.random((2, 3))))
            learner.update(data[-1])
        change = learner.cumulative_losses - before
        for r in range(2):
            expected = epoch_by_hand(kept, data, weights[r], generator.last[r], r)
            np.testing.assert_allclose(change[r], expected, rtol=1e-9, atol=1e-11)
    psi = LogBarrier() if kind is SimulatorFreeLogBarrier else NegativeEntropy()
    expected = psi.maximizer(-4.0 * learner.cumulative_losses)
    expected[~learner.known] = 0.5
    np.testing.assert_allclose(learner.policies, expected, rtol=1e-9, atol=1e-12)
    assert np.ptp(learner.policies[learner.known], axis=-1).max() > 0.05


def test_the_bonus_estimate_has_the_mean_of_the_dilated_bonus() -> None:
    """With δ = 0 and γ → 0: E φᵀΛ̂ = B − b of the dynamic program, for one b."""
    model, H, W = MODEL, 3, 4000
    learner = SimulatorFreeLogBarrier(
        model,
        **GIVEN | {"exploration": 0.0, "epoch_length": W, "regularization": 1e-6},
        known_threshold=1e9,
    )
    R, rng = 40, np.random.default_rng(6)
    learner.reset(R, 10**6, np.random.default_rng(7))
    learner.policies[:] = pi = fixed_policies(model, 1)[0]
    tiled = np.tile(pi, (R, 1, 1, 1))
    for _ in range(W):
        states, actions = trajectories(model, tiled, rng)
        learner.update(TrajectoryFeedback(states, actions, np.zeros((R, H))))
    sigma = np.einsum("hsa,hsai,hsaj->hij", model.occupancy(pi), model.features, model.features)
    inverses = np.linalg.inv(sigma + 1e-6 * np.eye(3))
    norms = np.einsum("hsai,hij,hsaj->hsa", model.features, inverses, model.features)
    b = 0.05 * (norms + (pi * norms).sum(axis=-1, keepdims=True))
    B = b.copy()
    for h in (1, 0):
        B[h] += (1 + 1 / H) * model.transition[h] @ (pi[h + 1] * B[h + 1]).sum(axis=-1)
    reached = model.occupancy(pi) > 0.02  # elsewhere Σ̂† of unvisited directions is 1/γ
    error = (-learner.cumulative_losses - B)[:, reached]
    spread = error.std(axis=0, ddof=1) / math.sqrt(R)
    assert (np.abs(error.mean(axis=0)) < 5 * spread + 0.02 * B[reached]).all()
    assert B[0][reached[0]].min() > 1.5 * b[0][reached[0]].max()


def test_an_adversary_that_alternates_is_estimated_in_the_mean() -> None:
    """Losses 1 in the first half of each epoch, 0 in the second: halves are drawn at random."""
    model, W, R = MODEL, 20, 400
    learner = SimulatorFreeLogBarrier(model, **GIVEN | {"epoch_length": W, "bonus_scale": 0.0})
    learner.reset(R, 1000, np.random.default_rng(8))
    rng = np.random.default_rng(9)
    for k in range(W):
        policies = learner.act()
        states, actions = trajectories(model, policies, rng)
        told = np.full((R, 3), float(k < W // 2))
        learner.update(TrajectoryFeedback(states, actions, told))
    # φᵀθ̂ is about the mean loss to go, ½ (H − h), shrunk by γ
    estimates = learner.cumulative_losses[:, 0, 0].mean(axis=(0, 1))
    assert 0.8 < estimates < 1.6


# what it may not know, and what it must do


@every_kind
def test_the_learned_cover_does_not_know_the_transitions(kind: Any) -> None:
    nu = np.random.default_rng(10).dirichlet(np.ones(3), size=(3, 3))
    other = LinearMDP(np.einsum("hsad,hdt->hsat", MODEL.features, nu), MODEL.features)
    assert np.abs(other.transition - MODEL.transition).max() > 0.1
    learners = [
        kind(model, **GIVEN | {"cover": "learned"}, cover_size=3) for model in (MODEL, other)
    ]
    for learner in learners:
        learner.reset(2, 100, np.random.default_rng(11))
    rng = np.random.default_rng(12)
    for _ in range(40):
        first, second = (learner.act() for learner in learners)
        np.testing.assert_array_equal(first, second)
        states, actions = rng.integers(3, size=(2, 3)), rng.integers(2, size=(2, 3))
        feedback = TrajectoryFeedback(states, actions, rng.random((2, 3)))
        for learner in learners:
            learner.update(feedback)
    assert np.ptp(first, axis=-1).max() > 0.01


@every_kind
def test_unknown_states_are_played_uniformly(kind: Any) -> None:
    learner = kind(MODEL, **GIVEN, known_threshold=1e-6)
    K = 40
    losses = stochastic_losses(MODEL, K, rng=np.random.default_rng(0))
    run(learner, AdversarialMDP(MODEL, losses), K, n_replications=2, seed=0)
    assert not learner.known.any()
    np.testing.assert_array_equal(learner.policies, 0.5)
    assert np.abs(learner.cumulative_losses).max() > 0


@every_kind
@pytest.mark.parametrize("cover", ["oracle", "learned"])
def test_runs_repeat_and_learn(kind: Any, cover: Any) -> None:
    model, K = random_linear_mdp(3, 4, 3, 4, seed=0), 6000
    losses = stochastic_losses(model, K, rng=np.random.default_rng(13), gap=0.5)
    game = AdversarialMDP(model, losses)
    learner = kind(model, cover=cover)
    first, again, other = (
        run(learner, game, K, n_replications=4, seed=seed, checkpoints=[K // 2, K])
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.regret, again.regret)
    assert np.abs(first.regret - other.regret).max() > 0
    uniform = run(UniformPolicy(model), game, K, seed=0, checkpoints=[K // 2, K])
    assert first.mean()[-1] < 0.7 * uniform.mean()[-1]
    assert first.mean()[1] < 2 * first.mean()[0]  # it goes on learning
    assert first.guarantee is None


@every_kind
@pytest.mark.parametrize("n_episodes", [1, 1000, 10**6])
def test_theory_tuning_has_the_exponents_that_balance_the_regret(
    kind: Any, n_episodes: int
) -> None:
    K, x = float(n_episodes), 1 / 9 if kind is SimulatorFreeLogBarrier else 1 / 15
    t = kind(MODEL, tuning="theory").tune(n_episodes)
    eta, beta, gamma, W = t.learning_rate, t.bonus_scale, t.regularization, t.epoch_length
    delta, alpha = t.exploration, t.known_threshold / 9  # d H = 9
    assert t.name == "theory"
    assert W % 2 == 0
    assert W >= 2
    rate = K ** (1 - x)
    np.testing.assert_allclose([gamma / beta * K, delta * K, K / alpha], rate, rtol=1e-12)
    assert beta * K <= rate * (1 + 1e-12)
    assert eta <= beta * (1 + 1e-12)
    assert beta * alpha / delta <= 1 + 1e-12
    exact = eta * rate  # the W of no rounding
    assert exact - 1e-9 <= W < exact + 2
    if kind is SimulatorFreeLogBarrier:
        np.testing.assert_allclose(exact, gamma**-2, rtol=1e-12)
    else:
        np.testing.assert_allclose(exact, (rate / K) ** -2 * gamma**-3, rtol=1e-12)
        assert eta * math.sqrt(alpha / (delta * gamma)) <= 1 + 1e-12


@every_kind
def test_overrides_are_recorded_and_bad_arguments_named(kind: Any) -> None:
    t = kind(MODEL, **GIVEN).tune(1000)
    assert t.name == "practical, overridden"
    assert (t.learning_rate, t.bonus_scale, t.regularization) == (0.4, 0.05, 0.2)
    assert (t.exploration, t.epoch_length) == (0.5, 8)
    bad: dict[str, Any] = {
        "learning_rate": 0.0,
        "bonus_scale": -1.0,
        "regularization": -0.1,
        "exploration": 1.1,
        "epoch_length": 7,
        "cover": "none",
        "tuning": "best",
        "cover_size": 0,
        "cover_optimism": -0.1,
        "known_threshold": 0.0,
    }
    for name, value in bad.items():
        with pytest.raises(ValueError, match=name):
            kind(MODEL, **{name: value})
    with pytest.raises(TypeError, match="model"):
        kind("model")
    with pytest.raises(ValueError, match="cover_size"):
        kind(MODEL, cover_size=10).reset(1, 100, np.random.default_rng(0))


@every_kind
def test_numbers_that_are_not_finite_name_the_replication(kind: Any) -> None:
    learner = kind(MODEL, **GIVEN)
    learner.reset(3, 100, np.random.default_rng(0))
    learner.cumulative_losses[2, 0, 0, 0] = math.inf
    nothing = np.zeros((3, 3), dtype=np.int64)
    for _ in range(7):
        learner.act()
        learner.update(TrajectoryFeedback(nothing, nothing, nothing.astype(float)))
    learner.act()
    with pytest.raises(FloatingPointError, match="replication 2"):
        learner.update(TrajectoryFeedback(nothing, nothing, nothing.astype(float)))
