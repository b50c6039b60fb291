"""Closed convex sets: Euclidean projection, linear minimisation, support function, diameter.

    project(x)          Π(x) = argmin_{y ∈ X} ‖x − y‖₂,  i.e. ⟨x − Πx, y − Πx⟩ ≤ 0 for all y ∈ X
    linear_minimizer(g) a point of argmin_{y ∈ X} ⟨g, y⟩
    support(z)          σ(z) = max_{y ∈ X} ⟨z, y⟩
    diameter            max_{x, y ∈ X} ‖x − y‖₂

Vectors lie on the last axis; all leading axes are batch (replications first).

References:
    Held, Wolfe, Crowder. Validation of subgradient optimization. Math. Programming 6, 1974 (the
    projection onto the simplex by sorting; also Duchi et al., ICML 2008).
    Boyd, Vandenberghe. Convex Optimization. Cambridge University Press, 2004, section 8.5
    (Chebyshev centre).
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from . import checks
from .checks import BoolArray, FloatArray


def _norm(x: FloatArray) -> FloatArray:
    """‖x‖₂ over the last axis, kept as an axis of length one; no overflow of the squares."""
    scale = np.abs(x).max(axis=-1, keepdims=True)
    scale = np.where(scale > 0, scale, 1.0)
    norm: FloatArray = scale * np.linalg.norm(x / scale, axis=-1, keepdims=True)
    return norm


def _constant(value: Any, name: str) -> FloatArray:
    """A read-only copy of `value`, a number or a vector (d,)."""
    result = checks.array(value, name).copy()
    if result.ndim > 1 or result.size == 0:
        raise ValueError(f"{name} must be a number or a vector, got shape {result.shape}; flatten")
    result.flags.writeable = False
    return result


class ConvexSet(ABC):
    """A nonempty closed convex set of vectors.

    All methods raise ValueError, naming the argument and the remedy, for a non-finite entry or for
    vectors of another dimension than the set's.
    """

    @property
    def dimension(self) -> int | None:
        """The length d of the set's vectors; None if the set is defined for every d."""
        return None

    @property
    @abstractmethod
    def diameter(self) -> float:
        """The Euclidean diameter max ‖x − y‖₂ over x, y in the set."""

    @abstractmethod
    def project(self, x: FloatArray) -> FloatArray:
        """The Euclidean projection of `x`, shape (..., d), onto the set; same shape."""

    @abstractmethod
    def linear_minimizer(self, g: FloatArray) -> FloatArray:
        """A minimiser of ⟨g, y⟩ over the set for each row of `g`, shape (..., d); same shape."""

    def support(self, z: FloatArray) -> FloatArray:
        """σ(z) = max_y ⟨z, y⟩ over the set, shape (...) from `z` (..., d)."""
        z = self._vectors(z, "z")
        value: FloatArray = (z * self.linear_minimizer(-z)).sum(axis=-1)
        return value

    @abstractmethod
    def contains(self, x: FloatArray, tolerance: float = 1e-9) -> BoolArray:
        """Whether `x`, shape (..., d), lies in the set up to `tolerance`; shape (...)."""

    @abstractmethod
    def center(self, dimension: int) -> FloatArray:
        """A canonical point, shape (d,), interior where the set has an interior."""

    def _vectors(self, value: Any, name: str) -> FloatArray:
        x = checks.array(value, name)
        length = x.shape[-1] if x.ndim else 0
        if length == 0 or self.dimension not in (None, length):
            wanted = self.dimension or "at least one coordinate"
            raise ValueError(
                f"{name} must have shape (..., d) with d = {wanted} on the last axis, "
                f"got shape {x.shape}; reshape it"
            )
        return x

    def _length(self, dimension: int) -> int:
        d = checks.integer(dimension, "dimension", minimum=1)
        if self.dimension not in (None, d):
            raise ValueError(f"dimension must be {self.dimension}, got {d}; pass the set's own")
        return d


