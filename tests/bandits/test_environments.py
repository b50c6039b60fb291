import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.stats

from fenchel.bandits import (
    UCB1,
    AdaptiveBandit,
    AdversarialBandit,
    BayesianBernoulliBandit,
    BernoulliBandit,
    Exp3,
    Hedge,
    History,
    NonstationaryBandit,
    StochasticallyConstrainedAdversary,
    punish_favourite,
)
from fenchel.core import BanditFeedback, FullFeedback, run
from fenchel.core.checks import FloatArray

R = 4000
MEANS = np.array([0.0, 0.2, 0.5, 1.0])
UNIFORM = np.full((R, 4), 0.25)


def start(environment: Any, n_replications: int = R, seed: int = 0) -> Any:
    environment.reset(n_replications, np.random.default_rng(seed))
    return environment


def is_binomial(successes: float, n: int, p: float) -> bool:
    return bool(scipy.stats.binomtest(int(successes), n, p).pvalue > 1e-5)


@pytest.mark.parametrize("arm", range(4))
def test_bernoulli_losses_have_their_means_in_the_bandit_game(arm: int) -> None:
    environment = start(BernoulliBandit(MEANS))
    losses = np.array([environment.step(np.full(R, arm)).losses for _ in range(20)])
    assert set(np.unique(losses)) <= {0.0, 1.0}
    assert is_binomial(losses.sum(), losses.size, MEANS[arm])
    if 0 < MEANS[arm] < 1:  # independent over rounds and replications: counts are binomial
        for counts, n in ((losses.sum(axis=0), 20), (losses.sum(axis=1), R)):
            variance = n * MEANS[arm] * (1 - MEANS[arm])
            error = math.sqrt(2 / len(counts))
            assert abs(counts.var() / variance - 1) < 5 * error


def test_bernoulli_losses_have_their_means_in_the_experts_game() -> None:
    environment = start(BernoulliBandit(MEANS))
    losses = np.array([environment.step(UNIFORM).losses for _ in range(20)])
    for arm, mean in enumerate(MEANS):
        assert is_binomial(losses[..., arm].sum(), losses[..., arm].size, mean)
    correlation = np.corrcoef(losses[..., 1].ravel(), losses[..., 2].ravel())[0, 1]
    assert abs(correlation) < 5 / math.sqrt(20 * R)  # arms are independent


def test_gaps_are_distances_to_the_least_mean() -> None:
    np.testing.assert_allclose(
        BernoulliBandit([0.4, 0.3, 0.3, 1.0]).gaps, [0.1, 0, 0, 0.7], rtol=1e-14
    )


def means_by_definition(n_arms: int, gap: float, growth: Fraction, rounds: int) -> FloatArray:
    """Phase i of ⌈growth^i⌉ rounds, exactly: (0, Δ) in even phases, (1 − Δ, 1) in odd ones."""
    rows: list[list[float]] = []
    for phase in itertools.count():
        best, other = ((0.0, gap), (1 - gap, 1.0))[phase % 2]
        rows += [[best] + [other] * (n_arms - 1)] * math.ceil(growth**phase)
        if len(rows) >= rounds:
            return np.array(rows[:rounds])
    raise AssertionError


@pytest.mark.parametrize("growth", [Fraction(8, 5), Fraction(2), Fraction(11, 10)])
@pytest.mark.parametrize("mixed", [False, True])
def test_phases_of_the_constrained_adversary_alternate_and_grow_with_the_gap_kept(
    growth: Fraction, mixed: bool
) -> None:
    gap, rounds = 0.125, 3000
    environment = start(
        StochasticallyConstrainedAdversary(3, gap=gap, growth=float(growth)), n_replications=1
    )
    action: Any = np.full((1, 3), 1 / 3) if mixed else np.array([1])
    seen = []
    for _ in range(rounds):
        environment.step(action)
        seen.append(environment._means[0].copy())
    np.testing.assert_array_equal(seen, means_by_definition(3, gap, growth, rounds))
    np.testing.assert_array_equal(np.array(seen)[:, 1:] - np.array(seen)[:, :1], gap)


def test_first_phases_of_the_constrained_adversary_last_1_2_3_5_7_11_rounds() -> None:
    # ⌈1.6^i⌉: 1, 1.6, 2.56, 4.096, 6.5536, 10.48576
    means = means_by_definition(2, 0.25, Fraction(8, 5), 29)[:, 0]
    starts = np.flatnonzero(np.diff(means)) + 1
    np.testing.assert_array_equal(np.diff([0, *starts]), [1, 2, 3, 5, 7])
    environment = start(StochasticallyConstrainedAdversary(2, gap=0.25), n_replications=1)
    for mean in means:
        environment.step(np.array([0]))
        assert environment._means[0, 0] == mean


