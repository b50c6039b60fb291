import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.stats
from scipy.optimize import minimize_scalar

from fenchel.bandits import OGD
from fenchel.bandits.sea import (
    FixedHessianQuadratic,
    LeastAbsolute,
    LeastSquares,
    LinearRegression,
    NoisyLinear,
    NoisyQuadratic,
    RandomCoordinate,
    RandomOrder,
    SEAInstance,
    SEAQuantities,
    rotating,
)
from fenchel.bandits.sea.losses import (
    AbsoluteResidual,
    EllipticLoss,
    LinearLoss,
    SphericalLoss,
    SquaredResiduals,
)
from fenchel.core import Learner, Loss, run
from fenchel.core.checks import FloatArray

# the games, and their means written out by hand

T = 6
CENTERS = rotating(T, 2, frequency=0.9, amplitude=0.4, offset=0.2)
SIGMAS = np.array([0.3, 0.0, 0.1, 0.5, 0.5, 0.2])
HESSIAN = np.array([[2.0, 0.6], [0.6, 0.5]])
FLAT = np.array([[1.0, 1.0], [1.0, 1.0]])
FEATURES = np.array([[1.0, 0.2], [-0.3, 0.8], [0.0, 0.0], [0.5, 0.5], [0.0, -1.2]])
TARGETS = np.array([0.3, -0.7, 2.0, 0.0, 0.4])
WEIGHTS = np.array(
    [
        [0.2, 0.2, 0.2, 0.2, 0.2],
        [0.5, 0.0, 0.1, 0.4, 0.0],
        [0.5, 0.0, 0.1, 0.4, 0.0],  # no change
        [0.0, 1.0, 0.0, 0.0, 0.0],  # no noise
        [0.0, 0.3, 0.3, 0.0, 0.4],
        [0.2, 0.2, 0.2, 0.2, 0.2],  # one seen before
    ]
)
Mean = Callable[[int, FloatArray], FloatArray]


@dataclass(frozen=True)
class Case:
    """A game in the plane, and its F_t up to a constant at points (..., 2), t = 1, 2, ..."""

    make: Callable[[], SEAInstance]
    mean: Mean


def squares(x: FloatArray) -> FloatArray:
    return 0.5 * (x @ FEATURES.T - TARGETS) ** 2


def quadratic_mean(hessian: FloatArray, centers: FloatArray) -> Mean:
    def mean(t: int, x: FloatArray) -> FloatArray:
        y = x - np.broadcast_to(centers, (T, 2))[t - 1]
        return 0.5 * np.einsum("...i,ij,...j->...", y, hessian, y)

    return mean


CASES = {
    "linear": Case(
        lambda: NoisyLinear(CENTERS, SIGMAS, radius=0.7), lambda t, x: x @ CENTERS[t - 1]
    ),
    "linear, all rounds alike": Case(
        lambda: NoisyLinear(CENTERS[0], 0.4), lambda t, x: x @ CENTERS[0]
    ),
    "spherical": Case(
        lambda: NoisyQuadratic(2 * CENTERS, SIGMAS, strong_convexity=1.7, radius=0.7),
        quadratic_mean(1.7 * np.eye(2), 2 * CENTERS),
    ),
    "elliptic": Case(
        lambda: FixedHessianQuadratic(CENTERS, 0.4, hessian=HESSIAN, radius=1.5),
        quadratic_mean(HESSIAN, CENTERS),
    ),
    "elliptic and flat": Case(
        lambda: FixedHessianQuadratic(CENTERS[0], SIGMAS, hessian=FLAT, radius=0.3),
        quadratic_mean(FLAT, CENTERS[0]),
    ),
    "regression": Case(
        lambda: LinearRegression(CENTERS, 0.5, radius=0.8), quadratic_mean(np.eye(2) / 4, CENTERS)
    ),
    "least squares": Case(
        lambda: LeastSquares(FEATURES, TARGETS, weights=WEIGHTS, radius=0.6),
        lambda t, x: squares(x) @ WEIGHTS[t - 1],
    ),
    "mini-batches": Case(
        lambda: LeastSquares(FEATURES, TARGETS, batch_size=[1, 2, 3, 4, 1, 9], radius=1.2),
        lambda t, x: squares(x).mean(axis=-1),
    ),
    "coordinate": Case(lambda: RandomCoordinate(2), lambda t, x: 0.25 * (x**2).sum(axis=-1)),
    "random order": Case(
        lambda: RandomOrder(FEATURES, TARGETS, radius=0.9), lambda t, x: squares(x).mean(axis=-1)
    ),
    "absolute": Case(
        lambda: LeastAbsolute(FEATURES, TARGETS, weights=WEIGHTS, radius=0.9),
        lambda t, x: abs(x @ FEATURES.T - TARGETS) @ WEIGHTS[t - 1],
    ),
}
every_case = pytest.mark.parametrize("name", CASES)
WITHOUT_MEMORY = [name for name in CASES if name != "random order"]
QUADRATIC = [name for name in CASES if name not in ("random order", "absolute")]


def start(instance: SEAInstance, n_replications: int = 1, seed: int = 0) -> SEAInstance:
    instance.reset(n_replications, np.random.default_rng(seed))
    return instance


def mean_gradient(mean: Mean, t: int, x: FloatArray) -> FloatArray:
    """∇F_t by central differences, which are exact for quadratics up to rounding."""
    h = 1e-4
    steps = h * np.eye(2)
    parts = [(mean(t, x + step) - mean(t, x - step)) / (2 * h) for step in steps]
    return np.stack(parts, axis=-1)


def circle(n: int, radius: float, phase: float = 0.0) -> FloatArray:
    angles = 2 * np.pi * np.arange(n) / n + phase
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def supremum(function: Callable[[FloatArray], FloatArray], radius: float) -> float:
    """max over the disc of a convex function of points (N, 2): on its border, by search."""

    def negative(angle: float) -> float:
        return -float(function(radius * np.array([[math.cos(angle), math.sin(angle)]]))[0])

    values = function(circle(240, radius))
    step = 2 * math.pi / 240
    peaks = np.flatnonzero((values >= np.roll(values, 1)) & (values >= np.roll(values, -1)))
    best = float(values.max())
    for k in peaks[np.argsort(values[peaks])[-3:]]:
        bounds = ((k - 1) * step, (k + 1) * step)
        found = minimize_scalar(negative, bounds=bounds, method="bounded", options={"xatol": 1e-9})
        best = max(best, -float(found.fun))
    return best


def square(v: FloatArray) -> FloatArray:
    return (v**2).sum(axis=-1)


def loss_value(loss: Loss, x: FloatArray) -> FloatArray:
    """f at points (R, d), from the definitions; shape (R,)."""
    if isinstance(loss, LinearLoss):
        return (loss.coefficients * x).sum(axis=-1)
    if isinstance(loss, SphericalLoss):
        return loss.curvature / 2 * square(x - loss.minimum)
    if isinstance(loss, EllipticLoss):
        y = (x - loss.minimum) @ loss.basis
        return 0.5 * (loss.weights * y**2).sum(axis=-1)
    if isinstance(loss, SquaredResiduals):
        residuals = np.einsum("rkd,rd->rk", loss.features, x) - loss.targets
        return 0.5 * (residuals**2).mean(axis=-1)
    assert isinstance(loss, AbsoluteResidual)
    return abs((loss.features * x).sum(axis=-1) - loss.targets)


