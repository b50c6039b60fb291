"""Transport between batches of a training loop: the values and gradients of `sinkhorn`."""

from typing import Any

import numpy as np
import pytest
import torch

from fenchel.ot import costs, sinkhorn
from fenchel.ot._batch_transport import BatchTransport
from fenchel.ot.sinkhorn import symmetric_sinkhorn

COSTS = {
    "sqeuclidean": costs.SquaredEuclidean(),
    "euclidean": costs.Euclidean(),
    "p-norm": costs.PNorm(1.5),
    "elastic": costs.ElasticL1(0.3),
}


class Inner(costs.Cost):
    """−⟨x, y⟩: to stay is not free."""

    def between(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -x @ y.T

    def matched(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -(x * y).sum(dim=-1)


def cloud(n: int, d: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    points = np.random.default_rng(seed).normal(size=(n, d)) + shift
    return torch.tensor(points, requires_grad=True)


def slopes(value: torch.Tensor, *points: torch.Tensor) -> list[Any]:
    return [slope.numpy() for slope in torch.autograd.grad(value, points)]


@pytest.mark.parametrize("name", COSTS)
def test_values_and_gradients_are_those_of_sinkhorn_step_after_step(name: str) -> None:
    transport, cost = BatchTransport(tolerance=1e-10), COSTS[name]
    for step in range(6):  # of which the first, the second and perhaps others start cold
        x, y = cloud(40, 2, step), cloud(35, 2, 100 + step, shift=0.5)
        ours = transport.value("one", x, y, cost, 0.1)
        theirs = sinkhorn(x, y, cost=cost, epsilon=0.1, tolerance=1e-10).value
        np.testing.assert_allclose(ours.item(), theirs.item(), rtol=1e-9)
        for mine, other in zip(slopes(ours, x, y), slopes(theirs, x, y), strict=True):
            np.testing.assert_allclose(mine, other, atol=1e-9)
    assert len(transport.solves) == 6
    assert all(one.converged for one in transport.solves)


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("epsilon", [1.0, 0.05, 0.002])
def test_self_values_and_gradients_are_those_of_two_equal_clouds(name: str, epsilon: float) -> None:
    x, cost = cloud(30, 3, 0), COSTS[name]
    ours = BatchTransport(tolerance=1e-10).self_value(x, cost, epsilon)
    theirs = symmetric_sinkhorn(x, cost=cost, epsilon=epsilon, tolerance=1e-10).value
    both = sinkhorn(x, x, cost=cost, epsilon=epsilon, tolerance=1e-10).value
    slope = slopes(ours, x)[0]
    for other in (theirs, both):
        np.testing.assert_allclose(ours.item(), other.item(), rtol=1e-8, atol=1e-11)
        np.testing.assert_allclose(slope, slopes(other, x)[0], atol=1e-8)


@pytest.mark.parametrize("scale", [1.0, 100.0, 3000.0])
def test_costs_of_staying_may_have_any_sign_and_size(scale: float) -> None:
    """The sweeps start from P_ii = a_i at no cost of staying, which is far out of range then."""
    x = cloud(30, 3, 0).detach()
    one = symmetric_sinkhorn(x, cost=Inner(), epsilon=1 / scale, tolerance=1e-6)
    assert one.converged
    half = symmetric_sinkhorn(x, epsilon=2 / scale, tolerance=1e-6).value / 2
    squares = (x * x).sum(dim=1).mean()  # −⟨x, y⟩ = ½ ‖x − y‖² − ½ ‖x‖² − ½ ‖y‖²
    np.testing.assert_allclose(float(one.value), float(half - squares), rtol=1e-9)


def test_points_that_need_no_gradient_get_none() -> None:
    x, y = cloud(20, 2, 0), cloud(20, 2, 1).detach()
    value = BatchTransport(tolerance=1e-6).value("one", x, y, COSTS["sqeuclidean"], 0.1)
    assert slopes(value, x)[0].shape == (20, 2)
    without = BatchTransport(tolerance=1e-6).value("one", y, y, COSTS["sqeuclidean"], 0.1)
    assert not without.requires_grad


def iterations(transport: BatchTransport, d: int, n_steps: int) -> list[int]:
    """Of the solves for the gap of a smooth map, on fresh points each."""
    counts = []
    for step in range(n_steps):
        x = cloud(256, d, step).detach()
        transport.solves = []
        cost = COSTS["sqeuclidean"]
        epsilon = 0.02 * d
        transport.value("one", x, x + 0.3 * torch.sin(2 * x), cost, epsilon)
        counts.append(transport.solves[0].iterations)
    return counts


def test_starts_are_cold_where_that_is_cheap_and_warm_where_it_is_not() -> None:
    sparse, dense = BatchTransport(tolerance=1e-3), BatchTransport(tolerance=1e-3)
    assert max(iterations(sparse, 64, 8)[1:]) <= 16  # plans are nearly permutations
    assert sparse.state()["one"]["warm"] == 0.0  # it was never tried
    counts = iterations(dense, 2, 102)
    cold, warm = [counts[1], counts[100]], counts[2:100]
    assert np.mean(warm) + 16 < min(cold)
    assert dense.state()["one"]["warm"] + 16 < dense.state()["one"]["cold"]


def test_a_state_that_was_kept_goes_on_alike() -> None:
    transport, resumed = BatchTransport(tolerance=1e-3), BatchTransport(tolerance=1e-3)
    iterations(transport, 2, 4)
    resumed.restore(transport.state(), torch.device("cpu"))
    x, y = cloud(256, 2, 50), cloud(256, 2, 51)
    values = [t.value("one", x, y, COSTS["sqeuclidean"], 0.04).item() for t in (transport, resumed)]
    assert values[0] == values[1]
    assert transport.solves[-1].history == resumed.solves[-1].history


def test_sizes_and_dtypes_may_change() -> None:
    transport = BatchTransport(tolerance=1e-4)
    for n, m, dtype in ((20, 30, torch.float64), (25, 30, torch.float64), (25, 30, torch.float32)):
        x, y = (cloud(size, 2, size).detach().to(dtype) for size in (n, m))
        value = transport.value(str(dtype), x, y, COSTS["sqeuclidean"], 0.2)
        assert value.dtype == dtype
        wanted = sinkhorn(x, y, epsilon=0.2, tolerance=1e-6).value
        np.testing.assert_allclose(value.item(), wanted.item(), rtol=1e-3)
