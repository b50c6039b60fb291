"""What must be kept of a simulator for it to go on exactly as it would have.

Runs:    python paper_figures/snapshot_exactness.py [--preset quick|standard|paper]
Shows:   environment by what is kept: continuations that are the same bit by bit, of all tried.
Games:   k = 0, 1, 5, 23, 61, 150 random steps from a seed, the state is kept, and 200 more steps
         follow: the reference. The state goes into another instance, reset with another seed and
         seven steps on, and the same actions are taken. Bytes of observations, rewards and
         terminations are compared. MuJoCo is stepped on after falls, so that all 200 steps are
         there; elsewhere the next episode begins before step k, and a continuation ends with its
         episode.
Claims:  all continuations of fenchel's snapshots are exact. Positions and velocities, which
         `set_state` takes, are not enough: the solver starts from the acceleration of the step
         before. Nor is the state for integration, for rewards that read where bodies were before
         the last substep. Without mujoco (pip install "fenchel[snapshot]") its tasks are left out.
"""

import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import gymnasium
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing
from scipy import stats

from fenchel.experiments import (
    Claim,
    Experiment,
    Figure,
    Outcome,
    Results,
    Verdict,
    at_least,
    at_most,
    main,
)
from fenchel.mdp.snapshot import capture, restore

MUJOCO = (
    "Ant-v5", "HalfCheetah-v5", "Hopper-v5", "Humanoid-v5", "HumanoidStandup-v5",
    "InvertedDoublePendulum-v5", "InvertedPendulum-v5", "Pusher-v5", "Reacher-v5", "Swimmer-v5",
    "Walker2d-v5",
)  # fmt: skip
OTHERS = (
    "Acrobot-v1", "CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1",
    "Blackjack-v1", "CliffWalking-v1", "FrozenLake-v1", "FrozenLake8x8-v1", "Taxi-v4",
)  # fmt: skip
PREFIXES, N_STEPS, N_STEPS_ELSEWHERE = (0, 1, 5, 23, 61, 150), 200, 7
POSITIONS, PHYSICS = "qpos, qvel\n(set_state)", "full physics\n+ forward"
INTEGRATION, FORWARD = "integration", "integration\n+ forward"
STATE, OURS = "state without\ngenerator", "fenchel"
LEVELS = (POSITIONS, PHYSICS, INTEGRATION, FORWARD, STATE, OURS)
DERIVED = ("Ant-v5", "Humanoid-v5")  # whose rewards read derived positions
RANDOM = ("FrozenLake-v1", "FrozenLake8x8-v1")  # whose steps are drawn
Env = gymnasium.Env[Any, Any]
Put = Callable[[Any], object]  # puts what was kept into another instance


@dataclass(frozen=True)
class Settings:
    """Seeds, of which each gives a continuation for each k."""

    n_seeds: int
    tasks: tuple[str, ...] = (*MUJOCO, *OTHERS)
    n_replications: int = 1


@dataclass(frozen=True)
class Config:
    """An environment."""

    task: str


Data = dict[str, pd.DataFrame]  # all continuations, by environment


def cells(settings: Settings) -> list[Config]:
    there = find_spec("mujoco") is not None
    return [Config(task) for task in settings.tasks if there or task not in MUJOCO]


def kept(env: Env, observation: Any, info: dict[str, Any]) -> dict[str, Put]:
    """What each level keeps of an environment, as functions that put it into another."""
    snapshot = capture(env, observation, info)
    puts: dict[str, Put] = {OURS: lambda other: restore(other, snapshot)}
    if not hasattr(env.unwrapped, "data"):
        return {STATE: lambda other: restore(other, snapshot, randomness="resample"), **puts}
    import mujoco

    inner: Any = env.unwrapped
    qpos, qvel = inner.data.qpos.copy(), inner.data.qvel.copy()
    puts[POSITIONS] = lambda other: other.unwrapped.set_state(qpos, qvel)

    def part(signature: Any, forward: bool) -> Put:
        state = np.empty(mujoco.mj_stateSize(inner.model, signature))
        mujoco.mj_getState(inner.model, inner.data, state, signature)

        def put(other: Any) -> None:
            at = other.unwrapped
            mujoco.mj_setState(at.model, at.data, state, signature)
            if forward:
                mujoco.mj_forward(at.model, at.data)

        return put

    puts[PHYSICS] = part(mujoco.mjtState.mjSTATE_FULLPHYSICS, True)
    puts[INTEGRATION] = part(mujoco.mjtState.mjSTATE_INTEGRATION, False)
    puts[FORWARD] = part(mujoco.mjtState.mjSTATE_INTEGRATION, True)
    return puts


