"""Toys: an experiment that workers get by value, and a figure script for subprocesses."""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fenchel.experiments import Experiment, Store, registry

SCRIPT = Path(__file__).with_name("toy_figure.py")
MakeToy = Callable[..., Experiment[Any, Any]]


@pytest.fixture
def toy_script() -> Path:
    return SCRIPT


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def make_toy(tmp_path: Path) -> MakeToy:
    """Experiments whose classes and functions are local, so that workers get them by value."""

    def make(
        log: Path | None = None, fail: tuple[float, int] | None = None
    ) -> Experiment[Any, Any]:
        @dataclass(frozen=True)
        class Settings:
            n_replications: int = 3
            n_seeds: int = 4
            scales: tuple[float, ...] = (1.0, 2.5)

        @dataclass(frozen=True)
        class Config:
            n_replications: int
            scale: float

        def run(config: Config, seed: int) -> pd.DataFrame:
            if log is not None:
                with log.open("a") as file:
                    file.write(f"{config.scale}/{seed}\n")
            if fail == (config.scale, seed):
                raise ArithmeticError("this one is cursed")
            values = np.random.default_rng(seed).normal(size=config.n_replications)
            return pd.DataFrame({"value": config.scale * values, "pid": 0})

        def cells(settings: Settings) -> list[Config]:
            return [Config(settings.n_replications, scale) for scale in settings.scales]

        presets = {"quick": Settings(), "standard": Settings(n_seeds=5), "paper": Settings(100)}
        return Experiment("toy", "normal numbers", run, cells, presets)

    return make


@pytest.fixture
def toy_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Figures and benchmarks of the registry are toys; results go to `tmp_path / "results"`."""
    package = tmp_path / "package" / f"toys_{os.getpid()}_{abs(hash(tmp_path)):x}"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    shutil.copy(SCRIPT, package / "toy_figure.py")
    (package / "broken.py").write_text("raise ImportError('no such peer')\n")
    benchmarks = package.with_name(f"bench_{package.name}")
    benchmarks.mkdir()
    (benchmarks / "__init__.py").write_text("")
    (benchmarks / "speed.py").write_text('"""Speed."""\n\ndef main() -> None:\n    print("fast")\n')
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(registry, "FIGURES", package.name)
    monkeypatch.setattr(registry, "BENCHMARKS", benchmarks.name)
    monkeypatch.setenv("FENCHEL_RESULTS", str(tmp_path / "results"))
    yield package
    for name in [m for m in sys.modules if m.split(".")[0] in (package.name, benchmarks.name)]:
        del sys.modules[name]
