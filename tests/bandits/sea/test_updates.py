"""The updates of the learners: plain oracles, one replication and one round at a time."""

import math
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
import pytest

from fenchel.bandits import OGD, ONS, AdaGradNorm
from fenchel.bandits.gradient_learner import GradientLearner
from fenchel.bandits.online_newton import add_outer_products, newton_step
from fenchel.bandits.sea import (
    OMD,
    Ader,
    DynamicOptimisticOMD,
    ImplicitOMD,
    OptimisticFTL,
    OptimisticFTRL,
    OptimisticOMD,
    OptimisticONS,
    Universal,
)
from fenchel.bandits.sea.losses import (
    AbsoluteResidual,
    EllipticLoss,
    LinearLoss,
    SphericalLoss,
    SquaredResiduals,
)
from fenchel.core import GradientFeedback, Loss
from fenchel.core.checks import FloatArray
from fenchel.core.sets import Ball, Box, Simplex

T, R, d = 80, 3, 3
RADIUS, D, G, L = 0.7, 1.4, 2.0, 0.6
RNG = np.random.default_rng(0)
NOISE = RNG.standard_normal((T, R, d))
# a drift, noise of all sizes, and signs that flip
GRADIENTS = 0.5 * np.array([1.0, -0.5, 0.2]) + RNG.random((T, R, 1)) * NOISE
GRADIENTS += 0.3 * (-1.0) ** np.arange(T)[:, None, None]
GRADIENTS *= np.minimum(1, G / np.linalg.norm(GRADIENTS, axis=-1, keepdims=True))
KNOWN: dict[str, Any] = {"radius": RADIUS, "gradient_bound": G}
SMOOTH: dict[str, Any] = KNOWN | {"smoothness": L}


def drive(learner: Any, gradients: FloatArray = GRADIENTS) -> FloatArray:
    """The points (T, R, d) that a learner plays when it is told these gradients."""
    learner.reset(gradients.shape[1], len(gradients), np.random.default_rng(1))
    points = np.empty_like(gradients)
    for x, g in zip(points, gradients, strict=True):
        x[:] = learner.act()
        learner.update(GradientFeedback(g.copy(), LinearLoss(g.copy())))
    return points


def drive_on_losses(learner: Any, losses: list[Loss]) -> FloatArray:
    learner.reset(R, len(losses), np.random.default_rng(1))
    points = []
    for loss in losses:
        points.append(learner.act().copy())
        learner.update(GradientFeedback(loss.gradient(points[-1]), loss))
    return np.array(points)


# oracles: generators that yield x_t and are sent g_t

Oracle = Generator[FloatArray, FloatArray, None]
Project = Callable[[FloatArray], FloatArray]


def onto_ball(x: FloatArray, radius: float = RADIUS) -> FloatArray:
    norm = math.sqrt(float(x @ x))
    return x if norm <= radius else x * (radius / norm)


