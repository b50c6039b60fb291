"""Offline datasets: the type, files of D4RL, Minari and parquet, and datasets made here."""

from typing import TYPE_CHECKING

from ...core.lazy import lazily
from .cache import cache_root
from .d4rl import load_d4rl, to_d4rl_hdf5
from .dataset import OfflineDataset
from .files import load_parquet, to_parquet
from .minari import load_minari, to_minari

if TYPE_CHECKING:
    from .generation import available, generate

__all__ = [
    "OfflineDataset",
    "available",
    "cache_root",
    "generate",
    "load_d4rl",
    "load_minari",
    "load_parquet",
    "to_d4rl_hdf5",
    "to_minari",
    "to_parquet",
]

__getattr__ = lazily(
    __name__,
    {"available": "generation", "generate": "generation"},
    extra="offline",
    needs=("gymnasium",),
)
