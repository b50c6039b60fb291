"""Offline RL: agents that learn from a dataset alone."""

from typing import TYPE_CHECKING

from ...core.lazy import lazily

if TYPE_CHECKING:
    from ._agent import Agent, Batch
    from .bc import BC
    from .cql import CQL
    from .decision_transformer import DecisionTransformer
    from .iql import IQL
    from .td3_bc import TD3BC

_LAZY = {
    "Agent": "_agent",
    "Batch": "_agent",
    "BC": "bc",
    "CQL": "cql",
    "DecisionTransformer": "decision_transformer",
    "IQL": "iql",
    "TD3BC": "td3_bc",
}

__all__ = ["BC", "CQL", "IQL", "TD3BC", "Agent", "Batch", "DecisionTransformer"]

__getattr__ = lazily(__name__, _LAZY, extra="deep", needs=("torch",))
