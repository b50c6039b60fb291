"""Q-learning with resets to a teacher's snapshots, in two worlds with a single reward.

Runs:    python paper_figures/snapshot_tabular.py [--preset quick|standard|paper]
Shows:   left, discounted return of the greedy policy from the usual start, over the best one,
         against the student's steps, mean over seeds; dotted: shifted by the teacher's steps.
         Right, steps until that policy reaches the goal, seeds as dots, their mean with its 95 %
         interval; what is not learned counts as the last step, so that gains are understated.
Games:   a chain of 50 states, where a mistake ends the episode: undirected exploration needs about
         2⁴⁹ episodes; and four rooms, 20 steps from corner to corner. ε-greedy with ε = 0.1 and
         ties broken at random, rate 1, as nothing is random, γ = 0.99, episodes of at most 1000
         steps. The teacher is optimal but for a random action in ten. Its bank has 1000 snapshots,
         as the paper's ten episodes of 1000 steps give, but one a step, since these episodes are
         short. 6 clusters of V*; truncation after 100 steps, elsewhere after 1000. Unlike in the
         paper, resets to snapshots go on to the end.
Claims:  a reward is met, and the way to it learned, in fewer steps with snapshots, in still fewer
         with clusters (SC), with truncation (STT; in four rooms, as a student of the chain is lost
         before) and with both (S3RL). Resets change what is seen, not what is optimal. Controls: a
         bank of starts alone changes nothing, one of a random policy helps less.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from gymnasium.wrappers import TimeLimit
from matplotlib.figure import Figure as Drawing

from fenchel.core.checks import FloatArray
from fenchel.experiments import (
    Claim,
    Experiment,
    Figure,
    Outcome,
    Results,
    at_least,
    main,
    within,
)
from fenchel.mdp.snapshot import (
    ClusterSampler,
    Snapshot,
    SnapshotBank,
    SnapshotReset,
    UniformSampler,
    collect_snapshots,
)
from fenchel.mdp.snapshot.worlds import SparseWorld, chain, four_rooms, optimal_values
from fenchel.paper_figures._statistics import interval

CHAIN, ROOMS = "chain", "four rooms"
WORLDS: dict[str, Callable[[], SparseWorld]] = {CHAIN: chain, ROOMS: four_rooms}
BASE, PLAIN, SC, STT, S3RL = "no snapshots", "snapshots", "+ SC", "+ STT", "S3RL: both"
RANDOM, STARTS = "random policy's bank", "bank of starts"
TAUGHT = (PLAIN, SC, STT, S3RL)
VARIANTS = (BASE, STARTS, RANDOM, *TAUGHT)
COLOUR = {BASE: "C6", STARTS: "C4", RANDOM: "C3", PLAIN: "C5", SC: "C0", STT: "C2", S3RL: "C1"}
DISCOUNT, EPSILON, NOISE, BANK, POINTS = 0.99, 0.1, 0.1, 1000, 200
CLUSTERS, LIMIT, SHORT = 6, 1000, 100  # as in the paper's code


@dataclass(frozen=True)
class Settings:
    """Students, one a seed, world and variant."""

    n_steps: int
    n_seeds: int
    n_replications: int = 1


@dataclass(frozen=True)
class Config:
    """One variant in one world."""

    world: str
    variant: str
    n_steps: int


Data = dict[tuple[str, str], list[pd.DataFrame]]  # one a seed, by world and variant


def cells(settings: Settings) -> list[Config]:
    return [Config(world, variant, settings.n_steps) for world in WORLDS for variant in VARIANTS]


def make_bank(world: str, noise: float, rng: np.random.Generator) -> SnapshotBank:
    """Snapshots of each step of a policy that is optimal but for the noise, with V* as value."""
    env = TimeLimit(WORLDS[world](), LIMIT)
    q = optimal_values(WORLDS[world](), DISCOUNT)

    def act(state: int) -> int:
        return int(rng.integers(q.shape[1]) if rng.random() < noise else q[state].argmax())

    kept: list[Snapshot] = []
    while len(kept) < BANK:
        kept += collect_snapshots(act, env, n_episodes=1, every=1, value=lambda s: q[s].max())
    return SnapshotBank(kept[:BANK])


def make_env(world: str, variant: str, rng: np.random.Generator, seed: int) -> Any:
    """The world with resets of a variant."""
    env = TimeLimit(WORLDS[world](), LIMIT)
    if variant == BASE:
        return env
    bank = make_bank(world, 1.0 if variant == RANDOM else NOISE, rng)
    if variant == STARTS:
        bank = SnapshotBank([one for one in bank if one.meta["t"] == 0])
    sampler = ClusterSampler(bank, CLUSTERS) if variant in (SC, S3RL) else UniformSampler(bank)
    truncate = SHORT if variant in (STT, S3RL) else LIMIT
    return SnapshotReset(env, sampler, truncate=truncate, seed=seed)


def greedy_return(env: SparseWorld, q: list[list[float]]) -> float:
    """Discounted, from the usual start; 0: the goal is not reached, or by none of S steps."""
    state, _ = env.reset()
    for t in range(len(q)):
        row = q[state]
        state, reward, terminated, _, _ = env.step(row.index(max(row)))
        if terminated:
            return DISCOUNT**t * float(reward)
    return 0.0


def q_learning(
    env: Any, shape: tuple[int, int], n_steps: int, rng: np.random.Generator
) -> Iterator[tuple[list[list[float]], float]]:
    """Action values, in place, and the reward of each step."""
    n_states, n_actions = shape
    q = [[0.0] * n_actions for _ in range(n_states)]
    explores, chances = rng.random(n_steps) < EPSILON, rng.random(n_steps)
    state, _ = env.reset()
    for explore, chance in zip(explores.tolist(), chances.tolist(), strict=True):
        row = q[state]
        best = max(row)
        among = [a for a in range(n_actions) if explore or row[a] == best]
        action = among[int(chance * len(among))]
        after, reward, terminated, truncated, _ = env.step(action)
        row[action] = reward if terminated else reward + DISCOUNT * max(q[after])
        state = env.reset()[0] if terminated or truncated else after
        yield q, reward


def make_run(config: Config, seed: int) -> pd.DataFrame:
    """The greedy policy's return over the best one at some steps; the step of the first reward."""
    teacher_rng, rng = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    env = make_env(config.world, config.variant, teacher_rng, seed)
    fresh = WORLDS[config.world]()
    best = optimal_values(fresh, DISCOUNT)[fresh.start].max()
    every = max(1, config.n_steps // POINTS)
    rows, first = [], config.n_steps
    learner = q_learning(env, fresh.moves.shape, config.n_steps, rng)
    for t, (q, reward) in enumerate(learner, start=1):
        if reward > 0:
            first = min(first, t)
        if t % every == 0:
            rows.append({"step": t, "return": greedy_return(fresh, q) / best})
    return pd.DataFrame(rows).assign(first=first)


def summarise(results: Results[Settings, Config]) -> Data:
    return {(c.world, c.variant): list(results[c]) for c in results.configs}


def learned(tables: Sequence[pd.DataFrame]) -> FloatArray:
    """Steps until the greedy policy reaches the goal, or all that there were, one a seed."""
    return np.array([np.append(t["step"][t["return"] > 0], t["step"].max())[0] for t in tables])


def rewarded(tables: Sequence[pd.DataFrame]) -> FloatArray:
    """Steps until the first reward, or all that there were, one a seed."""
    return np.array([float(table["first"].iloc[0]) for table in tables])


def draw(data: Data) -> Drawing:
    figure, axes = plt.subplots(2, 2, figsize=(10, 7))
    for row, world in zip(axes, WORLDS, strict=True):
        for place, variant in enumerate(VARIANTS):
            tables, color = data[world, variant], COLOUR[variant]
            step = tables[0]["step"] / 1000
            mean = np.mean([table["return"] for table in tables], axis=0)
            style = "--" if variant in (STARTS, STT, S3RL) else "-"  # some lie upon others
            row[0].plot(step, mean, style, color=color)
            if variant in TAUGHT:
                row[0].plot(step + BANK / 1000, mean, ":", color=color, lw=1)
            steps = learned(tables) / 1000
            around = place + np.linspace(-0.25, 0.25, len(steps))
            row[1].plot(steps, around, "o", ms=4, color=color, alpha=0.35, mew=0)
            middle, low, high = interval(steps)
            bar = np.clip([[middle - low], [high - middle]], 0, step.max())
            row[1].errorbar(middle, place, xerr=bar, fmt="o", ms=6, color=color, mec="k", capsize=3)
        row[0].set(ylabel="return over the best", title=f"{world}: greedy policy")
        row[1].set_yticks(range(len(VARIANTS)), VARIANTS)
        row[1].invert_yaxis()
        row[1].set(xlim=(0, 1.03 * step.max()), title=f"{world}: steps until it is learned")
    for ax in axes[1]:
        ax.set_xlabel("steps of the student, thousands")
    return figure


def fewer(
    world: str, variant: str, than: str, measure: Callable[..., FloatArray] = learned
) -> Callable[[Data], Outcome]:
    """Steps saved by a variant, of paired seeds: at least one."""

    def check(data: Data) -> Outcome:
        first, second = measure(data[world, than]), measure(data[world, variant])
        detail = f"steps, {than} {first.mean():,.0f} less {second.mean():,.0f}"
        return at_least(*interval(first - second), 1.0, detail)

    return check


def same(world: str) -> Callable[[Data], Outcome]:
    def check(data: Data) -> Outcome:
        gap = interval(learned(data[world, STARTS]) - learned(data[world, BASE]))
        return within(*gap, -1.0, 1.0, "difference in steps")

    return check


def optimal(world: str) -> Callable[[Data], Outcome]:
    def check(data: Data) -> Outcome:
        last = np.array([table["return"].iloc[-1] for table in data[world, S3RL]])
        return at_least(*interval(last), 0.99, "return over the best, S3RL")

    return check


def claims(world: str) -> list[Claim[Data]]:
    found: list[tuple[str, str, Callable[[Data], Outcome]]] = [
        (OWN, "a reward is met earlier with snapshots", fewer(world, PLAIN, BASE, rewarded)),
        (OWN, "and still earlier with clusters", fewer(world, SC, PLAIN, rewarded)),
        (PAPER, "learned in fewer steps with snapshots", fewer(world, PLAIN, BASE)),
        (PAPER, "in still fewer with clusters", fewer(world, SC, PLAIN)),
        (PAPER, "in still fewer with truncation", fewer(world, STT, PLAIN)),
        (PAPER, "in still fewer with both", fewer(world, S3RL, PLAIN)),
        (OWN, "what is learned from snapshots is optimal", optimal(world)),
        (OWN, "a bank of starts changes nothing", same(world)),
        (OWN, "a random policy's bank helps less", fewer(world, PLAIN, RANDOM)),
    ]
    if world == CHAIN:
        del found[4]  # a student is lost before
    return [Claim(paper, f"{world}: {statement}", check) for paper, statement, check in found]


def notes(data: Data) -> list[str]:
    lines = []
    for world in WORLDS:
        for name, measure in (("it is learned", learned), ("the first reward", rewarded)):
            parts = (f"{v} {measure(data[world, v]).mean():,.0f}" for v in VARIANTS)
            lines.append(f"{world}, steps until {name}: {', '.join(parts)}")
    return [*lines, f"a bank costs {BANK} steps of the teacher, which dotted curves count"]


PAPER, OWN = "Zhao et al. 2024; setting derived", "derived"
EXPERIMENT = Experiment(
    name="snapshot_tabular",
    summary="Q-learning with resets to snapshots",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(n_steps=40_000, n_seeds=5),
        "standard": Settings(n_steps=40_000, n_seeds=50),
        "paper": Settings(n_steps=100_000, n_seeds=200),
    },
)
FIGURE = Figure(
    name="snapshot_tabular",
    title="Q-learning with resets to a teacher's snapshots",
    paper="Zhao, Qian, Wang, Shan, Qin 2024; tabular setting derived",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[claim for world in WORLDS for claim in claims(world)],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
