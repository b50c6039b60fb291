"""Metrics of maps: closed forms, exact arithmetic, invariances."""

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from fenchel.ot.metrics import crossings, l2_uvp, map_cosine, mmd


def cloud(n: int, seed: int, d: int = 2) -> Any:
    return np.random.default_rng(seed).normal(size=(n, d))


# against the true map


def test_l2_uvp_is_a_hundred_for_the_mean_and_more_by_its_distance_from_it() -> None:
    true = cloud(50, 0, 3) * [1, 2, 3] + 4
    mean, variance = true.mean(axis=0), float(np.trace(np.cov(true.T, bias=True)))
    shift = np.array([0.5, -1.0, 2.0])
    for v, extra in ((0 * shift, 0.0), (shift, shift @ shift / variance)):
        constant = np.tile(mean + v, (50, 1))
        np.testing.assert_allclose(
            l2_uvp(constant, true, variance=variance), 100 * (1 + extra), rtol=1e-12
        )
    assert l2_uvp(true, true, variance=variance) == 0.0


def test_the_cosine_is_that_of_displacements() -> None:
    x, true = cloud(40, 0, 4), cloud(40, 1, 4)
    along = true - x
    np.testing.assert_allclose(map_cosine(x, x + 0.3 * along, true), 1.0, rtol=1e-12)
    np.testing.assert_allclose(map_cosine(x, x - 7 * along, true), -1.0, rtol=1e-12)
    across = along.copy()
    across[:, [0, 1]], across[:, 2:] = along[:, [1, 0]] * [-1, 1], 0  # a quarter turn
    assert abs(map_cosine(x, x + across, true)) < 1e-12
    mixed = map_cosine(x, x + along + across, true)  # ⟨a + c, a⟩ = ‖a‖²
    norms = (along**2).sum(), ((along + across) ** 2).sum()
    np.testing.assert_allclose(mixed, math.sqrt(norms[0] / norms[1]), rtol=1e-12)
    np.testing.assert_allclose(  # no overflow
        map_cosine(x * 0, 1e200 * (along + across), 1e200 * along), mixed, rtol=1e-12
    )
    assert math.isnan(map_cosine(x, x, true))


# the maximum mean discrepancy


def test_mmd_of_two_points_is_known_and_of_equal_samples_zero() -> None:
    x, y = np.array([[1.0, 2.0]]), np.array([[2.0, 0.0]])  # ‖x − y‖² = 5
    np.testing.assert_allclose(mmd(x, y, gammas=[0.3]), 2 - 2 * math.exp(-1.5), rtol=1e-12)
    expected = np.mean([2 - 2 * math.exp(-5 * g) for g in (2, 1, 0.5, 0.1, 0.01, 0.005)])
    np.testing.assert_allclose(mmd(x, y), expected, rtol=1e-12)
    sample = cloud(30, 0, 5)
    assert mmd(sample, sample) == 0.0
    assert mmd(sample, sample[::-1].copy()) < 1e-15


def test_mmd_is_the_sum_over_all_pairs() -> None:
    x, y = cloud(7, 0, 3), cloud(5, 1, 3) + 1

    def mean(a: Any, b: Any, gamma: float) -> float:
        return float(np.mean([math.exp(-gamma * ((p - q) ** 2).sum()) for p in a for q in b]))

    brute = [mean(x, x, g) + mean(y, y, g) - 2 * mean(x, y, g) for g in (0.2, 1.5)]
    np.testing.assert_allclose(mmd(x, y, gammas=(0.2, 1.5)), np.mean(brute), rtol=1e-10)
    np.testing.assert_allclose(mmd(x, y), mmd(y, x), rtol=1e-12)
    np.testing.assert_allclose(mmd(x + 50, y + 50), mmd(x, y), rtol=1e-9)


def test_mmd_of_one_law_has_the_bias_that_is_said() -> None:
    """N(0, I) in the plane: E k = E exp(−γ ‖x − y‖²) = 1/(1 + 4 γ), as ‖x − y‖² ~ 2 χ²₂."""
    n, m, gamma = 20, 30, 0.7
    values = [mmd(cloud(n, 2 * s), cloud(m, 2 * s + 1), gammas=[gamma]) for s in range(400)]
    expected = (1 / n + 1 / m) * (1 - 1 / (1 + 4 * gamma))
    error = np.std(values) / math.sqrt(len(values))
    assert abs(np.mean(values) - expected) < 4 * error
    assert error < 0.03 * expected


def test_mmd_of_blocks_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = cloud(40, 0), cloud(30, 1)
    whole = mmd(x, y)
    monkeypatch.setattr("fenchel.ot.metrics._CHUNK", 64)
    np.testing.assert_allclose(mmd(x, y), whole, rtol=1e-12)


# crossings


def brute_force(x: Any, mapped: Any) -> float:
    """By rational arithmetic."""
    points = [[tuple(Fraction(float(c)) for c in p) for p in one] for one in (x, mapped)]

    def side(p: Any, q: Any, r: Any) -> Any:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    count = 0
    pairs = list(itertools.combinations(range(len(x)), 2))
    for i, j in pairs:
        a, b, c, d = points[0][i], points[1][i], points[0][j], points[1][j]
        count += (
            side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
        )  # fmt: skip
    return count / len(pairs)


