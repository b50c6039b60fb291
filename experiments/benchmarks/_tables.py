"""How benchmarks print."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table


def numbers(title: str, columns: Sequence[str], *, caption: str | None = None) -> Table:
    """A table of numbers, to be filled."""
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def digits(value: float | None, n: int = 2) -> str:
    """So many, all of those before the point from 100 on; nothing for None."""
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.{n}g}"
