"""What the figures on learned maps share: methods, scores against a known map, and ratios."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.core.checks import FloatArray
from fenchel.experiments import Claim, Outcome, Results, at_least, at_most
from fenchel.ot import MongeMap, NeuralDual, entropic_map, monge_gap
from fenchel.ot.datasets import TransportProblem
from fenchel.ot.metrics import l2_uvp, map_cosine
from fenchel.paper_figures._statistics import interval

GAP, BARE = "Monge gap", "no gap"
MAKKUVA, W2GN, ENTROPIC = "ICNN minimax", "W2GN", "entropic map"
CLOUD = 2048  # points of each side that the entropic map is made from
MINIMAX_SHARE = 5  # a minimax step costs as much as so many others
LABEL = "reproduced setting, not the published table"


def learn(
    method: str, problem: TransportProblem, seed: int, *, n_steps: int, **settings: Any
) -> Callable[[FloatArray], FloatArray]:
    """The map of a method, trained with about equal work.

    Args:
        method: one of the names above.
        problem: whose samplers give fresh points at each step.
        seed: of networks and batches.
        n_steps: of Adam; ICNN minimax takes a fifth of them, of 11 updates each.
        settings: more arguments of `MongeMap`, for those methods that are one.
    """
    common: dict[str, Any] = {
        "final_rate": 0.01,
        "seed": seed,
        "device": "cpu",
        "progress": False,
    }
    if method == ENTROPIC:
        rng = np.random.default_rng([2, seed])
        x, y = problem.source(CLOUD, rng), problem.target(CLOUD, rng)
        cost = problem.cost
        return entropic_map(x, y, cost=cost, epsilon=("mean", 0.05), tolerance=1e-3).transport
    if method in (MAKKUVA, W2GN):
        n_steps = max(1, n_steps // MINIMAX_SHARE) if method == MAKKUVA else n_steps
        dual = NeuralDual(
            method="makkuva" if method == MAKKUVA else "w2gn",
            start="identity",
            n_steps=n_steps,
            validate_every=n_steps,
            **common,
        )
        return dual.fit(problem.source, problem.target).transport
    if method == BARE:
        settings = settings | {"strength": 0.0}
    mapping = MongeMap(
        cost=problem.cost,
        n_steps=n_steps,
        validate_every=n_steps,
        **(common | settings),
    )
    return mapping.fit(problem.source, problem.target).transport


@dataclass(frozen=True)
class Settings:
    """Known maps in some dimensions, one a seed."""

    dims: tuple[int, ...]
    n_steps: int
    n_seeds: int
    n_replications: int = 1


@dataclass(frozen=True)
class Config:
    """One method in one dimension."""

    method: str
    dim: int
    n_steps: int


Scores = dict[tuple[str, int], pd.DataFrame]  # one row a seed, by method and d


def scores(problem: TransportProblem, config: Config, seed: int, **settings: Any) -> pd.DataFrame:
    """One row: L2-UVP and cosine on 4096 fresh points, exact gaps on 512 over Var(ν), seconds."""
    start = time.perf_counter()
    transport = learn(config.method, problem, seed, n_steps=config.n_steps, **settings)
    seconds = time.perf_counter() - start
    assert problem.map is not None
    x = problem.source(4096, np.random.default_rng([1, seed]))
    moved, true = transport(x), problem.map(x)
    gap, true_gap = (
        monge_gap(x[:512], image[:512], cost=problem.cost, kind="exact") / problem.target_variance
        for image in (moved, true)
    )
    row = {
        "uvp": l2_uvp(moved, true, variance=problem.target_variance),
        "cosine": map_cosine(x, moved, true),
        "gap": gap,
        "true gap": true_gap,
        "seconds": seconds,
    }
    return pd.DataFrame([row])


def collected(results: Results[Settings, Config]) -> Scores:
    return {(c.method, c.dim): pd.concat(results[c], ignore_index=True) for c in results.configs}


def draw_scores(data: Scores) -> Drawing:
    """L2-UVP and cosine against d."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    methods = list(dict.fromkeys(method for method, _ in data))
    dims = sorted({dim for _, dim in data})
    for i, method in enumerate(methods):
        for ax, column in zip(axes, ("uvp", "cosine"), strict=True):
            values = [data[method, dim][column] for dim in dims]
            ax.plot(dims, [one.mean() for one in values], color=f"C{i}", label=method)
            for dim, one in zip(dims, values, strict=True):
                ax.plot(np.full(len(one), dim), one, "o", ms=3, color=f"C{i}")
    for ax in axes:
        ax.set_xscale("log", base=2)
        ax.set_xticks(dims, [str(dim) for dim in dims])
        ax.set(xlabel="dimension d")
    axes[0].set(yscale="log", ylabel="L2-UVP, percent", title="distance to the true map")
    axes[1].set(ylabel="cosine", title="direction of the displacement")
    axes[0].legend()
    return figure


def nearer(source: str, method: str, than: str, *, largest: bool = False) -> Claim[Scores]:
    """The lower L2-UVP in each dimension, or in the largest."""

    def check(data: Scores) -> Outcome:
        dims = sorted({dim for _, dim in data})
        groups = {
            f"d = {dim}": list(data[than, dim]["uvp"] / data[method, dim]["uvp"])
            for dim in (dims[-1:] if largest else dims)
        }
        return worst(groups, 1.0, f"L2-UVP of {than} over that of {method}", least=True)

    where = "in the largest dimension" if largest else "in all dimensions"
    return Claim(source, f"{method}: nearer to the true map than {than}, {where}", check)


def true_map_is_optimal(source: str) -> Claim[Scores]:
    def check(data: Scores) -> Outcome:
        largest = max(float(table["true gap"].max()) for table in data.values())
        return at_most(largest, largest, largest, 1e-9, "largest exact gap over Var(ν)")

    return Claim(source, "the true map has no gap", check)


def score_notes(data: Scores) -> list[str]:
    lines = []
    for dim in sorted({dim for _, dim in data}):
        parts = [
            f"{method} {table['uvp'].mean():.3g} % ({table['cosine'].mean():.3f}, "
            f"{table['seconds'].mean():.0f} s)"
            for (method, other), table in data.items()
            if other == dim
        ]
        lines.append(f"d = {dim}, L2-UVP (cosine, time of training): {', '.join(parts)}")
        bare = data[BARE, dim]
        lines.append(
            f"d = {dim}, map of {BARE}: squared error {bare['uvp'].mean() / 100:.2g} of Var(ν), "
            f"of which the exact gap of 512 points sees {bare['gap'].mean():.1e}"
        )
    return [*lines, LABEL]


def geometric(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Geometric mean of ratios, one a seed, with its 95 % interval (Student on logarithms)."""
    logs = np.log(np.maximum(ratios, 1e-12))
    if len(logs) < 2:
        return float(np.exp(logs.mean())), 0.0, np.inf
    value, low, high = np.exp(interval(logs)).tolist()
    return value, low, high


def worst(
    groups: Mapping[str, Sequence[float]], limit: float, detail: str, *, least: bool
) -> Outcome:
    """Ratios of all groups at least (or at most) the limit: the group that is nearest to failing.

    Args:
        groups: ratios by name, one a seed.
        limit: of all geometric means.
        detail: what the ratio is.
        least: whether the limit is from below.
    """
    measured = {name: geometric(ratios) for name, ratios in groups.items()}
    choose = min if least else max
    name = choose(measured, key=lambda one: measured[one][0])
    check = at_least if least else at_most
    return check(*measured[name], limit, f"{detail}; the worst, {name}")