class Family:
    """Gradients a_i (⟨a_i, x⟩ − b_i) of a finite family, and what it takes to enumerate it."""

    def __init__(self, features: Any, targets: Any, radius: float) -> None:
        self.a, self.b, self.radius = np.asarray(features), np.asarray(targets), radius

    def gradients(self, x: FloatArray) -> FloatArray:
        """(N, n, d) at points (N, d)."""
        return (x @ self.a.T - self.b)[..., None] * self.a

    def sup(self, function: Callable[[FloatArray], FloatArray]) -> float:
        if self.a.shape[1] == 1:  # a convex function on an interval
            return float(function(np.array([[-self.radius], [self.radius]])).max())
        return supremum(function, self.radius)

    def variance(self, p: FloatArray) -> float:
        def at(x: FloatArray) -> FloatArray:
            g = self.gradients(x)
            return square(g - np.einsum("n,xnd->xd", p, g)[:, None]) @ p

        return self.sup(at)

    def variance_inside(self, p: FloatArray) -> float:
        def at(i: int, x: FloatArray) -> FloatArray:
            g = self.gradients(x)
            return square(g[:, i] - np.einsum("n,xnd->xd", p, g))

        return sum(p[i] * self.sup(lambda x, i=i: at(i, x)) for i in np.flatnonzero(p))

    def movement(self, p: FloatArray, q: FloatArray) -> float:
        return self.sup(lambda x: square(np.einsum("n,xnd->xd", p - q, self.gradients(x))))


def per_round(instance: SEAInstance, rounds: int = T) -> tuple[FloatArray, FloatArray, FloatArray]:
    """E σ_t², E Σ_t², E σ̃_t² of each round, as differences of the sums."""
    q = instance.quantities(np.arange(1, rounds + 1))
    sums = (q.sigma2_cum, q.Sigma2_cum, q.sigma2_tilde_cum)
    return tuple(np.diff(np.append(0.0, s)) for s in sums)  # type: ignore[return-value]


# what is drawn


@every_case
def test_gradients_drawn_have_the_mean_and_the_variances_of_the_game(name: str) -> None:
    """Monte Carlo on a fine grid of the border, where the suprema are attained."""
    case, n = CASES[name], 4000
    game = start(case.make(), n)
    sigma2, _, tilde = per_round(game)
    grid = np.concatenate([circle(24, game.radius, phase=0.1), np.zeros((1, 2))])  # off the kinks
    everywhere = np.broadcast_to(grid, (n, *grid.shape))
    exact = game.quantities(T).exact
    largest = 0.0
    for t in range(1, T + 1):
        g = game.step(np.zeros((n, 2))).loss.gradient(everywhere)  # (R, N, 2)
        largest = max(largest, float(square(g).max()))
        mean = mean_gradient(case.mean, t, grid)
        error = g.std(axis=0) / math.sqrt(n)
        assert (abs(g.mean(axis=0) - mean) <= 5 * error + 1e-8).all()
        if name == "random order":
            continue  # σ_t is given the past: enumerated below
        deviations = square(g - mean)  # (R, N)
        error = 5 * deviations.std(axis=0) / math.sqrt(n) + 1e-9
        variance = deviations.mean(axis=0)
        assert (variance <= sigma2[t - 1] + error).all()
        inside = deviations.max(axis=1)
        inside_error = 5 * inside.std() / math.sqrt(n) + 1e-9
        assert inside.mean() <= tilde[t - 1] + inside_error
        if exact or name in ("regression", "mini-batches"):  # their σ is exact
            assert (variance + error).max() >= 0.97 * sigma2[t - 1]  # the grid's spacing
        if exact:
            assert inside.mean() + inside_error >= 0.97 * tilde[t - 1]
    G = game.gradient_bound
    assert math.sqrt(largest) <= G * (1 + 1e-12)
    if not name.startswith("elliptic"):  # there G is an upper bound
        assert math.sqrt(largest) >= (0.9 if name == "regression" else 0.98) * G


@every_case
def test_the_supremum_inside_the_expectation_is_the_larger_one(name: str) -> None:
    sigma2, _, tilde = per_round(CASES[name].make())
    assert (sigma2 <= tilde * (1 + 1e-12) + 1e-15).all()  # also where both are upper bounds


@pytest.mark.parametrize("dim", [1, 3, 8])
def test_variance_of_the_regression_in_other_dimensions(dim: int) -> None:
    n, radius = 60_000, 0.5
    w = np.linspace(1, 2, dim) / dim
    game = start(LinearRegression(w, 0.8, radius=radius), n)
    worst = -radius * w / np.linalg.norm(w)  # the point of the ball farthest from w
    loss = game.step(np.zeros((n, dim))).loss
    g = loss.gradient(np.tile(worst, (n, 1)))
    np.testing.assert_allclose(g.mean(axis=0), (worst - w) / (dim + 2), atol=5 / math.sqrt(n))
    deviations = square(g - (worst - w) / (dim + 2))
    assert abs(deviations.mean() - float(game.quantities(1).sigma2_cum)) <= 4 * (
        deviations.std() / math.sqrt(n)
    )
    q = game.quantities(1)
    assert not q.exact
    assert q.sigma2_tilde_cum >= q.sigma2_cum
    assert np.sqrt(square(g).max()) <= q.G
    assert isinstance(loss, SquaredResiduals)
    assert np.linalg.norm(loss.features, axis=-1).max() <= 1


@every_case
def test_regret_of_the_means_is_unbiased_for_the_regret_of_the_losses(name: str) -> None:
    case, n = CASES[name], 4000
    game = start(case.make(), n, seed=1)
    u = game.minimizer(T)
    comparator = game.comparator()
    learner = OGD(2, radius=game.radius, gradient_bound=game.gradient_bound)
    learner.reset(n, T, np.random.default_rng(2))
    realised = np.zeros(n)
    for _ in range(T):
        x = learner.act()
        feedback = game.step(x)
        comparator.observe(x)
        learner.update(feedback)
        np.testing.assert_array_equal(feedback.gradients, feedback.loss.gradient(x))
        realised += loss_value(feedback.loss, x) - loss_value(feedback.loss, np.tile(u, (n, 1)))
    difference = realised - comparator.regret()
    assert abs(difference.mean()) <= 4 * difference.std() / math.sqrt(n) + 1e-12


@every_case
def test_drawn_losses_are_as_curved_as_their_exp_concavity_says(name: str) -> None:
    n = 2000
    game = start(CASES[name].make(), n)
    alpha, rng = game.exp_concavity, np.random.default_rng(3)
    if name.startswith("linear") or name == "absolute":
        assert alpha == 0
        return
    assert alpha > 0
    for _ in range(T):
        loss = game.step(np.zeros((n, 2))).loss
        x, y = (
            circle(n, game.radius)[rng.permutation(n)] * rng.random((n, 1)) ** 0.1 for _ in "xy"
        )
        # exp(−α f) is concave: its value at the midpoint is at least the mean of the values
        low = np.logaddexp(-alpha * loss_value(loss, x), -alpha * loss_value(loss, y)) - np.log(2)
        assert (-alpha * loss_value(loss, (x + y) / 2) >= low - 1e-12).all()


@pytest.mark.parametrize("name", ["spherical", "coordinate"])
def test_exp_concavity_is_no_larger_than_it_may_be(name: str) -> None:
    # α ‖∇f‖² reaches the curvature along ∇f somewhere: twice the α is too much there
    game = start(CASES[name].make(), 2000)
    worst = 0.0
    for _ in range(T):
        loss = game.step(np.zeros((2000, 2))).loss
        x = circle(2000, game.radius)
        g = loss.gradient(x)
        h = 1e-4
        curvature = np.einsum("rd,rd->r", (loss.gradient(x + h * g) - g) / h, g)  # gᵀ ∇²f g
        worst = max(worst, float((square(g) ** 2 / np.maximum(curvature, 1e-12)).max()))
    assert 0.95 <= game.exp_concavity * worst <= 1 + 1e-6


@pytest.mark.parametrize("name", QUADRATIC)
def test_smoothness_and_strong_convexity_are_the_extreme_curvatures_of_the_means(
    name: str,
) -> None:
    case = CASES[name]
    game = case.make()
    eigenvalues = []
    for t in range(1, T + 1):
        columns = [
            mean_gradient(case.mean, t, e) - mean_gradient(case.mean, t, 0 * e) for e in np.eye(2)
        ]
        eigenvalues.append(np.linalg.eigvalsh(np.array(columns)))
    assert game.smoothness == pytest.approx(np.max(eigenvalues), abs=1e-7)
    assert game.strong_convexity == pytest.approx(np.min(eigenvalues), abs=1e-7)


