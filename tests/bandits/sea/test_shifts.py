import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats

from fenchel.bandits import OGD
from fenchel.bandits.sea import (
    NoisyLinear,
    alternating,
    corrupted,
    drifting,
    rotating,
    switching,
)
from fenchel.core import run
from fenchel.core.checks import FloatArray

T = 60


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def movement(theta: FloatArray) -> float:
    """Σ²_{1:T} of the game with these means."""
    return float(NoisyLinear(theta, 0.1).quantities(len(theta)).Sigma2_cum)


SEQUENCES: dict[str, Callable[[], FloatArray]] = {
    "rotating": lambda: rotating(T, 3, frequency=0.7, offset=0.2),
    "alternating": lambda: alternating(T, 3),
    "switching": lambda: switching(T, 3, n_switches=7, rng=generator()),
    "drifting": lambda: drifting(T, 3, step=0.2, rng=generator()),
    "corrupted": lambda: corrupted([0.1, 0, 0], T, count=9, corruption=[-0.5, 0.0, 0.2]),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_make_games_that_learners_play(name: str) -> None:
    theta = SEQUENCES[name]()
    assert theta.shape == (T, 3)
    assert theta.dtype == np.float64
    game = NoisyLinear(theta, 0.3)
    learner = OGD(3, radius=1.0, gradient_bound=game.gradient_bound)
    trace = run(learner, game, T, n_replications=4, seed=0)
    assert np.isfinite(trace.regret).all()
    assert trace.pathwise is not None
    assert trace.pathwise.tightest() <= 1
    assert trace.bound_ratio().value <= 1
    theta += 1.0  # the array is the caller's
    np.testing.assert_allclose(SEQUENCES[name](), theta - 1.0, atol=1e-15)


@pytest.mark.parametrize("frequency", [0.0, 0.01, 1.0, math.pi, 5.0, -2.0])
@pytest.mark.parametrize("amplitude", [0.0, 0.5, 2.0])
def test_rotation_moves_by_twice_the_amplitude_times_the_sine_of_half_the_angle(
    frequency: float, amplitude: float
) -> None:
    theta = rotating(T, 4, frequency=frequency, amplitude=amplitude, offset=-0.3)
    steps = np.linalg.norm(np.diff(theta, axis=0), axis=-1)
    expected = 2 * amplitude * abs(math.sin(frequency / 2))
    np.testing.assert_allclose(steps, expected, atol=1e-13)
    assert movement(theta) == pytest.approx((T - 1) * expected**2, abs=1e-12)
    around = theta - [-0.3, 0, 0, 0]
    np.testing.assert_allclose(np.linalg.norm(around, axis=-1), amplitude, rtol=1e-13)
    assert not theta[:, 2:].any()
    first = [-0.3 + amplitude * math.cos(frequency), amplitude * math.sin(frequency), 0, 0]
    np.testing.assert_allclose(theta[0], first, atol=1e-15)  # t counts from 1


def test_rotation_by_pi_alternates_about_the_offset() -> None:
    theta = rotating(T, 2, frequency=math.pi, amplitude=0.4)
    np.testing.assert_allclose(theta, alternating(T, 2, amplitude=0.4), atol=1e-13)


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("horizon", [1, 2, 7, 8])
def test_alternation_changes_sign_each_round(horizon: int, dim: int) -> None:
    theta = alternating(horizon, dim, amplitude=0.7)
    expected = np.zeros((horizon, dim))
    expected[:, 0] = [0.7 * (-1) ** t for t in range(1, horizon + 1)]
    np.testing.assert_array_equal(theta, expected)
    assert movement(theta) == pytest.approx((horizon - 1) * 4 * 0.7**2)


@pytest.mark.parametrize("n_switches", [0, 1, 6, 58, 59])
@pytest.mark.parametrize("dim", [2, 5])
def test_switching_has_equal_stages_and_as_many_switches_as_asked_for(
    n_switches: int, dim: int
) -> None:
    theta = switching(T, dim, n_switches=n_switches, rng=generator(1), amplitude=0.3)
    np.testing.assert_allclose(np.linalg.norm(theta, axis=-1), 0.3, rtol=1e-14)
    changes = np.flatnonzero(np.diff(theta, axis=0).any(axis=-1)) + 1
    assert len(changes) == n_switches
    lengths = np.diff([0, *changes, T])
    assert lengths.max() - lengths.min() <= 1
    assert movement(theta) <= n_switches * (2 * 0.3) ** 2  # at most c Σ²_max
    largest = NoisyLinear(theta, 0.1).quantities(T).Sigma2_max
    assert movement(theta) <= n_switches * largest * (1 + 1e-12)


def test_directions_of_the_stages_are_uniform_on_the_circle() -> None:
    theta = switching(4000, 2, n_switches=3999, rng=generator(2), amplitude=1.0)
    angles = np.arctan2(theta[:, 1], theta[:, 0])
    assert scipy.stats.kstest(angles, "uniform", args=(-math.pi, 2 * math.pi)).pvalue > 1e-4
    # E ‖θ − θ′‖² = 2 for independent directions
    assert movement(theta) / 3999 == pytest.approx(2.0, abs=5 * math.sqrt(2 / 4000))


@pytest.mark.parametrize("step", [1e-6, 0.05, 0.3, 10.0])
@pytest.mark.parametrize("dim", [2, 5])
def test_drift_has_steps_of_its_length_inside_and_shorter_ones_at_the_border(
    step: float, dim: int
) -> None:
    theta = drifting(400, dim, step=step, rng=generator(3), amplitude=0.5)
    assert not theta[0].any()
    norms = np.linalg.norm(theta, axis=-1)
    assert (norms <= 0.5 * (1 + 1e-14)).all()
    steps = np.linalg.norm(np.diff(theta, axis=0), axis=-1)
    assert (steps <= step * (1 + 1e-9)).all()
    inside = norms[1:] < 0.5 * (1 - 1e-12)
    np.testing.assert_allclose(steps[inside], step, rtol=1e-9)
    assert movement(theta) <= 399 * step**2 * (1 + 1e-9)
    assert inside.all() == (step == 1e-6)


def test_an_undisturbed_drift_spreads_like_the_square_root_of_time() -> None:
    rng = generator(4)
    ends = np.array([drifting(50, 2, step=0.1, rng=rng, amplitude=100.0)[-1] for _ in range(500)])
    squares = (ends**2).sum(axis=-1)  # E ‖θ_T‖² = (T − 1) step²
    error = squares.std() / math.sqrt(500)
    assert abs(squares.mean() - 49 * 0.01) < 4 * error
    assert (abs(ends.mean(axis=0)) < 5 * math.sqrt(49 * 0.005 / 500)).all()


@pytest.mark.parametrize("dim", [1, 3])
def test_a_drift_without_steps_stays_at_zero(dim: int) -> None:
    theta = drifting(5, dim, step=0.0, rng=generator())
    np.testing.assert_array_equal(theta, np.zeros((5, dim)))


@pytest.mark.parametrize("seed", range(5))
def test_a_drift_on_the_line_may_come_back_to_zero(seed: int) -> None:
    theta = drifting(50, 1, step=0.1, rng=generator(seed), amplitude=10.0)
    np.testing.assert_allclose(abs(np.diff(theta[:, 0])), 0.1, rtol=1e-9)


@pytest.mark.parametrize(("horizon", "count"), [(60, 0), (60, 1), (60, 7), (60, 60), (1, 1)])
def test_corruption_shifts_as_many_rounds_as_asked_for_at_equal_distances(
    horizon: int, count: int
) -> None:
    theta, shift = np.array([0.2, 0.0]), np.array([-0.8, 0.3])
    means = corrupted(theta, horizon, count=count, corruption=shift)
    np.testing.assert_array_equal(theta, [0.2, 0.0])
    shifted = np.flatnonzero((means != theta).any(axis=-1))
    assert len(shifted) == count
    np.testing.assert_array_equal(means[shifted], np.tile(theta + shift, (count, 1)))
    if count > 1:
        distances = np.diff(shifted)
        assert distances.max() - distances.min() <= 1
    total = np.linalg.norm(means - theta, axis=-1).sum()
    assert total == pytest.approx(count * np.linalg.norm(shift))
    # in and out of each corruption: Σ² ≤ 2 ‖c‖² count ≤ 4 G C
    game = NoisyLinear(means, 0.0)
    assert movement(means) <= 2 * count * (shift @ shift) + 1e-12
    assert movement(means) <= 4 * game.gradient_bound * total


def test_random_sequences_come_from_their_generator_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    makers: list[Callable[[np.random.Generator], FloatArray]] = [
        lambda rng: switching(T, 2, n_switches=5, rng=rng),
        lambda rng: drifting(T, 2, step=0.1, rng=rng),
    ]
    for make in makers:
        np.testing.assert_array_equal(make(generator(5)), make(generator(5)))
        assert not np.array_equal(make(generator(5)), make(generator(6)))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: rotating(0, 2, frequency=1.0), "horizon"),
        (lambda: rotating(5, 1, frequency=1.0), "dim"),
        (lambda: rotating(5, 2, frequency=math.nan), "frequency"),
        (lambda: rotating(5, 2, frequency=1.0, amplitude=math.nan), "amplitude"),
        (lambda: rotating(5, 2, frequency=1.0, offset=math.inf), "offset"),
        (lambda: alternating(-1, 2), "horizon"),
        (lambda: alternating(5, 0), "dim"),
        (lambda: alternating(5, 2, amplitude=math.inf), "amplitude"),
        (lambda: switching(5, 2, n_switches=5, rng=generator()), "n_switches"),
        (lambda: switching(5, 2, n_switches=-1, rng=generator()), "n_switches"),
        (lambda: switching(5, 0, n_switches=1, rng=generator()), "dim"),
        (lambda: switching(5, 2, n_switches=1, rng=generator(), amplitude=math.nan), "amplitude"),
        (lambda: drifting(0, 2, step=0.1, rng=generator()), "horizon"),
        (lambda: drifting(5, 0, step=0.1, rng=generator()), "dim"),
        (lambda: drifting(5, 2, step=math.nan, rng=generator()), "step"),
        (lambda: drifting(5, 2, step=0.1, rng=generator(), amplitude=math.nan), "amplitude"),
        (lambda: corrupted([0.0, 0.0], 5, count=6, corruption=[1.0, 0.0]), "count"),
        (lambda: corrupted([0.0, 0.0], 5, count=-1, corruption=[1.0, 0.0]), "count"),
        (lambda: corrupted([0.0, 0.0], 5, count=1, corruption=[1.0]), "corruption"),
        (lambda: corrupted([0.0, math.nan], 5, count=1, corruption=[1.0, 0.0]), "theta"),
        (lambda: corrupted([[0.0, 1.0]], 5, count=1, corruption=[1.0, 0.0]), "theta"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(make: Callable[[], Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: rotating(5.0, 2, frequency=1.0), "horizon"),
        (lambda: rotating(5, 2, frequency="1"), "frequency"),
        (lambda: alternating(5, 2.0), "dim"),
        (lambda: alternating(5, 2, amplitude="1"), "amplitude"),
        (lambda: switching(5, 2, n_switches=1.0, rng=generator()), "n_switches"),
        (lambda: drifting(5, 2, step="1", rng=generator()), "step"),
        (lambda: corrupted([0.0], 5, count=True, corruption=[1.0]), "count"),
    ],
)
def test_arguments_of_another_type_are_refused_by_name(make: Callable[[], Any], name: str) -> None:
    with pytest.raises(TypeError, match=name):
        make()