def test_segments_that_cross_touch_or_lie_apart() -> None:
    cases: list[tuple[Any, bool]] = [
        ([(0, 0), (2, 2), (0, 2), (2, 0)], True),  # the diagonals of a square
        ([(0, 0), (2, 0), (0, 2), (2, 2)], False),  # two of its sides
        ([(0, 0), (2, 0), (1, 0), (1, 2)], False),  # an end on the inside of the other
        ([(0, 0), (2, 0), (2, 0), (2, 2)], False),  # a common end
        ([(0, 0), (2, 0), (1, 0), (3, 0)], False),  # an overlap
        ([(0, 0), (2, 0), (1, 1), (1, 3)], False),  # the line would be crossed, beyond an end
        ([(0, 0), (2, 0), (1, 0), (1, 0)], False),  # a point that stays
    ]
    for (a, b, c, d), crossing in cases:
        assert crossings([a, c], [b, d]) == float(crossing)  # type: ignore[arg-type]


def test_a_half_turn_crosses_all_and_a_shift_none() -> None:
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 60)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert crossings(circle, -circle) == 1.0  # diameters
    assert crossings(circle, circle + np.array([0.3, 5.0])) == 0.0
    assert crossings(circle, 3 * circle) == 0.0


@pytest.mark.parametrize(
    "grid",
    [
        lambda rng: rng.normal(size=(2, 40, 2)),
        lambda rng: rng.integers(0, 4, size=(2, 40, 2)).astype(float),  # many on one line
        lambda rng: 0.1 * rng.integers(0, 4, size=(2, 40, 2)),  # nearly on one line
        lambda rng: 1 + 1e-15 * rng.normal(size=(2, 40, 2)),  # a few numbers apart
        lambda rng: rng.normal(size=(2, 40, 2)) * 10.0 ** rng.integers(-200, 200, (2, 40, 2)),
        lambda rng: rng.normal(size=(2, 40, 1)) * [1.0, 3.0],  # on one line, but for rounding
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_crossings_are_those_of_rational_arithmetic(grid: Any, seed: int) -> None:
    x, mapped = grid(np.random.default_rng(seed))
    assert crossings(x, mapped) == brute_force(x, mapped)


def test_crossings_do_not_change_under_affine_maps_orders_and_exchange(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, mapped = cloud(300, 0), cloud(300, 1)
    value = crossings(x, mapped)
    assert 0.1 < value < 0.4
    A, order = np.array([[1.0, 0.5], [-0.2, 2.0]]), np.random.default_rng(2).permutation(300)
    assert crossings(x @ A + 1, mapped @ A + 1) == value
    assert crossings(x[order], mapped[order]) == value
    assert crossings(mapped, x) == value
    monkeypatch.setattr("fenchel.ot.metrics._CHUNK", 700)
    assert crossings(x, mapped) == value


def test_an_optimal_assignment_for_the_euclidean_cost_has_no_crossing() -> None:
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    x, y = cloud(100, 0), cloud(100, 1)
    _, best = linear_sum_assignment(cdist(x, y))
    assert crossings(x, y[best]) == 0.0


# the door


def test_tensors_and_arrays_give_the_same_floats() -> None:
    x, y, z = (cloud(20, seed) for seed in range(3))
    for metric in (map_cosine, lambda x, y, _: mmd(x, y), lambda x, y, _: crossings(x, y)):
        arrays = metric(x, y, z)
        tensors = metric(*(torch.tensor(one, requires_grad=True) for one in (x, y, z)))
        assert type(arrays) is type(tensors) is float
        assert arrays == tensors
    assert type(l2_uvp(torch.tensor(x), torch.tensor(y), variance=2.0)) is float


def test_wrong_arguments_are_refused() -> None:
    x = cloud(5, 0)
    with pytest.raises(ValueError, match="true must have the shape"):
        l2_uvp(x, x[:4], variance=1.0)
    with pytest.raises(ValueError, match="variance"):
        l2_uvp(x, x, variance=0.0)
    with pytest.raises(ValueError, match="mapped must have shape"):
        l2_uvp(x[0], x[0], variance=1.0)
    with pytest.raises(ValueError, match="mapped must be finite"):
        l2_uvp(x * np.nan, x, variance=1.0)
    with pytest.raises(ValueError, match="true must move"):
        map_cosine(x, x + 1, x)
    with pytest.raises(ValueError, match="gammas"):
        mmd(x, x, gammas=[])
    with pytest.raises(ValueError, match="gammas"):
        mmd(x, x, gammas=[1.0, -1.0])
    with pytest.raises(ValueError, match="y must have shape"):
        mmd(x, cloud(5, 0, 3))
    for bad in (cloud(5, 0, 3), x[:1]):
        with pytest.raises(ValueError, match="x must have shape"):
            crossings(bad, bad)
    with pytest.raises(TypeError, match="mapped"):
        l2_uvp(x, torch.tensor(x), variance=1.0)
