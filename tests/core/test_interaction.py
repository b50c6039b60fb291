import math
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import scipy.stats

from fenchel.bandits import (
    UCB1,
    AdversarialBandit,
    BayesianBernoulliBandit,
    BernoulliBandit,
    Exp3,
    Exp3IX,
    FTRLBandit,
    FTRLExperts,
    Hedge,
    LogBarrierFTRL,
    StochasticallyConstrainedAdversary,
    ThompsonSampling,
    TsallisINF,
)
from fenchel.core import BanditFeedback, Environment, Guarantee, Learner, Trace, run
from fenchel.core.checks import FloatArray, IntArray
from fenchel.core.interaction import BLOCK, checkpoint_rounds
from fenchel.core.potentials import NegativeEntropy
from fenchel.core.regret import BestFixedArm, least_squares_slope

mpl.use("Agg")


class Scripted(Learner):
    """Plays what it was given: arms (T, R) or distributions (T, R, K)."""

    def __init__(self, actions: Any, probabilities: Any = None) -> None:
        self.actions = np.asarray(actions)
        self.script = probabilities

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        self.t = -1

    def act(self) -> Any:
        self.t += 1
        if self.script is not None:
            self.probabilities = self.script[self.t]
        return self.actions[self.t]

    def update(self, feedback: Any) -> None:
        pass


def regret_by_hand(charges: FloatArray, losses: FloatArray) -> FloatArray:
    """Σ_s charge_s − min_k Σ_s ℓ_s(k) after each round: charges (T, R), losses (T, R or 1, K)."""
    T, R = charges.shape
    result = np.empty((R, T))
    for r in range(R):
        own = losses[:, r if losses.shape[1] > 1 else 0]
        for t in range(1, T + 1):
            best = min(own[:t, k].sum() for k in range(own.shape[1]))
            result[r, t - 1] = charges[:t, r].sum() - best
    return result


RNG = np.random.default_rng(0)
TABLE = RNG.random((30, 4))
ARMS = RNG.integers(0, 4, size=(30, 3))
MIXTURES = RNG.dirichlet(np.ones(4), size=(30, 3))


@pytest.mark.parametrize("replications_share", [True, False])
@pytest.mark.parametrize("mixed", [True, False])
def test_best_fixed_arm_agrees_with_brute_force(replications_share: bool, mixed: bool) -> None:
    losses = np.random.default_rng(1).random((30, 1 if replications_share else 3, 4))
    own = np.broadcast_to(losses, (30, 3, 4))
    if mixed:
        charges = np.sum(MIXTURES * own, axis=-1)
    else:
        charges = np.take_along_axis(own, ARMS[..., None], axis=-1)[..., 0]
    now = [0]
    comparator = BestFixedArm(3, losses.shape[1:], lambda: losses[now[0]])
    regret = []
    for t in range(30):
        now[0] = t
        comparator.observe(MIXTURES[t] if mixed else ARMS[t])
        regret.append(comparator.regret())
    np.testing.assert_allclose(np.transpose(regret), regret_by_hand(charges, losses), atol=1e-13)


def test_run_charges_the_arms_played() -> None:
    trace = run(
        Scripted(ARMS), AdversarialBandit(TABLE), 30, n_replications=3, checkpoints=range(1, 31)
    )
    charges = np.take_along_axis(TABLE, ARMS, axis=1)
    expected = regret_by_hand(charges, TABLE[:, None])
    np.testing.assert_allclose(trace.regret, expected, atol=1e-13)


def test_run_charges_mixtures_their_expected_loss() -> None:
    expected = regret_by_hand(np.einsum("trk,tk->tr", MIXTURES, TABLE), TABLE[:, None])
    for learner in (Scripted(MIXTURES), Scripted(ARMS, probabilities=MIXTURES)):
        trace = run(
            learner, AdversarialBandit(TABLE), 30, n_replications=3, checkpoints=range(1, 31)
        )
        np.testing.assert_allclose(trace.regret, expected, atol=1e-13)


def test_regret_in_a_stochastic_game_is_the_pseudo_regret() -> None:
    means = np.array([0.3, 0.1, 0.9, 0.1])
    trace = run(Scripted(ARMS), BernoulliBandit(means), 30, n_replications=3, checkpoints=[7, 30])
    gaps = means - 0.1
    expected = [[gaps[ARMS[:7, r]].sum(), gaps[ARMS[:, r]].sum()] for r in range(3)]
    np.testing.assert_allclose(trace.regret, expected, atol=1e-13)


