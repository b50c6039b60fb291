import math
from typing import Any

import numpy as np
import pytest

from fenchel.bandits.linear import ConvexBodyBandit, LinearBandit, PointFeedback, SCRiBLe
from fenchel.bandits.linear.barriers import Barrier, barrier_of, self_concordant_gap
from fenchel.core import run
from fenchel.core.checks import FloatArray
from fenchel.core.sets import Ball, Box, ConvexSet, Polytope, Simplex

D = 3
CORNER = Polytope(np.concatenate([-np.eye(D), np.ones((1, D))]), [0.2, 0.2, 0.2, 0.7])
BODIES: dict[str, ConvexSet] = {
    "ball": Ball(),
    "ball elsewhere": Ball(2.5, [1.0, -2.0, 0.5]),
    "box": Box(np.array([-1.0, 0.0, -0.5]), np.array([2.0, 0.3, 0.5])),
    "polytope": CORNER,
}
SIZES = (0.0, 1e-3, 1.0, 30.0, 1e4)  # of linear terms: the minimiser nears the boundary


def linear_terms() -> FloatArray:
    directions = np.random.default_rng(0).normal(size=(4, D))
    return np.concatenate([size * directions for size in SIZES])


def minimizers(barrier: Barrier) -> FloatArray:
    terms = linear_terms()
    return barrier.minimize(terms, np.tile(barrier.start, (len(terms), 1)))