def make_env(task: str) -> Env:
    """Without warnings: of versions, and of an old attribute in HalfCheetah's model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if task not in MUJOCO:
            return gymnasium.make(task, disable_env_checker=True)
        import mujoco

        usual = mujoco.get_mju_user_warning()
        mujoco.set_mju_user_warning(lambda message: None)
        try:
            return gymnasium.make(task, disable_env_checker=True)
        finally:
            mujoco.set_mju_user_warning(usual)


def advance(env: Env, n_steps: int, seed: int, on: bool) -> tuple[Any, dict[str, Any]]:
    """What random steps from a seed return last; on: ends of episodes are passed over."""
    observation, info = env.reset(seed=seed)
    env.action_space.seed(seed)
    for _ in range(n_steps):
        observation, _, terminated, _, info = env.step(env.action_space.sample())
        if terminated and not on:
            observation, info = env.reset()
    return observation, info


def course(env: Env, actions: list[Any], on: bool) -> Iterator[dict[str, Any]]:
    """What is compared, step by step."""
    for action in actions:
        observation, reward, terminated, _, _ = env.step(action)
        found = np.asarray(observation).tobytes()
        yield {"observation": found, "reward": float(reward), "terminated": terminated}
        if terminated and not on:
            return


def make_run(config: Config, seed: int) -> pd.DataFrame:
    """One row a level and k: whether it is exact, and what differs first."""
    on = config.task in MUJOCO
    env, other = make_env(config.task), make_env(config.task)
    rows = []
    for k in PREFIXES:
        puts = kept(env, *advance(env, k, seed, on))
        actions = [env.action_space.sample() for _ in range(N_STEPS)]
        reference = list(course(env, actions, on))
        for level, put in puts.items():
            advance(other, N_STEPS_ELSEWHERE, 1000 + seed, on)
            put(other)
            row = {"level": level, "k": k, "exact": True, "step": -1, "what": "", "gap": 0.0}
            for step, (a, b) in enumerate(zip(reference, course(other, actions, on), strict=False)):
                if a != b:
                    what = next(name for name in a if a[name] != b[name])
                    gap = abs(a["reward"] - b["reward"])
                    row |= {"exact": False, "step": step, "what": what, "gap": gap}
                    break
            rows.append(row)
    return pd.DataFrame(rows)


def summarise(results: Results[Settings, Config]) -> Data:
    return {c.task: pd.concat(results[c], ignore_index=True) for c in results.configs}


def of(data: Data, task: str, level: str) -> pd.DataFrame:
    table = data[task]
    return table[table["level"] == level]


def draw(data: Data) -> Drawing:
    figure, ax = plt.subplots(figsize=(9, 1.2 + 0.3 * len(data)))
    shares = np.full((len(data), len(LEVELS)), np.nan)
    for i, task in enumerate(data):
        for j, level in enumerate(LEVELS):
            exact = of(data, task, level)["exact"]
            if len(exact):
                shares[i, j] = exact.mean()
                color = "k" if shares[i, j] > 0.5 else "w"
                text = f"{exact.sum():.0f}/{len(exact)}"
                ax.text(j, i, text, ha="center", va="center", color=color, fontsize=9)
    image = ax.imshow(shares, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    ax.hlines(np.arange(1, len(data)) - 0.5, -0.5, len(LEVELS) - 0.5, color="w", lw=1)
    ax.vlines(np.arange(1, len(LEVELS)) - 0.5, -0.5, len(data) - 0.5, color="w", lw=1)
    ax.set_xticks(range(len(LEVELS)), LEVELS, fontsize=9.5)
    ax.set_yticks(range(len(data)), list(data), fontsize=9.5)
    ax.tick_params(length=0)
    ax.xaxis.tick_top()
    ax.grid(visible=False)
    for side in ax.spines.values():
        side.set_visible(False)
    figure.colorbar(image, ax=ax, label="share of exact continuations", fraction=0.04)
    return figure


def left_out() -> Outcome:
    detail = "mujoco is not installed, or no such task at this budget"
    return Outcome(0.0, -np.inf, np.inf, Verdict.INCONCLUSIVE, detail)


def exact(tasks: tuple[str, ...]) -> Callable[[Data], Outcome]:
    """The least share over environments; bits have no sampling error."""

    def check(data: Data) -> Outcome:
        found = [of(data, task, OURS)["exact"] for task in tasks if task in data]
        if not found:
            return left_out()
        n, least = sum(map(len, found)), min(float(one.mean()) for one in found)
        return at_least(least, least, least, 1.0, f"least share, {n} continuations")

    return check


def share(data: Data, task: str, level: str, what: str | None) -> tuple[float, float, float]:
    """Of continuations that are exact, or whose first step has another `what`.

    With the 95 % interval of Clopper and Pearson.
    """
    table = of(data, task, level)
    hit = table["exact"] if what is None else (table["step"] == 0) & (table["what"] == what)
    test = stats.binomtest(int(hit.sum()), len(hit)).proportion_ci(0.95)
    return float(hit.mean()), float(test.low), float(test.high)


def of_both(
    tasks: tuple[str, str], level: str, what: str | None, check: Callable[..., Outcome]
) -> Callable[[Data], Outcome]:
    """A share below (or above) one half in both tasks: the one that is nearer to failing."""

    def measure(data: Data) -> Outcome:
        found = {task: share(data, task, level, what) for task in tasks if task in data}
        if not found:
            return left_out()
        choose = max if check is at_most else min
        name = choose(found, key=lambda task: found[task][0])
        return check(*found[name], 0.5, f"share of continuations; the worst, {name}")

    return measure


def notes(data: Data) -> list[str]:
    lines = []
    for task in DERIVED:
        for level in (INTEGRATION, FORWARD):
            if task in data:
                table = of(data, task, level)
                gap = table["gap"][table["what"] == "reward"].max()
                name = level.replace("\n", " ")
                lines.append(f"{task}, {name}: rewards off by up to {gap:.2g}, same observation")
    if find_spec("mujoco") is None:
        lines.append("MuJoCo's tasks are left out: pip install fenchel[snapshot]")
    n = sum(map(len, data.values()))
    return [*lines, f"{n} continuations, each of {N_STEPS} steps or an episode"]


OWN = "this library, docs/snapshots.md, what is exact"
EXPERIMENT = Experiment(
    name="snapshot_exactness",
    summary="what must be kept of a simulator",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(n_seeds=1, tasks=(*(t for t in MUJOCO if "Standup" not in t), *OTHERS)),
        "standard": Settings(n_seeds=6),
        "paper": Settings(n_seeds=30),
    },
)
FIGURE = Figure(
    name="snapshot_exactness",
    title="What must be kept of a simulator for it to go on exactly",
    paper="Zhao, Qian, Wang, Shan, Qin 2024 (snapshots); measured here",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim(OWN, "fenchel's snapshots are exact: MuJoCo", exact(MUJOCO)),
        Claim(OWN, "fenchel's snapshots are exact: classic control, toy text", exact(OTHERS)),
        Claim(
            OWN,
            "set_state: less than half of the continuations of Ant and Humanoid are exact",
            of_both(DERIVED, POSITIONS, None, at_most),
        ),
        Claim(
            OWN,
            "state for integration alone: most first rewards of Ant and Humanoid are wrong",
            of_both(DERIVED, INTEGRATION, "reward", at_least),
        ),
        Claim(
            OWN,
            "state for integration and mj_forward: most first rewards of both are wrong",
            of_both(DERIVED, FORWARD, "reward", at_least),
        ),
        Claim(
            OWN,
            "state without generator: less than half of the continuations of FrozenLake are exact",
            of_both(RANDOM, STATE, None, at_most),
        ),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
