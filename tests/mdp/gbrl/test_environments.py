"""Equations, the spurious box, and noise: hand-made episodes, invariants, and exact optima."""

import pickle
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium")

from gymnasium import spaces  # noqa: E402
from gymnasium.utils.env_checker import check_env  # noqa: E402

from fenchel.mdp.gbrl.envs import CategoricalMiniGrid  # noqa: E402
from fenchel.mdp.gbrl.equations import LinearEquation  # noqa: E402
from fenchel.mdp.gbrl.noise import ObservationNoise  # noqa: E402

VARIANTS = ("one", "two", "balanced")
every_variant = pytest.mark.parametrize("variant", VARIANTS)
ADD, DIVIDE, MULTIPLY, ADD_X, ADD_Y = range(5)
LARGEST = float(np.finfo(np.float32).max)


def started(variant: str, *start: int) -> LinearEquation:
    env = LinearEquation(variant)
    env.reset(seed=0, options={"start": start})
    return env


def act(env: Any, operation: int, number: int) -> Any:
    """The number with its sign, instead of two places."""
    return env.step(np.array([operation, abs(number) - 1, number > 0]))


# hand-made episodes: start, then actions with what is observed and paid

EPISODES: dict[str, tuple[tuple[int, ...], list[tuple[int, int, tuple[float, ...], float]]]] = {
    "one": (
        (2, -3, 5),
        [
            (MULTIPLY, -3, (-6, 9, -15), 0),
            (ADD, -9, (-6, 0, -24), 0),
            (DIVIDE, 2, (-3, 0, -12), 0),
            (DIVIDE, -3, (1, 0, 4), 1 - 0.9 * 3 / 50),  # 2 x − 3 = 5
        ],
    ),
    "two": (
        (3, -2, 4, -5),
        [
            (ADD, -4, (3, -2, 0, -9, 0), 0.1),
            (ADD_X, -3, (0, -2, 0, -9, -3), 0.1),
            (DIVIDE, -2, (0, 1, 0, 4.5, 1.5), 1 - 0.9 * 2 / 50 - 0.2),  # y = 4.5 + 1.5 x
        ],
    ),
    "balanced": (
        (2, -3, 4, 5),
        [
            (ADD_Y, -4, (2, -3, -4, 0, 5, 0), 0.1),
            (ADD_X, -2, (0, -3, -4, 0, 5, -2), 0.1),
            (ADD, 3, (0, 0, -4, 0, 8, -2), 0.1),
            (DIVIDE, -4, (0, 0, 1, 0, -2, 0.5), 1 - 0.9 * 3 / 50 - 0.3),  # y = −2 + x / 2
        ],
    ),
}


@every_variant
def test_episodes_by_hand(variant: str) -> None:
    start, actions = EPISODES[variant]
    env = started(variant, *start)
    for t, (operation, number, wanted, pay) in enumerate(actions):
        observation, reward, terminated, truncated, info = act(env, operation, number)
        np.testing.assert_array_equal(observation, np.array(wanted, np.float32))
        assert reward == pytest.approx(pay, abs=1e-15)
        assert terminated == info["is_success"] == (t == len(actions) - 1)
        assert not truncated
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        act(env, ADD, 1)


@pytest.mark.parametrize(
    ("variant", "start"), [("two", (1, -2, 3, 4)), ("balanced", (1, 2, -3, 4))]
)
def test_an_entry_pays_the_first_time_only(variant: str, start: tuple[int, ...]) -> None:
    env = started(variant, *start)
    pays = [act(env, ADD_X, number)[1] for number in (-1, 2, -2, 5, -5)]
    assert pays == [0.1, 0, 0, 0, 0]


def test_the_action_that_solves_may_also_be_paid_for_an_entry() -> None:
    env = started("two", 5, 1, -6, 2)
    pays = [act(env, ADD, 6)[1], act(env, ADD_X, -5)[1]]
    assert pays == pytest.approx([0.1, 0.1 + 1 - 0.9 / 50 - 0.2], abs=1e-15)
    assert sum(pays) == pytest.approx(env.optimal_return(), abs=1e-15)


