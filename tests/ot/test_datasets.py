import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from scipy.stats import kstest

from fenchel.core.checks import FloatArray
from fenchel.ot import exact_plan
from fenchel.ot.costs import (
    Cosine,
    Cost,
    ElasticL1,
    ElasticSTVS,
    Euclidean,
    PNorm,
    PNormPower,
    Sphere,
    SquaredEuclidean,
    TranslationCost,
)
from fenchel.ot.datasets import (
    Map,
    TransportProblem,
    _PotentialGradient,
    convex_potential,
    gaussian_pair,
    load_h5ad,
    moons_to_s_curve,
    separable,
    simulated_cells,
    sphere_caps,
    sphere_toward_pole,
)
from fenchel.ot.gaussians import gaussian_map_matrix

SEPARABLE: dict[str, TranslationCost] = {
    "squared": SquaredEuclidean(),
    "half square of the 2-norm": PNorm(2.0),
    "power 1.5": PNormPower(1.5),
    "power 3": PNormPower(3.0),
    "elastic": ElasticL1(0.5),
    "elastic STVS": ElasticSTVS(0.5),
}
KNOWN: dict[str, Callable[[], TransportProblem]] = {
    "Gaussians, d = 1": lambda: gaussian_pair(1, seed=0),
    "Gaussians, d = 5": lambda: gaussian_pair(5, seed=1),
    "potential, d = 1": lambda: convex_potential(1, seed=0),
    "potential, d = 2": lambda: convex_potential(2, seed=0),
    "potential, d = 16": lambda: convex_potential(16, seed=1),
    "potential, steep": lambda: convex_potential(
        3, seed=2, n_components=5, n_potentials=1, n_pieces=2, sharpness=40.0, strength=5.0
    ),
    "cells": lambda: simulated_cells(20, seed=0),
    "cells, strong responses": lambda: simulated_cells(
        12, seed=1, n_types=2, affected=0.9, fold=20.0, depth=3.0, cost=PNormPower(1.5)
    ),
    "toward the pole": lambda: sphere_toward_pole(0.4),
    "from the pole": lambda: sphere_toward_pole(-0.4),
    "far toward the pole": lambda: sphere_toward_pole(0.97),
    "toward the pole, d = 6": lambda: sphere_toward_pole(0.6, dim=6),
    "on the circle": lambda: sphere_toward_pole(0.6, dim=2),
    "toward the pole, distance": lambda: replace(sphere_toward_pole(0.6), cost=Sphere()),
} | {
    f"separable, {name}": (lambda cost=cost: separable(3, seed=0, cost=cost))
    for name, cost in SEPARABLE.items()
}
UNKNOWN: dict[str, Callable[[], TransportProblem]] = {
    "moon to s-curve": moons_to_s_curve,
    "two moons to s-curve": lambda: moons_to_s_curve("euclidean", noise=0.2, n_moons=2),
    "cap to caps": sphere_caps,
    "wide caps": lambda: sphere_caps(2.0, target_radius=1.7, distance=2.5),
}
every_known_map = pytest.mark.parametrize("make", KNOWN.values(), ids=KNOWN)
every_problem = pytest.mark.parametrize(
    "make", [*KNOWN.values(), *UNKNOWN.values()], ids=[*KNOWN, *UNKNOWN]
)


def map_of(problem: TransportProblem) -> Map:
    assert problem.map is not None
    return problem.map


