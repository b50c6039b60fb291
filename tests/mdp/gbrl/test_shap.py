"""Shapley values: their axioms, their definition, and the peers."""

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fenchel.experiments.benchmarks.gbrl import reference
from fenchel.mdp.gbrl import TreeEnsemble, TreeParams
from fenchel.mdp.gbrl.shap import shap_values
from fenchel.mdp.gbrl.trees import NEVER, Tree

GROWTHS = ("oblivious", "greedy")
every_growth = pytest.mark.parametrize("growth", GROWTHS)


def made(
    rng: np.random.Generator,
    growth: Any,
    depth: int,
    F: int,
    D: int,
    *,
    n_trees: int = 1,
    categorical: Any = (),
    most: int = 4,
) -> TreeEnsemble:
    """Trees drawn at random: features repeat, nodes are empty, tests are missing."""
    ensemble = TreeEnsemble(
        D, TreeParams(depth, grow=growth), bias=rng.normal(size=D), categorical=categorical
    )
    shape = n_trees, depth if growth == "oblivious" else 2**depth - 1
    thresholds = rng.integers(0, 4, size=shape).astype(np.float32)
    counts = rng.integers(0, most + 1, size=(n_trees, 2**depth))
    counts[:, 0] = 1
    values = rng.normal(size=(n_trees, 2**depth, D)) * (counts > 0)[:, :, None]
    return TreeEnsemble.from_state(
        ensemble.state()
        | {
            "n_features": np.array(F),
            "features": rng.integers(0, F, size=shape).astype(np.int32),
            "thresholds": np.where(rng.random(shape) < 0.1, NEVER, thresholds),
            "values": values.astype(np.float32),
            "counts": counts.astype(np.int32),
            "rates": rng.uniform(0.1, 1.0, size=(n_trees, D)),
        }
    )


def rows(rng: np.random.Generator, n: int, F: int) -> Any:
    """They lie on both sides of the thresholds of `made`, and on them."""
    return rng.integers(0, 5, size=(n, F)).astype(np.float32)


def boosted(
    growth: Any, depth: int, D: int, categorical: Any, n: int, n_trees: int, seed: int
) -> tuple[TreeEnsemble, Any]:
    """An ensemble that was fitted, and its rows."""
    rng = np.random.default_rng(seed)
    X = np.concatenate([rng.normal(size=(n, 2)), rng.integers(0, 4, size=(n, 2))], axis=1)
    Y = rng.normal(size=(n, D)) + X[:, :1] * (X[:, 2:3] == 2)
    ensemble = TreeEnsemble(
        D,
        TreeParams(depth, grow=growth),
        learning_rate=rng.uniform(0.1, 1.0, size=D),
        bias=rng.normal(size=D),
        categorical=categorical,
    )
    for _ in range(n_trees):
        ensemble.step(X, ensemble.predict(X) - Y)
    return ensemble, X.astype(np.float32)


def number_of(growth: str, level: int, path: int) -> int:
    return level if growth == "oblivious" else 2**level - 1 + path


def worth(ensemble: TreeEnsemble, tree: Tree, x: Any, coalition: Any) -> Any:
    """v(S) by its definition, (D,)."""
    depth, growth = ensemble.params.depth, ensemble.params.grow

    def size(level: int, path: int) -> int:
        below = depth - level
        return int(tree.counts[path << below : (path + 1) << below].sum())

    def mean(level: int, path: int) -> Any:
        if level == depth:
            return tree.values[path]
        number = number_of(growth, level, path)
        f, v = tree.features[number], tree.thresholds[number]
        if f in coalition:
            right = x[f] == v if f in ensemble.categorical else x[f] > v
            return mean(level + 1, 2 * path + int(right))
        both = (2 * path, 2 * path + 1)
        share = [size(level + 1, child) / max(size(level, path), 1) for child in both]
        return sum(s * mean(level + 1, child) for s, child in zip(share, both, strict=True))

    return mean(0, 0)


