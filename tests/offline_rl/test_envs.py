import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from fenchel.core.checks import BoolArray, FloatArray
from fenchel.offline_rl import envs
from fenchel.offline_rl.envs import LQR, Dynamics, PointMass2D, StitchMaze2D, noisy

WORLDS: tuple[type[Dynamics], ...] = (PointMass2D, StitchMaze2D, LQR)


def returns(dynamics: Dynamics, quality: float | str, n: int, seed: int) -> FloatArray:
    """Undiscounted, over the horizon, (n,)."""
    rng = np.random.default_rng(seed)
    state, total, alive = dynamics.reset(n, rng), np.zeros(n), np.ones(n, dtype=bool)
    for _ in range(dynamics.horizon):
        if quality == "random":
            action = rng.uniform(-1.0, 1.0, (n, dynamics.n_actions))
        elif quality == "expert":
            action = dynamics.expert(state)
        else:
            action = dynamics.controller(state, float(quality), rng)
        state, reward, terminated = dynamics.step(state, action)
        total += reward * alive
        alive &= ~terminated
    return total


# as gymnasium environments


@pytest.mark.parametrize("world", WORLDS)
def test_environments_keep_gymnasiums_contract(world: type[Dynamics]) -> None:
    env = gymnasium.make(f"fenchel/{world.__name__}-v0")
    with warnings.catch_warnings():
        if world is LQR:  # its states are unbounded
            warnings.filterwarnings("ignore", ".*(infinity|-inf|symmetric).*")
        check_env(env.unwrapped, skip_render_check=True)
    assert env.spec is not None
    assert env.spec.max_episode_steps == world.horizon


@pytest.mark.parametrize("world", WORLDS)
def test_an_environment_is_one_copy_of_its_dynamics(world: type[Dynamics]) -> None:
    dynamics = world()
    env = gymnasium.make(f"fenchel/{world.__name__}-v0")
    observation, _ = env.reset(seed=3)
    state = dynamics.reset(1, env.unwrapped.np_random.__class__(np.random.PCG64(3)))
    rng = np.random.default_rng(0)
    for step in range(world.horizon):
        np.testing.assert_array_equal(observation, state[0].astype(np.float32))
        action = rng.uniform(-1.5, 1.5, dynamics.n_actions).astype(np.float32)
        state, expected, _ = dynamics.step(state, action[None].astype(np.float64))
        observation, reward, terminated, truncated, _ = env.step(action)
        assert reward == expected[0]
        assert not terminated
        assert truncated == (step == world.horizon - 1)


def test_registering_again_changes_nothing() -> None:
    before = dict(gymnasium.registry)
    envs._register()  # gymnasium warns of an id that is registered twice
    assert gymnasium.registry == before


def test_a_step_before_reset_and_an_action_that_is_no_number_are_refused() -> None:
    env = envs.PointMass2DEnv()
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step(np.zeros(2, np.float32))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action must be finite"):
        env.step(np.array([0.0, np.nan], np.float32))
    with pytest.raises(ValueError, match=r"shape \(2\)"):
        env.step(np.zeros(3, np.float32))


@pytest.mark.parametrize("world", WORLDS)
def test_rows_do_not_depend_on_each_other(world: type[Dynamics]) -> None:
    dynamics, rng = world(), np.random.default_rng(0)
    state = dynamics.reset(5, rng)
    action = rng.uniform(-1, 1, (5, dynamics.n_actions))
    together = dynamics.step(state, action)
    for i in range(5):
        alone = dynamics.step(state[i : i + 1], action[i : i + 1])
        for whole, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(whole[i : i + 1].astype(float), one, rtol=1e-14)
        np.testing.assert_allclose(
            dynamics.expert(state)[i : i + 1], dynamics.expert(state[i : i + 1]), rtol=1e-14
        )


def test_noisy_actions_lie_between_the_guide_and_noise() -> None:
    guide = np.array([[0.5, -3.0], [0.2, 0.1]])
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(noisy(guide, 1.0, rng), np.clip(guide, -1, 1))
    xi = np.random.default_rng(1).standard_normal((2, 2))
    mixed = noisy(guide, np.array([0.0, 0.75]), np.random.default_rng(1))
    np.testing.assert_allclose(mixed[0], np.clip(xi[0], -1, 1))
    np.testing.assert_allclose(mixed[1], np.clip(0.75 * guide[1] + 0.25 * xi[1], -1, 1))


