"""Bandits as gymnasium environments."""

from typing import Any

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env  # noqa: E402

from fenchel.bandits import UCB1, AdversarialBandit, BernoulliBandit  # noqa: E402
from fenchel.bandits.envs import GAMES, BanditEnv  # noqa: E402
from fenchel.core import BanditFeedback, run  # noqa: E402

LOSSES = np.random.default_rng(0).random((50, 3))
NEEDED: dict[str, dict[str, Any]] = {"Adversarial": {"losses": LOSSES}}


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.filterwarnings("ignore:.*Box observation space.*infinity")
def test_games_pass_gymnasiums_checker(name: str) -> None:
    env = gymnasium.make(f"fenchel/{name}-v0", **NEEDED.get(name, {}))
    check_env(env.unwrapped, skip_render_check=True)


@pytest.mark.parametrize("name", GAMES)
def test_a_seed_repeats_an_episode_and_another_does_not(name: str) -> None:
    def rewards(seed: int) -> list[float]:
        env = gymnasium.make(f"fenchel/{name}-v0", **NEEDED.get(name, {}))
        env.reset(seed=seed)
        return [float(env.step(np.int64(t % 2))[1]) for t in range(40)]

    assert rewards(1) == rewards(1)
    assert (rewards(1) == rewards(2)) == (name == "Adversarial")  # nothing random there


def test_regret_of_a_loop_is_that_of_run() -> None:
    game = AdversarialBandit(LOSSES)
    trace = run(UCB1(3), game, 50, seed=0, checkpoints=list(range(1, 51)))
    env = BanditEnv(AdversarialBandit(LOSSES))
    env.reset(seed=0)
    learner = UCB1(3)
    learner.reset(1, 50, np.random.default_rng(0))
    for t in range(50):
        arms = learner.act()
        _, reward, terminated, _, info = env.step(arms[0])
        learner.update(BanditFeedback(arms, np.array([-reward])))
        assert info["regret"] == pytest.approx(trace.regret[0, t])
        assert terminated == (t == 49)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.int64(0))


def test_contextual_games_show_the_features_of_the_next_round() -> None:
    env = gymnasium.make("fenchel/LinearContextual-v0", noise=0.0)
    features, _ = env.reset(seed=3)
    total = 0.0
    for _ in range(20):
        losses = features @ np.array([0.6, 0.0, 0.8])
        arm = int(losses.argmax())
        features, reward, *_, info = env.step(np.int64(arm))
        assert -reward == pytest.approx(losses[arm])
        total += losses[arm] - losses.min()
        assert info["regret"] == pytest.approx(total)


def test_bad_games_and_actions_are_refused() -> None:
    env = BanditEnv(BernoulliBandit([0.1, 0.2]))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.int64(0))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action must be an arm"):
        env.step(np.int64(2))
    with pytest.raises(TypeError, match="bandit with n_arms"):
        BanditEnv("Bernoulli")  # type: ignore[arg-type]
