"""Other uses of a teacher, to compare resets to its snapshots with.

    jump-start      the teacher acts for some steps of each episode, then the student; no state is
                    restored, and the teacher's steps are taken anew each time
    transitions     the teacher's episodes go into the student's replay buffer; its episodes start
                    as usual

References:
    Uchendu et al. Jump-start reinforcement learning. ICML 2023.
    Hester et al. Deep Q-learning from demonstrations. AAAI 2018.
Differs from Uchendu et al.: lengths are drawn from given ones instead of shortened as the student
gets better, and the teacher's steps do not reach the student.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from ...core import checks
from ...core.checks import FloatArray
from .bank import actor
from .wrapper import OtherStarts


class JumpStart(OtherStarts):
    """Resets after which a teacher acts for some steps.

    The info of such a reset, and of each step until the next, has jump_start, the number of them:
    returns of these episodes lack the teacher's part.

    Args:
        env: outside of which belongs what counts the student's steps.
        teacher: a model of stable-baselines3, or a function of the observation.
        lengths: of the teacher's part, of which one is drawn at each reset, each alike; such as
            `bank.values("t")`, which are those of a uniform draw from a bank. Where an episode ends
            before, the student gets the start of the next.
        truncate: steps after which an episode of the student is cut; None: it is not.
        active: whether the teacher acts; see `set_active`.
        seed: of the draws; None: that of the first reset with one.

    Attributes:
        teacher_steps: steps of the environment that the teacher took so far.
    """

    kind = "jump_start"

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        teacher: Any,
        lengths: Sequence[float] | FloatArray,
        *,
        truncate: int | None = None,
        active: bool = True,
        seed: int | None = None,
    ) -> None:
        super().__init__(env, truncate, active, seed)
        self.lengths = checks.array(lengths, "lengths", shape=(None,), low=0.0).astype(int)
        if not len(self.lengths):
            raise ValueError("lengths must be at least one, got none; pass numbers of steps")
        self._act = actor(teacher)
        self.teacher_steps = 0

    def start(self, observation: Any, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The teacher's steps."""
        length = int(self._rng.choice(self.lengths))
        for _ in range(length):
            observation, _, terminated, truncated, info = self.env.step(self._act(observation))
            self.teacher_steps += 1
            if terminated or truncated:
                observation, info = self.env.reset()
                length = 0
                break
        self._marks = {"jump_start": length}
        return observation, info

    def stats(self) -> dict[str, int]:
        """Also the teacher's steps."""
        return super().stats() | {"teacher_steps": self.teacher_steps}


def add_transitions(
    model: Any,
    teacher: Any,
    env: gymnasium.Env[Any, Any],
    *,
    n_episodes: int = 10,
    seed: int | None = None,
) -> int:
    """Put a teacher's episodes into the replay buffer of a model.

    Args:
        model: off-policy, of stable-baselines3.
        teacher: a model of stable-baselines3, or a function of the observation.
        env: a copy of the model's environment, without those wrappers of it that work on batches.
        n_episodes: of the teacher.
        seed: of the first reset.

    Returns:
        How many transitions there are now: those of the episodes but for up to n − 1 of the last,
        where the model has n environments.
    """
    buffer: Any = getattr(model, "replay_buffer", None)
    if buffer is None:
        raise ValueError(
            f"model must have a replay buffer, got {type(model).__name__}; take TD3, SAC, DQN, .."
        )
    checks.integer(n_episodes, "n_episodes", minimum=1)
    act = actor(teacher)
    rows: list[tuple[Any, ...]] = []
    for _ in range(n_episodes):
        observation, _ = env.reset(seed=seed)
        seed, over = None, False
        while not over:
            action = act(observation)
            after, reward, terminated, truncated, _ = env.step(action)
            over = bool(terminated or truncated)
            cut = {"TimeLimit.truncated": bool(truncated and not terminated)}
            rows.append((observation, after, action, reward, over, cut))
            observation = after
    n = buffer.n_envs
    for k in range(0, len(rows) - n + 1, n):
        before, after, actions, rewards, ends, cuts = zip(*rows[k : k + n], strict=True)
        taken: Any = np.array(actions)
        if isinstance(env.action_space, gymnasium.spaces.Box):
            taken = model.policy.scale_action(taken)
        buffer.add(
            np.array(before), np.array(after), taken, np.array(rewards), np.array(ends), list(cuts)
        )
    return len(rows) // n * n
