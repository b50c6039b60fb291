import copy
import itertools
import math
import pickle
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenchel.core.checks import FloatArray
from fenchel.core.sets import Ball, Box, ConvexSet, Polytope, Simplex, WholeSpace

CENTER = np.array([0.5, -1.0, 2.0])
LOW, HIGH = np.array([-1.0, 0.0, 2.0]), np.array([1.0, 0.0, 5.0])
NORMALS = np.kron([[1], [-1]], np.random.default_rng(7).normal(size=(5, 3)))  # ±: bounded
OFFSETS = np.random.default_rng(8).uniform(0.5, 1.5, size=10)
SETS: dict[str, ConvexSet] = {
    "simplex": Simplex(),
    "ball": Ball(1.5),
    "ball off the origin": Ball(0.7, CENTER),
    "box": Box(-1.0, 0.5),
    "box with vectors": Box(LOW, HIGH),  # the second coordinate is fixed
    "whole space": WholeSpace(),
    "polytope": Polytope(NORMALS, OFFSETS),
}
BOUNDED = [name for name in SETS if name != "whole space"]
every_set = pytest.mark.parametrize("domain", SETS.values(), ids=SETS)
every_bounded_set = pytest.mark.parametrize("domain", [SETS[n] for n in BOUNDED], ids=BOUNDED)
deterministic = settings(deadline=None, derandomize=True, max_examples=50)
points = st.lists(st.floats(-100, 100), min_size=3, max_size=3).map(np.array)


def as_inequalities(low: float, high: float, d: int) -> tuple[FloatArray, FloatArray]:
    return np.vstack([np.eye(d), -np.eye(d)]), np.repeat([high, -low], d)


@pytest.mark.parametrize("name", SETS)
def test_projection_agrees_with_cvxpy(name: str) -> None:
    cp = pytest.importorskip("cvxpy")
    y, target = cp.Variable(3), cp.Parameter(3)
    constraints: dict[str, list[Any]] = {
        "simplex": [y >= 0, cp.sum(y) == 1],
        "ball": [cp.norm(y) <= 1.5],
        "ball off the origin": [cp.norm(y - CENTER) <= 0.7],
        "box": [y >= -1, y <= 0.5],
        "box with vectors": [y >= LOW, y <= HIGH],
        "whole space": [],
        "polytope": [NORMALS @ y <= OFFSETS],
    }
    problem = cp.Problem(cp.Minimize(cp.sum_squares(y - target)), constraints[name])
    x = 2 * np.random.default_rng(0).normal(size=(20, 3))
    projected = SETS[name].project(x)
    for i in range(20):
        target.value = x[i]
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
        np.testing.assert_allclose(projected[i], y.value, atol=1e-6)  # √gap is the peer's error


@every_set
@deterministic
@given(x=points, z=points)
def test_projection_solves_its_variational_inequality(
    domain: ConvexSet, x: FloatArray, z: FloatArray
) -> None:
    projected, member = domain.project(x), domain.project(z)
    assert domain.contains(projected)
    assert (x - projected) @ (member - projected) <= 1e-6  # 1e-8 in y, times ‖x − Πx‖ ≤ 200


@every_set
@deterministic
@given(x=points, z=points)
def test_projection_is_idempotent_and_nonexpansive(
    domain: ConvexSet, x: FloatArray, z: FloatArray
) -> None:
    projected = domain.project(np.stack([x, z]))
    np.testing.assert_allclose(domain.project(projected), projected, rtol=0, atol=1e-13)
    assert np.linalg.norm(projected[0] - projected[1]) <= np.linalg.norm(x - z) + 1e-7


@every_set
def test_leading_axes_are_batch(domain: ConvexSet) -> None:
    x = np.random.default_rng(1).normal(size=(2, 4, 3))
    directions = np.zeros_like(x) if isinstance(domain, WholeSpace) else x
    for function, argument in (
        (domain.project, x),
        (domain.linear_minimizer, directions),
        (domain.support, directions),
        (domain.contains, x),
    ):
        result = function(argument)
        assert result.shape == argument.shape[: result.ndim]
        for i, j in np.ndindex(2, 4):
            np.testing.assert_allclose(result[i, j], function(argument[i, j]), atol=1e-8)
    assert domain.project(x[:0]).shape == (0, 4, 3)


