"""Games of online convex optimisation whose losses are fixed before the game.

`AdversarialConvex`, on a bounded convex set X: f_t is ⟨g_t, ·⟩, with g_t from a table or a function
of t, or any convex `Loss`. Regret is that of the linearised losses,

    max_{u ∈ X} Σ ⟨∇f_t(x_t), x_t − u⟩ = Σ ⟨∇f_t(x_t), x_t⟩ + σ_X(−Σ ∇f_t(x_t)),

which is exact for linear losses and at least Σ f_t(x_t) − f_t(u) for all others.

`OnlineRegression`, on the ball of radius r around 0: f_t(x) = ½ (⟨a_t, x⟩ − b_t)² for the rows of a
table, with exact regret. With z = max_t ‖a_t‖ r + |b_t|, the residuals are at most z, gradients at
most max_t ‖a_t‖ (‖a_t‖ r + |b_t|), and the losses 1/z²-exp-concave: e^{−αf} is concave along a_t
exactly if α f'² ≤ f'', that is α (⟨a_t, x⟩ − b_t)² ≤ 1.

The losses are the same in all replications.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import checks
from ..core.checks import FloatArray
from ..core.environment import Action, Adversary, Environment, GradientFeedback, Loss
from ..core.quadratics import minimize_on_ball, quadratic
from ..core.regret import Comparator
from ..core.sets import Ball, ConvexSet, farthest, same_set
from .sea.losses import LinearLoss, SquaredResiduals

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..core.learner import Learner


class ConvexGame(Environment):
    """What both games share.

    Attributes:
        dim: d >= 1.
        domain: the set X.
        radius: r if the domain is the ball of radius r around 0, else nan.
        gradient_bound: G, at least the norm of each gradient.
        coordinate_bounds: (d,), at least the size of each gradient's coordinates.
        smoothness: L of the losses; infinite if it is not known.
        strong_convexity: λ for which regret is at most that of the losses'
            ⟨∇f_t(x_t), x_t − u⟩ − (λ/2) ‖x_t − u‖²; 0 if none is known.
        exp_concavity: α of the losses; 0 if they are not exp-concave.
    """

    adversary: Adversary = "oblivious"
    dim: int
    domain: ConvexSet
    gradient_bound: float
    coordinate_bounds: FloatArray
    smoothness: float
    strong_convexity = 0.0
    exp_concavity = 0.0

    @property
    def radius(self) -> float:
        """Of the domain, if it is a ball around 0."""
        centred = isinstance(self.domain, Ball) and not self.domain.center(self.dim).any()
        return self.domain.radius if centred and isinstance(self.domain, Ball) else math.nan

    def admit(self, learner: Learner) -> None:
        """Refuse a learner of another dimension or domain."""
        dim, domain = getattr(learner, "dim", self.dim), getattr(learner, "domain", self.domain)
        if dim != self.dim:
            raise ValueError(
                f"learner must have dim={self.dim} like the environment, got {dim}; build "
                f"{type(learner).__name__} with dim={self.dim}"
            )
        if not same_set(domain, self.domain, self.dim):
            raise ValueError(
                f"learner must have the domain of the environment, {self.domain}, got {domain}; "
                f"build {type(learner).__name__} with the same set"
            )

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications before round 0; nothing is random."""
        self._n_replications, self._round = n_replications, 0

    def step(self, action: Action) -> GradientFeedback:
        """Play points (R, d) of the domain; be told the gradients there and the loss."""
        if action.shape != (self._n_replications, self.dim):
            raise ValueError(
                f"action must hold points, shape {(self._n_replications, self.dim)}, got "
                f"{action.shape}"
            )
        finite = np.isfinite(action).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            raise FloatingPointError(f"replication {row}: the point {action[row]} is not finite")
        inside = self.domain.contains(action)
        if not inside.all():
            row = int(np.argmin(inside))
            raise ValueError(
                f"action must lie in the domain {self.domain}, got {action[row]} in replication "
                f"{row}; project it"
            )
        feedback = self._answer(action)
        self._round += 1
        return feedback

    @abstractmethod
    def _answer(self, points: FloatArray) -> GradientFeedback:
        """The losses of round `_round`, counted from 0, and their gradients at points (R, d)."""


