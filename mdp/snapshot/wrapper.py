"""Episodes that start from snapshots, and are cut after some steps.

    env = SnapshotReset(gymnasium.make("Hopper-v5"), ClusterSampler(bank), truncate=100)

Outside of it belongs what counts the student's steps or keeps statistics of its own (Monitor,
NormalizeObservation, ..), inside what is a part of the simulator (TimeLimit, ..). An episode is cut
by `truncated`, so that learners which go by it value the last state instead of 0.

Reference:
    Zhao et al. 2024 ("student trajectory truncation").
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit

from ...core import checks
from .samplers import Sampler
from .snapshots import restore


class OtherStarts(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Episodes that start otherwise than as usual, while it is active, and are cut after L steps.

    The info of such a reset, and of each step until the next, has marks.
    """

    kind: ClassVar[str]  # of the counts

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        truncate: int | None,
        active: bool,
        seed: int | None,
    ) -> None:
        super().__init__(env)
        if truncate is not None:
            checks.integer(truncate, "truncate", minimum=1)
        self.truncate, self.active = truncate, active
        self._rng = np.random.default_rng(seed)
        self._marks: dict[str, Any] = {}  # of the episode; empty: it started as usual
        self._steps = 0
        self._counts = {"resets": 0, f"{self.kind}_resets": 0, f"{self.kind}_steps": 0, "cuts": 0}

    @abstractmethod
    def start(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """Observation and info of a start, after the usual one; sets the marks. None: that one."""

    def set_active(self, active: bool) -> None:
        """Whether episodes start otherwise, from the next reset on."""
        self.active = active

    def stats(self) -> dict[str, int]:
        """Resets, those of this kind, steps in episodes that these began, and how many were cut."""
        return dict(self._counts)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """The usual reset, then the start."""
        if seed is not None:
            self._rng = np.random.default_rng([seed, 1])  # not the draws of the environment
        observation, info = self.env.reset(seed=seed, options=options)
        self._marks, self._steps = {}, 0
        self._counts["resets"] += 1
        started = self.start(observation, info) if self.active else None
        if started is None:
            return observation, info
        self._counts[f"{self.kind}_resets"] += 1
        observation, info = started
        return observation, info | self._marks

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """The environment's, cut after L steps."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._marks:
            self._steps += 1
            self._counts[f"{self.kind}_steps"] += 1
            if self._steps == self.truncate and not (terminated or truncated):
                truncated = True
                self._counts["cuts"] += 1
            info = info | self._marks
        return observation, reward, terminated, truncated, info


class SnapshotReset(OtherStarts):
    """Resets to snapshots that a sampler draws.

    The info of such a reset, and of each step until the next, has snapshot=True, snapshot_t and, if
    there is one, snapshot_value: returns of these episodes are not those of the task.

    Args:
        env: with wrappers whose state is known how to keep.
        sampler: of snapshots of it.
        truncate: L, steps after which an episode from a snapshot is cut; None: it is not.
        active: whether resets draw; see `set_active`.
        extend: whether such an episode may go on beyond the TimeLimit, up to L steps, as in the
            paper's code.
        seed: of the draws; None: that of the first reset with one.
    """

    kind = "snapshot"

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        sampler: Sampler,
        *,
        truncate: int | None = 100,
        active: bool = True,
        extend: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(env, truncate, active, seed)
        self.sampler, self.extend = sampler, extend
        limit: Any = env
        while isinstance(limit, gymnasium.Wrapper) and not isinstance(limit, TimeLimit):
            limit = limit.env
        self._limit: Any = limit if isinstance(limit, TimeLimit) else None

    def start(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """A snapshot."""
        snapshot = self.sampler.sample(self._rng)
        if snapshot is None:
            return None
        observation, info = restore(self.env, snapshot, randomness="resample")
        if self._limit is not None and self.extend and self.truncate is not None:
            most = self._limit._max_episode_steps - self.truncate
            self._limit._elapsed_steps = max(0, min(snapshot.elapsed or 0, most))
        self._marks = {"snapshot": True, "snapshot_t": snapshot.meta.get("t", snapshot.elapsed)}
        if "value" in snapshot.meta:
            self._marks["snapshot_value"] = snapshot.meta["value"]
        return observation, info
