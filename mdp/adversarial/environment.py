"""Episodic MDPs with losses that an adversary has fixed, and exact regret.

In episode k the learner plays a policy π_k; a trajectory (s_1, a_1), ..., (s_H, a_H) of it is
drawn, and its losses ℓ_{k,h}(s_h, a_h) ∈ [0, 1] are told, nothing else. Regret after t episodes,

    Σ_{k ≤ t} ⟨q_k, ℓ_k⟩ − min_π Σ_{k ≤ t} V_k^π(s_1),

is exact given the policies played: q_k is the occupancy measure of π_k, and the best policy in
hindsight is that of the MDP with the summed losses, found by dynamic programming.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numba import njit

from ...core import checks
from ...core.checks import FloatArray, IntArray
from ...core.environment import Action, Adversary, Environment, TrajectoryFeedback
from ...core.random import UniformStream
from ...core.regret import Comparator
from ..models import LinearMDP

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...core.learner import Learner

Losses: TypeAlias = "npt.ArrayLike | Callable[[int], npt.ArrayLike]"

_CHUNK = 1 << 18  # losses turned from parameters at once


@njit(cache=True)
def rollout(
    policies: FloatArray,
    transition: FloatArray,
    initial_state: int,
    uniforms: FloatArray,
    states: IntArray,
    actions: IntArray,
) -> None:
    """One trajectory of each policy (N, H, S, A), by inversion of uniforms (N, H, 2)."""
    n, horizon, n_states, n_actions = policies.shape
    for r in range(n):
        s = initial_state
        for h in range(horizon):
            states[r, h] = s
            total, a = 0.0, 0
            for k in range(n_actions):  # the first with Σ p > u; rounding: the last with p > 0
                p = policies[r, h, s, k]
                total += p
                if p > 0.0:
                    a = k
                    if total > uniforms[r, h, 0]:
                        break
            actions[r, h] = a
            if h + 1 < horizon:
                total, following = 0.0, 0
                for k in range(n_states):
                    p = transition[h, s, a, k]
                    total += p
                    if p > 0.0:
                        following = k
                        if total > uniforms[r, h, 1]:
                            break
                s = following


@njit(cache=True)
def _charge(
    policies: FloatArray,
    transition: FloatArray,
    initial_state: int,
    losses: FloatArray,
    incurred: FloatArray,
) -> int:
    """incurred += ⟨q, ℓ⟩ of policies (R, H, S, A). Returns the first that is none, or −1."""
    n, horizon, n_states, n_actions = policies.shape
    reach = np.empty((2, n_states))
    for r in range(n):
        reach[0] = 0.0
        reach[0, initial_state] = 1.0
        for h in range(horizon):
            now, following = reach[h % 2], reach[(h + 1) % 2]
            following[:] = 0.0
            for s in range(n_states):
                total, least = 0.0, 0.0
                for a in range(n_actions):
                    p = policies[r, h, s, a]
                    total += p
                    least = min(least, p)
                    q = now[s] * p
                    if q > 0.0:
                        incurred[r] += q * losses[h, s, a]
                        if h + 1 < horizon:
                            for t in range(n_states):
                                following[t] += q * transition[h, s, a, t]
                if not (abs(total - 1.0) < 1e-9 and least >= 0.0):
                    return r
    return -1


class AdversarialMDP(Environment):
    """R replications of an episodic MDP with adversarial losses; an action is R policies.

    Args:
        model: the MDP.
        losses: ℓ (K, H, S, A) in [0, 1]; parameters θ (K, H, d) of losses φᵀθ in [0, 1]; or a
            function that gives one episode's ℓ (H, S, A) or θ (H, d) for k = 1, 2, ..., the same
            each time it is asked. All replications share them.

    Attributes:
        model: the MDP.
        horizon: K; None: any number of episodes.
    """

    adversary: Adversary = "oblivious"

    def __init__(self, model: LinearMDP, losses: Losses) -> None:
        if not isinstance(model, LinearMDP):
            raise TypeError(f"model must be a LinearMDP, got {model!r}; see tabular_as_linear")
        self.model = model
        if callable(losses):
            self._given: FloatArray | Callable[[int], npt.ArrayLike] = losses
            self.horizon = None
        else:
            self._given = checks.array(losses, "losses").copy()
            if self._given.ndim not in (3, 4) or len(self._given) == 0:
                raise ValueError(
                    f"losses must have shape (K, H, S, A) or (K, H, d), got {self._given.shape}"
                )
            self._check_shape(self._given.shape[1:])
            if self._given.ndim == 4:
                _check_range(self._given, 1)
            self.horizon = len(self._given)
        size = model.horizon * model.n_states * model.n_actions
        self._chunk_size = 1 if callable(losses) else max(1, _CHUNK // size)
        self._chunk, self._chunk_start = np.empty((0, 0, 0, 0)), 0

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        m = self.model
        if shape not in ((m.horizon, m.n_states, m.n_actions), (m.horizon, m.dim)):
            raise ValueError(
                f"losses of an episode must have shape (H, S, A) = "
                f"{(m.horizon, m.n_states, m.n_actions)} or (H, d) = {(m.horizon, m.dim)}, got "
                f"{shape}"
            )

    def losses(self, k: int) -> FloatArray:
        """ℓ_k, (H, S, A), for k = 1, 2, ...; read-only."""
        place = k - 1 - self._chunk_start
        if not 0 <= place < len(self._chunk):
            self._chunk, self._chunk_start, place = self._load(k), k - 1, 0
        episode: FloatArray = self._chunk[place]
        return episode

    def _load(self, k: int) -> FloatArray:
        """ℓ of episodes k, k + 1, ..., checked."""
        if k < 1 or k > (self.horizon or k):
            raise ValueError(f"k must be at least 1 and at most {self.horizon or 'any'}, got {k}")
        if callable(self._given):
            given = checks.array(self._given(k), f"losses({k})")[None]
            self._check_shape(given.shape[1:])
        else:
            given = self._given[k - 1 : k - 1 + self._chunk_size]
        if given.ndim == 3:
            given = np.einsum("hsad,khd->khsa", self.model.features, given)
        _check_range(given, k)
        chunk = np.ascontiguousarray(np.clip(given, 0.0, 1.0))
        chunk.flags.writeable = False
        return chunk

    @cached_property
    def parameter_norm(self) -> float:
        """A bound on the norms of θ with Q_{k,h}^π = φᵀθ, over all policies, episodes and layers.

        Infinite where the losses are not linear in the features, or are given by a function. With
        P_h = φᵀν and V_{h+1} ∈ [0, H − h]^S: |θ_j| ≤ |θ_ℓj| + (H − h) max{Σ_s ν_js⁺, Σ_s ν_js⁻}.
        """
        m = self.model
        if callable(self._given):
            return math.inf
        if self._given.ndim == 3:
            largest = np.abs(self._given).max(axis=0)  # (H, d)
        else:
            theta, residual = m.parameters(np.moveaxis(self._given, 0, -1))
            if residual > 1e-8:
                return math.inf
            largest = np.abs(theta).max(axis=-1)
        nu, _ = m.parameters(m.transition[:-1])  # (H − 1, d, S)
        reach = np.maximum(nu.clip(min=0).sum(axis=-1), (-nu).clip(min=0).sum(axis=-1))
        largest[:-1] += np.arange(m.horizon - 1, 0, -1)[:, None] * reach
        return float(np.linalg.norm(largest, axis=-1).max())

    def admit(self, learner: Learner) -> None:
        """Refuse a learner of another MDP."""
        model = getattr(learner, "model", self.model)
        model = getattr(model, "model", model)  # that of a simulator
        if model is not self.model and not (
            isinstance(model, LinearMDP)
            and np.array_equal(model.transition, self.model.transition)
            and np.array_equal(model.features, self.model.features)
            and model.initial_state == self.model.initial_state
        ):
            raise ValueError(
                f"learner must be built with the model of the environment, {self.model!r}, got "
                f"{model!r}"
            )

    def reset(self, n_replications: int, rng: np.random.Generator) -> None:
        """Start R replications before episode 1."""
        self._episode = 0
        self._n_replications = n_replications
        self._uniforms = UniformStream(rng, (n_replications, self.model.horizon, 2))
        self._layers = np.arange(self.model.horizon)

    def step(self, action: Action) -> TrajectoryFeedback:
        """Play policies (R, H, S, A); be told a trajectory of each, and the losses on it.

        Functions (layer, state) -> (A,), in an object array (R,), are evaluated in all states.
        """
        m, n = self.model, self._n_replications
        action = _tabulated(m, action)
        if action.shape != (n, m.horizon, m.n_states, m.n_actions):
            raise ValueError(
                f"action must hold policies, shape "
                f"{(n, m.horizon, m.n_states, m.n_actions)}, got {action.shape}"
            )
        self._episode += 1
        states, actions = np.empty((2, n, m.horizon), dtype=np.int64)
        rollout(action, m.transition, m.initial_state, self._uniforms.draw(), states, actions)
        told = self.losses(self._episode)[self._layers, states, actions]
        return TrajectoryFeedback(states, actions, told)

    def comparator(self) -> Comparator:
        """The best fixed policy of the episodes so far."""
        return BestFixedPolicy(self)

    def best_policy(self, n_episodes: int | None = None) -> tuple[IntArray, float]:
        """The best policy in hindsight, actions (H, S), and its total loss.

        Args:
            n_episodes: of the first so many episodes; None: of all K.
        """
        n = self.horizon
        if n_episodes is not None:
            n = checks.integer(n_episodes, "n_episodes", minimum=1)
        if n is None or n > (self.horizon or n):
            raise ValueError(
                f"n_episodes must be in [1, {self.horizon or 'any'}], got {n_episodes}"
            )
        total = np.zeros((self.model.horizon, self.model.n_states, self.model.n_actions))
        for k in range(1, n + 1):
            total += self.losses(k)
        return self.model.best_policy(total)


def _tabulated(model: LinearMDP, policies: Action) -> FloatArray:
    """Policies (R, H, S, A), of arrays or of functions (layer, state) -> (A,)."""
    if policies.dtype != object:
        return policies
    places = [[(h, s) for s in range(model.n_states)] for h in range(model.horizon)]
    return np.array([[[policy(h, s) for h, s in row] for row in places] for policy in policies])


def _check_range(losses: FloatArray, first: int) -> None:
    """Of episodes `first`, `first` + 1, ..., (K, H, S, A)."""
    if losses.min() < -1e-9 or losses.max() > 1 + 1e-9:
        outside = np.argwhere((losses < -1e-9) | (losses > 1 + 1e-9))[0]
        raise ValueError(
            f"losses must be in [0, 1], got {losses[tuple(outside)]} in episode "
            f"{first + outside[0]}; rescale them"
        )


class BestFixedPolicy(Comparator):
    """The best policy for the summed losses of the episodes so far."""

    def __init__(self, environment: AdversarialMDP) -> None:
        self._environment = environment
        self._incurred = np.zeros(environment._n_replications)
        model = environment.model
        self._total = np.zeros((model.horizon, model.n_states, model.n_actions))

    def observe(self, decision: Action) -> None:
        """Charge ⟨q_k, ℓ_k⟩ for the policies (R, H, S, A) just played."""
        environment, model = self._environment, self._environment.model
        shape = (len(self._incurred), *self._total.shape)
        decision = _tabulated(model, decision)
        if decision.shape != shape:
            raise ValueError(f"decision must hold policies, shape {shape}, got {decision.shape}")
        losses = environment.losses(environment._episode)
        row = _charge(decision, model.transition, model.initial_state, losses, self._incurred)
        if row >= 0:
            raise FloatingPointError(f"replication {row}: the policy is not one of distributions")
        self._total += losses

    def regret(self) -> FloatArray:
        """Exact expected regret given the policies, (R,)."""
        return self._incurred - self._environment.model.best_policy(self._total)[1]
