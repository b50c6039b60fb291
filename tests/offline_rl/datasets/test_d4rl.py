"""Files of D4RL's layout as others write them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fenchel.offline_rl.datasets import load_d4rl

h5py = pytest.importorskip("h5py")


def arrays(n: int, terminals: Any = (), timeouts: Any = ()) -> dict[str, Any]:
    """Row i has observation (i, −i), reward i and action i/100."""
    i = np.arange(n, dtype=np.float32)
    return {
        "observations": np.stack([i, -i], axis=1),
        "actions": i[:, None] / 100,
        "rewards": i,
        "terminals": np.isin(np.arange(n), terminals),
        "timeouts": np.isin(np.arange(n), timeouts),
    }


def write(path: Path, columns: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in columns.items():
            file.create_dataset(name, data=value)
    return path


def test_without_next_observations_timeouts_are_dropped_and_terminals_kept(tmp_path: Path) -> None:
    # episodes: 0 1 2 (terminal), 3 4 5 (timeout), 6 7 (end of file)
    dataset = load_d4rl(write(tmp_path / "a.hdf5", arrays(8, terminals=[2], timeouts=[5])))
    assert dataset.rewards.tolist() == [0, 1, 2, 3, 4, 6]
    assert np.flatnonzero(dataset.terminals).tolist() == [2]
    assert np.flatnonzero(dataset.timeouts).tolist() == [4]  # row 4 became the last of its episode
    assert dataset.next_observations[:, 0].tolist() == [1, 2, 2, 4, 5, 7]
    assert dataset.infos["next_unknown"].tolist() == [False, False, True, False, False, False]
    assert dataset.lengths().tolist() == [3, 2, 1]
    assert dataset.ends_open


def test_a_terminal_in_the_last_row_is_kept(tmp_path: Path) -> None:
    dataset = load_d4rl(write(tmp_path / "a.hdf5", arrays(3, terminals=[2])))
    assert dataset.rewards.tolist() == [0, 1, 2]
    assert not dataset.ends_open


def test_a_row_that_is_terminal_and_timeout_is_a_terminal(tmp_path: Path) -> None:
    dataset = load_d4rl(write(tmp_path / "a.hdf5", arrays(4, terminals=[1], timeouts=[1, 3])))
    assert dataset.rewards.tolist() == [0, 1, 2]
    assert dataset.terminals.tolist() == [False, True, False]
    assert dataset.timeouts.tolist() == [False, True, True]


def test_with_next_observations_every_row_is_kept(tmp_path: Path) -> None:
    columns = arrays(6, terminals=[2], timeouts=[4])
    columns["next_observations"] = columns["observations"] + 0.5
    path = write(tmp_path / "a.hdf5", columns)
    dataset = load_d4rl(path)
    assert len(dataset) == 6
    np.testing.assert_array_equal(dataset.next_observations, columns["next_observations"])
    assert dataset.lengths().tolist() == [3, 2, 1]
    assert "next_unknown" not in dataset.infos
    compatible = load_d4rl(path, d4rl_compat=True)
    assert compatible.rewards.tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(compatible.timeouts).tolist() == [3]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from("-TO"), min_size=3, max_size=12), st.booleans())
def test_compatible_rows_are_those_of_d4rls_loop(
    tmp_path: Path, ends: list[str], stored: bool
) -> None:
    n = len(ends)
    terminals = [i for i, end in enumerate(ends) if end == "T"]
    timeouts = [i for i, end in enumerate(ends) if end == "O"]
    expected = []  # (reward, s', terminal): qlearning_dataset with terminate_on_end=False
    for i in range(n - 1):
        if i not in timeouts:
            expected.append((i, i + 1, i in terminals))
    columns = arrays(n, terminals, timeouts)
    if stored:
        columns["next_observations"] = columns["observations"] + [1, -1]
    path = write(tmp_path / "a.hdf5", columns)
    if not expected:
        with pytest.raises(ValueError, match="no row"):
            load_d4rl(path, d4rl_compat=True)
        return
    dataset = load_d4rl(path, d4rl_compat=True)
    assert dataset.rewards.tolist() == [reward for reward, _, _ in expected]
    assert dataset.terminals.tolist() == [terminal for _, _, terminal in expected]
    bootstrapped = ~dataset.terminals  # s' of terminals is not looked at
    following = np.array([row for _, row, _ in expected])
    np.testing.assert_array_equal(
        dataset.next_observations[bootstrapped, 0], following[bootstrapped]
    )
    for one in dataset.trajectories():  # no trajectory reaches across a timeout
        assert (np.diff(one.rewards) == 1).all()


def test_without_timeouts_steps_are_counted_against_the_time_limit(tmp_path: Path) -> None:
    columns = arrays(10, terminals=[1, 4])
    del columns["timeouts"]
    path = write(tmp_path / "a.hdf5", columns)
    with pytest.raises(ValueError, match=r"a\.hdf5 .*no timeouts; pass max_episode_steps"):
        load_d4rl(path)
    dataset = load_d4rl(path, max_episode_steps=3)  # 0 1T | 2 3 4T | 5 6 7O | 8 9
    assert dataset.rewards.tolist() == [0, 1, 2, 3, 4, 5, 6, 8]
    assert dataset.lengths().tolist() == [2, 3, 2, 1]  # the terminal in the third step is one
    with pytest.raises(ValueError, match="max_episode_steps must be at least 1"):
        load_d4rl(path, max_episode_steps=0)


def test_columns_are_squeezed_and_costs_infos_and_metadata_are_read(tmp_path: Path) -> None:
    columns = arrays(4, timeouts=[3])
    columns["next_observations"] = columns["observations"]
    columns["rewards"] = columns["rewards"][:, None].astype(np.float64)
    columns["terminals"] = columns["terminals"][:, None].astype(np.uint8)
    columns["costs"] = np.ones((4, 1))
    columns |= {"infos/qpos": np.ones((4, 3)), "infos/action/log_prob": np.zeros(4)}
    columns |= {"metadata/algorithm": "SAC", "metadata/policy/weight": np.ones(3)}
    dataset = load_d4rl(write(tmp_path / "a.hdf5", columns))
    assert dataset.rewards.tolist() == [0, 1, 2, 3]
    assert dataset.costs is not None
    assert dataset.costs.tolist() == [1, 1, 1, 1]
    assert set(dataset.infos) == {"qpos", "action/log_prob"}
    assert dataset.meta == {"name": "a.hdf5", "format": "D4RL", "algorithm": "SAC"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": None}, "it has no actions"),
        ({"rewards": np.zeros(3)}, "differ in their numbers of rows"),
        ({"infos/qpos": np.zeros((3, 2))}, "differ in their numbers of rows"),
        ({"terminals": np.full(4, 2)}, "terminals are not"),
        ({"observations": np.full((4, 2), np.nan)}, "observations must be finite"),
        ({"rewards": np.zeros((4, 2))}, "rewards must have shape"),
        ({"actions": np.tile([np.nan, 1.0], (4, 1))}, "whole row"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_the_file(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    columns = {k: v for k, v in (arrays(4) | change).items() if v is not None}
    path = write(tmp_path / "odd.hdf5", columns)
    with pytest.raises(ValueError, match=rf"odd\.hdf5 .*{message}"):
        load_d4rl(path)


def test_ragged_arrays_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "odd.hdf5", {k: v for k, v in arrays(4).items() if k != "actions"})
    with h5py.File(path, "a") as file:
        file.create_dataset("actions", (4,), dtype=h5py.vlen_dtype(np.float32))
        for i in range(4):
            file["actions"][i] = np.zeros(i + 1)
    with pytest.raises(ValueError, match=r"odd\.hdf5 .*actions must be an array of real numbers"):
        load_d4rl(path)


def test_a_missing_file_is_told_where_it_belongs_and_what_stands_in(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"hopper\.hdf5; .*generate\('Hopper-v5/medium'\)"):
        load_d4rl(tmp_path / "hopper.hdf5")
