import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from fenchel.core.checks import FloatArray
from fenchel.offline_rl.datasets import OfflineDataset, available, cache_root, generate
from fenchel.offline_rl.envs import LQR, Dynamics, PointMass2D, StitchMaze2D

DYNAMICS: dict[str, type[Dynamics]] = {
    "PointMass2D": PointMass2D,
    "StitchMaze2D": StitchMaze2D,
    "LQR": LQR,
}
SCRIPTED = [name for name in available() if name.split("/")[0] in DYNAMICS]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FENCHEL_DATA", str(tmp_path / "data"))


def make(name: str, n: int = 6000, seed: int = 0) -> OfflineDataset:
    return generate(name, n_transitions=n, seed=seed, cache=False)


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_seed_gives_one_dataset_and_another_seed_another(name: str) -> None:
    np.random.seed(1)  # noqa: NPY002
    first = make(name, 1500)
    assert make(name, 1500).hash() == first.hash()
    assert make(name, 1500, seed=1).hash() != first.hash()
    drawn = np.random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert drawn == np.random.random()  # noqa: NPY002


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_smaller_size_is_the_beginning_of_each_source(name: str) -> None:
    small, large = make(name, 1500), make(name, 12_000)
    assert (len(small), len(large)) == (1500, 12_000)
    for source in range(len(small.meta["sources"])):
        here, there = (one.infos["source"] == source for one in (small, large))
        n = int(here.sum())
        for field in ("observations", "actions", "rewards", "next_observations", "terminals"):
            np.testing.assert_array_equal(
                getattr(small, field)[here], getattr(large, field)[there][:n]
            )
        np.testing.assert_array_equal(small.timeouts[here][:-1], large.timeouts[there][: n - 1])


@pytest.mark.parametrize("name", SCRIPTED)
def test_each_row_is_one_step_of_the_world(name: str) -> None:
    dataset = make(name)
    dynamics = DYNAMICS[name.split("/")[0]]()
    following, reward, terminated = dynamics.step(
        dataset.observations.astype(np.float64), dataset.actions.astype(np.float64)
    )
    # states up to 2 were rounded to float32, 1e−7; a wall may be met, or not, by the rounded one
    moved = np.abs(following[:, :2] - dataset.next_observations[:, :2])
    assert moved.max() <= 1e-6
    speeds = np.abs(following[:, 2:] - dataset.next_observations[:, 2:]) <= 1e-6
    assert speeds.mean() >= (0.999 if name.startswith("Stitch") else 1.0)
    np.testing.assert_allclose(reward, dataset.rewards, atol=2e-5)
    np.testing.assert_array_equal(terminated, dataset.terminals)
    assert np.abs(dataset.actions).max() <= 1
    inner = ~(dataset.terminals | dataset.timeouts)[:-1]
    np.testing.assert_array_equal(
        dataset.observations[1:][inner], dataset.next_observations[:-1][inner]
    )


@pytest.mark.parametrize("name", SCRIPTED)
def test_episodes_end_at_the_goal_or_at_the_time_limit(name: str) -> None:
    dataset = make(name)
    limit = 100 if name.endswith("halves") else DYNAMICS[name.split("/")[0]].horizon
    for one in dataset.trajectories()[:-1]:
        if one.infos["source"][0] != dataset.infos["source"][-1]:
            continue  # the last of the first source is cut to fit
        assert len(one) <= limit
        assert one.terminals[-1] or len(one) == limit
        assert one.terminals[-1] != one.timeouts[-1]
    assert not dataset.ends_open


@pytest.mark.parametrize("world", DYNAMICS)
def test_tiers_are_ordered_and_medium_is_about_a_third(world: str) -> None:
    tiers = ("random", "medium", "medium-replay", "expert")
    sets = {tier: generate(f"{world}/{tier}", cache=False) for tier in tiers}
    scores = {tier: one.normalised_score(one.returns().mean()) for tier, one in sets.items()}
    assert abs(scores["random"]) <= 4  # the point mass's reference has an error of 3
    assert 25 <= scores["medium"] <= 45
    assert scores["medium"] < scores["expert"]
    assert abs(scores["expert"] - 100) <= 2
    spread = sets["medium-replay"].normalised_score(sets["medium-replay"].returns())
    assert np.quantile(spread, 0.1) < scores["medium"] < np.quantile(spread, 0.8)


def test_medium_expert_has_equally_many_transitions_of_both() -> None:
    both = make("PointMass2D/medium-expert", 4001)
    assert both.meta["sources"] == ["medium", "expert"]
    assert both.meta["counts"] == np.bincount(both.infos["source"]).tolist() == [2000, 2001]
    medium = both.subset(np.flatnonzero(both.infos["source"][both.bounds[:-1]] == 0))
    assert make("PointMass2D/medium", 2000).relabel(medium.actions).hash() == (
        make("PointMass2D/medium", 2000).hash()
    )


