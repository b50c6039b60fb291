"""Splits, inverse dynamics, and SS-ORL: what is known, what is learned, what must not matter."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from fenchel.offline_rl.algorithms import BC, IQL, TD3BC, DecisionTransformer
from fenchel.offline_rl.datasets import OfflineDataset
from fenchel.offline_rl.inverse_dynamics import InverseDynamics
from fenchel.offline_rl.semi_supervised import (
    SemiSupervisedOfflineRL,
    gap,
    proxy_error,
    recovered,
    split_decoupled,
    split_labelled,
)

A = np.array([[0.9, 0.2, 0.0], [-0.1, 0.95, 0.1], [0.0, 0.0, 0.8]])
B = np.array([[0.0, 0.3], [0.5, 0.0], [0.2, -0.4]])


def linear(n_trajectories: int = 30, length: int = 20, seed: int = 0) -> OfflineDataset:
    """s' = A s + B a with random actions; the return of trajectory i is its place in a shuffle."""
    rng = np.random.default_rng(seed)
    n = n_trajectories * length
    s = np.zeros((n_trajectories, length + 1, 3))
    a = rng.uniform(-0.9, 0.9, size=(n_trajectories, length, 2))
    s[:, 0] = rng.normal(size=(n_trajectories, 3))
    for t in range(length):
        s[:, t + 1] = s[:, t] @ A.T + a[:, t] @ B.T
    ends = np.tile(np.arange(length) == length - 1, n_trajectories)
    quality = rng.permutation(n_trajectories)
    return OfflineDataset(
        observations=s[:, :-1].reshape(n, 3).astype(np.float32),
        actions=a.reshape(n, 2).astype(np.float32),
        rewards=np.repeat(quality / length, length).astype(np.float32),
        next_observations=s[:, 1:].reshape(n, 3).astype(np.float32),
        terminals=np.zeros(n, bool),
        timeouts=ends,
    )


def model(**more: Any) -> InverseDynamics:
    settings: dict[str, Any] = {
        "window": 0, "hidden": (32, 32), "n_steps": 60, "batch_size": 64, "validate_every": 20,
        "learning_rate": 1e-3, "seed": 0, "device": "cpu",
    }  # fmt: skip
    return InverseDynamics(**(settings | more))


# splits


@pytest.mark.parametrize("quality", [0.1, 0.35, 1.0])
def test_labelled_are_drawn_from_the_lowest_returns(quality: float) -> None:
    dataset = linear(40)
    split = split_labelled(dataset, quality, fraction=0.2, rng=np.random.default_rng(0))
    returns = dataset.returns()
    pool = int(40 * quality)
    assert len(split.labelled) == min(pool, 8)
    assert len(split.inside) == pool - len(split.labelled)
    parts = np.concatenate([split.labelled, split.inside, split.outside])
    np.testing.assert_array_equal(np.sort(parts), np.arange(40))
    if len(split.outside):
        below = np.concatenate([split.labelled, split.inside])
        assert returns[below].max() <= returns[split.outside].min()
    again = split_labelled(dataset, quality, fraction=0.2, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(split.labelled, again.labelled)
    known = np.zeros(len(dataset), bool)
    known[split.rows(split.labelled)] = True
    np.testing.assert_array_equal(split.dataset.labelled, known)
    np.testing.assert_array_equal(split.dataset.rewards, dataset.rewards)


def test_bands_are_chosen_apart() -> None:
    dataset = linear(60)
    rank = np.argsort(np.argsort(dataset.returns(), kind="stable"))
    split = split_decoupled(
        dataset, (0, 1 / 3), (2 / 3, 1), fractions=(0.1, 0.2), rng=np.random.default_rng(1)
    )
    assert len(split.labelled) == 6
    assert len(split.outside) == 12
    kept = split.dataset.returns()
    order = np.argsort(np.argsort(dataset.returns()))[np.isin(dataset.returns(), kept)]
    assert len(order) == 18
    thirds = np.sort(dataset.returns())[[19, 40]]
    assert (kept[split.labelled] <= thirds[0]).all()
    assert (kept[split.outside] >= thirds[1]).all()
    same = split_decoupled(
        dataset, (0, 1 / 3), (0, 1 / 3), fractions=(0.1, 0.2), rng=np.random.default_rng(1)
    )
    assert (len(same.labelled), len(same.inside), len(same.outside)) == (6, 12, 0)
    assert rank.max() == 59


def test_splits_say_what_is_wrong() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="so many trajectories"):
        split_labelled(linear(5), 0.1, rng=rng)
    with pytest.raises(ValueError, match=r"quality must be in \(0, 1\]"):
        split_labelled(linear(20), 1.5, rng=rng)
    with pytest.raises(ValueError, match="labelled must be a band"):
        split_decoupled(linear(20), (0.5, 0.5), (0, 1), rng=rng)


