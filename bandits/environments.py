"""Bandit games: K arms, losses in [0, 1].

A learner that plays arms (R,) is told the losses of these arms; a learner of the experts' game,
which plays distributions (R, K), is told all losses. Regret is measured on the losses themselves
where an adversary picks them, and on their means where they are drawn from distributions.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from ..core import checks
from ..core.checks import FloatArray, IntArray
from ..core.environment import (
    Action,
    Adversary,
    BanditFeedback,
    Environment,
    Feedback,
    FullFeedback,
)
from ..core.random import UniformStream
from ..core.regret import BestFixedArm, BestSwitchingArm

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..core.learner import Learner


@njit(cache=True)
def _losses_of_arms(losses: FloatArray, arms: IntArray, out: FloatArray) -> int:
    """out[r] = losses[r, arms[r]]; one row is shared. Returns a row with no such arm, or −1."""
    shared = losses.shape[0] == 1
    for r in range(len(arms)):
        if arms[r] < 0 or arms[r] >= losses.shape[1]:
            return r
        out[r] = losses[0 if shared else r, arms[r]]
    return -1


@njit(cache=True)
def _draw_arms(means: FloatArray, arms: IntArray, uniforms: FloatArray, out: FloatArray) -> int:
    """out[r] = 1 with probability means[r, arms[r]], else 0."""
    shared = means.shape[0] == 1
    for r in range(len(arms)):
        if arms[r] < 0 or arms[r] >= means.shape[1]:
            return r
        out[r] = 1.0 if uniforms[r] < means[0 if shared else r, arms[r]] else 0.0
    return -1


class Bandit(Environment):
    """What all bandit games share; subclasses say where the losses come from.

    Attributes:
        n_arms: K >= 2.
    """

    n_arms: int

    def admit(self, learner: Learner) -> None:
        """Refuse a learner with another number of arms."""
        n_arms = getattr(learner, "n_arms", self.n_arms)
        if n_arms != self.n_arms:
            raise ValueError(
                f"learner must have n_arms={self.n_arms} like the environment, got {n_arms}; "
                f"build {type(learner).__name__}(n_arms={self.n_arms})"
            )

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications at round 0."""
        self._n_replications = n_replications
        self._rng = rng
        self._round = 0

    def step(self, action: Action) -> Feedback:
        """Play arms (R,) and be told their losses, or distributions (R, K) and be told all."""
        n = self._n_replications
        if action.ndim == 1 and len(action) == n and action.dtype.kind in "iu":
            out = np.empty(n)
            row = self._pull(action, out)
            if row >= 0:
                raise ValueError(
                    f"action must hold arms in [0, {self.n_arms}), got {action[row]} in "
                    f"replication {row}"
                )
            feedback: Feedback = BanditFeedback(action, out)
        elif action.shape == (n, self.n_arms):
            feedback = FullFeedback(np.broadcast_to(self._reveal(), action.shape))
        else:
            raise ValueError(
                f"action must hold {n} integers (arms) or have shape ({n}, {self.n_arms}) "
                f"(distributions), got dtype {action.dtype} and shape {action.shape}"
            )
        self._round += 1
        return feedback

    @abstractmethod
    def _pull(self, arms: IntArray, out: FloatArray) -> int:
        """Write the losses of `arms` into `out`; return a row with no such arm, or −1."""

    @abstractmethod
    def _reveal(self) -> FloatArray:
        """All losses of this round, (R, K) or (1, K)."""


class AdversarialBandit(Bandit):
    """Losses fixed before the game, the same in all replications.

    Args:
        losses: array (T, K) with entries in [0, 1], or a function of t = 0, 1, 2, ... that gives
            row t, (K,); it must not depend on anything but t.
        n_switches: S >= 0: regret is against the best sequence of arms with at most S changes.

    Attributes:
        table: the losses (T, K), where they were given so; else None.
    """

    adversary: Adversary = "oblivious"

    def __init__(
        self, losses: npt.ArrayLike | Callable[[int], npt.ArrayLike], *, n_switches: int = 0
    ) -> None:
        self.n_switches = checks.integer(n_switches, "n_switches", minimum=0)
        self.table: FloatArray | None = None
        if callable(losses):
            self._function = losses
            row = checks.array(losses(0), "losses(0)", shape=(None,), low=0.0, high=1.0)
            self.n_arms = len(row)
        else:
            table = checks.array(losses, "losses", shape=(None, None), low=0.0, high=1.0)
            self.table = np.array(table, order="C")  # ours: the caller may change theirs
            self.horizon, self.n_arms = table.shape
            checks.integer(self.horizon, "the number of rounds in losses", minimum=1)
        checks.integer(self.n_arms, "the number of arms in losses", minimum=2)

    def _row(self) -> FloatArray:
        t = self._round
        if self.table is not None:
            if t >= len(self.table):
                raise ValueError(
                    f"the game is over: losses holds {len(self.table)} rounds; reset it"
                )
            self._losses = self.table[t : t + 1]
        else:
            row = checks.array(
                self._function(t), f"losses({t})", shape=(self.n_arms,), low=0.0, high=1.0
            )
            self._losses = row.reshape(1, -1)
        return self._losses

    def _pull(self, arms: IntArray, out: FloatArray) -> int:
        return int(_losses_of_arms(self._row(), arms, out))

    def _reveal(self) -> FloatArray:
        return self._row()

    def comparator(self) -> BestFixedArm:
        """The best arm of the losses so far, or the best sequence with `n_switches` changes."""
        shape = (1, self.n_arms)
        if self.n_switches:
            return BestSwitchingArm(
                self._n_replications, shape, lambda: self._losses, n_switches=self.n_switches
            )
        return BestFixedArm(self._n_replications, shape, lambda: self._losses)


