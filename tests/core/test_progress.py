"""Progress on stderr and in notebooks."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn

from fenchel.core import progress
from fenchel.core.progress import ProgressBar

COLUMNS = ("{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[row]}")


def walk(shown: bool) -> None:
    with ProgressBar(*COLUMNS, total=3, description="walk", shown=shown, row="") as bar:
        bar.advance()
        bar.advance(2, row="loss 0.5")


def test_the_end_is_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    walk(shown=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "walk" in err
    assert "3/3" in err
    assert "loss 0.5" in err


def test_nothing_is_told_where_nothing_shall_be(capsys: pytest.CaptureFixture[str]) -> None:
    walk(shown=False)
    assert capsys.readouterr() == ("", "")


def test_in_a_notebook_one_output_is_replaced(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[Any] = []
    updates: list[Any] = []

    def display(table: Any, display_id: bool) -> Any:
        assert display_id
        shown.append(table)
        return SimpleNamespace(update=updates.append)

    module = ModuleType("IPython.display")
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(progress, "Console", lambda **more: Console(force_jupyter=True, **more))
    walk(shown=True)
    assert len(shown) == 1
    last = Console(width=80, record=True)
    last.print(updates[-1])
    text = last.export_text()
    assert "3/3" in text
    assert "loss 0.5" in text
    assert "ipywidgets" not in capsys.readouterr().err
    shown.clear()
    walk(shown=False)
    assert shown == []