# PointMass2D


def test_the_point_mass_moves_as_written() -> None:
    state = np.array([[1.0, -1.99, 0.5, -0.99]])
    following, reward, terminated = PointMass2D().step(state, np.array([[0.4, -7.0]]))
    v = np.array([0.95 * 0.5 + 0.1 * 0.4, -1.0])  # the second: −0.9405 − 0.1, clipped
    p = np.array([1.0 + 0.1 * v[0], -2.0])
    np.testing.assert_allclose(following[0], [*p, *v], rtol=1e-14)
    expected = -np.linalg.norm(p) - 0.05 * (0.4**2 + 1.0)  # the action is clipped first
    np.testing.assert_allclose(reward, [expected], rtol=1e-14)
    assert not terminated.any()


@pytest.mark.parametrize(("quality", "index"), [("random", 0), ("expert", 1)])
def test_reference_returns_of_the_point_mass_are_those_of_200_starts(
    quality: str, index: int
) -> None:
    sample = returns(PointMass2D(), quality, 200, seed=1)
    error = sample.std() / np.sqrt(200)  # of this mean, and as much of the reference
    assert abs(sample.mean() - PointMass2D.reference_returns[index]) <= 3 * np.sqrt(2) * error


@pytest.mark.parametrize("world", WORLDS)
def test_returns_grow_with_the_quality_of_the_controller(world: type[Dynamics]) -> None:
    # not at 0 in the LQR: its noise N(0, 1), clipped, is more than that of uniform actions
    means = [returns(world(), quality, 200, seed=0).mean() for quality in (0.05, 0.2, 0.5)]
    assert means == sorted(means)
    assert means[-1] <= returns(world(), "expert", 200, seed=0).mean()


# StitchMaze2D


def in_corridor(state: FloatArray) -> BoolArray:
    x, y = state[:, 0], state[:, 1]
    return (np.abs(x) <= 2) & (np.abs(y) <= 2) & ((np.abs(x) >= 1) | (y <= -1))


def test_nothing_leaves_the_corridor_and_walls_stop_what_meets_them() -> None:
    maze, rng = StitchMaze2D(), np.random.default_rng(0)
    state = np.vstack([maze.reset(100, rng), maze.reset_in_middle(100, rng)])
    action = rng.uniform(-1, 1, (200, 2))
    contacts = 0
    for t in range(300):
        if t % 10 == 0:  # pushes long enough to reach walls at speed
            action = rng.choice([-1.0, 1.0], (200, 2))
        v = np.clip(0.95 * state[:, 2:] + 0.1 * action, -1, 1)
        following, _, _ = maze.step(state, action)
        assert in_corridor(following).all()
        stopped = following[:, :2] != state[:, :2] + 0.1 * v
        np.testing.assert_array_equal(following[:, 2:], np.where(stopped, 0.0, v))
        contacts += int(stopped.sum())
        state = following
    assert contacts > 1000


@pytest.mark.parametrize(
    ("state", "velocity", "stop"),
    [
        ((-1.05, 0.0), (1.0, 0.0), (-1.0, 0.0)),  # the inner wall, from the left arm
        ((1.05, 0.0), (-1.0, 0.0), (1.0, 0.0)),  # from the right arm
        ((0.0, -1.05), (0.0, 1.0), (0.0, -1.0)),  # from below
        ((-1.95, 0.0), (-1.0, 0.0), (-2.0, 0.0)),
        ((0.0, -1.95), (0.0, -1.0), (0.0, -2.0)),
    ],
)
def test_each_wall_is_where_it_is_drawn(
    state: tuple[float, float], velocity: tuple[float, float], stop: tuple[float, float]
) -> None:
    start = np.array([[*state, *velocity]])
    following, _, _ = StitchMaze2D().step(start, np.sign([velocity]))
    np.testing.assert_allclose(following, [[*stop, 0.0, 0.0]], atol=1e-15)


