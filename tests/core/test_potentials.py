import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax

from fenchel.core import potentials
from fenchel.core.checks import FloatArray
from fenchel.core.potentials import (
    LogBarrier,
    NegativeEntropy,
    Potential,
    SimplexPotential,
    SquaredNorm,
    TsallisEntropy,
)
from fenchel.core.sets import Ball, Box, ConvexSet, Simplex, WholeSpace

ALPHAS = (0.001, 0.1, 0.5, 0.9, 0.999)
BARRIERS: dict[str, SimplexPotential] = {
    "negative entropy": NegativeEntropy(),
    **{f"Tsallis {alpha}": TsallisEntropy(alpha) for alpha in ALPHAS},
    "log-barrier": LogBarrier(),
}
ON_SIMPLEX: dict[str, Potential] = {**BARRIERS, "squared norm": SquaredNorm()}
every_barrier = pytest.mark.parametrize("potential", BARRIERS.values(), ids=BARRIERS)
every_potential = pytest.mark.parametrize("potential", ON_SIMPLEX.values(), ids=ON_SIMPLEX)
deterministic = settings(deadline=None, derandomize=True, max_examples=60)
EPS = np.finfo(float).eps


def interior_points(n: int, size: int, seed: int = 0) -> FloatArray:
    """Distributions (n, size) with entries not below 0.01/size."""
    p = np.random.default_rng(seed).dirichlet(np.ones(size), size=n)
    mixed: FloatArray = 0.99 * p + 0.01 / size
    return mixed / mixed.sum(axis=-1, keepdims=True)


def tsallis_by_bisection(z: FloatArray, alpha: float) -> FloatArray:
    """p_i = ((1−α)(L_i − x))^{−1/(1−α)}, L = −z, by bisection on x < min L; α = 0: 1/(L_i − x)."""
    gaps = z.max() - z  # L − min L
    rate = 1 - alpha
    left, right = -(len(z) ** rate) / rate, -1 / rate  # sums <= 1 and >= 1 there
    for _ in range(200):
        x = (left + right) / 2
        if ((rate * (gaps - x)) ** (-1 / rate)).sum() > 1:
            right = x
        else:
            left = x
    p: FloatArray = (rate * (gaps - left)) ** (-1 / rate)
    return p


def by_definition(potential: Potential, p: FloatArray) -> FloatArray:
    """ψ, written again."""
    match potential:
        case NegativeEntropy():
            return np.sum(p * np.log(p), axis=-1)
        case TsallisEntropy(alpha=a):
            return -np.sum(p**a - a * p, axis=-1) / (a * (1 - a))
        case LogBarrier():
            return -np.sum(np.log(p), axis=-1)
        case _:
            return np.sum(p**2, axis=-1) / 2


def solve(problem: Any) -> float:
    """Solve as exactly as CLARABEL can; the gap. ψ is 1-strongly convex: x is good to √(2 gap)."""
    cp = pytest.importorskip("cvxpy")
    for tolerance in (1e-14, 1e-13, 1e-12, 1e-11):
        names = ("tol_gap_abs", "tol_gap_rel", "tol_feas")
        options = dict.fromkeys(names, tolerance)
        options |= {f"reduced_{name}": tolerance for name in names}
        try:
            problem.solve(solver=cp.CLARABEL, **options)
            return tolerance
        except cp.SolverError:  # it stalls before
            continue
    raise AssertionError("no tolerance was met")