def onto_simplex(y: FloatArray) -> FloatArray:
    low, high = float(y.min()) - 1, float(y.max())
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(y - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(y - (low + high) / 2, 0.0)


def mirror_descent(
    step: Callable[[int, float], float],
    project: Project = onto_ball,
    start: FloatArray | None = None,
    optimistic: bool = True,
) -> Oracle:
    """x_t = Π[x̂_t − η_t M_t], x̂_{t+1} = Π[x̂_t − η_t g_t], with η_t a function of t and V_{t−1}."""
    leader = np.zeros(d) if start is None else start
    M, V, t = np.zeros(d), 0.0, 0
    while True:
        t += 1
        eta = step(t, V)
        g = yield project(leader - eta * M)
        V += float((g - M) @ (g - M))
        leader = project(leader - eta * g)
        M = g if optimistic else 0 * g


def descent(step: Callable[[int, float], float], project: Project = onto_ball) -> Oracle:
    """x_{t+1} = Π[x_t − η_t g_t], with η_t a function of t and Σ_{s ≤ t} ‖g_s‖²."""
    x, total, t = np.zeros(d), 0.0, 0
    while True:
        t += 1
        g = yield x
        total += float(g @ g)
        x = project(x - step(t, total) * g)


def nearest_in_norm(H: FloatArray, y: FloatArray, radius: float = RADIUS) -> FloatArray:
    """argmin_{‖x‖ ≤ r} ‖x − y‖_H = (H + ν I)⁻¹ H y, by bisection for ν."""
    if y @ y <= radius**2:
        return y
    w, Q = np.linalg.eigh(H)
    z = Q.T @ y
    low, high = 0.0, float(w[-1]) * float(np.linalg.norm(y)) / radius
    for _ in range(200):
        nu = (low + high) / 2
        low, high = (nu, high) if np.linalg.norm(w * z / (w + nu)) > radius else (low, nu)
    return Q @ (w * z / (w + high))


def newton(alpha: float) -> Oracle:
    gamma = 0.5 * min(1 / (4 * G * D), alpha)
    H, x = np.eye(d) / (gamma * D) ** 2, np.zeros(d)
    while True:
        g = yield x
        H = H + np.outer(g, g)
        x = nearest_in_norm(H, x - np.linalg.inv(H) @ g / gamma)


def optimistic_newton(alpha: float) -> Oracle:
    beta = 0.5 * min(1 / (4 * G * D), alpha)
    leader, M, past = np.zeros(d), np.zeros(d), np.zeros((d, d))
    while True:
        H = (1 + beta * G**2 / 2) * np.eye(d) + beta / 2 * past  # gradients before round t
        g = yield nearest_in_norm(H, leader - np.linalg.inv(H) @ M)
        leader = nearest_in_norm(H, leader - np.linalg.inv(H) @ g)
        past, M = past + np.outer(g, g), g


def regularised_leader(nu: float, project: Project = onto_ball) -> Oracle:
    """x_t = argmin ⟨Σ_{s<t} g_s + M_t, x⟩ + ‖x‖²/η_t, η_t = D²/(ν + Σ_{s<t} η_s v_s)."""
    total, M, spent = np.zeros(d), np.zeros(d), 0.0
    while True:
        eta = D**2 / (nu + spent)
        g = yield project(-eta / 2 * (total + M))
        spent += eta * float((g - M) @ (g - M))
        total, M = total + g, g


def leader_of_surrogates(mu: float, project: Project = onto_ball) -> Oracle:
    """x_t = argmin Σ_{s<t} ⟨g_s, x⟩ + (μ/2) ‖x − x_s‖² + ⟨M_t, x⟩."""
    points: list[FloatArray] = []
    gradients: list[FloatArray] = []
    x = np.zeros(d)
    while True:
        points.append(x)
        gradients.append((yield x))
        total = np.sum(gradients, axis=0) + gradients[-1]
        x = project(np.mean(points, axis=0) - total / (mu * len(points)))


def ensemble(steps: FloatArray, smoothness: float, form: str) -> Oracle:
    """Optimistic gradient descent with each step below; FTRL ("paper") or OMD ("pynol") above."""
    n = len(steps)
    cap = 1 / (8 * D**2 * smoothness)
    leaders, last = [np.zeros(d)] * n, [np.zeros(d)] * n
    M, V, spread, hidden = np.zeros(d), 0.0, 0.0, np.ones(n) / n
    total, first = np.zeros(n), True
    while True:
        xs = [onto_ball(y - eta * M) for y, eta in zip(leaders, steps, strict=True)]
        cost = np.array(
            [2 * smoothness * float((x - y) @ (x - y)) for x, y in zip(xs, last, strict=True)]
        )
        hope = np.array([float(M @ x) for x in xs]) + cost
        if form == "paper":
            rate = min(cap, math.sqrt(math.log(n) / (D**2 * (1 + V))))
            p = np.exp(-rate * (total + hope - (total + hope).min()))
        else:
            rate = cap if first else min(cap, 1 / math.sqrt(1 + spread))
            p = hidden * np.exp(-rate * (hope - hope.min()))
        p = p / p.sum()
        g = yield np.sum([q * x for q, x in zip(p, xs, strict=True)], axis=0)
        loss = np.array([float(g @ x) for x in xs]) + cost
        hidden = hidden * np.exp(-rate * (loss - loss.min()))
        hidden = hidden / hidden.sum()
        total = total + loss
        spread += float(np.abs(loss - hope).max()) ** 2
        V += float((g - M) @ (g - M))
        leaders = [onto_ball(y - eta * g) for y, eta in zip(leaders, steps, strict=True)]
        last, M, first = xs, g, False


def ader() -> Oracle:
    count = math.ceil(0.5 * math.log2(1 + 4 * T / 7)) + 1
    steps = [2**i * D / G * math.sqrt(7 / (2 * T)) for i in range(count)]
    weights = np.array([(1 + 1 / count) / (i * (i + 1)) for i in range(1, count + 1)])
    rate, xs = math.sqrt(2 / (T * G**2 * D**2)), [np.zeros(d)] * count
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-14)
    while True:
        x = np.sum([w * y for w, y in zip(weights, xs, strict=True)], axis=0)
        g = yield x
        weights = weights * np.exp([-rate * float(g @ (y - x)) for y in xs])
        weights /= weights.sum()
        xs = [onto_ball(y - eta * g) for y, eta in zip(xs, steps, strict=True)]


def follow(oracle: Oracle, gradients: FloatArray) -> Iterator[FloatArray]:
    """The oracle's points (d,) against gradients (T, d)."""
    x = next(oracle)
    for g in gradients:
        yield x
        x = oracle.send(g)


PAPER_STEPS = np.array(
    [
        min(1 / (8 * L), 2**i * math.sqrt(D**2 / (8 * G**2 * T)))
        for i in range(math.ceil(0.5 * math.log2(G**2 * T / (8 * D**2 * L**2))) + 1)
    ]
)
PYNOL_STEPS = np.array([2**i * D / (G * math.sqrt(T)) for i in range(3)])  # 0.078, 0.157, 0.313
LOW, HIGH = np.array([-0.2, -1.0, -0.3]), np.array([0.4, 0.1, 0.3])
BOX_D = math.sqrt(0.6**2 + 1.1**2 + 0.6**2)
BOX: dict[str, Any] = {"domain": Box(LOW, HIGH), "gradient_bound": G, "smoothness": L}
SIMPLEX: dict[str, Any] = {"domain": Simplex(), "gradient_bound": G, "smoothness": L}
CENTER = np.array([0.3, -0.1, 0.2])


def convex_step(delta: float, diameter: float = D) -> Callable[[int, float], float]:
    return lambda t, V: diameter / math.sqrt(delta + 4 * G**2 + V)


def onto_shifted_ball(x: FloatArray) -> FloatArray:
    return CENTER + onto_ball(x - CENTER)


