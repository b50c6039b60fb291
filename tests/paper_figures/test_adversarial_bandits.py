"""The figure end to end at a small size, and that its claims can fail."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fenchel.experiments import Store, Verdict, make, sweep
from fenchel.paper_figures.adversarial_bandits import (
    EXPERIMENT,
    FIGURE,
    GAMES,
    LEARNERS,
    Settings,
    Traces,
    summarise,
)


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Traces:
    store = Store(tmp_path_factory.mktemp("results"))
    settings = Settings(n_horizons=4, n_replications=80)
    return summarise(sweep(EXPERIMENT, settings, jobs=1, store=store, progress=False))


def test_figure_writes_pictures_and_measured_claims(tmp_path: Path) -> None:
    overrides = {"n_horizons": 3, "n_replications": 80}
    store = Store(tmp_path)
    make(FIGURE, "quick", jobs=1, store=store, overrides=overrides, progress=False)
    for suffix in ("png", "pdf"):
        assert (tmp_path / "figures" / f"adversarial_bandits.{suffix}").stat().st_size > 10_000
    record = json.loads((tmp_path / "figures" / "adversarial_bandits.json").read_text())
    assert record["preset"] == "quick"
    assert record["seconds"] > 0
    assert len(record["claims"]) == 9
    for claim in record["claims"]:
        low, high = claim["interval"]
        assert low <= claim["value"] <= high
        assert claim["verdict"] in set(Verdict)


def test_bounds_are_reproduced_and_each_trace_carries_the_bound_of_its_horizon(
    traces: Traces,
) -> None:
    for claim in FIGURE.claims[: len(LEARNERS)]:
        assert claim.measure(traces).verdict == Verdict.REPRODUCED, claim
    first, last = traces["switch", "Exp3"][0], traces["switch", "Exp3"][-1]
    assert first.guarantee is not None
    assert last.guarantee is not None
    # √(2 T K ln K) at T = 1000 and at T = 8000: a factor √8
    ratio = last.guarantee.bound(last.rounds[-1]) / first.guarantee.bound(first.rounds[-1])
    assert ratio == pytest.approx(np.sqrt(8))


def test_claims_fail_on_regret_that_grows_linearly(traces: Traces) -> None:
    linear = {
        key: [replace(t, regret=0.5 * np.broadcast_to(t.rounds, t.regret.shape)) for t in ends]
        for key, ends in traces.items()
    }
    verdicts = [claim.measure(linear).verdict for claim in FIGURE.claims]
    assert set(verdicts) == {Verdict.NOT_REPRODUCED}


def test_logarithm_claim_tells_a_root_from_a_logarithm(traces: Traces) -> None:
    claim = FIGURE.claims[-1]
    for curve, verdict in ((np.sqrt, "not reproduced"), (np.log, "reproduced")):
        noise = 1 + 0.1 * np.random.default_rng(0).normal(size=(80, 1))
        fake = {
            (game, learner): [replace(t, regret=curve(t.rounds + 1.0) * noise) for t in ends]
            for (game, learner), ends in traces.items()
        }
        assert claim.measure(fake).verdict == verdict


def test_all_games_and_learners_are_run(traces: Traces) -> None:
    assert set(traces) == {(game, learner) for game in GAMES for learner in LEARNERS}
