"""Figures of papers: run the experiment, draw what came out, check what is claimed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import provenance
from .claims import Claim
from .experiment import ConfigT, Experiment, SettingsT, check_name, plain
from .files import make_writable, write_whole
from .records import ClaimRecord, FigureRecord
from .results import Results
from .runner import sweep
from .store import Store
from .style import pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

DataT = TypeVar("DataT")


def _identity(results: Any) -> Any:
    return results


def _nothing(data: Any) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class Figure(Generic[SettingsT, ConfigT, DataT]):
    """A figure: what is run, what is drawn, what is claimed.

    Attributes:
        name: an identifier, the name of its module in `paper_figures`.
        title: one line.
        paper: whose result it shows, with the year.
        experiment: what is run.
        draw: data -> matplotlib figure.
        claims: checked on the same data.
        summarise: results -> data, computed once for drawing and claims; default: the results.
        notes: data -> measured facts worth a line that no paper claims, printed below the claims.
    """

    name: str
    title: str
    paper: str
    experiment: Experiment[SettingsT, ConfigT]
    draw: Callable[[DataT], Drawing]
    claims: Sequence[Claim[DataT]]
    summarise: Callable[[Results[SettingsT, ConfigT]], DataT] = field(default=_identity)
    notes: Callable[[DataT], Sequence[str]] = field(default=_nothing)

    def __post_init__(self) -> None:
        check_name(self.name, "the figure's name")
        if not self.claims:
            raise ValueError(f"claims of figure {self.name} must not be empty; say what it shows")


def make(
    figure: Figure[SettingsT, ConfigT, DataT],
    preset: str = "quick",
    *,
    jobs: int | None = None,
    store: Store | None = None,
    fresh: bool = False,
    gallery: str | Path | None = None,
    overrides: Mapping[str, object] | None = None,
    progress: bool = True,
) -> FigureRecord:
    """Makes the figure: `<root>/figures/NAME.png`, `NAME.pdf` and `NAME.json`.

    Args:
        figure: what to make.
        preset: "quick", "standard" or "paper".
        jobs: see `sweep`.
        store: see `sweep`.
        fresh: see `sweep`.
        gallery: a folder that gets a copy of the PNG and the JSON.
        overrides: settings that replace those of the preset.
        progress: see `sweep`.

    Raises:
        RunFailed, SweepInterrupted: see `sweep`.
        ClaimError: a claim could not be measured.
        ValueError: unknown preset or setting.
    """
    store = Store() if store is None else store
    if gallery is not None:
        make_writable(Path(gallery), "gallery")
    overrides = {} if overrides is None else overrides
    settings = figure.experiment.settings(preset, **overrides)
    results = sweep(
        figure.experiment, settings, jobs=jobs, store=store, fresh=fresh, progress=progress
    )
    data = figure.summarise(results)
    record = FigureRecord(
        name=figure.name,
        title=figure.title,
        paper=figure.paper,
        experiment=figure.experiment.name,
        preset=preset,
        settings=plain(settings),
        n_runs=len(results) * settings.n_seeds,
        seconds=results.seconds,
        commit=results.commit,
        command=command(figure.name, preset, overrides),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=provenance.versions(),
        claims=tuple(_measured(claim, data) for claim in figure.claims),
        notes=tuple(figure.notes(data)),
    )
    folder = store.root / "figures"
    files = pictures(figure.draw, data)
    files["json"] = record.to_json().encode()  # the last to be written: it vouches for the rest
    for suffix, content in files.items():
        write_whole(folder / f"{figure.name}.{suffix}", content)
        if gallery is not None and suffix != "pdf":
            write_whole(Path(gallery) / f"{figure.name}.{suffix}", content)
    return record


def command(name: str, preset: str, overrides: Mapping[str, object]) -> str:
    """The shell command that makes the figure again."""
    words = ["python", f"paper_figures/{name}.py", "--preset", preset]
    for setting, value in overrides.items():
        flag = setting.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{'' if value else 'no-'}{flag}")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words += [f"--{flag}", *map(str, value)]
        else:
            words += [f"--{flag}", str(value)]
    return shlex.join(words)


def main(figure: Figure[Any, Any, Any], argv: Sequence[str] | None = None) -> int:
    """The command line of a figure's script: `sys.exit(main(FIGURE))`.

    Returns:
        0; 1 if a run or a claim's check failed; 2 for bad input; 3 if a claim was not reproduced;
        130 after Ctrl-C.
    """
    from .script import figure_script

    return figure_script(figure, argv)


def _measured(claim: Claim[DataT], data: DataT) -> ClaimRecord:
    outcome = claim.measure(data)
    return ClaimRecord(
        statement=claim.statement,
        paper=claim.paper,
        value=outcome.value,
        interval=(outcome.low, outcome.high),
        verdict=outcome.verdict,
        detail=outcome.detail,
    )
