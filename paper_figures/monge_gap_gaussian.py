"""Learned maps between Gaussians, where the optimal one is linear and known.

Runs:    python paper_figures/monge_gap_gaussian.py [--preset quick|standard|paper]
Shows:   L2-UVP and cosine of the maps against d: each point a seed, lines their means.
         Reproduced setting, not the published table.
Games:   N(m1, S1) → N(m2, S2), eigenvalues of covariances in about [0.3, 4.3], another pair for
         each seed, cost ‖x − y‖²; residual networks of three layers of 64, batches of 256 fresh
         points, λ = 5, Adam from 3e-3 to 3e-5; ICNNs of three layers of 64 that start near the
         identity, minimax with a fifth of the steps, of 10 inner ones each; entropic map from 2048
         points of each side.
Claims:  the true map has no gap; with the Monge gap a map is nearer to the true one than without.
         Noted: the methods that know that the map is the gradient of a convex function.
"""

import sys

import pandas as pd

from fenchel.experiments import Experiment, Figure, main
from fenchel.ot.datasets import gaussian_pair
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
    problem = gaussian_pair(config.dim, seed=seed)
    return scores(problem, config, seed, strength=5.0, learning_rate=3e-3)


PAPER = "Uscidda, Cuturi 2023"
EXPERIMENT = Experiment(
    name="monge_gap_gaussian",
    summary="maps between Gaussians against the closed form",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(dims=(2, 8), n_steps=150, n_seeds=2),
        "standard": Settings(dims=(2, 8, 32), n_steps=1000, n_seeds=3),
        "paper": Settings(dims=(2, 4, 8, 16, 32, 64), n_steps=5000, n_seeds=5),
    },
)
FIGURE = Figure(
    name="monge_gap_gaussian",
    title="The Monge gap between Gaussians",
    paper="Uscidda, Cuturi, ICML 2023",
    experiment=EXPERIMENT,
    summarise=collected,
    draw=draw_scores,
    claims=[
        true_map_is_optimal("Brenier 1991"),
        nearer(PAPER, GAP, BARE),
    ],
    notes=score_notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
