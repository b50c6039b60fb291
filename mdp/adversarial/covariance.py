"""Regularised inverse covariances of a policy's features, with a simulator.

For the occupancy measure q of a policy, per layer,

    Σ = Σ_{s,a} q(s, a) φ(s, a) φ(s, a)ᵀ,      Σ̂† ≈ Γ⁻¹,      Γ = γ I + Σ.

`ExactCovariance` takes q from dynamic programming: a simulator asked infinitely often.
`EmpiricalInverse` takes W trajectories of the policy: Σ̂† = (γ I + Σ̃)⁻¹ with their mean Σ̃ of φφᵀ. If
E = Γ^{−½} (Σ̃ − Σ) Γ^{−½} has norm e < 1, then Γ⁻¹/(1 + e) ⪯ Σ̂† ⪯ Γ⁻¹/(1 − e).
`MatrixGeometricResampling` takes M copies of a truncated Neumann series, from M N trajectories,

    Z_0 = I,   Z_n = Z_{n−1} (I − ½ (γ I + φφᵀ)),   Σ̂† = mean over copies of ½ Σ_{n = 0}^N Z_n,

made symmetric at the end; its expectation is Γ⁻¹ (I − (I − Γ/2)^{N+1}).

The magnitude-reduced estimator also needs a mean under the policy. It is taken under q where that
is known, and otherwise over as many trajectories again, independent of those for Σ̂†; these are
drawn for the plain estimator too, which has no use for them.

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


class Covariance(ABC):
    """A way to get at the inverse covariance of a policy."""

    @abstractmethod
    def estimate(
        self,
        model: LinearMDP,
        policies: FloatArray,
        regularization: float,
        rng: np.random.Generator,
    ) -> tuple[FloatArray, FloatArray]:
        """Σ̂† (R, H, d, d) for policies (R, H, S, A), and the measure (R, H, S, A) for means."""


class ExactCovariance(Covariance):
    """From the occupancy measure, by dynamic programming."""

    def estimate(
        self,
        model: LinearMDP,
        policies: FloatArray,
        regularization: float,
        rng: np.random.Generator,
    ) -> tuple[FloatArray, FloatArray]:
        """Γ⁻¹ and q."""
        q = model.occupancy_of(policies)
        return regularized_inverses(model, q, regularization), q


class EmpiricalInverse(Covariance):
    """From W trajectories, and W more for means.

    Args:
        n_trajectories: W >= 1.
    """

    def __init__(self, n_trajectories: int) -> None:
        self.n_trajectories = checks.integer(n_trajectories, "n_trajectories", minimum=1)

    def estimate(
        self,
        model: LinearMDP,
        policies: FloatArray,
        regularization: float,
        rng: np.random.Generator,
    ) -> tuple[FloatArray, FloatArray]:
        """(γ I + Σ̃)⁻¹ and the frequencies of an independent sample."""
        first = sampled_frequencies(model, policies, self.n_trajectories, rng)
        second = sampled_frequencies(model, policies, self.n_trajectories, rng)
        return regularized_inverses(model, first, regularization), second


class MatrixGeometricResampling(Covariance):
    """From M copies of a Neumann series of N terms, M N trajectories, and M N more for means.

    For γ <= 3 only: beyond, the series diverges. (Practical tuning takes a larger γ where H = 1 or
    episodes are few.)

    Args:
        n_copies: M >= 1. Theory asks for about ln(d H K)/γ² copies and more; the default is 20.
        n_terms: N >= 1; None: ⌈(2/γ) ln(1/(0.1 γ))⌉.
    """

    def __init__(self, n_copies: int = 20, n_terms: int | None = None) -> None:
        self.n_copies = checks.integer(n_copies, "n_copies", minimum=1)
        if n_terms is not None:
            checks.integer(n_terms, "n_terms", minimum=1)
        self.n_terms = n_terms

    def terms(self, regularization: float) -> int:
        """N."""
        if self.n_terms is not None:
            return self.n_terms
        return max(1, math.ceil(2 / regularization * math.log(10 / regularization)))

    def estimate(
        self,
        model: LinearMDP,
        policies: FloatArray,
        regularization: float,
        rng: np.random.Generator,
    ) -> tuple[FloatArray, FloatArray]:
        """The mean of the copies, made symmetric, and the frequencies of an independent sample."""
        if regularization > 3:
            raise ValueError(
                f"regularization must be at most 3 for resampling, got {regularization}"
            )
        M, N = self.n_copies, self.terms(regularization)
        layers = np.arange(model.horizon)
        shape = (*policies.shape[:2], model.dim, model.dim)
        identity = np.broadcast_to(np.eye(model.dim), shape)
        total = np.zeros(shape)
        for _ in range(M):
            Z = identity
            total += Z
            for _ in range(N):
                states, actions = trajectories(model, policies, rng)
                phi = model.features[layers, states, actions]  # (R, H, d)
                step = (Z @ phi[..., None]) * phi[..., None, :]
                Z = (1 - regularization / 2) * Z - step / 2
                total += Z
        mean = total / (2 * M)
        measure = sampled_frequencies(model, policies, M * N, rng)
        return 0.5 * (mean + np.swapaxes(mean, -1, -2)), measure


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
