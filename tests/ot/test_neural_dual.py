"""Convex networks, the dual objective at exact potentials, and maps learned from it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fenchel.ot.gaussians import gaussian_map_matrix
from fenchel.ot.learned_map import Draws, NotFittedError
from fenchel.ot.metrics import l2_uvp, map_cosine
from fenchel.ot.networks import ICNN
from fenchel.ot.neural_dual import (
    Method,
    NeuralDual,
    Start,
    _Frame,
    cycle_error,
    dual_objective,
    dual_value,
)


def gaussian_map(S: Any, R: Any) -> Any:
    return torch.from_numpy(gaussian_map_matrix(S.numpy(), R.numpy()))


METHODS: list[Method] = ["makkuva", "w2gn"]


def drawn(*shape: int, seed: int = 0) -> Any:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def covariance(d: int, seed: int) -> Any:
    B = drawn(d, d, seed=seed)
    return B @ B.T / d + 0.3 * torch.eye(d, dtype=B.dtype)


def root(S: Any) -> Any:
    values, vectors = torch.linalg.eigh(S)
    return (vectors * values.sqrt()) @ vectors.T


class Quadratic:
    """½ (x − m)ᵀ A (x − m) + ⟨b, x⟩."""

    def __init__(self, A: Any, m: Any, b: Any) -> None:
        self.A, self.m, self.b = A, m, b

    def __call__(self, points: Tensor) -> Tensor:
        u = points - self.m
        return 0.5 * torch.einsum("ni,ij,nj->n", u, self.A, u) + points @ self.b

    def gradient(self, points: Tensor) -> Tensor:
        return (points - self.m) @ self.A + self.b

    def conjugate(self) -> "Quadratic":
        """Up to a constant."""
        return Quadratic(torch.linalg.inv(self.A), self.b, self.m)


class Pair:
    """Two Gaussians, samples that have their moments exactly, and the optimal potentials."""

    def __init__(self, d: int, seed: int = 0) -> None:
        self.S, self.R = covariance(d, seed + 1), covariance(d, seed + 2)
        self.m, self.n = drawn(d, seed=seed + 3), drawn(d, seed=seed + 4)
        self.A = gaussian_map(self.S, self.R)
        z = drawn(60, d, seed=seed + 5)
        z = z - z.mean(dim=0)
        z = z @ torch.linalg.inv(root(z.T @ z / len(z)))
        self.x = z @ root(self.S) + self.m
        self.y = (self.x - self.m) @ self.A + self.n
        self.f = Quadratic(self.A, self.m, self.n)
        self.g = self.f.conjugate()

    @property
    def squared_distance(self) -> float:
        middle = root(root(self.S) @ self.R @ root(self.S))
        return float(((self.m - self.n) ** 2).sum() + torch.trace(self.S + self.R - 2 * middle))


# convex networks


def random_icnn(d: int, hidden: Any, seed: int) -> ICNN:
    network = ICNN(d, hidden).double()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for one in network.parameters():
            one.copy_(torch.from_numpy(rng.normal(size=tuple(one.shape))))
    return network


@pytest.mark.parametrize("hidden", [(5,), (16, 8), (8, 16, 4)])
@pytest.mark.parametrize("d", [1, 4])
def test_icnns_are_convex_and_their_gradients_monotone(d: int, hidden: Any) -> None:
    for seed in range(5):
        network = random_icnn(d, hidden, seed)
        x, y = 3 * drawn(200, d, seed=10 + seed), 3 * drawn(200, d, seed=20 + seed)
        modulus = float(torch.exp(network.strength.detach()))
        gap = 0.5 * network(x) + 0.5 * network(y) - network(0.5 * (x + y))
        squares = ((x - y) ** 2).sum(dim=1)
        assert bool((gap >= modulus / 8 * squares * (1 - 1e-9)).all())
        slopes = network.gradient(x) - network.gradient(y)
        assert bool(((slopes * (x - y)).sum(dim=1) >= modulus * squares * (1 - 1e-9)).all())


def test_gradients_of_icnns_are_finite_differences_and_differentiable() -> None:
    network, x, step = random_icnn(3, (8, 6), 0), drawn(5, 3), 1e-5
    for k in range(3):
        e = step * torch.eye(3, dtype=x.dtype)[k]
        slope = (network(x + e) - network(x - e)) / (2 * step)
        np.testing.assert_allclose(
            network.gradient(x)[:, k].detach(), slope.detach(), rtol=1e-7, atol=1e-8
        )
    with torch.no_grad():
        assert not network.gradient(x).requires_grad
    assert torch.autograd.gradcheck(network.gradient, drawn(4, 3).requires_grad_())


def test_icnns_start_near_half_the_squared_norm() -> None:
    for seed in range(3):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = ICNN(6).double()
        x = drawn(500, 6, seed=seed)
        move = network.gradient(x).detach() - x
        assert float((move**2).sum(dim=1).mean()) < 0.01 * 6  # E‖x‖² = 6


# the objective at exact potentials


@pytest.mark.parametrize("d", [1, 3])
def test_the_gaussian_map_carries_one_covariance_to_the_other(d: int) -> None:
    S, R = covariance(d, 0), covariance(d, 1)
    A = gaussian_map(S, R)
    np.testing.assert_allclose(A @ S @ A, R, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(A, A.T, rtol=1e-12)
    assert float(torch.linalg.eigvalsh(A)[0]) > 0
    np.testing.assert_allclose(gaussian_map(R, S), torch.linalg.inv(A), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_the_dual_value_at_the_potentials_of_gaussians_is_their_distance(d: int) -> None:
    pair = Pair(d)
    value = dual_value(pair.f, pair.g, pair.x, pair.y)
    np.testing.assert_allclose(value, pair.squared_distance, rtol=1e-10)
    moved = ((pair.x - pair.y) ** 2).sum(dim=1).mean()
    np.testing.assert_allclose(value, moved, rtol=1e-10)  # no gap
    assert float(cycle_error(pair.f, pair.g, pair.y)) < 1e-20


def test_exact_potentials_are_a_saddle_point() -> None:
    """J(f°, g) <= J(f°, g°) = J(f, g°), and J(f, f*) >= J(f°, g°)."""
    pair = Pair(3)
    best = float(dual_objective(pair.f, pair.g, pair.x, pair.y))
    for seed in range(5):
        D, v = 0.3 * covariance(3, 50 + seed), 0.3 * drawn(3, seed=60 + seed)
        other_g = Quadratic(pair.g.A + D, pair.g.m + v, pair.g.b)
        assert float(dual_objective(pair.f, other_g, pair.x, pair.y)) < best - 1e-3
        other_f = Quadratic(pair.f.A + D, pair.f.m, pair.f.b + v)
        for f in (other_f, random_icnn(3, (6, 6), seed)):
            flat = dual_objective(f, pair.g, pair.x, pair.y).detach()
            np.testing.assert_allclose(flat, best, rtol=1e-9)
        answered = float(dual_objective(other_f, other_f.conjugate(), pair.x, pair.y))
        assert answered > best + 1e-3


def test_the_cycle_penalty_keeps_the_value_above_that_of_the_conjugate() -> None:
    """J(f, g) + C(f, g)/(2 β) >= J(f, f*) for f strongly convex with modulus β."""
    pair = Pair(3)
    for seed in range(20):
        f = Quadratic(covariance(3, 80 + seed), drawn(3, seed=seed), drawn(3, seed=seed + 1))
        g = Quadratic(covariance(3, 90 + seed), drawn(3, seed=seed + 2), drawn(3, seed=seed + 3))
        modulus = float(torch.linalg.eigvalsh(f.A)[0])
        value = dual_objective(f, g, pair.x, pair.y)
        penalised = value + cycle_error(f, g, pair.y) / (2 * modulus)
        least = dual_objective(f, f.conjugate(), pair.x, pair.y)
        assert float(value) <= float(least) <= float(penalised)


def test_the_objective_has_the_derivative_of_finite_differences() -> None:
    f, g = random_icnn(2, (4, 4), 0), random_icnn(2, (4,), 1)
    x, y = drawn(9, 2), drawn(8, 2, seed=1)
    for which in (f.last, f.strength, g.last, g.strength):
        slope = torch.autograd.grad(dual_objective(f, g, x, y).sum(), which)[0]
        step = 1e-5
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                which += sign * step
                ends.append(float(dual_objective(f, g, x, y)))
                which -= sign * step
        np.testing.assert_allclose(
            float(slope.sum()), (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-8
        )


# coordinates


@pytest.mark.parametrize("start", ["gaussian", "identity"])
def test_coordinates_keep_inner_products_and_start_at_the_map_that_is_said(start: Start) -> None:
    pair, frame = Pair(3), _Frame(3).double()
    frame.place(pair.x, pair.y, start)
    x, y = frame.source(pair.x), frame.target(pair.y)
    products = ((pair.x - frame.a) * (pair.y - frame.b)).sum(dim=1) / frame.scale**2
    np.testing.assert_allclose((x * y).sum(dim=1), products, rtol=1e-9, atol=1e-12)
    moved, back = frame.to_target(x), frame.to_source(y)  # of ∇f = ∇g = Id
    if start == "identity":
        np.testing.assert_allclose(moved, pair.x, rtol=1e-9)
        np.testing.assert_allclose(back, pair.y, rtol=1e-9)
        return
    shares = 60 / 63, 3 / 63  # of the covariance of 60 points in ℝ³, and of its mean
    S, R = (
        shares[0] * C + shares[1] * torch.trace(C) / 3 * torch.eye(3, dtype=C.dtype)
        for C in (pair.S, pair.R)
    )
    A = gaussian_map(S, R)
    np.testing.assert_allclose(moved, (pair.x - pair.m) @ A + pair.n, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        back, (pair.y - pair.n) @ torch.linalg.inv(A) + pair.m, rtol=1e-8, atol=1e-10
    )
    np.testing.assert_allclose(frame.P @ S @ frame.P, frame.Q @ R @ frame.Q, atol=1e-10)
    np.testing.assert_allclose(torch.trace(frame.P @ S @ frame.P), 3, rtol=1e-10)


def test_coordinates_of_points_without_spread_are_finite() -> None:
    still = torch.ones(20, 3)
    for x, y in ((still, still), (still, drawn(20, 3).float()), (drawn(2, 9), drawn(3, 9))):
        for start in ("gaussian", "identity"):
            frame = _Frame(x.shape[1]).to(x.dtype)
            frame.place(x, y, start)  # type: ignore[arg-type]
            assert all(bool(torch.isfinite(one).all()) for one in frame.buffers())


# learning


def problem(d: int, seed: int) -> tuple[Any, Any, Any, Any]:
    """Samplers of two Gaussians, the map, and Var(ν)."""
    pair = Pair(d, 100 * seed)
    S, m, A, n = (one.numpy() for one in (root(pair.S), pair.m, pair.A, pair.n))

    def source(size: int, rng: Any) -> Any:
        return rng.normal(size=(size, d)) @ S + m

    def true(x: Any) -> Any:
        return (x - m) @ A + n

    def target(size: int, rng: Any) -> Any:
        return true(source(size, rng))

    return source, target, true, float(torch.trace(pair.R))


def short(method: Method, **changes: Any) -> NeuralDual:
    setting: dict[str, Any] = {"n_steps": 60, "batch_size": 128, "hidden": (32, 32)}
    setting |= {"validate_every": 20, "n_validation": 128, "device": "cpu", "progress": False}
    return NeuralDual(method=method, **(setting | changes))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", [0, 1])
def test_maps_between_gaussians_are_found_from_the_identity(method: Method, seed: int) -> None:
    source, target, true, variance = problem(2, seed)
    x = source(1000, np.random.default_rng(seed))
    steps = {"makkuva": 100, "w2gn": 400}[method]
    mapping = short(method, start="identity", n_steps=steps, learning_rate=0.03, seed=seed)
    moved = mapping.fit(source, target).transport(x)
    baseline = l2_uvp(x, true(x), variance=variance)
    assert l2_uvp(moved, true(x), variance=variance) < 0.04 * baseline
    assert map_cosine(x, moved, true(x)) > 0.99
    assert mapping.history["cycle"][-1] < 5


@pytest.mark.parametrize("method", METHODS)
def test_training_improves_on_the_gaussian_map_where_it_is_not_the_true_one(
    method: Method,
) -> None:
    """T = ∇u, u(x) = 0.2 ‖x‖² + log Σ_k exp⟨a_k, x⟩, is optimal whatever the source is."""
    a = 3 * np.array([[1, 0], [-1, 1], [-1, -1], [0.5, 1.5]])

    def source(n: int, rng: Any) -> Any:
        return rng.normal(size=(n, 2))

    def true(x: Any) -> Any:
        scores = np.exp(x @ a.T - (x @ a.T).max(axis=1, keepdims=True))
        return 0.4 * x + (scores / scores.sum(axis=1, keepdims=True)) @ a

    def target(n: int, rng: Any) -> Any:
        return true(source(n, rng))

    x = source(1000, np.random.default_rng(0))
    y = target(100_000, np.random.default_rng(1))
    variance = float(y.var(axis=0).sum())
    linear = gaussian_map(torch.eye(2, dtype=torch.float64), torch.from_numpy(np.cov(y.T)))
    gaussian = l2_uvp(x @ linear.numpy() + y.mean(axis=0), true(x), variance=variance)
    mapping = short(method, n_steps=400, inner_steps=3, learning_rate=0.03).fit(source, target)
    found = l2_uvp(mapping.transport(x), true(x), variance=variance)
    assert found < 0.5 * gaussian


def test_the_gaussian_start_is_near_the_map_between_gaussians() -> None:
    source, target, true, variance = problem(4, 3)
    x = source(1000, np.random.default_rng(0))
    mapping = short("w2gn", n_steps=1, learning_rate=1e-6, batch_size=2000).fit(source, target)
    near = l2_uvp(mapping.transport(x), true(x), variance=variance)
    assert near < 1  # of 2000 points; and the networks are near ½‖·‖² only
    assert l2_uvp(x, true(x), variance=variance) > 50


@pytest.mark.parametrize("start", ["gaussian", "identity"])
def test_the_dual_column_is_the_value_of_potentials_of_the_points_themselves(start: Start) -> None:
    """s² f(x̃) + ⟨b, x⟩ and s² g(ỹ) + ⟨a, y⟩ have the gradients T and T⁻¹."""
    pair = Pair(3)
    mapping = short("w2gn", start=start, n_steps=3, dtype="float64", n_validation=12)
    mapping.fit(pair.x, pair.y)
    f, g, frame = mapping._parts()

    class Pulled:
        def __init__(self, inner: Any, into: Any, linear: Any, move: Any) -> None:
            self.inner, self.into, self.linear, self.gradient = inner, into, linear, move

        def __call__(self, points: Tensor) -> Tensor:
            return frame.scale**2 * self.inner(self.into(points)) + points @ self.linear

    own = (
        Pulled(f, frame.source, frame.b, mapping._moved),
        Pulled(g, frame.target, frame.a, mapping._moved_back),
    )
    for one, points in zip(own, (pair.x, pair.y), strict=True):
        leaf = points.clone().requires_grad_()
        (slope,) = torch.autograd.grad(one(leaf).sum(), leaf)
        np.testing.assert_allclose(slope, one.gradient(points), rtol=1e-10)
    measured = mapping._measured(pair.x, pair.y, mapping._moved(pair.x))
    with torch.no_grad():
        np.testing.assert_allclose(
            measured["dual"], float(dual_value(*own, pair.x, pair.y)), rtol=1e-10
        )
        error = cycle_error(*own, pair.y) / ((pair.y - pair.y.mean(dim=0)) ** 2).sum(dim=1).mean()
    np.testing.assert_allclose(measured["cycle"], 100 * float(error), rtol=1e-8)


def test_equal_seeds_give_equal_numbers_and_leave_global_generators_alone() -> None:
    source, target, _, _ = problem(2, 0)
    x = source(50, np.random.default_rng(0))
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, same, other = (short("w2gn", n_steps=10, seed=s).fit(source, target) for s in (0, 0, 1))
    np.testing.assert_array_equal(one.transport(x), same.transport(x))
    for name, column in one.history.items():
        np.testing.assert_array_equal(column, same.history[name])
    assert not np.array_equal(one.transport(x), other.transport(x))
    assert torch.equal(before[0], torch.random.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("as_arrays", [False, True])
def test_a_fit_saved_on_the_way_ends_as_one_that_was_not(
    method: Method, as_arrays: bool, tmp_path: Path
) -> None:
    source, target, _, _ = problem(2, 0)
    x = source(50, np.random.default_rng(0))
    data: Any = (source, target)
    if as_arrays:
        data = tuple(one(400, np.random.default_rng(i)) for i, one in enumerate(data))
    settings: dict[str, Any] = {"validate_every": 3, "batch_size": 64}
    whole = short(method, n_steps=12, **settings).fit(*data)
    short(method, n_steps=6, **settings).fit(*data).save(tmp_path / "map.pt")
    half = NeuralDual.load(tmp_path / "map.pt", n_steps=12)
    assert half.get_params() == whole.get_params()
    resumed = half.fit(*data, resume=True)
    np.testing.assert_array_equal(whole.transport(x), resumed.transport(x))
    np.testing.assert_array_equal(whole.inverse(x), resumed.inverse(x))
    assert whole.constants_ == resumed.constants_
    for name, column in whole.history.items():
        np.testing.assert_array_equal(column, resumed.history[name])
    assert list(whole.history) == ["step", "loss", "divergence", "dual", "cycle"]


def test_inner_steps_see_no_point_that_is_held_out() -> None:
    x, y = drawn(60, 2), drawn(60, 2, seed=1)
    mapping = short("makkuva", n_steps=1, batch_size=60, n_validation=12, dtype="float64").fit(x, y)
    draws = Draws(y, "target", mapping, mapping._held[1])
    seen, held = draws.batch(), draws.held_out()
    assert len(seen) == 48
    assert torch.equal(torch.cat([seen, held]).sort(dim=0).values, y.sort(dim=0).values)


def test_points_come_back_as_they_were_given() -> None:
    source, target, _, _ = problem(2, 0)
    mapping = short("w2gn", n_steps=2).fit(source, target)
    for move in (mapping.transport, mapping.inverse):
        x = drawn(6, 5, 2)
        moved = move(x)
        assert moved.shape == x.shape
        assert moved.dtype == x.dtype
        assert not moved.requires_grad
        np.testing.assert_allclose(move(x.numpy()), moved)
        np.testing.assert_allclose(move(x[0, 0].numpy()), moved[0, 0], rtol=1e-5)
        with pytest.raises(ValueError, match="points must have shape"):
            move(np.zeros((3, 3)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "icnn"}, "method must be one of"),
        ({"start": "zero"}, "start must be one of"),
        ({"beta1": 1.0}, "beta1 must be in"),
        ({"beta2": -0.1}, "beta2 must be in"),
        ({"cycle_weight": 0.0}, "cycle_weight"),
        ({"inner_steps": 0}, "inner_steps"),
        ({"hidden": ()}, "hidden"),
        ({"hidden": (8, 0)}, "hidden"),
    ],
)
def test_bad_arguments_say_what_to_do(change: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NeuralDual(**change)


def test_an_unfitted_map_moves_nothing() -> None:
    with pytest.raises(NotFittedError, match="not fitted"):
        NeuralDual().inverse(np.zeros((3, 2)))
