"""Why the log-barrier bears loss estimates of any size: the refined stability lemma.

Runs:    python paper_figures/log_barrier_lemma.py [--preset quick|standard|paper]
Shows:   for many loss sequences, what FTRL with the log-barrier loses beyond its penalty,
         S = Σ_t ⟨p_t − y, c_t⟩ − (Ψ(y) − Ψ(p_1))/η at the worst y, over the refined bound
         η Σ_t Σ_a p c² (left) and over the classical η Σ_t Σ_a p² c² (right), against the largest
         η p c_− of the sequence. Above the line a bound is broken.
Games:   η = 1, T = 50; sequences of scales 10^−2 to 10^3: normal, all negative, or a large negative
         loss for the action that is played least, round after round.
Claims:  the refined form always holds; the classical one holds where η p c_− <= ½ and fails
         elsewhere. Exponential weights would need η c >= −1 instead.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.core.checks import FloatArray
from fenchel.core.potentials import LogBarrier
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

KINDS = ("normal", "negative", "on the least played")
ROUNDS = 50


@dataclass(frozen=True)
class Settings:
    """Replications are sequences, so many of each kind and number of actions."""

    n_replications: int
    n_seeds: int = 1


@dataclass(frozen=True)
class Config:
    """Sequences of one kind."""

    kind: str
    n_actions: int
    n_replications: int


def cells(settings: Settings) -> list[Config]:
    return [Config(kind, A, settings.n_replications) for kind in KINDS for A in (2, 3, 5, 10)]


def losses(kind: str, p: FloatArray, scale: FloatArray, rng: np.random.Generator) -> FloatArray:
    c = scale * rng.standard_normal(p.shape)
    if kind == "negative":
        return -np.abs(c)
    if kind == "on the least played":
        least = np.arange(p.shape[1]) == p.argmin(axis=-1)[:, None]
        return np.where(least, -np.abs(c), 0.0)
    return c


def make_run(config: Config, seed: int) -> pd.DataFrame:
    rng, potential = np.random.default_rng(seed), LogBarrier()
    n, A = config.n_replications, config.n_actions
    scale = 10 ** rng.uniform(-2, 3, (n, 1))
    total = np.zeros((n, A))
    spent, refined, classical, largest = np.zeros((4, n))
    for _ in range(ROUNDS):
        p = potential.maximizer(-total)
        c = losses(config.kind, p, scale, rng)
        spent += (p * c).sum(axis=-1)
        refined += (p * c**2).sum(axis=-1)
        classical += (p**2 * c**2).sum(axis=-1)
        largest = np.maximum(largest, (p * np.maximum(-c, 0)).max(axis=-1))
        total += c
    y = potential.maximizer(-total)  # the y for which S is largest
    penalty = potential.value(y) - A * np.log(A)
    beyond = spent - (y * total).sum(axis=-1) - penalty
    return pd.DataFrame(
        {"size": largest, "refined": beyond / refined, "classical": beyond / classical}
    )


Data: TypeAlias = dict[str, pd.DataFrame]  # by kind


def summarise(results: Results[Settings, Config]) -> Data:
    tables: dict[str, list[pd.DataFrame]] = {kind: [] for kind in KINDS}
    for config in results.configs:
        tables[config.kind] += list(results[config])
    return {kind: pd.concat(parts, ignore_index=True) for kind, parts in tables.items()}


def draw(data: Data) -> Drawing:
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True)
    formulas = {"refined": "η Σ p c²", "classical": "η Σ p² c²"}
    for ax, (form, formula) in zip(axes, formulas.items(), strict=True):
        for kind in KINDS:
            shown = data[kind][data[kind]["size"] > 1e-4]
            ax.plot(shown["size"], shown[form], ".", ms=2.5, alpha=0.5, label=kind)
        ax.axhline(1.0, color="k", lw=1)
        ax.axvline(0.5, color="0.5", ls=":", lw=1)
        ax.set(xscale="log", yscale="log", title=f"{form}: {formula}")
        ax.set_xlabel("largest η p c₋ of the sequence (dotted: ½)")
    axes[0].set_ylabel("S over the bound")
    axes[0].set_ylim(bottom=1e-6)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, markerscale=4
    )
    return figure


def pooled(data: Data) -> pd.DataFrame:
    return pd.concat(data.values(), ignore_index=True)


def refined_holds(data: Data) -> Outcome:
    worst = float(pooled(data)["refined"].max())
    return at_most(worst, worst, worst, 1 + 1e-9, f"largest ratio, {len(pooled(data))} sequences")


def classical_holds(data: Data) -> Outcome:
    table = pooled(data)
    small = table[table["size"] <= 0.5]
    worst = float(small["classical"].max())
    return at_most(worst, worst, worst, 1 + 1e-9, f"largest ratio, {len(small)} sequences")


def classical_fails(data: Data) -> Outcome:
    table = pooled(data)
    worst = float(table[table["size"] > 0.5]["classical"].max())
    return at_least(worst, worst, worst, 1.0, "largest ratio")


def notes(data: Data) -> Sequence[str]:
    table = pooled(data)
    large = table[table["size"] > 0.5]
    broken = int((large["classical"] > 1 + 1e-9).sum())
    return [f"the classical form fails in {broken} of {len(large)} sequences with η p c₋ > ½"]


EXPERIMENT = Experiment(
    name="log_barrier_lemma",
    summary="the stability of FTRL with the log-barrier on loss sequences of any size and sign",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(n_replications=400),
        "standard": Settings(n_replications=1000),
        "paper": Settings(n_replications=100_000),
    },
)
PAPER = "Dai et al. 2023, refined log-barrier analysis (recalled; derived)"
FIGURE = Figure(
    name="log_barrier_lemma",
    title="Stability of the log-barrier for losses of any size",
    paper="Dai, Luo, Wei, Zimmert, ICML 2023",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim(PAPER, "S <= η Σ p c² for every loss sequence", refined_holds),
        Claim("classical", "S <= η Σ p² c² where η p c₋ <= ½", classical_holds),
        Claim("classical", "S <= η Σ p² c² fails for some sequence elsewhere", classical_fails),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
