import math
from typing import Any

import numpy as np
import pytest

from fenchel.bandits import Exp3
from fenchel.bandits.linear import (
    OFUL,
    AdversarialContextualBandit,
    LinearContextualBandit,
    LinExp3,
    LinTS,
)
from fenchel.core import BanditFeedback, run
from fenchel.core.checks import FloatArray

RNG = np.random.default_rng(0)
N, K, D, T = 5, 3, 2, 60
X = RNG.normal(size=(N, D))
X /= np.linalg.norm(X, axis=1, keepdims=True)
P = np.array([0.3, 0.1, 0.25, 0.15, 0.2])
ROWS = RNG.uniform(-0.7, 0.7, size=(T, K, D))
THETA = np.array([0.5, -0.3, 0.4])


def start(environment: Any, n: int, seed: int = 0) -> Any:
    environment.reset(n, np.random.default_rng(seed))
    return environment


# environments


def test_features_are_uniform_on_the_sphere_and_fresh() -> None:
    game = start(LinearContextualBandit(4, THETA), 500)
    rounds = np.array([game.context() for _ in range(20)])  # (20, R, K, d)
    np.testing.assert_allclose(np.linalg.norm(rounds, axis=-1), 1, rtol=1e-12)
    phi = rounds.reshape(-1, 3)
    second = phi.T @ phi / len(phi)
    assert (np.abs(second - np.eye(3) / 3) < 5 / math.sqrt(len(phi))).all()
    assert np.abs(np.einsum("trki,trki->", rounds[1:], rounds[:-1])) < 5 * math.sqrt(len(phi))


def test_contextual_losses_and_regret_are_those_of_the_features_shown() -> None:
    for noise in (0.0, 0.2):
        game = start(LinearContextualBandit(4, THETA, noise=noise), 1000)
        comparator, regret, errors = game.comparator(), 0.0, []
        for _ in range(10):
            means = game.context() @ THETA
            arms = RNG.integers(0, 4, size=1000)
            played = means[np.arange(1000), arms]
            errors.append(game.step(arms).losses - played)
            comparator.observe(arms)
            regret = regret + played - means.min(axis=1)
            np.testing.assert_allclose(comparator.regret(), regret, atol=1e-12)
        assert np.std(errors) == pytest.approx(noise, rel=5 / math.sqrt(2 * 10_000), abs=1e-12)


def test_contexts_have_their_probabilities() -> None:
    n = 20_000
    game = start(AdversarialContextualBandit(X, P, ROWS), n)
    index = np.argmin(((game.context()[:, None] - X) ** 2).sum(axis=-1), axis=1)
    shares = np.bincount(index, minlength=N) / n
    assert (np.abs(shares - P) < 5 * np.sqrt(P * (1 - P) / n)).all()


def test_regret_is_against_the_best_policy_in_hindsight() -> None:
    import itertools

    for parameters in (ROWS, lambda t: ROWS[t]):
        game = start(AdversarialContextualBandit(X, P, parameters), 4)
        comparators = [game.comparator() for _ in range(3)]
        policies = np.random.default_rng(1).dirichlet(np.ones(K), size=(T, 4, N))
        expected, by_arm, by_mixture = np.zeros(4), np.zeros(4), np.zeros(4)
        for t in range(T):
            context = game.context()
            arms = np.random.default_rng(t).integers(0, K, size=4)
            mixtures = policies[t, :, 0]
            losses = game.step(arms).losses
            np.testing.assert_allclose(losses, (context * ROWS[t, arms]).sum(axis=1), atol=1e-14)
            decisions = (policies[t], arms, mixtures)
            for comparator, decision in zip(comparators, decisions, strict=True):
                comparator.observe(decision)
            expected += np.einsum("x,rxa,xi,ai->r", P, policies[t], X, ROWS[t])
            by_arm += losses
            by_mixture += np.einsum("ra,ri,ai->r", mixtures, context, ROWS[t])
        best = min(
            sum(P[x] * X[x] @ ROWS[:, policy[x]].sum(axis=0) for x in range(N))
            for policy in itertools.product(range(K), repeat=N)
        )
        incurred = (expected, by_arm, by_mixture)
        for comparator, loss in zip(comparators, incurred, strict=True):
            np.testing.assert_allclose(comparator.regret(), loss - best, atol=1e-12)


# LinExp3


def prepared(n: int, *, scale: float = 300.0, **options: Any) -> LinExp3:
    """R = n equal copies after some past, in the context X[0]."""
    learner = LinExp3(X, P, K, **options)
    learner.reset(n, 500, np.random.default_rng(0))
    learner.cumulative_losses[:] = scale * np.random.default_rng(1).normal(size=(1, K, D))
    learner.see(np.tile(X[0], (n, 1)))
    learner.act()
    return learner


