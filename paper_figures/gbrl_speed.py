"""How fast trees are grown and used, against the libraries that the paper compares.

Runs:    python paper_figures/gbrl_speed.py [--preset quick|standard|paper]
Shows:   CPU time of a tree on a fresh batch, of a tree by rows, and steps a CPU second of PPO on
         CartPole by the number of trees. All on one core, each in a process of its own.
Games:   fresh batches of 128 rows, 20 features and 3 targets (Table 1); normal features and
         gradients; 320 trees a rollout of CartPole.
Claims:  Table 1: GBRL goes on from fresh batches faster than CatBoost and XGBoost. Figure 2: its
         agents stay fast up to 16 000 trees. And one of this library: trees are grown at least 25
         times as fast as by NVlabs/gbrl. A library that is not installed is left out:
         pip install gbrl catboost xgboost
"""

import sys
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.core.checks import FloatArray
from fenchel.experiments import (
    Claim,
    Experiment,
    Figure,
    Outcome,
    Results,
    at_least,
    main,
)
from fenchel.experiments.benchmarks.gbrl import alone
from fenchel.paper_figures._gbrl import PAPER
from fenchel.paper_figures._outcomes import not_run, unsettled

FRESH = {"fenchel": "our", "gbrl": "gbrl", "CatBoost": "catboost", "XGBoost": "xgboost"}
TABLE_1 = {"gbrl": 5.47, "CatBoost": 36.17, "XGBoost": 67.11}  # milliseconds an iteration
GROWTH = {"fenchel": "our", "gbrl": "peer"}
COLOUR = {"fenchel": "C0", "gbrl": "C1", "CatBoost": "C2", "XGBoost": "C3"}
FEATURES, OUTPUTS, DEPTH = 16, 2, 4
TIMES, FLOOR, ALL_TREES = 25.0, 500.0, 16_000  # as fast as gbrl; steps a second; of Figure 2


@dataclass(frozen=True)
class Settings:
    """Measurements, repeated by seeds."""

    n_iterations: int
    rows: tuple[int, ...]
    n_trees: int
    n_seeds: int
    n_replications: int = 1


@dataclass(frozen=True)
class Config:
    """One measurement: "fresh", "growth" or "throughput" of a library, at a size."""

    measure: str
    library: str
    size: int


Data = Results[Settings, Config]


def cells(settings: Settings) -> list[Config]:
    fresh = [Config("fresh", library, settings.n_iterations) for library in FRESH]
    growth = [Config("growth", library, n) for library in GROWTH for n in settings.rows]
    return [*fresh, *growth, Config("throughput", "fenchel", settings.n_trees)]


def make_run(config: Config, seed: int) -> pd.DataFrame:
    """Milliseconds; of throughput trees and steps a second. No row: it is not installed."""
    if config.measure == "throughput":
        numbers = alone("throughput", config.size) or []
        return pd.DataFrame({"trees": numbers[::2], "value": numbers[1::2]})
    if config.measure == "fresh":
        found = alone(f"{FRESH[config.library]}_fresh", config.size)
    else:
        sizes = config.size, FEATURES, OUTPUTS, DEPTH
        found = alone(f"{GROWTH[config.library]}_growth", *sizes)
    return pd.DataFrame({"value": found or []})


def values(data: Data, measure: str, library: str, size: int) -> FloatArray:
    """Of the seeds; none if the library is not there."""
    tables = data[Config(measure, library, size)]
    return np.array([float(table["value"].iloc[0]) for table in tables if len(table)])


def draw(data: Data) -> Drawing:
    figure, (one, two, three) = plt.subplots(1, 3, figsize=(12, 4))
    for place, library in enumerate(FRESH):
        found = values(data, "fresh", library, data.settings.n_iterations)
        if len(found):
            one.bar(place, found.mean(), color=COLOUR[library])
            one.text(place, found.mean(), f"{found.mean():.2g}", ha="center", va="bottom")
        else:
            one.text(place, 1.0, "not installed", ha="center", rotation=90, color="0.5")
        if library in TABLE_1:
            label = "paper, its machine" if library == "gbrl" else None
            one.plot(place, TABLE_1[library], "k_", ms=18, mew=2, label=label)
    one.set_xticks(range(len(FRESH)), list(FRESH))
    one.set(yscale="log", title="a tree on a fresh batch", ylabel="milliseconds", ylim=(0.3, 200))
    one.legend(loc="upper left")
    for library in GROWTH:
        points = [(n, values(data, "growth", library, n)) for n in data.settings.rows]
        shown = [(n, found.mean()) for n, found in points if len(found)]
        if shown:
            two.plot(*zip(*shown, strict=True), "-o", color=COLOUR[library], label=library)
    two.set(xscale="log", yscale="log", xlabel="rows", ylabel="milliseconds")
    two.set_xticks(data.settings.rows, [str(n) for n in data.settings.rows])
    two.minorticks_off()
    two.set_title(f"a tree, {FEATURES} features")
    two.legend(loc="upper left")
    for table in data[Config("throughput", "fenchel", data.settings.n_trees)]:
        three.plot(table["trees"] / 1000, table["value"], color="C0", lw=1)
    three.set(xlabel="trees, thousands", ylabel="steps a CPU second", title="PPO on CartPole")
    three.set_ylim(bottom=0)
    return figure


