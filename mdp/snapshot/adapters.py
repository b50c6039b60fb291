"""What must be kept of an environment so that it goes on as it would have, bit by bit.

    environments    kept
    MuJoCo          mjSTATE_INTEGRATION, with xpos and xipos
    classic control, toy text, fenchel's own
                    the fields that change, as they are
    others          what `register_adapter` says; otherwise `UnsupportedEnv`

qpos and qvel alone are no snapshot of MuJoCo: the solver starts from the acceleration of the step
before, whose absence contacts amplify to differences of order 10 in 200 steps. xpos and xipos are
those before the last substep, which neither a new mj_forward nor the state gives back; rewards of
Ant and Humanoid read them. No environment is ever deep-copied: with EzPickle, which MuJoCo and
Box2D have, that silently makes a fresh one.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import gymnasium
import numpy as np

from .replay import Replay, ReplayAdapter
from .values import State, UnsupportedEnv, copied, fingerprint


class Adapter(Protocol):
    """How the state of one kind of environment is read and written."""

    def capture(self, env: Any) -> State:
        """Copies of all that changes, of an environment without wrappers."""

    def restore(self, env: Any, state: State) -> None:
        """Put it back; what the state holds is not shared with the environment."""

    def constants(self, env: Any) -> Any:
        """What must be the same where a state is restored, as plain values and arrays."""


class Fields:
    """Attributes, by name."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def capture(self, env: Any) -> State:
        """Copies of the attributes."""
        return {name: copied(getattr(env, name)) for name in self.names}

    def restore(self, env: Any, state: State) -> None:
        """Copies of what was captured."""
        for name in self.names:
            setattr(env, name, copied(state[name]))

    def constants(self, env: Any) -> Any:
        """Numbers and arrays among the other attributes, and transitions of toy text."""
        kinds = bool | int | float | np.ndarray
        return {
            name: value
            for name, value in sorted(vars(env).items())
            if isinstance(value, kinds) and name not in self.names and name not in _VOLATILE
        } | {"P": repr(getattr(env, "P", None))}


_VOLATILE = ("isopen", "_np_random_seed")  # of gymnasium; they say nothing of the dynamics


_CONSTANTS = (  # of MuJoCo's model
    "nq", "nv", "nu", "na", "nbody", "names", "body_mass", "body_inertia", "body_pos", "geom_size",
    "geom_friction", "actuator_gear", "dof_damping", "dof_armature", "jnt_range",
)  # fmt: skip


class Mujoco:
    """Environments of gymnasium on MuJoCo."""

    def __init__(self) -> None:
        self._signature: Any = None  # mujoco is imported by the first environment that needs it

    def capture(self, env: Any) -> State:
        """The state for integration, and the frames before the last substep."""
        model, data, signature = env.model, env.data, self._of_integration()
        state = np.empty(self._mujoco.mj_stateSize(model, signature))
        self._mujoco.mj_getState(model, data, state, signature)
        return {"state": state, "xpos": data.xpos.copy(), "xipos": data.xipos.copy()}

    def restore(self, env: Any, state: State) -> None:
        """Without mj_forward, which would change xpos and xipos."""
        data, signature = env.data, self._of_integration()
        self._mujoco.mj_setState(env.model, data, state["state"], signature)
        data.xpos[:] = state["xpos"]
        data.xipos[:] = state["xipos"]

    def constants(self, env: Any) -> Any:
        """Of the model and the library: bits of a state differ between versions."""
        import mujoco

        model = env.model
        found = {name: getattr(model, name) for name in _CONSTANTS}
        option = {name: getattr(model.opt, name) for name in ("timestep", "gravity", "integrator")}
        return [found, option, env.frame_skip, mujoco.__version__]

    def _of_integration(self) -> Any:
        if self._signature is None:
            import mujoco

            self._mujoco, self._signature = mujoco, int(mujoco.mjtState.mjSTATE_INTEGRATION)
        return self._signature


