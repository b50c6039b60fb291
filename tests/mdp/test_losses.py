import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenchel.core.checks import BoolArray, FloatArray
from fenchel.mdp import (
    AdversarialMDP,
    LinearMDP,
    chain,
    chain_flip,
    constrained_losses,
    random_linear_mdp,
    stochastic_losses,
    tabular_as_linear,
)

MODEL = random_linear_mdp(3, 4, 2, 5, seed=0)
seeds = st.integers(0, 10_000)
quick = settings(deadline=None, derandomize=True, max_examples=30)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def high(n_episodes: int, n_blocks: int) -> BoolArray:
    """Which episodes have the high level: with gap = 0 and level = ½ losses are levels."""
    theta = constrained_losses(
        MODEL, n_episodes, rng=generator(), gap=0.0, level=0.5, n_blocks=n_blocks
    )
    assert (theta == theta[:, :1, :1]).all()
    return theta[:, 0, 0] == 1.0


# stochastic losses


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.2, 0.45])
def test_coordinates_have_means_a_gap_above_or_below_one_half(gap: float) -> None:
    K = 4000
    theta = stochastic_losses(MODEL, K, rng=generator(1), gap=gap)
    assert theta.shape == (K, MODEL.horizon, MODEL.dim)
    assert theta.dtype == np.float64
    assert set(np.unique(theta)) == {0.0, 1.0}
    error = math.sqrt((0.25 - gap**2) / K)
    means = theta.mean(axis=0)
    signs = np.where(means > 0.5, 1.0, -1.0)
    assert (abs(means - 0.5 - gap * signs) < 5 * error).all()
    for half in (theta[: K // 2], theta[K // 2 :]):  # the signs are fixed
        off = abs(half.mean(axis=0) - 0.5 - gap * signs)
        assert (off < 5 * math.sqrt(2) * error).all()
    if gap > 0:
        assert abs(signs.sum()) < signs.size  # both occur


def test_the_default_gap_is_one_fifth() -> None:
    default, fifth = (
        stochastic_losses(MODEL, 50, rng=generator(1), **options) for options in ({}, {"gap": 0.2})
    )
    np.testing.assert_array_equal(default, fifth)


def test_the_largest_gap_leaves_no_noise_and_fair_signs() -> None:
    model = random_linear_mdp(40, 1, 1, 50, seed=0)
    theta = stochastic_losses(model, 5, rng=generator(2), gap=0.5)
    np.testing.assert_array_equal(theta, np.broadcast_to(theta[:1], theta.shape))
    n = 40 * 50
    assert abs(theta[0].mean() - 0.5) < 5 * 0.5 / math.sqrt(n)
    pairs = theta[0, :, 1:] == theta[0, :, :-1]  # neighbours agree half of the time
    assert abs(pairs.mean() - 0.5) < 5 * 0.5 / math.sqrt(pairs.size)


def test_coordinates_and_episodes_are_independent() -> None:
    K = 4000
    x = stochastic_losses(MODEL, K, rng=generator(3), gap=0.3).reshape(K, -1)
    x -= x.mean(axis=0)
    within, between = x.T @ x / K, x[1:].T @ x[:-1] / K
    np.fill_diagonal(within, 0.0)
    assert abs(within).max() < 5 * 0.25 / math.sqrt(K)
    assert abs(between).max() < 5 * 0.25 / math.sqrt(K)


# stochastically constrained losses


@quick
@given(seeds, st.integers(1, 50), st.floats(0, 0.5), st.integers(1, 20))
def test_without_a_level_the_constrained_adversary_is_stochastic(
    seed: int, K: int, gap: float, n_blocks: int
) -> None:
    constrained = constrained_losses(
        MODEL, K, rng=generator(seed), gap=gap, level=0.0, n_blocks=n_blocks
    )
    stochastic = stochastic_losses(MODEL, K, rng=generator(seed), gap=gap)
    np.testing.assert_array_equal(constrained, stochastic)


@pytest.mark.parametrize(
    ("K", "n_blocks"), [(16, 16), (32, 16), (100, 16), (17, 5), (7, 1), (9, 2), (1, 1), (1000, 7)]
)
def test_levels_alternate_between_blocks_of_equal_lengths(K: int, n_blocks: int) -> None:
    is_high = high(K, n_blocks)
    assert is_high[0]
    starts = np.flatnonzero(np.diff(is_high, prepend=False))
    assert len(starts) == n_blocks
    lengths = np.diff([*starts, K])
    assert lengths.max() - lengths.min() <= 1


@pytest.mark.parametrize(("K", "n_blocks"), [(8, 16), (5, 16), (6, 7), (10, 30), (4, 1000)])
def test_with_more_blocks_than_episodes_the_level_jumps_each_time(K: int, n_blocks: int) -> None:
    np.testing.assert_array_equal(high(K, n_blocks), np.arange(K) % 2 == 0)


def test_gaps_are_the_same_around_both_levels() -> None:
    # ½ ± ¼ ± ¼: coordinates above the level always cost 1 in high blocks, those below it never
    # cost anything in low ones, and all else is a fair coin
    K = 8000
    theta = constrained_losses(MODEL, K, rng=generator(4), gap=0.25, level=0.25, n_blocks=8)
    is_high = high(K, 8)
    above, below = theta[is_high].all(axis=0), ~theta[~is_high].any(axis=0)
    np.testing.assert_array_equal(above, ~below)
    assert above.any()
    assert below.any()
    error = 0.5 / math.sqrt(K / 2)
    assert (abs(theta[~is_high].mean(axis=0)[above] - 0.5) < 5 * error).all()
    assert (abs(theta[is_high].mean(axis=0)[below] - 0.5) < 5 * error).all()


def test_means_are_level_and_gap_apart_by_default_a_quarter_and_a_fifth_in_16_blocks() -> None:
    K = 8000
    theta = constrained_losses(MODEL, K, rng=generator(5))
    is_high = high(K, 16)
    up, down = theta[is_high].mean(axis=0), theta[~is_high].mean(axis=0)
    signs = np.where(up + down > 1, 1.0, -1.0)
    error = 0.5 / math.sqrt(K / 2)
    assert (abs(up - 0.75 - 0.2 * signs) < 5 * error).all()
    assert (abs(down - 0.25 - 0.2 * signs) < 5 * error).all()


@quick
@given(seeds, st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4))
def test_the_level_costs_every_policy_the_same(seed: int, H: int, S: int, A: int, d: int) -> None:
    rng = generator(seed)
    laws = rng.dirichlet(np.ones(S), size=(H, S, A))
    for model in (random_linear_mdp(H, S, A, d, seed=seed), tabular_as_linear(laws)):
        theta = constrained_losses(model, 4, rng=rng, gap=0.0, level=0.5, n_blocks=2)
        q = model.occupancy(rng.dirichlet(np.ones(A), size=(5, H, S)))
        losses = np.einsum("hsad,khd->khsa", model.features, theta)
        charges = np.einsum("nhsa,khsa->kn", q, losses)
        expected = np.broadcast_to(H * np.array([1.0, 1.0, 0.0, 0.0])[:, None], (4, 5))
        np.testing.assert_allclose(charges, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("gap", "level"), [(0.5, 0.0), (0.0, 0.5), (0.25, 0.25), (0.2, 0.3), (0.3, 0.2), (0.1, 0.4)]
)
def test_gap_and_level_may_add_up_to_one_half(gap: float, level: float) -> None:
    assert gap + level == 0.5
    theta = constrained_losses(MODEL, 4, rng=generator(), gap=gap, level=level, n_blocks=2)
    assert theta.shape == (4, 3, 5)


def test_random_losses_come_from_their_generator_alone() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    makers: list[Callable[[np.random.Generator], FloatArray]] = [
        lambda rng: stochastic_losses(MODEL, 20, rng=rng),
        lambda rng: constrained_losses(MODEL, 20, rng=rng),
    ]
    for make in makers:
        np.testing.assert_array_equal(make(generator(5)), make(generator(5)))
        assert not np.array_equal(make(generator(5)), make(generator(6)))
        rng = generator(5)
        assert not np.array_equal(make(rng), make(rng))
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@quick
@given(seeds, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4))
def test_parameters_stand_for_losses_in_the_unit_interval(
    seed: int, H: int, S: int, A: int, d: int
) -> None:
    model = random_linear_mdp(H, S, A, d, seed=seed)
    for theta in (
        stochastic_losses(model, 3, rng=generator(seed)),
        constrained_losses(model, 3, rng=generator(seed), n_blocks=3),
    ):
        environment = AdversarialMDP(model, theta)
        for k in (1, 2, 3):
            expected = np.einsum("hsad,hd->hsa", model.features, theta[k - 1])
            np.testing.assert_allclose(environment.losses(k), expected, atol=1e-9)


