"""Banks, samplers, resets to snapshots, and S3RL."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import wrappers
from hypothesis import given
from hypothesis import strategies as st

from fenchel.mdp.snapshot import (
    ClusterSampler,
    ScheduledSampler,
    Snapshot,
    SnapshotBank,
    SnapshotReset,
    UniformSampler,
    UnsupportedEnv,
    capture,
    collect_snapshots,
    restore,
)
from fenchel.mdp.snapshot.samplers import k_means

every_task = pytest.mark.parametrize("task", ["CartPole-v1", "Pendulum-v1", "Hopper-v5"])


def made(task: str, **more: Any) -> Any:
    if task == "Hopper-v5":
        pytest.importorskip("mujoco")
    return gymnasium.make(task, **more)


def random_policy(env: Any, seed: int = 0) -> Any:
    env.action_space.seed(seed)
    return lambda observation: env.action_space.sample()


def bank_of(task: str = "CartPole-v1", **more: Any) -> SnapshotBank:
    env = made(task)
    settings: dict[str, Any] = {
        "n_episodes": 4, "every": 3, "seed": 0, "value": lambda o: float(np.sum(o)),
    }  # fmt: skip
    return collect_snapshots(random_policy(env), env, **(settings | more))


# banks


def test_snapshots_are_of_starts_and_of_every_third_step() -> None:
    env = made("Pendulum-v1")
    bank = collect_snapshots(random_policy(env), env, n_episodes=3, every=7, seed=0)
    t = [one.meta["t"] for one in bank]
    assert t.count(0) == 3
    # steps are counted over all episodes of 200
    expected = sorted([0, 0, 0] + [k % 200 for k in range(0, 600, 7) if k % 200])
    assert sorted(t) == expected
    assert all(one.elapsed == one.meta["t"] for one in bank)


def test_the_best_episodes_come_first_with_their_returns() -> None:
    bank = bank_of("Pendulum-v1", every=10)
    last = [max((o.meta["t"], o.meta["return"]) for o in bank if o.meta["episode"] == k)[1]
            for k in range(4)]  # fmt: skip
    assert last == sorted(last, reverse=True)
    env = made("Pendulum-v1")
    one = next(o for o in bank if o.meta["t"] > 0)
    env.reset(seed=0)
    observation, _ = restore(env, one)
    assert one.meta["value"] == pytest.approx(float(np.sum(observation)))


@every_task
def test_files_hold_every_bit(task: str, tmp_path: Path) -> None:
    bank = bank_of(task)
    bank.save(tmp_path / "bank.npz")
    loaded = SnapshotBank.load(tmp_path / "bank.npz")
    assert len(loaded) == len(bank)
    one, two = made(task), made(task)
    for env in (one, two):
        env.reset(seed=0)
    for k in (0, len(bank) // 2, len(bank) - 1):
        assert loaded[k].meta == bank[k].meta
        assert loaded[k].rng == bank[k].rng
        for env, source in ((one, bank), (two, loaded)):
            restore(env, source[k])
            env.action_space.seed(1)
        for _ in range(5):
            a, b = (env.step(env.action_space.sample()) for env in (one, two))
            assert np.asarray(a[0]).tobytes() == np.asarray(b[0]).tobytes()
            assert a[1:4] == b[1:4]
            if a[2]:
                break
    assert (tmp_path / "bank.npz").stat().st_size < 2000 * len(bank)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    bank_of().save(tmp_path / "good.npz")
    content = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    for name in ("cut.npz", "other.npz"):
        with pytest.raises(ValueError, match=r"must be a file of SnapshotBank\.save"):
            SnapshotBank.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        SnapshotBank.load(tmp_path / "missing.npz")


def test_banks_are_of_one_environment() -> None:
    with pytest.raises(ValueError, match="of one environment"):
        SnapshotBank([bank_of()[0], bank_of("Pendulum-v1")[0]])
    with pytest.raises(ValueError, match="at least one"):
        SnapshotBank([])
    with pytest.raises(ValueError, match="have none"):
        bank_of(value=None).values()


# samplers


def lloyd(values: Any, n_clusters: int, rng: np.random.Generator) -> float:
    """Inertia after Lloyd's algorithm from a random start."""
    centres = rng.choice(values, n_clusters, replace=False)
    for _ in range(50):
        labels = np.abs(values[:, None] - centres).argmin(axis=1)
        centres = np.array(
            [values[labels == c].mean() if (labels == c).any() else centres[c]
             for c in range(n_clusters)]
        )  # fmt: skip
    return float(((values - centres[labels]) ** 2).sum())


