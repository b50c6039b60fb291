"""Offline RL with the actions of a tenth of the trajectories, of the worst or of any.

Runs:    python paper_figures/ss_orl_labels.py [--preset quick|standard|paper]
Shows:   left, normalised score against q: labelled trajectories are drawn from the share q with the
         lowest returns; seeds as dots, means with their 95 % interval. Right, mean square of the
         proxy labels less the true actions, of unlabelled trajectories with returns as the
         labelled ones (inside) and of the better rest (outside).
Games:   PointMass2D/medium-replay, self-generated: 400 trajectories of 100 steps of controllers
         from bad to nearly expert; TD3+BC with networks of 64 by 64, γ = 0.98, rate 10⁻³; a
         deterministic model of inverse dynamics from (s, s'). standard also has the replay of a
         SAC agent on Pendulum, self-generated. Labelled only: TD3+BC on the labelled tenth; SS-ORL:
         on all, with proxy labels; oracle: on all, with the true actions. Scores are shares of the
         way from random to expert. paper has files of D4RL for Hopper, Walker2d and HalfCheetah,
         if FENCHEL_DATA has them in d4rl/, with D4RL's references though -v5 is played; otherwise
         stand-ins, self-generated; sizes and budgets are those of the paper's code.
Claims:  with a tenth labelled, all of it from the worst tenth, SS-ORL is as good as the oracle, up
         to five points, and better than labelled trajectories alone; these catch up as q grows.
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
    PENDULUM,
    POINT,
    SMALL,
    SS,
    Data,
    Settings,
    at_least_as_good,
    cells,
    column,
    datasets_of,
    find,
    gap_note,
    run,
    scores,
    tables_of,
)
from fenchel.paper_figures._outcomes import not_run
from fenchel.paper_figures._statistics import bars


def qualities(data: Data, dataset: str) -> list[float]:
    return sorted({one.quality for one in data if one.dataset == dataset and one.method == SS})


def draw(data: Data) -> Drawing:
    datasets = datasets_of(data)
    figure, axes = plt.subplots(len(datasets), 2, figsize=(10, 3.7 * len(datasets)), squeeze=False)
    for row, dataset in zip(axes, datasets, strict=True):
        at = qualities(data, dataset)
        for place, method in enumerate(METHODS):
            x, color = np.array(at) + 0.012 * (place - 1), COLOUR[method]
            each = np.array([column(find(data, dataset, method, q)) for q in at])  # (q, seeds)
            middle, bar = bars(each)
            row[0].errorbar(x, middle, bar, fmt="-o", ms=5, color=color, capsize=3)
            row[0].plot(x, each, ".", color=color, alpha=0.4)
            row[0].plot([], [], "-o", color=color, label=method)
        for name, style in (("inside", "-o"), ("outside", "--s")):
            each = np.array([column(find(data, dataset, SS, q), name) for q in at])
            row[1].plot(at, each.mean(axis=1), style, color="C4", label=name)
        row[0].set(ylabel="score", title=f"{dataset}: score")
        row[1].set(yscale="log", title="error of proxy labels")
        row[0].legend()
        row[1].legend()
    for ax in axes[-1]:
        ax.set_xlabel("q, share of the worst that may be labelled")
    return figure


def compared(
    datasets: tuple[str, ...], first: tuple[str, int], second: tuple[str, int], lack: float
) -> Callable[[Data], Outcome]:
    """Score of one method against another's; q by place, 0 the lowest."""

    def check(data: Data) -> Outcome:
        at = sorted({q for dataset in datasets for q in qualities(data, dataset)})
        if not at or (len(at) == 1 and first[1] != second[1]):
            return not_run()
        one, two = (
            (f"{method} at q = {at[place]:g}", scores(data, datasets, method, at[place]))
            for method, place in (first, second)
        )
        return at_least_as_good(one, two, lack)

    return check


def claims(task: str, datasets: tuple[str, ...]) -> list[Claim[Data]]:
    found = [
        (PAPER, "as good as the oracle, from the worst tenth", (SS, 0), (ORACLE, 0), CLOSE),
        (PAPER, "better than labelled trajectories alone", (SS, 0), (LABELLED, 0), 0.0),
        (OWN, "these catch up with q", (LABELLED, -1), (LABELLED, 0), 0.0),
    ]
    return [
        Claim(paper, f"{task}: {statement}", compared(datasets, first, second, lack))
        for paper, statement, first, second, lack in found
    ]


def notes(data: Data) -> list[str]:
    sources = {one.dataset: one.source for one in data}
    return [
        f"{dataset}, {sources[dataset]}, q = {q:g}: {gap_note(data, dataset, q)}"
        for dataset in sources
        for q in qualities(data, dataset)
    ]


EXPERIMENT = Experiment(
    name="offline_agents",
    summary="offline RL with a tenth of the actions",
    run=run,
    cells=cells,
    presets={
        "quick": Settings((POINT,), SMALL, 2000, 1000, n_seeds=1, qualities=(0.1, 1.0)),
        "standard": Settings(
            (POINT, PENDULUM), SMALL, 3000, 1500, n_seeds=5, qualities=(0.1, 0.3, 0.5, 1.0)
        ),
        "paper": Settings(
            LOCOMOTION, FULL, 200_000, 100_000, n_seeds=5, qualities=(0.1, 0.3, 0.5, 0.7, 1.0)
        ),
    },
)
FIGURE = Figure(
    name="ss_orl_labels",
    title="Offline RL with the actions of a tenth of the trajectories",
    paper="Zheng, Henaff, Amos, Grover 2023; datasets ours",
    experiment=EXPERIMENT,
    summarise=tables_of,
    draw=draw,
    claims=[
        *claims("PointMass2D", (POINT,)),
        *claims("Pendulum", (PENDULUM,)),
        *claims("MuJoCo, nine datasets", LOCOMOTION),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
