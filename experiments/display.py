"""What the command line shows: tables on stdout, messages on stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from traceback import format_exc
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import registry
from .claims import Verdict
from .experiment import config_hash, plain
from .records import FigureRecord, number
from .results import Results
from .store import Store

BADGES = {
    Verdict.REPRODUCED: ("✓", "bold cyan"),
    Verdict.NOT_REPRODUCED: ("✗", "bold red"),
    Verdict.INCONCLUSIVE: ("?", "bold yellow"),
}
SHOWN = 20  # configs listed by `fenchel run`; the folder has them all


def catalogue() -> int:
    """Prints figures and benchmarks; 1 if a figure cannot be imported."""
    broken = 0
    table = _table("figure", "shows")
    for name in registry.figure_names():
        try:
            figure = registry.load_figure(name)
        except Exception as error:
            failure(f"{name} cannot be loaded: {type(error).__name__}: {error}")
            broken = 1
        else:
            count = _plural(len(figure.claims), "claim")
            shown = Text(f"{figure.title} ({count})")
            for more in (figure.paper, f"{figure.experiment.name}: {figure.experiment.summary}"):
                shown.append(f"\n{more}", "dim")
            table.add_row(Text(name), shown)
    table.columns[0].no_wrap = True
    _out().print(table if table.row_count else "no figures")
    benchmarks = registry.benchmark_names()
    if benchmarks:
        _out().print(f"benchmarks: {', '.join(benchmarks)}", highlight=False)
    return broken


def runs(results: Results[Any, Any], store: Store) -> None:
    """Prints where the tables of a sweep are."""
    seeds = results.settings.n_seeds
    folder = store.root / results.experiment
    _line(
        f"{len(results) * seeds} runs of {results.experiment} ({_plural(len(results), 'config')}, "
        f"{_plural(seeds, 'seed')}), {duration(results.seconds)} of computing, in"
    )
    print(folder)  # alone and whole, to be copied
    table = _table("folder", "config")
    for config in results.configs[:SHOWN]:
        values = ", ".join(f"{name}={value!r}" for name, value in plain(config).items())
        table.add_row(config_hash(results.experiment, config), Text(values))
    _out().print(table)
    if len(results) > SHOWN:
        _line(f"and {len(results) - SHOWN} more; run.json in each folder has its config")


def claims(record: FigureRecord) -> None:
    """Prints the claims of a figure with what was measured."""
    _out().print(Text(f"{record.name}: {record.title}", "bold"))
    _line(
        f"preset {record.preset}, {_plural(record.n_runs, 'run')}, "
        f"{duration(record.seconds)} of computing"
    )
    table = _table("claim", "value", "interval", "verdict")
    for claim in record.claims:
        statement = Text(claim.statement)
        for more in (claim.paper, claim.detail):
            statement.append(f"\n{more}" if more else "", "dim")
        low, high = map(number, claim.interval)
        table.add_row(statement, number(claim.value), f"[{low}, {high}]", _badge(claim.verdict))
    table.columns[1].justify = table.columns[2].justify = "right"
    for column in table.columns[1:]:
        column.no_wrap = True
    _out().print(table)
    for note in record.notes:
        _out().print(Text("· ", "dim").append(note, "default"))


def summary(records: Sequence[FigureRecord], failed: int, report: Path) -> None:
    """Prints how many claims got which verdict, and where the report is."""
    line = Text(f"{_plural(len(records), 'figure')}: ")
    for verdict in Verdict:
        line.append(f"{sum(record.count(verdict) for record in records)} ")
        line.append_text(_badge(verdict)).append("  ")
    if failed:
        line.append(f"{_plural(failed, 'figure')} failed", "bold red")
    _out().print(line)
    print(report)


def heading(name: str) -> None:
    """Prints the name of what comes next."""
    _out().rule(Text(name, "bold"), align="left")


def notice(message: str) -> None:
    """Shows a message that calls for attention, on stderr."""
    _error().print(Text("note: ", "bold yellow").append(message, "default"), soft_wrap=True)


def failure(message: str) -> None:
    """Shows what went wrong, on stderr."""
    _error().print(Text("failed: ", "bold red").append(message, "default"), soft_wrap=True)


def traceback() -> None:
    """Shows the exception that is being handled, on stderr."""
    sys.stderr.write(format_exc())


def duration(seconds: float) -> str:
    """Seconds in words, such as "850 ms", "12 s", "3 min 20 s", "2 h 5 min"."""
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _badge(verdict: Verdict) -> Text:
    sign, style = BADGES[verdict]
    return Text(f"{sign} {verdict}", style)


def _table(*columns: str) -> Table:
    return Table(*columns, box=box.SIMPLE_HEAD, header_style="dim", pad_edge=False)


def _line(text: str) -> None:
    _out().print(Text(text))


def _out() -> Console:
    return Console()  # made anew: stdout may have been redirected


def _error() -> Console:
    return Console(stderr=True)