# the chain that flips


def staying(model: LinearMDP, last: int) -> FloatArray:
    """On the chain to its end, and there the action `last`."""
    actions = np.ones((model.horizon, model.n_states), dtype=np.int64)
    actions[-1] = last
    return model.deterministic(actions)


@pytest.mark.parametrize("H", [2, 3, 6, 9])
@pytest.mark.parametrize("K", [1, 3, 4, 8, 11])
def test_the_end_of_the_chain_is_bad_for_a_quarter_of_the_episodes_then_good(
    H: int, K: int
) -> None:
    model, losses = chain(H), chain_flip(H, K)
    assert losses.shape == (K, H, 2, 2)
    assert (losses >= 0).all()
    assert (losses <= 1).all()
    leaving = model.deterministic(np.zeros((H, 2), dtype=np.int64))
    bad = np.arange(K) < K // 4
    on_the_way = 0.55 * (H - 1)
    for policy, expected in (
        (leaving, np.full(K, 0.5 * H)),
        (staying(model, 1), np.where(bad, on_the_way + 0.9, on_the_way)),
        (staying(model, 0), np.where(bad, on_the_way + 0.9, on_the_way + 0.6)),
    ):
        charges = (losses * model.occupancy(policy)).sum(axis=(1, 2, 3))
        np.testing.assert_allclose(charges, expected, rtol=1e-13)