def test_entries_are_exact_where_float32_is_not() -> None:
    one = np.float32(1) / np.float32(3) / np.float32(5) * np.float32(3) * np.float32(5)
    assert one != 1
    env = started("one", 1, 7, 2)
    for operation in (DIVIDE, MULTIPLY):
        for number in (3, 5):
            assert not act(env, operation, number)[2]
    assert act(env, ADD, -7)[4]["is_success"]


@pytest.mark.parametrize(("variant", "start"), [("one", (1, 2, 3)), ("two", (2, -1, 3, 4))])
def test_episodes_end_where_the_coefficient_vanishes_in_float32(
    variant: str, start: tuple[int, ...]
) -> None:
    env = started(variant, *start)
    for division in range(1, 49):
        observation, reward, terminated, truncated, info = act(env, DIVIDE, 9)
        assert terminated == (division == 48)  # 9⁻⁴⁸ is less than half of 2⁻¹⁴⁹, and 9⁻⁴⁷ is not
        assert (reward, truncated, info["is_success"]) == (0, False, False)
    assert observation[VARIANTS.index(variant)] == 0
    assert 9.0**-48 < 2.0**-150 < 9.0**-47


@every_variant
def test_episodes_end_where_float32_overflows_and_observations_are_finite(variant: str) -> None:
    env = started(variant, *[9, -9, 9, 9][: 3 if variant == "one" else 4])
    for n in range(2, 42):
        observation, reward, terminated, truncated, info = act(env, MULTIPLY, 9)
        assert np.isfinite(observation).all()
        assert env.observation_space.contains(observation)
        assert terminated == (9.0**n > LARGEST)
        assert (reward, truncated, info["is_success"]) == (0, False, False)
        if terminated:
            break
    assert n == 41
    assert set(np.abs(observation)) - {0} == {LARGEST}


