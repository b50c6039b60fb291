"""What the figures on agents with snapshots share: teachers' banks, students, curves and claims."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
import pandas as pd

from fenchel.core.checks import FloatArray
from fenchel.experiments import Outcome, Results, at_least
from fenchel.mdp.snapshot import (
    ClusterSampler,
    JumpStart,
    SnapshotBank,
    SnapshotReset,
    UniformSampler,
    add_transitions,
    collect_snapshots,
)
from fenchel.offline_rl import evaluate
from fenchel.paper_figures._outcomes import not_run
from fenchel.paper_figures._statistics import bootstrap

PAPER, OWN = "Zhao et al. 2024", "derived"
BASE, PLAIN, SC, STT, S3RL = "no snapshots", "snapshots", "+ SC", "+ STT", "S3RL: both"
RANDOM, JUMP, BUFFER = "random policy's bank", "jump-start", "teacher's transitions"
COLOUR = {
    BASE: "C6", RANDOM: "C3", JUMP: "C4", BUFFER: "C7", PLAIN: "C5", SC: "C0", STT: "C2",
    S3RL: "C1",
}  # fmt: skip
TAUGHT = (JUMP, BUFFER, PLAIN, SC, STT, S3RL)  # by a teacher that has learned
OTHERWISE = (RANDOM, JUMP, PLAIN, SC, STT, S3RL)  # episodes start so up to T_snap
CLUSTERS, LIMIT, SHORT = 6, 1000, 100  # as in the paper's code
SMALL, FULL = "64-64", "paper"
POINTS, EPISODES = 20, 3  # evaluations of a curve, and their episodes

# SMALL was chosen on other seeds, so that thousands of steps are enough and seconds too.
# FULL is the paper's code, but stable-baselines3 has one rate for actor and critics of SAC (there
# 3e-4 and 1e-3) and updates its actor once a step (there twice every second step).
SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("TD3", FULL): {
        "learning_rate": 3e-4, "batch_size": 256, "learning_starts": 25_000,
        "policy_kwargs": {"net_arch": [256, 256]},
    },
    ("SAC", FULL): {
        "learning_rate": 3e-4, "batch_size": 256, "learning_starts": 5_000,
        "policy_kwargs": {"net_arch": [256, 256]},
    },
    ("PPO", FULL): {
        "learning_rate": "linear", "n_steps": 2048, "batch_size": 64, "n_epochs": 10,
        "clip_range_vf": 0.2, "policy_kwargs": {"net_arch": [64, 64]},
    },
    ("TD3", SMALL): {
        "learning_rate": 1e-3, "batch_size": 64, "learning_starts": 1000,
        "policy_kwargs": {"net_arch": [64, 64], "optimizer_kwargs": {"fused": True}},
    },
    ("SAC", SMALL): {
        "learning_rate": 3e-3, "batch_size": 128, "tau": 0.02, "train_freq": 4,
        "gradient_steps": 2, "learning_starts": 500,
        "policy_kwargs": {"net_arch": [64, 64], "optimizer_kwargs": {"fused": True}},
    },
}  # fmt: skip


@dataclass(frozen=True)
class Teacher:
    """An agent that was trained by _teachers.py.

    Attributes:
        task: id of the environment.
        algorithm: "TD3", "SAC" or "PPO".
        size: SMALL or FULL, of networks and batches.
    """

    task: str
    algorithm: str
    size: str

    def file(self, suffix: str) -> Path:
        """Where its bank (".npz"), actor ("-actor.npz") or history (".json") lies."""
        name = f"{self.task}-{self.algorithm}-{self.size}{suffix}"
        return Path(__file__).parent / "banks" / name

    def mark(self) -> str:
        """Digits of the bank's file.

        Raises:
            FileNotFoundError: there is none; the message says how to make it.
        """
        path = self.file(".npz")
        if not path.exists():
            raise FileNotFoundError(
                f"there is no bank {path.name} in {path.parent}; train the teacher by: python "
                f"paper_figures/_teachers.py --task {self.task} --algorithm {self.algorithm} "
                f"--size {self.size}"
            )
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]

    def steps(self) -> int:
        """Steps of the environment that its training and bank took."""
        history = json.loads(self.file(".json").read_text())
        return int(history["n_steps"]) * int(history["n_seeds"]) + int(history["bank_steps"])


@dataclass(frozen=True)
class Student:
    """One agent that is trained.

    Attributes:
        task: id of the environment.
        algorithm: "TD3", "SAC" or "PPO".
        size: SMALL or FULL, of networks and batches.
        variant: of its episodes.
        n_steps: of training.
        n_snapshot_steps: T_snap, after which episodes start as usual.
        teacher: of the snapshots.
        bank: digits of the teacher's file.
    """

    task: str
    algorithm: str
    size: str
    variant: str
    n_steps: int
    n_snapshot_steps: int
    teacher: Teacher
    bank: str


# ----------------------------------------------------------------------------------- teachers


class Actor:
    """The mean action of a network of SAC or TD3, in numpy.

    Args:
        weights: matrix and offset of each layer; between layers max(·, 0), at last tanh.
        low: least actions.
        high: greatest actions.
        clip: bound of what goes into tanh.
    """

    def __init__(self, weights: Sequence[Any], low: Any, high: Any, clip: float = np.inf) -> None:
        self.weights, self.low, self.high, self.clip = list(weights), low, high, float(clip)

    def __call__(self, observation: Any) -> npt.NDArray[np.float32]:
        """Actions (..., a) of observations (..., d)."""
        x = np.asarray(observation, np.float32)
        for matrix, offset in zip(self.weights[:-2:2], self.weights[1:-2:2], strict=True):
            x = np.maximum(x @ matrix.T + offset, 0)
        x = np.tanh(np.clip(x @ self.weights[-2].T + self.weights[-1], -self.clip, self.clip))
        return (self.low + (x + 1) * (self.high - self.low) / 2).astype(np.float32)

    @classmethod
    def of(cls, model: Any) -> "Actor":
        """That of a model of stable-baselines3."""
        actor, space = model.policy.actor, model.action_space
        parts = [actor.latent_pi, actor.mu] if hasattr(actor, "latent_pi") else [actor.mu]
        weights = [
            one.detach().numpy().copy()
            for part in parts
            for one in part.parameters()
        ]  # fmt: skip
        clip = actor.clip_mean if getattr(actor, "use_sde", False) else np.inf
        return cls(weights, space.low, space.high, clip)

    def save(self, path: Path) -> None:
        """Write it to a file of numpy's."""
        arrays = {str(k): one for k, one in enumerate(self.weights)}
        np.savez_compressed(path, low=self.low, high=self.high, clip=self.clip, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Actor":
        """That of a file of `save`."""
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
        weights = [arrays[str(k)] for k in range(len(arrays) - 3)]
        return cls(weights, arrays["low"], arrays["high"], float(arrays["clip"]))


# ----------------------------------------------------------------------------------- students


def make_model(
    task: str,
    algorithm: str,
    size: str,
    seed: int,
    wrap: Callable[[Any], Any] = lambda env: env,
    **changes: Any,
) -> Any:
    """A model that is not trained yet, in one environment."""
    import stable_baselines3
    import torch
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.noise import NormalActionNoise
    from stable_baselines3.common.vec_env import VecNormalize

    torch.set_num_threads(1)
    settings = {**SETTINGS[algorithm, size], **changes}
    if settings["learning_rate"] == "linear":
        settings["learning_rate"] = lambda left: 3e-4 * left
    env: Any = make_vec_env(lambda: wrap(gymnasium.make(task)), seed=seed)
    if algorithm == "PPO":
        env = VecNormalize(env)
    if algorithm == "TD3":
        n = env.action_space.shape[0]
        settings["action_noise"] = NormalActionNoise(np.zeros(n), 0.1 * np.ones(n))
    made = getattr(stable_baselines3, algorithm)
    return made("MlpPolicy", env, seed=seed, device="cpu", **settings)


def start_otherwise(config: Student, env: Any, seed: int) -> Any:
    """The environment, with episodes of a variant."""
    if config.variant in (BASE, BUFFER):
        return env
    if config.variant == RANDOM:
        bank = random_bank(env, seed)
        return SnapshotReset(env, UniformSampler(bank), truncate=LIMIT)
    bank = SnapshotBank.load(config.teacher.file(".npz"))
    if config.variant == JUMP:
        actor = Actor.load(config.teacher.file("-actor.npz"))
        return JumpStart(env, actor, bank.values("t"))
    clusters, short = config.variant in (SC, S3RL), config.variant in (STT, S3RL)
    sampler = ClusterSampler(bank, CLUSTERS) if clusters else UniformSampler(bank)
    return SnapshotReset(env, sampler, truncate=SHORT if short else LIMIT)


def random_bank(env: Any, seed: int) -> SnapshotBank:
    """Ten episodes of random actions."""
    env.action_space.seed(seed)
    return collect_snapshots(lambda _: env.action_space.sample(), env, seed=seed)


def mean_action(model: Any) -> Callable[[Any], Any]:
    """Of a model as it is now, from observations that are not normalized; without its noise."""
    if hasattr(model, "actor"):
        return Actor.of(model)
    normalizer = model.get_vec_normalize_env()
    seen = (lambda o: o) if normalizer is None else normalizer.normalize_obs
    return lambda o: model.predict(seen(o), deterministic=True)[0]


def train(model: Any, task: str, n_steps: int, callbacks: list[Any], seed: int) -> pd.DataFrame:
    """Train a model; steps and mean returns of evaluations, `POINTS` of them."""
    from stable_baselines3.common.callbacks import BaseCallback, CallbackList

    rows: list[tuple[int, float]] = []
    every = max(1, n_steps // POINTS)

    class Evaluations(BaseCallback):  # type: ignore[misc]
        def _on_step(self) -> bool:
            if self.num_timesteps % every == 0:
                returns = evaluate(mean_action(model), task, n_episodes=EPISODES, seed=seed)
                rows.append((self.num_timesteps, float(returns.mean())))
            return True

    model.learn(n_steps, callback=CallbackList([*callbacks, Evaluations()]))
    return pd.DataFrame(rows[:POINTS], columns=["step", "return"])


def make_run(config: Student, seed: int) -> pd.DataFrame:
    """The curve of one student: step and return, and the step at which snapshots ended."""
    from fenchel.mdp.snapshot import SwitchOff

    model = make_model(
        config.task, config.algorithm, config.size, seed,
        lambda env: start_otherwise(config, env, seed),
    )  # fmt: skip
    if config.variant == BUFFER:
        actor = Actor.load(config.teacher.file("-actor.npz"))
        add_transitions(model, actor, gymnasium.make(config.task), seed=seed)
    callbacks = [SwitchOff(config.n_snapshot_steps)] if config.variant in OTHERWISE else []
    table = train(model, config.task, config.n_steps, callbacks, seed)
    switched = callbacks[0].switched_at if callbacks else 0
    return table.assign(switched=switched)


# --------------------------------------------------------------------------- curves and claims

Data = dict[tuple[str, str, str], list[pd.DataFrame]]  # by task, algorithm and variant
Measure = Callable[[Sequence[pd.DataFrame]], FloatArray]  # one number a seed


def tables_of(results: Results[Any, Student]) -> Data:
    """The tables of the seeds."""
    return {(c.task, c.algorithm, c.variant): list(results[c]) for c in results.configs}


def area(tables: Sequence[pd.DataFrame]) -> FloatArray:
    """Mean return over the evaluations of a curve, which is the area below it; one a seed."""
    return np.array([float(table["return"].mean()) for table in tables])


def final(tables: Sequence[pd.DataFrame]) -> FloatArray:
    """Mean return of the last tenth of the evaluations, one a seed."""
    return np.array([float(table["return"].iloc[-(POINTS // 10) :].mean()) for table in tables])


def better(
    place: tuple[str, str],
    variant: str,
    than: str,
    measure: Measure = area,
) -> Callable[[Data], Outcome]:
    """A variant has at least the area, or the final return, of another; seeds are paired."""

    def check(data: Data) -> Outcome:
        if (*place, variant) not in data or (*place, than) not in data:
            return not_run()
        first, second = measure(data[*place, variant]), measure(data[*place, than])
        what = "area" if measure is area else "final return"
        detail = f"{what}, {variant} {first.mean():.4g} less {than} {second.mean():.4g}"
        return at_least(*bootstrap(first - second), 0.0, detail)

    return check


def draw_curves(
    ax: Any, tables: Sequence[pd.DataFrame], variant: str, shift: int, band: bool
) -> None:
    """Mean return over seeds, against thousands of steps; with its interval, if asked for."""
    step = (tables[0]["step"] + shift) / 1000
    returns = np.array([table["return"] for table in tables])
    ax.plot(step, returns.mean(axis=0), color=COLOUR[variant], lw=2.2 if band else 1.2)
    if band and len(tables) > 1:
        low, high = np.array([bootstrap(column)[1:] for column in returns.T]).T
        ax.fill_between(step, low, high, color=COLOUR[variant], alpha=0.2, lw=0)


def draw_areas(ax: Any, tables: dict[str, list[pd.DataFrame]]) -> None:
    """Area under the curve: seeds as dots, their mean with its interval."""
    for place, (variant, each) in enumerate(tables.items()):
        values, color = area(each), COLOUR[variant]
        around = place + np.linspace(-0.2, 0.2, len(values)) * (len(values) > 1)
        ax.plot(values, around, "o", ms=4, color=color, alpha=0.5, mew=0)
        middle, low, high = bootstrap(values)
        bar = [[middle - low], [high - middle]] if np.isfinite(low) else None
        ax.errorbar(middle, place, xerr=bar, fmt="o", ms=6, color=color, mec="k", capsize=3)
    ax.set_yticks(range(len(tables)), tables)
    ax.invert_yaxis()


def draw_row(
    row: Sequence[Any], tables: dict[str, list[pd.DataFrame]], name: str, teacher: Teacher
) -> None:
    """Curves, the same shifted by the teacher's steps, and areas, of one task and algorithm."""
    shift = teacher.steps()
    for variant, each in tables.items():
        bold = variant in (BASE, S3RL)
        draw_curves(row[0], each, variant, 0, bold)
        draw_curves(row[1], each, variant, shift if variant in TAUGHT else 0, bold)
    draw_areas(row[2], tables)
    row[0].set(ylabel="return", title=name)
    row[1].set_title(f"with the teacher's {shift:,} steps")
    row[2].set_title("mean of the curve")
