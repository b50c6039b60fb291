"""Guarantees and path-wise inequalities of all learners on all their games."""

import math
from typing import Any

import numpy as np
import pytest

from fenchel.bandits.linear import (
    OFUL,
    AdversarialContextualBandit,
    AdversarialLinearBandit,
    ConvexBodyBandit,
    Exp2,
    LinearBandit,
    LinearContextualBandit,
    LinExp3,
    SCRiBLe,
)
from fenchel.core import Trace, run
from fenchel.core.checks import FloatArray
from fenchel.core.sets import Ball, Box, Polytope

ROUNDS = 1000
RNG = np.random.default_rng(0)
SPHERE = RNG.normal(size=(12, 4))
SPHERE /= np.linalg.norm(SPHERE, axis=1, keepdims=True)
THETA = np.array([0.6, -0.4, 0.3, 0.5])
CUBE = np.array([[1.0 if i >> k & 1 else -1.0 for k in range(3)] for i in range(8)]) / 3


def assert_bound_holds(trace: Trace) -> None:
    """At all checkpoints: for the mean + 3 s.e., each run, or a share `confidence` of the runs."""
    guarantee = trace.guarantee
    assert guarantee is not None
    bound = guarantee.bound(trace.rounds)
    assert np.isfinite(bound).all()
    if guarantee.kind == "pathwise":
        assert (trace.regret <= bound + 1e-12 * trace.rounds).all()  # a sum's rounding
    elif guarantee.kind == "expected":
        error = trace.regret.std(axis=0, ddof=1) / math.sqrt(len(trace.regret))
        assert (trace.mean() + 3 * error <= bound).all()
    else:
        assert guarantee.confidence is not None
        assert ((trace.regret > bound).mean(axis=0) <= 1 - guarantee.confidence).all()
    if trace.pathwise is not None:
        assert (trace.pathwise.slack >= -1e-9 * trace.rounds).all()


def assert_bound_bites(trace: Trace) -> None:
    """At the end it is below the 2 t that hold of themselves."""
    assert trace.guarantee is not None
    assert trace.guarantee.bound(trace.rounds[-1]) < 2 * trace.rounds[-1]


STOCHASTIC: dict[str, Any] = {
    "sphere": lambda: LinearBandit(SPHERE, THETA, noise=0.3),
    "basis": lambda: LinearBandit(np.eye(5), [0.5, 0.4, 0.6, -0.1, -0.2], noise=0.1),
    "small gaps": lambda: LinearBandit(SPHERE, 0.05 * THETA, noise=0.3),
    "no noise": lambda: LinearBandit(CUBE, [0.9, -0.5, 0.2], noise=0.0),
}


@pytest.mark.parametrize("name", STOCHASTIC)
def test_oful_keeps_its_bound(name: str) -> None:
    game = STOCHASTIC[name]()
    learner = OFUL(game.features, noise=game.noise, parameter_bound=1.1)
    trace = run(learner, game, ROUNDS, n_replications=200, seed=1)
    assert_bound_holds(trace)
    assert trace.pathwise is not None
    if name != "small gaps":
        assert_bound_bites(trace)


def alternating(t: int) -> FloatArray:
    """The sign of the best arm changes, its side keeps an advantage."""
    return THETA * (1.0 if t % 3 else -0.7)


def switch(t: int) -> FloatArray:
    return THETA if t < ROUNDS // 3 else -THETA


ADVERSARIES: dict[str, Any] = {
    "constant": lambda: AdversarialLinearBandit(SPHERE, lambda t: THETA),
    "alternating": lambda: AdversarialLinearBandit(SPHERE, alternating),
    "switch": lambda: AdversarialLinearBandit(SPHERE, switch),
    "corners": lambda: AdversarialLinearBandit(
        CUBE, np.random.default_rng(1).choice([-1.0, 1.0], p=[0.4, 0.6], size=(ROUNDS, 3))
    ),
    "plane": lambda: AdversarialLinearBandit(
        np.c_[CUBE, CUBE[:, :1]], lambda t: [0.2, 0.5, 0, 0.7]
    ),
    "no noise": STOCHASTIC["no noise"],
}


