"""Regularised inverse covariances: exact, from frequencies, and as a Neumann series."""

import math
from typing import Any

import numpy as np
import pytest

from fenchel.core import TrajectoryFeedback, run
from fenchel.core.checks import FloatArray
from fenchel.mdp import (
    AdversarialMDP,
    DilatedBonusPolicyOptimization,
    EmpiricalInverse,
    ExactCovariance,
    LinearMDP,
    LogBarrierPolicyOptimization,
    MagnitudeReducedPolicyOptimization,
    MatrixGeometricResampling,
    UniformPolicy,
    random_linear_mdp,
    stochastic_losses,
    tabular_as_linear,
)
from fenchel.mdp.adversarial.covariance import Covariance

KINDS = [
    LogBarrierPolicyOptimization,
    MagnitudeReducedPolicyOptimization,
    DilatedBonusPolicyOptimization,
]
MODEL = random_linear_mdp(3, 4, 3, 4, seed=0)
TABULAR = tabular_as_linear(
    np.random.default_rng(1).dirichlet(np.ones(3), size=(3, 3, 2)), initial_state=1
)
SAMPLED: dict[str, Covariance] = {
    "empirical": EmpiricalInverse(7),
    "resampled": MatrixGeometricResampling(3, 4),
}
every_sample = pytest.mark.parametrize("name", SAMPLED)


def random_policies(model: LinearMDP, n: int, seed: int = 2) -> FloatArray:
    H, S, A, _ = model.features.shape
    return np.random.default_rng(seed).dirichlet(np.ones(A), size=(n, H, S))


def occupancies(model: LinearMDP, policies: FloatArray) -> FloatArray:
    """q (N, H, S, A), layer by layer."""
    q, reach = np.empty_like(policies), np.zeros((len(policies), model.n_states))
    reach[:, model.initial_state] = 1.0
    for h in range(model.horizon):
        q[:, h] = reach[..., None] * policies[:, h]
        reach = np.einsum("nsa,sat->nt", q[:, h], model.transition[h])
    return q


def covariances(model: LinearMDP, q: FloatArray) -> FloatArray:
    """Σ, (N, H, d, d)."""
    return np.einsum("nhsa,hsai,hsaj->nhij", q, model.features, model.features)


def estimate(
    covariance: Any, model: LinearMDP, policies: FloatArray, gamma: float, seed: int = 3
) -> tuple[FloatArray, FloatArray]:
    """Σ̂†, and the measure that the same generator gives next."""
    rng = np.random.default_rng(seed)
    inverses = covariance.inverses(model, policies, gamma, rng)
    return inverses, covariance.measure(model, policies, gamma, rng)


def neumann(G: FloatArray, n_terms: int) -> FloatArray:
    """Γ⁻¹ (I − (I − Γ/2)^{N+1})."""
    identity = np.eye(G.shape[-1])
    power = np.linalg.matrix_power(identity - G / 2, n_terms + 1)
    return np.linalg.inv(G) @ (identity - power)


# exact


@pytest.mark.parametrize("model", [MODEL, TABULAR, random_linear_mdp(2, 2, 2, 9, seed=4)])
@pytest.mark.parametrize("gamma", [1.0, 1e-2, 1e-5])
def test_exact_covariance_is_the_inverse_of_numpy(model: LinearMDP, gamma: float) -> None:
    policies = random_policies(model, 3)
    inverses, measure = estimate(ExactCovariance(), model, policies, gamma)
    q = occupancies(model, policies)
    np.testing.assert_allclose(measure, q, rtol=0, atol=1e-14)
    G = gamma * np.eye(model.dim) + covariances(model, q)
    expected = np.linalg.inv(G)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(inverses, expected, rtol=0, atol=1e-10 * scale)
    np.testing.assert_array_equal(inverses, np.swapaxes(inverses, -1, -2))
    residual = G @ inverses - np.eye(model.dim)
    assert np.abs(residual).max() < 1e-15 / gamma * 10  # condition number 1/γ


def test_exact_covariance_asks_for_no_random_numbers() -> None:
    rng = np.random.default_rng(5)
    policies = random_policies(MODEL, 2)
    ExactCovariance().inverses(MODEL, policies, 0.1, rng)
    ExactCovariance().measure(MODEL, policies, 0.1, rng)
    assert rng.bit_generator.state == np.random.default_rng(5).bit_generator.state


# from frequencies


