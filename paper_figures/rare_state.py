"""Where exponential weights on plain estimates fail with √K tuning: a rare state, large estimates.

Runs:    python paper_figures/rare_state.py [--preset quick|standard|paper]
Shows:   left, regret after K episodes against K, tuned for K, log-log, with 95 % band; middle,
         regret of single runs at the longest K: a step is an episode in the rare state and what it
         led to; right, the search: regret of the plain estimator over the magnitude-reduced one's.
Games:   H = 2, d = 2. The first layer leads, whatever is done, to a rare state with probability ρ
         and to a common one otherwise. There action 0 has features (0.3, 0), action 1 (0.8, s); in
         the rare state all actions have (0.6, −0.8). The loss is the first coordinate: action 1 is
         never right. But an episode in the rare state estimates it by about −0.5 s/λ, where λ is
         the mean square of the second coordinate (plus γ). The bonus tends to hold λ near 2 β s²,
         of which the rare state, with ρ = r 2 β s²/0.8², gives the share r. Practical tuning. r and
         s were chosen in the search at K = 4⁷; at longer horizons others are as bad or worse.
Claims:  the plain estimator's regret per episode falls by a tenth at most, that of both √K
         algorithms by a quarter and more, and is smaller. The instance is derived here. Exponential
         weights turn to action 1 when η 0.5 s/λ, about 5/s with practical tuning at all K, exceeds
         ln(1/p) for its probability p of about 2 β; ρ K visits, of the order of √K, then cost up to
         0.5 s/λ each, also of the order of √K. The log-barrier has 1/p in place of ln(1/p), of the
         order of 1/η and larger than what one estimate takes away; the magnitude-reduced estimate
         in the rare state is positive. Theory's β is 640 times as large for the same η: η 0.5 s/λ
         is far below 1 for such s, and K would have to be beyond 10¹² for a smaller s to do harm.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing
from scipy import stats

from fenchel.core import Trace, run
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
    AdversarialMDP,
    DilatedBonusPolicyOptimization,
    LinearMDP,
    LogBarrierPolicyOptimization,
    MagnitudeReducedPolicyOptimization,
)
from fenchel.mdp.adversarial.policy_optimization import PolicyOptimization


def plain(model: LinearMDP, horizon: int) -> PolicyOptimization:
    """Exponential weights on plain estimates with the parameters of the magnitude-reduced one."""
    tuned = MagnitudeReducedPolicyOptimization(model).tune(horizon)
    return DilatedBonusPolicyOptimization(
        model,
        learning_rate=tuned.learning_rate,
        bonus_scale=tuned.bonus_scale,
        regularization=tuned.regularization,
    )


BARRIER, REDUCED = "A log-barrier", "B magnitude-reduced"
BASELINE, PLAIN = "dilated bonus, K^(2/3) tuning", "plain, √K tuning"
LEARNERS: dict[str, Callable[[LinearMDP, int], PolicyOptimization]] = {
    BARRIER: lambda model, horizon: LogBarrierPolicyOptimization(model),
    REDUCED: lambda model, horizon: MagnitudeReducedPolicyOptimization(model),
    BASELINE: lambda model, horizon: DilatedBonusPolicyOptimization(model),
    PLAIN: plain,
}
RARITY, COMPONENT = 0.25, 0.58  # r, s
RARITIES, COMPONENTS = (0.125, 0.25, 0.5, 1.0), (0.2, 0.3, 0.45, 0.58)


@dataclass(frozen=True)
class Settings:
    """Horizons 4^first, ..., 4^last; the search at 4^searched."""

    first: int
    last: int
    searched: int
    n_replications: int
    n_seeds: int = 1


@dataclass(frozen=True)
class Config:
    """One learner in one instance."""

    learner: str
    horizon: int
    rarity: float
    component: float
    n_replications: int
    purpose: str


@dataclass(frozen=True)
class Data:
    """By learner and horizon; by learner, r and s."""

    traces: dict[tuple[str, int], Trace]
    searched: dict[tuple[str, float, float], Trace]

    @property
    def horizons(self) -> list[int]:
        """Increasing."""
        return sorted({K for _, K in self.traces})


def cells(settings: Settings) -> list[Config]:
    n = settings.n_replications
    horizons = [4**k for k in range(settings.first, settings.last + 1)]
    grid = [(r, s) for r in RARITIES for s in COMPONENTS]
    return [
        *(Config(name, K, RARITY, COMPONENT, n, "growth") for K in horizons for name in LEARNERS),
        *(
            Config(name, 4**settings.searched, r, s, n // 2, "search")
            for r, s in grid
            for name in (REDUCED, PLAIN)
        ),
    ]


def instance(horizon: int, rarity: float, component: float) -> AdversarialMDP:
    """States: 0 first, 1 common, 2 rare."""
    features = np.zeros((2, 3, 2, 2))
    features[0, ..., 0] = 1.0  # all actions of the first layer alike
    features[1] = [[[0.3, 0.0]] * 2, [[0.3, 0.0], [0.8, component]], [[0.6, -0.8]] * 2]
    transition = np.zeros((2, 3, 2, 3))
    transition[..., 1] = 1.0
    beta = MagnitudeReducedPolicyOptimization(LinearMDP(transition, features)).tune(horizon)
    rare = rarity * 2 * beta.bonus_scale * component**2 / 0.8**2
    transition[0] = [0.0, 1 - rare, rare]
    parameters = np.zeros((horizon, 2, 2))
    parameters[:, 1, 0] = 1.0
    return AdversarialMDP(LinearMDP(transition, features), parameters)


def make_run(config: Config, seed: int) -> pd.DataFrame:
    game = instance(config.horizon, config.rarity, config.component)
    return run(
        LEARNERS[config.learner](game.model, config.horizon),
        game,
        config.horizon,
        n_replications=config.n_replications,
        seed=1000 + seed if config.purpose == "growth" else seed,  # not those of the search
        checkpoints=np.linspace(1, config.horizon, 101).round().astype(int).tolist(),
    ).to_frame()


def summarise(results: Results[Settings, Config]) -> Data:
    data = Data({}, {})
    for c in results.configs:
        trace = Trace.from_frames(results[c], label=c.learner)
        if c.purpose == "growth":
            data.traces[c.learner, c.horizon] = trace
        else:
            data.searched[c.learner, c.rarity, c.component] = trace
    return data


def draw(data: Data) -> Drawing:
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.4))
    horizons = data.horizons
    for i, name in enumerate(LEARNERS):
        ends = [data.traces[name, K] for K in horizons]
        low, high = np.array([[end[-1] for end in trace.interval()] for trace in ends]).T
        mean = [trace.mean()[-1] for trace in ends]
        axes[0].plot(horizons, mean, "o-", ms=3, color=f"C{i}", label=name)
        axes[0].fill_between(horizons, low, high, color=f"C{i}", alpha=0.2, lw=0)
        longest = ends[-1]
        axes[1].plot(longest.rounds, longest.regret.T, color=f"C{i}", lw=0.7, alpha=0.7)
    axes[0].set(xscale="log", yscale="log", xlabel="episodes K", ylabel="regret after K episodes")
    axes[0].set_xticks(horizons, [f"$4^{{{round(np.log(K) / np.log(4))}}}$" for K in horizons])
    axes[0].minorticks_off()
    axes[0].set_title(f"practical tuning, r = {RARITY}, s = {COMPONENT}")
    axes[1].set(xlabel="episodes", ylabel="regret", title=f"single runs, K = {horizons[-1]}")
    axes[1].locator_params(axis="x", nbins=4)
    shares = np.array([[share(data, r, s) for s in COMPONENTS] for r in RARITIES])
    image = axes[2].imshow(np.log10(shares), cmap="viridis", aspect="auto", origin="lower")
    for (i, j), value in np.ndenumerate(shares):
        dark = value < np.sqrt(shares.max())
        axes[2].text(j, i, f"{value:.2g}", ha="center", va="center", color="w" if dark else "k")
    axes[2].set_xticks(range(len(COMPONENTS)), map(str, COMPONENTS))
    axes[2].set_yticks(range(len(RARITIES)), map(str, RARITIES))
    K = next(iter(data.searched.values())).rounds[-1]
    axes[2].set(xlabel="s", ylabel="r", title=f"regret of plain over that of B, K = {K}")
    axes[2].grid(visible=False)
    figure.colorbar(image, ax=axes[2], label="log₁₀")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def share(data: Data, r: float, s: float) -> float:
    ends = [data.searched[name, r, s].mean()[-1] for name in (PLAIN, REDUCED)]
    return float(ends[0] / ends[1])


def ratio(first: Trace, second: Trace) -> tuple[float, float, float]:
    """Of mean final regrets, with the 95 % interval of its logarithm (delta method, Student)."""
    ends = [trace.regret[:, -1] for trace in (first, second)]
    value = np.log(ends[0].mean() / ends[1].mean())
    n = min(len(end) for end in ends)
    spread = np.sqrt(sum(end.var(ddof=1) / len(end) / end.mean() ** 2 for end in ends))
    half = stats.t.ppf(0.975, n - 1) * spread
    value, low, high = np.exp([value, value - half, value + half]).tolist()
    return value, low, high


def per_episode(data: Data, name: str) -> tuple[tuple[float, float, float], str]:
    first, last = data.horizons[-2:]
    measured = ratio(data.traces[name, last], data.traces[name, first])
    value, low, high = (x * first / last for x in measured)
    return (value, low, high), f"regret/K at K = {last} over that at K = {first}"


def fails(data: Data) -> Outcome:
    measured, detail = per_episode(data, PLAIN)
    return at_least(*measured, 0.9, detail)


def learns(name: str) -> Claim[Data]:
    def check(data: Data) -> Outcome:
        measured, detail = per_episode(data, name)
        return at_most(*measured, 0.75, detail)

    return Claim(
        "Dai et al. 2023: sublinear regret",
        f"{name}: regret per episode falls by a quarter or more over the last factor 4 in K",
        check,
    )


def far_below(name: str) -> Claim[Data]:
    def check(data: Data) -> Outcome:
        K = data.horizons[-1]
        measured = ratio(data.traces[PLAIN, K], data.traces[name, K])
        return at_least(*measured, 3.0, f"ratio of mean regrets at K = {K}")

    return Claim(
        "Dai et al. 2023: what the estimators are for; instance derived",
        f"{name} has a third of the plain estimator's regret or less",
        check,
    )


def notes(data: Data) -> Sequence[str]:
    lines = []
    for K in data.horizons:
        ends = (f"{name} {data.traces[name, K].mean()[-1]:.4g}" for name in LEARNERS)
        lines.append(f"regret at K = {K}: {', '.join(ends)}")
    counts = [share(data, r, s) for r in RARITIES for s in COMPONENTS]
    above = sum(value > 2 for value in counts)
    lines.append(f"search: {above} of {len(counts)} instances with more than twice B's regret")
    return lines


EXPERIMENT = Experiment(
    name="rare_state",
    summary="the plain estimator on MDPs with a rare state of an opposed feature",
    run=make_run,
    cells=cells,
    presets={
        "quick": Settings(first=6, last=8, searched=7, n_replications=8),
        "standard": Settings(first=6, last=9, searched=8, n_replications=16),
        "paper": Settings(first=6, last=10, searched=9, n_replications=32),
    },
)
FIGURE = Figure(
    name="rare_state",
    title="What the log-barrier and the magnitude reduction are for: a rare state",
    paper="Dai, Luo, Wei, Zimmert, ICML 2023; instance derived",
    experiment=EXPERIMENT,
    summarise=summarise,
    draw=draw,
    claims=[
        Claim(
            "derived",
            "plain estimator, exponential weights, √K tuning: regret per episode falls by a tenth "
            "at most over the last factor 4 in K",
            fails,
        ),
        learns(BARRIER),
        learns(REDUCED),
        far_below(BARRIER),
        far_below(REDUCED),
    ],
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(FIGURE))
