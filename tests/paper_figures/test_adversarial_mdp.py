"""The figures of adversarial linear MDPs at a small size, and that their claims can fail."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fenchel.core import Trace
from fenchel.experiments import Verdict

SMALL: dict[str, dict[str, object]] = {
    "adversarial_linear_mdp": {
        "first": 3,
        "last": 7,
        "n_replications": 2,
        "n_environments": 2,
    },
    "dilated_bonus": {"horizon": 200, "n_replications": 3},
    "log_barrier_lemma": {"n_replications": 60},
    "covariance_estimators": {"n_replications": 6},
    "rare_state": {"first": 2, "last": 3, "searched": 2, "n_replications": 4},
    "simulator_free": {"first": 2, "last": 3, "n_environments": 2, "n_replications": 2},
}
NOTHING_PROVEN = ("rare_state", "simulator_free")


@pytest.fixture(scope="module", params=SMALL)
def made(request: pytest.FixtureRequest, make_small: Any) -> Any:
    return make_small(request.param, SMALL[request.param])


def test_figure_writes_pictures_measured_claims_and_notes(made: Any, check_files: Any) -> None:
    check_files(made)


PROVEN = ("below the bound", "for every loss sequence", "is the plain one", "in each sample")


def test_what_is_proven_holds_at_any_size(made: Any) -> None:
    figure, _, data = made
    proven = [c for c in figure.claims if any(words in c.statement for words in PROVEN)]
    assert bool(proven) is (figure.name not in NOTHING_PROVEN)
    for claim in proven:
        assert claim.measure(data).verdict == Verdict.REPRODUCED, claim.statement


def grown(power: float) -> Callable[[Any], Any]:
    """Regret t^power for the √K algorithms, √t for the baseline, with hardly a spread."""

    def change(data: Any) -> Any:
        def regret(name: str, trace: Trace, i: int) -> Any:
            exponent = power if name.startswith(("A", "B")) or "theory" in name else 0.5
            rows = 1 + 1e-6 * (i + np.arange(len(trace.regret))[:, None])
            return 1e6 * rows * trace.rounds**exponent

        return {
            key: [replace(t, regret=regret(key[1], t, i)) for i, t in enumerate(traces)]
            for key, traces in data.items()
        }

    return change


def without_effect(data: Any) -> Any:
    """The usual bonus raises regret, of the plain estimator by a little less."""
    return {
        (name, factor): replace(
            trace,
            regret=data.get((name, 0.0), trace).regret
            + (factor == 0.05) * (1e6 - ("plain" in name)),
        )
        for (name, factor), trace in data.items()
    }


def scaled(factor: float) -> Callable[[Any], Any]:
    columns = ["refined", "classical"]

    def change(data: Any) -> Any:
        return {
            kind: table.assign(**{c: factor * table[c] for c in columns})
            for kind, table in data.items()
        }

    return change


def exchanged(data: Any) -> Any:
    """The estimators' names changed about, with errors ten times as large and half of e."""
    names = sorted({name for name, _ in data})
    other = dict(zip(names, names[::-1], strict=True))
    return {
        (other[name], gamma): table.assign(error=10 * table["error"], e=0.5 * table["e"])
        for (name, gamma), table in data.items()
    }


def all_alike(power: float) -> Callable[[Any], Any]:
    """Regret t^power of all learners, with hardly a spread."""

    def change(data: Any) -> Any:
        def regret(trace: Trace) -> Any:
            rows = 1 + 1e-6 * np.arange(len(trace.regret))[:, None]
            return rows * trace.rounds**power

        traces = {key: replace(t, regret=regret(t)) for key, t in data.traces.items()}
        return replace(data, traces=traces)

    return change


def worse_than_before(finals: Any) -> Any:
    """Regret K², twice as much for the log-barrier, with hardly a spread."""
    return {
        (name, cover, K): K**2 * (1 + name.startswith("log")) * (1 + 1e-6 * np.arange(len(values)))
        for (name, cover, K), values in finals.items()
    }


BROKEN: dict[str, list[Callable[[Any], Any]]] = {
    "adversarial_linear_mdp": [grown(2.0)],
    "dilated_bonus": [without_effect],
    "log_barrier_lemma": [scaled(100.0), scaled(0.001)],
    "covariance_estimators": [exchanged],
    "rare_state": [all_alike(0.5), all_alike(1.0)],
    "simulator_free": [worse_than_before],
}


def test_each_claim_can_fail(made: Any) -> None:
    figure, _, data = made
    for claim in figure.claims:
        verdicts = [claim.measure(change(data)).verdict for change in BROKEN[figure.name]]
        assert Verdict.NOT_REPRODUCED in verdicts, claim.statement
