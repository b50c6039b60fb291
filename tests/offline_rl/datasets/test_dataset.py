from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenchel.offline_rl.datasets import OfflineDataset

SETTINGS = settings(max_examples=60, deadline=None)


def make(
    n: int = 7,
    d_s: int = 3,
    d_a: int = 2,
    *,
    terminals: Any = (),
    timeouts: Any = (),
    seed: int = 0,
    **fields: Any,
) -> OfflineDataset:
    """Random numbers; terminals and timeouts are the rows that are."""
    rng = np.random.default_rng(seed)
    given = {
        "observations": rng.normal(size=(n, d_s)),
        "actions": rng.uniform(-1, 1, (n, d_a)),
        "rewards": rng.normal(size=n),
        "next_observations": rng.normal(size=(n, d_s)),
        "terminals": np.isin(np.arange(n), terminals),
        "timeouts": np.isin(np.arange(n), timeouts),
    }
    return OfflineDataset(**(given | fields))


@st.composite
def datasets(draw: st.DrawFn, max_rows: int = 20, dims: int = 3) -> OfflineDataset:
    n = draw(st.integers(1, max_rows))
    flags = st.lists(st.booleans(), min_size=n, max_size=n)
    return make(
        n,
        draw(st.integers(1, dims)),
        draw(st.integers(1, dims)),
        seed=draw(st.integers(0, 99)),
        terminals=np.flatnonzero(draw(flags)),
        timeouts=np.flatnonzero(draw(flags)),
    )


def episodes(dataset: OfflineDataset) -> list[list[int]]:
    """Rows of each trajectory, by a plain loop."""
    found: list[list[int]] = [[]]
    for row in range(len(dataset)):
        found[-1].append(row)
        if dataset.terminals[row] or dataset.timeouts[row]:
            found.append([])
    return [rows for rows in found if rows]


# what a dataset is


def test_arrays_become_float32_and_bool_and_are_not_copied_if_they_fit() -> None:
    dataset = make(terminals=[6])
    assert {a.dtype for a in (dataset.observations, dataset.actions, dataset.rewards)} == {
        np.dtype(np.float32)
    }
    assert dataset.terminals.dtype == bool
    assert np.shares_memory(replace(dataset).observations, dataset.observations)
    assert "7 transitions, 1 trajectories" in repr(dataset)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("observations", np.zeros((0, 3)), "at least one row"),
        ("observations", np.zeros(7), "observations must have shape"),
        ("rewards", np.zeros((7, 1)), r"rewards must have shape \(7,\), got \(7, 1\)"),
        ("actions", np.zeros((6, 2)), "actions must have shape"),
        ("next_observations", np.zeros((7, 4)), "next_observations must have shape"),
        ("observations", np.full((7, 3), np.nan), "observations must be finite"),
        ("rewards", np.full(7, 1e300), "rewards must be finite float32, got 1e[+]300 at index"),
        ("actions", np.full((7, 2), np.inf), "actions must be finite"),
        ("actions", np.tile([0.0, np.nan], (7, 1)), "whole row"),
        ("terminals", np.full(7, 2), "terminals must be False or True, got 2"),
        ("timeouts", np.zeros(6, bool), "timeouts must have shape"),
        ("costs", np.zeros(6), "costs must have shape"),
        ("infos", {"speed": np.zeros(6)}, r"infos\['speed'\] must have 7 rows"),
    ],
)
def test_what_is_no_dataset_is_refused(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(make(), **{field: value})


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(TypeError, match="rewards must be an array of real numbers"):
        make(rewards=np.array(["a"] * 7))
    with pytest.raises(TypeError, match="observations must be an array of real numbers"):
        make(observations=[[1.0], [1.0, 2.0]])


# trajectories


@SETTINGS
@given(datasets())
def test_trajectories_are_split_after_terminals_and_timeouts(dataset: OfflineDataset) -> None:
    expected = episodes(dataset)
    assert dataset.bounds.tolist() == [0, *np.cumsum([len(rows) for rows in expected])]
    assert dataset.n_trajectories == len(expected)
    assert dataset.lengths().tolist() == [len(rows) for rows in expected]
    assert dataset.ends_open == (not (dataset.terminals[-1] or dataset.timeouts[-1]))
    sums = [sum(float(dataset.rewards[row]) for row in rows) for rows in expected]
    np.testing.assert_allclose(dataset.returns(), sums, rtol=1e-12, atol=1e-12)
    for rows, one in zip(expected, dataset.trajectories(), strict=True):
        np.testing.assert_array_equal(one.actions, dataset.actions[rows])
        assert np.shares_memory(one.observations, dataset.observations)
        assert one.n_trajectories == 1


@SETTINGS
@given(datasets(), st.data())
def test_a_subset_has_the_chosen_trajectories_in_order(
    dataset: OfflineDataset, data: st.DataObject
) -> None:
    n = dataset.n_trajectories
    ids = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=2 * n))
    chosen = dataset.subset(ids)
    rows = [row for i in ids for row in episodes(dataset)[i]]
    np.testing.assert_array_equal(chosen.rewards, dataset.rewards[rows])
    np.testing.assert_array_equal(chosen.next_observations, dataset.next_observations[rows])
    assert chosen.lengths().tolist() == dataset.lengths()[ids].tolist()  # an open one is closed
    assert chosen.ends_open == (dataset.ends_open and ids[-1] == n - 1)


