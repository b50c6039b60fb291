"""Learners of stochastic games: their formulas, their bounds, their limits."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from fenchel.bandits import (
    KLUCB,
    MOSS,
    BernoulliBandit,
    CorruptedBandit,
    EpsilonGreedy,
    ExploreThenCommit,
    GaussianThompsonSampling,
    NonstationaryBandit,
    drifting,
)
from fenchel.bandits.kl_ucb import _entropy, _lower, divergence
from fenchel.core import BanditFeedback, run
from fenchel.core.checks import FloatArray

T, R, K = 600, 3, 4
LOSSES = np.random.default_rng(0).random((T, R, K)) * np.array([0.9, 1.0, 0.8, 1.0])


def drive(learner: Any, losses: FloatArray, seed: int = 1) -> FloatArray:
    """The arms (T, R) that a learner plays against losses (T, R, K)."""
    rounds, n = losses.shape[:2]
    learner.reset(n, rounds, np.random.default_rng(seed))
    arms = np.empty((rounds, n), dtype=int)
    for t in range(rounds):
        arms[t] = learner.act()
        learner.update(BanditFeedback(arms[t].copy(), losses[t, np.arange(n), arms[t]]))
    return arms


def kl(p: float, q: float) -> float:
    return float(divergence(p, q))


def lower_by_bisection(p: float, radius: float) -> float:
    return float(brentq(lambda s: kl(p, math.exp(s)) - radius, math.log(1e-300), math.log(p)))


@settings(deadline=None)
@given(st.floats(0.0, 1.0), st.floats(1e-6, 30.0))
def test_lower_confidence_bound_is_the_root_of_the_divergence(p: float, radius: float) -> None:
    s = _lower(p, _entropy(p), radius)
    if p < 1e-200:
        assert math.exp(s) <= p
        return
    q = math.exp(s)
    assert q <= p
    if p == 1.0:
        np.testing.assert_allclose(s, -radius, rtol=1e-12)  # kl(1, q) = −ln q
    elif q > 1e-250 and q < 1 - 1e-9:
        np.testing.assert_allclose(kl(p, q), radius, rtol=1e-6, atol=1e-9)


def test_lower_confidence_bounds_agree_with_a_root_finder() -> None:
    for p in (1e-3, 0.1, 0.5, 0.9, 0.999):
        for radius in (1e-4, 0.01, 0.3, 3.0):
            s = _lower(p, _entropy(p), radius)
            if kl(p, 1e-300) <= radius:
                assert s <= math.log(1e-300)
            else:
                np.testing.assert_allclose(s, lower_by_bisection(p, radius), atol=1e-7)


def klucb_by_hand(losses: FloatArray, c: float) -> list[int]:
    """Arms for losses (T, K); all indices in each round."""
    n_arms = losses.shape[1]
    counts, sums, arms = np.zeros(n_arms), np.zeros(n_arms), []
    for t, row in enumerate(losses):
        if t < n_arms:
            arm = t
        else:
            b = math.log(t) + c * math.log(max(1.0, math.log(t)))
            logs = [
                -np.inf if s == 0 else _lower(s / n, _entropy(s / n), b / n)
                for s, n in zip(sums, counts, strict=True)
            ]
            arm = int(np.argmin(logs))
        counts[arm] += 1
        sums[arm] += row[arm]
        arms.append(arm)
    return arms


@pytest.mark.parametrize("c", [0.0, 3.0])
@pytest.mark.parametrize("binary", [False, True])
def test_kl_ucb_plays_the_least_of_all_indices(c: float, binary: bool) -> None:
    losses = (LOSSES < 0.3).astype(float) if binary else LOSSES
    arms = drive(KLUCB(K, c=c), losses)
    for r in range(R):
        np.testing.assert_array_equal(arms[:, r], klucb_by_hand(losses[:, r], c))


def test_kl_ucb_breaks_ties_by_the_first_arm() -> None:
    np.testing.assert_array_equal(drive(KLUCB(3), np.ones((9, 1, 3)))[:, 0], [0, 1, 2] * 3)
    np.testing.assert_array_equal(drive(KLUCB(3), np.zeros((9, 1, 3)))[:, 0], [0, 1, 2] + [0] * 6)


def test_regret_of_kl_ucb_approaches_the_lower_bound_of_lai_and_robbins() -> None:
    game = BernoulliBandit([0.05, 0.2])
    rounds = [1000, 20000]
    trace = run(KLUCB(2), game, 20000, n_replications=256, seed=3, checkpoints=rounds)
    slope = (trace.mean()[1] - trace.mean()[0]) / math.log(20)
    assert 0.5 < slope / (0.15 / kl(0.2, 0.05)) < 1.5


def moss_by_hand(losses: FloatArray) -> list[int]:
    rounds, n_arms = losses.shape
    counts, sums, arms = np.zeros(n_arms), np.zeros(n_arms), []
    for t, row in enumerate(losses):
        arm = t
        if t >= n_arms:
            width = np.sqrt(np.maximum(0, np.log(rounds / (n_arms * counts))) / counts)
            arm = int(np.argmin(sums / counts - width))
        counts[arm] += 1
        sums[arm] += row[arm]
        arms.append(arm)
    return arms


def test_moss_is_its_formula() -> None:
    arms = drive(MOSS(K), LOSSES)
    for r in range(R):
        np.testing.assert_array_equal(arms[:, r], moss_by_hand(LOSSES[:, r]))


def test_epsilon_greedy_plays_its_mixture_and_knows_it() -> None:
    learner = EpsilonGreedy(3, epsilon=0.3)
    learner.reset(20_000, 10, np.random.default_rng(0))
    for arm, loss in ((0, 0.5), (1, 0.2), (2, 0.7)):
        learner.act()
        learner.update(BanditFeedback(np.full(20_000, arm), np.full(20_000, loss)))
    arms = learner.act()
    np.testing.assert_allclose(learner.probabilities[0], [0.1, 0.8, 0.1])
    shares = np.bincount(arms, minlength=3) / len(arms)
    np.testing.assert_allclose(shares, [0.1, 0.8, 0.1], atol=5 * 0.5 / math.sqrt(len(arms)))


def test_epsilon_greedy_tries_each_arm_before_it_trusts_a_mean() -> None:
    learner = EpsilonGreedy(3, epsilon=1e-12)
    arms = drive(learner, np.full((6, 1, 3), 0.4) + np.array([0.0, 0.1, 0.2]))
    np.testing.assert_array_equal(arms[:, 0], [0, 1, 2, 0, 0, 0])


def test_rate_of_epsilon_greedy_is_that_of_auer_et_al() -> None:
    learner = EpsilonGreedy(10, gap=0.1, c=6)
    np.testing.assert_allclose(learner.epsilon(np.array([1, 6000, 12000])), [1, 1, 0.5])


def test_explore_then_commit_commits_to_the_least_mean() -> None:
    arms = drive(ExploreThenCommit(K, n_explorations=20), LOSSES)
    np.testing.assert_array_equal(arms[:80], np.tile(np.arange(K), 20)[:, None] * np.ones((1, R)))
    for r in range(R):
        means = [LOSSES[k:80:K, r, k].mean() for k in range(K)]
        assert set(arms[80:, r]) == {int(np.argmin(means))}


def test_default_exploration_fits_into_short_horizons() -> None:
    for horizon in (1, 5, 50, 5000):
        learner = ExploreThenCommit(10)
        learner.reset(1, horizon, np.random.default_rng(0))
        assert learner._m is not None
        assert 1 <= learner._m <= max(1, horizon // 10)
        game = BernoulliBandit(np.linspace(0.1, 1.0, 10))
        trace = run(learner, game, horizon, n_replications=64, seed=0, checkpoints=[horizon])
        assert trace.guarantee is not None
        assert trace.mean()[0] <= trace.guarantee.bound(horizon) + 1e-9


def test_gaussian_thompson_sampling_draws_from_its_posterior() -> None:
    n = 200_000
    learner = GaussianThompsonSampling(2)
    learner.reset(n, 10, np.random.default_rng(0))
    for loss in (1.0, 0.5, 0.6):
        learner.update(BanditFeedback(np.zeros(n, dtype=int), np.full(n, loss)))
    # N(3.1/4, 1/4) against N(1, 1): P(arm 0) = Φ(0.225/√1.25)
    share = (learner.act() == 0).mean()
    expected = 0.5 * math.erfc(-0.225 / math.sqrt(1.25) / math.sqrt(2))
    assert abs(share - expected) < 5 * 0.5 / math.sqrt(n)


# bounds


def test_bound_of_kl_ucb_is_its_formula_and_falls_towards_that_of_lai_and_robbins() -> None:
    game = BernoulliBandit([0.3, 0.5, 0.3, 0.8])
    guarantee = KLUCB(4, c=3.0).guarantee(game)
    assert guarantee is not None
    for t in (10, 1000, 10**5):
        late = sum(math.exp(-KLUCB(4, c=3.0).radius(s)) for s in range(1, t + 1))
        b = KLUCB(4, c=3.0).radius(t)
        by_hand = 0.0
        for gap, mean in ((0.2, 0.5), (0.5, 0.8)):
            plays = min(
                b / kl(mean - x, 0.3 + y) + 1 / (2 * x**2) + late / (2 * y**2)
                for x in np.linspace(0.01, gap, 60)
                for y in np.linspace(0.01, gap, 60)
                if x + y < gap - 1e-3
            )
            by_hand += gap * min(t, 1 + plays)
        np.testing.assert_allclose(guarantee.bound(t), by_hand, rtol=0.02)
    lai_robbins = 0.2 / kl(0.5, 0.3) + 0.5 / kl(0.8, 0.3)
    ratios = [
        guarantee.bound(t) / math.log(t) / lai_robbins for t in (1e4, 1e5, 1e6)
    ]  # below, it is trivial
    assert ratios[0] > ratios[1] > ratios[2] > 1


def test_bounds_are_claimed_for_fixed_means_only_and_never_fall() -> None:
    moving = NonstationaryBandit(drifting(4, period=100))
    fixed = BernoulliBandit([0.2, 0.5, 0.4, 0.4])
    rounds = np.arange(1, 500)
    for learner in (
        KLUCB(4),
        MOSS(4),
        EpsilonGreedy(4, gap=0.1),
        ExploreThenCommit(4, n_explorations=7),
    ):
        assert learner.guarantee(moving) is None
        guarantee = learner.guarantee(fixed)
        assert guarantee is not None
        bound = np.asarray(guarantee.bound(rounds))
        assert (np.diff(bound) >= -1e-9).all()
        np.testing.assert_allclose(bound[99], guarantee.bound(100))
    learner = MOSS(4)
    learner.reset(1, 1000, np.random.default_rng(0))
    guarantee = learner.guarantee(fixed)
    assert guarantee is not None
    np.testing.assert_allclose(guarantee.bound(np.array([1, 1000])), 49 * math.sqrt(4000))


def test_games_without_a_worse_arm_have_bounds_of_no_regret() -> None:
    equal = BernoulliBandit([0.4, 0.4])
    for learner in (KLUCB(2), EpsilonGreedy(2, gap=0.1), ExploreThenCommit(2, n_explorations=3)):
        guarantee = learner.guarantee(equal)
        assert guarantee is not None
        np.testing.assert_allclose(guarantee.bound(np.array([1, 50])), 0.0)


# games


def test_corruption_swaps_best_and_worst_until_the_budget_is_spent() -> None:
    game = CorruptedBandit([0.2, 0.5, 0.8], budget=6.0)
    assert game.n_corrupted == 10
    game.reset(2, np.random.default_rng(0))
    shown = []
    for _ in range(15):
        game.step(np.zeros(2, dtype=int))
        shown.append(game._means[0].copy())
    np.testing.assert_array_equal(shown[:10], np.tile([0.8, 0.5, 0.2], (10, 1)))
    np.testing.assert_array_equal(shown[10:], np.tile([0.2, 0.5, 0.8], (5, 1)))


def test_a_game_without_corruption_is_that_of_fixed_means() -> None:
    a = run(KLUCB(3), CorruptedBandit([0.2, 0.5, 0.8], budget=0), 300, n_replications=3, seed=1)
    b = run(KLUCB(3), BernoulliBandit([0.2, 0.5, 0.8]), 300, n_replications=3, seed=1)
    np.testing.assert_array_equal(a.regret, b.regret)


def test_regret_of_moving_means_is_against_the_best_of_their_sums() -> None:
    means = np.array([[0.1, 0.9], [0.8, 0.3], [0.6, 0.5]])
    trace = run(
        ExploreThenCommit(2, n_explorations=2),
        NonstationaryBandit(means),
        3,
        seed=0,
        checkpoints=[1, 2, 3],
    )
    incurred = np.cumsum([0.1, 0.3, 0.6])  # arms 0, 1, 0
    np.testing.assert_allclose(trace.regret[0], incurred - np.cumsum(means, axis=0).min(axis=1))


def test_drifting_means_return_after_a_period_and_each_arm_is_the_best_for_a_while() -> None:
    means = drifting(4, period=100)
    np.testing.assert_allclose(means(0), means(100), atol=1e-12)
    best = {int(np.argmin(means(t))) for t in range(100)}
    assert best == set(range(4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KLUCB(3, c=-1.0), "c must be at least 0"),
        (lambda: MOSS(1), "n_arms must be at least 2"),
        (lambda: EpsilonGreedy(3), "gap or epsilon must be given"),
        (lambda: EpsilonGreedy(3, gap=0.1, epsilon=0.1), "and not both"),
        (lambda: EpsilonGreedy(3, epsilon=1.5), "epsilon must be at most 1"),
        (lambda: EpsilonGreedy(3, gap=7.0), "gap must be at most 1"),
        (lambda: CorruptedBandit([], budget=1), "number of arms in means must be at least 2"),
        (lambda: ExploreThenCommit(3, n_explorations=0), "n_explorations must be at least 1"),
        (lambda: CorruptedBandit([0.5, 0.5], budget=1), "means must differ"),
        (lambda: CorruptedBandit([0.5, 0.6], budget=-1), "budget must be at least 0"),
        (lambda: drifting(3, period=10, amplitude=0.7), "amplitude must be at most"),
        (lambda: NonstationaryBandit([[0.5, 2.0]]), "losses must be finite and in"),
    ],
)
def test_bad_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_rate_outside_the_unit_interval_is_refused_in_its_round() -> None:
    learner = EpsilonGreedy(2, epsilon=lambda t: 0.5 * t)
    with pytest.raises(ValueError, match=r"round 3: epsilon must be in \[0, 1\]"):
        run(learner, BernoulliBandit([0.1, 0.2]), 5, seed=0)


def test_kl_ucb_on_tiny_losses_still_compares_all_indices() -> None:
    # indices are e^s with s below −745: 0 in float64, and yet not equal
    losses = np.tile(1e-6 * np.array([1.0, 0.5, 0.9]), (3000, 1, 1))
    arms = drive(KLUCB(3), losses)
    np.testing.assert_array_equal(arms[:200, 0], klucb_by_hand(losses[:200, 0], 0.0))
    counts = np.bincount(arms[:, 0])
    assert counts.argmax() == 1
    assert counts.min() > 100


def test_bounds_of_gaps_of_a_rounding_error_are_numbers() -> None:
    guarantee = KLUCB(2).guarantee(BernoulliBandit([0.5, 0.5 + 1.2e-16]))
    assert guarantee is not None
    assert np.isfinite(guarantee.bound(np.array([1, 1000]))).all()


def test_bound_of_epsilon_greedy_is_of_the_order_of_the_logarithm_for_large_gaps() -> None:
    guarantee = EpsilonGreedy(2, gap=1.0, c=20).guarantee(BernoulliBandit([0.0, 1.0]))
    assert guarantee is not None
    values = [guarantee.bound(t) for t in (10**3, 10**4, 10**5)]
    growth = np.diff(values) / math.log(10)
    np.testing.assert_allclose(growth[1], 20, rtol=0.1)  # Σ ε_t/K = c/d² Σ 1/t, and little else
    constant = EpsilonGreedy(2, epsilon=lambda t: 0.1).guarantee(BernoulliBandit([0.0, 1.0]))
    assert constant is not None
    np.testing.assert_allclose(constant.bound(20_000) - constant.bound(10_000), 500, rtol=1e-3)