def eigen(barrier: Barrier, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """All eigenvalues (R, d) and eigenvectors (R, d, d), the columns."""
    pairs = [barrier.axis(x, np.full(len(x), i)) for i in range(D)]
    return np.stack([w for w, _ in pairs], axis=1), np.stack([e for _, e in pairs], axis=2)


# barriers


@pytest.mark.parametrize("name", BODIES)
def test_minimizers_agree_with_cvxpy(name: str) -> None:
    import cvxpy as cp

    body = BODIES[name]
    barrier, x = barrier_of(body, D), cp.Variable(D)
    if isinstance(body, Ball):
        z = (x - body.center(D)) / body.radius
        term = -cp.log(1 - cp.sum(cp.square(z)))
    else:
        term = -cp.sum(cp.log(barrier.b - barrier.A @ x))  # type: ignore[attr-defined]
    terms = linear_terms()[:12]
    for linear, ours in zip(terms, minimizers(barrier), strict=False):
        cp.Problem(cp.Minimize(linear @ x + term)).solve(solver=cp.CLARABEL)
        np.testing.assert_allclose(ours, x.value, atol=1e-4)  # the solver's accuracy
        value = linear @ ours + barrier.value(ours[None])[0]
        assert value <= linear @ x.value + barrier.value(x.value[None])[0] + 1e-10


def gradient(barrier: Barrier, x: FloatArray) -> FloatArray:
    """∇R(x), written out."""
    if hasattr(barrier, "A"):
        return (1 / (barrier.b - x @ barrier.A.T)) @ barrier.A  # type: ignore[attr-defined]
    z = (x - barrier.start) / barrier.radius  # type: ignore[attr-defined]
    scale = barrier.radius * (1 - (z**2).sum(axis=1, keepdims=True))  # type: ignore[attr-defined]
    return 2 * z / scale


@pytest.mark.parametrize("name", BODIES)
def test_minimizers_are_stationary_and_inside(name: str) -> None:
    barrier, terms = barrier_of(BODIES[name], D), linear_terms()
    x = minimizers(barrier)
    assert np.isfinite(barrier.value(x)).all()
    error = gradient(barrier, x) + terms
    # slacks of size 1/‖l‖ are rounded to 1e-16, and their inverses with them
    scale = 1 + np.linalg.norm(terms, axis=1, keepdims=True)
    assert (np.abs(error) <= 1e-14 * scale**2 + 1e-9 * scale).all()


@pytest.mark.parametrize("name", BODIES)
def test_axes_are_the_eigenvectors_of_the_hessian(name: str) -> None:
    barrier = barrier_of(BODIES[name], D)
    x = minimizers(barrier)[:12]
    values, vectors = eigen(barrier, x)
    np.testing.assert_allclose(
        np.einsum("rki,rkj->rij", vectors, vectors), np.tile(np.eye(D), (12, 1, 1)), atol=1e-12
    )
    hessian = np.einsum("rik,rk,rjk->rij", vectors, values, vectors)
    step = 1e-6
    for k in range(D):
        h = step * np.eye(D)[k]
        difference = (gradient(barrier, x + h) - gradient(barrier, x - h)) / (2 * step)
        np.testing.assert_allclose(difference, hessian[:, k], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BODIES)
def test_dikins_ellipsoid_lies_in_the_body(name: str) -> None:
    barrier = barrier_of(BODIES[name], D)
    x = minimizers(barrier)
    values, vectors = eigen(barrier, x)
    directions = np.random.default_rng(1).normal(size=(len(x), 100, D))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    steps = np.einsum("rik,rk,rnk->rni", vectors, values**-0.5, directions)
    assert BODIES[name].contains(x[:, None] + steps).all()


@pytest.mark.parametrize("name", BODIES)
def test_the_barriers_parameter_bounds_its_gradient_and_its_growth(name: str) -> None:
    body = BODIES[name]
    barrier = barrier_of(body, D)
    x = minimizers(barrier)
    values, vectors = eigen(barrier, x)
    along = np.einsum("rik,ri->rk", vectors, gradient(barrier, x))
    norms = (along**2 / values).sum(axis=1)  # ‖∇R‖² in the dual norm
    assert (norms <= barrier.parameter * (1 + 1e-9)).all()
    assert norms.max() > 0.5  # and is near ν in a corner, near 1 at a smooth boundary
    boundary = body.linear_minimizer(np.random.default_rng(2).normal(size=(30, D)))
    for alpha in (1e-6, 0.01, 0.3, 1.0):
        u = (1 - alpha) * boundary + alpha * barrier.start
        rise = barrier.value(u) - barrier.value(barrier.start[None])
        assert (rise <= barrier.parameter * math.log(1 / alpha) + 1e-9).all()


@pytest.mark.parametrize("name", BODIES)
def test_the_gap_of_a_self_concordant_function_is_at_most_that_of_its_decrement(name: str) -> None:
    barrier = barrier_of(BODIES[name], D)
    x = minimizers(barrier)[:12]
    values, vectors = eigen(barrier, x)
    rng = np.random.default_rng(3)
    for size in (0.01, 0.3, 0.9, 0.99):
        unit = rng.normal(size=(12, D))
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        change = size * np.einsum("rik,rk,rk->ri", vectors, values**0.5, unit)  # decrement: size
        linear = linear_terms()[:12] + change  # so that the gradient at x is `change`
        best = barrier.minimize(linear, x)
        gap = (linear * (x - best)).sum(axis=1) + barrier.value(x) - barrier.value(best)
        assert (gap <= self_concordant_gap(size) + 1e-10).all()


def test_on_a_line_the_ball_and_the_polytope_have_one_barrier() -> None:
    # −ln(1 − x²) = −ln(1 − x) − ln(1 + x)
    ball, box = barrier_of(Ball(), 1), barrier_of(Box(-1.0, 1.0), 1)
    linear = np.array([[0.0], [0.3], [-2.0], [50.0]])
    x = ball.minimize(linear, np.zeros((4, 1)))
    np.testing.assert_allclose(box.minimize(linear, np.zeros((4, 1))), x, atol=1e-12)
    np.testing.assert_allclose(box.value(x), ball.value(x), atol=1e-12)
    index = np.zeros(4, dtype=int)
    np.testing.assert_allclose(box.axis(x, index)[0], ball.axis(x, index)[0], rtol=1e-10)


# the learner


@pytest.mark.parametrize("name", BODIES)
def test_estimates_are_unbiased_by_enumeration_of_the_perturbations(name: str) -> None:
    # replication k plays perturbation k of 2 d: its uniform is (k + ½)/(2 d)
    class Fixed:
        def draw(self) -> FloatArray:
            return (np.arange(2 * D) + 0.5) / (2 * D)

    theta = np.array([0.7, -0.2, 0.4])
    for past in linear_terms()[:16]:
        learner = SCRiBLe(D, domain=BODIES[name], learning_rate=0.1)
        learner.reset(2 * D, 10, np.random.default_rng(0))
        learner._uniforms = Fixed()  # type: ignore[assignment]
        learner.cumulative_losses[:] = past
        learner.center = learner.barrier.minimize(0.1 * learner.cumulative_losses, learner.center)
        points, center = learner.act(), learner.center
        assert BODIES[name].contains(points).all()
        assert len(np.unique(points.round(12), axis=0)) == 2 * D
        np.testing.assert_allclose(points.mean(axis=0), center[0], atol=1e-12)
        before = learner.cumulative_losses.copy()
        learner.update(PointFeedback(points, points @ theta))
        added = learner.cumulative_losses - before
        np.testing.assert_allclose(added.mean(axis=0), theta, atol=1e-9)
        values, vectors = eigen(learner.barrier, center)
        along = np.einsum("rik,ri->rk", vectors, added)
        norms = np.sqrt((along**2 / values).sum(axis=1))  # dual norm d |y|
        np.testing.assert_allclose(norms, D * np.abs(points @ theta), rtol=1e-9)


def test_all_perturbations_are_equally_likely() -> None:
    n = 12_000
    learner = SCRiBLe(D)
    learner.reset(n, 10, np.random.default_rng(0))
    shares = np.unique(learner.act().round(9), axis=0, return_counts=True)[1] / n
    assert len(shares) == 2 * D
    assert (np.abs(shares - 1 / 6) < 5 * math.sqrt(5 / 36 / n)).all()


def test_the_center_is_the_regularised_leader_in_each_round() -> None:
    game = ConvexBodyBandit(CORNER, np.random.default_rng(0).uniform(-0.5, 0.5, size=(50, D)))
    learner = SCRiBLe(D, domain=CORNER)
    game.reset(4, np.random.default_rng(0))
    learner.reset(4, 50, np.random.default_rng(1))
    for _ in range(50):
        learner.update(game.step(learner.act()))
        residual = gradient(learner.barrier, learner.center)
        residual += learner.eta * learner.cumulative_losses
        np.testing.assert_allclose(residual, 0, atol=1e-7)


def test_the_tuned_bound_has_the_constants_of_the_derivation() -> None:
    game = ConvexBodyBandit(Ball(), lambda t: [1.0, 0.0, 0.0])
    bound = SCRiBLe(3).guarantee(game)
    assert bound is not None
    for T in (100, 10_000, 10**6):
        assert 8 * math.log(T) <= T
        limit = 3 / math.sqrt(2) * 3 * math.sqrt(T * math.log(T)) + 2
        assert bound.bound(T) <= limit < 16 * 3 * math.sqrt(T * math.log(T))  # of the paper
    assert SCRiBLe(3, learning_rate=0.4).guarantee(game) is None
    alphas = np.linspace(1e-4, 1, 10_000)  # the α of the bound is the best
    learner = SCRiBLe(3, learning_rate=0.05)
    every = -np.log(alphas) / 0.05 + 2 * alphas * 500
    stability = 500 * float(self_concordant_gap(0.15)) / 0.05
    assert learner.guarantee(game).bound(500) == pytest.approx(  # type: ignore[union-attr]
        every.min() + stability, rel=1e-6
    )


def test_the_inequality_is_dropped_when_a_step_is_too_long() -> None:
    learner = SCRiBLe(2, learning_rate=1.0)
    learner.reset(1, 5, np.random.default_rng(0))
    points = learner.act()
    learner.update(PointFeedback(points, np.array([0.9])))
    assert learner.pathwise() is None


def test_same_seed_same_run() -> None:
    for domain in (Ball(), CORNER):
        game = ConvexBodyBandit(domain, lambda t: [0.5, -0.3, 0.2])
        runs = (
            run(SCRiBLe(D, domain=domain), game, 50, n_replications=3, seed=s) for s in (1, 1, 2)
        )
        one, two, other = (trace.regret for trace in runs)
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, other)


