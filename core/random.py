"""Random numbers: drawn in chunks, and one draw from each row of distributions.

Every generator is passed in. The streams give the same numbers whatever their chunk size, because
numpy's generators fill arrays in C order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numba import njit

from .checks import FloatArray, IntArray

_CHUNK = 1 << 15  # numbers drawn at once: amortises the call, 256 KiB


class _Stream(ABC):
    """Random numbers of one shape, round after round."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        self._rng = rng
        self._shape = (max(1, _CHUNK // int(np.prod(shape))), *shape)
        self._next = self._shape[0]

    def draw(self) -> FloatArray:
        """The next array of numbers; a view that later draws leave alone."""
        if self._next == self._shape[0]:
            self._buffer = self._fill(self._shape)
            self._next = 0
        self._next += 1
        numbers: FloatArray = self._buffer[self._next - 1]
        return numbers

    @abstractmethod
    def _fill(self, shape: tuple[int, ...]) -> FloatArray:
        """The numbers of shape[0] rounds."""


class UniformStream(_Stream):
    """Uniforms on [0, 1), round after round."""

    def _fill(self, shape: tuple[int, ...]) -> FloatArray:
        return self._rng.random(shape)


class NormalStream(_Stream):
    """Standard normals, round after round."""

    def _fill(self, shape: tuple[int, ...]) -> FloatArray:
        return self._rng.standard_normal(shape)


class SphereStream(_Stream):
    """Points uniform on the unit sphere (last axis), round after round.

    The first d of d + 2 coordinates are uniform in the unit ball.
    """

    def _fill(self, shape: tuple[int, ...]) -> FloatArray:
        normals = self._rng.standard_normal(shape)
        normals /= np.sqrt(np.einsum("...d,...d->...", normals, normals))[..., None]
        return normals


@njit(cache=True)
def _sample_rows(probabilities: FloatArray, uniforms: FloatArray, arms: IntArray) -> int:
    """arms[r] = first k with p_1 + ... + p_k > u_r, which has p_k > 0.

    Where rounding leaves the whole sum at or below u_r: the last k with p_k > 0. Returns the first
    row that does not sum to 1 (within 1e-9), or −1.
    """
    rows, size = probabilities.shape
    for r in range(rows):
        total = 0.0
        found = False
        for k in range(size):
            p = probabilities[r, k]
            total += p
            if p > 0.0 and not found:
                arms[r] = k
                found = total > uniforms[r]
        if not abs(total - 1.0) < 1e-9:
            return r
    return -1


def sample_rows(probabilities: FloatArray, uniforms: FloatArray) -> IntArray:
    """One arm per row by inversion of the distribution function; never an arm of probability 0.

    Args:
        probabilities: shape (R, K), each row a distribution.
        uniforms: shape (R,), in [0, 1).

    Returns:
        arms, shape (R,).

    Raises:
        FloatingPointError: a row does not sum to one (within 1e-9) or holds nan.
    """
    arms = np.empty(len(uniforms), dtype=np.int64)
    row = _sample_rows(probabilities, uniforms, arms)
    if row >= 0:
        raise FloatingPointError(
            f"replication {row}: probabilities {probabilities[row]} are not a distribution"
        )
    return arms
