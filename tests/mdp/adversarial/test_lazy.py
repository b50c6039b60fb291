"""Policies of a simulator's states: the same updates as with enumerated states."""

import math
from collections.abc import Hashable
from typing import Any

import numpy as np
import pytest

from fenchel.core import TrajectoryFeedback, run
from fenchel.core.checks import FloatArray
from fenchel.mdp import (
    AdversarialMDP,
    DilatedBonusPolicyOptimization,
    EmpiricalInverse,
    ExactCovariance,
    LinearMDP,
    LogBarrierPolicyOptimization,
    MagnitudeReducedPolicyOptimization,
    MatrixGeometricResampling,
    ModelSimulator,
    Simulator,
    UniformPolicy,
    random_linear_mdp,
    stochastic_losses,
    tabular_as_linear,
)
from fenchel.mdp.adversarial.covariance import Covariance

KINDS = [
    LogBarrierPolicyOptimization,
    MagnitudeReducedPolicyOptimization,
    DilatedBonusPolicyOptimization,
]
every_kind = pytest.mark.parametrize("kind", KINDS)
GIVEN: dict[str, Any] = {"learning_rate": 0.3, "bonus_scale": 0.07, "regularization": 0.04}


def deterministic_model(seed: int) -> LinearMDP:
    """Deterministic transitions; one-hot features turned and padded, so of any sign."""
    rng = np.random.default_rng(seed)
    H, S, A, d = 3, 3, 2, 8
    P = np.eye(S)[rng.integers(S, size=(H, S, A))]
    turned = np.linalg.qr(rng.normal(size=(d, d)))[0]
    one_hot = np.eye(S * A, d).reshape(S, A, d) @ turned
    mixed = one_hot + 0.5 * rng.normal(size=(1, 1, d)) / math.sqrt(d)  # inner products: not 0
    return LinearMDP(P, np.tile(mixed / np.linalg.norm(mixed, axis=-1).max(), (H, 1, 1, 1)))


class Copied(Covariance):
    """What the lazy learner's last episode was made of."""

    def __init__(self, lazy: Any) -> None:
        self.lazy = lazy

    def inverses(self, *arguments: Any) -> FloatArray:
        return np.array([policy._episodes[-1].inverses for policy in self.lazy._lazy])

    def measure(self, model: LinearMDP, policies: FloatArray, *others: Any) -> FloatArray:
        """The sample's features, counted at the states and actions that have them."""
        frequencies = np.zeros_like(policies)
        for r, policy in enumerate(self.lazy._lazy):
            episode = policy._episodes[-1]
            for h, inverse in enumerate(episode.inverses):
                for y in np.linalg.solve(inverse, episode.sample[:, h].T).T:
                    error = np.abs(model.features[h] - y).max(axis=-1)
                    assert error.min() < 1e-9
                    place = np.unravel_index(error.argmin(), error.shape)
                    frequencies[r, h, *place] += 1 / len(episode.sample)
        return frequencies


def enumerated(lazy: Any) -> FloatArray:
    """C (R, H, S, A) of a lazy learner, in all states."""
    m = lazy.model.model
    return np.array(
        [
            [
                [policy._known(h, s, len(policy._episodes)).cumulative for s in range(m.n_states)]
                for h in range(m.horizon)
            ]
            for policy in lazy._lazy
        ]
    )


@every_kind
def test_with_deterministic_transitions_the_updates_are_those_of_enumerated_states(
    kind: Any,
) -> None:
    model, rng = deterministic_model(0), np.random.default_rng(1)
    lazy = kind(ModelSimulator(model), **GIVEN, covariance=EmpiricalInverse(6))
    exact = kind(model, **GIVEN, covariance=Copied(lazy))
    for learner in (lazy, exact):
        learner.reset(2, 100, np.random.default_rng(2))
    for _ in range(8):
        policies = exact.act().copy()
        for r, policy in enumerate(lazy.act()):
            for h, s in np.ndindex(3, 3):
                np.testing.assert_allclose(policy(h, s), policies[r, h, s], rtol=0, atol=1e-10)
        states, actions = rng.integers(3, size=(2, 3)), rng.integers(2, size=(2, 3))
        feedback = TrajectoryFeedback(states, actions, rng.random((2, 3)))
        lazy.update(feedback)
        exact.update(feedback)
        np.testing.assert_allclose(
            enumerated(lazy), exact.cumulative_losses, rtol=1e-10, atol=1e-10
        )
    assert np.ptp(exact.act(), axis=-1).max() > 0.3


def test_bonuses_by_recursive_sampling_have_the_mean_of_the_dynamic_program() -> None:
    """With H = 2 the policies of the second layer do not depend on what was sampled."""
    model = random_linear_mdp(2, 4, 3, 3, seed=1)
    R = 3000
    learner = DilatedBonusPolicyOptimization(
        ModelSimulator(model), **GIVEN, covariance=EmpiricalInverse(1), n_bonus_samples=2
    )
    exact = DilatedBonusPolicyOptimization(model, **GIVEN, covariance=Copied(learner))
    for each in (learner, exact):
        each.reset(R, 100, np.random.default_rng(2))
        each.act()
    states, actions = np.zeros((2, R, 2), dtype=np.int64)
    feedback = TrajectoryFeedback(states, actions, np.zeros((R, 2)))  # Q̂ = 0: C = −B
    learner.update(feedback)
    exact.update(feedback)
    errors = np.array([p._known(0, 0, 1).cumulative for p in learner._lazy])
    errors -= exact.cumulative_losses[:, 0, 0]  # (R, A)
    spread = errors.std(axis=0, ddof=1) / math.sqrt(R)
    assert (np.abs(errors.mean(axis=0)) < 4 * spread).all()
    assert spread.min() > 0  # it is sampled
    assert np.abs(exact.cumulative_losses[:, 0, 0].mean(axis=0)).min() > 40 * spread.max()


