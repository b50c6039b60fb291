"""The Sinkhorn divergence: entropic transport without its bias.

    S(μ, ν) = W(μ, ν) − ½ W(μ, μ) − ½ W(ν, ν),

W the value of `sinkhorn` with one ε for the three. S >= 0 and S(μ, μ) = 0 for costs whose kernel
exp(−c/ε) is positive definite, such as the Euclidean distance and its square.

The potentials of W(μ, μ) are equal, f = g, and found by f ← ½ (f + T f), T f the soft minimum,
which at least halves the error each time, whatever ε is.

References:
    Genevay, Peyré, Cuturi. Learning generative models with Sinkhorn divergences. AISTATS 2018.
    Feydy, Séjourné, Vialard, Amari, Trouvé, Peyré. Interpolating between optimal transport and MMD
    using Sinkhorn divergences. AISTATS 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from . import costs
from ._tensors import Array
from .sinkhorn import SinkhornResult, sinkhorn, symmetric_sinkhorn


@dataclass(frozen=True, eq=False)
class DivergenceResult:
    """What `sinkhorn_divergence` found.

    Attributes:
        value: S(μ, ν); differentiable.
        xy: the solve of W(μ, ν).
        xx: that of W(μ, μ).
        yy: that of W(ν, ν); None if it was left out.
    """

    value: Any
    xy: SinkhornResult
    xx: SinkhornResult
    yy: SinkhornResult | None

    @property
    def converged(self) -> bool:
        """Whether all solves have."""
        return all(one is None or one.converged for one in (self.xy, self.xx, self.yy))


def sinkhorn_divergence(
    x: Array,
    y: Array,
    a: Array | None = None,
    b: Array | None = None,
    *,
    cost: str | costs.Cost = "sqeuclidean",
    epsilon: float | tuple[Literal["mean"], float] | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 20_000,
    chunk_size: int | None = None,
    constant_y: bool = False,
) -> DivergenceResult:
    """S between weighted clouds.

    Args:
        x: points (..., n, d), numpy or torch; leading axes are a batch.
        y: points (..., m, d).
        a: weights (..., n) of x; None: 1/n each.
        b: weights (..., m) of y, of the same mass; None: 1/m each.
        cost: a name of `costs.NAMED` or a symmetric `costs.Cost`.
        epsilon: as in `sinkhorn`; relative to the mean of c(x, y), and the same in all three terms.
        tolerance: of the marginal errors.
        max_iterations: of each solve.
        chunk_size: as in `sinkhorn`.
        constant_y: leave out W(ν, ν), which has no gradient in x: the value is then no divergence.
    """
    xy = sinkhorn(
        x,
        y,
        a,
        b,
        cost=cost,
        epsilon=epsilon,
        tolerance=tolerance,
        max_iterations=max_iterations,
        chunk_size=chunk_size,
    )

    def alone(points: Array, weights: Array | None) -> SinkhornResult:
        return symmetric_sinkhorn(
            points,
            weights,
            cost=cost,
            epsilon=xy.epsilon,
            tolerance=tolerance,
            max_iterations=max_iterations,
            chunk_size=chunk_size,
        )

    xx = alone(x, a)
    yy = None if constant_y else alone(y, b)
    value = xy.value - 0.5 * xx.value
    return DivergenceResult(value if yy is None else value - 0.5 * yy.value, xy, xx, yy)
