"""Claims of papers, measured: a value, the interval around it, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

from .errors import ClaimError

if TYPE_CHECKING:
    from ..core.regret import Trace

DataT = TypeVar("DataT")


class Verdict(StrEnum):
    """What a measurement says of a claim."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Outcome:
    """A measurement: `value` with its interval [`low`, `high`] (infinite ends are allowed).

    Raises:
        ValueError: a number is nan, `low` exceeds `high`, or the verdict is none of `Verdict`.
    """

    value: float
    low: float
    high: float
    verdict: Verdict
    detail: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = float(getattr(self, name))
            if math.isnan(number):
                raise ValueError(f"{name} must be a number, got nan; check what was measured")
            object.__setattr__(self, name, number)
        if self.low > self.high:
            raise ValueError(f"low must be at most high, got [{self.low}, {self.high}]; swap them")
        object.__setattr__(self, "verdict", Verdict(self.verdict))


@dataclass(frozen=True)
class Claim(Generic[DataT]):
    """A statement of a paper, and how it is measured on a figure's data.

    Attributes:
        paper: where it is claimed, such as "Auer et al. 2002, Theorem 3.1".
        statement: the claim in one line.
        check: measures it, data -> `Outcome`.
    """

    paper: str
    statement: str
    check: Callable[[DataT], Outcome]

    def __post_init__(self) -> None:
        for name in ("paper", "statement"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} of a claim must not be empty; say what is claimed where")

    def measure(self, data: DataT) -> Outcome:
        """The outcome of the check.

        Raises:
            ClaimError: the check raised, or returned something else.
        """
        name = f"claim {self.statement!r} ({self.paper})"
        try:
            outcome = self.check(data)
        except Exception as error:
            raise ClaimError(f"{name}: its check raised {type(error).__name__}: {error}") from error
        if not isinstance(outcome, Outcome):
            raise ClaimError(f"{name}: its check must return an Outcome, got {outcome!r}")
        return outcome


def within(
    value: float, low: float, high: float, lower: float, upper: float, detail: str = ""
) -> Outcome:
    """Claims that the measured quantity lies in [lower, upper].

    Reproduced if all of [low, high] lies there, not reproduced if none does, else inconclusive.

    Raises:
        ValueError: a number is nan, low > high, or lower > upper.
    """
    if not lower <= upper:
        raise ValueError(f"limits must be numbers in order, got [{lower}, {upper}]; mend them")
    verdict = Verdict.INCONCLUSIVE
    if lower <= low and high <= upper:
        verdict = Verdict.REPRODUCED
    elif high < lower or low > upper:
        verdict = Verdict.NOT_REPRODUCED
    return Outcome(value, low, high, verdict, detail)


def at_most(value: float, low: float, high: float, limit: float, detail: str = "") -> Outcome:
    """Claims that the measured quantity is at most `limit`; see `within`."""
    return within(value, low, high, -math.inf, limit, detail)


def at_least(value: float, low: float, high: float, limit: float, detail: str = "") -> Outcome:
    """Claims that the measured quantity is at least `limit`; see `within`."""
    return within(value, low, high, limit, math.inf, detail)


def bounds_hold(traces: Sequence[Trace], confidence: float = 0.95) -> Outcome:
    """Claims that each trace's regret is below its guarantee at each checkpoint.

    The value is the largest ratio of regret to bound; see `Trace.bound_ratio`. The lower end of the
    interval holds for all traces at once (Bonferroni).
    """
    ratios = [trace.bound_ratio(confidence) for trace in traces]
    low = max(trace.bound_ratio(1 - (1 - confidence) / len(traces)).low for trace in traces)
    value, high = max(r.value for r in ratios), max(r.high for r in ratios)
    return at_most(value, low, high, 1.0, "largest ratio of regret to bound, all checkpoints")


def inequalities_hold(traces: Sequence[Trace]) -> Outcome:
    """Claims that each run meets its path-wise inequality at each checkpoint, up to 1e-9.

    There is no sampling error: the interval is the value. Traces without an inequality are refused.
    """
    sides = [trace.pathwise for trace in traces]
    if any(side is None for side in sides):
        labels = sorted({t.label for t, side in zip(traces, sides, strict=True) if side is None})
        raise ValueError(f"traces of {', '.join(labels)} carry no path-wise inequality")
    tightest = max(side.tightest() for side in sides if side is not None)
    detail = f"largest left/right over {sum(len(trace.regret) for trace in traces)} runs"
    return at_most(tightest, tightest, tightest, 1 + 1e-9, detail)


def less_regret(first: Trace, second: Trace, detail: str) -> Outcome:
    """Claims that the first learner's mean final regret is at most the second's (Welch, 95 %)."""
    import numpy as np
    from scipy.stats import t as student

    finals = [trace.regret[:, -1] for trace in (first, second)]
    gap = float(finals[0].mean() - finals[1].mean())
    parts = [r.var(ddof=1) / len(r) for r in finals]  # 0 where nothing is random
    spread = sum(part**2 / (len(r) - 1) for part, r in zip(parts, finals, strict=True))
    freedom = sum(parts) ** 2 / spread if spread > 0 else 1.0
    half = student.ppf(0.975, freedom) * np.sqrt(sum(parts))
    return at_most(gap, gap - half, gap + half, 0.0, detail)
