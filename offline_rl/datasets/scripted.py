"""Datasets of scripted controllers in the worlds of `envs`.

With the noisy controller c · guide + (1 − c) ξ of the world:

    random           uniform actions
    medium           one c, with about a third of the expert's score
    expert           the expert
    medium-replay    a c for each episode, c = u^1.5 with u uniform: from bad to nearly expert
    halves           StitchMaze2D: from the start to just beyond the middle, to wait there, or, one
                     episode in three, from rest in the middle to the goal; c = 0.7, at most 100
                     steps. In the middle most wait, so that cloning waits

Episodes are made in blocks of 50. Each block has seeds of its own, for starts, for actions, and
for what is drawn once an episode; so a smaller dataset is the beginning of a larger one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from ...core.checks import BoolArray, FloatArray, IntArray
from ..envs import LQR, Dynamics, PointMass2D, StitchMaze2D, noisy
from .dataset import OfflineDataset

Act: TypeAlias = Callable[[FloatArray], FloatArray]

_BLOCK = 50  # episodes
_STREAMS = {"random": 0, "medium": 1, "expert": 2, "medium-replay": 3, "halves": 4}
_HALF_STEPS, _HALF_QUALITY, _HALF_STOP = 100, 0.7, 5.0  # stop: 0.5 beyond the middle
_TO_GOAL = 1 / 3  # of the episodes of halves


@dataclass(frozen=True)
class World:
    """A world with scripted controllers.

    Attributes:
        dynamics: makes it.
        medium: c of the tier medium.
        n_transitions: of a dataset, by default.
    """

    dynamics: Callable[[], Dynamics]
    medium: float
    n_transitions: int = 40_000


WORLDS = {
    "PointMass2D": World(PointMass2D, medium=0.05),
    "StitchMaze2D": World(StitchMaze2D, medium=0.17),
    "LQR": World(LQR, medium=0.45),
}


def collect(world: World, tier: str, n_transitions: int, seed: int) -> OfflineDataset:
    """The first transitions of a tier; infos["route"] of halves is 0 from the start, 1 to the goal.

    Args:
        world: where.
        tier: one of the above.
        n_transitions: N >= 1; the last trajectory is cut to fit.
        seed: at least 0.
    """
    dynamics = world.dynamics()
    blocks: list[OfflineDataset] = []
    while sum(map(len, blocks)) < n_transitions:
        stream = np.random.SeedSequence(seed, spawn_key=(_STREAMS[tier], len(blocks)))
        blocks.append(_block(dynamics, world.medium, tier, stream))
    return OfflineDataset.concat(blocks).first(n_transitions)


def _block(
    dynamics: Dynamics, medium: float, tier: str, stream: np.random.SeedSequence
) -> OfflineDataset:
    starts, actions, mixture = (np.random.default_rng(child) for child in stream.spawn(3))
    state = dynamics.reset(_BLOCK, starts)
    if tier == "halves":
        assert isinstance(dynamics, StitchMaze2D)
        return _halves(dynamics, state, starts, actions, mixture)
    quality = mixture.uniform(size=_BLOCK) ** 1.5
    acts: dict[str, Act] = {
        "random": lambda s: actions.uniform(-1.0, 1.0, (len(s), dynamics.n_actions)),
        "medium": lambda s: dynamics.controller(s, medium, actions),
        "expert": dynamics.expert,
        "medium-replay": lambda s: dynamics.controller(s, quality, actions),
    }
    return _rollout(dynamics, state, acts[tier], dynamics.horizon)[0]


def _halves(
    maze: StitchMaze2D,
    state: FloatArray,
    starts: np.random.Generator,
    actions: np.random.Generator,
    mixture: np.random.Generator,
) -> OfflineDataset:
    to_goal = mixture.random(len(state)) < _TO_GOAL
    state = np.where(to_goal[:, None], maze.reset_in_middle(len(state), starts), state)
    stop = np.where(to_goal, maze.length, _HALF_STOP)

    def act(state: FloatArray) -> FloatArray:
        return noisy(maze.guide(state, stop), _HALF_QUALITY, actions)

    dataset, episode = _rollout(maze, state, act, _HALF_STEPS)
    return replace(dataset, infos={"route": to_goal[episode].astype(np.int8)})


def _rollout(
    dynamics: Dynamics, state: FloatArray, act: Act, horizon: int
) -> tuple[OfflineDataset, IntArray]:
    """Episodes from these states (n, d_s), one after the other, and the episode of each row."""
    steps = []
    alive: BoolArray = np.ones(len(state), dtype=bool)
    for t in range(horizon):
        action = act(state).astype(np.float32)  # what is stored is what acts
        following, reward, terminated = dynamics.step(state, action.astype(np.float64))
        cut = np.full(len(state), t == horizon - 1) & ~terminated
        steps.append((alive, state, action, reward, following, terminated, cut))
        alive = alive & ~terminated
        state = following
        if not alive.any():
            break
    kept, *columns = (np.stack(column, axis=1) for column in zip(*steps, strict=True))  # (n, T, ..)
    return OfflineDataset(*(column[kept] for column in columns)), np.nonzero(kept)[0]
