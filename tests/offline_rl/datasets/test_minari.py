"""Minari's layout as others write it, and as the package minari reads ours."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fenchel.offline_rl.datasets import generate, load_minari, to_minari

h5py = pytest.importorskip("h5py")


def episode(T: int, start: float = 0.0) -> dict[str, Any]:
    """Observations start, start + 1, ...; ends by truncation."""
    return {
        "observations": start
        + np.arange(T + 1, dtype=np.float32)[:, None] * np.ones(2, np.float32),
        "actions": np.full((T, 1), 0.5, np.float32),
        "rewards": np.arange(T, dtype=np.float64),
        "terminations": np.zeros(T, bool),
        "truncations": np.arange(T) == T - 1,
    }


def write(folder: Path, episodes: list[dict[str, Any]], **record: Any) -> Path:
    (folder / "data").mkdir(parents=True)
    with h5py.File(folder / "data" / "main_data.hdf5", "w") as file:
        for number, arrays in enumerate(episodes):
            for name, value in arrays.items():
                file.create_dataset(f"episode_{number}/{name}", data=value)
    record = {"total_episodes": len(episodes), "dataset_id": "some/id-v0"} | record
    (folder / "data" / "metadata.json").write_text(json.dumps(record))
    return folder


def test_episodes_follow_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    episodes = [episode(2, start=10.0 * i) for i in range(12)]  # episode_10 sorts before episode_2
    dataset = load_minari(write(tmp_path / "a", episodes))
    assert dataset.observations[::2, 0].tolist() == [10 * i for i in range(12)]
    assert dataset.lengths().tolist() == [2] * 12


def test_next_observations_are_those_one_later(tmp_path: Path) -> None:
    second = episode(3, start=100.0)
    second["terminations"][-1], second["truncations"][-1] = True, False
    dataset = load_minari(write(tmp_path / "a", [episode(2), second]))
    assert dataset.observations[:, 0].tolist() == [0, 1, 100, 101, 102]
    assert dataset.next_observations[:, 0].tolist() == [1, 2, 101, 102, 103]
    assert dataset.timeouts.tolist() == [False, True, False, False, False]
    assert dataset.terminals.tolist() == [False, False, False, False, True]


def test_an_episode_without_an_end_is_cut_where_the_next_begins(tmp_path: Path) -> None:
    first, second = episode(2), episode(2)
    first["truncations"][:] = second["truncations"][:] = False
    dataset = load_minari(write(tmp_path / "a", [first, second]))
    assert dataset.timeouts.tolist() == [False, True, False, False]
    assert dataset.ends_open


def test_nested_observations_lie_side_by_side_and_infos_lose_the_reset(tmp_path: Path) -> None:
    one = episode(3)
    del one["observations"]
    one |= {
        "observations/goal": np.full((4, 1), 9.0),
        "observations/achieved/_index_10": np.full((4, 1), 7.0),
        "observations/achieved/_index_2": np.full((4, 2), 5.0),
        "infos/speed": np.arange(4.0),
        "infos/cost": np.array([1.0, 0.0, 1.0]),
        "infos/text": np.array([b"a"] * 4),
    }
    dataset = load_minari(write(tmp_path / "a", [one]))
    np.testing.assert_array_equal(dataset.observations, np.tile([5.0, 5, 7, 9], (3, 1)))
    assert set(dataset.infos) == {"speed"}
    assert dataset.infos["speed"].tolist() == [1, 2, 3]
    assert dataset.costs is not None
    assert dataset.costs.tolist() == [1, 0, 1]


def test_meta_is_that_of_the_record(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "a",
        [episode(2)],
        env_spec=json.dumps({"id": "Hopper-v5"}),
        ref_min_score=-1.0,
        ref_max_score=5.0,
        algorithm_name="SAC",
    )
    dataset = load_minari(folder)
    assert dataset.meta == {
        "name": "some/id-v0",
        "format": "Minari",
        "env_id": "Hopper-v5",
        "ref_min": -1.0,
        "ref_max": 5.0,
        "algorithm": "SAC",
    }
    np.testing.assert_allclose(dataset.normalised_score(2.0), 50.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observations": np.zeros((3, 2))}, r"episode 1 has observations of shapes \[\(3, 2\)\]"),
        ({"actions": np.zeros((2, 1))}, "episode 1 has actions of shapes"),
        ({"rewards": None}, "episode 1 has no observations"),
        ({"truncations": None}, "episode 1 has no truncations"),
        ({"actions": np.zeros(3, np.int64)}, "actions are int64; take a task with continuous"),
        ({"observations": np.zeros((4, 5))}, "differ in their columns"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_file(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    odd = {k: v for k, v in (episode(3) | change).items() if v is not None}
    folder = write(tmp_path / "a", [episode(2), odd])
    with pytest.raises(ValueError, match=rf"main_data\.hdf5 .*{message}"):
        load_minari(folder)


def test_missing_episodes_are_noticed(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", [episode(2)], total_episodes=3)
    with pytest.raises(ValueError, match="1 episodes instead of 3; it may be cut short"):
        load_minari(folder)


def test_an_unknown_id_is_told_where_it_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/mujoco/hopper/medium-v0; put its"):
        load_minari("mujoco/hopper/medium-v0")


@pytest.mark.filterwarnings("ignore:.* None:UserWarning")  # minari, of authors and the like
def test_minari_reads_what_is_written_and_its_other_format_is_read_through_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minari = pytest.importorskip("minari")
    pytest.importorskip("PIL")
    from gymnasium.spaces import Box

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    dataset = generate("PointMass2D/expert", n_transitions=200, cache=False)
    to_minari(dataset, "test/ours-v0")
    theirs = minari.load_dataset("test/ours-v0")
    assert (theirs.total_episodes, theirs.total_steps) == (2, 200)
    first = theirs[0]
    np.testing.assert_array_equal(first.observations[:-1], dataset.observations[:100])
    np.testing.assert_array_equal(first.observations[1:], dataset.next_observations[:100])
    np.testing.assert_array_equal(first.actions, dataset.actions[:100])
    assert load_minari("test/ours-v0").hash() == dataset.hash()

    buffers = [
        minari.data_collector.EpisodeBuffer(id=i, **{k: list(v) for k, v in episode(T).items()})
        for i, T in enumerate((2, 3))
    ]
    minari.create_dataset_from_buffers(
        "test/arrow-v0",
        buffers,
        observation_space=Box(-np.inf, np.inf, (2,)),
        action_space=Box(-1, 1, (1,)),
        data_format="arrow",
    )
    through = load_minari("test/arrow-v0")
    assert through.rewards.tolist() == [0, 1, 0, 1, 2]
    assert through.next_observations[:, 0].tolist() == [1, 2, 1, 2, 3]


def test_trajectories_with_gaps_are_not_for_minari(tmp_path: Path) -> None:
    pytest.importorskip("minari")
    dataset = generate("LQR/expert", n_transitions=50, cache=False)
    next_observations = dataset.next_observations.copy()
    next_observations[7] += 1
    fields = {name: getattr(dataset, name) for name in ("observations", "actions", "rewards")}
    gapped = type(dataset)(
        **fields,
        next_observations=next_observations,
        terminals=dataset.terminals,
        timeouts=dataset.timeouts,
    )
    with pytest.raises(ValueError, match="got others in row 7; write with to_parquet"):
        to_minari(gapped, "test/gaps-v0")