def test_losses_of_the_constrained_adversary_have_the_means_of_their_phase() -> None:
    bandit = start(StochasticallyConstrainedAdversary(2, gap=0.3))
    experts = start(StochasticallyConstrainedAdversary(2, gap=0.3))
    for expected in means_by_definition(2, 0.3, Fraction(8, 5), 30):
        losses = bandit.step(np.arange(R) % 2).losses
        for arm in range(2):
            assert is_binomial(losses[arm::2].sum(), R // 2, min(expected[arm], 1.0))
        assert is_binomial(
            experts.step(np.full((R, 2), 0.5)).losses[:, 1].sum(), R, min(expected[1], 1.0)
        )


def test_resetting_starts_the_phases_again() -> None:
    environment = StochasticallyConstrainedAdversary(3, gap=0.2)
    first = run(UCB1(3), environment, 100, n_replications=3, seed=1)
    again = run(UCB1(3), environment, 100, n_replications=3, seed=1)
    np.testing.assert_array_equal(first.regret, again.regret)


def test_means_of_the_bayesian_game_are_uniform_and_apart_in_each_replication() -> None:
    environment = start(BayesianBernoulliBandit(3))
    means = environment._means
    assert means.shape == (R, 3)
    assert len(np.unique(means)) == 3 * R
    for arm in range(3):
        assert scipy.stats.kstest(means[:, arm], "uniform").pvalue > 1e-4
    total = sum(environment.step(np.full(R, 1)).losses for _ in range(400))
    # losses follow each replication's own mean: (total − 400 μ)²/(400 μ(1 − μ)) averages to 1
    mu = means[:, 1]
    inner = (mu > 0.05) & (mu < 0.95)
    scores = (total - 400 * mu)[inner] ** 2 / (400 * mu * (1 - mu))[inner]
    assert abs(scores.mean() - 1) < 5 * math.sqrt(2 / inner.sum())
    np.testing.assert_array_equal(environment._means, means)  # fixed for the whole game
    assert not np.array_equal(start(environment, seed=1)._means, means)


TABLE = np.random.default_rng(2).random((40, 4))


def test_bandit_feedback_is_the_entry_of_the_full_feedback() -> None:
    bandit, experts = (start(AdversarialBandit(TABLE), 8) for _ in range(2))
    rng = np.random.default_rng(3)
    for t in range(40):
        arms = rng.integers(0, 4, size=8)
        partial, full = bandit.step(arms), experts.step(np.full((8, 4), 0.25))
        np.testing.assert_array_equal(full.losses, np.tile(TABLE[t], (8, 1)))
        np.testing.assert_array_equal(partial.losses, full.losses[np.arange(8), arms])
        np.testing.assert_array_equal(partial.arms, arms)


@pytest.mark.parametrize("make", [Exp3, UCB1, Hedge])
def test_a_function_of_the_round_is_the_table_of_its_values(make: Any) -> None:
    calls = []

    def losses(t: int) -> FloatArray:
        calls.append(t)
        return TABLE[t]

    environment = AdversarialBandit(losses)
    assert environment.horizon is None
    assert AdversarialBandit(TABLE).horizon == 40
    calls.clear()
    by_function = run(make(4), environment, 40, n_replications=5, seed=0)
    np.testing.assert_array_equal(calls, np.arange(40))  # t counts from 0
    by_table = run(make(4), AdversarialBandit(TABLE), 40, n_replications=5, seed=0)
    np.testing.assert_array_equal(by_function.regret, by_table.regret)


ENVIRONMENTS = {
    "table": lambda: AdversarialBandit(TABLE),
    "function": lambda: AdversarialBandit(lambda t: TABLE[t]),
    "Bernoulli": lambda: BernoulliBandit(MEANS),
    "Bayesian": lambda: BayesianBernoulliBandit(4),
    "constrained": lambda: StochasticallyConstrainedAdversary(4, gap=0.1),
    "adaptive": lambda: AdaptiveBandit(4, punish_favourite),
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_all_losses_are_revealed_to_mixtures_and_one_to_arms(name: str) -> None:
    environment = start(ENVIRONMENTS[name](), 6)
    partial = environment.step(np.array([0, 1, 2, 3, 0, 1]))
    assert type(partial) is BanditFeedback
    assert partial.losses.shape == (6,)
    assert not hasattr(partial, "__dict__")  # nothing else can hide there
    full = start(ENVIRONMENTS[name](), 6).step(np.full((6, 4), 0.25))
    assert type(full) is FullFeedback
    assert full.losses.shape == (6, 4)
    for losses in (partial.losses, full.losses):
        assert ((losses >= 0) & (losses <= 1)).all()


def test_adversary_sees_past_actions_only() -> None:
    seen: list[tuple[int, Any, FloatArray]] = []

    def spy(history: History) -> FloatArray:
        last = None if history.last is None else history.last.copy()
        seen.append((history.t, last, history.counts.copy()))
        return np.random.default_rng(history.t).random(history.counts.shape)

    environment = start(AdaptiveBandit(3, spy), 5)
    rng = np.random.default_rng(4)
    played = rng.integers(0, 3, size=(20, 5))
    for t, arms in enumerate(played):
        before = len(seen)
        feedback = environment.step(arms)
        assert len(seen) == before + 1  # asked once a round
        losses = np.random.default_rng(t).random((5, 3))  # a function of the past alone
        np.testing.assert_array_equal(feedback.losses, losses[np.arange(5), arms])
    for t, (count, last, counts) in enumerate(seen):
        assert count == t
        if t == 0:
            assert last is None
        else:
            np.testing.assert_array_equal(last, played[t - 1])
        expected = np.stack([np.bincount(played[:t, r], minlength=3) for r in range(5)])
        np.testing.assert_array_equal(counts, expected)


def test_histories_that_a_rule_keeps_stay_what_they_were() -> None:
    kept: list[History] = []

    def spy(history: History) -> FloatArray:
        kept.append(history)
        return np.zeros(history.counts.shape)

    environment = start(AdaptiveBandit(2, spy), 3)
    for _ in range(4):
        environment.step(np.array([0, 1, 1]))
    for t, history in enumerate(kept):
        np.testing.assert_array_equal(history.counts, [[t, 0], [0, t], [0, t]])


def test_adversary_counts_the_mass_of_mixtures() -> None:
    seen: list[FloatArray] = []

    def spy(history: History) -> FloatArray:
        seen.append(history.counts.copy())
        return np.zeros(history.counts.shape)

    environment = start(AdaptiveBandit(2, spy), 1)
    for _ in range(3):
        environment.step(np.array([[0.25, 0.75]]))
    np.testing.assert_array_equal(seen, [[[0, 0]], [[0.25, 0.75]], [[0.5, 1.5]]])


def test_punish_favourite_charges_the_arm_played_most_the_first_of_equals() -> None:
    counts = np.array([[0.0, 0, 0], [1, 2, 2], [5, 1, 7]])
    np.testing.assert_array_equal(
        punish_favourite(History(3, None, counts)), [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    )


@pytest.mark.parametrize(
    "losses", [np.zeros(2), np.zeros((1, 2)), np.full((4, 2), 1.5), np.full((4, 2), math.nan)]
)
def test_rules_must_give_a_loss_in_the_unit_interval_to_each_arm_and_replication(
    losses: FloatArray,
) -> None:
    environment = start(AdaptiveBandit(2, lambda history: losses), 4)
    with pytest.raises(ValueError, match="rule"):
        environment.step(np.zeros(4, dtype=int))


def test_adaptive_regret_is_against_the_best_arm_of_the_losses_shown() -> None:
    environment = start(AdaptiveBandit(2, punish_favourite), 1)
    comparator = environment.comparator()
    for arm in (0, 0, 1, 1, 1):  # losses shown: (1,0), (1,0), (1,0), (1,0), then counts tie: (1,0)
        action = np.array([arm])
        environment.step(action)
        comparator.observe(action)
    assert comparator.regret()[0] == 2.0  # incurred 1 + 1 + 0 + 0 + 0, arm 1 incurs nothing


@pytest.mark.parametrize("make", [AdversarialBandit, NonstationaryBandit])
def test_a_table_ends_with_its_last_round(make: Any) -> None:
    game = start(make(np.full((3, 2), 0.5)), 4)
    for _ in range(3):
        game.step(np.zeros(4, dtype=int))
    with pytest.raises(ValueError, match="the game is over"):
        game.step(np.zeros(4, dtype=int))