def test_projection_commutes_with_translations_rotations_and_permutations() -> None:
    rng = np.random.default_rng(2)
    x, shift = rng.normal(size=(30, 3)), rng.normal(size=3)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    pairs: list[tuple[ConvexSet, ConvexSet]] = [
        (Ball(0.4), Ball(0.4, shift)),
        (Box(LOW, HIGH), Box(LOW + shift, HIGH + shift)),
        (Polytope(NORMALS, OFFSETS), Polytope(NORMALS, OFFSETS + NORMALS @ shift)),
    ]
    for domain, moved in pairs:
        moved_projection = moved.project(x + shift)
        np.testing.assert_allclose(moved_projection, domain.project(x) + shift, atol=1e-8)
    turned = Polytope(NORMALS @ rotation.T, OFFSETS)
    for domain, image in ((Ball(0.4), Ball(0.4)), (SETS["polytope"], turned)):
        expected = domain.project(x) @ rotation.T
        np.testing.assert_allclose(image.project(x @ rotation.T), expected, atol=1e-8)
    p = Simplex().project(x)
    np.testing.assert_allclose(Simplex().project(x[:, ::-1]), p[:, ::-1], atol=1e-15)
    np.testing.assert_allclose(Simplex().project(x + 3.7), p, atol=1e-14)  # normal to the simplex


@every_bounded_set
def test_support_is_the_maximum_and_the_linear_minimizer_attains_it(domain: ConvexSet) -> None:
    rng = np.random.default_rng(3)
    z = rng.normal(size=(20, 3))
    maximizer, support = domain.linear_minimizer(-z), domain.support(z)
    assert domain.contains(maximizer).all()
    np.testing.assert_allclose((z * maximizer).sum(axis=-1), support, rtol=1e-12)
    members = domain.project(3 * rng.normal(size=(200, 3)))
    assert (members @ z.T <= support + 1e-8).all()
    attained = (domain.project(maximizer + 1e3 * z) * z).sum(axis=-1)  # → a maximiser, far along z
    assert (attained >= support - 0.02).all()
    np.testing.assert_allclose(domain.support(2.5 * z), 2.5 * support, atol=1e-12)
    assert (domain.support(z[:10] + z[10:]) <= support[:10] + support[10:] + 1e-12).all()


def test_support_functions_in_closed_form() -> None:
    z = np.random.default_rng(4).normal(size=(50, 3))
    np.testing.assert_allclose(Simplex().support(z), z.max(axis=-1))
    norms = np.linalg.norm(z, axis=-1)
    np.testing.assert_allclose(Ball(0.7, CENTER).support(z), z @ CENTER + 0.7 * norms)
    np.testing.assert_allclose(Box(-1.0, 1.0).support(z), abs(z).sum(axis=-1))  # ℓ₁ and ℓ∞ are dual
    cross = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
    np.testing.assert_allclose(Polytope(cross, np.ones(8)).support(z), abs(z).max(axis=-1))


def test_ties_are_broken_as_documented() -> None:
    assert Simplex().linear_minimizer(np.array([2.0, 1.0, 1.0])).tolist() == [0, 1, 0]
    assert Ball(2.0, CENTER).linear_minimizer(np.zeros(3)).tolist() == CENTER.tolist()
    assert Box(-1.0, 1.0).linear_minimizer(np.array([0.0, -0.0, -1.0])).tolist() == [-1, -1, 1]
    vertices = SETS["polytope"].linear_minimizer(np.zeros((5, 3)))
    assert (vertices == vertices[0]).all()


def exact_simplex_projection(x: list[Fraction]) -> list[Fraction]:
    descending, total = sorted(x, reverse=True), Fraction(0)
    for k, value in enumerate(descending, start=1):
        total += value
        if k * value > total - 1:
            threshold = (total - 1) / k
    return [max(value - threshold, Fraction(0)) for value in x]


@pytest.mark.parametrize("magnitude", [1e-8, 1e-3, 1.0, 1e4, 1e12, 4e307])
def test_simplex_projection_agrees_with_rational_arithmetic(magnitude: float) -> None:
    rng = np.random.default_rng(5)
    for n_arms in (1, 2, 3, 50):
        spread = rng.normal(size=n_arms)
        far = magnitude * rng.choice([-1.0, 1.0], size=n_arms)
        for x in (magnitude * spread, magnitude + spread, magnitude * spread.round(), far + spread):
            exact = [float(p) for p in exact_simplex_projection([Fraction(float(v)) for v in x])]
            np.testing.assert_allclose(Simplex().project(x), exact, rtol=0, atol=1e-14)


@pytest.mark.parametrize("n_arms", [2, 10, 100, 10_000, 100_000])
@pytest.mark.parametrize("magnitude", [1e-8, 1e-4, 1.0, 1e12])
def test_simplex_projection_is_a_distribution_and_satisfies_kkt(
    n_arms: int, magnitude: float
) -> None:
    rng = np.random.default_rng(6)
    x = magnitude * rng.normal(size=(8, n_arms))
    p = Simplex().project(x)
    assert (p >= 0).all()
    assert (abs(p.sum(axis=-1) - 1) <= 1e-14).all()
    gap = (x - x.max(axis=-1, keepdims=True)) - p  # = τ − max x on the support, ≤ elsewhere
    threshold = gap.max(axis=-1, keepdims=True)
    np.testing.assert_allclose(np.where(p > 0, gap - threshold, 0), 0, atol=1e-12)