def test_pseudo_regret_of_random_means_is_against_each_replications_own_best_arm() -> None:
    environment = BayesianBernoulliBandit(4)
    trace = run(Scripted(ARMS), environment, 30, n_replications=3, seed=1, checkpoints=[30])
    gaps = environment._means - environment._means.min(axis=1, keepdims=True)
    expected = [gaps[r, ARMS[:, r]].sum() for r in range(3)]
    np.testing.assert_allclose(trace.regret[:, 0], expected, atol=1e-13)


def test_regret_of_the_best_arm_in_hindsight_is_zero_and_of_the_worst_greatest() -> None:
    best, worst = TABLE.sum(axis=0).argmin(), TABLE.sum(axis=0).argmax()
    environment = AdversarialBandit(TABLE)
    for arm, expected in ((best, 0.0), (worst, np.ptp(TABLE.sum(axis=0)))):
        trace = run(Scripted(np.full((30, 1), arm)), environment, 30, checkpoints=[30])
        np.testing.assert_allclose(trace.regret, expected, atol=1e-13)


# checkpoints


@pytest.mark.parametrize("horizon", [1, 2, 10, 999, 10**6])
@pytest.mark.parametrize("count", [1, 2, 17, 200])
def test_counted_checkpoints_are_log_spaced_and_end_at_the_horizon(
    horizon: int, count: int
) -> None:
    rounds = checkpoint_rounds(horizon, count)
    assert rounds[-1] == horizon
    assert (np.diff(rounds) > 0).all()
    assert 1 <= len(rounds) <= count
    if count > 1:
        assert rounds[0] == 1
    ratio = horizon ** (1 / max(count - 1, 1))
    late = rounds[rounds * (ratio - 1) > 20]  # where rounding is at most 1/40 of a step
    if len(late) > 1:
        np.testing.assert_allclose(late[1:] / late[:-1] - 1, ratio - 1, rtol=0.06)


def test_checkpoints_only_select_rounds() -> None:
    learner, environment = Exp3(4), BernoulliBandit([0.2, 0.5, 0.5, 0.6])
    every = run(learner, environment, 50, n_replications=5, seed=3, checkpoints=range(1, 51))
    np.testing.assert_array_equal(every.rounds, np.arange(1, 51))
    for chosen in ([50, 3, 17, 3], np.array([50]), (1, 50)):
        some = run(learner, environment, 50, n_replications=5, seed=3, checkpoints=chosen)
        np.testing.assert_array_equal(some.rounds, np.unique(chosen))
        np.testing.assert_array_equal(some.regret, every.regret[:, some.rounds - 1])


def test_the_whole_horizon_is_played_whatever_the_checkpoints() -> None:
    learner = Scripted(ARMS)
    run(learner, AdversarialBandit(TABLE), 30, n_replications=3, checkpoints=[5])
    assert learner.t + 1 == 30


@pytest.mark.parametrize("bad", [[0], [31], [], [1.5], [-1, 3], [True], 0, -3])
def test_bad_checkpoints_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match="checkpoints"):
        run(Exp3(4), AdversarialBandit(TABLE), 30, checkpoints=bad)


@pytest.mark.parametrize("bad", [1.5, True, "10", None])
def test_checkpoints_of_the_wrong_type_are_refused(bad: Any) -> None:
    with pytest.raises(TypeError, match="checkpoints"):
        run(Exp3(4), AdversarialBandit(TABLE), 30, checkpoints=bad)


# randomness

