import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fenchel.bandits import (
    FTPL,
    KLUCB,
    MOSS,
    UCB1,
    AdaHedge,
    AdaptiveBandit,
    AdversarialBandit,
    BayesianBernoulliBandit,
    BernoulliBandit,
    CorruptedBandit,
    EpsilonGreedy,
    Exp3,
    Exp3IX,
    Exp3P,
    ExploreThenCommit,
    FixedShare,
    FTRLBandit,
    FTRLExperts,
    Hedge,
    History,
    LogBarrierFTRL,
    NonstationaryBandit,
    Squint,
    StochasticallyConstrainedAdversary,
    ThompsonSampling,
    TsallisINF,
    drifting,
    punish_favourite,
)
from fenchel.core import BanditFeedback, FullFeedback, Trace, run
from fenchel.core.checks import FloatArray
from fenchel.core.potentials import LogBarrier, NegativeEntropy, TsallisEntropy

# plain oracles: one replication, python and numpy, the formulas as in the papers


def gibbs(losses: FloatArray, eta: float) -> FloatArray:
    weights = np.exp(-eta * (losses - losses.min()))
    return weights / weights.sum()


def inverse_power(losses: FloatArray, eta: float, alpha: float) -> FloatArray:
    """p_i = (η(1−α)(L_i − x))^{−1/(1−α)} by Newton's method from x = min L − 1/(η(1−α))."""
    rate, losses = 1 - alpha, losses - losses.min()
    x = -1 / (eta * rate)
    for _ in range(200):
        u = eta * rate * (losses - x)
        p = u ** (-1 / rate)
        step = (p.sum() - 1) / (eta * (p / u).sum())  # d p_i/dx = η p_i/u_i
        x -= step
        if abs(step) <= 1e-15 * abs(x):
            break
    return p / p.sum()


T, R, K = 2000, 3, 4
LOSSES = np.random.default_rng(0).random((T, R, K)) * np.array([0.9, 1.0, 0.8, 1.0])


def drive(learner: Any, losses: FloatArray = LOSSES, seed: int = 1) -> FloatArray:
    """The arms (T, R) that a learner plays against losses (T, R, K)."""
    rounds, n = losses.shape[:2]
    learner.reset(n, rounds, np.random.default_rng(seed))
    played = np.empty((rounds, n), dtype=int)
    for t in range(rounds):
        arms = played[t] = learner.act()
        learner.update(BanditFeedback(arms.copy(), losses[t, np.arange(n), arms]))
    return played


ETA = math.sqrt(2 * math.log(K) / (T * K))
BARRIER_ETA = math.sqrt(2 * (K - 1) * math.log(T) / T)
ORACLES: dict[str, tuple[Any, Callable[[FloatArray, int], FloatArray], float]] = {
    "Exp3": (Exp3(K), lambda L, t: gibbs(L, ETA), 0.0),
    "Exp3, fast": (Exp3(K, learning_rate=0.3), lambda L, t: gibbs(L, 0.3), 0.0),
    "Exp3-IX": (Exp3IX(K), lambda L, t: gibbs(L, ETA), ETA / 2),
    "Tsallis-INF": (
        TsallisINF(K),
        lambda L, t: inverse_power(L, 2 / math.sqrt(t), 0.5),
        0.0,
    ),
    "Tsallis-INF, constant rate": (
        TsallisINF(K, learning_rate=0.1),
        lambda L, t: inverse_power(L, 0.1, 0.5),
        0.0,
    ),
    "log-barrier": (LogBarrierFTRL(K), lambda L, t: inverse_power(L, BARRIER_ETA, 0.0), 0.0),
    "Tsallis, 0.8": (
        FTRLBandit(K, TsallisEntropy(0.8), learning_rate=lambda t: 1 / math.sqrt(t)),
        lambda L, t: inverse_power(L, 1 / math.sqrt(t), 0.8),
        0.0,
    ),
}


@pytest.mark.parametrize("name", ORACLES)
def test_learner_is_its_formula_in_each_of_2000_rounds_fed_the_same_uniforms(name: str) -> None:
    # Round by round from the learner's own L̂: an estimate ℓ/p multiplies a difference in L̂(a) by
    # 1 + η ℓ/p, so that two roundings of one algorithm part at a rate of about exp(Σ η ℓ).
    learner, distribution, exploration = ORACLES[name]
    learner.reset(R, T, np.random.default_rng(1))
    uniforms = np.random.default_rng(1).random((T, R))
    cumulative = np.zeros((R, K))
    for t in range(T):
        arms = learner.act()
        losses = LOSSES[t, np.arange(R), arms]
        learner.update(BanditFeedback(arms, losses))
        for r in range(R):
            p = distribution(cumulative[r], t + 1)
            np.testing.assert_allclose(learner.probabilities[r], p, rtol=1e-11)
            assert arms[r] == (np.cumsum(p) <= uniforms[t, r]).sum()
            cumulative[r, arms[r]] += losses[r] / (p[arms[r]] + exploration)
        np.testing.assert_allclose(learner.cumulative_losses, cumulative, rtol=1e-11)
        cumulative = learner.cumulative_losses.copy()


