import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from fenchel.core import Guarantee, Pathwise, Trace
from fenchel.core.checks import FloatArray
from fenchel.experiments import (
    Claim,
    ClaimError,
    Outcome,
    Verdict,
    at_least,
    at_most,
    bounds_hold,
    inequalities_hold,
    less_regret,
    within,
)

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
GOOD, BAD, OPEN = Verdict.REPRODUCED, Verdict.NOT_REPRODUCED, Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.0, 1.0, GOOD),  # the limits belong to the claim
        (0.5, 0.5, GOOD),
        (-0.1, 1.0, OPEN),
        (0.0, 1.1, OPEN),
        (-1.0, 2.0, OPEN),
        (-1.0, 0.0, OPEN),  # touches the claim in one point
        (1.0, 2.0, OPEN),
        (-1.0, -0.1, BAD),
        (1.1, 2.0, BAD),
        (-math.inf, math.inf, OPEN),
        (1.1, math.inf, BAD),
    ],
)
def test_within_at_its_boundaries(low: float, high: float, verdict: Verdict) -> None:
    assert within(0.5, low, high, 0.0, 1.0).verdict is verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.0, 1.0, GOOD), (0.0, 1.1, OPEN), (1.0, 1.1, OPEN), (1.1, 1.2, BAD), (1.0, 1.0, GOOD)],
)
def test_at_most_at_its_boundary(low: float, high: float, verdict: Verdict) -> None:
    assert at_most(low, low, high, 1.0).verdict is verdict
    assert at_least(-low, -high, -low, -1.0).verdict is verdict


@given(numbers, numbers, numbers, numbers, st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_verdicts_agree_with_the_points_of_the_interval(
    a: float, b: float, c: float, d: float, weights: list[float]
) -> None:
    (low, high), (lower, upper) = sorted((a, b)), sorted((c, d))
    verdict = within(low, low, high, lower, upper).verdict
    points = [low, high, *(min(max(low + w * (high - low), low), high) for w in weights)]
    satisfied = [lower <= point <= upper for point in points]
    if verdict is GOOD:
        assert all(satisfied)
    if verdict is BAD:
        assert not any(satisfied)
    if verdict is OPEN:
        overlap = max(low, lower), min(high, upper)
        assert overlap[0] <= overlap[1]  # some of it satisfies the claim
        assert low < lower or high > upper  # and some does not


@given(numbers, numbers, numbers)
def test_at_most_and_at_least_are_mirror_images(a: float, b: float, limit: float) -> None:
    low, high = sorted((a, b))
    assert at_most(a, low, high, limit).verdict is at_least(-a, -high, -low, -limit).verdict


@pytest.mark.parametrize("position", range(4))
def test_nan_is_refused(position: int) -> None:
    values = [1.0, 0.5, 1.5, 2.0]
    values[position] = math.nan
    for helper in (at_most, at_least):
        with pytest.raises(ValueError, match="nan"):
            helper(*values)


def test_intervals_must_be_in_order() -> None:
    with pytest.raises(ValueError, match=r"low must be at most high, got \[2.0, 1.0\]"):
        at_most(1.5, 2.0, 1.0, 3.0)
    with pytest.raises(ValueError, match="limits"):
        within(1.5, 1.0, 2.0, 4.0, 3.0)


def test_outcome_takes_the_verdict_as_a_word() -> None:
    assert Outcome(1, 0, 2, "inconclusive").verdict is OPEN  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="maybe"):
        Outcome(1, 0, 2, "maybe")  # type: ignore[arg-type]


def test_a_check_that_raises_or_gives_nothing_names_the_claim() -> None:
    broken: Claim[float] = Claim("Auer 2002", "regret is √T", lambda data: at_most(data, 1, 2, 3))
    assert broken.measure(1.5).verdict is GOOD
    with pytest.raises(ClaimError, match=r"'regret is √T' \(Auer 2002\).*ValueError"):
        broken.measure(math.nan)
    with pytest.raises(ClaimError, match="must return an Outcome, got True"):
        Claim("Auer 2002", "regret is √T", lambda data: True).measure(None)  # type: ignore[arg-type, return-value]
    with pytest.raises(ValueError, match="paper"):
        Claim(" ", "regret is √T", lambda data: at_most(data, 1, 2, 3))


