"""Datasets of an agent in training, as D4RL's are made: by SAC of stable-baselines3.

    random           uniform actions
    medium           the policy at the first evaluation with return >= random + ⅓ (expert − random)
    expert           the policy of the best evaluation of the run
    medium-replay    all that the agent had met when it became medium
    full-replay      all that it met

Policies draw their actions. A seed gives one run, with one version of torch, on one kind of
machine, with one number of threads. The references of scores are the mean returns of uniform
actions and of the expert's mean actions.

References:
    Fu et al. D4RL: datasets for deep data-driven reinforcement learning. 2020.
    Haarnoja et al. Soft actor-critic. ICML 2018.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium
import numpy as np

from ..evaluation import evaluate
from . import cache
from .dataset import OfflineDataset
from .files import needed

Policy: TypeAlias = Callable[[Any], Any]
Row: TypeAlias = tuple[Any, Any, float, Any, bool, bool]  # the fields of a dataset, in order
MEDIUM, EXPERT = "medium", "expert"


@dataclass(frozen=True)
class Training:
    """How SAC is trained on an environment; what is not said is stable-baselines3's default.

    Attributes:
        env_id: of gymnasium.
        training_steps: of the environment, one update each.
        hidden: units of two layers.
        n_transitions: of datasets that policies collect, by default.
        learning_starts: steps of uniform actions.
        n_evaluations: spread evenly over the training.
        evaluation_episodes: of each.
        reference_episodes: of each reference return.
    """

    env_id: str
    training_steps: int
    hidden: int
    n_transitions: int
    learning_starts: int = 1000
    n_evaluations: int = 20
    evaluation_episodes: int = 10
    reference_episodes: int = 100


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        replay: all transitions that the agent met, in order; meta has ref_min, ref_max,
            medium_step and the evaluations.
        policies: of stable-baselines3, "medium" and "expert".
    """

    replay: OfflineDataset
    policies: dict[str, Any]


def train(training: Training, seed: int) -> Run:
    """Train, evaluate and choose the two policies.

    Raises:
        ModuleNotFoundError: stable-baselines3 is not installed.
        ValueError: the best evaluation is not above the return of uniform actions.
    """
    sac = needed("stable_baselines3").SAC
    words = np.random.SeedSequence(seed)
    agent_seed, evaluation_seed, uniform_seed, expert_seed = _small_seeds(words, 4)
    task, n_reference = training.env_id, training.reference_episodes
    draw = _uniform_actions(gymnasium.make(task), uniform_seed)
    uniform = lambda observations: np.stack([draw(one) for one in observations])  # noqa: E731
    ref_min = _mean_return(uniform, task, n_reference, uniform_seed)
    ends = np.linspace(0, training.training_steps, training.n_evaluations + 1).astype(int)
    with _global_generators_kept():
        model = sac(
            "MlpPolicy",
            gymnasium.make(task),
            learning_starts=training.learning_starts,
            policy_kwargs={"net_arch": [training.hidden, training.hidden]},
            seed=agent_seed,
            device="cpu",
        )
        rows: list[Row] = []
        record = lambda step, _: _record(rows, step)  # noqa: E731
        evaluations, policies = [], []
        for first, end in pairwise(ends.tolist()):
            model.learn(end - first, callback=record, reset_num_timesteps=first == 0)
            n = training.evaluation_episodes
            evaluations.append(_mean_return(model.policy, task, n, evaluation_seed))
            policies.append(copy.deepcopy(model.policy))
        best = int(np.argmax(evaluations))
        if evaluations[best] <= ref_min:
            raise ValueError(
                f"training_steps must be enough to do better than uniform actions ({ref_min:.4g}), "
                f"got {training.training_steps} with {evaluations[best]:.4g} at best; train longer"
            )
        threshold = ref_min + (evaluations[best] - ref_min) / 3
        middle = int(np.argmax(np.array(evaluations) >= threshold))
        ref_max = _mean_return(policies[best], task, n_reference, expert_seed)
    meta = {
        "ref_min": ref_min,
        "ref_max": ref_max,
        "medium_step": int(ends[middle + 1]),
        "evaluations": evaluations,
    }
    return Run(_dataset(rows, meta), {MEDIUM: policies[middle], EXPERT: policies[best]})


