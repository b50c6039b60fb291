"""The figures of optimal transport at a small size, and that their claims can fail."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fenchel.experiments import Verdict

SMALL: dict[str, dict[str, object]] = {
    "monge_gap_benchmark": {"dims": (2, 3), "n_steps": 5, "n_seeds": 2},
    "monge_gap_cells": {"n_genes": 4, "n_cells": 64, "n_steps": 5, "n_seeds": 2},
    "monge_gap_costs": {"n_steps": 3, "batch_size": 16, "n_points": 30, "n_seeds": 2},
    "monge_gap_gaussian": {"dims": (2, 3), "n_steps": 5, "n_seeds": 2},
    "monge_gap_sphere": {"n_steps": 5, "n_points": 40, "n_seeds": 2},
    "sinkhorn_convergence": {"n_points": 40, "n_seeds": 3},
    "sparse_moe": {"n_steps": 4, "n_problems": 2, "n_checkpoints": 3},
    "sparse_ot_plans": {"n_seeds": 1},
    "sparse_ot_tradeoff": {"n_points": 16, "n_seeds": 3},
}
PROVEN = (
    "not negative",
    "true map has no gap",
    "same value",
    "than its capacity",
    "at most k",
    "dual bound",
    "where a plan was found",
)


@pytest.fixture(scope="module", params=SMALL)
def made(request: pytest.FixtureRequest, make_small: Any) -> Any:
    return make_small(request.param, SMALL[request.param])


def test_figure_writes_pictures_measured_claims_and_notes(made: Any, check_files: Any) -> None:
    check_files(made)


def test_what_is_proven_holds_at_any_size(made: Any) -> None:
    figure, _, data = made
    proven = [c for c in figure.claims if any(words in c.statement for words in PROVEN)]
    assert proven
    for claim in proven:
        assert claim.measure(data).verdict == Verdict.REPRODUCED, claim.statement


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


def overloaded(data: Any) -> Any:
    """The sparse routers twice over capacity, worse in loss and balance, with hardly a spread."""
    finals = {
        (name, quantity): (1 + 9 * name.startswith("sparse")) * (1 + 1e-6 * np.arange(len(values)))
        for (name, quantity), values in data.finals.items()
    }
    return replace(data, finals=finals)


def dense_and_too_cheap(data: Any) -> Any:
    """Sparse plans with mass everywhere, and values below their bounds."""
    return {
        (name, kind): [
            replace(plan, T=plan.T + 0.01, value=0.5 * plan.bound) if "k =" in kind else plan
            for plan in plans
        ]
        for (name, kind), plans in data.items()
    }


def dearer_and_rougher(data: Any) -> Any:
    """Values that rise with k, below their bounds; L-BFGS worse with k, `sparse_plan` too."""
    return {
        k: [
            replace(
                run,
                bound=k * run.bound,
                value=0.5 * k * run.bound,
                error=run.error + 1e-3,
                way=k * run.bound * (1 - 1e-3 * k * (1 + 1e-3 * seed * np.ones_like(run.way))),
                missed=1e-3 * k * (1 + 1e-3 * seed),
            )
            for seed, run in enumerate(runs)
        ]
        for k, runs in data.items()
    }


def farther_and_less_optimal(data: Any) -> Any:
    """Gaps below 0 or ten times those without the penalty, worse fits, more crossings."""
    return {
        name: [
            run
            if name == "no gap"
            else replace(
                run,
                divergence=10 * bare.divergence * (1 + 1e-3 * seed),
                fit=10 * bare.fit * (1 + 1e-3 * seed),
                gaps={c: -1.0 if c == "‖z‖" else 10 * gap for c, gap in bare.gaps.items()},
                crossings=10 * bare.crossings * (1 + 1e-3 * seed) + 0.1,
            )
            for seed, (run, bare) in enumerate(zip(runs, data["no gap"], strict=True))
        ]
        for name, runs in data.items()
    }


def worse_with_the_gap(data: Any) -> Any:
    """The Monge gap ten times as far from a true map that is not optimal."""
    return {
        (name, dim): table.assign(
            uvp=(10.0 if name == "Monge gap" else 1.0) * (1 + 1e-3 * np.arange(len(table))),
            **{"true gap": 1.0},
        )
        for (name, dim), table in data.items()
    }


def off_the_sphere(data: Any) -> Any:
    """Gaps, divergences and errors a hundred times as large; gaps of one problem below 0."""
    below = next(iter(data))[0]
    return {
        (problem, method): [
            table.assign(
                gap=-worse if problem == below else worse,
                uvp=worse,
                fit=worse,
                divergence=worse,
                **{"true gap": 1.0},
            )
            for seed, table in enumerate(tables)
            for worse in [(1.0 if method == "no gap" else 100.0) * (1 + 1e-3 * seed)]
        ]
        for (problem, method), tables in data.items()
    }


def farther_from_the_cells(data: Any) -> Any:
    """The Monge gap ten times as far from the target; a true map with a gap."""
    return {
        name: table.assign(
            divergence=worse,
            mmd=worse,
            gap=1.0,
        )
        for name, table in data.items()
        for worse in [(10.0 if name == "Monge gap" else 1.0) * (1 + 1e-3 * np.arange(len(table)))]
    }


BROKEN = {
    "monge_gap_cells": farther_from_the_cells,
    "monge_gap_sphere": off_the_sphere,
    "monge_gap_benchmark": worse_with_the_gap,
    "monge_gap_gaussian": worse_with_the_gap,
    "monge_gap_costs": farther_and_less_optimal,
    "sinkhorn_convergence": slowed,
    "sparse_moe": overloaded,
    "sparse_ot_plans": dense_and_too_cheap,
    "sparse_ot_tradeoff": dearer_and_rougher,
}


def test_each_claim_can_fail(made: Any) -> None:
    figure, _, data = made
    broken = BROKEN[figure.name](data)
    for claim in figure.claims:
        assert claim.measure(broken).verdict == Verdict.NOT_REPRODUCED, claim.statement
