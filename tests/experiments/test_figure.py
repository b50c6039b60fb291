import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from fenchel.experiments import (
    Claim,
    ClaimError,
    ClaimRecord,
    Figure,
    FigureRecord,
    Outcome,
    Store,
    Verdict,
    make,
    registry,
    sweep,
)
from fenchel.experiments.figure import command


@pytest.fixture
def figure(toy_package: Path) -> Figure[Any, Any, Any]:
    return registry.load_figure("toy_figure")


def test_a_figure_leaves_picture_print_and_record(
    figure: Figure[Any, Any, Any], store: Store
) -> None:
    record = make(figure, "quick", jobs=1, store=store, progress=False)
    folder = store.root / "figures"
    assert sorted(path.name for path in folder.iterdir()) == [
        "toy_figure.json",
        "toy_figure.pdf",
        "toy_figure.png",
    ]
    assert (folder / "toy_figure.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "toy_figure.pdf").read_bytes().startswith(b"%PDF")
    text = (folder / "toy_figure.json").read_text()
    written = json.loads(text)
    assert set(written) == {
        *("name", "title", "paper", "experiment", "preset", "settings", "n_runs", "seconds"),
        *("commit", "command", "created", "versions", "claims", "notes"),
    }
    assert written["settings"] == {
        "n_replications": 5,
        "n_seeds": 3,
        "scales": [1.0, 2.0],
        "pause": 0.0,
        "limit": -9.0,
    }
    assert written["n_runs"] == 6
    assert written["command"] == "python paper_figures/toy_figure.py --preset quick"
    assert [set(claim) for claim in written["claims"]] == [
        {"statement", "paper", "value", "interval", "verdict", "detail"}
    ] * 2
    assert [claim["verdict"] for claim in written["claims"]] == ["reproduced", "reproduced"]
    data = figure.summarise(sweep(figure.experiment, figure.experiment.settings("quick")))
    assert written["notes"] == list(figure.notes(data)) == list(record.notes)
    assert len(written["notes"]) == 2
    assert FigureRecord.from_json(text) == record


def test_a_record_of_before_there_were_notes_has_none(
    figure: Figure[Any, Any, Any], store: Store
) -> None:
    record = make(figure, jobs=1, store=store, progress=False)
    written = json.loads(record.to_json())
    del written["notes"]
    assert FigureRecord.from_json(json.dumps(written)) == replace(record, notes=())


def test_a_figure_need_not_have_notes(figure: Figure[Any, Any, Any], store: Store) -> None:
    silent = Figure(
        **{
            field.name: getattr(figure, field.name)
            for field in fields(figure)
            if field.name != "notes"
        }
    )
    assert make(silent, jobs=1, store=store, progress=False).notes == ()


def test_same_data_same_bytes(figure: Figure[Any, Any, Any], store: Store, tmp_path: Path) -> None:
    make(figure, jobs=1, store=store, progress=False)
    make(figure, jobs=1, store=Store(tmp_path / "other"), progress=False)
    for suffix in ("png", "pdf"):
        one, two = (
            root / "figures" / f"toy_figure.{suffix}" for root in (store.root, tmp_path / "other")
        )
        assert one.read_bytes() == two.read_bytes()


def test_the_gallery_gets_picture_and_record(
    figure: Figure[Any, Any, Any], store: Store, tmp_path: Path
) -> None:
    make(figure, jobs=1, store=store, gallery=tmp_path / "gallery", progress=False)
    names = sorted(path.name for path in (tmp_path / "gallery").iterdir())
    assert names == ["toy_figure.json", "toy_figure.png"]


def test_data_is_summarised_once(figure: Figure[Any, Any, Any], store: Store) -> None:
    seen = []

    def summarise(results: Any) -> Any:
        seen.append(results)
        return figure.summarise(results)

    make(replace(figure, summarise=summarise), jobs=1, store=store, progress=False)
    assert len(seen) == 1


def test_overrides_are_in_the_settings_and_the_command(
    figure: Figure[Any, Any, Any], store: Store
) -> None:
    overrides = {"n_seeds": 2, "scales": (0.5, 4.0)}
    record = make(figure, "standard", jobs=1, store=store, overrides=overrides, progress=False)
    assert record.settings["n_seeds"] == 2
    assert record.n_runs == 4
    assert record.command == (
        "python paper_figures/toy_figure.py --preset standard --n-seeds 2 --scales 0.5 4.0"
    )


def test_command_quotes_words_and_spells_switches() -> None:
    overrides = {"use_bound": False, "plot": True, "world": "a b"}
    assert command("x", "paper", overrides) == (
        "python paper_figures/x.py --preset paper --no-use-bound --plot --world 'a b'"
    )


def test_a_check_that_raises_leaves_no_record(figure: Figure[Any, Any, Any], store: Store) -> None:
    def check(data: Any) -> Outcome:
        raise KeyError("regret")

    broken = replace(figure, claims=[Claim("Toy 1999", "it works", check)])
    with pytest.raises(ClaimError, match="it works"):
        make(broken, jobs=1, store=store, progress=False)
    assert not (store.root / "figures").exists()


def test_draw_must_give_a_figure(figure: Figure[Any, Any, Any], store: Store) -> None:
    with pytest.raises(TypeError, match="matplotlib figure, got None"):
        make(replace(figure, draw=lambda data: None), jobs=1, store=store, progress=False)


def test_a_figure_claims_something(figure: Figure[Any, Any, Any]) -> None:
    with pytest.raises(ValueError, match="claims of figure toy_figure"):
        replace(figure, claims=[])


def test_records_keep_infinite_ends_in_strict_json() -> None:
    claim = ClaimRecord("s", "p", 1.5, (-math.inf, math.inf), Verdict.INCONCLUSIVE)
    record = FigureRecord("n", "t", "p", "e", "quick", {}, 1, 0.5, None, "c", "d", {}, (claim,))
    text = record.to_json()
    assert json.loads(text)["claims"][0]["interval"] == ["-inf", "inf"]
    assert FigureRecord.from_json(text) == record


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": "x"}', "null"])
def test_records_refuse_other_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"lacks|Expecting"):
        FigureRecord.from_json(text)
