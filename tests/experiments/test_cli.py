import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from fenchel.experiments import main as script_main
from fenchel.experiments import registry
from fenchel.experiments.cli import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def results(toy_package: Path, tmp_path: Path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def sound(toy_package: Path) -> None:
    (toy_package / "broken.py").unlink()


def test_the_command_line_is_light() -> None:
    code = (
        "import sys\n"
        "from fenchel.experiments.cli import main\n"
        "assert main(['--help']) == 0 and main(['run', '--help']) == 0\n"
        "heavy = {'numba', 'matplotlib', 'joblib', 'pandas', 'torch', 'cvxpy', 'scipy', 'numpy'}\n"
        "sys.exit(f'imported {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("command", ["list", "run", "figures", "report", "bench"])
def test_each_command_has_help(command: str, capsys: Captured) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: fenchel {command}" in capsys.readouterr().out
    assert main([]) == 0
    assert command in capsys.readouterr().out


def test_version(capsys: Captured) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("fenchel 0.")


def test_list_names_what_there_is(results: Path, capsys: Captured) -> None:
    assert main(["list"]) == 1  # one figure cannot be loaded, and the others are listed
    captured = capsys.readouterr()
    for word in ("toy_figure", "Toy et al. 1999", "toy_runs", "speed"):
        assert word in captured.out
    assert "broken cannot be loaded: ImportError: no such peer" in captured.err


def test_run_makes_the_runs_and_says_where(results: Path, capsys: Captured) -> None:
    words = ["run", "toy_figure", "--jobs", "1", "--seeds", "2", "--n-replications", "7"]
    assert main(words) == 0
    captured = capsys.readouterr()
    assert str(results / "toy_runs") in captured.out
    runs = sorted(results.glob("toy_runs/*/*/run.json"))
    assert len(runs) == 4
    assert {json.loads(run.read_text())["config"]["n_replications"] for run in runs} == {7}
    assert not (results / "figures").exists()
    assert main(words) == 0
    assert "4 of 4 runs were in the store" in " ".join(capsys.readouterr().err.split())


def test_run_takes_the_name_of_an_experiment(results: Path) -> None:
    assert main(["run", "toy_runs", "--preset", "standard", "--jobs", "1", "--scales", "3"]) == 0
    assert len(list(results.glob("toy_runs/*/*/run.json"))) == 4


def test_run_help_shows_the_settings(results: Path, capsys: Captured) -> None:
    assert main(["run", "toy_figure", "--preset", "paper", "--help"]) == 0
    out = capsys.readouterr().out
    for word in ("--seeds", "--n-replications", "Copies inside one run.", "50", "--scales"):
        assert word in out


@pytest.mark.usefixtures("sound")
def test_figures_makes_all_and_the_report(results: Path, tmp_path: Path, capsys: Captured) -> None:
    assert main(["figures", "--jobs", "1", "--gallery", str(tmp_path / "gallery")]) == 0
    out = capsys.readouterr().out
    assert "✓ reproduced" in out
    assert out.rstrip().endswith(str(results / "report" / "index.html"))
    assert (results / "report" / "index.html").exists()
    assert (results / "figures" / "toy_figure.pdf").exists()
    assert (tmp_path / "gallery" / "toy_figure.png").exists()


def test_a_figure_that_fails_does_not_stop_the_next(results: Path, capsys: Captured) -> None:
    assert main(["figures", "--jobs", "1"]) == 1  # broken comes before toy_figure
    captured = capsys.readouterr()
    assert "ImportError: no such peer" in captured.err
    assert "1 figure failed" in captured.out
    assert (results / "figures" / "toy_figure.json").exists()


def test_failed_runs_end_with_status_one(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("TOY_FAIL", "1")
    assert main(["run", "toy_figure", "--jobs", "1"]) == 1
    err = capsys.readouterr().err
    assert "2 of 6 runs of toy_runs failed" in err
    assert "ArithmeticError: seed 1 is cursed" in err
    assert main(["figures", "toy_figure", "--jobs", "1"]) == 1


def test_report_prints_its_path(results: Path, capsys: Captured) -> None:
    assert main(["report"]) == 0
    assert capsys.readouterr().out.strip() == str(results / "report" / "index.html")


def test_bench_runs_benchmarks(results: Path, capsys: Captured) -> None:
    assert main(["bench"]) == 0
    assert "fast" in capsys.readouterr().out


def test_store_messages_are_shown(results: Path, capsys: Captured) -> None:
    results.mkdir()
    (results / "stray.txt").touch()
    assert main(["run", "toy_figure", "--jobs", "1"]) == 0
    err = capsys.readouterr().err
    assert "stray.txt does not belong in the store; moved to" in err
    assert "store.py" not in err  # the message, not the line of code


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["figure"], "invalid choice: 'figure'"),
        (["run"], "NAME is missing"),
        (["run", "toy_figur"], "unknown experiment 'toy_figur'; did you mean toy_figure"),
        (["figures", "toy_figur"], "unknown figure 'toy_figur'; did you mean toy_figure?"),
        (["figures", "toy_figure", "zzz"], "unknown figure 'zzz'; there are: toy_figure"),
        (["bench", "sped"], "unknown benchmark 'sped'; did you mean speed?"),
        (["figures", "--preset", "huge"], "'huge'"),
        (["figures", "--speed", "3"], "unknown --speed"),
        (["run", "toy_figure", "--jobs", "0"], "must be an integer of at least 1, got '0'"),
        (["run", "toy_figure", "--jobs", "two"], "got 'two'"),
        (["run", "toy_figure", "--seeds", "-1"], "--seeds"),
        (["run", "toy_figure", "--n-sed", "3"], "--n-sed"),
        (["run", "toy_figure", "--n-replications", "many"], "many"),
        (["run", "toy_figure", "--n-replications", "0"], "n_replications in settings of toy_runs"),
        (["report", "now"], "now"),
    ],
)
@pytest.mark.usefixtures("sound")
def test_bad_input_is_one_line_and_status_two(
    results: Path, words: list[str], message: str, capsys: Captured
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not results.exists()


def test_a_source_tree_is_no_place_for_results(
    results: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.setenv("FENCHEL_RESULTS", str(tmp_path))
    for words in (["run", "toy_figure"], ["figures", "toy_figure"], ["report"]):
        assert main(words) == 2
        assert "folder of their own" in capsys.readouterr().err


def test_a_script_does_what_the_command_does(results: Path, capsys: Captured) -> None:
    figure = registry.load_figure("toy_figure")
    assert script_main(figure, ["--jobs", "1", "--n-seeds", "2"]) == 0
    record = json.loads((results / "figures" / "toy_figure.json").read_text())
    assert record["preset"] == "quick"
    assert record["command"].endswith("--preset quick --n-seeds 2")
    out = capsys.readouterr().out
    assert "the mean is between −9 & 9" in out
    assert "· half of them are <below> & above" in out
    assert "toy_figure.png" in out
    assert script_main(figure, ["--help"]) == 0
    assert "--limit" in capsys.readouterr().out
    assert script_main(figure, ["--n-seed", "2"]) == 2
    assert "--n-seed" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "status"), [("-9", 0), ("0", 0), ("9", 3)])
def test_status_three_means_not_reproduced(results: Path, limit: str, status: int) -> None:
    figure = registry.load_figure("toy_figure")  # the interval of the mean is [−8, 8]
    assert script_main(figure, ["--jobs", "1", "--limit", limit]) == status


def test_the_script_runs_as_a_program(toy_script: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "FENCHEL_RESULTS": str(tmp_path / "there")}
    done = subprocess.run(
        [sys.executable, str(toy_script), "--jobs", "2"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "there" / "figures" / "toy_figure.png").exists()
    assert not (tmp_path / "results").exists()


def test_registry_asks_for_the_documented_constant(toy_package: Path) -> None:
    (toy_package / "empty.py").write_text("")
    with pytest.raises(TypeError, match="constant FIGURE"):
        registry.load_figure("empty")
    (toy_package / "renamed.py").write_text(f"from {toy_package.name}.toy_figure import FIGURE\n")
    with pytest.raises(TypeError, match="must be named 'renamed', got 'toy_figure'"):
        registry.load_figure("renamed")
    assert isinstance(registry.load_benchmark("speed"), types.ModuleType)
    assert registry.figure_names() == ["broken", "empty", "renamed", "toy_figure"]