def test_the_goal_pays_once_and_ends_the_episode() -> None:
    state = np.array([[1.5, 1.05, 0.0, 1.0], [1.5, 0.9, 0.0, 1.0]])  # 0.45 and 0.6 from it
    _, reward, terminated = StitchMaze2D().step(state, np.ones((2, 2)))
    np.testing.assert_array_equal(reward, [1.0, 0.0])
    np.testing.assert_array_equal(terminated, [True, False])


def test_the_expert_reaches_the_goal_from_every_start_in_time() -> None:
    np.testing.assert_array_equal(returns(StitchMaze2D(), "expert", 300, seed=0), 1.0)
    assert returns(StitchMaze2D(), "random", 300, seed=0).max() == 0.0


def test_progress_measures_the_middle_line() -> None:
    maze = StitchMaze2D()
    s = np.concatenate([np.linspace(0, 2.4, 9), np.linspace(3, 6, 9), np.linspace(6.6, 9, 9)])
    points = np.hstack([maze._middle(s), np.zeros((len(s), 2))])  # corners are cut, and left out
    np.testing.assert_allclose(maze.progress(points), s, atol=1e-12)


# LQR


def test_the_linear_system_is_stable_controllable_and_invertible_in_the_action() -> None:
    system = LQR()
    assert np.abs(np.linalg.eigvals(system.A)).max() < 1
    reachable = np.hstack([np.linalg.matrix_power(system.A, i) @ system.B for i in range(4)])
    assert np.linalg.matrix_rank(reachable, tol=1e-8) == 4
    rng = np.random.default_rng(0)
    state, action = rng.normal(size=(20, 4)), rng.uniform(-1, 1, (20, 1))
    following, _, _ = system.step(state, action)
    np.testing.assert_allclose(
        (following - state @ system.A.T) @ np.linalg.pinv(system.B).T, action
    )


def test_optimal_controls_never_meet_the_bound() -> None:
    system = LQR()
    for discount in (0.5, 0.9, 0.95, 0.99, 0.999, 1 - 1e-9):
        K = system.gain(discount)
        closed, power = system.A - system.B @ K, np.eye(4)
        for _ in range(500):  # |K (A − BK)ᵗ x| over the box of starts: a 1-norm
            assert system.start * np.abs(K @ power).sum() <= 1
            power = closed @ power


@pytest.mark.parametrize("optimal", [True, False])
def test_values_are_the_discounted_sums_of_rewards(optimal: bool) -> None:
    system, discount = LQR(), 0.97
    K = system.gain(discount) * (1.0 if optimal else 0.5)
    state = start = system.reset(50, np.random.default_rng(0))
    total = np.zeros(50)
    for t in range(1500):  # 0.97¹⁵⁰⁰ = 1e−20
        state, reward, _ = system.step(state, -state @ K.T)
        total += discount**t * reward
    value = system.value(start, gain=None if optimal else K, discount=discount)
    np.testing.assert_allclose(value, total, rtol=1e-10)


def test_the_optimal_value_solves_bellmans_equation() -> None:
    system, rng = LQR(), np.random.default_rng(0)
    state = system.reset(200, rng)

    def bellman(action: FloatArray) -> FloatArray:
        following, reward, _ = system.step(state, action)
        return reward + 0.99 * system.value(following)

    np.testing.assert_allclose(bellman(system.expert(state)), system.value(state), rtol=1e-10)
    for _ in range(10):
        action = rng.uniform(-1, 1, (200, 1))
        assert (bellman(action) <= system.value(state) + 1e-12).all()


@pytest.mark.parametrize(("quality", "index"), [("random", 0), ("expert", 1)])
def test_reference_returns_of_the_lqr_are_expectations(quality: str, index: int) -> None:
    system = LQR()
    sample = returns(system, quality, 4000, seed=0)
    error = sample.std() / np.sqrt(len(sample))
    assert abs(sample.mean() - system.reference_returns[index]) <= 3 * error


def test_a_gain_whose_cost_is_infinite_is_refused() -> None:
    with pytest.raises(ValueError, match="spectral radius"):
        LQR().value(np.zeros((1, 4)), gain=np.full((1, 4), -50.0))
    with pytest.raises(ValueError, match="discount"):
        LQR().gain(1.0)
