"""Learned maps on the sphere, along arcs, with and without the Monge gap.

Runs:    python paper_figures/monge_gap_sphere.py [--preset quick|standard|paper]
Shows:   arcs of the maps of one seed, seen from the pole so that areas are true; exact gaps of all
         seeds, and ratios with the gap over without. Reproduced setting, not the published table.
Games:   the uniform law → its image by a flow toward the pole, whose map is known; a cap → two
         caps; cost ½ arccos²⟨x, y⟩; networks of three layers of 64 projected to the sphere, λ = 1,
         ε 0.1 and 0.01 of mean costs, batches of 256 fresh points, Adam from 1e-2 to 1e-4.
         Measured on fresh points.
Claims:  no exact gap is negative, and the known map has none; with the penalty exact gaps are five
         times smaller, S less its constant term, and S, at most 20 % larger, and the map is nearer
         to the known one.
"""

import sys
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Circle

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
)
from fenchel.ot import monge_gap, sinkhorn_divergence
from fenchel.ot.datasets import sphere_caps, sphere_toward_pole
from fenchel.ot.metrics import l2_uvp
from fenchel.paper_figures._maps import BARE, GAP, LABEL, learn, worst

POLE, CAPS = "toward the pole", "cap to two caps"
PROBLEMS = {POLE: sphere_toward_pole(0.8), CAPS: sphere_caps()}
FIVE, FIFTH, SHOWN = 5.0, 1.2, 150
LEAST = 1e-3  # gaps of a sample can vanish
EXACT = 1e-6  # to which exact gaps are known


@dataclass(frozen=True)
class Settings:
    """Networks, one a seed, problem and method."""

    n_steps: int
    n_points: int
    n_seeds: int
    n_replications: int = 1


@dataclass(frozen=True)
class Config:
    """One method for one problem."""

    problem: str
    method: str
    n_steps: int
    n_points: int


Data = dict[tuple[str, str], list[pd.DataFrame]]  # one a seed, by problem and method


def cells(settings: Settings) -> list[Config]:
    return [
        Config(problem, method, settings.n_steps, settings.n_points)
        for problem in PROBLEMS
        for method in (BARE, GAP)
    ]


def make_run(config: Config, seed: int) -> pd.DataFrame:
    """Points x and images T(x), with what was measured of the map in each row."""
    problem = PROBLEMS[config.problem]
    transport = learn(
        config.method, problem, seed, n_steps=config.n_steps, strength=1.0, learning_rate=1e-2
    )
    rng = np.random.default_rng([1, seed])
    x, y = (draw(config.n_points, rng) for draw in (problem.source, problem.target))
    moved = transport(x)
    half = config.n_points // 2
    found = sinkhorn_divergence(moved[:half], y[:half], epsilon=("mean", 0.1), tolerance=1e-4)
    table = pd.DataFrame(np.hstack([x, moved]), columns=["x", "y", "z", "Tx", "Ty", "Tz"]).assign(
        gap=monge_gap(x, moved, cost=problem.cost, kind="exact"),
        divergence=found.value,
        fit=found.xy.value - 0.5 * found.xx.value,
    )
    if problem.map is not None:
        true = problem.map(x)
        table["uvp"] = l2_uvp(moved, true, variance=problem.target_variance)
        table["true gap"] = monge_gap(x, true, cost=problem.cost, kind="exact")
    return table


def summarise(results: Results[Settings, Config]) -> Data:
    return {(c.problem, c.method): list(results[c]) for c in results.configs}


def measured(data: Data, problem: str, method: str, column: str) -> FloatArray:
    """A number of each seed."""
    return np.array([float(table[column].iloc[0]) for table in data[problem, method]])


def ratios(data: Data, problem: str, column: str) -> FloatArray:
    """With the gap over without, one a seed; below LEAST they count as that."""
    with_gap, without = (measured(data, problem, method, column) for method in (GAP, BARE))
    if column == "gap":  # rounding is no gap: where neither map has one, neither is smaller
        with_gap, without = np.maximum(with_gap, EXACT), np.maximum(without, EXACT)
    return np.maximum(with_gap / without, LEAST)


def seen(points: FloatArray) -> FloatArray:
    """The plane (..., 2) of points (..., 3): Lambert's projection of equal areas from (0, 0, 1)."""
    return points[..., :2] * np.sqrt(2 / (1 + points[..., 2:]).clip(min=1e-9))


def draw_map(ax: Axes, table: pd.DataFrame) -> None:
    x, moved = (
        table[columns].to_numpy()[:SHOWN] for columns in (["x", "y", "z"], ["Tx", "Ty", "Tz"])
    )
    steps = np.linspace(0, 1, 15)[:, None, None]
    arcs = (1 - steps) * x + steps * moved
    arcs = seen(arcs / np.linalg.norm(arcs, axis=-1, keepdims=True))
    ax.plot(*np.moveaxis(arcs, -1, 0), color="0.6", lw=0.6, zorder=1)
    ax.plot(*seen(x).T, "o", ms=3, color="C0", label="x")
    ax.plot(*seen(moved).T, "s", ms=3, color="C1", label="T(x)")
    ax.set_aspect("equal")
    ax.set_axis_off()