@dataclass(frozen=True)
class Simplex(ConvexSet):
    """The probability simplex {p ∈ ℝᴷ: p ≥ 0, Σ p = 1}, for every K."""

    @property
    def diameter(self) -> float:
        """√2, the distance of two vertices (for K = 1 an upper bound: the set is a point)."""
        return math.sqrt(2)

    def project(self, x: FloatArray) -> FloatArray:
        """Π(x) = (x − τ)₊ with τ such that the sum is one, in O(K log K) by sorting.

        The sum is one within 1e-14; entries far below the largest cost no accuracy.
        """
        x = self._vectors(x, "x")
        with np.errstate(over="ignore"):
            gaps = x - x.max(axis=-1, keepdims=True)  # Π(x + c) = Π(x)
        gaps = np.maximum(gaps, -1.0)  # τ ≥ max x − 1, so that entries below are mapped to 0
        largest = np.sort(gaps, axis=-1)[..., ::-1]
        excess = np.cumsum(largest, axis=-1) - 1
        counts = np.arange(1, x.shape[-1] + 1)
        support = (largest * counts > excess).sum(axis=-1, keepdims=True)
        threshold = np.take_along_axis(excess, support - 1, axis=-1) / support  # τ
        p: FloatArray = np.maximum(gaps - threshold, 0.0)
        p /= p.sum(axis=-1, keepdims=True)  # removes the rounding of a long cumulative sum
        return p

    def linear_minimizer(self, g: FloatArray) -> FloatArray:
        """The vertex of the smallest coefficient; of equal ones, the first."""
        g = self._vectors(g, "g")
        vertex = np.zeros_like(g)
        np.put_along_axis(vertex, g.argmin(axis=-1, keepdims=True), 1.0, axis=-1)
        return vertex

    def contains(self, x: FloatArray, tolerance: float = 1e-9) -> BoolArray:
        """Whether x ≥ −tolerance and |Σ x − 1| ≤ tolerance."""
        x = self._vectors(x, "x")
        result: BoolArray = (x.min(axis=-1) >= -tolerance) & (abs(x.sum(axis=-1) - 1) <= tolerance)
        return result

    def center(self, dimension: int) -> FloatArray:
        """The uniform distribution."""
        d = self._length(dimension)
        return np.full(d, 1 / d)


@dataclass(frozen=True, init=False, eq=False)
class Ball(ConvexSet):
    """The Euclidean ball {x: ‖x − c‖₂ ≤ r}.

    Attributes:
        radius: r > 0.
        origin: c, shape (d,), the argument `center`; None for 0 in every dimension.
    """

    radius: float
    origin: FloatArray | None

    def __init__(self, radius: float = 1.0, center: Any = None) -> None:
        object.__setattr__(self, "radius", checks.positive(radius, "radius"))
        if center is not None:
            center = _constant(checks.array(center, "center", shape=(None,)), "center")
        object.__setattr__(self, "origin", center)

    @property
    def dimension(self) -> int | None:
        """The length of the centre, if one was given."""
        return None if self.origin is None else self.origin.size

    @property
    def diameter(self) -> float:
        """2 r."""
        return 2 * self.radius

    def project(self, x: FloatArray) -> FloatArray:
        """Π(x) = c + (x − c) min(1, r/‖x − c‖)."""
        x = self._vectors(x, "x")
        c = self.center(x.shape[-1])
        norm = _norm(x - c)
        outside = norm > self.radius
        return np.where(outside, c + self.radius * ((x - c) / np.where(outside, norm, 1.0)), x)

    def linear_minimizer(self, g: FloatArray) -> FloatArray:
        """The point c − r g/‖g‖; the centre c if g = 0."""
        g = self._vectors(g, "g")
        norm = _norm(g)
        minimizer: FloatArray = self.center(g.shape[-1]) - self.radius * (
            g / np.where(norm > 0, norm, 1.0)
        )
        return minimizer

    def contains(self, x: FloatArray, tolerance: float = 1e-9) -> BoolArray:
        """Whether ‖x − c‖ ≤ r + tolerance max(1, r)."""
        x = self._vectors(x, "x")
        distance = _norm(x - self.center(x.shape[-1]))[..., 0]
        result: BoolArray = distance <= self.radius + tolerance * max(1.0, self.radius)
        return result

    def center(self, dimension: int) -> FloatArray:
        """The centre c."""
        d = self._length(dimension)
        return np.zeros(d) if self.origin is None else self.origin.copy()


