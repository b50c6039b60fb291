"""What the figures on offline RL share: small agents, the runs of one agent on one dataset, scores.

Runs of several figures are of one experiment, "offline_agents": where figures ask for the same
dataset, agent and labels, they take the same runs from the store.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fenchel.core.checks import FloatArray
from fenchel.experiments import Outcome, Results, at_least
from fenchel.paper_figures._outcomes import not_run
from fenchel.paper_figures._statistics import interval

PAPER, OWN = "Zheng et al. 2023; tasks ours", "derived"
POINT, PENDULUM = "PointMass2D/medium-replay", "Pendulum-v1/full-replay"
LOCOMOTION = tuple(
    f"{world}/{tier}"
    for world in ("Hopper-v5", "Walker2d-v5", "HalfCheetah-v5")
    for tier in ("medium-replay", "medium", "medium-expert")
)
LABELLED, SS, ORACLE = "labelled only", "SS-ORL", "oracle"
ENSEMBLE, SELF_TRAINED = "SS-ORL, 3 densities", "self-training"
METHODS = (LABELLED, SS, ORACLE)
WORST = 0.1  # q: labelled trajectories are the worst tenth
CLOSE = 5.0  # points of a score that are no difference
COLOUR = {LABELLED: "C6", SS: "C1", ORACLE: "C0", ENSEMBLE: "C4", SELF_TRAINED: "C2"}
N_EPISODES = 30  # of an evaluation, as in the paper's code
N_ROUNDS, N_MODELS = 5, 3  # of self-training
SMALL, FULL = "64-64", "paper"
AGENTS = ("BC", "10 % BC", "TD3+BC", "IQL", "CQL", "DT")
SELF_GENERATED = "self-generated"

# Name in files of D4RL, its references of scores, the paper's target return of DT.
D4RL = {
    "Hopper-v5": ("hopper", -20.272305, 3234.3, 3600.0),
    "Walker2d-v5": ("walker2d", 1.629008, 4592.3, 5000.0),
    "HalfCheetah-v5": ("halfcheetah", -280.178953, 12135.0, 6000.0),
}
RANGE = 10.0  # of returns that small agents are given: their rewards are scaled
BATCH = {  # transitions, or windows; TD3+BC and CQL of the paper's code have those of 20 steps
    **{(name, SMALL): 256 for name in AGENTS}, ("CQL", SMALL): 64, ("DT", SMALL): 32,
    **{(name, FULL): 256 for name in AGENTS}, ("TD3+BC", FULL): 5120, ("CQL", FULL): 5120,
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One agent, trained on one dataset.

    Attributes:
        dataset: of `fenchel.offline_rl.generate`; that of a trained agent has seed 0, others the
            seed of the run.
        method: which labels it has; all of them with ORACLE.
        quality: q, of the labelled tenth; 1.0 for ORACLE, which has no split.
        agent: of AGENTS.
        size: SMALL or FULL, of networks and batches.
        n_steps: gradient steps of the agent.
        n_inverse_steps: of the inverse model; 0 where there is none.
        source: SELF_GENERATED, or "D4RL" and digits of the file.
    """

    dataset: str
    method: str
    quality: float
    agent: str
    size: str
    n_steps: int
    n_inverse_steps: int
    source: str


def cell(
    dataset: str, method: str, quality: float, agent: str, size: str, n_steps: int,
    n_inverse_steps: int = 0,
) -> Run:  # fmt: skip
    """A run, with what it has no use for set to one value."""
    quality = 1.0 if method == ORACLE else quality
    n_inverse_steps = 0 if method in (LABELLED, ORACLE) else n_inverse_steps
    return Run(dataset, method, quality, agent, size, n_steps, n_inverse_steps, source(dataset))


@dataclass(frozen=True)
class Settings:
    """Agents, one a seed and combination of the four tuples; what methods share is run once."""

    datasets: tuple[str, ...]
    size: str
    n_steps: int
    n_inverse_steps: int
    n_seeds: int
    methods: tuple[str, ...] = METHODS
    qualities: tuple[float, ...] = (WORST,)
    agents: tuple[str, ...] = ("TD3+BC",)
    n_replications: int = 1


def cells(settings: Settings) -> list[Run]:
    """Its runs; one for all q of a method that has none."""
    found = [
        cell(dataset, method, q, agent, settings.size, settings.n_steps, settings.n_inverse_steps)
        for dataset in settings.datasets
        for agent in settings.agents
        for q in settings.qualities
        for method in settings.methods
    ]
    return list(dict.fromkeys(found))


# ---------------------------------------------------------------------------- data and agents


