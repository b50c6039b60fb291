"""Worlds with a single reward: moves, optimal values, and snapshots of them."""

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env

from fenchel.mdp.snapshot import capture, restore
from fenchel.mdp.snapshot.worlds import LOST, SparseWorld, chain, four_rooms, optimal_values

WORLDS = (chain, four_rooms)


@pytest.mark.parametrize("make", WORLDS)
def test_gymnasiums_checker_is_content(make: Callable[[], SparseWorld]) -> None:
    check_env(make(), skip_render_check=True)


def test_a_mistake_ends_the_chain_and_the_last_step_is_rewarded() -> None:
    env = chain(4)
    assert env.reset(seed=0) == (0, {})
    assert env.step(1) == (1, 0.0, False, False, {})
    assert env.step(0) == (1, 0.0, True, False, {})
    env.reset()
    assert [env.step(1)[:3] for _ in range(3)] == [(1, 0.0, False), (2, 0.0, False), (3, 1.0, True)]


def test_undirected_exploration_of_the_chain_takes_exponentially_long() -> None:
    """The first run of n − 1 ones among fair coins takes 2ⁿ − 2 of them on average."""
    env, rng = chain(6), np.random.default_rng(0)
    times = []
    for _ in range(400):
        t, reward = 0, 0.0
        env.reset()
        while reward == 0.0:
            _, reward, terminated, _, _ = env.step(int(rng.integers(2)))
            t += 1
            if terminated:
                env.reset()
        times.append(t)
    error = np.std(times, ddof=1) / np.sqrt(len(times))
    assert abs(np.mean(times) - (2**6 - 2)) <= 3 * error


def test_four_rooms_are_those_of_the_paper() -> None:
    world = four_rooms()
    n = len(world.moves)
    assert n == 104
    back = [2, 3, 0, 1]  # up and down, right and left
    for state in range(n):
        for action, found in enumerate(world.moves[state]):
            assert found == state or world.moves[found, back[action]] == state
    doors = (world.moves != np.arange(n)[:, None]).sum(axis=1) == 2
    assert doors.sum() == 4 + 4 * 4  # and the corners of the rooms


@pytest.mark.parametrize("make", WORLDS)
def test_optimal_values_fall_by_the_discount_with_each_step(
    make: Callable[[], SparseWorld],
) -> None:
    """V(s) = γ^{d(s) − 1}, d by breadth first from the goal."""
    world, discount = make(), 0.9
    n = len(world.moves)
    distance = np.full(n, np.inf)
    distance[world.goal] = 0
    for d in range(n):
        leads = (world.moves != LOST) & (distance[world.moves] == d)
        distance[leads.any(axis=1) & np.isinf(distance)] = d + 1
    q = optimal_values(world, discount)
    expected = np.where(distance == 0, 0.0, discount ** (distance - 1))
    np.testing.assert_allclose(q.max(axis=1), expected, rtol=1e-12)
    assert distance[world.start] == {chain: 49, four_rooms: 20}[make]
    env = make()
    state, _ = env.reset()
    rewards = []
    for _ in range(int(distance[world.start])):
        state, reward, terminated, _, _ = env.step(int(q[state].argmax()))
        rewards.append(reward)
    assert terminated
    assert rewards[-1] == 1.0 == sum(rewards)


@pytest.mark.parametrize("make", WORLDS)
def test_snapshots_are_of_the_place(make: Callable[[], SparseWorld]) -> None:
    env, other = make(), make()
    found = env.reset(seed=0)
    for _ in range(3):
        observation, _, _, _, info = env.step(1)
        found = observation, info
    snapshot = capture(env, *found)
    assert snapshot.state == {"state": env.state}
    other.reset(seed=1)
    assert restore(other, snapshot) == found
    assert other.step(1) == env.step(1)


def test_a_snapshot_of_another_world_is_refused() -> None:
    env = chain(5)
    snapshot = capture(env, *env.reset(seed=0))
    longer = chain(6)
    longer.reset(seed=0)
    with pytest.raises(ValueError, match="another model"):
        restore(longer, snapshot)


def test_what_is_no_world_is_refused() -> None:
    moves = np.zeros((3, 2), int)
    with pytest.raises(ValueError, match="moves must be states below 3"):
        SparseWorld(moves + 3, start=0, goal=2)
    with pytest.raises(ValueError, match="moves must be states below 3"):
        SparseWorld(moves - 2, start=0, goal=2)
    with pytest.raises(ValueError, match="two of 3, got 1 and 1"):
        SparseWorld(moves, start=1, goal=1)
    with pytest.raises(ValueError, match="two of 3, got 0 and 3"):
        SparseWorld(moves, start=0, goal=3)
    with pytest.raises(ValueError, match="length must be at least 2"):
        chain(1)
    with pytest.raises(ValueError, match="discount"):
        optimal_values(chain(3), 1.0)
