"""The tail of the regret: Exp3 against Exp3-IX and Exp3.P.

Runs:    python paper_figures/high_probability.py [--preset quick|standard|paper]
Shows:   left, the share of runs whose regret after T rounds exceeds x, at the longest horizon, with
         the 95 % bounds of Exp3-IX and Exp3.P, dotted. Right, the standard deviation of the regret
         over runs against T, with 95 % bootstrap intervals.
Game:    two arms. In the first half of the game arm 0 has losses 0 and arm 1 is 1 with probability
         ¼; in the second half arm 0 has 1 and arm 1 has 0. Exp3 sometimes plays arm 1 late in the
         first half, at a tiny probability; the estimate of its loss is then so large that it comes
         back late or never.
Claims:  Exp3's regret spreads linearly in T, though its mean is below its bound; the 0.95-quantiles
         of Exp3-IX and Exp3.P are below theirs, and their spread grows more slowly.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.bandits import Exp3, Exp3IX, Exp3P, NonstationaryBandit
from fenchel.core import Environment, Learner, Trace, checks
from fenchel.core.checks import FloatArray
from fenchel.core.regret import least_squares_slope
from fenchel.experiments import (
    Claim,
    Experiment,
    Figure,
    Outcome,
    Results,
    at_least,
    at_most,
    bounds_hold,
    main,
)
from fenchel.paper_figures import _traces
from fenchel.paper_figures._traces import traces_of

LEARNERS: dict[str, Callable[[int], Learner]] = {"Exp3": Exp3, "Exp3-IX": Exp3IX, "Exp3.P": Exp3P}
COLOUR = {"Exp3": "C1", "Exp3-IX": "C0", "Exp3.P": "C2"}
BOOK, NEU = "Lattimore, Szepesvári 2020, chapters 11 and 12", "Neu 2015"


@dataclass(frozen=True)
class Settings:
    """Horizons 1000, 2000, 4000, ..."""

    n_horizons: int
    n_replications: int
    n_seeds: int = 1

    def __post_init__(self) -> None:
        checks.integer(self.n_horizons, "n_horizons", minimum=2)
        checks.integer(self.n_replications, "n_replications", minimum=2)


@dataclass(frozen=True)
class Config:
    """One learner at one horizon."""

    learner: str
    horizon: int
    n_replications: int


Traces: TypeAlias = dict[str, list[Trace]]  # by learner, horizons increasing


def cells(settings: Settings) -> list[Config]:
    return [
        Config(learner, 1000 * 2**j, settings.n_replications)
        for learner in LEARNERS
        for j in range(settings.n_horizons)
    ]


def build(config: Config) -> tuple[Learner, Environment]:
    half = config.horizon // 2
    means = np.zeros((config.horizon, 2))
    means[:half, 1], means[half:, 0] = 0.25, 1.0
    return LEARNERS[config.learner](2), NonstationaryBandit(means)


def play(config: Config, seed: int) -> pd.DataFrame:
    return _traces.play(*build(config), config, seed, checkpoints=[config.horizon])


def summarise(results: Results[Settings, Config]) -> Traces:
    traces: Traces = {}
    for config, trace in traces_of(results, build).items():
        traces.setdefault(config.learner, []).append(trace)
    return traces


def spreads(traces: Traces, name: str, n_resamples: int = 1000) -> tuple[FloatArray, FloatArray]:
    """Standard deviations of the final regret at each horizon (H,), and bootstrap ones (B, H)."""
    rng = np.random.default_rng(0)
    finals = [trace.regret[:, -1] for trace in traces[name]]
    resampled = [rng.choice(each, (n_resamples, len(each))).std(axis=1) for each in finals]
    return np.array([each.std() for each in finals]), np.array(resampled).T


def draw(traces: Traces) -> Drawing:
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2))
    for name, ends in traces.items():
        last, colour = ends[-1], COLOUR[name]
        order = np.sort(last.regret[:, -1])
        share = 1 - np.arange(len(order)) / len(order)
        axes[0].step(order, share, color=colour, label=name)
        if name != "Exp3" and last.guarantee is not None:
            axes[0].axvline(last.guarantee.bound(last.rounds[-1]), color=colour, ls=":")
        horizons = [trace.rounds[-1] for trace in ends]
        middle, resampled = spreads(traces, name)
        low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
        bars = [np.maximum(middle - low, 0), np.maximum(high - middle, 0)]
        axes[1].errorbar(horizons, middle, bars, fmt="o-", ms=4, capsize=3, color=colour)
    longest = next(iter(traces.values()))[-1].rounds[-1]
    axes[0].axhline(0.05, color="0.6", lw=0.8)  # where the bounds are to be compared
    axes[0].set(title=f"T = {longest:,}", xlabel="regret x", ylabel="share of runs above x")
    axes[0].set(yscale="log")
    axes[0].plot([], [], "k:", label="95 % bound")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    axes[1].set(title="spread of the regret", xlabel="horizon T", ylabel="standard deviation")
    axes[1].set(xscale="log", yscale="log")
    return figure


def spread_grows(name: str) -> Claim[Traces]:
    """As a power of T: at least 0.8 for Exp3, at most 0.75 for the others."""

    def check(traces: Traces) -> Outcome:
        logs = np.log([float(trace.rounds[-1]) for trace in traces[name]])
        middle, resampled = spreads(traces, name)
        slope = float(least_squares_slope(logs, np.log(middle)))
        low, high = np.quantile(least_squares_slope(logs, np.log(resampled)), [0.025, 0.975])
        ends = min(low, slope), max(high, slope)
        detail = "log-log slope of the standard deviation over horizons"
        if name == "Exp3":
            return at_least(slope, *ends, 0.8, detail)
        return at_most(slope, *ends, 0.75, detail)

    how = "as T, at least (slope above 0.8)" if name == "Exp3" else "more slowly (slope below 0.75)"
    return Claim(BOOK, f"{name}: the spread of the regret grows {how}", check)


def mean_is_below(traces: Traces) -> Outcome:
    return bounds_hold(traces["Exp3"])


def holds(name: str) -> Claim[Traces]:
    def check(traces: Traces) -> Outcome:
        return bounds_hold(traces[name])

    paper = NEU if name == "Exp3-IX" else "Bubeck, Cesa-Bianchi 2012"
    return Claim(paper, f"{name}: the 0.95-quantile of the regret is below its bound", check)


def notes(traces: Traces) -> list[str]:
    lines = []
    for name, ends in traces.items():
        final, horizon = ends[-1].regret[:, -1], ends[-1].rounds[-1]
        far = (final > horizon / 20).mean()
        lines.append(
            f"{name}, T = {horizon:,}: mean {final.mean():.0f}, standard deviation "
            f"{final.std():.0f}, greatest {final.max():.0f}; {100 * far:.1f} % of runs above T/20"
        )
    return lines


EXPERIMENT = Experiment(
    name="high_probability",
    summary="the tail of the regret of Exp3, Exp3-IX and Exp3.P",
    run=play,
    cells=cells,
    presets={
        "quick": Settings(n_horizons=5, n_replications=1000),
        "standard": Settings(n_horizons=7, n_replications=1000),
        "paper": Settings(n_horizons=8, n_replications=10_000),
    },
)
FIGURE = Figure(
    name="high_probability",
    title="The tail of the regret of Exp3, and of algorithms with high-probability bounds",
    paper="Neu 2015; Bubeck, Cesa-Bianchi 2012; Lattimore, Szepesvári 2020",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        *map(spread_grows, LEARNERS),
        Claim(BOOK, "Exp3: its mean regret is below its bound all the same", mean_is_below),
        *map(holds, ("Exp3-IX", "Exp3.P")),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