STOCHASTIC = BernoulliBandit([0.3, 0.5, 0.6])
LEARNERS: dict[str, Callable[[], Learner]] = {
    "Hedge": lambda: Hedge(3),
    "Exp3": lambda: Exp3(3),
    "Exp3IX": lambda: Exp3IX(3),
    "TsallisINF": lambda: TsallisINF(3),
    "LogBarrierFTRL": lambda: LogBarrierFTRL(3),
    "UCB1": lambda: UCB1(3),
    "ThompsonSampling": lambda: ThompsonSampling(3),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_one_seed_one_trace(name: str) -> None:
    learner, environment = LEARNERS[name](), BernoulliBandit([0.3, 0.5, 0.6])
    first = run(learner, environment, 60, n_replications=4, seed=11)
    again = run(learner, environment, 60, n_replications=4, seed=11)  # objects used before
    fresh = run(LEARNERS[name](), STOCHASTIC, 60, n_replications=4, seed=11)
    other = run(learner, environment, 60, n_replications=4, seed=12)
    for trace in (again, fresh):
        np.testing.assert_array_equal(trace.regret, first.regret)
    assert not np.array_equal(other.regret, first.regret)
    assert first.seed == 11
    assert len(np.unique(first.regret[:, -1])) > 1  # replications are apart


@pytest.mark.parametrize("name", LEARNERS)
def test_replications_of_a_longer_run_start_with_those_of_a_shorter(name: str) -> None:
    longer = run(LEARNERS[name](), STOCHASTIC, 20, n_replications=2 * BLOCK + 3, seed=5)
    shorter = run(LEARNERS[name](), STOCHASTIC, 20, n_replications=BLOCK, seed=5)
    assert BLOCK == 256
    np.testing.assert_array_equal(longer.regret[:BLOCK], shorter.regret)
    assert not np.array_equal(longer.regret[BLOCK : 2 * BLOCK], shorter.regret)  # fresh draws
    assert np.isfinite(longer.regret).all()


def test_fresh_entropy_is_recorded_and_repeats_the_run() -> None:
    first = run(Exp3(3), STOCHASTIC, 40, n_replications=3)
    second = run(Exp3(3), STOCHASTIC, 40, n_replications=3)
    assert first.seed is not None
    assert first.seed != second.seed
    again = run(Exp3(3), STOCHASTIC, 40, n_replications=3, seed=first.seed)
    np.testing.assert_array_equal(again.regret, first.regret)
    assert again.seed == first.seed


def test_global_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for make in LEARNERS.values():
        run(make(), BayesianBernoulliBandit(3), 10, n_replications=2, seed=0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_learners_are_compared_on_the_same_environments() -> None:
    seen = []
    for make in (LEARNERS["Exp3"], LEARNERS["ThompsonSampling"], LEARNERS["UCB1"]):
        environment = BayesianBernoulliBandit(3)
        run(make(), environment, 10, n_replications=2, seed=4)
        seen.append(environment._means)
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])


def test_progress_bar_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(Exp3(3), STOCHASTIC, 40, n_replications=3, seed=0, progress=True)
    hidden = run(Exp3(3), STOCHASTIC, 40, n_replications=3, seed=0)
    np.testing.assert_array_equal(shown.regret, hidden.regret)
    assert "Exp3" in capsys.readouterr().err


# traces


def trace_of(regret: FloatArray, guarantee: Guarantee | None = None) -> Trace:
    return Trace(rounds=np.arange(1, regret.shape[1] + 1), regret=regret, guarantee=guarantee)


def constant_bound(level: float, kind: Any, confidence: float | None = None) -> Guarantee:
    return Guarantee(
        bound=lambda t: np.full(np.shape(t), level),
        kind=kind,
        confidence=confidence,
        assumptions="none",
        reference="none",
    )


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [2, 3, 30])
def test_interval_is_scipys_student_interval(n: int, confidence: float) -> None:
    regret = np.random.default_rng(n).normal(size=(n, 5)) + 3
    low, high = trace_of(regret).interval(confidence)
    expected = scipy.stats.t.interval(
        confidence, n - 1, regret.mean(axis=0), scipy.stats.sem(regret, axis=0)
    )
    np.testing.assert_allclose([low, high], expected, rtol=1e-12)


def test_interval_covers_the_mean_of_normal_data_as_often_as_it_says() -> None:
    regret = np.random.default_rng(1).normal(2.0, 3.0, size=(6, 20000))
    low, high = trace_of(regret).interval(0.9)
    covered = int(((low < 2) & (high > 2)).sum())
    assert scipy.stats.binomtest(covered, 20000, 0.9).pvalue > 1e-4


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2 / 3])
def test_slope_recovers_a_power_law(exponent: float) -> None:
    rounds = np.unique(np.geomspace(1, 10**5, 200).astype(int))
    noise = np.random.default_rng(2).uniform(0.5, 1.5, size=(40, 1))
    trace = Trace(rounds=rounds, regret=7 * noise * rounds**exponent)
    slope = trace.slope()
    np.testing.assert_allclose(
        [slope.value, slope.low, slope.high], exponent, atol=1e-12
    )  # a common factor a replication: each resample has the same exponent


def test_slope_is_fitted_on_the_tail_alone() -> None:
    rounds = np.unique(np.geomspace(1, 10**4, 300).astype(int))
    regret = np.where(rounds > 1000, rounds**0.5, rounds**0.9)[None].repeat(2, axis=0)
    trace = Trace(rounds=rounds, regret=regret)
    np.testing.assert_allclose(trace.slope(0.9).value, 0.5, atol=1e-12)
    assert abs(trace.slope(0.9999).value - 0.5) > 0.05


