import math
from typing import Any

import numpy as np
import pytest

from fenchel.bandits import Exp3
from fenchel.bandits.linear import OFUL, AdversarialLinearBandit, Exp2, LinearBandit, LinTS
from fenchel.core import run
from fenchel.core.checks import FloatArray

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(6, 3)) / 3
THETA = np.array([0.5, -0.3, 0.4])
ROWS = RNG.uniform(-0.5, 0.5, size=(50, 3))


def start(environment: Any, n: int, seed: int = 0) -> Any:
    environment.reset(n, np.random.default_rng(seed))
    return environment


def test_linear_losses_are_means_and_gaussian_noise() -> None:
    n = 20_000
    game = start(LinearBandit(FEATURES, THETA, noise=0.3), n)
    for arm in range(6):
        losses = game.step(np.full(n, arm)).losses
        assert abs(losses.mean() - FEATURES[arm] @ THETA) < 5 * 0.3 / math.sqrt(n)
        assert abs(losses.var() / 0.09 - 1) < 5 * math.sqrt(2 / n)
        assert (
            abs((losses - losses.mean()).clip(-0.3, 0.3).var() - 0.09 * 0.5161) < 0.01
        )  # Gaussian


def test_without_noise_losses_are_the_means() -> None:
    game = start(LinearBandit(FEATURES, THETA, noise=0.0), 6)
    np.testing.assert_allclose(game.step(np.arange(6)).losses, FEATURES @ THETA, rtol=1e-12)
    np.testing.assert_allclose(game.gaps, FEATURES @ THETA - (FEATURES @ THETA).min(), atol=1e-15)


def test_adversarial_losses_are_those_of_the_round() -> None:
    for parameters in (ROWS, lambda t: ROWS[t]):
        game = start(AdversarialLinearBandit(FEATURES, parameters), 6)
        for row in ROWS:
            np.testing.assert_allclose(game.step(np.arange(6)).losses, FEATURES @ row, atol=1e-15)


@pytest.mark.parametrize("stochastic", [False, True])
def test_regret_is_against_the_best_arm_in_hindsight(stochastic: bool) -> None:
    table = np.tile(FEATURES @ THETA, (50, 1)) if stochastic else ROWS @ FEATURES.T  # (T, K)
    game: Any = (
        LinearBandit(FEATURES, THETA) if stochastic else AdversarialLinearBandit(FEATURES, ROWS)
    )
    arms = np.random.default_rng(1).integers(0, 6, size=(50, 4))
    mixtures = np.random.default_rng(2).dirichlet(np.ones(6), size=(50, 4))
    start(game, 4)
    by_arms, by_mixtures = game.comparator(), game.comparator()
    for t in range(50):
        game.step(arms[t])
        by_arms.observe(arms[t])
        by_mixtures.observe(mixtures[t])
        best = table[: t + 1].sum(axis=0).min()
        played = table[np.arange(t + 1)[:, None], arms[: t + 1]].sum(axis=0)
        np.testing.assert_allclose(by_arms.regret(), played - best, atol=1e-12)
        expected = np.einsum("tk,trk->r", table[: t + 1], mixtures[: t + 1])
        np.testing.assert_allclose(by_mixtures.regret(), expected - best, atol=1e-12)


def test_the_noise_does_not_depend_on_the_arms_played() -> None:
    games = [start(LinearBandit(FEATURES, THETA), 4, seed=3) for _ in range(2)]
    for t in range(20):
        one, two = (
            game.step(np.full(4, arm)).losses for game, arm in zip(games, (0, t % 6), strict=True)
        )
        np.testing.assert_allclose(
            one - FEATURES[0] @ THETA, two - FEATURES[t % 6] @ THETA, atol=1e-12
        )


def test_same_seed_same_run_and_no_global_randomness() -> None:
    state: Any = np.random.get_state()  # noqa: NPY002
    for learner in (OFUL(FEATURES), LinTS(FEATURES), Exp2(FEATURES)):
        game = LinearBandit(FEATURES, THETA)
        one, two, other = (
            run(learner, game, 50, n_replications=3, seed=s).regret for s in (5, 5, 6)
        )
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, other)
    np.testing.assert_array_equal(state[1], np.random.get_state()[1])  # noqa: NPY002


def test_learners_that_do_not_know_the_features_are_refused() -> None:
    # Exp3's guarantee is for losses in [0, 1]
    for learner in (Exp3(6), OFUL(FEATURES[::-1]), OFUL(dim=3)):
        with pytest.raises(ValueError, match="features"):
            run(learner, LinearBandit(FEATURES, THETA), 5, seed=0)


def test_horizon_is_the_number_of_parameters() -> None:
    with pytest.raises(ValueError, match="at most 50"):
        run(Exp2(FEATURES), AdversarialLinearBandit(FEATURES, ROWS), 51, seed=0)


BAD: dict[str, tuple[Any, str]] = {
    "one arm": (lambda: LinearBandit([[1.0, 0.0]], [0.1, 0.1]), "number of rows"),
    "zeros": (lambda: LinearBandit(np.zeros((2, 2)), [0.1, 0.1]), "all zero"),
    "vector": (lambda: LinearBandit([1.0, 0.0], [0.1]), "shape"),
    "other dimension": (lambda: LinearBandit(FEATURES, [0.1]), "parameter must have shape"),
    "large losses": (lambda: LinearBandit(FEATURES, [10.0, 0, 0]), "losses in"),
    "negative noise": (lambda: LinearBandit(FEATURES, THETA, noise=-0.1), "noise"),
    "large rows": (lambda: AdversarialLinearBandit(FEATURES, 10 * ROWS), "losses in"),
    "large function": (lambda: AdversarialLinearBandit(FEATURES, lambda t: 10 * ROWS[t]), "losses"),
    "no rounds": (lambda: AdversarialLinearBandit(FEATURES, np.zeros((0, 3))), "number of rounds"),
}


@pytest.mark.parametrize("name", BAD)
def test_environments_refuse_bad_arguments(name: str) -> None:
    make, match = BAD[name]
    with pytest.raises(ValueError, match=match):
        make()


@pytest.mark.parametrize(
    "action", [np.array([0, 6]), np.array([0, -1]), np.array([0.0, 1.0]), np.zeros(3, dtype=int)]
)
def test_environments_refuse_bad_arms(action: FloatArray) -> None:
    for game in (LinearBandit(FEATURES, THETA), AdversarialLinearBandit(FEATURES, ROWS)):
        with pytest.raises(ValueError, match="action"):
            start(game, 2).step(action)