def increments(learner: LinExp3, contexts: FloatArray, arms: Any, losses: Any) -> FloatArray:
    """What an update adds to the estimated losses ⟨x, Θ̂_a⟩ at all contexts, (R, N, K)."""
    learner.see(contexts)
    before = learner.cumulative_losses.copy()
    learner.update(BanditFeedback(arms, losses))
    difference = learner.cumulative_losses - before
    return np.einsum("xi,rai->rxa", learner.coordinates, difference)


def test_estimates_are_unbiased_by_enumeration_of_contexts_and_arms() -> None:
    learner = prepared(N * K)
    policy = learner.probabilities[0].copy()  # (N, K)
    assert policy.max() / policy.min() > 5
    drawn, arms = np.divmod(np.arange(N * K), K)
    theta = ROWS[0]
    added = increments(learner, X[drawn], arms, (X[drawn] * theta[arms]).sum(axis=1))
    expectation = np.einsum("r,rxa->xa", P[drawn] * policy[drawn, arms], added)
    np.testing.assert_allclose(expectation, X @ theta.T, rtol=1e-10, atol=1e-12)


def test_estimates_are_unbiased_where_contexts_span_a_line() -> None:
    line = np.outer([1.0, -0.5, 0.25], [0.6, 0.8])
    p = np.array([0.2, 0.3, 0.5])
    learner = LinExp3(line, p, 2)
    assert learner.span_dim == 1
    learner.reset(6, 100, np.random.default_rng(0))
    drawn, arms = np.divmod(np.arange(6), 2)
    learner.see(line[drawn])
    learner.act()
    policy = learner.probabilities[0].copy()
    theta = ROWS[0, :2]
    added = increments(learner, line[drawn], arms, (line[drawn] * theta[arms]).sum(axis=1))
    expectation = np.einsum("r,rxa->xa", p[drawn] * policy[drawn, arms], added)
    np.testing.assert_allclose(expectation, line @ theta.T, rtol=1e-10)


def test_the_second_moment_of_the_estimates_is_at_most_k_d() -> None:
    # with y² = 1 it is K d: the step of the derivation
    learner = prepared(N * K)
    policy = learner.probabilities[0].copy()
    drawn, arms = np.divmod(np.arange(N * K), K)
    added = increments(learner, X[drawn], arms, np.ones(N * K))
    moment = np.einsum(
        "r,x,xa,rxa->", P[drawn] * policy[drawn, arms], P, policy, added**2, optimize=True
    )
    assert moment == pytest.approx(K * D, rel=1e-10)
    assert np.abs(added).max() <= 1 / learner.eta * (1 + 1e-9)


def test_lin_exp3_is_its_formula() -> None:
    rounds, n = 60, 2
    game = start(AdversarialContextualBandit(X, P, ROWS), n)
    learner = LinExp3(X, P, K)
    learner.reset(n, rounds, np.random.default_rng(2))
    uniforms = np.random.default_rng(2).spawn(2)[0].random((rounds, n))
    gram = np.einsum("x,xi,xj->ij", P, X, X)
    g = np.einsum("xi,ij,xj->x", X, np.linalg.inv(gram), X).max()
    eta = math.sqrt(math.log(K) / (K * (D + 2 * g) * rounds))
    gamma = min(1.0, eta * K * g)
    assert gamma < 1
    theta = np.zeros((n, K, D))
    for t in range(rounds):
        context = game.context()
        learner.see(context)
        arms = learner.act()
        losses = game.step(arms).losses
        for r in range(n):
            weights = np.exp(-eta * X @ theta[r].T)
            policy = (1 - gamma) * weights / weights.sum(axis=1, keepdims=True) + gamma / K
            np.testing.assert_allclose(learner.probabilities[r], policy, rtol=1e-9)
            now = policy[np.flatnonzero((context[r] == X).all(axis=1))[0]]
            assert arms[r] == (np.cumsum(now) <= uniforms[t, r]).sum()
            covariance = np.einsum("x,xi,xj->ij", P * policy[:, arms[r]], X, X)
            theta[r, arms[r]] += np.linalg.solve(covariance, context[r]) * losses[r]
        learner.update(BanditFeedback(arms, losses))


def test_one_context_is_exp3_with_uniform_mixing() -> None:
    # the other context has probability 0
    contexts, p = np.array([[1.0], [0.0]]), np.array([1.0, 0.0])
    learner = LinExp3(contexts, p, K, learning_rate=0.05)
    learner.reset(2, 40, np.random.default_rng(0))
    L = np.zeros((2, K))
    losses = np.random.default_rng(1).uniform(-1, 1, size=(40, 2))
    for t in range(40):
        learner.see(np.ones((2, 1)))
        arms = learner.act()
        softmax = np.exp(-0.05 * L) / np.exp(-0.05 * L).sum(axis=1, keepdims=True)
        mixture = (1 - 0.05 * K) * softmax + 0.05
        np.testing.assert_allclose(learner.probabilities[:, 0], mixture, rtol=1e-10)
        L[np.arange(2), arms] += losses[t] / mixture[np.arange(2), arms]
        learner.update(BanditFeedback(arms, losses[t]))


