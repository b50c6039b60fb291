import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fenchel.bandits.sea.losses import (
    AbsoluteResidual,
    EllipticLoss,
    LinearLoss,
    SphericalLoss,
    SquaredResiduals,
)
from fenchel.core import GradientFeedback, Loss
from fenchel.core.checks import FloatArray

R = 40


def elliptic(weights: Any, rng: np.random.Generator, d: int) -> EllipticLoss:
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return EllipticLoss(np.resize(np.array(weights), d), basis, rng.normal(size=(R, d)))


KINDS: dict[str, Callable[[np.random.Generator, int], Loss]] = {
    "linear": lambda rng, d: LinearLoss(rng.normal(size=(R, d))),
    "spherical": lambda rng, d: SphericalLoss(0.7, rng.normal(size=(R, d))),
    "elliptic": lambda rng, d: elliptic([0.5, 2.0, 1.0], rng, d),
    "elliptic, flat in places": lambda rng, d: elliptic([0.0, 2.0, 0.0], rng, d),
    "squared": lambda rng, d: SquaredResiduals(rng.normal(size=(R, 1, d)), rng.normal(size=(R, 1))),
    "mini-batch": lambda rng, d: SquaredResiduals(
        rng.normal(size=(R, 3, d)), rng.normal(size=(R, 3))
    ),
    "absolute": lambda rng, d: AbsoluteResidual(rng.normal(size=(R, d)), rng.normal(size=R)),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
every_dimension = pytest.mark.parametrize("dim", [1, 2, 3])


def value(loss: Loss, x: FloatArray) -> FloatArray:
    """f at points (..., R, d), from the definitions; shape (..., R)."""
    if isinstance(loss, LinearLoss):
        return (loss.coefficients * x).sum(axis=-1)
    if isinstance(loss, SphericalLoss):
        return loss.curvature / 2 * ((x - loss.minimum) ** 2).sum(axis=-1)
    if isinstance(loss, EllipticLoss):
        A = loss.basis @ np.diag(loss.weights) @ loss.basis.T
        return 0.5 * np.einsum("...i,ij,...j->...", x - loss.minimum, A, x - loss.minimum)
    if isinstance(loss, SquaredResiduals):
        residuals = np.einsum("rkd,...rd->...rk", loss.features, x) - loss.targets
        return 0.5 * (residuals**2).mean(axis=-1)
    assert isinstance(loss, AbsoluteResidual)
    return abs((loss.features * x).sum(axis=-1) - loss.targets)


def project(x: FloatArray, radius: float) -> FloatArray:
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.where(norm > radius, radius * x / np.where(norm > 0, norm, 1.0), x)


# gradients


@every_kind
@every_dimension
def test_gradients_are_central_differences(kind: str, dim: int) -> None:
    rng = np.random.default_rng(0)
    loss, x, h = KINDS[kind](rng, dim), rng.normal(size=(R, dim)), 1e-5
    steps = h * np.eye(dim)[:, None]
    differences = (value(loss, x + steps) - value(loss, x - steps)) / (2 * h)  # (d, R)
    # second differences of quadratics are constant, and no kink lies within h: rounding/h is left
    np.testing.assert_allclose(loss.gradient(x), differences.T, atol=1e-9)


@every_kind
@every_dimension
def test_gradients_at_many_points_are_those_at_each(kind: str, dim: int) -> None:
    rng = np.random.default_rng(1)
    loss, x = KINDS[kind](rng, dim), rng.normal(size=(R, 6, dim))
    together = loss.gradient(x)
    assert together.shape == x.shape
    for n in range(6):
        alone = loss.gradient(x[:, n])
        assert alone.shape == (R, dim)
        np.testing.assert_allclose(together[:, n], alone, rtol=1e-13, atol=1e-15)
    assert loss.gradient(x[:, :1]).shape == (R, 1, dim)


def test_as_many_points_as_replications_or_coordinates_are_not_confused() -> None:
    # (R, N, d) with N = R = d: each replication keeps its own loss
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3, 3, 3))
    c, a, b = rng.normal(size=(3, 3)), rng.normal(size=(3, 1, 3)), rng.normal(size=(3, 1))
    for r in range(3):
        for n in range(3):
            for loss, expected in (
                (LinearLoss(c), c[r]),
                (SphericalLoss(2.0, c), 2 * (x[r, n] - c[r])),
                (SquaredResiduals(a, b), a[r, 0] * (a[r, 0] @ x[r, n] - b[r, 0])),
                (
                    AbsoluteResidual(a[:, 0], b[:, 0]),
                    a[r, 0] * np.sign(a[r, 0] @ x[r, n] - b[r, 0]),
                ),
            ):
                np.testing.assert_allclose(loss.gradient(x)[r, n], expected, rtol=1e-12)