@pytest.mark.parametrize(
    "name", ["negative entropy", "Tsallis 0.1", "Tsallis 0.5", "Tsallis 0.9", "log-barrier"]
)
def test_maximizer_agrees_with_cvxpy_on_the_simplex(name: str) -> None:
    cp = pytest.importorskip("cvxpy")
    potential = ON_SIMPLEX[name]
    rng = np.random.default_rng(1)
    for size in (2, 3, 5, 8):
        p, z = cp.Variable(size), cp.Parameter(size)
        match potential:
            case NegativeEntropy():
                minus_psi = cp.sum(cp.entr(p))
            case TsallisEntropy(alpha=a):
                minus_psi = cp.sum(cp.power(p, a, approx=False) - a * p) / (a * (1 - a))
            case _:
                minus_psi = cp.sum(cp.log(p))
        problem = cp.Problem(cp.Maximize(z @ p + minus_psi), [cp.sum(p) == 1, p >= 0])
        for _ in range(5):
            z.value = rng.normal(size=size) * rng.choice([0.3, 3.0])
            gap = solve(problem)  # 1e-11 or less
            error = max(1e-6, math.sqrt(2 * gap))
            np.testing.assert_allclose(potential.maximizer(z.value), p.value, rtol=0, atol=error)
            value = potential.conjugate(z.value)
            np.testing.assert_allclose(value, problem.value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "domain",
    [Simplex(), Ball(1.5), Ball(0.7, np.array([0.5, -1.0, 2.0])), Box(-0.5, 0.25), WholeSpace()],
    ids=["simplex", "ball", "ball off the origin", "box", "whole space"],
)
def test_maximizer_of_the_squared_norm_agrees_with_cvxpy(domain: ConvexSet) -> None:
    cp = pytest.importorskip("cvxpy")
    x, z = cp.Variable(3), cp.Parameter(3)
    constraints = {
        Simplex: lambda: [cp.sum(x) == 1, x >= 0],
        Ball: lambda: [cp.norm(x - domain.center(3)) <= domain.radius],  # type: ignore[attr-defined]
        Box: lambda: [x >= -0.5, x <= 0.25],
        WholeSpace: lambda: [],
    }[type(domain)]()
    problem = cp.Problem(cp.Maximize(z @ x - cp.sum_squares(x) / 2), constraints)
    potential = SquaredNorm(domain)
    for row in 2 * np.random.default_rng(2).normal(size=(20, 3)):
        z.value = row
        solve(problem)
        np.testing.assert_allclose(potential.maximizer(row), x.value, rtol=0, atol=1e-6)
        np.testing.assert_allclose(potential.conjugate(row), problem.value, rtol=1e-9, atol=1e-9)


def test_maximizer_of_the_entropy_is_scipys_softmax_and_its_conjugate_log_sum_exp() -> None:
    z = 30 * np.random.default_rng(0).normal(size=(4, 5, 7))
    np.testing.assert_allclose(NegativeEntropy().maximizer(z), softmax(z, axis=-1), rtol=1e-13)
    np.testing.assert_allclose(NegativeEntropy().conjugate(z), logsumexp(z, axis=-1), rtol=1e-14)


@pytest.mark.parametrize("alpha", [0.0, *ALPHAS])
@pytest.mark.parametrize("size", [2, 3, 10, 100])
def test_maximizer_of_tsallis_and_log_barrier_agrees_with_bisection(
    alpha: float, size: int
) -> None:
    potential = TsallisEntropy(alpha) if alpha else LogBarrier()
    rng = np.random.default_rng(size)
    for scale in (1e-8, 1e-2, 1.0, 1e2, 1e6):
        z = scale * rng.normal(size=size)
        # u_i is exact to 2 ε or so and p_i = u_i^{−1/(1−α)} multiplies that by 1/(1−α)
        np.testing.assert_allclose(
            potential.maximizer(z),
            tsallis_by_bisection(z, alpha),
            rtol=10 * EPS / (1 - alpha) + 1e-13,
            atol=1e-300,
        )


