"""What the SEA model contains: eight settings, one bound (corollaries of Chen et al. 2024).

Runs:    python paper_figures/sea_corollaries.py [--preset quick|standard|paper]
Shows:   final regret of convex optimistic OMD and of OGD in eight settings, each against what makes
         it easy or hard, and the bound of optimistic OMD (dashed). Static regret of a learner that
         follows moving means can be negative; those axes are linear around 0.
Games:   linear losses on the unit ball of ℝ⁵ (1, 3, 5, 6, 7) and least squares over a finite family
         (2, 4, 8): 1 adversarial, alternating means; 2 i.i.d.; 3 i.i.d. with C corrupted rounds;
         4 random order, one pass over n losses; 5 means that drift in a random walk with steps √ε;
         6 means that switch c times; 7 means that rotate by ω a round about an offset;
         8 mini-batches of K losses.
Claims:  the bound holds in each setting, each run meets the path-wise inequality, and the regret
         grows as √V_T, and no faster than T^−½ (a round), √C and 1/√K.
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
    LeastSquares,
    NoisyLinear,
    RandomOrder,
    SEAInstance,
    alternating,
    corrupted,
    drifting,
    rotating,
    switching,
)
from fenchel.core import Trace
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
from fenchel.experiments.records import number
from fenchel.paper_figures._sea import learner
from fenchel.paper_figures._traces import curve, levels, play, power, trace

DIM = 5
MAIN, RIVAL = "optimistic OMD", "OGD"
SHARES = (0.0625, 0.125, 0.25, 0.5, 1.0)  # of the longest horizon
SETTINGS = {  # name: (title, label of x, values of x)
    "adversarial": ("1 adversarial", "Σ of a round", (0.05, 0.1, 0.2, 0.4, 0.8)),
    "stochastic": ("2 i.i.d.", "T", SHARES),
    "corrupted": ("3 corrupted", "share of corrupted rounds", (0.01, 0.02, 0.04, 0.08, 0.16)),
    "order": ("4 random order", "n = T", SHARES),
    "drifting": ("5 slow shift", "√ε", (0.003, 0.01, 0.03, 0.1, 0.3)),
    "switching": ("6 switching", "switches c", (1, 4, 16, 64, 256)),
    "rotating": ("7 rotating", "ω", (0.1, 0.3, 1.0, 2.0, 3.14)),
    "batches": ("8 mini-batches", "K", (1, 4, 16, 64)),
}
SIGNED = ("drifting", "switching", "rotating")  # regret can be negative
PAPER = "Chen et al. 2024, corollaries"


@dataclass(frozen=True)
class Settings:
    """Settings 2 and 4 are run at shares of `horizon`."""

    horizon: int
    n_replications: int
    n_seeds: int = 1


@dataclass(frozen=True)
class Config:
    """One learner in one game."""

    learner: str
    setting: str
    x: float
    horizon: int
    n_replications: int


Traces: TypeAlias = dict[tuple[str, str], list[Trace]]  # setting, learner: by x


def cells(settings: Settings) -> list[Config]:
    configs = []
    for setting, (_, _, values) in SETTINGS.items():
        for name in (MAIN, RIVAL):
            for x in values:
                T = settings.horizon
                if values is SHARES:
                    T = int(x * T)
                configs.append(Config(name, setting, float(x), T, settings.n_replications))
    return configs


def family(n: int) -> tuple[np.ndarray, np.ndarray]:
    """n features on the unit sphere and noisy targets of a point of norm ½; the same for each n."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((n, DIM))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features, 0.5 * features[:, 0] + 0.5 * rng.uniform(-1, 1, n)


def build(config: Config) -> tuple[GradientLearner, SEAInstance]:
    T, x, first = config.horizon, config.x, np.eye(DIM)[0]
    rng = np.random.default_rng(1)
    game: SEAInstance
    if config.setting == "adversarial":
        means = alternating(T, DIM, amplitude=x / 2) + 2 * x / np.sqrt(T) * first
        game = NoisyLinear(means, 0.0)
    elif config.setting == "corrupted":
        means = corrupted(0.2 * first, T, count=int(x * T), corruption=-0.8 * first)
        game = NoisyLinear(means, 0.1)
    elif config.setting == "drifting":
        game = NoisyLinear(drifting(T, DIM, step=x, rng=rng), 0.1)
    elif config.setting == "switching":
        game = NoisyLinear(switching(T, DIM, n_switches=int(x), rng=rng), 0.1)
    elif config.setting == "rotating":
        game = NoisyLinear(rotating(T, DIM, frequency=x, offset=0.1), 0.0)
    elif config.setting == "order":
        game = RandomOrder(*family(T))
    else:
        size = int(x) if config.setting == "batches" else 1
        game = LeastSquares(*family(50), batch_size=size)
    bound = max(game.gradient_bound, 1.5)  # one G for all games of a setting
    return learner(config.learner, game, gradient_bound=bound), game


