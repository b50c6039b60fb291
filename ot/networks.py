"""Networks for maps and potentials.

    MLP             F(x), fully connected, GELU between layers
    ResidualMap     T(x) = x + F(x)
    StructuredMap   T(x) = x − ∇h*(F(x)) for costs h(x − y), h strictly convex. An optimal map has
                    F = ∇f for a c-concave f; where F is a gradient its Jacobian is symmetric
    SphereMap       T(x) = (x + F(x))/‖x + F(x)‖, for points of norm 1
    ICNN            a convex function f(x) = ½ e^s ‖x‖² + ⟨v, x⟩ + ⟨w, z_L⟩, w >= 0, with
                    z_1 = softplus(A_0 x + c_0), z_{l+1} = softplus(W_l z_l + A_l x + c_l), W_l >= 0
                    entrywise

Maps start near the identity: the last layer of F is started a tenth as large as others.

References:
    Uscidda, Cuturi. The Monge gap. ICML 2023 (the maps).
    Amos, Xu, Kolter. Input convex neural networks. ICML 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..core import checks
from . import costs

_SMALL = 0.1  # of the last layer, at the start


class MLP(nn.Sequential):
    """ℝᵈ → ℝᵈ, GELU between layers.

    Args:
        dim: d.
        hidden: widths of the hidden layers.
    """

    def __init__(self, dim: int, hidden: Sequence[int] = (64, 64, 64)):
        widths = [checks.integer(dim, "dim", minimum=1)]
        widths += [checks.integer(width, "hidden", minimum=1) for width in hidden]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.GELU()]
        last = nn.Linear(widths[-1], dim)
        with torch.no_grad():
            last.weight *= _SMALL
            last.bias *= _SMALL
        super().__init__(*layers, last)


class ResidualMap(nn.Module):
    """T(x) = x + F(x).

    Args:
        field: F, points (n, d) to (n, d).
    """

    def __init__(self, field: nn.Module) -> None:
        super().__init__()
        self.field = field

    def forward(self, x: Tensor) -> Tensor:
        """T of points (n, d)."""
        return x + self.field(x)


class StructuredMap(nn.Module):
    """T(x) = x − ∇h*(F(x)).

    Args:
        field: F, points (n, d) to (n, d).
        cost: h.
    """

    def __init__(self, field: nn.Module, cost: costs.TranslationCost) -> None:
        super().__init__()
        self.field, self.cost = field, cost

    def forward(self, x: Tensor) -> Tensor:
        """T of points (n, d)."""
        return x - self.cost.conjugate_gradient(self.field(x))


class SphereMap(ResidualMap):
    """T(x) = (x + F(x))/‖x + F(x)‖.

    Args:
        field: F, points (n, d) to (n, d).
    """

    def forward(self, x: Tensor) -> Tensor:
        """T of points (n, d) of norm 1, of norm 1 too."""
        return nn.functional.normalize(super().forward(x), dim=-1)


def conservativity(
    field: nn.Module, x: Tensor, *, n_probes: int = 1, generator: torch.Generator | None = None
) -> Tensor:
    """Mean over the points of ‖J − Jᵀ‖_F², J the Jacobian of F: 0 if F is a gradient.

    Hutchinson's estimate: E ‖J v − Jᵀ v‖² for v ~ N(0, I), by one product with J and one with Jᵀ a
    probe; differentiable in the parameters of F.

    Args:
        field: F, which acts on each point alone, (n, d) to (n, d).
        x: points (n, d).
        n_probes: vectors v a point.
        generator: of the probes, on the device of x; None: torch's own.

    Returns:
        The estimate, ().
    """
    points = x.detach().requires_grad_()
    values = field(points)
    u = torch.zeros_like(values, requires_grad=True)
    (pulled,) = torch.autograd.grad(values, points, u, create_graph=True)  # Jᵀ u, linear in u
    total = x.new_zeros(())
    for _ in range(checks.integer(n_probes, "n_probes", minimum=1)):
        v = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        (along,) = torch.autograd.grad(pulled, u, v, create_graph=True)  # J v
        (back,) = torch.autograd.grad(values, points, v, create_graph=True)  # Jᵀ v
        total = total + ((along - back) ** 2).sum(dim=-1).mean()
    return total / n_probes


class ICNN(nn.Module):
    """f, convex on ℝᵈ, strongly with modulus e^s; its gradient starts near the identity.

    Weights that must be nonnegative are softplus of parameters.

    Args:
        dim: d.
        hidden: widths of z_1, z_2, ...
    """

    def __init__(self, dim: int, hidden: Sequence[int] = (64, 64, 64)) -> None:
        super().__init__()
        widths = [checks.integer(width, "hidden", minimum=1) for width in hidden]
        if not widths:
            raise ValueError(f"hidden must have at least one width, got {hidden!r}; give one")
        self.from_x = nn.ModuleList(nn.Linear(dim, width) for width in widths)
        self.between = nn.ParameterList(
            nn.Parameter(_inverse_softplus(1 / before) + 0.1 * torch.randn(after, before))
            for before, after in pairwise(widths)
        )
        self.last = nn.Parameter(torch.full((widths[-1],), _inverse_softplus(_SMALL / widths[-1])))
        self.strength = nn.Parameter(torch.zeros(()))
        self.shift = nn.Parameter(torch.zeros(dim))  # v: a translation of the gradient

    def forward(self, x: Tensor) -> Tensor:
        """f of points (n, d), (n,)."""
        z = nn.functional.softplus(self.from_x[0](x))
        for layer, weights in zip(self.from_x[1:], self.between, strict=True):
            z = nn.functional.softplus(z @ nn.functional.softplus(weights).T + layer(x))
        quadratic = 0.5 * torch.exp(self.strength) * (x * x).sum(dim=-1)
        return quadratic + x @ self.shift + z @ nn.functional.softplus(self.last)

    def gradient(self, x: Tensor) -> Tensor:
        """∇f of points (n, d), (n, d); differentiable in the parameters where gradients are on."""
        tracked = torch.is_grad_enabled()
        with torch.enable_grad():
            points = x if x.requires_grad else x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self(points).sum(), points, create_graph=tracked)
        return slope


def _inverse_softplus(value: float) -> float:
    return math.log(math.expm1(value))