def test_smoothness_of_the_random_order_is_that_of_the_worst_loss_left() -> None:
    game = CASES["random order"].make()
    assert game.smoothness == pytest.approx(1.44)  # ‖(0, −1.2)‖²
    assert game.strong_convexity == 0
    assert CASES["absolute"].make().smoothness == math.inf
    assert RandomOrder([[2.0]], [1.0]).strong_convexity == pytest.approx(4.0)  # one loss for ever


# the quantities


@every_case
def test_movement_is_the_supremum_over_the_disc(name: str) -> None:
    if name == "random order":
        return  # enumerated below
    case = CASES[name]
    game = case.make()
    Sigma2 = per_round(game)[1]
    assert Sigma2[0] == 0  # the first round is carried by G

    def moved(t: int, x: FloatArray) -> FloatArray:
        return square(mean_gradient(case.mean, t, x) - mean_gradient(case.mean, t - 1, x))

    for t in range(2, T + 1):
        expected = supremum(lambda x, t=t: moved(t, x), game.radius)
        if name == "absolute":  # an upper bound
            assert Sigma2[t - 1] >= expected - 1e-9
        else:
            assert Sigma2[t - 1] == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_sums_and_maxima_agree_at_numbers_and_arrays_of_rounds(name: str) -> None:
    game = CASES[name].make()
    sigma2, Sigma2, tilde = per_round(game)
    rounds = np.array([6, 1, 3])
    q = game.quantities(rounds)
    for k, t in enumerate(rounds):
        one = game.quantities(int(t))
        expected = {
            "sigma2_cum": sigma2[:t].sum(),
            "Sigma2_cum": Sigma2[:t].sum(),
            "sigma2_max": sigma2[:t].max(),
            "Sigma2_max": Sigma2[:t].max(),
            "sigma2_tilde_cum": tilde[:t].sum(),
            "Sigma2_over_rounds": (Sigma2[:t] / np.arange(1, t + 1)).sum(),
        }
        for field, value in expected.items():
            assert isinstance(getattr(one, field), float)
            assert getattr(one, field) == pytest.approx(value, rel=1e-12, abs=1e-15)
            assert getattr(q, field)[k] == pytest.approx(value, rel=1e-12, abs=1e-15)
        assert (game.gradient_bound, game.smoothness, 2 * game.radius) == (one.G, one.L, one.D)
    assert len(str(q).splitlines()) == 10


def test_quantities_of_the_shifting_games_in_closed_form() -> None:
    moves = np.append(0.0, square(np.diff(CENTERS, axis=0)))
    reach = (np.linalg.norm(CENTERS, axis=-1) + SIGMAS).max()
    expected: list[tuple[SEAInstance, Any, Any, float, float]] = [
        (NoisyLinear(CENTERS, SIGMAS), SIGMAS**2, moves, reach, 0.0),
        (
            NoisyQuadratic(CENTERS, SIGMAS, strong_convexity=3.0, radius=2.0),
            9 * SIGMAS**2,
            9 * moves,
            3 * (2 + reach),
            1 / (3 * (2 + reach) ** 2),
        ),
        (
            FixedHessianQuadratic(CENTERS, SIGMAS, hessian=np.diag([4.0, 1.0])),
            SIGMAS**2 * (16 + 1) / 2,
            np.append(0.0, square(np.diff(CENTERS, axis=0) * [4.0, 1.0])),
            4 * (1 + reach),
            1 / (4 * (1 + reach) ** 2),
        ),
    ]
    for game, sigma2, Sigma2, G, alpha in expected:
        ours = per_round(game)
        np.testing.assert_allclose(ours[0], sigma2, rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(ours[1], Sigma2, rtol=1e-9, atol=1e-15)
        np.testing.assert_allclose(ours[2], sigma2, rtol=1e-9, atol=1e-15)
        assert game.gradient_bound == pytest.approx(G, rel=1e-14)
        assert game.exp_concavity == pytest.approx(alpha, rel=1e-14)
        assert game.quantities(T).exact


@pytest.mark.parametrize("radius", [0.3, 2.0])
def test_quantities_of_least_squares_agree_with_search_over_the_disc(radius: float) -> None:
    family = Family(FEATURES, TARGETS, radius)
    game = LeastSquares(FEATURES, TARGETS, weights=WEIGHTS, radius=radius)
    sigma2, Sigma2, tilde = per_round(game)
    for t in range(T):
        assert sigma2[t] == pytest.approx(family.variance(WEIGHTS[t]), rel=1e-9, abs=1e-12)
        assert tilde[t] == pytest.approx(family.variance_inside(WEIGHTS[t]), rel=1e-9, abs=1e-12)
        if t:
            moved = family.movement(WEIGHTS[t], WEIGHTS[t - 1])
            assert Sigma2[t] == pytest.approx(moved, rel=1e-9, abs=1e-12)
    assert sigma2[3] == pytest.approx(0, abs=1e-15)  # one loss alone
    assert Sigma2[2] == 0  # no change
    norms = np.linalg.norm(family.gradients(circle(2000, radius)), axis=-1)
    assert game.gradient_bound == pytest.approx(norms.max(), rel=1e-5)


def test_least_squares_on_the_line_and_in_space_agree_with_brute_force() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(4, 1)), rng.normal(size=4)
    p = rng.dirichlet(np.ones(4), size=5)
    family = Family(a, b, 1.3)
    sigma2, Sigma2, tilde = per_round(LeastSquares(a, b, weights=p, radius=1.3), 5)
    for t in range(5):  # on the line a convex function is largest at an end
        assert sigma2[t] == pytest.approx(family.variance(p[t]), rel=1e-12)
        assert tilde[t] == pytest.approx(family.variance_inside(p[t]), rel=1e-12)
        if t:
            assert Sigma2[t] == pytest.approx(family.movement(p[t], p[t - 1]), rel=1e-12)
    a = rng.normal(size=(4, 3))
    sigma2, Sigma2, tilde = per_round(LeastSquares(a, b, weights=p, radius=1.3), 5)
    normals = rng.normal(size=(20_000, 3))
    g = Family(a, b, 1.3).gradients(1.3 * normals / np.linalg.norm(normals, axis=-1)[:, None])
    for t in range(5):
        mean = np.einsum("n,xnd->xd", p[t], g)
        deviations = square(g - mean[:, None])
        before = np.einsum("n,xnd->xd", p[t - 1], g)
        found = [(deviations @ p[t]).max(), square(mean - before).max()]
        found.append(deviations.max(axis=0) @ p[t])
        exact = [sigma2[t], Sigma2[t], tilde[t]]
        for k in (0, 1, 2) if t else (0, 2):
            assert 0.995 * exact[k] <= found[k] <= exact[k] * (1 + 1e-12)  # spacing ≈ 0.02