def ucb1_by_hand(losses: FloatArray) -> list[int]:
    """Arms of Auer et al.'s UCB1 on rewards 1 − ℓ: losses (T, K)."""
    n_arms = losses.shape[1]
    counts, rewards = [0] * n_arms, [0.0] * n_arms
    arms = []
    for t, row in enumerate(losses):  # t plays done
        if t < n_arms:
            arm = t
        else:
            arm = max(
                range(n_arms),
                key=lambda a: rewards[a] / counts[a] + math.sqrt(2 * math.log(t) / counts[a]),
            )
        counts[arm] += 1
        rewards[arm] += 1 - row[arm]
        arms.append(arm)
    return arms


def test_ucb1_is_its_formula() -> None:
    played = drive(UCB1(K))
    for r in range(R):
        np.testing.assert_array_equal(played[:, r], ucb1_by_hand(LOSSES[:, r]))


def test_ucb1_breaks_ties_by_the_first_arm() -> None:
    played = drive(UCB1(3), np.zeros((9, 1, 3)))
    np.testing.assert_array_equal(played[:, 0], [0, 1, 2] * 3)


def test_thompson_sampling_draws_from_the_beta_posteriors_of_the_losses() -> None:
    losses = (LOSSES < 0.4).astype(float)
    played = drive(ThompsonSampling(K), losses)
    draws, _ = np.random.default_rng(1).spawn(2)
    ones, zeros = np.ones((R, K)), np.ones((R, K))
    for t in range(T):
        arms = draws.beta(ones, zeros).argmin(axis=1)
        np.testing.assert_array_equal(played[t], arms)
        for r, arm in enumerate(arms):
            if losses[t, r, arm] == 1:
                ones[r, arm] += 1
            else:
                zeros[r, arm] += 1


def test_thompson_sampling_replaces_a_loss_by_a_bernoulli_draw_of_its_mean() -> None:
    learner, n = ThompsonSampling(2), 40000
    learner.reset(n, 1, np.random.default_rng(2))
    learner.update(BanditFeedback(np.zeros(n, dtype=int), np.full(n, 0.3)))
    ones = learner.ones[:, 0] - 1
    assert set(np.unique(ones)) == {0, 1}
    np.testing.assert_array_equal(learner.ones[:, 0] + learner.zeros[:, 0], 3)
    assert abs(ones.mean() - 0.3) < 5 * math.sqrt(0.21 / n)
    np.testing.assert_array_equal(learner.ones[:, 1], 1)


def test_thompson_sampling_of_an_unseen_game_is_uniform_over_arms() -> None:
    learner, n = ThompsonSampling(3), 30000
    learner.reset(n, 1, np.random.default_rng(3))
    shares = np.bincount(learner.act(), minlength=3) / n
    assert (np.abs(shares - 1 / 3) < 5 * math.sqrt(2 / 9 / n)).all()


# estimators


def expected_estimate(learner: Any, past: FloatArray, losses: FloatArray) -> tuple[Any, Any]:
    """E ℓ̂ by enumerating the arm: replication a plays a; and the distribution p."""
    n_arms = len(losses)
    learner.reset(n_arms, 100, np.random.default_rng(0))
    learner.cumulative_losses += past
    learner.act()
    p = learner.probabilities[0].copy()
    before = learner.cumulative_losses.copy()
    learner.update(BanditFeedback(np.arange(n_arms), losses))
    return p @ (learner.cumulative_losses - before), p


PAST, PRESENT = np.array([3.0, 0.5, 8.0, 1.0]), np.array([0.2, 0.9, 0.4, 1.0])


@pytest.mark.parametrize(
    "make", [Exp3, TsallisINF, LogBarrierFTRL, lambda k: TsallisINF(k, estimator="RV")]
)
def test_importance_weighted_estimates_are_unbiased(make: Any) -> None:
    expectation, p = expected_estimate(make(4), PAST, PRESENT)
    np.testing.assert_allclose(expectation, PRESENT, rtol=1e-12)
    assert np.ptp(p) > 0.01


def test_implicit_exploration_is_biased_by_minus_gamma_over_p_plus_gamma() -> None:
    eta = 0.4
    expectation, p = expected_estimate(Exp3IX(4, learning_rate=eta), PAST, PRESENT)
    gamma = eta / 2
    np.testing.assert_allclose(expectation - PRESENT, -gamma * PRESENT / (p + gamma), rtol=1e-12)
    # ⟨p, E ℓ̂⟩ = ⟨p, ℓ⟩ − γ Σ E ℓ̂: the identity behind Neu's bound
    np.testing.assert_allclose(p @ expectation, p @ PRESENT - gamma * expectation.sum(), rtol=1e-12)


