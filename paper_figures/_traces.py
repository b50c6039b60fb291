"""What the figures on regret share: runs to and from tables, curves, and how regret grows."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from fenchel.core import Environment, Estimate, Learner, Trace, run
from fenchel.core.checks import FloatArray, IntArray
from fenchel.core.regret import least_squares_slope
from fenchel.experiments import Outcome, Results, within


class Sized(Protocol):
    """What a config of these figures has at least."""

    @property
    def horizon(self) -> int: ...

    @property
    def n_replications(self) -> int: ...


SizedT = TypeVar("SizedT", bound=Sized)


def play(
    player: Learner,
    game: Environment,
    config: Sized,
    seed: int,
    checkpoints: int | Sequence[int] | IntArray = 60,
) -> pd.DataFrame:
    n = config.n_replications
    return run(
        player, game, config.horizon, n_replications=n, seed=seed, checkpoints=checkpoints
    ).to_frame()


def trace(
    player: Learner, game: Environment, config: Sized, frames: Sequence[pd.DataFrame]
) -> Trace:
    """The trace that `play` wrote, with the guarantee of the learner at that horizon."""
    player.reset(1, config.horizon, np.random.default_rng())
    guarantee = player.guarantee(game)
    return Trace.from_frames(frames, guarantee=guarantee, label=type(player).__name__)


def traces_of(
    results: Results[Any, SizedT], build: Callable[[SizedT], tuple[Learner, Environment]]
) -> dict[SizedT, Trace]:
    """The trace of each configuration."""
    return {config: trace(*build(config), config, results[config]) for config in results.configs}


def ends(traces: Sequence[Trace]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean final regrets of several traces and the ends of their intervals, (N,) each."""
    low, high = np.array([np.stack(t.interval())[:, -1] for t in traces]).T
    return np.array([t.mean()[-1] for t in traces]), low, high


def curve(
    ax: Axes, x: Sequence[float] | FloatArray, traces: Sequence[Trace], *, bound: bool, **style: Any
) -> None:
    """Final regret against x with its interval, and the bound, dashed."""
    mean, low, high = ends(traces)
    (line,) = ax.plot(x, mean, marker="o", ms=3, **style)
    ax.fill_between(x, low, high, color=line.get_color(), alpha=0.25, lw=0)
    if bound:
        bounds = [t.guarantee.bound(t.rounds[-1]) for t in traces if t.guarantee]
        ax.plot(x, bounds, "--", color=line.get_color(), lw=1)


def levels(ax: Axes, x: Sequence[float]) -> None:
    """A logarithmic axis that is labelled at x alone."""
    ax.set_xscale("log")
    ax.set_xticks(x, labels=[f"{v:g}" for v in x])
    ax.xaxis.set_minor_locator(NullLocator())


def power(
    x: Sequence[float] | FloatArray, traces: Sequence[Trace], *, since: float = 0.0
) -> Estimate:
    """The slope of log mean final regret against log x, with a bootstrap interval.

    Of the regret, the part after round `since` T.
    """
    rng, logs = np.random.default_rng(0), np.log(x)
    finals = [t.regret[:, -1] for t in traces]
    if since:
        starts = [int(np.searchsorted(t.rounds, since * t.rounds[-1])) for t in traces]
        finals = [f - t.regret[:, k] for f, t, k in zip(finals, traces, starts, strict=True)]
    shares = [rng.multinomial(len(r), np.full(len(r), 1 / len(r)), size=2000) for r in finals]
    resampled = np.stack([w / len(r) @ r for w, r in zip(shares, finals, strict=True)], axis=-1)
    if not (resampled > 0).all():
        raise ValueError("mean final regret is not positive, so its logarithm has no slope")
    slopes = least_squares_slope(logs, np.log(resampled))
    value = least_squares_slope(logs, np.log([r.mean() for r in finals]))
    return Estimate(float(value), *map(float, np.quantile(slopes, [0.025, 0.975])))


def logarithmic(player: Trace) -> Outcome:
    """Slope of regret against ln t in (T/4, T] over that in (T/16, T/4]: 1 if log, 2 if root."""
    logs, last = np.log(player.rounds), np.log(player.rounds[-1])
    early = (logs > last - np.log(16)) & (logs <= last - np.log(4))
    late = logs > last - np.log(4)

    def ratio(curves: FloatArray) -> FloatArray:
        slopes = [least_squares_slope(logs[part], curves[..., part]) for part in (early, late)]
        return slopes[1] / slopes[0]

    result = player.estimate(ratio)
    detail = "slope against ln t in (T/4, T] over that in (T/16, T/4]; 2 would be a root"
    return within(result.value, result.low, result.high, 2 / 3, 1.5, detail)
