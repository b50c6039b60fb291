from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenchel.core.checks import FloatArray
from fenchel.core.quadratics import (
    maximum_on_ball,
    minimize_diagonal,
    minimize_on_ball,
    quadratic,
)

deterministic = settings(deadline=None, derandomize=True, max_examples=150)
# zeros, ties and a wide range of magnitudes; nothing near the smallest numbers, which lose digits
entries = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 0.5, -0.5]),
    st.floats(-1, 1).map(lambda v: v if abs(v) > 1e-30 else 0.0),
    st.tuples(st.floats(-1, 1), st.integers(-16, 0)).map(
        lambda p: p[0] * 10.0 ** p[1] if abs(p[0]) > 1e-3 else 0.0
    ),
)
problems = st.integers(1, 6).flatmap(
    lambda k: st.tuples(
        st.lists(entries, min_size=k, max_size=k).map(np.array),
        st.lists(entries, min_size=k, max_size=k).map(np.array),
    )
)
scales = st.sampled_from([1e-8, 1e-3, 1.0, 1e3, 1e8])


def assert_minimises(hessian: FloatArray, linear: FloatArray, radius: float, x: FloatArray) -> None:
    """(A + ν I) x = b, ν ≥ 0, A + ν I ⪰ 0, ν = 0 unless ‖x‖ = r: sufficient and necessary.

    To 1e-12 of the forces ‖A‖ r + ‖b‖, which is rounding.
    """
    norm = np.linalg.norm(x)
    assert norm <= radius * (1 + 1e-14)
    eigenvalues = np.linalg.eigvalsh(hessian)
    scale = np.abs(eigenvalues).max() + np.linalg.norm(linear) / radius
    tolerance = 1e-12 * scale
    on_sphere = norm > radius * (1 - 1e-10)
    nu = x @ (linear - hessian @ x) / norm**2 if on_sphere else 0.0
    assert nu >= -tolerance
    assert eigenvalues[0] + nu >= -tolerance
    residual = hessian @ x + nu * x - linear
    assert np.linalg.norm(residual) <= tolerance * radius


@deterministic
@given(problem=problems, size=scales, force=scales, radius=scales)
def test_diagonal_minimisers_satisfy_the_global_optimality_conditions(
    problem: tuple[FloatArray, FloatArray], size: float, force: float, radius: float
) -> None:
    weights, coefficients = size * problem[0], force * problem[1]
    y = minimize_diagonal(weights, coefficients, radius)
    assert_minimises(np.diag(weights), coefficients, radius, y)


@deterministic
@given(problem=problems, size=scales, seed=st.integers(0, 5))
def test_minimisers_satisfy_the_global_optimality_conditions_in_every_basis(
    problem: tuple[FloatArray, FloatArray], size: float, seed: int
) -> None:
    weights, coefficients = problem
    k = len(weights)
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(k, k)))[0]
    hessian = (basis * (size * weights)) @ basis.T
    hessian = (hessian + hessian.T) / 2
    x = minimize_on_ball(hessian, basis @ coefficients, 1.5)
    assert_minimises(hessian, basis @ coefficients, 1.5, x)


@pytest.mark.parametrize("radius", [1e-3, 1.0, 50.0])
def test_no_point_of_a_fine_polar_grid_is_better(radius: float) -> None:
    angles = np.linspace(0, 2 * np.pi, 721)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    grid = (radius * np.linspace(0, 1, 101))[:, None, None] * circle
    rng = np.random.default_rng(0)
    for _ in range(50):
        square = rng.normal(size=(2, 2))
        A, b = square + square.T, radius * rng.normal(size=2) * rng.choice([0.01, 1.0])
        x = minimize_on_ball(A, b, radius)
        values = quadratic(A, b, grid)
        best = quadratic(A, b, x)
        scale = radius**2 * np.linalg.norm(A) + radius * np.linalg.norm(b)
        assert best <= values.min() + 1e-14 * scale
        assert best >= values.min() - 1e-3 * scale  # the grid's spacing, squared