# reductions


def same_traces(first: Any, second: Any, environment: Any) -> None:
    a, b = (run(x, environment, 300, n_replications=5, seed=7) for x in (first, second))
    np.testing.assert_array_equal(a.regret, b.regret)


COINS = BernoulliBandit([0.3, 0.5, 0.6])


def test_exp3_ix_without_exploration_is_exp3() -> None:
    class Plain(Exp3IX):
        def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
            super().reset(n_replications, horizon, rng)
            assert self.exploration > 0
            self.exploration = 0.0

    same_traces(Plain(3), Exp3(3), COINS)
    same_traces(Plain(3, learning_rate=0.2), Exp3(3, learning_rate=0.2), COINS)


def test_learners_are_ftrl_with_their_potential() -> None:
    rate = math.sqrt(2 * math.log(3) / 900)
    same_traces(Exp3(3), FTRLBandit(3, NegativeEntropy(), learning_rate=rate), COINS)
    half = TsallisEntropy(0.5)
    same_traces(TsallisINF(3), FTRLBandit(3, half, learning_rate=lambda t: 2 / math.sqrt(t)), COINS)
    rate = math.sqrt(4 * math.log(300) / 300)
    same_traces(LogBarrierFTRL(3), FTRLBandit(3, LogBarrier(), learning_rate=rate), COINS)
    rate = math.sqrt(8 * math.log(3) / 300)
    same_traces(Hedge(3), FTRLExperts(3, NegativeEntropy(), learning_rate=rate), COINS)


def test_hedge_is_multiplicative_mirror_descent() -> None:
    losses = np.random.default_rng(4).random((500, 3, 5))
    eta = 0.3
    learner = Hedge(5, learning_rate=eta)
    learner.reset(3, 500, np.random.default_rng(0))
    p = np.full((3, 5), 0.2)
    entropy = NegativeEntropy()
    for row in losses:
        mixture = learner.act()
        np.testing.assert_allclose(mixture, p, rtol=1e-10)  # the product of 500 rounded factors
        learner.update(FullFeedback(row))
        # argmin ⟨η ℓ, q⟩ + KL(q, p) = ∇ψ*(∇ψ(p) − η ℓ)
        mirror = entropy.maximizer(entropy.gradient(p) - eta * row)
        p = p * np.exp(-eta * row)
        p /= p.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(mirror, p, rtol=1e-12)


def test_ftrl_and_mirror_descent_differ_for_a_varying_rate() -> None:
    losses = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    learner = FTRLExperts(2, TsallisEntropy(0.5), learning_rate=lambda t: 2 / math.sqrt(t))
    learner.reset(1, 3, np.random.default_rng(0))
    potential, p = TsallisEntropy(0.5), np.array([[0.5, 0.5]])
    for t, row in enumerate(losses, start=1):
        mixture = learner.act()
        learner.update(FullFeedback(row[None]))
        p_next = potential.maximizer(potential.gradient(p) - 2 / math.sqrt(t) * row)
        p, previous = p_next, p
    assert np.abs(mixture - previous).max() > 0.01


# bounds: their value


def guarantee_after(learner: Any, environment: Any, horizon: int) -> Any:
    learner.reset(1, horizon, np.random.default_rng(0))
    return learner.guarantee(environment)


HORIZON, N_ARMS = 10**5, 10
TEN = BernoulliBandit([0.5] + [0.6] * 9)
TABLE = AdversarialBandit(np.random.default_rng(5).random((100, 10)))


def test_tuned_bounds_have_the_values_of_the_literature() -> None:
    t, k, log_k = HORIZON, N_ARMS, math.log(N_ARMS)
    expected = {
        Hedge(k): math.sqrt(t * log_k / 2),
        Exp3(k): math.sqrt(2 * t * k * log_k),  # 2146
        TsallisINF(k): 4 * math.sqrt(k * t) + 1,  # 4001
        LogBarrierFTRL(k): math.sqrt(2 * (k - 1) * t * math.log(t)) + 1,
        UCB1(k): 9 * 8 * math.log(t) / 0.1 + (1 + math.pi**2 / 3) * 0.9,
    }
    for learner, value in expected.items():
        guarantee = guarantee_after(learner, TEN, t)
        assert guarantee.kind == "expected"
        np.testing.assert_allclose(guarantee.bound(t), value, rtol=1e-12)
    bayes = guarantee_after(ThompsonSampling(k), BayesianBernoulliBandit(k), t)
    np.testing.assert_allclose(bayes.bound(t), math.sqrt(k * t * log_k / 2), rtol=1e-12)
    assert bayes.kind == "expected"


