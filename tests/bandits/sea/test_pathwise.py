"""The inequalities that `pathwise` evaluates, recomputed from trajectories in many games."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenchel.bandits import OGD, ONS, AdaGradNorm
from fenchel.bandits.gradient_learner import GradientLearner
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
    LinearLoss,
    SphericalLoss,
    SquaredResiduals,
)
from fenchel.core import GradientFeedback, Loss, Pathwise
from fenchel.core.checks import FloatArray
from fenchel.core.sets import Ball, Box, ConvexSet, Simplex

R = 2
SLACK = 1e-9  # relative to the sum of the magnitudes of the terms: rounding alone

# domains: what the learner is built with, and independent answers to "max" and "nearest"


@dataclass
class Domain:
    set: ConvexSet
    arguments: dict[str, Any]
    reach: float  # max ‖x‖

    def linear_minimum(self, c: FloatArray) -> float:
        """min ⟨c, u⟩, by vertices except for balls."""
        if isinstance(self.set, Ball):
            center = self.set.center(len(c))
            return float(c @ center - self.set.radius * np.linalg.norm(c))
        if isinstance(self.set, Box):
            return float(np.minimum(c * self.set.low, c * self.set.high).sum())
        return float(c.min())

    def nearest(self, y: FloatArray) -> FloatArray:
        """The projection of one point; on the simplex by bisection for the threshold."""
        if isinstance(self.set, Ball):
            center = self.set.center(len(y))
            away = y - center
            return center + away * min(1.0, self.set.radius / max(np.linalg.norm(away), 1e-300))
        if isinstance(self.set, Box):
            return np.clip(y, self.set.low, self.set.high)
        low, high = float(y.min()) - 1, float(y.max())
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if np.maximum(y - middle, 0).sum() > 1 else (low, middle)
        return np.maximum(y - (low + high) / 2, 0.0)

    def sample(self, rng: np.random.Generator, shape: tuple[int, ...], d: int) -> FloatArray:
        """Points of the set, half of them on its boundary or near it."""
        scale = 2 * self.reach * rng.random((*shape, 1))
        return self.set.project(scale * rng.standard_normal((*shape, d)))


def domain_of(name: str, d: int, rng: np.random.Generator) -> Domain:
    size = 10 ** rng.uniform(-1, 0.7)
    if name == "ball":
        return Domain(Ball(size), {"radius": size}, size)
    if name == "ball off the origin":
        ball = Ball(size, rng.uniform(-size, size, d))
        return Domain(ball, {"domain": ball}, float(np.linalg.norm(ball.center(d))) + size)
    if name == "box":  # holds 0, off its centre
        box = Box(-size * rng.random(d) - 1e-3, size * rng.random(d) + 1e-3)
        corner = np.maximum(-box.low, box.high)
        return Domain(box, {"domain": box}, float(np.linalg.norm(corner)))
    return Domain(Simplex(), {"domain": Simplex()}, 1.0)


# losses, with gradients of norm at most G on the domain


def unit(v: FloatArray) -> FloatArray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-300)


Nature = Callable[[int, FloatArray, FloatArray], Loss]


def nature(kind: str, d: int, G: float, reach: float, rng: np.random.Generator) -> Nature:
    """Maps t, the points x_t and the guesses M_t to losses."""
    fixed = G * unit(rng.standard_normal((R, d)))
    anchor = reach * unit(rng.standard_normal((R, d))) * rng.random((R, 1))

    def noise() -> FloatArray:
        return G * rng.random((R, 1)) * unit(rng.standard_normal((R, d)))

    def draw(t: int, x: FloatArray, M: FloatArray) -> Loss:
        if kind == "noise":
            return LinearLoss(noise())
        if kind == "constant":
            return LinearLoss(fixed)
        if kind == "signs that flip":
            return LinearLoss((-1) ** t * fixed)
        if kind == "bursts":  # no gradient at first, then rarely
            return LinearLoss(noise() * (t % 4 == 3))
        if kind == "away from the point":
            return LinearLoss(G * unit(x - anchor))
        if kind == "against the guess":
            return LinearLoss(
                np.where(np.linalg.norm(M, axis=-1)[:, None] > 0, -G * unit(M), fixed)
            )
        if kind == "quadratics":
            center = anchor + 0.1 * reach * unit(rng.standard_normal((R, d)))
            return SphericalLoss(G / (2.1 * reach), center)
        size = G if kind == "absolute" else math.sqrt(G / (2 * reach))
        a = size * unit(rng.standard_normal((R, d)))
        b = size * reach * rng.uniform(-1, 1, R)
        if kind == "absolute":
            return AbsoluteResidual(a, b)
        return SquaredResiduals(a[:, None], b[:, None])

    return draw


KINDS = [
    "noise",
    "constant",
    "signs that flip",
    "bursts",
    "away from the point",
    "against the guess",
    "quadratics",
    "least squares",
    "absolute",
]


@dataclass
class Run:
    """A trajectory: x, g and M, (T, R, d), and what else was asked for, round by round."""

    learner: Any
    domain: Domain
    G: float
    x: FloatArray = field(default_factory=lambda: np.zeros(0))
    g: FloatArray = field(default_factory=lambda: np.zeros(0))
    M: FloatArray = field(default_factory=lambda: np.zeros(0))
    kept: dict[str, list[FloatArray]] = field(default_factory=dict)
    sides: list[Pathwise | None] = field(default_factory=list)

    @property
    def T(self) -> int:  # noqa: N802
        return len(self.x)

    @property
    def D(self) -> float:  # noqa: N802
        return self.domain.set.diameter if isinstance(self.domain.set, Box) else self._diameter()

    def _diameter(self) -> float:
        s = self.domain.set
        return 2 * s.radius if isinstance(s, Ball) else math.sqrt(2)

    @property
    def v(self) -> FloatArray:
        """v_t = ‖g_t − M_t‖², (T, R)."""
        return ((self.g - self.M) ** 2).sum(axis=-1)

    @property
    def moves(self) -> FloatArray:
        """‖x_t − x_{t−1}‖² for t = 2, ..., T, (T − 1, R)."""
        return (np.diff(self.x, axis=0) ** 2).sum(axis=-1)


def play(
    learner: Any, domain: Domain, losses: Nature, G: float, T: int, keep: tuple[str, ...] = ()
) -> Run:
    d = learner.dim
    learner.reset(R, T, np.random.default_rng(0))
    x, g, M = (np.zeros((T, R, d)) for _ in range(3))
    record = Run(learner, domain, G, x, g, M, {name: [] for name in keep})
    for t in range(T):
        x[t] = learner.act()
        M[t] = getattr(learner, "optimism", np.zeros((R, d)))
        for name in keep:
            record.kept[name].append(np.array(getattr(learner, name)))
        loss = losses(t + 1, x[t], M[t])
        g[t] = loss.gradient(x[t])
        assert np.linalg.norm(g[t], axis=-1).max() <= G * (1 + 1e-12)
        learner.update(GradientFeedback(g[t].copy(), loss))
        record.sides.append(learner.pathwise())
    return record


# left sides: the sum at a point u (d,), and its maximum over u, for replication r


def linear_sum(run: Run, r: int, u: FloatArray) -> float:
    return float(((run.x[:, r] - u) * run.g[:, r]).sum())


def linear_maximum(run: Run, r: int) -> float:
    total = run.g[:, r].sum(axis=0)
    return float((run.x[:, r] * run.g[:, r]).sum()) - run.domain.linear_minimum(total)


def curved_sum(run: Run, r: int, u: FloatArray, lam: float) -> float:
    return linear_sum(run, r, u) - lam / 2 * float(((run.x[:, r] - u) ** 2).sum())


def curved_maximum(run: Run, r: int, lam: float) -> float:
    best = run.domain.nearest(run.x[:, r].mean(axis=0) - run.g[:, r].mean(axis=0) / lam)
    return curved_sum(run, r, best, lam)


def exp_concave_sum(run: Run, r: int, u: FloatArray, beta: float) -> float:
    inner = ((run.x[:, r] - u) * run.g[:, r]).sum(axis=-1)
    return float((inner - beta / 2 * inner**2).sum())


def exp_concave_maximum(run: Run, r: int, beta: float) -> float:
    """The maximiser (A + ν I)⁻¹ b with the least ν ≥ 0 that puts it in the ball, by bisection."""
    x, g, radius = run.x[:, r], run.g[:, r], run.domain.reach
    A = beta * g.T @ g
    b = beta * g.T @ (g * x).sum(axis=-1) - g.sum(axis=0)
    w, Q = np.linalg.eigh(A)
    c = Q.T @ b
    if not c.any():
        return exp_concave_sum(run, r, np.zeros_like(b), beta)
    low, high = 0.0, float(np.linalg.norm(c)) / radius
    for _ in range(200):
        middle = (low + high) / 2
        outside = np.linalg.norm(c / (np.maximum(w, 0) + middle)) > radius
        low, high = (middle, high) if outside else (low, middle)
    return exp_concave_sum(run, r, Q @ (c / (np.maximum(w, 0) + high)), beta)


# the learners: how they are built, which left side they have, and the right side of each


@dataclass
class Case:
    build: Callable[[int, dict[str, Any], float, np.random.Generator], Any]
    right: Callable[[Run], FloatArray]  # (R,)
    left: str = "linear"
    domains: tuple[str, ...] = ("ball", "ball off the origin", "box", "simplex")
    keep: tuple[str, ...] = ()


def positive(rng: np.random.Generator, low: float = -2.0, high: float = 1.0) -> float:
    return float(10 ** rng.uniform(low, high))


class Guessing(OptimisticOMD):
    """Optimism that has nothing to do with the game, of norm up to `size` G."""

    size = 1.0

    def predict(self, feedback: GradientFeedback) -> FloatArray:
        rng = np.random.default_rng(self.account.rounds)
        noise = unit(rng.standard_normal(feedback.gradients.shape))
        return self.size * self.gradient_bound * rng.random() * noise


class Wild(Guessing):
    size = 10.0


def optimistic(kind: type[OptimisticOMD], form: str) -> Callable[..., OptimisticOMD]:
    def build(d: int, domain: dict[str, Any], G: float, rng: np.random.Generator) -> OptimisticOMD:
        L = float(rng.choice([0.0, positive(rng)]))
        value = {
            "convex": lambda: float(rng.choice([0.0, G**2, positive(rng)])),
            "theory": lambda: None,
            "curved": lambda: positive(rng) * G,
            "constant": lambda: positive(rng) / G,
        }[form]()
        name = {"convex": "delta", "theory": "delta", "curved": "strong_convexity"}
        option: dict[str, Any] = {name.get(form, "step_size"): value}
        return kind(d, gradient_bound=G, smoothness=L, **domain, **option)

    return build


def convex_right(run: Run) -> FloatArray:
    D, delta = run.D, run.learner.delta
    root = np.sqrt(delta + 4 * run.G**2 + run.v.sum(axis=0))
    return 2.5 * D * root - math.sqrt(delta) / (4 * D) * run.moves.sum(axis=0)


def rounds(run: Run) -> FloatArray:
    return np.arange(1, run.T + 1)[:, None]


def curved_right(run: Run) -> FloatArray:
    lam, t = run.learner.strong_convexity, rounds(run)
    paid = lam / 8 * (t[:-1] * run.moves).sum(axis=0)
    return lam * run.D**2 / 4 + (4 * run.v / (lam * t)).sum(axis=0) - paid


def constant_right(run: Run) -> FloatArray:
    eta = run.learner.step_size
    gain = eta * run.v.sum(axis=0) - run.moves.sum(axis=0) / (4 * eta)
    return run.D**2 / (2 * eta) + gain


def ftrl_right(run: Run) -> FloatArray:
    D, nu = run.D, run.learner.nu
    start = nu + 6 * (D * run.G) ** 2 / nu
    paid = nu / (2 * D**2) * run.moves.sum(axis=0)
    return 3 * math.sqrt(2) / 2 * D * np.sqrt(run.v.sum(axis=0)) + start - paid


def optimistic_newton_right(run: Run) -> FloatArray:
    beta, d = run.learner.beta, run.x.shape[-1]
    rise = 16 * d / beta * np.log1p(beta / (8 * d) * run.v.sum(axis=0))
    return run.D**2 / 2 * (1 + beta * run.G**2 / 2) + rise - run.moves.sum(axis=0) / 4


def newton_right(run: Run) -> FloatArray:
    """With ln det H_T/H_0 = ln det(I + γ²D² Σ g gᵀ); the sharper form in between is checked too."""
    gamma, d = run.learner.beta, run.x.shape[-1]
    right = np.zeros(R)
    for r in range(R):
        H, total = np.eye(d) / (gamma * run.D) ** 2, 0.0
        start = np.linalg.slogdet(H)[1]
        for g in run.g[:, r]:
            H = H + np.outer(g, g)
            total += g @ np.linalg.solve(H, g)
        right[r] = (np.linalg.slogdet(H)[1] - start + 1) / (2 * gamma)
        sharper = (total + 1) / (2 * gamma)
        assert exp_concave_maximum(run, r, gamma) <= sharper * (1 + SLACK)
        assert sharper <= right[r] * (1 + SLACK)
    return right


@dataclass
class Meta:
    """The sums of the two-layer inequality, from the recorded trajectory."""

    rest: FloatArray  # (R,), all but the bases'
    base: FloatArray  # (R, N), with the bases' share of the price on movement


def two_layers(run: Run) -> Meta:
    points, weights, rates = (np.array(run.kept[name]) for name in ("points", "weights", "rate"))
    eta, D, rho = run.learner.steps, run.D, 2 * run.learner.smoothness
    n = len(eta)
    rest = np.log(n) / rates[-1, :, 0] if n > 1 else np.zeros(R)
    costs = np.zeros((run.T, R, n))
    costs[1:] = rho * (np.diff(points, axis=0) ** 2).sum(axis=-1)
    for t in range(run.T):
        for r in range(R):
            gap = np.abs(points[t, r] @ (run.g[t, r] - run.M[t, r])).max()
            rest[r] += rates[t, r, 0] * gap**2 - weights[t, r] @ costs[t, r]
            if t > 0 and n > 1:
                shift = np.abs(weights[t, r] - weights[t - 1, r]).sum()
                rest[r] -= shift**2 / (6 * rates[t - 1, r, 0])
    moves = (np.diff(points, axis=0) ** 2).sum(axis=(0, -1))  # S_i
    base = eta * run.v.sum(axis=0)[:, None] + D**2 / (2 * eta) - moves / (4 * eta) + rho * moves
    return Meta(rest, base)


def two_layers_right(run: Run) -> FloatArray:
    sums = two_layers(run)
    return sums.rest + sums.base.min(axis=-1)


DYNAMIC = Case(
    lambda d, domain, G, rng: DynamicOptimisticOMD(
        d, gradient_bound=G, smoothness=positive(rng) * G, **domain
    ),
    two_layers_right,
    domains=("ball",),
    keep=("points", "weights", "rate"),
)

CASES: dict[str, Case] = {
    "OGD": Case(
        lambda d, domain, G, rng: OGD(d, gradient_bound=G, **domain),
        lambda run: np.full(R, 1.5 * run.D * run.G * math.sqrt(run.T)),
    ),
    "OGD, strongly convex": Case(
        lambda d, domain, G, rng: OGD(
            d, gradient_bound=G, strong_convexity=positive(rng) * G, **domain
        ),
        lambda run: (
            (run.g**2).sum(axis=-1).T @ (0.5 / rounds(run)[:, 0]) / run.learner.strong_convexity
        ),
        "curved",
    ),
    "AdaGradNorm": Case(
        lambda d, domain, G, rng: AdaGradNorm(d, **domain),
        lambda run: math.sqrt(2) * run.D * np.sqrt((run.g**2).sum(axis=(0, -1))),
    ),
    "OptimisticOMD": Case(optimistic(OptimisticOMD, "convex"), convex_right),
    "OptimisticOMD, theory": Case(optimistic(OptimisticOMD, "theory"), convex_right),
    "OptimisticOMD, strongly convex": Case(
        optimistic(OptimisticOMD, "curved"), curved_right, "curved"
    ),
    "OptimisticOMD, constant": Case(optimistic(OptimisticOMD, "constant"), constant_right),
    "OMD": Case(optimistic(OMD, "convex"), convex_right),
    "OMD, strongly convex": Case(optimistic(OMD, "curved"), curved_right, "curved"),
    "other guesses": Case(optimistic(Guessing, "convex"), convex_right),
    "other guesses, strongly convex": Case(optimistic(Wild, "curved"), curved_right, "curved"),
    "other guesses, constant": Case(optimistic(Wild, "constant"), constant_right),
    "ImplicitOMD": Case(
        lambda d, domain, G, rng: ImplicitOMD(d, gradient_bound=G, **domain),
        convex_right,
        domains=("ball",),
    ),
    "OptimisticFTRL": Case(
        lambda d, domain, G, rng: OptimisticFTRL(
            d,
            gradient_bound=G,
            smoothness=float(rng.choice([0.0, positive(rng)])),
            nu=None if rng.random() < 0.3 else positive(rng) * G,
            **domain,
        ),
        ftrl_right,
        domains=("ball", "box"),  # they hold 0
    ),
    "OptimisticFTL": Case(
        lambda d, domain, G, rng: OptimisticFTL(
            d, gradient_bound=G, smoothness=1.0, strong_convexity=positive(rng) * G, **domain
        ),
        lambda run: (run.v / (2 * run.learner.strong_convexity * rounds(run))).sum(axis=0),
        "curved",
    ),
    "ONS": Case(
        lambda d, domain, G, rng: ONS(
            d, gradient_bound=G, exp_concavity=positive(rng, -3), **domain
        ),
        newton_right,
        "exp-concave",
        domains=("ball",),
    ),
    "OptimisticONS": Case(
        lambda d, domain, G, rng: OptimisticONS(
            d, gradient_bound=G, smoothness=1.0, exp_concavity=positive(rng, -3), **domain
        ),
        optimistic_newton_right,
        "exp-concave",
        domains=("ball",),
    ),
    "OptimisticONS, any β": Case(
        lambda d, domain, G, rng: OptimisticONS(
            d,
            gradient_bound=G,
            smoothness=1.0,
            exp_concavity=1.0,
            beta=positive(rng, -3, 3),
            **domain,
        ),
        optimistic_newton_right,
        "exp-concave",
        domains=("ball",),
    ),
    "DynamicOptimisticOMD": DYNAMIC,
}


def left_of(run: Run, case: Case) -> tuple[FloatArray, Callable[[int, FloatArray], float], float]:
    """The maximum of the left side, (R,), the left side at a point, and the scale of its terms."""
    scale = run.T * run.G * run.D
    if case.left == "linear":
        best = [linear_maximum(run, r) for r in range(R)]
        return np.array(best), lambda r, u: linear_sum(run, r, u), scale
    if case.left == "curved":
        lam = run.learner.strong_convexity
        best = [curved_maximum(run, r, lam) for r in range(R)]
        # sums of squares are expanded about 0
        scale += lam * run.T * (run.domain.reach + run.D) ** 2
        return np.array(best), lambda r, u: curved_sum(run, r, u, lam), scale
    beta = run.learner.beta
    best = [exp_concave_maximum(run, r, beta) for r in range(R)]
    scale += beta * run.T * (run.G * run.D) ** 2
    # H is kept with its start, and the start is subtracted: its rounding is that of H_0
    scale += beta / run.learner.growth * run.learner.hessian[0].trace() * run.D**2
    return np.array(best), lambda r, u: exp_concave_sum(run, r, u, beta), scale


def check(run: Run, case: Case, rng: np.random.Generator) -> None:
    left, value, scale = left_of(run, case)
    right = case.right(run)
    for inequality in run.sides:  # after every round
        assert inequality is not None
        assert (inequality.left <= inequality.right + SLACK * (scale + abs(inequality.right))).all()
    last = run.sides[-1]
    assert last is not None
    np.testing.assert_allclose(last.left, left, rtol=SLACK, atol=SLACK * scale)
    np.testing.assert_allclose(last.right, right, rtol=SLACK, atol=SLACK * scale)
    for u in run.domain.sample(rng, (10,), run.x.shape[-1]):
        for r in range(R):
            assert value(r, u) <= last.left[r] + SLACK * scale


seeds = st.integers(0, 2**32 - 1)
every_game = given(
    seed=seeds, d=st.integers(1, 5), kind=st.sampled_from(KINDS), T=st.integers(1, 24)
)
quick = settings(deadline=None, derandomize=True, max_examples=30)


@pytest.mark.parametrize("name", CASES)
@quick
@every_game
def test_every_run_meets_the_inequality_at_the_worst_comparator(
    name: str, seed: int, d: int, kind: str, T: int
) -> None:
    case, rng = CASES[name], np.random.default_rng(seed)
    where = case.domains[int(rng.integers(len(case.domains)))]
    if where == "simplex":
        d += 1  # of one coordinate it is a point
    domain, G = domain_of(where, d, rng), positive(rng, -2, 2)
    learner = case.build(d, domain.arguments, G, rng)
    losses = nature(kind, d, G, domain.reach, rng)
    check(play(learner, domain, losses, G, T, case.keep), case, rng)


@quick
@every_game
def test_a_two_layer_run_meets_its_inequality_against_moving_comparators_and_every_base(
    seed: int, d: int, kind: str, T: int
) -> None:
    rng = np.random.default_rng(seed)
    domain, G = domain_of("ball", d, rng), positive(rng, -2, 2)
    learner = DYNAMIC.build(d, domain.arguments, G, rng)
    losses = nature(kind, d, G, domain.reach, rng)
    run = play(learner, domain, losses, G, T, DYNAMIC.keep)
    sums, eta = two_layers(run), learner.steps
    for r in range(R):
        greedy = -domain.reach * unit(run.g[:, r])  # argmin ⟨g_t, ·⟩
        for u in (greedy, domain.sample(rng, (T,), d), np.repeat(greedy[::4], 4, axis=0)[:T]):
            path = np.linalg.norm(np.diff(u, axis=0), axis=-1).sum()
            regret = ((run.x[:, r] - u) * run.g[:, r]).sum()
            right = sums.rest[r] + sums.base[r] + run.D * path / eta
            assert (regret <= right + SLACK * (T * G * run.D + abs(right))).all()


EXPERTS: dict[str, Callable[[int, dict[str, Any], float], list[GradientLearner] | None]] = {
    "default": lambda d, domain, G: None,
    "two": lambda d, domain, G: [
        OptimisticOMD(d, gradient_bound=G, smoothness=0.0, step_size=0.5 / G, **domain),
        OMD(d, gradient_bound=G, smoothness=0.0, step_size=5 / G, **domain),
    ],
}


@pytest.mark.parametrize("experts", EXPERTS)
@quick
@every_game
def test_adapt_ml_prod_keeps_up_with_every_expert(
    experts: str, seed: int, d: int, kind: str, T: int
) -> None:
    rng = np.random.default_rng(seed)
    domain, G = domain_of("ball", d, rng), positive(rng, -2, 2)
    learner = Universal(
        d,
        gradient_bound=G,
        smoothness=1.0,
        experts=EXPERTS[experts](d, domain.arguments, G),
        **domain.arguments,
    )
    losses = nature(kind, d, G, domain.reach, rng)
    run = play(learner, domain, losses, G, T, ("points",))
    points = np.array(run.kept["points"])  # (T, R, K, d)
    gaps = run.x[:, :, None] - points
    r = np.einsum("trd,trkd->trk", run.g, gaps) / (2 * G * run.D)
    assert abs(r).max() <= 0.5 + SLACK
    Q, log_k = (r**2).sum(axis=0), math.log(r.shape[-1])
    mixed = np.log1p(r.shape[-1] / (2 * math.e) * (1 + math.log(T + 1)))
    slowest = np.maximum(2, np.sqrt((1 + Q) / log_k))
    right = 2 * log_k + 2 * np.sqrt(log_k * Q) + slowest * mixed
    left = r.sum(axis=0)
    assert (left <= right * (1 + SLACK)).all()
    last = run.sides[-1]
    assert last is not None
    np.testing.assert_allclose(last.slack, (right - left).min(axis=-1), rtol=SLACK)
    rows, least = np.arange(R), (right - left).argmin(axis=-1)
    np.testing.assert_allclose(last.left, left[rows, least], rtol=SLACK, atol=SLACK)


@pytest.mark.parametrize("name", ["OptimisticOMD", "OptimisticOMD, strongly convex", "ONS"])
@pytest.mark.parametrize("seed", range(2))
def test_the_worst_comparator_is_cvxpys(name: str, seed: int) -> None:
    cp = pytest.importorskip("cvxpy")
    case, rng, d, T, G = CASES[name], np.random.default_rng(seed), 3, 20, 2.0
    domain = domain_of(case.domains[0] if name == "ONS" else "box", d, rng)
    learner = case.build(d, domain.arguments, G, rng)
    run = play(learner, domain, nature("least squares", d, G, domain.reach, rng), G, T)
    u = cp.Variable(d)
    inside = [cp.norm(u) <= domain.reach]
    if isinstance(domain.set, Box):
        inside = [u >= domain.set.low, u <= domain.set.high]
    last = run.sides[-1]
    assert last is not None
    for r in range(R):
        x, g = run.x[:, r], run.g[:, r]
        gain = (x * g).sum() - g.sum(axis=0) @ u
        if case.left == "curved":
            gain -= learner.strong_convexity / 2 * sum(cp.sum_squares(y - u) for y in x)
        if case.left == "exp-concave":
            gain -= learner.beta / 2 * cp.sum_squares((x * g).sum(axis=-1) - g @ u)
        problem = cp.Problem(cp.Maximize(gain), inside)
        problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
        # CLARABEL's value is within its tolerance
        np.testing.assert_allclose(last.left[r], problem.value, rtol=1e-7, atol=1e-7)


def test_the_strongly_convex_inequality_of_follow_the_leader_is_attained_in_one_round() -> None:
    # max_u ⟨g, −u⟩ − (μ/2) ‖u‖² = ‖g‖²/(2μ) where −g/μ is in the ball
    learner = OptimisticFTL(2, radius=1.0, gradient_bound=1.0, smoothness=1.0, strong_convexity=2.0)
    learner.reset(1, 1, np.random.default_rng(0))
    g = np.array([[0.6, -0.8]])
    learner.update(GradientFeedback(g, LinearLoss(g)))
    inequality = learner.pathwise()
    assert inequality is not None
    np.testing.assert_allclose(inequality.left, 0.25, rtol=1e-14)
    np.testing.assert_allclose(inequality.right, 0.25, rtol=1e-14)


@pytest.mark.parametrize(
    "learner",
    [
        OGD(2, radius=1.0, gradient_bound=1.0),
        OptimisticOMD(2, radius=1.0, gradient_bound=1.0, smoothness=1.0),
        ImplicitOMD(2, radius=1.0, gradient_bound=1.0),
        OptimisticFTRL(2, radius=1.0, gradient_bound=1.0, smoothness=1.0),
        OptimisticONS(2, radius=1.0, gradient_bound=1.0, smoothness=1.0, exp_concavity=0.1),
        Universal(2, radius=1.0, gradient_bound=1.0, smoothness=1.0),
    ],
    ids=lambda learner: type(learner).__name__,
)
def test_no_inequality_is_claimed_once_a_gradient_is_larger_than_the_bound(
    learner: GradientLearner,
) -> None:
    learner.reset(R, 10, np.random.default_rng(0))
    for size, proven in ((1.0, True), (1.0 + 1e-6, False), (0.5, False)):
        g = np.array([[0.6, 0.8], [0.0, size]])
        learner.update(GradientFeedback(g, LinearLoss(g)))
        assert (learner.pathwise() is not None) is proven


def test_the_convex_inequality_is_claimed_for_guesses_within_the_bound_alone() -> None:
    class Far(OptimisticOMD):
        size: float

        def predict(self, feedback: GradientFeedback) -> FloatArray:
            return -self.size * feedback.gradients

    for size, proven in ((1.0, True), (3.0, False)):
        learner = Far(2, radius=1.0, gradient_bound=1.0, smoothness=0.0)
        learner.size = size
        learner.reset(R, 10, np.random.default_rng(0))
        for _ in range(2):
            g = np.array([[0.6, 0.8], [0.0, 1.0]])
            learner.update(GradientFeedback(g, LinearLoss(g)))
        assert (learner.pathwise() is not None) is proven


@pytest.mark.parametrize(
    "learner",
    [
        Ader(2, radius=1.0, gradient_bound=1.0),
        DynamicOptimisticOMD(2, radius=1.0, gradient_bound=1.0, smoothness=1.0, variant="pynol"),
    ],
    ids=lambda learner: type(learner).__name__,
)
def test_learners_without_an_inequality_claim_none(learner: GradientLearner) -> None:
    learner.reset(R, 10, np.random.default_rng(0))
    g = np.ones((R, 2)) / 2
    learner.update(GradientFeedback(g, LinearLoss(g)))
    assert learner.pathwise() is None
