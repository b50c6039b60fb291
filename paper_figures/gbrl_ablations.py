"""What matters in PPO with trees: depth, score, batch, rates, updates a rollout.

Runs:    python paper_figures/gbrl_ablations.py [--preset quick|standard|paper]
Shows:   mean return over all of training on CartPole (the area below the learning curve: how fast
         it learns), by one setting at a time, seeds as dots and their mean; a grey bar marks the
         paper's setting.
Games:   CartPole, the paper's settings but for the one that is varied; batches from rollouts of
         2048 steps, as in the paper, and updates from rollouts of 1024.
Claims:  Figures 11 to 15: deeper trees learn faster, "cosine" at least as fast as "l2", large
         batches slowly, and more trees a rollout faster. How fast is what they are about, so any
         budget can settle them.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure as Drawing

from fenchel.core.checks import FloatArray
from fenchel.experiments import Claim, Experiment, Figure, Outcome, Results, main
from fenchel.paper_figures._gbrl import PAPER, TREES, Training, better, run

TASK = "CartPole-v1"
Changes = Mapping[str, Any]
Choices = dict[Any, Changes]
DEPTH: Choices = {depth: {"tree.depth": depth} for depth in (2, 4, 6, 8)}
SCORE: Choices = {score: {"tree.score": score} for score in ("cosine", "l2")}
BATCH: Choices = {size: {"n_steps": 256, "batch_size": size} for size in (32, 128, 512, 2048)}
POLICY: Choices = {rate: {"policy_lr": rate} for rate in (0.001, 0.01, 0.029, 0.1, 0.3)}
VALUE: Choices = {rate: {"value_lr": rate} for rate in (0.0015, 0.015, 0.15)}
UPDATES: Choices = {  # trees a rollout of 1024
    1: {"batch_size": 1024, "n_epochs": 1},
    4: {"batch_size": 256, "n_epochs": 1},
    16: {"batch_size": 64, "n_epochs": 1},
    64: {"batch_size": 64, "n_epochs": 4},
    256: {"batch_size": 64, "n_epochs": 16},
}
GROUPS: dict[str, Choices] = {
    "depth": DEPTH,
    "score": SCORE,
    "batch": BATCH,
    "rate of the policy": POLICY,
    "rate of the value": VALUE,
    "trees a rollout": UPDATES,
}
PAPERS = {"depth": 4, "score": "cosine", "rate of the policy": 0.029, "rate of the value": 0.015}
PAPERS |= {"trees a rollout": 16}


@dataclass(frozen=True)
class Settings:
    """Agents, one a seed and setting."""

    n_steps: int
    n_seeds: int
    n_replications: int = 1


Data = Results[Settings, Training]


def training(changes: Changes, n_steps: int) -> Training:
    """Settings that are the paper's are left out, so that they are run once."""
    base = ({"tree.depth": 4}, {"tree.score": "cosine"}, {"policy_lr": 0.029}, {"value_lr": 0.015})
    same = changes in (*base, UPDATES[16])
    return Training(TASK, "PPO", TREES, n_steps, {} if same else changes)


def cells(settings: Settings) -> list[Training]:
    found = []
    for choices in GROUPS.values():
        for changes in choices.values():
            config = training(changes, settings.n_steps)
            if config not in found:
                found.append(config)
    return found


def speed(data: Data, changes: Changes) -> FloatArray:
    """Mean return over training, of each seed."""
    tables = data[training(changes, data.settings.n_steps)]
    return np.array([table["reward"].mean() for table in tables])


def draw(data: Data) -> Drawing:
    figure, axes = plt.subplots(2, 3, figsize=(10, 6), sharey=True)
    for ax, (name, choices) in zip(axes.flat, GROUPS.items(), strict=True):
        places = np.arange(len(choices))
        values = [speed(data, changes) for changes in choices.values()]
        if name in PAPERS:
            ax.axvspan(*(list(choices).index(PAPERS[name]) + np.array([-0.3, 0.3])), color="0.92")
        ax.plot(places, [one.mean() for one in values], "-o", color="C0", ms=7)
        for place, one in zip(places, values, strict=True):
            ax.plot(np.full(len(one), place), one, "o", color="C0", ms=4, alpha=0.4)
        ax.set_xticks(places, [str(choice) for choice in choices])
        ax.set(xlabel=name, xlim=(-0.5, len(choices) - 0.5))
    for ax in axes[:, 0]:
        ax.set_ylabel("mean return in training")
    return figure


def faster(first: Changes, second: Changes, detail: str, slack: float = 0.0) -> Any:
    def check(data: Data) -> Outcome:
        return better(speed(data, first) * (1 + slack), speed(data, second), detail)

    return check


def notes(data: Data) -> list[str]:
    return [
        f"{name}: "
        + ", ".join(f"{c} {speed(data, changes).mean():.0f}" for c, changes in choices.items())
        for name, choices in GROUPS.items()
    ]


EXPERIMENT = Experiment(
    name="gbrl_ablations",
    summary="what matters in PPO with trees",
    run=run,
    cells=cells,
    presets={
        "quick": Settings(n_steps=5_120, n_seeds=2),
        "standard": Settings(n_steps=40_960, n_seeds=3),
        "paper": Settings(n_steps=1_000_000, n_seeds=5),
    },
)
FIGURE = Figure(
    name="gbrl_ablations",
    title="What matters in gradient boosting RL",
    paper="Fuhrer, Tessler, Dalal, ICML 2025 (Figures 11 to 15)",
    experiment=EXPERIMENT,
    draw=draw,
    claims=[
        Claim(
            f"{PAPER}, Figure 12",
            "deeper trees learn faster: depth 8 and 2",
            faster(DEPTH[8], DEPTH[2], "mean return in training, depth 8 less depth 2"),
        ),
        Claim(
            f"{PAPER}, Figure 14",
            "cosine learns at least as fast as l2, to 5 %",
            faster(SCORE["cosine"], SCORE["l2"], "1.05 cosine less l2", slack=0.05),
        ),
        Claim(
            f"{PAPER}, Figure 13",
            "batches of the whole rollout learn more slowly than of 128",
            faster(BATCH[128], BATCH[2048], "mean return in training, 128 less 2048"),
        ),
        Claim(
            f"{PAPER}, Figure 15",
            "more trees a rollout learn faster: 64 and 1",
            faster(UPDATES[64], UPDATES[1], "mean return in training, 64 trees less 1"),
        ),
        Claim(
            f"{PAPER}, Figure 11",
            "a rate of the policy of 0.001 is too small",
            faster(POLICY[0.029], POLICY[0.001], "mean return in training, 0.029 less 0.001"),
        ),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
