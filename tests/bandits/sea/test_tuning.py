from typing import Any

import numpy as np
import pytest

from fenchel.bandits import OGD, ONS, AdaGradNorm
from fenchel.bandits.gradient_learner import GradientLearner
from fenchel.bandits.sea import (
    OMD,
    Ader,
    DynamicOptimisticOMD,
    ImplicitOMD,
    LeastAbsolute,
    LeastSquares,
    NoisyQuadratic,
    OptimisticFTL,
    OptimisticFTRL,
    OptimisticOMD,
    OptimisticONS,
    Universal,
    tuned,
)
from fenchel.core import run

GAME = NoisyQuadratic([0.3, 0.2, 0.0], 0.5, strong_convexity=0.7, radius=2.0)
KINDS = [
    OGD,
    ONS,
    AdaGradNorm,
    OMD,
    Ader,
    DynamicOptimisticOMD,
    ImplicitOMD,
    OptimisticFTL,
    OptimisticFTRL,
    OptimisticOMD,
    OptimisticONS,
    Universal,
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_learner_is_told_the_constants_of_the_game_and_has_a_bound(
    kind: type[GradientLearner],
) -> None:
    learner = tuned(kind, GAME)
    assert type(learner) is kind
    assert (learner.dim, learner.radius) == (3, 2.0)
    for name in ("gradient_bound", "smoothness", "exp_concavity"):
        if kind not in (AdaGradNorm, ImplicitOMD):  # which are not told one of them
            assert getattr(learner, name, getattr(GAME, name)) == getattr(GAME, name)
    trace = run(learner, GAME, 20, n_replications=2, seed=0)
    assert trace.guarantee is not None


def test_strong_convexity_is_told_to_those_that_cannot_do_without() -> None:
    assert tuned(OptimisticFTL, GAME).strong_convexity == 0.7
    assert tuned(OptimisticOMD, GAME).strong_convexity is None
    assert tuned(OGD, GAME).strong_convexity is None


def test_options_replace_what_the_game_says() -> None:
    learner = tuned(OptimisticOMD, GAME, strong_convexity=0.5, gradient_bound=9.0)
    assert (learner.strong_convexity, learner.gradient_bound) == (0.5, 9.0)
    assert tuned(OptimisticONS, GAME, beta=0.3).beta == 0.3
    with pytest.raises(TypeError, match="speed"):
        tuned(OGD, GAME, speed=1)


@pytest.mark.parametrize(
    ("kind", "game"),
    [
        (OptimisticOMD, LeastAbsolute([[1.0, 0.0]], [0.1])),  # not smooth
        (OptimisticFTL, LeastSquares([[1.0, 0.0]], [0.1])),  # flat along e_2
    ],
)
def test_a_learner_that_needs_what_the_game_lacks_is_refused(kind: Any, game: Any) -> None:
    with pytest.raises(ValueError, match=r"smoothness|strong_convexity"):
        tuned(kind, game)


def test_a_tuned_learner_is_the_one_written_out() -> None:
    written = OptimisticOMD(
        GAME.dim,
        radius=GAME.radius,
        gradient_bound=GAME.gradient_bound,
        smoothness=GAME.smoothness,
    )
    traces = [run(learner, GAME, 50, seed=1) for learner in (written, tuned(OptimisticOMD, GAME))]
    np.testing.assert_array_equal(traces[0].regret, traces[1].regret)
