"""Linear bandits with contexts, which learners `see` before they act.

`LinearContextualBandit`: fresh features φ_{t,a} of each arm in each round, one unknown θ, losses
⟨φ_{t,a}, θ⟩ with Gaussian noise. Regret is against the best arm of each round, on mean losses.

`AdversarialContextualBandit`: contexts X_t drawn from a known distribution P on finitely many
vectors, shared by the arms; losses ⟨X_t, θ_{t,a}⟩ with θ_{t,a} fixed before the game. Regret is
against the best policy, a map of contexts to arms: after t rounds, with Θ_a = Σ_s θ_{s,a},

    Σ_s Σ_x P(x) Σ_a π_s(a|x) ⟨x, θ_{s,a}⟩ − Σ_x P(x) min_a ⟨x, Θ_a⟩

for learners whose `probabilities` are their whole policy π_s, (R, N, K). The loss of others is that
of the context drawn, in expectation over the arm (R, K) or of the arm itself (R,): of equal mean.

References:
    Abbasi-Yadkori, Pál, Szepesvári. Improved algorithms for linear stochastic bandits. NIPS 2011.
    Neu, Olkhovskaya. Efficient and robust algorithms for adversarial linear contextual bandits.
    COLT 2020.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core import checks
from ...core.checks import FloatArray, IntArray
from ...core.environment import Action, Adversary, BanditFeedback, Environment
from ...core.random import NormalStream, SphereStream, UniformStream
from ...core.regret import Comparator
from .environments import bounded_losses, check_arms, feature_matrix

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...core.learner import Learner


class LinearContextualBandit(Environment):
    """Features uniform on the unit sphere, independent over arms, rounds and replications.

    Args:
        n_arms: K >= 2.
        parameter: θ, (d,), ‖θ‖ <= 1.
        noise: σ >= 0, the standard deviation.
    """

    adversary: Adversary = "stochastic"
    contextual = True
    feature_bound = 1.0

    def __init__(self, n_arms: int, parameter: npt.ArrayLike, *, noise: float = 1.0) -> None:
        self.n_arms = checks.integer(n_arms, "n_arms", minimum=2)
        self.parameter = checks.array(parameter, "parameter", shape=(None,)).copy()
        self.dim = checks.integer(self.parameter.size, "the length of parameter", minimum=1)
        bounded_losses(np.linalg.norm(self.parameter[None], axis=1), "parameter")
        self.noise = checks.nonnegative(noise, "noise")

    def admit(self, learner: Learner) -> None:
        """Refuse a learner of fixed features, or of another dimension."""
        fixed, dim = getattr(learner, "features", None), getattr(learner, "dim", self.dim)
        if fixed is not None or dim != self.dim:
            raise ValueError(
                f"learner must be built for features shown in each round, of dimension {self.dim}, "
                f"got {'fixed features' if fixed is not None else f'dim={dim}'}; build "
                f"{type(learner).__name__}(dim={self.dim})"
            )

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications at round 0."""
        shape = (n_replications, self.n_arms, self.dim)
        features_rng, noise_rng = rng.spawn(2)
        self._features = SphereStream(features_rng, shape)
        self._normals = NormalStream(noise_rng, (n_replications,))
        self._n_replications = n_replications

    def context(self) -> FloatArray:
        """φ_t, (R, K, d); each call is a round."""
        features = self._features.draw()
        self._means = np.clip(features @ self.parameter, -1.0, 1.0)  # (R, K)
        return features

    def step(self, action: Action) -> BanditFeedback:
        """Play arms (R,) of the features shown last, and be told their losses."""
        check_arms(action, self._n_replications, self.n_arms)
        losses = self._means[np.arange(len(action)), action] + self.noise * self._normals.draw()
        return BanditFeedback(action, losses)

    def comparator(self) -> Comparator:
        """The best arm of each round."""
        return _BestArmOfRound(self)


class _BestArmOfRound(Comparator):
    def __init__(self, game: LinearContextualBandit) -> None:
        self._game = game
        self._regret = np.zeros(game._n_replications)

    def observe(self, decision: Action) -> None:
        """Charge arms (R,) or distributions (R, K)."""
        means = self._game._means
        self._regret += _charge(decision, means) - means.min(axis=1)

    def regret(self) -> FloatArray:
        """Σ_s ⟨p_s, ℓ_s⟩ − min_a ℓ_s(a), shape (R,)."""
        return self._regret.copy()


def _charge(decision: Action, losses: FloatArray) -> FloatArray:
    """The losses (R, K) of arms (R,), or their means over distributions (R, K); shape (R,)."""
    if decision.ndim == 1:
        return losses[np.arange(len(decision)), decision]
    if decision.shape != losses.shape:
        raise ValueError(
            f"a decision must have shape {losses.shape[:1]} or {losses.shape}, got {decision.shape}"
        )
    result: FloatArray = np.einsum("rk,rk->r", decision, losses)
    return result