def test_a_chain_of_one_layer_is_all_end() -> None:
    losses = chain_flip(1, 8)
    np.testing.assert_array_equal(losses[:2, 0, 0], np.full((2, 2), 0.9))
    np.testing.assert_array_equal(losses[2:, 0, 0], np.tile([0.6, 0.0], (6, 1)))
    np.testing.assert_array_equal(losses[:, 0, 1], np.full((8, 2), 0.5))


@pytest.mark.parametrize("H", [2, 4, 6, 7, 10])
def test_the_best_policy_in_hindsight_leaves_at_once_or_stays_to_the_end(H: int) -> None:
    K = 40
    environment = AdversarialMDP(chain(H), chain_flip(H, K))
    for n in range(1, K + 1):
        left = 0.5 * H * n
        stayed = 0.55 * (H - 1) * n + 0.9 * min(n, K // 4)
        actions, loss = environment.best_policy(n)
        assert loss == pytest.approx(min(left, stayed), rel=1e-12)
        if abs(left - stayed) > 1e-9:
            assert actions[0, 0] == (stayed < left)
    # after all K: 0.05 (H − 1) + 0.225 < 0.5 up to H = 6; a longer chain is not worth its way
    assert environment.best_policy()[0][0, 0] == (H <= 6)


# what is refused


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: stochastic_losses(MODEL, 0, rng=generator()), "n_episodes"),
        (lambda: stochastic_losses(MODEL, 5, rng=generator(), gap=-0.1), "gap"),
        (lambda: stochastic_losses(MODEL, 5, rng=generator(), gap=0.51), "gap"),
        (lambda: stochastic_losses(MODEL, 5, rng=generator(), gap=math.nan), "gap"),
        (lambda: stochastic_losses(MODEL, 5, rng=generator(), gap=[0.1, 0.2]), "gap"),
        (lambda: constrained_losses(MODEL, -3, rng=generator()), "n_episodes"),
        (lambda: constrained_losses(MODEL, 5, rng=generator(), gap=-0.1), "gap"),
        (lambda: constrained_losses(MODEL, 5, rng=generator(), gap=0.3), "gap"),  # + ¼ > ½
        (lambda: constrained_losses(MODEL, 5, rng=generator(), gap=math.nan), "gap"),
        (lambda: constrained_losses(MODEL, 5, rng=generator(), level=-0.1), "level"),
        (lambda: constrained_losses(MODEL, 5, rng=generator(), gap=0.0, level=0.51), "level"),
        (lambda: constrained_losses(MODEL, 5, rng=generator(), level=math.nan), "level"),
        (lambda: constrained_losses(MODEL, 5, rng=generator(), n_blocks=0), "n_blocks"),
        (lambda: chain_flip(0, 5), "horizon"),
        (lambda: chain_flip(5, 0), "n_episodes"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(make: Callable[[], Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: stochastic_losses(MODEL, 5.0, rng=generator()), "n_episodes"),
        (lambda: stochastic_losses(MODEL, 5, rng=generator(), gap="1"), "gap"),
        (lambda: constrained_losses(MODEL, True, rng=generator()), "n_episodes"),
        (lambda: constrained_losses(MODEL, 5, rng=generator(), level=None), "level"),
        (lambda: constrained_losses(MODEL, 5, rng=generator(), n_blocks=2.0), "n_blocks"),
        (lambda: chain_flip(2.0, 5), "horizon"),
        (lambda: chain_flip(2, 5.0), "n_episodes"),
    ],
)
def test_arguments_of_another_type_are_refused_by_name(make: Callable[[], Any], name: str) -> None:
    with pytest.raises(TypeError, match=name):
        make()
