import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import bellman_ford
from scipy.stats import wasserstein_distance

from fenchel.core.checks import FloatArray
from fenchel.ot.costs import (
    Cosine,
    ElasticL1,
    ElasticSTVS,
    Euclidean,
    PNorm,
    PNormPower,
    SquaredEuclidean,
    TranslationCost,
)
from fenchel.ot.exact import ExactPlan, _shortest_distances, exact_plan, exact_plan_1d

deterministic = settings(deadline=None, derandomize=True, max_examples=60)
CONVEX: dict[str, TranslationCost] = {
    "squared": SquaredEuclidean(),
    "distance": Euclidean(),
    "half square of the 3-norm": PNorm(3.0),
    "power 1.5": PNormPower(1.5),
    "power 4": PNormPower(4.0),
    "elastic": ElasticL1(0.7),
    "elastic STVS": ElasticSTVS(0.4),
}
every_convex_cost = pytest.mark.parametrize("cost", CONVEX.values(), ids=CONVEX)


def squared(x: FloatArray, y: FloatArray) -> FloatArray:
    return np.square(x[:, None] - y[None]).sum(axis=-1)


def generic(n: int, m: int, seed: int = 0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Costs and weights in general position: the plan and the potentials are unique."""
    rng = np.random.default_rng(seed)
    cost = squared(rng.normal(size=(n, 2)), rng.normal(size=(m, 2)))
    return cost, rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(m))


def assert_certified(
    result: ExactPlan, cost: FloatArray, a: FloatArray, b: FloatArray, tolerance: float = 1e-9
) -> None:
    """The plan and the potentials are feasible and of equal value: both are optimal."""
    mass, size = a.sum(), max(np.abs(cost).max(), 1e-300)
    assert result.plan.shape == cost.shape
    assert (result.plan >= 0).all()
    np.testing.assert_allclose(result.plan.sum(axis=1), a, rtol=0, atol=2e-13 * mass)
    np.testing.assert_allclose(result.plan.sum(axis=0), b, rtol=0, atol=2e-13 * mass)
    slack = cost - result.f[:, None] - result.g
    assert slack.min() >= -1e-14 * size
    assert result.value == pytest.approx((result.plan * cost).sum(), abs=1e-13 * mass * size)
    dual = result.f @ a + result.g @ b
    assert result.value_dual == pytest.approx(dual, abs=1e-13 * mass * size)
    assert result.gap == result.value - result.value_dual
    assert -1e-13 * mass * size <= result.gap <= tolerance * mass * size
    assert (result.plan * slack).sum() <= 2 * tolerance * mass * size  # complementary slackness
    assert abs(result.f @ a) <= 1e-13 * mass * size


@st.composite
def problems(draw: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Costs and weights, with ties, duplicated points and weights of zero."""
    n, m = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    entries = draw(
        st.sampled_from(
            [st.floats(-10, 10), st.integers(0, 2), st.just(0), st.floats(1e6, 1e6 + 1)]
        )
    )
    cost = np.array(draw(st.lists(entries, min_size=n * m, max_size=n * m)), dtype=float)
    cost = cost.reshape(n, m)[draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=6))]
    weights = st.sampled_from([0.0, 1.0, 1.0, 0.3, 2.7])
    parts = []
    for size in cost.shape:
        part = np.array(draw(st.lists(weights, min_size=size, max_size=size)))
        part[draw(st.integers(0, size - 1))] = 1.0  # some mass
        parts.append(part)
    return cost, parts[0], parts[1] * (parts[0].sum() / parts[1].sum())


@deterministic
@given(problems(), st.sampled_from(["auto", "linprog"]))
def test_plan_and_potentials_certify_each_other(problem: Any, method: Any) -> None:
    result = exact_plan(*problem, method=method)
    assert_certified(result, *problem)
    assert len(result.rows) <= sum(problem[0].shape) - 1  # a vertex


