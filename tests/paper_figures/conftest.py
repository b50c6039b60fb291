"""Figures made at a small size."""

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from fenchel.experiments import Figure, Store, make, sweep

Made = tuple[Figure[Any, Any, Any], Path, Any]  # figure, folder of the results, data


@pytest.fixture(scope="module")
def make_small(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str, Mapping[str, object]], Made]:
    """Make the figure of a name with some settings replaced; one job."""

    def made(name: str, settings_replaced: Mapping[str, object]) -> Made:
        figure: Figure[Any, Any, Any] = import_module(f"fenchel.paper_figures.{name}").FIGURE
        folder, overrides = tmp_path_factory.mktemp("results"), dict(settings_replaced)
        store = Store(folder)
        make(figure, "quick", jobs=1, store=store, overrides=overrides, progress=False)
        settings = figure.experiment.settings("quick", **overrides)
        results = sweep(figure.experiment, settings, jobs=1, store=store, progress=False)
        return figure, folder, figure.summarise(results)

    return made


@pytest.fixture(scope="module")
def check_files() -> Callable[[Made], None]:
    """Pictures, measured claims with intervals, and notes are there."""

    def check(made: Made) -> None:
        figure, folder, _ = made
        for suffix in ("png", "pdf"):
            assert (folder / "figures" / f"{figure.name}.{suffix}").stat().st_size > 10_000
        record = json.loads((folder / "figures" / f"{figure.name}.json").read_text())
        assert len(record["claims"]) == len(figure.claims)
        assert record["notes"]
        for claim in record["claims"]:
            low, high = (float(end) for end in claim["interval"])
            assert low <= claim["value"] <= high

    return check
