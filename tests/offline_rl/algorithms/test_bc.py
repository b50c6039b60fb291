"""BC: a known policy is found, and filtering takes the best trajectories."""

from dataclasses import replace

import numpy as np
import pytest

from fenchel.offline_rl.algorithms import BC
from fenchel.offline_rl.algorithms.bc import best_trajectories
from fenchel.offline_rl.datasets import OfflineDataset


def demonstrations(n: int, seed: int) -> OfflineDataset:
    """Trajectories of five steps of a = sin(s_1) cos(s_2), the odd ones of its opposite.

    Odd trajectories have the return 0, even ones 1, all in their first step.
    """
    rng = np.random.default_rng(seed)
    states = rng.uniform(-2, 2, size=(n, 2))
    odd = np.arange(n) // 5 % 2 == 1
    actions = np.where(odd, -1, 1) * np.sin(states[:, 0]) * np.cos(states[:, 1])
    return OfflineDataset(
        observations=states,
        actions=actions[:, None],
        rewards=(np.arange(n) % 5 == 0) & ~odd,
        next_observations=states,
        terminals=np.zeros(n, bool),
        timeouts=np.arange(n) % 5 == 4,
    )


def test_best_trajectories_are_the_share_of_the_greatest_returns() -> None:
    returns = np.array([3.0, 9.0, 1.0, 7.0, 5.0])
    np.testing.assert_array_equal(best_trajectories(returns, 0.4), [1, 3])
    np.testing.assert_array_equal(best_trajectories(returns, 0.5), [1, 3])  # ⌊2.5⌋
    np.testing.assert_array_equal(best_trajectories(returns, 0.01), [1])
    np.testing.assert_array_equal(best_trajectories(returns, 1.0), np.arange(5))
    assert len(best_trajectories(np.arange(100.0), 0.29)) == 29


@pytest.mark.parametrize("seed", range(2))
def test_the_filter_finds_the_policy_that_plain_cloning_averages_away(seed: int) -> None:
    errors = {}
    x = np.random.default_rng(9).uniform(-1.8, 1.8, size=(300, 2))
    expected = np.sin(x[:, 0]) * np.cos(x[:, 1])
    for fraction in (0.5, 1.0):
        agent = BC(
            fraction=fraction, hidden=(32, 32), learning_rate=5e-3, seed=seed, device="cpu"
        ).fit(demonstrations(4000, seed), 400, batch_size=64, progress=False)
        errors[fraction] = float(np.mean((agent.predict(x)[0][:, 0] - expected) ** 2))
    assert errors[0.5] < 0.01
    assert errors[1.0] > 0.5 * float(np.mean(expected**2))  # the average policy is 0


def test_actions_are_asked_for_only_where_the_filter_looks() -> None:
    data = demonstrations(100, 0)
    actions = data.actions.copy()
    actions[np.arange(100) // 5 % 2 == 1] = np.nan
    data = replace(data, actions=actions)
    BC(fraction=0.5, hidden=(4,), seed=0, device="cpu").fit(data, 1, progress=False)
    with pytest.raises(ValueError, match="NaN in 50 of 100"):
        BC(hidden=(4,), seed=0, device="cpu").fit(data, 1, progress=False)


@pytest.mark.parametrize("fraction", [0.0, 1.5])
def test_the_fraction_is_one(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction must be"):
        BC(fraction=fraction)