def excess(cost: Cost, x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """What the pairs (x_i, y_i) cost above the best assignment, and what they cost."""
    matched = float(cost.pairs(x, y).mean())
    shuffled = y[np.random.default_rng(0).permutation(len(y))]  # no help from the order
    return matched - exact_plan(cost.matrix(x, shuffled)).value, matched


# Maps


@every_known_map
def test_known_maps_are_optimal(make: Callable[[], TransportProblem]) -> None:
    problem = make()
    x = problem.source(150, np.random.default_rng(1))
    gap, matched = excess(problem.cost, x, map_of(problem)(x))
    # rounding; on the sphere also the clip of arcs below 4.5e-4, at most 1e-7 · share of them
    assert abs(gap) <= (1e-8 if isinstance(problem.cost, Sphere) else 1e-12) * (1 + matched)


def test_other_maps_with_the_same_image_are_not() -> None:
    problem = gaussian_pair(3, seed=0)
    x = problem.source(150, np.random.default_rng(1))
    gap, matched = excess(problem.cost, x, np.roll(map_of(problem)(x), 1, axis=0))
    assert gap > 0.1 * matched


@every_known_map
def test_known_maps_send_the_source_to_the_target(make: Callable[[], TransportProblem]) -> None:
    """First and second moments, within 5 standard errors of two samples of n."""
    problem, n = make(), 20_000
    rng = np.random.default_rng(2)
    moved, y = map_of(problem)(problem.source(n, rng)), problem.target(n, rng)
    for one, other in ((moved, y), (products(moved, y), products(y, y))):
        error = np.sqrt((one.var(axis=0) + other.var(axis=0)) / n)
        assert (np.abs(one.mean(axis=0) - other.mean(axis=0)) <= 5 * error + 1e-12).all()


def products(points: FloatArray, reference: FloatArray) -> FloatArray:
    """Those of all pairs of coordinates, from the means of the reference."""
    centered = points - reference.mean(axis=0)
    i, j = np.triu_indices(points.shape[1])
    return centered[:, i] * centered[:, j]


@every_problem
def test_target_variance_is_that_of_the_target(make: Callable[[], TransportProblem]) -> None:
    """Within 5 standard errors of the sample, and 5 percent more where it is estimated too."""
    problem, n = make(), 20_000
    y = problem.target(n, np.random.default_rng(3))
    squares = ((y - y.mean(axis=0)) ** 2).sum(axis=1)
    error = 5 * squares.std() / math.sqrt(n)
    if problem.known_variance is None:
        error += 0.05 * squares.mean()
    assert abs(problem.target_variance - squares.mean()) <= error
    if problem.known_variance is not None:
        assert problem.target_variance == problem.known_variance


# Gaussians


@pytest.mark.parametrize("dim", [1, 2, 8, 64])
def test_gaussian_map_turns_one_covariance_into_the_other(dim: int) -> None:
    B = np.random.default_rng(dim).standard_normal((2, dim, dim))
    S1, S2 = B @ B.transpose(0, 2, 1) / dim + 0.3 * np.eye(dim)
    A = gaussian_map_matrix(S1, S2)
    np.testing.assert_array_equal(A, A.T)
    assert np.linalg.eigvalsh(A).min() > 0
    np.testing.assert_allclose(A @ S1 @ A, S2, rtol=0, atol=1e-12)


def test_gaussian_map_of_covariances_that_commute_is_the_ratio_of_their_roots() -> None:
    A = gaussian_map_matrix(np.diag([1.0, 4.0, 9.0]), np.diag([4.0, 1.0, 0.0]))
    np.testing.assert_allclose(A, np.diag([2.0, 0.5, 0.0]), rtol=0, atol=1e-15)


@pytest.mark.parametrize("dim", [1, 4])
def test_gaussian_pair_has_the_moments_of_its_map(dim: int) -> None:
    """m2 = T(m1) and A S1 A = S2 by the samples: 5 standard errors, √((S_ii S_jj + S_ij²)/n)."""
    problem, n = gaussian_pair(dim, seed=3), 100_000
    rng = np.random.default_rng(4)
    x, y = problem.source(n, rng), problem.target(n, rng)
    T = map_of(problem)
    A = T(np.eye(dim)) - T(np.zeros((1, dim)))
    np.testing.assert_allclose(A, A.T, atol=1e-14)
    S = np.atleast_2d(np.cov(y.T))
    error = np.sqrt(2 * np.diag(S) / n)
    assert (np.abs(T(x.mean(axis=0)[None])[0] - y.mean(axis=0)) <= 5 * error).all()
    error = np.sqrt(2 * (np.outer(np.diag(S), np.diag(S)) + S**2) / n)
    assert (np.abs(A @ np.atleast_2d(np.cov(x.T)) @ A - S) <= 5 * error).all()


@pytest.mark.parametrize("dim", [2, 32, 256])
def test_gaussian_covariances_are_well_conditioned(dim: int) -> None:
    problem = gaussian_pair(dim, seed=0)
    T = map_of(problem)
    values = np.linalg.eigvalsh(T(np.eye(dim)) - T(np.zeros((1, dim))))
    # S1 and S2 have spectra in about [0.3, 4.3], so A in [√(0.3/4.3), √(4.3/0.3)]
    assert 0.2 < values.min() < values.max() < 5.0
    assert 0.7 < problem.target_variance / dim < 2.0  # about 1.3


# Convex potentials


@pytest.mark.parametrize("dim", [1, 3, 10])
def test_convex_map_is_the_gradient_of_its_potential(dim: int) -> None:
    problem = convex_potential(dim, seed=0)
    T = map_of(problem)
    assert isinstance(T, _PotentialGradient)
    x, step = problem.source(20, np.random.default_rng(0)), 1e-5
    for k in range(dim):
        shift = step * np.eye(dim)[k]
        slope = (T.potential(x + shift) - T.potential(x - shift)) / (2 * step)
        # third derivatives of u, of order s‖a‖³ < 1e3, times step²/6
        np.testing.assert_allclose(slope, T(x)[:, k], rtol=0, atol=1e-7)


def test_potential_is_the_sum_in_its_docstring() -> None:
    T = map_of(convex_potential(4, seed=0, n_potentials=3, n_pieces=2, sharpness=2, strength=0.7))
    assert isinstance(T, _PotentialGradient)
    assert T.g.shape == (3, 2, 4)
    x = np.array([0.3, -1.0, 0.5, 2.0])
    a, s = 2 * T.g / math.sqrt(4), 0.7 * math.sqrt(3 * 4) / 2
    u = 0.5 * x @ x
    moved = x.copy()
    for k in range(3):
        terms = [math.exp(a[k, l] @ x + T.b[k, l]) for l in range(2)]  # noqa: E741
        u += s / 3 * math.log(sum(terms))
        moved += s / 3 * (terms[0] * a[k, 0] + terms[1] * a[k, 1]) / sum(terms)
    assert T.potential(x[None])[0] == pytest.approx(u, rel=1e-13)
    np.testing.assert_allclose(T(x[None])[0], moved, rtol=1e-12)


def test_long_clouds_are_mapped_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = convex_potential(2, seed=0)
    x = problem.source(101, np.random.default_rng(0))
    whole = map_of(problem)(x)
    monkeypatch.setattr("fenchel.ot.datasets._CHUNK", 10 * 16)  # K L = 16
    np.testing.assert_allclose(map_of(problem)(x), whole, rtol=1e-14)


@pytest.mark.parametrize(("dim", "n_seeds"), [(1, 5), (2, 5), (8, 5), (32, 2), (256, 1)])
def test_convex_maps_are_of_one_scale_in_every_dimension(dim: int, n_seeds: int) -> None:
    for seed in range(n_seeds):
        problem = convex_potential(dim, seed=seed)
        x = problem.source(1000, np.random.default_rng(1))
        y = map_of(problem)(x)
        assert 0.8 < math.sqrt(((y - x) ** 2).mean()) < 4.0
        assert 1.5 < y.var(axis=0).sum() / x.var(axis=0).sum() < 20.0


@pytest.mark.parametrize(("dim", "n_seeds"), [(1, 5), (2, 5), (8, 5), (32, 2), (64, 1)])
def test_convex_maps_are_not_affine(dim: int, n_seeds: int) -> None:
    for seed in range(n_seeds):
        problem = convex_potential(dim, seed=seed)
        x = problem.source(2000 + 100 * dim, np.random.default_rng(1))
        y = map_of(problem)(x)
        inputs = np.column_stack([x, np.ones(len(x))])
        fit = np.linalg.lstsq(inputs, y, rcond=None)[0]
        residual = ((y - inputs @ fit) ** 2).sum(axis=1).mean()
        assert residual > 0.03 * y.var(axis=0).sum()  # L2-UVP of the best affine map, 3 percent
        assert residual > 0.1 * (y - x).var(axis=0).sum()


# Separable maps


def test_separable_map_increases_in_its_own_coordinate_only() -> None:
    T = map_of(separable(3, seed=0))
    x = np.linspace(-6, 6, 200)
    for k in range(3):
        points = np.tile([0.1, -0.2, 0.3], (200, 1))
        points[:, k] = x
        moved = T(points)
        assert (np.diff(moved[:, k]) > 0).all()
        assert (np.delete(moved, k, axis=1) == np.delete(moved, k, axis=1)[0]).all()
        slopes = np.diff(moved[:, k]) / np.diff(x)
        assert slopes.max() > 3 * slopes.min()  # not affine


@pytest.mark.parametrize("cost", [PNorm(1.5), PNorm(3.0), Euclidean(), Cosine(), "sphere"])
def test_separable_refuses_costs_that_are_not(cost: Any) -> None:
    with pytest.raises(ValueError, match=r"cost must be a sum over coordinates .* got "):
        separable(3, seed=0, cost=cost)


def test_separable_map_is_not_optimal_for_such_costs() -> None:
    problem = separable(3, seed=0)
    x = problem.source(150, np.random.default_rng(0))
    gap, matched = excess(Euclidean(), x, map_of(problem)(x))
    assert gap > 1e-3 * matched


def test_every_translation_cost_is_separable_on_the_line() -> None:
    problem = separable(1, seed=0, cost=PNorm(3.0))
    x = problem.source(150, np.random.default_rng(0))
    gap, _ = excess(problem.cost, x, map_of(problem)(x))
    assert abs(gap) < 1e-12


# Cells


def test_cells_are_logs_of_scaled_counts() -> None:
    problem = simulated_cells(50, seed=0, depth=10.0)
    x = problem.source(500, np.random.default_rng(0))
    np.testing.assert_allclose(np.expm1(x).sum(axis=1), 500.0, rtol=1e-12)
    for cell in np.expm1(x)[:20]:
        smallest = cell[cell > 0].min()  # a multiple of the scaled unit
        multiples = 12 * cell / smallest  # at least one count of 1, 2, 3 or 4
        np.testing.assert_allclose(multiples, np.round(multiples), atol=1e-6)
    assert 0.01 < (x == 0).mean() < 0.6
    assert (simulated_cells(50, seed=0, depth=0.01).source(50, np.random.default_rng(0)) >= 0).all()


def test_some_genes_rise_some_fall_and_most_stay() -> None:
    problem = simulated_cells(50, seed=0, affected=0.3, fold=4.0)
    x = problem.source(1000, np.random.default_rng(0))
    y = map_of(problem)(x)
    rising, falling = (y > x).any(axis=0), (y < x).any(axis=0)
    assert rising.sum() == falling.sum() == 8  # round(0.3 · 50/2), half to even
    np.testing.assert_array_equal(y[:, ~(rising | falling)], x[:, ~(rising | falling)])
    for gene in np.flatnonzero(rising | falling):
        seen = x[:, gene] > 0
        folds = np.expm1(y[seen, gene]) / np.expm1(x[seen, gene])
        np.testing.assert_allclose(folds, folds[0], rtol=1e-9)
        assert 0.5 <= abs(math.log(folds[0])) / math.log(4) <= 1.0
    assert (y[x == 0] == 0).all()


def test_cell_map_is_odd_increasing_and_finite() -> None:
    T = map_of(simulated_cells(6, seed=0, fold=50.0, affected=0.9))
    x = np.repeat(np.linspace(-800, 800, 2001)[:, None], 6, axis=1)
    assert (np.diff(T(x), axis=0) > 0).all()
    np.testing.assert_allclose(T(x), -T(x)[::-1], rtol=1e-13, atol=1e-13)


def test_cell_types_are_clusters() -> None:
    one, four = (simulated_cells(30, seed=0, n_types=k) for k in (1, 4))
    spreads = [
        np.linalg.eigvalsh(np.cov(problem.source(2000, np.random.default_rng(0)).T))[-1]
        for problem in (one, four)
    ]
    assert spreads[1] > 2 * spreads[0]


# The plane


def test_moons_and_s_curve_without_noise_are_their_arcs() -> None:
    problem = moons_to_s_curve(noise=0.0, n_moons=2)
    rng = np.random.default_rng(0)
    x = problem.source(4000, rng) + np.array([0.0, 0.5])
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    back = x @ np.array([[cos, -sin], [sin, cos]])  # turned clockwise
    upper = np.abs(np.linalg.norm(back, axis=1) - 1) < 1e-12
    lower = np.abs(np.linalg.norm(back - [1.0, 0.5], axis=1) - 1) < 1e-12
    assert (upper | lower).all()
    assert (back[upper & ~lower, 1] >= 0).all()
    assert (back[lower & ~upper, 1] <= 0.5).all()
    assert abs(upper.mean() - 0.5) < 5 * 0.5 / math.sqrt(4000)
    y = (problem.target(4000, rng) - np.array([1.0, -2.0])) / 0.6
    x, z = -y[:, 0], y[:, 1]  # (z, x) was turned to (−x, z)
    side = np.sign(z)  # −1: sin t and cos t − 1, t > 0; 1: −sin |t| and 1 − cos t, t < 0
    np.testing.assert_allclose(x**2 + (z - side) ** 2, 1.0, atol=1e-12)
    t = -side * np.mod(np.arctan2(-side * x, 1 - side * z), 2 * np.pi)
    assert np.abs(t).max() <= 1.5 * np.pi
    assert kstest(t, "uniform", args=(-1.5 * np.pi, 3 * np.pi)).pvalue > 0.01


def test_one_moon_is_the_upper_one() -> None:
    x = moons_to_s_curve(noise=0.0).source(1000, np.random.default_rng(0))
    angles = np.arctan2(x[:, 1] + 0.5, x[:, 0]) - np.pi / 6
    np.testing.assert_allclose(np.hypot(x[:, 0], x[:, 1] + 0.5), 1.0, rtol=1e-13)
    assert kstest(np.mod(angles, 2 * np.pi) / np.pi, "uniform").pvalue > 0.01


def test_noise_has_its_deviation() -> None:
    n, still, noisy = 20_000, moons_to_s_curve(noise=0.0), moons_to_s_curve(noise=0.3)
    x = noisy.source(n, np.random.default_rng(0))
    radius = np.linalg.norm(x + np.array([0.0, 0.5]), axis=1)
    # E‖u + εz‖² = 1 + 2ε², with variance 4ε² + 4ε⁴
    error = 5 * math.sqrt((4 * 0.3**2 + 4 * 0.3**4) / n)
    assert abs((radius**2).mean() - (1 + 2 * 0.3**2)) < error
    rise = noisy.target_variance - still.target_variance
    assert rise == pytest.approx(0.36 * 2 * 0.3**2, rel=1e-12)


# The sphere


@pytest.mark.parametrize(("radius", "other", "distance"), [(0.6, 0.4, 1.2), (2.0, 0.1, 3.0)])
def test_caps_are_uniform(radius: float, other: float, distance: float) -> None:
    problem = sphere_caps(radius, target_radius=other, distance=distance)
    rng = np.random.default_rng(0)
    x, y = problem.source(2000, rng), problem.target(2000, rng)
    for points in (x, y):
        np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0, rtol=0, atol=1e-14)
    side = np.where(y[:, 0] > 0, 1.0, -1.0)
    centers = np.column_stack(
        [side * math.sin(distance), np.zeros(2000), np.full(2000, math.cos(distance))]
    )
    assert abs(side.mean()) < 5 / math.sqrt(2000)
    for heights, r in ((x[:, 2], radius), ((y * centers).sum(axis=1), other)):
        assert heights.min() >= math.cos(r) - 1e-14
        assert kstest((1 - heights) / (1 - math.cos(r)), "uniform").pvalue > 0.01
    angle = np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi) % 1
    assert kstest(angle, "uniform").pvalue > 0.01


