import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fenchel.experiments import (
    Experiment,
    Results,
    RunFailed,
    Store,
    StoreWarning,
    provenance,
    sweep,
)

MakeToy = Callable[..., Experiment[Any, Any]]


def tables(results: Results[Any, Any]) -> list[pd.DataFrame]:
    return [table for config in results for table in results[config]]


def assert_same(one: Results[Any, Any], two: Results[Any, Any]) -> None:
    for left, right in zip(tables(one), tables(two), strict=True):
        pd.testing.assert_frame_equal(left, right, check_exact=True)


def test_results_are_in_the_order_of_configs_and_seeds(make_toy: MakeToy, store: Store) -> None:
    toy = make_toy()
    settings = toy.settings("quick")
    results = sweep(toy, settings, jobs=1, store=store, progress=False)
    assert [config.scale for config in results.configs] == [1.0, 2.5]
    assert list(results) == list(results.configs)
    assert len(results) == 2
    assert results.settings == settings
    for config in results:
        assert len(results[config]) == settings.n_seeds
        for seed, table in enumerate(results[config]):
            expected = config.scale * np.random.default_rng(seed).normal(size=3)
            np.testing.assert_array_equal(table["value"], expected)
    with pytest.raises(KeyError):
        results[replace(results.configs[0], scale=3.0)]


def test_results_do_not_depend_on_the_number_of_jobs(make_toy: MakeToy, tmp_path: Path) -> None:
    toy = make_toy()
    settings = toy.settings("quick")
    one, two, everything = (
        sweep(toy, settings, jobs=jobs, store=Store(tmp_path / str(jobs)), progress=False)
        for jobs in (1, 2, None)
    )
    assert_same(one, two)
    assert_same(one, everything)
    assert one.configs == two.configs == everything.configs


def test_only_missing_runs_are_made(make_toy: MakeToy, store: Store, tmp_path: Path) -> None:
    log = tmp_path / "log"
    toy = make_toy(log)
    small = sweep(toy, toy.settings("quick", n_seeds=2), jobs=2, store=store, progress=False)
    assert sorted(log.read_text().split()) == ["1.0/0", "1.0/1", "2.5/0", "2.5/1"]
    log.unlink()
    wide = toy.settings("quick", n_seeds=3, scales=(2.5, 7.0))
    large = sweep(toy, wide, jobs=2, store=store, progress=False)
    assert sorted(log.read_text().split()) == ["2.5/2", "7.0/0", "7.0/1", "7.0/2"]
    pd.testing.assert_frame_equal(large[large.configs[0]][1], small[small.configs[1]][1])
    log.unlink()
    again = sweep(toy, wide, jobs=2, store=store, progress=False)
    assert not log.exists()
    assert_same(large, again)
    assert again.seconds == large.seconds  # of the runs, not of looking them up


def test_fresh_replaces_what_is_stored(make_toy: MakeToy, store: Store, tmp_path: Path) -> None:
    log = tmp_path / "log"
    toy = make_toy(log)
    settings = toy.settings("quick", n_seeds=1)
    for _ in range(2):
        sweep(toy, settings, jobs=1, store=store, fresh=True, progress=False)
    assert len(log.read_text().split()) == 4
    assert not list(store.root.glob("set-aside/*"))
    assert len(list(store.root.glob("toy/*/*"))) == 2  # no temporaries


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_failure_leaves_the_others_stored(
    make_toy: MakeToy, store: Store, tmp_path: Path, jobs: int
) -> None:
    log = tmp_path / "log"
    toy = make_toy(log, fail=(2.5, 1))
    settings = toy.settings("quick")
    with pytest.raises(RunFailed) as caught:
        sweep(toy, settings, jobs=jobs, store=store, progress=False)
    message = str(caught.value)
    assert message.startswith("1 of 8 runs of toy failed, the others are stored")
    for word in ("scale=2.5", "seed 1", "Traceback", "ArithmeticError: this one is cursed"):
        assert word in message
    log.unlink()
    sweep(make_toy(log), settings, jobs=jobs, store=store, progress=False)
    assert log.read_text().split() == ["2.5/1"]


def test_damage_is_run_again_with_the_right_numbers(make_toy: MakeToy, store: Store) -> None:
    toy = make_toy()
    settings = toy.settings("quick")
    before = sweep(toy, settings, jobs=1, store=store, progress=False)
    runs = [store.directory("toy", config, 1) for config in before.configs]
    (runs[0] / "table.parquet").write_bytes(b"PAR1 not really PAR1")
    (runs[1] / "run.json").write_text("{")
    (store.root / "stray").touch()
    with pytest.warns(StoreWarning) as caught:
        after = sweep(toy, settings, jobs=1, store=store, progress=False)
    assert len(caught) == 3
    assert_same(before, after)
    assert_same(before, sweep(toy, settings, jobs=1, store=store, progress=False))


