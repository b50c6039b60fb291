"""Policy covers: where exploration takes its data from, with known and with unknown transitions.

A cover is a mixture of policies whose features fill the directions that any policy reaches. With
Σ_h(q) = Σ_{s,a} q_h(s, a) φφᵀ,

`optimal_design` knows the transitions and maximises Σ_h ln det(λ I + Σ_h(q)) over occupancy
measures q, by Frank-Wolfe: the policy that is best for the rewards ‖φ‖² in the norm of
(λ I + Σ_h)⁻¹, by dynamic programming, and an exact step towards it. At the optimum no policy has a
larger mean of these rewards than q itself, which gets less than d H (Kiefer and Wolfowitz).

`LearnedCover` does not know them. M_0 times, with Γ_h = I + Σ φφᵀ over the data so far, it plays
N_0 times the policy that is greedy for

    r_h(s, a) = ramp((K_0/α) ‖φ‖²_{Γ⁻¹}),   ramp(z) = min{1, max{0, 2 z − 1}},   K_0 = M_0 N_0,
    w_h       = Γ_h⁻¹ Σ φ(s_h, a_h) V_{h+1}(s_{h+1})         over the data so far,
    Q_h(s, a) = min{H, r_h + φᵀ w_h + ξ ‖φ‖_{Γ⁻¹}},   V_h = max_a Q_h,   V_{H+1} = 0

(optimistic least-squares value iteration), and ends with Σ̂_cov = (I + Σ φφᵀ)/K_0 of all data.

A state is known where max_a ‖φ(s, a)‖² in the norm of the inverse covariance of the cover is at
most α.

References:
    Luo, Wei, Lee. Policy optimization in adversarial MDPs. NeurIPS 2021 (the cover).
    Jin, Yang, Wang, Jordan. Provably efficient RL with linear function approximation. COLT 2020.
    Wagenmaker, Jamieson. Instance-dependent near-optimal policy identification in linear MDPs via
    online experiment design. NeurIPS 2022 (designs over occupancy measures).
Reconstruction: the papers' pseudo-code was not seen.
"""

from __future__ import annotations

import numpy as np

from ...core.checks import BoolArray, FloatArray, IntArray
from ..models import LinearMDP

_PASSES = 2000  # of Frank-Wolfe; a gap of 1 % takes some dozens


def squared_norms(features: FloatArray, inverses: FloatArray) -> FloatArray:
    """‖φ‖² in the norm of inverses (..., H, d, d), for φ (H, S, A, d); (..., H, S, A)."""
    along = np.einsum("hsai,...hij->...hsaj", features, inverses)
    return np.einsum("...hsaj,hsaj->...hsa", along, features)


def _inverses(matrices: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.inv(matrices), dtype=np.float64)


def optimal_design(
    model: LinearMDP, regularization: float, *, tolerance: float = 0.01
) -> tuple[FloatArray, float]:
    """The occupancy measure q (H, S, A) that maximises Σ_h ln det(λ I + Σ_h(q)), nearly.

    Args:
        model: the MDP, transitions known.
        regularization: λ > 0.
        tolerance: stop at a Frank-Wolfe gap of `tolerance` d H.

    Returns:
        q, and its gap: no occupancy measure has an objective that is larger by more than this.
    """
    phi, H, d = model.features, model.horizon, model.dim
    q = model.occupancy(model.uniform_policy())
    ridge = regularization * np.eye(d)
    gap = np.inf
    for _ in range(_PASSES):
        sigma = ridge + np.einsum("hsa,hsai,hsaj->hij", q, phi, phi)
        gains = squared_norms(phi, _inverses(sigma))
        actions, least = model.best_policy(-gains)
        gap = -least - float((q * gains).sum())
        if gap <= tolerance * d * H:
            break
        vertex = model.occupancy(model.deterministic(actions))
        target = ridge + np.einsum("hsa,hsai,hsaj->hij", vertex, phi, phi)
        q = q + _best_step(sigma, target) * (vertex - q)
    return q, gap


def _best_step(sigma: FloatArray, target: FloatArray) -> float:
    """t ∈ [0, 1] that maximises Σ_h ln det((1 − t) sigma + t target), by bisection."""
    # in the eigenvalues e of sigma⁻¹ target the derivative is Σ (e − 1)/(1 + t (e − 1)), decreasing
    root = np.linalg.inv(np.linalg.cholesky(sigma))
    excess = np.linalg.eigvalsh(root @ target @ np.swapaxes(root, -1, -2)) - 1
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if (excess / (1 + middle * excess)).sum() > 0:
            low = middle
        else:
            high = middle
    return low


class LearnedCover:
    """R copies of the learning of a cover; see the module docstring.

    Args:
        model: gives features, sizes and the first state; the transitions are not used.
        n_replications: R.
        n_policies: M_0 >= 1.
        n_plays: N_0 >= 1.
        threshold: α > 0.
        optimism: ξ >= 0.

    Attributes:
        policies: those played so far, (R, M_0, H, S, A), deterministic.
        gram: Γ, (R, H, d, d).
    """

    def __init__(
        self,
        model: LinearMDP,
        n_replications: int,
        *,
        n_policies: int,
        n_plays: int,
        threshold: float,
        optimism: float,
    ) -> None:
        H, S, A, d = model.features.shape
        self.model, self.optimism = model, optimism
        self.n_plays, self.n_episodes = n_plays, n_policies * n_plays  # N_0, K_0
        self.scale = self.n_episodes / threshold
        self.policies = np.zeros((n_replications, n_policies, H, S, A))
        self.gram = np.tile(np.eye(d), (n_replications, H, 1, 1))
        self._pushed = np.zeros((n_replications, H - 1, d, S))  # Σ φ(s_h, a_h) 1[s_{h+1} = ·]

    def plan(self, index: int) -> FloatArray:
        """The policy for the data so far, (R, H, S, A); kept as number `index` of `policies`."""
        model, H = self.model, self.model.horizon
        inverses = _inverses(self.gram)
        norms = squared_norms(model.features, inverses).clip(min=0)  # (R, H, S, A)
        Q = np.clip(2 * self.scale * norms - 1, 0, 1) + self.optimism * np.sqrt(norms)
        for h in reversed(range(H)):
            if h + 1 < H:
                values = Q[:, h + 1].max(axis=-1)  # V_{h+1}, (R, S)
                w = np.einsum("rij,rjt,rt->ri", inverses[:, h], self._pushed[:, h], values)
                Q[:, h] += np.einsum("sai,ri->rsa", model.features[h], w)
            np.minimum(Q[:, h], H, out=Q[:, h])
        self.policies[:, index] = model.deterministic(Q.argmax(axis=-1))
        return self.policies[:, index]

    def observe(self, states: IntArray, actions: IntArray) -> None:
        """One more trajectory, (R, H) each."""
        phi = self.model.features[np.arange(self.model.horizon), states, actions]  # (R, H, d)
        self.gram += phi[..., None] * phi[..., None, :]
        rows, layers = np.indices((len(states), self.model.horizon - 1))
        self._pushed[rows, layers, :, states[:, 1:]] += phi[:, :-1]

    def covariance(self) -> FloatArray:
        """Σ̂_cov, (R, H, d, d)."""
        return self.gram / self.n_episodes


def known_states(model: LinearMDP, covariance: FloatArray, threshold: float) -> BoolArray:
    """Which states are known, (..., H, S), for the cover's covariance (..., H, d, d) and α."""
    norms = squared_norms(model.features, _inverses(covariance))
    known: BoolArray = norms.max(axis=-1) <= threshold
    return known