@dataclass(frozen=True, init=False, eq=False)
class Box(ConvexSet):
    """The box {x: low ≤ x ≤ high}, for numbers in every dimension, for vectors (d,) in theirs."""

    low: FloatArray
    high: FloatArray

    def __init__(self, low: Any, high: Any) -> None:
        low, high = _constant(low, "low"), _constant(high, "high")
        if low.ndim and high.ndim and low.size != high.size:
            raise ValueError(
                f"low and high must have one length, got {low.size} and {high.size}; align them"
            )
        if (low > high).any():
            raise ValueError(f"low must be at most high, got {low} and {high}; swap them")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @property
    def dimension(self) -> int | None:
        """The length of `low` or `high`, if one is a vector."""
        return next((bound.size for bound in (self.low, self.high) if bound.ndim), None)

    @property
    def diameter(self) -> float:
        """‖high − low‖₂; ValueError if both are numbers, since it then depends on the dimension."""
        if self.dimension is None:
            raise ValueError(
                f"low and high must be vectors for a diameter, got {self.low} and {self.high}; "
                "pass np.full(d, ...)"
            )
        return float(_norm(self.high - self.low)[0])

    def project(self, x: FloatArray) -> FloatArray:
        """Π(x) = min(max(x, low), high)."""
        return np.clip(self._vectors(x, "x"), self.low, self.high)

    def linear_minimizer(self, g: FloatArray) -> FloatArray:
        """`low` where g ≥ 0 and `high` where g < 0."""
        return np.where(self._vectors(g, "g") >= 0, self.low, self.high)

    def contains(self, x: FloatArray, tolerance: float = 1e-9) -> BoolArray:
        """Whether low − tolerance ≤ x ≤ high + tolerance."""
        x = self._vectors(x, "x")
        inside = (x >= self.low - tolerance) & (x <= self.high + tolerance)
        return np.asarray(inside.all(axis=-1))

    def center(self, dimension: int) -> FloatArray:
        """The midpoint (low + high)/2."""
        return np.broadcast_to(self.low / 2 + self.high / 2, self._length(dimension)).copy()


@dataclass(frozen=True)
class WholeSpace(ConvexSet):
    """The whole space ℝᵈ, for every d: no constraint."""

    @property
    def diameter(self) -> float:
        """+∞."""
        return math.inf

    def project(self, x: FloatArray) -> FloatArray:
        """Π(x) = x, as a copy."""
        return self._vectors(x, "x").copy()

    def linear_minimizer(self, g: FloatArray) -> FloatArray:
        """0 if g = 0; ValueError otherwise, since ⟨g, ·⟩ is unbounded."""
        g = self._vectors(g, "g")
        if g.any():
            raise ValueError(
                "a linear function is bounded on the whole space only if it is zero, got largest "
                f"coefficient {np.abs(g).max()}; pass zeros or take a bounded set"
            )
        return np.zeros_like(g)

    def contains(self, x: FloatArray, tolerance: float = 1e-9) -> BoolArray:
        """True for every finite x."""
        return np.ones(self._vectors(x, "x").shape[:-1], dtype=np.bool_)

    def center(self, dimension: int) -> FloatArray:
        """The origin."""
        return np.zeros(self._length(dimension))


