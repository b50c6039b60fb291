"""What k buys: a lower value and a smoother dual, against sparser plans.

Runs:    python paper_figures/sparse_ot_tradeoff.py [--preset quick|standard|paper]
Shows:   by k, the number of nonzeros allowed in a column (n stands for all): what the value exceeds
         that of k = n by, as an interval from dual bound to plan found; how far L-BFGS on the
         semi-dual, the authors' solver, is from its maximum as it goes; and which share of the mass
         its plan has in the wrong rows at the end, against the plan of `sparse_plan`.
Games:   x ~ N(0, I) and y = A z + 1.5/√2 with z ~ N(0, I), A = 0.7 I + 0.3 G/√2, in the plane, n
         points each, uniform weights, squared distance over its maximum, γ = 1; L-BFGS from α = 0,
         at most 500 iterations, as the authors do.
Claims:  the value falls with k (bounds and plans); L-BFGS comes nearer to the maximum in a given
         number of iterations the larger k is, and ends with smaller errors (from k = 2 on: with
         k = 1 and equal weights the problem is an assignment, and its dual piecewise linear, so
         that L-BFGS is off by much or not at all); `sparse_plan` has no errors at any k.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing
from scipy import stats
from scipy.optimize import minimize

from fenchel.core.checks import FloatArray
from fenchel.experiments import Claim, Experiment, Figure, Outcome, Results, at_least, at_most, main
from fenchel.ot import ConvergenceWarning, sparse_plan
from fenchel.ot.sparse import topk_simplex_maximizer
from fenchel.paper_figures._statistics import interval

WIDTHS = (1, 2, 4, 8, 0)  # 0: n
GAMMA, LIMIT = 1.0, 500
EARLY = 50  # iterations after which the claim on speed looks


@dataclass(frozen=True)
class Settings:
    """Problems of one size, one a seed."""

    n_points: int
    n_seeds: int
    n_replications: int = 1


@dataclass(frozen=True)
class Config:
    """One k; 0 stands for n."""

    k: int
    n_points: int


@dataclass(frozen=True)
class Run:
    """Certified bounds of one problem, and L-BFGS's way.

    Attributes:
        bound, value: D(α) and the value of the plan found by `sparse_plan`.
        error: share of the mass that this plan has in the wrong rows and columns.
        steps: its Newton steps.
        way: D of L-BFGS after 0, 1, ... iterations.
        missed: share of the mass that L-BFGS's plan has in the wrong rows.
    """

    bound: float
    value: float
    error: float
    steps: int
    way: FloatArray
    missed: float

    def shortfall(self, iteration: int) -> float:
        """(max D − D)/max D after so many iterations, or at the end; at least 1e-12."""
        D = self.way[min(iteration, len(self.way) - 1)]
        best = max(self.bound, float(self.way[-1]))
        return max((best - float(D)) / best, 1e-12)


Data: TypeAlias = dict[int, list[Run]]  # by k, one a seed


def cells(settings: Settings) -> list[Config]:
    return [Config(k, settings.n_points) for k in WIDTHS]


def cost_matrix(n: int, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    x, z = rng.standard_normal((2, n, 2))
    A = 0.7 * np.eye(2) + 0.3 * rng.standard_normal((2, 2)) / np.sqrt(2)
    C: FloatArray = ((x[:, None] - (z @ A.T + 1.5 / np.sqrt(2))[None]) ** 2).sum(axis=-1)
    return C / C.max()


def by_lbfgs(C: FloatArray, k: int) -> tuple[list[float], FloatArray]:
    """D on the way, and the gradients of the conjugates at the end, (n, n)."""
    n = len(C)
    a = np.full(n, 1 / n)
    values: dict[bytes, float] = {}

    def plan(alpha: FloatArray) -> Any:
        return topk_simplex_maximizer((alpha[:, None] - C).T, k=k, gamma=GAMMA, mass=a).T

    def loss(alpha: FloatArray) -> tuple[float, FloatArray]:
        T = plan(alpha)
        conjugates = (T * (alpha[:, None] - C)).sum() - GAMMA / 2 * (T * T).sum()
        values[alpha.tobytes()] = float(a @ alpha - conjugates)
        return -values[alpha.tobytes()], T.sum(axis=1) - a

    start = np.zeros(n)
    way = [-loss(start)[0]]
    result = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        callback=lambda alpha: way.append(values[alpha.tobytes()]),
        options={"maxiter": LIMIT, "maxfun": 20 * LIMIT, "ftol": 0.0, "gtol": 1e-9},
    )
    return way, plan(result.x)


def make_run(config: Config, seed: int) -> pd.DataFrame:
    n, k = config.n_points, config.k or config.n_points
    C = cost_matrix(n, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # values are then infinite
        found = sparse_plan(C, k=k, gamma=GAMMA)
    way, T = by_lbfgs(C, k)
    return pd.DataFrame({"D": way}).assign(
        bound=found.dual_value,
        value=found.primal_value,
        error=found.error,
        steps=found.iterations,
        missed=np.abs(T.sum(axis=1) - 1 / n).sum(),
    )


def summarise(results: Results[Settings, Config]) -> Data:
    data: Data = {}
    for c in results.configs:
        data[c.k or c.n_points] = [
            Run(
                bound=float(table["bound"].iloc[0]),
                value=float(table["value"].iloc[0]),
                error=float(table["error"].iloc[0]),
                steps=int(table["steps"].iloc[0]),
                way=table["D"].to_numpy(),
                missed=float(table["missed"].iloc[0]),
            )
            for table in results[c]
        ]
    return data


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float(middle), float(low), float(high)


def draw(data: Data) -> Drawing:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 4.2))
    widths = list(data)
    places = np.arange(len(widths))
    n = widths[-1]
    for i, k in enumerate(widths[:-1]):
        for seed, run in enumerate(data[k]):
            base = data[n][seed].bound
            x = i + 0.5 * ((seed + 0.5) / len(data[k]) - 0.5)
            left.plot([x, x], [run.bound / base - 1, run.value / base - 1], "-_", color=f"C{i}")
    left.set(yscale="log", xticks=places[:-1], xlabel="k", ylabel=f"value over that of k = {n}, −1")
    left.set_xticklabels([str(k) for k in widths[:-1]])
    left.set_title("from dual bound to plan, by problem")
    for i, k in enumerate(widths):
        t = range(1, LIMIT + 1)
        curves = np.array([[run.shortfall(s) for s in t] for run in data[k]])
        low, median, high = np.quantile(curves, (0.25, 0.5, 0.75), axis=0)
        middle.plot(t, median, color=f"C{i}", label=f"k = {k}")
        middle.fill_between(t, low, high, color=f"C{i}", alpha=0.2, lw=0)
    middle.set(xscale="log", yscale="log", ylim=(1e-9, 2.0), xlabel="iterations of L-BFGS")
    middle.set(ylabel="1 − D/max D", title="semi-dual on the way")
    middle.legend()
    for name, marker, quantity in (
        ("L-BFGS", "o", "missed"),
        ("sparse_plan", "s", "error"),
    ):
        rows = [quartiles([max(getattr(r, quantity), 1e-16) for r in data[k]]) for k in widths]
        mid, low, high = np.array(rows).T
        right.errorbar(places, mid, yerr=(mid - low, high - mid), fmt=f"{marker}-", label=name)
    right.set(yscale="log", xticks=places, xlabel="k", ylabel="share of the mass misplaced")
    right.set_xticklabels([str(k) for k in widths])
    right.set_title("marginal error at the end")
    right.legend()
    return figure


def rise(data: Data, attribute: str) -> float:
    """The largest relative rise of a value from one k to the next."""
    widths = list(data)
    rises = [
        getattr(more, attribute) / getattr(fewer, attribute) - 1
        for k, larger in pairwise(widths)
        for fewer, more in zip(data[k], data[larger], strict=True)
        if np.isfinite(getattr(fewer, attribute))
    ]
    return float(max(rises))


def bounds_fall(data: Data) -> Outcome:
    worst = rise(data, "bound")
    return at_most(worst, worst, worst, 1e-7, "largest relative rise from one k to the next")


def values_fall(data: Data) -> Outcome:
    worst = rise(data, "value")
    return at_most(worst, worst, worst, 1e-7, "largest relative rise from one k to the next")


def slopes(data: Data, quantity: Callable[[Run], float]) -> tuple[float, float, float]:
    """Of log₁₀ quantity in log₂ k, a problem each: mean with its 95 % interval (Student)."""
    doublings = np.log2(list(data))
    return interval(
        [
            stats.linregress(doublings, np.log10([quantity(run) for run in runs])).slope
            for runs in zip(*data.values(), strict=True)
        ]
    )


def faster(data: Data) -> Outcome:
    value, low, high = slopes(data, lambda run: run.shortfall(EARLY))
    words = f"decades of 1 − D/max D after {EARLY} iterations, a doubling of k"
    return at_most(value, low, high, 0.0, words)


def smaller_errors(data: Data) -> Outcome:
    from_two = {k: runs for k, runs in data.items() if k > 1}
    value, low, high = slopes(from_two, lambda run: max(run.missed, 1e-12))
    return at_most(value, low, high, 0.0, "decades of the share of mass misplaced, a doubling of k")


def exact_rows(data: Data) -> Outcome:
    worst = max(run.error for runs in data.values() for run in runs)
    return at_most(worst, worst, worst, 1e-9, "largest share of the mass misplaced")


def above_bound(data: Data) -> Outcome:
    least = min(run.value / run.bound - 1 for runs in data.values() for run in runs)
    return at_least(least, least, least, -1e-9, "least relative gap")


def notes(data: Data) -> Sequence[str]:
    gaps = [
        f"k = {k} {max(run.value / run.bound - 1 for run in runs):.1e}" for k, runs in data.items()
    ]
    steps = [f"k = {k} {np.median([run.steps for run in runs]):.0f}" for k, runs in data.items()]
    lost = [run.missed > 1e-6 for run in data[1]]
    ways = [f"k = {k} {np.median([len(r.way) - 1 for r in runs]):.0f}" for k, runs in data.items()]
    return [
        f"largest relative gap between plan found and dual bound: {', '.join(gaps)}",
        f"Newton steps of sparse_plan, median (k = 1 is an assignment): {', '.join(steps)}",
        f"iterations until L-BFGS stops, median: {', '.join(ways)}; 500 is the limit",
        f"k = 1: L-BFGS misplaces more than 1e-6 of the mass in {np.mean(lost):.0%} of problems",
        "bars and bands: quartiles; errors below 1e-16 are shown as 1e-16",
    ]


PAPER = "Liu, Puigcerver, Blondel 2023"
EXPERIMENT = Experiment(
    name="sparse_ot_tradeoff",
    summary="value, smoothness and errors of sparse transport against k",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(n_points=64, n_seeds=6),
        "standard": Settings(n_points=128, n_seeds=12),
        "paper": Settings(n_points=512, n_seeds=24),
    },
)
FIGURE = Figure(
    name="sparse_ot_tradeoff",
    title="Sparsity against value and smoothness",
    paper="Liu, Puigcerver, Blondel, ICLR 2023 (solver curves)",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim(f"{PAPER}: monotone in k", "the dual bound falls with k", bounds_fall),
        Claim(f"{PAPER}: monotone in k", "the value of the plans found falls with k", values_fall),
        Claim(f"{PAPER}: weak duality", "no plan costs less than its dual bound", above_bound),
        Claim(
            f"{PAPER}: smoother with k", "L-BFGS gets nearer the maximum the larger k is", faster
        ),
        Claim(
            f"{PAPER}: smoother with k",
            "L-BFGS misplaces less of the mass the larger k is, from k = 2 on",
            smaller_errors,
        ),
        Claim("derived: polished plans", "sparse_plan misplaces no mass at any k", exact_rows),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