def test_bounds_for_other_rates_and_rounds_are_their_formulas() -> None:
    eta, t, k = 0.07, 321, 10
    log_k = math.log(k)
    expected = {
        Hedge: log_k / eta + eta * t / 8,
        Exp3: log_k / eta + eta * k * t / 2,
        # ψ(e_a) − min ψ = 4 √K − 4 and Σ_a √p_a <= √K
        TsallisINF: (4 * math.sqrt(k) - 4) / eta + eta / 2 * math.sqrt(k) * t,
        LogBarrierFTRL: (k - 1) * math.log(t) / eta + eta * t / 2 + 1,
    }
    for make, value in expected.items():
        guarantee = guarantee_after(make(k, learning_rate=eta), TABLE, 1000)
        np.testing.assert_allclose(guarantee.bound(t), value, rtol=1e-12)


@pytest.mark.parametrize("delta", [0.5, 0.05, 1e-4])
def test_bound_of_exp3_ix_is_neus_and_two_azuma_terms(delta: float) -> None:
    eta, t, k = 0.03, 700, 6
    # half of δ for Neu's theorem, whose proof splits it again in two, half for Azuma-Hoeffding
    neu = 2 * math.log(k) / eta + eta * k * t + (1 / eta + 1) * math.log(2 / (delta / 2))
    for environment, width in (
        (AdversarialBandit(np.zeros((9, 6))), 1),  # ⟨p, ℓ⟩ − ℓ_A lies in an interval of length 1
        (AdaptiveBandit(6, punish_favourite), 1),
        (BernoulliBandit([0.5] * 6), 2),  # ⟨p, μ⟩ − ℓ_A + ℓ_a − μ_a in one of length 2
    ):
        azuma = width * math.sqrt(t * math.log(1 / (delta / 2)) / 2)
        learner = Exp3IX(6, learning_rate=eta, confidence=1 - delta)
        guarantee = guarantee_after(learner, environment, 1000)
        np.testing.assert_allclose(guarantee.bound(t), neu + azuma, rtol=1e-9)
        assert guarantee.kind == "high-probability"
        assert guarantee.confidence == 1 - delta
    t = 1000
    learner = Exp3IX(6, confidence=1 - delta)
    tuned = guarantee_after(learner, AdversarialBandit(np.zeros((9, 6))), t).bound(t)
    published = 2 * math.sqrt(2 * k * t * math.log(k)) + (
        math.sqrt(2 * k * t / math.log(k)) + 1
    ) * math.log(2 / (delta / 2))
    assert tuned <= published + math.sqrt(t * math.log(2 / delta) / 2) * (1 + 1e-12)


