"""Convex potentials and the gradients of their conjugates.

For a convex ψ on a closed convex set X,

    ψ*(z)       = max_{x ∈ X} ⟨z, x⟩ − ψ(x)                   (`conjugate`)
    ∇ψ*(z)      = argmax_{x ∈ X} ⟨z, x⟩ − ψ(x)                (`maximizer`)
    B(x, y)     = ψ(x) − ψ(y) − ⟨∇ψ(y), x − y⟩                (`bregman`)

FTRL with cumulative loss L and learning rate η plays `maximizer(−η L)`; mirror descent composes
`maximizer` with `gradient`. All methods act on the last axis and are batched over the others.

On the simplex, ψ and the maximizer are

    NegativeEntropy      Σ p ln p                       p_i ∝ exp(z_i)
    TsallisEntropy(α)    −Σ (p^α − α p)/(α(1−α))        p_i = u_i^{−1/(1−α)}
    LogBarrier           −Σ ln p                        p_i = 1/u_i
    SquaredNorm          ½ Σ p²                         projection of z
    Hybrid               a sum of the first three and   φ'(p_i) = z_i − λ, Σ p = 1, by Newton's
                         of Σ (1 − p) ln(1 − p)         method in λ and in each p_i

with u_i = 1 + (1−α)(max z − z_i + s), α = 0 for the log-barrier, and s ≥ 0 such that Σ p = 1. This
equation is solved by Newton's method on the power mean

    φ(s) = (Σ u_i^r)^{1/r} − 1,   r = −1/(1−α),

which is concave and increasing (a power mean of exponent r < 1 is concave, u is affine in s) with
φ(0) ≤ 0: the iterates rise to the root, without safeguard in exact arithmetic, and one step is
exact when all z_i are equal.

References:
    Bubeck, Cesa-Bianchi. Regret analysis of stochastic and nonstochastic multi-armed bandit
    problems. Foundations and Trends in Machine Learning 5(1), 2012.
    Zimmert, Seldin. Tsallis-INF. JMLR 22, 2021 (the scale of the Tsallis entropy).
    Foster, Li, Lykouris, Sridharan, Tardos. Learning in games. NeurIPS 2016 (the log-barrier).
    Zimmert, Luo, Wei. Beating stochastic and adversarial semi-bandits optimally and simultaneously.
    ICML 2019 (the Tsallis entropy with that of 1 − p).
    Bubeck, Cohen, Li. Sparsity, variance and curvature in multi-armed bandits. ALT 2018 (the
    negative entropy with the log-barrier).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
from numba import njit

from . import checks
from .checks import FloatArray
from .sets import ConvexSet, Simplex

_NEWTON_STEPS = 100  # 3 to 5 are typical, 8 the most seen (K to 10 000, scores of 1e-8 to 1e12)
_BRACKETED_STEPS = 400  # each halves a bracket or the step
_VECTORIZE = 128  # from this size numpy's exp, 5 times as fast as a scalar one, pays for its call
# Vectorised sums; nan stays nan. Only for loops that write to no array: where one does, whether it
# is vectorised depends on how far apart the arrays lie in memory, and so would the rounding.
_FAST = {"reassoc", "contract", "nsz"}


@njit(cache=True)
def _shift(z: FloatArray, scale: float, out: FloatArray) -> None:
    """out = scale · z − max(scale · z) <= 0, as scale · (z − best): exactly 0 at the best.

    Apart from the kernels below, whose sums may be regrouped: this difference may not.
    """
    best = z[0]
    for k in range(1, len(z)):
        best = max(best, z[k]) if scale > 0.0 else min(best, z[k])
    for k in range(len(z)):
        out[k] = scale * (z[k] - best)


@njit(cache=True, fastmath=_FAST)
def _sum(x: FloatArray) -> float:
    total = 0.0
    for k in range(len(x)):
        total += x[k]
    return total


@njit(cache=True)
def _finite(x: FloatArray) -> bool:
    return np.isfinite(_sum(x))


@njit(cache=True)
def _shift_rows(z: FloatArray, scale: float, out: FloatArray) -> int:
    """out[r] = scale · z[r] − max(scale · z[r]) <= 0, so that exp cannot overflow.

    Returns the first row that is not finite, or −1.
    """
    for r in range(z.shape[0]):
        _shift(z[r], scale, out[r])
        if not _finite(out[r]):
            return r
    return -1


@njit(cache=True)
def _normalize(weights: FloatArray) -> None:
    """Divide rows by their sums, which are at least 1."""
    for r in range(weights.shape[0]):
        total = 0.0
        for k in range(weights.shape[1]):
            total += weights[r, k]
        share = 1.0 / total
        for k in range(weights.shape[1]):
            weights[r, k] *= share


@njit(cache=True)
def _softmax(z: FloatArray, scale: float, out: FloatArray) -> int:
    """out[r] = softmax(scale · z[r]). Returns the first row that is not finite, or −1."""
    bad = _shift_rows(z, scale, out)
    if bad < 0:
        for r in range(z.shape[0]):
            for k in range(z.shape[1]):
                out[r, k] = np.exp(out[r, k])
        _normalize(out)
    return bad


@njit(inline="always")
def _power(x: float, v: float, alpha: float) -> float:
    """v^{1/(1−α)}, v = 1/(1 + x); the two exponents that matter most need no logarithm."""
    if alpha == 0.5:
        return v * v
    if alpha == 0.0:
        return v
    return np.exp(-np.log1p(x) / (1.0 - alpha))


@njit(inline="always")
def _excess(total: float, alpha: float) -> float:
    """(total^{1−α} − 1)/(1−α)."""
    if alpha == 0.5:
        return 2.0 * (np.sqrt(total) - 1.0)
    if alpha == 0.0:
        return total - 1.0
    return np.expm1((1.0 - alpha) * np.log(total)) / (1.0 - alpha)


@njit(cache=True, fastmath=_FAST, error_model="numpy")
def _sums_of_powers(shifted: FloatArray, s: float, alpha: float) -> tuple[float, float]:
    """Σ p(s) and Σ p(s)/u = −d(Σ p)/ds."""
    rate = 1.0 - alpha
    total = slope = 0.0
    for k in range(len(shifted)):
        x = rate * (s - shifted[k])
        v = 1.0 / (1.0 + x)  # 1/u
        p = _power(x, v, alpha)
        total += p
        slope += p * v
    return total, slope


@njit(cache=True, error_model="numpy")
def _powers(shifted: FloatArray, s: float, alpha: float, out: FloatArray) -> None:
    """out = p(s)."""
    rate = 1.0 - alpha
    for k in range(len(shifted)):
        x = rate * (s - shifted[k])
        out[k] = _power(x, 1.0 / (1.0 + x), alpha)


@njit(cache=True, error_model="numpy")
def _normalize_powers(z: FloatArray, scale: float, alpha: float, out: FloatArray) -> int:
    """out[r] = argmax of ⟨scale · z[r], p⟩ − ψ(p) for the Tsallis entropy.

    α = 0: for the log-barrier. Returns the first row that is not finite, or −1.
    """
    rows, size = z.shape
    shifted = np.empty(size)
    most = _excess(float(size), alpha)  # all p <= 1/K there
    for r in range(rows):
        _shift(z[r], scale, shifted)
        if not _finite(shifted):
            return r
        s = 0.0
        for _ in range(_NEWTON_STEPS):
            total, slope = _sums_of_powers(shifted, s, alpha)
            # Newton on φ: −φ/φ' = ((Σp)^{1−α} − 1)/(1−α) · Σp / Σ(p/u)
            s = min(max(s + _excess(total, alpha) * total / slope, 0.0), most)
            if abs(total - 1.0) < 1e-8:  # quadratic: the step just made ends below 1e-15
                break
        _powers(shifted, s, alpha, out[r])
        total = _sum(out[r])
        if not abs(total - 1.0) < 1e-9:
            return r
        for k in range(size):
            out[r, k] /= total
    return -1


def _refuse_row(row: int) -> None:
    if row >= 0:
        raise FloatingPointError(f"replication {row}: the cumulative losses are not finite")


class Potential(ABC):
    """A strictly convex ψ on a closed convex set; see the module docstring.

    Attributes:
        domain: the set X over which `conjugate` and `maximizer` optimise.
    """

    domain: ConvexSet

    @abstractmethod
    def value(self, x: FloatArray) -> FloatArray:
        """ψ(x) for x of shape (..., d) in the domain; shape (...)."""

    @abstractmethod
    def gradient(self, x: FloatArray) -> FloatArray:
        """∇ψ(x), shape (..., d); x must lie where ψ is differentiable (positive on the simplex)."""

    @abstractmethod
    def maximizer(self, z: FloatArray) -> FloatArray:
        """∇ψ*(z) = argmax over the domain of ⟨z, x⟩ − ψ(x), shape (..., d), for any finite z."""

    def conjugate(self, z: FloatArray) -> FloatArray:
        """ψ*(z) = max over the domain of ⟨z, x⟩ − ψ(x), shape (...)."""
        z = checks.array(z, "z")
        x = self.maximizer(z)
        result: FloatArray = np.sum(z * x, axis=-1) - self.value(x)
        return result

    def bregman(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """B(x, y) = ψ(x) − ψ(y) − ⟨∇ψ(y), x − y⟩ ≥ 0, shape (...); y where ψ is differentiable."""
        x, y = checks.array(x, "x"), checks.array(y, "y")
        linear = np.sum(self.gradient(y) * (x - y), axis=-1)
        return np.maximum(self.value(x) - self.value(y) - linear, 0.0)


class SimplexPotential(Potential):
    """A potential Σ_i φ(p_i) on the probability simplex, solved row by row."""

    domain: ConvexSet = Simplex()

    @abstractmethod
    def maximize_rows(self, z: FloatArray, scale: float, out: FloatArray) -> None:
        """out = maximizer(scale · z), without checks: the inner step of a learner.

        Args:
            z: shape (R, K), C-contiguous float64.
            scale: any finite number.
            out: shape (R, K), overwritten.

        Raises:
            FloatingPointError: a row of z is not finite.
        """

    def maximizer(self, z: FloatArray) -> FloatArray:
        """argmax over the simplex of ⟨z, p⟩ − ψ(p).

        Args:
            z: shape (..., K), K >= 1, finite, of any size.

        Returns:
            p, shape (..., K): nonnegative, sums to one within rounding; the optimality conditions
            hold to a relative 1e-12. Entries below the smallest float64 are 0.
        """
        z = checks.array(z, "z")
        if z.ndim == 0 or z.shape[-1] == 0:
            raise ValueError(
                f"z must have shape (..., K) with K >= 1, got {z.shape}; pass a vector"
            )
        rows = np.ascontiguousarray(z).reshape(-1, z.shape[-1])
        out = np.empty_like(rows)
        self.maximize_rows(rows, 1.0, out)
        return out.reshape(z.shape)


def _interior(x: FloatArray, name: str) -> FloatArray:
    x = checks.array(x, name)
    if not (x > 0.0).all():
        raise ValueError(
            f"{name} must be positive, where the potential is differentiable, got {x.min()}; "
            "move it into the interior of the simplex"
        )
    return x


def _nonnegative(x: FloatArray) -> FloatArray:
    return checks.array(x, "x", low=0.0)


class NegativeEntropy(SimplexPotential):
    """ψ(p) = Σ p ln p (nats) on the simplex; ψ* is log-sum-exp, its gradient the softmax."""

    def value(self, x: FloatArray) -> FloatArray:
        """Σ x ln x, with 0 ln 0 = 0."""
        x = _nonnegative(x)
        result: FloatArray = np.sum(x * np.log(np.where(x > 0, x, 1.0)), axis=-1)
        return result

    def gradient(self, x: FloatArray) -> FloatArray:
        """1 + ln x."""
        return 1.0 + np.log(_interior(x, "x"))

    def conjugate(self, z: FloatArray) -> FloatArray:
        """ln Σ exp z."""
        z = checks.array(z, "z")
        top = z.max(axis=-1, keepdims=True)
        result: FloatArray = top[..., 0] + np.log(np.sum(np.exp(z - top), axis=-1))
        return result

    def bregman(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """KL divergence Σ x ln(x/y) − x + y."""
        x, y = _nonnegative(x), _interior(y, "y")
        terms = x * np.log(np.where(x > 0, x, y) / y) - x + y
        return np.maximum(np.sum(terms, axis=-1), 0.0)

    def maximize_rows(self, z: FloatArray, scale: float, out: FloatArray) -> None:
        """Softmax of scale · z."""
        if z.size < _VECTORIZE:
            _refuse_row(_softmax(z, scale, out))
        else:
            _refuse_row(_shift_rows(z, scale, out))
            np.exp(out, out=out)
            _normalize(out)


@dataclass(frozen=True)
class TsallisEntropy(SimplexPotential):
    """ψ(p) = −Σ (p^α − α p)/(α(1−α)) on the simplex, 0 < α < 1.

    α → 1 gives the negative entropy and α → 0 the log-barrier, up to constants. Some papers write
    −2 Σ √p for α = ½; ours is −4 Σ √p + 2, so their learning rate is half ours.
    """

    alpha: float
    domain: ConvexSet = field(default=Simplex(), init=False, repr=False)

    def __post_init__(self) -> None:
        checks.real(self.alpha, "alpha", above=0.0, below=1.0)

    def value(self, x: FloatArray) -> FloatArray:
        """−Σ (x^α − α x)/(α(1−α))."""
        x, a = _nonnegative(x), self.alpha
        result: FloatArray = -np.sum(x**a - a * x, axis=-1) / (a * (1 - a))
        return result

    def gradient(self, x: FloatArray) -> FloatArray:
        """(1 − x^{α−1})/(1−α)."""
        rate = 1.0 - self.alpha
        result: FloatArray = -np.expm1(-rate * np.log(_interior(x, "x"))) / rate
        return result

    def maximize_rows(self, z: FloatArray, scale: float, out: FloatArray) -> None:
        """Root of Σ p(s) = 1; see the module docstring."""
        _refuse_row(_normalize_powers(z, scale, self.alpha, out))


class LogBarrier(SimplexPotential):
    """ψ(p) = −Σ ln p on the interior of the simplex."""

    def value(self, x: FloatArray) -> FloatArray:
        """−Σ ln x."""
        result: FloatArray = -np.sum(np.log(_interior(x, "x")), axis=-1)
        return result

    def gradient(self, x: FloatArray) -> FloatArray:
        """−1/x."""
        return -1.0 / _interior(x, "x")

    def bregman(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Itakura-Saito divergence Σ x/y − 1 − ln(x/y)."""
        ratio = _interior(x, "x") / _interior(y, "y")
        return np.maximum(np.sum(ratio - 1.0 - np.log(ratio), axis=-1), 0.0)

    def maximize_rows(self, z: FloatArray, scale: float, out: FloatArray) -> None:
        """Root of Σ p(s) = 1; see the module docstring."""
        _refuse_row(_normalize_powers(z, scale, 0.0, out))


