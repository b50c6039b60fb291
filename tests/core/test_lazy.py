"""Names that are imported when they are asked for."""

import sys

import pytest

from fenchel.core.lazy import lazily


def test_names_are_imported_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    get = lazily("fenchel.core", {"Pathwise": "guarantee"}, extra="all", needs=["torch"])
    assert get("Pathwise").__module__ == "fenchel.core.guarantee"
    with pytest.raises(AttributeError, match=r"'fenchel\.core' has no attribute 'Other'"):
        get("Other")


def test_what_is_missing_is_said_with_the_extra_that_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("stable_baselines3")
    monkeypatch.delitem(sys.modules, "fenchel.mdp.snapshot.s3rl", raising=False)
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.callbacks", None)
    name = "stable_baselines3.common.callbacks"
    for needs, words in (([name], r'pip install "fenchel\[snapshot\]"'), ([], "import of")):
        get = lazily("fenchel.mdp.snapshot", {"S3RL": "s3rl"}, extra="snapshot", needs=needs)
        with pytest.raises(ModuleNotFoundError, match=words):
            get("S3RL")
