import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fenchel.experiments import Claim, ClaimError, Outcome, Verdict, at_least, at_most, within

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
