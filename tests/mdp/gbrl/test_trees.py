"""Growth of trees: the compiled builder against the definition, and what follows from it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenchel.mdp.gbrl import TreeParams, grow, oracle
from fenchel.mdp.gbrl.trees import NEVER, Tree, build_gradients, candidates

ARMS = [(g, s) for g in ("oblivious", "greedy") for s in ("cosine", "l2")]
every_arm = pytest.mark.parametrize(("growth", "score"), ARMS)
BUILDERS = {"numba": grow.grow, "numpy": oracle.grow}
every_builder = pytest.mark.parametrize("builder", BUILDERS.values(), ids=BUILDERS)


def data(n: int, F: int, D: int, seed: int, cats: int = 0) -> tuple[Any, Any, Any]:
    """Rows, gradients and which features are categorical: the last ones."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, F)).astype(np.float32)
    categorical = np.arange(F) >= F - cats
    X[:, categorical] = rng.integers(0, 5, size=(n, cats))
    return X, rng.normal(size=(n, D)), categorical


def leaves(tree: Tree, X: Any, categorical: Any, depth: int, growth: str) -> Any:
    """Of rows, by walking."""
    found = []
    for x in X:
        path = 0
        for level in range(depth):
            number = level if growth == "oblivious" else 2**level - 1 + path
            f, v = tree.features[number], tree.thresholds[number]
            path = 2 * path + int(x[f] == v if categorical[f] else x[f] > v)
        found.append(path)
    return np.array(found)


def regret(tree: Tree, X: Any, G: Any, params: TreeParams, categorical: Any) -> float:
    """By how much a test of a tree is worse than the best one at its place, by the definition."""
    B, weights, worst = build_gradients(G, params), params.weights(X.shape[1]), 0.0
    tests = [
        oracle.Test(f, v, bool(categorical[f]))
        for f, values in enumerate(candidates(X, G, params, categorical))
        for v in values
    ]
    oblivious = params.grow == "oblivious"
    nodes, used = np.zeros(len(X), int), {0: frozenset[Any]()}  # by node, on the way to it
    for level in range(params.depth):
        below: dict[int, frozenset[Any]] = {}
        following = 2 * nodes
        for place in [list(range(2**level))] if oblivious else [[k] for k in range(2**level)]:
            rows = np.isin(nodes, place)
            number = level if oblivious else 2**level - 1 + place[0]
            taken = oracle.Test(
                int(tree.features[number]),
                tree.thresholds[number],
                bool(categorical[tree.features[number]]),
            )
            for node in place:
                below[2 * node] = below[2 * node + 1] = used[node] | {taken}
            if not rows.any():
                continue
            scores = {
                test: weights[test.feature] * total
                for test in tests
                if test not in used[place[0]]
                and np.isfinite(
                    total := sum(
                        oracle.score(B[nodes == node], test.right(X[nodes == node]), params)
                        for node in place
                    )
                )
            }
            best = max(scores.values(), default=-np.inf)
            before = oracle.unsplit(B[rows], params) if level and not oblivious else 0.0
            if taken.value == NEVER:
                worst = max(worst, best - (np.inf if oblivious else before))
            else:
                worst = max(worst, best - scores[taken], before - scores[taken])
                following[rows] += taken.right(X[rows])
        nodes, used = following, below
    return worst


@every_arm
@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 60),
    F=st.integers(1, 4),
    D=st.integers(1, 3),
    depth=st.integers(1, 3),
    n_bins=st.sampled_from([3, 8, 256]),
    min_data=st.sampled_from([0, 1, 3]),
    generator=st.sampled_from(["quantile", "uniform"]),
    cats=st.integers(0, 2),
    weighted=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_the_compiled_builder_grows_the_trees_of_the_definition(
    growth: Any, score: Any, n: int, F: int, D: int, depth: int, n_bins: int, min_data: int,
    generator: Any, cats: int, weighted: bool, seed: int,
) -> None:  # fmt: skip
    X, G, categorical = data(n, F, D, seed, min(cats, F))
    weights = tuple(np.random.default_rng(seed).random(F)) if weighted else None
    params = TreeParams(depth, n_bins, min_data, growth, score, generator, weights)
    ours, literal = (builder(X, G, params, categorical) for builder in BUILDERS.values())
    same = np.array_equal(ours.features, literal.features)
    if same and np.array_equal(ours.thresholds, literal.thresholds):
        np.testing.assert_allclose(ours.values, literal.values, atol=1e-12)
        np.testing.assert_array_equal(ours.counts, literal.counts)
    else:  # of equal scores, rounding may prefer either
        assert regret(ours, X, G, params, categorical) < 1e-9
        assert regret(literal, X, G, params, categorical) < 1e-9