@deterministic
@given(problems())
def test_potentials_are_c_transforms_of_each_other(problem: Any) -> None:
    cost, a, b = problem
    result = exact_plan(cost, a, b)
    tolerance = 1e-14 * max(np.abs(cost).max(), 1.0)
    np.testing.assert_allclose((cost - result.g).min(axis=1), result.f, atol=tolerance)
    np.testing.assert_allclose((cost - result.f[:, None]).min(axis=0), result.g, atol=tolerance)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 6), (6, 1), (20, 35), (50, 30)])
def test_strong_duality_holds_for_any_weights(n: int, m: int) -> None:
    cost, a, b = generic(n, m)
    assert_certified(exact_plan(cost, a, b), cost, a, b, tolerance=1e-12)
    assert_certified(exact_plan(cost, 5 * a, 5 * b), cost, 5 * a, 5 * b, tolerance=1e-12)
    assert_certified(exact_plan(cost), cost, np.full(n, 1 / n), np.full(m, 1 / m), tolerance=1e-12)


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_weights_of_any_size_meet_their_marginals(spread: float) -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        cost = spread * rng.normal(size=(8, 8))
        a, b = np.exp(8 * rng.normal(size=8)), np.exp(8 * rng.normal(size=8))
        b *= a.sum() / b.sum()
        assert_certified(exact_plan(cost, a, b), cost, a, b)  # that HiGHS meets only to 1e-10


@pytest.mark.parametrize("n", range(1, 7))
def test_assignment_is_the_best_of_all_permutations(n: int) -> None:
    cost = np.random.default_rng(n).normal(size=(n, n))
    best = min(
        cost[range(n), list(permutation)].mean() for permutation in itertools.permutations(range(n))
    )
    for method in ("assignment", "linprog"):
        assert exact_plan(cost, method=method).value == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("n", [2, 30, 64])
def test_assignment_equals_the_linear_program_on_equal_weights(n: int) -> None:
    cost, _, _ = generic(n, n)
    a = np.full(n, 3.0)
    one = exact_plan(cost, a, a, method="assignment")
    other = exact_plan(cost, a, a, method="linprog")
    np.testing.assert_allclose(one.plan, other.plan, atol=1e-12)
    np.testing.assert_array_equal(one.assignment, other.assignment)
    assert one.value == pytest.approx(other.value, rel=1e-13)
    assert_certified(one, cost, a, a, tolerance=1e-14)
    assert_certified(other, cost, a, a, tolerance=1e-12)


def test_auto_takes_the_assignment_where_weights_are_equal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cost, a, _ = generic(5, 5)

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("called")

    monkeypatch.setattr("fenchel.ot.exact.linprog", fail)
    exact_plan(cost)
    exact_plan(cost, np.full(5, 2.0), np.full(5, 2.0 + 1e-12))
    padded = np.array([0.5, 0.0, 0.5, 0.0, 0.0])
    assert exact_plan(cost, padded, padded[::-1].copy()).assignment is None  # some have no mass
    with pytest.raises(AssertionError, match="called"):
        exact_plan(cost, method="linprog")
    with pytest.raises(AssertionError, match="called"):
        exact_plan(cost, a, None)
    with pytest.raises(AssertionError, match="called"):
        exact_plan(cost[:, :4])


@pytest.mark.parametrize("method", ["assignment", "linprog"])
def test_plan_is_equivariant_to_permutations(method: Any) -> None:
    cost, a, b = generic(12, 12)
    if method == "assignment":
        a = b = np.full(12, 1 / 12)
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(12), rng.permutation(12)
    result = exact_plan(cost, a, b, method=method)
    moved = exact_plan(cost[np.ix_(rows, columns)], a[rows], b[columns], method=method)
    np.testing.assert_allclose(moved.plan, result.plan[np.ix_(rows, columns)], atol=1e-13)
    assert moved.value == pytest.approx(result.value, rel=1e-13)
    if method == "linprog":  # where they are unique
        np.testing.assert_allclose(moved.f, result.f[rows], atol=1e-12)
        np.testing.assert_allclose(moved.g, result.g[columns], atol=1e-12)


