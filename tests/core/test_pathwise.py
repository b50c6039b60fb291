import math
from typing import Any

import numpy as np
import pytest

from fenchel.bandits import OGD, AdversarialBandit, Exp3
from fenchel.bandits.sea import NoisyLinear
from fenchel.core import Learner, Pathwise, Trace, run
from fenchel.core.checks import FloatArray
from fenchel.core.interaction import BLOCK

GAME = NoisyLinear([0.3, -0.1], 0.5)
ROUNDS = np.array([1, 10, 100])


def pathwise(left: Any, right: Any) -> Pathwise:
    return Pathwise(np.asarray(left, dtype=float), np.asarray(right, dtype=float), "a proof")


class Counting(Learner):
    """Plays 0; its inequality says t + row/10 ≤ 2 t, and is proven in the rounds `proven`."""

    def __init__(self, proven: tuple[int, float] = (1, math.inf)) -> None:
        self.proven = proven

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        self.rows, self.t = np.arange(n_replications), 0

    def act(self) -> FloatArray:
        return np.zeros((len(self.rows), 2))

    def update(self, feedback: Any) -> None:
        self.t += 1

    def pathwise(self) -> Pathwise | None:
        if not self.proven[0] <= self.t <= self.proven[1]:
            return None
        return Pathwise(self.t + self.rows / 10, np.full(len(self.rows), 2.0 * self.t), "counting")


# the two sides


def test_slack_is_right_minus_left() -> None:
    inequality = pathwise([[1.0, 2.0], [-3.0, 5.0]], [[1.5, 2.0], [0.0, 4.0]])
    np.testing.assert_array_equal(inequality.slack, [[0.5, 0.0], [3.0, -1.0]])


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1.0, 2.0], [4.0, 4.0], 0.5),
        ([[1.0, 2.0], [3.0, 1.0]], [[4.0, 4.0], [4.0, 4.0]], 0.75),
        ([-5.0, -2.0], [1.0, 4.0], -0.5),  # the largest ratio, of any sign
        ([3.0], [2.0], 1.5),  # broken
        ([0.0, 1.0], [0.0, 2.0], 0.5),  # 0 ≤ 0 holds
        ([0.0], [0.0], 0.0),
        ([-2.0], [-1.0], 0.0),  # holds, though its ratio is 2
        ([-1.0], [-2.0], math.inf),  # broken, though its ratio is ½
        ([1e-300], [0.0], math.inf),
        ([1.0, 1.0], [0.0, 5.0], math.inf),
    ],
)
def test_tightest_is_at_most_one_exactly_where_the_inequality_holds(
    left: Any, right: Any, expected: float
) -> None:
    inequality = pathwise(left, right)
    assert inequality.tightest() == expected
    assert (inequality.tightest() <= 1) == bool((inequality.slack >= 0).all())


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("shape", [(1,), (3,), (2, 3)])
def test_a_side_that_is_not_a_number_never_counts_as_holding(
    side: int, shape: tuple[int, ...]
) -> None:
    sides = [np.ones(shape), np.full(shape, 2.0)]
    sides[side].flat[0] = math.nan
    with pytest.raises(FloatingPointError, match="not a number: a proof"):
        pathwise(*sides)


@pytest.mark.parametrize("shapes", [((3,), (2,)), ((3,), (3, 1)), ((2, 3), (3,)), ((1,), (3,))])
def test_sides_are_of_the_same_runs(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="one shape"):
        pathwise(np.ones(shapes[0]), np.ones(shapes[1]))


# run


def test_run_keeps_both_sides_at_its_checkpoints() -> None:
    n = BLOCK + 3  # two blocks
    trace = run(Counting(), GAME, 100, n_replications=n, checkpoints=ROUNDS, seed=0)
    assert trace.pathwise is not None
    rows = np.append(np.arange(BLOCK), np.arange(3))
    np.testing.assert_array_equal(trace.pathwise.left, ROUNDS + rows[:, None] / 10)
    np.testing.assert_array_equal(trace.pathwise.right, np.tile(2.0 * ROUNDS, (n, 1)))
    assert trace.pathwise.left.shape == trace.pathwise.right.shape == trace.regret.shape
    assert trace.pathwise.reference == "counting"
    assert trace.pathwise.tightest() == (1 + (BLOCK - 1) / 10) / 2


