"""What the figures on bandits share: traces from tables, and growth as a logarithm."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fenchel.core import Environment, Learner, Trace
from fenchel.core.regret import least_squares_slope
from fenchel.experiments import Outcome, Results, within

ConfigT = TypeVar("ConfigT")


def traces_of(
    results: Results[Any, ConfigT],
    build: Callable[[ConfigT], tuple[Learner, Environment]],
    horizon: Callable[[ConfigT], int],
) -> dict[ConfigT, Trace]:
    """The trace of each configuration, with the guarantee of its learner for its horizon."""
    traces = {}
    for config in results.configs:
        learner, game = build(config)
        learner.reset(1, horizon(config), np.random.default_rng())  # its bound is that of a horizon
        inequality = learner.pathwise()
        traces[config] = Trace.from_frames(
            results[config],
            guarantee=learner.guarantee(game),
            label=type(learner).__name__,
            reference=inequality.reference if inequality else "",
        )
    return traces


def grows_as_logarithm(trace: Trace) -> Outcome:
    """Slope of regret against ln t in (T/4, T] over that in (T/16, T/4]: 1 if log, 2 if root."""
    logs, last = np.log(trace.rounds), np.log(trace.rounds[-1])
    early = (logs > last - np.log(16)) & (logs <= last - np.log(4))
    late = logs > last - np.log(4)

    def ratio(curves: Any) -> Any:
        slopes = [least_squares_slope(logs[part], curves[..., part]) for part in (early, late)]
        return slopes[1] / slopes[0]

    result = trace.estimate(ratio)
    detail = "slope against ln t in (T/4, T] over that in (T/16, T/4]; 2 would be a root"
    return within(result.value, result.low, result.high, 2 / 3, 1.5, detail)
