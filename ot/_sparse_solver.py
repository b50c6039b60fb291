"""Newton's method on smooth semi-duals of sparse transport, over lists of candidate pairs.

Column j has mass b_j > 0 and at most k_j entries. With shares θ_ij ∈ [0, 1], Σ_i θ_ij <= k_j, the
perspective T²/θ of the square is convex (0²/0 = 0), and at shares in {0, 1} it asks for at most k_j
entries. Near shares θ⁰, the problem

    min over T ∈ U(a, b) and θ of ⟨T, C⟩ + Σ_ij (γ/2) T_ij²/θ_ij + Σ_j γ b_j² (ε_j/2) ‖θ_j − θ⁰_j‖²

has a differentiable semi-dual Φ(α), concave, with gradient a − T1. For each column it takes the
level β_j and the price μ_j >= 0 of a share that solve

    z_ij  = (α_i + β_j − C_ij)_+/(γ b_j)
    θ_ij  = clip(θ⁰_ij + (z_ij²/2 − μ_j)/ε_j, 0, 1)
    Σ_i θ_ij z_ij = 1,    Σ_i θ_ij <= k_j, with equality if μ_j > 0;

then T_ij = b_j θ_ij z_ij. Its Hessian, defined piecewise, is

    −Σ_j A_j − A_j 1 1ᵀA_j/(1ᵀA_j 1),    γ A_j = D_j − w_j w_jᵀ/M_j  (the second term if μ_j > 0)
    D_ii = θ_i + z_i²/ε where 0 < θ_i < 1 (θ_i elsewhere),  w_i = z_i/ε there (0 elsewhere),
    M = their number/ε,

a Laplacian of the graph of the pairs in use, and as sparse. All shares fixed at 1 leave quadratic
transport, whose columns are projections on simplices.

No pair has mass whose α_i − C_ij is below the largest of its column by γ b_j √(1 + 4 ε_j (1 + κ))
or more, if θ⁰ <= 1 + κ; so lists of candidates are enough. They stay valid while α changes by less
than a margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
from numba import njit

from ..core.checks import FloatArray, IntArray

Int32Array: TypeAlias = npt.NDArray[np.int32]
Pairs: TypeAlias = tuple[IntArray, Int32Array]  # of column j: rows[starts[j] : starts[j + 1]]
_FAST = {"nnan", "nsz"}  # lets maxima be vectorised
_DENSE = 0.05  # curvatures with more entries than this part are kept dense


@njit(cache=True, fastmath=_FAST)
def _tops(alpha: FloatArray, costs: FloatArray, out: FloatArray) -> None:
    """out[j] = max_i α_i − C_ij; costs are Cᵀ, (n, m)."""
    for j in range(costs.shape[0]):
        top = -np.inf
        for i in range(costs.shape[1]):
            top = max(top, alpha[i] - costs[j, i])
        out[j] = top


@njit(cache=True)
def _candidates(
    alpha: FloatArray,
    costs: FloatArray,
    lowest: FloatArray,
    starts: IntArray,
    rows: Int32Array,
    shares: FloatArray,
) -> tuple[IntArray, Int32Array, FloatArray, FloatArray]:
    """Pairs with α_i − C_ij >= lowest_j or a share: their starts, rows, costs and shares."""
    n, m = costs.shape
    held = np.zeros(m)
    size, capacity = 0, 64 * n + m
    pointers = np.zeros(n + 1, np.int64)
    new_rows = np.empty(capacity, np.int32)
    new_costs, new_shares = np.empty(capacity), np.empty(capacity)
    for j in range(n):
        if size + m > capacity:
            capacity = 2 * capacity + m
            rows_, costs_, shares_ = new_rows, new_costs, new_shares
            new_rows = np.empty(capacity, np.int32)
            new_costs, new_shares = np.empty(capacity), np.empty(capacity)
            new_rows[:size], new_costs[:size] = rows_[:size], costs_[:size]
            new_shares[:size] = shares_[:size]
        for p in range(starts[j], starts[j + 1]):
            held[rows[p]] = shares[p]
        for i in range(m):
            if alpha[i] - costs[j, i] >= lowest[j] or held[i] > 0.0:
                new_rows[size], new_costs[size] = i, costs[j, i]
                new_shares[size] = held[i]
                size += 1
        for p in range(starts[j], starts[j + 1]):
            held[rows[p]] = 0.0
        pointers[j + 1] = size
    return pointers, new_rows[:size].copy(), new_costs[:size].copy(), new_shares[:size].copy()


@njit(cache=True)
def sweep(
    alpha: FloatArray,
    costs: FloatArray,
    rates: FloatArray,
    masses: FloatArray,
    out: FloatArray,
) -> None:
    """out[j] = β_j with Σ_i r_i (α_i + β_j − C_ij)_+ = w_j.

    With r = 1 and w = γ b it is the best β for α in quadratic transport; with rows for columns,
    r = 1/γ and w = a, the best α for β.

    Args:
        alpha: α, (m,).
        costs: Cᵀ, (n, m).
        rates: r, (m,), positive.
        masses: w, (n,), positive.
        out: overwritten.
    """
    n, m = costs.shape
    u, kept, kept_rates = np.empty(m), np.empty(m), np.empty(m)
    for j in range(n):
        top, rate = -np.inf, 1.0
        for i in range(m):
            u[i] = alpha[i] - costs[j, i]
            if u[i] > top:
                top, rate = u[i], rates[i]
        low = top - masses[j] / rate
        size, mass, slope = 0, masses[j], 0.0
        for i in range(m):
            if u[i] >= low:
                kept[size], kept_rates[size] = u[i] - top, rates[i]
                mass -= rates[i] * kept[size]
                slope += rates[i]
                size += 1
        level = mass / slope
        while True:  # drop what is not above the level: finitely often
            left, mass, slope = 0, masses[j], 0.0
            for p in range(size):
                if kept[p] + level > 0.0:
                    kept[left], kept_rates[left] = kept[p], kept_rates[p]
                    mass -= kept_rates[p] * kept[p]
                    slope += kept_rates[p]
                    left += 1
            if left == size:
                break
            size = left
            level = mass / slope
        out[j] = level - top


@njit(cache=True)
def _shares_at(
    u: FloatArray,
    centre: FloatArray,
    size: int,
    eps: float,
    level: float,
    price: float,
    z: FloatArray,
    theta: FloatArray,
) -> tuple[float, float, float, float, int]:
    """z and θ at a level and a price.

    Returns Σ θ z, Σ θ, ∂(Σ θ z)/∂level, the sum of z where 0 < θ < 1, and their number.
    """
    mass = count = slope = drift = 0.0
    free = 0
    for q in range(size):
        y = max(u[q] + level, 0.0)
        share = centre[q] + (0.5 * y * y - price) / eps
        z[q] = y
        if share >= 1.0:
            theta[q] = 1.0
            mass += y
            count += 1.0
            slope += 1.0 if y > 0.0 else 0.0
        elif share > 0.0:
            theta[q] = share
            mass += share * y
            count += share
            slope += share + y * y / eps if y > 0.0 else 0.0
            drift += y
            free += 1
        else:
            theta[q] = 0.0
    return mass, count, slope, drift, free


@njit(cache=True)
def _price(
    u: FloatArray,
    centre: FloatArray,
    size: int,
    k: float,
    eps: float,
    level: float,
    price: float,
    highest: float,
    z: FloatArray,
    theta: FloatArray,
) -> float:
    """The least price in [0, highest] with Σ θ <= k, by Newton's method within a bracket."""
    low, high = 0.0, highest
    if _shares_at(u, centre, size, eps, level, 0.0, z, theta)[1] <= k:
        return 0.0
    for _ in range(200):
        _, count, _, _, free = _shares_at(u, centre, size, eps, level, price, z, theta)
        if abs(count - k) <= 4e-16 * (k + 1.0 / eps):
            break
        if count > k:
            low = price
        else:
            high = price
        step = price + (count - k) * eps / free if free > 0 else -1.0
        if not low < step < high:
            step = 0.5 * (low + high)
        if step == price:
            break
        price = step
    return price


