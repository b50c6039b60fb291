"""Texts as categories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces


class Texts(spaces.Discrete):
    """Numbers of texts; a model keeps it as a part of its observation space.

    Attributes:
        texts: by number.
    """

    def __init__(self, texts: Sequence[str], *, others: bool = False) -> None:
        self.texts = tuple(texts)
        if isinstance(texts, str) or not self.texts or len(set(self.texts)) < len(self.texts):
            raise ValueError(f"texts must be some texts, each once, got {texts}")
        self.others = others  # whether texts that are not there have a number, the last
        super().__init__(len(self.texts) + others)

    def number(self, text: str) -> int:
        """Of a text.

        Raises:
            ValueError: it is not there.
        """
        try:
            return self.texts.index(text)
        except ValueError:
            if self.others:
                return len(self.texts)
            raise ValueError(
                f"the text must be one of {', '.join(self.texts)}, got {text!r}; add it, or say "
                'unknown="other"'
            ) from None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Texts)
            and super().__eq__(other)
            and (self.texts, self.others) == (other.texts, other.others)
        )

    __hash__ = None  # type: ignore[assignment]  # as that of all spaces

    def __repr__(self) -> str:
        return f"Texts({list(self.texts)}, others={self.others})"


class TextAsCategory(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Texts of observations as numbers of a table, which does not depend on what was seen first.

        env = TextAsCategory(env, ["go left", "go right"])
        env = TextAsCategory(env, {"mission": ["go left", "go right"]})  # of a Dict

    Args:
        env: with observations that are a text, or a Dict with some.
        texts: all that can come; for a Dict by name.
        unknown: what others do: "raise", or "other": they are one more category, which no tree
            that has not seen it asks for, so that such rows are "not equal" everywhere.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        texts: Sequence[str] | Mapping[str, Sequence[str]],
        *,
        unknown: Literal["raise", "other"] = "raise",
    ) -> None:
        super().__init__(env)
        if unknown not in ("raise", "other"):
            raise ValueError(f'unknown must be "raise" or "other", got {unknown!r}')
        space, others = env.observation_space, unknown == "other"
        if isinstance(space, spaces.Dict) and isinstance(texts, Mapping):
            parts = dict(space.spaces)
            for name, choices in texts.items():
                if not isinstance(parts.get(name), spaces.Text):
                    raise ValueError(f"texts must name parts that are texts, got {name!r}")
                parts[name] = Texts(choices, others=others)
            self.observation_space = spaces.Dict(parts)
        elif isinstance(space, spaces.Text) and not isinstance(texts, Mapping):
            self.observation_space = Texts(texts, others=others)
        else:
            raise ValueError(
                f"texts must be a list for Text, or by name for Dict, got {type(texts).__name__} "
                f"for {space}"
            )

    def observation(self, observation: Any) -> Any:
        """Of one observation."""
        space = self.observation_space
        if isinstance(space, Texts):
            return np.int64(space.number(observation))
        assert isinstance(space, spaces.Dict)
        return {
            name: np.int64(part.number(observation[name]))
            if isinstance(part, Texts)
            else observation[name]
            for name, part in space.spaces.items()
        }
