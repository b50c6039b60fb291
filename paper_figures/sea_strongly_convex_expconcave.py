"""Curved losses in the SEA model: logarithmic regret, for the paper's constants and for others.

Runs:    python paper_figures/sea_strongly_convex_expconcave.py [--preset quick|standard|paper]
Shows:   top left, regret against t for strongly convex losses with noise; top right, the same when
         the noise stops after T/64 rounds: the bound of strongly convex OMD (dashed) stops with it,
         that of optimistic FTL goes on as ln T; bottom left, final regret against σ and against the
         movement Σ of alternating means; bottom right, exp-concave losses.
Games:   ½ ‖x − μ_t − ξ_t‖² on the unit ball of ℝ⁵, μ = 0.3 e_1 or alternating ± (Σ/2) e_1;
         exp-concave: ½ ((x − c − ξ_t)_1² + (x − c − ξ_t)_2²), which is not strongly convex.
Claims:  bounds and path-wise inequalities hold; regret of strongly convex OMD and of optimistic ONS
         grows as ln t; the former in proportion to σ², and stops with the noise; optimistic ONS
         beats convex optimistic OMD.
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
from fenchel.bandits.sea import FixedHessianQuadratic, NoisyQuadratic, SEAInstance, alternating
from fenchel.core import Trace
from fenchel.experiments import (
    Claim,
    Experiment,
    Figure,
    Outcome,
    Results,
    at_most,
    bounds_hold,
    inequalities_hold,
    less_regret,
    main,
    within,
)
from fenchel.paper_figures._sea import learner
from fenchel.paper_figures._traces import curve, levels, logarithmic, play, power, trace

DIM = 5
SIGMA = 0.5
LEVELS = (0.1, 0.2, 0.4, 0.8)
CURVED = ("strongly convex OMD", "optimistic FTL", "strongly convex OGD")
CONCAVE = ("optimistic ONS", "optimistic ONS, β = 4α", "ONS", "optimistic OMD", "OGD")
PAPER = "Chen et al. 2024"


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
    level: float
    horizon: int
    n_replications: int


Traces: TypeAlias = dict[tuple[str, str, float], Trace]  # game, learner, level


def cells(settings: Settings) -> list[Config]:
    size = (settings.horizon, settings.n_replications)
    points = [(name, game, SIGMA) for game in ("noisy", "stops") for name in CURVED]
    points += [(name, game, v) for game in ("σ", "Σ") for name in CURVED for v in LEVELS]
    points += [(name, "exp-concave", SIGMA) for name in CONCAVE]
    return [Config(*point, *size) for point in points]


def build(config: Config) -> tuple[GradientLearner, SEAInstance]:
    T, level = config.horizon, config.level
    mean = np.zeros(DIM)
    mean[0] = 0.3
    game: SEAInstance
    if config.game == "exp-concave":
        game = FixedHessianQuadratic(mean, level, hessian=np.diag([1.0, 1.0, 0.0, 0.0, 0.0]))
    elif config.game == "stops":
        game = NoisyQuadratic(mean, np.where(np.arange(T) < T // 64, level, 0.0))
    elif config.game == "Σ":
        game = NoisyQuadratic(alternating(T, DIM, amplitude=level / 2), 0.0)
    else:
        game = NoisyQuadratic(mean, level)
    return learner(config.learner, game), game


def make_run(config: Config, seed: int) -> pd.DataFrame:
    return play(*build(config), config, seed)


def summarise(results: Results[Settings, Config]) -> Traces:
    return {(c.game, c.learner, c.level): trace(*build(c), c, results[c]) for c in results.configs}


def draw(traces: Traces) -> Drawing:
    figure, axes = plt.subplots(2, 2, figsize=(11, 8.4))
    titles = {
        "noisy": f"strongly convex, σ = {SIGMA} (dashed: bounds)",
        "stops": "the noise stops after T/64 rounds",
    }
    for ax, (game, title) in zip(axes[0], titles.items(), strict=True):
        for name in CURVED:
            traces[game, name, SIGMA].plot(ax, bound=name != CURVED[-1], label=name)
        ax.set(title=title, ylabel="regret")
        ax.legend(loc="lower right")
    ax = axes[1, 0]
    for i, name in enumerate(CURVED):
        for game, style in (("σ", "-"), ("Σ", ":")):
            runs = [traces[game, name, v] for v in LEVELS]
            curve(ax, LEVELS, runs, bound=False, color=f"C{i}", ls=style)
    levels(ax, LEVELS)
    ax.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower right")
    horizon = traces["noisy", CURVED[0], SIGMA].rounds[-1]
    ax.set(yscale="log", xlabel="σ (solid) or Σ (dotted)", title=f"T = {horizon}")
    ax.set_ylabel("regret after T rounds")
    ax = axes[1, 1]
    for name in CONCAVE:
        traces["exp-concave", name, SIGMA].plot(ax, bound=name == CONCAVE[0], label=name)
    ax.set(title=f"exp-concave, σ = {SIGMA} (dashed: bound of optimistic ONS)", ylabel="")
    ax.set_ylim(top=1e6)
    ax.legend(loc="upper left", ncols=2)
    return figure


def runs_of(traces: Traces, name: str) -> list[Trace]:
    return [t for (_, player, _), t in traces.items() if player == name]


def bound_and_inequality(name: str, paper: str) -> list[Claim[Traces]]:
    return [
        Claim(
            paper,
            f"{name}: mean regret below the bound in all games",
            lambda traces: bounds_hold(runs_of(traces, name)),
        ),
        Claim(
            f"{paper}; derived" if PAPER in paper else paper,
            f"{name}: each run meets its path-wise inequality",
            lambda traces: inequalities_hold(runs_of(traces, name)),
        ),
    ]


def quadratic_in_noise(traces: Traces) -> Outcome:
    slope = power(LEVELS, [traces["σ", CURVED[0], v] for v in LEVELS], since=1 / 16)
    detail = "log-log slope over a factor of 8, for the regret added after T/16"
    return within(slope.value, slope.low, slope.high, 1.7, 2.3, detail)


def stops_with_noise(traces: Traces) -> Outcome:
    """Regret added in the last three quarters of the (logarithmic) time after the noise."""
    run = traces["stops", CURVED[0], SIGMA]
    start = int(np.searchsorted(run.rounds, run.rounds[-1] / 8))
    growth = run.estimate(lambda curves: curves[..., -1] / curves[..., start] - 1)
    detail = "share of regret added between T/8 and T; the noise stops at T/64"
    return at_most(growth.value, growth.low, growth.high, 0.05, detail)


def notes(traces: Traces) -> Sequence[str]:
    def final(game: str, name: str) -> float:
        return float(traces[game, name, SIGMA].mean()[-1])

    lines = []
    for game, names in (("noisy", CURVED), ("exp-concave", CONCAVE)):
        values = ", ".join(f"{name} {final(game, name):.3g}" for name in names)
        lines.append(f"final regret, {game} game with σ = {SIGMA}: {values}")
    return lines


EXPERIMENT = Experiment(
    name="sea_strongly_convex_expconcave",
    summary="learners for strongly convex and for exp-concave losses",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(horizon=2048, n_replications=32),
        "standard": Settings(horizon=8192, n_replications=64),
        "paper": Settings(horizon=131_072, n_replications=200),
    },
)
FIGURE = Figure(
    name="sea_strongly_convex_expconcave",
    title="Curved losses in the SEA model: logarithmic regret",
    paper="Chen, Zhang, Tu, Zhao, Zhang, JMLR 2024; Sachs et al. 2022",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        *bound_and_inequality(CURVED[0], f"{PAPER}, strongly convex"),
        *bound_and_inequality(CURVED[1], "Sachs et al. 2022, theorem 7"),
        *bound_and_inequality(CONCAVE[0], f"{PAPER}, exp-concave"),
        Claim(
            f"{PAPER}, strongly convex",
            "strongly convex OMD: regret grows as ln t under noise (constant slope, ratio 1)",
            lambda traces: logarithmic(traces["noisy", CURVED[0], SIGMA]),
        ),
        Claim(
            f"{PAPER}, strongly convex",
            "strongly convex OMD: regret grows in proportion to σ² (slope 2 ± 0.3)",
            quadratic_in_noise,
        ),
        Claim(
            f"{PAPER}, strongly convex",
            "strongly convex OMD: regret depends on ln(σ² + Σ²), not on ln T: it stops with the "
            "noise",
            stops_with_noise,
        ),
        Claim(
            f"{PAPER}, exp-concave",
            "optimistic ONS: regret grows as ln t under noise (constant slope, ratio 1)",
            lambda traces: logarithmic(traces["exp-concave", CONCAVE[0], SIGMA]),
        ),
        Claim(
            f"{PAPER}, exp-concave",
            "optimistic ONS with the theory's β has less regret than convex optimistic OMD",
            lambda traces: less_regret(
                traces["exp-concave", CONCAVE[0], SIGMA],
                traces["exp-concave", "optimistic OMD", SIGMA],
                "difference of mean final regrets",
            ),
        ),
        Claim(
            f"{PAPER}, exp-concave, with a practical constant",
            "optimistic ONS with β = 4α has less regret than convex optimistic OMD",
            lambda traces: less_regret(
                traces["exp-concave", CONCAVE[1], SIGMA],
                traces["exp-concave", "optimistic OMD", SIGMA],
                "difference of mean final regrets",
            ),
        ),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
