"""What plays: R independent copies of an algorithm, with its proven bound."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from .checks import FloatArray
from .environment import Action, Environment
from .guarantee import Guarantee, Pathwise


class Learner(ABC):
    """R independent copies of one algorithm, replications on axis 0.

    Attributes:
        probabilities: (R, K), the distribution from which the last `act` drew its arms, or
            (R, N, K), that for each of N contexts, for learners that know it: regret is then
            measured in expectation given the past. None: the arms themselves are charged; set it
            back to None in rounds without a distribution.
    """

    probabilities: FloatArray | None = None

    @abstractmethod
    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """Forget everything; prepare for at most `horizon` rounds with randomness from `rng`."""

    def see(self, context: FloatArray) -> None:
        """Take note of the context of this round, before `act`, in games that have one."""
        raise NotImplementedError(
            f"{type(self).__name__} plays games without contexts; give it one, or take a learner "
            "of contextual bandits"
        )

    @abstractmethod
    def act(self) -> Action:
        """The action of this round, shape (R,) or (R, d)."""

    @abstractmethod
    def update(self, feedback: Any) -> None:
        """Learn from the answer to the action just played: the `Feedback` of the learner's game."""

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """The proven bound on the regret that `run` measures in `environment`.

        None: none is proven. Learners tuned for their horizon know their bound after `reset`.
        """
        return None

    def pathwise(self) -> Pathwise | None:
        """Both sides, (R,) each, of the inequality proven for every run, at the rounds so far.

        None: none is proven, or the run has broken its assumptions.
        """
        return None
