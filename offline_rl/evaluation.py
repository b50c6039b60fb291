"""How good agents are: returns in an environment, normalised scores, and averages over tasks.

Scores of n seeds on m tasks are one matrix. Intervals of averages are of the stratified bootstrap:
seeds are drawn anew with replacement within each task, and tasks are held fixed.

Reference:
    Agarwal, Schwarzer, Castro, Courville, Bellemare. Deep reinforcement learning at the edge of the
    statistical precipice. NeurIPS 2021 (interquartile mean, optimality gap, intervals).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, get_args

import gymnasium
import numpy as np
import numpy.typing as npt

from ..core import checks
from ..core.checks import FloatArray

EnvLike: TypeAlias = str | Callable[[], gymnasium.Env[Any, Any]]
Policy: TypeAlias = Callable[[Any], Any]  # actions for n observations
Statistic: TypeAlias = Literal["iqm", "mean", "median", "optimality_gap"]


class Actor(Protocol):
    """What can be evaluated: our agents, and models of stable-baselines3."""

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[Any, Any]:
        """Actions for n observations, and a state for the next call."""
        ...


def evaluate(
    agent: Actor | Policy, env: EnvLike, *, n_episodes: int = 10, seed: int = 0
) -> FloatArray:
    """Undiscounted returns of the deterministic policy, (n_episodes,).

    Episodes go on in lockstep, each in its own environment, so that the agent is asked for all
    actions at once. Those with a `receive(state, rewards)` are told rewards, too.

    Args:
        agent: with `predict`, or a function from n observations to n actions.
        env: an id of gymnasium, or a function that makes an environment, whose episodes end.
        n_episodes: how many.
        seed: from which the first reset of each environment is seeded.
    """
    checks.integer(n_episodes, "n_episodes", minimum=1)
    checks.integer(seed, "seed", minimum=0)
    predict = _predict(agent)
    make = partial(gymnasium.make, env) if isinstance(env, str) else env
    seeds = np.random.SeedSequence(seed).generate_state(n_episodes)
    envs = [make() for _ in range(n_episodes)]
    try:
        starts = (one.reset(seed=int(s))[0] for one, s in zip(envs, seeds, strict=True))
        observations = np.stack([np.asarray(start) for start in starts])
        returns, running = np.zeros(n_episodes), np.ones(n_episodes, dtype=bool)
        state, episode_start = None, np.ones(n_episodes, dtype=bool)
        while running.any():
            actions, state = predict(
                observations, state=state, episode_start=episode_start, deterministic=True
            )
            rewards = np.zeros(n_episodes)
            for i in np.flatnonzero(running):
                observations[i], reward, terminated, truncated, _ = envs[i].step(actions[i])
                rewards[i], running[i] = float(reward), not (terminated or truncated)
            returns += rewards
            if hasattr(agent, "receive"):
                state = agent.receive(state, rewards)
            episode_start = np.zeros(n_episodes, dtype=bool)
    finally:
        for one in envs:
            one.close()
    return returns


def _predict(agent: Actor | Policy) -> Callable[..., tuple[Any, Any]]:
    """`agent.predict`, which a function has not."""
    if hasattr(agent, "predict"):
        return agent.predict
    if not callable(agent):
        raise ValueError(
            f"agent must have predict, or be a function of observations, got {type(agent).__name__}"
            "; pass an agent"
        )
    return lambda observation, state, **_: (agent(observation), state)


def normalised_scores(returns: npt.ArrayLike, low: float, high: float) -> FloatArray:
    """100 (J − J_low)/(J_high − J_low): 0 for the one reference, 100 for the other.

    Args:
        returns: J, of any shape.
        low: return of a random policy, as a rule.
        high: that of an expert; above low.
    """
    if not low < high:
        raise ValueError(f"low must be below high, got {low} and {high}; swap them")
    scores: FloatArray = 100.0 * (checks.array(returns, "returns") - low) / (high - low)
    return scores


class Estimate(NamedTuple):
    """A value and its interval."""

    value: float
    low: float
    high: float


def aggregate(
    scores: npt.ArrayLike,
    *,
    statistic: Statistic = "iqm",
    rng: np.random.Generator,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    goal: float = 100.0,
) -> Estimate:
    """An average of scores, with the percentile interval of the stratified bootstrap.

    Args:
        scores: (n_seeds, n_tasks).
        statistic: "iqm": mean of the middle half of all scores; "mean": of all; "median": over
            tasks of their means; "optimality_gap": mean of goal − min(score, goal).
        rng: of the resamples.
        confidence: in (0, 1).
        n_resamples: matrices drawn.
        goal: score that is good enough, for the gap.
    """
    if statistic not in get_args(Statistic):
        names = ", ".join(get_args(Statistic))
        raise ValueError(f"statistic must be one of {names}, got {statistic!r}; pass one")
    x = checks.array(scores, "scores", shape=(None, None))
    if not x.size:
        raise ValueError(f"scores must have seeds and tasks, got shape {x.shape}; give some")
    checks.real(confidence, "confidence", above=0.0, below=1.0)
    checks.integer(n_resamples, "n_resamples", minimum=1)
    rows = rng.integers(len(x), size=(n_resamples, *x.shape))
    resampled = np.take_along_axis(x[None], rows, axis=1)  # (n_resamples, n_seeds, n_tasks)
    tail = 0.5 * (1 - confidence)
    low, high = np.quantile(_statistic(resampled, statistic, goal), [tail, 1 - tail])
    return Estimate(float(_statistic(x, statistic, goal)), float(low), float(high))


def _statistic(x: FloatArray, statistic: Statistic, goal: float) -> FloatArray:
    """The statistic of matrices (..., n_seeds, n_tasks), (...)."""
    if statistic == "median":
        return np.median(x.mean(axis=-2), axis=-1)
    flat = x.reshape(*x.shape[:-2], -1)
    if statistic == "optimality_gap":
        return np.maximum(goal - flat, 0.0).mean(axis=-1)
    if statistic == "iqm":
        cut = flat.shape[-1] // 4
        flat = np.sort(flat, axis=-1)[..., cut : flat.shape[-1] - cut]
    return flat.mean(axis=-1)
