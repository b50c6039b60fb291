import subprocess
import sys

import numpy as np
import pytest

from fenchel.mdp import AdversarialMDP, random_linear_mdp, stochastic_losses

gymnasium = pytest.importorskip("gymnasium")

MODEL = random_linear_mdp(3, 4, 2, 3, seed=1)
GAME = AdversarialMDP(MODEL, stochastic_losses(MODEL, 5, rng=np.random.default_rng(0)))


def make():
    from fenchel.mdp.envs import AdversarialMDPEnv

    return AdversarialMDPEnv(GAME)


def test_gymnasiums_checker_is_content() -> None:
    from gymnasium.utils.env_checker import check_env

    check_env(make(), skip_render_check=True)


def test_episodes_come_in_order_and_again_from_the_first() -> None:
    env = make()
    assert [env.reset()[1]["episode"] for _ in range(7)] == [1, 2, 3, 4, 5, 1, 2]
    assert env.reset(seed=0)[1]["episode"] == 1
    assert env.reset(options={"episode": 4})[1]["episode"] == 4
    for k in (0, 6):
        with pytest.raises(ValueError, match="episode"):
            env.reset(options={"episode": k})


def test_rewards_are_the_losses_of_the_episode_and_states_follow_the_transitions() -> None:
    env, rng = make(), np.random.default_rng(3)
    counts = np.zeros((2, 2, 4, 2, 4))
    total, returns = MODEL.n_states, []
    env.reset(seed=5)
    for _ in range(4000):
        state, _ = env.reset(options={"episode": 2})
        place, value = (0, state), 0.0
        for h in range(3):
            action = int(rng.integers(2))
            following, reward, done, truncated, _ = env.step(action)
            assert reward == -GAME.losses(2)[h][place[1], action]
            assert not truncated
            value += reward
            assert done == (h == 2)
            if not done:
                counts[0, h, place[1], action, following - (h + 1) * total] += 1
                place = (h + 1, following - (h + 1) * total)
        assert following == 12
        returns.append(value)
    visits = counts[0].sum(axis=-1)
    often = visits > 200
    error = np.abs(counts[0] / np.maximum(visits, 1)[..., None] - MODEL.transition[:2])
    assert (error[often] <= 5 * np.sqrt(0.25 / visits[often])[:, None]).all()
    expected = -float((MODEL.occupancy(MODEL.uniform_policy()) * GAME.losses(2)).sum())
    assert abs(np.mean(returns) - expected) <= 4 * np.std(returns) / np.sqrt(len(returns))


def test_same_seed_same_episode() -> None:
    def play(env) -> list[int]:
        env.reset(seed=11)
        return [env.step(a)[0] for a in (0, 1, 1)]

    assert play(make()) == play(make())


def test_wrong_calls_are_refused() -> None:
    env = make()
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action"):
        env.step(2)


def test_the_theory_side_does_not_import_gymnasium() -> None:
    code = "import sys, fenchel.mdp; assert not {'gymnasium', 'torch', 'cvxpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