ORACLES: dict[str, tuple[Callable[[], Any], Callable[[], Oracle]]] = {
    "OGD": (lambda: OGD(d, **KNOWN), lambda: descent(lambda t, V: D / (G * math.sqrt(t)))),
    "OGD, strongly convex": (
        lambda: OGD(d, strong_convexity=0.8, **KNOWN),
        lambda: descent(lambda t, V: 1 / (0.8 * t)),
    ),
    "AdaGradNorm": (
        lambda: AdaGradNorm(d, radius=RADIUS),
        lambda: descent(lambda t, V: D / math.sqrt(2 * V)),
    ),
    "ONS": (lambda: ONS(d, exp_concavity=0.3, **KNOWN), lambda: newton(0.3)),
    "ONS, α small": (lambda: ONS(d, exp_concavity=0.02, **KNOWN), lambda: newton(0.02)),
    "OptimisticOMD": (
        lambda: OptimisticOMD(d, **SMOOTH),
        lambda: mirror_descent(convex_step(10 * D**2 * L**2)),
    ),
    "OptimisticOMD, δ = G²": (
        lambda: OptimisticOMD(d, delta=G**2, **SMOOTH),
        lambda: mirror_descent(convex_step(G**2)),
    ),
    "OptimisticOMD, strongly convex": (
        lambda: OptimisticOMD(d, strong_convexity=0.8, **SMOOTH),
        lambda: mirror_descent(lambda t, V: 2 / (0.8 * t)),
    ),
    "OptimisticOMD, constant": (
        lambda: OptimisticOMD(d, step_size=0.3, **SMOOTH),
        lambda: mirror_descent(lambda t, V: 0.3),
    ),
    "OptimisticOMD, box": (
        lambda: OptimisticOMD(d, delta=0.5, **BOX),
        lambda: mirror_descent(
            convex_step(0.5, BOX_D), lambda x: np.clip(x, LOW, HIGH), (LOW + HIGH) / 2
        ),
    ),
    "OptimisticOMD, simplex": (
        lambda: OptimisticOMD(d, delta=0.5, **SIMPLEX),
        lambda: mirror_descent(convex_step(0.5, math.sqrt(2)), onto_simplex, np.ones(d) / d),
    ),
    "OptimisticOMD, shifted ball": (
        lambda: OptimisticOMD(
            d, delta=0.5, domain=Ball(RADIUS, CENTER), gradient_bound=G, smoothness=L
        ),
        lambda: mirror_descent(convex_step(0.5), onto_shifted_ball, CENTER),
    ),
    "OMD": (
        lambda: OMD(d, delta=0.5, **SMOOTH),
        lambda: mirror_descent(convex_step(0.5), optimistic=False),
    ),
    "ImplicitOMD, linear losses": (
        lambda: ImplicitOMD(d, **KNOWN),
        lambda: mirror_descent(convex_step(0.0)),
    ),
    "OptimisticONS": (
        lambda: OptimisticONS(d, exp_concavity=0.3, **SMOOTH),
        lambda: optimistic_newton(0.3),
    ),
    "OptimisticONS, α small": (
        lambda: OptimisticONS(d, exp_concavity=0.02, **SMOOTH),
        lambda: optimistic_newton(0.02),
    ),
    "OptimisticFTRL": (
        lambda: OptimisticFTRL(d, **SMOOTH),
        lambda: regularised_leader(L * D**2 + D * G),
    ),
    "OptimisticFTRL, ν": (
        lambda: OptimisticFTRL(d, nu=0.2, **SMOOTH),
        lambda: regularised_leader(0.2),
    ),
    "OptimisticFTL": (
        lambda: OptimisticFTL(d, strong_convexity=0.8, **SMOOTH),
        lambda: leader_of_surrogates(0.8),
    ),
    "DynamicOptimisticOMD": (
        lambda: DynamicOptimisticOMD(d, **SMOOTH),
        lambda: ensemble(PAPER_STEPS, L, "paper"),
    ),
    "DynamicOptimisticOMD, pynol": (
        lambda: DynamicOptimisticOMD(d, variant="pynol", **SMOOTH),
        lambda: ensemble(PYNOL_STEPS, L, "pynol"),
    ),
    "Ader": (lambda: Ader(d, **KNOWN), ader),
}


@pytest.mark.parametrize("name", ORACLES)
def test_learner_is_its_formula(name: str) -> None:
    build, oracle = ORACLES[name]
    points = drive(build())
    for r in range(R):
        expected = np.array(list(follow(oracle(), GRADIENTS[:, r])))
        np.testing.assert_allclose(points[:, r], expected, rtol=0, atol=1e-10)
    assert np.ptp(points, axis=0).max() > 0.05  # something happened


@pytest.mark.parametrize("name", ORACLES)
def test_replications_do_not_know_of_each_other(name: str) -> None:
    build, _ = ORACLES[name]
    points = drive(build())
    for r in range(R):
        alone = drive(build(), GRADIENTS[:, r : r + 1])
        np.testing.assert_allclose(points[:, r : r + 1], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ORACLES)
def test_a_second_run_is_the_first(name: str) -> None:
    learner = ORACLES[name][0]()
    first = drive(learner)
    np.testing.assert_array_equal(drive(learner), first)


@pytest.mark.parametrize("name", ORACLES)
def test_gradients_in_any_memory_layout_are_the_same(name: str) -> None:
    build, _ = ORACLES[name]
    learner = build()
    learner.reset(R, T, np.random.default_rng(1))
    points = []
    for g in GRADIENTS:
        points.append(learner.act().copy())
        learner.update(GradientFeedback(np.asfortranarray(g), LinearLoss(g)))
    np.testing.assert_allclose(points, drive(build()), rtol=0, atol=1e-12)


