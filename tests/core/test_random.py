import itertools

import numpy as np
import pytest

from fenchel.core import random as fenchel_random
from fenchel.core.checks import FloatArray
from fenchel.core.random import UniformStream, sample_rows

BELOW_ONE = np.nextafter(1.0, 0.0)


def sample_by_hand(p: FloatArray, u: float) -> int:
    """The first arm whose distribution function exceeds u, else the last arm that can be drawn."""
    below = np.cumsum(p) > u
    return int(below.argmax()) if below.any() else int(np.flatnonzero(p)[-1])


@pytest.mark.parametrize(
    "p", [[0.25, 0.5, 0.25], [1.0, 0.0], [0.0, 1.0], [0.125, 0.0, 0.375, 0.5], [0.0, 0.5, 0.5, 0.0]]
)
def test_frequencies_over_a_grid_of_uniforms_are_the_probabilities_exactly(p: list[float]) -> None:
    n = 4096  # entries of p are multiples of 1/8, so each arm owns n p_k points of the grid k/n
    grid = np.arange(n) / n
    arms = sample_rows(np.tile(p, (n, 1)), grid)
    np.testing.assert_array_equal(np.bincount(arms, minlength=len(p)), n * np.array(p))
    assert (np.diff(arms) >= 0).all()


def test_sampling_inverts_the_distribution_function() -> None:
    rng = np.random.default_rng(0)
    for size in (2, 3, 10, 1000):
        p = rng.dirichlet(np.full(size, 0.3), size=200)
        u = rng.random(200)
        expected = [sample_by_hand(row, v) for row, v in zip(p, u, strict=True)]
        np.testing.assert_array_equal(sample_rows(p, u), expected)


def test_arms_of_probability_zero_are_never_drawn() -> None:
    for support in itertools.product([0.0, 1.0], repeat=4):
        if sum(support) == 0:
            continue
        p = np.array(support) / sum(support)
        for u in (0.0, 5e-324, 0.25, 1 / 3, 0.5, 2 / 3, 0.75, 1 - 1e-15, BELOW_ONE):
            assert p[sample_rows(p[None], np.array([u]))[0]] > 0


def test_rounding_of_the_sum_never_leaves_the_support() -> None:
    # sums of 1/n fall short of 1 by some ulps; a uniform just below one must still find an arm
    for n in (3, 7, 10, 49, 1000, 9999):
        p = np.full((1, n + 2), 1 / n)
        p[0, [0, -1]] = 0.0
        arm = sample_rows(p, np.array([BELOW_ONE]))[0]
        assert 1 <= arm <= n


def test_arms_of_tiny_probability_are_drawn_only_by_uniforms_below_it() -> None:
    p = np.array([1e-300, 1.0, 0.0])
    for u, arm in ((0.0, 0), (9e-301, 0), (1e-300, 1), (2.0**-53, 1), (0.5, 1), (BELOW_ONE, 1)):
        assert sample_rows(p[None], np.array([u]))[0] == arm
    p = np.array([1.0, 1e-300])
    for u in (0.0, 0.5, BELOW_ONE):
        assert sample_rows(p[None], np.array([u]))[0] == 0


@pytest.mark.parametrize("u", [0.0, 0.2, 0.5, BELOW_ONE])
@pytest.mark.parametrize(
    "bad", [[np.nan, 0.5, 0.5], [0.5, np.nan, 0.5], [0.5, 0.5, np.nan], [np.nan] * 3]
)
def test_rows_with_nan_are_refused_and_named(bad: list[float], u: float) -> None:
    p = np.full((5, 3), 1 / 3)
    p[3] = bad
    with pytest.raises(FloatingPointError, match="replication 3"):
        sample_rows(p, np.full(5, u))


def test_rows_that_sum_to_less_than_one_are_refused_where_it_matters() -> None:
    p = np.array([[0.5, 0.5], [0.3, 0.3], [0.0, 0.0]])
    with pytest.raises(FloatingPointError, match="replication 1"):
        sample_rows(p, np.full(3, 0.9))
    with pytest.raises(FloatingPointError, match="replication 0"):
        sample_rows(p[2:], np.zeros(1))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 5), (40000,)])
@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 15])
def test_stream_equals_the_generator_in_c_order_for_every_chunk_size(
    shape: tuple[int, ...], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fenchel_random, "_CHUNK", chunk)
    stream = UniformStream(np.random.default_rng(5), shape)
    rounds = 50 if np.prod(shape) < 1000 else 3
    drawn = np.array([stream.draw() for _ in range(rounds)])
    np.testing.assert_array_equal(drawn, np.random.default_rng(5).random((rounds, *shape)))


def test_later_draws_leave_earlier_ones_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fenchel_random, "_CHUNK", 8)
    stream = UniformStream(np.random.default_rng(6), (4,))
    kept = [stream.draw() for _ in range(9)]
    copies = [array.copy() for array in kept]
    for _ in range(20):
        stream.draw()
    np.testing.assert_array_equal(kept, copies)


def test_streams_leave_global_random_state_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    UniformStream(np.random.default_rng(0), (3,)).draw()
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