def inertia(values: Any, labels: Any) -> float:
    parts = [values[labels == c] for c in np.unique(labels)]
    return float(sum(((part - part.mean()) ** 2).sum() for part in parts))


def test_clusters_are_the_best_there_are() -> None:
    """Of all contiguous partitions, and so never worse than Lloyd's."""
    from itertools import combinations

    rng = np.random.default_rng(0)
    for n, C in ((8, 3), (9, 2), (7, 4)):
        values = rng.normal(size=n)
        values[1] = values[0]
        ordered = np.sort(values)
        best = min(
            sum(((part - part.mean()) ** 2).sum() for part in np.split(ordered, cuts))
            for cuts in combinations(range(1, n), C - 1)
        )
        assert inertia(values, k_means(values, C)) == pytest.approx(best, abs=1e-12)
    for _ in range(20):
        values = rng.gamma(1.0, size=200)
        assert inertia(values, k_means(values, 6)) <= lloyd(values, 6, rng) + 1e-9


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=15),
    st.integers(1, 8),
)
def test_no_cut_can_be_moved_with_profit(values: list[float], n_clusters: int) -> None:
    """The least inertia of all, by the recursion over all cuts in plain Python."""
    x = np.sort(np.array(values))
    C = min(n_clusters, len(np.unique(x)))

    def of(i: int, j: int) -> float:
        return float(((x[i:j] - x[i:j].mean()) ** 2).sum())

    best = [0.0] + [np.inf] * len(x)
    for _ in range(C):
        best = [np.inf] + [min(best[i] + of(i, j) for i in range(j)) for j in range(1, len(x) + 1)]
    labels = k_means(x, n_clusters)
    assert len(np.unique(labels)) == C
    assert inertia(x, labels) <= best[-1] + 1e-9 * (1 + float((x**2).sum()))


def test_labels_rise_with_values_and_are_no_more_than_these() -> None:
    values = np.array([5.0, 1.0, 1.0, 5.0, 9.0])
    np.testing.assert_array_equal(k_means(values, 10), [1, 0, 0, 1, 2])
    np.testing.assert_array_equal(k_means(values, 1), np.zeros(5))


def frequencies(sampler: Any, bank: SnapshotBank, n: int = 6000) -> Any:
    rng = np.random.default_rng(0)
    place = {id(one): k for k, one in enumerate(bank)}
    draws = [place[id(sampler.sample(rng))] for _ in range(n)]
    return np.bincount(draws, minlength=len(bank)) / n


def test_levels_are_drawn_alike_and_snapshots_within_them() -> None:
    bank = bank_of()[:12]
    values = np.array([0.0] * 9 + [10.0, 10.1, 20.0])
    sampler = ClusterSampler(bank, 3, values=values)
    assert [len(c) for c in sampler.clusters] == [9, 2, 1]
    found = frequencies(sampler, bank)
    expected = np.array([1 / 27] * 9 + [1 / 6] * 2 + [1 / 3])
    deviation = np.sqrt(expected * (1 - expected) / 6000)
    assert (np.abs(found - expected) < 4 * deviation).all()
    for one in (UniformSampler(bank), ClusterSampler(bank, 1, values=values)):
        assert (np.abs(frequencies(one, bank) - 1 / 12) < 4 * np.sqrt(1 / 12 / 6000)).all()


def test_schedules_take_the_usual_start_for_the_rest() -> None:
    bank, rng = bank_of(), np.random.default_rng(0)
    sampler = ScheduledSampler(UniformSampler(bank), lambda k: 1.0 if k < 50 else 0.25)
    draws = [sampler.sample(rng) is not None for _ in range(2050)]
    assert all(draws[:50])
    assert abs(np.mean(draws[50:]) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 2000)
    with pytest.raises(ValueError, match="probability must be"):
        ScheduledSampler(UniformSampler(bank), 1.5).sample(rng)


# resets