@njit(inline="always")
def _hybrid_slopes(
    x: float, tsallis: float, entropy: float, barrier: float, complement: float
) -> tuple[float, float, float, float]:
    """p, q = 1 − p, φ'(p) and p q φ''(p) at p = 1/(1 + e^{−x})."""
    small = math.exp(-abs(x))
    big = 1.0 / (1.0 + small)
    p, q = (big, small * big) if x > 0.0 else (small * big, big)
    log_p, log_q = -math.log1p(small) + min(x, 0.0), -math.log1p(small) - max(x, 0.0)
    root = math.exp(-0.5 * log_p)
    slope = (
        tsallis * 2.0 * (1.0 - root)
        + entropy * (1.0 + log_p)
        - barrier * math.exp(-log_p)
        - complement * (1.0 + log_q)
    )
    curve = q * (tsallis * root + entropy + barrier * math.exp(-log_p)) + p * complement
    return p, q, slope, curve


@njit(cache=True, error_model="numpy")
def _hybrid_logit(
    target: float, x: float, tsallis: float, entropy: float, barrier: float, complement: float
) -> float:
    """The x with φ'(p) = target, by Newton's method from x within a bracket that it halves."""
    left, right = -1400.0, 700.0  # beyond, p or 1 − p is 0
    last = right - left
    for _ in range(_BRACKETED_STEPS):
        _, _, value, curve = _hybrid_slopes(x, tsallis, entropy, barrier, complement)
        if value > target:
            right = x
        else:
            left = x
        step = (target - value) / curve
        if abs(step) <= 1e-9 * (1.0 + abs(x)):  # Newton: the next error is of its square
            return x + step
        if left < x + step < right and abs(step) < 0.5 * abs(last):
            last = step
        else:
            step = last = 0.5 * (left + right) - x
        x += step
    return x


