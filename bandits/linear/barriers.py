"""Self-concordant barriers of convex bodies, for FTRL with local norms.

R is a ν-self-concordant barrier of a body X: convex, infinite at the boundary, with
|D³R[h, h, h]| <= 2 (D²R[h, h])^{3/2} and ⟨∇R, h⟩² <= ν D²R[h, h]. Three facts are used, with x_1
the minimiser of R, ‖h‖_x² = ⟨h, ∇²R(x) h⟩, and its dual norm ‖·‖_{x,*}:

    (1) {y: ‖y − x‖_x <= 1} ⊂ X                                          (Dikin's ellipsoid)
    (2) F(x) − min F <= ω*(‖∇F(x)‖_{x,*})   for F = linear + R, where that norm is below 1,
        ω*(h) = −h − ln(1 − h) = h²/2 + h³/3 + ...
    (3) R((1 − α) u + α x_1) − R(x_1) <= ν ln(1/α)   for u ∈ X, α ∈ (0, 1]

Ball of radius r around c: R(x) = −ln(1 − ‖x − c‖²/r²), ν = 1. With x = c + r z the minimiser of
⟨l, x⟩ + R(x) is z = −s l/‖l‖ (1 + √(1 + s²))⁻¹ for s = ‖l‖ r; ∇²R has the eigenvalues
2/(r² (1 − ‖z‖²)) across z and 2 (1 + ‖z‖²)/(r² (1 − ‖z‖²)²) along z.

Polytope {x: A x <= b} with m rows: R(x) = −Σ_i ln(b_i − ⟨a_i, x⟩), ν = m. Minimisers by damped
Newton steps of length 1/(1 + decrement), which stay in Dikin's ellipsoid, and full ones below ¼;
until the decrement is below 1e-10 or rounding stops it, but below 1e-6.

References:
    Nesterov, Nemirovskii. Interior-Point Polynomial Algorithms in Convex Programming. SIAM, 1994.
    Nesterov. Introductory Lectures on Convex Optimization. Kluwer, 2004, theorem 4.1.13 for (2).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numba import njit

from ...core.checks import FloatArray, IntArray
from ...core.sets import Ball, Box, ConvexSet, Polytope
from .exp2 import add_weighted_square
from .least_squares import cholesky, solve_lower, solve_upper

_NEWTON_STEPS = 200


def self_concordant_gap(step: Any) -> Any:
    """ω*(h) = −h − ln(1 − h), for 0 <= h < 1; elementwise."""
    return -step - np.log1p(-np.asarray(step))


class Barrier(ABC):
    """A self-concordant barrier of a body in ℝᵈ; all points (R, d).

    Attributes:
        parameter: ν.
        start: x_1, the minimiser of R, (d,).
    """

    parameter: float
    start: FloatArray

    @abstractmethod
    def value(self, x: FloatArray) -> FloatArray:
        """R(x), (R,)."""

    @abstractmethod
    def minimize(self, linear: FloatArray, guess: FloatArray) -> FloatArray:
        """argmin ⟨l, x⟩ + R(x) for l (R, d), from interior points `guess` (R, d)."""

    @abstractmethod
    def axis(self, x: FloatArray, index: IntArray) -> tuple[FloatArray, FloatArray]:
        """λ (R,) and e (R, d): eigenvalue and unit eigenvector number `index` (R,) of ∇²R(x)."""


class BallBarrier(Barrier):
    """−ln(1 − ‖x − c‖²/r²)."""

    parameter = 1.0

    def __init__(self, ball: Ball, dim: int) -> None:
        self.start, self.radius = ball.center(dim), ball.radius

    def value(self, x: FloatArray) -> FloatArray:
        """R(x), (R,)."""
        z = (x - self.start) / self.radius
        result: FloatArray = -np.log1p(-np.einsum("rd,rd->r", z, z))
        return result

    def minimize(self, linear: FloatArray, guess: FloatArray) -> FloatArray:
        """In closed form, whatever the guess."""
        scaled = self.radius * linear
        square = np.einsum("rd,rd->r", scaled, scaled)[:, None]
        result: FloatArray = self.start - self.radius * (scaled / (1 + np.sqrt(1 + square)))
        return result

    def axis(self, x: FloatArray, index: IntArray) -> tuple[FloatArray, FloatArray]:
        """Number 0 is the radius, the others are columns of a Householder reflection to it."""
        z = (x - self.start) / self.radius
        square = np.einsum("rd,rd->r", z, z)
        across = 2 / (1 - square)
        along = across * (1 + square) / (1 - square)
        norm = np.sqrt(square)[:, None]
        v = np.where(norm > 0, z / np.where(norm > 0, norm, 1.0), np.eye(1, z.shape[1]))
        first = np.abs(v[:, 0])
        v[:, 0] += np.where(v[:, 0] < 0, -1.0, 1.0)  # ‖v‖² = 2 (1 + first)
        rows = np.arange(len(x))
        axis = -(v[rows, index] / (1 + first))[:, None] * v
        axis[rows, index] += 1.0
        return np.where(index == 0, along, across) / self.radius**2, axis


@njit(cache=True, error_model="numpy")
def _newton(A: FloatArray, b: FloatArray, linear: FloatArray, points: FloatArray) -> int:
    """points[r] = argmin ⟨linear[r], x⟩ − Σ ln(b − A x), from points[r].

    Returns the first row that does not converge, or −1.
    """
    m, d = A.shape
    H, L, gradient, z = np.empty((d, d)), np.empty((d, d)), np.empty(d), np.empty(d)
    for r in range(len(points)):
        x = points[r]
        last = np.inf
        for _ in range(_NEWTON_STEPS):
            H[:] = 0.0
            gradient[:] = linear[r]
            for i in range(m):
                slack = b[i]
                for k in range(d):
                    slack -= A[i, k] * x[k]
                add_weighted_square(1.0 / (slack * slack), A[i], H)
                for k in range(d):
                    gradient[k] += A[i, k] / slack
            cholesky(H, L)
            decrement = math.sqrt(solve_lower(L, gradient, z))
            if decrement < 1e-10 or (decrement < 1e-6 and decrement >= last):
                break
            last = decrement
            solve_upper(L, z, z)
            length = 1.0 / (1.0 + decrement) if decrement > 0.25 else 1.0
            for k in range(d):
                x[k] -= length * z[k]
        if not decrement < 1e-6:
            return r
    return -1


@njit(cache=True)
def _hessians(A: FloatArray, b: FloatArray, points: FloatArray, out: FloatArray) -> None:
    """out[r] = Σ_i a_i a_iᵀ/(b_i − ⟨a_i, x⟩)², the lower triangles."""
    out[:] = 0.0
    for r in range(len(points)):
        for i in range(len(b)):
            slack = b[i]
            for k in range(A.shape[1]):
                slack -= A[i, k] * points[r, k]
            add_weighted_square(1.0 / (slack * slack), A[i], out[r])


class PolytopeBarrier(Barrier):
    """−Σ ln(b − A x), over the rows of A that are not 0."""

    def __init__(self, A: FloatArray, b: FloatArray, interior: FloatArray) -> None:
        proper = A.any(axis=1)
        self.A, self.b = np.ascontiguousarray(A[proper]), b[proper].copy()
        self.parameter = float(len(self.b))
        if not (self.b - self.A @ interior).min() > 0:
            raise ValueError("domain must have an interior, got a flat set; drop a dimension")
        self.start = self.minimize(np.zeros((1, A.shape[1])), interior[None])[0]

    def value(self, x: FloatArray) -> FloatArray:
        """R(x), (R,)."""
        result: FloatArray = -np.log(self.b - x @ self.A.T).sum(axis=1)
        return result

    def minimize(self, linear: FloatArray, guess: FloatArray) -> FloatArray:
        """By damped Newton steps.

        Raises:
            FloatingPointError: no convergence.
        """
        points = guess.copy()
        row = _newton(self.A, self.b, linear, points)
        if row >= 0:
            raise FloatingPointError(
                f"replication {row}: Newton's method failed for the linear term {linear[row]}"
            )
        return points

    def axis(self, x: FloatArray, index: IntArray) -> tuple[FloatArray, FloatArray]:
        """In ascending order of eigenvalues."""
        hessians = np.empty((*x.shape, x.shape[1]))
        _hessians(self.A, self.b, x, hessians)
        eigenvalues, eigenvectors = np.linalg.eigh(hessians)
        rows = np.arange(len(x))
        return eigenvalues[rows, index], eigenvectors[rows, :, index]


def barrier_of(domain: ConvexSet, dim: int) -> Barrier:
    """The barrier of a ball, a box or a polytope in ℝᵈ."""
    if isinstance(domain, Ball):
        return BallBarrier(domain, dim)
    if isinstance(domain, Box):
        A = np.concatenate([np.eye(dim), -np.eye(dim)])
        low, high = (np.broadcast_to(side, dim) for side in (domain.low, domain.high))
        return PolytopeBarrier(A, np.concatenate([high, -low]), domain.center(dim))
    if isinstance(domain, Polytope):
        return PolytopeBarrier(domain.A, domain.b, domain.center(dim))
    raise TypeError(f"domain must be a Ball, a Box or a Polytope, got {domain!r}")
