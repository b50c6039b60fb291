"""Trees and networks as actor-critics on classic control.

Runs:    python paper_figures/gbrl_classic_control.py [--preset quick|standard|paper]
Shows:   mean return of the last 100 episodes against environment steps, mean and range of seeds.
Games:   PPO, A2C and AWR with trees, PPO and A2C of stable-baselines3 with networks of two layers
         of 64, settings as in the paper's scripts and in RL Zoo (`_gbrl.py` says what differs).
Claims:  those of Table 3 at 1M steps, of which a smaller budget settles none; what any budget can
         settle is that all three algorithms learn.
"""

import sys
from dataclasses import dataclass
from importlib.util import find_spec

import matplotlib.pyplot as plt
from matplotlib.figure import Figure as Drawing

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
from fenchel.paper_figures._gbrl import (
    COLOURS,
    NETWORKS,
    PAPER,
    TREES,
    UNIFORM,
    Training,
    as_good_as_networks,
    draw_curves,
    of,
    run,
    scores,
)
from fenchel.paper_figures._outcomes import at_budget, not_run
from fenchel.paper_figures._statistics import interval

CART, CAR, PENDULUM, ACROBOT = "CartPole-v1", "MountainCar-v0", "Pendulum-v1", "Acrobot-v1"
ALGORITHMS = ("PPO", "A2C", "AWR")
STYLE = {"PPO": "-", "A2C": "--", "AWR": ":"}
PAPER_STEPS = 1_000_000
TABLE_3 = {  # means of trees: PPO, A2C, AWR; and of networks: PPO, A2C
    ACROBOT: ((-87.82, -90.73, -118.12), (-74.83, -82.27)),
    CART: ((500.0, 500.0, 497.54), (500.0, 500.0)),
    CAR: ((-110.55, -124.42, -146.68), (-115.53, -148.90)),
    PENDULUM: ((-246.89, -538.83, -1257.61), (-249.31, -183.64)),
    "MountainCarContinuous-v0": ((89.42, 93.15, 44.38), (85.81, 92.66)),
    "LunarLander-v3": ((248.72, 47.93, 76.03), (261.73, -43.01)),
}
LUNAR = "LunarLander-v3"  # 1.5M steps in the paper
WITH_BOX2D = tuple(task for task in TABLE_3 if task != LUNAR or find_spec("Box2D"))


@dataclass(frozen=True)
class Settings:
    """Agents, one a seed, task, algorithm and model."""

    n_steps: int
    n_seeds: int
    tasks: tuple[str, ...] = (CART, ACROBOT, CAR, PENDULUM)
    n_replications: int = 1


Data = Results[Settings, Training]


def cells(settings: Settings) -> list[Training]:
    kinds = [(a, TREES) for a in ALGORITHMS] + [("PPO", NETWORKS), ("A2C", NETWORKS)]
    return [
        Training(task, algorithm, model, settings.n_steps, {})
        for task in settings.tasks
        for algorithm, model in [*kinds, ("none", UNIFORM)]
    ]


def draw(data: Data) -> Drawing:
    tasks = data.settings.tasks
    rows = -(-len(tasks) // 2)
    figure, axes = plt.subplots(rows, 2, figsize=(10, 3.2 * rows + 0.8), squeeze=False)
    for ax, task in zip(axes.flat, tasks, strict=False):
        for config in data.configs:
            if config.task != task or config.model == UNIFORM:
                continue
            label = f"{config.algorithm}, {config.model}"
            style = {"ls": STYLE[config.algorithm], "color": COLOURS[config.model]}
            draw_curves(ax, data[config], label, **style)
        level = scores(of(data, task, "none", UNIFORM)).mean()
        ax.axhline(level, color="0.4", lw=1, label="uniform policy")
        ax.set(title=task, xlabel="environment steps, thousands")
    for ax in axes[:, 0]:
        ax.set_ylabel("return, last 100 episodes")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def learns(data: Data) -> Outcome:
    """The least gain of the three over the uniform policy."""
    level = scores(of(data, CART, "none", UNIFORM))
    gains = {a: interval(scores(of(data, CART, a, TREES)) - level) for a in ALGORITHMS}
    name = min(gains, key=lambda a: gains[a][1])
    return at_least(*gains[name], 0.0, f"{name}, return less that of the uniform policy")


def level_of_the_paper(task: str) -> Claim[Data]:
    """PPO with trees at the paper's score, or above."""
    goal = TABLE_3[task][0][0]

    def check(data: Data) -> Outcome:
        if task not in data.settings.tasks:
            return not_run()
        found = scores(of(data, task, "PPO", TREES))
        mean, low, high = interval(found)
        slack = max(0.1 * abs(goal), 5.0)
        outcome = at_least(mean, low, high, goal - slack, f"return, {goal} less 10 %")
        return at_budget(outcome, data.settings.n_steps, PAPER_STEPS)

    return Claim(f"{PAPER}, Table 3", f"{task}: PPO with trees has {goal:g}", check)


def pendulum_is_lost(data: Data) -> Outcome:
    if PENDULUM not in data.settings.tasks:
        return not_run()
    found = scores(of(data, PENDULUM, "AWR", TREES))
    mean, low, high = interval(found)
    outcome = within(mean, low, high, -2000.0, -1000.0, "return; that of no agent is above 0")
    return at_budget(outcome, data.settings.n_steps, PAPER_STEPS)


def notes(data: Data) -> list[str]:
    lines = []
    for task in data.settings.tasks:
        parts = []
        for config in data.configs:
            if config.task == task and config.model != UNIFORM:
                seconds = scores(data[config], "seconds").sum()
                rate = config.n_steps * len(data[config]) / seconds
                parts.append(
                    f"{config.algorithm} {config.model} {scores(data[config]).mean():.4g} "
                    f"({rate:,.0f} steps a CPU second)"
                )
        lines.append(f"{task}: {', '.join(parts)}")
    return lines


EXPERIMENT = Experiment(
    name="gbrl_classic_control",
    summary="trees and networks on classic control",
    run=run,
    cells=cells,
    presets={
        "quick": Settings(n_steps=6_000, n_seeds=2, tasks=(CART, CAR)),
        "standard": Settings(n_steps=40_000, n_seeds=3),
        "paper": Settings(n_steps=PAPER_STEPS, n_seeds=5, tasks=WITH_BOX2D),
    },
)
FIGURE = Figure(
    name="gbrl_classic_control",
    title="Gradient boosting RL on classic control",
    paper="Fuhrer, Tessler, Dalal, ICML 2025 (Table 3)",
    experiment=EXPERIMENT,
    summarise=lambda results: results,
    draw=draw,
    claims=[
        Claim(PAPER, "PPO, A2C and AWR with trees learn CartPole", learns),
        *(level_of_the_paper(task) for task in (CART, ACROBOT, CAR, PENDULUM)),
        *(
            as_good_as_networks(
                task, PAPER_STEPS, "Table 3", f"{task}: PPO, trees are as good as networks"
            )
            for task in (CART, CAR, PENDULUM)
        ),
        Claim(f"{PAPER}, Table 3", "AWR with trees does not learn Pendulum", pendulum_is_lost),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
