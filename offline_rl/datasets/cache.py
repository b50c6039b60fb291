"""Generated datasets on disk: a folder each, with data.parquet, meta.json and what else it needs.

The root is the environment variable FENCHEL_DATA, or fenchel/datasets in XDG_CACHE_HOME (default:
~/.cache). A folder is made under a temporary name and then renamed: one that stands in its place is
whole. Digests of all its files' contents are verified when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from .dataset import OfflineDataset
from .files import load_parquet, to_parquet

_DATA, _META = "data.parquet", "meta.json"


def cache_root() -> Path:
    """Where generated datasets are kept."""
    chosen = os.environ.get("FENCHEL_DATA")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fenchel" / "datasets"


def load(key: str) -> OfflineDataset | None:
    """The dataset of a key as "PointMass2D/medium-s0-n40000-g1"; None: there is none.

    Raises:
        ValueError: its folder is damaged.
    """
    place = cache_root() / key
    if not place.exists():
        return None
    try:
        record = json.loads((place / _META).read_text())
        for name, digest in record["files"].items():
            if _digest(place / name) != digest:
                raise ValueError(f"{name} is not what was written")
        dataset = load_parquet(place / _DATA)
        if dataset.hash() != record["sha256"]:
            raise ValueError(f"{_DATA} is not what was written")
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(
            f"the cached dataset {place} is damaged ({error}); delete that folder, and it is "
            "generated again"
        ) from None
    return dataset


def save(
    key: str, dataset: OfflineDataset, more: Callable[[Path], None] = lambda folder: None
) -> None:
    """Keep a dataset under a key, unless another process has meanwhile.

    Args:
        key: its folder below the root.
        dataset: what is kept.
        more: writes further files into the folder.
    """
    place = cache_root() / key
    partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir(parents=True)
    try:
        more(partial)
        files = {path.name: _digest(path) for path in sorted(partial.iterdir())}
        to_parquet(dataset, partial / _DATA)
        record = {"sha256": dataset.hash(), "files": files, "meta": dict(dataset.meta)}
        (partial / _META).write_text(json.dumps(record, indent=1))
        try:
            partial.rename(place)
        except OSError:
            if not (place / _META).exists():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
