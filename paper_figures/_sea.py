"""What the figures of the SEA model share: the learners by name."""

from collections.abc import Callable
from typing import TypeAlias

from fenchel.bandits import OGD, ONS
from fenchel.bandits.gradient_learner import GradientLearner
from fenchel.bandits.sea import (
    OMD,
    Ader,
    DynamicOptimisticOMD,
    OptimisticFTL,
    OptimisticFTRL,
    OptimisticOMD,
    OptimisticONS,
    SEAInstance,
    tuned,
)

Options: TypeAlias = Callable[[SEAInstance], dict[str, float | str]]


def plain(game: SEAInstance) -> dict[str, float | str]:
    return {}


def curved(game: SEAInstance) -> dict[str, float | str]:
    return {"strong_convexity": game.strong_convexity}


LEARNERS: dict[str, tuple[type[GradientLearner], Options]] = {
    "optimistic OMD": (OptimisticOMD, plain),
    "optimistic OMD, δ = G²": (OptimisticOMD, lambda game: {"delta": game.gradient_bound**2}),
    "OMD without optimism": (OMD, plain),
    "optimistic FTRL": (OptimisticFTRL, plain),
    "OGD": (OGD, plain),
    "strongly convex OMD": (OptimisticOMD, curved),
    "optimistic FTL": (OptimisticFTL, plain),
    "strongly convex OGD": (OGD, curved),
    "optimistic ONS": (OptimisticONS, plain),
    "optimistic ONS, β = 4α": (OptimisticONS, lambda game: {"beta": 4 * game.exp_concavity}),
    "ONS": (ONS, plain),
    "two-layer OMD": (DynamicOptimisticOMD, plain),
    "Sword++ (PyNOL)": (DynamicOptimisticOMD, lambda game: {"variant": "pynol"}),
    "Ader": (Ader, plain),
}


def learner(name: str, game: SEAInstance, **more: float) -> GradientLearner:
    """The learner of this name, told the constants of the game, or others instead."""
    kind, options = LEARNERS[name]
    return tuned(kind, game, **(options(game) | more))