def test_slope_interval_covers_the_slope_of_noisy_growth() -> None:
    # replications grow as t^0.3 or t^0.7; the exponent of their mean between two rounds, by hand
    rounds = np.array([100, 1000])
    exponents = (0.3, 0.7)
    truth = math.log10(np.mean([10 ** (3 * e) for e in exponents])) - math.log10(
        np.mean([10 ** (2 * e) for e in exponents])
    )
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(300):
        sample = rng.choice(exponents, size=(60, 1))
        slope = Trace(rounds=rounds, regret=rounds**sample).slope(0.95, confidence=0.9)
        covered += slope.low <= truth <= slope.high
        assert slope.low <= slope.value <= slope.high
    assert 0.83 <= covered / 300 <= 0.96  # 0.9 ± 4 standard errors of 0.0173


def test_slope_of_a_curve_that_touches_zero_is_refused() -> None:
    regret = np.ones((3, 50))
    regret[:, 30] = -1.0
    with pytest.raises(ValueError, match="not positive"):
        trace_of(regret).slope()
    with pytest.raises(ValueError, match="two checkpoints"):
        trace_of(np.ones((3, 2))).slope(0.1)
    for bad in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="tail"):
            trace_of(np.ones((3, 50))).slope(bad)


def test_least_squares_slope_is_polyfits() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=12), rng.normal(size=(3, 12))
    expected = [np.polyfit(x, row, 1)[0] for row in y]
    np.testing.assert_allclose(least_squares_slope(x, y), expected, rtol=1e-10)


def test_pathwise_ratio_is_that_of_the_worst_run_and_has_no_error() -> None:
    regret = np.random.default_rng(5).random((20, 7))
    ratio = trace_of(regret, constant_bound(4.0, "pathwise")).bound_ratio()
    assert ratio.value == ratio.low == ratio.high == regret.max() / 4


def test_expected_ratio_is_that_of_the_mean_with_its_interval() -> None:
    regret = np.random.default_rng(6).random((20, 7))
    trace = trace_of(regret, constant_bound(4.0, "expected"))
    ratio = trace.bound_ratio(0.8)
    low, high = trace.interval(1 - 0.2 / 7)[0], trace.interval(0.8)[1]  # low: all 7 at once
    np.testing.assert_allclose(
        [ratio.value, ratio.low, ratio.high],
        [regret.mean(axis=0).max() / 4, low.max() / 4, high.max() / 4],
        rtol=1e-14,
    )


def test_bound_is_evaluated_at_each_checkpoint() -> None:
    guarantee = Guarantee(
        bound=np.sqrt, kind="pathwise", assumptions="none", reference="none", confidence=None
    )
    trace = Trace(
        rounds=np.array([1, 4, 100]), regret=np.array([[0.5, 1.5, 5.0]]), guarantee=guarantee
    )
    assert trace.bound_ratio().value == 0.75


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(("level", "n"), [(0.5, 20), (0.9, 60), (0.95, 100), (0.95, 500)])
def test_quantile_interval_has_the_coverage_of_the_binomial_formula(
    level: float, n: int, confidence: float
) -> None:
    # regret 1, ..., n shows which order statistics are taken. With N ~ Bin(n, level) runs below the
    # quantile q: X_(j) <= q < X_(u) iff j <= N <= u − 1
    regret = np.random.default_rng(7).permutation(np.arange(1.0, n + 1))[:, None]
    ratio = trace_of(regret, constant_bound(1.0, "high-probability", level)).bound_ratio(confidence)
    j, u = int(ratio.low), int(ratio.high)
    below = scipy.stats.binom(n, level).cdf
    assert below(u - 1) - below(j - 1) >= confidence
    assert (
        below(j - 1) <= (1 - confidence) / 2 <= below(j) + 1e-12
    )  # and it is not wider than needed
    assert below(u - 2) <= (1 + confidence) / 2
    assert ratio.value == math.ceil(level * n - 1e-9)


def test_a_quantile_that_may_lie_below_all_runs_gets_no_finite_lower_end() -> None:
    # P(N = 0) = 0.7^6 = 0.118 > 0.025: [X_(1), X_(u)) would cover with probability 0.88 at most
    trace = trace_of(np.arange(1.0, 7)[:, None], constant_bound(1.0, "high-probability", 0.3))
    try:
        low = trace.bound_ratio(0.95).low
    except ValueError:
        return  # refused
    assert low == -math.inf


