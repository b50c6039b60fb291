"""Ensembles: sums of trees, boosting, files, and the peer."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fenchel.experiments.benchmarks.gbrl import reference
from fenchel.mdp.gbrl import TreeEnsemble, TreeParams

GROWTHS = ("oblivious", "greedy")
every_growth = pytest.mark.parametrize("growth", GROWTHS)


def problem(n: int = 300, seed: int = 0) -> tuple[Any, Any]:
    """The last feature is categorical."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)).astype(np.float32)
    X[:, 3] = rng.integers(0, 4, size=n)
    y = np.stack([np.sin(2 * X[:, 0]) * X[:, 1], (X[:, 3] == 2) + X[:, 2]], axis=1)
    return X, y.astype(np.float64)


def boosted(growth: Any = "oblivious", n_trees: int = 30, **more: Any) -> TreeEnsemble:
    X, y = problem()
    params = TreeParams(3, grow=growth)
    ensemble = TreeEnsemble(2, params, learning_rate=[0.3, 0.1], categorical=[3], **more)
    for _ in range(n_trees):
        ensemble.step(X, ensemble.predict(X) - y)
    return ensemble


# sums


@every_growth
def test_outputs_are_the_bias_less_the_leaves_at_their_rates(growth: Any) -> None:
    ensemble = boosted(growth, bias=[1.0, -2.0])
    X, _ = problem(50, seed=1)
    expected = np.tile([1.0, -2.0], (50, 1))
    for t in range(ensemble.n_trees):
        tree = ensemble.tree(t)
        for i, x in enumerate(X):
            path = 0
            for level in range(3):
                number = level if growth == "oblivious" else 2**level - 1 + path
                f, v = tree.features[number], tree.thresholds[number]
                path = 2 * path + int(x[f] == v if f == 3 else x[f] > v)
            expected[i] -= np.array([0.3, 0.1]) * tree.values[path]
    np.testing.assert_allclose(ensemble.predict(X), expected, atol=1e-6)


@every_growth
def test_ranges_of_trees_add_up(growth: Any) -> None:
    ensemble = boosted(growth, bias=[1.0, -2.0])
    X, _ = problem(300, seed=1)
    parts = ensemble.predict(X, 0, 13) + ensemble.predict(X, 13) - ensemble.bias
    np.testing.assert_allclose(ensemble.predict(X), parts, atol=1e-12)
    np.testing.assert_array_equal(ensemble.predict(X, 5, 5), np.tile(ensemble.bias, (300, 1)))


def test_sums_kept_up_to_date_are_fresh_ones() -> None:
    X, y = problem()
    ensemble = TreeEnsemble(2, TreeParams(3), learning_rate=0.1, categorical=[3])
    rows, kept = X, np.zeros((300, 2))
    for _ in range(40):
        ensemble.step(X, kept - y)
        ensemble.add(rows, kept, ensemble.n_trees - 1)
    np.testing.assert_allclose(kept, ensemble.predict(X), atol=1e-12)


def test_backends_give_the_same_function() -> None:
    one, other = (boosted(backend=backend, n_trees=5) for backend in ("numba", "numpy"))
    X, _ = problem(100, seed=2)
    np.testing.assert_allclose(one.predict(X), other.predict(X), atol=1e-6)


def test_outputs_stay_in_bounds_far_away() -> None:
    ensemble = boosted()
    bound = sum(0.3 * np.abs(ensemble.tree(t).values).max() for t in range(ensemble.n_trees))
    far = 1e6 * np.random.default_rng(0).normal(size=(100, 4))
    far[:, 3] = 17.0
    assert np.abs(ensemble.predict(far)).max() <= bound


# boosting


@every_growth
@pytest.mark.parametrize("rate", [0.3, 1.0, 1.9])
def test_each_tree_lowers_the_squared_error_by_its_share(growth: Any, rate: float) -> None:
    """A tree is a projection: ‖g‖² falls by (2η − η²) Σ n ‖m‖²."""
    X, y = problem()
    ensemble = TreeEnsemble(2, TreeParams(3, grow=growth), learning_rate=rate, categorical=[3])
    before = y * 0 - y
    for t in range(20):
        ensemble.step(X, before)
        after = ensemble.predict(X) - y
        tree = ensemble.tree(t)
        explained = (tree.counts * (tree.values**2).sum(axis=1)).sum()
        fall = (before**2).sum() - (after**2).sum()
        assert fall == pytest.approx((2 * rate - rate**2) * explained, rel=1e-4)
        before = after


def test_fit_starts_at_the_mean_and_gets_better() -> None:
    X, y = problem()
    ensemble = TreeEnsemble(2, TreeParams(3, grow="greedy"), learning_rate=1.0, categorical=[3])
    losses = ensemble.fit(X, y, 100)
    np.testing.assert_allclose(ensemble.bias, y.mean(axis=0))
    assert ensemble.n_trees == 100
    assert all(after <= before for before, after in pairwise(losses))
    last = np.sqrt(0.5 * ((ensemble.predict(X) - y) ** 2).sum(axis=1).mean())
    assert losses[-1] == pytest.approx(last, rel=1e-6)
    assert last < 0.2 * y.std()
    more = ensemble.fit(X, y, 10, batch_size=64, seed=1)
    assert len(more) == 10
    assert ensemble.n_trees == 110


def test_tables_are_learned_exactly() -> None:
    """With all states in the batch, and |S| − 1 levels, a step is the tabular one."""
    states = np.arange(8, dtype=np.float32)[:, None]
    gradients = np.random.default_rng(0).normal(size=(8, 3))
    ensemble = TreeEnsemble(3, TreeParams(7, grow="greedy"), learning_rate=0.5)
    for _ in range(3):
        before = ensemble.predict(states)
        ensemble.step(states, gradients)
        np.testing.assert_allclose(ensemble.predict(states), before - 0.5 * gradients, atol=1e-6)