def test_bound_of_exp3p_is_that_of_theorem_3_2_and_implies_theorem_3_3() -> None:
    t, k, delta = 10**5, 10, 0.05
    guarantee = guarantee_after(Exp3P(k, confidence=1 - delta), TABLE, t)
    log_ratio, log_k = math.log(k / (delta / 2)), math.log(k)
    eta, gamma = 0.95 * math.sqrt(log_k / (k * t)), 1.05 * math.sqrt(k * log_k / t)
    beta = math.sqrt(log_ratio / (k * t))
    for rounds in (t // 10, t):
        by_hand = (beta * k + gamma + (1 + beta) * eta * k) * rounds
        by_hand += log_ratio / beta + log_k / eta + math.sqrt(rounds * math.log(2 / delta) / 2)
        np.testing.assert_allclose(guarantee.bound(rounds), min(by_hand, rounds))
    azuma = math.sqrt(t * math.log(2 / delta) / 2)
    assert guarantee.bound(t) <= 5.15 * math.sqrt(k * t * log_ratio) + azuma
    assert guarantee.bound(7) == 7
    # too short for γ <= ½: trivial
    assert guarantee_after(Exp3P(k), TABLE, 50).bound(50) == 50


def test_barrier_of_the_comparator_exceeds_the_least_by_at_most_k_minus_1_log_t() -> None:
    # the derived step of the log-barrier's bound: u = (1 − 1/t) e_a + uniform/t
    psi = LogBarrier()
    for k in (2, 3, 10, 100):
        for t in (1, 2, 10, 10**6):
            u = np.full(k, 1 / (k * t))
            u[0] += 1 - 1 / t
            excess = psi.value(u) - psi.value(np.full(k, 1 / k))
            np.testing.assert_allclose(
                excess, (k - 1) * math.log(t) - math.log(k - (k - 1) / t), rtol=1e-10, atol=1e-9
            )
            assert excess <= (k - 1) * math.log(t) + 1e-9


@pytest.mark.parametrize(
    ("potential", "stability"),
    [
        (NegativeEntropy(), lambda p, loss: loss**2 / 2 / p),  # (η/2) p ℓ̂²
        (TsallisEntropy(0.5), lambda p, loss: loss**2 / 2 / np.sqrt(p)),  # (η/2) p^{3/2} ℓ̂²
        (LogBarrier(), lambda p, loss: loss**2 / 2),
    ],
    ids=["entropy", "Tsallis", "log-barrier"],
)
def test_stability_of_a_round_is_at_most_its_term_in_the_bound(
    potential: Any, stability: Any
) -> None:
    # ⟨p, ℓ̂⟩ + [ψ*(−η(L + ℓ̂)) − ψ*(−η L)]/η <= η × term, for every arm, rate and ℓ̂ = ℓ e_a/p_a
    rng = np.random.default_rng(6)
    for _ in range(300):
        k = int(rng.integers(2, 8))
        past, eta, loss = 10 * rng.random(k), 10 ** rng.uniform(-2, 1), rng.random()
        p = potential.maximizer(-eta * past)
        arm = int(rng.integers(k))
        estimate = np.zeros(k)
        estimate[arm] = loss / p[arm]
        change = potential.conjugate(-eta * (past + estimate)) - potential.conjugate(-eta * past)
        size = 1 + abs(potential.conjugate(-eta * past)) + eta * estimate[arm]
        assert loss + change / eta <= eta * stability(p[arm], loss) + 1e-12 * size / eta


def test_stability_of_tsallis_inf_without_the_best_arm_is_at_most_its_term() -> None:
    # E over arms of ⟨p, ℓ̂⟩ + [ψ*(−η(L + ℓ̂)) − ψ*(−η L)]/η <= (η/2)(1 + η) Σ_{a ≠ *} (√p + p)
    rng, potential = np.random.default_rng(41), TsallisEntropy(0.5)
    closest = 0.0
    for _ in range(400):
        k = int(rng.integers(2, 6))
        past, eta = 10 ** rng.uniform(-1, 3) * rng.random(k), 10 ** rng.uniform(-2, 0)
        losses = rng.choice([0.0, 1.0, rng.random()], size=k)
        p = potential.maximizer(-eta * past)
        stability = 0.0
        for arm in range(k):
            estimate = np.zeros(k)
            estimate[arm] = losses[arm] / p[arm]
            change = potential.conjugate(-eta * (past + estimate)) - potential.conjugate(
                -eta * past
            )
            stability += p[arm] * (losses[arm] + change / eta)
        others = np.delete(p, int(rng.integers(k)))  # any arm may be the best
        term = eta / 2 * (1 + eta) * (np.sqrt(others) + others).sum()
        assert stability <= term + 1e-9 / eta
        closest = max(closest, stability / term)
    assert closest > 0.3


def test_bound_of_tsallis_inf_with_gaps_is_its_sum_and_logarithmic() -> None:
    game = BernoulliBandit([0.2, 0.7, 0.45])
    guarantee = guarantee_after(TsallisINF(3), game, 1000)
    grid = np.linspace(0, 1, 20001)
    for t in (300, 5000):
        sums = []
        for factor in np.geomspace(0.25, 4.0, 7):
            total = 0.0
            for s in range(1, t + 1):
                b = (1 + 2 / math.sqrt(s)) / math.sqrt(s) if s > 3 else 0.0
                c = 2 / (math.sqrt(s) + math.sqrt(s - 1))
                total += (1 + factor) * (s <= 3)
                if s % 10 and s > 50:  # the terms change little: every tenth, ten times
                    continue
                right = b * (np.sqrt(grid) + grid) + c * (np.sqrt(grid) - grid / 2)
                for gap in (0.5, 0.25):
                    term = ((1 + factor) * right - factor * gap * grid).max()
                    total += term * (10 if s > 50 else 1)
            sums.append(total)
        expected = min(*sums, 4 * math.sqrt(3 * t) + 1)
        np.testing.assert_allclose(guarantee.bound(t), expected, rtol=0.03)
    assert expected < 3 * math.sqrt(3 * t)  # that with gaps, at last
    growth = (guarantee.bound(10**6) - guarantee.bound(10**5)) / math.log(10)
    np.testing.assert_allclose(growth, 4 / 0.5 + 4 / 0.25, rtol=0.05)
    # where no gap is known, that of the adversary
    assert guarantee_after(TsallisINF(5), TABLE, 99).bound(99) == 4 * math.sqrt(5 * 99) + 1


def test_bounds_are_claimed_only_where_they_are_proven() -> None:
    adaptive = AdaptiveBandit(10, punish_favourite)
    for make in (Exp3, TsallisINF, LogBarrierFTRL, UCB1, ThompsonSampling):
        assert guarantee_after(make(10), adaptive, 100) is None
    constrained = StochasticallyConstrainedAdversary(10, gap=0.1)
    for environment in (TABLE, constrained, BayesianBernoulliBandit(10)):
        assert guarantee_after(UCB1(10), environment, 100) is None
    for environment in (TABLE, constrained, TEN):
        assert guarantee_after(ThompsonSampling(10), environment, 100) is None
    for environment, kind in ((TABLE, "pathwise"), (adaptive, "pathwise"), (TEN, "expected")):
        assert guarantee_after(Hedge(10), environment, 100).kind == kind


# bounds: that they hold

ROUNDS = 1500


def table_of(rule: Callable[[int], list[float]]) -> AdversarialBandit:
    return AdversarialBandit([rule(t) for t in range(ROUNDS)])


def switch(t: int) -> list[float]:
    """Arm 1 is the best, then arm 0."""
    return [0.5, 0.2, 0.6] if t < ROUNDS // 2 else [0.0, 1.0, 0.9]


GAMES: dict[str, Callable[[], Any]] = {
    "Bernoulli, small gaps": lambda: BernoulliBandit([0.5, 0.55, 0.6]),
    "Bernoulli, large gaps": lambda: BernoulliBandit([0.1, 0.9, 0.5]),
    "Bernoulli, one good arm of twenty": lambda: BernoulliBandit([0.3] + [0.6] * 19),
    "constrained adversary": lambda: StochasticallyConstrainedAdversary(4, gap=0.2),
    "Bayesian": lambda: BayesianBernoulliBandit(5),
    "drifting": lambda: NonstationaryBandit(drifting(4, period=400)),
    "corrupted": lambda: CorruptedBandit([0.2, 0.5, 0.4], budget=60),
    "one switch, and followed": lambda: AdversarialBandit(
        [switch(t) for t in range(ROUNDS)], n_switches=1
    ),
    "switch": lambda: table_of(switch),
    "alternating": lambda: table_of(lambda t: [t % 2, 1 - t % 2]),
    "uniform losses": lambda: AdversarialBandit(np.random.default_rng(7).random((ROUNDS, 5))),
    "coins": lambda: AdversarialBandit(np.random.default_rng(8).integers(0, 2, (ROUNDS, 2))),
    "one perfect arm": lambda: table_of(lambda t: [1.0, 1.0, 0.0, 1.0]),
    "all ones": lambda: table_of(lambda t: [1.0, 1.0, 1.0]),
}
LEARNERS: dict[str, Any] = {
    "Hedge": Hedge,
    "Exp3": Exp3,
    "Exp3-IX": Exp3IX,
    "Tsallis-INF": TsallisINF,
    "log-barrier": LogBarrierFTRL,
    "UCB1": UCB1,
    "Thompson": ThompsonSampling,
    "Exp3.P": Exp3P,
    "Exp3.P, 0.5": lambda k: Exp3P(k, confidence=0.5),
    "Tsallis-INF, RV": lambda k: TsallisINF(k, estimator="RV"),
    "KL-UCB": KLUCB,
    "KL-UCB, theory": lambda k: KLUCB(k, c=3.0),
    "MOSS": MOSS,
    "ε-greedy": lambda k: EpsilonGreedy(k, gap=0.5),
    "ε-greedy, constant": lambda k: EpsilonGreedy(k, epsilon=0.1),
    "explore then commit": ExploreThenCommit,
    "explore then commit, 5": lambda k: ExploreThenCommit(k, n_explorations=5),
    "AdaHedge": AdaHedge,
    "Squint": Squint,
    "FTPL": FTPL,
    "fixed share": lambda k: FixedShare(k, n_switches=2),
    "Hedge, anytime": lambda k: Hedge(k, tuning="anytime"),
    "Hedge, doubling": lambda k: Hedge(k, tuning="doubling"),
    "Hedge, fast": lambda k: Hedge(k, learning_rate=1.0),
    "Exp3, slow": lambda k: Exp3(k, learning_rate=0.005),
    "Exp3-IX, fast": lambda k: Exp3IX(k, learning_rate=0.2, confidence=0.5),
    "Tsallis-INF, constant": lambda k: TsallisINF(k, learning_rate=0.05),
    "log-barrier, fast": lambda k: LogBarrierFTRL(k, learning_rate=1.0),
}


def assert_bound_holds(trace: Trace) -> None:
    """At all checkpoints: for the mean + 3 s.e., each run, or a share `confidence` of the runs."""
    guarantee = trace.guarantee
    assert guarantee is not None
    bound = guarantee.bound(trace.rounds)
    if guarantee.kind == "pathwise":
        assert (trace.regret <= bound + 1e-12 * trace.rounds).all()  # a sum's rounding
    elif guarantee.kind == "expected":
        error = trace.regret.std(axis=0, ddof=1) / math.sqrt(len(trace.regret))
        assert (trace.mean() + 3 * error <= bound + 1e-12 * trace.rounds).all()
    else:
        assert guarantee.confidence is not None
        assert ((trace.regret > bound).mean(axis=0) <= 1 - guarantee.confidence).all()


@pytest.mark.parametrize("game", GAMES)
def test_bounds_hold_at_all_checkpoints(game: str) -> None:
    environment = GAMES[game]()
    claimed = 0
    for make in LEARNERS.values():
        learner = make(environment.n_arms)
        if guarantee_after(learner, environment, ROUNDS) is None:
            continue
        trace = run(learner, environment, ROUNDS, n_replications=256, seed=9)
        assert_bound_holds(trace)
        if trace.pathwise is not None:
            assert (trace.pathwise.slack >= -1e-9 * trace.rounds).all()
        claimed += 1
    assert claimed == 1 if environment.n_switches else claimed >= 10


def follow_the_crowd(history: History) -> FloatArray:
    """Random losses, with the worst for what was played last."""
    losses = np.random.default_rng(history.t).random(history.counts.shape)
    if history.last is not None:
        if history.last.ndim == 1:
            losses[np.arange(len(losses)), history.last] = 1.0
        else:
            losses = np.maximum(losses, history.last)
    return losses


@pytest.mark.parametrize("rule", [punish_favourite, follow_the_crowd])
@pytest.mark.parametrize("make", [Hedge, Exp3IX, AdaHedge, Squint])
def test_bounds_against_adaptive_adversaries_hold(make: Any, rule: Any) -> None:
    environment = AdaptiveBandit(3, rule)
    assert_bound_holds(run(make(3), environment, ROUNDS, n_replications=128, seed=10))


class AgainstUCB1:
    """Plays UCB1 on the past that it caused and charges 1 for the arm that comes next."""

    def __call__(self, history: History) -> FloatArray:
        n, n_arms = history.counts.shape
        if history.last is None:
            self.model = UCB1(n_arms)
            self.model.reset(n, 1, np.random.default_rng(0))
        else:
            incurred = self.losses[np.arange(n), history.last]
            self.model.update(BanditFeedback(history.last, incurred))
        self.losses = np.zeros((n, n_arms))
        self.losses[np.arange(n), self.model.act()] = 1.0
        return self.losses.copy()


def test_an_adaptive_adversary_ruins_ucb1_and_not_exp3_ix() -> None:
    rounds = [500, 1000, 2000, 4000]
    environment = AdaptiveBandit(2, AgainstUCB1())
    ucb1 = run(UCB1(2), environment, 4000, n_replications=2, seed=0, checkpoints=rounds)
    # it pays 1 a round, and the best of two arms at most every other
    assert (ucb1.regret >= ucb1.rounds / 2).all()
    exp3 = run(Exp3IX(2), environment, 4000, n_replications=64, seed=0, checkpoints=rounds)
    assert_bound_holds(exp3)
    assert exp3.regret[:, -1].max() < 0.2 * ucb1.regret[:, -1].min()


def test_punishing_the_favourite_costs_a_stubborn_learner_every_round() -> None:
    class Stubborn(UCB1):
        def act(self) -> Any:
            return np.ones(len(self.counts), dtype=np.int64)

    trace = run(Stubborn(2), AdaptiveBandit(2, punish_favourite), 100, checkpoints=[100])
    assert trace.regret[0, 0] == 98  # arm 0 is the first of equals in round 1 alone: 99 − 1


def test_hedges_bound_is_tight_to_a_factor_of_two_on_fair_coins() -> None:
    # K = 2, losses (x, 1 − x): E regret = E |S_T|/2 ≈ √(T/(2π)), the bound √(T ln 2/2): ratio 0.678
    horizon, n = 1000, 256
    coins = np.random.default_rng(11).integers(0, 2, size=(horizon, n)).astype(float)
    environment = AdaptiveBandit(2, lambda h: np.stack([coins[h.t], 1 - coins[h.t]], axis=1))
    trace = run(Hedge(2), environment, horizon, n_replications=n, seed=0)
    assert_bound_holds(trace)
    ratios = trace.regret[:, -1] / math.sqrt(horizon * math.log(2) / 2)
    assert 0.5 < ratios.mean() < 1
    error = ratios.std(ddof=1) / math.sqrt(n)
    assert abs(ratios.mean() - 1 / math.sqrt(math.pi * math.log(2))) < 4 * error


# numbers of other implementations


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "reference", "error"),
    [
        (UCB1, 1509, 8),
        (KLUCB, 433, 4.5),
        (MOSS, 313, 3.4),
        (ThompsonSampling, 252, 3.5),
        (Exp3, 1425, 10),
        (Exp3IX, 1907, 11),
        (TsallisINF, 764, 19),
    ],
)
def test_regret_agrees_with_an_independent_implementation(
    make: Any, reference: float, error: float
) -> None:
    # K = 10, T = 1e5, mean rewards (0.5, 0.4, ...): losses 1 − reward; 200 runs of another program
    trace = run(make(10), TEN, HORIZON, n_replications=64, seed=12, checkpoints=[HORIZON])
    own_error = trace.regret.std(ddof=1) / math.sqrt(64)
    assert abs(trace.mean()[0] - reference) < 4 * math.hypot(error, own_error)