# the universal learner: experts have gradients of their own

QUADRATICS: list[Loss] = [
    SphericalLoss(0.8, 0.6 * NOISE[t] / np.linalg.norm(NOISE[t], axis=-1, keepdims=True))
    for t in range(T)
]


def universal_by_hand(
    gradients: list[Callable[[FloatArray], FloatArray]], experts: list[Oracle], bound: float = G
) -> list[FloatArray]:
    """Adapt-ML-Prod with plain weights, one replication; ∇f_t as functions."""
    K = len(experts)
    w, Q, eta = np.ones(K) / K, np.zeros(K), np.full(K, min(0.5, math.sqrt(math.log(K))))
    xs = [next(expert) for expert in experts]
    points = []
    for gradient in gradients:
        p = eta * w / (eta @ w)
        points.append(np.sum([q * x for q, x in zip(p, xs, strict=True)], axis=0))
        g = gradient(points[-1])
        gains = np.array([float(g @ (points[-1] - x)) / (2 * bound * D) for x in xs])
        Q = Q + gains**2
        later = np.array([min(0.5, math.sqrt(math.log(K) / (1 + q))) for q in Q])
        w = (w * (1 + eta * gains)) ** (later / eta)
        eta = later
        xs = [expert.send(gradient(x)) for expert, x in zip(experts, xs, strict=True)]
    return points


def of_quadratics(r: int) -> list[Callable[[FloatArray], FloatArray]]:
    def gradient(t: int) -> Callable[[FloatArray], FloatArray]:
        center = NOISE[t, r] / np.linalg.norm(NOISE[t, r])
        return lambda x: 0.8 * (x - 0.6 * center)

    return [gradient(t) for t in range(T)]


def default_experts() -> list[Oracle]:
    curvatures = [2.0**j / T for j in range(math.ceil(math.log2(T)) + 1)]

    def curved(c: float) -> Oracle:
        return mirror_descent(lambda t, V: 2 / (c * t))

    return [
        descent(lambda t, V: D / (G * math.sqrt(t))),
        *(curved(c) for c in curvatures),
        *(optimistic_newton(c) for c in curvatures),
    ]


def test_the_universal_learner_is_its_formula() -> None:
    learner = Universal(d, **SMOOTH)
    points = drive_on_losses(learner, QUADRATICS)
    for r in range(R):
        expected = universal_by_hand(of_quadratics(r), default_experts())
        np.testing.assert_allclose(points[:, r], expected, rtol=0, atol=1e-10)
    assert len(learner.experts) == 17  # OGD, and two times λ, α = 2⁰/80, ..., 2⁷/80


def test_the_universal_learner_with_experts_of_ones_own_is_its_formula() -> None:
    given: list[GradientLearner] = [OGD(d, **KNOWN), OptimisticONS(d, exp_concavity=0.3, **SMOOTH)]
    points = drive_on_losses(Universal(d, experts=given, **SMOOTH), QUADRATICS)
    for r in range(R):
        oracles = [descent(lambda t, V: D / (G * math.sqrt(t))), optimistic_newton(0.3)]
        expected = universal_by_hand(of_quadratics(r), oracles)
        np.testing.assert_allclose(points[:, r], expected, rtol=0, atol=1e-10)


class Standing(GradientLearner):
    """Plays one point of the sphere."""

    def __init__(self, coordinate: int, sign: float) -> None:
        super().__init__(d, radius=RADIUS)
        self.start = sign * RADIUS * np.eye(d)[coordinate]

    def update(self, feedback: GradientFeedback) -> None:
        pass


def test_the_universal_learner_is_its_formula_where_its_rates_fall() -> None:
    # experts as far from each other as can be, and gradients of norm G: η_{t,i} < 1/2, and unequal
    size = 1.2
    steep = size * GRADIENTS / np.linalg.norm(GRADIENTS, axis=-1, keepdims=True)
    places = [(0, 1.0), (0, -1.0), (1, 1.0)]
    learner = Universal(
        d,
        radius=RADIUS,
        gradient_bound=size,
        smoothness=0.0,
        experts=[Standing(i, sign) for i, sign in places],
    )
    points = drive(learner, steep)

    def standing(x: FloatArray) -> Oracle:
        while True:
            yield x

    def constant(g: FloatArray) -> Callable[[FloatArray], FloatArray]:
        return lambda x: g

    for r in range(R):
        experts = [standing(sign * RADIUS * np.eye(d)[i]) for i, sign in places]
        expected = universal_by_hand([constant(g) for g in steep[:, r]], experts, size)
        np.testing.assert_allclose(points[:, r], expected, rtol=0, atol=1e-10)
    rates = np.minimum(0.5, np.sqrt(math.log(3) / (1 + learner.squares)))
    assert (rates.min(axis=1) < 0.9 * rates.max(axis=1)).all()


def test_replications_of_the_universal_learner_do_not_know_of_each_other() -> None:
    points = drive_on_losses(Universal(d, **SMOOTH), QUADRATICS)
    learner = Universal(d, **SMOOTH)
    learner.reset(1, T, np.random.default_rng(1))
    for t, loss in enumerate(QUADRATICS):
        assert isinstance(loss, SphericalLoss)
        alone = SphericalLoss(0.8, loss.minimum[1:2])
        np.testing.assert_allclose(learner.act(), points[t, 1:2], rtol=0, atol=1e-12)
        learner.update(GradientFeedback(alone.gradient(learner.act()), alone))


# the implicit step