@every_barrier
@pytest.mark.parametrize("size", [2, 3, 10, 100, 10000])
def test_optimality_conditions_hold_to_a_relative_1e_12(
    potential: SimplexPotential, size: int
) -> None:
    # KKT: z_i − ∂_i ψ(p) is the same for all i of the support. Against the best coordinate,
    # z_i − max z is rounded to ε |z_i − max z| and ∂_i ψ(p) to a few ε |∂_i ψ(p)| (times 1/(1−α) in
    # p, undone by the gradient's factor 1−α); hence relative to these sizes. Below 1e-290 p_i is
    # subnormal or 0.
    rng = np.random.default_rng(size)
    for scale in (1e-8, 1e-4, 1.0, 1e2, 1e4, 1e8, 1e12):
        z = scale * rng.normal(size=size)
        p = potential.maximizer(z)
        support = p > 1e-290
        best = int(z.argmax())
        gaps = z[support] - z[best]
        gradient = potential.gradient(p[support])
        residual = gaps - (gradient - potential.gradient(p[best : best + 1]))
        size_of_terms = 1 + np.abs(gaps) + np.abs(gradient)
        assert (np.abs(residual) <= 1e-12 * size_of_terms).all()
        assert np.abs(gaps).max() < 800 * (1 + scale) or support.sum() < size  # the check bites
        assert (z[~support] < z[best] - 600).all()  # what vanished was far below


@every_potential
@pytest.mark.parametrize("size", [2, 3, 10, 100, 10000])
def test_maximizer_lies_in_the_simplex_to_1e_12(potential: Potential, size: int) -> None:
    rng = np.random.default_rng(3)
    shapes = (
        rng.normal(size=size),
        -rng.exponential(size=size),
        np.zeros(size),
        np.eye(1, size)[0],
        np.linspace(0, 1, size) ** 20,
    )
    for shape, exponent in itertools.product(shapes, range(-8, 13, 2)):
        p = potential.maximizer(10.0**exponent * shape)
        assert (p >= 0).all()
        assert abs(math.fsum(p) - 1) <= 1e-12


@every_potential
def test_maximizer_of_equal_scores_is_uniform(potential: Potential) -> None:
    for size, level in itertools.product((1, 2, 7, 1000), (-1e12, 0.0, 3.3)):
        p = potential.maximizer(np.full(size, level))
        np.testing.assert_allclose(p, 1 / size, rtol=1e-12)


@every_potential
def test_maximizer_inverts_the_gradient(potential: Potential) -> None:
    # ∇ψ*(∇ψ(p)) = p. For p >= 0.01/K the gradient is rounded to ε |∂ψ| <= ε (100 K), so p to 1e-10
    for size in (2, 3, 10):
        p = interior_points(20, size)
        np.testing.assert_allclose(potential.maximizer(potential.gradient(p)), p, rtol=1e-10)


@every_potential
@deterministic
@given(
    scores=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
    shift=st.integers(-(2**20), 2**20),
)
def test_maximizer_is_shift_invariant_exactly(
    potential: Potential, scores: list[float], shift: int
) -> None:
    z = np.round(np.array(scores) * 8) / 8  # so that z + shift is exact
    np.testing.assert_array_equal(potential.maximizer(z + shift), potential.maximizer(z))


@pytest.mark.parametrize("name", BARRIERS)
def test_where_arrays_lie_in_memory_does_not_change_a_bit(name: str) -> None:
    # sums are vectorised; a compiler that guards against overlap must not choose by the addresses
    rng = np.random.default_rng(0)
    for size in range(1, 21):
        for _ in range(20):
            z = np.round(8 * rng.uniform(-1e6, 1e6, (1, size))) / 8
            kept, first = [], None
            for gap in range(40):
                out = np.empty((1, size))
                kept += [out, np.empty(gap + 1)]  # the next array lies elsewhere
                BARRIERS[name].maximize_rows(z, 1.0, out)
                first = out.copy() if first is None else first
                np.testing.assert_array_equal(out, first)