def test_convex_minimisers_agree_with_cvxpy() -> None:
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(1)
    x, root, b = cp.Variable(3), cp.Parameter((3, 3)), cp.Parameter(3)
    objective = cp.Minimize(0.5 * cp.sum_squares(root @ x) - b @ x)
    problem = cp.Problem(objective, [cp.norm(x) <= 0.8])
    inside = 0
    for _ in range(20):
        root.value = rng.normal(size=(3, 3))
        b.value = rng.normal(size=3) * rng.choice([0.1, 3.0])
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        A = root.value.T @ root.value
        ours = minimize_on_ball(A, b.value, 0.8)
        inside += int(np.linalg.norm(ours) < 0.79)
        # the values agree as well as the peer's gap says; the points to its root
        value = float(quadratic(A, b.value, ours))
        assert value == pytest.approx(float(problem.value), abs=1e-9)
        np.testing.assert_allclose(ours, x.value, atol=2e-4)
    assert 3 <= inside <= 17  # both cases were seen


def test_an_inner_minimiser_solves_the_linear_system() -> None:
    rng = np.random.default_rng(2)
    root = rng.normal(size=(4, 4))
    A = root @ root.T + np.eye(4)
    b = rng.normal(size=4)
    x = np.linalg.solve(A, b)
    np.testing.assert_allclose(minimize_on_ball(A, b, 2 * np.linalg.norm(x)), x, rtol=1e-12)
    # and where the ball just touches it
    np.testing.assert_allclose(minimize_on_ball(A, b, float(np.linalg.norm(x))), x, rtol=1e-12)


@pytest.mark.parametrize("radius", [1e-4, 1.0, 1e4])
def test_linear_functions_are_least_at_the_opposite_of_their_gradient(radius: float) -> None:
    b = np.random.default_rng(3).normal(size=(20, 4))
    expected = radius * b / np.linalg.norm(b, axis=-1, keepdims=True)
    for strength in (1e-100, 1e-8, 1.0, 1e8):
        x = minimize_on_ball(np.zeros((20, 4, 4)), strength * b, radius)
        np.testing.assert_allclose(x, expected, rtol=1e-14)


@pytest.mark.parametrize("force", [1e-8, 0.3, 0.999])
def test_the_hard_case_in_closed_form(force: float) -> None:
    # w = (−1, 1, 3), c = (0, 2f, 0) with f < r = 1: ν = 1, y_2 = f, and y_1 = ±√(1 − f²)
    y = minimize_diagonal(np.array([-1.0, 1.0, 3.0]), np.array([0.0, 2 * force, 0.0]), 1.0)
    expected = [np.sqrt(1 - force**2), force, 0.0]
    np.testing.assert_allclose(np.abs(y), expected, rtol=1e-12)
    # more force than that: an ordinary point of the sphere, y = (0, 1, 0)
    y = minimize_diagonal(np.array([-1.0, 1.0, 3.0]), np.array([0.0, 2.5, 0.0]), 1.0)
    np.testing.assert_allclose(y, [0.0, 1.0, 0.0], atol=1e-15)


@pytest.mark.parametrize("tiny", [1e-300, 1e-60, 1e-16, 1e-9, 1e-4])
def test_next_to_the_hard_case_the_small_force_decides_the_sign(tiny: float) -> None:
    for sign in (-1.0, 1.0):
        y = minimize_diagonal(np.array([-1.0, 1.0]), np.array([sign * tiny, 1.0]), 1.0)
        assert np.sign(y[0]) == sign
        np.testing.assert_allclose(np.linalg.norm(y), 1.0, rtol=1e-14)
        # y_2 = 1/(1 + ν) and ν − 1 = tiny/y_1: halves of √3 in the limit
        np.testing.assert_allclose(y, [sign * np.sqrt(0.75), 0.5], atol=2 * tiny + 1e-15)


