"""G-optimal designs: distributions over arms that make all widths small.

For features φ_a ∈ ℝᵈ that span ℝᵈ and a distribution π, Q(π) = Σ_a π_a φ_a φ_aᵀ. By the equivalence
theorem of Kiefer and Wolfowitz the maximisers of ln det Q(π) are the minimisers of

    g(π) = max_a g_a,   g_a = ‖φ_a‖²_{Q(π)⁻¹},

and their value is exactly d. (Σ_a π_a g_a = d for every π, so that g(π) >= d.)

Frank-Wolfe with away steps: π ← (1 − s) π + s e_a, towards the arm of largest g_a or away from that
of smallest g_a within the support, whichever is further from d. On this line ln det Q is
(d − 1) ln(1 − s) + ln(1 − s + s g_a) up to a constant, and largest at

    s = (g_a − d)/(d (g_a − 1)),

but an away step ends where π_a = 0, at s = −π_a/(1 − π_a), and goes there where g_a <= 1. The
error falls linearly in the end. From the uniform distribution, about as many steps are needed as
there are arms, since each step drops one arm at most: a second for 1000 arms in dimension 20.

Features that span a subspace only are taken in coordinates of their span: d is its dimension.

References:
    Kiefer, Wolfowitz. The equivalence of two extremum problems. Canadian J. Math. 12, 1960.
    Fedorov. Theory of Optimal Experiments. Academic Press, 1972; Wynn 1970 (the step).
    Todd, Yıldırım. On Khachiyan's algorithm for the computation of minimum-volume enclosing
    ellipsoids. Discrete Applied Mathematics 155, 2007 (away steps).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...core import checks
from ...core.checks import FloatArray

if TYPE_CHECKING:
    import numpy.typing as npt


def whitening(features: FloatArray, weights: FloatArray) -> FloatArray:
    """W such that Σ_a w_a (Wᵀφ_a)(Wᵀφ_a)ᵀ = I.

    Args:
        features: (K, d), not all zero where w > 0.
        weights: w, (K,), nonnegative.

    Returns:
        W, (d, r): `features @ W` are coordinates in the span of the features with w > 0, of
        dimension r. Directions in which these are within rounding of 0 do not count.
    """
    _, sizes, basis = np.linalg.svd(np.sqrt(weights)[:, None] * features, full_matrices=False)
    kept = sizes > sizes[0] * max(features.shape) * np.finfo(np.float64).eps
    result: FloatArray = basis[kept].T / sizes[kept]
    return result


def widths(features: FloatArray, weights: FloatArray) -> FloatArray:
    """g_a = ‖φ_a‖²_{Q(π)⁻¹}, (K,), for features (K, d) whose Q(π) is positive definite."""
    factor = np.linalg.cholesky(np.einsum("a,ai,aj->ij", weights, features, features))
    solved = np.linalg.solve(factor, features.T)  # L⁻¹ φ, (d, K)
    result: FloatArray = np.einsum("ia,ia->a", solved, solved)
    return result


def line_step(width: float, dim: int, weight: float) -> float:
    """The s that makes ln det Q((1 − s) π + s e_a) largest, s >= −π_a/(1 − π_a).

    Args:
        width: g_a.
        dim: d.
        weight: π_a < 1.
    """
    if width > dim:
        return (width - dim) / (dim * (width - 1))
    end = -weight / (1 - weight)
    return max(end, (width - dim) / (dim * (width - 1))) if width > 1 else end


@dataclass(frozen=True, eq=False)
class Design:
    """A distribution over arms.

    Attributes:
        weights: π, (K,).
        value: g(π) >= d, evaluated at these weights.
        dim: d, the dimension of the span of the features.
        iterations: steps taken.
        converged: whether value <= d (1 + tolerance).
    """

    weights: FloatArray
    value: float
    dim: int
    iterations: int
    converged: bool


def g_optimal_design(
    features: npt.ArrayLike, *, tolerance: float = 1e-3, max_iterations: int = 100_000
) -> Design:
    """A distribution π with g(π) <= d (1 + tolerance).

    Args:
        features: (K, d), not all zero.
        tolerance: above 0; from 1e-12 or so on, rounding stops the descent.
        max_iterations: where to stop, with a warning and `converged` False.

    Returns:
        The design, with the value that its weights have.
    """
    given = checks.array(features, "features", shape=(None, None))
    if not given.any():
        raise ValueError("features must hold one that is not zero; there is nothing to explore")
    checks.positive(tolerance, "tolerance")
    checks.integer(max_iterations, "max_iterations", minimum=0)
    weights = np.full(len(given), 1 / len(given))
    phi = given @ whitening(given, weights)
    d = phi.shape[1]
    for iteration in range(max_iterations + 1):
        g = widths(phi, weights)
        best = int(g.argmax())
        if g[best] <= d * (1 + tolerance) or iteration == max_iterations:
            break
        worst = int(np.where(weights > 0, g, np.inf).argmin())
        arm = best if g[best] - d >= d - g[worst] else worst
        step = line_step(float(g[arm]), d, float(weights[arm]))
        weights *= 1 - step
        weights[arm] = max(weights[arm] + step, 0.0)
        if step < 0 and weights[arm] < 1e-15:  # what rounding left of a full away step
            weights[arm] = 0.0
        weights /= weights.sum()
    value = float(g[best])
    converged = value <= d * (1 + tolerance)
    if not converged:
        warnings.warn(
            f"g_optimal_design stopped after {iteration} steps at {value}, d = {d}; raise "
            "max_iterations or tolerance",
            RuntimeWarning,
            stacklevel=2,
        )
    weights.flags.writeable = False
    return Design(weights, value, d, iteration, converged)