@every_potential
@deterministic
@given(scores=st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=20), seed=st.integers(0, 99))
def test_maximizer_commutes_with_permutations_and_keeps_the_order(
    potential: Potential, scores: list[float], seed: int
) -> None:
    z = np.array(scores)
    p = potential.maximizer(z)
    order = np.random.default_rng(seed).permutation(len(z))
    # the sums are rounded in another order; 1/(1−α) of that in p for α near 1
    np.testing.assert_allclose(potential.maximizer(z[order]), p[order], rtol=1e-11, atol=1e-15)
    ranked = p[np.argsort(z, kind="stable")]
    assert (np.diff(ranked) >= -1e-13 * ranked[1:]).all()  # exp and log are monotone but for an ulp


@every_potential
@deterministic
@given(scores=st.lists(st.floats(-50, 50), min_size=2, max_size=8), seed=st.integers(0, 99))
def test_fenchel_young(potential: Potential, scores: list[float], seed: int) -> None:
    # ψ*(z) >= ⟨z, q⟩ − ψ(q) for all q, with equality at q = ∇ψ*(z)
    z = np.array(scores)
    conjugate = potential.conjugate(z)
    p = potential.maximizer(z)
    q = interior_points(20, len(z), seed)
    nearby = 0.999 * p + 0.001 * q
    size = 1 + np.abs(z).max() + np.abs(by_definition(potential, q)).max()
    for points in (q, nearby):
        assert (conjugate >= points @ z - by_definition(potential, points) - 1e-13 * size).all()
    if (p > 0).all():
        gap = conjugate - (p @ z - by_definition(potential, p))
        assert abs(gap) <= 1e-13 * (1 + abs(conjugate) + np.abs(z).max())


@every_potential
def test_gradient_of_the_conjugate_is_the_maximizer(potential: Potential) -> None:
    rng = np.random.default_rng(4)
    h = 1e-4
    for size in (2, 3, 6):
        for _ in range(5):
            z = 2 * rng.normal(size=size)
            if isinstance(potential, SquaredNorm):  # ψ* is quadratic only where the support stays
                z = 0.1 * z / np.abs(z).max()
            steps = h * np.eye(size)
            numeric = (potential.conjugate(z + steps) - potential.conjugate(z - steps)) / (2 * h)
            # rounding ε |ψ*|/h, truncation h²/6 |∂³ψ*| with third derivatives at most 1
            tolerance = 10 * EPS * (1 + abs(potential.conjugate(z))) / h + h**2
            np.testing.assert_allclose(numeric, potential.maximizer(z), rtol=0, atol=tolerance)


@every_potential
def test_gradient_agrees_with_finite_differences_of_the_value(potential: Potential) -> None:
    for p in interior_points(10, 4, seed=5):
        # one coordinate at a time, relative step: truncation is a relative h², rounding ε |ψ|/(h p)
        h = 1e-5 * p
        steps = np.diag(h)
        numeric = (potential.value(p + steps) - potential.value(p - steps)) / (2 * h)
        tolerance = 1e-9 * np.abs(potential.gradient(p)) + 4 * EPS * abs(potential.value(p)) / h
        if isinstance(potential, TsallisEntropy):  # p^α − α p cancels and is divided by 1 − α
            tolerance += 4 * EPS / (1 - potential.alpha) / h
        assert (np.abs(numeric - potential.gradient(p)) <= tolerance).all()


@every_potential
def test_value_is_its_definition(potential: Potential) -> None:
    p = interior_points(30, 5).reshape(5, 6, 5)
    np.testing.assert_allclose(potential.value(p), by_definition(potential, p), rtol=1e-12)


def test_values_at_vertices_are_the_limits() -> None:
    vertex = np.array([0.0, 1.0, 0.0])
    assert NegativeEntropy().value(vertex) == 0.0
    for alpha in ALPHAS:  # −(1 − α)/(α(1−α))
        np.testing.assert_allclose(TsallisEntropy(alpha).value(vertex), -1 / alpha, rtol=1e-12)
    assert SquaredNorm().value(vertex) == 0.5
    with pytest.raises(ValueError, match="positive"):
        LogBarrier().value(vertex)