@njit(cache=True, error_model="numpy")
def _hybrid_rows(
    z: FloatArray,
    scale: float,
    weights: tuple[float, float, float, float],
    out: FloatArray,
) -> int:
    """out[r] = argmax of ⟨scale · z[r], p⟩ − Σ φ(p).

    Returns a row that is not finite, or −1, or −2 − r for a row whose root was not found.
    """
    tsallis, entropy, barrier, complement = weights
    rows, size = z.shape
    shifted, logits = np.empty(size), np.empty(size)
    uniform = -math.log(size - 1.0)
    level = _hybrid_slopes(uniform, tsallis, entropy, barrier, complement)[2]
    for r in range(rows):
        _shift(z[r], scale, shifted)
        if not _finite(shifted):
            return r
        best = np.argmax(shifted)
        low, high = shifted.min() - level, -level  # all p >= 1/K, all p <= 1/K
        if complement == 0.0:
            low = max(low, barrier - entropy)  # where the best p is 1: −φ'(1)
        lam, last = high, high - low
        logits[:] = uniform
        excess = total = rest = 0.0
        for _ in range(_BRACKETED_STEPS):
            total = slope = curvature = 0.0  # of all but the best, whose p is 1 − q
            for k in range(size):
                target = shifted[k] - lam
                x = _hybrid_logit(target, logits[k], tsallis, entropy, barrier, complement)
                logits[k] = x
                p, q, _, curve = _hybrid_slopes(x, tsallis, entropy, barrier, complement)
                out[r, k] = p
                if k == best:
                    rest, curvature = q, p * q / curve  # 1/φ''
                else:
                    total += p
                    slope += p * q / curve
            excess = total - rest  # Σ p − 1
            if excess > 0.0:
                low = lam
            else:
                high = lam
            if abs(excess) <= 1e-14 * (total + rest):
                break
            if complement > 0.0 and total > 0.0 and rest > 0.0:  # both are exponentials of λ
                step = math.log(total / rest) / (slope / total + curvature / rest)
            else:
                step = excess / (slope + curvature)
            if abs(step) <= 1e-15 * (1.0 + abs(lam)):  # rounding
                break
            if low < lam + step < high and abs(step) < 0.5 * abs(last):
                last = step
            else:  # bisect, so that the bracket shrinks
                step = last = 0.5 * (low + high) - lam
            lam += step
        # with a complement rest is small and exact; without, it is a difference of numbers near λ
        exact = max(1e-9 * (total + rest), 1e-300) if complement > 0.0 else 1e-9
        if not abs(excess) <= exact:
            return -2 - r
        total = _sum(out[r])
        for k in range(size):
            out[r, k] /= total
    return -1