def test_run_gives_none_where_a_learner_has_no_inequality() -> None:
    losses = np.random.default_rng(0).random((20, 3))
    trace = run(Exp3(3), AdversarialBandit(losses), 20, n_replications=2, seed=0)
    assert trace.pathwise is None
    assert list(trace.to_frame().columns) == ["replication", "round", "regret"]


@pytest.mark.parametrize("proven", [(1, 50), (50, math.inf), (101, math.inf), (10, 10)])
def test_run_gives_none_where_the_inequality_is_not_proven_for_all_of_the_run(
    proven: tuple[int, float],
) -> None:
    trace = run(Counting(proven), GAME, 100, n_replications=2, checkpoints=ROUNDS, seed=0)
    assert trace.pathwise is None
    assert trace.regret.shape == (2, 3)


def test_run_gives_none_where_one_block_has_no_inequality() -> None:
    class OneBlock(Counting):
        def __init__(self, without: int) -> None:
            super().__init__()
            self.without, self.block = without, -1

        def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
            super().reset(n_replications, horizon, rng)
            self.block += 1

        def pathwise(self) -> Pathwise | None:
            return None if self.block == self.without else super().pathwise()

    for without in (0, 1):
        n = BLOCK + 1
        assert run(OneBlock(without), GAME, 5, n_replications=n, seed=0).pathwise is None
    assert run(OneBlock(2), GAME, 5, n_replications=BLOCK + 1, seed=0).pathwise is not None


@pytest.mark.parametrize("side", [0, 1])
def test_run_does_not_pass_over_a_side_that_is_not_a_number(side: int) -> None:
    class Broken(Counting):
        def pathwise(self) -> Pathwise | None:
            inequality = super().pathwise()
            assert inequality is not None
            sides = [inequality.left, inequality.right]
            sides[side] = np.where(self.rows == 1, math.nan, sides[side])
            return Pathwise(sides[0], sides[1], "broken")

    with pytest.raises(FloatingPointError, match=r"round 1, replication 1"):
        run(Broken(), GAME, 5, n_replications=3, checkpoints=[1, 5], seed=0)


def test_a_progress_bar_changes_neither_side(capsys: pytest.CaptureFixture[str]) -> None:
    quiet, shown = (
        run(Counting(), GAME, 100, n_replications=2, checkpoints=ROUNDS, seed=0, progress=progress)
        for progress in (False, True)
    )
    assert quiet.pathwise is not None
    assert shown.pathwise is not None
    np.testing.assert_array_equal(shown.pathwise.left, quiet.pathwise.left)
    np.testing.assert_array_equal(shown.pathwise.right, quiet.pathwise.right)
    assert "100%" in capsys.readouterr().err


def test_the_inequality_of_gradient_descent_is_the_one_computed_by_hand() -> None:
    learner = OGD(2, radius=1.0, gradient_bound=GAME.gradient_bound)
    trace = run(learner, GAME, 60, n_replications=3, checkpoints=[1, 7, 60], seed=4)
    assert trace.pathwise is not None
    # the same game again, by hand, from the generators of the one block
    block = np.random.SeedSequence(4).spawn(1)[0]
    environment_rng, learner_rng = (np.random.default_rng(s) for s in block.spawn(2))
    GAME.reset(3, environment_rng)
    learner.reset(3, 60, learner_rng)
    inner, total = np.zeros(3), np.zeros((3, 2))
    left = []
    for t in range(1, 61):
        x = learner.act()
        feedback = GAME.step(x)
        learner.update(feedback)
        inner += (feedback.gradients * x).sum(axis=-1)
        total += feedback.gradients
        if t in (1, 7, 60):  # max_u Σ ⟨g, x − u⟩ over the unit ball
            left.append(inner + np.linalg.norm(total, axis=-1))
    np.testing.assert_allclose(trace.pathwise.left, np.transpose(left), rtol=1e-12)
    bound = 1.5 * 2.0 * GAME.gradient_bound * np.sqrt(trace.rounds)
    np.testing.assert_allclose(trace.pathwise.right, np.tile(bound, (3, 1)), rtol=1e-12)
    assert trace.pathwise.tightest() <= 1