def test_transposed_costs_transpose_the_plan_and_swap_the_potentials() -> None:
    cost, a, b = generic(9, 13)
    result, swapped = exact_plan(cost, a, b), exact_plan(cost.T, b, a)
    np.testing.assert_allclose(swapped.plan, result.plan.T, atol=1e-13)
    shift = result.g @ b  # to mean zero
    np.testing.assert_allclose(swapped.f, result.g - shift, atol=1e-12)
    np.testing.assert_allclose(swapped.g, result.f + shift, atol=1e-12)


def test_sums_of_a_row_and_a_column_added_to_costs_are_added_to_the_potentials() -> None:
    cost, a, b = generic(10, 7)
    rng = np.random.default_rng(4)
    u, v = 50 * rng.normal(size=10), 50 * rng.normal(size=7)
    result, shifted = exact_plan(cost, a, b), exact_plan(cost + u[:, None] + v, a, b)
    np.testing.assert_allclose(shifted.plan, result.plan, atol=1e-13)
    np.testing.assert_allclose(shifted.f, result.f + u - u @ a, atol=1e-11)
    np.testing.assert_allclose(shifted.g, result.g + v + u @ a, atol=1e-11)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_costs_and_masses_scale_the_value(scale: float) -> None:
    cost, a, b = generic(10, 7)
    result = exact_plan(cost, a, b)
    dearer, heavier = exact_plan(scale * cost, a, b), exact_plan(cost, scale * a, scale * b)
    np.testing.assert_allclose(dearer.f, scale * result.f, rtol=1e-10)
    np.testing.assert_allclose(dearer.plan, result.plan, rtol=1e-10)
    np.testing.assert_allclose(heavier.f, result.f, rtol=1e-10)
    np.testing.assert_allclose(heavier.plan, scale * result.plan, rtol=1e-10)
    assert dearer.value == pytest.approx(scale * result.value, rel=1e-12)
    assert heavier.value == pytest.approx(scale * result.value, rel=1e-12)


def test_potentials_are_the_derivative_in_the_weights_and_the_plan_in_the_costs() -> None:
    cost, a, b = generic(6, 8)
    result, step = exact_plan(cost, a, b), 1e-6
    rng = np.random.default_rng(5)
    direction = rng.normal(size=cost.shape)
    value = exact_plan(cost + step * direction, a, b).value  # linear near a unique plan
    assert value - result.value == pytest.approx(step * (result.plan * direction).sum(), rel=1e-8)
    for i, k in itertools.combinations(range(6), 2):
        moved = a.copy()
        moved[i] += step
        moved[k] -= step
        difference = exact_plan(cost, moved, b).value - result.value
        assert difference == pytest.approx(step * (result.f[i] - result.f[k]), abs=1e-14)
    for j, k in itertools.combinations(range(8), 2):
        moved = b.copy()
        moved[j] += step
        moved[k] -= step
        difference = exact_plan(cost, a, moved).value - result.value
        assert difference == pytest.approx(step * (result.g[j] - result.g[k]), abs=1e-14)


def test_translation_of_a_cloud_changes_the_squared_cost_by_its_formula() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(15, 3)), rng.normal(size=(11, 3))
    a, b, v = rng.dirichlet(np.ones(15)), rng.dirichlet(np.ones(11)), rng.normal(size=3)
    change = exact_plan(squared(x, y + v), a, b).value - exact_plan(squared(x, y), a, b).value
    assert change == pytest.approx(v @ v + 2 * v @ (b @ y - a @ x), rel=1e-12)


def test_gradients_of_convex_functions_are_optimal_maps() -> None:
    rng = np.random.default_rng(7)
    x, root = rng.normal(size=(60, 3)), rng.normal(size=(3, 3))
    for image in (x @ (root @ root.T) + 2.0, np.sinh(x), x - 5.0):
        order = rng.permutation(60)
        result = exact_plan(squared(x, image[order]))
        np.testing.assert_array_equal(order[result.assignment], np.arange(60))
        assert result.value == pytest.approx(np.square(x - image).sum(axis=-1).mean(), rel=1e-13)
        assert abs(result.gap) <= 1e-13 * result.value


