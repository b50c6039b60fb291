"""Noise in proportion to what is observed."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from ...core import checks

Floats = npt.NDArray[np.floating[Any]]


class ObservationNoise(gymnasium.ObservationWrapper[Floats, Any, Floats]):
    """Each entry of an observation becomes s + ε |s|, ε ~ N(0, variance) independent.

    The states and rewards of the environment are as before, and so are the spaces: near the bounds
    of the Box, what is observed may be outside. (Figure 9 of Fuhrer, Tessler, Dalal. Gradient
    boosting reinforcement learning. ICML 2025.)

    Args:
        env: an environment with a Box of floats as observations.
        variance: of ε, at least 0; 0 changes nothing.
        seed: of the noise until `reset` is given one; None: unpredictable until then.

    Raises:
        TypeError: variance is not a number.
        ValueError: other observations, or a variance that is negative or not finite.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], variance: float, seed: int | None = None
    ) -> None:
        super().__init__(env)
        space = env.observation_space
        if not (isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating)):
            raise ValueError(
                f"env must have a Box of floats as observations, got {space}; flatten it first"
            )
        self.variance = checks.real(variance, "variance")
        if self.variance < 0:
            raise ValueError(f"variance must be at least 0, got {variance}; pass 0 for no noise")
        self._rng = _generator(seed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        """As of the environment; a seed is also that of the noise, independent of it."""
        if seed is not None:
            self._rng = _generator(seed)
        return super().reset(seed=seed, options=options)

    def observation(self, observation: Floats) -> Floats:
        """One, with noise."""
        noise = self._rng.normal(0.0, np.sqrt(self.variance), observation.shape)
        return (observation + noise * np.abs(observation)).astype(observation.dtype)


def _generator(seed: int | None) -> np.random.Generator:
    """A child of the seed: the environment has the generator of the seed itself."""
    return np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