@njit(cache=True)
def _shared_column(
    u: FloatArray,
    centre: FloatArray,
    size: int,
    k: float,
    eps: float,
    highest: float,
    level: float,
    price: float,
    z: FloatArray,
    theta: FloatArray,
) -> tuple[float, float]:
    """z, θ, level and price of a column; u = (α − c)/(γ b) less its largest, level <= highest.

    Newton's method in both, from the level and the price given; where that does not end, the price
    is solved for at each step of a bracketed iteration for the level.
    """
    rounding = 4e-16 * (2.0 + 1.0 / (k * eps))
    for _ in range(12):
        mass, count, slope, drift, free = _shares_at(u, centre, size, eps, level, price, z, theta)
        slack = price == 0.0 and count <= k
        if abs(mass - 1.0) <= rounding and (slack or abs(count - k) <= k * rounding):
            return level, price
        if slack or free == 0:
            if slope <= 0.0:
                break
            level -= (mass - 1.0) / slope
        else:
            determinant = slope * free - drift * drift / eps
            if determinant <= 1e-10 * slope * free:
                break
            level -= ((mass - 1.0) * free - (count - k) * drift) / determinant
            price += ((count - k) * eps * slope - (mass - 1.0) * drift) / determinant
            price = max(price, 0.0)
        level = min(max(level, 0.0), highest)
    low, high = 0.0, highest
    dearest = 0.5 * highest * highest + eps * max(centre[:size].max(), 0.0)
    for _ in range(200):
        price = _price(u, centre, size, k, eps, level, price, dearest, z, theta)
        mass, _, slope, drift, free = _shares_at(u, centre, size, eps, level, price, z, theta)
        if abs(mass - 1.0) <= rounding:
            break
        if mass > 1.0:
            high = level
        else:
            low = level
        if price > 0.0 and free > 0:
            slope -= drift * drift / (eps * free)
        step = level - (mass - 1.0) / slope if slope > 1e-12 else -1.0
        if not low < step < high:
            step = 0.5 * (low + high)
        if step == level:
            break
        level = step
    return level, price


