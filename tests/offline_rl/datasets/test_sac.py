"""Datasets of agents in training, at the size of a toy."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from fenchel.offline_rl.datasets import cache_root, generate, generation, sac
from fenchel.offline_rl.envs import LQR

torch = pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

TOY = sac.Training(
    "fenchel/LQR-v0",
    170,
    hidden=32,
    n_transitions=150,
    learning_starts=140,
    n_evaluations=2,
    evaluation_episodes=1,
    reference_episodes=5,
)


@pytest.fixture(scope="module")
def run() -> sac.Run:
    random.seed(1)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    made = sac.train(TOY, 0)
    drawn = random.random(), torch.rand(1).item(), np.random.random()  # noqa: NPY002
    random.seed(1)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert drawn == (random.random(), torch.rand(1).item(), np.random.random())  # noqa: NPY002
    return made


def test_the_replay_is_each_step_of_the_training_before_any_reset(run: sac.Run) -> None:
    replay, system = run.replay, LQR()
    assert len(replay) == 170
    assert replay.lengths().tolist() == [100, 70]
    assert np.flatnonzero(replay.timeouts).tolist() == [99, 169]  # the time limit, and the end
    assert not replay.terminals.any()
    following, reward, _ = system.step(
        replay.observations.astype(np.float64), replay.actions.astype(np.float64)
    )
    np.testing.assert_allclose(replay.next_observations, following, atol=1e-6)  # float32
    np.testing.assert_allclose(replay.rewards, reward, atol=1e-6)
    inner = np.delete(np.arange(169), 99)
    np.testing.assert_array_equal(replay.next_observations[inner], replay.observations[inner + 1])
    assert not np.allclose(replay.next_observations[99], replay.observations[100])


def test_medium_is_the_first_evaluation_above_a_third_of_the_way(run: sac.Run) -> None:
    meta = run.replay.meta
    threshold = meta["ref_min"] + (max(meta["evaluations"]) - meta["ref_min"]) / 3
    first = next(i for i, value in enumerate(meta["evaluations"]) if value >= threshold)
    assert meta["medium_step"] == (85, 170)[first]


def test_a_seed_gives_one_training(run: sac.Run) -> None:
    assert sac.train(TOY, 0).replay.hash() == run.replay.hash()


class Indifferent(gymnasium.Env[Any, Any]):
    """Each step costs 1, whatever one does."""

    observation_space = action_space = spaces.Box(-1, 1, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, np.float32), -1.0, False, False, {}


def test_training_that_does_not_beat_uniform_actions_is_told() -> None:
    gymnasium.register("fenchel-tests/Indifferent-v0", Indifferent, max_episode_steps=10)
    futile = replace(TOY, env_id="fenchel-tests/Indifferent-v0", training_steps=2)
    try:
        with pytest.raises(ValueError, match=r"training_steps must be enough .*got 2"):
            sac.train(futile, 0)
    finally:
        del gymnasium.registry["fenchel-tests/Indifferent-v0"]


def test_policies_draw_their_actions_and_a_seed_repeats_them(run: sac.Run) -> None:
    one = sac.collect(TOY, run.policies, "expert", 120, seed=3)
    assert one.hash() == sac.collect(TOY, run.policies, "expert", 120, seed=3).hash()
    longer = sac.collect(TOY, run.policies, "expert", 150, seed=3)
    np.testing.assert_array_equal(longer.actions[:120], one.actions)
    assert one.lengths().tolist() == [100, 20]
    mean, _ = run.policies["expert"].predict(one.observations, deterministic=True)
    assert np.abs(mean - one.actions).mean() > 0.1


def test_pendulums_torque_follows_from_two_states() -> None:
    # θ̈ = 3g/(2l) sin θ + 3u/(ml²), with g = 10, m = l = 1, a step of 0.05, speeds clipped at 8
    pendulum = replace(TOY, env_id="Pendulum-v1")
    dataset = sac.collect(pendulum, {}, "random", 600, seed=0)
    sine, speed, after = (
        dataset.observations[:, 1],
        dataset.observations[:, 2],
        dataset.next_observations[:, 2],
    )
    torque = (after - speed - 0.05 * 15 * sine) / 0.15
    free = np.abs(after) < 8
    np.testing.assert_allclose(torque[free], dataset.actions[free, 0], atol=2e-5)  # float32
    assert dataset.timeouts.sum() == 3
    assert free.mean() > 0.9


def test_tiers_come_from_one_cached_run(
    run: sac.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FENCHEL_DATA", str(tmp_path))
    monkeypatch.setitem(generation.TRAINED, "Pendulum-v1", TOY)
    monkeypatch.setattr(sac, "train", lambda training, seed: run)
    both = generate("Pendulum-v1/medium-expert", seed=5)
    assert (tmp_path / "Pendulum-v1" / "sac-s5-t170-g3" / "expert.zip").exists()
    assert cache_root() == tmp_path

    monkeypatch.setattr(sac, "train", None)  # from here on, policies come from the disk
    assert both.meta["counts"] == [75, 75]
    assert both.meta["ref_max"] == run.replay.meta["ref_max"]
    expert = generate("Pendulum-v1/expert", seed=5, n_transitions=75)
    np.testing.assert_array_equal(both.actions[75:], expert.actions)
    replay = generate("Pendulum-v1/full-replay", seed=5)
    np.testing.assert_array_equal(replay.actions, run.replay.actions)
    beginning = generate("Pendulum-v1/medium-replay", seed=5)
    np.testing.assert_array_equal(
        beginning.actions, run.replay.actions[: run.replay.meta["medium_step"]]
    )
    assert generate("Pendulum-v1/random", seed=5).meta["env_id"] == "fenchel/LQR-v0"
    with pytest.raises(TypeError):
        generate("Pendulum-v1/medium", seed=5, training_steps=171)
