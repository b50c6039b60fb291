"""Banks of snapshots: how they are collected, and kept in a file.

A file is an npz without pickles. Snapshots of the same structure lie in common arrays, one a leaf
of the structure, so that a bank of a thousand is read at once.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import gymnasium
import numpy as np

from ...core import checks
from ...core.checks import FloatArray
from .snapshots import Snapshot, capture

_VERSION = 1
_PARTS = ("state", "wrappers", "rng", "observation", "info", "meta")
Policy = Callable[[Any], Any]


class SnapshotBank(Sequence[Snapshot]):
    """Snapshots of one kind of environment.

    Args:
        snapshots: at least one, all of the same environment.

    Attributes:
        env_id: of the environment.
        fingerprint: of its constants.
    """

    def __init__(self, snapshots: Sequence[Snapshot]) -> None:
        if not snapshots:
            raise ValueError("snapshots must be at least one, got none")
        marks = {one.fingerprint for one in snapshots}
        if len(marks) > 1:
            raise ValueError(f"snapshots must be of one environment, got fingerprints {marks}")
        self._snapshots = tuple(snapshots)
        self.env_id, self.fingerprint = snapshots[0].env_id, snapshots[0].fingerprint

    def __len__(self) -> int:
        return len(self._snapshots)

    def __getitem__(self, index: Any) -> Any:
        found = self._snapshots[index]
        return SnapshotBank(found) if isinstance(index, slice) else found

    def __iter__(self) -> Iterator[Snapshot]:
        return iter(self._snapshots)

    def __repr__(self) -> str:
        return f"SnapshotBank({len(self)} of {self.env_id})"

    def values(self, name: str = "value") -> FloatArray:
        """A number of the meta of each, (n,)."""
        missing = sum(name not in one.meta for one in self)
        if missing:
            raise ValueError(f"each snapshot must have a {name!r} in its meta, {missing} have none")
        return checks.array([one.meta[name] for one in self], name)

    def save(self, path: str | Path) -> None:
        """Write all to a file; see `load`."""
        groups: dict[str, tuple[list[int], list[list[Any]]]] = {}
        for i, one in enumerate(self):
            leaves: list[Any] = []
            spec = _flatten([getattr(one, name) for name in _PARTS], leaves)
            shapes = [(leaf.dtype.kind, leaf.shape) for leaf in leaves]
            where, rows = groups.setdefault(json.dumps([spec, str(shapes)]), ([], []))
            where.append(i)
            rows.append(leaves)
        arrays: dict[str, Any] = {}
        for g, (where, rows) in enumerate(groups.values()):
            arrays[f"{g} where"] = np.array(where)
            for k, column in enumerate(zip(*rows, strict=True)):
                arrays[f"{g} {k}"] = np.stack(column)
        header = {
            "version": _VERSION,
            "env_id": self.env_id,
            "fingerprint": self.fingerprint,
            "specs": [json.loads(key)[0] for key in groups],
        }
        with Path(path).open("wb") as file:
            np.savez_compressed(file, header=np.array(json.dumps(header)), **arrays)

    @classmethod
    def load(cls, path: str | Path) -> SnapshotBank:
        """A bank from a file of `save`.

        Raises:
            ValueError: the file is damaged, or of another version.
        """
        try:
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = dict(stored)
            header = json.loads(str(arrays["header"]))
            if header["version"] != _VERSION:
                raise ValueError(f"version {header['version']} instead of {_VERSION}")
            found: dict[int, Snapshot] = {}
            for g, spec in enumerate(header["specs"]):
                where = arrays[f"{g} where"].tolist()
                n_leaves = sum(key.startswith(f"{g} ") for key in arrays) - 1
                columns = [arrays[f"{g} {k}"] for k in range(n_leaves)]
                for row, i in enumerate(where):
                    leaves = iter([column[row] for column in columns])
                    parts = dict(zip(_PARTS, _unflatten(spec, leaves), strict=True))
                    found[i] = Snapshot(header["env_id"], header["fingerprint"], **parts)
            return cls([found[i] for i in range(len(found))])
        except FileNotFoundError:
            raise
        except (OSError, KeyError, EOFError, ValueError, TypeError, BadZipFile) as error:
            raise ValueError(
                f"path must be a file of SnapshotBank.save, got {path} ({error}); save it again"
            ) from None


def collect_snapshots(
    policy: Any,
    env: gymnasium.Env[Any, Any],
    *,
    n_episodes: int = 10,
    every: int = 10,
    value: Callable[[Any], float] | None = None,
    deterministic: bool = True,
    seed: int | None = None,
) -> SnapshotBank:
    """Snapshots along episodes of a teacher: of each start, and of every tenth step.

    Args:
        policy: a model of stable-baselines3, or a function of the observation.
        env: whose state is known how to keep.
        n_episodes: of the teacher.
        every: steps, counted over all episodes, between snapshots.
        value: of an observation, kept as meta["value"]; None: Q(s, π(s)) or V(s) of the model, if
            it has one; otherwise there is none.
        deterministic: whether the model takes its mean action.
        seed: of the first reset.

    Returns:
        The bank, best episodes first. The meta of each holds t (step of the episode), return (so
        far), episode (0 is the best), and value.

    Reference:
        Zhao et al. 2024, code; its SAC teacher draws its actions.
    """
    checks.integer(n_episodes, "n_episodes", minimum=1)
    checks.integer(every, "every", minimum=1)
    act = actor(policy, deterministic)
    value = value_function(policy) if value is None else value
    episodes: list[list[Snapshot]] = []
    n_steps = 0
    for _ in range(n_episodes):
        observation, info = env.reset(seed=seed)
        seed, t, total, over = None, 0, 0.0, False
        kept: list[Snapshot] = []
        while not over:
            if t == 0 or n_steps % every == 0:
                meta: dict[str, Any] = {"t": t, "return": total}
                if value is not None:
                    meta["value"] = float(value(observation))
                kept.append(capture(env, observation, info, meta=meta))
            observation, reward, terminated, truncated, info = env.step(act(observation))
            over = bool(terminated or truncated)
            t, total, n_steps = t + 1, total + float(reward), n_steps + 1
        episodes.append(kept)
    episodes.sort(key=lambda kept: -float(kept[-1].meta["return"]))
    for number, kept in enumerate(episodes):
        for one in kept:
            one.meta["episode"] = number
    return SnapshotBank([one for kept in episodes for one in kept])


def actor(policy: Any, deterministic: bool = True) -> Policy:
    """The action of a model of stable-baselines3, or of a function, at an observation."""
    if hasattr(policy, "predict"):
        return lambda observation: policy.predict(observation, deterministic=deterministic)[0]
    if callable(policy):
        act: Policy = policy
        return act
    raise TypeError(f"policy must be a model or a function, got {type(policy).__name__}")


def value_function(model: Any) -> Callable[[Any], float] | None:
    """Q(s, π(s)) of the first critic, or V(s), of a model of stable-baselines3; None: neither."""
    policy: Any = getattr(model, "policy", None)
    if hasattr(model, "critic"):

        def q(observation: Any) -> float:
            import torch

            batch, _ = policy.obs_to_tensor(observation)
            with torch.no_grad():
                action = policy._predict(batch, deterministic=True)
                return float(model.critic.q1_forward(batch, action))

        return q
    if hasattr(policy, "predict_values"):

        def v(observation: Any) -> float:
            import torch

            batch, _ = policy.obs_to_tensor(observation)
            with torch.no_grad():
                return float(policy.predict_values(batch))

        return v
    return None


# ---------------------------------------------------------------------------------- structure


def _flatten(value: Any, leaves: list[Any]) -> Any:
    """The structure of a value; its numbers, texts and arrays go to `leaves` as arrays."""
    if value is None:
        return None
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"names must be texts, got {list(value)}")
        return {"dict": [[key, _flatten(item, leaves)] for key, item in value.items()]}
    if isinstance(value, deque):
        return {"deque": [_flatten(item, leaves) for item in value], "maxlen": value.maxlen}
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_flatten(item, leaves) for item in value]}
    if isinstance(value, np.ndarray):
        leaves.append(value)
        return "array"
    if isinstance(value, np.generic):
        leaves.append(np.asarray(value))
        return "scalar"
    if isinstance(value, bool | int | float | str):
        kind = type(value).__name__
        if isinstance(value, int) and abs(value) >= 2**63:  # states of generators
            kind, value = "integer", str(value)
        leaves.append(np.asarray(value))
        return kind
    raise TypeError(f"a state must be of plain values and arrays, got {type(value).__name__}")


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "array": np.array,
    "scalar": lambda leaf: leaf[()],
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "integer": int,
}


def _unflatten(spec: Any, leaves: Iterator[Any]) -> Any:
    if spec is None:
        return None
    if isinstance(spec, str):
        return _PLAIN[spec](next(leaves))
    if "dict" in spec:
        return {key: _unflatten(item, leaves) for key, item in spec["dict"]}
    if "deque" in spec:
        return deque((_unflatten(item, leaves) for item in spec["deque"]), spec["maxlen"])
    kind = "tuple" if "tuple" in spec else "list"
    items = [_unflatten(item, leaves) for item in spec[kind]]
    return tuple(items) if kind == "tuple" else items