@every_arm
def test_trees_for_other_gradients_are_not_the_best(growth: Any, score: Any) -> None:
    X, G, categorical = data(40, 3, 2, 0, cats=1)
    params = TreeParams(3, grow=growth, score=score)
    tree = grow.grow(X, -G[::-1], params, categorical)
    assert regret(tree, X, G, params, categorical) > 1e-3


@every_builder
@every_arm
def test_leaves_are_means_and_the_rest_is_orthogonal(growth: Any, score: Any, builder: Any) -> None:
    X, G, categorical = data(80, 3, 2, 0, cats=1)
    tree = builder(X, G, TreeParams(3, grow=growth, score=score), categorical)
    where = leaves(tree, X, categorical, 3, growth)
    np.testing.assert_array_equal(np.bincount(where, minlength=8), tree.counts)
    h = tree.values[where]
    np.testing.assert_allclose((tree.counts[:, None] * tree.values).sum(axis=0), G.sum(axis=0))
    assert ((G - h) * h).sum() == pytest.approx(0.0, abs=1e-10)
    explained = (tree.counts * (tree.values**2).sum(axis=1)).sum()
    assert ((G - h) ** 2).sum() == pytest.approx((G**2).sum() - explained)


def test_the_cosine_is_the_root_of_the_sum_of_squares() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        B, right = rng.normal(size=(20, 3)), rng.random(20) < 0.4
        cosine, squares = (
            oracle.score(B, right, TreeParams(score=score)) for score in ("cosine", "l2")
        )
        assert cosine**2 == pytest.approx(squares, rel=1e-12)


@every_builder
def test_scales_of_gradients_matter_as_they_should(builder: Any) -> None:
    X, G, categorical = data(100, 3, 2, 1)
    scaled = G * [1.0, 50.0]
    l2 = TreeParams(3, score="l2")
    one, other = (builder(X, g, l2, categorical) for g in (G, scaled))
    np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(one.thresholds, other.thresholds)
    np.testing.assert_allclose(other.values, one.values * [1.0, 50.0])
    cosine = TreeParams(3)
    one, other = (builder(X, g, cosine, categorical) for g in (G, 7.0 * G))
    np.testing.assert_array_equal(one.thresholds, other.thresholds)
    moved = builder(X, scaled, cosine, categorical)
    assert not np.array_equal(one.thresholds, moved.thresholds)


@every_builder
@every_arm
def test_rows_may_be_permuted_doubled_and_stretched(growth: Any, score: Any, builder: Any) -> None:
    X, G, categorical = data(60, 3, 2, 2)
    params = TreeParams(3, grow=growth, score=score)
    tree = builder(X, G, params, categorical)
    order = np.random.default_rng(0).permutation(60)
    stretched = np.exp(X)
    for rows, gradients in ((X[order], G[order]), (np.tile(X, (2, 1)), np.tile(G, (2, 1)))):
        again = builder(rows, gradients, params, categorical)
        if score == "cosine" or len(rows) == 60:  # the deviation of ddof 1 depends on n
            np.testing.assert_array_equal(again.thresholds, tree.thresholds)
            np.testing.assert_allclose(again.values, tree.values, atol=1e-12)
    again = builder(stretched, G, params, categorical)
    np.testing.assert_array_equal(
        leaves(again, stretched, categorical, 3, growth), leaves(tree, X, categorical, 3, growth)
    )


@every_builder
@every_arm
def test_features_of_weight_0_are_left_alone(growth: Any, score: Any, builder: Any) -> None:
    X, G, categorical = data(60, 3, 1, 3)
    for weights in ((0.0, 1.0, 1.0), (1.0, 0.0, 1.0)):
        params = TreeParams(3, grow=growth, score=score, feature_weights=weights)
        tree = builder(X, G, params, categorical)
        chosen = tree.features[tree.thresholds < NEVER]
        assert weights.index(0.0) not in chosen
    doubled = TreeParams(3, score=score, feature_weights=(2.0, 2.0, 2.0))
    plain = TreeParams(3, score=score)
    one, other = (builder(X, G, p, categorical) for p in (plain, doubled))
    np.testing.assert_array_equal(one.thresholds, other.thresholds)


