"""Figures and benchmarks by name; each module is imported when it is asked for."""

from __future__ import annotations

import contextlib
import difflib
import pkgutil
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .errors import UnknownName

if TYPE_CHECKING:
    from .experiment import Experiment
    from .figure import Figure

FIGURES = "fenchel.paper_figures"
BENCHMARKS = "fenchel.experiments.benchmarks"


def figure_names() -> list[str]:
    """The modules of `fenchel.paper_figures`, sorted; none is imported."""
    return _modules(FIGURES)


def benchmark_names() -> list[str]:
    """The modules of `fenchel.experiments.benchmarks`, sorted; none is imported."""
    return _modules(BENCHMARKS)


def load_figure(name: str) -> Figure[Any, Any, Any]:
    """The constant FIGURE of the module `name`.

    Raises:
        UnknownName: there is no such module.
        TypeError: the module has no FIGURE, or one of another name.
    """
    from .figure import Figure

    check_known(name, figure_names(), "figure")
    figure = getattr(import_module(f"{FIGURES}.{name}"), "FIGURE", None)
    if not isinstance(figure, Figure):
        raise TypeError(f"{FIGURES}.{name} must have a constant FIGURE: Figure, got {figure!r}")
    if figure.name != name:
        raise TypeError(f"FIGURE of {FIGURES}.{name} must be named {name!r}, got {figure.name!r}")
    return figure


def load_experiment(name: str) -> Experiment[Any, Any]:
    """The experiment of the figure `name`, or the experiment `name` of any figure.

    Raises:
        UnknownName: there is neither.
    """
    if name in figure_names():
        return load_figure(name).experiment
    experiments = {}
    for figure in figure_names():
        with contextlib.suppress(Exception):  # one that is broken; `fenchel list` says how
            experiment = load_figure(figure).experiment
            experiments[experiment.name] = experiment
    check_known(name, sorted({*experiments, *figure_names()}), "experiment")
    return experiments[name]


def load_benchmark(name: str) -> ModuleType:
    """The benchmark's module: a docstring and `main() -> None`.

    Raises:
        UnknownName: there is no such module.
        TypeError: it has no `main`.
    """
    check_known(name, benchmark_names(), "benchmark")
    module = import_module(f"{BENCHMARKS}.{name}")
    if not callable(getattr(module, "main", None)):
        raise TypeError(f"{BENCHMARKS}.{name} must define main() -> None")
    return module


def check_known(name: str, known: Sequence[str], what: str) -> None:
    """Raises `UnknownName`, with the nearest names, unless `name` is among `known`."""
    if name in known:
        return
    near = difflib.get_close_matches(name, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known) or '-'}"
    raise UnknownName(f"unknown {what} {name!r}; {hint}")


def _modules(package: str) -> list[str]:
    found = pkgutil.iter_modules(import_module(package).__path__)
    return sorted(module.name for module in found if not module.name.startswith("_"))
