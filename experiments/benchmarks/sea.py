"""Gradient learners: rounds x replications per CPU second, against PyNOL.

Linear regression on the unit ball of ℝ¹⁰. OGD and Ader are compared with those of PyNOL,
OptimisticOMD with its OptimisticOGD, DynamicOptimisticOMD with its SwordPP. fenchel's time includes
drawing the losses, the exact regret and both sides of the path-wise inequality; PyNOL's losses are
drawn beforehand. PyNOL plays one replication and differentiates losses by autograd; "analytic"
hands it the formula of the gradient instead, which its own environment does not. One thread, CPU
time, best of three; ratios are to be compared, not rates, which differ between machines.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...bandits import OGD
from ...bandits.sea import Ader, DynamicOptimisticOMD, LinearRegression, OptimisticOMD, tuned
from ...core import run
from .bandits import pulls_per_second

DIM, HORIZON, NOISE = 10, 10_000, 0.1
PARAMETER = np.full(DIM, 0.5 / np.sqrt(DIM))
LEARNERS: dict[str, tuple[Any, str]] = {
    "OGD": (OGD, "OGD"),
    "Ader": (Ader, "Ader"),
    "OptimisticOMD": (OptimisticOMD, "OptimisticOGD"),
    "DynamicOptimisticOMD": (DynamicOptimisticOMD, "SwordPP"),
}
REPLICATIONS = (256, 64, 1)


def fenchel_rate(name: str, n_replications: int) -> float:
    """Rate of `fenchel.core.run`."""
    game = LinearRegression(PARAMETER, NOISE)
    learner = tuned(LEARNERS[name][0], game)
    run(learner, game, 100, n_replications=n_replications, seed=0)  # load the kernels
    return pulls_per_second(
        lambda: run(learner, game, HORIZON, n_replications=n_replications, seed=0, checkpoints=20),
        HORIZON * n_replications,
    )


def pynol_rates(rounds: int) -> dict[tuple[str, str], float]:
    """Rates of PyNOL by learner and kind of gradient; empty where it cannot be imported."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its docstrings
            from pynol.environment.domain import Ball
            from pynol.environment.environment import Environment
            from pynol.environment.loss_function import SquareLoss
            from pynol.learner import base
            from pynol.learner.models.dynamic.ader import Ader as PynolAder
            from pynol.learner.models.dynamic.swordpp import SwordPP
            from pynol.online_learning import online_learning
    except ModuleNotFoundError:
        return {}
    rng = np.random.default_rng(0)
    features = rng.standard_normal((rounds, DIM + 2))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True))[:, :DIM]
    targets = features @ PARAMETER + NOISE * rng.uniform(-1, 1, rounds)

    class Analytic(Environment):  # type: ignore[misc]
        def __getitem__(self, t: int) -> Analytic:
            a, b = features[t], targets[t]
            self.func = lambda x: 0.5 * (a @ x - b) ** 2
            self.grad_func = lambda x: a * (a @ x - b)
            return self

    ball, start = Ball(DIM, 1.0), np.zeros(DIM)
    game = LinearRegression(PARAMETER, NOISE)
    G, L = game.gradient_bound, game.smoothness
    learners: dict[str, Callable[[], Any]] = {
        "OGD": lambda: base.OGD(ball, step_size=0.1, prior=start),
        "Ader": lambda: PynolAder(ball, HORIZON, G, prior=start),
        "OptimisticOGD": lambda: base.OptimisticOGD(
            ball, step_size=0.1, optimism_type="last_grad", prior=start
        ),
        "SwordPP": lambda: SwordPP(ball, HORIZON, G, L, prior=start),
    }
    environments: dict[str, Callable[[], Any]] = {
        "autograd": lambda: Environment(func_sequence=SquareLoss(features, targets)),
        "analytic": Analytic,
    }

    def rate(learner: Callable[[], Any], environment: Callable[[], Any]) -> float:
        return pulls_per_second(lambda: online_learning(rounds, environment(), learner()), rounds)

    return {
        (name, kind): rate(learner, environment)
        for name, learner in learners.items()
        for kind, environment in environments.items()
    }


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"


def main() -> None:
    """Measure and print."""
    console = Console()
    pynol = pynol_rates(HORIZON // 10)
    if not pynol:
        console.print(
            Text(
                "PyNOL is skipped: it cannot be imported (put a clone of li-lf/PyNOL on PYTHONPATH "
                "and install autograd)",
                "yellow",
            )
        )
    table = Table(
        title=f"Thousand rounds x replications per CPU second, d = {DIM}, T = {HORIZON:,}",
        caption="R: replications, PyNOL plays one; ratio: fenchel over PyNOL; analytic: PyNOL "
        "with gradients by formula; to be reached: 100 at R = 256, 20 at R = 64, 1 at R = 1",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("learner", no_wrap=True)
    for column in ("R", "fenchel", "PyNOL", "ratio", "analytic", "ratio"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, (_, peer) in LEARNERS.items():
        for n_replications in REPLICATIONS:
            rate = fenchel_rate(name, n_replications)
            cells = [name, str(n_replications), _digits(rate / 1e3)]
            for kind in ("autograd", "analytic"):
                other = pynol.get((peer, kind))
                cells += ["", ""] if other is None else map(_digits, (other / 1e3, rate / other))
            table.add_row(*cells)
    console.print(table)