def test_matrix_geometric_resampling_has_the_mean_of_the_truncated_series() -> None:
    n, M = 20_000, 4
    learner = prepared(n, resampling=M)
    policy = learner.probabilities[0].copy()
    arm = int(policy.mean(axis=0).argmax())
    added = increments(learner, np.tile(X[0], (n, 1)), np.full(n, arm), np.ones(n))[:, :, arm]
    Z = learner.coordinates
    covariance = np.einsum("x,xi,xj->ij", P * policy[:, arm], Z, Z)
    c = 1 / (2 * (Z**2).sum(axis=1).max())
    rest = np.linalg.matrix_power(np.eye(D) - c * covariance, M + 1)
    expected = Z @ np.linalg.solve(covariance, (np.eye(D) - rest) @ Z[0])
    error = added.std(axis=0) / math.sqrt(n)
    assert (np.abs(added.mean(axis=0) - expected) < 5 * error).all()
    exact = Z @ np.linalg.solve(covariance, Z[0])
    assert np.abs(expected - exact).max() > 20 * error.max()  # the bias would be seen


def test_resampling_claims_nothing_and_learns() -> None:
    table = np.zeros((2000, K, D))
    table[:, 0], table[:, 1] = [0.5, 0.0], [0.0, 0.5]
    game = AdversarialContextualBandit(X, P, table)
    for resampling in (None, 50):
        learner = LinExp3(X, P, K, resampling=resampling)
        trace = run(learner, game, 2000, n_replications=16, seed=0, checkpoints=[1000, 2000])
        assert (trace.guarantee is None) is (resampling is not None)
        uniform = P @ (X @ table[0].T - (X @ table[0].T).min(axis=1, keepdims=True)).mean(axis=1)
        assert trace.mean()[1] - trace.mean()[0] < 0.6 * 1000 * uniform


def test_same_seed_same_run() -> None:
    games: list[tuple[Any, Any]] = [
        (OFUL(dim=3), LinearContextualBandit(4, THETA)),
        (LinTS(dim=3), LinearContextualBandit(4, THETA)),
        (LinExp3(X, P, K), AdversarialContextualBandit(X, P, ROWS)),
        (LinExp3(X, P, K, resampling=5), AdversarialContextualBandit(X, P, ROWS)),
    ]
    for learner, game in games:
        one, two, other = (
            run(learner, game, T, n_replications=3, seed=s).regret for s in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, other)


# what does not fit


def test_learners_that_do_not_fit_are_refused() -> None:
    linear, adversarial = LinearContextualBandit(4, THETA), AdversarialContextualBandit(X, P, ROWS)
    with pytest.raises(ValueError, match="fixed features"):
        run(OFUL(np.eye(3)), linear, 5, seed=0)
    with pytest.raises(ValueError, match="dim=2"):
        run(OFUL(dim=2), linear, 5, seed=0)
    with pytest.raises(NotImplementedError, match="without contexts"):
        run(Exp3(4), linear, 5, seed=0)
    with pytest.raises(NotImplementedError, match="without contexts"):
        run(Exp3(K), adversarial, 5, seed=0)
    for learner, name in (
        (LinExp3(X, P, K + 1), "n_arms"),
        (LinExp3(X[::-1], P, K), "contexts"),
        (LinExp3(X, P[::-1], K), "context_probabilities"),
    ):
        with pytest.raises(ValueError, match=f"the {name} of"):
            run(learner, adversarial, 5, seed=0)
    with pytest.raises(ValueError, match=r"\(R, K, 2\)"):
        run(OFUL(dim=2), adversarial, 5, seed=0)


BAD: dict[str, Any] = {
    "n_arms": lambda: LinearContextualBandit(1, THETA),
    "losses in": lambda: LinearContextualBandit(3, [0.8, 0.8]),
    "noise": lambda: LinearContextualBandit(3, THETA, noise=-1.0),
    "length of parameter": lambda: LinearContextualBandit(3, []),
    "sum to 1": lambda: AdversarialContextualBandit(X, 0.9 * P, ROWS),
    "must have shape": lambda: LinExp3(X, P[:-1], K),
    "other than 0": lambda: LinExp3([[0.0], [1.0]], [1.0, 0.0], K),
    "parameters must give losses": lambda: AdversarialContextualBandit(X, P, 10 * ROWS),
    r"parameters\(0\)": lambda: AdversarialContextualBandit(X, P, lambda t: 10 * ROWS[t]),
    "number of arms": lambda: AdversarialContextualBandit(X, P, ROWS[:, :1]),
    "number of rounds": lambda: AdversarialContextualBandit(X, P, ROWS[:0]),
    "learning_rate": lambda: LinExp3(X, P, K, learning_rate=-1.0),
    "resampling": lambda: LinExp3(X, P, K, resampling=0),
}


@pytest.mark.parametrize("match", BAD)
def test_bad_arguments_are_refused(match: str) -> None:
    with pytest.raises(ValueError, match=match):
        BAD[match]()