def test_range_of_the_half_tsallis_entropy_is_4_sqrt_k_minus_4() -> None:
    # used in the bound of Tsallis-INF
    for size in (2, 5, 100):
        top, bottom = np.eye(1, size)[0], np.full(size, 1 / size)
        spread = TsallisEntropy(0.5).value(top) - TsallisEntropy(0.5).value(bottom)
        np.testing.assert_allclose(spread, 4 * math.sqrt(size) - 4, rtol=1e-12)


def bregman_in_closed_form(potential: Potential, p: FloatArray, q: FloatArray) -> FloatArray:
    match potential:
        case NegativeEntropy():
            return np.sum(p * np.log(p / q), axis=-1)
        case TsallisEntropy(alpha=a):
            terms = (1 - a) * q**a + a * p * q ** (a - 1) - p**a
            return np.sum(terms, axis=-1) / (a * (1 - a))
        case LogBarrier():
            return np.sum(p / q - 1 - np.log(p / q), axis=-1)
        case _:
            return np.sum((p - q) ** 2, axis=-1) / 2


@every_potential
def test_bregman_divergence_is_its_definition_and_its_closed_form(potential: Potential) -> None:
    p, q = interior_points(20, 4, seed=6), interior_points(20, 4, seed=7)
    linear = np.sum(potential.gradient(q) * (p - q), axis=-1)
    definition = by_definition(potential, p) - by_definition(potential, q) - linear
    size = 1 + np.abs(by_definition(potential, p)) + np.abs(by_definition(potential, q))
    assert (np.abs(potential.bregman(p, q) - definition) <= 1e-13 * size).all()
    closed = bregman_in_closed_form(potential, p, q)
    assert (np.abs(potential.bregman(p, q) - closed) <= 1e-13 * size).all()


@every_potential
@deterministic
@given(seeds=st.tuples(*[st.integers(0, 10**6)] * 3), size=st.integers(2, 10))
def test_bregman_divergence_dominates_half_the_squared_distance_and_has_three_points(
    potential: Potential, seeds: tuple[int, int, int], size: int
) -> None:
    # φ'' >= 1 on (0, 1] for all of them, so B(x, y) >= ½ ‖x − y‖²: in particular 0 only at x = y
    x, y, w = (interior_points(1, size, seed)[0] for seed in seeds)
    gradient = {id(v): potential.gradient(v) for v in (x, y, w)}
    scale = 1 + sum(abs(potential.value(v)) for v in (x, y, w))
    scale += sum(np.abs(g).max() for g in gradient.values())
    tolerance = 1e-13 * scale
    assert potential.bregman(x, y) >= np.sum((x - y) ** 2) / 2 - tolerance
    assert potential.bregman(x, x) == 0.0
    gap = potential.bregman(x, y) + potential.bregman(y, w) - potential.bregman(x, w)
    product = (gradient[id(w)] - gradient[id(y)]) @ (x - y)
    assert abs(gap - product) <= 10 * tolerance


def test_kl_divergence_dominates_half_the_squared_total_variation_norm() -> None:
    p, q = interior_points(200, 5, seed=8), interior_points(200, 5, seed=9)
    pinsker = np.abs(p - q).sum(axis=-1) ** 2 / 2
    assert (NegativeEntropy().bregman(p, q) >= pinsker).all()
    vertex = np.array([0.0, 1.0])
    np.testing.assert_allclose(
        NegativeEntropy().bregman(vertex, np.array([0.75, 0.25])), math.log(4), rtol=1e-14
    )


def test_tsallis_tends_to_softmax_linearly_in_one_minus_alpha() -> None:
    z = np.array([0.3, -1.0, 0.8, 2.0])
    limit = NegativeEntropy().maximizer(z)
    errors = [np.abs(TsallisEntropy(1 - h).maximizer(z) - limit).max() for h in (1e-2, 1e-3, 1e-4)]
    ratios = np.divide(errors[:-1], errors[1:])
    np.testing.assert_allclose(ratios, 10, rtol=0.05)  # linear, with relative corrections O(1−α)
    assert errors[0] < 0.02


