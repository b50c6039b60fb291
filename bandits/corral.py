"""Corral: a bandit over bandit learners, nearly as good as the best of them.

M base learners propose arms; a master draws one of them and plays its arm, by mirror descent with
the log-barrier (`log_barrier_omd.step`). Round t, with probabilities p_t of the bases:

    p̄_t      = (1 − γ) p_t + γ/M,   j_t ~ p̄_t,   play the arm of base j_t, be told ℓ_t
    ℓ̂_t(j)   = 1{j = j_t} ℓ_t/p̄_t(j), told to each base as the loss of its own arm
    p_{t+1}  = step from p_t along ℓ̂_t with rates η_t(j)
    η_{t+1}(j) = κ η_t(j) if 1/p̄_{t+1}(j) > ρ(j), and then ρ(j) = 2/p̄_{t+1}(j)

with ρ = 2M at first, γ = 1/T and κ = e^{1/ln T}: a base that is drawn seldom, and so told losses up
to ρ, is drawn more readily afterwards, which pays for what it loses by them. On every run, for
every u in the simplex (derived, with h(y) = y − 1 − ln y and the sum over the increases of rates),

    Σ_s ⟨p_s − u, ℓ̂_s⟩ <= Σ_j ln(1/(M u(j)))/η_1 + Σ_s Σ_j η_s(j) (p_s(j) ℓ̂_s(j))²
                          − Σ (1/η_s(j) − 1/η_{s+1}(j)) h(u(j)/p_{s+1}(j)).

The regret against base j's own is of order M ln T/η + η T + ρ(j)-dependent terms of the base, with
constants that are not explicit for bases of any kind: no guarantee.

Bases should be of the kind that importance-weighted losses suit, whose regret grows slowly with
their range: `Exp3`, `TsallisINF`, `BroadOMD`. Those that trust averages (`UCB1`) or read losses as
probabilities (`ThompsonSampling`) are not.

References:
    Agarwal, Luo, Neyshabur, Schapire. Corralling a band of bandit algorithms. COLT 2017,
    algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core import checks
from ..core.checks import FloatArray, IntArray
from ..core.environment import BanditFeedback
from ..core.guarantee import Pathwise
from ..core.learner import Learner
from ..core.random import UniformStream, sample_rows
from .log_barrier_omd import increase, increase_factor, step


class Corral(Learner):
    """R copies of Corral; see the module docstring.

    Args:
        learners: M >= 2 learners of bandits with the same number of arms; they are reset.
        learning_rate: η_1 > 0; None: √(M ln T/T), at most ¼.
        increasing: whether rates increase; False leaves plain mirror descent.
        mixing: γ in [0, 1); None: 1/T.
    """

    probabilities: FloatArray

    def __init__(
        self,
        learners: Sequence[Learner],
        *,
        learning_rate: float | None = None,
        increasing: bool = True,
        mixing: float | None = None,
    ) -> None:
        self.learners = list(learners)
        if len(self.learners) < 2:
            raise ValueError(f"learners must be at least two, got {len(self.learners)}")
        if len({id(one) for one in self.learners}) < len(self.learners):
            raise ValueError(
                "learners must be distinct objects, got one of them twice; build another"
            )
        arms = {int(getattr(one, "n_arms", 0)) for one in self.learners}
        if len(arms) > 1 or 0 in arms:
            raise ValueError(
                f"learners must have one number of arms, n_arms, got {sorted(arms)}; build all of "
                "them for the same game"
            )
        self.n_arms = arms.pop()
        self.learning_rate = checks.positive(learning_rate, "learning_rate", optional=True)
        self.increasing = increasing
        if mixing is not None:
            mixing = checks.real(checks.nonnegative(mixing, "mixing"), "mixing", below=1.0)
        self.mixing = mixing

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """p_1 is uniform; the bases are reset with generators of their own."""
        m = len(self.learners)
        own, *others = rng.spawn(1 + m)
        for base, child in zip(self.learners, others, strict=True):
            base.reset(n_replications, horizon, child)
        eta = self.learning_rate
        if eta is None:
            eta = min(0.25, float(np.sqrt(m * np.log(max(horizon, 2)) / horizon)))
        self._gamma = 1 / horizon if self.mixing is None else self.mixing
        self._factor = increase_factor(horizon)
        shape = (n_replications, m)
        self.base_probabilities = np.full(shape, 1 / m)  # p
        self.rates, self.thresholds = np.full(shape, eta), np.full(shape, 2.0 * m)
        self._first_rate = eta
        self._rows = np.arange(n_replications)
        self._uniforms = UniformStream(own, (n_replications,))
        self.estimates = np.zeros(shape)  # Σ ℓ̂
        self._incurred, self._stability = np.zeros(n_replications), np.zeros(n_replications)
        # Σ w/p, Σ w and Σ w ln p over the increases, w = 1/η_s − 1/η_{s+1}
        self._saved = np.zeros((3, *shape))

    def act(self) -> IntArray:
        """The arm of base j_t, shape (R,)."""
        m = len(self.learners)
        self._mixture = (1 - self._gamma) * self.base_probabilities + self._gamma / m  # p̄
        self._proposals = np.stack([base.act() for base in self.learners], axis=1)  # (R, M)
        self._chosen = sample_rows(self._mixture, self._uniforms.draw())
        self.probabilities = np.zeros((len(self._rows), self.n_arms))
        for j, base in enumerate(self.learners):
            if base.probabilities is None:
                self.probabilities[self._rows, self._proposals[:, j]] += self._mixture[:, j]
            else:
                self.probabilities += self._mixture[:, j, None] * base.probabilities
        arms: IntArray = self._proposals[self._rows, self._chosen]
        return arms

    def update(self, feedback: BanditFeedback) -> None:
        """Tell the bases, then p_{t+1} and η_{t+1}."""
        estimate = np.zeros_like(self._mixture)
        drawn = self._rows, self._chosen
        estimate[drawn] = feedback.losses / self._mixture[drawn]
        for j, base in enumerate(self.learners):
            base.update(BanditFeedback(self._proposals[:, j], estimate[:, j]))
        p = self.base_probabilities
        self.estimates += estimate
        self._incurred += (p * estimate).sum(axis=1)
        self._stability += (self.rates * (p * estimate) ** 2).sum(axis=1)
        self.base_probabilities = p = step(p, estimate, self.rates)
        if self.increasing:
            before = self.rates.copy()
            mixture = (1 - self._gamma) * p + self._gamma / len(self.learners)
            increase(self.rates, self.thresholds, mixture, self._factor)
            weight = 1 / before - 1 / self.rates
            self._saved += weight * np.stack([1 / p, np.ones_like(p), np.log(p)])

    def pathwise(self) -> Pathwise:
        """The inequality of the module docstring for u near the base of least Σ ℓ̂."""
        n, m = self.estimates.shape
        u = np.full((n, m), 1e-3 / m)
        u[self._rows, self.estimates.argmin(axis=1)] += 1 - 1e-3
        left = self._incurred - (u * self.estimates).sum(axis=1)
        slope, weight, log = self._saved
        saved = (slope * u - weight * (1 + np.log(u)) + log).sum(axis=1)  # Σ w h(u/p)
        right = -np.log(m * u).sum(axis=1) / self._first_rate + self._stability - saved
        return Pathwise(left, right, "Agarwal et al. 2017, lemma 13 (constants derived)")
