"""Ensembles as C: compiled, and called on rows on both sides of each threshold."""

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fenchel.mdp.gbrl import TreeEnsemble, TreeParams
from fenchel.mdp.gbrl.export import to_c

CC = shutil.which("cc")
FLAGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC")
PRECISIONS = ("float", "int16", "int8")
ROUNDING = 2.0**-24  # of float, relative
every_growth = pytest.mark.parametrize("growth", ["oblivious", "greedy"])
every_precision = pytest.mark.parametrize("precision", PRECISIONS)
needs_compiler = pytest.mark.skipif(CC is None, reason="no C compiler")


def boosted(
    growth: Any, *, n_trees: int = 60, D: int = 2, depth: int = 4, categorical: Any = (3,)
) -> TreeEnsemble:
    rng = np.random.default_rng(0)
    X = rows(rng, 200)
    Y = np.stack([np.sin(X[:, 0]) * X[:, 1], 10 * (X[:, 3] == 2) + X[:, 2], X[:, 0]], axis=1)
    ensemble = TreeEnsemble(
        D,
        TreeParams(depth, grow=growth),
        learning_rate=[0.3, 0.1, 0.2][:D],
        bias=[1.0, -20.0, 0.0][:D],
        categorical=categorical,
    )
    for _ in range(n_trees):
        ensemble.step(X, ensemble.predict(X) - Y[:, :D])
    return ensemble


def rows(rng: np.random.Generator, n: int) -> Any:
    """Multiples of ¼, so that many are thresholds of trees; the last feature has categories."""
    X = np.rint(4 * rng.normal(size=(n, 4))) / 4
    X[:, 3] = rng.integers(-1, 6, size=n)
    return X.astype(np.float32)


def compiled(header: Path, X: Any, D: int, name: str = "predict") -> Any:
    """What the function says of rows, (n, D)."""
    assert CC is not None
    source, library = (header.with_name(f"{header.stem}_{name}.{end}") for end in ("c", "so"))
    source.write_text(
        f'#include "{header.name}"\n#include "{header.name}"\n'
        "void run(const float *x, float *out, long n);\n"
        "void run(const float *x, float *out, long n) {\n"
        "    for (long i = 0; i < n; i++)\n"
        f"        {name}(x + i * {name}_n_features, out + i * {name}_n_outputs);\n}}\n"
    )
    command = [CC, *FLAGS, str(source), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    X, out = np.ascontiguousarray(X, np.float32), np.full((len(X), D), np.nan, np.float32)
    run = ctypes.CDLL(str(library)).run
    run.argtypes, run.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long], None
    run(X.ctypes.data, out.ctypes.data, len(X))
    return out


def tolerance(ensemble: TreeEnsemble, X: Any, precision: str) -> Any:
    """The bound of `to_c`, and 1e-12 of it for what is of second order or added in double."""
    state = ensemble.state()
    c = np.abs(state["rates"][:, None, :] * state["values"].astype(np.float64))  # (T, leaves, D)
    F = np.abs(ensemble.predict(X))
    if precision == "float":
        leaves = sum(
            np.abs(ensemble.predict(X, t, t + 1) - ensemble.bias) for t in range(ensemble.n_trees)
        )
        bound = ROUNDING * (leaves + F)
    else:
        most = {"int16": 32767, "int8": 127}[precision]
        half_steps = len(c) * c.max(axis=(0, 1), initial=0.0) / most / 2
        bound = half_steps + ROUNDING * (F + half_steps)
    return bound * (1 + 1e-6) + 1e-12 * (F + 1)


@needs_compiler
@every_precision
@pytest.mark.parametrize("categorical", [(), (3,)])
@every_growth
def test_compiled_outputs_are_the_predictions(
    growth: Any, categorical: Any, precision: Any, tmp_path: Path
) -> None:
    ensemble = boosted(growth, categorical=categorical)
    to_c(ensemble, tmp_path / "predict.h", precision=precision)
    X = rows(np.random.default_rng(1), 5000)
    X[:1000, :3] *= 1e30  # far away
    error = np.abs(compiled(tmp_path / "predict.h", X, 2) - ensemble.predict(X))
    assert (error <= tolerance(ensemble, X, precision)).all()
    assert error.max() > 0  # the bound means something


@needs_compiler
@every_precision
@every_growth
def test_rows_go_to_the_same_leaves(growth: Any, precision: Any, tmp_path: Path) -> None:
    """With a number for each leaf in all outputs together no other leaf has the same output."""
    ensemble = boosted(growth, n_trees=1, depth=3)
    state = ensemble.state()
    state["values"][0] = np.stack([np.arange(8), np.arange(8)[::-1]], axis=1)
    state |= {"rates": np.array([[-1.0, -0.5]]), "bias": np.zeros(2)}
    ensemble = TreeEnsemble.from_state(state)
    to_c(ensemble, tmp_path / "tree.h", "tree", precision=precision)
    X = rows(np.random.default_rng(1), 5000)
    out = compiled(tmp_path / "tree.h", X, 2, "tree")
    step = {"float": 0, "int16": 7 / 32767, "int8": 7 / 127}[precision]
    np.testing.assert_allclose(out, ensemble.predict(X), rtol=1e-6, atol=step / 2)
    assert len(np.unique(out[:, 0])) >= 6


