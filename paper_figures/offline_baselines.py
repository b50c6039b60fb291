"""The standard algorithms of offline RL on data of known quality.

Runs:    python paper_figures/offline_baselines.py [--preset quick|standard|paper]
Shows:   left, normalised score (0: uniform actions, 100: the expert) of each algorithm on each
         dataset, means of seeds. Right, interquartile means over all of them, with intervals of the
         stratified bootstrap.
Games:   worlds with scripted controllers, self-generated, 40,000 steps a dataset. PointMass2D:
         drive to the origin; LQR: two masses on springs, one of them pushed; StitchMaze2D: through
         a U-shaped corridor, 1 for the goal. halves: no trajectory leads from start to goal. Small
         agents (64 by 64) for thousands of steps, with the same settings everywhere; on halves
         three times as many, as what the goal is worth must travel back along two routes.
Claims:  on data of several qualities algorithms that learn values are better than cloning all;
         halves of routes are joined by them, and not by cloning; cloning an expert is an expert.
         Published claims are on D4RL; these are tests of the same statements here.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure as Drawing
from scipy.stats import trim_mean

from fenchel.core.checks import FloatArray
from fenchel.experiments import Claim, Experiment, Figure, Outcome, at_least, main
from fenchel.paper_figures import _offline
from fenchel.paper_figures._offline import (
    AGENTS,
    FULL,
    LOCOMOTION,
    ORACLE,
    OWN,
    SMALL,
    Data,
    Run,
    Settings,
    at_least_as_good,
    column,
    datasets_of,
    find,
    run,
    scores,
    tables_of,
)
from fenchel.paper_figures._outcomes import not_run
from fenchel.paper_figures._statistics import interval

TIERS = ("random", "medium", "medium-replay", "medium-expert", "expert")
HALVES = "StitchMaze2D/halves"
WORLDS = ("PointMass2D", "LQR", "StitchMaze2D")
SCRIPTED = (*(f"{world}/{tier}" for world in WORLDS for tier in TIERS), HALVES)
FEWER = ("PointMass2D/medium-replay", "LQR/medium-expert", HALVES)
MIXED = ("medium-replay", "medium-expert")  # tiers of several qualities
NEAR = 90.0  # a score that is an expert's


def cells(settings: Settings) -> list[Run]:
    return [
        replace(one, n_steps=3 * one.n_steps) if one.dataset == HALVES else one
        for one in _offline.cells(settings)
    ]


def agents_of(data: Data) -> list[str]:
    return list(dict.fromkeys(one.agent for one in data))


def matrix(data: Data, datasets: Sequence[str], agent: str) -> FloatArray:
    """Scores (seeds, datasets)."""
    return np.array([column(find(data, one, ORACLE, agent=agent)) for one in datasets]).T


def draw(data: Data) -> Drawing:
    from fenchel.offline_rl.evaluation import aggregate

    datasets, agents = datasets_of(data), agents_of(data)
    height = 1.6 + 0.33 * len(datasets)
    figure, axes = plt.subplots(1, 2, figsize=(11, height), width_ratios=[1.5, 1])
    means = np.array([matrix(data, datasets, agent).mean(axis=0) for agent in agents]).T
    axes[0].imshow(means, cmap="RdYlGn", vmin=-20, vmax=120, aspect="auto")
    for (i, j), value in np.ndenumerate(means):
        axes[0].text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=9)
    axes[0].set_xticks(range(len(agents)), agents)
    axes[0].set_yticks(range(len(datasets)), datasets)
    axes[0].set_title("mean score")
    for place, agent in enumerate(agents):
        rng = np.random.default_rng(0)
        value, low, high = aggregate(matrix(data, datasets, agent), rng=rng)
        axes[1].barh(place, high - low, left=low, height=0.6, color=f"C{place}", alpha=0.5)
        axes[1].plot([value, value], [place - 0.3, place + 0.3], color="k")
    axes[1].set_yticks(range(len(agents)), agents)
    axes[1].invert_yaxis()
    axes[1].set_xlim(min(0, axes[1].get_xlim()[0]), max(105, axes[1].get_xlim()[1]))
    axes[1].set(title=f"interquartile mean of {len(datasets)} datasets", xlabel="score")
    return figure


def better_than_cloning(agent: str) -> Callable[[Data], Outcome]:
    """Interquartile mean over the datasets of several qualities, by seeds."""

    def check(data: Data) -> Outcome:
        datasets = [one for one in datasets_of(data) if one.split("/")[1] in MIXED]
        if not {agent, "BC"} <= set(agents_of(data)):
            return not_run()
        one, two = (trim_mean(matrix(data, datasets, name), 0.25, axis=1) for name in (agent, "BC"))
        detail = f"interquartile mean, {agent} {one.mean():.1f} less BC {two.mean():.1f}"
        return at_least(*interval(one - two), 0.0, detail)

    return check


def joins(agent: str) -> Callable[[Data], Outcome]:
    def check(data: Data) -> Outcome:
        one, two = ((name, scores(data, [HALVES], ORACLE, 1.0, name)) for name in (agent, "BC"))
        return at_least_as_good(one, two)

    return check


def cloned_experts(data: Data) -> Outcome:
    """Means over the datasets of experts, by seeds."""
    datasets = [one for one in datasets_of(data) if one.endswith("/expert")]
    found = scores(data, datasets, ORACLE, 1.0, "BC")
    if not len(found):
        return not_run()
    return at_least(*interval(found), NEAR, f"score of BC on {len(datasets)} datasets of experts")


def notes(data: Data) -> list[str]:
    sources = sorted({one.source for one in data})
    lines = [f"datasets: {', '.join(sources)}; scores with their own references"]
    for agent in agents_of(data):
        each = matrix(data, datasets_of(data), agent)
        lines.append(
            f"{agent}: mean {each.mean():.1f}, interquartile {trim_mean(each.ravel(), 0.25):.1f}"
        )
    return lines


EXPERIMENT = Experiment(
    name="offline_agents",
    summary="the standard algorithms of offline RL",
    run=run,
    cells=cells,
    presets={
        "quick": Settings(
            FEWER, SMALL, 1000, 0, n_seeds=1, methods=(ORACLE,), agents=("BC", "TD3+BC", "IQL")
        ),
        "standard": Settings(
            SCRIPTED,
            SMALL,
            1500,
            0,
            n_seeds=3,
            methods=(ORACLE,),
            agents=AGENTS,
        ),
        "paper": Settings(
            LOCOMOTION, FULL, 200_000, 0, n_seeds=5, methods=(ORACLE,), agents=AGENTS
        ),
    },
)
FIGURE = Figure(
    name="offline_baselines",
    title="The standard algorithms of offline RL on data of known quality",
    paper="datasets ours; algorithms of Fujimoto 2021, Kostrikov 2022, Kumar 2020, Chen 2021",
    experiment=EXPERIMENT,
    summarise=tables_of,
    draw=draw,
    claims=[
        Claim("Fujimoto, Gu 2021", "TD3+BC is better than cloning", better_than_cloning("TD3+BC")),
        Claim("Kostrikov et al. 2022", "IQL is better than cloning", better_than_cloning("IQL")),
        Claim("Kumar et al. 2020", "CQL is better than cloning", better_than_cloning("CQL")),
        Claim("Chen et al. 2021", "DT is better than cloning", better_than_cloning("DT")),
        Claim(OWN, "TD3+BC joins halves of routes, cloning does not", joins("TD3+BC")),
        Claim(OWN, "IQL joins halves of routes, cloning does not", joins("IQL")),
        Claim(OWN, "cloning an expert is an expert", cloned_experts),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
