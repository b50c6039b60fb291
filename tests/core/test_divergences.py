import math
import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr

from fenchel.core.checks import FloatArray
from fenchel.core.divergences import (
    KL,
    ChiSquared,
    FDivergence,
    JensenShannon,
    SquaredHellinger,
    TotalVariation,
)

DIVERGENCES: list[FDivergence] = [
    KL(),
    ChiSquared(),
    TotalVariation(),
    SquaredHellinger(),
    JensenShannon(),
]
ON_THE_LINE = (ChiSquared, TotalVariation)  # f is finite for w < 0 too
every_divergence = pytest.mark.parametrize("d", DIVERGENCES, ids=lambda d: type(d).__name__)

W = np.concatenate([np.geomspace(1e-6, 1e6, 241), [0.0, 1.0]])
METHODS = ("f", "derivative", "conjugate", "positive_conjugate", "ratio")


def inside(d: FDivergence, n: int = 201, positive: bool = False) -> FloatArray:
    """Points y in the interior of dom f*, or of dom f_p* if `positive`."""
    low = max(d.domain[0], -6.0) if not positive else -6.0
    return np.linspace(low, min(d.domain[1], 4.0), n + 2)[1:-1]


def distributions(n: int, k: int, seed: int) -> tuple[FloatArray, FloatArray]:
    p, q = np.random.default_rng(seed).dirichlet(np.ones(k), size=(2, n))
    return p, q


@every_divergence
def test_generator_is_convex_vanishes_at_one_and_has_the_stated_derivative(d: FDivergence) -> None:
    assert d.f(1.0) == 0
    w = np.random.default_rng(0).exponential(2.0, size=(2, 1000))
    assert (d.f(w.mean(axis=0)) <= d.f(w).mean(axis=0) + 1e-12).all()
    smooth = w[abs(w - 1) > 1e-3]
    step = 1e-6 * smooth
    difference = (d.f(smooth + step) - d.f(smooth - step)) / (2 * step)
    np.testing.assert_allclose(d.derivative(smooth), difference, atol=1e-7)  # O(step²) + ε/step
    slopes = d.derivative(np.geomspace(1e-6, 1e6, 1000))
    assert (np.diff(slopes) >= 0).all()
    assert (slopes <= d.domain[1]).all()
    assert d.derivative(math.inf) == pytest.approx(d.domain[1], rel=1e-12)


@every_divergence
def test_fenchel_young_inequality_with_equality_at_the_derivative(d: FDivergence) -> None:
    w, y = W[:, None], np.concatenate([inside(d), inside(d, positive=True), [8.0]])
    slack = d.f(w) + d.positive_conjugate(y) - w * y
    assert (slack >= -1e-15 * (1 + abs(w * y))).all()
    assert (d.conjugate(y) >= d.positive_conjugate(y)).all()
    w = np.geomspace(1e-4, 1e4, 200)
    y = d.derivative(w)
    for conjugate in (d.conjugate, d.positive_conjugate):
        np.testing.assert_allclose(w * y - d.f(w), conjugate(y), rtol=1e-10, atol=1e-14)


@every_divergence
def test_conjugates_are_the_suprema_that_define_them(d: FDivergence) -> None:
    lowest = -50.0 if isinstance(d, ON_THE_LINE) else 0.0  # of dom f; the maximiser is below 50
    for conjugate, low, points in (
        (d.conjugate, lowest, inside(d, 40)),
        (d.positive_conjugate, 0.0, inside(d, 40, positive=True)),
    ):
        for y in points[d.ratio(points) < 50]:
            loss = partial(lambda y, w: d.f(w) - w * y, y)
            search = minimize_scalar(loss, bounds=(low, 50.0), options={"xatol": 1e-11})
            supremum = -min(search.fun, loss(low))
            # the search ends within √ε of the maximiser: squared where smooth, times 6 at a kink
            np.testing.assert_allclose(conjugate(y), supremum, atol=1e-7)


@every_divergence
def test_ratio_maximises_and_is_the_derivative_of_the_positive_conjugate(d: FDivergence) -> None:
    y = inside(d, 400, positive=True)
    y = y[(abs(y + 0.5) > 1e-3) & (abs(y + 2) > 1e-3)]  # away from the kinks
    y = y[d.domain[1] - y > 0.01]
    w = d.ratio(y)
    assert (w >= 0).all()
    np.testing.assert_allclose(w * y - d.f(w), d.positive_conjugate(y), atol=1e-12, rtol=1e-12)
    step = 1e-6
    difference = (d.positive_conjugate(y + step) - d.positive_conjugate(y - step)) / (2 * step)
    np.testing.assert_allclose(w, difference, rtol=1e-6, atol=1e-8)  # O(step² f*''') + ε/step
    positive = w > 0
    if not isinstance(d, TotalVariation):  # f' inverts w* where it is smooth
        np.testing.assert_allclose(d.derivative(w[positive]), y[positive], atol=1e-12)