def literal(ensemble: TreeEnsemble, X: Any) -> Any:
    """φ by its definition, Σ_S |S|! (F − |S| − 1)! / F! (v(S ∪ j) − v(S)), (n, F, D)."""
    F = X.shape[1]
    phi = np.zeros((*X.shape, ensemble.n_outputs))
    for t in range(ensemble.n_trees):
        tree, rate = ensemble.tree(t), ensemble.state()["rates"][t]
        for i, x in enumerate(X):
            v = {
                S: -rate * worth(ensemble, tree, x, S)
                for size in range(F + 1)
                for S in itertools.combinations(range(F), size)
            }
            for j, S in itertools.product(range(F), v):
                if j not in S:
                    weight = 1 / (F * math.comb(F - 1, len(S)))
                    phi[i, j] += weight * (v[tuple(sorted((*S, j)))] - v[S])
    return phi


# the definition


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(GROWTHS),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(1, 3),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_values_are_those_of_the_definition(
    growth: str, depth: int, F: int, D: int, categories: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    ensemble = made(
        rng, growth, depth, F, D, n_trees=2, categorical=range(0, F, 2) if categories else ()
    )
    X = rows(rng, 3, F)
    phi, base = shap_values(ensemble, X)
    np.testing.assert_allclose(phi, literal(ensemble, X), rtol=0, atol=1e-12)
    nobody = sum(
        ensemble.state()["rates"][t] * worth(ensemble, ensemble.tree(t), X[0], ()) for t in (0, 1)
    )
    np.testing.assert_allclose(base, ensemble.bias - nobody, rtol=0, atol=1e-12)


@every_growth
def test_fitted_trees_have_the_values_of_the_definition(growth: str) -> None:
    ensemble, X = boosted(growth, 4, 2, [2], n=60, n_trees=3, seed=0)
    phi, _ = shap_values(ensemble, X[:5])
    np.testing.assert_allclose(phi, literal(ensemble, X[:5]), rtol=0, atol=1e-12)


def by_sizes(ensemble: TreeEnsemble, x: Any) -> Any:
    """φ of one row, (F, D), from the polynomials Π (a_i y + w_i) of the leaves of the first tree.

    The coefficient of y^s is the sum of the products over all coalitions of size s.
    """
    tree, rate = ensemble.tree(0), ensemble.state()["rates"][0]
    depth, phi = ensemble.params.depth, np.zeros((len(x), ensemble.n_outputs))
    sizes = [tree.counts]
    while len(sizes[0]) > 1:
        sizes.insert(0, sizes[0].reshape(-1, 2).sum(axis=1))
    for leaf in np.flatnonzero(tree.counts).tolist():
        a: dict[int, int] = {}
        w: dict[int, float] = {}
        for level in range(depth):
            path, child = leaf >> (depth - level), leaf >> (depth - level - 1)
            number = number_of(ensemble.params.grow, level, path)
            f = int(tree.features[number])
            a[f] = a.get(f, 1) * ((x[f] > tree.thresholds[number]) == child % 2)
            w[f] = w.get(f, 1.0) * sizes[level + 1][child] / sizes[level][path]
        for j in a:
            others = np.ones(1)
            for i in a:
                if i != j:
                    others = np.convolve(others, [w[i], a[i]])
            m = len(a)
            weights = [1 / (m * math.comb(m - 1, s)) for s in range(m)]
            phi[j] -= rate * tree.values[leaf] * (a[j] - w[j]) * (others @ weights)
    return phi


@every_growth
@pytest.mark.parametrize("depth", [9, 16])
def test_deep_trees_have_the_values_of_coalitions_by_size(growth: Any, depth: int) -> None:
    """In greedy ones more features are tested than have subsets that could be tried."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 40))
    ensemble = TreeEnsemble(2, TreeParams(depth, 8, grow=growth), learning_rate=0.5)
    ensemble.step(X, rng.normal(size=(120, 2)))
    new = rng.normal(size=(2, 40)).astype(np.float32)
    phi, base = shap_values(ensemble, new)
    np.testing.assert_allclose(phi, [by_sizes(ensemble, x) for x in new], rtol=0, atol=1e-12)
    np.testing.assert_allclose(phi.sum(axis=1) + base, ensemble.predict(new), rtol=0, atol=1e-12)
    assert (np.abs(phi).max(axis=(0, 2)) > 0).sum() > (16 if growth == "greedy" else 6)


# the axioms


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(GROWTHS),
    st.integers(1, 7),
    st.integers(1, 3),
    st.sampled_from([(), (2,), (2, 3)]),
    st.integers(1, 80),
    st.integers(0, 2**32),
)
def test_values_add_up_to_what_is_predicted(
    growth: str, depth: int, D: int, categorical: Any, n: int, seed: int
) -> None:
    ensemble, X = boosted(growth, depth, D, categorical, n, n_trees=5, seed=seed)
    new = np.concatenate([X, 5 - X])  # half of them are not of the batch
    for start, stop in ((0, None), (0, 0), (1, 3), (4, 99), (-2, -1)):
        phi, base = shap_values(ensemble, new, start, stop)
        assert phi.shape == (*new.shape, D)
        predicted = ensemble.predict(new, start, stop)
        np.testing.assert_allclose(phi.sum(axis=1) + base, predicted, rtol=0, atol=1e-12)


@every_growth
def test_values_add_up_for_a_thousand_trees(growth: str) -> None:
    rng = np.random.default_rng(0)
    ensemble = made(rng, growth, 4, 6, 2, n_trees=1000, categorical=[5])
    X = rows(rng, 50, 6)
    phi, base = shap_values(ensemble, X)
    scale = np.abs(ensemble.state()["values"]).sum(axis=0).max()
    error = np.abs(phi.sum(axis=1) + base - ensemble.predict(X)).max()
    assert error <= 1e-14 * scale


@every_growth
def test_the_base_is_the_mean_over_the_batch(growth: str) -> None:
    ensemble, X = boosted(growth, 4, 2, [2], n=100, n_trees=1, seed=1)
    _, base = shap_values(ensemble, X)
    np.testing.assert_allclose(base, ensemble.predict(X).mean(axis=0), rtol=0, atol=1e-7)  # float32


@every_growth
def test_features_that_no_tree_tests_have_none(growth: str) -> None:
    rng = np.random.default_rng(0)
    state = made(rng, growth, 3, 4, 2, n_trees=20).state()
    state["features"][state["features"] == 2] = 1
    phi, _ = shap_values(TreeEnsemble.from_state(state), rows(rng, 30, 4))
    np.testing.assert_array_equal(phi[:, 2], 0.0)
    assert np.abs(np.delete(phi, 2, axis=1)).max(axis=(0, 2)).min() > 0.1


def test_players_of_an_and_share_equally() -> None:
    """h(x) = 1{x_0 > 0, x_1 > 0}, each true for a third of the batch, independently.

    Were they not independent the two would differ: that of the test below knows of that above.
    """
    state = made(np.random.default_rng(0), "oblivious", 2, 2, 1).state() | {
        "features": np.array([[0, 1]], np.int32),
        "thresholds": np.zeros((1, 2), np.float32),
        "values": np.array([[[0], [0], [0], [1]]], np.float32),
        "counts": np.array([[4, 2, 2, 1]], np.int32),
        "rates": np.array([[-1.0]]),
    }
    phi, base = shap_values(TreeEnsemble.from_state(state), [[1, 1], [1, 0]])
    np.testing.assert_allclose(phi[0, :, 0], (1 - 1 / 9) / 2, rtol=1e-14)
    by_hand = (1 / 3 - 1 / 9) / 2  # of v(∅), v(0), v(1), v(01) = 1/9, 1/3, 0, 0
    np.testing.assert_allclose(phi[1, :, 0], [by_hand, -by_hand - 1 / 9], rtol=1e-14)
    np.testing.assert_allclose(base, state["bias"] + 1 / 9, rtol=1e-14)


@every_growth
def test_names_of_features_do_not_matter(growth: str) -> None:
    rng = np.random.default_rng(2)
    ensemble = made(rng, growth, 4, 5, 2, n_trees=10, categorical=[1])
    X, order = rows(rng, 20, 5), np.array([3, 0, 4, 1, 2])  # the new number of each
    state = ensemble.state()
    state |= {"features": order[state["features"]].astype(np.int32), "categorical": order[[1]]}
    moved = np.empty_like(X)
    moved[:, order] = X
    phi, base = shap_values(TreeEnsemble.from_state(state), moved)
    expected, same = shap_values(ensemble, X)
    np.testing.assert_allclose(phi[:, order], expected, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(base, same)


@every_growth
def test_values_are_linear_in_trees(growth: str) -> None:
    ensemble, X = boosted(growth, 3, 2, [2], n=100, n_trees=12, seed=3)
    whole = shap_values(ensemble, X)
    parts = [shap_values(ensemble, X, t, t + 1) for t in range(12)]
    np.testing.assert_allclose(whole.phi, sum(part.phi for part in parts), rtol=0, atol=1e-13)
    bases = sum(part.base - ensemble.bias for part in parts)
    np.testing.assert_allclose(whole.base, ensemble.bias + bases, rtol=0, atol=1e-13)
    state = ensemble.state()
    twice = TreeEnsemble.from_state(state | {"rates": 2 * state["rates"]})
    np.testing.assert_allclose(shap_values(twice, X).phi, 2 * whole.phi, rtol=1e-13)


# the door


def test_bad_input_says_what_to_do() -> None:
    ensemble, X = boosted("greedy", 2, 1, [2], n=20, n_trees=2, seed=0)
    with pytest.raises(ValueError, match=r"X must have shape \(n, 4\)"):
        shap_values(ensemble, X[:, :3])
    with pytest.raises(ValueError, match="X must be finite"):
        shap_values(ensemble, X * np.nan)
    assert shap_values(ensemble, X[:0]).phi.shape == (0, 4, 1)
    with pytest.raises(ValueError, match='trees that add up, got optimizer "adam"'):
        shap_values(TreeEnsemble(1, optimizer="adam"), X)


def test_without_trees_the_base_is_all() -> None:
    phi, base = shap_values(TreeEnsemble(2, bias=[1.0, 2.0]), np.ones((3, 4)))
    np.testing.assert_array_equal(phi, np.zeros((3, 4, 2)))
    np.testing.assert_array_equal(base, [1.0, 2.0])


# the peers


@pytest.mark.parametrize("D", [1, 2])
@every_growth
def test_values_are_those_of_the_reference(growth: Any, D: int) -> None:
    """Of depth 2; NVlabs/gbrl errs if a feature comes again after another one on the same way."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("gbrl")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5)).astype(np.float32)
    Y = np.stack([np.sin(X[:, 0]) * X[:, 1], X[:, 2] ** 2], axis=1)[:, :D].astype(np.float32)
    params = TreeParams(2, grow=growth)
    theirs, ours = reference(5, D, params), TreeEnsemble(D, params, learning_rate=0.1)
    for _ in range(20):
        output = theirs(X, requires_grad=True).reshape(Y.shape)
        (0.5 * ((output - torch.tensor(Y)) ** 2).sum() / len(X)).backward()
        theirs.step()
        ours.step(X, ours.predict(X) - Y)
    phi = np.asarray(theirs.shap(X[:50])).reshape(50, 5, D)
    np.testing.assert_allclose(shap_values(ours, X[:50]).phi, phi, rtol=0, atol=5e-6)


@pytest.mark.slow  # for its import
@every_growth
def test_values_are_those_of_the_shap_package(growth: Any) -> None:
    """No node is empty: it refuses these."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shap = pytest.importorskip("shap")
    rng = np.random.default_rng(0)
    ensemble = made(rng, growth, 4, 5, 2, n_trees=20)
    state = ensemble.state()
    state["counts"] += 1
    ensemble = TreeEnsemble.from_state(state)
    X = rows(rng, 40, 5)
    inner, none = np.arange(15), np.full(16, -1)
    trees = []
    for t in range(20):
        tree = ensemble.tree(t)
        tests = np.log2(inner + 1).astype(int) if growth == "oblivious" else inner
        sizes = [tree.counts]
        while len(sizes[0]) > 1:
            sizes.insert(0, sizes[0].reshape(-1, 2).sum(axis=1))
        leaves = -state["rates"][t] * tree.values
        trees.append(
            {
                "children_left": np.concatenate([2 * inner + 1, none]),
                "children_right": np.concatenate([2 * inner + 2, none]),
                "children_default": np.concatenate([2 * inner + 1, none]),
                "features": np.concatenate([tree.features[tests], none]),
                "thresholds": np.concatenate([tree.thresholds[tests], none]).astype(np.float64),
                "values": np.concatenate([np.zeros((15, 2)), leaves]),
                "node_sample_weight": np.concatenate(sizes).astype(np.float64),
            }
        )
    explainer = shap.TreeExplainer({"trees": trees}, feature_perturbation="tree_path_dependent")
    theirs = explainer.shap_values(X.astype(np.float64), check_additivity=False)
    ours = shap_values(ensemble, X)
    np.testing.assert_allclose(ours.phi, theirs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.base - ensemble.bias, explainer.expected_value, atol=1e-12)
