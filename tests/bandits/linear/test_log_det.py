import math
from typing import Any

import numpy as np
import pytest

from fenchel.bandits import Exp3, LogBarrierFTRL
from fenchel.bandits.linear import LogDetFTRL, MatrixExperts, MatrixFeedback
from fenchel.bandits.linear.log_det import density_matrix
from fenchel.core import run
from fenchel.core.checks import FloatArray
from fenchel.core.potentials import LogBarrier

RNG = np.random.default_rng(0)


def symmetric(n: int, d: int, seed: int = 0) -> FloatArray:
    """Of norm 1, (n, d, d)."""
    matrices = np.random.default_rng(seed).normal(size=(n, d, d))
    matrices = matrices + np.swapaxes(matrices, 1, 2)
    return matrices / np.abs(np.linalg.eigvalsh(matrices)).max(axis=1)[:, None, None]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0, 1e6])
def test_the_optimum_satisfies_its_equations(scale: float) -> None:
    # tr X = 1 and X⁻¹ = η (L − x I), with one x
    L, eta = scale * symmetric(6, 4), 0.3
    X = density_matrix(L, eta)
    np.testing.assert_allclose(np.trace(X, axis1=1, axis2=2), 1, rtol=1e-12)
    np.testing.assert_allclose(X, np.swapaxes(X, 1, 2), atol=1e-15)
    rest = L - np.linalg.inv(X) / eta
    x = np.trace(rest, axis1=1, axis2=2) / 4
    size = 1e-9 * max(1.0, scale)
    np.testing.assert_allclose(rest, x[:, None, None] * np.eye(4), atol=size)
    assert (np.linalg.eigvalsh(L)[:, 0] > x).all()


def test_the_optimum_agrees_with_cvxpy() -> None:
    import cvxpy as cp

    for L in 5 * symmetric(3, 3, seed=1):
        X = cp.Variable((3, 3), symmetric=True)
        problem = cp.Problem(cp.Minimize(cp.trace(L @ X) - cp.log_det(X) / 0.7), [cp.trace(X) == 1])
        problem.solve(solver=cp.CLARABEL)
        np.testing.assert_allclose(
            density_matrix(L, 0.7), X.value, atol=1e-4
        )  # the solver's accuracy


def test_diagonal_losses_give_the_log_barrier() -> None:
    rounds, d = 60, 4
    losses = RNG.uniform(-1, 1, size=(rounds, d))
    learner = LogDetFTRL(d, learning_rate=0.2)
    learner.reset(2, rounds, np.random.default_rng(0))
    for t in range(rounds):
        p = LogBarrier().maximizer(-0.2 * losses[:t].sum(axis=0))
        np.testing.assert_allclose(learner.act(), np.tile(np.diag(p), (2, 1, 1)), atol=1e-12)
        learner.update(MatrixFeedback(np.tile(np.diag(losses[t]), (2, 1, 1))))
    assert LogBarrierFTRL(d).potential.value(np.full(d, 0.25)) == pytest.approx(d * math.log(d))


def test_rotations_of_the_losses_rotate_the_plays() -> None:
    Q = np.linalg.qr(RNG.normal(size=(4, 4)))[0]
    L = 10 * symmetric(1, 4)[0]
    np.testing.assert_allclose(
        density_matrix(Q @ L @ Q.T, 0.3), Q @ density_matrix(L, 0.3) @ Q.T, atol=1e-12
    )


def test_regret_is_against_the_best_direction() -> None:
    rows = symmetric(15, 3)
    for losses in (rows, lambda t: rows[t]):
        game = MatrixExperts(losses)
        game.reset(2, np.random.default_rng(0))
        comparator, incurred = game.comparator(), 0.0
        for t in range(15):
            X = density_matrix(symmetric(2, 3, seed=t), 1.0)
            np.testing.assert_array_equal(game.step(X).losses[1], rows[t])
            comparator.observe(X)
            incurred = incurred + np.trace(X @ rows[t], axis1=1, axis2=2)
        best = np.linalg.eigvalsh(rows.sum(axis=0))[0]
        np.testing.assert_allclose(comparator.regret(), incurred - best, atol=1e-12)


GAMES: dict[str, Any] = {
    "constant": lambda t: np.diag([0.9, 0.0, -0.5]),
    "random": symmetric(500, 3),
    "switch": lambda t: symmetric(1, 3)[0] * (1 if t < 150 else -1),
    "projections": np.einsum(
        "ti,tj->tij", *[np.linalg.qr(RNG.normal(size=(500, 3, 3)))[0][:, 0]] * 2
    ),
}


@pytest.mark.parametrize("name", GAMES)
@pytest.mark.parametrize("rate", [None, 0.01, 0.9])
def test_bound_and_inequality_hold_on_every_run(name: str, rate: float | None) -> None:
    trace = run(LogDetFTRL(3, learning_rate=rate), MatrixExperts(GAMES[name]), 500, seed=0)
    assert trace.guarantee is not None
    assert trace.pathwise is not None
    assert (trace.regret <= trace.guarantee.bound(trace.rounds)).all()
    assert (trace.pathwise.slack >= -1e-9 * trace.rounds).all()
    if rate is None:
        assert trace.guarantee.bound(500) < 1000


def test_the_bound_is_the_least_over_its_parameter() -> None:
    bound = LogDetFTRL(3, learning_rate=0.2).guarantee(MatrixExperts(GAMES["random"]))
    assert bound is not None
    alphas = np.linspace(1e-4, 1, 10_000)
    for t in (1, 10, 500):
        stability = t / 0.2 * (-0.2 - math.log(0.8))
        least = (-3 / 0.2 * np.log(alphas) + 2 * alphas * t).min() + stability
        assert bound.bound(t) == pytest.approx(least, rel=1e-5)


def test_nothing_is_claimed_from_a_rate_of_one_on() -> None:
    game = MatrixExperts(GAMES["random"])
    assert LogDetFTRL(3, learning_rate=1.0).guarantee(game) is None
    learner = LogDetFTRL(1, learning_rate=1.0)
    learner.reset(1, 5, np.random.default_rng(0))
    learner.update(MatrixFeedback(np.ones((1, 1, 1))))
    assert learner.pathwise() is None


def test_what_does_not_fit_is_refused() -> None:
    game = MatrixExperts(GAMES["random"])
    for learner in (LogDetFTRL(2), Exp3(3)):
        with pytest.raises(ValueError, match="matrices of size 3"):
            run(learner, game, 5, seed=0)
    for losses, match in (
        (np.ones((2, 3, 2)), "shape"),
        (np.triu(np.ones((1, 2, 2))), "symmetric"),
        (np.ones((1, 2, 2)), "norms of at most 1"),
        (np.zeros((0, 2, 2)), "number of rounds"),
        (lambda t: np.ones((2, 2)), "norms of at most 1"),
    ):
        with pytest.raises(ValueError, match=match):
            MatrixExperts(losses)
    with pytest.raises(ValueError, match="dim"):
        LogDetFTRL(0)
    with pytest.raises(ValueError, match="learning_rate"):
        LogDetFTRL(2, learning_rate=-1.0)