def d4rl_file(name: str) -> Path | None:
    """Where a file of D4RL is looked for; it is never downloaded."""
    from fenchel.offline_rl.datasets import cache_root

    world, tier = name.split("/")
    if world not in D4RL:
        return None
    return cache_root() / "d4rl" / f"{D4RL[world][0]}_{tier.replace('-', '_')}-v2.hdf5"


def source(name: str) -> str:
    """See `Run`."""
    path = d4rl_file(name)
    if path is None or not path.exists():
        return SELF_GENERATED
    with path.open("rb") as file:
        return f"D4RL {hashlib.file_digest(file, 'sha256').hexdigest()[:12]}"


def load(name: str, source: str, seed: int) -> tuple[Any, float]:
    """The dataset, and the bound of its actions."""
    from fenchel.offline_rl import generate, load_d4rl
    from fenchel.offline_rl.datasets.scripted import WORLDS

    world = name.split("/")[0]
    bound = 2.0 if world == "Pendulum-v1" else 1.0
    if source != SELF_GENERATED:
        path = d4rl_file(name)
        assert path is not None
        dataset, (_, low, high, _) = load_d4rl(path), D4RL[world]
        return replace(dataset, meta={"env_id": world, "ref_min": low, "ref_max": high}), bound
    scripted = world in WORLDS
    return generate(name, seed=seed if scripted else 0, cache=not scripted), bound


def make_agent(config: Run, dataset: Any, bound: float, seed: int) -> Any:
    """An agent for this dataset. FULL: defaults, which are the papers', and IQL's range of returns.

    SMALL: networks of 64 by 64 for thousands of steps, with larger rates, as steps are fewer: ten
    times the authors' of Adam, four times that of targets. Rewards of IQL and CQL, whose weights
    are in units of return, and returns of DT are scaled by their range. Settings were chosen on
    one to three seeds that no figure has, the same for all datasets.
    """
    from fenchel import offline_rl

    returns = dataset.returns()
    span = float(returns.max() - returns.min()) or 1.0  # where all are equal, as they are
    shared: dict[str, Any] = {
        "action_low": -bound, "action_high": bound, "device": "auto", "seed": seed,
    }  # fmt: skip
    layers: dict[str, Any] = shared
    more: dict[str, Any] = {}
    if config.size == SMALL:
        shared = {**shared, "device": "cpu"}
        layers = {**shared, "hidden": (64, 64), "learning_rate": 1e-3}
        values = {"discount": 0.98, "soft_update_rate": 0.02}
        scaled = {**values, "reward_scale": RANGE / span}
        more = {
            "TD3+BC": values,
            "IQL": scaled,
            "CQL": {**scaled, "policy_learning_rate": 1e-3, "n_sampled_actions": 4},
            "DT": {
                "context": 5, "width": 64, "n_layers": 1, "n_heads": 2, "learning_rate": 1e-3,
                "warmup_steps": 200, "return_scale": span, "max_length": 200,
            },
        }.get(config.agent, {})  # fmt: skip
    elif config.agent == "IQL":
        more = {"reward_scale": 1000.0 / span}
    elif config.agent == "DT":
        more = {"target_return": D4RL[config.dataset.split("/")[0]][3]}
    makers: dict[str, Callable[[], Any]] = {
        "BC": lambda: offline_rl.BC(**layers),
        "10 % BC": lambda: offline_rl.BC(fraction=0.1, **layers),
        "TD3+BC": lambda: offline_rl.TD3BC(**layers, **more),
        "IQL": lambda: offline_rl.IQL(**layers, **more),
        "CQL": lambda: offline_rl.CQL(**layers, **more),
        "DT": lambda: offline_rl.DecisionTransformer(**shared, **more),
    }
    return makers[config.agent]()


def make_inverse(size: str, n_steps: int, bound: float, seed: int, **more: Any) -> Any:
    """A model of inverse dynamics, as in the paper's code or small; more: its arguments."""
    from fenchel.offline_rl import InverseDynamics

    if size == SMALL:
        small = {"hidden": (128, 128), "dropout": 0.0, "learning_rate": 1e-3, "batch_size": 256}
        more = {**small, "device": "cpu", **more}
    return InverseDynamics(
        n_steps=n_steps, action_low=-bound, action_high=bound, seed=seed, **more
    )  # fmt: skip