@dataclass(frozen=True, init=False, eq=False)
class Polytope(ConvexSet):
    """The polytope {x ∈ ℝᵈ: A x ≤ b}, nonempty and bounded.

    Construction solves 2 d + 1 linear programs (HiGHS) for the bounding box and the Chebyshev
    centre, m + 1 more if the set is flat. Projections and linear minimisations are solved row by
    row, in milliseconds each; prefer the closed forms of the other sets where they apply.

    Attributes:
        A: (m, d), the outward normals as rows.
        b: (m,), the offsets.

    Raises:
        ValueError: the set is empty or unbounded (up to HiGHS' feasibility tolerance 1e-7).
    """

    A: FloatArray
    b: FloatArray

    def __init__(self, A: Any, b: Any) -> None:
        A = checks.array(A, "A", shape=(None, None)).copy()
        b = checks.array(b, "b", shape=(len(A),)).copy()
        A.flags.writeable = b.flags.writeable = False
        object.__setattr__(self, "A", A)
        object.__setattr__(self, "b", b)
        _ = self._box, self._chebyshev_center  # so that an empty or unbounded set is refused here

    def __reduce__(self) -> tuple[type[Polytope], tuple[FloatArray, FloatArray]]:
        return Polytope, (self.A, self.b)  # the compiled problem does not travel

    @property
    def dimension(self) -> int:
        """The number d of columns of A."""
        return int(self.A.shape[1])

    @property
    def diameter(self) -> float:
        """An upper bound: the diagonal of the bounding box, at most √d times the diameter."""
        return float(_norm(self._box[1] - self._box[0])[0])

    def project(self, x: FloatArray) -> FloatArray:
        """Π(x) by quadratic programming (CLARABEL), within 1e-6 of the diameter.

        Points of the set, as `contains` tells, are returned unchanged.

        Raises:
            RuntimeError: the solver does not converge.
        """
        x = self._vectors(x, "x")
        rows = x.reshape(-1, self.dimension).copy()
        for i in np.flatnonzero(~self.contains(rows)):
            rows[i] = self._projector(rows[i])
        return rows.reshape(x.shape)

    def linear_minimizer(self, g: FloatArray) -> FloatArray:
        """A minimising vertex by linear programming; ties are broken by HiGHS.

        HiGHS is deterministic: equal rows have equal minimisers. The value is minimal within
        HiGHS' tolerance, 1e-7 for g scaled to largest coefficient 1.

        Raises:
            RuntimeError: the solver does not converge.
        """
        g = self._vectors(g, "g")
        scale = np.abs(g).max(axis=-1, keepdims=True)
        unit = (g / np.where(scale > 0, scale, 1.0)).reshape(-1, self.dimension)
        rows = [self._linear_program(row) for row in unit]
        return np.reshape(rows, g.shape)

    def contains(self, x: FloatArray, tolerance: float = 1e-9) -> BoolArray:
        """Whether no half-space is violated by a distance above tolerance max(1, diameter)."""
        normals, offsets = self._half_spaces
        violation = self._vectors(x, "x") @ normals.T - offsets
        return np.asarray((violation <= tolerance * max(1.0, self.diameter)).all(axis=-1))

    def center(self, dimension: int) -> FloatArray:
        """The Chebyshev centre: the centre of a largest ball inside, within the affine hull."""
        self._length(dimension)
        return self._chebyshev_center.copy()

    @cached_property
    def _half_spaces(self) -> tuple[FloatArray, FloatArray]:
        """Unit normals and offsets; a zero row says 0 ≤ b and is no half-space."""
        norms = _norm(self.A)[:, 0] if self.A.size else np.zeros(len(self.b))
        if (self.b[norms == 0] < 0).any():
            raise ValueError("A x <= b must have a solution, got a row 0 <= negative; drop it")
        proper = norms > 0
        return self.A[proper] / norms[proper, None], self.b[proper] / norms[proper]

    def _linear_program(self, cost: FloatArray) -> FloatArray:
        from scipy.optimize import linprog

        normals, offsets = self._half_spaces
        result = linprog(cost, A_ub=normals, b_ub=offsets, bounds=(None, None), method="highs")
        if result.status == 0:
            return np.asarray(result.x, dtype=np.float64)
        if result.status == 2:
            raise ValueError("A x <= b must have a solution, got an empty set; relax b")
        if result.status == 3:
            raise ValueError(
                f"A x <= b must be bounded, got a set unbounded along {-cost}; add bounds"
            )
        raise RuntimeError(f"HiGHS failed: {result.message}; rescale A and b")

    @cached_property
    def _box(self) -> tuple[FloatArray, FloatArray]:
        """The least and the greatest value of each coordinate."""
        axes = np.eye(self.dimension)
        low, high = (
            np.array([self._linear_program(sign * axis) @ axis for axis in axes])
            for sign in (1.0, -1.0)
        )
        return low, high

    @cached_property
    def _chebyshev_center(self) -> FloatArray:
        """The x of max {r: ⟨aᵢ, x⟩ + r mᵢ ≤ bᵢ}, unit normals aᵢ, margins mᵢ = 1.

        If r = 0 the set is flat: some rows are equalities. Then mᵢ is the length of aᵢ within the
        affine hull, so that the ball is one of the hull.
        """
        normals, offsets = self._half_spaces
        x, radius = self._inscribed_ball(np.ones(len(normals)))
        if radius > 1e-7 * self.diameter:  # HiGHS' tolerance
            return x
        slack = offsets - [row @ self._linear_program(row) for row in normals]  # the greatest
        equalities = normals[slack <= 1e-7 * max(1.0, self.diameter)]
        within_hull = normals @ (np.eye(self.dimension) - np.linalg.pinv(equalities) @ equalities)
        margins = _norm(within_hull)[:, 0]
        return self._inscribed_ball(np.where(margins > 1e-9, margins, 0.0))[0]

    def _inscribed_ball(self, margins: FloatArray) -> tuple[FloatArray, float]:
        """Centre and radius of a largest ball, r ≤ diameter."""
        from scipy.optimize import linprog

        normals, offsets = self._half_spaces
        result = linprog(
            np.append(np.zeros(self.dimension), -1.0),
            A_ub=np.column_stack([normals, margins]),
            b_ub=offsets,
            bounds=[(None, None)] * self.dimension + [(0, self.diameter)],
            method="highs",
        )
        if result.status != 0 or result.x is None:
            raise RuntimeError(f"HiGHS failed: {result.message}; rescale A and b")
        return np.asarray(result.x[:-1], dtype=np.float64), float(result.x[-1])

    @cached_property
    def _projector(self) -> Callable[[FloatArray], FloatArray]:
        """The projection of one point: a quadratic program compiled once.

        In units u = (x − c)/s about the Chebyshev centre c, s = diameter, with target t:
        min κ‖u‖² − 2 ⟨κ t, u⟩ over the polytope, κ = 1/max(1, ‖t‖): a far target would else
        look unbounded to the solver.
        """
        import cvxpy as cp

        normals, offsets = self._half_spaces
        c, s = self._chebyshev_center, self.diameter or 1.0
        u, target = cp.Variable(self.dimension), cp.Parameter(self.dimension)
        weight = cp.Parameter(nonneg=True)
        quantities = ("tol_gap_abs", "tol_gap_rel", "tol_feas")
        options = dict.fromkeys(quantities, 1e-12)
        options |= {f"reduced_{name}": 1e-10 for name in quantities}  # "optimal inaccurate"
        problem = cp.Problem(
            cp.Minimize(weight * cp.sum_squares(u) - 2 * target @ u),
            [normals @ u <= (offsets - normals @ c) / s],
        )

        def project(x: FloatArray) -> FloatArray:
            t = (x - c) / s
            weight.value = 1 / max(1.0, _norm(t)[0])
            target.value = weight.value * t
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the status is checked below
                    problem.solve(solver=cp.CLARABEL, warm_start=False, **options)  # no memory
            except cp.SolverError as error:
                raise RuntimeError(f"CLARABEL failed at {x}: {error}; rescale A and b") from None
            if problem.status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
                raise RuntimeError(f"CLARABEL is {problem.status} at {x}; rescale A and b")
            return np.asarray(c + s * u.value)

        return project


