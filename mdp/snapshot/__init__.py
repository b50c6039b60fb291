"""Exact snapshots of simulators, and resets to them."""

from typing import TYPE_CHECKING

from ...core.lazy import lazily

if TYPE_CHECKING:
    from .adapters import Fields, register_adapter, register_wrapper
    from .bank import SnapshotBank, collect_snapshots
    from .controls import JumpStart, add_transitions
    from .replay import Replay
    from .s3rl import S3RL, SwitchOff
    from .samplers import ClusterSampler, ScheduledSampler, UniformSampler
    from .snapshots import Snapshot, capture, restore
    from .values import UnsupportedEnv
    from .wrapper import SnapshotReset

_LAZY = {
    "Fields": "adapters",
    "register_adapter": "adapters",
    "register_wrapper": "adapters",
    "SnapshotBank": "bank",
    "collect_snapshots": "bank",
    "JumpStart": "controls",
    "add_transitions": "controls",
    "Replay": "replay",
    "S3RL": "s3rl",
    "SwitchOff": "s3rl",
    "ClusterSampler": "samplers",
    "ScheduledSampler": "samplers",
    "UniformSampler": "samplers",
    "Snapshot": "snapshots",
    "capture": "snapshots",
    "restore": "snapshots",
    "UnsupportedEnv": "values",
    "SnapshotReset": "wrapper",
}

__all__ = [
    "S3RL",
    "ClusterSampler",
    "Fields",
    "JumpStart",
    "Replay",
    "ScheduledSampler",
    "Snapshot",
    "SnapshotBank",
    "SnapshotReset",
    "SwitchOff",
    "UniformSampler",
    "UnsupportedEnv",
    "add_transitions",
    "capture",
    "collect_snapshots",
    "register_adapter",
    "register_wrapper",
    "restore",
]

__getattr__ = lazily(
    __name__,
    _LAZY,
    extra="snapshot",
    needs=("gymnasium", "stable_baselines3", "torch"),
)
