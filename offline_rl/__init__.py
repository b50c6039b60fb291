"""Offline RL: datasets, offline algorithms, inverse dynamics, semi-supervised learning."""

from typing import TYPE_CHECKING

from ..core.lazy import lazily

if TYPE_CHECKING:
    from .algorithms import BC, CQL, IQL, TD3BC, DecisionTransformer
    from .datasets import OfflineDataset, generate, load_d4rl, load_minari
    from .evaluation import aggregate, evaluate, normalised_scores
    from .inverse_dynamics import InverseDynamics
    from .semi_supervised import (
        SemiSupervisedOfflineRL,
        gap,
        proxy_error,
        recovered,
        split_decoupled,
        split_labelled,
    )

_LAZY = {
    "BC": "algorithms",
    "CQL": "algorithms",
    "DecisionTransformer": "algorithms",
    "IQL": "algorithms",
    "TD3BC": "algorithms",
    "OfflineDataset": "datasets",
    "generate": "datasets",
    "load_d4rl": "datasets",
    "load_minari": "datasets",
    "aggregate": "evaluation",
    "evaluate": "evaluation",
    "normalised_scores": "evaluation",
    "InverseDynamics": "inverse_dynamics",
    "SemiSupervisedOfflineRL": "semi_supervised",
    "gap": "semi_supervised",
    "proxy_error": "semi_supervised",
    "recovered": "semi_supervised",
    "split_decoupled": "semi_supervised",
    "split_labelled": "semi_supervised",
}

__all__ = [
    "BC",
    "CQL",
    "IQL",
    "TD3BC",
    "DecisionTransformer",
    "InverseDynamics",
    "OfflineDataset",
    "SemiSupervisedOfflineRL",
    "aggregate",
    "evaluate",
    "gap",
    "generate",
    "load_d4rl",
    "load_minari",
    "normalised_scores",
    "proxy_error",
    "recovered",
    "split_decoupled",
    "split_labelled",
]

__getattr__ = lazily(__name__, _LAZY, extra="offline", needs=("torch", "gymnasium"))