def test_empirical_inverse_holds_whole_numbers_of_visits() -> None:
    W, gamma = 7, 0.3
    policies = random_policies(TABULAR, 5)
    inverses, measure = estimate(EmpiricalInverse(W), TABULAR, policies, gamma)
    sample = np.linalg.inv(inverses) - gamma * np.eye(6)
    visits = W * np.diagonal(sample, axis1=-2, axis2=-1)
    np.testing.assert_allclose(sample, np.eye(6) * visits[..., None, :] / W, rtol=0, atol=1e-12)
    for counts in (visits, W * measure.reshape(5, 3, 6)):
        np.testing.assert_allclose(counts, np.rint(counts), rtol=0, atol=1e-11)
        np.testing.assert_allclose(counts.sum(axis=-1), W, rtol=1e-12)
        assert (counts[:, 0].reshape(5, 3, 2)[:, [0, 2]] < 1e-11).all()  # starts in state 1


@pytest.mark.parametrize("n_trajectories", [1, 30, 1000])
def test_empirical_inverse_is_between_multiples_of_the_exact_one(n_trajectories: int) -> None:
    gamma, policies = 0.05, random_policies(MODEL, 4)
    inverses, _ = estimate(EmpiricalInverse(n_trajectories), MODEL, policies, gamma)
    sigma = covariances(MODEL, occupancies(MODEL, policies))
    G = gamma * np.eye(MODEL.dim) + sigma
    values, vectors = np.linalg.eigh(G)
    root = (vectors * np.sqrt(values)[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    inverse_root = np.linalg.inv(root)
    sample = np.linalg.inv(inverses) - gamma * np.eye(MODEL.dim)
    assert np.linalg.eigvalsh(sample).min() > -1e-12  # a mean of φφᵀ
    e = np.linalg.norm(inverse_root @ (sample - sigma) @ inverse_root, ord=2, axis=(-2, -1))
    ratios = np.linalg.eigvalsh(root @ inverses @ root)
    assert (ratios[..., 0] >= 1 / (1 + e) - 1e-10).all()
    assert (ratios[..., -1] * (1 - e) <= 1 + 1e-10)[e < 1].all()
    # matrix Bernstein with failure probability 1e-6 for each of the 12 matrices
    log = math.log(2 * MODEL.dim / 1e-6)
    gw = gamma * n_trajectories
    assert e.max() <= math.sqrt(2 * log / gw) + 2 * log / (3 * gw)


def test_empirical_inverse_converges_to_the_exact_one() -> None:
    policies, gamma = random_policies(MODEL, 1), 0.1
    exact, q = estimate(ExactCovariance(), MODEL, policies, gamma)
    errors = []
    for W in (100, 10_000):
        copies = np.tile(policies, (8, 1, 1, 1))
        inverses, measure = estimate(EmpiricalInverse(W), MODEL, copies, gamma)
        errors.append([np.abs(inverses - exact).mean(), np.abs(measure - q).mean()])
    ratio = np.array(errors[0]) / np.array(errors[1])  # (2,), about √100
    assert ((ratio > 6) & (ratio < 16)).all()


@every_sample
def test_means_are_from_other_trajectories_than_the_inverses(name: str) -> None:
    """W = 1 or M N = 1: two independent samples of one pair agree with probability Σ q²."""
    one = EmpiricalInverse(1) if name == "empirical" else MatrixGeometricResampling(1, 1)
    policies, R, gamma = random_policies(TABULAR, 1), 4000, 0.5
    q = occupancies(TABULAR, policies)[0]
    copies = np.tile(policies, (R, 1, 1, 1))
    inverses, measure = estimate(one, TABULAR, copies, gamma)
    first = np.diagonal(inverses, axis1=-2, axis2=-1).argmin(axis=-1)  # the pair visited
    second = measure.reshape(R, 3, 6).argmax(axis=-1)
    for h in range(3):
        for pairs in (first, second):
            frequencies = np.bincount(pairs[:, h], minlength=6) / R
            np.testing.assert_allclose(frequencies, q[h].ravel(), rtol=0, atol=4 / math.sqrt(R) / 2)
        agree = (first[:, h] == second[:, h]).mean()
        expected = (q[h] ** 2).sum()
        error = math.sqrt(expected * (1 - expected) / R)
        assert abs(agree - expected) < 4 * error
    neighbours = (first[1:] == first[:-1]).all(axis=-1).mean()  # replications do not share them
    assert neighbours < 0.5


# matrix geometric resampling


def test_mean_of_the_series_with_mean_samples_is_the_formula() -> None:
    G = 0.1 * np.eye(4) + covariances(MODEL, occupancies(MODEL, random_policies(MODEL, 1)))[0, 1]
    Z, total = np.eye(4), np.eye(4)
    for _ in range(9):
        Z = Z @ (np.eye(4) - G / 2)
        total = total + Z
    np.testing.assert_allclose(total / 2, neumann(G, 9), rtol=1e-12)


@pytest.mark.parametrize("n_terms", [1, 2, 7, 400])
@pytest.mark.parametrize("n_copies", [1, 3])
def test_resampling_is_its_mean_where_samples_are_constant(n_terms: int, n_copies: int) -> None:
    """All features of a layer are ± one vector, so that φφᵀ = Σ whatever is sampled."""
    rng = np.random.default_rng(6)
    v = rng.normal(size=(2, 3))
    v *= np.array([[0.9], [0.5]]) / np.linalg.norm(v, axis=1, keepdims=True)
    signs = rng.choice([-1.0, 1.0], size=(2, 2, 3))
    signs[0] = 1.0  # one law of the next state for the first layer
    P = np.broadcast_to([0.3, 0.7], (2, 2, 3, 2))
    model, gamma = LinearMDP(P, signs[..., None] * v[:, None, None]), 0.05
    covariance = MatrixGeometricResampling(n_copies, n_terms)
    inverses, _ = estimate(covariance, model, random_policies(model, 2), gamma)
    for h in range(2):
        G = gamma * np.eye(3) + np.outer(v[h], v[h])
        for r in range(2):
            np.testing.assert_allclose(inverses[r, h], neumann(G, n_terms), rtol=0, atol=1e-12)
        if n_terms == 400:  # (1 − γ/2)^401/γ < 1e-3
            np.testing.assert_allclose(inverses[0, h], np.linalg.inv(G), rtol=0, atol=1e-3)


@pytest.mark.parametrize("n_terms", [1, 2, 5])
def test_resampling_has_the_mean_of_the_formula(n_terms: int) -> None:
    R, gamma = 4000, 0.2
    policies = random_policies(MODEL, 1)
    copies = np.tile(policies, (R, 1, 1, 1))
    inverses, measure = estimate(MatrixGeometricResampling(2, n_terms), MODEL, copies, gamma)
    q = occupancies(MODEL, policies)
    G = gamma * np.eye(MODEL.dim) + covariances(MODEL, q)[0]
    mean, error = inverses.mean(axis=0), inverses.std(axis=0, ddof=1) / math.sqrt(R)
    for h in range(3):
        expected = neumann(G[h], n_terms)
        assert (np.abs(mean[h] - expected) <= 4.5 * error[h] + 1e-12).all()
        one_more = np.abs(neumann(G[h], n_terms + 1) - expected) > 9 * error[h]
        assert one_more.any()  # N and N + 1 could be told apart
    error = measure.std(axis=0, ddof=1) / math.sqrt(R)
    assert (np.abs(measure.mean(axis=0) - q[0]) <= 4.5 * error + 1e-12).all()
    spread = (q[0] * (1 - q[0])).sum() / (2 * n_terms)  # of means over M N trajectories
    np.testing.assert_allclose(measure.var(axis=0).sum(), spread, rtol=0.05)


def test_resampling_is_symmetric_and_bounded() -> None:
    gamma, N = 0.1, 6
    inverses, _ = estimate(
        MatrixGeometricResampling(2, N), MODEL, random_policies(MODEL, 20), gamma
    )
    np.testing.assert_array_equal(inverses, np.swapaxes(inverses, -1, -2))
    norms = np.linalg.norm(inverses, ord=2, axis=(-2, -1))
    assert norms.max() <= (N + 1) / 2  # ‖Z_n‖ <= 1
    assert norms.max() > 1


def test_resampling_converges_to_the_exact_inverse() -> None:
    policies, gamma = np.tile(random_policies(MODEL, 1), (200, 1, 1, 1)), 0.3
    exact, _ = estimate(ExactCovariance(), MODEL, policies[:1], gamma)
    inverses, _ = estimate(MatrixGeometricResampling(10, 60), MODEL, policies, gamma)
    error = inverses.std(axis=0, ddof=1) / math.sqrt(200)
    truncation = (1 - gamma / 2) ** 61 / gamma  # 2e-4
    assert (np.abs(inverses.mean(axis=0) - exact[0]) <= 4.5 * error + truncation).all()


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 8.0])
def test_resampling_is_positive_whatever_the_regularization(gamma: float) -> None:
    """With c = ½ throughout, ‖I − c (γ I + φφᵀ)‖ > 1 for γ > 3 and the series diverges."""
    covariance = MatrixGeometricResampling(2, 30)
    inverses, _ = estimate(covariance, MODEL, random_policies(MODEL, 2), gamma)
    assert np.linalg.eigvalsh(inverses).min() > 0
    assert np.linalg.norm(inverses, ord=2, axis=(-2, -1)).max() <= 1 / gamma * (1 + 1e-12)
    assert covariance.step(gamma) == min(0.5, 1 / (1 + gamma))


