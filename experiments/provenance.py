"""Where a result comes from: versions, the commit of fenchel's checkout, the device."""

from __future__ import annotations

import functools
import hashlib
import platform
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

ROOMS = ("core", "bandits", "mdp", "offline_rl", "ot")  # where the mathematics lives
PACKAGES = ("numpy", "scipy", "numba", "fenchel", "torch")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of those of `PACKAGES` that are installed; imports none of them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def checkout() -> dict[str, Any]:
    """Commit of the checkout that fenchel runs from, and whether files differ from it.

    The gallery does not count: its pictures are made by runs, not the other way round. Both are
    None where fenchel does not run from a checkout, or git cannot say.
    """
    root = Path(__file__).parents[1]
    commit = _git(root, "rev-parse", "--verify", "HEAD") if (root / ".git").exists() else None
    if not commit:
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": is_dirty(root)}


def is_dirty(root: Path) -> bool | None:
    """Whether files of a checkout differ from its commit; None: git cannot say."""
    changes = _git(root, "status", "--porcelain", "--", ".", ":!paper_figures/gallery")
    return None if changes is None else bool(changes)


def code_of(run: Callable[..., object]) -> str:
    """Sixteen hex digits of the code behind a run: fenchel's sources and the file of `run`.

    Drawing, storing and checking (`experiments`) do not count, nor does a function without a file
    of its own, as in a notebook: there only the library is told apart.
    """
    root = Path(__file__).parents[1]
    files = [path for folder in ROOMS for path in sorted((root / folder).rglob("*.py"))]
    code = getattr(run, "__code__", None)
    if code is not None and Path(code.co_filename).is_file():
        files.append(Path(code.co_filename))
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def device() -> str:
    """The accelerator that this process has used so far, else "cpu"."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return f"cuda ({torch.cuda.get_device_name()})"
    return "cpu"


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