def test_the_subgradient_at_the_kink_is_zero() -> None:
    loss = AbsoluteResidual(np.array([[2.0, 0.0]]), np.array([1.0]))
    np.testing.assert_array_equal(loss.gradient(np.array([[0.5, 9.0]])), [[0.0, 0.0]])


@every_kind
@pytest.mark.parametrize("shape", [(R + 3, 2), (R, 3), (R + 3, 4, 2), (R, 4, 3)])
def test_points_of_another_game_are_refused(kind: str, shape: tuple[int, ...]) -> None:
    loss = KINDS[kind](np.random.default_rng(3), 2)
    with pytest.raises((ValueError, IndexError)):
        loss.gradient(np.ones(shape))


# proximal steps


def assert_solves(
    loss: Loss, center: FloatArray, eta: FloatArray, radius: float, x: FloatArray, m: FloatArray
) -> None:
    """x = Π(z − η m) with m ∈ ∂f(x): then, and only then, x is the minimiser."""
    rng = np.random.default_rng(99)
    assert x.shape == m.shape == center.shape
    assert (np.linalg.norm(x, axis=-1) <= radius * (1 + 1e-12)).all()
    # rounding of m is multiplied by η
    tolerance = 1e-11 * (1 + eta * (1 + np.linalg.norm(m, axis=-1, keepdims=True)))
    assert (abs(x - project(center - eta * m, radius)) <= tolerance).all()
    # f(y) ≥ f(x) + ⟨m, y − x⟩, near and far
    y = x + rng.choice([1e-3, 1.0, 30.0], size=(300, 1, 1)) * rng.normal(size=(300, *x.shape))
    gap = value(loss, y) - value(loss, x) - (m * (y - x)).sum(axis=-1)
    assert (gap >= -1e-9 * (1 + abs(value(loss, y)))).all()


STEPS = [1e-6, 1e-2, 1.0, 1e2, 1e5]


@every_kind
@every_dimension
@pytest.mark.parametrize("step", STEPS)
def test_implicit_steps_project_along_a_subgradient_at_their_end(
    kind: str, dim: int, step: float
) -> None:
    rng = np.random.default_rng(4)
    loss = KINDS[kind](rng, dim)
    eta = step * rng.uniform(0.5, 2.0, size=(R, 1))
    ends = []
    for radius, spread in ((0.8, 0.3), (0.8, 3.0), (50.0, 1.0)):
        center = spread * rng.normal(size=(R, dim))
        x, m = loss.implicit_step(center, eta, radius)
        assert_solves(loss, center, eta, radius, x, m)
        ends.append(np.linalg.norm(x, axis=-1) < radius * (1 - 1e-9))
    inside = np.concatenate(ends)
    if step <= 1.0:  # a long step along a linear loss always ends on the sphere
        assert 0 < inside.sum() < len(inside)