_CLASSIC = "gymnasium.envs.classic_control"
_TOY = "gymnasium.envs.toy_text"
_ADAPTERS: list[tuple[type | str, Adapter]] = [
    (f"{_CLASSIC}.CartPoleEnv", Fields("state", "steps_beyond_terminated")),
    (f"{_CLASSIC}.PendulumEnv", Fields("state", "last_u")),
    (f"{_CLASSIC}.AcrobotEnv", Fields("state")),
    (f"{_CLASSIC}.MountainCarEnv", Fields("state")),
    (f"{_CLASSIC}.Continuous_MountainCarEnv", Fields("state")),
    (f"{_TOY}.TaxiEnv", Fields("s", "lastaction", "taxi_orientation", "fickle_step")),
    (f"{_TOY}.CliffWalkingEnv", Fields("s", "lastaction")),
    (f"{_TOY}.FrozenLakeEnv", Fields("s", "lastaction")),
    (f"{_TOY}.BlackjackEnv", Fields("dealer", "player")),
    ("fenchel.mdp.envs.AdversarialMDPEnv", Fields("episode", "_layer", "_state")),
    ("gymnasium.envs.mujoco.MujocoEnv", Mujoco()),
    (Replay, ReplayAdapter()),
]
# wrappers with what changes in them; those without a state have no fields
_WRAPPERS: dict[str, tuple[str, ...]] = dict.fromkeys(
    (
        "PassiveEnvChecker", "OrderEnforcing", "ClipAction", "RescaleAction", "TransformAction",
        "DiscretizeAction", "TransformObservation", "FilterObservation", "FlattenObservation",
        "GrayscaleObservation", "ResizeObservation", "ReshapeObservation", "RescaleObservation",
        "DtypeObservation", "DiscretizeObservation", "TransformReward", "ClipReward",
    ),
    (),
) | {
    "TimeLimit": ("_elapsed_steps",),
    "TimeAwareObservation": ("timesteps",),
    "FrameStackObservation": ("obs_queue",),
    "DelayObservation": ("observation_queue",),
    "StickyAction": ("last_action", "is_sticky_actions", "sticky_actions_duration"),
}  # fmt: skip
_OWN_WRAPPERS: dict[type, tuple[str, ...]] = {}


@dataclass(frozen=True)
class Access:
    """All there is to know of an environment with its wrappers.

    Attributes:
        name: id of the specification, or the name of the class.
        inner: the environment without wrappers.
        wrappers: those that have a state, from outside, with its fields.
        names: of their classes.
        adapter: of the environment within.
        fingerprint: of its constants, which are read once: a later change is not noticed.
    """

    name: str
    inner: Any
    wrappers: tuple[tuple[Any, Fields], ...]
    names: tuple[str, ...]
    adapter: Adapter
    fingerprint: str


_known: WeakKeyDictionary[Any, Access] = WeakKeyDictionary()


def register_adapter(kind: type, adapter: Adapter) -> None:
    """Keep the state of environments of a class by an adapter of yours.

        register_adapter(MyEnv, Fields("position", "speed"))

    Args:
        kind: of the environment without wrappers; subclasses too.
        adapter: it comes before those that are there.
    """
    _ADAPTERS.insert(0, (kind, adapter))
    _known.clear()


def register_wrapper(kind: type[gymnasium.Wrapper[Any, Any, Any, Any]], *fields: str) -> None:
    """Say what changes in a wrapper of yours: names of attributes; none: nothing does."""
    _OWN_WRAPPERS[kind] = fields
    _known.clear()


def access(env: gymnasium.Env[Any, Any]) -> Access:
    """How the state of an environment is reached.

    Raises:
        UnsupportedEnv: it, or a wrapper, is of no kind that is known.
    """
    found = _known.get(env)
    if found is None:
        chain: list[tuple[Any, Fields]] = []
        inner: Any = env
        while isinstance(inner, gymnasium.Wrapper) and not isinstance(inner, Replay):
            if fields := _fields(inner):
                chain.append((inner, Fields(*fields)))
            inner = inner.env
        adapter = _adapter(inner)
        mark = fingerprint(type(inner).__qualname__, adapter.constants(inner))
        name = env.spec.id if env.spec is not None else type(inner).__name__
        names = tuple(type(wrapper).__name__ for wrapper, _ in chain)
        found = _known[env] = Access(name, inner, tuple(chain), names, adapter, mark)
    return found


def _adapter(inner: Any) -> Adapter:
    for kind, adapter in _ADAPTERS:
        if isinstance(inner, _class(kind) if isinstance(kind, str) else kind):
            return adapter
    raise UnsupportedEnv(
        f"env must be of a kind whose state is known, got {type(inner).__name__}; describe it by "
        "register_adapter, or replay its actions by Replay"
    )


def _fields(wrapper: Any) -> tuple[str, ...]:
    kind = type(wrapper)
    for known, fields in _OWN_WRAPPERS.items():
        if isinstance(wrapper, known):
            return fields
    if kind.__module__.startswith("gymnasium.wrappers") and kind.__name__ in _WRAPPERS:
        return _WRAPPERS[kind.__name__]
    raise UnsupportedEnv(
        f"env must have no wrapper with a state that is not the environment's, got {kind.__name__};"
        " put it outside of what is captured, or describe it by register_wrapper"
    )


def _class(path: str) -> type | tuple[()]:
    """The class of a path, () where its package is not installed."""
    module, name = path.rsplit(".", 1)
    try:
        found: type = getattr(import_module(module), name)
    except (ImportError, AttributeError, gymnasium.error.DependencyNotInstalled):
        return ()
    return found