# extremes

BANDITS: dict[str, Any] = {name: LEARNERS[name] for name in list(LEARNERS)[:7]}
TUNABLE = [Hedge, Exp3, Exp3IX, TsallisINF, LogBarrierFTRL]


@pytest.mark.parametrize("name", BANDITS)
def test_one_round_one_run_two_arms(name: str) -> None:
    for losses in ([0.0, 0.0], [1.0, 1.0], [0.0, 1.0]):
        trace = run(BANDITS[name](2), AdversarialBandit([losses]), 1, seed=0)
        assert trace.regret.shape == (1, 1)
        assert 0 <= trace.regret[0, 0] <= 1
        if trace.guarantee is not None:
            assert np.isfinite(trace.guarantee.bound(1))
            assert trace.regret[0, 0] <= trace.guarantee.bound(1)


@pytest.mark.parametrize("name", BANDITS)
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_equal_losses_cause_no_regret(name: str, level: float) -> None:
    environment = AdversarialBandit(lambda t: np.full(3, level))
    trace = run(BANDITS[name](3), environment, 2000, n_replications=4, seed=0)
    np.testing.assert_allclose(trace.regret, 0, atol=1e-10)  # a mixture sums to one within rounding


@pytest.mark.parametrize("make", TUNABLE)
@pytest.mark.parametrize("rate", [1e-12, 1e6, 1e12])
def test_extreme_learning_rates_stay_finite(make: Any, rate: float) -> None:
    for environment in (COINS, table_of(switch), AdversarialBandit(lambda t: [0.0, 1.0, 1.0])):
        learner = make(3, learning_rate=rate)
        trace = run(learner, environment, 1000, n_replications=8, seed=0)
        assert np.isfinite(trace.regret).all()
        assert (trace.regret <= trace.rounds).all()
        assert np.isfinite(learner.cumulative_losses).all()
        assert_bound_holds(trace)


