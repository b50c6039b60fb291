import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fenchel.experiments import Store, StoreWarning, config_hash
from fenchel.experiments import store as store_module
from fenchel.experiments.files import HOST


@dataclass(frozen=True)
class Config:
    horizon: int = 10
    rate: float = 0.1


CONFIG = Config()
TABLE = pd.DataFrame({"t": [1, 2, 4], "regret": [0.1, 1 / 3, float("nan")], "arm": ["a", "b", "ü"]})
RECORD = {"seconds": 1.5, "commit": None, "dirty": None}


@pytest.fixture
def saved(store: Store) -> Path:
    store.save("toy", CONFIG, 3, TABLE, RECORD)
    return store.directory("toy", CONFIG, 3)


def set_aside(store: Store) -> list[str]:
    """What is in set-aside, without the stamp."""
    stamps = list((store.root / "set-aside").glob("*"))
    return sorted(
        path.relative_to(stamp).as_posix() for stamp in stamps for path in stamp.rglob("*")
    )


def test_what_is_saved_is_loaded_bit_for_bit(store: Store, saved: Path) -> None:
    pd.testing.assert_frame_equal(store.load("toy", CONFIG, 3), TABLE, check_exact=True)
    assert saved == store.root / "toy" / config_hash("toy", CONFIG) / "3"
    assert sorted(path.name for path in saved.iterdir()) == ["run.json", "table.parquet"]
    record = json.loads((saved / "run.json").read_text())
    content = (saved / "table.parquet").read_bytes()
    assert record == {
        "experiment": "toy",
        "config": {"horizon": 10, "rate": 0.1},
        "seed": 3,
        **RECORD,
        "rows": 3,
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_the_index_of_a_table_is_kept(store: Store) -> None:
    table = TABLE.iloc[[2, 0]]
    store.save("toy", CONFIG, 0, table, RECORD)
    pd.testing.assert_frame_equal(store.load("toy", CONFIG, 0), table)


def test_missing_runs_are_none(store: Store, saved: Path) -> None:
    assert store.load("toy", CONFIG, 4) is None
    assert store.load("toy", Config(11), 3) is None
    assert store.load("other", CONFIG, 3) is None
    assert not list(store.root.glob("set-aside/*"))


def truncate(saved: Path) -> None:
    table = saved / "table.parquet"
    table.write_bytes(table.read_bytes()[:-7])


def flip_a_bit(saved: Path) -> None:
    content = bytearray((saved / "table.parquet").read_bytes())
    content[40] ^= 1
    (saved / "table.parquet").write_bytes(content)


def foreign_table(saved: Path) -> None:
    other = TABLE.assign(regret=0.0)  # a sound file, but not the one that run.json describes
    other.to_parquet(saved / "table.parquet")


def foreign_bytes_with_their_digest(saved: Path) -> None:
    record = json.loads((saved / "run.json").read_text())
    (saved / "table.parquet").write_bytes(b"hello")
    record["sha256"] = hashlib.sha256(b"hello").hexdigest()
    (saved / "run.json").write_text(json.dumps(record))


def no_table(saved: Path) -> None:
    (saved / "table.parquet").unlink()


def no_record(saved: Path) -> None:
    (saved / "run.json").unlink()


def garbage_json(saved: Path) -> None:
    (saved / "run.json").write_bytes(b'{"experiment": "toy\xff')


def json_of_something_else(saved: Path) -> None:
    (saved / "run.json").write_text("[1, 2]")


def edit(field: str, value: object) -> Callable[[Path], None]:
    def edited(saved: Path) -> None:
        record = json.loads((saved / "run.json").read_text())
        record[field] = value
        (saved / "run.json").write_text(json.dumps(record))

    edited.__name__ = f"wrong_{field}"
    return edited


def a_file(saved: Path) -> None:
    for path in saved.iterdir():
        path.unlink()
    saved.rmdir()
    saved.write_text("not a folder")


DAMAGES = [
    truncate,
    flip_a_bit,
    foreign_table,
    foreign_bytes_with_their_digest,
    no_table,
    no_record,
    garbage_json,
    json_of_something_else,
    edit("config", {"horizon": 10, "rate": 0.2}),
    edit("config", {"horizon": 10.0, "rate": 0.1}),
    edit("seed", 2),
    edit("experiment", "other"),
    a_file,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_set_aside_and_run_again(
    store: Store, saved: Path, damage: Callable[[Path], None]
) -> None:
    damage(saved)
    with pytest.warns(StoreWarning, match="moved to"):
        assert store.load("toy", CONFIG, 3) is None
    assert not saved.exists()
    assert saved.relative_to(store.root).as_posix() in set_aside(store)  # never deleted
    store.save("toy", CONFIG, 3, TABLE, RECORD)
    pd.testing.assert_frame_equal(store.load("toy", CONFIG, 3), TABLE)


def test_saving_over_damage_sets_it_aside(store: Store, saved: Path) -> None:
    truncate(saved)
    with pytest.warns(StoreWarning, match=r"table\.parquet that is not"):
        store.save("toy", CONFIG, 3, TABLE, RECORD)
    pd.testing.assert_frame_equal(store.load("toy", CONFIG, 3), TABLE)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_the_first_to_finish_keeps_the_place_unless_replaced(
    store: Store, saved: Path, can_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:  # as on systems without an atomic exchange
        monkeypatch.setattr(store_module, "exchanged", lambda one, two: False)
    store.save("toy", CONFIG, 3, TABLE.assign(t=0), RECORD)
    pd.testing.assert_frame_equal(store.load("toy", CONFIG, 3), TABLE)
    store.save("toy", CONFIG, 3, TABLE.assign(t=0), RECORD, replace=True)
    pd.testing.assert_frame_equal(store.load("toy", CONFIG, 3), TABLE.assign(t=0))
    assert [path.name for path in saved.parent.iterdir()] == ["3"]  # no temporaries
    assert not list(store.root.glob("set-aside/*"))


def test_replacing_damage_sets_it_aside(store: Store, saved: Path) -> None:
    truncate(saved)
    with pytest.warns(StoreWarning, match="moved to"):
        store.save("toy", CONFIG, 3, TABLE, RECORD, replace=True)
    pd.testing.assert_frame_equal(store.load("toy", CONFIG, 3), TABLE)
    assert saved.relative_to(store.root).as_posix() in set_aside(store)


def test_a_run_that_is_not_a_table_leaves_nothing(store: Store) -> None:
    with pytest.raises(TypeError, match="DataFrame, got dict"):
        store.save("toy", CONFIG, 0, {"t": [1]}, RECORD)  # type: ignore[arg-type]
    with pytest.raises((TypeError, ValueError)):
        store.save("toy", CONFIG, 0, pd.DataFrame({"x": [1, "a"]}), RECORD)
    assert not store.root.exists()


def test_tidy_sets_aside_strays_and_keeps_runs(store: Store, saved: Path) -> None:
    cell = saved.parent
    strays = {
        "notes.txt": store.root / "notes.txt",
        "toy/draft.csv": cell.parent / "draft.csv",
        "toy/old": cell.parent / "old",
        f"toy/{cell.name}/03": cell / "03",
        f"toy/{cell.name}/.hidden": cell / ".hidden",
        f"toy/{cell.name}/7": cell / "7",
        f"toy/{cell.name}/3/copy.parquet": saved / "copy.parquet",
    }
    for path in strays.values():
        if path.name in ("old", "03"):
            path.mkdir()
        elif path.name == "7":
            path.symlink_to("nowhere")
        else:
            path.write_text("stray")
    (store.root / "figures").mkdir()
    (store.root / "other_experiment" / "anything").mkdir(parents=True)  # not ours to judge
    with pytest.warns(StoreWarning) as caught:
        store.tidy("toy")
    assert len(caught) == len(strays)
    assert set(strays) <= set(set_aside(store))
    assert not any(path.exists() or path.is_symlink() for path in strays.values())
    assert (store.root / "other_experiment" / "anything").is_dir()
    pd.testing.assert_frame_equal(store.load("toy", CONFIG, 3), TABLE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.tidy("toy")


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_tidy_clears_temporaries_of_the_dead_only(store: Store, saved: Path) -> None:
    def temporary(pid: int, host: str) -> Path:
        path = saved.with_name(f".5.{pid}.{host}.0123abcd")
        path.mkdir()
        (path / "table.parquet").write_bytes(b"half")
        return path

    dead, living = temporary(dead_process(), HOST), temporary(os.getpid(), HOST)
    elsewhere = temporary(dead_process(), "elsewhere")
    store.tidy("toy")  # without a warning
    assert (dead.exists(), living.exists(), elsewhere.exists()) == (False, True, True)
    assert not list(store.root.glob("set-aside/*"))
    assert HOST.replace("-", ".") in socket.gethostname().replace("-", ".")


def test_tidy_keeps_a_run_whose_process_died_before_the_rename(store: Store, saved: Path) -> None:
    saved.rename(saved.with_name(f".3.{dead_process()}.{HOST}.0123abcd"))
    assert store.load("toy", CONFIG, 3) is None
    store.tidy("toy")
    pd.testing.assert_frame_equal(store.load("toy", CONFIG, 3), TABLE)
    assert [path.name for path in saved.parent.iterdir()] == ["3"]


def test_readers_and_replacers_never_set_each_other_aside(store: Store, saved: Path) -> None:
    problems: list[Any] = []

    def replace() -> None:
        for k in range(60):
            store.save("toy", CONFIG, 3, TABLE.assign(t=k), RECORD, replace=True)

    def read() -> None:
        while any(writer.is_alive() for writer in writers):
            table = store.load("toy", CONFIG, 3)
            if table is None:  # only where one run has to make room for the next
                problems.extend(["gap"] if sys.platform == "linux" else [])
            elif table["t"].nunique() != 1 and table["t"].tolist() != [1, 2, 4]:
                problems.append(table)
            store.tidy("toy")

    writers = [threading.Thread(target=replace) for _ in range(2)]
    reader = threading.Thread(target=read)
    for thread in (*writers, reader):
        thread.start()
    for thread in (*writers, reader):
        thread.join()
    assert not problems
    assert not list(store.root.glob("set-aside/*"))
    table = store.load("toy", CONFIG, 3)
    assert table is not None
    assert table["t"].tolist() == [59, 59, 59]


def test_the_root_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FENCHEL_RESULTS", raising=False)
    assert Store().root == tmp_path / "results"
    monkeypatch.setenv("FENCHEL_RESULTS", str(tmp_path / "elsewhere"))
    assert Store().root == tmp_path / "elsewhere"
    assert Store(tmp_path / "here").root == tmp_path / "here"


def test_a_source_tree_or_home_is_no_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    with pytest.raises(ValueError, match="folder of their own"):
        Store(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for root in ("~", "/"):
        with pytest.raises(ValueError, match="folder of their own"):
            Store(root)