class AdversarialContextualBandit(Environment):
    """Contexts drawn from a known distribution, parameters fixed before the game.

    Args:
        contexts: x, (N, d), N >= 2, not all zero.
        context_probabilities: P, (N,).
        parameters: θ_{t,a}, array (T, K, d), or a function of t = 0, 1, 2, ... that gives row t,
            (K, d), and must not depend on anything but t; |⟨x, θ_{t,a}⟩| <= 1.

    Attributes:
        n_arms: K >= 2.
        dim: d >= 1.
    """

    adversary: Adversary = "oblivious"
    contextual = True

    def __init__(
        self,
        contexts: npt.ArrayLike,
        context_probabilities: npt.ArrayLike,
        parameters: npt.ArrayLike | Callable[[int], npt.ArrayLike],
    ) -> None:
        self.contexts, self.context_probabilities = context_distribution(
            contexts, context_probabilities
        )
        self.dim = self.contexts.shape[1]
        self._table: FloatArray | None = None
        if callable(parameters):
            self._function = parameters
            self.n_arms = len(checks.array(parameters(0), "parameters(0)", shape=(None, self.dim)))
            self._row(0)
        else:
            table = checks.array(parameters, "parameters", shape=(None, None, self.dim))
            self.horizon, self.n_arms = table.shape[:2]
            checks.integer(self.horizon, "the number of rounds in parameters", minimum=1)
            losses = np.einsum("xi,tai->txa", self.contexts, table)
            self._table = bounded_losses(losses, "parameters")  # (T, N, K)
        checks.integer(self.n_arms, "the number of arms in parameters", minimum=2)

    def _row(self, t: int) -> FloatArray:
        """⟨x, θ_{t,a}⟩, (N, K)."""
        if self._table is not None:
            return self._table[t]
        name, shape = f"parameters({t})", (self.n_arms, self.dim)
        parameters = checks.array(self._function(t), name, shape=shape)
        return bounded_losses(self.contexts @ parameters.T, name)

    def admit(self, learner: Learner) -> None:
        """Refuse a learner that was built for other contexts or another number of arms."""
        for name in ("n_arms", "contexts", "context_probabilities"):
            if not np.array_equal(getattr(learner, name, getattr(self, name)), getattr(self, name)):
                raise ValueError(
                    f"learner must have the {name} of the environment, got "
                    f"{getattr(learner, name)!s:.80}; build it with {name}=game.{name}"
                )

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications at round 0."""
        self._n_replications = n_replications
        self._round = 0
        self._uniforms = UniformStream(rng, (n_replications,))
        self._cumulative = np.cumsum(self.context_probabilities)
        self._last = int(np.flatnonzero(self.context_probabilities)[-1])

    def context(self) -> FloatArray:
        """X_t ~ P, (R, d); each call is a round."""
        drawn = np.searchsorted(self._cumulative, self._uniforms.draw(), side="right")
        self._drawn: IntArray = np.minimum(drawn, self._last)
        return self.contexts[self._drawn]

    def step(self, action: Action) -> BanditFeedback:
        """Play arms (R,) in the contexts shown last, and be told their losses."""
        check_arms(action, self._n_replications, self.n_arms)
        self._losses = self._row(self._round)  # (N, K)
        self._round += 1
        return BanditFeedback(action, self._losses[self._drawn, action])

    def comparator(self) -> Comparator:
        """The best policy for the losses so far."""
        return _BestPolicy(self)


class _BestPolicy(Comparator):
    def __init__(self, game: AdversarialContextualBandit) -> None:
        self._game = game
        self._incurred = np.zeros(game._n_replications)
        self._cumulative = np.zeros((len(game.contexts), game.n_arms))

    def observe(self, decision: Action) -> None:
        """Charge arms (R,), distributions (R, K) for the context drawn, or policies (R, N, K)."""
        game = self._game
        losses = game._losses
        self._cumulative += losses
        if decision.ndim == 3:
            expected = game.context_probabilities[:, None] * losses
            self._incurred += np.einsum("rxa,xa->r", decision, expected)
        else:
            self._incurred += _charge(decision, losses[game._drawn])

    def regret(self) -> FloatArray:
        """Of the module docstring, shape (R,)."""
        best = self._game.context_probabilities @ self._cumulative.min(axis=1)
        return self._incurred - best


def context_distribution(contexts: Any, probabilities: Any) -> tuple[FloatArray, FloatArray]:
    """Copies of contexts (N, d) and their probabilities (N,), which sum to 1."""
    x = feature_matrix(contexts, "contexts")
    name = "context_probabilities"
    p = checks.array(probabilities, name, shape=(len(x),), low=0.0, high=1.0).copy()
    if abs(p.sum() - 1) > 1e-9:
        raise ValueError(f"{name} must sum to 1, got {p.sum()}; normalise them")
    if not x[p > 0].any():
        raise ValueError(
            f"{name} must give weight to a context other than 0; there is nothing to learn"
        )
    p.flags.writeable = False
    return x, p
