"""One ensemble for actor and critic, or two: score, memory and throughput.

Runs:    python paper_figures/gbrl_shared_trees.py [--preset quick|standard|paper]
Shows:   returns, bytes of the ensembles and CPU time of PPO with trees, shared and separate.
Games:   three tasks of MiniGrid, settings as in the paper.
Claims:  Figure 3: shared trees have the same score with half the memory and twice the throughput.
         The first needs the paper's 10M steps; the others are measured here.
"""

import sys
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.core.checks import FloatArray
from fenchel.experiments import (
    Claim,
    Experiment,
    Figure,
    Outcome,
    Results,
    at_least,
    at_most,
    main,
    within,
)
from fenchel.paper_figures._gbrl import (
    PAPER,
    TREES,
    Training,
    draw_curves,
    make_agent,
    scores,
    train,
)
from fenchel.paper_figures._outcomes import at_budget
from fenchel.paper_figures._statistics import interval
from fenchel.paper_figures.gbrl_categorical import DOOR_KEY, EMPTY, FETCH, short

PAPER_STEPS = 10_000_000
KINDS = {True: "shared", False: "separate"}
COLOUR = {True: "C0", False: "C2"}
SAME = 0.05  # of a return of at most 1
HALF, TWICE = (0.4, 0.6), 1.8


@dataclass(frozen=True)
class Settings:
    """Agents, one a seed, task and kind."""

    n_steps: int
    n_seeds: int
    tasks: tuple[str, ...] = (EMPTY, DOOR_KEY, FETCH)
    n_replications: int = 1


Data = Results[Settings, Training]


def training(task: str, shared: bool, n_steps: int) -> Training:
    return Training(task, "PPO", TREES, n_steps, {"shared": shared})


def cells(settings: Settings) -> list[Training]:
    return [training(task, shared, settings.n_steps) for task in settings.tasks for shared in KINDS]


def make_run(config: Training, seed: int) -> pd.DataFrame:
    """A training, with the bytes of its trees."""
    agent = make_agent(config, seed)
    table = train(agent, config.n_steps)
    states = [ensemble.state() for ensemble in agent.policy.ensembles]
    names = ("features", "thresholds", "values", "counts", "rates")
    return table.assign(bytes=sum(state[name].nbytes for state in states for name in names))


def of(data: Data, task: str, shared: bool, column: str = "score") -> FloatArray:
    """A number of each seed."""
    return scores(data[training(task, shared, data.settings.n_steps)], column)


def ratios(data: Data, column: str, shared_first: bool = True) -> FloatArray:
    """Shared over separate, or the other way round, all tasks and seeds."""
    pairs = [(of(data, t, True, column), of(data, t, False, column)) for t in data.settings.tasks]
    return np.concatenate([a / b if shared_first else b / a for a, b in pairs])


def draw(data: Data) -> Drawing:
    tasks = data.settings.tasks
    figure, axes = plt.subplots(1, len(tasks) + 1, figsize=(3.2 * len(tasks) + 3.4, 3.8))
    for ax, task in zip(axes, tasks, strict=False):
        for shared, label in KINDS.items():
            tables = data[training(task, shared, data.settings.n_steps)]
            draw_curves(ax, tables, label, color=COLOUR[shared])
        ax.set(title=short(task), xlabel="steps, thousands", ylim=(-0.03, 1.03))
    axes[0].set_ylabel("return, last 100 episodes")
    axes[0].legend()
    shown = {"bytes": "memory", "seconds": "CPU time", "trees": "trees"}
    for place, column in enumerate(shown):
        values = ratios(data, column)
        axes[-1].plot(np.full(len(values), place), values, "o", color="C0", alpha=0.6)
    axes[-1].axhline(1.0, color="0.4", ls=":", lw=1)
    axes[-1].axhline(0.5, color="0.4", ls="--", lw=1)
    axes[-1].set_xticks(range(len(shown)), list(shown.values()))
    axes[-1].set(title="shared over separate", xlim=(-0.5, 2.5), ylim=(0.0, 1.5))
    return figure


def same_score(data: Data) -> Outcome:
    """The task with the largest difference."""
    gaps = [interval(of(data, t, True) - of(data, t, False)) for t in data.settings.tasks]
    worst = max(gaps, key=lambda gap: abs(gap[0]))
    outcome = within(*worst, -SAME, SAME, "return, shared less separate, at most")
    return at_budget(outcome, data.settings.n_steps, PAPER_STEPS)


def half_the_memory(data: Data) -> Outcome:
    values = ratios(data, "bytes")
    return within(float(values.mean()), values.min(), values.max(), *HALF, "bytes, shared/separate")


def twice_the_throughput(data: Data) -> Outcome:
    values = ratios(data, "seconds", shared_first=False)
    mean, low, high = interval(values)
    return at_least(mean, low, high, TWICE, "steps a CPU second of training, shared/separate")


def fewer_trees(data: Data) -> Outcome:
    values = ratios(data, "trees")
    return at_most(float(values.mean()), values.min(), values.max(), 0.5, "trees, shared/separate")


def notes(data: Data) -> list[str]:
    return [
        f"{short(task)}: "
        + "; ".join(
            f"{label} {of(data, task, shared).mean():.3g}, "
            f"{of(data, task, shared, 'trees').mean():,.0f} trees, "
            f"{of(data, task, shared, 'bytes').mean() / 1e6:.2g} MB, "
            f"{data.settings.n_steps / of(data, task, shared, 'seconds').mean():,.0f} steps/s"
            for shared, label in KINDS.items()
        )
        for task in data.settings.tasks
    ]


EXPERIMENT = Experiment(
    name="gbrl_shared_trees",
    summary="one ensemble for actor and critic, or two",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(n_steps=4_096, n_seeds=2, tasks=(EMPTY,)),
        "standard": Settings(n_steps=24_576, n_seeds=3),
        "paper": Settings(n_steps=PAPER_STEPS, n_seeds=5),
    },
)
FIGURE = Figure(
    name="gbrl_shared_trees",
    title="Shared and separate trees",
    paper="Fuhrer, Tessler, Dalal, ICML 2025 (Figure 3)",
    experiment=EXPERIMENT,
    draw=draw,
    claims=[
        Claim(f"{PAPER}, Figure 3", "the score is the same", same_score),
        Claim(f"{PAPER}, Figure 3", "there are half as many trees", fewer_trees),
        Claim(f"{PAPER}, Figure 3", "shared trees take half the memory", half_the_memory),
        Claim(f"{PAPER}, Figure 3", "throughput is twice as high", twice_the_throughput),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
