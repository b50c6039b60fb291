"""Environments whose observations are categories."""

from __future__ import annotations

from itertools import product
from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

_COLORS, _STATES, _OBJECTS, _DIRECTIONS = 6, 4, 11, 4  # of MiniGrid's encoding

Codes = npt.NDArray[np.int64]


class CategoricalMiniGrid(gymnasium.ObservationWrapper[Codes, Any, Any]):
    """MiniGrid's view as categories: one a tile, the direction, and the mission.

    A tile is (object · 6 + color) · 4 + state. Missions are numbered in the order of the mission
    space of the environment, so that copies of it agree.

    Args:
        env: a MiniGrid environment, with its own observations.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        space = env.observation_space
        names = set(space.spaces) if isinstance(space, spaces.Dict) else set()
        if not {"image", "direction", "mission"} <= names:
            raise ValueError(
                "env must have MiniGrid's observations image, direction and mission, got "
                f"{space}; wrap it before others"
            )
        assert isinstance(space, spaces.Dict)
        mission: Any = space["mission"]
        words = mission.ordered_placeholders or []
        self.missions = [mission.mission_func(*choice) for choice in product(*words)]
        self._numbers = {text: number for number, text in enumerate(self.missions)}
        tiles = int(np.prod(space["image"].shape[:2]))  # type: ignore[index]
        sizes = [_OBJECTS * _COLORS * _STATES] * tiles + [_DIRECTIONS, len(self.missions)]
        self.observation_space = spaces.MultiDiscrete(sizes)

    def observation(self, observation: Any) -> Codes:
        """Of one view."""
        image = np.asarray(observation["image"], np.int64).reshape(-1, 3)
        tiles = (image[:, 0] * _COLORS + image[:, 1]) * _STATES + image[:, 2]
        try:
            number = self._numbers[observation["mission"]]
        except KeyError:
            raise ValueError(
                f"the mission must be one of the space of the environment, got "
                f"{observation['mission']!r}"
            ) from None
        return np.concatenate([tiles, [observation["direction"], number]])
