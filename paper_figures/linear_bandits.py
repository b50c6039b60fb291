"""Linear bandits: regret against the dimension, and what optimism costs against an adversary.

Runs:    python paper_figures/linear_bandits.py [--preset quick|standard|paper]
Shows:   left, regret after T rounds of a stochastic game against d: OFUL (LinUCB), linear Thompson
         sampling with v = σ, and Exp2 with a G-optimal design. Middle, Exp2 against an adversary,
         with its bound, dashed. Right, regret against t in that game for d = 4. Means with 95 %
         bands over replications.
Games:   64 arms with random unit features in ℝᵈ and a random unit θ, the same for all replications.
         Stochastic: noise of deviation ½. Adversarial: no noise; ±θ are arms, and θ_t is −θ for a
         third of the game, then θ.
Claims:  Exp2's regret grows as √d, as its bound √(d T ln K); OFUL's faster, as d in its bound d √T
         (here even faster, as the gaps of random arms shrink with d while T is far from the worst
         case); each is below its bound; Thompson sampling ends below OFUL; against the adversary
         both end above Exp2.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.bandits.linear import OFUL, AdversarialLinearBandit, Exp2, LinearBandit, LinTS
from fenchel.core import Environment, Learner, Trace, checks
from fenchel.core.checks import FloatArray
from fenchel.experiments import (
    Claim,
    Experiment,
    Figure,
    Outcome,
    Results,
    bounds_hold,
    less_regret,
    main,
    within,
)
from fenchel.paper_figures import _traces
from fenchel.paper_figures._traces import curve, levels, power, traces_of

N_ARMS, NOISE, SHOWN = 64, 0.5, 4  # SHOWN: the dimension on the right
STOCHASTIC, ADVERSARIAL = "stochastic", "adversarial"
OPTIMISM, THOMPSON, WEIGHTS = "OFUL", "linear Thompson sampling", "Exp2"
LEARNERS: dict[str, Callable[[FloatArray], Learner]] = {
    OPTIMISM: lambda features: OFUL(features, noise=NOISE),
    THOMPSON: lambda features: LinTS(features, noise=NOISE),
    WEIGHTS: Exp2,
}
COLOUR = {OPTIMISM: "C0", THOMPSON: "C1", WEIGHTS: "C2"}
OFUL_PAPER, EXP2_PAPER = "Abbasi-Yadkori et al. 2011", "Bubeck et al. 2012"


@dataclass(frozen=True)
class Settings:
    """Dimensions 2, 4, 8, ..."""

    n_dimensions: int
    horizon: int
    n_replications: int
    n_seeds: int = 1

    def __post_init__(self) -> None:
        checks.integer(self.n_dimensions, "n_dimensions", minimum=2)
        checks.integer(self.horizon, "horizon", minimum=100)
        checks.integer(self.n_replications, "n_replications", minimum=2)


@dataclass(frozen=True)
class Config:
    """One learner in one game."""

    learner: str
    game: str
    dim: int
    horizon: int
    n_replications: int


Traces: TypeAlias = dict[tuple[str, str], dict[int, Trace]]  # (game, learner): by dimension


def cells(settings: Settings) -> list[Config]:
    dims = [2 ** (j + 1) for j in range(settings.n_dimensions)]
    wanted = [(STOCHASTIC, learner, dim) for learner in LEARNERS for dim in dims]
    wanted += [(ADVERSARIAL, WEIGHTS, dim) for dim in dims]
    wanted += [(ADVERSARIAL, learner, SHOWN) for learner in (OPTIMISM, THOMPSON)]
    return [
        Config(learner, game, dim, settings.horizon, settings.n_replications)
        for game, learner, dim in wanted
    ]


def build(config: Config) -> tuple[Learner, Environment]:
    rng = np.random.default_rng(config.dim)  # the game is one, whatever the seed of the run
    features = rng.normal(size=(N_ARMS, config.dim))
    theta = rng.normal(size=config.dim)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    theta /= np.linalg.norm(theta)
    game: Environment
    if config.game == STOCHASTIC:
        game = LinearBandit(features, theta, noise=NOISE)
    else:
        features[0], features[1] = theta, -theta
        sign = np.where(np.arange(config.horizon) < config.horizon // 3, -1.0, 1.0)
        game = AdversarialLinearBandit(features, sign[:, None] * theta)
    return LEARNERS[config.learner](features), game


def play(config: Config, seed: int) -> pd.DataFrame:
    rounds = np.unique(np.linspace(1, config.horizon, 60).astype(int))
    return _traces.play(*build(config), config, seed, checkpoints=rounds)


def summarise(results: Results[Settings, Config]) -> Traces:
    traces: Traces = {}
    for config, trace in traces_of(results, build).items():
        traces.setdefault((config.game, config.learner), {})[config.dim] = trace
    return traces


def draw(traces: Traces) -> Drawing:
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.2))
    for ax, game in ((axes[0], STOCHASTIC), (axes[1], ADVERSARIAL)):
        for learner in LEARNERS:
            if game == ADVERSARIAL and learner != WEIGHTS:
                continue
            each = traces[game, learner]
            style = {"color": COLOUR[learner], "label": learner}
            curve(ax, list(each), list(each.values()), bound=game == ADVERSARIAL, **style)
        ax.set(title=f"{game} losses", xlabel="dimension d", yscale="log")
        levels(ax, list(each))
    for learner in LEARNERS:
        trace = traces[ADVERSARIAL, learner][SHOWN]
        axes[2].plot(trace.rounds, trace.mean(), color=COLOUR[learner])
        low, high = trace.interval()
        axes[2].fill_between(trace.rounds, low, high, color=COLOUR[learner], alpha=0.25, lw=0)
    horizon = trace.rounds[-1]
    axes[0].set_ylabel(f"regret after {horizon:,} rounds")
    axes[2].set(title=f"adversarial losses, d = {SHOWN}", xlabel="rounds t", ylabel="regret")
    axes[0].plot([], [], "k--", lw=1, label="its bound")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def grows(game: str, learner: str, lower: float, upper: float) -> Callable[[Traces], Outcome]:
    """The power of d."""

    def check(traces: Traces) -> Outcome:
        each = traces[game, learner]
        slope = power(list(each), list(each.values()))
        detail = f"log-log slope of regret over d = {', '.join(map(str, each))}"
        return within(slope.value, slope.low, slope.high, lower, upper, detail)

    return check


def holds(game: str, learner: str) -> Callable[[Traces], Outcome]:
    return lambda traces: bounds_hold(list(traces[game, learner].values()))


def sampling_below_optimism(traces: Traces) -> Outcome:
    dim = max(traces[STOCHASTIC, OPTIMISM])
    one, two = (traces[STOCHASTIC, name][dim] for name in (THOMPSON, OPTIMISM))
    return less_regret(one, two, f"mean final regret at d = {dim}, Thompson sampling less OFUL")


def weights_below(other: str) -> Claim[Traces]:
    def check(traces: Traces) -> Outcome:
        one, two = (traces[ADVERSARIAL, name][SHOWN] for name in (WEIGHTS, other))
        return less_regret(one, two, f"mean final regret at d = {SHOWN}, Exp2 less {other}")

    return Claim("derived", f"against the adversary Exp2 ends below {other}", check)


def notes(traces: Traces) -> list[str]:
    lines = []
    for (game, learner), each in traces.items():
        finals = ", ".join(f"d = {dim}: {trace.mean()[-1]:.0f}" for dim, trace in each.items())
        lines.append(f"{game}, {learner}, mean final regret: {finals}")
    return lines


EXPERIMENT = Experiment(
    name="linear_bandits",
    summary="OFUL, linear Thompson sampling and Exp2 over dimensions",
    run=play,
    cells=cells,
    presets={
        "quick": Settings(n_dimensions=4, horizon=2000, n_replications=80),
        "standard": Settings(n_dimensions=5, horizon=10_000, n_replications=128),
        "paper": Settings(n_dimensions=6, horizon=100_000, n_replications=256),
    },
)
FIGURE = Figure(
    name="linear_bandits",
    title="Linear bandits: dimension, noise and adversaries",
    paper="Abbasi-Yadkori et al. 2011; Agrawal, Goyal 2013; Bubeck et al. 2012; games ours",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim(
            OFUL_PAPER,
            "OFUL: the 0.95-quantile of the regret is below its bound for each d",
            holds(STOCHASTIC, OPTIMISM),
        ),
        Claim(
            EXP2_PAPER,
            "Exp2: mean regret against the adversary is below its bound for each d",
            holds(ADVERSARIAL, WEIGHTS),
        ),
        Claim(
            OFUL_PAPER,
            "OFUL: regret grows faster than √d (slope above 0.75)",
            grows(STOCHASTIC, OPTIMISM, 0.75, np.inf),
        ),
        Claim(
            EXP2_PAPER,
            "Exp2: regret against the adversary grows as √d (slope 0.5 ± 0.2)",
            grows(ADVERSARIAL, WEIGHTS, 0.3, 0.7),
        ),
        Claim(
            "Chapelle, Li 2011",
            "stochastic losses: Thompson sampling with v = σ ends below OFUL",
            sampling_below_optimism,
        ),
        *map(weights_below, (OPTIMISM, THOMPSON)),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
