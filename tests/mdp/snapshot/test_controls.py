"""Jump-starts, and a teacher's transitions in the replay buffer."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from fenchel.mdp.snapshot import JumpStart, SwitchOff, add_transitions

sb3 = pytest.importorskip("stable_baselines3")


def still(observation: Any) -> Any:
    return np.zeros(1, np.float32)


def right(observation: Any) -> int:
    return 1


def test_the_student_takes_over_after_the_teachers_steps() -> None:
    env = JumpStart(gymnasium.make("Pendulum-v1"), still, [3, 7, 11])
    lengths = []
    for k in range(30):
        observation, info = env.reset(seed=k)
        lengths.append(info["jump_start"])
        plain = gymnasium.make("Pendulum-v1")
        expected, _ = plain.reset(seed=k)
        for _ in range(lengths[-1]):
            expected, *_ = plain.step(still(expected))
        np.testing.assert_array_equal(observation, expected)
        t, over = 0, False
        while not over:
            *_, over, info = env.step(still(observation))
            t += 1
        assert t == 200 - lengths[-1] == 200 - info["jump_start"]
    assert set(lengths) == {3, 7, 11}
    assert env.stats() == {
        "resets": 30, "jump_start_resets": 30, "jump_start_steps": 6000 - sum(lengths),
        "cuts": 0, "teacher_steps": sum(lengths),
    }  # fmt: skip


def test_an_end_before_gives_the_next_start() -> None:
    env = JumpStart(gymnasium.make("CartPole-v1"), right, [400])  # falls after about ten steps
    observation, info = env.reset(seed=0)
    assert info["jump_start"] == 0
    assert np.abs(observation).max() <= 0.05
    assert 5 < env.teacher_steps < 20


def test_jump_starts_end_at_the_next_reset_and_are_cut() -> None:
    env = JumpStart(gymnasium.make("Pendulum-v1"), still, [5], truncate=20)
    env.reset(seed=0)
    cut = [env.step(still(None))[3] for _ in range(20)]
    assert cut == [False] * 19 + [True]
    env.set_active(False)
    _, info = env.reset()
    assert "jump_start" not in info
    assert not any(env.step(still(None))[3] for _ in range(150))
    assert env.stats()["jump_start_resets"] == 1
    with pytest.raises(ValueError, match="at least one"):
        JumpStart(gymnasium.make("Pendulum-v1"), still, [])
    with pytest.raises(ValueError, match="lengths"):
        JumpStart(gymnasium.make("Pendulum-v1"), still, [-1])


def test_switching_off_works_for_jump_starts_too() -> None:
    env = JumpStart(gymnasium.make("Pendulum-v1"), still, [150])
    model = sb3.SAC("MlpPolicy", env, learning_starts=1000, seed=0)
    switch = SwitchOff(120)
    model.learn(400, callback=switch)
    assert switch.switched_at == 120
    assert env.stats()["jump_start_steps"] == 150
    assert env.stats()["teacher_steps"] == 450


@pytest.mark.parametrize("n_envs", [1, 3])
def test_transitions_of_a_teacher_are_those_it_saw(n_envs: int) -> None:
    from stable_baselines3.common.env_util import make_vec_env

    model = sb3.SAC("MlpPolicy", make_vec_env("Pendulum-v1", n_envs), seed=0)
    half = np.float32(0.5)
    n = add_transitions(
        model, lambda o: np.array([half]), gymnasium.make("Pendulum-v1"), n_episodes=2, seed=4
    )
    assert n == 400 // n_envs * n_envs
    buffer = model.replay_buffer
    assert buffer.pos == n // n_envs
    env = gymnasium.make("Pendulum-v1")
    before, _ = env.reset(seed=4)
    for t in range(200):
        after, reward, _, truncated, _ = env.step(np.array([half]))
        row = t // n_envs, t % n_envs
        np.testing.assert_array_equal(buffer.observations[row], before)
        np.testing.assert_array_equal(buffer.next_observations[row], after)
        assert buffer.actions[row][0] == 0.25  # of the range from -2 to 2
        assert buffer.rewards[row] == pytest.approx(reward, rel=1e-6)
        assert buffer.dones[row] == truncated == buffer.timeouts[row]
        before = after
    assert np.isfinite(model.learn(150).predict(before)[0]).all()


def test_transitions_of_ends_are_no_timeouts_and_need_a_buffer() -> None:
    model = sb3.DQN("MlpPolicy", "CartPole-v1", seed=0)
    n = add_transitions(model, right, gymnasium.make("CartPole-v1"), n_episodes=3, seed=0)
    assert model.replay_buffer.dones[:n].sum() == 3
    assert model.replay_buffer.timeouts[:n].sum() == 0
    assert (model.replay_buffer.actions[:n] == 1).all()
    with pytest.raises(ValueError, match="must have a replay buffer"):
        add_transitions(sb3.A2C("MlpPolicy", "CartPole-v1"), right, gymnasium.make("CartPole-v1"))
