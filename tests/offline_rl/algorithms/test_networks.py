"""Networks: stacked members against separate ones, densities against quadrature and torch."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from fenchel.offline_rl.algorithms.networks import (
    Values,
    bellman_target,
    descend,
    mlp,
    regression_loss,
    soft_update,
    squashed_log_prob,
    squashed_sample,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def separated(values: Values) -> list[nn.Sequential]:
    """The members as networks of their own."""
    members = []
    for j in range(len(values.last_biases)):
        inputs, widths = values.weights[0].shape[1], [w.shape[2] for w in values.weights]
        member = mlp(inputs, widths, 1).double()
        linear = [layer for layer in member if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for layer, weight, bias in zip(linear, values.weights, values.biases, strict=False):
                layer.weight.copy_(weight[j].T)
                layer.bias.copy_(bias[j, 0])
            linear[-1].weight.copy_(values.last_weights[j])
            linear[-1].bias.copy_(values.last_biases[j])
        members.append(member)
    return members


def test_stacked_critics_are_separate_networks_side_by_side() -> None:
    values = Values(2, 5, (16, 8)).double()
    s, a = (torch.randn(7, d, generator=generator(), dtype=torch.float64) for d in (3, 2))
    together = values(s, a)
    x = torch.cat([s, a], dim=1)
    for j, member in enumerate(separated(values)):
        torch.testing.assert_close(together[j], member(x)[:, 0])
    torch.testing.assert_close(values.first(s, a), together[0])


def test_gradients_of_stacked_critics_are_those_of_separate_ones() -> None:
    values = Values(2, 3, (8, 8)).double()
    x = torch.randn(6, 3, generator=generator(), dtype=torch.float64)
    targets = torch.randn(6, generator=generator(1), dtype=torch.float64)
    regression_loss(values(x), targets).backward()
    for j, member in enumerate(separated(values)):
        nn.functional.mse_loss(member(x)[:, 0], targets).backward()
        first, last = member[0], member[-1]
        torch.testing.assert_close(values.weights[0].grad[j].T, first.weight.grad)
        torch.testing.assert_close(values.biases[0].grad[j, 0], first.bias.grad)
        torch.testing.assert_close(values.last_weights.grad[j], last.weight.grad)


def test_first_weights_have_the_spread_of_linear_layers() -> None:
    weight = Values(2, 25, (400, 400)).weights[0].detach()
    assert float(weight.abs().max()) <= 1 / 5
    assert float(weight.std()) == pytest.approx(1 / 5 / math.sqrt(3), rel=0.02)  # of a uniform


def test_squashed_density_integrates_to_one() -> None:
    nodes, weights = np.polynomial.legendre.leggauss(400)
    for mean, std in ((0.0, 0.5), (0.8, 0.3), (-0.4, 0.8)):
        u = torch.atanh(torch.tensor(nodes))[:, None]
        log_prob = squashed_log_prob(u, torch.tensor([mean]), torch.tensor([math.log(std)]))
        assert weights @ torch.exp(log_prob).numpy() == pytest.approx(1.0, abs=1e-6)


def test_squashed_log_prob_is_that_of_torchs_transformed_distribution() -> None:
    mean, log_std = (torch.randn(9, 3, generator=generator(k), dtype=torch.float64) for k in (0, 1))
    noise = torch.randn(9, 3, generator=generator(2), dtype=torch.float64)
    u = mean + log_std.exp() * noise
    peer = torch.distributions.TransformedDistribution(
        torch.distributions.Normal(mean, log_std.exp()), torch.distributions.TanhTransform()
    )
    expected = peer.log_prob(torch.tanh(u)).sum(dim=-1)
    torch.testing.assert_close(squashed_log_prob(u, mean, log_std), expected, rtol=1e-6, atol=1e-6)


def test_squashed_log_prob_is_finite_far_out() -> None:
    u = torch.tensor([[30.0], [-30.0]], dtype=torch.float64)
    found = squashed_log_prob(u, u, torch.zeros_like(u))
    normal = -0.5 * math.log(2 * math.pi)
    slope = math.log(4) - 60  # 1 − tanh² u → 4 e^{−2|u|}
    torch.testing.assert_close(found, torch.full_like(found, normal - slope))


def test_squashed_samples_have_their_density() -> None:
    """E[1/p(a)] over samples is the length of the interval that they cover, 2."""
    mean, log_std = torch.zeros(1, 1), torch.zeros(1, 1)
    actions, log_prob = squashed_sample(mean, log_std, generator(), 40_000)
    assert actions.shape == (1, 40_000, 1)
    inner = (actions[0, :, 0].abs() < 0.8).double()
    weights = inner * torch.exp(-log_prob[0].double())
    error = float(weights.std()) / math.sqrt(len(weights))
    assert abs(float(weights.mean()) - 1.6) < 4 * error


def test_bellman_target_by_hand() -> None:
    r, continues = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0])
    v = torch.tensor([10.0, 20.0])
    torch.testing.assert_close(bellman_target(r, continues, v, 0.5), torch.tensor([1.0, 12.0]))


def test_soft_update_moves_by_the_rate() -> None:
    target, source = nn.Linear(3, 2), nn.Linear(3, 2)
    before = [p.detach().clone() for p in target.parameters()]
    soft_update(target, source, 0.1)
    for p, old, new in zip(target.parameters(), before, source.parameters(), strict=True):
        torch.testing.assert_close(p, 0.9 * old + 0.1 * new)


def test_a_step_leaves_other_parameters_without_gradient() -> None:
    policy, critic = nn.Linear(2, 1), nn.Linear(1, 1)
    optimiser = torch.optim.SGD(policy.parameters(), lr=0.5)
    x = torch.ones(1, 2)
    before = policy.bias.detach().clone()
    descend(optimiser, critic(policy(x)).sum())
    assert critic.weight.grad is None
    torch.testing.assert_close(policy.bias, before - 0.5 * critic.weight.detach()[0])


def test_a_step_of_parts_is_that_of_their_sum() -> None:
    once, parts = (nn.Linear(3, 1), nn.Linear(3, 1))
    parts.load_state_dict(once.state_dict())
    x = torch.randn(8, 3, generator=generator())
    descend(torch.optim.SGD(once.parameters(), lr=0.1), (once(x) ** 2).sum())
    losses = ((parts(some) ** 2).sum() for some in x.split(3))
    descend(torch.optim.SGD(parts.parameters(), lr=0.1), losses)
    torch.testing.assert_close(once.weight, parts.weight)
    torch.testing.assert_close(once.bias, parts.bias)


def test_a_long_gradient_is_shortened() -> None:
    layer = nn.Linear(1, 1, bias=False)
    optimiser = torch.optim.SGD(layer.parameters(), lr=1.0)
    before = layer.weight.item()
    descend(optimiser, 100 * layer.weight.sum(), max_norm=0.25)
    assert layer.weight.item() == pytest.approx(before - 0.25, abs=1e-5)
