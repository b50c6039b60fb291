"""Costs of moving x to y: matrices between clouds, and costs of matched pairs.

    name or class            c(x, y)
    "sqeuclidean"            ‖x − y‖²                        (no ½)
    "euclidean"              ‖x − y‖
    PNorm(p)                 ½ ‖x − y‖_p²
    PNormPower(p)            ‖x − y‖_p^p / p
    ElasticL1(λ)             ½ ‖x − y‖² + λ ‖x − y‖_1
    ElasticSTVS(λ)           ½ ‖x − y‖² + τ(x − y), whose proximal map is z (1 − λ²/z²)_+
    "cosine"                 1 − ⟨x, y⟩/(‖x‖ ‖y‖)
    "sphere"                 arccos ⟨x, y⟩, for points of norm 1

All but the last two are functions h of z = x − y; `TranslationCost` gives h, its gradient, and the
gradient of its conjugate h*(w) = max_z ⟨w, z⟩ − h(z), with which potentials become maps.

All methods take numpy arrays or tensors and return what they took; tensors are differentiable.
Where two points meet, gradients are 0.

References:
    Cuturi, Klein, Ablin. Monge, Bregman and Occam: interpretable optimal transport in high
    dimensions with feature-sparse maps. ICML 2023 (elastic costs).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor

from ..core import checks
from ._tensors import Array, require_shape, together

Pullback: TypeAlias = Callable[[Tensor], tuple[Tensor | None, Tensor | None]]


class Cost(ABC):
    """A cost c(x, y) between points of ℝᵈ."""

    def matrix(self, x: Array, y: Array) -> Any:
        """c(x_i, y_j), (..., n, m), for points x (..., n, d) and y (..., m, d)."""
        arrays, origin = together(x=x, y=y)
        one, other = arrays["x"], arrays["y"]
        assert one is not None
        assert other is not None
        require_shape(one, "x", (None, None), "(..., n, d)")
        require_shape(other, "y", (None, one.shape[-1]), f"(..., m, {one.shape[-1]}) like x")
        self.check(one, "x")
        self.check(other, "y")
        return origin.restore(self.between(one, other))

    def pairs(self, x: Array, y: Array) -> Any:
        """c(x_i, y_i), (..., n), for points x and y (..., n, d)."""
        arrays, origin = together(x=x, y=y)
        one, other = arrays["x"], arrays["y"]
        assert one is not None
        assert other is not None
        require_shape(one, "x", (None, None), "(..., n, d)")
        require_shape(other, "y", tuple(one.shape[-2:]), f"{tuple(one.shape)} like x")
        self.check(one, "x")
        self.check(other, "y")
        return origin.restore(self.matched(one, other))

    def check(self, points: Tensor, name: str) -> None:  # noqa: B027  # all points by default
        """Raise a ValueError for points that the cost is not defined at."""

    @abstractmethod
    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """`matrix` of tensors, unchecked."""

    def vjp(self, x: Tensor, y: Tensor, array: Tensor) -> tuple[Tensor, Pullback]:
        """C of points (n, d) and (m, d), without a graph, and its vector–Jacobian product.

        That is P ↦ gradients of ⟨P, C⟩ in x and in y, None where these need none.

        Args:
            x: (n, d).
            y: (m, d).
            array: (n, m), in which C may be put.
        """
        leaves = [points.detach().requires_grad_(points.requires_grad) for points in (x, y)]
        with torch.enable_grad():
            C = self.between(*leaves)

        def pullback(P: Tensor) -> tuple[Tensor | None, Tensor | None]:
            wanted = [leaf for leaf in leaves if leaf.requires_grad]
            slopes = iter(torch.autograd.grad(C, wanted, P))
            to_x, to_y = (next(slopes) if leaf.requires_grad else None for leaf in leaves)
            return to_x, to_y

        return C.detach(), pullback

    @abstractmethod
    def matched(self, x: Tensor, y: Tensor) -> Tensor:
        """`pairs` of tensors, unchecked."""


class TranslationCost(Cost):
    """c(x, y) = h(x − y), h convex."""

    def matched(self, x: Tensor, y: Tensor) -> Tensor:
        """h(x_i − y_i)."""
        return self.h(x - y)

    @abstractmethod
    def h(self, z: Tensor) -> Tensor:
        """h, (...), of displacements (..., d)."""

    @abstractmethod
    def gradient(self, z: Tensor) -> Tensor:
        """∇h, (..., d); the subgradient 0 at kinks."""

    @abstractmethod
    def conjugate_gradient(self, w: Tensor) -> Tensor:
        """∇h*, (..., d): the z that attains max ⟨w, z⟩ − h(z).

        Raises:
            ValueError: h is not strictly convex, so that there are many.
        """


def _centred_squares(
    x: Tensor, y: Tensor, out: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """x and y less the mean of y, which leaves rounding that of the clouds; ‖x_i − y_j‖² >= 0."""
    shift = y.mean(dim=-2, keepdim=True)
    x, y = x - shift, y - shift
    squares = torch.matmul(x, (-2 * y).transpose(-1, -2), out=out)
    squares += (x * x).sum(dim=-1, keepdim=True)
    squares += (y * y).sum(dim=-1)[..., None, :]
    return x, y, squares.clamp_(min=0.0)


def _pulled_squares(
    x: Tensor, y: Tensor, W: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of Σ W_ij ‖x_i − y_j‖²: 2 Σ_j W_ij (x_i − y_j), and alike for y."""
    to_x = to_y = None
    if wanted[0]:
        to_x = 2 * (W.sum(dim=-1, keepdim=True) * x - W @ y)
    if wanted[1]:
        to_y = 2 * (W.sum(dim=-2)[..., None] * y - W.transpose(-1, -2) @ x)
    return to_x, to_y


