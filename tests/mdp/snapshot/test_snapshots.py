"""Snapshots: bit-exact continuations, fields, randomness, wrappers, and what is refused."""

import copy
import subprocess
import sys
import warnings
from collections import deque
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers

from fenchel.mdp.envs import AdversarialMDPEnv
from fenchel.mdp.snapshot import (
    Fields,
    Replay,
    UnsupportedEnv,
    capture,
    register_adapter,
    register_wrapper,
    restore,
)
from fenchel.mdp.snapshot.values import copied

MUJOCO = (
    "Hopper-v5", "HalfCheetah-v5", "Walker2d-v5", "Swimmer-v5", "Ant-v5", "Humanoid-v5",
    "HumanoidStandup-v5", "InvertedPendulum-v5", "InvertedDoublePendulum-v5", "Reacher-v5",
    "Pusher-v5",
)  # fmt: skip
OTHERS = (
    "CartPole-v1", "Pendulum-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0",
    "Taxi-v4", "CliffWalking-v1", "FrozenLake-v1", "FrozenLake8x8-v1", "Blackjack-v1",
)  # fmt: skip


def make(task: str) -> Any:
    if task in MUJOCO:
        pytest.importorskip("mujoco")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of versions
        return gymnasium.make(task)


def after(env: Any, n_steps: int, seed: int) -> Any:
    """Observation and info after random steps; None if the episode ended."""
    observation, info = env.reset(seed=seed)
    env.action_space.seed(seed)
    for _ in range(n_steps):
        observation, _, terminated, truncated, info = env.step(env.action_space.sample())
        if terminated or truncated:
            return None
    return observation, info


def course(env: Any, actions: Any) -> Iterator[Any]:
    """What follows, up to the end of the episode."""
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        yield np.asarray(observation).tobytes(), float(reward), terminated, truncated
        if terminated or truncated:
            return


def other(task: str) -> Any:
    """Another instance, somewhere else."""
    env = make(task)
    env.reset(seed=99)
    for _ in range(7):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()
    return env


# exactness


@pytest.mark.parametrize("task", MUJOCO + OTHERS)
def test_what_follows_is_the_same_bit_by_bit(task: str) -> None:
    """As in the protocol of the paper's specification: 200 steps, in another instance."""
    tried = 0
    for seed, n_steps in enumerate((0, 1, 5, 23, 61)):
        env, copy_of = make(task), other(task)
        found = after(env, n_steps, seed)
        if found is None:
            continue
        snapshot = capture(env, *found)
        actions = [env.action_space.sample() for _ in range(200)]
        expected = list(course(env, actions))
        observation, _ = restore(copy_of, snapshot)
        assert np.asarray(observation).tobytes() == np.asarray(found[0]).tobytes()
        assert list(course(copy_of, actions)) == expected
        restore(env, snapshot)  # again, and in the same instance
        assert list(course(env, actions)) == expected
        tried += 1
    assert tried >= (1 if task == "Blackjack-v1" else 2)


@pytest.mark.parametrize("task", ["Hopper-v5", "CartPole-v1", "Taxi-v4", "Blackjack-v1"])
def test_a_restored_state_is_that_of_the_snapshot(task: str) -> None:
    env = make(task)
    snapshot = capture(env, *after(env, 1, seed=0), meta={"t": 1})
    copy_of = other(task)
    observation, info = restore(copy_of, snapshot)
    again = capture(copy_of, observation, info, meta={"t": 1})
    for name in ("env_id", "fingerprint", "rng", "meta", "elapsed"):
        assert getattr(again, name) == getattr(snapshot, name)
    for name in ("state", "observation", "info"):
        assert_same(getattr(again, name), getattr(snapshot, name))
    assert_same([state for _, state in again.wrappers], [state for _, state in snapshot.wrappers])


def assert_same(one: Any, two: Any) -> None:
    """In kind and value."""
    assert type(one) is type(two)
    if isinstance(one, dict):
        assert list(one) == list(two)
        one, two = list(one.values()), list(two.values())
    if isinstance(one, list | tuple | deque):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)
    else:
        np.testing.assert_array_equal(one, two)


def test_positions_and_velocities_are_no_snapshot() -> None:
    """`set_state` loses the acceleration from which the solver starts."""
    env, copy_of = make("Ant-v5"), other("Ant-v5")
    observation, info = after(env, 61, seed=1)
    snapshot = capture(env, observation, info)
    inner = env.unwrapped
    qpos, qvel = inner.data.qpos.copy(), inner.data.qvel.copy()
    actions = [env.action_space.sample() for _ in range(100)]
    expected = list(course(env, actions))
    copy_of.unwrapped.set_state(qpos, qvel)
    assert list(course(copy_of, actions)) != expected
    restore(copy_of, snapshot)
    assert list(course(copy_of, actions)) == expected


