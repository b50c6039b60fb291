"""Gradient boosted trees, alone and as actors and critics."""

from typing import TYPE_CHECKING

from ...core.lazy import lazily
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

__getattr__ = lazily(
    __name__,
    _LAZY,
    extra="gbrl",
    needs=("stable_baselines3", "gymnasium", "torch", "minigrid"),
)
