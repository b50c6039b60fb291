from pathlib import Path

import pytest

from fenchel.offline_rl.datasets import OfflineDataset, cache, cache_root, generate, to_parquet

KEY = "LQR/medium-s0-n300-g3"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FENCHEL_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def make(n: int = 300) -> OfflineDataset:
    return generate("LQR/medium", n_transitions=n, cache=False)


def policy(folder: Path) -> None:
    (folder / "policy.zip").write_text("weights")


def test_the_root_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    assert cache_root() == root
    monkeypatch.delenv("FENCHEL_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_root() == Path("/somewhere/fenchel/datasets")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "fenchel" / "datasets"


def test_what_is_kept_comes_back_with_its_files(root: Path) -> None:
    assert cache.load(KEY) is None
    cache.save(KEY, make(), policy)
    found = cache.load(KEY)
    assert found is not None
    assert found.hash() == make().hash()
    assert found.meta == make().meta
    assert sorted(path.name for path in (root / KEY).iterdir()) == [
        "data.parquet",
        "meta.json",
        "policy.zip",
    ]


@pytest.mark.parametrize("damage", ["cut", "gone", "other", "policy", "record"])
def test_a_damaged_folder_is_an_error_that_says_what_to_do(root: Path, damage: str) -> None:
    cache.save(KEY, make(), policy)
    data, record = root / KEY / "data.parquet", root / KEY / "meta.json"
    if damage == "cut":
        data.write_bytes(data.read_bytes()[:-100])
    elif damage == "gone":
        data.unlink()
    elif damage == "other":  # whole, but not what the record says
        to_parquet(make(200), data)
    elif damage == "policy":
        (root / KEY / "policy.zip").write_text("other weights")
    else:
        record.write_text(record.read_text()[:-50])
    with pytest.raises(ValueError, match=f"{root / KEY} is damaged .*delete that folder"):
        generate("LQR/medium", n_transitions=300)


def test_making_that_fails_leaves_nothing(root: Path) -> None:
    def interrupted(folder: Path) -> None:
        (folder / "policy.zip").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.save(KEY, make(), interrupted)
    assert list((root / "LQR").iterdir()) == []
    assert cache.load(KEY) is None


def test_what_a_killed_process_leaves_is_not_taken_for_data(root: Path) -> None:
    partial = (root / KEY).with_name(".medium-s0-n300-g3.abcd.partial")
    partial.mkdir(parents=True)
    (partial / "data.parquet").write_bytes(b"half")
    assert generate("LQR/medium", n_transitions=300).hash() == make().hash()


def test_the_first_of_two_processes_keeps_the_place(root: Path) -> None:
    def meanwhile(folder: Path) -> None:
        cache.save(KEY, make(200))

    cache.save(KEY, make(300), meanwhile)
    found = cache.load(KEY)
    assert found is not None
    assert len(found) == 200
    assert [path.name for path in (root / "LQR").iterdir()] == ["medium-s0-n300-g3"]
