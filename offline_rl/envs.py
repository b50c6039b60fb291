"""Three small worlds with scripted controllers, for datasets that take no training.

    fenchel/PointMass2D-v0     drive a point to the origin; dense reward
    fenchel/StitchMaze2D-v0    drive it through a U-shaped corridor to a disc; reward 1 there
    fenchel/LQR-v0             hold two masses on springs; its values are known exactly

Importing this module registers them. The dynamics of each are a class of their own, for n copies
at once, used by the environment (n = 1) and by the generator of datasets. The observation is the
state; actions lie in [−1, 1] and are clipped to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeAlias

import gymnasium
import numpy as np
import numpy.typing as npt
from scipy.linalg import expm, solve_discrete_are, solve_discrete_lyapunov

from ..core import checks
from ..core.checks import BoolArray, FloatArray

Float32Array: TypeAlias = npt.NDArray[np.float32]
Step: TypeAlias = tuple[FloatArray, FloatArray, BoolArray]


class Dynamics(ABC):
    """n independent copies of a world, one a row; all state is in the arrays passed.

    Attributes:
        n_observations: d_s.
        n_actions: d_a.
        horizon: steps after which an episode is cut.
        low: least observation, (d_s,).
        high: greatest observation, (d_s,).
        reference_returns: mean undiscounted returns of uniform actions and of the expert.
    """

    n_observations: ClassVar[int]
    n_actions: ClassVar[int]
    horizon: ClassVar[int]
    low: FloatArray
    high: FloatArray
    reference_returns: tuple[float, float]

    @abstractmethod
    def reset(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Starts, (n, d_s)."""

    @abstractmethod
    def step(self, state: FloatArray, action: FloatArray) -> Step:
        """Next states (n, d_s), rewards (n,) and whether the world ended (n,)."""

    @abstractmethod
    def expert(self, state: FloatArray) -> FloatArray:
        """Actions of the expert in [−1, 1], (n, d_a)."""

    def guide(self, state: FloatArray) -> FloatArray:
        """What the noisy controller steers by, (n, d_a), before it is clipped."""
        return self.expert(state)

    def controller(
        self, state: FloatArray, quality: float | FloatArray, rng: np.random.Generator
    ) -> FloatArray:
        """The guide's action, made `noisy`, (n, d_a)."""
        return noisy(self.guide(state), quality, rng)


def noisy(action: FloatArray, quality: float | FloatArray, rng: np.random.Generator) -> FloatArray:
    """c a + (1 − c) ξ, ξ ~ N(0, I), clipped to [−1, 1], (n, d_a).

    Args:
        action: a, (n, d_a).
        quality: c in [0, 1], one number or (n,).
        rng: draws ξ.
    """
    c: FloatArray = np.reshape(quality, (-1, 1))
    return np.clip(c * action + (1 - c) * rng.standard_normal(action.shape), -1.0, 1.0)


def _accelerated(velocity: FloatArray, action: FloatArray) -> FloatArray:
    return np.clip(0.95 * velocity + 0.1 * np.clip(action, -1.0, 1.0), -1.0, 1.0)