def make_run(config: Config, seed: int) -> pd.DataFrame:
    return play(*build(config), config, seed)


def summarise(results: Results[Settings, Config]) -> Traces:
    traces: Traces = {}
    for c in results.configs:
        run = trace(*build(c), c, results[c])
        traces.setdefault((c.setting, c.learner), []).append(run)
    return traces


def difficulties(traces: Traces, setting: str) -> list[float]:
    """What the runs of a setting differ in: horizons for SHARES, else as they are listed."""
    values = SETTINGS[setting][2]
    return [t.rounds[-1] for t in traces[setting, MAIN]] if values is SHARES else list(values)


def draw(traces: Traces) -> Drawing:
    figure, axes = plt.subplots(2, 4, figsize=(14, 7))
    for ax, (setting, (title, label, _)) in zip(axes.ravel(), SETTINGS.items(), strict=True):
        x = difficulties(traces, setting)
        ax.set_yscale("symlog", linthresh=10.0) if setting in SIGNED else ax.set_yscale("log")
        for name in (MAIN, RIVAL):
            curve(ax, x, traces[setting, name], bound=name == MAIN, label=name)
        ax.set(title=title, xlabel=label)
        levels(ax, x)
    for ax in axes[:, 0]:
        ax.set_ylabel("regret after T rounds")
    axes[0, 0].plot([], [], "--", color="C0", lw=1, label="bound of optimistic OMD")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def bound_holds(setting: str) -> Claim[Traces]:
    statement = f"{SETTINGS[setting][0][2:]}: mean regret of optimistic OMD is below its bound"
    number = SETTINGS[setting][0][0]
    return Claim(
        f"{PAPER} ({number})", statement, lambda traces: bounds_hold(traces[setting, MAIN])
    )


def exponent(setting: str, statement: str, limits: tuple[float, float]) -> Claim[Traces]:
    def check(traces: Traces) -> Outcome:
        slope = power(SETTINGS[setting][2], traces[setting, MAIN])
        return within(slope.value, slope.low, slope.high, *limits, "log-log slope")

    return Claim(f"{PAPER} ({SETTINGS[setting][0][0]})", statement, check)


def notes(traces: Traces) -> Sequence[str]:
    lines = []
    for setting, (title, label, _) in SETTINGS.items():
        values = [
            f"{number(first.mean()[-1])} / {number(second.mean()[-1])}"
            for first, second in zip(traces[setting, MAIN], traces[setting, RIVAL], strict=True)
        ]
        at = ", ".join(f"{v:g}" for v in difficulties(traces, setting))
        lines.append(f"{title}, optimistic OMD / OGD at {label} = {at}: {', '.join(values)}")
    return lines


EXPERIMENT = Experiment(
    name="sea_corollaries",
    summary="optimistic OMD and OGD in the eight settings that the SEA model contains",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(horizon=1600, n_replications=32),
        "standard": Settings(horizon=6400, n_replications=64),
        "paper": Settings(horizon=102_400, n_replications=200),
    },
)
FIGURE = Figure(
    name="sea_corollaries",
    title="Eight settings between stochastic and adversarial, one bound",
    paper="Chen, Zhang, Tu, Zhao, Zhang, JMLR 2024; Sachs et al. 2022",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        *map(bound_holds, SETTINGS),
        Claim(
            f"{PAPER}; derived",
            "each run of optimistic OMD meets the path-wise inequality, all settings",
            lambda traces: inequalities_hold([t for s in SETTINGS for t in traces[s, MAIN]]),
        ),
        exponent(
            "adversarial", "adversarial: regret grows as √V_T (slope 1 ± 0.15 in Σ)", (0.85, 1.15)
        ),
        exponent(
            "stochastic",
            "i.i.d.: regret grows no faster than √T, so that the excess risk of the mean iterate "
            "falls as 1/√T (slope at most 0.65)",
            (-np.inf, 0.65),
        ),
        exponent(
            "corrupted",
            "corrupted: regret grows no faster than √C (slope at most 0.65)",
            (-np.inf, 0.65),
        ),
        exponent(
            "batches",
            "mini-batches: regret falls no slower than 1/√K (slope at most −0.35)",
            (-np.inf, -0.35),
        ),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
