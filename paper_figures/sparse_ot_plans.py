"""Plans under different regularisers: unregularised, entropic, quadratic, at most k a column.

Runs:    python paper_figures/sparse_ot_plans.py [--preset quick|standard|paper]
Shows:   first two rows, plans between distributions on a line; last row, segments between clouds in
         the plane, as wide as the mass that they carry. Numbers: nonzeros of the plan.
Games:   after the authors' illustrations. 32 bins, squared distance over its maximum: Gaussian
         (10, 4) to (16, 5), and (16, 5) to the mixture of (8, 5) and (24, 5); entropic ε = 2e-3,
         quadratic γ = 0.1, k = 2 with γ = 1. 20 points each of N(0, I) and of N((4, 4), Σ^½ Σ^½),
         Σ = [[1, −.8], [−.6, 1]] as written there; squared distance; entropic ε = 0.1, quadratic
         γ = 10, k = 2 and k = 1 with γ = 1.
Claims:  at most k nonzeros a column, with exact marginals wherever a plan that has them was found;
         no value below its dual bound; fewer nonzeros than the quadratic plan, and values not below
         that of k = m.
"""

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing
from scipy.linalg import sqrtm

from fenchel.core.checks import FloatArray
from fenchel.experiments import Claim, Experiment, Figure, Outcome, Results, at_least, at_most, main
from fenchel.ot import ConvergenceWarning, exact_plan, quadratic_plan, sinkhorn, sparse_plan

LINE, MIXTURE, PLANE = "one Gaussian", "a mixture", "plane"
EXACT, ENTROPIC, QUADRATIC, TWO, ONE = "unregularised", "entropic", "quadratic", "k = 2", "k = 1"
KINDS = {
    LINE: (EXACT, ENTROPIC, QUADRATIC, TWO),
    MIXTURE: (EXACT, ENTROPIC, QUADRATIC, TWO),
    PLANE: (ENTROPIC, QUADRATIC, TWO, ONE),
}
BINS, POINTS = 32, 20


@dataclass(frozen=True)
class Settings:
    """One run a plan; seeds draw the clouds."""

    n_seeds: int
    n_replications: int = 1


@dataclass(frozen=True)
class Config:
    """One plan."""

    problem: str
    kind: str


@dataclass(frozen=True)
class Plan:
    """T with its marginals; value, dual bound, and the value of k = m with the same γ."""

    T: FloatArray
    a: FloatArray
    b: FloatArray
    value: float
    bound: float
    dense: float

    @property
    def n_nonzeros(self) -> int:
        """Entries above 1e-9 of the mass."""
        return int((self.T > 1e-9).sum())


Data: TypeAlias = dict[tuple[str, str], list[Plan]]  # one a seed


def cells(settings: Settings) -> list[Config]:
    return [Config(problem, kind) for problem, kinds in KINDS.items() for kind in kinds]


def bump(mean: float, deviation: float) -> FloatArray:
    density = np.exp(-0.5 * ((np.arange(BINS) - mean) / deviation) ** 2)
    return density / density.sum()


def clouds(seed: int) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    root = np.real(sqrtm(np.array([[1, -0.8], [-0.6, 1]])))
    x, z = rng.standard_normal((2, POINTS, 2))
    return x, z @ root + 4


