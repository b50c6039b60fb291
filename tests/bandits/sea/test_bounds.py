"""The bounds in expectation: against runs, the inequalities they are made of, and lemmas."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenchel.bandits import OGD, ONS, AdaGradNorm
from fenchel.bandits.sea import (
    OMD,
    Ader,
    DynamicOptimisticOMD,
    FixedHessianQuadratic,
    ImplicitOMD,
    LeastAbsolute,
    LeastSquares,
    LinearRegression,
    NoisyLinear,
    NoisyQuadratic,
    OptimisticFTL,
    OptimisticFTRL,
    OptimisticOMD,
    OptimisticONS,
    RandomCoordinate,
    RandomOrder,
    SEAInstance,
    SEAQuantities,
    Universal,
    alternating,
    drifting,
    rotating,
    switching,
)
from fenchel.bandits.sea.dynamic import ader_bound, dynamic_bound
from fenchel.bandits.sea.optimistic_ftrl import ftl_bound, ftrl_bound
from fenchel.bandits.sea.optimistic_omd import (
    constant_step_bound,
    convex_bound,
    implicit_bound,
    strongly_convex_bound,
)
from fenchel.bandits.sea.optimistic_ons import exp_concave_bound
from fenchel.bandits.sea.universal import prod_bound
from fenchel.core import GradientFeedback, run
from fenchel.core.checks import FloatArray
from fenchel.core.sets import Ball, Box

T, d = 80, 2
CHECKPOINTS = [1, 2, 3, 20, T]
quick = settings(deadline=None, derandomize=True, max_examples=50)
seeds = st.integers(0, 2**32 - 1)


def made(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


FEATURES, TARGETS = made(0).standard_normal((6, d)), made(1).uniform(-1, 1, 6)
WEIGHTS = made(2).dirichlet(np.ones(6), 4)[np.arange(T) * 4 // T]  # four stages
HESSIAN = np.array([[2.0, 0.5], [0.5, 0.7]])

INSTANCES: dict[str, Callable[[], SEAInstance]] = {
    "noise": lambda: NoisyLinear([0.2, 0.0], 0.7),
    "noise that stops": lambda: NoisyLinear([0.2, 0.1], np.where(np.arange(T) < 40, 0.7, 0.0)),
    "no noise": lambda: NoisyLinear([0.2, 0.1], 0.0),
    "rotation": lambda: NoisyLinear(rotating(T, d, frequency=0.3, offset=0.1), 0.2),
    "alternation": lambda: NoisyLinear(alternating(T, d), 0.1, radius=2.0),
    "stages": lambda: NoisyLinear(switching(T, d, n_switches=3, rng=made(3)), 0.3),
    "quadratics": lambda: NoisyQuadratic([0.3, 0.2], 0.5),
    "flat quadratics": lambda: NoisyQuadratic([0.9, 0.9], 0.3, strong_convexity=0.1),
    "drifting quadratics": lambda: NoisyQuadratic(
        drifting(T, d, step=0.1, rng=made(4)), 0.2, radius=0.5
    ),
    "alternating quadratics": lambda: NoisyQuadratic(alternating(T, d, amplitude=0.9), 0.0),
    "ellipses": lambda: FixedHessianQuadratic(rotating(T, d, frequency=1.0), 0.4, hessian=HESSIAN),
    "flat ellipses": lambda: FixedHessianQuadratic(
        [0.5, 0.5], 0.4, hessian=[[1.0, 1.0], [1.0, 1.0]]
    ),
    "regression": lambda: LinearRegression([0.6, -0.3], 0.2),
    "least squares": lambda: LeastSquares(FEATURES, TARGETS, weights=WEIGHTS),
    "mini-batches": lambda: LeastSquares(FEATURES, TARGETS, batch_size=3),
    "random coordinate": lambda: RandomCoordinate(d),
    "random order": lambda: RandomOrder(FEATURES, TARGETS),
}
KINKS: dict[str, Callable[[], SEAInstance]] = {
    "one kink": lambda: LeastAbsolute([[1.0]], [0.3]),
    "two kinks": lambda: LeastAbsolute([[1.0], [1.0]], [0.3, -0.2], weights=[0.9, 0.1]),
    "kinks": lambda: LeastAbsolute(FEATURES, TARGETS),
    "kinks in stages": lambda: LeastAbsolute(FEATURES, TARGETS, weights=WEIGHTS),
}


def known(game: SEAInstance) -> dict[str, Any]:
    return {"radius": game.radius, "gradient_bound": game.gradient_bound}


def smooth(game: SEAInstance) -> dict[str, Any]:
    return known(game) | {"smoothness": game.smoothness}


LEARNERS: dict[str, Callable[[SEAInstance], Any]] = {
    "OGD": lambda game: OGD(game.dim, **known(game)),
    "AdaGradNorm": lambda game: AdaGradNorm(game.dim, radius=game.radius),
    "OptimisticOMD": lambda game: OptimisticOMD(game.dim, **smooth(game)),
    "OMD": lambda game: OMD(game.dim, **smooth(game)),
    "OMD, constant": lambda game: OMD(game.dim, step_size=0.1, **smooth(game)),
    "OptimisticOMD, δ = G²": lambda game: OptimisticOMD(
        game.dim, delta=game.gradient_bound**2, **smooth(game)
    ),
    "OptimisticOMD, δ small": lambda game: OptimisticOMD(game.dim, delta=0.01, **smooth(game)),
    "OptimisticOMD, constant": lambda game: OptimisticOMD(
        game.dim, step_size=1 / max(4 * game.smoothness, 1.0), **smooth(game)
    ),
    "OptimisticFTRL": lambda game: OptimisticFTRL(game.dim, **smooth(game)),
    "OptimisticFTRL, ν": lambda game: OptimisticFTRL(game.dim, nu=0.3, **smooth(game)),
    "ImplicitOMD": lambda game: ImplicitOMD(game.dim, **known(game)),
    "DynamicOptimisticOMD": lambda game: DynamicOptimisticOMD(
        game.dim, **(known(game) | {"smoothness": max(game.smoothness, 0.05)})
    ),
    "Ader": lambda game: Ader(game.dim, **known(game)),
    "Universal": lambda game: Universal(game.dim, **smooth(game)),
}
CURVED: dict[str, Callable[[SEAInstance], Any]] = {
    "OGD": lambda game: OGD(game.dim, strong_convexity=game.strong_convexity, **known(game)),
    "OptimisticOMD": lambda game: OptimisticOMD(
        game.dim, strong_convexity=game.strong_convexity, **smooth(game)
    ),
    "OMD": lambda game: OMD(game.dim, strong_convexity=game.strong_convexity, **smooth(game)),
    "OptimisticOMD, λ small": lambda game: OptimisticOMD(
        game.dim, strong_convexity=game.strong_convexity / 10, **smooth(game)
    ),
    "OptimisticFTL": lambda game: OptimisticFTL(
        game.dim, strong_convexity=game.strong_convexity, **smooth(game)
    ),
}
EXP_CONCAVE: dict[str, Callable[[SEAInstance], Any]] = {
    "ONS": lambda game: ONS(game.dim, exp_concavity=game.exp_concavity, **known(game)),
    "OptimisticONS": lambda game: OptimisticONS(
        game.dim, exp_concavity=game.exp_concavity, **smooth(game)
    ),
    "OptimisticONS, β small": lambda game: OptimisticONS(
        game.dim,
        exp_concavity=game.exp_concavity,
        beta=0.2 * min(1 / (8 * game.gradient_bound * game.radius), game.exp_concavity),
        **smooth(game),
    ),
}


def meets_its_bound(learner: Any, game: SEAInstance) -> None:
    trace = run(learner, game, T, n_replications=64, seed=5, checkpoints=CHECKPOINTS)
    assert trace.guarantee is not None
    assert trace.guarantee.kind == "expected"
    mean = trace.regret.mean(axis=0)
    error = trace.regret.std(axis=0, ddof=1) / 8
    bound = trace.guarantee.bound(trace.rounds)
    assert bound.shape == trace.rounds.shape
    assert (mean + 3 * error <= bound).all(), (mean, error, bound)
    for t, value in zip(CHECKPOINTS, bound, strict=True):
        np.testing.assert_allclose(trace.guarantee.bound(t), value, rtol=1e-12)


@pytest.mark.parametrize("instance", INSTANCES)
@pytest.mark.parametrize("name", LEARNERS)
def test_the_mean_regret_is_below_the_bound(name: str, instance: str) -> None:
    game = INSTANCES[instance]()
    meets_its_bound(LEARNERS[name](game), game)


@pytest.mark.parametrize(
    "instance", [n for n, make in INSTANCES.items() if make().strong_convexity > 0]
)
@pytest.mark.parametrize("name", CURVED)
def test_the_mean_regret_is_below_the_bound_for_strong_convexity(name: str, instance: str) -> None:
    game = INSTANCES[instance]()
    meets_its_bound(CURVED[name](game), game)


@pytest.mark.parametrize(
    "instance", [n for n, make in INSTANCES.items() if make().exp_concavity > 0]
)
@pytest.mark.parametrize("name", EXP_CONCAVE)
def test_the_mean_regret_is_below_the_bound_for_exp_concavity(name: str, instance: str) -> None:
    game = INSTANCES[instance]()
    meets_its_bound(EXP_CONCAVE[name](game), game)


@pytest.mark.parametrize("instance", KINKS)
@pytest.mark.parametrize("name", ["OGD", "AdaGradNorm", "ImplicitOMD", "Ader"])
def test_the_mean_regret_is_below_the_bound_for_losses_that_are_not_smooth(
    name: str, instance: str
) -> None:
    game = KINKS[instance]()
    meets_its_bound(LEARNERS[name](game), game)


def test_the_implicit_bound_holds_where_subgradients_at_a_kink_differ() -> None:
    # one loss |x − 0.3| for 700 rounds: its implicit step lands on the kink, where the
    # subgradient M of the step and the subgradient g that the environment gives are not the same
    game = LeastAbsolute([[1.0]], [0.3])
    learner = ImplicitOMD(1, **known(game))
    trace = run(learner, game, 700, seed=0, checkpoints=[700])
    assert trace.guarantee is not None
    assert trace.regret[0, 0] <= trace.guarantee.bound(700)


@pytest.mark.parametrize("instance", ["rotation", "stages", "drifting quadratics", "least squares"])
@pytest.mark.parametrize("name", ["DynamicOptimisticOMD", "Ader"])
def test_the_mean_dynamic_regret_is_below_the_bound(name: str, instance: str) -> None:
    game = INSTANCES[instance]()
    moving = np.array([0.3 * game.radius * np.sin([0.02 * t, 1 + t / 7]) for t in range(T)])
    for comparators in ("minimizers", moving, 0.9 * game.radius * np.array([0.6, 0.8])):
        meets_its_bound(LEARNERS[name](game), game.against(comparators))


# the bounds are what is left of the inequalities once noise and movement are inserted


def realised(game: Any, learner: Any, rounds: int) -> tuple[SEAQuantities, FloatArray, FloatArray]:
    """One run: σ_t² replaced by ‖g_t − ∇F_t(x_t)‖²; Σ_t² by that between x_{t−1} in F_t, F_{t−1}.

    Also the points and the gradients, (T, d).
    """
    game.reset(1, made(6))
    learner.reset(1, rounds, made(7))
    points, gradients, noise, moved = (
        np.zeros((rounds, game.dim)),
        np.zeros((rounds, game.dim)),
        np.zeros(rounds),
        np.zeros(rounds),
    )
    for t in range(rounds):
        x = learner.act()
        feedback = game.step(x)
        points[t], gradients[t] = x[0], feedback.gradients[0]
        A, b = game.mean(t + 1)
        noise[t] = ((gradients[t] - (A @ x[0] - b)) ** 2).sum()
        if t > 0:
            before, c = game.mean(t)
            moved[t] = (((A - before) @ points[t - 1] - (b - c)) ** 2).sum()
        learner.update(feedback)
    constants = {"G": game.gradient_bound, "L": game.smoothness, "D": 2 * game.radius}
    return SEAQuantities.of_rounds(rounds, noise, moved, noise, **constants), points, gradients


QUADRATIC = [name for name, make in INSTANCES.items() if name != "random order"]


@pytest.mark.parametrize("instance", QUADRATIC)
def test_the_variation_of_the_gradients_is_noise_movement_of_the_means_and_of_the_points(
    instance: str,
) -> None:
    # Σ_{t ≥ 2} ‖g_t − g_{t−1}‖² ≤ 8 Σ ‖e_t‖² + 4 Σ Σ_t² + 4 L² S, and ‖g_1‖² ≤ G²
    game: Any = INSTANCES[instance]()
    learner = OptimisticOMD(d, step_size=1.0, **smooth(game))
    q, points, gradients = realised(game, learner, T)
    S = (np.diff(points, axis=0) ** 2).sum()
    drift = 8 * q.sigma2_cum + 4 * q.Sigma2_cum + 4 * game.smoothness**2 * S
    variation = (np.diff(gradients, axis=0) ** 2).sum()
    assert variation <= drift * (1 + 1e-12)
    np.testing.assert_allclose(
        learner.account.variation, variation + (gradients[0] ** 2).sum(), rtol=1e-12
    )
    assert np.linalg.norm(gradients, axis=-1).max() <= game.gradient_bound * (1 + 1e-12)


@pytest.mark.parametrize("instance", QUADRATIC)
@pytest.mark.parametrize("rounds", [1, 3, 50])
@pytest.mark.parametrize("size", [0.1, 5.0])
def test_a_bound_of_the_realised_noise_is_above_the_inequality_of_the_run(
    instance: str, rounds: int, size: float
) -> None:
    # what is left to expectation is Jensen's inequality: all else holds on each run
    game = INSTANCES[instance]()
    G, L, D = game.gradient_bound, game.smoothness, 2 * game.radius
    lam, delta, eta, nu = size * 0.3, size * 0.5, min(size, 0.25 / max(L, 1e-9)), size
    L_up = max(L, 0.05)
    ons = OptimisticONS(d, exp_concavity=0.1 * size, **smooth(game))
    pool = DynamicOptimisticOMD(d, **(known(game) | {"smoothness": L_up}))
    pairs: list[tuple[Any, Callable[[SEAQuantities], Any]]] = [
        (
            OptimisticOMD(d, delta=delta, **smooth(game)),
            lambda q: convex_bound(q, D=D, G=G, L=L, delta=delta),
        ),
        (
            OptimisticOMD(d, **smooth(game)),
            lambda q: convex_bound(q, D=D, G=G, L=L, delta=10 * D**2 * L**2),
        ),
        (
            OptimisticOMD(d, strong_convexity=lam, **smooth(game)),
            lambda q: strongly_convex_bound(q, D=D, G=G, L=L, strong_convexity=lam),
        ),
        (
            OptimisticOMD(d, step_size=eta, **smooth(game)),
            lambda q: constant_step_bound(q, D=D, G=G, step_size=eta),
        ),
        (
            OptimisticFTRL(d, nu=nu, **smooth(game)),
            lambda q: ftrl_bound(q, D=D, G=G, L=L, nu=nu),
        ),
        (ons, lambda q: exp_concave_bound(q, dim=d, D=D, G=G, L=L, beta=ons.beta)),
        (pool, lambda q: dynamic_bound(q, 0.0, D=D, G=G, L=L_up, steps=pool.steps)),
    ]
    for learner, bound in pairs:
        q, _, _ = realised(game, learner, rounds)
        inequality = learner.pathwise()
        assert inequality is not None
        assert inequality.right[0] <= bound(q) * (1 + 1e-12), type(learner).__name__
    leader = OptimisticFTL(d, strong_convexity=lam, **smooth(game))
    q, _, _ = realised(game, leader, rounds)
    inequality = leader.pathwise()
    assert inequality is not None
    # its inequality has no negative term to pay for movement: the bound rests on a finer one
    assert inequality.left[0] <= ftl_bound(q, rounds, D=D, G=G, L=L, mu=lam) * (1 + 1e-12)


def test_bounds_are_their_formulas() -> None:
    D, G, L, lam, delta, nu, eta, beta, n, rounds = 1.5, 2.0, 0.7, 0.4, 3.0, 1.1, 0.2, 0.05, 3, 4
    sigma2, moved = np.array([1.0, 0.5, 2.0, 0.3]), np.array([9.0, 0.2, 0.1, 0.6])
    tilde = np.array([1.5, 1.0, 2.5, 0.4])
    q = SEAQuantities.of_rounds(rounds, sigma2, moved, tilde, G=G, L=L, D=D)
    s, m, s_max, m_max = 3.8, 0.9, 2.0, 0.6  # sums and maxima; movement from the second round on
    root = math.sqrt
    drift = G**2 + 8 * s + 4 * m
    a, A = 2 * s_max + m_max, 2 * s + m
    steps = np.array([0.05, 0.1, 0.2])
    of_base = min(e * drift + (D**2 + 2 * D * 3.0) / (2 * e) for e in steps)
    prior, rate = np.array([0.6, 0.3, 0.1]), 0.3
    of_ader = min(
        math.log(1 / p) / rate
        + rate * rounds * (G * D) ** 2 / 2
        + e * G**2 * rounds / 2
        + (D**2 + 2 * D * 3.0) / (2 * e)
        for p, e in zip(prior, steps, strict=True)
    )
    pairs: list[tuple[Any, float]] = [
        (
            convex_bound(q, D=D, G=G, L=L, delta=delta),
            5 * root(2) * D * root(s)
            + 5 * D * root(m)
            + 25 * D**3 * L**2 / root(delta)
            + 2.5 * D * root(delta)
            + 2.5 * root(5) * D * G,
        ),
        (
            strongly_convex_bound(q, D=D, G=G, L=L, strong_convexity=lam),
            16 * a / lam * (1 + math.log(1 + A / a))
            + 4 * G**2 / lam
            + lam * D**2 / 4
            + 16 * L**2 * D**2 / lam * math.log(1 + 8 * root(2) * L / lam),
        ),
        (constant_step_bound(q, D=D, G=G, step_size=eta), D**2 / (2 * eta) + eta * drift),
        (
            implicit_bound(q, D=D, G=G),
            2.5 * D * (root(5) * G + root(6 * tilde.sum()) + root(3 * m)),
        ),
        (
            exp_concave_bound(q, dim=n, D=D, G=G, L=L, beta=beta),
            16
            * n
            / beta
            * (
                math.log(1 + beta / n * s + beta / (2 * n) * m + beta * G**2 / (8 * n))
                + math.log(1 + 32 * L**2)
            )
            + D**2 / 2 * (1 + beta * G**2 / 2),
        ),
        (
            ftrl_bound(q, D=D, G=G, L=L, nu=nu),
            6 * D * root(s)
            + 3 * root(2) * D * root(m)
            + 1.5 * root(2) * D * G
            + nu
            + (6 * D**2 * G**2 + 9 * L**2 * D**4) / nu,
        ),
        (
            ftrl_bound(q, D=D, G=G, L=L, nu=nu, printed=True),
            float(ftrl_bound(q, D=D, G=G, L=L, nu=nu)) - 2 * D**2 * G**2 / nu,
        ),
        (
            ftl_bound(q, rounds, D=D, G=G, L=L, mu=lam),
            8 * s_max / lam * (1 + math.log(rounds))
            + 4 / lam * (0.2 / 2 + 0.1 / 3 + 0.6 / 4)
            + 4 * D**2 * L**2 / lam * math.log(1 + 16 * L / lam)
            + G * D,
        ),
        (
            dynamic_bound(q, 3.0, D=D, G=G, L=L, steps=steps),
            12.5 * D**2 * L * math.log(3)
            + D * root(math.log(3)) * (1.5 * root(1 + drift) + G**2)
            + of_base,
        ),
        (ader_bound(rounds, 3.0, D=D, G=G, steps=steps, rate=rate, prior=prior), of_ader),
        (
            prod_bound(3, 5.0, rounds),
            2 * math.log(3)
            + 2 * root(math.log(3) * 5)
            + root(6 / math.log(3)) * math.log(1 + 3 / (2 * math.e) * (1 + math.log(5))),
        ),
    ]
    for value, expected in pairs:
        np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_bounds_scale_with_the_losses() -> None:
    # f → c f: σ², Σ² → c²; G, L, λ, ν → c; δ → c²
    one = SEAQuantities.of_rounds(
        3, np.array([1.0, 2, 1]), np.array([0.0, 1, 3]), np.ones(3) * 2, G=2, L=1, D=1.5
    )
    c = 7.0
    two = SEAQuantities.of_rounds(
        3, c**2 * np.array([1.0, 2, 1]), c**2 * np.array([0.0, 1, 3]), c**2 * np.ones(3) * 2,
        G=2 * c, L=c, D=1.5,
    )  # fmt: skip
    pairs: list[tuple[Any, Any]] = [
        (
            convex_bound(one, D=1.5, G=2, L=1, delta=3),
            convex_bound(two, D=1.5, G=2 * c, L=c, delta=3 * c**2),
        ),
        (
            strongly_convex_bound(one, D=1.5, G=2, L=1, strong_convexity=0.5),
            strongly_convex_bound(two, D=1.5, G=2 * c, L=c, strong_convexity=0.5 * c),
        ),
        (
            constant_step_bound(one, D=1.5, G=2, step_size=0.1),
            constant_step_bound(two, D=1.5, G=2 * c, step_size=0.1 / c),
        ),
        (implicit_bound(one, D=1.5, G=2), implicit_bound(two, D=1.5, G=2 * c)),
        (ftrl_bound(one, D=1.5, G=2, L=1, nu=3), ftrl_bound(two, D=1.5, G=2 * c, L=c, nu=3 * c)),
        (
            ftl_bound(one, 3, D=1.5, G=2, L=1, mu=0.5),
            ftl_bound(two, 3, D=1.5, G=2 * c, L=c, mu=0.5 * c),
        ),
    ]
    for first, second in pairs:
        np.testing.assert_allclose(second, c * np.asarray(first), rtol=1e-12)


def test_the_theory_s_delta_makes_the_smoothness_cost_five_roots_of_ten() -> None:
    q = SEAQuantities.of_rounds(1, np.zeros(1), np.zeros(1), np.zeros(1), G=1, L=2, D=3)
    value = convex_bound(q, D=3, G=1e-12, L=2, delta=10 * 9 * 4)
    np.testing.assert_allclose(value, 5 * math.sqrt(10) * 9 * 2, rtol=1e-9)


def test_without_noise_movement_and_smoothness_the_convex_bound_is_the_first_rounds() -> None:
    q = SEAQuantities.of_rounds(9, np.zeros(9), np.zeros(9), np.zeros(9), G=1, L=0, D=2)
    np.testing.assert_allclose(
        convex_bound(q, D=2, G=1, L=0, delta=0), 5 * math.sqrt(5), rtol=1e-15
    )
    np.testing.assert_allclose(implicit_bound(q, D=2, G=1), 5 * math.sqrt(5), rtol=1e-15)
    # a = 0: neither noise nor movement
    np.testing.assert_allclose(
        strongly_convex_bound(q, D=2, G=1, L=0, strong_convexity=0.5), 8.5, rtol=1e-15
    )


# lemmas


@quick
@given(seeds, st.integers(2, 6), st.integers(1, 40), st.sampled_from(["noise", "adverse", "late"]))
def test_optimistic_hedge_with_falling_rates(seed: int, n: int, rounds: int, kind: str) -> None:
    # Σ ⟨ℓ_t, p_t − e_i⟩ ≤ ln N/ε_T + Σ ε_t ‖ℓ_t − m_t‖²_∞ − Σ_{t ≥ 2} ‖p_t − p_{t−1}‖₁²/(4 ε_{t−1})
    # (hence also with 6 for 4), by optimistic FTRL: p_t and the leader y_{t+1} of round t are
    # minimisers of functions that are 1/ε_t-strongly convex in ‖·‖₁ and differ by ⟨ℓ_t − m_t, ·⟩,
    # so that ⟨ℓ_t − m_t, p_t − y_{t+1}⟩ ≤ ε_t ‖ℓ_t − m_t‖²_∞; ‖p_t − y_{t+1}‖₁²/(2 ε_t) and, from
    # the next round, ‖p_{t+1} − y_{t+1}‖₁²/(2 ε_t) are left
    rng = made(seed)
    rates = np.minimum.accumulate(10 ** rng.uniform(-2, 1, rounds))
    if kind == "late":
        rates = np.where(np.arange(rounds) < rounds // 2, 3.0, 0.03)
    total, last, right = np.zeros(n), np.zeros(0), 0.0
    incurred = 0.0
    for t, rate in enumerate(rates):
        guess = rng.standard_normal(n) * rng.choice([0.0, 1.0, 3.0])
        scores = -rate * (total + guess)
        p = np.exp(scores - scores.max())
        p /= p.sum()
        loss = guess + rng.standard_normal(n)
        if kind == "adverse":
            loss = guess + np.where(p > np.median(p), 1.0, -1.0)
        incurred += float(p @ loss)
        right += rate * float(np.abs(loss - guess).max()) ** 2
        if t > 0:
            right -= float(np.abs(p - last).sum()) ** 2 / (4 * rates[t - 1])
        total += loss
        last = p
    right += math.log(n) / rates[-1]
    assert incurred - total.min() <= right * (1 + 1e-9) + 1e-9


@quick
@given(seeds, st.integers(2, 6), st.integers(1, 60), st.booleans())
def test_adapt_ml_prod_against_any_gains(seed: int, K: int, rounds: int, adverse: bool) -> None:
    rng = made(seed)
    w, Q, total, eta = np.ones(K) / K, np.zeros(K), np.zeros(K), np.full(K, 0.5)
    potential = 0.0  # Σ_t Σ_k (η_{t−1,k}/η_{t,k} − 1)
    used = np.zeros(K)  # Σ η_{t−1} r_t²
    for _ in range(rounds):
        p = eta * w / (eta @ w)
        loss = rng.random(K) if not adverse else (p > rng.choice(p)).astype(float)
        r = p @ loss - loss
        assert abs(float(p @ r)) < 1e-12
        used += eta * r**2
        Q, total = Q + r**2, total + r
        later = np.minimum(0.5, np.sqrt(math.log(K) / (1 + Q)))
        w = (w * (1 + eta * r)) ** (later / eta)
        potential += float((eta / later - 1).sum())
        eta = later
    finer = 2 * math.log(K) + used + np.log1p(potential / math.e) / eta  # theorem 3
    assert (total <= finer * (1 + 1e-12)).all()
    assert (finer <= np.asarray(prod_bound(K, Q, rounds)) * (1 + 1e-12)).all()


@quick
@given(seeds, st.integers(1, 6), st.integers(1, 60))
def test_hedge_with_a_prior(seed: int, n: int, rounds: int) -> None:
    # the meta algorithm of Ader, losses within a range of width GD: at most
    # ln(1/p_1)/ε + ε T (GD)²/8, a quarter of the second term of `ader_bound`
    rng = made(seed)
    prior, rate, width = rng.dirichlet(np.ones(n)), 10 ** rng.uniform(-2, 1), 1.7
    weights, regret = prior.copy(), np.zeros(n)
    for _ in range(rounds):
        loss = width * rng.random(n)
        regret += weights @ loss - loss
        weights = weights * np.exp(-rate * loss)
        weights /= weights.sum()
    meta = np.log(1 / prior) / rate
    assert (regret <= meta + rate * rounds * width**2 / 8 + 1e-9).all()
    base = ader_bound(
        rounds, 0.0, D=1.0, G=width, steps=np.full(n, 1e9), rate=rate, prior=prior
    )  # the base's part is η G² T/2 + D²/(2η)
    expected = meta.min() + rate * rounds * width**2 / 2 + 1e9 * width**2 * rounds / 2
    np.testing.assert_allclose(base, expected, rtol=1e-9)


@quick
@given(seeds, st.integers(1, 60))
def test_the_steps_of_ftrl_spend_at_most_a_root_of_the_variation(seed: int, rounds: int) -> None:
    # η_t = D²/(ν + Σ_{s<t} η_s v_s), v ≤ 4G²: Σ η_t v_t ≤ √2 D √(Σ v) + 4 D² G²/ν
    rng = made(seed)
    D, G, nu = (float(10 ** rng.uniform(-1, 1)) for _ in range(3))
    v = 4 * G**2 * rng.random(rounds) ** rng.choice([0.0, 1.0, 8.0])
    spent = 0.0
    for value in v:
        spent += D**2 / (nu + spent) * value
    assert spent <= (math.sqrt(2) * D * math.sqrt(v.sum()) + 4 * (D * G) ** 2 / nu) * (1 + 1e-12)


@quick
@given(seeds, st.integers(1, 5), st.integers(1, 40), st.booleans())
def test_the_norms_of_optimistic_newton_steps_sum_to_a_logarithm(
    seed: int, n: int, rounds: int, flip: bool
) -> None:
    # Σ ‖g_t − g_{t−1}‖²_{H_t⁻¹} ≤ (8d/β) ln(1 + β V_T/(8d)), H_t of the gradients before t, ‖g‖ ≤ G
    rng = made(seed)
    G, beta = (float(10 ** rng.uniform(-1, 1)) for _ in range(2))
    H, last, total, V = (1 + beta * G**2 / 2) * np.eye(n), np.zeros(n), 0.0, 0.0
    for _ in range(rounds):
        g = rng.standard_normal(n) if not flip or not last.any() else -last
        g *= G / np.linalg.norm(g)
        total += float((g - last) @ np.linalg.solve(H, g - last))
        V += float((g - last) @ (g - last))
        H, last = H + beta / 2 * np.outer(g, g), g
    assert total <= 8 * n / beta * math.log1p(beta * V / (8 * n)) * (1 + 1e-12)


@quick
@given(seeds, st.integers(1, 60))
def test_values_with_a_largest_one_and_a_sum_have_a_logarithmic_harmonic_sum(
    seed: int, rounds: int
) -> None:
    # 0 ≤ c_t ≤ a, Σ c_t ≤ A: Σ_{t ≥ 2} c_t/t ≤ a (1 + ln(1 + A/a)); worst where the first are large
    c = np.sort(made(seed).random(rounds + 1) ** made(seed + 1).choice([0.1, 1.0, 9.0]))[::-1]
    a, A = c[1:].max(), c[1:].sum()
    total = (c[1:] / np.arange(2, rounds + 2)).sum()
    assert total <= a * (1 + math.log(1 + A / a)) * (1 + 1e-12)


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.3, 1.0, 7.0, 1e3])
def test_smoothness_costs_a_logarithm_under_strong_convexity(ratio: float) -> None:
    # ratio = L/λ; the largest of Σ_{t ≥ 2} (16 L²/(λt) − λ(t−1)/8) Δ_t², Δ_t ≤ D: for mirror
    # descent; and of Σ (4 L²/(μt) − μ(t−1)/4) Δ_t²: for the leader
    t = np.arange(2, 30_000)
    descent = np.maximum(16 * ratio**2 / t - (t - 1) / 8, 0).sum()
    assert descent <= 16 * ratio**2 * math.log1p(8 * math.sqrt(2) * ratio)
    leader = np.maximum(4 * ratio**2 / t - (t - 1) / 4, 0).sum()
    assert leader <= 4 * ratio**2 * math.log1p(4 * ratio)  # and ln(1 + 16 L/μ) is larger


@quick
@given(seeds, st.integers(1, 30), st.sampled_from(["noise", "flip", "grow"]))
def test_follow_the_leader_pays_for_movement(seed: int, rounds: int, kind: str) -> None:
    # Σ ⟨g_t, x_t − u⟩ − (μ/2) ‖x_t − u‖²
    #     ≤ G D + Σ_{t ≥ 2} v_t/(μ t) − (μ (t − 1)/4) ‖x_t − x_{t−1}‖², what `ftl_bound` rests on
    rng = made(seed)
    mu, G, D = float(10 ** rng.uniform(-2, 1)), 1.5, 2.0
    learner = OptimisticFTL(d, radius=1.0, gradient_bound=G, smoothness=1.0, strong_convexity=mu)
    learner.reset(1, rounds, rng)
    fixed = rng.standard_normal((1, d))
    xs, gs = [], []
    for t in range(rounds):
        g = {"noise": rng.standard_normal((1, d)), "flip": (-1) ** t * fixed, "grow": fixed}[kind]
        g = G * g / np.linalg.norm(g) * (rng.random() if kind == "noise" else 1.0)
        xs.append(learner.act()[0])
        gs.append(g[0])
        learner.update(GradientFeedback(g, None))  # type: ignore[arg-type]  # the loss is not read
    x, g = np.array(xs), np.array(gs)
    t = np.arange(2, rounds + 1)
    v = (np.diff(g, axis=0) ** 2).sum(axis=-1)
    moves = (np.diff(x, axis=0) ** 2).sum(axis=-1)
    right = G * D + (v / (mu * t)).sum() - (mu * (t - 1) / 4 * moves).sum()
    inequality = learner.pathwise()
    assert inequality is not None
    assert inequality.left[0] <= right + 1e-9 * (1 + mu + abs(right))


@quick
@given(seeds, st.integers(1, 5))
def test_exp_concave_losses_have_the_curvature_of_their_gradients(seed: int, n: int) -> None:
    # f(x) − f(u) ≤ ⟨g, x − u⟩ − (β/2) ⟨g, x − u⟩², β = ½ min{1/(4GD), α}, for ½ (⟨a, x⟩ − b)²
    rng = made(seed)
    a, b, radius = rng.standard_normal(n), rng.standard_normal(), float(10 ** rng.uniform(-1, 1))
    game = LeastSquares(a[None], [b], radius=radius)
    beta = 0.5 * min(1 / (8 * game.gradient_bound * radius), game.exp_concavity)
    x, u = rng.standard_normal((2, 200, n))
    x, u = (radius * y / np.maximum(np.linalg.norm(y, axis=-1), 1)[:, None] for y in (x, u))
    values = [0.5 * (y @ a - b) ** 2 for y in (x, u)]
    inner = (x @ a - b) * ((x - u) @ a)
    right = inner - beta / 2 * inner**2
    assert (values[0] - values[1] <= right + 1e-12 * (1 + abs(right))).all()


@quick
@given(seeds, st.integers(1, 60), st.integers(1, 5))
def test_the_rates_of_the_ensemble_spend_at_most_a_root_of_the_variation(
    seed: int, rounds: int, n: int
) -> None:
    # Σ ε_t (D²/4) v_t ≤ D √(ln N) (½ √(1 + V_T) + G²), where ε_t has V_{t−1} and v ≤ 4G²
    rng = made(seed)
    D, G = (float(10 ** rng.uniform(-1, 1)) for _ in range(2))
    v = 4 * G**2 * rng.random(rounds) ** rng.choice([0.0, 1.0, 8.0])
    before = np.cumsum(v) - v
    root = math.sqrt(math.log(n + 1))
    spent = (root / (D * np.sqrt(1 + before)) * D**2 / 4 * v).sum()
    assert spent <= D * root * (0.5 * math.sqrt(1 + v.sum()) + G**2) * (1 + 1e-12)


@quick
@given(seeds, st.integers(1, 5), st.integers(2, 6))
def test_a_mixture_moves_with_its_points_and_its_weights(seed: int, n: int, count: int) -> None:
    # ‖Σ p_j x_j − Σ q_j y_j‖² ≤ 2 Σ p_j ‖x_j − y_j‖² + (D²/2) ‖p − q‖₁² in the ball of diameter D
    rng = made(seed)
    p, q = rng.dirichlet(np.ones(count), 2)
    x, y = rng.standard_normal((2, count, n))
    x, y = (z / np.maximum(np.linalg.norm(z, axis=-1), 1)[:, None] for z in (x, y))
    moved = ((p @ x - q @ y) ** 2).sum()
    right = 2 * p @ ((x - y) ** 2).sum(axis=-1) + 2.0 * np.abs(p - q).sum() ** 2
    assert moved <= right * (1 + 1e-12)


# where no bound is proven, none is given


def prepared(learner: Any) -> Any:
    learner.reset(1, T, made(0))
    return learner


GAME = NoisyQuadratic([0.3, 0.2], 0.5)  # G = 1.86, L = λ = 1
G_OF_GAME, ALPHA = GAME.gradient_bound, GAME.exp_concavity
TOLD: dict[str, Any] = {"radius": 1.0, "gradient_bound": G_OF_GAME}
SMOOTH: dict[str, Any] = TOLD | {"smoothness": 1.0}


def test_the_game_of_the_next_tests_has_bounds() -> None:
    for table in (LEARNERS, CURVED, EXP_CONCAVE):
        for build in table.values():
            assert prepared(build(GAME)).guarantee(GAME) is not None


@pytest.mark.parametrize("name", [n for n in LEARNERS if n != "AdaGradNorm"])
def test_a_learner_told_too_small_a_gradient_has_no_bound(name: str) -> None:
    game = NoisyQuadratic([0.3, 0.2], 0.6)  # larger gradients than in GAME
    assert prepared(LEARNERS[name](GAME)).guarantee(game) is None


@pytest.mark.parametrize(
    "build",
    [
        lambda smooth: OptimisticOMD(d, **smooth),
        lambda smooth: OptimisticOMD(d, step_size=0.1, **smooth),
        lambda smooth: OptimisticOMD(d, strong_convexity=1.0, **smooth),
        lambda smooth: OptimisticFTRL(d, **smooth),
        lambda smooth: OptimisticFTL(d, strong_convexity=1.0, **smooth),
        lambda smooth: OptimisticONS(d, exp_concavity=ALPHA, **smooth),
        lambda smooth: DynamicOptimisticOMD(d, **smooth),
    ],
)
def test_a_learner_told_too_small_a_smoothness_has_no_bound(build: Callable[..., Any]) -> None:
    assert prepared(build(SMOOTH)).guarantee(GAME) is not None
    assert prepared(build(SMOOTH | {"smoothness": 0.9})).guarantee(GAME) is None


@pytest.mark.parametrize(
    "learner",
    [
        OGD(d, strong_convexity=1.1, **TOLD),
        OptimisticOMD(d, strong_convexity=1.1, **SMOOTH),
        OptimisticFTL(d, strong_convexity=1.1, **SMOOTH),
        ONS(d, exp_concavity=1.1 * ALPHA, **TOLD),
        OptimisticONS(d, exp_concavity=1.1 * ALPHA, **SMOOTH),
        OptimisticONS(d, exp_concavity=ALPHA, beta=ALPHA, **SMOOTH),  # above α/2
        OptimisticOMD(d, step_size=0.26, **SMOOTH),  # above 1/(4L)
        OptimisticOMD(d, delta=0.0, **SMOOTH),  # nothing pays for movement
        DynamicOptimisticOMD(d, variant="pynol", **SMOOTH),
    ],
    ids=lambda learner: type(learner).__name__,
)
def test_a_learner_with_other_constants_than_the_proof_has_no_bound(learner: Any) -> None:
    assert prepared(learner).guarantee(GAME) is None


def test_a_learner_with_other_guesses_than_the_last_gradient_has_no_bound() -> None:
    class Guessing(OptimisticOMD):
        def predict(self, feedback: GradientFeedback) -> FloatArray:
            return -feedback.gradients

    assert prepared(Guessing(d, **SMOOTH)).guarantee(GAME) is None


@pytest.mark.parametrize("name", [n for n in LEARNERS if n not in ("Ader", "DynamicOptimisticOMD")])
def test_bounds_on_the_regret_against_one_point_are_not_given_against_many(name: str) -> None:
    game = INSTANCES["drifting quadratics"]()
    learner = prepared(LEARNERS[name](game))
    assert learner.guarantee(game) is not None
    assert learner.guarantee(game.against(np.zeros(d))) is not None
    assert learner.guarantee(game.against("minimizers")) is None


@pytest.mark.parametrize("name", [*CURVED, *EXP_CONCAVE])
def test_logarithmic_bounds_are_not_given_against_many_points(name: str) -> None:
    game = INSTANCES["drifting quadratics"]()
    learner = prepared((CURVED | EXP_CONCAVE)[name](game))
    assert learner.guarantee(game.against("minimizers")) is None


def test_losses_that_are_not_smooth_have_bounds_for_learners_that_do_not_need_it_only() -> None:
    game = LeastAbsolute(FEATURES, TARGETS)
    told: dict[str, Any] = {"radius": 1.0, "gradient_bound": game.gradient_bound}
    for learner in (
        OptimisticOMD(d, smoothness=1e9, **told),
        OptimisticFTRL(d, smoothness=1e9, **told),
        DynamicOptimisticOMD(d, smoothness=1e9, **told),
        ONS(d, exp_concavity=1e-9, **told),
    ):
        assert prepared(learner).guarantee(game) is None
    for learner in (OGD(d, **told), Ader(d, **told), ImplicitOMD(d, **told)):
        assert prepared(learner).guarantee(game) is not None


def test_linear_losses_have_no_logarithmic_bound() -> None:
    game = NoisyLinear([0.2, 0.1], 0.1)
    told: dict[str, Any] = {"radius": 1.0, "gradient_bound": 1.0, "smoothness": 0.0}
    for learner in (
        OptimisticOMD(d, strong_convexity=1e-6, **told),
        OptimisticFTL(d, strong_convexity=1e-6, **told),
        OptimisticONS(d, exp_concavity=1e-6, **told),
    ):
        assert prepared(learner).guarantee(game) is None


SMALL: dict[str, Any] = {
    "box": Box([-0.01, -0.01], [0.01, 0.01]),
    "ball off the origin": Ball(0.1, [0.05, 0.0]),
}


@pytest.mark.parametrize("domain", SMALL)
@pytest.mark.parametrize(
    "build",
    [
        lambda **told: OGD(d, **told),
        lambda gradient_bound, **told: AdaGradNorm(d, **told),
        lambda **told: OptimisticOMD(d, smoothness=0.0, **told),
        lambda **told: OptimisticFTRL(d, smoothness=0.0, **told),
    ],
    ids=["OGD", "AdaGradNorm", "OptimisticOMD", "OptimisticFTRL"],
)
def test_a_learner_on_part_of_the_domain_has_no_bound_against_all_of_it(
    build: Callable[..., Any], domain: str
) -> None:
    # regret is that against the best point of the game's ball, here −e_1, which all of these miss
    game = NoisyLinear([0.5, 0.0], 0.1)
    learner = build(domain=SMALL[domain], gradient_bound=0.6)
    assert prepared(learner).guarantee(game) is None


def test_a_leader_on_part_of_the_domain_has_no_bound_against_all_of_it() -> None:
    learner = OptimisticFTL(
        d, domain=SMALL["box"], gradient_bound=9.0, smoothness=1.0, strong_convexity=1.0
    )
    assert prepared(learner).guarantee(GAME) is None


def test_a_learner_on_the_ball_given_as_a_domain_has_the_bound_of_the_ball() -> None:
    learner = OGD(d, domain=Ball(1.0), gradient_bound=G_OF_GAME)
    assert prepared(learner).guarantee(GAME) is not None


def test_a_learner_of_another_radius_is_refused() -> None:
    with pytest.raises(ValueError, match="radius"):
        run(OGD(d, radius=0.1, gradient_bound=9.0), GAME, 5, seed=0)
