"""What is kept of a figure beside its picture: `<root>/figures/NAME.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from .claims import Verdict


@dataclass(frozen=True)
class ClaimRecord:
    """A measured claim; the ends of `interval` may be infinite (in JSON: "inf", "-inf")."""

    statement: str
    paper: str
    value: float
    interval: tuple[float, float]
    verdict: Verdict
    detail: str = ""


@dataclass(frozen=True)
class FigureRecord:
    """How a figure was made and what its claims came to.

    Attributes:
        name: of the figure, its script and its files.
        title: one line.
        paper: whose result it is.
        experiment: name of what was run.
        preset: "quick", "standard" or "paper".
        settings: all settings, overrides included.
        n_runs: runs that it rests on.
        seconds: their wall time, summed, those that were in the store included.
        commit: of the fenchel that made the runs, if known.
        command: makes the figure again.
        created: UTC time, ISO 8601.
        versions: of the packages that drew it.
        claims: in the order of the figure.
        notes: measured facts that no paper claims.
    """

    name: str
    title: str
    paper: str
    experiment: str
    preset: str
    settings: Mapping[str, Any]
    n_runs: int
    seconds: float
    commit: str | None
    command: str
    created: str
    versions: Mapping[str, str]
    claims: tuple[ClaimRecord, ...]
    notes: tuple[str, ...] = ()

    def count(self, verdict: Verdict) -> int:
        """How many claims have this verdict."""
        return sum(claim.verdict is verdict for claim in self.claims)

    def to_json(self) -> str:
        """The record as strict JSON."""
        record = asdict(self)
        for claim in record["claims"]:
            claim["value"] = _finite(claim["value"])
            claim["interval"] = [_finite(end) for end in claim["interval"]]
        return json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> FigureRecord:
        """The inverse of `to_json`.

        Raises:
            ValueError: `text` is not the JSON of a record; says what is missing or wrong.
        """
        record = json.loads(text)
        names = {field.name for field in fields(cls)}
        if isinstance(record, dict):
            record.setdefault("notes", ())  # records of before had none
        if not isinstance(record, dict) or not names <= set(record):
            missing = names - set(record) if isinstance(record, dict) else names
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        try:
            record["claims"] = tuple(
                ClaimRecord(
                    statement=str(claim["statement"]),
                    paper=str(claim["paper"]),
                    value=float(claim["value"]),
                    interval=(float(claim["interval"][0]), float(claim["interval"][1])),
                    verdict=Verdict(claim["verdict"]),
                    detail=str(claim["detail"]),
                )
                for claim in record["claims"]
            )
            record["notes"] = tuple(map(str, record["notes"]))
            record["seconds"] = float(record["seconds"])
            record["settings"] = dict(record["settings"])
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"its entries do not fit ({type(error).__name__}: {error})") from None
        return cls(**{name: record[name] for name in names})


def number(value: float) -> str:
    """Four digits for readers, with a minus sign and signed infinities."""
    return f"{value:.4g}".replace("inf", "∞").replace("-", "−")


def _finite(number: float) -> float | str:
    return number if abs(number) < float("inf") else str(number)
