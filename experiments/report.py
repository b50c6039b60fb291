"""The report: one page with every figure that has been made, its claims and their verdicts."""

from __future__ import annotations

import base64
import json
import warnings
from datetime import UTC, datetime
from pathlib import Path

import jinja2

from .claims import Verdict
from .display import duration
from .errors import StoreWarning
from .files import make_writable, write_whole
from .records import FigureRecord, number
from .store import Store

# A sign and a word with each colour: the page reads without colours too.
BADGES = {
    Verdict.REPRODUCED: ("✓", "good"),
    Verdict.NOT_REPRODUCED: ("✗", "bad"),
    Verdict.INCONCLUSIVE: ("?", "open"),
}


def write_report(root: str | Path | None = None) -> Path:
    """Writes `<root>/report/index.html` and `report.json` from `<root>/figures`.

    The page is one file (pictures included) and links to the PDFs beside it. A figure whose record
    or picture cannot be read is left out, with a `StoreWarning`.

    Args:
        root: of the results; None: as `Store`.

    Returns:
        The path of the page.

    Raises:
        ValueError: the page cannot be written there.
    """
    root = Store(root).root
    make_writable(root / "report", "folder of the report")
    records, pictures = [], {}
    for path in sorted((root / "figures").glob("[!.]*.json")):
        try:
            record = FigureRecord.from_json(path.read_bytes())
            if record.name != path.stem:
                raise ValueError(f"it is the record of {record.name!r}")
            pictures[record.name] = base64.b64encode(path.with_suffix(".png").read_bytes()).decode()
        except (OSError, ValueError) as error:
            warnings.warn(f"{path} is left out: {error}", StoreWarning, stacklevel=2)
        else:
            records.append(record)
    created = datetime.now(UTC)
    totals = {str(verdict): sum(record.count(verdict) for record in records) for verdict in Verdict}
    template = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    ).from_string(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    page = template.render(
        records=records,
        pictures=pictures,
        totals=totals,
        badges=BADGES,
        created=f"{created:%Y-%m-%d %H:%M} UTC",
        duration=duration,
        number=number,
        Verdict=Verdict,
    )
    summary = {
        "created": created.isoformat(timespec="seconds"),
        "totals": totals,
        "figures": [json.loads(record.to_json()) for record in records],
    }
    folder = root / "report"
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / "report.json", f"{text}\n".encode())
    write_whole(folder / "index.html", page.encode())
    return folder / "index.html"