@pytest.mark.parametrize("name", ADVERSARIES)
@pytest.mark.parametrize("rate", [None, 0.01, 0.3])
def test_exp2_keeps_its_bound(name: str, rate: float | None) -> None:
    game = ADVERSARIES[name]()
    learner = Exp2(game.features, learning_rate=rate)
    trace = run(learner, game, ROUNDS, n_replications=128, seed=2)
    assert_bound_holds(trace)
    if rate is None:
        assert_bound_bites(trace)


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_oful_keeps_its_bound_with_contexts(noise: float) -> None:
    game = LinearContextualBandit(6, 0.9 * THETA / np.linalg.norm(THETA), noise=noise)
    trace = run(OFUL(dim=4, noise=noise), game, ROUNDS, n_replications=128, seed=3)
    assert_bound_holds(trace)
    assert_bound_bites(trace)


CONTEXTS = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-0.6, 0.8]])
CONTEXTUAL: dict[str, Any] = {
    "constant": lambda t: [[0.5, 0.1], [-0.2, 0.5], [0.3, -0.5]],
    "switch": lambda t: np.array([[0.5, 0.1], [-0.2, 0.5]]) * (1 if t < ROUNDS // 3 else -1),
    "alternating": lambda t: np.array([[0.7, 0.1], [-0.2, 0.5]]) * (1 if t % 3 else -0.8),
    "random": np.random.default_rng(2).choice([-0.7, 0.7], p=[0.4, 0.6], size=(ROUNDS, 2, 2)),
}


@pytest.mark.parametrize("name", CONTEXTUAL)
@pytest.mark.parametrize("rate", [None, 0.01, 0.2])
def test_lin_exp3_keeps_its_bound(name: str, rate: float | None) -> None:
    p = np.array([0.4, 0.3, 0.2, 0.1])
    game = AdversarialContextualBandit(CONTEXTS, p, CONTEXTUAL[name])
    learner = LinExp3(CONTEXTS, p, game.n_arms, learning_rate=rate)
    trace = run(learner, game, ROUNDS, n_replications=128, seed=4)
    assert_bound_holds(trace)
    if rate is None:
        assert_bound_bites(trace)


CORNER = Polytope(np.concatenate([-np.eye(3), np.ones((1, 3))]), [0.0, 0.0, 0.0, 1.0])
BODIES: dict[str, Any] = {"ball": Ball(), "corner": CORNER, "box": Box(-0.4, 0.4)}
POINTS: dict[str, Any] = {
    "constant": lambda t: [0.6, -0.4, 0.5],
    "switch": lambda t: np.array([0.6, -0.4, 0.5]) * (1 if t < ROUNDS // 3 else -1),
    "alternating": lambda t: np.array([0.6, -0.4, 0.5]) * (1 if t % 3 else -0.7),
    "random": np.random.default_rng(3).choice([-0.5, 0.5], p=[0.4, 0.6], size=(ROUNDS, 3)),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", POINTS)
@pytest.mark.parametrize("rate", [None, 0.25])
def test_scrible_keeps_its_bound_and_its_inequality(
    body: str, name: str, rate: float | None
) -> None:
    game = ConvexBodyBandit(BODIES[body], POINTS[name])
    learner = SCRiBLe(3, domain=BODIES[body], learning_rate=rate)
    trace = run(learner, game, ROUNDS, n_replications=64, seed=5, checkpoints=40)
    assert trace.pathwise is not None
    assert_bound_holds(trace)
    if rate is None:
        assert_bound_bites(trace)


def test_the_first_round_of_scrible_is_as_costly_as_its_inequality_allows() -> None:
    # one step on a half line: ω* is the gap of −ln x exactly; two half lines come near
    game = ConvexBodyBandit(Ball(), lambda t: [1.0])
    trace = run(SCRiBLe(1, learning_rate=0.1), game, 1, n_replications=8, seed=6)
    assert trace.pathwise is not None
    assert 0.9 < trace.pathwise.tightest() <= 1