def run(config: Run, seed: int) -> pd.DataFrame:
    """Score; and, of methods with proxy labels, a row for each round of labelling.

    Columns: score; inside, outside: mean square errors of all proxy labels; round; error: of
    the labels of this round; share: of the unlabelled trajectories of this round that are outside.
    """
    import torch

    from fenchel.offline_rl import SemiSupervisedOfflineRL, evaluate, proxy_error, split_labelled

    if config.size == SMALL:
        torch.set_num_threads(1)
    dataset, bound = load(config.dataset, config.source, seed)
    given = dataset
    table = pd.DataFrame([{"round": 0, "error": np.nan, "share": np.nan}])
    errors = {"inside": np.nan, "outside": np.nan}
    if config.method != ORACLE:
        split = split_labelled(dataset, config.quality, rng=np.random.default_rng(seed))
        given = dataset.subset(split.labelled) if config.method == LABELLED else split.dataset
    agent = make_agent(config, given, bound, seed)
    if config.method not in (LABELLED, ORACLE):
        several = config.method in (ENSEMBLE, SELF_TRAINED)
        more: dict[str, Any] = {"n_models": N_MODELS if several else 1}
        if config.size == SMALL:  # from (s, s'); densities where their doubt is needed
            more |= {"window": 0, "stochastic": several}
        inverse = make_inverse(config.size, config.n_inverse_steps, bound, seed, **more)
        rounds = N_ROUNDS if config.method == SELF_TRAINED else 1
        labeller = SemiSupervisedOfflineRL(agent, inverse, rounds=rounds)
        given = labeller.label(split.dataset, progress=False)
        errors |= proxy_error(split, given)
        square = ((given.actions - split.true_actions) ** 2).mean(axis=1)
        rows = []
        for number in range(1, rounds + 1):
            there = np.flatnonzero(labeller.order == number)
            error = float(square[split.rows(there)].mean())
            share = float(np.isin(there, split.outside).mean())
            rows.append({"round": number, "error": error, "share": share})
        table = pd.DataFrame(rows)
    agent.fit(given, config.n_steps, batch_size=BATCH[config.agent, config.size], progress=False)
    returns = evaluate(agent, dataset.meta["env_id"], n_episodes=N_EPISODES, seed=seed)
    return table.assign(score=float(dataset.normalised_score(returns).mean()), **errors)


# ------------------------------------------------------------------------------------ claims

Data = dict[Run, list[pd.DataFrame]]


def tables_of(results: Results[Any, Run]) -> Data:
    """The tables of the seeds."""
    return {config: list(results[config]) for config in results.configs}


def datasets_of(data: Data) -> list[str]:
    """Names, in the order of the settings."""
    return list(dict.fromkeys(one.dataset for one in data))


def column(tables: Sequence[pd.DataFrame], name: str = "score") -> FloatArray:
    """A number of each seed."""
    return np.array([float(table[name].iloc[0]) for table in tables])


def find(
    data: Data, dataset: str, method: str, quality: float = WORST, agent: str = "TD3+BC"
) -> list[pd.DataFrame]:
    """The tables of one cell, whatever its steps; none if it was not run."""
    quality = 1.0 if method == ORACLE else quality
    wanted = (dataset, method, quality, agent)
    for config, tables in data.items():
        if (config.dataset, config.method, config.quality, config.agent) == wanted:
            return tables
    return []


def scores(
    data: Data,
    datasets: Sequence[str],
    method: str,
    quality: float = WORST,
    agent: str = "TD3+BC",
) -> FloatArray:
    """Of seeds, means over those of the datasets that were run; empty if none was."""
    found = [find(data, dataset, method, quality, agent) for dataset in datasets]
    each = [column(tables) for tables in found if tables]
    return np.mean(each, axis=0) if each else np.empty(0)


def at_least_as_good(
    first: tuple[str, FloatArray], second: tuple[str, FloatArray], lack: float = 0.0
) -> Outcome:
    """Scores of one less those of another, by seeds, are at least −lack; both with their names."""
    (name, one), (other, two) = first, second
    if not len(one) or not len(two):
        return not_run()
    detail = f"score, {name} {one.mean():.1f} less {other} {two.mean():.1f}"
    return at_least(*interval(one - two), -lack, detail)


def gap_note(data: Data, dataset: str, quality: float, agent: str = "TD3+BC") -> str:
    """Scores of the three agents, the gap, and the share that is recovered."""
    from fenchel.offline_rl import gap, recovered

    base, ss, oracle = (
        float(scores(data, [dataset], method, quality, agent).mean()) for method in METHODS
    )
    return (
        f"labelled only {base:.1f}, SS-ORL {ss:.1f}, oracle {oracle:.1f}; "
        f"gap {said(gap(oracle, ss))}, recovered {said(recovered(oracle, base, ss))}"
    )


def said(share: float) -> str:
    """Percent; a share that says nothing is n/a."""
    return "n/a" if np.isnan(share) else f"{100 * share:.0f} %"
