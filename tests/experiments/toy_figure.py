"""A figure of nothing in particular, small enough for tests; runs as a script too.

Environment: TOY_LOG: a file that gets a line for each run made; TOY_FAIL: the seed that fails.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure as Drawing

from fenchel.experiments import Claim, Experiment, Figure, Outcome, Results, at_least, main, within


@dataclass(frozen=True)
class Settings:
    """How much of the toy."""

    n_replications: int = 5
    """Copies inside one run."""
    n_seeds: int = 3
    scales: tuple[float, ...] = (1.0, 2.0)
    pause: float = 0.0
    limit: float = -9.0
    """What the mean should reach."""


@dataclass(frozen=True)
class Config:
    n_replications: int
    scale: float
    pause: float


def run(config: Config, seed: int) -> pd.DataFrame:
    time.sleep(config.pause)
    if log := os.environ.get("TOY_LOG"):
        with Path(log).open("a") as file:
            file.write(f"{config.scale:g}/{seed}\n")
    if os.environ.get("TOY_FAIL") == str(seed):
        raise ArithmeticError(f"seed {seed} is cursed")
    values = np.random.default_rng(seed).normal(size=config.n_replications)
    return pd.DataFrame({"step": np.arange(len(values)), "value": config.scale * values})


def cells(settings: Settings) -> list[Config]:
    return [Config(settings.n_replications, s, settings.pause) for s in settings.scales]


def summarise(results: Results[Settings, Config]) -> tuple[np.ndarray, float]:
    values = [table["value"].to_numpy() for config in results for table in results[config]]
    return np.concatenate(values), results.settings.limit


def draw(data: tuple[np.ndarray, float]) -> Drawing:
    figure, axes = plt.subplots()
    axes.plot(np.sort(data[0]), label="values")
    axes.legend()
    return figure


def small_mean(data: tuple[np.ndarray, float]) -> Outcome:
    return within(data[0].mean(), -8.0, 8.0, -9.0, 9.0, detail="of all values")


def large_mean(data: tuple[np.ndarray, float]) -> Outcome:
    return at_least(data[0].mean(), -8.0, 8.0, data[1])


def notes(data: tuple[np.ndarray, float]) -> list[str]:
    return [f"the mean is {data[0].mean():.6f}", "half of them are <below> & above"]


EXPERIMENT = Experiment(
    name="toy_runs",
    summary="normal numbers",
    run=run,
    cells=cells,
    presets={
        "quick": Settings(),
        "standard": Settings(n_seeds=4),
        "paper": Settings(n_replications=50, n_seeds=10),
    },
)
FIGURE = Figure(
    name="toy_figure",
    title="Toys <b>& normal</b> numbers",
    paper="Toy et al. 1999",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim("Toy 1999, Lemma 1", "the mean is between −9 & 9", small_mean),
        Claim("Toy 1999, Theorem 2", "the mean is at least <the limit>", large_mean),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
