"""Games that draw their losses from a finite family, with replacement.

References:
    Sachs, Hadiji, van Erven, Guzmán. NeurIPS 2022, lemma 14 (`RandomCoordinate`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core import checks
from ...core.checks import FloatArray, IntArray
from ...core.quadratics import maximum_on_ball, without_rounding
from .instance import QuadraticInstance, SEAInstance, by_round, sequence
from .losses import AbsoluteResidual, SquaredResiduals
from .quantities import Quantity, SEAQuantities

if TYPE_CHECKING:
    import numpy.typing as npt


class LeastSquares(QuadraticInstance):
    """f_t(x) = ½ (⟨a_i, x⟩ − b_i)² with probability p_{t,i}, or the mean of a mini-batch of these.

    σ_t² and Σ_t² are suprema of convex quadratics over the ball, found exactly by the secular
    equation. G = max_i ‖a_i‖ (r ‖a_i‖ + |b_i|), L and λ are the extreme eigenvalues over t of
    H_t = Σ_i p_{t,i} a_i a_iᵀ, and α = 1/max_i (r ‖a_i‖ + |b_i|)². With mini-batches of K_t
    independent draws, σ_t² falls by K_t; σ̃_t² is then bounded by its value for K = 1, and `exact`
    is False.

    Args:
        features: a_1, ..., a_n, (n, d).
        targets: b_1, ..., b_n, (n,).
        weights: p, (n,), or p_1, ..., p_T, (T, n): nonnegative, rows sum to 1. None: uniform.
        batch_size: K >= 1, a number or (T,).
        radius: r > 0 of the domain.
    """

    def __init__(
        self,
        features: npt.ArrayLike,
        targets: npt.ArrayLike,
        *,
        weights: npt.ArrayLike | None = None,
        batch_size: int | npt.ArrayLike = 1,
        radius: float = 1.0,
    ) -> None:
        a = checks.array(features, "features", shape=(None, None)).copy()
        n = checks.integer(len(a), "the number of features", minimum=1)
        self.dim = checks.integer(a.shape[1], "the number of columns of features", minimum=1)
        b = checks.array(targets, "targets", shape=(n,)).copy()
        self.features, self.targets = a, b
        self.radius = checks.positive(radius, "radius")
        self._weights = _distributions(weights, n)
        sizes = np.array(batch_size)
        if sizes.dtype.kind not in "iu" or sizes.ndim > 1 or sizes.size == 0 or sizes.min() < 1:
            raise ValueError(f"batch_size must hold integers of at least 1, got {batch_size!r}")
        self._batch_sizes = sizes
        lengths = {len(x) for x, k in ((self._weights, 2), (sizes, 1)) if x.ndim == k}
        if len(lengths) > 1:
            raise ValueError(
                f"weights and batch_size must have as many rounds, got {sorted(lengths)}"
            )
        self.horizon = lengths.pop() if lengths else None
        self._cumulative = np.cumsum(np.atleast_2d(self._weights), axis=1)  # to draw from
        self._sums: FloatArray | None = None
        reach = self.radius * np.linalg.norm(a, axis=-1) + np.abs(b)
        self.gradient_bound = float((np.linalg.norm(a, axis=-1) * reach).max())
        if not self.gradient_bound > 0:
            raise ValueError("features must not all be 0, got losses that do not depend on x")
        self.exp_concavity = float(1 / reach.max() ** 2)
        rows = np.unique(np.atleast_2d(self._weights), axis=0)
        spectrum = np.linalg.eigh(self._moments(rows)[0])[0]
        eigenvalues = without_rounding(spectrum)
        self.smoothness = float(eigenvalues[:, -1].max())
        self.strong_convexity = max(float(eigenvalues[:, 0].min()), 0.0)

    def _moments(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """H = Σ p_i a_i a_iᵀ, (..., d, d), and h = Σ p_i b_i a_i, (..., d), for p (..., n)."""
        a, b = self.features, self.targets
        return np.einsum("...n,ni,nj->...ij", weights, a, a, optimize=True), (weights * b) @ a

    def _weights_of(self, t: int) -> FloatArray:
        return self._weights if self._weights.ndim == 1 else self._weights[t - 1]

    def mean(self, t: int) -> tuple[FloatArray, FloatArray]:
        """H_t and h_t."""
        return self._moments(self._weights_of(t))

    def mean_sum(self, t: int) -> tuple[FloatArray, FloatArray]:
        """Σ_{s ≤ t} H_s and Σ_{s ≤ t} h_s."""
        if self._weights.ndim == 1:
            return self._moments(t * self._weights)
        if self._sums is None:
            self._sums = np.cumsum(self._weights, axis=0)
        return self._moments(self._sums[t - 1])

    def _expected(self, x: FloatArray) -> FloatArray:
        values = x @ self.features.T  # ⟨a_i, x⟩, (R, n)
        result: FloatArray = (0.5 * values**2 - values * self.targets) @ self._weights_of(
            self._round
        )
        return result

    def _draw(self) -> SquaredResiduals:
        t = self._round - 1
        size = int(self._batch_sizes if self._batch_sizes.ndim == 0 else self._batch_sizes[t])
        cumulative = self._cumulative[t if len(self._cumulative) > 1 else 0]
        uniforms = self._rng.random((self._n_replications, size))
        picked = np.searchsorted(cumulative, uniforms * cumulative[-1], side="right")
        return SquaredResiduals(self.features[picked], self.targets[picked])

    def quantities(self, horizon: Quantity) -> SEAQuantities:
        """See the class docstring."""
        rounds = self._rounds(horizon)
        sizes = by_round(self._batch_sizes, rounds)
        family = SquaredResidualFamily(self.features, self.targets, self.radius)
        rows, which, moved = _changes(self._weights, rounds)
        Sigma2 = np.zeros(rounds)
        Sigma2[moved] = family.movement(rows[which[moved]], rows[which[moved - 1]])
        return SEAQuantities.of_rounds(
            horizon,
            family.variance(rows)[which] / sizes,
            Sigma2,
            family.variance_inside(rows)[which],
            G=self.gradient_bound,
            L=self.smoothness,
            D=2 * self.radius,
            exact=bool((sizes == 1).all()),
        )


class RandomCoordinate(LeastSquares):
    """f_t(x) = x_i²/2, i uniform in {1, ..., d}, on the unit ball (Sachs et al. 2022, lemma 14).

    σ_t² = (1/d)(1 − 1/d), attained at each unit vector, and Σ_t = 0, while the gradient variation
    E sup_x ‖∇f_t(x) − ∇f_{t−1}(x)‖² = 1 − 1/d is larger by the factor d.

    Args:
        dim: d >= 1.
    """

    def __init__(self, dim: int) -> None:
        d = checks.integer(dim, "dim", minimum=1)
        super().__init__(np.eye(d), np.zeros(d))


class LeastAbsolute(SEAInstance):
    """f_t(x) = |⟨a_i, x⟩ − b_i| with probability p_{t,i}: convex, not smooth.

    `quantities` holds upper bounds, and `exact` is False: σ_t² ≤ Σ_i p_{t,i} ‖a_i‖², Σ_t ≤
    Σ_i |p_{t,i} − p_{t−1,i}| ‖a_i‖ and σ̃_t² ≤ Σ_i p_{t,i} (‖a_i‖ + Σ_j p_{t,j} ‖a_j‖)²; the
    last is a supremum over the subgradients too, since an implicit step may land on a kink.
    G = max_i ‖a_i‖. The comparator is found by cvxpy, its value to 1e-8 G r.

    Args:
        features: a_1, ..., a_n, (n, d).
        targets: b_1, ..., b_n, (n,).
        weights: p, (n,), or p_1, ..., p_T, (T, n): nonnegative, rows sum to 1. None: uniform.
        radius: r > 0 of the domain.
    """

    smoothness = math.inf

    def __init__(
        self,
        features: npt.ArrayLike,
        targets: npt.ArrayLike,
        *,
        weights: npt.ArrayLike | None = None,
        radius: float = 1.0,
    ) -> None:
        a = checks.array(features, "features", shape=(None, None)).copy()
        n = checks.integer(len(a), "the number of features", minimum=1)
        self.dim = checks.integer(a.shape[1], "the number of columns of features", minimum=1)
        self.features, self.targets = a, checks.array(targets, "targets", shape=(n,)).copy()
        self.radius = checks.positive(radius, "radius")
        self._weights = _distributions(weights, n)
        self.horizon = len(self._weights) if self._weights.ndim == 2 else None
        self._cumulative = np.cumsum(np.atleast_2d(self._weights), axis=1)
        self.gradient_bound = float(np.linalg.norm(a, axis=-1).max())
        if not self.gradient_bound > 0:
            raise ValueError("features must not all be 0, got losses that do not depend on x")
        self._minima: dict[bytes, FloatArray] = {}

    def _weight_sum(self, t: int) -> FloatArray:
        w = self._weights
        return t * w if w.ndim == 1 else w[:t].sum(axis=0)

    def _values(self, x: FloatArray) -> FloatArray:
        """f_i(x) − f_i(0), (..., n)."""
        return np.abs(x @ self.features.T - self.targets) - np.abs(self.targets)

    def _expected(self, x: FloatArray) -> FloatArray:
        w = self._weights if self._weights.ndim == 1 else self._weights[self._round - 1]
        result: FloatArray = self._values(x) @ w
        return result

    def total(self, x: FloatArray, horizon: int) -> float:
        """Σ_{t ≤ T} F_t(x) − F_t(0) at one point x (d,)."""
        self._rounds(horizon)
        return float(self._values(x) @ self._weight_sum(horizon))

    def minimizer(self, horizon: int) -> FloatArray:
        """By cvxpy (CLARABEL), in units of G and r."""
        self._rounds(horizon)
        weights = self._weight_sum(horizon)
        weights = weights / weights.sum()
        key = np.round(weights, 12).tobytes()
        if key not in self._minima:
            import cvxpy as cp

            a = self.features / self.gradient_bound
            b = self.targets / (self.gradient_bound * self.radius)
            far = np.abs(b) >= np.linalg.norm(a, axis=-1)  # no kink in the ball: linear there
            linear = (weights * np.where(far, -np.sign(b), 0.0)) @ a
            x = cp.Variable(self.dim)
            loss = linear @ x + (weights * ~far) @ cp.abs(a @ x - np.where(far, 0.0, b))
            cp.Problem(cp.Minimize(loss), [cp.norm(x) <= 1]).solve(solver=cp.CLARABEL)
            u = np.asarray(x.value, dtype=np.float64)
            self._minima[key] = self.radius * u / max(float(np.linalg.norm(u)), 1.0)
        return self._minima[key]

    def _draw(self) -> AbsoluteResidual:
        cumulative = self._cumulative[self._round - 1 if len(self._cumulative) > 1 else 0]
        uniforms = self._rng.random(self._n_replications) * cumulative[-1]
        picked = np.searchsorted(cumulative, uniforms, side="right")
        return AbsoluteResidual(self.features[picked], self.targets[picked])

    def quantities(self, horizon: Quantity) -> SEAQuantities:
        """See the class docstring."""
        rounds = self._rounds(horizon)
        norms = np.linalg.norm(self.features, axis=-1)
        rows, which, moved = _changes(self._weights, rounds)
        Sigma2 = np.zeros(rounds)
        Sigma2[moved] = (np.abs(rows[which[moved]] - rows[which[moved - 1]]) @ norms) ** 2
        tilde = (rows * (norms + (rows @ norms)[:, None]) ** 2).sum(axis=-1)
        return SEAQuantities.of_rounds(
            horizon,
            (rows @ norms**2)[which],
            Sigma2,
            tilde[which],
            G=self.gradient_bound,
            L=self.smoothness,
            D=2 * self.radius,
            exact=False,
        )


class SquaredResidualFamily:
    """Suprema over the ball for distributions p over the losses ½ (⟨a_i, x⟩ − b_i)²."""

    def __init__(self, features: FloatArray, targets: FloatArray, radius: float) -> None:
        self.radius = radius
        self._outer = features[:, :, None] * features[:, None, :]  # a_i a_iᵀ
        self._linear = targets[:, None] * features  # b_i a_i

    def _supremum(
        self, hessians: FloatArray, linears: FloatArray, weights: FloatArray
    ) -> FloatArray:
        """max_x Σ_k w_k ‖A_k x − c_k‖², (...), for A (..., k, d, d), c (..., k, d), w (..., k)."""
        hessian = 2 * np.einsum(
            "...k,...kji,...kjl->...il", weights, hessians, hessians, optimize=True
        )
        linear = 2 * np.einsum("...k,...kji,...kj->...i", weights, hessians, linears, optimize=True)
        constant = np.einsum("...k,...kj,...kj->...", weights, linears, linears, optimize=True)
        return np.maximum(maximum_on_ball(hessian, linear, self.radius) + constant, 0.0)

    def _centred(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """a_i a_iᵀ − H and b_i a_i − h, (P, n, d, d) and (P, n, d)."""
        H = np.einsum("pn,nij->pij", weights, self._outer)
        return self._outer - H[:, None], self._linear - (weights @ self._linear)[:, None]

    def variance(self, weights: FloatArray) -> FloatArray:
        """sup_x Σ_i p_i ‖∇f_i(x) − ∇F(x)‖², (P,) for weights (P, n)."""
        return self._supremum(*self._centred(weights), weights)

    def variance_inside(self, weights: FloatArray) -> FloatArray:
        """Σ_i p_i sup_x ‖∇f_i(x) − ∇F(x)‖², (P,)."""
        hessians, linears = self._centred(weights)
        each = self._supremum(hessians[:, :, None], linears[:, :, None], np.ones((1, 1, 1)))
        result: FloatArray = (weights * each).sum(axis=-1)
        return result

    def movement(self, weights: FloatArray, previous: FloatArray) -> FloatArray:
        """sup_x ‖∇F(x) − ∇F′(x)‖², (P,), for the means of two distributions (P, n)."""
        step = weights - previous
        H = np.einsum("pn,nij->pij", step, self._outer)
        return self._supremum(H[:, None], (step @ self._linear)[:, None], np.ones((1, 1)))


def _distributions(weights: Any, n: int) -> FloatArray:
    """Distributions over n losses, (n,) or (T, n)."""
    if weights is None:
        return np.full(n, 1 / n)
    result = sequence(weights, "weights", n)
    sums = np.atleast_1d(result.sum(axis=-1))
    bad = np.flatnonzero((np.abs(sums - 1) > 1e-9) | (np.atleast_2d(result).min(axis=-1) < 0))
    if len(bad):
        raise ValueError(
            f"weights must be nonnegative and sum to 1, got {np.atleast_2d(result)[bad[0]]} in row "
            f"{bad[0]}; normalise it"
        )
    return result


def _changes(weights: FloatArray, rounds: int) -> tuple[FloatArray, IntArray, IntArray]:
    """The different rows of weights (n,) or (T, n), which one each round has, where they change."""
    if weights.ndim == 1:
        return weights[None], np.zeros(rounds, dtype=np.int64), np.zeros(0, dtype=np.int64)
    rows, which = np.unique(weights[:rounds], axis=0, return_inverse=True)
    which = which.ravel()
    return rows, which, np.flatnonzero(np.diff(which)) + 1
