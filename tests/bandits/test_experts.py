"""Learners of the experts' game: formulas, inequalities, and comparators that change."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import logsumexp

from fenchel.bandits import FTPL, AdaHedge, AdversarialBandit, FixedShare, Hedge, Squint
from fenchel.core import FullFeedback, run
from fenchel.core.checks import FloatArray
from fenchel.core.regret import BestSwitchingArm

T, R, K = 300, 3, 4
LOSSES = np.random.default_rng(0).random((T, R, K)) * np.array([0.9, 1.0, 0.8, 1.0])


def played(learner: Any, losses: FloatArray) -> FloatArray:
    """Distributions (T, R, K) against losses (T, R, K)."""
    rounds, n, _ = losses.shape
    learner.reset(n, rounds, np.random.default_rng(1))
    mixtures = np.empty_like(losses)
    for t, row in enumerate(losses):
        mixtures[t] = learner.act()
        learner.update(FullFeedback(row))
    return mixtures


def adahedge_by_hand(losses: FloatArray) -> FloatArray:
    """One replication, losses (T, K), the formulas as in the paper."""
    n_arms = losses.shape[1]
    total, gap, mixtures = np.zeros(n_arms), 0.0, []
    for row in losses:
        if gap == 0:
            p = (total == total.min()).astype(float)
            p /= p.sum()
            mix = (total + row).min() - total.min()
        else:
            eta = math.log(n_arms) / gap
            p = np.exp(-eta * total - logsumexp(-eta * total))
            mix = -logsumexp(-eta * row, b=p) / eta
        mixtures.append(p)
        gap += max(0.0, p @ row - mix)
        total = total + row
    return np.array(mixtures)


def test_adahedge_is_its_formula() -> None:
    mixtures = played(AdaHedge(K), LOSSES)
    for r in range(R):
        np.testing.assert_allclose(mixtures[:, r], adahedge_by_hand(LOSSES[:, r]), rtol=1e-8)


def test_adahedge_follows_the_leader_while_that_costs_nothing() -> None:
    losses = np.tile([0.0, 0.3, 0.5], (20, 1, 1))
    mixtures = played(AdaHedge(3), losses)
    np.testing.assert_array_equal(mixtures[0, 0], [1 / 3] * 3)
    assert mixtures[-1, 0, 0] > 0.99


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_adahedge_does_not_depend_on_the_scale_of_losses_nor_on_their_zero(scale: float) -> None:
    mixtures = played(AdaHedge(K), LOSSES)
    np.testing.assert_allclose(played(AdaHedge(K), scale * LOSSES), mixtures, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(played(AdaHedge(K), LOSSES + 5.0), mixtures, rtol=1e-6, atol=1e-9)


def squint_by_hand(losses: FloatArray) -> FloatArray:
    n_arms = losses.shape[1]
    rates = Squint.grid(len(losses))
    regret, variance, mixtures = np.zeros(n_arms), np.zeros(n_arms), []
    for row in losses:
        exponents = np.outer(regret, rates) - np.outer(variance, rates**2)
        weights = (rates * np.exp(exponents)).sum(axis=1)
        p = weights / weights.sum()
        mixtures.append(p)
        regret, variance = regret + p @ row - row, variance + (p @ row - row) ** 2
    return np.array(mixtures)


def test_squint_is_its_formula() -> None:
    mixtures = played(Squint(K), LOSSES)
    for r in range(R):
        np.testing.assert_allclose(mixtures[:, r], squint_by_hand(LOSSES[:, r]), rtol=1e-10)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0.0, 1.0))
def test_inequalities_of_squint_and_adahedge_hold_on_every_run(
    seed: int, n_arms: int, bias: float
) -> None:
    rng = np.random.default_rng(seed)
    losses = np.clip(rng.integers(0, 2, (100, 4, n_arms)) + bias * rng.normal(size=n_arms), 0, 1)
    for make in (Squint, AdaHedge):
        learner = make(n_arms)
        mixtures = played(learner, losses)
        inequality = learner.pathwise()
        assert (inequality.slack >= -1e-9).all()
        regret = (mixtures * losses).sum(axis=(0, 2)) - losses.sum(axis=0).min(axis=1)
        assert (inequality.left <= regret + 1e-9).all()  # Squint's is that of some arm
        if make is AdaHedge:
            np.testing.assert_allclose(inequality.left, regret, atol=1e-9)


def test_squint_and_adahedge_stop_paying_where_one_arm_is_always_better() -> None:
    # V and Δ stay bounded, while the regret of Hedge tuned for T grows with √T
    regrets = {}
    for make in (Squint, AdaHedge, Hedge):
        for horizon in (400, 6400):
            game = AdversarialBandit(lambda t: [0.2, 0.7, 0.8])
            learner = make(3)
            trace = run(learner, game, horizon, seed=0, checkpoints=[horizon])
            regrets[make, horizon] = float(trace.regret[0, 0])
            assert trace.guarantee is not None
            assert regrets[make, horizon] <= trace.guarantee.bound(horizon)
    for make in (Squint, AdaHedge):
        assert regrets[make, 6400] < 1.2 * regrets[make, 400]
    assert regrets[Hedge, 6400] > 3.5 * regrets[Hedge, 400]


def test_weights_of_squint_with_all_rates_in_a_continuum_are_those_of_a_fine_grid() -> None:
    # the formula behind the grid: Σ_η η e^{ηR − η²V} over a uniform grid tends to the integral
    regret, variance = np.array([2.0, -1.0, 0.5]), np.array([3.0, 2.0, 0.1])
    exact = [
        quad(lambda e, r=r, v=v: e * math.exp(e * r - e * e * v), 0, 0.5)[0]
        for r, v in zip(regret, variance, strict=True)
    ]
    learner = Squint(3)
    learner.reset(1, 10, np.random.default_rng(0))
    learner.rates = (np.arange(4000) + 0.5) / 8000
    learner.regrets[:], learner.variances[:] = regret, variance
    np.testing.assert_allclose(learner.act()[0], np.array(exact) / sum(exact), rtol=1e-6)


def test_ftpl_with_gumbel_noise_would_be_hedge_and_with_exponential_noise_has_its_own_law() -> None:
    # two arms with a gap g: P(arm 1) = P(N_1 − N_0 > g) = e^{−ηg}/2 for a difference of Exp(η)
    n, eta, gap = 40_000, 0.5, 1.5
    learner = FTPL(2, learning_rate=eta)
    learner.reset(n, 10, np.random.default_rng(2))
    learner.cumulative_losses[:, 1] = gap
    share = learner.act()[:, 1].mean()
    expected = math.exp(-eta * gap) / 2
    assert abs(share - expected) < 5 * math.sqrt(expected / n)


def fixed_share_by_hand(losses: FloatArray, eta: float, alpha: float) -> FloatArray:
    n_arms = losses.shape[1]
    p, mixtures = np.full(n_arms, 1 / n_arms), []
    for row in losses:
        mixtures.append(p)
        w = p * np.exp(-eta * row)
        p = (1 - alpha) * w / w.sum() + alpha / n_arms
    return np.array(mixtures)


def test_fixed_share_is_its_formula() -> None:
    mixtures = played(FixedShare(K, n_switches=3, learning_rate=0.4, share=0.02), LOSSES)
    for r in range(R):
        expected = fixed_share_by_hand(LOSSES[:, r], 0.4, 0.02)
        np.testing.assert_allclose(mixtures[:, r], expected, rtol=1e-10)


def test_fixed_share_without_switches_is_hedge() -> None:
    np.testing.assert_allclose(
        played(FixedShare(K, n_switches=0), LOSSES), played(Hedge(K), LOSSES), rtol=1e-9
    )


def test_fixed_share_is_the_mixture_over_sequences_of_arms() -> None:
    # Herbster and Warmuth: p_t is the posterior over all sequences with a Markov prior
    eta, alpha, rounds, n_arms = 0.7, 0.2, 5, 3
    losses = np.random.default_rng(3).random((rounds, 1, n_arms))
    learner = FixedShare(n_arms, n_switches=1, learning_rate=eta, share=alpha)
    mixtures = played(learner, losses)[:, 0]
    weights = np.zeros(n_arms)
    for sequence in itertools.product(range(n_arms), repeat=rounds):
        prior = 1 / n_arms
        for before, after in itertools.pairwise(sequence):
            prior *= (1 - alpha) * (before == after) + alpha / n_arms
        seen = sum(losses[t, 0, a] for t, a in enumerate(sequence[:-1]))
        weights[sequence[-1]] += prior * math.exp(-eta * seen)
    np.testing.assert_allclose(mixtures[-1], weights / weights.sum(), rtol=1e-12)


@pytest.mark.parametrize("n_switches", [0, 1, 2, 5])
def test_best_switching_arm_is_the_best_of_all_sequences(n_switches: int) -> None:
    rounds, n, n_arms = 6, 2, 3
    losses = np.random.default_rng(4).random((rounds, n, n_arms))
    now = losses[0]
    comparator = BestSwitchingArm(n, (n, n_arms), lambda: now, n_switches=n_switches)
    arms = np.array([0, 1])
    for now in losses:  # noqa: B007  # the comparator looks at it
        comparator.observe(arms)
    for r in range(n):
        best = min(
            sum(losses[t, r, a] for t, a in enumerate(sequence))
            for sequence in itertools.product(range(n_arms), repeat=rounds)
            if sum(a != b for a, b in itertools.pairwise(sequence)) <= n_switches
        )
        own = losses[:, r, arms[r]].sum()
        np.testing.assert_allclose(comparator.regret()[r], own - best, rtol=1e-12)


def test_fixed_share_follows_arms_that_hedge_does_not() -> None:
    rounds, blocks = 2000, 4
    losses = np.ones((rounds, 3))
    for t in range(rounds):
        losses[t, t * blocks // rounds % 3] = 0.0
    game = AdversarialBandit(losses, n_switches=blocks - 1)
    sharing = run(FixedShare(3, n_switches=blocks - 1), game, rounds, seed=0)
    hedge = run(Hedge(3), game, rounds, seed=0)
    assert sharing.guarantee is not None
    assert (sharing.regret <= sharing.guarantee.bound(sharing.rounds)).all()
    assert sharing.regret[0, -1] < hedge.regret[0, -1] / 4
    assert hedge.guarantee is None  # against arms that change, none is proven
    assert run(FixedShare(3, n_switches=1), game, 10, seed=0).guarantee is None


@pytest.mark.parametrize("t", [1, 2, 3, 7, 8, 1000])
def test_bounds_of_hedge_without_a_horizon_are_the_sums_of_their_rounds(t: int) -> None:
    game, k = AdversarialBandit(np.zeros((2000, 5))), math.log(5)
    anytime, doubling = (
        guarantee.bound(t)
        for tuning in ("anytime", "doubling")
        if (guarantee := Hedge(5, tuning=tuning).guarantee(game)) is not None  # type: ignore[arg-type]
    )
    eta = 2 * np.sqrt(k / np.arange(1, t + 1))
    assert k / eta[-1] + eta.sum() / 8 <= anytime
    epochs = [2**m for m in range(t.bit_length())]
    np.testing.assert_allclose(doubling, sum(math.sqrt(n * k / 2) for n in epochs))
    assert doubling <= math.sqrt(2) / (math.sqrt(2) - 1) * math.sqrt(t * k / 2)


def test_hedge_with_doubling_forgets_at_powers_of_two() -> None:
    mixtures = played(Hedge(K, tuning="doubling"), LOSSES)
    for t in range(1, 65):
        fresh = np.allclose(mixtures[t - 1], 1 / K)
        assert fresh == (t & (t - 1) == 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Hedge(3, tuning="fast"), "tuning must be one of"),  # type: ignore[arg-type]
        (lambda: Hedge(3, tuning="anytime", learning_rate=0.1), "exclude each other"),
        (lambda: AdaHedge(1), "n_arms must be at least 2"),
        (lambda: Squint(0), "n_arms must be at least 2"),
        (lambda: FTPL(3, learning_rate=-1.0), "learning_rate must be"),
        (lambda: FixedShare(3, n_switches=-1), "n_switches must be at least 0"),
        (lambda: FixedShare(3, n_switches=1, share=1.0), "share must be"),
    ],
)
def test_bad_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def small_then_large(n_small: int, size: float, n_large: int) -> FloatArray:
    """Losses (T, K): arm 1 is worse by little, then the leader pays 1 in each round."""
    losses = np.zeros((n_small + n_large, 2))
    losses[:n_small, 1] = size
    total = losses[:n_small].sum(axis=0)
    for t in range(n_small, n_small + n_large):
        losses[t, total.argmin()] = 1.0
        total = total + losses[t]
    return losses


@pytest.mark.parametrize(("n_small", "size"), [(2000, 1e-4), (1000, 1e-5), (2000, 1e-9)])
def test_adahedge_keeps_its_bound_where_exponentials_of_its_first_rate_are_zero(
    n_small: int, size: float
) -> None:
    game = AdversarialBandit(small_then_large(n_small, size, 1000))
    trace = run(AdaHedge(2), game, n_small + 1000, seed=0)
    assert trace.guarantee is not None
    assert trace.pathwise is not None
    assert (trace.regret <= trace.guarantee.bound(trace.rounds)).all()
    assert (trace.pathwise.slack >= -1e-9).all()
    assert trace.regret[0, -1] > 5  # it is led astray, and recovers


def test_fixed_share_recovers_weights_that_round_to_zero() -> None:
    losses = np.zeros((2000, 2))
    losses[:800, 1], losses[800:, 0] = 1.0, 1.0
    learner = FixedShare(2, n_switches=0, learning_rate=1.0)
    trace = run(learner, AdversarialBandit(losses), 2000, seed=0)
    hedge = run(Hedge(2, learning_rate=1.0), AdversarialBandit(losses), 2000, seed=0)
    np.testing.assert_allclose(trace.regret, hedge.regret, rtol=1e-9, atol=1e-9)
    fast = FixedShare(2, n_switches=1, learning_rate=1e4)
    assert np.isfinite(run(fast, AdversarialBandit(losses), 2000, seed=0).regret).all()