def test_fresh_sets_damage_aside_too(make_toy: MakeToy, store: Store) -> None:
    toy = make_toy()
    settings = toy.settings("quick", n_seeds=1)
    before = sweep(toy, settings, jobs=2, store=store, progress=False)
    (store.directory("toy", before.configs[0], 0) / "run.json").write_text("{")
    with pytest.warns(StoreWarning, match="moved to"):
        after = sweep(toy, settings, jobs=2, store=store, fresh=True, progress=False)
    assert_same(before, after)


def test_every_run_says_where_it_comes_from(make_toy: MakeToy, store: Store) -> None:
    toy = make_toy()
    results = sweep(toy, toy.settings("quick"), jobs=1, store=store, progress=False)
    record = json.loads((store.directory("toy", results.configs[1], 2) / "run.json").read_text())
    assert record["experiment"] == "toy"
    assert record["config"] == {"n_replications": 3, "scale": 2.5}
    assert record["seed"] == 2
    assert record["rows"] == 3
    assert record["device"] == "cpu"
    assert record["seconds"] >= 0
    assert record["started"].endswith("+00:00")
    assert {"python", "numpy", "scipy", "numba", "fenchel"} <= set(record["versions"])
    assert set(record) >= {"commit", "dirty", "sha256"}
    mark = f"{record['commit']}{'-dirty' if record['dirty'] else ''}"
    assert results.commit == (mark if record["commit"] else None)


def test_what_came_from_the_store_is_said(
    make_toy: MakeToy, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = make_toy()
    sweep(toy, toy.settings("quick", n_seeds=1), jobs=1, store=store)
    assert "in the store" not in capsys.readouterr().err
    sweep(toy, toy.settings("quick"), jobs=1, store=store)
    message = " ".join(capsys.readouterr().err.split())
    assert "2 of 8 runs were in the store" in message
    assert "--fresh runs them again" in message


def test_jobs_must_be_positive(make_toy: MakeToy, store: Store) -> None:
    toy = make_toy()
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        sweep(toy, toy.settings("quick"), jobs=0, store=store)


def test_runs_of_other_code_are_announced(
    make_toy: MakeToy, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = make_toy()
    settings = toy.settings("quick")
    first = sweep(toy, settings, jobs=1, store=store, progress=False)
    sweep(toy, settings, jobs=1, store=store, progress=False)  # no warning: the code is the same
    monkeypatch.setattr("fenchel.experiments.provenance.code_of", lambda run: "another")
    with pytest.warns(StoreWarning, match="made by other code"):
        again = sweep(toy, settings, jobs=1, store=store, progress=False)
    assert_same(first, again)
    sweep(toy, settings, jobs=1, store=store, fresh=True, progress=False)
    sweep(toy, settings, jobs=1, store=store, progress=False)


def test_code_is_told_apart_by_the_file_of_the_run_and_by_the_library(tmp_path: Path) -> None:
    from importlib.util import module_from_spec, spec_from_file_location

    def load(text: str) -> Any:
        path = tmp_path / f"script_{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        spec = spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.run

    one, two = load("def run(): return 1\n"), load("def run(): return 2\n")
    assert provenance.code_of(one) == provenance.code_of(one)
    assert provenance.code_of(one) != provenance.code_of(two)
    assert len(provenance.code_of(one)) == 16


@pytest.mark.parametrize("place", ["/proc/fenchel", "file"])
def test_a_root_that_cannot_be_written_to_is_refused_before_any_run(
    make_toy: MakeToy, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("here first")
    toy = make_toy()
    with pytest.raises(ValueError, match=r"root of the results must be a folder to write to"):
        sweep(toy, toy.settings("quick"), jobs=1, store=Store(tmp_path / place), progress=False)
    assert (tmp_path / "file").read_text() == "here first"


def test_functions_without_a_file_are_told_apart_by_the_library_alone() -> None:
    from functools import partial

    space: dict[str, Any] = {}
    exec(compile("def run(config, seed): ...", "/nowhere/cell_1.py", "exec"), space)  # a notebook's
    assert provenance.code_of(space["run"]) == provenance.code_of(partial(print))
