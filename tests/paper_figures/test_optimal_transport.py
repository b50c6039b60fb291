"""The figures of optimal transport at a small size, and that their claims can fail."""

from typing import Any

import pytest

from fenchel.experiments import Verdict

SMALL: dict[str, dict[str, object]] = {"sinkhorn_convergence": {"n_points": 40, "n_seeds": 3}}


@pytest.fixture(scope="module", params=SMALL)
def made(request: pytest.FixtureRequest, make_small: Any) -> Any:
    return make_small(request.param, SMALL[request.param])


def test_figure_writes_pictures_measured_claims_and_notes(made: Any, check_files: Any) -> None:
    check_files(made)


def test_all_methods_find_the_same_value_at_any_size(made: Any) -> None:
    figure, _, data = made
    (claim,) = [c for c in figure.claims if "same value" in c.statement]
    assert claim.measure(data).verdict == Verdict.REPRODUCED


def slowed(tables: Any) -> Any:
    """The better methods a hundred times slower, and values that differ."""
    return {
        (name, ratio): [
            table.assign(
                iterations=table["iterations"] * {"relaxed": 1e2, "plain": 1.0}.get(name, 1e4),
                value=table["value"] + i + len(name),
                error=table["error"] ** (1.0 if name == "plain" else 0.9),
            )
            for i, table in enumerate(problems)
        ]
        for (name, ratio), problems in tables.items()
    }


def test_each_claim_can_fail(made: Any) -> None:
    figure, _, data = made
    broken = slowed(data)
    for claim in figure.claims:
        assert claim.measure(broken).verdict == Verdict.NOT_REPRODUCED, claim.statement
