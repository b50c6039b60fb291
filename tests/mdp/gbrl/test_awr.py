"""AWR: advantages, losses, the buffer in the order of time, and training that goes on."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env

from fenchel.mdp.gbrl import AWR_GBRL, TreeParams
from fenchel.mdp.gbrl.awr import lambda_advantages


class Counter(gymnasium.Env[Any, Any]):
    """Observes how many steps it has made in all, so that each transition is known."""

    def __init__(self, action_space: Any, length: int, cut: bool) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,))
        self.action_space, self.length, self.cut, self.total = action_space, length, cut, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.left = self.length
        return np.array([self.total], np.float32), {}

    def step(self, action: Any) -> Any:
        self.left -= 1
        self.total += 1
        over = self.left == 0
        reward = float(np.cos(self.total))
        return np.array([self.total], np.float32), reward, over and not self.cut, over, {}


class Jumper(Counter):
    """Each episode starts elsewhere."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.total += 700
        return super().reset(seed=seed, options=options)


def agent(env: Any, **more: Any) -> AWR_GBRL:
    small = {"train_freq": 40, "gradient_steps": 3, "batch_size": 32, "learning_starts": 10}
    return AWR_GBRL(env, **(small | {"seed": 0, "tree": TreeParams(3)} | more))


# advantages


def test_advantages_are_sums_of_differences_that_stop_at_ends() -> None:
    rng = np.random.default_rng(0)
    n, discount, decay = 12, 0.9, 0.7
    r, v, after = rng.normal(size=(3, n, 2))
    done = (rng.random((n, 2)) < 0.3).astype(float)
    terminated = done * (rng.random((n, 2)) < 0.5)
    A = lambda_advantages(r, v, after, terminated, done, discount, decay)
    delta = r + discount * after * (1 - terminated) - v
    for e in range(2):
        for t in range(n):
            total, k = 0.0, 0
            while True:
                total += (discount * decay) ** k * delta[t + k, e]
                if done[t + k, e] or t + k + 1 == n:
                    break
                k += 1
            assert A[t, e] == pytest.approx(total, rel=1e-12)


def test_returns_of_decay_one_are_discounted_rewards() -> None:
    rng = np.random.default_rng(1)
    r, v = rng.normal(size=(2, 6, 1))
    after, done = np.concatenate([v[1:], v[:1]]), np.zeros((6, 1))
    done[-1] = 1.0
    A = lambda_advantages(r, v, after, done, done, 0.9, 1.0)
    returns = [sum(0.9**k * r[t + k, 0] for k in range(6 - t)) for t in range(6)]
    np.testing.assert_allclose((A + v)[:, 0], returns, rtol=1e-12)


# the buffer


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("buffer_size", [1000, 60])
def test_targets_are_those_of_the_trajectory(buffer_size: int, cut: bool) -> None:
    """Also when the buffer has gone round, for two environments of which each counts its steps."""
    env = make_vec_env(lambda: Counter(spaces.Discrete(2), 7, cut), 2, seed=0)
    model = agent(env, buffer_size=buffer_size)
    model.learn(160)
    outputs = model._synchronised()
    assert len(outputs()) == min(buffer_size, 160)
    rows = outputs.parts[0].rows
    np.testing.assert_allclose(outputs(), model.policy.outputs(rows), atol=1e-9)
    actions, advantages, returns = model._targets(outputs)
    V = lambda number: model.policy.outputs(np.array([[number]], np.float32))[0, -1]  # noqa: E731
    newest = rows.max()
    for place, number in enumerate(rows[:, 0]):
        A, k = 0.0, 0
        while True:
            now = number + k + 1  # the observation after this step
            over = now % 7 == 0
            future = 0.0 if over and not cut else 0.99 * V(now)
            A += (0.99 * 0.95) ** k * (np.cos(now) + future - V(number + k))
            if over or number + k == newest:
                break
            k += 1
        assert float(advantages[place]) == pytest.approx(A, abs=1e-4)
        assert float(returns[place]) == pytest.approx(A + V(number), abs=1e-4)
    assert actions.shape == (len(rows),)


def test_trees_are_fitted_to_weighted_gradients() -> None:
    """g^θ = −w (1_a − π), g^V = c_V (V − R)."""
    env = make_vec_env(lambda: Counter(spaces.Discrete(3), 7, False), 2, seed=0)
    model = agent(env, beta=0.5, weights_max=1.5, gradient_steps=1)
    model.learn(80)
    seen: list[Any] = []
    append = model.policy.append

    def record(rows: Any, gradients: Any, rates: Any) -> None:
        seen.append((rows, gradients, model.policy.outputs(rows)))
        append(rows, gradients, rates)

    model.policy.append = record
    outputs = model._synchronised()
    rows_there = outputs.parts[0].rows
    actions, advantages, returns = (part.numpy() for part in model._targets(outputs))
    model.train(1, 64)
    rows, gradients, before = seen[0]
    places = [
        [i for i in range(len(rows_there)) if rows_there[i, 0] == row[0]] for row in rows
    ]  # the same number in both environments
    theta = before[:, :3]
    chances = np.exp(theta) / np.exp(theta).sum(axis=1, keepdims=True)
    weights = np.minimum(np.exp(advantages / 0.5), 1.5)
    for i, candidates in enumerate(places):
        wanted = [
            np.append(
                -weights[p] * (np.eye(3)[actions[p]] - chances[i]),
                0.56 * (before[i, 3] - returns[p]),
            )
            for p in candidates
        ]
        assert min(np.abs(gradients[i] - one).max() for one in wanted) < 1e-4
    assert weights.max() == 1.5 > weights.min()


