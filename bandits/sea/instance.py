"""What the games of the SEA model share: the loop, the F-regret, and its comparators.

In round t the loss f_t is drawn from a distribution D_t that was fixed before the game (in
`RandomOrder`: that depends on the losses drawn before, never on the points played) and revealed.
Regret is that of the means F_t = E f_t, the "F-regret"

    Σ_t F_t(x_t) − F_t(u),   u = argmin_{‖x‖ ≤ r} Σ_t F_t(x),

which has the expectation of Σ_t f_t(x_t) − f_t(u) and less noise; `against` gives the regret
against another sequence of points. The domain is the ball of radius r around 0.

References:
    Sachs, Hadiji, van Erven, Guzmán. NeurIPS 2022.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numba import njit

from ...core import checks
from ...core.checks import FloatArray
from ...core.environment import Action, Adversary, Environment, GradientFeedback, Loss
from ...core.quadratics import minimize_on_ball, quadratic
from ...core.regret import Comparator
from .quantities import Quantity, SEAQuantities

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...core.learner import Learner


@njit(cache=True)
def _first_outside(points: FloatArray, radius: float) -> int:
    """The first row with a norm above radius (1 + 1e-9), or not a number; −1 if there is none."""
    limit = (radius * (1 + 1e-9)) ** 2
    for r in range(points.shape[0]):
        total = 0.0
        for i in range(points.shape[1]):
            total += points[r, i] * points[r, i]
        if not total <= limit:
            return r
    return -1


class SEAInstance(Environment):
    """What all games of the model share.

    Attributes:
        dim: d >= 1.
        radius: r > 0 of the domain, the ball around 0.
        gradient_bound: G, the largest norm of a gradient of a loss that can be drawn.
        smoothness: L of the means F_t.
        strong_convexity: λ of the means F_t; 0 if they are not strongly convex.
        exp_concavity: α of the losses f_t; 0 if they are not exp-concave.
        comparators: u_1, u_2, ... (T, d) or a fixed u (d,) of the regret; None: the best fixed u.
    """

    adversary: Adversary = "stochastic"
    dim: int
    radius: float
    gradient_bound: float
    smoothness: float
    strong_convexity = 0.0
    exp_concavity = 0.0
    comparators: FloatArray | None = None

    def admit(self, learner: Learner) -> None:
        """Refuse a learner of another dimension or radius."""
        for name in ("dim", "radius"):
            own = getattr(self, name)
            if getattr(learner, name, own) != own:
                raise ValueError(
                    f"learner must have {name}={own} like the environment, got "
                    f"{getattr(learner, name)}; build {type(learner).__name__} with {name}={own}"
                )

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications before round 1."""
        self._n_replications, self._rng, self._round = n_replications, rng, 0

    def step(self, action: Action) -> GradientFeedback:
        """Play points (R, d) of the domain; be told the gradients there and the losses drawn."""
        if action.shape != (self._n_replications, self.dim):
            raise ValueError(
                f"action must hold points, shape {(self._n_replications, self.dim)}, got "
                f"{action.shape}"
            )
        row = _first_outside(action, self.radius)
        if row >= 0:
            if not np.isfinite(action[row]).all():
                raise FloatingPointError(
                    f"replication {row}: the point {action[row]} is not finite"
                )
            raise ValueError(
                f"action must lie in the ball of radius {self.radius}, got norm "
                f"{np.linalg.norm(action[row])} in replication {row}; project it"
            )
        self._round += 1
        loss = self._draw()
        return GradientFeedback(loss.gradient(action), loss)

    def comparator(self) -> Comparator:
        """The best fixed point of the means so far, or the sequence given to `against`."""
        if self.comparators is None:
            return BestFixedPoint(self)
        return PointSequence(self, self.comparators)

    def against(self, comparators: npt.ArrayLike | Literal["minimizers"]) -> SEAInstance:
        """The same game with regret Σ_t F_t(x_t) − F_t(u_t) against other points u_t.

        Args:
            comparators: u_t as an array (T, d), a fixed u (d,), or "minimizers" of each F_t.
        """
        other = copy.copy(self)
        if isinstance(comparators, str):
            if comparators != "minimizers":
                raise ValueError(
                    f'comparators must be an array or "minimizers", got {comparators!r}'
                )
            points = self._minimizers()
        else:
            points = sequence(comparators, "comparators", self.dim)
            row = _first_outside(np.atleast_2d(points), self.radius)
            if row >= 0:
                raise ValueError(
                    f"comparators must lie in the ball of radius {self.radius}, got "
                    f"{np.atleast_2d(points)[row]} in row {row}; project them"
                )
        other.comparators = points
        if points.ndim == 2:
            other.horizon = min(len(points), self.horizon or len(points))
        return other

    def path_length(self, horizon: Quantity) -> float | FloatArray:
        """P_T = Σ_{2 ≤ t ≤ T} ‖u_t − u_{t−1}‖ of the comparators; 0 for a fixed one."""
        self._rounds(horizon)
        at = np.asarray(horizon).astype(np.int64) - 1
        if self.comparators is None or self.comparators.ndim == 1:
            lengths = np.zeros(int(at.max()) + 1)
        else:
            moves = np.linalg.norm(np.diff(self.comparators, axis=0), axis=-1)
            lengths = np.append(0.0, np.cumsum(moves))
        return float(lengths[at]) if at.ndim == 0 else lengths[at]

    @abstractmethod
    def quantities(self, horizon: Quantity) -> SEAQuantities:
        """σ, Σ, G, L, D after `horizon` rounds; arrays for an array of rounds."""

    @abstractmethod
    def minimizer(self, horizon: int) -> FloatArray:
        """argmin of Σ_{t ≤ T} F_t over the domain, shape (d,)."""

    @abstractmethod
    def total(self, x: FloatArray, horizon: int) -> float:
        """Σ_{t ≤ T} F_t(x) − F_t(0) at one point x (d,)."""

    @abstractmethod
    def _draw(self) -> Loss:
        """The losses of round `_round`, counted from 1."""

    @abstractmethod
    def _expected(self, x: FloatArray) -> FloatArray:
        """F_t(x) − F_t(0) in round t = `_round`, shape (R,) for x (R, d)."""

    def _minimizers(self) -> FloatArray:
        """argmin of each F_t, (T, d), or (d,) if all are one."""
        raise ValueError(
            f'comparators of {type(self).__name__} cannot be "minimizers"; pass the points'
        )

    def _rounds(self, horizon: Quantity) -> int:
        """The largest of `horizon`, checked."""
        longest = int(np.max(horizon))
        if np.min(horizon) < 1 or (self.horizon is not None and longest > self.horizon):
            raise ValueError(
                f"horizon must be in [1, {self.horizon or 'any'}], got {horizon}; "
                f"{type(self).__name__} holds no more rounds"
            )
        return longest


