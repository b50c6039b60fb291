"""Exact snapshots of simulators, and resets to them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .adapters import Fields, register_adapter, register_wrapper
from .bank import SnapshotBank, collect_snapshots
from .replay import Replay
from .samplers import ClusterSampler, ScheduledSampler, UniformSampler
from .snapshots import Snapshot, capture, restore
from .values import UnsupportedEnv
from .wrapper import SnapshotReset

if TYPE_CHECKING:
    from .s3rl import S3RL, SwitchOff

_LAZY = {"S3RL": "s3rl", "SwitchOff": "s3rl"}

__all__ = [
    "S3RL",
    "ClusterSampler",
    "Fields",
    "Replay",
    "ScheduledSampler",
    "Snapshot",
    "SnapshotBank",
    "SnapshotReset",
    "SwitchOff",
    "UniformSampler",
    "UnsupportedEnv",
    "capture",
    "collect_snapshots",
    "register_adapter",
    "register_wrapper",
    "restore",
]


def __getattr__(name: str) -> Any:
    """What needs stable-baselines3 is imported when it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name not in ("stable_baselines3", "torch"):
            raise
        message = f'{error.name} is not installed; run: pip install "fenchel[snapshot]"'
        raise ModuleNotFoundError(message, name=error.name) from None