def same_set(first: ConvexSet, second: ConvexSet, dim: int) -> bool:
    """Whether two sets are of one kind with the same numbers, as sets of vectors (dim,)."""
    if type(first) is not type(second) or any(
        own.dimension not in (None, dim) for own in (first, second)
    ):
        return False
    if isinstance(first, Ball) and isinstance(second, Ball):
        return first.radius == second.radius and np.array_equal(
            first.center(dim), second.center(dim)
        )
    if isinstance(first, Box) and isinstance(second, Box):
        return all(
            np.array_equal(np.broadcast_to(a, dim), np.broadcast_to(b, dim))
            for a, b in ((first.low, second.low), (first.high, second.high))
        )
    if isinstance(first, Polytope) and isinstance(second, Polytope):
        return np.array_equal(first.A, second.A) and np.array_equal(first.b, second.b)
    return bool(first == second)


def farthest(domain: ConvexSet, x: FloatArray) -> float:
    """max_{u ∈ X} ‖u − x‖ for x (d,).

    Exact for balls, boxes and the simplex; else the bound ‖x − Πx‖ + diameter.
    """
    if isinstance(domain, Ball):
        return float(np.linalg.norm(x - domain.center(len(x)))) + domain.radius
    if isinstance(domain, Box):
        return float(np.linalg.norm(np.maximum(np.abs(x - domain.low), np.abs(domain.high - x))))
    if isinstance(domain, Simplex):  # ‖e_i − x‖² = 1 − 2 x_i + ‖x‖²
        return math.sqrt(1 - 2 * float(x.min()) + float(x @ x))
    return float(np.linalg.norm(x - domain.project(x))) + domain.diameter
