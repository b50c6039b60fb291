"""Adversarial bandit algorithms on three games, each against its own bound.

Runs:    python paper_figures/adversarial_bandits.py [--preset quick|standard|paper]
Shows:   regret after T rounds of Exp3, Exp3-IX, Tsallis-INF and log-barrier FTRL, tuned for T where
         they need it, against T: mean with 95 % band over replications, log-log, and the bound
         (dashed) in the same colour.
Games:   stochastic: K Bernoulli arms, one better by a fixed gap. Constrained: the stochastically
         constrained adversary of Zimmert and Seldin with the gap 2√(K/T) that is hard at horizon T.
         Switch: arm 0 is better by that gap for T/2 rounds, then arm 1 by twice as much.
Claims:  each bound holds at each checkpoint of each run; regret grows as √T on the constrained
         adversary; Tsallis-INF's grows as ln T on the stochastic game.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.bandits import (
    AdversarialBandit,
    BernoulliBandit,
    Exp3,
    Exp3IX,
    LogBarrierFTRL,
    StochasticallyConstrainedAdversary,
    TsallisINF,
)
from fenchel.core import Environment, Learner, Trace, checks, run
from fenchel.core.regret import growth_exponent
from fenchel.experiments import (
    Claim,
    Experiment,
    Figure,
    Outcome,
    Results,
    bounds_hold,
    main,
    within,
)
from fenchel.paper_figures._traces import logarithmic

LEARNERS: dict[str, Callable[[int], Learner]] = {
    "Exp3": Exp3,
    "Exp3-IX": Exp3IX,
    "Tsallis-INF": TsallisINF,
    "log-barrier FTRL": LogBarrierFTRL,
}
GAMES = {
    "stochastic": "stochastic: gap ¼",
    "constrained": "constrained adversary: gap 2√(K/T)",
    "switch": "the best arm switches: gap 2√(K/T)",
}
GAP = 0.25  # of the stochastic game: learnt in some K/GAP² rounds, far below the longest horizon

Traces: TypeAlias = dict[tuple[str, str], list[Trace]]  # (game, learner): horizons increasing


@dataclass(frozen=True)
class Settings:
    """Horizons 1000, 2000, 4000, ..."""

    n_horizons: int
    n_replications: int
    n_seeds: int = 1
    n_arms: int = 10

    def __post_init__(self) -> None:
        for name in ("n_horizons", "n_replications", "n_arms"):
            checks.integer(getattr(self, name), name, minimum=2)
        if self.n_arms > 15:
            raise ValueError(f"n_arms must be at most 15 for losses >= 0, got {self.n_arms}")


@dataclass(frozen=True)
class Config:
    """One learner in one game."""

    learner: str
    game: str
    horizon: int
    n_arms: int
    n_replications: int


def cells(settings: Settings) -> list[Config]:
    return [
        Config(learner, game, 1000 * 2**j, settings.n_arms, settings.n_replications)
        for game in GAMES
        for learner in LEARNERS
        for j in range(settings.n_horizons)
    ]


def build(config: Config) -> tuple[Learner, Environment]:
    n_arms, horizon = config.n_arms, config.horizon
    hard = 2 * np.sqrt(n_arms / horizon)
    game: Environment
    if config.game == "stochastic":
        game = BernoulliBandit(0.5 + GAP * (np.arange(n_arms) > 0) - GAP / 2)
    elif config.game == "constrained":
        game = StochasticallyConstrainedAdversary(n_arms, gap=hard)
    else:
        losses = np.full((horizon, n_arms), 0.5)
        losses[: horizon // 2, 0] -= hard
        losses[horizon // 2 :, 1] -= 2 * hard
        game = AdversarialBandit(losses)
    return LEARNERS[config.learner](n_arms), game


def play(config: Config, seed: int) -> pd.DataFrame:
    learner, game = build(config)
    n = config.n_replications
    return run(learner, game, config.horizon, n_replications=n, seed=seed).to_frame()


def summarise(results: Results[Settings, Config]) -> Traces:
    traces: Traces = {}
    for config in results.configs:
        learner, game = build(config)
        learner.reset(1, config.horizon, np.random.default_rng())  # its bound is that of a horizon
        trace = Trace.from_frames(results[config], guarantee=learner.guarantee(game))
        traces.setdefault((config.game, config.learner), []).append(trace)
    return traces


def draw(traces: Traces) -> Drawing:
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), sharey=True)
    for ax, (game, title) in zip(axes, GAMES.items(), strict=True):
        for learner in LEARNERS:
            ends = traces[game, learner]
            horizons = [trace.rounds[-1] for trace in ends]
            low, high = np.array([np.stack(trace.interval())[:, -1] for trace in ends]).T
            (line,) = ax.plot(horizons, [t.mean()[-1] for t in ends], "o-", ms=3, label=learner)
            ax.fill_between(horizons, low, high, color=line.get_color(), alpha=0.25, lw=0)
            bounds = [t.guarantee.bound(t.rounds[-1]) for t in ends if t.guarantee]
            ax.plot(horizons, bounds, "--", color=line.get_color(), lw=1)
        ax.set(title=title, xscale="log", yscale="log", xlabel="horizon T")
    axes[0].set_ylabel("regret after T rounds")
    axes[0].plot([], [], "k--", lw=1, label="its bound")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def proof(learner: str) -> str:
    guarantee = LEARNERS[learner](2).guarantee(BernoulliBandit([0.0, 1.0]))
    return guarantee.reference if guarantee else ""


def bound_holds(learner: str) -> Claim[Traces]:
    def check(traces: Traces) -> Outcome:
        runs = [trace for game in GAMES for trace in traces[game, learner]]
        return bounds_hold(runs)

    kind = "0.95-quantile of the regret" if learner == "Exp3-IX" else "mean regret"
    return Claim(proof(learner), f"{learner}: {kind} below the bound in all games", check)


def grows_as_root(learner: str) -> Claim[Traces]:
    def check(traces: Traces) -> Outcome:
        slope = growth_exponent(traces["constrained", learner])
        return within(slope.value, slope.low, slope.high, 0.4, 0.6, "log-log slope over horizons")

    statement = f"{learner}: regret grows as √T on the constrained adversary (slope 0.5 ± 0.1)"
    return Claim(proof(learner), statement, check)


EXPERIMENT = Experiment(
    name="adversarial_bandits",
    summary="Exp3, Exp3-IX, Tsallis-INF, log-barrier FTRL in three games at growing horizons",
    run=play,
    cells=cells,
    presets={
        "quick": Settings(n_horizons=6, n_replications=128),
        "standard": Settings(n_horizons=10, n_replications=256),
        "paper": Settings(n_horizons=12, n_replications=256, n_seeds=4),
    },
)
FIGURE = Figure(
    name="adversarial_bandits",
    title="Regret of adversarial bandit algorithms and their bounds",
    paper="Auer et al. 2002; Neu 2015; Zimmert, Seldin 2021; Foster et al. 2016",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        *map(bound_holds, LEARNERS),
        *map(grows_as_root, LEARNERS),
        Claim(
            proof("Tsallis-INF"),
            "Tsallis-INF: regret grows as ln T on the stochastic game (constant slope, ratio 1)",
            lambda traces: logarithmic(traces["stochastic", "Tsallis-INF"][-1]),
        ),
    ],
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