@pytest.mark.parametrize("dim", range(1, 7))
def test_the_random_coordinate_in_closed_form(dim: int) -> None:
    game = RandomCoordinate(dim)
    q = game.quantities(np.array([1, 50]))
    sigma2 = (1 / dim) * (1 - 1 / dim)
    np.testing.assert_allclose(q.sigma2_cum, [sigma2, 50 * sigma2], rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(q.Sigma2_cum, [0.0, 0.0])
    assert (q.G, q.D, q.exact) == (1.0, 2.0, True)
    assert float(q.L) == pytest.approx(1 / dim)
    assert game.strong_convexity == pytest.approx(1 / dim)
    assert game.exp_concavity == 1.0
    # attained at every unit vector: E x_i² − ‖x/d‖²
    x = np.linspace(1, 2, dim) / np.linalg.norm(np.linspace(1, 2, dim))
    gradients = np.diag(x)
    variance = square(gradients - gradients.mean(axis=0)).mean()
    assert variance == pytest.approx(sigma2, abs=1e-15)
    # the gradient variation: sup_x ‖x_i e_i − x_j e_j‖² = ‖e_i e_iᵀ − e_j e_jᵀ‖², 1 unless i = j
    outer = np.einsum("ni,nj->nij", np.eye(dim), np.eye(dim))
    differences = outer[:, None] - outer[None]
    variation = (np.linalg.norm(differences, ord=2, axis=(-2, -1)) ** 2).mean()
    assert variation == pytest.approx(1 - 1 / dim, abs=1e-15)


def test_mini_batches_divide_the_variance_by_their_size() -> None:
    a, b, radius = FEATURES[[0, 1, 4]], TARGETS[[0, 1, 4]], 0.8
    p = np.array([0.5, 0.3, 0.2])
    family = Family(a, b, radius)
    for K in (1, 2, 3):  # all Kᵗʰ powers of the family
        tuples = np.array(list(itertools.product(range(3), repeat=K)))
        chances = p[tuples].prod(axis=1)

        def deviations(x: FloatArray, tuples: Any = tuples) -> FloatArray:
            g = family.gradients(x)
            return square(g[:, tuples].mean(axis=2) - np.einsum("n,xnd->xd", p, g)[:, None])

        q = LeastSquares(a, b, weights=p, batch_size=K, radius=radius).quantities(1)
        expected = supremum(lambda x, c=chances, f=deviations: f(x) @ c, radius)  # type: ignore[misc]
        assert q.sigma2_cum == pytest.approx(expected, rel=1e-9)
        assert q.exact is (K == 1)
        within = sum(
            chance * supremum(lambda x, k=k, f=deviations: f(x)[:, k], radius)  # type: ignore[misc]
            for k, chance in enumerate(chances)
        )
        assert q.sigma2_tilde_cum >= within * (1 - 1e-9)
        if K == 1:
            assert q.sigma2_tilde_cum == pytest.approx(within, rel=1e-9)


def test_batches_have_their_sizes() -> None:
    game = start(LeastSquares(FEATURES, TARGETS, batch_size=[3, 1, 2]), 5)
    for K in (3, 1, 2):
        loss = game.step(np.zeros((5, 2))).loss
        assert isinstance(loss, SquaredResiduals)
        assert loss.features.shape == (5, K, 2)
        assert loss.targets.shape == (5, K)
    assert game.horizon == 3


@pytest.mark.parametrize("make", [LeastSquares, LeastAbsolute])
def test_losses_of_weight_zero_are_never_drawn(make: Any) -> None:
    n = 3000
    for p in WEIGHTS:
        game = start(make(FEATURES, np.arange(5.0), weights=p), n)
        drawn = game.step(np.zeros((n, 2))).loss.targets.ravel()
        counts = np.bincount(drawn.astype(int), minlength=5)
        assert not counts[p == 0].any()
        if (p > 0).sum() > 1:
            seen = p > 0
            assert scipy.stats.chisquare(counts[seen], n * p[seen]).pvalue > 1e-5


def test_without_noise_nothing_is_random() -> None:
    games: list[SEAInstance] = [
        NoisyLinear(CENTERS, 0.0),
        NoisyQuadratic(CENTERS, 0.0),
        FixedHessianQuadratic(CENTERS, 0.0, hessian=HESSIAN),
        LeastSquares(FEATURES[:1], TARGETS[:1]),
    ]
    for game in games:
        assert game.quantities(T).sigma2_cum == pytest.approx(0.0, abs=1e-20)
        assert game.quantities(T).sigma2_tilde_cum == pytest.approx(0.0, abs=1e-20)
        start(game, 3)
        for _ in range(T):
            g = game.step(np.full((3, 2), 0.1)).gradients
            np.testing.assert_allclose(g, np.tile(g[0], (3, 1)), rtol=1e-15)


@pytest.mark.parametrize("dim", [1, 4])
def test_games_have_every_dimension(dim: int) -> None:
    rng = np.random.default_rng(5)
    c = rng.normal(size=(T, dim))
    games: list[SEAInstance] = [
        NoisyLinear(c, 0.3),
        NoisyQuadratic(c, 0.3),
        FixedHessianQuadratic(c, 0.3, hessian=np.eye(dim)),
        LinearRegression(c, 0.3),
        LeastSquares(c, c[:, 0]),
        LeastAbsolute(c, c[:, 0]),
        RandomOrder(c, c[:, 0]),
        RandomCoordinate(dim),
    ]
    for game in games:
        learner = OGD(dim, radius=1.0, gradient_bound=game.gradient_bound)
        trace = run(learner, game, T, n_replications=3, seed=0)
        assert np.isfinite(trace.regret).all()
        assert trace.pathwise is not None
        assert trace.pathwise.tightest() <= 1
        assert game.dim == dim


# comparisons of the sums with other measures of variation (Sachs et al. 2022, lemma 13)


@pytest.mark.parametrize("name", ["plane", "line"])
def test_expected_gradient_variation_is_at_least_half_of_sigma_and_Sigma(name: str) -> None:  # noqa: N802
    # independent draws: E sup ≥ sup E = sup (σ_t²(x) + σ_{t−1}²(x) + Σ_t²(x)) ≥ the larger of two
    a = FEATURES[[0, 1, 4]] if name == "plane" else FEATURES[[0, 1, 4], 1:]
    b, p, radius = TARGETS[[0, 1, 4]], np.array([[0.6, 0.2, 0.2], [0.1, 0.8, 0.1]]), 0.7
    p = p[[0, 1, 1, 0]]
    family = Family(a, b, radius)
    sup = np.array([[family.movement(e, f) for f in np.eye(3)] for e in np.eye(3)])
    variation = sum(float(p[t] @ sup @ p[t - 1]) for t in range(1, 4))
    sigma2, Sigma2, _ = per_round(LeastSquares(a, b, weights=p, radius=radius), 4)
    assert variation >= 0.5 * (sigma2[1:].sum() + Sigma2.sum())


def test_expected_variation_about_the_mean_is_at_least_a_fifth_of_sigma_and_Sigma() -> None:  # noqa: N802
    # linear losses: E Σ ‖g_t − ḡ‖² = Σ ‖θ_t − θ̄‖² + (1 − 1/T) Σ σ_t², and Σ_t² is at most
    # 2 ‖θ_t − θ̄‖² + 2 ‖θ_{t−1} − θ̄‖²: at least ¼ Σ² + ½ σ² for T ≥ 2
    n = 4000
    for theta in (CENTERS, np.tile(CENTERS[0], (T, 1)), CENTERS * (-1.0) ** np.arange(T)[:, None]):
        game = start(NoisyLinear(theta, SIGMAS), n)
        g = np.stack([game.step(np.zeros((n, 2))).gradients for _ in range(T)])
        variation = square(g - g.mean(axis=0)).sum(axis=0)  # (R,)
        error = variation.std() / math.sqrt(n)
        expected = square(theta - theta.mean(axis=0)).sum() + (1 - 1 / T) * (SIGMAS**2).sum()
        assert abs(variation.mean() - expected) <= 4 * error
        q = game.quantities(T)
        assert expected >= (q.sigma2_cum + q.Sigma2_cum) / 5
    # other losses: E Σ sup ‖∇f_t − mean of all‖² ≥ Σ max{κ σ_t², A_t} with κ = (1 − 1/T)² and
    # Σ² ≤ 4 Σ A_t, so that it is at least κ/(1 + 4κ), which rises to 1/5 with T
    p = np.array([[0.6, 0.2, 0.2], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.6, 0.2, 0.2]])
    a, b = np.array([[1.0], [-0.4], [0.7]]), np.array([0.5, 0.9, -1.0])
    family, total = Family(a, b, 0.8), 0.0
    for drawn in itertools.product(range(3), repeat=4):
        mean = np.eye(3)[list(drawn)].mean(axis=0)
        sup = sum(family.movement(np.eye(3)[i], mean) for i in drawn)
        total += sup * p[np.arange(4), list(drawn)].prod()
    q = LeastSquares(a, b, weights=p, radius=0.8).quantities(4)
    kappa = (1 - 1 / 4) ** 2
    assert total >= kappa / (1 + 4 * kappa) * (q.sigma2_cum + q.Sigma2_cum)


