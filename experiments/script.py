"""The command line of a figure's script, and what it shares with the command `fenchel`."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import arguments
from .arguments import Parser
from .errors import InputError, RunFailed, StoreWarning

if TYPE_CHECKING:
    from .figure import Figure
    from .records import FigureRecord
    from .store import Store


def figure_script(figure: Figure[Any, Any, Any], argv: Sequence[str] | None = None) -> int:
    """The command of a figure's script; see `fenchel.experiments.main`."""

    def command() -> int:
        prog = f"python paper_figures/{figure.name}.py"
        parser = Parser(prog=prog, description=figure.title, add_help=False)
        parser.add_argument("-h", "--help", action="store_true", help="show this and the settings")
        arguments.sweep_options(parser)
        arguments.gallery_option(parser)
        options, words = parser.parse_known_args(argv)
        if options.help:
            presets = figure.experiment.presets
            print(parser.format_help() + arguments.settings_help(presets, options.preset, prog))
            return 0
        changes = arguments.overrides(figure.experiment.settings(options.preset), words, prog)

        from .store import Store

        store = Store()
        record, failed = attempt(lambda: figure, options, changes, store)
        if record is not None:
            print(store.root / "figures" / f"{figure.name}.png")
        return status([record] if record else [], failed)

    return guarded(command)


def attempt(
    load: Callable[[], Figure[Any, Any, Any]],
    options: argparse.Namespace,
    changes: dict[str, object],
    store: Store,
) -> tuple[FigureRecord | None, int]:
    """A figure with its claims printed, or what went wrong: one figure does not stop the next."""
    from . import display
    from .figure import make

    try:
        record = make(
            load(),
            options.preset,
            jobs=options.jobs,
            store=store,
            fresh=options.fresh,
            gallery=options.gallery,
            overrides=changes,
        )
    except InputError:
        raise
    except RunFailed as error:  # has the run's own traceback
        display.failure(str(error))
    except Exception:
        display.traceback()
    else:
        display.claims(record)
        return record, 0
    return None, 1


def status(records: Sequence[FigureRecord], failed: int) -> int:
    """The exit status: 1 after a failure, 3 if a claim was not reproduced, else 0."""
    from .claims import Verdict

    if failed:
        return 1
    return 3 if any(record.count(Verdict.NOT_REPRODUCED) for record in records) else 0


def guarded(command: Callable[[], int]) -> int:
    """Runs a command; what goes wrong becomes one message and an exit status."""
    try:
        with _shown_warnings():
            return command()
    except SystemExit as end:  # argparse's --help
        return end.code if isinstance(end.code, int) else 1
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except RunFailed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print(str(stop) or "stopped", file=sys.stderr)
        return 130


@contextmanager
def _shown_warnings() -> Iterator[None]:
    """Shows each `StoreWarning` as a message, without the line of code that noticed it."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if not issubclass(category, StoreWarning):
                usual(message, category, *where, **more)
                return
            from . import display

            display.notice(str(message))

        warnings.simplefilter("always", StoreWarning)
        warnings.showwarning = show
        yield
