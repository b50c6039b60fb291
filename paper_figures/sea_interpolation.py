"""Optimistic mirror descent between stochastic and adversarial losses.

Runs:    python paper_figures/sea_interpolation.py [--preset quick|standard|paper]
Shows:   first, regret/(D √T) of convex optimistic OMD over a grid of noise σ and movement Σ of the
         means, with level lines of the leading terms 5√2 σ + 5 Σ of its bound; then regret against
         σ without movement and against Σ without noise, with two rivals and the bound (dashed);
         last, regret against T in the noisiest game.
Games:   linear losses ⟨θ_t + ξ_t, x⟩ on the unit ball of ℝ⁵, ξ_t uniform on the sphere of radius σ,
         θ_t = 2 (σ + Σ)/√T e_1 ± (Σ/2) e_1 with alternating sign. The offset is about the hardest
         one: larger means are found sooner, smaller ones cost less. All learners are told G = 1.5.
         At σ = Σ = 0 all losses are 0, and so is regret.
Claims:  bound and path-wise inequality hold in all games; regret is linear in σ and in Σ, and grows
         as √T where noise dominates.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.bandits.gradient_learner import GradientLearner
from fenchel.bandits.sea import NoisyLinear, alternating
from fenchel.core import Trace
from fenchel.core.regret import growth_exponent
from fenchel.experiments import (
    Claim,
    Experiment,
    Figure,
    Outcome,
    Results,
    bounds_hold,
    inequalities_hold,
    main,
    within,
)
from fenchel.paper_figures._sea import learner
from fenchel.paper_figures._traces import curve, levels, play, power, trace

DIM = 5
GRADIENT_BOUND = 1.5
LEVELS = (0.05, 0.1, 0.2, 0.4, 0.8)  # of σ and of Σ
MAIN, RIVALS = "optimistic OMD", ("optimistic FTRL", "OGD")
PAPER = "Chen et al. 2024, convex and smooth"


@dataclass(frozen=True)
class Settings:
    """The grid is run at `horizon`, the noisiest game also at T/2, T/4, T/8, T/16."""

    horizon: int
    n_replications: int
    n_seeds: int = 1


@dataclass(frozen=True)
class Config:
    """One learner in one game."""

    learner: str
    sigma: float
    movement: float
    horizon: int
    n_replications: int


Traces: TypeAlias = dict[tuple[str, float, float], list[Trace]]  # learner, σ, Σ: by horizon


def cells(settings: Settings) -> list[Config]:
    T, n = settings.horizon, settings.n_replications
    grid = [(s, m) for s in (0.0, *LEVELS) for m in (0.0, *LEVELS) if s + m > 0]
    edges = [(s, 0.0) for s in LEVELS] + [(0.0, m) for m in LEVELS]
    points = [(MAIN, *point) for point in grid]
    points += [(rival, *point) for rival in RIVALS for point in edges]
    shorter = [(name, LEVELS[-1], 0.0) for name in (MAIN, *RIVALS)]
    return [
        Config(*point, T >> k, n) for k in (4, 3, 2, 1, 0) for point in (shorter if k else points)
    ]


def build(config: Config) -> tuple[GradientLearner, NoisyLinear]:
    theta = alternating(config.horizon, DIM, amplitude=config.movement / 2)
    theta[:, 0] += 2 * (config.sigma + config.movement) / np.sqrt(config.horizon)
    game = NoisyLinear(theta, config.sigma)
    return learner(config.learner, game, gradient_bound=GRADIENT_BOUND), game


def make_run(config: Config, seed: int) -> pd.DataFrame:
    return play(*build(config), config, seed)


def summarise(results: Results[Settings, Config]) -> Traces:
    traces: Traces = {}
    for c in results.configs:
        key = (c.learner, c.sigma, c.movement)
        traces.setdefault(key, []).append(trace(*build(c), c, results[c]))
    return traces


def edge(traces: Traces, name: str, axis: str) -> list[Trace]:
    """The longest traces without movement (axis "σ") or without noise (axis "Σ"), by level."""
    return [traces[(name, v, 0.0) if axis == "σ" else (name, 0.0, v)][-1] for v in LEVELS]


def draw(traces: Traces) -> Drawing:
    figure, grid_of_axes = plt.subplots(2, 2, figsize=(11, 8.4))
    axes = grid_of_axes.ravel()
    ax, rows = axes[0], (0.0, *LEVELS)
    horizon = int(traces[MAIN, LEVELS[-1], 0.0][-1].rounds[-1])
    grid = np.zeros((len(rows), len(rows)))
    for i, movement in enumerate(rows):
        for j, sigma in enumerate(rows):
            if sigma + movement > 0:
                regret = traces[MAIN, sigma, movement][-1].mean()[-1]
                grid[i, j] = regret / (2 * np.sqrt(horizon))
    image = ax.imshow(grid, origin="lower", cmap="cividis")
    ticks = np.arange(len(rows))
    slopes = 5 * np.sqrt(2) * np.array(rows)[None] + 5 * np.array(rows)[:, None]
    lines = ax.contour(ticks, ticks, slopes, levels=[0.5, 1, 2, 4, 6], colors="white", linewidths=1)
    ax.clabel(lines, fontsize=8)
    ax.set(xticks=ticks, yticks=ticks, xticklabels=rows, yticklabels=rows)
    ax.set(xlabel="noise σ", ylabel="movement Σ", title="regret/(D√T), lines: bound")
    ax.grid(visible=False)
    figure.colorbar(image, ax=ax, shrink=0.85)
    for ax, axis in zip(axes[1:3], "σΣ", strict=True):
        for name in (MAIN, *RIVALS):
            curve(ax, LEVELS, edge(traces, name, axis), bound=name == MAIN, label=name)
        other = "no movement" if axis == "σ" else "no noise"
        levels(ax, LEVELS)
        ax.set(yscale="log", xlabel=axis, title=f"T = {horizon}, {other}")
    for name in (MAIN, *RIVALS):
        runs = traces[name, LEVELS[-1], 0.0]
        horizons = [float(t.rounds[-1]) for t in runs]
        curve(axes[3], horizons, runs, bound=name == MAIN, label=name)
    levels(axes[3], horizons)
    axes[3].set(yscale="log", xlabel="horizon T", title=f"σ = {LEVELS[-1]}, Σ = 0")
    axes[1].plot([], [], "--", color="C0", lw=1, label="bound of optimistic OMD")
    for ax in axes[1:]:
        ax.set_ylabel("regret after T rounds")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def linear_in(axis: str) -> Claim[Traces]:
    def check(traces: Traces) -> Outcome:
        slope = power(LEVELS, edge(traces, MAIN, axis))
        detail = "log-log slope over a factor of 16"
        return within(slope.value, slope.low, slope.high, 0.85, 1.15, detail)

    return Claim(PAPER, f"regret is linear in {axis} (slope 1 ± 0.15)", check)


def main_traces(traces: Traces) -> list[Trace]:
    return [t for (name, *_), runs in traces.items() if name == MAIN for t in runs]


def grows_as_root(traces: Traces) -> Outcome:
    slope = growth_exponent(traces[MAIN, LEVELS[-1], 0.0])
    return within(slope.value, slope.low, slope.high, 0.35, 0.65, "log-log slope over horizons")


def notes(traces: Traces) -> Sequence[str]:
    lines = []
    for axis in "σΣ":
        means = {name: [t.mean()[-1] for t in edge(traces, name, axis)] for name in (MAIN, *RIVALS)}
        for rival in RIVALS:
            ratios = np.array(means[MAIN]) / np.array(means[rival])
            values = ", ".join(f"{ratio:.2g}" for ratio in ratios)
            lines.append(
                f"regret of optimistic OMD over that of {rival} at {axis} = "
                f"{', '.join(map(str, LEVELS))}: {values}"
            )
    return lines


EXPERIMENT = Experiment(
    name="sea_interpolation",
    summary="optimistic OMD, optimistic FTRL and OGD over a grid of noise and movement",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(horizon=2000, n_replications=32),
        "standard": Settings(horizon=8000, n_replications=64),
        "paper": Settings(horizon=100_000, n_replications=200),
    },
)
FIGURE = Figure(
    name="sea_interpolation",
    title="Optimistic mirror descent between stochastic and adversarial losses",
    paper="Chen, Zhang, Tu, Zhao, Zhang, JMLR 2024; Sachs et al. 2022",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim(
            PAPER,
            "mean regret is below the bound 5√2 D√σ² + 5 D√Σ² + 5√10 D²L + (5√5/2) DG in all games",
            lambda traces: bounds_hold(main_traces(traces)),
        ),
        Claim(
            f"{PAPER}; derived",
            "each run meets the path-wise inequality behind the bound",
            lambda traces: inequalities_hold(main_traces(traces)),
        ),
        linear_in("σ"),
        linear_in("Σ"),
        Claim(PAPER, "regret grows as √T where noise dominates (slope 0.5 ± 0.15)", grows_as_root),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