@every_builder
@every_arm
def test_categories_are_names(growth: Any, score: Any, builder: Any) -> None:
    X, G, categorical = data(80, 2, 2, 4, cats=1)
    params = TreeParams(2, grow=growth, score=score)
    names = np.array([3.0, 0.0, 4.0, 1.0, 2.0], np.float32)
    renamed = X.copy()
    renamed[:, 1] = names[X[:, 1].astype(int)]
    one, other = builder(X, G, params, categorical), builder(renamed, G, params, categorical)
    np.testing.assert_allclose(
        one.values[leaves(one, X, categorical, 2, growth)],
        other.values[leaves(other, renamed, categorical, 2, growth)],
    )
    unseen = X.copy()
    unseen[:, 1] = 9.0
    tests = one.features == 1
    walked = leaves(one, unseen, categorical, 2, growth)
    if growth == "oblivious":  # "not equal" at each test of the category
        bits = np.stack([walked >> 1 & 1, walked & 1], axis=1)
        assert (bits[:, tests] == 0).all()


@every_builder
def test_few_categories_are_kept_by_their_gradients(builder: Any) -> None:
    X = np.repeat(np.arange(6, dtype=np.float32), 5)[:, None]
    G = np.repeat([0.1, 3.0, 0.2, -4.0, 0.3, 0.0], 5)[:, None]
    categorical = np.array([True])
    params = TreeParams(2, n_bins=2)
    assert candidates(X, G, params, categorical)[0].tolist() == [1.0, 3.0]
    tree = builder(X, G, params, categorical)
    assert set(tree.thresholds.tolist()) == {1.0, 3.0}


@every_builder
def test_equality_with_a_binary_column_is_a_threshold(builder: Any) -> None:
    rng = np.random.default_rng(5)
    X = rng.integers(0, 2, size=(50, 2)).astype(np.float32)
    G = X[:, :1] + 0.1 * rng.normal(size=(50, 1))
    for growth in ("oblivious", "greedy"):
        params = TreeParams(1, grow=growth)
        trees = [builder(X, G, params, np.full(2, kind)) for kind in (False, True)]
        moved = [
            tree.values[leaves(tree, X, np.full(2, kind), 1, growth)]
            for tree, kind in zip(trees, (False, True), strict=True)
        ]
        np.testing.assert_allclose(*moved)


@every_builder
@every_arm
def test_leaves_have_the_data_that_they_must_have(growth: Any, score: Any, builder: Any) -> None:
    X, G, categorical = data(50, 3, 1, 6)
    tree = builder(X, G, TreeParams(4, min_data_in_leaf=7, grow=growth, score=score), categorical)
    assert tree.counts[tree.counts > 0].min() >= 7
    nothing = builder(X, G, TreeParams(2, min_data_in_leaf=26, grow=growth), categorical)
    assert (nothing.thresholds == NEVER).all()
    assert (nothing.values == 0).all()  # a tree without a test does nothing


@every_builder
def test_greedy_trees_are_those_of_scikit_learn(builder: Any) -> None:
    """With all values as candidates the leaf means of the squared error's tree."""
    trees = pytest.importorskip("sklearn.tree")
    X, G, categorical = data(150, 4, 1, 7)
    for score in ("cosine", "l2"):
        tree = builder(X, G, TreeParams(3, grow="greedy", score=score), categorical)
        mine = tree.values[leaves(tree, X, categorical, 3, "greedy")][:, 0]
        theirs = trees.DecisionTreeRegressor(max_depth=3).fit(X, G).predict(X)
        np.testing.assert_allclose(mine, theirs, atol=1e-9)


def test_bins_are_order_statistics() -> None:
    column = np.arange(10, dtype=np.float32)[:, None]
    none = np.array([False])

    def found(n_bins: int, generator: Any = "quantile") -> list[float]:
        params = TreeParams(n_bins=n_bins, generator=generator)
        return candidates(column, column, params, none)[0].tolist()

    assert found(3) == [2, 5, 7]  # chunks of 3, 3, 2, 2
    assert found(4) == [1, 3, 5, 7]
    assert found(9) == list(range(9))
    assert found(256) == list(range(10))
    assert found(3, "uniform") == [0, 3, 6]
    one = grow.Binned.of(column, column.astype(float), TreeParams(n_bins=3), none)
    assert one.thresholds.tolist() == [2, 5, 7]
    assert one.codes[0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]


def test_bad_parameters_say_what_to_do() -> None:
    for change, words in (
        ({"depth": 0}, "depth"),
        ({"depth": 17}, "depth must be at most 16"),
        ({"n_bins": 0}, "n_bins"),
        ({"n_bins": 2**16}, "n_bins must be at most"),
        ({"min_data_in_leaf": -1}, "min_data_in_leaf"),
        ({"grow": "leafwise"}, "grow must be one of"),
        ({"score": "gain"}, "score must be one of"),
        ({"generator": "exact"}, "generator must be one of"),
        ({"feature_weights": (1.0, -1.0)}, "feature_weights"),
    ):
        with pytest.raises(ValueError, match=words):
            TreeParams(**change)