def test_quantile_interval_covers_the_quantile_as_often_as_it_says() -> None:
    rng = np.random.default_rng(8)
    guarantee = constant_bound(1.0, "high-probability", 0.9)
    ratios = [trace_of(rng.random((80, 1)), guarantee).bound_ratio(0.9) for _ in range(2000)]
    covered = sum(r.low <= 0.9 < r.high for r in ratios)  # the 0.9-quantile of a uniform is 0.9
    assert covered / 2000 >= 0.9 - 4 * math.sqrt(0.09 / 2000)


def test_lower_end_of_the_bound_ratio_rarely_exceeds_a_tight_bound() -> None:
    rng = np.random.default_rng(11)
    guarantee = constant_bound(1.0, "expected")
    above = sum(
        trace_of(1 + 0.3 * rng.normal(size=(30, 40)), guarantee).bound_ratio(0.9).low > 1
        for _ in range(400)
    )
    assert above <= 400 * 0.05 + 4 * math.sqrt(400 * 0.05 * 0.95)  # 1.3 % for each would give 160


def test_too_few_runs_leave_a_quantile_without_an_upper_end_and_the_least_number_suffices() -> None:
    guarantee = constant_bound(1.0, "high-probability", 0.95)
    # 0.95^72 <= 0.025 < 0.95^71
    assert trace_of(np.ones((71, 1)), guarantee).bound_ratio().high == math.inf
    assert trace_of(np.ones((72, 1)), guarantee).bound_ratio().high == 1.0


def test_ratio_to_a_bound_of_zero_says_whether_it_holds() -> None:
    # UCB1's bound is 0 where all means are equal, and so is its pseudo-regret: 0 <= 0 holds
    trace = run(UCB1(2), BernoulliBandit([0.5, 0.5]), 10, n_replications=3, seed=0)
    assert trace.guarantee is not None
    assert (trace.guarantee.bound(trace.rounds) == 0).all()
    assert trace.bound_ratio().value <= 1


def test_statistics_that_need_two_runs_or_a_guarantee_say_so() -> None:
    one = trace_of(np.ones((1, 5)))
    for statistic in (one.interval, one.slope):
        with pytest.raises(ValueError, match="n_replications >= 2"):
            statistic()
    with pytest.raises(ValueError, match="no guarantee"):
        one.bound_ratio()
    two = trace_of(np.ones((2, 5)))
    for bad in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="confidence"):
            two.interval(bad)


def test_frames_make_the_round_trip() -> None:
    rng = np.random.default_rng(9)
    rounds = np.array([1, 10, 100])
    parts = [Trace(rounds=rounds, regret=rng.normal(size=(n, 3))) for n in (2, 5)]
    frames = [part.to_frame() for part in parts]
    assert list(frames[0].columns) == ["replication", "round", "regret"]
    assert (
        frames[1].query("replication == 4 and round == 10")["regret"].item()
        == (parts[1].regret[4, 1])
    )
    guarantee = constant_bound(1.0, "pathwise")
    joined = Trace.from_frames(frames, guarantee=guarantee, label="x")
    np.testing.assert_array_equal(joined.rounds, rounds)
    np.testing.assert_array_equal(joined.regret, np.vstack([p.regret for p in parts]))
    assert joined.guarantee is guarantee
    assert joined.label == "x"


def test_frames_of_different_checkpoints_do_not_join() -> None:
    frames = [trace_of(np.ones((2, n))).to_frame() for n in (3, 4)]
    with pytest.raises(ValueError, match="checkpoints"):
        Trace.from_frames(frames)
    with pytest.raises(ValueError, match="at least one"):
        Trace.from_frames([])


def test_plot_shows_the_mean_the_band_and_the_bound() -> None:
    import matplotlib.pyplot as plt

    trace = run(Exp3(3), STOCHASTIC, 50, n_replications=5, seed=0)
    figure, axes = plt.subplots()
    assert trace.plot(axes, color="red") is axes
    mean, bound = axes.get_lines()
    np.testing.assert_array_equal(mean.get_ydata(), trace.mean())
    np.testing.assert_array_equal(mean.get_xdata(), trace.rounds)
    np.testing.assert_allclose(bound.get_ydata(), trace.guarantee.bound(trace.rounds))
    assert mean.get_label() == "Exp3"
    assert mean.get_color() == bound.get_color() == "red"
    assert len(axes.collections) == 1
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    figure.canvas.draw()
    plt.close(figure)
    figure, axes = plt.subplots()
    plain = run(UCB1(3), STOCHASTIC, 50, seed=0).plot(bound=False)  # one run: no band
    assert plain is axes
    assert len(axes.get_lines()) == 1
    assert len(axes.collections) == 0
    plt.close(figure)


