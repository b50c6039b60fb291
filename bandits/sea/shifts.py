"""Sequences of means, (T, d), for the instances: how the adversarial part of a game moves.

NoisyLinear(rotating(1000, 5, frequency=0.1), sigma=0.2)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...core import checks
from ...core.checks import FloatArray

if TYPE_CHECKING:
    import numpy.typing as npt


def rotating(
    horizon: int, dim: int, *, frequency: float, amplitude: float = 0.5, offset: float = 0.0
) -> FloatArray:
    """θ_t = offset e_1 + amplitude (cos(ω t) e_1 + sin(ω t) e_2), t = 1, ..., T.

    ‖θ_t − θ_{t−1}‖ = 2 amplitude |sin(ω/2)|: from no movement at ω = 0 to the most at ω = π.

    Args:
        horizon: T >= 1.
        dim: d >= 2.
        frequency: ω, radians per round.
        amplitude: of the rotating part.
        offset: of the constant part.
    """
    checks.integer(dim, "dim", minimum=2)
    angle = checks.real(frequency, "frequency") * np.arange(1, _rounds(horizon) + 1)
    size = checks.real(amplitude, "amplitude")
    theta = np.zeros((horizon, dim))
    theta[:, 0] = checks.real(offset, "offset") + size * np.cos(angle)
    theta[:, 1] = size * np.sin(angle)
    return theta


def alternating(horizon: int, dim: int, *, amplitude: float = 0.5) -> FloatArray:
    """θ_t = (−1)^t amplitude e_1: the last gradient is the worst guess of the next."""
    theta = np.zeros((_rounds(horizon), checks.integer(dim, "dim", minimum=1)))
    size = checks.real(amplitude, "amplitude")
    theta[:, 0] = np.where(np.arange(horizon) % 2 == 0, -size, size)
    return theta


def switching(
    horizon: int, dim: int, *, n_switches: int, rng: np.random.Generator, amplitude: float = 0.5
) -> FloatArray:
    """A new direction of norm `amplitude`, uniform on the sphere, in each of n_switches + 1 stages.

    Stages have equal lengths up to one round.

    Args:
        horizon: T >= 1.
        dim: d >= 1.
        n_switches: c in [0, T).
        rng: draws the directions.
        amplitude: > 0, the norm of all means.
    """
    count = checks.integer(n_switches, "n_switches", minimum=0) + 1
    if count > _rounds(horizon):
        raise ValueError(f"n_switches must be below horizon={horizon}, got {n_switches}")
    directions = rng.standard_normal((count, checks.integer(dim, "dim", minimum=1)))
    size = checks.positive(amplitude, "amplitude")
    directions *= size / np.linalg.norm(directions, axis=-1, keepdims=True)
    result: FloatArray = directions[np.arange(horizon) * count // horizon]
    return result


def drifting(
    horizon: int, dim: int, *, step: float, rng: np.random.Generator, amplitude: float = 0.5
) -> FloatArray:
    """A random walk from 0 with steps of length `step`, projected onto the ball of `amplitude`.

    Projected steps are shorter: Σ_{1:T}² ≤ T step².

    Args:
        horizon: T >= 1.
        dim: d >= 1.
        step: at least 0.
        rng: draws the directions.
        amplitude: > 0.
    """
    length = float(checks.array(step, "step", shape=(), low=0.0))
    size = checks.positive(amplitude, "amplitude")
    directions = rng.standard_normal((_rounds(horizon), checks.integer(dim, "dim", minimum=1)))
    directions *= length / np.linalg.norm(directions, axis=-1, keepdims=True)
    theta = np.zeros((horizon, dim))
    for t in range(1, horizon):
        moved = theta[t - 1] + directions[t]
        theta[t] = moved * (size / max(size, float(np.linalg.norm(moved))))
    return theta


def corrupted(
    theta: npt.ArrayLike, horizon: int, *, count: int, corruption: npt.ArrayLike
) -> FloatArray:
    """θ, shifted by `corruption` in `count` rounds at equal distances.

    The total corruption is C = count ‖corruption‖.

    Args:
        theta: (d,).
        horizon: T >= 1.
        count: in [0, T].
        corruption: (d,).
    """
    theta = checks.array(theta, "theta", shape=(None,))
    shift = checks.array(corruption, "corruption", shape=theta.shape)
    if checks.integer(count, "count", minimum=0) > _rounds(horizon):
        raise ValueError(f"count must be at most horizon={horizon}, got {count}")
    means = np.tile(theta, (horizon, 1))
    if count:
        means[np.arange(1, count + 1) * horizon // count - 1] += shift
    return means


def _rounds(horizon: int) -> int:
    return checks.integer(horizon, "horizon", minimum=1)
