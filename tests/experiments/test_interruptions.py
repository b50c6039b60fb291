"""What a sweep survives, with real processes and signals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from fenchel.experiments import Store

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and process groups")
SEEDS, SCALES = 6, ("1", "2")
CELLS = {f"{scale}/{seed}" for scale in SCALES for seed in range(SEEDS)}


def start(
    script: Path, root: Path, log: Path, *flags: str, **environment: str
) -> subprocess.Popen[str]:
    command = [sys.executable, str(script), "--jobs", "2", "--n-seeds", str(SEEDS), *flags]
    variables: Mapping[str, str] = {
        **os.environ,
        "FENCHEL_RESULTS": str(root),
        "TOY_LOG": str(log),
        **environment,
    }
    return subprocess.Popen(
        command,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, out + err
    return err


def executed(log: Path) -> list[str]:
    return sorted(log.read_text().split()) if log.exists() else []


def runs(root: Path) -> dict[str, Path]:
    """Finished runs, by "hash/seed"."""
    return {
        f"{path.parent.parent.name}/{path.parent.name}": path.parent
        for path in root.glob("toy_runs/*/[0-9]*/run.json")
    }


def tables(root: Path) -> dict[str, pd.DataFrame]:
    return {name: pd.read_parquet(path / "table.parquet") for name, path in runs(root).items()}


def assert_same_tables(one: Path, two: Path) -> None:
    left, right = tables(one), tables(two)
    assert left.keys() == right.keys()
    assert len(left) == len(CELLS)
    for name, table in left.items():
        pd.testing.assert_frame_equal(table, right[name], check_exact=True)


def wait_for_runs(process: subprocess.Popen[str], root: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(runs(root)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_killed_sweep_resumes_and_loses_nothing(tmp_path: Path, toy_script: Path) -> None:
    root, log = tmp_path / "killed", tmp_path / "first.log"
    process = start(toy_script, root, log, "--pause", "0.2")
    wait_for_runs(process, root, 4)
    os.killpg(process.pid, signal.SIGKILL)  # the sweep and its workers
    process.communicate()
    kept = {name: path.stat().st_ino for name, path in runs(root).items()}
    assert 4 <= len(kept) < len(CELLS)

    again = tmp_path / "second.log"
    message = finish(start(toy_script, root, again, "--pause", "0.2"))
    assert f"{len(kept)} of {len(CELLS)} runs were in the store" in " ".join(message.split())
    assert len(executed(again)) == len(CELLS) - len(kept)  # only what was missing
    assert len(set(executed(again))) == len(executed(again))
    assert kept.items() <= {name: path.stat().st_ino for name, path in runs(root).items()}.items()
    assert not list(root.glob("toy_runs/*/.*"))  # what the dead left is cleared
    assert not list(root.glob("set-aside/*"))

    undisturbed = tmp_path / "undisturbed"
    finish(start(toy_script, undisturbed, tmp_path / "third.log", "--pause", "0.2"))
    assert_same_tables(root, undisturbed)


def test_two_sweeps_at_once_lose_nothing(tmp_path: Path, toy_script: Path) -> None:
    root = tmp_path / "shared"
    logs = [tmp_path / "one.log", tmp_path / "two.log"]
    for process in [start(toy_script, root, log, "--pause", "0.03") for log in logs]:
        finish(process)
    assert {cell for log in logs for cell in executed(log)} == CELLS
    assert not list(root.glob("set-aside/*"))
    assert not list(root.glob("toy_runs/*/.*"))

    both_fresh = [start(toy_script, root, log, "--pause", "0.03", "--fresh") for log in logs]
    for process in both_fresh:
        finish(process)
    assert not list(root.glob("set-aside/*"))
    alone = tmp_path / "alone"
    finish(start(toy_script, alone, tmp_path / "alone.log", "--pause", "0.03"))
    assert_same_tables(root, alone)
    assert Store(root).root == root


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_keeps_what_is_finished(tmp_path: Path, toy_script: Path, jobs: str) -> None:
    root, log = tmp_path / "stopped", tmp_path / "log"
    process = start(toy_script, root, log, "--pause", "0.2", "--jobs", jobs)
    wait_for_runs(process, root, 3)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "runs of toy_runs are kept in" in err
    assert "Traceback" not in err
    kept = len(runs(root))
    finish(start(toy_script, root, tmp_path / "again.log", "--pause", "0.2"))
    assert len(executed(tmp_path / "again.log")) == len(CELLS) - kept


def test_a_worker_that_dies_is_reported(tmp_path: Path) -> None:
    script = tmp_path / "dying.py"
    script.write_text(
        "import os, sys\n"
        "from dataclasses import dataclass\n"
        "import pandas as pd\n"
        "from fenchel.experiments import Experiment, RunFailed, sweep\n"
        "@dataclass(frozen=True)\n"
        "class Settings:\n"
        "    n_replications: int = 1\n"
        "    n_seeds: int = 6\n"
        "def run(config, seed):\n"
        "    if seed == 5:\n"
        "        os.kill(os.getpid(), 9)\n"
        "    return pd.DataFrame({'seed': [seed]})\n"
        "presets = dict.fromkeys(('quick', 'standard', 'paper'), Settings())\n"
        "toy = Experiment('dying', 'dies', run, lambda s: [s], presets)\n"
        "try:\n"
        "    sweep(toy, Settings(), jobs=2)\n"
        "except RunFailed as error:\n"
        "    sys.exit(str(error))\n"
    )
    environment = {**os.environ, "FENCHEL_RESULTS": str(tmp_path / "results")}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "a worker process of dying died" in done.stderr
    assert "--jobs 1" in done.stderr
