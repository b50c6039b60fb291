"""Bandit regret that is small where losses are small or seldom change: Broad-OMD and its bounds.

Runs:    python paper_figures/small_loss_and_path_length.py [--preset quick|standard|paper]
Shows:   left, regret after T rounds against the loss L* of the best arm: Broad-OMD tuned for L*,
         Exp3 and Tsallis-INF, with the bounds, dashed. Right, regret against the number of changes
         of the best arm's loss: Broad-OMD without predictions, tuned for L*, and with the last loss
         of each arm as prediction, tuned for the changes; the right side of its inequality, known
         after the run, is dashed. Means with 95 % bands over replications.
Games:   5 arms, losses fixed before the game. Left: 0 or 1, of mean L*/T for the best arm and 0.3
         more for the others. Right: the best arm alternates between 0.1 and 0.5, the others are 0.2
         or 1 at random in each round.
Claims:  regret is below the small-loss bound, √(K L* ln T) and not √(K T), at each L*; the
         inequalities hold on every run; with seldom changes predictions pay, and the right side of
         their inequality grows with the changes, not with T.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.bandits import AdversarialBandit, BroadOMD, Exp3, TsallisINF
from fenchel.core import Environment, Learner, Trace, checks
from fenchel.core.checks import FloatArray
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
)
from fenchel.paper_figures import _traces
from fenchel.paper_figures._traces import curve, traces_of

N_ARMS, STEP = 5, 0.4  # of the best arm's loss at a change
LEVELS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)  # L*/T
CHANGES = (1, 4, 16, 64, 256, 1024)
SMALL, PATH = "small loss", "path length"
PLAIN, LAST = "Broad-OMD", "Broad-OMD, last loss predicted"
LEARNERS = {SMALL: (PLAIN, "Exp3", "Tsallis-INF"), PATH: (PLAIN, LAST, "Tsallis-INF")}
COLOUR = {PLAIN: "C0", LAST: "C4", "Exp3": "C1", "Tsallis-INF": "C2"}
WEI_LUO = "Wei, Luo 2018"


@dataclass(frozen=True)
class Settings:
    """Rounds and replications of each game."""

    horizon: int
    n_replications: int
    n_seeds: int = 1

    def __post_init__(self) -> None:
        checks.integer(self.horizon, "horizon", minimum=2 * CHANGES[-1])
        checks.integer(self.n_replications, "n_replications", minimum=2)


@dataclass(frozen=True)
class Config:
    """One learner in one game; level is L*/T or the number of changes."""

    learner: str
    game: str
    level: float
    horizon: int
    n_replications: int


Traces: TypeAlias = dict[tuple[str, str], list[tuple[float, Trace]]]  # (game, learner): by level


def cells(settings: Settings) -> list[Config]:
    return [
        Config(learner, game, level, settings.horizon, settings.n_replications)
        for game, levels in ((SMALL, LEVELS), (PATH, CHANGES))
        for learner in LEARNERS[game]
        for level in levels
    ]


def losses_of(config: Config) -> FloatArray:
    """The table (T, K); the same for all seeds, as it is part of the game."""
    rng, shape = np.random.default_rng(0), (config.horizon, N_ARMS)
    if config.game == SMALL:
        means = config.level + 0.3 * (np.arange(N_ARMS) > 0)
        return (rng.random(shape) < means).astype(float)
    losses = rng.choice([0.2, 1.0], size=shape)
    phase = np.arange(config.horizon) * (config.level + 1) // config.horizon
    losses[:, 0] = 0.5 - STEP * (phase % 2)
    return losses


def build(config: Config) -> tuple[Learner, Environment]:
    game = AdversarialBandit(losses_of(config))
    assert game.table is not None
    best = float(game.table.sum(axis=0).min())
    makers: dict[str, Callable[[], Learner]] = {
        PLAIN: lambda: BroadOMD(N_ARMS, loss_bound=max(best, 1.0)),
        # a change is seen after some K rounds in the mean, each of which costs its square
        LAST: lambda: BroadOMD(
            N_ARMS, loss_bound=max(1.0, N_ARMS * STEP**2 * config.level), prediction="last"
        ),
        "Exp3": lambda: Exp3(N_ARMS),
        "Tsallis-INF": lambda: TsallisINF(N_ARMS),
    }
    return makers[config.learner](), game


def play(config: Config, seed: int) -> pd.DataFrame:
    return _traces.play(*build(config), config, seed, checkpoints=20)


def summarise(results: Results[Settings, Config]) -> Traces:
    traces: Traces = {}
    for config, trace in traces_of(results, build).items():
        traces.setdefault((config.game, config.learner), []).append((config.level, trace))
    return traces


def draw(traces: Traces) -> Drawing:
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), sharey=True)
    horizon = int(traces[SMALL, PLAIN][0][1].rounds[-1])
    for ax, game, scale in ((axes[0], SMALL, horizon), (axes[1], PATH, 1)):
        for learner in LEARNERS[game]:
            x, each = zip(*traces[game, learner], strict=True)
            style = {"color": COLOUR[learner], "label": learner}
            curve(ax, scale * np.array(x), each, bound=game == SMALL, **style)
    for learner in (PLAIN, LAST):
        sides = [
            (level, trace.pathwise.right[:, -1].mean())
            for level, trace in traces[PATH, learner]
            if trace.pathwise is not None
        ]
        axes[1].plot(*np.array(sides).T, "--", lw=1, color=COLOUR[learner])
    axes[0].set(title=f"small losses, T = {horizon:,}", xlabel="loss L* of the best arm")
    axes[0].set_ylabel("regret after T rounds")
    axes[1].set(title="seldom changes", xlabel="changes of the best arm's loss")
    for ax in axes:
        ax.set(xscale="log", yscale="log")
    axes[0].plot([], [], "k--", lw=1, label="its bound")
    axes[0].plot([], [], "o-", ms=3, color=COLOUR[LAST], label=LAST)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def small_loss_bound_holds(traces: Traces) -> Outcome:
    return bounds_hold([trace for _, trace in traces[SMALL, PLAIN]])


def sides_hold(traces: Traces) -> Outcome:
    keys = ((SMALL, PLAIN), (PATH, PLAIN), (PATH, LAST))
    return inequalities_hold([trace for key in keys for _, trace in traces[key]])


def falls(traces: Traces) -> Outcome:
    """Regret at the least L* over that at the greatest, by bootstrap."""
    one, two = (trace.regret[:, -1] for _, trace in (traces[SMALL, PLAIN][i] for i in (0, -1)))
    rng = np.random.default_rng(0)
    draws = [
        rng.choice(one, len(one)).mean() / rng.choice(two, len(two)).mean() for _ in range(2000)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    detail = f"regret at L*/T = {LEVELS[0]} over that at {LEVELS[-1]}"
    return at_most(one.mean() / two.mean(), low, high, 0.5, detail)


def below(game: str, place: int, learner: str, other: str) -> Callable[[Traces], Outcome]:
    def check(traces: Traces) -> Outcome:
        level, first = traces[game, learner][place]
        second = traces[game, other][place][1]
        detail = f"mean final regret at level {level:g}, {learner} less {other}"
        return less_regret(first, second, detail)

    return check


def right_side_is_small(traces: Traces) -> Outcome:
    """Of the inequality at the fewest changes, with predictions over without, greatest of runs."""
    (_, last), (_, plain) = traces[PATH, LAST][0], traces[PATH, PLAIN][0]
    assert last.pathwise is not None
    assert plain.pathwise is not None
    ratio = float(last.pathwise.right[:, -1].max() / plain.pathwise.right[:, -1].min())
    return at_most(ratio, ratio, ratio, 0.5, "right side with predictions over without, worst runs")


def notes(traces: Traces) -> list[str]:
    lines = []
    for learner in (PLAIN, LAST):
        each = [
            f"{level:g}: {trace.mean()[-1]:.0f} of {trace.pathwise.right[:, -1].mean():.0f}"
            for level, trace in traces[PATH, learner]
            if trace.pathwise is not None
        ]
        lines.append(f"{learner}, regret of right side by changes: {', '.join(each)}")
    return lines


EXPERIMENT = Experiment(
    name="small_loss_and_path_length",
    summary="Broad-OMD where losses are small or seldom change",
    run=play,
    cells=cells,
    presets={
        "quick": Settings(horizon=10_000, n_replications=64),
        "standard": Settings(horizon=50_000, n_replications=128),
        "paper": Settings(horizon=1_000_000, n_replications=256),
    },
)
FIGURE = Figure(
    name="small_loss_and_path_length",
    title="Bandit regret on easy sequences of losses",
    paper="Wei, Luo. More adaptive algorithms for adversarial bandits. COLT 2018; games ours",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim(WEI_LUO, "Broad-OMD: mean regret below its small-loss bound", small_loss_bound_holds),
        Claim(WEI_LUO, "Broad-OMD: the inequality holds on every run", sides_hold),
        Claim(WEI_LUO, "Broad-OMD: regret falls with the loss of the best arm", falls),
        Claim(
            WEI_LUO,
            "at the least loss Broad-OMD ends below Exp3",
            below(SMALL, 0, PLAIN, "Exp3"),
        ),
        Claim(
            WEI_LUO,
            "at the fewest changes predictions lower the regret",
            below(PATH, 0, LAST, PLAIN),
        ),
        Claim(
            WEI_LUO,
            "at the fewest changes they halve the right side of the inequality, at least",
            right_side_is_small,
        ),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