def test_features_larger_than_one_need_a_smaller_step() -> None:
    """Σ̂† from features √w φ is that of weighted squares; its mean has the series' formula."""
    rng, gamma, w, N = np.random.default_rng(7), 0.2, 9.0, 20
    directions = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    covariance = MatrixGeometricResampling(2, N)
    c = covariance.step(gamma, largest=w)
    assert c == 1 / (gamma + w)
    repeated = np.sqrt(w) * directions[:1]  # (R, H, d) = (1, 1, 3), always the same
    inverse = covariance.from_features(lambda: repeated[None], gamma, largest=w)[0, 0]
    G = gamma * np.eye(3) + w * np.outer(directions[0], directions[0])
    power = np.linalg.matrix_power(np.eye(3) - c * G, N + 1)
    np.testing.assert_allclose(inverse, np.linalg.inv(G) @ (np.eye(3) - power), atol=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 0.05, 1e-3])
def test_default_number_of_terms_makes_the_truncation_small(gamma: float) -> None:
    N = MatrixGeometricResampling().terms(gamma)
    assert math.ceil(2 / gamma * math.log(1 / (0.1 * gamma))) == N
    assert (1 - gamma / 2) ** (N + 1) / gamma <= 0.1  # the additive error of the mean
    assert MatrixGeometricResampling(5, 17).terms(gamma) == 17
    assert MatrixGeometricResampling().n_copies == 20


