"""Fixed share: Hedge that can follow an arm which is best for a while.

    w_{t+1}(a) ∝ p_t(a) exp(−η ℓ_t(a)),   p_{t+1} = (1 − α) w_{t+1} + α/K.

On every run, against every sequence of arms with at most S changes in t rounds,

    Σ_s ⟨p_s, ℓ_s⟩ − ℓ_s(a_s)
        <= ((S + 1) ln K + S ln(1/α) + (t − S − 1) ln(1/(1 − α)))/η + η t/8.

Tuned for the horizon T: α = S/(T − 1), and η such that the two terms are equal at t = T; the first
is then ((S + 1) ln K + (T − 1) h(α))/η with the binary entropy h. S = 0 is Hedge.

References:
    Herbster, Warmuth. Tracking the best expert. Machine Learning 32, 1998.
    Cesa-Bianchi, Lugosi. Prediction, Learning, and Games. 2006, theorem 5.2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..core import checks
from ..core.checks import FloatArray
from ..core.environment import Environment, FullFeedback
from ..core.guarantee import Guarantee
from ..core.learner import Learner


class FixedShare(Learner):
    """R copies of fixed share; see the module docstring.

    Args:
        n_arms: K >= 2, the number of experts.
        n_switches: S >= 0, changes of the comparator for which the learner is tuned.
        learning_rate: η > 0; None: as tuned for the horizon given to `reset`.
        share: α in (0, 1); None: S/(T − 1), at most ½.
    """

    def __init__(
        self,
        n_arms: int,
        *,
        n_switches: int,
        learning_rate: float | None = None,
        share: float | None = None,
    ) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)
        self.n_switches = checks.integer(n_switches, "n_switches", minimum=0)
        self.learning_rate = checks.positive(learning_rate, "learning_rate", optional=True)
        self.share = None if share is None else checks.real(share, "share", above=0.0, below=1.0)
        self._tuned: tuple[float, float] | None = None

    def complexity(self, t: Any, n_switches: int, share: float) -> Any:
        """−ln of the prior of a sequence with this many changes in t rounds."""
        changes = n_switches * math.log(1 / share) if n_switches else 0.0
        stays = np.maximum(t - n_switches - 1, 0) * -math.log1p(-share)
        return (n_switches + 1) * math.log(self.n_arms) + changes + stays

    def tuned(self, horizon: int) -> tuple[float, float]:
        """η and α for a horizon."""
        share = self.share
        if share is None:
            share = min(0.5, self.n_switches / max(horizon - 1, 1))
        eta = self.learning_rate
        if eta is None:
            eta = math.sqrt(8 * self.complexity(horizon, self.n_switches, share) / horizon)
        return eta, share

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """p_1 is uniform."""
        self._tuned = self.tuned(checks.integer(horizon, "horizon", minimum=1))
        shape = (n_replications, self.n_arms)
        self._log_mixture = np.full(shape, -math.log(self.n_arms))  # ln p: p itself may round to 0

    def act(self) -> FloatArray:
        """p_t, (R, K)."""
        mixture: FloatArray = np.exp(self._log_mixture)
        return mixture / mixture.sum(axis=1, keepdims=True)

    def update(self, feedback: FullFeedback) -> None:
        """p_{t+1}."""
        assert self._tuned is not None
        eta, share = self._tuned
        log_weights = self._log_mixture - eta * feedback.losses
        log_weights -= np.logaddexp.reduce(log_weights, axis=1, keepdims=True)
        log_share = math.log(share / self.n_arms) if share > 0 else -math.inf
        self._log_mixture = np.logaddexp(math.log1p(-share) + log_weights, log_share)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """((S + 1) ln K + S ln(1/α) + (t − S − 1) ln(1/(1 − α)))/η + η t/8, on every run.

        S is the environment's `n_switches`. None before `reset`, and against a comparator that
        changes more often than the learner was tuned for.
        """
        n_switches = environment.n_switches
        if self._tuned is None or n_switches > self.n_switches:
            return None
        eta, share = self._tuned
        return Guarantee(
            bound=lambda t: self.complexity(t, n_switches, share) / eta + eta * t / 8,
            kind="expected" if environment.adversary == "stochastic" else "pathwise",
            assumptions=f"losses in [0, 1]; at most {n_switches} changes of the comparator",
            reference="Cesa-Bianchi, Lugosi 2006, theorem 5.2",
        )
