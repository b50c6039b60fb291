"""Log-det FTRL on density matrices: experts whose decisions are directions.

Decisions are X ∈ S = {X ⪰ 0, tr X = 1} of size d, losses ⟨ℓ_t, X⟩ = tr(ℓ_t X) with symmetric ℓ_t,
‖ℓ_t‖ <= 1 (the largest |eigenvalue|), all of which is told. With L_t = Σ_{s ≤ t} ℓ_s,

    X_t = argmin_{X ∈ S} ⟨L_{t−1}, X⟩ − ln det X/η = (η (L_{t−1} − x I))⁻¹,   x: tr X_t = 1,

which has the eigenvectors of L_{t−1}, and eigenvalues p = the log-barrier's weights for the
eigenvalues of L_{t−1}: one equation in x. Diagonal losses give FTRL with the log-barrier.

−ln det is a d-self-concordant barrier, with dual norm ‖ℓ‖_{X,*}² = tr(X ℓ X ℓ) <= 1. So, as in
`scrible`, for η < 1 every run has

    max_U Σ ⟨ℓ_s, X_s − U⟩ − (ln det X_1 − ln det U)/η <= (1/η) Σ ω*(η ‖ℓ_s‖_{X_s,*}),

ω*(h) = −h − ln(1 − h), and a regret against the best U of at most

    min_{0 < α ≤ 1} (d/η) ln(1/α) + 2 α t + (t/η) ω*(η).

η = min{√(2 d ln T/T), ½} gives √(2 d T ln T) to leading order. The entropy would give √(T ln d)
here; the barrier's local norms are what bandit feedback needs, and this is the engine without it.

References:
    Zimmert, Lattimore. Return of the bias: almost minimax optimal high probability bounds for
    adversarial linear bandits. COLT 2022 (the potential, in a bandit algorithm).
    Boyd, Vandenberghe. Convex Optimization. Cambridge University Press, 2004, section 9.6.
The bounds are derived. There is no bandit version here: its estimates have no bounded dual norm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core import checks
from ...core.checks import FloatArray
from ...core.environment import Action, Adversary, Environment
from ...core.guarantee import Guarantee, Pathwise
from ...core.learner import Learner
from ...core.potentials import LogBarrier
from ...core.regret import Comparator
from .barriers import self_concordant_gap

if TYPE_CHECKING:
    import numpy.typing as npt

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class MatrixFeedback:
    """The whole loss: `losses` (R, d, d), symmetric."""

    losses: FloatArray


class MatrixExperts(Environment):
    """Symmetric losses of norm at most 1, fixed before the game, the same in all replications.

    Args:
        losses: ℓ_t, array (T, d, d), or a function of t = 0, 1, 2, ... that gives row t, (d, d),
            and must not depend on anything but t.
    """

    adversary: Adversary = "oblivious"

    def __init__(self, losses: npt.ArrayLike | Callable[[int], npt.ArrayLike]) -> None:
        self._table: FloatArray | None = None
        if callable(losses):
            self._function = losses
            self.dim = len(checks.array(losses(0), "losses(0)", shape=(None, None)))
            self._row(0)
        else:
            table = checks.array(losses, "losses", shape=(None, None, None)).copy()
            self.horizon, self.dim = table.shape[:2]
            checks.integer(self.horizon, "the number of rounds in losses", minimum=1)
            self._table = self._checked(table, "losses")

    def _checked(self, losses: FloatArray, name: str) -> FloatArray:
        checks.array(losses, name, shape=(*losses.shape[:-2], self.dim, self.dim))
        checks.integer(self.dim, f"the size of {name}", minimum=1)
        if not np.allclose(losses, np.swapaxes(losses, -1, -2), rtol=0, atol=_ROUNDING):
            raise ValueError(f"{name} must be symmetric; take (ℓ + ℓᵀ)/2")
        largest = float(np.abs(np.linalg.eigvalsh(losses)).max())
        if not largest <= 1 + _ROUNDING:
            raise ValueError(f"{name} must have norms of at most 1, got {largest}; scale them")
        return losses

    def _row(self, t: int) -> FloatArray:
        """ℓ_t, (d, d)."""
        if self._table is not None:
            return self._table[t]
        name = f"losses({t})"
        return self._checked(checks.array(self._function(t), name, shape=(None, None)), name)

    def admit(self, learner: Learner) -> None:
        """Refuse a learner that does not play matrices of this size."""
        if not isinstance(learner, LogDetFTRL) or learner.dim != self.dim:
            raise ValueError(
                f"learner must play matrices of size {self.dim}, got {type(learner).__name__}; "
                f"build LogDetFTRL(dim={self.dim})"
            )

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications at round 0."""
        self._shape = (n_replications, self.dim, self.dim)
        self._round = 0

    def step(self, action: Action) -> Any:
        """Play matrices (R, d, d) and be told `MatrixFeedback`."""
        if action.shape != self._shape:
            raise ValueError(f"action must have shape {self._shape}, got {action.shape}")
        self._losses = self._row(self._round)
        self._round += 1
        return MatrixFeedback(np.broadcast_to(self._losses, self._shape))

    def comparator(self) -> Comparator:
        """The best fixed matrix of the losses so far: an eigenvector of the least eigenvalue."""
        return _BestDirection(self)