@every_kind
def test_runs_repeat_have_exact_regret_and_learn(kind: Any) -> None:
    K = 60
    P = np.zeros((2, 2, 2, 2))
    P[..., 0, :], P[..., 1, :] = [0.9, 0.1], [0.1, 0.9]  # action 1: to state 1, mostly
    model = tabular_as_linear(P)
    losses = np.zeros((K, 2, 2, 2))
    losses[:, 1, 0], losses[:, 1, 1] = [1.0, 0.8], [0.2, 0.0]
    game = AdversarialMDP(model, losses)
    learner = kind(
        ModelSimulator(model),
        learning_rate=0.5,
        bonus_scale=0.01,
        regularization=0.1,
        covariance=EmpiricalInverse(10),
    )
    first, again, other = (
        run(learner, game, K, n_replications=3, seed=seed, checkpoints=[K]) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.regret, again.regret)
    assert np.abs(first.regret - other.regret).max() > 0
    uniform = run(UniformPolicy(model), game, K, seed=0, checkpoints=[K]).mean()[-1]
    assert first.mean()[-1] < 0.6 * uniform
    assert first.guarantee is None


class Drift(Simulator):
    """States in the unit square, which never repeat; linear action values for H = 2.

    The next state is uniform, whatever is done, and features are functions of state and action.
    """

    horizon, n_actions, dim, initial_state = 2, 2, 2, (0.5, 0.5)

    def __init__(self) -> None:
        self.asked: list[tuple[int, Hashable]] = []

    def features(self, layer: int, state: Any) -> FloatArray:
        self.asked.append((layer, state))
        x, y = state
        return np.array([[x, 0.5], [y, -0.5]]) / 2

    def sample(self, layer: int, state: Any, action: int, rng: np.random.Generator) -> Any:
        assert layer == 0
        return tuple(rng.random(2))


@every_kind
@pytest.mark.parametrize("covariance", [EmpiricalInverse(4), MatrixGeometricResampling(1, 3)])
def test_states_that_never_repeat_are_evaluated_where_they_are_visited(
    kind: Any, covariance: Any
) -> None:
    simulator, rng = Drift(), np.random.default_rng(0)
    learner = kind(simulator, **GIVEN, covariance=covariance)
    learner.reset(1, 10, rng)
    for _ in range(5):
        (policy,) = learner.act()
        states = [simulator.initial_state, (rng.random(), rng.random())]
        actions = [int(rng.choice(2, p=policy(h, s))) for h, s in enumerate(states)]
        told = np.empty((1, 2), dtype=object)
        told[0] = states
        learner.update(TrajectoryFeedback(told, np.array([actions]), rng.random((1, 2))))
    elsewhere = np.array([policy(1, (x, 1 - x)) for x in np.linspace(0, 1, 5)])
    np.testing.assert_allclose(elsewhere.sum(axis=-1), 1.0, rtol=1e-12)
    assert np.abs(elsewhere - 0.5).max() > 0.01
    assert np.ptp(elsewhere[:, 0]) > 0.005
    later = {state for layer, state in simulator.asked if layer == 1}
    assert len(later) < 200  # trajectories, samples, and the two bonuses of s_1


@every_kind
def test_numbers_and_features_that_cannot_be_are_named(kind: Any) -> None:
    learner = kind(Drift(), **GIVEN, covariance=EmpiricalInverse(2))
    learner.reset(2, 10, np.random.default_rng(0))
    told = np.empty((2, 2), dtype=object)
    for row in told:
        row[:] = [(0.5, 0.5), (0.1, 0.2)]
    losses = np.array([[0.0, 0.0], [0.0, math.inf]])
    learner.update(TrajectoryFeedback(told, np.zeros((2, 2), dtype=np.int64), losses))
    first, second = learner.act()
    assert np.isfinite(first(1, (0.1, 0.2))).all()
    with pytest.raises(FloatingPointError, match="replication 1"):
        second(1, (0.1, 0.2))

    class Long(Drift):
        def features(self, layer: int, state: Any) -> FloatArray:
            return 9 * super().features(layer, state)

    learner = kind(Long(), **GIVEN, covariance=EmpiricalInverse(2))
    learner.reset(1, 10, np.random.default_rng(0))
    with pytest.raises(ValueError, match="norms of at most 1"):
        learner.act()[0](0, (0.5, 0.5))


def test_a_simulator_needs_samples_and_a_game_of_the_same_model() -> None:
    model = random_linear_mdp(2, 3, 2, 2, seed=0)
    for covariance in (None, ExactCovariance()):
        with pytest.raises(ValueError, match="covariance must be sampled"):
            LogBarrierPolicyOptimization(ModelSimulator(model), covariance=covariance)
    with pytest.raises(ValueError, match="n_bonus_samples"):
        LogBarrierPolicyOptimization(model, n_bonus_samples=0)
    with pytest.raises(TypeError, match="Simulator"):
        LogBarrierPolicyOptimization("model")  # type: ignore[arg-type]
    other = random_linear_mdp(2, 3, 2, 2, seed=1)
    losses = stochastic_losses(model, 5, rng=np.random.default_rng(0))
    learner = LogBarrierPolicyOptimization(ModelSimulator(other), covariance=EmpiricalInverse(2))
    with pytest.raises(ValueError, match="model of the environment"):
        run(learner, AdversarialMDP(model, losses), 5, seed=0)