@pytest.mark.parametrize("delta", [-0.99, -0.3, 0.0, 1e-9, 0.5, 0.99])
@pytest.mark.parametrize("dim", [2, 3, 7])
def test_meridians_shrink_by_delta_times_the_sine(delta: float, dim: int) -> None:
    problem = sphere_toward_pole(delta, dim=dim)
    x = problem.source(300, np.random.default_rng(0))
    y = map_of(problem)(x)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), 1.0, rtol=0, atol=1e-14)
    before, after = (np.arctan2(np.linalg.norm(z[:, :-1], axis=1), z[:, -1]) for z in (x, y))
    np.testing.assert_allclose(after, before - delta * np.sin(before), rtol=0, atol=1e-13)
    directions = [z[:, :-1] / np.linalg.norm(z[:, :-1], axis=1, keepdims=True) for z in (x, y)]
    np.testing.assert_allclose(directions[0], directions[1], rtol=0, atol=1e-10)


def test_poles_stay_where_they_are() -> None:
    poles = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    np.testing.assert_array_equal(map_of(sphere_toward_pole(0.5))(poles), poles)


def test_source_is_uniform_on_the_sphere() -> None:
    x = sphere_toward_pole(0.5).source(2000, np.random.default_rng(0))
    for k in range(3):  # coordinates of points of the sphere in ℝ³ are uniform (Archimedes)
        assert kstest((x[:, k] + 1) / 2, "uniform").pvalue > 0.01


