"""Maps from moons to an s-curve under five costs, with and without the Monge gap.

Runs:    python paper_figures/monge_gap_costs.py [--preset quick|standard|paper]
Shows:   where each map sends points of one seed, and by cost the exact gap and the divergence from
         the target, with the gap over those without. Reproduced setting, not the published table.
Games:   one moon to an s-curve in the plane, as in the authors' tutorial; residual networks with
         three layers of 64, ε 0.1 and 0.01 of mean costs, λ as below. Adam from 1e-2 to 1e-4 along
         a cosine; paper preset: 5000 steps of 1e-3, as in the tutorial. Measured on fresh points.
Claims:  no exact gap is negative; for each cost it is five times smaller with its penalty, and the
         fitting loss of the authors, S without its constant term, at most 20 % larger; so is S
         itself (with which the authors' numbers cannot be compared); Euclidean segments cross less.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.core.checks import FloatArray
from fenchel.experiments import Claim, Experiment, Figure, Outcome, Results, at_least, main
from fenchel.ot import costs, monge_gap, sinkhorn_divergence
from fenchel.ot.datasets import moons_to_s_curve
from fenchel.ot.metrics import crossings
from fenchel.paper_figures._maps import BARE, GAP, LABEL, geometric, learn, worst

EUCLIDEAN = "‖z‖"
COSTS: dict[str, tuple[costs.Cost, float]] = {  # and λ
    EUCLIDEAN: (costs.Euclidean(), 2.0),
    "‖z‖²": (costs.SquaredEuclidean(), 0.1),
    "½‖z‖²_1.5": (costs.PNorm(1.5), 0.3),
    "‖z‖³_3/3": (costs.PNormPower(3.0), 0.1),
    "½‖z‖² + ‖z‖_1": (costs.ElasticL1(1.0), 0.3),
}
FIVE, FIFTH, SHOWN = 5.0, 1.2, 150


@dataclass(frozen=True)
class Settings:
    """Networks, one a seed and cost."""

    n_steps: int
    batch_size: int
    n_points: int
    n_seeds: int
    constant_rate: bool = False
    n_replications: int = 1


@dataclass(frozen=True)
class Config:
    """The cost of the gap, or none; without n_seeds, so that seeds can be added to stored runs."""

    name: str
    n_steps: int
    batch_size: int
    n_points: int
    constant_rate: bool


@dataclass(frozen=True)
class Run:
    """One map: points and images (n, 2), S, S less its constant term, exact gaps by cost."""

    x: FloatArray
    moved: FloatArray
    divergence: float
    fit: float
    gaps: dict[str, float]
    crossings: float


Data = dict[str, list[Run]]  # one a seed


def cells(settings: Settings) -> list[Config]:
    s = settings
    return [
        Config(name, s.n_steps, s.batch_size, s.n_points, s.constant_rate)
        for name in (BARE, *COSTS)
    ]


def make_run(config: Config, seed: int) -> pd.DataFrame:
    cost, strength = COSTS.get(config.name, (costs.SquaredEuclidean(), 0.0))
    problem = moons_to_s_curve(cost)
    rate = {"learning_rate": 1e-3, "final_rate": 1.0} if config.constant_rate else {}
    transport = learn(
        BARE if config.name == BARE else GAP,
        problem,
        seed,
        n_steps=config.n_steps,
        batch_size=config.batch_size,
        **({"strength": strength, "learning_rate": 1e-2} | rate),
    )
    rng = np.random.default_rng([1, seed])
    x, y = (draw(config.n_points, rng) for draw in (problem.source, problem.target))
    moved = transport(x)
    table = pd.DataFrame({"x": x[:, 0], "y": x[:, 1], "Tx": moved[:, 0], "Ty": moved[:, 1]})
    for name, (other, _) in COSTS.items():
        table[name] = monge_gap(x, moved, cost=other, kind="exact")
    epsilon = 0.1 * float(costs.SquaredEuclidean().matrix(y, y).mean())
    found = sinkhorn_divergence(moved, y, epsilon=epsilon, tolerance=1e-4)
    return table.assign(
        divergence=found.value,
        fit=found.xy.value - 0.5 * found.xx.value,
        crossings=crossings(x, moved),
    )


def summarise(results: Results[Settings, Config]) -> Data:
    return {
        c.name: [
            Run(
                x=table[["x", "y"]].to_numpy(),
                moved=table[["Tx", "Ty"]].to_numpy(),
                divergence=float(table["divergence"].iloc[0]),
                fit=float(table["fit"].iloc[0]),
                gaps={name: float(table[name].iloc[0]) for name in COSTS},
                crossings=float(table["crossings"].iloc[0]),
            )
            for table in results[c]
        ]
        for c in results.configs
    }


Ratios = Callable[[Data, str], list[float]]  # one a seed, by cost


def reductions(data: Data, name: str) -> list[float]:
    """Gaps without the penalty over gaps with it."""
    pairs = zip(data[BARE], data[name], strict=True)
    return [bare.gaps[name] / max(run.gaps[name], 1e-12) for bare, run in pairs]


def fits(data: Data, name: str) -> list[float]:
    """Fitting losses with the penalty over those without."""
    return [run.fit / bare.fit for bare, run in zip(data[BARE], data[name], strict=True)]


def divergences(data: Data, name: str) -> list[float]:
    """Divergences with the penalty over those without."""
    pairs = zip(data[BARE], data[name], strict=True)
    return [run.divergence / bare.divergence for bare, run in pairs]


def draw(data: Data) -> Drawing:
    figure, axes = plt.subplots(2, 4, figsize=(13, 6.8))
    for ax, name in zip(axes.flat, data, strict=False):
        run = data[name][0]
        ends = np.stack([run.x[:SHOWN], run.moved[:SHOWN]], axis=1)
        for segment in ends:
            ax.plot(*segment.T, color="0.6", lw=0.5, zorder=1)
        ax.plot(*run.x[:SHOWN].T, "o", ms=3, color="C0", label="x")
        ax.plot(*run.moved[:SHOWN].T, "s", ms=3, color="C1", label="T(x)")
        ax.set(xticks=[], yticks=[], aspect="equal", title=name if name == BARE else f"gap, {name}")
        ax.grid(visible=False)
    axes[0, 0].legend(loc="lower left")
    places = np.arange(len(COSTS))
    for place, name in enumerate(COSTS):
        for key, marker, color in ((BARE, "o", "C3"), (name, "s", "C0")):
            values = [run.gaps[name] for run in data[key]]
            label = ("no gap" if key == BARE else "gap") if place == 0 else None
            axes[1, 2].plot(
                np.full(len(values), place), values, marker, ms=4, color=color, label=label
            )
    axes[1, 2].set(yscale="log", title="exact gap of c")
    axes[1, 2].legend()
    for ratios, marker, color in ((fits, "s", "C0"), (divergences, "o", "C3")):
        for place, name in enumerate(COSTS):
            values = ratios(data, name)
            label = {fits: "S − const", divergences: "S"}[ratios] if place == 0 else None
            axes[1, 3].plot(
                np.full(len(values), place), values, marker, ms=4, color=color, label=label
            )
    axes[1, 3].axhline(FIFTH, color="0.4", ls=":", lw=1)
    axes[1, 3].set(title="S: with gap over without")
    axes[1, 3].legend()
    for ax in axes[1, 2:]:
        ax.set_xticks(places, list(COSTS), rotation=30, ha="right")
    return figure


def all_costs(statement: str, ratios: Ratios, limit: float, *, least: bool) -> Claim[Data]:
    def check(data: Data) -> Outcome:
        detail = "without over with" if least else "with over without"
        return worst({name: ratios(data, name) for name in COSTS}, limit, detail, least=least)

    return Claim(PAPER, statement, check)


def not_negative(data: Data) -> Outcome:
    least = min(gap for runs in data.values() for run in runs for gap in run.gaps.values())
    return at_least(least, least, least, -1e-6, "the least exact gap")


def fewer_crossings(data: Data) -> Outcome:
    pairs = zip(data[EUCLIDEAN], data[BARE], strict=True)
    ratios = [max(run.crossings, 1e-9) / max(bare.crossings, 1e-9) for run, bare in pairs]
    return worst({EUCLIDEAN: ratios}, 1.0, "share of pairs that cross", least=False)


def notes(data: Data) -> Sequence[str]:
    lines = [
        f"{name}: S {np.mean([run.divergence for run in runs]):.3g}, S less its constant "
        f"{np.mean([run.fit for run in runs]):.3g}, share of crossings "
        f"{np.mean([run.crossings for run in runs]):.2g}, exact gaps "
        + ", ".join(f"{c} {np.mean([run.gaps[c] for run in runs]):.2g}" for c in COSTS)
        for name, runs in data.items()
    ]
    reduced = ", ".join(f"{name} {geometric(reductions(data, name))[0]:.3g}" for name in COSTS)
    return [*lines, f"exact gaps without over with: {reduced}", LABEL]


PAPER = "Uscidda, Cuturi 2023"
EXPERIMENT = Experiment(
    name="monge_gap_costs",
    summary="maps from moons to an s-curve, by cost",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(n_steps=250, batch_size=128, n_points=512, n_seeds=2),
        "standard": Settings(n_steps=1000, batch_size=256, n_points=1024, n_seeds=3),
        "paper": Settings(
            n_steps=5000, batch_size=256, n_points=1024, n_seeds=10, constant_rate=True
        ),
    },
)
FIGURE = Figure(
    name="monge_gap_costs",
    title="The Monge gap under five costs",
    paper="Uscidda, Cuturi, ICML 2023 (planar maps)",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim(PAPER, "exact gaps are not negative", not_negative),
        all_costs(
            "the exact gap is five times smaller, for all costs", reductions, FIVE, least=True
        ),
        all_costs("S less its constant is at most 20 % larger", fits, FIFTH, least=False),
        all_costs("S itself is at most 20 % larger", divergences, FIFTH, least=False),
        Claim(f"{PAPER}: no crossings", "Euclidean segments cross less often", fewer_crossings),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