def test_simplex_projection_with_two_arms_clips_half_the_gap() -> None:
    x = np.random.default_rng(8).normal(size=(100, 2))
    first = np.clip((1 + x[:, 0] - x[:, 1]) / 2, 0, 1)
    np.testing.assert_allclose(Simplex().project(x), np.stack([first, 1 - first], -1), atol=1e-15)


def test_ball_survives_squares_that_overflow() -> None:
    x = np.array([[3e200, 4e200], [3e-200, -4e-200], [0.0, 0.0]])
    np.testing.assert_allclose(Ball().project(x), [[0.6, 0.8], x[1], x[2]], rtol=1e-15)
    np.testing.assert_allclose(Ball().linear_minimizer(-x), [[0.6, 0.8], [0.6, -0.8], [0, 0]])


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e12])
def test_polytope_is_the_set_that_its_inequalities_write(scale: float) -> None:
    rng = np.random.default_rng(9)
    d = 4
    x = scale * rng.normal(size=(15, d))
    simplex = (np.vstack([-np.eye(d), np.ones(d), -np.ones(d)]), np.r_[np.zeros(d), 1.0, -1.0])
    pairs: list[tuple[Polytope, ConvexSet]] = [
        (Polytope(*as_inequalities(-1.0, 0.5, d)), Box(-1.0, 0.5)),
        (Polytope(*simplex), Simplex()),  # flat: no interior
    ]
    for polytope, closed_form in pairs:
        np.testing.assert_allclose(polytope.project(x), closed_form.project(x), atol=1e-8)
        np.testing.assert_allclose(polytope.support(x), closed_form.support(x), rtol=1e-12)
        np.testing.assert_allclose(polytope.center(d), closed_form.center(d), atol=1e-12)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_polytope_projection_scales_with_the_polytope(size: float) -> None:
    A, b = as_inequalities(-size, size, 3)
    row_scales = np.array([1e-4, 1.0, 1e4, 1.0, 1e3, 1e-3])  # rows may be written in any units
    x = size * np.random.default_rng(10).normal(scale=10, size=(10, 3))
    projected = Polytope(A * row_scales[:, None], b * row_scales).project(x)
    np.testing.assert_allclose(projected, np.clip(x, -size, size), atol=1e-8 * size)