@every_task
def test_without_snapshots_nothing_is_changed(task: str) -> None:
    plain, env = made(task), SnapshotReset(made(task), UniformSampler(bank_of(task)), active=False)
    plain.action_space.seed(0)
    for seed in (3, None):
        a, b = plain.reset(seed=seed), env.reset(seed=seed)
        np.testing.assert_array_equal(a[0], b[0])
        assert a[1] == b[1]
        over = False
        while not over:
            action = plain.action_space.sample()
            a, b = plain.step(action), env.step(action)
            assert np.asarray(a[0]).tobytes() == np.asarray(b[0]).tobytes()
            assert a[1:4] == b[1:4]
            assert list(a[4]) == list(b[4])
            over = a[2] or a[3]


def test_episodes_from_snapshots_are_cut_and_marked() -> None:
    env = SnapshotReset(made("Pendulum-v1"), UniformSampler(bank_of("Pendulum-v1")), truncate=30)
    env.reset(seed=0)
    for _ in range(20):
        _, info = env.reset()
        assert info["snapshot"] is True
        assert {"snapshot_t", "snapshot_value"} <= set(info)
        length, over = 0, False
        while not over:
            _, _, terminated, over, info = env.step(np.zeros(1, np.float32))
            length += 1
            assert not terminated
            assert info["snapshot"] is True
        assert length == 30  # also those that start near the end of the 200 steps
    assert env.stats() == {
        "resets": 21, "snapshot_resets": 21, "snapshot_steps": 600, "cuts": env.stats()["cuts"],
    }  # fmt: skip


def test_the_time_limit_is_kept_where_it_is_asked_for() -> None:
    late = [one for one in bank_of("Pendulum-v1") if one.meta["t"] > 180]
    env = SnapshotReset(made("Pendulum-v1"), UniformSampler(late), truncate=100, extend=False)
    env.reset(seed=0)
    over, length = False, 0
    _, info = env.reset()
    left = 200 - info["snapshot_t"]
    while not over:
        over = env.step(np.zeros(1, np.float32))[3]
        length += 1
    assert length == left


def test_switching_takes_effect_at_the_next_reset() -> None:
    env = SnapshotReset(made("Pendulum-v1"), UniformSampler(bank_of("Pendulum-v1")), truncate=10)
    env.reset(seed=0)
    env.set_active(False)
    over, length = False, 0
    while not over:
        over = env.step(np.zeros(1, np.float32))[3]
        length += 1
    assert length == 10
    _, info = env.reset()
    assert "snapshot" not in info
    for _ in range(150):
        assert not env.step(np.zeros(1, np.float32))[3]


def test_seeds_decide_the_draws_and_copies_share_nothing() -> None:
    bank = bank_of("Pendulum-v1")

    def starts(seed: int) -> Any:
        env = SnapshotReset(made("Pendulum-v1"), UniformSampler(bank))
        env.reset(seed=seed)
        return [env.reset()[1]["snapshot_t"] for _ in range(10)]

    assert starts(0) == starts(0) != starts(1)
    one, two = (SnapshotReset(made("Pendulum-v1"), UniformSampler(bank[3:4])) for _ in range(2))
    a, b = one.reset(seed=0)[0], two.reset(seed=1)[0]
    a[:] = 7.0
    one.unwrapped.state[:] = 9.0
    assert b.max() < 7.0
    assert two.unwrapped.state.max() < 9.0
    assert two.reset()[0].max() < 7.0


def test_bad_arguments_say_what_to_do() -> None:
    bank = bank_of()
    with pytest.raises(ValueError, match="truncate"):
        SnapshotReset(made("CartPole-v1"), UniformSampler(bank), truncate=0)
    env = SnapshotReset(made("Pendulum-v1"), UniformSampler(bank))
    with pytest.raises(ValueError, match="another model"):
        env.reset(seed=0)
    outside = SnapshotReset(
        wrappers.RecordEpisodeStatistics(made("CartPole-v1")), UniformSampler(bank)
    )
    with pytest.raises(UnsupportedEnv, match="put it outside"):
        outside.reset(seed=0)
    with pytest.raises(TypeError, match="policy must be"):
        collect_snapshots(3, made("CartPole-v1"))


# S3RL


sb3 = pytest.importorskip("stable_baselines3")


