"""The Sinkhorn divergence and entropic maps."""

from typing import Any

import numpy as np
import pytest
import torch

from fenchel.ot import costs, entropic_map, sinkhorn, sinkhorn_divergence
from fenchel.ot.sinkhorn import symmetric_sinkhorn


def cloud(n: int, seed: int, d: int = 2) -> Any:
    return np.random.default_rng(seed).normal(size=(n, d))


def dirichlet(n: int, seed: int) -> Any:
    return np.random.default_rng(seed).dirichlet(np.ones(n))


@pytest.mark.parametrize("epsilon", [1.0, 0.05, 0.002])
@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean"])
def test_symmetric_sweeps_find_what_sinkhorn_finds(epsilon: float, cost: Any) -> None:
    x, a = cloud(30, 0), dirichlet(30, 1)
    one = symmetric_sinkhorn(x, a, cost=cost, epsilon=epsilon, tolerance=1e-10)
    other = sinkhorn(x, x, a, a, cost=cost, epsilon=epsilon, tolerance=1e-10)
    np.testing.assert_allclose(one.value, other.value, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(one.f, one.g, atol=1e-9)
    assert one.iterations < 45  # the error at least halves: 2⁻³³ is 1e-10
    np.testing.assert_allclose(one.plan, one.plan.T, atol=1e-10)


@pytest.mark.parametrize("cost", ["sqeuclidean", "euclidean"])
def test_the_divergence_is_nonnegative_and_zero_between_equals(cost: Any) -> None:
    x, a = cloud(20, 0), dirichlet(20, 1)
    same = sinkhorn_divergence(x, x, a, a, cost=cost, epsilon=0.1, tolerance=1e-9)
    assert abs(same.value) < 1e-9
    for seed in range(5):
        other = sinkhorn_divergence(
            x, cloud(25, 10 + seed), a, cost=cost, epsilon=0.1, tolerance=1e-9
        )
        assert other.value > 1e-3
        assert other.converged


def test_the_divergence_of_shifted_clouds_is_the_squared_shift() -> None:
    x, v = cloud(40, 0), np.array([0.3, -2.0])
    r = sinkhorn_divergence(x, x + v, epsilon=0.2, tolerance=1e-10)
    np.testing.assert_allclose(r.value, v @ v, rtol=1e-8)


def test_a_small_epsilon_gives_exact_transport_and_a_large_one_half_the_energy_distance() -> None:
    from scipy.optimize import linear_sum_assignment

    x, y = cloud(15, 0), cloud(15, 1) + 1
    C = costs.SquaredEuclidean().matrix(x, y)
    exact = C[linear_sum_assignment(C)].mean()
    near = sinkhorn_divergence(x, y, epsilon=1e-3, tolerance=1e-8)
    np.testing.assert_allclose(near.value, exact, rtol=1e-3)
    far = sinkhorn_divergence(x, y, epsilon=1e7)
    np.testing.assert_allclose(far.value, ((x.mean(0) - y.mean(0)) ** 2).sum(), rtol=1e-4)


@pytest.mark.parametrize("chunk_size", [None, 4])
def test_gradients_of_the_divergence_are_finite_differences(chunk_size: Any) -> None:
    x = torch.tensor(cloud(6, 0), requires_grad=True)
    y = torch.tensor(cloud(5, 1) + 1, requires_grad=True)

    def value(x: Any, y: Any) -> Any:
        return sinkhorn_divergence(x, y, epsilon=0.5, tolerance=1e-12, chunk_size=chunk_size).value

    assert torch.autograd.gradcheck(value, (x, y), atol=1e-6)
    full, part = (
        torch.autograd.grad(
            sinkhorn_divergence(x, y, epsilon=0.5, tolerance=1e-11, constant_y=c).value, x
        )[0]
        for c in (False, True)
    )
    np.testing.assert_allclose(full.numpy(), part.numpy(), atol=1e-12)


def test_descent_on_the_divergence_moves_one_cloud_onto_the_other() -> None:
    x = torch.tensor(cloud(30, 0), requires_grad=True)
    y = torch.tensor(cloud(30, 1) * 0.3 + 2)
    start = float(sinkhorn_divergence(x, y, epsilon=0.1).value.detach())
    for _ in range(30):
        value = sinkhorn_divergence(x, y, epsilon=0.1).value
        (gradient,) = torch.autograd.grad(value, x)
        x = (x - 0.25 * len(x) * gradient).detach().requires_grad_()
    assert float(sinkhorn_divergence(x, y, epsilon=0.1).value.detach()) < 1e-3 * start


def test_batches_have_one_divergence_each() -> None:
    x, y = np.stack([cloud(8, s) for s in range(3)]), np.stack([cloud(9, s + 5) for s in range(3)])
    r = sinkhorn_divergence(x, y, epsilon=("mean", 0.1), tolerance=1e-9)
    for i in range(3):
        one = sinkhorn_divergence(x[i], y[i], epsilon=("mean", 0.1), tolerance=1e-9)
        np.testing.assert_allclose(r.value[i], one.value, rtol=1e-12)


def test_the_divergence_is_otts() -> None:
    pytest.importorskip("ott")
    jax = pytest.importorskip("jax")
    from ott.geometry import pointcloud
    from ott.tools import sinkhorn_divergence as peer

    x, y = cloud(20, 0), cloud(25, 1) + 1
    value, _ = peer.sinkhorn_divergence(
        pointcloud.PointCloud,
        jax.numpy.array(x),
        jax.numpy.array(y),
        epsilon=0.3,
        solve_kwargs={"threshold": 1e-5},
    )
    ours = sinkhorn_divergence(x, y, epsilon=0.3, tolerance=1e-9).value
    np.testing.assert_allclose(ours, float(value), rtol=1e-3)


# maps


def test_the_entropic_map_is_the_mean_of_the_plan_at_the_points() -> None:
    x, y, a, b = cloud(12, 0), cloud(15, 1) + 1, dirichlet(12, 2), dirichlet(15, 3)
    T = entropic_map(x, y, a, b, epsilon=0.3, tolerance=1e-10)
    expected = T.result.plan @ y / a[:, None]
    np.testing.assert_allclose(T.transport(x), expected, rtol=1e-8)
    np.testing.assert_allclose(T.transport(x[3]), expected[3], rtol=1e-8)


def test_the_map_of_other_costs_solves_its_first_order_condition() -> None:
    """∇h(x − T(x)) = Σ_j w_j ∇h(x − y_j) = ∇f(x), f the soft minimum."""
    x, y = cloud(10, 0), cloud(11, 1) + 1
    for cost in (costs.PNorm(1.5), costs.PNormPower(3.0), costs.ElasticSTVS(0.2)):
        T = entropic_map(x, y, cost=cost, epsilon=0.4, tolerance=1e-10)
        point = torch.tensor(x[:1], requires_grad=True)
        scores = torch.tensor(T.result.g) - cost.between(point, torch.tensor(y))[0]
        f = -0.4 * torch.logsumexp(scores / 0.4 - np.log(11), dim=0)
        (slope,) = torch.autograd.grad(f, point)
        moved = torch.tensor(T.transport(x[:1]))
        left = cost.gradient(torch.tensor(x[:1]) - moved)
        np.testing.assert_allclose(left.numpy(), slope.numpy(), rtol=1e-6, atol=1e-9)


def test_the_map_recovers_an_affine_one() -> None:
    x = cloud(1500, 0)
    A = np.array([[1.5, 0.3], [0.3, 0.6]])  # symmetric positive: optimal
    T = entropic_map(x, x @ A + 2, epsilon=("mean", 0.005))
    fresh = cloud(500, 1)
    error = ((T.transport(fresh) - fresh @ A - 2) ** 2).sum(axis=1).mean()
    assert error / ((x @ A).var(axis=0).sum()) < 0.02


def test_costs_without_a_map_are_refused() -> None:
    x, y = cloud(4, 0), cloud(5, 1)
    for cost in ("euclidean", "cosine"):
        with pytest.raises(ValueError, match="cost"):
            entropic_map(x, y, cost=cost)
    with pytest.raises(ValueError, match="y must have shape"):
        entropic_map(x[None], y[None])
    with pytest.raises(ValueError, match="points"):
        entropic_map(x, y).transport(np.zeros((3, 3)))


def test_gradients_in_float32_from_plans_at_hand_are_those_of_float64() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 2, 30, 3))  # a batch of two
    a = np.full((2, 30), 0.1)  # of mass 3
    found = []
    for dtype in (torch.float32, torch.float64):
        points = torch.tensor(x, dtype=dtype, requires_grad=True)
        others, weights = torch.tensor(y, dtype=dtype), torch.tensor(a, dtype=dtype)
        result = sinkhorn(points, others, weights, weights, epsilon=0.5, tolerance=1e-5)
        (gradient,) = torch.autograd.grad((2 * result.value).sum(), points)
        found.append(gradient.double())
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)
    assert float(found[1].abs().max()) > 0.1
