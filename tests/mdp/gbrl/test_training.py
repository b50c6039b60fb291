"""What users of stable-baselines3 expect of training: callbacks, files, processes, texts."""

import copy
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import SubprocVecEnv

from fenchel.mdp.gbrl import (
    A2C_GBRL,
    AWR_GBRL,
    PPO_GBRL,
    CategoricalMiniGrid,
    Distillation,
    TextAsCategory,
    TreeParams,
)

ALGORITHMS: dict[str, Any] = {"PPO": PPO_GBRL, "A2C": A2C_GBRL}
SMALL: dict[str, dict[str, Any]] = {
    "PPO": {"n_steps": 32, "batch_size": 32, "n_epochs": 2},
    "A2C": {"n_steps": 8},
}
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


def agent(name: str, env: Any, **more: Any) -> Any:
    return ALGORITHMS[name](env, **(SMALL[name] | {"seed": 0, "tree": TreeParams(3)} | more))


# checkpoints


@every_algorithm
@pytest.mark.parametrize("task", ["CartPole-v1", "Pendulum-v1"])
def test_training_goes_on_from_a_file_as_without_one(name: str, task: str, tmp_path: Path) -> None:
    """With environments and generators as they were: of trees, rates, log σ and its Adam."""

    def trained(stop: bool) -> Any:
        model = agent(name, make_vec_env(task, 2, seed=0)).learn(128)
        if stop:
            model.save(tmp_path / "model.zip")
            env = model.get_env()
            model = ALGORITHMS[name].load(tmp_path / "model.zip", env=env, force_reset=False)
        torch.manual_seed(7)
        np.random.seed(7)  # noqa: NPY002  # which stable-baselines3 draws minibatches by
        return model.learn(128, reset_num_timesteps=False).policy

    without, with_file = trained(stop=False), trained(stop=True)
    for attribute in ("features", "thresholds", "values", "rates"):
        np.testing.assert_array_equal(
            without.ensembles[0].state()[attribute], with_file.ensembles[0].state()[attribute]
        )
    if task == "Pendulum-v1":
        assert torch.equal(without.log_std, with_file.log_std)


def test_checkpoints_hold_the_trees_that_there_were(tmp_path: Path) -> None:
    """A run that is killed after one goes on from these trees."""
    env = make_vec_env("CartPole-v1", 2, seed=0)
    callback = CheckpointCallback(64, str(tmp_path), name_prefix="agent")  # a call is two steps
    model = agent("PPO", env).learn(320, callback=callback)
    files = sorted(tmp_path.glob("agent_*.zip"))
    assert len(files) == 2
    loaded = PPO_GBRL.load(files[0], env=env)
    k = loaded.policy.n_trees
    assert 0 < k < model.policy.n_trees
    for name in ("features", "thresholds", "values"):
        np.testing.assert_array_equal(
            loaded.policy.ensembles[0].state()[name], model.policy.ensembles[0].state()[name][:k]
        )
    loaded.learn(64, reset_num_timesteps=False)
    assert loaded.policy.n_trees > k


def test_models_may_be_copied_and_pickled_and_go_on() -> None:
    model = agent("PPO", make_vec_env("Pendulum-v1", 2, seed=0)).learn(64)
    evaluate_policy(model, make_vec_env("Pendulum-v1", 1, seed=1), 1)  # lets go of the last batch
    twin = copy.deepcopy(model)
    k = model.policy.n_trees
    twin.learn(64, reset_num_timesteps=False)
    assert twin.policy.n_trees > k == model.policy.n_trees
    policy = cloudpickle.loads(cloudpickle.dumps(model.policy))
    assert policy.optimizer.policy is policy
    assert policy.optimizer.adam.state_dict()["state"]


def test_rates_are_given_anew_when_a_model_is_loaded(tmp_path: Path) -> None:
    env = make_vec_env("CartPole-v1", 2, seed=0)
    agent("PPO", env).learn(64).save(tmp_path / "model.zip")
    loaded = PPO_GBRL.load(tmp_path / "model.zip", env=env, policy_lr=1e-3, value_lr=1e-4)
    loaded.learn(64)
    np.testing.assert_allclose(
        loaded.policy.ensembles[0].state()["rates"][-1], [1e-3, 1e-3, 1e-4], rtol=1e-6
    )
    with pytest.raises(ValueError, match="tree must be that of the model"):
        PPO_GBRL.load(tmp_path / "model.zip", tree=TreeParams(2))


def test_trees_of_another_policy_are_refused() -> None:
    shared, separate = (
        agent("PPO", make_vec_env("CartPole-v1", 2, seed=0), shared=shared).learn(64)
        for shared in (True, False)
    )
    with pytest.raises(ValueError, match="trees must be those of such a policy"):
        shared.set_parameters(separate.get_parameters())


def test_the_backend_is_the_policys_whatever_is_loaded() -> None:
    env = make_vec_env("CartPole-v1", 2, seed=0)
    made = agent("PPO", env, backend="torch").learn(64)
    model = agent("PPO", env)
    model.set_parameters(made.get_parameters())
    assert model.policy.ensembles[0].backend == "numba"


# the ecosystem


def test_agents_are_evaluated_in_training(tmp_path: Path) -> None:
    env, other = (make_vec_env("CartPole-v1", 2, seed=seed) for seed in (0, 1))
    callback = EvalCallback(
        other, eval_freq=64, best_model_save_path=str(tmp_path), log_path=str(tmp_path), verbose=0
    )
    agent("PPO", env).learn(256, callback=callback)
    assert len(np.load(tmp_path / "evaluations.npz")["results"]) == 2
    assert PPO_GBRL.load(tmp_path / "best_model.zip").policy.n_trees > 0