@every_kind
def test_implicit_steps_agree_with_cvxpy(kind: str) -> None:
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(5)
    loss, center, eta = KINDS[kind](rng, 3), rng.normal(size=(R, 3)), np.full((R, 1), 0.6)
    x, _ = loss.implicit_step(center, eta, 0.8)
    y = cp.Variable(3)
    for r in range(6):
        f: Any
        if isinstance(loss, LinearLoss):
            f = loss.coefficients[r] @ y
        elif isinstance(loss, SphericalLoss):
            f = loss.curvature / 2 * cp.sum_squares(y - loss.minimum[r])
        elif isinstance(loss, EllipticLoss):
            root = np.sqrt(loss.weights)[:, None] * loss.basis.T
            f = 0.5 * cp.sum_squares(root @ (y - loss.minimum[r]))
        elif isinstance(loss, SquaredResiduals):
            k = loss.features.shape[1]
            f = 0.5 * cp.sum_squares(loss.features[r] @ y - loss.targets[r]) / k
        else:
            assert isinstance(loss, AbsoluteResidual)
            f = cp.abs(loss.features[r] @ y - loss.targets[r])
        proximal = f + cp.sum_squares(y - center[r]) / (2 * 0.6)
        cp.Problem(cp.Minimize(proximal), [cp.norm(y) <= 0.8]).solve(solver=cp.CLARABEL)
        np.testing.assert_allclose(x[r], y.value, atol=3e-4)  # the root of the peer's gap 1e-8


@pytest.mark.parametrize(
    ("b", "z", "expected", "s"),
    [
        (0.2, (0.5, 0.1), (0.2, 0.1), 0.3),  # stops at the kink
        (0.2, (1.5, 0.0), (0.5, 0.0), 1.0),  # does not reach it
        (0.2, (-0.9, 0.0), (0.1, 0.0), -1.0),
        (0.2, (0.2, -0.3), (0.2, -0.3), 0.0),  # is there
        # kink and sphere at once: x_2 = √(1 − 0.2²), and z − s a is parallel to x
        (0.2, (0.5, 3.0), (0.2, math.sqrt(0.96)), 0.5 - 3 * 0.2 / math.sqrt(0.96)),
        (5.0, (0.5, 0.0), (1.0, 0.0), -1.0),  # a target that no point of the ball reaches
        (-5.0, (0.5, 0.0), (-0.5, 0.0), 1.0),
    ],
)
def test_implicit_steps_of_the_absolute_loss_in_closed_form(
    b: float, z: tuple[float, float], expected: tuple[float, float], s: float
) -> None:
    loss = AbsoluteResidual(np.array([[1.0, 0.0]]), np.array([b]))
    x, m = loss.implicit_step(np.array([z]), np.ones((1, 1)), 1.0)
    np.testing.assert_allclose(x, [expected], atol=1e-14)
    np.testing.assert_allclose(m, [[s, 0.0]], atol=1e-14)


@every_kind
@every_dimension
def test_short_steps_stay_and_long_steps_reach_the_minimum_over_the_ball(
    kind: str, dim: int
) -> None:
    rng = np.random.default_rng(6)
    loss, center = KINDS[kind](rng, dim), rng.normal(size=(R, dim))
    x, _ = loss.implicit_step(center, np.full((R, 1), 1e-12), 0.8)
    np.testing.assert_allclose(x, project(center, 0.8), atol=1e-10)
    long = 1e6
    x, m = loss.implicit_step(center, np.full((R, 1), long), 0.8)
    # f(x) − min f ≤ max_u ⟨m, x − u⟩ = ⟨m, x⟩ + r ‖m‖, of the order of ‖x − z‖ r/η
    gap = (m * x).sum(axis=-1) + 0.8 * np.linalg.norm(m, axis=-1)
    assert (gap <= 0.8 * np.linalg.norm(center - x, axis=-1) * 2 / long + 1e-9).all()