# of traces


def trace_of(
    mean: float, *, n: int = 50, sides: tuple[FloatArray, FloatArray] | None = None
) -> Trace:
    """Regret around `mean` times a bound of √t, in every round with a spread of 0.1 √t."""
    rounds = np.array([1, 4, 16])
    spread = 0.1 * np.random.default_rng(0).normal(size=(n, 1))
    return Trace(
        rounds=rounds,
        regret=(mean + spread - spread.mean()) * np.sqrt(rounds),
        guarantee=Guarantee(np.sqrt, kind="expected", assumptions="none", reference="a proof"),
        pathwise=None if sides is None else Pathwise(*sides, "a proof"),
        label=f"mean {mean}",
    )


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ([0.5], GOOD),
        ([0.5, 0.9], GOOD),
        ([0.5, 1.0], OPEN),
        ([0.5, 1.1], BAD),  # one is enough
        ([-3.0, 0.2], GOOD),
    ],
)
def test_bounds_hold_if_each_trace_is_below_its_own(means: list[float], verdict: Verdict) -> None:
    outcome = bounds_hold([trace_of(mean) for mean in means])
    assert outcome.verdict is verdict
    assert outcome.value == pytest.approx(max(means), abs=1e-12)
    assert outcome.low <= outcome.value <= outcome.high


def test_a_bound_is_broken_only_where_it_is_so_for_all_traces_at_once() -> None:
    # above 1 by more than the error of one trace, by less than that of the worst of a thousand
    above = trace_of(1 + 2.3 * 0.1 / math.sqrt(50))
    assert bounds_hold([above]).verdict is BAD
    assert bounds_hold([above] + [trace_of(0.5)] * 999).verdict is OPEN


def test_inequalities_hold_on_every_run_up_to_rounding() -> None:
    right = np.ones((4, 3))
    for worst, verdict in ((0.7, GOOD), (1.0, GOOD), (1 + 1e-12, GOOD), (1 + 1e-6, BAD)):
        left = np.zeros((4, 3))
        left[2, 1] = worst
        outcome = inequalities_hold(
            [trace_of(0.5, n=4, sides=(0 * right, right))] * 2
            + [trace_of(0.5, n=4, sides=(left, right))]
        )
        assert outcome.verdict is verdict
        assert outcome.low == outcome.value == outcome.high == pytest.approx(worst, rel=1e-15)
        assert "12 runs" in outcome.detail


def test_traces_without_an_inequality_are_named() -> None:
    sides = np.zeros((4, 3)), np.ones((4, 3))
    with pytest.raises(ValueError, match=r"traces of mean 0\.2 carry no path-wise inequality"):
        inequalities_hold([trace_of(0.5, n=4, sides=sides), trace_of(0.2, n=4)])


@pytest.mark.parametrize(
    ("gap", "verdict"), [(-0.1, GOOD), (-0.005, OPEN), (0.005, OPEN), (0.1, BAD)]
)
def test_less_regret_is_judged_by_the_interval_of_the_difference(
    gap: float, verdict: Verdict
) -> None:
    first, second = trace_of(0.5 + gap), trace_of(0.5, n=40)
    outcome = less_regret(first, second, "detail")
    assert outcome.verdict is verdict
    difference = first.regret[:, -1].mean() - second.regret[:, -1].mean()
    assert outcome.value == pytest.approx(difference, rel=1e-12)
    expected = scipy.stats.ttest_ind(first.regret[:, -1], second.regret[:, -1], equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert (outcome.low, outcome.high) == pytest.approx((low, high), rel=1e-9)


def test_where_nothing_is_random_the_difference_is_exact() -> None:
    rounds, regret = np.array([1, 2]), np.array([[1.0, 3.0]] * 3)
    traces = [Trace(rounds=rounds, regret=regret + shift) for shift in (0.0, 0.5)]
    outcome = less_regret(*traces, "detail")
    assert (outcome.low, outcome.value, outcome.high) == (-0.5, -0.5, -0.5)