def sac(task: str = "Pendulum-v1", **more: Any) -> Any:
    settings: dict[str, Any] = {
        "learning_starts": 50, "batch_size": 16, "policy_kwargs": {"net_arch": [8]}, "seed": 0,
    }  # fmt: skip
    return sb3.SAC("MlpPolicy", task, **(settings | more))


def weights(model: Any) -> Any:
    return np.concatenate([p.detach().numpy().ravel() for p in model.policy.parameters()])


def test_any_model_starts_from_a_teachers_snapshots_for_a_while() -> None:
    from fenchel.mdp.snapshot import S3RL

    teacher = sac().learn(60)
    student = S3RL(sac(seed=1), teacher, n_steps=220, truncate=50, seed=0)
    assert {"t", "return", "value", "episode"} <= set(student.bank[0].meta)
    model = student.learn(700)
    assert student.switch.switched_at == 220
    stats = model.get_env().env_method("stats")[0]
    assert stats["snapshot_steps"] == 250  # up to the end of the episode then
    assert stats["snapshot_resets"] == 5
    lengths = [one["l"] for one in model.ep_info_buffer]
    assert lengths == [50] * 5 + [200, 200]
    # cut episodes are no ends: their last states are valued
    buffer = model.replay_buffer
    assert buffer.dones[49, 0] == 1.0 == buffer.timeouts[49, 0]


def test_without_steps_for_snapshots_training_is_the_usual_one() -> None:
    from fenchel.mdp.snapshot import S3RL

    bank = bank_of("Pendulum-v1")
    plain = sac().learn(120)
    wrapped = S3RL(sac(), bank, n_steps=0).learn(120)
    np.testing.assert_array_equal(weights(plain), weights(wrapped))


def test_values_are_those_of_the_critic() -> None:
    import torch

    from fenchel.mdp.snapshot.bank import value_function

    model = sac()
    q = value_function(model)
    observation = np.array([0.3, 0.5, -1.0], np.float32)
    action = model.policy.scale_action(model.predict(observation, deterministic=True)[0])
    with torch.no_grad():
        batch = torch.tensor(observation[None])
        expected = model.critic.q1_forward(batch, torch.tensor(action[None])).item()
    assert q is not None
    assert q(observation) == pytest.approx(expected, rel=1e-5)
    ppo = sb3.PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8)
    v = value_function(ppo)
    assert v is not None
    assert np.isfinite(v(np.zeros(4, np.float32)))
    assert value_function(lambda observation: 0) is None


def test_two_lines_change_a_script() -> None:
    """Environments that one makes oneself, several, with a callback; also those of processes."""
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import SubprocVecEnv

    from fenchel.mdp.snapshot import S3RL, SwitchOff

    sampler = ClusterSampler(bank_of("Pendulum-v1"))

    def make() -> Any:
        return SnapshotReset(made("Pendulum-v1"), sampler, truncate=20)

    env = make_vec_env(make, 2, seed=0, vec_env_cls=SubprocVecEnv)
    callback = SwitchOff(100)
    model = sb3.PPO("MlpPolicy", env, n_steps=32, batch_size=32, seed=0)
    model.learn(300, callback=callback, log_interval=1000)
    assert callback.switched_at == 100
    stats = env.env_method("stats")
    assert all(one["snapshot_steps"] == 60 for one in stats)
    assert model.logger.name_to_value["snapshot/snapshot_steps"] == 120
    plain = sb3.PPO("MlpPolicy", make_vec_env("Pendulum-v1", 2, vec_env_cls=SubprocVecEnv))
    with pytest.raises(ValueError, match="in this process"):
        S3RL(plain, bank_of("Pendulum-v1"))
    env.close()
    plain.get_env().close()


def test_monitors_stay_outside() -> None:
    from fenchel.mdp.snapshot import S3RL

    model = sac()
    S3RL(model, bank_of("Pendulum-v1"), truncate=25)
    env: Any = model.get_env().envs[0]  # type: ignore[union-attr]
    names = []
    while isinstance(env, gymnasium.Wrapper):
        names.append(type(env).__name__)
        env = env.env
    assert names.index("Monitor") < names.index("SnapshotReset") < names.index("TimeLimit")


def test_snapshots_are_what_the_types_say() -> None:
    env = made("CartPole-v1")
    one = capture(env, *env.reset(seed=0))
    assert isinstance(one, Snapshot)
    assert isinstance(bank_of()[2:4], SnapshotBank)
