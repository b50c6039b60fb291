"""Optimal transport (torch): costs, entropic and exact plans, divergences, maps.

The folder bears the import name of POT. When the root of the repository is on `sys.path`, a plain
`import ot` arrives here; it is handed over to the installed POT, so that it means POT everywhere.
"""


def _hand_over_to_pot() -> None:
    """Replace this module, imported as plain `ot`, by the POT that `sys.path` holds elsewhere."""
    import sys
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec
    from pathlib import Path

    root = Path(__file__).resolve().parent.parent
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != root]
    spec = PathFinder.find_spec("ot", elsewhere)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(
            "No module named 'ot': POT is not installed (pip install POT). "
            "fenchel's own optimal transport is imported as fenchel.ot.",
            name="ot",
        )
    module = module_from_spec(spec)
    sys.modules["ot"] = module
    spec.loader.exec_module(module)


if __name__ == "ot":
    _hand_over_to_pot()
else:
    from ..core.device import require_torch

    require_torch()

    from . import costs
    from .divergences import DivergenceResult, sinkhorn_divergence
    from .exact import ExactPlan, exact_plan, exact_plan_1d
    from .maps import EntropicMap, entropic_map
    from .monge_gap import monge_gap
    from .monge_map import MongeMap
    from .neural_dual import NeuralDual
    from .router import Router, Routing
    from .sinkhorn import ConvergenceWarning, SinkhornResult, sinkhorn
    from .sparse import SparsePlan, quadratic_plan, sparse_plan

    __all__ = [
        "ConvergenceWarning",
        "DivergenceResult",
        "EntropicMap",
        "ExactPlan",
        "MongeMap",
        "NeuralDual",
        "Router",
        "Routing",
        "SinkhornResult",
        "SparsePlan",
        "costs",
        "entropic_map",
        "exact_plan",
        "exact_plan_1d",
        "monge_gap",
        "quadratic_plan",
        "sinkhorn",
        "sinkhorn_divergence",
        "sparse_plan",
    ]
