"""Policy optimisation for adversarial linear MDPs: what the algorithms share.

Episode k, with cumulative adjusted losses C_k (C_1 = 0), learning rate η, potential ψ:

    π_k(·|s)  = argmin_{p ∈ simplex} η ⟨C_k(s, ·), p⟩ + ψ(p)                 in each layer and state
    Σ̂†        ≈ (γ I + Σ_{s,a} q_k φφᵀ)⁻¹                                     in each layer
    play π_k, see (s_h, a_h) and ℓ_{k,h};  L_h = Σ_{i ≥ h} ℓ_{k,i}           (loss to go)
    x(s, a)   = φ(s, a)ᵀ Σ̂† φ(s_h, a_h)
    Q̂_k(s, a) = x(s, a) L_h                                                   (plain)
              = x L_h − H min{x, 0} + m,  m = H E_{π_k} min{x, 0}             (magnitude-reduced)
    b_k(s, a) = β (‖φ(s, a)‖²_{Σ̂†} + Σ_{a'} π_k(a'|s) ‖φ(s, a')‖²_{Σ̂†})       (bonus)
    B_k(s, a) = b_k(s, a) + (1 + 1/H) E_{s'} Σ_{a'} π_k(a'|s') B_k(s', a')    (dilated bonus)
    C_{k+1}   = C_k + Q̂_k − B_k

With Σ̂† exact both estimators have the mean Q_k − γ φᵀ Σ̂† θ_k, where Q_k = φᵀθ_k are the action
values.

With Σ̂† exact and n = 1 for the plain estimator, n = 2 for the reduced one, suppose that

    β >= 4 n η H²,   γ >= 7 η β H²,   and for the entropy ψ also η H <= γ/2 (n = 1), √γ/2 (n = 2).

Then 2 η B_k <= 1/H, and if ‖θ_k‖ <= N always, the expected regret after t of K episodes is at most

    (H/η) P + 2e β d H t + 2 γ N² H t/β + smoothing,

with P = ln A and no smoothing for the entropy, P = A ln K and a smoothing of (t/K) H (H + 2 N +
3.5 H β/γ) for the log-barrier, whose comparator is moved away from the border of the simplex. The
papers take N = √d H; here it is certified for the game, see `AdversarialMDP.parameter_norm`.

References:
    Dai, Luo, Wei, Zimmert. Refined regret for adversarial MDPs with linear function approximation.
    ICML 2023.
    Luo, Wei, Lee. Policy optimization in adversarial MDPs: improved exploration via dilated
    bonuses. NeurIPS 2021.
Differs from the papers: constants of tuning and bound are derived here, theirs were not seen. With
a `LinearMDP`, states are enumerated and transitions known; with a `Simulator`, as in the papers,
neither, and the policies are evaluated where they are asked for (see `lazy`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numba import njit

from ...core import checks
from ...core.checks import FloatArray, IntArray
from ...core.environment import Action, Environment, TrajectoryFeedback
from ...core.guarantee import Guarantee
from ...core.learner import Learner
from ...core.potentials import LogBarrier, NegativeEntropy, SimplexPotential
from ..models import LinearMDP
from .covariance import Covariance, ExactCovariance, SampledCovariance
from .environment import AdversarialMDP
from .lazy import LazyPolicy, Simulator


@njit(cache=True)
def _add_adjusted_losses(
    cumulative: FloatArray,
    policies: FloatArray,
    measures: FloatArray,
    inverses: FloatArray,
    states: IntArray,
    actions: IntArray,
    losses: FloatArray,
    transition: FloatArray,
    features: FloatArray,
    bonus_scale: float,
    reduced: bool,
) -> None:
    """C += Q̂ − B; see the module docstring. `measures` is what m is a mean under."""
    n, H, S, A = policies.shape
    d = features.shape[3]
    phi_w, values, sizes = np.empty(d), np.empty((2, S)), np.empty(A)
    dilation = 1.0 + 1.0 / H
    for r in range(n):
        to_go = 0.0
        values[:] = 0.0
        for h in range(H - 1, -1, -1):
            to_go += losses[r, h]
            inverse = inverses[r, h]
            played = features[h, states[r, h], actions[r, h]]
            for i in range(d):  # Σ̂† φ(s_h, a_h)
                total = 0.0
                for j in range(d):
                    total += inverse[i, j] * played[j]
                phi_w[i] = total
            following, now = values[(h + 1) % 2], values[h % 2]
            for s in range(S):
                expected = 0.0
                for a in range(A):
                    phi = features[h, s, a]
                    size, x = 0.0, 0.0
                    for i in range(d):
                        x += phi[i] * phi_w[i]
                        if phi[i] != 0.0:
                            total = 0.0
                            for j in range(d):
                                total += inverse[i, j] * phi[j]
                            size += phi[i] * total
                    sizes[a] = size
                    expected += policies[r, h, s, a] * size
                    estimate = x * to_go
                    if reduced and x < 0.0:
                        estimate -= H * x
                    cumulative[r, h, s, a] += estimate
                value = 0.0
                for a in range(A):
                    bonus = bonus_scale * (sizes[a] + expected)
                    if h + 1 < H:
                        total = 0.0
                        for t in range(S):
                            total += transition[h, s, a, t] * following[t]
                        bonus += dilation * total
                    cumulative[r, h, s, a] -= bonus
                    value += policies[r, h, s, a] * bonus
                now[s] = value
            if reduced:
                _add_means(cumulative[r, h], measures[r, h], inverse, features[h], H, phi_w)


@njit(cache=True)
def _add_means(
    cumulative: FloatArray,
    measure: FloatArray,
    inverse: FloatArray,
    features: FloatArray,
    H: int,
    work: FloatArray,
) -> None:
    """C += m = H Σ_y measure(y) min{φᵀ Σ̂† φ(y), 0} in one layer."""
    S, A, d = features.shape
    # all x(·; y) of one y at once, coordinate by coordinate: loops that vectorise as they are
    by_coordinate = np.ascontiguousarray(features.reshape(S * A, d).T)
    x = np.empty(S * A)
    total_of = cumulative.reshape(S * A)
    for s in range(S):
        for a in range(A):
            weight = H * measure[s, a]
            if weight > 0.0:
                for i in range(d):
                    total = 0.0
                    for j in range(d):
                        total += inverse[i, j] * features[s, a, j]
                    work[i] = total
                x[:] = 0.0
                for i in range(d):
                    w = work[i]
                    for k in range(S * A):
                        x[k] += by_coordinate[i, k] * w
                for k in range(S * A):
                    total_of[k] += weight * min(x[k], 0.0)


@dataclass(frozen=True)
class Tuning:
    """The three parameters of a run.

    Attributes:
        learning_rate: η > 0.
        bonus_scale: β >= 0.
        regularization: γ > 0.
        name: "theory" or "practical", with "overridden" where one was given.
    """

    learning_rate: float
    bonus_scale: float
    regularization: float
    name: str


def optimize(potential: SimplexPotential, cumulative: FloatArray, tuned: Tuning) -> FloatArray:
    """argmin over p of η ⟨C(s, ·), p⟩ + ψ(p) in each state, for C (R, H, S, A)."""
    policies, n_actions = np.empty_like(cumulative), cumulative.shape[-1]
    try:
        potential.maximize_rows(
            cumulative.reshape(-1, n_actions),
            -tuned.learning_rate,
            policies.reshape(-1, n_actions),
        )
    except FloatingPointError:
        with np.errstate(over="ignore", invalid="ignore"):
            scores = tuned.learning_rate * np.ptp(cumulative, axis=-1)
        row = np.argwhere(~np.isfinite(scores))[0, 0]
        raise FloatingPointError(
            f"replication {row}: the cumulative adjusted losses are not finite; is regularization "
            f"= {tuned.regularization:.3g} too small, or learning_rate = {tuned.learning_rate:.3g} "
            "too large?"
        ) from None
    return policies


class PolicyOptimization(Learner):
    """R copies of one of the algorithms; see the module docstring.

    Args:
        model: the MDP; or a simulator of it, for one with too many states: `act` then gives
            functions (see `lazy.LazyPolicy`), and covariances must be sampled.
        tuning: "practical": constants found by search, for which no bound is proven; "theory":
            those of the proof, with which little is learnt in fewer than millions of episodes
            unless H = 1.
        learning_rate: η > 0 instead.
        bonus_scale: β >= 0 instead; 0: no bonus.
        regularization: γ > 0 instead.
        covariance: how Σ̂† is found; None: `ExactCovariance`.
        n_bonus_samples: next states sampled for each bonus, with a simulator; at least 1.

    Attributes:
        tuned: the parameters, known after `reset`.
        cumulative_losses: C_k, (R, H, S, A); not with a simulator.
    """

    potential: ClassVar[SimplexPotential]
    reduced: ClassVar[bool]
    reference: ClassVar[str]

    def __init__(
        self,
        model: LinearMDP | Simulator,
        *,
        tuning: Literal["theory", "practical"] = "practical",
        learning_rate: float | None = None,
        bonus_scale: float | None = None,
        regularization: float | None = None,
        covariance: Covariance | None = None,
        n_bonus_samples: int = 1,
    ) -> None:
        if not isinstance(model, LinearMDP | Simulator):
            raise TypeError(
                f"model must be a LinearMDP or a Simulator, got {model!r}; see tabular_as_linear"
            )
        if tuning not in ("theory", "practical"):
            raise ValueError(f'tuning must be "theory" or "practical", got {tuning!r}')
        self.model, self.tuning = model, tuning
        self.learning_rate = checks.positive(learning_rate, "learning_rate", optional=True)
        if bonus_scale is not None:
            bonus_scale = float(checks.array(bonus_scale, "bonus_scale", shape=(), low=0.0))
        self.bonus_scale = bonus_scale
        self.regularization = checks.positive(regularization, "regularization", optional=True)
        self.covariance = ExactCovariance() if covariance is None else covariance
        if not isinstance(self.covariance, Covariance):
            raise TypeError(f"covariance must be a Covariance, got {covariance!r}")
        if isinstance(model, Simulator) and not isinstance(self.covariance, SampledCovariance):
            raise ValueError(
                f"covariance must be sampled with a simulator, got {covariance!r}; take "
                "EmpiricalInverse or MatrixGeometricResampling"
            )
        self.n_bonus_samples = checks.integer(n_bonus_samples, "n_bonus_samples", minimum=1)
        self.n_episodes: int | None = None

    def theory(self, n_episodes: int) -> tuple[float, float, float]:
        """η, β, γ of the proof, for K episodes."""
        raise NotImplementedError

    def practical(self, n_episodes: int) -> tuple[float, float, float]:
        """η, β, γ found by search, for K episodes."""
        raise NotImplementedError

    def tune(self, n_episodes: int) -> Tuning:
        """The parameters for K episodes."""
        rule = self.theory if self.tuning == "theory" else self.practical
        given = (self.learning_rate, self.bonus_scale, self.regularization)
        eta, beta, gamma = (
            own if own is not None else value
            for own, value in zip(given, rule(n_episodes), strict=True)
        )
        overridden = any(own is not None for own in given)
        return Tuning(eta, beta, gamma, self.tuning + (", overridden" if overridden else ""))

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """C_1 = 0 for R replications; `horizon` is K."""
        self.n_episodes = checks.integer(horizon, "horizon", minimum=1)
        self.tuned = self.tune(self.n_episodes)
        self._rng = rng
        m = self.model
        if isinstance(m, Simulator):
            own = self.potential, self.tuned, self.n_bonus_samples
            children = enumerate(rng.spawn(n_replications))
            self._lazy = [LazyPolicy(m, *own, child, r) for r, child in children]
        else:
            shape = (n_replications, m.horizon, m.n_states, m.n_actions)
            self.cumulative_losses = np.zeros(shape)

    def act(self) -> Action:
        """π_k, (R, H, S, A); with a simulator R functions (layer, state) -> (A,)."""
        if isinstance(self.model, Simulator):
            policies = np.empty(len(self._lazy), dtype=object)
            policies[:] = self._lazy
            return policies
        self.policies = optimize(self.potential, self.cumulative_losses, self.tuned)
        return self.policies

    def update(self, feedback: TrajectoryFeedback) -> None:
        """C_{k+1} = C_k + Q̂_k − B_k."""
        if isinstance(self.model, Simulator):
            self._update_lazily(feedback)
            return
        at = self.model, self.policies, self.tuned.regularization, self._rng
        inverses = self.covariance.inverses(*at)
        measures = self.covariance.measure(*at) if self.reduced else self.policies  # not read
        _add_adjusted_losses(
            self.cumulative_losses,
            self.policies,
            measures,
            inverses,
            feedback.states,
            feedback.actions,
            feedback.losses,
            self.model.transition,
            self.model.features,
            self.tuned.bonus_scale,
            self.reduced,
        )

    def _update_lazily(self, feedback: TrajectoryFeedback) -> None:
        assert isinstance(self.covariance, SampledCovariance)

        def draw() -> FloatArray:
            return np.array([policy.trajectory() for policy in self._lazy])  # (R, H, d)

        gamma = self.tuned.regularization
        inverses = self.covariance.from_features(draw, gamma)
        n = self.covariance.sample_size(gamma) if self.reduced else 0
        sample = np.array([draw() for _ in range(n)]).reshape(n, *inverses.shape[:3])
        f = feedback
        for r, policy in enumerate(self._lazy):
            policy.learn(inverses[r], sample[:, r], f.states[r], f.actions[r], f.losses[r])

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """The bound of the module docstring where its conditions hold; known after `reset`."""
        if (
            self.n_episodes is None
            or not isinstance(environment, AdversarialMDP)
            or not isinstance(self.covariance, ExactCovariance)
        ):
            return None
        H, A, d = self.model.horizon, self.model.n_actions, self.model.dim
        eta, beta, gamma = (
            self.tuned.learning_rate,
            self.tuned.bonus_scale,
            self.tuned.regularization,
        )
        barrier = isinstance(self.potential, LogBarrier)
        small = math.sqrt(gamma) if self.reduced else gamma
        slack = 1 + 1e-9
        if (
            beta * slack < 4 * (2 if self.reduced else 1) * eta * H**2
            or gamma * slack < 7 * eta * beta * H**2
            or not (barrier or eta * H <= small / 2 * slack)
        ):
            return None
        norm = environment.parameter_norm  # N
        if norm == math.inf:
            return None
        K = self.n_episodes
        penalty = A * math.log(K) if barrier else math.log(A)
        smoothing = H * (H + 2 * norm + 3.5 * H * beta / gamma) / K if barrier else 0.0
        slope = 2 * math.e * beta * d * H + 2 * gamma * norm**2 * H / beta + smoothing
        return Guarantee(
            lambda t: H / eta * penalty + slope * t,
            kind="expected",
            assumptions=f"action values φᵀθ with ‖θ‖ <= {norm:.3g}, exact covariance, "
            f"η = {eta:.3g}, β = {beta:.3g}, γ = {gamma:.3g}",
            reference=f"{self.reference}; constants derived",
        )


class LogBarrierPolicyOptimization(PolicyOptimization):
    """The first algorithm of Dai et al.: FTRL with the log-barrier, plain estimator.

    Regret √(A d H⁶ K) up to logarithms. FTRL with the log-barrier needs no lower bound on the loss
    estimates, so that γ may be small. Arguments as `PolicyOptimization`.
    """

    potential = LogBarrier()
    reduced = False
    reference = "Dai, Luo, Wei, Zimmert, ICML 2023, log-barrier"

    def theory(self, n_episodes: int) -> tuple[float, float, float]:
        """η = √(A ln K/(24 d H⁴ K)), β = 4 η H², γ = 12 η β H²."""
        H, A, d = self.model.horizon, self.model.n_actions, self.model.dim
        eta = math.sqrt(A * _log(n_episodes) / (24 * d * H**4 * n_episodes))
        beta = 4 * eta * H**2
        return eta, beta, 12 * eta * beta * H**2

    def practical(self, n_episodes: int) -> tuple[float, float, float]:
        """η = 20 √(A ln K/(d K))/H², β = η/20, γ = 0.3 η²."""
        H, A, d = self.model.horizon, self.model.n_actions, self.model.dim
        eta = 20 / H**2 * math.sqrt(A * _log(n_episodes) / (d * n_episodes))
        return eta, 0.05 * eta, 0.3 * eta**2


class MagnitudeReducedPolicyOptimization(PolicyOptimization):
    """The second algorithm of Dai et al.: exponential weights, magnitude-reduced estimator.

    The estimates are at least −H/√γ where the plain ones can be −H/γ. Regret √(d H⁶ K ln A) up to
    logarithms. Arguments as `PolicyOptimization`.
    """

    potential = NegativeEntropy()
    reduced = True
    reference = "Dai, Luo, Wei, Zimmert, ICML 2023, magnitude-reduced"

    def theory(self, n_episodes: int) -> tuple[float, float, float]:
        """η = √(ln A/(48 d H⁴ K)), β = 8 η H², γ = max{4 η² H², 12 η β H²}."""
        H, A, d = self.model.horizon, self.model.n_actions, self.model.dim
        eta = math.sqrt(_log(A) / (48 * d * H**4 * n_episodes))
        beta = 8 * eta * H**2
        return eta, beta, max(4 * (eta * H) ** 2, 12 * eta * beta * H**2)

    def practical(self, n_episodes: int) -> tuple[float, float, float]:
        """η = 40 √(ln A/(d K))/H², β = η/20, γ = 0.3 η²."""
        H, A, d = self.model.horizon, self.model.n_actions, self.model.dim
        eta = 40 / H**2 * math.sqrt(_log(A) / (d * n_episodes))
        return eta, 0.05 * eta, 0.3 * eta**2


class DilatedBonusPolicyOptimization(PolicyOptimization):
    """The baseline, Luo, Wei, Lee (2021): exponential weights, plain estimator.

    Regret H² (d K)^{2/3} up to logarithms. Arguments as `PolicyOptimization`.
    """

    potential = NegativeEntropy()
    reduced = False
    reference = "Luo, Wei, Lee, NeurIPS 2021"

    def theory(self, n_episodes: int) -> tuple[float, float, float]:
        """η = (ln A/(d H^{3/2} K))^{2/3}, β = max{4 η H², √(η H³)}, γ = max{2 η H, 12 η β H²}."""
        H, A, d = self.model.horizon, self.model.n_actions, self.model.dim
        eta = (_log(A) / (d * H**1.5 * n_episodes)) ** (2 / 3)
        beta = max(4 * eta * H**2, math.sqrt(eta * H**3))
        return eta, beta, max(2 * eta * H, 12 * eta * beta * H**2)

    def practical(self, n_episodes: int) -> tuple[float, float, float]:
        """η = 40 (ln A/(d K))^{2/3}/H, β = √η/20, γ = η/10."""
        H, A, d = self.model.horizon, self.model.n_actions, self.model.dim
        eta = 40 / H * (_log(A) / (d * n_episodes)) ** (2 / 3)
        return eta, 0.05 * math.sqrt(eta), 0.1 * eta


def _log(n: int) -> float:
    """ln n, and ln 2 for n = 1, where any positive rate will do."""
    return math.log(max(n, 2))