# inverse dynamics


def test_invertible_dynamics_are_inverted() -> None:
    """a = B⁺ (s' − A s): exactly by least squares, and nearly by what is learned."""
    dataset = linear(200, seed=3)
    inputs = np.concatenate([dataset.observations, dataset.next_observations], axis=1)
    exact = np.linalg.pinv(B) @ np.concatenate([-A, np.eye(3)], axis=1)
    np.testing.assert_allclose(inputs.astype(float) @ exact.T, dataset.actions, atol=2e-6)
    fitted = np.linalg.lstsq(inputs.astype(float), dataset.actions.astype(float), rcond=None)[0]
    np.testing.assert_allclose(inputs @ fitted, dataset.actions, atol=2e-6)
    for stochastic in (False, True):
        learned = model(
            n_steps=800, hidden=(64, 64), batch_size=128, stochastic=stochastic, dropout=0.0,
            validate_every=100, learning_rate=3e-3,
        )  # fmt: skip
        error = learned.fit(dataset, progress=False).predict(dataset).actions - dataset.actions
        assert (error**2).mean() < 1e-3


def test_likelihoods_are_densities_of_the_action() -> None:
    """They integrate to one over the range of actions, also one that is not [−1, 1]."""
    dataset = replace(linear(10), actions=2.0 + 3.0 * linear(10).actions[:, :1])
    learned = model(action_low=-1.0, action_high=5.0, n_models=2).fit(dataset, progress=False)
    grid = np.linspace(-1, 5, 4001)[1:-1]
    one = dataset.subset(np.array([0]))
    row = replace(
        one, **{
            name: np.repeat(getattr(one, name)[:1], len(grid), axis=0)
            for name in ("observations", "rewards", "next_observations", "terminals", "timeouts")
        }, actions=grid[:, None].astype(np.float32),
    )  # fmt: skip
    row = replace(row, timeouts=np.ones(len(grid), bool))
    density = np.exp(learned.log_likelihood(row))
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=2e-3)


def test_what_is_learned_beats_a_constant_density() -> None:
    dataset, fresh = linear(60, seed=0), linear(20, seed=1)
    learned = model(n_steps=400, hidden=(64, 64)).fit(dataset, progress=False)
    u = np.arctanh(np.clip(fresh.actions.astype(float), -1 + 1e-6, 1 - 1e-6))
    spread = u.std(axis=0)
    z = (u - u.mean(axis=0)) / spread
    constant = (-0.5 * z**2 - np.log(spread) - 0.5 * np.log(2 * np.pi)).sum(axis=1)
    constant -= np.log(1 - np.tanh(u) ** 2).sum(axis=1)
    assert learned.log_likelihood(fresh).mean() > constant.mean() + 0.5


def test_variances_are_those_of_the_mixture() -> None:
    dataset = linear(12)
    one = model(n_steps=5).fit(dataset, progress=False)
    three = model(n_steps=5, n_models=3).fit(dataset, progress=False)
    twins = model(n_steps=5).fit(dataset, progress=False)
    twins._members = twins._members * 3
    np.testing.assert_allclose(
        twins.predict(dataset).uncertainty, one.predict(dataset).uncertainty, rtol=1e-4
    )
    assert (three.predict(dataset).uncertainty >= 0).all()
    fixed = model(n_steps=5, stochastic=False).fit(dataset, progress=False)
    np.testing.assert_array_equal(fixed.predict(dataset).uncertainty, 0)
    with pytest.raises(ValueError, match="stochastic=True"):
        fixed.log_likelihood(dataset)


def test_seeds_decide_and_torch_is_left_alone() -> None:
    import torch

    dataset, found = linear(12), []
    for seed, elsewhere in ((0, 5), (0, 6), (1, 6)):
        torch.manual_seed(elsewhere)  # of others, which must not matter
        before = torch.random.get_rng_state()
        fitted = model(n_steps=30, seed=seed).fit(dataset, progress=False)
        found.append(fitted.predict(dataset).actions)
        assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 0


def test_inverse_dynamics_say_what_is_wrong() -> None:
    dataset = linear(12)
    with pytest.raises(ValueError, match="nan everywhere"):
        model().fit(dataset.without_actions(), progress=False)
    with pytest.raises(ValueError, match="half ranges outside"):
        model(action_low=-0.5, action_high=0.5).fit(dataset, progress=False)
    with pytest.raises(ValueError, match="call fit first"):
        model().predict(dataset)