def test_an_inequality_whose_assumption_a_run_breaks_is_withdrawn() -> None:
    learner = OGD(2, radius=1.0, gradient_bound=0.5 * GAME.gradient_bound)
    assert run(learner, GAME, 50, n_replications=2, seed=0).pathwise is None


# tables


def trace_of(n: int, seed: int, with_sides: bool = True) -> Trace:
    rng = np.random.default_rng(seed)
    left, right = rng.normal(size=(2, n, 3))
    return Trace(
        rounds=ROUNDS,
        regret=rng.normal(size=(n, 3)),
        pathwise=pathwise(left, right) if with_sides else None,
        label="x",
    )


def test_both_sides_make_the_round_trip_through_tables() -> None:
    parts = [trace_of(2, 0), trace_of(5, 1)]
    frames = [part.to_frame() for part in parts]
    assert list(frames[0].columns) == ["replication", "round", "regret", "left", "right"]
    assert parts[1].pathwise is not None
    row = frames[1].query("replication == 4 and round == 10")
    assert row["left"].item() == parts[1].pathwise.left[4, 1]
    assert row["right"].item() == parts[1].pathwise.right[4, 1]
    joined = Trace.from_frames(frames, label="x", reference="a proof")
    assert joined.pathwise is not None
    np.testing.assert_array_equal(joined.rounds, ROUNDS)
    np.testing.assert_array_equal(joined.regret, np.vstack([p.regret for p in parts]))
    for name in ("left", "right"):
        sides = [getattr(part.pathwise, name) for part in parts]
        np.testing.assert_array_equal(getattr(joined.pathwise, name), np.vstack(sides))
    assert joined.pathwise.reference == "a proof"


def test_rows_of_a_table_may_come_in_any_order() -> None:
    trace = trace_of(4, 2)
    assert trace.pathwise is not None
    shuffled = trace.to_frame().sample(frac=1.0, random_state=0)
    back = Trace.from_frames([shuffled[["right", "round", "left", "regret", "replication"]]])
    assert back.pathwise is not None
    np.testing.assert_array_equal(back.regret, trace.regret)
    np.testing.assert_array_equal(back.pathwise.left, trace.pathwise.left)
    np.testing.assert_array_equal(back.pathwise.right, trace.pathwise.right)


def test_tables_of_a_run_join_to_the_run() -> None:
    trace = run(Counting(), GAME, 100, n_replications=3, checkpoints=ROUNDS, seed=0)
    joined = Trace.from_frames([trace.to_frame(), trace.to_frame()])
    assert joined.pathwise is not None
    assert trace.pathwise is not None
    np.testing.assert_array_equal(joined.pathwise.left, np.tile(trace.pathwise.left, (2, 1)))
    assert joined.pathwise.tightest() == trace.pathwise.tightest()


def test_tables_without_sides_make_a_trace_without_an_inequality() -> None:
    frames = [trace_of(2, seed, with_sides=False).to_frame() for seed in range(2)]
    assert list(frames[0].columns) == ["replication", "round", "regret"]
    assert Trace.from_frames(frames).pathwise is None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_where_one_table_has_no_sides_the_join_has_none(order: tuple[int, int]) -> None:
    # a run that broke the assumptions, among others: as in `run`, the inequality is dropped
    parts = [trace_of(2, 0), trace_of(3, 1, with_sides=False)]
    joined = Trace.from_frames([parts[i].to_frame() for i in order])
    assert joined.pathwise is None
    np.testing.assert_array_equal(joined.regret, np.vstack([parts[i].regret for i in order]))
