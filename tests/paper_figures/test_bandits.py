"""The figures on bandits at a small size, and that their claims can fail."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fenchel.core import Pathwise, Trace
from fenchel.experiments import Figure, Verdict

Made = tuple[Figure[Any, Any, Any], Path, Any]
Make = Callable[[str, Mapping[str, object]], Made]

SMALL = {
    "best_of_both_worlds": {"horizon": 3000, "n_replications": 48},
    "high_probability": {"n_horizons": 3, "n_replications": 200},
    "small_loss_and_path_length": {"horizon": 2100, "n_replications": 16},
    "linear_bandits": {"n_dimensions": 2, "horizon": 300, "n_replications": 80},
}


@pytest.fixture(scope="module", params=SMALL)
def made(request: pytest.FixtureRequest, make_small: Make) -> Made:
    return make_small(request.param, SMALL[request.param])


def test_a_figure_writes_pictures_and_measured_claims(
    made: Made, check_files: Callable[[Made], None]
) -> None:
    check_files(made)


def spoiled(data: Any, change: Callable[[Trace], Trace]) -> Any:
    """The data with all traces changed, whatever holds them."""
    if isinstance(data, Trace):
        return change(data)
    if isinstance(data, dict):
        return {key: spoiled(value, change) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(spoiled(value, change) for value in data)
    return data


def linear(trace: Trace) -> Trace:
    """Regret 1000 t in each run, above any bound, and an inequality that is broken."""
    sides = trace.pathwise
    broken = sides and Pathwise(sides.right + 1.0, sides.right, sides.reference)
    regret = np.broadcast_to(1000.0 * trace.rounds, trace.regret.shape)
    return replace(trace, regret=regret, pathwise=broken)


def test_bounds_and_inequalities_are_reproduced_and_fail_on_linear_regret(made: Made) -> None:
    figure, _, data = made
    held = [c for c in figure.claims if "bound" in c.statement or "inequality holds" in c.statement]
    assert held
    bad = spoiled(data, linear)
    for claim in held:
        assert claim.measure(data).verdict == Verdict.REPRODUCED, claim.statement
        assert claim.measure(bad).verdict == Verdict.NOT_REPRODUCED, claim.statement


def test_comparisons_of_learners_fail_where_learners_are_alike(made: Made) -> None:
    figure, _, data = made
    bad = spoiled(data, linear)
    compared = [c for c in figure.claims if "below" in c.statement and "bound" not in c.statement]
    for claim in compared:
        if "slope" not in claim.statement:
            outcome = claim.measure(bad)
            assert outcome.value == 0, claim.statement  # equal, and no worse


def test_the_spread_of_exp3_must_be_linear_and_that_of_others_must_not(make_small: Make) -> None:
    figure, _, data = make_small("high_probability", SMALL["high_probability"])

    def spread_as(power: float) -> Callable[[Trace], Trace]:
        noise = np.random.default_rng(0).normal(size=(200, 1))
        return lambda trace: replace(trace, regret=noise * trace.rounds**power)

    for power in (1.0, 0.5):
        for claim in figure.claims[:3]:
            verdict = claim.measure(spoiled(data, spread_as(power))).verdict
            wanted = claim.statement.startswith("Exp3:") == (power == 1.0)
            assert (verdict == Verdict.REPRODUCED) == wanted, (claim.statement, power)


def test_growth_with_the_dimension_tells_a_root_from_a_line(make_small: Make) -> None:
    figure, _, data = make_small("linear_bandits", SMALL["linear_bandits"])

    def as_power(power: float) -> Any:
        rng = np.random.default_rng(0)
        return {
            key: {
                dim: replace(t, regret=dim**power * (1 + 0.05 * rng.normal(size=t.regret.shape)))
                for dim, t in each.items()
            }
            for key, each in data.items()
        }

    for power, optimism in ((1.0, True), (0.5, False)):
        optimistic, weights = figure.claims[2:4]
        for claim, wanted in ((optimistic, optimism), (weights, not optimism)):
            verdict = claim.measure(as_power(power)).verdict
            assert (verdict == Verdict.REPRODUCED) == wanted, (claim.statement, power)


def test_a_path_length_is_that_of_the_changes(make_small: Make) -> None:
    from fenchel.paper_figures.small_loss_and_path_length import PATH, PLAIN, Config, losses_of

    for changes in (1, 4, 64):
        losses = losses_of(Config(PLAIN, PATH, changes, 2100, 1))
        assert np.count_nonzero(np.diff(losses[:, 0])) == changes
        assert losses.sum(axis=0).argmin() == 0