@njit(cache=True)
def _whole_column(
    u: FloatArray, size: int, z: FloatArray, theta: FloatArray, kept: IntArray
) -> float:
    """z = the projection of u on the simplex, θ = 1 where it is positive; returns the level."""
    left, total = size, 0.0
    for q in range(size):
        kept[q] = q
        total += u[q]
    level = (1.0 - total) / size
    while True:  # as in `sweep`
        before, left, total = left, 0, 0.0
        for p in range(before):
            if u[kept[p]] + level > 0.0:
                kept[left] = kept[p]
                total += u[kept[p]]
                left += 1
        if left == before:
            break
        level = (1.0 - total) / left
    for q in range(size):
        z[q] = max(u[q] + level, 0.0)
        theta[q] = 1.0 if z[q] > 0.0 else 0.0
    return level


@njit(cache=True)
def _evaluate(
    alpha: FloatArray,
    a: FloatArray,
    b: FloatArray,
    gammas: FloatArray,
    k: FloatArray,
    eps: FloatArray,
    push: float,
    limits: FloatArray,
    starts: IntArray,
    rows: Int32Array,
    costs: FloatArray,
    shares: FloatArray,
    z: FloatArray,
    theta: FloatArray,
    levels: FloatArray,
    prices: FloatArray,
    gradient: FloatArray,
) -> tuple[float, bool]:
    """Φ(α), and z, θ, levels β_j, prices μ_j and a − T1; ε_j = 0 fixes the shares at 1.

    Also whether no pair was missed: those that might get a share are within the limits.
    """
    value, fits = 0.0, True
    for i in range(len(a)):
        value += alpha[i] * a[i]
        gradient[i] = a[i]
    longest = 1
    for j in range(len(b)):
        longest = max(longest, starts[j + 1] - starts[j])
    u, v, centre = np.empty(longest), np.empty(longest), np.empty(longest)
    zs, thetas, at = np.empty(longest), np.empty(longest), np.empty(longest, np.int64)
    for j in range(len(b)):
        first, size = starts[j], starts[j + 1] - starts[j]
        unit = gammas[j] * b[j]
        top = -np.inf
        for q in range(size):
            u[q] = alpha[rows[first + q]] - costs[first + q]
            top = max(top, u[q])
        for q in range(size):
            u[q] = (u[q] - top) / unit
        penalty = 0.0
        if eps[j] == 0.0:
            level, prices[j] = _whole_column(u, size, zs, thetas, at), 0.0
            needed = level
            for q in range(size):
                v[q], at[q] = u[q], first + q
        else:
            highest = math.sqrt(1.0 + 4.0 * eps[j] * (1.0 + push)) * (1.0 + 1e-9)
            level = (levels[j] + top) / unit
            depth = 1.5 * (level - math.sqrt(2.0 * prices[j])) + 0.25 * level  # a guess
            while True:
                some = 0  # those that may get a share
                for p in range(first, first + size):
                    middle = shares[p] + push * (2.0 * shares[p] - 1.0)
                    z[p] = theta[p] = 0.0
                    if u[p - first] >= -depth or shares[p] > 0.0:
                        v[some], centre[some], at[some] = u[p - first], middle, p
                        some += 1
                if some > 0:
                    level, prices[j] = _shared_column(
                        v, centre, some, k[j], eps[j], highest, level, prices[j], zs, thetas
                    )
                    needed = level - math.sqrt(2.0 * (prices[j] + push * eps[j]))
                    if needed <= depth:
                        break
                depth = 2.0 * max(depth, 0.25)
            size = some
            for q in range(size):
                penalty += 0.5 * eps[j] * thetas[q] * (thetas[q] - 2.0 * centre[q])
        conjugate = 0.0
        for q in range(size):
            p = at[q]
            part = thetas[q] * zs[q]
            z[p], theta[p] = zs[q], thetas[q]
            gradient[rows[p]] -= b[j] * part
            conjugate += part * (v[q] - 0.5 * zs[q])
        fits = fits and needed <= limits[j]
        levels[j] = unit * level - top
        value -= b[j] * (top + unit * (conjugate - penalty))
    return value, fits


