"""Networks of offline agents and what is done to them.

    mlp             ℝᵈ → ℝᵐ, fully connected, ReLU between layers
    Values          n functions ℝᵈ → ℝ of such layers side by side: twin critics are one of n = 2
    squashed        a = tanh(u), u ~ N(μ, σ²), per coordinate of the action:
                    log p(a) = Σ_i log N(u_i; μ_i, σ_i²) − log(1 − tanh² u_i)

Weights and biases start uniform in ±1/√(inputs), as PyTorch's linear layers do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ...core import checks


def mlp(n_inputs: int, hidden: Sequence[int], n_outputs: int) -> nn.Sequential:
    """ℝᵈ → ℝᵐ, ReLU between layers of the hidden widths."""
    layers: list[nn.Module] = []
    for before, after in pairwise([n_inputs, *hidden]):
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], n_outputs))


def widths(hidden: Sequence[int]) -> tuple[int, ...]:
    """Hidden widths, checked."""
    checked = tuple(checks.integer(width, "hidden", minimum=1) for width in hidden)
    if not checked:
        raise ValueError(f"hidden must have at least one width, got {hidden!r}; give one")
    return checked


class Values(nn.Module):
    """n functions ℝᵈ → ℝ, each an `mlp`; layer l of all is one product of stacked matrices.

    Args:
        n_members: n.
        n_inputs: d.
        hidden: widths of the hidden layers.
    """

    def __init__(self, n_members: int, n_inputs: int, hidden: Sequence[int]) -> None:
        super().__init__()
        shapes = list(pairwise([n_inputs, *hidden]))
        self.weights = nn.ParameterList(
            _uniform((n_members, before, after), before) for before, after in shapes
        )
        self.biases = nn.ParameterList(
            _uniform((n_members, 1, after), before) for before, after in shapes
        )
        self.last_weights = _uniform((n_members, 1, hidden[-1]), hidden[-1])
        self.last_biases = _uniform((n_members, 1), hidden[-1])

    def forward(self, *inputs: Tensor) -> Tensor:
        """Values (n, B) of inputs (B, d), given in parts (B, d_1), (B, d_2), ..."""
        x = inputs[0] if len(inputs) == 1 else torch.cat(inputs, dim=-1)
        h = x.expand(len(self.last_biases), *x.shape)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            h = torch.baddbmm(bias, h, weight).relu_()
        return (h * self.last_weights).sum(dim=-1) + self.last_biases  # a bmm to width 1 is slow

    def first(self, *inputs: Tensor) -> Tensor:
        """Values (B,) of the first member alone."""
        h = torch.cat(inputs, dim=-1)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            h = torch.addmm(bias[0], h, weight[0]).relu_()
        return (h * self.last_weights[0]).sum(dim=-1) + self.last_biases[0]


def _uniform(shape: tuple[int, ...], n_inputs: int) -> nn.Parameter:
    bound = 1 / math.sqrt(n_inputs)
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def squashed_log_prob(u: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log density of a = tanh(u) (..., d) in nats, summed over the last axis, (...).

    log(1 − tanh² u) = 2 (log 2 − u − log(1 + e^{−2u})), which does not round to log 0.
    """
    z = (u - mean) * torch.exp(-log_std)
    normal = -0.5 * z * z - log_std - 0.5 * math.log(2 * math.pi)
    slope = 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))
    return (normal - slope).sum(dim=-1)


def squashed_sample(
    mean: Tensor, log_std: Tensor, generator: torch.Generator, n_samples: int | None = None
) -> tuple[Tensor, Tensor]:
    """Actions tanh(μ + σ ε) and their log densities, differentiable in μ and σ.

    Args:
        mean: μ, (B, d).
        log_std: log σ, (B, d).
        generator: of ε.
        n_samples: n actions for each row; None: one, without an axis for it.

    Returns:
        Actions (B, d) or (B, n, d), log densities (B,) or (B, n).
    """
    if n_samples is not None:
        mean, log_std = (x[:, None].expand(-1, n_samples, -1) for x in (mean, log_std))
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    u = mean + torch.exp(log_std) * noise
    return torch.tanh(u), squashed_log_prob(u, mean, log_std)


class Temperature(nn.Module):
    """T > 0, the price of entropy.

    Args:
        start: its first value.
    """

    def __init__(self, start: float = 1.0) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(start)))


def bellman_target(
    rewards: Tensor, continues: Tensor, next_values: Tensor, discount: float
) -> Tensor:
    """y = r + γ (1 − terminal) v(s'), all (B,): an episode that was cut off goes on in v."""
    return rewards + discount * continues * next_values


def regression_loss(values: Tensor, targets: Tensor) -> Tensor:
    """Σ_j mean (Q_j − y)² of values (n, B) and targets (B,)."""
    return ((values - targets) ** 2).mean(dim=-1).sum()


def adam(module: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Adam for all parameters of a module."""
    return torch.optim.Adam(module.parameters(), lr=learning_rate, fused=True)


def descend(
    optimiser: torch.optim.Optimizer,
    loss: Tensor | Iterable[Tensor],
    *,
    max_norm: float | None = None,
) -> None:
    """A step of the optimiser's parameters, without gradients for any others.

    Args:
        optimiser: of the parameters.
        loss: (), or what it is a sum of: each part is dropped before the next is asked for.
        max_norm: greatest norm of the gradient, which is shortened to it; None: as it is.
    """
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    gradients: list[Tensor] = []
    for part in (loss,) if isinstance(loss, Tensor) else loss:
        found = torch.autograd.grad(part, parameters)
        if gradients:
            torch._foreach_add_(gradients, found)
        else:
            gradients = list(found)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    if max_norm is not None:
        nn.utils.clip_grad_norm_(parameters, max_norm)
    optimiser.step()


@torch.no_grad()
def soft_update(target: nn.Module, source: nn.Module, rate: float) -> None:
    """θ' ← θ' + τ (θ − θ') for all parameters."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), rate)