# randomness


@every_sample
def test_estimates_come_from_their_generator_alone(name: str) -> None:
    policies, before = random_policies(MODEL, 3), np.random.get_state(legacy=False)  # noqa: NPY002
    one, again, other = (estimate(SAMPLED[name], MODEL, policies, 0.1, seed) for seed in (8, 8, 9))
    np.testing.assert_array_equal(one[0], again[0])
    np.testing.assert_array_equal(one[1], again[1])
    assert np.abs(one[0] - other[0]).max() > 0
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    np.testing.assert_equal(after, before)


class Recorded(Covariance):
    """Another covariance, and what it answered."""

    def __init__(self, inner: Covariance) -> None:
        self.inner = inner
        self.answers: list[FloatArray] = []

    def inverses(self, *arguments: Any) -> FloatArray:
        self.answers.append(self.inner.inverses(*arguments))
        return self.answers[-1]

    def measure(self, *arguments: Any) -> FloatArray:
        self.answers.append(self.inner.measure(*arguments))
        return self.answers[-1]


@every_sample
@pytest.mark.parametrize("kind", KINDS)
def test_estimates_know_nothing_of_the_trajectory_played(name: str, kind: Any) -> None:
    rng, covariance = np.random.default_rng(10), Recorded(SAMPLED[name])
    learner = kind(MODEL, covariance=covariance)
    for _ in range(3):
        learner.reset(2, 10, np.random.default_rng(11))
        learner.act()
        states, actions = rng.integers(4, size=(2, 3)), rng.integers(3, size=(2, 3))
        learner.update(TrajectoryFeedback(states, actions, rng.random((2, 3))))
    once = 2 if kind is MagnitudeReducedPolicyOptimization else 1  # plain: no means, no sample
    assert len(covariance.answers) == 3 * once
    for answer, again in zip(covariance.answers, covariance.answers[once:], strict=False):
        np.testing.assert_array_equal(answer, again)


@every_sample
@pytest.mark.parametrize("kind", KINDS)
def test_runs_with_samples_repeat_and_learn(name: str, kind: Any) -> None:
    K = 500
    covariance: dict[str, Covariance] = {
        "empirical": EmpiricalInverse(20),
        "resampled": MatrixGeometricResampling(2, 10),
    }
    losses = stochastic_losses(MODEL, K, rng=np.random.default_rng(12), gap=0.5)
    environment = AdversarialMDP(MODEL, losses)
    learner = kind(MODEL, learning_rate=1.0, regularization=0.05, covariance=covariance[name])
    first, again, other = (
        run(learner, environment, K, n_replications=4, seed=seed, checkpoints=[K])
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.regret, again.regret)
    assert np.abs(first.regret - other.regret).max() > 0
    uniform = run(UniformPolicy(MODEL), environment, K, seed=0, checkpoints=[K]).mean()[-1]
    assert first.mean()[-1] < 0.8 * uniform
    assert first.guarantee is None


def test_bad_arguments_are_named() -> None:
    for value in (0, -1):
        with pytest.raises(ValueError, match="n_trajectories"):
            EmpiricalInverse(value)
        with pytest.raises(ValueError, match="n_copies"):
            MatrixGeometricResampling(value)
        with pytest.raises(ValueError, match="n_terms"):
            MatrixGeometricResampling(2, value)
    with pytest.raises(TypeError, match="n_trajectories"):
        EmpiricalInverse(2.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="n_copies"):
        MatrixGeometricResampling(2.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="n_terms"):
        MatrixGeometricResampling(2, 2.0)  # type: ignore[arg-type]