@njit(cache=True)
def _curvature(
    gammas: FloatArray,
    eps: FloatArray,
    starts: IntArray,
    rows: Int32Array,
    z: FloatArray,
    theta: FloatArray,
    prices: FloatArray,
    first: Int32Array,
    second: Int32Array,
    entries: FloatArray,
    dense: FloatArray,
) -> int:
    """−∇²Φ: entries, to be added up where indices repeat, or added to `dense`.

    Where there is room for neither, entries are only counted. Returns their number.
    """
    longest = 1
    for j in range(len(eps)):
        longest = max(longest, starts[j + 1] - starts[j])
    at = np.empty(longest, np.int32)
    diagonal, w, y = np.empty(longest), np.empty(longest), np.empty(longest)
    count = len(entries) == 0 and dense.size == 0
    size = 0
    for j in range(len(eps)):
        used, free, drift = 0, 0, 0.0
        for p in range(starts[j], starts[j + 1]):
            inside = eps[j] > 0.0 and 0.0 < theta[p] < 1.0
            free += 1 if inside else 0
            if theta[p] > 0.0 and z[p] > 0.0:
                at[used] = rows[p]
                diagonal[used] = theta[p] + (z[p] * z[p] / eps[j] if inside else 0.0)
                w[used] = z[p] / eps[j] if inside else 0.0
                drift += w[used]
                used += 1
        if count:
            size += used * used
            continue
        tie = eps[j] / free if prices[j] > 0.0 and free > 0 else 0.0  # 1/M
        total = 0.0
        for q in range(used):
            y[q] = diagonal[q] - w[q] * drift * tie
            total += y[q]
        scale = 1.0 / total if total > 0.0 else 0.0
        for q in range(used):
            for r in range(used):
                entry = -(w[q] * w[r] * tie + y[q] * y[r] * scale)
                entry = (entry + diagonal[q] if q == r else entry) / gammas[j]
                if dense.size > 0:
                    dense[at[q], at[r]] += entry
                else:
                    first[size], second[size], entries[size] = at[q], at[r], entry
                size += 1
    return size


@njit(cache=True)
def _largest(u: FloatArray, k: int) -> FloatArray:
    """The k largest entries, or all there are, descending."""
    if k > 32 or k >= len(u):
        return np.sort(u)[::-1][:k]
    best = np.full(k, -np.inf)
    for value in u:
        if value > best[k - 1]:
            q = k - 1
            while q > 0 and best[q - 1] < value:
                best[q] = best[q - 1]
                q -= 1
            best[q] = value
    return best


