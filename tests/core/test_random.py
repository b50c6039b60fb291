import itertools

import numpy as np
import pytest
import scipy.stats

from fenchel.core import random as fenchel_random
from fenchel.core.checks import FloatArray
from fenchel.core.random import SphereStream, UniformStream, sample_rows

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
    SphereStream(np.random.default_rng(0), (3,)).draw()
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def sphere(n: int, dim: int, seed: int = 0) -> FloatArray:
    """n points, drawn in rounds of 50."""
    stream = SphereStream(np.random.default_rng(seed), (50, dim))
    return np.concatenate([stream.draw() for _ in range(n // 50)])


@pytest.mark.parametrize("shape", [(1,), (4,), (3, 2), (5, 1), (2, 3, 4), (300, 200)])
@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 15])
def test_points_of_the_sphere_are_normals_over_their_lengths_for_every_chunk_size(
    shape: tuple[int, ...], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fenchel_random, "_CHUNK", chunk)
    stream = SphereStream(np.random.default_rng(5), shape)
    rounds = 50 if np.prod(shape) < 1000 else 3
    drawn = np.array([stream.draw() for _ in range(rounds)])
    normals = np.random.default_rng(5).standard_normal((rounds, *shape))
    lengths = np.linalg.norm(normals, axis=-1, keepdims=True)
    np.testing.assert_allclose(drawn, normals / lengths, rtol=1e-14)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=-1), 1.0, rtol=1e-14)


@pytest.mark.parametrize("dim", [1, 2, 3, 10])
def test_points_of_the_sphere_are_uniform(dim: int) -> None:
    n = 20_000
    x = sphere(n, dim)
    # by symmetry E x = 0 and E x xᵀ = I/d; entries of the products are bounded by 1
    assert (abs(x.mean(axis=0)) < 5 / np.sqrt(n)).all()
    assert (abs(x.T @ x / n - np.eye(dim) / dim) < 5 / np.sqrt(n)).all()
    direction = np.linspace(1, 2, dim) / np.linalg.norm(np.linspace(1, 2, dim))
    if dim == 1:
        assert set(np.unique(x)) == {-1.0, 1.0}
    else:  # (1 + ⟨e, x⟩)/2 ~ Beta((d − 1)/2, (d − 1)/2) for each unit vector e
        law = scipy.stats.beta((dim - 1) / 2, (dim - 1) / 2)
        for e in (direction, np.eye(dim)[0]):
            assert scipy.stats.kstest((1 + x @ e) / 2, law.cdf).pvalue > 1e-4


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_first_d_of_d_plus_2_coordinates_are_uniform_in_the_ball(dim: int) -> None:
    x = sphere(20_000, dim + 2, seed=1)[:, :dim]
    # the law of the length is P(‖x‖ ≤ s) = sᵈ, that of the direction is symmetric
    assert scipy.stats.kstest(np.linalg.norm(x, axis=-1) ** dim, "uniform").pvalue > 1e-4
    covariance = x.T @ x / len(x)
    assert (abs(covariance - np.eye(dim) / (dim + 2)) < 5 / np.sqrt(len(x))).all()


def test_rounds_of_the_sphere_are_independent() -> None:
    stream = SphereStream(np.random.default_rng(2), (2000, 2))
    x = np.array([stream.draw() for _ in range(20)])  # (T, R, d): chunks end within
    products = np.einsum("trd,srd->tsr", x, x).mean(axis=-1)  # of rounds t and s
    np.testing.assert_allclose(np.diag(products), 1.0, rtol=1e-13)
    off = products[~np.eye(20, dtype=bool)]
    assert abs(off).max() < 5 * np.sqrt(0.5 / 2000)  # the variance of ⟨x, y⟩ is 1/d
    neighbours = (x[:, 1:] * x[:, :-1]).sum(axis=-1).mean()
    assert abs(neighbours) < 5 * np.sqrt(0.5 / x[:, 1:, 0].size)


def test_later_points_leave_earlier_ones_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fenchel_random, "_CHUNK", 8)
    stream = SphereStream(np.random.default_rng(6), (2, 2))
    kept = [stream.draw() for _ in range(9)]
    copies = [array.copy() for array in kept]
    for _ in range(20):
        stream.draw()
    np.testing.assert_array_equal(kept, copies)
