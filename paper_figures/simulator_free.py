"""Without a simulator: log-barrier and empirical inverse against their predecessors.

Runs:    python paper_figures/simulator_free.py [--preset quick|standard|paper]
Shows:   left, regret over that of the uniform policy, which is proportional to K, against K, tuned
         for K, mean over environments with 95 % band, with the policy cover of an oracle and the
         learnt one; right, the same at the longest K and without each of the two changes that make
         the log-barrier's algorithm, oracle cover, a dot an environment. Practical tuning. UOB-REPS
         treats the MDP as a table; its rate is √K and grows with the number of states.
Games:   random linear MDPs with H = 3, S = 4, A = 3, d = 4, stochastic losses, transitions unknown;
         all states are soon known to the covers. Environments are others than those the constants
         were searched on, over more than a hundred points for each algorithm (K = 2¹⁴, oracle
         cover). With them resampling has one copy of a series cut to W/2 terms. UOB-REPS has the
         paper's parameters.
Claims:  with the log-barrier and the empirical inverse (K^{8/9}) regret per episode falls with K,
         and it has less regret than exponential weights with matrix geometric resampling
         (K^{14/15}). Both are reconstructions, their exponents in K derived; the papers have no
         experiments.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from fenchel.core import Learner, run
from fenchel.core.checks import FloatArray
from fenchel.core.potentials import NegativeEntropy
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
from fenchel.mdp import (
    UOBREPS,
    AdversarialMDP,
    LinearMDP,
    SimulatorFreeExponentialWeights,
    SimulatorFreeLogBarrier,
    UniformPolicy,
    random_linear_mdp,
    stochastic_losses,
)
from fenchel.mdp.adversarial.simulator_free import SimulatorFree
from fenchel.paper_figures._statistics import interval


class WithResampling(SimulatorFreeLogBarrier):
    """The old covariance."""

    resampling = True


class WithEntropy(SimulatorFreeLogBarrier):
    """The old potential."""

    potential = NegativeEntropy()


class WithBoth(WithResampling):
    """The old potential and the old covariance, parameters those of the log-barrier."""

    potential = NegativeEntropy()


KINDS: dict[str, type[SimulatorFree]] = {
    "log-barrier, empirical inverse": SimulatorFreeLogBarrier,
    "exponential weights, resampling": SimulatorFreeExponentialWeights,
}
NEW, OLD = KINDS
ABLATIONS: dict[str, type[SimulatorFree]] = {
    "resampling instead": WithResampling,
    "entropy instead": WithEntropy,
    "both instead": WithBoth,
}
COVERS = ("oracle", "learned")
UNIFORM, TABULAR = "uniform", "UOB-REPS (tabular)"
FIRST_ENVIRONMENT = 100  # the constants were searched on seeds 0, 1, 2


@dataclass(frozen=True)
class Settings:
    """Horizons 4^first, ..., 4^last."""

    first: int
    last: int
    n_environments: int
    n_replications: int
    n_seeds: int = 1


@dataclass(frozen=True)
class Config:
    """One learner in one environment."""

    learner: str
    cover: str
    environment: int
    horizon: int
    n_replications: int


Finals: TypeAlias = dict[tuple[str, str, int], FloatArray]  # learner, cover, K: by environment


def cells(settings: Settings) -> list[Config]:
    horizons = [4**k for k in range(settings.first, settings.last + 1)]
    runs = [(name, cover, K) for K in horizons for name in KINDS for cover in COVERS]
    runs += [(name, "oracle", horizons[-1]) for name in ABLATIONS]
    runs += [(name, "", K) for K in horizons for name in (TABULAR, UNIFORM)]
    return [
        Config(name, cover, FIRST_ENVIRONMENT + i, K, settings.n_replications)
        for name, cover, K in runs
        for i in range(settings.n_environments)
    ]


def build(config: Config, model: LinearMDP) -> Learner:
    if config.learner == UNIFORM:
        return UniformPolicy(model)
    if config.learner == TABULAR:
        return UOBREPS(model)
    return (KINDS | ABLATIONS)[config.learner](model, cover=config.cover)  # type: ignore[arg-type]


def make_run(config: Config, seed: int) -> pd.DataFrame:
    model = random_linear_mdp(3, 4, 3, 4, seed=config.environment)
    rng = np.random.default_rng([999, config.environment])
    game = AdversarialMDP(model, stochastic_losses(model, config.horizon, rng=rng))
    n = 1 if config.learner == UNIFORM else config.n_replications
    K = config.horizon
    return run(
        build(config, model), game, K, n_replications=n, seed=seed, checkpoints=[K]
    ).to_frame()


def summarise(results: Results[Settings, Config]) -> Finals:
    means: dict[tuple[str, str, int], list[float]] = {}
    for c in results.configs:
        table = pd.concat(results[c])
        means.setdefault((c.learner, c.cover, c.horizon), []).append(table["regret"].mean())
    return {key: np.array(values) for key, values in means.items()}


def horizons_of(finals: Finals) -> list[int]:
    return sorted({K for _, _, K in finals})


def share(finals: Finals, name: str, cover: str, K: int) -> FloatArray:
    """Regret over that of the uniform policy, by environment."""
    return finals[name, cover, K] / finals[UNIFORM, "", K]


def draw(finals: Finals) -> Drawing:
    figure, axes = plt.subplots(1, 2, figsize=(12, 4.6))
    horizons = horizons_of(finals)
    lines = [(name, cover) for name in KINDS for cover in COVERS] + [(TABULAR, "")]
    for i, (name, cover) in enumerate(lines):
        mean, low, high = np.array([interval(share(finals, name, cover, K)) for K in horizons]).T
        look = {"color": f"C{i // 2}", "ls": "--" if cover == "learned" else "-"}
        label = f"{name}, {cover} cover" if cover else name
        axes[0].plot(horizons, mean, marker="o", ms=3, label=label, **look)
        axes[0].fill_between(horizons, low, high, color=look["color"], alpha=0.12, lw=0)
    axes[0].axhline(1.0, color="0.4", lw=1)
    axes[0].set(xscale="log", xlabel="episodes K", ylim=(0, 1.05), title="practical tuning")
    axes[0].set_ylabel("regret over the uniform policy's")
    axes[0].set_xticks(horizons, [f"$4^{{{round(np.log(K) / np.log(4))}}}$" for K in horizons])
    axes[0].minorticks_off()
    K = horizons[-1]
    rows = [NEW, *ABLATIONS, OLD]
    for i, name in enumerate(rows):
        shares = share(finals, name, "oracle", K)
        axes[1].plot(shares, np.full(len(shares), i), "o", ms=4, alpha=0.6, color="C0")
        axes[1].plot(shares.mean(), i, "|", ms=16, mew=2, color="C1")
    axes[1].set_yticks(range(len(rows)), [NEW, *ABLATIONS, f"{OLD},\nits own parameters"])
    axes[1].invert_yaxis()
    axes[1].set(xlabel=f"regret over the uniform policy's, K = {K}", xlim=(0, None))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def falls(cover: str) -> Claim[Finals]:
    def check(finals: Finals) -> Outcome:
        horizons = horizons_of(finals)
        first, last = horizons[0], horizons[-1]
        ends = [np.log(finals[NEW, cover, K] / K) for K in (first, last)]
        value, low, high = map(np.exp, interval(ends[0] - ends[1]))
        detail = f"geometric mean of regret/K at K = {first} over that at K = {last}"
        return at_least(value, low, high, 1.0, detail)

    return Claim(
        "Dai et al. 2023: sublinear regret without a simulator",
        f"{NEW}, {cover} cover: regret per episode falls with K",
        check,
    )


def below_predecessor(cover: str) -> Claim[Finals]:
    def check(finals: Finals) -> Outcome:
        K = horizons_of(finals)[-1]
        logs = np.log(finals[NEW, cover, K] / finals[OLD, cover, K])
        value, low, high = map(np.exp, interval(logs))
        return at_most(value, low, high, 1.0, f"geometric mean of the ratio at K = {K}")

    return Claim(
        "Dai et al. 2023: K^(8/9) against K^(14/15)",
        f"{cover} cover: less regret than {OLD}",
        check,
    )


def notes(finals: Finals) -> Sequence[str]:
    K = horizons_of(finals)[-1]
    names = (NEW, *ABLATIONS, OLD)
    values = ", ".join(f"{name} {share(finals, name, 'oracle', K).mean():.3f}" for name in names)
    return [
        f"regret over the uniform policy's at K = {K}, oracle cover: {values}",
        "the algorithms are reconstructions and have no proven bound here",
    ]


EXPERIMENT = Experiment(
    name="simulator_free",
    summary="policy optimisation on linear MDPs with unknown transitions",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(first=5, last=7, n_environments=3, n_replications=8),
        "standard": Settings(first=6, last=8, n_environments=5, n_replications=8),
        "paper": Settings(first=6, last=10, n_environments=10, n_replications=16),
    },
)
FIGURE = Figure(
    name="simulator_free",
    title="Adversarial linear MDPs without a simulator",
    paper="Dai, Luo, Wei, Zimmert, ICML 2023; Luo, Wei, Lee, NeurIPS 2021; reconstructions",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[*map(falls, COVERS), *map(below_predecessor, COVERS)],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