@njit(cache=True)
def _sparse_columns(
    alpha: FloatArray,
    a: FloatArray,
    b: FloatArray,
    gamma: float,
    k: FloatArray,
    limits: FloatArray,
    starts: IntArray,
    rows: Int32Array,
    costs: FloatArray,
    levels: FloatArray,
) -> tuple[float, bool]:
    """The semi-dual itself, α·a − Σ_j Ω*_b(α − c_j), and its levels β_j.

    Also whether no pair was missed.
    """
    value, fits = 0.0, True
    for i in range(len(a)):
        value += alpha[i] * a[i]
    for j in range(len(b)):
        size = starts[j + 1] - starts[j]
        u = np.empty(size)
        for q in range(size):
            u[q] = alpha[rows[starts[j] + q]] - costs[starts[j] + q]
        u = _largest(u, int(k[j]))
        top, unit = u[0], gamma * b[j]
        total = level = conjugate = 0.0
        used = 0
        u = (u - top) / unit
        for q in range(len(u)):  # of the k largest, those in use
            if (q + 1) * u[q] <= total + u[q] - 1.0:
                break
            total += u[q]
            used = q + 1
            level = (1.0 - total) / used
        for q in range(used):
            conjugate += (u[q] + level) * (u[q] - 0.5 * (u[q] + level))
        has_all = len(u) == int(k[j]) and u[-1] >= -limits[j]
        fits = fits and (has_all or level <= limits[j])
        levels[j] = unit * level - top
        value -= b[j] * (top + unit * conjugate)
    return value, fits


@dataclass
class Budget:
    """Newton steps allowed and made."""

    allowed: int
    made: int = 0


