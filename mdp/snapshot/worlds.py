"""Small worlds with a single reward, which snapshots can be kept of.

    chain           right 49 times, or the episode ends: undirected exploration needs about 2⁴⁹ of
                    them, exponentially many in the length
    four rooms      a walk through doors of one cell: undirected exploration gets there, late

Reward is 1 at the goal, where the episode ends, and 0 elsewhere. Nothing is random, so that the
optimal value of the state before the goal is 1, and γᵈ if d more steps are needed.

References:
    Sutton, Precup, Singh. Between MDPs and semi-MDPs. Artificial Intelligence 112, 1999 (the four
    rooms; without their noise).
    The chain is the combination lock, see Kakade. On the sample complexity of reinforcement
    learning. Thesis, University College London, 2003.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ...core import checks
from ...core.checks import FloatArray, IntArray
from .adapters import Fields, register_adapter

ROOMS = """\
#############
#     #    G#
#     #     #
#           #
#     #     #
#     #     #
## ####     #
#     ### ###
#     #     #
#     #     #
#           #
#S    #     #
#############"""
LOST = -1  # in place of a state: the episode ends without a reward


class SparseWorld(gymnasium.Env[Any, Any]):
    """A finite deterministic world: reward 1 at the goal, where the episode ends.

    Args:
        moves: the next state, or LOST, (S, A); what is said of the goal is not used.
        start: where each episode starts.
        goal: another state.

    Attributes:
        state: of now; where the episode was lost, it stays.
    """

    def __init__(self, moves: IntArray, *, start: int, goal: int) -> None:
        self.moves = np.asarray(moves)
        n_states, n_actions = self.moves.shape
        if self.moves.min() < LOST or self.moves.max() >= n_states:
            raise ValueError(f"moves must be states below {n_states}, or {LOST}; mend them")
        checks.integer(start, "start", minimum=0)
        checks.integer(goal, "goal", minimum=0)
        if max(start, goal) >= n_states or start == goal:
            raise ValueError(f"start and goal must be two of {n_states}, got {start} and {goal}")
        self.start, self.goal = start, goal
        self.observation_space = gymnasium.spaces.Discrete(n_states)
        self.action_space = gymnasium.spaces.Discrete(n_actions)
        self._next: list[list[int]] = self.moves.tolist()  # faster to look up

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        """The start."""
        super().reset(seed=seed)
        self.state = self.start
        return self.state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Move."""
        found = self._next[self.state][action]
        if found == LOST:
            return self.state, 0.0, True, False, {}
        self.state = found
        there = found == self.goal
        return found, float(there), there, False, {}


register_adapter(SparseWorld, Fields("state"))


def chain(length: int = 50) -> SparseWorld:
    """States in a row, from the first to the last: action 1 leads on, action 0 loses."""
    checks.integer(length, "length", minimum=2)
    moves = np.full((length, 2), LOST)
    moves[:, 1] = np.minimum(np.arange(length) + 1, length - 1)
    return SparseWorld(moves, start=0, goal=length - 1)


def four_rooms() -> SparseWorld:
    """Cells of ROOMS, row by row: up, right, down, left; at a wall one stays."""
    grid = np.array([list(row) for row in ROOMS.splitlines()])
    free = np.argwhere(grid != "#")
    number = np.full(grid.shape, LOST)
    number[tuple(free.T)] = np.arange(len(free))
    ahead = np.stack([number[tuple((free + d).T)] for d in ([-1, 0], [0, 1], [1, 0], [0, -1])], 1)
    moves = np.where(ahead == LOST, np.arange(len(free))[:, None], ahead)
    (start,), (goal,) = (np.flatnonzero(grid[tuple(free.T)] == mark) for mark in "SG")
    return SparseWorld(moves, start=int(start), goal=int(goal))


def optimal_values(world: SparseWorld, discount: float) -> FloatArray:
    """Action values Q*, (S, A), by value iteration; those of the goal are 0.

    Q(s, a) = 1 where a leads to the goal, 0 where it loses, otherwise γ max Q(s', ·).
    """
    checks.real(discount, "discount", above=0, below=1)
    n_states, n_actions = world.moves.shape
    q = np.zeros((n_states, n_actions))
    for _ in range(n_states):  # no way is longer
        v = np.append(q.max(axis=1), 0.0)  # LOST is the last
        v[world.goal] = 0.0
        q = (world.moves == world.goal) + discount * v[world.moves]
        q[world.goal] = 0.0
    return q
