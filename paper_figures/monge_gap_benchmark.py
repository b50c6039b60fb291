"""Learned maps on a benchmark whose optimal map is the gradient of a known convex potential.

Runs:    python paper_figures/monge_gap_benchmark.py [--preset quick|standard|paper]
Shows:   L2-UVP and cosine of the maps against d: each point a seed, lines their means.
         Reproduced setting, not the published table.
Games:   a mixture of three Gaussians → its image by ∇u, u a sum of log-sum-exp terms and ½ ‖x‖²,
         in the place of the benchmark of Korotin et al.; cost ‖x − y‖², another problem for each
         seed; residual networks of three layers of 64, batches of 256 fresh points, λ = 5,
         Adam from 3e-3 to 3e-5; ICNNs of three layers of 64 that start near the identity, minimax
         with a fifth of the steps, of 10 inner ones each; entropic map from 2048 points.
Claims:  the true map has no gap; with the Monge gap a map is nearer to the true one than without,
         and in the largest dimension nearer than those of both ICNN methods.
"""

import sys

import pandas as pd

from fenchel.experiments import Experiment, Figure, main
from fenchel.ot.datasets import convex_potential
from fenchel.paper_figures._maps import (
    BARE,
    ENTROPIC,
    GAP,
    MAKKUVA,
    W2GN,
    Config,
    Settings,
    collected,
    draw_scores,
    nearer,
    score_notes,
    scores,
    true_map_is_optimal,
)


def cells(settings: Settings) -> list[Config]:
    return [
        Config(method, dim, settings.n_steps)
        for dim in settings.dims
        for method in (GAP, BARE, MAKKUVA, W2GN, ENTROPIC)
    ]


def make_run(config: Config, seed: int) -> pd.DataFrame:
    problem = convex_potential(config.dim, seed=seed)
    return scores(problem, config, seed, strength=5.0, learning_rate=3e-3)


PAPER = "Uscidda, Cuturi 2023"
EXPERIMENT = Experiment(
    name="monge_gap_benchmark",
    summary="maps with known convex potentials, by method and dimension",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(dims=(2, 8), n_steps=150, n_seeds=2),
        "standard": Settings(dims=(2, 4, 16, 64), n_steps=1000, n_seeds=3),
        "paper": Settings(dims=(2, 4, 8, 16, 32, 64, 128, 256), n_steps=10_000, n_seeds=5),
    },
)
FIGURE = Figure(
    name="monge_gap_benchmark",
    title="The Monge gap on known convex potentials",
    paper="Uscidda, Cuturi, ICML 2023; Korotin et al., NeurIPS 2021",
    experiment=EXPERIMENT,
    summarise=collected,
    draw=draw_scores,
    claims=[
        true_map_is_optimal("Brenier 1991"),
        nearer(PAPER, GAP, BARE),
        nearer(PAPER, GAP, MAKKUVA, largest=True),
        nearer(PAPER, GAP, W2GN, largest=True),
    ],
    notes=score_notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
