"""Agents: gradients in closed form, kept outputs, spaces, files, and learning."""

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import DictRolloutBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from fenchel.mdp.gbrl import (
    A2C_GBRL,
    AWR_GBRL,
    PPO_GBRL,
    CategoricalMiniGrid,
    LinearSchedule,
    TreeParams,
)

ALGORITHMS: dict[str, Any] = {"PPO": PPO_GBRL, "A2C": A2C_GBRL, "AWR": AWR_GBRL}
SMALL: dict[str, dict[str, Any]] = {
    "PPO": {"n_steps": 32, "batch_size": 32, "n_epochs": 2},
    "A2C": {"n_steps": 8},
    "AWR": {"train_freq": 32, "gradient_steps": 2, "batch_size": 32, "learning_starts": 16},
}
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


class Random(gymnasium.Env[Any, Any]):
    """Observations and rewards at random; episodes of ten steps."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            self.observation_space.seed(seed)
        super().reset(seed=seed)
        self.left = 10
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.left -= 1
        reward = float(self.np_random.normal())
        return self.observation_space.sample(), reward, self.left == 0, False, {}


BOX = spaces.Box(-1, 1, (3,))
OBSERVATIONS = {
    "Box": BOX,
    "matrix": spaces.Box(-1, 1, (2, 3)),
    "Discrete": spaces.Discrete(5),
    "MultiDiscrete": spaces.MultiDiscrete([3, 4]),
    "MultiBinary": spaces.MultiBinary(3),
    "Dict": spaces.Dict({"place": BOX, "kind": spaces.Discrete(3), "bits": spaces.MultiBinary(2)}),
}
ACTIONS = {
    "Discrete": spaces.Discrete(3),
    "MultiDiscrete": spaces.MultiDiscrete([2, 3]),
    "MultiBinary": spaces.MultiBinary(2),
    "Box": spaces.Box(-2, 2, (2,)),
}


def agent(name: str, env: Any, **more: Any) -> Any:
    return ALGORITHMS[name](env, **(SMALL[name] | {"seed": 0, "tree": TreeParams(3)} | more))


@every_algorithm
@pytest.mark.parametrize("kind", OBSERVATIONS)
def test_all_observations_are_learned_from_saved_and_loaded(
    name: str, kind: str, tmp_path: Path
) -> None:
    env = make_vec_env(lambda: Random(OBSERVATIONS[kind], ACTIONS["Discrete"]), 2, seed=0)
    model = agent(name, env).learn(128)
    assert model.policy.n_trees > 0
    model.save(tmp_path / "model.zip")
    loaded = ALGORITHMS[name].load(tmp_path / "model.zip", env=env)
    obs = env.reset()
    one, other = (m.predict(obs, deterministic=True)[0] for m in (model, loaded))
    np.testing.assert_array_equal(one, other)
    more = loaded.policy.n_trees
    loaded.learn(64, reset_num_timesteps=False)
    assert loaded.policy.n_trees > more


@every_algorithm
@pytest.mark.parametrize("kind", ACTIONS)
@pytest.mark.parametrize("shared", [True, False])
def test_all_actions_are_learned(name: str, kind: str, shared: bool) -> None:
    env = make_vec_env(lambda: Random(BOX, ACTIONS[kind]), 2, seed=0)
    model = agent(name, env, shared=shared).learn(128)
    outputs = [ensemble.n_outputs for ensemble in model.policy.ensembles]
    n = {"Discrete": 3, "MultiDiscrete": 5, "MultiBinary": 2, "Box": 2}[kind]
    assert outputs == ([n + 1] if shared else [n, 1])
    before = -2.0 * torch.ones(n)
    if kind == "Box":
        assert not torch.equal(model.policy.log_std.detach(), before)
    evaluate_policy(model, env, n_eval_episodes=2)


def test_at_first_policies_are_uniform_and_values_0() -> None:
    model = agent("PPO", Random(BOX, ACTIONS["Discrete"]))
    obs = torch.as_tensor(np.random.default_rng(0).normal(size=(5, 3)), dtype=torch.float32)
    probabilities = model.policy.get_distribution(obs).distribution.probs
    np.testing.assert_allclose(probabilities, 1 / 3, rtol=1e-6)
    np.testing.assert_array_equal(model.policy.predict_values(obs), np.zeros((5, 1)))


def test_trees_are_fitted_to_the_gradients_of_each_sample() -> None:
    """For A2C and a categorical: g^θ = −A (1_a − π), g^V = 2 c (V − R)."""
    model = agent(
        "A2C", make_vec_env(lambda: Random(BOX, ACTIONS["Discrete"]), 2, seed=0), vf_coef=0.3
    )
    model.learn(160)
    seen: list[Any] = []
    policy, buffer = model.policy, model.rollout_buffer
    append = policy.append

    def record(rows: Any, gradients: Any, rates: Any) -> None:
        seen.append((rows, gradients, rates))
        append(rows, gradients, rates)

    policy.append = record
    before = policy.outputs
    model.learn(16)
    rows, gradients, rates = seen[0]
    assert rates == (0.1, 0.05)
    # rows are those of the buffer in another order: find them by their observation
    flat = {tuple(o): i for i, o in enumerate(buffer.observations.reshape(-1, 3))}
    order = [flat[tuple(row)] for row in rows]
    actions = buffer.actions.reshape(-1)[order].astype(int)
    advantages = buffer.advantages.reshape(-1)[order]
    advantages = (advantages - advantages.mean()) / (advantages.std(ddof=1) + 1e-8)
    returns, values = (a.reshape(-1)[order] for a in (buffer.returns, buffer.values))
    for ensemble in policy.ensembles:  # as they were
        ensemble.n_trees -= 1
    theta = before(rows)[:, :3]
    chances = np.exp(theta) / np.exp(theta).sum(axis=1, keepdims=True)
    wanted = -advantages[:, None] * (np.eye(3)[actions] - chances)
    np.testing.assert_allclose(gradients[:, :3], wanted, atol=1e-4)
    np.testing.assert_allclose(gradients[:, 3], 2 * 0.3 * (values - returns), atol=1e-4)


@pytest.mark.parametrize("shared", [True, False])
def test_kept_outputs_are_those_of_the_trees(shared: bool) -> None:
    def trained(keep: bool) -> Any:
        env = make_vec_env(lambda: Random(OBSERVATIONS["Dict"], ACTIONS["Box"]), 2, seed=0)
        plain = {} if keep else {"rollout_buffer_class": DictRolloutBuffer}
        return agent("PPO", env, shared=shared, n_epochs=4, **plain).learn(192)

    kept, fresh = trained(keep=True), trained(keep=False)
    rows = kept.policy.kept.parts[0].rows
    assert len(rows) == 64
    np.testing.assert_allclose(kept.policy.kept(), kept.policy.outputs(rows), atol=1e-9)
    np.testing.assert_allclose(kept.policy.kept(), fresh.policy.outputs(rows), atol=1e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_explanations_add_up_to_the_outputs(shared: bool) -> None:
    env = make_vec_env(lambda: Random(OBSERVATIONS["Dict"], ACTIONS["Box"]), 2, seed=0)
    policy = agent("PPO", env, shared=shared).learn(128).policy
    obs = env.reset()
    phi, base = policy.explain(obs)
    assert phi.shape == (2, 6, 3)
    outputs = policy.outputs(policy.encoder(obs))
    np.testing.assert_allclose(base + phi.sum(axis=1), outputs, atol=1e-9)


def test_training_that_diverges_says_so() -> None:
    env = make_vec_env(lambda: Random(BOX, ACTIONS["Box"]), 2, seed=0)
    with pytest.raises(FloatingPointError, match="lower policy_lr"):
        agent("AWR", env, policy_lr=100.0, beta=10.0, gradient_steps=100).learn(400)


def test_clips_are_those_of_samples() -> None:
    model = agent(
        "PPO", Random(BOX, ACTIONS["Discrete"]), policy_grad_clip=1.0, value_grad_clip=0.5
    )
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    gradients = np.array([[3.0, 4.0, 0.0, 2.0], [0.1, 0.2, 0.0, -0.1]])
    model.policy.append(rows, gradients, (1.0, 1.0))
    expected = -np.array([[0.6, 0.8, 0.0, 0.5], [0.1, 0.2, 0.0, -0.1]])
    np.testing.assert_allclose(model.policy.outputs(rows), expected, atol=1e-6)


@every_algorithm
def test_the_same_seed_gives_the_same_trees(name: str) -> None:
    def trees(seed: int) -> Any:
        env = make_vec_env("CartPole-v1", 2, seed=seed)
        return agent(name, env, seed=seed).learn(128).policy.ensembles[0].state()["values"]

    np.testing.assert_array_equal(trees(1), trees(1))
    assert not np.array_equal(trees(1), trees(2))


def test_rates_may_fall_and_are_those_of_their_outputs() -> None:
    env = make_vec_env("CartPole-v1", 2, seed=0)
    model = agent("PPO", env, policy_lr=lambda left: 0.1 * left, value_lr=0.02).learn(128)
    rates = model.policy.ensembles[0].state()["rates"]
    np.testing.assert_allclose(rates[:, 2], 0.02)
    assert 0.1 > rates[0, 0] > rates[-1, 0] >= 0


@every_algorithm
def test_rewards_may_be_normalised_and_progress_logged(name: str) -> None:
    pendulum = DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")])
    model = agent(name, VecNormalize(pendulum, norm_obs=False, norm_reward=True)).learn(64)
    assert model.logger.name_to_value["train/n_trees"] == model.policy.n_trees


def test_bad_arguments_say_what_to_do() -> None:
    env = Random(BOX, ACTIONS["Discrete"])
    for change, words in (
        ({"policy_lr": 0.0}, "policy_lr"),
        ({"value_lr": -1.0}, "value_lr"),
        ({"value_grad_clip": 0.0}, "value_grad_clip"),
        ({"categorical": [3]}, "categorical must be less than the 3 features"),
    ):
        with pytest.raises(ValueError, match=words):
            agent("PPO", env, **change)
    with pytest.raises(ValueError, match="norm_obs=False"):
        agent("PPO", VecNormalize(DummyVecEnv([lambda: env])))
    with pytest.raises(ValueError, match="share of training that is left"):
        agent("PPO", env, policy_lr=LinearSchedule(0.1, 0.01, 10))
    with pytest.raises(ValueError, match='device must be "cpu"'):
        agent("PPO", env, device="cuda")
    with pytest.raises(ValueError, match="n_steps has no meaning"):
        agent("AWR", env, n_steps=3)
    with pytest.raises(ValueError, match="norm_obs=False"):
        agent("PPO", env).set_env(VecNormalize(DummyVecEnv([lambda: env])))
    with pytest.raises(ValueError, match="beta"):
        agent("AWR", env, beta=0.0)
    with pytest.raises(ValueError, match="use_sde must be False"):
        agent("PPO", Random(BOX, ACTIONS["Box"]), use_sde=True)
    with pytest.raises(ValueError, match="MiniGrid"):
        CategoricalMiniGrid(env)


def test_cartpole_is_better_after_training_than_before() -> None:
    for seed in range(2):
        env = make_vec_env("CartPole-v1", 8, seed=seed)
        settings = {"n_steps": 128, "batch_size": 64, "n_epochs": 1, "gamma": 0.98}
        model = PPO_GBRL(
            env, policy_lr=0.029, value_lr=0.015, gae_lambda=0.8, seed=seed, **settings
        ).learn(20_000)  # type: ignore[arg-type]
        reward, _ = evaluate_policy(model, env, n_eval_episodes=20)
        assert reward > 60  # a uniform policy has 22


@pytest.mark.slow
def test_minigrid_empty_is_solved() -> None:
    """At 40 000 steps, three seeds, with the paper's settings."""
    pytest.importorskip("minigrid")
    for seed in range(3):
        env = make_vec_env(
            "MiniGrid-Empty-Random-5x5-v0", 16, seed=seed, wrapper_class=CategoricalMiniGrid
        )
        model = PPO_GBRL(
            env, policy_lr=0.170551, value_lr=0.010032, n_steps=256, batch_size=512, n_epochs=20,
            seed=seed,
        ).learn(40_000)  # fmt: skip
        assert np.mean([one["r"] for one in model.ep_info_buffer]) >= 0.9


def test_missions_are_numbered_alike_everywhere() -> None:
    minigrid = pytest.importorskip("minigrid")
    assert minigrid
    envs = [CategoricalMiniGrid(gymnasium.make("MiniGrid-Fetch-5x5-N2-v0")) for _ in range(2)]
    assert envs[0].missions == envs[1].missions
    assert len(envs[0].missions) == 5 * 6 * 2
    for seed in range(5):
        views = [env.reset(seed=seed)[0] for env in envs]
        np.testing.assert_array_equal(*views)
        assert envs[0].observation_space.contains(views[0])
        assert len(views[0]) == 51
        mission: Any = envs[0].env.unwrapped
        assert envs[0].missions[views[0][-1]] == mission.mission
