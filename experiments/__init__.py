"""Declare, run, store, check and report experiments.

An `Experiment` names its runs, `sweep` makes the missing ones in parallel and keeps them in a
`Store`, a `Figure` draws them and checks its `Claim`s, `write_report` puts figures on one page.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .claims import Claim as Claim
    from .claims import Outcome as Outcome
    from .claims import Verdict as Verdict
    from .claims import at_least as at_least
    from .claims import at_most as at_most
    from .claims import bounds_hold as bounds_hold
    from .claims import inequalities_hold as inequalities_hold
    from .claims import less_regret as less_regret
    from .claims import within as within
    from .errors import ClaimError as ClaimError
    from .errors import InputError as InputError
    from .errors import RunFailed as RunFailed
    from .errors import StoreWarning as StoreWarning
    from .errors import SweepInterrupted as SweepInterrupted
    from .experiment import Experiment as Experiment
    from .experiment import config_hash as config_hash
    from .figure import Figure as Figure
    from .figure import main as main
    from .figure import make as make
    from .records import ClaimRecord as ClaimRecord
    from .records import FigureRecord as FigureRecord
    from .report import write_report as write_report
    from .results import Results as Results
    from .runner import sweep as sweep
    from .store import Store as Store

# Loaded at first use: the command line must answer --help without numba, matplotlib or joblib.
_HOME = {
    "claims": [
        "Claim",
        "Outcome",
        "Verdict",
        "at_least",
        "at_most",
        "bounds_hold",
        "inequalities_hold",
        "less_regret",
        "within",
    ],
    "errors": ["ClaimError", "InputError", "RunFailed", "StoreWarning", "SweepInterrupted"],
    "experiment": ["Experiment", "config_hash"],
    "figure": ["Figure", "main", "make"],
    "records": ["ClaimRecord", "FigureRecord"],
    "report": ["write_report"],
    "results": ["Results"],
    "runner": ["sweep"],
    "store": ["Store"],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [  # noqa: RUF022 (the order in which they are used)
    "Experiment",
    "config_hash",
    "Store",
    "StoreWarning",
    "sweep",
    "Results",
    "RunFailed",
    "SweepInterrupted",
    "InputError",
    "Claim",
    "ClaimError",
    "Outcome",
    "Verdict",
    "at_least",
    "at_most",
    "within",
    "bounds_hold",
    "inequalities_hold",
    "less_regret",
    "Figure",
    "FigureRecord",
    "ClaimRecord",
    "make",
    "main",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
