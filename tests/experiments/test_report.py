import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from fenchel.experiments import (
    ClaimRecord,
    FigureRecord,
    Store,
    StoreWarning,
    Verdict,
    write_report,
)

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def put(store: Store, name: str, *verdicts: Verdict) -> FigureRecord:
    record = FigureRecord(
        name=name,
        title=f"Title of {name} <script>alert('x')</script> & more",
        paper="Auer & Cesa-Bianchi 2002",
        experiment="toy",
        preset="quick",
        settings={"n_seeds": 3},
        n_runs=6,
        seconds=200.0,
        commit="0123abc",
        command=f"python paper_figures/{name}.py --preset quick",
        created="2026-01-02T03:04:05+00:00",
        versions={"python": "3.11"},
        claims=tuple(
            ClaimRecord(f"statement {k} of {name}: 1 < 2", "Lemma", 0.5, (-0.25, 1.0), verdict)
            for k, verdict in enumerate(verdicts)
        ),
        notes=(f"a note on {name}: 2 > 1", "another <b>note</b>"),
    )
    folder = store.root / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(record.to_json())
    (folder / f"{name}.png").write_bytes(PIXEL)
    return record


class Page(HTMLParser):
    """Text, links and tags of a page; fails at tags that are not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.images: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.links += [values["href"] or ""] if "href" in values else []
        self.images += [values["src"] or ""] if "src" in values else []
        self.ids += [values["id"] or ""] if "id" in values else []
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_every_figure_and_claim_is_on_the_page(store: Store) -> None:
    records = [
        put(store, "alpha", Verdict.REPRODUCED, Verdict.NOT_REPRODUCED),
        put(store, "beta", Verdict.INCONCLUSIVE),
    ]
    path = write_report(store.root)
    assert path == store.root / "report" / "index.html"
    page = Page(path)
    for record in records:
        assert record.title in page.text
        assert record.command in page.text
        assert f"../figures/{record.name}.pdf" in page.links
        assert f"#{record.name}" in page.links
        assert record.name in page.ids
        for words in (*(claim.statement for claim in record.claims), *record.notes):
            assert words in page.text
    for words in ("✓ reproduced", "✗ not reproduced", "? inconclusive", "[−0.25, 1]", "3 min 20 s"):
        assert words in page.text
    assert "0123abc" in page.text


def test_what_authors_write_is_escaped(store: Store) -> None:
    put(store, "alpha", Verdict.REPRODUCED)
    path = write_report(store.root)
    assert "script" not in Page(path).tags
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; more" in path.read_text()


def test_the_page_stands_alone(store: Store) -> None:
    put(store, "alpha", Verdict.REPRODUCED)
    path = write_report(store.root)
    page = Page(path)
    assert page.images == [f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}"]
    assert all(re.match(r"#|\.\./figures/", link) for link in page.links)
    assert "http" not in path.read_text()


def test_the_numbers_lie_beside_the_page(store: Store) -> None:
    records = [put(store, "alpha", Verdict.REPRODUCED), put(store, "beta", Verdict.INCONCLUSIVE)]
    summary = json.loads((write_report(store.root).parent / "report.json").read_text())
    assert summary["totals"] == {"reproduced": 1, "not reproduced": 0, "inconclusive": 1}
    assert summary["figures"] == [json.loads(record.to_json()) for record in records]


@pytest.mark.parametrize("damage", ["garbage", "not a record", "no picture", "other name"])
def test_a_damaged_figure_is_left_out_with_a_message(store: Store, damage: str) -> None:
    put(store, "alpha", Verdict.REPRODUCED)
    put(store, "beta", Verdict.REPRODUCED)
    path = store.root / "figures" / "beta.json"
    if damage == "garbage":
        path.write_bytes(b"{\xff")
    elif damage == "not a record":
        path.write_text(
            json.dumps({**json.loads(path.read_text()), "claims": [{"verdict": "yes"}]})
        )
    elif damage == "no picture":
        path.with_suffix(".png").unlink()
    else:
        path.write_text(path.with_name("alpha.json").read_text())
    with pytest.warns(StoreWarning, match=r"beta\.json is left out"):
        page = Page(write_report(store.root))
    assert "alpha" in page.ids
    assert "beta" not in page.ids


def test_an_empty_report_says_how_to_fill_it(store: Store) -> None:
    assert "fenchel figures makes them" in Page(write_report(store.root)).text
