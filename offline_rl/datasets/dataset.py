"""Transitions that were collected before learning begins, and the views that learners take of them.

Row i is one transition (s, a, r, s'). Rows of a trajectory follow each other; a trajectory ends at
a terminal (the world ended: do not bootstrap from s') or at a timeout (it was only cut: do). A row
of NaN actions was not recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ...core import checks
from ...core.checks import BoolArray, FloatArray, IntArray

Float32Array: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class OfflineDataset:
    """N transitions, d_s numbers a state and d_a an action. Arrays are not copied if they fit.

    Attributes:
        observations: s, (N, d_s), float32.
        actions: a, (N, d_a), float32; rows of NaN were not recorded.
        rewards: r, (N,), float32.
        next_observations: s', (N, d_s), float32: before any reset.
        terminals: (N,), bool: the world ended with this transition.
        timeouts: (N,), bool: the trajectory was cut after this transition.
        costs: (N,), float32, of safe RL; None: there are none.
        infos: further arrays of numbers, N rows each.
        meta: where the data come from: env_id, ref_min and ref_max (returns that score 0 and 100),
            seed, ...

    Raises:
        TypeError: an array is not of numbers.
        ValueError: there is no transition, a shape is wrong, a number is not finite, or a row of
            actions is NaN in part.
    """

    observations: Float32Array
    actions: Float32Array
    rewards: Float32Array
    next_observations: Float32Array
    terminals: BoolArray
    timeouts: BoolArray
    costs: Float32Array | None = None
    infos: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        observations = _numbers(self.observations, "observations")
        if observations.ndim != 2 or 0 in observations.shape:
            raise ValueError(
                "observations must have shape (N, d_s) with at least one row and column, got "
                f"{observations.shape}; flatten what a state is made of"
            )
        n, d_s = observations.shape
        actions = _numbers(self.actions, "actions", nan=True)
        if actions.ndim != 2 or len(actions) != n or actions.shape[1] == 0:
            raise ValueError(f"actions must have shape ({n}, d_a), got {actions.shape}; reshape it")
        known = np.isfinite(actions)
        if (known.any(axis=1) != known.all(axis=1)).any():
            row = int(np.flatnonzero(known.any(axis=1) != known.all(axis=1))[0])
            raise ValueError(
                f"actions must be finite or NaN in a whole row, got {actions[row]} in row {row}; "
                "clean it, or set all of the row to NaN"
            )
        fields: dict[str, Any] = {
            "observations": observations,
            "actions": actions,
            "rewards": _numbers(self.rewards, "rewards", (n,)),
            "next_observations": _numbers(self.next_observations, "next_observations", (n, d_s)),
            "terminals": _flags(self.terminals, "terminals", n),
            "timeouts": _flags(self.timeouts, "timeouts", n),
            "infos": {name: _info(value, name, n) for name, value in self.infos.items()},
            "meta": dict(self.meta),
        }
        if self.costs is not None:
            fields["costs"] = _numbers(self.costs, "costs", (n,))
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.rewards)

    def __repr__(self) -> str:
        source = self.meta.get("name", self.meta.get("env_id", "unnamed"))
        return (
            f"OfflineDataset({source}: {len(self)} transitions, {self.n_trajectories} trajectories)"
        )

    # trajectories

    @cached_property
    def bounds(self) -> IntArray:
        """Trajectory i is rows bounds[i] to bounds[i + 1] − 1; (n + 1,)."""
        ends: IntArray = np.flatnonzero(self.terminals | self.timeouts) + 1
        if self.ends_open:
            ends = np.append(ends, len(self))
        return np.insert(ends, 0, 0).astype(np.int64)

    @property
    def n_trajectories(self) -> int:
        """n, with the open one."""
        return len(self.bounds) - 1

    @property
    def ends_open(self) -> bool:
        """Whether the last trajectory ends by neither a terminal nor a timeout."""
        return not bool(self.terminals[-1] or self.timeouts[-1])

    @cached_property
    def timesteps(self) -> IntArray:
        """Step of each row in its trajectory, from 0, (N,)."""
        return np.arange(len(self)) - np.repeat(self.bounds[:-1], self.lengths())

    @cached_property
    def returns_to_go(self) -> Float32Array:
        """Undiscounted sum of the rewards from each row to the end of its trajectory, (N,)."""
        sums = np.empty(len(self))
        for first, end in zip(self.bounds[:-1], self.bounds[1:], strict=True):
            sums[first:end] = self.rewards[first:end][::-1].cumsum(dtype=np.float64)[::-1]
        return sums.astype(np.float32)

    @cached_property
    def labelled(self) -> BoolArray:
        """Which rows have recorded actions, (N,)."""
        return ~np.isnan(self.actions[:, 0])  # NaN are whole rows

    def lengths(self) -> IntArray:
        """Transitions of each trajectory, (n,)."""
        return np.diff(self.bounds)

    def returns(self) -> FloatArray:
        """Undiscounted sums of rewards, (n,), float64."""
        return np.add.reduceat(self.rewards.astype(np.float64), self.bounds[:-1])

    def normalised_score(self, returns: Any) -> FloatArray:
        """100 (J − ref_min) / (ref_max − ref_min), of the shape of `returns`.

        Raises:
            ValueError: meta has no ref_min < ref_max.
        """
        low, high = self.meta.get("ref_min"), self.meta.get("ref_max")
        if low is None or high is None or not low < high:
            raise ValueError(
                f"meta must have ref_min < ref_max, got {low!r} and {high!r}; set them with "
                "dataclasses.replace(dataset, meta=...)"
            )
        return 100 * (checks.array(returns, "returns") - low) / (high - low)

    def trajectories(self) -> list[OfflineDataset]:
        """Each trajectory as a dataset whose arrays are views."""
        ranges = zip(self.bounds[:-1], self.bounds[1:], strict=True)
        return [self._rows(slice(first, end)) for first, end in ranges]

    def subset(self, trajectory_ids: Sequence[int] | IntArray) -> OfflineDataset:
        """These trajectories, in this order; an open one that is not last is closed by a timeout.

        Args:
            trajectory_ids: at least one number in [0, n); they may repeat.
        """
        ids = np.asarray(trajectory_ids)
        if ids.ndim != 1 or len(ids) == 0 or ids.dtype.kind not in "iu":
            raise ValueError(
                f"trajectory_ids must be at least one integer, got {trajectory_ids!r:.80}; for a "
                "mask pass np.flatnonzero of it"
            )
        if ids.min() < 0 or ids.max() >= self.n_trajectories:
            raise ValueError(
                f"trajectory_ids must be in [0, {self.n_trajectories}), got {ids.min()} to "
                f"{ids.max()}; drop those outside"
            )
        lengths = self.lengths()[ids]
        ends = lengths.cumsum()
        rows = np.arange(ends[-1]) + np.repeat(self.bounds[ids] - (ends - lengths), lengths)
        chosen = self._rows(rows)
        timeouts = chosen.timeouts.copy()
        timeouts[ends[:-1] - 1] |= ~chosen.terminals[ends[:-1] - 1]
        return replace(chosen, timeouts=timeouts)

    def first(self, n_transitions: int) -> OfflineDataset:
        """The first rows; the last of them is made a timeout unless it is a terminal.

        Args:
            n_transitions: in [1, N].
        """
        n = checks.integer(n_transitions, "n_transitions", minimum=1)
        if n > len(self):
            raise ValueError(f"n_transitions must be at most {len(self)}, got {n}; take fewer")
        start = self._rows(slice(n))
        timeouts = start.timeouts.copy()
        timeouts[-1] |= not start.terminals[-1]
        return replace(start, timeouts=timeouts)

    @staticmethod
    def concat(
        datasets: Sequence[OfflineDataset], *, meta: Mapping[str, Any] | None = None
    ) -> OfflineDataset:
        """All transitions, in order; an open end that is not the last is closed by a timeout.

        Args:
            datasets: at least one, of the same dimensions, with the same infos, and all or none
                with costs.
            meta: of the whole; None: the entries on which all agree, and "parts", the meta of
                each.
        """
        if not datasets:
            raise ValueError("datasets must be at least one, got none")
        kinds = {
            (one.observations.shape[1], one.actions.shape[1], one.costs is None, *sorted(one.infos))
            for one in datasets
        }
        if len(kinds) > 1:
            raise ValueError(
                "datasets must agree in (d_s, d_a, whether costs are missing, names of infos), got "
                f"{sorted(kinds, key=str)}; drop what only some of them have"
            )
        if meta is None:
            first = datasets[0].meta
            missing = object()
            agreed = {
                key: value
                for key, value in first.items()
                if all(one.meta.get(key, missing) == value for one in datasets)
            }
            meta = agreed | {"parts": [dict(one.meta) for one in datasets]}
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(one, name) for one in datasets]) for name in _ARRAYS
        }
        last_rows = np.cumsum([len(one) for one in datasets])[:-1] - 1
        columns["timeouts"][last_rows] |= ~columns["terminals"][last_rows]
        if datasets[0].costs is not None:
            columns["costs"] = np.concatenate([one.costs for one in datasets])
        infos = {
            name: np.concatenate([one.infos[name] for one in datasets])
            for name in datasets[0].infos
        }
        return OfflineDataset(**columns, infos=infos, meta=meta)

    def _rows(self, rows: slice | IntArray) -> OfflineDataset:
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in _ARRAYS},
            costs=None if self.costs is None else self.costs[rows],
            infos={name: value[rows] for name, value in self.infos.items()},
        )

    # what learners take

    def sample(self, rng: np.random.Generator, batch_size: int) -> dict[str, npt.NDArray[Any]]:
        """Transitions drawn uniformly with replacement: each field's name, and its rows.

        Args:
            rng: draws them.
            batch_size: rows, at least 1.
        """
        rows = rng.integers(len(self), size=checks.integer(batch_size, "batch_size", minimum=1))
        batch = {name: getattr(self, name)[rows] for name in _ARRAYS}
        return batch if self.costs is None else batch | {"costs": self.costs[rows]}

    def normalise_states(
        self, eps: float = 1e-6
    ) -> tuple[OfflineDataset, Float32Array, Float32Array]:
        """(s − mean) / std for s and s', with the moments of `observations`.

        Args:
            eps: added to the standard deviation, above 0.

        Returns:
            The dataset, the mean (d_s,), and the standard deviation with eps (d_s,).
        """
        eps = checks.positive(eps, "eps")
        mean = self.observations.mean(axis=0, dtype=np.float64).astype(np.float32)
        std = (self.observations.std(axis=0, dtype=np.float64) + eps).astype(np.float32)
        scaled = replace(
            self,
            observations=(self.observations - mean) / std,
            next_observations=(self.next_observations - mean) / std,
        )
        return scaled, mean, std

    def windows(self, k: int) -> Float32Array:
        """Inputs of inverse dynamics: (s_{t−k}, ..., s_t, s_{t+1}) of each row, (N, (k + 2) d_s).

        s_{t+1} is the row's next observation. What lies before the trajectory's start is zeros.

        Args:
            k: states before the current one, at least 0.
        """
        k = checks.integer(k, "k", minimum=0)
        n, d_s = self.observations.shape
        result = np.zeros((n, k + 2, d_s), dtype=np.float32)
        for back in range(min(k + 1, n)):
            there = self.timesteps[back:] >= back
            result[back:, k - back][there] = self.observations[: n - back][there]
        result[:, -1] = self.next_observations
        return result.reshape(n, (k + 2) * d_s)

    def sequences(self, length: int, rows: IntArray | None = None) -> dict[str, npt.NDArray[Any]]:
        """The context that ends with each of these rows, for sequence models, padded on the left.

        Args:
            length: K >= 1, rows of a context.
            rows: the last row of each, (n,); None: all N of them, which takes N K rows of memory.

        Returns:
            observations (n, K, d_s), actions (n, K, d_a), rewards, returns_to_go (n, K), timesteps
            (n, K), and mask (n, K), False where a context reaches before its trajectory's start:
            there the others are zero.
        """
        length = checks.integer(length, "length", minimum=1)
        last = np.arange(len(self)) if rows is None else np.asarray(rows)
        if last.ndim != 1 or last.dtype.kind not in "iu":
            raise ValueError(f"rows must be integers of shape (n,), got {rows!r:.80}; convert it")
        if len(last) and (last.min() < 0 or last.max() >= len(self)):
            raise ValueError(
                f"rows must be in [0, {len(self)}), got {last.min()} to {last.max()}; drop those "
                "outside"
            )
        back = np.arange(length - 1, -1, -1)
        mask = self.timesteps[last][:, None] >= back  # (n, K)
        index = np.where(mask, last[:, None] - back, 0)
        columns: dict[str, npt.NDArray[Any]] = {
            "observations": self.observations,
            "actions": self.actions,
            "rewards": self.rewards,
            "returns_to_go": self.returns_to_go,
            "timesteps": self.timesteps,
        }
        contexts: dict[str, npt.NDArray[Any]] = {"mask": mask}
        for name, column in columns.items():
            contexts[name] = column[index]
            contexts[name][~mask] = 0
        return contexts

    # labels

    def without_actions(self) -> OfflineDataset:
        """The same, with no action recorded."""
        return replace(self, actions=np.full_like(self.actions, np.nan))

    def relabel(self, actions: Any) -> OfflineDataset:
        """The same, with these actions, (N, d_a)."""
        given = np.asarray(actions)
        if given.shape != self.actions.shape:
            raise ValueError(
                f"actions must have shape {self.actions.shape}, got {given.shape}; give one "
                "to each row"
            )
        return replace(self, actions=given)

    def hash(self) -> str:
        """SHA-256 of all arrays, with their names, types and shapes; meta is left out."""
        digest = hashlib.sha256()
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        if self.costs is not None:
            arrays["costs"] = self.costs
        arrays |= {f"infos/{name}": self.infos[name] for name in sorted(self.infos)}
        for name, value in arrays.items():
            little = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
            digest.update(f"{name} {little.dtype.str} {little.shape};".encode())
            digest.update(little.data)
        return digest.hexdigest()


_ARRAYS = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts")


def _numbers(
    value: Any, name: str, shape: tuple[int, ...] | None = None, *, nan: bool = False
) -> Float32Array:
    """`value` as float32; finite, or NaN too where that is allowed."""
    given = _real(value, name)
    if shape is not None and given.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {given.shape}; reshape it")
    with np.errstate(over="ignore"):  # too large for float32: refused below
        numbers = np.ascontiguousarray(given, dtype=np.float32)
    bad = np.isinf(numbers) if nan else ~np.isfinite(numbers)
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{name} must be finite float32, got {given[index]} at index {index}; clean it"
        )
    return numbers


def _flags(value: Any, name: str, n: int) -> BoolArray:
    given = _real(value, name)
    if given.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), got {given.shape}; reshape it")
    flags = given.astype(bool, copy=False)
    if given.dtype != bool and (flags != given).any():
        raise ValueError(
            f"{name} must be False or True, got {given[flags != given][0]}; convert it"
        )
    return np.ascontiguousarray(flags)


def _info(value: Any, name: str, n: int) -> npt.NDArray[Any]:
    given = _real(value, f"infos[{name!r}]")
    if given.ndim == 0 or len(given) != n:
        raise ValueError(
            f"infos[{name!r}] must have {n} rows, got shape {given.shape}; put what is not a row "
            "of a transition into meta"
        )
    return np.ascontiguousarray(given)


def _real(value: Any, name: str) -> npt.NDArray[Any]:
    try:
        given = np.asarray(value)
    except ValueError as error:  # ragged
        raise TypeError(f"{name} must be an array of real numbers ({error})") from None
    if given.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array of real numbers, got {value!r:.80}; convert it")
    return given
