"""Ensembles: sums of trees, boosting, files, and the peer."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fenchel.experiments.benchmarks.gbrl import reference
from fenchel.mdp.gbrl import LinearSchedule, TreeEnsemble, TreeParams

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
    kept = ensemble.follow(X)
    for _ in range(40):
        ensemble.step(X, kept.values - y)
        kept.update()
    np.testing.assert_allclose(kept.values, ensemble.predict(X), atol=1e-12)


@every_growth
def test_backends_give_the_same_function(growth: Any) -> None:
    pytest.importorskip("torch")
    ensembles = [boosted(growth, backend=b, n_trees=5) for b in ("numba", "numpy", "torch")]
    X, _ = problem(100, seed=2)
    for other in ensembles[1:]:
        np.testing.assert_allclose(ensembles[0].predict(X), other.predict(X), atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_torch_keeps_and_saves_what_numba_does(optimizer: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    X, y = problem()
    one, other = (
        TreeEnsemble(2, TreeParams(3), backend=backend, optimizer=optimizer, control_variates=True)
        for backend in ("numba", "torch")
    )
    for ensemble in (one, other):
        kept = ensemble.follow(X)
        for _ in range(20):
            ensemble.step(X, kept.values - y)
            kept.update()
        np.testing.assert_allclose(kept.values, ensemble.predict(X), atol=1e-12)
    other.save(tmp_path / "trees.npz")
    for loaded in (TreeEnsemble.load(tmp_path / "trees.npz"), other):
        np.testing.assert_allclose(loaded.predict(X), one.predict(X), atol=1e-9)
    assert TreeEnsemble.load(tmp_path / "trees.npz", backend="numba").backend == "numba"


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


def test_rows_that_are_followed_are_copies() -> None:
    X, y = problem()
    before = X.copy()
    ensemble = boosted(n_trees=2)
    ensemble.follow(X).put(np.array([0]), X[1:2])
    np.testing.assert_array_equal(X, before)
    assert len(y) == len(X)


def test_a_bias_may_be_set() -> None:
    ensemble = boosted(n_trees=2)
    X, _ = problem(5)
    before = ensemble.predict(X)
    ensemble.bias = [1, 2]  # type: ignore[assignment]
    np.testing.assert_allclose(ensemble.predict(X) - before, np.tile([1.0, 2.0], (5, 1)))
    with pytest.raises(ValueError, match="bias must have shape"):
        ensemble.bias = [1.0, 2.0, 3.0]  # type: ignore[assignment]


def test_a_wrong_first_call_leaves_no_trace() -> None:
    X, y = problem(20)
    ensemble = TreeEnsemble(2, TreeParams(2))
    with pytest.raises(ValueError, match="gradients must have shape"):
        ensemble.step(X.T, y)
    ensemble.predict(X[:, :2])
    ensemble.step(X, y)


def test_numbers_of_numpy_are_saved(tmp_path: Path) -> None:
    X, y = problem(20)
    params = TreeParams(np.int64(2))  # type: ignore[arg-type]
    rate = LinearSchedule(np.float32(0.1), 0.01, np.int64(5))  # type: ignore[arg-type]
    ensemble = TreeEnsemble(2, params, learning_rate=rate)
    ensemble.step(X, y)
    ensemble.save(tmp_path / "trees.npz")
    assert TreeEnsemble.load(tmp_path / "trees.npz").params == params
    with pytest.raises(ValueError, match="backend must be one of"):
        TreeEnsemble.load(tmp_path / "trees.npz", backend="gpu")


# rates, Adam, control variates


@every_growth
def test_rates_fall_along_a_line(growth: Any) -> None:
    X, y = problem()
    schedule = LinearSchedule(0.5, 0.1, 8)
    ensemble = TreeEnsemble(
        2, TreeParams(3, grow=growth), learning_rate=[schedule, 0.2], categorical=[3]
    )
    for _ in range(12):
        ensemble.step(X, ensemble.predict(X) - y)
    expected = [max(0.1, 0.5 - 0.4 * (t + 1) / 8) for t in range(12)]
    np.testing.assert_allclose(ensemble.state()["rates"][:, 0], expected, rtol=1e-15)
    np.testing.assert_array_equal(ensemble.state()["rates"][:, 1], 0.2)
    by_hand = -sum(
        np.array([expected[t], 0.2]) * ensemble.tree(t).values[leaves]
        for t, leaves in enumerate(ensemble.leaves(X).T)
    )
    np.testing.assert_allclose(ensemble.predict(X), by_hand, atol=1e-6)


@every_growth
def test_adam_goes_as_torch_does_along_the_leaves(growth: Any) -> None:
    """torch adds ε to √(v/(1 − β₂ᵗ)), we to √v: of no weight where v is large."""
    torch = pytest.importorskip("torch")
    X, y = problem()
    ensemble = TreeEnsemble(
        2, TreeParams(3, grow=growth), learning_rate=0.05, categorical=[3], optimizer="adam"
    )
    kept = ensemble.follow(X)
    for _ in range(25):
        ensemble.step(X, kept.values - 10 * y)
        kept.update()
    parameter = torch.zeros(300, 2, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([parameter], lr=0.05)
    for t, leaves in enumerate(ensemble.leaves(X).T):
        parameter.grad = torch.tensor(ensemble.tree(t).values[leaves])
        adam.step()
    np.testing.assert_allclose(ensemble.predict(X), parameter.detach(), atol=1e-4)
    np.testing.assert_allclose(kept.values, ensemble.predict(X), atol=1e-12)
    kept.put(np.array([2, 300]), X[:2])  # moments go with rows
    ensemble.step(X, y)
    kept.update()
    np.testing.assert_allclose(kept.values[[2, 300]], ensemble.predict(X[:2]), atol=1e-12)
    with pytest.raises(ValueError, match="start must be 0"):
        ensemble.predict(X, 3)


def test_control_variates_are_those_of_the_definition() -> None:
    ensemble = boosted(n_trees=6)
    X, y = problem()
    other = TreeEnsemble.from_state(ensemble.state())
    ensemble.control_variates = True
    G = ensemble.predict(X) - y
    K, leaves = 6, ensemble.leaves(X)
    mu = sum(0.1 * 0.9 ** (K - 1 - t) * ensemble.tree(t).values[leaves[:, t]] for t in range(K))
    mu = mu / np.sqrt(1 - 0.9**K)
    for d in range(2):
        covariance = np.cov(G[:, d], mu[:, d])
        alpha = np.clip(covariance[0, 1] / (covariance[1, 1] + 1e-8), -1, 1)
        G[:, d] -= alpha * (mu[:, d] - mu[:, d].mean())
    ensemble.step(X, ensemble.predict(X) - y)
    other.step(X, G)
    np.testing.assert_allclose(ensemble.tree(6).values, other.tree(6).values, atol=1e-6)
    np.testing.assert_array_equal(ensemble.tree(6).features, other.tree(6).features)


def test_a_student_is_near_its_teacher_and_goes_on() -> None:
    teacher = boosted(n_trees=200)
    X, y = problem()
    errors = []
    for n_trees in (10, 50, 250):
        student = teacher.distilled(X, n_trees, learning_rate=0.5, batch_size=None)
        assert student.n_trees == n_trees
        errors.append(np.sqrt(((student.predict(X) - teacher.predict(X)) ** 2).mean()))
    assert errors[0] < 0.5 * teacher.predict(X).std()
    assert all(after < 0.5 * before for before, after in pairwise(errors))
    student.step(X, student.predict(X) - y)
    np.testing.assert_array_equal(student.state()["rates"][-1], [0.3, 0.1])
    assert student.params == teacher.params


# files


@pytest.mark.parametrize("rate", [LinearSchedule(0.3, 0.1, 40), [LinearSchedule(1.0, 0.5, 9), 0.1]])
def test_files_hold_schedules(rate: Any, tmp_path: Path) -> None:
    X, y = problem()
    ensemble = TreeEnsemble(2, TreeParams(2), learning_rate=rate, optimizer="adam")
    ensemble.step(X, y)
    ensemble.save(tmp_path / "trees.npz")
    loaded = TreeEnsemble.load(tmp_path / "trees.npz")
    for one in (loaded, ensemble):
        one.step(X, y)
    np.testing.assert_array_equal(loaded.predict(X), ensemble.predict(X))
    np.testing.assert_array_equal(loaded.state()["rates"], ensemble.state()["rates"])


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
        (X, 1e39 * y, "finite in float32"),
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
        ({"n_outputs": 2, "learning_rate": [LinearSchedule(1, 1, 1)] * 3}, "learning_rate must be"),
        ({"n_outputs": 2, "device": "cuda"}, "device must be .cpu. for numba"),
        ({"n_outputs": 2, "learning_rate": -0.1}, "learning_rate must be at least 0"),
        ({"n_outputs": 2, "optimizer": "rmsprop"}, "optimizer must be one of"),
        ({"n_outputs": 2, "bias": [np.nan, 0.0]}, "bias must be finite"),
        ({"n_outputs": 2, "backend": "cuda"}, "backend must be one of"),
        ({"n_outputs": 2, "categorical": [-1]}, "categorical"),
    ):
        with pytest.raises(ValueError, match=words):
            TreeEnsemble(**settings)  # type: ignore[arg-type]


# the peer


def predictions(
    X: Any, Y: Any, n_steps: int, params: TreeParams, control_variates: bool = False
) -> Any:
    """Of NVlabs/gbrl after steps on ½ ‖F − Y‖², rate 0.1; X may hold strings."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("gbrl")
    model = reference(X.shape[1], Y.shape[1], params, control_variates=control_variates)
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


def test_control_variates_are_those_of_the_reference() -> None:
    """For one output; of more it mixes up rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 5)).astype(np.float32)
    Y = (np.sin(X[:, :1]) * X[:, 1:2] + rng.normal(size=(400, 1))).astype(np.float32)
    theirs = predictions(X, Y, 10, TreeParams(), control_variates=True)
    ours = TreeEnsemble(1, learning_rate=0.1, control_variates=True)
    without = TreeEnsemble(1, learning_rate=0.1)
    for _ in range(10):
        for one in (ours, without):
            one.step(X, one.predict(X) - Y)
    np.testing.assert_allclose(ours.predict(X), theirs, atol=1e-5)
    assert np.abs(without.predict(X) - theirs).max() > 0.01


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
