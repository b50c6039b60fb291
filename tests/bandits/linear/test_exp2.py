import math
from typing import Any

import numpy as np
import pytest

from fenchel.bandits.linear import AdversarialLinearBandit, Exp2, LinearBandit
from fenchel.core import BanditFeedback
from fenchel.core.checks import FloatArray

RNG = np.random.default_rng(0)
K, D = 7, 3
FEATURES = RNG.normal(size=(K, D))
FEATURES /= np.linalg.norm(FEATURES, axis=1, keepdims=True)


def estimates(learner: Any, arms: FloatArray, losses: FloatArray) -> FloatArray:
    """What the update adds to the estimated losses of the arms, (R, K)."""
    before = learner.cumulative_losses.copy()
    learner.update(BanditFeedback(arms, losses))
    return (learner.cumulative_losses - before) @ learner.coordinates.T


def reset(learner: Any, n: int, horizon: int = 50) -> Any:
    learner.reset(n, horizon, np.random.default_rng(0))
    return learner


@pytest.mark.parametrize("features", [FEATURES, np.c_[FEATURES, FEATURES @ np.ones(D)]])
def test_estimates_are_unbiased_by_enumeration_of_the_arms(features: FloatArray) -> None:
    # also where the features span a subspace only: the losses of the arms are what can be known
    theta = np.random.default_rng(1).normal(size=features.shape[1])
    learner = reset(Exp2(features), K, horizon=500)
    learner.cumulative_losses[:] = 300 * np.random.default_rng(2).normal(size=D)
    learner.act()
    p = learner.probabilities[0]
    assert p.max() / p.min() > 10
    added = estimates(learner, np.arange(K), features @ theta)
    np.testing.assert_allclose(p @ added, features @ theta, rtol=1e-11)


def test_exp2_is_its_formula() -> None:
    rounds, n = 200, 2
    learner = reset(Exp2(FEATURES), n, rounds)
    losses = np.random.default_rng(3).uniform(-1, 1, size=(rounds, n))
    uniforms = np.random.default_rng(0).random((rounds, n))
    pi, g = learner.design.weights, learner.design.value
    eta = math.sqrt(math.log(K) / ((D + 2 * g) * rounds))
    gamma = eta * g
    L = np.zeros((n, D))
    for t in range(rounds):
        arms = learner.act()
        for r in range(n):
            weights = np.exp(-eta * FEATURES @ L[r])
            P = (1 - gamma) * weights / weights.sum() + gamma * pi
            np.testing.assert_allclose(learner.probabilities[r], P, rtol=1e-9)
            assert arms[r] == (np.cumsum(P) <= uniforms[t, r]).sum()
            Q = np.einsum("a,ai,aj->ij", P, FEATURES, FEATURES)
            L[r] += np.linalg.solve(Q, FEATURES[arms[r]]) * losses[t, r]
        learner.update(BanditFeedback(arms, losses[t]))


def test_on_the_basis_exp2_is_exp3_with_mixing() -> None:
    n = 3
    learner = reset(Exp2(np.eye(4), learning_rate=0.05), n)
    L = np.zeros((n, 4))
    losses = np.random.default_rng(4).uniform(-1, 1, size=(60, n))
    rows = np.arange(n)
    for t in range(60):
        arms = learner.act()
        softmax = np.exp(-0.05 * L) / np.exp(-0.05 * L).sum(axis=1, keepdims=True)
        P = (1 - 0.2) * softmax + 0.2 / 4  # γ = η d
        np.testing.assert_allclose(learner.probabilities, P, rtol=1e-10)
        L[rows, arms] += losses[t] / P[rows, arms]
        learner.update(BanditFeedback(arms, losses[t]))


def test_estimates_times_the_rate_are_at_most_one() -> None:
    learner = reset(Exp2(FEATURES, learning_rate=0.1), K)
    learner.cumulative_losses[:] = 1e3 * np.random.default_rng(5).normal(size=(1, D))
    learner.act()
    for sign in (1.0, -1.0):
        added = estimates(learner, np.arange(K), np.full(K, sign))
        assert np.abs(added).max() <= 10 * (1 + 1e-9)


def test_a_horizon_too_short_to_exploit_is_pure_exploration() -> None:
    learner = reset(Exp2(FEATURES, learning_rate=2.0), 2)
    learner.cumulative_losses[:] = 1.0
    learner.act()
    np.testing.assert_allclose(learner.probabilities, np.tile(learner.design.weights, (2, 1)))
    game = AdversarialLinearBandit(FEATURES, lambda t: np.zeros(D))
    assert learner.guarantee(game).bound(10) >= 20


def test_the_tuned_bound_is_the_books() -> None:
    game = AdversarialLinearBandit(FEATURES, lambda t: np.zeros(D))
    bound = Exp2(FEATURES).guarantee(game)
    assert bound is not None
    for t in (10, 1000, 10**6):  # g is within 1e-3 of d
        assert bound.bound(t) == pytest.approx(2 * math.sqrt(3 * D * t * math.log(K)), rel=1e-3)


def test_exp2_claims_nothing_for_noisy_losses() -> None:
    theta = np.zeros(D)
    assert Exp2(FEATURES).guarantee(LinearBandit(FEATURES, theta, noise=0.1)) is None
    assert Exp2(FEATURES).guarantee(LinearBandit(FEATURES, theta, noise=0.0)) is not None


def test_distributions_stay_finite_at_extreme_rates() -> None:
    for rate in (1e-12, 1e6):
        learner = reset(Exp2(FEATURES, learning_rate=rate), 4)
        for _ in range(50):
            learner.update(BanditFeedback(learner.act(), np.array([1.0, -1.0, 0.0, 0.5])))
            assert np.isfinite(learner.cumulative_losses).all()
            np.testing.assert_allclose(learner.probabilities.sum(axis=1), 1, rtol=1e-12)


def test_exp2_refuses_bad_arguments() -> None:
    for features in (np.zeros((3, 2)), [[1.0, 0.0]], [1.0, 2.0], [[np.nan], [1.0]]):
        with pytest.raises(ValueError, match="features"):
            Exp2(features)
    with pytest.raises(ValueError, match="learning_rate"):
        Exp2(FEATURES, learning_rate=0.0)