def test_a_map_from_many_points_to_few_is_an_assignment() -> None:
    x, y = np.array([0.0, 0.1, 5.0, 5.2, 5.3]), np.array([5.0, 0.0])
    result = exact_plan_1d(x, y, np.ones(5), np.array([3.0, 2.0]))
    np.testing.assert_array_equal(result.assignment, [1, 1, 0, 0, 0])
    assert exact_plan_1d(y, x, np.array([3.0, 2.0]), np.ones(5)).assignment is None  # y splits


def test_distances_are_a_metric_on_measures() -> None:
    rng = np.random.default_rng(8)
    clouds = [rng.normal(size=(n, 2)) + n for n in (6, 9, 7)]

    def distance(x: FloatArray, y: FloatArray) -> float:
        return exact_plan(Euclidean().matrix(x, y)).value

    assert distance(clouds[0], clouds[0]) == 0
    assert distance(clouds[0], clouds[1]) == pytest.approx(distance(clouds[1], clouds[0]))
    through = distance(clouds[0], clouds[2]) + distance(clouds[2], clouds[1])
    assert distance(clouds[0], clouds[1]) <= through + 1e-12


def test_points_without_weight_change_nothing_and_keep_feasible_potentials() -> None:
    cost, a, b = generic(8, 9)
    a[[0, 5]] = 0.0
    b[[2, 8]] = 0.0
    a, b = a / a.sum(), b / b.sum()
    result = exact_plan(cost, a, b)
    small = exact_plan(cost[np.ix_(a > 0, b > 0)], a[a > 0], b[b > 0])
    assert_certified(result, cost, a, b, tolerance=1e-13)
    assert result.value == small.value
    np.testing.assert_allclose(result.plan[np.ix_(a > 0, b > 0)], small.plan, rtol=1e-14)
    np.testing.assert_allclose(result.f[a > 0], small.f, atol=1e-13)
    np.testing.assert_allclose(result.g[b > 0], small.g, atol=1e-13)


def test_duplicated_points_share_their_mass_and_their_potential() -> None:
    cost, a, b = generic(5, 6)
    twice = np.array([0, 1, 2, 3, 4, 4, 2])
    halves = a[twice] / np.array([1, 1, 2, 1, 2, 2, 2])
    result, doubled = exact_plan(cost, a, b), exact_plan(cost[twice], halves, b)
    np.testing.assert_allclose(doubled.f, result.f[twice], atol=1e-13)
    assert doubled.value == pytest.approx(result.value, rel=1e-13)


@pytest.mark.parametrize("method", ["assignment", "linprog"])
def test_equal_costs_leave_nothing_to_gain(method: Any) -> None:
    for level in (0.0, -3.0):
        result = exact_plan(np.full((6, 6), level), method=method)
        assert result.value == pytest.approx(level, rel=1e-15)
        assert abs(result.gap) <= 1e-15
        np.testing.assert_allclose(result.f, 0.0, atol=1e-15)
        np.testing.assert_allclose(result.g, level, atol=1e-15)


@pytest.mark.parametrize(
    "kind", ["random", "integers", "a line", "a shifted line", "products", "equal"]
)
def test_assignment_of_many_points_has_no_gap(kind: str) -> None:
    n = 300
    rng = np.random.default_rng(9)
    line = rng.normal(size=(n, 1))
    cost = {
        "random": rng.uniform(size=(n, n)),
        "integers": rng.integers(0, 5, size=(n, n)).astype(float),
        "a line": squared(line, 2 * rng.normal(size=(n, 1))),
        "a shifted line": squared(line, line + 0.3),
        "products": np.outer(np.arange(n), np.arange(n)) / n**2,  # shortest paths of n edges
        "equal": np.ones((n, n)),
    }[kind]
    uniform = np.full(n, 1 / n)
    result = exact_plan(cost)
    assert_certified(result, cost, uniform, uniform, tolerance=1e-14)
    assert result.value == cost[linear_sum_assignment(cost)] @ uniform


