"""What the dilated bonus is for: an end of the chain that was bad and becomes good.

Runs:    python paper_figures/dilated_bonus.py [--preset quick|standard|paper]
Shows:   regret against episodes on the chain whose last layer flips after K/4 episodes, for the
         bonus β as a multiple of the learning rate; mean with 95 % band. Practical tuning of η, γ.
Games:   `chain` and `chain_flip` with H = 6, one-hot features, exact covariance. Regret is against
         the best fixed policy: a learner that follows the flip can have negative regret.
Claims:  the bonus lowers the regret of both √K algorithms; on one-hot features the
         magnitude-reduced estimator is the plain one, to rounding. The paper has no experiments.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.core import Trace, run
from fenchel.experiments import (
    Claim,
    Experiment,
    Figure,
    Outcome,
    Results,
    at_most,
    less_regret,
    main,
)
from fenchel.mdp import (
    AdversarialMDP,
    DilatedBonusPolicyOptimization,
    LogBarrierPolicyOptimization,
    MagnitudeReducedPolicyOptimization,
    chain,
    chain_flip,
)
from fenchel.mdp.adversarial.policy_optimization import PolicyOptimization

H = 6
BARRIER, REDUCED, PLAIN = "A log-barrier", "B magnitude-reduced", "plain estimator, tuned as B"
FACTORS = (0.0, 0.05, 0.5, 2.0)  # β/η
USUAL = 0.05


@dataclass(frozen=True)
class Settings:
    """One horizon."""

    horizon: int
    n_replications: int
    n_seeds: int = 1


@dataclass(frozen=True)
class Config:
    """One learner and one bonus."""

    learner: str
    factor: float
    horizon: int
    n_replications: int


Traces: TypeAlias = dict[tuple[str, float], Trace]


def cells(settings: Settings) -> list[Config]:
    size = settings.horizon, settings.n_replications
    both = [Config(name, x, *size) for name in (BARRIER, REDUCED) for x in FACTORS]
    return [*both, Config(PLAIN, USUAL, *size)]


def build(config: Config) -> PolicyOptimization:
    model, K = chain(H), config.horizon
    if config.learner == BARRIER:
        eta = LogBarrierPolicyOptimization(model).tune(K).learning_rate
        return LogBarrierPolicyOptimization(model, bonus_scale=config.factor * eta)
    tuned = MagnitudeReducedPolicyOptimization(model).tune(K)
    kind = (
        MagnitudeReducedPolicyOptimization
        if config.learner == REDUCED
        else DilatedBonusPolicyOptimization
    )
    return kind(
        model,
        learning_rate=tuned.learning_rate,
        bonus_scale=config.factor * tuned.learning_rate,
        regularization=tuned.regularization,
    )


def make_run(config: Config, seed: int) -> pd.DataFrame:
    learner = build(config)
    game = AdversarialMDP(chain(H), chain_flip(H, config.horizon))
    evenly = np.linspace(1, config.horizon, 101).round().astype(int)
    return run(
        learner,
        game,
        config.horizon,
        n_replications=config.n_replications,
        seed=seed,
        checkpoints=evenly.tolist(),
    ).to_frame()


def summarise(results: Results[Settings, Config]) -> Traces:
    return {(c.learner, c.factor): Trace.from_frames(results[c]) for c in results.configs}


def draw(traces: Traces) -> Drawing:
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True)
    for ax, name in zip(axes, (BARRIER, REDUCED), strict=True):
        for factor in FACTORS:
            label = "no bonus" if factor == 0 else f"β = {factor:g} η"
            traces[name, factor].plot(ax, label=label)
        ax.set(xscale="linear", yscale="linear", xlabel="episodes", ylabel="", title=name)
        ax.axvline(traces[name, 0.0].rounds[-1] / 4, color="0.5", ls=":", lw=1)
        ax.axhline(0.0, color="0.5", lw=0.8)
        ax.set_xlim(0, traces[name, 0.0].rounds[-1])
        ax.locator_params(axis="x", nbins=5)
    axes[0].plot([], [], ":", color="0.5", lw=1, label="the losses flip")
    axes[0].set_ylabel("regret")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def bonus_helps(name: str) -> Claim[Traces]:
    return Claim(
        "Luo, Wei, Lee 2021; Dai et al. 2023: dilated bonus",
        f"{name}: the bonus β = {USUAL} η lowers the regret",
        lambda traces: less_regret(
            traces[name, USUAL], traces[name, 0.0], "difference of mean final regrets"
        ),
    )


def same_on_one_hot(traces: Traces) -> Outcome:
    gap = np.abs(traces[REDUCED, USUAL].regret - traces[PLAIN, USUAL].regret).max()
    return at_most(gap, gap, gap, 1e-6, "largest difference of regrets of the same seeds")


def notes(traces: Traces) -> Sequence[str]:
    return [
        f"{name}, final regret: "
        + ", ".join(f"β = {x:g} η {traces[name, x].mean()[-1]:.4g}" for x in FACTORS)
        for name in (BARRIER, REDUCED)
    ]


EXPERIMENT = Experiment(
    name="dilated_bonus",
    summary="policy optimisation with and without bonus on the chain that flips",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(horizon=2**14, n_replications=16),
        "standard": Settings(horizon=2**16, n_replications=32),
        "paper": Settings(horizon=2**20, n_replications=64),
    },
)
FIGURE = Figure(
    name="dilated_bonus",
    title="What the dilated bonus is for",
    paper="Luo, Wei, Lee, NeurIPS 2021; Dai, Luo, Wei, Zimmert, ICML 2023",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        bonus_helps(BARRIER),
        bonus_helps(REDUCED),
        Claim(
            "Dai et al. 2023: on one-hot features x >= 0",
            "on one-hot features the magnitude-reduced estimator is the plain one",
            same_on_one_hot,
        ),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
