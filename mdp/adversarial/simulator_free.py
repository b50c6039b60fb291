"""Policy optimisation for adversarial linear MDPs without a simulator: a reconstruction.

Transitions are not known and cannot be sampled; all data come from the K episodes themselves. A
policy cover π_cov is learnt first (K_0 episodes, see `cover`), or given by an oracle. Then come
epochs j = 1, 2, ... of W episodes, with C_1 = 0:

    π_j(·|s) = argmin_{p ∈ simplex} η ⟨C_j(s, ·), p⟩ + ψ(p) in known states s, uniform elsewhere.

    Each episode: Y ~ Bernoulli(δ). Y = 0: play π_j. Y = 1: draw h* uniformly from 1, ..., H, play
    the cover in layers 1, ..., h* and π_j after. Its weights are w_h = 1 − Y + Y H 1[h = h*].

Given s_h and a_h, the layers after h are played by π_j wherever w_h > 0, and

    E[w_h φφᵀ] = (1 − δ) Σ_{π_j, h} + δ Σ_{cov, h}.

At the end of the epoch its episodes fall at random into two halves of W/2. From the first,

    Σ̂†_h ≈ (γ I + (2/W) Σ w_h φφᵀ)⁻¹            empirical inverse, or matrix geometric resampling

and from the second, with L_h the loss to go and b the bonus, which is 0 in unknown states,

    b(s, a)  = β (‖φ(s, a)‖²_{Σ̂†} + Σ_{a'} π_j(a'|s) ‖φ(s, a')‖²_{Σ̂†})
    θ̂_h      = Σ̂†_h (2/W) Σ w_h φ(s_h, a_h) L_h
    D_h      = Σ_{i > h} (1 + 1/H)^{i − h} b(s_i, a_i)
    Λ̂_h      = Σ̂†_h (2/W) Σ w_h φ(s_h, a_h) D_h
    C_{j+1}  = C_j + φᵀθ̂ − b − φᵀΛ̂.

`SimulatorFreeLogBarrier` has the log-barrier ψ and the empirical inverse, the two changes by which
Dai et al. (2023) bring the rate of Luo, Wei, Lee (2021) from K^{14/15} to K^{8/9}.
`SimulatorFreeExponentialWeights` has the entropy and resampling: the older one.

For resampling the features are √w φ and the step is c = min{½, 1/(γ + H)}; as many copies of the
series are taken as W/2 trajectories allow, and where not even one fits, it has W/2 terms. That is
so for the practical tuning at all K of practice: Σ̂† is then less than γ alone would allow.

Tuning "theory" has the exponents in K under which all main terms of the regret are of the order of
the paper's rate K^{1−x}, with constants 1. These are, up to powers of H, d and A,

    W/η          of FTRL, each of whose rounds lasts W episodes
    β K          of the bonus, at least η K: the bonus pays for the variance of the estimates
    (γ/β) K      of the bias by γ, of θ̂ and of Λ̂, if bonuses are bounded in known states: β α <= δ
    δ K          of exploration
    K/α          of states that are not known

and W is what the estimate of Σ̂† takes: γ⁻² for the empirical inverse, ε⁻² γ⁻³ for resampling with
an additive error ε, which costs ε K. Exponential weights also need η √(α/(δ γ)) <= 1, so that no
loss is far below −1/η; the log-barrier does not. Hence

    log-barrier, inverse:      α = d H K^x, δ = K^{−x}, β = K^{−2x}, γ = K^{−3x}, W = K^{6x},
                               η = K^{−2x} and x = 1/9
    exponential, resampling:   the same α, δ, β, γ; ε = K^{−x}, W = K^{11x}, η = K^{−3x}, x = 1/15

No bound with constants is proven here, so that there is no guarantee.

References:
    Dai, Luo, Wei, Zimmert. Refined regret for adversarial MDPs with linear function approximation.
    ICML 2023 (the rate K^{8/9}).
    Luo, Wei, Lee. Policy optimization in adversarial MDPs: improved exploration via dilated
    bonuses. NeurIPS 2021 (the rate K^{14/15}).
Reconstruction: the papers' pseudo-code was not seen, and the exponents are derived from the rates.
The halves are random, because an adversary could tell the first W/2 episodes from the others. After
the last full epoch the next policy is played without an update.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from ...core import checks
from ...core.checks import FloatArray
from ...core.environment import TrajectoryFeedback
from ...core.learner import Learner
from ...core.potentials import LogBarrier, NegativeEntropy, SimplexPotential
from ..models import LinearMDP
from .covariance import EmpiricalInverse, MatrixGeometricResampling, SampledCovariance
from .cover import LearnedCover, known_states, optimal_design, squared_norms
from .policy_optimization import Tuning, optimize

Parameters: TypeAlias = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class SimulatorFreeTuning(Tuning):
    """The six parameters of a run.

    Attributes:
        exploration: δ in [0, 1].
        epoch_length: W >= 2, even.
        known_threshold: α > 0.
    """

    exploration: float
    epoch_length: int
    known_threshold: float


class SimulatorFree(Learner):
    """R copies of one of the algorithms; see the module docstring.

    Args:
        model: gives features, sizes and the first state; its transitions are used by the oracle
            cover alone.
        tuning: "practical": constants found by search; "theory": constants 1, with which hardly
            anything is learnt in fewer than millions of episodes. Of the cover it sets α alone.
        learning_rate: η > 0 instead.
        bonus_scale: β >= 0 instead; 0: no bonus.
        regularization: γ > 0 instead.
        exploration: δ instead, in [0, 1].
        epoch_length: W >= 2 instead, even.
        known_threshold: α > 0 instead. States that no policy reaches more often than about d H/α
            may stay unknown, and are then played uniformly throughout.
        cover: "learned" in the first K_0 episodes, or "oracle": an optimal design over occupancy
            measures, found with the transitions, K_0 = 0.
        cover_size: M_0 = N_0 >= 1 of the learned cover; None: ⌈K^{1/3}⌉, so that K_0 is about
            K^{2/3}. Not used by the oracle's.
        cover_optimism: ξ >= 0 of the learned cover; theory asks for d H √ln K.

    Attributes:
        tuned: the parameters, known after `reset`.
        cumulative_losses: C_j, (R, H, S, A).
        known: the known states, (R, H, S), once there is a cover.
    """

    potential: ClassVar[SimplexPotential]
    resampling: ClassVar[bool]

    def __init__(
        self,
        model: LinearMDP,
        *,
        tuning: Literal["theory", "practical"] = "practical",
        learning_rate: float | None = None,
        bonus_scale: float | None = None,
        regularization: float | None = None,
        exploration: float | None = None,
        epoch_length: int | None = None,
        known_threshold: float | None = None,
        cover: Literal["learned", "oracle"] = "learned",
        cover_size: int | None = None,
        cover_optimism: float = 0.3,
    ) -> None:
        if not isinstance(model, LinearMDP):
            raise TypeError(f"model must be a LinearMDP, got {model!r}; pass one")
        for value, name, choices in (
            (tuning, "tuning", ("theory", "practical")),
            (cover, "cover", ("learned", "oracle")),
        ):
            if value not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {value!r}; pass one")
        self.model, self.tuning, self.cover = model, tuning, cover
        self.learning_rate = checks.positive(learning_rate, "learning_rate", optional=True)
        self.bonus_scale = _optional_real(bonus_scale, "bonus_scale", math.inf)
        self.regularization = checks.positive(regularization, "regularization", optional=True)
        self.exploration = _optional_real(exploration, "exploration", 1.0)
        if epoch_length is not None:
            checks.integer(epoch_length, "epoch_length", minimum=2)
            if epoch_length % 2:
                raise ValueError(f"epoch_length must be even, got {epoch_length}; add one")
        self.epoch_length = epoch_length
        if cover_size is not None:
            checks.integer(cover_size, "cover_size", minimum=1)
        self.cover_size = cover_size
        self.cover_optimism = float(checks.array(cover_optimism, "cover_optimism", shape=(), low=0))
        self.known_threshold = checks.positive(known_threshold, "known_threshold", optional=True)

    def theory(self, n_episodes: int) -> Parameters:
        """η, β, γ, δ, W, α with constants 1, for K episodes."""
        raise NotImplementedError

    def practical(self, n_episodes: int) -> Parameters:
        """η, β, γ, δ, W, α found by search, for K episodes."""
        raise NotImplementedError

    def covariance(self) -> SampledCovariance:
        """How Σ̂† is found from W/2 episodes: from all; by as many copies of the series as fit.

        Where not even one fits, it has fewer terms.
        """
        half, gamma = self.tuned.epoch_length // 2, self.tuned.regularization
        if not self.resampling:
            return EmpiricalInverse(half)
        terms = MatrixGeometricResampling().terms(gamma, largest=self._largest)
        return MatrixGeometricResampling(max(1, half // terms), min(half, terms))

    def tune(self, n_episodes: int) -> SimulatorFreeTuning:
        """The parameters for K episodes."""
        given = (
            self.learning_rate,
            self.bonus_scale,
            self.regularization,
            self.exploration,
            self.epoch_length,
            self.known_threshold,
        )
        rule = self.theory if self.tuning == "theory" else self.practical
        eta, beta, gamma, delta, W, alpha = (
            own if own is not None else value
            for own, value in zip(given, rule(n_episodes), strict=True)
        )
        overridden = any(own is not None for own in given)
        name = self.tuning + (", overridden" if overridden else "")
        return SimulatorFreeTuning(eta, beta, gamma, name, delta, _even(W), alpha)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """C_1 = 0 and nothing known, for R replications; `horizon` is K."""
        K = checks.integer(horizon, "horizon", minimum=1)
        self.tuned, self._rng = self.tune(K), rng
        self._largest = float(self.model.horizon) if self.tuned.exploration > 0 else 1.0  # of w
        m, W = self.model, self.tuned.epoch_length
        shape = (n_replications, m.horizon, m.n_states, m.n_actions)
        self.cumulative_losses = np.zeros(shape)
        self._layers = np.arange(m.horizon)
        self._states, self._actions = np.empty((2, n_replications, W, m.horizon), dtype=np.int64)
        self._losses = np.empty((n_replications, W, m.horizon))
        self._episode = 0  # of the cover, then of the epoch
        self._learning: LearnedCover | None = None
        if self.cover == "oracle":
            q, _ = optimal_design(m, 1 / K)
            sigma = np.einsum("hsa,hsai,hsaj->hij", q, m.features, m.features)
            reached, policy = q.sum(axis=-1, keepdims=True), m.uniform_policy()
            np.divide(q, reached, out=policy, where=reached > 0)
            self._start(policy[None, None], sigma + np.eye(m.dim) / K)
        else:
            size = self.cover_size or math.ceil(K ** (1 / 3))
            if self.cover_size is not None and size**2 >= K:
                raise ValueError(
                    f"cover_size must have a square below the horizon {K}, got {size}; the cover "
                    "takes so many episodes"
                )
            self._learning = LearnedCover(
                m,
                n_replications,
                n_policies=size,
                n_plays=size,
                threshold=self.tuned.known_threshold,
                optimism=self.cover_optimism,
            )

    def _start(self, policies: FloatArray, covariance: FloatArray) -> None:
        """The epochs, with the policies of the cover (R or 1, M, H, S, A) and its covariance."""
        known = known_states(self.model, covariance, self.tuned.known_threshold)
        self.known = np.broadcast_to(known, self.cumulative_losses.shape[:3])
        self._cover, self._learning = policies, None
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        """π_j, and which of its episodes explore."""
        n, W, H = len(self._losses), self.tuned.epoch_length, self.model.horizon
        self._episode = 0
        explores, layer, index = self._rng.random((3, n, W))
        self._explores = explores < self.tuned.exploration  # Y
        self._last = (layer * H).astype(np.int64)  # h*, counted from 0
        self._drawn = (index * self._cover.shape[1]).astype(np.int64)
        at_last = self._layers == self._last[..., None]
        self._weights = np.where(self._explores[..., None], H * at_last, 1.0)  # (R, W, H)
        self.policies = optimize(self.potential, self.cumulative_losses, self.tuned)
        self.policies[~self.known] = 1 / self.model.n_actions

    def act(self) -> FloatArray:
        """The policies of this episode, (R, H, S, A)."""
        if self._learning is not None:
            index, play = divmod(self._episode, self._learning.n_plays)
            return self._learning.plan(index) if play == 0 else self._learning.policies[:, index]
        k, policies = self._episode, self.policies.copy()
        rows = self._explores[:, k].nonzero()[0]
        if len(rows) > 0:
            cover = self._cover[rows if len(self._cover) > 1 else 0, self._drawn[rows, k]]
            by_cover = (self._layers <= self._last[rows, k, None])[..., None, None]
            policies[rows] = np.where(by_cover, cover, policies[rows])
        return policies

    def update(self, feedback: TrajectoryFeedback) -> None:
        """Keep the episode; after the last of the cover or of an epoch, learn from all."""
        k = self._episode
        self._episode += 1
        if self._learning is not None:
            self._learning.observe(feedback.states, feedback.actions)
            if self._episode == self._learning.n_episodes:
                self._start(self._learning.policies, self._learning.covariance())
            return
        self._states[:, k], self._actions[:, k] = feedback.states, feedback.actions
        self._losses[:, k] = feedback.losses
        if self._episode == self.tuned.epoch_length:
            self._learn()
            self._begin_epoch()

    def _learn(self) -> None:
        """C_{j+1}, from all episodes of the epoch."""
        m, beta, half = self.model, self.tuned.bonus_scale, self.tuned.epoch_length // 2
        n, H = len(self.policies), m.horizon
        halves = self._rng.permuted(np.tile(np.arange(2 * half), (n, 1)), axis=1)
        first, second = halves[:, :half], halves[:, half:]
        rows = np.arange(n)[:, None]

        def scaled(half: FloatArray) -> FloatArray:
            """√w φ, (R, W/2, H, d), whose squares are w φφᵀ."""
            phi = m.features[self._layers, self._states[rows, half], self._actions[rows, half]]
            return np.sqrt(self._weights[rows, half])[..., None] * phi

        sample = iter(scaled(first).swapaxes(0, 1))
        inverses = self.covariance().from_features(
            lambda: next(sample), self.tuned.regularization, largest=self._largest
        )
        norms = squared_norms(m.features, inverses)
        expected = (self.policies * norms).sum(axis=-1, keepdims=True)
        b = beta * (norms + expected) * self.known[..., None]

        s, a = self._states[rows, second], self._actions[rows, second]  # (R, W/2, H)
        paid = b[rows[..., None], self._layers, s, a]
        D = np.zeros_like(paid)
        for h in reversed(range(H - 1)):
            D[..., h] = (1 + 1 / H) * (paid[..., h + 1] + D[..., h + 1])
        to_go = self._losses[rows, second][..., ::-1].cumsum(axis=-1)[..., ::-1]
        root = np.sqrt(self._weights[rows, second])
        moments = np.einsum("rkhi,rkh->rhi", scaled(second), root * (to_go - D)) / half
        theta = np.einsum("rhij,rhj->rhi", inverses, moments)  # θ̂ − Λ̂
        self.cumulative_losses += np.einsum("hsai,rhi->rhsa", m.features, theta) - b


class SimulatorFreeLogBarrier(SimulatorFree):
    """Log-barrier and empirical inverse; the rate of Dai et al. (2023) is K^{8/9}.

    A reconstruction. Arguments as `SimulatorFree`.
    """

    potential: ClassVar[SimplexPotential] = LogBarrier()
    resampling = False

    def theory(self, n_episodes: int) -> Parameters:
        """η = β = K^{−2/9}, γ = K^{−3/9}, δ = K^{−1/9}, W = K^{6/9}, α = d H K^{1/9}."""
        size, K = self.model.dim * self.model.horizon, float(n_episodes)
        small = K ** (-2 / 9)
        return small, small, K ** (-3 / 9), K ** (-1 / 9), K ** (6 / 9), size * K ** (1 / 9)

    def practical(self, n_episodes: int) -> Parameters:
        """Those of theory times 10 (η), 0.03 (β), 0.1 (γ), 0.1 (δ), 0.12 (W) and 2 (α)."""
        eta, beta, gamma, delta, W, alpha = self.theory(n_episodes)
        return 10 * eta, 0.03 * beta, 0.1 * gamma, 0.1 * delta, 0.12 * W, 2 * alpha


class SimulatorFreeExponentialWeights(SimulatorFree):
    """Exponential weights and matrix geometric resampling; the rate of Luo et al. is K^{14/15}.

    A reconstruction. Arguments as `SimulatorFree`.
    """

    potential: ClassVar[SimplexPotential] = NegativeEntropy()
    resampling = True

    def theory(self, n_episodes: int) -> Parameters:
        """η = γ = K^{−3/15}, β = K^{−2/15}, δ = K^{−1/15}, W = K^{11/15}, α = d H K^{1/15}."""
        size, K = self.model.dim * self.model.horizon, float(n_episodes)
        small, beta, delta = K ** (-3 / 15), K ** (-2 / 15), K ** (-1 / 15)
        return small, beta, small, delta, K ** (11 / 15), size * K ** (1 / 15)

    def practical(self, n_episodes: int) -> Parameters:
        """Those of theory times 12 (η), 0.02 (β), 0.02 (γ), 0.1 (δ), 0.3 (W) and 2 (α)."""
        eta, beta, gamma, delta, W, alpha = self.theory(n_episodes)
        return 12 * eta, 0.02 * beta, 0.02 * gamma, 0.1 * delta, 0.3 * W, 2 * alpha


def _even(x: float) -> int:
    """The least even integer that is not below x, at least 2."""
    return 2 * max(1, math.ceil(x / 2 - 1e-9))


def _optional_real(value: float | None, name: str, high: float) -> float | None:
    return None if value is None else float(checks.array(value, name, shape=(), low=0.0, high=high))