@pytest.mark.parametrize("n", [1, 2, 3, 17, 120])
def test_shortest_distances_are_those_of_bellman_and_ford(n: int) -> None:
    rng = np.random.default_rng(n)
    heights = 3 * rng.normal(size=n)
    lengths = 1e-9 + rng.exponential(size=(n, n)) * rng.integers(0, 2, size=(n, n))
    lengths += heights[:, None] - heights  # (i, k) from k to i: no cycle of negative length
    np.fill_diagonal(lengths, 0.0)
    graph = np.full((n + 1, n + 1), np.inf)
    graph[1:, 1:] = lengths.T
    graph[0, 1:] = 0.0  # the source; scipy takes explicit zeros of a masked array as edges
    edges: Any = np.ma.masked_invalid(graph)
    expected = bellman_ford(edges, indices=0)[1:]
    np.testing.assert_allclose(_shortest_distances(lengths), expected, atol=1e-11)


def test_shortest_distances_stop_at_a_cycle_that_rounding_made_negative() -> None:
    lengths = np.full((40, 40), 5.0)
    np.fill_diagonal(lengths, 0.0)
    lengths[0, 1], lengths[1, 0] = -1.0, 0.9  # of length −0.1: once around would improve both
    np.testing.assert_array_equal(_shortest_distances(lengths), [-1.0, *np.zeros(39)])


def test_plan_and_potentials_are_those_of_pot() -> None:
    pot = pytest.importorskip("ot")
    cost, a, b = generic(30, 40)
    plan, log = pot.emd(a, b, cost, log=True)
    result = exact_plan(cost, a, b)
    np.testing.assert_allclose(result.plan, plan, atol=1e-13)
    assert result.value == pytest.approx(log["cost"], rel=1e-13)
    np.testing.assert_allclose(result.f, log["u"] - log["u"] @ a, atol=1e-12)
    np.testing.assert_allclose(result.g, log["v"] + log["u"] @ a, atol=1e-12)


def test_assignment_costs_what_pot_pays() -> None:
    pot = pytest.importorskip("ot")
    cost, _, _ = generic(100, 100)
    uniform = np.full(100, 0.01)
    result = exact_plan(cost)
    assert result.value == pytest.approx(pot.emd2(uniform, uniform, cost), rel=1e-13)
    np.testing.assert_allclose(result.plan, pot.emd(uniform, uniform, cost), atol=1e-15)


# On the line


@every_convex_cost
@pytest.mark.parametrize("weighted", [False, True])
def test_monotone_plan_is_optimal_for_every_convex_cost(
    cost: TranslationCost, weighted: bool
) -> None:
    rng = np.random.default_rng(10)
    x, y = rng.normal(size=14), 2 * rng.normal(size=17) - 1
    a = rng.dirichlet(np.ones(14)) if weighted else np.full(14, 1 / 14)
    b = rng.dirichlet(np.ones(17)) if weighted else np.full(17, 1 / 17)
    matrix = cost.matrix(x[:, None], y[:, None])
    result = exact_plan_1d(x, y, a, b, cost=cost)
    assert_certified(result, matrix, a, b, tolerance=1e-14)
    assert result.value == pytest.approx(exact_plan(matrix, a, b).value, rel=1e-12)