def test_the_same_calls_give_the_same_trees() -> None:
    one, other = boosted(), boosted()
    for name, array in one.state().items():
        np.testing.assert_array_equal(array, other.state()[name])


# files


@every_growth
def test_files_hold_everything(growth: Any, tmp_path: Path) -> None:
    ensemble = boosted(growth, bias=[0.5, 0.0])
    ensemble.save(tmp_path / "trees.npz")
    loaded = TreeEnsemble.load(tmp_path / "trees.npz")
    X, y = problem(100, seed=3)
    np.testing.assert_array_equal(loaded.predict(X), ensemble.predict(X))
    assert loaded.params == ensemble.params
    for one in (loaded, ensemble):
        one.step(X, one.predict(X) - y)
    np.testing.assert_array_equal(loaded.predict(X), ensemble.predict(X))


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.npz"
    boosted(n_trees=2).save(good)
    broken = tmp_path / "broken.npz"
    broken.write_bytes(good.read_bytes()[:200])
    other = tmp_path / "other.npz"
    np.savez(other, a=np.zeros(3))
    newer = tmp_path / "newer.npz"
    np.savez(newer, **(boosted(n_trees=1).state() | {"version": np.array(99)}))
    for path, words in ((broken, "must be a file"), (other, "must be a file"), (newer, "version")):
        with pytest.raises(ValueError, match=words):
            TreeEnsemble.load(path)
    with pytest.raises(FileNotFoundError):
        TreeEnsemble.load(tmp_path / "missing.npz")


# the door


def test_bad_input_says_what_to_do() -> None:
    X, y = problem(20)
    ensemble = TreeEnsemble(2, TreeParams(2), categorical=[3])
    bad_X, bad_y, half = X.copy(), y.copy(), X.copy()
    bad_X[3, 1], bad_y[2, 0], half[0, 3] = np.nan, np.inf, 0.5
    for rows, gradients, words in (
        (bad_X, y, "X must be finite .* row 3"),
        (X, bad_y, "gradients must be finite"),
        (half, y, "integers"),
        (X[:, 0], y, "X must have shape"),
        (X, y[:, :1], "gradients must have shape"),
        (X[:0], y[:0], "at least one row"),
    ):
        with pytest.raises(ValueError, match=words):
            ensemble.step(rows, gradients)
    with pytest.raises(TypeError, match="encode"):
        ensemble.step(X.astype(str), y)
    ensemble.step(X, y)
    with pytest.raises(ValueError, match=r"X must have shape \(n, 4\)"):
        ensemble.predict(X[:, :3])
    with pytest.raises(ValueError, match="categorical must be less"):
        TreeEnsemble(2, categorical=[4]).step(X, y)
    for settings, words in (
        ({"n_outputs": 0}, "n_outputs"),
        ({"n_outputs": 2, "learning_rate": [0.1]}, "learning_rate must have shape"),
        ({"n_outputs": 2, "bias": [np.nan, 0.0]}, "bias must be finite"),
        ({"n_outputs": 2, "backend": "cuda"}, "backend must be one of"),
        ({"n_outputs": 2, "categorical": [-1]}, "categorical"),
    ):
        with pytest.raises(ValueError, match=words):
            TreeEnsemble(**settings)  # type: ignore[arg-type]


# the peer


def predictions(X: Any, Y: Any, n_steps: int, params: TreeParams) -> Any:
    """Of NVlabs/gbrl after steps on ½ ‖F − Y‖², rate 0.1; X may hold strings."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("gbrl")
    model = reference(X.shape[1], Y.shape[1], params)
    for _ in range(n_steps):
        output = model(X, requires_grad=True)
        loss = 0.5 * ((output.reshape(Y.shape) - torch.tensor(Y)) ** 2).sum() / len(X)
        loss.backward()
        model.step()
    return model(X, requires_grad=False).detach().numpy().reshape(Y.shape)


@pytest.mark.parametrize("generator", ["quantile", "uniform"])
@pytest.mark.parametrize("score", ["cosine", "l2"])
@every_growth
def test_ensembles_are_those_of_the_reference(growth: Any, score: Any, generator: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(700, 5)).astype(np.float32)
    Y = np.stack([np.sin(X[:, 0]) * X[:, 1], X[:, 2] ** 2], axis=1).astype(np.float32)
    for D in (1, 2):
        params = TreeParams(grow=growth, score=score, generator=generator)
        theirs = predictions(X, Y[:, :D], 20, params)
        ours = TreeEnsemble(D, params, learning_rate=0.1)
        for _ in range(20):
            ours.step(X, ours.predict(X) - Y[:, :D])
        np.testing.assert_allclose(ours.predict(X), theirs, atol=5e-6)


@pytest.mark.parametrize("score", ["cosine", "l2"])
@every_growth
def test_categories_are_those_of_the_reference(growth: Any, score: Any) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 4)).astype(np.float32)
    X[:, 2:] = rng.integers(0, 6, size=(400, 2))
    Y = np.stack([np.sin(X[:, 0]) + (X[:, 2] == 3), (X[:, 3] == 1) * X[:, 1]], axis=1)
    Y = Y.astype(np.float32)
    words = X.astype(object)
    words[:, 2:] = [[f"c{int(v)}" for v in row] for row in X[:, 2:]]
    params = TreeParams(grow=growth, score=score)
    theirs = predictions(words, Y, 20, params)
    ours = TreeEnsemble(2, params, learning_rate=0.1, categorical=[2, 3])
    for _ in range(20):
        ours.step(X, ours.predict(X) - Y)
    np.testing.assert_allclose(ours.predict(X), theirs, atol=5e-6)