# the game


@pytest.mark.parametrize("name", BODIES)
def test_regret_is_against_the_best_point(name: str) -> None:
    body = BODIES[name]
    rows = np.random.default_rng(0).uniform(-0.1, 0.1, size=(20, D))
    for parameters in (rows, lambda t: rows[t]):
        game = ConvexBodyBandit(body, parameters)
        game.reset(5, np.random.default_rng(0))
        comparator, incurred = game.comparator(), np.zeros(5)
        for row in rows:
            points = body.project(body.center(D) + np.random.default_rng(1).normal(size=(5, D)))
            losses = game.step(points).losses
            np.testing.assert_allclose(losses, points @ row, atol=1e-14)
            comparator.observe(points)
            incurred += losses
        total = rows.sum(axis=0)
        best = total @ body.linear_minimizer(total)
        np.testing.assert_allclose(comparator.regret(), incurred - best, atol=1e-9)


def test_what_does_not_fit_is_refused() -> None:
    game = ConvexBodyBandit(Ball(), lambda t: [0.5, -0.3, 0.2])
    others: list[Any] = [
        SCRiBLe(2),
        SCRiBLe(3, domain=Ball(2.0)),
        SCRiBLe(3, domain=Ball(1.0, np.ones(3))),
        SCRiBLe(3, domain=CORNER),
    ]
    for learner in others:
        with pytest.raises(ValueError, match="domain"):
            run(learner, game, 5, seed=0)
    copy = Polytope(CORNER.A, CORNER.b)
    run(SCRiBLe(3, domain=copy), ConvexBodyBandit(CORNER, [[0.1, 0, 0]]), 1, seed=0)
    game.reset(2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="shape"):
        game.step(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="in the domain"):
        game.step(np.ones((2, 3)))
    arms = LinearBandit(np.eye(3), [0.1, 0.2, 0.3])
    assert SCRiBLe(3).guarantee(arms) is None
    with pytest.raises(ValueError, match="features"):
        run(SCRiBLe(3), arms, 5, seed=0)


BAD: dict[str, tuple[Any, type]] = {
    "dim must": (lambda: SCRiBLe(0), ValueError),
    "learning_rate": (lambda: SCRiBLe(2, learning_rate=0.0), ValueError),
    "a Ball, a Box or a Polytope": (lambda: SCRiBLe(2, domain=Simplex()), TypeError),
    "interior": (lambda: SCRiBLe(2, domain=Box([0.0, 1.0], [1.0, 1.0])), ValueError),
    "losses in": (lambda: ConvexBodyBandit(Ball(), [[0.8, 0.8]]), ValueError),
    r"parameters\(0\) must give": (lambda: ConvexBodyBandit(Ball(), lambda t: [2.0]), ValueError),
    "number of rounds": (lambda: ConvexBodyBandit(Ball(), np.zeros((0, 2))), ValueError),
}


@pytest.mark.parametrize("match", BAD)
def test_bad_arguments_are_refused(match: str) -> None:
    make, error = BAD[match]
    with pytest.raises(error, match=match):
        make()