# Randomness


@every_problem
def test_generators_in_one_state_give_the_same_samples(
    make: Callable[[], TransportProblem],
) -> None:
    before = np.random.get_state(legacy=False)  # noqa: NPY002
    one, other = make(), make()
    for sampler, again in ((one.source, other.source), (one.target, other.target)):
        sample = sampler(30, np.random.default_rng(5))
        assert sample.shape == (30, one.dim)
        assert sample.dtype == np.float64
        assert np.isfinite(sample).all()
        np.testing.assert_array_equal(sample, again(30, np.random.default_rng(5)))
        assert (sample != again(30, np.random.default_rng(6))).any()
    np.testing.assert_equal(np.random.get_state(legacy=False), before)  # noqa: NPY002


@every_known_map
def test_images_have_the_shape_and_the_type_of_points(
    make: Callable[[], TransportProblem],
) -> None:
    problem = make()
    x = problem.source(5, np.random.default_rng(0)).astype(np.float32)
    kept = x.copy()
    y = map_of(problem)(x)
    assert y.shape == (5, problem.dim)
    assert y.dtype == np.float64
    np.testing.assert_array_equal(x, kept)
    with pytest.raises(ValueError, match=rf"x must have shape \(any, {problem.dim}\)"):
        map_of(problem)(np.ones((5, problem.dim + 1)))
    with pytest.raises(ValueError, match="x must have shape"):
        map_of(problem)(np.ones(problem.dim))