@pytest.mark.parametrize("rate", [1e-4, 1e-5, 1e-6, 1e-7, 1e-9, 1e-12])
def test_every_order_below_one_is_solved(rate: float) -> None:
    # 1 − α = rate: p_i = u_i^{−1/rate} with u_i next to 1; the limit is within the order of rate
    z = 2 * np.random.default_rng(12).normal(size=(200, 3))
    p = TsallisEntropy(1 - rate).maximizer(z)
    assert max(abs(math.fsum(row) - 1) for row in p) <= 1e-12
    np.testing.assert_allclose(p, NegativeEntropy().maximizer(z), rtol=0, atol=20 * rate + 1e-12)


def test_tsallis_tends_to_the_log_barrier_linearly_in_alpha() -> None:
    z = np.array([0.3, -1.0, 0.8, 2.0])
    limit = LogBarrier().maximizer(z)
    errors = [np.abs(TsallisEntropy(h).maximizer(z) - limit).max() for h in (1e-2, 1e-3, 1e-4)]
    np.testing.assert_allclose(np.divide(errors[:-1], errors[1:]), 10, rtol=0.05)
    # no change of scale is needed: ψ_α = −K/α − K + 1 − Σ ln p + O(α (1 + Σ ln² p))
    p = interior_points(1, 4)[0]
    difference = TsallisEntropy(1e-6).value(p) + 4e6 + 4 - 1 - LogBarrier().value(p)
    assert abs(difference) < 1e-6 * (4 + np.sum(np.log(p) ** 2))


GAPS = np.array([-1e9, -30.0, -3.0, -0.1, 0.0, 1e-6, 0.7, 5.0, 400.0, 1e6])


def test_two_arms_have_closed_forms() -> None:
    z = np.column_stack([np.zeros_like(GAPS), GAPS])  # d = z_2 − z_1
    d = np.abs(GAPS)
    worse = np.where(GAPS > 0, 0, 1)  # for d = 0 either

    def of_the_worse(potential: Potential) -> FloatArray:
        p: FloatArray = potential.maximizer(z)[np.arange(len(z)), worse]
        return p

    np.testing.assert_allclose(
        of_the_worse(NegativeEntropy()), np.exp(-d) / (1 + np.exp(-d)), rtol=1e-13, atol=1e-300
    )
    # 1/p − 1/(1 − p) = d
    np.testing.assert_allclose(
        of_the_worse(LogBarrier()), 2 / (d + 2 + np.sqrt(d**2 + 4)), rtol=1e-13
    )
    # α = ½: p = c², 1 − p = s², 2/c − 2/s = d; y = s − c: d y² + 4 y − d = 0, s c = (1 − y²)/2
    root = np.sqrt(4 + d**2)
    y = d / (2 + root)
    one_minus_y = (2 + 4 / (root + d)) / (2 + root)  # without cancellation
    s = (np.sqrt(2 - y**2) + y) / 2
    c = one_minus_y * (1 + y) / 2 / s
    np.testing.assert_allclose(of_the_worse(TsallisEntropy(0.5)), c**2, rtol=1e-13)
    np.testing.assert_allclose(of_the_worse(SquaredNorm()), np.maximum(1 - d, 0) / 2, rtol=1e-12)


def test_half_tsallis_takes_the_root_below_the_least_loss() -> None:
    # p_i = 4/(η (L_i − x))² also sums to one for some x above max L, where the order is reversed
    losses, eta = np.array([0.0, 1.0, 2.5]), 0.8
    p = TsallisEntropy(0.5).maximizer(-eta * losses)
    x = losses - 2 / (eta * np.sqrt(p))
    np.testing.assert_allclose(x, x[0], rtol=1e-12)
    assert x[0] < losses.min()
    wrong = losses + 2 / (eta * np.sqrt(p[::-1]))
    assert wrong.min() > losses.max()  # the other branch is there to be avoided
    assert (np.diff(p) < 0).all()