# guarantees


@pytest.mark.parametrize(
    ("kind", "confidence"),
    [
        ("certain", None),
        ("expected", 0.9),
        ("pathwise", 0.9),
        ("high-probability", None),
        ("high-probability", 0.0),
        ("high-probability", 1.0),
        ("high-probability", math.nan),
    ],
)
def test_guarantees_that_make_no_sense_are_refused(kind: str, confidence: float | None) -> None:
    with pytest.raises(ValueError, match=r"kind|confidence"):
        constant_bound(1.0, kind, confidence)


@pytest.mark.parametrize("name", LEARNERS)
def test_bounds_take_numbers_and_arrays_alike(name: str) -> None:
    environment = BayesianBernoulliBandit(3) if name == "ThompsonSampling" else STOCHASTIC
    guarantee = run(LEARNERS[name](), environment, 100, n_replications=2, seed=0).guarantee
    assert guarantee is not None
    rounds = np.array([1, 2, 50, 100])
    np.testing.assert_allclose(
        guarantee.bound(rounds), [guarantee.bound(int(t)) for t in rounds], rtol=1e-14
    )
    assert (np.diff(guarantee.bound(rounds)) >= 0).all()
    assert guarantee.assumptions
    assert guarantee.reference


# errors


@pytest.mark.parametrize(
    "arguments",
    [{"horizon": 0}, {"horizon": -1}, {"horizon": 31}, {"n_replications": 0}, {"seed": -1}],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        run(Exp3(4), AdversarialBandit(TABLE), **({"horizon": 30} | arguments))


@pytest.mark.parametrize("name", ["horizon", "n_replications", "seed"])
@pytest.mark.parametrize("bad", [1.5, True, "3", math.nan])
def test_arguments_that_are_not_integers_are_refused(name: str, bad: Any) -> None:
    with pytest.raises(TypeError, match=name):
        run(Exp3(4), AdversarialBandit(TABLE), **({"horizon": 30} | {name: bad}))


@pytest.mark.parametrize("make", [Exp3, Exp3IX, TsallisINF, LogBarrierFTRL, Hedge, UCB1])
def test_another_number_of_arms_is_refused_before_the_first_round(make: Any) -> None:
    with pytest.raises(ValueError, match="n_arms=4"):
        run(make(3), AdversarialBandit(TABLE), 30)


@pytest.mark.parametrize(
    "make", [Exp3, Exp3IX, TsallisINF, LogBarrierFTRL, Hedge, UCB1, ThompsonSampling]
)
def test_fewer_than_two_arms_are_refused(make: Any) -> None:
    for bad in (1, 0, -2):
        with pytest.raises(ValueError, match="n_arms"):
            make(bad)
    for bad in (2.0, True, "2"):
        with pytest.raises(TypeError, match="n_arms"):
            make(bad)


@pytest.mark.parametrize("make", [Exp3, Exp3IX, TsallisINF, LogBarrierFTRL, Hedge])
@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_learning_rates_must_be_positive_and_finite(make: Any, bad: float) -> None:
    with pytest.raises(ValueError, match="learning_rate"):
        make(3, learning_rate=bad)


@pytest.mark.parametrize("make", [Exp3, Exp3IX, TsallisINF, LogBarrierFTRL, Hedge])
def test_rates_that_the_bound_does_not_cover_are_refused_at_once(make: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="learning_rate"):
        make(3, learning_rate=lambda t: 1 / t)


@pytest.mark.parametrize("bad", [math.nan, -1.0, 0.0, math.inf])
def test_a_rate_function_that_leaves_the_positive_numbers_is_refused(bad: float) -> None:
    learner = FTRLExperts(4, NegativeEntropy(), learning_rate=lambda t: bad if t == 3 else 0.1)
    with pytest.raises((ValueError, FloatingPointError), match=r"round 3|learning_rate"):
        run(learner, AdversarialBandit(TABLE), 30)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.1, math.nan])
