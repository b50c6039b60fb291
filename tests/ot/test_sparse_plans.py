"""Sparse and quadratic plans: quadratic programs, brute force, and their own certificates."""

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from fenchel.ot import ConvergenceWarning, exact_plan, quadratic_plan, sparse_plan
from fenchel.ot.sparse import (
    project_topk_simplex,
    topk_conjugate,
    topk_maximizer,
    topk_simplex_conjugate,
    topk_simplex_maximizer,
)


def costs(m: int, n: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return ((rng.normal(size=(m, 1, 2)) - rng.normal(size=(1, n, 2))) ** 2).sum(axis=-1)


def dirichlet(size: int, seed: int) -> Any:
    return np.random.default_rng(seed).dirichlet(3 * np.ones(size))


def quadratic_program(C: Any, a: Any, b: Any, gamma: float, support: Any = None) -> Any:
    """(value, plan) by cvxpy, on a support; infinite where it carries no plan."""
    cp = pytest.importorskip("cvxpy")
    pairs = np.argwhere(np.ones_like(C) if support is None else support)
    A = np.zeros((sum(C.shape), len(pairs)))
    for column, (i, j) in enumerate(pairs):
        A[i, column] = A[C.shape[0] + j, column] = 1.0
    A, sums = A[:-1], np.concatenate([a, b])[:-1]  # the last follows from the others
    c = C[tuple(pairs.T)]
    if linprog(c, A_eq=A, b_eq=sums, method="highs").status != 0:
        return np.inf, None
    t = cp.Variable(len(pairs), nonneg=True)
    objective = cp.Minimize(c @ t + gamma / 2 * cp.sum_squares(t))
    value = cp.Problem(objective, [A @ t == sums]).solve(solver=cp.CLARABEL)
    T = np.zeros_like(C)
    T[tuple(pairs.T)] = t.value
    return value, T


def solved(*args: Any, **kwargs: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return sparse_plan(*args, **kwargs)


# conjugates


@pytest.mark.parametrize("k", [1, 2, 5])
def test_conjugates_are_suprema_and_their_maximizers_gradients(k: int) -> None:
    rng, gamma, b = np.random.default_rng(k), 0.7, 1.3
    s = rng.normal(size=5)
    t, u = topk_maximizer(s, k=k, gamma=gamma), topk_simplex_maximizer(s, k=k, gamma=gamma, mass=b)
    for point, conjugate in (
        (t, topk_conjugate(s, k=k, gamma=gamma)),
        (u, topk_simplex_conjugate(s, k=k, gamma=gamma, mass=b)),
    ):
        assert (point >= 0).all()
        assert (point > 0).sum() <= k
        np.testing.assert_allclose(s @ point - gamma / 2 * point @ point, conjugate, rtol=1e-12)
    np.testing.assert_allclose(u.sum(), b, rtol=1e-12)
    h = 1e-6
    for i in range(5):
        step = h * np.eye(5)[i]
        for function, gradient in (
            (lambda z: topk_conjugate(z, k=k, gamma=gamma), t),
            (lambda z: topk_simplex_conjugate(z, k=k, gamma=gamma, mass=b), u),
        ):
            slope = (function(s + step) - function(s - step)) / (2 * h)
            np.testing.assert_allclose(slope, gradient[i], atol=1e-7)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_top_k_projection_is_the_best_over_all_supports(k: int) -> None:
    x = np.random.default_rng(k).normal(size=6)
    p = project_topk_simplex(x, k=k)
    best = min(
        ((project_topk_simplex(x[list(S)], k=k) - x[list(S)]) ** 2).sum()
        + (np.delete(x, list(S)) ** 2).sum()
        for S in itertools.combinations(range(6), k)
    )
    np.testing.assert_allclose(((p - x) ** 2).sum(), best, rtol=1e-12)


# quadratic plans


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("gamma", [0.1, 10.0])
def test_quadratic_plans_are_those_of_the_quadratic_program(seed: int, gamma: float) -> None:
    C, a, b = costs(9, 12, seed), dirichlet(9, seed + 10), dirichlet(12, seed + 20)
    value, T = quadratic_program(C, a, b, gamma)
    r = quadratic_plan(C, a, b, gamma=gamma)
    assert r.status == "optimal"
    np.testing.assert_allclose(r.primal_value, value, rtol=1e-6)
    np.testing.assert_allclose(r.plan, T, atol=2e-4)
    assert r.error < 1e-11
    # T = (α + β − C)₊/γ
    expected = np.maximum(r.alpha[:, None] + r.beta[None] - C, 0) / gamma
    np.testing.assert_allclose(r.plan, expected, atol=1e-9)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # scipy's, of POT's options
def test_quadratic_plans_are_pots() -> None:
    pot = pytest.importorskip("ot")
    C, a, b = costs(10, 10, 0), dirichlet(10, 1), dirichlet(10, 2)
    theirs = pot.smooth.smooth_ot_dual(a, b, C, 0.5, reg_type="l2", stopThr=1e-14)
    np.testing.assert_allclose(quadratic_plan(C, a, b, gamma=0.5).plan, theirs, atol=1e-5)


# sparse plans


@pytest.mark.parametrize("seed", range(6))
def test_values_and_bounds_enclose_the_best_over_all_supports(seed: int) -> None:
    """All 81 supports of 3 rows and 4 columns with 2 entries a column."""
    C, gamma, k = costs(3, 4, seed), 2.0, 2
    a, b = dirichlet(3, seed + 5), dirichlet(4, seed + 9)
    best = np.inf
    for choice in itertools.product(itertools.combinations(range(3), k), repeat=4):
        support = np.zeros((3, 4))
        for j, rows in enumerate(choice):
            support[list(rows), j] = 1.0
        best = min(best, quadratic_program(C, a, b, gamma, support)[0])
    r = solved(C, a, b, k=k, gamma=gamma)
    assert r.dual_value <= best * (1 + 1e-6)
    assert r.primal_value >= best * (1 - 1e-6)
    if r.status == "optimal":
        np.testing.assert_allclose(r.primal_value, best, rtol=1e-5)
    assert r.primal_value < 1.05 * best


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("k", [1, 2, 4, 15])
def test_plans_are_feasible_sparse_and_certified(seed: int, k: int) -> None:
    n = 15
    C = costs(n, n, seed)
    r = solved(C, k=k, gamma=1.0)
    assert (r.plan >= 0).all()
    assert ((r.plan > 0).sum(axis=0) <= k).all()
    np.testing.assert_allclose(r.plan.sum(axis=0), 1 / n, rtol=1e-9)  # columns, in any status
    assert r.status in ("optimal", "feasible")
    np.testing.assert_allclose(r.plan.sum(axis=1), 1 / n, rtol=1e-9)
    value = (C * r.plan).sum() + 0.5 * (r.plan**2).sum()
    np.testing.assert_allclose(r.primal_value, value, rtol=1e-12)
    # the bound is that of alpha, by the conjugates
    terms = topk_simplex_conjugate((r.alpha[:, None] - C).T, k=k, gamma=1.0, mass=1 / n)
    np.testing.assert_allclose(r.dual_value, r.alpha.mean() - terms.sum(), rtol=1e-9, atol=1e-12)
    assert r.gap >= -1e-12
    assert r.gap < 0.02 * r.primal_value


def test_bounds_do_not_rise_with_k_and_values_are_between_extremes() -> None:
    C = costs(12, 12, 3)
    results = [solved(C, k=k, gamma=3.0) for k in (1, 2, 3, 6, 12)]
    bounds = [r.dual_value for r in results]
    assert all(x >= y - 1e-9 for x, y in itertools.pairwise(bounds))
    exact = exact_plan(C)
    np.testing.assert_allclose(results[0].primal_value, exact.value + 3.0 / (2 * 12), rtol=1e-9)
    np.testing.assert_array_equal(results[0].plan.argmax(axis=1), exact.assignment)
    np.testing.assert_allclose(
        results[-1].primal_value, quadratic_plan(C, gamma=3.0).primal_value, rtol=1e-9
    )


def test_a_small_gamma_gives_exact_transport() -> None:
    C, a, b = costs(8, 8, 4), dirichlet(8, 1), dirichlet(8, 2)
    r = quadratic_plan(C, a, b, gamma=1e-6)
    np.testing.assert_allclose((r.plan * C).sum(), exact_plan(C, a, b).value, rtol=1e-5)


def test_shifts_scales_masses_and_transposes_change_what_they_should() -> None:
    C, k, gamma = costs(10, 10, 5), 3, 1.5
    rng = np.random.default_rng(6)
    u, v = rng.normal(size=10), rng.normal(size=10)
    r = solved(C, k=k, gamma=gamma)
    shifted = solved(C + u[:, None] + v[None], k=k, gamma=gamma)
    np.testing.assert_allclose(shifted.plan, r.plan, atol=1e-9)
    scaled = solved(7 * C, k=k, gamma=7 * gamma)
    np.testing.assert_allclose(scaled.plan, r.plan, atol=1e-9)
    ones = np.ones(10)
    massive = solved(C, ones, ones, k=k, gamma=gamma / 10)
    np.testing.assert_allclose(massive.plan / 10, r.plan, atol=1e-9)
    rows = solved(C.T, k=k, gamma=gamma, axis="rows")
    np.testing.assert_allclose(rows.plan.T, r.plan, atol=1e-12)
    assert ((rows.plan > 0).sum(axis=1) <= k).all()


def test_each_column_may_have_its_own_k() -> None:
    C = costs(8, 8, 7)
    k = np.array([1, 8, 2, 3, 8, 8, 1, 4])
    r = solved(C, k=k, gamma=20.0)
    assert ((r.plan > 0).sum(axis=0) <= k).all()
    assert r.error < 1e-9


def test_zero_weights_single_points_and_ties_are_no_obstacle() -> None:
    C, a = costs(6, 5, 8), dirichlet(6, 9)
    a[2] = 0.0
    a /= a.sum()
    r = quadratic_plan(C, a, dirichlet(5, 1), gamma=1.0)
    np.testing.assert_array_equal(r.plan[2], 0.0)
    assert np.isfinite(r.alpha).all()
    single = solved(np.array([[3.0]]), k=1)
    np.testing.assert_allclose(single.primal_value, 3.5)
    flat = solved(np.zeros((4, 4)), k=4)
    np.testing.assert_allclose(flat.plan, 1 / 16, atol=1e-12)
    tied = solved(np.zeros((4, 4)), k=2)  # any plan on a 2-regular graph
    assert tied.error < 1e-9
    np.testing.assert_allclose(tied.primal_value, 0.5 * 8 / 64, rtol=1e-6)


def test_bad_arguments_are_named() -> None:
    C = costs(4, 5, 0)
    for kwargs, name in (
        ({"k": 0}, "k must"),
        ({"k": 5}, "k must"),
        ({"k": np.ones(4, dtype=int)}, "k must"),
        ({"k": 2, "gamma": 0.0}, "gamma"),
        ({"k": 2, "axis": "both"}, "axis"),
        ({"k": 2, "a": -np.ones(4)}, "a must be nonnegative"),
        ({"k": 2, "a": np.ones(4)}, "equal mass"),
        ({"k": 2, "a": np.ones(3)}, "a must have shape"),
    ):
        with pytest.raises(ValueError, match=name):
            sparse_plan(C, **kwargs)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="k must allow an entry in each"):
        sparse_plan(costs(5, 4, 0), k=1)
    with pytest.raises(ValueError, match="cost must be finite"):
        sparse_plan(np.full((3, 3), np.nan), k=1)