def test_diameters() -> None:
    assert Simplex().diameter == math.dist([1, 0, 0], [0, 0, 1])
    assert Ball(1.5, CENTER).diameter == 3.0
    assert Box(LOW, HIGH).diameter == pytest.approx(math.dist(LOW, HIGH), rel=1e-15)
    assert WholeSpace().diameter == math.inf
    assert Polytope(*as_inequalities(0.0, 1.0, 3)).diameter == pytest.approx(math.sqrt(3))
    diamond = Polytope([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.ones(4))  # true diameter 2
    assert diamond.diameter == pytest.approx(2 * math.sqrt(2))  # the bound: the box's diagonal


@every_set
def test_center_is_a_member(domain: ConvexSet) -> None:
    assert domain.center(3).shape == (3,)
    assert domain.contains(domain.center(3), tolerance=1e-15)


def test_centers_in_closed_form() -> None:
    assert Simplex().center(4).tolist() == [0.25] * 4
    assert Ball(2.0, CENTER).center(3).tolist() == CENTER.tolist()
    assert Box(-1.0, 2.0).center(2).tolist() == [0.5, 0.5]
    assert WholeSpace().center(2).tolist() == [0, 0]
    triangle = Polytope([[-1, 0], [0, -1], [3, 4]], [0, 0, 12])  # legs 4 and 3: incentre (1, 1)
    np.testing.assert_allclose(triangle.center(2), [1, 1])
    point = Polytope([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], [2.0, -2.0, 3.0, -3.0])
    assert point.center(2).tolist() == [2.0, 3.0]


def test_membership_at_the_boundary() -> None:
    for domain, boundary, outward in (
        (Simplex(), [0.4, 0.6, 0.0], [1.0, 1.0, 0.0]),
        (Simplex(), [0.4, 0.6, 0.0], [1.0, 0.0, -1.0]),  # the sum is kept
        (Ball(1.0), [0.0, 0.6, 0.8], [0.0, 0.6, 0.8]),
        (Box(-1.0, 1.0), [1.0, 0.0, 0.3], [1.0, 0.0, 0.0]),
        (Polytope(*as_inequalities(-0.5, 0.5, 3)), [0.5, 0.0, 0.3], [1.0, 0.0, 0.0]),
    ):
        steps = np.array([0.0, 1e-10, 1e-6])[:, None] * np.array(outward)
        assert domain.contains(boundary + steps).tolist() == [True, True, False]
        assert domain.contains(boundary + steps, tolerance=1e-5).all()
    assert not Simplex().contains(np.array([0.3, 0.3, 0.3]))
    assert Box(0.0, 1.0).contains(np.full((2, 5, 3), 0.5)).shape == (2, 5)


def test_the_arguments_are_copied_and_results_are_the_callers() -> None:
    A, b = as_inequalities(-1.0, 1.0, 2)
    center, low = np.zeros(2), -np.ones(2)
    domains: list[ConvexSet] = [Polytope(A, b), Ball(1.0, center), Box(low, 1.0), WholeSpace()]
    for array in (A, b, center, low):
        array += 10
    x = np.full(2, 0.5)
    for domain in domains:
        for result in (domain.project(x), domain.center(2), domain.center(2)):
            assert domain.contains(result)
            result += 100  # neither the set nor x changes
        assert x.tolist() == [0.5, 0.5]


def test_a_polytope_travels_without_its_compiled_problem() -> None:
    x = np.array([[3.0, 0.2, -2.0]])
    projected = SETS["polytope"].project(x)
    for twin in (pickle.loads(pickle.dumps(SETS["polytope"])), copy.deepcopy(SETS["polytope"])):
        np.testing.assert_array_equal(twin.project(x), projected)


@pytest.mark.parametrize(
    ("A", "b", "message"),
    [
        ([[1.0], [-1.0]], [0.0, -1.0], "empty set; relax b"),
        ([[1.0, 0.0], [-1.0, 0.0]], [0.0, -1.0], "empty set; relax b"),
        ([[0.0], [1.0], [-1.0]], [-1.0, 1.0, 1.0], "0 <= negative"),
        (np.eye(2), [1.0, 1.0], "unbounded along"),
        ([[1.0, 0.0], [-1.0, 0.0]], [1.0, 1.0], "unbounded along"),
        (np.zeros((0, 2)), [], "unbounded along"),
        ([[1.0], [-1.0]], [1.0], "b must have shape"),
        ([1.0, -1.0], [1.0, 1.0], "A must have shape"),
        ([[math.inf]], [1.0], "A must be finite"),
    ],
)
def test_a_polytope_is_nonempty_and_bounded(A: Any, b: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Polytope(A, b)


@pytest.mark.parametrize("failure", ["no status", "error"])
def test_a_solver_that_fails_is_reported(failure: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cp = pytest.importorskip("cvxpy")

    def solve(*_: Any, **__: Any) -> None:
        if failure == "error":
            raise cp.SolverError("no progress")

    domain = Polytope(*as_inequalities(-1.0, 1.0, 2))
    monkeypatch.setattr(cp.Problem, "solve", solve)
    with pytest.raises(RuntimeError, match=r"CLARABEL.*rescale"):
        domain.project(np.array([3.0, 0.0]))


@every_set
@pytest.mark.parametrize("method", ["project", "linear_minimizer", "support", "contains"])
def test_nan_and_scalars_are_refused(domain: ConvexSet, method: str) -> None:
    for bad, message in (
        (np.array([0.0, math.nan, 1.0]), "must be finite"),
        (np.array(1.0), "reshape it"),
        (np.zeros((3, 0)), "reshape it"),
    ):
        with pytest.raises(ValueError, match=rf"^[xgz] must .*{message}|^[xgz] must be finite"):
            getattr(domain, method)(bad)


@pytest.mark.parametrize("name", ["ball off the origin", "box with vectors", "polytope"])
def test_another_dimension_is_refused(name: str) -> None:
    for method in ("project", "linear_minimizer", "support", "contains"):
        with pytest.raises(ValueError, match=r"d = 3 on the last axis, got shape \(5, 2\)"):
            getattr(SETS[name], method)(np.zeros((5, 2)))
    with pytest.raises(ValueError, match="dimension must be 3, got 2"):
        SETS[name].center(2)


def test_what_has_no_answer_is_refused() -> None:
    for method in (WholeSpace().linear_minimizer, WholeSpace().support):
        assert not method(np.zeros((4, 3))).any()
        with pytest.raises(ValueError, match="pass zeros or take a bounded set"):
            method(np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="must be vectors for a diameter"):
        _ = Box(0.0, 1.0).diameter
    with pytest.raises(ValueError, match="low must be at most high"):
        Box([0.0, 2.0], 1.0)
    with pytest.raises(ValueError, match="must have one length"):
        Box([0.0, 0.0], [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="radius"):
        Ball(0.0)
    with pytest.raises(ValueError, match="dimension must be at least 1"):
        Simplex().center(0)


def test_solvers_are_imported_only_where_they_are_used() -> None:
    code = (
        "import sys, fenchel.core.sets; "
        "sys.exit(any(m in sys.modules for m in ('cvxpy', 'scipy.optimize', 'torch')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
