"""SS-ORL at once, and in rounds that label first what the inverse model is surest of.

Runs:    python paper_figures/ss_orl_self_training.py [--preset quick|standard|paper]
Shows:   left, mean square error of the proxy labels of trajectories with other returns than the
         labelled ones, at once and in rounds; middle, that of the labels of each round, and the
         share of its trajectories that are such; right, the score of TD3+BC on each. q = 0.1.
         Means with their 95 % interval, seeds as dots.
Games:   PointMass2D/medium-replay and, in standard, the replay of SAC on Pendulum, self-generated;
         see ss_orl_labels. Both have three densities for inverse dynamics, from (s, s'); self-
         training has five rounds, in each of which they learn anew with the labels of the last.
         Also shown: SS-ORL of ss_orl_labels, with a single deterministic model.
Claims:  all at once is as good as rounds: in score, up to five points, and in the error of labels,
         up to a factor of two. (The paper's code has no self-training: the rounds are ours.)
"""

import sys
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure as Drawing

from fenchel.core.checks import FloatArray
from fenchel.experiments import Claim, Experiment, Figure, Outcome, at_most, main
from fenchel.paper_figures._offline import (
    CLOSE,
    COLOUR,
    ENSEMBLE,
    FULL,
    LOCOMOTION,
    ORACLE,
    PAPER,
    PENDULUM,
    POINT,
    SELF_TRAINED,
    SMALL,
    SS,
    WORST,
    Data,
    Settings,
    at_least_as_good,
    cells,
    column,
    datasets_of,
    find,
    run,
    scores,
    tables_of,
)
from fenchel.paper_figures._outcomes import not_run
from fenchel.paper_figures._statistics import bars, interval

SHOWN = (SS, ENSEMBLE, SELF_TRAINED, ORACLE)
FACTOR = 2.0


def draw_points(ax: Any, values: dict[str, FloatArray]) -> None:
    """Methods side by side: seeds as dots, means with their intervals."""
    for place, (method, each) in enumerate(values.items()):
        middle, bar = bars([each])
        color = COLOUR[method]
        ax.errorbar([place], middle, bar, fmt="o", ms=7, color=color, capsize=4)
        ax.plot(np.full(len(each), place), each, ".", color=color, alpha=0.4)
    ax.set_xticks(range(len(values)), [name.replace(", ", ",\n") for name in values])
    ax.set_xlim(-0.5, len(values) - 0.5)


def draw(data: Data) -> Drawing:
    datasets = datasets_of(data)
    figure, axes = plt.subplots(len(datasets), 3, figsize=(13, 3.9 * len(datasets)), squeeze=False)
    for row, dataset in zip(axes, datasets, strict=True):
        found = {method: find(data, dataset, method, WORST) for method in SHOWN}
        draw_points(row[0], {m: column(found[m], "outside") for m in SHOWN if m != ORACLE})
        draw_points(row[2], {m: column(found[m]) for m in SHOWN})
        rounds = np.array([table["error"] for table in found[SELF_TRAINED]])  # (seeds, R)
        shares = np.array([table["share"] for table in found[SELF_TRAINED]])
        at, color = np.arange(1, rounds.shape[1] + 1), COLOUR[SELF_TRAINED]
        row[1].plot(at, rounds.mean(axis=0), "-o", color=color)
        row[1].plot(at, rounds.T, ".", color=color, alpha=0.4)
        beside = row[1].twinx()
        beside.plot(at, shares.mean(axis=0), ":", color="0.4")
        beside.set(ylim=(0, 1.05), ylabel="share with other returns (dotted)")
        row[0].set(yscale="log", title=f"{dataset}: error of labels")
        row[1].set(
            ylim=(0, 1.1 * rounds.max()), title="error by rounds of self-training", xticks=at
        )
        row[2].set(title="score")
    axes[-1][1].set_xlabel("round")
    return figure


def as_good(task: str, datasets: tuple[str, ...]) -> list[Claim[Data]]:
    def score(data: Data) -> Outcome:
        one, two = (
            (name, scores(data, datasets, name, WORST)) for name in (ENSEMBLE, SELF_TRAINED)
        )
        return at_least_as_good(one, two, CLOSE)

    def error(data: Data) -> Outcome:
        ratios = [
            np.log2(column(one, "outside") / column(two, "outside"))
            for dataset in datasets
            if (one := find(data, dataset, ENSEMBLE, WORST))
            and (two := find(data, dataset, SELF_TRAINED, WORST))
        ]
        if not ratios:
            return not_run()
        what = "log2 of error, at once / rounds"
        return at_most(*interval(np.mean(ratios, axis=0)), float(np.log2(FACTOR)), what)

    return [
        Claim(PAPER, f"{task}: at once is as good as rounds, in score", score),
        Claim(PAPER, f"{task}: and in the error of labels", error),
    ]


def notes(data: Data) -> list[str]:
    lines = []
    for dataset, source in dict.fromkeys((one.dataset, one.source) for one in data):
        found = {method: find(data, dataset, method, WORST) for method in SHOWN}
        said = ", ".join(f"{m} {column(t).mean():.1f}" for m, t in found.items())
        errors = ", ".join(
            f"{m} {column(t, 'outside').mean():.2g}" for m, t in found.items() if m != ORACLE
        )
        lines.append(f"{dataset}, {source}, score: {said}; error of labels: {errors}")
    return lines


EXPERIMENT = Experiment(
    name="offline_agents",
    summary="SS-ORL at once and in rounds",
    run=run,
    cells=cells,
    presets={
        "quick": Settings((POINT,), SMALL, 2000, 1000, n_seeds=1, methods=SHOWN),
        "standard": Settings((POINT, PENDULUM), SMALL, 3000, 1500, n_seeds=5, methods=SHOWN),
        "paper": Settings(LOCOMOTION, FULL, 200_000, 100_000, n_seeds=5, methods=SHOWN),
    },
)
FIGURE = Figure(
    name="ss_orl_self_training",
    title="SS-ORL at once and in rounds",
    paper="Zheng, Henaff, Amos, Grover 2023; datasets and rounds ours",
    experiment=EXPERIMENT,
    summarise=tables_of,
    draw=draw,
    claims=[
        *as_good("PointMass2D", (POINT,)),
        *as_good("Pendulum", (PENDULUM,)),
        *as_good("MuJoCo, nine datasets", LOCOMOTION),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