@st.composite
def lines(draw: Any) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Points with duplicates, and weights with zeros and equal partial sums."""
    points, parts = [], []
    for _ in range(2):
        entries = draw(st.sampled_from([st.floats(-5, 5), st.integers(0, 3), st.just(2.0)]))
        points.append(np.array(draw(st.lists(entries, min_size=1, max_size=7)), dtype=float))
        size = len(points[-1])
        weights = st.sampled_from([0.0, 1.0, 1.0, 0.1, 0.3])
        parts.append(np.array(draw(st.lists(weights, min_size=size, max_size=size))))
        parts[-1][draw(st.integers(0, size - 1))] = 1.0
    return points[0], points[1], parts[0], parts[1] * (parts[0].sum() / parts[1].sum())


@deterministic
@given(lines(), st.sampled_from(list(CONVEX)))
def test_plan_on_the_line_is_certified_with_ties_and_without_weight(line: Any, name: str) -> None:
    x, y, a, b = line
    result = exact_plan_1d(x, y, a, b, cost=CONVEX[name])
    matrix = CONVEX[name].matrix(x[:, None], y[:, None])
    assert_certified(result, matrix, a, b, tolerance=1e-13)
    assert len(result.rows) <= len(x) + len(y) - 1


def test_plan_on_the_line_matches_order_statistics() -> None:
    rng = np.random.default_rng(11)
    x, y = rng.normal(size=50), rng.normal(size=50)
    result = exact_plan_1d(x, y, cost="euclidean")
    np.testing.assert_array_equal(y[result.assignment][np.argsort(x)], np.sort(y))
    assert result.value == pytest.approx(np.abs(np.sort(x) - np.sort(y)).mean(), rel=1e-14)
    matrix = squared(x[:, None], y[:, None])
    np.testing.assert_allclose(result.plan, exact_plan(matrix).plan, rtol=1e-15)


def test_distance_on_the_line_is_the_area_between_distribution_functions() -> None:
    rng = np.random.default_rng(12)
    x, y = rng.normal(size=30), rng.exponential(size=45)
    a, b = rng.dirichlet(np.ones(30)), rng.dirichlet(np.ones(45))
    value = exact_plan_1d(x, y, a, b, cost="euclidean").value
    grid = np.sort(np.concatenate([x, y]))
    apart = [a[x <= t].sum() - b[y <= t].sum() for t in grid[:-1]]
    assert value == pytest.approx(np.abs(apart) @ np.diff(grid), rel=1e-12)
    assert value == pytest.approx(wasserstein_distance(x, y, a, b), rel=1e-12)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])
def test_value_on_the_line_is_that_of_pot(metric: str) -> None:
    pot = pytest.importorskip("ot")
    rng = np.random.default_rng(13)
    x, y = rng.normal(size=200), rng.normal(size=300)
    a, b = rng.dirichlet(np.ones(200)), rng.dirichlet(np.ones(300))
    expected = pot.emd2_1d(x, y, a, b, metric=metric)
    result = exact_plan_1d(x, y, a, b, cost=metric)
    assert result.value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(result.plan, pot.emd_1d(x, y, a, b, metric=metric), atol=1e-14)


def test_many_points_on_the_line_are_certified() -> None:
    rng = np.random.default_rng(14)
    x, y = rng.normal(size=20_000), 3 * rng.normal(size=15_000) + 1e4  # far apart
    a, b = rng.dirichlet(np.ones(20_000)), rng.dirichlet(np.ones(15_000))
    result = exact_plan_1d(x, y, a, b)
    assert abs(result.gap) <= 1e-13 * result.value
    some = rng.choice(20_000, size=50, replace=False)
    slack = np.square(x[some, None] - y) - result.f[some, None] - result.g
    assert slack.min() >= -1e-13 * result.value
    np.testing.assert_allclose(np.bincount(result.rows, result.masses), a, atol=1e-15)
    np.testing.assert_allclose(np.bincount(result.columns, result.masses), b, atol=1e-15)


def test_equal_weights_on_the_line_never_split_points() -> None:
    x = np.random.default_rng(15).normal(size=10_000)
    a, b = np.full(10_000, 1 / 3), np.full(10_000, 1 / 3 + 1e-13)  # partial sums differ by rounding
    result = exact_plan_1d(x, x + 1, a, b)
    np.testing.assert_array_equal(result.assignment, np.arange(10_000))
    np.testing.assert_allclose(result.masses, 1 / 3, rtol=1e-11)  # 1e-16 of the total


# Arrays in, arrays out


def results(a: Any, b: Any, cost: Any, x: Any, y: Any) -> list[ExactPlan]:
    return [exact_plan(cost), exact_plan(cost, a, b), exact_plan_1d(x, y, a, b)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_arrays_come_back_as_they_were_given(dtype: str) -> None:
    rng = np.random.default_rng(16)
    arrays = {
        "a": rng.dirichlet(np.ones(7)),
        "b": rng.dirichlet(np.ones(7)),
        "cost": rng.uniform(size=(7, 7)),
        "x": rng.normal(size=7),
        "y": rng.normal(size=7),
    }
    arrays = {name: array.astype(dtype) for name, array in arrays.items()}
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    tensors["cost"].requires_grad_()
    tensors["x"].requires_grad_()
    for one, other in zip(results(**arrays), results(**tensors), strict=True):
        for name in ("masses", "f", "g", "plan"):
            array, tensor = getattr(one, name), getattr(other, name)
            assert isinstance(array, np.ndarray)
            assert array.dtype == dtype
            assert isinstance(tensor, torch.Tensor)
            assert tensor.dtype == getattr(torch, dtype)
            assert not tensor.requires_grad
            np.testing.assert_array_equal(array, tensor.numpy())
        for name in ("rows", "columns"):
            array, tensor = getattr(one, name), getattr(other, name)
            assert array.dtype == np.int64
            assert tensor.dtype == torch.int64
            np.testing.assert_array_equal(array, tensor.numpy())
        assert type(one.value) is type(other.value) is float
        assert (one.value, one.value_dual) == (other.value, other.value_dual)
    assignments = results(**arrays)[0].assignment, results(**tensors)[0].assignment
    np.testing.assert_array_equal(assignments[0], assignments[1].numpy())


def test_float32_is_solved_in_float64() -> None:
    cost, a, b = (array.astype(np.float32) for array in generic(12, 9))
    result = exact_plan(cost, a, b)
    exact = exact_plan(
        cost.astype(float), a.astype(float), b * (a.sum(dtype=float) / b.sum(dtype=float))
    )
    assert result.value == pytest.approx(exact.value, rel=1e-14)
    np.testing.assert_array_equal(result.f, exact.f.astype(np.float32))
    uniform = exact_plan(cost)
    assert uniform.value == pytest.approx(exact_plan(cost.astype(float)).value, rel=1e-14)
    assert abs(uniform.gap) <= 1e-14


def test_lists_and_integers_are_arrays_too() -> None:
    result = exact_plan([[0, 1], [1, 0]], [2, 1], [1, 2])
    np.testing.assert_allclose(result.plan, [[1, 1], [0, 1]], atol=1e-15)
    assert result.value == pytest.approx(1.0)
    assert exact_plan_1d([0, 1], [1, 2], [1, 1], [1, 1]).value == 2.0


def test_arguments_stay_as_they_are() -> None:
    cost, a, b = generic(6, 6)
    x, y = cost[0].copy(), cost[:, 1].copy()
    before = [array.copy() for array in (cost, a, b, x, y)]
    exact_plan(cost)
    exact_plan(cost, a, 1.000000001 * b)
    exact_plan_1d(x, y, a, b)
    for array, old in zip((cost, a, b, x, y), before, strict=True):
        np.testing.assert_array_equal(array, old)


def test_sums_that_differ_by_rounding_are_made_equal() -> None:
    cost, a, b = generic(6, 5)
    for result in (
        exact_plan(cost, a, b * (1 + 5e-9)),
        exact_plan_1d(cost[:, 0], cost[0], a, b * (1 + 5e-9)),
    ):
        np.testing.assert_allclose(result.plan.sum(axis=0), b, atol=1e-15)
        assert abs(result.gap) <= 1e-14


def test_result_cannot_be_changed() -> None:
    result = exact_plan(np.eye(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.value = 1.0


@pytest.mark.parametrize(
    ("cost", "a", "b", "error", "message"),
    [
        (
            [[0.0, np.nan]],
            None,
            None,
            ValueError,
            r"cost must be finite, got nan at index \(0, 1\)",
        ),
        ([0.0, 1.0], None, None, ValueError, r"cost must have shape \(n, m\).* got \(2,\)"),
        (np.zeros((2, 3, 3)), None, None, ValueError, r"cost must .* got \(2, 3, 3\); pass one"),
        (np.zeros((0, 3)), None, None, ValueError, r"cost must have shape .* got \(0, 3\)"),
        (None, None, None, ValueError, r"cost must have shape .* got None"),
        ("costs", None, None, TypeError, r"cost must be an array of real numbers"),
        (np.zeros((2, 3)), [1.0], None, ValueError, r"a must have shape .* got \(1,\)"),
        (np.zeros((2, 3)), None, np.ones((2, 3)) / 3, ValueError, r"b must .* \(2, 3\)"),
        (np.zeros((2, 2)), [1.5, -0.5], None, ValueError, r"a must be nonnegative, got -0.5 at"),
        (np.zeros((2, 2)), [0.0, 0.0], None, ValueError, r"a must have positive mass"),
        (np.zeros((2, 2)), [0.5, np.inf], None, ValueError, r"a must be finite, got inf at"),
        (np.zeros((2, 2)), [1.0, 1.0], None, ValueError, r"equal mass, got 2 and 1; divide"),
        (np.zeros((2, 2)), torch.ones(2), None, TypeError, r"cost must be a torch tensor like a"),
        (np.zeros((2, 2)), np.ones(2, np.float32), None, ValueError, r"a must have the dtype of"),
        (np.zeros((2, 2), np.float16), None, None, ValueError, r"cost must be float32 or float64"),
    ],
)
def test_wrong_arguments_are_named(
    cost: Any, a: Any, b: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        exact_plan(cost, a, b)


@pytest.mark.parametrize(
    ("x", "y", "a", "error", "message"),
    [
        ([0.0, np.inf], [1.0], None, ValueError, r"x must be finite, got inf at index \(1,\)"),
        ([[0.0], [1.0]], [1.0], None, ValueError, r"x must have shape \(n,\).* got \(2, 1\); flat"),
        ([0.0], [], None, ValueError, r"y must have shape \(n,\), n at least 1, got \(0,\)"),
        ([0.0], 1.0, None, ValueError, r"y must have shape \(n,\).* got \(\)"),
        ([0.0], [1.0], [[1.0]], ValueError, r"a must .* \(1, 1\)"),
        ([0.0, 1.0], [1.0], [2.0, -1.0], ValueError, r"a must be nonnegative, got -1.0 at"),
        ([0.0, 1.0], [1.0], [2.0, 1.0], ValueError, r"equal mass, got 3 and 1; divide"),
        ([0.0], torch.zeros(1), None, TypeError, r"x must be a torch tensor like y"),
    ],
)
def test_wrong_arguments_on_the_line_are_named(
    x: Any, y: Any, a: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        exact_plan_1d(x, y, a)


def test_methods_and_costs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"method must be one of 'auto', .* got 'simplex'; choose"):
        exact_plan(np.eye(2), method="simplex")
    with pytest.raises(ValueError, match=r"equal weights .* got 2 in .* and 3 in .*'linprog'"):
        exact_plan(np.zeros((2, 3)), method="assignment")
    with pytest.raises(ValueError, match=r"equal weights .* in \[0.25, 0.75\] and"):
        exact_plan(np.zeros((2, 2)), [0.25, 0.75], method="assignment")
    with pytest.raises(
        ValueError, match=r"convex function of x − y.* got 'cosine'; pass exact_plan"
    ):
        exact_plan_1d([1.0], [2.0], cost="cosine")
    with pytest.raises(ValueError, match="convex function of x − y"):
        exact_plan_1d([1.0], [2.0], cost=Cosine())
    with pytest.raises(ValueError, match="cost must be a Cost or one of"):
        exact_plan_1d([1.0], [2.0], cost="manhattan")