# the random order model


def averages_over_permutations(family: Family, rounds: int) -> FloatArray:
    """Means of σ_t², Σ_t², σ̃_t² over all orders of the first passes, (3, rounds)."""
    n = len(family.b)
    seen: dict[Any, float] = {}

    def uniform(left: tuple[int, ...]) -> FloatArray:
        p = np.zeros(n)
        p[list(left)] = 1 / len(left)
        return p

    def cached(measure: Callable[..., float], *sets: tuple[int, ...]) -> float:
        key = (measure.__name__, *sets)
        if key not in seen:
            seen[key] = measure(*(uniform(left) for left in sets))
        return seen[key]

    total, count = np.zeros((3, rounds)), 0
    for order in itertools.permutations(range(n)):
        count += 1
        last: tuple[int, ...] | None = None
        for t in range(rounds):
            # the orders of later passes do not matter for averages within them: sets are uniform
            left = tuple(sorted(order[t % n :]))
            total[0, t] += cached(family.variance, left)
            total[2, t] += cached(family.variance_inside, left)
            if last is not None:
                total[1, t] += cached(family.movement, left, last)
            last = left
    return total / count


@pytest.mark.parametrize(("n", "dim"), [(1, 1), (2, 1), (3, 2), (4, 2), (6, 1)])
def test_enumerated_quantities_are_averages_over_all_permutations(n: int, dim: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=(n, dim)), rng.normal(size=n)
    rounds = 2 * n + 1
    game = RandomOrder(a, b, radius=0.8)
    expected = averages_over_permutations(Family(a, b, 0.8), rounds)
    np.testing.assert_allclose(per_round(game, rounds), expected, rtol=1e-8, atol=1e-12)
    assert game.quantities(rounds).exact


@pytest.mark.parametrize("dim", [1, 2])
def test_the_means_left_move_little_in_every_permutation(dim: int) -> None:
    # Sachs et al., lemma 11: Σ_t² ≤ 4G²/(T − t + 2)², for each order, at each point
    rng = np.random.default_rng(6)
    n, radius = 6, 0.9
    a, b = rng.normal(size=(n, dim)), rng.normal(size=n)
    G = RandomOrder(a, b, radius=radius).gradient_bound
    points = circle(60, radius) if dim == 2 else np.array([[-radius], [radius]])
    g = Family(a, b, radius).gradients(points)  # (N, n, d)
    assert np.linalg.norm(g, axis=-1).max() <= G
    orders = np.array(list(itertools.permutations(range(n))))  # (720, 6)
    assert len(orders) == 720
    for t in range(2, n + 1):
        now = g[:, orders[:, t - 1 :]].mean(axis=2)  # ∇F_t, (N, 720, d)
        before = g[:, orders[:, t - 2 :]].mean(axis=2)
        assert square(now - before).max() <= 4 * G**2 / (n - t + 2) ** 2 * (1 + 1e-12)


def test_sums_in_the_random_order_model_stay_below_the_bounds_of_the_paper() -> None:
    rng = np.random.default_rng(7)
    for n in (2, 5, 10):
        a, b = rng.normal(size=(n, 2)), rng.normal(size=n)
        game = RandomOrder(a, b)
        sigma2, Sigma2, tilde = per_round(game, n)
        t = np.arange(1, n + 1)
        slack = 1 + 1e-12
        assert (sigma2 <= n / (n - t + 1) * sigma2[0] * slack).all()
        assert (sigma2 <= tilde[0] * slack).all()
        assert Sigma2.sum() <= 8 * game.gradient_bound**2
        limit = n * sigma2[0] * math.log(2 * math.e**2 * tilde[0] / sigma2[0])
        assert sigma2.sum() <= limit
        # over P passes: every pass but the first also has the way back to F̄
        passes = per_round(game, 3 * n)
        np.testing.assert_allclose(passes[0], np.tile(sigma2, 3), rtol=1e-8, atol=1e-13)
        np.testing.assert_allclose(passes[1][n + 1 : 2 * n], Sigma2[1:], rtol=1e-7, atol=1e-13)
        np.testing.assert_allclose(passes[1][[n, 2 * n]], tilde[0], rtol=1e-8)


@pytest.mark.parametrize("n", [10, 11, 13])
def test_beyond_ten_losses_the_quantities_are_upper_bounds(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b, radius = rng.normal(size=(n, 1)), rng.normal(size=n), 0.7
    ends = np.array([[-radius], [radius]])  # on the line suprema are at the ends
    g = Family(a, b, radius).gradients(ends)[..., 0]  # (2, n)
    sets = ((np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1).astype(float)
    sizes = sets.sum(axis=1).astype(int)
    means = g @ (sets / sizes[:, None]).T  # (2, sets)
    deviations = (g[:, None] - means[..., None]) ** 2  # (2, sets, n)
    variance = ((deviations * sets).sum(axis=-1) / sizes).max(axis=0)
    inside = (deviations.max(axis=0) * sets).sum(axis=-1) / sizes
    expected = np.zeros((3, n))  # by round t of the first pass: m = n − t + 1 are left
    for t in range(1, n + 1):
        expected[0, t - 1] = variance[sizes == n - t + 1].mean()
        expected[2, t - 1] = inside[sizes == n - t + 1].mean()
    for t in range(2, n + 1):
        larger = np.flatnonzero(sizes == n - t + 2)
        moves = []
        for i in range(n):
            holding = larger[sets[larger, i] > 0]
            moves.append(((means[:, holding] - g[:, [i]]) / (n - t + 1)) ** 2)
        expected[1, t - 1] = np.concatenate(moves, axis=1).max(axis=0).mean()
    game = RandomOrder(a, b, radius=radius)
    ours = np.array(per_round(game, n))
    if n <= 10:
        np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-13)
    else:
        assert (ours >= expected * (1 - 1e-9)).all()
        assert ours[0, 0] == pytest.approx(expected[0, 0], rel=1e-9)  # the whole family
    assert game.quantities(n).exact is (n <= 10)
    # between two passes: from one loss to all of them
    way_back = ((g - g.mean(axis=1, keepdims=True)) ** 2).max(axis=0).mean()
    assert per_round(game, n + 1)[1][n] == pytest.approx(way_back, rel=1e-9)


def test_passes_are_uniform_permutations_and_independent() -> None:
    n = 6000
    game = start(RandomOrder(np.eye(3), np.arange(3.0), radius=1.0), n)
    drawn = []
    for _ in range(9):
        loss = game.step(np.zeros((n, 3))).loss
        assert isinstance(loss, SquaredResiduals)
        drawn.append(loss.targets[:, 0].astype(int))
    passes = np.array(drawn).reshape(3, 3, n)
    np.testing.assert_array_equal(np.sort(passes, axis=1)[:, :, 0], np.tile(range(3), (3, 1)))
    assert (np.sort(passes, axis=1) == np.arange(3)[None, :, None]).all()
    codes = passes[:, 0] * 9 + passes[:, 1] * 3 + passes[:, 2]
    for code in codes:
        counts = np.unique(code, return_counts=True)[1]
        assert len(counts) == 6
        assert scipy.stats.chisquare(counts).pvalue > 1e-5
    pairs = np.unique(codes[0] * 100 + codes[1], return_counts=True)[1]
    assert len(pairs) == 36
    assert scipy.stats.chisquare(pairs).pvalue > 1e-5


def test_regret_in_the_random_order_model_uses_the_losses_that_are_left() -> None:
    n = 4
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=(n, 2)), rng.normal(size=n)
    game = start(RandomOrder(a, b), 7)
    comparator = game.comparator()
    points = circle(7, 0.5)
    u = game.minimizer(1)
    np.testing.assert_allclose(u, game.minimizer(9), rtol=1e-12)
    expected = np.zeros(7)
    left = np.ones((7, n), dtype=bool)
    for t in range(2 * n + 1):
        if t % n == 0:
            left[:] = True
        loss = game.step(points).loss
        assert isinstance(loss, SquaredResiduals)
        comparator.observe(points)
        for r in range(7):
            values = 0.5 * (points[r] @ a.T - b) ** 2 - 0.5 * (u @ a.T - b) ** 2
            expected[r] += values[left[r]].mean()
            (picked,) = np.flatnonzero(b == loss.targets[r, 0])
            assert left[r, picked]
            left[r, picked] = False
        np.testing.assert_allclose(comparator.regret(), expected, atol=1e-12)