@dataclass(frozen=True, slots=True)
class _Shared(Loss):
    """The `loss` of one replication, for all."""

    loss: Loss

    def gradient(self, x: FloatArray) -> FloatArray:
        """∇f at points of any shape (..., d): all are points of the one replication."""
        return self.loss.gradient(x.reshape(1, -1, x.shape[-1])).reshape(x.shape)

    def implicit_step(
        self, center: FloatArray, step_size: FloatArray, radius: float
    ) -> tuple[FloatArray, FloatArray]:
        """That of the loss, where its parameters broadcast."""
        return self.loss.implicit_step(center, step_size, radius)


class AdversarialConvex(ConvexGame):
    """Linear or other convex losses, the same in all replications; see the module docstring.

    Args:
        losses: the coefficients g_t as an array (T, d); or a function of t = 0, 1, 2, ... that
            gives g_t (d,), or a convex `Loss` of one replication. It must not depend on anything
            but t, and give the same of the two for each t.
        domain: any bounded convex set.
        gradient_bound: G > 0 at least the norm of every gradient, which is checked; needed for a
            function, and computed from an array.
        dim: d, where neither the domain nor the losses tell it.
    """

    def __init__(
        self,
        losses: npt.ArrayLike | Callable[[int], npt.ArrayLike | Loss],
        domain: ConvexSet,
        *,
        gradient_bound: float | None = None,
        dim: int | None = None,
    ) -> None:
        if not isinstance(domain, ConvexSet):
            raise TypeError(f"domain must be a set of fenchel.core.sets, got {domain!r}")
        self.domain = domain
        given = checks.positive(gradient_bound, "gradient_bound", optional=True)
        dim = domain.dimension if dim is None else checks.integer(dim, "dim", minimum=1)
        self._table: FloatArray | None = None
        self._curved = False
        if callable(losses):
            if given is None:
                raise ValueError("gradient_bound must be given for a function, got None")
            self._function = losses
            first = losses(0)
            self._curved = isinstance(first, Loss)
            if not isinstance(first, Loss):
                dim = len(checks.array(first, "losses(0)", shape=(dim,)))
        else:
            table = checks.array(losses, "losses", shape=(None, dim))
            self._table = np.array(table, order="C")  # ours: the caller may change theirs
            self.horizon, dim = table.shape
            checks.integer(self.horizon, "the number of rounds in losses", minimum=1)
        if dim is None:
            raise ValueError("dim must be given where the domain is one of every d, got None")
        self.dim = checks.integer(dim, "the dimension of losses", minimum=1)
        domain.center(self.dim)  # refuses another dimension
        if math.isinf(farthest(domain, domain.center(self.dim))):
            raise ValueError(f"domain must be bounded, got {domain}; take a ball")
        self.smoothness = math.inf if self._curved else 0.0
        if self._table is None:
            assert given is not None
            self.gradient_bound = given
            self.coordinate_bounds = np.full(self.dim, given)
            return
        self.gradient_bound = float(np.linalg.norm(self._table, axis=1).max())
        self.coordinate_bounds = np.abs(self._table).max(axis=0)
        if given is not None:
            self._check_bound(self._table, given)
            self.gradient_bound = given

    def _check_bound(self, gradients: FloatArray, bound: float) -> None:
        largest = float(np.linalg.norm(gradients, axis=-1).max())
        if not largest <= bound * (1 + 1e-9):
            raise ValueError(
                f"gradient_bound must be at least the norm of every gradient, got {bound} and a "
                f"gradient of {largest}; raise it"
            )

    def _answer(self, points: FloatArray) -> GradientFeedback:
        t = self._round
        if self._table is not None:
            self._gradients = self._table[t : t + 1]  # (1, d): all replications share it
        else:
            value: Any = self._function(t)
            if isinstance(value, Loss) is not self._curved:
                raise ValueError(f"losses({t}) must be of one kind with losses(0), got {value!r}")
            if self._curved:
                loss = _Shared(value)
                self._gradients = loss.gradient(points)  # (R, d)
            else:
                row = checks.array(value, f"losses({t})", shape=(self.dim,))
                self._gradients = row.reshape(1, -1)
            self._check_bound(self._gradients, self.gradient_bound)
        gradients = np.broadcast_to(self._gradients, points.shape)
        return GradientFeedback(gradients, loss if self._curved else LinearLoss(gradients))

    def comparator(self) -> Comparator:
        """The best fixed point of the linearised losses so far."""
        return _BestLinear(self)