class StochasticBandit(Bandit):
    """Independent Bernoulli losses; `_means` holds this round's mean losses, (1, K) or (R, K).

    In the bandit game one uniform a replication and round decides the loss of the arm played.
    """

    adversary: Adversary = "stochastic"
    _means: FloatArray

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications at round 0."""
        super().reset(n_replications, rng)
        self._uniforms = UniformStream(rng, (n_replications,))

    def _advance(self) -> None:
        """Set `_means` for round `_round`; stationary games have nothing to do."""

    def _pull(self, arms: IntArray, out: FloatArray) -> int:
        self._advance()
        return int(_draw_arms(self._means, arms, self._uniforms.draw(), out))

    def _reveal(self) -> FloatArray:
        self._advance()
        uniforms = self._rng.random((self._n_replications, self.n_arms))
        return (uniforms < self._means).astype(np.float64)

    def comparator(self) -> BestFixedArm:
        """The arm of least mean loss so far."""
        rows = len(self._means)
        return BestFixedArm(self._n_replications, (rows, self.n_arms), lambda: self._means)


class BernoulliBandit(StochasticBandit):
    """Stationary: the loss of arm k is 1 with probability means[k], else 0.

    Args:
        means: mean losses (K,), in [0, 1].
    """

    def __init__(self, means: npt.ArrayLike) -> None:
        self.means = checks.array(means, "means", shape=(None,), low=0.0, high=1.0).copy()
        self.n_arms = checks.integer(len(self.means), "the number of arms in means", minimum=2)
        self._means = self.means.reshape(1, -1)

    @property
    def gaps(self) -> FloatArray:
        """Δ_k = means[k] − min means, shape (K,)."""
        return self.means - self.means.min()


class NonstationaryBandit(StochasticBandit):
    """Bernoulli losses whose means move, whatever the learner does.

    Args:
        means: mean losses (T, K) in [0, 1], or a function of t = 0, 1, 2, ... that gives row t,
            (K,), such as `drifting`; it must not depend on anything but t.
    """

    def __init__(self, means: npt.ArrayLike | Callable[[int], npt.ArrayLike]) -> None:
        rows = AdversarialBandit(means)  # checks and serves them
        self.horizon, self.n_arms, self._rows = rows.horizon, rows.n_arms, rows
        self._means = np.zeros((1, self.n_arms))

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications at round 0."""
        super().reset(n_replications, rng)
        self._rows.reset(n_replications, rng)

    def _advance(self) -> None:
        self._rows._round = self._round
        self._means = self._rows._row()


def drifting(n_arms: int, *, period: float, amplitude: float = 0.25) -> Callable[[int], FloatArray]:
    """Means ½ + A sin(2π (t/period + a/K)) of `NonstationaryBandit`: each arm is best for a while.

    Args:
        n_arms: K >= 2.
        period: rounds, above 0.
        amplitude: A in (0, ½].
    """
    phases = np.arange(checks.integer(n_arms, "n_arms", minimum=2)) / n_arms
    checks.positive(period, "period")
    if checks.positive(amplitude, "amplitude") > 0.5:
        raise ValueError(f"amplitude must be at most 0.5, got {amplitude}; means are in [0, 1]")
    return lambda t: 0.5 + amplitude * np.sin(2 * np.pi * (t / period + phases))


class CorruptedBandit(NonstationaryBandit):
    """Bernoulli losses of fixed means, but for the first rounds, in which the best arm looks worst.

    In a corrupted round the least mean is shown for the arms of the greatest, and the greatest for
    those of the least; so each costs Δ = max means − min means of a budget C. Regret is measured on
    what is shown, and the best fixed arm is that of what was shown.

    Args:
        means: mean losses (K,), in [0, 1], not all equal.
        budget: C >= 0: ⌊C/Δ⌋ rounds are corrupted.

    References:
        Lykouris, Mirrokni, Paes Leme. Stochastic bandits robust to adversarial corruptions. STOC
        2018; Zimmert, Seldin. Tsallis-INF. JMLR 22, 2021 (regret on what is shown).
    """

    def __init__(self, means: npt.ArrayLike, *, budget: float) -> None:
        self.means = checks.array(means, "means", shape=(None,), low=0.0, high=1.0).copy()
        checks.integer(len(self.means), "the number of arms in means", minimum=2)
        low, high = self.means.min(), self.means.max()
        if low == high:
            raise ValueError(f"means must differ, got {low} for all arms; there is no best arm")
        self.budget = checks.nonnegative(budget, "budget")
        self.n_corrupted = math.floor(budget / (high - low) + 1e-9)
        shown = np.where(self.means == low, high, np.where(self.means == high, low, self.means))
        super().__init__(lambda t: shown if t < self.n_corrupted else self.means)


