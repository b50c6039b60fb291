"""Finite-horizon MDPs: occupancy measures, dynamic programming, linear MDPs.

An episode has layers h = 1, ..., H. It starts in a fixed state; action a in state s of layer h
leads to s' with probability P_h(s'|s, a). The loss ℓ_h(s, a) is paid in each layer, undiscounted.
For a policy π_h(a|s),

    q_h(s, a)   = Pr[s_h = s, a_h = a]                                  (occupancy measure)
    Q_h(s, a)   = ℓ_h(s, a) + Σ_{s'} P_h(s'|s, a) V_{h+1}(s')           (action values, V_{H+1} = 0)
    V_h(s)      = Σ_a π_h(a|s) Q_h(s, a)
    V_1(s_1)    = ⟨q, ℓ⟩ = Σ_h Σ_{s,a} q_h(s, a) ℓ_h(s, a).

A linear MDP has features φ_h(s, a) ∈ ℝᵈ with P_h(·|s, a) = φ_h(s, a)ᵀ ν_h. Then, for losses linear
in φ, the action values of every policy are linear in φ.

Arrays are indexed from 0: transition[h, s, a, s'], features[h, s, a, :], policy[h, s, a]. The last
layer's transitions lead nowhere and are not used.

References:
    Puterman. Markov Decision Processes. Wiley, 1994.
    Jin, Yang, Wang, Jordan. Provably efficient RL with linear function approximation. COLT 2020.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from ..core import checks
from ..core.checks import FloatArray, IntArray

if TYPE_CHECKING:
    import numpy.typing as npt
    from scipy.sparse import csr_array


@njit(cache=True)
def _occupancies(
    policies: FloatArray, transition: FloatArray, initial_state: int, out: FloatArray
) -> None:
    """q (N, H, S, A) of policies (N, H, S, A)."""
    n, horizon, states, actions = policies.shape
    reach = np.empty((2, states))
    for r in range(n):
        reach[0] = 0.0
        reach[0, initial_state] = 1.0
        for h in range(horizon):
            now, following = reach[h % 2], reach[(h + 1) % 2]
            following[:] = 0.0
            for s in range(states):
                for a in range(actions):
                    q = now[s] * policies[r, h, s, a]
                    out[r, h, s, a] = q
                    if q > 0.0 and h + 1 < horizon:
                        for t in range(states):
                            following[t] += q * transition[h, s, a, t]


class LinearMDP:
    """A finite-horizon linear MDP; see the module docstring.

    Args:
        transition: P, (H, S, A, S), rows sum to 1.
        features: φ, (H, S, A, d), norms at most 1; the rows of P_h must be linear in φ_h.
        initial_state: s_1.

    Attributes:
        transition: P, read-only.
        features: φ, read-only.
        horizon: H.
        n_states: S.
        n_actions: A.
        dim: d.

    Raises:
        ValueError: an argument is out of range, or the transitions are not linear in the features.
    """

    def __init__(
        self, transition: npt.ArrayLike, features: npt.ArrayLike, *, initial_state: int = 0
    ) -> None:
        P = checks.array(transition, "transition", shape=(None,) * 4, low=0.0).copy()
        self.horizon, self.n_states, self.n_actions = P.shape[:3]
        if 0 in P.shape or P.shape[3] != self.n_states:
            raise ValueError(
                f"transition must have shape (H, S, A, S), nothing of it 0, got {P.shape}"
            )
        sums = P.sum(axis=-1)
        if not np.allclose(sums, 1.0, rtol=0, atol=1e-9):
            h, s, a = np.unravel_index(np.abs(sums - 1).argmax(), sums.shape)
            raise ValueError(
                f"rows of transition must sum to 1, got {sums[h, s, a]} at h={h}, s={s}, a={a}; "
                "normalise them"
            )
        phi = checks.array(features, "features", shape=(*P.shape[:3], None)).copy()
        self.dim = checks.integer(phi.shape[-1], "the dimension of features", minimum=1)
        norms = np.linalg.norm(phi, axis=-1)
        if norms.max() > 1 + 1e-9:
            raise ValueError(f"features must have norms of at most 1, got {norms.max()}; rescale")
        self.initial_state = checks.integer(initial_state, "initial_state", minimum=0)
        if self.initial_state >= self.n_states:
            raise ValueError(
                f"initial_state must be below n_states={self.n_states}, got {initial_state}"
            )
        P.flags.writeable = phi.flags.writeable = False
        self.transition, self.features = P, phi
        residual = self.linear_residual(P[:-1])
        if residual > 1e-8:
            raise ValueError(
                f"transition must be linear in features, but the residual of a least-squares fit "
                f"is {residual:.3g}; take features that span it, such as those of tabular_as_linear"
            )

    def parameters(self, values: FloatArray) -> tuple[FloatArray, float]:
        """θ of the best linear fit φᵀθ of values in the first layers, and its largest error.

        Args:
            values: (N, S, A, ...), one entry a layer, for the first N of them.

        Returns:
            θ (N, d, ...), the shortest where the features leave a choice.
        """
        n, pairs = len(values), self.n_states * self.n_actions
        theta, worst = np.empty((n, self.dim, *values.shape[3:])), 0.0
        for h in range(n):
            X, Y = self.features[h].reshape(pairs, self.dim), values[h].reshape(pairs, -1)
            if np.array_equal(X, np.eye(self.dim)):  # one-hot: a fit would cost (S A)³
                theta[h] = Y.reshape(theta[h].shape)
                continue
            fit = np.linalg.lstsq(X, Y, rcond=None)[0]
            worst = max(worst, float(np.abs(X @ fit - Y).max()))
            theta[h] = fit.reshape(self.dim, *values.shape[3:])
        return theta, worst

    def linear_residual(self, values: FloatArray) -> float:
        """The largest error of the best linear fit of values; see `parameters`."""
        return self.parameters(values)[1]

    def uniform_policy(self) -> FloatArray:
        """(H, S, A)."""
        shape = (self.horizon, self.n_states, self.n_actions)
        return np.full(shape, 1 / self.n_actions)

    def deterministic(self, actions: IntArray) -> FloatArray:
        """The policy (..., H, S, A) that takes actions (..., H, S)."""
        if actions.min() < 0 or actions.max() >= self.n_actions:
            raise ValueError(
                f"actions must be in [0, {self.n_actions}), got from {actions.min()} to "
                f"{actions.max()}"
            )
        return np.eye(self.n_actions)[actions]

    def occupancy(self, policy: FloatArray) -> FloatArray:
        """q, (..., H, S, A), of policies (..., H, S, A)."""
        return self.occupancy_of(self._checked(policy)).reshape(np.shape(policy))

    def occupancy_of(self, policies: FloatArray) -> FloatArray:
        """The same for policies (N, H, S, A), C-contiguous, without checks."""
        out = np.empty_like(policies)
        _occupancies(policies, self.transition, self.initial_state, out)
        return out

    def action_values(self, policy: FloatArray, losses: FloatArray) -> FloatArray:
        """Q, (..., H, S, A), of policies (..., H, S, A) with losses (H, S, A)."""
        policies, losses = self._checked(policy), self._checked_losses(losses)
        Q = np.empty_like(policies)
        V = np.zeros((len(policies), self.n_states))
        for h in reversed(range(self.horizon)):
            Q[:, h] = losses[h] + np.einsum("sat,nt->nsa", self.transition[h], V)
            V = (policies[:, h] * Q[:, h]).sum(axis=-1)
        return Q.reshape(np.shape(policy))

    def best_policy(self, losses: FloatArray) -> tuple[IntArray, float]:
        """The deterministic policy (H, S) of least loss from s_1, and that loss, by DP.

        Args:
            losses: (H, S, A), of any size: those of one episode, or their sum over many.
        """
        losses = self._checked_losses(losses)
        actions = np.empty((self.horizon, self.n_states), dtype=np.int64)
        V = np.zeros(self.n_states)
        for h in reversed(range(self.horizon)):
            Q = losses[h] + self.transition[h] @ V
            actions[h] = Q.argmin(axis=-1)
            V = Q.min(axis=-1)
        return actions, float(V[self.initial_state])

    def best_occupancy(self, losses: FloatArray) -> tuple[FloatArray, float]:
        """The occupancy measure (H, S, A) of least loss, and that loss, by linear programming.

        Slower than `best_policy` and of the same value; the flow constraints are what other linear
        and convex programs over occupancies start from.
        """
        from scipy.optimize import linprog

        losses = self._checked_losses(losses)
        flow: tuple[Any, FloatArray] = self.flow_constraints()  # scipy's stubs know dense A only
        result = linprog(np.ravel(losses), A_eq=flow[0], b_eq=flow[1], method="highs")
        if result.x is None:
            raise ArithmeticError(f"the linear program was not solved: {result.message}")
        q = result.x.reshape(self.horizon, self.n_states, self.n_actions)
        return q, float((q * losses).sum())

    def flow_constraints(self) -> tuple[csr_array, FloatArray]:
        """A and b, such that q >= 0 is an occupancy measure exactly if A ravel(q) = b.

        Rows (H S): Σ_a q_h(s, a) − Σ_{s',a'} q_{h−1}(s', a') P_{h−1}(s|s', a') = 1[h = 1, s = s_1].
        """
        from scipy.sparse import block_array, csr_array, kron

        H, S, A = self.horizon, self.n_states, self.n_actions
        leaves = kron(np.eye(S), np.ones((1, A)))
        blocks: list[list[Any]] = [[None] * H for _ in range(H)]
        for h in range(H):
            blocks[h][h] = leaves
            if h > 0:
                blocks[h][h - 1] = csr_array(-self.transition[h - 1].reshape(S * A, S).T)
        b = np.zeros(H * S)
        b[self.initial_state] = 1.0
        return csr_array(block_array(blocks)), b

    def _checked_losses(self, losses: FloatArray) -> FloatArray:
        shape = (self.horizon, self.n_states, self.n_actions)
        return checks.array(losses, "losses", shape=shape)

    def _checked(self, policy: FloatArray) -> FloatArray:
        shape = (self.horizon, self.n_states, self.n_actions)
        policies = checks.array(policy, "policy", low=0.0)
        if policies.shape[-3:] != shape:
            raise ValueError(
                f"policy must have shape (..., H, S, A) with (H, S, A) = {shape}, got "
                f"{policies.shape}"
            )
        if not np.allclose(policies.sum(axis=-1), 1.0, rtol=0, atol=1e-9):
            raise ValueError("policy must be a distribution over actions in each state; normalise")
        return np.ascontiguousarray(policies).reshape(-1, *shape)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(H={self.horizon}, S={self.n_states}, A={self.n_actions}, "
            f"d={self.dim})"
        )


def random_linear_mdp(
    horizon: int,
    n_states: int,
    n_actions: int,
    dim: int,
    *,
    concentration: float = 0.5,
    seed: int,
) -> LinearMDP:
    """φ_h(s, a) ~ Dirichlet(concentration), P_h(·|s, a) = Σ_j φ_j ν_{h,j}, ν_{h,j} ~ Dirichlet(½).

    Features lie in the simplex, so that losses φᵀθ with θ ∈ [0, 1]ᵈ are in [0, 1].

    Args:
        horizon: H >= 1.
        n_states: S >= 1.
        n_actions: A >= 1.
        dim: d >= 1.
        concentration: of the features; small: near the corners of the simplex.
        seed: nonnegative.
    """
    sizes = {"horizon": horizon, "n_states": n_states, "n_actions": n_actions, "dim": dim}
    H, S, A, d = (checks.integer(value, name, minimum=1) for name, value in sizes.items())
    rng = np.random.default_rng(checks.integer(seed, "seed", minimum=0))
    weight = checks.positive(concentration, "concentration")
    features = rng.dirichlet(np.full(d, weight), size=(H, S, A))
    nu = rng.dirichlet(np.full(S, 0.5), size=(H, d))
    return LinearMDP(np.einsum("hsad,hdt->hsat", features, nu), features)


def tabular_as_linear(transition: npt.ArrayLike, *, initial_state: int = 0) -> LinearMDP:
    """Any finite-horizon MDP as a linear one: d = S A, one-hot features.

    Args:
        transition: P, (H, S, A, S).
        initial_state: s_1.
    """
    P = checks.array(transition, "transition", shape=(None,) * 4)
    H, S, A = P.shape[:3]
    one_hot = np.eye(S * A).reshape(S, A, S * A)
    return LinearMDP(P, np.broadcast_to(one_hot, (H, S, A, S * A)), initial_state=initial_state)


def chain(horizon: int) -> LinearMDP:
    """On the chain (state 0) or off it for good (state 1): action 1 stays on it, action 0 leaves.

    Args:
        horizon: H >= 1.
    """
    P = np.zeros((checks.integer(horizon, "horizon", minimum=1), 2, 2, 2))
    P[:, 0, 1, 0] = P[:, 0, 0, 1] = P[:, 1, :, 1] = 1.0
    return tabular_as_linear(P)
