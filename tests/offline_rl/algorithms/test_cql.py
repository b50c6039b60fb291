"""CQL: the estimate of log ∫ exp Q, and its limit, soft actor-critic."""

import math
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch

from fenchel.offline_rl.algorithms import CQL, Batch
from fenchel.offline_rl.algorithms.cql import importance_logsumexp
from fenchel.offline_rl.algorithms.networks import adam, descend, squashed_sample


def started(**changes: Any) -> CQL:
    setting: dict[str, Any] = {"hidden": (16, 16), "n_sampled_actions": 3, "seed": 0}
    agent = CQL(**setting | {"device": "cpu"} | changes)
    agent._start(3, 2)
    return agent


def batch(seed: int = 0, n: int = 9) -> Batch:
    g = torch.Generator().manual_seed(seed)
    s, s_next, a = (torch.randn(n, d, generator=g) for d in (3, 3, 2))
    continues = (torch.arange(n) % 3 != 0).float()
    return Batch(s, torch.tanh(a), torch.randn(n, generator=g), s_next, continues)


def copied(generator: torch.Generator) -> torch.Generator:
    other = torch.Generator()
    other.set_state(generator.get_state())
    return other


def test_of_a_constant_the_integral_is_known() -> None:
    """log ∫ exp c da over [−1, 1]^d is c + d log 2, exactly, from uniform samples."""
    values, d = torch.full((4, 7), 1.5), 3
    found = importance_logsumexp(values, torch.full((4, 7), -d * math.log(2)))
    torch.testing.assert_close(found, torch.full((4,), 1.5 + d * math.log(2)))


def test_the_estimate_is_the_integral() -> None:
    """Q(a) = 2a over [−1, 1]: log sinh 2, from actions of all kinds."""
    agent = started(n_sampled_actions=20_000)
    pair = torch.tensor([[0.3]]), torch.tensor([[-0.2]])
    other = torch.tensor([[-0.5]]), torch.tensor([[0.0]])
    actions, log_densities = agent._propose(pair, other)
    estimate = importance_logsumexp(2 * actions[..., 0], log_densities).item()
    assert estimate == pytest.approx(math.log(math.sinh(2)), abs=0.05)


def test_proposals_are_of_three_kinds_with_their_densities() -> None:
    agent, n = started(), 3
    means, stds = torch.randn(5, 2), 0.3 + torch.rand(5, 2)
    next_means, next_stds = torch.randn(5, 2), 0.3 + torch.rand(5, 2)
    actions, log_densities = agent._propose(
        (means, torch.log(stds)), (next_means, torch.log(next_stds))
    )
    assert actions.shape == (5, 3 * n, 2)
    torch.testing.assert_close(log_densities[:, :n], torch.full((5, n), -2 * math.log(2)))
    for k, (mean, std) in enumerate([(means, stds), (next_means, next_stds)], start=1):
        peer = torch.distributions.TransformedDistribution(
            torch.distributions.Normal(mean[:, None], std[:, None]),
            torch.distributions.TanhTransform(),
        )
        part = slice(k * n, (k + 1) * n)
        expected = peer.log_prob(actions[:, part]).sum(dim=-1)
        torch.testing.assert_close(log_densities[:, part], expected, rtol=1e-3, atol=1e-3)


def test_without_weight_a_step_is_soft_actor_critic_without_bonus() -> None:
    """Policy, temperature and critics, from the networks before the step."""
    agent, b = started(min_q_weight=0.0, learning_rate=1e-2, policy_learning_rate=1e-3), batch()
    before, generator = deepcopy(agent.networks), copied(agent.generator)
    agent.update(b)

    policy, critics = before["policy"], before["critics"]
    actions, log_prob = squashed_sample(*policy(b.observations), generator)
    with torch.no_grad():
        next_actions, _ = squashed_sample(*policy(b.next_observations), generator)
        q = before["critics_target"](b.next_observations, next_actions).min(dim=0).values
        y = b.rewards + 0.99 * b.continues * q
    errors = critics(b.observations, b.actions) - y
    losses = {
        "policy": (log_prob - critics(b.observations, actions).min(dim=0).values).mean(),  # T = 1
        "critics": (errors[0] ** 2).mean() + (errors[1] ** 2).mean(),
        "temperature": -before["temperature"].log * (log_prob.detach() - 2).mean(),
    }
    for name, loss in losses.items():
        descend(adam(before[name], 1e-3 if name == "policy" else 1e-2), loss)
        for p, q in zip(agent.networks[name].parameters(), before[name].parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_parts_of_a_batch_add_up_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """9 states at once, and in parts of 2, the last of 1."""
    once, parts = started(), started()
    metrics = once.update(batch())
    monkeypatch.setattr("fenchel.offline_rl.algorithms.cql._AT_ONCE", 18)  # 9 proposals a state
    found = parts.update(batch())
    for name, value in metrics.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    for one, two in zip(once.networks.parameters(), parts.networks.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_the_weight_lowers_values_of_other_actions() -> None:
    """Where all actions recorded are ½, log ∫ exp Q − Q(½) falls below log of the volume."""
    gaps = {}
    for weight in (0.0, 5.0):
        agent = started(min_q_weight=weight, learning_rate=3e-3)
        for step in range(100):
            b = batch(step % 5)
            b = b._replace(actions=torch.full_like(b.actions, 0.5))
            gap = agent.update(b)["conservative_gap"]
        gaps[weight] = float(gap) / 2  # critics
    assert gaps[5.0] < 0 < gaps[0.0]


def test_the_deviation_starts_at_one_over_e() -> None:
    """Raw outputs start near 0, and log σ = raw − 1."""
    agent = started(hidden=(64, 64))
    _, log_std = agent.networks["policy"](batch().observations)
    assert np.abs(log_std.detach().numpy() + 1).max() < 0.5
