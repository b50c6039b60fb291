"""Dynamic regret: a two-layer ensemble on drifting linear regression.

Runs:    python paper_figures/sea_dynamic.py [--preset quick|standard|paper]
Shows:   left, dynamic regret Σ F_t(x_t) − F_t(w_t) against t on ten stages; right, final dynamic
         regret against the number of stages, with the bounds of the two-layer ensemble and of Ader
         (dashed).
Games:   PyNOL's benchmark: ½ (⟨φ, x⟩ − y)², φ uniform in the unit ball of ℝ¹⁰, y = ⟨φ, w_t⟩ + ε,
         w_t drawn anew in each stage (uniform direction and length). Its Huber loss has threshold
         2, which residuals hardly reach; its Gaussian noise of deviation 0.05 is uniform here, so
         that gradients are bounded.
Claims:  bounds and path-wise inequality hold; the ensemble beats OGD and Ader on ten stages.
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
from fenchel.bandits.sea import LinearRegression, SEAInstance, switching
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
from fenchel.paper_figures._traces import curve, levels, play, trace

DIM, STAGES, NOISE = 10, 10, 0.05 * np.sqrt(3)
MAIN, PYNOL, ADER, OGD = "two-layer OMD", "Sword++ (PyNOL)", "Ader", "OGD"
LEARNERS = (MAIN, PYNOL, ADER, OGD)
COUNTS = (1, 3, 10, 30, 100)  # of stages


@dataclass(frozen=True)
class Settings:
    """All numbers of stages at one horizon."""

    horizon: int
    n_replications: int
    n_seeds: int = 1


@dataclass(frozen=True)
class Config:
    """One learner in one game."""

    learner: str
    stages: int
    horizon: int
    n_replications: int


Traces: TypeAlias = dict[tuple[str, int], Trace]


def cells(settings: Settings) -> list[Config]:
    size = (settings.horizon, settings.n_replications)
    return [Config(name, stages, *size) for name in LEARNERS for stages in COUNTS]


def build(config: Config) -> tuple[GradientLearner, SEAInstance]:
    rng = np.random.default_rng(42)
    T, stages = config.horizon, config.stages
    parameters = switching(T, DIM, n_switches=stages - 1, rng=rng, amplitude=1.0)
    parameters = parameters * rng.random(stages)[np.arange(T) * stages // T, None]
    game = LinearRegression(parameters, NOISE).against("minimizers")
    return learner(config.learner, game), game


def make_run(config: Config, seed: int) -> pd.DataFrame:
    evenly = np.linspace(1, config.horizon, 101).round().astype(int)
    return play(*build(config), config, seed, checkpoints=evenly.tolist())


def summarise(results: Results[Settings, Config]) -> Traces:
    return {(c.learner, c.stages): trace(*build(c), c, results[c]) for c in results.configs}


def draw(traces: Traces) -> Drawing:
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.6))
    for name in LEARNERS:
        traces[name, STAGES].plot(axes[0], bound=False, label=name)
        runs = [traces[name, stages] for stages in COUNTS]
        curve(axes[1], COUNTS, runs, bound=name in (MAIN, ADER), label=name)
    axes[0].set(xscale="linear", yscale="linear", ylabel="dynamic regret")
    axes[0].set_title(f"{STAGES} stages")
    axes[0].set_xlim(0, traces[MAIN, STAGES].rounds[-1])
    axes[0].set_ylim(bottom=0)
    axes[0].locator_params(axis="x", nbins=5)
    levels(axes[1], COUNTS)
    horizon = traces[MAIN, STAGES].rounds[-1]
    axes[1].set(yscale="log", xlabel="stages", title=f"T = {horizon}")
    axes[1].set_ylabel("dynamic regret after T rounds")
    axes[0].plot([], [], "k--", lw=1, label="bound")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def all_of(traces: Traces, name: str) -> list[Trace]:
    return [traces[name, stages] for stages in COUNTS]


def beats(rival: str) -> Claim[Traces]:
    return Claim(
        "Zhao et al. 2024; Chen et al. 2024, dynamic regret",
        f"on {STAGES} stages two-layer OMD has less dynamic regret than {rival}",
        lambda traces: less_regret(
            traces[MAIN, STAGES], traces[rival, STAGES], "difference of mean final regrets"
        ),
    )


def notes(traces: Traces) -> Sequence[str]:
    lines = []
    for stages in COUNTS:
        values = ", ".join(f"{name} {traces[name, stages].mean()[-1]:.3g}" for name in LEARNERS)
        lines.append(f"final dynamic regret, stages = {stages}: {values}")
    return lines


EXPERIMENT = Experiment(
    name="sea_dynamic",
    summary="two-layer ensembles and OGD on linear regression whose parameter switches",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(horizon=4000, n_replications=16),
        "standard": Settings(horizon=20_000, n_replications=16),
        "paper": Settings(horizon=100_000, n_replications=64),
    },
)
FIGURE = Figure(
    name="sea_dynamic",
    title="Dynamic regret of two-layer ensembles on drifting linear regression",
    paper="Zhao, Zhang, Zhang, Zhou, JMLR 2024; Chen et al. 2024; Zhang, Lu, Zhou 2018",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim(
            "Chen et al. 2024, dynamic regret; constants derived",
            "two-layer OMD: mean dynamic regret is below its bound for all numbers of stages",
            lambda traces: bounds_hold(all_of(traces, MAIN)),
        ),
        Claim(
            "derived",
            "two-layer OMD: each run meets its path-wise inequality",
            lambda traces: inequalities_hold(all_of(traces, MAIN)),
        ),
        Claim(
            "Zhang, Lu, Zhou 2018; constants derived",
            "Ader: mean dynamic regret is below its bound for all numbers of stages",
            lambda traces: bounds_hold(all_of(traces, ADER)),
        ),
        beats(OGD),
        beats(ADER),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