def test_all_trajectories_in_order_are_the_dataset() -> None:
    dataset = make(terminals=[2], timeouts=[4], costs=np.arange(7), infos={"x": np.eye(7)})
    assert dataset.subset(np.arange(3)).hash() == dataset.hash()


@pytest.mark.parametrize("ids", [[], [3], [-1], [0.5], np.ones(3, bool)])
def test_ids_of_no_trajectory_are_refused(ids: Any) -> None:
    with pytest.raises(ValueError, match="trajectory_ids must be"):
        make(terminals=[2], timeouts=[4]).subset(ids)


@SETTINGS
@given(st.lists(datasets(max_rows=6, dims=1), min_size=1, max_size=4))
def test_joined_datasets_keep_their_trajectories(parts: list[OfflineDataset]) -> None:
    hashes = [one.hash() for one in parts]
    whole = OfflineDataset.concat(parts)
    assert whole.lengths().tolist() == [int(n) for one in parts for n in one.lengths()]
    np.testing.assert_array_equal(whole.rewards, np.concatenate([one.rewards for one in parts]))
    np.testing.assert_array_equal(whole.terminals, np.concatenate([one.terminals for one in parts]))
    closed = [one.ends_open for one in parts[:-1]]  # by a timeout each, and no other is new
    assert whole.timeouts.sum() == sum(one.timeouts.sum() for one in parts) + sum(closed)
    assert whole.ends_open == parts[-1].ends_open
    assert [one.hash() for one in parts] == hashes  # no part was written to


def test_joined_datasets_agree_in_what_they_have() -> None:
    one = make(meta={"env_id": "a", "seed": 1}, costs=np.ones(7), infos={"x": np.ones(7)})
    two = make(meta={"env_id": "a", "seed": 2}, costs=np.zeros(7), infos={"x": np.ones(7)})
    whole = OfflineDataset.concat([one, two])
    assert whole.meta == {"env_id": "a", "parts": [dict(one.meta), dict(two.meta)]}
    assert whole.costs is not None
    np.testing.assert_array_equal(whole.costs, np.repeat([1.0, 0.0], 7))
    for other in (make(), replace(two, costs=None), replace(two, infos={}), make(d_s=2)):
        with pytest.raises(ValueError, match="datasets must agree"):
            OfflineDataset.concat([one, other])
    with pytest.raises(ValueError, match="at least one"):
        OfflineDataset.concat([])


@SETTINGS
@given(datasets(), st.data())
def test_the_first_rows_end_by_a_timeout_unless_by_a_terminal(
    dataset: OfflineDataset, data: st.DataObject
) -> None:
    n = data.draw(st.integers(1, len(dataset)))
    start = dataset.first(n)
    np.testing.assert_array_equal(start.observations, dataset.observations[:n])
    np.testing.assert_array_equal(start.terminals, dataset.terminals[:n])
    np.testing.assert_array_equal(start.timeouts[:-1], dataset.timeouts[: n - 1])
    assert not start.ends_open
    with pytest.raises(ValueError, match="at most"):
        dataset.first(len(dataset) + 1)


def test_scores_are_0_and_100_at_the_references() -> None:
    dataset = make(meta={"ref_min": -50.0, "ref_max": 150.0})
    np.testing.assert_allclose(dataset.normalised_score([-50, 150, 50]), [0, 100, 50])
    for meta in ({}, {"ref_min": 1.0}, {"ref_min": 1.0, "ref_max": 1.0}):
        with pytest.raises(ValueError, match="ref_min < ref_max"):
            make(meta=meta).normalised_score(0.0)


# what learners take


def test_samples_are_rows_drawn_uniformly() -> None:
    dataset = make(n=5, costs=np.arange(5), rewards=np.arange(5), terminals=[1])
    batch = dataset.sample(np.random.default_rng(0), 20_000)
    rows = batch["rewards"].astype(int)
    for name in ("observations", "actions", "next_observations", "terminals", "timeouts", "costs"):
        np.testing.assert_array_equal(batch[name], getattr(dataset, name)[rows])
    counts = np.bincount(rows, minlength=5)
    assert np.abs(counts - 4000).max() <= 4 * np.sqrt(20_000 * 0.2 * 0.8)  # four deviations
    again = dataset.sample(np.random.default_rng(0), 20_000)
    np.testing.assert_array_equal(batch["actions"], again["actions"])


def test_normalised_states_have_mean_0_and_deviation_1() -> None:
    observations = np.random.default_rng(0).normal([5, -2, 0], [0.1, 3, 1], (500, 3))
    observations[:, 2] = 4.0  # constant
    dataset = make(n=500, observations=observations)
    scaled, mean, std = dataset.normalise_states()
    np.testing.assert_allclose(scaled.observations.mean(axis=0), 0, atol=1e-5)  # float32
    np.testing.assert_allclose(scaled.observations[:, :2].std(axis=0), 1, atol=1e-4)
    assert std[2] == np.float32(1e-6)
    np.testing.assert_array_equal(scaled.observations[:, 2], 0)
    np.testing.assert_array_equal(
        scaled.next_observations, (dataset.next_observations - mean) / std
    )
    assert scaled.rewards is dataset.rewards