def test_confidence_must_lie_strictly_between_zero_and_one(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        Exp3IX(3, confidence=confidence)


def test_a_learning_rate_is_asked_for_where_there_is_no_tuned_one() -> None:
    with pytest.raises(ValueError, match="learning_rate"):
        run(FTRLBandit(4, NegativeEntropy()), AdversarialBandit(TABLE), 30)


@pytest.mark.parametrize("entry", [-0.1, 1.1, math.nan, math.inf])
def test_losses_outside_the_unit_interval_are_refused(entry: float) -> None:
    losses = TABLE.copy()
    losses[7, 2] = entry
    with pytest.raises(ValueError, match=r"\(7, 2\)"):
        AdversarialBandit(losses)
    with pytest.raises(ValueError, match=r"losses\(7\)"):
        run(Exp3(4), AdversarialBandit(lambda t: losses[t]), 30)
    with pytest.raises(ValueError, match="means"):
        BernoulliBandit(losses[7])


@pytest.mark.parametrize("bad", [np.ones((5, 1)), np.ones((0, 3)), np.ones(3), np.ones((2, 2, 2))])
def test_tables_of_no_game_are_refused(bad: FloatArray) -> None:
    with pytest.raises(ValueError, match="losses"):
        AdversarialBandit(bad)


def test_environments_check_their_arguments() -> None:
    with pytest.raises(ValueError, match="means"):
        BernoulliBandit([0.5])
    with pytest.raises(ValueError, match="n_arms"):
        BayesianBernoulliBandit(1)
    for gap in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match="gap"):
            StochasticallyConstrainedAdversary(3, gap=gap)
    for growth in (1.0, 0.5, math.inf):
        with pytest.raises(ValueError, match="growth"):
            StochasticallyConstrainedAdversary(3, gap=0.1, growth=growth)


def broken(actions: Any, entry: Any) -> Any:
    """The script with another entry in round 3 (the third), replication 1."""
    actions = np.array(actions)
    actions[2, 1] = entry
    return actions


NOT_DISTRIBUTIONS = [
    [0.5, 0.4, 0.0, 0.0],
    [0.5, 0.5, 0.5, -0.5],
    [2.0, 0.0, 0.0, 0.0],
    [math.nan, 0.5, 0.25, 0.25],
    [1.0, 0.0, 0.0, math.nan],
    [math.inf, -math.inf, 0.0, 1.0],
]


@pytest.mark.parametrize("entry", NOT_DISTRIBUTIONS)
def test_mixtures_that_are_no_distributions_are_refused_with_round_and_replication(
    entry: list[float],
) -> None:
    for learner in (
        Scripted(broken(MIXTURES, entry)),
        Scripted(ARMS, probabilities=broken(MIXTURES, entry)),
    ):
        with pytest.raises(FloatingPointError, match="round 3, replication 1"):
            run(learner, AdversarialBandit(TABLE), 30, n_replications=3)


@pytest.mark.parametrize("arm", [4, -1, 10**9])
@pytest.mark.parametrize("environment", [AdversarialBandit(TABLE), BernoulliBandit(TABLE[0])])
def test_arms_that_do_not_exist_are_refused_with_round_and_replication(
    arm: int, environment: Any
) -> None:
    with pytest.raises(ValueError, match=rf"{arm}.*replication 1") as caught:
        run(Scripted(broken(ARMS, arm)), environment, 30, n_replications=3)
    assert "round 3" in str(caught.value)


def test_replications_are_named_by_their_number_in_the_whole_run() -> None:
    mixtures = np.full((5, BLOCK, 4), 0.25)

    class FailsInTheSecondBlock(Scripted):
        blocks = 0

        def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
            super().reset(n_replications, horizon, rng)
            self.blocks += 1
            self.actions = mixtures[:, :n_replications].copy()
            if self.blocks == 2:
                self.actions[2, 1] = math.nan

    with pytest.raises(FloatingPointError, match="round 3, replication 1") as caught:
        run(FailsInTheSecondBlock(mixtures), AdversarialBandit(TABLE), 5, n_replications=BLOCK + 5)
    assert "256" in str(caught.value)


@pytest.mark.parametrize(
    "actions",
    [
        ARMS[:, :2],  # two arms for three replications
        ARMS.astype(float),
        MIXTURES[:, :, :3],
        MIXTURES[:, :1],
        ARMS[..., None],
    ],
)
def test_actions_of_the_wrong_shape_or_type_are_refused(actions: FloatArray | IntArray) -> None:
    with pytest.raises(ValueError, match="action"):
        run(Scripted(actions), AdversarialBandit(TABLE), 30, n_replications=3)


