"""Mirror descent with the log-barrier, Broad-OMD and Corral."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenchel.bandits import (
    AdaptiveBandit,
    AdversarialBandit,
    BernoulliBandit,
    BroadOMD,
    Corral,
    Exp3,
    StochasticallyConstrainedAdversary,
    TsallisINF,
    punish_favourite,
)
from fenchel.bandits.log_barrier_omd import increase, increase_factor, step
from fenchel.core import BanditFeedback, run
from fenchel.core.checks import FloatArray

T, R, K = 400, 3, 4
LOSSES = np.random.default_rng(0).random((T, R, K)) * np.array([0.9, 1.0, 0.8, 1.0])


def distributions(rng: np.random.Generator, *shape: int) -> FloatArray:
    p: FloatArray = rng.exponential(size=shape) ** 2 + 1e-6
    return p / p.sum(axis=-1, keepdims=True)


# the step


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30), st.floats(-3.0, 3.0), st.floats(-3.0, 1.0))
def test_a_step_meets_its_optimality_conditions(
    seed: int, n_arms: int, size: float, rate: float
) -> None:
    rng = np.random.default_rng(seed)
    p = distributions(rng, 5, n_arms)
    g = 10**size * rng.normal(size=(5, n_arms))
    eta = 10**rate * rng.uniform(0.5, 2.0, size=(5, n_arms))
    q = step(p, g, eta)
    assert (q > 0).all()
    np.testing.assert_allclose(q.sum(axis=1), 1.0, rtol=1e-12)
    # g + (1/p − 1/q)/η is one number λ in each row, between the least and the greatest g
    lam = g + (1 / p - 1 / q) / eta
    scale = 1e-7 * (np.abs(g).max(axis=1) + (1 / q / eta).max(axis=1))
    assert (np.ptp(lam, axis=1) <= scale).all()
    middle = np.median(lam, axis=1)
    assert (middle <= g.max(axis=1) + scale).all()
    assert (middle >= g.min(axis=1) - scale).all()


def test_a_step_is_the_minimiser_that_cvxpy_finds() -> None:
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(1)
    p, g, eta = distributions(rng, 8, 5), rng.normal(size=(8, 5)), rng.uniform(0.1, 2, (8, 5))
    q = step(p, g, eta)
    for r in range(8):
        x = cp.Variable(5)
        barrier = cp.sum(cp.multiply(1 / eta[r], x / p[r] - cp.log(x)))
        problem = cp.Problem(cp.Minimize(g[r] @ x + barrier), [cp.sum(x) == 1])
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
        np.testing.assert_allclose(q[r], x.value, atol=1e-6)


def test_a_step_along_nothing_or_a_constant_stays() -> None:
    p = distributions(np.random.default_rng(2), 3, 4)
    eta = np.full((3, 4), 0.3)
    np.testing.assert_allclose(step(p, np.zeros((3, 4)), eta), p, rtol=1e-12)
    np.testing.assert_allclose(step(p, np.full((3, 4), 7.0), eta), p, rtol=1e-10)


def test_steps_with_one_rate_are_ftrl_with_the_log_barrier() -> None:
    from fenchel.core.potentials import LogBarrier

    rng = np.random.default_rng(3)
    p, total, eta = np.full((2, 5), 0.2), np.zeros((2, 5)), 0.4
    for _ in range(50):
        g = rng.random((2, 5))
        p, total = step(p, g, np.full((2, 5), eta)), total + g
        np.testing.assert_allclose(p, LogBarrier().maximizer(-eta * total), rtol=1e-9)


def test_losses_that_are_not_finite_are_refused() -> None:
    p = np.full((2, 3), 1 / 3)
    g = np.array([[0.0, 1.0, 2.0], [0.0, np.nan, 1.0]])
    with pytest.raises(FloatingPointError, match="replication 1"):
        step(p, g, np.ones((2, 3)))


def test_rates_increase_when_a_probability_passes_its_threshold() -> None:
    rates, thresholds = np.ones((1, 3)), np.full((1, 3), 6.0)
    increase(rates, thresholds, np.array([[0.1, 0.2, 0.7]]), 1.5)
    np.testing.assert_array_equal(rates, [[1.5, 1.0, 1.0]])
    np.testing.assert_array_equal(thresholds, [[20.0, 6.0, 6.0]])
    np.testing.assert_allclose(increase_factor(1000) ** math.log(1000), math.e)


# Broad-OMD


def broad_by_hand(
    losses: FloatArray, uniforms: FloatArray, eta: float, c: float, last: bool, increasing: bool
) -> FloatArray:
    """Probabilities (T, K) for losses (T, K); each step by bisection."""
    rounds, n_arms = losses.shape

    def solved(p: FloatArray, g: FloatArray, rates: FloatArray) -> FloatArray:
        low, high = g.min(), g.max()
        for _ in range(200):
            lam = (low + high) / 2
            inverse = 1 / p + rates * (g - lam)
            total = np.inf if inverse.min() <= 0 else (1 / inverse).sum()
            low, high = (low, lam) if total > 1 else (lam, high)
        return 1 / (1 / p + rates * (g - low))

    rates, rho = np.full(n_arms, eta), np.full(n_arms, 2.0 * n_arms)
    center, m, played = np.full(n_arms, 1 / n_arms), np.zeros(n_arms), []
    for row, u in zip(losses, uniforms, strict=True):
        p = solved(center, m, rates)
        played.append(p)
        arm = int((np.cumsum(p) <= u).sum())
        error = np.zeros(n_arms)
        error[arm] = (row[arm] - m[arm]) / p[arm]
        center = solved(center, m + error + c * rates * p * error**2, rates)
        if increasing:
            grown = 1 / p > rho
            rho[grown] = 2 / p[grown]
            rates[grown] *= math.exp(1 / math.log(rounds))
        if last:
            m[arm] = row[arm]
    return np.array(played)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("increasing", [False, True])
def test_broad_omd_is_its_formula(last: bool, increasing: bool) -> None:
    eta, c = 0.15, 2.0
    learner = BroadOMD(
        K, learning_rate=eta, prediction="last" if last else "none", increasing=increasing
    )
    learner.reset(R, T, np.random.default_rng(1))
    uniforms = np.random.default_rng(1).random((T, R))
    played = np.empty((T, R, K))
    for t in range(T):
        arms = learner.act()
        played[t] = learner.probabilities
        learner.update(BanditFeedback(arms, LOSSES[t, np.arange(R), arms]))
    for r in range(R):
        by_hand = broad_by_hand(LOSSES[:, r], uniforms[:, r], eta, c, last, increasing)
        np.testing.assert_allclose(played[:, r], by_hand, rtol=1e-5)
    if increasing:
        assert learner.rates.max() > eta


@pytest.mark.parametrize("correction", [1.5, 2.0, 6.0])
def test_the_correction_covers_the_stability_of_each_round(correction: float) -> None:
    # ⟨p − p', ℓ̂ − m + a⟩ <= ⟨p, a⟩ up to η = (√c − 1)/c, for every arm, loss and prediction
    rng = np.random.default_rng(4)
    n, c = 2000, correction
    eta = (math.sqrt(c) - 1) / c * rng.uniform(0.01, 1.0, size=n)[:, None] * np.ones((n, 5))
    center = distributions(rng, n, 5)
    m = rng.random((n, 5))
    p = step(center, m, eta)
    error = np.zeros((n, 5))
    arms = rng.integers(0, 5, n)
    x = rng.choice([-1.0, 1.0, 0.3, -0.4], size=n)
    error[np.arange(n), arms] = x / p[np.arange(n), arms]
    a = c * eta * p * error**2
    after = step(center, m + error + a, eta)
    left, right = ((p - after) * (error + a)).sum(axis=1), (p * a).sum(axis=1)
    assert (left <= right * (1 + 1e-7) + 1e-10).all()
    assert (left / right).max() > 0.2


GAMES: dict[str, Any] = {
    "stochastic": BernoulliBandit([0.1, 0.3, 0.5, 0.9]),
    "constrained": StochasticallyConstrainedAdversary(4, gap=0.2),
    "switch": AdversarialBandit(
        [[0.5, 0.2, 0.6] if t < 700 else [0.0, 1.0, 0.9] for t in range(1500)]
    ),
    "alternating": AdversarialBandit([[t % 2, 1 - t % 2] for t in range(1500)]),
    "one good arm": AdversarialBandit([[1.0, 1.0, 0.01] for _ in range(1500)]),
}
KINDS: dict[str, dict[str, Any]] = {
    "small loss": {},
    "small loss, known": {"loss_bound": 50.0},
    "last": {"prediction": "last"},
    "paper": {"learning_rate": 1 / 162, "correction": 6.0},
    "increasing": {"learning_rate": 0.05, "increasing": True},
    "increasing, last": {"learning_rate": 0.05, "increasing": True, "prediction": "last"},
}


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_of_broad_omd_hold(game: str, kind: str) -> None:
    environment = GAMES[game]
    learner = BroadOMD(environment.n_arms, **KINDS[kind])
    trace = run(learner, environment, 1500, n_replications=128, seed=5)
    assert trace.pathwise is not None
    assert (trace.pathwise.slack >= -1e-9 * (1 + np.abs(trace.pathwise.right))).all()
    assert (trace.guarantee is None) == ("increasing" in kind)
    if trace.guarantee is not None:
        error = trace.regret.std(axis=0, ddof=1) / math.sqrt(128)
        assert (trace.mean() + 3 * error <= trace.guarantee.bound(trace.rounds)).all()


def test_the_inequality_of_broad_omd_is_nearly_an_equality_somewhere() -> None:
    learner = BroadOMD(3, prediction="last")
    trace = run(learner, GAMES["switch"], 1500, n_replications=64, seed=6)
    assert trace.pathwise is not None
    assert trace.pathwise.tightest() > 0.9


def test_small_losses_make_a_small_bound_and_regret() -> None:
    rounds = 4000
    traces = {}
    for level in (1.0, 0.01):
        game = AdversarialBandit([[0.5 * level, level] for _ in range(rounds)])
        learner = BroadOMD(2, loss_bound=0.5 * level * rounds)
        traces[level] = run(learner, game, rounds, n_replications=64, seed=7, checkpoints=[rounds])
        guarantee = traces[level].guarantee
        assert guarantee is not None
        best = 0.5 * level * rounds
        eta = min(math.sqrt(math.log(rounds) / (2 * best)), (math.sqrt(2) - 1) / 2)
        by_hand = math.log(rounds) / eta + 2 * eta * (1 + best) + 1
        np.testing.assert_allclose(guarantee.bound(rounds), by_hand)
    assert traces[0.01].mean()[0] < traces[1.0].mean()[0] / 4


def test_predictions_by_the_last_loss_end_the_corrections_where_losses_never_change() -> None:
    # after its first play m is exact for an arm: one correction an arm, and full information
    learner = BroadOMD(3, prediction="last", learning_rate=0.2)
    learner.reset(16, 1000, np.random.default_rng(0))
    losses, seen = np.array([0.6, 0.8, 0.7]), np.zeros((16, 3), dtype=bool)
    for _ in range(1000):
        before = learner.corrections.copy()
        arms = learner.act()
        learner.update(BanditFeedback(arms, losses[arms]))
        first = np.zeros_like(seen)
        first[np.arange(16), arms] = True
        np.testing.assert_array_equal(learner.corrections > before, first & ~seen)
        seen |= first
    assert seen.all()


def test_bounds_of_broad_omd_are_claimed_only_where_they_are_proven() -> None:
    game = BernoulliBandit([0.2, 0.5])
    assert BroadOMD(2, learning_rate=0.21).guarantee(game) is None  # above (√2 − 1)/2 = 0.207
    assert BroadOMD(2, learning_rate=0.2).guarantee(game) is not None
    assert BroadOMD(2).guarantee(AdaptiveBandit(2, punish_favourite)) is None
    fast = BroadOMD(2, learning_rate=0.3)
    assert run(fast, game, 10, seed=0).pathwise is None


# Corral


class Fixed(Exp3):
    """A base that always plays one arm."""

    def __init__(self, n_arms: int, arm: int) -> None:
        super().__init__(n_arms, learning_rate=1.0)
        self.arm = arm

    def act(self) -> Any:
        self.probabilities = np.zeros_like(self.cumulative_losses)
        self.probabilities[:, self.arm] = 1.0
        return np.full(len(self.probabilities), self.arm)

    def update(self, feedback: Any) -> None:
        pass


def test_corral_over_fixed_arms_without_its_devices_is_mirror_descent_on_arms() -> None:
    eta = 0.1
    corral = Corral(
        [Fixed(3, 0), Fixed(3, 1), Fixed(3, 2)], learning_rate=eta, increasing=False, mixing=0.0
    )
    corral.reset(2, 300, np.random.default_rng(0))
    rng = np.random.default_rng(9)
    p = np.full((2, 3), 1 / 3)
    for _ in range(300):
        arms = corral.act()
        np.testing.assert_allclose(corral.probabilities, p, rtol=1e-9)
        losses = rng.random(2)
        corral.update(BanditFeedback(arms, losses))
        g = np.zeros((2, 3))
        g[[0, 1], arms] = losses / p[[0, 1], arms]
        p = step(p, g, np.full((2, 3), eta))


def test_estimates_told_to_the_bases_are_unbiased() -> None:
    heard = []

    class Listener(Fixed):
        def update(self, feedback: Any) -> None:
            heard.append(feedback.losses)

    n = 200_000
    corral = Corral([Listener(2, 0), Listener(2, 1)], learning_rate=0.1)
    corral.reset(n, 10, np.random.default_rng(0))
    corral.base_probabilities[:] = [0.8, 0.2]
    arms = corral.act()
    losses = np.array([0.3, 0.9])
    corral.update(BanditFeedback(arms, losses[arms]))
    for j, estimates in enumerate(heard):
        error = estimates.std() / math.sqrt(n)
        assert abs(estimates.mean() - losses[j]) < 5 * error


def bases(n_arms: int) -> list[Any]:
    return [
        Exp3(n_arms, learning_rate=1e-3),
        Exp3(n_arms, learning_rate=0.05),
        TsallisINF(n_arms),
        BroadOMD(n_arms),
    ]


@pytest.mark.parametrize("game", GAMES)
def test_the_inequality_of_corral_holds_on_every_run(game: str) -> None:
    environment = GAMES[game]
    corral = Corral(bases(environment.n_arms))
    trace = run(corral, environment, 1500, n_replications=64, seed=10)
    assert trace.pathwise is not None
    assert (trace.pathwise.slack >= -1e-9 * (1 + np.abs(trace.pathwise.right))).all()
    assert trace.guarantee is None
    assert corral.rates.max() > corral._first_rate  # so that increases were accounted for


def test_corral_leaves_bases_that_do_not_learn() -> None:
    # arms: 0 is better by 0.4; one base learns, one always plays arm 1
    game = BernoulliBandit([0.3, 0.7])
    learner, stuck = TsallisINF(2), Fixed(2, 1)
    regrets = {
        name: run(one, game, 4000, n_replications=64, seed=11).mean()[-1]
        for name, one in (("corral", Corral([learner, stuck])), ("stuck", stuck))
    }
    assert regrets["corral"] < regrets["stuck"] / 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BroadOMD(3, prediction="first"), "prediction must be one of"),  # type: ignore[arg-type]
        (lambda: BroadOMD(3, correction=1.0), "correction must be"),
        (lambda: BroadOMD(3, loss_bound=0.0), "loss_bound must be"),
        (lambda: Corral([Exp3(2)]), "at least two"),
        (lambda: Corral([Exp3(2), Exp3(3)]), "one number of arms"),
        (lambda: Corral([Exp3(2), Exp3(2)], mixing=-0.1), "mixing must be at least 0"),
    ],
)
def test_bad_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_corral_refuses_one_learner_twice() -> None:
    base = Exp3(2)
    with pytest.raises(ValueError, match="distinct objects"):
        Corral([base, base])