def cached_run(training: Training, seed: int, key: str) -> Run:
    """The run kept under a key; without one, it is trained now and kept, with its policies."""
    replay = cache.load(key)
    if replay is not None:
        load = import_module("stable_baselines3.sac.policies").SACPolicy.load
        folder = cache.cache_root() / key
        names = (MEDIUM, EXPERT)
        return Run(replay, {name: load(folder / f"{name}.zip", device="cpu") for name in names})
    run = train(training, seed)

    def save_policies(folder: Path) -> None:
        for name, policy in run.policies.items():
            policy.save(folder / f"{name}.zip")

    cache.save(key, run.replay, save_policies)
    return run


def collect(
    training: Training, policies: Mapping[str, Any], tier: str, n_transitions: int, seed: int
) -> OfflineDataset:
    """The first transitions of a policy of a run, or of uniform actions.

    Args:
        training: of the run.
        policies: of the run.
        tier: "random", "medium" or "expert".
        n_transitions: N >= 1; the last trajectory is cut to fit.
        seed: at least 0.
    """
    stream = ("random", MEDIUM, EXPERT).index(tier)
    words = np.random.SeedSequence(seed, spawn_key=(stream,))
    reset_seed, action_seed = _small_seeds(words, 2)
    env = gymnasium.make(training.env_id)
    rows: list[Row] = []
    with _global_generators_kept():
        if tier == "random":
            act = _uniform_actions(env, action_seed)
        else:
            import_module("torch").manual_seed(action_seed)
            act = lambda seen: policies[tier].predict(seen, deterministic=False)[0]  # noqa: E731
        observation, _ = env.reset(seed=reset_seed)
        while len(rows) < n_transitions:
            action = act(observation)
            following, reward, terminated, truncated, _ = env.step(action)
            timeout = truncated and not terminated
            rows.append((observation, action, float(reward), following, terminated, timeout))
            observation = env.reset()[0] if terminated or truncated else following
    return _dataset(rows, {})


def _uniform_actions(env: gymnasium.Env[Any, Any], seed: int) -> Policy:
    """Actions drawn from the action space."""
    space = copy.deepcopy(env.action_space)
    space.seed(seed)
    return lambda observation: space.sample()


def _mean_return(agent: Any, env_id: str, n_episodes: int, seed: int) -> float:
    return float(evaluate(agent, env_id, n_episodes=n_episodes, seed=seed).mean())


def _small_seeds(words: np.random.SeedSequence, n: int) -> list[int]:
    """n seeds below 2³¹, as gymnasium and stable-baselines3 take them."""
    return [int(word >> 1) for word in words.generate_state(n)]


@contextmanager
def _global_generators_kept() -> Iterator[None]:
    """Puts back the global generators, which stable-baselines3 seeds and draws from."""
    torch = import_module("torch")
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


def _record(rows: list[Row], step: Mapping[str, Any]) -> bool:
    """Keeps a transition of stable-baselines3's loop, with the observation before any reset.

    Args:
        rows: where to.
        step: the variables of the loop, before the model's last observation moves on.
    """
    info, done = step["infos"][0], bool(step["dones"][0])
    before, action = step["self"]._last_obs[0].copy(), step["actions"][0].copy()
    following = info["terminal_observation"] if done else step["new_obs"][0].copy()
    timeout = done and bool(info["TimeLimit.truncated"])
    rows.append(
        (before, action, float(step["rewards"][0]), following, done and not timeout, timeout)
    )
    return True


def _dataset(rows: Sequence[Row], meta: dict[str, Any]) -> OfflineDataset:
    """The rows as a dataset; if the last trajectory is open, it is cut there."""
    o, a, r, following, terminals, timeouts = (np.array(c) for c in zip(*rows, strict=True))
    dataset = OfflineDataset(o, a, r, following, terminals, timeouts, meta=meta)
    return dataset.first(len(rows))