# comparators and regret


class Scripted(Learner):
    """Plays points (T, R, d), or (d,) in every round."""

    def __init__(self, points: FloatArray) -> None:
        self.points = points

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        self.n, self.t = n_replications, 0

    def act(self) -> FloatArray:
        self.t += 1
        if self.points.ndim == 1:
            return np.tile(self.points, (self.n, 1))
        return self.points[self.t - 1]

    def update(self, feedback: Any) -> None:
        pass


def script(radius: float, replications: int = 3) -> FloatArray:
    rng = np.random.default_rng(9)
    points = rng.normal(size=(T, replications, 2))
    lengths = radius * rng.random((T, replications, 1))
    return lengths * points / np.linalg.norm(points, axis=-1, keepdims=True)


def optimality_gap(mean: Mean, rounds: range, u: FloatArray, radius: float) -> float:
    """max_v Σ ⟨∇F_t(u), u − v⟩ over the disc, at least Σ F_t(u) − min Σ F_t for convex F."""
    g = sum(mean_gradient(mean, t, u) for t in rounds)
    return float(g @ u + radius * np.linalg.norm(g))


@pytest.mark.parametrize("name", [name for name in CASES if name != "absolute"])
def test_the_comparator_minimises_the_sum_of_the_means(name: str) -> None:
    case = CASES[name]
    game = case.make()
    for horizon in range(1, T + 1):
        u = game.minimizer(horizon)
        assert np.linalg.norm(u) <= game.radius * (1 + 1e-12)
        assert optimality_gap(case.mean, range(1, horizon + 1), u, game.radius) <= 1e-9
        total = sum(case.mean(t, u) - case.mean(t, 0 * u) for t in range(1, horizon + 1))
        assert game.total(u, horizon) == pytest.approx(float(total), abs=1e-12)


def test_comparators_agree_with_cvxpy() -> None:
    cp = pytest.importorskip("cvxpy")
    x = cp.Variable(2)
    residuals = FEATURES @ x - TARGETS
    objectives = {
        "linear": cp.sum(CENTERS @ x),
        "spherical": sum(1.7 / 2 * cp.sum_squares(x - 2 * c) for c in CENTERS),
        "elliptic": sum(0.5 * cp.quad_form(x - c, cp.psd_wrap(HESSIAN)) for c in CENTERS),
        "regression": sum(cp.sum_squares(x - w) / 8 for w in CENTERS),
        "least squares": 0.5 * WEIGHTS.sum(axis=0) @ cp.square(residuals),
        "random order": 0.5 * T / 5 * cp.sum_squares(residuals),
        "absolute": WEIGHTS.sum(axis=0) @ cp.abs(residuals),
    }
    for name, objective in objectives.items():
        game = CASES[name].make()
        problem = cp.Problem(cp.Minimize(objective), [cp.norm(x) <= game.radius])
        problem.solve(solver=cp.CLARABEL)
        u = game.minimizer(T)
        mean = CASES[name].mean
        ours, theirs = (sum(float(mean(t, v)) for t in range(1, T + 1)) for v in (u, x.value))
        assert ours == pytest.approx(theirs, abs=1e-6), name  # the peer's tolerance


def least_absolute_minimum(a: FloatArray, b: FloatArray, p: FloatArray, radius: float) -> float:
    """min Σ p_i |⟨a_i, x⟩ − b_i| over the disc, exact.

    A piecewise linear function is least at a crossing of two kinks, at an end of one on the border,
    or where the border is orthogonal to the slope of a piece.
    """
    candidates = [np.zeros(2)]
    for i, j in itertools.combinations(range(len(a)), 2):
        if abs(np.linalg.det(a[[i, j]])) > 1e-12:
            candidates.append(np.linalg.solve(a[[i, j]], b[[i, j]]))
    for i in range(len(a)):
        length = np.linalg.norm(a[i])
        if length > 0 and abs(b[i]) <= radius * length:
            unit = a[i] / length
            along, across = b[i] / length, np.array([-unit[1], unit[0]])
            rest = math.sqrt(radius**2 - along**2)
            candidates += [along * unit + rest * across, along * unit - rest * across]
    for signs in itertools.product([-1.0, 1.0], repeat=len(a)):
        slope = (p * np.array(signs)) @ a
        if slope.any():
            candidates.append(-radius * slope / np.linalg.norm(slope))
    points = np.array([c for c in candidates if np.linalg.norm(c) <= radius * (1 + 1e-12)])
    return float((abs(points @ a.T - b) @ p).min())


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1.0, 1e3])
def test_the_comparator_of_absolute_losses_is_a_minimiser_in_every_unit(unit: float) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(5, 2)), rng.normal(size=5)
        game = LeastAbsolute(unit * a, unit * b, radius=0.9)
        u = game.minimizer(3)
        best = least_absolute_minimum(a, b, np.full(5, 0.2), 0.9)
        value = abs(u @ a.T - b).mean()
        assert np.linalg.norm(u) <= 0.9 * (1 + 1e-12)
        assert value - best <= 1e-6  # 1e-8 in the class docstring, for losses of the order of 1
        expected = 3 * unit * (value - abs(b).mean())
        assert game.total(u, 3) == pytest.approx(expected, rel=1e-10, abs=1e-13 * unit)


def test_targets_out_of_reach_do_not_hide_the_others() -> None:
    # |⟨a, x⟩ − b| is linear on the ball for b beyond it: only −½ |x_1 − 0.3| is left to minimise
    for far in (1e3, 1e6, 1e8):
        game = LeastAbsolute([[0.0, 0.0], [1.0, 0.0]], [far, 0.3])
        assert game.total(game.minimizer(1), 1) == pytest.approx(-0.15, abs=1e-6)


@pytest.mark.parametrize("name", WITHOUT_MEMORY)
def test_regret_is_the_sum_of_the_means_over_that_of_the_best_point(name: str) -> None:
    case = CASES[name]
    game = case.make()
    points = script(game.radius)
    learner = Scripted(points)
    trace = run(learner, game, T, n_replications=3, checkpoints=range(1, T + 1), seed=0)
    for t in range(1, T + 1):
        own = sum(case.mean(s, points[s - 1]) for s in range(1, t + 1))
        best = sum(case.mean(s, game.minimizer(t)) for s in range(1, t + 1))
        np.testing.assert_allclose(trace.regret[:, t - 1], own - best, atol=1e-11)


@pytest.mark.parametrize("name", WITHOUT_MEMORY)
def test_regret_against_other_points_is_the_sum_of_differences(name: str) -> None:
    case = CASES[name]
    game = case.make()
    points = script(game.radius)
    sequence = script(game.radius, 1)[::-1, 0]
    for comparators in (sequence, sequence[0], sequence[:4]):
        other = game.against(comparators)
        rounds = T if comparators.ndim == 1 else len(comparators)
        trace = run(
            Scripted(points), other, rounds, n_replications=3, checkpoints=range(1, rounds + 1)
        )
        u = np.broadcast_to(comparators, (rounds, 2))
        expected = np.cumsum(
            [case.mean(t, points[t - 1]) - case.mean(t, u[t - 1]) for t in range(1, rounds + 1)],
            axis=0,
        )
        np.testing.assert_allclose(trace.regret, expected.T, atol=1e-12)
        lengths = np.append(0, np.linalg.norm(np.diff(u, axis=0), axis=-1)).cumsum()
        np.testing.assert_allclose(other.path_length(np.arange(1, rounds + 1)), lengths, atol=1e-15)
        assert other.path_length(rounds) == pytest.approx(lengths[-1])
    assert game.comparators is None  # the game itself is as before
    assert game.path_length(T) == 0