@needs_compiler
@every_precision
def test_one_output_and_many_features(precision: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 300))  # numbers of features need two bytes
    ensemble = TreeEnsemble(1, TreeParams(3), bias=[1e3])
    for _ in range(20):
        ensemble.step(X, rng.normal(size=(100, 1)))
    assert ensemble.state()["features"].max() > 255
    to_c(ensemble, tmp_path / "model.h", "_f_2", precision=precision)
    out = compiled(tmp_path / "model.h", X, 1, "_f_2")
    assert (np.abs(out - ensemble.predict(X)) <= tolerance(ensemble, X, precision)).all()


@needs_compiler
@every_precision
@every_growth
def test_levels_without_a_test_go_left(growth: Any, precision: Any, tmp_path: Path) -> None:
    """A batch of three values has three tests, and here four levels; the feature has categories."""
    X = np.arange(3.0)[:, None]
    ensemble = TreeEnsemble(1, TreeParams(4, grow=growth), learning_rate=1.0, categorical=[0])
    ensemble.step(X, X - 1)
    assert np.isinf(ensemble.state()["thresholds"]).any()
    to_c(ensemble, tmp_path / "model.h", precision=precision)
    out = compiled(tmp_path / "model.h", [[0.0], [1.0], [2.0], [3.0], [2.0**24]], 1)
    expected = ensemble.predict([[0.0], [1.0], [2.0], [3.0], [2.0**24]])
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=1e-6)


@needs_compiler
@every_precision
def test_without_trees_the_bias_is_all(precision: Any, tmp_path: Path) -> None:
    ensemble = TreeEnsemble(2, bias=[1.5, -2.25])
    ensemble.n_features = 3
    to_c(ensemble, tmp_path / "model.h", precision=precision)
    out = compiled(tmp_path / "model.h", np.ones((4, 3)), 2)
    np.testing.assert_array_equal(out, np.tile([1.5, -2.25], (4, 1)))


@needs_compiler
@every_precision
def test_extreme_leaves_are_written(precision: Any, tmp_path: Path) -> None:
    """Of the smallest and the largest floats, of an output that is 0, and many equal trees."""
    ensemble = boosted("oblivious", n_trees=1, D=3)
    state = ensemble.state()
    state["values"][0] = [[1e-45, 3e38, 0.0]] * 16
    state |= {"rates": np.ones((1, 3)), "bias": np.zeros(3)}
    to_c(TreeEnsemble.from_state(state), tmp_path / "one.h", "one", precision=precision)
    out = compiled(tmp_path / "one.h", rows(np.random.default_rng(0), 5), 3, "one")
    smallest, largest = np.float32(1e-45), np.float32(3e38)
    np.testing.assert_allclose(out, np.tile([-smallest, -largest, 0], (5, 1)), rtol=1e-6, atol=0)


@needs_compiler
def test_sums_of_integers_do_not_overflow(tmp_path: Path) -> None:
    """All 70 000 leaves are the largest, and 32767 times as many are more than 2^31."""
    state = boosted("oblivious", n_trees=1, D=1, depth=1).state()
    state["values"][:] = -1.0
    for name in ("features", "thresholds", "values", "counts"):
        state[name] = np.repeat(state[name], 70_000, axis=0)
    state["rates"] = np.ones((70_000, 1))
    to_c(TreeEnsemble.from_state(state), tmp_path / "many.h", "many", precision="int16")
    assert "long long sum" in (tmp_path / "many.h").read_text()
    out = compiled(tmp_path / "many.h", np.zeros((1, 4)), 1, "many")
    np.testing.assert_allclose(out, [[70_001.0]], rtol=1e-6)


@needs_compiler
def test_two_headers_go_together_and_include_nothing(tmp_path: Path) -> None:
    ensembles = {"actor": boosted("greedy", n_trees=3), "critic": boosted("oblivious", n_trees=3)}
    for name, ensemble in ensembles.items():
        to_c(ensemble, tmp_path / f"{name}.h", name)
        assert "#include" not in (tmp_path / f"{name}.h").read_text()
    both = tmp_path / "both.h"
    both.write_text('#include "actor.h"\n#include "critic.h"\n')
    X = rows(np.random.default_rng(2), 100)
    for name, ensemble in ensembles.items():
        np.testing.assert_allclose(compiled(both, X, 2, name), ensemble.predict(X), rtol=1e-5)


def test_smaller_leaves_make_smaller_files(tmp_path: Path) -> None:
    for precision in PRECISIONS:
        to_c(boosted("oblivious"), tmp_path / precision, precision=precision)  # type: ignore[arg-type]
    sizes = [(tmp_path / precision).stat().st_size for precision in PRECISIONS]
    assert sizes[0] > 1.5 * sizes[1] > 1.5 * sizes[2]


def test_bad_input_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "model.h"
    ensemble = boosted("oblivious", n_trees=1)
    for name in ("", "2f", "a-b", "a b", "é", "double", "f\n", "main"):
        with pytest.raises(ValueError, match="name must be a C identifier"):
            to_c(ensemble, path, name)
    with pytest.raises(ValueError, match=r"precision must be one of .*, got 'half'"):
        to_c(ensemble, path, precision="half")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_features, got None; fit a tree first"):
        to_c(TreeEnsemble(2), path)
    state = ensemble.state()
    huge = TreeEnsemble.from_state(state | {"rates": state["rates"] * 1e300})
    with pytest.raises(ValueError, match=r"finite in float32, got .*; scale"):
        to_c(huge, path)
    with pytest.raises(ValueError, match='trees that add up, got optimizer "adam"'):
        to_c(TreeEnsemble(2, optimizer="adam"), path)
    assert not path.exists()
