"""What optimism costs where the last gradient is a bad guess, and where plain descent wins anyway.

Runs:    python paper_figures/price_of_optimism.py [--preset quick|standard|paper]
Shows:   left, regret against t for means that alternate between ± ½ e_1: the last gradient is the
         worst guess of the next; middle, final regret against the frequency ω of means that rotate
         about 0.1 e_1 (linear axis around 0: static regret can be negative); right, final regret
         over that of OGD in nine games: right of 1, plain OGD wins.
Games:   on the unit ball of ℝ⁵; see `build`. In games with curvature the strongly convex learners
         are shown too, over strongly convex OGD.
Claims:  the bound of optimistic OMD holds where optimism hurts as well; there it has more regret
         than the same steps without optimism, and less where means turn slowly.
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
from fenchel.bandits.sea import (
    LinearRegression,
    NoisyLinear,
    NoisyQuadratic,
    SEAInstance,
    alternating,
    corrupted,
    rotating,
)
from fenchel.core import Trace
from fenchel.experiments import (
    Claim,
    Experiment,
    Figure,
    Results,
    bounds_hold,
    inequalities_hold,
    less_regret,
    main,
)
from fenchel.paper_figures._sea import learner
from fenchel.paper_figures._traces import curve, play, trace

DIM = 5
MAIN, PLAIN, FTRL, OGD = "optimistic OMD", "OMD without optimism", "optimistic FTRL", "OGD"
LEARNERS = (MAIN, PLAIN, FTRL, OGD)
FREQUENCIES = (0.3, 0.6, 1.0, 1.5, 2.0, 2.5, 3.14)
SLOW = 0.6  # of the frequencies, where the last gradient is a good guess
GAMES = {
    "still": "θ = 0.2 e₁, no noise",
    "noise 0.1": "θ = 0.2 e₁, σ = 0.1",
    "noise 0.4": "θ = 0.2 e₁, σ = 0.4",
    "hard noise": "θ = 0.4/√T e₁, σ = 0.4",
    "corrupted": "σ = 0.1, 4 % corrupted",
    "alternating": "± 0.5 e₁",
    "regression": "linear regression",
    "quadratic 0.1": "quadratic, σ = 0.1",
    "quadratic 0.5": "quadratic, σ = 0.5",
}
STRONG = {MAIN: "strongly convex OMD", FTRL: "optimistic FTL", OGD: "strongly convex OGD"}


@dataclass(frozen=True)
class Settings:
    """All games at one horizon."""

    horizon: int
    n_replications: int
    n_seeds: int = 1


@dataclass(frozen=True)
class Config:
    """One learner in one game."""

    learner: str
    game: str
    frequency: float
    horizon: int
    n_replications: int


Traces: TypeAlias = dict[tuple[str, float, str], Trace]  # game, ω, learner


def cells(settings: Settings) -> list[Config]:
    size = (settings.horizon, settings.n_replications)
    points = [(name, game, 0.0) for game in GAMES for name in LEARNERS]
    points += [(name, game, 0.0) for game in GAMES if curved(game) for name in STRONG.values()]
    points += [(name, "rotating", omega) for omega in FREQUENCIES for name in LEARNERS]
    return [Config(*point, *size) for point in points]


def curved(game: str) -> bool:
    return game.startswith(("quadratic", "regression"))


def build(config: Config) -> tuple[GradientLearner, SEAInstance]:
    T, first = config.horizon, np.eye(DIM)[0]
    game: SEAInstance
    if config.game == "rotating":
        game = NoisyLinear(rotating(T, DIM, frequency=config.frequency, offset=0.1), 0.0)
    elif config.game == "alternating":
        game = NoisyLinear(alternating(T, DIM), 0.0)
    elif config.game == "corrupted":
        means = corrupted(0.2 * first, T, count=T // 25, corruption=-0.8 * first)
        game = NoisyLinear(means, 0.1)
    elif config.game == "hard noise":
        game = NoisyLinear(0.8 / np.sqrt(T) * first, 0.4)
    elif config.game == "regression":
        game = LinearRegression(0.5 * first, 0.1)
    elif config.game.startswith("quadratic"):
        game = NoisyQuadratic(0.3 * first, float(config.game.split()[1]))
    else:
        noise = {"still": 0.0, "noise 0.1": 0.1, "noise 0.4": 0.4}[config.game]
        game = NoisyLinear(0.2 * first, noise)
    return learner(config.learner, game, gradient_bound=max(game.gradient_bound, 1.0)), game


def make_run(config: Config, seed: int) -> pd.DataFrame:
    return play(*build(config), config, seed)


def summarise(results: Results[Settings, Config]) -> Traces:
    return {
        (c.game, c.frequency, c.learner): trace(*build(c), c, results[c]) for c in results.configs
    }


def ratios(traces: Traces) -> dict[str, list[tuple[str, float]]]:
    """Final regret over that of OGD, or of strongly convex OGD, of each other learner by game."""
    table = {}
    for game in GAMES:

        def final(name: str, game: str = game) -> float:
            return float(traces[game, 0.0, name].mean()[-1])

        table[game] = [(name, final(name) / final(OGD)) for name in (MAIN, PLAIN, FTRL)]
        if curved(game):
            base = final(STRONG[OGD])
            table[game] += [(STRONG[n], final(STRONG[n]) / base) for n in (MAIN, FTRL)]
    return table


def draw(traces: Traces) -> Drawing:
    figure, axes = plt.subplots(1, 3, figsize=(14.5, 5), width_ratios=[1, 1, 1.15])
    for name in LEARNERS:
        traces["alternating", 0.0, name].plot(axes[0], bound=name == MAIN, label=name)
        runs = [traces["rotating", omega, name] for omega in FREQUENCIES]
        curve(axes[1], FREQUENCIES, runs, bound=name == MAIN, label=name)
    axes[0].set(title="alternating means")
    axes[1].set(title="rotating means", xlabel="frequency ω", ylabel="regret after T rounds")
    axes[1].set_yscale("symlog", linthresh=10.0)
    colours = {MAIN: "C0", PLAIN: "C1", FTRL: "C2", STRONG[MAIN]: "C0", STRONG[FTRL]: "C2"}
    for row, values in enumerate(ratios(traces).values()):
        for name, ratio in values:
            strong = name in STRONG.values()
            axes[2].plot(ratio, row, "D" if strong else "o", color=colours[name], ms=6, alpha=0.85)
    axes[2].plot([], [], "kD", ms=6, label="strongly convex forms")
    axes[2].axvline(1.0, color="C3", lw=1)
    axes[2].set_yticks(range(len(GAMES)), labels=list(GAMES.values()))
    axes[2].set(xscale="log", xlabel="regret over that of OGD", title="left of 1 beats plain OGD")
    axes[2].invert_yaxis()
    axes[0].plot([], [], "--", color="C0", lw=1, label="bound of optimistic OMD")
    handles, labels = axes[0].get_legend_handles_labels()
    more, names = axes[2].get_legend_handles_labels()
    figure.legend(handles + more, labels + names, loc="outside lower center", ncols=6)
    return figure


def notes(traces: Traces) -> Sequence[str]:
    lines = []
    for game, values in ratios(traces).items():
        shown = ", ".join(f"{name} {ratio:.2g}" for name, ratio in values)
        lines.append(f"regret over that of OGD, {GAMES[game]}: {shown}")
    return lines


def all_of(traces: Traces, name: str) -> list[Trace]:
    return [t for (_, _, player), t in traces.items() if player == name]


EXPERIMENT = Experiment(
    name="price_of_optimism",
    summary="optimistic learners against plain ones where optimism hurts and where it helps",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(horizon=2000, n_replications=32),
        "standard": Settings(horizon=4000, n_replications=64),
        "paper": Settings(horizon=100_000, n_replications=200),
    },
)
FIGURE = Figure(
    name="price_of_optimism",
    title="The price of optimism",
    paper="Chen, Zhang, Tu, Zhao, Zhang, JMLR 2024; Sachs et al. 2022",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim(
            "Chen et al. 2024, convex and smooth",
            "optimistic OMD: mean regret is below its bound in all games",
            lambda traces: bounds_hold(all_of(traces, MAIN)),
        ),
        Claim(
            "Sachs et al. 2022, theorem 5",
            "optimistic FTRL: mean regret is below its bound in all games",
            lambda traces: bounds_hold(all_of(traces, FTRL)),
        ),
        Claim(
            "derived",
            "each run of both OMD meets its path-wise inequality, with and without optimism",
            lambda traces: inequalities_hold(all_of(traces, MAIN) + all_of(traces, PLAIN)),
        ),
        Claim(
            "the worst case of M_t = g_{t−1}",
            "alternating means: optimism has a price (regret without it is lower)",
            lambda traces: less_regret(
                traces["alternating", 0.0, PLAIN],
                traces["alternating", 0.0, MAIN],
                "regret without optimism minus regret with it",
            ),
        ),
        Claim(
            "Chen et al. 2024, small Σ",
            f"means that turn slowly, ω = {SLOW}: optimism pays (regret with it is lower)",
            lambda traces: less_regret(
                traces["rotating", SLOW, MAIN],
                traces["rotating", SLOW, PLAIN],
                "regret with optimism minus regret without it",
            ),
        ),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
