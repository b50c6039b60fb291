import math
from typing import Any

import numpy as np
import pytest

from fenchel.bandits.linear import OFUL, LinearBandit, LinTS, LinUCB
from fenchel.core import BanditFeedback, run
from fenchel.core.checks import FloatArray

RNG = np.random.default_rng(0)
T, R, K, D = 300, 3, 6, 4
FEATURES = RNG.normal(size=(K, D))
LOSSES = RNG.normal(size=(T, R))
CONTEXTS = RNG.normal(size=(T, R, K, D))


def drive(learner: Any, seed: int = 1, contexts: FloatArray | None = None) -> FloatArray:
    """The arms (T, R) that a learner plays, whatever they are, against `LOSSES`."""
    learner.reset(R, T, np.random.default_rng(seed))
    played = np.empty((T, R), dtype=int)
    for t in range(T):
        if contexts is not None:
            learner.see(contexts[t])
        arms = played[t] = learner.act()
        learner.update(BanditFeedback(arms, LOSSES[t]))
    return played


def ridge(phi: FloatArray, y: FloatArray, weight: float) -> tuple[FloatArray, FloatArray]:
    """V and θ̂ from scratch."""
    V = weight * np.eye(phi.shape[1]) + phi.T @ phi
    return V, np.linalg.solve(V, phi.T @ y)


def features_of(t: int, r: int, contextual: bool) -> FloatArray:
    return CONTEXTS[t, r] if contextual else FEATURES


@pytest.mark.parametrize("contextual", [False, True])
def test_oful_is_its_formula_in_each_round(contextual: bool) -> None:
    S, sigma, weight, delta = 0.7, 0.3, 0.5, 0.1
    options: Any = {
        "noise": sigma, "parameter_bound": S, "regularization": weight, "confidence": 1 - delta
    }  # fmt: skip
    learner = OFUL(dim=D, **options) if contextual else OFUL(FEATURES, **options)
    played = drive(learner, contexts=CONTEXTS if contextual else None)
    for r in range(R):
        chosen = np.array([features_of(t, r, contextual)[played[t, r]] for t in range(T)])
        for t in range(T):
            V, theta = ridge(chosen[:t], LOSSES[:t, r], weight)
            log_ratio = np.linalg.slogdet(V)[1] - D * math.log(weight)
            radius = math.sqrt(weight) * S + sigma * math.sqrt(2 * math.log(1 / delta) + log_ratio)
            phi = features_of(t, r, contextual)
            width = np.sqrt(np.einsum("ai,ij,aj->a", phi, np.linalg.inv(V), phi))
            assert played[t, r] == np.argmin(phi @ theta - radius * width)
        V, theta = ridge(chosen, LOSSES[:, r], weight)
        np.testing.assert_allclose(learner.factor[r] @ learner.factor[r].T, V, rtol=1e-12)
        np.testing.assert_allclose(learner.estimate[r], theta, rtol=1e-10)
        inverse = np.linalg.inv(learner.factor[r])
        np.testing.assert_allclose(inverse.T @ inverse, np.linalg.inv(V), atol=1e-13)


@pytest.mark.parametrize("theory", [False, True])
@pytest.mark.parametrize("contextual", [False, True])
def test_linear_thompson_sampling_is_its_formula_in_each_round(
    contextual: bool, theory: bool
) -> None:
    options: Any = {"noise": 0.3, "regularization": 0.5, "theory": theory, "confidence": 0.9}
    learner = LinTS(dim=D, **options) if contextual else LinTS(FEATURES, **options)
    played = drive(learner, contexts=CONTEXTS if contextual else None)
    normals = np.random.default_rng(1).standard_normal((T, R, D))
    for r in range(R):
        chosen = np.array([features_of(t, r, contextual)[played[t, r]] for t in range(T)])
        for t in range(T):
            V, theta = ridge(chosen[:t], LOSSES[:t, r], 0.5)
            v = 0.3 * math.sqrt(9 * D * math.log((t + 1) / 0.1)) if theory else 0.3
            draw = theta + v * np.linalg.solve(np.linalg.cholesky(V).T, normals[t, r])
            assert played[t, r] == np.argmin(features_of(t, r, contextual) @ draw)
        np.testing.assert_allclose(learner.draws[r], draw, rtol=1e-9)  # of the last round


def test_the_scale_of_theory_grows_from_the_first_round() -> None:
    learner = LinTS(dim=D, noise=0.3, theory=True, confidence=0.9)
    for t in (1, 2, 100):
        assert learner.scale(t) == pytest.approx(0.3 * math.sqrt(9 * D * math.log(t / 0.1)))


def test_thompson_draws_have_the_posterior_covariance() -> None:
    n = 40_000
    learner = LinTS(FEATURES, noise=0.5, regularization=0.8)
    learner.reset(n, 10, np.random.default_rng(0))
    for arm, loss in ((0, 0.3), (3, -0.2), (0, 0.1)):
        learner.update(BanditFeedback(np.full(n, arm), np.full(n, loss)))
    learner.act()
    V, theta = ridge(FEATURES[[0, 3, 0]], np.array([0.3, -0.2, 0.1]), 0.8)
    covariance = 0.25 * np.linalg.inv(V)
    error = np.sqrt(np.diag(covariance) / n)
    assert (np.abs(learner.draws.mean(axis=0) - theta) < 5 * error).all()
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert (np.abs(np.cov(learner.draws.T) - covariance) < 5 * math.sqrt(2 / n) * scale).all()


