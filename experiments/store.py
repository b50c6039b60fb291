"""The store of finished runs: `<root>/<experiment>/<config hash>/<seed>/{table.parquet, run.json}`.

A run is written under a temporary name beside its place, synced and renamed, so that what stands
in its place is whole. What is read is verified (digest of the table, experiment, config, seed).
What fails, and what does not belong there, is moved to `<root>/set-aside` with a `StoreWarning`.
Any number of processes may share a store: the first to finish a run keeps the place.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from .errors import InputError, StoreWarning
from .experiment import canonical_json, check_name, config_hash, plain
from .files import (
    TEMPORARY,
    Identity,
    entries,
    exchanged,
    identify,
    make_writable,
    owner_is_dead,
    remove_empty,
    renamed,
    sync,
    temporary_beside,
    write_synced,
)

TABLE, RUN, SET_ASIDE = "table.parquet", "run.json", "set-aside"
CELL, SEED = re.compile(r"[0-9a-f]{16}"), re.compile(r"0|[1-9]\d*")

ATTEMPTS = 100  # to take a place that other processes take and clear at the same time


class Damaged(Exception):  # noqa: N818
    """A stored run cannot be trusted; the text says why."""


@dataclass(frozen=True)
class StoredRun:
    """One verified run: its table and what `run.json` says of it."""

    table: pd.DataFrame
    record: Mapping[str, Any]


class Store:
    """Finished runs under `root` (default: the environment variable FENCHEL_RESULTS, or `results`).

    Raises:
        ValueError: `root` is a home folder, a source tree or a file system: stray files would be
            moved there. Give the results a folder of their own.
    """

    def __init__(self, root: str | Path | None = None) -> None:
        chosen = root if root is not None else os.environ.get("FENCHEL_RESULTS") or "results"
        self.root = Path(chosen).expanduser().absolute()
        landmarks = [name for name in (".git", "pyproject.toml") if (self.root / name).exists()]
        if landmarks or self.root.resolve() in (Path.home().resolve(), Path(self.root.anchor)):
            raise InputError(
                f"root of the results must be a folder of their own, got {self.root}; name a new "
                "folder (argument or FENCHEL_RESULTS)"
            )

    def directory(self, experiment: str, config: object, seed: int) -> Path:
        """Where the run is, or will be."""
        check_name(experiment, "the experiment's name")
        return self.root / experiment / config_hash(experiment, config) / str(seed)

    def load(self, experiment: str, config: object, seed: int) -> pd.DataFrame | None:
        """The table of a finished run; None if there is none that can be trusted."""
        run = self.load_run(experiment, config, seed)
        return None if run is None else run.table

    def load_run(self, experiment: str, config: object, seed: int) -> StoredRun | None:
        """As `load`, with the record. A damaged run is set aside, with a `StoreWarning`."""
        place = self.directory(experiment, config, seed)
        wanted = canonical_json({"experiment": experiment, "config": plain(config), "seed": seed})
        while (identity := identify(place)) is not None:
            try:
                run = _read(place)
                found = {key: run.record.get(key) for key in ("experiment", "config", "seed")}
                if canonical_json(found) != wanted:
                    raise Damaged(f"{RUN} describes another run")
                return run
            except Damaged as damage:
                # Another process may have replaced the run while it was read: look again then.
                if identify(place) == identity:
                    self.set_aside(place, str(damage), identity)
                    return None
        return None

    def save(
        self,
        experiment: str,
        config: object,
        seed: int,
        table: pd.DataFrame,
        record: Mapping[str, Any],
        *,
        replace: bool = False,
    ) -> None:
        """Publishes a finished run, unless the place already has one that can be trusted.

        Args:
            experiment: name of the experiment.
            config: what was run.
            seed: with which seed.
            table: what the run returned.
            record: what else `run.json` says: versions, commit, device, seconds, started.
            replace: the new run takes the place of a stored one.

        Raises:
            TypeError: `table` is not a DataFrame.
            ValueError: parquet cannot hold `table`, say for columns of mixed types.
        """
        if not isinstance(table, pd.DataFrame):
            raise TypeError(f"a run must return a pandas.DataFrame, got {type(table).__name__}")
        place = self.directory(experiment, config, seed)
        content = io.BytesIO()
        table.to_parquet(content)
        identity = {"experiment": experiment, "config": plain(config), "seed": seed}
        digest = hashlib.sha256(content.getvalue()).hexdigest()
        record = {**identity, **record, "rows": len(table), "sha256": digest}
        text = json.dumps(record, indent=1, allow_nan=False)

        place.parent.mkdir(parents=True, exist_ok=True)
        temporary, retired = temporary_beside(place), temporary_beside(place)
        temporary.mkdir()
        try:
            write_synced(temporary / TABLE, content.getvalue())
            write_synced(temporary / RUN, text.encode())
            sync(temporary)
            for _ in range(ATTEMPTS):
                if renamed(temporary, place):
                    return
                if self.load_run(experiment, config, seed) is None:
                    continue  # what was there could not be trusted and is aside now
                if not replace or exchanged(temporary, place):
                    return  # another process was faster: its run is as good
                # No exchange on this system: the old run makes room for an instant. If we die in
                # it, `tidy` brings one of the two back.
                shutil.rmtree(retired, ignore_errors=True)
                with contextlib.suppress(FileNotFoundError):
                    place.rename(retired)
            raise OSError(f"{place} cannot be taken: something keeps coming back there; look at it")
        finally:
            for folder in (temporary, retired):
                shutil.rmtree(folder, ignore_errors=True)

    def tidy(self, experiment: str) -> None:
        """Sets aside what does not belong there or in `experiment`; clears what the dead left.

        Raises:
            ValueError: the root cannot be made or written to.
        """
        make_writable(self.root, "root of the results")
        for path in entries(self.root):
            self._is_folder(path)
        for cell in entries(self.root / experiment):
            if not self._is_folder(cell, CELL):
                continue
            for run in entries(cell):
                if (owner := TEMPORARY.fullmatch(run.name)) is not None:
                    if owner_is_dead(owner):
                        _recover(run, cell / owner["target"])
                elif self._is_folder(run, SEED):
                    for file in entries(run):
                        if file.name not in (TABLE, RUN):
                            self.set_aside(file, "is not part of a run")

    def set_aside(self, path: Path, reason: str, identity: Identity | None = None) -> None:
        """Moves `path` to a new folder in `<root>/set-aside` and warns; never deletes.

        With `identity`, only if `path` is still the file or folder that was judged.
        """
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        top = self.root / SET_ASIDE / stamp
        aside = top / path.relative_to(self.root)
        aside.parent.mkdir(parents=True)
        moved = False
        with contextlib.suppress(FileNotFoundError):  # another process may do it first
            path.rename(aside)
            moved = True
        if moved and identity is not None and aside.lstat().st_ino != identity.inode:
            moved = not renamed(aside, path)  # a good run had taken the place meanwhile: give back
        if moved:
            warnings.warn(f"{path} {reason}; moved to {aside}", StoreWarning, stacklevel=2)
        else:
            remove_empty(aside.parent, top)

    def _is_folder(self, path: Path, name: re.Pattern[str] | None = None) -> bool:
        """Whether `path` is a folder with a fitting name; anything else is set aside."""
        identity = identify(path)
        if identity is None:
            return False  # another process moved it
        if identity.is_folder and (name is None or name.fullmatch(path.name)):
            return True
        self.set_aside(path, "does not belong in the store", identity)
        return False


def _read(place: Path) -> StoredRun:
    """A run whose files belong together.

    Raises:
        Damaged: they do not, or one is missing or no longer what was written.
    """
    try:
        record = json.loads((place / RUN).read_bytes())
        content = (place / TABLE).read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise Damaged(f"is incomplete ({Path(error.filename).name})") from None
    except ValueError as error:
        raise Damaged(f"holds no JSON in {RUN} ({error})") from None
    if not isinstance(record, dict) or record.get("sha256") != hashlib.sha256(content).hexdigest():
        raise Damaged(f"holds a {TABLE} that is not the one {RUN} describes")
    try:
        return StoredRun(pd.read_parquet(io.BytesIO(content)), record)
    except Exception as error:  # whatever a parser says of foreign bytes
        raise Damaged(f"holds no table in {TABLE} ({error})") from None


def _recover(temporary: Path, place: Path) -> None:
    """Clears the temporary of a process that died; a run that it had finished is kept."""
    with contextlib.suppress(Damaged, FileNotFoundError):
        _read(temporary)
        renamed(temporary, place)
    shutil.rmtree(temporary, ignore_errors=True)
