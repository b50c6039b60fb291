"""TD3, SAC and PPO with resets to a teacher's snapshots, on MuJoCo's tasks.

Runs:    python paper_figures/snapshot_mujoco.py [--preset quick|standard|paper]
Shows:   as snapshot_control, one row a task and algorithm.
Games:   quick and standard: Hopper-v5, TD3 with networks of 64 by 64 and batches of 64, snapshots
         in the first half of the steps; the bank is of PPO, as a TD3 of that size did not learn to
         hop in 100,000 steps.
         paper: four tasks and three algorithms at the sizes of the paper's code, 1,000,000 steps,
         snapshots in the first tenth, teachers of the same algorithm, which are to be trained first
         by paper_figures/_teachers.py. S3RL has 6 clusters of the teacher's value, and truncation
         after 100 steps. The paper has -v4 tasks: returns there are not comparable.
Claims:  S3RL has at least the area below the curve, and the final return, of the algorithm alone,
         with TD3 and SAC; it gains less with PPO, which a change of the starts biases.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
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
)
from fenchel.paper_figures._outcomes import at_budget, not_run
from fenchel.paper_figures._snapshot import (
    BASE,
    FULL,
    OWN,
    PAPER,
    PLAIN,
    S3RL,
    SC,
    SMALL,
    STT,
    Data,
    Measure,
    Student,
    Teacher,
    area,
    better,
    draw_row,
    final,
    make_run,
    tables_of,
)
from fenchel.paper_figures._statistics import bootstrap

TASKS = ("Hopper-v5", "Walker2d-v5", "HalfCheetah-v5", "Ant-v5")
VARIANTS = (BASE, PLAIN, SC, STT, S3RL)
PAPER_STEPS = 1_000_000


@dataclass(frozen=True)
class Settings:
    """Students, one a seed, task, algorithm and variant."""

    tasks: tuple[str, ...]
    algorithms: tuple[str, ...]
    variants: tuple[str, ...]
    size: str
    n_steps: int
    n_seeds: int
    n_replications: int = 1


def teacher_of(task: str, algorithm: str, size: str) -> Teacher:
    """Of the same algorithm and size, as in the paper; of small students one of PPO."""
    return Teacher(task, "PPO", FULL) if size == SMALL else Teacher(task, algorithm, size)


def cells(settings: Settings) -> list[Student]:
    size, n_steps, found = settings.size, settings.n_steps, []
    n = n_steps // (2 if size == SMALL else 10)
    for task in settings.tasks:
        for algorithm in settings.algorithms:
            teacher = teacher_of(task, algorithm, size)
            bank = teacher.mark()
            found += [
                Student(task, algorithm, size, variant, n_steps, n, teacher, bank)
                for variant in settings.variants
            ]
    return found


@dataclass(frozen=True)
class Found:
    """Tables of the seeds, and the settings that they are of."""

    tables: Data
    settings: Settings


def summarise(results: Results[Settings, Student]) -> Found:
    return Found(tables_of(results), results.settings)


def draw(found: Found) -> Drawing:
    settings = found.settings
    rows = [(task, algorithm) for task in settings.tasks for algorithm in settings.algorithms]
    figure, axes = plt.subplots(
        len(rows), 3, figsize=(13, 3.8 * len(rows)), width_ratios=[1, 1, 0.9], squeeze=False
    )
    for row, (task, algorithm) in zip(axes, rows, strict=True):
        tables = {v: found.tables[task, algorithm, v] for v in settings.variants}
        teacher = teacher_of(task, algorithm, settings.size)
        draw_row(row, tables, f"{task}, {algorithm}", teacher)
    for ax, name in zip(axes[-1], ("steps, thousands", "steps, thousands", "return"), strict=True):
        ax.set_xlabel(name)
    return figure


def gains(
    found: Found,
    algorithm: str,
    measure: Measure,
    than: str = BASE,
) -> FloatArray:
    """What S3RL gains, as a share of what the other has; means over tasks, one a seed."""
    each = []
    for task in found.settings.tasks:
        first, second = (measure(found.tables[task, algorithm, v]) for v in (S3RL, than))
        each.append((first - second) / abs(second.mean()))
    return np.mean(each, axis=0)


def gain(algorithm: str, measure: Measure, than: str = BASE) -> Callable[[Found], Outcome]:
    def check(found: Found) -> Outcome:
        settings = found.settings
        if algorithm not in settings.algorithms or than not in settings.variants:
            return not_run()
        each = gains(found, algorithm, measure, than)
        detail = f"gain as a share of '{than}', {', '.join(settings.tasks)}"
        outcome = at_least(*bootstrap(each), 0.0, detail)
        return at_budget(outcome, settings.n_steps, PAPER_STEPS)

    return check


def less_with_ppo(found: Found) -> Outcome:
    if not {"TD3", "PPO"} <= set(found.settings.algorithms):
        return not_run()
    gap = gains(found, "TD3", area) - gains(found, "PPO", area)
    outcome = at_least(*bootstrap(gap), 0.0, "gain with TD3 less that with PPO")
    return at_budget(outcome, found.settings.n_steps, PAPER_STEPS)


def short_run(
    measure: Measure,
) -> Callable[[Found], Outcome]:
    def check(found: Found) -> Outcome:
        return better(("Hopper-v5", "TD3"), S3RL, BASE, measure)(found.tables)

    return check


def notes(found: Found) -> list[str]:
    lines = []
    for (task, algorithm, variant), each in found.tables.items():
        switched = int(each[0]["switched"].iloc[0])
        lines.append(
            f"{task}, {algorithm}, {variant}: mean of the curve {area(each).mean():.4g}, final "
            f"return {final(each).mean():.4g}"
            + ("" if variant == BASE else f"; snapshots up to step {switched:,}")
        )
    return lines


CLAIMS = [
    Claim(OWN, "Hopper-v5, TD3: S3RL has the greater area in a short run", short_run(area)),
    Claim(OWN, "Hopper-v5, TD3: and the greater return at its end", short_run(final)),
    Claim(PAPER, "TD3: S3RL is more sample-efficient", gain("TD3", area)),
    Claim(PAPER, "TD3: and at last better", gain("TD3", final)),
    Claim(PAPER, "TD3: clusters and truncation help", gain("TD3", area, PLAIN)),
    Claim(PAPER, "SAC: S3RL is more sample-efficient", gain("SAC", area)),
    Claim(PAPER, "SAC: and at last better", gain("SAC", final)),
    Claim(f"{PAPER}; public summary", "PPO gains less than TD3", less_with_ppo),
]
EXPERIMENT = Experiment(
    name="snapshot_mujoco",
    summary="TD3, SAC and PPO with resets to snapshots, on MuJoCo's tasks",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(("Hopper-v5",), ("TD3",), (BASE, S3RL), SMALL, n_steps=2_000, n_seeds=1),
        "standard": Settings(
            ("Hopper-v5",), ("TD3",), (BASE, S3RL), SMALL, n_steps=10_000, n_seeds=5
        ),
        "paper": Settings(TASKS, ("TD3", "SAC", "PPO"), VARIANTS, FULL, PAPER_STEPS, n_seeds=5),
    },
)
FIGURE = Figure(
    name="snapshot_mujoco",
    title="Resets to a teacher's snapshots on MuJoCo's tasks",
    paper="Zhao, Qian, Wang, Shan, Qin 2024",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=CLAIMS,
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