def test_meta_says_where_the_data_come_from() -> None:
    meta = make("LQR/medium", seed=3).meta
    assert meta["name"] == "LQR/medium"
    assert meta["env_id"] == "fenchel/LQR-v0"
    assert meta["seed"] == 3
    assert meta["created_by"] == "self-generated"
    assert (meta["ref_min"], meta["ref_max"]) == LQR().reference_returns
    assert meta["versions"]["numpy"] == np.__version__


# halves of the maze


@pytest.fixture(scope="module")
def halves() -> OfflineDataset:
    return generate("StitchMaze2D/halves", n_transitions=10_000, cache=False)


def test_no_trajectory_goes_from_start_to_goal_but_halves_meet(halves: OfflineDataset) -> None:
    maze = StitchMaze2D()
    for one in halves.trajectories():
        progress = maze.progress(one.next_observations.astype(np.float64))
        begun = maze.progress(one.observations[:1].astype(np.float64))[0]
        if one.infos["route"][0] == 0:
            assert begun < 0.5
            assert progress.max() < 5.5  # still at the bottom, of the 9 to the goal
            assert not one.terminals.any()
            assert one.rewards.sum() == 0
        else:
            assert 3.75 < begun < 5.25
            assert min(begun, progress.min()) > 3.5  # never in the arm of the start
            assert one.rewards.sum() == one.terminals.sum()
    assert 1500 < np.bincount(halves.infos["route"])[1] < 3000  # of 10 000 rows
    states = [halves.observations[halves.infos["route"] == route] for route in (0, 1)]
    distance, _ = cKDTree(states[0]).query(states[1])
    assert np.sum(distance < 0.1) >= 100  # positions and speeds alike


def test_imitation_stops_in_the_middle_and_stitching_reaches_the_goal(
    halves: OfflineDataset,
) -> None:
    maze, tree = StitchMaze2D(), cKDTree(halves.observations)

    def solved(policy: object) -> float:
        state = maze.reset(20, np.random.default_rng(1))
        over = np.zeros(20, dtype=bool)
        for _ in range(maze.horizon):
            following, _, there = maze.step(state, policy(state))  # type: ignore[operator]
            state = np.where(over[:, None], state, following)
            over |= there
        return float(over.mean())

    def imitate(state: FloatArray) -> FloatArray:  # mean action of the 20 nearest states
        actions: FloatArray = halves.actions[tree.query(state, k=20)[1]].mean(axis=1)
        return actions

    # value iteration on the data: a row's best continuation is the best of 10 rows near its end
    _, near = tree.query(halves.next_observations, k=10)
    value = np.zeros(len(halves))
    for _ in range(150):
        value = halves.rewards + 0.98 * ~halves.terminals * value[near].max(axis=1)

    def stitch(state: FloatArray) -> FloatArray:
        _, rows = tree.query(state, k=10)
        best = rows[np.arange(len(state)), value[rows].argmax(axis=1)]
        return halves.actions[best].astype(np.float64)

    assert solved(imitate) == 0.0
    assert solved(stitch) == 1.0


# the door


def test_a_name_that_does_not_exist_is_told_what_does() -> None:
    with pytest.raises(ValueError, match="did you mean PointMass2D/medium-replay") as caught:
        generate("PointMass/medium-replay")
    assert all(name in str(caught.value) for name in available())
    with pytest.raises(ValueError, match="load_d4rl"):
        generate("kitchen-mixed-v0")


def test_numbers_that_do_not_go_with_the_name_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing is trained"):
        generate("LQR/medium", training_steps=100)
    with pytest.raises(ValueError, match="all that the agent met"):
        generate("Pendulum-v1/medium-replay", n_transitions=100)
    with pytest.raises(ValueError, match="n_transitions must be at least 2"):
        generate("LQR/medium", n_transitions=1)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        generate("LQR/medium", seed=-1)
    with pytest.raises(ValueError, match="training_steps must be at least 20"):
        generate("Pendulum-v1/medium", training_steps=19)  # one step for each evaluation
    with pytest.raises(TypeError, match="training_steps"):
        generate("Pendulum-v1/medium", training_steps=1.5)  # type: ignore[arg-type]


def test_what_was_generated_is_read_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    first = generate("LQR/medium", n_transitions=500)
    assert (cache_root() / "LQR" / "medium-s0-n500-g3" / "meta.json").exists()
    monkeypatch.setattr("fenchel.offline_rl.datasets.scripted.collect", None)  # not called again
    again = generate("LQR/medium", n_transitions=500)
    assert again.hash() == first.hash()
    assert again.meta == first.meta
    with pytest.raises(TypeError):
        generate("LQR/medium", n_transitions=501)


def test_importing_the_datasets_loads_nothing_heavy() -> None:
    code = "import sys, fenchel.offline_rl.datasets; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "fenchel" in loaded
    assert not loaded & {"torch", "stable_baselines3", "h5py", "minari", "gymnasium", "pandas"}