class BayesianBernoulliBandit(StochasticBandit):
    """Stationary Bernoulli losses with means drawn from the uniform prior in each replication.

    The prior is uniform on [0, 1]^K; the mean regret over replications is the Bayes regret.
    """

    def __init__(self, n_arms: int) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Draw the means (R, K)."""
        super().reset(n_replications, rng)
        self._means = rng.random((n_replications, self.n_arms))


class StochasticallyConstrainedAdversary(StochasticBandit):
    """Mean losses jump, the gap does not: arm 0 is better than all others by `gap` in each round.

    The pair (mean loss of arm 0, mean loss of the others) alternates between (0, Δ) and (1 − Δ, 1)
    in phases; phase i = 0, 1, ... lasts ⌈growth^i⌉ rounds. A learner that trusts the average of
    what it saw is misled by the arms' unequal shares of easy and hard phases.

    Attributes:
        gaps: 0, Δ, ..., Δ, shape (K,).

    References:
        Zimmert, Seldin. Tsallis-INF. JMLR 22, 2021, experiments (as recalled: growth 1.6).
    """

    def __init__(self, n_arms: int, *, gap: float, growth: float = 1.6) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)
        self.gap = checks.real(gap, "gap", above=0.0, below=1.0)
        self.growth = checks.real(growth, "growth", above=1.0)
        easy = np.full((1, n_arms), gap)
        easy[0, 0] = 0.0
        self._phases = (easy, easy + (1.0 - gap))
        self.gaps = easy[0].copy()

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications in the first, easy phase."""
        super().reset(n_replications, rng)
        self._phase = -1
        self._phase_end = 0
        self._means = self._phases[0]

    def _advance(self) -> None:
        if self._round == self._phase_end:
            self._phase += 1
            self._phase_end += math.ceil(self.growth**self._phase)
            self._means = self._phases[self._phase % 2]


@dataclass(frozen=True, slots=True)
class History:
    """What an adaptive adversary knows before round t = 0, 1, 2, ...

    Attributes:
        t: number of rounds played.
        last: arms (R,) or distributions (R, K) of the last round; None before the first.
        counts: how often each arm was played, (R, K): the sum of the distributions for a learner
            that plays them.
    """

    t: int
    last: npt.NDArray[Any] | None
    counts: FloatArray


class AdaptiveBandit(Bandit):
    """Losses that a rule picks from the learner's past actions, apart in each replication.

    The best arm in hindsight is that of the losses shown, which other actions would have changed:
    this is regret, not policy regret. Bounds for a comparator fixed in advance do not cover it.

    Args:
        n_arms: K >= 2.
        rule: maps `History` to losses (R, K) in [0, 1]; a function of the history alone.
    """

    adversary: Adversary = "adaptive"

    def __init__(self, n_arms: int, rule: Callable[[History], FloatArray]) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)
        if not callable(rule):
            raise TypeError(f"rule must be a function of History, got {rule!r}")
        self._rule = rule

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Forget the history."""
        super().reset(n_replications, rng)
        self._counts = np.zeros((n_replications, self.n_arms))
        self._last: npt.NDArray[Any] | None = None

    def step(self, action: Action) -> Feedback:
        """Fix the losses from the past, then look at the action."""
        losses = self._rule(History(self._round, self._last, self._counts.copy()))
        self._losses = checks.array(
            losses, "the losses of rule", shape=self._counts.shape, low=0.0, high=1.0
        )
        feedback = super().step(action)
        if action.ndim == 1:
            self._counts[np.arange(len(action)), action] += 1.0
        else:
            self._counts += action
        self._last = action.copy()
        return feedback

    def _pull(self, arms: IntArray, out: FloatArray) -> int:
        return int(_losses_of_arms(self._losses, arms, out))

    def _reveal(self) -> FloatArray:
        return self._losses

    def comparator(self) -> BestFixedArm:
        """The best arm of the losses shown so far, in each replication."""
        return BestFixedArm(self._n_replications, self._counts.shape, lambda: self._losses)


def punish_favourite(history: History) -> FloatArray:
    """Example of a rule: loss 1 for the arm played most (the first of equals), 0 for the others."""
    losses = np.zeros_like(history.counts)
    losses[np.arange(len(losses)), history.counts.argmax(axis=1)] = 1.0
    return losses
