"""Executable guarantees: bounds in the number of rounds, and inequalities that each run meets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, get_args

import numpy as np

from . import checks
from .checks import FloatArray

Kind = Literal["expected", "high-probability", "pathwise"]


@dataclass(frozen=True)
class Guarantee:
    """A bound on the regret after t rounds, and what it rests on.

    Attributes:
        bound: t -> bound, for a number or an array of numbers of rounds t >= 1.
        kind: "expected": the expectation over the learner's and the environment's randomness is
            below the bound; "high-probability": at each t, a run is below it with probability at
            least `confidence`; "pathwise": every run is.
        assumptions: what the proof needs, in words.
        reference: where the proof is; says "derived" where the constant is ours.
        confidence: 1 − δ for a high-probability bound, else None.
    """

    bound: Callable[[Any], Any]
    _: KW_ONLY
    kind: Kind
    assumptions: str
    reference: str
    confidence: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {get_args(Kind)}, got {self.kind!r}")
        if (self.confidence is None) is (self.kind == "high-probability"):
            raise ValueError(
                f"confidence must be given for a high-probability bound and only there, got kind "
                f"{self.kind!r} with confidence {self.confidence}"
            )
        if self.confidence is not None:
            checks.real(self.confidence, "confidence", above=0.0, below=1.0)


@dataclass(frozen=True, eq=False)
class Pathwise:
    """Both sides of an inequality that is proven for every run, evaluated on runs.

    Unlike a `Guarantee`, its right side is known only after the run: it depends on the gradients
    that came and on the points that were played.

    Attributes:
        left: the side claimed to be the smaller one, shape (R,), or (R, P) at P checkpoints.
        right: the other side, same shape.
        reference: what the sides are, and where the proof is.

    Raises:
        ValueError: the sides differ in shape.
        FloatingPointError: a side holds nan.
    """

    left: FloatArray
    right: FloatArray
    reference: str

    def __post_init__(self) -> None:
        if np.shape(self.left) != np.shape(self.right):
            raise ValueError(
                f"left and right must have one shape, got {np.shape(self.left)} and "
                f"{np.shape(self.right)}; evaluate both on the same runs"
            )
        broken = np.atleast_1d(np.isnan(self.left) | np.isnan(self.right))
        if broken.any():
            raise FloatingPointError(
                f"replication {np.argwhere(broken)[0, 0]}: a side of the inequality is not a "
                f"number: {self.reference}"
            )

    @property
    def slack(self) -> FloatArray:
        """right − left, negative where the inequality is broken."""
        return self.right - self.left

    def tightest(self) -> float:
        """The largest left/right over all runs and checkpoints; at most 1 if the inequality holds.

        Infinite where the right side is 0 or below and the left side above it.
        """
        left, right = np.ravel(self.left), np.ravel(self.right)
        broken = np.where(left > right, np.inf, 0.0)
        return float(np.divide(left, right, out=broken, where=right > 0).max())
