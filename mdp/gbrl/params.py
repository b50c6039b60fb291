"""How trees are grown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np

from ...core import checks
from ...core.checks import FloatArray

Grow: TypeAlias = Literal["oblivious", "greedy"]
Score: TypeAlias = Literal["cosine", "l2"]
Generator: TypeAlias = Literal["quantile", "uniform"]
_DEEPEST = 16  # 2^16 leaves a tree
_MOST_BINS = 2**16 - 2  # codes are 16 bits


@dataclass(frozen=True)
class TreeParams:
    """How trees are grown; the defaults are those of the paper's agents.

    Attributes:
        depth: of a tree, 1 to 16: it has 2^depth leaves at most.
        n_bins: candidate thresholds a feature.
        min_data_in_leaf: rows; 0 lets leaves be empty.
        grow: "oblivious": one split a level; "greedy": one a node.
        score: "cosine" or "l2", see `trees`.
        generator: of thresholds: "quantile" or "uniform".
        feature_weights: w >= 0, one a feature, by which scores are multiplied; None: all 1.
    """

    depth: int = 4
    n_bins: int = 256
    min_data_in_leaf: int = 0
    grow: Grow = "oblivious"
    score: Score = "cosine"
    generator: Generator = "quantile"
    feature_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name, least in (("depth", 1), ("n_bins", 1), ("min_data_in_leaf", 0)):
            number = checks.integer(getattr(self, name), name, minimum=least)
            object.__setattr__(self, name, number)
        for value, name, most in (
            (self.depth, "depth", _DEEPEST),
            (self.n_bins, "n_bins", _MOST_BINS),
        ):
            if value > most:
                raise ValueError(f"{name} must be at most {most}, got {value}; lower it")
        for choice, name, choices in (
            (self.grow, "grow", get_args(Grow)),
            (self.score, "score", get_args(Score)),
            (self.generator, "generator", get_args(Generator)),
        ):
            if choice not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {choice!r}")
        if self.feature_weights is not None:
            weights = checks.array(self.feature_weights, "feature_weights", shape=(None,), low=0.0)
            object.__setattr__(self, "feature_weights", tuple(weights.tolist()))

    def weights(self, n_features: int) -> FloatArray:
        """w, (F,)."""
        if self.feature_weights is None:
            return np.ones(n_features)
        if len(self.feature_weights) != n_features:
            raise ValueError(
                f"feature_weights must have one entry a feature, {n_features}, got "
                f"{len(self.feature_weights)}"
            )
        return np.array(self.feature_weights)