@SETTINGS
@given(datasets(), st.integers(0, 4))
def test_windows_are_those_of_a_plain_loop(dataset: OfflineDataset, k: int) -> None:
    d_s = dataset.observations.shape[1]
    expected = np.zeros((len(dataset), k + 2, d_s), dtype=np.float32)
    for rows in episodes(dataset):
        for t, row in enumerate(rows):
            for j in range(k + 1):
                if t - k + j >= 0:
                    expected[row, j] = dataset.observations[rows[t - k + j]]
            expected[row, k + 1] = dataset.next_observations[row]
    windows = dataset.windows(k)
    assert windows.shape == (len(dataset), (k + 2) * d_s)
    np.testing.assert_array_equal(windows, expected.reshape(len(dataset), -1))


def test_a_window_without_past_is_the_state_and_the_next_one() -> None:
    dataset = make(terminals=[3])
    expected = np.hstack([dataset.observations, dataset.next_observations])
    np.testing.assert_array_equal(dataset.windows(0), expected)


@SETTINGS
@given(datasets(), st.integers(1, 5), st.booleans())
def test_sequences_are_those_of_a_plain_loop(dataset: OfflineDataset, K: int, some: bool) -> None:
    last = np.arange(0, len(dataset), 2) if some else None
    contexts = dataset.sequences(K, last)
    place = {row: (rows, t) for rows in episodes(dataset) for t, row in enumerate(rows)}
    for i, row in enumerate(range(0, len(dataset), 2 if some else 1)):
        rows, t = place[row]
        for j in range(K):
            s = t - K + 1 + j
            assert contexts["mask"][i, j] == (s >= 0)
            if s < 0:
                assert all(not np.any(value[i, j]) for value in contexts.values())
                continue
            at = rows[s]
            np.testing.assert_array_equal(contexts["observations"][i, j], dataset.observations[at])
            np.testing.assert_array_equal(contexts["actions"][i, j], dataset.actions[at])
            assert contexts["rewards"][i, j] == dataset.rewards[at]
            assert contexts["timesteps"][i, j] == s
            to_go = sum(float(dataset.rewards[later]) for later in rows[s:])
            np.testing.assert_allclose(contexts["returns_to_go"][i, j], to_go, atol=1e-5)


def test_returns_to_go_of_1_2_3_are_6_5_3_in_each_trajectory() -> None:
    dataset = make(n=6, rewards=[1, 2, 3, 1, 2, 3], timeouts=[2])
    np.testing.assert_array_equal(dataset.returns_to_go, [6, 5, 3, 6, 5, 3])
    np.testing.assert_array_equal(dataset.timesteps, [0, 1, 2, 0, 1, 2])


def test_numbers_out_of_range_are_refused() -> None:
    dataset = make()
    for call in (
        lambda: dataset.windows(-1),
        lambda: dataset.sequences(0),
        lambda: dataset.sequences(2, np.array([7])),
        lambda: dataset.sequences(2, np.array([0.5])),
        lambda: dataset.sample(np.random.default_rng(0), 0),
        lambda: dataset.normalise_states(0.0),
    ):
        with pytest.raises(ValueError, match="must be"):
            call()


# labels


def test_actions_that_were_not_recorded_are_nan_and_other_fields_stay() -> None:
    dataset = make(terminals=[3])
    hidden = dataset.without_actions()
    assert not hidden.labelled.any()
    assert dataset.labelled.all()
    for name in ("observations", "rewards", "next_observations", "terminals", "timeouts"):
        assert getattr(hidden, name) is getattr(dataset, name)
    assert hidden.relabel(dataset.actions).hash() == dataset.hash()
    half = dataset.actions.copy()
    half[::2] = np.nan
    assert dataset.relabel(half).labelled.tolist() == [bool(i % 2) for i in range(7)]
    with pytest.raises(ValueError, match="one to each row"):
        dataset.relabel(half[:3])


def test_the_hash_depends_on_every_array_and_on_nothing_else() -> None:
    dataset = make(costs=np.ones(7), infos={"x": np.ones(7), "y": np.zeros(7)})
    same = replace(dataset, meta={"seed": 3}, infos={"y": np.zeros(7), "x": np.ones(7)})
    assert same.hash() == dataset.hash()
    others = [replace(dataset, costs=None), replace(dataset, infos={"x": dataset.infos["x"]})]
    others.append(replace(dataset, infos={"x": np.ones(7), "y": np.zeros(7, np.int64)}))
    others += [
        replace(dataset, **{name: 1 - getattr(dataset, name)})
        for name in ("observations", "actions", "rewards", "next_observations", "costs")
    ]
    others += [
        replace(dataset, **{name: ~getattr(dataset, name)}) for name in ("terminals", "timeouts")
    ]
    assert len({one.hash() for one in [dataset, *others]}) == len(others) + 1
