"""The figures on offline RL at a small size, and that their claims can fail."""

from typing import Any

import pandas as pd
import pytest

from fenchel.experiments import Verdict

pytest.importorskip("torch")
pytest.importorskip("gymnasium")

SMALL: dict[str, dict[str, object]] = {
    "ss_orl_labels": {"n_steps": 20, "n_inverse_steps": 20, "n_episodes": 2, "n_seeds": 2},
}


@pytest.fixture(scope="module", params=SMALL)
def made(request: pytest.FixtureRequest, make_small: Any) -> Any:
    return make_small(request.param, SMALL[request.param])


def harmful(q: float, table: Any) -> Any:
    """Proxy labels do harm, and so do better labelled trajectories."""
    score = {"labelled only": 60.0 - 10 * q, "SS-ORL": 20.0, "oracle": 90.0}
    return pd.DataFrame(table).assign(score=table["method"].map(score))


def test_figure_writes_pictures_measured_claims_and_notes(made: Any, check_files: Any) -> None:
    check_files(made)


def test_claims_fail_where_they_should(made: Any) -> None:
    figure, _, data = made
    worse = {key: [harmful(key[1], t) for t in tables] for key, tables in data.items()}
    outcomes = [claim.measure(worse) for claim in figure.claims]
    settled = [outcome for outcome in outcomes if "budget" not in outcome.detail]
    assert len(settled) == 3
    assert {outcome.verdict for outcome in settled} == {Verdict.NOT_REPRODUCED}


def test_shares_that_say_nothing_are_not_said() -> None:
    from fenchel.paper_figures.ss_orl_labels import said

    assert said(float("nan")) == "n/a"
    assert said(0.256) == "26 %"
