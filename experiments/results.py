"""What a sweep gives: the tables of all runs, by config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic

import pandas as pd

from .experiment import ConfigT, SettingsT, config_hash
from .store import StoredRun


@dataclass(frozen=True)
class Results(Mapping[ConfigT, list[pd.DataFrame]], Generic[SettingsT, ConfigT]):
    """The tables of a sweep: `results[config]` lists them in the order of the seeds.

    Attributes:
        experiment: name of the experiment.
        settings: what the sweep was asked for.
        configs: in the order of the experiment.
        seconds: wall time of the runs, summed, those that were in the store included.
        commit: of the fenchel that made the runs; "-dirty" if files differed from it; several are
            joined by ", "; None if unknown.
    """

    experiment: str
    settings: SettingsT
    configs: tuple[ConfigT, ...]
    seconds: float
    commit: str | None
    tables: Mapping[str, list[pd.DataFrame]] = field(repr=False)

    def __getitem__(self, config: ConfigT) -> list[pd.DataFrame]:
        return self.tables[config_hash(self.experiment, config)]

    def __iter__(self) -> Iterator[ConfigT]:
        return iter(self.configs)

    def __len__(self) -> int:
        return len(self.configs)


def gather(
    experiment: str, settings: SettingsT, configs: Sequence[ConfigT], runs: Sequence[StoredRun]
) -> Results[SettingsT, ConfigT]:
    """Results from runs in the order of configs, and of seeds within each config."""
    seeds = settings.n_seeds
    tables = {
        config_hash(experiment, config): [run.table for run in runs[k * seeds : (k + 1) * seeds]]
        for k, config in enumerate(configs)
    }
    seconds = float(sum(run.record.get("seconds", 0.0) for run in runs))
    return Results(experiment, settings, tuple(configs), seconds, commit_of(runs), tables)


def commit_of(runs: Sequence[StoredRun], digits: int = 40) -> str | None:
    """The commits of runs, joined by ", "; "-dirty" where files differed; None: unknown."""
    marks = {(run.record.get("commit"), run.record.get("dirty")) for run in runs}
    names = {f"{commit[:digits]}{'-dirty' if dirty else ''}" for commit, dirty in marks if commit}
    return ", ".join(sorted(names)) or None
