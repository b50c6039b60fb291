"""Datasets in D4RL's HDF5 layout, which is DSRL's too: flat arrays, one row a step.

observations, actions, rewards, terminals; mostly timeouts and next_observations, DSRL's costs,
infos/* and metadata/*. Needs the package h5py; nothing is downloaded.

References:
    Fu et al. D4RL: datasets for deep data-driven reinforcement learning. 2020.
    Liu et al. Datasets and benchmarks for offline safe reinforcement learning. DMLR 2024.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...core import checks
from ...core.checks import BoolArray
from .dataset import OfflineDataset
from .files import (
    AGAIN,
    DIGEST,
    META,
    Array,
    PathLike,
    bad,
    checked,
    columns_of,
    existing,
    leaves,
    needed,
    read_hdf5,
    verify,
    write_whole,
)

_NEEDED = ("observations", "actions", "rewards", "terminals")
_OPTIONAL = ("next_observations", "timeouts", "costs")
_STAND_IN = "download it to there, or take a stand-in: generate('Hopper-v5/medium')"


def load_d4rl(
    path: PathLike, *, d4rl_compat: bool = False, max_episode_steps: int | None = None
) -> OfflineDataset:
    """A dataset from a file in D4RL's layout.

    With next_observations, all rows are kept. Without them, s' is the next row's observation. The
    row after a timeout is of another episode, and none follows the last: these rows are dropped,
    and the row before a dropped timeout becomes one. Terminal rows are kept, since learners do not
    look at their s'; it is set to s, and infos["next_unknown"] marks them for those that do.

    Args:
        path: of the file.
        d4rl_compat: drop what D4RL's `qlearning_dataset` drops: all timeouts and the last row.
        max_episode_steps: the time limit, for files without timeouts: an episode that reaches it
            without a terminal is cut there.

    Returns:
        The dataset. Of the metadata, meta has texts and single numbers.

    Raises:
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: h5py is not installed.
        ValueError: the file is damaged or of another layout, arrays are missing or do not have
            equally many rows, or timeouts are missing and max_episode_steps is not given.
    """
    if max_episode_steps is not None:
        checks.integer(max_episode_steps, "max_episode_steps", minimum=1)
    path = existing(path, _STAND_IN)
    columns, meta, digest = read_hdf5(path, _parts)
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise bad(path, f"it has no {', '.join(missing)}", "take a file in D4RL's layout")
    counts = {name: value.shape[0] if value.ndim else 0 for name, value in columns.items()}
    if len(set(counts.values())) > 1:
        raise bad(path, f"its arrays differ in their numbers of rows, {counts}", AGAIN)
    for name in ("rewards", "terminals", "timeouts", "costs"):
        if name in columns and columns[name].shape[1:] == (1,):
            columns[name] = columns[name][:, 0]
    terminals = _flags(path, columns["terminals"], "terminals")
    if "timeouts" in columns:
        timeouts = _flags(path, columns["timeouts"], "timeouts")
    elif max_episode_steps is not None:
        timeouts = _counted_timeouts(terminals, max_episode_steps)
    else:
        raise bad(path, "it has no timeouts", "pass max_episode_steps, the task's time limit")

    ends = terminals | timeouts
    keep: BoolArray = np.ones(len(ends), dtype=bool)
    if "next_observations" not in columns:
        inner = np.flatnonzero(~ends[:-1])
        columns["next_observations"] = columns["observations"].copy()
        columns["next_observations"][inner] = columns["observations"][inner + 1]
        columns["infos/next_unknown"] = terminals
        keep = terminals | ~timeouts
        keep[-1] = terminals[-1]
    if d4rl_compat:
        keep &= ~timeouts
        keep[-1] = False
    if not keep.any():
        raise bad(path, "no row of it is left", "take a file with more steps")
    before_dropped: BoolArray = np.append(timeouts[1:] & ~keep[1:], False)
    columns["terminals"], columns["timeouts"] = terminals, timeouts | (before_dropped & ~ends)
    dataset = checked(path, {name: value[keep] for name, value in columns.items()}, meta)
    if digest is not None and not d4rl_compat:
        verify(path, dataset, digest)
    return dataset


def to_d4rl_hdf5(dataset: OfflineDataset, path: PathLike) -> None:
    """Write a file in D4RL's layout, with next_observations and timeouts; one there is replaced.

    Raises:
        ModuleNotFoundError: h5py is not installed.
        TypeError: meta is not made of what JSON holds.
    """
    h5py = needed("h5py")
    meta = json.dumps(dict(dataset.meta))

    def write(place: Path) -> None:
        with h5py.File(place, "w") as file:
            for name, value in columns_of(dataset).items():
                file.create_dataset(name, data=value)
            file.attrs[META], file.attrs[DIGEST] = meta, dataset.hash()

    write_whole(Path(path), write)


def _parts(file: Any) -> tuple[dict[str, Array], dict[str, Any], str | None]:
    """Columns, meta, and the hash if the file is one of `to_d4rl_hdf5`."""
    columns: dict[str, Array] = {}
    for name in (*_NEEDED, *_OPTIONAL, "infos"):
        if name in file:
            columns |= dict(leaves(file[name], name))
    if META in file.attrs:
        return columns, json.loads(file.attrs[META]), file.attrs[DIGEST]
    meta: dict[str, Any] = {"name": Path(file.filename).name, "format": "D4RL"}
    for name, value in leaves(file["metadata"]) if "metadata" in file else ():
        if value.shape == ():
            single = value.item()
            meta[name] = single.decode() if isinstance(single, bytes) else single
    return columns, meta, None


def _flags(path: Path, value: Array, name: str) -> BoolArray:
    if value.ndim != 1 or not np.isin(value, (0, 1)).all():
        raise bad(path, f"its {name} are not (N,) of 0 and 1", "mend it or take another file")
    return value.astype(bool)


def _counted_timeouts(terminals: BoolArray, limit: int) -> BoolArray:
    """Rows at which an episode has reached the limit without a terminal, (N,)."""
    timeouts: BoolArray = np.zeros(len(terminals), dtype=bool)
    steps = 0
    for row, terminal in enumerate(terminals):
        steps += 1
        timeouts[row] = steps == limit and not terminal
        if terminal or steps == limit:
            steps = 0
    return timeouts
