"""Growth and sums of trees by torch: the trees of the compiled builder, and their sums."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from fenchel.mdp.gbrl import TreeParams, grow, grow_torch, oracle  # noqa: E402
from fenchel.mdp.gbrl.predict import add_greedy, add_oblivious  # noqa: E402
from fenchel.mdp.gbrl.trees import NEVER, Tree, n_tests  # noqa: E402

ARMS = list(product(("oblivious", "greedy"), ("cosine", "l2")))
every_arm = pytest.mark.parametrize(("growth", "score"), ARMS)
every_growth = pytest.mark.parametrize("growth", ["oblivious", "greedy"])
every_generator = pytest.mark.parametrize("generator", ["quantile", "uniform"])
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def data(n: int, F: int, D: int, seed: int, cats: int = 0) -> tuple[Any, Any, Any]:
    """Rows, gradients and which features are categorical: any of them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, F)).astype(np.float32)
    categorical = rng.permutation(F) < cats
    X[:, categorical] = rng.integers(0, 5, size=(n, cats))
    return X, rng.normal(size=(n, D)), categorical


def assert_equal(ours: Tree, theirs: Tree) -> None:
    np.testing.assert_array_equal(ours.features, theirs.features)
    np.testing.assert_array_equal(ours.thresholds, theirs.thresholds)
    np.testing.assert_array_equal(ours.counts, theirs.counts)
    np.testing.assert_allclose(ours.values, theirs.values, rtol=0, atol=1e-12)
    for name in ("features", "thresholds", "counts", "values"):
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype


# Two complementary tests have the same score but for rounding, and every node of two rows has them.
# The trees agree since all sums are added in the same order, and not since ties are rare.
@every_arm
@every_generator
@pytest.mark.parametrize("D", [1, 3])
@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 60),
    F=st.integers(1, 4),
    depth=st.integers(1, 4),
    n_bins=st.sampled_from([1, 3, 8, 256]),
    min_data=st.sampled_from([0, 1, 3]),
    cats=st.integers(0, 4),
    weighted=st.booleans(),
    rounded=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_the_trees_are_those_of_the_compiled_builder(
    growth: Any, score: Any, generator: Any, D: int, n: int, F: int, depth: int, n_bins: int,
    min_data: int, cats: int, weighted: bool, rounded: bool, seed: int,
) -> None:  # fmt: skip
    X, G, categorical = data(n, F, D, seed, min(cats, F))
    X = np.round(X) if rounded else X  # many equal values, and equal partitions
    weights = tuple(np.random.default_rng(seed).random(F)) if weighted else None
    params = TreeParams(depth, n_bins, min_data, growth, score, generator, weights)
    assert_equal(grow_torch.grow(X, G, params, categorical), grow.grow(X, G, params, categorical))


@every_arm
@every_generator
def test_and_for_more_rows(growth: Any, score: Any, generator: Any) -> None:
    X, G, categorical = data(3000, 6, 3, 0, cats=2)
    params = TreeParams(5, 64, 2, growth, score, generator)
    assert_equal(grow_torch.grow(X, G, params, categorical), grow.grow(X, G, params, categorical))


@every_arm
def test_and_by_the_definition(growth: Any, score: Any) -> None:
    X, G, categorical = data(200, 3, 2, 1, cats=1)
    params = TreeParams(2, 16, grow=growth, score=score)
    assert_equal(grow_torch.grow(X, G, params, categorical), oracle.grow(X, G, params, categorical))


@every_arm
def test_tests_that_differ_by_rounding_are_decided_alike(growth: Any, score: Any) -> None:
    for seed in range(10):
        X, G, _ = data(200, 6, 9, seed)
        X = (X > 0).astype(np.float32)
        X, none = np.concatenate([X, 1 - X], axis=1), np.zeros(12, np.bool_)  # sides change places
        params = TreeParams(5, 3, grow=growth, score=score)
        assert_equal(grow_torch.grow(X, G, params, none), grow.grow(X, G, params, none))


