"""How entropic transport converges: sweeps, relaxed, scaled, and with Newton's method at the end.

Runs:    python paper_figures/sinkhorn_convergence.py [--preset quick|standard|paper]
Shows:   marginal error against iterations (sweeps, and steps of conjugate gradients) and against
         seconds on one core, for ε = 0.05 and 0.005 times the mean cost; one problem of several.
Games:   x ~ N(0, I), y = A z + 1.5/√d with z ~ N(0, I), A = 0.7 I + 0.3 G/√d, d = 2, n points each,
         squared Euclidean cost, uniform weights, float64, tolerance 1e-8.
Claims:  all methods find the same value; over-relaxed sweeps need fewer iterations than plain ones,
         and with Newton's method at the end they are fewer still where ε is small. Noted: how near
         relaxation comes to the rate of its best ω, which is found on the way. Seconds are shown,
         not claimed.
"""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing
from scipy import stats

from fenchel.experiments import (
    Claim,
    Experiment,
    Figure,
    Outcome,
    Results,
    at_least,
    at_most,
    main,
)
from fenchel.ot import ConvergenceWarning, sinkhorn
from fenchel.paper_figures._statistics import interval

METHODS: dict[str, dict[str, Any]] = {
    "plain": {"method": "kernel", "scaling": False},
    "scaled": {"method": "kernel", "scaling": True},
    "relaxed": {"method": "relaxed", "scaling": False},
    "scaled, Newton (default)": {"method": "auto", "scaling": True},
}
PLAIN, SCALED, RELAXED, NEWTON = METHODS
RATIOS = (0.05, 0.005)
TOLERANCE, LIMIT = 1e-8, 5_000


@dataclass(frozen=True)
class Settings:
    """Problems of one size, one a seed."""

    n_points: int
    n_seeds: int
    n_replications: int = 1


@dataclass(frozen=True)
class Config:
    """One method at one ε."""

    method: str
    ratio: float
    n_points: int


Tables: TypeAlias = dict[tuple[str, float], list[pd.DataFrame]]  # one a problem


def cells(settings: Settings) -> list[Config]:
    return [Config(name, ratio, settings.n_points) for ratio in RATIOS for name in METHODS]


def make_run(config: Config, seed: int) -> pd.DataFrame:
    rng, d = np.random.default_rng(seed), 2
    x, z = rng.standard_normal((2, config.n_points, d))
    A = 0.7 * np.eye(d) + 0.3 * rng.standard_normal((d, d)) / np.sqrt(d)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the limit is shown
        result = sinkhorn(
            x,
            z @ A.T + 1.5 / np.sqrt(d),
            epsilon=("mean", config.ratio),
            tolerance=TOLERANCE,
            max_iterations=LIMIT,
            **METHODS[config.method],
        )
    iterations, errors = zip(*result.history[0], strict=True)
    return pd.DataFrame(
        {
            "iterations": iterations,
            "error": errors,
            "seconds": result.seconds[0],
            "value": result.value,
            "converged": result.converged,
        }
    )


def summarise(results: Results[Settings, Config]) -> Tables:
    return {(c.method, c.ratio): list(results[c]) for c in results.configs}


def draw(tables: Tables) -> Drawing:
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.2), sharey=True)
    for row, ratio in zip(axes, RATIOS, strict=True):
        for name in METHODS:
            table = tables[name, ratio][0]
            for ax, axis in zip(row, ("iterations", "seconds"), strict=True):
                steps = table[axis].clip(lower=1 if axis == "iterations" else 1e-4)
                ax.loglog(steps, table["error"].clip(lower=1e-9), "o-", ms=2.5, lw=1, label=name)
                ax.set(xlabel=axis, title=f"ε = {ratio:g} of the mean cost")
        row[0].set_ylabel("marginal error")
        for ax in row:
            ax.axhline(TOLERANCE, color="0.5", ls=":", lw=1)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def iterations(tables: Tables, name: str, ratio: float) -> Any:
    """To the tolerance, one a problem; the limit where it was not reached."""
    return np.array([table["iterations"].iloc[-1] for table in tables[name, ratio]], dtype=float)


def same_value(tables: Tables) -> Outcome:
    worst = 0.0
    for ratio in RATIOS:
        for first, *others in zip(*(tables[name, ratio] for name in METHODS), strict=True):
            found = [t["value"].iloc[-1] for t in (first, *others) if t["converged"].iloc[-1]]
            worst = max(worst, float(np.ptp(found) / found[0]))
    return at_most(worst, worst, worst, 1e-7, "largest relative difference of converged values")


def fewer(name: str, than: str, ratio: float, times: float) -> Claim[Tables]:
    def check(tables: Tables) -> Outcome:
        gains = np.log(iterations(tables, than, ratio) / iterations(tables, name, ratio))
        value, low, high = map(np.exp, interval(gains))
        return at_least(value, low, high, times, f"ratio of iterations, ε = {ratio:g} mean cost")

    return Claim(
        "Thibault et al. 2021" if name == RELAXED else "Brauer et al. 2017",
        f"{name}: iterations of {than} sweeps over its own at least {times:g}, ε = {ratio:g}",
        check,
    )


def tail_rate(table: pd.DataFrame) -> float:
    """By which the error falls a sweep, over errors between 1e-3 and 1e-7."""
    tail = table[(table["error"] < 1e-3) & (table["error"] > 1e-7)]
    slope = stats.linregress(tail["iterations"], np.log(tail["error"])).slope
    return float(np.exp(slope))


def rate_of_relaxation(tables: Tables) -> str:
    ratios = []
    for plain, relaxed in zip(tables[PLAIN, 0.05], tables[RELAXED, 0.05], strict=True):
        rho = tail_rate(plain)
        best = (1 - np.sqrt(1 - rho)) / (1 + np.sqrt(1 - rho))  # ω − 1
        ratios.append(np.log(tail_rate(relaxed)) / np.log(best))
    value, low, high = interval(np.array(ratios))
    return (
        "relaxed sweeps, ε = 0.05 mean cost: logarithm of the rate over that of the best ω "
        f"{value:.2f} [{low:.2f}, {high:.2f}]"
    )


def notes(tables: Tables) -> Sequence[str]:
    lines = []
    for ratio in RATIOS:
        parts = []
        for name in METHODS:
            solved = np.mean([t["converged"].iloc[-1] for t in tables[name, ratio]])
            seconds = np.median([t["seconds"].iloc[-1] for t in tables[name, ratio]])
            count = np.median(iterations(tables, name, ratio))
            parts.append(f"{name} {count:.0f} ({seconds:.2g} s, {solved:.0%} converged)")
        lines.append(f"ε = {ratio:g} mean cost, median iterations: {', '.join(parts)}")
    return [*lines, rate_of_relaxation(tables)]


EXPERIMENT = Experiment(
    name="sinkhorn_convergence",
    summary="marginal errors of entropic transport on the way, by method",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(n_points=100, n_seeds=6),
        "standard": Settings(n_points=300, n_seeds=10),
        "paper": Settings(n_points=2000, n_seeds=16),
    },
)
FIGURE = Figure(
    name="sinkhorn_convergence",
    title="Entropic transport: sweeps, relaxation, scaling, Newton",
    paper="Cuturi, NeurIPS 2013; Thibault et al., 2021; Brauer et al., 2017",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim("uniqueness of the optimum", "all methods find the same value", same_value),
        fewer(RELAXED, PLAIN, 0.05, 1.0),
        fewer(NEWTON, RELAXED, 0.005, 1.0),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