FEATURES, TARGETS = RNG.standard_normal((T, R, d)), RNG.uniform(-2, 2, (T, R))
BASIS = np.linalg.qr(RNG.standard_normal((d, d)))[0]
IMPLICIT: dict[str, Callable[[int], Any]] = {
    "linear": lambda t: LinearLoss(GRADIENTS[t]),
    "spherical": lambda t: SphericalLoss(1.3, NOISE[t]),
    "elliptic": lambda t: EllipticLoss(np.array([0.0, 0.3, 2.0]), BASIS, NOISE[t]),
    "least squares": lambda t: SquaredResiduals(FEATURES[t][:, None], TARGETS[t][:, None]),
    "mini-batches": lambda t: SquaredResiduals(
        np.roll(FEATURES, -t, axis=0)[:4].transpose(1, 0, 2),
        np.roll(TARGETS, -t, axis=0)[:4].T,
    ),
    "absolute": lambda t: AbsoluteResidual(FEATURES[t], TARGETS[t]),
}


@pytest.mark.parametrize("kind", IMPLICIT)
def test_the_implicit_learner_meets_the_optimality_conditions_of_both_steps(kind: str) -> None:
    # x_{t+1} = argmin f_t(x) + ‖x − x̂‖²/(2η) over the ball, if and only if
    # x_{t+1} = Π[x̂ − η m] with m ∈ ∂f_t(x_{t+1})
    learner = ImplicitOMD(d, radius=RADIUS, gradient_bound=0.2)  # too small: for large steps
    learner.reset(R, T, np.random.default_rng(1))
    leader, M, V = np.zeros((R, d)), np.zeros((R, d)), np.zeros(R)
    inside = kinks = 0
    for t in range(T):
        x, loss = learner.act(), IMPLICIT[kind](t)
        g = loss.gradient(x)
        eta = D / np.sqrt(4 * 0.2**2 + V)
        learner.update(GradientFeedback(g, loss))
        V = V + ((g - M) ** 2).sum(axis=-1)
        leader = np.array([onto_ball(leader[r] - eta[r] * g[r]) for r in range(R)])
        M = learner.optimism
        eta = D / np.sqrt(4 * 0.2**2 + V)
        x = np.array([onto_ball(leader[r] - eta[r] * M[r]) for r in range(R)])
        np.testing.assert_allclose(learner.act(), x, rtol=0, atol=1e-10)
        inside += (np.linalg.norm(x, axis=-1) < RADIUS * (1 - 1e-6)).sum()
        if kind == "absolute":  # m = s a with s in the subdifferential of |·| at the residual
            a = FEATURES[t]
            s = (M * a).sum(axis=-1) / (a * a).sum(axis=-1)
            np.testing.assert_allclose(M, s[:, None] * a, rtol=0, atol=1e-12)
            residual = (a * x).sum(axis=-1) - TARGETS[t]
            kink = abs(residual) < 1e-9
            assert (abs(s) <= 1).all()
            np.testing.assert_allclose(s[~kink], np.sign(residual[~kink]), rtol=1e-12)
            kinks += kink.sum()
        else:
            np.testing.assert_allclose(M, loss.gradient(x), rtol=0, atol=1e-9)
    assert 0 < inside < T * R
    assert kind != "absolute" or 0 < kinks < T * R


@pytest.mark.parametrize("kind", ["least squares", "mini-batches", "elliptic", "absolute"])
def test_the_implicit_step_is_cvxpys(kind: str) -> None:
    cp = pytest.importorskip("cvxpy")
    center = onto_ball(np.array([0.5, -0.4, 0.3])) * np.ones((R, 1))
    eta = np.array([[0.2], [1.0], [5.0]])
    for t in (0, 1):
        loss = IMPLICIT[kind](t)
        points, _ = loss.implicit_step(center, eta, RADIUS)
        for r in range(R):
            x = cp.Variable(d)
            if kind == "elliptic":
                half = np.sqrt(loss.weights)[:, None] * BASIS.T
                value = cp.sum_squares(half @ x - half @ loss.minimum[r]) / 2
            elif kind == "absolute":
                value = cp.abs(loss.features[r] @ x - loss.targets[r])
            else:
                residuals = loss.features[r] @ x - loss.targets[r]
                value = cp.sum_squares(residuals) / (2 * loss.features.shape[1])
            proximal = value + cp.sum_squares(x - center[r]) / (2 * eta[r, 0])
            problem = cp.Problem(cp.Minimize(proximal), [cp.norm(x) <= RADIUS])
            problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
            # the square root of the solver's gap, by strong convexity 1/η
            np.testing.assert_allclose(points[r], x.value, rtol=0, atol=2e-5)


# reductions of one algorithm to another


def test_without_optimism_a_constant_step_is_projected_gradient_descent() -> None:
    points = drive(OMD(d, step_size=0.3, **SMOOTH))
    for r in range(R):
        expected = np.array(list(follow(descent(lambda t, V: 0.3), GRADIENTS[:, r])))
        np.testing.assert_allclose(points[:, r], expected, rtol=0, atol=1e-14)


class Foreseeing(OptimisticOMD):
    """M_t = g_t: the sequence is known."""

    def predict(self, feedback: GradientFeedback) -> FloatArray:
        t = self.account.rounds
        return GRADIENTS[t] if t < T else np.zeros((R, d))


