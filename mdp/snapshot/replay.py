"""Snapshots of what cannot be restored: the seed and the actions, done again.

Box2D does not tell the impulses from which its solver starts, so that no copy of a world goes on
exactly as the world does; but the same actions from the same reset do. A snapshot costs nothing to
take, and as many steps to restore as its episode had.

    env = Replay(gymnasium.make("LunarLander-v3"))
"""

from __future__ import annotations

from typing import Any

import gymnasium

from .values import State, copied


class Replay(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Remembers how the episode began and what was done; for `capture` it is the environment.

    All that is within, wrappers included, must depend on the seed and the actions alone.

    Args:
        env: any environment.
    """

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.start: State | None = None
        self.actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        """As the environment does."""
        rng = None if seed is not None else self.np_random.bit_generator.state
        self.start = {"seed": seed, "rng": rng, "options": copied(options)}
        self.actions = []
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment does."""
        self.actions.append(copied(action))
        return self.env.step(action)


class ReplayAdapter:
    """Of `Replay`."""

    def capture(self, env: Any) -> State:
        """How the episode began, and what was done."""
        if env.start is None:
            raise AttributeError("no episode has begun", name="start")
        return {"start": env.start, "actions": list(env.actions)}

    def restore(self, env: Any, state: State) -> None:
        """Do it again; the generator is left as it was before."""
        before = env.np_random.bit_generator.state
        start = state["start"]
        if start["rng"] is not None:
            env.np_random.bit_generator.state = start["rng"]
        env.reset(seed=start["seed"], options=start["options"])
        env.start = start  # a seed that was None is None again
        for action in state["actions"]:
            env.step(action)
        env.np_random.bit_generator.state = before

    def constants(self, env: Any) -> Any:
        """Id and arguments."""
        spec = env.spec
        return [type(env.unwrapped).__qualname__, repr(spec.kwargs) if spec is not None else ""]