@every_divergence
def test_biconjugate_is_the_generator(d: FDivergence) -> None:
    w = np.geomspace(0.05, 5, 40)
    y = np.linspace(max(d.domain[0], -50.0), min(d.domain[1], 20.0), 200_001)
    conjugate = d.conjugate(y)
    finite = np.isfinite(conjugate)
    biconjugate = (w[:, None] * y[finite] - conjugate[finite]).max(axis=-1)
    assert (biconjugate <= d.f(w) + 1e-12).all()
    np.testing.assert_allclose(biconjugate, d.f(w), atol=1e-6)  # spacing² f*'' /8


@every_divergence
def test_values_beyond_the_domain_are_infinite_and_never_nan(d: FDivergence) -> None:
    y = np.array([-math.inf, -1e300, -1e3, -2.0, -0.5, 0.0, 0.3, 0.5, 1.0, 1e3, 1e300, math.inf])
    upper = d.domain[1]
    for method in METHODS[2:]:
        value = getattr(d, method)(y)
        assert not np.isnan(value).any()
        assert (value[y > upper] == math.inf).all()
    assert np.isfinite(d.positive_conjugate(y[(y < upper) & (y < 700)])).all()
    assert np.isfinite(d.positive_conjugate(upper)) == isinstance(d, TotalVariation)
    assert d.positive_conjugate(-math.inf) == pytest.approx(-d.f(0.0))  # sup at w = 0
    w = np.array([0.0, 5e-324, 1e-300, 1.0, 1e300, 1e308, math.inf])
    assert not np.isnan(d.f(w)).any()
    assert not np.isnan(d.derivative(w)).any()
    assert (d.f(np.array([-1.0, -math.inf])) == math.inf).all() != isinstance(d, ON_THE_LINE)
    if np.isfinite(upper):  # f grows linearly: no overflow before w itself
        assert d.f(1e307) == pytest.approx(upper * 1e307)


def test_digits_survive_next_to_one() -> None:
    gap = 1e-9  # f(1 + δ) = f''(1) δ²/2 up to O(δ), after f'(1)(w − 1) is taken off
    second_derivative = {"ChiSquared": 2.0, "SquaredHellinger": 0.5, "JensenShannon": 0.25}
    p, q = np.array([0.5 + gap / 2, 0.5 - gap / 2]), np.array([0.5, 0.5])
    exact = ((p - q) ** 2 / q).sum()
    for d in (KL(), ChiSquared(), SquaredHellinger(), JensenShannon()):
        curvature = second_derivative.get(type(d).__name__, 1.0)
        np.testing.assert_allclose(d.divergence(p, q), curvature * exact / 2, rtol=1e-6)
        if d.derivative(1.0) == 0:
            w = 1 + gap * np.arange(1, 8) / 7
            np.testing.assert_allclose(d.derivative(w), curvature * (w - 1), rtol=2 * gap)
            assert d.conjugate(1e-20) == 1e-20  # f*(y) = y + O(y²)


@every_divergence
def test_divergence_is_the_mean_of_the_generator_and_vanishes_at_equality_only(
    d: FDivergence,
) -> None:
    p, q = distributions(200, 6, seed=1)
    value = d.divergence(p, q)
    assert value.shape == (200,)
    assert (value > 0).all()
    np.testing.assert_allclose(value, (q * d.f(p / q)).sum(axis=-1), rtol=1e-10)
    np.testing.assert_array_equal(d.divergence(p, p), 0)
    np.testing.assert_allclose(d.divergence(p.T, q.T, axis=0), value, rtol=1e-13)
    np.testing.assert_allclose(d.divergence(p, q[0])[0], value[0], rtol=1e-13)  # broadcast


