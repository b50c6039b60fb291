"""The figures of the SEA model end to end at a small size, and that their claims can fail."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fenchel.core import Pathwise, Trace
from fenchel.experiments import ClaimError, Verdict

SMALL = {
    "sea_interpolation": {"horizon": 256, "n_replications": 8},
    "sea_strongly_convex_expconcave": {"horizon": 256, "n_replications": 8},
    "sea_corollaries": {"horizon": 320, "n_replications": 8},
    "sea_dynamic": {"horizon": 200, "n_replications": 4},
    "price_of_optimism": {"horizon": 200, "n_replications": 4},
}


@pytest.fixture(scope="module", params=SMALL)
def made(request: pytest.FixtureRequest, make_small: Any) -> Any:
    return make_small(request.param, SMALL[request.param])


def changed(data: Any, change: Any) -> Any:
    """The data of a figure, a mapping to traces or lists of traces, with each trace changed."""
    return {
        key: [change(t) for t in value] if isinstance(value, list) else change(value)
        for key, value in data.items()
    }


def test_figure_writes_pictures_measured_claims_and_notes(made: Any, check_files: Any) -> None:
    check_files(made)


def test_bounds_and_inequalities_hold_at_any_size(
    made: Any,
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


def test_each_claim_can_fail(made: Any) -> None:
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
