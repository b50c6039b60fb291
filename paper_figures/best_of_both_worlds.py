"""Tsallis-INF against Exp3 and UCB1 where losses are stochastic, corrupted, or adversarial.

Runs:    python paper_figures/best_of_both_worlds.py [--preset quick|standard|paper]
Shows:   regret against t of UCB1, Exp3 tuned for T, Tsallis-INF with both estimators, in three
         games: mean with 95 % band over replications, log-log; the bounds of Tsallis-INF and Exp3,
         dashed.
Games:   10 Bernoulli arms, one better by 0.1. No corruption: means are fixed. Some: in the first
         rounds the best arm looks worst, for a total change of √T. Full: the stochastically
         constrained adversary of Zimmert and Seldin, which moves all means between 0 and 1 at the
         same gap.
Claims:  Tsallis-INF's regret grows as ln t without corruption and under the constrained adversary,
         where UCB1's grows linearly; it stays below its bound everywhere; it ends below Exp3's.
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
    UCB1,
    BernoulliBandit,
    CorruptedBandit,
    Exp3,
    StochasticallyConstrainedAdversary,
    TsallisINF,
)
from fenchel.core import Environment, Learner, Trace, checks
from fenchel.experiments import (
    Claim,
    Experiment,
    Figure,
    Outcome,
    Results,
    at_least,
    bounds_hold,
    less_regret,
    main,
)
from fenchel.paper_figures import _traces
from fenchel.paper_figures._traces import logarithmic, traces_of

N_ARMS, GAP = 10, 0.1
LEARNERS: dict[str, Callable[[int], Learner]] = {
    "UCB1": UCB1,
    "Exp3": Exp3,
    "Tsallis-INF": TsallisINF,
    "Tsallis-INF, RV": lambda n_arms: TsallisINF(n_arms, estimator="RV"),
}
GAMES = {
    "none": "no corruption",
    "some": "corrupted by √T in all",
    "full": "constrained adversary",
}
OWN = "Zimmert, Seldin 2021"


@dataclass(frozen=True)
class Settings:
    """Rounds and replications of each game."""

    horizon: int
    n_replications: int
    n_seeds: int = 1

    def __post_init__(self) -> None:
        checks.integer(self.horizon, "horizon", minimum=1000)
        checks.integer(self.n_replications, "n_replications", minimum=2)


@dataclass(frozen=True)
class Config:
    """One learner in one game."""

    learner: str
    game: str
    horizon: int
    n_replications: int


Traces: TypeAlias = dict[tuple[str, str], Trace]  # (game, learner)


def cells(settings: Settings) -> list[Config]:
    return [
        Config(learner, game, settings.horizon, settings.n_replications)
        for game in GAMES
        for learner in LEARNERS
    ]


def build(config: Config) -> tuple[Learner, Environment]:
    means = 0.45 + GAP * (np.arange(N_ARMS) > 0)
    games: dict[str, Callable[[], Environment]] = {
        "none": lambda: BernoulliBandit(means),
        "some": lambda: CorruptedBandit(means, budget=config.horizon**0.5),
        "full": lambda: StochasticallyConstrainedAdversary(N_ARMS, gap=GAP),
    }
    return LEARNERS[config.learner](N_ARMS), games[config.game]()


def play(config: Config, seed: int) -> pd.DataFrame:
    return _traces.play(*build(config), config, seed, checkpoints=200)


def summarise(results: Results[Settings, Config]) -> Traces:
    traces = traces_of(results, build)
    return {(config.game, config.learner): trace for config, trace in traces.items()}


def draw(traces: Traces) -> Drawing:
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), sharey=True)
    for ax, (game, title) in zip(axes, GAMES.items(), strict=True):
        for learner in LEARNERS:
            trace = traces[game, learner]
            bounded = learner in ("Exp3", "Tsallis-INF")
            trace.plot(ax, label=learner, bound=bounded)
        ax.set(title=title, xlim=(30, None), ylim=(3, None), xscale="log", yscale="log")
    axes[1].set_ylabel("")
    axes[2].set_ylabel("")
    axes[0].plot([], [], "k--", lw=1, label="its bound")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def below_bound(traces: Traces) -> Outcome:
    return bounds_hold([traces[game, "Tsallis-INF"] for game in GAMES])


def ends_below(game: str, other: str) -> Claim[Traces]:
    def check(traces: Traces) -> Outcome:
        detail = f"mean final regret, Tsallis-INF less {other}"
        return less_regret(traces[game, "Tsallis-INF"], traces[game, other], detail)

    return Claim(OWN, f"{GAMES[game]}: Tsallis-INF ends below {other}", check)


def ucb1_is_linear(traces: Traces) -> Outcome:
    slope = traces["full", "UCB1"].slope()
    detail = "log-log slope in the last decade"
    return at_least(slope.value, slope.low, slope.high, 0.8, detail)


def notes(traces: Traces) -> list[str]:
    finals = {key: trace.mean()[-1] for key, trace in traces.items()}
    return [
        f"{title}, mean final regret: "
        + ", ".join(f"{learner} {finals[game, learner]:.0f}" for learner in LEARNERS)
        for game, title in GAMES.items()
    ]


EXPERIMENT = Experiment(
    name="best_of_both_worlds",
    summary="Tsallis-INF, Exp3 and UCB1 under no, some and full corruption",
    run=play,
    cells=cells,
    presets={
        "quick": Settings(horizon=20_000, n_replications=64),
        "standard": Settings(horizon=100_000, n_replications=256),
        "paper": Settings(horizon=1_000_000, n_replications=1024),
    },
)
FIGURE = Figure(
    name="best_of_both_worlds",
    title="One algorithm for stochastic and adversarial bandits",
    paper="Zimmert, Seldin. Tsallis-INF. JMLR 22, 2021",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim(OWN, "Tsallis-INF: mean regret below its bound 4√(Kt) + 1 in all games", below_bound),
        Claim(
            OWN,
            "no corruption: Tsallis-INF's regret grows as ln t",
            lambda traces: logarithmic(traces["none", "Tsallis-INF"]),
        ),
        Claim(
            OWN,
            "constrained adversary: Tsallis-INF's regret grows as ln t",
            lambda traces: logarithmic(traces["full", "Tsallis-INF"]),
        ),
        Claim(OWN, "constrained adversary: UCB1's regret grows linearly", ucb1_is_linear),
        *(ends_below(game, other) for game in GAMES for other in ("Exp3", "UCB1")),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