def test_seeds_choose_the_problem() -> None:
    for make in (gaussian_pair, convex_potential, separable, simulated_cells):
        x = make(4, seed=0).source(10, np.random.default_rng(0))
        y, z = (map_of(make(4, seed=seed))(x) for seed in (0, 1))
        assert (y != z).any()


def test_one_generator_draws_source_and_target_independently() -> None:
    problem = separable(1, seed=0)
    rng = np.random.default_rng(0)
    x, y = problem.source(2000, rng), problem.target(2000, rng)
    assert abs(np.corrcoef(x[:, 0], y[:, 0])[0, 1]) < 5 / math.sqrt(2000)


# Arguments


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: gaussian_pair(0, seed=0), ValueError, "dim must be at least 1, got 0"),
        (lambda: gaussian_pair(2.0, seed=0), TypeError, "dim must be an integer, got 2.0"),
        (lambda: gaussian_pair(2, seed=-1), ValueError, "seed must be at least 0, got -1"),
        (lambda: convex_potential(2, seed=None), TypeError, "seed must be an integer, got None"),
        (lambda: convex_potential(2, seed=0, n_components=0), ValueError, "n_components must be"),
        (lambda: convex_potential(2, seed=0, n_potentials=0), ValueError, "n_potentials must be"),
        (lambda: convex_potential(2, seed=0, n_pieces=1), ValueError, "n_pieces must be at least"),
        (lambda: convex_potential(2, seed=0, sharpness=0.0), ValueError, "sharpness must be .*0.0"),
        (lambda: convex_potential(2, seed=0, strength=-1.0), ValueError, "strength must be .*-1.0"),
        (lambda: separable(0, seed=0), ValueError, "dim must be at least 1, got 0"),
        (lambda: separable(2, seed=0, cost="l1"), ValueError, "cost must be .* got 'l1'"),
        (lambda: simulated_cells(1, seed=0), ValueError, "n_genes must be at least 2, got 1"),
        (lambda: simulated_cells(seed=0, n_types=0), ValueError, "n_types must be at least 1"),
        (lambda: simulated_cells(seed=0, affected=1.0), ValueError, "affected must be .* got 1.0"),
        (lambda: simulated_cells(seed=0, fold=1.0), ValueError, "fold must be .* got 1.0"),
        (lambda: simulated_cells(seed=0, depth=math.nan), ValueError, "depth must be .* got nan"),
        (lambda: moons_to_s_curve("l1"), ValueError, "cost must be .* got 'l1'"),
        (lambda: moons_to_s_curve(noise=-0.1), ValueError, "noise must be .* got -0.1"),
        (lambda: moons_to_s_curve(n_moons=3), ValueError, "n_moons must be 1 or 2, got 3"),
        (lambda: sphere_caps(0.0), ValueError, "radius must be .* got 0.0"),
        (lambda: sphere_caps(target_radius=4.0), ValueError, "target_radius must be .* got 4.0"),
        (lambda: sphere_caps(distance=-1.0), ValueError, "distance must be .* got -1.0"),
        (lambda: sphere_toward_pole(1.5), ValueError, r"delta must be .* \(-1, 1\), got 1.5"),
        (lambda: sphere_toward_pole("1"), TypeError, "delta must be a real number, got '1'"),
        (lambda: sphere_toward_pole(0.5, dim=1), ValueError, "dim must be at least 2, got 1"),
        (
            lambda: map_of(sphere_toward_pole(0.5))(np.ones((1, 3))),
            ValueError,
            r"x must have points of norm 1, got 1.73205 at index \(0,\)",
        ),
        (
            lambda: replace(separable(2, seed=0), cost="sqeuclidean"),
            TypeError,
            "cost must be a Cost, got 'sqeuclidean'; pass costs.get",
        ),
        (
            lambda: replace(separable(2, seed=0), known_variance=0.0),
            ValueError,
            "known_variance must be .* got 0.0",
        ),
        (
            lambda: gaussian_map_matrix(np.ones((2, 3)), np.eye(2)),
            ValueError,
            r"covariance must .*\(2, 3\)",
        ),
        (
            lambda: gaussian_map_matrix(np.eye(2), np.eye(3)),
            ValueError,
            r"target_covariance must have shape \(2, 2\), got \(3, 3\)",
        ),
        (
            lambda: gaussian_map_matrix(np.array([[1.0, 0.5], [0.0, 1.0]]), np.eye(2)),
            ValueError,
            r"source_covariance must be symmetric, got 0.5 at \(0, 1\) and 0.0 across",
        ),
        (
            lambda: gaussian_map_matrix(np.diag([1.0, 0.0]), np.eye(2)),
            ValueError,
            "source_covariance must be positive definite, got the eigenvalue 0",
        ),
        (
            lambda: gaussian_map_matrix(np.eye(2), np.diag([1.0, -0.5])),
            ValueError,
            "target_covariance must be positive semidefinite, got the eigenvalue -0.5",
        ),
    ],
)
def test_wrong_arguments_are_named(
    make: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


# Users' data


def files(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[Any]:
    """A module in the place of anndata that reads one table of five cells; the paths read."""
    counts = np.array([[1.0, 0.0], [2.0, 3.0], [0.0, 4.0], [5.0, 0.0], [0.0, 6.0]])
    table = {
        "obs": pd.DataFrame({"drug": pd.Categorical(["dmso", "a", "dmso", "b", "a"])}),
        "X": csr_array(counts),
        "layers": {
            "scaled": 10 * counts,
            "broken": csr_array(np.where(counts == 4, np.inf, counts)),
        },
    } | changes
    paths: list[Any] = []
    module = ModuleType("anndata")

    def read_h5ad(path: Any) -> SimpleNamespace:
        paths.append(path)
        return SimpleNamespace(**table)

    module.read_h5ad = read_h5ad
    monkeypatch.setitem(sys.modules, "anndata", module)
    return paths


def test_missing_anndata_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anndata", None)  # what import makes a ModuleNotFoundError of
    with pytest.raises(ModuleNotFoundError, match="anndata is not installed; run: pip install ann"):
        load_h5ad("cells.h5ad", perturbation_key="drug", control="dmso", treated="a")


def test_what_anndata_misses_is_reported_as_such(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "anndata.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.delitem(sys.modules, "anndata", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="No module named 'a_module_that_nobody_has'"):
        load_h5ad("cells.h5ad", perturbation_key="drug", control="dmso", treated="a")


def test_cells_of_a_file_are_split_by_what_was_done_to_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths = files(monkeypatch)
    control, treated = load_h5ad("x.h5ad", perturbation_key="drug", control="dmso", treated="a")
    assert paths == ["x.h5ad"]
    assert control.dtype == treated.dtype == np.float32
    np.testing.assert_array_equal(control, [[1, 0], [0, 4]])
    np.testing.assert_array_equal(treated, [[2, 3], [0, 6]])
    scaled, _ = load_h5ad(
        "x.h5ad", perturbation_key="drug", control="b", treated="a", layer="scaled"
    )
    np.testing.assert_array_equal(scaled, [[50, 0]])


def test_labels_may_be_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    files(monkeypatch, obs=pd.DataFrame({"dose": [0, 10, 0, 0, 10]}))
    control, treated = load_h5ad("x.h5ad", perturbation_key="dose", control="0", treated="10")
    assert (len(control), len(treated)) == (3, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"perturbation_key": "dose"}, "perturbation_key must be a column .*'dose'; .*'drug'"),
        (
            {"control": "none"},
            r"control must be a value of obs\['drug'\], got 'none'; .*'a', ",
        ),
        ({"treated": "c"}, r"treated must be a value of obs\['drug'\], got 'c'; .*'dmso'"),
        ({"treated": "dmso"}, "control and treated must differ, got 'dmso' twice"),
        ({"layer": "logs"}, "layer must be in the file, got 'logs'; take one of 'scaled'"),
        ({"layer": "broken"}, "control cells must have finite features, got inf for cell 1, fea"),
    ],
)
def test_wrong_keys_are_named(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str
) -> None:
    files(monkeypatch)
    arguments: dict[str, Any] = {"perturbation_key": "drug", "control": "dmso", "treated": "a"}
    with pytest.raises(ValueError, match=message):
        load_h5ad("x.h5ad", **(arguments | changes))


def test_files_without_x_need_a_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    files(monkeypatch, X=None)
    with pytest.raises(ValueError, match=r"layer must be given where X is empty; take .*'scaled'"):
        load_h5ad("x.h5ad", perturbation_key="drug", control="dmso", treated="a")


def test_long_lists_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    files(monkeypatch, obs=pd.DataFrame({f"c{k}": [0] * 5 for k in range(15)}))
    with pytest.raises(ValueError, match="'c9' and 5 more"):
        load_h5ad("x.h5ad", perturbation_key="drug", control="dmso", treated="a")
