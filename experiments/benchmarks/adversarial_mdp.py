"""Adversarial linear MDPs: microseconds per episode and replication, and how they grow.

The loop over episodes, the drawing of trajectories, exact covariances and the exact regret are
included. The first row is the size that the targets are for; the others change it in one respect,
or show a large MDP. One thread, CPU time, best of three.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from ...core import Learner, run
from ...mdp import (
    OREPS,
    UOBREPS,
    AdversarialMDP,
    DilatedBonusPolicyOptimization,
    LinearMDP,
    LogBarrierPolicyOptimization,
    MagnitudeReducedPolicyOptimization,
    random_linear_mdp,
    stochastic_losses,
)
from .bandits import pulls_per_second

LEARNERS: dict[str, Callable[[LinearMDP], Learner]] = {
    "A": LogBarrierPolicyOptimization,
    "B": MagnitudeReducedPolicyOptimization,
    "baseline": DilatedBonusPolicyOptimization,
    "O-REPS": OREPS,
    "UOB-REPS": UOBREPS,
}
TARGETS = {"A": 8, "B": 13}  # microseconds, for the first size
SIZES = [  # H, S, A, d, replications, episodes
    (3, 4, 3, 4, 32, 4096),
    (10, 4, 3, 4, 32, 1024),
    (3, 10, 3, 4, 32, 1024),
    (3, 100, 3, 4, 32, 8),
    (3, 4, 30, 4, 32, 512),
    (3, 4, 3, 10, 32, 1024),
    (3, 4, 3, 50, 32, 128),
    (3, 100, 5, 20, 1, 64),
    (3, 1000, 5, 50, 1, 2),
]
LARGEST_DUAL = {"O-REPS": 1000, "UOB-REPS": 100}  # variables: beyond, it is left out


def microseconds(
    name: str, size: tuple[int, int, int, int], n_replications: int, n_episodes: int
) -> float:
    """Of one episode of one replication."""
    model = random_linear_mdp(*size, seed=0)
    losses = stochastic_losses(model, n_episodes, rng=np.random.default_rng(0))
    learner, game = LEARNERS[name](model), AdversarialMDP(model, losses)
    run(learner, game, 1, n_replications=n_replications, seed=0)  # load the kernels
    rate = pulls_per_second(
        lambda: run(learner, game, n_episodes, n_replications=n_replications, checkpoints=2),
        n_replications * n_episodes,
    )
    return 1e6 / rate


def main() -> None:
    """Measure and print."""
    targets = ", ".join(f"{name} {target}" for name, target in TARGETS.items())
    table = Table(
        title="Microseconds per episode and replication",
        caption=f"R replications; A: log-barrier; B: magnitude-reduced; first row: {targets}",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for column in ("H", "S", "A", "d", "R", *LEARNERS):
        table.add_column(column, justify="right", no_wrap=True)
    for *size, n_replications, n_episodes in SIZES:
        H, S, A, d = size
        cells = []
        for name in LEARNERS:
            if LARGEST_DUAL.get(name, math.inf) < (H - 1) * S:
                cells.append("")
                continue
            value = microseconds(name, (H, S, A, d), n_replications, n_episodes)
            cells.append(f"{value:,.0f}" if value >= 100 else f"{value:.2g}")
        table.add_row(*map(str, (H, S, A, d, n_replications)), *cells)
    Console().print(table)