@dataclass(frozen=True)
class Hybrid(SimplexPotential):
    """A weighted sum of potentials on the simplex; at least one of the first three weights is > 0.

    tsallis (−4 Σ √p + 2) + entropy Σ p ln p − log_barrier Σ ln p + complement Σ (1−p) ln(1−p)

    `FTRLBandit(K, Hybrid(tsallis=0.25, complement=1.0), learning_rate=lambda t: t**-0.5)` is the
    algorithm of Zimmert, Luo and Wei for stochastic and adversarial bandits.

    Attributes:
        tsallis: weight of `TsallisEntropy(0.5)`.
        entropy: weight of `NegativeEntropy`.
        log_barrier: weight of `LogBarrier`.
        complement: weight of the negative entropy of 1 − p.
    """

    tsallis: float = 0.0
    entropy: float = 0.0
    log_barrier: float = 0.0
    complement: float = 0.0
    domain: ConvexSet = field(default=Simplex(), init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("tsallis", "entropy", "log_barrier", "complement"):
            checks.nonnegative(getattr(self, name), name)
        if not self.tsallis + self.entropy + self.log_barrier > 0:
            raise ValueError("one of tsallis, entropy, log_barrier must be positive, got 0 for all")

    def value(self, x: FloatArray) -> FloatArray:
        """The sum, with 0 ln 0 = 0."""
        x = _nonnegative(x)
        rest = np.maximum(1.0 - x, 0.0)
        result = self.tsallis * TsallisEntropy(0.5).value(x)
        result = result + self.entropy * NegativeEntropy().value(x)
        result = result + self.complement * NegativeEntropy().value(rest)
        if self.log_barrier:
            result = result + self.log_barrier * LogBarrier().value(x)
        return np.asarray(result)

    def gradient(self, x: FloatArray) -> FloatArray:
        """2 (1 − 1/√x), 1 + ln x, −1/x and −1 − ln(1 − x), weighted; x below 1 for the last."""
        x = _interior(x, "x")
        root = -2 * np.expm1(-0.5 * np.log(x))  # 2 (1 − 1/√x)
        result = self.tsallis * root + self.entropy * (1 + np.log(x)) - self.log_barrier / x
        if self.complement:
            _interior(1.0 - x, "1 − x")
            result = result - self.complement * (1 + np.log1p(-x))
        return np.asarray(result)

    def maximize_rows(self, z: FloatArray, scale: float, out: FloatArray) -> None:
        """Newton's method within a bracket, in λ, and in ln(p/(1 − p)) for each p."""
        if z.shape[1] == 1:
            out[:] = 1.0
            return
        weights = (self.tsallis, self.entropy, self.log_barrier, self.complement)
        row = _hybrid_rows(z, scale, tuple(map(float, weights)), out)
        if row < -1:
            raise FloatingPointError(f"replication {-2 - row}: {self} has no maximiser in float64")
        _refuse_row(row)


@dataclass(frozen=True)
class SquaredNorm(Potential):
    """ψ(x) = ½‖x‖² on a closed convex set: the simplex, a ball, a box, a polytope or ℝᵈ.

    The maximizer is the Euclidean projection of z: FTRL is lazy, mirror descent agile gradient
        descent.
    """

    domain: ConvexSet = field(default_factory=Simplex)

    def value(self, x: FloatArray) -> FloatArray:
        """½‖x‖²."""
        x = checks.array(x, "x")
        result: FloatArray = 0.5 * np.sum(x * x, axis=-1)
        return result

    def gradient(self, x: FloatArray) -> FloatArray:
        """The point x itself."""
        return checks.array(x, "x").copy()

    def maximizer(self, z: FloatArray) -> FloatArray:
        """Projection of z on the domain."""
        return self.domain.project(z)

    def bregman(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """½‖x − y‖²."""
        return self.value(checks.array(x, "x") - checks.array(y, "y"))
