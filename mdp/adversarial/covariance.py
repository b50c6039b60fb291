"""Regularised inverse covariances of a policy's features, with a simulator.

For the occupancy measure q of a policy, per layer,

    Σ = Σ_{s,a} q(s, a) φ(s, a) φ(s, a)ᵀ,      Σ̂† ≈ Γ⁻¹,      Γ = γ I + Σ.

`ExactCovariance` takes q from dynamic programming: a simulator asked infinitely often.
`EmpiricalInverse` takes W trajectories of the policy: Σ̂† = (γ I + Σ̃)⁻¹ with their mean Σ̃ of φφᵀ. If
E = Γ^{−½} (Σ̃ − Σ) Γ^{−½} has norm e < 1, then Γ⁻¹/(1 + e) ⪯ Σ̂† ⪯ Γ⁻¹/(1 − e).
`MatrixGeometricResampling` takes M copies of a truncated Neumann series, from M N trajectories,

    Z_0 = I,   Z_n = Z_{n−1} (I − c (γ I + φφᵀ)),   Σ̂† = mean over copies of c Σ_{n = 0}^N Z_n,

made symmetric at the end; its expectation is Γ⁻¹ (I − (I − c Γ)^{N+1}). c = ½ where γ <= 1, as in
the papers; 1/(1 + γ) beyond, which keeps all I − c (γ I + φφᵀ) positive.

The magnitude-reduced estimator also needs a mean under the policy. It is taken under q where that
is known, and otherwise over as many trajectories again, independent of those for Σ̂†.

References:
    Neu, Olkhovskaya. Efficient and robust algorithms for adversarial linear contextual bandits.
    COLT 2020 (matrix geometric resampling).
    Luo, Wei, Lee. Policy optimization in adversarial MDPs. NeurIPS 2021 (its regularised form).
    Dai, Luo, Wei, Zimmert. Refined regret for adversarial MDPs with linear function approximation.
    ICML 2023 (the empirical inverse).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numba import njit

from ...core import checks
from ...core.checks import FloatArray, IntArray
from ..models import LinearMDP
from .environment import rollout


@njit(cache=True, error_model="numpy")
def _invert(matrix: FloatArray, work: FloatArray, out: FloatArray) -> None:
    """out = matrix⁻¹ of a positive definite (d, d), whose lower triangle is read."""
    d = len(matrix)
    for j in range(d):  # work: the Cholesky factor L, in its lower triangle
        total = matrix[j, j]
        for k in range(j):
            total -= work[j, k] * work[j, k]
        work[j, j] = math.sqrt(total)
        for i in range(j + 1, d):
            total = matrix[i, j]
            for k in range(j):
                total -= work[i, k] * work[j, k]
            work[i, j] = total / work[j, j]
    for j in range(d):  # L becomes L⁻¹
        work[j, j] = 1.0 / work[j, j]
        for i in range(j + 1, d):
            total = 0.0
            for k in range(j, i):
                total -= work[i, k] * work[k, j]
            work[i, j] = total / work[i, i]
    for i in range(d):
        for j in range(i + 1):
            total = 0.0
            for k in range(i, d):
                total += work[k, i] * work[k, j]
            out[i, j] = total
            out[j, i] = total


@njit(cache=True)
def _regularized_inverses(
    measures: FloatArray, features: FloatArray, regularization: float, out: FloatArray
) -> None:
    """out = (γ I + Σ q φφᵀ)⁻¹ per replication and layer, (R, H, d, d), for q (R, H, S, A)."""
    n, horizon, states, actions = measures.shape
    d = features.shape[3]
    gram, work = np.empty((d, d)), np.empty((d, d))
    for r in range(n):
        for h in range(horizon):
            gram[:] = 0.0
            for i in range(d):
                gram[i, i] = regularization
            for s in range(states):
                for a in range(actions):
                    q = measures[r, h, s, a]
                    if q > 0.0:
                        for i in range(d):
                            weight = q * features[h, s, a, i]
                            for j in range(i + 1):
                                gram[i, j] += weight * features[h, s, a, j]
            _invert(gram, work, out[r, h])


def regularized_inverses(
    model: LinearMDP, measures: FloatArray, regularization: float
) -> FloatArray:
    """(γ I + Σ_{s,a} q(s, a) φφᵀ)⁻¹, (R, H, d, d), for measures q (R, H, S, A)."""
    out = np.empty((*measures.shape[:2], model.dim, model.dim))
    _regularized_inverses(measures, model.features, regularization, out)
    return out


@njit(cache=True)
def _add_visits(states: IntArray, actions: IntArray, weight: float, out: FloatArray) -> None:
    for r in range(states.shape[0]):
        for h in range(states.shape[1]):
            out[r, h, states[r, h], actions[r, h]] += weight


@njit(cache=True)
def _add_squares(phi: FloatArray, weight: float, out: FloatArray) -> None:
    """out += weight · φφᵀ, lower triangles, (R, H, d, d) for φ (R, H, d)."""
    for r in range(phi.shape[0]):
        for h in range(phi.shape[1]):
            for i in range(phi.shape[2]):
                scaled = weight * phi[r, h, i]
                if scaled != 0.0:
                    for j in range(i + 1):
                        out[r, h, i, j] += scaled * phi[r, h, j]


@njit(cache=True)
def _invert_all(matrices: FloatArray) -> None:
    """Positive definite (R, H, d, d), lower triangles, become their inverses."""
    d = matrices.shape[3]
    out, work = np.empty((d, d)), np.empty((d, d))
    for r in range(matrices.shape[0]):
        for h in range(matrices.shape[1]):
            _invert(matrices[r, h], work, out)
            matrices[r, h] = out


@njit(cache=True)
def _next_term(
    Z: FloatArray, total: FloatArray, phi: FloatArray, regularization: float, step: float
) -> None:
    """Z ← Z (I − c (γ I + φφᵀ)) and total += Z, (R, H, d, d)."""
    d = phi.shape[2]
    for r in range(phi.shape[0]):
        for h in range(phi.shape[1]):
            for i in range(d):
                along = 0.0
                for j in range(d):
                    along += Z[r, h, i, j] * phi[r, h, j]
                for j in range(d):
                    Z[r, h, i, j] -= step * (regularization * Z[r, h, i, j] + along * phi[r, h, j])
                    total[r, h, i, j] += Z[r, h, i, j]


class Covariance(ABC):
    """A way to get at the inverse covariance of a policy, where states are enumerated."""

    @abstractmethod
    def inverses(
        self,
        model: LinearMDP,
        policies: FloatArray,
        regularization: float,
        rng: np.random.Generator,
    ) -> FloatArray:
        """Σ̂† (R, H, d, d) for policies (R, H, S, A) and γ > 0."""

    @abstractmethod
    def measure(
        self,
        model: LinearMDP,
        policies: FloatArray,
        regularization: float,
        rng: np.random.Generator,
    ) -> FloatArray:
        """What means are taken under, (R, H, S, A): q, or frequencies of a fresh sample."""


class ExactCovariance(Covariance):
    """From the occupancy measure, by dynamic programming."""

    def inverses(
        self,
        model: LinearMDP,
        policies: FloatArray,
        regularization: float,
        rng: np.random.Generator,
    ) -> FloatArray:
        """Γ⁻¹."""
        return regularized_inverses(model, model.occupancy_of(policies), regularization)

    def measure(
        self,
        model: LinearMDP,
        policies: FloatArray,
        regularization: float,
        rng: np.random.Generator,
    ) -> FloatArray:
        """q."""
        return model.occupancy_of(policies)


class SampledCovariance(Covariance):
    """From trajectories."""

    @abstractmethod
    def sample_size(self, regularization: float) -> int:
        """How many trajectories are drawn for Σ̂† with γ, and as many again for means."""

    @abstractmethod
    def from_features(
        self, draw: Callable[[], FloatArray], regularization: float, *, largest: float = 1.0
    ) -> FloatArray:
        """Σ̂† (R, H, d, d) from the features of trajectories.

        Args:
            draw: gives those of the next trajectory of each replication, (R, H, d).
            regularization: γ.
            largest: a bound on their squared norms.
        """

    def inverses(
        self,
        model: LinearMDP,
        policies: FloatArray,
        regularization: float,
        rng: np.random.Generator,
    ) -> FloatArray:
        """Σ̂† from fresh trajectories."""
        layers = np.arange(model.horizon)
        return self.from_features(
            lambda: model.features[layers, *trajectories(model, policies, rng)], regularization
        )

    def measure(
        self,
        model: LinearMDP,
        policies: FloatArray,
        regularization: float,
        rng: np.random.Generator,
    ) -> FloatArray:
        """Frequencies in as many trajectories."""
        return sampled_frequencies(model, policies, self.sample_size(regularization), rng)


class EmpiricalInverse(SampledCovariance):
    """From W trajectories, and W more for means.

    Args:
        n_trajectories: W >= 1.
    """

    def __init__(self, n_trajectories: int) -> None:
        self.n_trajectories = checks.integer(n_trajectories, "n_trajectories", minimum=1)

    def sample_size(self, regularization: float) -> int:
        """W."""
        return self.n_trajectories

    def from_features(
        self, draw: Callable[[], FloatArray], regularization: float, *, largest: float = 1.0
    ) -> FloatArray:
        """(γ I + Σ̃)⁻¹."""
        phi = draw()
        matrices = np.zeros((*phi.shape, phi.shape[-1]))
        matrices += regularization * np.eye(phi.shape[-1])
        for n in range(self.n_trajectories):
            _add_squares(phi if n == 0 else draw(), 1 / self.n_trajectories, matrices)
        _invert_all(matrices)
        return matrices


class MatrixGeometricResampling(SampledCovariance):
    """From M copies of a Neumann series of N terms, M N trajectories, and M N more for means.

    Args:
        n_copies: M >= 1. Theory asks for about ln(d H K)/γ² copies and more; the default is 20.
        n_terms: N >= 1; None: ⌈ln(1/(0.1 γ))/(c γ)⌉, with which the mean is off by 0.1 or less.
    """

    def __init__(self, n_copies: int = 20, n_terms: int | None = None) -> None:
        self.n_copies = checks.integer(n_copies, "n_copies", minimum=1)
        if n_terms is not None:
            checks.integer(n_terms, "n_terms", minimum=1)
        self.n_terms = n_terms

    def terms(self, regularization: float, *, largest: float = 1.0) -> int:
        """N."""
        if self.n_terms is not None:
            return self.n_terms
        rate = self.step(regularization, largest=largest) * regularization
        return max(1, math.ceil(math.log(10 / regularization) / rate))

    @staticmethod
    def step(regularization: float, *, largest: float = 1.0) -> float:
        """c: ½, or less where γ I + φφᵀ can have a norm above 2."""
        return min(0.5, 1 / (regularization + largest))

    def sample_size(self, regularization: float) -> int:
        """M N."""
        return self.n_copies * self.terms(regularization)

    def from_features(
        self, draw: Callable[[], FloatArray], regularization: float, *, largest: float = 1.0
    ) -> FloatArray:
        """The mean of the copies, made symmetric."""
        M, N = self.n_copies, self.terms(regularization, largest=largest)
        step = self.step(regularization, largest=largest)
        phi = draw()
        identity = np.broadcast_to(np.eye(phi.shape[-1]), (*phi.shape, phi.shape[-1]))
        total = M * identity
        for m in range(M):
            Z = identity.copy()
            for n in range(N):
                _next_term(Z, total, phi if m + n == 0 else draw(), regularization, step)
        mean = step / M * total
        return 0.5 * (mean + np.swapaxes(mean, -1, -2))


def trajectories(
    model: LinearMDP, policies: FloatArray, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """States and actions (R, H) of one fresh trajectory of each policy (R, H, S, A)."""
    n = len(policies)
    states, actions = np.empty((2, n, model.horizon), dtype=np.int64)
    uniforms = rng.random((n, model.horizon, 2))
    rollout(policies, model.transition, model.initial_state, uniforms, states, actions)
    return states, actions


def sampled_frequencies(
    model: LinearMDP, policies: FloatArray, n_trajectories: int, rng: np.random.Generator
) -> FloatArray:
    """Frequencies (R, H, S, A) of states and actions in fresh trajectories of each policy."""
    out = np.zeros_like(policies)
    for _ in range(n_trajectories):
        _add_visits(*trajectories(model, policies, rng), 1 / n_trajectories, out)
    return out
