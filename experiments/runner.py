"""Sweeps: the missing runs of an experiment, made in parallel and stored as they finish."""

from __future__ import annotations

import contextlib
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import joblib
import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn
from threadpoolctl import threadpool_limits

from ..core.progress import ProgressBar
from . import provenance
from .errors import RunFailed, StoreWarning, SweepInterrupted
from .experiment import ConfigT, Experiment, SettingsT
from .results import Results, commit_of, gather
from .store import Store, StoredRun


def sweep(
    experiment: Experiment[SettingsT, ConfigT],
    settings: SettingsT,
    *,
    jobs: int | None = None,
    store: Store | None = None,
    fresh: bool = False,
    progress: bool = True,
) -> Results[SettingsT, ConfigT]:
    """Makes the runs that the store lacks, and gives the tables of all.

    The tables depend on neither `jobs` nor the order in which runs finish.

    Args:
        experiment: what to run.
        settings: how much of it; seeds are 0, ..., n_seeds - 1.
        jobs: worker processes; None: one a core; 1: in this process.
        store: where runs are kept; None: `Store()`.
        fresh: makes every run again and replaces what is stored.
        progress: shows a bar on stderr.

    Raises:
        RunFailed: after all other runs have been made and stored.
        SweepInterrupted: Ctrl-C; what has finished is stored.
        ValueError: `jobs` is below 1, or the experiment gives no proper configs.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}; leave it out to use all cores")
    store = Store() if store is None else store
    configs = experiment.configs(settings)
    cells = [(config, seed) for config in configs for seed in range(settings.n_seeds)]
    store.tidy(experiment.name)
    runs = [store.load_run(experiment.name, *cell) for cell in cells]
    runs = [None if fresh else run for run in runs]  # read all the same: damage is set aside
    missing = [i for i, run in enumerate(runs) if run is None]
    stored = [run for run in runs if run is not None]

    code = provenance.code_of(experiment.run)
    stamp = {"versions": provenance.versions(), **provenance.checkout(), "code": code}
    job = _Job(experiment.run, experiment.name, store, stamp, fresh)
    failures: dict[int, str] = {}
    done = 0
    stale = sum(run.record.get("code") != code for run in stored)
    if stale:
        warnings.warn(
            f"{stale} of {len(stored)} stored runs of {experiment.name} were made by other code "
            "than that of now, and may differ from what it gives; --fresh makes them again",
            StoreWarning,
            stacklevel=2,
        )
    with _bar(experiment.name, len(cells), stored, progress) as advance:
        outcomes = _outcomes(job, [(i, *cells[i]) for i in missing], jobs)
        try:
            for i, failure in outcomes:
                done += 1
                if failure is not None:
                    failures[i] = failure
                advance()
        except KeyboardInterrupt:
            outcomes.close()
            kept = len(stored) + done - len(failures)
            raise SweepInterrupted(
                f"stopped: {kept} of {len(cells)} runs of {experiment.name} are kept in "
                f"{store.root}; the same command goes on from there"
            ) from None
        except BrokenExecutor as error:
            raise RunFailed(
                f"a worker process of {experiment.name} died (out of memory?); {done} new runs are "
                f"stored; use fewer --jobs, or --jobs 1 to see where"
            ) from error
    if failures:
        first = min(failures)
        config, seed = cells[first]
        raise RunFailed(
            f"{len(failures)} of {len(cells)} runs of {experiment.name} failed, the others are "
            f"stored; the first: {config}, seed {seed}\n{failures[first]}"
        )
    for i in missing:
        runs[i] = _look_up(store, experiment.name, *cells[i])
    whole = [run for run in runs if run is not None]
    if len(whole) < len(cells):
        raise RunFailed(f"{len(cells) - len(whole)} new runs vanished from {store.root}; run again")
    return gather(experiment.name, settings, configs, whole)


@dataclass(frozen=True)
class _Job:
    """What a worker needs to make and store any run of one sweep."""

    run: Callable[[Any, int], pd.DataFrame]
    experiment: str
    store: Store
    stamp: Mapping[str, Any]
    replace: bool

    def __call__(self, i: int, config: Any, seed: int) -> tuple[int, str | None]:
        """Run `i`, stored; its traceback if it failed."""
        started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
        try:
            table = self.run(config, seed)
            seconds = time.perf_counter() - clock
            record = {"seconds": seconds, "started": started, "device": provenance.device()}
            self.store.save(
                self.experiment, config, seed, table, {**self.stamp, **record}, replace=self.replace
            )
        except Exception:
            return i, traceback.format_exc()
        return i, None


def _outcomes(
    job: _Job, tasks: list[tuple[int, Any, int]], jobs: int | None
) -> Generator[tuple[int, str | None], None, None]:
    if jobs == 1 or not tasks:
        with threadpool_limits(1):  # as in the workers: more threads may round differently
            yield from (job(*task) for task in tasks)
        return
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(n_jobs=jobs or -1, return_as="generator_unordered")
        outcomes: Any = parallel(joblib.delayed(job)(*task) for task in tasks)  # a generator
    try:
        yield from outcomes
    finally:
        outcomes.close()  # ends the workers if they are not done


def _look_up(store: Store, experiment: str, config: Any, seed: int) -> StoredRun | None:
    """A run that was just stored; it is away for an instant while another sweep replaces it."""
    for pause in (0.0, 0.01, 0.1, 1.0):
        time.sleep(pause)
        if (run := store.load_run(experiment, config, seed)) is not None:
            return run
    return None


@contextlib.contextmanager
def _bar(
    name: str, total: int, stored: list[StoredRun], show: bool
) -> Iterator[Callable[[], None]]:
    console = Console(stderr=True, quiet=not show)
    if stored:
        made = commit_of(stored, digits=12)
        console.print(
            f"{name}: {len(stored)} of {total} runs were in the store"
            f"{f' (made at commit {made})' if made else ''}; --fresh runs them again",
            highlight=False,
        )
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ProgressBar(*columns, total=total, completed=len(stored), shown=show) as bar:
        yield bar.advance