class QuadraticInstance(SEAInstance):
    """Games with quadratic means."""

    @abstractmethod
    def mean(self, t: int) -> tuple[FloatArray, FloatArray]:
        """A (d, d) and b (d,) of F_t(x) = F_t(0) + ½ ⟨x, A x⟩ − ⟨b, x⟩, for t = 1, 2, ..."""

    @abstractmethod
    def mean_sum(self, t: int) -> tuple[FloatArray, FloatArray]:
        """A and b of Σ_{s ≤ t} F_s."""

    def minimizer(self, horizon: int) -> FloatArray:
        """By the secular equation, exact."""
        self._rounds(horizon)
        return minimize_on_ball(*self.mean_sum(horizon), self.radius)

    def total(self, x: FloatArray, horizon: int) -> float:
        """Σ_{t ≤ T} F_t(x) − F_t(0) at one point x (d,)."""
        self._rounds(horizon)
        return float(quadratic(*self.mean_sum(horizon), x))

    def _expected(self, x: FloatArray) -> FloatArray:
        hessian, linear = self.mean(self._round)
        result: FloatArray = 0.5 * ((x @ hessian) * x).sum(axis=-1) - x @ linear
        return result

    def _minimizers(self) -> FloatArray:
        if self.horizon is None:
            return minimize_on_ball(*self.mean(1), self.radius)
        means = [self.mean(t) for t in range(1, self.horizon + 1)]
        hessians, linears = (np.array(part) for part in zip(*means, strict=True))
        return minimize_on_ball(hessians, linears, self.radius)


class BestFixedPoint(Comparator):
    """The minimiser of the sum of the means so far."""

    def __init__(self, instance: SEAInstance) -> None:
        self._instance = instance
        self._incurred = np.zeros(instance._n_replications)

    def observe(self, decision: Action) -> None:
        """Charge F_t − F_t(0) at points (R, d)."""
        self._incurred += self._instance._expected(decision)

    def regret(self) -> FloatArray:
        """Σ_s F_s(x_s) − F_s(u), shape (R,)."""
        played = self._instance._round
        if played == 0:
            return self._incurred.copy()
        best = self._instance.minimizer(played)
        return self._incurred - self._instance.total(best, played)


class PointSequence(Comparator):
    """A sequence of points, or one."""

    def __init__(self, instance: SEAInstance, points: FloatArray) -> None:
        self._instance, self._points = instance, points
        self._regret = np.zeros(instance._n_replications)

    def observe(self, decision: Action) -> None:
        """Charge F_t(x_t) − F_t(u_t)."""
        points = self._points
        u = points if points.ndim == 1 else points[self._instance._round - 1]
        expected = self._instance._expected
        self._regret += expected(decision) - expected(np.broadcast_to(u, decision.shape))

    def regret(self) -> FloatArray:
        """Σ_s F_s(x_s) − F_s(u_s), shape (R,)."""
        return self._regret.copy()


def sequence(value: Any, name: str, dim: int | None = None) -> FloatArray:
    """A vector (d,) or a sequence of them (T, d), as a read-only copy."""
    result = checks.array(value, name).copy()
    if result.ndim not in (1, 2) or result.size == 0:
        raise ValueError(f"{name} must have shape (d,) or (T, d), got {result.shape}; reshape it")
    if dim not in (None, result.shape[-1]):
        raise ValueError(
            f"{name} must have {dim} coordinates, got {result.shape[-1]}; align it with the game"
        )
    result.flags.writeable = False
    return result


def by_round(values: FloatArray, rounds: int) -> FloatArray:
    """Values (T,) of the first rounds, given one for all or a longer sequence."""
    return np.broadcast_to(values if np.ndim(values) == 0 else values[:rounds], rounds)