def problem(name: str, seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """C, a, b."""
    if name == PLANE:
        x, y = clouds(seed)
        uniform = np.full(POINTS, 1 / POINTS)
        return ((x[:, None] - y[None]) ** 2).sum(axis=-1), uniform, uniform
    bins = np.arange(BINS)
    C = (bins[:, None] - bins[None]) ** 2 / (BINS - 1) ** 2
    if name == LINE:
        return C, bump(10, 4), bump(16, 5)
    return C, bump(16, 5), (bump(8, 5) + bump(24, 5)) / 2


def make_run(config: Config, seed: int) -> pd.DataFrame:
    C, a, b = problem(config.problem, seed)
    flat = config.problem != PLANE
    strength = 1.0 if config.kind in (TWO, ONE) else (0.1 if flat else 10.0)
    solvers: dict[str, Callable[[], Any]] = {
        EXACT: lambda: exact_plan(C, a, b),
        ENTROPIC: lambda: sinkhorn(
            cost_matrix=C, a=a, b=b, epsilon=2e-3 if flat else 0.1, tolerance=1e-9
        ),
        QUADRATIC: lambda: quadratic_plan(C, a, b, gamma=strength),
        TWO: lambda: sparse_plan(C, a, b, k=2, gamma=strength),
        ONE: lambda: sparse_plan(C, a, b, k=1, gamma=strength),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the notes say it
        result = solvers[config.kind]()
    T = np.asarray(result.plan)
    value = bound = float((T * C).sum())
    if config.kind in (QUADRATIC, TWO, ONE):
        value, bound = result.primal_value, result.dual_value
    dense = quadratic_plan(C, a, b, gamma=strength).primal_value
    numbers = {"value": value, "bound": bound, "dense": dense}
    return pd.DataFrame({"mass": T.ravel()}).assign(**numbers)


def summarise(results: Results[Settings, Config]) -> Data:
    data: Data = {}
    for c in results.configs:
        plans = []
        for seed, table in enumerate(results[c]):
            _, a, b = problem(c.problem, seed)
            numbers = (float(table[name].iloc[0]) for name in ("value", "bound", "dense"))
            plans.append(Plan(table["mass"].to_numpy().reshape(len(a), len(b)), a, b, *numbers))
        data[c.problem, c.kind] = plans
    return data


def draw(data: Data) -> Drawing:
    figure, axes = plt.subplots(3, 4, figsize=(11, 8.6))
    for row, (name, kinds) in zip(axes, KINDS.items(), strict=True):
        for ax, kind in zip(row, kinds, strict=True):
            plan = data[name, kind][0]
            if name == PLANE:
                x, y = clouds(0)
                for i, j in np.argwhere(plan.T > 1e-3 / POINTS):
                    width = 2.5 * plan.T[i, j] * POINTS
                    ax.plot(*np.transpose([x[i], y[j]]), color="0.4", lw=width, zorder=1)
                ax.plot(*x.T, "o", ms=4, color="C0")
                ax.plot(*y.T, "s", ms=4, color="C1")
                ax.set_aspect("equal")
            else:
                ax.imshow(np.sqrt(plan.T), cmap="Greys", origin="lower", aspect="equal")
                ax.plot(-0.5 + 6 * plan.a / plan.a.max(), np.arange(BINS), color="C0")
                ax.plot(np.arange(BINS), -0.5 + 6 * plan.b / plan.b.max(), color="C1")
            lost = "" if np.isfinite(plan.value) else ", sums off"
            ax.set(xticks=[], yticks=[], title=f"{kind}: {plan.n_nonzeros} nonzeros{lost}")
            ax.grid(visible=False)
        row[0].set_ylabel(name)
    return figure


def sparse_ones(data: Data) -> list[tuple[str, str, Plan]]:
    keys = [key for key in data if key[1] in (TWO, ONE)]
    return [(*key, plan) for key in keys for plan in data[key]]


def certified(data: Data) -> list[tuple[str, str, Plan]]:
    """Those for which a plan with the marginals was found; the others say that none was."""
    return [one for one in sparse_ones(data) if np.isfinite(one[2].value)]


def at_most_k(data: Data) -> Outcome:
    limits = {TWO: 2, ONE: 1}
    excess = max(
        float((plan.T > 0).sum(axis=0).max() - limits[kind]) for _, kind, plan in sparse_ones(data)
    )
    return at_most(excess, excess, excess, 0.0, "largest excess of nonzeros in a column over k")


def marginals(data: Data) -> Outcome:
    errors = [
        np.abs(plan.T.sum(axis=1) - plan.a).sum() + np.abs(plan.T.sum(axis=0) - plan.b).sum()
        for _, _, plan in certified(data)
    ]
    worst = float(max(errors))
    return at_most(worst, worst, worst, 1e-9, "largest L1 error of both marginals")


def above_bound(data: Data) -> Outcome:
    gaps = [(plan.value - plan.bound) / plan.value for _, _, plan in certified(data)]
    least = float(min(gaps))
    return at_least(least, least, least, -1e-9, "least gap over the value")


def not_below_dense(data: Data) -> Outcome:
    gaps = [plan.value / plan.dense - 1 for _, _, plan in certified(data)]
    least = float(min(gaps))
    return at_least(least, least, least, -1e-9, "least excess over the value for k = m, relative")


def sparser(data: Data) -> Outcome:
    shares = [
        data[name, kind][i].n_nonzeros / data[name, QUADRATIC][i].n_nonzeros
        for name, kind in data
        if kind in (TWO, ONE)
        for i in range(len(data[name, kind]))
    ]
    worst = float(max(shares))
    return at_most(worst, worst, worst, 1.0, "largest share of the quadratic plan's nonzeros")


def notes(data: Data) -> Sequence[str]:
    gaps, lost = [], []
    for name, kind in (key for key in data if key[1] in (TWO, ONE)):
        plans = data[name, kind]
        found = [p for p in plans if np.isfinite(p.value)]
        if found:
            worst = max((p.value - p.bound) / p.value for p in found)
            gaps.append(f"{name} {kind} {worst:.1e}")
        if len(found) < len(plans):
            lost.append(f"{name} {kind} ({len(plans) - len(found)} of {len(plans)})")
    return [
        f"largest relative gap between value and dual bound: {', '.join(gaps)}",
        f"no k-sparse plan with the marginals was found for: {', '.join(lost) or 'none'}; the plan "
        "shown is then the best for the dual variables, with row sums that are off",
    ]


PAPER = "Liu, Puigcerver, Blondel 2023"
EXPERIMENT = Experiment(
    name="sparse_ot_plans",
    summary="plans of regularised transport on a line and in the plane",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(n_seeds=1),
        "standard": Settings(n_seeds=5),
        "paper": Settings(n_seeds=50),
    },
)
FIGURE = Figure(
    name="sparse_ot_plans",
    title="Sparse plans",
    paper="Liu, Puigcerver, Blondel, ICLR 2023 (illustrations)",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim(PAPER, "at most k nonzeros in each column", at_most_k),
        Claim("derived: polished plans", "marginals are exact where a plan was found", marginals),
        Claim(f"{PAPER}: weak duality", "no plan costs less than its dual bound", above_bound),
        Claim(f"{PAPER}: monotone in k", "no k-sparse plan costs less than k = m", not_below_dense),
        Claim(PAPER, "fewer nonzeros than the quadratic plan", sparser),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