def test_without_a_linear_term_the_minimiser_is_zero_or_a_bottom_eigenvector() -> None:
    rng = np.random.default_rng(4)
    basis = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    convex = (basis * [0.1, 1, 2, 3, 4]) @ basis.T
    np.testing.assert_array_equal(minimize_on_ball(convex, np.zeros(5), 2.0), np.zeros(5))
    indefinite = (basis * [-3.0, -2, 0, 1, 4]) @ basis.T
    x = minimize_on_ball(indefinite, np.zeros(5), 2.0)
    np.testing.assert_allclose(abs(x @ basis[:, 0]), 2.0, rtol=1e-14)
    np.testing.assert_array_equal(minimize_on_ball(np.zeros((3, 3)), np.zeros(3), 2.0), np.zeros(3))
    double = minimize_diagonal(np.array([-1.0, -1.0, 0.0]), np.zeros(3), 2.0)  # many minimisers
    np.testing.assert_allclose(np.linalg.norm(double[:2]), 2.0, rtol=1e-15)


def test_one_dimension_is_the_interval() -> None:
    for a, b in ((2.0, 1.0), (2.0, 9.0), (2.0, -9.0), (-1.0, 0.3), (-1.0, -0.3), (0.0, 2.0)):
        grid = np.linspace(-1.5, 1.5, 30001)
        expected = grid[(0.5 * a * grid**2 - b * grid).argmin()]
        x = minimize_on_ball(np.array([[a]]), np.array([b]), 1.5)
        np.testing.assert_allclose(x, [expected], atol=1e-4)


def test_maxima_are_those_of_the_negative_and_lie_above_all_points() -> None:
    rng = np.random.default_rng(5)
    root = rng.normal(size=(30, 4, 4))
    A, b = root + root.transpose(0, 2, 1), rng.normal(size=(30, 4))
    largest = maximum_on_ball(A, b, 0.7)
    x = minimize_on_ball(-A, -b, 0.7)
    np.testing.assert_array_equal(largest, quadratic(A, b, x))
    directions = rng.normal(size=(2000, 30, 4))
    points = 0.7 * directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    assert (quadratic(A, b, points * rng.random((2000, 30, 1))) <= largest).all()
    # ‖x − c‖² = 2 (½‖x‖² − ⟨c, x⟩) + ‖c‖² is largest opposite to c, at (r + ‖c‖)²
    np.testing.assert_allclose(
        2 * maximum_on_ball(np.eye(4), b, 0.7) + (b**2).sum(axis=-1),
        (0.7 + np.linalg.norm(b, axis=-1)) ** 2,
        rtol=1e-13,
    )


def test_leading_axes_are_batch() -> None:
    rng = np.random.default_rng(6)
    root = rng.normal(size=(2, 5, 3, 3))
    A, b = root + root.transpose(0, 1, 3, 2), rng.normal(size=(2, 5, 3))
    b[0, 0] = 0.0  # one hard case among ordinary ones
    x, largest = minimize_on_ball(A, b, 1.3), maximum_on_ball(A, b, 1.3)
    for index in np.ndindex(2, 5):
        np.testing.assert_allclose(x[index], minimize_on_ball(A[index], b[index], 1.3), atol=1e-13)
        expected = maximum_on_ball(A[index], b[index], 1.3)
        np.testing.assert_allclose(largest[index], expected, rtol=1e-13)
    assert minimize_on_ball(A[:0], b[:0], 1.3).shape == (0, 5, 3)
    shared = minimize_on_ball(A[0, 1], b[0], 1.3)  # one Hessian, many linear parts
    np.testing.assert_allclose(shared[3], minimize_on_ball(A[0, 1], b[0, 3], 1.3), atol=1e-13)


@pytest.mark.parametrize("length", [1e-6, 1e6])
@pytest.mark.parametrize("unit", [1e-10, 1e10])
def test_units_of_length_and_of_loss_change_nothing(length: float, unit: float) -> None:
    rng = np.random.default_rng(7)
    weights, coefficients = rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    y = minimize_diagonal(weights, coefficients, 0.9)
    scaled = minimize_diagonal(unit * weights, unit * length * coefficients, 0.9 * length)
    np.testing.assert_allclose(scaled, length * y, rtol=1e-9, atol=1e-12 * length)


def test_arguments_are_left_alone() -> None:
    rng = np.random.default_rng(8)
    arguments: list[Any] = [rng.normal(size=(4, 3)), rng.normal(size=(4, 3))]
    copies = [a.copy() for a in arguments]
    minimize_diagonal(*arguments, 0.5)
    for argument, kept in zip(arguments, copies, strict=True):
        np.testing.assert_array_equal(argument, kept)