def test_rows_without_their_next_state_teach_nothing() -> None:
    dataset = linear(12)
    marked = dataset.timeouts
    spoiled = dataset.actions.copy()
    spoiled[marked] = -0.9
    found = [
        model(n_steps=20)
        .fit(replace(one, infos={"next_unknown": marked}), progress=False)
        .predict(dataset)
        .actions
        for one in (dataset, dataset.relabel(spoiled))
    ]
    np.testing.assert_array_equal(*found)


# SS-ORL


def agent(seed: int = 0) -> Any:
    return BC(hidden=(16,), seed=seed, device="cpu")


def test_actions_that_are_not_known_do_not_matter() -> None:
    """Two datasets that differ in the actions taken away give the same labels and agent."""
    dataset = linear(20)
    split = split_labelled(dataset, 0.5, fraction=0.2, rng=np.random.default_rng(0))
    poisoned = dataset.actions.copy()
    poisoned[~split.dataset.labelled] = -0.123
    other = split_labelled(
        dataset.relabel(poisoned), 0.5, fraction=0.2, rng=np.random.default_rng(0)
    )
    found = [
        SemiSupervisedOfflineRL(agent(), model()).fit(one.dataset, 30, progress=False)
        for one in (split, other)
    ]
    assert found[0].proxy is not None
    assert found[1].proxy is not None
    assert found[0].proxy.hash() == found[1].proxy.hash()
    s = dataset.observations[:5]
    np.testing.assert_array_equal(found[0].predict(s)[0], found[1].predict(s)[0])
    assert np.isfinite(found[0].proxy.actions).all()
    for name in ("observations", "rewards", "next_observations", "terminals", "timeouts"):
        np.testing.assert_array_equal(getattr(found[0].proxy, name), getattr(dataset, name))
    known = split.dataset.labelled
    np.testing.assert_array_equal(found[0].proxy.actions[known], dataset.actions[known])


def test_with_all_actions_it_is_the_oracle() -> None:
    dataset = linear(20)
    split = split_labelled(dataset, 1.0, fraction=1.0, rng=np.random.default_rng(0))
    oracle = agent().fit(dataset, 40, progress=False)
    learner = SemiSupervisedOfflineRL(agent(), model()).fit(split.dataset, 40, progress=False)
    s = dataset.observations[:7]
    np.testing.assert_array_equal(learner.predict(s)[0], oracle.predict(s)[0])


def test_self_training_labels_the_surest_first() -> None:
    split = split_labelled(linear(20), 0.5, fraction=0.2, rng=np.random.default_rng(0))
    learner = SemiSupervisedOfflineRL(agent(), model(n_models=2), rounds=3)
    proxy = learner.label(split.dataset, progress=False)
    assert learner.order is not None
    np.testing.assert_array_equal(np.bincount(learner.order), [4, 6, 6, 4])
    assert (learner.order[split.labelled] == 0).all()
    first = model(n_models=2).fit(split.dataset, progress=False).predict(split.dataset)
    mean = first.uncertainty.reshape(20, 20).mean(axis=1)
    unknown = np.setdiff1d(np.arange(20), split.labelled)
    chosen = learner.order[unknown] == 1
    assert mean[unknown][chosen].max() <= mean[unknown][~chosen].min()
    errors = proxy_error(split, proxy)
    assert set(errors) == {"inside", "outside"}
    rows = split.rows(split.inside)
    expected = ((proxy.actions - linear(20).actions)[rows] ** 2).mean()
    assert errors["inside"] == pytest.approx(float(expected), rel=1e-5)


def test_any_agent_is_taken_and_told_what_it_needs() -> None:
    dataset = linear(20)
    split = split_labelled(dataset, 0.5, fraction=0.2, rng=np.random.default_rng(0))
    transformer = DecisionTransformer(
        context=3, width=8, n_layers=1, n_heads=1, target_return=5.0, return_scale=1.0,
        device="cpu",
    )  # fmt: skip
    for one in (transformer, TD3BC(hidden=(8,), device="cpu"), IQL(hidden=(8,), device="cpu")):
        learner = SemiSupervisedOfflineRL(one, model()).fit(split.dataset, 5, progress=False)
        action, state = learner.predict(dataset.observations[:2])
        assert action.shape == (2, 2)
        state = learner.receive(state, np.array([1.0, 2.0]))
        if one is transformer:
            np.testing.assert_allclose(state.to_go, [4.0, 3.0])


def test_gaps_are_shares_of_the_oracle() -> None:
    assert gap(80.0, 60.0) == 0.25
    assert np.isnan(gap(3.0, 1.0))
    assert recovered(90.0, 50.0, 80.0) == 0.75
    assert np.isnan(recovered(50.0, 47.0, 49.0))
