"""Entropic transport: optimality, agreement of methods and peers, limits, gradients, errors."""

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fenchel.ot import ConvergenceWarning, SinkhornResult, costs, sinkhorn
from fenchel.ot._sinkhorn_solver import (
    LOG2_E,
    DenseKernel,
    DenseProblem,
    Found,
    Progress,
    conjugate_gradients,
    newton,
)

METHODS = ("auto", "newton", "kernel", "relaxed", "log")
quick = settings(deadline=None, derandomize=True, max_examples=25)


def clouds(
    n: int, m: int, d: int = 2, seed: int = 0, shift: float = 1.0
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), 0.7 * rng.normal(size=(m, d)) + shift


def weighted(size: int, seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).dirichlet(np.ones(size))


def squared(x: Any, y: Any) -> Any:
    return ((x[:, None] - y[None]) ** 2).sum(axis=-1)


def density(result: SinkhornResult, C: Any, a: Any, b: Any) -> Any:
    """The plan of the potentials, by hand."""
    exponent = (result.f[:, None] + result.g[None] - C) / result.epsilon
    return a[:, None] * b[None] / a.sum() * np.exp(exponent)


# what an optimum is


@quick
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.floats(-2.5, 1.0),
    st.floats(0.1, 20.0),
    st.integers(0, 10_000),
)
def test_the_plan_has_its_marginals_and_the_form_of_an_optimum(
    n: int, m: int, log_ratio: float, mass: float, seed: int
) -> None:
    x, y = clouds(n, m, seed=seed)
    a, b = mass * weighted(n, seed + 1), mass * weighted(m, seed + 2)
    r = sinkhorn(x, y, a, b, epsilon=("mean", 10**log_ratio), tolerance=1e-9)
    np.testing.assert_allclose(r.plan.sum(axis=1), a, rtol=1e-7)
    assert np.abs(r.plan.sum(axis=0) - b).sum() <= 1.01e-9 * mass + 1e-12
    np.testing.assert_allclose(r.plan, density(r, squared(x, y), a, b), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(r.f @ a, r.g @ b, atol=1e-8 * mass)
    np.testing.assert_allclose(r.value, r.f @ a + r.g @ b, rtol=1e-9, atol=1e-9)


def test_the_three_values_are_their_definitions() -> None:
    x, y = clouds(20, 30)
    for mass in (1.0, 7.0):
        a, b = mass * weighted(20, 1), mass * weighted(30, 2)
        r = sinkhorn(x, y, a, b, epsilon=0.3, tolerance=1e-11)
        P, C = r.plan, squared(x, y)
        transport = (P * C).sum()
        divergence = (P * np.log(P / (a[:, None] * b[None] / mass))).sum()
        np.testing.assert_allclose(r.value_transport, transport, rtol=1e-10)
        np.testing.assert_allclose(r.value, transport + 0.3 * divergence, rtol=1e-9)
        np.testing.assert_allclose(
            r.value_entropy, transport + 0.3 * (P * np.log(P)).sum(), rtol=1e-9
        )
        assert r.value_transport <= r.value


def test_no_feasible_plan_has_a_smaller_value_and_no_potentials_a_larger_one() -> None:
    x, y = clouds(6, 7)
    a, b, C, eps = weighted(6, 1), weighted(7, 2), squared(x, y), 0.4
    r = sinkhorn(x, y, a, b, epsilon=eps, tolerance=1e-12)
    rng = np.random.default_rng(3)
    for size in (1e-3, 0.1, 1.0):
        f, g = r.f + size * rng.normal(size=6), r.g + size * rng.normal(size=7)
        P = a[:, None] * b[None] * np.exp((f[:, None] + g[None] - C) / eps)
        assert f @ a + g @ b - eps * (P.sum() - 1) < r.value - 0.01 * size**2
        amount, i, j, k, m = max(
            (r.plan[np.ix_([i, k], [j, m])].min(), i, j, k, m)
            for i, k in itertools.combinations(range(6), 2)
            for j, m in itertools.combinations(range(7), 2)
        )
        P = r.plan.copy()
        P[np.ix_([i, k], [j, m])] += 0.9 * size * amount * np.array([[1, -1], [-1, 1]])
        value = (P * C).sum() + eps * (P * np.log(P / (a[:, None] * b[None]))).sum()
        assert value > r.value + 1e-4 * size**2 * amount


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scaling", [False, True])
@pytest.mark.parametrize("ratio", [0.2, 0.01])
def test_all_methods_agree(method: Any, scaling: bool, ratio: float) -> None:
    x, y = clouds(40, 50)
    a, b = weighted(40, 1), weighted(50, 2)
    a[3] = b[5] = 0.0
    a, b = a / a.sum(), b / b.sum()
    setting: dict[str, Any] = {"epsilon": ("mean", ratio), "tolerance": 1e-10}
    reference = sinkhorn(x, y, a, b, **setting, method="log", scaling=False)
    r = sinkhorn(x, y, a, b, **setting, method=method, scaling=scaling)
    assert r.status == "converged"
    np.testing.assert_allclose(r.value, reference.value, rtol=1e-9)
    scale = np.abs(reference.f).max()
    np.testing.assert_allclose(r.f, reference.f, rtol=0, atol=1e-7 * scale)
    np.testing.assert_allclose(r.g, reference.g, rtol=0, atol=1e-7 * scale)
    np.testing.assert_allclose(r.plan, reference.plan, rtol=0, atol=1e-8)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_chunks_of_any_size_give_the_same(size: int) -> None:
    x, y = clouds(20, 30)
    dense = sinkhorn(x, y, epsilon=0.2, tolerance=1e-11, method="log")
    r = sinkhorn(x, y, epsilon=0.2, tolerance=1e-11, chunk_size=size)
    np.testing.assert_allclose(r.value, dense.value, rtol=1e-10)
    np.testing.assert_allclose(r.value_transport, dense.value_transport, rtol=1e-9)
    np.testing.assert_allclose(r.plan, dense.plan, rtol=0, atol=1e-10)
    relative = sinkhorn(x, y, chunk_size=size)
    assert relative.epsilon == pytest.approx(0.05 * squared(x, y).mean(), rel=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_chunks_take_the_same_steps_by_every_method(method: Any) -> None:
    x, y = clouds(24, 30)
    a = np.ones(24)
    a[:8] = 0.0  # all of a block
    setting: dict[str, Any] = {"epsilon": ("mean", 0.01), "tolerance": 1e-7, "method": method}
    dense = sinkhorn(x, y, a / 16, **setting)
    r = sinkhorn(x, y, a / 16, chunk_size=8, **setting)
    assert r.status == "converged"
    assert r.iterations == dense.iterations
    for one, other in ((r.f, dense.f), (r.g, dense.g), (r.plan, dense.plan)):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-8 * np.abs(other).max())


def test_relaxed_sweeps_need_fewer_iterations_and_newton_fewer_still() -> None:
    x, y = clouds(60, 60, seed=3)
    setting: dict[str, Any] = {"epsilon": ("mean", 0.03), "tolerance": 1e-8, "scaling": False}
    plain, relaxed, newtons = (
        sinkhorn(x, y, **setting, method=method).iterations
        for method in ("kernel", "relaxed", "newton")
    )
    assert relaxed < plain / 3
    assert newtons < plain / 3


# limits and identities


def test_a_large_epsilon_gives_the_independent_plan() -> None:
    x, y = clouds(8, 9)
    a, b = weighted(8, 1), weighted(9, 2)
    r = sinkhorn(x, y, a, b, epsilon=1e6)
    np.testing.assert_allclose(r.plan, a[:, None] * b[None], rtol=1e-4)
    np.testing.assert_allclose(r.value, a @ squared(x, y) @ b, rtol=1e-4)


def test_a_small_epsilon_gives_the_optimal_assignment() -> None:
    from scipy.optimize import linear_sum_assignment

    x, y = clouds(12, 12)
    C = squared(x, y)
    rows, columns = linear_sum_assignment(C)
    r = sinkhorn(x, y, epsilon=2e-3, tolerance=1e-9)
    best = C[rows, columns].mean()
    assert 0 <= r.value_transport - best < 2e-3 * math.log(12)
    np.testing.assert_array_equal(r.plan.argmax(axis=1), columns)
    assert r.value_entropy <= best - 2e-3 * math.log(12) + 1e-9


def test_shifting_a_cloud_changes_the_squared_cost_by_a_formula() -> None:
    x, y = clouds(15, 10)
    v = np.array([3.0, -1.0])
    before, after = (sinkhorn(x, z, epsilon=0.5, tolerance=1e-11).value for z in (y, y + v))
    change = v @ v + 2 * v @ (y.mean(axis=0) - x.mean(axis=0))
    np.testing.assert_allclose(after - before, change, rtol=1e-9)


def test_scaling_points_scales_potentials_and_exchanging_clouds_exchanges_them() -> None:
    x, y = clouds(9, 14)
    r = sinkhorn(x, y, epsilon=0.5, tolerance=1e-12)
    scaled = sinkhorn(10 * x, 10 * y, epsilon=50.0, tolerance=1e-12)
    np.testing.assert_allclose(scaled.f, 100 * r.f, atol=1e-8)
    other = sinkhorn(y, x, epsilon=0.5, tolerance=1e-12)
    np.testing.assert_allclose(other.f, r.g, atol=1e-9)
    np.testing.assert_allclose(other.plan.T, r.plan, atol=1e-11)


def test_values_of_gaussian_clouds_tend_to_the_closed_form() -> None:
    """W of N(0, 1) and N(1, 1/4) on the line, entropic value of Janati et al. (2020)."""
    n, eps = 1000, 1.0
    quantiles = torch.distributions.Normal(0.0, 1.0).icdf(
        (torch.arange(n, dtype=torch.float64) + 0.5) / n
    )[:, None]
    value = float(sinkhorn(quantiles, 0.5 * quantiles + 1, epsilon=eps, tolerance=1e-9).value)
    # min over correlations c of E(x − y)² + ε KL = 1 + 1.25 − 2 k + (ε/2) ln(1/(1 − 4 k²)), k = Cov
    k = np.linspace(0, 0.4999, 200_001)
    exact = (1 + 1.25 - 2 * k - eps / 2 * np.log(1 - 4 * k**2)).min()
    assert abs(value - exact) < 5e-3


def test_duplicated_points_add_their_weights() -> None:
    x, y = clouds(5, 6)
    a = np.array([0.1, 0.3, 0.2, 0.15, 0.25])
    doubled = sinkhorn(np.concatenate([x, x[:1]]), y, np.append(a, 0.0) * 1.0, epsilon=0.3)
    split = np.append(a, 0.06)
    split[0] = 0.04
    r = sinkhorn(np.concatenate([x, x[:1]]), y, split, epsilon=0.3, tolerance=1e-11)
    one = sinkhorn(x, y, a, epsilon=0.3, tolerance=1e-11)
    np.testing.assert_allclose(r.value, one.value, rtol=1e-9)
    np.testing.assert_allclose(r.f[0], r.f[-1], rtol=1e-9)
    np.testing.assert_allclose(doubled.f[0], doubled.f[-1], rtol=1e-6)  # weight 0: the extension


@pytest.mark.parametrize("method", METHODS)
def test_single_points_identical_clouds_and_zero_costs(method: Any) -> None:
    point = np.array([[1.0, 2.0]])
    r = sinkhorn(point, point + 3, method=method)
    np.testing.assert_allclose([r.value, r.value_transport], 18.0)
    np.testing.assert_allclose(r.plan, 1.0)
    same = sinkhorn(np.repeat(point, 4, axis=0), np.repeat(point, 3, axis=0), method=method)
    np.testing.assert_allclose(same.plan, 1 / 12)
    assert abs(same.value) < 1e-12
    zero = sinkhorn(cost_matrix=np.zeros((3, 2)), epsilon=0.1, method=method)
    np.testing.assert_allclose(zero.plan, 1 / 6)


# precision


def test_float32_ends_with_status_precision_where_rounding_stops_it() -> None:
    x, y = (z.astype(np.float32) for z in clouds(100, 100))
    with pytest.warns(ConvergenceWarning, match="precision"):
        r = sinkhorn(x, y, epsilon=("mean", 0.005), tolerance=1e-8)
    assert r.status == "precision"
    assert r.f.dtype == np.float32
    assert 1e-8 < r.error < 1e-4
    exact = sinkhorn(x.astype(float), y.astype(float), epsilon=r.epsilon, tolerance=1e-10)
    np.testing.assert_allclose(r.value, exact.value, rtol=1e-5)
    P = density(
        r, squared(x.astype(float), y.astype(float)), np.full(100, 0.01), np.full(100, 0.01)
    )
    measured = np.abs(P.sum(axis=0) - 0.01).sum()
    assert measured < 10 * r.error  # the error said is of the order of the one there is


def test_too_few_iterations_are_said() -> None:
    x, y = clouds(30, 30)
    with pytest.warns(ConvergenceWarning, match="max_iterations"):
        r = sinkhorn(x, y, epsilon=("mean", 0.01), max_iterations=3, method="kernel", scaling=False)
    assert r.status == "max_iterations"
    assert not r.converged
    assert r.iterations <= 4
    np.testing.assert_allclose(r.plan.sum(axis=1), 1 / 30, rtol=1e-9)  # rows all the same
    assert np.abs(r.plan.sum(axis=0) - 1 / 30).sum() == pytest.approx(r.error, rel=1e-6)


@pytest.mark.parametrize("ratio", [1e-3, 1e-4])
def test_tiny_epsilon_converges_or_says_so(ratio: float) -> None:
    x, y = clouds(60, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        r = sinkhorn(x, y, epsilon=("mean", ratio), tolerance=1e-8)
    assert np.isfinite(r.f).all()
    assert (r.status == "converged") is (r.error <= 1e-8)
    from scipy.optimize import linear_sum_assignment

    C = squared(x, y)
    best = C[linear_sum_assignment(C)].mean()
    if r.converged:
        assert -1e-6 <= r.value_transport - best <= r.epsilon * math.log(60)


def test_a_warm_start_at_the_solution_is_free() -> None:
    x, y = clouds(30, 40)
    first = sinkhorn(x, y, epsilon=0.05, tolerance=1e-8)
    again = sinkhorn(x, y, epsilon=0.05, tolerance=1e-7, init=first)
    assert again.iterations <= 4
    pair = sinkhorn(x, y, epsilon=0.05, tolerance=1e-7, init=(first.f, first.g))
    np.testing.assert_array_equal(pair.f, again.f)


# batches and arrays


def test_a_batch_is_its_problems() -> None:
    x = np.stack([clouds(10, 1, seed=s)[0] for s in range(3)])
    y = np.stack([clouds(1, 12, seed=s)[1] * (s + 1) for s in range(3)])
    a = np.stack([weighted(10, s) for s in range(3)])
    r = sinkhorn(x, y, a, epsilon=("mean", 0.02), tolerance=1e-9)
    assert r.value.shape == r.status.shape == r.error.shape == (3,)
    assert r.plan.shape == (3, 10, 12)
    for i in range(3):
        one = sinkhorn(x[i], y[i], a[i], epsilon=("mean", 0.02), tolerance=1e-9)
        np.testing.assert_allclose(r.f[i], one.f, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(r.value[i], one.value, rtol=1e-12)
        assert (r.iterations[i], r.status[i]) == (one.iterations, one.status)
        np.testing.assert_allclose(r.value_entropy[i], one.value_entropy, rtol=1e-12)
    assert len(set(r.iterations)) > 1  # each stops where it is done


def test_what_comes_back_is_what_went_in() -> None:
    x, y = clouds(5, 6)
    r = sinkhorn(x, y)
    assert isinstance(r.value, float)
    assert isinstance(r.f, np.ndarray)
    assert isinstance(r.plan, np.ndarray)
    t = sinkhorn(torch.tensor(x), torch.tensor(y))
    assert isinstance(t.value, torch.Tensor)
    assert t.value.dtype == t.plan.dtype == torch.float64
    np.testing.assert_array_equal(t.plan.numpy(), r.plan)
    lists = sinkhorn([[0, 0], [1, 1]], [[2, 2]])
    assert lists.value == pytest.approx(5.0)
    assert "converged" in repr(r)
    given = sinkhorn(cost_matrix=squared(x, y))
    np.testing.assert_allclose(given.value, r.value, rtol=1e-12)


def test_costs_by_name_and_by_class() -> None:
    x, y = clouds(6, 7)
    for cost in ("euclidean", costs.PNorm(1.5), costs.ElasticL1(0.3)):
        C = costs.get(cost).matrix(x, y)
        np.testing.assert_allclose(
            sinkhorn(x, y, cost=cost).value, sinkhorn(cost_matrix=C).value, rtol=1e-10
        )


# gradients


TIGHT: dict[str, Any] = {"epsilon": 0.5, "tolerance": 1e-12}


def tensors(n: int, m: int) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = clouds(n, m)
    return torch.tensor(x, requires_grad=True), torch.tensor(y, requires_grad=True)


@pytest.mark.parametrize("chunk_size", [None, 3])
@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean", costs.ElasticSTVS(0.2)])
def test_gradients_in_points_are_finite_differences(chunk_size: Any, cost: Any) -> None:
    x, y = tensors(7, 5)

    def value(x: Any, y: Any) -> Any:
        a = torch.tensor(3 * weighted(7, 1))
        b = torch.tensor(3 * weighted(5, 2))
        return sinkhorn(x, y, a, b, cost=cost, chunk_size=chunk_size, **TIGHT).value

    assert torch.autograd.gradcheck(value, (x, y), atol=1e-6)


def test_gradients_in_weights_and_costs_are_finite_differences() -> None:
    logits = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    C = torch.rand(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    C.requires_grad_()

    def value(logits: Any, C: Any) -> Any:
        a = 2 * torch.softmax(logits, 0)
        b = 2 * torch.softmax(logits[:4] ** 2 + logits[2:], 0)
        r = sinkhorn(cost_matrix=C, a=a, b=b, **TIGHT)
        return torch.stack([r.value, r.value_entropy])

    assert torch.autograd.gradcheck(value, (logits, C), atol=1e-6)
    r = sinkhorn(cost_matrix=C, **TIGHT)
    (gradient,) = torch.autograd.grad(r.value, C)
    np.testing.assert_allclose(gradient.numpy(), r.plan.detach().numpy(), rtol=1e-10)


def test_the_value_is_homogeneous_and_its_gradient_says_so() -> None:
    x, y = clouds(4, 5)
    a = torch.full((4,), 0.25, dtype=torch.float64, requires_grad=True)
    b = torch.full((5,), 0.2, dtype=torch.float64, requires_grad=True)
    r = sinkhorn(torch.tensor(x), torch.tensor(y), a, b, **TIGHT)
    to_a, to_b = torch.autograd.grad(r.value, (a, b))
    value = r.value.item()
    np.testing.assert_allclose((to_a @ a + to_b @ b).item(), value, rtol=1e-10)
    double = sinkhorn(torch.tensor(x), torch.tensor(y), 2 * a, 2 * b, **TIGHT)
    np.testing.assert_allclose(double.value.item(), 2 * value, rtol=1e-10)


def test_the_plan_is_differentiated_implicitly() -> None:
    x, y = tensors(4, 5)
    logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)

    def plan(x: Any, y: Any, logits: Any) -> Any:
        a = torch.softmax(logits, 0)
        r = sinkhorn(x, y, a, epsilon=0.8, tolerance=1e-13, differentiate="plan")
        return r.plan, r.value_transport

    assert torch.autograd.gradcheck(plan, (x, y, logits), atol=1e-6)
    batch = sinkhorn(
        torch.stack([x, 2 * x]), torch.stack([y, y]), differentiate="plan", tolerance=1e-10
    )
    single = sinkhorn(2 * x, y, differentiate="plan", tolerance=1e-10)
    weights = torch.rand(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (from_batch,) = torch.autograd.grad((batch.plan[1] * weights).sum(), x)
    (from_single,) = torch.autograd.grad((single.plan * weights).sum(), x)
    np.testing.assert_allclose(from_batch.numpy(), from_single.numpy(), rtol=1e-6, atol=1e-12)


def test_gradients_are_finite_where_points_meet() -> None:
    x = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    for cost in ("sqeuclidean", "euclidean", costs.PNorm(1.5)):
        (gradient,) = torch.autograd.grad(sinkhorn(x, x.detach(), cost=cost).value, x)
        np.testing.assert_array_equal(gradient.numpy(), 0.0)


# the parts of the solver


def test_conjugate_gradients_solve_the_singular_system() -> None:
    rng = np.random.default_rng(0)
    P = torch.tensor(rng.random((6, 5)))
    P[:, 2] = 0.0
    P /= P.sum()
    rows, columns = P.sum(dim=1), P.sum(dim=0)
    H = torch.diag(columns) - P.T @ torch.diag(1 / rows) @ P
    r = H @ torch.tensor(rng.normal(size=5))
    kernel, diagonal = DenseKernel(P), torch.diagonal(H)
    x, steps = conjugate_gradients(kernel, 1 / rows, columns, diagonal, r, goal=1e-15, limit=50)
    np.testing.assert_allclose((H @ x).numpy(), r.numpy(), atol=1e-14)
    assert steps <= 8
    assert float(x[2]) == 0.0


def test_newtons_method_converges_quadratically() -> None:
    x, y = clouds(40, 40)
    C = torch.tensor(squared(x, y))
    a = torch.full((40,), 1 / 40, dtype=torch.float64)
    problem = DenseProblem(C, a, a, 0.05 * float(C.mean()))
    progress = Progress(1e-12, 10_000)
    found = newton(problem, Found(torch.zeros_like(a), torch.zeros_like(a)), progress)
    errors = [error for _, error in progress.history]
    assert errors[-1] <= 1e-12
    small = [i for i, error in enumerate(errors[:-1]) if 1e-10 < error < 1e-2]
    assert len(small) >= 3
    # the linear systems are solved to √error: errors fall like their power 3/2 or better
    assert all(errors[i + 1] <= 20 * errors[i] ** 1.4 + 1e-14 for i in small)
    P = torch.exp2(found.F[:, None] + found.G[None] - problem.kappa * C) / 1600
    np.testing.assert_allclose(P.sum(dim=0).numpy(), 1 / 40, atol=1e-12)
    assert LOG2_E * math.log(2) == pytest.approx(1.0)


# peers


def test_values_and_plans_are_pots() -> None:
    pot = pytest.importorskip("ot")
    x, y = clouds(25, 30)
    a, b = weighted(25, 1), weighted(30, 2)
    C = squared(x, y)
    r = sinkhorn(x, y, a, b, epsilon=0.4, tolerance=1e-11)
    np.testing.assert_allclose(r.plan, pot.sinkhorn(a, b, C, 0.4, stopThr=1e-13), atol=1e-11)
    np.testing.assert_allclose(r.value_transport, pot.sinkhorn2(a, b, C, 0.4, stopThr=1e-13))


def test_values_and_gradients_are_geomlosss() -> None:
    geomloss = pytest.importorskip("geomloss")
    x, y = tensors(20, 25)
    loss = geomloss.SamplesLoss("sinkhorn", p=2, blur=0.5, debias=False, scaling=0.99)
    theirs = loss(x, y)  # ½ ‖x − y‖², ε = blur²
    ours = 0.5 * sinkhorn(x, y, epsilon=0.5, tolerance=1e-11).value
    np.testing.assert_allclose(float(ours.detach()), float(theirs.detach()), rtol=1e-3)
    gradients = [torch.autograd.grad(value, x)[0].numpy() for value in (ours, theirs)]
    np.testing.assert_allclose(gradients[0], gradients[1], atol=1e-3)


# the door


def test_bad_arguments_are_named() -> None:
    x, y = clouds(4, 5)
    good = np.full(4, 0.25)
    for kwargs, name in (
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": -1.0}, "epsilon"),
        ({"epsilon": ("max", 0.1)}, "epsilon"),
        ({"epsilon": ("mean", 0.0)}, "epsilon"),
        ({"epsilon": 1e-15}, "epsilon"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"method": "best"}, "method"),
        ({"differentiate": "all"}, "differentiate"),
        ({"chunk_size": 0}, "chunk_size"),
        ({"chunk_size": 2, "differentiate": "plan"}, "chunk_size"),
        ({"cost": "manhattan"}, "cost"),
        ({"cost": "sphere"}, "norm 1"),
        ({"a": -good}, "a must be nonnegative"),
        ({"a": 2 * good}, "equal mass"),
        ({"a": np.full(3, 1 / 3)}, "a must have shape"),
        ({"a": 0 * good}, "positive mass"),
        ({"b": np.array([0.2, 0.2, 0.2, 0.2, np.nan])}, "b must be finite"),
        ({"a": good.astype(np.float32)}, "dtype"),
        ({"cost_matrix": np.ones((4, 5))}, "cost_matrix"),
    ):
        with pytest.raises(ValueError, match=name):
            sinkhorn(x, y, **kwargs)  # type: ignore[arg-type]
    for args, name in (
        ((x[:, :1], y), "y must have shape"),
        ((x[0], y), "x must have shape"),
        ((np.inf * x, y), "x must be finite"),
        ((x, None), "y must"),
        ((x[:0], y), "points on both sides"),
        ((np.stack([x, x]), np.stack([y, y, y])), "batch axes"),
    ):
        with pytest.raises(ValueError, match=name):
            sinkhorn(*args)
    with pytest.raises(TypeError, match="torch tensor"):
        sinkhorn(torch.tensor(x), y)
    with pytest.raises(TypeError, match="real numbers"):
        sinkhorn("x", y)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="init"):
        sinkhorn(x, y, init=(np.zeros(4), np.zeros(4)))