def test_divergences_in_closed_form() -> None:
    p, q = distributions(100, 5, seed=2)
    np.testing.assert_allclose(KL().divergence(p, q), rel_entr(p, q).sum(axis=-1), rtol=1e-10)
    np.testing.assert_allclose(
        JensenShannon().divergence(p, q), jensenshannon(p, q, axis=-1) ** 2, rtol=1e-10
    )
    np.testing.assert_allclose(
        ChiSquared().divergence(p, q), (p**2 / q).sum(axis=-1) - 1, rtol=1e-10, atol=1e-12
    )
    overlap = np.minimum(p, q).sum(axis=-1)
    np.testing.assert_allclose(TotalVariation().divergence(p, q), 1 - overlap, rtol=1e-10)
    affinity = np.sqrt(p * q).sum(axis=-1)
    np.testing.assert_allclose(SquaredHellinger().divergence(p, q), 2 - 2 * affinity, atol=1e-14)
    # Bernoulli(1) against Bernoulli(½): KL = ln 2, χ² = 1, TV = ½, H² = 2 − √2
    point, coin = np.array([1.0, 0.0]), np.array([0.5, 0.5])
    for d, value in zip(DIVERGENCES, (math.log(2), 1.0, 0.5, 2 - math.sqrt(2)), strict=False):
        assert d.divergence(point, coin) == pytest.approx(value, rel=1e-15)


@every_divergence
def test_mass_where_the_reference_has_none_costs_the_slope_at_infinity(d: FDivergence) -> None:
    p, q = np.array([0.3, 0.7, 0.0, 0.0]), np.array([0.0, 0.6, 0.4, 0.0])
    expected = 0.3 * d.domain[1] + 0.6 * d.f(0.7 / 0.6) + 0.4 * d.f(0.0)
    assert d.divergence(p, q) == pytest.approx(expected)
    disjoint = d.divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0]))  # the greatest value
    assert disjoint == pytest.approx(d.domain[1] + d.f(0.0))
    if np.isfinite(d.domain[1]):  # and then the limit is reached continuously
        nearly = d.divergence(np.array([1.0, 0.0]), np.array([1e-310, 1.0]))
        assert nearly == pytest.approx(disjoint)
    assert np.isfinite(KL().divergence(np.array([1.0, 0.0]), np.array([1e-310, 1.0])))


@every_divergence
def test_variational_bound_is_attained_at_the_derivative_of_the_ratio(d: FDivergence) -> None:
    p, q = distributions(50, 5, seed=3)
    value = d.divergence(p, q)
    best = d.derivative(p / q)
    bound = (p * best).sum(axis=-1) - (q * d.conjugate(best)).sum(axis=-1)
    np.testing.assert_allclose(bound, value, rtol=1e-9, atol=1e-13)
    rng = np.random.default_rng(4)
    for y in rng.choice(inside(d), size=(100, 50, 5)):
        assert ((p * y).sum(axis=-1) - (q * d.conjugate(y)).sum(axis=-1) <= value + 1e-13).all()
        assert (
            (p * y).sum(axis=-1) - (q * d.positive_conjugate(y)).sum(axis=-1) <= value + 1e-13
        ).all()


@every_divergence
def test_merging_atoms_or_a_markov_kernel_cannot_increase_the_divergence(d: FDivergence) -> None:
    p, q = distributions(200, 6, seed=5)
    value = d.divergence(p, q)
    merge = np.vstack([np.eye(5), np.eye(5)[0]])  # atoms 0 and 5 become one
    kernel = np.random.default_rng(6).dirichlet(np.ones(4), size=6)
    for channel in (merge, kernel):
        assert (d.divergence(p @ channel, q @ channel) <= value + 1e-15).all()
    proportional = p.copy()  # merging atoms of equal ratio p/q loses nothing
    proportional[:, [0, 5]] = q[:, [0, 5]] * (
        p[:, [0, 5]].sum(axis=-1, keepdims=True) / q[:, [0, 5]].sum(axis=-1, keepdims=True)
    )
    np.testing.assert_allclose(
        d.divergence(proportional @ merge, q @ merge), d.divergence(proportional, q), rtol=1e-9
    )


@every_divergence
def test_divergence_is_jointly_convex(d: FDivergence) -> None:
    p, q = distributions(100, 4, seed=7)
    middle = d.divergence((p[:50] + p[50:]) / 2, (q[:50] + q[50:]) / 2)
    value = d.divergence(p, q)
    assert (middle <= (value[:50] + value[50:]) / 2 + 1e-15).all()


def test_pinsker_and_le_cam_inequalities_and_ranges() -> None:
    p, q = distributions(1000, 4, seed=8)
    kl, chi, tv, h2, js = (d.divergence(p, q) for d in DIVERGENCES)
    assert (2 * tv**2 <= kl).all()  # Pinsker
    assert (kl <= np.log1p(chi)).all()
    assert ((h2 / 2 <= tv) & (tv <= np.sqrt(h2 * (1 - h2 / 4)))).all()  # Le Cam
    assert (h2 <= kl).all()
    assert (js <= math.log(2) * tv).all()  # Lin 1991
    assert ((tv <= 1) & (h2 <= 2) & (js <= math.log(2))).all()
    swapped = [d.divergence(q, p) for d in DIVERGENCES[2:]]
    np.testing.assert_allclose(swapped, [tv, h2, js], rtol=1e-10)  # these three are symmetric


