"""Executable guarantees: a proven regret bound as a function of the number of rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, get_args

from . import checks

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
