"""LinExp3: exponential weights for adversarial linear contextual bandits.

Contexts X_t ~ P, known, on finitely many vectors x ∈ ℝᵈ; K arms with losses ⟨X_t, θ_{t,a}⟩ in
[−1, 1]. With Σ = Σ_x P(x) x xᵀ, g = max ‖x‖²_{Σ⁻¹} over P(x) > 0, and γ = min{1, η K g}, round t is

    p_t(a|x)    ∝ exp(−η ⟨x, Θ̂_{t−1,a}⟩)
    A_t         ~ π_t(·|X_t),   π_t = (1 − γ) p_t + γ/K,         told y_t = ⟨X_t, θ_{t,A_t}⟩
    Σ_{t,a}     = Σ_x P(x) π_t(a|x) x xᵀ
    Θ̂_{t,a}     = Θ̂_{t−1,a} + 1{A_t = a} Σ_{t,a}⁻¹ X_t y_t        (increments unbiased for θ_{t,a})

in coordinates of the span of the contexts, d its dimension. Expected regret against any policy
fixed in advance, for all η > 0 and all t:

    ln K/η + η K (d + 2 g) t.

Derivation. The increment θ̂ is independent of a fresh context X ~ P given the past, so the regret
is E Σ_t Σ_a (π_t(a|X) − π*(a|X)) ⟨X, θ̂_{t,a}⟩ (Neu, Olkhovskaya, lemma 3). For each x this is
exponential weights with |⟨x, θ̂⟩| <= ‖x‖ ‖X_t‖ in the norm of Σ_{t,a}⁻¹ ⪯ (K/γ) Σ⁻¹, at most
K g/γ = 1/η where γ < 1. As in `exp2` it costs ln K/η + η Σ_t Σ_a π_t(a|x) ⟨x, θ̂_{t,a}⟩², and 2 γ t
for the share played uniformly. The expectation over X of the sum over a is y_t² ‖X_t‖² in the norm
of Σ_{t,A_t}⁻¹, whose expectation is Σ_a tr(Σ_{t,a}⁻¹ Σ_{t,a}) = K d at most. Where η K g >= 1 the
bound is above 2 t.

η = √(ln K/(K (d + 2 g) T)) gives 2 √(K (d + 2 g) T ln K); g >= d, with equality if all ‖x‖_{Σ⁻¹}
agree.

`resampling` = M replaces Σ_{t,a}⁻¹ by matrix geometric resampling from M fresh contexts and arms,

    Σ̂⁺ = c Σ_{m = 0}^M Π_{j ≤ m} (I − c B_j),   B_j = 1{A(j) = a} X(j) X(j)ᵀ,   c = 1/(2 max ‖x‖²),

with expectation Σ_{t,a}⁻¹ (I − (I − c Σ_{t,a})^{M+1}): biased, and no guarantee is claimed for it.

References:
    Neu, Olkhovskaya. Efficient and robust algorithms for adversarial linear contextual bandits.
    COLT 2020.
Differs from the paper: the covariance is exact unless `resampling` is given, and the bound is ours
for this form, in terms of g.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from ...core import checks
from ...core.checks import FloatArray, IntArray
from ...core.environment import BanditFeedback, Environment
from ...core.guarantee import Guarantee
from ...core.learner import Learner
from ...core.random import UniformStream, sample_rows
from .contextual_environments import AdversarialContextualBandit, context_distribution
from .design import whitening
from .exp2 import add_weighted_square, gibbs
from .least_squares import cholesky, solve_lower, solve_upper

if TYPE_CHECKING:
    import numpy.typing as npt


@njit(cache=True)
def _policy(
    x: FloatArray, estimates: FloatArray, learning_rate: float, mixing: float, out: FloatArray
) -> None:
    """out = π(·|x), (K,), for Θ̂ (K, d)."""
    n_arms = len(out)
    scores = np.empty(n_arms)
    for a in range(n_arms):
        total = 0.0
        for i in range(len(x)):
            total += x[i] * estimates[a, i]
        scores[a] = total
    gibbs(scores, learning_rate, out)
    for a in range(n_arms):
        out[a] = (1.0 - mixing) * out[a] + mixing / n_arms


@njit(cache=True)
def _policies(
    contexts: FloatArray,
    seen: FloatArray,
    estimates: FloatArray,
    learning_rate: float,
    mixing: float,
    out: FloatArray,
    now: FloatArray,
) -> None:
    """out[r] = π, (N, K), at the contexts (N, d); now[r] = π(·|seen[r])."""
    for r in range(len(out)):
        for n in range(len(contexts)):
            _policy(contexts[n], estimates[r], learning_rate, mixing, out[r, n])
        _policy(seen[r], estimates[r], learning_rate, mixing, now[r])


@njit(cache=True, error_model="numpy")
def _add_estimates(
    contexts: FloatArray,
    weights: FloatArray,
    policies: FloatArray,
    seen: FloatArray,
    arms: IntArray,
    losses: FloatArray,
    estimates: FloatArray,
) -> None:
    """Θ̂_A += Σ_A⁻¹ X y."""
    d = contexts.shape[1]
    S, L, z = np.empty((d, d)), np.empty((d, d)), np.empty(d)
    for r in range(len(arms)):
        a = arms[r]
        S[:] = 0.0
        for n in range(len(contexts)):
            add_weighted_square(weights[n] * policies[r, n, a], contexts[n], S)
        cholesky(S, L)
        solve_lower(L, seen[r], z)
        solve_upper(L, z, z)
        for i in range(d):
            estimates[r, a, i] += losses[r] * z[i]


@njit(cache=True)
def _add_resampled_estimates(
    contexts: FloatArray,
    cumulative: FloatArray,
    policies: FloatArray,
    seen: FloatArray,
    arms: IntArray,
    losses: FloatArray,
    uniforms: FloatArray,
    step: float,
    estimates: FloatArray,
) -> None:
    """Θ̂_A += Σ̂⁺ X y, by products with vectors; uniforms (R, M, 2), `cumulative` (N,) of P."""
    d = contexts.shape[1]
    v, total = np.empty(d), np.empty(d)
    for r in range(len(arms)):
        a = arms[r]
        v[:] = seen[r]
        total[:] = seen[r]
        for m in range(uniforms.shape[1]):
            n = min(np.searchsorted(cumulative, uniforms[r, m, 0], side="right"), len(contexts) - 1)
            if uniforms[r, m, 1] < policies[r, n, a]:  # A(m) = a
                along = 0.0
                for i in range(d):
                    along += contexts[n, i] * v[i]
                for i in range(d):
                    v[i] -= step * along * contexts[n, i]
            for i in range(d):
                total[i] += v[i]
        for i in range(d):
            estimates[r, a, i] += losses[r] * step * total[i]


class LinExp3(Learner):
    """R copies of LinExp3; see the module docstring.

    Args:
        contexts: x, (N, d).
        context_probabilities: P, (N,).
        n_arms: K >= 2.
        learning_rate: η > 0; None: √(ln K/(K (d + 2 g) T)) for the horizon T given to `reset`.
        resampling: M >= 1, samples of matrix geometric resampling; None: the exact covariance.

    Attributes:
        span_dim: the dimension of the span of the contexts.
        leverage: g.
        coordinates: (N, r), those of the contexts in which Σ = I.
        cumulative_losses: Θ̂ in these coordinates, (R, K, r).
        probabilities: π_t of the last `act`, the whole policy, (R, N, K).
    """

    probabilities: FloatArray

    def __init__(
        self,
        contexts: npt.ArrayLike,
        context_probabilities: npt.ArrayLike,
        n_arms: int,
        *,
        learning_rate: float | None = None,
        resampling: int | None = None,
    ) -> None:
        self.contexts, self.context_probabilities = context_distribution(
            contexts, context_probabilities
        )
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)
        self.learning_rate = checks.positive(learning_rate, "learning_rate", optional=True)
        if resampling is not None:
            checks.integer(resampling, "resampling", minimum=1)
        self.resampling = resampling
        self._map = whitening(self.contexts, self.context_probabilities)  # (d, r)
        self.coordinates = self.contexts @ self._map
        self.span_dim = self.coordinates.shape[1]
        squares = (self.coordinates**2).sum(axis=1)
        self.leverage = float(squares[self.context_probabilities > 0].max())
        self.horizon: int | None = None

    def rate(self, horizon: Any) -> Any:
        """η of a learner that is reset for `horizon` rounds."""
        if self.learning_rate is not None:
            return self.learning_rate
        return np.sqrt(math.log(self.n_arms) / (self._slope() * horizon))

    def _slope(self) -> float:
        return self.n_arms * (self.span_dim + 2 * self.leverage)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """Θ̂_0 = 0, η and γ."""
        self.horizon = checks.integer(horizon, "horizon", minimum=1)
        self.eta = float(self.rate(horizon))
        self.mixing = min(1.0, self.eta * self.n_arms * self.leverage)
        n, K, N = n_replications, self.n_arms, len(self.contexts)
        self.cumulative_losses = np.zeros((n, K, self.span_dim))
        arms_rng, self._resampling_rng = rng.spawn(2)
        self._uniforms = UniformStream(arms_rng, (n,))
        self._shapes = (n, N, K), (n, K)

    def see(self, context: FloatArray) -> None:
        """X_t, (R, d)."""
        if context.shape != (len(self.cumulative_losses), self.contexts.shape[1]):
            raise ValueError(
                f"context must have shape (R, {self.contexts.shape[1]}), got {context.shape}; "
                "LinExp3 takes one vector, shared by the arms"
            )
        self._seen = context @ self._map

    def act(self) -> IntArray:
        """A_t ~ π_t(·|X_t), shape (R,)."""
        self.probabilities, now = (np.empty(shape) for shape in self._shapes)
        _policies(
            self.coordinates,
            self._seen,
            self.cumulative_losses,
            self.eta,
            self.mixing,
            self.probabilities,
            now,
        )
        return sample_rows(now, self._uniforms.draw())

    def update(self, feedback: BanditFeedback) -> None:
        """Θ̂_t."""
        if self.resampling is None:
            _add_estimates(
                self.coordinates,
                self.context_probabilities,
                self.probabilities,
                self._seen,
                feedback.arms,
                feedback.losses,
                self.cumulative_losses,
            )
            return
        _add_resampled_estimates(
            self.coordinates,
            np.cumsum(self.context_probabilities),
            self.probabilities,
            self._seen,
            feedback.arms,
            feedback.losses,
            self._resampling_rng.random((len(feedback.arms), self.resampling, 2)),
            1 / (2 * self.leverage),
            self.cumulative_losses,
        )

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """ln K/η + η K (d + 2 g) t in expectation; before `reset`, for a learner tuned for t.

        None with `resampling`, and in other games than `AdversarialContextualBandit`.
        """
        if self.resampling is not None or not isinstance(environment, AdversarialContextualBandit):
            return None
        horizon, entropy = self.horizon, math.log(self.n_arms)

        def bound(t: Any) -> Any:
            eta = self.rate(t if horizon is None else horizon)
            return entropy / eta + eta * self._slope() * t

        return Guarantee(
            bound,
            kind="expected",
            assumptions="contexts drawn from the known distribution, losses ⟨x, θ⟩ in [-1, 1] that "
            "do not depend on the learner's actions or on the contexts drawn",
            reference="derived, after Neu, Olkhovskaya 2020",
        )
