import math

import numpy as np
import pytest

from fenchel.bandits.linear import Design, g_optimal_design
from fenchel.bandits.linear.design import line_step, whitening, widths
from fenchel.core.checks import FloatArray


def random_features(n_arms: int, dim: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(size=(n_arms, dim))


def gram(weights: FloatArray, features: FloatArray) -> FloatArray:
    return np.einsum("a,ai,aj->ij", weights, features, features)


def is_design(design: Design, features: FloatArray, dim: int, tolerance: float) -> None:
    assert design.converged
    assert design.dim == dim
    assert (design.weights >= 0).all()
    assert design.weights.sum() == pytest.approx(1, abs=1e-12)
    inverse = np.linalg.pinv(gram(design.weights, features), rcond=1e-10, hermitian=True)
    g = np.einsum("ai,ij,aj->a", features, inverse, features)
    assert g.max() == pytest.approx(design.value, rel=1e-8)
    assert dim * (1 - 1e-9) <= design.value <= dim * (1 + tolerance)
    assert design.weights @ g == pytest.approx(dim, rel=1e-8)


@pytest.mark.parametrize(("n_arms", "dim"), [(2, 1), (5, 1), (5, 5), (6, 2), (40, 3), (300, 8)])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-5])
def test_kiefer_wolfowitz_the_value_is_the_dimension(
    n_arms: int, dim: int, tolerance: float
) -> None:
    features = random_features(n_arms, dim)
    is_design(g_optimal_design(features, tolerance=tolerance), features, dim, tolerance)


@pytest.mark.parametrize("dim", [1, 2, 4])
def test_steps_are_the_best_on_their_lines(dim: int) -> None:
    features = random_features(8, dim)
    weights = np.random.default_rng(1).dirichlet(np.ones(8))
    away = 0
    for arm, width in enumerate(widths(features, weights)):
        step = line_step(width, dim, weights[arm])
        end = -weights[arm] / (1 - weights[arm])
        assert step >= end
        away += end < step < 0

        def value(s: float, arm: int = arm) -> float:
            moved = (1 - s) * weights + s * np.eye(8)[arm]
            return float(np.linalg.slogdet(gram(moved, features))[1])

        for other in np.linspace(end, 0.99, 50):
            assert value(other) <= value(min(step, 0.999999)) + 1e-5  # s = 1 where d = 1
        if end < step < 0.99:
            assert value(step - 1e-4) < value(step) > value(step + 1e-4)
    assert away >= 1 or dim == 1  # where an away step is interior


def test_design_agrees_with_cvxpy_on_the_log_determinant() -> None:
    import cvxpy as cp

    for seed in range(3):
        features = random_features(12, 3, seed)
        weights = cp.Variable(12, nonneg=True)
        matrix = features.T @ cp.diag(weights) @ features
        problem = cp.Problem(cp.Maximize(cp.log_det(matrix)), [cp.sum(weights) == 1])
        problem.solve(solver=cp.CLARABEL)
        design = g_optimal_design(features, tolerance=1e-8)
        ours = np.linalg.slogdet(gram(design.weights, features))[1]
        assert ours == pytest.approx(problem.value, abs=1e-6)
        np.testing.assert_allclose(
            design.weights, weights.value, atol=1e-4
        )  # strictly concave here


@pytest.mark.parametrize("dim", [2, 3, 7])
def test_the_basis_has_the_uniform_design(dim: int) -> None:
    for scales in (np.ones(dim), np.geomspace(1e-4, 1e4, dim)):  # widths do not see scales
        np.testing.assert_allclose(g_optimal_design(np.diag(scales)).weights, 1 / dim, rtol=1e-12)


@pytest.mark.parametrize("n_arms", [3, 5, 12])
def test_points_spread_evenly_on_a_circle_have_the_uniform_design(n_arms: int) -> None:
    # John: Σ φφᵀ/K = I/2, where all widths are 2 ‖φ‖² = 2 = d
    angles = 2 * math.pi * np.arange(n_arms) / n_arms
    design = g_optimal_design(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    assert design.iterations == 0
    assert design.value == pytest.approx(2, rel=1e-12)
    np.testing.assert_allclose(design.weights, 1 / n_arms)


def test_points_inside_the_ellipsoid_get_no_weight() -> None:
    # away steps take them to 0 exactly; in one dimension only the longest are left
    features = np.concatenate([np.eye(3), 0.3 * random_features(20, 3).clip(-1, 1)])
    weights = g_optimal_design(features, tolerance=1e-9).weights
    np.testing.assert_allclose(weights[:3], 1 / 3, atol=1e-6)
    assert (weights[3:] == 0).all()
    line = g_optimal_design([[1.0], [-2.0], [0.5], [0.0]], tolerance=1e-9)
    np.testing.assert_allclose(line.weights, [0, 1, 0, 0], atol=1e-8)


def test_design_is_invariant_under_linear_maps() -> None:
    features = random_features(15, 4)
    mapped = features @ random_features(4, 4, seed=1)
    np.testing.assert_allclose(
        g_optimal_design(features).weights, g_optimal_design(mapped).weights, atol=1e-9
    )


def test_features_of_a_subspace_are_designed_for_in_their_span() -> None:
    plane = random_features(9, 2)
    features = plane @ random_features(2, 5, seed=1)
    design = g_optimal_design(features)
    is_design(design, features, 2, 1e-3)
    np.testing.assert_allclose(design.weights, g_optimal_design(plane).weights, atol=1e-9)


def test_whitening_makes_the_weighted_gram_matrix_the_identity() -> None:
    features = random_features(7, 3)
    weights = np.random.default_rng(1).dirichlet(np.ones(7))
    white = features @ whitening(features, weights)
    np.testing.assert_allclose(gram(weights, white), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(widths(features, weights), (white**2).sum(axis=1), rtol=1e-10)


def test_what_does_not_converge_says_so() -> None:
    with pytest.warns(RuntimeWarning, match="stopped after 2 steps"):
        design = g_optimal_design(random_features(50, 5), max_iterations=2)
    assert not design.converged
    assert design.value > 5 * 1.001


@pytest.mark.parametrize(
    ("features", "error", "match"),
    [
        (np.zeros((3, 2)), ValueError, "not zero"),
        ([1.0, 2.0], ValueError, "shape"),
        ([[1.0, np.nan]], ValueError, "finite"),
        ([["a"]], TypeError, "real numbers"),
    ],
)
def test_designs_refuse_bad_features(features: object, error: type, match: str) -> None:
    with pytest.raises(error, match=match):
        g_optimal_design(features)  # type: ignore[arg-type]


def test_designs_refuse_bad_numbers() -> None:
    with pytest.raises(ValueError, match="tolerance"):
        g_optimal_design(np.eye(2), tolerance=0.0)
    with pytest.raises(ValueError, match="max_iterations"):
        g_optimal_design(np.eye(2), max_iterations=-1)
