"""Trees and networks on MiniGrid, where observations are categories.

Runs:    python paper_figures/gbrl_categorical.py [--preset quick|standard|paper]
Shows:   mean return of the last 100 episodes against environment steps, mean and range of seeds.
Games:   PPO with trees, which see 51 categories (a tile each, direction, mission), and PPO of
         stable-baselines3 with networks, which see zeros and ones, settings as in the paper.
Claims:  Table 6, at 1M steps (10M for FourRooms, Fetch and PutNear), of which a smaller budget
         settles none; what any budget of 40k steps can settle is that trees solve the empty room.
"""

import sys
from dataclasses import dataclass

import matplotlib.pyplot as plt
from matplotlib.figure import Figure as Drawing

from fenchel.experiments import Claim, Experiment, Figure, Outcome, Results, at_least, main
from fenchel.paper_figures._gbrl import (
    COLOURS,
    NETWORKS,
    PAPER,
    TREES,
    Training,
    as_good_as_networks,
    draw_curves,
    of,
    run,
    scores,
)
from fenchel.paper_figures._outcomes import at_budget
from fenchel.paper_figures._statistics import interval

EMPTY, DOOR_KEY, FETCH = (
    f"MiniGrid-{name}-v0" for name in ("Empty-Random-5x5", "DoorKey-5x5", "Fetch-5x5-N2")
)
MILLION = 1_000_000
TABLE_6 = {  # PPO: networks, trees, steps
    DOOR_KEY: (0.78, 0.96, MILLION),
    EMPTY: (0.96, 0.96, MILLION),
    FETCH: (0.89, 0.96, 10 * MILLION),
    "MiniGrid-FourRooms-v0": (0.53, 0.56, 10 * MILLION),
    "MiniGrid-GoToDoor-5x5-v0": (0.60, 0.96, MILLION),
    "MiniGrid-KeyCorridorS3R1-v0": (0.76, 0.95, MILLION),
    "MiniGrid-PutNear-6x6-N2-v0": (0.001, 0.44, 10 * MILLION),
    "MiniGrid-RedBlueDoors-6x6-v0": (0.17, 0.88, MILLION),
    "MiniGrid-Unlock-v0": (0.97, 0.97, MILLION),
}
CLAIMED = [task for task, (networks, trees, _) in TABLE_6.items() if trees >= networks + 0.05]
SOLVED, ENOUGH = 0.9, 40_000  # return of the empty room, and steps for it


@dataclass(frozen=True)
class Settings:
    """Agents, one a seed, task and model."""

    n_steps: int
    n_seeds: int
    tasks: tuple[str, ...]
    n_replications: int = 1


Data = Results[Settings, Training]


def cells(settings: Settings) -> list[Training]:
    return [
        Training(task, "PPO", model, settings.n_steps, {})
        for task in settings.tasks
        for model in (TREES, NETWORKS)
    ]


def short(task: str) -> str:
    return task.removeprefix("MiniGrid-").removesuffix("-v0")


def draw(data: Data) -> Drawing:
    tasks = data.settings.tasks
    columns = min(3, len(tasks))
    rows = -(-len(tasks) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.7 * columns + 1, 3.2 * rows + 0.8), squeeze=False, sharey=True
    )
    for ax, task in zip(axes.flat, tasks, strict=False):
        for model in (TREES, NETWORKS):
            draw_curves(ax, of(data, task, "PPO", model), f"PPO, {model}", color=COLOURS[model])
        for level, model in zip(TABLE_6[task], (NETWORKS, TREES), strict=False):
            label = f"paper's {model}, 1M steps (Fetch 10M)"
            ax.axhline(level, color=COLOURS[model], ls=(0, (1, 2 + 2 * (model == TREES))), lw=1.2)
            ax.lines[-1].set_label(label if task == EMPTY else "_")
        ax.set(title=short(task), xlabel="environment steps, thousands", ylim=(-0.03, 1.03))
    for ax in axes[:, 0]:
        ax.set_ylabel("return, last 100 episodes")
    for ax in axes.flat[len(tasks) :]:
        ax.set_axis_off()
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def solves(data: Data) -> Outcome:
    found = scores(of(data, EMPTY, "PPO", TREES))
    outcome = at_least(*interval(found), SOLVED, "return of trees")
    return at_budget(outcome, data.settings.n_steps, ENOUGH)


def table_6(task: str) -> Claim[Data]:
    networks, trees, steps = TABLE_6[task]
    statement = f"{short(task)}: trees are as good as networks ({trees:g} and {networks:g})"
    return as_good_as_networks(task, steps, "Table 6", statement)


def notes(data: Data) -> list[str]:
    lines = []
    for task in data.settings.tasks:
        rates = {
            model: data.settings.n_steps / scores(of(data, task, "PPO", model), "seconds").mean()
            for model in (TREES, NETWORKS)
        }
        means = {model: scores(of(data, task, "PPO", model)).mean() for model in rates}
        parts = (f"{m} {means[m]:.3g}, {rates[m]:,.0f} steps a CPU second" for m in rates)
        lines.append(f"{short(task)}: {'; '.join(parts)}")
    return lines


EXPERIMENT = Experiment(
    name="gbrl_categorical",
    summary="trees and networks on MiniGrid",
    run=run,
    cells=cells,
    presets={
        "quick": Settings(n_steps=4_096, n_seeds=2, tasks=(EMPTY, DOOR_KEY)),
        "standard": Settings(n_steps=40_960, n_seeds=3, tasks=(EMPTY, DOOR_KEY, FETCH)),
        "paper": Settings(n_steps=10 * MILLION, n_seeds=5, tasks=tuple(TABLE_6)),
    },
)
FIGURE = Figure(
    name="gbrl_categorical",
    title="Gradient boosting RL on categories",
    paper="Fuhrer, Tessler, Dalal, ICML 2025 (Table 6)",
    experiment=EXPERIMENT,
    draw=draw,
    claims=[
        Claim(PAPER, "trees solve the empty room by 40k steps", solves),
        *(table_6(task) for task in CLAIMED),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