def test_deep_copies_of_mujoco_are_fresh_environments() -> None:
    """Which is why none is ever made."""
    env = make("Hopper-v5")
    after(env, 5, seed=0)
    false_copy = copy.deepcopy(env)
    assert false_copy.unwrapped.data.time == 0.0 < env.unwrapped.data.time
    assert false_copy._elapsed_steps == 5


# randomness


def test_generators_are_put_back_or_left_alone() -> None:
    env = make("FrozenLake8x8-v1")
    snapshot = capture(env, *after(env, 2, seed=0))
    actions = [env.action_space.sample() for _ in range(60)]
    expected = list(course(env, actions))
    restore(env, snapshot, randomness="replay")
    assert list(course(env, actions)) == expected
    ways = set()
    for _ in range(10):
        before = env.unwrapped.np_random.bit_generator.state
        restore(env, snapshot, randomness="resample")
        assert env.unwrapped.np_random.bit_generator.state == before
        ways.add(tuple(course(env, actions)))
    assert len(ways) > 1


def test_snapshots_share_nothing_with_environments() -> None:
    env = make("Pendulum-v1")
    observation, info = after(env, 3, seed=0)
    info["list"] = [np.zeros(2)]
    snapshot = capture(env, observation, info)
    kept = snapshot.state["state"].copy()
    observation[:] = 7.0
    info["list"][0][:] = 7.0
    got, got_info = restore(env, snapshot)
    got[:] = 8.0
    got_info["list"][0][:] = 8.0
    env.step(env.action_space.sample())
    env.unwrapped.state[:] = 9.0
    np.testing.assert_array_equal(snapshot.state["state"], kept)
    assert snapshot.observation.max() < 7.0
    assert snapshot.info["list"][0].max() == 0.0


# wrappers


def test_time_limits_go_on_where_they_were() -> None:
    env = gymnasium.make("CartPole-v1", max_episode_steps=20)
    snapshot = capture(env, *after(env, 8, seed=0))
    assert snapshot.elapsed == 8
    restore(env, snapshot)
    lengths = [len(list(course(env, [k % 2 for k in range(30)])))]
    assert lengths == [12]


@pytest.mark.parametrize("kind", ["stack", "delay", "time"])
def test_wrappers_with_a_state_go_on_too(kind: str) -> None:
    def made() -> Any:
        env = gymnasium.make("Pendulum-v1")
        if kind == "stack":
            return wrappers.FrameStackObservation(env, 3)
        if kind == "delay":
            return wrappers.DelayObservation(env, 2)
        return wrappers.TimeAwareObservation(env)

    env, copy_of = made(), made()
    snapshot = capture(env, *after(env, 5, seed=0))
    actions = [env.action_space.sample() for _ in range(20)]
    expected = list(course(env, actions))
    copy_of.reset(seed=5)
    restore(copy_of, snapshot)
    assert list(course(copy_of, actions)) == expected


def test_wrappers_that_are_not_known_are_refused_until_described() -> None:
    class Tired(gymnasium.Wrapper[Any, Any, Any, Any]):
        def __init__(self, env: Any) -> None:
            super().__init__(env)
            self.energy = 10.0

        def step(self, action: Any) -> Any:
            self.energy -= 1.0
            observation, _, *rest = self.env.step(action)
            return observation, self.energy, *rest

    env = Tired(make("CartPole-v1"))
    found = after(env, 3, seed=0)
    with pytest.raises(UnsupportedEnv, match="got Tired"):
        capture(env, *found)
    with pytest.raises(UnsupportedEnv, match="NormalizeObservation"):
        capture(wrappers.NormalizeObservation(make("CartPole-v1")), *found)
    register_wrapper(Tired, "energy")
    snapshot = capture(env, *found)
    expected = list(course(env, [0, 1, 0]))
    restore(env, snapshot)
    assert list(course(env, [0, 1, 0])) == expected


# environments of one's own


class Walk(gymnasium.Env[Any, Any]):
    observation_space = gymnasium.spaces.Discrete(100)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.place = 50
        return self.place, {}

    def step(self, action: Any) -> Any:
        self.place += int(self.np_random.integers(1, 3)) * (1 if action else -1)
        return self.place, float(self.place), not 0 < self.place < 99, False, {}


def test_environments_that_are_not_known_are_refused_until_described() -> None:
    env = Walk()
    found = after(env, 3, seed=0)
    with pytest.raises(UnsupportedEnv, match="got Walk"):
        capture(env, *found)
    replayed = Replay(env)
    snapshot = capture(replayed, *after(replayed, 4, seed=0))
    expected = list(course(replayed, [1] * 10))
    again = Replay(Walk())
    again.reset(seed=5)
    restore(again, snapshot)
    assert list(course(again, [1] * 10)) == expected
    register_adapter(Walk, Fields("place"))
    snapshot = capture(env, *after(env, 3, seed=0))
    expected = list(course(env, [1] * 10))
    restore(env, snapshot)
    assert list(course(env, [1] * 10)) == expected