class PointMass2D(Dynamics):
    """A point in the plane: state (p, v), p in [−2, 2]², v in [−1, 1]².

        v' = clip(0.95 v + 0.1 a, ±1),   p' = clip(p + 0.1 v', ±2),   r = −‖p'‖ − 0.05 ‖a‖²

    Starts are uniform with v = 0. The expert is a = −(4p + 3v); the noisy controller steers by
    −2.5 (p + v). The reference returns are means over 200 starts (standard errors 4 and 0.7);
    20 000 starts give −162.4 and −20.6.
    """

    n_observations, n_actions, horizon = 4, 2, 100
    reference_returns = (-170.4, -21.2)

    def __init__(self) -> None:
        self.high = np.array([2.0, 2.0, 1.0, 1.0])
        self.low = -self.high

    def reset(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Uniform positions at rest, (n, 4)."""
        return np.hstack([rng.uniform(-2.0, 2.0, (n, 2)), np.zeros((n, 2))])

    def step(self, state: FloatArray, action: FloatArray) -> Step:
        """See the class; it never ends."""
        action = np.clip(action, -1.0, 1.0)
        v = _accelerated(state[:, 2:], action)
        p = np.clip(state[:, :2] + 0.1 * v, -2.0, 2.0)
        reward = -np.linalg.norm(p, axis=1) - 0.05 * (action * action).sum(axis=1)
        return np.hstack([p, v]), reward, np.zeros(len(state), dtype=bool)

    def expert(self, state: FloatArray) -> FloatArray:
        """−(4p + 3v), clipped, (n, 2)."""
        return np.clip(-(4 * state[:, :2] + 3 * state[:, 2:]), -1.0, 1.0)

    def guide(self, state: FloatArray) -> FloatArray:
        """−2.5 (p + v), (n, 2)."""
        return -2.5 * (state[:, :2] + state[:, 2:])


class StitchMaze2D(Dynamics):
    """The point of `PointMass2D` in a corridor shaped like a U: [−2, 2]² without a wall in it.

        y =  2  +-----+  wall  +-----+
                |start|        |goal |        the wall is |x| < 1, y > −1
                |     |        |     |        start: |x + 1.5| <= 0.3, |y − 1.5| <= 0.3, at rest
        y = −1  |     +--------+     |        goal: within 0.4 of (1.5, 1.5)
        y = −2  +--------------------+

    Walls stop the point: its position is clipped, and the velocity across the wall set to 0. The
    reward is 1 on reaching the goal, which ends the episode, and 0 before; so the reference
    returns are 0 and 1. Along the middle of the corridor the goal's centre is 9 from the start's,
    under 100 steps of the expert.
    """

    n_observations, n_actions, horizon = 4, 2, 200
    reference_returns = (0.0, 1.0)
    goal: ClassVar[tuple[float, float]] = (1.5, 1.5)
    goal_radius: ClassVar[float] = 0.4
    length: ClassVar[float] = 9.0  # of the middle line, from start to goal

    def __init__(self) -> None:
        self.high = np.array([2.0, 2.0, 1.0, 1.0])
        self.low = -self.high

    def reset(self, n: int, rng: np.random.Generator) -> FloatArray:
        """At rest in the start region, (n, 4)."""
        p = np.array([-1.5, 1.5]) + rng.uniform(-0.3, 0.3, (n, 2))
        return np.hstack([p, np.zeros((n, 2))])

    def reset_in_middle(self, n: int, rng: np.random.Generator) -> FloatArray:
        """At rest in the middle of the bottom, |x| <= 0.7, |y + 1.5| <= 0.3, (n, 4)."""
        x, y = rng.uniform(-0.7, 0.7, n), rng.uniform(-1.8, -1.2, n)
        return np.stack([x, y, np.zeros(n), np.zeros(n)], axis=1)

    def step(self, state: FloatArray, action: FloatArray) -> Step:
        """See the class. First x moves, then y, each until it meets a wall."""
        v = _accelerated(state[:, 2:], action)
        x, y = state[:, 0], state[:, 1]
        inner = np.where(y > -1.0, 1.0, -np.inf)  # in an arm, |x| stays above 1
        side = np.where(x > 0, 1.0, -1.0)
        free = x + 0.1 * v[:, 0]
        x = side * np.clip(side * free, np.maximum(inner, -2.0), 2.0)
        hit_x = x != free
        free = y + 0.1 * v[:, 1]
        y = np.clip(free, -2.0, np.where(np.abs(x) < 1.0, -1.0, 2.0))
        v = np.where(np.stack([hit_x, y != free], axis=1), 0.0, v)
        there = np.hypot(x - self.goal[0], y - self.goal[1]) <= self.goal_radius
        return np.column_stack([x, y, v]), there.astype(np.float64), there

    def expert(self, state: FloatArray) -> FloatArray:
        """Along the middle of the corridor to the goal, clipped, (n, 2)."""
        return np.clip(self.guide(state), -1.0, 1.0)

    def guide(self, state: FloatArray, stop: float | FloatArray = length) -> FloatArray:
        """4 (q − p) − 2v, with q on the middle line 0.7 ahead of p, (n, 2).

        Args:
            state: (n, 4).
            stop: how far along the middle line q goes at most, in [0, 9], one number or (n,).
        """
        p, v = state[:, :2], state[:, 2:]
        q = self._middle(np.minimum(self.progress(state) + 0.7, stop))
        return 4 * (q - p) - 2 * v

    def progress(self, state: FloatArray) -> FloatArray:
        """How far along the middle line a state is, 0 at the start and 9 at the goal, (n,)."""
        x, y = state[:, 0], state[:, 1]
        arm = np.where(x < 0, 1.5 - y, 7.5 + y)
        return np.where(y > -1.0, arm, 4.5 + x)

    def _middle(self, s: FloatArray) -> FloatArray:
        """Points of the middle line: down at x = −1.5, right at y = −1.5, up at x = 1.5, (n, 2)."""
        knots = [0.0, 3.0, 6.0, 9.0]
        x = np.interp(s, knots, [-1.5, -1.5, 1.5, 1.5])
        y = np.interp(s, knots, [1.5, -1.5, -1.5, 1.5])
        return np.stack([x, y], axis=1)


class LQR(Dynamics):
    """Two masses between walls, joined by springs, with a force u on the first.

        q̈₁ = −2 q₁ + q₂ − 0.2 q̇₁ + u,      q̈₂ = q₁ − 2 q₂ − 0.2 q̇₂,     state x = (q, q̇)

    sampled exactly every 0.1, with u held: x' = A x + B u, stable and controllable, and
    r = −(‖x‖² + u²). Starts are uniform in [−0.4, 0.4]⁴. No optimal control from there meets the
    bound |u| <= 1, so that what holds without the bound is exact. Reference returns are exact too:
    expected, undiscounted, over the horizon; the expert is the optimal control for the discount
    0.99.

    Attributes:
        A: (4, 4).
        B: (4, 1).
        Q: I, (4, 4).
        R: 1, (1, 1).
    """

    n_observations, n_actions, horizon = 4, 1, 100
    start: ClassVar[float] = 0.4

    def __init__(self) -> None:
        rates = np.zeros((5, 5))  # of (x, u)
        rates[:2, 2:4] = np.eye(2)
        rates[2:4, :4] = [[-2.0, 1.0, -0.2, 0.0], [1.0, -2.0, 0.0, -0.2]]
        rates[2, 4] = 1.0
        sampled = expm(0.1 * rates)
        self.A: FloatArray = sampled[:4, :4]
        self.B: FloatArray = sampled[:4, 4:]
        self.Q, self.R = np.eye(4), np.eye(1)
        self.high = np.full(4, np.inf)
        self.low = -self.high
        self._gain = self.gain()
        no_gain = np.zeros((1, 4))
        self.reference_returns = (
            self._expected_return(no_gain, action_variance=1 / 3),
            self._expected_return(self._gain, action_variance=0.0),
        )

    def reset(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Uniform in [−0.4, 0.4]⁴, (n, 4)."""
        return rng.uniform(-self.start, self.start, (n, 4))

    def step(self, state: FloatArray, action: FloatArray) -> Step:
        """See the class; it never ends. The reward is that of the state before the step."""
        u = np.clip(action, -1.0, 1.0)
        reward = -((state @ self.Q) * state).sum(axis=1) - ((u @ self.R) * u).sum(axis=1)
        return state @ self.A.T + u @ self.B.T, reward, np.zeros(len(state), dtype=bool)

    def expert(self, state: FloatArray) -> FloatArray:
        """−K x, clipped, (n, 1), with K = `gain()`."""
        return np.clip(-state @ self._gain.T, -1.0, 1.0)

    def gain(self, discount: float = 0.99) -> FloatArray:
        """K, (1, 4): u = −K x is optimal for the infinite discounted sum of rewards.

        With P from the Riccati equation of (√γ A, √γ B): K = γ (R + γ BᵀPB)⁻¹ BᵀPA.

        Args:
            discount: γ in (0, 1).
        """
        discount = checks.real(discount, "discount", above=0.0, below=1.0)
        root = np.sqrt(discount)
        P = solve_discrete_are(root * self.A, root * self.B, self.Q, self.R)
        BP: FloatArray = discount * self.B.T @ P
        return (BP @ self.A) / (self.R + BP @ self.B)  # one action: the inverse is a division

    def value(
        self, state: FloatArray, *, gain: FloatArray | None = None, discount: float = 0.99
    ) -> FloatArray:
        """V(x) = −xᵀPx, (n,): the discounted sum of rewards under u = −K x, without the bound.

        P = Q + KᵀRK + γ (A − BK)ᵀ P (A − BK).

        Args:
            state: (n, 4).
            gain: K, (1, 4); None: the optimal one, with which V is the optimal value.
            discount: γ in (0, 1).

        Raises:
            ValueError: the sum does not converge under this gain.
        """
        discount = checks.real(discount, "discount", above=0.0, below=1.0)
        K = self.gain(discount) if gain is None else checks.array(gain, "gain", shape=(1, 4))
        closed = np.sqrt(discount) * (self.A - self.B @ K)
        radius = np.abs(np.linalg.eigvals(closed)).max()
        if radius >= 1:
            raise ValueError(
                f"gain must make the discounted cost finite, got spectral radius {radius:.3g} of "
                "√γ (A − BK); pass a stabilising gain or a smaller discount"
            )
        P = solve_discrete_lyapunov(closed.T, self.Q + K.T @ self.R @ K)
        return -((state @ P) * state).sum(axis=1)

    def _expected_return(self, gain: FloatArray, action_variance: float) -> float:
        """Of u = −K x + ζ over the horizon, ζ with mean 0: by the second moments of x."""
        closed = self.A - self.B @ gain
        weight = self.Q + gain.T @ self.R @ gain
        moment, total = self.start**2 / 3 * np.eye(4), 0.0
        for _ in range(self.horizon):
            total -= float(np.trace(weight @ moment) + action_variance * self.R[0, 0])
            moment = closed @ moment @ closed.T + action_variance * self.B @ self.B.T
        return total


class DynamicsEnv(gymnasium.Env[Float32Array, Float32Array]):
    """One copy of a world as a gymnasium environment; the time limit is that of `gymnasium.make`.

    Attributes:
        dynamics: the world; its state is kept in float64, observations are float32.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (gymnasium's)

    def __init__(self, dynamics: Dynamics) -> None:
        self.dynamics = dynamics
        self.observation_space = gymnasium.spaces.Box(
            dynamics.low.astype(np.float32), dynamics.high.astype(np.float32), dtype=np.float32
        )
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (dynamics.n_actions,), np.float32)
        self._state: FloatArray | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32Array, dict[str, Any]]:
        """A start; there are no options."""
        super().reset(seed=seed)
        self._state = self.dynamics.reset(1, self.np_random)
        return self._state[0].astype(np.float32), {}

    def step(self, action: Float32Array) -> tuple[Float32Array, float, bool, bool, dict[str, Any]]:
        """One step; the action is clipped to [−1, 1]."""
        if self._state is None:
            raise gymnasium.error.ResetNeeded("the episode has not begun; call reset")
        given = checks.array(action, "action", shape=(self.dynamics.n_actions,))
        self._state, reward, terminated = self.dynamics.step(self._state, given[None])
        return self._state[0].astype(np.float32), float(reward[0]), bool(terminated[0]), False, {}


class PointMass2DEnv(DynamicsEnv):
    """`PointMass2D`."""

    def __init__(self) -> None:
        super().__init__(PointMass2D())


class StitchMaze2DEnv(DynamicsEnv):
    """`StitchMaze2D`."""

    def __init__(self) -> None:
        super().__init__(StitchMaze2D())


class LQREnv(DynamicsEnv):
    """`LQR`."""

    def __init__(self) -> None:
        super().__init__(LQR())


def _register() -> None:
    for world in (PointMass2D, StitchMaze2D, LQR):
        env_id = f"fenchel/{world.__name__}-v0"
        if env_id not in gymnasium.registry:
            entry = f"{__name__}:{world.__name__}Env"
            gymnasium.register(env_id, entry_point=entry, max_episode_steps=world.horizon)


_register()
