"""Regret: exact comparators and the trace of a run.

The regret after t rounds is the learner's cumulative loss minus that of the best comparator for
these t rounds. The learner's loss is its expectation given the past where the learner knows its own
probabilities, Σ_s ⟨p_s, ℓ_s⟩, which has the same mean as Σ_s ℓ_s(A_s) and less noise, and the loss
of the arms played where it does not. In a stochastic environment ℓ_s are the mean losses: this is
the pseudo-regret.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from . import checks
from .checks import FloatArray, IntArray
from .environment import Action
from .guarantee import Guarantee, Pathwise

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class Comparator(ABC):
    """Accounts for the rounds of one block of replications."""

    @abstractmethod
    def observe(self, decision: Action) -> None:
        """Charge the learner for the round just played: arms (R,) or distributions (R, K)."""

    @abstractmethod
    def regret(self) -> FloatArray:
        """Regret so far against the best comparator of the rounds so far, shape (R,)."""


_BAD_LOSS = -2


@njit(cache=True)
def _add_losses(losses: FloatArray, cumulative: FloatArray) -> bool:
    """cumulative += ℓ. Returns whether all of ℓ is in [0, 1]."""
    proper = True
    for r in range(losses.shape[0]):
        for k in range(losses.shape[1]):
            proper &= 0.0 <= losses[r, k] <= 1.0
            cumulative[r, k] += losses[r, k]
    return proper


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _charge_mixtures(
    losses: FloatArray, mixtures: FloatArray, incurred: FloatArray, cumulative: FloatArray
) -> int:
    """incurred += ⟨p, ℓ⟩ row by row, cumulative += ℓ; ℓ has R rows, or one that all share.

    Returns the first row of `mixtures` that is not a distribution (to 1e-9), −1 if there is none,
    or _BAD_LOSS.
    """
    shared = losses.shape[0] == 1
    bad = -1
    for r in range(len(incurred)):
        row = 0 if shared else r
        charge = total = least = 0.0
        for k in range(losses.shape[1]):
            p = mixtures[r, k]
            charge += p * losses[row, k]
            total += p
            least = min(least, p)
        if bad < 0 and not (abs(total - 1.0) < 1e-9 and least >= 0.0):
            bad = r
        incurred[r] += charge
    return bad if _add_losses(losses, cumulative) else _BAD_LOSS


@njit(cache=True)
def _charge_arms(
    losses: FloatArray, arms: IntArray, incurred: FloatArray, cumulative: FloatArray
) -> int:
    """The same for arms. Returns the first row with no such arm, −1, or _BAD_LOSS."""
    shared = losses.shape[0] == 1
    for r in range(len(incurred)):
        if arms[r] < 0 or arms[r] >= losses.shape[1]:
            return r
        incurred[r] += losses[0 if shared else r, arms[r]]
    return -1 if _add_losses(losses, cumulative) else _BAD_LOSS


class BestFixedArm(Comparator):
    """The arm of least cumulative loss in hindsight, for each replication.

    Args:
        n_replications: R.
        shape: of the losses: (R, K), or (1, K) when all replications share them.
        current_losses: gives the losses of the round just played; their means in a stochastic
            environment.
    """

    def __init__(
        self, n_replications: int, shape: tuple[int, int], current_losses: Callable[[], FloatArray]
    ) -> None:
        self._current_losses = current_losses
        self._incurred = np.zeros(n_replications)
        self._cumulative = np.zeros(shape)
        self._arms_shape, self._mixtures_shape = (n_replications,), (n_replications, shape[1])

    def observe(self, decision: Action) -> None:
        """Charge arms (R,) or distributions (R, K) the losses of the round just played."""
        if decision.shape == self._mixtures_shape:
            charge = _charge_mixtures
        elif decision.shape == self._arms_shape:
            charge = _charge_arms
        else:
            raise ValueError(
                f"a decision must have shape {self._arms_shape} or {self._mixtures_shape}, got "
                f"{decision.shape}"
            )
        losses = self._current_losses()
        if losses.shape != self._cumulative.shape:
            raise ValueError(
                f"the losses of the environment must have shape {self._cumulative.shape}, got "
                f"{losses.shape}"
            )
        bad = charge(losses, decision, self._incurred, self._cumulative)
        if bad == _BAD_LOSS:
            raise ValueError("the losses of the environment must be in [0, 1]; rescale them")
        if bad >= 0:
            kind = "an arm" if decision.ndim == 1 else "a distribution over the arms"
            raise FloatingPointError(f"replication {bad}: {decision[bad]} is not {kind}")

    def regret(self) -> FloatArray:
        """Σ_s ⟨p_s, ℓ_s⟩ − min_k Σ_s ℓ_s(k), shape (R,)."""
        return self._incurred - self._cumulative.min(axis=-1)


class BestSwitchingArm(BestFixedArm):
    """The sequence of arms with at most S changes of least cumulative loss in hindsight.

    By dynamic programming: C_j(a), the least loss of a sequence with at most j changes that ends
    with arm a, is ℓ_t(a) + min{C_j(a), min_b C_{j−1}(b)} in terms of the last round's.

    Args:
        n_replications: R.
        shape: of the losses: (R, K), or (1, K) when all replications share them.
        current_losses: gives the losses of the round just played.
        n_switches: S >= 0.
    """

    def __init__(
        self,
        n_replications: int,
        shape: tuple[int, int],
        current_losses: Callable[[], FloatArray],
        *,
        n_switches: int,
    ) -> None:
        super().__init__(n_replications, shape, current_losses)
        self._costs = np.zeros((checks.integer(n_switches, "n_switches", minimum=0) + 1, *shape))

    def observe(self, decision: Action) -> None:
        """Charge arms (R,) or distributions (R, K) the losses of the round just played."""
        super().observe(decision)
        changed = self._costs[:-1].min(axis=-1, keepdims=True)
        np.minimum(self._costs[1:], changed, out=self._costs[1:])
        self._costs += self._current_losses()

    def regret(self) -> FloatArray:
        """Σ_s ⟨p_s, ℓ_s⟩ − Σ_s ℓ_s(a_s) for the best sequence, shape (R,)."""
        return self._incurred - self._costs[-1].min(axis=-1)


@dataclass(frozen=True)
class Estimate:
    """A number with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Trace:
    """Regret of R replications at P checkpoints.

    Attributes:
        rounds: numbers of rounds t, shape (P,), increasing.
        regret: regret after t rounds, shape (R, P).
        guarantee: the learner's proven bound, or None.
        pathwise: both sides, (R, P) each, of the inequality that the learner's proof gives for
            every run, or None.
        label: the learner's name, for plots.
        seed: the entropy that repeats the run: pass it to `run`.
    """

    rounds: IntArray
    regret: FloatArray
    guarantee: Guarantee | None = None
    pathwise: Pathwise | None = None
    label: str = ""
    seed: int | None = None

    def mean(self) -> FloatArray:
        """Mean over replications, shape (P,)."""
        result: FloatArray = self.regret.mean(axis=0)
        return result

    def interval(self, confidence: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Student's interval for the mean at each checkpoint: (low, high), each of shape (P,)."""
        from scipy.stats import t as student

        checks.real(confidence, "confidence", above=0.0, below=1.0)
        n = self._at_least_two()
        error = self.regret.std(axis=0, ddof=1) / math.sqrt(n)
        half = student.ppf(0.5 + confidence / 2, n - 1) * error
        return self.mean() - half, self.mean() + half

    def estimate(
        self,
        statistic: Callable[[FloatArray], FloatArray],
        *,
        confidence: float = 0.95,
        n_resamples: int = 2000,
        rng: np.random.Generator | None = None,
    ) -> Estimate:
        """A statistic of the mean curve with its percentile-bootstrap interval over replications.

        Args:
            statistic: maps mean curves (..., P) to numbers (...).
            confidence: of the interval.
            n_resamples: bootstrap samples.
            rng: for the resampling; None: a generator of its own, so that a trace has one answer.
        """
        rng = np.random.default_rng(0) if rng is None else rng
        resampled = statistic(self._resampled_means(n_resamples, rng))
        return _percentile_estimate(statistic(self.mean()), resampled, confidence)

    def slope(self, tail: float = 0.9, *, confidence: float = 0.95) -> Estimate:
        """Exponent of growth: slope of log mean regret against log t, with bootstrap interval.

        Args:
            tail: the part of the run that is fitted: checkpoints t > (1 − tail) T; 0.9 is the last
                decade.
            confidence: of the interval.
        """
        log_rounds = np.log(self.rounds[self._tail(tail)])

        def exponent(curves: FloatArray) -> FloatArray:
            curves = curves[..., self._tail(tail)]
            if not (curves > 0).all():
                raise ValueError(
                    f"tail={tail}: mean regret is not positive throughout, so its "
                    "logarithm has no slope; take a shorter tail or more replications"
                )
            return least_squares_slope(log_rounds, np.log(curves))

        return self.estimate(exponent, confidence=confidence)

    def bound_ratio(self, confidence: float = 0.95) -> Estimate:
        """The largest ratio over the checkpoints of regret to bound; at most 1 if the bound holds.

        The regret is its mean for an "expected" guarantee; its (1 − δ)-quantile over replications
        for a "high-probability" one, with a distribution-free interval from order statistics, whose
        ends are infinite where the replications are too few (a 0.95-quantile needs 72); and its
        maximum for a "pathwise" one, which has no sampling error.
        """
        if self.guarantee is None:
            raise ValueError(
                f"the trace of {self.label!r} carries no guarantee; nothing to compare"
            )
        checks.real(confidence, "confidence", above=0.0, below=1.0)
        bound = self._bound()
        # The upper limit at the worst checkpoint is one for the largest ratio. A lower limit for
        # the largest of P ratios must hold for all of them at once (Bonferroni).
        strict = 1 - (1 - confidence) / len(self.rounds)
        if self.guarantee.kind == "pathwise":
            curves = (self.regret.max(axis=0),) * 3
        elif self.guarantee.kind == "expected":
            curves = (self.mean(), self.interval(strict)[0], self.interval(confidence)[1])
        else:
            assert self.guarantee.confidence is not None
            level = self.guarantee.confidence
            value, _, high = self._quantile(level, confidence)
            curves = (value, self._quantile(level, strict)[1], high)
        return Estimate(*(float(_ratio(curve, bound).max()) for curve in curves))

    def to_frame(self) -> pd.DataFrame:
        """One row a replication and checkpoint: columns replication, round, regret.

        Columns left and right hold the path-wise inequality, where there is one.
        """
        import pandas as pd

        n, points = self.regret.shape
        columns = {
            "replication": np.repeat(np.arange(n), points),
            "round": np.tile(self.rounds, n),
            "regret": self.regret.ravel(),
        }
        if self.pathwise is not None:
            columns |= {"left": self.pathwise.left.ravel(), "right": self.pathwise.right.ravel()}
        return pd.DataFrame(columns)

    @classmethod
    def from_frames(
        cls,
        frames: Sequence[pd.DataFrame],
        *,
        guarantee: Guarantee | None = None,
        label: str = "",
        reference: str = "",
    ) -> Trace:
        """Join what `to_frame` wrote for runs with the same checkpoints, replications stacked.

        Args:
            frames: one or more tables.
            guarantee: of the learner.
            label: its name.
            reference: of the path-wise inequality, which the tables hold without it.
        """
        tables = [frame.pivot(index="replication", columns="round") for frame in frames]
        if not tables:
            raise ValueError("frames must hold at least one table, got none")
        rounds = tables[0]["regret"].columns
        if any(not table["regret"].columns.equals(rounds) for table in tables):
            raise ValueError("frames must share their checkpoints; join runs of one horizon")

        def stacked(name: str) -> FloatArray:
            return np.concatenate([table[name].to_numpy() for table in tables])

        inequality = None  # as in `run`, one that does not hold for all runs is dropped
        if all("left" in table for table in tables):
            inequality = Pathwise(stacked("left"), stacked("right"), reference)
        return cls(
            rounds=rounds.to_numpy(),
            regret=stacked("regret"),
            guarantee=guarantee,
            pathwise=inequality,
            label=label,
        )

    def plot(self, ax: Axes | None = None, *, bound: bool = True, **style: Any) -> Axes:
        """Mean regret against t on log-log axes, its 95 % band, and the bound, dashed.

        Negative regret turns the vertical axis to matplotlib's "symlog", linear in [−1, 1]. A
        "high-probability" bound is one for single runs, not for the mean that is drawn.

        Args:
            ax: axes to draw on; None: the current ones.
            bound: draw the guarantee, where there is one.
            style: passed to the line of the mean (`color=`, `label=`, ...).
        """
        if ax is None:
            import matplotlib.pyplot as plt

            ax = plt.gca()
        (line,) = ax.plot(self.rounds, self.mean(), **{"label": self.label} | style)
        if len(self.regret) > 1:
            ax.fill_between(self.rounds, *self.interval(), color=line.get_color(), alpha=0.2, lw=0)
        if bound and self.guarantee is not None:
            ax.plot(self.rounds, self._bound(), color=line.get_color(), ls="--", lw=1)
        ax.set(xscale="log", xlabel="rounds t", ylabel="regret")
        if ax.get_yscale() != "symlog":
            curve = self.mean()
            logarithmic = curve.min() >= 0.0 < curve.max()
            ax.set_yscale("log") if logarithmic else ax.set_yscale("symlog", linthresh=1.0)
        return ax

    def __repr__(self) -> str:
        n, points = self.regret.shape
        return f"<Trace {self.label}: {n} replications, {points} checkpoints to {self.rounds[-1]}>"

    def _bound(self) -> FloatArray:
        """The guarantee at the checkpoints, shape (P,)."""
        assert self.guarantee is not None
        bound = np.asarray(self.guarantee.bound(self.rounds.astype(float)), dtype=np.float64)
        return np.broadcast_to(bound, self.rounds.shape)

    def _at_least_two(self) -> int:
        n = len(self.regret)
        if n < 2:
            raise ValueError(
                f"an interval needs n_replications >= 2, got {n}; run more replications"
            )
        return n

    def _resampled_means(self, n_resamples: int, rng: np.random.Generator) -> FloatArray:
        """Mean curves of bootstrap samples of the replications, shape (B, P)."""
        n = self._at_least_two()
        return rng.multinomial(n, np.full(n, 1 / n), size=n_resamples) / n @ self.regret

    def _tail(self, tail: float) -> checks.BoolArray:
        checks.real(tail, "tail", above=0.0, below=1.0)
        kept: checks.BoolArray = self.rounds > (1 - tail) * self.rounds[-1]
        if kept.sum() < 2:
            raise ValueError(f"tail={tail} holds fewer than two checkpoints; take a longer tail")
        return kept

    def _quantile(
        self, level: float, confidence: float
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Order statistics that estimate and enclose the quantile at each checkpoint."""
        from scipy.stats import binom

        n = self._at_least_two()
        order = np.sort(self.regret, axis=0)
        tails = [0.5 - confidence / 2, 0.5 + confidence / 2]
        low, high = np.asarray(binom.ppf(tails, n, level)).astype(int).tolist()
        unknown = np.full_like(order[0], np.inf)  # where no order statistic encloses
        lower = order[low - 1] if low > 0 else -unknown
        upper = order[high] if high < n else unknown
        return order[math.ceil(level * n - 1e-9) - 1], lower, upper


def _ratio(curve: FloatArray, bound: FloatArray) -> FloatArray:
    """curve/bound; where the bound is 0, 0 if it holds and ∞ if not."""
    broken = np.where(curve > bound, np.inf, 0.0)
    return np.divide(curve, bound, out=broken, where=bound > 0)


def _percentile_estimate(value: FloatArray, resampled: FloatArray, confidence: float) -> Estimate:
    """A statistic with the interval between the quantiles of its bootstrap values (B,)."""
    checks.real(confidence, "confidence", above=0.0, below=1.0)
    low, high = np.quantile(resampled, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Estimate(float(value), float(low), float(high))


def least_squares_slope(x: FloatArray, y: FloatArray) -> FloatArray:
    """Slope of the least-squares line of y (..., P) on x (P,), over the last axis; shape (...)."""
    centred = x - x.mean()
    result: FloatArray = y @ centred / (centred @ centred)
    return result


def growth_exponent(
    traces: Sequence[Trace],
    *,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    rng: np.random.Generator | None = None,
) -> Estimate:
    """Exponent of growth with the horizon, for learners that are tuned for it.

    The least-squares slope of log mean final regret against log T over runs of different horizons,
    with the percentile-bootstrap interval over the replications of each run.

    Args:
        traces: independent runs, one for each of two or more horizons.
        confidence: of the interval.
        n_resamples: bootstrap samples.
        rng: for the resampling; None: a generator of its own, so that the answer is one.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    logs = np.log([float(trace.rounds[-1]) for trace in traces])
    if len(np.unique(logs)) < 2:
        raise ValueError(f"traces must have two or more horizons, got {np.exp(logs)}; add a run")
    finals = np.array([trace.mean()[-1] for trace in traces])
    resampled = np.stack(
        [trace._resampled_means(n_resamples, rng)[:, -1] for trace in traces], axis=-1
    )
    if not (resampled > 0).all():
        raise ValueError("mean final regret is not positive, so its logarithm has no slope")
    slopes = least_squares_slope(logs, np.log(resampled))
    return _percentile_estimate(least_squares_slope(logs, np.log(finals)), slopes, confidence)