def test_one_loss_written_in_two_ways_steps_alike() -> None:
    rng = np.random.default_rng(7)
    a, b, c = rng.normal(size=(R, 3)), rng.normal(size=R), rng.normal(size=(R, 3))
    eta = rng.uniform(0.1, 3.0, size=(R, 1))
    basis = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    pairs: list[tuple[Loss, Loss]] = [
        (SphericalLoss(0.7, c), EllipticLoss(np.full(3, 0.7), basis, c)),
        (
            SquaredResiduals(a[:, None], b[:, None]),  # by two coordinates, and by all
            SquaredResiduals(np.stack([a, a], axis=1), np.stack([b, b], axis=1)),
        ),
        (  # Σ_k (x_k − c_k)²/(2K), K = d
            SphericalLoss(1 / 3, c),
            SquaredResiduals(np.tile(np.eye(3), (R, 1, 1)), c),
        ),
    ]
    for center in (0.3 * rng.normal(size=(R, 3)), 3 * rng.normal(size=(R, 3))):
        for one, other in pairs:
            results = zip(
                one.implicit_step(center, eta, 0.8),
                other.implicit_step(center, eta, 0.8),
                strict=True,
            )
            for ours, theirs in results:
                np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("copies", [1, 3])
def test_features_of_zero_leave_the_point_where_it_is(copies: int) -> None:
    center = np.array([[0.3, -0.1], [2.0, 0.0]])
    eta = np.ones((2, 1))
    losses: list[Loss] = [
        SquaredResiduals(np.zeros((2, copies, 2)), np.full((2, copies), 1.7)),
        AbsoluteResidual(np.zeros((2, 2)), np.array([1.7, -1.7])),
        AbsoluteResidual(np.zeros((2, 2)), np.zeros(2)),
        LinearLoss(np.zeros((2, 2))),
    ]
    for loss in losses:
        x, m = loss.implicit_step(center, eta, 0.5)
        np.testing.assert_allclose(x, project(center, 0.5), atol=1e-15)
        np.testing.assert_array_equal(m, np.zeros((2, 2)))


def test_a_center_along_the_feature_is_no_trouble() -> None:
    # the plane of a and z is a line; (½)(2 x − 1)² + (x − z)²/2 along it: x = (z + 2)/5
    loss = SquaredResiduals(np.array([[[0.0, 2.0]]]), np.array([[1.0]]))
    for z in (0.3, -0.3, 0.0):
        x, m = loss.implicit_step(np.array([[0.0, z]]), np.ones((1, 1)), 1.0)
        np.testing.assert_allclose(x, [[0.0, (z + 2) / 5]], atol=1e-15)
        np.testing.assert_allclose(m, [[0.0, z - (z + 2) / 5]], atol=1e-15)


@every_kind
@pytest.mark.parametrize("broken", ["center", "step_size"])
def test_what_is_not_a_number_does_not_become_a_point(kind: str, broken: str) -> None:
    loss = KINDS[kind](np.random.default_rng(8), 2)
    center, eta = np.full((R, 2), 0.1), np.ones((R, 1))
    (center if broken == "center" else eta)[3] = math.nan
    try:
        x, _ = loss.implicit_step(center, eta, 0.8)
    except (ValueError, FloatingPointError, np.linalg.LinAlgError):
        return
    assert not np.isfinite(x[3]).all()


def test_arguments_are_left_alone() -> None:
    rng = np.random.default_rng(9)
    for make in KINDS.values():
        loss, center, eta = make(rng, 2), rng.normal(size=(R, 2)), np.ones((R, 1))
        kept = center.copy(), eta.copy()
        loss.implicit_step(center, eta, 0.5)
        loss.gradient(center)
        np.testing.assert_array_equal(center, kept[0])
        np.testing.assert_array_equal(eta, kept[1])


def test_a_loss_of_ones_own_needs_a_gradient_and_says_that_it_has_no_implicit_step() -> None:
    class Cubic(Loss):
        def gradient(self, x: FloatArray) -> FloatArray:
            return x * abs(x)

    loss = Cubic()
    feedback = GradientFeedback(loss.gradient(np.ones((1, 2))), loss)
    assert feedback.loss is loss
    assert not hasattr(feedback, "__dict__")  # nothing else is revealed
    with pytest.raises(NotImplementedError, match=r"Cubic has no implicit step; give it one"):
        loss.implicit_step(np.ones((1, 2)), np.ones((1, 1)), 1.0)
    with pytest.raises(TypeError, match="gradient"):
        Loss()  # type: ignore[abstract]
