"""Maps from plans: where the entropic plan sends a point on average.

For costs c(x, y) = h(x − y), with potentials (f, g) between clouds x and y,

    T(x) = x − ∇h*(Σ_j w_j(x) ∇h(x − y_j)),   w_j(x) ∝ b_j exp((g_j − c(x, y_j))/ε),

defined everywhere, not only at the points given: x − ∇h*(∇f(x)) with f extended to all x. For
the squared Euclidean cost it is the mean Σ_j w_j(x) y_j.

References:
    Pooladian, Niles-Weed. Entropic estimation of optimal transport maps. 2021.
    Cuturi, Klein, Ablin. Monge, Bregman and Occam. ICML 2023 (other h).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor

from . import costs
from ._tensors import Array, require_shape, together
from .sinkhorn import SinkhornResult, sinkhorn

_CHUNK = 1 << 22  # numbers of the largest array made at once


@dataclass(frozen=True, eq=False)
class EntropicMap:
    """The map T of the module docstring.

    Attributes:
        result: the solve that it comes from.
    """

    result: SinkhornResult
    _cost: costs.TranslationCost
    _y: Tensor
    _b: Tensor

    def transport(self, points: Array) -> Any:
        """T of points (..., d), numpy or torch as the clouds were; differentiable in them."""
        arrays, origin = together(points=points, g=self.result.g)
        x = cast(Tensor, arrays["points"])
        require_shape(x, "points", (self._y.shape[-1],), f"(..., {self._y.shape[-1]})")
        g = cast(Tensor, arrays["g"]).detach()
        flat = x.reshape(-1, x.shape[-1])
        size = max(1, _CHUNK // self._y.numel())
        moved = torch.cat([self._moved(part, g) for part in flat.split(size)])
        return origin.restore(moved.reshape(x.shape))

    def _moved(self, x: Tensor, g: Tensor) -> Tensor:
        scores = (g - self._cost.between(x, self._y)) / self.result.epsilon
        w = torch.softmax(scores + torch.log(self._b), dim=-1)  # (n, m)
        if isinstance(self._cost, costs.SquaredEuclidean):
            return w @ self._y
        mean = torch.einsum("nm,nmd->nd", w, self._cost.gradient(x[:, None] - self._y))
        return x - self._cost.conjugate_gradient(mean)


def entropic_map(
    x: Array,
    y: Array,
    a: Array | None = None,
    b: Array | None = None,
    *,
    cost: str | costs.Cost = "sqeuclidean",
    epsilon: float | tuple[Literal["mean"], float] | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 20_000,
) -> EntropicMap:
    """The entropic map from x to y; `transport` takes any points.

    Args:
        x: points (n, d), numpy or torch.
        y: points (m, d).
        a: weights (n,); None: 1/n each.
        b: weights (m,) of the same mass; None: 1/m each.
        cost: one of the form h(x − y), h strictly convex.
        epsilon: as in `sinkhorn`.
        tolerance: as in `sinkhorn`.
        max_iterations: as in `sinkhorn`.

    Raises:
        ValueError: the cost determines no map.
    """
    own = costs.get(cost)
    if not isinstance(own, costs.TranslationCost):
        raise ValueError(f"cost must be of the form h(x − y), got {own}; take a TranslationCost")
    arrays, _ = together(x=x, y=y, b=b)
    points = cast(Tensor, arrays["y"]).detach()
    if points.ndim != 2:
        raise ValueError(f"y must have shape (m, d), got {tuple(points.shape)}; map one by one")
    own.conjugate_gradient(points[:1])  # raises where there is no map
    result = sinkhorn(
        x,
        y,
        a,
        b,
        cost=own,
        epsilon=epsilon,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    weights = arrays["b"]
    if weights is None:
        weights = torch.ones_like(points[:, 0])
    return EntropicMap(result, own, points, weights.detach())