@pytest.mark.parametrize("seeded", [True, False])
def test_replayed_snapshots_need_no_state(seeded: bool) -> None:
    env = Replay(make("FrozenLake8x8-v1"))
    env.reset(seed=3)
    while (found := after(env, 4, seed=1) if seeded else unseeded(env, 4)) is None:
        pass
    snapshot = capture(env, *found)
    actions = [env.action_space.sample() for _ in range(50)]
    expected = list(course(env, actions))
    copy_of = Replay(make("FrozenLake8x8-v1"))
    copy_of.reset(seed=8)
    for _ in range(2):  # the second time from what the first one left
        restore(copy_of, snapshot)
        assert capture(copy_of, *found).state == snapshot.state
        assert list(course(copy_of, actions)) == expected
    before = copy_of.np_random.bit_generator.state
    restore(copy_of, snapshot, randomness="resample")
    assert copy_of.np_random.bit_generator.state == before


def unseeded(env: Any, n_steps: int) -> Any:
    found = env.reset()
    for _ in range(n_steps):
        observation, _, terminated, truncated, info = env.step(env.action_space.sample())
        if terminated or truncated:
            return None
        found = observation, info
    return found


def test_own_mdps_are_known() -> None:
    from fenchel.mdp import AdversarialMDP, random_linear_mdp, stochastic_losses

    model = random_linear_mdp(4, 3, 2, 3, seed=0)
    losses = stochastic_losses(model, 5, rng=np.random.default_rng(1))
    one, two = (AdversarialMDPEnv(AdversarialMDP(model, losses)) for _ in range(2))
    snapshot = capture(one, *after(one, 1, seed=0))
    expected = list(course(one, [0, 1, 0]))
    two.reset(seed=4)
    restore(two, snapshot)
    assert list(course(two, [0, 1, 0])) == expected


# what is refused


def test_other_models_and_wrappers_are_refused_before_anything_changes() -> None:
    env = make("CartPole-v1")
    snapshot = capture(env, *after(env, 3, seed=0))
    heavier = make("CartPole-v1")
    heavier.unwrapped.masspole = 0.2
    heavier.reset(seed=0)
    state = heavier.unwrapped.state.copy()
    with pytest.raises(ValueError, match="another model, parameter or version"):
        restore(heavier, snapshot)
    np.testing.assert_array_equal(heavier.unwrapped.state, state)
    free = env.unwrapped
    with pytest.raises(ValueError, match="wrappers of the snapshot, TimeLimit, got none"):
        restore(free, snapshot)
    with pytest.raises(ValueError, match="another model"):
        restore(make("Pendulum-v1"), snapshot)
    with pytest.raises(ValueError, match="randomness must be one of"):
        restore(env, snapshot, randomness="again")  # type: ignore[arg-type]


def test_episodes_that_are_over_or_have_not_begun_are_refused() -> None:
    env = make("CartPole-v1")
    with pytest.raises(ValueError, match="must have been reset"):
        capture(env, np.zeros(4), {})
    found = after(env, 1, seed=0)
    with pytest.raises(ValueError, match="terminated"):
        capture(env, *found, terminated=True)


def test_models_of_mujoco_have_fingerprints() -> None:
    hopper = make("Hopper-v5")
    snapshot = capture(hopper, *after(hopper, 1, seed=0))
    longer = gymnasium.make("Hopper-v5", frame_skip=2)
    longer.reset(seed=0)
    with pytest.raises(ValueError, match="another model"):
        restore(longer, snapshot)
    heavier = make("Hopper-v5")
    heavier.unwrapped.model.body_mass[1] *= 1.5
    heavier.reset(seed=0)
    with pytest.raises(ValueError, match="another model"):
        restore(heavier, snapshot)


def test_banks_of_another_version_of_mujoco_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    mujoco = pytest.importorskip("mujoco")
    hopper = make("Hopper-v5")
    snapshot = capture(hopper, *after(hopper, 1, seed=0))
    restore(hopper, snapshot)
    monkeypatch.setattr(mujoco, "__version__", "3.0.0")
    other = make("Hopper-v5")
    other.reset(seed=0)
    before = other.unwrapped.data.qpos.copy()
    with pytest.raises(ValueError, match="another model, parameter or version"):
        restore(other, snapshot)
    np.testing.assert_array_equal(other.unwrapped.data.qpos, before)


def test_what_is_missing_is_named() -> None:
    """In a process where gymnasium cannot be imported."""
    code = (
        "import sys; sys.modules['gymnasium'] = None\n"
        "import fenchel.mdp.snapshot\n"
        "try: from fenchel.mdp.snapshot import capture\n"
        "except ModuleNotFoundError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "fenchel[snapshot]"' in done.stdout


def test_states_are_of_plain_values() -> None:
    value = {"a": (1, [np.zeros(2), None]), "b": deque([np.float32(1.0)], 3)}
    assert_same(copied(value), value)
    assert copied(value)["a"][1][0] is not value["a"][1][0]  # type: ignore[index]
    with pytest.raises(TypeError, match="plain values"):
        copied(object())
