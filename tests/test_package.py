"""The package as a whole: what is shipped, what imports cost, and that `import ot` means POT."""

import os
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("core", "bandits", "mdp", "offline_rl", "ot", "experiments", "paper_figures")


def python(code: str, cwd: Path, *, path: str | None = None) -> str:
    environment = os.environ | ({} if path is None else {"PYTHONPATH": path})
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_nested_package_is_listed_for_the_wheel() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    present = {"fenchel"} | {
        ".".join(("fenchel", *init.parent.relative_to(ROOT).parts))
        for folder in FOLDERS
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert sorted(listed) == sorted(present)


def test_files_that_figures_read_are_shipped() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = data["package-data"]["fenchel.paper_figures"]
    shipped = {path for pattern in patterns for path in (ROOT / "paper_figures").glob(pattern)}
    banks = set((ROOT / "paper_figures" / "banks").iterdir())
    assert banks
    assert banks <= shipped
    assert sum(path.stat().st_size for path in banks) < 1_000_000


def test_plain_import_ot_means_pot_also_at_the_root_of_the_repository() -> None:
    pytest.importorskip("ot")
    seen = python("import ot, ot.bregman; print(hasattr(ot, 'emd'), ot.__file__)", ROOT)
    assert seen.startswith("True")
    assert str(ROOT / "ot" / "__init__.py") not in seen
    both = python("import ot, fenchel.ot; print(ot is not fenchel.ot, hasattr(ot, 'emd'))", ROOT)
    assert both.split() == ["True", "True"]


def test_without_pot_plain_import_ot_says_what_to_install(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path = [{str(ROOT)!r}] + [p for p in sys.path if 'site-packages' not in p and p]
try:
    import ot
except ModuleNotFoundError as error:
    print(error.name, 'pip install POT' in str(error), 'fenchel.ot' in str(error))
"""
    assert python(code, tmp_path).split() == ["ot", "True", "True"]


def test_importing_the_theory_side_loads_neither_torch_nor_cvxpy_nor_sb3(tmp_path: Path) -> None:
    code = "import sys, fenchel.bandits, fenchel.core.potentials; print(*sys.modules)"
    loaded = {name.split(".")[0] for name in python(code, tmp_path).split()}
    assert not loaded & {"torch", "cvxpy", "stable_baselines3", "matplotlib", "pandas", "jax"}
    assert "numba" in loaded  # the list is not empty for another reason


def test_readme_snippets_run(tmp_path: Path) -> None:
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert snippets
    for snippet in snippets:
        python("import matplotlib; matplotlib.use('Agg')\n" + snippet, tmp_path)


def test_versions_agree() -> None:
    import fenchel

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == fenchel.__version__
    assert f"version: {fenchel.__version__}" in (ROOT / "CITATION.cff").read_text()


def test_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    normal = lambda name: re.sub(r"[-_.]+", "-", name).lower()  # noqa: E731
    pins = [line.split("==") for line in (ROOT / "constraints.txt").read_text().split()]
    assert all(len(pin) == 2 for pin in pins)
    pinned = {normal(name) for name, _ in pins}
    missing = {normal(re.split(r"[\[<>=]", item)[0]) for item in wanted} - pinned
    assert not missing
    assert ["torch", "2.13.0"] in pins