def test_on_the_basis_without_regularization_estimates_are_the_means_of_the_arms() -> None:
    # relative error of the ridge is λ/n
    learner = OFUL(np.eye(K), regularization=1e-12, noise=1.0)
    played = drive(learner)
    for r in range(R):
        counts = np.bincount(played[:, r], minlength=K)
        means = np.bincount(played[:, r], weights=LOSSES[:, r], minlength=K) / counts
        assert counts.min() >= 1
        np.testing.assert_allclose(learner.estimate[r], means, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(np.diag(learner.factor[r]) ** 2, counts, rtol=1e-10)


def test_a_factor_that_starts_tiny_takes_updates_as_exactly_as_one_built_at_once() -> None:
    for weight in (1e-12, 1e-6, 1.0, 1e6):
        learner = OFUL(FEATURES, regularization=weight)
        played = drive(learner)
        for r in range(R):
            V = ridge(FEATURES[played[:, r]], LOSSES[:, r], weight)[0]
            # a relative error of Cholesky's own size; after 300 rounds
            np.testing.assert_allclose(
                learner.factor[r] @ learner.factor[r].T, V, atol=1e-13 * np.abs(V).max()
            )


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_elliptical_potential_lemma(scale: float) -> None:
    features, weight = scale * FEATURES, 0.5
    learner = OFUL(features, regularization=weight)
    played = drive(learner)
    inequality = learner.pathwise()
    longest = (features**2).sum(axis=1).max()
    for r in range(R):
        V, potential = weight * np.eye(D), 0.0
        for arm in played[:, r]:
            potential += min(1.0, features[arm] @ np.linalg.solve(V, features[arm]))
            V += np.outer(features[arm], features[arm])
        growth = np.linalg.slogdet(V)[1] - D * math.log(weight)
        assert inequality.left[r] == pytest.approx(potential, rel=1e-10)
        assert inequality.right[r] == pytest.approx(2 * growth, rel=1e-10)
        assert potential <= 2 * growth <= 2 * D * math.log1p(T * longest / (weight * D))


def test_the_confidence_ellipsoid_contains_the_parameter() -> None:
    # at all rounds of at least 95 % of the runs
    theta, n, rounds = np.array([0.3, -0.2, 0.1, 0.25]), 200, 300
    game = LinearBandit(FEATURES / 4, theta, noise=0.5)
    learner = OFUL(game.features, noise=0.5, parameter_bound=0.5, regularization=0.1)
    game.reset(n, np.random.default_rng(0))
    learner.reset(n, rounds, np.random.default_rng(1))
    inside = np.ones(n, dtype=bool)
    for _ in range(rounds):
        learner.update(game.step(learner.act()))
        error = np.einsum("rji,rj->ri", learner.factor, learner.estimate - theta)
        inside &= (error**2).sum(axis=1) <= learner.radius(learner.log_determinant) ** 2
    assert inside.mean() >= 0.95


def test_linucb_is_another_name_of_oful() -> None:
    assert LinUCB is OFUL


def test_oful_claims_nothing_where_its_assumptions_fail() -> None:
    game = LinearBandit(FEATURES / 4, [0.3, -0.2, 0.1, 0.25], noise=0.5)
    assert OFUL(game.features, noise=0.5).guarantee(game) is not None
    assert OFUL(game.features, noise=0.4).guarantee(game) is None
    assert OFUL(game.features, noise=0.5, parameter_bound=0.4).guarantee(game) is None


def test_oful_and_thompson_sampling_learn() -> None:
    # the regret of the last half is below a tenth of that of uniform play
    game = LinearBandit(FEATURES / 4, [0.5, -0.4, 0.3, 0.45], noise=0.1)
    for learner in (OFUL(game.features, noise=0.1), LinTS(game.features, noise=0.1)):
        trace = run(learner, game, 1000, n_replications=64, seed=0, checkpoints=[500, 1000])
        assert trace.mean()[1] - trace.mean()[0] < 0.1 * 500 * game.gaps.mean()


BAD: dict[str, tuple[Any, type, str]] = {
    "nothing": (lambda: OFUL(), ValueError, "features .* or dim"),
    "both": (lambda: LinTS(FEATURES, dim=D), ValueError, "not both"),
    "one arm": (lambda: OFUL([[1.0, 2.0]]), ValueError, "number of rows"),
    "zeros": (lambda: OFUL(np.zeros((3, 2))), ValueError, "not be all zero"),
    "no dimension": (lambda: OFUL(dim=0), ValueError, "dim"),
    "half a dimension": (lambda: LinTS(dim=1.5), TypeError, "dim"),  # type: ignore[arg-type]
    "negative noise": (lambda: LinTS(dim=2, noise=-1.0), ValueError, "noise"),
    "nan": (lambda: OFUL(dim=2, noise=math.nan), ValueError, "noise"),
    "no regularization": (lambda: OFUL(dim=2, regularization=0.0), ValueError, "regularization"),
    "no parameter": (lambda: OFUL(dim=2, parameter_bound=0.0), ValueError, "parameter_bound"),
    "certainty": (lambda: OFUL(dim=2, confidence=1.0), ValueError, "confidence"),
}


@pytest.mark.parametrize("name", BAD)
def test_learners_refuse_bad_arguments(name: str) -> None:
    make, error, match = BAD[name]
    with pytest.raises(error, match=match):
        make()


def test_contexts_must_fit() -> None:
    learner = OFUL(dim=D)
    with pytest.raises(ValueError, match=r"\(R, K, 4\)"):
        learner.see(np.zeros((R, K, D + 1)))
    with pytest.raises(NotImplementedError, match="without contexts"):
        OFUL(FEATURES).see(np.zeros((R, K, D)))