def draw(data: Data) -> Drawing:
    figure, axes = plt.subplots(2, 3, figsize=(11, 7))
    for row, problem in zip(axes, PROBLEMS, strict=True):
        for ax, method in zip(row, (BARE, GAP), strict=False):
            draw_map(ax, data[problem, method][0])
            ax.set_title(f"{problem}, {method}")
            if problem == POLE:
                ax.add_patch(Circle((0, 0), 2, fill=False, color="0.4", lw=1))
    axes[1, 0].legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=2)
    for place, problem in enumerate(PROBLEMS):
        for method, marker, color in ((BARE, "o", "C3"), (GAP, "s", "C0")):
            values = measured(data, problem, method, "gap")
            label = method if place == 0 else None
            at = np.full(len(values), place)
            axes[0, 2].plot(at, values, marker, ms=4, color=color, label=label)
    axes[0, 2].set_yscale("symlog", linthresh=1e-5)
    axes[0, 2].set(title="exact gap", xlim=(-0.5, 1.5), ylim=(-3e-6, None))
    axes[0, 2].set_xticks(range(len(PROBLEMS)), list(PROBLEMS))
    axes[0, 2].legend(loc="center left")
    shown = {"uvp": "L2-UVP", "fit": "S − const", "divergence": "S"}
    for problem, color, shift in ((POLE, "C0", -0.1), (CAPS, "C2", 0.1)):
        for place, column in enumerate(shown):
            if column in data[problem, GAP][0]:
                values = ratios(data, problem, column)
                at = np.full(len(values), place + shift)
                label = problem if column == "fit" else None
                axes[1, 2].plot(at, values, "s", ms=4, color=color, label=label)
    axes[1, 2].axhline(1.0, color="0.4", ls=":", lw=1)
    axes[1, 2].set(yscale="log", title="with gap over without")
    axes[1, 2].set_xticks(range(len(shown)), list(shown.values()))
    axes[1, 2].legend(loc="lower right")
    return figure


def at_most_for_both(statement: str, column: str, limit: float) -> Claim[Data]:
    """Ratios with the gap over without, for both problems."""

    def check(data: Data) -> Outcome:
        groups = {problem: list(ratios(data, problem, column)) for problem in PROBLEMS}
        return worst(groups, limit, "with over without", least=False)

    return Claim(PAPER, statement, check)


def not_negative(data: Data) -> Outcome:
    least = min(float(measured(data, *key, "gap").min()) for key in data)
    return at_least(least, least, least, -EXACT, "the least exact gap")


def true_map(data: Data) -> Outcome:
    largest = float(measured(data, POLE, GAP, "true gap").max())
    return at_most(largest, largest, largest, EXACT, "largest exact gap of the known map")


def nearer(data: Data) -> Outcome:
    return worst(
        {POLE: list(ratios(data, POLE, "uvp"))}, 1.0, "L2-UVP, with over without", least=False
    )


def notes(data: Data) -> list[str]:
    lines = []
    for problem, method in data:
        columns = {"gap": "exact gap", "divergence": "S", "fit": "S less its constant"}
        if problem == POLE:
            columns["uvp"] = "L2-UVP in percent"
        means = (
            f"{label} {measured(data, problem, method, column).mean():.3g}"
            for column, label in columns.items()
        )
        lines.append(f"{problem}, {method}: {', '.join(means)}")
    return [*lines, LABEL]


PAPER = "Uscidda, Cuturi 2023"
EXPERIMENT = Experiment(
    name="monge_gap_sphere",
    summary="maps on the sphere",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(n_steps=200, n_points=1024, n_seeds=2),
        "standard": Settings(n_steps=600, n_points=2048, n_seeds=3),
        "paper": Settings(n_steps=5000, n_points=2048, n_seeds=10),
    },
)
FIGURE = Figure(
    name="monge_gap_sphere",
    title="The Monge gap on the sphere",
    paper="Uscidda, Cuturi, ICML 2023 (sphere)",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim(PAPER, "exact gaps are not negative", not_negative),
        Claim("triangle inequality", "the known map has no gap", true_map),
        at_most_for_both("the exact gap is five times smaller, for both", "gap", 1 / FIVE),
        at_most_for_both("S less its constant is at most 20 % larger", "fit", FIFTH),
        at_most_for_both("S itself is at most 20 % larger", "divergence", FIFTH),
        Claim(PAPER, "the map toward the pole is nearer to the known one", nearer),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
