"""Linear losses on a convex body X ⊂ ℝᵈ: play x_t, be told ⟨θ_t, x_t⟩ and no more.

θ_t is fixed before the game, with |⟨θ_t, x⟩| <= 1 for all x ∈ X. Regret is against the best fixed
point in hindsight: Σ_s ⟨θ_s, x_s⟩ + σ(−Σ_s θ_s), with the body's support function σ.

References:
    Abernethy, Hazan, Rakhlin. Competing in the dark. COLT 2008.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core import checks
from ...core.checks import FloatArray
from ...core.environment import Action, Adversary, Environment
from ...core.regret import Comparator
from ...core.sets import ConvexSet
from .environments import bounded_losses

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...core.learner import Learner


@dataclass(frozen=True, slots=True)
class PointFeedback:
    """The loss of the point played and no other: `points` (R, d), `losses` (R,)."""

    points: FloatArray
    losses: FloatArray


class ConvexBodyBandit(Environment):
    """Linear losses fixed before the game, the same in all replications.

    Args:
        domain: X, bounded: such as `Ball()` or a `Polytope`.
        parameters: θ_t, array (T, d), or a function of t = 0, 1, 2, ... that gives row t, (d,), and
            must not depend on anything but t; |⟨θ_t, x⟩| <= 1 on X. On a polytope this takes two
            linear programs for each distinct row, in milliseconds each.
    """

    adversary: Adversary = "oblivious"

    def __init__(
        self, domain: ConvexSet, parameters: npt.ArrayLike | Callable[[int], npt.ArrayLike]
    ) -> None:
        self.domain = domain
        self._table: FloatArray | None = None
        self._last: FloatArray | None = None  # the row that was checked last
        if callable(parameters):
            self._function = parameters
            self.dim = len(checks.array(parameters(0), "parameters(0)", shape=(None,)))
        else:
            self._table = checks.array(parameters, "parameters", shape=(None, None)).copy()
            self.horizon, self.dim = self._table.shape
            checks.integer(self.horizon, "the number of rounds in parameters", minimum=1)
            self._check(np.unique(self._table, axis=0), "parameters")
        checks.integer(self.dim, "the dimension of parameters", minimum=1)
        if self._table is None:
            self._row(0)

    def _check(self, rows: FloatArray, name: str) -> None:
        bounded_losses(np.stack([self.domain.support(rows), self.domain.support(-rows)]), name)

    def _row(self, t: int) -> FloatArray:
        """θ_t, (d,)."""
        if self._table is not None:
            return self._table[t]
        row = checks.array(self._function(t), f"parameters({t})", shape=(self.dim,))
        if self._last is None or not np.array_equal(row, self._last):
            self._check(row, f"parameters({t})")
            self._last = row.copy()
        return row

    def admit(self, learner: Learner) -> None:
        """Refuse a learner that plays points of another set."""
        domain = getattr(learner, "domain", None)
        if getattr(learner, "dim", None) != self.dim or not _same(domain, self.domain):
            raise ValueError(
                f"learner must play points of the environment's domain, {self.domain!r:.80} in "
                f"dimension {self.dim}; build it with domain=game.domain"
            )

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications at round 0."""
        self._n_replications = n_replications
        self._round = 0

    def step(self, action: Action) -> Any:
        """Play points (R, d) of the domain and be told `PointFeedback`."""
        if action.shape != (self._n_replications, self.dim):
            raise ValueError(
                f"action must hold points of shape {(self._n_replications, self.dim)}, got "
                f"{action.shape}"
            )
        outside = ~self.domain.contains(action)
        if outside.any():
            row = int(outside.argmax())
            raise ValueError(
                f"action must be in the domain, got {action[row]} in replication {row}"
            )
        self._theta = self._row(self._round)
        self._round += 1
        return PointFeedback(action, action @ self._theta)

    def comparator(self) -> Comparator:
        """The best fixed point of the losses so far."""
        return _BestPoint(self)


class _BestPoint(Comparator):
    def __init__(self, game: ConvexBodyBandit) -> None:
        self._game = game
        self._incurred = np.zeros(game._n_replications)
        self._sum = np.zeros(game.dim)

    def observe(self, decision: Action) -> None:
        """Charge ⟨θ_t, x_t⟩ at points (R, d)."""
        self._incurred += decision @ self._game._theta
        self._sum += self._game._theta

    def regret(self) -> FloatArray:
        """Σ_s ⟨θ_s, x_s⟩ − min_x Σ_s ⟨θ_s, x⟩, shape (R,)."""
        return self._incurred + float(self._game.domain.support(-self._sum))


def _same(one: Any, other: Any) -> bool:
    """Whether two sets are given by the same numbers."""
    if one is other:
        return True
    return (
        type(one) is type(other)
        and is_dataclass(other)
        and all(
            np.array_equal(getattr(one, field.name), getattr(other, field.name))
            for field in fields(other)
        )
    )
