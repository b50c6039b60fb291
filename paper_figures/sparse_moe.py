"""Mixtures of experts on a toy problem: sparsity-constrained routing against its baselines.

Runs:    python paper_figures/sparse_moe.py [--preset quick|standard|paper]
Shows:   first, held-out loss over that of the best linear map, against steps, mean over problems;
         then the same after training, the busiest expert's load over the mean load, and the share
         of tokens that no expert sees, a dot a problem, a bar the mean. Dotted: the noise, which no
         predictor removes. Top-k (dashed) chooses without regard to the capacity: tokens beyond it,
         the last of a group, are lost, but for the router named so. Loads are those chosen,
         before any are lost.
Games:   a stand-in: the paper's vision models and data are private. Regression ℝ⁸ → ℝ, 16 Gaussian
         clusters, on each another linear map; 8 experts with 16 hidden units and one linear map for
         all tokens; groups of 128 tokens, fresh ones each step; Adam, 0.03. There is one place a
         token: capacity 16, k = 1. A problem is clusters, data and first weights, the same for all
         routers. With two places the first five routers lose hardly a token.
Claims:  no expert has more tokens than its capacity; k-sparse routing without auxiliary loss is
         better balanced than top-k without; its loss is at most that of top-k with importance and
         load losses and the same capacity. No number here is the paper's.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure as Drawing

from fenchel.core.checks import FloatArray
from fenchel.experiments import (
    Claim,
    Experiment,
    Figure,
    Outcome,
    Results,
    at_most,
    main,
)
from fenchel.ot.router import Kind, Router
from fenchel.paper_figures._statistics import interval

ROUTERS: dict[str, tuple[Kind, float, bool]] = {  # weight of auxiliary losses, whether to truncate
    "sparse, experts choose": ("sparse", 0.0, False),
    "sparse, tokens choose": ("sparse-rows", 0.0, False),
    "quadratic": ("quadratic", 0.0, False),
    "Sinkhorn": ("sinkhorn", 0.0, False),
    "expert choice": ("expert-choice", 0.0, False),
    "top-k, no loss": ("top-k", 0.0, True),
    "top-k, load loss": ("top-k", 0.1, True),  # Shazeer et al. 2017, appendix C.1
    "top-k, load loss, no capacity": ("top-k", 0.1, False),
}
SPARSE, SPARSE_ROWS, _, _, _, TOPK, TOPK_BALANCED, TOPK_FREE = ROUTERS
WITH_CAPACITY = [name for name, (kind, _, _) in ROUTERS.items() if kind != "top-k"]
WIDTH, CLUSTERS, EXPERTS, HIDDEN = 8, 16, 8, 16
GROUP, GROUPS, HELD_OUT = 128, 4, 16  # tokens; groups a step and in all that is held out
PLACES = 1  # a token: capacity_factor, and k
NOISE, LEARNING_RATE = 0.1, 3e-2
FIRST_PROBLEM = 100  # places and learning rate were chosen on others


@dataclass(frozen=True)
class Settings:
    """Problems, and steps of training on each."""

    n_steps: int
    n_problems: int
    n_checkpoints: int
    n_replications: int = 1
    n_seeds: int = 1


@dataclass(frozen=True)
class Config:
    """One router on one problem."""

    router: str
    problem: int
    n_steps: int
    n_checkpoints: int


@dataclass(frozen=True)
class Data:
    """What was measured.

    Attributes:
        steps: of the checkpoints.
        curves: held-out loss over that of the best linear map, (problems, checkpoints), by router.
        noise: the same of the noise, one a problem.
        finals: by router and quantity, one a problem.
    """

    steps: FloatArray
    curves: dict[str, FloatArray]
    noise: FloatArray
    finals: dict[tuple[str, str], FloatArray]


Tensors: TypeAlias = dict[str, Any]


def normal(draws: Any, *shape: int) -> Any:
    return torch.randn(shape, generator=draws)


def draw_problem(draws: Any) -> Tensors:
    return {
        "centres": 1.5 * normal(draws, CLUSTERS, WIDTH),
        "slopes": normal(draws, CLUSTERS, WIDTH) / WIDTH**0.5,
        "offsets": normal(draws, CLUSTERS),
    }


def draw_tokens(problem: Tensors, groups: int, draws: Any) -> tuple[Any, Any]:
    """Tokens (G, m, d) and what to predict, (G, m)."""
    z = torch.randint(CLUSTERS, (groups, GROUP), generator=draws)
    tokens = problem["centres"][z] + 0.7 * normal(draws, groups, GROUP, WIDTH)
    local = tokens - problem["centres"][z]
    targets = (local * problem["slopes"][z]).sum(dim=-1) + problem["offsets"][z]
    return tokens, targets + NOISE * normal(draws, groups, GROUP)


def draw_experts(draws: Any) -> Tensors:
    weights = {
        "first": normal(draws, EXPERTS, WIDTH, HIDDEN) / WIDTH**0.5,
        "bias": torch.zeros(EXPERTS, 1, HIDDEN),
        "second": normal(draws, EXPERTS, HIDDEN) / HIDDEN**0.5,
        "offset": torch.zeros(EXPERTS),
        "linear": torch.zeros(WIDTH),
        "constant": torch.zeros(()),
    }
    return {name: weight.requires_grad_() for name, weight in weights.items()}


def predict(weights: Tensors, tokens: Any, gates: Any) -> Any:
    """Answers of the experts, weighted by gates, and the map for all tokens: (G, m)."""
    inner = torch.einsum("gmd,ndh->gnmh", tokens, weights["first"]) + weights["bias"]
    answers = torch.einsum("gnmh,nh->gmn", torch.relu(inner), weights["second"])
    shared = tokens @ weights["linear"] + weights["constant"]
    return shared + (gates * (answers + weights["offset"])).sum(dim=-1)


def truncate(dispatch: Any, capacity: int) -> Any:
    """The first tokens of each expert, up to its capacity (Riquelme et al. 2021)."""
    return dispatch & (dispatch.cumsum(dim=-2) <= capacity)


def linear_loss(tokens: Any, targets: Any) -> float:
    """Mean squared error of the best affine map."""
    x = np.column_stack([tokens.reshape(-1, WIDTH).double().numpy(), np.ones(targets.numel())])
    y = targets.reshape(-1).double().numpy()
    return float(np.mean((y - x @ np.linalg.lstsq(x, y)[0]) ** 2))


def make_run(config: Config, seed: int) -> pd.DataFrame:
    def generator(purpose: int) -> Any:
        entropy = np.random.SeedSequence([config.problem, seed, purpose]).generate_state(1)
        return torch.Generator().manual_seed(int(entropy[0]))

    problem = draw_problem(generator(0))
    held_out, answers = draw_tokens(problem, HELD_OUT, generator(1))
    batches, noises, first = generator(2), generator(3), generator(4)
    kind, weight, is_truncated = ROUTERS[config.router]
    router = Router(
        WIDTH, EXPERTS, kind=kind, generator=first, capacity_factor=PLACES, k=PLACES
    )  # fmt: skip
    experts = draw_experts(first)
    optimizer = torch.optim.Adam([*router.parameters(), *experts.values()], lr=LEARNING_RATE)
    capacity, fullest = router.capacity(GROUP), 0.0
    limit = capacity if is_truncated else GROUP
    checkpoints = np.linspace(0, config.n_steps, config.n_checkpoints).round().astype(int)
    scale, rows = linear_loss(held_out, answers), []
    for step in range(config.n_steps + 1):
        if step in checkpoints:
            router.eval()
            with torch.no_grad():
                routing = router(held_out)
                kept = truncate(routing.dispatch, limit)
                loss = ((predict(experts, held_out, routing.gates * kept) - answers) ** 2).mean()
            fullest = max(fullest, float(routing.load.max()) / capacity)
            chosen = routing.plan > 0 if kind == "sparse-rows" else routing.dispatch
            load = chosen.sum(dim=-2).double()
            rows.append(
                {
                    "step": step,
                    "loss": float(loss) / scale,
                    "noise": NOISE**2 / scale,
                    "variation": float((load.std(-1, unbiased=False) / load.mean(-1)).mean()),
                    "busiest": float((load.amax(-1) / load.mean(-1)).mean()),
                    "dropped": float((~kept.any(dim=-1)).double().mean()),
                    "fullest": fullest,
                }
            )
            router.train()
        tokens, targets = draw_tokens(problem, GROUPS, batches)
        routing = router(tokens, noises)
        fullest = max(fullest, float(routing.load.max()) / capacity)
        gates = routing.gates * truncate(routing.dispatch, limit)
        loss = ((predict(experts, tokens, gates) - targets) ** 2).mean()
        optimizer.zero_grad()
        (loss + weight * routing.auxiliary_loss).backward()
        optimizer.step()
    return pd.DataFrame(rows)


def cells(settings: Settings) -> list[Config]:
    return [
        Config(name, FIRST_PROBLEM + i, settings.n_steps, settings.n_checkpoints)
        for name in ROUTERS
        for i in range(settings.n_problems)
    ]


def summarise(results: Results[Settings, Config]) -> Data:
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in ROUTERS}
    for c in results.configs:
        tables[c.router] += results[c]
    quantities = ("loss", "variation", "busiest", "dropped", "fullest")
    return Data(
        tables[SPARSE][0]["step"].to_numpy(dtype=float),
        {name: np.array([t["loss"] for t in tables[name]]) for name in ROUTERS},
        np.array([t["noise"].iloc[-1] for t in tables[SPARSE]]),
        {
            (name, quantity): np.array([float(t[quantity].iloc[-1]) for t in tables[name]])
            for name in ROUTERS
            for quantity in quantities
        },
    )


def draw(data: Data) -> Drawing:
    figure, axes = plt.subplots(1, 4, figsize=(14, 4.4), width_ratios=[1.2, 1, 1, 1])
    panels = {
        "loss": "held-out loss over the linear map's",
        "busiest": "busiest expert's load over the mean",
        "dropped": "share of tokens seen by no expert",
    }
    for i, name in enumerate(ROUTERS):
        look: dict[str, Any] = {"color": "0.5" if name == TOPK_FREE else f"C{i}"}
        mean = data.curves[name].mean(axis=0)
        ls = "-" if name in WITH_CAPACITY else "--"
        axes[0].plot(
            data.steps[1:], mean[1:], marker="o", ms=3, ls=ls, **look
        )  # the first dwarfs the rest
        for ax, quantity in zip(axes[1:], panels, strict=True):
            values = data.finals[name, quantity]
            ax.plot(values, np.full(len(values), i), "o", ms=5, alpha=0.5, **look)
            ax.plot(values.mean(), i, "|", ms=20, mew=2.5, **look)
    for ax in (axes[0].axhline, axes[1].axvline):
        ax(float(data.noise.mean()), color="0.4", ls=":", lw=1)
    axes[0].set(xlabel="steps of training", ylim=(0, None))
    axes[0].set_ylabel("held-out loss over the linear map's")
    for ax, label in zip(axes[1:], panels.values(), strict=True):
        ax.set_yticks(range(len(ROUTERS)), [])
        ax.invert_yaxis()
        ax.set(xlabel=label)
    names = axes[1].set_yticks(
        range(len(ROUTERS)), [name.replace(", ", ",\n", 1) for name in ROUTERS]
    )
    for i, (name, tick) in enumerate(zip(ROUTERS, names, strict=True)):
        tick.label1.set_color("0.5" if name == TOPK_FREE else f"C{i}")
    axes[1].set_xlim(0, None)
    axes[2].set_xlim(0.9, None)
    return figure


def never_above_capacity(data: Data) -> Outcome:
    largest = max(float(data.finals[name, "fullest"].max()) for name in WITH_CAPACITY)
    detail = f"largest load over capacity in training and after, {len(WITH_CAPACITY)} routers"
    return at_most(largest, largest, largest, 1.0, detail)


def better_balanced(name: str) -> Claim[Data]:
    def check(data: Data) -> Outcome:
        gap = data.finals[name, "variation"] - data.finals[TOPK, "variation"]
        detail = "coefficient of variation of loads in a group: mean difference"
        return at_most(*interval(gap), 0.0, detail)

    return Claim(
        "Liu et al. 2023: balance without auxiliary losses",
        f"{name}: loads vary less than with top-k without auxiliary loss",
        check,
    )


def loss_ratio(data: Data, name: str, other: str) -> tuple[float, float, float]:
    """Geometric mean over problems of the ratio of held-out losses, with its interval."""
    value, low, high = interval(np.log(data.finals[name, "loss"] / data.finals[other, "loss"]))
    return float(np.exp(value)), float(np.exp(low)), float(np.exp(high))


def no_more_loss(name: str) -> Claim[Data]:
    def check(data: Data) -> Outcome:
        value, low, high = loss_ratio(data, name, TOPK_BALANCED)
        return at_most(value, low, high, 1.0, "geometric mean of the ratio of held-out losses")

    return Claim(
        "Liu et al. 2023: quality of k-sparse routing (a toy here)",
        f"{name}: held-out loss at most that of {TOPK_BALANCED}, same capacity",
        check,
    )


def notes(data: Data) -> Sequence[str]:
    def line(quantity: str, words: str) -> str:
        values = (f"{name} {data.finals[name, quantity].mean():.3f}" for name in ROUTERS)
        return f"{words}, mean over problems: {', '.join(values)}"

    value, low, high = loss_ratio(data, SPARSE, TOPK_FREE)
    return [
        "a toy problem: the paper's data are private, and none of its numbers is reproduced",
        f"a capacity has its price: held-out loss of {SPARSE} over that of {TOPK_FREE} "
        f"{value:.3g} [{low:.3g}, {high:.3g}]",
        line("loss", "held-out loss over that of the best linear map"),
        line("variation", "coefficient of variation of loads"),
        line("busiest", "busiest expert over the mean"),
        line("dropped", "share of tokens seen by no expert"),
    ]


EXPERIMENT = Experiment(
    name="sparse_moe",
    summary="routers of a toy mixture of experts: loss, balance, tokens dropped",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(n_steps=50, n_problems=3, n_checkpoints=4),
        "standard": Settings(n_steps=120, n_problems=5, n_checkpoints=6),
        "paper": Settings(n_steps=2000, n_problems=20, n_checkpoints=11),
    },
)
FIGURE = Figure(
    name="sparse_moe",
    title="Routing in a toy mixture of experts",
    paper="Liu, Puigcerver, Blondel, ICLR 2023; the problem is a stand-in for private data",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim(
            "Liu et al. 2023: k-sparse columns are a capacity",
            "no expert ever has more tokens than its capacity",
            never_above_capacity,
        ),
        *map(better_balanced, (SPARSE, SPARSE_ROWS)),
        *map(no_more_loss, (SPARSE, SPARSE_ROWS)),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