@pytest.mark.parametrize(
    "probabilities",
    [
        MIXTURES[:, :1],  # views: what lies beyond them is memory of ours
        np.full((30, 3, 5), [0.25] * 4 + [0.0])[:, :2],
        np.full((30, 3, 8), 0.25)[..., :3],
        np.full((30, 3, 5), [0.25] * 4 + [0.0]),
    ],
    ids=["one row", "two rows", "three columns", "five columns"],
)
def test_probabilities_of_the_wrong_shape_are_refused(probabilities: FloatArray) -> None:
    with pytest.raises((ValueError, FloatingPointError), match=r"shape|distribution"):
        run(Scripted(ARMS, probabilities), AdversarialBandit(TABLE), 30, n_replications=3)


class Custom(Environment):
    """Two arms; the losses and the kind of adversary are the test's."""

    adversary = "oblivious"

    def __init__(self, losses: Any) -> None:
        self.losses = np.asarray(losses, dtype=float)[None]

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        self.n_replications = n_replications

    def step(self, action: Any) -> BanditFeedback:
        return BanditFeedback(action, self.losses[0, np.minimum(action, 1)])

    def comparator(self) -> BestFixedArm:
        return BestFixedArm(self.n_replications, self.losses.shape, lambda: self.losses)


def test_own_environments_are_held_to_losses_arms_and_a_kind_of_adversary() -> None:
    assert run(Exp3(2), Custom([0.0, 1.0]), 10, n_replications=2, seed=0).regret.shape == (2, 10)
    with pytest.raises(ValueError, match=r"round 1: the losses .* \[0, 1\]"):
        run(Exp3(2), Custom([0.0, 7.0]), 10)
    with pytest.raises(FloatingPointError, match="is not an arm"):
        run(UCB1(3), Custom([0.0, 1.0]), 10)

    class Widening(Custom):
        def step(self, action: Any) -> BanditFeedback:
            feedback = super().step(action)
            self.losses = np.zeros((1, 9))
            return feedback

    with pytest.raises(ValueError, match=r"must have shape \(1, 2\), got \(1, 9\)"):
        run(Exp3(2), Widening([0.0, 1.0]), 10)
    game = Custom([0.0, 1.0])
    game.adversary = "adversarial"
    with pytest.raises(ValueError, match="adversary of Custom must be one of"):
        run(Exp3(2), game, 10)


def test_what_is_no_learner_or_no_environment_is_refused() -> None:
    game = Custom([0.0, 1.0])
    for learner, environment in ((game, Exp3(2)), (Exp3, game), (Exp3(2), Custom)):
        with pytest.raises(TypeError, match=r"must be a fenchel\.core"):
            run(learner, environment, 10)  # type: ignore[arg-type]

    class NoAct(Learner):
        def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None: ...

        def update(self, feedback: Any) -> None: ...

    with pytest.raises(TypeError, match="act"):
        NoAct()  # type: ignore[abstract]


def test_losses_are_copied_and_must_be_real_numbers() -> None:
    losses = np.zeros((5, 2))
    game = AdversarialBandit(losses)
    losses[:] = 9.0
    assert run(Hedge(2), game, 5).regret.max() == 0.0
    for bad in (np.zeros((5, 2), dtype=complex), [["0.1", "0.2"]]):
        with pytest.raises(TypeError, match="real numbers"):
            AdversarialBandit(bad)  # type: ignore[arg-type]


def test_plots_show_regret_of_any_sign_and_constant_bounds() -> None:
    import matplotlib.pyplot as plt

    trace = trace_of(
        np.linspace(-5, 5, 20).reshape(2, 10),
        Guarantee(lambda t: 3.0, kind="expected", assumptions="none", reference="test"),
    )
    _, ax = plt.subplots()
    trace.plot(ax)
    assert ax.get_yscale() == "symlog"
    trace_of(np.ones((2, 10))).plot(ax)
    assert ax.get_yscale() == "symlog"  # a later positive trace hides nothing of the first
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), np.full(10, 3.0))
    plt.close("all")
    assert repr(trace).startswith("<Trace")
    assert len(repr(trace)) < 100


def test_progress_reaches_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = run(Exp3(4), AdversarialBandit(TABLE), 30, checkpoints=[10, 5], seed=1)
    shown = run(Exp3(4), AdversarialBandit(TABLE), 30, checkpoints=[10, 5], seed=1, progress=True)
    np.testing.assert_array_equal(shown.rounds, [5, 10])
    np.testing.assert_array_equal(shown.regret, quiet.regret)
    assert "100%" in capsys.readouterr().err