class _SquaredDistances(torch.autograd.Function):
    """‖x_i − y_j‖²."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        return _centred_squares(x, y)[2]

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, y = ctx.saved_tensors
        shift = y.mean(dim=-2, keepdim=True)
        pulled = _pulled_squares(x - shift, y - shift, outer, ctx.needs_input_grad)
        to_x, to_y = (
            None if to is None else to.sum_to_size(points.shape)
            for to, points in zip(pulled, (x, y), strict=True)
        )
        return to_x, to_y


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    return cast(Tensor, _SquaredDistances.apply(x, y))


def _distances(x: Tensor, y: Tensor, p: float) -> Tensor:
    """‖x_i − y_j‖_p from differences: exact, and with gradient 0, where points meet."""
    return torch.cdist(x, y, p=p, compute_mode="donot_use_mm_for_euclid_dist")


def _norm(z: Tensor, p: float) -> Tensor:
    """‖z‖_p over the last axis, with gradient 0 at 0."""
    size = z.detach().abs().amax(dim=-1, keepdim=True)
    scale = torch.where(size > 0, size, torch.ones_like(size))
    total = ((z / scale).abs() ** p).sum(dim=-1)
    positive = total > 0
    root = torch.where(positive, total, torch.ones_like(total)) ** (1 / p)
    return torch.where(positive, root, torch.zeros_like(total)) * scale[..., 0]


@dataclass(frozen=True)
class SquaredEuclidean(TranslationCost):
    """‖x − y‖²."""

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """As `matrix`."""
        return _squared_distances(x, y)

    def vjp(self, x: Tensor, y: Tensor, array: Tensor) -> tuple[Tensor, Pullback]:
        """In that array, and by two products."""
        wanted = x.requires_grad, y.requires_grad
        with torch.no_grad():
            x, y, C = _centred_squares(x, y, out=array)
        return C, lambda P: _pulled_squares(x, y, P, wanted)

    def h(self, z: Tensor) -> Tensor:
        """‖z‖²."""
        return (z * z).sum(dim=-1)

    def gradient(self, z: Tensor) -> Tensor:
        """2 z."""
        return 2 * z

    def conjugate_gradient(self, w: Tensor) -> Tensor:
        """w/2."""
        return w / 2


@dataclass(frozen=True)
class Euclidean(TranslationCost):
    """‖x − y‖; its gradient is 0 where x = y."""

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """As `matrix`."""
        return _distances(x, y, 2.0)

    def h(self, z: Tensor) -> Tensor:
        """‖z‖."""
        return _norm(z, 2.0)

    def gradient(self, z: Tensor) -> Tensor:
        """z/‖z‖."""
        size = self.h(z)[..., None]
        return torch.where(size > 0, z / torch.where(size > 0, size, torch.ones_like(size)), 0.0)

    def conjugate_gradient(self, w: Tensor) -> Tensor:
        """None: distances do not determine maps."""
        raise ValueError(
            "cost must be strictly convex in x − y, got Euclidean; take PNorm or PNormPower"
        )


def _exponent(p: float, *, least: float) -> None:
    checks.real(p, "p", above=least)


@dataclass(frozen=True)
class PNorm(TranslationCost):
    """½ ‖x − y‖_p².

    Args:
        p: in (1, ∞).
    """

    p: float

    def __post_init__(self) -> None:
        _exponent(self.p, least=1.0)

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """As `matrix`."""
        return 0.5 * _distances(x, y, self.p) ** 2

    def h(self, z: Tensor) -> Tensor:
        """½ ‖z‖_p²."""
        return 0.5 * _norm(z, self.p) ** 2

    def gradient(self, z: Tensor) -> Tensor:
        """sign(z) |z|^{p−1} ‖z‖_p^{2−p}."""
        return _dual_map(z, self.p)

    def conjugate_gradient(self, w: Tensor) -> Tensor:
        """The same with 1/p + 1/q = 1."""
        return _dual_map(w, self.p / (self.p - 1))


def _dual_map(z: Tensor, p: float) -> Tensor:
    """∇ ½ ‖z‖_p² = ‖z‖_p · sign(z) (|z|/‖z‖_p)^{p−1}; 0 at 0."""
    size = _norm(z, p)[..., None]
    return size * _signed_power(z / torch.where(size > 0, size, torch.ones_like(size)), p - 1)


def _signed_power(z: Tensor, exponent: float) -> Tensor:
    """sign(z) |z|^exponent, with gradient 0 at 0 even where it is infinite, for exponents < 1."""
    nonzero = z != 0
    power = torch.where(nonzero, z, torch.ones_like(z)).abs() ** exponent
    return torch.where(nonzero, torch.sign(z) * power, torch.zeros_like(z))


@dataclass(frozen=True)
class PNormPower(TranslationCost):
    """‖x − y‖_p^p / p, a sum over coordinates.

    Args:
        p: in (1, ∞).
    """

    p: float

    def __post_init__(self) -> None:
        _exponent(self.p, least=1.0)

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """As `matrix`."""
        return _distances(x, y, self.p) ** self.p / self.p

    def h(self, z: Tensor) -> Tensor:
        """Σ |z|^p/p."""
        return (z.abs() ** self.p).sum(dim=-1) / self.p

    def gradient(self, z: Tensor) -> Tensor:
        """sign(z) |z|^{p−1}."""
        return _signed_power(z, self.p - 1)

    def conjugate_gradient(self, w: Tensor) -> Tensor:
        """sign(w) |w|^{q−1}, 1/p + 1/q = 1."""
        return _signed_power(w, 1 / (self.p - 1))


@dataclass(frozen=True)
class ElasticL1(TranslationCost):
    """½ ‖x − y‖² + λ ‖x − y‖_1: maps move few coordinates.

    Args:
        strength: λ >= 0.
    """

    strength: float

    def __post_init__(self) -> None:
        checks.array(self.strength, "strength", shape=(), low=0.0)

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """As `matrix`."""
        return 0.5 * _squared_distances(x, y) + self.strength * _distances(x, y, 1.0)

    def h(self, z: Tensor) -> Tensor:
        """½ ‖z‖² + λ ‖z‖_1."""
        return 0.5 * (z * z).sum(dim=-1) + self.strength * z.abs().sum(dim=-1)

    def gradient(self, z: Tensor) -> Tensor:
        """z + λ sign(z)."""
        return z + self.strength * torch.sign(z)

    def conjugate_gradient(self, w: Tensor) -> Tensor:
        """Soft-thresholding, sign(w) max{|w| − λ, 0}."""
        return torch.sign(w) * torch.clamp(w.abs() - self.strength, min=0.0)


@dataclass(frozen=True)
class ElasticSTVS(TranslationCost):
    """½ ‖x − y‖² + τ(x − y), with less shrinkage of large displacements than `ElasticL1`.

    τ(z) = λ² Σ u + (1 − exp(−2 u))/2 with u = arsinh(|z|/(2 λ)): the penalty whose proximal map is
    soft-thresholding with vanishing shrinkage, z (1 − λ²/z²)_+.

    Args:
        strength: λ > 0.
    """

    strength: float

    def __post_init__(self) -> None:
        checks.positive(self.strength, "strength")

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """As `matrix`; coordinate by coordinate, so that no (n, m, d) array is made."""
        total = 0.5 * _squared_distances(x, y)
        for k in range(x.shape[-1]):
            total = total + self._penalty(x[..., :, None, k] - y[..., None, :, k])
        return total

    def _penalty(self, z: Tensor) -> Tensor:
        u = torch.asinh(z.abs() / (2 * self.strength))
        return self.strength**2 * (u - 0.5 * torch.expm1(-2 * u))

    def h(self, z: Tensor) -> Tensor:
        """½ ‖z‖² + τ(z)."""
        return 0.5 * (z * z).sum(dim=-1) + self._penalty(z).sum(dim=-1)

    def gradient(self, z: Tensor) -> Tensor:
        """sign(z) (|z| + √(z² + 4 λ²))/2."""
        return torch.sign(z) * (z.abs() + torch.sqrt(z * z + 4 * self.strength**2)) / 2

    def conjugate_gradient(self, w: Tensor) -> Tensor:
        """w (1 − λ²/w²)_+."""
        large = w.abs() > self.strength
        safe = torch.where(large, w, torch.ones_like(w))
        return torch.where(large, w - self.strength**2 / safe, torch.zeros_like(w))


@dataclass(frozen=True)
class Cosine(Cost):
    """1 − ⟨x, y⟩/(‖x‖ ‖y‖), in [0, 2]; points are not 0."""

    def check(self, points: Tensor, name: str) -> None:
        """Refuse points at 0, which have no direction."""
        sizes = torch.linalg.vector_norm(points.detach(), dim=-1)
        if bool((sizes == 0).any()):
            index = tuple((sizes == 0).nonzero()[0].tolist())
            raise ValueError(f"{name} must have no point at 0, got one at index {index}; remove it")

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """As `matrix`."""
        return torch.clamp(1 - _unit(x) @ _unit(y).transpose(-1, -2), min=0.0)

    def matched(self, x: Tensor, y: Tensor) -> Tensor:
        """As `pairs`."""
        return torch.clamp(1 - (_unit(x) * _unit(y)).sum(dim=-1), min=0.0)


def _unit(x: Tensor) -> Tensor:
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)


@dataclass(frozen=True)
class Sphere(Cost):
    """The length of the arc between points of norm 1, or half its square.

    ⟨x, y⟩ is kept 1e-7 (float32: 1e-6) away from ±1, where the derivative of arccos is infinite:
    arcs shorter than about 4.5e-4 (1.4e-3) count as that long, with gradient 0.

    Args:
        squared: ½ arccos² instead of arccos.
    """

    squared: bool = False

    def check(self, points: Tensor, name: str) -> None:
        """Refuse points that are not on the sphere, to 1e-4."""
        sizes = torch.linalg.vector_norm(points.detach(), dim=-1)
        off = (sizes - 1).abs() > 1e-4
        if bool(off.any()):
            index = tuple(off.nonzero()[0].tolist())
            raise ValueError(
                f"{name} must have points of norm 1, got {sizes[index].item():.6g} at index "
                f"{index}; divide by the norms"
            )

    def between(self, x: Tensor, y: Tensor) -> Tensor:
        """As `matrix`."""
        return self._arc(x @ y.transpose(-1, -2))

    def matched(self, x: Tensor, y: Tensor) -> Tensor:
        """As `pairs`."""
        return self._arc((x * y).sum(dim=-1))

    def _arc(self, products: Tensor) -> Tensor:
        margin = 1e-6 if products.dtype == torch.float32 else 1e-7
        arc = torch.arccos(torch.clamp(products, -1 + margin, 1 - margin))
        return 0.5 * arc**2 if self.squared else arc


NAMED: dict[str, Cost] = {
    "sqeuclidean": SquaredEuclidean(),
    "euclidean": Euclidean(),
    "cosine": Cosine(),
    "sphere": Sphere(),
}


def get(cost: str | Cost) -> Cost:
    """A cost by name: "sqeuclidean", "euclidean", "cosine" or "sphere"; a `Cost` is itself."""
    if isinstance(cost, Cost):
        return cost
    if cost not in NAMED:
        raise ValueError(
            f"cost must be a Cost or one of {', '.join(map(repr, NAMED))}, got {cost!r}"
        )
    return NAMED[cost]
