"""Exponents of growth and other statistics of mean curves."""

import numpy as np
import pytest

from fenchel.core import Trace
from fenchel.core.regret import growth_exponent, least_squares_slope


def runs(exponent: float, noise: float, *, n: int = 100, seed: int = 0) -> list[Trace]:
    rng = np.random.default_rng(seed)
    horizons = [100, 400, 1600, 6400]
    return [
        Trace(
            rounds=np.array([horizon]),
            regret=3.0 * horizon**exponent * (1 + noise * rng.normal(size=(n, 1))),
        )
        for horizon in horizons
    ]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_growth_exponent_is_exact_without_noise(exponent: float) -> None:
    estimate = growth_exponent(runs(exponent, 0.0))
    np.testing.assert_allclose([estimate.value, estimate.low, estimate.high], exponent, atol=1e-12)


def test_growth_exponent_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(100):
        estimate = growth_exponent(runs(0.5, 0.3, seed=seed), n_resamples=400)
        covered += estimate.low <= 0.5 <= estimate.high
    # Bin(100, 0.95) is below 86 with probability 5e-5; the bootstrap of 100 values is nearly exact
    assert 86 <= covered < 100


def test_growth_exponent_needs_two_horizons_and_positive_regret() -> None:
    traces = runs(0.5, 0.1)
    with pytest.raises(ValueError, match="two or more horizons"):
        growth_exponent(traces[:1])
    negative = Trace(rounds=np.array([9]), regret=-np.ones((5, 1)))
    with pytest.raises(ValueError, match="not positive"):
        growth_exponent([*traces, negative])


def test_least_squares_slope_is_that_of_polyfit() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=20), rng.normal(size=(3, 20))
    np.testing.assert_allclose(least_squares_slope(x, y), np.polyfit(x, y.T, 1)[0], rtol=1e-10)
