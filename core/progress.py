"""Progress of long work: a line on stderr, or in the cell of a notebook."""

from __future__ import annotations

import time
from typing import Any, Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn

_SHOWN_EVERY = 0.2  # seconds between refreshes in a notebook


class ProgressBar:
    """A bar that is shown while it is entered.

    In notebooks rich needs ipywidgets, and shows nothing without; so there the bar is an output of
    the cell that is replaced.

    Args:
        columns: of rich, or formats such as "{task.fields[loss]}".
        total: steps in all.
        completed: steps done before.
        description: the field of that name.
        shown: False shows nothing.
        fields: more fields for columns.
    """

    def __init__(
        self,
        *columns: ProgressColumn | str,
        total: int,
        completed: int = 0,
        description: str = "",
        shown: bool = True,
        **fields: Any,
    ) -> None:
        console = Console(stderr=True)
        self._shown, self._in_cell = shown, shown and console.is_jupyter
        self._progress = Progress(*columns, console=console, disable=not shown or self._in_cell)
        self._task = self._progress.add_task(
            description, total=total, completed=completed, **fields
        )
        self._output: Any = None
        self._last = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        self._refresh()
        return self

    def advance(self, steps: int = 1, **fields: Any) -> None:
        """So many steps further; fields that are given change."""
        if not self._shown:
            return
        self._progress.update(self._task, advance=steps, **fields)
        if self._in_cell and time.monotonic() - self._last > _SHOWN_EVERY:
            self._refresh()

    def __exit__(self, *args: object) -> None:
        self._refresh()
        self._progress.stop()

    def _refresh(self) -> None:
        if not self._in_cell:
            return
        from IPython.display import display

        table = self._progress.make_tasks_table(self._progress.tasks)
        if self._output is None:
            self._output = display(table, display_id=True)
        else:
            self._output.update(table)
        self._last = time.monotonic()
