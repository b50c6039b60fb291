"""What the figures on agents with trees share: tasks, training, learning curves, and budgets."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import pandas as pd

from fenchel.core.checks import FloatArray
from fenchel.experiments import Claim, Outcome, Results, at_least
from fenchel.paper_figures._outcomes import at_budget, not_run
from fenchel.paper_figures._statistics import interval

TREES, NETWORKS, UNIFORM = "trees", "networks", "uniform"
PAPER = "Fuhrer, Tessler, Dalal 2025"
COLOURS = {TREES: "C0", NETWORKS: "C1"}
LAST = 100  # episodes of a score, as in the paper
POINTS = 40  # of a learning curve
GRID = "MiniGrid"

# Trees: the paper's tables and scripts, but AWR has 8 environments instead of 1, and on Pendulum
# the rate and clip of MountainCarContinuous: with weights up to 20 and σ = exp(−2) the script's
# rate 0.003788 is above 2 σ²/20 = 0.0018, where steps overshoot, and diverges.
# Networks: RL Zoo's settings, which the paper's scripts use.
_CAR = {
    "n_envs": 16, "n_steps": 512, "batch_size": 256, "n_epochs": 20, "gamma": 0.999,
    "gae_lambda": 0.98, "ent_coef": 0.03344, "policy_lr": 0.031132, "value_lr": 0.003178,
    "policy_grad_clip": 100.0, "value_grad_clip": 10.0,
}  # fmt: skip
_GRID_TREES = {
    "n_envs": 16, "n_steps": 256, "batch_size": 512, "n_epochs": 20, "gamma": 0.99,
    "gae_lambda": 0.95, "policy_lr": 0.170551, "value_lr": 0.010032,
}  # fmt: skip
_GRID_NETWORKS = {
    "n_envs": 8, "n_steps": 128, "batch_size": 64, "n_epochs": 10, "gamma": 0.993,
    "gae_lambda": 0.95, "learning_rate": 2.5e-4,
}  # fmt: skip
_BASE_A2C = {"n_steps": 8, "vf_coef": 0.5}
_BASE_AWR = {
    "n_envs": 8, "batch_size": 1024, "train_freq": 2000, "gradient_steps": 150,
    "policy_lr": 0.050740, "value_lr": 0.105267, "normalize": True,
}  # fmt: skip
SETTINGS: dict[tuple[str, str], dict[str, dict[str, Any]]] = {
    ("PPO", TREES): {
        "CartPole-v1": {
            "n_envs": 8, "n_steps": 128, "batch_size": 64, "n_epochs": 1, "gamma": 0.98,
            "gae_lambda": 0.8, "policy_lr": 0.029, "value_lr": 0.015,
            "policy_grad_clip": 100.0, "value_grad_clip": 10.0,
        },
        "Acrobot-v1": {
            "n_envs": 16, "n_steps": 128, "batch_size": 512, "n_epochs": 20, "gamma": 0.99,
            "gae_lambda": 0.94, "policy_lr": 0.160276, "value_lr": 0.034185,
        },
        "MountainCar-v0": _CAR,
        "MountainCarContinuous-v0": _CAR,
        "LunarLander-v3": {**_CAR, "policy_grad_clip": None, "value_grad_clip": None},
        "Pendulum-v1": {
            "n_envs": 16, "n_steps": 256, "batch_size": 512, "n_epochs": 20, "gamma": 0.914725,
            "gae_lambda": 0.937582, "policy_lr": 0.031247, "value_lr": 0.013152,
            "policy_grad_clip": 100.0, "value_grad_clip": 10.0, "normalize": True,
        },
        GRID: _GRID_TREES,
    },
    ("A2C", TREES): {
        "CartPole-v1": {**_BASE_A2C, "n_envs": 16, "policy_lr": 0.135, "value_lr": 0.0474},
        "Acrobot-v1": {**_BASE_A2C, "n_envs": 4, "policy_lr": 0.794, "value_lr": 0.0316},
        "MountainCar-v0": {**_BASE_A2C, "n_envs": 16, "policy_lr": 0.640, "value_lr": 0.0327},
        "Pendulum-v1": {
            **_BASE_A2C, "n_envs": 32, "n_steps": 10, "gamma": 0.9, "gae_lambda": 0.9,
            "policy_lr": 0.00317, "value_lr": 0.0570, "log_std_lr": 0.000185, "ent_coef": 1e-5,
        },
        "LunarLander-v3": {
            **_BASE_A2C, "n_envs": 32, "n_steps": 5, "gamma": 0.995, "ent_coef": 1e-5,
            "policy_lr": 0.160, "value_lr": 0.0423,
        },
        "MountainCarContinuous-v0": {
            "n_envs": 1, "n_steps": 128, "gamma": 0.95, "vf_coef": 0.4, "policy_lr": 0.000892,
            "value_lr": 0.000282, "log_std_init": -1.0, "log_std_lr": 0.000414, "normalize": True,
        },
    },
    ("AWR", TREES): {
        "LunarLander-v3": _BASE_AWR,
        "MountainCarContinuous-v0": {
            **_BASE_AWR, "batch_size": 64, "policy_lr": 0.000394, "value_lr": 0.083176,
            "policy_grad_clip": 150.0, "normalize": False,
        },
        "CartPole-v1": _BASE_AWR,
        "Acrobot-v1": _BASE_AWR,
        "MountainCar-v0": {
            **_BASE_AWR, "batch_size": 64, "policy_lr": 0.089385, "value_lr": 0.083176,
            "normalize": False,
        },
        "Pendulum-v1": {
            **_BASE_AWR, "batch_size": 512, "train_freq": 1000, "gradient_steps": 50, "gamma": 0.9,
            "buffer_size": 100_000,
            "gae_lambda": 0.9, "policy_lr": 0.000394, "value_lr": 0.073539,
            "normalize_advantage": True, "log_std_lr": 0.000532, "normalize": False,
            "policy_grad_clip": 150.0,
        },
    },
    ("PPO", NETWORKS): {
        "CartPole-v1": {
            "n_envs": 8, "n_steps": 32, "batch_size": 256, "n_epochs": 20, "gamma": 0.98,
            "gae_lambda": 0.8, "learning_rate": "lin_1e-3", "clip_range": "lin_0.2",
        },
        "Acrobot-v1": {
            "n_envs": 16, "n_steps": 256, "n_epochs": 4, "gae_lambda": 0.94, "normalize": True,
        },
        "MountainCar-v0": {
            "n_envs": 16, "n_steps": 16, "n_epochs": 4, "gae_lambda": 0.98, "normalize": True,
        },
        "Pendulum-v1": {
            "n_envs": 4, "n_steps": 1024, "gamma": 0.9, "learning_rate": 1e-3, "use_sde": True,
            "sde_sample_freq": 4,
        },
        "MountainCarContinuous-v0": {
            "n_envs": 1, "n_steps": 8, "batch_size": 256, "gamma": 0.9999, "n_epochs": 10,
            "learning_rate": 7.77e-5, "ent_coef": 0.00429, "clip_range": 0.1, "gae_lambda": 0.9,
            "max_grad_norm": 5, "vf_coef": 0.19, "use_sde": True, "normalize": True,
            "policy_kwargs": {"log_std_init": -3.29, "ortho_init": False},
        },
        "LunarLander-v3": {
            "n_envs": 16, "n_steps": 1024, "batch_size": 64, "n_epochs": 4, "gamma": 0.999,
            "gae_lambda": 0.98, "ent_coef": 0.01,
        },
        GRID: _GRID_NETWORKS,
    },
    ("A2C", NETWORKS): {
        "CartPole-v1": {"n_envs": 8},
        "Acrobot-v1": {"n_envs": 16, "normalize": True},
        "MountainCar-v0": {"n_envs": 16, "normalize": True},
        "Pendulum-v1": {
            "n_envs": 8, "n_steps": 8, "gamma": 0.9, "gae_lambda": 0.9, "vf_coef": 0.4,
            "learning_rate": "lin_7e-4", "use_sde": True, "normalize": True,
            "policy_kwargs": {"log_std_init": -2, "ortho_init": False},
        },
        "MountainCarContinuous-v0": {
            "n_envs": 4, "n_steps": 100, "use_sde": True, "sde_sample_freq": 16, "normalize": True,
            "policy_kwargs": {"log_std_init": 0.0, "ortho_init": False},
        },
        "LunarLander-v3": {
            "n_envs": 8, "gamma": 0.995, "ent_coef": 1e-5, "learning_rate": "lin_8.3e-4",
        },
    },
}  # fmt: skip


@dataclass(frozen=True)
class Training:
    """One agent that is trained: by whom, of what, where, and for how long.

    Attributes:
        task: id of the environment.
        algorithm: "PPO", "A2C" or "AWR".
        model: TREES, NETWORKS, or UNIFORM, which does not learn.
        n_steps: environment steps.
        changes: settings that differ from the paper's, those of trees as "tree.depth".
    """

    task: str
    algorithm: str
    model: str
    n_steps: int
    changes: Mapping[str, Any]


def environment(task: str, model: str) -> gymnasium.Env[Any, Any]:
    """One environment, as a model sees it."""
    env = gymnasium.make(task)
    if not task.startswith(GRID):
        return env
    if model == TREES:
        from fenchel.mdp.gbrl import CategoricalMiniGrid

        return CategoricalMiniGrid(env)
    from minigrid.wrappers import FlatObsWrapper

    return FlatObsWrapper(env)


def make_agent(
    training: Training, seed: int, make: Callable[[], gymnasium.Env[Any, Any]] | None = None
) -> Any:
    """The agent before it is trained, in environments that `make` makes, or those of its task."""
    import stable_baselines3
    import torch
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    from fenchel.mdp import gbrl

    torch.set_num_threads(1)
    if training.task.startswith(GRID):
        import minigrid  # noqa: F401  # registers
    tasks = SETTINGS[training.algorithm, training.model]
    known = tasks[GRID if training.task.startswith(GRID) else training.task]
    settings = {**known, **training.changes}
    tree = {name[5:]: settings.pop(name) for name in list(settings) if name.startswith("tree.")}
    normalize, n_envs = settings.pop("normalize", False), settings.pop("n_envs")
    maker = make or (lambda: environment(training.task, training.model))
    env: Any = make_vec_env(maker, n_envs, seed=seed)
    if normalize:
        env = VecNormalize(
            env, norm_obs=training.model == NETWORKS, gamma=settings.get("gamma", 0.99)
        )
    for name, value in settings.items():
        if isinstance(value, str) and value.startswith("lin_"):
            settings[name] = (lambda start: lambda left: start * left)(float(value[4:]))
    if training.model == TREES:
        made = getattr(gbrl, f"{training.algorithm}_GBRL")
        return made(env, tree=gbrl.TreeParams(**tree), seed=seed, **settings)
    return getattr(stable_baselines3, training.algorithm)(
        "MlpPolicy", env, seed=seed, device="cpu", **settings
    )


def train(agent: Any, n_steps: int) -> pd.DataFrame:
    """Train an agent; its learning curve, with what it cost.

    Returns:
        step, and reward: mean return of the last 100 episodes by then, nan before the first; score:
        reward at the end; seconds of CPU, and trees.
    """
    from stable_baselines3.common.callbacks import BaseCallback

    ends: list[tuple[int, float]] = []

    class Episodes(BaseCallback):  # type: ignore[misc]
        def _on_step(self) -> bool:
            for info in self.locals["infos"]:
                if "episode" in info:
                    ends.append((self.num_timesteps, float(info["episode"]["r"])))
            return True

    start = time.process_time()
    agent.learn(n_steps, callback=Episodes())
    seconds = time.process_time() - start
    if not ends:
        raise ValueError(f"n_steps must be so many that an episode ends, got {n_steps}; raise it")
    steps, returns = (np.array(column, float) for column in zip(*ends, strict=True))
    at = np.linspace(0, n_steps, POINTS + 1)[1:]
    counts = np.searchsorted(steps, at, side="right")
    reward = [returns[max(0, c - LAST) : c].mean() if c else np.nan for c in counts]
    return pd.DataFrame(
        {
            "step": at,
            "reward": reward,
            "score": returns[-LAST:].mean(),
            "seconds": seconds,
            "trees": getattr(agent.policy, "n_trees", 0),
        }
    )


def run(config: Training, seed: int) -> pd.DataFrame:
    """One agent, trained; or 20 episodes of the uniform policy."""
    if config.model == UNIFORM:
        return uniform(config, seed)
    return train(make_agent(config, seed), config.n_steps)


def uniform(config: Training, seed: int) -> pd.DataFrame:
    """Scores of a policy that draws actions uniformly."""
    env = environment(config.task, TREES)
    env.action_space.seed(seed)
    returns = np.zeros(20)
    for episode in range(20):
        env.reset(seed=20 * seed + episode)
        over = False
        while not over:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            returns[episode] += float(reward)
            over = terminated or truncated
    at = np.linspace(0, config.n_steps, POINTS + 1)[1:]
    return pd.DataFrame({"step": at, "reward": returns.mean(), "score": returns.mean()})


def scores(tables: Sequence[pd.DataFrame], column: str = "score") -> FloatArray:
    """A number of each seed."""
    return np.array([float(table[column].iloc[0]) for table in tables])


def draw_curves(ax: Any, tables: Sequence[pd.DataFrame], label: str, **style: Any) -> None:
    """Mean over seeds, and the range of them."""
    step = tables[0]["step"] / 1000
    rewards = np.array([table["reward"] for table in tables])
    ax.plot(step, rewards.mean(axis=0), label=label, **style)
    color = ax.lines[-1].get_color()
    ax.fill_between(step, rewards.min(axis=0), rewards.max(axis=0), color=color, alpha=0.2, lw=0)


def better(first: FloatArray, second: FloatArray, detail: str) -> Outcome:
    """Claims that the first scores are at least the second, of the same seeds."""
    return at_least(*interval(first - second), 0.0, detail)


def of(data: Results[Any, Training], task: str, algorithm: str, model: str) -> list[pd.DataFrame]:
    """Tables of the seeds, of settings that are the paper's."""
    return data[Training(task, algorithm, model, data.settings.n_steps, {})]


def as_good_as_networks(
    task: str, paper_steps: int, where: str, statement: str
) -> Claim[Results[Any, Training]]:
    """PPO with trees has at least the score of networks on a task."""

    def check(data: Results[Any, Training]) -> Outcome:
        if task not in data.settings.tasks:
            return not_run()
        trees, networks = (scores(of(data, task, "PPO", model)) for model in (TREES, NETWORKS))
        outcome = better(trees, networks, "return of trees less that of networks")
        return at_budget(outcome, data.settings.n_steps, paper_steps)

    return Claim(f"{PAPER}, {where}", statement, check)
