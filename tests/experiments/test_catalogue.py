"""The table of learners in the documentation is that of the code."""

from pathlib import Path

import pytest

from fenchel.experiments import catalogue

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "bandits.md").read_text(encoding="utf-8")


def test_the_page_holds_the_table_that_the_code_makes() -> None:
    made = catalogue.renewed(PAGE, ROOT)
    assert made == PAGE, "run python -m fenchel.experiments.catalogue"


@pytest.mark.parametrize("kind", [kind for _, kind in catalogue.learners()])
def test_each_learner_has_a_source_and_is_named_by_a_test(kind: type) -> None:
    assert catalogue.reference(kind)
    assert catalogue.tested(kind, ROOT)


def test_settings_are_those_of_the_feedback() -> None:
    found = {
        kind.__name__: catalogue.setting(package, kind) for package, kind in catalogue.learners()
    }
    assert found["Hedge"] == "experts"
    assert found["Exp3"] == "bandit"
    assert found["OGD"] == "convex optimisation"
    assert found["OFUL"] == "linear bandit, contexts"