def test_a_vanishing_rate_is_uniform_play() -> None:
    means = np.array([0.2, 0.5, 0.8])
    for make in TUNABLE:
        trace = run(make(3, learning_rate=1e-12), BernoulliBandit(means), 100, seed=0)
        np.testing.assert_allclose(trace.regret[0], 0.3 * trace.rounds, rtol=1e-6)


@pytest.mark.parametrize("name", BANDITS)
@pytest.mark.parametrize("rounds", [5000, pytest.param(10**5, marks=pytest.mark.slow)])
def test_a_bad_arm_is_left_for_good_without_loss_of_accuracy(name: str, rounds: int) -> None:
    environment = AdversarialBandit(lambda t: [0.0, 1.0])
    learner = BANDITS[name](2)
    trace = run(learner, environment, rounds, n_replications=256, seed=1)
    assert np.isfinite(trace.regret).all()
    if trace.guarantee is not None:
        assert_bound_holds(trace)
    if learner.probabilities is not None:
        p = learner.probabilities
        assert (p[:, 1] < 0.05).all()
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)


def test_numbers_that_are_not_finite_are_never_played() -> None:
    class Broken(FTRLBandit):
        def act(self) -> Any:
            arms = super().act()
            self.exploration = -self.probabilities[1, arms[1]] if self.infinite else math.nan
            return arms

    for infinite in (False, True):  # estimates ℓ/nan, and ℓ/0
        learner = Broken(2, NegativeEntropy(), learning_rate=0.1)
        learner.infinite = infinite  # type: ignore[attr-defined]
        with pytest.raises((FloatingPointError, ZeroDivisionError)):
            run(learner, AdversarialBandit(lambda t: [1.0, 1.0]), 50, n_replications=2, seed=0)


def test_long_runs_keep_the_estimates_where_the_distribution_was() -> None:
    # after L̂ has grown to 1e9, adding the same to all arms changes nothing beyond the rounding of L̂
    for make in (Exp3, TsallisINF, LogBarrierFTRL):
        learner = make(3, learning_rate=0.1)
        learner.reset(1, 10, np.random.default_rng(0))
        learner.cumulative_losses[:] = [[0.0, 2.0, 5.0]]
        learner.act()
        before = learner.probabilities.copy()
        learner.cumulative_losses += 2.0**30
        learner.act()
        np.testing.assert_allclose(learner.probabilities, before, rtol=1e-12)
