"""What readers and writers of files share, and datasets as parquet files.

What is written reads back bit for bit. A file that is missing, damaged or of another layout is an
error that names it. A file is written beside its place and then renamed, so that it is whole.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from .dataset import OfflineDataset

Array: TypeAlias = npt.NDArray[Any]
PathLike: TypeAlias = str | os.PathLike[str]
T = TypeVar("T")

META, DIGEST = "fenchel_meta", "fenchel_sha256"  # names under which files keep them
AGAIN = "it may be cut short or damaged: copy or make it again"


def to_parquet(dataset: OfflineDataset, path: PathLike) -> None:
    """Write one row a transition, with lists for vectors; a file there is replaced.

    Raises:
        TypeError: meta is not made of what JSON holds.
    """
    pa, parquet = needed("pyarrow"), needed("pyarrow.parquet")
    columns = columns_of(dataset)
    flat = {name: value.reshape(len(dataset), -1) for name, value in columns.items()}
    arrays = [
        pa.array(flat[name][:, 0])
        if value.ndim == 1
        else pa.FixedSizeListArray.from_arrays(pa.array(flat[name].ravel()), flat[name].shape[1])
        for name, value in columns.items()
    ]
    shapes = {name: value.shape[1:] for name, value in columns.items()}
    header = {META: dict(dataset.meta), DIGEST: dataset.hash(), "shapes": shapes}
    table = pa.Table.from_arrays(arrays, names=list(columns))
    table = table.replace_schema_metadata({META: json.dumps(header)})
    write_whole(Path(path), lambda place: parquet.write_table(table, place))


def load_parquet(path: PathLike) -> OfflineDataset:
    """A dataset from a file of `to_parquet`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or no file of `to_parquet`.
    """
    pa, parquet = needed("pyarrow"), needed("pyarrow.parquet")
    path = existing(path, "write it with to_parquet")
    try:
        table = parquet.read_table(path)
        header = json.loads((table.schema.metadata or {})[META.encode()])
        columns = {}
        for name, shape in header["shapes"].items():
            column = table.column(name).combine_chunks()
            values = column.flatten() if shape else column
            columns[name] = np.array(values.to_numpy(zero_copy_only=False)).reshape(-1, *shape)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise bad(path, f"it is no file of to_parquet ({error})", AGAIN) from None
    dataset = checked(path, columns, header[META])
    verify(path, dataset, header[DIGEST])
    return dataset


# for all readers and writers


def existing(path: PathLike, remedy: str) -> Path:
    """The path of a file, if it is there."""
    place = Path(path).expanduser()
    if not place.is_file():
        raise FileNotFoundError(f"no file at {place.absolute()}; {remedy}")
    return place


def bad(path: Path, what: str, remedy: str) -> ValueError:
    """The error of a file that cannot be used."""
    return ValueError(f"{path} cannot be read as a dataset: {what}; {remedy}")


def needed(package: str) -> Any:
    """An optional package."""
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:  # it is there, and something that it needs is not
            raise
        message = f"{package} is not installed; run: pip install {package}"
        raise ModuleNotFoundError(message, name=package) from None


def columns_of(dataset: OfflineDataset) -> dict[str, Array]:
    """Its arrays by name; infos as "infos/name"."""
    names = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts")
    columns: dict[str, Array] = {name: getattr(dataset, name) for name in names}
    if dataset.costs is not None:
        columns["costs"] = dataset.costs
    return columns | {f"infos/{name}": value for name, value in dataset.infos.items()}


def checked(path: Path, columns: Mapping[str, Array], meta: Mapping[str, Any]) -> OfflineDataset:
    """The dataset of columns named as in `columns_of`; what it refuses is an error of the file."""
    fields: dict[str, Any] = {"meta": meta, "infos": {}}
    for name, value in columns.items():
        if name.startswith("infos/"):
            fields["infos"][name.removeprefix("infos/")] = value
        else:
            fields[name] = value
    try:
        return OfflineDataset(**fields)
    except (TypeError, ValueError) as error:
        raise bad(path, str(error), "mend it or take another file") from None


def verify(path: Path, dataset: OfflineDataset, digest: str) -> None:
    """An error unless the dataset has this hash."""
    if dataset.hash() != digest:
        raise bad(path, "its arrays are not those that were written", AGAIN)


def read_hdf5(path: Path, read: Callable[[Any], T]) -> T:
    """What `read` makes of the open file."""
    h5py = needed("h5py")
    try:
        with h5py.File(path, "r") as file:
            return read(file)
    except (OSError, RuntimeError, KeyError) as error:  # h5py's, for damaged files
        raise bad(path, f"it is no whole HDF5 file ({error})", AGAIN) from None


def leaves(group: Any, name: str = "") -> Iterator[tuple[str, Array]]:
    """Names and arrays below a group of an HDF5 file; an array is its only leaf."""
    if hasattr(group, "keys"):
        for key in group:
            yield from leaves(group[key], f"{name}/{key}" if name else key)
    else:
        yield name, np.asarray(group[()])


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` make a file beside its place, and moves it there."""
    path = path.expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        write(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