@every_variant
def test_the_fiftieth_action_truncates_unless_it_solves(variant: str) -> None:
    env = LinearEquation(variant)
    for solves in (False, True):
        env.reset(seed=3)
        plan = env.solution()
        idle = np.array([DIVIDE, 0, 1])
        for t in range(50):
            action = plan[t - 50] if solves and 50 - t <= len(plan) else idle
            _, reward, terminated, truncated, info = env.step(action)
            assert (terminated, truncated) == (solves and t == 49, not solves and t == 49)
        assert info["is_success"] == solves
        if solves:
            bonuses = 0 if variant == "one" else 0.1 * (len(env.state) // 2)
            assert reward == pytest.approx(1 - 0.9 * 49 / 50 - bonuses, abs=1e-15)


# what operations do, said again as matrices on (entries · denominator, denominator)

ORDER = {"one": "abc", "two": "abcdx", "balanced": "abycdx"}
SIDES = {  # of ADD, ADD_X, ADD_Y
    "one": {ADD: "bc"},
    "two": {ADD: "cd", ADD_X: "ax"},
    "balanced": {ADD: "bd", ADD_X: "ax", ADD_Y: "yc"},
}


def matrices(variant: str) -> tuple[Any, Any]:
    """Actions (N, 3) and their matrices (N, m, m)."""
    order, sides = ORDER[variant], SIDES[variant]
    m = len(order) + 1
    actions, maps = [], []
    for operation in range(2 + len(sides)):
        for digit in range(9):
            for positive in range(2):
                number = (digit + 1) * (2 * positive - 1)
                matrix = np.eye(m, dtype=np.int64)
                if operation == DIVIDE:
                    matrix[-1, -1] = digit + 1
                    matrix[:-1] *= np.sign(number)
                elif operation == MULTIPLY:
                    matrix[:-1] *= number
                else:
                    for entry in sides[operation]:
                        matrix[order.index(entry), -1] = number
                actions.append((operation, digit, positive))
                maps.append(matrix)
    return np.array(actions), np.array(maps)


def solved(variant: str, states: Any) -> Any:
    """Of states (n, m)."""
    order = ORDER[variant]
    zeros, one = {"one": ("b", "a"), "two": ("ac", "b"), "balanced": ("abc", "y")}[variant]
    good = states[:, order.index(one)] == states[:, -1]
    for entry in zeros:
        good = good & (states[:, order.index(entry)] == 0)
    return good


def searched(variant: str, start: Any, most: int) -> int:
    """Least number of actions by breadth-first search, or `most` if it is not less."""
    _, maps = matrices(variant)
    states = np.append(start, 1)[None].astype(np.int64)
    for depth in range(1, most):
        states = np.einsum("aij,nj->ani", maps, states).reshape(-1, states.shape[1])
        if solved(variant, states).any():
            return depth
        if depth < most - 1:
            states = np.unique(states // np.gcd.reduce(states, axis=1)[:, None], axis=0)
    return most


@every_variant
def test_random_episodes_agree_with_matrices_and_keep_the_solutions(variant: str) -> None:
    """a x + b = c: x = (c − b) / a. Else the coefficients of x, of y and 1, brought to one side,
    are in proportion."""
    actions, maps = matrices(variant)
    env = LinearEquation(variant)
    rng = np.random.default_rng(5)

    def line() -> tuple[Fraction, ...]:
        v = dict(zip(ORDER[variant], env.state, strict=True))
        if variant == "one":
            return v["a"], v["b"] - v["c"]
        if variant == "two":
            return v["a"] - v["x"], v["b"], v["c"] - v["d"]
        return v["a"] - v["x"], v["y"] - v["c"], v["b"] - v["d"]

    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        homogeneous = np.append(observation, 1).astype(int).astype(object)
        first, over = line(), False
        while not over:
            i = rng.integers(len(actions))
            observation, _, terminated, truncated, info = env.step(actions[i])
            homogeneous = maps[i].astype(object) @ homogeneous
            exact = tuple(Fraction(int(n), int(homogeneous[-1])) for n in homogeneous[:-1])
            assert env.state == exact
            np.testing.assert_allclose(observation, [float(n) for n in exact], rtol=1e-7)
            assert info["is_success"] == solved(variant, homogeneous[None]).all()
            ratio = {Fraction(p) / q for p, q in zip(line(), first, strict=True) if q}
            assert len(ratio) == 1
            assert all(bool(p) == bool(q) for p, q in zip(line(), first, strict=True))
            over = terminated or truncated


def test_search_finds_no_shorter_solutions() -> None:
    digits = [sign * digit for digit in range(1, 10) for sign in (-1, 1)]
    for a in digits:
        for b in digits:  # c has no part in it
            env = started("one", a, b, 4)
            assert searched("one", env.state, 2) == env.shortest() == 1 + (a != 1)
    rng = np.random.default_rng(6)
    for variant, n, sure in (("two", 8, (5, 1, -9, 3)), ("balanced", 3, (-7, 2, -1, -4))):
        starts = [sure, *rng.choice(digits, (n, 4)).tolist()]
        found = []
        for start in starts:
            env = started(variant, *start)
            found.append(env.shortest())
            assert searched(variant, env.state, found[-1]) == found[-1]
        least = {"two": 2, "balanced": 3}[variant]
        assert set(found) == {least, least + 1}


@every_variant
def test_solutions_solve_with_the_return_that_is_promised(variant: str) -> None:
    env = LinearEquation(variant)
    for seed in range(200):
        env.reset(seed=seed)
        total, plan = 0.0, env.solution()
        assert plan.shape == (env.shortest(), 3)
        for t, action in enumerate(plan):
            _, reward, terminated, _, _ = env.step(action)
            total += reward
            assert terminated == (t == len(plan) - 1)
        assert total == pytest.approx(env.optimal_return(), abs=1e-14)


@every_variant
def test_the_mean_optimum_is_that_over_all_first_equations(variant: str) -> None:
    digits = [sign * digit for digit in range(1, 10) for sign in (-1, 1)]
    n, scaled = {"one": (3, 0), "two": (4, 1), "balanced": (4, 2)}[variant]
    returns = []
    for digit in digits:  # other numbers do not matter
        start = [3] * n
        start[scaled] = digit
        returns.append(started(variant, *start).optimal_return())
    assert np.mean(returns) == pytest.approx(started(variant, *start).mean_optimal_return)
    assert np.mean(returns) == pytest.approx(
        {"one": 0.983, "two": 0.965, "balanced": 0.947}[variant]
    )
    if variant == "one":
        assert min(returns) == pytest.approx(0.982)


@every_variant
def test_equations_are_digits_with_signs_and_repeat_with_the_seed(variant: str) -> None:
    env, twin = LinearEquation(variant), LinearEquation(variant)
    before = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    rng = np.random.default_rng(7)
    first, same = env.reset(seed=8)[0], twin.reset(seed=8)[0]
    np.testing.assert_array_equal(first, same)
    drawn = [first]
    for _ in range(3600):
        action = rng.integers(env.action_space.nvec)
        one, other = env.step(action), twin.step(action)
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1:] == other[1:]
        drawn.append(env.reset()[0])
        np.testing.assert_array_equal(drawn[-1], twin.reset()[0])
    rows = np.array(drawn)
    numbers = rows[:, [entry in "abcd" for entry in ORDER[variant]]]
    assert not rows[:, [entry in "xy" for entry in ORDER[variant]]].any()
    values, counts = np.unique(numbers, return_counts=True)
    np.testing.assert_array_equal(values, [*range(-9, 0), *range(1, 10)])
    mean = numbers.size / 18
    assert np.abs(counts - mean).max() < 4 * np.sqrt(mean)
    after = np.random.get_state()[1]  # type: ignore[index]  # noqa: NPY002
    np.testing.assert_array_equal(before, after)


@every_variant
# bounds are infinite, as entries may be anything that float32 can hold
@pytest.mark.filterwarnings("ignore:.*A Box observation space m.*imum value is -?infinity")
def test_checkers_accept_equations(variant: str) -> None:
    check_env(LinearEquation(variant), skip_render_check=True)  # renders nothing
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    sb3.check_env(LinearEquation(variant))


def test_equations_refuse() -> None:
    with pytest.raises(ValueError, match="variant"):
        LinearEquation("three")
    env = LinearEquation()
    with pytest.raises(gymnasium.error.ResetNeeded):
        act(env, ADD, 1)
    with pytest.raises(TypeError, match="start"):
        env.reset(options={"start": (1, 2.5, 3)})
    for start in ((1, 2), (1, 0, 2), (1, 10, 2)):
        with pytest.raises(ValueError, match="start"):
            env.reset(options={"start": start})
    env.reset(seed=0)
    for action in ([ADD_X, 0, 0], [ADD, 9, 0], [ADD, -1, 0], [ADD, 0], 3):
        with pytest.raises(ValueError, match="action"):
            env.step(np.array(action))


# the spurious box


@pytest.fixture
def spurious() -> Any:
    pytest.importorskip("minigrid")
    from fenchel.mdp.gbrl import spurious

    return spurious


def things(env: Any) -> dict[tuple[int, int], tuple[str, str]]:
    """Colors and kinds of what stands in the room, by tile."""
    found = {}
    for x in range(env.width):
        for y in range(env.height):
            thing = env.grid.get(x, y)
            if thing is not None and thing.type != "wall":
                assert 0 < x < env.width - 1
                assert 0 < y < env.height - 1
                assert thing.cur_pos == (x, y)
                found[x, y] = (thing.color, thing.type)
    return found


def near(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(abs(p - q) for p, q in zip(one, other, strict=True)) == 1


CUES = {
    "red box": ("red", "box"),
    "purple box": ("purple", "box"),
    "purple ball": ("purple", "ball"),
    "red ball": ("red", "ball"),
}


@pytest.mark.parametrize("cue", CUES)
@pytest.mark.parametrize("placement", ["target", "other", "random", "none"])
def test_balls_are_apart_and_the_cue_where_it_should_be(
    spurious: Any, placement: str, cue: str
) -> None:
    env = spurious.SpuriousFetch(placement, cue)
    beside: list[tuple[str, str]] = []
    for seed in range(150):
        observation, _ = env.reset(seed=seed)
        assert observation["mission"] == f"get a {env.color} ball"
        found = things(env)
        agent = tuple(env.agent_pos)
        assert agent not in found
        cues = [env.cue_pos] if placement != "none" else []
        balls = {tile: color for tile, (color, _) in found.items() if tile not in cues}
        assert sorted(balls.values()) == ["blue", "green", "red"]
        assert not any(near(one, other) for one in balls for other in balls)
        assert len(found) == 3 + len(cues)
        for tile in cues:
            assert found[tile] == CUES[cue]
            beside += [(env.color, color) for ball, color in balls.items() if near(tile, ball)]
    if placement in ("random", "none"):
        assert beside == []
    else:  # one each; all colors
        assert len(beside) == 150
        pairs = set(beside)
        assert len(pairs) == (3 if placement == "target" else 6)
        assert all((color == mission) == (placement == "target") for mission, color in pairs)


@pytest.mark.parametrize("cue", CUES)
def test_only_the_ball_of_the_mission_pays(spurious: Any, cue: str) -> None:
    env = spurious.SpuriousFetch("random", cue)
    paid = 0
    for seed in range(12):
        env.reset(seed=seed)
        for tile in things(env):
            env.reset(seed=seed)
            color, kind = things(env)[tile]
            for heading, (dx, dy) in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
                if env.grid.get(tile[0] - dx, tile[1] - dy) is None:
                    env.agent_pos, env.agent_dir = (tile[0] - dx, tile[1] - dy), heading
            for _ in range(4):
                _, reward, terminated, _, _ = env.step(env.actions.left)
                assert (reward, terminated) == (0, False)
            _, reward, terminated, truncated, info = env.step(env.actions.pickup)
            right = (color, kind) == (env.color, "ball")
            assert reward == pytest.approx((1 - 0.9 * 5 / 320) * right)
            assert (terminated, truncated, info["is_success"]) == (True, False, right)
            paid += right
    assert paid >= 12


def test_steps_are_limited_and_nothing_else_ends(spurious: Any) -> None:
    env = spurious.SpuriousFetch(max_steps=7)
    env.reset(seed=0)
    ends = [env.step(env.actions.left)[2:4] for _ in range(7)]
    assert ends == [(False, False)] * 6 + [(False, True)]
    assert spurious.SpuriousFetch().max_steps == 320


def test_missions_are_numbered_and_as_likely(spurious: Any) -> None:
    env = CategoricalMiniGrid(spurious.SpuriousFetch())
    assert env.missions == ["get a red ball", "get a green ball", "get a blue ball"]
    numbers = []
    for seed in range(300):
        observation, _ = env.reset(seed=seed)
        assert env.observation_space.contains(observation)
        assert env.missions[observation[-1]] == env.unwrapped.mission
        numbers.append(int(observation[-1]))
    assert np.abs(np.bincount(numbers) - 100).max() < 4 * np.sqrt(100 * 2 / 3)


def test_rooms_repeat_with_the_seed_without_the_global_generator(spurious: Any) -> None:
    env = spurious.SpuriousFetch("other")
    rooms = []
    for world in (0, 1):
        np.random.seed(world)  # noqa: NPY002
        env.reset(seed=4)
        first = env.hash()
        env.reset()
        rooms.append((first, env.hash()))
    assert rooms[0] == rooms[1]
    assert rooms[0][0] != rooms[0][1]
    assert things(pickle.loads(pickle.dumps(env))) == things(env)


@pytest.mark.parametrize("placement", ["target", "other", "random", "none"])
def test_checkers_accept_rooms(spurious: Any, placement: str) -> None:
    check_env(spurious.SpuriousFetch(placement), skip_render_check=True)
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    sb3.check_env(CategoricalMiniGrid(spurious.SpuriousFetch(placement)))


def test_rooms_refuse(spurious: Any) -> None:
    with pytest.raises(ValueError, match="placement"):
        spurious.SpuriousFetch("beside")
    with pytest.raises(ValueError, match="cue"):
        spurious.SpuriousFetch(cue="green box")


def test_minigrid_is_not_imported_with_the_package() -> None:
    code = "import sys, fenchel.mdp.gbrl; assert 'minigrid' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# noise


class Constant(gymnasium.Env[Any, Any]):  # type: ignore[misc]
    """Shows the same, and draws rewards."""

    def __init__(self, shown: Any, dtype: Any = np.float32) -> None:
        self.shown = np.asarray(shown, dtype)
        self.observation_space = spaces.Box(-10, 10, self.shown.shape, dtype)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.shown.copy(), {}

    def step(self, action: Any) -> Any:
        return self.shown.copy(), float(self.np_random.normal()), False, False, {}


@pytest.mark.parametrize("variance", [0.01, 0.2])
def test_noise_has_the_moments_it_should(variance: float) -> None:
    """Mean s, standard deviation |s| √variance, no correlation of entries or steps."""
    n, shown = 20_000, np.array([3.0, -0.5, 0.0])
    env = ObservationNoise(Constant(shown), variance)
    env.reset(seed=0)
    seen = np.array([env.step(0)[0] for _ in range(n)], np.float64)
    assert (seen[:, 2] == 0).all()
    noise = (seen[:, :2] - shown[:2]) / np.abs(shown[:2]) / np.sqrt(variance)  # ~ N(0, 1)
    assert np.abs(noise.mean(axis=0)).max() < 4 / np.sqrt(n)
    assert np.abs((noise**2).mean(axis=0) - 1).max() < 4 * np.sqrt(2 / n)
    assert np.abs((noise**4).mean(axis=0) - 3).max() < 4 * np.sqrt(96 / n)
    assert abs((noise[:, 0] * noise[:, 1]).mean()) < 4 / np.sqrt(n)
    assert np.abs((noise[1:] * noise[:-1]).mean(axis=0)).max() < 4 / np.sqrt(n)


def test_noise_changes_observations_alone_and_repeats_with_the_seed() -> None:
    inner = Constant([1.0, 2.0])
    env = ObservationNoise(inner, 0.1, seed=1)
    assert env.observation_space is inner.observation_space
    assert env.action_space is inner.action_space
    plain = Constant([1.0, 2.0])
    plain.reset(seed=2)

    def seen(**more: Any) -> tuple[Any, list[float]]:
        steps = [env.reset(**more)[0]]
        rewards = []
        for _ in range(5):
            observation, reward, *_ = env.step(0)
            assert observation.dtype == np.float32
            steps.append(observation)
            rewards.append(reward)
        return np.array(steps), rewards

    one, rewards = seen(seed=2)
    assert rewards == [plain.step(0)[1] for _ in range(5)]
    np.testing.assert_array_equal(one, seen(seed=2)[0])
    assert not np.isin(one, seen()[0]).any()  # the generator goes on
    assert not np.isin(one, seen(seed=3)[0]).any()
    assert len(np.unique(one)) == one.size
    pairs = [ObservationNoise(Constant([1.0, 2.0]), 0.1, seed=5).reset()[0] for _ in range(2)]
    for a, b in pairwise(pairs):
        np.testing.assert_array_equal(a, b)
    # not the numbers that the environment draws
    np_random = np.random.default_rng(2)
    assert not np.isclose(one[0], [1, 2] * (1 + np.sqrt(0.1) * np_random.normal(size=2))).any()


def test_noise_of_variance_0_is_none() -> None:
    env, plain = ObservationNoise(LinearEquation("two"), 0), LinearEquation("two")
    rng = np.random.default_rng(9)
    np.testing.assert_array_equal(env.reset(seed=1)[0], plain.reset(seed=1)[0])
    for _ in range(10):
        action = rng.integers(plain.action_space.nvec)
        one, other = env.step(action), plain.step(action)
        np.testing.assert_array_equal(one[0], other[0])
        assert one[1:] == other[1:]


def test_noise_refuses() -> None:
    for variance in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="variance"):
            ObservationNoise(Constant([1.0]), variance)
    whole = Constant([1], np.int64)
    other = Constant([1.0])
    other.observation_space = spaces.Discrete(3)
    for env in (whole, other):
        with pytest.raises(ValueError, match="Box of floats"):
            ObservationNoise(env, 0.1)