@every_arm
def test_of_equal_columns_the_first_one_counts(
    growth: Any, score: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, G, _ = data(150, 1, 4, 2)
    X, none = np.repeat(X, 9, axis=1), np.zeros(9, np.bool_)
    params = TreeParams(4, grow=growth, score=score)
    tree = grow_torch.grow(X, G, params, none)
    assert_equal(tree, grow.grow(X, G, params, none))
    monkeypatch.setattr(grow_torch, "_MOST", 1)  # in parts, too
    assert_equal(tree, grow_torch.grow(X, G, params, none))
    # the same test again, of an equal column, leaves one side of every node empty: never better
    assert set(tree.features.tolist()) == {0}


@every_growth
def test_numerical_features_come_first(growth: Any) -> None:
    rng = np.random.default_rng(2)
    X = np.repeat(rng.integers(0, 2, size=(50, 1)), 2, axis=1).astype(np.float32)
    G = rng.integers(-3, 4, size=(50, 2)).astype(np.float64)  # so that sums, and ties, are exact
    tree = grow_torch.grow(X, G, TreeParams(1, grow=growth), np.array([True, False]))
    assert (tree.features.tolist(), tree.thresholds.tolist()) == ([1], [0.0])


@every_arm
@every_generator
def test_rows_without_a_choice(growth: Any, score: Any, generator: Any) -> None:
    rng = np.random.default_rng(3)
    X, G, categorical = data(40, 3, 2, 3, cats=1)
    params = TreeParams(3, 16, grow=growth, score=score, generator=generator)
    constant = np.ones_like(X)
    for rows, gradients in (
        (X[:1], G[:1]),
        (X[:2], G[:2]),
        (constant, G),
        (np.where(rng.random(3) < 0.5, X, constant), G),
        (X, np.zeros_like(G)),
        (X, np.ones_like(G)),
        (X[:5], G[:5]),  # fewer than bins
    ):
        for kinds in (categorical, np.zeros(3, np.bool_), np.ones(3, np.bool_)):
            assert_equal(
                grow_torch.grow(rows, gradients, params, kinds),
                grow.grow(rows, gradients, params, kinds),
            )
    nothing = TreeParams(3, min_data_in_leaf=21, grow=growth, score=score, generator=generator)
    tree = grow_torch.grow(X, G, nothing, categorical)
    assert (tree.thresholds == NEVER).all()
    assert (tree.values == 0).all()
    assert_equal(tree, grow.grow(X, G, nothing, categorical))


def test_few_categories_are_kept_by_their_gradients() -> None:
    X = np.repeat(np.arange(6, dtype=np.float32), 5)[:, None]
    G = np.repeat([0.1, 3.0, 0.2, -4.0, 0.3, 0.0], 5)[:, None]
    tree = grow_torch.grow(X, G, TreeParams(2, n_bins=2), np.array([True]))
    assert set(tree.thresholds.tolist()) == {1.0, 3.0}


@every_arm
def test_parts_make_the_whole(growth: Any, score: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    X, G, categorical = data(300, 7, 3, 4, cats=3)
    params = TreeParams(4, 32, grow=growth, score=score)
    whole = grow_torch.grow(X, G, params, categorical)
    for most in (1, 3 * 4 * 300):  # one feature at a time; three, at the first levels
        monkeypatch.setattr(grow_torch, "_MOST", most)
        parts = grow_torch.grow(X, G, params, categorical)
        assert_equal(parts, whole)
        np.testing.assert_array_equal(parts.values, whole.values)


@every_arm
def test_arrays_may_be_views_and_defaults_may_differ(growth: Any, score: Any) -> None:
    X, G, categorical = data(80, 4, 2, 5, cats=1)
    params = TreeParams(3, grow=growth, score=score)
    X, G = X[::-1, ::-1], G[::-1]
    X.flags.writeable = G.flags.writeable = False
    expected = grow.grow(np.ascontiguousarray(X), np.ascontiguousarray(G), params, categorical)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        assert_equal(grow_torch.grow(X, G, params, categorical), expected)
    finally:
        torch.set_default_dtype(before)


def ensemble(growth: Any, n_trees: int, D: int, seed: int) -> tuple[TreeParams, Any]:
    """Parameters; features, thresholds, values and rates of trees of any tests."""
    rng = np.random.default_rng(seed)
    params = TreeParams(3, grow=growth)
    shape = n_trees, n_tests(params)
    features = rng.integers(0, 4, shape).astype(np.int32)
    thresholds = np.round(2 * rng.normal(size=shape)).astype(np.float32)
    thresholds[rng.random(shape) < 0.1] = NEVER
    values = rng.normal(size=(n_trees, 8, D)).astype(np.float32)
    return params, (features, thresholds, values, rng.random((n_trees, D)))


def expected_sums(growth: Any, X: Any, categorical: Any, arrays: Any, part: slice) -> Any:
    features, thresholds, values, rates = (array[part] for array in arrays)
    out = np.ones((len(X), values.shape[2]))
    add = add_oblivious if growth == "oblivious" else add_greedy
    add(np.ascontiguousarray(X), features, thresholds, categorical, values, rates, out)
    return out


@every_growth
@pytest.mark.parametrize("D", [1, 3])
def test_sums_are_those_of_the_compiled_code(
    growth: Any, D: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, _, categorical = data(50, 4, D, 6, cats=2)
    X = np.round(X)  # so that values meet thresholds
    params, arrays = ensemble(growth, 40, D, 6)
    for most in (grow_torch._MOST, 7 * 50 * D, 1):  # all trees at once, seven, one
        monkeypatch.setattr(grow_torch, "_MOST", most)
        forest = grow_torch.Forest(params, categorical)
        for begin, end in ((0, 1), (1, 2), (2, 25), (25, 25), (25, 40)):
            forest.extend(*(array[begin:end] for array in arrays))
            assert forest.n_trees == end
            for start, stop in ((0, None), (0, end // 2), (end // 3, end), (end, None), (0, 99)):
                out = np.ones((50, D))
                forest.add(X, out, start, stop)
                part = slice(start, end if stop is None else min(stop, end))
                expected = expected_sums(growth, X, categorical, arrays, part)
                np.testing.assert_allclose(out, expected, rtol=0, atol=1e-12)
    none = np.empty((0, D))
    forest.add(X[:0], none)
    assert none.shape == (0, D)


@every_growth
def test_a_forest_without_trees_adds_nothing(growth: Any) -> None:
    forest = grow_torch.Forest(TreeParams(3, grow=growth), np.zeros(4, np.bool_))
    out = np.ones((2, 1))
    forest.add(np.zeros((2, 4), np.float32), out)
    assert (out == 1).all()


@cuda
@every_arm
@every_generator
def test_trees_of_the_gpu(growth: Any, score: Any, generator: Any) -> None:
    # leaves of many rows, as atomic sums decide between tests that differ by rounding alone
    X, G, categorical = data(4000, 6, 3, 7, cats=2)
    G[:, 0] += X[:, 0] + (X[:, 1] > 0.3)
    params = TreeParams(3, 64, 20, growth, score, generator)
    assert_equal(
        grow_torch.grow(X, G, params, categorical, "cuda"), grow.grow(X, G, params, categorical)
    )


@cuda
@every_growth
def test_sums_of_the_gpu(growth: Any) -> None:
    X, _, categorical = data(50, 4, 3, 8, cats=2)
    params, arrays = ensemble(growth, 40, 3, 8)
    forest = grow_torch.Forest(params, categorical, "cuda")
    for begin, end in ((0, 10), (10, 40)):
        forest.extend(*(array[begin:end] for array in arrays))
    out = np.ones((50, 3))
    forest.add(X, out, 5)
    expected = expected_sums(growth, X, categorical, arrays, slice(5, 40))
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-12)