def missing(library: str) -> Outcome:
    return not_run(f"{library} is not installed: pip install {library.lower()}")


def faster_than(library: str) -> Claim[Data]:
    """On fresh batches; the range of repetitions is the interval."""

    def check(data: Data) -> Outcome:
        size = data.settings.n_iterations
        own, peer = (values(data, "fresh", name, size) for name in ("fenchel", library))
        if not len(peer):
            return missing(library)
        ratios = peer / own
        detail = f"CPU time over ours, {size} iterations; in the paper {TABLE_1[library]:g} ms each"
        return at_least(float(ratios.mean()), ratios.min(), ratios.max(), 1.0, detail)

    statement = f"trees go on from fresh batches faster than {library}"
    return Claim(f"{PAPER}, Table 1", statement, check)


def grown_faster(data: Data) -> Outcome:
    """The size with the least ratio."""
    ratios = []
    for n in data.settings.rows:
        own, peer = (values(data, "growth", name, n) for name in GROWTH)
        if not len(peer):
            return missing("gbrl")
        ratios.append(peer / own)
    least = min(ratios, key=lambda one: one.min())
    return at_least(float(least.mean()), least.min(), least.max(), TIMES, "CPU time over ours")


def stays_fast(data: Data) -> Outcome:
    tables = data[Config("throughput", "fenchel", data.settings.n_trees)]
    last = np.array([table["value"].iloc[-4:].mean() for table in tables])
    detail = f"steps a CPU second after {tables[0]['trees'].iloc[-1]:,.0f} trees"
    outcome = at_least(float(last.mean()), last.min(), last.max(), FLOOR, detail)
    if data.settings.n_trees >= ALL_TREES:
        return outcome
    return unsettled(outcome, f"of {ALL_TREES:,}")


def notes(data: Data) -> list[str]:
    table = data[Config("throughput", "fenchel", data.settings.n_trees)][0]
    rates, trees = table["value"], table["trees"]
    lines = [
        f"PPO on CartPole: {rates.iloc[:4].mean():,.0f} steps a CPU second in the first rollouts, "
        f"{rates.iloc[-4:].mean():,.0f} at {trees.iloc[-1]:,.0f} trees"
    ]
    for n in data.settings.rows:
        own, peer = (values(data, "growth", name, n) for name in GROWTH)
        if len(peer):
            ratio = float((peer / own).mean())
            lines.append(
                f"{n} rows: {own.mean():.2g} ms, gbrl {peer.mean():.3g} ms ({ratio:.0f} x)"
            )
    return lines


EXPERIMENT = Experiment(
    name="gbrl_speed",
    summary="how fast trees are grown and used",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(n_iterations=100, rows=(512, 2048), n_trees=2_000, n_seeds=1),
        "standard": Settings(n_iterations=1000, rows=(512, 2048, 8192), n_trees=16_000, n_seeds=2),
        "paper": Settings(
            n_iterations=1000, rows=(512, 2048, 8192, 32_768), n_trees=16_000, n_seeds=5
        ),
    },
)
FIGURE = Figure(
    name="gbrl_speed",
    title="Speed of trees",
    paper="Fuhrer, Tessler, Dalal, ICML 2025 (Table 1, Figure 2)",
    experiment=EXPERIMENT,
    draw=draw,
    claims=[
        faster_than("CatBoost"),
        faster_than("XGBoost"),
        faster_than("gbrl"),
        Claim("this library", "trees are grown 25 times as fast as by NVlabs/gbrl", grown_faster),
        Claim(f"{PAPER}, Figure 2", "agents make 500 steps a second with 16 000 trees", stays_fast),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
