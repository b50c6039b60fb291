"""Datasets made on this machine, in place of those that would have to be downloaded.

    generate("PointMass2D/medium-replay")     scripted controllers: in a second or less
    generate("StitchMaze2D/halves")           no trajectory solves the task, two halves together do
    generate("Hopper-v5/medium-expert")       SAC is trained first: an hour or more

Tiers follow D4RL; how they are made is said in `scripted` and `sac`. medium-expert has equally many
transitions of medium and of expert, in this order. The meta of each says "self-generated": results
on them are not results on D4RL. A seed gives one dataset, bit for bit; a smaller size takes the
beginning of each of its sources.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np

from ... import __version__
from ...core import checks
from . import sac, scripted
from .cache import load, save
from .dataset import OfflineDataset

GENERATOR_VERSION = 3  # of all that decides the numbers; part of the cache's keys

_TIERS = ("random", "medium", "expert", "medium-replay", "medium-expert")
TRAINED = {
    "Pendulum-v1": sac.Training("Pendulum-v1", 10_000, hidden=64, n_transitions=20_000),
    **{
        name: sac.Training(name, 200_000, hidden=256, n_transitions=100_000)
        for name in ("Hopper-v5", "HalfCheetah-v5", "Walker2d-v5")
    },
}


def available() -> list[str]:
    """All names that `generate` takes."""
    names = [f"{world}/{tier}" for world in (*scripted.WORLDS, *TRAINED) for tier in _TIERS]
    return sorted([*names, "StitchMaze2D/halves", *(f"{env}/full-replay" for env in TRAINED)])


def generate(
    name: str,
    *,
    seed: int = 0,
    n_transitions: int | None = None,
    training_steps: int | None = None,
    cache: bool = True,
) -> OfflineDataset:
    """A dataset by name, from the cache if it has been made before.

    Args:
        name: world and tier, as "PointMass2D/medium"; see `available`.
        seed: of everything, at least 0.
        n_transitions: N; None: 40 000 of scripted worlds, 20 000 of Pendulum, 100 000 of MuJoCo.
            The last trajectory is cut to fit. Replays of trained agents are as long as they are.
        training_steps: of trained agents; None: 10 000 on Pendulum (minutes), 200 000 on MuJoCo
            (an hour or more; experts like D4RL's take a million).
        cache: whether to look for it in `cache_root()`, and to keep it there.

    Returns:
        The dataset. infos["source"] numbers its sources, which meta["sources"] names.

    Raises:
        ModuleNotFoundError: stable-baselines3 is needed and not installed.
        TypeError: a number is not an integer.
        ValueError: there is no such name, a number is out of range or does not go with the name,
            the cached data are damaged, or a trained agent does no better than uniform actions.
    """
    if name not in available():
        close = difflib.get_close_matches(name, available(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ValueError(
            f"name must be one of {', '.join(available())}, got {name!r}; {hint}"
            "files of D4RL and Minari are read by load_d4rl and load_minari"
        )
    seed = checks.integer(seed, "seed", minimum=0)
    if n_transitions is not None:
        n_transitions = checks.integer(n_transitions, "n_transitions", minimum=2)
    world, tier = name.split("/")
    if world in TRAINED:
        training = TRAINED[world]
        if training_steps is not None:
            least = training.n_evaluations
            steps = checks.integer(training_steps, "training_steps", minimum=least)
            training = replace(training, training_steps=steps)
        return _from_training(name, training, seed, n_transitions, cache)
    if training_steps is not None:
        raise ValueError(
            f"training_steps must be None for {name}, got {training_steps}; nothing is trained, "
            "leave it out"
        )
    source = scripted.WORLDS[world]
    size = n_transitions or source.n_transitions

    def make() -> OfflineDataset:
        parts = _parts(tier, size, lambda one, n: scripted.collect(source, one, n, seed))
        low, high = source.dynamics().reference_returns
        meta = {"env_id": f"fenchel/{world}-v0", "ref_min": low, "ref_max": high}
        return _described(name, seed, parts, meta, "numpy")

    return _cached(f"{name}-s{seed}-n{size}-g{GENERATOR_VERSION}", make, cache)


def _from_training(
    name: str, training: sac.Training, seed: int, n_transitions: int | None, cache: bool
) -> OfflineDataset:
    world, tier = name.split("/")
    replay = tier in ("medium-replay", "full-replay")
    if replay and n_transitions is not None:
        raise ValueError(
            f"n_transitions must be None for {name}, got {n_transitions}; it is all that the agent "
            "met: leave it out, or choose training_steps"
        )
    size = n_transitions or training.n_transitions
    mark = f"s{seed}-t{training.training_steps}-g{GENERATOR_VERSION}"

    def make() -> OfflineDataset:
        key = f"{world}/sac-{mark}"
        run = sac.cached_run(training, seed, key) if cache else sac.train(training, seed)
        known = run.replay.meta
        if tier == "full-replay":
            parts = {tier: run.replay}
        elif tier == "medium-replay":
            parts = {tier: run.replay.first(known["medium_step"])}
        else:
            parts = _parts(
                tier, size, lambda one, n: sac.collect(training, run.policies, one, n, seed)
            )
        meta = {
            "env_id": training.env_id,
            "ref_min": known["ref_min"],
            "ref_max": known["ref_max"],
            "training_steps": training.training_steps,
            "evaluations": known["evaluations"],
        }
        return _described(name, seed, parts, meta, "gymnasium", "stable-baselines3", "torch")

    return _cached(f"{name}-{'' if replay else f'n{size}-'}{mark}", make, cache)


def _parts(
    tier: str, size: int, collect: Callable[[str, int], OfflineDataset]
) -> dict[str, OfflineDataset]:
    """The sources of a tier by name."""
    if tier == "medium-expert":
        return {
            "medium": collect("medium", size // 2),
            "expert": collect("expert", size - size // 2),
        }
    return {tier: collect(tier, size)}


def _described(
    name: str,
    seed: int,
    parts: Mapping[str, OfflineDataset],
    more: Mapping[str, Any],
    *packages: str,
) -> OfflineDataset:
    """The sources as one dataset, with infos["source"], and meta with packages' versions."""
    numbered = [
        replace(part, infos={**part.infos, "source": np.full(len(part), number, np.int8)})
        for number, part in enumerate(parts.values())
    ]
    meta = {
        "name": name,
        "seed": seed,
        "sources": list(parts),
        "counts": [len(part) for part in parts.values()],
        "created_by": "self-generated",
        "generator_version": GENERATOR_VERSION,
        "versions": {"fenchel": __version__, **{one: version(one) for one in packages}},
    }
    return OfflineDataset.concat(numbered, meta={**meta, **more})


def _cached(key: str, make: Callable[[], OfflineDataset], cache: bool) -> OfflineDataset:
    found = load(key) if cache else None
    if found is None:
        found = make()
        if cache:
            save(key, found)
    return found
