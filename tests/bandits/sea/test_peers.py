"""Agreement with PyNOL, which has the constant step and Sword++ (and no SEA model)."""

import importlib
import warnings
from typing import Any

import numpy as np
import pytest

from fenchel.bandits.sea import DynamicOptimisticOMD, OptimisticOMD
from fenchel.bandits.sea.losses import SquaredResiduals
from fenchel.core import GradientFeedback
from fenchel.core.checks import FloatArray

T, d, RADIUS = 300, 4, 0.5
RNG = np.random.default_rng(0)
FEATURES = RNG.standard_normal((T, d))
FEATURES /= np.linalg.norm(FEATURES, axis=1, keepdims=True)
TARGETS = RNG.standard_normal(T)
G, L = RADIUS + float(abs(TARGETS).max()), 1.0  # of ½ (⟨a, x⟩ − b)², ‖a‖ = 1


def pynol(module: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # escapes in its docstrings that Python dislikes
        pytest.importorskip("pynol.learner.models.dynamic.swordpp")  # it needs autograd
        return importlib.import_module(f"pynol.{module}")


def theirs(learner: Any) -> FloatArray:
    class Game(pynol("environment.environment").Environment):  # type: ignore[misc]
        def __getitem__(self, t: int) -> Any:
            super().__getitem__(t)
            self.grad_func = lambda x: FEATURES[t] * (FEATURES[t] @ x - TARGETS[t])
            return self

    losses = [lambda x, t=t: 0.5 * (FEATURES[t] @ x - TARGETS[t]) ** 2 for t in range(T)]
    points, *_ = pynol("online_learning").online_learning(T, Game(func_sequence=losses), learner)
    return np.asarray(points)


def ours(learner: Any) -> FloatArray:
    learner.reset(1, T, np.random.default_rng(0))
    points = np.zeros((T, d))
    for t in range(T):
        points[t] = learner.act()[0]
        loss = SquaredResiduals(FEATURES[None, t : t + 1], TARGETS[None, t : t + 1])
        learner.update(GradientFeedback(loss.gradient(learner.act()), loss))
    return points


def test_the_constant_step_is_pynols_optimistic_gradient_descent() -> None:
    peer = pynol("learner.base").OptimisticOGD(
        pynol("environment.domain").Ball(d, RADIUS),
        step_size=0.3,
        optimism_type="last_grad",
        prior=np.zeros(d),
    )
    points = ours(OptimisticOMD(d, radius=RADIUS, gradient_bound=G, smoothness=L, step_size=0.3))
    np.testing.assert_allclose(points, theirs(peer), rtol=0, atol=1e-12)
    on_the_sphere = np.linalg.norm(points, axis=1) > RADIUS * (1 - 1e-9)
    assert 0 < on_the_sphere.mean() < 1


def test_the_ensemble_is_pynols_sword() -> None:
    peer = pynol("learner.models.dynamic.swordpp").SwordPP(
        pynol("environment.domain").Ball(d, RADIUS), T, G, L, prior=np.zeros(d)
    )
    learner = DynamicOptimisticOMD(
        d, radius=RADIUS, gradient_bound=G, smoothness=L, variant="pynol"
    )
    points = ours(learner)
    assert len(learner.steps) > 2
    np.testing.assert_allclose(points, theirs(peer), rtol=0, atol=1e-12)