class _BestLinear(Comparator):
    """The minimiser of Σ ⟨g_s, ·⟩ over the domain."""

    def __init__(self, game: AdversarialConvex) -> None:
        self._game = game
        self._incurred = np.zeros(game._n_replications)
        self._sum = np.zeros((game._n_replications if game._curved else 1, game.dim))

    def observe(self, decision: Action) -> None:
        """Charge ⟨g_t, x_t⟩ at points (R, d)."""
        gradients = self._game._gradients
        self._incurred += (gradients * decision).sum(axis=-1)
        self._sum += gradients

    def regret(self) -> FloatArray:
        """Σ ⟨g_s, x_s − u⟩, shape (R,)."""
        return self._incurred + self._game.domain.support(-self._sum)


class OnlineRegression(ConvexGame):
    """f_t(x) = ½ (⟨a_t, x⟩ − b_t)², rows in the given order; see the module docstring.

    Args:
        features: a_t, (T, d), not all zero.
        targets: b_t, (T,).
        radius: r > 0 of the domain, the ball around 0.
    """

    def __init__(self, features: npt.ArrayLike, targets: npt.ArrayLike, *, radius: float) -> None:
        self._features = checks.array(features, "features", shape=(None, None)).copy()
        self._targets = checks.array(targets, "targets", shape=(len(self._features),)).copy()
        self.horizon, self.dim = self._features.shape
        checks.integer(self.horizon, "the number of rows in features", minimum=1)
        checks.integer(self.dim, "the number of columns in features", minimum=1)
        ball = Ball(radius)
        self.domain = ball
        lengths = np.linalg.norm(self._features, axis=1)
        if not lengths.any():
            raise ValueError("features must not be all zero, got zeros; there is nothing to learn")
        residuals = lengths * ball.radius + np.abs(self._targets)
        self.gradient_bound = float((lengths * residuals).max())
        self.coordinate_bounds = (np.abs(self._features) * residuals[:, None]).max(axis=0)
        self.smoothness = float((lengths**2).max())
        self.exp_concavity = float(1 / residuals.max() ** 2)
        if self.dim == 1:
            self.strong_convexity = float((lengths**2).min())

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications at the first row."""
        super().reset(n_replications, rng)
        self._hessian = np.zeros((self.dim, self.dim))  # Σ a aᵀ
        self._linear = np.zeros(self.dim)  # Σ b a

    def _answer(self, points: FloatArray) -> GradientFeedback:
        a, b, n = self._features[self._round], self._targets[self._round], self._n_replications
        self._hessian += np.outer(a, a)
        self._linear += b * a
        loss = SquaredResiduals(np.tile(a, (n, 1, 1)), np.full((n, 1), b))
        return GradientFeedback(loss.gradient(points), loss)

    def minimizer(self) -> FloatArray:
        """argmin of Σ f_s over the rows so far, shape (d,), by the secular equation."""
        return minimize_on_ball(self._hessian, self._linear, self.radius)

    def comparator(self) -> Comparator:
        """The least-squares solution in the ball for the rows so far."""
        return _LeastSquares(self)


class _LeastSquares(Comparator):
    """The minimiser of Σ f_s over the ball; losses are f − f(0)."""

    def __init__(self, game: OnlineRegression) -> None:
        self._game = game
        self._incurred = np.zeros(game._n_replications)

    def observe(self, decision: Action) -> None:
        """Charge f_t − f_t(0) at points (R, d)."""
        game = self._game
        a, b = game._features[game._round - 1], game._targets[game._round - 1]
        predictions = decision @ a
        self._incurred += predictions * (0.5 * predictions - b)

    def regret(self) -> FloatArray:
        """Σ f_s(x_s) − f_s(u), shape (R,)."""
        game = self._game
        best = quadratic(game._hessian, game._linear, game.minimizer())
        return self._incurred - float(best)
