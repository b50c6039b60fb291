"""Parquet files, and what holds for all formats: bits come back, damage is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from fenchel.offline_rl.datasets import (
    OfflineDataset,
    generate,
    load_d4rl,
    load_minari,
    load_parquet,
    to_d4rl_hdf5,
    to_minari,
    to_parquet,
)

Write: TypeAlias = Callable[[OfflineDataset, Path], None]
Load: TypeAlias = Callable[[Path], OfflineDataset]


def full(n: int = 250) -> OfflineDataset:
    """Real episodes, the last one open, with costs, infos, and actions of which some are NaN."""
    dataset = generate("PointMass2D/medium", n_transitions=n, cache=False)
    rng = np.random.default_rng(0)
    actions, timeouts = dataset.actions.copy(), dataset.timeouts.copy()
    actions[rng.random(n) < 0.3] = np.nan
    timeouts[-1] = False
    infos = {
        "source": dataset.infos["source"],
        "pose/matrix": rng.normal(size=(n, 2, 3)),
        "flag": rng.random(n) < 0.5,
        "step": np.arange(n),
    }
    return replace(
        dataset,
        actions=actions,
        timeouts=timeouts,
        costs=rng.random(n, dtype=np.float32),
        infos=infos,
        meta={**dataset.meta, "text": "ε", "number": 0.1},
    )


@pytest.fixture(params=["parquet", "d4rl", "minari"])
def form(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Write, Load, Path, Path]:
    """Writer, reader, what they are given, and the file that holds the arrays."""
    if request.param == "parquet":
        path = tmp_path / "new" / "data.parquet"
        return to_parquet, load_parquet, path, path
    pytest.importorskip("h5py")
    if request.param == "d4rl":
        path = tmp_path / "new" / "data.hdf5"
        return to_d4rl_hdf5, load_d4rl, path, path
    pytest.importorskip("minari")
    pytest.importorskip("PIL")  # minari's storage
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    def write(dataset: OfflineDataset, place: Path) -> None:
        to_minari(dataset, "test/points-v0")

    folder = tmp_path / "test" / "points-v0"
    return write, load_minari, folder, folder / "data" / "main_data.hdf5"


Form: TypeAlias = tuple[Write, Load, Path, Path]


def test_what_is_written_comes_back_bit_for_bit(form: Form) -> None:
    write, load, place, _ = form
    dataset = full()
    write(dataset, place)
    back = load(place)
    assert back.hash() == dataset.hash()
    assert back.meta == dataset.meta
    assert back.ends_open
    assert not back.labelled.all()


def test_without_costs_and_infos_there_are_none_afterwards(form: Form) -> None:
    write, load, place, _ = form
    dataset = replace(full(), costs=None, infos={}, meta={})
    write(dataset, place)
    assert load(place).hash() == dataset.hash()
    assert load(place).costs is None


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_that_was_cut_short_is_an_error_that_names_it(form: Form, share: float) -> None:
    write, load, place, file = form
    write(full(), place)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=f"(?s){file.name}.*copy or make it again"):
        load(place)


def test_a_changed_number_is_noticed(form: Form) -> None:
    write, load, place, file = form
    dataset = full()
    write(dataset, place)
    content = file.read_bytes()
    value = dataset.rewards[100:103].tobytes()
    assert content.count(value) == 1
    file.write_bytes(content.replace(value, (dataset.rewards[100:103] + 1).tobytes()))
    with pytest.raises(ValueError, match=file.name):
        load(place)


def test_a_missing_file_is_told_where_it_belongs(form: Form) -> None:
    _, load, place, _ = form
    with pytest.raises(FileNotFoundError, match=str(place.parent)):
        load(place)


def test_writing_that_fails_leaves_what_was_there(form: Form) -> None:
    write, load, place, file = form
    if load is load_minari:
        pytest.skip("an id is written once")
    write(full(100), place)
    with pytest.raises(TypeError):
        write(replace(full(200), meta={"no JSON": object()}), place)
    assert len(load(place)) == 100
    assert list(file.parent.iterdir()) == [file]


def test_loaded_arrays_can_be_written_to(form: Form) -> None:
    write, load, place, _ = form
    write(full(), place)
    load(place).rewards[0] = 1.0


def test_a_parquet_file_of_others_is_refused(tmp_path: Path) -> None:
    import pandas as pd

    path = tmp_path / "table.parquet"
    pd.DataFrame({"rewards": [1.0]}).to_parquet(path)
    with pytest.raises(ValueError, match=r"table\.parquet .*no file of to_parquet"):
        load_parquet(path)


def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("fenchel.offline_rl.datasets.files.import_module", absent)
    (tmp_path / "some.hdf5").touch()
    with pytest.raises(ModuleNotFoundError, match="pip install h5py"):
        load_d4rl(tmp_path / "some.hdf5")
    with pytest.raises(ModuleNotFoundError, match="pip install h5py"):
        to_d4rl_hdf5(full(), tmp_path / "other.hdf5")
    with pytest.raises(ModuleNotFoundError, match="pip install minari"):
        to_minari(full(), "a/b-v0")
