"""SAC with resets to a teacher's snapshots, on two tasks of classic control.

Runs:    python paper_figures/snapshot_control.py [--preset quick|standard|paper]
Shows:   mean return of the mean action from the usual start, against the student's steps, and
         shifted by the teacher's, which the paper takes for sunk; bands: 95 % bootstrap intervals
         over seeds. Right, the mean of each curve, which is the area below it; seeds as dots.
Games:   MountainCarContinuous, where SAC without help learns to stand still (return 0), as each
         action costs and the goal, worth 100, is not met by chance; Pendulum, which it soon learns.
         SAC with networks of 64 by 64. Teachers: SAC, with noise that depends on the state for the
         car, trained and banked by paper_figures/_teachers.py. Snapshots in the first half of the
         student's steps (in the paper a tenth of many more). 6 clusters of the teacher's Q (SC);
         truncation after 100 steps (STT), elsewhere after 1000.
Claims:  S3RL has at least the area below the curve, and the final return, of SAC alone, and the
         area of plain snapshots. Own controls: a bank of random actions; episodes which the teacher
         begins, as long as a uniform draw of the bank says (jump-start); the teacher's ten episodes
         in the replay buffer; these on the car only.
"""

import sys
from dataclasses import dataclass

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.experiments import Claim, Experiment, Figure, main
from fenchel.paper_figures._snapshot import (
    BASE,
    BUFFER,
    JUMP,
    OWN,
    PAPER,
    PLAIN,
    RANDOM,
    S3RL,
    SC,
    SMALL,
    STT,
    Data,
    Student,
    Teacher,
    area,
    better,
    draw_row,
    final,
    make_run,
    tables_of,
)

CAR, PENDULUM = "MountainCarContinuous-v0", "Pendulum-v1"
VARIANTS = (BASE, RANDOM, JUMP, BUFFER, PLAIN, SC, STT, S3RL)
WITH_CONTROLS = (BASE, RANDOM, JUMP, BUFFER, PLAIN, S3RL)
FEWER = (BASE, PLAIN, S3RL)


@dataclass(frozen=True)
class Settings:
    """Students, one a seed, task and variant."""

    car_variants: tuple[str, ...]
    car_steps: int
    pendulum_variants: tuple[str, ...]
    pendulum_steps: int
    n_seeds: int
    n_replications: int = 1


def cells(settings: Settings) -> list[Student]:
    found = []
    for task, variants, n_steps in (
        (CAR, settings.car_variants, settings.car_steps),
        (PENDULUM, settings.pendulum_variants, settings.pendulum_steps),
    ):
        teacher = Teacher(task, "SAC", SMALL)
        bank, n = teacher.mark(), n_steps // 2
        found += [
            Student(task, "SAC", SMALL, variant, n_steps, n, teacher, bank) for variant in variants
        ]
    return found


def tables_by_variant(data: Data, task: str) -> dict[str, list[pd.DataFrame]]:
    """Tables by variant, of a task."""
    return {variant: tables for (there, _, variant), tables in data.items() if there == task}


def draw(data: Data) -> Drawing:
    figure, axes = plt.subplots(2, 3, figsize=(13, 7.6), width_ratios=[1, 1, 0.9])
    for row, task in zip(axes, (CAR, PENDULUM), strict=True):
        draw_row(row, tables_by_variant(data, task), task, Teacher(task, "SAC", SMALL))
    for ax, name in zip(axes[1], ("steps, thousands", "steps, thousands", "return"), strict=True):
        ax.set_xlabel(name)
    for ax in axes[:, 2]:
        ax.locator_params(axis="x", nbins=5)
    return figure


def claims(task: str) -> list[Claim[Data]]:
    place = (task, "SAC")
    found = [
        Claim(PAPER, f"{task}: S3RL is more sample-efficient", better(place, S3RL, BASE)),
        Claim(PAPER, f"{task}: and at last better", better(place, S3RL, BASE, final)),
        Claim(PAPER, f"{task}: clusters and truncation help", better(place, S3RL, PLAIN)),
        Claim(OWN, f"{task}: a random policy's bank helps less", better(place, PLAIN, RANDOM)),
    ]
    return found if task == CAR else found[:-1]


def notes(data: Data) -> list[str]:
    lines = []
    for task in (CAR, PENDULUM):
        for name, measure in (("mean of the curve", area), ("final return", final)):
            tables = tables_by_variant(data, task)
            parts = (f"{v} {measure(each).mean():.4g}" for v, each in tables.items())
            lines.append(f"{task}, {name}: {', '.join(parts)}")
    return [*lines, "snapshots cost the student nothing; the middle column counts the teacher's"]


EXPERIMENT = Experiment(
    name="snapshot_control",
    summary="SAC with resets to snapshots, on classic control",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(FEWER, 2_000, (BASE, S3RL), 1_000, n_seeds=1),
        "standard": Settings(WITH_CONTROLS, 8_000, FEWER, 3_000, n_seeds=5),
        "paper": Settings(VARIANTS, 50_000, VARIANTS, 20_000, n_seeds=20),
    },
)
FIGURE = Figure(
    name="snapshot_control",
    title="SAC with resets to a teacher's snapshots",
    paper="Zhao, Qian, Wang, Shan, Qin 2024; tasks and sizes ours",
    experiment=EXPERIMENT,
    summarise=tables_of,
    draw=draw,
    claims=[claim for task in (CAR, PENDULUM) for claim in claims(task)],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