def test_what_is_no_distribution_is_refused() -> None:
    fine = np.array([0.5, 0.5])
    for bad in ([0.5, 0.6], [1.5, -0.5], [math.nan, 0.5], [0.0, 0.0]):
        with pytest.raises(ValueError, match="p must be nonnegative and sum to one"):
            KL().divergence(np.array(bad), fine)
        with pytest.raises(ValueError, match=r"q must be .*normalise it"):
            KL().divergence(fine, np.array(bad))


@every_divergence
def test_dtype_and_shape_are_kept(d: FDivergence) -> None:
    for method in METHODS:
        for dtype in (np.float32, np.float64):
            result = getattr(d, method)(np.full((2, 3), 0.25, dtype=dtype))
            assert result.dtype == dtype
            assert result.shape == (2, 3)
        assert isinstance(getattr(d, method)(0), float)  # a number, from an integer
        assert getattr(d, method)(np.array([0, 1])).dtype == np.float64
    p, q = (x.astype(np.float32) for x in distributions(3, 1000, seed=9))
    assert d.divergence(p, q).dtype == np.float32


def test_divergences_are_values() -> None:
    assert KL() == KL()
    assert KL() != ChiSquared()
    assert len({*DIVERGENCES, KL()}) == len(DIVERGENCES)
    assert repr(JensenShannon()) == "JensenShannon()"


def test_torch_is_not_imported_for_arrays() -> None:
    code = (
        "import sys, numpy as np; from fenchel.core.divergences import KL; "
        "KL().divergence(np.array([0.5, 0.5]), np.array([0.1, 0.9])); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


EXTREMES = {
    "w": [-1.0, 0.0, 1e-38, 1e-8, 0.5, 1.0, 2.0, 1e8, 1e38],
    "y": [-1e30, -5.0, -2.0, -0.5, -1e-9, 0.0, 0.3, 0.34657359, 0.5, 1.0, 5.0, 1e3, 1e30],
}


@every_divergence
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_agrees_with_numpy_and_gradients_are_never_nan(
    d: FDivergence, method: str, dtype: str, torch: Any
) -> None:
    values = np.array(EXTREMES["w" if method in ("f", "derivative") else "y"], dtype=dtype)
    tensor = torch.tensor(values, requires_grad=True)
    result = getattr(d, method)(tensor)
    assert result.dtype == tensor.dtype
    rtol = 1e-5 if dtype == "float32" else 1e-13  # their exp and log differ in the last digits
    np.testing.assert_allclose(result.detach().numpy(), getattr(d, method)(values), rtol=rtol)
    (gradient,) = torch.autograd.grad(result.sum(), tensor)
    assert not gradient.isnan().any()


@every_divergence
def test_autograd_of_a_function_is_the_function_named_its_derivative(
    d: FDivergence, torch: Any
) -> None:
    w = torch.tensor(np.geomspace(1e-6, 1e6, 100), requires_grad=True)
    y = torch.tensor(inside(d, 100, positive=True), requires_grad=True)
    for value, derivative, point in (
        (d.f, d.derivative, w),
        (d.positive_conjugate, d.ratio, y),
    ):
        (gradient,) = torch.autograd.grad(value(point).sum(), point)
        torch.testing.assert_close(gradient, derivative(point).detach(), rtol=1e-9, atol=1e-10)


@every_divergence
def test_torch_divergence_agrees_and_its_gradient_survives_zeros(
    d: FDivergence, torch: Any
) -> None:
    p, q = distributions(20, 5, seed=10)
    p_t, q_t = torch.tensor(p, requires_grad=True), torch.tensor(q)
    value = d.divergence(p_t, q_t)
    np.testing.assert_allclose(value.detach().numpy(), d.divergence(p, q), rtol=1e-12)
    (gradient,) = torch.autograd.grad(value.sum(), p_t)
    slope = d.derivative(p / q) - d.derivative(1.0)  # ∂/∂p q f(p/q), up to the constant f'(1)
    np.testing.assert_allclose(gradient.numpy(), slope, rtol=1e-9, atol=1e-12)
    zeros = [[0.5, 0.5, 0.0, 0.0], [0.5, 0.0, 0.5, 0.0]]
    p_t, q_t = (torch.tensor(row, dtype=torch.float64, requires_grad=True) for row in zeros)
    for gradient in torch.autograd.grad(d.divergence(p_t, q_t), [p_t, q_t]):
        assert not gradient.isnan().any()
    with pytest.raises(TypeError, match="both be tensors or both be arrays"):
        d.divergence(p_t, q[0])
