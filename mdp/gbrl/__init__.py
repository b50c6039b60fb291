"""Gradient boosted trees, alone and as actors and critics."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .ensemble import LinearSchedule, TreeEnsemble
from .export import to_c
from .params import TreeParams
from .shap import shap_values

if TYPE_CHECKING:
    from .agents import A2C_GBRL, PPO_GBRL
    from .awr import AWR_GBRL
    from .callbacks import Distillation
    from .envs import CategoricalMiniGrid
    from .equations import LinearEquation
    from .noise import ObservationNoise
    from .spurious import SpuriousFetch
    from .texts import TextAsCategory

_LAZY = {
    "PPO_GBRL": "agents",
    "A2C_GBRL": "agents",
    "AWR_GBRL": "awr",
    "Distillation": "callbacks",
    "CategoricalMiniGrid": "envs",
    "LinearEquation": "equations",
    "ObservationNoise": "noise",
    "SpuriousFetch": "spurious",
    "TextAsCategory": "texts",
}

__all__ = [
    "A2C_GBRL",
    "AWR_GBRL",
    "PPO_GBRL",
    "CategoricalMiniGrid",
    "Distillation",
    "LinearEquation",
    "LinearSchedule",
    "ObservationNoise",
    "SpuriousFetch",
    "TextAsCategory",
    "TreeEnsemble",
    "TreeParams",
    "shap_values",
    "to_c",
]


def __getattr__(name: str) -> Any:
    """Agents need stable-baselines3, which is imported when they are asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name not in ("stable_baselines3", "gymnasium", "torch", "minigrid"):
            raise
        message = f'{error.name} is not installed; run: pip install "fenchel[gbrl]"'
        raise ModuleNotFoundError(message, name=error.name) from None