class SemiDual:
    """Φ over lists of candidates, with the shares θ⁰ and the last point evaluated.

    Args:
        costs: Cᵀ, (n, m), C-contiguous.
        a: (m,), positive.
        b: (n,), positive.
        k: (n,), at least 1.
        gamma: γ > 0.
        pairs: the only pairs allowed, some in each column; None: all.

    Attributes:
        alpha: α, (m,); set it to move, the next evaluation takes it.
        value: Φ(α).
        gradient: a − T1, (m,).
        levels: β, (n,).
        starts, rows: the candidates.
        shares: θ⁰ of the candidates.
        z, theta: of the candidates, at α.
    """

    def __init__(
        self,
        costs: FloatArray,
        a: FloatArray,
        b: FloatArray,
        k: IntArray | FloatArray,
        gamma: float,
        pairs: Pairs | None = None,
    ) -> None:
        n, m = costs.shape
        self.all_costs, self.a, self.b = costs, a, b
        self.k, self.gamma, self.gammas = k.astype(np.float64), gamma, np.full(n, gamma)
        self.is_fixed = pairs is not None
        none: Pairs = np.zeros(n + 1, np.int64), np.empty(0, np.int32)
        self.starts, self.rows = none if pairs is None else pairs
        self.costs = costs[self.columns(), self.rows]
        self.shares = np.zeros(len(self.rows))
        self.z, self.theta = np.zeros(len(self.rows)), np.zeros(len(self.rows))
        self.alpha, self.value, self.gradient = np.zeros(m), -math.inf, np.zeros(m)
        self.levels, self.prices = np.zeros(n), np.zeros(n)
        self.smoothing, self.push = np.zeros(n), 0.0
        self._reference: FloatArray | None = None
        self._limits = np.full(n, np.inf)
        self._prefers_dense = False

    def clone(self) -> SemiDual:
        """One that moves on its own."""
        clone = copy(self)
        for name in ("z", "theta", "levels", "prices", "gradient"):  # evaluations overwrite them
            setattr(clone, name, getattr(self, name).copy())
        return clone

    def columns(self) -> IntArray:
        """j of the candidates."""
        return np.repeat(np.arange(len(self.b)), np.diff(self.starts))

    def masses(self) -> FloatArray:
        """T of the candidates, at α."""
        return self.b[self.columns()] * self.theta * self.z

    def counts(self, chosen: npt.NDArray[np.bool_]) -> IntArray:
        """How many candidates of each column are chosen, (n,)."""
        return np.bincount(self.columns()[chosen], minlength=len(self.b))

    def error(self) -> float:
        """‖a − T1‖_1, of the total mass."""
        return float(np.abs(self.gradient).sum() / self.a.sum())

    def widen(self, width: float) -> None:
        """Let γ be max(γ, width/b_j) in column j, whose answer to α is then not too sudden."""
        self.gammas, self._reference = np.maximum(self.gamma, width / self.b), None

    def widths(self, first: float) -> Iterator[float]:
        """From `first` down to one that widens no column, by factors of 8."""
        last = self.gamma * float(self.b.min())
        while first > last:
            yield first
            first /= 8
        yield last

    def lift(self) -> FloatArray | None:
        """α with rows that have no mass raised to where they get some; None if all have some."""
        empty = np.flatnonzero(self.gradient == self.a)
        if not len(empty):
            return None
        alpha, widths = self.alpha.copy(), self.gammas * self.b
        heights = widths * np.sqrt(2 * self.prices) - self.levels  # of α_i − C_ij at contact
        if self.is_fixed:
            contacts = np.full(len(alpha), np.inf)
            np.minimum.at(contacts, self.rows, self.costs + heights[self.columns()])
            contacts = contacts[empty]
        else:
            contacts = (self.all_costs[:, empty] + heights[:, None]).min(axis=0)
        found = np.isfinite(contacts)
        alpha[empty[found]] = contacts[found] + self.gamma * self.a[empty[found]]
        return alpha

    def smooth(self, strength: float, push: float = 0.0) -> None:
        """Set ε_j = strength/k_j² and take θ⁰ + κ (2 θ⁰ − 1), κ = push, for θ⁰; 0: all shares 1.

        Shares of columns with k_j >= m are 1 in any case.
        """
        self.smoothing = np.where(self.k < len(self.a), strength / self.k**2, 0.0)
        self.push, self._reference = push, None

    def hold(self) -> None:
        """Keep the candidates that there are: from now on, no others are looked for."""
        self.evaluate(self.alpha)
        self.is_fixed = True
        self._limits[:] = np.inf

    def evaluate(self, alpha: FloatArray) -> float:
        """Φ(α), with all that goes with it."""
        self.alpha = alpha
        self._screen()
        self.value, fits = self._evaluated()
        while not fits:
            self._screen(wider=True)
            self.value, fits = self._evaluated()
        return self.value

    def _evaluated(self) -> tuple[float, bool]:
        return _evaluate(
            self.alpha, self.a, self.b, self.gammas, self.k, self.smoothing, self.push,
            self._limits, self.starts, self.rows, self.costs, self.shares,
            self.z, self.theta, self.levels, self.prices, self.gradient,
        )  # fmt: skip

    def bound(self) -> tuple[float, FloatArray]:
        """The semi-dual at α, at most the value of any plan, and its levels β."""
        levels = np.empty_like(self.levels)
        fits, value, wider = False, -math.inf, False
        while not fits:
            self._screen(wider=wider)
            value, fits = _sparse_columns(
                self.alpha, self.a, self.b, self.gamma, self.k, self._limits,
                self.starts, self.rows, self.costs, levels,
            )  # fmt: skip
            wider = True
        return value, levels

    def near(self, depth: float) -> Pairs:
        """The pairs with α_i − C_ij within depth · γ b_j of the largest of their column."""
        lowest = self._tops() - depth * self.gamma * self.b
        kept = self.starts, self.rows, np.zeros_like(self.shares)
        return _candidates(self.alpha, self.all_costs, lowest, *kept)[:2]

    def _tops(self) -> FloatArray:
        tops = np.empty_like(self.b)
        _tops(self.alpha, self.all_costs, tops)
        return tops

    def _screen(self, *, wider: bool = False) -> None:
        """Look for candidates, unless those there are will do.

        How far below the top of a column they may be is guessed from the last levels and prices;
        evaluations tell if it is not enough, and are repeated with twice as much.
        """
        if self.is_fixed:
            return
        widths = self.gammas * self.b
        margin = 0.3 * float(widths.mean())
        near = self._reference is not None and np.ptp(self.alpha - self._reference) <= margin
        if near and not wider:
            return
        tops = self._tops()
        if wider:
            self._limits = 2 * self._limits
        elif self.value == -math.inf:
            self._limits = np.ones_like(self.b)
        else:
            levels = np.maximum((self.levels + tops) / widths, 1 / self.k)
            depths = np.maximum(levels - np.sqrt(2 * self.prices), 0)
            self._limits = 1.5 * depths + 0.25 * levels
        self.starts, self.rows, self.costs, self.shares = _candidates(
            self.alpha, self.all_costs, tops - self._limits * widths - margin,
            self.starts, self.rows, self.shares,
        )  # fmt: skip
        self.z, self.theta = np.zeros(len(self.rows)), np.zeros(len(self.rows))
        self._reference = self.alpha

    def relaxed_value(self) -> float:
        """⟨T, C⟩ + Σ (γ/2) T²/θ at α."""
        masses = self.masses()
        reduced = self.costs + 0.5 * self.gamma * self.b[self.columns()] * self.z
        return float(masses @ reduced)

    def is_thin(self) -> bool:
        """Few pairs have mass at α, so that a Newton step is cheap."""
        used = self.counts(self.theta * self.z > 0).astype(np.float64)
        return float(used @ used) <= _DENSE * len(self.a) ** 2

    def curvature(self) -> tuple[scipy.sparse.csc_array | FloatArray, float]:
        """−∇²Φ at α, sparse where that pays, and the mean of its diagonal."""
        m = len(self.a)

        def fill(first: Int32Array, entries: FloatArray, dense: FloatArray) -> int:
            return _curvature(
                self.gammas, self.smoothing, self.starts, self.rows, self.z, self.theta,
                self.prices, first, second, entries, dense,
            )  # fmt: skip

        second, no_matrix = np.empty(0, np.int32), np.empty((0, 0))
        size = fill(second, np.empty(0), no_matrix)
        if self._prefers_dense or size > _DENSE * m * m:
            dense = np.zeros((m, m))
            fill(second, np.empty(0), dense)
            return dense, float(np.trace(dense)) / m
        first, second, entries = np.empty(size, np.int32), np.empty(size, np.int32), np.empty(size)
        if size:
            fill(first, entries, no_matrix)
        matrix = scipy.sparse.coo_array((entries, (first, second)), shape=(m, m)).tocsc()
        return matrix, float(matrix.trace()) / m

    def direction(
        self, matrix: scipy.sparse.csc_array | FloatArray, ridge: float, gradient: FloatArray
    ) -> FloatArray | None:
        """(matrix + ridge I)⁻¹ gradient; None where rounding has made that indefinite."""
        m = len(gradient)
        if isinstance(matrix, np.ndarray):
            shifted = matrix + ridge * np.eye(m)
            try:
                factor = scipy.linalg.cho_factor(shifted, overwrite_a=True, check_finite=False)
            except np.linalg.LinAlgError:
                return None
            return scipy.linalg.cho_solve(factor, gradient, check_finite=False)
        sparse = (matrix + ridge * scipy.sparse.eye_array(m, format="csc")).tocsc()
        try:
            factors = scipy.sparse.linalg.splu(
                sparse, "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
            )
        except RuntimeError:  # exactly singular
            return None
        self._prefers_dense = factors.nnz > 4 * _DENSE * m * m
        return factors.solve(gradient)