def test_processes_make_the_same_trees() -> None:
    def trees(vec_env_cls: Any) -> Any:
        env = make_vec_env("CartPole-v1", 2, seed=0, vec_env_cls=vec_env_cls)
        values = agent("PPO", env).learn(128).policy.ensembles[0].state()["values"]
        env.close()
        return values

    np.testing.assert_array_equal(trees(None), trees(SubprocVecEnv))


def test_logs_go_to_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    agent("PPO", "CartPole-v1", tensorboard_log=str(tmp_path)).learn(64)
    assert list(tmp_path.rglob("events.out.tfevents.*"))


def test_wrapped_grids_are_environments() -> None:
    pytest.importorskip("minigrid")
    check_env(CategoricalMiniGrid(gymnasium.make("MiniGrid-Fetch-5x5-N2-v0")))


# distillation


@pytest.mark.parametrize("shared", [True, False])
@every_algorithm
def test_many_trees_are_replaced_by_few(name: str, shared: bool) -> None:
    env = make_vec_env("CartPole-v1", 2, seed=0)
    seen: list[int] = []

    class Watched(Distillation):
        def _on_rollout_start(self) -> None:
            seen.append(self.model.policy.n_trees)

    model = agent(name, env, shared=shared)
    callback = Watched(max_trees=12, n_trees=4, n_rows=100, learning_rate=1.0)
    model.learn(512, callback=callback)
    assert max(seen) <= 12 + 4 * len(model.policy.ensembles)  # there would be 32 or more
    assert len(callback.rows) == 100
    outputs = model.policy.outputs(callback.rows)
    assert np.isfinite(outputs).all()


def test_distillation_is_for_rollouts() -> None:
    with pytest.raises(ValueError, match="must be PPO_GBRL or A2C_GBRL"):
        AWR_GBRL("CartPole-v1").learn(10, callback=Distillation())
    with pytest.raises(ValueError, match="n_trees must be less"):
        agent("PPO", "CartPole-v1").learn(10, callback=Distillation(max_trees=10, n_trees=10))
    with pytest.raises(ValueError, match="must be PPO_GBRL"):
        PPO("MlpPolicy", "CartPole-v1").learn(10, callback=Distillation())


# texts


class Spoken(gymnasium.Env[Any, Any]):
    """Do what is said: the reward is 1 for that."""

    def __init__(self, alone: bool, words: tuple[str, ...] = ("left", "right")) -> None:
        text = spaces.Text(8)
        self.alone, self.words = alone, words
        part = spaces.Box(-1, 1, (2,))
        self.observation_space = text if alone else spaces.Dict({"said": text, "view": part})
        self.action_space = spaces.Discrete(2)

    def _observe(self) -> Any:
        self.said = int(self.np_random.integers(len(self.words)))
        word = self.words[self.said]
        return word if self.alone else {"said": word, "view": np.zeros(2, np.float32)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.left = 10
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        reward = float(action == self.said)
        self.left -= 1
        return self._observe(), reward, self.left == 0, False, {}


@pytest.mark.parametrize("alone", [True, False])
def test_texts_are_understood(alone: bool, tmp_path: Path) -> None:
    words = ["right", "left", "up"]
    texts: Any = words if alone else {"said": words}

    def make() -> Any:
        return TextAsCategory(Spoken(alone), texts)

    check_env(make())
    env = make_vec_env(make, 4, seed=0)
    model = agent("PPO", env, policy_lr=0.3, n_epochs=10).learn(1024)
    assert np.mean([one["r"] for one in model.ep_info_buffer][-10:]) > 8  # 5 without ears
    model.save(tmp_path / "model.zip")
    loaded = PPO_GBRL.load(tmp_path / "model.zip", env=env)
    space = loaded.observation_space if alone else loaded.observation_space["said"]
    assert space.texts == tuple(words)
    other: Any = words[::-1] if alone else {"said": words[::-1]}
    with pytest.raises(ValueError, match="do not match"):  # another table
        PPO_GBRL.load(
            tmp_path / "model.zip", env=make_vec_env(lambda: TextAsCategory(Spoken(alone), other))
        )


def test_observations_that_are_no_numbers_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="texts by TextAsCategory"):
        PPO_GBRL(Spoken(True))


def test_unknown_texts_are_refused_or_one_more_category() -> None:
    env = TextAsCategory(Spoken(True, ("down",)), ["left", "right"])
    with pytest.raises(ValueError, match="'down'"):
        env.reset(seed=0)
    env = TextAsCategory(Spoken(True, ("down",)), ["left", "right"], unknown="other")
    assert env.reset()[0] == 2
    assert env.observation_space.n == 3  # type: ignore[attr-defined]


def test_tables_that_are_none_are_refused() -> None:
    for texts, words in (
        (["left", "left"], "each once"),
        ([], "some texts"),
        ("left", "some texts"),
        ({"said": ["left"]}, "must be a list for Text"),
    ):
        with pytest.raises(ValueError, match=words):
            TextAsCategory(Spoken(True), texts)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="parts that are texts"):
        TextAsCategory(Spoken(False), {"view": ["left"]})
    with pytest.raises(ValueError, match="unknown must be"):
        TextAsCategory(Spoken(True), ["left"], unknown="skip")  # type: ignore[arg-type]
