"""What a learner plays against, and what it is told.

An environment runs R replications at once. Each round it receives the learner's action and answers
with a `Feedback` that holds what the information structure reveals and nothing else. It may depend
on the actions of earlier rounds (an adaptive adversary), never on the one it is answering.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from .checks import FloatArray, IntArray

if TYPE_CHECKING:
    from .learner import Learner
    from .regret import Comparator

Action: TypeAlias = npt.NDArray[Any]
Adversary: TypeAlias = Literal["oblivious", "stochastic", "adaptive"]


@dataclass(frozen=True, slots=True)
class FullFeedback:
    """Every decision's loss: `losses` (R, K) in [0, 1]."""

    losses: FloatArray


@dataclass(frozen=True, slots=True)
class BanditFeedback:
    """The loss of the arm played and no other: `arms` (R,), `losses` (R,).

    Losses are in [0, 1], but in linear bandits, where their means are in [−1, 1].
    """

    arms: IntArray
    losses: FloatArray


class Loss(ABC):
    """R convex losses on ℝᵈ, one a replication, as drawn in one round of convex optimisation."""

    @abstractmethod
    def gradient(self, x: FloatArray) -> FloatArray:
        """∇f at the points `x`, (R, d), or (R, N, d) for N points a replication; same shape."""

    def implicit_step(
        self, center: FloatArray, step_size: FloatArray, radius: float
    ) -> tuple[FloatArray, FloatArray]:
        """The proximal step on the ball of `radius` around 0, and the subgradient that makes it.

            x = argmin_{‖x‖ ≤ radius} f(x) + ‖x − center‖²/(2η) = Π(center − η m),  m ∈ ∂f(x).

        Args:
            center: (R, d).
            step_size: η > 0, (R, 1).
            radius: of the ball.

        Returns:
            x and m, each (R, d).
        """
        raise NotImplementedError(f"{type(self).__name__} has no implicit step; give it one")


@dataclass(frozen=True, slots=True)
class GradientFeedback:
    """The gradient at the point played, `gradients` (R, d), and the whole `loss` drawn."""

    gradients: FloatArray
    loss: Loss


@dataclass(frozen=True, slots=True)
class TrajectoryFeedback:
    """What an episode of an MDP showed: `states`, `actions` and their `losses`, (R, H) each."""

    states: IntArray
    actions: IntArray
    losses: FloatArray


Feedback: TypeAlias = FullFeedback | BanditFeedback | GradientFeedback | TrajectoryFeedback


class Environment(ABC):
    """R replications of a repeated game.

    Attributes:
        adversary: where the losses come from. "oblivious": fixed before the game; "stochastic":
            drawn from distributions fixed before the game, with regret measured on their means;
            "adaptive": they may depend on the learner's past actions. Guarantees depend on it.
        horizon: the most rounds that can be played; None: any number.
        n_switches: changes of the best sequence of decisions that regret is against; 0: the best
            fixed decision.
        contextual: whether each round begins with a context, which learners see before they act.
    """

    adversary: Adversary
    horizon: int | None = None
    n_switches: int = 0
    contextual: bool = False

    def against_fixed(self, *, adaptive: bool = False) -> bool:
        """Whether regret is against one fixed decision, of an adversary that does not adapt.

        adaptive: or of one that does.
        """
        return self.n_switches == 0 and (adaptive or self.adversary != "adaptive")

    def admit(self, learner: Learner) -> None:  # noqa: B027  # all are welcome by default
        """Raise a ValueError, before the first round, when `learner` does not fit this game."""

    @abstractmethod
    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R fresh replications; all later randomness comes from `rng`."""

    def context(self) -> FloatArray:
        """What learners see of this round before they act, replications on axis 0."""
        raise NotImplementedError(f"{type(self).__name__} has no contexts")

    @abstractmethod
    def step(self, action: Action) -> Feedback:
        """Play one round: `action` has the replications on axis 0."""

    @abstractmethod
    def comparator(self) -> Comparator:
        """A fresh account of the learner's loss against the best decision, from this round on."""
