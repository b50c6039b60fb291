"""What all agents share: seeds, files, bounds, data that are refused, and what they learn."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from fenchel.offline_rl.algorithms import BC, CQL, IQL, TD3BC, Agent, DecisionTransformer
from fenchel.offline_rl.datasets import OfflineDataset, generate
from fenchel.offline_rl.evaluation import evaluate

SMALL: dict[type[Any], dict[str, Any]] = {
    BC: {"hidden": (8, 8)},
    TD3BC: {"hidden": (8, 8)},
    IQL: {"hidden": (8, 8)},
    CQL: {"hidden": (8, 8), "n_sampled_actions": 2},
    DecisionTransformer: {"context": 3, "width": 8, "n_layers": 1, "n_heads": 2, "max_length": 5},
}
ALL = pytest.mark.parametrize("kind", list(SMALL))


def made(kind: type[Any], **changes: Any) -> Any:
    return kind(**SMALL[kind] | {"seed": 0, "device": "cpu"} | changes)


def walks(n: int = 60, seed: int = 0, low: float = -1.0, high: float = 1.0) -> OfflineDataset:
    """Trajectories of five steps in the plane, cut off."""
    rng = np.random.default_rng(seed)
    states = 3 + 2 * rng.normal(size=(n, 2))
    actions = rng.uniform(low, high, size=(n, 1))
    return OfflineDataset(
        observations=states,
        actions=actions,
        rewards=states[:, 0] + actions[:, 0],
        next_observations=states + 0.1,
        terminals=np.zeros(n, bool),
        timeouts=np.arange(n) % 5 == 4,
    )


def weights(agent: Agent) -> list[torch.Tensor]:
    return [p.detach().clone() for p in agent.networks.parameters()]


def equal(one: Agent, other: Agent) -> bool:
    pairs = zip(weights(one), weights(other), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


def fitted(kind: type[Any], n_steps: int = 6, **changes: Any) -> Any:
    return made(kind, **changes).fit(walks(), n_steps, batch_size=8, progress=False)


# seeds and files


@ALL
def test_same_seed_same_weights_and_another_seed_others(kind: type[Any]) -> None:
    assert equal(fitted(kind), fitted(kind))
    assert not equal(fitted(kind), fitted(kind, seed=1))


@ALL
def test_global_generators_are_left_alone(kind: type[Any]) -> None:
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]  # noqa: NPY002
    fitted(kind).predict(np.zeros(2), deterministic=False)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], before_numpy)  # type: ignore[index]  # noqa: NPY002


@ALL
def test_a_fit_in_parts_is_a_fit_at_once(kind: type[Any], tmp_path: Path) -> None:
    """Also when it was saved and loaded between, and acted at random on the way."""
    whole, parts = fitted(kind, 7), fitted(kind, 3)
    parts.predict(np.zeros((4, 2)), deterministic=False)
    parts.save(tmp_path / "agent.pt")
    loaded = kind.load(tmp_path / "agent.pt")
    for agent in (parts, loaded):
        agent.fit(walks(), 4, batch_size=8, progress=False)
        assert agent.step == 7
        assert equal(agent, whole)
    x = walks(seed=1).observations
    np.testing.assert_array_equal(loaded.predict(x)[0], whole.predict(x)[0])


def test_a_file_is_of_its_class_and_keeps_arguments(tmp_path: Path) -> None:
    path = tmp_path / "agent.pt"
    fitted(TD3BC, action_low=[-2.0], action_high=np.array([1.5]), alpha=1.25).save(path)
    loaded = TD3BC.load(path, device="cpu")
    assert (loaded.alpha, loaded.action_low, loaded.action_high) == (1.25, (-2.0,), (1.5,))
    with pytest.raises(ValueError, match="must hold a BC, got a TD3BC"):
        BC.load(path)


# what comes in and out


@ALL
def test_actions_are_within_their_bounds_for_one_observation_or_many(kind: type[Any]) -> None:
    agent = made(kind, action_low=-1, action_high=[5.0])
    agent.fit(walks(low=-1, high=5), 3, batch_size=8, progress=False)
    one, _ = agent.predict(np.zeros(2))
    many, _ = agent.predict(100 * walks().observations, deterministic=False)
    assert one.shape == (1,)
    assert many.shape == (60, 1)
    assert many.min() >= -1
    assert many.max() <= 5
    np.testing.assert_allclose(agent.predict(np.zeros((1, 2)))[0][0], one, rtol=1e-6)


def test_bounds_and_units_of_states_change_nothing() -> None:
    """Affine units of actions and states are undone inside, up to the floor of the deviation."""
    data = walks()
    scaled = replace(
        data,
        observations=100 * data.observations - 7,
        next_observations=100 * data.next_observations - 7,
        actions=3 * data.actions + 1,
    )
    agent = fitted(TD3BC, 20)
    other = made(TD3BC, action_low=-2, action_high=4)
    other.fit(scaled, 20, batch_size=8, progress=False)
    x = walks(seed=2).observations
    np.testing.assert_allclose(
        3 * agent.predict(x)[0] + 1, other.predict(100 * x - 7)[0], atol=0.01
    )


@pytest.mark.parametrize("kind", [IQL, CQL])
def test_a_scale_of_rewards_is_that_of_the_data(kind: type[Any]) -> None:
    """Of a power of two, to the bit; and it matters."""
    larger = replace(walks(), rewards=4 * walks().rewards)
    scaled = fitted(kind, reward_scale=4.0)
    assert equal(scaled, made(kind).fit(larger, 6, batch_size=8, progress=False))
    assert not equal(scaled, fitted(kind))


def test_states_are_normalised_by_the_first_dataset() -> None:
    agent, data = fitted(BC), walks()
    found = agent._prepare(walks(seed=3)).observations.numpy()
    expected = (walks(seed=3).observations - data.observations.mean(axis=0)) / (
        data.observations.std(axis=0) + 1e-3
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    raw = fitted(BC, normalise_states=False)._prepare(data).observations.numpy()
    np.testing.assert_array_equal(raw, data.observations)


def test_terminals_end_and_timeouts_do_not() -> None:
    data = walks()
    data = replace(data, terminals=np.arange(60) % 5 == 2)
    continues = fitted(BC)._prepare(data).continues.numpy()
    np.testing.assert_array_equal(continues, np.arange(60) % 5 != 2)


@ALL
def test_data_may_be_read_only_and_stay_as_they_are(kind: type[Any]) -> None:
    data = walks()
    before = data.hash()
    for name in ("observations", "actions", "rewards", "next_observations", "terminals"):
        getattr(data, name).flags.writeable = False
    agent = made(kind).fit(data, 2, batch_size=8, progress=False)
    agent.predict(data.observations)
    assert data.hash() == before


@ALL
def test_data_that_do_not_suit_are_refused(kind: type[Any]) -> None:
    data = walks()
    unknown = data.actions.copy()
    unknown[3] = np.nan
    with pytest.raises(ValueError, match="must be known, got NaN in 1 of 60"):
        made(kind).fit(replace(data, actions=unknown), 1)
    agent = made(kind)
    with pytest.raises(
        ValueError, match=r"must be in \[action_low, action_high\].*give the bounds"
    ):
        agent.fit(walks(high=1.1), 1)
    with pytest.raises(ValueError, match="no networks yet"):
        agent.predict(np.zeros(2))
    wider = replace(data, observations=np.zeros((60, 3)), next_observations=np.zeros((60, 3)))
    with pytest.raises(ValueError, match=r"\(2, 1\) dimensions of states and actions"):
        fitted(kind).fit(wider, 1)
    with pytest.raises(ValueError, match=r"observation must have shape \(2,\)"):
        fitted(kind).predict(np.zeros(3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": ()}, "hidden must have at least one width"),
        ({"action_low": 1.0, "action_high": -1.0}, "action_low must be below action_high"),
        ({"action_high": [1.0, 1.0]}, "action_high must have 1 entries"),
        ({"discount": 1.5}, "discount"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"seed": -1}, "seed"),
    ],
)
def test_arguments_that_make_no_sense_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(TD3BC, **arguments).fit(walks(), 1)


@ALL
def test_a_loss_that_is_not_finite_is_reported(kind: type[Any]) -> None:
    agent = made(kind)
    agent.fit(walks(), 3, batch_size=8, progress=False)
    with torch.no_grad():
        next(iter(agent.networks.parameters())).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="loss is nan in steps 4 to 100"):
        agent.fit(walks(), 200, batch_size=8, progress=False)


def test_callbacks_have_the_means_of_losses() -> None:
    calls: list[tuple[int, dict[str, float]]] = []
    each: list[dict[str, float]] = []
    agent = made(TD3BC)
    agent.fit(walks(), 5, batch_size=8, progress=False)
    other = made(TD3BC)
    keep = {"callback": lambda agent, step, metrics: calls.append((step, metrics)), "every": 4}
    other.fit(walks(), 5, batch_size=8, progress=False, **keep)
    assert equal(agent, other)
    made(TD3BC).fit(
        walks(), 4, batch_size=8, progress=False,
        callback=lambda agent, step, metrics: each.append(metrics), every=1,
    )  # fmt: skip
    assert [step for step, _ in calls] == [4]
    losses = [metrics["critic_loss"] for metrics in each]
    assert calls[0][1]["critic_loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert ["policy_loss" in metrics for metrics in each] == [True, False, True, False]


def test_progress_is_shown_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    made(BC).fit(walks(), 3, batch_size=8)
    assert "3/3" in capsys.readouterr().err


class Line(gymnasium.Env[Any, Any]):
    """Five steps; the reward is that of `walks`."""

    observation_space = spaces.Box(-np.inf, np.inf, (2,))
    action_space = spaces.Box(-1, 1, (1,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self._seen(), float(action[0]), False, self.t == 5, {}

    def _seen(self) -> Any:
        return self.np_random.normal(3, 2, size=2).astype(np.float32)


@ALL
def test_stable_baselines3_can_evaluate(kind: type[Any]) -> None:
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    monitor = pytest.importorskip("stable_baselines3.common.monitor")
    vec = pytest.importorskip("stable_baselines3.common.vec_env")
    env = vec.DummyVecEnv([lambda: monitor.Monitor(Line())] * 2)
    env.seed(0)
    returns, lengths = evaluation.evaluate_policy(
        fitted(kind), env, n_eval_episodes=4, return_episode_rewards=True
    )
    assert lengths == [5] * 4
    assert np.abs(returns).max() <= 5


# learning


def bandit(seed: int, n: int = 1000) -> OfflineDataset:
    """One step: near −½ (70 %) the reward is 0, near ½ it is 5; the state means nothing."""
    rng = np.random.default_rng(seed)
    good = rng.random(n) < 0.3
    states = rng.uniform(-1, 1, size=(n, 1))
    actions = np.where(good, 0.5, -0.5)[:, None] + rng.uniform(-0.1, 0.1, size=(n, 1))
    return OfflineDataset(
        observations=states,
        actions=actions,
        rewards=5.0 * good,
        next_observations=states,
        terminals=np.ones(n, bool),
        timeouts=np.zeros(n, bool),
    )


BANDIT: list[tuple[type[Any], dict[str, Any], int]] = [
    (BC, {}, 300),
    (TD3BC, {}, 400),
    (IQL, {}, 300),
    (CQL, {"min_q_weight": 1.0, "policy_learning_rate": 1e-3, "n_sampled_actions": 4}, 300),
]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("kind", "settings", "n_steps"), BANDIT)
def test_agents_with_values_leave_the_mixture_for_the_better_action(
    kind: type[Any], settings: dict[str, Any], n_steps: int, seed: int
) -> None:
    agent = kind(hidden=(32, 32), seed=seed, device="cpu", **settings | {"learning_rate": 3e-3})
    agent.fit(bandit(seed), n_steps, batch_size=64, progress=False)
    actions, _ = agent.predict(np.linspace(-1, 1, 21)[:, None])
    if kind is BC:
        assert abs(actions.mean() - (0.3 * 0.5 - 0.7 * 0.5)) < 0.1
    else:
        assert actions.min() > 0.3
    if kind is not TD3BC:
        assert actions.max() < 0.7


@pytest.mark.slow
def test_values_beat_cloning_where_data_are_of_mixed_quality() -> None:
    """Mean normalised scores over seeds, at the same networks."""
    scores: dict[type[Any], list[float]] = {BC: [], TD3BC: [], IQL: []}
    for seed in range(2):
        data = generate("PointMass2D/medium-replay", seed=seed, cache=False)
        for kind, found in scores.items():
            agent = kind(hidden=(64, 64), learning_rate=1e-3, seed=seed, device="cpu")
            agent.fit(data, 3000, progress=False)
            returns = evaluate(agent, data.meta["env_id"], n_episodes=20, seed=seed)
            found.append(float(data.normalised_score(returns.mean())))
    means = {kind: np.mean(found) for kind, found in scores.items()}
    assert means[TD3BC] > means[BC] + 2, scores
    assert means[IQL] > means[BC] + 5, scores