@pytest.mark.parametrize("name", QUADRATIC)
def test_minimizers_minimise_each_mean(name: str) -> None:
    case = CASES[name]
    game = case.make()
    dynamic = game.against("minimizers")
    u = dynamic.comparators
    assert u is not None
    assert u.ndim == (1 if game.horizon is None else 2)
    u = np.broadcast_to(u, (T, 2))
    for t in range(1, T + 1):
        assert np.linalg.norm(u[t - 1]) <= game.radius * (1 + 1e-12)
        assert optimality_gap(case.mean, range(t, t + 1), u[t - 1], game.radius) <= 1e-9
    learner = OGD(2, radius=game.radius, gradient_bound=game.gradient_bound)
    static, moving = (run(learner, g, T, n_replications=5, seed=3) for g in (game, dynamic))
    assert (moving.regret >= static.regret - 1e-12).all()
    assert (moving.regret >= -1e-12).all()


def test_minimizers_of_means_with_one_flat_direction_do_not_wander_along_it() -> None:
    # the means do not depend on the direction e: minimisers are many, and the least of them move
    # by hundredths; a path length is of use only if rounding does not pick among them
    rounds = 50
    for seed in range(3):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(2, 3)), 0.1 * rng.normal(size=2)
        p = np.linspace(0.4, 0.6, rounds)
        game = LeastSquares(a, b, weights=np.stack([p, 1 - p], axis=1))
        least = np.linalg.lstsq(a, b, rcond=None)[0]  # solves both equations: always a minimiser
        assert np.linalg.norm(least) < 1
        dynamic = game.against("minimizers")
        assert dynamic.path_length(rounds) <= 1e-6


@pytest.mark.parametrize("seed", [0, 12, 16])
def test_means_with_a_flat_direction_are_not_strongly_convex(seed: int) -> None:
    factor = np.random.default_rng(seed).normal(size=(2, 5))
    games: list[SEAInstance] = [
        LeastSquares(factor, np.zeros(2)),
        FixedHessianQuadratic(np.zeros(5), 0.1, hessian=factor.T @ factor),
    ]
    for game in games:
        assert game.strong_convexity == 0.0


def test_the_best_point_has_no_regret_after_many_rounds() -> None:
    # sums of 2·10⁴ terms of the order of 100: rounding of the sum, 1e-16 · 2e6 · √2e4, is left
    rounds = 20_000
    mu = 100 + rotating(rounds, 2, frequency=0.3)
    game = NoisyQuadratic(mu, 1.0, radius=1.0)
    u = game.minimizer(rounds)
    trace = run(Scripted(u), game, rounds, seed=0, checkpoints=[rounds])
    assert abs(trace.regret[0, 0]) <= 1e-7
    steps = run(Scripted(u), game.against(u), rounds, seed=0, checkpoints=[1, rounds])
    np.testing.assert_array_equal(steps.regret, 0.0)


# end to end


@every_case
def test_gradient_descent_plays_every_game_within_its_bounds(name: str) -> None:
    game = CASES[name].make()
    learner = OGD(2, radius=game.radius, gradient_bound=game.gradient_bound)
    trace = run(learner, game, T, n_replications=300, seed=5)
    assert np.isfinite(trace.regret).all()
    assert trace.pathwise is not None
    assert trace.pathwise.tightest() <= 1
    assert trace.bound_ratio().high <= 1
    again = run(learner, game, T, n_replications=300, seed=5)
    np.testing.assert_array_equal(again.regret, trace.regret)
    fresh = CASES[name].make()
    np.testing.assert_array_equal(
        run(learner, fresh, T, n_replications=300, seed=5).regret, trace.regret
    )
    other = run(learner, game, T, n_replications=300, seed=6)
    # at x_1 = 0 all losses of the random coordinate are flat: nothing happens there
    assert np.array_equal(other.regret, trace.regret) is (name == "coordinate")
    # whole blocks of a longer run are those of a shorter one
    short = run(learner, game, T, n_replications=256, seed=5)
    np.testing.assert_array_equal(short.regret, trace.regret[:256])


@every_case
def test_games_draw_from_their_own_generator_alone(name: str) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    games = [start(CASES[name].make(), 4, seed=7) for _ in range(2)]
    for _ in range(T):
        first, second = (game.step(np.zeros((4, 2))) for game in games)
        np.testing.assert_array_equal(first.gradients, second.gradients)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    again = start(games[0], 4, seed=7)
    one = [again.step(np.zeros((4, 2))).gradients for _ in range(T)]
    start(games[1], 4, seed=7)
    rng = np.random.default_rng(0)  # the losses do not depend on the points played
    for gradients in one:
        loss = games[1].step(0.1 * rng.random((4, 2))).loss
        np.testing.assert_array_equal(loss.gradient(np.zeros((4, 2))), gradients)


# errors


@pytest.mark.parametrize("name", [n for n in CASES if CASES[n].make().horizon is not None])
@pytest.mark.parametrize("horizon", [0, -1, T + 1, [0, 3], [3, T + 1]])
def test_quantities_beyond_the_rounds_of_the_game_are_refused(name: str, horizon: Any) -> None:
    with pytest.raises(ValueError, match="horizon"):
        CASES[name].make().quantities(np.array(horizon) if np.ndim(horizon) else horizon)


@pytest.mark.parametrize("name", ["linear", "least squares", "absolute"])
@pytest.mark.parametrize(
    "method",
    [
        lambda game, horizon: game.minimizer(horizon),
        lambda game, horizon: game.total(np.zeros(2), horizon),
        lambda game, horizon: game.path_length(horizon),
    ],
    ids=["minimizer", "total", "path_length"],
)
def test_rounds_beyond_those_of_the_game_are_refused(
    name: str, method: Callable[[SEAInstance, int], Any]
) -> None:
    game = CASES[name].make()
    game = game.against(script(game.radius, 1)[:, 0])
    for horizon in (0, -1, T + 1):
        with pytest.raises(ValueError, match="horizon"):
            method(game, horizon)


def test_more_rounds_than_the_game_has_are_refused() -> None:
    game = NoisyLinear(CENTERS, 0.1)
    learner = OGD(2, radius=1.0, gradient_bound=2.0)
    with pytest.raises(ValueError, match="horizon must be at most 6"):
        run(learner, game, T + 1)
    with pytest.raises(ValueError, match="horizon must be at most 4"):
        run(learner, game.against(np.zeros((4, 2))), 5)
    assert game.against(np.zeros((9, 2))).horizon == 6
    assert NoisyLinear(CENTERS[0], 0.1).against(np.zeros((9, 2))).horizon == 9


@pytest.mark.parametrize(("dim", "radius", "name"), [(3, 1.0, "dim"), (2, 1.5, "radius")])
def test_learners_of_another_dimension_or_radius_are_refused(
    dim: int, radius: float, name: str
) -> None:
    game = NoisyLinear(CENTERS, 0.1)
    with pytest.raises(ValueError, match=name):
        run(OGD(dim, radius=radius, gradient_bound=2.0), game, 3)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_points_that_are_not_finite_are_named(bad: float) -> None:
    points = np.zeros((T, 3, 2))
    points[2, 1, 0] = bad
    with pytest.raises(FloatingPointError, match=r"round 3, replication 1.*not finite"):
        run(Scripted(points), NoisyLinear(CENTERS, 0.1), T, n_replications=3)


