"""Snapshots of simulators: all that it takes to go on from a step as if there had been no stop.

    snapshot = capture(env, observation, info)        # after any step that does not end the episode
    observation, info = restore(env, snapshot)        # in this or another copy of the environment

Two modes for the randomness of the environment: "replay" puts its generator back too, so that the
same noise follows; "resample" leaves the generator alone, which is what training wants, as
otherwise each visit of a snapshot would see the same future.

Reference:
    Zhao, Qian, Wang, Shan, Qin. Snapshot reinforcement learning: leveraging prior trajectories for
    efficiency. arXiv 2403.00673, 2024. The paper's code copies environments by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import gymnasium

from .adapters import access
from .values import State, copied

Randomness: TypeAlias = Literal["replay", "resample"]
_MODES = get_args(Randomness)


@dataclass(frozen=True)
class Snapshot:
    """The state of an environment between two steps; nothing in it is shared with one.

    Attributes:
        env_id: of the specification, or the name of the class.
        fingerprint: of the constants of the environment: where it differs nothing is restored.
        state: of the environment within, see `adapters`.
        wrappers: name and fields of each wrapper that has a state, from outside.
        rng: state of the environment's generator.
        observation: as it was returned; parts of it may not follow from the state.
        info: likewise.
        meta: of whoever made it, such as the step, the return so far, and a value.
    """

    env_id: str
    fingerprint: str
    state: State
    wrappers: tuple[tuple[str, State], ...]
    rng: dict[str, Any]
    observation: Any
    info: dict[str, Any]
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def elapsed(self) -> int | None:
        """Steps of the episode so far, by the outermost TimeLimit; None: there is none."""
        for name, state in self.wrappers:
            if name == "TimeLimit":
                return int(state["_elapsed_steps"])
        return None


def capture(
    env: gymnasium.Env[Any, Any],
    observation: Any,
    info: dict[str, Any],
    *,
    terminated: bool = False,
    meta: dict[str, Any] | None = None,
) -> Snapshot:
    """The snapshot of an environment.

    Args:
        env: with wrappers whose state is known (`register_wrapper`); others belong outside.
        observation: what `reset` or `step` returned last.
        info: likewise.
        terminated: likewise; of such a state there is no snapshot.
        meta: to be kept with it.

    Raises:
        UnsupportedEnv: the state of the environment or a wrapper is not known how to keep.
        ValueError: the episode is over, or has not begun.
    """
    if terminated:
        raise ValueError("the episode must go on, got terminated=True; capture an earlier state")
    known = access(env)
    try:
        state = known.adapter.capture(known.inner)
        kept = [fields.capture(wrapper) for wrapper, fields in known.wrappers]
    except AttributeError as error:
        raise ValueError(f"env must have been reset, got one without {error.name}") from None
    for one in kept:
        if one.get("_elapsed_steps", 0) is None:
            raise ValueError("env must have been reset, got one that has not begun; call reset")
    return Snapshot(
        env_id=known.name,
        fingerprint=known.fingerprint,
        state=state,
        wrappers=tuple(zip(known.names, kept, strict=True)),
        rng=known.inner.np_random.bit_generator.state,
        observation=copied(observation),
        info=copied(info),
        meta=dict(meta) if meta else {},
    )


def restore(
    env: gymnasium.Env[Any, Any], snapshot: Snapshot, *, randomness: Randomness = "replay"
) -> tuple[Any, dict[str, Any]]:
    """Put an environment into the state of a snapshot.

    Args:
        env: of the same kind, with the same wrappers that have a state; it must have been reset.
        snapshot: of it or of another copy.
        randomness: see above.

    Returns:
        The observation and the info that were captured, as copies.

    Raises:
        UnsupportedEnv: as `capture`.
        ValueError: the snapshot is of another environment, model or set of wrappers. Nothing has
            been changed then.
    """
    if randomness not in _MODES:
        raise ValueError(f"randomness must be one of {_MODES}, got {randomness!r}")
    known = access(env)
    if snapshot.fingerprint != known.fingerprint:
        raise ValueError(
            f"snapshot must be of this environment, {known.name} with fingerprint "
            f"{known.fingerprint}, got one of {snapshot.env_id} with {snapshot.fingerprint}: "
            "another model, parameter or version"
        )
    names = tuple([name for name, _ in snapshot.wrappers])
    if names != known.names:
        raise ValueError(
            f"env must have the wrappers of the snapshot, {', '.join(names) or 'none'}, got "
            f"{', '.join(known.names) or 'none'}"
        )
    known.adapter.restore(known.inner, snapshot.state)
    for (wrapper, fields), (_, state) in zip(known.wrappers, snapshot.wrappers, strict=True):
        fields.restore(wrapper, state)
    if randomness == "replay":
        known.inner.np_random.bit_generator.state = snapshot.rng
    return copied(snapshot.observation), copied(snapshot.info)
