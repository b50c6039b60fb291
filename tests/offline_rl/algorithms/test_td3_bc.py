"""TD3+BC: its parts by hand, a step against separate networks, and its limit, BC."""

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fenchel.offline_rl.algorithms import BC, TD3BC, Batch
from fenchel.offline_rl.algorithms.td3_bc import policy_loss, smoothed


def started(kind: type[Any] = TD3BC, **changes: Any) -> Any:
    agent = kind(**{"hidden": (16, 16), "seed": 0, "device": "cpu"} | changes)
    agent._start(3, 2)
    return agent


def batch(seed: int, n: int = 8) -> Batch:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    continues = (torch.arange(n) % 3 != 0).float()
    return Batch(normal(n, 3), torch.tanh(normal(n, 2)), normal(n), normal(n, 3), continues)


def parameters(module: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(p, q) for p, q in zip(one, other, strict=True))


def test_noise_is_clipped_and_then_the_action() -> None:
    actions = torch.tensor([[0.0, 0.9, -0.9, 0.2]])
    noise = torch.tensor([[2.0, 0.3, -0.05, -0.7]])
    expected = torch.tensor([[0.5, 1.0, -0.95, -0.3]])
    torch.testing.assert_close(smoothed(actions, noise, 0.5), expected)


def test_gradient_of_the_policy_loss_by_hand() -> None:
    """Q linear in the action with slope w: −λ w/B + 2 (p − a)/(B d), λ = α/mean|Q|."""
    b, w = batch(0), torch.tensor([0.7, -0.3])
    actions = torch.tanh(torch.randn(8, 2)).requires_grad_()
    values = actions @ w + 0.2
    policy_loss(values, actions, b.actions, 2.5).backward()
    scale = 2.5 / values.detach().abs().mean()
    expected = -scale * w / 8 + 2 * (actions.detach() - b.actions) / (8 * 2)
    torch.testing.assert_close(actions.grad, expected)


def test_units_of_value_do_not_matter_to_the_policy() -> None:
    actions, recorded, values = torch.rand(8, 2), torch.rand(8, 2), torch.randn(8)
    torch.testing.assert_close(
        policy_loss(values, actions, recorded, 2.5),
        policy_loss(1000 * values, actions, recorded, 2.5),
    )


def test_without_value_the_policy_is_cloned() -> None:
    """α = 0: weights are those of BC after each step."""
    agent, clone = started(alpha=0.0, policy_delay=1), started(BC)
    for seed in range(5):
        agent.update(batch(seed))
        clone.update(batch(seed))
        agent.step += 1
        assert same(parameters(agent.networks["policy"]), parameters(clone.networks["policy"]))


def test_target_by_hand() -> None:
    """Neither noise nor doubt: r + γ min_j Q'_j(s', π'(s')), and r alone at terminals."""
    agent, b = started(target_noise=0.0, discount=0.9), batch(1)
    with torch.no_grad():
        a = agent.networks["policy_target"](b.next_observations)
        q = agent.networks["critics_target"](b.next_observations, a)
    expected = b.rewards + 0.9 * q.min(dim=0).values
    expected[::3] = b.rewards[::3]
    torch.testing.assert_close(agent._target(b.rewards, b.next_observations, b.continues), expected)


def test_a_critic_step_is_that_of_two_networks_with_adams_of_their_own() -> None:
    agent, b = started(target_noise=0.0, policy_delay=2, learning_rate=1e-2), batch(2)
    agent.step = 1  # no policy step
    y = agent._target(b.rewards, b.next_observations, b.continues)
    x = torch.cat([b.observations, b.actions], dim=1)
    stacked = agent.networks["critics"]
    expected = []
    for j in range(2):
        leaves = [p[j].detach().clone().requires_grad_() for p in stacked.parameters()]
        last_weight, last_bias, w1, w2, b1, b2 = leaves
        h = torch.relu(torch.relu(x @ w1 + b1) @ w2 + b2)
        loss = ((h @ last_weight[0] + last_bias - y) ** 2).mean()
        adam = torch.optim.Adam(leaves, lr=1e-2)
        loss.backward()
        adam.step()
        expected.append([leaf.detach() for leaf in leaves])
    agent.update(b)
    for parameter, *members in zip(stacked.parameters(), *expected, strict=True):
        torch.testing.assert_close(parameter.detach(), torch.stack(members), rtol=1e-4, atol=1e-5)


def test_policy_and_targets_move_at_each_second_step() -> None:
    agent = started()
    for step in range(4):
        before = {name: parameters(module) for name, module in agent.networks.items()}
        losses = agent.update(batch(step))
        agent.step += 1
        moved = {name: not same(before[name], parameters(agent.networks[name])) for name in before}
        due = step % 2 == 0
        assert moved == {
            "policy": due, "critics": True, "policy_target": due, "critics_target": due,
        }  # fmt: skip
        assert ("policy_loss" in losses) == due


def test_targets_follow_by_the_rate() -> None:
    agent = started(soft_update_rate=0.1)
    before = deepcopy(agent.networks["critics_target"])
    agent.update(batch(0))
    for new, old, source in zip(
        agent.networks["critics_target"].parameters(),
        before.parameters(),
        agent.networks["critics"].parameters(),
        strict=True,
    ):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * source)


def test_noise_of_targets_has_its_deviation() -> None:
    """Where Q'(s, a) = a_1 and π' = 0, (y − r)/γ is the noise, or the lesser of two: the same."""
    agent = started(target_noise=0.2, noise_clip=0.3, discount=1.0)
    with torch.no_grad():
        for name in ("policy_target", "critics_target"):
            for p in agent.networks[name].parameters():
                p.zero_()
        critics = agent.networks["critics_target"]
        for weight in (critics.weights[0][:, 3], critics.weights[1][:, 0]):
            weight[:, 0] = 1.0
        critics.biases[0][:, 0, 0] = 1.0  # keeps it above zero in spite of ReLU
        critics.last_weights[:, 0, 0] = 1.0
        critics.last_biases -= 1.0
    zeros = torch.zeros(20_000)
    noise = agent._target(zeros, torch.zeros(20_000, 3), zeros + 1).numpy()
    assert np.abs(noise).max() <= 0.3 + 1e-6
    inside = np.abs(noise) < 0.299
    assert abs(inside.mean() - 0.8664) < 0.01  # P(|ε| < 1.5)
    assert abs(noise.mean()) < 0.01
