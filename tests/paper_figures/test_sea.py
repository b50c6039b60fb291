"""The figures of the SEA model end to end at a small size, and that their claims can fail."""

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fenchel.core import Pathwise, Trace
from fenchel.experiments import ClaimError, Figure, Store, Verdict, make, sweep

SMALL = {
    "sea_interpolation": {"horizon": 256, "n_replications": 8},
    "sea_strongly_convex_expconcave": {"horizon": 256, "n_replications": 8},
    "sea_corollaries": {"horizon": 320, "n_replications": 8},
    "sea_dynamic": {"horizon": 200, "n_replications": 4},
    "price_of_optimism": {"horizon": 200, "n_replications": 4},
}


def figure_of(name: str) -> Figure[Any, Any, Any]:
    figure: Figure[Any, Any, Any] = import_module(f"fenchel.paper_figures.{name}").FIGURE
    return figure


@pytest.fixture(scope="module", params=SMALL)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Figure[Any, Any, Any], Path, Any]:
    figure, folder = figure_of(request.param), tmp_path_factory.mktemp("results")
    overrides: dict[str, object] = dict(SMALL[request.param])
    store = Store(folder)
    make(figure, "quick", jobs=1, store=store, overrides=overrides, progress=False)
    settings = figure.experiment.settings("quick", **overrides)
    results = sweep(figure.experiment, settings, jobs=1, store=store, progress=False)
    return figure, folder, figure.summarise(results)


def changed(data: Any, change: Any) -> Any:
    """The data of a figure, a mapping to traces or lists of traces, with each trace changed."""
    return {
        key: [change(t) for t in value] if isinstance(value, list) else change(value)
        for key, value in data.items()
    }


def test_figure_writes_pictures_measured_claims_and_notes(
    made: tuple[Figure[Any, Any, Any], Path, Any],
) -> None:
    figure, folder, _ = made
    for suffix in ("png", "pdf"):
        assert (folder / "figures" / f"{figure.name}.{suffix}").stat().st_size > 10_000
    record = json.loads((folder / "figures" / f"{figure.name}.json").read_text())
    assert len(record["claims"]) == len(figure.claims)
    assert record["notes"]
    for claim in record["claims"]:
        low, high = (float(end) for end in claim["interval"])
        assert low <= claim["value"] <= high


def test_bounds_and_inequalities_hold_at_any_size(
    made: tuple[Figure[Any, Any, Any], Path, Any],
) -> None:
    figure, _, data = made
    proven = [c for c in figure.claims if "bound" in c.statement or "inequality" in c.statement]
    assert len(proven) >= 2
    for claim in proven:
        assert claim.measure(data).verdict == Verdict.REPRODUCED, claim.statement


def cubic(trace: Trace, noise: Any) -> Any:
    return 1e6 * trace.rounds.astype(float) ** 3 * noise


def upside_down(trace: Trace, noise: Any) -> Any:
    return 1e6 * trace.rounds.astype(float) * noise / (1 + abs(trace.mean()[-1]) ** 3)


def steep(trace: Trace, noise: Any) -> Any:
    return trace.rounds.astype(float) ** 2 * noise * abs(trace.mean()[-1]) ** 3


def flat(trace: Trace, noise: Any) -> Any:
    return np.ones(len(trace.rounds)) * noise


def test_each_claim_can_fail(made: tuple[Figure[Any, Any, Any], Path, Any]) -> None:
    figure, _, data = made
    verdicts: dict[str, list[Verdict]] = {claim.statement: [] for claim in figure.claims}
    for regret in (cubic, upside_down, steep, flat):
        rng = np.random.default_rng(0)

        def change(trace: Trace, regret: Any = regret, rng: Any = rng) -> Trace:
            sides = trace.pathwise
            if sides is not None:
                sides = Pathwise(sides.right + 1.0, sides.right, sides.reference)
            noise = 1 + 0.01 * rng.random((len(trace.regret), 1))
            return replace(trace, regret=regret(trace, noise), pathwise=sides)

        broken = changed(data, change)
        for claim in figure.claims:
            try:
                verdicts[claim.statement].append(claim.measure(broken).verdict)
            except ClaimError:  # it cannot even be measured
                verdicts[claim.statement].append(Verdict.NOT_REPRODUCED)
    for statement, seen in verdicts.items():
        assert set(seen) != {Verdict.REPRODUCED}, statement
