"""How stochastic and how adversarial a game is: the quantities of the SEA model.

Round t: nature picks a distribution D_t, and f_t ~ D_t is drawn and revealed. F_t = E f_t.

    σ_t²  = sup_x E ‖∇f_t(x) − ∇F_t(x)‖²       the noise (supremum outside the expectation)
    σ̃_t²  = E sup_x ‖∇f_t(x) − ∇F_t(x)‖²       (inside; at least σ_t²)
    Σ_t²  = sup_x ‖∇F_t(x) − ∇F_{t−1}(x)‖²     the movement of the means, for t ≥ 2

Suprema are over the domain; where D_t depends on the past, each is replaced by its expectation.
Sums of Σ_t² start at t = 2, since the bounds carry the first round by G²; the papers' convention
∇F_0 = 0 adds at most G².

References:
    Sachs, Hadiji, van Erven, Guzmán. Between Stochastic and Adversarial Online Convex Optimization.
    NeurIPS 2022.
    Chen, Zhang, Tu, Zhao, Zhang. Optimistic Online Mirror Descent for Bridging Stochastic and
    Adversarial Online Convex Optimization. JMLR 25, 2024.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ...core.checks import FloatArray

Quantity = float | FloatArray


@dataclass(frozen=True, kw_only=True)
class SEAQuantities:
    """The quantities of an instance after t rounds: numbers, or arrays for an array of rounds.

    Attributes:
        sigma2_cum: σ²_{1:t} = Σ_{s ≤ t} E σ_s².
        Sigma2_cum: Σ²_{1:t} = Σ_{2 ≤ s ≤ t} E Σ_s².
        sigma2_max: max_{s ≤ t} E σ_s².
        Sigma2_max: max_{2 ≤ s ≤ t} E Σ_s².
        sigma2_tilde_cum: Σ_{s ≤ t} E σ̃_s².
        Sigma2_over_rounds: Σ_{2 ≤ s ≤ t} E Σ_s²/s, for learners with steps 1/s.
        G: the largest norm of a gradient ∇f(x), over the domain and all losses that can be drawn.
        L: the means F_s are L-smooth.
        D: the diameter of the domain.
        exact: False where some of these are certified upper bounds.
    """

    sigma2_cum: Quantity
    Sigma2_cum: Quantity
    sigma2_max: Quantity
    Sigma2_max: Quantity
    sigma2_tilde_cum: Quantity
    Sigma2_over_rounds: Quantity
    G: float
    L: float
    D: float
    exact: bool

    @classmethod
    def of_rounds(
        cls,
        horizon: Quantity,
        sigma2: FloatArray,
        Sigma2: FloatArray,
        sigma2_tilde: FloatArray,
        *,
        G: float,
        L: float,
        D: float,
        exact: bool = True,
    ) -> SEAQuantities:
        """Sums and maxima up to `horizon`, a number or an array, of values (T,) of each round.

        `Sigma2[0]` is not read.
        """
        rounds = np.arange(1, len(sigma2) + 1)
        moved = np.where(rounds > 1, Sigma2, 0.0)
        at = np.asarray(horizon).astype(np.int64) - 1
        columns = {
            "sigma2_cum": np.cumsum(sigma2),
            "Sigma2_cum": np.cumsum(moved),
            "sigma2_max": np.maximum.accumulate(sigma2),
            "Sigma2_max": np.maximum.accumulate(moved),
            "sigma2_tilde_cum": np.cumsum(sigma2_tilde),
            "Sigma2_over_rounds": np.cumsum(moved / rounds),
        }
        values: dict[str, Any] = {name: column[at] for name, column in columns.items()}
        if at.ndim == 0:
            values = {name: float(value) for name, value in values.items()}
        return cls(**values, G=float(G), L=float(L), D=float(D), exact=exact)

    def __str__(self) -> str:
        return "\n".join(f"{field.name:>19} {getattr(self, field.name)}" for field in fields(self))
