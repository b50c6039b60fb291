"""Simulated responses of cells to a treatment, learned from cells that are not paired.

Runs:    python paper_figures/monge_gap_cells.py [--preset quick|standard|paper]
Shows:   Sinkhorn divergence and MMD from held-out treated cells, and L2-UVP from the true map, by
         method: each point a seed. Reproduced setting, not the published table: the published
         cells are real, these are simulated.
Games:   log counts of 50 genes; the treatment changes rates of 30 % of them, by a known map that
         is optimal for ‖x − y‖²; 2048 control cells and as many treated ones to learn from, and as
         many held out, other cells, genes and rates for each seed. Residual networks of three
         layers of 64, batches of 256, λ = 1, Adam from 3e-3 to 3e-5; ICNNs that start near the
         identity, minimax with a fifth of the steps, of 10 inner ones each; entropic map from all
         cells. ε of divergences is 0.1 of mean costs; MMD over six widths.
Claims:  the true map has no gap; the Monge gap has the lower divergence and the lower MMD than no
         gap, ICNN minimax and the entropic map; the displacement penalty leaves the map farther
         from the target.
"""

import sys
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.core.checks import FloatArray
from fenchel.experiments import Claim, Experiment, Figure, Outcome, Results, at_most, main
from fenchel.ot import monge_gap, sinkhorn_divergence
from fenchel.ot.datasets import Sampler, simulated_cells
from fenchel.ot.metrics import l2_uvp, map_cosine, mmd
from fenchel.paper_figures._maps import (
    BARE,
    ENTROPIC,
    GAP,
    LABEL,
    MAKKUVA,
    W2GN,
    learn,
    worst,
)

TRUE, DISPLACEMENT = "true map", "displacement"
METHODS = (TRUE, GAP, BARE, DISPLACEMENT, MAKKUVA, W2GN, ENTROPIC)
QUANTITIES = {"divergence": "Sinkhorn divergence", "mmd": "MMD²", "uvp": "L2-UVP, percent"}
GAMMAS = (2.0, 1.0, 0.5, 0.1, 0.01, 0.005)  # of the literature, for features of about unit norm


@dataclass(frozen=True)
class Settings:
    """Treatments, one a seed."""

    n_genes: int
    n_cells: int
    n_steps: int
    n_seeds: int
    n_replications: int = 1


@dataclass(frozen=True)
class Config:
    """One method."""

    method: str
    n_genes: int
    n_cells: int
    n_steps: int


Data = dict[str, pd.DataFrame]  # one row a seed


def cells(settings: Settings) -> list[Config]:
    s = settings
    return [Config(method, s.n_genes, s.n_cells, s.n_steps) for method in METHODS]


def sample_of(population: FloatArray) -> Sampler:
    """Draws some of these cells, each at most once where there are enough."""

    def draw(n: int, rng: np.random.Generator) -> FloatArray:
        size = len(population)
        chosen: FloatArray = population[rng.choice(size, n, replace=n > size)]
        return chosen

    return draw


def make_run(config: Config, seed: int) -> pd.DataFrame:
    """One row of QUANTITIES, cosine and the exact gap over Var(ν)."""
    problem = simulated_cells(config.n_genes, seed=seed)
    rng = np.random.default_rng([1, seed])
    draws = [draw(config.n_cells, rng) for draw in (problem.source, problem.target) * 2]
    known, treated, x, y = draws
    assert problem.map is not None
    if config.method == TRUE:
        transport = problem.map
    else:
        transport = learn(
            GAP if config.method == DISPLACEMENT else config.method,
            replace(problem, source=sample_of(known), target=sample_of(treated)),
            seed,
            n_steps=config.n_steps,
            strength=1.0,
            learning_rate=3e-3,
            penalty="displacement" if config.method == DISPLACEMENT else "gap",
        )
    moved, true = transport(x), problem.map(x)
    epsilon = 0.1 * float(problem.cost.matrix(y, y).mean())
    found = sinkhorn_divergence(moved, y, epsilon=epsilon, tolerance=1e-4)
    gap = monge_gap(x, moved, cost=problem.cost, kind="exact")
    row = {
        "divergence": found.value,
        "mmd": mmd(moved, y, gammas=[gamma / config.n_genes for gamma in GAMMAS]),
        "uvp": l2_uvp(moved, true, variance=problem.target_variance),
        "cosine": map_cosine(x, moved, true),
        "gap": gap / problem.target_variance,
    }
    return pd.DataFrame([row])


def summarise(results: Results[Settings, Config]) -> Data:
    return {c.method: pd.concat(results[c], ignore_index=True) for c in results.configs}


def draw(data: Data) -> Drawing:
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.4))
    for ax, (column, label) in zip(axes, QUANTITIES.items(), strict=True):
        shown = [name for name in data if column != "uvp" or name != TRUE]
        for place, name in enumerate(shown):
            values = data[name][column]
            at = np.full(len(values), place)
            ax.plot(at, values, "o", ms=5, color=f"C{list(data).index(name)}")
        ax.set_xticks(range(len(shown)), shown, rotation=40, ha="right")
        ax.set(title=label, xlim=(-0.5, len(shown) - 0.5))
        if column == "mmd":
            ax.set_yscale("log")
        else:
            ax.set_ylim(bottom=0)
        if column != "uvp":
            ax.axhline(data[TRUE][column].mean(), color="0.4", ls=":", lw=1)
    return figure


def lower(column: str, than: str, *, called: str = "") -> Claim[Data]:
    """The Monge gap against another method."""

    def check(data: Data) -> Outcome:
        ratios = list(data[GAP][column] / data[than][column])
        return worst({than: ratios}, 1.0, "over that of the other", least=False)

    return Claim(PAPER, f"Monge gap: lower {QUANTITIES[column]} than {called or than}", check)


def true_map(data: Data) -> Outcome:
    largest = float(data[TRUE]["gap"].max())
    return at_most(largest, largest, largest, 1e-9, "largest exact gap over Var(ν)")


def notes(data: Data) -> list[str]:
    lines = [
        f"{name}: divergence {table['divergence'].mean():.3g}, MMD² {table['mmd'].mean():.2e}, "
        f"L2-UVP {table['uvp'].mean():.3g} %, cosine {table['cosine'].mean():.3f}, "
        f"exact gap over Var(ν) {table['gap'].mean():.1e}"
        for name, table in data.items()
    ]
    return [*lines, LABEL]


PAPER = "Uscidda, Cuturi 2023"
EXPERIMENT = Experiment(
    name="monge_gap_cells",
    summary="simulated responses of cells, by method",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(n_genes=20, n_cells=512, n_steps=200, n_seeds=2),
        "standard": Settings(n_genes=50, n_cells=2048, n_steps=1000, n_seeds=3),
        "paper": Settings(n_genes=50, n_cells=2048, n_steps=5000, n_seeds=10),
    },
)
FIGURE = Figure(
    name="monge_gap_cells",
    title="The Monge gap on simulated cells",
    paper="Uscidda, Cuturi, ICML 2023 (single cells)",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim("Brenier 1991", "the true map has no gap", true_map),
        *(
            lower(column, than)
            for column in ("divergence", "mmd")
            for than in (BARE, MAKKUVA, ENTROPIC)
        ),
        lower("divergence", DISPLACEMENT, called="the displacement penalty"),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
