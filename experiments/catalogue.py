"""The table of learners in docs/bandits.md, from the code.

    python -m fenchel.experiments.catalogue

A row for each public learner of `fenchel.bandits`: its setting is read off the feedback that its
`update` takes, its bound off the first line of its `guarantee`, its source off the reference there
or in its module; it is tested where a file under tests/bandits names it.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

from ..bandits.linear import MatrixFeedback, PointFeedback
from ..core import Learner
from ..core.environment import BanditFeedback, FullFeedback, GradientFeedback

PACKAGES = ("fenchel.bandits", "fenchel.bandits.linear", "fenchel.bandits.sea")
SETTINGS = {
    FullFeedback: "experts",
    BanditFeedback: "bandit",
    GradientFeedback: "convex optimisation",
    PointFeedback: "bandit on a convex body",
    MatrixFeedback: "losses on density matrices, told whole",
}
BEGIN, END = "<!-- learners: begin -->", "<!-- learners: end -->"


def learners() -> Iterator[tuple[str, type[Learner]]]:
    """Package and class of each public learner, in the order of the packages' lists."""
    seen = set()
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in sorted(module.__all__, key=str.lower):
            kind = getattr(module, name)
            if inspect.isclass(kind) and issubclass(kind, Learner) and kind not in seen:
                seen.add(kind)
                yield package, kind


def setting(package: str, kind: type[Learner]) -> str:
    """By the feedback that it learns from."""
    hints = typing.get_type_hints(kind.update, vars(sys.modules[kind.update.__module__]))
    name = SETTINGS[hints["feedback"]]
    if package.endswith("linear"):
        name = f"linear {name}"
    if kind.see is not Learner.see:
        name += ", contexts"
    return name


def bound(kind: type[Learner]) -> str:
    """The first sentence on its guarantee; whether it also has a path-wise inequality."""
    text = "none with explicit constants"
    if kind.guarantee is not Learner.guarantee:
        text = re.split(r";|\.(?:\s|$)", inspect.getdoc(kind.guarantee) or "")[0]
    if kind.pathwise is not Learner.pathwise:
        text += "; path-wise inequality"
    return " ".join(text.split()).replace("|", "\\|")


def reference(kind: type[Learner]) -> str:
    """Of its guarantee; else one that its docstring names, else the first of its module."""
    sources: list[str] = []
    if kind.guarantee is not Learner.guarantee:
        literal = r'\s*f?"([^"{]*)[^"]*"'  # one or more, joined
        for found in re.findall(
            rf"reference=\(?((?:{literal})+)", inspect.getsource(kind.guarantee)
        ):
            sources.append("".join(re.findall(literal, found[0])))
    named = re.search(r"\(([A-Z][^()]* \d{4})\)", kind.__doc__ or "")
    if sources or named:
        return str(sources[0] if sources else named[1]).strip(" (")  # type: ignore[index]
    doc = sys.modules[kind.__module__].__doc__ or ""
    found = re.search(r"References?:\s+(.+?)\..*?\b((?:19|20)\d\d)\b", doc, re.DOTALL)
    return f"{' '.join(found[1].split())} {found[2]}" if found else ""


def tested(kind: type[Learner], root: Path) -> str:
    """Files of the repository that name it."""
    word = re.compile(rf"\b{kind.__name__}\b")
    folder = root / "tests" / "bandits"
    return ", ".join(
        str(path.relative_to(folder).with_suffix("")).removeprefix("test_").replace("/test_", "/")
        for path in sorted(folder.rglob("test_*.py"))
        if word.search(path.read_text(encoding="utf-8"))
    )


def table(root: Path) -> str:
    """Markdown."""
    lines = ["| learner | setting | bound | proof, or source | tests |", "|---|---|---|---|---|"]
    for package, kind in learners():
        name = kind.__name__ if package == PACKAGES[0] else f"{package[16:]}.{kind.__name__}"
        cells = (f"`{name}`", setting(package, kind), bound(kind), reference(kind))
        lines.append(f"| {' | '.join(cells)} | {tested(kind, root)} |")
    return "\n".join(lines)


def renewed(text: str, root: Path) -> str:
    """The page with its table made anew."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table(root)}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    page = here / "docs" / "bandits.md"
    page.write_text(renewed(page.read_text(encoding="utf-8"), here), encoding="utf-8")
