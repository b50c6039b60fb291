"""What learners of online convex optimisation share: their domain, and an account of the run.

Round t: play x_t of the domain X, be told g_t, a gradient of f_t at x_t. A learner that predicts
the gradient has an optimism M_t, its guess of g_t (M_1 = 0). The account keeps what the path-wise
inequalities of the learners are made of:

    v_t = ‖g_t − M_t‖²,   V_t = Σ_{s ≤ t} v_s,   S_t = Σ_{2 ≤ s ≤ t} ‖x_s − x_{s−1}‖².
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ..core import checks
from ..core.checks import FloatArray
from ..core.environment import Environment, GradientFeedback
from ..core.learner import Learner
from ..core.sets import Ball, ConvexSet, same_set


@njit(cache=True)
def _account(
    t: int,
    points: FloatArray,
    last: FloatArray,
    gradients: FloatArray,
    optimism: FloatArray,
    vectors: FloatArray,
    numbers: FloatArray,
) -> None:
    """Add round t: `vectors` (2, R, d) and `numbers` (8, R) as `Account` names them."""
    for r in range(points.shape[0]):
        inner = square = error = move = size = guess = 0.0
        for i in range(points.shape[1]):
            x, g = points[r, i], gradients[r, i]
            inner += g * x
            square += x * x
            size += g * g
            guess += optimism[r, i] ** 2
            error += (g - optimism[r, i]) ** 2
            move += (x - last[r, i]) ** 2
            vectors[0, r, i] += g
            vectors[1, r, i] += x
        numbers[0, r] += inner
        numbers[1, r] += square
        numbers[2, r] = error
        numbers[3, r] += error
        numbers[4, r] += error / t
        numbers[5, r] += move
        numbers[6, r] += (t - 1) * move
        numbers[7, r] = max(numbers[7, r], size, guess)


class Account:
    """Sums over the rounds so far, (R,) or (R, d).

    Attributes:
        rounds: t.
        gradient_sum: Σ g_s.
        point_sum: Σ x_s.
        inner: Σ ⟨g_s, x_s⟩.
        point_square: Σ ‖x_s‖².
        error: v_t, of the last round alone.
        variation: V_t = Σ v_s.
        harmonic_variation: Σ v_s/s.
        movement: S_t = Σ_{s ≥ 2} ‖x_s − x_{s−1}‖².
        linear_movement: Σ_{s ≥ 2} (s − 1) ‖x_s − x_{s−1}‖².
        largest: the largest ‖g_s‖² or ‖M_s‖².
    """

    def __init__(self, n_replications: int, dim: int) -> None:
        self.rounds = 0
        self._vectors = np.zeros((2, n_replications, dim))
        self._numbers = np.zeros((8, n_replications))
        self.gradient_sum, self.point_sum = self._vectors
        self.inner, self.point_square, self.error, self.variation = self._numbers[:4]
        self.harmonic_variation, self.movement, self.linear_movement = self._numbers[4:7]
        self.largest = self._numbers[7]
        self._last: FloatArray | None = None

    def observe(self, points: FloatArray, gradients: FloatArray, optimism: FloatArray) -> None:
        """Add a round: x_t, g_t and M_t, (R, d) each; `points` must not be changed later."""
        self.rounds += 1
        last = points if self._last is None else self._last
        _account(self.rounds, points, last, gradients, optimism, self._vectors, self._numbers)
        self._last = points


@njit(cache=True)
def _descend_on_ball(
    points: FloatArray, step_sizes: FloatArray, gradients: FloatArray, radius: float
) -> FloatArray:
    """Π(x − η g) for N points x of each replication (R N, d), η (R, N) and gradients g (R, d)."""
    out = np.empty(points.shape)
    count, dim = step_sizes.shape[1], points.shape[1]
    for row in range(points.shape[0]):
        r = row // count
        eta = step_sizes[r, row % count]
        total = 0.0
        for i in range(dim):
            y = points[row, i] - eta * gradients[r, i]
            out[row, i] = y
            total += y * y
        if total > radius * radius:
            scale = radius / np.sqrt(total)
            for i in range(dim):
                out[row, i] *= scale
    return out


def played_on(
    environment: Environment, domain: ConvexSet, dim: int, *, moving: bool = False
) -> bool:
    """Whether a game is on the set `domain` of vectors (dim,), with regret against one point.

    moving: or against a sequence of points.
    """
    own = getattr(environment, "domain", None)
    if own is None and hasattr(environment, "radius"):
        own = Ball(environment.radius)
    comparators = getattr(environment, "comparators", None)
    return (
        getattr(environment, "dim", None) == dim
        and own is not None
        and same_set(own, domain, dim)
        and (moving or comparators is None or np.ndim(comparators) == 1)
    )


class GradientLearner(Learner):
    """R copies of an algorithm that plays points of a convex set and is told gradients.

    Args:
        dim: d >= 1.
        radius: r > 0 if the domain is the ball of this radius around 0.
        domain: any bounded convex set; give this or `radius`.
        gradient_bound: G > 0, at least the norm of every gradient; None where it is not used.

    Attributes:
        gradient_bound: G, infinite where it is not used.
        point: x_t, (R, d); rebound in each round, never changed in place.
        account: sums over the rounds so far.
    """

    def __init__(
        self,
        dim: int,
        *,
        radius: float | None = None,
        domain: ConvexSet | None = None,
        gradient_bound: float | None = None,
    ) -> None:
        self.dim = checks.integer(dim, "dim", minimum=1)
        if (radius is None) is (domain is None):
            raise ValueError(
                f"radius or domain must be given, and not both, got {radius} and {domain}"
            )
        if domain is None:
            domain = Ball(checks.positive(radius, "radius"))
        self.domain = domain
        self.start = domain.center(self.dim)
        self._centred = isinstance(domain, Ball) and not self.start.any()
        if isinstance(domain, Ball) and self._centred:
            self.radius = domain.radius
        self.diameter = checks.positive(domain.diameter, "the diameter of domain")
        self.gradient_bound = math.inf if gradient_bound is None else gradient_bound
        self.horizon: int | None = None

    def descend(self, x: FloatArray, step_size: FloatArray, gradients: FloatArray) -> FloatArray:
        """Π(x − η g) on the domain: x (R, d) with η (R, 1), or N points x (R, N, d) with η (R, N).

        The gradients g are (R, d).
        """
        if self._centred:
            rows = x if x.ndim == 2 else x.reshape(-1, self.dim)
            out = _descend_on_ball(rows, step_size, gradients, self.radius)
        else:
            points = x.reshape(len(x), -1, self.dim)
            out = self.domain.project(points - step_size[:, :, None] * gradients[:, None])
        return out if out.shape == x.shape else out.reshape(x.shape)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """x_1 is the centre of the domain."""
        self.horizon = checks.integer(horizon, "horizon", minimum=1)
        self.point = np.tile(self.start, (n_replications, 1))
        self.account = Account(n_replications, self.dim)

    def act(self) -> FloatArray:
        """x_t, (R, d); not a copy."""
        return self.point

    def update(self, feedback: GradientFeedback) -> None:
        """Learn from g_t."""
        raise NotImplementedError

    def covers(self, environment: Environment, *, moving: bool = False) -> bool:
        """Whether all that the learner was told holds in an environment, so that its bound does.

        The environment must have the learner's domain, gradients of at most G, and, where the
        learner was told them, means that are L-smooth and λ-strongly convex, and losses that are
        α-exp-concave. Its comparator must be one point, unless `moving`.
        """

        def told(name: str, untold: float) -> float:
            value = getattr(self, name, None)
            return untold if value is None else value

        def own(name: str, unknown: float) -> float:
            return float(getattr(environment, name, unknown))

        return (
            played_on(environment, self.domain, self.dim, moving=moving)
            and all(
                own(name, math.inf) <= told(name, math.inf) * (1 + 1e-9)
                for name in ("gradient_bound", "smoothness")
            )
            and all(
                own(name, 0.0) >= told(name, 0.0) * (1 - 1e-9)
                for name in ("strong_convexity", "exp_concavity")
            )
        )

    def within_bound(self) -> bool:
        """Whether all g_t and M_t so far were at most `gradient_bound`, up to rounding."""
        return bool(self.account.largest.max() <= self.gradient_bound**2 * (1 + 1e-9))

    def linear_regret(self) -> FloatArray:
        """max_{u ∈ X} Σ ⟨g_s, x_s − u⟩, (R,)."""
        account = self.account
        return account.inner + self.domain.support(-account.gradient_sum)

    def curved_regret(self, curvature: float) -> FloatArray:
        """max_{u ∈ X} Σ ⟨g_s, x_s − u⟩ − (λ/2) ‖x_s − u‖², (R,), for λ = `curvature`."""
        a, t = self.account, self.account.rounds
        u = self.domain.project((curvature * a.point_sum - a.gradient_sum) / (curvature * t))
        squares = (
            a.point_square
            - 2 * np.einsum("rd,rd->r", a.point_sum, u)
            + t * np.einsum("rd,rd->r", u, u)
        )
        return a.inner - np.einsum("rd,rd->r", a.gradient_sum, u) - curvature / 2 * squares
