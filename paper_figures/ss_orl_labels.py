"""Offline RL with the actions of a tenth of the trajectories, of the worst or of any.

Runs:    python paper_figures/ss_orl_labels.py [--preset quick|standard|paper]
Shows:   left, normalised score against q: labelled trajectories are drawn from the share q with the
         lowest returns; seeds as dots, means with their 95 % interval. Right, mean square of the
         proxy labels less the true actions, of unlabelled trajectories with returns as the
         labelled ones (inside) and of the better rest (outside).
Games:   PointMass2D/medium-replay, self-generated: 400 trajectories of 100 steps of controllers
         from bad to nearly expert; TD3+BC with networks of 64 by 64, γ = 0.98, rate 10⁻³; a
         deterministic model of inverse dynamics from (s, s'). standard also has the replay of a
         SAC agent on Pendulum, self-generated. Labelled only: TD3+BC on the labelled tenth; SS-ORL:
         on all, with proxy labels; oracle: on all, with the true actions. Scores are shares of the
         way from random to expert.
Claims:  with a tenth labelled, all of it from the worst tenth, SS-ORL is as good as the oracle, up
         to five points, and better than labelled trajectories alone; these catch up as q grows.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.core.checks import FloatArray
from fenchel.experiments import Claim, Experiment, Figure, Outcome, Results, at_least, main
from fenchel.paper_figures._outcomes import not_run
from fenchel.paper_figures._statistics import interval

LABELLED, SS, ORACLE = "labelled only", "SS-ORL", "oracle"
METHODS = (LABELLED, SS, ORACLE)
COLOUR = {LABELLED: "C6", SS: "C1", ORACLE: "C0"}
POINT, PENDULUM = "PointMass2D/medium-replay", "Pendulum-v1/full-replay"
BOUND = {POINT: 1.0, PENDULUM: 2.0}  # of actions
PAPER, OWN = "Zheng et al. 2023; tasks ours", "derived"
CLOSE = 5.0  # points of a score


@dataclass(frozen=True)
class Settings:
    """Splits, one a seed, dataset and q; each trains the three agents."""

    datasets: tuple[str, ...]
    qualities: tuple[float, ...]
    n_steps: int
    n_inverse_steps: int
    n_episodes: int
    n_seeds: int
    n_replications: int = 1


@dataclass(frozen=True)
class Config:
    """One dataset and q; see `Settings`."""

    dataset: str
    quality: float
    n_steps: int
    n_inverse_steps: int
    n_episodes: int


Data = dict[tuple[str, float], list[pd.DataFrame]]


def cells(settings: Settings) -> list[Config]:
    sizes = settings.n_steps, settings.n_inverse_steps, settings.n_episodes
    return [Config(name, q, *sizes) for name in settings.datasets for q in settings.qualities]


def make_run(config: Config, seed: int) -> pd.DataFrame:
    """Scores of the three agents, and errors of the proxy labels."""
    import torch

    from fenchel.offline_rl import (
        TD3BC,
        InverseDynamics,
        SemiSupervisedOfflineRL,
        evaluate,
        generate,
        proxy_error,
        split_labelled,
    )

    torch.set_num_threads(1)
    scripted = config.dataset == POINT
    dataset = generate(config.dataset, seed=seed if scripted else 0, cache=not scripted)
    split = split_labelled(dataset, config.quality, rng=np.random.default_rng(seed))
    bound = BOUND[config.dataset]
    limits: dict[str, Any] = {"action_low": -bound, "action_high": bound, "device": "cpu"}

    def agent() -> TD3BC:
        return TD3BC(hidden=(64, 64), learning_rate=1e-3, discount=0.98, seed=seed, **limits)

    inverse = InverseDynamics(
        window=0, stochastic=False, hidden=(128, 128), dropout=0.0, learning_rate=1e-3,
        batch_size=256, n_steps=config.n_inverse_steps, seed=seed, **limits,
    )  # fmt: skip
    learner = SemiSupervisedOfflineRL(agent(), inverse)
    learner.fit(split.dataset, config.n_steps, progress=False)
    agents: dict[str, Any] = {
        LABELLED: agent().fit(dataset.subset(split.labelled), config.n_steps, progress=False),
        SS: learner,
        ORACLE: agent().fit(dataset, config.n_steps, progress=False),
    }
    assert learner.proxy is not None
    rows = []
    for method, one in agents.items():
        returns = evaluate(one, dataset.meta["env_id"], n_episodes=config.n_episodes, seed=seed)
        rows.append({"method": method, "score": dataset.normalised_score(returns).mean()})
    errors = {"inside": np.nan, "outside": np.nan} | proxy_error(split, learner.proxy)
    return pd.DataFrame(rows).assign(**errors)


def summarise(results: Results[Settings, Config]) -> Data:
    return {(c.dataset, c.quality): list(results[c]) for c in results.configs}


def scores(tables: list[pd.DataFrame], method: str) -> FloatArray:
    """Of the seeds."""
    return np.array([float(t.loc[t["method"] == method, "score"].iloc[0]) for t in tables])


def qualities(data: Data, dataset: str) -> list[float]:
    return sorted(q for name, q in data if name == dataset)


def draw(data: Data) -> Drawing:
    datasets = list(dict.fromkeys(name for name, _ in data))
    figure, axes = plt.subplots(len(datasets), 2, figsize=(10, 3.7 * len(datasets)), squeeze=False)
    for row, dataset in zip(axes, datasets, strict=True):
        at = qualities(data, dataset)
        for place, method in enumerate(METHODS):
            shift, color = 0.012 * (place - 1), COLOUR[method]
            each = np.array([scores(data[dataset, q], method) for q in at])  # (q, seeds)
            middle, low, high = np.array([interval(one) for one in each]).T
            finite = np.isfinite(low)
            bar = np.where(finite, [middle - low, high - middle], 0)
            x = np.array(at) + shift
            row[0].errorbar(x, middle, bar, fmt="-o", ms=5, color=color, capsize=3)
            row[0].plot(x, each, ".", color=color, alpha=0.4)
            row[0].plot([], [], "-o", color=color, label=method)
        for name, style in (("inside", "-o"), ("outside", "--s")):
            each = np.array([[t[name].iloc[0] for t in data[dataset, q]] for q in at])
            row[1].plot(at, each.mean(axis=1), style, color="C4", label=name)
        row[0].set(ylabel="score", title=f"{dataset}: score")
        row[1].set(yscale="log", title="error of proxy labels")
        row[0].legend()
        row[1].legend()
    for ax in axes[-1]:
        ax.set_xlabel("q, share from whose trajectories the labelled tenth is drawn")
    return figure


def at_least_as_good(
    dataset: str, first: tuple[str, int], second: tuple[str, int], lack: float
) -> Callable[[Data], Outcome]:
    """Score of one method less that of another is at least −lack; q by place, 0 the lowest."""

    def check(data: Data) -> Outcome:
        at = qualities(data, dataset)
        if not at or (len(at) == 1 and first[1] != second[1]):
            return not_run()
        one, two = (scores(data[dataset, at[place]], method) for method, place in (first, second))
        sides = zip((first, second), (one, two), strict=True)
        names = [f"{m} at q = {at[place]:g} {each.mean():.1f}" for (m, place), each in sides]
        return at_least(*interval(one - two), -lack, f"score, {' less '.join(names)}")

    return check


def claims(dataset: str) -> list[Claim[Data]]:
    task = dataset.split("/")[0]
    found = [
        (PAPER, "as good as the oracle, from the worst tenth", (SS, 0), (ORACLE, 0), CLOSE),
        (PAPER, "better than labelled trajectories alone", (SS, 0), (LABELLED, 0), 0.0),
        (OWN, "these catch up with q", (LABELLED, -1), (LABELLED, 0), 0.0),
    ]
    return [
        Claim(paper, f"{task}: {statement}", at_least_as_good(dataset, first, second, lack))
        for paper, statement, first, second, lack in found
    ]


def notes(data: Data) -> list[str]:
    from fenchel.offline_rl import gap, recovered

    lines = []
    for (dataset, q), tables in data.items():
        base, ss, oracle = (float(scores(tables, method).mean()) for method in METHODS)
        lines.append(
            f"{dataset}, self-generated, q = {q:g}: labelled only {base:.1f}, SS-ORL {ss:.1f}, "
            f"oracle {oracle:.1f}; gap {said(gap(oracle, ss))}, recovered "
            f"{said(recovered(oracle, base, ss))}"
        )
    return lines


def said(share: float) -> str:
    return "n/a" if np.isnan(share) else f"{100 * share:.0f} %"


EXPERIMENT = Experiment(
    name="ss_orl_labels",
    summary="offline RL with a tenth of the actions",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings((POINT,), (0.1, 1.0), 2000, 1000, n_episodes=30, n_seeds=1),
        "standard": Settings(
            (POINT, PENDULUM), (0.1, 0.3, 0.5, 1.0), 4000, 1500, n_episodes=30, n_seeds=5
        ),
        "paper": Settings(
            (POINT, PENDULUM), (0.1, 0.3, 0.5, 0.7, 1.0), 50_000, 20_000, n_episodes=30, n_seeds=10
        ),
    },
)
FIGURE = Figure(
    name="ss_orl_labels",
    title="Offline RL with the actions of a tenth of the trajectories",
    paper="Zheng, Henaff, Amos, Grover 2023; datasets ours",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[claim for dataset in (POINT, PENDULUM) for claim in claims(dataset)],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
