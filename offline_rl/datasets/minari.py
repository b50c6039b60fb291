"""Minari's datasets: one group an episode, T + 1 observations and T of the rest.

<id>/data/main_data.hdf5 with episode_<i>/{observations, actions, rewards, terminations,
truncations, infos}, and <id>/data/metadata.json. Reading it needs the package h5py alone; other
formats, and writing, need the package minari too. Nothing is downloaded.

Reference:
    Younis et al. Minari: an offline RL dataset format, version 0.5. Farama Foundation, 2024.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .dataset import OfflineDataset
from .files import AGAIN, DIGEST, META, Array, PathLike, bad, checked, needed, read_hdf5, verify

_ARRAYS = ("observations", "actions", "rewards", "terminations", "truncations")


def load_minari(path_or_id: PathLike) -> OfflineDataset:
    """A dataset of Minari's.

    Dict and tuple observations are laid side by side, sorted by their names; so are actions. Of
    the infos those are kept that are arrays of numbers, T or T + 1 rows, in every episode; the
    first of T + 1 belongs to the reset and is left out. The info "cost" becomes costs.

    Args:
        path_or_id: a folder that holds data/main_data.hdf5; or the id of a dataset that lies in
            MINARI_DATASETS_PATH (default: ~/.minari/datasets).

    Raises:
        FileNotFoundError: there is no such folder and no such id.
        ModuleNotFoundError: h5py, or for other formats minari, is not installed.
        ValueError: the data are damaged or of another layout, or actions are not continuous.
    """
    folder = Path(path_or_id).expanduser()
    if not folder.exists():
        root = os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets"
        folder = Path(root) / path_or_id
    data = folder / "data"
    if not (data / "metadata.json").is_file():
        raise FileNotFoundError(
            f"no Minari dataset at {folder.absolute()}; put its folder there, with "
            "data/main_data.hdf5 and data/metadata.json, or take a stand-in: "
            "generate('Hopper-v5/medium')"
        )
    try:
        record = json.loads((data / "metadata.json").read_text())
    except ValueError as error:
        raise bad(data / "metadata.json", f"it is no JSON ({error})", AGAIN) from None
    if record.get("data_format", "hdf5") == "hdf5":
        path = data / "main_data.hdf5"
        episodes = read_hdf5(path, _episodes)
    else:
        path = data
        stored = needed("minari").MinariDataset(data)
        episodes = [
            dict(_leaves({name: getattr(one, name) for name in (*_ARRAYS, "infos")}))
            for one in stored.iterate_episodes()
        ]
    total = record.get("total_episodes", len(episodes))
    if len(episodes) != total or not episodes:
        raise bad(path, f"it has {len(episodes)} episodes instead of {total}", AGAIN)
    parts = [_columns(path, number, episode) for number, episode in enumerate(episodes)]
    for one in parts[:-1]:  # the next episode begins, whatever is stored
        one["timeouts"][-1] |= ~one["terminals"][-1]
    common = [name for name in parts[0] if all(name in one for one in parts)]
    for name in common:
        shapes = {one[name].shape[1:] for one in parts}
        if len(shapes) > 1:
            raise bad(path, f"episodes differ in their columns of {name}, {shapes}", AGAIN)
    columns = {name: np.concatenate([one[name] for one in parts]) for name in common}
    if "infos/cost" in columns:
        columns["costs"] = columns.pop("infos/cost")
    dataset = checked(path, columns, _meta(record))
    if DIGEST in record:
        verify(path, dataset, record[DIGEST])
    return dataset


def to_minari(dataset: OfflineDataset, dataset_id: str) -> None:
    """Write a Minari dataset (HDF5) in MINARI_DATASETS_PATH; costs become the info "cost".

    An episode has T + 1 observations there, so that s' of a row must be s of the next row in its
    trajectory.

    Args:
        dataset: what is written.
        dataset_id: as "pointmass/medium-v0", not yet in use.

    Raises:
        ModuleNotFoundError: minari or h5py is not installed.
        TypeError: meta is not made of what JSON holds.
        ValueError: a trajectory has gaps, there is an info "cost", or minari refuses the id.
    """
    minari, _ = needed("minari"), needed("h5py")
    from gymnasium.spaces import Box

    inner = np.flatnonzero(~(dataset.terminals | dataset.timeouts)[:-1])
    gaps = (dataset.next_observations[inner] != dataset.observations[inner + 1]).any(axis=1)
    if gaps.any():
        raise ValueError(
            "next_observations must be the next row's observations within a trajectory, got others "
            f"in row {inner[gaps][0]}; write with to_parquet or to_d4rl_hdf5"
        )
    if "cost" in dataset.infos:
        raise ValueError("infos must not have 'cost', where Minari keeps costs; rename it")
    meta = json.dumps(dict(dataset.meta))
    buffers = [
        minari.data_collector.EpisodeBuffer(
            id=number,
            observations=np.vstack([one.observations, one.next_observations[-1:]]),
            actions=one.actions,
            rewards=one.rewards,
            terminations=one.terminals,
            truncations=one.timeouts,
            infos=dict(one.infos) | ({} if one.costs is None else {"cost": one.costs}),
        )
        for number, one in enumerate(dataset.trajectories())
    ]
    with warnings.catch_warnings():
        # no author, no requirements, ..., and no environment: its spaces are given
        warnings.filterwarnings("ignore", "(`.*` is set to|env_spec is) None", UserWarning)
        written = minari.create_dataset_from_buffers(
            dataset_id,
            buffers,
            observation_space=Box(-np.inf, np.inf, dataset.observations.shape[1:], np.float32),
            action_space=Box(-np.inf, np.inf, dataset.actions.shape[1:], np.float32),
            ref_min_score=dataset.meta.get("ref_min"),
            ref_max_score=dataset.meta.get("ref_max"),
            data_format="hdf5",
        )
    written.storage.update_metadata({META: meta, DIGEST: dataset.hash()})


def _episodes(file: Any) -> list[dict[str, Array]]:
    """The arrays of each episode by name, in the order of their numbers."""
    return [dict(_leaves(file[name])) for name in sorted(file, key=_order)]


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Array]]:
    """Names and arrays of nested groups, dictionaries or tuples, sorted by name."""
    if isinstance(value, tuple | list):
        value = {f"_index_{i}": item for i, item in enumerate(value)}
    if hasattr(value, "keys"):
        for key in sorted(value, key=_order):
            yield from _leaves(value[key], f"{name}/{key}" if name else key)
    else:
        yield name, np.asarray(value[()] if hasattr(value, "shape") else value)


def _order(name: str) -> tuple[int, str]:
    """Numbered names by number, others alphabetically."""
    numbered = re.fullmatch(r"(?:_index|episode)_(\d+)", name)
    return (int(numbered[1]), "") if numbered else (-1, name)


def _columns(path: Path, number: int, episode: Mapping[str, Array]) -> dict[str, Array]:
    """The rows of an episode, T each."""
    where = f"episode {number}"
    T = np.size(episode.get("rewards", ()))

    def part(name: str, n: int) -> Array:
        found = [v for key, v in episode.items() if key == name or key.startswith(f"{name}/")]
        if not found or T == 0:
            raise bad(path, f"{where} has no {name}", AGAIN)
        shapes = [value.shape for value in found]
        if any(value.ndim == 0 or len(value) != n for value in found):
            raise bad(path, f"{where} has {name} of shapes {shapes} for {T} steps", AGAIN)
        return np.concatenate([value.reshape(n, -1) for value in found], axis=1)

    observations, actions = part("observations", T + 1), part("actions", T)
    if actions.dtype.kind != "f":
        raise bad(path, f"its actions are {actions.dtype}", "take a task with continuous actions")
    columns = {
        "observations": observations[:-1],
        "actions": actions,
        "rewards": part("rewards", T)[:, 0],
        "next_observations": observations[1:],
        "terminals": part("terminations", T)[:, 0],
        "timeouts": part("truncations", T)[:, 0],
    }
    for name, value in episode.items():
        numbers = name.startswith("infos/") and value.dtype.kind in "biuf"
        if numbers and value.ndim and len(value) in (T, T + 1):
            columns[name] = value[-T:]
    return columns


def _meta(record: Mapping[str, Any]) -> dict[str, Any]:
    if META in record:
        own: dict[str, Any] = json.loads(record[META])
        return own
    spec = json.loads(record.get("env_spec") or "{}")
    found = {
        "name": record.get("dataset_id"),
        "format": "Minari",
        "env_id": spec.get("id"),
        "ref_min": record.get("ref_min_score"),
        "ref_max": record.get("ref_max_score"),
        "algorithm": record.get("algorithm_name"),
    }
    return {key: value for key, value in found.items() if value is not None}
