"""Observations as rows of features.

    space            columns
    Box              one an entry; categorical where asked for
    Discrete         one, categorical
    MultiDiscrete    one an entry, categorical
    MultiBinary      one an entry
    Dict             those of the parts, one after the other

stable-baselines3 would make vectors of zeros and ones of categories, each a feature of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from ...core import checks
from .trees import Float32Array


class Encoder:
    """Rows (n, F) of batches of observations.

    Args:
        space: of observations.
        categorical: columns of a Box whose entries are integers that name something.
    """

    def __init__(self, space: spaces.Space[Any], categorical: Sequence[int] = ()) -> None:
        self.given = tuple(checks.integer(f, "categorical", minimum=0) for f in categorical)
        kinds = _kinds(space)
        if any(f >= len(kinds) for f in self.given):
            raise ValueError(
                f"categorical must be less than the {len(kinds)} features of {space}, got "
                f"{self.given}"
            )
        self.space, self.n_features = space, len(kinds)
        named = {f for f, kind in enumerate(kinds) if kind} | set(self.given)
        self.categorical = tuple(sorted(named))

    def __call__(self, observations: Any) -> Float32Array:
        """Of arrays or tensors; of a dictionary of them for a Dict."""
        if isinstance(self.space, spaces.Dict):
            parts = [observations[name] for name in self.space.spaces]
        else:
            parts = [observations]
        flat = [np.asarray(part, np.float32) for part in parts]
        n = len(flat[0])
        columns = [part.reshape(n, int(np.prod(part.shape[1:]))) for part in flat]
        rows = np.concatenate(columns, axis=1)
        return np.ascontiguousarray(rows)


def _kinds(space: spaces.Space[Any]) -> list[bool]:
    """Whether each column is categorical."""
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return [False] * int(np.prod(space.shape))
    if isinstance(space, spaces.Discrete):
        return [True]
    if isinstance(space, spaces.MultiDiscrete):
        return [True] * int(np.prod(space.shape))
    if isinstance(space, spaces.Dict):
        return [kind for part in space.spaces.values() for kind in _kinds(part)]
    raise ValueError(
        f"observations must be of Box, Discrete, MultiDiscrete, MultiBinary or Dict, got {space}; "
        "wrap the environment: texts by TextAsCategory, MiniGrid by CategoricalMiniGrid"
    )
