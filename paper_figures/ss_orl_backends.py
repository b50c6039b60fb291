"""SS-ORL on top of several algorithms of offline RL.

Runs:    python paper_figures/ss_orl_backends.py [--preset quick|standard|paper]
Shows:   normalised score with a tenth of the trajectories labelled, all of them from the worst
         tenth (q = 0.1): on these alone, with proxy labels for the rest, and with the true actions;
         seeds as dots, means with their 95 % interval.
Games:   PointMass2D/medium-replay, self-generated; see ss_orl_labels, whose runs of TD3+BC these
         are. Networks of 64 by 64; DT: two layers of 32, windows of 5 steps, asked for the best
         return of its data. IQL is not in the paper. paper: as ss_orl_labels.
Claims:  with each algorithm SS-ORL is better than labelled trajectories alone, and as good as the
         oracle up to five points; algorithms that learn values end higher than DT.
"""

import sys
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure as Drawing

from fenchel.experiments import Claim, Experiment, Figure, Outcome, main
from fenchel.paper_figures._offline import (
    CLOSE,
    COLOUR,
    FULL,
    LABELLED,
    LOCOMOTION,
    METHODS,
    ORACLE,
    OWN,
    PAPER,
    POINT,
    SMALL,
    SS,
    WORST,
    Data,
    Settings,
    at_least_as_good,
    cells,
    datasets_of,
    gap_note,
    run,
    scores,
    tables_of,
)
from fenchel.paper_figures._statistics import bars

AGENTS = ("TD3+BC", "CQL", "DT", "IQL")


def draw(data: Data) -> Drawing:
    datasets = datasets_of(data)
    agents = [agent for agent in AGENTS if any(one.agent == agent for one in data)]
    figure, axes = plt.subplots(
        len(datasets), 1, figsize=(7.5, 3.8 * len(datasets)), squeeze=False
    )  # fmt: skip
    for ax, dataset in zip(axes[:, 0], datasets, strict=True):
        for shift, method in zip((-0.22, 0.0, 0.22), METHODS, strict=True):
            each = [scores(data, [dataset], method, WORST, agent) for agent in agents]
            middle, bar = bars(each)
            x, color = np.arange(len(agents)) + shift, COLOUR[method]
            ax.errorbar(x, middle, bar, fmt="o", ms=7, color=color, capsize=4, label=method)
            ax.plot(x, np.array(each), ".", color=color, alpha=0.4)
        ax.set_xticks(range(len(agents)), agents)
        ax.set(ylabel="score", title=dataset, xlim=(-0.5, len(agents) - 0.5))
        ax.legend(loc="best")
    return figure


def compared(
    first: tuple[str, str], second: tuple[str, str], lack: float = 0.0
) -> Callable[[Data], Outcome]:
    """Score of one method and algorithm against another's, means over the datasets."""

    def check(data: Data) -> Outcome:
        one, two = (
            (f"{method} on {agent}", scores(data, datasets_of(data), method, WORST, agent))
            for method, agent in (first, second)
        )
        return at_least_as_good(one, two, lack)

    return check


def claims(agent: str) -> list[Claim[Data]]:
    paper = OWN if agent == "IQL" else PAPER
    return [
        Claim(
            paper, f"{agent}: better than labelled alone", compared((SS, agent), (LABELLED, agent))
        ),
        Claim(
            paper, f"{agent}: as good as the oracle", compared((SS, agent), (ORACLE, agent), CLOSE)
        ),
    ]


def notes(data: Data) -> list[str]:
    pairs = dict.fromkeys((one.dataset, one.source, one.agent) for one in data)
    return [
        f"{dataset}, {source}, {agent}: {gap_note(data, dataset, WORST, agent)}"
        for dataset, source, agent in pairs
    ]


EXPERIMENT = Experiment(
    name="offline_agents",
    summary="SS-ORL on top of several algorithms",
    run=run,
    cells=cells,
    presets={
        "quick": Settings((POINT,), SMALL, 2000, 1000, n_seeds=1, agents=("TD3+BC", "IQL")),
        "standard": Settings((POINT,), SMALL, 3000, 1500, n_seeds=3, agents=AGENTS),
        "paper": Settings(LOCOMOTION, FULL, 200_000, 100_000, n_seeds=5, agents=AGENTS),
    },
)
FIGURE = Figure(
    name="ss_orl_backends",
    title="SS-ORL on top of several algorithms of offline RL",
    paper="Zheng, Henaff, Amos, Grover 2023; datasets ours",
    experiment=EXPERIMENT,
    summarise=tables_of,
    draw=draw,
    claims=[
        *(claim for agent in AGENTS for claim in claims(agent)),
        Claim(PAPER, "TD3+BC ends higher than DT", compared((SS, "TD3+BC"), (SS, "DT"))),
        Claim(PAPER, "CQL ends higher than DT", compared((SS, "CQL"), (SS, "DT"))),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
