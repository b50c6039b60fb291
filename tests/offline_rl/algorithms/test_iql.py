"""IQL: expectiles in closed form, weights, the order of a step."""

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from fenchel.offline_rl.algorithms import IQL, Batch
from fenchel.offline_rl.algorithms.iql import (
    GaussianPolicy,
    advantage_weights,
    expectile_loss,
)
from fenchel.offline_rl.algorithms.networks import adam, descend, regression_loss
from fenchel.offline_rl.datasets import OfflineDataset


def minimiser(sample: Tensor, expectile: float) -> float:
    def loss(v: float) -> float:
        return float(expectile_loss(sample - v, expectile))

    found = minimize_scalar(loss, bracket=(-1.0, 1.0), options={"xtol": 1e-12})
    return float(found.x)


@pytest.mark.parametrize("expectile", [0.2, 0.5, 0.7, 0.95])
def test_the_minimiser_is_the_expectile(expectile: float) -> None:
    """Of p at 1 and 1 − p at 0: τ p/(τ p + (1 − τ)(1 − p)); in general a fixed point."""
    coin = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    p = 0.4
    expected = expectile * p / (expectile * p + (1 - expectile) * (1 - p))
    assert minimiser(coin, expectile) == pytest.approx(expected, abs=1e-6)

    sample = torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = minimiser(sample, expectile)
    weights = torch.where(sample < v, 1 - expectile, expectile)
    assert v == pytest.approx(float((weights * sample).sum() / weights.sum()), abs=1e-6)
    if expectile == 0.5:
        assert v == pytest.approx(float(sample.mean()), abs=1e-6)


def test_expectiles_rise_to_the_greatest() -> None:
    sample = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    found = [minimiser(sample, expectile) for expectile in (0.5, 0.9, 0.99, 0.9999)]
    assert found == sorted(found)
    assert 3 - found[-1] < 1e-3


def test_weights_are_bounded_and_have_no_gradient() -> None:
    advantages = torch.tensor([-100.0, 0.0, 0.5, 100.0], requires_grad=True)
    weights = advantage_weights(advantages, 2.0, 100.0)
    torch.testing.assert_close(weights, torch.tensor([0.0, 1.0, np.e, 100.0]).float())
    assert not weights.requires_grad


def test_log_prob_is_that_of_independent_normals() -> None:
    policy = GaussianPolicy(3, (8,), 2)
    with torch.no_grad():
        policy.raw_log_std.copy_(torch.tensor([-1.0, 9.0]))  # the second is cut at 2
    s, a = torch.randn(5, 3), torch.rand(5, 2)
    std = torch.exp(torch.tensor([-1.0, 2.0]))
    peer = torch.distributions.Normal(policy.mean(s), std)
    torch.testing.assert_close(policy.log_prob(s, a), peer.log_prob(a).sum(dim=-1))


def started(**changes: Any) -> IQL:
    agent = IQL(**{"hidden": (16, 16), "seed": 0, "device": "cpu"} | changes)
    agent._start(3, 2)
    return agent


def batch(seed: int = 0, n: int = 9) -> Batch:
    g = torch.Generator().manual_seed(seed)
    s, s_next, a = (torch.randn(n, d, generator=g) for d in (3, 3, 2))
    continues = (torch.arange(n) % 3 != 0).float()
    return Batch(s, torch.tanh(a), torch.randn(n, generator=g), s_next, continues)


def test_a_step_is_of_the_value_the_policy_and_the_critics_in_this_order() -> None:
    """The policy's weights and the critics' target have the value after its step."""
    agent, b = started(discount=0.9, inverse_temperature=2.0, learning_rate=1e-2), batch()
    before = deepcopy(agent.networks)
    agent.update(b)
    value = agent.networks["value"]
    with torch.no_grad():
        q = before["critics_target"](b.observations, b.actions).min(dim=0).values
        weights = torch.exp(2.0 * (q - value(b.observations)[0])).clamp(max=100)
        y = b.rewards + 0.9 * b.continues * value(b.next_observations)[0]
    critic_loss = regression_loss(before["critics"](b.observations, b.actions), y)
    policy_loss = -(weights * before["policy"].log_prob(b.observations, b.actions)).mean()
    for name, loss in {"critics": critic_loss, "policy": policy_loss}.items():
        descend(adam(before[name], 1e-2), loss)
        for p, q in zip(agent.networks[name].parameters(), before[name].parameters(), strict=True):
            torch.testing.assert_close(p, q)


def test_values_are_expectiles_of_the_rewards_of_actions() -> None:
    """One step of 30 % reward 5: the values of actions are their rewards; V is 5 τp/(τp + ...)."""
    rng = np.random.default_rng(0)
    good = rng.random(2000) < 0.3
    states = rng.uniform(-1, 1, size=(2000, 1))
    data = OfflineDataset(
        observations=states,
        actions=np.where(good, 0.5, -0.5)[:, None],
        rewards=5.0 * good,
        next_observations=states,
        terminals=np.ones(2000, bool),
        timeouts=np.zeros(2000, bool),
    )
    agent = IQL(
        hidden=(32, 32), learning_rate=3e-3, expectile=0.8, soft_update_rate=0.1, seed=0,
        device="cpu",
    ).fit(data, 500, batch_size=128, progress=False)  # fmt: skip
    s = torch.linspace(-1, 1, 11)[:, None]
    values = agent.networks["value"](s)[0].detach().numpy()
    p = good.mean()
    expected = 5 * 0.8 * p / (0.8 * p + 0.2 * (1 - p))
    assert np.abs(values - expected).mean() < 0.2