@pytest.mark.parametrize("eta", [0.01, 0.3, 10.0])
def test_known_gradients_leave_half_the_squared_diameter_over_the_step(eta: float) -> None:
    # Σ ⟨g_t, x_t − u⟩ ≤ ‖u − x̂_1‖²/(2η) + η v_1, and M_1 = 0 costs v_1 = ‖g_1‖²; with g_1 = 0
    # known gradients cost nothing: at most D²/(2η), and ‖u − x̂_1‖²/(2η) = D²/(8η) on a ball
    learner = Foreseeing(d, step_size=eta, **SMOOTH)
    gradients = GRADIENTS.copy()
    gradients[0] = 0.0
    points = drive(learner, gradients)
    np.testing.assert_array_equal(learner.account.variation, 0.0)
    total = gradients.sum(axis=0)
    worst = (gradients * points).sum(axis=(0, 2)) + RADIUS * np.linalg.norm(total, axis=-1)
    assert (worst <= D**2 / (8 * eta) * (1 + 1e-12)).all()


def test_far_from_the_boundary_mirror_descent_is_ftrl() -> None:
    # x_{t+1} = x_1 − η (Σ_{s ≤ t} g_s + M_{t+1}) for both; FTRL with D²/(2ν) = η, where the sum
    # that shrinks its steps, Σ η v, is 1e-12 of ν
    eta, radius = 0.3, 1e7
    descended = drive(
        OptimisticOMD(d, radius=radius, gradient_bound=G, smoothness=L, step_size=eta)
    )
    regularised = drive(
        OptimisticFTRL(
            d, radius=radius, gradient_bound=G, smoothness=L, nu=(2 * radius) ** 2 / (2 * eta)
        )
    )
    sums = np.cumsum(GRADIENTS, axis=0)
    np.testing.assert_allclose(descended[1:], -eta * (sums + GRADIENTS)[:-1], rtol=0, atol=1e-10)
    np.testing.assert_allclose(regularised, descended, rtol=0, atol=1e-10)


def test_on_the_ball_mirror_descent_and_ftrl_differ() -> None:
    descended = drive(OptimisticOMD(d, step_size=0.3, **SMOOTH))
    sums = np.cumsum(GRADIENTS, axis=0)
    leaders = np.array([[onto_ball(y) for y in row] for row in -0.3 * (sums + GRADIENTS)])
    assert abs(descended[1:] - leaders[:-1]).max() > 0.01


def test_the_optimistic_newton_step_in_one_dimension_is_a_scalar_recursion() -> None:
    gradients = GRADIENTS[:, :, :1]
    points = drive(OptimisticONS(1, exp_concavity=0.3, **SMOOTH), gradients)
    beta = 0.5 * min(1 / (4 * G * D), 0.3)
    for r in range(R):
        h, leader, M = 1 + beta * G**2 / 2, 0.0, 0.0
        for t in range(T):
            x = min(max(leader - M / h, -RADIUS), RADIUS)
            np.testing.assert_allclose(points[t, r, 0], x, rtol=0, atol=1e-13)
            g = float(gradients[t, r, 0])
            leader = min(max(leader - g / h, -RADIUS), RADIUS)
            h, M = h + beta / 2 * g**2, g


def test_the_newton_step_in_one_dimension_is_a_scalar_recursion() -> None:
    gradients = GRADIENTS[:, :, :1]
    points = drive(ONS(1, exp_concavity=0.3, **KNOWN), gradients)
    gamma = 0.5 * min(1 / (4 * G * D), 0.3)
    for r in range(R):
        h, x = 1 / (gamma * D) ** 2, 0.0
        for t in range(T):
            np.testing.assert_allclose(points[t, r, 0], x, rtol=0, atol=1e-13)
            g = float(gradients[t, r, 0])
            h += g**2
            x = min(max(x - g / (gamma * h), -RADIUS), RADIUS)


def test_the_implicit_step_on_linear_losses_is_the_optimistic_one() -> None:
    implicit = drive(ImplicitOMD(d, **KNOWN))
    explicit = drive(OptimisticOMD(d, gradient_bound=G, radius=RADIUS, smoothness=0.0))
    np.testing.assert_allclose(implicit, explicit, rtol=0, atol=1e-13)


def test_an_ensemble_of_one_is_its_base() -> None:
    # N = 1 where G² T ≤ 8 D² L²
    smoothness = G * math.sqrt(T / 8) / D * 1.01
    learner = DynamicOptimisticOMD(d, radius=RADIUS, gradient_bound=G, smoothness=smoothness)
    points = drive(learner)
    np.testing.assert_allclose(learner.steps, [1 / (8 * smoothness)], rtol=1e-15)
    base = OptimisticOMD(
        d, radius=RADIUS, gradient_bound=G, smoothness=smoothness, step_size=1 / (8 * smoothness)
    )
    np.testing.assert_allclose(points, drive(base), rtol=0, atol=1e-14)
    inequality, alone = learner.pathwise(), base.pathwise()
    assert inequality is not None
    assert alone is not None
    np.testing.assert_allclose(inequality.right, alone.right, rtol=1e-12)
    np.testing.assert_allclose(inequality.left, alone.left, rtol=1e-12)


@pytest.mark.parametrize("variant", ["paper", "pynol"])
def test_the_order_of_the_bases_does_not_matter(variant: Any) -> None:
    class Shuffled(DynamicOptimisticOMD):
        def _pool(self, horizon: int) -> FloatArray:
            return np.random.default_rng(2).permutation(super()._pool(horizon))

    ordered = DynamicOptimisticOMD(d, variant=variant, **SMOOTH)
    shuffled = Shuffled(d, variant=variant, **SMOOTH)
    points = drive(ordered)
    np.testing.assert_allclose(drive(shuffled), points, rtol=0, atol=1e-13)
    assert not np.array_equal(ordered.steps, shuffled.steps)


