"""The Monge gap: how far a map is from moving its points optimally.

For a map T, a cost c and a reference measure ρ,

    M(T) = ∫ c(x, T(x)) dρ(x) − W_c(ρ, T♯ρ) >= 0,

0 exactly if T is an optimal map from ρ to T♯ρ. On points x_i of weights a_i it is the excess of
Σ_i a_i c(x_i, T(x_i)) over the value of the best plan between the x_i and the T(x_i), with cost
matrix C_ij = c(x_i, T(x_j)). Kinds differ in that value:

    "exact"        ⟨P, C⟩ for an optimal plan P                          gap_0 >= 0
    "entropic"     ⟨P_ε, C⟩ − ε H(P_ε), H(P) = −Σ P log P                gap_ent
    "kl"           ⟨P_ε, C⟩ + ε KL(P_ε ‖ a aᵀ)                           gap_kl
    "transport"    ⟨P_ε, C⟩                                              gap_tr
    "debiased"     the Sinkhorn divergence between the x_i and the T(x_i)

with P_ε the plan of "kl", which is that of "entropic". For weights of sum 1,

    gap_ent = gap_kl + 2 ε H(a),   gap_kl <= gap_tr <= gap_0 <= gap_ent − ε H(a),

H(a) = log n for n equal weights. So "entropic", the authors' choice, never falls below ε H(a), not
even for an optimal map; "kl" may be negative; both have the same gradient. Values for different n
or ε cannot be compared. "debiased" subtracts a divergence that vanishes where T(x) = x, and is not
bounded below by 0 either.

As ρ̂ is a sample, the gap of a sample is also biased for that of ρ: the mean of W over samples is
larger than W, so the gap is on average smaller than that of ρ. Keep n fixed in comparisons.

References:
    Uscidda, Cuturi. The Monge gap: a regularizer to learn all transport maps. ICML 2023.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, cast, get_args

import torch
from torch import Tensor

from . import costs
from ._tensors import Array, require_shape, together, weights
from .divergences import sinkhorn_divergence
from .exact import exact_plan
from .sinkhorn import sinkhorn

Kind: TypeAlias = Literal["entropic", "kl", "transport", "exact", "debiased"]
_KINDS = get_args(Kind)


def monge_gap(
    x: Array,
    mapped: Array,
    *,
    cost: str | costs.Cost = "sqeuclidean",
    epsilon: float | tuple[Literal["mean"], float] | None = None,
    kind: Kind = "entropic",
    reference: Array | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 20_000,
) -> Any:
    """The gap of a map that sends x_i to mapped_i; see the module docstring.

    Differentiable in both for tensors: by the envelope theorem, without unrolling, and for
    "transport" implicitly. ε is held constant.

    Args:
        x: points (..., n, d), numpy or torch, float32 or float64; leading axes are a batch.
        mapped: T(x_i), (..., n, d).
        cost: c, a name of `costs.NAMED` or a `costs.Cost`.
        epsilon: ε > 0; ("mean", r): r times the mean of C; None: ("mean", 0.05). Unused by
            kind="exact".
        kind: which value of transport is subtracted.
        reference: weights of ρ on the points, (..., n), of any positive mass; None: 1/n each.
        tolerance: of the marginal errors of entropic plans.
        max_iterations: of their solves.

    Returns:
        The gap: a float for numpy arrays without a batch, else (...).

    Raises:
        TypeError, ValueError: an argument is out of range; says which and what to do.
    """
    if kind not in _KINDS:
        raise ValueError(f"kind must be one of {_KINDS}, got {kind!r}")
    own = costs.get(cost)
    arrays, origin = together(x=x, mapped=mapped, reference=reference)
    points, images = cast(Tensor, arrays["x"]), cast(Tensor, arrays["mapped"])
    require_shape(points, "x", (None, None), "(..., n, d)")
    if images.shape != points.shape:
        raise ValueError(
            f"mapped must have the shape {tuple(points.shape)} of x, got {tuple(images.shape)}; "
            "pass the images of the same points"
        )
    own.check(points, "x")
    own.check(images, "mapped")
    a = weights(arrays["reference"], "reference", points, points.shape[-2])
    moved = (a * own.matched(points, images)).sum(dim=-1)
    settings: dict[str, Any] = {"tolerance": tolerance, "max_iterations": max_iterations}
    if kind == "exact":
        least = _exact(points, images, a, own)
    elif kind == "debiased":
        least = sinkhorn_divergence(
            points, images, a, a, cost=own, epsilon=epsilon, **settings
        ).value
    else:
        result = sinkhorn(
            points,
            images,
            a,
            a,
            cost=own,
            epsilon=epsilon,
            differentiate="plan" if kind == "transport" else "value",
            **settings,
        )
        values = {"entropic": "value_entropy", "kl": "value", "transport": "value_transport"}
        least = getattr(result, values[kind])
    gap = moved - least
    if not origin.is_numpy:
        return gap
    return float(gap) if gap.ndim == 0 else origin.restore(gap)


def _exact(points: Tensor, images: Tensor, a: Tensor, cost: costs.Cost) -> Tensor:
    """Values of optimal plans, which are constant for the gradient."""
    C = cost.between(points, images)
    n = C.shape[-1]
    flat, masses = C.detach().reshape(-1, n, n), a.detach().reshape(-1, n)
    plans = [torch.as_tensor(exact_plan(c, w, w).plan) for c, w in zip(flat, masses, strict=True)]
    return (torch.stack(plans).reshape(C.shape) * C).sum(dim=(-2, -1))