class _BestDirection(Comparator):
    def __init__(self, game: MatrixExperts) -> None:
        self._game = game
        self._incurred = np.zeros(game._shape[0])
        self._sum = np.zeros(game._shape[1:])

    def observe(self, decision: Action) -> None:
        """Charge ⟨ℓ_t, X_t⟩ at matrices (R, d, d)."""
        self._incurred += np.einsum("rij,ij->r", decision, self._game._losses)
        self._sum += self._game._losses

    def regret(self) -> FloatArray:
        """Σ_s ⟨ℓ_s, X_s⟩ − λ_min(Σ_s ℓ_s), shape (R,)."""
        return self._incurred - float(np.linalg.eigvalsh(self._sum)[0])


def density_matrix(cumulative_losses: FloatArray, learning_rate: float) -> FloatArray:
    """argmin over S of ⟨L, X⟩ − ln det X/η.

    Args:
        cumulative_losses: L, (..., d, d), symmetric (the lower triangle is read).
        learning_rate: η > 0.

    Returns:
        X, (..., d, d): symmetric and positive definite, of trace 1 within rounding.
    """
    eigenvalues, basis = np.linalg.eigh(cumulative_losses)
    weights = LogBarrier().maximizer(-learning_rate * eigenvalues)
    result: FloatArray = np.einsum("...ik,...k,...jk->...ij", basis, weights, basis, optimize=True)
    return result


class LogDetFTRL(Learner):
    """R copies of log-det FTRL; see the module docstring.

    Args:
        dim: d >= 1.
        learning_rate: η > 0; None: min{√(2 d ln T/T), ½} for the horizon T given to `reset`.

    Attributes:
        point: X_t, (R, d, d).
        cumulative_losses: L, (R, d, d).
    """

    def __init__(self, dim: int, *, learning_rate: float | None = None) -> None:
        self.dim = checks.integer(dim, "dim", minimum=1)
        self.learning_rate = checks.positive(learning_rate, "learning_rate", optional=True)
        self.horizon: int | None = None

    def rate(self, horizon: Any) -> Any:
        """η of a learner that is reset for `horizon` rounds."""
        if self.learning_rate is not None:
            return self.learning_rate
        T = np.maximum(horizon, 2)
        return np.minimum(np.sqrt(2 * self.dim * np.log(T) / T), 0.5)

    def reset(self, n_replications: int, horizon: int, rng: np.random.Generator) -> None:
        """L_0 = 0 and X_1 = I/d."""
        self.horizon = checks.integer(horizon, "horizon", minimum=1)
        self.eta = float(self.rate(horizon))
        self.cumulative_losses = np.zeros((n_replications, self.dim, self.dim))
        self.point = np.tile(np.eye(self.dim) / self.dim, (n_replications, 1, 1))
        self._incurred, self._stability = np.zeros((2, n_replications))

    def act(self) -> FloatArray:
        """X_t, (R, d, d)."""
        return self.point

    def update(self, feedback: MatrixFeedback) -> None:
        """L_t, then X_{t+1}."""
        losses = feedback.losses
        product = self.point @ losses
        self._incurred += np.trace(product, axis1=1, axis2=2)
        square = np.einsum("rij,rji->r", product, product)  # tr(X ℓ X ℓ), nonnegative
        with np.errstate(invalid="ignore", divide="ignore"):  # nan and ∞ from η ‖ℓ‖ = 1 on
            step = self.eta * np.sqrt(np.maximum(square, 0.0))
            self._stability += self_concordant_gap(step) / self.eta
        self.cumulative_losses += losses
        self.point = density_matrix(self.cumulative_losses, self.eta)

    def guarantee(self, environment: Environment) -> Guarantee | None:
        """min over α of (d/η) ln(1/α) + 2 α t + t ω*(η)/η; ω*(h) = −h − ln(1 − h).

        Before `reset`, for a learner tuned for t. None if η >= 1, and in other games than
        `MatrixExperts`.
        """
        if not isinstance(environment, MatrixExperts):
            return None
        if self.learning_rate is not None and self.learning_rate >= 1:
            return None
        horizon, d = self.horizon, self.dim

        def bound(t: Any) -> Any:
            eta = self.rate(t if horizon is None else horizon)
            alpha = np.minimum(1.0, d / (2 * eta * t))
            return -d / eta * np.log(alpha) + 2 * alpha * t + t * self_concordant_gap(eta) / eta

        return Guarantee(
            bound,
            kind="pathwise",
            assumptions="symmetric losses of norm at most 1",
            reference="derived: FTRL with a d-self-concordant barrier",
        )

    def pathwise(self) -> Pathwise | None:
        """The inequality of the module docstring; None once η ‖ℓ‖_{X,*} >= 1."""
        if not np.isfinite(self._stability).all():
            return None
        rise = -np.linalg.slogdet(self.point)[1] - self.dim * np.log(self.dim)
        inner = np.einsum("rij,rij->r", self.cumulative_losses, self.point)
        return Pathwise(
            self._incurred - inner - rise / self.eta,
            self._stability.copy(),
            "max over U of the regret less (ln det X_1 − ln det U)/η: derived",
        )
