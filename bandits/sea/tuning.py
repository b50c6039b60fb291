"""Learners that are told the constants of an instance."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

from ..gradient_learner import GradientLearner
from .instance import SEAInstance

LearnerT = TypeVar("LearnerT", bound=GradientLearner)


def tuned(kind: type[LearnerT], instance: SEAInstance, **options: Any) -> LearnerT:
    """A learner of class `kind` with the dimension, radius, G, L, α of `instance`.

    tuned(OptimisticOMD, instance) is OptimisticOMD(instance.dim, radius=instance.radius,
    gradient_bound=instance.gradient_bound, smoothness=instance.smoothness). λ is passed only where
    the class cannot do without it.

    Args:
        kind: the learner's class.
        instance: the game.
        options: further arguments; they replace those of the instance.
    """
    parameters = inspect.signature(kind).parameters
    names = ["radius", "gradient_bound", "smoothness", "exp_concavity"]
    curved = parameters.get("strong_convexity")
    if curved is not None and curved.default is inspect.Parameter.empty:
        names.append("strong_convexity")
    constants = {name: getattr(instance, name) for name in names if name in parameters}
    return kind(instance.dim, **(constants | options))
