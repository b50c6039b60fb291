"""The loop of the theory side: a learner against an environment, all replications at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import get_args

import numpy as np

from . import checks
from .checks import FloatArray, IntArray
from .environment import Adversary, Environment
from .guarantee import Pathwise
from .learner import Learner
from .regret import Trace

BLOCK = (
    256  # replications that share a pair of generators; results depend on it, so it is a constant
)


def checkpoint_rounds(horizon: int, checkpoints: int | Sequence[int] | IntArray) -> IntArray:
    """Rounds at which a trace keeps its values.

    Args:
        horizon: T >= 1.
        checkpoints: how many, log-spaced from 1 to T (fewer where rounding makes them meet); or the
            rounds themselves, in [1, T], in any order.
    """
    if np.ndim(checkpoints) == 0:
        count = checks.integer(checkpoints, "checkpoints", minimum=1)
        spaced = np.geomspace(1, horizon, count) if count > 1 else np.array([horizon])
        return np.unique(np.rint(spaced).astype(np.int64))
    rounds = np.unique(np.asarray(checkpoints))
    whole = rounds.size > 0 and rounds.dtype.kind in "iu"
    if not whole or rounds[0] < 1 or rounds[-1] > horizon:
        raise ValueError(
            f"checkpoints must be rounds in [1, {horizon}], got {checkpoints}; "
            "pass integers, or how many"
        )
    return rounds.astype(np.int64)


def run(
    learner: Learner,
    environment: Environment,
    horizon: int,
    *,
    n_replications: int = 1,
    seed: int | None = None,
    checkpoints: int | Sequence[int] | IntArray = 200,
    progress: bool = False,
) -> Trace:
    """Play `horizon` rounds and return the regret, with the learner's guarantee.

    Replications are run in blocks of 256, each with its own generators for environment and learner
    spawned from `seed`: whole blocks of a longer run are those of a shorter one.

    Args:
        learner: any `Learner`; it is reset.
        environment: any `Environment`; it is reset.
        horizon: T >= 1, the number of rounds.
        n_replications: R >= 1.
        seed: nonnegative; None: fresh entropy, kept in `Trace.seed`.
        checkpoints: how many log-spaced rounds to keep, or which.
        progress: show a progress bar.

    Raises:
        TypeError: `learner` or `environment` is not one.
        ValueError: an argument is out of range, or the learner does not fit the environment.
        FloatingPointError: the learner's numbers are no longer finite; names round and replication.
    """
    checks.integer(horizon, "horizon", minimum=1)
    checks.integer(n_replications, "n_replications", minimum=1)
    if seed is not None:
        checks.integer(seed, "seed", minimum=0)
    for argument, name, kind in (
        (learner, "learner", Learner),
        (environment, "environment", Environment),
    ):
        if not isinstance(argument, kind):
            raise TypeError(
                f"{name} must be a fenchel.core.{kind.__name__}, got {argument!r}; subclass it "
                "and pass an instance"
            )
    adversary = getattr(environment, "adversary", None)
    if adversary not in get_args(Adversary):
        raise ValueError(
            f"adversary of {type(environment).__name__} must be one of {get_args(Adversary)}, got "
            f"{adversary!r}; it says which guarantees hold"
        )
    if environment.horizon is not None and horizon > environment.horizon:
        raise ValueError(
            f"horizon must be at most {environment.horizon}, the rounds that "
            f"{type(environment).__name__} holds, got {horizon}; play fewer or give more losses"
        )
    environment.admit(learner)
    rounds = checkpoint_rounds(horizon, checkpoints)
    sizes = [min(BLOCK, n_replications - start) for start in range(0, n_replications, BLOCK)]
    root = np.random.SeedSequence(seed)
    # all rounds are played, whatever is kept; a progress bar also moves between checkpoints
    ticks = np.linspace(horizon, 1, 100 if progress else 1, dtype=np.int64)
    stops = np.union1d(rounds, ticks)
    regret = np.empty((n_replications, len(stops)))
    sides = np.full((2, n_replications, len(stops)), np.nan)  # of the path-wise inequality
    with _progress_bar(len(sizes) * horizon, type(learner).__name__, progress) as advance:
        for index, (size, block) in enumerate(zip(sizes, root.spawn(len(sizes)), strict=True)):
            environment_rng, learner_rng = (np.random.default_rng(s) for s in block.spawn(2))
            environment.reset(size, environment_rng)
            learner.reset(size, horizon, learner_rng)
            guarantee = learner.guarantee(environment)
            first = index * BLOCK
            try:
                rows = slice(first, first + size)
                _play(learner, environment, stops, regret[rows], sides[:, rows], advance)
            except FloatingPointError as error:
                where = f" (replications count from {first})" if first else ""
                raise FloatingPointError(f"{error}{where}") from error
    kept = np.isin(stops, rounds)
    inequality, (left, right) = learner.pathwise(), sides[:, :, kept]
    if inequality is not None and not np.isnan(left).any():
        inequality = Pathwise(left, right, inequality.reference)
    else:
        inequality = None  # not proven, or not for all of the run
    return Trace(
        rounds=rounds,
        regret=regret[:, kept],
        guarantee=guarantee,
        pathwise=inequality,
        label=type(learner).__name__,
        seed=int(root.entropy),  # type: ignore[arg-type]  # one int, as it was built from one
    )


def _play(
    learner: Learner,
    environment: Environment,
    stops: IntArray,
    regret: FloatArray,
    sides: FloatArray,
    advance: Callable[[int], None],
) -> None:
    """Play one block to the last of `stops` (P,); write what is measured at each.

    That is the regret, to `regret` (R, P), and the learner's path-wise inequality, to `sides`
    (2, R, P), where it has one.
    """
    comparator = environment.comparator()
    act, step, update, observe = learner.act, environment.step, learner.update, comparator.observe
    contextual, see, context = environment.contextual, learner.see, environment.context
    done = 0
    for point, stop in enumerate(stops.tolist()):
        try:
            for t in range(done + 1, stop + 1):  # noqa: B007  # named in the errors below
                if contextual:
                    see(context())
                action = act()
                feedback = step(action)
                mixture = learner.probabilities
                observe(action if mixture is None else mixture)
                update(feedback)
        except FloatingPointError as error:
            raise FloatingPointError(f"round {t}, {error}") from error
        except ValueError as error:
            raise ValueError(f"round {t}: {error}") from error
        regret[:, point] = comparator.regret()
        if not np.isfinite(regret[:, point]).all():
            row = int(np.argmin(np.isfinite(regret[:, point])))
            raise FloatingPointError(f"round {stop}, replication {row}: the regret is not finite")
        try:
            inequality = learner.pathwise()
        except FloatingPointError as error:
            raise FloatingPointError(f"round {stop}, {error}") from error
        if inequality is not None:
            sides[0, :, point], sides[1, :, point] = inequality.left, inequality.right
        advance(stop - done)
        done = stop


@contextmanager
def _progress_bar(total: int, title: str, shown: bool) -> Iterator[Callable[[int], None]]:
    if not shown:
        yield lambda rounds: None
        return
    from rich.progress import BarColumn, TaskProgressColumn, TimeRemainingColumn

    from .progress import ProgressBar

    columns = ("{task.description}", BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with ProgressBar(*columns, total=total, description=title) as bar:
        yield bar.advance
