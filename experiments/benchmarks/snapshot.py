"""Snapshots against copies of the simulator, and what wrappers cost a step and a training run.

Capture and restore: microseconds of CPU time, of the whole environment with its wrappers, info and
observation included, beside what copies MjData alone. A step: random actions, from the same
snapshot with and without the wrapper, by turns, without resets. Training: steps per CPU second of
SAC with networks of 64 by 64, with episodes from snapshots, against the usual ones, by turns. One
core; medians; MuJoCo's environments are left out where it is missing.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from rich.console import Console

from ...mdp.snapshot import SnapshotReset, UniformSampler, capture, collect_snapshots, restore
from ._tables import digits, numbers

TASKS = ("CartPole-v1", "Pendulum-v1", "Hopper-v5", "Ant-v5", "Humanoid-v5")


def microseconds(call: Callable[[], Any], n: int = 2000) -> float:
    """CPU time of one call, median of nine times n."""
    times = []
    for _ in range(9):
        start = time.process_time()
        for _ in range(n):
            call()
        times.append((time.process_time() - start) / n)
    return 1e6 * float(np.median(times))


def snapshots(task: str) -> list[float | None]:
    """Microseconds of capture, restore, and of copies of MjData: into another, and a new one."""
    env = gymnasium.make(task)
    observation, info = env.reset(seed=0)
    for _ in range(5):
        observation, _, _, _, info = env.step(env.action_space.sample())
    snapshot = capture(env, observation, info)
    found: list[float | None] = [
        microseconds(lambda: capture(env, observation, info)),
        microseconds(lambda: restore(env, snapshot, randomness="resample")),
    ]
    inner: Any = env.unwrapped
    if not hasattr(inner, "data"):
        return [*found, None, None]
    import mujoco

    spare = mujoco.MjData(inner.model)
    into = microseconds(lambda: mujoco.mj_copyData(spare, inner.model, inner.data), 200)
    return [*found, into, microseconds(lambda: copy.copy(inner.data), 50)]


def steps(task: str) -> tuple[float, float]:
    """Microseconds of a step without and with a wrapper that is active, from one snapshot."""
    plain = gymnasium.make(task)
    plain.action_space.seed(0)
    bank = collect_snapshots(lambda o: plain.action_space.sample(), plain, n_episodes=5, seed=0)
    sampler = UniformSampler(bank[:1])
    wrapped = SnapshotReset(gymnasium.make(task), sampler, truncate=10_000)
    actions = [plain.action_space.sample() for _ in range(1000)]
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(15):
        for env, kept in zip((plain, wrapped), times, strict=True):
            env.reset(seed=0)
            if env is plain:
                restore(plain, bank[0], randomness="resample")
            spent = 0.0
            for action in actions:
                start = time.perf_counter()
                _, _, terminated, truncated, _ = env.step(action)
                spent += time.perf_counter() - start
                if terminated or truncated:
                    env.reset()
                    if env is plain:
                        restore(plain, bank[0], randomness="resample")
            kept.append(spent / len(actions))
    one, two = (1e6 * float(np.median(kept)) for kept in times)
    return one, two


def training(task: str, n_steps: int = 1500) -> tuple[float, float]:
    """Steps a CPU second of SAC without and with snapshots."""
    import torch
    from stable_baselines3 import SAC

    from ...mdp.snapshot import S3RL

    torch.set_num_threads(1)
    settings: dict[str, Any] = {
        "learning_starts": 500, "batch_size": 64, "policy_kwargs": {"net_arch": [64, 64]},
        "seed": 0, "device": "cpu",
    }  # fmt: skip
    env = gymnasium.make(task)
    bank = collect_snapshots(lambda o: env.action_space.sample(), env, n_episodes=5, seed=0)
    bank = type(bank)([_valued(one) for one in bank])
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(3):
        for with_snapshots, kept in zip((False, True), rates, strict=True):
            model: Any = SAC("MlpPolicy", task, **settings)
            learner: Any = S3RL(model, bank, n_steps=n_steps) if with_snapshots else model
            start = time.process_time()
            learner.learn(n_steps)
            kept.append(n_steps / (time.process_time() - start))
    return float(np.median(rates[0])), float(np.median(rates[1]))


def _valued(snapshot: Any) -> Any:
    snapshot.meta["value"] = snapshot.meta["return"]
    return snapshot


def main() -> None:
    """Measure and print."""
    console = Console()
    there = [task for task in TASKS if _there(task)]
    table = numbers("Microseconds", ("task", "capture", "restore", "MjData, into another", "new"))
    for task in there:
        table.add_row(task, *(digits(value, 3) for value in snapshots(task)))
    console.print(table)
    table = numbers("A step, microseconds", ("task", "plain", "snapshots", "ratio"))
    for task in there:
        plain, wrapped = steps(task)
        table.add_row(task, digits(plain, 3), digits(wrapped, 3), f"{wrapped / plain:.3f}")
    console.print(table)
    table = numbers("SAC, steps a CPU second", ("task", "plain", "snapshots", "ratio"))
    for task in [task for task in there if task in ("Pendulum-v1", "Hopper-v5")]:
        plain, wrapped = training(task)
        table.add_row(task, digits(plain, 3), digits(wrapped, 3), f"{wrapped / plain:.3f}")
    console.print(table)


def _there(task: str) -> bool:
    try:
        gymnasium.make(task).close()
    except gymnasium.error.DependencyNotInstalled:
        return False
    return True