def test_the_pool_of_steps_covers_the_tuned_ones_up_to_a_factor_of_two() -> None:
    learner = DynamicOptimisticOMD(d, **SMOOTH)
    for horizon in (1, 7, 100, 4096):
        learner.reset(1, horizon, np.random.default_rng(0))
        steps = learner.steps
        smallest = D / (G * math.sqrt(8 * horizon))
        np.testing.assert_allclose(steps[0], min(smallest, 1 / (8 * L)), rtol=1e-14)
        np.testing.assert_allclose(steps[-1], 1 / (8 * L), rtol=1e-14)
        assert (np.diff(steps) >= 0).all()
        assert (steps[1:] <= 2 * steps[:-1] * (1 + 1e-14)).all()


SCALED: dict[str, Callable[[float], Any]] = {
    # f → c f: which constants of the learner follow
    "OGD": lambda c: OGD(d, radius=RADIUS, gradient_bound=c * G),
    "OGD, strongly convex": lambda c: OGD(
        d, radius=RADIUS, gradient_bound=c * G, strong_convexity=0.8 * c
    ),
    "AdaGradNorm": lambda c: AdaGradNorm(d, radius=RADIUS),
    "ONS": lambda c: ONS(d, radius=RADIUS, gradient_bound=c * G, exp_concavity=0.3 / c),
    "OptimisticOMD": lambda c: OptimisticOMD(
        d, radius=RADIUS, gradient_bound=c * G, smoothness=c * L
    ),
    "OptimisticOMD, δ": lambda c: OptimisticOMD(
        d, radius=RADIUS, gradient_bound=c * G, smoothness=c * L, delta=0.5 * c**2
    ),
    "OptimisticOMD, strongly convex": lambda c: OptimisticOMD(
        d, radius=RADIUS, gradient_bound=c * G, smoothness=c * L, strong_convexity=0.8 * c
    ),
    "OptimisticOMD, constant": lambda c: OptimisticOMD(
        d, radius=RADIUS, gradient_bound=c * G, smoothness=c * L, step_size=0.3 / c
    ),
    "ImplicitOMD": lambda c: ImplicitOMD(d, radius=RADIUS, gradient_bound=c * G),
    "OptimisticFTRL": lambda c: OptimisticFTRL(
        d, radius=RADIUS, gradient_bound=c * G, smoothness=c * L
    ),
    "OptimisticFTL": lambda c: OptimisticFTL(
        d, radius=RADIUS, gradient_bound=c * G, smoothness=c * L, strong_convexity=0.8 * c
    ),
    "Ader": lambda c: Ader(d, radius=RADIUS, gradient_bound=c * G),
}


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("scale", [1e-3, 7.0, 1e4])
def test_scaled_losses_give_the_same_points_and_a_scaled_inequality(
    name: str, scale: float
) -> None:
    one, other = SCALED[name](1.0), SCALED[name](scale)
    points = drive(one)
    np.testing.assert_allclose(drive(other, scale * GRADIENTS), points, rtol=0, atol=1e-10)
    first, second = one.pathwise(), other.pathwise()
    if first is not None:
        np.testing.assert_allclose(second.left, scale * first.left, rtol=1e-9)
        np.testing.assert_allclose(second.right, scale * first.right, rtol=1e-9)


@pytest.mark.parametrize("name", [n for n in SCALED if n not in ("AdaGradNorm", "Ader")])
@pytest.mark.parametrize("factor", [0.1, 30.0])
def test_a_longer_ruler_scales_the_points(name: str, factor: float) -> None:
    # lengths times c at the same gradients: D, r → c; L, λ → 1/c. What has the unit of a gradient
    # or is measured in it, δ and ν/D, stays
    def build(c: float) -> Any:
        known: dict[str, Any] = {"radius": c * RADIUS, "gradient_bound": G}
        smooth = known | {"smoothness": L / c}
        return {
            "OGD": lambda: OGD(d, **known),
            "OGD, strongly convex": lambda: OGD(d, strong_convexity=0.8 / c, **known),
            "ONS": lambda: ONS(d, exp_concavity=0.3 / c, **known),
            "OptimisticOMD": lambda: OptimisticOMD(d, **smooth),
            "OptimisticOMD, δ": lambda: OptimisticOMD(d, delta=0.5, **smooth),
            "OptimisticOMD, strongly convex": lambda: OptimisticOMD(
                d, strong_convexity=0.8 / c, **smooth
            ),
            "OptimisticOMD, constant": lambda: OptimisticOMD(d, step_size=0.3 * c, **smooth),
            "ImplicitOMD": lambda: ImplicitOMD(d, **known),
            "OptimisticFTRL": lambda: OptimisticFTRL(d, **smooth),
            "OptimisticFTL": lambda: OptimisticFTL(d, strong_convexity=0.8 / c, **smooth),
        }[name]()

    np.testing.assert_allclose(
        drive(build(factor)), factor * drive(build(1.0)), rtol=0, atol=1e-10 * factor
    )


# the projection in the norm of H


def newton_point(H: FloatArray, c: FloatArray, g: FloatArray, scale: float, r: float) -> FloatArray:
    out = np.empty((1, len(c)))
    newton_step(H[None], np.linalg.cholesky(H)[None], c[None], g[None], scale, r, out)
    return out[0]


