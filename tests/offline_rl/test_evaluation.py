"""Evaluation: episodes in lockstep are episodes, and averages are those of scipy."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from scipy.stats import trim_mean

from fenchel.offline_rl.evaluation import Statistic, aggregate, evaluate, normalised_scores


class Walk(gymnasium.Env[Any, Any]):
    """A walk of noise and actions, rewarded by its place; it ends outside [−1, 1] or is cut."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,))
    action_space = spaces.Box(-1, 1, (1,))
    closed = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.x = 0, self.np_random.normal() / 4
        return np.array([self.x], dtype=np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        self.x += 0.1 * float(action[0]) + 0.3 * self.np_random.normal()
        seen = np.array([self.x], dtype=np.float32)
        return seen, self.x, abs(self.x) > 1, self.t == 30, {}

    def close(self) -> None:
        type(self).closed += 1


class Centring:
    """a = −x; its memory counts calls since the start of an episode."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[Any, Any]:
        assert deterministic
        count = np.zeros(len(observation), int) if state is None else state
        return -np.clip(observation, -1, 1), np.where(episode_start, 0, count) + 1


class Told(Centring):
    """The same, which keeps the rewards that it is told."""

    def __init__(self) -> None:
        self.earned: Any = 0.0

    def receive(self, state: Any, rewards: Any) -> Any:
        self.earned = self.earned + rewards
        return state


def test_episodes_in_lockstep_are_episodes_one_by_one() -> None:
    returns = evaluate(Centring(), Walk, n_episodes=12, seed=3)
    seeds = np.random.SeedSequence(3).generate_state(12)
    lengths = []
    for found, seed in zip(returns, seeds, strict=True):
        env, total, done = Walk(), 0.0, False
        x, _ = env.reset(seed=int(seed))
        while not done:
            x, reward, terminated, truncated, _ = env.step(-np.clip(x, -1, 1))
            total, done = total + reward, terminated or truncated
        lengths.append(env.t)
        assert found == pytest.approx(total, rel=1e-9)
    assert len(set(lengths)) > 3  # episodes do end at different times


def test_a_function_of_observations_is_an_agent() -> None:
    found = evaluate(lambda x: -np.clip(x, -1, 1), Walk, n_episodes=5, seed=3)
    np.testing.assert_array_equal(found, evaluate(Centring(), Walk, n_episodes=5, seed=3))
    with pytest.raises(ValueError, match="agent must have predict"):
        evaluate(3, Walk)  # type: ignore[arg-type]


def test_seeds_decide() -> None:
    one, same, other = (evaluate(Centring(), Walk, n_episodes=3, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()


def test_rewards_are_told_to_those_who_want_them() -> None:
    agent = Told()
    returns = evaluate(agent, Walk, n_episodes=4)
    np.testing.assert_allclose(agent.earned, returns)


def test_environments_are_closed_also_after_an_error() -> None:
    class Broken(Centring):
        def predict(self, *arguments: Any, **more: Any) -> tuple[Any, Any]:
            raise RuntimeError("broken")

    before = Walk.closed
    with pytest.raises(RuntimeError, match="broken"):
        evaluate(Broken(), Walk, n_episodes=3)
    assert Walk.closed == before + 3


def test_an_environment_may_be_named() -> None:
    class Still:
        def predict(self, observation: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            return np.zeros((len(observation), 1), dtype=np.float32), None

    returns = evaluate(Still(), "Pendulum-v1", n_episodes=2)
    assert returns.shape == (2,)
    assert (returns < 0).all()


def test_references_score_0_and_100() -> None:
    np.testing.assert_allclose(normalised_scores([-20.0, 40.0, 10.0], -20, 40), [0, 100, 50])
    with pytest.raises(ValueError, match="low must be below high"):
        normalised_scores([1.0], 3.0, 3.0)


@pytest.mark.parametrize("shape", [(5, 4), (3, 3), (1, 7), (10, 1)])
def test_statistics_by_other_means(shape: tuple[int, int]) -> None:
    x = 150 * np.random.default_rng(0).random(shape)
    expected: dict[Statistic, float] = {
        "iqm": trim_mean(x, 0.25, axis=None),
        "mean": x.mean(),
        "median": np.median([column.mean() for column in x.T]),
        "optimality_gap": 100 - np.minimum(x, 100).mean(),
    }
    for statistic, value in expected.items():
        found = aggregate(x, statistic=statistic, n_resamples=200, rng=np.random.default_rng(1))
        assert found.value == pytest.approx(value, rel=1e-12)
        assert found.low <= found.high


def test_tasks_are_not_resampled() -> None:
    """Seeds that agree leave nothing to chance, however tasks differ."""
    x = np.tile([0.0, 50.0, 100.0], (4, 1))
    for statistic in ("iqm", "mean", "median", "optimality_gap"):
        found = aggregate(x, statistic=statistic, n_resamples=50, rng=np.random.default_rng(0))
        assert found.low == found.value == found.high


def test_the_interval_of_the_mean_has_the_width_of_the_normal_one() -> None:
    """±1.96 √(Σ_tasks var/n)/tasks of many seeds, also where the same are good at all tasks."""
    x = np.random.default_rng(0).normal(size=(200, 1)) * [1.0, 2.0, 3.0]
    found = aggregate(x, statistic="mean", n_resamples=4000, rng=np.random.default_rng(1))
    error = np.sqrt((x.var(axis=0) / 200).sum()) / 3
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_generators_decide() -> None:
    x = np.random.default_rng(0).normal(size=(5, 3))
    one, same = (aggregate(x, rng=np.random.default_rng(1)) for _ in range(2))
    assert one == same


def test_what_makes_no_sense_is_named() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="statistic must be one of iqm, mean"):
        aggregate(np.ones((2, 2)), statistic="mode", rng=rng)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scores must have shape"):
        aggregate(np.ones(3), rng=rng)
    with pytest.raises(ValueError, match="confidence"):
        aggregate(np.ones((2, 2)), confidence=1.0, rng=rng)
    with pytest.raises(ValueError, match="n_episodes"):
        evaluate(Centring(), Walk, n_episodes=0)
