"""Words of the command line: one parser a command, and settings overrides through tyro."""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NoReturn

from .errors import InputError
from .experiment import PRESETS


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises `InputError` and keeps the layout of its texts."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """One line instead of usage and exit."""
        raise InputError(f"{self.prog}: {message}; see {self.prog} --help")


def sweep_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of everything that makes runs."""
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default="quick",
        help="quick (default): seconds to a minute; standard: up to ten minutes on two cores; "
        "paper: the paper's scale",
    )
    parser.add_argument(
        "--jobs", type=count, metavar="N", help="worker processes (default: one a core)"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="make runs again that the store already has"
    )


def gallery_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option of everything that draws."""
    parser.add_argument(
        "--gallery", metavar="DIR", help="also copy each PNG and JSON to this folder"
    )


def overrides(settings: Any, words: Sequence[str], prog: str) -> dict[str, object]:
    """The fields that `words` (such as `--n-replications 64`) change in `settings`.

    Raises:
        InputError: a word is no setting of these, or a value does not fit its type.
    """
    import tyro

    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            changed = tyro.cli(type(settings), default=settings, prog=prog, args=list(words))
    except SystemExit:
        raise InputError(
            f"{prog}: {_first_section(complaint.getvalue())}; see {prog} --help"
        ) from None
    except (TypeError, ValueError) as error:  # the author's own check of the settings
        raise InputError(f"{prog}: {error}") from None
    return {
        field.name: getattr(changed, field.name)
        for field in fields(settings)
        if getattr(changed, field.name) != getattr(settings, field.name)
    }


def settings_help(presets: Mapping[str, Any], preset: str, prog: str) -> str:
    """What tyro says of the settings, with the preset's values as defaults."""
    import tyro

    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(type(presets[preset]), default=presets[preset], prog=prog, args=["--help"])
    _usage, _, rest = text.getvalue().partition("\n\n")
    lines = (line.rstrip() for line in rest.splitlines())
    return f"\nSettings, with the values of preset {preset}:\n\n" + "\n".join(lines)


def _first_section(box: str) -> str:
    """The message in a box that tyro drew (title, message, hints; rules between), as one line."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box)  # without colours
    lines = [line.strip("│╭╮╰╯─ ") for line in plain.strip().splitlines()[1:]]
    sections = itertools.groupby(lines, key=lambda line: bool(line.strip("-")))
    return next((" ".join(text) for is_text, text in sections if is_text), "cannot be read")


def count(word: str) -> int:
    """An integer of at least 1."""
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {word!r}")
    return int(word)