def test_points_off_the_domain_or_of_another_shape_are_refused() -> None:
    game = NoisyLinear(CENTERS, 0.1, radius=0.5)
    points = np.zeros((T, 3, 2))
    points[2, 1] = [0.3, 0.41]
    with pytest.raises(ValueError, match=r"round 3: action.*radius 0\.5.*replication 1"):
        run(Scripted(points), game, T, n_replications=3)
    points[2, 1] = [0.3, 0.4]  # on the border
    run(Scripted(points), game, T, n_replications=3)
    for shape in ((3, 3), (2, 2), (3,), (3, 2, 1)):
        start(game, 3)
        with pytest.raises(ValueError, match="action"):
            game.step(np.zeros(shape))


@pytest.mark.parametrize(
    ("comparators", "error"),
    [
        ("best", ValueError),
        (None, TypeError),
        ([0.1, math.nan], ValueError),
        ([0.8, 0.8], ValueError),
        (np.array([[0.0, 0.0], [0.0, 1.1]]), ValueError),
        ([0.1, 0.2, 0.3], ValueError),
        (np.zeros((2, 2, 2)), ValueError),
        (np.zeros((0, 2)), ValueError),
    ],
)
def test_comparators_are_points_of_the_domain(comparators: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="comparators"):
        NoisyLinear(CENTERS, 0.1).against(comparators)


def test_absolute_losses_have_no_minimizers_to_name() -> None:
    with pytest.raises(ValueError, match="LeastAbsolute cannot be"):
        CASES["absolute"].make().against("minimizers")


PLANE = [0.1, 0.2]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: NoisyLinear(0.1, 0.1), "theta"),
        (lambda: NoisyLinear([], 0.1), "theta"),
        (lambda: NoisyLinear(np.zeros((0, 2)), 0.1), "theta"),
        (lambda: NoisyLinear(np.zeros((1, 2, 2)), 0.1), "theta"),
        (lambda: NoisyLinear([0.1, math.nan], 0.1), "theta"),
        (lambda: NoisyLinear(PLANE, -0.1), "sigma"),
        (lambda: NoisyLinear(PLANE, math.nan), "sigma"),
        (lambda: NoisyLinear(PLANE, math.inf), "sigma"),
        (lambda: NoisyLinear(PLANE, [[0.1]]), "sigma"),
        (lambda: NoisyLinear(PLANE, []), "sigma"),
        (lambda: NoisyLinear(CENTERS, np.zeros(T + 1)), "sigma"),
        (lambda: NoisyLinear(PLANE, 0.1, radius=0.0), "radius"),
        (lambda: NoisyLinear(PLANE, 0.1, radius=math.inf), "radius"),
        (lambda: NoisyQuadratic([0.1, math.inf], 0.1), "mu"),
        (lambda: NoisyQuadratic(PLANE, 0.1, strong_convexity=0.0), "strong_convexity"),
        (lambda: NoisyQuadratic(PLANE, 0.1, strong_convexity=math.nan), "strong_convexity"),
        (lambda: FixedHessianQuadratic(PLANE, 0.1, hessian=np.eye(3)), "hessian"),
        (lambda: FixedHessianQuadratic(PLANE, 0.1, hessian=[[1, 2], [0, 1]]), "hessian"),
        (lambda: FixedHessianQuadratic(PLANE, 0.1, hessian=[[1, 2], [2, 1]]), "hessian"),
        (lambda: FixedHessianQuadratic(PLANE, 0.1, hessian=np.zeros((2, 2))), "hessian"),
        (lambda: FixedHessianQuadratic(PLANE, 0.1, hessian=[[math.nan, 0], [0, 1]]), "hessian"),
        (lambda: LinearRegression(PLANE, -0.1), "noise"),
        (lambda: LinearRegression(PLANE, math.nan), "noise"),
        (lambda: LinearRegression([math.nan, 0.0], 0.1), "parameter"),
        (lambda: RandomCoordinate(0), "dim"),
    ],
)
def test_arguments_of_the_shifting_games_are_checked(make: Callable[[], Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make()


@pytest.mark.parametrize("make", [LeastSquares, LeastAbsolute, RandomOrder])
@pytest.mark.parametrize(
    ("features", "targets", "name"),
    [
        (FEATURES[0], TARGETS[0], "features"),
        (FEATURES, TARGETS[:3], "targets"),
        (np.full((5, 2), math.nan), TARGETS, "features"),
        (FEATURES, np.full(5, math.inf), "targets"),
        (np.zeros((2, 2)), np.ones(2), "features"),
        (np.zeros((0, 2)), np.ones(0), "features"),
        (np.zeros((2, 0)), np.ones(2), "features"),
    ],
)
def test_finite_families_are_checked(make: Any, features: Any, targets: Any, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make(features, targets)


@pytest.mark.parametrize("make", [LeastSquares, LeastAbsolute])
@pytest.mark.parametrize(
    "weights",
    [
        np.full(5, 0.21),
        np.array([0.5, 0.6, -0.1, 0.0, 0.0]),
        np.full(4, 0.25),
        np.array([math.nan, 0.25, 0.25, 0.25, 0.25]),
        np.vstack([WEIGHTS, np.full(5, 0.19)]),
        np.zeros((0, 5)),
        np.full((1, 1, 5), 0.2),
    ],
)
def test_weights_are_distributions(make: Any, weights: FloatArray) -> None:
    with pytest.raises(ValueError, match="weights"):
        make(FEATURES, TARGETS, weights=weights)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, [1, 0], [], [[1]], "two", None, math.nan])
def test_batch_sizes_are_positive_integers(size: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="batch_size"):
        LeastSquares(FEATURES, TARGETS, batch_size=size)
    with pytest.raises(ValueError, match=r"batch_size.*\[2, 6\]"):
        LeastSquares(FEATURES, TARGETS, weights=WEIGHTS, batch_size=[1, 2])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: NoisyLinear("ab", 0.1), "theta"),
        (lambda: NoisyLinear(PLANE, "a"), "sigma"),
        (lambda: NoisyLinear(PLANE, 0.1, radius="1"), "radius"),
        (lambda: NoisyQuadratic(PLANE, 0.1, strong_convexity=True), "strong_convexity"),
        (lambda: LinearRegression(PLANE, None), "noise"),
        (lambda: LeastSquares([["a"]], [1.0]), "features"),
        (lambda: RandomCoordinate(2.0), "dim"),
    ],
)
def test_arguments_of_another_type_are_refused(make: Callable[[], Any], name: str) -> None:
    with pytest.raises(TypeError, match=name):
        make()


def test_arguments_are_copied() -> None:
    theta, sigma, weights = CENTERS.copy(), SIGMAS.copy(), WEIGHTS.copy()
    a, b, hessian, points = FEATURES.copy(), TARGETS.copy(), HESSIAN.copy(), CENTERS / 9
    games: list[SEAInstance] = [
        NoisyLinear(theta, sigma),
        FixedHessianQuadratic(theta, sigma, hessian=hessian),
        LeastSquares(a, b, weights=weights),
        LeastAbsolute(a, b, weights=weights),
        RandomOrder(a, b),
    ]
    games.append(games[0].against(points))
    before = [(str(g.quantities(T)), g.path_length(T)) for g in games]
    for array in (theta, sigma, weights, a, b, hessian, points):
        array += 7.0
    assert [(str(g.quantities(T)), g.path_length(T)) for g in games] == before


def test_quantities_start_where_they_are_told_to() -> None:
    q = SEAQuantities.of_rounds(
        3, np.array([1.0, 2, 3]), np.array([math.nan, 4, 8]), np.ones(3), G=1.0, L=2.0, D=3.0
    )
    assert q.Sigma2_cum == 12  # the entry of round 1 is not read
    assert q.Sigma2_over_rounds == 4 / 2 + 8 / 3
    assert (q.sigma2_cum, q.sigma2_max, q.Sigma2_max, q.sigma2_tilde_cum) == (6, 3, 8, 3)