def test_gaussian_actions_are_kept_as_drawn() -> None:
    env = make_vec_env(lambda: Counter(spaces.Box(-0.1, 0.1, (1,)), 7, False), 1, seed=0)
    model = agent(env, log_std_init=0.0)
    model.learn(100)
    kept = model.replay_buffer.actions[:100]
    assert np.abs(kept[:10]).max() <= 0.1  # at random, within bounds
    assert np.abs(kept[10:]).max() > 0.5


@pytest.mark.parametrize("space", [spaces.Discrete(2), spaces.Box(-1, 1, (1,))])
def test_training_goes_on_from_files_as_without_them(space: Any, tmp_path: Path) -> None:
    """With the buffer, the environment, and Adam of log σ as they were."""

    def trees(stop: bool) -> Any:
        env = make_vec_env(lambda: Counter(space, 7, True), 1, seed=0)
        model = agent(env, learning_starts=0, policy_lr=1e-4, normalize_advantage=True)
        model.learn(100)
        if stop:
            model.save(tmp_path / "model.zip")
            model.save_replay_buffer(tmp_path / "buffer.pkl")
            model = AWR_GBRL.load(tmp_path / "model.zip", env=env, force_reset=False)
            model.load_replay_buffer(tmp_path / "buffer.pkl", truncate_last_traj=False)
        torch_seed(3)
        model.learn(100, reset_num_timesteps=False)
        return model.policy.ensembles[0].state()

    def torch_seed(seed: int) -> None:
        import torch

        torch.manual_seed(seed)

    without, with_files = trees(stop=False), trees(stop=True)
    for name in ("features", "thresholds", "values"):
        np.testing.assert_array_equal(without[name], with_files[name])


def targets_of(model: AWR_GBRL) -> Any:
    """A, by the next observations that the buffer holds: an episode goes on where the next
    observation is that of the next step."""
    buffer, n = model.replay_buffer, model.replay_buffer.size()
    time = (np.arange(n) + (buffer.pos if buffer.full else 0)) % n
    V = lambda obs: model.policy.outputs(obs.astype(np.float32))[:, -1]  # noqa: E731
    A = np.zeros((n, model.n_envs))
    for e in range(model.n_envs):
        later = 0.0
        for k in range(n - 1, -1, -1):
            t = time[k]
            after = buffer.next_observations[t, e]
            goes_on = k + 1 < n and np.array_equal(buffer.observations[time[k + 1], e], after)
            ends = buffer.dones[t, e] and not buffer.timeouts[t, e]
            future = 0.0 if ends else 0.99 * V(after[None])[0]
            delta = buffer.rewards[t, e] + future - V(buffer.observations[t, e][None])[0]
            later = delta + 0.99 * 0.95 * (later if goes_on else 0.0)
            A[t, e] = later
    return A


def test_advantages_stop_where_training_begins_anew(tmp_path: Path) -> None:
    env = make_vec_env(lambda: Jumper(spaces.Discrete(2), 7, False), 2, seed=0)
    model = agent(env).learn(90)
    model.learn(90)  # resets the environments
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    model = AWR_GBRL.load(tmp_path / "model.zip", env=env)
    model.load_replay_buffer(tmp_path / "buffer.pkl")
    model.learn(90, reset_num_timesteps=False)
    _, advantages, _ = model._targets(model._synchronised())
    np.testing.assert_allclose(advantages.reshape(-1, 2), targets_of(model), atol=1e-4)


def test_what_is_changed_from_outside_is_noticed() -> None:
    env = make_vec_env(lambda: Counter(spaces.Discrete(2), 7, False), 2, seed=0)
    model = agent(env).learn(90)
    model.set_parameters(model.get_parameters())  # other trees
    outputs = model._synchronised()
    np.testing.assert_allclose(outputs(), model.policy.outputs(outputs.parts[0].rows), atol=1e-9)
    for _ in range(5):  # demonstrations
        obs = np.full((2, 1), 7.0)
        model.replay_buffer.add(obs, obs + 1, np.zeros((2, 1)), np.ones(2), np.zeros(2), [{}, {}])
    outputs = model._synchronised()
    n = model.replay_buffer.size()
    np.testing.assert_array_equal(
        outputs.parts[0].rows[:, 0], model.replay_buffer.observations[:n].ravel()
    )
    model.replay_buffer.reset()
    model.learn(90, reset_num_timesteps=False)


def test_updates_are_counted_in_steps_of_all_environments(tmp_path: Path) -> None:
    many, one = (
        make_vec_env(lambda: Counter(spaces.Discrete(2), 7, False), n, seed=0) for n in (4, 1)
    )
    model = agent(many)
    assert model.train_freq.frequency == 10
    model.learn(80).save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    loaded = AWR_GBRL.load(tmp_path / "model.zip", env=one)
    assert loaded.train_freq.frequency == 40
    with pytest.raises(ValueError, match="buffer must be of 1 environments, got 4"):
        loaded.load_replay_buffer(tmp_path / "buffer.pkl")


@pytest.mark.slow
def test_cartpole_is_learned() -> None:
    for seed in range(2):
        model = AWR_GBRL(make_vec_env("CartPole-v1", 1, seed=seed), seed=seed).learn(12_000)
        assert np.mean([one["r"] for one in model.ep_info_buffer]) > 45  # a uniform policy has 22