def cases() -> Iterator[tuple[FloatArray, FloatArray, FloatArray, float, float]]:
    """H with condition numbers from 1 to 1e8, and steps that leave the ball by much or little."""
    rng = np.random.default_rng(3)
    for i in range(20):
        n = int(rng.integers(1, 6))
        Q = np.linalg.qr(rng.standard_normal((n, n)))[0]
        H = Q @ np.diag(10 ** rng.uniform(0, 0.4 * i, n)) @ Q.T
        radius = float(10 ** rng.uniform(-1, 1))
        center = radius * rng.random() * rng.standard_normal(n)
        center *= min(1.0, radius / np.linalg.norm(center))
        step = 10 ** rng.uniform(-0.5, 3) * rng.standard_normal(n)
        yield (H + H.T) / 2, center, H @ (radius * step), float(10 ** rng.uniform(-1, 1)), radius


def test_the_newton_step_meets_the_optimality_conditions() -> None:
    # H (x − c) + s g + ν x = 0 with ν ≥ 0, and ν = 0 or ‖x‖ = r; residuals in units of ‖s g‖
    outside = 0
    for H, c, g, scale, radius in cases():
        x = newton_point(H, c, g, scale, radius)
        force = -(H @ (x - c) + scale * g)
        size = np.linalg.norm(scale * g)
        norm = np.linalg.norm(x)
        assert norm <= radius * (1 + 1e-12)
        nu = max(float(force @ x) / norm**2, 0.0)
        assert np.linalg.norm(force - nu * x) <= 1e-10 * size
        assert nu * norm <= 1e-10 * size or norm >= radius * (1 - 1e-10)
        outside += norm >= radius * (1 - 1e-10)
    assert outside >= 10


def test_the_newton_step_is_cvxpys() -> None:
    cp = pytest.importorskip("cvxpy")
    for H, c, g, scale, radius in cases():
        x = newton_point(H, c, g, scale, radius)
        # min ½ ⟨u, K u⟩ − ⟨b, u⟩ over the unit ball, u = x/r, scaled so that ‖K‖ + ‖b‖ = 1
        b = (H @ c - scale * g) / radius
        size = np.linalg.norm(H, 2) + np.linalg.norm(b)
        half, b = np.linalg.cholesky(H / size).T, b / size
        u = cp.Variable(len(c))
        problem = cp.Problem(cp.Minimize(cp.sum_squares(half @ u) / 2 - b @ u), [cp.norm(u) <= 1])
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
        ours = float(half @ x / radius @ (half @ x / radius)) / 2 - float(b @ x) / radius
        # values to CLARABEL's tolerance; points to its root, in the norm that curves the value
        assert abs(ours - problem.value) <= 1e-8
        assert np.linalg.norm(half @ (x / radius - u.value)) <= 1e-4


def test_a_newton_step_that_stays_inside_is_not_projected() -> None:
    H = np.array([[4.0, 1.0], [1.0, 2.0]])
    c, g = np.array([0.1, 0.2]), np.array([0.3, -0.4])
    expected = c - 0.5 * np.linalg.solve(H, g)
    np.testing.assert_allclose(newton_point(H, c, g, 0.5, 1.0), expected, rtol=1e-14)


def test_outer_products_keep_the_factor_of_h() -> None:
    rng = np.random.default_rng(4)
    H = np.broadcast_to(2 * np.eye(4), (R, 4, 4)).copy()
    factor = math.sqrt(2) * np.broadcast_to(np.eye(4), (R, 4, 4))
    factor = factor.copy()
    expected = H.copy()
    for _ in range(50):
        g = 10 * rng.standard_normal((R, 4))
        add_outer_products(H, factor, g, 0.3)
        expected += 0.3 * g[:, :, None] * g[:, None, :]
    np.testing.assert_allclose(H, expected, rtol=1e-12)
    np.testing.assert_allclose(factor, np.linalg.cholesky(expected), rtol=1e-10, atol=1e-10)


# what learners refuse


def test_ftrl_needs_zero_in_its_domain() -> None:
    for domain in (Simplex(), Box(0.1 * np.ones(2), np.ones(2)), Ball(1.0, [2.0, 0.0])):
        with pytest.raises(ValueError, match="domain must contain 0"):
            OptimisticFTRL(2, domain=domain, gradient_bound=1.0, smoothness=1.0)


def test_a_learner_has_one_domain_and_one_kind_of_step() -> None:
    with pytest.raises(ValueError, match="radius or domain must be given, and not both"):
        OGD(2, gradient_bound=1.0)
    with pytest.raises(ValueError, match="radius or domain must be given, and not both"):
        OGD(2, radius=1.0, domain=Simplex(), gradient_bound=1.0)
    with pytest.raises(ValueError, match="at most one of strong_convexity, delta and step_size"):
        OptimisticOMD(2, radius=1.0, gradient_bound=1.0, smoothness=1.0, delta=1.0, step_size=1.0)
    with pytest.raises(ValueError, match="experts must be two or more"):
        Universal(
            2,
            experts=[OGD(2, radius=1.0, gradient_bound=1.0)],
            radius=1.0,
            gradient_bound=1.0,
            smoothness=1.0,
        )
    with pytest.raises(ValueError, match=r"experts\[1\] must play in 2 dimensions"):
        Universal(
            2,
            experts=[
                OGD(2, radius=1.0, gradient_bound=1.0),
                OGD(2, radius=2.0, gradient_bound=1.0),
            ],
            radius=1.0,
            gradient_bound=1.0,
            smoothness=1.0,
        )
