"""Routers of mixtures of experts: which of n experts see which of m tokens.

Tokens X ∈ ℝᵐˣᵈ come in groups; logits L = XW without bias, scores S = softmax(L) over experts. A
router chooses a dispatch D ∈ {0, 1}ᵐˣⁿ, and an expert's answer to a token counts with its gate
S_ij D_ij. W is trained through the gates; the choice itself is not differentiated through. The
kinds of router:

    sparse         T: at most C tokens an expert; D = {T > 0}
    sparse-rows    T: at most k experts a token; then the C largest T_ij > 0 of each expert
    quadratic      T: no limit; then the C largest T_ij > 0 of each expert
    sinkhorn       T = argmax ⟨T, L⟩ + H(T) (20 sweeps); the C largest T_ij of each expert
    expert-choice  the C largest S_ij of each expert
    top-k          the k largest S_ij of each token, any number of tokens an expert; noise on the
                   logits in training, two auxiliary losses

C, the capacity, is c · m/n rounded up, and then up to a multiple of 4. But for "top-k" no expert
has more tokens, by construction. T is a plan with marginals a = 1_m, b = (m/n) 1_n. That of the
first three maximises ⟨T, S⟩ − (γ/2)‖T‖² under the limit on its columns t_j (rows), roughly: Adam
takes 20 steps from 0, of length 0.01, on the convex semi-dual

    minimise  Σ_j Ω*_{b_j}(α + s_j) − α·a,   gradient T1 − a,
    t_j = ∇Ω*_b(s) = b · (projection of topk(s)/(γ b) on the simplex, −∞ outside topk),

so that columns (rows) have exact sums and at most k nonzeros, and the other marginal is met only
in part; for plans that meet both there is `sparse_plan`. "sparse-rows" is the same on Sᵀ, with b
and a exchanged.

The losses of "top-k", for gates g_ij and noise of scale σ_ij = softplus(x_i V)_j:

    importance     CV²(Σ_i g_ij), the squared coefficient of variation over experts
    load           CV²(Σ_i P_ij), P_ij the chance that fresh noise on L_ij, with the other noises
                   kept, has expert j chosen; without noise P = D

References:
    Liu, Puigcerver, Blondel. Sparsity-constrained optimal transport. ICLR 2023.
    Blondel, Seguy, Rolet. Smooth and sparse optimal transport. AISTATS 2018 ("quadratic").
    Lewis, Bhosale, Dettmers, Goyal, Zettlemoyer. BASE layers. ICML 2021, and Clark et al. Unified
    scaling laws for routed language models. ICML 2022 (balance by assignment and by "sinkhorn").
    Zhou et al. Mixture-of-experts with expert choice routing. NeurIPS 2022.
    Shazeer et al. Outrageously large neural networks: the sparsely-gated mixture-of-experts layer.
    ICLR 2017 ("top-k").
    Riquelme et al. Scaling vision with sparse mixture of experts. NeurIPS 2021 (the gates).
Differs from Clark et al.: after Sinkhorn, experts choose among tokens instead of tokens among
experts. Differs from Shazeer et al.: gates are scores over all experts, not normalised again over
the k chosen, as in Riquelme et al., so that k = 1 can be trained; W does not start at 0, where all
choices tie; there is one mean over groups. Differs from Liu et al.: see `ascend`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from ..core import checks

Kind: TypeAlias = Literal[
    "sparse", "sparse-rows", "quadratic", "sinkhorn", "top-k", "expert-choice"
]
KINDS: tuple[str, ...] = get_args(Kind)
_CHOOSING_TOKENS = ("sparse-rows", "top-k")  # kinds in which tokens choose k experts
_FIRST, _SECOND, _TINY = 0.9, 0.999, 1e-8  # Adam's usual constants


# --------------------------------------------------------------------------------- the plans


def topk_simplex(points: Tensor, k: int) -> Tensor:
    """Euclidean projection on the points of the simplex with at most k nonzeros.

    With u_1 >= ... >= u_k the largest entries of x,

        ρ = max {r : r u_r > Σ_{i<=r} u_i − 1},   τ = (Σ_{i<=ρ} u_i − 1)/ρ,   p = (u − τ)_+.

    Nothing is checked and nothing waits for the device, as in a training loop; the public function
    of this projection is that of `fenchel.ot.sparse`.

    Args:
        points: x, (..., m), finite.
        k: 1 <= k <= m. Only the k largest entries are sorted.

    Returns:
        p, (..., m): nonnegative, of sum one, at most k nonzeros; at ties one of the projections.
    """
    values, places = torch.topk(points, k, dim=-1)
    values = values - values[..., :1]  # p does not change; sums lose less
    sums = values.cumsum(dim=-1) - 1
    ranks = torch.arange(1, k + 1, dtype=points.dtype, device=points.device)
    used = (ranks * values > sums).sum(dim=-1, keepdim=True)  # ρ >= 1: 0 > −1
    tau = sums.gather(-1, used - 1) / used
    return torch.zeros_like(points).scatter(-1, places, torch.clamp(values - tau, min=0.0))


def semi_dual_plan(alpha: Tensor, scores: Tensor, b: Tensor, *, k: int, gamma: float) -> Tensor:
    """T with columns t_j = ∇Ω*_{b_j}(α + s_j), the best for α.

    Args:
        alpha: α, (..., m), finite.
        scores: S = −C, (..., m, n), finite.
        b: masses of columns, (n,) or (..., n), positive.
        k: nonzeros allowed in a column, 1 <= k <= m.
        gamma: γ > 0.

    Returns:
        T, (..., m, n): t_j maximises (α + s_j)·t − (γ/2)‖t‖² over t >= 0 with sum b_j and at most
        k nonzeros. The sums are exact up to rounding whatever α is.
    """
    points = (alpha[..., None, :] + scores.transpose(-1, -2)) / (gamma * b[..., None])
    return (b[..., None] * topk_simplex(points, k)).transpose(-1, -2)  # from (..., n, m)


def semi_dual(
    alpha: Tensor, scores: Tensor, a: Tensor, b: Tensor, *, k: int, gamma: float
) -> tuple[Tensor, Tensor]:
    """D(α) = α·a − Σ_j Ω*_{b_j}(α + s_j), concave, and its gradient a − T1.

    Arguments are those of `semi_dual_plan`, and masses a of the rows, (m,) or (..., m), of the sum
    of b, whatever it is: then D(α + c) = D(α).

    Returns:
        D, (...), a lower bound on ⟨T, −S⟩ + (γ/2)‖T‖² for all plans T with marginals a and b and at
        most k nonzeros a column; and its gradient, (..., m): at ties one of the supergradients.
    """
    T = semi_dual_plan(alpha, scores, b, k=k, gamma=gamma)
    gained = ((alpha[..., None] + scores) * T - gamma / 2 * T * T).sum(dim=(-1, -2))
    return (alpha * a).sum(dim=-1) - gained, a - T.sum(dim=-1)


def ascend(
    scores: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    k: int,
    gamma: float = 1.0,
    iterations: int = 20,
    learning_rate: float = 1e-2,
) -> Tensor:
    """α after steps of Adam on the semi-dual from 0; nothing is differentiable.

    Rows met to half the digits have gradient 0. Else Adam, which normalises, would take whole steps
    from rounding errors: α = 0 is often optimal for k = m, as rows of scores sum to one. Where rows
    are nearly met, it still multiplies rounding errors by about 5 a step: α is then determined to
    `learning_rate` only, and so is the dispatch of "quadratic".

    Arguments are those of `semi_dual`, the number of steps and their length. Problems of a batch
    do not see each other.

    Returns:
        α, (..., m), each coordinate within about `iterations` · `learning_rate` of 0. How far the
        row sums of its plan are off is not controlled.
    """
    scores, a, b = scores.detach(), a.detach(), b.detach()
    met = math.sqrt(torch.finfo(scores.dtype).eps) * a
    with torch.no_grad():
        alpha, mean, square = (torch.zeros_like(scores[..., 0]) for _ in range(3))
        for t in range(1, iterations + 1):
            gradient = a - semi_dual_plan(alpha, scores, b, k=k, gamma=gamma).sum(dim=-1)
            gradient = torch.where(gradient.abs() > met, gradient, 0.0)
            mean.lerp_(gradient, 1 - _FIRST)
            square.lerp_(gradient * gradient, 1 - _SECOND)
            scale = torch.sqrt(square / (1 - _SECOND**t)) + _TINY
            alpha.addcdiv_(mean, scale, value=learning_rate / (1 - _FIRST**t))
        return alpha


def sinkhorn_plan(logits: Tensor, a: Tensor, b: Tensor, *, iterations: int = 20) -> Tensor:
    """T = argmax ⟨T, L⟩ + H(T), roughly, by sweeps of Sinkhorn; nothing is differentiable.

    From g = 0, a sweep is f ← log a − log Σ_j exp(L + g), then g ← log b − log Σ_i exp(L + f).

    Args:
        logits: L, (..., m, n), finite.
        a: masses of rows, (m,) or (..., m), positive.
        b: masses of columns, (n,) or (..., n), positive, of the same sum.
        iterations: sweeps.

    Returns:
        T = exp(f_i + L_ij + g_j), (..., m, n), with exact column sums.
    """
    L = logits.detach()
    g = torch.zeros_like(L[..., 0, :])
    for _ in range(iterations):
        f = a.log() - torch.logsumexp(L + g[..., None, :], dim=-1)
        g = b.log() - torch.logsumexp(L + f[..., None], dim=-2)
    return torch.exp(f[..., None] + L + g[..., None, :])


def _largest(values: Tensor, k: int, dim: int) -> Tensor:
    """Where the k largest positive entries along an axis are."""
    places = torch.topk(values, k, dim=dim).indices
    chosen = torch.zeros_like(values, dtype=torch.bool).scatter(dim, places, True)
    return chosen & (values > 0)


# -------------------------------------------------------------------------------- the router


@dataclass(frozen=True, eq=False)
class Routing:
    """What a router has chosen, for G groups of m tokens and n experts.

    Attributes:
        gates: weights of the experts' answers, (G, m, n), in [0, 1], 0 outside the dispatch; they
            need not sum to one. Differentiable in the router's parameters and in the tokens.
        dispatch: which experts see which tokens, (G, m, n), bool.
        plan: what the dispatch was chosen from, (G, m, n), detached: masses T of a plan, in units
            of tokens; scores, with "top-k" those of noisy logits, where no plan is made.
        auxiliary_loss: a scalar to add to the loss, with a weight: importance and load, each weight
            1, the mean over groups; 0 for all kinds but "top-k".
    """

    gates: Tensor
    dispatch: Tensor
    plan: Tensor
    auxiliary_loss: Tensor

    @property
    def load(self) -> Tensor:
        """Tokens seen by each expert, (G, n), integers."""
        return self.dispatch.sum(dim=-2)

    @property
    def dropped(self) -> Tensor:
        """Share of tokens that no expert sees, a scalar in [0, 1]."""
        return (~self.dispatch.any(dim=-1)).to(self.gates.dtype).mean()


class Router(torch.nn.Module):
    """Chooses experts for groups of tokens; see the module docstring.

    Args:
        width: d, numbers a token.
        n_experts: n >= 1.
        kind: of the router, one of `KINDS`.
        generator: draws W ~ N(0, 1/d); a generator of the CPU.
        capacity_factor: c > 0, places for each token: n C >= c m.
        k: experts a token chooses, 1 <= k <= n_experts; of "sparse-rows" and "top-k" only. c should
            be at least k for them to have room.
        iterations: steps of Adam, sweeps of Sinkhorn, at least 1.
        learning_rate: of these steps of Adam, > 0.
        gamma: γ > 0 of the quadratic term. It compares with scores, in [0, 1], as γ m/n does where
            columns are experts, as γ where they are tokens.

    Attributes:
        weight: W, (d, n).
        noise_weight: V, (d, n), from 0, of "top-k"; else None.

    Raises:
        TypeError, ValueError: an argument is out of range; the message says which and what to do.
    """

    def __init__(
        self,
        width: int,
        n_experts: int,
        *,
        kind: Kind,
        generator: torch.Generator,
        capacity_factor: float = 1.0,
        k: int = 1,
        iterations: int = 20,
        learning_rate: float = 1e-2,
        gamma: float = 1.0,
    ) -> None:
        super().__init__()
        self.width = checks.integer(width, "width", minimum=1)
        self.n_experts = checks.integer(n_experts, "n_experts", minimum=1)
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}; choose one")
        if not isinstance(generator, torch.Generator):
            raise TypeError(
                f"generator must be a torch.Generator, got {generator!r:.80}; "
                "pass torch.Generator().manual_seed(seed)"
            )
        self.kind = kind
        self.capacity_factor = checks.positive(capacity_factor, "capacity_factor")
        self.k = checks.integer(k, "k", minimum=1)
        if self.k > self.n_experts:
            raise ValueError(
                f"k must be at most n_experts, {self.n_experts}, got {k}; choose fewer experts"
            )
        self.iterations = checks.integer(iterations, "iterations", minimum=1)
        self.learning_rate = checks.positive(learning_rate, "learning_rate")
        self.gamma = checks.positive(gamma, "gamma")
        drawn = torch.randn(self.width, self.n_experts, generator=generator)
        self.weight = torch.nn.Parameter(drawn / math.sqrt(self.width))
        self.noise_weight = None
        if kind == "top-k":
            self.noise_weight = torch.nn.Parameter(torch.zeros_like(drawn))

    def capacity(self, n_tokens: int) -> int:
        """C, the most tokens of m that one expert sees, c m/n rounded up to a multiple of 4.

        It does not bind "top-k". Where C > m, m is the limit.
        """
        places = math.ceil(self.capacity_factor * n_tokens / self.n_experts - 1e-9)  # 1.1 · 10 = 11
        return 4 * math.ceil(places / 4)

    def forward(self, tokens: Tensor, generator: torch.Generator | None = None) -> Routing:
        """Route each group on its own.

        Args:
            tokens: X, (G, m, d), of the dtype and on the device of W.
            generator: draws the noise of "top-k" in training, which needs one; else unused.

        Returns:
            The routing of each group. In evaluation mode "top-k" has no noise.

        Raises:
            ValueError: shape or dtype do not fit, logits are not finite, or the generator is
                missing.
            TypeError: tokens are no tensor.
        """
        self._check(tokens, generator)
        logits = tokens @ self.weight  # (G, m, n)
        if not bool(torch.isfinite(logits.detach()).all()):
            raise ValueError(
                "logits must be finite, got inf or nan; clean the tokens or lower the learning "
                "rate of the weights"
            )
        if self.kind == "top-k":
            return self._topk(tokens, logits, generator)
        scores = torch.softmax(logits, dim=-1)
        plan = self._plan(logits.detach(), scores.detach())
        dispatch = _largest(plan, min(self.capacity(tokens.shape[1]), tokens.shape[1]), dim=-2)
        return Routing(scores * dispatch, dispatch, plan, scores.new_zeros(()))

    def _check(self, tokens: Tensor, generator: torch.Generator | None) -> None:
        if not isinstance(tokens, Tensor):
            raise TypeError(f"tokens must be a torch tensor, got {type(tokens).__name__}; convert")
        if tokens.ndim != 3 or tokens.shape[-1] != self.width or 0 in tokens.shape:
            raise ValueError(
                f"tokens must have shape (groups, tokens, {self.width}), none of them 0, got "
                f"{tuple(tokens.shape)}; reshape them"
            )
        if tokens.dtype != self.weight.dtype:
            raise ValueError(
                f"tokens must have the dtype of the router, {self.weight.dtype}, got "
                f"{tokens.dtype}; convert one of them"
            )
        if self.kind == "top-k" and self.training and generator is None:
            raise ValueError(
                "generator must be given for the noise of 'top-k' in training, got None; pass a "
                "torch.Generator, or call eval()"
            )

    def _plan(self, logits: Tensor, scores: Tensor) -> Tensor:
        """What experts choose tokens from, (G, m, n)."""
        m, n = logits.shape[1:]
        if self.kind == "expert-choice":
            return scores
        a, b = logits.new_ones(m), logits.new_full((n,), m / n)
        if self.kind == "sinkhorn":
            return sinkhorn_plan(logits, a, b, iterations=self.iterations)
        if self.kind == "sparse-rows":
            return self._transport(scores.mT, b, a, self.k).mT
        limit = min(self.capacity(m), m) if self.kind == "sparse" else m
        return self._transport(scores, a, b, limit)

    def _transport(self, scores: Tensor, a: Tensor, b: Tensor, k: int) -> Tensor:
        alpha = ascend(
            scores,
            a,
            b,
            k=k,
            gamma=self.gamma,
            iterations=self.iterations,
            learning_rate=self.learning_rate,
        )
        return semi_dual_plan(alpha, scores, b, k=k, gamma=self.gamma)

    def _topk(self, tokens: Tensor, logits: Tensor, generator: torch.Generator | None) -> Routing:
        scale, noisy = None, logits
        if self.training:
            assert generator is not None
            scale = torch.nn.functional.softplus(tokens @ self.noise_weight)
            noise = torch.randn(
                logits.shape, generator=generator, dtype=logits.dtype, device=generator.device
            )
            noisy = logits + scale * noise.to(logits.device)
        scores = torch.softmax(noisy, dim=-1)
        places = torch.topk(noisy.detach(), self.k, dim=-1).indices
        dispatch = torch.zeros_like(noisy, dtype=torch.bool).scatter(-1, places, True)
        gates = scores * dispatch
        chances = dispatch.to(gates.dtype)
        if scale is not None and self.k < self.n_experts:
            chances = chance_of_choice(logits, noisy, scale, self.k)
        loss = squared_variation(gates.sum(dim=-2)) + squared_variation(chances.sum(dim=-2))
        return Routing(gates, dispatch, scores.detach(), loss.mean())

    def extra_repr(self) -> str:
        """What `print` shows."""
        return (
            f"width={self.width}, n_experts={self.n_experts}, kind={self.kind!r}, "
            f"capacity_factor={self.capacity_factor:g}, k={self.k}"
        )


def chance_of_choice(logits: Tensor, noisy: Tensor, scale: Tensor, k: int) -> Tensor:
    """P_ij = Φ((L_ij − the k-th largest H_il, l ≠ j)/σ_ij), differentiable.

    Args:
        logits: L, (..., n).
        noisy: H = L + σ · noise, (..., n).
        scale: σ > 0, (..., n).
        k: experts chosen, 1 <= k < n.

    Returns:
        (..., n), in [0, 1]: the chance that expert j is among the k largest when its noise is drawn
        anew and the others' are kept (Shazeer et al. 2017, equation 9).
    """
    values = torch.topk(noisy, k + 1, dim=-1).values
    inside, outside = values[..., k : k + 1], values[..., k - 1 : k]
    others = torch.where(noisy > inside, inside, outside)  # without j, if j is among the k
    return torch.special.ndtr((logits - others) / scale)


def squared_variation(values: Tensor) -> Tensor:
    """CV² = variance/mean² of nonnegative values, over the last axis; 0 where all are 0."""
    mean = values.mean(dim=-1)
    variance = values.var(dim=-1, unbiased=False)
    return variance / torch.clamp(mean * mean, min=torch.finfo(values.dtype).tiny)