@every_barrier
@pytest.mark.parametrize("rows", [1, 3, 60])
def test_maximize_rows_is_the_maximizer_of_the_scaled_scores(
    potential: SimplexPotential, rows: int
) -> None:
    z = np.random.default_rng(10).normal(size=(rows, 5))
    for scale in (-30.0, -0.1, 0.0, 1.0, 2.5):
        out = np.full_like(z, np.nan)
        potential.maximize_rows(z, scale, out)
        np.testing.assert_allclose(out, potential.maximizer(scale * z), rtol=1e-11)
    assert (np.ptp(z, axis=1) > 0).all()  # z is not overwritten


@pytest.mark.parametrize("size", [2, 10, 127, 128, 1000])
def test_compiled_and_vectorised_softmax_agree_to_1e_15(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(size)
    for scale in (1e-3, 1.0, 100.0):
        z = scale * rng.normal(size=(4, size))
        results = []
        for threshold in (0, 10**9):
            monkeypatch.setattr(potentials, "_VECTORIZE", threshold)
            out = np.empty_like(z)
            NegativeEntropy().maximize_rows(z, -1.5, out)
            results.append(out)
        # the arguments of exp are the same; two exps, each good to an ulp, and one sum
        np.testing.assert_allclose(*results, rtol=1e-15, atol=1e-307)


@every_barrier
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scale", [-1.0, 2.0])
@pytest.mark.parametrize("columns", [3, 200])
def test_rows_that_are_not_finite_are_refused_and_named(
    potential: SimplexPotential, bad: float, scale: float, columns: int
) -> None:
    z = np.zeros((4, columns))
    z[2, 1] = bad
    with pytest.raises(FloatingPointError, match="replication 2"):
        potential.maximize_rows(z, scale, np.empty_like(z))


@every_potential
def test_public_methods_refuse_what_is_not_finite(potential: Potential) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="finite"):
            potential.maximizer(np.array([0.0, bad]))
        with pytest.raises(ValueError, match="finite"):
            potential.conjugate(np.array([0.0, bad]))
        with pytest.raises(ValueError, match="finite"):
            potential.value(np.array([0.5, bad]))
        with pytest.raises(ValueError, match="finite"):
            potential.gradient(np.array([0.5, bad]))


@every_barrier
def test_gradients_refuse_the_boundary_and_values_refuse_negative_entries(
    potential: SimplexPotential,
) -> None:
    with pytest.raises(ValueError, match="positive"):
        potential.gradient(np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match=r"-0\.1"):
        potential.value(np.array([-0.1, 1.1]))
    for shapeless in (np.array(1.0), np.empty((3, 0))):
        with pytest.raises(ValueError, match="shape"):
            potential.maximizer(shapeless)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.5, 1.5, math.nan, math.inf])
def test_tsallis_order_must_lie_strictly_between_zero_and_one(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        TsallisEntropy(alpha)


@every_potential
def test_leading_axes_are_a_batch(potential: Potential) -> None:
    z = np.random.default_rng(11).normal(size=(3, 2, 4))
    batch = potential.maximizer(z)
    for i, j in np.ndindex(3, 2):
        np.testing.assert_allclose(batch[i, j], potential.maximizer(z[i, j]), rtol=1e-14)
        np.testing.assert_allclose(
            potential.conjugate(z)[i, j], potential.conjugate(z[i, j]), rtol=1e-13
        )
    np.testing.assert_array_equal(potential.maximizer(z[:, ::-1][:, ::-1]), batch)  # strided views


@every_potential
def test_minus_psi_of_the_uniform_distribution_is_greatest(potential: Potential) -> None:
    uniform = np.full(6, 1 / 6)
    assert (potential.value(interior_points(50, 6)) >= potential.value(uniform)).all()
