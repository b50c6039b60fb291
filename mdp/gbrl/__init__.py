"""Gradient boosted trees as actors and critics."""

from .ensemble import TreeEnsemble
from .params import TreeParams

__all__ = ["TreeEnsemble", "TreeParams"]