def newton(dual: SemiDual, tolerance: float, steps: int, budget: Budget) -> bool:
    """Maximise Φ from `dual.alpha` by damped Newton steps.

    α ← α + t (H + ρ I)⁻¹ (a − T1), where H = −∇²Φ, ρ is small and shrinks with the error, and t is
    the first of 1, 0.4, 0.16, 0.064 with enough ascent. If none has, ρ grows.

    Returns:
        Whether the error is at most `tolerance`.
    """
    value = dual.evaluate(dual.alpha)
    ridge = 1e-4
    for _ in range(steps):
        error = dual.error()
        if error <= tolerance or budget.made >= budget.allowed:
            break
        budget.made += 1
        lifted, alpha = dual.lift(), dual.alpha
        if lifted is not None:
            value = max(value, dual.evaluate(lifted))
            if dual.value < value:
                dual.evaluate(alpha)
        alpha, gradient, error = dual.alpha, dual.gradient.copy(), dual.error()
        matrix, scale = dual.curvature()
        scale = max(scale, 1 / dual.gamma)  # it is 0 where each column has one entry
        ascended = False
        for _ in range(8):
            step = dual.direction(matrix, (ridge * min(1.0, error) + 1e-13) * scale, gradient)
            slope = float(gradient @ step) if step is not None else 0.0
            size = 1.0
            while step is not None and slope > 0.0 and size > 0.05:
                trial = dual.evaluate(alpha + size * step)
                ascended = trial >= value + 1e-4 * size * slope - 1e-15 * abs(value)
                if ascended:
                    break
                size *= 0.4
            if ascended:
                break
            ridge *= 100.0
        if not ascended:
            dual.evaluate(alpha)
            break
        value = dual.value
        if size == 1.0:
            ridge = max(0.2 * ridge, 1e-8)
    return dual.error() <= tolerance
